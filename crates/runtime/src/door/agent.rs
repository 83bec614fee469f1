//! The process of the agent that a session without a sandbox follows.

use rustix::fd::OwnedFd;
use rustix::process::{Pid, PidfdFlags, Signal};
use std::time::Duration;

/// Names under which the known harnesses run. INVARIANT: nothing else is ever ended from here; the process that a hook was
/// started by may as well be a terminal.
const HARNESSES: &[&str] = &["claude", "codex", "gemini", "cursor", "cursor-agent", "node", "MainThread"];

/// A process has no more ancestors than this; who has is not told from the agent's.
const ANCESTORS_MAX: usize = 256;

/// Shells and wrappers between a harness and its hook, at most.
const PARENTS_MAX: usize = 8;

#[derive(Debug)]
pub(super) struct Agent {
    pid: i32,
    pidfd: OwnedFd,
    is_harness: bool,
}

impl Agent {
    /// The process of that number; `None` when it is gone.
    pub fn of(pid: i32) -> Option<Self> {
        let pidfd = rustix::process::pidfd_open(Pid::from_raw(pid)?, PidfdFlags::empty()).ok()?;
        // INVARIANT: read after the handle was taken, so that the name is of the process that is held.
        let is_harness = name_of(pid).is_some_and(|name| HARNESSES.contains(&name.as_str()));
        Some(Self { pid, pidfd, is_harness })
    }

    /// The same for a client of tools, which is never ended from here: it may be much more than the agent.
    pub fn client(pid: i32) -> Option<Self> {
        Self::of(pid).map(|agent| Self { is_harness: false, ..agent })
    }

    /// Whether it has ended, or does within that time.
    pub fn ends_within(&self, time: Duration) -> bool {
        let timeout = rustix::time::Timespec::try_from(time).ok();
        let mut ends = [rustix::event::PollFd::new(&self.pidfd, rustix::event::PollFlags::IN)];
        rustix::event::poll(&mut ends, timeout.as_ref()).is_ok_and(|ended| ended > 0)
    }

    /// Whether that process is the agent's own, or descends from it, or its parent can't be told.
    pub fn is_above(&self, pid: i32) -> bool {
        // A number of its own is the agent's for as long as the agent lives; afterwards the session is over.
        let mut at = pid;
        for _ in 0..ANCESTORS_MAX {
            if at == self.pid {
                return true;
            }
            match crate::core::parent_of(at) {
                // The first process there is, or one that was put in from outside.
                Some(0) => return false,
                Some(parent) => at = parent,
                None => return true,
            }
        }
        true
    }

    /// Ends it, if it is a harness; says whether it did.
    pub fn kill(&self) -> bool {
        self.is_harness && rustix::process::pidfd_send_signal(&self.pidfd, Signal::KILL).is_ok()
    }
}

/// The process whose hook or gateway this process is: the nearest ancestor that is no shell.
pub(super) fn of_this_hook() -> Option<i32> {
    let mut pid = rustix::process::getppid()?.as_raw_nonzero().get();
    for _ in 0..PARENTS_MAX {
        if !matches!(name_of(pid)?.as_str(), "sh" | "bash" | "dash" | "zsh" | "env" | "timeout") {
            return (pid > 1).then_some(pid);
        }
        pid = crate::core::parent_of(pid)?;
    }
    None
}

/// When a process began, in the operating system's count: with its number that is its name for ever.
pub(super) fn began(pid: i32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    // One that has ended and was not waited for does nothing any more.
    if matches!(fields.next()?, "Z" | "X") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

fn name_of(pid: i32) -> Option<String> {
    Some(std::fs::read_to_string(format!("/proc/{pid}/comm")).ok()?.trim().to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn only_a_harness_is_ended() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let agent = Agent::of(i32::try_from(child.id()).unwrap()).unwrap();
        assert!(!agent.kill() && !agent.ends_within(Duration::ZERO));
        let own = i32::try_from(std::process::id()).unwrap();
        let this = Agent::of(own).unwrap();
        assert!(this.is_above(own) && this.is_above(agent.pid) && !agent.is_above(own) && !this.is_above(1));
        assert!(this.is_above(i32::MAX), "what has no parent that can be told is refused");
        child.kill().unwrap();
        assert!(agent.ends_within(Duration::from_secs(30)));
        child.wait().unwrap();
        assert!(Agent::of(i32::try_from(child.id()).unwrap()).is_none());
    }
}
