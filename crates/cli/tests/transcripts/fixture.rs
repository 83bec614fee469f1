//! A session as the runtime writes it, with fixed numbers and times, so that what is read from it can be compared.

use crate::scene::Scene;
use flyball_ledger::{Draft, Kind, Ledger};
use serde_json::{Value, json};

const RULES: &str = "@id(\"work\") @owner(\"team\") @reason(\"Work.\")
permit (principal, action, resource);

@id(\"no-deploy-on-red\") @owner(\"team\")
@reason(\"Deploys need green tests.\")
forbid (principal, action in Action::\"deploy\", resource)
unless { context.fact.tests_green };
";

/// Writes one ended session into the scene's ledger.
pub fn session(scene: &Scene) {
    scene.write("src/a.txt", "one\ntwo\n");
    scene.write("gone.txt", "away\n");
    scene.write("other.txt", "untouched\n");
    let ledger = Ledger::open(&scene.ledger()).unwrap();
    let workspace = scene.repo().display().to_string();
    let blob = |text: &str| ledger.put_blob(text.as_bytes()).unwrap().to_string();
    let digest = |text: &str| flyball_ledger::Digest::of(text.as_bytes()).to_string();
    let stream = ledger.stream("0samp1esess1").unwrap();
    let mut at_ns = 1_795_230_000_000_000_000;
    let mut put = |kind: Kind, actor: &str, cause: &[u64], body: Value| {
        at_ns += 1_000_000;
        stream.append(Draft { at_ns, kind, actor: actor.into(), cause: cause.to_vec(), body }).unwrap()
    };
    let file = |text: &str, digest: &str| json!({"kind": "file", "digest": digest, "size": text.len(), "mode": 420});
    let allow = |of: u64| ruling(of, "allow", &json!([reason("work", "Work.", &[], "rules.cedar:1", None)]));
    let exec = |program: &str, argv: &[&str]| json!({"verb": "process.exec", "resource": {"type": "Command", "program": program, "argv": argv, "cwd": workspace, "path": format!("/usr/bin/{program}")}, "attrs": {}, "surface": "exec", "agent": "sample"});
    put(
        Kind::Open,
        "user:ann",
        &[],
        json!({
            "session": "0samp1esess1", "name": "sample", "agent": "sample", "argv": ["sh", "agent.sh"], "cwd": workspace,
            "workspace": workspace, "home": "/home/ann", "session_dir": "/nowhere", "pid": 42, "version": "0.1.0",
            "charter": {"digest": "sha256:0123456789ab", "files": {"charter.toml": "[charter]\nname = \"t\"\n", "rules.cedar": RULES}},
            "weaker": [], "uncovered": ["http: requests inside an allowed connection"],
        }),
    );
    put(Kind::Attempt, "sample", &[1], exec("sh", &["agent.sh"]));
    put(Kind::Ruling, "kernel", &[2], allow(2));
    put(Kind::Dispatch, "gate", &[2], json!({"of": 2}));
    put(Kind::Attempt, "sample", &[2], exec("test.sh", &[]));
    put(Kind::Ruling, "kernel", &[5], {
        let mut lowered = allow(5);
        lowered["effects"] = json!([{"effect": "autonomy", "level": "bounded", "because": "fact `tired` holds"}]);
        lowered
    });
    put(Kind::Dispatch, "gate", &[5], json!({"of": 5}));
    put(Kind::Outcome, "gate", &[5], json!({"of": 5, "ok": true, "exit": 0}));
    put(Kind::Attempt, "sample", &[2], write(&workspace, "src/a.txt"));
    put(Kind::Ruling, "kernel", &[9], allow(9));
    let (one, two) = ("one\nTWO\n", "one\nTWO\nthree\n");
    put(
        Kind::Observe,
        "barrier",
        &[2],
        json!({"workspace": {"changes": [
        {"path": "src/a.txt", "node": file(one, &blob(one)), "base": file("one\ntwo\n", &digest("one\ntwo\n"))},
    ], "state": digest("s1")}}),
    );
    let deploy = json!({"verb": "deploy.apply", "resource": {"type": "Target", "cluster": "", "namespace": "", "kind": "Deployment", "name": "api"}, "attrs": {}, "surface": "exec", "agent": "sample"});
    put(Kind::Attempt, "sample", &[2], deploy);
    let needs = "result process.exec(program: \"test.sh\", exit: 0) after 9";
    put(
        Kind::Ruling,
        "kernel",
        &[8, 9, 12],
        ruling(
            12,
            "deny",
            &json!([reason("no-deploy-on-red", "Deploys need green tests.", &[8, 9], "rules.cedar:4", Some(needs)),]),
        ),
    );
    let push = json!({"verb": "git.push", "resource": {"type": "Ref", "remote": "origin", "name": "main"}, "attrs": {"force": true}, "surface": "exec", "agent": "sample"});
    put(Kind::Attempt, "sample", &[2], push.clone());
    put(
        Kind::Ruling,
        "kernel",
        &[14],
        ruling(14, "hold", &json!([reason("main", "Reviewed.", &[], "rules.cedar:99", None)])),
    );
    put(
        Kind::Question,
        "kernel",
        &[14],
        json!({
            "id": "0samp1esess1-14", "of": 14, "action": digest("a"), "tier": "team", "who": ["user:ann"], "quorum": 1,
            "deadline": "2026-11-21T03:05:00.000000000Z", "reasons": [reason("main", "Reviewed.", &[], "rules.cedar:99", None)], "attempt": push,
        }),
    );
    put(
        Kind::Answer,
        "user:ann",
        &[14],
        json!({
            "question": "0samp1esess1-14", "of": 14, "action": digest("a"), "verdict": "deny", "by": "user:ann", "reason": "not today", "with": null,
        }),
    );
    put(Kind::Ruling, "kernel", &[14], ruling(14, "deny", &json!([reason("answered", "not today", &[], "", None)])));
    put(
        Kind::Observe,
        "barrier",
        &[2],
        json!({"workspace": {"changes": [
        {"path": "src/a.txt", "node": file(two, &blob(two))},
        {"path": "gone.txt", "node": {"kind": "absent"}, "base": file("away\n", &digest("away\n"))},
        {"path": "new.bin", "node": file("\0\u{1}", &blob("\0\u{1}")), "base": {"kind": "absent"}},
    ], "state": digest("s2")}}),
    );
    put(Kind::Intervention, "user:ann", &[], json!({"act": "pause", "by": "user:ann", "reason": "a\u{1b}[31mlook"}));
    put(Kind::Outcome, "gate", &[2], json!({"of": 2, "ok": false, "exit": 3}));
    put(
        Kind::Close,
        "supervisor",
        &[],
        json!({
            "ended_by": "program", "exit": 3, "actions": 5, "allowed": 3, "denied": 2, "held": 1, "modified": 0,
            "changed_files": 3, "uncovered": ["http: requests inside an allowed connection"], "replay_level": 3,
            "registers": {
                "gate": "open", "autonomy": "bounded", "labels": {"secret": 9},
                "budgets": [
                    {"budget": "pushes", "agent": "", "used": 3, "reserved": 1, "limit": 4, "warn_at": [2]},
                    {"budget": "tokens", "agent": "day 2026-11-21", "used": 9, "reserved": 0, "limit": 9, "warn_at": []},
                ],
                "envelopes": [{
                    "envelope": "replicas", "of": "deploy.scale.replicas", "resource": "api", "value": 6, "min": 2,
                    "max": 20, "step": 4, "rate": 3, "per_ns": 60_000_000_000_u64, "changes": 1,
                }],
                "obligations": [
                    {"obligation": "passed-on", "owner": "team", "bound": "i = \"7\"", "since": 12, "deadline_ns": 1_795_230_300_000_000_000_u64},
                    {"obligation": "cleaned", "owner": "team", "bound": "", "since": 9, "deadline_ns": null},
                ],
            },
        }),
    );
    stream.flush().unwrap();
    drop(stream);
}

fn write(workspace: &str, path: &str) -> Value {
    json!({"verb": "fs.write", "resource": {"type": "File", "path": format!("{workspace}/{path}")}, "attrs": {"create": false}, "surface": "fs", "agent": "sample"})
}

fn reason(rule: &str, text: &str, witnesses: &[u64], source: &str, needs: Option<&str>) -> Value {
    let mut reason = json!({"rule": rule, "owner": "team", "reason": text, "witnesses": witnesses});
    if let Some(needs) = needs {
        reason["needs"] = needs.into();
    }
    if !source.is_empty() {
        reason["source"] = source.into();
    }
    reason
}

fn ruling(of: u64, verdict: &str, reasons: &Value) -> Value {
    json!({
        "of": of, "verdict": verdict, "reasons": reasons, "action": "sha256:0123456789ab", "charter": "sha256:0123456789ab",
        "governance": {"consequence": "low", "reversibility": "compensatable", "durable": false, "snapshot": false},
        "modified": null,
    })
}
