//! How a fact goes on if nothing else happens: worked out when it takes an event in, so that asking it is comparing two times.
//!
//! Only of facts that read nothing of the judged action, and that change at most once by the passing of time alone.

use super::Monitor;
use super::check::Compiled;
use super::counter::Counter;
use super::monitor::{Last, Node};
use super::store::Store;
use super::syntax::{Aggregate, Cmp};

/// `first` up to and including that time, and the other way for good after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Course {
    first: bool,
    until_ns: u64,
}

impl Course {
    /// How that fact goes on; nothing where it has to be asked each time.
    pub fn of(monitor: &Monitor) -> Option<Self> {
        match &monitor.compiled {
            Compiled::Formula(node) if monitor.dollars.is_empty() && !monitor.is_overflowed => of(node),
            _ => None,
        }
    }

    pub fn holds(self, now_ns: u64) -> bool {
        (now_ns <= self.until_ns) == self.first
    }

    fn always(is_true: bool) -> Self {
        Self { first: is_true, until_ns: u64::MAX }
    }

    fn not(self) -> Self {
        Self { first: !self.first, ..self }
    }

    /// Both; nothing where that changes twice.
    fn and(self, other: Self) -> Option<Self> {
        match (self.first, other.first) {
            (true, true) => Some(Self { first: true, until_ns: self.until_ns.min(other.until_ns) }),
            (false, false) => Some(Self { first: false, until_ns: self.until_ns.max(other.until_ns) }),
            (false, true) => other.and(self),
            // One ends, the other begins.
            (true, false) if self.until_ns == u64::MAX => Some(other),
            (true, false) => (self.until_ns <= other.until_ns).then_some(Self::always(false)),
        }
    }

    fn or(self, other: Self) -> Option<Self> {
        self.not().and(other.not()).map(Self::not)
    }
}

fn of(node: &Node) -> Option<Course> {
    match node {
        Node::Atom { last: Last::Entry(entry), .. } => Some(Course::always(entry.is_some())),
        Node::Once { store, .. } => remembered(store),
        Node::Since(since) => remembered(&since.store),
        Node::Not(inner) => of(inner).map(Course::not),
        Node::Exists(_, inner) => of(inner),
        Node::Compare(counter, cmp, limit) => counted(counter, *cmp, *limit),
        Node::Or(left, right) => of(left)?.or(of(right)?),
        Node::And(left, right) if is_closed(left) && is_closed(right) => of(left)?.and(of(right)?),
        Node::AndNot(left, right) if is_closed(left) && is_closed(right) => of(left)?.and(of(right)?.not()),
        _ => None,
    }
}

/// It is one row or none, so that two of these join wherever both are.
fn is_closed(node: &Node) -> bool {
    match node {
        Node::Atom { last, .. } => matches!(last, Last::Entry(_)),
        Node::Once { store, .. } => store.is_alone(),
        Node::Since(since) => since.store.is_alone(),
        Node::Not(_) => true,
        Node::Compare(counter, ..) => counter.columns().is_empty(),
        Node::And(a, b) | Node::Or(a, b) | Node::AndNot(a, b) => is_closed(a) && is_closed(b),
        _ => false,
    }
}

/// What held last is within the window for longest.
fn remembered(store: &Store) -> Option<Course> {
    (store.window().min_ns == 0).then_some(())?;
    let Some(newest_ns) = store.newest_ns()? else { return Some(Course::always(false)) };
    let until_ns = store.window().max_ns.map_or(u64::MAX, |max_ns| newest_ns.saturating_add(max_ns));
    Some(Course { first: true, until_ns })
}

/// By time alone, a count within a window only becomes less.
fn counted(counter: &Counter, cmp: Cmp, limit: i64) -> Option<Course> {
    let is_simple = counter.columns().is_empty() && counter.aggregate == Aggregate::Count && counter.window.min_ns == 0;
    is_simple.then_some(())?;
    let at_least = |n| match counter.reached_until(n) {
        Some(until_ns) => Course { first: true, until_ns },
        None => Course::always(false),
    };
    match cmp {
        Cmp::Ge => Some(at_least(limit)),
        Cmp::Gt => Some(at_least(limit.checked_add(1)?)),
        Cmp::Lt => Some(at_least(limit).not()),
        Cmp::Le => Some(at_least(limit.checked_add(1)?).not()),
        Cmp::Eq | Cmp::Ne => None,
    }
}
