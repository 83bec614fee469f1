//! What a changed file's content means: packages, imported modules, secrets, CI definitions.
//!
//! | files | read as |
//! |---|---|
//! | `Cargo.toml`, `Cargo.lock` | `dependency.*` of ecosystem `cargo` |
//! | `package.json`, `package-lock.json`, `npm-shrinkwrap.json`, `yarn.lock`, `pnpm-lock.yaml`, `pnpm-workspace.yaml` | of `npm` |
//! | requirements and constraints, `pyproject.toml`, `setup.cfg`, `Pipfile`, `uv.lock`, `poetry.lock`, `pdm.lock`, `pylock.toml`, `Pipfile.lock`, scripts with PEP 723 blocks | of `pypi` |
//! | `go.mod`, `go.work`, `go.sum` | of `golang` |
//! | `setup.py`, `bun.lock`, `package.json5`, … | opaque: no reader |
//! | `.rs .py .pyi .js .mjs .cjs .jsx .ts .mts .cts .tsx .go .java` | `fs.write` with `imports` ([`imports`]) |
//! | `.github/workflows/*`, `.gitlab-ci.yml`, `Jenkinsfile`, … ([`ci`]) | `fs.write` with `ci: true` |
//! | any | `fs.write` with `secrets`, by kind name ([`secrets`]) |
//!
//! A manifest or lock file is judged by its difference: what `new` names and `old` did not. A manifest gives the requirement
//! as version, a lock file the exact one. What can't be read is `opaque: true` and nothing is guessed in its stead: an opaque
//! manifest is one `dependency.change` with empty fields.
//!
//! Bounded: no file is read beyond [`CONTENT_BYTES_MAX`], nesting beyond [`doc::DEPTH_MAX`] is opaque, and so is more than
//! [`CONTENT_ACTIONS_MAX`] of difference. Nothing recurses deeper than that, whatever stands in the file.

mod cargo;
mod ci;
mod difference;
pub(crate) mod doc;
mod go;
mod imports;
mod npm;
mod python;
mod registries;
mod secrets;
#[cfg(test)]
mod tests;

use difference::Listing;
use flyball_kernel::{Action, Resource, Surface, Value};

/// Bytes of a file that are read, at most; a longer one that [`reads_content`] is opaque. Lock files of large projects stay
/// below 4 MiB.
pub const CONTENT_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Actions that one changed file can imply, at most; beyond it one opaque action stands for the rest.
pub const CONTENT_ACTIONS_MAX: usize = 4096;

/// A file before and after, as the record has it.
#[derive(Clone, Copy, Debug)]
pub struct Content<'a> {
    /// Where it is: canonical, absolute.
    pub path: &'a str,
    /// What it was. `None`: it was not there, or that is not known.
    pub old: Option<&'a [u8]>,
    /// What it is. `None`: it is gone.
    pub new: Option<&'a [u8]>,
    /// What is asked of it.
    pub wanted: ContentWanted,
}

/// What is read of content: nobody pays for what nobody asks. Packages and CI definitions are told by name and always read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContentWanted {
    /// The modules that a source file imports: the dearest, a whole parse.
    pub imports: bool,
    /// Kinds of secrets.
    pub secrets: bool,
}

impl ContentWanted {
    /// All that can be read.
    pub const ALL: Self = Self { imports: true, secrets: true };
}

/// What a file is, by its name.
#[derive(Clone, Copy)]
struct Packages {
    ecosystem: &'static str,
    reader: &'static str,
    /// The packages that it names; `None` where it can't be read.
    list: fn(&str) -> Option<Listing>,
    /// Without this in it, a file names none.
    mark: &'static str,
}

fn packages(path: &str) -> Option<Packages> {
    let of = |ecosystem, reader, list| Some(Packages { ecosystem, reader, list, mark: "" });
    match crate::names::base(path) {
        "Cargo.toml" => of("cargo", "cargo-manifest/1", cargo::manifest),
        "Cargo.lock" => of("cargo", "cargo-lock/1", cargo::lock),
        // What a package beneath needs only for its own development is not installed with it.
        "package.json" if path.contains("/node_modules/") => of("npm", "npm-manifest/1", npm::installed),
        "package.json" => of("npm", "npm-manifest/1", npm::manifest),
        "package-lock.json" | "npm-shrinkwrap.json" | ".package-lock.json" => of("npm", "npm-lock/1", npm::lock),
        "yarn.lock" => of("npm", "yarn-lock/1", npm::yarn_lock),
        "pnpm-lock.yaml" => of("npm", "pnpm-lock/1", npm::pnpm_lock),
        "pnpm-workspace.yaml" => of("npm", "pnpm-workspace/1", npm::pnpm_workspace),
        "package.json5" | "package.yaml" | "bun.lock" | "bun.lockb" => of("npm", "npm-other/1", unread),
        "pyproject.toml" => of("pypi", "pyproject/1", python::pyproject),
        "Pipfile" => of("pypi", "pipfile/1", python::pipfile),
        "Pipfile.lock" => of("pypi", "pipfile-lock/1", python::pipfile_lock),
        "uv.lock" | "poetry.lock" | "pdm.lock" | "pylock.toml" => of("pypi", "python-lock/1", python::lock),
        "setup.cfg" => of("pypi", "setup-cfg/1", python::setup_cfg),
        // A program: what it asks for is known once it runs.
        "setup.py" => of("pypi", "setup-py/1", unread),
        "go.mod" | "go.work" => of("golang", "go-mod/1", go::module),
        "go.sum" | "go.work.sum" => of("golang", "go-sum/1", go::sum),
        name if name.starts_with("pylock.") && name.ends_with(".toml") => of("pypi", "python-lock/1", python::lock),
        name if name.ends_with(".py") => {
            let (reader, list, mark) = ("python-script/1", python::script as _, python::SCRIPT_MARK);
            Some(Packages { ecosystem: "pypi", reader, list, mark })
        }
        _ if python::is_requirements(path) => of("pypi", "requirements/1", python::requirements),
        _ => None,
    }
}

