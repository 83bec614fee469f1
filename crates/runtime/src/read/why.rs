//! Why something was ruled as it was: the attempt, what led to it, each rule with its source, the witnesses in words, what
//! would make it pass, and what became of it.

use super::history::say_outcome;
use super::near;
use super::session::{implied_by, intervention, strings, text};
use super::{History, ReadError};
use crate::clock::rfc3339;
use flyball_kernel::{Reason, Ruling, Verdict};
use flyball_ledger::{Entry, Kind, Ledger};
use serde::Serialize;
use serde_json::Value as Json;

/// The lines of a rule that are quoted at most.
const QUOTED_LINES_MAX: usize = 12;

/// The causes that are followed at most, back to the session's opening.
const CHAIN_MAX: usize = 64;

/// An entry in words.
#[derive(Clone, Debug, Serialize)]
pub struct Said {
    /// Its number.
    pub seq: u64,
    /// When.
    pub at: String,
    /// Its kind.
    pub kind: String,
    /// Who.
    pub actor: String,
    /// What, in a line.
    pub said: String,
}

/// The chain from an attempt to what became of it.
#[derive(Clone, Debug, Serialize)]
pub struct Why {
    /// The session.
    pub session: String,
    /// The entry that was asked about.
    pub seq: u64,
    /// The attempt that it belongs to, or the entry itself when it belongs to none.
    pub about: Said,
    /// The attempt's action, as recorded.
    pub action: Option<Json>,
    /// What else the same call meant, and stood or fell with it.
    pub together: Vec<Said>,
    /// What led to it, the session's opening first: the commands under which it ran.
    pub chain: Vec<Said>,
    /// Every ruling on it and on what stands or falls with it, in order.
    pub rulings: Vec<WhyRuling>,
    /// The questions and answers on these, in order.
    pub people: Vec<Said>,
    /// What became of it.
    pub became: Became,
}

/// What became of an attempt.
#[derive(Clone, Debug, Serialize)]
pub struct Became {
    /// `refused`, `waiting`, `underway`, `done`, `failed`, `unknown`, `withdrawn` or `recorded` (no attempt).
    pub state: &'static str,
    /// In words.
    pub said: String,
    /// The entry that says so.
    pub seq: Option<u64>,
}

/// One ruling on an attempt.
#[derive(Clone, Debug, Serialize)]
pub struct WhyRuling {
    /// Its entry.
    pub seq: u64,
    /// The attempt's entry.
    pub of: u64,
    /// The attempt in words.
    pub said: String,
    /// When.
    pub at: String,
    /// What was ruled.
    pub verdict: Verdict,
    /// Digest of the charter that ruled.
    pub charter: String,
    /// Why.
    pub reasons: Vec<WhyReason>,
}

/// One reason of a ruling.
#[derive(Clone, Debug, Serialize)]
pub struct WhyReason {
    /// The rule.
    pub rule: String,
    /// Who answers for it.
    pub owner: String,
    /// Why, in the charter's words.
    pub reason: String,
    /// The rule as it stands in the recorded charter.
    pub source: Option<Quoted>,
    /// What happened earlier that made it so.
    pub witnesses: Vec<Said>,
    /// What would make it pass.
    pub needs: Option<String>,
}

/// Lines of the recorded charter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Quoted {
    /// The file.
    pub file: String,
    /// The first line's number.
    pub line: usize,
    /// The lines.
    pub text: String,
}

/// Explains an entry.
///
/// # Errors
/// [`ReadError`] when the ledger can't be read or the entry is not there.
pub fn why(ledger: &Ledger, session: &str, seq: u64) -> Result<Why, ReadError> {
    of_history(&near::around(ledger, session, seq)?, seq)
}

pub(super) fn of_history(history: &History, seq: u64) -> Result<Why, ReadError> {
    let asked = history.entry(seq)?;
    let Some(of) = history.attempt_of(seq) else {
        return Ok(Why {
            session: history.session.clone(),
            seq,
            about: said(history, asked),
            action: None,
            together: Vec::new(),
            chain: chain(history, asked),
            rulings: Vec::new(),
            people: Vec::new(),
            became: Became { state: "recorded", said: in_itself(history, asked), seq: None },
        });
    };
    let attempt = history.entry(of)?;
    let first = implied_by(history, of).unwrap_or(of);
    // One call may mean several actions, which are carried out together or not at all.
    let group: Vec<u64> = history
        .attempts()
        .skip_while(|a| *a < first)
        .take_while(|a| *a == first || implied_by(history, *a) == Some(first))
        .collect();
    let mut lives: Vec<&Entry> = group.iter().flat_map(|a| history.life(*a)).collect();
    lives.sort_by_key(|e| e.seq);
    let together =
        group.iter().filter(|a| **a != of).filter_map(|a| history.find(*a)).map(|e| said(history, e)).collect();
    let rulings =
        lives.iter().filter(|e| e.kind == Kind::Ruling).map(|e| ruling(history, e)).collect::<Result<_, _>>()?;
    let is_peoples = |e: &&&Entry| matches!(e.kind, Kind::Question | Kind::Answer);
    let people = lives.iter().filter(is_peoples).map(|e| said(history, e)).collect();
    Ok(Why {
        session: history.session.clone(),
        seq,
        about: said(history, attempt),
        action: Some(attempt.body.clone()),
        together,
        chain: chain(history, attempt),
        rulings,
        people,
        became: became(history, of),
    })
}

