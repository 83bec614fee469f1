//! Rows with the times at which they held: what `once` and `since` remember.

use super::relation::{Given, Relation, Row, Var, Witnesses, agreeing, columns_at, pick, row_bytes};
use super::syntax::Window;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// When a row held, with its witnesses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub at_ns: u64,
    pub witnesses: Witnesses,
}

impl Record {
    fn bytes(&self) -> usize {
        32 + 8 * self.witnesses.len()
    }
}

/// Keeps, for each row, only what its window can still ask for: the newest record when the window starts at 0, the oldest
/// when it has no end, else all within it. What has left the window is dropped with the next insertion, oldest first, so
/// that the work of an event is that of what it brings and what it pushes out.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    pub columns: Vec<Var>,
    window: Window,
    rows: BTreeMap<Arc<Row>, VecDeque<Record>>,
    /// The records of the one row that there can be without columns, in the place of `rows` and `ages`.
    alone: VecDeque<Record>,
    /// Each record's row by its time, where the window has an end.
    ages: BTreeSet<(u64, Arc<Row>)>,
    records: usize,
    bytes: usize,
    /// It was given a relation that was not whole.
    is_cut: bool,
}

/// About how much memory a row without columns takes: what [`row_bytes`] says of it.
const ROW_BYTES: usize = 96;

/// What a store remembers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Rows {
    rows: Vec<(Row, VecDeque<Record>)>,
    is_cut: bool,
}

impl Store {
    pub fn new(columns: Vec<Var>, window: Window) -> Self {
        Self {
            columns,
            window,
            rows: BTreeMap::new(),
            alone: VecDeque::new(),
            ages: BTreeSet::new(),
            records: 0,
            bytes: 0,
            is_cut: false,
        }
    }

    pub fn window(&self) -> Window {
        self.window
    }

    /// How many records it keeps.
    pub fn records(&self) -> usize {
        self.records
    }

