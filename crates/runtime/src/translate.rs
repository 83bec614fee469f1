//! Calls of the governed program, as the sandbox saw them, into actions.
//!
//! The same effect gives the same actions here as by any other way: a rename onto a path is a write of that path, a hard
//! link is one too, and moving something out of the workspace is its deletion.

use flyball_kernel::{Action, ActionError, Resource, ResourceKind, Surface, Value};
use flyball_sandbox::{Attempt, Below, FileKind, MetadataChange};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// Entries below a folder that a rename moves at once; each is judged by its own old and new path.
pub const MOVED_MAX: usize = 2500;

/// What a call other than an exec attempts. Of what lies below a folder that moves, the paths that are `free` before and
/// after are left out.
///
/// # Errors
/// [`ActionError`] when the vocabulary can't say it, which the gate denies.
pub fn actions(
    attempt: &Attempt,
    workspace: &Path,
    agent: &str,
    free: &dyn Fn(&Path) -> bool,
) -> Result<Vec<Action>, ActionError> {
    let mut actions = match attempt {
        Attempt::Open { path, write, create, truncate, existing } => {
            if *write {
                let makes = *create && existing.is_none();
                vec![file("fs.write", path)?.with("create", makes)?.with("truncate", *truncate)?]
            } else {
                vec![file("fs.read", path)?]
            }
        }
        Attempt::Make { path, kind } => {
            vec![file("fs.write", path)?.with("create", true)?.with("kind", kind_name(*kind))?]
        }
        Attempt::Remove { path, kind } => vec![file("fs.delete", path)?.with("kind", kind_name(*kind))?],
        Attempt::Rename { from, to, replaces, exchange, below, back, .. } => {
            let mut all = vec![file("fs.move", from)?.with("to", text(to))?.with("replaces", *replaces || *exchange)?];
            all.push(file("fs.write", to)?.with("create", !*replaces)?.with("implied_by", "rename")?);
            if *exchange {
                all.push(file("fs.write", from)?.with("implied_by", "rename")?);
            } else if from.starts_with(workspace) && !to.starts_with(workspace) {
                all.push(file("fs.delete", from)?.with("implied_by", "rename")?);
            }
            for (from, to, below) in [(from, to, below), (to, from, back)] {
                for (rel, kind) in known(below) {
                    let (from, to) = (from.join(rel), to.join(rel));
                    if !(free(&from) && free(&to)) {
                        all.extend(carried(&from, &to, *kind, workspace)?);
                    }
                }
            }
            all
        }
        Attempt::Link { target, path } => vec![
            file("fs.link", path)?.with("target", text(target))?,
            // Whoever may write the new name may write the file behind it.
            file("fs.write", target)?.with("implied_by", "link")?,
            file("fs.write", path)?.with("create", true)?.with("implied_by", "link")?,
        ],
        Attempt::Symlink { target, path } => vec![
            file("fs.link", path)?.with("target", lossless(target))?.with("symbolic", true)?,
            file("fs.write", path)?.with("create", true)?.with("kind", "symlink")?.with("implied_by", "symlink")?,
        ],
        Attempt::Truncate { path, .. } => vec![file("fs.write", path)?.with("truncate", true)?],
        Attempt::Metadata { path, change } => vec![metadata(path, change)?],
        Attempt::Connect { address, name } => {
            let host = name.clone().unwrap_or_else(|| address.ip().to_string());
            vec![
                endpoint("net.connect", &host, address.port())?
                    .with("address", address.to_string())?
                    .with("protocol", "tcp")?,
            ]
        }
        Attempt::ConnectUnix { path } => {
            vec![endpoint("net.connect", "unix", 0)?.with("address", text(path))?.with("protocol", "unix")?]
        }
        Attempt::Bind { address } => {
            vec![endpoint("net.listen", &address.ip().to_string(), address.port())?.with("protocol", "tcp")?]
        }
        Attempt::BindUnix { path } => vec![
            endpoint("net.listen", "unix", 0)?.with("protocol", "unix")?,
            file("fs.write", path)?.with("create", true)?.with("kind", "socket")?.with("implied_by", "bind")?,
        ],
        // What a newer sandbox asks and this reader does not know is not to be guessed at.
        _ => Vec::new(),
    };
    for action in &mut actions {
        action.agent = agent.into();
    }
    Ok(actions)
}

