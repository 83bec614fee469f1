//! Looks at one layer beneath the merged view.

use super::node::node_in;
use super::{Layers, Node, Result, beneath, beneath::err};
use rustix::fs::Stat;
use std::fs::{self, File};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// What the user's own tree has now at a path, whether or not the session changed it. Reads a file's whole content.
///
/// # Errors
/// The path does not stay within, or the operating system refuses.
pub fn lower_node(layers: &Layers, rel: &Path) -> Result<Node> {
    beneath::check(rel)?;
    let root = beneath::root(&layers.lower)?;
    node_in(root.as_fd(), rel, &mut |_| {}).map_err(err("read", rel))
}

/// A regular file of the user's own tree, open for reading.
///
/// # Errors
/// There is none, the path does not stay within, or the operating system refuses.
pub fn lower_file(layers: &Layers, rel: &Path) -> Result<File> {
    beneath::check(rel)?;
    let root = beneath::root(&layers.lower)?;
    beneath::file(root.as_fd(), rel).map_err(err("read", rel))
}

/// What the operating system says of the session's own copy of a regular file, beside its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Inode.
    pub ino: u64,
    /// Size, bytes.
    pub size: u64,
    /// When its content changed, nanoseconds since the epoch. The governed program can set it.
    pub mtime_ns: i128,
    /// When it changed in any way, nanoseconds since the epoch. Nobody can set it.
    pub ctime_ns: i128,
    /// Names that it has.
    pub links: u64,
    /// Whether somebody may hold it open for writing, or mapped shared: then what was read of it can change without another
    /// mediated call. In doubt, yes.
    pub has_writers: bool,
}

/// The stamp of a regular file of the upper layer; `None` where there is none that could be read.
///
/// Taken before a file is read, it holds for what is read unless `has_writers`: whoever wants to write has to open it first.
#[must_use]
pub fn stamp(layers: &Layers, rel: &Path) -> Option<Stamp> {
    let root = beneath::root(&layers.upper).ok()?;
    let file = beneath::file(root.as_fd(), rel).ok()?;
    let found = rustix::fs::fstat(&file).ok()?;
    Some(stamp_of(&file, &found))
}

/// The stamp of an open regular file, as it was found when that was opened. What was written between that and now by somebody who
/// has closed it since has another stamp, and so is looked at again: never the other way round.
pub(super) fn stamp_of(file: &File, found: &Stat) -> Stamp {
    // The operating system grants a read lease on a file only while nobody has it open for writing. Given back at once:
    // who opens it for writing meanwhile would wait for that.
    // Another thread of ours may do so in between, which is signalled: by one that nobody minds.
    // SAFETY: F_SETSIG and F_SETLEASE take an open descriptor, which `file` keeps open, and a plain integer; no memory.
    let leased = unsafe {
        libc::fcntl(file.as_raw_fd(), F_SETSIG, libc::SIGURG) == 0
            && libc::fcntl(file.as_raw_fd(), libc::F_SETLEASE, libc::F_RDLCK) == 0
            && libc::fcntl(file.as_raw_fd(), libc::F_SETLEASE, libc::F_UNLCK) == 0
    };
    let ns = |seconds: i64, part: u64| i128::from(seconds) * 1_000_000_000 + i128::from(part);
    Stamp {
        ino: found.st_ino,
        size: u64::try_from(found.st_size).unwrap_or(u64::MAX),
        mtime_ns: ns(found.st_mtime, found.st_mtime_nsec),
        ctime_ns: ns(found.st_ctime, found.st_ctime_nsec),
        links: found.st_nlink,
        has_writers: !leased,
    }
}

/// Linux's number; `libc` has no name for it here.
const F_SETSIG: i32 = 10;

/// Whether the upper layer is on a file system that tells of every write by a file's times. Writing through a shared mapping
/// shows in none on tmpfs.
#[must_use]
pub fn stamps_tell(layers: &Layers) -> bool {
    const TMPFS_MAGIC: i64 = 0x0102_1994;
    rustix::fs::statfs(&layers.upper).is_ok_and(|fs| fs.f_type != TMPFS_MAGIC)
}

/// Removes a tree of the supervisor's own, overlayfs's work folders (which have no permissions) included.
///
/// # Errors
/// What the operating system said.
pub fn remove_tree(place: &Path) -> std::io::Result<()> {
    match fs::remove_dir_all(place) {
        Err(e) if e.kind() == std::io::ErrorKind::PermissionDenied => {
            open_up(place)?;
            fs::remove_dir_all(place)
        }
        other => other,
    }
}

fn open_up(dir: &Path) -> std::io::Result<()> {
    fs::set_permissions(dir, fs::Permissions::from_mode(0o700))?;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            open_up(&entry.path())?;
        }
    }
    Ok(())
}
