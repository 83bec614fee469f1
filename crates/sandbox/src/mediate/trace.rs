//! Exec events. An exec can't be done for another: it is let go on with the thread seized, and stops at the exec event,
//! before the new image's first instruction. There the image is held against what was ruled on.
//!
//! Only the mediation thread traces, and waits for exactly the threads that it holds: other children are not its own.

use super::exec::Image;
use super::sys::{self, Errno};
use crate::call::Ticket;
use rustix::fd::BorrowedFd;
use std::time::{Duration, Instant};

/// An exec that has not happened by then has failed, or takes long: the thread is asked to stop and tell.
const EXEC_EXPECTED: Duration = Duration::from_millis(20);
/// How often is looked at first, and later.
const LOOK_SOON: Duration = Duration::from_micros(40);
const LOOK_LATER: Duration = Duration::from_millis(1);
const LOOK_SOON_FOR: Duration = Duration::from_millis(3);

#[derive(Default)]
pub(super) struct Traces {
    held: Vec<Traced>,
    /// Threads that died under us and are to be collected: an exec by another of their group waits for that.
    dying: Vec<i32>,
}

struct Traced {
    tid: i32,
    tgid: i32,
    ticket: Ticket,
    image: Box<Image>,
    since: Instant,
    asked: Option<Instant>,
}

/// What became of an exec.
pub(super) enum Outcome {
    Ran { ticket: Ticket, pid: i32 },
    Failed { ticket: Ticket, pid: i32, errno: Errno },
    Breached { ticket: Ticket, pid: i32, what: String },
}

impl Traces {
    /// Seizes the thread and lets its call go on.
    pub(super) fn start(
        &mut self,
        notify: BorrowedFd<'_>,
        id: u64,
        tid: i32,
        (ticket, tgid): (Ticket, i32),
        image: Box<Image>,
    ) -> Result<(), Errno> {
        // Seizing waits for an exec of the same group, which waits for its other threads to be collected by us: never two.
        if self.held.iter().any(|traced| traced.tgid == tgid && traced.tid != tid) {
            return Err(libc::EAGAIN);
        }
        let traced = Traced { tid, tgid, ticket, image, since: Instant::now(), asked: None };
        match self.held.iter().position(|traced| traced.tid == tid) {
            // An exec of its failed a moment ago and it is still held.
            Some(at) => drop(self.held.swap_remove(at)),
            None => sys::seize(tid, libc::PTRACE_O_TRACEEXEC | libc::PTRACE_O_EXITKILL)?,
        }
        if !sys::is_valid(notify, id) {
            // Its death is collected like any other's.
            self.held.push(traced);
            return Ok(());
        }
        let sent = sys::reply(notify, id, 0, 0, libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE as u32);
        self.held.push(traced);
        match sent {
            Ok(()) | Err(libc::ENOENT) => Ok(()),
            Err(errno) => Err(errno),
        }
    }

    /// How long to wait before looking again; `None`: nothing is held.
    pub(super) fn patience(&self) -> Option<Duration> {
        let Some(youngest) = self.held.iter().map(|traced| traced.since.elapsed()).min() else {
            return (!self.dying.is_empty()).then_some(LOOK_LATER);
        };
        Some(if youngest < LOOK_SOON_FOR { LOOK_SOON } else { LOOK_LATER })
    }

    /// Looks at every held thread.
    pub(super) fn look(&mut self) -> Vec<Outcome> {
        let mut out = Vec::new();
        let mut at = 0;
        self.dying.retain(|tid| matches!(sys::wait_for(*tid), Ok(None)));
        while let Some(traced) = self.held.get(at) {
            let before = self.held.len();
            let (tid, tgid) = (traced.tid, traced.tgid);
            match sys::wait_for(tid) {
                Ok(Some(status)) => self.stopped(tid, status, &mut out),
                // Still under its own number, whatever its group's first thread does.
                Ok(None) => self.ask(at),
                // A thread that execs becomes its group's first: its own number is gone then. INVARIANT: only after it is
                // gone does the group's number tell about it.
                Err(libc::ECHILD) if tid != tgid => match sys::wait_for(tgid) {
                    Ok(Some(status)) => self.stopped(tgid, status, &mut out),
                    Ok(None) => self.ask(at),
                    Err(_) => self.gone(at, &mut out),
                },
                _ => self.gone(at, &mut out),
            }
            // Entries may have been taken out; then the same place is looked at again.
            if self.held.len() == before {
                at += 1;
            }
        }
        out
    }

    fn ask(&mut self, at: usize) {
        let Some(traced) = self.held.get_mut(at) else { return };
        let quiet_since = traced.asked.unwrap_or(traced.since);
        if quiet_since.elapsed() > EXEC_EXPECTED {
            traced.asked = Some(Instant::now());
            let _ = sys::ptrace(libc::PTRACE_INTERRUPT, traced.tid, 0);
        }
    }

    fn gone(&mut self, at: usize, out: &mut Vec<Outcome>) {
        if at < self.held.len() {
            let traced = self.held.swap_remove(at);
            out.push(Outcome::Failed { ticket: traced.ticket, pid: traced.tgid, errno: libc::ESRCH });
        }
    }

    fn stopped(&mut self, pid: i32, status: i32, out: &mut Vec<Outcome>) {
        if !libc::WIFSTOPPED(status) {
            if let Some(at) = self.held.iter().position(|traced| traced.tid == pid) {
                self.gone(at, out);
            }
            return;
        }
        if status >> 16 == libc::PTRACE_EVENT_EXEC {
            return self.executed(pid, out);
        }
        // Any other stop is on the way back to the old image: the exec failed. A signal is passed on, a group stop
        // goes on after the detach.
        let result = sys::result_register(pid);
        let signal = if status >> 16 == 0 { libc::WSTOPSIG(status) as usize } else { 0 };
        if sys::ptrace(libc::PTRACE_DETACH, pid, signal).is_err() {
            self.dying.push(pid);
        }
        if let Some(at) = self.held.iter().position(|traced| traced.tid == pid) {
            let traced = self.held.swap_remove(at);
            let errno = result.and_then(|result| i32::try_from(-result).ok()).filter(|errno| (1..4096).contains(errno));
            out.push(Outcome::Failed { ticket: traced.ticket, pid: traced.tgid, errno: errno.unwrap_or(libc::EINTR) });
        }
    }

    fn executed(&mut self, pid: i32, out: &mut Vec<Outcome>) {
        // The number that the thread had when it called.
        let former = sys::event_message(pid).map_or(pid, |message| message as i32);
        let Some(at) = self.held.iter().position(|traced| traced.tid == former) else {
            out.push(Outcome::Breached {
                ticket: Ticket(0),
                pid,
                what: "a program ran that nobody ruled on".to_owned(),
            });
            return;
        };
        let Traced { ticket, image, .. } = self.held.swap_remove(at);
        // Every other thread of the group is gone; theirs were other execs.
        while let Some(at) = self.held.iter().position(|traced| traced.tgid == pid) {
            self.dying.extend(self.held.get(at).map(|traced| traced.tid).filter(|tid| *tid != pid));
            self.gone(at, out);
        }
        match image.differs(pid) {
            None => {
                let _ = sys::ptrace(libc::PTRACE_DETACH, pid, 0);
                out.push(Outcome::Ran { ticket, pid });
            }
            // It stays stopped: killing the tree ends it.
            Some(what) => out.push(Outcome::Breached { ticket, pid, what }),
        }
    }
}
