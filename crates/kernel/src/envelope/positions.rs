//! Where the quantities of envelopes stand.
//!
//! A value counts from the moment that it is let through: two attempts that are let through together can't each take a step
//! from the same place. Until its outcome says that it is in force, it counts beside the one before, and after a failure as
//! well: who failed to set a valve may have moved it. A success settles it; an attempt that was never carried out never was.

use super::{CHANGES_MAX, Envelope, POSITIONS_MAX};
use crate::action::{Action, Value};
use crate::registers::EnvelopeUse;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// By envelope and resource, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Positions {
    #[serde(with = "crate::pairs")]
    set: BTreeMap<(String, String), VecDeque<Position>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Position {
    at_ns: u64,
    value: i64,
    /// The attempt, as long as it may hear of its outcome.
    of: Option<u64>,
    is_in_force: bool,
}

/// Where the values begin that count: at the last that was in force when the window began.
fn first(set: &VecDeque<Position>, per_ns: Option<u64>, now_ns: u64) -> usize {
    let is_old = |p: &&Position| per_ns.is_none_or(|per| now_ns.saturating_sub(p.at_ns) > per);
    let before = set.iter().take_while(is_old).count();
    set.iter().take(before).rposition(|p| p.is_in_force).unwrap_or(0)
}

impl Positions {
    /// Whether there is no room to follow another change of it. Forgetting one would let it move by more than a step.
    pub fn is_full_for(&self, key: &(String, String)) -> bool {
        match self.set.get(key) {
            Some(set) => set.len() >= CHANGES_MAX,
            None => self.set.len() >= POSITIONS_MAX,
        }
    }

    /// Every value that may be in force, or was within the window.
    pub fn in_force(&self, key: &(String, String), per_ns: Option<u64>, now_ns: u64) -> Vec<i64> {
        let Some(set) = self.set.get(key) else { return Vec::new() };
        // What is under way may take effect after all that is known by now.
        let first = first(set, per_ns, now_ns);
        (0..).zip(set).filter(|(n, p)| *n >= first || p.of.is_some()).map(|(_, p)| p.value).collect()
    }

    /// Changes within the window.
    pub fn changes(&self, key: &(String, String), per_ns: u64, now_ns: u64) -> usize {
        let Some(set) = self.set.get(key) else { return 0 };
        set.iter().filter(|p| now_ns.saturating_sub(p.at_ns) <= per_ns).count()
    }

    /// Where these stand goes on under another charter's envelopes that are of the same number; the rest is as rebuilt.
    pub fn adopted(&self, was: &BTreeMap<String, Envelope>, is: &BTreeMap<String, Envelope>, rebuilt: Self) -> Self {
        let same = |name: &String| match (was.get(name), is.get(name)) {
            // A longer window asks for what the shorter one has forgotten.
            (Some(was), Some(is)) => (was.verb, was.attr, was.per_ns) == (is.verb, is.attr, is.per_ns),
            _ => false,
        };
        let mut set = rebuilt.set;
        set.retain(|(name, _), _| !same(name));
        set.extend(self.set.iter().filter(|((name, _), _)| same(name)).map(|(key, at)| (key.clone(), at.clone())));
        Self { set }
    }

    /// Notes a value that is let through.
    pub fn reserve(&mut self, envelopes: &BTreeMap<String, Envelope>, of: u64, action: &Action, now_ns: u64) {
        for (name, envelope) in envelopes.iter().filter(|(_, e)| e.verb == action.verb) {
            let Some(Value::Long(value)) = action.attr(envelope.attr) else { continue };
            let set = self.set.entry((name.clone(), action.resource.id())).or_default();
            set.push_back(Position { at_ns: now_ns, value: *value, of: Some(of), is_in_force: false });
            tidy(set, envelope.per_ns, now_ns);
        }
    }

    /// An attempt was not carried out.
    pub fn release(&mut self, envelopes: &BTreeMap<String, Envelope>, of: u64, action: &Action) {
        for (name, _) in envelopes.iter().filter(|(_, e)| e.verb == action.verb) {
            let key = (name.clone(), action.resource.id());
            let Some(set) = self.set.get_mut(&key) else { continue };
            set.retain(|p| p.of != Some(of));
            if set.is_empty() {
                self.set.remove(&key);
            }
        }
    }

    /// An attempt has its outcome.
    pub fn settle(
        &mut self,
        envelopes: &BTreeMap<String, Envelope>,
        of: u64,
        action: &Action,
        is_ok: bool,
        now_ns: u64,
    ) {
        for (name, envelope) in envelopes.iter().filter(|(_, e)| e.verb == action.verb) {
            let Some(set) = self.set.get_mut(&(name.clone(), action.resource.id())) else { continue };
            let Some(place) = set.iter().position(|p| p.of == Some(of)) else { continue };
            // What ends last may be what was set last.
            if let Some(position) = set.remove(place) {
                set.push_back(Position { at_ns: now_ns, of: None, is_in_force: is_ok, ..position });
            }
            tidy(set, envelope.per_ns, now_ns);
        }
    }

    /// Where every quantity stands; an envelope that has seen no value yet stands nowhere.
    pub fn uses(&self, envelopes: &BTreeMap<String, Envelope>, now_ns: u64) -> Vec<EnvelopeUse> {
        let mut out = Vec::new();
        for (name, envelope) in envelopes {
            let blank = EnvelopeUse {
                envelope: name.clone(),
                of: format!("{}.{}", envelope.verb, envelope.attr),
                resource: String::new(),
                value: None,
                min: envelope.min,
                max: envelope.max,
                step: envelope.step,
                rate: envelope.rate,
                per_ns: envelope.per_ns,
                changes: 0,
            };
            let before = out.len();
            for (key, set) in self.set.iter().filter(|((of, _), _)| of == name) {
                let changes = envelope.per_ns.map_or(0, |per| self.changes(key, per, now_ns) as u64);
                let value = set.back().map(|p| p.value);
                out.push(EnvelopeUse { resource: key.1.clone(), value, changes, ..blank.clone() });
            }
            if out.len() == before {
                out.push(blank);
            }
        }
        out
    }
}

/// Forgets what counts no more; of old failures to set one value, all but one.
fn tidy(set: &mut VecDeque<Position>, per_ns: Option<u64>, now_ns: u64) {
    let first = first(set, per_ns, now_ns);
    let mut place = 0..;
    set.retain(|p| place.next().is_none_or(|n| n >= first) || p.of.is_some());
    let mut failed = BTreeSet::new();
    set.retain(|p| {
        let is_old = per_ns.is_none_or(|per| now_ns.saturating_sub(p.at_ns) > per);
        let is_failed = p.of.is_none() && !p.is_in_force;
        !(is_old && is_failed) || failed.insert(p.value)
    });
}
