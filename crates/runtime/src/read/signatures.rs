//! Signed answers and acts in the record, checked without anybody who was there.

use super::ReadError;
use super::session::text;
use crate::signed::{self, ActStatement, SignatureError, Signed, Statement};
use flyball_kernel::Action;
use flyball_ledger::{Entry, Filter, Kind, Ledger, LedgerError};
use serde_json::Value as Json;
use std::collections::BTreeMap;

/// Problems beyond this many are counted, not told.
const PROBLEMS_MAX: usize = 1000;

/// What was found of the answers that keys gave, and of the acts that they signed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SignedAnswers {
    /// Answers whose signature holds.
    pub hold: u64,
    /// Acts whose signature holds.
    pub acts: u64,
    /// Stream, entry and what is wrong.
    pub problems: Vec<(String, u64, String)>,
    /// Of a bundle, answers that were given again from a session that it does not have: entry and session.
    pub elsewhere: Vec<(u64, String)>,
}

/// Checks every answer and act that a key signed, in one session or in all.
///
/// # Errors
/// [`ReadError`] when the ledger can't be read.
pub fn signed_answers(ledger: &Ledger, session: Option<&str>) -> Result<SignedAnswers, ReadError> {
    checked(ledger, session, false)
}

/// The same of the one session that a bundle brought. What stands in another one can't be looked at there.
///
/// # Errors
/// [`ReadError`] when its entries can't be read.
pub fn signed_answers_brought(ledger: &Ledger, session: &str) -> Result<SignedAnswers, ReadError> {
    checked(ledger, Some(session), true)
}

fn checked(ledger: &Ledger, session: Option<&str>, is_brought: bool) -> Result<SignedAnswers, ReadError> {
    let streams = match session {
        Some(session) => vec![session.to_owned()],
        None => ledger.heads()?.into_iter().map(|h| h.id).collect(),
    };
    let mut found = SignedAnswers::default();
    for stream in streams {
        let kinds = vec![Kind::Question, Kind::Answer, Kind::Intervention, Kind::Charter];
        let mut last_act = 0;
        // By id, the entry by which each question was put last.
        let mut asked = BTreeMap::new();
        let mut given_again = std::collections::BTreeSet::new();
        for entry in ledger.entries(&stream, .., Filter { kinds, ..Filter::default() })? {
            let mut entry = entry?;
            entry.body = super::history::whole_body(ledger, &entry)?;
            if entry.kind == Kind::Question {
                asked.insert(text(&entry.body, "id"), entry.seq);
                continue;
            }
            let (is_answer, after) = (entry.kind == Kind::Answer, last_act);
            if moves(&entry) {
                last_act = entry.seq;
            }
            let is_signed = entry.body.get("signed").is_some_and(|s| !s.is_null());
            if !is_signed && !text(&entry.body, "by").starts_with("key:") {
                continue;
            }
            let again = entry.body.get("said_in").filter(|_| is_answer && !is_signed);
            if let Some(again) = again {
                // An approval is for one action, then as now.
                if !given_again.insert(again.to_string()) {
                    let why = format!("the answer was given again before: {again}");
                    found.problems.push((stream.clone(), entry.seq, why));
                    continue;
                }
                match said_before(ledger, &entry, again)? {
                    Before::Said => {}
                    Before::Elsewhere(session) if is_brought => found.elsewhere.push((entry.seq, session)),
                    Before::Elsewhere(session) => {
                        let why = format!("the answer was said in session `{session}`, which is not here");
                        found.problems.push((stream.clone(), entry.seq, why));
                    }
                    Before::Not(why) => found.problems.push((stream.clone(), entry.seq, why)),
                }
                continue;
            }
            let held = if is_answer {
                holds(&entry, &asked)
            } else {
                act_holds(&entry, &made_in(ledger, &stream, entry.seq)?.0, after)
            };
            match held {
                Ok(()) if is_answer => found.hold += 1,
                Ok(()) => found.acts += 1,
                Err(why) if found.problems.len() < PROBLEMS_MAX => {
                    found.problems.push((stream.clone(), entry.seq, why));
                }
                Err(_) => {}
            }
        }
    }
    Ok(found)
}

