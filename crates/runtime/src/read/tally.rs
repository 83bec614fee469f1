//! How a session stands, folded from its entries one by one: what a list shows of it, in memory that does not grow with it.

use super::session::{SessionLine, State, text};
use crate::clock::rfc3339;
use crate::gate::Counts;
use flyball_ledger::{Entry, Kind};
use serde_json::Value as Json;
use std::collections::{BTreeMap, BTreeSet};

/// The fold of a session's entries so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    /// The last entry that was folded.
    pub last_seq: u64,
    pub counts: Counts,
    /// The same by rulings alone, as attestations told it until this: what was to be asked about counts whether or not it was.
    pub counts_by_rulings: Counts,
    pub is_closed: bool,
    opened: Option<Opened>,
    is_paused: bool,
    is_quarantined: bool,
    /// The first attempt of the call that was read last.
    call: Option<u64>,
    /// Whether more attempts of that call may follow: not once one was begun or asked about.
    is_call_open: bool,
    /// What was ever said of calls that may yet hear more: the last one, and those with a question open.
    said: BTreeMap<u64, Verdicts>,
    /// Attempts with an open question: their call, and when it is answered for them.
    waiting: BTreeMap<u64, (u64, String)>,
    /// Attempts that people are to be asked about, and their call: until they were, or another part of it was refused.
    holding: BTreeMap<u64, u64>,
}

#[derive(Clone, Debug)]
pub(super) struct Opened {
    pub at_ns: u64,
    pub name: String,
    pub agent: String,
    pub workspace: String,
}

#[derive(Clone, Copy, Debug, Default)]
struct Verdicts {
    denied: bool,
    held: bool,
    modified: bool,
    /// By a ruling, and not by what followed from it.
    is_ruled_denied: bool,
    is_ruled_held: bool,
}

impl Verdicts {
    /// Where a call counts: one that was held and then denied counts in both.
    fn counted(self) -> Counts {
        let one = |is: bool| u64::from(is);
        Counts {
            actions: 1,
            allowed: one(!self.denied && !self.held && !self.modified),
            denied: one(self.denied),
            held: one(self.held),
            modified: one(self.modified && !self.denied),
        }
    }

    fn by_rulings(self) -> Self {
        Self { denied: self.is_ruled_denied, held: self.is_ruled_held, ..self }
    }
}

/// A call that counted as `before` counts as `after`.
fn recount(counts: &mut Counts, before: Verdicts, after: Verdicts) {
    let (before, after) = (before.counted(), after.counted());
    counts.allowed = counts.allowed + after.allowed - before.allowed;
    counts.denied = counts.denied + after.denied - before.denied;
    counts.held = counts.held + after.held - before.held;
    counts.modified = counts.modified + after.modified - before.modified;
}

impl Tally {
    /// Takes the next entry. One that was taken before changes nothing.
    pub fn take(&mut self, entry: &Entry) {
        if entry.seq <= self.last_seq {
            return;
        }
        self.last_seq = entry.seq;
        let of = entry.body.get("of").and_then(Json::as_u64);
        match (entry.kind, of) {
            (Kind::Open, _) => self.opened = Some(opened(entry)),
            (Kind::Close, _) => self.is_closed = true,
            (Kind::Attempt, _) => self.attempt(entry),
            (Kind::Ruling, Some(of)) => self.ruling(of, &text(&entry.body, "verdict")),
            (Kind::Question, Some(of)) => {
                // The next tier's question is on the same attempt.
                let call = self.call_of(of);
                self.waiting.insert(of, (call, text(&entry.body, "deadline")));
                let also = entry.body.get("also").and_then(Json::as_array).into_iter().flatten();
                let also = also.filter_map(|also| also.get("of").and_then(Json::as_u64));
                for of in std::iter::once(of).chain(also) {
                    // What was only to be asked about, and refused for another part, was put to nobody.
                    self.say(self.call_of(of), |said| said.held = true);
                }
                self.is_call_open = false;
            }
            (Kind::Dispatch | Kind::Outcome, Some(of)) => {
                // Taken back before anything of it was begun or put to anybody: nobody could be asked, or this surface can't change it.
                if entry.body.get("withdrawn").is_some() && self.is_call_open && self.call == Some(self.call_of(of)) {
                    self.say(self.call_of(of), |said| said.denied = true);
                }
                self.waiting.remove(&of);
                self.holding.remove(&of);
                self.is_call_open = false;
            }
            (Kind::Intervention, _) => match text(&entry.body, "act").as_str() {
                "pause" => self.is_paused = true,
                "resume" => self.is_paused = false,
                "quarantine" => self.is_quarantined = true,
                _ => {}
            },
            _ => {}
        }
    }

