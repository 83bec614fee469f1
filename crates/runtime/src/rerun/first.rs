//! What a workspace held when its session began: kept with the record by `run --record`, and laid out again for a replay.
//!
//! Kept are content, kind, mode, owner and time of change of each path. Not kept: hard links as such, extended attributes,
//! inode numbers, and what is no file, folder or link.

use super::RerunError;
use crate::translate;
use flyball_ledger::{Digest, Draft, Filter, Kind, Ledger, Stream};
use flyball_sandbox::workspace::Node;
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps};
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};
use std::fs;
use std::io::Read;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Paths of a workspace that is recorded, at most.
const ITEMS_MAX: usize = 200_000;
/// Bytes of all of it, and of one file.
const BYTES_MAX: u64 = 4 << 30;
const FILE_BYTES_MAX: u64 = 256 << 20;
/// Paths that one entry tells of: what an entry relies on has to fit into it.
const TOLD_AT_ONCE: usize = 500;

/// One path of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Item {
    pub path: String,
    pub node: Node,
    /// Time of change: seconds and nanoseconds.
    mtime: (i64, i64),
    /// User and group.
    owner: (u32, u32),
    /// A file's content, which the entry then stands for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    blob: Option<String>,
}

/// A workspace as it was found.
#[derive(Debug, Default)]
pub(crate) struct Found {
    items: Vec<Item>,
    bytes: u64,
    /// What is in it and can't be laid out again.
    pub left_out: Vec<String>,
}

/// Reads a workspace and keeps its contents. Nothing at `hide` is looked at: the program does not see it either.
///
/// # Errors
/// It can't be read, or is too large.
pub(crate) fn take(ledger: &Ledger, workspace: &Path, hide: &[PathBuf]) -> Result<Found, RerunError> {
    let mut found = Found::default();
    let mut open = vec![PathBuf::new()];
    while let Some(rel) = open.pop() {
        let full = workspace.join(&rel);
        if hide.contains(&full) {
            continue;
        }
        let unread = |cause: std::io::Error| RerunError::Workspace { path: full.clone(), why: cause.to_string() };
        let meta = full.symlink_metadata().map_err(unread)?;
        let mode = meta.mode() & 0o7777;
        let node = if meta.is_dir() {
            let names = fs::read_dir(&full).and_then(Iterator::collect::<std::io::Result<Vec<_>>>).map_err(unread)?;
            let mut names: Vec<_> = names.into_iter().map(|entry| entry.file_name()).collect();
            names.sort_unstable_by(|a, b| b.cmp(a));
            open.extend(names.into_iter().map(|name| rel.join(name)));
            Node::Directory { mode }
        } else if meta.is_symlink() {
            Node::Symlink { target: fs::read_link(&full).map_err(unread)? }
        } else if meta.is_file() && meta.len() <= FILE_BYTES_MAX {
            let file = rustix::fs::open(
                &full,
                rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::CLOEXEC,
                rustix::fs::Mode::empty(),
            );
            match file {
                Ok(file) => {
                    let (digest, size) = ledger.put_blob_from(fs::File::from(file).take(FILE_BYTES_MAX + 1))?;
                    found.bytes = found.bytes.saturating_add(size);
                    Node::File { digest: digest.to_string(), size, mode }
                }
                Err(_) => Node::Other,
            }
        } else {
            Node::Other
        };
        let path = translate::text(&rel);
        if node == Node::Other {
            found.left_out.push(path);
            continue;
        }
        let blob = if let Node::File { digest, .. } = &node { Some(digest.clone()) } else { None };
        let (mtime, owner) = ((meta.mtime(), meta.mtime_nsec()), (meta.uid(), meta.gid()));
        found.items.push(Item { path, node, mtime, owner, blob });
        if found.items.len() > ITEMS_MAX || found.bytes > BYTES_MAX {
            return Err(RerunError::TooLarge { paths: ITEMS_MAX, bytes: BYTES_MAX });
        }
    }
    Ok(found)
}

impl Found {
    /// What the session's opening says of it.
    pub fn told(&self) -> Json {
        let left_out: Vec<&String> = self.left_out.iter().take(TOLD_AT_ONCE).collect();
        json!({ "paths": self.items.len(), "bytes": self.bytes, "left_out": left_out })
    }

    /// Puts it on record, behind the session's opening.
    pub fn record(&self, stream: &Stream, opened: u64, at_ns: u64) -> Result<(), RerunError> {
        for items in self.items.chunks(TOLD_AT_ONCE) {
            let (actor, cause, body) = ("supervisor".to_owned(), vec![opened], json!({ "first": items }));
            stream.append(Draft { at_ns, kind: Kind::Observe, actor, cause, body })?;
        }
        Ok(())
    }
}