/// The entry of the last charter, `autonomy` or `declassify` of a session; 0 before the first. A signed act names it.
///
/// # Errors
/// [`ReadError`] when the ledger can't be read.
pub fn last_act(ledger: &Ledger, session: &str) -> Result<u64, ReadError> {
    let acts = Filter { kinds: vec![Kind::Intervention, Kind::Charter], ..Filter::default() };
    let mut last = 0;
    for entry in ledger.entries(session, .., acts)? {
        let entry = entry?;
        if moves(&entry) {
            last = entry.seq;
        }
    }
    Ok(last)
}

/// Whether it is an act of the kinds that are signed. What the agent can bring about moves nothing: it could keep any signature
/// from being in time.
fn moves(entry: &Entry) -> bool {
    match entry.kind {
        Kind::Charter => true,
        Kind::Intervention => crate::signed::is_signed_act(&text(&entry.body, "act")),
        _ => false,
    }
}

/// What stands signed in an entry that was made by a key.
fn signed_in(body: &Json, what: &str) -> Result<Signed, String> {
    let signed = body.get("signed").and_then(|s| serde_json::from_value(s.clone()).ok());
    signed.ok_or_else(|| format!("the {what} of `{}` carries no signature", text(body, "by")))
}

/// Whether the entry says what its signer signed, in time, for this session as it stood.
fn act_holds(entry: &Entry, session: &str, after: u64) -> Result<(), String> {
    let body = &entry.body;
    let by = text(body, "by");
    let (contact, statement) = signed::act_signer(&signed_in(body, "act")?).map_err(|e| e.to_string())?;
    if contact != by {
        return Err(format!("the act is in the name of `{by}`, and `{contact}` signed it"));
    }
    let widens = body.get("widens").and_then(Json::as_array).is_some_and(|w| !w.is_empty());
    let (act, to) = match (entry.kind, statement.act.as_str()) {
        // Who may widen may narrow.
        (Kind::Charter, "widen") => ("widen".to_owned(), text(body, "charter")),
        (Kind::Charter, _) => (if widens { "widen" } else { "constrain" }.to_owned(), text(body, "charter")),
        _ if text(body, "act") == "declassify" => ("declassify".to_owned(), text(body, "label")),
        _ => (text(body, "act"), text(body, "level")),
    };
    let (session, reason, expires) = (session.to_owned(), text(body, "reason"), statement.expires.clone());
    let said = ActStatement { session, after, act, to, reason, expires };
    signed::same_act(&statement, &said).map_err(|e| e.to_string())?;
    if signed::nanoseconds(&statement.expires).map_err(|e| e.to_string())? <= entry.at_ns {
        return Err(SignatureError::Expired(statement.expires).to_string());
    }
    Ok(())
}

/// The session that an entry was made in, and what is known of its opening: a fork begins with copies of another's entries, and its
/// opening says what that one's said of its own.
fn made_in(ledger: &Ledger, stream: &str, seq: u64) -> Result<(String, Option<Json>), ReadError> {
    let opened = |session: &str| match ledger.entry(session, 1) {
        Ok(opening) => super::history::whole_body(ledger, &opening).map(Some),
        // Of a bundle's own session, what it was copied from is not at hand.
        Err(LedgerError::NoEntry { .. } | LedgerError::NoStream(_)) => Ok(None),
        Err(error) => Err(error),
    };
    let (mut session, mut opening) = (stream.to_owned(), opened(stream)?);
    for _ in 0..GIVEN_AGAIN_MAX {
        let Some(from) = opening.as_ref().and_then(|opening| opening.get("forked_from")) else { break };
        let until = from.get("until").and_then(Json::as_u64).unwrap_or_default();
        if !(2..=until).contains(&seq) {
            break;
        }
        session = text(from, "session");
        let told = from.get("forked_from").or(from.get("replay_of")).map(|_| from.clone());
        opening = opened(&session)?.or(told);
    }
    Ok((session, opening))
}

/// What became of following an answer that was given again.
enum Before {
    /// It was said there.
    Said,
    /// In this session, of which nothing is at hand.
    Elsewhere(String),
    /// It was not, and why.
    Not(String),
}

/// Sessions that one answer may have gone through: a replay of a fork of a fork.
const GIVEN_AGAIN_MAX: usize = 16;