/// An entry in words.
pub(super) fn said(history: &History, entry: &Entry) -> Said {
    Said {
        seq: entry.seq,
        at: rfc3339(entry.at_ns),
        kind: entry.kind.as_str().to_owned(),
        actor: entry.actor.clone(),
        said: history.say(entry),
    }
}

/// What led to an entry: its first cause, that one's first cause, and so on to the opening; oldest first.
pub(super) fn chain(history: &History, entry: &Entry) -> Vec<Said> {
    let mut chain = Vec::new();
    let mut at = entry;
    while let Some(cause) = at.cause.first().and_then(|c| history.find(*c)) {
        // INVARIANT: causes have lower numbers, so this ends even on a record that was tampered with.
        if cause.seq >= at.seq || chain.len() >= CHAIN_MAX {
            break;
        }
        chain.push(said(history, cause));
        at = cause;
    }
    chain.reverse();
    chain
}

fn ruling(history: &History, entry: &Entry) -> Result<WhyRuling, ReadError> {
    let ruling: Ruling = serde_json::from_value(entry.body.clone()).map_err(|e| ReadError::Malformed {
        session: history.session.clone(),
        seq: entry.seq,
        what: e.to_string(),
    })?;
    let reasons = ruling.reasons.into_iter().map(|r| reason(history, entry.seq, r)).collect();
    let attempt = history.find(ruling.of).map(|e| history.say(e)).unwrap_or_default();
    Ok(WhyRuling {
        seq: entry.seq,
        of: ruling.of,
        said: attempt,
        at: rfc3339(entry.at_ns),
        verdict: ruling.verdict,
        charter: ruling.charter.into(),
        reasons,
    })
}

fn reason(history: &History, seq: u64, reason: Reason) -> WhyReason {
    let witnesses = reason.witnesses.iter().filter_map(|w| history.find(*w)).map(|e| said(history, e)).collect();
    let source = reason.source.as_deref().and_then(|s| quote(history, seq, s));
    let Reason { rule, owner, reason, needs, .. } = reason;
    WhyReason { rule: rule.into(), owner: owner.into(), reason: reason.into(), source, witnesses, needs }
}

/// The lines at `file:line` of the charter that was in force at an entry, as it was recorded.
fn quote(history: &History, seq: u64, source: &str) -> Option<Quoted> {
    let (file, line) = source.rsplit_once(':')?;
    let line: usize = line.parse().ok()?;
    let text = history.entries().iter().rev().filter(|e| e.seq <= seq).find_map(|e| match e.kind {
        Kind::Open => e.body.pointer("/charter/files")?.get(file)?.as_str(),
        Kind::Charter => e.body.get("files")?.get(file)?.as_str(),
        _ => None,
    })?;
    Some(Quoted { file: file.to_owned(), line, text: statement(text, line, file.ends_with(".cedar"))? })
}

/// From a line to the end of what begins there: a Cedar policy's `;`, or a TOML table's last key.
fn statement(text: &str, line: usize, is_cedar: bool) -> Option<String> {
    let mut out = Vec::new();
    for found in text.lines().skip(line.checked_sub(1)?) {
        let trimmed = found.trim();
        if !is_cedar && !out.is_empty() && (trimmed.is_empty() || trimmed.starts_with('[')) {
            break;
        }
        out.push(found.trim_end());
        let ends = is_cedar && code_of(trimmed).ends_with(';');
        // A fact is one line of its table, and what its line says is all of it.
        let is_alone = !is_cedar && out.len() == 1 && !trimmed.starts_with('[');
        if ends || is_alone {
            break;
        }
        if out.len() == QUOTED_LINES_MAX {
            out.push("…");
            break;
        }
    }
    (!out.is_empty()).then(|| out.join("\n"))
}

