//! What caused what: a session's attempts and acts as a graph of causes.

use super::session::{implied_by, text};
use super::{History, ReadError, why};
use crate::clock::rfc3339;
use flyball_ledger::{Entry, Kind, Ledger};
use serde::Serialize;
use serde_json::Value as Json;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// A session's graph of causes, or the part of it around one entry.
#[derive(Clone, Debug, Serialize)]
pub struct Trace {
    /// The session.
    pub session: String,
    /// The entry that it is about, if one was named; an entry of an attempt's life stands for the attempt.
    pub focus: Option<u64>,
    /// Its nodes, oldest first.
    pub nodes: Vec<TraceNode>,
}

/// An attempt with its ruling and outcome, or an entry that belongs to no attempt.
#[derive(Clone, Debug, Serialize)]
pub struct TraceNode {
    /// Its entry.
    pub seq: u64,
    /// When.
    pub at: String,
    /// When its last entry was made, where it has more than one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// Its kind.
    pub kind: String,
    /// What, in words.
    pub said: String,
    /// The verdict that stands, for an attempt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verdict: Option<String>,
    /// What became of it, for an attempt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub became: Option<String>,
    /// The node under which it happened: the command that did it.
    pub parent: Option<u64>,
    /// Nodes that led to it otherwise: what its ruling rests on.
    pub because: Vec<u64>,
}

/// The graph of a session, or, with `seq`, what led to that entry and what came of it.
///
/// # Errors
/// [`ReadError`] when the ledger can't be read or the entry is not there.
pub fn trace(ledger: &Ledger, session: &str, seq: Option<u64>) -> Result<Trace, ReadError> {
    of_history(&History::read(ledger, session)?, seq)
}

/// What led to a file's content at the end, or at a step: every entry that acted on the path or saw it changed, and all that
/// caused those.
///
/// # Errors
/// [`ReadError`] when the ledger can't be read, the entry is not there, or nothing on record is about the path.
pub fn lineage(ledger: &Ledger, session: &str, path: &Path, seq: Option<u64>) -> Result<Trace, ReadError> {
    let history = History::read(ledger, session)?;
    let last = match seq {
        Some(seq) => history.entry(seq)?.seq,
        None => history.last(),
    };
    let rel = super::workspace::relative_to(history.workspace(), path)?;
    let full = format!("{}/{rel}", history.workspace());
    let mut nodes: Vec<TraceNode> = history.entries().iter().filter_map(|e| node(&history, e, None)).collect();
    nodes.retain(|n| n.seq <= last);
    let is_about = |n: &&TraceNode| history.find(n.seq).is_some_and(|e| touches(e, &rel, &full));
    let about: Vec<u64> = nodes.iter().filter(is_about).map(|n| n.seq).collect();
    let Some(focus) = about.last().copied() else { return Err(ReadError::Absent { path: rel, seq: last }) };
    let led = backwards(&nodes, about);
    nodes.retain(|n| led.contains(&n.seq));
    Ok(Trace { session: session.to_owned(), focus: Some(focus), nodes })
}

/// An attempt, what it has from these entries, and all that led to either.
pub(super) fn led(history: &History, focus: u64, from: &[u64]) -> Trace {
    let mut nodes: Vec<TraceNode> = history.entries().iter().filter_map(|e| node(history, e, None)).collect();
    let from: BTreeSet<u64> = from.iter().map(|seq| history.attempt_of(*seq).unwrap_or(*seq)).collect();
    if let Some(node) = nodes.iter_mut().find(|node| node.seq == focus) {
        let more: BTreeSet<u64> = node.because.iter().copied().chain(from.iter().copied()).collect();
        node.because = more.into_iter().filter(|seq| *seq < focus).collect();
    }
    let led = backwards(&nodes, vec![focus]);
    nodes.retain(|node| led.contains(&node.seq));
    Trace { session: history.session.clone(), focus: Some(focus), nodes }
}

/// Whether an entry acted on a path, or saw it changed.
fn touches(entry: &Entry, rel: &str, full: &str) -> bool {
    let text = |at: &str| entry.body.pointer(at).and_then(Json::as_str);
    match entry.kind {
        Kind::Attempt => {
            let is_change = text("/verb").is_some_and(|v| v.starts_with("fs.") && v != "fs.read");
            let names = [text("/resource/path"), text("/attrs/to"), text("/attrs/target")];
            is_change && names.into_iter().flatten().any(|p| p == full)
        }
        Kind::Observe => {
            let changes = entry.body.pointer("/workspace/changes").and_then(Json::as_array);
            changes.into_iter().flatten().any(|c| c.get("path").and_then(Json::as_str) == Some(rel))
        }
        _ => false,
    }
}

