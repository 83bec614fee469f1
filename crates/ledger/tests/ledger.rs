//! The ledger as its users see it: what is appended is read back, across handles, restarts and processes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use flyball_ledger::{Digest, Draft, ENTRY_BYTES_MAX, Filter, Kind, Ledger, LedgerError};
use serde_json::{Value, json};

fn draft(at_ns: u64, kind: Kind, body: Value) -> Draft {
    Draft { at_ns, kind, actor: "tester".into(), cause: vec![], body }
}

fn all(ledger: &Ledger, stream: &str) -> Vec<flyball_ledger::Entry> {
    ledger.entries(stream, .., Filter::default()).unwrap().collect::<Result<_, _>>().unwrap()
}

#[test]
fn what_is_appended_is_read_back_and_numbers_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("a/ledger");
    for round in 0..3u64 {
        let ledger = Ledger::open(&dir).unwrap();
        let stream = ledger.stream("s-1").unwrap();
        assert_eq!(stream.last_seq(), round * 10);
        for n in 1..=10u64 {
            let kind = if n == 1 { Kind::Open } else { Kind::Attempt };
            let seq =
                stream.append(draft(round * 100 + n, kind, json!({"name": "demo", "n": n, "b": [1.5, null]}))).unwrap();
            assert_eq!(seq, round * 10 + n);
        }
        stream.durable(round * 10 + 10).unwrap();
        let entries = all(&ledger, "s-1");
        assert_eq!(entries.len() as u64, round * 10 + 10);
        for (n, entry) in entries.iter().enumerate() {
            assert_eq!((entry.seq, entry.index), (n as u64 + 1, n as u64));
            assert_eq!(entry.leaf, flyball_ledger::merkle::leaf_digest(&entry.raw));
            assert_eq!(*entry, ledger.entry("s-1", entry.seq).unwrap());
        }
        let text = String::from_utf8(entries[0].raw.clone()).unwrap();
        assert_eq!(
            text,
            r#"{"stream":"s-1","seq":1,"at":"1970-01-01T00:00:00.000000001Z","kind":"open","actor":"tester","cause":[],"body":{"name":"demo","n":1,"b":[1.5,null]}}"#
        );
        let reader = Ledger::open_read(&dir).unwrap();
        assert_eq!(all(&reader, "s-1"), entries);
        assert!(reader.is_owned("s-1"));
        drop(stream);
        assert!(!reader.is_owned("s-1"));
        let info = reader.streams().unwrap();
        assert_eq!((info.len(), info[0].name.as_deref(), info[0].last_seq), (1, Some("demo"), round * 10 + 10));
        assert_eq!((info[0].opened_at_ns, info[0].closed_at_ns), (Some(1), None));
    }
}

#[test]
fn filters_ranges_and_prefixes() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(dir.path()).unwrap();
    let ab = ledger.stream("ab-1").unwrap();
    let _ac = {
        let s = ledger.stream("ac-2").unwrap();
        s.append(draft(5, Kind::Open, json!({"name": "other"}))).unwrap();
        s
    };
    ab.append(draft(1, Kind::Open, json!({}))).unwrap();
    for n in 2..700 {
        let mut d = draft(n, if n % 2 == 0 { Kind::Attempt } else { Kind::Ruling }, json!({}));
        d.cause = vec![n - 1];
        ab.append(d).unwrap();
    }
    ab.append(draft(700, Kind::Close, json!({}))).unwrap();
    ledger.flush().unwrap();
    let seqs = |range: std::ops::RangeInclusive<u64>, filter: Filter| -> Vec<u64> {
        ledger.entries("ab-1", range, filter).unwrap().map(|e| e.unwrap().seq).collect()
    };
    assert_eq!(seqs(1..=u64::MAX, Filter::default()), (1..=700).collect::<Vec<_>>());
    assert_eq!(seqs(698..=1000, Filter::default()), [698, 699, 700]);
    assert_eq!(seqs(1..=9, Filter { kinds: vec![Kind::Ruling], ..Filter::default() }), [3, 5, 7, 9]);
    assert_eq!(seqs(1..=700, Filter { caused_by: Some(4), ..Filter::default() }), [5]);
    assert_eq!(seqs(1..=700, Filter { since_ns: Some(699), ..Filter::default() }), [699, 700]);
    assert_eq!(ledger.resolve("ab").unwrap(), "ab-1");
    assert_eq!(ledger.resolve("other").unwrap(), "ac-2");
    assert!(matches!(ledger.resolve("a"), Err(LedgerError::Ambiguous { candidates, .. }) if candidates.len() == 2));
    assert!(matches!(ledger.resolve(""), Err(LedgerError::NoStream(_))));
    assert!(matches!(ledger.entry("ab-1", 701), Err(LedgerError::NoEntry { .. })));
    assert_eq!(ledger.streams().unwrap()[1].closed_at_ns, Some(700));
}

