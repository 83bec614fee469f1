//! What facts remember, apart from what they are compiled from: to be written down with a snapshot, and taken up again
//! by the facts of the same charter.
//!
//! INVARIANT: saving takes each part apart without `..`: what a part begins to remember must be put here to compile.

use super::check::Compiled;
use super::monitor::{Counter, Group, Node, Prev, Since};
use super::relation::{Record, Relation, Row, Store, Witnesses};
use super::{Facts, Monitor};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};

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
}

/// What one part of a formula remembers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Part {
    Last(Relation),
    Once(Rows),
    Since(Rows, Witnesses, Witnesses),
    Prev(Option<(u64, Relation)>, Option<(u64, Relation)>),
    Count(Vec<(Row, Group)>, bool),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Rows {
    rows: Vec<(Row, VecDeque<Record>)>,
    is_cut: bool,
}

impl Facts {
    /// What they remember.
    pub fn memory(&self) -> Memory {
        let Self { names, monitors, watchers: _, is_uncertain } = self;
        let kept = |monitor: &Monitor| {
            let Monitor { compiled, dollars: _, keys_max: _, is_overflowed } = monitor;
            let mut parts = Vec::new();
            match compiled {
                Compiled::Formula(node) => save(node, &mut parts),
                Compiled::Number(counter) => parts.push(save_counter(counter)),
            }
            Kept { parts, is_overflowed: *is_overflowed }
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
            let loaded = match &mut monitor.compiled {
                Compiled::Formula(node) => load(node, &mut parts),
                Compiled::Number(counter) => parts.next().and_then(|part| load_counter(counter, part)),
            };
            loaded.filter(|()| parts.next().is_none()).ok_or_else(|| name.clone())?;
            monitor.is_overflowed = kept.is_overflowed;
        }
        self.is_uncertain = memory.is_uncertain;
        facts.into_keys().next().map_or(Ok(()), Err)
    }
}

fn save(node: &Node, out: &mut Vec<Part>) {
    match node {
        Node::Atom { pattern: _, last, text: _ } => out.push(Part::Last(last.clone())),
        Node::And(a, b) | Node::AndNot(a, b) | Node::Or(a, b) => {
            save(a, out);
            save(b, out);
        }
        Node::Not(inner) | Node::Exists(_, inner) => save(inner, out),
        Node::Once { inner, store, text: _ } => {
            out.push(Part::Once(save_store(store)));
            save(inner, out);
        }
        Node::Since(s) => {
            let Since { is_negated: _, left, right, store, text: _, last_right, last_broken } = &**s;
            out.push(Part::Since(save_store(store), last_right.clone(), last_broken.clone()));
            save(left, out);
            save(right, out);
        }
        Node::Prev(prev) => {
            let Prev { inner, window: _, before, latest, text: _ } = &**prev;
            out.push(Part::Prev(before.clone(), latest.clone()));
            save(inner, out);
        }
        Node::Compare(counter, ..) => out.push(save_counter(counter)),
    }
}

fn load(node: &mut Node, from: &mut impl Iterator<Item = Part>) -> Option<()> {
    match node {
        Node::Atom { last, .. } => {
            let Part::Last(kept) = from.next()? else { return None };
            *last = kept;
        }
        Node::And(a, b) | Node::AndNot(a, b) | Node::Or(a, b) => {
            load(a, from)?;
            load(b, from)?;
        }
        Node::Not(inner) | Node::Exists(_, inner) => load(inner, from)?,
        Node::Once { inner, store, .. } => {
            let Part::Once(rows) = from.next()? else { return None };
            load_store(store, rows)?;
            load(inner, from)?;
        }
        Node::Since(s) => {
            let Part::Since(rows, right, broken) = from.next()? else { return None };
            load_store(&mut s.store, rows)?;
            (s.last_right, s.last_broken) = (right, broken);
            load(&mut s.left, from)?;
            load(&mut s.right, from)?;
        }
        Node::Prev(prev) => {
            let Part::Prev(before, latest) = from.next()? else { return None };
            let Prev { before: was, latest: is, inner, .. } = &mut **prev;
            (*was, *is) = (before, latest);
            load(inner, from)?;
        }
        Node::Compare(counter, ..) => load_counter(counter, from.next()?)?,
    }
    Some(())
}

fn save_store(store: &Store) -> Rows {
    let (rows, is_cut) = store.kept();
    Rows { rows: rows.iter().map(|(row, records)| (row.clone(), records.clone())).collect(), is_cut }
}

fn load_store(store: &mut Store, kept: Rows) -> Option<()> {
    let fits = kept.rows.iter().all(|(row, _)| row.len() == store.columns.len());
    fits.then(|| store.keep(kept.rows.into_iter().collect(), kept.is_cut))
}

fn save_counter(counter: &Counter) -> Part {
    // How many records there are follows from the groups.
    let Counter { aggregate: _, window: _, pattern: _, of: _, text: _, groups, records: _, keep_max: _, is_broken } =
        counter;
    let groups = groups.iter().map(|(row, group)| (row.clone(), group.clone())).collect();
    Part::Count(groups, *is_broken)
}

fn load_counter(counter: &mut Counter, part: Part) -> Option<()> {
    let Part::Count(groups, is_broken) = part else { return None };
    counter.take(groups.into_iter().collect(), is_broken);
    Some(())
}
