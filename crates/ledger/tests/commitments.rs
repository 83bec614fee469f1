//! What an entry says of content that may have to be erased: the same for every format, opened in one way only, and nothing once it is
//! erased.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod common;

use common::append;
use flyball_ledger::bundle::{self, Export, Limits};
use flyball_ledger::{Digest, Ledger, LedgerError, Report, commit};
use rusqlite::Connection;
use serde_json::json;
use std::path::Path;

/// What stands before the salt in what is hashed.
const TAG: [u8; 32] = *b"flyball.local/payload-commitment";

fn db(dir: &Path) -> Connection {
    Connection::open(dir.join("ledger.db")).unwrap()
}

/// The commitment, the salt and the digest of the only payload.
fn row(dir: &Path) -> ([u8; 32], [u8; 32], [u8; 32]) {
    let columns = "SELECT commitment, salt, digest FROM payloads";
    db(dir).query_row(columns, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).unwrap()
}

fn over_content(salt: &[u8; 32], bytes: &[u8]) -> Digest {
    Digest::of(&[salt, bytes].concat())
}

fn long(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at % 253) as u8).collect()
}

/// A ledger as the format before had it: a payload in the database or in a file, and its entry, which commits to salt and content.
fn earlier(dir: &Path, bytes: &[u8]) -> (Ledger, u64, Digest) {
    let (ledger, salt) = (Ledger::open(dir).unwrap(), [7; 32]);
    append(&ledger, "s", json!({"name": "s"}));
    let (digest, _) = ledger.put_blob_from(bytes).unwrap();
    ledger.flush().unwrap();
    let commitment = over_content(&salt, bytes);
    db(dir).execute("INSERT INTO payloads VALUES (?1, ?2, ?3)", (commitment.0, salt, digest.0)).unwrap();
    let seq = append(&ledger, "s", json!({"stdin": {"bytes": bytes.len(), "commitment": commitment.to_string()}}));
    assert_eq!(ledger.entry("s", seq).unwrap().refs.payloads, [commitment]);
    drop(ledger);
    db(dir).execute_batch("PRAGMA user_version = 2").unwrap();
    (Ledger::open(dir).unwrap(), seq, commitment)
}

fn exported(ledger: &Ledger, payloads: bool) -> Vec<u8> {
    let mut out = Vec::new();
    ledger.export(&Export { session: "s".into(), payloads, ..Export::default() }, &mut out).unwrap();
    out
}

fn read(bytes: &[u8]) -> Report {
    bundle::read(bytes, Path::new("x"), Limits::default()).unwrap().report
}

#[track_caller]
fn tells(report: &Report, seq: u64, codes: &[&str]) {
    let mut found: Vec<_> = report.problems.iter().map(|problem| problem.code).collect();
    found.sort_unstable();
    assert_eq!(found, codes, "{:#?}", report.problems);
    assert!(report.problems.iter().all(|problem| problem.seq == Some(seq)), "{:#?}", report.problems);
}

#[test]
fn a_commitment_is_over_the_tag_the_salt_and_the_digest() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(dir.path()).unwrap();
    append(&ledger, "s", json!({"name": "s"}));
    let member = ledger.payload(&long(9000)).unwrap();
    append(&ledger, "s", json!({ "stdin": member }));
    let (commitment, salt, digest) = row(dir.path());
    assert_eq!(Digest(digest), Digest::of(&long(9000)));
    assert_eq!(Digest(commitment), Digest::of(&[TAG, salt, digest].concat()));
    assert_eq!(Digest(commitment), commit(&salt, &Digest(digest)));
    assert_eq!(member["commitment"], Digest(commitment).to_string());
}

