//! Renames and hard links that the workspace's overlay refuses though a plain disk would not.
//!
//! A directory that stands in the lower layer can't be renamed (`EXDEV`), and most programs don't copy instead: `git mv`
//! of a folder fails. So its files get a second name in a new directory, which stands in the upper layer alone and can be
//! renamed into place; then the old tree goes. Until that rename a failure takes only the new directory away again.

use super::resolve::{Place, kind};
use super::sys::{self, Errno};
use crate::call::{Below, FileKind};
use rustix::fd::{AsFd, BorrowedFd};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, StatxFlags, XattrFlags};
use std::ffi::{CStr, CString, OsStr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Entries of one directory tree that are moved; a larger one is refused as the overlay does, and `mv` copies it.
const ENTRIES_MAX: usize = 20_000;
/// Bytes of its files, which the overlay copies on the way.
const BYTES_MAX: u64 = 256 << 20;
/// A tree of at most this much is copied on the way; the files of a larger one are copied before by a thread of its own.
const AT_ONCE_ENTRIES_MAX: usize = 256;
const AT_ONCE_BYTES_MAX: u64 = 4 << 20;
/// Directories inside one another. Each holds two descriptors.
const DEPTH_MAX: usize = 128;
const XATTR_BYTES_MAX: usize = 1 << 16;

/// `renameat2`, also where the overlay can't; then directories are made, before which `closed` closes them to others.
pub(super) fn rename(from: &Place, to: &Place, flags: u32, closed: impl FnOnce()) -> Result<(), Errno> {
    match rename_as_is(from, to, flags) {
        Err(libc::EXDEV) if flags & libc::RENAME_EXCHANGE == 0 && is_one_mount(from, to) => {
            closed();
            // What went wrong on the way is not what the caller asked for; that the overlay can't is.
            move_tree(from, to, flags).map_err(|errno| if errno == libc::ENOTEMPTY { errno } else { libc::EXDEV })
        }
        done => done,
    }
}

/// `renameat2` as it is.
pub(super) fn rename_as_is(from: &Place, to: &Place, flags: u32) -> Result<(), Errno> {
    sys::rename(from.parent.as_raw_fd(), &from.given_name(), to.parent.as_raw_fd(), &to.given_name(), flags)
}

/// What the overlay will not rename, where moving it copies more than can be done on the way.
pub(super) fn large_tree(from: &Place, to: &Place) -> Option<OwnedFd> {
    let source = open_dir(from.parent.as_fd(), &from.name).ok().filter(|_| is_one_mount(from, to))?;
    let mut at_once = Budget { entries: AT_ONCE_ENTRIES_MAX, bytes: AT_ONCE_BYTES_MAX };
    count(&source, &mut at_once, 0).is_err().then_some(source)
}

/// Has the overlay copy all files below a directory, if it can be moved at all. What comes meanwhile is copied by the move.
pub(super) fn copy_tree(dir: &OwnedFd) -> Result<(), Errno> {
    count(dir, &mut Budget { entries: ENTRIES_MAX, bytes: BYTES_MAX }, 0)?;
    copy_below(dir, 0)
}

fn copy_below(dir: &OwnedFd, depth: usize) -> Result<(), Errno> {
    if depth > DEPTH_MAX {
        return Err(libc::EXDEV);
    }
    for (name, stat) in entries(dir)? {
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => copy_below(&open_dir(dir.as_fd(), &name)?, depth + 1)?,
            FileType::RegularFile => {
                let flags = libc::O_PATH | libc::O_NOFOLLOW | libc::O_CLOEXEC;
                super::copying::copy(&sys::openat(dir.as_raw_fd(), &name, flags, 0)?)?;
            }
            _ => {}
        }
    }
    Ok(())
}

fn is_one_mount(from: &Place, to: &Place) -> bool {
    let mount = |place: &Place| {
        let stat = rustix::fs::statx(&*place.parent, c"", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID).ok()?;
        (stat.stx_mask & StatxFlags::MNT_ID.bits() != 0).then_some(stat.stx_mnt_id)
    };
    mount(from).is_some_and(|one| mount(to) == Some(one))
}

fn move_tree(from: &Place, to: &Place, flags: u32) -> Result<(), Errno> {
    let source = open_dir(from.parent.as_fd(), &from.name)?;
    count(&source, &mut Budget { entries: ENTRIES_MAX, bytes: BYTES_MAX }, 0)?;
    let target = to.parent.as_fd();
    let (name, made) = make_beside(target)?;
    let placed = fill(&source, &made, 0)
        .and_then(|()| sys::rename(target.as_raw_fd(), &name, target.as_raw_fd(), &to.name, flags));
    match placed {
        Ok(()) => remove(from.parent.as_fd(), &from.name, 0),
        Err(errno) => {
            // The old tree has all that is in the new one.
            let _ = remove(target, &name, 0);
            Err(errno)
        }
    }
}

