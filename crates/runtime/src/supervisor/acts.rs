//! What people, and the charter itself, do to a live session: heard at its socket, recorded, done.
//!
//! INVARIANT: one act on the processes at a time ([`Shared::acts`]), and an end at any time: nothing that a session does keeps
//! anybody from killing it.

use super::{Shared, constraining, lock, with};
use crate::control::{self, Reply, Request};
use crate::core::{Caused, Core, Notice};
use crate::gate::{Answer, GateError};
use crate::rewind;
use crate::signed::Actor;
use flyball_ledger::Kind;
use serde_json::json;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError, Weak};
use std::time::{Duration, Instant};

/// How long ending a session waits for its turn to be on record first: less than anybody notices.
const KILL_WAIT_MAX: Duration = Duration::from_millis(10);
const LOCK_LOOK: Duration = Duration::from_micros(200);

/// Acts that the charter itself wants.
pub(super) fn cause(shared: &Arc<Shared>, acts: Vec<Caused>) {
    for Caused { act, because, since } in acts {
        let request = match act.as_str() {
            // Each attempt from now on asks; nothing is done to what runs.
            act if act.starts_with("escalate:") => continue,
            "rollback" if since.is_some_and(|since| since > 1) => {
                Request::Rollback { seq: since.unwrap_or_default().saturating_sub(1), reason: because }
            }
            "kill" => Request::Kill { reason: because },
            "quarantine" => Request::Quarantine { reason: because },
            // What the charter asks and can't be done for it stops the run where a person can look at it.
            _ => Request::Pause { reason: because },
        };
        if let Err(error) = act_on(shared, request, "charter") {
            let detail = format!("`{act}` could not be done: {error}");
            let _ =
                lock(shared).gate.note(Kind::Alert, "supervisor", &[], json!({ "alert": "cause", "detail": detail }));
            shared.tell(Notice::Alert(detail));
        }
    }
}

/// Hears people at the control socket for as long as the session lives.
pub(super) fn serve(session: Weak<Shared>, listener: std::os::unix::net::UnixListener) -> std::io::Result<()> {
    std::thread::Builder::new().name("control".into()).spawn(move || {
        for stream in control::connections(&listener) {
            let Some(shared) = session.upgrade().filter(|s| !s.over.load(Ordering::SeqCst)) else { return };
            let Some(stream) = stream else { continue };
            let answering = shared.replies.begin();
            let serve = move || {
                control::serve(stream, |request, by| act_on(&shared, request, by));
                drop(answering);
            };
            let _ = std::thread::Builder::new().name("act".into()).spawn(serve);
        }
    })?;
    Ok(())
}

