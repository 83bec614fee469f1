//! Taking a mounted view back to what it was, all or nothing, while whoever works in it stands still.

use super::apply::{lay, spares, stage_name};
use super::journal::{Journal, Phase, Step, new};
use super::rewind::{create, fill};
use super::{Change, ChangeKind, Node, Result, WorkspaceError, beneath, beneath::err};
use rustix::fs::{AtFlags, FileType, Mode};
use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

/// Makes each path be the node beside it, all of them or none. `view` is a descriptor of the mounted view's root;
/// `content` is asked for the files' content only. A directory that goes takes all that is in it along.
///
/// All new content is written into a hidden folder in the view's root first, so that a full disk is met before anything
/// changes; then paths change by renames alone, and a failure undoes them without needing room. Should the process die
/// meanwhile nobody completes it: keep a [`super::twin`] of the upper layer to go back to.
///
/// # Errors
/// [`WorkspaceError::Kind`] for [`Node::Other`]. [`WorkspaceError::Between`] when neither the steps nor the way back could
/// be taken; on every other error the view is as it was.
pub fn set_all<R: Read>(
    view: BorrowedFd<'_>,
    nodes: &[(PathBuf, Node)],
    content: impl FnMut(&Path, &Node) -> std::io::Result<R>,
) -> Result<()> {
    set_all_with(view, nodes, content, &mut || Ok(()))
}

/// The same; `probe` stands before each step, for tests to stop at.
pub(super) fn set_all_with<R: Read>(
    view: BorrowedFd<'_>,
    nodes: &[(PathBuf, Node)],
    mut content: impl FnMut(&Path, &Node) -> std::io::Result<R>,
    probe: &mut dyn FnMut() -> Result<()>,
) -> Result<()> {
    let changes = changes(view, nodes)?;
    if changes.is_empty() {
        return Ok(());
    }
    let mut log = Journal::new(Path::new(""), stage_name("rollback")?);
    log.phase = Phase::Applying;
    let at = PathBuf::from(&log.stage);
    rustix::fs::mkdirat(view, &at, Mode::from_raw_mode(0o700)).map_err(err("make", &at))?;
    let done = (|| {
        let stage = beneath::dir(view, &at).map_err(err("open", &at))?;
        let mut made = Vec::new();
        for (slot, change) in changes.iter().enumerate() {
            made.push(stage_one(stage.as_fd(), slot, change, &mut content)?);
        }
        log.steps = lay(&changes.iter().collect::<Vec<_>>(), &made);
        spares(stage.as_fd(), &log.steps)?;
        log.steps.iter().try_for_each(|step| {
            probe()?;
            step.take(view, stage.as_fd()).map_err(|e| undone(step, e))
        })
    })();
    let Err(e) = done else {
        // What is left of it holds only what was to go. A leftover shows as unexplained at the session's end.
        let _ = beneath::remove(view, &at);
        return Ok(());
    };
    match log.undo(view).and_then(|()| beneath::remove(view, &at).map_err(err("remove", &at))) {
        Ok(()) => Err(e),
        Err(worse) => Err(WorkspaceError::Between { journal: at, why: format!("{e}; then: {worse}") }),
    }
}

fn undone(step: &Step, e: rustix::io::Errno) -> WorkspaceError {
    WorkspaceError::Undone { doing: step.doing(), path: step.path().to_owned(), source: e.into() }
}

/// From what stands in the view to what is wanted, with all below a directory that goes.
fn changes(view: BorrowedFd<'_>, nodes: &[(PathBuf, Node)]) -> Result<Vec<Change>> {
    let named: BTreeSet<&Path> = nodes.iter().map(|(path, _)| path.as_path()).collect();
    let mut out = Vec::new();
    for (path, node) in nodes {
        beneath::check(path)?;
        if path.as_os_str().is_empty() {
            return Err(WorkspaceError::Outside(path.clone()));
        }
        if *node == Node::Other {
            return Err(WorkspaceError::Kind(path.clone()));
        }
        let was = standing(view, path)?;
        if was == Node::Absent && *node == Node::Absent {
            continue;
        }
        if matches!(was, Node::Directory { .. }) && !matches!(node, Node::Directory { .. }) {
            below(view, path, &named, &mut out, 0)?;
        }
        out.push(Change { path: path.clone(), kind: ChangeKind::Modified, was, node: node.clone() });
    }
    Ok(out)
}

/// What of a directory that goes is not named itself: it goes too.
fn below(view: BorrowedFd<'_>, dir: &Path, named: &BTreeSet<&Path>, out: &mut Vec<Change>, depth: usize) -> Result<()> {
    if depth > beneath::DEPTH_MAX {
        return Err(err("walk", dir)(rustix::io::Errno::NAMETOOLONG));
    }
    for name in beneath::names(view, dir).map_err(err("list", dir))? {
        let path = dir.join(name);
        if named.contains(path.as_path()) {
            continue;
        }
        let was = standing(view, &path)?;
        if matches!(was, Node::Directory { .. }) {
            below(view, &path, named, out, depth + 1)?;
        }
        if out.len() >= super::CHANGES_MAX {
            return Err(WorkspaceError::TooMany(super::CHANGES_MAX));
        }
        out.push(Change { path, kind: ChangeKind::Removed, was, node: Node::Absent });
    }
    Ok(())
}

/// A directory, something else, or nothing: content does not matter of what is moved aside.
fn standing(view: BorrowedFd<'_>, path: &Path) -> Result<Node> {
    let stat = beneath::stat(view, path).map_err(err("look at", path))?;
    Ok(match stat {
        None => Node::Absent,
        Some(s) if FileType::from_raw_mode(s.st_mode) == FileType::Directory => {
            Node::Directory { mode: s.st_mode & 0o7777 }
        }
        Some(_) => Node::Other,
    })
}

/// One path's new content in the stage; its inode.
fn stage_one<R: Read>(
    stage: BorrowedFd<'_>,
    slot: usize,
    change: &Change,
    content: &mut impl FnMut(&Path, &Node) -> std::io::Result<R>,
) -> Result<u64> {
    let (rel, name) = (change.path.as_path(), new(slot));
    match &change.node {
        Node::File { digest, mode, .. } => {
            let mut from = content(rel, &change.node).map_err(|source| WorkspaceError::Io {
                doing: "get the content of",
                path: rel.into(),
                source,
            })?;
            let file = create(stage, &name).map_err(err("stage", rel))?;
            fill(File::from(file), &mut from, rel, digest, *mode)?;
        }
        Node::Symlink { target } => rustix::fs::symlinkat(target, stage, &name).map_err(err("stage", rel))?,
        Node::Directory { .. } | Node::Absent | Node::Other => return Ok(0),
    }
    Ok(rustix::fs::statat(stage, &name, AtFlags::SYMLINK_NOFOLLOW).map_err(err("look at", rel))?.st_ino)
}
