//! What a changed file's content means: packages, imported modules, secrets, CI definitions.
//!
//! | files | read as |
//! |---|---|
//! | `Cargo.toml`, `Cargo.lock` | `dependency.*` of ecosystem `cargo` |
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
mod doc;
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
}

/// What a file is, by its name.
#[derive(Clone, Copy)]
struct Packages {
    ecosystem: &'static str,
    reader: &'static str,
    /// The packages that it names; `None` where it can't be read.
    list: fn(&str) -> Option<Listing>,
}

fn packages(path: &str) -> Option<Packages> {
    let name = crate::names::base(path);
    let cargo = |reader, list| Some(Packages { ecosystem: "cargo", reader, list });
    match name {
        "Cargo.toml" => cargo("cargo-manifest/1", cargo::manifest),
        "Cargo.lock" => cargo("cargo-lock/1", cargo::lock),
        _ => None,
    }
}

/// By its name alone: would [`content_actions`] look into it for more than secrets?
#[must_use]
pub fn reads_content(path: &str) -> bool {
    packages(path).is_some() || ci::is_ci(path)
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
    let secrets = secrets::new_kinds(content.old.map(head), head(new));
    if !secrets.is_empty() {
        readers.push("secrets/1");
    }
    let is_ci = ci::is_ci(content.path);
    if is_ci {
        readers.push("ci/1");
    }
    let is_opaque = new.len() > CONTENT_BYTES_MAX && reads_content(content.path);
    if readers.is_empty() && !is_opaque {
        return None;
    }
    readers.sort_unstable();
    let mut attrs = vec![("content", Value::from(true))];
    if !secrets.is_empty() {
        attrs.push(("secrets", secrets.into_iter().map(str::to_owned).collect::<Vec<_>>().into()));
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
    let old = content.old.and_then(|bytes| (packages.list)(text(bytes)?)).unwrap_or_default();
    let new = match content.new {
        None => Some(Listing::default()),
        Some(bytes) => text(bytes).and_then(packages.list),
    };
    match new {
        Some(new) => difference::actions(&say, &old, &new),
        None => say.unread().into_iter().collect(),
    }
}

/// A file's text, without a byte-order mark; `None` where it is none or too long.
fn text(bytes: &[u8]) -> Option<&str> {
    if bytes.len() > CONTENT_BYTES_MAX {
        return None;
    }
    let text = std::str::from_utf8(bytes).ok()?;
    Some(text.strip_prefix('\u{feff}').unwrap_or(text))
}
