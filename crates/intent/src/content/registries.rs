//! The public registries by name: a package from one of them has no `source` to tell.

pub(super) const CRATES_IO_GIT: &str = "registry+https://github.com/rust-lang/crates.io-index";
pub(super) const CRATES_IO_SPARSE: &str = "sparse+https://index.crates.io/"; // tidy: allow leaks: told from other registries by it
