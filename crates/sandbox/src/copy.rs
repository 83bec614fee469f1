//! Copies a tree so that a program can't tell the copy from it: modes, times, links, hard links, extended attributes and
//! holes are kept, owners where we may give files away. A file shares its blocks with the original where the file system
//! can (`FICLONE`: btrfs, xfs, bcachefs), and is written out anew where not.
//!
//! What this user can't read stands in the copy as an empty folder, or an empty file that nobody can open. What is mounted within the tree is not gone into: an overlay would not show it either.
//!
//! INVARIANT: nothing of the source is followed out of it: every name is opened below its folder's own descriptor, no
//! link and no mount taken.

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, SeekFrom, Stat, Timespec, Timestamps, XattrFlags};
use rustix::io::Errno;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::ffi::{CString, OsStr, OsString};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// Folders inside one another that are gone into; each holds two descriptors.
const DEPTH_MAX: usize = 200;
const BUFFER_BYTES: usize = 128 * 1024;
/// An attribute's names and value, as the kernel bounds them.
const XATTR_BYTES_MAX: usize = 64 * 1024;

/// The mode of what stands for a file or folder that could not be read. The folder can be listed: what walks the copy must
/// get through it.
pub(crate) const CLOSED_FILE: u32 = 0o000;
pub(crate) const CLOSED_FOLDER: u32 = 0o500;

/// What is copied at most; beyond it the copy fails.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Files, folders, links.
    pub(crate) entries_max: u64,
    /// The sum of the files' sizes.
    pub(crate) bytes_max: u64,
}

/// What one copied entry is.
#[derive(Debug)]
pub(crate) enum Kind {
    /// A file, with the SHA-256 of what was copied and its length.
    File { digest: [u8; 32], size: u64 },
    /// A folder.
    Directory,
    /// A link that says this.
    Symlink(PathBuf),
    /// A FIFO, socket or device; or what this user can't read.
    Other,
}

/// Why a tree could not be copied.
#[derive(Debug)]
pub(crate) struct Failed {
    pub(crate) doing: &'static str,
    /// Relative to the tree.
    pub(crate) path: PathBuf,
    pub(crate) source: io::Error,
}

type Result<T> = std::result::Result<T, Failed>;

/// Copies all that is in `from` into `to`, an empty folder, and gives that the first one's mode, times and attributes.
/// Tells of each entry once it is there, folders after what is in them; the root itself is not told of. What `is_closed` (by
/// its path below the tree) is not copied, as if this user couldn't read it.
pub(crate) fn tree(
    from: BorrowedFd<'_>,
    to: BorrowedFd<'_>,
    bounds: Bounds,
    is_closed: &dyn Fn(&Path) -> bool,
    told: &mut dyn FnMut(&Path, Kind),
) -> Result<()> {
    let mut copy = Copy { links: HashMap::new(), bounds, to_root: to, buffer: vec![0; BUFFER_BYTES], is_closed, told };
    copy.inside(from, to, Path::new(""), 0)?;
    let stat = rustix::fs::fstat(from).map_err(failed("look at", Path::new("")))?;
    dress(to, from, &stat).map_err(failed("set the mode of", Path::new("")))
}

/// Whether a file in this folder can share its blocks with one of that folder: tried, not guessed.
pub(crate) fn can_share(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> bool {
    let file =
        |dir: BorrowedFd<'_>, flags| rustix::fs::openat(dir, ".", flags | OFlags::TMPFILE, Mode::RUSR | Mode::WUSR);
    match (file(from, OFlags::RDWR), file(to, OFlags::RDWR)) {
        (Ok(from), Ok(to)) => rustix::io::write(&from, b"x").is_ok() && rustix::fs::ioctl_ficlone(&to, &from).is_ok(),
        _ => false,
    }
}

struct Copy<'a> {
    /// Files with several names, by device and inode: the first name that the copy has them under, digest and length.
    links: HashMap<(u64, u64), (PathBuf, [u8; 32], u64)>,
    bounds: Bounds,
    to_root: BorrowedFd<'a>,
    buffer: Vec<u8>,
    is_closed: &'a dyn Fn(&Path) -> bool,
    told: &'a mut dyn FnMut(&Path, Kind),
}

