//! What the reading commands say of a session.

use crate::assert_transcript;
use crate::fixture;
use crate::scene::Scene;
use flyball_ledger::{Draft, Kind, Ledger};
use serde_json::json;

#[test]
fn lists_and_logs() {
    let mut scene = Scene::new();
    fixture::session(&scene);
    scene.type_in(&["ps"]).type_in(&["show", "@"]).type_in(&["log", "sample"]);
    scene.type_in(&["log", "@", "--verdict", "deny"]).type_in(&["log", "@", "--verb", "fs", "--kind", "attempt"]);
    scene.type_in(&["log", "@", "--since", "21"]).type_in(&["verify", "@"]).type_in(&["asks"]);
    assert_transcript!(scene);
}

#[test]
fn reasons_and_causes() {
    let mut scene = Scene::new();
    fixture::session(&scene);
    for seq in ["12", "13", "16", "6", "1", "22"] {
        scene.type_in(&["why", "@", seq]);
    }
    scene.type_in(&["trace", "@"]).type_in(&["trace", "@", "8"]);
    assert_transcript!(scene);
}

#[test]
fn the_workspace_at_each_step() {
    let mut scene = Scene::new();
    fixture::session(&scene);
    for seq in ["4", "11", "22"] {
        scene.type_in(&["at", "@", seq]);
    }
    scene.type_in(&["at", "@", "11", "src/a.txt"]).type_in(&["at", "@", "22", "src/a.txt"]);
    scene.type_in(&["at", "@", "4", "src/a.txt"]).type_in(&["at", "@", "22", "src"]).type_in(&[
        "at",
        "@",
        "4",
        "other.txt",
    ]);
    scene
        .type_in(&["at", "@", "22", "gone.txt"])
        .type_in(&["diff", "@", "4", "22"])
        .type_in(&["diff", "@", "11", "22"]);
    scene.type_in(&["diff", "@", "22", "22"]);
    scene.type_in(&["diff", "@:11", "@:22"]).type_in(&["diff", "@", "@"]).type_in(&["diff", "@:99", "@"]);
    assert_transcript!(scene);
}

#[test]
fn json_shapes() {
    let mut scene = Scene::new();
    fixture::session(&scene);
    scene
        .type_in(&["--json", "ps"])
        .type_in(&["--json", "show", "@"])
        .type_in(&["--json", "log", "@", "--since", "20"]);
    scene.type_in(&["--json", "why", "@", "12"]).type_in(&["--json", "trace", "@", "12"]);
    scene
        .type_in(&["--json", "at", "@", "22"])
        .type_in(&["--json", "diff", "@", "11", "22"])
        .type_in(&["--json", "verify"]);
    assert_transcript!(scene);
}

/// A session whose one ruling is not what its charter says.
fn misruled(scene: &Scene) {
    let ledger = Ledger::open(&scene.ledger()).unwrap();
    let stream = ledger.stream("0samp1esess9").unwrap();
    let toml = "[charter]\nname = \"t\"\n[owners]\nteam = [\"user:ann\"]\n";
    let cedar = "@id(\"no-pushes\") @owner(\"team\") @reason(\"None.\")\nforbid (principal, action == Action::\"git.push\", resource);\n";
    let open = json!({"session": "0samp1esess9", "name": "misruled", "agent": "a", "argv": ["a"], "cwd": "/w", "workspace": "/w",
        "home": "/home/a", "charter": {"digest": "sha256:of-another-version", "files": {"charter.toml": toml, "rules.cedar": cedar}}});
    let push = json!({"verb": "git.push", "resource": {"type": "Ref", "remote": "origin", "name": "main"}, "attrs": {},
        "surface": "exec", "agent": "a"});
    let ruling = json!({"of": 2, "verdict": "allow", "reasons": []});
    let entries = [(Kind::Open, vec![], open), (Kind::Attempt, vec![1], push), (Kind::Ruling, vec![2], ruling)];
    for (at_ns, (kind, cause, body)) in (1_795_230_001_000_000_000..).zip(entries) {
        stream.append(Draft { at_ns, kind, actor: "a".into(), cause, body }).unwrap();
    }
    stream.flush().unwrap();
}

#[test]
fn replays_states_and_graphs() {
    let mut scene = Scene::new();
    fixture::session(&scene);
    misruled(&scene);
    scene.charter("", "@id(\"all\") @owner(\"team\") @reason(\"Work.\")\npermit (principal, action, resource);\n");
    for level in ["3", "2", "7"] {
        scene.type_in(&["replay", "sample", "--level", level]);
    }
    scene.type_in(&["replay", "misruled"]).type_in(&["at", "misruled", "2", "--state"]);
    scene.type_in(&["at", "sample", "8", "--state"]).type_in(&["trace", "sample", "12", "--format", "dot"]);
    scene.type_in(&["diff", "sample", "2", "8", "--state"]).type_in(&["diff", "misruled", "1", "2", "--state"]);
    scene.type_in(&["diff", "misruled", "x", "2", "--state"]).type_in(&["diff", "a", "b", "--state"]);
    scene
        .type_in(&["diff", "misruled:1", "misruled:2", "--state"])
        .type_in(&["diff", "misruled", "misruled", "--state"]);
    scene.type_in(&["trace", "sample", "--path", "src/a.txt"]).type_in(&["trace", "sample", "--path", "never.txt"]);
    scene.type_in(&["backtest", "sample"]).type_in(&["backtest", "misruled", "--json"]);
    scene.type_in(&["backtest", "--since", "1s"]).type_in(&["backtest", "--html", "no/such/folder.html"]);
    assert_transcript!(scene);
}
