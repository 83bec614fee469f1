//! Monitors: what of the history each fact needs, kept up to date event by event, in bounded space.
//!
//! Semantics: point-based past MFOTL (Basin, Klaedtke, Müller, Zălinescu, JACM 2015), where each event is a time-point.
//! A fact is asked at the last time-point, with ages counted from the moment of asking: `once[10m]` means within ten
//! minutes of the action now judged, however long ago the last event was.

use super::pattern::{Occurrence, Pattern};
use super::relation::{Given, Relation, Row, Store, Var, WITNESSES_MAX, Witnesses, merge};
use super::syntax::{Aggregate, Cmp, Window};
use crate::action::Value;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};

/// A compiled formula with its memory.
#[derive(Clone, Debug)]
pub(crate) enum Node {
    /// Holds at the last event, if that matched.
    Atom {
        pattern: Pattern,
        last: Relation,
        text: String,
    },
    And(Box<Node>, Box<Node>),
    /// The left, but for rows of the right, whose columns are among the left's.
    AndNot(Box<Node>, Box<Node>),
    Or(Box<Node>, Box<Node>),
    /// Of a formula without free variables.
    Not(Box<Node>),
    Exists(Vec<Var>, Box<Node>),
    Once {
        inner: Box<Node>,
        store: Store,
        text: String,
    },
    Since(Box<Since>),
    Prev(Box<Prev>),
    Compare(Box<Counter>, Cmp, i64),
}

/// `left since right`, or `not left since right`.
#[derive(Clone, Debug)]
pub(crate) struct Since {
    pub is_negated: bool,
    pub left: Node,
    pub right: Node,
    pub store: Store,
    /// The right side's text, the latest entries at which it held, and the latest that ended it: for explanations.
    pub text: String,
    pub last_right: Witnesses,
    pub last_broken: Witnesses,
}

#[derive(Clone, Debug)]
pub(crate) struct Prev {
    pub inner: Node,
    pub window: Window,
    pub before: Option<(u64, Relation)>,
    pub latest: Option<(u64, Relation)>,
    pub text: String,
}

/// An aggregate over matching events, by `$` key.
#[derive(Clone, Debug)]
pub(crate) struct Counter {
    pub aggregate: Aggregate,
    pub window: Window,
    pub pattern: Pattern,
    pub of: Option<&'static str>,
    pub text: String,
    pub groups: BTreeMap<Row, Group>,
    pub records: usize,
    /// Most events that one key keeps: a comparison with `n` can't tell `n + 1` from more.
    pub keep_max: Option<usize>,
    /// A sum left 64 bits: the number is not to be had any more.
    pub is_broken: bool,
}

/// One key's share of a counter.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Group {
    /// Time, entry and value of each event within the window; only kept when the window has an end.
    recent: VecDeque<(u64, u64, i64)>,
    /// Over all events there were: what a window without end asks for.
    count: i64,
    sum: i64,
    min: i64,
    max: i64,
    witnesses: Witnesses,
}

/// What is asked of a monitor.
#[derive(Clone, Copy)]
pub(crate) struct Query<'a> {
    pub now_ns: u64,
    /// The `$` values, when the question comes from outside and not from an enclosing temporal operator.
    pub given: Option<Given<'a>>,
}

impl Node {
    /// Takes the next time-point in.
    pub fn commit(&mut self, event: &Occurrence) {
        match self {
            Node::Atom { pattern, last, .. } => {
                if last.holds() || pattern.matches(event) {
                    *last = pattern.relation(event);
                }
            }
            Node::And(left, right) | Node::AndNot(left, right) | Node::Or(left, right) => {
                left.commit(event);
                right.commit(event);
            }
            Node::Not(inner) | Node::Exists(_, inner) => inner.commit(event),
            Node::Once { inner, store, .. } => {
                inner.commit(event);
                store.insert(&inner.at_event(event), event.at_ns);
            }
            Node::Since(since) => since.commit(event),
            Node::Prev(prev) => {
                prev.inner.commit(event);
                prev.before = prev.latest.take();
                prev.latest = Some((event.at_ns, prev.inner.at_event(event)));
            }
            Node::Compare(counter, ..) => counter.commit(event),
        }
    }

    fn at_event(&self, event: &Occurrence) -> Relation {
        self.at(Query { now_ns: event.at_ns, given: None })
    }

