//! `asks` and `answer`: questions to people.

use crate::args::{Answer, AnswerVerdict};
use crate::failure::Failure;
use crate::output::{Output, Style, visible};
use crate::place::Place;
use flyball_kernel::{Action, Verdict};
use flyball_ledger::LedgerError;
use flyball_runtime::control::{Request, send};
use flyball_runtime::read::{self, Ask};
use serde_json::json;

/// `flyball asks`.
pub fn asks(out: Output, place: &Place) -> Result<(), Failure> {
    let open = match flyball_ledger::Ledger::open_read(&place.dir()?) {
        Ok(ledger) => read::asks(&ledger)?,
        Err(LedgerError::Absent(_)) => Vec::new(),
        Err(error) => return Err(error.into()),
    };
    if out.is_json {
        open.iter().for_each(|ask| out.json(ask));
        return Ok(());
    }
    if open.is_empty() {
        out.note("no open questions");
    }
    for (at, ask) in open.iter().enumerate() {
        if at > 0 {
            out.line("");
        }
        print(out, ask);
    }
    Ok(())
}

/// A question as a person needs it: what would happen, why it was stopped, what it takes, when it expires.
pub fn print(out: Output, ask: &Ask) {
    let left = if ask.left_s < 0 { "expired".to_owned() } else { format!("{} left", duration(ask.left_s)) };
    out.line(&format!(
        "{}  {}  {}",
        out.paint(Style::Bold, &ask.id),
        visible(&ask.name),
        out.paint(Style::Yellow, &left)
    ));
    out.line(&format!("  would     {}", visible(&ask.said)));
    if let Some(action) = &ask.attempt {
        for (name, value) in action.attrs().filter(|(name, _)| *name != "reader") {
            out.line(&format!("            {name} = {}", visible(&serde_json::to_string(value).unwrap_or_default())));
        }
    }
    for also in &ask.also {
        out.line(&format!("  and       {}", visible(&also.said)));
    }
    for reason in &ask.reasons {
        out.line(&format!("  stopped   {}: {}", visible(&reason.rule), visible(&reason.reason)));
    }
    let quorum = if ask.quorum > 1 { format!(", {} of them", ask.quorum) } else { String::new() };
    out.line(&format!(
        "  asks      {}{quorum}, until {}",
        visible(&ask.who.join(", ")),
        crate::sessions::short_time(&ask.deadline)
    ));
    if !ask.answered.is_empty() {
        out.line(&format!("  answered  {}", visible(&ask.answered.join(", "))));
    }
    out.line(&format!("  answer    flyball answer {} allow|deny --reason WHY", ask.id));
}

/// `flyball answer ID allow|deny|modify`.
pub fn answer(out: Output, place: &Place, args: &Answer) -> Result<(), Failure> {
    let ledger = place.ledger()?;
    let ask = read::ask(&ledger, &args.id)?;
    let with: Option<Action> = match &args.with {
        Some(text) => Some(serde_json::from_str(text).map_err(|e| {
            Failure::user("FB0513", format!("`--with` is no action: {e}"))
                .hint("give a whole action, as `flyball asks --json` shows it under `attempt`")
        })?),
        None => None,
    };
    let verdict = match args.verdict {
        AnswerVerdict::Allow => Verdict::Allow,
        AnswerVerdict::Deny => Verdict::Deny,
        AnswerVerdict::Modify => Verdict::Modify,
    };
    let request = Request::Answer { id: ask.id.clone(), verdict, with, reason: args.reason.clone() };
    let reply = send(&place.home()?, &ask.session, &request).map_err(|e| crate::control::refused(&e))?;
    if out.is_json {
        out.json(&json!({"question": ask.id, "session": ask.session, "of": ask.of, "verdict": verdict, "message": reply.message}));
        return Ok(());
    }
    let said = match args.verdict {
        AnswerVerdict::Allow => "allowed",
        AnswerVerdict::Deny => "denied",
        AnswerVerdict::Modify => "changed",
    };
    out.line(&format!("{}: {}", out.paint(Style::Green, said), visible(&ask.said)));
    if !reply.message.is_empty() {
        out.note(&reply.message);
    }
    Ok(())
}

/// Seconds as people say them.
pub fn duration(seconds: i64) -> String {
    match seconds {
        s if s >= 7200 => format!("{} h {} min", s / 3600, s % 3600 / 60),
        s if s >= 120 => format!("{} min {} s", s / 60, s % 60),
        s => format!("{s} s"),
    }
}
