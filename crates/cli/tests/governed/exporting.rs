//! Exports, each read by an implementation that is not ours.

use crate::attesting::{python, readers};
use crate::support::{Case, World, stderr};
use flyball_testkit::user::User;
use serde_json::{Value, json};
use std::process::Command;

pub fn cases() -> Vec<Case> {
    vec![Case { name: "exports_are_read_by_others", needs: readers, run: others }]
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