    /// The satisfying rows at the last time-point.
    pub fn at(&self, query: Query) -> Relation {
        let narrowed = |relation: &Relation| match query.given {
            Some(given) => relation.restrict(given),
            None => relation.clone(),
        };
        match self {
            Node::Atom { last, .. } => narrowed(last),
            Node::And(left, right) => {
                let left = left.at(query);
                if left.holds() { left.join(&right.at(query)) } else { left }
            }
            Node::AndNot(left, right) => {
                let left = left.at(query);
                if left.holds() { left.without(&right.at(query)) } else { left }
            }
            Node::Or(left, right) => left.at(query).union(&right.at(query)),
            Node::Not(inner) => {
                let inner = inner.at(query);
                Relation { is_cut: inner.is_cut, ..Relation::of(!inner.holds()) }
            }
            Node::Exists(vars, inner) => inner.at(query).project_out(vars),
            Node::Once { store, .. } => store.at(query.now_ns, query.given),
            Node::Since(since) => since.store.at(query.now_ns, query.given),
            Node::Prev(prev) => match (&prev.before, &prev.latest) {
                (Some((at_ns, relation)), Some((latest_ns, _))) => {
                    // `prev` compares two events; how long ago the last one was does not enter.
                    if prev.window.holds(latest_ns.saturating_sub(*at_ns)) {
                        narrowed(relation)
                    } else {
                        Relation::empty(Vec::new())
                    }
                }
                _ => Relation::empty(Vec::new()),
            },
            Node::Compare(counter, cmp, limit) => {
                let (value, witnesses) = counter.at(query);
                if cmp.holds(value, *limit) { Relation::truth(witnesses) } else { Relation::of(false) }
            }
        }
    }

    /// Whether it holds, where that is told without making rows: of formulas that join nothing.
    pub fn truth(&self, query: Query) -> Option<bool> {
        Some(match self {
            Node::Once { store, .. } => store.any(query.now_ns, query.given)?,
            Node::Since(since) => since.store.any(query.now_ns, query.given)?,
            Node::Not(inner) => !inner.truth(query)?,
            Node::Or(left, right) => {
                let (left, right) = (left.truth(query)?, right.truth(query)?);
                left || right
            }
            Node::Exists(_, inner) => inner.truth(query)?,
            Node::Compare(counter, cmp, limit) => cmp.holds(counter.number(query), *limit),
            Node::Atom { .. } | Node::And(..) | Node::AndNot(..) | Node::Prev(_) => return None,
        })
    }

    /// Whether an event that none of its atoms matches leaves it as it is, so that it need not be told of it.
    pub fn sleeps(&self) -> bool {
        self.is_unmoved() && self.is_remembered()
    }

    /// Such an event changes nothing that it keeps, but for what its atoms hold at the event itself.
    fn is_unmoved(&self) -> bool {
        match self {
            Node::Atom { .. } | Node::Compare(..) => true,
            Node::And(a, b) | Node::AndNot(a, b) | Node::Or(a, b) => a.is_unmoved() && b.is_unmoved(),
            Node::Not(inner) | Node::Exists(_, inner) => inner.is_unmoved(),
            Node::Once { inner, .. } => inner.is_unmoved() && inner.is_silent(),
            // What must hold at every event ends by such a one.
            Node::Since(s) if !s.is_negated => false,
            Node::Since(s) => s.left.is_unmoved() && s.left.is_silent() && s.right.is_unmoved() && s.right.is_silent(),
            Node::Prev(_) => false,
        }
    }

    /// At such an event it has no rows.
    fn is_silent(&self) -> bool {
        match self {
            Node::Atom { .. } => true,
            Node::And(a, b) => a.is_silent() || b.is_silent(),
            Node::AndNot(inner, _) | Node::Exists(_, inner) => inner.is_silent(),
            Node::Or(a, b) => a.is_silent() && b.is_silent(),
            _ => false,
        }
    }

    /// What it is asked for later does not depend on which event was the last.
    fn is_remembered(&self) -> bool {
        match self {
            Node::Atom { .. } | Node::Prev(_) => false,
            Node::And(a, b) | Node::AndNot(a, b) | Node::Or(a, b) => a.is_remembered() && b.is_remembered(),
            Node::Not(inner) | Node::Exists(_, inner) => inner.is_remembered(),
            Node::Once { .. } | Node::Since(_) | Node::Compare(..) => true,
        }
    }

    /// Whether it joins rows: only then can it come to more than is kept.
    pub fn joins(&self) -> bool {
        match self {
            Node::And(..) => true,
            Node::Atom { .. } | Node::Compare(..) => false,
            Node::AndNot(a, b) | Node::Or(a, b) => a.joins() || b.joins(),
            Node::Not(inner) | Node::Exists(_, inner) => inner.joins(),
            Node::Once { inner, .. } => inner.joins(),
            Node::Since(s) => s.left.joins() || s.right.joins(),
            Node::Prev(prev) => prev.inner.joins(),
        }
    }

