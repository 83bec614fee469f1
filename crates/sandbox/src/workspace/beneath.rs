//! Operations on a path below a directory that can't be led out of it: no link is followed, no `..` taken.

use super::{Result, WorkspaceError};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};

/// `openat2` answers EAGAIN when something was renamed while it looked; so often is it asked again.
const RACES_MAX: usize = 64;

/// Directories inside one another that a walk goes into, at most. Each level holds one descriptor.
pub(super) const DEPTH_MAX: usize = 512;

/// The error of an operation on a path.
pub(super) fn err(doing: &'static str, path: &Path) -> impl FnOnce(Errno) -> WorkspaceError {
    move |e| WorkspaceError::Io { doing, path: path.to_owned(), source: e.into() }
}

/// Only plain names, one after the other.
pub(super) fn check(rel: &Path) -> Result<()> {
    if rel.components().all(|c| matches!(c, Component::Normal(_))) {
        Ok(())
    } else {
        Err(WorkspaceError::Outside(rel.to_owned()))
    }
}

/// The root itself, which the caller trusts.
pub(super) fn root(path: &Path) -> Result<OwnedFd> {
    rustix::fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(err("open", path))
}

fn open(root: BorrowedFd<'_>, rel: &Path, flags: OFlags) -> rustix::io::Result<OwnedFd> {
    let rel = if rel.as_os_str().is_empty() { Path::new(".") } else { rel };
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let mut last = Errno::AGAIN;
    for _ in 0..RACES_MAX {
        match rustix::fs::openat2(root, rel, flags | OFlags::CLOEXEC | OFlags::NOFOLLOW, Mode::empty(), resolve) {
            Err(Errno::AGAIN | Errno::INTR) => last = Errno::AGAIN,
            Err(e) => return Err(e),
            Ok(fd) => return Ok(fd),
        }
    }
    Err(last)
}

/// A directory, for reading its names and for operations in it.
pub(super) fn dir(root: BorrowedFd<'_>, rel: &Path) -> rustix::io::Result<OwnedFd> {
    open(root, rel, OFlags::RDONLY | OFlags::DIRECTORY)
}

/// A directory, for operations in it alone.
pub(super) fn place(root: BorrowedFd<'_>, rel: &Path) -> rustix::io::Result<OwnedFd> {
    open(root, rel, OFlags::PATH | OFlags::DIRECTORY)
}

/// A regular file, for reading. Never blocks on what turned into a FIFO meanwhile.
pub(super) fn file(root: BorrowedFd<'_>, rel: &Path) -> rustix::io::Result<File> {
    let fd = open(root, rel, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY)?;
    if FileType::from_raw_mode(rustix::fs::fstat(&fd)?.st_mode) != FileType::RegularFile {
        return Err(Errno::INVAL);
    }
    Ok(File::from(fd))
}

/// The directory that holds the path, and its name in there.
pub(super) fn parent(root: BorrowedFd<'_>, rel: &Path) -> rustix::io::Result<(OwnedFd, OsString)> {
    let name = rel.file_name().ok_or(Errno::INVAL)?.to_owned();
    let above = rel.parent().unwrap_or(Path::new(""));
    Ok((place(root, above)?, name))
}

/// The path's one name, where it is no more than that: then nothing lies on the way that would have to be opened.
fn plain(rel: &Path) -> Option<&OsStr> {
    let mut parts = rel.components();
    match (parts.next(), parts.next()) {
        (Some(Component::Normal(name)), None) => Some(name),
        _ => None,
    }
}

/// What is there; `None` where nothing is, or where a part of the way is no directory.
pub(super) fn stat(root: BorrowedFd<'_>, rel: &Path) -> rustix::io::Result<Option<Stat>> {
    if rel.as_os_str().is_empty() {
        return rustix::fs::fstat(root).map(Some);
    }
    let found = match plain(rel) {
        Some(name) => rustix::fs::statat(root, name, AtFlags::SYMLINK_NOFOLLOW),
        None => parent(root, rel).and_then(|(dir, name)| rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)),
    };
    match found {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
        Err(e) => Err(e),
    }
}