/// Whether the answer that a replay or a fork gave again was said in the session that it is of, by the same key, of the same action.
fn said_before(ledger: &Ledger, entry: &Entry, said_in: &Json) -> Result<Before, ReadError> {
    let (mut entry, mut said_in) = (entry.clone(), said_in.clone());
    let heads: std::collections::BTreeSet<String> = ledger.heads()?.into_iter().map(|head| head.id).collect();
    for _ in 0..GIVEN_AGAIN_MAX {
        let (session, seq) = (text(&said_in, "session"), said_in.get("seq").and_then(Json::as_u64).unwrap_or_default());
        let (made_in, opening) = made_in(ledger, &entry.stream, entry.seq)?;
        let Some(opening) = opening else { return Ok(Before::Elsewhere(made_in)) };
        let mut of = ["/replay_of/session", "/forked_from/session"].into_iter().filter_map(|at| opening.pointer(at));
        if !of.any(|of| of.as_str() == Some(session.as_str())) {
            return Ok(Before::Not(format!(
                "the answer is said to be of session `{session}`, of which this one is none"
            )));
        }
        if !heads.contains(&session) {
            return Ok(Before::Elsewhere(session));
        }
        let Ok(mut there) = ledger.entry(&session, seq) else {
            return Ok(Before::Not(format!(
                "session `{session}` has no entry {seq}, where the answer is said to stand"
            )));
        };
        there.body = super::history::whole_body(ledger, &there)?;
        let is_same = |key: &str| there.body.get(key) == entry.body.get(key);
        if there.kind != Kind::Answer || !["by", "action", "verdict", "with"].into_iter().all(is_same) {
            return Ok(Before::Not(format!("entry {seq} of session `{session}` is another answer")));
        }
        match there.body.get("said_in").cloned() {
            // That entry's own signature is looked at with its session.
            None if there.body.get("signed").is_some_and(|signed| !signed.is_null()) => {
                let asked = asked_before(ledger, &there)?;
                return Ok(holds(&there, &asked).map_or_else(Before::Not, |()| Before::Said));
            }
            None => return Ok(Before::Not(format!("entry {seq} of session `{session}` carries no signature"))),
            Some(further) => (entry, said_in) = (there, further),
        }
    }
    Ok(Before::Not("the answer was given again too often to be followed".to_owned()))
}

/// By id, the entry by which each question was put last before this one.
fn asked_before(ledger: &Ledger, entry: &Entry) -> Result<BTreeMap<String, u64>, ReadError> {
    let mut asked = BTreeMap::new();
    let questions = Filter { kinds: vec![Kind::Question], ..Filter::default() };
    for question in ledger.entries(&entry.stream, 1..=entry.seq, questions)? {
        let question = question?;
        let body = super::history::whole_body(ledger, &question)?;
        asked.insert(text(&body, "id"), question.seq);
    }
    Ok(asked)
}

/// Whether the entry says what its signer signed, in time.
fn holds(entry: &Entry, asked: &BTreeMap<String, u64>) -> Result<(), String> {
    let body = &entry.body;
    let by = text(body, "by");
    let signed = signed_in(body, "answer")?;
    let (contact, statement) = signed::signer(&signed).map_err(|e| e.to_string())?;
    if contact != by {
        return Err(format!("the answer is in the name of `{by}`, and `{contact}` signed it"));
    }
    let action = text(body, "action");
    if !statement.actions.contains(&action) {
        return Err("the signed answer does not name the action that it was taken for".to_owned());
    }
    let with = body.get("with").filter(|w| !w.is_null()).map(|w| serde_json::from_value::<Action>(w.clone()));
    let with = with.transpose().map_err(|e| e.to_string())?;
    let said = Statement {
        question: signed::asked(
            &text(body, "question"),
            asked.get(&text(body, "question")).copied().unwrap_or_default(),
        ),
        actions: statement.actions.clone(),
        verdict: body.get("verdict").and_then(Json::as_str).unwrap_or_default().to_owned(),
        with: with.as_ref().map(Action::digest),
        reason: text(body, "reason"),
        expires: statement.expires.clone(),
    };
    signed::agrees(&statement, &said).map_err(|e| e.to_string())?;
    if signed::nanoseconds(&statement.expires).map_err(|e| e.to_string())? <= entry.at_ns {
        return Err(SignatureError::Expired(statement.expires).to_string());
    }
    Ok(())
}

#[cfg(test)]
#[path = "signatures_tests.rs"]
mod tests;
