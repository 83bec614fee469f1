//! Numbers over matching events, by key: `count`, `sum`, `min` and `max`.

use super::monitor::{Query, Versus};
use super::pattern::{Occurrence, Pattern, compare};
use super::relation::{Relation, Row, Var, WITNESSES_MAX, Witnesses, agreeing, merge, row_bytes};
use super::syntax::{Aggregate, Cmp, Window};
use crate::action::Value;
use serde::{Deserialize, Serialize};
use smallvec::smallvec;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// An aggregate over matching events. Sums are exact: no history is long enough to leave 128 bits.
#[derive(Clone, Debug)]
pub(crate) struct Counter {
    pub aggregate: Aggregate,
    pub window: Window,
    pub pattern: Pattern,
    pub of: Option<&'static str>,
    pub text: String,
    /// Most events that one key keeps: a comparison with `n` can't tell `n + 1` from more.
    pub keep_max: Option<usize>,
    /// Comparisons of columns that are there for nothing else with what is given: all keys that pass count as one.
    versus: Vec<Versus>,
    groups: BTreeMap<Arc<Row>, Group>,
    /// The one group that there can be without columns, in the place of `groups` and `ages`.
    alone: Group,
    /// Each kept event's key by its time and entry, where the window has an end.
    ages: BTreeMap<(u64, u64), Arc<Row>>,
    bytes: usize,
}

/// One key's share.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Group {
    /// The events within the window, oldest first; only kept when the window has an end. For a `min` or `max` that starts
    /// now, only those that no later one outdoes.
    recent: VecDeque<Seen>,
    /// Over all events there were: what a window without end asks for.
    count: u64,
    sum: i128,
    min: i64,
    max: i64,
    witnesses: Witnesses,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Seen {
    at_ns: u64,
    seq: u64,
    value: i64,
    /// The sum of all values up to this one.
    sum: i128,
}

/// What a counter remembers: each key with its events, or with what they came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Tally(Vec<(Row, Kept)>);

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kept {
    Recent(Vec<(u64, u64, i64)>),
    /// The sum stands as text: JSON's numbers are narrower.
    All {
        count: u64,
        sum: String,
        min: i64,
        max: i64,
        witnesses: Witnesses,
    },
}

const EVENT_BYTES: usize = 112;

impl Counter {
    pub fn new(aggregate: Aggregate, window: Window, pattern: Pattern, of: Option<&'static str>, text: String) -> Self {
        Self {
            aggregate,
            window,
            pattern,
            of,
            text,
            keep_max: None,
            versus: Vec::new(),
            groups: BTreeMap::new(),
            alone: Group::default(),
            ages: BTreeMap::new(),
            bytes: 0,
        }
    }

    /// The same, where an attribute is compared with what is given.
    pub fn comparing(mut self, versus: Vec<Versus>) -> Self {
        self.versus = versus;
        self
    }

    pub fn versus(&self) -> &[Versus] {
        &self.versus
    }

    pub fn is_compared(&self) -> bool {
        !self.versus.is_empty()
    }

    /// The variables by whose values it counts.
    pub fn columns(&self) -> Vec<Var> {
        self.pattern.columns()
    }

    /// How many records it keeps.
    pub fn records(&self) -> usize {
        match self.window.max_ns {
            Some(_) => self.ages.len().saturating_add(self.alone.recent.len()),
            None => self.groups.len().saturating_add(usize::from(self.alone.count > 0)),
        }
    }

    /// About how much memory they take.
    pub fn bytes(&self) -> usize {
        let alone = match (self.alone.recent.len(), self.alone.count) {
            (0, 0) => 0,
            (0, _) => row_bytes(&Row::new()).saturating_add(EVENT_BYTES + 8 * WITNESSES_MAX),
            (kept, _) => row_bytes(&Row::new()).saturating_add(kept.saturating_mul(EVENT_BYTES)),
        };
        self.bytes.saturating_add(alone)
    }

    /// Whether there can be but one group: it counts by nothing.
    fn is_alone(&self) -> bool {
        self.pattern.binds.is_empty()
    }

    /// The one group, where anything is in it.
    fn alone(&self) -> Option<&Group> {
        Some(&self.alone).filter(|group| !group.recent.is_empty() || group.count > 0)
    }

