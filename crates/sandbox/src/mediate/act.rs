//! What the supervisor does in the caller's place once a call is allowed, on handles and copies only.

use super::caller::{descriptor_name, descriptor_path};
use super::moving::{self, Linked};
use super::resolve::{Place, View, kind};
use super::sys::{self, Errno};
use crate::call::{Attempt, FileKind};
use rustix::fd::AsFd;
use std::ffi::CString;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

/// How a call is answered.
pub(crate) enum Answer {
    /// It succeeded with this result.
    Value(i64),
    /// It failed.
    Errno(Errno),
    /// The caller's own kernel call goes on. Only where nothing rests on memory.
    Continue,
    /// It made this descriptor.
    Descriptor { file: OwnedFd, is_cloexec: bool },
    /// It may block: done on a thread of its own, answered later.
    Later {
        work: Box<dyn FnOnce() -> Answer + Send>,
        /// The socket that it connects: see [`super::socket::Left`].
        connects: Option<u64>,
    },
}

impl From<Result<(), Errno>> for Answer {
    fn from(done: Result<(), Errno>) -> Self {
        match done {
            Ok(()) => Answer::Value(0),
            Err(errno) => Answer::Errno(errno),
        }
    }
}

/// What is to happen to a call before anyone is asked.
pub(super) enum Plan {
    /// Ask, then act.
    Ask(Attempt, Act),
    /// Nothing to ask: act.
    Act(Act),
    /// Answered already.
    Answer(Answer),
}

/// One act in the caller's place.
pub(super) enum Act {
    Open {
        at: Place,
        flags: i32,
        mode: u32,
        umask: Option<u32>,
        is_fifo: bool,
        /// What the file holds already.
        bytes: i64,
    },
    Reopen {
        file: OwnedFd,
        flags: i32,
    },
    Mkdir {
        at: Place,
        mode: u32,
        umask: u32,
    },
    Mknod {
        at: Place,
        mode: u32,
        umask: u32,
    },
    Unlink {
        at: Place,
        flags: i32,
        kind: FileKind,
    },
    /// `is_plain`: a file takes a name that nothing or a file had.
    Rename {
        from: Place,
        to: Place,
        flags: u32,
        is_plain: bool,
    },
    Link {
        file: Linked,
        at: Place,
    },
    Symlink {
        target: CString,
        at: Place,
    },
    Truncate {
        at: Place,
        length: i64,
    },
    Chmod {
        file: OwnedFd,
        mode: u32,
    },
    Chown {
        file: OwnedFd,
        uid: u32,
        gid: u32,
    },
    Utimes {
        file: OwnedFd,
        times: Option<[libc::timespec; 2]>,
    },
    SetXattr {
        file: OwnedFd,
        name: CString,
        value: Vec<u8>,
        flags: i32,
    },
    RemoveXattr {
        file: OwnedFd,
        name: CString,
    },
    /// `TIOCGPTPEER`.
    Terminal {
        master: OwnedFd,
        flags: i32,
    },
    /// `inotify_add_watch`.
    Watch {
        inotify: OwnedFd,
        file: OwnedFd,
        mask: u32,
    },
    Exec(Box<super::exec::Image>),
    /// Decided by rules, and by what the broker admits.
    ConnectInet {
        socket: OwnedFd,
        address: std::net::SocketAddr,
        raw: Vec<u8>,
    },
    Connect {
        socket: OwnedFd,
        address: Vec<u8>,
    },
    ConnectUnix {
        socket: OwnedFd,
        file: OwnedFd,
    },
    Bind {
        socket: OwnedFd,
        address: Vec<u8>,
    },
    BindUnix {
        socket: OwnedFd,
        at: Place,
        address: Vec<u8>,
        inside: OwnedFd,
        cwd: OwnedFd,
        umask: u32,
    },
}