#[test]
fn refused_entries_use_no_number() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(dir.path()).unwrap();
    let stream = ledger.stream("s").unwrap();
    stream.append(draft(10, Kind::Open, json!({}))).unwrap();
    assert!(matches!(stream.append(draft(9, Kind::Tick, json!({}))), Err(LedgerError::TimeBackwards { .. })));
    for cause in [0, 2, 9] {
        let d = Draft { cause: vec![1, cause], ..draft(11, Kind::Tick, json!({})) };
        assert!(matches!(stream.append(d), Err(LedgerError::Cause { cause: c, .. }) if c == cause));
    }
    let long = Draft { actor: "x".repeat(70_000), ..draft(11, Kind::Tick, json!({})) };
    assert!(matches!(stream.append(long), Err(LedgerError::EntryTooLarge { .. })));
    assert_eq!(stream.append(draft(10, Kind::Tick, json!({}))).unwrap(), 2);
    assert!(matches!(stream.durable(3), Err(LedgerError::NoEntry { .. })));
    assert!(matches!(ledger.stream("s"), Err(LedgerError::StreamOwned(_))));
    for name in ["", ".x", "a/b", "a b", &"x".repeat(129)] {
        assert!(matches!(ledger.stream(name), Err(LedgerError::StreamName(_))), "{name}");
    }
    let reader = Ledger::open_read(dir.path()).unwrap();
    assert!(matches!(reader.stream("t"), Err(LedgerError::ReadOnly(_))));
    assert!(matches!(reader.put_blob(b"x"), Err(LedgerError::ReadOnly(_))));
}

#[test]
fn what_is_staged_is_queued_in_order_with_the_bytes_of_what_is_appended() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(dir.path()).unwrap();
    let blob = ledger.put_blob(b"content").unwrap().to_string();
    let payload = ledger.payload(&[b's'; 5000]).unwrap();
    let deep = (0..99).fold(json!(1), |inner, _| json!([inner]));
    let bodies = [
        json!({"verb": "fs.write", "of": 7, "b": [1.5, null], "said": "a \"blob\": \\ {[\u{7}"}),
        json!({"workspace": {"changes": [{"path": "a", "blob": blob}]}}),
        json!({"blob": "sha256:none", "commitment": blob}),
        json!({ "found": [1, payload] }),
        json!({ "deep": deep }),
        json!({"long": "x".repeat(ENTRY_BYTES_MAX)}),
    ];
    let (one, other) = (ledger.stream("one").unwrap(), ledger.stream("two").unwrap());
    for (n, body) in (1..).zip(&bodies) {
        assert_eq!(one.append(draft(n, Kind::Attempt, body.clone())).unwrap(), n);
        assert_eq!(other.stage(n, Kind::Attempt, "tester", &[], body).unwrap(), n);
        assert_eq!(other.last_seq(), n);
    }
    let too_deep = json!({ "deep": [deep, [[0]]], "more": [[json!([bodies[4].clone()])]] });
    assert!(matches!(other.stage(9, Kind::Tick, "t", &[], &too_deep), Err(LedgerError::Malformed { .. })));
    assert!(matches!(other.stage(5, Kind::Tick, "t", &[], &()), Err(LedgerError::TimeBackwards { .. })));
    assert!(matches!(other.stage(9, Kind::Tick, "t", &[7], &()), Err(LedgerError::Cause { .. })));
    one.flush().unwrap();
    assert!(matches!(ledger.entries("two", .., Filter::default()), Err(LedgerError::NoStream(_))));
    let last = other.append(draft(9, Kind::Tick, json!({}))).unwrap();
    other.durable(last).unwrap();
    let (appended, staged) = (all(&ledger, "one"), all(&ledger, "two"));
    assert_eq!((appended.len(), staged.len(), last), (6, 7, 7));
    for (one, other) in appended.iter().zip(&staged) {
        // A payload's salt is random: two of one body are two payloads.
        let is_payload = one.body.get("payload").is_some();
        assert_eq!(is_payload, other.body.get("payload").is_some());
        let renamed = String::from_utf8(other.raw.clone()).unwrap().replace("\"stream\":\"two\"", "\"stream\":\"one\"");
        assert!(is_payload || renamed.as_bytes() == one.raw, "{renamed}");
        assert!(is_payload || one.refs == other.refs);
    }
    assert_eq!((staged[1].refs.blobs.len(), staged[3].refs.payloads.len()), (1, 1));
    // Waiting for it, and letting go of the stream, queue it as well.
    other.stage(9, Kind::Tick, "t", &[], &()).unwrap();
    other.durable(8).unwrap();
    other.stage(9, Kind::Tick, "t", &[], &()).unwrap();
    drop(other);
    assert_eq!(all(&ledger, "two").len(), 9);
}