    pub fn commit(&mut self, event: &Occurrence) {
        if !self.pattern.matches(event) {
            return;
        }
        let value = match self.of {
            Some(attr) => match event.values.get(attr) {
                Some(Value::Long(n)) => *n,
                // What has no such number adds nothing to a sum, a minimum or a maximum.
                _ => return,
            },
            None => 0,
        };
        if self.is_alone() {
            self.expire(event.at_ns);
            self.count_alone(event.at_ns, event.seq, value);
            return;
        }
        let row = self.pattern.row(event);
        let key = self.groups.get_key_value(&row).map(|(key, _)| Arc::clone(key));
        let key = key.unwrap_or_else(|| Arc::new(row));
        if self.window.max_ns.is_some() {
            self.expire(event.at_ns);
            self.keep(&key, event.at_ns, event.seq, value);
        } else {
            self.add(&key, event.seq, value);
        }
    }

    /// A window without end keeps what the events came to.
    fn add(&mut self, key: &Arc<Row>, seq: u64, value: i64) {
        if !self.groups.contains_key(key) {
            self.bytes = self.bytes.saturating_add(row_bytes(key)).saturating_add(EVENT_BYTES + 8 * WITNESSES_MAX);
        }
        self.groups.entry(Arc::clone(key)).or_default().add(self.aggregate, seq, value);
    }

    fn count_alone(&mut self, at_ns: u64, seq: u64, value: i64) {
        let (aggregate, starts_now) = (self.aggregate, self.window.min_ns == 0);
        if self.window.max_ns.is_some() {
            self.alone.keep(aggregate, starts_now, self.keep_max, Seen { at_ns, seq, value, sum: 0 }, |_| {});
        } else {
            self.alone.add(aggregate, seq, value);
        }
    }

    fn keep(&mut self, key: &Arc<Row>, at_ns: u64, seq: u64, value: i64) {
        let group = self.groups.entry(Arc::clone(key)).or_insert_with(|| {
            self.bytes = self.bytes.saturating_add(row_bytes(key));
            Group::default()
        });
        self.bytes = self.bytes.saturating_add(EVENT_BYTES);
        self.ages.insert((at_ns, seq), Arc::clone(key));
        let (ages, bytes) = (&mut self.ages, &mut self.bytes);
        let seen = Seen { at_ns, seq, value, sum: 0 };
        group.keep(self.aggregate, self.window.min_ns == 0, self.keep_max, seen, |gone| {
            ages.remove(&(gone.at_ns, gone.seq));
            *bytes = bytes.saturating_sub(EVENT_BYTES);
        });
    }

    /// Drops what no question can reach any more.
    pub fn expire(&mut self, now_ns: u64) {
        let Some(max_ns) = self.window.max_ns else { return };
        while self.alone.recent.front().is_some_and(|oldest| now_ns.saturating_sub(oldest.at_ns) > max_ns) {
            self.alone.recent.pop_front();
        }
        while let Some(((at_ns, seq), key)) = self.ages.first_key_value().map(|(at, key)| (*at, Arc::clone(key))) {
            if now_ns.saturating_sub(at_ns) <= max_ns {
                return;
            }
            self.ages.remove(&(at_ns, seq));
            self.bytes = self.bytes.saturating_sub(EVENT_BYTES);
            let Some(group) = self.groups.get_mut(&key) else { continue };
            group.recent.pop_front();
            if group.recent.is_empty() {
                self.groups.remove(&key);
                self.bytes = self.bytes.saturating_sub(row_bytes(&key));
            }
        }
    }

    /// The keys for which the comparison holds, with their witnesses: without the given columns. A key of which there
    /// is nothing counts 0, where all columns are given.
    pub fn compared(&self, cmp: Cmp, limit: i64, query: Query) -> Relation {
        if self.is_given(query) {
            let (number, witnesses) = self.at(query);
            return if cmp.holds(number, i128::from(limit)) { Relation::truth(witnesses) } else { Relation::of(false) };
        }
        let columns = self.columns();
        let lead = query.given.map_or(0, |given| columns.iter().take_while(|c| given.contains_key(c)).count());
        let mut out = Relation::empty(columns.get(lead..).unwrap_or_default().to_vec());
        agreeing(&self.groups, &columns, query.given, query.guard, |row, group| {
            if cmp.holds(group.number(self, query.now_ns), i128::from(limit)) {
                out.add(row.get(lead..).unwrap_or_default().to_vec(), group.witnesses(self, query.now_ns));
            }
            true
        });
        out
    }

    /// The number and its witnesses, for the key that is given.
    pub fn at(&self, query: Query) -> (i128, Witnesses) {
        let groups = self.groups_of(query);
        let number = self.combined(&groups, query);
        (number, groups.iter().fold(Witnesses::new(), |all, group| merge(&all, &group.witnesses(self, query.now_ns))))
    }

