//! After a crash: sessions whose supervisor died are closed honestly at the next start.

use crate::clock::{Clock, wall_ns};
use crate::home::{Home, SessionLock};
use flyball_ledger::{Draft, Filter, Kind, Ledger, LedgerError};
use serde_json::json;
use std::collections::BTreeSet;

/// Closes every session that nobody supervises any more: its open attempts become `unknown`, never guessed.
///
/// # Errors
/// [`LedgerError`] when the record can't be read or written.
pub fn dead_sessions(home: &Home, ledger: &Ledger) -> Result<Vec<String>, LedgerError> {
    let mut closed = Vec::new();
    for info in ledger.streams()? {
        if info.closed_at_ns.is_some() {
            continue;
        }
        // Held by a living supervisor, or its folder is gone: not ours to close.
        let Ok(Some(_held)) = SessionLock::take(&home.session(&info.id)) else { continue };
        close(ledger, &info.id)?;
        closed.push(info.id);
    }
    Ok(closed)
}

fn close(ledger: &Ledger, session: &str) -> Result<(), LedgerError> {
    let mut open = BTreeSet::new();
    let mut last_ns = 0;
    for entry in ledger.entries(session, 1.., Filter::default())? {
        let entry = entry?;
        last_ns = entry.at_ns;
        let of = entry.body.get("of").and_then(serde_json::Value::as_u64).unwrap_or_default();
        match entry.kind {
            Kind::Attempt => {
                open.insert(entry.seq);
            }
            Kind::Ruling if entry.body.get("verdict").and_then(|v| v.as_str()) == Some("deny") => {
                open.remove(&of);
            }
            Kind::Outcome => {
                open.remove(&of);
            }
            _ => {}
        }
    }
    let stream = ledger.stream(session)?;
    let mut clock = Clock::after(last_ns.max(wall_ns()));
    let mut append = |kind, cause: Vec<u64>, body| {
        stream.append(Draft { at_ns: clock.now_ns(), kind, actor: "recovery".to_owned(), cause, body })
    };
    for of in open {
        append(Kind::Outcome, vec![of], json!({ "of": of, "ok": null, "unknown": true }))?;
    }
    append(Kind::Close, Vec::new(), json!({ "session": session, "ended_by": "error", "recovered": true }))?;
    stream.flush()
}
