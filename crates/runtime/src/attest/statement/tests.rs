#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
use super::*;
use crate::replay::recorded::{charter, files};
use flyball_ledger::Draft;

const TOML: &str = r#"[charter]
name = "w"
[owners]
dev = ["user:ann"]
sre = ["user:ann"]
[[contract]]
name = "first"
no_open_questions = true
[[contract]]
name = "second"
no_open_questions = true
"#;

const CEDAR: &str = r#"
@id("no") @owner("dev") @reason("No.")
forbid (principal, action == Action::"fs.delete", resource);
@id("unused") @owner("sre") @reason("Nor that.")
forbid (principal, action == Action::"fs.move", resource);
"#;

/// The statement on these entries, behind an opening under a charter that is replaced by the one above.
fn stated(entries: Vec<(Kind, Json)>, subjects: &Subjects<'_>) -> Json {
    checked(entries, subjects, &Json::Null)
}

/// The same where it is made to check another.
fn checked(entries: Vec<(Kind, Json)>, subjects: &Subjects<'_>, other: &Json) -> Json {
    let dir = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(dir.path()).unwrap();
    let stream = ledger.stream("s").unwrap();
    let files = files(TOML, CEDAR);
    let adopted = json!({ "charter": charter(&files).digest(), "files": files, "by": "user:ann" });
    let open = json!({
        "session": "s", "name": "n", "agent": "claude", "argv": ["claude", "-p"], "workspace": "/w", "version": "0.1",
        "charter": { "digest": "sha256:first", "files": {} }, "uncovered": ["x"], "weaker": ["overlay"],
    });
    let close = json!({ "ended_by": "program", "exit": 4, "replay_level": 3 });
    let first = [(Kind::Open, open), (Kind::Charter, adopted)];
    let mut last = 0;
    for (kind, body) in first.into_iter().chain(entries).chain([(Kind::Close, close)]) {
        last = stream.append(Draft { at_ns: last + 1, kind, actor: "x".into(), cause: vec![], body }).unwrap();
    }
    stream.flush().unwrap();
    drop(stream);
    let mut folded = Folded::of(&ledger, "s", last).unwrap();
    folded.count_as(other);
    let leaf = ledger.entry("s", last).unwrap().leaf.to_string();
    let said = of(&ledger, "s", last, "a note", folded, subjects).unwrap();
    assert_eq!(said["predicate"]["head"], json!({ "stream": "s", "seq": last, "leaf": leaf, "index": last - 1 }));
    said
}

fn ruling(of: u64, verdict: &str, rules: &[&str]) -> (Kind, Json) {
    let reasons: Vec<Json> = rules.iter().map(|rule| json!({ "rule": rule, "owner": "dev" })).collect();
    (Kind::Ruling, json!({ "of": of, "verdict": verdict, "reasons": reasons }))
}

fn contract(name: &str, holds: bool) -> (Kind, Json) {
    (Kind::Observe, json!({ "contract": { "contract": name, "holds": holds, "checks": [] } }))
}

#[test]
fn a_statement_of_before_is_checked_by_how_it_counted() {
    let (commits, tree) = (Told::default(), Tree { told: None, digest: None });
    let subjects = Subjects { artifacts: &[], commits: &commits, tree: &tree };
    let attempt = |verb: &str| (Kind::Attempt, json!({ "verb": verb }));
    let withdrawn = (Kind::Outcome, json!({ "of": 3, "ok": false, "withdrawn": "why" }));
    let entries = vec![attempt("fs.delete"), ruling(3, "hold", &["no"]), withdrawn];
    let counts =
        |held: u64, denied: u64| json!({ "actions": 1, "allowed": 0, "denied": denied, "held": held, "modified": 0 });
    let said = |counts: Json| json!({ "predicate": { "actions": counts } });
    let made = |other: &Json| checked(entries.clone(), &subjects, other)["predicate"]["actions"].clone();
    assert_eq!(made(&Json::Null), counts(0, 1));
    assert_eq!(made(&said(counts(1, 0))), counts(1, 0));
    assert_eq!(made(&said(counts(0, 0))), counts(0, 1), "what neither counts is not taken over");
}

