//! The first change of a file of the workspace's lower layer copies it whole, and moving a folder of it all that is in it. What is
//! large is copied by a thread of its own: the call waits for that, nobody else does.

use super::act::Act;
use super::caller::descriptor_path;
use super::moving;
use super::sys::{self, Errno};
use super::{Control, LATER_MAX, Later, Loop};
use crate::call::{Call, Done, FileKind};
use rustix::fd::AsFd;
use std::collections::HashSet;
use std::os::fd::OwnedFd;

/// A file of at most this many bytes is copied on the way: it takes some milliseconds.
const AT_ONCE_BYTES_MAX: i64 = 16 << 20;
/// Of a thread that copies: a tree is walked by recursion, to a depth that is bounded.
const STACK_BYTES: usize = 1 << 20;
/// Files that are known to have been copied; beyond it the memory starts anew.
const COPIED_MAX: usize = 1024;
const OVERLAY_SUPER_MAGIC: i64 = 0x794c_7630;

/// A file, by device and inode.
type Key = (u64, u64);

/// Large files that are known to stand in the upper layer.
#[derive(Default)]
pub(super) struct Copied(HashSet<Key>);

/// A call that waits for copies.
pub(super) struct Waiting {
    call: Call,
    act: Act,
    files: Vec<Key>,
}

impl Copied {
    /// Large files that this act may have to copy first.
    fn needed(&self, act: &Act) -> Vec<(OwnedFd, Key)> {
        let files = match act {
            Act::Open { at, flags, bytes, .. } if *bytes > AT_ONCE_BYTES_MAX && copies(*flags) => vec![at.handle()],
            Act::Truncate { at, length: 1.. } => vec![at.handle()],
            Act::Rename { from, to, flags, .. } if flags & libc::RENAME_EXCHANGE != 0 => {
                vec![from.handle(), to.handle()]
            }
            Act::Rename { from, .. } => vec![from.handle()],
            Act::Link { file, .. } => vec![duplicate(&file.file)],
            Act::Chmod { file, .. }
            | Act::Chown { file, .. }
            | Act::Utimes { file, .. }
            | Act::SetXattr { file, .. }
            | Act::RemoveXattr { file, .. } => vec![duplicate(file)],
            _ => return Vec::new(),
        };
        files.into_iter().flatten().filter_map(|file| self.key(&file).map(|key| (file, key))).collect()
    }

    /// `None` where there is nothing to wait for.
    fn key(&self, file: &OwnedFd) -> Option<Key> {
        let stat = sys::fstat(file.as_fd()).ok()?;
        let is_large = super::resolve::kind(&stat) == FileKind::File && stat.st_size > AT_ONCE_BYTES_MAX;
        let key = (stat.st_dev, stat.st_ino);
        let is_new = is_large && !self.0.contains(&key);
        (is_new && rustix::fs::fstatfs(file).is_ok_and(|found| found.f_type == OVERLAY_SUPER_MAGIC)).then_some(key)
    }

    fn remember(&mut self, files: Vec<Key>) {
        if self.0.len() >= COPIED_MAX {
            self.0.clear();
        }
        self.0.extend(files);
    }
}

/// Emptied while it is opened, nothing of it is copied.
fn copies(flags: i32) -> bool {
    flags & libc::O_ACCMODE != libc::O_RDONLY && flags & libc::O_TRUNC == 0
}

fn duplicate(file: &OwnedFd) -> Result<OwnedFd, Errno> {
    file.try_clone().map_err(|_| libc::EMFILE)
}

/// Has the overlay copy it. What its user may not write, or runs, gets the mode that it has.
pub(super) fn copy(file: &OwnedFd) -> Result<(), Errno> {
    let path = descriptor_path(file);
    let flags = libc::O_WRONLY | libc::O_NONBLOCK | libc::O_NOCTTY | libc::O_CLOEXEC;
    match sys::openat(libc::AT_FDCWD, &path, flags, 0) {
        Ok(_) => Ok(()),
        Err(libc::EACCES | libc::EPERM | libc::ETXTBSY) => {
            let mode = sys::fstat(file.as_fd())?.st_mode & 0o7777;
            match sys::chmod(libc::AT_FDCWD, &path, mode) {
                // Whether the call itself may, it finds out itself.
                Err(libc::EPERM) => Ok(()),
                done => done,
            }
        }
        Err(errno) => Err(errno),
    }
}

impl Loop {
    /// Performs what was allowed, after the copies that it needs.
    pub(super) fn perform_allowed(&mut self, id: u64, tid: i32, call: &Call, act: Act) {
        // Without namespaces there is no overlay of the session's, and whether it may be touched is yet to be seen.
        if self.parts.places.is_some() {
            return self.perform_now(id, tid, call, act);
        }
        if let Act::Rename { from, to, flags, is_plain: false } = &act
            && flags & libc::RENAME_EXCHANGE == 0
        {
            act.forgets(&self.view);
            return match moving::rename_as_is(from, to, *flags) {
                Err(libc::EXDEV) => match moving::large_tree(from, to) {
                    // What went wrong on the way is not what the caller asked for; that the overlay can't is.
                    Some(tree) => self.perform_after(id, tid, call, act, Vec::new(), move || {
                        moving::copy_tree(&tree).map_err(|_| libc::EXDEV)
                    }),
                    None => self.perform_now(id, tid, call, act),
                },
                done => self.performed(id, tid, call, done.into()),
            };
        }
        let files = self.copied.needed(&act);
        if files.is_empty() {
            return self.perform_now(id, tid, call, act);
        }
        let keys = files.iter().map(|(_, key)| *key).collect();
        self.perform_after(id, tid, call, act, keys, move || files.iter().try_for_each(|(file, _)| copy(file)));
    }

    /// Has a thread make copies, and performs the act when they are made.
    fn perform_after(
        &mut self,
        id: u64,
        tid: i32,
        call: &Call,
        act: Act,
        files: Vec<Key>,
        copies: impl FnOnce() -> Result<(), Errno> + Send + 'static,
    ) {
        let mailbox = self.parts.mailbox.clone();
        // What the copies hold goes before anyone hears that they are made.
        let work = move || mailbox.send(Control::Copied(id, copies()));
        let thread = std::thread::Builder::new().name("flyball-copy".into()).stack_size(STACK_BYTES);
        if self.later.len() >= LATER_MAX || thread.spawn(work).is_err() {
            self.parts.mediator.done(call.ticket, call.pid, Done::Failed(libc::EAGAIN));
            return self.fail(id, libc::EAGAIN);
        }
        let waiting = Waiting { call: call.clone(), act, files };
        self.later
            .insert(id, Later { tid, ticket: Some((call.ticket, call.pid)), waiting: Some(waiting), connects: None });
    }

    /// The copies are made. The names that were judged may have moved meanwhile.
    pub(super) fn copied(&mut self, id: u64, done: Result<(), Errno>) {
        let Some(Later { tid, waiting: Some(Waiting { call, act, files }), .. }) = self.later.remove(&id) else {
            return;
        };
        let failed = match done {
            _ if !sys::is_valid(self.parts.notify.as_fd(), id) => Some(libc::EINTR),
            Err(errno) => Some(errno),
            Ok(()) if !act.still_stands(&self.view, &call.attempt) => Some(libc::EAGAIN),
            Ok(()) => None,
        };
        if let Some(errno) = failed {
            self.parts.mediator.done(call.ticket, call.pid, Done::Failed(errno));
            return self.fail(id, errno);
        }
        self.copied.remember(files);
        self.perform_now(id, tid, &call, act);
    }
}