impl Copy<'_> {
    fn inside(&mut self, from: BorrowedFd<'_>, to: BorrowedFd<'_>, rel: &Path, depth: usize) -> Result<()> {
        if depth > DEPTH_MAX {
            return Err(failed("go into", rel)(Errno::NAMETOOLONG));
        }
        for name in names(from).map_err(failed("list", rel))? {
            let path = rel.join(&name);
            let stat = match rustix::fs::statat(from, &name, AtFlags::SYMLINK_NOFOLLOW) {
                // Gone since it was listed: somebody works in the tree.
                Err(Errno::NOENT) => continue,
                other => other.map_err(failed("look at", &path))?,
            };
            if self.bounds.entries_max == 0 {
                return Err(failed("copy", &path)(Errno::FBIG));
            }
            self.bounds.entries_max -= 1;
            let kind = match FileType::from_raw_mode(stat.st_mode) {
                FileType::Directory => self.directory(from, to, &name, &path, &stat, depth)?,
                FileType::RegularFile => self.file(from, to, &name, &path, &stat)?,
                FileType::Symlink => symlink(from, to, &name, &stat).map_err(failed("copy", &path))?,
                _ => special(to, &name, &stat).map_err(failed("copy", &path))?,
            };
            if let Some(kind) = kind {
                (self.told)(&path, kind);
            }
        }
        Ok(())
    }

    fn directory(
        &mut self,
        from: BorrowedFd<'_>,
        to: BorrowedFd<'_>,
        name: &OsStr,
        path: &Path,
        stat: &Stat,
        depth: usize,
    ) -> Result<Option<Kind>> {
        rustix::fs::mkdirat(to, name, Mode::RWXU).map_err(failed("make", path))?;
        let inner_to = open(to, name, OFlags::RDONLY | OFlags::DIRECTORY).map_err(failed("open", path))?;
        match self.opened(from, name, path, OFlags::RDONLY | OFlags::DIRECTORY) {
            Ok(inner) => {
                self.inside(inner.as_fd(), inner_to.as_fd(), path, depth + 1)?;
                dress(inner_to.as_fd(), inner.as_fd(), stat).map_err(failed("set the mode of", path))?;
                Ok(Some(Kind::Directory))
            }
            // A mount within the tree: the folder beneath it stays, empty.
            Err(Errno::XDEV) => {
                chmod(inner_to.as_fd(), stat.st_mode).map_err(failed("set the mode of", path))?;
                Ok(Some(Kind::Directory))
            }
            Err(Errno::ACCESS | Errno::PERM) => {
                chmod(inner_to.as_fd(), CLOSED_FOLDER).map_err(failed("close", path))?;
                Ok(Some(Kind::Other))
            }
            Err(error) => Err(failed("open", path)(error)),
        }
    }

    fn file(
        &mut self,
        from: BorrowedFd<'_>,
        to: BorrowedFd<'_>,
        name: &OsStr,
        path: &Path,
        stat: &Stat,
    ) -> Result<Option<Kind>> {
        let source = match self.opened(from, name, path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY) {
            Ok(source) => source,
            Err(Errno::NOENT) => return Ok(None),
            Err(Errno::ACCESS | Errno::PERM) => {
                create(to, name).and_then(|file| chmod(file.as_fd(), CLOSED_FILE)).map_err(failed("copy", path))?;
                return Ok(Some(Kind::Other));
            }
            Err(error) => return Err(failed("open", path)(error)),
        };
        let key = (stat.st_dev, stat.st_ino);
        if let Some((first, digest, size)) = self.links.get(&key) {
            rustix::fs::linkat(self.to_root, first, to, name, AtFlags::empty()).map_err(failed("link", path))?;
            return Ok(Some(Kind::File { digest: *digest, size: *size }));
        }
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        self.bounds.bytes_max =
            self.bounds.bytes_max.checked_sub(size).ok_or(Errno::FBIG).map_err(failed("copy", path))?;
        let copied = create(to, name).map_err(failed("make", path))?;
        let content = self.content(source.as_fd(), copied.as_fd());
        let dressed = content.and_then(|found| dress(copied.as_fd(), source.as_fd(), stat).map(|()| found));
        let (digest, size) = dressed.map_err(failed("copy", path))?;
        if stat.st_nlink > 1 {
            self.links.insert(key, (path.to_owned(), digest, size));
        }
        Ok(Some(Kind::File { digest, size }))
    }

    fn opened(&self, from: BorrowedFd<'_>, name: &OsStr, path: &Path, flags: OFlags) -> rustix::io::Result<OwnedFd> {
        if (self.is_closed)(path) { Err(Errno::ACCESS) } else { open(from, name, flags) }
    }

    /// Fills an empty file; digest and length are of what the copy now holds, whatever happens to the original.
    fn content(&mut self, from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> rustix::io::Result<([u8; 32], u64)> {
        if rustix::fs::ioctl_ficlone(to, from).is_ok() {
            return self.hash(to);
        }
        let mut hasher = Sha256::new();
        let mut at = 0_u64;
        loop {
            // Where the file system knows no holes all is data.
            let data = match rustix::fs::seek(from, SeekFrom::Data(at)) {
                Ok(data) => data,
                Err(Errno::NXIO) => break,
                Err(_) => at,
            };
            let hole = rustix::fs::seek(from, SeekFrom::Hole(data)).unwrap_or(u64::MAX);
            self.zeros(&mut hasher, data.saturating_sub(at));
            at = data;
            let mut is_end = false;
            while at < hole && !is_end {
                let wanted = usize::try_from(hole - at).unwrap_or(usize::MAX).min(self.buffer.len());
                let buffer = self.buffer.get_mut(..wanted).unwrap_or_default();
                let read = retry(|| rustix::io::pread(from, &mut *buffer, at))?;
                let bytes = buffer.get(..read).unwrap_or_default();
                hasher.update(bytes);
                write_at(to, bytes, at)?;
                at += read as u64;
                is_end = read == 0;
            }
            if is_end {
                break;
            }
        }
        // The hole at its end, if it ends with one. Shorter than it was: it was cut meanwhile.
        let size = u64::try_from(rustix::fs::fstat(from)?.st_size).unwrap_or(0).max(at);
        self.zeros(&mut hasher, size - at);
        rustix::fs::ftruncate(to, size)?;
        Ok((hasher.finalize().into(), size))
    }

    fn zeros(&mut self, hasher: &mut Sha256, mut count: u64) {
        if count > 0 {
            self.buffer.fill(0);
        }
        while count > 0 {
            let part = usize::try_from(count).unwrap_or(usize::MAX).min(self.buffer.len());
            hasher.update(self.buffer.get(..part).unwrap_or_default());
            count -= part as u64;
        }
    }

    fn hash(&mut self, file: BorrowedFd<'_>) -> rustix::io::Result<([u8; 32], u64)> {
        let mut hasher = Sha256::new();
        let mut at = 0;
        loop {
            let read = retry(|| rustix::io::pread(file, self.buffer.as_mut_slice(), at))?;
            if read == 0 {
                return Ok((hasher.finalize().into(), at));
            }
            hasher.update(self.buffer.get(..read).unwrap_or_default());
            at += read as u64;
        }
    }
}

