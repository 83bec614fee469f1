//! Signed answers in the record, checked without anybody who was there.

use super::ReadError;
use super::session::text;
use crate::signed::{self, SignatureError, Signed, Statement};
use flyball_kernel::Action;
use flyball_ledger::{Entry, Filter, Kind, Ledger};
use serde_json::Value as Json;

/// Problems beyond this many are counted, not told.
const PROBLEMS_MAX: usize = 1000;

/// What was found of the answers that keys gave.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SignedAnswers {
    /// Entries whose signature holds.
    pub hold: u64,
    /// Stream, entry and what is wrong.
    pub problems: Vec<(String, u64, String)>,
}

/// Checks every answer that a key gave, in one session or in all.
///
/// # Errors
/// [`ReadError`] when the ledger can't be read.
pub fn signed_answers(ledger: &Ledger, session: Option<&str>) -> Result<SignedAnswers, ReadError> {
    let streams = match session {
        Some(session) => vec![session.to_owned()],
        None => ledger.heads()?.into_iter().map(|h| h.id).collect(),
    };
    let mut found = SignedAnswers::default();
    for stream in streams {
        let answers = Filter { kinds: vec![Kind::Answer], ..Filter::default() };
        for entry in ledger.entries(&stream, .., answers)? {
            let mut entry = entry?;
            entry.body = super::history::whole_body(ledger, &entry)?;
            let is_signed = entry.body.get("signed").is_some_and(|s| !s.is_null());
            if !is_signed && !text(&entry.body, "by").starts_with("key:") {
                continue;
            }
            match holds(&entry) {
                Ok(()) => found.hold += 1,
                Err(why) if found.problems.len() < PROBLEMS_MAX => {
                    found.problems.push((stream.clone(), entry.seq, why));
                }
                Err(_) => {}
            }
        }
    }
    Ok(found)
}

/// Whether the entry says what its signer signed, in time.
fn holds(entry: &Entry) -> Result<(), String> {
    let body = &entry.body;
    let by = text(body, "by");
    let signed: Signed = body
        .get("signed")
        .and_then(|s| serde_json::from_value(s.clone()).ok())
        .ok_or_else(|| format!("the answer of `{by}` carries no signature"))?;
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
        question: text(body, "question"),
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
