//! Shared registers: what several processes take from one, together never more than its limit.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use flyball_ledger::{Change, Draft, Filter, Kind, Ledger, LedgerError};
use rusqlite::Connection;
use serde_json::json;
use std::path::Path;
use std::process::{Command, Stdio};

const LIMIT: i64 = 60;
const TRIES: u64 = 40;

fn take(add: i64, limit: Option<i64>) -> Vec<Change> {
    vec![Change { register: "budget/x/fleet".into(), add, limit }]
}

fn draft(at_ns: u64, kind: Kind) -> Draft {
    Draft { at_ns, kind, actor: "tester".into(), cause: vec![], body: json!({ "n": at_ns }) }
}

#[test]
fn a_change_beyond_the_limit_is_not_made_and_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(dir.path()).unwrap();
    let stream = ledger.stream("a").unwrap();
    stream.append(draft(1, Kind::Open)).unwrap();
    let (_, first) = stream.share(draft(2, Kind::Observe), take(7, Some(10))).unwrap();
    assert_eq!((first[0].value, first[0].is_made), (7, true));
    let (seq, second) = stream.share(draft(3, Kind::Observe), take(4, Some(10))).unwrap();
    assert_eq!((second[0].value, second[0].is_made), (7, false));
    let body = ledger.entry("a", seq).unwrap().body;
    assert_eq!(body, json!({ "n": 3, "registers": [{ "register": "budget/x/fleet", "value": 7, "made": false }] }));
    let (_, third) = stream.share(draft(4, Kind::Observe), take(i64::MAX, None)).unwrap();
    assert!(!third[0].is_made, "an overflow is no change");
    stream.share(draft(5, Kind::Observe), take(-7, None)).unwrap();
    assert_eq!(ledger.registers("budget/").unwrap(), [("budget/x/fleet".to_owned(), 0)]);
    assert_eq!(ledger.registers("other").unwrap(), []);
    let too_long = vec![Change { register: "x".repeat(6_000), add: 1, limit: None }];
    assert!(matches!(stream.share(draft(6, Kind::Observe), too_long), Err(LedgerError::EntryTooLarge { .. })));
    assert_eq!(stream.append(draft(6, Kind::Close)).unwrap(), 6, "no number is used up by what is refused");
    drop(stream);
    assert!(ledger.verify(None).unwrap().problems.is_empty());
}

#[test]
fn a_ledger_of_before_gets_its_registers_when_it_is_opened_for_writing() {
    let dir = tempfile::tempdir().unwrap();
    drop(Ledger::open(dir.path()).unwrap());
    Connection::open(dir.path().join("ledger.db")).unwrap().execute("DROP TABLE registers", []).unwrap();
    assert_eq!(Ledger::open_read(dir.path()).unwrap().registers("").unwrap(), []);
    let ledger = Ledger::open(dir.path()).unwrap();
    let stream = ledger.stream("a").unwrap();
    stream.share(draft(1, Kind::Open), take(3, None)).unwrap();
    drop(stream);
    assert!(ledger.verify(None).unwrap().problems.is_empty());
}

#[test]
#[ignore = "the other's child process"]
fn child() {
    let (Some(dir), Ok(id)) = (std::env::var_os("LEDGER_DIR"), std::env::var("LEDGER_STREAM")) else { return };
    let ledger = Ledger::open(Path::new(&dir)).unwrap();
    let stream = ledger.stream(&id).unwrap();
    stream.append(draft(1, Kind::Open)).unwrap();
    for n in 2..2 + TRIES {
        stream.append(draft(n, Kind::Attempt)).unwrap();
        stream.share(draft(n, Kind::Observe), take(1, Some(LIMIT))).unwrap();
    }
}

#[test]
fn processes_at_the_same_time_never_take_more_than_there_is() {
    let dir = tempfile::tempdir().unwrap();
    let spawn = |stream: &str| {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--ignored", "--exact", "child", "--test-threads=1"]).stdout(Stdio::null());
        command.env("LEDGER_DIR", dir.path()).env("LEDGER_STREAM", stream).spawn().unwrap()
    };
    let children: Vec<_> = ["a", "b", "c"].into_iter().map(spawn).collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    let ledger = Ledger::open_read(dir.path()).unwrap();
    let mut made = 0;
    for stream in ["a", "b", "c"] {
        for entry in ledger.entries(stream, .., Filter::default()).unwrap() {
            made += i64::from(entry.unwrap().body["registers"][0]["made"] == true);
        }
    }
    assert_eq!((made, ledger.registers("").unwrap()[0].1), (LIMIT, LIMIT));
    assert!(ledger.verify(None).unwrap().problems.is_empty());
}
