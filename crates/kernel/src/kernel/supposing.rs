//! What an example supposes to have happened, and what would be said of what has not.

use super::Kernel;
use crate::action::{Action, Resource, Surface, Value};
use crate::decide::Evidence;
use crate::facts::Phase;
use crate::ruling::{Ruling, Verdict};
use crate::vocabulary::ResourceKind;
use std::collections::BTreeMap;
use std::sync::Arc;

impl Kernel {
    /// Takes in what an example supposes to have happened, whatever the charter would have said to it.
    pub(crate) fn suppose(
        &mut self,
        at_ns: u64,
        phase: Phase,
        action: &Action,
        ok: bool,
        outcome: &BTreeMap<String, Value>,
    ) {
        self.last_at_ns = self.last_at_ns.max(at_ns);
        self.pass_time(true);
        let labelled = self.labelled(action).into_owned();
        let action = &labelled;
        let session = Arc::clone(&self.session);
        let values = session.values(action);
        let of = self.next_seq();
        self.note(Phase::Attempt, action, None, of);
        if phase >= Phase::Did {
            let seq = self.next_seq();
            self.grant_alone(action, at_ns);
            self.budgets.reserve(&self.charter.budgets, of, action, &values);
            self.budgets.give_back();
            self.positions.reserve(&self.charter.envelopes, of, action, at_ns);
            self.did(action, seq);
        }
        if phase >= Phase::Result {
            let seq = self.next_seq();
            self.note(Phase::Result, action, Some((ok, outcome)), seq);
            self.budgets.settle(&self.charter.budgets, of, ok, outcome);
            self.positions.settle(&self.charter.envelopes, of, action, ok, at_ns);
        } else if phase >= Phase::Did {
            // Who writes `did` means that it is so.
            self.positions.settle(&self.charter.envelopes, of, action, true, at_ns);
        }
    }

    /// Rules on an example's attempt.
    pub(crate) fn suppose_attempt(&mut self, at_ns: u64, action: &Action) -> Ruling {
        self.last_at_ns = self.last_at_ns.max(at_ns);
        self.pass_time(true);
        let seq = self.next_seq();
        self.grant_alone(action, at_ns);
        self.attempt(seq, action, None)
    }

    /// What would be said of these attempts now, one after the other; nothing is taken in.
    #[must_use]
    pub fn would_say(&self, at_ns: u64, actions: &[Action]) -> Vec<Verdict> {
        let mut supposed = self.clone();
        actions.iter().map(|action| supposed.suppose_attempt(at_ns, action).verdict).collect()
    }

    /// The last entry that was taken in.
    pub(crate) fn last_entry(&self) -> u64 {
        self.last_seq.unwrap_or_default()
    }

    /// A fact's value as this action would find it now, and what stands behind it.
    pub(crate) fn supposed_fact(&self, fact: &str, at_ns: u64, action: &Action) -> (Option<Value>, Evidence) {
        let session = Arc::clone(&self.session);
        let values = session.values(action);
        let at_ns = self.last_at_ns.max(at_ns);
        (self.facts.value(fact, &values, at_ns).ok(), self.facts.evidence(fact, &values, at_ns))
    }

    /// Whether a fact that reads nothing of an action is true at that time, the entries behind it, and what would turn it.
    /// One that can't be told is not true.
    #[must_use]
    pub fn fact_at(&self, fact: &str, at_ns: u64) -> (bool, Vec<u64>, Option<String>) {
        let action = Action::new("loop.tick", Resource::new(ResourceKind::Loop), Surface::Sdk);
        let Ok(action) = action else { return (false, Vec::new(), None) };
        let (value, evidence) = self.supposed_fact(fact, at_ns, &action);
        (value == Some(Value::Bool(true)), evidence.witnesses, evidence.needs)
    }

    fn next_seq(&mut self) -> u64 {
        let next = self.last_seq.unwrap_or_default().saturating_add(1);
        self.last_seq = Some(next);
        next
    }
}
