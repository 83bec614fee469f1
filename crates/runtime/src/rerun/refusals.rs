//! What a program was told when it was refused something: kept in a run that is recorded, and told again in its replay, whose own words
//! would name other entries and another session.
//!
//! INVARIANT: words only. Whether something is refused is ruled on as ever, and held against the record afterwards.

use super::RerunError;
use flyball_ledger::{Filter, Kind, Ledger};
use serde_json::Value as Json;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

/// What is done with what a program is told.
#[derive(Clone, Debug, Default)]
pub(crate) enum Refusals {
    /// Nothing.
    #[default]
    Own,
    /// It is put on record.
    Kept,
    /// It is what was told then of the same.
    Again(Arc<Mutex<BTreeMap<String, VecDeque<String>>>>),
}

impl Refusals {
    /// Those of a session.
    pub fn of(ledger: &Ledger, session: &str) -> Result<Self, RerunError> {
        let mut told: BTreeMap<String, VecDeque<String>> = BTreeMap::new();
        let kinds = vec![Kind::Observe];
        for entry in ledger.entries(session, 1.., Filter { kinds, ..Filter::default() })? {
            let entry = entry?;
            if entry.actor != "supervisor" {
                continue;
            }
            let body = ledger.body(&entry)?;
            if let Some(text) = body.pointer("/refused/text").and_then(Json::as_str) {
                told.entry(what(text).to_owned()).or_default().push_back(text.to_owned());
            }
        }
        Ok(Self::Again(Arc::new(Mutex::new(told))))
    }

    /// The words of then for these, where there are any.
    pub fn again(&self, text: String) -> String {
        let Self::Again(told) = self else { return text };
        let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
        told.get_mut(what(&text)).and_then(VecDeque::pop_front).unwrap_or(text)
    }
}

/// What was refused: the text up to the number of its entry.
fn what(text: &str) -> &str {
    text.split_once(" (entry ").map_or(text, |(what, _)| what)
}