/// The first state of a session's workspace, as its record has it.
pub(crate) fn recorded(ledger: &Ledger, session: &str) -> Result<Vec<Item>, RerunError> {
    let mut items: Vec<Item> = Vec::new();
    let kinds = vec![Kind::Open, Kind::Observe, Kind::Attempt];
    let mut told = None;
    for entry in ledger.entries(session, 1.., Filter { kinds, ..Filter::default() })? {
        let entry = entry?;
        if entry.kind == Kind::Attempt {
            break;
        }
        let lost = |why: String| RerunError::Record { seq: entry.seq, why };
        let body = ledger.body(&entry)?;
        if let Some(part) = body.get("first").filter(|_| entry.actor == "supervisor") {
            items.extend(
                Vec::<Item>::deserialize(part).map_err(|e| lost(format!("the first workspace can't be read: {e}")))?,
            );
        } else if let Some(paths) = body.pointer("/recorded/workspace/paths") {
            told = paths.as_u64();
        }
    }
    match told {
        Some(paths) if paths == items.len() as u64 => Ok(items),
        Some(paths) => Err(RerunError::Record {
            seq: 1,
            why: format!("{} of the first workspace's {paths} paths are on record", items.len()),
        }),
        None => Err(RerunError::Record { seq: 1, why: "the first workspace is not on record".into() }),
    }
}

/// Lays it out at `to`, which must not be there.
pub(crate) fn lay_out(ledger: &Ledger, items: &[Item], to: &Path) -> Result<(), RerunError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |cause: std::io::Error| RerunError::Workspace { path, why: cause.to_string() }
    };
    let mut folders = std::collections::BTreeSet::new();
    for item in items {
        let rel = translate::path(&item.path);
        // INVARIANT: nothing is written outside: the record is what an agent's session left, whoever wrote it. So nothing stands
        // below what is no folder made here, a link least of all.
        let is_below = item.path.is_empty() || rel.parent().is_some_and(|above| folders.contains(above));
        if !is_below || rel.components().any(|part| !matches!(part, std::path::Component::Normal(_))) {
            return Err(RerunError::Record { seq: 1, why: format!("`{}` is no path of a workspace", item.path) });
        }
        let full = if item.path.is_empty() { to.to_owned() } else { to.join(&rel) };
        match &item.node {
            Node::Directory { .. } => {
                fs::DirBuilder::new().mode(0o700).create(&full).map_err(failed(&full))?;
                folders.insert(rel);
            }
            Node::Symlink { target } => std::os::unix::fs::symlink(target, &full).map_err(failed(&full))?,
            Node::File { digest, .. } => {
                let named: Option<Digest> = digest.parse().ok();
                let named = named.ok_or_else(|| RerunError::Record { seq: 1, why: format!("`{digest}` is none") })?;
                let mut file =
                    fs::OpenOptions::new().write(true).create_new(true).open(&full).map_err(failed(&full))?;
                ledger.blob_to(&named, &mut file)?;
            }
            Node::Absent | Node::Other => {}
        }
    }
    // Deepest first: what is put into a folder changes its time.
    for item in items.iter().rev() {
        let full = if item.path.is_empty() { to.to_owned() } else { to.join(translate::path(&item.path)) };
        let (user, group) = item.owner;
        // An ordinary user can't, and in its own tree need not.
        let _ = std::os::unix::fs::lchown(&full, Some(user), Some(group));
        if let Node::Directory { mode } | Node::File { mode, .. } = item.node {
            fs::set_permissions(&full, fs::Permissions::from_mode(mode)).map_err(failed(&full))?;
        }
        let time = Timespec { tv_sec: item.mtime.0, tv_nsec: item.mtime.1 as _ };
        let times = Timestamps { last_access: time, last_modification: time };
        rustix::fs::utimensat(CWD, &full, &times, AtFlags::SYMLINK_NOFOLLOW).map_err(|e| failed(&full)(e.into()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn what_is_laid_out_stays_below_folders_of_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(&dir.path().join("l")).unwrap();
        let outside = dir.path().join("outside");
        fs::create_dir(&outside).unwrap();
        let digest = ledger.put_blob(b"x").unwrap().to_string();
        ledger.flush().unwrap();
        let item = |path: &str, node| Item { path: path.into(), node, mtime: (1, 0), owner: (0, 0), blob: None };
        let file = || Node::File { digest: digest.clone(), size: 1, mode: 0o644 };
        let folder = || Node::Directory { mode: 0o755 };
        let root = || item("", folder());
        let link = item("a", Node::Symlink { target: outside.clone() });
        let lay_out = |n: u32, items: &[Item]| lay_out(&ledger, items, &dir.path().join(format!("to{n}")));
        assert!(lay_out(1, &[root(), link, item("a/f", file())]).is_err());
        assert!(lay_out(2, &[root(), item("../outside/f", file())]).is_err());
        assert!(lay_out(3, &[item("f", file())]).is_err(), "below nothing");
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
        lay_out(4, &[root(), item("d", folder()), item("d/f", file())]).unwrap();
        assert_eq!(fs::read(dir.path().join("to4/d/f")).unwrap(), b"x");
    }
}
