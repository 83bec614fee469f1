//! People's acts on a session: pause, resume, quarantine, kill, rollback.

use crate::args::{Act, ByKey};
use crate::failure::Failure;
use crate::output::{Output, Style};
use crate::place::Place;
use flyball_ledger::Ledger;
use flyball_runtime::control::{ControlError, Reply, Request, send};
use flyball_runtime::signed::{self, ActError};
use serde_json::json;
use std::path::Path;

/// An act that needs nothing but a reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    Pause,
    Resume,
    Quarantine,
    Kill,
}

impl Verb {
    fn name(self) -> &'static str {
        match self {
            Verb::Pause => "pause",
            Verb::Resume => "resume",
            Verb::Quarantine => "quarantine",
            Verb::Kill => "kill",
        }
    }

    fn done(self) -> &'static str {
        match self {
            Verb::Pause => "paused",
            Verb::Resume => "resumed",
            Verb::Quarantine => "quarantined: it does nothing more until `flyball resume`, and `flyball kill` ends it",
            Verb::Kill => "killed",
        }
    }

    fn request(self, reason: String) -> Request {
        match self {
            Verb::Pause => Request::Pause { reason },
            Verb::Resume => Request::Resume { reason },
            Verb::Quarantine => Request::Quarantine { reason },
            Verb::Kill => Request::Kill { reason },
        }
    }
}

/// `flyball pause|resume|quarantine|kill S`.
pub fn act(out: Output, place: &Place, verb: Verb, args: &Act) -> Result<(), Failure> {
    let (_, id) = place.session(&args.session.session)?;
    let (reply, done) = match send(&place.home()?, &id, &verb.request(args.reason().to_owned())) {
        // It is over, which is all that was wanted.
        Err(ControlError::Ended(_)) if verb == Verb::Kill => (Reply::default(), "ended meanwhile"),
        reply => (reply.map_err(|e| refused(&e))?, verb.done()),
    };
    say(out, &id, verb.name(), &reply, done);
    Ok(())
}

/// `flyball autonomy S LEVEL`.
pub fn autonomy(out: Output, place: &Place, args: &Act, by: &ByKey, level: &str) -> Result<(), Failure> {
    let (ledger, id) = place.session(&args.session.session)?;
    let request = Request::Autonomy { level: level.to_owned(), reason: args.reason().to_owned() };
    let request = in_name_of(by, request, &ledger, &id)?;
    let reply = send(&place.home()?, &id, &request).map_err(|e| refused(&e))?;
    say(out, &id, "autonomy", &reply, &format!("at autonomy level `{level}`, {}", reply.message));
    Ok(())
}

/// `flyball declassify S LABEL`.
pub fn declassify(out: Output, place: &Place, args: &Act, by: &ByKey, label: &str) -> Result<(), Failure> {
    let (ledger, id) = place.session(&args.session.session)?;
    let request = Request::Declassify { label: label.to_owned(), reason: args.reason().to_owned() };
    let request = in_name_of(by, request, &ledger, &id)?;
    let reply = send(&place.home()?, &id, &request).map_err(|e| refused(&e))?;
    say(out, &id, "declassify", &reply, &format!("declassified: `{label}` taints it no more"));
    Ok(())
}

/// `flyball rollback S SEQ`.
pub fn rollback(out: Output, place: &Place, args: &Act, seq: u64) -> Result<(), Failure> {
    let (ledger, id) = place.session(&args.session.session)?;
    flyball_runtime::read::entry(&ledger, &id, seq)?;
    let home = place.home()?;
    let recorded = flyball_runtime::rollback(&home, &id, seq, args.reason()).map_err(|e| crate::apply::rewound(&e))?;
    // The rollback's own entry holds the digest of what came out, which it compared with the one recorded at the step.
    let done = ledger.entry(&id, recorded)?;
    let state = done.body.get("digest").and_then(|d| d.as_str()).map(str::to_owned);
    if out.is_json {
        out.json(&json!({"session": id, "act": "rollback", "to": seq, "seq": recorded, "state": state}));
    } else {
        out.line(&format!("{id} {} to entry {seq}", out.paint(Style::Green, "rolled back")));
        if let Some(state) = state {
            out.note(&format!("as it was recorded then:\n  {state}"));
        }
    }
    Ok(())
}

/// `flyball constrain S --charter DIR`.
pub fn constrain(out: Output, place: &Place, args: &Act, by: &ByKey, dir: &Path, widen: bool) -> Result<(), Failure> {
    let (ledger, id) = place.session(&args.session.session)?;
    // What is wrong with it is told here, with its places.
    let (_, _, files) = flyball_runtime::charter::load(dir).map_err(|e| crate::charter_dir::refused(out, e))?;
    let request = Request::Constrain { files, widen, reason: args.reason().to_owned() };
    let request = in_name_of(by, request, &ledger, &id)?;
    let reply = send(&place.home()?, &id, &request).map_err(|e| refused(&e))?;
    say(out, &id, "constrain", &reply, "under the new charter");
    Ok(())
}

/// The act as whose it is to be.
fn in_name_of(by: &ByKey, act: Request, ledger: &Ledger, id: &str) -> Result<Request, Failure> {
    let Some(key) = &by.key else { return Ok(act) };
    let after = flyball_runtime::read::last_act(ledger, id)?;
    let signed = signed::sign_act(&act, id, after, key).map_err(|e| match e {
        ActError::NotSigned(why) => Failure::user("FB0529", why),
        ActError::Signing(e) => crate::asks::not_signed(&e),
    })?;
    Ok(Request::Signed { act: Box::new(act), signed })
}

fn say(out: Output, id: &str, act: &str, reply: &Reply, done: &str) {
    if out.is_json {
        out.json(&json!({"session": id, "act": act, "seq": reply.seq, "took_us": reply.took_us}));
        return;
    }
    let took = reply.took_us.map(|us| format!(" ({}.{} ms)", us / 1000, us % 1000 / 100)).unwrap_or_default();
    out.line(&format!("{id} {}{took}", out.paint(Style::Green, done)));
    if !reply.message.is_empty() {
        out.note(&reply.message);
    }
}

/// Why a supervisor did not do as asked.
pub fn refused(error: &ControlError) -> Failure {
    let (code, hint) = match error {
        ControlError::NotRunning(_) => ("FB0527", "`flyball ps` shows which sessions run"),
        ControlError::Ended(_) => ("FB0527", "`flyball log` of it says whether it was still done"),
        ControlError::Unreachable { .. } => {
            ("FB0528", "only the account that started the session can act on it; `flyball ps` shows how it stands")
        }
        ControlError::Refused(_) => ("FB0529", "the message says why; `flyball show` says how the session stands"),
    };
    Failure::user(code, error.to_string()).hint(hint)
}