/// What a rename of a folder does to one thing below it.
fn carried(from: &Path, to: &Path, kind: FileKind, workspace: &Path) -> Result<Vec<Action>, ActionError> {
    let implied = |action: Action| action.with("implied_by", "rename");
    let kind = kind_name(kind);
    let mut all = vec![
        implied(file("fs.move", from)?.with("to", text(to))?.with("replaces", false)?)?,
        implied(file("fs.write", to)?.with("create", true)?.with("kind", kind)?)?,
    ];
    if from.starts_with(workspace) && !to.starts_with(workspace) {
        all.push(implied(file("fs.delete", from)?.with("kind", kind)?)?);
    }
    Ok(all)
}

fn known(below: &Below) -> &[(PathBuf, FileKind)] {
    match below {
        Below::Known(found) => found,
        Below::Unknown => &[],
    }
}

/// Whether more moves with a folder than is judged at once, or what does can't be told.
pub fn moves_too_much(attempt: &Attempt, free: &dyn Fn(&Path) -> bool) -> bool {
    let Attempt::Rename { from, to, below, back, .. } = attempt else { return false };
    let is_free = |rel: &PathBuf| free(&from.join(rel)) && free(&to.join(rel));
    [below, back].into_iter().any(|below| *below == Below::Unknown)
        || [below, back].into_iter().flat_map(known).filter(|(rel, _)| !is_free(rel)).count() > MOVED_MAX
}

fn metadata(path: &Path, change: &MetadataChange) -> Result<Action, ActionError> {
    let action = file("fs.chmod", path)?;
    match change {
        MetadataChange::Mode(mode) => action.with("mode", i64::from(*mode)),
        MetadataChange::Owner(uid, gid) => {
            let action = action.with("uid", uid.map_or(-1, i64::from))?;
            action.with("gid", gid.map_or(-1, i64::from))
        }
        MetadataChange::Xattr(name, _) => action.with("xattr", lossless(name)),
        MetadataChange::Times => Ok(action),
    }
}

fn file(verb: &str, path: &Path) -> Result<Action, ActionError> {
    Action::new(verb, Resource::file(&text(path)), Surface::Fs)
}

fn endpoint(verb: &str, host: &str, port: u16) -> Result<Action, ActionError> {
    let resource =
        Resource::new(ResourceKind::Endpoint).with("host", host)?.with("port", Value::Long(i64::from(port)))?;
    Action::new(verb, resource, Surface::Net)
}

fn kind_name(kind: FileKind) -> &'static str {
    match kind {
        FileKind::File => "file",
        FileKind::Directory => "directory",
        FileKind::Symlink => "symlink",
        FileKind::Other => "other",
    }
}

/// A path as charters and the record write it.
#[must_use]
pub fn text(path: &Path) -> String {
    lossless(path.as_os_str())
}

/// Bytes as text that no two different byte strings share: what is no UTF-8, and the backslash, become `\xNN`.
#[must_use]
pub fn lossless(bytes: &OsStr) -> String {
    // Nearly every path is such a one, and each call says several of them.
    if let Some(plain) = bytes.to_str().filter(|text| !text.as_bytes().contains(&b'\\')) {
        return plain.to_owned();
    }
    let mut out = String::with_capacity(bytes.len());
    for chunk in bytes.as_bytes().utf8_chunks() {
        for c in chunk.valid().chars() {
            if c == '\\' { out.push_str("\\x5c") } else { out.push(c) }
        }
        for byte in chunk.invalid() {
            out.push_str(&format!("\\x{byte:02x}"));
        }
    }
    out
}

