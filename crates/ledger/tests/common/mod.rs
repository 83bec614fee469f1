//! What several of these tests write their ledgers with.
#![allow(clippy::unwrap_used, reason = "tests")]

use flyball_ledger::{Draft, Kind, Ledger};
use serde_json::Value;

/// Appends one entry to a stream, which it opens and gives back; on the disk when this returns.
pub fn append(ledger: &Ledger, stream: &str, body: Value) -> u64 {
    let stream = ledger.stream(stream).unwrap();
    let kind = if stream.last_seq() == 0 { Kind::Open } else { Kind::Attempt };
    let at_ns = stream.last_at_ns() + 1;
    let seq = stream.append(Draft { at_ns, kind, actor: "x".into(), cause: vec![], body }).unwrap();
    stream.flush().unwrap();
    seq
}
