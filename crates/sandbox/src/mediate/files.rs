//! File calls: from registers and copied arguments to what is asked and what would be done.
//!
//! What fails by itself (a missing file, an existing directory) fails here with the errno that the caller would get
//! alone, and nobody is asked: a search along PATH is no attempt.

use super::act::{Act, Plan};
use super::caller::{Caller, terminal_device};
use super::filter::WRITE_FLAGS;
use super::moving::{self, Linked};
use super::resolve::{Found, Held, Last, Place, View, kind};
use super::sys::{self, Errno};
use crate::call::{Attempt, FileKind, MetadataChange};
use rustix::fd::AsFd;
use std::ffi::{CString, OsString};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

const XATTR_NAME_BYTES_MAX: usize = 256;
const XATTR_VALUE_BYTES_MAX: usize = 65536;
/// Files of `/proc` that a process may write about itself. The rest (`mem`, `uid_map`, `sys/…`) stays closed.
const PROC_WRITABLE: &[&[u8]] = &[b"comm", b"oom_score_adj", b"oom_adj", b"coredump_filter", b"timerslack_ns"];
/// null, zero, full, random, urandom: nothing comes of writing there.
const HARMLESS_DEVICES: &[(u32, u32)] = &[(1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 2)];

/// What planning needs.
pub(super) struct Context<'a> {
    pub(super) view: &'a View,
    pub(super) caller: Caller<'a>,
    pub(super) reads: bool,
}

