//! What mediation does for a caller of a session without namespaces. It acts from outside of the program's Landlock domain,
//! on the machine's own tree: so every act is held against the session's places, by the path of the very handle that it acts
//! on. With namespaces the mounts do that.

use super::act::Act;
use super::caller::{Caller, terminal_device};
use super::filter::WRITE_FLAGS;
use super::resolve::{Place, View};
use super::sys::{self, Errno};
use crate::places::Places;
use rustix::fd::AsFd;
use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// null, zero, full, random, urandom; a new terminal's other side.
const DEVICES: &[(u32, u32)] = &[(1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 2)];

/// The errno that an act fails with for where it would act; `Ok`: it is within bounds. With the caller, its thread group.
pub(super) fn hold(
    view: &View,
    places: &Places,
    act: &Act,
    caller: (&Caller<'_>, Result<i32, Errno>),
) -> Result<(), Errno> {
    let write = |is_within: bool| if is_within { Ok(()) } else { Err(libc::EROFS) };
    let may_write = |at: &Place| write(places.may_write(&at.path()));
    let may_move = |at: &Place| write(places.may_move(&at.path()));
    // A file without a name (a pipe, memory) is the holder's own.
    let may_change = |file: &OwnedFd| match view.path_of(file)? {
        Some(path) if !is_nameless(file) => write(places.may_write(Path::new(OsStr::from_bytes(&path)))),
        _ => Ok(()),
    };
    // An own folder itself may be dressed, and no more.
    let may_dress = |file: &OwnedFd| match view.path_of(file)? {
        Some(path) if places.is_own(Path::new(OsStr::from_bytes(&path))) => Ok(()),
        _ => may_change(file),
    };
    match act {
        Act::Open { at, flags, .. } => open(places, at, *flags, caller),
        // It was reached by the caller's own descriptor.
        Act::Reopen { .. } | Act::Terminal { .. } => Ok(()),
        Act::Mkdir { at, .. } | Act::Mknod { at, .. } | Act::Symlink { at, .. } | Act::Truncate { at, .. } => {
            may_write(at)
        }
        Act::BindUnix { at, .. } => may_write(at),
        Act::Unlink { at, .. } => may_move(at),
        Act::Rename { from, to, .. } => may_move(from).and_then(|()| may_move(to)),
        Act::Link { file, at } => may_change(&file.file).and_then(|()| may_write(at)),
        Act::Chmod { file, .. }
        | Act::Chown { file, .. }
        | Act::Utimes { file, .. }
        | Act::SetXattr { file, .. }
        | Act::RemoveXattr { file, .. } => may_dress(file),
        Act::Watch { file, .. } => {
            let path = view.path_of(file)?.ok_or(libc::EACCES)?;
            if places.may_read(Path::new(OsStr::from_bytes(&path))) { Ok(()) } else { Err(libc::EACCES) }
        }
        Act::ConnectUnix { file, .. } => {
            let path = view.path_of(file)?.ok_or(libc::EACCES)?;
            let is_within = places.may_connect(Path::new(OsStr::from_bytes(&path)));
            if is_within { Ok(()) } else { Err(libc::EACCES) }
        }
        // An abstract name is the whole machine's. Of netlink only routes can be asked for.
        Act::Connect { socket, .. } | Act::Bind { socket, .. } => {
            let family = sys::socket_option(socket.as_fd(), libc::SO_DOMAIN)?;
            if family == libc::AF_NETLINK { Ok(()) } else { Err(libc::EACCES) }
        }
        Act::ConnectInet { .. } => Err(libc::EACCES),
        // Landlock holds what runs: the kernel call is the caller's own.
        Act::Exec(_) => Ok(()),
    }
}

/// What to tell a caller that was refused by a name that it would have with namespaces: where that stands here.
pub(super) fn elsewhere(places: &Places, act: &Act) -> Option<String> {
    let (Act::Open { at, .. } | Act::Mkdir { at, .. } | Act::Unlink { at, .. } | Act::Rename { to: at, .. }) = act
    else {
        return None;
    };
    let path = at.path();
    let own = places.own.iter().find(|own| path.starts_with(&own.is))?;
    Some(format!("flyball: without namespaces this session has {} at {}", own.is.display(), own.at.display()))
}

fn open(
    places: &Places,
    at: &Place,
    flags: i32,
    (caller, group): (&Caller<'_>, Result<i32, Errno>),
) -> Result<(), Errno> {
    let path = at.path();
    let writes = flags & WRITE_FLAGS & !libc::O_CREAT != 0;
    if at.is_on_proc() {
        // Folders of other processes are never gone into; here it is the machine's own settings.
        let is_own = path.starts_with(format!("/proc/{}", group?));
        return if is_own || !writes { Ok(()) } else { Err(libc::EACCES) };
    }
    let makes_nameless = flags & libc::O_TMPFILE == libc::O_TMPFILE;
    if places.may_write(&path) || makes_nameless && places.is_own(&path) {
        return Ok(());
    }
    let there = at.look()?;
    if let Some(stat) = &there
        && stat.st_mode & libc::S_IFMT == libc::S_IFCHR
    {
        let device = (libc::major(stat.st_rdev), libc::minor(stat.st_rdev));
        let is_terminal = || terminal_device(caller.terminal().unwrap_or(0)) == (device.0.into(), device.1.into());
        return if DEVICES.contains(&device) || is_terminal() { Ok(()) } else { Err(libc::EACCES) };
    }
    match (writes || there.is_none(), places.may_read(&path)) {
        (true, _) => Err(libc::EROFS),
        (false, true) => Ok(()),
        (false, false) => Err(libc::EACCES),
    }
}

fn is_nameless(file: &OwnedFd) -> bool {
    sys::fstat(file.as_fd()).is_ok_and(|stat| stat.st_nlink == 0)
}