#[test]
fn what_a_body_is_said_to_name_is_what_its_entry_relies_on() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(dir.path()).unwrap();
    let stream = ledger.stream("s").unwrap();
    let (blob, none) = (ledger.put_blob(b"content").unwrap(), Digest::of(b"never stored"));
    let body = json!({"changes": [{"blob": blob.to_string()}, {"blob": none.to_string()}]});
    let long = json!({"changes": [{"blob": blob.to_string(), "path": "x".repeat(ENTRY_BYTES_MAX)}]});
    let named = || [blob, none].into();
    let seq = stream.append_naming((1, Kind::Observe), "tester", &[], &body, named()).unwrap();
    stream.append_naming((1, Kind::Observe), "tester", &[seq], &long, named()).unwrap();
    assert!(matches!(
        stream.append_naming((0, Kind::Observe), "tester", &[], &body, named()),
        Err(LedgerError::TimeBackwards { .. })
    ));
    stream.flush().unwrap();
    let entries = all(&ledger, "s");
    assert_eq!((entries.len(), &entries[0].body, entries[0].actor.as_str()), (2, &body, "tester"));
    assert_eq!((entries[0].refs.blobs.clone(), entries[0].refs.payloads.len()), (vec![blob], 0));
    assert_eq!(ledger.body(&entries[1]).unwrap(), long);
    assert_eq!((entries[1].refs.blobs.clone(), entries[1].refs.payloads.len()), (vec![blob], 1));
    assert!(ledger.verify(None).unwrap().ok);
}

