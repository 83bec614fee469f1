//! Monitors: what of the history each fact needs, kept up to date event by event, in bounded space.
//!
//! Semantics: point-based past MFOTL (Basin, Klaedtke, Müller, Zălinescu, JACM 2015), where each event is a time-point.
//! A fact is asked at the last time-point, with ages counted from the moment of asking: `once[10m]` means within ten
//! minutes of the action now judged, however long ago the last event was.

use super::counter::Counter;
use super::pattern::{Occurrence, Pattern, Seen, compare};
use super::relation::{Given, Relation, Row, Var, Witnesses, merge, pick};
use super::store::Store;
use super::syntax::{Cmp, Phase, Window};
use crate::action::Value;
use crate::vocabulary::Verb;
use serde::{Deserialize, Serialize};
use smallvec::{SmallVec, smallvec};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// A compiled formula with its memory.
#[derive(Clone, Debug)]
pub(crate) enum Node {
    /// Holds at the last event, if that matched.
    Atom {
        pattern: Pattern,
        last: Last,
        text: String,
    },
    /// The rows that are asked about, at these of their columns: what is negated needs something to be taken from.
    Guard(Vec<Var>),
    And(Box<Node>, Box<Node>),
    /// The left, but for rows of the right, whose columns are among the left's.
    AndNot(Box<Node>, Box<Node>),
    Or(Box<Node>, Box<Node>),
    /// Of a formula without free variables.
    Not(Box<Node>),
    Exists(Vec<Var>, Box<Node>),
    /// The rows that pass, without the columns that were only there to be compared.
    Filter(Box<Node>, Vec<Versus>),
    Once {
        inner: Box<Node>,
        store: Store,
        text: String,
    },
    Since(Box<Since>),
    Prev(Box<Prev>),
    Compare(Box<Counter>, Cmp, i64),
}

/// What an atom bound at the last event, if it matched.
#[derive(Clone, Debug)]
pub(crate) enum Last {
    Rows(Relation),
    /// It binds nothing: the event's entry says all.
    Entry(Option<u64>),
}

impl Last {
    pub fn new(pattern: &Pattern) -> Self {
        if pattern.binds.is_empty() { Last::Entry(None) } else { Last::Rows(Relation::empty(pattern.columns())) }
    }

    pub fn relation(&self) -> Relation {
        match self {
            Last::Rows(rows) => rows.clone(),
            Last::Entry(Some(seq)) => Relation::truth(smallvec![*seq]),
            Last::Entry(None) => Relation::of(false),
        }
    }

    fn note(&mut self, pattern: &Pattern, event: &Occurrence) {
        let is_match = pattern.matches(event);
        match self {
            Last::Entry(entry) => *entry = is_match.then_some(event.seq),
            Last::Rows(rows) if is_match => *rows = pattern.relation(event),
            Last::Rows(rows) => rows.rows.clear(),
        }
    }
}

/// A comparison of a column that is there for nothing else with another, or with what is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Versus {
    pub left: Var,
    pub cmp: Cmp,
    pub right: Var,
}

/// `left since right`, or `not left since right`.
#[derive(Clone, Debug)]
pub(crate) struct Since {
    pub is_negated: bool,
    pub left: Node,
    /// Columns that `left` wants to be asked about.
    pub guard: Vec<Var>,
    pub right: Node,
    pub store: Store,
    /// The right side's text, and what ended rows of late: for explanations.
    pub text: String,
    pub ended: Ended,
}

/// Rows that held and were ended, with the entries that made them hold and those that ended them: the latest ones only.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ended(VecDeque<(Row, Witnesses, Witnesses)>);

/// Most ended rows that are kept: what ended the others can still be read in the record.
const ENDED_MAX: usize = 256;

/// `prev inner`. The formula is told of each event only when the next one comes, so that it stands where it did before.
#[derive(Clone, Debug)]
pub(crate) struct Prev {
    pub inner: Node,
    pub window: Window,
    pub text: String,
    /// The attributes that `inner` reads.
    pub attrs: BTreeSet<&'static str>,
    /// When the event was that `inner` was told of last.
    pub behind_ns: Option<u64>,
    pub pending: Option<Pending>,
}

/// An event that was put off.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Pending {
    phase: Phase,
    verb: String,
    values: BTreeMap<String, Value>,
    seq: u64,
    at_ns: u64,
}

