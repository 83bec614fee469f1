//! Whether a fact can ever be true: the shortest history that makes it so, by bounded search with the real monitor.

use super::events::{Event, event, given};
use crate::action::Value;
use crate::charter::{Charter, FactType, example_session};
use crate::kernel::Kernel;
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What was found of a fact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FactTrace {
    /// The fact.
    pub fact: String,
    /// The shortest history found after which it is true, as the `given` of an example; nothing when none was found.
    pub trace: Option<Vec<String>>,
    /// The longest history that was tried.
    pub events_max: usize,
}

/// Longest history, most different events, and seconds between them.
const EVENTS_MAX: usize = 4;
const CANDIDATES_MAX: usize = 6;
const SECOND_NS: u64 = 1_000_000_000;

/// Looks for a history for each fact that is true or false.
#[must_use]
pub fn fact_traces(charter: &Charter) -> Vec<FactTrace> {
    let shared = Arc::new(charter.clone());
    let names = charter.facts.places().map(|(name, place)| (name.to_owned(), place));
    names
        .filter(|(name, _)| charter.fact_types.get(name) == Some(&FactType::Bool))
        .map(|(fact, place)| {
            let trace = search(&shared, &fact, place);
            FactTrace { fact, trace, events_max: EVENTS_MAX }
        })
        .collect()
}

fn search(charter: &Arc<Charter>, fact: &str, place: usize) -> Option<Vec<String>> {
    let session = example_session();
    let mut candidates: Vec<Event> = Vec::new();
    for pattern in charter.facts.patterns(place) {
        let found = pattern.verbs.iter().filter_map(|verb| event(pattern, *verb, &session, &BTreeMap::new())).next();
        if let Some(found) = found.filter(|f| !candidates.contains(f)) {
            candidates.push(found);
        }
    }
    candidates.truncate(CANDIDATES_MAX);
    // Breadth first: the first that is found is the shortest.
    let mut level: Vec<(Kernel, Vec<usize>)> = vec![(Kernel::new(Arc::clone(charter), session.clone()), Vec::new())];
    for length in 0..=EVENTS_MAX {
        let at_ns = u64::try_from(length + 1).unwrap_or(u64::MAX).saturating_mul(SECOND_NS);
        for (kernel, way) in &level {
            let is_true = candidates
                .iter()
                .any(|c| matches!(kernel.supposed_fact(fact, at_ns, &c.action).0, Some(Value::Bool(true))));
            if is_true {
                return Some(way.iter().filter_map(|n| candidates.get(*n)).map(|e| given(e, &session)).collect());
            }
        }
        if length == EVENTS_MAX {
            break;
        }
        let mut next = Vec::new();
        for (kernel, way) in &level {
            for (n, event) in candidates.iter().enumerate() {
                let mut kernel = kernel.clone();
                kernel.suppose(at_ns, event.phase, &event.action, event.ok, &event.outcome);
                next.push((kernel, way.iter().copied().chain([n]).collect()));
            }
        }
        level = next;
    }
    None
}