impl Act {
    /// Whether the names that were judged still lead where they did: asked again after a call was held.
    pub(super) fn still_stands(&self, view: &View, judged: &Attempt) -> bool {
        let unmoved = |at: &Place| view.path_of(&at.parent).ok().flatten().is_some_and(|path| at.stands_in(&path));
        let standing = match self {
            Act::Open { at, .. }
            | Act::Mkdir { at, .. }
            | Act::Mknod { at, .. }
            | Act::Unlink { at, .. }
            | Act::Symlink { at, .. }
            | Act::Truncate { at, .. }
            | Act::Link { at, .. }
            | Act::BindUnix { at, .. } => unmoved(at),
            Act::Rename { from, to, .. } => unmoved(from) && unmoved(to),
            Act::Exec(image) => image.is_unchanged(),
            _ => true,
        };
        standing && self.same_kind(judged)
    }

    /// What stands at the name is of the kind that was judged: nothing was put in its place meanwhile.
    fn same_kind(&self, judged: &Attempt) -> bool {
        let now = |at: &Place| at.look().ok().flatten().map(|stat| kind(&stat));
        match (self, judged) {
            (Act::Open { at, is_fifo, .. }, Attempt::Open { existing, .. }) => {
                let found = at.look().ok().flatten();
                // A FIFO that came meanwhile would keep this thread waiting for its other end.
                let is_fifo_now = found.is_some_and(|stat| stat.st_mode & libc::S_IFMT == libc::S_IFIFO);
                found.map(|stat| kind(&stat)) == *existing && is_fifo_now == *is_fifo
            }
            (Act::Unlink { at, .. }, Attempt::Remove { kind, .. }) => now(at) == Some(*kind),
            (Act::Rename { from, to, .. }, Attempt::Rename { kind, replaces, exchange, below, back, .. }) => {
                let there = now(to);
                let comes_back = there.filter(|_| *exchange).unwrap_or(FileKind::File);
                now(from) == Some(*kind)
                    && there.is_some() == *replaces
                    && *below == moving::below(from, *kind)
                    && *back == moving::below(to, comes_back)
            }
            (Act::Truncate { at, .. }, _) => now(at) == Some(FileKind::File),
            _ => true,
        }
    }

    /// The one folder in which names come or go by this; `None`: there may be others, or one goes itself.
    pub(super) fn folder(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Act::Open { at, .. }
            | Act::Mkdir { at, .. }
            | Act::Mknod { at, .. }
            | Act::Symlink { at, .. }
            | Act::Unlink { at, kind: FileKind::File, .. } => Some(at.parent.as_fd()),
            _ => None,
        }
    }

    /// What the directories that are remembered may no longer stand for, once this is done. A new name changes nothing: only
    /// those that were found are remembered.
    pub(super) fn forgets(&self, view: &View) {
        match self {
            Act::Unlink { kind: FileKind::File, .. } | Act::Rename { is_plain: true, .. } => {}
            Act::Unlink { kind: FileKind::Directory, at, .. } => {
                view.forget_directory(at.path().as_os_str().as_bytes())
            }
            Act::Unlink { .. } | Act::Rename { .. } => view.forget(),
            // Who may pass through a directory is a matter of its mode, owner and ACL.
            Act::Chmod { file, .. }
            | Act::Chown { file, .. }
            | Act::SetXattr { file, .. }
            | Act::RemoveXattr { file, .. }
                if !sys::fstat(file.as_fd()).is_ok_and(|stat| kind(&stat) == FileKind::File) =>
            {
                view.forget();
            }
            _ => {}
        }
    }
}

/// This thread's umask, so that it is set only when it must change.
pub(super) struct Umask(u32);

impl Umask {
    /// Takes over this thread's umask; the thread has a file system state of its own.
    pub(super) fn new() -> Self {
        sys::umask(0);
        Self(0)
    }

    fn set(&mut self, mask: u32) {
        if self.0 != mask {
            sys::umask(mask);
            self.0 = mask;
        }
    }
}

