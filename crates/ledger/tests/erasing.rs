//! Erasure: content and salt are gone from every file, the entries and every proof stand, and only what was asked for is lost.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

mod common;

use common::append;
use flyball_ledger::bundle::{self, Export, Limits};
use flyball_ledger::{Draft, Kind, Ledger, LedgerError};
use serde_json::json;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};

const SECRET: &str = "a-secret-that-must-be-forgotten-";

/// Whether these bytes are in any file of the folder.
fn is_anywhere(dir: &Path, wanted: &[u8]) -> bool {
    std::fs::read_dir(dir).unwrap().map(Result::unwrap).any(|entry| {
        if entry.file_type().unwrap().is_dir() {
            return is_anywhere(&entry.path(), wanted);
        }
        std::fs::read(entry.path()).unwrap().windows(wanted.len()).any(|w| w == wanted)
    })
}

#[test]
fn what_is_erased_is_gone_and_all_else_stands() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(dir.path()).unwrap();
    let secret = SECRET.repeat(300).into_bytes();
    append(&ledger, "s", json!({"name": "s"}));
    let one = append(&ledger, "s", json!({"stdin": ledger.payload(&secret).unwrap()}));
    let file = append(&ledger, "s", json!({"blob": ledger.put_blob(b"a file's content, shared").unwrap()}));
    append(&ledger, "t", json!({"name": "t"}));
    let two = append(&ledger, "t", json!({"stdin": ledger.payload(&secret).unwrap()}));
    let other = append(&ledger, "t", json!({"blob": ledger.put_blob(b"a file's content, shared").unwrap()}));
    ledger.flush().unwrap();
    let (before, proof) = ledger.prove_entry("s", one).unwrap();
    let erase = |stream: &str, seq: u64| {
        let held = ledger.stream(stream).unwrap();
        ledger.erase(&held, seq, "user:ann", "asked for by the person", 77)
    };
    assert!(matches!(erase("s", 1), Err(LedgerError::NothingToErase { .. })), "it stands in the entry");
    assert!(matches!(erase("s", 99), Err(LedgerError::NoEntry { .. })));
    {
        let running = ledger.stream("t").unwrap();
        assert!(matches!(erase("s", one), Err(LedgerError::Running(who)) if who == ["t"]));
        drop(running);
    }

    // The other entry that has the same content keeps it, under a commitment of its own.
    let done = erase("s", one).unwrap();
    assert_eq!((done.payloads, done.blobs, done.kept_for.clone()), (1, 0, vec![("t".to_owned(), two)]));
    assert_eq!(ledger.payload_bytes(&ledger.entry("t", two).unwrap().body["stdin"]).unwrap(), secret);
    assert!(matches!(
        ledger.payload_bytes(&ledger.entry("s", one).unwrap().body["stdin"]),
        Err(LedgerError::NoBlob(_))
    ));
    assert!(is_anywhere(dir.path(), SECRET.as_bytes()));
    let report = ledger.verify(None).unwrap();
    assert!(report.ok, "{:#?}", report.problems);
    assert_eq!(
        (report.erased[0].seq, report.erased[0].entry, report.erased[0].by.as_str()),
        (one, done.entry, "user:ann")
    );
    let again = erase("s", one).unwrap_err().to_string();
    assert!(again.contains(&format!("entry {} of s records its erasure", done.entry)), "once: {again}");

    let done = erase("t", two).unwrap();
    assert_eq!((done.payloads, done.blobs, done.kept_for.len()), (1, 1, 0));
    assert!(done.is_out_of_log);
    assert!(!is_anywhere(dir.path(), SECRET.as_bytes()), "no file has it any more");
    // A file's content that two entries rely on goes when both gave it up.
    let done = erase("s", file).unwrap();
    assert_eq!((done.blobs, done.kept_for), (0, vec![("t".to_owned(), other)]));
    assert!(ledger.verify(None).unwrap().ok);
    assert_eq!(erase("t", other).unwrap().blobs, 1);
    assert!(!is_anywhere(dir.path(), b"a file's content, shared"));
    for of in [None, Some("s"), Some("t")] {
        let report = ledger.verify(of).unwrap();
        assert!(report.ok, "{of:?} {:#?}", report.problems);
        assert_eq!(report.erased.len(), if of.is_none() { 4 } else { 2 });
    }
    // The entry is as it was, and the proof from before still holds.
    let (checkpoint, _) = ledger.keys().open(&proof.note).unwrap();
    assert!(proof.holds(&ledger.entry("s", one).unwrap().raw, &checkpoint));
    assert_eq!(ledger.entry("s", one).unwrap().raw, before.raw);
    let mut bytes = Vec::new();
    ledger.export(&Export { session: "s".into(), payloads: true, ..Export::default() }, &mut bytes).unwrap();
    let opened = bundle::read(bytes.as_slice(), Path::new("x"), Limits::default()).unwrap();
    assert!(opened.report.ok, "{:#?}", opened.report.problems);
    assert_eq!((opened.report.erased.len(), opened.blobs), (2, 0));
    // What was erased may come again, as another's.
    let again = append(
        &ledger,
        "t",
        json!({"stdin": ledger.payload(&secret).unwrap(), "blob": ledger.put_blob(b"a file's content, shared").unwrap()}),
    );
    ledger.flush().unwrap();
    let report = ledger.verify(None).unwrap();
    assert!(report.ok, "{:#?}", report.problems);
    assert_eq!(ledger.payload_bytes(&ledger.entry("t", again).unwrap().body["stdin"]).unwrap(), secret);
}