pub(crate) fn of_history(history: &History, seq: Option<u64>) -> Result<Trace, ReadError> {
    let focus = match seq {
        Some(seq) => {
            history.entry(seq)?;
            Some(history.attempt_of(seq).unwrap_or(seq))
        }
        None => None,
    };
    let mut nodes: Vec<TraceNode> = history.entries().iter().filter_map(|e| node(history, e, focus)).collect();
    if let Some(focus) = focus {
        let around = around(&nodes, focus);
        nodes.retain(|n| around.contains(&n.seq));
    }
    Ok(Trace { session: history.session.clone(), focus, nodes })
}

fn node(history: &History, entry: &Entry, focus: Option<u64>) -> Option<TraceNode> {
    let is_attempt = entry.kind == Kind::Attempt;
    let stands_alone = matches!(
        entry.kind,
        Kind::Open | Kind::Intervention | Kind::Alert | Kind::Close | Kind::Charter | Kind::Observe
    );
    let is_shown = is_attempt || stands_alone || focus == Some(entry.seq);
    if !is_shown {
        return None;
    }
    let to_node = |seq: u64| history.attempt_of(seq).unwrap_or(seq);
    let parent = match implied_by(history, entry.seq) {
        Some(first) => Some(first),
        None => entry.cause.first().copied().map(to_node),
    };
    let mut because = BTreeSet::new();
    for ruling in history.life(entry.seq).filter(|e| is_attempt && e.kind == Kind::Ruling) {
        for reason in ruling.body.get("reasons").and_then(Json::as_array).into_iter().flatten() {
            let witnesses = reason.get("witnesses").and_then(Json::as_array).into_iter().flatten();
            because.extend(witnesses.filter_map(Json::as_u64).map(to_node));
        }
    }
    because.extend(entry.cause.iter().skip(1).copied().map(to_node));
    because.retain(|seq| *seq != entry.seq && Some(*seq) != parent);
    Some(TraceNode {
        seq: entry.seq,
        at: rfc3339(entry.at_ns),
        until: history.life(entry.seq).last().filter(|e| is_attempt && e.seq != entry.seq).map(|e| rfc3339(e.at_ns)),
        kind: entry.kind.as_str().to_owned(),
        said: history.say(entry),
        verdict: history.verdict(entry.seq).map(str::to_owned).filter(|_| is_attempt),
        became: is_attempt.then(|| {
            let answered = history.life(entry.seq).rev().find(|e| e.kind == Kind::Answer);
            let became = why::became(history, entry.seq).said;
            match answered {
                Some(answer) => format!("{} by {}; {became}", text(&answer.body, "verdict"), text(&answer.body, "by")),
                None => became,
            }
        }),
        parent: parent.filter(|p| *p < entry.seq),
        because: because.into_iter().collect(),
    })
}

/// A node, all that led to it and all that came of it.
fn around(nodes: &[TraceNode], focus: u64) -> BTreeSet<u64> {
    let backwards = backwards(nodes, vec![focus]);
    // Causes come before effects, so one pass in order finds everything that follows.
    let mut forwards = BTreeSet::from([focus]);
    for node in nodes {
        if causes(node).any(|c| forwards.contains(&c)) {
            forwards.insert(node.seq);
        }
    }
    backwards.union(&forwards).copied().collect()
}

fn causes(node: &TraceNode) -> impl Iterator<Item = u64> {
    node.parent.into_iter().chain(node.because.iter().copied())
}

/// These and all that led to them. A record whose causes go round in a circle ends it as well: no node is taken twice.
fn backwards(nodes: &[TraceNode], mut waiting: Vec<u64>) -> BTreeSet<u64> {
    let by_seq: BTreeMap<u64, &TraceNode> = nodes.iter().map(|n| (n.seq, n)).collect();
    let mut found: BTreeSet<u64> = waiting.iter().copied().collect();
    while let Some(seq) = waiting.pop() {
        let Some(node) = by_seq.get(&seq) else { continue };
        waiting.extend(causes(node).filter(|cause| found.insert(*cause)));
    }
    found
}