    /// The gate names a call's first attempt as the last cause of the others, which follow before anything else is done.
    fn attempt(&mut self, entry: &Entry) {
        if self.is_call_open && entry.cause.last() == self.call.as_ref() {
            return;
        }
        (self.call, self.is_call_open) = (Some(entry.seq), true);
        let waiting: BTreeSet<u64> =
            self.waiting.values().map(|(call, _)| *call).chain(self.holding.values().copied()).collect();
        self.said.retain(|call, _| waiting.contains(call));
        self.said.insert(entry.seq, Verdicts::default());
        for counts in [&mut self.counts, &mut self.counts_by_rulings] {
            counts.actions += 1;
            counts.allowed += 1;
        }
    }

    /// The call that an attempt is a part of: what was asked about may hear of it long after.
    fn call_of(&self, attempt: u64) -> u64 {
        let asked = self.waiting.get(&attempt).map(|(call, _)| *call);
        asked.or_else(|| self.holding.get(&attempt).copied()).or(self.call).unwrap_or(attempt)
    }

    fn ruling(&mut self, of: u64, verdict: &str) {
        let call = self.call_of(of);
        match verdict {
            "hold" => {
                self.holding.insert(of, call);
                self.say(call, |said| said.is_ruled_held = true);
                return;
            }
            "deny" => self.say(call, |said| (said.denied, said.is_ruled_denied) = (true, true)),
            "modify" => self.say(call, |said| said.modified = true),
            _ => {}
        }
        self.waiting.remove(&of);
        self.holding.remove(&of);
    }

    /// Counts a call where it belongs from now on.
    fn say(&mut self, call: u64, what: impl FnOnce(&mut Verdicts)) {
        let Some(said) = self.said.get_mut(&call) else { return };
        let before = *said;
        what(said);
        recount(&mut self.counts, before, *said);
        recount(&mut self.counts_by_rulings, before.by_rulings(), said.by_rulings());
    }

    pub fn line(&self, id: &str, is_owned: bool) -> Option<SessionLine> {
        let opened = self.opened.as_ref()?;
        let state = match (self.is_closed, is_owned, self.is_paused, self.waiting.is_empty()) {
            (true, ..) => State::Ended,
            (_, false, ..) => State::Dead,
            (_, _, true, _) => State::Paused,
            (.., true) => State::Running,
            _ => State::Waiting,
        };
        let questions = if state.is_live() { self.waiting.len() } else { 0 };
        let deadline = self.waiting.values().map(|(_, deadline)| deadline).min().cloned();
        Some(SessionLine {
            state,
            quarantined: self.is_quarantined,
            counts: self.counts,
            questions,
            deadline: deadline.filter(|d| state.is_live() && !d.is_empty()),
            ..blank(id, opened)
        })
    }
}

pub(super) fn opened(entry: &Entry) -> Opened {
    Opened {
        at_ns: entry.at_ns,
        name: text(&entry.body, "name"),
        agent: text(&entry.body, "agent"),
        workspace: text(&entry.body, "workspace"),
    }
}