fn failed(doing: &'static str, path: &Path) -> impl FnOnce(Errno) -> Failed {
    move |error| Failed { doing, path: path.to_owned(), source: error.into() }
}

fn retry<T>(mut call: impl FnMut() -> rustix::io::Result<T>) -> rustix::io::Result<T> {
    loop {
        match call() {
            Err(Errno::INTR) => {}
            other => return other,
        }
    }
}

fn write_at(to: BorrowedFd<'_>, mut bytes: &[u8], mut at: u64) -> rustix::io::Result<()> {
    while !bytes.is_empty() {
        let written = retry(|| rustix::io::pwrite(to, bytes, at))?;
        bytes = bytes.get(written..).unwrap_or_default();
        at += written as u64;
    }
    Ok(())
}

fn open(dir: BorrowedFd<'_>, name: &OsStr, flags: OFlags) -> rustix::io::Result<OwnedFd> {
    let within =
        ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
    let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    for _ in 0..64 {
        match rustix::fs::openat2(dir, name, flags, Mode::empty(), within) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            other => return other,
        }
    }
    Err(Errno::AGAIN)
}

fn create(dir: BorrowedFd<'_>, name: &OsStr) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(dir, name, flags, Mode::RUSR | Mode::WUSR)
}

fn names(dir: BorrowedFd<'_>) -> rustix::io::Result<Vec<OsString>> {
    let mut names = Vec::new();
    for entry in rustix::fs::Dir::read_from(dir)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(OsStr::from_bytes(name).to_owned());
        }
    }
    Ok(names)
}

