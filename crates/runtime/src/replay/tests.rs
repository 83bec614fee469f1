#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
use super::recorded::{self, Recording, TOML, everything, files};
use super::*;
use flyball_kernel::Verdict;
use flyball_ledger::{Draft, Filter, Kind};
use serde_json::json;

#[test]
fn every_ruling_of_a_session_with_one_of_each_is_made_again() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = everything(dir.path(), "s");
    let again = replay(&ledger, "s", 3).unwrap();
    assert_eq!(again.result, Outcome::Match, "{again:#?}");
    assert_eq!(again.found.level, 3);
    let recorded = ledger.entries("s", .., Filter { kinds: vec![Kind::Ruling], ..Filter::default() }).unwrap().count();
    assert_eq!(again.found.rulings, recorded as u64);
    let has = |rule: &str| {
        ledger.entries("s", .., Filter::default()).unwrap().any(|e| {
            let body = ledger.body(&e.unwrap()).unwrap();
            body.to_string().contains(&format!("\"rule\":\"{rule}\""))
        })
    };
    for rule in ["green", "asked", "answered-before", "session-paused", "late", "session-quarantined"] {
        assert!(has(rule), "{rule}");
    }
    for level in [0, 6, 9] {
        assert_eq!(replay(&ledger, "s", level).unwrap_err().code(), "FB0600");
    }
}

/// A copy of a session in which one body is another.
fn changed(ledger: &Ledger, into: &Ledger, change: impl Fn(u64, Kind, &mut Json)) {
    let stream = into.stream("s").unwrap();
    for entry in ledger.entries("s", .., Filter::default()).unwrap() {
        let entry = entry.unwrap();
        let mut body = ledger.body(&entry).unwrap();
        change(entry.seq, entry.kind, &mut body);
        let (at_ns, kind, actor, cause) = (entry.at_ns, entry.kind, entry.actor, entry.cause);
        stream.append(Draft { at_ns, kind, actor, cause, body }).unwrap();
    }
    stream.flush().unwrap();
}

#[test]
fn a_ruling_that_is_another_is_named_with_both_sides() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut it = Recording::new(from.path(), "s", files(TOML, recorded::CEDAR), None);
    let refused = it.does(vec![recorded::deploy()], &[1]).attempts[0] + 1;
    let ledger = it.close();
    let other = Ledger::open(to.path()).unwrap();
    changed(&ledger, &other, |seq, _, body| {
        if seq == refused {
            body["verdict"] = json!("allow");
        }
    });
    let again = replay(&other, "s", 3).unwrap();
    assert_eq!((again.result, again.at), (Outcome::Diverged, Some(refused)), "{again:#?}");
    let difference = again.found.difference.unwrap();
    assert_eq!(
        (difference.field.as_str(), difference.recorded, difference.recomputed),
        ("/verdict", json!("allow"), json!("deny"))
    );
    assert_eq!(again.found.level, 2);
    // What was seen another way, is the same record to who asks less.
    assert_eq!(replay(&other, "s", 2).unwrap().result, Outcome::Match);
}