/// What lies below `at`, in an order that the file system has no say in.
pub(super) fn below(at: &Place, kind: FileKind) -> Below {
    let mut found = Vec::new();
    if kind == FileKind::Directory {
        let listed = open_dir(at.parent.as_fd(), &at.name).and_then(|dir| list(&dir, Path::new(""), &mut found, 0));
        if listed.is_err() {
            return Below::Unknown;
        }
    }
    Below::Known(found)
}

fn list(dir: &OwnedFd, path: &Path, found: &mut Vec<(PathBuf, FileKind)>, depth: usize) -> Result<(), Errno> {
    let mut here = entries(dir)?;
    if depth > DEPTH_MAX || found.len() + here.len() > ENTRIES_MAX {
        return Err(libc::EXDEV);
    }
    here.sort_by(|(one, _), (other, _)| one.cmp(other));
    for (name, stat) in here {
        let path = path.join(OsStr::from_bytes(name.to_bytes()));
        let kind = kind(&stat);
        found.push((path.clone(), kind));
        if kind == FileKind::Directory {
            list(&open_dir(dir.as_fd(), &name)?, &path, found, depth + 1)?;
        }
    }
    Ok(())
}

struct Budget {
    entries: usize,
    bytes: u64,
}

/// Refuses, before anything is done, a tree that is too large or that could not be taken away afterwards.
fn count(dir: &OwnedFd, left: &mut Budget, depth: usize) -> Result<(), Errno> {
    let stat = sys::fstat(dir.as_fd())?;
    if depth > DEPTH_MAX || stat.st_uid != rustix::process::geteuid().as_raw() {
        return Err(libc::EXDEV);
    }
    for (name, stat) in entries(dir)? {
        left.entries = left.entries.checked_sub(1).ok_or(libc::EXDEV)?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => count(&open_dir(dir.as_fd(), &name)?, left, depth + 1)?,
            FileType::RegularFile => {
                left.bytes = left.bytes.checked_sub(stat.st_blocks as u64 * 512).ok_or(libc::EXDEV)?;
            }
            _ => {}
        }
    }
    Ok(())
}

/// A new directory with a name that nobody has.
fn make_beside(parent: BorrowedFd<'_>) -> Result<(CString, OwnedFd), Errno> {
    for attempt in 0..64 {
        let name = CString::new(format!(".flyball-moving-{attempt}")).map_err(|_| libc::EINVAL)?;
        match sys::mkdir(parent.as_raw_fd(), &name, 0o700) {
            Ok(()) => return Ok((name.clone(), open_dir(parent, &name)?)),
            Err(libc::EEXIST) => {}
            Err(errno) => return Err(errno),
        }
    }
    Err(libc::EEXIST)
}

/// Gives all that is in `from` a second name in `to`, which becomes a directory like it.
fn fill(from: &OwnedFd, to: &OwnedFd, depth: usize) -> Result<(), Errno> {
    if depth > DEPTH_MAX {
        return Err(libc::EXDEV);
    }
    for (name, stat) in entries(from)? {
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            sys::mkdir(to.as_raw_fd(), &name, 0o700)?;
            fill(&open_dir(from.as_fd(), &name)?, &open_dir(to.as_fd(), &name)?, depth + 1)?;
        } else {
            sys::link(from.as_raw_fd(), &name, to.as_raw_fd(), &name, 0)?;
        }
    }
    liken(from, to)
}

/// Gives a directory another's extended attributes, owner, mode and times.
fn liken(from: &OwnedFd, to: &OwnedFd) -> Result<(), Errno> {
    let raw = |errno: rustix::io::Errno| errno.raw_os_error();
    let stat = sys::fstat(from.as_fd())?;
    let mut names = vec![0; XATTR_BYTES_MAX];
    let length = rustix::fs::flistxattr(from, &mut names[..]).unwrap_or(0);
    let names = names.get(..length).unwrap_or_default();
    for name in names.split(|byte| *byte == 0).filter(|name| name.starts_with(b"user.") || name.starts_with(b"system."))
    {
        let mut value = vec![0; XATTR_BYTES_MAX];
        let length = rustix::fs::fgetxattr(from, name, &mut value[..]).map_err(raw)?;
        let value = value.get(..length).unwrap_or_default();
        rustix::fs::fsetxattr(to, name, value, XattrFlags::empty()).map_err(raw)?;
    }
    let made = sys::fstat(to.as_fd())?;
    if made.st_gid != stat.st_gid {
        let group = rustix::process::Gid::from_raw(stat.st_gid);
        rustix::fs::fchown(to, None, Some(group)).map_err(raw)?;
    }
    rustix::fs::fchmod(to, Mode::from_raw_mode(stat.st_mode & 0o7777)).map_err(raw)?;
    let time = |sec, nsec| rustix::fs::Timespec { tv_sec: sec, tv_nsec: nsec };
    let times = rustix::fs::Timestamps {
        last_access: time(stat.st_atime, stat.st_atime_nsec),
        last_modification: time(stat.st_mtime, stat.st_mtime_nsec),
    };
    rustix::fs::futimens(to, &times).map_err(raw)
}

