//! Finite relations over variables, each row with the entries that witness it.

use crate::action::Value;
use crate::session::Values;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};

/// A variable of one fact. `$` variables have the lowest numbers, so that they lead every row.
pub(crate) type Var = u16;

/// Values of a relation's columns.
pub(crate) type Row = Vec<Value>;

/// Entries' numbers, ascending.
pub(crate) type Witnesses = Vec<u64>;

/// Most witnesses that are kept for one row: the newest.
pub(crate) const WITNESSES_MAX: usize = 64;

/// Rows over columns that are sorted by variable.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Relation {
    pub columns: Vec<Var>,
    #[serde(with = "pairs")]
    pub rows: BTreeMap<Row, Witnesses>,
    /// A join had more than [`ROWS_MAX`] rows: this is not all of it, and can't be believed.
    pub is_cut: bool,
}

/// Most rows of a join: two facts of many keys each must not multiply without end.
const ROWS_MAX: usize = 1 << 18;

/// What `$` variables stand for while a fact is asked: the values of the action now judged.
pub(crate) type Given<'a> = &'a BTreeMap<Var, &'a Value>;

impl Relation {
    pub fn empty(columns: Vec<Var>) -> Self {
        Self { columns, rows: BTreeMap::new(), is_cut: false }
    }

    /// The relation without columns that holds.
    pub fn truth(witnesses: Witnesses) -> Self {
        Self { columns: Vec::new(), rows: BTreeMap::from([(Vec::new(), witnesses)]), is_cut: false }
    }

    pub fn of(is_true: bool) -> Self {
        if is_true { Self::truth(Vec::new()) } else { Self::empty(Vec::new()) }
    }

    pub fn holds(&self) -> bool {
        !self.rows.is_empty()
    }

    /// All witnesses of all rows, the newest ones.
    pub fn witnesses(&self) -> Witnesses {
        self.rows.values().fold(Vec::new(), |all, more| merge(&all, more))
    }

    fn add(&mut self, row: Row, witnesses: Witnesses) {
        match self.rows.get_mut(&row) {
            Some(there) => *there = merge(there, &witnesses),
            None => {
                self.rows.insert(row, witnesses);
            }
        }
    }

    /// The rows that agree with what is given, without the given columns.
    pub fn restrict(&self, given: Given) -> Relation {
        let kept: Vec<usize> = positions(&self.columns, |c| !given.contains_key(c));
        let mut out = Relation { is_cut: self.is_cut, ..Relation::empty(pick(&self.columns, &kept)) };
        for (row, witnesses) in &self.rows {
            let agrees = self.columns.iter().zip(row).all(|(c, value)| given.get(c).is_none_or(|g| *g == value));
            if agrees {
                out.add(pick(row, &kept), witnesses.clone());
            }
        }
        out
    }

    /// The natural join.
    pub fn join(&self, other: &Relation) -> Relation {
        let shared: Vec<Var> = self.columns.iter().filter(|c| other.columns.contains(c)).copied().collect();
        let mine = columns_at(&self.columns, &shared);
        let theirs = columns_at(&other.columns, &shared);
        let mut columns: Vec<Var> = self.columns.iter().chain(&other.columns).copied().collect();
        columns.sort_unstable();
        columns.dedup();
        let mut index: BTreeMap<Row, Vec<(&Row, &Witnesses)>> = BTreeMap::new();
        for (row, witnesses) in &other.rows {
            index.entry(pick(row, &theirs)).or_default().push((row, witnesses));
        }
        let mut out = Relation { is_cut: self.is_cut || other.is_cut, ..Relation::empty(columns) };
        for (left, left_witnesses) in &self.rows {
            for (right, right_witnesses) in index.get(&pick(left, &mine)).into_iter().flatten() {
                if out.rows.len() >= ROWS_MAX {
                    out.is_cut = true;
                    return out;
                }
                let row = out.columns.iter().filter_map(|c| {
                    let from = |columns: &[Var], row: &Row| {
                        columns.iter().position(|x| x == c).and_then(|n| row.get(n).cloned())
                    };
                    from(&self.columns, left).or_else(|| from(&other.columns, right))
                });
                let row = row.collect();
                out.add(row, merge(left_witnesses, right_witnesses));
            }
        }
        out
    }

