#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]
use super::*;
use flyball_ledger::{Draft, Kind};
use serde_json::json;

const SECOND: u64 = 1_000_000_000;

/// A session with one of each that a standard has a word for; entry `n` is of second `n`.
pub(super) fn session() -> (tempfile::TempDir, Ledger, History) {
    let dir = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(dir.path()).unwrap();
    let stream = ledger.stream("s").unwrap();
    let attempt = |verb: &str, resource: Json, surface: &str| {
        json!({
            "verb": verb, "resource": resource, "attrs": {}, "surface": surface, "agent": "claude",
            "at": "2026-01-01T00:00:00Z",
        })
    };
    let ruling = |of: u64, verdict: &str, consequence: &str, reasons: Json| json!({ "of": of, "verdict": verdict, "reasons": reasons, "governance": { "consequence": consequence } });
    let reason = |rule: &str, witnesses: &[u64]| json!({ "rule": rule, "owner": "o", "witnesses": witnesses });
    let entries: Vec<(Kind, &str, Vec<u64>, Json)> = vec![
        (
            Kind::Open,
            "user:u",
            vec![],
            json!({ "session": "s", "name": "n", "agent": "claude", "argv": ["claude"], "workspace": "/w", "charter": { "digest": "sha256:c" } }),
        ),
        // 2: a tool call, and 4: what it ran, which failed; 7: what that did, which was refused.
        (Kind::Attempt, "claude", vec![1], attempt("tool.call", json!({ "type": "Tool", "name": "Bash" }), "hook")),
        (Kind::Ruling, "gate", vec![2], ruling(2, "allow", "medium", json!([reason("base", &[])]))),
        (
            Kind::Attempt,
            "claude",
            vec![2],
            attempt(
                "process.exec",
                json!({ "type": "Program", "program": "rm", "path": "/bin/rm", "argv": ["x"], "cwd": "/w" }),
                "exec",
            ),
        ),
        (Kind::Ruling, "gate", vec![4], ruling(4, "allow", "low", json!([reason("base", &[])]))),
        (Kind::Dispatch, "gate", vec![4], json!({ "of": 4 })),
        (Kind::Attempt, "claude", vec![4], attempt("fs.delete", json!({ "type": "File", "path": "/w/a/x" }), "fs")),
        (Kind::Ruling, "gate", vec![7], ruling(7, "hold", "high", json!([reason("ask", &[])]))),
        (Kind::Ruling, "gate", vec![7], ruling(7, "deny", "high", json!([reason("no", &[3, 4]), reason("none", &[])]))),
        (Kind::Outcome, "gate", vec![4], json!({ "of": 4, "ok": false, "exit": 1 })),
        // 11: a model is called; what it used is in its recorded answer.
        (
            Kind::Attempt,
            "claude",
            vec![1],
            attempt("model.call", json!({ "type": "Model", "name": "m1", "provider": "anthropic" }), "model"),
        ),
        (Kind::Ruling, "gate", vec![11], ruling(11, "modify", "critical", json!([reason("less", &[10])]))),
        (Kind::Observe, "gateway", vec![11], json!({ "request": {} })),
        (Kind::Outcome, "gate", vec![11], json!({ "of": 11, "ok": true, "tokens": 20, "cost": 5 })),
        (
            Kind::Observe,
            "gateway",
            vec![13],
            json!({ "answer": {}, "usage": { "input": 10, "cached": 7, "output": 3 } }),
        ),
        // 16: a server's tool, caused by what came of the call, and by the exec; nobody answered for it.
        (
            Kind::Attempt,
            "claude",
            vec![14, 4],
            attempt("tool.call", json!({ "type": "Tool", "name": "t", "server": "v" }), "mcp"),
        ),
        (Kind::Ruling, "gate", vec![16], ruling(16, "hold", "none", json!([]))),
        (
            Kind::Attempt,
            "claude",
            vec![2],
            attempt("net.connect", json!({ "type": "Host", "host": "h", "port": 443 }), "net"),
        ),
        (Kind::Ruling, "gate", vec![18], ruling(18, "allow", "none", json!([]))),
        (Kind::Outcome, "gate", vec![18], json!({ "of": 18, "ok": true })),
        (Kind::Close, "supervisor", vec![], json!({ "ended_by": "person", "exit": 9 })),
    ];
    for (seq, (kind, actor, cause, body)) in (1..).zip(entries) {
        let draft = Draft { at_ns: seq * SECOND, kind, actor: actor.to_owned(), cause, body };
        assert_eq!(stream.append(draft).unwrap(), seq);
    }
    stream.flush().unwrap();
    drop(stream);
    let history = History::read(&ledger, "s").unwrap();
    (dir, ledger, history)
}

