//! A charter's facts without its rules: events in, values out. For whoever has events and no attempts to rule on.

use super::{Answer, Facts, Occurrence, Phase, Seen};
use crate::action::{Action, Value};
use crate::charter::Charter;
use crate::session::Session;
use std::collections::BTreeMap;

/// The facts over one history. Entry points: [`Self::note`], [`Self::seen_by`].
#[derive(Clone, Debug)]
pub struct History {
    facts: Facts,
    session: Session,
}

impl History {
    /// The facts of that charter, before anything happened.
    #[must_use]
    pub fn new(charter: &Charter, session: Session) -> Self {
        Self { facts: charter.facts.clone(), session }
    }

    /// The place of the fact of that name, by which its value is asked for.
    #[must_use]
    pub fn place(&self, name: &str) -> Option<usize> {
        self.facts.places().find(|(fact, _)| *fact == name).map(|(_, place)| place)
    }

    /// Takes an event in. `outcome`, of a result: whether it went well, and what it carries. `seq` increases, `at_ns` does not
    /// decrease.
    pub fn note(
        &mut self,
        phase: Phase,
        action: &Action,
        outcome: Option<(bool, &BTreeMap<String, Value>)>,
        seq: u64,
        at_ns: u64,
    ) {
        if !self.facts.is_watched(phase, action.verb) {
            return;
        }
        let mut values = self.session.values(action);
        if let Some((ok, attrs)) = outcome {
            values = values.with_outcome(ok, attrs);
        }
        self.facts.commit(&Occurrence { phase, verb: action.verb, values: Seen::Live(&values), seq, at_ns });
    }

    /// The facts as this action would find them at that time.
    #[must_use]
    pub fn seen_by<'a>(&'a self, action: &'a Action, now_ns: u64) -> Moment<'a> {
        Moment { history: self, action, now_ns }
    }
}

/// The facts as one action finds them.
#[derive(Debug)]
pub struct Moment<'a> {
    history: &'a History,
    action: &'a Action,
    now_ns: u64,
}

impl Moment<'_> {
    /// Whether the fact at that place holds; nothing for a number, and for one that has no value.
    #[must_use]
    pub fn holds(&self, place: usize) -> Option<bool> {
        match self.answer(place)? {
            Answer::Bool(is_true) => Some(is_true),
            Answer::Long(_) => None,
        }
    }

    /// The value of the fact at that place, if it has one.
    #[must_use]
    pub fn value(&self, place: usize) -> Option<Value> {
        self.answer(place).map(Value::from)
    }

    fn answer(&self, place: usize) -> Option<Answer> {
        let History { facts, session } = self.history;
        if let Some(answer) = facts.foreseen(place, self.now_ns) {
            return Some(answer);
        }
        let monitor = facts.monitors.get(place)?;
        let value = match monitor.dollars.is_empty() {
            true => monitor.value_for_all(self.now_ns),
            false => monitor.value(&session.values(self.action), self.now_ns),
        };
        value.ok()
    }
}
