//! A twin of an upper layer: a second tree of the same files by hard links, and the exchange of the two in one step.
//!
//! INVARIANT: nothing writes into a file of either tree while both stand: a path changes by a new file under its name, and
//! directories are each tree's own. So what is done to one does not show in the other.

use super::node::{is_whiteout, kind};
use super::{Result, WorkspaceError, beneath, beneath::err, journal::sync_above};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, RenameFlags, Stat, Timespec, Timestamps, XattrFlags};
use rustix::io::Errno;
use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// Makes `twin`, which must not be there, and puts it and all that it names on the disk.
///
/// # Errors
/// The operating system refused; a part of it may be left.
pub fn twin(upper: &Path, twin: &Path) -> Result<()> {
    let from = beneath::root(upper)?;
    rustix::fs::mkdir(twin, Mode::from_raw_mode(0o700)).map_err(err("make", twin))?;
    let to = beneath::root(twin)?;
    directory(from.as_fd(), to.as_fd(), upper, 0)?;
    rustix::fs::syncfs(&to).map_err(err("sync", twin))?;
    sync_above(twin)
}

/// Exchanges two trees of one folder, in one step and durably.
///
/// # Errors
/// The operating system refused.
pub fn exchange(one: &Path, other: &Path) -> Result<()> {
    let dir = rustix::fs::open(one, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
    // INVARIANT: what becomes the layer is on the disk before its name means it.
    rustix::fs::syncfs(dir.map_err(err("open", one))?).map_err(err("sync", one))?;
    rustix::fs::renameat_with(rustix::fs::CWD, one, rustix::fs::CWD, other, RenameFlags::EXCHANGE)
        .map_err(err("exchange", one))?;
    sync_above(one)
}

/// A folder's inode, by which the two are told apart; `None` where nothing is.
///
/// # Errors
/// The operating system refused.
pub fn inode(dir: &Path) -> Result<Option<u64>> {
    match rustix::fs::lstat(dir) {
        Ok(stat) => Ok(Some(stat.st_ino)),
        Err(Errno::NOENT) => Ok(None),
        Err(e) => Err(err("look at", dir)(e)),
    }
}

fn directory(from: BorrowedFd<'_>, to: BorrowedFd<'_>, shown: &Path, depth: usize) -> Result<()> {
    if depth > beneath::DEPTH_MAX {
        return Err(err("walk", shown)(Errno::NAMETOOLONG));
    }
    for name in beneath::names(from, Path::new("")).map_err(err("list", shown))? {
        let path = shown.join(&name);
        let stat = rustix::fs::statat(from, &name, AtFlags::SYMLINK_NOFOLLOW).map_err(err("look at", &path))?;
        if kind(&stat) == FileType::Directory {
            rustix::fs::mkdirat(to, &name, Mode::from_raw_mode(0o700)).map_err(err("make", &path))?;
            let inner = open(from, &name).map_err(err("open", &path))?;
            let made = open(to, &name).map_err(err("open", &path))?;
            directory(inner.as_fd(), made.as_fd(), &path, depth + 1)?;
        } else {
            link(from, to, &name, &stat).map_err(err("link", &path))?;
        }
    }
    like(from, to).map_err(err("make", shown))
}

fn link(from: BorrowedFd<'_>, to: BorrowedFd<'_>, name: &OsStr, stat: &Stat) -> rustix::io::Result<()> {
    match rustix::fs::linkat(from, name, to, name, AtFlags::empty()) {
        // Overlayfs gives many names to one whiteout: there may be no room for one more on it.
        Err(Errno::MLINK) if is_whiteout(stat) => {
            rustix::fs::mknodat(to, name, FileType::CharacterDevice, Mode::empty(), rustix::fs::makedev(0, 0))
        }
        // A file with that many names, or a file system without hard links.
        Err(Errno::MLINK | Errno::PERM | Errno::OPNOTSUPP) if kind(stat) == FileType::RegularFile => {
            copy(from, to, name, stat)
        }
        other => other,
    }
}

fn copy(from: BorrowedFd<'_>, to: BorrowedFd<'_>, name: &OsStr, stat: &Stat) -> rustix::io::Result<()> {
    let mut content = beneath::file(from, Path::new(name))?;
    let file = super::rewind::create(to, name)?;
    let mut file = File::from(file);
    std::io::copy(&mut content, &mut file).map_err(|e| Errno::from_io_error(&e).unwrap_or(Errno::IO))?;
    super::rewind::own(file.as_fd(), stat.st_uid, stat.st_gid)?;
    rustix::fs::fchmod(&file, Mode::from_raw_mode(stat.st_mode & 0o7777))?;
    rustix::fs::futimens(&file, &times(stat))
}

/// Gives a directory the owner, marks, mode and times of the other.
fn like(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> rustix::io::Result<()> {
    let stat = rustix::fs::fstat(from)?;
    super::rewind::own(to, stat.st_uid, stat.st_gid)?;
    for name in ["opaque", "origin", "impure", "uuid", "redirect"].map(|n| format!("user.overlay.{n}")) {
        if let Some(value) = beneath::xattr(from, &name)? {
            rustix::fs::fsetxattr(to, &name, &value, XattrFlags::empty())?;
        }
    }
    rustix::fs::fchmod(to, Mode::from_raw_mode(stat.st_mode & 0o7777))?;
    rustix::fs::futimens(to, &times(&stat))
}

fn times(stat: &Stat) -> Timestamps {
    let at = |tv_sec, tv_nsec: u64| Timespec { tv_sec, tv_nsec: tv_nsec as _ };
    Timestamps {
        last_access: at(stat.st_atime, stat.st_atime_nsec),
        last_modification: at(stat.st_mtime, stat.st_mtime_nsec),
    }
}

/// A directory whose own mode may keep us out of it, for its names and for names in it.
fn open(at: BorrowedFd<'_>, name: &OsStr) -> rustix::io::Result<OwnedFd> {
    beneath::dir(at, Path::new(name))
}

/// What a failed or finished exchange left: removed, if it is there.
///
/// # Errors
/// The operating system refused.
pub fn drop_twin(twin: &Path) -> Result<()> {
    match super::remove_tree(twin) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            Err(WorkspaceError::Io { doing: "remove", path: twin.to_owned(), source: e })
        }
        _ => sync_above(twin),
    }
}