fn symlink(from: BorrowedFd<'_>, to: BorrowedFd<'_>, name: &OsStr, stat: &Stat) -> rustix::io::Result<Option<Kind>> {
    let target = OsString::from_vec(rustix::fs::readlinkat(from, name, Vec::new())?.into_bytes());
    rustix::fs::symlinkat(&target, to, name)?;
    if let Some((user, group)) = owner(stat) {
        rustix::fs::chownat(to, name, Some(user), Some(group), AtFlags::SYMLINK_NOFOLLOW)?;
    }
    rustix::fs::utimensat(to, name, &times(stat), AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(Some(Kind::Symlink(PathBuf::from(target))))
}

/// FIFOs and sockets; devices where we may make them, and otherwise nothing.
fn special(to: BorrowedFd<'_>, name: &OsStr, stat: &Stat) -> rustix::io::Result<Option<Kind>> {
    let mode = Mode::from_raw_mode(stat.st_mode & 0o7777);
    match rustix::fs::mknodat(to, name, FileType::from_raw_mode(stat.st_mode), mode, stat.st_rdev) {
        Ok(()) => {}
        Err(Errno::PERM) => return Ok(None),
        Err(error) => return Err(error),
    }
    if let Some((user, group)) = owner(stat) {
        rustix::fs::chownat(to, name, Some(user), Some(group), AtFlags::SYMLINK_NOFOLLOW)?;
    }
    rustix::fs::chmodat(to, name, mode, AtFlags::empty())?;
    rustix::fs::utimensat(to, name, &times(stat), AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(Some(Kind::Other))
}

/// Owner, attributes, mode and times of an open file or folder, in the order in which none undoes another.
fn dress(to: BorrowedFd<'_>, from: BorrowedFd<'_>, stat: &Stat) -> rustix::io::Result<()> {
    if let Some((user, group)) = owner(stat) {
        rustix::fs::fchown(to, Some(user), Some(group))?;
    }
    attributes(to, from);
    chmod(to, stat.st_mode)?;
    rustix::fs::futimens(to, &times(stat))
}

fn chmod(fd: BorrowedFd<'_>, mode: u32) -> rustix::io::Result<()> {
    rustix::fs::fchmod(fd, Mode::from_raw_mode(mode & 0o7777))
}

/// Whom a copy is given to; only root can.
fn owner(stat: &Stat) -> Option<(rustix::process::Uid, rustix::process::Gid)> {
    let is_root = rustix::process::geteuid().is_root();
    is_root.then(|| (rustix::process::Uid::from_raw(stat.st_uid), rustix::process::Gid::from_raw(stat.st_gid)))
}

fn times(stat: &Stat) -> Timestamps {
    Timestamps {
        last_access: Timespec { tv_sec: stat.st_atime, tv_nsec: stat.st_atime_nsec as _ },
        last_modification: Timespec { tv_sec: stat.st_mtime, tv_nsec: stat.st_mtime_nsec as _ },
    }
}

/// Extended attributes, ACLs among them, as far as the file system and this user's rights go.
fn attributes(to: BorrowedFd<'_>, from: BorrowedFd<'_>) {
    let mut list = vec![0_u8; XATTR_BYTES_MAX];
    let Ok(length @ 1..) = rustix::fs::flistxattr(from, list.as_mut_slice()) else { return };
    let mut value = vec![0_u8; XATTR_BYTES_MAX];
    for name in list.get(..length).unwrap_or_default().split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let Ok(name) = CString::new(name) else { continue };
        if let Ok(size) = rustix::fs::fgetxattr(from, name.as_c_str(), value.as_mut_slice()) {
            let _ =
                rustix::fs::fsetxattr(to, name.as_c_str(), value.get(..size).unwrap_or_default(), XattrFlags::empty());
        }
    }
}