    /// The patterns of all its atoms.
    pub fn patterns<'n>(&'n self, out: &mut Vec<&'n Pattern>) {
        match self {
            Node::Atom { pattern, .. } => out.push(pattern),
            Node::And(a, b) | Node::AndNot(a, b) | Node::Or(a, b) => {
                a.patterns(out);
                b.patterns(out);
            }
            Node::Not(inner) | Node::Exists(_, inner) => inner.patterns(out),
            Node::Once { inner, .. } => inner.patterns(out),
            Node::Since(s) => {
                s.left.patterns(out);
                s.right.patterns(out);
            }
            Node::Prev(prev) => prev.inner.patterns(out),
            Node::Compare(counter, ..) => out.push(&counter.pattern),
        }
    }

    /// How many records it keeps in all.
    pub fn records(&self) -> usize {
        match self {
            Node::Atom { .. } => 0,
            Node::And(a, b) | Node::AndNot(a, b) | Node::Or(a, b) => a.records().saturating_add(b.records()),
            Node::Not(inner) | Node::Exists(_, inner) => inner.records(),
            Node::Once { inner, store, .. } => inner.records().saturating_add(store.records()),
            Node::Since(s) => s.left.records().saturating_add(s.right.records()).saturating_add(s.store.records()),
            Node::Prev(prev) => {
                let kept = [&prev.before, &prev.latest].into_iter().flatten().map(|(_, r)| r.rows.len()).sum::<usize>();
                prev.inner.records().saturating_add(kept)
            }
            Node::Compare(counter, ..) => counter.records,
        }
    }

    /// Drops what no question can reach any more.
    pub fn prune(&mut self, now_ns: u64) {
        match self {
            Node::Atom { .. } => {}
            Node::And(a, b) | Node::AndNot(a, b) | Node::Or(a, b) => {
                a.prune(now_ns);
                b.prune(now_ns);
            }
            Node::Not(inner) | Node::Exists(_, inner) => inner.prune(now_ns),
            Node::Once { inner, store, .. } => {
                inner.prune(now_ns);
                store.prune(now_ns);
            }
            Node::Since(since) => {
                since.left.prune(now_ns);
                since.right.prune(now_ns);
                since.store.prune(now_ns);
            }
            Node::Prev(prev) => prev.inner.prune(now_ns),
            Node::Compare(counter, ..) => counter.prune(now_ns),
        }
    }

    /// Whether a number in it left 64 bits.
    pub fn is_broken(&self) -> bool {
        match self {
            Node::Atom { .. } => false,
            Node::And(a, b) | Node::AndNot(a, b) | Node::Or(a, b) => a.is_broken() || b.is_broken(),
            Node::Not(inner) | Node::Exists(_, inner) => inner.is_broken(),
            Node::Once { inner, .. } => inner.is_broken(),
            Node::Since(since) => since.left.is_broken() || since.right.is_broken(),
            Node::Prev(prev) => prev.inner.is_broken(),
            Node::Compare(counter, ..) => counter.is_broken,
        }
    }
}

impl Since {
    fn commit(&mut self, event: &Occurrence) {
        self.left.commit(event);
        self.right.commit(event);
        let left = self.left.at_event(event);
        let right = self.right.at_event(event);
        self.store.mark(left.is_cut);
        if self.is_negated {
            if left.holds() && self.store.records() > 0 {
                self.last_broken = left.witnesses();
            }
            if left.columns.is_empty() {
                if left.holds() {
                    self.store.clear();
                }
            } else if left.columns == self.store.columns {
                left.rows.keys().for_each(|row| self.store.remove(row));
            } else if left.holds() {
                self.store.retain(&left.columns, |row| !left.rows.contains_key(row));
            }
        } else if !left.holds() {
            if self.store.records() > 0 {
                self.last_broken = vec![event.seq];
            }
            self.store.clear();
        } else {
            self.store.retain(&left.columns, |row| left.rows.contains_key(row));
        }
        if right.holds() {
            self.last_right = right.witnesses();
            self.store.insert(&right, event.at_ns);
        }
    }
}

