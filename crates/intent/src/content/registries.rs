//! The public registries by name: a package from one of them has no `source` to tell.

pub(super) const CRATES_IO_GIT: &str = "registry+https://github.com/rust-lang/crates.io-index";
pub(super) const CRATES_IO_SPARSE: &str = "sparse+https://index.crates.io/"; // tidy: allow leaks: told from others by it
pub(super) const NPM: &str = "https://registry.npmjs.org/"; // tidy: allow leaks: told from others by it
pub(super) const YARN: &str = "https://registry.yarnpkg.com/"; // tidy: allow leaks: told from others by it
pub(super) const PYPI: &str = "https://pypi.org/simple";
pub(super) const PYPI_FILES: &str = "https://files.pythonhosted.org/"; // tidy: allow leaks: told from others by it
