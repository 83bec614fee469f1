//! Hard links on their way to the real tree: names of one file stay names of one file.

use super::journal::new;
use super::node::{kind, node_in};
use super::{Change, Node, Result, beneath, beneath::err};
use rustix::fs::{AtFlags, FileType};
use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

/// Device and inode.
type Id = (u64, u64);

/// What is known of files with several names while their content is staged.
#[derive(Default)]
pub(super) struct Names {
    /// The slot that has the content, by file and the content that was recorded: written meanwhile, two names may have
    /// been recorded with two contents.
    slots: BTreeMap<(Id, Node), usize>,
    /// Names that the session left as they were; read when they are first asked for.
    kept: Option<BTreeMap<Id, PathBuf>>,
}

impl Names {
    /// Stages a change as one more name of a file that is there already: an earlier change, or one of the real tree that
    /// the session gave another name. Gives the inode, or `None` where the content has to be written.
    pub(super) fn link(
        &mut self,
        lower: BorrowedFd<'_>,
        upper: BorrowedFd<'_>,
        stage: BorrowedFd<'_>,
        take: &[&Change],
        slot: usize,
    ) -> Result<Option<u64>> {
        let Some(change) = take.get(slot).filter(|c| matches!(c.node, Node::File { .. } | Node::Symlink { .. })) else {
            return Ok(None);
        };
        let rel = change.path.as_path();
        let stat = beneath::stat(upper, rel).map_err(err("look at", rel))?;
        let Some(stat) = stat.filter(|stat| stat.st_nlink > 1) else { return Ok(None) };
        let id = (stat.st_dev, stat.st_ino);
        let name = new(slot);
        let first = *self.slots.entry((id, change.node.clone())).or_insert(slot);
        if first != slot {
            rustix::fs::linkat(stage, new(first), stage, &name, AtFlags::empty()).map_err(err("stage", rel))?;
        } else if !self.link_kept(lower, upper, stage, take, slot, id) {
            return Ok(None);
        }
        Ok(Some(rustix::fs::statat(stage, &name, AtFlags::SYMLINK_NOFOLLOW).map_err(err("look at", rel))?.st_ino))
    }

    /// A name in the stage for a file of the real tree, if that is what it was linked from and what it still is.
    fn link_kept(
        &mut self,
        lower: BorrowedFd<'_>,
        upper: BorrowedFd<'_>,
        stage: BorrowedFd<'_>,
        take: &[&Change],
        slot: usize,
        id: Id,
    ) -> bool {
        let kept = self.kept.get_or_insert_with(|| kept(upper, take));
        let (Some(path), Some(change)) = (kept.get(&id), take.get(slot)) else { return false };
        if !node_in(lower, path, &mut |_| {}).is_ok_and(|node| node == change.node) {
            return false;
        }
        // Where links to others' files are forbidden, a copy is what is left.
        beneath::parent(lower, path)
            .and_then(|(dir, name)| rustix::fs::linkat(dir, name, stage, new(slot), AtFlags::empty()))
            .is_ok()
    }
}

/// Names of files with several in the upper layer, other than the changes.
fn kept(upper: BorrowedFd<'_>, take: &[&Change]) -> BTreeMap<Id, PathBuf> {
    let changed: BTreeSet<&Path> = take.iter().map(|change| change.path.as_path()).collect();
    let mut out = BTreeMap::new();
    let mut dirs = vec![PathBuf::new()];
    while let Some(dir) = dirs.pop() {
        let Ok(names) = beneath::dir(upper, &dir).and_then(|dir| beneath::names(dir.as_fd(), Path::new(""))) else {
            continue;
        };
        for path in names.into_iter().map(|name| dir.join(name)) {
            let Ok(Some(stat)) = beneath::stat(upper, &path) else { continue };
            match kind(&stat) {
                FileType::Directory => dirs.push(path),
                FileType::RegularFile | FileType::Symlink if stat.st_nlink > 1 && !changed.contains(path.as_path()) => {
                    out.insert((stat.st_dev, stat.st_ino), path);
                }
                _ => {}
            }
        }
    }
    out
}