    /// The rows that no row of `other` agrees with; its columns are among ours.
    pub fn without(&self, other: &Relation) -> Relation {
        let at = columns_at(&self.columns, &other.columns);
        let rows = self.rows.iter().filter(|(row, _)| !other.rows.contains_key(&pick(row, &at)));
        Relation {
            columns: self.columns.clone(),
            rows: rows.map(|(r, w)| (r.clone(), w.clone())).collect(),
            is_cut: self.is_cut || other.is_cut,
        }
    }

    /// Both relations' rows; the columns are the same.
    pub fn union(mut self, other: &Relation) -> Relation {
        for (row, witnesses) in &other.rows {
            self.add(row.clone(), witnesses.clone());
        }
        self.is_cut |= other.is_cut;
        self
    }

    /// Without these columns.
    pub fn project_out(&self, vars: &[Var]) -> Relation {
        let kept = positions(&self.columns, |c| !vars.contains(c));
        let mut out = Relation { is_cut: self.is_cut, ..Relation::empty(pick(&self.columns, &kept)) };
        for (row, witnesses) in &self.rows {
            out.add(pick(row, &kept), witnesses.clone());
        }
        out
    }
}

/// Maps whose keys are no strings, as lists of pairs.
mod pairs {
    use super::{Row, Witnesses};
    use serde::{Deserialize, Deserializer, Serializer};
    use std::collections::BTreeMap;

    pub fn serialize<S: Serializer>(rows: &BTreeMap<Row, Witnesses>, to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(rows)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeMap<Row, Witnesses>, D::Error> {
        Ok(Vec::<(Row, Witnesses)>::deserialize(from)?.into_iter().collect())
    }
}

fn positions(columns: &[Var], keep: impl Fn(&Var) -> bool) -> Vec<usize> {
    columns.iter().enumerate().filter(|(_, c)| keep(c)).map(|(n, _)| n).collect()
}

pub(crate) fn columns_at(columns: &[Var], wanted: &[Var]) -> Vec<usize> {
    wanted.iter().filter_map(|w| columns.iter().position(|c| c == w)).collect()
}

pub(crate) fn pick<T: Clone>(from: &[T], at: &[usize]) -> Vec<T> {
    at.iter().filter_map(|n| from.get(*n).cloned()).collect()
}

/// Both, ascending, without repetition; the newest when there are too many.
pub(crate) fn merge(a: &[u64], b: &[u64]) -> Witnesses {
    let mut all: Vec<u64> = a.iter().chain(b).copied().collect();
    all.sort_unstable();
    all.dedup();
    let beyond = all.len().saturating_sub(WITNESSES_MAX);
    all.drain(..beyond);
    all
}

/// The `$` values of an action, or nothing when it lacks one of them.
pub(crate) fn given<'a>(names: &[&'static str], values: &'a Values<'a>) -> Option<BTreeMap<Var, &'a Value>> {
    // INVARIANT: `$` variables are numbered from 0 in the order of `names`.
    names.iter().zip(0..).map(|(name, var)| Some((var, values.get(name)?))).collect()
}

/// When a row held, with its witnesses: what `once` and `since` remember.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    at_ns: u64,
    witnesses: Witnesses,
}

/// Rows with the times at which they held. Keeps, for each row, only what its window can still ask for: the newest
/// record when the window starts at 0, the oldest when it has no end, else all within it.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    pub columns: Vec<Var>,
    window: super::syntax::Window,
    rows: BTreeMap<Row, VecDeque<Record>>,
    records: usize,
    /// It was given a relation that was not whole.
    is_cut: bool,
}

impl Store {
    pub fn new(columns: Vec<Var>, window: super::syntax::Window) -> Self {
        Self { columns, window, rows: BTreeMap::new(), records: 0, is_cut: false }
    }

    pub fn window(&self) -> super::syntax::Window {
        self.window
    }

    /// How many records it keeps.
    pub fn records(&self) -> usize {
        self.records
    }

    /// What it remembers.
    pub fn kept(&self) -> (&BTreeMap<Row, VecDeque<Record>>, bool) {
        (&self.rows, self.is_cut)
    }

    /// Takes up what such a store remembered.
    pub fn keep(&mut self, rows: BTreeMap<Row, VecDeque<Record>>, is_cut: bool) {
        self.records = rows.values().map(VecDeque::len).sum();
        (self.rows, self.is_cut) = (rows, is_cut);
    }

