//! What the loop waits for: calls, mail, and the ends of programs.

use super::sys::{self, Errno};
use crate::exits;
use rustix::event::{PollFd, PollFlags, epoll};
use rustix::fd::{AsFd, OwnedFd};
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

const NOTIFY: u64 = 0;
const WAKE: u64 = 1;
const FIRST_PROCESS: u64 = 2;
const READY_MAX: usize = 64;
/// A wait that milliseconds are too coarse for.
const SHORT: Duration = Duration::from_millis(2);
/// Programs whose ends are watched at once; each takes a descriptor. Those beyond it wait until one of them has ended.
const WATCHED_MAX: usize = 4096;
/// Programs that wait for that; what is beyond it ends unseen.
const WAITING_MAX: usize = 65_536;

/// The descriptors that are waited on.
pub(super) struct Events {
    epoll: OwnedFd,
    notify: Option<OwnedFd>,
    wake: OwnedFd,
    processes: HashMap<u64, (i32, OwnedFd)>,
    by_pid: HashMap<i32, u64>,
    /// Not watched yet: when each started, in the kernel's ticks, so that another with its number is not taken for it.
    waiting: BTreeMap<i32, u64>,
    next: u64,
    watched_max: usize,
    /// The kernel tells how programs ended; where not, their ends only wake the loop.
    are_told: bool,
    buffer: Vec<epoll::Event>,
}

/// What is there to do.
#[derive(Default)]
pub(super) struct Ready {
    /// A call waits.
    pub(super) notify: bool,
    /// No process is left.
    pub(super) over: bool,
    /// Mail came.
    pub(super) wake: bool,
    ended: Vec<u64>,
}

impl Events {
    pub(super) fn new(notify: &OwnedFd, wake: &OwnedFd, are_told: bool) -> Result<Self, Errno> {
        let failed = |error: rustix::io::Errno| error.raw_os_error();
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(failed)?;
        // A descriptor of its own: what is not to be waited for any more is named by the number that it was added by.
        let notify = notify.try_clone().map_err(|_| libc::EMFILE)?;
        epoll::add(&epoll, &notify, epoll::EventData::new_u64(NOTIFY), epoll::EventFlags::IN).map_err(failed)?;
        epoll::add(&epoll, wake, epoll::EventData::new_u64(WAKE), epoll::EventFlags::IN).map_err(failed)?;
        let soft = rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap_or(u64::MAX);
        Ok(Self {
            epoll,
            notify: Some(notify),
            wake: wake.try_clone().map_err(|_| libc::EMFILE)?,
            processes: HashMap::new(),
            by_pid: HashMap::new(),
            waiting: BTreeMap::new(),
            next: FIRST_PROCESS,
            watched_max: usize::try_from(soft / 4).unwrap_or(usize::MAX).min(WATCHED_MAX),
            are_told,
            buffer: Vec::with_capacity(READY_MAX),
        })
    }

