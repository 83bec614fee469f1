#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
use super::*;
use crate::exports::tests::session;

/// What is sent while a session runs is what is exported of it afterwards, with what caused what.
#[test]
fn what_is_sent_live_is_what_is_exported() {
    let (_dir, ledger, history) = session();
    let mut spans = Spans::new("s");
    for entry in ledger.entries("s", .., Filter::default()).unwrap() {
        spans.take(entry.unwrap());
    }
    spans.end();
    let (exported, _) = super::super::otlp::traces(&history).unwrap();
    let sorted = |mut all: Vec<Json>| {
        all.sort_by_key(|span| span["spanId"].to_string());
        all
    };
    let exported = exported["resourceSpans"][0]["scopeSpans"][0]["spans"].as_array().unwrap().clone();
    let (live, exported) = (sorted(spans.ended.into()), sorted(exported));
    assert_eq!(live.len(), exported.len());
    live.iter().zip(&exported).for_each(|(live, exported)| assert_eq!(live, exported));
}