    /// Notes that what was decided on was not whole.
    pub fn mark(&mut self, is_cut: bool) {
        self.is_cut |= is_cut;
    }

    pub fn clear(&mut self) {
        self.rows.clear();
        self.records = 0;
    }

    pub fn insert(&mut self, relation: &Relation, at_ns: u64) {
        self.is_cut |= relation.is_cut;
        for (row, witnesses) in &relation.rows {
            let record = Record { at_ns, witnesses: witnesses.clone() };
            let kept = self.rows.entry(row.clone()).or_default();
            let before = kept.len();
            if self.window.min_ns == 0 {
                kept.clear();
                kept.push_back(record);
            } else if self.window.max_ns.is_none() {
                if kept.is_empty() {
                    kept.push_back(record);
                }
            } else {
                prune(kept, &self.window, at_ns);
                kept.push_back(record);
            }
            self.records = self.records.saturating_sub(before).saturating_add(kept.len());
        }
    }

    /// Drops what no question can reach any more.
    pub fn prune(&mut self, now_ns: u64) {
        let window = self.window;
        self.rows.retain(|_, kept| {
            prune(kept, &window, now_ns);
            !kept.is_empty()
        });
        self.records = self.rows.values().map(VecDeque::len).sum();
    }

    /// Keeps only the rows for which `keep` says so, given their values at `columns`.
    pub fn retain(&mut self, columns: &[Var], keep: impl Fn(&Row) -> bool) {
        let at = columns_at(&self.columns, columns);
        let mut dropped = 0;
        self.rows.retain(|row, kept| {
            let stays = keep(&pick(row, &at));
            dropped += if stays { 0 } else { kept.len() };
            stays
        });
        self.records = self.records.saturating_sub(dropped);
    }

    pub fn remove(&mut self, row: &Row) {
        if let Some(kept) = self.rows.remove(row) {
            self.records = self.records.saturating_sub(kept.len());
        }
    }

    /// Whether any row held within the window; nothing when that can't be believed.
    pub fn any(&self, now_ns: u64, given: Option<Given>) -> Option<bool> {
        if self.is_cut {
            return None;
        }
        let held = |kept: &VecDeque<Record>| kept.iter().any(|r| self.window.holds(now_ns.saturating_sub(r.at_ns)));
        let given = given?;
        // Given columns lead, so that the rows that agree stand together.
        let lead: Row = self.columns.iter().map_while(|c| given.get(c).map(|v| (*v).clone())).collect();
        if lead.len() == self.columns.len() {
            return Some(self.rows.get(&lead).is_some_and(held));
        }
        let agreeing = self.rows.range(lead.clone()..).take_while(|(row, _)| row.starts_with(&lead));
        Some(agreeing.into_iter().any(|(_, kept)| held(kept)))
    }

    /// The rows that held within the window, seen from `now_ns`.
    pub fn at(&self, now_ns: u64, given: Option<Given>) -> Relation {
        let held = |kept: &VecDeque<Record>| {
            let newest = kept.iter().rev().find(|r| self.window.holds(now_ns.saturating_sub(r.at_ns)));
            newest.map(|r| r.witnesses.clone())
        };
        let Some(given) = given else {
            let rows = self.rows.iter().filter_map(|(row, kept)| Some((row.clone(), held(kept)?)));
            return Relation { columns: self.columns.clone(), rows: rows.collect(), is_cut: self.is_cut };
        };
        // Given columns lead, so that the rows that agree stand together.
        let lead: Row = self.columns.iter().map_while(|c| given.get(c).map(|v| (*v).clone())).collect();
        let agreeing = self.rows.range(lead.clone()..).take_while(|(row, _)| row.starts_with(&lead));
        let columns = self.columns.get(lead.len()..).unwrap_or_default().to_vec();
        let mut out = Relation { is_cut: self.is_cut, ..Relation::empty(columns) };
        for (row, kept) in agreeing {
            if let Some(witnesses) = held(kept) {
                out.add(row.get(lead.len()..).unwrap_or_default().to_vec(), witnesses);
            }
        }
        out
    }
}

fn prune(kept: &mut VecDeque<Record>, window: &super::syntax::Window, now_ns: u64) {
    if let Some(max_ns) = window.max_ns {
        while kept.front().is_some_and(|r| now_ns.saturating_sub(r.at_ns) > max_ns) {
            kept.pop_front();
        }
    }
}
