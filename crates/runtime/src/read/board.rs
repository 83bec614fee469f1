//! All sessions at a glance, kept up to date at a cost that does not grow with what they did: an ended session is its
//! opening and close, a live one is asked of its supervisor, and only where that is silent its entries are folded.

use super::ask::{self, Ask};
use super::session::{SessionLine, State};
use super::tally::{self, Tally};
use super::{History, ReadError};
use crate::control;
use crate::gate::Counts;
use crate::status::Status;
use flyball_kernel::Registers;
use flyball_ledger::{Filter, Kind, Ledger, StreamHead};
use serde_json::Value as Json;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// A supervisor that does not answer within this is taken to be silent.
const STATUS_WAIT: Duration = Duration::from_millis(500);
/// How long a silent supervisor is not asked again.
const SILENCE: Duration = Duration::from_secs(5);

/// All sessions of a ledger, as of the last refresh.
#[derive(Debug, Default)]
pub struct Board {
    known: BTreeMap<String, Known>,
}

#[derive(Debug)]
struct Known {
    line: SessionLine,
    last_seq: u64,
    status: Option<Status>,
    /// At the close.
    registers: Option<Registers>,
    tally: Tally,
    silent_until: Option<Instant>,
}

impl Board {
    /// Looks at what has changed since the last time.
    ///
    /// # Errors
    /// [`ReadError`] when the ledger can't be read.
    pub fn refresh(&mut self, ledger: &Ledger) -> Result<(), ReadError> {
        for head in ledger.heads()? {
            let is_settled =
                self.known.get(&head.id).is_some_and(|k| k.last_seq == head.last_seq && !k.line.state.is_live());
            if head.opened_seq.is_none() || is_settled {
                continue;
            }
            let mut known = match self.known.remove(&head.id) {
                Some(known) => known,
                None => first_sight(ledger, &head)?,
            };
            known.look(ledger, &head)?;
            self.known.insert(head.id, known);
        }
        Ok(())
    }

    /// The sessions, the latest first.
    #[must_use]
    pub fn lines(&self) -> Vec<SessionLine> {
        let mut lines: Vec<SessionLine> = self.known.values().map(|k| k.line.clone()).collect();
        lines.sort_by(|a, b| (&b.since, &b.id).cmp(&(&a.since, &a.id)));
        lines
    }

    /// The number of a session's last entry; 0 where there is no such session.
    #[must_use]
    pub fn last_seq(&self, session: &str) -> u64 {
        self.known.get(session).map(|k| k.last_seq).unwrap_or_default()
    }

    /// What the kernel counted: as the supervisor said last, or as it stood at the close. `None` where neither tells.
    #[must_use]
    pub fn registers(&self, session: &str) -> Option<&Registers> {
        let known = self.known.get(session)?;
        known.status.as_ref().map(|s| &s.registers).or(known.registers.as_ref())
    }

    /// Open questions of all live sessions, the most urgent first.
    ///
    /// # Errors
    /// [`ReadError`] when the ledger can't be read.
    pub fn asks(&self, ledger: &Ledger) -> Result<Vec<Ask>, ReadError> {
        let mut open = Vec::new();
        for known in self.known.values().filter(|k| k.line.state.is_live() && k.line.questions > 0) {
            match &known.status {
                Some(status) => {
                    for question in &status.questions {
                        open.push(ask::of_question(ledger, &known.line, question, &status.registers.asked)?);
                    }
                }
                None => open.extend(ask::of_history(&History::read(ledger, &known.line.id)?, &known.line.name)),
            }
        }
        open.sort_by(|a, b| (a.left_s, &a.id).cmp(&(b.left_s, &b.id)));
        Ok(open)
    }
}

fn first_sight(ledger: &Ledger, head: &StreamHead) -> Result<Known, ReadError> {
    let opening = ledger.entry(&head.id, head.opened_seq.unwrap_or(1))?;
    let body = super::history::whole_body(ledger, &opening)?;
    let opened = tally::opened(&flyball_ledger::Entry { body, ..opening });
    let line = tally::blank(&head.id, &opened);
    Ok(Known { line, last_seq: 0, status: None, registers: None, tally: Tally::default(), silent_until: None })
}

impl Known {
    fn look(&mut self, ledger: &Ledger, head: &StreamHead) -> Result<(), ReadError> {
        let is_owned = head.closed_seq.is_none() && ledger.is_owned(&head.id);
        let was_live = self.last_seq > 0 && self.line.state.is_live();
        if self.last_seq == head.last_seq && was_live == is_owned {
            return Ok(());
        }
        self.last_seq = head.last_seq;
        self.status = if is_owned { self.ask(ledger, &head.id) } else { None };
        if let Some(status) = &self.status {
            told(&mut self.line, status);
            return Ok(());
        }
        let close = match head.closed_seq {
            Some(seq) => super::history::whole_body(ledger, &ledger.entry(&head.id, seq)?)?,
            None => Json::Null,
        };
        self.registers = close.get("registers").and_then(|r| serde_json::from_value(r.clone()).ok());
        if let Some(counts) = counts(&close) {
            // A close that counts saves reading what it counted; only who took all rights away is not in it.
            self.line = SessionLine { state: State::Ended, counts, questions: 0, deadline: None, ..self.line.clone() };
            self.line.quarantined = was_quarantined(ledger, &head.id)?;
            return Ok(());
        }
        for entry in ledger.entries(&head.id, self.tally.last_seq + 1.., Filter::default())? {
            let mut entry = entry?;
            entry.body = super::history::whole_body(ledger, &entry)?;
            self.tally.take(&entry);
        }
        if let Some(line) = self.tally.line(&head.id, is_owned) {
            self.line = line;
        }
        Ok(())
    }

    fn ask(&mut self, ledger: &Ledger, id: &str) -> Option<Status> {
        if self.silent_until.is_some_and(|until| Instant::now() < until) {
            return None;
        }
        let status = control::status(ledger.dir(), id, STATUS_WAIT).ok();
        self.silent_until = status.is_none().then(|| Instant::now() + SILENCE);
        status
    }
}

fn told(line: &mut SessionLine, status: &Status) {
    line.counts = status.counts;
    line.quarantined = status.registers.gate == "quarantined";
    line.questions = status.questions.len();
    line.deadline = status.questions.iter().map(|q| q.deadline_ns).min().map(crate::clock::rfc3339);
    line.state = match (status.registers.gate.as_str(), line.questions) {
        ("paused", _) => State::Paused,
        (_, 0) => State::Running,
        _ => State::Waiting,
    };
}

fn counts(close: &Json) -> Option<Counts> {
    let number = |key: &str| close.get(key).and_then(Json::as_u64);
    Some(Counts {
        actions: number("actions")?,
        allowed: number("allowed")?,
        denied: number("denied")?,
        held: number("held")?,
        modified: number("modified")?,
    })
}

fn was_quarantined(ledger: &Ledger, id: &str) -> Result<bool, ReadError> {
    let acts = Filter { kinds: vec![Kind::Intervention], ..Filter::default() };
    for entry in ledger.entries(id, .., acts)? {
        if entry?.body.get("act").and_then(Json::as_str) == Some("quarantine") {
            return Ok(true);
        }
    }
    Ok(false)
}
