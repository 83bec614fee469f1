//! What is remembered of callers. Reading `/proc/TID/status` costs as much as all else in a call together.

use super::caller::{Caller, Status};
use super::sys::{self, Errno};
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// A number can't be reused within this time: the kernel hands them out in turn.
const KEPT_FOR: Duration = Duration::from_secs(1);
/// A `umask` that was let go on takes effect a moment later.
const UMASK_SETTLES: Duration = Duration::from_millis(20);
const KEPT_MAX: usize = 4096;

/// By thread.
#[derive(Default)]
pub(super) struct Statuses {
    kept: HashMap<i32, (Status, Instant)>,
    /// Threads that are their group's first, where no more was asked of them.
    firsts: HashMap<i32, Instant>,
    keep_from: Option<Instant>,
}

impl Statuses {
    /// The caller's status.
    pub(super) fn of(&mut self, caller: &Caller<'_>) -> Result<Status, Errno> {
        let now = Instant::now();
        if let Some((status, since)) = self.kept.get(&caller.tid)
            && now.duration_since(*since) < KEPT_FOR
        {
            return Ok(*status);
        }
        let status = caller.status()?;
        if !caller.is_waiting() {
            return Err(libc::EINTR);
        }
        if self.keep_from.is_none_or(|from| now >= from) {
            if self.kept.len() >= KEPT_MAX {
                self.kept.clear();
            }
            self.kept.insert(caller.tid, (status, now));
        }
        Ok(status)
    }

    /// The caller's thread group.
    pub(super) fn tgid(&mut self, caller: &Caller<'_>) -> Result<i32, Errno> {
        if let Some((status, since)) = self.kept.get(&caller.tid)
            && since.elapsed() < KEPT_FOR
        {
            return Ok(status.tgid);
        }
        if self.firsts.get(&caller.tid).is_some_and(|since| since.elapsed() < KEPT_FOR) {
            return Ok(caller.tid);
        }
        // Signal 0 asks only; ESRCH: the thread is of another group.
        match sys::tgkill(caller.tid, caller.tid, 0) {
            Ok(()) | Err(libc::EPERM) => {
                if self.firsts.len() >= KEPT_MAX {
                    self.firsts.clear();
                }
                self.firsts.insert(caller.tid, Instant::now());
                Ok(caller.tid)
            }
            Err(_) => self.of(caller).map(|status| status.tgid),
        }
    }

    /// Someone is about to change a umask, which threads may share: everyone's is read anew.
    pub(super) fn umask_changes(&mut self) {
        self.kept.clear();
        self.keep_from = Some(Instant::now() + UMASK_SETTLES);
    }

    /// That process is another program now, its first thread perhaps another thread.
    pub(super) fn forget(&mut self, pid: i32) {
        self.kept.retain(|tid, (status, _)| *tid != pid && status.tgid != pid);
    }
}