/// What is asked of a monitor.
#[derive(Clone, Copy, Default)]
pub(crate) struct Query<'a> {
    pub now_ns: u64,
    /// The `$` values, when the question comes from outside and not from an enclosing temporal operator.
    pub given: Option<Given<'a>>,
    /// The rows that are asked about; others may be left out of the answer.
    pub guard: Option<&'a Relation>,
}

impl<'a> Query<'a> {
    /// What a variable stands for, where that is given.
    pub fn value(&self, var: Var) -> Option<&'a Value> {
        self.given.and_then(|given| given.get(&var).copied())
    }
}

impl Node {
    /// Takes the next time-point in.
    pub fn commit(&mut self, event: &Occurrence) {
        match self {
            Node::Atom { pattern, last, .. } => last.note(pattern, event),
            Node::And(left, right) | Node::AndNot(left, right) | Node::Or(left, right) => {
                left.commit(event);
                right.commit(event);
            }
            Node::Not(inner) | Node::Exists(_, inner) | Node::Filter(inner, _) => inner.commit(event),
            Node::Once { inner, store, .. } => {
                inner.commit(event);
                remember(inner, store, event);
            }
            Node::Since(since) => since.commit(event),
            Node::Prev(prev) => prev.commit(event),
            Node::Compare(counter, ..) => counter.commit(event),
            Node::Guard(_) => {}
        }
    }

    /// The satisfying rows at the last time-point.
    pub fn at(&self, query: Query) -> Relation {
        match self {
            Node::Atom { last, .. } => match (last, query.given) {
                (Last::Rows(rows), Some(given)) => rows.restrict(given),
                (last, _) => last.relation(),
            },
            Node::Guard(columns) => match query.guard {
                Some(guard) => guard.project_onto(columns),
                None => Relation::empty(columns.clone()),
            },
            Node::And(left, right) => {
                let left = left.at(query);
                if left.holds() { left.join(&right.at_rows(&left, query)) } else { left }
            }
            Node::AndNot(left, right) => {
                let left = left.at(query);
                if left.holds() { left.without(&right.at_rows(&left, query)) } else { left }
            }
            Node::Or(left, right) => left.at(query).union(&right.at(query)),
            Node::Not(inner) => {
                let inner = inner.at(query);
                Relation { is_cut: inner.is_cut, ..Relation::of(!inner.holds()) }
            }
            Node::Exists(vars, inner) => inner.at(query).project_out(vars),
            Node::Filter(inner, tests) => filter(&inner.at(query), tests, query),
            Node::Once { store, .. } => store.at(query.now_ns, query.given, query.guard),
            Node::Since(since) => since.store.at(query.now_ns, query.given, query.guard),
            Node::Prev(prev) => match prev.query(query) {
                Some(query) => prev.inner.at(query),
                None => Relation::empty(Vec::new()),
            },
            Node::Compare(counter, cmp, limit) => counter.compared(*cmp, *limit, query),
        }
    }

    /// The satisfying rows, of those that agree with these.
    pub fn at_rows(&self, rows: &Relation, query: Query) -> Relation {
        match query.guard {
            Some(outer) if outer.columns.iter().any(|c| !rows.columns.contains(c)) => {
                self.at(Query { guard: Some(&rows.join(outer)), ..query })
            }
            _ => self.at(Query { guard: Some(rows), ..query }),
        }
    }

    /// The witnesses of a formula without columns where it holds, told without making rows; nothing where that can't be.
    fn closed(&self, query: Query) -> Option<Option<Witnesses>> {
        Some(match self {
            Node::Atom { last: Last::Entry(entry), .. } => entry.map(|seq| smallvec![seq]),
            Node::Not(inner) => match inner.closed(query)? {
                Some(_) => None,
                None => Some(Witnesses::new()),
            },
            Node::And(left, right) => match left.closed(query)? {
                Some(left) => right.closed(query)?.map(|right| merge(&left, &right)),
                None => None,
            },
            Node::AndNot(left, right) => match left.closed(query)? {
                Some(left) => match right.closed(query)? {
                    Some(_) => None,
                    None => Some(left),
                },
                None => None,
            },
            Node::Or(left, right) => match (left.closed(query)?, right.closed(query)?) {
                (Some(left), Some(right)) => Some(merge(&left, &right)),
                (left, right) => left.or(right),
            },
            Node::Once { store, .. } => store.alone(query.now_ns)?,
            Node::Since(since) => since.store.alone(query.now_ns)?,
            _ => return None,
        })
    }

