//! Exports, each read by an implementation that is not ours.

use crate::attesting::{python, readers};
use crate::support::{Case, World, nothing, stderr, summary};
use flyball_testkit::collector::{collector, sorted, spans};
use flyball_testkit::user::User;
use serde_json::{Value, json};
use std::io::Write;
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::time::Duration;

pub fn cases() -> Vec<Case> {
    vec![
        Case { name: "exports_are_read_by_others", needs: readers, run: others },
        Case { name: "spans_go_to_a_collector_as_they_end", needs: readers, run: live },
        Case { name: "a_collector_that_takes_nothing_is_told_of_and_harms_nothing", needs: nothing, run: dead },
    ]
}

/// OpenTelemetry's own message types, read strictly; ids are hex in OTLP/JSON and base64 in protobuf's.
const OTLP: &str = r#"
import base64, json, sys
from google.protobuf import json_format
from opentelemetry.proto.trace.v1.trace_pb2 import TracesData
data = json.load(open(sys.argv[1]))
def walk(value):
    if isinstance(value, dict):
        for key, inner in value.items():
            if key in ("traceId", "spanId", "parentSpanId"):
                value[key] = base64.b64encode(bytes.fromhex(inner)).decode()
            else:
                walk(inner)
    elif isinstance(value, list):
        for inner in value: walk(inner)
walk(data)
traces = json_format.ParseDict(data, TracesData())
spans = [s for r in traces.resource_spans for c in r.scope_spans for s in c.spans]
ids = {s.span_id for s in spans}
assert len(ids) == len(spans) and all(len(s.span_id) == 8 and len(s.trace_id) == 16 for s in spans)
assert all(not s.parent_span_id or s.parent_span_id in ids for s in spans)
assert all(0 < s.start_time_unix_nano <= s.end_time_unix_nano for s in spans)
def attribute(span, key):
    return next((a.value.string_value for a in span.attributes if a.key == key), None)
print(json.dumps([[s.name, attribute(s, "gen_ai.operation.name"), bool(s.parent_span_id), s.status.code] for s in spans]))
"#;

/// The schema of OCSF itself, as JSON Schema, held by a validator that is not ours.
const OCSF: &str = r#"
import json, os, sys
import jsonschema, ocsf_json_schema
from ocsf_json_schema.embedded import OcsfJsonSchemaEmbedded
folder = os.path.join(os.path.dirname(ocsf_json_schema.__file__), "ocsf")
schema = OcsfJsonSchemaEmbedded(json.load(open(os.path.join(folder, "1.8.0.json"))))
validators, seen = {}, []
for line in open(sys.argv[1]):
    event = json.loads(line)
    uid = event["class_uid"]
    if uid not in validators:
        name = schema.lookup_class_name_from_uid(uid)
        made = schema.get_class_schema(name, event["metadata"]["profiles"])
        validators[uid] = jsonschema.validators.validator_for(made)(made)
    errors = [e.message + " at " + "/".join(map(str, e.path)) for e in validators[uid].iter_errors(event)]
    assert not errors, (event, errors)
    seen.append([uid, event["activity_id"], event["action_id"], event["status_id"]])
print(json.dumps(seen))
"#;

const CLOUDEVENTS: &str = r#"
import json, sys
from cloudevents.core.v1.event import CloudEvent
from cloudevents.core.formats.json import JSONFormat
events = [JSONFormat().read(CloudEvent, line.strip()) for line in open(sys.argv[1])]
ids = {(e.get_source(), e.get_id()) for e in events}
assert len(ids) == len(events)
print(json.dumps([[e.get_type(), e.get_id(), e.get_extension("sequence"), e.get_data()["seq"]] for e in events]))
"#;

fn others(user: User) {
    let world = World::new(user);
    world.init("", "@id(\"none\") @owner(\"maintainer\") @reason(\"no\")\nforbid (principal, action == Action::\"fs.delete\", resource);\n");
    world.run("sh -c 'echo b > b; cat b > c'; mv c d; rm b; chmod 600 d; ln d e; mkdir f; ls /nonexistent; true");
    let log = world.log();
    let attempts: Vec<&Value> = log.iter().filter(|e| e["kind"] == "attempt").collect();
    let read = |format: &str, script: &str| -> Vec<Value> {
        let file = world.repo.scratch().join(format);
        let words = ["export", "@", "--format", format, "-o", file.to_str().unwrap(), "--json"];
        let told: Value = serde_json::from_str(&world.ok(&words)).unwrap();
        let again = world.ok(&["export", "@", "--format", format, "-o", "-"]);
        assert_eq!(again, std::fs::read_to_string(&file).unwrap(), "the same each time");
        let output = Command::new(python()).args(["-c", script]).arg(&file).output().unwrap();
        assert!(output.status.success(), "{format}: {}", stderr(&output));
        let seen: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
        let counted = told.get("spans").or(told.get("events")).unwrap();
        assert_eq!(*counted, seen.len() as u64, "{told}");
        seen
    };
    let spans = read("otlp", OTLP);
    assert_eq!(spans.len(), attempts.len() + 1);
    assert_eq!(spans[0], json!(["invoke_agent sh", "invoke_agent", false, 0]));
    assert!(spans[1..].iter().all(|span| span[2] == true), "every attempt has what caused it: {spans:?}");
    let denied = |e: &&Value| e["kind"] == "ruling" && e["body"]["verdict"] == "deny";
    assert!(log.iter().any(|e| denied(&e)) && spans.iter().any(|span| span[3] == 2), "{spans:?}");

    let events = read("ocsf", OCSF);
    assert_eq!(events.len(), attempts.len());
    for wanted in [json!([1007, 1, 1, 1]), json!([1001, 4, 2, 2])] {
        assert!(events.contains(&wanted), "{wanted} is not in {events:?}");
    }

    let events = read("cloudevents", CLOUDEVENTS);
    assert_eq!(events.len(), log.len());
    for (event, entry) in events.iter().zip(&log) {
        assert_eq!(event[0], format!("local.flyball.entry.{}", entry["kind"].as_str().unwrap()));
        assert_eq!(event[3], entry["seq"]);
    }
    let output = world.flyball(&["export", "@", "--format", "ocsf", "-o", "/nonexistent/file"]).output().unwrap();
    assert!(stderr(&output).contains("FB0575"), "{}", stderr(&output));
}

