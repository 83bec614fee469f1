//! Another charter for a live session: examined beside it, adopted between two decisions.

use super::{Shared, lock};
use crate::constrain::stricter;
use crate::control::Reply;
use crate::plan::limits_of;
use crate::signed::Actor;
use flyball_kernel::{Limits, Sources};
use flyball_ledger::Kind;
use serde_json::json;
use std::sync::Arc;

/// Puts another charter in force, if it may be.
pub(super) fn constrain(
    shared: &Shared,
    files: &Sources,
    widen: bool,
    actor: &Actor,
    reason: &str,
) -> Result<Reply, String> {
    let by = actor.contact.as_str();
    let (was, session) = {
        let core = lock(shared);
        (Arc::clone(core.gate.kernel().charter_in_force()), core.gate.kernel().session().clone())
    };
    // Comparing takes a while, and calls go on being decided under the charter that is in force.
    let change = crate::constrain::examine(&was, &session, files, widen, by)?;
    let mut core = lock(shared);
    if core.gate.kernel().charter().digest() != was.digest() {
        return Err("another charter was put in force meanwhile: look again".to_owned());
    }
    core.gate.still(actor)?;
    if !core.gate.kernel().keeps_labels(&change.charter) {
        return Err(
            "[[label]] can't change while the program runs, since which files hold what is remembered by it: leave it as it is, \
             and forbid what it would stop by path, or start a new session"
                .to_owned()
        );
    }
    let reading = change.charter.reads_content().clone();
    let ledger = Arc::clone(&core.ledger);
    let (old, new) = (*was.limits(), *change.charter.limits());
    let hold = |before: &Limits, limits: &Limits| match shared.running.get() {
        Some(running) => {
            running.limit(&limits_of(before), &limits_of(limits)).map_err(|e| format!("{e} ({})", e.code()))
        }
        None => Err("the session is still starting; ask again".to_owned()),
    };
    // What is stricter holds before it is on record, and what is looser only after it: the record never promises too much.
    let between = stricter(&old, &new);
    if between != old {
        hold(&old, &between)?;
    }
    let adopted = core.gate.adopt(&ledger, change.charter, files, &change.widens, actor, reason);
    let seq = adopted.map_err(|error| {
        let left = if between == old { Ok(()) } else { hold(&between, &old) };
        format!("{error}{}", left.err().map(|why| format!("; the new limits stay: {why}")).unwrap_or_default())
    })?;
    if new != between
        && let Err(why) = hold(&between, &new)
    {
        let detail = json!({ "alert": "limits", "detail": format!("the stricter limits of before stay: {why}") });
        core.gate.note(Kind::Alert, "supervisor", &[seq], detail).map_err(|e| e.to_string())?;
    }
    core.read_for(reading);
    core.tell_act(seq, "constrain", by, reason);
    let said = if change.widens.is_empty() { "it is narrower" } else { "it lets more pass" };
    Ok(Reply { ok: true, seq: Some(seq), message: said.to_owned(), ..Reply::default() })
}