    /// Whether it holds, where that is told without making rows: of formulas that join nothing.
    pub fn truth(&self, query: Query) -> Option<bool> {
        Some(match self {
            Node::Atom { last: Last::Entry(entry), .. } => entry.is_some(),
            Node::Once { store, .. } => store.any(query.now_ns, query.given)?,
            Node::Since(since) => since.store.any(query.now_ns, query.given)?,
            Node::Not(inner) => !inner.truth(query)?,
            Node::Or(left, right) => {
                let (left, right) = (left.truth(query)?, right.truth(query)?);
                left || right
            }
            Node::Exists(_, inner) => inner.truth(query)?,
            Node::Compare(counter, cmp, limit) if counter.is_given(query) => {
                cmp.holds(counter.number(query), i128::from(*limit))
            }
            Node::And(left, right) if left.is_closed(query) && right.is_closed(query) => {
                left.truth(query)? && right.truth(query)?
            }
            _ => return None,
        })
    }

    /// Whether all its columns are given, so that it is one row or none.
    fn is_closed(&self, query: Query) -> bool {
        let given = |columns: &[Var]| columns.iter().all(|c| query.given.is_some_and(|given| given.contains_key(c)));
        match self {
            Node::Once { store, .. } => given(&store.columns),
            Node::Since(since) => given(&since.store.columns),
            Node::Not(_) => true,
            Node::Compare(counter, ..) => counter.is_given(query),
            Node::And(a, b) | Node::Or(a, b) => a.is_closed(query) && b.is_closed(query),
            _ => false,
        }
    }

    /// The formulas right below.
    pub fn below(&self) -> SmallVec<[&Node; 2]> {
        match self {
            Node::Atom { .. } | Node::Guard(_) | Node::Compare(..) => SmallVec::new(),
            Node::And(a, b) | Node::AndNot(a, b) | Node::Or(a, b) => smallvec![&**a, &**b],
            Node::Not(inner) | Node::Exists(_, inner) | Node::Filter(inner, _) | Node::Once { inner, .. } => {
                smallvec![&**inner]
            }
            Node::Since(since) => smallvec![&since.left, &since.right],
            Node::Prev(prev) => smallvec![&prev.inner],
        }
    }

    /// The same, to change them.
    pub fn below_mut(&mut self) -> SmallVec<[&mut Node; 2]> {
        match self {
            Node::Atom { .. } | Node::Guard(_) | Node::Compare(..) => SmallVec::new(),
            Node::And(a, b) | Node::AndNot(a, b) | Node::Or(a, b) => SmallVec::from_buf([&mut **a, &mut **b]),
            Node::Not(inner) | Node::Exists(_, inner) | Node::Filter(inner, _) | Node::Once { inner, .. } => {
                smallvec![&mut **inner]
            }
            Node::Since(since) => SmallVec::from_buf([&mut since.left, &mut since.right]),
            Node::Prev(prev) => smallvec![&mut prev.inner],
        }
    }

    /// Whether an event that none of its atoms matches leaves it as it is, so that it need not be told of it.
    pub fn sleeps(&self) -> bool {
        self.is_unmoved() && self.is_remembered()
    }

    /// Such an event changes nothing that it keeps, but for what its atoms hold at the event itself.
    fn is_unmoved(&self) -> bool {
        match self {
            Node::Once { inner, .. } => inner.is_unmoved() && inner.is_silent(),
            // What must hold at every event ends by such a one.
            Node::Since(s) if !s.is_negated => false,
            Node::Since(s) => s.left.is_unmoved() && s.left.is_silent() && s.right.is_unmoved() && s.right.is_silent(),
            Node::Prev(_) => false,
            _ => self.below().iter().all(|node| node.is_unmoved()),
        }
    }

    /// At such an event it has no rows.
    fn is_silent(&self) -> bool {
        match self {
            Node::Atom { .. } => true,
            Node::And(a, b) => a.is_silent() || b.is_silent(),
            Node::AndNot(inner, _) | Node::Exists(_, inner) | Node::Filter(inner, _) => inner.is_silent(),
            Node::Or(a, b) => a.is_silent() && b.is_silent(),
            _ => false,
        }
    }