impl Context<'_> {
    fn resolve(&self, dirfd: i32, path: &[u8], last: Last) -> Result<Found, Errno> {
        self.view.resolve(&self.caller, dirfd, path, last)
    }

    /// `open` in all its spellings. `umask` is asked for only if something would be made.
    pub(super) fn open(
        &self,
        dirfd: i32,
        path: u64,
        flags: i32,
        mode: u32,
        umask: impl FnOnce() -> Result<u32, Errno>,
    ) -> Result<Plan, Errno> {
        let path = self.caller.path(path)?;
        if !self.caller.is_waiting() {
            return Err(libc::EINTR);
        }
        let tmpfile = libc::O_TMPFILE & !libc::O_DIRECTORY;
        if flags & tmpfile != 0 && flags & libc::O_DIRECTORY == 0 {
            return Err(libc::EINVAL);
        }
        let is_exclusive = flags & libc::O_CREAT != 0 && flags & libc::O_EXCL != 0;
        let last = if flags & libc::O_NOFOLLOW != 0 || is_exclusive { Last::Keep } else { Last::Follow };
        let (place, stat) = match self.resolve(dirfd, &path, last)? {
            Found::Place(place, stat) => (place, stat),
            Found::Held(held) => return self.reopen(held, flags),
        };
        let writes = flags & WRITE_FLAGS & !libc::O_CREAT != 0;
        if flags & tmpfile == tmpfile {
            // A file without a name changes nothing that anyone sees; giving it a name is asked about (`link`).
            return Ok(Plan::Act(Act::Open {
                at: place,
                flags,
                mode,
                umask: Some(umask()?),
                is_fifo: false,
                bytes: 0,
            }));
        }
        let Some(stat) = stat else {
            if flags & libc::O_CREAT == 0 {
                return Err(libc::ENOENT);
            }
            if place.has_slash {
                return Err(libc::EISDIR);
            }
            let attempt = open_attempt(&place, true, true, flags, None);
            let act = Act::Open { at: place, flags, mode, umask: Some(umask()?), is_fifo: false, bytes: 0 };
            return Ok(Plan::Ask(attempt, act));
        };
        if is_exclusive {
            return Err(libc::EEXIST);
        }
        let existing = kind(&stat);
        match existing {
            FileKind::Symlink => return Err(libc::ELOOP),
            FileKind::Directory if flags & libc::O_CREAT != 0 || writes => return Err(libc::EISDIR),
            FileKind::File | FileKind::Other if place.has_slash || flags & libc::O_DIRECTORY != 0 => {
                return Err(libc::ENOTDIR);
            }
            _ => {}
        }
        let is_fifo = stat.st_mode & libc::S_IFMT == libc::S_IFIFO;
        let act = |at| Act::Open { at, flags, mode, umask: None, is_fifo, bytes: stat.st_size };
        if !writes && !self.reads {
            return Ok(Plan::Act(act(place)));
        }
        if stat.st_mode & libc::S_IFMT == libc::S_IFCHR {
            if let Some(plan) = self.device(&stat, flags)? {
                return Ok(plan);
            }
            if is_harmless(&stat) {
                return Ok(Plan::Act(act(place)));
            }
        }
        if writes && place.is_on_proc() {
            let is_open = PROC_WRITABLE.contains(&place.name.to_bytes());
            return if is_open { Ok(Plan::Act(act(place))) } else { Err(libc::EACCES) };
        }
        Ok(Plan::Ask(open_attempt(&place, writes, false, flags, Some(existing)), act(place)))
    }

    /// `/dev/tty` is the caller's terminal, not ours.
    fn device(&self, stat: &libc::stat, flags: i32) -> Result<Option<Plan>, Errno> {
        if (libc::major(stat.st_rdev), libc::minor(stat.st_rdev)) != (5, 0) {
            return Ok(None);
        }
        let terminal = self.caller.terminal()?;
        if terminal == 0 {
            return Err(libc::ENXIO);
        }
        let (major, minor) = terminal_device(terminal);
        let device = libc::makedev(major as u32, minor as u32);
        let is_it = |file: &OwnedFd| sys::fstat(file.as_fd()).is_ok_and(|stat| stat.st_rdev == device);
        let number = (major.wrapping_sub(136)).wrapping_mul(256).wrapping_add(minor);
        let inside = CString::new(format!("/dev/pts/{number}")).map_err(|_| libc::ENXIO)?;
        let mut file = sys::open_in_root(self.view.root().as_fd(), &inside, libc::O_PATH).ok().filter(is_it);
        for own in [c"0", c"1", c"2"] {
            // A terminal that was inherited from outside has no name inside.
            file = file.or_else(|| {
                sys::openat(self.view.own_descriptors.as_raw_fd(), own, libc::O_PATH, 0).ok().filter(is_it)
            });
        }
        let file = file.ok_or(libc::ENXIO)?;
        Ok(Some(Plan::Act(Act::Reopen { file, flags })))
    }

    pub(super) fn mkdir(&self, dirfd: i32, path: u64, mode: u32, umask: u32) -> Result<Plan, Errno> {
        let at = self.new_name(dirfd, path)?;
        let attempt = Attempt::Make { path: at.path(), kind: FileKind::Directory };
        Ok(plan(unless_doomed(attempt, &at)?, Act::Mkdir { at, mode, umask }))
    }

    pub(super) fn mknod(&self, dirfd: i32, path: u64, mode: u32, umask: u32) -> Result<Plan, Errno> {
        let kind = match mode & libc::S_IFMT {
            0 | libc::S_IFREG => Some(FileKind::File),
            libc::S_IFIFO | libc::S_IFSOCK => Some(FileKind::Other),
            // A 0:0 one would be an overlay's whiteout.
            libc::S_IFCHR | libc::S_IFBLK => None,
            libc::S_IFDIR => return Err(libc::EPERM),
            _ => return Err(libc::EINVAL),
        };
        let at = self.new_name(dirfd, path)?;
        let Some(kind) = kind else {
            // As the kernel has it, who may not make devices hears first what else is wrong.
            return Err(if at.is_dots() || at.look()?.is_some() { libc::EEXIST } else { libc::EPERM });
        };
        let path = at.path();
        let attempt = match kind {
            FileKind::File => Attempt::Open { path, write: true, create: true, truncate: false, existing: None },
            kind => Attempt::Make { path, kind },
        };
        Ok(plan(unless_doomed(attempt, &at)?, Act::Mknod { at, mode, umask }))
    }

    pub(super) fn unlink(&self, dirfd: i32, path: u64, flags: i32) -> Result<Plan, Errno> {
        if flags & !libc::AT_REMOVEDIR != 0 {
            return Err(libc::EINVAL);
        }
        let at = self.new_name(dirfd, path)?;
        if at.is_root() {
            return Err(if flags & libc::AT_REMOVEDIR != 0 { libc::EBUSY } else { libc::EISDIR });
        }
        if at.is_dots() {
            return Ok(Plan::Act(Act::Unlink { at, flags, kind: FileKind::Directory }));
        }
        let Some(standing) = at.standing()? else { return Err(libc::ENOENT) };
        let (existing, is_rmdir) = (standing.kind, flags & libc::AT_REMOVEDIR != 0);
        match (existing, is_rmdir) {
            (FileKind::Directory, false) => return Err(libc::EISDIR),
            (FileKind::Directory, true) => {}
            (_, true) => return Err(libc::ENOTDIR),
            (_, false) if at.has_slash => return Err(libc::ENOTDIR),
            _ => {}
        }
        if standing.is_mount_point {
            return Err(libc::EBUSY);
        }
        let attempt = Attempt::Remove { path: at.path(), kind: existing };
        Ok(Plan::Ask(attempt, Act::Unlink { at, flags, kind: existing }))
    }

    pub(super) fn rename(&self, old: (i32, u64), new: (i32, u64), flags: u32) -> Result<Plan, Errno> {
        if flags & !(libc::RENAME_NOREPLACE | libc::RENAME_EXCHANGE) != 0 {
            return Err(libc::EINVAL); // RENAME_WHITEOUT makes a device node
        }
        if flags == libc::RENAME_NOREPLACE | libc::RENAME_EXCHANGE {
            return Err(libc::EINVAL);
        }
        let (old_path, new_path) = (self.caller.path(old.1)?, self.caller.path(new.1)?);
        if !self.caller.is_waiting() {
            return Err(libc::EINTR);
        }
        let from = self.view.name(&self.caller, old.0, &old_path)?;
        let to = self.view.name(&self.caller, new.0, &new_path)?;
        if from.is_dots() || to.is_dots() {
            return Ok(Plan::Act(Act::Rename { from, to, flags, is_plain: false }));
        }
        let Some(standing) = from.standing()? else { return Err(libc::ENOENT) };
        let there = to.standing()?;
        if there.is_some() && flags & libc::RENAME_NOREPLACE != 0 {
            return Err(libc::EEXIST);
        }
        if standing.is_mount_point || there.as_ref().is_some_and(|there| there.is_mount_point) {
            return Err(libc::EBUSY);
        }
        let exchange = flags & libc::RENAME_EXCHANGE != 0;
        if exchange && there.is_none() {
            return Err(libc::ENOENT);
        }
        let (replaces, kind) = (there.is_some(), standing.kind);
        let is_plain = kind == FileKind::File && there.as_ref().is_none_or(|there| there.kind == FileKind::File);
        // Each file below gets another path, which rules are about as much as about the folder's own.
        let below = moving::below(&from, kind);
        let back = moving::below(&to, there.filter(|_| exchange).map_or(FileKind::File, |there| there.kind));
        let attempt = Attempt::Rename { from: from.path(), to: to.path(), kind, replaces, exchange, below, back };
        Ok(Plan::Ask(attempt, Act::Rename { from, to, flags, is_plain }))
    }

    pub(super) fn link(&self, old: (i32, u64), new: (i32, u64), flags: i32) -> Result<Plan, Errno> {
        if flags & !(libc::AT_SYMLINK_FOLLOW | libc::AT_EMPTY_PATH) != 0 {
            return Err(libc::EINVAL);
        }
        let (old_path, new_path) = (self.caller.path(old.1)?, self.caller.path(new.1)?);
        let by_descriptor = old_path.is_empty() && flags & libc::AT_EMPTY_PATH != 0;
        let held = if by_descriptor { Some(self.caller.descriptor(old.0)?) } else { None };
        if !self.caller.is_waiting() {
            return Err(libc::EINTR);
        }
        let last = if flags & libc::AT_SYMLINK_FOLLOW != 0 { Last::Follow } else { Last::Keep };
        let (file, place, target) = match held {
            Some(file) => {
                let target = self.named(&file)?;
                (file, None, target)
            }
            None => match self.resolve(old.0, &old_path, last)? {
                // A link of `/proc` is on another disk, whatever it leads to.
                Found::Place(place, Some(_)) if place.is_on_proc() => return Err(libc::EXDEV),
                Found::Place(place, Some(_)) => {
                    let path = place.path();
                    (place.handle()?, Some(place), Some(path))
                }
                Found::Place(_, None) => return Err(libc::ENOENT),
                Found::Held(held) if held.stat.st_nlink == 0 => (held.file, None, None),
                Found::Held(_) => return Err(libc::EACCES),
            },
        };
        let at = self.view.name(&self.caller, new.0, &new_path)?;
        if kind(&sys::fstat(file.as_fd())?) == FileKind::Directory {
            return Err(libc::EPERM);
        }
        let path = at.path();
        let attempt = match target {
            Some(target) => Attempt::Link { target, path },
            // An O_TMPFILE file gets its name: for everyone else it is made now.
            None => Attempt::Open { path, write: true, create: true, truncate: false, existing: None },
        };
        let file = Linked { file, place, is_compared: self.caller.name()?.starts_with(b"git") };
        Ok(plan(unless_doomed(attempt, &at)?, Act::Link { file, at }))
    }

    pub(super) fn symlink(&self, target: u64, dirfd: i32, path: u64) -> Result<Plan, Errno> {
        let target = self.caller.path(target)?;
        if target.is_empty() {
            return Err(libc::ENOENT);
        }
        let at = self.new_name(dirfd, path)?;
        let attempt = Attempt::Symlink { target: OsString::from_vec(target.clone()), path: at.path() };
        let target = CString::new(target).map_err(|_| libc::EINVAL)?;
        Ok(plan(unless_doomed(attempt, &at)?, Act::Symlink { target, at }))
    }

    pub(super) fn truncate(&self, path: u64, length: i64) -> Result<Plan, Errno> {
        let Ok(bytes) = u64::try_from(length) else { return Err(libc::EINVAL) };
        let path = self.caller.path(path)?;
        if !self.caller.is_waiting() {
            return Err(libc::EINTR);
        }
        let Found::Place(at, Some(stat)) = self.resolve(libc::AT_FDCWD, &path, Last::Follow)? else {
            return Err(libc::ENOENT);
        };
        match kind(&stat) {
            FileKind::Directory => return Err(libc::EISDIR),
            FileKind::File if !at.has_slash => {}
            FileKind::File => return Err(libc::ENOTDIR),
            _ => return Err(libc::EINVAL),
        }
        if at.is_on_proc() {
            return Err(libc::EACCES);
        }
        Ok(Plan::Ask(Attempt::Truncate { path: at.path(), bytes }, Act::Truncate { at, length }))
    }

    /// Watching changes nothing, and tells of files whether they may be read or not: so it is done only within bounds.
    pub(super) fn watch(&self, fd: i32, path: u64, mask: u32) -> Result<Plan, Errno> {
        let path = self.caller.path(path)?;
        let inotify = self.caller.duplicate(fd)?;
        if !self.caller.is_waiting() {
            return Err(libc::EINTR);
        }
        let last = if mask & libc::IN_DONT_FOLLOW != 0 { Last::Keep } else { Last::Follow };
        let Found::Place(at, stat) = self.resolve(libc::AT_FDCWD, &path, last)? else { return Err(libc::EACCES) };
        if stat.is_none() {
            return Err(libc::ENOENT);
        }
        let mask = mask & !libc::IN_DONT_FOLLOW;
        Ok(Plan::Act(Act::Watch { inotify, file: at.handle()?, mask }))
    }

    /// The file that a metadata call means, by path or, with `AT_EMPTY_PATH` or `None`, by descriptor.
    fn subject(&self, dirfd: i32, path: Option<u64>, flags: i32) -> Result<(OwnedFd, Option<PathBuf>), Errno> {
        let path = path.map(|path| self.caller.path(path)).transpose()?;
        let by_descriptor = match &path {
            None => true,
            Some(path) => path.is_empty() && flags & libc::AT_EMPTY_PATH != 0,
        };
        let held = if by_descriptor { Some(self.caller.descriptor(dirfd)?) } else { None };
        if !self.caller.is_waiting() {
            return Err(libc::EINTR);
        }
        if let Some(file) = held {
            let named = self.named(&file)?;
            return Ok((file, named));
        }
        let last = if flags & libc::AT_SYMLINK_NOFOLLOW != 0 { Last::Keep } else { Last::Follow };
        match self.resolve(dirfd, &path.unwrap_or_default(), last)? {
            Found::Place(at, Some(stat)) => {
                if at.has_slash && kind(&stat) != FileKind::Directory {
                    return Err(libc::ENOTDIR);
                }
                if at.is_on_proc() {
                    return Err(libc::EPERM);
                }
                Ok((at.handle()?, Some(at.path())))
            }
            Found::Place(_, None) => Err(libc::ENOENT),
            Found::Held(held) if held.stat.st_nlink == 0 || kind(&held.stat) == FileKind::Other => {
                Ok((held.file, None))
            }
            Found::Held(_) => Err(libc::EACCES),
        }
    }

    /// The path of a file that a descriptor holds; `None` if it has no name any more or never had one.
    fn named(&self, file: &OwnedFd) -> Result<Option<PathBuf>, Errno> {
        Ok(self.view.name_of(file)?.map(|path| PathBuf::from(OsString::from_vec(path))))
    }

    pub(super) fn chmod(&self, dirfd: i32, path: Option<u64>, mode: u32, flags: i32) -> Result<Plan, Errno> {
        if flags & !(libc::AT_SYMLINK_NOFOLLOW | libc::AT_EMPTY_PATH) != 0 {
            return Err(libc::EINVAL);
        }
        let (file, path) = self.subject(dirfd, path, flags)?;
        Ok(metadata(path, MetadataChange::Mode(mode & 0o7777), Act::Chmod { file, mode }))
    }

    pub(super) fn chown(&self, dirfd: i32, path: Option<u64>, owner: (u32, u32), flags: i32) -> Result<Plan, Errno> {
        if flags & !(libc::AT_SYMLINK_NOFOLLOW | libc::AT_EMPTY_PATH) != 0 {
            return Err(libc::EINVAL);
        }
        let (file, path) = self.subject(dirfd, path, flags)?;
        let (uid, gid) = owner;
        let given = |id: u32| (id != u32::MAX).then_some(id);
        Ok(metadata(path, MetadataChange::Owner(given(uid), given(gid)), Act::Chown { file, uid, gid }))
    }

    pub(super) fn utimes(
        &self,
        dirfd: i32,
        path: Option<u64>,
        times: Option<[libc::timespec; 2]>,
        flags: i32,
    ) -> Result<Plan, Errno> {
        if flags & !(libc::AT_SYMLINK_NOFOLLOW | libc::AT_EMPTY_PATH) != 0 {
            return Err(libc::EINVAL);
        }
        let (file, path) = self.subject(dirfd, path, flags)?;
        Ok(metadata(path, MetadataChange::Times, Act::Utimes { file, times }))
    }

    /// Times of a file that is held: no more of an attempt than writing to it.
    pub(super) fn own_times(&self, fd: i32, times: Option<[libc::timespec; 2]>) -> Result<Plan, Errno> {
        let (file, _) = self.subject(fd, None, 0)?;
        Ok(Plan::Act(Act::Utimes { file, times }))
    }

    /// The other side of a terminal that the caller made: opened for it, since of `/dev/pts` nothing is open to it by name.
    pub(super) fn terminal(&self, fd: i32, flags: i32) -> Result<Plan, Errno> {
        let master = self.caller.duplicate(fd)?;
        if !self.caller.is_waiting() {
            return Err(libc::EINTR);
        }
        Ok(Plan::Act(Act::Terminal { master, flags }))
    }

    pub(super) fn set_xattr(
        &self,
        dirfd: i32,
        path: Option<u64>,
        name: u64,
        value: (u64, u64),
        set_flags: i32,
        flags: i32,
    ) -> Result<Plan, Errno> {
        let length = usize::try_from(value.1).ok().filter(|length| *length <= XATTR_VALUE_BYTES_MAX);
        let value = self.caller.block(value.0, length.ok_or(libc::E2BIG)?)?;
        let name = self.xattr_name(name)?;
        let (file, path) = self.subject(dirfd, path, flags)?;
        let change = MetadataChange::Xattr(OsString::from_vec(name.to_bytes().to_vec()), true);
        Ok(metadata(path, change, Act::SetXattr { file, name, value, flags: set_flags }))
    }

    pub(super) fn remove_xattr(&self, dirfd: i32, path: Option<u64>, name: u64, flags: i32) -> Result<Plan, Errno> {
        let name = self.xattr_name(name)?;
        let (file, path) = self.subject(dirfd, path, flags)?;
        let change = MetadataChange::Xattr(OsString::from_vec(name.to_bytes().to_vec()), false);
        Ok(metadata(path, change, Act::RemoveXattr { file, name }))
    }

    fn xattr_name(&self, name: u64) -> Result<CString, Errno> {
        let name =
            self.caller.string(name, XATTR_NAME_BYTES_MAX)?.filter(|name| !name.is_empty()).ok_or(libc::ERANGE)?;
        // What an overlay keeps its own state in, and what takes privileges that nobody inside has.
        if name.starts_with(b"user.overlay.") || name.starts_with(b"trusted.") || name.starts_with(b"security.") {
            return Err(libc::EPERM);
        }
        CString::new(name).map_err(|_| libc::EINVAL)
    }

    fn new_name(&self, dirfd: i32, path: u64) -> Result<Place, Errno> {
        let path = self.caller.path(path)?;
        if !self.caller.is_waiting() {
            return Err(libc::EINTR);
        }
        self.view.name(&self.caller, dirfd, &path)
    }
}

