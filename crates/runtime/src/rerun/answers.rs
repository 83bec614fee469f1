//! What people said in a recorded session, said again where the same is asked: of the same action, in the same order, each once.

use crate::gate::Answer;
use flyball_kernel::{Action, Verdict};
use flyball_ledger::{Filter, Kind, Ledger, LedgerError};
use serde_json::Value as Json;
use std::collections::{BTreeMap, VecDeque};

/// Recorded answers by the digest of the action that they are for.
#[derive(Debug, Default)]
pub(crate) struct Answers {
    by_action: BTreeMap<String, VecDeque<Said>>,
}

#[derive(Debug)]
struct Said {
    seq: u64,
    verdict: Verdict,
    with: Option<Action>,
    by: String,
    reason: String,
}

impl Answers {
    /// Those of a session, from an entry on.
    pub fn of(ledger: &Ledger, session: &str, from: u64) -> Result<Self, LedgerError> {
        let mut answers = Self::default();
        let kinds = vec![Kind::Answer];
        for entry in ledger.entries(session, from.., Filter { kinds, ..Filter::default() })? {
            let entry = entry?;
            let body = ledger.body(&entry)?;
            let text = |key: &str| body.get(key).and_then(Json::as_str).unwrap_or_default().to_owned();
            let Some(verdict) = body.get("verdict").and_then(|v| serde_json::from_value(v.clone()).ok()) else {
                continue;
            };
            let with = body.get("with").and_then(|with| serde_json::from_value(with.clone()).ok());
            let said = Said { seq: entry.seq, verdict, with, by: text("by"), reason: text("reason") };
            answers.by_action.entry(text("action")).or_default().push_back(said);
        }
        Ok(answers)
    }

    /// What was said when this was asked; `None`: nobody said anything, or it was not asked.
    pub fn take(&mut self, of: u64, action: &str, session: &str) -> Option<Answer> {
        let Said { seq, verdict, with, by, reason } = self.by_action.get_mut(action)?.pop_front()?;
        let reason = format!("{reason} (said in session {session}, entry {seq})");
        let said_in = Some((session.to_owned(), seq));
        Some(Answer { verdict, with, by, reason, signed: None, said_in, only: vec![of], set: None })
    }
}
