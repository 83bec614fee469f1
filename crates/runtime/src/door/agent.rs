//! The process of the agent that a session without a sandbox follows.

use rustix::fd::OwnedFd;
use rustix::process::{Pid, PidfdFlags, Signal};
use std::time::Duration;

/// Names under which the known harnesses run. INVARIANT: nothing else is ever ended from here; the process that a hook was
/// started by may as well be a terminal.
const HARNESSES: &[&str] = &["claude", "codex", "gemini", "cursor", "cursor-agent", "node", "MainThread"];

/// Shells and wrappers between a harness and its hook, at most.
const PARENTS_MAX: usize = 8;

#[derive(Debug)]
pub(super) struct Agent {
    pidfd: OwnedFd,
    is_harness: bool,
}

impl Agent {
    /// The process of that number; `None` when it is gone.
    pub fn of(pid: i32) -> Option<Self> {
        let pidfd = rustix::process::pidfd_open(Pid::from_raw(pid)?, PidfdFlags::empty()).ok()?;
        // INVARIANT: read after the handle was taken, so that the name is of the process that is held.
        let is_harness = name_of(pid).is_some_and(|name| HARNESSES.contains(&name.as_str()));
        Some(Self { pidfd, is_harness })
    }

    /// Whether it has ended, or does within that time.
    pub fn ends_within(&self, time: Duration) -> bool {
        let timeout = rustix::time::Timespec::try_from(time).ok();
        let mut ends = [rustix::event::PollFd::new(&self.pidfd, rustix::event::PollFlags::IN)];
        rustix::event::poll(&mut ends, timeout.as_ref()).is_ok_and(|ended| ended > 0)
    }

    /// Ends it, if it is a harness; says whether it did.
    pub fn kill(&self) -> bool {
        self.is_harness && rustix::process::pidfd_send_signal(&self.pidfd, Signal::KILL).is_ok()
    }
}

/// The process whose hook this process is: the nearest ancestor that is no shell.
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
        child.kill().unwrap();
        assert!(agent.ends_within(Duration::from_secs(30)));
        child.wait().unwrap();
        assert!(Agent::of(i32::try_from(child.id()).unwrap()).is_none());
    }
}
