//! Brings the time to the kernel.

use super::{Shared, lock, with};
use crate::clock::wall_ns;
use std::sync::Weak;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

/// How soon a deadline that the kernel left standing is brought to it again.
const TICK_AGAIN: Duration = Duration::from_secs(1);

/// Wakes at the deadline of each question and obligation. The deadline itself lives in the kernel; this only brings the time.
pub(super) fn tick_at_deadlines(session: Weak<Shared>, woken: Receiver<()>) -> std::io::Result<()> {
    std::thread::Builder::new().name("ticks".into()).spawn(move || {
        loop {
            let Some(deadline) = session.upgrade().map(|s| lock(&s).gate.next_deadline_ns()) else { return };
            let wait = match deadline {
                Some(at_ns) => Duration::from_nanos(at_ns.saturating_sub(wall_ns())),
                None => Duration::from_secs(3600),
            };
            if !wait.is_zero() {
                match woken.recv_timeout(wait) {
                    Err(RecvTimeoutError::Timeout) => {}
                    Ok(()) => continue,
                    Err(RecvTimeoutError::Disconnected) => return,
                }
            }
            let Some(shared) = session.upgrade().filter(|s| !s.over.load(Ordering::SeqCst)) else { return };
            if deadline.is_none() {
                continue;
            }
            let (released, next) = with(&shared, |core| (core.tick(), core.gate.next_deadline_ns()));
            if let Some(running) = shared.running.get() {
                released.into_iter().for_each(|(ticket, decision)| running.answer(ticket, decision));
            }
            drop(shared);
            if next == deadline {
                // The kernel left it standing: it is asked about again, but not as fast as the machine can.
                std::thread::sleep(TICK_AGAIN);
            }
        }
    })?;
    Ok(())
}