#[test]
fn what_earlier_formats_committed_to_still_verifies_and_is_erased() {
    for length in [9000, (1 << 20) + 5] {
        let (dir, bytes) = (tempfile::tempdir().unwrap(), long(length));
        let (ledger, seq, commitment) = earlier(dir.path(), &bytes);
        assert!(ledger.verify(None).unwrap().ok);
        let (raw, proof) = ledger.prove_entry("s", seq).unwrap();
        assert!(ledger.payload_bytes(&ledger.entry("s", seq).unwrap().body["stdin"]).unwrap() == bytes);
        let whole = exported(&ledger, true);
        assert!(read(&whole).ok && read(&exported(&ledger, false)).ok);
        // The same content, by today's commitment: one copy, and either holds.
        let again = append(&ledger, "s", json!({"stdin": ledger.payload(&bytes).unwrap()}));
        assert!(ledger.verify(None).unwrap().ok && read(&exported(&ledger, true)).ok);
        let held = ledger.stream("s").unwrap();
        assert_eq!(ledger.erase(&held, again, "user:ann", "asked", 77).unwrap().kept_for, [("s".to_owned(), seq)]);
        assert_eq!(ledger.erase(&held, seq, "user:ann", "asked", 78).unwrap().blobs, 1);
        let report = ledger.verify(None).unwrap();
        assert!(report.ok && report.erased.len() == 2, "{report:#?}");
        let (checkpoint, _) = ledger.keys().open(&proof.note).unwrap();
        assert!(proof.holds(&raw.raw, &checkpoint) && raw.refs.payloads == [commitment]);
        assert!(read(&exported(&ledger, true)).ok);
    }
}

/// A bundle of the first version is read as it was.
#[test]
fn bundles_of_both_versions_are_read_and_others_are_not() {
    let dir = tempfile::tempdir().unwrap();
    let (ledger, ..) = earlier(dir.path(), &long(9000));
    let whole = exported(&ledger, true);
    let at = whole.windows(11).position(|window| window == b"\"version\":2").unwrap() + 10;
    for (version, is_read) in [(b'0', false), (b'1', true), (b'2', true), (b'3', false)] {
        let mut other = whole.clone();
        other[at] = version;
        match bundle::read(other.as_slice(), Path::new("x"), Limits::default()) {
            Ok(opened) => assert!(is_read && opened.report.ok, "{version}"),
            Err(error) => assert!(!is_read && matches!(error, LedgerError::BundleVersion { .. }), "{version} {error}"),
        }
    }
}

#[test]
fn content_that_was_altered_is_found_by_both_kinds() {
    let flip = "UPDATE chunks SET data = CAST(substr(data, 1, 4000) || x'00' || substr(data, 4002) AS BLOB)";
    for is_earlier in [true, false] {
        let dir = tempfile::tempdir().unwrap();
        let (ledger, seq) = if is_earlier {
            let (ledger, seq, _) = earlier(dir.path(), &long(9000));
            (ledger, seq)
        } else {
            let ledger = Ledger::open(dir.path()).unwrap();
            append(&ledger, "s", json!({"name": "s"}));
            let seq = append(&ledger, "s", json!({"stdin": ledger.payload(&long(9000)).unwrap()}));
            (ledger, seq)
        };
        db(dir.path()).execute_batch(flip).unwrap();
        tells(&ledger.verify(None).unwrap(), seq, &["FB0340", "FB0341"]);
        // The salt alone, with content that is whole.
        db(dir.path()).execute("UPDATE chunks SET data = ?1", [long(9000)]).unwrap();
        assert!(ledger.verify(None).unwrap().ok);
        db(dir.path()).execute_batch("UPDATE payloads SET salt = zeroblob(32)").unwrap();
        tells(&ledger.verify(None).unwrap(), seq, &["FB0341"]);
        tells(&read(&exported(&ledger, true)), seq, &["FB0341"]);
        let read = ledger.payload_bytes(&ledger.entry("s", seq).unwrap().body["stdin"]);
        assert!(matches!(read, Err(LedgerError::Damaged { .. })));
    }
}