impl Counter {
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
        let group = self.groups.entry(self.pattern.row(event)).or_default();
        let is_first = group.count == 0;
        match self.window.max_ns {
            Some(max_ns) => {
                let before = group.recent.len();
                group.expire(event.at_ns, max_ns);
                group.recent.push_back((event.at_ns, event.seq, value));
                let surplus = self.keep_max.map_or(0, |max| group.recent.len().saturating_sub(max));
                for _ in 0..surplus {
                    group.drop_oldest();
                }
                self.records = self.records.saturating_sub(before).saturating_add(group.recent.len());
            }
            None => {
                group.min = if is_first { value } else { group.min.min(value) };
                group.max = if is_first { value } else { group.max.max(value) };
                self.records = self.groups.len();
            }
        }
        let Some(group) = self.groups.get_mut(&self.pattern.row(event)) else { return };
        if self.window.max_ns.is_none() {
            group.witnesses = merge(&group.witnesses, &[event.seq]);
        }
        group.count = group.count.saturating_add(1);
        match group.sum.checked_add(value) {
            Some(sum) => group.sum = sum,
            None => self.is_broken = true,
        }
    }

    /// The number and its witnesses.
    pub fn at(&self, query: Query) -> (i64, Witnesses) {
        match self.group(query) {
            Some(group) => (group.number(self, query.now_ns), group.witnesses(self, query.now_ns)),
            None => (0, Vec::new()),
        }
    }

    /// The number alone.
    pub fn number(&self, query: Query) -> i64 {
        self.group(query).map_or(0, |group| group.number(self, query.now_ns))
    }

    fn group(&self, query: Query) -> Option<&Group> {
        let empty = BTreeMap::new();
        let given = query.given.unwrap_or(&empty);
        let key: Option<Row> = self.pattern.binds.keys().map(|c| given.get(c).map(|v| (*v).clone())).collect();
        self.groups.get(&key?)
    }

    /// Takes up what such a counter remembered.
    pub fn take(&mut self, groups: BTreeMap<Row, Group>, is_broken: bool) {
        (self.groups, self.is_broken) = (groups, is_broken);
        self.records = match self.window.max_ns {
            Some(_) => self.groups.values().map(|g| g.recent.len()).sum(),
            None => self.groups.len(),
        };
    }

    pub fn prune(&mut self, now_ns: u64) {
        let Some(max_ns) = self.window.max_ns else { return };
        self.groups.retain(|_, group| {
            group.expire(now_ns, max_ns);
            !group.recent.is_empty()
        });
        self.records = self.groups.values().map(|g| g.recent.len()).sum();
    }
}

impl Group {
    fn expire(&mut self, now_ns: u64, max_ns: u64) {
        while self.recent.front().is_some_and(|(at_ns, ..)| now_ns.saturating_sub(*at_ns) > max_ns) {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        if let Some((_, _, value)) = self.recent.pop_front() {
            // Only tells whether the kept values still sum within 64 bits.
            self.sum = self.sum.saturating_sub(value);
        }
    }

    fn number(&self, counter: &Counter, now_ns: u64) -> i64 {
        if counter.window.max_ns.is_none() {
            return match counter.aggregate {
                Aggregate::Count => self.count,
                Aggregate::Sum => self.sum,
                Aggregate::Min => self.min,
                Aggregate::Max => self.max,
            };
        }
        let within = || self.within(counter, now_ns).map(|(_, _, value)| *value);
        match counter.aggregate {
            Aggregate::Count => {
                // Oldest first: what is within stands together.
                let age = |at: &u64| now_ns.saturating_sub(*at);
                let from =
                    self.recent.partition_point(|(at, ..)| counter.window.max_ns.is_some_and(|max| age(at) > max));
                let to = self.recent.partition_point(|(at, ..)| age(at) >= counter.window.min_ns);
                i64::try_from(to.saturating_sub(from)).unwrap_or(i64::MAX)
            }
            Aggregate::Sum => {
                // Their whole sum was checked; that of a part may still leave 64 bits where signs differ.
                let sum = within().map(i128::from).sum::<i128>();
                i64::try_from(sum).unwrap_or(if sum < 0 { i64::MIN } else { i64::MAX })
            }
            Aggregate::Min => within().min().unwrap_or_default(),
            Aggregate::Max => within().max().unwrap_or_default(),
        }
    }

    fn witnesses(&self, counter: &Counter, now_ns: u64) -> Witnesses {
        if counter.window.max_ns.is_none() {
            return self.witnesses.clone();
        }
        let newest = self.within(counter, now_ns).rev().take(WITNESSES_MAX).map(|(_, seq, _)| *seq).collect::<Vec<_>>();
        merge(&newest, &[])
    }

    fn within(&self, counter: &Counter, now_ns: u64) -> impl DoubleEndedIterator<Item = &(u64, u64, i64)> {
        let window = counter.window;
        self.recent.iter().filter(move |(at, ..)| window.holds(now_ns.saturating_sub(*at)))
    }
}
