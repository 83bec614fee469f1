//! What people said in a recorded session, said again where the same is asked: of the same action, in the same order, each once. That
//! nobody said anything in time is in that order as well.

use crate::gate::Answer;
use flyball_kernel::{Action, Verdict};
use flyball_ledger::{Filter, Kind, Ledger, LedgerError};
use serde_json::Value as Json;
use std::collections::{BTreeMap, VecDeque};

/// What became of questions, by the digest of the action that they were about.
#[derive(Debug, Default)]
pub(crate) struct Answers {
    by_action: BTreeMap<String, VecDeque<Came>>,
}

#[derive(Debug)]
enum Came {
    Said(Said),
    /// The time to answer in was over.
    Late,
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
        // The actions that people were asked about, by the attempt; and what the kernel heard last.
        let mut asked: BTreeMap<u64, String> = BTreeMap::new();
        let mut heard = Kind::Open;
        for entry in ledger.entries(session, from.., Filter::default())? {
            let entry = entry?;
            if !matches!(entry.kind, Kind::Ruling | Kind::Question | Kind::Dispatch | Kind::Alert | Kind::Checkpoint) {
                heard = entry.kind;
            }
            if !matches!(entry.kind, Kind::Answer | Kind::Question | Kind::Ruling) {
                continue;
            }
            let body = ledger.body(&entry)?;
            let of = body.get("of").and_then(Json::as_u64).unwrap_or_default();
            match entry.kind {
                Kind::Answer => {
                    let Some(said) = Said::read(entry.seq, &body) else { continue };
                    let action = body.get("action").and_then(Json::as_str).unwrap_or_default();
                    answers.by_action.entry(action.to_owned()).or_default().push_back(Came::Said(said));
                }
                Kind::Question => {
                    let also = body.get("also").and_then(Json::as_array);
                    for part in std::iter::once(&body).chain(also.into_iter().flatten()) {
                        let of = part.get("of").and_then(Json::as_u64);
                        let action = part.get("action").and_then(Json::as_str);
                        asked.extend(of.zip(action.map(str::to_owned)));
                    }
                }
                // One that no answer and no person's act brought about: time did.
                _ if matches!(heard, Kind::Tick | Kind::Attempt | Kind::Outcome | Kind::Observe) => {
                    if let Some(action) = asked.get(&of) {
                        answers.by_action.entry(action.clone()).or_default().push_back(Came::Late);
                    }
                }
                _ => {}
            }
        }
        Ok(answers)
    }

    /// What was said next when this was asked; `None`: nobody said anything, it was not asked, or first its time was over.
    pub fn take(&mut self, of: u64, action: &str, session: &str) -> Option<Answer> {
        let came = self.by_action.get_mut(action)?;
        let Some(Came::Said(Said { seq, verdict, with, by, reason })) =
            came.pop_front_if(|came| matches!(came, Came::Said(_)))
        else {
            return None;
        };
        let reason = format!("{reason} (said in session {session}, entry {seq})");
        let said_in = Some((session.to_owned(), seq));
        Some(Answer { verdict, with, by, reason, signed: None, said_in, only: vec![of], set: None })
    }

    /// Whether its time was over next.
    pub fn was_late(&mut self, action: &str) -> bool {
        let came = self.by_action.get_mut(action);
        came.is_some_and(|came| came.pop_front_if(|came| matches!(came, Came::Late)).is_some())
    }
}

impl Said {
    fn read(seq: u64, body: &Json) -> Option<Self> {
        let text = |key: &str| body.get(key).and_then(Json::as_str).unwrap_or_default().to_owned();
        let verdict = body.get("verdict").and_then(|v| serde_json::from_value(v.clone()).ok())?;
        let with = body.get("with").and_then(|with| serde_json::from_value(with.clone()).ok());
        Some(Self { seq, verdict, with, by: text("by"), reason: text("reason") })
    }
}
