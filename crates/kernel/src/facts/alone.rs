//! A charter's facts without its rules: events in, values out. For whoever has events and no attempts to rule on.

use super::{Facts, Occurrence, Phase, Seen};
use crate::action::{Action, Value};
use crate::charter::Charter;
use crate::session::Session;
use std::collections::BTreeMap;

/// The facts over one history. Entry points: [`Self::note`], [`Self::values`].
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

    /// The values of the facts at these places as this action would find them at that time; nothing for one that has none.
    #[must_use]
    pub fn values<const N: usize>(&self, places: &[usize; N], action: &Action, now_ns: u64) -> [Option<Value>; N] {
        let values = self.session.values(action);
        places.map(|place| self.facts.monitors.get(place)?.value(&values, now_ns).ok())
    }
}
