//! A trace for other programs: Graphviz, and Perfetto or Chrome's tracing.

use flyball_runtime::read::{Trace, TraceNode};
use serde_json::json;
use std::collections::BTreeMap;
use std::fmt::Write;

/// Characters of a node's label.
const LABEL_CHARS: usize = 80;

/// A graph in the DOT language: what happened under what in full lines, what a ruling rests on in dashed ones.
pub fn dot(trace: &Trace) -> String {
    let mut out = format!("digraph {} {{\n  rankdir=LR;\n  node [shape=box];\n", quoted(&trace.session));
    for node in &trace.nodes {
        let colour = match node.verdict.as_deref() {
            Some("deny") => ", color=red",
            Some("hold") => ", color=orange",
            _ => "",
        };
        let bold = if trace.focus == Some(node.seq) { ", penwidth=2" } else { "" };
        // Writing to a String can't fail.
        let _ = writeln!(out, "  {} [label={}{colour}{bold}];", node.seq, quoted(&label(node)));
    }
    for node in &trace.nodes {
        if let Some(parent) = node.parent {
            let _ = writeln!(out, "  {parent} -> {};", node.seq);
        }
        for because in &node.because {
            let _ = writeln!(out, "  {because} -> {} [style=dashed];", node.seq);
        }
    }
    out.push_str("}\n");
    out
}

fn label(node: &TraceNode) -> String {
    let said: String = node.said.chars().take(LABEL_CHARS).collect();
    format!("{} {} {said}", node.seq, node.kind)
}

/// A quoted string of the DOT language: a backslash before a quote, and nothing that it would take for an escape of its own.
fn quoted(text: &str) -> String {
    let safe = text.chars().map(|c| match c {
        '"' => "\\\"".to_owned(),
        '\\' => "\\\\".to_owned(),
        c if c.is_control() => " ".to_owned(),
        c => c.to_string(),
    });
    format!("\"{}\"", safe.collect::<String>())
}

/// The Trace Event Format: a complete event (`X`) for each node, nested under the command that it happened in, and a flow
/// (`s`, `f`) for each cause. Times are microseconds from the first node.
pub fn perfetto(trace: &Trace) -> String {
    let time = |text: &str| text.parse::<jiff::Timestamp>().map_or(0, jiff::Timestamp::as_nanosecond);
    let first = trace.nodes.first().map(|n| time(&n.at)).unwrap_or_default();
    let micros = |text: &str| (time(text) - first).max(0) as f64 / 1000.0;
    let lanes = lanes(trace);
    let lane = |seq: u64| lanes.get(&seq).copied().unwrap_or_default();
    let mut events = vec![json!({
        "ph": "M", "name": "process_name", "pid": 1, "tid": 0, "args": { "name": format!("flyball {}", trace.session) },
    })];
    for node in &trace.nodes {
        let (begin, end) = (micros(&node.at), micros(node.until.as_deref().unwrap_or(&node.at)));
        events.push(json!({
            "ph": "X", "name": node.said, "cat": node.kind, "pid": 1, "tid": lane(node.seq), "ts": begin, "dur": end - begin,
            "args": { "seq": node.seq, "verdict": node.verdict, "became": node.became },
        }));
    }
    let starts: BTreeMap<u64, f64> = trace.nodes.iter().map(|n| (n.seq, micros(&n.at))).collect();
    let causes = trace.nodes.iter().flat_map(|node| {
        let causes = node.parent.into_iter().chain(node.because.iter().copied());
        causes.map(move |cause| (cause, node))
    });
    for (id, (cause, node)) in causes.filter(|(c, _)| starts.contains_key(c)).enumerate() {
        let from = starts.get(&cause).copied().unwrap_or_default();
        let flow = |ph: &str, seq: u64, ts: f64| json!({ "ph": ph, "name": "cause", "cat": "cause", "id": id, "pid": 1, "tid": lane(seq), "ts": ts, "bp": "e" });
        events.push(flow("s", cause, from));
        events.push(flow("f", node.seq, micros(&node.at)));
    }
    format!("{}\n", json!({ "displayTimeUnit": "ms", "traceEvents": events }))
}

/// A lane for each command: what it did is drawn in its own, since events of one lane must nest in time.
fn lanes(trace: &Trace) -> BTreeMap<u64, u64> {
    trace.nodes.iter().map(|node| (node.seq, node.parent.map_or(0, |parent| parent.min(node.seq)))).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
    use super::*;
    use serde_json::Value;

    fn node(seq: u64, parent: Option<u64>, because: &[u64]) -> TraceNode {
        TraceNode {
            seq,
            at: format!("2026-11-22T00:00:00.00000{seq}000Z"),
            until: Some("2026-11-22T00:00:01.000000000Z".to_owned()),
            kind: "attempt".to_owned(),
            said: "a \"b\" \\N\n\u{1b}[31m".to_owned(),
            verdict: Some("deny".to_owned()),
            became: None,
            parent,
            because: because.to_vec(),
        }
    }

    #[test]
    fn both_hold_every_node_and_cause_and_no_text_is_markup() {
        let nodes = vec![node(1, None, &[]), node(2, Some(1), &[]), node(3, Some(1), &[2])];
        let trace = Trace { session: "s\"".to_owned(), focus: Some(3), nodes };
        let graph = dot(&trace);
        assert!(graph.contains("1 -> 2;") && graph.contains("2 -> 3 [style=dashed];"), "{graph}");
        assert!(graph.contains(r#"a \"b\" \\N  [31m"#) && !graph.contains('\u{1b}'), "{graph}");
        let timeline: Value = serde_json::from_str(&perfetto(&trace)).unwrap();
        let events = timeline["traceEvents"].as_array().unwrap();
        // The format asks for these members of each phase.
        let of = |ph: &str| events.iter().filter(|e| e["ph"] == ph).collect::<Vec<_>>();
        assert_eq!((of("M").len(), of("X").len(), of("s").len(), of("f").len()), (1, 3, 3, 3));
        assert!(of("X").iter().all(|e| e["ts"].is_f64() && e["dur"].as_f64().unwrap() >= 0.0 && e["tid"].is_u64()));
        assert!(of("s").iter().zip(of("f")).all(|(s, f)| s["id"] == f["id"] && s["ts"].as_f64() <= f["ts"].as_f64()));
    }
}