/// Performs a file act. Exec and network are the loop's.
pub(super) fn perform(view: &View, umask: &mut Umask, act: Act) -> Answer {
    let own = view.own_descriptors.as_raw_fd();
    match act {
        Act::Open { at, flags, mode, umask: mask, is_fifo, .. } => {
            if let Some(mask) = mask {
                umask.set(mask);
            }
            open(&at, flags, mode, is_fifo)
        }
        Act::Reopen { file, flags } => {
            let flags = flags & !(libc::O_CREAT | libc::O_EXCL | libc::O_NOFOLLOW);
            descriptor(sys::openat(own, &descriptor_name(&file), flags | libc::O_NOCTTY, 0), flags)
        }
        Act::Mkdir { at, mode, umask: mask } => {
            umask.set(mask);
            sys::mkdir(at.parent.as_raw_fd(), &at.given_name(), mode).into()
        }
        Act::Mknod { at, mode, umask: mask } => {
            umask.set(mask);
            sys::mknod(at.parent.as_raw_fd(), &at.given_name(), mode).into()
        }
        Act::Unlink { at, flags, .. } => sys::unlink(at.parent.as_raw_fd(), &at.given_name(), flags).into(),
        Act::Rename { from, to, flags, .. } => {
            // Its directories get the modes of the old ones, whatever the caller's umask.
            moving::rename(&from, &to, flags, || umask.set(0o077)).into()
        }
        Act::Link { file, at } => moving::link(view.own_descriptors.as_fd(), &file, &at).into(),
        Act::Symlink { target, at } => sys::symlink(&target, at.parent.as_raw_fd(), &at.given_name()).into(),
        Act::Truncate { at, length } => {
            let emptied = if length == 0 { libc::O_TRUNC } else { 0 };
            let flags = libc::O_WRONLY | libc::O_NOFOLLOW | libc::O_NONBLOCK | emptied;
            sys::openat(at.parent.as_raw_fd(), &at.name, flags, 0)
                .and_then(|file| sys::truncate(file.as_raw_fd(), length))
                .into()
        }
        Act::Chmod { file, mode } => sys::chmod(own, &descriptor_name(&file), mode).into(),
        Act::Chown { file, uid, gid } => sys::chown(own, &descriptor_name(&file), uid, gid, 0).into(),
        Act::Utimes { file, times } => sys::utimens(own, &descriptor_name(&file), times.as_ref(), 0).into(),
        Act::SetXattr { file, name, value, flags } => {
            sys::setxattr(&descriptor_path(&file), &name, &value, flags).into()
        }
        Act::RemoveXattr { file, name } => sys::removexattr(&descriptor_path(&file), &name).into(),
        Act::Terminal { master, flags } => descriptor(sys::peer(master.as_fd(), flags | libc::O_NOCTTY), flags),
        Act::Watch { inotify, file, mask } => match sys::watch(inotify.as_fd(), &descriptor_path(&file), mask) {
            Ok(number) => Answer::Value(number),
            Err(errno) => Answer::Errno(errno),
        },
        Act::Bind { socket, address } => sys::with_address(libc::SYS_bind, socket.as_fd(), &address).into(),
        Act::Connect { socket, address } => super::socket::connect_raw(socket, address),
        Act::ConnectUnix { socket, file } => super::socket::connect_unix(socket, file),
        Act::Exec(_) | Act::ConnectInet { .. } | Act::BindUnix { .. } => Answer::Errno(libc::EACCES),
    }
}

fn open(at: &Place, flags: i32, mode: u32, is_fifo: bool) -> Answer {
    // A final link was resolved or must not be; a terminal must not become the supervisor's.
    let safe = flags | libc::O_NOFOLLOW | libc::O_NOCTTY;
    if !is_fifo || flags & libc::O_NONBLOCK != 0 || flags & libc::O_ACCMODE == libc::O_RDWR {
        return descriptor(sys::openat(at.parent.as_raw_fd(), &at.given_name(), safe, mode), flags);
    }
    // Opening a FIFO waits for its other end.
    match at.handle() {
        Ok(file) => {
            let again = flags & !libc::O_CREAT | libc::O_NOCTTY;
            let open = move || descriptor(sys::openat(libc::AT_FDCWD, &descriptor_path(&file), again, 0), flags);
            Answer::Later { work: Box::new(open), connects: None }
        }
        Err(errno) => Answer::Errno(errno),
    }
}

fn descriptor(opened: Result<OwnedFd, Errno>, flags: i32) -> Answer {
    match opened {
        Ok(file) => Answer::Descriptor { file, is_cloexec: flags & libc::O_CLOEXEC != 0 },
        Err(errno) => Answer::Errno(errno),
    }
}