/// The path that [`text`] wrote.
#[must_use]
pub fn path(text: &str) -> PathBuf {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("\\x") {
        let (before, escape) = rest.split_at(at);
        bytes.extend_from_slice(before.as_bytes());
        match escape.get(2..4).and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = escape.get(4..).unwrap_or_default();
            }
            None => {
                bytes.extend_from_slice(b"\\x");
                rest = escape.get(2..).unwrap_or_default();
            }
        }
    }
    bytes.extend_from_slice(rest.as_bytes());
    PathBuf::from(OsString::from_vec(bytes))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn check(attempt: &Attempt, expect: &[&str]) {
        let said: Vec<String> = actions(attempt, Path::new("/w"), "a", &|path| path.starts_with("/w/target"))
            .unwrap()
            .iter()
            .map(crate::refusal::say)
            .collect();
        assert_eq!(said, expect);
    }

    #[test]
    fn renames_are_writes_of_their_target_and_deletions_from_the_workspace() {
        let rename = |from: &str, to: &str, exchange| Attempt::Rename {
            from: from.into(),
            to: to.into(),
            kind: FileKind::File,
            replaces: exchange,
            exchange,
            below: Below::Known(vec![]),
            back: Below::Known(vec![]),
        };
        check(
            &rename("/w/a", "/w/.git/hooks/b", false),
            &["fs.move /w/a to /w/.git/hooks/b", "fs.write /w/.git/hooks/b"],
        );
        check(&rename("/w/a", "/tmp/b", false), &["fs.move /w/a to /tmp/b", "fs.write /tmp/b", "fs.delete /w/a"]);
        check(&rename("/w/a", "/w/b", true), &["fs.move /w/a to /w/b", "fs.write /w/b", "fs.write /w/a"]);
    }

    #[test]
    fn what_lies_below_a_folder_moves_with_it() {
        let rename = |from: &str, to: &str, below: Below, back: Below| Attempt::Rename {
            from: from.into(),
            to: to.into(),
            kind: FileKind::Directory,
            replaces: back != Below::Known(vec![]),
            exchange: back != Below::Known(vec![]),
            below,
            back,
        };
        let one = |name: &str| Below::Known(vec![(name.into(), FileKind::File)]);
        let nothing = || Below::Known(vec![]);
        check(
            &rename("/w/a", "/w/src", one("x"), nothing()),
            &["fs.move /w/a to /w/src", "fs.write /w/src", "fs.move /w/a/x to /w/src/x", "fs.write /w/src/x"],
        );
        check(
            &rename("/w/a", "/tmp/a", one("x"), nothing()).clone(),
            &[
                "fs.move /w/a to /tmp/a",
                "fs.write /tmp/a",
                "fs.delete /w/a",
                "fs.move /w/a/x to /tmp/a/x",
                "fs.write /tmp/a/x",
                "fs.delete /w/a/x",
            ],
        );
        check(
            &rename("/w/a", "/w/b", one("x"), one("y")),
            &[
                "fs.move /w/a to /w/b",
                "fs.write /w/b",
                "fs.write /w/a",
                "fs.move /w/a/x to /w/b/x",
                "fs.write /w/b/x",
                "fs.move /w/b/y to /w/a/y",
                "fs.write /w/a/y",
            ],
        );
        let many = |count: usize| Below::Known((0..count).map(|n| (n.to_string().into(), FileKind::File)).collect());
        let free = |path: &Path| path.starts_with("/w/target");
        for (attempt, expect) in [
            (rename("/w/a", "/w/b", many(MOVED_MAX), nothing()), false),
            (rename("/w/a", "/w/b", many(MOVED_MAX + 1), nothing()), true),
            (rename("/w/a", "/w/b", many(MOVED_MAX), many(1)), true),
            (rename("/w/target/a", "/w/target/b", many(MOVED_MAX + 1), nothing()), false),
            (rename("/w/a", "/w/b", Below::Unknown, nothing()), true),
        ] {
            assert_eq!(moves_too_much(&attempt, &free), expect);
        }
    }

    #[test]
    fn names_that_are_no_text_stay_distinct() {
        assert_eq!(lossless(OsStr::from_bytes(b"a\xff\\")), "a\\xff\\x5c");
        assert_ne!(lossless(OsStr::from_bytes(b"\xff")), lossless(OsStr::from_bytes(b"\\xff")));
        for bytes in [&b"a\xff\\x"[..], b"\\x5c", b"plain", b"\xf0\x9f\x98\x80\x80"] {
            assert_eq!(path(&lossless(OsStr::from_bytes(bytes))).as_os_str().as_bytes(), bytes);
        }
        check(
            &Attempt::Symlink { target: "x".into(), path: PathBuf::from("/w/l") },
            &["fs.link /w/l", "fs.write /w/l"],
        );
    }
}