/// What is hashed for one kind, cut elsewhere, is what is hashed for the other: whoever holds the ledger could show an entry to be of
/// content that never was.
#[test]
fn no_commitment_opens_in_two_ways() {
    // Today's, as a salt that is the tag, and content that is salt and digest.
    let dir = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(dir.path()).unwrap();
    append(&ledger, "s", json!({"name": "s"}));
    let seq = append(&ledger, "s", json!({"stdin": ledger.payload(&long(9000)).unwrap()}));
    let (commitment, salt, digest) = row(dir.path());
    let forged = [salt, digest].concat();
    assert_eq!(over_content(&TAG, &forged), Digest(commitment), "it would open");
    let other = ledger.put_blob(&forged).unwrap();
    ledger.flush().unwrap();
    db(dir.path()).execute("UPDATE payloads SET salt = ?1, digest = ?2", (TAG, other.0)).unwrap();
    tells(&ledger.verify(None).unwrap(), seq, &["FB0341"]);
    let bundle = read(&exported(&ledger, true));
    assert!(bundle.problems.iter().any(|p| p.code == "FB0341" && p.seq == Some(seq)), "{:#?}", bundle.problems);
    let member = ledger.entry("s", seq).unwrap().body["stdin"].clone();
    assert!(matches!(ledger.payload_bytes(&member), Err(LedgerError::Damaged { .. })));

    // An earlier one, with a longer salt that takes in what the content began with.
    let dir = tempfile::tempdir().unwrap();
    let bytes = long(9000);
    let (ledger, seq, commitment) = earlier(dir.path(), &bytes);
    let salt = [[7; 32].as_slice(), &bytes[..4000]].concat();
    assert_eq!(Digest::of(&[&salt, &bytes[4000..]].concat()), commitment, "it would open");
    let other = ledger.put_blob(&bytes[4000..]).unwrap();
    ledger.flush().unwrap();
    db(dir.path()).execute("UPDATE payloads SET salt = ?1, digest = ?2", (salt, other.0)).unwrap();
    tells(&ledger.verify(None).unwrap(), seq, &["FB0341"]);
    assert!(ledger.payload_bytes(&ledger.entry("s", seq).unwrap().body["stdin"]).is_err());
}

fn is_anywhere(dir: &Path, wanted: &[u8]) -> bool {
    std::fs::read_dir(dir).unwrap().map(Result::unwrap).any(|entry| {
        if entry.file_type().unwrap().is_dir() {
            return entry.file_name().to_string_lossy().contains(&String::from_utf8_lossy(wanted)[..])
                || is_anywhere(&entry.path(), wanted);
        }
        entry.file_name().as_encoded_bytes() == wanted
            || std::fs::read(entry.path()).unwrap().windows(wanted.len()).any(|w| w == wanted)
    })
}

/// With either of them left, a guess at the content could be held against the commitment.
#[test]
fn of_erased_content_neither_salt_nor_digest_is_left() {
    for length in [9000, (1 << 20) + 5] {
        let dir = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(dir.path()).unwrap();
        append(&ledger, "s", json!({"name": "s"}));
        let bytes = long(length);
        let member = if length > 1 << 20 {
            let mut content = ledger.begin_content().unwrap();
            content.add(&bytes).unwrap();
            content.store_payload(None).unwrap()
        } else {
            ledger.payload(&bytes).unwrap()
        };
        let seq = append(&ledger, "s", json!({ "stdin": member }));
        let (_, salt, digest) = row(dir.path());
        let hex = Digest(digest).to_hex();
        assert!(is_anywhere(dir.path(), &salt) && is_anywhere(dir.path(), &digest));
        let done = ledger.erase(&ledger.stream("s").unwrap(), seq, "user:ann", "asked", 77).unwrap();
        assert!((done.blobs, done.payloads, done.is_out_of_log) == (1, 1, true));
        for left in [&salt[..], &digest, hex.as_bytes()] {
            assert!(!is_anywhere(dir.path(), left), "{length}");
        }
    }
}
