//! How a session stands, folded from its entries one by one: what a list shows of it, in memory that does not grow with it.

use super::session::{SessionLine, State, text};
use crate::clock::rfc3339;
use crate::gate::Counts;
use flyball_ledger::{Entry, Kind};
use serde_json::Value as Json;
use std::collections::BTreeMap;

/// The fold of a session's entries so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    /// The last entry that was folded.
    pub last_seq: u64,
    pub counts: Counts,
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
}

impl Tally {
    pub fn of<'a>(entries: impl IntoIterator<Item = &'a Entry>) -> Self {
        let mut tally = Self::default();
        entries.into_iter().for_each(|e| tally.take(e));
        tally
    }

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
                let call = self.waiting.get(&of).map(|(call, _)| *call).or(self.call).unwrap_or(of);
                self.waiting.insert(of, (call, text(&entry.body, "deadline")));
                self.is_call_open = false;
            }
            (Kind::Dispatch | Kind::Outcome, Some(of)) => {
                self.waiting.remove(&of);
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
        let waiting: Vec<u64> = self.waiting.values().map(|(call, _)| *call).collect();
        self.said.retain(|call, _| waiting.contains(call));
        self.said.insert(entry.seq, Verdicts::default());
        self.counts.actions += 1;
        self.counts.allowed += 1;
    }

    fn ruling(&mut self, of: u64, verdict: &str) {
        let call = self.waiting.get(&of).map(|(call, _)| *call).or(self.call).unwrap_or(of);
        if let Some(said) = self.said.get_mut(&call) {
            let before = said.counted();
            match verdict {
                "deny" => said.denied = true,
                "hold" => said.held = true,
                "modify" => said.modified = true,
                _ => {}
            }
            let after = said.counted();
            self.counts.allowed = self.counts.allowed + after.allowed - before.allowed;
            self.counts.denied = self.counts.denied + after.denied - before.denied;
            self.counts.held = self.counts.held + after.held - before.held;
            self.counts.modified = self.counts.modified + after.modified - before.modified;
        }
        if verdict != "hold" {
            self.waiting.remove(&of);
        }
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