/// Does what a person (or the charter) asks.
fn act_on(shared: &Arc<Shared>, request: Request, by: &str) -> Result<Reply, String> {
    if request == Request::Status {
        let status = Some(Box::new(lock(shared).gate.status()));
        return Ok(Reply { ok: true, status, ..Reply::default() });
    }
    let running = shared.running.get().ok_or("the session is still starting; ask again")?;
    let (request, actor) = match request {
        Request::Signed { act, signed } => {
            let actor = lock(shared).gate.actor(&signed, &act, by)?;
            (*act, actor)
        }
        request => (request, Actor::local(by)),
    };
    let by = actor.contact.as_str();
    let say = |e: &dyn std::fmt::Display| e.to_string();
    let is_of_tree = matches!(
        request,
        Request::Pause { .. } | Request::Resume { .. } | Request::Quarantine { .. } | Request::Rollback { .. }
    );
    let _one = is_of_tree.then(|| shared.acts.lock().unwrap_or_else(PoisonError::into_inner));
    match request {
        Request::Status | Request::Signed { .. } => Err("asked for already".to_owned()),
        Request::Pause { reason } => {
            // The tree first: were the kernel told before, what the tree attempts in between would be refused, not paused.
            let took = running.pause().map_err(|e| say(&e))?;
            act_recorded(shared, "pause", by, &reason, || Ok(took))
        }
        Request::Resume { .. } if rewind::is_between(&lock(shared).session_dir) => {
            Err("a rollback was cut off half-way: roll back again first, or kill the session".into())
        }
        Request::Resume { reason } => act_recorded(shared, "resume", by, &reason, || {
            running.resume().map_err(|e| say(&e)).map(|()| Duration::ZERO)
        }),
        Request::Quarantine { reason } => {
            act_recorded(shared, "quarantine", by, &reason, || running.pause().map_err(|e| say(&e)))
        }
        Request::Autonomy { level, reason } => with(shared, |core| core.set_autonomy(&level, &actor, &reason)),
        Request::Declassify { label, reason } => with(shared, |core| core.declassify(&label, &actor, &reason)),
        Request::Kill { reason } => {
            let who = if by == "charter" { "charter" } else { "person" };
            shared.ended_by.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(who);
            shared.killed.store(true, Ordering::SeqCst);
            let record = |mut core: MutexGuard<'_, Core>| {
                let seq = core.gate.control("kill", by, &reason, json!({})).map_err(|e| say(&e));
                if let Ok(seq) = seq {
                    core.tell_act(seq, "kill", by, &reason);
                }
                seq
            };
            // On record first, unless whoever works on the session right now (on a file of gigabytes, say) takes too long: neither
            // that nor a record that takes nothing more must keep anybody from ending it.
            let recorded = lock_within(&shared.core, KILL_WAIT_MAX).map(record);
            let begun = Instant::now();
            running.kill();
            let took_us = u64::try_from(begun.elapsed().as_micros()).ok();
            let seq = recorded.unwrap_or_else(|| record(lock(shared)));
            let flushed = lock(shared).gate.flush().map_err(|e| say(&e));
            match seq.and_then(|seq| flushed.map(|()| seq)) {
                Ok(seq) => Ok(Reply { ok: true, seq: Some(seq), took_us, ..Reply::default() }),
                Err(error) => Err(format!("it is ended, and that could not be recorded: {error}")),
            }
        }
        Request::Answer { id, verdict, with: changed, reason, signed, only, set } => {
            let answer = Answer { verdict, with: changed, by: by.to_owned(), reason, signed, said_in: None, only, set };
            let (released, message) = match with(shared, |core| core.answer(&id, answer)) {
                Ok(answered) => answered,
                Err(error) => {
                    if matches!(error, GateError::Ledger(_)) {
                        let denied = with(shared, |core| core.deny_waiting(&error));
                        denied.into_iter().for_each(|(ticket, decision)| running.answer(ticket, decision));
                    }
                    return Err(say(&error));
                }
            };
            for (ticket, decision) in released {
                running.answer(ticket, decision);
            }
            Ok(Reply { ok: true, message, ..Reply::default() })
        }
        Request::Constrain { files, widen, reason } => constraining::constrain(shared, &files, widen, &actor, &reason),
        Request::Rollback { seq, reason } => {
            // Who was paused before stays so.
            let was_paused = running.is_paused();
            running.pause().map_err(|e| say(&e))?;
            let done = {
                let mut core = lock(shared);
                let done = rewind::live(&mut core, running, seq, by, &reason);
                if let Ok(act) = done {
                    core.tell_act(act, &format!("rollback to entry {seq}"), by, &reason);
                }
                done
            };
            // INVARIANT: nothing runs in a tree that is neither as before nor as of the step.
            let stays = was_paused || matches!(done, Err(rewind::RewindError::Between(_)));
            let resumed = if stays { Ok(()) } else { running.resume().map_err(|e| say(&e)) };
            let recorded = done.map_err(|e| say(&e))?;
            resumed?;
            Ok(Reply { ok: true, seq: Some(recorded), ..Reply::default() })
        }
    }
}

/// Records an act, does it, and replies once the record is durable: the act itself never waits for the disk.
fn act_recorded(
    shared: &Arc<Shared>,
    act: &str,
    by: &str,
    reason: &str,
    then: impl FnOnce() -> Result<Duration, String>,
) -> Result<Reply, String> {
    let seq = {
        let mut core = lock(shared);
        let seq = core.gate.control(act, by, reason, json!({})).map_err(|e| e.to_string())?;
        core.tell_act(seq, act, by, reason);
        seq
    };
    let took = then()?;
    lock(shared).gate.flush().map_err(|e| e.to_string())?;
    Ok(Reply { ok: true, seq: Some(seq), took_us: u64::try_from(took.as_micros()).ok(), ..Reply::default() })
}

/// The lock, if it is to be had in that time.
fn lock_within<T>(mutex: &Mutex<T>, max: Duration) -> Option<MutexGuard<'_, T>> {
    let until = Instant::now() + max;
    loop {
        match mutex.try_lock() {
            Ok(guard) => return Some(guard),
            Err(TryLockError::Poisoned(poisoned)) => return Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) if Instant::now() < until => std::thread::sleep(LOCK_LOOK),
            Err(TryLockError::WouldBlock) => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn a_lock_that_is_not_to_be_had_is_not_waited_for() {
        let mutex = Mutex::new(());
        assert!(lock_within(&mutex, Duration::ZERO).is_some());
        let _held = mutex.lock().unwrap();
        assert!(lock_within(&mutex, Duration::from_millis(1)).is_none());
    }
}
