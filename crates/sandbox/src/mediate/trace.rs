//! Exec events. An exec can't be done for another: it is let go on with the thread seized, and stops at the exec event,
//! before the new image's first instruction. There the image is held against what was ruled on.
//!
//! Only the mediation thread traces, and waits for exactly the threads that it holds: other children are not its own.
//!
//! Where the kernel does not tell how others' children ended, a program's first thread stays traced after its exec, until
//! its end: a tracer is told before the parent. Each signal stops such a thread until it is looked at, which costs it
//! up to [`LOOK_LATER`]; its group's other threads are not traced.

use super::exec::Image;
use super::sys::{self, Errno};
use crate::call::Ticket;
use rustix::fd::{BorrowedFd, OwnedFd};
use std::collections::HashSet;
use std::time::{Duration, Instant};

/// An exec that has not happened by then has failed, or takes long: the thread is asked to stop and tell.
const EXEC_EXPECTED: Duration = Duration::from_millis(20);
/// How often is looked at first, and later.
const LOOK_SOON: Duration = Duration::from_micros(40);
const LOOK_LATER: Duration = Duration::from_millis(1);
const LOOK_SOON_FOR: Duration = Duration::from_millis(3);

pub(super) struct Traces {
    held: Vec<Traced>,
    /// Threads that died under us and are to be collected: an exec by another of their group waits for that.
    dying: Vec<i32>,
    /// Programs that stay traced, where they do.
    kept: Option<HashSet<i32>>,
    /// When one of those was last begun or stopped.
    stirred: Instant,
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
    /// With the process, opened before it ran on: so short may it run that nothing is left to open afterwards.
    Ran {
        ticket: Ticket,
        pid: i32,
        process: Option<OwnedFd>,
    },
    Failed {
        ticket: Ticket,
        pid: i32,
        errno: Errno,
    },
    Breached {
        ticket: Ticket,
        pid: i32,
        what: String,
    },
    /// A program that stayed traced ended, with this wait status.
    Ended {
        pid: i32,
        status: i32,
    },
}

impl Traces {
    /// `to_the_end`: programs stay traced until they end.
    pub(super) fn new(to_the_end: bool) -> Self {
        let kept = to_the_end.then(HashSet::new);
        Self { held: Vec::new(), dying: Vec::new(), kept, stirred: Instant::now() }
    }

    /// Whether any program that stays traced has not ended.
    pub(super) fn has_kept(&self) -> bool {
        self.kept.as_ref().is_some_and(|kept| !kept.is_empty())
    }

    fn is_kept(&self, pid: i32) -> bool {
        self.kept.as_ref().is_some_and(|kept| kept.contains(&pid))
    }

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
            None if self.is_kept(tid) => {}
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
        let kept = self.has_kept().then(|| self.stirred.elapsed());
        let Some(youngest) = self.held.iter().map(|traced| traced.since.elapsed()).chain(kept).min() else {
            return (!self.dying.is_empty()).then_some(LOOK_LATER);
        };
        Some(if youngest < LOOK_SOON_FOR { LOOK_SOON } else { LOOK_LATER })
    }

    /// Looks at every held thread. `begins` hears of each program that runs, before its first instruction.
    pub(super) fn look(&mut self, begins: &mut dyn FnMut(i32)) -> Vec<Outcome> {
        let mut out = Vec::new();
        let mut at = 0;
        self.dying.retain(|tid| matches!(sys::wait_for(*tid), Ok(None)));
        while let Some(traced) = self.held.get(at) {
            let before = self.held.len();
            let (tid, tgid) = (traced.tid, traced.tgid);
            match sys::wait_for(tid) {
                Ok(Some(status)) => self.stopped(tid, status, &mut out, begins),
                // Still under its own number, whatever its group's first thread does.
                Ok(None) => self.ask(at),
                // A thread that execs becomes its group's first: its own number is gone then. INVARIANT: only after it is
                // gone does the group's number tell about it.
                Err(libc::ECHILD) if tid != tgid => match sys::wait_for(tgid) {
                    Ok(Some(status)) => self.stopped(tgid, status, &mut out, begins),
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
        for pid in self.kept.iter().flatten().copied().collect::<Vec<_>>() {
            match sys::wait_for(pid) {
                Ok(Some(status)) => self.stopped(pid, status, &mut out, begins),
                Ok(None) => {}
                // Nobody's any more; it can't be told how it ended.
                Err(_) => _ = self.kept.as_mut().is_some_and(|kept| kept.remove(&pid)),
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

    fn stopped(&mut self, pid: i32, status: i32, out: &mut Vec<Outcome>, begins: &mut dyn FnMut(i32)) {
        self.stirred = Instant::now();
        if !libc::WIFSTOPPED(status) {
            if self.kept.as_mut().is_some_and(|kept| kept.remove(&pid)) {
                out.push(Outcome::Ended { pid, status });
            }
            if let Some(at) = self.held.iter().position(|traced| traced.tid == pid) {
                self.gone(at, out);
            }
            return;
        }
        if status >> 16 == libc::PTRACE_EVENT_EXEC {
            return self.executed(pid, out, begins);
        }
        // Any other stop is on the way back to the old image: the exec failed. A signal is passed on, a group stop
        // goes on after the detach.
        let result = sys::result_register(pid);
        let (event, signal) = (status >> 16, libc::WSTOPSIG(status));
        let is_group_stop = event == libc::PTRACE_EVENT_STOP && signal != libc::SIGTRAP;
        let request = match self.is_kept(pid) {
            false => libc::PTRACE_DETACH,
            // Stopped with its group, until SIGCONT; a tracer's "go on" would undo that.
            true if is_group_stop => libc::PTRACE_LISTEN,
            true => libc::PTRACE_CONT,
        };
        let signal = if event == 0 { signal as usize } else { 0 };
        if sys::ptrace(request, pid, signal).is_err() && !self.is_kept(pid) {
            self.dying.push(pid);
        }
        if let Some(at) = self.held.iter().position(|traced| traced.tid == pid) {
            let traced = self.held.swap_remove(at);
            let errno = result.and_then(|result| i32::try_from(-result).ok()).filter(|errno| (1..4096).contains(errno));
            out.push(Outcome::Failed { ticket: traced.ticket, pid: traced.tgid, errno: errno.unwrap_or(libc::EINTR) });
        }
    }

    fn executed(&mut self, pid: i32, out: &mut Vec<Outcome>, begins: &mut dyn FnMut(i32)) {
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
                begins(pid);
                let process = sys::pidfd_open(pid).ok();
                let request = match &mut self.kept {
                    Some(kept) => {
                        kept.insert(pid);
                        libc::PTRACE_CONT
                    }
                    None => libc::PTRACE_DETACH,
                };
                let _ = sys::ptrace(request, pid, 0);
                out.push(Outcome::Ran { ticket, pid, process });
            }
            // It stays stopped: killing the tree ends it.
            Some(what) => out.push(Outcome::Breached { ticket, pid, what }),
        }
    }
}