#[test]
fn what_goes_without_being_recorded_is_still_a_loss() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(dir.path()).unwrap();
    append(&ledger, "s", json!({"name": "s"}));
    let (one, two) = (
        append(&ledger, "s", json!({"stdin": ledger.payload(SECRET.repeat(300).as_bytes()).unwrap()})),
        append(&ledger, "s", json!({"stdin": ledger.payload(SECRET.repeat(301).as_bytes()).unwrap()})),
    );
    let held = ledger.stream("s").unwrap();
    ledger.erase(&held, one, "user:ann", "", 7).unwrap();
    drop((held, ledger));
    rusqlite::Connection::open(dir.path().join("ledger.db")).unwrap().execute("DELETE FROM payloads", []).unwrap();
    let report = Ledger::open_read(dir.path()).unwrap().verify(None).unwrap();
    assert!(report.problems.iter().any(|p| p.code == "FB0341" && p.seq == Some(two)), "{report:#?}");
    assert!(!report.problems.iter().any(|p| p.seq == Some(one)), "{report:#?}");
}

/// This test binary again, as `child`, on the ledger in `dir`; returns once it has said so.
fn child_that(does: &str, dir: &Path) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--ignored", "--exact", "child", "--nocapture", "--test-threads=1"]);
    command.env("LEDGER_DIR", dir).env("LEDGER_CHILD", does);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert!(lines.any(|line| line == "ready"), "{does}");
    child
}

#[test]
#[ignore = "the others' child process"]
fn child() {
    let (Some(dir), Ok(does)) = (std::env::var_os("LEDGER_DIR"), std::env::var("LEDGER_CHILD")) else { return };
    let ledger = Ledger::open(Path::new(&dir)).unwrap();
    let stream = ledger.stream("s").unwrap();
    let append = |kind, body| stream.append(Draft { at_ns: 1, kind, actor: "x".into(), cause: vec![], body }).unwrap();
    append(Kind::Open, json!({"name": "s"}));
    append(Kind::Attempt, json!({"stdin": ledger.payload(&secret()).unwrap()}));
    append(Kind::Attempt, json!({"blob": ledger.put_blob(&content()).unwrap()}));
    stream.flush().unwrap();
    match does.as_str() {
        // Acknowledged, and by no means committed.
        "holds the stream" => stream.on_disk(append(Kind::Attempt, json!({"n": 4}))).unwrap(),
        "gave the stream back" => drop(stream),
        other => panic!("{other}"),
    }
    println!("\nready");
    std::io::stdout().flush().unwrap();
    std::io::stdin().read_line(&mut String::new()).unwrap();
}

fn secret() -> Vec<u8> {
    SECRET.repeat(300).into_bytes()
}

fn content() -> Vec<u8> {
    [SECRET.to_uppercase().as_bytes(), b" in a file"].concat()
}