fn live(user: User) {
    let world = World::new(user);
    world.init("", "@id(\"none\") @owner(\"maintainer\") @reason(\"no\")\nforbid (principal, action == Action::\"fs.delete\", resource);\n");
    // It is busy at first: what it did not take then it is sent again.
    let (url, taken) = collector(&[503, 200]);
    let script = "echo b > begun; sh -c 'rm begun; cat begun > c; mv c d; chmod 600 d; true'; read go; echo a > after";
    let mut run = world.flyball(&["run", "--json", "--apply", "never", "--otlp", "env", "--", "sh", "-c", script]);
    run.env("OTEL_EXPORTER_OTLP_ENDPOINT", &url).env("OTEL_EXPORTER_OTLP_HEADERS", "x-key=a%20b=c, X-Tenant=t");
    let mut child = run.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut all: Vec<Value> = Vec::new();
    let next = || taken.recv_timeout(Duration::from_secs(120)).expect("no spans came");
    let file = |span: &Value| span["attributes"].to_string();
    // While the program still waits.
    let (mut requests, mut has_begun) = (Vec::new(), false);
    while !has_begun {
        requests.push(next());
        all = requests.iter().flat_map(spans).collect();
        has_begun = all.iter().any(|span| file(span).contains("/begun"));
    }
    assert!(!all.iter().any(|span| file(span).contains("/after") || span["parentSpanId"] == ""), "{all:?}");
    child.stdin.take().unwrap().write_all(b"go\n").unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success() && !stderr(&output).contains(&url), "{}", stderr(&output));
    requests.extend(taken.try_iter());

    for request in &requests {
        let heard = request["heard"].as_str().unwrap();
        assert!(heard.contains("x-key: a b=c\r\n") && heard.contains("x-tenant: t\r\n"), "{heard}");
    }
    // Together they are what is exported afterwards, each once.
    let exported: Value = serde_json::from_str(&world.ok(&["export", "@", "--format", "otlp", "-o", "-"])).unwrap();
    let (live, later) = (sorted(requests.iter().flat_map(spans).collect()), sorted(spans(&exported)));
    assert_eq!(live.len(), later.len());
    for (live, later) in live.iter().zip(&later) {
        assert_eq!(live, later);
    }
    assert!(
        requests
            .iter()
            .all(|request| request["resourceSpans"][0]["resource"] == exported["resourceSpans"][0]["resource"])
    );
    let mut joined = exported;
    joined["resourceSpans"][0]["scopeSpans"][0]["spans"] = Value::Array(live);
    let file = world.repo.scratch().join("live.json");
    std::fs::write(&file, joined.to_string()).unwrap();
    let output = Command::new(python()).args(["-c", OTLP]).arg(&file).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
}

fn dead(user: User) {
    let world = World::new(user);
    world.init("", "");
    let run = |url: &str| {
        let script = "echo a > a; exit 7";
        let words = ["run", "--json", "--apply", "never", "--otlp", url, "--", "sh", "-c", script];
        world.flyball(&words).output().unwrap()
    };
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (refuses, _taken) = collector(&[400]);
    for url in [&format!("http://{closed}"), &refuses] {
        let output = run(url);
        assert_eq!(output.status.code(), Some(7), "{}", stderr(&output));
        let told = stderr(&output);
        assert!(told.contains("took 0 spans and not ") && told.contains(url.as_str()), "{told}");
        assert_eq!(summary(&output)["exit"], 7);
        world.verifies();
    }
    let output = run("collector:4318");
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    for (variable, value, told) in [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "", "is set"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318", "is no"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "a=b,secret", "header 2 is not"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "host=secret", "header 1 is not"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "a=secret%2", "header 1 is not"),
    ] {
        let url = if variable.ends_with("HEADERS") { "http://127.0.0.1:9" } else { "env" };
        let output = world.flyball(&["run", "--otlp", url, "--", "true"]).env(variable, value).output().unwrap();
        let said = stderr(&output);
        assert!(
            output.status.code() == Some(2) && said.contains(told) && !said.contains("secret"),
            "{variable}: {said}"
        );
    }
}