    /// The number alone.
    pub fn number(&self, query: Query) -> i128 {
        if self.is_alone() {
            return self.alone.number(self, query.now_ns);
        }
        if self.is_compared() {
            return self.combined(&self.groups_of(query), query);
        }
        let key: Option<Row> = self.pattern.binds.keys().map(|c| query.value(*c).cloned()).collect();
        key.and_then(|key| self.groups.get(&key)).map_or(0, |group| group.number(self, query.now_ns))
    }

    /// Until when so many are counted, seen from now, if they are at all: of one that counts by nothing, in a window that starts at 0.
    pub fn reached_until(&self, number: i64) -> Option<u64> {
        let Ok(number @ 1..) = usize::try_from(number) else { return (number <= 0).then_some(u64::MAX) };
        let Some(max_ns) = self.window.max_ns else {
            return (self.alone.count >= u64::try_from(number).ok()?).then_some(u64::MAX);
        };
        let recent = &self.alone.recent;
        let last_needed = recent.get(recent.len().checked_sub(number)?)?;
        Some(last_needed.at_ns.saturating_add(max_ns))
    }

    /// Whether the question says the values of all its variables.
    pub fn is_given(&self, query: Query) -> bool {
        let is_hidden = |c: &Var| self.versus.iter().any(|versus| versus.left == *c);
        self.pattern.binds.keys().all(|c| is_hidden(c) || query.value(*c).is_some())
    }

    /// The groups of the key that is given.
    fn groups_of(&self, query: Query) -> Vec<&Group> {
        if self.is_alone() {
            return self.alone().into_iter().collect();
        }
        let columns = self.columns();
        let mut out = Vec::new();
        agreeing(&self.groups, &columns, query.given, None, |row, group| {
            let left = |versus: &Versus| columns.iter().position(|c| *c == versus.left).and_then(|n| row.get(n));
            let passes = self.versus.iter().all(|versus| match (left(versus), query.value(versus.right)) {
                (Some(left), Some(right)) => compare(versus.cmp, left, right),
                _ => false,
            });
            if passes {
                out.push(group);
            }
            true
        });
        out
    }

    fn combined(&self, groups: &[&Group], query: Query) -> i128 {
        let numbers = groups.iter().filter(|g| g.has_any(self, query.now_ns)).map(|g| g.number(self, query.now_ns));
        match self.aggregate {
            Aggregate::Count | Aggregate::Sum => numbers.fold(0, i128::saturating_add),
            Aggregate::Min => numbers.min().unwrap_or_default(),
            Aggregate::Max => numbers.max().unwrap_or_default(),
        }
    }

    /// What it remembers.
    pub fn save(&self) -> Tally {
        let kept = |group: &Group| match self.window.max_ns {
            Some(_) => Kept::Recent(group.recent.iter().map(|s| (s.at_ns, s.seq, s.value)).collect()),
            None => Kept::All {
                count: group.count,
                sum: group.sum.to_string(),
                min: group.min,
                max: group.max,
                witnesses: group.witnesses.clone(),
            },
        };
        // The rest follows from the groups.
        let Self {
            aggregate: _,
            window: _,
            pattern: _,
            of: _,
            text: _,
            keep_max: _,
            versus: _,
            groups,
            alone: _,
            ages: _,
            bytes: _,
        } = self;
        let alone = self.alone().map(|group| (Row::new(), kept(group)));
        Tally(groups.iter().map(|(row, group)| (row.to_vec(), kept(group))).chain(alone).collect())
    }

    /// Takes up what such a counter remembered; nothing when it was another's.
    pub fn load(&mut self, tally: Tally) -> Option<()> {
        self.groups.clear();
        self.alone = Group::default();
        self.ages.clear();
        self.bytes = 0;
        for (row, kept) in tally.0 {
            if row.len() != self.pattern.binds.len() {
                return None;
            }
            let key = Arc::new(row);
            let is_alone = self.is_alone();
            match (kept, self.window.max_ns) {
                (Kept::Recent(events), Some(_)) => {
                    for (at_ns, seq, value) in events {
                        if is_alone {
                            self.count_alone(at_ns, seq, value);
                            continue;
                        }
                        self.keep(&key, at_ns, seq, value);
                    }
                }
                (Kept::All { count, sum, min, max, witnesses }, None) => {
                    let group = Group { recent: VecDeque::new(), count, sum: sum.parse().ok()?, min, max, witnesses };
                    if is_alone {
                        self.alone = group;
                        continue;
                    }
                    self.add(&key, 0, 0);
                    self.groups.insert(key, group);
                }
                _ => return None,
            }
        }
        Some(())
    }
}