/// A line without its comment, as far as a `//` outside of quotes begins one.
fn code_of(line: &str) -> &str {
    let mut in_text = false;
    let mut before = ' ';
    for (at, c) in line.char_indices() {
        match c {
            '"' if before != '\\' => in_text = !in_text,
            '/' if before == '/' && !in_text => return line.get(..at.saturating_sub(1)).unwrap_or(line).trim_end(),
            _ => {}
        }
        before = c;
    }
    line
}

pub(super) fn became(history: &History, of: u64) -> Became {
    let last = |kind: Kind| history.life(of).rev().find(|e| e.kind == kind);
    if let Some(outcome) = last(Kind::Outcome) {
        let body = &outcome.body;
        let state = if body.get("withdrawn").is_some() {
            "withdrawn"
        } else if body.get("unknown").and_then(Json::as_bool) == Some(true) {
            "unknown"
        } else if body.get("ok").and_then(Json::as_bool) == Some(true) {
            "done"
        } else {
            "failed"
        };
        return Became { state, said: say_outcome(body), seq: Some(outcome.seq) };
    }
    if let Some(dispatch) = last(Kind::Dispatch) {
        return Became {
            state: "underway",
            said: "begun; its end is not recorded".to_owned(),
            seq: Some(dispatch.seq),
        };
    }
    let ruling = last(Kind::Ruling);
    let seq = ruling.map(|r| r.seq);
    match history.verdict(of) {
        Some("deny" | "modify") => Became { state: "refused", said: "refused: it did not take effect".to_owned(), seq },
        Some("hold") => Became { state: "waiting", said: "waiting for an answer".to_owned(), seq },
        Some(_) => Became { state: "underway", said: "allowed; not begun".to_owned(), seq },
        None => Became { state: "unknown", said: "no ruling is recorded".to_owned(), seq: None },
    }
}

/// What an entry that belongs to no attempt says by itself.
fn in_itself(history: &History, entry: &Entry) -> String {
    match entry.kind {
        Kind::Intervention => {
            let act = intervention(entry);
            let reason = if act.reason.is_empty() { "no reason was given".to_owned() } else { act.reason };
            format!("{} did this: {reason}", act.by)
        }
        Kind::Open => {
            let weaker = strings(&entry.body, "weaker");
            let layers = if weaker.is_empty() { String::new() } else { format!("; without {}", weaker.join(", ")) };
            let digest = entry.body.pointer("/charter/digest").and_then(Json::as_str).unwrap_or("unknown");
            format!("the session was opened under charter {digest}{layers}")
        }
        Kind::Close => format!("the session was closed: {}", text(&entry.body, "ended_by")),
        Kind::Observe if ["snapshot", "labelled"].iter().any(|key| entry.body.get(key).is_some()) => history.say(entry),
        Kind::Observe if entry.body.get("shared").is_some() => {
            format!("a register that sessions share: {}", history.say(entry))
        }
        Kind::Observe if entry.body.get("elsewhere").is_some() => history.say(entry),
        Kind::Observe => "the workspace as it was found before something could leave it or run".to_owned(),
        _ => history.say(entry),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn a_statement_is_quoted_whole_and_no_further() {
        let cedar = "@id(\"a\")\nforbid (principal, action, resource)\nwhen { resource.name == \"x;\" }; // why;\npermit (p);\n";
        assert_eq!(statement(cedar, 1, true).unwrap(), cedar.lines().take(3).collect::<Vec<_>>().join("\n"));
        assert_eq!(statement(cedar, 4, true).unwrap(), "permit (p);");
        assert_eq!(statement(cedar, 9, true), None);
        let toml = "[budget.t]\nlimit = 1\nper = \"day\"\n\n[x]\n[facts]\nf = 'once a'\ng = 'once b'\n";
        assert_eq!(statement(toml, 1, false).unwrap(), "[budget.t]\nlimit = 1\nper = \"day\"");
        assert_eq!(statement(toml, 7, false).unwrap(), "f = 'once a'");
        let long = "forbid (\n".to_owned() + &"x\n".repeat(50);
        assert_eq!(statement(&long, 1, true).unwrap().lines().count(), QUOTED_LINES_MAX + 1);
    }

    #[test]
    fn comments_end_no_statement_and_slashes_in_text_begin_no_comment() {
        assert_eq!(code_of("x // a;"), "x");
        assert_eq!(code_of("like \"a//b\";"), "like \"a//b\";");
        assert_eq!(code_of("like \"a\\\"//b\";"), "like \"a\\\"//b\";");
    }
}