/// A new name: where one stands already the call fails by itself, and `.` is left to the kernel to refuse.
fn unless_doomed(attempt: Attempt, at: &Place) -> Result<Option<Attempt>, Errno> {
    if at.is_dots() || at.name.is_empty() {
        return Ok(None);
    }
    if at.look()?.is_some() { Err(libc::EEXIST) } else { Ok(Some(attempt)) }
}

fn plan(asked: Option<Attempt>, act: Act) -> Plan {
    match asked {
        Some(attempt) => Plan::Ask(attempt, act),
        None => Plan::Act(act),
    }
}

fn metadata(path: Option<PathBuf>, change: MetadataChange, act: Act) -> Plan {
    plan(path.map(|path| Attempt::Metadata { path, change }), act)
}

fn open_attempt(at: &Place, write: bool, create: bool, flags: i32, existing: Option<FileKind>) -> Attempt {
    Attempt::Open { path: at.path(), write, create, truncate: flags & libc::O_TRUNC != 0, existing }
}

impl Context<'_> {
    fn reopen(&self, held: Held, flags: i32) -> Result<Plan, Errno> {
        // Any file of the machine can be named, and a deleted one has no place any more that could tell.
        if self.view.places.is_some() && !held.is_open { Err(libc::EACCES) } else { reopen(held, flags) }
    }
}

/// A file that someone holds and that has no name inside: opened anew only where that gives no more than is held.
fn reopen(held: Held, flags: i32) -> Result<Plan, Errno> {
    let writes = flags & WRITE_FLAGS & !libc::O_CREAT != 0;
    let is_open = match held.stat.st_mode & libc::S_IFMT {
        libc::S_IFIFO => true,
        libc::S_IFCHR => is_harmless(&held.stat) || (136..144).contains(&libc::major(held.stat.st_rdev)),
        libc::S_IFREG => held.stat.st_nlink == 0 || held.is_writable || !writes,
        _ => false,
    };
    if !is_open {
        return Err(if held.stat.st_mode & libc::S_IFMT == libc::S_IFSOCK { libc::ENXIO } else { libc::EACCES });
    }
    Ok(Plan::Act(Act::Reopen { file: held.file, flags }))
}

fn is_harmless(stat: &libc::stat) -> bool {
    let device = (libc::major(stat.st_rdev), libc::minor(stat.st_rdev));
    HARMLESS_DEVICES.contains(&device) || (136..144).contains(&device.0)
}