    /// What it is asked for later does not depend on which event was the last.
    fn is_remembered(&self) -> bool {
        match self {
            Node::Atom { .. } | Node::Prev(_) => false,
            Node::Once { .. } | Node::Since(_) | Node::Compare(..) => true,
            _ => self.below().iter().all(|node| node.is_remembered()),
        }
    }

    /// Whether it joins rows: only then can it come to more than is kept.
    pub fn joins(&self) -> bool {
        matches!(self, Node::And(..)) || self.below().iter().any(|node| node.joins())
    }

    /// The patterns of all its atoms.
    pub fn patterns<'n>(&'n self, out: &mut Vec<&'n Pattern>) {
        match self {
            Node::Atom { pattern, .. } => out.push(pattern),
            Node::Compare(counter, ..) => out.push(&counter.pattern),
            _ => self.below().into_iter().for_each(|node| node.patterns(out)),
        }
    }

    /// The numbers that its counts are compared with.
    pub fn limits(&self, out: &mut Vec<i64>) {
        match self {
            Node::Compare(_, _, limit) => out.push(*limit),
            _ => self.below().into_iter().for_each(|node| node.limits(out)),
        }
    }

    /// The attributes that its atoms and numbers read.
    pub fn attrs(&self, out: &mut BTreeSet<&'static str>) {
        match self {
            Node::Atom { pattern, .. } => out.extend(pattern.attrs()),
            Node::Compare(counter, ..) => out.extend(counter.pattern.attrs().chain(counter.of)),
            _ => self.below().into_iter().for_each(|node| node.attrs(out)),
        }
    }

    /// How many records it keeps in all, and about how many bytes they take.
    pub fn size(&self) -> (usize, usize) {
        let own = match self {
            Node::Once { store, .. } => (store.records(), store.bytes()),
            Node::Since(s) => (s.store.records(), s.store.bytes()),
            Node::Compare(counter, ..) => (counter.records(), counter.bytes()),
            _ => (0, 0),
        };
        self.below().into_iter().map(Node::size).fold(own, |a, b| (a.0.saturating_add(b.0), a.1.saturating_add(b.1)))
    }

    /// Drops what no question can reach any more.
    pub fn expire(&mut self, now_ns: u64) {
        match self {
            Node::Once { store, .. } => store.expire(now_ns),
            Node::Since(since) => since.store.expire(now_ns),
            Node::Compare(counter, ..) => counter.expire(now_ns),
            // It stands where it did before.
            Node::Prev(_) => return,
            _ => {}
        }
        self.below_mut().into_iter().for_each(|node| node.expire(now_ns));
    }
}

/// The rows that pass all tests, without the columns that these compare.
fn filter(relation: &Relation, tests: &[Versus], query: Query) -> Relation {
    let value = |row: &Row, var: Var| {
        let there = relation.columns.iter().position(|c| *c == var).and_then(|n| row.get(n).cloned());
        there.or_else(|| query.value(var).cloned())
    };
    let passes = |row: &Row| {
        tests.iter().all(|test| match (value(row, test.left), value(row, test.right)) {
            (Some(left), Some(right)) => compare(test.cmp, &left, &right),
            _ => false,
        })
    };
    let kept: Vec<usize> = relation
        .columns
        .iter()
        .enumerate()
        .filter(|(_, c)| tests.iter().all(|test| test.left != **c))
        .map(|(n, _)| n)
        .collect();
    let mut out = Relation { is_cut: relation.is_cut, ..Relation::empty(pick(&relation.columns, &kept)) };
    for (row, witnesses) in relation.rows.iter().filter(|(row, _)| passes(row)) {
        out.add(pick(row, &kept), witnesses.clone());
    }
    out
}

impl Since {
    fn commit(&mut self, event: &Occurrence) {
        self.left.commit(event);
        self.right.commit(event);
        self.store.expire(event.at_ns);
        if !self.store.is_empty() {
            let query = Query { now_ns: event.at_ns, ..Query::default() };
            let closed = if self.store.is_alone() && self.guard.is_empty() { self.left.closed(query) } else { None };
            match closed {
                Some(by) => self.end_alone(by, event.seq),
                None => self.end(query, event.seq),
            }
        }
        remember(&self.right, &mut self.store, event);
    }