/// What a symbolic link says.
pub(super) fn link(root: BorrowedFd<'_>, rel: &Path) -> rustix::io::Result<PathBuf> {
    let (dir, name) = parent(root, rel)?;
    let target = rustix::fs::readlinkat(dir, name, Vec::new())?;
    Ok(PathBuf::from(OsString::from_vec(target.into_bytes())))
}

/// The names in a directory, sorted.
pub(super) fn names(root: BorrowedFd<'_>, rel: &Path) -> rustix::io::Result<Vec<OsString>> {
    let fd = dir(root, rel)?;
    let mut names = Vec::new();
    for entry in rustix::fs::Dir::read_from(&fd)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(OsStr::from_bytes(name).to_owned());
        }
    }
    names.sort();
    Ok(names)
}

/// An extended attribute of a directory, if it has it.
pub(super) fn xattr(dir: BorrowedFd<'_>, name: &str) -> rustix::io::Result<Option<Vec<u8>>> {
    let mut buf = [0_u8; 256];
    match rustix::fs::fgetxattr(dir, name, &mut buf[..]) {
        Ok(n) => Ok(Some(buf.get(..n).unwrap_or_default().to_vec())),
        Err(Errno::NODATA | Errno::OPNOTSUPP | Errno::PERM) => Ok(None),
        // Longer than anything overlayfs writes there: present.
        Err(Errno::RANGE) => Ok(Some(Vec::new())),
        Err(e) => Err(e),
    }
}

/// Permission bits, links not followed, whatever the file may be opened for.
pub(super) fn chmod(root: BorrowedFd<'_>, rel: &Path, mode: u32) -> rustix::io::Result<()> {
    use std::os::fd::AsRawFd;
    let fd = open(root, rel, OFlags::PATH)?;
    if FileType::from_raw_mode(rustix::fs::fstat(&fd)?.st_mode) == FileType::Symlink {
        return Err(Errno::LOOP);
    }
    // The magic link names the very file that is held open; no path is resolved again.
    rustix::fs::chmod(format!("/proc/self/fd/{}", fd.as_raw_fd()), Mode::from_raw_mode(mode & 0o7777))
}

/// Removes what is there, with all that is in it; nothing there is fine.
pub(super) fn remove(root: BorrowedFd<'_>, rel: &Path) -> rustix::io::Result<()> {
    match parent(root, rel) {
        Ok((dir, name)) => remove_in(dir.as_fd(), &name, 0),
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(()),
        Err(e) => Err(e),
    }
}

fn remove_in(dir: BorrowedFd<'_>, name: &OsStr, depth: usize) -> rustix::io::Result<()> {
    if depth > DEPTH_MAX {
        return Err(Errno::NAMETOOLONG);
    }
    match rustix::fs::unlinkat(dir, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(e) => return Err(e),
    }
    let inner = match open(dir, Path::new(name), OFlags::RDONLY | OFlags::DIRECTORY) {
        // Its own mode may keep us out of it; it is going away.
        Err(Errno::ACCESS) => {
            chmod(dir, Path::new(name), 0o700)?;
            open(dir, Path::new(name), OFlags::RDONLY | OFlags::DIRECTORY)?
        }
        other => other?,
    };
    let names = names(inner.as_fd(), Path::new(""))?;
    if !names.is_empty() {
        // As above: an entry can't be taken out of a directory that may not be written.
        rustix::fs::fchmod(&inner, Mode::from_raw_mode(0o700))?;
    }
    for inside in names {
        remove_in(inner.as_fd(), &inside, depth + 1)?;
    }
    rustix::fs::unlinkat(dir, name, AtFlags::REMOVEDIR)
}
