//! `asks` and `answer`: questions to people.

use crate::args::{Answer, AnswerVerdict};
use crate::failure::Failure;
use crate::output::{Output, Style, visible};
use crate::place::Place;
use flyball_kernel::{Action, Reason, Verdict};
use flyball_ledger::LedgerError;
use flyball_runtime::asking::{self, people};
use flyball_runtime::control::{Request, send, this_user};
use flyball_runtime::read::{self, Ask};
use flyball_runtime::signed::{self, Signed, SigningError, Statement};
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
        print(out, &place.command(), ask);
    }
    Ok(())
}

/// A question as a person needs it: what would happen, who wants it, why it was stopped, how grave it is, who may answer until
/// when and what happens then, and the command that answers.
pub fn print(out: Output, command: &str, ask: &Ask) {
    let left = if ask.left_s < 0 { "expired".to_owned() } else { format!("{} left", duration(ask.left_s)) };
    out.line(&format!(
        "{}  {}  {}",
        out.paint(Style::Bold, &ask.id),
        visible(&ask.name),
        out.paint(Style::Yellow, &left)
    ));
    let field = |name: &str, text: &str| out.line(&format!("  {name:<10}{}", visible(text)));
    if let Some(count) = asking::count(ask.actions()) {
        field("about", &count);
    }
    // Where they were stopped for different reasons, each says by which.
    let has_several = ask.also.iter().any(|also| !also.part.reasons.is_empty());
    let by = |reasons: &[Reason]| match has_several {
        true => format!(" (stopped by {})", reasons.iter().map(|r| r.rule.as_str()).collect::<Vec<_>>().join(", ")),
        false => String::new(),
    };
    let entry = |of: u64| if ask.also.is_empty() { String::new() } else { format!("{of}: ") };
    field("would", &format!("{}{}{}", entry(ask.of), ask.said, by(&ask.reasons)));
    if let Some(action) = &ask.attempt {
        for (name, value) in action.attrs().filter(|(name, _)| *name != "reader") {
            field("", &format!("{name} = {}", serde_json::to_string(value).unwrap_or_default()));
        }
    }
    for also in &ask.also {
        let reasons = if also.part.reasons.is_empty() { &ask.reasons } else { &also.part.reasons };
        field("and", &format!("{}{}{}", entry(also.part.of), also.said, by(reasons)));
    }
    field("asked by", &asker(ask));
    let also: Vec<_> = ask.also.iter().map(|also| also.part.clone()).collect();
    for reason in asking::reasons(&ask.reasons, &also) {
        field("stopped", &format!("{}: {}", asking::rule(reason), reason.reason));
        if let Some(witnesses) = asking::witnesses(reason) {
            field("", &witnesses);
        }
    }
    if let Some(governance) = ask.governance {
        field("stakes", &asking::stakes(governance));
    }
    let quorum = if ask.quorum > 1 { format!(", {} of them", ask.quorum) } else { String::new() };
    field("asks", &format!("{}{quorum} (tier {})", people(&ask.who), ask.tier));
    for load in &ask.load {
        field("", &crate::registers::load_line(load));
    }
    field(
        "until",
        &format!("{} UTC, {}", crate::sessions::short_time(&ask.deadline), asking::afterwards(ask.then.as_deref())),
    );
    for tier in &ask.also_asked {
        let said = asking::tier(&tier.who, tier.quorum, &tier.deadline, tier.then.as_deref());
        field("and asks", &format!("{said} (tier {})", tier.tier));
    }
    if !ask.answered.is_empty() {
        field("answered", &people(&ask.answered));
    }
    field("answer", &format!("{command} answer {} allow|deny --reason WHY", ask.id));
    if !ask.also.is_empty() {
        field("", &format!("for some of it: --only {},…", ask.also.first().map_or(ask.of, |a| a.part.of)));
    }
    field("more", &format!("{command} why {} {}", ask.session, ask.of));
}