#[test]
fn what_is_missing_lowers_the_level_and_is_named() {
    let from = tempfile::tempdir().unwrap();
    let ledger = everything(from.path(), "s");
    let node =
        json!({"kind": "file", "size": 1, "mode": 420, "digest": flyball_ledger::Digest::of(b"gone").to_string()});
    let looked = json!({"workspace": {"changes": [{"path": "a", "node": node}], "state": "sha256:00"}});
    for (what, level, why) in [
        (json!({"body": looked, "kind": "observe"}), 2, "the content of `a` is not in the ledger"),
        (json!({"body": {"alert": "unexplained", "detail": ["x"]}, "kind": "alert"}), 2, "by no call on record"),
        (json!({"body": {"of": 1}, "kind": "dispatch"}), 1, "is no attempt before it"),
        (json!({"body": {"verb": "no.such"}, "kind": "attempt"}), 2, "can't be read as attempt"),
        (json!({"body": {"of": 2, "ok": "perhaps"}, "kind": "outcome"}), 2, "can't be read as outcome"),
        (
            json!({"body": {"charter": "x", "files": {"charter.toml": "["}}, "kind": "charter"}),
            2,
            "none to this flyball",
        ),
    ] {
        let to = tempfile::tempdir().unwrap();
        let other = Ledger::open(to.path()).unwrap();
        let mut put = 0;
        {
            let stream = other.stream("s").unwrap();
            for entry in ledger.entries("s", .., Filter::default()).unwrap() {
                let entry = entry.unwrap();
                if entry.kind == Kind::Close {
                    let kind = Kind::parse(what["kind"].as_str().unwrap()).unwrap();
                    let (at_ns, body) = (entry.at_ns, what["body"].clone());
                    put = stream.append(Draft { at_ns, kind, actor: "a".into(), cause: vec![1], body }).unwrap();
                }
                let (at_ns, kind, body) = (entry.at_ns, entry.kind, ledger.body(&entry).unwrap());
                stream.append(Draft { at_ns, kind, actor: entry.actor, cause: entry.cause, body }).unwrap();
            }
            stream.flush().unwrap();
        }
        let found = levels(&other, "s").unwrap();
        assert_eq!(found.level, level, "{why}: {found:#?}");
        let obstacle = &found.levels[usize::from(level)].obstacles[0];
        assert!(obstacle.seq == put && obstacle.why.contains(why), "{obstacle:?}");
        assert_eq!(replay(&other, "s", 3).unwrap().result, Outcome::Inconclusive);
    }
}

#[test]
fn a_learning_session_and_one_whose_supervisor_died_are_made_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut it = Recording::new(dir.path(), "l", files(TOML, recorded::CEDAR), Some(vec!["/w/.flyball".into()]));
    it.does(vec![recorded::deploy()], &[1]);
    it.gate.flush().unwrap();
    it.gate.end();
    let again = replay(&it.ledger, "l", 3).unwrap();
    assert_eq!((again.result, again.found.rulings), (Outcome::Match, 1), "{again:#?}");
    // An attempt whose ruling came to nothing.
    let stream = it.ledger.stream("l").unwrap();
    let body = serde_json::to_value(recorded::write("x")).unwrap();
    let at_ns = stream.last_at_ns() + 1;
    let of = stream.append(Draft { at_ns, kind: Kind::Attempt, actor: "a".into(), cause: vec![1], body }).unwrap();
    let body = json!({"of": of, "ok": null, "unknown": true});
    stream.append(Draft { at_ns, kind: Kind::Outcome, actor: "recovery".into(), cause: vec![of], body }).unwrap();
    stream.flush().unwrap();
    let again = replay(&it.ledger, "l", 3).unwrap();
    assert_eq!((again.result, again.found.unrecorded), (Outcome::Match, vec![of]));
}

#[test]
fn the_state_at_each_step_is_the_same_from_the_start_and_from_what_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = everything(dir.path(), "s");
    let last = ledger.entries("s", .., Filter::default()).unwrap().last().unwrap().unwrap().seq;
    let kept = dir.path().join("derived/s");
    let at = |seq| state(&ledger, "s", seq).unwrap();
    let fresh: Vec<StateAt> = (1..=last)
        .map(|seq| {
            let _ = std::fs::remove_dir_all(&kept);
            at(seq)
        })
        .collect();
    assert!(std::fs::read_dir(&kept).unwrap().count() > 5);
    let again: Vec<StateAt> = (1..=last).map(at).collect();
    assert_eq!(fresh, again);
    assert!(fresh.iter().any(|s| s.open.iter().any(|o| o.state == "held")));
    assert_eq!(fresh.last().unwrap().registers.gate, "quarantined");
    assert!(fresh.iter().any(|s| s.registers.gate == "paused"));
    // What is damaged, or of another record, is not used.
    for file in std::fs::read_dir(&kept).unwrap().map(|f| f.unwrap().path()) {
        let text = std::fs::read_to_string(&file).unwrap();
        std::fs::write(
            &file,
            text.replacen("quarantined", "open", 1).replacen("\"gate\":\"open\"", "\"gate\":\"killed\"", 1),
        )
        .unwrap();
    }
    assert_eq!((1..=last).map(at).collect::<Vec<_>>(), fresh);
    assert!(matches!(state(&ledger, "s", last + 1), Err(ReplayError::Ledger(_))));
}