#[test]
fn it_says_who_ruled_how_often_who_answered_and_what_held() {
    let attempt = (Kind::Attempt, json!({ "verb": "fs.delete", "resource": { "type": "File", "path": "/w/a" } }));
    let tree = Tree { told: Some(json!({ "form": "f" })), digest: Some("sha256:tree".to_owned()) };
    let commits = Told {
        ids: BTreeSet::from(["a1".to_owned(), "b2".to_owned()]),
        more: 7,
        unread: BTreeSet::from(["p".to_owned()]),
        ..Told::default()
    };
    let artifacts = [
        Artifact { path: "made".into(), digest: "sha256:11".into(), is_recorded: true },
        Artifact { path: "found".into(), digest: "sha256:22".into(), is_recorded: false },
    ];
    let subjects = Subjects { artifacts: &artifacts, commits: &commits, tree: &tree };
    let said = stated(
        vec![
            attempt,
            ruling(3, "hold", &["no"]),
            (Kind::Question, json!({ "of": 3, "id": "q", "who": ["ann"] })),
            (Kind::Question, json!({ "of": 3, "id": "q", "who": ["ben"] })),
            (Kind::Question, json!({ "of": 3, "id": "r", "who": ["ann"] })),
            (
                Kind::Answer,
                json!({ "of": 3, "question": "q", "verdict": "allow", "by": "ben", "signed": { "key": "k" } }),
            ),
            ruling(3, "allow", &["no", "base"]),
            ruling(3, "modify", &["no"]),
            ruling(3, "deny", &["no"]),
            ruling(3, "deny", &["no"]),
            (Kind::Intervention, json!({ "act": "pause", "by": "ann", "signed": null })),
            contract("first", false),
            contract("first", true),
        ],
        &subjects,
    );
    let predicate = &said["predicate"];
    assert_eq!(
        predicate["rules"],
        json!([
            { "id": "no", "kind": "forbid", "owner": "dev", "ruled": 5, "allowed": 1, "modified": 1, "held": 1, "denied": 2 },
            { "id": "unused", "kind": "forbid", "owner": "sre", "ruled": 0, "allowed": 0, "modified": 0, "held": 0, "denied": 0 },
            { "id": "base", "kind": "other", "owner": "dev", "ruled": 1, "allowed": 1, "modified": 0, "held": 0, "denied": 0 },
        ])
    );
    let digest = charter(&files(TOML, CEDAR)).digest().to_owned();
    assert_eq!(
        predicate["charter"],
        json!({ "digest": digest, "name": "w", "adopted": [{ "seq": 2, "digest": digest, "by": "user:ann" }] })
    );
    assert_eq!(
        predicate["questions"],
        json!({
            "asked": 2, "answered": 1, "more": 0,
            "list": [
                { "id": "q", "seq": 5, "of": 3, "asked": ["ben"],
                  "answers": [{ "seq": 8, "of": 3, "verdict": "allow", "by": "ben", "signed": true }] },
                { "id": "r", "seq": 7, "of": 3, "asked": ["ann"], "answers": [] },
            ],
        })
    );
    assert_eq!(
        predicate["interventions"],
        json!({ "list": [{ "seq": 13, "act": "pause", "by": "ann", "signed": false }], "more": 0 })
    );
    // The last that was said of a contract counts, and of the other nothing was.
    let results = &predicate["contracts"]["results"];
    assert_eq!(
        results[0],
        json!({ "contract": "first", "holds": true, "checks": [], "seq": 15, "before": [{ "seq": 14, "holds": false }] })
    );
    assert_eq!((&results[1]["contract"], &results[1]["holds"]), (&json!("second"), &json!(false)));
    assert_eq!((results.as_array().unwrap().len(), &predicate["contracts"]["hold"]), (2, &json!(false)));
    assert_eq!(predicate["replay"], json!({ "level": 3 }));
    assert_eq!(predicate["coverage"]["uncovered"], json!(["x"]));
    assert_eq!(predicate["coverage"]["weaker"], json!(["overlay"]));
    let session = &predicate["session"];
    assert_eq!(
        [&session["id"], &session["argv"], &session["endedBy"], &session["exit"], &session["learning"]],
        [&json!("s"), &json!(["claude", "-p"]), &json!("program"), &json!(4), &json!(false)]
    );
    assert_eq!(predicate["ledger"]["checkpoint"], "a note");
    let workspace = &predicate["workspace"];
    assert_eq!(
        [&workspace["changed"], &workspace["tree"], &workspace["moreCommits"], &workspace["unreadPacks"]],
        [&json!(0), &json!({ "form": "f" }), &json!(7), &json!(["p"])]
    );
    let subject = said["subject"].as_array().unwrap();
    assert_eq!(
        format!("sha256:{}", subject[0]["digest"]["sha256"].as_str().unwrap()),
        workspace["digest"].as_str().unwrap()
    );
    assert_eq!(
        subject[1..],
        [
            json!({ "name": "tree", "digest": { "sha256": "tree" } }),
            json!({ "name": "commit:a1", "digest": { "gitCommit": "a1" } }),
            json!({ "name": "commit:b2", "digest": { "gitCommit": "b2" } }),
            json!({ "name": "made", "digest": { "sha256": "11" }, "annotations": { "from": "record" } }),
            json!({ "name": "found", "digest": { "sha256": "22" }, "annotations": { "from": "workspace" } }),
        ]
    );
}

#[test]
fn contracts_hold_only_if_each_of_them_was_said_to() {
    let (tree, commits) = (Tree::default(), Told::default());
    let subjects = Subjects { artifacts: &[], commits: &commits, tree: &tree };
    for (told, hold) in [
        (vec![contract("first", true), contract("second", true)], true),
        (vec![contract("first", true), contract("second", false)], false),
        (vec![contract("first", true), contract("second", true), contract("first", false)], false),
        (vec![contract("first", true)], false),
        (vec![], false),
    ] {
        let said = stated(told.clone(), &subjects);
        assert_eq!(said["predicate"]["contracts"]["hold"], hold, "{told:?}");
        assert_eq!(said["predicate"]["workspace"]["moreCommits"], Json::Null);
        assert_eq!(said["subject"].as_array().unwrap().len(), 1, "only the workspace");
    }
}
