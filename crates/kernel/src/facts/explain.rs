//! Why a fact is as it is: the entries that made it so, and what would turn it.

use super::counter::Counter;
use super::monitor::{Node, Query};
use super::relation::{Relation, Witnesses, merge};
use super::syntax::{Cmp, Window};

/// The entries behind a fact's value, and what would turn the value, if anything can.
pub(crate) type Explanation = (Witnesses, Option<String>);

/// Of a formula that does not hold: what is missing.
pub(crate) fn why_not(node: &Node, query: Query) -> Explanation {
    match node {
        Node::Atom { text, .. } => (Witnesses::new(), Some(text.clone())),
        Node::Guard(_) => (Witnesses::new(), None),
        Node::Once { text, store, .. } => (Witnesses::new(), Some(since_when(store.window(), text))),
        Node::Prev(prev) => {
            let before = match prev.query(query) {
                Some(before) => why_not(&prev.inner, before).0,
                None => Witnesses::new(),
            };
            (before, Some(format!("`{}` right before", prev.text)))
        }
        Node::Since(since) => match since.ended.latest(&since.store.columns, query) {
            Some((held, by)) => {
                let after = by.last().map(|seq| format!(" after {seq}"));
                (merge(held, by), Some(format!("{}{}", since.text, after.unwrap_or_else(|| " anew".to_owned()))))
            }
            None => (Witnesses::new(), Some(since.text.clone())),
        },
        Node::And(left, right) => {
            let rows = left.at(query);
            if !rows.holds() {
                return why_not(left, query);
            }
            let (more, needs) = asked(&rows, query, |query| why_not(right, query));
            (merge(&rows.witnesses(), &more), needs)
        }
        Node::AndNot(left, right) => {
            let rows = left.at(query);
            if !rows.holds() {
                return why_not(left, query);
            }
            let (more, needs) = asked(&rows, query, |query| why(right, query));
            (merge(&rows.witnesses(), &more), needs)
        }
        Node::Or(left, right) => {
            let ((a, one), (b, other)) = (why_not(left, query), why_not(right, query));
            let needs = [one, other].into_iter().flatten().collect::<Vec<_>>();
            (merge(&a, &b), (!needs.is_empty()).then(|| needs.join(" or ")))
        }
        Node::Not(inner) => why(inner, query),
        Node::Exists(_, inner) => why_not(inner, query),
        Node::Filter(inner, _) => match inner.at(query) {
            // Such events there were, with other values.
            rows if rows.holds() => {
                let needs = inner.text().map(|text| format!("another `{text}`"));
                (rows.witnesses(), needs)
            }
            _ => why_not(inner, query),
        },
        Node::Compare(counter, cmp, limit) => number(counter, Some((*cmp, *limit)), query),
    }
}

/// Of a formula that holds: what makes it hold, and what would end that.
pub(crate) fn why(node: &Node, query: Query) -> Explanation {
    let witnesses = || node.at(query).witnesses();
    match node {
        Node::Atom { .. } | Node::Prev(_) => (witnesses(), Some("another event first".to_owned())),
        Node::Guard(_) => (Witnesses::new(), None),
        Node::Once { store, text, .. } => (witnesses(), until(store.window(), text)),
        Node::Since(_) => (witnesses(), None),
        Node::And(left, right) => {
            let needs = why(left, query).1.or_else(|| asked(&left.at(query), query, |query| why(right, query)).1);
            (witnesses(), needs)
        }
        Node::AndNot(left, right) => {
            let needs = why(left, query).1.or_else(|| asked(&left.at(query), query, |query| why_not(right, query)).1);
            (witnesses(), needs)
        }
        Node::Or(left, right) => {
            let holding = if left.at(query).holds() { left } else { right };
            (witnesses(), why(holding, query).1)
        }
        Node::Not(inner) => why_not(inner, query),
        Node::Exists(_, inner) | Node::Filter(inner, _) => (witnesses(), why(inner, query).1),
        Node::Compare(counter, ..) if !counter.is_given(query) => (witnesses(), None),
        Node::Compare(counter, cmp, limit) => number(counter, Some((*cmp, *limit)), query),
    }
}

/// With the rows that are asked about.
fn asked(rows: &Relation, query: Query, explain: impl Fn(Query) -> Explanation) -> Explanation {
    match query.guard {
        Some(outer) if outer.columns.iter().any(|c| !rows.columns.contains(c)) => {
            explain(Query { guard: Some(&rows.join(outer)), ..query })
        }
        _ => explain(Query { guard: Some(rows), ..query }),
    }
}

/// What would have had to happen, and when.
fn since_when(window: Window, text: &str) -> String {
    match (window.min_ns, window.max_ns) {
        (0, None) => text.to_owned(),
        (0, Some(max)) => format!("{text} within {}", span_text(max)),
        (min, None) => format!("{text} at least {} before", span_text(min)),
        (min, Some(max)) => format!("{text} between {} and {} before", span_text(min), span_text(max)),
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
    let is_true = cmp.holds(value, i128::from(limit));
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
