//! What makes a copy like its original beside content and mode: extended attributes, times, holes.

use super::beneath;
use super::{Change, Node};
use rustix::fs::{AtFlags, FallocateFlags, SeekFrom, Stat, Timespec, Timestamps, XattrFlags};
use rustix::io::Errno;
use std::collections::BTreeSet;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

const XATTR_BYTES_MAX: usize = 1 << 16;

/// Copies the extended attributes that a program may set; an overlay's own state is not among them. A file system that
/// has none takes none.
pub(super) fn xattrs(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> rustix::io::Result<()> {
    let mut names = vec![0_u8; XATTR_BYTES_MAX];
    let Ok(length) = rustix::fs::flistxattr(from, &mut names[..]) else { return Ok(()) };
    let names = names.get(..length).unwrap_or_default();
    for name in names.split(|byte| *byte == 0).filter(|name| is_a_programs(name)) {
        let mut value = vec![0_u8; XATTR_BYTES_MAX];
        let length = rustix::fs::fgetxattr(from, name, &mut value[..])?;
        let value = value.get(..length).unwrap_or_default();
        match rustix::fs::fsetxattr(to, name, value, XattrFlags::empty()) {
            Err(Errno::OPNOTSUPP | Errno::PERM) => {}
            done => done?,
        }
    }
    Ok(())
}

fn is_a_programs(name: &[u8]) -> bool {
    name.starts_with(b"system.posix_acl_") || name.starts_with(b"user.") && !name.starts_with(b"user.overlay.")
}

/// The modification time of what `stat` tells of, as both times of a copy.
pub(super) fn times(stat: &Stat) -> Timestamps {
    let time = Timespec { tv_sec: stat.st_mtime, tv_nsec: stat.st_mtime_nsec as _ };
    Timestamps { last_access: time, last_modification: time }
}

/// Frees in a copy what the original never filled.
pub(super) fn holes(from: &File, stat: &Stat, to: &File) {
    let size = stat.st_size as u64;
    if stat.st_blocks as u64 * 512 >= size {
        return;
    }
    let mut at = 0;
    while let Ok(start) = rustix::fs::seek(from, SeekFrom::Hole(at))
        && start < size
    {
        // ENXIO: nothing but the hole is left.
        let end = rustix::fs::seek(from, SeekFrom::Data(start)).unwrap_or(size);
        // A file system without holes keeps the zeros, which read the same.
        let _ = rustix::fs::fallocate(to, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, start, end - start);
        at = end;
    }
}

/// Gives the directories in and above which something changed the times and attributes that they have in the upper layer.
/// Nothing depends on them: what can't be set stays as it is.
pub(super) fn directories(upper: BorrowedFd<'_>, lower: BorrowedFd<'_>, take: &[&Change]) {
    let above = take.iter().flat_map(|change| change.path.ancestors().skip(1));
    let own = take.iter().filter(|c| matches!(c.node, Node::Directory { .. })).map(|c| c.path.as_path());
    let all: BTreeSet<&Path> = above.chain(own).collect();
    // The deepest first: setting one's attributes changes nothing above it, but the order costs nothing.
    for rel in all.into_iter().rev() {
        let (Ok(from), Ok(to)) = (beneath::dir(upper, rel), beneath::dir(lower, rel)) else { continue };
        let _ = xattrs(from.as_fd(), to.as_fd());
        if let Ok(stat) = rustix::fs::fstat(&from) {
            let _ = rustix::fs::futimens(&to, &times(&stat));
        }
    }
}

/// A link's own times.
pub(super) fn link_times(dir: BorrowedFd<'_>, name: &std::ffi::OsStr, stat: &Stat) -> rustix::io::Result<()> {
    rustix::fs::utimensat(dir, name, &times(stat), AtFlags::SYMLINK_NOFOLLOW)
}
