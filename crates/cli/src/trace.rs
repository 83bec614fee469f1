//! `trace`: what caused what, as a tree.

use crate::args::TraceFormat;
use crate::failure::Failure;
use crate::output::{Output, Style, cut, visible};
use crate::place::Place;
use flyball_runtime::read::{self, Source, Trace, TraceNode};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

mod export;

/// `flyball trace S [SEQ]`.
pub fn trace(
    out: Output,
    place: &Place,
    wanted: &str,
    seq: Option<u64>,
    format: Option<TraceFormat>,
    path: Option<&Path>,
) -> Result<(), Failure> {
    let (ledger, id) = place.session(wanted)?;
    let trace = match path {
        Some(path) => read::lineage(&ledger, &id, path, seq)?,
        None => read::trace(&ledger, &id, seq)?,
    };
    if let Some(format) = format {
        write(out, &trace, format);
    } else if out.is_json {
        out.json(&trace);
    } else {
        print(out, &trace);
    }
    Ok(())
}

fn write(out: Output, trace: &Trace, format: TraceFormat) {
    let text = match format {
        TraceFormat::Dot => export::dot(trace),
        TraceFormat::Perfetto => export::perfetto(trace),
    };
    out.raw(text.as_bytes());
}

/// `flyball trace S SEQ --carried`.
pub fn carried(out: Output, place: &Place, wanted: &str, seq: u64, format: Option<TraceFormat>) -> Result<(), Failure> {
    let (ledger, id) = place.session(wanted)?;
    let found = read::carried(&ledger, &id, seq)?;
    if let Some(format) = format {
        write(out, &found.trace, format);
        return Ok(());
    }
    if out.is_json {
        out.json(&found);
        return Ok(());
    }
    let line = |source: &Source, how: &str| {
        let what = source.path.as_ref().map_or_else(|| source.what.clone(), |path| format!("`{path}`"));
        out.line(&format!("  {how} {} of entry {}", visible(&what), source.seq));
    };
    out.line(&format!(
        "{} contents on record went out with it, as far as {} bytes of that are on record",
        found.carried.len(),
        found.seen_bytes
    ));
    found.carried.iter().for_each(|source| line(source, &format!("{:>9} bytes of", source.bytes)));
    out.line(&format!("{} more were there before it", found.could.len()));
    found.could.iter().rev().take(COULD_MAX).for_each(|source| line(source, "could have carried"));
    if found.could.len() > COULD_MAX {
        out.line(&format!("  and {} earlier ones (`--json` lists all)", found.could.len() - COULD_MAX));
    }
    found.unseen.iter().for_each(|why| out.line(&format!("  not seen: {}", visible(why))));
    print(out, &found.trace);
    Ok(())
}

/// Contents that are listed without bytes that went out, the latest first.
const COULD_MAX: usize = 20;

fn print(out: Output, trace: &Trace) {
    let known: BTreeSet<u64> = trace.nodes.iter().map(|n| n.seq).collect();
    let mut children = BTreeMap::<Option<u64>, Vec<&TraceNode>>::new();
    for node in &trace.nodes {
        children.entry(node.parent.filter(|p| known.contains(p))).or_default().push(node);
    }
    // INVARIANT: a parent has a lower number than its children, so the walk ends.
    let roots = children.get(&None).map(Vec::as_slice).unwrap_or_default();
    let mut waiting: Vec<(&TraceNode, String, String)> =
        roots.iter().rev().map(|n| (*n, String::new(), String::new())).collect();
    while let Some((node, lead, below)) = waiting.pop() {
        line(out, node, &lead, trace.focus == Some(node.seq));
        let under = children.get(&Some(node.seq)).map(Vec::as_slice).unwrap_or_default();
        for (at, child) in under.iter().enumerate().rev() {
            let is_last = at + 1 == under.len();
            let (branch, rest) = if is_last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
            waiting.push((child, format!("{below}{branch}"), format!("{below}{rest}")));
        }
    }
}

fn line(out: Output, node: &TraceNode, lead: &str, is_focus: bool) {
    let mut said = visible(&node.said);
    if node.verdict.is_none() && node.kind != "open" {
        said = format!("{} {said}", node.kind);
    }
    let became = match (node.verdict.as_deref(), node.became.as_deref()) {
        (Some("allow"), Some(became)) => format!("  {became}"),
        (Some(verdict), Some(became)) if became.contains("refused") => format!("  {verdict}"),
        (Some(verdict), Some(became)) => format!("  {verdict}; {became}"),
        _ => String::new(),
    };
    let because = match node.because.as_slice() {
        [] => String::new(),
        some => {
            let shown = some.iter().take(6).map(u64::to_string).collect::<Vec<_>>().join(", ");
            format!("  (because of {shown}{})", if some.len() > 6 { ", …" } else { "" })
        }
    };
    let room =
        out.columns().saturating_sub(7 + lead.chars().count() + became.chars().count() + because.chars().count());
    let said = if out.is_terminal() { cut(&said, room.max(24)) } else { said };
    let said = if is_focus { out.paint(Style::Bold, &said) } else { said };
    let style = node.verdict.as_deref().map_or(Style::Plain, Style::of_verdict);
    out.line(&format!(
        "{}{}{said}{}{}",
        out.paint(Style::Dim, &format!("{:>5}  ", node.seq)),
        out.paint(Style::Dim, lead),
        out.paint(style, &visible(&became)),
        out.paint(Style::Dim, &because)
    ));
}
