//! Which core the supervisor and a caller run on, for as long as it helps that they share one.

use rustix::thread::{CpuSet, Pid, sched_getaffinity, sched_getcpu, sched_setaffinity};

/// The cores that the mediation thread may use.
pub(super) struct Cores(CpuSet);

impl Cores {
    pub(super) fn new() -> Self {
        Self(sched_getaffinity(None).unwrap_or_default())
    }

    /// Keeps this thread and `caller` on the core where this one runs, until the value is dropped. `None` where there is
    /// no other, or it can't be done.
    pub(super) fn share(&self, caller: i32) -> Option<Kept<'_>> {
        let core = sched_getcpu();
        if self.0.count() < 2 || core >= CpuSet::MAX_CPU {
            return None;
        }
        let mut here = CpuSet::new();
        here.set(core);
        let caller = Pid::from_raw(caller)?;
        let before = sched_getaffinity(Some(caller)).ok()?;
        sched_setaffinity(None, &here).ok()?;
        // From here on dropping it undoes what was done.
        let kept = Kept { own: &self.0, caller, before, here };
        sched_setaffinity(Some(caller), &here).ok()?;
        Some(kept)
    }
}

/// Two threads that are kept on one core.
pub(super) struct Kept<'a> {
    own: &'a CpuSet,
    caller: Pid,
    before: CpuSet,
    here: CpuSet,
}

impl Drop for Kept<'_> {
    fn drop(&mut self) {
        let _ = sched_setaffinity(None, self.own);
        // Somebody else may have moved the caller meanwhile: then that stands.
        if sched_getaffinity(Some(self.caller)).is_ok_and(|now| now == self.here) {
            let _ = sched_setaffinity(Some(self.caller), &self.before);
        }
    }
}
