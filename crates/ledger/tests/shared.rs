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
    assert_eq!(
        body,
        json!({ "n": 3, "registers": [{ "register": "budget/x/fleet", "value": 7, "made": false, "add": 4, "limit": 10 }] })
    );
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

fn problems(dir: &Path, sql: &str) -> Vec<(&'static str, Option<u64>)> {
    let copy = tempfile::tempdir().unwrap();
    assert!(Command::new("cp").arg("-a").arg(dir.join(".")).arg(copy.path()).status().unwrap().success());
    assert_eq!(Connection::open(copy.path().join("ledger.db")).unwrap().execute(sql, []).unwrap(), 1, "{sql}");
    let report = Ledger::open_read(copy.path()).unwrap().verify(None).unwrap();
    report.problems.into_iter().map(|p| (p.code, p.seq)).collect()
}

#[test]
fn registers_that_do_not_follow_from_the_entries_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(dir.path()).unwrap();
    let (a, b) = (ledger.stream("a").unwrap(), ledger.stream("b").unwrap());
    for stream in [&a, &b] {
        stream.append(draft(1, Kind::Open)).unwrap();
    }
    a.share(draft(2, Kind::Observe), take(7, Some(10))).unwrap();
    b.share(draft(2, Kind::Observe), take(4, Some(10))).unwrap();
    b.share(draft(3, Kind::Observe), take(2, Some(10))).unwrap();
    a.share(draft(3, Kind::Observe), take(-5, None)).unwrap();
    // An agent's own words in an entry of the same kind are none.
    let body =
        json!({ "text": "\"registers\":[{\"register\":\"budget/x/fleet\",\"value\":0,\"made\":true,\"add\":0}]" });
    b.append(Draft { body, ..draft(4, Kind::Observe) }).unwrap();
    drop((a, b));
    let report = ledger.verify(None).unwrap();
    assert!(report.ok, "{report:?}");
    assert_eq!((report.registers.followed, report.registers.untold, report.registers.is_whole), (4, 0, true));
    assert_eq!(ledger.verify(Some("a")).unwrap().registers.followed, 4, "they are of all streams");
    drop(ledger);
    for (sql, wanted) in [
        ("UPDATE registers SET value = 0", ("FB0345", Some(3))),
        ("UPDATE registers SET value = 5", ("FB0345", Some(3))),
        ("DELETE FROM registers", ("FB0345", Some(3))),
        ("INSERT INTO registers VALUES ('budget/x/owner', 3)", ("FB0345", None)),
    ] {
        assert_eq!(problems(dir.path(), sql), [wanted], "{sql}");
    }
    // Whoever changes the entry as well has its digest against them.
    let sql = "UPDATE entries SET data = CAST(replace(CAST(data AS TEXT), '\"value\":9', '\"value\":3') AS BLOB) WHERE stream = 2 AND seq = 3";
    let found = problems(dir.path(), sql);
    assert!(found.iter().any(|p| p.0 == "FB0330") && found.contains(&("FB0345", Some(3))), "{found:?}");
    // Where an entry is missing, the rest can't be said to follow.
    let copy = "DELETE FROM entries WHERE leaf = 2";
    let found = problems(dir.path(), copy);
    assert!(found.iter().any(|p| p.0 == "FB0331"), "{found:?}");
}

#[test]
fn an_entry_of_before_is_taken_as_it_is_and_counted() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(dir.path()).unwrap();
    let stream = ledger.stream("a").unwrap();
    stream.append(draft(1, Kind::Open)).unwrap();
    let told = |value: i64, made: bool| json!({ "registers": [{ "register": "r", "value": value, "made": made }] });
    for (n, (value, made)) in [(5, true), (5, false)].into_iter().enumerate() {
        stream.append(Draft { body: told(value, made), ..draft(2 + n as u64, Kind::Observe) }).unwrap();
    }
    drop(stream);
    Connection::open(dir.path().join("ledger.db"))
        .unwrap()
        .execute("INSERT INTO registers VALUES ('r', 5)", [])
        .unwrap();
    let report = ledger.verify(None).unwrap();
    assert!(report.ok, "{report:?}");
    assert_eq!((report.registers.followed, report.registers.untold), (1, 1));
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

#[test]
fn what_others_committed_is_read_from_where_one_stopped() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(dir.path()).unwrap();
    let (a, b) = (ledger.stream("a").unwrap(), ledger.stream("b").unwrap());
    assert_eq!(ledger.size().unwrap(), 0);
    for n in 1..=9 {
        a.append(draft(n * 10, Kind::Attempt)).unwrap();
        b.append(draft(n * 10, Kind::Attempt)).unwrap();
    }
    a.flush().unwrap();
    b.flush().unwrap();
    assert_eq!(ledger.size().unwrap(), 18);
    let seen = |own: &str, from: u64, to: u64| -> Vec<(String, u64)> {
        let entries = ledger.beside(own, from..to, Filter::default()).unwrap();
        entries.map(|e| e.unwrap()).map(|e| (e.stream, e.at_ns)).collect()
    };
    let of_b: Vec<_> = (1..=9).map(|n| ("b".to_owned(), n * 10)).collect();
    assert_eq!(seen("a", 0, 18), of_b);
    assert_eq!([seen("a", 0, 7), seen("a", 7, 18)].concat(), of_b);
    assert_eq!(seen("nobody", 0, 18).len(), 18);
    for (at_ns, wanted) in [(0, 1), (10, 1), (11, 2), (90, 9), (91, 10)] {
        assert_eq!(ledger.first_since("b", 9, at_ns).unwrap(), wanted, "{at_ns}");
    }
    assert_eq!(ledger.first_since("b", 4, 50).unwrap(), 5);
}

#[test]
fn turns_are_taken_one_after_the_other() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(dir.path()).unwrap();
    let count = std::sync::atomic::AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let other = Ledger::open_read(dir.path()).unwrap();
                for _ in 0..25 {
                    let _turn = other.turn().unwrap();
                    let before = count.load(std::sync::atomic::Ordering::SeqCst);
                    std::thread::yield_now();
                    count.store(before + 1, std::sync::atomic::Ordering::SeqCst);
                }
            });
        }
    });
    assert_eq!(count.into_inner(), 100);
    drop(ledger);
}