/// Recorded once by `write_corpus`, never again: each is to be ruled on as it was then by every flyball that follows.
#[test]
fn the_corpus_of_recorded_sessions_is_made_again_forever() {
    let folder = std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/corpus"));
    let mut count = 0;
    for file in std::fs::read_dir(folder).unwrap().map(|f| f.unwrap().path()) {
        let dir = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(dir.path()).unwrap();
        let stream = ledger.stream("s").unwrap();
        let text = std::fs::read_to_string(&file).unwrap();
        let mut rulings = 0;
        for line in text.lines() {
            let e: Json = serde_json::from_str(line).unwrap();
            let kind = Kind::parse(e["kind"].as_str().unwrap()).unwrap();
            rulings += u64::from(kind == Kind::Ruling);
            let cause = e["cause"].as_array().unwrap().iter().map(|c| c.as_u64().unwrap()).collect();
            let at_ns = flyball_ledger::parse_ns(e["at"].as_str().unwrap()).unwrap();
            let (actor, body) = (e["actor"].as_str().unwrap().to_owned(), e["body"].clone());
            stream.append(Draft { at_ns, kind, actor, cause, body }).unwrap();
        }
        stream.flush().unwrap();
        let found = levels(&ledger, "s").unwrap();
        assert!(found.difference.is_none() && found.level == 3, "{}: {found:#?}", file.display());
        assert_eq!(found.rulings, rulings, "{}", file.display());
        count += 1;
    }
    assert!(count >= 3, "{count}");
}

/// `FLYBALL_CORPUS=NAME cargo test -p flyball-runtime --lib write_corpus -- --ignored` adds recorded sessions; none is ever replaced.
#[test]
#[ignore = "writes into the repository"]
fn write_corpus() {
    let name = std::env::var("FLYBALL_CORPUS").unwrap();
    let dir = tempfile::tempdir().unwrap();
    let write = |what: &str, ledger: &Ledger| {
        let path = format!("{}/corpus/{name}-{what}.jsonl", env!("CARGO_MANIFEST_DIR"));
        assert!(!std::path::Path::new(&path).exists(), "{path} is there");
        let mut out = String::new();
        for entry in ledger.entries(what, .., Filter::default()).unwrap() {
            let entry = entry.unwrap();
            let at = flyball_ledger::format_ns(entry.at_ns);
            let body = ledger.body(&entry).unwrap();
            let line = json!({"seq": entry.seq, "at": at, "kind": entry.kind.as_str(), "actor": entry.actor, "cause": entry.cause, "body": body});
            out.push_str(&format!("{line}\n"));
        }
        std::fs::write(path, out).unwrap();
    };
    write("everything", &everything(dir.path(), "everything"));
    let mut it = Recording::new(dir.path(), "learning", files(TOML, recorded::CEDAR), Some(vec!["/w/.flyball".into()]));
    it.does(vec![recorded::deploy()], &[1]);
    it.does(vec![recorded::write(".flyball/charter.toml")], &[1]);
    it.does(vec![recorded::push("main")], &[1]);
    write("learning", &it.close());
    let owed = format!(
        "{TOML}\n[[obligation]]\nname = \"tested\"\nwhen = 'did fs.write'\nmust = 'did process.exec(program: \"cargo\")'\nwithin = \"1s\"\nowner = \"dev\"\notherwise = \"escalate:dev\"\n"
    );
    let mut it = Recording::new(dir.path(), "owed", files(&owed, recorded::CEDAR), None);
    it.does(vec![recorded::write("a")], &[1]);
    std::thread::sleep(std::time::Duration::from_millis(1100));
    it.gate.tick().unwrap();
    assert_eq!(it.does(vec![recorded::write("b")], &[1]).verdict, Verdict::Hold);
    it.does(vec![recorded::exec("cargo")], &[1]);
    write("owed", &it.close());
}