/// The agent, and the command below which it asks.
pub fn asker(ask: &Ask) -> String {
    let agent = ask.attempt.as_ref().map_or("?", |a| a.agent.as_str());
    match &ask.asker {
        Some(asker) => format!("{agent}, in `{}` (entry {})", asker.said, asker.seq),
        None => agent.to_owned(),
    }
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
    if let Some(of) = args.only.iter().find(|of| ask.parts().all(|(part, _)| part != **of)) {
        return Err(Failure::user("FB0487", format!("question {} is not about entry {of}", ask.id))
            .hint("`flyball asks` shows the entry of each action that a question names"));
    }
    let actions =
        ask.parts().filter(|(of, _)| args.only.is_empty() || args.only.contains(of)).map(|(_, action)| action);
    let question = signed::asked(&ask.id, ask.asked);
    let statement = Statement::of(&question, actions, verdict, with.as_ref(), &args.reason, &ask.deadline);
    if args.statement {
        if out.is_json {
            out.json(&json!({"statement": statement.text(), "namespace": signed::NAMESPACE}));
        } else {
            out.raw(statement.text().as_bytes());
        }
        return Ok(());
    }
    let signed = sign(&statement, args)?;
    let wants_key =
        signed.is_none() && !ask.who.contains(&this_user()) && ask.who.iter().any(|w| w.starts_with("key:"));
    let request = Request::Answer {
        id: ask.id.clone(),
        verdict,
        with,
        reason: args.reason.clone(),
        signed,
        only: args.only.clone(),
        set: (!ask.set.is_empty()).then(|| ask.set.clone()),
    };
    let reply = send(&place.home()?, &ask.session, &request).map_err(|e| {
        let failure = crate::control::refused(&e);
        if wants_key { failure.hint("sign it with a key of who is asked: `--key FILE`") } else { failure }
    })?;
    if out.is_json {
        out.json(&json!({"question": ask.id, "session": ask.session, "of": ask.of, "verdict": verdict, "message": reply.message}));
        return Ok(());
    }
    let said = match args.verdict {
        AnswerVerdict::Allow => "allowed",
        AnswerVerdict::Deny => "denied",
        AnswerVerdict::Modify => "changed",
    };
    if reply.message.starts_with("it is refused") {
        out.line(&format!("{}: {}", out.paint(Style::Red, "not done"), visible(&ask.said)));
    } else {
        out.line(&format!("{}: {}", out.paint(Style::Green, said), visible(&ask.said)));
    }
    if !reply.message.is_empty() {
        out.note(&reply.message);
    }
    Ok(())
}

/// Why a key signed nothing.
pub fn not_signed(error: &SigningError) -> Failure {
    Failure::user("FB0535", visible(&error.to_string())).hint("`ssh-add` gives a key to your ssh-agent")
}

/// The answer with a signature, where one was asked for.
fn sign(statement: &Statement, args: &Answer) -> Result<Option<Signed>, Failure> {
    if let Some(key) = &args.key {
        return signed::sign(statement, key).map(Some).map_err(|e| {
            not_signed(&e)
                .hint("`ssh-add` gives a key to your ssh-agent; or sign what `--statement` prints, and bring it with `--signature`")
        });
    }
    let Some(file) = &args.signature else { return Ok(None) };
    let sshsig = std::fs::read_to_string(file).map_err(|e| {
        Failure::user("FB0535", format!("can't read the signature `{}`: {e}", file.display()))
            .hint("`ssh-keygen -Y sign -n flyball-answer -f KEY FILE` writes FILE.sig")
    })?;
    Ok(Some(Signed { statement: statement.text(), sshsig }))
}

/// Seconds as people say them.
pub fn duration(seconds: i64) -> String {
    match seconds {
        s if s >= 7200 => format!("{} h {} min", s / 3600, s % 3600 / 60),
        s if s >= 120 => format!("{} min {} s", s / 60, s % 60),
        s => format!("{s} s"),
    }
}
