//! Why a fact is as it is: the entries that made it so, and what would turn it.

use super::monitor::{Counter, Node, Query};
use super::relation::{Witnesses, merge};
use super::syntax::{Cmp, Window};

/// The entries behind a fact's value, and what would turn the value, if anything can.
pub(crate) type Explanation = (Witnesses, Option<String>);

/// Of a formula that does not hold: what is missing.
pub(crate) fn why_not(node: &Node, query: Query) -> Explanation {
    match node {
        Node::Atom { text, .. } => (Vec::new(), Some(text.clone())),
        Node::Once { text, .. } => (Vec::new(), Some(text.clone())),
        Node::Prev(prev) => (Vec::new(), Some(format!("`{}` right before", prev.text))),
        Node::Since(since) => match (since.last_right.last(), since.last_broken.last()) {
            (Some(right), Some(broken)) if broken > right => {
                let witnesses = merge(&since.last_right, &since.last_broken);
                (witnesses, Some(format!("{} after {broken}", since.text)))
            }
            (Some(_), _) => (since.last_right.clone(), Some(format!("{} anew", since.text))),
            (None, _) => (Vec::new(), Some(since.text.clone())),
        },
        Node::And(left, right) => {
            if !left.at(query).holds() {
                return why_not(left, query);
            }
            let witnesses = left.at(query).witnesses();
            let (more, needs) = why_not(right, query);
            (merge(&witnesses, &more), needs)
        }
        Node::AndNot(left, right) => {
            if left.at(query).holds() {
                why(right, query)
            } else {
                why_not(left, query)
            }
        }
        Node::Or(left, right) => {
            let ((a, one), (b, other)) = (why_not(left, query), why_not(right, query));
            let needs = [one, other].into_iter().flatten().collect::<Vec<_>>();
            (merge(&a, &b), (!needs.is_empty()).then(|| needs.join(" or ")))
        }
        Node::Not(inner) => why(inner, query),
        Node::Exists(_, inner) => why_not(inner, query),
        Node::Compare(counter, cmp, limit) => number(counter, Some((*cmp, *limit)), query),
    }
}

/// Of a formula that holds: what makes it hold, and what would end that.
pub(crate) fn why(node: &Node, query: Query) -> Explanation {
    let witnesses = || node.at(query).witnesses();
    match node {
        Node::Atom { .. } | Node::Prev(_) => (witnesses(), Some("another event first".to_owned())),
        Node::Once { store, text, .. } => (witnesses(), until(store.window(), text)),
        Node::Since(_) => (witnesses(), None),
        Node::And(left, right) => {
            let needs = why(left, query).1.or_else(|| why(right, query).1);
            (witnesses(), needs)
        }
        Node::AndNot(left, right) => {
            let needs = why(left, query).1.or_else(|| why_not(right, query).1);
            (witnesses(), needs)
        }
        Node::Or(left, right) => {
            let holding = if left.at(query).holds() { left } else { right };
            (witnesses(), why(holding, query).1)
        }
        Node::Not(inner) => why_not(inner, query),
        Node::Exists(_, inner) => (witnesses(), why(inner, query).1),
        Node::Compare(counter, cmp, limit) => number(counter, Some((*cmp, *limit)), query),
    }
}

/// What ends a `once` that has an end.
fn until(window: Window, text: &str) -> Option<String> {
    let max_ns = window.max_ns?;
    Some(format!("{} without `{text}`", span_text(max_ns)))
}

/// A number, and what would turn the comparison with it.
pub(crate) fn number(counter: &Counter, compared: Option<(Cmp, i64)>, query: Query) -> Explanation {
    let (value, witnesses) = counter.at(query);
    let Some((cmp, limit)) = compared else {
        let older = counter.window.max_ns.map(|ns| format!(", and falls as events get older than {}", span_text(ns)));
        return (
            witnesses,
            Some(format!("another value of `{}`: it is {value}{}", counter.text, older.unwrap_or_default())),
        );
    };
    let is_true = cmp.holds(value, limit);
    let wants_more = matches!((cmp, is_true), (Cmp::Ge | Cmp::Gt, false) | (Cmp::Lt | Cmp::Le, true));
    let needs = match counter.window.max_ns {
        _ if wants_more => Some(format!("more of `{}`: it is {value}", counter.text)),
        Some(ns) => Some(format!("fewer of `{}` within {}: it is {value}", counter.text, span_text(ns))),
        None => None,
    };
    (witnesses, needs)
}

/// A duration, in the largest unit that says it exactly.
pub(crate) fn span_text(ns: u64) -> String {
    let units = [
        (86_400_000_000_000, "d"),
        (3_600_000_000_000, "h"),
        (60_000_000_000, "m"),
        (1_000_000_000, "s"),
        (1_000_000, "ms"),
        (1_000, "us"),
    ];
    let unit = units.into_iter().find(|(unit, _)| ns >= *unit && ns.is_multiple_of(*unit));
    unit.map_or_else(|| format!("{ns}ns"), |(unit, name)| format!("{}{name}", ns / unit))
}
