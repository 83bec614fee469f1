//! Files with several names whose content stands still: nobody holds them open for writing. What is written through one name
//! changes them all, and only a call that names one of them can begin that: so they are looked at again after such a call, and
//! not at each barrier. (`git clone` of a folder links thousands of objects.)

use super::Rel;
use rustix::fs::{AtFlags, CWD, statat};
use rustix::io::Errno;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::path::Path;

/// By path, and by inode of the upper layer.
#[derive(Clone, Default)]
pub(super) struct Linked {
    inodes: BTreeMap<Rel, u64>,
    names: BTreeSet<(u64, Rel)>,
}

impl Linked {
    /// That path is to be looked at when another name of this inode was.
    pub(super) fn insert(&mut self, rel: &OsStr, inode: u64) {
        self.remove(rel);
        self.inodes.insert(rel.into(), inode);
        self.names.insert((inode, rel.into()));
    }

    pub(super) fn remove(&mut self, rel: &OsStr) {
        if let Some((rel, inode)) = self.inodes.remove_entry(rel) {
            self.names.remove(&(inode, rel));
        }
    }

    /// The names of what stands at this path now: a call to it may have changed them, or have begun to.
    ///
    /// INVARIANT: asked once the call is done and before another can take the path away.
    pub(super) fn reached(&mut self, upper: &Path, rel: &Path) -> Vec<Rel> {
        if self.inodes.is_empty() {
            return Vec::new();
        }
        let inode = match statat(CWD, upper.join(rel), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat.st_ino,
            Err(Errno::NOENT | Errno::NOTDIR) => return Vec::new(),
            // What can't be told may be any of them.
            Err(_) => return self.all(),
        };
        let first = (inode, Rel::from(OsStr::new("")));
        let found: Vec<Rel> =
            self.names.range(first..).take_while(|(of, _)| *of == inode).map(|(_, rel)| rel.clone()).collect();
        found.iter().for_each(|rel| self.remove(rel));
        found
    }

    /// All of them, which are no longer known to stand still.
    pub(super) fn all(&mut self) -> Vec<Rel> {
        self.names.clear();
        std::mem::take(&mut self.inodes).into_keys().collect()
    }
}
