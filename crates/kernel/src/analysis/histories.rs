//! The way to what an example supposes: a history after which the real monitors give a charter's facts those values.
//!
//! Facts can't be chosen freely, as the search for an example does: one follows from another, or from the action itself. What
//! is found here is a run that a person can follow, and put into an `[[example]]`; that none was found proves nothing.

use super::events::{Event, event, given};
use crate::action::{Action, Value};
use crate::charter::Charter;
use crate::facts::Pattern;
use crate::kernel::Kernel;
use crate::session::Session;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A charter, with what its facts are supposed to be.
#[derive(Clone, Copy, Debug)]
struct Supposed<'c> {
    charter: &'c Arc<Charter>,
    facts: &'c BTreeMap<String, Value>,
}

/// Longest history in moves, most different moves, and the most that one event is repeated.
const MOVES_MAX: usize = 4;
const KINDS_MAX: usize = 12;
const TIMES_MAX: u32 = 2_000;

/// Work for one history: an event that one fact takes in. A fact's memory is copied for the price of some.
const WORK_MAX: u64 = 100_000;
const COPY_WORK: u64 = 8;

const SECOND_NS: u64 = 1_000_000_000;

/// The shortest history that was found after which each charter's facts are these, as the `given` of an example; empty where
/// nothing need have happened, and nothing where no fact matters.
pub(crate) fn after(
    of: &[(&Charter, &BTreeMap<String, Value>)],
    action: &Action,
    session: &Session,
) -> Option<Vec<String>> {
    if of.iter().all(|(_, facts)| facts.is_empty()) {
        return None;
    }
    let charters: Vec<Arc<Charter>> = of.iter().map(|(charter, _)| Arc::new((*charter).clone())).collect();
    let of: Vec<Supposed> = charters.iter().zip(of).map(|(charter, (_, facts))| Supposed { charter, facts }).collect();
    history(&of, action, session)
}

fn history(of: &[Supposed], action: &Action, session: &Session) -> Option<Vec<String>> {
    let moves = moves(of, action, session);
    let width: u64 = of.iter().map(|s| u64::try_from(s.charter.facts.places().count()).unwrap_or(u64::MAX)).sum();
    let mut left = WORK_MAX;
    let start = State {
        kernels: of.iter().map(|s| Kernel::new(Arc::clone(s.charter), session.clone())).collect(),
        at_ns: SECOND_NS,
        way: Vec::new(),
    };
    // Breadth first: the first that is found is the shortest.
    let mut level = vec![start];
    for _ in 0..=MOVES_MAX {
        if let Some(found) = level.iter().find(|state| state.is_as_supposed(of, action)) {
            let said = found.way.iter().filter_map(|n| moves.get(*n)).map(|m| m.text(session));
            return Some(said.collect());
        }
        let mut next = Vec::new();
        for state in &level {
            for (n, one) in moves.iter().enumerate() {
                let work = COPY_WORK.saturating_add(u64::from(one.times));
                left = left.checked_sub(width.saturating_add(1).saturating_mul(work))?;
                next.push(state.after(n, one));
            }
        }
        level = next;
    }
    None
}

/// An event, once or many times.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Move {
    times: u32,
    event: Event,
}

impl Move {
    fn text(&self, session: &Session) -> String {
        let said = given(&self.event, session);
        if self.times > 1 { format!("{} times {said}", self.times) } else { said }
    }
}

struct State {
    kernels: Vec<Kernel>,
    at_ns: u64,
    way: Vec<usize>,
}

impl State {
    fn is_as_supposed(&self, of: &[Supposed], action: &Action) -> bool {
        let is = |kernel: &Kernel, name: &String, value: &Value| {
            kernel.supposed_fact(name, self.at_ns, action).0.as_ref() == Some(value)
        };
        self.kernels.iter().zip(of).all(|(kernel, s)| s.facts.iter().all(|(name, value)| is(kernel, name, value)))
    }

    fn after(&self, number: usize, one: &Move) -> Self {
        let mut kernels = self.kernels.clone();
        let mut at_ns = self.at_ns;
        for _ in 0..one.times {
            for kernel in &mut kernels {
                let Event { phase, action, ok, outcome } = &one.event;
                kernel.suppose(at_ns, *phase, action, *ok, outcome);
            }
            // As examples have it: many at once are a burst.
            at_ns = at_ns.saturating_add(if one.times > 1 { SECOND_NS / 100 } else { SECOND_NS });
        }
        Self { kernels, at_ns, way: self.way.iter().copied().chain([number]).collect() }
    }
}

/// What may have happened: an event for each atom of a supposed fact, the ones first whose facts begin as something else, and
/// each as often as numbers ask for.
fn moves(of: &[Supposed], action: &Action, session: &Session) -> Vec<Move> {
    let mut wrong_first: Vec<(bool, &Arc<Charter>, usize)> = Vec::new();
    let mut times: BTreeSet<u32> = BTreeSet::new();
    let often = |n: i64| u32::try_from(n).ok().filter(|n| (2..=TIMES_MAX).contains(n));
    for Supposed { charter, facts } in of {
        let blank = Kernel::new(Arc::clone(charter), session.clone());
        for (name, place) in charter.facts.places() {
            let Some(value) = facts.get(name) else { continue };
            let is_so = blank.supposed_fact(name, SECOND_NS, action).0.as_ref() == Some(value);
            wrong_first.push((is_so, charter, place));
            if let Value::Long(n) = value {
                times.extend(often(*n));
            }
            times.extend(
                charter.facts.limits(place).into_iter().flat_map(|n| [n, n.saturating_add(1)]).filter_map(often),
            );
        }
    }
    wrong_first.sort_by_key(|(is_so, ..)| *is_so);
    let values = session.values(action);
    let mut once: Vec<Event> = Vec::new();
    for (_, charter, place) in wrong_first {
        for pattern in charter.facts.patterns(place) {
            let bound = |var: u16, attr: &'static str| {
                let dollar = charter.facts.dollars(place).get(usize::from(var))?;
                Some((attr, values.get(dollar)?.clone()))
            };
            let bound: BTreeMap<_, _> = pattern.binds.iter().filter_map(|(var, attr)| bound(*var, attr)).collect();
            let found = first(pattern, action, session, &bound);
            once.extend(found.filter(|event| !once.contains(event)));
        }
    }
    let repeated = once.iter().flat_map(|event| times.iter().map(|times| Move { times: *times, event: event.clone() }));
    let all = once.iter().map(|event| Move { times: 1, event: event.clone() }).chain(repeated);
    all.take(KINDS_MAX).collect()
}

/// An event that the atom matches: of the action's own verb, if it may be.
fn first(
    pattern: &Pattern,
    action: &Action,
    session: &Session,
    bound: &BTreeMap<&'static str, Value>,
) -> Option<Event> {
    let mut verbs = pattern.verbs.clone();
    verbs.sort_by_key(|verb| *verb != action.verb);
    verbs.into_iter().find_map(|verb| event(pattern, verb, session, bound))
}
