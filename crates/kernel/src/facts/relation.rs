//! Finite relations over variables, each row with the entries that witness it.

use crate::action::Value;
use crate::session::Values;
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A variable of one fact. `$` variables have the lowest numbers, so that they lead every row.
pub(crate) type Var = u16;

/// Values of a relation's columns.
pub(crate) type Row = Vec<Value>;

/// Entries' numbers, ascending.
pub(crate) type Witnesses = SmallVec<[u64; 2]>;

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
        if is_true { Self::truth(Witnesses::new()) } else { Self::empty(Vec::new()) }
    }

    pub fn holds(&self) -> bool {
        !self.rows.is_empty()
    }

    /// All witnesses of all rows, the newest ones.
    pub fn witnesses(&self) -> Witnesses {
        self.rows.values().fold(Witnesses::new(), |all, more| merge(&all, more))
    }

    pub fn add(&mut self, row: Row, witnesses: Witnesses) {
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

    /// Only these columns, which it has.
    pub fn project_onto(&self, vars: &[Var]) -> Relation {
        let others: Vec<Var> = self.columns.iter().filter(|c| !vars.contains(c)).copied().collect();
        self.project_out(&others)
    }
}

/// Looks at the entries of a map by rows that agree with what is given and, as far as the columns that lead the rows
/// after those are the guard's, with a row of the guard; in order, until `see` says no. Entries that agree with no row of
/// the guard may be seen too: whoever gives one joins with it.
pub(crate) fn agreeing<'m, T>(
    map: &'m BTreeMap<Arc<Row>, T>,
    columns: &[Var],
    given: Option<Given>,
    guard: Option<&Relation>,
    mut see: impl FnMut(&'m Arc<Row>, &'m T) -> bool,
) {
    // Given columns lead, so that the rows that agree stand together.
    let mut lead: Row =
        given.map_or_else(Vec::new, |given| columns.iter().map_while(|c| given.get(c).map(|v| (*v).clone())).collect());
    let rest = columns.get(lead.len()..).unwrap_or_default();
    let guarded: Vec<Var> = match guard {
        Some(guard) => rest.iter().copied().take_while(|c| guard.columns.contains(c)).collect(),
        None => Vec::new(),
    };
    let leads: Vec<Row> = match guard.filter(|guard| !guarded.is_empty() && guard.rows.len() <= map.len()) {
        Some(guard) => {
            let at = columns_at(&guard.columns, &guarded);
            let distinct: BTreeSet<Row> = guard.rows.keys().map(|row| pick(row, &at)).collect();
            distinct.into_iter().map(|row| lead.iter().cloned().chain(row).collect()).collect()
        }
        None => vec![std::mem::take(&mut lead)],
    };
    for lead in leads {
        if lead.len() == columns.len() {
            if let Some((row, value)) = map.get_key_value(&lead)
                && !see(row, value)
            {
                return;
            }
            continue;
        }
        for (row, value) in map.range::<Row, _>(&lead..).take_while(|(row, _)| row.starts_with(&lead)) {
            if !see(row, value) {
                return;
            }
        }
    }
}

/// About how much memory a row takes.
pub(crate) fn row_bytes(row: &Row) -> usize {
    let of = |value: &Value| match value {
        Value::Bool(_) | Value::Long(_) => 0,
        Value::Str(text) => text.len(),
        Value::Strs(items) => items.iter().map(|item| item.len().saturating_add(24)).sum(),
    };
    row.iter().map(|value| of(value).saturating_add(32)).fold(96, usize::saturating_add)
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
    let is_whole = |list: &[u64]| list.len() <= WITNESSES_MAX && list.is_sorted_by(|x, y| x < y);
    match (a, b) {
        (only, []) | ([], only) if is_whole(only) => return Witnesses::from_slice(only),
        _ => {}
    }
    let mut all: Witnesses = a.iter().chain(b).copied().collect();
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
