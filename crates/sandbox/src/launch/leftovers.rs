//! What a dead supervisor left running: ended, and waited for.

use super::cgroup::Hierarchies;
use super::prepare::LOCK;
use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

/// How long what is dying may take.
const GONE_WAIT_MAX: Duration = Duration::from_secs(20);
const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// Waits until nothing of a session whose supervisor is dead runs any more. Such a tree ends by itself: its launcher kills
/// it. What no launcher is left to thaw is thawed and killed here.
///
/// # Errors
/// Something is still there after a bounded time, or the session's lock can't be looked at.
pub fn end_leftovers(session_dir: &Path) -> io::Result<()> {
    let path = session_dir.join(LOCK);
    let file = match rustix::fs::open(&path, OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty()) {
        Ok(file) => file,
        // It was never launched.
        Err(Errno::NOENT) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    let started = Instant::now();
    loop {
        // INVARIANT: the launcher holds this lock and ends last, after all in the tree.
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(()),
            Err(Errno::WOULDBLOCK) if started.elapsed() < GONE_WAIT_MAX => {}
            Err(Errno::WOULDBLOCK) => return Err(io::ErrorKind::TimedOut.into()),
            Err(error) => return Err(error.into()),
        }
        Hierarchies::of_this_process().remove_stale();
        std::thread::sleep(POLL_INTERVAL);
    }
}