    /// About how much memory they take.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub fn is_empty(&self) -> bool {
        self.rows.is_empty() && self.alone.is_empty()
    }

    /// Whether there can be but one row, the one without columns.
    pub fn is_alone(&self) -> bool {
        self.columns.is_empty()
    }

    /// When what held last did, if anything is remembered; nothing when that can't be believed. Only told of windows that start at
    /// 0, which keep the newest; without an end, any time that is not later.
    pub fn newest_ns(&self) -> Option<Option<u64>> {
        if self.is_cut {
            return None;
        }
        Some(match (self.is_alone(), self.window.max_ns) {
            (true, _) => self.alone.back().map(|record| record.at_ns),
            (false, Some(_)) => self.ages.last().map(|(at_ns, _)| *at_ns),
            (false, None) => (!self.rows.is_empty()).then_some(0),
        })
    }

    /// What it remembers.
    pub fn save(&self) -> Rows {
        // The rest follows from the rows.
        let Self { columns: _, window: _, rows, alone, ages: _, records: _, bytes: _, is_cut } = self;
        let mut rows: Vec<_> = rows.iter().map(|(row, kept)| (row.to_vec(), kept.clone())).collect();
        if !alone.is_empty() {
            rows.push((Row::new(), alone.clone()));
        }
        Rows { rows, is_cut: *is_cut }
    }

    /// Takes up what such a store remembered; nothing when it was another's.
    pub fn load(&mut self, saved: Rows) -> Option<()> {
        self.clear();
        self.is_cut = saved.is_cut;
        for (row, kept) in saved.rows {
            if row.len() != self.columns.len() {
                return None;
            }
            if self.is_alone() {
                kept.into_iter().for_each(|record| self.push_alone(record));
                continue;
            }
            let row = Arc::new(row);
            for record in kept {
                self.push(&row, record);
            }
        }
        Some(())
    }

    /// Notes that what was decided on was not whole.
    pub fn mark(&mut self, is_cut: bool) {
        self.is_cut |= is_cut;
    }

    pub fn clear(&mut self) {
        self.rows.clear();
        self.alone.clear();
        self.ages.clear();
        (self.records, self.bytes) = (0, 0);
    }

    pub fn insert(&mut self, relation: &Relation, at_ns: u64) {
        self.is_cut |= relation.is_cut;
        self.expire(at_ns);
        for (row, witnesses) in &relation.rows {
            if self.is_alone() {
                self.insert_alone(Record { at_ns, witnesses: witnesses.clone() });
                continue;
            }
            let there = self.rows.get_key_value(row).map(|(key, kept)| (Arc::clone(key), kept.back().map(|r| r.at_ns)));
            let is_there = there.is_some();
            let newest = there.as_ref().and_then(|(_, at)| *at);
            let key = there.map_or_else(|| Arc::new(row.clone()), |(key, _)| key);
            if self.window.min_ns == 0 {
                self.forget(&key);
            } else if self.window.max_ns.is_none() {
                if is_there {
                    continue;
                }
            } else if newest == Some(at_ns) {
                // As old as one that is there: it can be asked for exactly when that can.
                self.pop_newest(&key);
            }
            self.push(&key, Record { at_ns, witnesses: witnesses.clone() });
        }
    }

    /// The same for a formula that holds, of no columns.
    pub fn insert_truth(&mut self, witnesses: Witnesses, at_ns: u64) {
        self.expire(at_ns);
        self.insert_alone(Record { at_ns, witnesses });
    }

    fn insert_alone(&mut self, record: Record) {
        let newest = self.alone.back().map(|r| r.at_ns);
        if self.window.min_ns == 0 {
            while let Some(gone) = self.alone.pop_back() {
                self.dropped_alone(&gone);
            }
        } else if self.window.max_ns.is_none() {
            if newest.is_some() {
                return;
            }
        } else if newest == Some(record.at_ns)
            && let Some(gone) = self.alone.pop_back()
        {
            self.dropped_alone(&gone);
        }
        self.push_alone(record);
    }

    fn push_alone(&mut self, record: Record) {
        let row = if self.alone.is_empty() { ROW_BYTES } else { 0 };
        self.records = self.records.saturating_add(1);
        self.bytes = self.bytes.saturating_add(record.bytes()).saturating_add(row);
        self.alone.push_back(record);
    }

    fn dropped_alone(&mut self, record: &Record) {
        let row = if self.alone.is_empty() { ROW_BYTES } else { 0 };
        self.records = self.records.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(record.bytes()).saturating_sub(row);
    }

    /// Drops the one row; gives its newest witnesses.
    pub fn take_alone(&mut self) -> Option<Witnesses> {
        let newest = self.alone.pop_back()?;
        self.dropped_alone(&newest);
        while let Some(gone) = self.alone.pop_back() {
            self.dropped_alone(&gone);
        }
        Some(newest.witnesses)
    }

    /// The witnesses of the one row, where it held within the window; nothing when that can't be believed.
    pub fn alone(&self, now_ns: u64) -> Option<Option<Witnesses>> {
        (self.is_alone() && !self.is_cut).then(|| self.held(&self.alone, now_ns))
    }

    fn push(&mut self, key: &Arc<Row>, record: Record) {
        if self.window.max_ns.is_some() {
            self.ages.insert((record.at_ns, Arc::clone(key)));
        }
        self.records = self.records.saturating_add(1);
        self.bytes = self.bytes.saturating_add(record.bytes());
        let kept = self.rows.entry(Arc::clone(key)).or_default();
        if kept.is_empty() {
            self.bytes = self.bytes.saturating_add(row_bytes(key));
        }
        kept.push_back(record);
    }

    fn pop_newest(&mut self, key: &Arc<Row>) {
        let Some(record) = self.rows.get_mut(key).and_then(VecDeque::pop_back) else { return };
        self.dropped(key, &record);
    }

    /// Accounts for a record that is gone, and for its row when it was the last.
    fn dropped(&mut self, key: &Arc<Row>, record: &Record) {
        self.records = self.records.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(record.bytes());
        if self.window.max_ns.is_some() {
            self.ages.remove(&(record.at_ns, Arc::clone(key)));
        }
        if self.rows.get(key).is_some_and(VecDeque::is_empty) {
            self.rows.remove(key);
            self.bytes = self.bytes.saturating_sub(row_bytes(key));
        }
    }

    fn forget(&mut self, key: &Arc<Row>) {
        while self.rows.contains_key(key) {
            self.pop_newest(key);
        }
    }

    /// Drops what no question can reach any more.
    pub fn expire(&mut self, now_ns: u64) {
        let Some(max_ns) = self.window.max_ns else { return };
        while self.alone.front().is_some_and(|oldest| now_ns.saturating_sub(oldest.at_ns) > max_ns) {
            if let Some(gone) = self.alone.pop_front() {
                self.dropped_alone(&gone);
            }
        }
        while let Some((at_ns, key)) = self.ages.first().cloned() {
            if now_ns.saturating_sub(at_ns) <= max_ns {
                return;
            }
            match self.rows.get_mut(&key).and_then(VecDeque::pop_front) {
                Some(record) => self.dropped(&key, &record),
                None => {
                    self.ages.pop_first();
                }
            }
        }
    }

    /// Drops the rows that agree with one of these; gives them with their newest witnesses.
    pub fn remove_agreeing(&mut self, with: &Relation) -> Vec<(Row, Witnesses)> {
        if self.is_alone() {
            let gone = if with.holds() { self.take_alone() } else { None };
            return gone.into_iter().map(|held| (Row::new(), held)).collect();
        }
        let mut gone = Vec::new();
        agreeing(&self.rows, &self.columns, None, Some(with), |row, _| {
            gone.push(Arc::clone(row));
            true
        });
        let at = columns_at(&self.columns, &with.columns);
        gone.retain(|row| with.rows.contains_key(&pick(row, &at)));
        self.remove(&gone)
    }

    /// Keeps only the rows that agree with one of these; gives the others.
    pub fn retain_agreeing(&mut self, with: &Relation) -> Vec<(Row, Witnesses)> {
        if self.is_alone() {
            let gone = if with.holds() { None } else { self.take_alone() };
            return gone.into_iter().map(|held| (Row::new(), held)).collect();
        }
        let at = columns_at(&self.columns, &with.columns);
        let gone: Vec<Arc<Row>> =
            self.rows.keys().filter(|row| !with.rows.contains_key(&pick(row, &at))).cloned().collect();
        self.remove(&gone)
    }

    fn remove(&mut self, keys: &[Arc<Row>]) -> Vec<(Row, Witnesses)> {
        let mut out = Vec::new();
        for key in keys {
            let newest = self.rows.get(key).and_then(|kept| kept.back()).map(|r| r.witnesses.clone());
            out.push((key.to_vec(), newest.unwrap_or_default()));
            self.forget(key);
        }
        out
    }

    /// The rows themselves, at these of its columns, whenever they held: what an enclosing `since` can still lose.
    pub fn candidates(&self, columns: &[Var]) -> Relation {
        let at = columns_at(&self.columns, columns);
        let mut out = Relation::empty(columns.to_vec());
        for row in self.rows.keys() {
            out.rows.insert(pick(row, &at), Witnesses::new());
        }
        if !self.alone.is_empty() {
            out.rows.insert(Row::new(), Witnesses::new());
        }
        out
    }

    fn held(&self, kept: &VecDeque<Record>, now_ns: u64) -> Option<Witnesses> {
        let newest = kept.iter().rev().find(|r| self.window.holds(now_ns.saturating_sub(r.at_ns)));
        newest.map(|r| r.witnesses.clone())
    }

    /// Whether any row held within the window; nothing when that can't be believed.
    pub fn any(&self, now_ns: u64, given: Option<Given>) -> Option<bool> {
        if self.is_cut {
            return None;
        }
        if self.is_alone() {
            return Some(self.alone.iter().any(|r| self.window.holds(now_ns.saturating_sub(r.at_ns))));
        }
        let mut is_any = false;
        agreeing(&self.rows, &self.columns, given, None, |_, kept| {
            is_any = kept.iter().any(|r| self.window.holds(now_ns.saturating_sub(r.at_ns)));
            !is_any
        });
        Some(is_any)
    }

    /// The rows that held within the window, seen from `now_ns`, without the given columns. Those that no row of `guard`
    /// agrees with may be left out.
    pub fn at(&self, now_ns: u64, given: Option<Given>, guard: Option<&Relation>) -> Relation {
        let lead = given.map_or(0, |given| self.columns.iter().take_while(|c| given.contains_key(c)).count());
        let columns = self.columns.get(lead..).unwrap_or_default().to_vec();
        let mut out = Relation { is_cut: self.is_cut, ..Relation::empty(columns) };
        if let Some(witnesses) = self.held(&self.alone, now_ns) {
            out.rows.insert(Row::new(), witnesses);
        }
        agreeing(&self.rows, &self.columns, given, guard, |row, kept| {
            if let Some(witnesses) = self.held(kept, now_ns) {
                out.add(row.get(lead..).unwrap_or_default().to_vec(), witnesses);
            }
            true
        });
        out
    }
}
