#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
use super::*;
use crate::clock::Clock;
use crate::replay::recorded::{charter, files};
use command::Output;
use flyball_kernel::{Kernel, Session};
use flyball_ledger::Draft;
use std::sync::Arc;

const TOML: &str = r#"[charter]
name = "w"
[owners]
dev = ["user:ann"]
sre = ["user:ann"]
[facts]
seen = 'once did fs.write(path like "**/made")'
[[contract]]
name = "rules"
holds = ["no", "other"]
[[contract]]
name = "facts"
facts = ["seen"]
[[contract]]
name = "replay"
replay_at_least = 3
[[contract]]
name = "questions"
no_open_questions = true
[[contract]]
name = "coverage"
coverage = "all"
[[contract]]
name = "command"
command = ["make", "check"]
"#;

const CEDAR: &str = r#"
@id("no") @owner("dev") @reason("No.")
forbid (principal, action == Action::"fs.delete", resource);
@id("other") @owner("dev") @reason("Nor that.")
forbid (principal, action == Action::"fs.move", resource);
"#;

struct Scene {
    _dir: tempfile::TempDir,
    ledger: Ledger,
    gate: Gate,
}

impl Scene {
    /// A session of which these entries are on record behind its opening.
    fn new(opening: Json, entries: &[(Kind, Json)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(dir.path()).unwrap();
        let stream = ledger.stream("s").unwrap();
        let open = Draft { at_ns: 1, kind: Kind::Open, actor: "user:u".into(), cause: vec![], body: opening };
        stream.append(open).unwrap();
        let told = Session { workspace: "/w".into(), home: "/home/u".into(), agent: "a".into() };
        let kernel = Kernel::new(Arc::new(charter(&files(TOML, CEDAR))), told);
        let mut gate = Gate::new(kernel, stream, Clock::after(1), "s");
        for (kind, body) in entries {
            gate.note(*kind, "a", &[], body.clone()).unwrap();
        }
        Self { _dir: dir, ledger, gate }
    }

    fn settle(&mut self, replay_level: u8, has_gaps: bool, ran: Option<Ran>) -> BTreeMap<String, ContractResult> {
        let ran = ran.map(|ran| ("command".to_owned(), ran)).into_iter().collect();
        let (gate, ledger) = (&mut self.gate, &self.ledger);
        let results = settle(Ended { gate, ledger, session: "s", replay_level, has_gaps, ran });
        results.into_iter().map(|result| (result.contract.clone(), result)).collect()
    }
}

fn attempt() -> (Kind, Json) {
    (Kind::Attempt, json!({ "verb": "fs.delete", "resource": { "type": "File", "path": "/w/a" } }))
}

fn ruled(of: u64, verdict: &str, rules: &[&str]) -> (Kind, Json) {
    let reasons: Vec<Json> = rules.iter().map(|rule| json!({ "rule": rule })).collect();
    (Kind::Ruling, json!({ "of": of, "verdict": verdict, "reasons": reasons }))
}

fn outcome(of: u64, ok: Json) -> (Kind, Json) {
    (Kind::Outcome, json!({ "of": of, "ok": ok }))
}

fn dispatch(of: u64) -> (Kind, Json) {
    (Kind::Dispatch, json!({ "of": of }))
}

/// Each attempt is entry 2.
#[test]
fn what_a_rule_refused_and_was_done_all_the_same_breaks_it() {
    let question = (Kind::Question, json!({ "of": 2, "id": "q" }));
    for (what, lived, is_against) in [
        ("refused", vec![ruled(2, "deny", &["no"])], false),
        ("refused and failed", vec![ruled(2, "deny", &["no"]), outcome(2, false.into())], false),
        ("refused and unknown", vec![ruled(2, "deny", &["no"]), outcome(2, Json::Null)], false),
        ("refused and done", vec![ruled(2, "deny", &["base", "no"]), outcome(2, true.into())], true),
        ("refused and begun", vec![ruled(2, "deny", &["no"]), dispatch(2)], true),
        ("refused by another", vec![ruled(2, "deny", &["base"]), dispatch(2)], false),
        ("allowed where it spoke", vec![ruled(2, "allow", &["no"]), dispatch(2)], false),
        ("asked and begun", vec![ruled(2, "hold", &["no"]), question.clone(), dispatch(2)], true),
        ("asked, allowed, begun", vec![ruled(2, "hold", &["no"]), ruled(2, "allow", &[]), dispatch(2)], false),
        ("asked, changed, begun", vec![ruled(2, "hold", &["no"]), ruled(2, "modify", &[]), dispatch(2)], false),
        ("asked, refused, begun", vec![ruled(2, "hold", &["no"]), ruled(2, "deny", &[]), dispatch(2)], true),
    ] {
        let mut scene = Scene::new(json!({}), &[vec![attempt()], lived].concat());
        let told = &scene.settle(3, false, None)["rules"];
        let (no, other) = (&told.checks[0], &told.checks[1]);
        assert_eq!((no.of.as_deref(), no.holds, told.holds), (Some("no"), !is_against, !is_against), "{what}");
        assert_eq!(no.witnesses, if is_against { vec![2] } else { vec![] }, "{what}");
        assert_eq!((other.of.as_deref(), other.holds), (Some("other"), true), "{what}");
    }
}

#[test]
fn questions_that_nobody_settled_are_open() {
    let question = (Kind::Question, json!({ "of": 2, "id": "q" }));
    for (what, lived, is_open) in [
        ("asked", vec![ruled(2, "hold", &["no"]), question.clone()], true),
        ("held, and nobody was asked", vec![ruled(2, "hold", &["no"])], false),
        ("answered", vec![ruled(2, "hold", &["no"]), question.clone(), ruled(2, "allow", &[])], false),
        ("refused", vec![ruled(2, "hold", &["no"]), question, ruled(2, "deny", &[])], false),
    ] {
        let mut scene = Scene::new(json!({}), &[vec![attempt()], lived].concat());
        let told = &scene.settle(3, false, None)["questions"];
        assert_eq!(told.holds, !is_open, "{what}");
        assert_eq!(told.checks[0].witnesses, if is_open { vec![2] } else { vec![] }, "{what}");
    }
}

#[test]
fn each_thing_that_a_contract_asks_for_decides_and_is_on_record() {
    let ran = |exit: i32, because: Option<&str>| Ran {
        argv: vec!["make".into(), "check".into()],
        exit: Some(exit),
        output: Some(Output { digest: "sha256:d".into(), bytes: 2, tail: "ok".into() }),
        because: because.map(str::to_owned),
    };
    let mut scene = Scene::new(json!({}), &[]);
    let told = scene.settle(3, false, Some(ran(0, None)));
    let held: Vec<(&str, bool)> = told.iter().map(|(name, result)| (name.as_str(), result.holds)).collect();
    assert_eq!(
        held,
        [
            ("command", true),
            ("coverage", true),
            ("facts", false),
            ("questions", true),
            ("replay", true),
            ("rules", true),
        ]
    );
    let because = |result: &ContractResult| result.checks[0].because.clone().unwrap_or_default();
    assert!(because(&told["facts"]).contains("not true at the end"), "{told:?}");
    AtEnd::flush(&mut scene.gate).unwrap();
    let history = History::read(&scene.ledger, "s").unwrap();
    let command = &told["command"].checks[0];
    assert_eq!(
        (command.exit, command.output.as_deref(), command.of.as_deref()),
        (Some(0), Some("sha256:d"), Some("make check"))
    );
    let entry = history.entry(command.witnesses[0]).unwrap();
    assert_eq!(entry.body["contract_command"]["output"], json!({ "digest": "sha256:d", "bytes": 2, "tail": "ok" }));
    assert_eq!(entry.body["contract_command"]["exit"], 0);
    let noted: Vec<ContractResult> = history
        .entries()
        .iter()
        .filter_map(|entry| serde_json::from_value(entry.body.get("contract")?.clone()).ok())
        .collect();
    assert_eq!(noted.len(), told.len());
    noted.iter().for_each(|result| assert_eq!(result, &told[&result.contract]));

    // Each as it does not hold.
    let told = Scene::new(json!({}), &[]).settle(2, true, Some(ran(0, Some("it exited with 3"))));
    assert!(
        told.values().all(|result| result.holds == matches!(result.contract.as_str(), "rules" | "questions")),
        "{told:?}"
    );
    assert_eq!(because(&told["command"]), "it exited with 3");
    assert!(because(&told["replay"]).contains("level 2, and 3"), "{told:?}");
    assert!(because(&told["coverage"]).contains("without a recorded call"), "{told:?}");
    // What nobody ran does not hold, and what a gateway does not see is not covered.
    let told = Scene::new(json!({ "door": { "surface": "mcp" } }), &[]).settle(4, false, None);
    assert!(because(&told["command"]).contains("nobody ran it"), "{told:?}");
    assert!(because(&told["coverage"]).contains("no (fs.delete)"), "{told:?}");
    assert!(!told["coverage"].holds && !told["command"].holds && told["replay"].holds);
    assert!(!ContractResult::untold("x").holds);
}
