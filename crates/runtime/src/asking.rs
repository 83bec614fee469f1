//! What people are told when they are asked, in words that every surface shares: what is at stake, until when, and how to
//! answer. Whoever reads it at night must need nothing else.

use crate::clock::rfc3339;
use crate::gate::{Also, Question};
use crate::refusal;
use flyball_kernel::{Action, Consequence, Governance, Reason, Reversibility};

use std::collections::BTreeMap;

/// Actions beside the first that a notice names; `flyball asks` shows all.
const NAMED_MAX: usize = 3;
/// Entries that a reason names.
const WITNESSES_MAX: usize = 8;

/// How grave it is and what it takes to undo.
#[must_use]
pub fn stakes(governance: Governance) -> String {
    let consequence = match governance.consequence {
        Consequence::Low => "low",
        Consequence::Medium => "medium",
        Consequence::High => "high",
        Consequence::Critical => "critical",
    };
    let undo = match governance.reversibility {
        Reversibility::Pure => "changes nothing (pure)",
        Reversibility::Idempotent => "twice is the same as once (idempotent)",
        Reversibility::Compensatable => "can be undone by another action (compensatable)",
        Reversibility::Irreversible => "CAN NOT BE UNDONE (irreversible)",
    };
    format!("{consequence} consequence, {undo}")
}

/// What follows when nobody answers in time.
#[must_use]
pub fn afterwards(then: Option<&str>) -> String {
    match then {
        Some(tier) => format!("then `{tier}` is asked"),
        None => "then it is refused".to_owned(),
    }
}

/// What made a rule say so, where entries did.
#[must_use]
pub fn witnesses(reason: &Reason) -> Option<String> {
    let told: Vec<String> = reason.witnesses.iter().take(WITNESSES_MAX).map(u64::to_string).collect();
    let more = if reason.witnesses.len() > WITNESSES_MAX { ", …" } else { "" };
    (!told.is_empty()).then(|| format!("because of entries {}{more}", told.join(", ")))
}

/// Why people are asked: each reason once, however many of the actions it is for.
#[must_use]
pub fn reasons<'q>(first: &'q [Reason], also: &'q [Also]) -> Vec<&'q Reason> {
    let mut all: Vec<&Reason> = Vec::new();
    for reason in first.iter().chain(also.iter().flat_map(|a| &a.reasons)) {
        let is_told = all.iter().any(|told| (&told.rule, &told.reason) == (&reason.rule, &reason.reason));
        if !is_told {
            all.push(reason);
        }
    }
    all
}

/// How many actions of each verb, where there are several.
pub fn count<'a>(actions: impl Iterator<Item = &'a Action>) -> Option<String> {
    let mut verbs: BTreeMap<&str, usize> = BTreeMap::new();
    actions.for_each(|action| *verbs.entry(action.verb.name()).or_default() += 1);
    let all: usize = verbs.values().sum();
    let told = verbs.iter().map(|(verb, n)| format!("{n} {verb}")).collect::<Vec<_>>().join(", ");
    (all > 1).then(|| format!("{all} actions, one answer: {told}"))
}

/// People by name; a key by its fingerprint, as `ssh-add -l` lists it.
#[must_use]
pub fn people(contacts: &[String]) -> String {
    let name = |contact: &String| match contact.strip_prefix("key:").map(ssh_key::PublicKey::from_openssh) {
        Some(Ok(key)) => format!("key {}", key.fingerprint(ssh_key::HashAlg::Sha256)),
        _ => contact.clone(),
    };
    contacts.iter().map(name).collect::<Vec<_>>().join(", ")
}

/// Whose rule it is.
#[must_use]
pub fn rule(reason: &Reason) -> String {
    if reason.owner.is_empty() { reason.rule.to_string() } else { format!("{} (owner {})", reason.rule, reason.owner) }
}