    /// Waits; `None` is as long as it takes.
    pub(super) fn wait(&mut self, timeout: Option<Duration>) -> Ready {
        let is_short = timeout.is_some_and(|timeout| timeout < SHORT);
        let mut timeout = timeout.and_then(|timeout| rustix::event::Timespec::try_from(timeout).ok());
        self.buffer.clear();
        if is_short {
            // `epoll_wait` counts in milliseconds, and an exec is over in a tenth of one. Only then: who is woken through a
            // second poll is woken on any core, and a call costs ten times as much.
            let mut all = [PollFd::new(&self.epoll, PollFlags::IN)];
            let _ = rustix::event::poll(&mut all, timeout.as_ref());
            timeout = Some(rustix::event::Timespec::default());
        }
        let waited = epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut self.buffer), timeout.as_ref());
        let mut ready = Ready::default();
        if waited.is_err() {
            return ready;
        }
        for event in &self.buffer {
            let flags = event.flags;
            match event.data.u64() {
                NOTIFY => {
                    ready.notify = flags.contains(epoll::EventFlags::IN);
                    ready.over = flags.contains(epoll::EventFlags::HUP) && !ready.notify;
                }
                WAKE => {
                    ready.wake = true;
                    let _ = rustix::io::read(&self.wake, &mut [0u8; 8]);
                }
                process => ready.ended.push(process),
            }
        }
        // A full batch may leave ends behind; calls wait one more round for them.
        ready.notify &= self.buffer.len() < READY_MAX;
        ready
    }

    /// Waits for ends alone: the listener hangs up from now on.
    pub(super) fn wait_for_ends(&mut self, timeout: Duration) -> Ready {
        if let Some(notify) = self.notify.take() {
            let _ = epoll::delete(&self.epoll, &notify);
        }
        self.wait(Some(timeout))
    }

    /// Whether any watched program has not ended.
    pub(super) fn has_processes(&self) -> bool {
        !self.processes.is_empty()
    }

    /// Whether calls are waited for.
    pub(super) fn listen(&self, is_on: bool) {
        let Some(notify) = &self.notify else { return };
        let flags = if is_on { epoll::EventFlags::IN } else { epoll::EventFlags::empty() };
        let _ = epoll::modify(&self.epoll, notify, epoll::EventData::new_u64(NOTIFY), flags);
    }

    /// Tells of that process's end from now on. Whether one that had its number before ended unseen.
    pub(super) fn watch(&mut self, pid: i32, process: Option<OwnedFd>) -> bool {
        if self.by_pid.contains_key(&pid) {
            return false;
        }
        let process = process.filter(|_| self.processes.len() < self.watched_max);
        // What it takes to tell two of one number apart is asked only where there can be two.
        let started = if process.is_none() || !self.waiting.is_empty() { started(pid) } else { None };
        let before = self.waiting.remove(&pid);
        let is_other = before.is_some() && before != started;
        if let Some(process) = process {
            self.watch_by(pid, process);
        } else if let Some(started) = started.filter(|_| self.waiting.len() < WAITING_MAX) {
            self.waiting.insert(pid, started);
        }
        is_other
    }

    fn watch_by(&mut self, pid: i32, process: OwnedFd) {
        let token = self.next;
        self.next += 1;
        // No flags: only the hang-up, which comes once the parent has collected the status. Who is traced has to be
        // collected by the tracer before that.
        let flags = if self.are_told { epoll::EventFlags::empty() } else { epoll::EventFlags::IN };
        let added = epoll::add(&self.epoll, &process, epoll::EventData::new_u64(token), flags);
        if added.is_ok() {
            self.processes.insert(token, (pid, process));
            self.by_pid.insert(pid, token);
        }
    }

    /// The processes that ended, with their wait statuses where the kernel told them.
    pub(super) fn ended(&mut self, ready: &Ready) -> Vec<(i32, Option<i32>)> {
        let mut out = Vec::new();
        for token in &ready.ended {
            let Some((pid, pidfd)) = self.processes.remove(token) else { continue };
            self.by_pid.remove(&pid);
            let status = exits::status(pidfd.as_fd());
            // Otherwise it was traced to its end, and that tells.
            if self.are_told || status.is_some() {
                out.push((pid, status));
            }
        }
        // There is room now for some that waited.
        while self.processes.len() < self.watched_max
            && let Some((pid, before)) = self.waiting.pop_first()
        {
            // Opened before it is asked when it started: whatever has the number then is what was opened.
            match sys::pidfd_open(pid).ok().filter(|_| started(pid) == Some(before)) {
                Some(process) => self.watch_by(pid, process),
                None if self.are_told => out.push((pid, None)),
                None => {}
            }
        }
        out
    }
}

/// When a process started, in the kernel's ticks since its own start.
fn started(pid: i32) -> Option<u64> {
    let stat = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
    // The name, in brackets, may hold anything.
    let after = stat.iter().rposition(|byte| *byte == b')')?;
    let fields = std::str::from_utf8(stat.get(after + 1..)?).ok()?;
    fields.split_ascii_whitespace().nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::zombie_processes, reason = "tests")]
    use super::*;
    use std::collections::BTreeSet;
    use std::process::{Child, Command, Stdio};
    use std::time::Instant;

    #[test]
    fn more_programs_than_can_be_watched_at_once_end_seen() {
        let fd = || rustix::event::eventfd(0, rustix::event::EventfdFlags::CLOEXEC).unwrap();
        let mut events = Events::new(&fd(), &fd(), true).unwrap();
        events.watched_max = 3;
        // `cat` ends when its standard input does.
        let start = || Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let mut children: Vec<Child> = (0..12).map(|_| start()).collect();
        let pids: Vec<i32> = children.iter().map(|child| child.id().cast_signed()).collect();
        for pid in &pids {
            assert!(!events.watch(*pid, sys::pidfd_open(*pid).ok()));
        }
        assert_eq!((events.processes.len(), events.waiting.len()), (3, 9));
        // One that waits ends unseen, and its number is another's by now: told when that one is.
        let gone = pids.last().copied().unwrap();
        events.waiting.insert(gone, 1);
        assert!(events.watch(gone, None));
        // One ends before there is room for it.
        let mut unseen = children.remove(10);
        drop(unseen.stdin.take());
        unseen.wait().unwrap();
        let mut seen = BTreeSet::new();
        let until = Instant::now() + Duration::from_secs(60);
        let mut told = Vec::new();
        while told.len() < pids.len() && Instant::now() < until {
            // Those that are watched, in turn.
            for child in &mut children {
                if events.by_pid.contains_key(&child.id().cast_signed()) && seen.insert(child.id()) {
                    drop(child.stdin.take());
                    child.wait().unwrap();
                }
            }
            let ready = events.wait(Some(Duration::from_millis(100)));
            told.extend(events.ended(&ready));
        }
        assert_eq!(told.iter().map(|(pid, _)| *pid).collect::<BTreeSet<_>>(), pids.iter().copied().collect());
        let without: Vec<i32> = told.iter().filter(|(_, status)| status.is_none()).map(|(pid, _)| *pid).collect();
        if exits::are_told() {
            assert_eq!(without, [unseen.id().cast_signed()]);
        }
        assert!(events.waiting.is_empty() && !events.has_processes());
    }
}
