//! What facts remember, apart from what they are compiled from: to be written down with a snapshot, and taken up again
//! by the facts of the same charter.
//!
//! INVARIANT: saving takes each part apart without `..`: what a part begins to remember must be put here to compile.

use super::check::Compiled;
use super::counter::Tally;
use super::course::Course;
use super::monitor::{Ended, Last, Node, Pending, Prev, Since};
use super::relation::Relation;
use super::store::Rows;
use super::{Facts, Monitor};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Each fact's memory, by its name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Memory {
    facts: BTreeMap<String, Kept>,
    is_uncertain: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Kept {
    /// In the order in which the formula's parts stand.
    parts: Vec<Part>,
    is_overflowed: bool,
    last_ns: u64,
}

/// What one part of a formula remembers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Part {
    Last(Relation),
    Once(Rows),
    Since(Rows, Ended),
    Prev(Option<u64>, Option<Pending>),
    Number(Tally),
}

impl Facts {
    /// What they remember.
    pub fn memory(&self) -> Memory {
        // Courses follow from the monitors.
        let Self { names, monitors, courses: _, watchers: _, is_uncertain } = self;
        let kept = |monitor: &Monitor| {
            let Monitor { compiled, dollars: _, keys_max: _, is_fleet: _, last_ns, is_overflowed } = monitor;
            let mut parts = Vec::new();
            match compiled {
                Compiled::Formula(node) => save(node, &mut parts),
                Compiled::Number(counter) => parts.push(Part::Number(counter.save())),
            }
            Kept { parts, is_overflowed: *is_overflowed, last_ns: *last_ns }
        };
        let facts = names.iter().zip(monitors).map(|(name, m)| (name.clone(), kept(m))).collect();
        Memory { facts, is_uncertain: *is_uncertain }
    }

    /// Takes up what facts of the same charter remembered.
    ///
    /// # Errors
    /// The name of a fact whose memory is not of this charter's fact; nothing of it can be used then.
    pub fn recall(&mut self, memory: Memory) -> Result<(), String> {
        let mut facts = memory.facts;
        for (name, monitor) in self.names.iter().zip(&mut self.monitors) {
            let kept = facts.remove(name).ok_or_else(|| name.clone())?;
            let mut parts = kept.parts.into_iter();
            let loaded = match (&mut monitor.compiled, parts.len()) {
                (Compiled::Formula(node), _) => load(node, &mut parts),
                (Compiled::Number(counter), _) => match parts.next() {
                    Some(Part::Number(tally)) => counter.load(tally),
                    _ => None,
                },
            };
            loaded.filter(|()| parts.next().is_none()).ok_or_else(|| name.clone())?;
            (monitor.is_overflowed, monitor.last_ns) = (kept.is_overflowed, kept.last_ns);
        }
        self.courses = self.monitors.iter().map(Course::of).collect();
        self.is_uncertain = memory.is_uncertain;
        facts.into_keys().next().map_or(Ok(()), Err)
    }
}

fn save(node: &Node, out: &mut Vec<Part>) {
    match node {
        Node::Atom { pattern: _, last, text: _ } => out.push(Part::Last(last.relation())),
        Node::Once { inner: _, store, text: _ } => out.push(Part::Once(store.save())),
        Node::Since(since) => {
            let Since { is_negated: _, left: _, guard: _, right: _, store, text: _, ended } = &**since;
            out.push(Part::Since(store.save(), ended.clone()));
        }
        Node::Prev(prev) => {
            let Prev { inner: _, window: _, text: _, attrs: _, behind_ns, pending } = &**prev;
            out.push(Part::Prev(*behind_ns, pending.clone()));
        }
        Node::Compare(counter, ..) => out.push(Part::Number(counter.save())),
        Node::Guard(_)
        | Node::And(..)
        | Node::AndNot(..)
        | Node::Or(..)
        | Node::Not(_)
        | Node::Exists(..)
        | Node::Filter(..) => {}
    }
    node.below().into_iter().for_each(|node| save(node, out));
}

/// Takes up the parts in the order in which they were saved; nothing where one is another's.
fn load(node: &mut Node, from: &mut impl Iterator<Item = Part>) -> Option<()> {
    match node {
        Node::Atom { last, pattern, .. } => match from.next()? {
            Part::Last(kept) if kept.columns == pattern.columns() => {
                *last = match last {
                    Last::Rows(_) => Last::Rows(kept),
                    Last::Entry(_) if !kept.holds() => Last::Entry(None),
                    Last::Entry(_) => Last::Entry(Some(*kept.witnesses().first()?)),
                }
            }
            _ => return None,
        },
        Node::Once { store, .. } => match from.next()? {
            Part::Once(rows) => store.load(rows)?,
            _ => return None,
        },
        Node::Since(since) => match from.next()? {
            Part::Since(rows, ended) => {
                since.store.load(rows)?;
                since.ended = ended;
            }
            _ => return None,
        },
        Node::Prev(prev) => match from.next()? {
            Part::Prev(behind_ns, pending) => (prev.behind_ns, prev.pending) = (behind_ns, pending),
            _ => return None,
        },
        Node::Compare(counter, ..) => match from.next()? {
            Part::Number(tally) => counter.load(tally)?,
            _ => return None,
        },
        Node::Guard(_)
        | Node::And(..)
        | Node::AndNot(..)
        | Node::Or(..)
        | Node::Not(_)
        | Node::Exists(..)
        | Node::Filter(..) => {}
    }
    node.below_mut().into_iter().try_for_each(|node| load(node, from))
}