    /// Ends what the left side ends.
    fn end(&mut self, query: Query, seq: u64) {
        let left = if self.guard.is_empty() {
            self.left.at(query)
        } else {
            self.left.at(Query { guard: Some(&self.store.candidates(&self.guard)), ..query })
        };
        self.store.mark(left.is_cut);
        let gone = match (self.is_negated, left.holds()) {
            (true, false) => Vec::new(),
            (true, true) => self.store.remove_agreeing(&left),
            (false, _) => self.store.retain_agreeing(&left),
        };
        let unseen = gone.len().saturating_sub(ENDED_MAX);
        for (row, held) in gone.into_iter().skip(unseen) {
            let by = if self.is_negated { ended_by(&left, &self.store.columns, &row) } else { smallvec![seq] };
            self.ended.note(row, held, by);
        }
    }

    /// The same of the one row that there is without columns; `left`: its witnesses, where it holds.
    fn end_alone(&mut self, left: Option<Witnesses>, seq: u64) {
        let by = match (self.is_negated, left) {
            (true, Some(by)) => by,
            (false, None) => smallvec![seq],
            _ => return,
        };
        if let Some(held) = self.store.take_alone() {
            self.ended.note(Row::new(), held, by);
        }
    }
}

/// Takes into the store what the formula that it remembers says at an event.
fn remember(inner: &Node, store: &mut Store, event: &Occurrence) {
    let query = Query { now_ns: event.at_ns, ..Query::default() };
    match if store.is_alone() { inner.closed(query) } else { None } {
        Some(Some(witnesses)) => store.insert_truth(witnesses, event.at_ns),
        Some(None) => store.expire(event.at_ns),
        None => store.insert(&inner.at(query), event.at_ns),
    }
}

/// The witnesses of the row of `left` that agrees with this one.
fn ended_by(left: &Relation, columns: &[Var], row: &Row) -> Witnesses {
    let at = super::relation::columns_at(columns, &left.columns);
    left.rows.get(&pick(row, &at)).cloned().unwrap_or_default()
}

impl Ended {
    fn note(&mut self, row: Row, held: Witnesses, by: Witnesses) {
        self.0.retain(|(other, ..)| *other != row);
        self.0.push_back((row, held, by));
        if self.0.len() > ENDED_MAX {
            self.0.pop_front();
        }
    }

    /// What made the latest of the rows that agree with what is given hold, and what ended it.
    pub fn latest(&self, columns: &[Var], query: Query) -> Option<(&Witnesses, &Witnesses)> {
        let agrees = |row: &Row| {
            let given = |c: &Var| query.value(*c);
            columns.iter().zip(row).all(|(c, value)| given(c).is_none_or(|wanted| wanted == value))
        };
        self.0.iter().rev().find(|(row, ..)| agrees(row)).map(|(_, held, by)| (held, by))
    }
}

impl Prev {
    fn commit(&mut self, event: &Occurrence) {
        if let Some(pending) = self.pending.take()
            && let Some(verb) = Verb::named(&pending.verb)
        {
            let Pending { phase, values, seq, at_ns, .. } = &pending;
            let event = Occurrence { phase: *phase, verb, values: Seen::Kept(values), seq: *seq, at_ns: *at_ns };
            self.inner.commit(&event);
            self.behind_ns = Some(*at_ns);
        }
        let value = |name: &&str| event.values.get(name).map(|value| ((*name).to_owned(), value.clone()));
        self.pending = Some(Pending {
            phase: event.phase,
            verb: event.verb.name().to_owned(),
            values: self.attrs.iter().filter_map(value).collect(),
            seq: event.seq,
            at_ns: event.at_ns,
        });
    }

    /// The question, as of the event before the last one. How long ago the last one was does not enter.
    pub fn query<'a>(&self, query: Query<'a>) -> Option<Query<'a>> {
        let (now_ns, last) = (self.behind_ns?, self.pending.as_ref()?);
        self.window.holds(last.at_ns.saturating_sub(now_ns)).then_some(Query { now_ns, ..query })
    }
}

impl Node {
    /// What was written where it remembers or matches something.
    pub fn text(&self) -> Option<&str> {
        match self {
            Node::Atom { text, .. } | Node::Once { text, .. } => Some(text),
            Node::Since(since) => Some(&since.text),
            Node::Prev(prev) => Some(&prev.text),
            Node::Compare(counter, ..) => Some(&counter.text),
            _ => self.below().into_iter().find_map(Node::text),
        }
    }
}
