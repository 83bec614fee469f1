//! How much a fact may keep, and why: what `flyball check` prints.

use super::check::Compiled;
use super::counter::Counter;
use super::explain::span_text;
use super::monitor::Node;
use super::syntax::{Aggregate, Window};
use super::{Monitor, RECORD_BYTES_MAX};
use serde::Serialize;

/// The bound of a fact's memory. A fact that would need more has no value from then on, and what reads it is refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FactBound {
    /// The fact.
    pub name: String,
    /// `session` or `fleet`: whose history it is of.
    pub per: &'static str,
    /// Most records that it keeps.
    pub records_max: usize,
    /// Most bytes that they take, about.
    pub bytes_max: usize,
    /// What each part of it keeps.
    pub keeps: Vec<String>,
}

/// What one part keeps: how many records, where that does not depend on what happens, and in words.
struct Part {
    records: Option<usize>,
    keeps: String,
}

pub(super) fn of(name: &str, monitor: &Monitor) -> FactBound {
    let mut parts = Vec::new();
    match &monitor.compiled {
        Compiled::Formula(node) => collect(node, &mut parts),
        Compiled::Number(counter) => parts.push(of_counter(counter)),
    }
    let fixed: Option<usize> = parts.iter().map(|part| part.records).sum();
    let records_max = fixed.unwrap_or(monitor.keys_max).min(monitor.keys_max);
    let bytes_max = match fixed {
        Some(records) => records.saturating_mul(RECORD_BYTES_MAX),
        None => monitor.bytes_max(),
    };
    let mut keeps: Vec<String> = parts.into_iter().map(|part| part.keeps).collect();
    if keeps.is_empty() {
        keeps.push("the last event".to_owned());
    }
    keeps.dedup();
    FactBound {
        name: name.to_owned(),
        per: if monitor.is_fleet { "fleet" } else { "session" },
        records_max,
        bytes_max,
        keeps,
    }
}

fn collect(node: &Node, out: &mut Vec<Part>) {
    match node {
        Node::Once { store, text, .. } => out.push(of_store(store.window(), store.columns.is_empty(), text)),
        Node::Since(since) => out.push(of_store(since.store.window(), since.store.columns.is_empty(), &since.text)),
        Node::Prev(prev) => {
            out.push(Part { records: Some(1), keeps: format!("the event before the last, for `{}`", prev.text) });
        }
        Node::Compare(counter, ..) => out.push(of_counter(counter)),
        _ => {}
    }
    node.below().into_iter().for_each(|node| collect(node, out));
}

fn of_store(window: Window, is_single: bool, text: &str) -> Part {
    let one = is_single.then_some(1);
    let each = if is_single { "" } else { " for each key" };
    let (records, which) = match (window.min_ns, window.max_ns) {
        (0, None) => (one, format!("the latest record{each}")),
        (0, Some(max)) => (one, format!("the latest record{each} of the last {}", span_text(max))),
        (_, None) => (one, format!("the first record{each}")),
        (_, Some(max)) => (None, format!("all records of the last {}", span_text(max))),
    };
    Part { records, keeps: format!("{which} of `{}`", short(text)) }
}

fn of_counter(counter: &Counter) -> Part {
    let is_single = counter.columns().is_empty();
    let each = if is_single { "" } else { " for each key" };
    let text = &counter.text;
    let (records, which) = match (counter.window.max_ns, counter.keep_max) {
        (None, _) => (is_single.then_some(1), format!("one number{each}")),
        (Some(_), Some(max)) => (is_single.then_some(max), format!("at most {max} time stamps{each}")),
        (Some(ns), None) => {
            let outdone = matches!(counter.aggregate, Aggregate::Min | Aggregate::Max) && counter.window.min_ns == 0;
            let which = if outdone { "those that no later one outdoes, of all events" } else { "all events" };
            (None, format!("{which} of the last {}", span_text(ns)))
        }
    };
    Part { records, keeps: format!("{which} of `{}`", short(text)) }
}

/// Enough of a formula to know it by.
fn short(text: &str) -> String {
    const CHARS_MAX: usize = 48;
    if text.chars().count() <= CHARS_MAX {
        text.to_owned()
    } else {
        text.chars().take(CHARS_MAX).chain(['…']).collect()
    }
}