/// What the opening alone tells.
pub(super) fn blank(id: &str, opened: &Opened) -> SessionLine {
    SessionLine {
        id: id.to_owned(),
        name: opened.name.clone(),
        agent: opened.agent.clone(),
        state: State::Running,
        quarantined: false,
        counts: Counts::default(),
        questions: 0,
        deadline: None,
        since: rfc3339(opened.at_ns),
        workspace: opened.workspace.clone(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use flyball_ledger::{Draft, Ledger};
    use serde_json::json;

    /// How a session counts that these are the entries of, the first of them being entry 1.
    fn counted(entries: &[(Kind, &[u64], Json)]) -> (u64, u64, u64, u64, u64) {
        let dir = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(dir.path()).unwrap();
        let stream = ledger.stream("s").unwrap();
        for (n, (kind, cause, body)) in (1..).zip(entries) {
            let (cause, body) = (cause.to_vec(), body.clone());
            stream.append(Draft { at_ns: n, kind: *kind, actor: "gate".into(), cause, body }).unwrap();
        }
        ledger.flush().unwrap();
        let entries = ledger.entries("s", 1.., flyball_ledger::Filter::default()).unwrap();
        let entries: Vec<Entry> = entries.map(Result::unwrap).collect();
        let mut tally = Tally::default();
        entries.iter().for_each(|entry| tally.take(entry));
        let Counts { actions, allowed, denied, held, modified } = tally.counts;
        (actions, allowed, denied, held, modified)
    }

    fn ruled(of: u64, verdict: &str) -> (Kind, &'static [u64], Json) {
        (Kind::Ruling, &[], json!({ "of": of, "verdict": verdict }))
    }

    fn withdrawn(of: u64) -> (Kind, &'static [u64], Json) {
        (Kind::Outcome, &[], json!({ "of": of, "ok": false, "withdrawn": "why" }))
    }

    #[test]
    fn a_call_counts_as_asked_about_where_people_were_asked() {
        let first = (Kind::Attempt, &[][..], json!({ "verb": "process.exec" }));
        let part = (Kind::Attempt, &[1][..], json!({ "verb": "net.connect" }));
        let other = (Kind::Attempt, &[][..], json!({ "verb": "fs.write" }));
        let question = |of: u64| (Kind::Question, &[][..], json!({ "of": of, "deadline": "" }));
        let both = (Kind::Question, &[][..], json!({ "of": 1, "deadline": "", "also": [{ "of": 3 }] }));
        // A part that people were to be asked about is put to nobody where another part is refused.
        let parts = [first.clone(), ruled(1, "hold"), part.clone(), ruled(3, "deny"), withdrawn(1)];
        assert_eq!(counted(&parts), (1, 0, 1, 0, 0));
        let nobody = [first.clone(), ruled(1, "hold"), withdrawn(1)];
        assert_eq!(counted(&nobody), (1, 0, 1, 0, 0));
        let asked = [first.clone(), ruled(1, "hold"), question(1), ruled(1, "allow")];
        assert_eq!(counted(&asked), (1, 0, 0, 1, 0));
        let refused =
            [first.clone(), ruled(1, "hold"), part, ruled(3, "hold"), question(1), question(3), ruled(3, "deny")];
        assert_eq!(counted(&refused), (1, 0, 1, 1, 0));
        // Two calls that are asked about as one, and another before the answer.
        let later =
            [first.clone(), ruled(1, "hold"), other.clone(), ruled(3, "hold"), both, other.clone(), ruled(6, "allow")];
        assert_eq!(counted(&later), (3, 1, 0, 2, 0));
        let answered: Vec<_> = later.into_iter().chain([ruled(1, "deny"), ruled(3, "deny")]).collect();
        assert_eq!(counted(&answered), (3, 1, 2, 2, 0));
        // What would have to be changed, where it can't be; and where it can.
        assert_eq!(counted(&[other.clone(), ruled(1, "modify"), withdrawn(1)]), (1, 0, 1, 0, 0));
        assert_eq!(counted(&[other, ruled(1, "modify"), (Kind::Dispatch, &[], json!({ "of": 1 }))]), (1, 0, 0, 0, 1));
    }
}