/// What must be nowhere once entries 2 and 3 are erased: both contents, and the salt.
fn to_be_gone(dir: &Path) -> [Vec<u8>; 3] {
    let db = rusqlite::Connection::open(dir.join("ledger.db")).unwrap();
    let salt = db.query_row("SELECT salt FROM payloads", [], |row| row.get(0)).unwrap();
    [SECRET.as_bytes().to_vec(), SECRET.to_uppercase().into_bytes(), salt]
}

fn erase_both(ledger: &Ledger) -> [flyball_ledger::Erasing; 2] {
    let held = ledger.stream("s").unwrap();
    [2, 3].map(|seq| ledger.erase(&held, seq, "user:ann", "", 7).unwrap())
}

#[track_caller]
fn are_gone(dir: &Path, gone: &[Vec<u8>; 3]) {
    for what in gone {
        assert!(!is_anywhere(dir, what), "{}", String::from_utf8_lossy(what));
    }
}

#[test]
fn what_a_killed_process_left_in_flight_brings_nothing_erased_back() {
    let dir = tempfile::tempdir().unwrap();
    let mut child = child_that("holds the stream", dir.path());
    child.kill().unwrap();
    child.wait().unwrap();
    let gone = to_be_gone(dir.path());
    let left: Vec<_> =
        std::fs::read_dir(dir.path().join("inflight")).unwrap().map(|file| file.unwrap().path()).collect();
    let left = left.into_iter().find(|file| std::fs::metadata(file).unwrap().len() > 8).unwrap();
    let bytes = std::fs::read(&left).unwrap();
    assert!(gone.iter().all(|what| bytes.windows(what.len()).any(|w| w == what)), "what was in flight had all of it");
    let ledger = Ledger::open(dir.path()).unwrap();
    erase_both(&ledger);
    are_gone(dir.path(), &gone);
    drop(ledger);
    drop(Ledger::open(dir.path()).unwrap());
    are_gone(dir.path(), &gone);

    // That the file was removed is a change of its folder's, which a loss of power can undo.
    std::fs::write(&left, bytes).unwrap();
    let ledger = Ledger::open(dir.path()).unwrap();
    are_gone(dir.path(), &gone);
    let report = ledger.verify(None).unwrap();
    assert!(report.ok && report.entries == 6, "{report:#?}");
    assert_eq!(report.erased.iter().map(|erased| erased.seq).collect::<Vec<_>>(), [2, 3]);
}

#[test]
fn who_gave_its_stream_back_has_nothing_of_it_in_flight() {
    let dir = tempfile::tempdir().unwrap();
    let mut child = child_that("gave the stream back", dir.path());
    let gone = to_be_gone(dir.path());
    let done = erase_both(&Ledger::open(dir.path()).unwrap());
    assert!(done.iter().all(|done| done.is_out_of_log), "{done:?}");
    are_gone(dir.path(), &gone);
    child.kill().unwrap();
    child.wait().unwrap();
    drop(Ledger::open(dir.path()).unwrap());
    are_gone(dir.path(), &gone);
}

/// A handle that is open when another is killed takes in what that one left, and may live for long.
#[test]
fn who_took_in_what_was_left_keeps_no_copy_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut child = child_that("holds the stream", dir.path());
    let lives = Ledger::open(dir.path()).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    let gone = to_be_gone(dir.path());
    drop(lives.stream("s").unwrap());
    erase_both(&Ledger::open(dir.path()).unwrap());
    are_gone(dir.path(), &gone);
}

/// What a process that was killed a moment ago has acknowledged relies on contents too.
#[test]
fn what_is_in_flight_is_relied_on() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(dir.path()).unwrap();
    append(&ledger, "t", json!({"name": "t"}));
    let shared = append(&ledger, "t", json!({"blob": ledger.put_blob(&content()).unwrap()}));
    let held = ledger.stream("t").unwrap();
    // Its stream is free, and what it left is not taken in yet.
    let mut child = child_that("holds the stream", dir.path());
    child.kill().unwrap();
    child.wait().unwrap();
    let done = ledger.erase(&held, shared, "user:ann", "", 7).unwrap();
    assert_eq!(done.kept_for, [("s".to_owned(), 3)]);
    assert_eq!(ledger.entry("s", 4).unwrap().body, json!({"n": 4}), "what it acknowledged is there");
    assert!(ledger.verify(None).unwrap().ok);
}