fn lines(format: Format) -> Vec<Json> {
    let (_dir, ledger, _) = session();
    let mut out = Vec::new();
    let count = export(&ledger, "s", format, &mut out).unwrap();
    let lines: Vec<Json> =
        String::from_utf8(out).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(format == Format::Otlp || lines.len() as u64 == count);
    lines
}

/// Attributes as they would be read: by key, each of its one type.
fn attributes(of: &Json) -> Json {
    let all = of.as_array().unwrap().iter();
    let value = |value: &Json| match value.as_object().unwrap().iter().next().unwrap() {
        (kind, value) if kind == "intValue" => value.as_str().unwrap().parse::<i64>().unwrap().into(),
        (kind, value) if kind == "arrayValue" => {
            value["values"].as_array().unwrap().iter().map(|item| item["stringValue"].clone()).collect::<Json>()
        }
        (_, value) => value.clone(),
    };
    let all = all.map(|item| (item["key"].as_str().unwrap().to_owned(), value(&item["value"])));
    Json::Object(all.collect())
}

#[test]
fn spans_say_what_was_done_by_whom_beneath_what_and_what_came_of_it() {
    let object = lines(Format::Otlp).remove(0);
    let resource = attributes(&object["resourceSpans"][0]["resource"]["attributes"]);
    assert_eq!(
        [&resource["flyball.session.id"], &resource["flyball.workspace"], &resource["flyball.charter.digest"]],
        ["s", "/w", "sha256:c"]
    );
    let spans = object["resourceSpans"][0]["scopeSpans"][0]["spans"].as_array().unwrap();
    let of = |seq: u64| -> (&Json, Json) {
        let found = |span: &&Json| attributes(&span["attributes"])["flyball.seq"] == seq;
        let span = spans.iter().find(found).unwrap_or_else(|| panic!("{seq}"));
        (span, attributes(&span["attributes"]))
    };
    assert_eq!(spans.len(), 7);
    let root = &spans[0];
    assert!(spans.iter().all(|span| span["traceId"] == root["traceId"]), "one trace");
    let ids = |of: &str, characters: usize| root[of].as_str().unwrap().len() == characters;
    assert!(ids("traceId", 32) && ids("spanId", 16));
    assert_eq!(
        attributes(&root["attributes"]),
        json!({
            "gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "claude", "gen_ai.conversation.id": "s",
            "flyball.ended_by": "person", "flyball.exit": 9,
        })
    );
    // By seconds: begun and ended; what a person ended is no success.
    let time = |span: &Json| {
        let second = |key: &str| span[key].as_str().unwrap().parse::<u64>().unwrap() / SECOND;
        (second("startTimeUnixNano"), second("endTimeUnixNano"))
    };
    assert_eq!(
        (time(root), &root["status"]["code"], root["name"].as_str()),
        ((1, 21), &json!(2), Some("invoke_agent claude"))
    );
    for (seq, name, parent, kind, times, status, links) in [
        (2, "execute_tool Bash", None, 1, (2, 3), (0, ""), vec![]),
        (4, "process.exec rm", Some(2), 1, (4, 10), (2, "failed"), vec![]),
        (7, "fs.delete", Some(4), 1, (7, 9), (2, "denied"), vec![2]),
        (11, "chat m1", None, 3, (11, 14), (0, ""), vec![4]),
        (16, "execute_tool t", Some(11), 3, (16, 17), (0, ""), vec![4]),
        (18, "net.connect", Some(2), 3, (18, 20), (0, ""), vec![]),
    ] {
        let (span, said) = of(seq);
        let parent = parent.map_or(root, |parent| of(parent).0);
        assert_eq!(span["parentSpanId"], parent["spanId"], "{seq}");
        assert_eq!((span["name"].as_str(), &span["kind"], time(span)), (Some(name), &json!(kind), times), "{seq}");
        assert_eq!(span["status"], json!({ "code": status.0, "message": status.1 }), "{seq}");
        let links: Vec<&Json> = links.into_iter().map(|seq| &of(seq).0["spanId"]).collect();
        let linked: Vec<&Json> = span["links"].as_array().unwrap().iter().map(|link| &link["spanId"]).collect();
        assert_eq!(linked, links, "{seq}");
        assert_eq!([&said["gen_ai.agent.name"], &said["gen_ai.conversation.id"]], ["claude", "s"], "{seq}");
    }
    let said = |seq: u64, wanted: Json| {
        let (_, said) = of(seq);
        for (key, value) in wanted.as_object().unwrap() {
            assert_eq!(&said[key], value, "{seq}: {key}");
        }
    };
    said(2, json!({ "gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "Bash", "mcp.method.name": null }));
    said(4, json!({ "process.executable.name": "rm", "process.command_args": ["x"], "flyball.verdict": "allow" }));
    said(7, json!({ "flyball.verdict": "deny", "flyball.rules": ["no", "none"], "file.path": "/w/a/x" }));
    // Input is all that was sent, what was cached included.
    said(
        11,
        json!({
            "gen_ai.operation.name": "chat", "gen_ai.request.model": "m1", "gen_ai.provider.name": "anthropic",
            "gen_ai.usage.input_tokens": 17, "gen_ai.usage.cache_read.input_tokens": 7,
            "gen_ai.usage.output_tokens": 3, "flyball.model.tokens": 20, "flyball.model.cost_micros": 5,
            "flyball.verdict": "modify",
        }),
    );
    said(16, json!({ "mcp.method.name": "tools/call", "flyball.mcp.server": "v", "flyball.verdict": "hold" }));
    said(18, json!({ "server.address": "h", "server.port": 443 }));
    let events = of(7).0["events"].as_array().unwrap();
    let events: Vec<(&str, u64)> = events
        .iter()
        .map(|event| {
            let at = event["timeUnixNano"].as_str().unwrap().parse::<u64>().unwrap();
            (event["name"].as_str().unwrap(), at / SECOND)
        })
        .collect();
    assert_eq!(events, [("flyball.ruling", 8), ("flyball.ruling", 9)]);
}

#[test]
fn ocsf_says_what_was_done_and_what_was_ruled() {
    let events = lines(Format::Ocsf);
    let said: Vec<Json> = events
        .iter()
        .map(|event| {
            let keys =
                ["class_uid", "activity_id", "type_uid", "severity_id", "status_id", "action_id", "disposition_id"];
            let sequence = &event["metadata"]["sequence"];
            std::iter::once(sequence).chain(keys.map(|key| &event[key])).cloned().collect()
        })
        .collect();
    assert_eq!(
        said,
        [
            json!([2, 6003, 99, 600_399, 3, 0, 1, 1]),
            json!([4, 1007, 1, 100_701, 2, 2, 1, 1]),
            json!([7, 1001, 4, 100_104, 4, 2, 2, 2]),
            json!([11, 6003, 99, 600_399, 5, 1, 1, 11]),
            json!([16, 6003, 99, 600_399, 0, 0, 0, 0]),
            json!([18, 6003, 99, 600_399, 0, 1, 1, 1]),
        ]
    );
    let exec = &events[1];
    assert_eq!(
        (exec["process"]["cmd_line"].as_str(), exec["process"]["file"]["path"].as_str()),
        (Some("rm x"), Some("/bin/rm"))
    );
    let delete = &events[2];
    assert_eq!((&delete["file"]["name"], &delete["file"]["path"]), (&json!("x"), &json!("/w/a/x")));
    // In milliseconds.
    assert_eq!((&delete["time"], &delete["metadata"]["uid"]), (&json!(7_000), &json!("s/7")));
    assert_eq!((&delete["status"], &delete["firewall_rule"]["uid"]), (&json!("Failure"), &json!("no")));
    assert_eq!(delete["unmapped"]["flyball.rules"], json!(["no", "none"]));
    assert_eq!((&delete["actor"]["app_name"], &delete["actor"]["session"]["uid"]), (&json!("claude"), &json!("s")));
    assert_eq!(events[4]["firewall_rule"], Json::Null);
}

#[test]
fn cloudevents_are_the_entries() {
    let (_dir, ledger, history) = session();
    let name = ledger.verifier().name().to_owned();
    let mut out = Vec::new();
    export(&ledger, "s", Format::CloudEvents, &mut out).unwrap();
    let events: Vec<Json> =
        String::from_utf8(out).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(events.len(), history.entries().len());
    for (event, entry) in events.iter().zip(history.entries()) {
        assert_eq!(
            *event,
            json!({
                "specversion": "1.0", "id": entry.seq.to_string(), "source": format!("//{name}/s"),
                "type": format!("local.flyball.entry.{}", entry.kind), "subject": entry.actor,
                "time": format!("1970-01-01T00:00:{:02}.000000000Z", entry.seq),
                "datacontenttype": "application/json", "sequence": format!("{:020}", entry.seq),
                "data": entry.to_json(),
            })
        );
    }
}