/// The notice at the terminal where a session runs. `command` is how Flyball is called so that it finds this ledger.
#[must_use]
pub fn notice(question: &Question, command: &str) -> String {
    let mut out = format!("flyball: QUESTION {}\n", question.id);
    if let Some(count) = count(question.parts().map(|(.., action)| action)) {
        out.push_str(&format!("  {count}\n"));
    }
    let agent = &question.attempt.agent;
    out.push_str(&format!("  {agent} would  {}\n", refusal::say(&question.attempt)));
    for also in question.also.iter().take(NAMED_MAX) {
        out.push_str(&format!("  and  {}\n", refusal::say(&also.attempt)));
    }
    if question.also.len() > NAMED_MAX {
        out.push_str(&format!("  and  {} more: {command} asks\n", question.also.len() - NAMED_MAX));
    }
    for reason in reasons(&question.reasons, &question.also) {
        let because = witnesses(reason).map(|w| format!(", {w}")).unwrap_or_default();
        out.push_str(&format!("  stopped by {}: {}{because}\n", rule(reason), reason.reason));
    }
    if let Some(governance) = question.governance {
        out.push_str(&format!("  {}\n", stakes(governance)));
    }
    out.push_str(&format!("  asks {}\n", who(question)));
    out.push_str(&format!("  {command} answer {} allow|deny --reason WHY\n", question.id));
    out
}

/// What the agent's inbox says of a question: whom it waits for, until when, and what then.
#[must_use]
pub fn for_the_agent(question: &Question) -> String {
    let why = reasons(&question.reasons, &question.also)
        .into_iter()
        .map(|r| format!("{}: {}", rule(r), r.reason))
        .collect::<Vec<_>>()
        .join("; ");
    let more = if question.also.is_empty() { String::new() } else { format!(" and {} more", question.also.len()) };
    format!("{} waits for an answer of {}{more}. {why}", refusal::say(&question.attempt), who(question))
}

/// Who may answer, how many must, until when and what then.
fn who(question: &Question) -> String {
    let deadline = rfc3339(question.deadline_ns);
    let first = tier(&question.who, question.quorum, &deadline, question.then.as_deref());
    let others = question.also_asked.iter().map(|t| tier(&t.who, t.quorum, &t.deadline, t.then.as_deref()));
    std::iter::once(first).chain(others).collect::<Vec<_>>().join("; and ")
}

/// One tier of them.
#[must_use]
pub fn tier(who: &[String], quorum: u32, deadline: &str, then: Option<&str>) -> String {
    let quorum = if quorum > 1 { format!("{quorum} of ") } else { String::new() };
    let until = deadline.get(..19).unwrap_or_default().replace('T', " ");
    format!("{quorum}{} until {until} UTC, {}", people(who), afterwards(then))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use serde_json::json;

    #[test]
    fn a_notice_says_what_who_why_how_grave_until_when_and_how_to_answer() {
        let action = |path: &str| json!({"verb": "fs.write", "resource": {"type": "File", "path": path}, "surface": "fs", "agent": "claude"});
        let also: Vec<_> =
            (0..5).map(|n| json!({"of": 10 + n, "action": "d", "attempt": action(&format!("/w/{n}")), "reasons": if n > 2 { json!([{"rule": "packages", "owner": "sec", "reason": "Packages are reviewed."}]) } else { json!([]) }})).collect();
        let question: Question = serde_json::from_value(json!({
            "id": "s-9", "of": 9, "action": "d", "tier": "sre", "who": ["user:ann", "user:bob"], "quorum": 2,
            "deadline_ns": 1_795_230_000_000_000_000_u64, "then": "boss", "owners": ["sre"],
            "governance": {"consequence": "high", "reversibility": "irreversible", "durable": true, "snapshot": true},
            "attempt": action("/w/ci.yml"), "also": also,
            "also_asked": [{"tier": "sec", "who": ["user:cy"], "quorum": 1, "deadline": "2026-11-21T02:00:00Z"}],
            "reasons": [{"rule": "ci", "owner": "sre", "reason": "CI is reviewed.", "witnesses": [3, 5]}],
        }))
        .unwrap();
        let text = notice(&question, "flyball --ledger /l");
        for said in [
            "claude would  fs.write /w/ci.yml",
            "and  fs.write /w/2",
            "6 actions, one answer: 6 fs.write",
            "and  2 more: flyball --ledger /l asks",
            "stopped by ci (owner sre): CI is reviewed., because of entries 3, 5",
            "stopped by packages (owner sec): Packages are reviewed.",
            "high consequence, CAN NOT BE UNDONE (irreversible)",
            "asks 2 of user:ann, user:bob until 2026-11-21 03:00:00 UTC, then `boss` is asked; and user:cy until 2026-11-21 02:00:00 UTC, \
             then it is refused",
            "flyball --ledger /l answer s-9 allow|deny --reason WHY",
        ] {
            assert!(text.contains(said), "{said} is not in:\n{text}");
        }
        let told = for_the_agent(&question);
        assert!(
            told.contains("user:ann") && told.contains("then `boss` is asked") && told.contains("and 5 more"),
            "{told}"
        );
    }
}
