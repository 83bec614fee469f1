//! Questions in the record against what they were asked about: one that names other actions than it says would have people agree
//! to what they never saw.

use super::ReadError;
use super::session::text;
use crate::gate::set_of;
use flyball_ledger::{Filter, Kind, Ledger};
use serde_json::Value as Json;
use std::collections::BTreeMap;

/// Problems beyond this many are not told.
const PROBLEMS_MAX: usize = 1000;

/// Recomputes the digest of the set of actions that each question names and its answers are bound to: stream, entry and what is
/// wrong.
///
/// # Errors
/// [`ReadError`] when the ledger can't be read.
pub fn misnamed_questions(ledger: &Ledger, session: Option<&str>) -> Result<Vec<(String, u64, String)>, ReadError> {
    let streams = match session {
        Some(session) => vec![session.to_owned()],
        None => ledger.heads()?.into_iter().map(|h| h.id).collect(),
    };
    let mut found = Vec::new();
    for stream in streams {
        // What people were shown last under each question's name.
        let mut shown: BTreeMap<String, String> = BTreeMap::new();
        let kinds = vec![Kind::Question, Kind::Answer];
        for entry in ledger.entries(&stream, .., Filter { kinds, ..Filter::default() })? {
            let mut entry = entry?;
            entry.body = super::history::whole_body(ledger, &entry)?;
            let held = match entry.kind {
                // Its payload was erased: nothing is left to hold it against.
                Kind::Question if entry.body.get("id").is_none() => continue,
                Kind::Question => question(&entry.body).map(|set| {
                    shown.insert(text(&entry.body, "id"), set);
                }),
                _ => answer(&entry.body, &shown),
            };
            if let Err(why) = held
                && found.len() < PROBLEMS_MAX
            {
                found.push((stream.clone(), entry.seq, why));
            }
        }
    }
    Ok(found)
}

/// The digest of the set that a question names, recomputed from the digests of its actions.
fn question(body: &Json) -> Result<String, String> {
    let also = body.get("also").and_then(Json::as_array);
    let parts = std::iter::once(body).chain(also.into_iter().flatten());
    let parts = parts.map(|part| (part.get("of").and_then(Json::as_u64).unwrap_or_default(), text(part, "action")));
    let parts: Vec<(u64, String)> = parts.collect();
    let set = set_of(parts.iter().map(|(of, digest)| (*of, digest.as_str())));
    match body.get("set").and_then(Json::as_str) {
        // Questions of earlier versions are about one action, and name no set.
        Some(said) if said != set => {
            Err("the set of actions that it says is not that of the actions it names".to_owned())
        }
        _ => Ok(set),
    }
}

/// Whether an answer was taken for what its question showed.
fn answer(body: &Json, shown: &BTreeMap<String, String>) -> Result<(), String> {
    let (Some(said), Some(set)) = (body.get("set").and_then(Json::as_str), shown.get(&text(body, "question"))) else {
        return Ok(());
    };
    if said == set {
        Ok(())
    } else {
        Err("the answer was taken for another set of actions than its question shows".to_owned())
    }
}

#[cfg(test)]
#[path = "sets_tests.rs"]
mod tests;