/// A form that has no reader, or none that could be had.
fn unread(_: &str) -> Option<Listing> {
    None
}

/// By its name alone: would [`content_actions`] look into it for more than secrets?
#[must_use]
pub fn reads_content(path: &str, wanted: ContentWanted) -> bool {
    packages(path).is_some() || (wanted.imports && imports::source(path).is_some()) || ci::is_ci(path)
}

/// What the change means: at most one `fs.write` with `content: true` and `imports`, `secrets`, `ci` where found, then
/// `dependency.add`, `dependency.remove` and `dependency.change` in the order of their names. Empty: nothing to judge.
///
/// `imports` are all that the file has now; `secrets` are kinds of which it holds one that `old` did not. All are on surface
/// `fs`, with the `reader` (several joined by `,`); a dependency carries `implied_by` as `fs.write PATH`.
#[must_use]
pub fn content_actions(content: &Content<'_>) -> Vec<Action> {
    if content.old == content.new {
        return Vec::new();
    }
    let mut actions: Vec<Action> = write(content).into_iter().collect();
    if let Some(packages) = packages(content.path) {
        actions.extend(dependencies(content, packages));
    }
    actions
}

/// What stands in the file itself, apart from packages.
fn write(content: &Content<'_>) -> Option<Action> {
    let new = content.new?;
    let mut readers = Vec::new();
    let wanted = content.wanted;
    let secrets =
        if wanted.secrets { secrets::new_kinds(content.old.map(head), head(new)) } else { Default::default() };
    if !secrets.is_empty() {
        readers.push("secrets/1");
    }
    let is_ci = ci::is_ci(content.path);
    if is_ci {
        readers.push("ci/1");
    }
    let mut is_opaque = new.len() > CONTENT_BYTES_MAX && reads_content(content.path, wanted);
    let mut names = Vec::new();
    if let Some(source) = imports::source(content.path).filter(|_| wanted.imports) {
        let found = imports::imports(source, new);
        if !found.names.is_empty() || found.is_opaque {
            readers.push(source.reader);
        }
        is_opaque |= found.is_opaque;
        names = found.names;
    }
    if readers.is_empty() && !is_opaque {
        return None;
    }
    readers.sort_unstable();
    let mut attrs = vec![("content", Value::from(true))];
    if !secrets.is_empty() {
        attrs.push(("secrets", secrets.into_iter().map(str::to_owned).collect::<Vec<_>>().into()));
    }
    if !names.is_empty() {
        attrs.push(("imports", names.into()));
    }
    if is_ci {
        attrs.push(("ci", true.into()));
    }
    if is_opaque {
        attrs.push(("opaque", true.into()));
    }
    if !readers.is_empty() {
        attrs.push(("reader", readers.join(",").into()));
    }
    let mut action = Action::new("fs.write", Resource::file(content.path), Surface::Fs).ok()?;
    for (name, value) in attrs {
        action.set(name, value).ok()?;
    }
    Some(action)
}

fn head(bytes: &[u8]) -> &[u8] {
    bytes.get(..CONTENT_BYTES_MAX).unwrap_or(bytes)
}

fn dependencies(content: &Content<'_>, packages: Packages) -> Vec<Action> {
    let say = difference::Said {
        ecosystem: packages.ecosystem,
        reader: packages.reader,
        implied_by: format!("fs.write {}", content.path),
    };
    // What it was and can't be read counts as nothing: all that is there now is then new.
    let old = content.old.and_then(|bytes| listed(packages, bytes)).unwrap_or_default();
    let new = content.new.map_or(Some(Listing::default()), |bytes| listed(packages, bytes));
    match new {
        Some(new) => difference::actions(&say, &old, &new),
        None => say.unread().into_iter().collect(),
    }
}

fn listed(packages: Packages, bytes: &[u8]) -> Option<Listing> {
    let mark = packages.mark.as_bytes();
    if !mark.is_empty() && !head(bytes).windows(mark.len()).any(|at| at == mark) {
        return Some(Listing::default());
    }
    (packages.list)(text(bytes)?)
}

/// A file's text, without a byte-order mark; `None` where it is none or too long.
fn text(bytes: &[u8]) -> Option<&str> {
    if bytes.len() > CONTENT_BYTES_MAX {
        return None;
    }
    let text = std::str::from_utf8(bytes).ok()?;
    Some(text.strip_prefix('\u{feff}').unwrap_or(text))
}