#[test]
fn blobs_payloads_and_large_bodies() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(dir.path()).unwrap();
    let stream = ledger.stream("s").unwrap();
    let big: Vec<u8> = (0..3_000_000u32).map(|n| ((n * 7) >> 3) as u8).collect();
    let digest = ledger.put_blob(&big).unwrap();
    assert_eq!(digest, Digest::of(&big));
    let small = ledger.payload(b"hello").unwrap();
    assert_eq!(small, json!({"text": "hello"}));
    let binary = ledger.payload(&[0xff, 0]).unwrap();
    let large = ledger.payload(&big[..5000]).unwrap();
    assert!(!large.to_string().contains(&Digest::of(&big[..5000]).to_hex()), "an entry must not tell the digest");
    let huge = json!({"argv": ["x".repeat(200_000)]});
    stream.append(draft(1, Kind::Observe, json!({"blob": digest, "large": large}))).unwrap();
    let seq = stream.append(draft(1, Kind::Attempt, huge.clone())).unwrap();
    stream.durable(seq).unwrap();
    for ledger in [&ledger, &Ledger::open_read(dir.path()).unwrap()] {
        assert_eq!(ledger.blob(&digest).unwrap(), big);
        assert_eq!(ledger.payload_bytes(&small).unwrap(), b"hello");
        assert_eq!(ledger.payload_bytes(&binary).unwrap(), [0xff, 0]);
        assert_eq!(ledger.payload_bytes(&large).unwrap(), &big[..5000]);
        let entry = ledger.entry("s", seq).unwrap();
        assert!(entry.raw.len() < ENTRY_BYTES_MAX);
        assert_eq!(ledger.body(&entry).unwrap(), huge);
        assert!(matches!(ledger.blob(&Digest::of(b"none")), Err(LedgerError::NoBlob(_))));
    }
    let (again, bytes) = ledger.put_blob_from(&big[..]).unwrap();
    assert_eq!((again, bytes), (digest, big.len() as u64));
    let (streamed, _) = ledger.put_blob_from(&big[1..2_500_000]).unwrap();
    let (empty, _) = ledger.put_blob_from(&[][..]).unwrap();
    ledger.flush().unwrap();
    assert_eq!(ledger.blob(&streamed).unwrap(), &big[1..2_500_000]);
    assert_eq!(ledger.blob(&empty).unwrap(), b"");
    let left: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|f| f.unwrap().file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().starts_with("spool")), "{left:?}");
}

#[test]
fn what_agents_write_cannot_make_a_ledger_look_incomplete() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(dir.path()).unwrap();
    let stream = ledger.stream("s").unwrap();
    let real = ledger.payload(&[1; 5000]).unwrap();
    let blob = ledger.put_blob(b"content").unwrap();
    let none = Digest::of(b"never stored");
    // Theirs nested in ours, as an agent's arguments would be.
    let body = json!({"attrs": {"blob": none, "commitment": none, "x": [{"commitment": none}]}, "stdin": real, "to": {"blob": blob}});
    stream.append(draft(1, Kind::Attempt, body)).unwrap();
    // A name for content that is stored, as a body of another handle or time would have it.
    ledger.flush().unwrap();
    let again = Ledger::open(dir.path()).unwrap();
    let other = again.stream("t").unwrap();
    other.append(draft(1, Kind::Attempt, json!({"blob": blob, "in": real}))).unwrap();
    other.flush().unwrap();
    for stream in ["s", "t"] {
        let entry = again.entry(stream, 1).unwrap();
        assert_eq!((entry.refs.blobs.clone(), entry.refs.payloads.len()), (vec![blob], 1), "{}", entry.to_json());
        assert!(!entry.refs.payloads.contains(&none));
    }
    let report = again.verify(None).unwrap();
    assert!(report.ok, "{report:#?}");

    // Nor make one too long by naming more than it can hold.
    let many: Vec<Value> = (0..2000)
        .map(|n| json!({ "blob": ledger.put_blob(format!("{n}").as_bytes()).unwrap().to_string(), "n": n }))
        .collect();
    let seq = stream.append(draft(2, Kind::Attempt, json!(many))).unwrap();
    stream.durable(seq).unwrap();
    let entry = ledger.entry("s", seq).unwrap();
    assert_eq!(entry.refs.blobs.len(), 768);
    assert_eq!(ledger.body(&entry).unwrap(), json!(many));

    // Nor make an entry that nobody can read back.
    let deep = |levels| (0..levels).fold(json!(1), |inner, _| Value::Array(vec![inner]));
    assert!(matches!(stream.append(draft(2, Kind::Attempt, deep(500))), Err(LedgerError::Malformed { .. })));
    let seq = stream.append(draft(2, Kind::Attempt, deep(100))).unwrap();
    stream.durable(seq).unwrap();
    assert_eq!(ledger.entry("s", seq).unwrap().body, deep(100));
    let big = json!([deep(99), "x".repeat(100_000)]);
    let seq = stream.append(draft(2, Kind::Attempt, big.clone())).unwrap();
    stream.durable(seq).unwrap();
    assert_eq!(ledger.body(&ledger.entry("s", seq).unwrap()).unwrap(), big);
    assert!(ledger.verify(None).unwrap().ok);
}