impl Group {
    /// Counts an event where the window has no end.
    fn add(&mut self, aggregate: Aggregate, seq: u64, value: i64) {
        let is_first = self.count == 0;
        self.min = if is_first { value } else { self.min.min(value) };
        let is_least = self.min == value;
        self.max = if is_first { value } else { self.max.max(value) };
        let is_most = self.max == value;
        self.count = self.count.saturating_add(1);
        self.sum = self.sum.saturating_add(i128::from(value));
        match aggregate {
            Aggregate::Count | Aggregate::Sum => self.witnesses = merge(&self.witnesses, &[seq]),
            Aggregate::Min if is_least => self.witnesses = smallvec![seq],
            Aggregate::Max if is_most => self.witnesses = smallvec![seq],
            Aggregate::Min | Aggregate::Max => {}
        }
    }

    /// Keeps an event where the window has one; `drop` is told of those that it makes superfluous.
    fn keep(
        &mut self,
        aggregate: Aggregate,
        starts_now: bool,
        keep_max: Option<usize>,
        event: Seen,
        mut drop: impl FnMut(&Seen),
    ) {
        let is_outdone = |other: &Seen| match aggregate {
            _ if !starts_now => false,
            Aggregate::Min => other.value >= event.value,
            Aggregate::Max => other.value <= event.value,
            Aggregate::Count | Aggregate::Sum => false,
        };
        while let Some(last) = self.recent.back().copied().filter(is_outdone) {
            self.recent.pop_back();
            drop(&last);
        }
        self.sum = self.sum.saturating_add(i128::from(event.value));
        self.recent.push_back(Seen { sum: self.sum, ..event });
        while keep_max.is_some_and(|max| self.recent.len() > max) {
            let Some(first) = self.recent.pop_front() else { break };
            drop(&first);
        }
    }

    /// Whether any of its events is within the window.
    fn has_any(&self, counter: &Counter, now_ns: u64) -> bool {
        let (from, to) = self.within(counter, now_ns);
        counter.window.max_ns.is_none() || from < to
    }

    fn number(&self, counter: &Counter, now_ns: u64) -> i128 {
        if counter.window.max_ns.is_none() {
            return match counter.aggregate {
                Aggregate::Count => i128::from(self.count),
                Aggregate::Sum => self.sum,
                Aggregate::Min => i128::from(self.min),
                Aggregate::Max => i128::from(self.max),
            };
        }
        let (from, to) = self.within(counter, now_ns);
        let (Some(first), Some(last)) = (self.recent.get(from), to.checked_sub(1).and_then(|n| self.recent.get(n)))
        else {
            return 0;
        };
        if to <= from {
            return 0;
        }
        let values = || self.recent.range(from..to).map(|s| s.value);
        let least = |values: Option<i64>| i128::from(values.unwrap_or_default());
        match counter.aggregate {
            Aggregate::Count => i128::try_from(to.saturating_sub(from)).unwrap_or(i128::MAX),
            Aggregate::Sum => last.sum.saturating_sub(first.sum).saturating_add(i128::from(first.value)),
            // No later one outdoes the first.
            Aggregate::Min | Aggregate::Max if counter.window.min_ns == 0 => i128::from(first.value),
            Aggregate::Min => least(values().min()),
            Aggregate::Max => least(values().max()),
        }
    }

    fn witnesses(&self, counter: &Counter, now_ns: u64) -> Witnesses {
        if counter.window.max_ns.is_none() {
            return self.witnesses.clone();
        }
        let (from, to) = self.within(counter, now_ns);
        let within = || self.recent.range(from.min(to)..to);
        let newest: Witnesses = match counter.aggregate {
            Aggregate::Count | Aggregate::Sum => {
                within().skip(to.saturating_sub(from).saturating_sub(WITNESSES_MAX)).map(|s| s.seq).collect()
            }
            Aggregate::Min => within().min_by_key(|s| (s.value, s.seq)).map(|s| s.seq).into_iter().collect(),
            Aggregate::Max => within().max_by_key(|s| (s.value, s.seq)).map(|s| s.seq).into_iter().collect(),
        };
        merge(&newest, &[])
    }

    /// Which of the kept events are within the window. Oldest first: they stand together.
    fn within(&self, counter: &Counter, now_ns: u64) -> (usize, usize) {
        let age = |seen: &Seen| now_ns.saturating_sub(seen.at_ns);
        let is_past = |seen: &Seen| counter.window.max_ns.is_some_and(|max| age(seen) > max);
        let from = if self.recent.front().is_some_and(is_past) { self.recent.partition_point(is_past) } else { 0 };
        let to = match counter.window.min_ns {
            0 => self.recent.len(),
            min_ns => self.recent.partition_point(|s| age(s) >= min_ns),
        };
        (from, to)
    }
}