/// Removes a tree that was counted before; its own directories may be closed for writing.
fn remove(parent: BorrowedFd<'_>, name: &CStr, depth: usize) -> Result<(), Errno> {
    if depth > DEPTH_MAX {
        return Err(libc::EXDEV);
    }
    let dir = open_dir(parent, name)?;
    let found = entries(&dir)?;
    if !found.is_empty() && sys::fstat(dir.as_fd())?.st_mode & 0o300 != 0o300 {
        rustix::fs::fchmod(&dir, Mode::RWXU).map_err(|errno| errno.raw_os_error())?;
    }
    for (name, stat) in found {
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            remove(dir.as_fd(), &name, depth + 1)?;
        } else {
            sys::unlink(dir.as_raw_fd(), &name, 0)?;
        }
    }
    sys::unlink(parent.as_raw_fd(), name, libc::AT_REMOVEDIR)
}

fn open_dir(parent: BorrowedFd<'_>, name: &CStr) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(parent, name, flags, Mode::empty()).map_err(|errno| errno.raw_os_error())
}

fn entries(dir: &OwnedFd) -> Result<Vec<(CString, libc::stat)>, Errno> {
    let raw = |errno: rustix::io::Errno| errno.raw_os_error();
    let mut out = Vec::new();
    for entry in rustix::fs::Dir::read_from(dir).map_err(raw)? {
        let name = entry.map_err(raw)?.file_name().to_owned();
        if name.to_bytes() == b"." || name.to_bytes() == b".." {
            continue;
        }
        if out.len() > ENTRIES_MAX {
            return Err(libc::EXDEV);
        }
        let stat = sys::stat(dir.as_raw_fd(), &name, libc::AT_SYMLINK_NOFOLLOW)?;
        out.push((name, stat));
    }
    Ok(out)
}

/// `linkat` of a file that is held, also where the overlay makes two files of it.
///
/// Linking a file of the lower layer copies it up, and in a user namespace the new name then has another inode number
/// than the old one has while it is remembered. The old name is made anew from the new one, so that both tell the same.
/// A program that knows the number from before (`is_compared`: git compares) would take it for another file still: to it
/// the link fails as one to another disk, which it knows how to do without.
pub(super) fn link(own: BorrowedFd<'_>, file: &Linked, at: &Place) -> Result<(), Errno> {
    let before = sys::fstat(file.file.as_fd())?;
    let (parent, name) = (at.parent.as_raw_fd(), at.given_name());
    sys::link(own.as_raw_fd(), &super::caller::descriptor_name(&file.file), parent, &name, libc::AT_SYMLINK_FOLLOW)?;
    match at.look()? {
        Some(after) if after.st_ino != before.st_ino && file.is_compared => {
            sys::unlink(parent, &name, 0)?;
            Err(libc::EXDEV)
        }
        Some(after) if after.st_ino != before.st_ino => {
            file.place.as_ref().map_or(Ok(()), |old| renew(old, at, &before))
        }
        _ => Ok(()),
    }
}

/// A file to be linked.
pub(super) struct Linked {
    pub(super) file: OwnedFd,
    /// The name that it was found by, if by a name.
    pub(super) place: Option<Place>,
    /// Its caller will compare inode numbers.
    pub(super) is_compared: bool,
}

/// Makes the old name anew. A rename over it would do nothing, both being one file; so it is gone for a moment.
fn renew(old: &Place, new: &Place, was: &libc::stat) -> Result<(), Errno> {
    if old.look()?.is_none_or(|stat| (stat.st_dev, stat.st_ino) != (was.st_dev, was.st_ino)) {
        return Ok(());
    }
    let folder = sys::fstat(old.parent.as_fd())?;
    let parent = old.parent.as_raw_fd();
    sys::unlink(parent, &old.name, 0)?;
    sys::link(new.parent.as_raw_fd(), &new.name, parent, &old.name, 0)?;
    // Nobody wrote to the folder.
    let time = |sec, nsec| libc::timespec { tv_sec: sec, tv_nsec: nsec };
    let times = [time(folder.st_atime, folder.st_atime_nsec), time(folder.st_mtime, folder.st_mtime_nsec)];
    sys::utimens(libc::AT_FDCWD, &super::caller::descriptor_path(&old.parent), Some(&times), 0)
}
