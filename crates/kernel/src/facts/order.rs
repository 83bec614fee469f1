//! Which of two facts holds whenever the other does, read off what they say: shorter windows, higher thresholds.
//!
//! Only what follows from the form is claimed; two facts of which nothing is said here may still be related. What a cap on
//! records makes of either is not compared.

use super::check::Compiled;
use super::counter::Counter;
use super::monitor::Node;
use super::syntax::{Aggregate, Cmp, Window};
use super::{Facts, Monitor};

impl Facts {
    /// Whether the fact at that place, wherever it holds, has the other one hold as well; for numbers, whether it is never the
    /// larger one.
    pub fn is_below(&self, place: usize, others: &Facts, other: usize) -> bool {
        match (self.monitors.get(place), others.monitors.get(other)) {
            (Some(first), Some(second)) => is_below(first, second),
            _ => false,
        }
    }
}

fn is_below(first: &Monitor, second: &Monitor) -> bool {
    if first.dollars != second.dollars || first.is_fleet != second.is_fleet {
        return false;
    }
    match (&first.compiled, &second.compiled) {
        (Compiled::Formula(first), Compiled::Formula(second)) => implies(first, second),
        (Compiled::Number(first), Compiled::Number(second)) => counts_less(first, second),
        _ => false,
    }
}

/// Each row of the first is one of the second, at every time.
fn implies(first: &Node, second: &Node) -> bool {
    match (first, second) {
        (Node::Atom { pattern: a, .. }, Node::Atom { pattern: b, .. }) => format!("{a:?}") == format!("{b:?}"),
        (Node::Guard(a), Node::Guard(b)) => a == b,
        (Node::And(a, b), Node::And(c, d)) | (Node::Or(a, b), Node::Or(c, d)) => implies(a, c) && implies(b, d),
        (Node::AndNot(a, b), Node::AndNot(c, d)) => implies(a, c) && implies(d, b),
        (Node::Not(a), Node::Not(b)) => implies(b, a),
        (Node::Exists(vars, a), Node::Exists(others, b)) => vars == others && implies(a, b),
        (Node::Filter(a, tests), Node::Filter(b, others)) => tests == others && implies(a, b),
        (Node::Once { inner: a, store: x, .. }, Node::Once { inner: b, store: y, .. }) => {
            is_within(x.window(), y.window()) && implies(a, b)
        }
        (Node::Since(a), Node::Since(b)) => {
            let is_left = if a.is_negated { implies(&b.left, &a.left) } else { implies(&a.left, &b.left) };
            let is_shorter = is_within(a.store.window(), b.store.window());
            a.is_negated == b.is_negated && a.guard == b.guard && is_left && is_shorter && implies(&a.right, &b.right)
        }
        (Node::Prev(a), Node::Prev(b)) => is_within(a.window, b.window) && implies(&a.inner, &b.inner),
        (Node::Compare(a, cmp, n), Node::Compare(b, other, m)) if cmp == other => match cmp {
            Cmp::Ge | Cmp::Gt => m <= n && counts_less(a, b),
            // A key that nothing counts for has no row to compare: only the same counters are.
            Cmp::Le | Cmp::Lt => n <= m && is_same(a, b),
            Cmp::Eq | Cmp::Ne => n == m && is_same(a, b),
        },
        _ => false,
    }
}

fn is_within(first: Window, second: Window) -> bool {
    let is_no_later = match (first.max_ns, second.max_ns) {
        (_, None) => true,
        (None, Some(_)) => false,
        (Some(first), Some(second)) => first <= second,
    };
    first.min_ns >= second.min_ns && is_no_later
}

/// A sum may shrink by more events, and a minimum and a maximum are 0 where there are none: those are only compared with
/// themselves.
fn counts_less(first: &Counter, second: &Counter) -> bool {
    let is_longer = first.aggregate == Aggregate::Count && is_within(first.window, second.window);
    counts_same_events(first, second) && (is_longer || first.window == second.window)
}

fn is_same(first: &Counter, second: &Counter) -> bool {
    counts_same_events(first, second) && first.window == second.window
}

fn counts_same_events(first: &Counter, second: &Counter) -> bool {
    first.aggregate == second.aggregate
        && first.of == second.of
        && first.versus() == second.versus()
        && format!("{:?}", first.pattern) == format!("{:?}", second.pattern)
}
