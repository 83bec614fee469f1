//! Attempts as events of the Open Cybersecurity Schema Framework, version 1.8.0 (<https://schema.ocsf.io>): File System Activity
//! (1001), Process Activity (1007), and API Activity (6003) for all else; profile `security_control` says what was ruled.

use super::text;
use crate::read::History;
use flyball_ledger::{Entry, Kind};
use serde_json::{Value as Json, json};

const VERSION: &str = "1.8.0";

pub(super) fn events<'h>(history: &'h History, ledger: &'h str) -> impl Iterator<Item = Json> + 'h {
    let attempts = history.entries().iter().filter(|entry| entry.kind == Kind::Attempt);
    attempts.map(move |entry| event(history, ledger, entry))
}

fn event(history: &History, ledger: &str, entry: &Entry) -> Json {
    let life: Vec<&Entry> = history.life(entry.seq).collect();
    let last = |kind: Kind| life.iter().rev().find(|e| e.kind == kind).map(|e| &e.body);
    let (ruling, outcome) = (last(Kind::Ruling), last(Kind::Outcome));
    let verdict = ruling.map(|body| text(body, "/verdict")).unwrap_or_default();
    let verb = text(&entry.body, "/verb");
    let class = class(verb);
    let ok = outcome.and_then(|body| body.get("ok")?.as_bool());
    let (status_id, status) = match (verdict, ok) {
        ("deny", _) | (_, Some(false)) => (2, "Failure"),
        (_, Some(true)) => (1, "Success"),
        _ => (0, "Unknown"),
    };
    let (action_id, disposition_id) = match verdict {
        "allow" | "modify" => (1, if verdict == "modify" { 11 } else { 1 }),
        "deny" => (2, 2),
        _ => (0, 0),
    };
    let reasons = ruling.and_then(|body| body.get("reasons")?.as_array().cloned()).unwrap_or_default();
    let rules: Vec<&str> = reasons.iter().map(|reason| text(reason, "/rule")).collect();
    let consequence = ruling.map(|body| text(body, "/governance/consequence")).unwrap_or_default();
    let mut event = json!({
        "class_uid": class.uid,
        "class_name": class.name,
        "category_uid": class.uid / 1000,
        "category_name": if class.uid == 6003 { "Application Activity" } else { "System Activity" },
        "activity_id": class.activity,
        "activity_name": class.activity_name,
        "type_uid": class.uid * 100 + class.activity,
        "severity_id": severity(consequence),
        "status_id": status_id,
        "status": status,
        "action_id": action_id,
        "disposition_id": disposition_id,
        "time": entry.at_ns / 1_000_000,
        "message": history.say(entry),
        "metadata": {
            "version": VERSION,
            "profiles": ["security_control"],
            "uid": format!("{}/{}", history.session, entry.seq),
            "sequence": entry.seq,
            "correlation_uid": history.session,
            "product": { "name": "Flyball", "vendor_name": "Flyball", "version": env!("CARGO_PKG_VERSION") },
        },
        "actor": { "app_name": entry.actor, "session": { "uid": history.session } },
        "unmapped": {
            "flyball.verb": verb, "flyball.verdict": verdict, "flyball.rules": rules,
            "flyball.attrs": entry.body.get("attrs"), "flyball.resource": entry.body.get("resource"),
        },
    });
    if let (Some(event), Json::Object(more)) = (event.as_object_mut(), subject(class.uid, ledger, entry, verb)) {
        event.extend(more);
        if let Some(rule) = rules.first() {
            event.insert("firewall_rule".to_owned(), json!({ "uid": rule, "name": rule }));
        }
    }
    event
}

struct Class {
    uid: u32,
    name: &'static str,
    activity: u32,
    activity_name: &'static str,
}

fn class(verb: &str) -> Class {
    let (uid, name, activity, activity_name) = match verb {
        "fs.read" => (1001, "File System Activity", 2, "Read"),
        "fs.write" => (1001, "File System Activity", 3, "Update"),
        "fs.delete" => (1001, "File System Activity", 4, "Delete"),
        "fs.move" => (1001, "File System Activity", 5, "Rename"),
        "fs.chmod" => (1001, "File System Activity", 6, "Set Attributes"),
        "fs.link" => (1001, "File System Activity", 1, "Create"),
        "process.exec" => (1007, "Process Activity", 1, "Launch"),
        "data.select" => (6003, "API Activity", 2, "Read"),
        "data.insert" | "dependency.add" | "git.commit" | "git.tag" | "git.branch" | "pr.open" => {
            (6003, "API Activity", 1, "Create")
        }
        "data.update" | "deploy.apply" | "deploy.scale" | "dependency.change" | "pr.merge" => {
            (6003, "API Activity", 3, "Update")
        }
        _ if verb.ends_with(".delete") || verb.ends_with(".remove") => (6003, "API Activity", 4, "Delete"),
        _ => (6003, "API Activity", 99, "Other"),
    };
    Class { uid, name, activity, activity_name }
}

fn severity(consequence: &str) -> u32 {
    match consequence {
        "low" => 2,
        "medium" => 3,
        "high" => 4,
        "critical" => 5,
        _ => 0,
    }
}

/// What was acted on, and where.
fn subject(class: u32, ledger: &str, entry: &Entry, verb: &str) -> Json {
    let resource = |member: &str| text(&entry.body, &format!("/resource/{member}"));
    // The machine is known by the ledger that it keeps.
    let device = json!({ "type_id": 0, "uid": ledger, "name": ledger });
    match class {
        1001 => {
            let path = resource("path");
            let name = path.rsplit('/').next().filter(|name| !name.is_empty()).unwrap_or("/");
            json!({ "device": device, "file": { "name": name, "path": path, "type_id": 0 } })
        }
        1007 => {
            let argv = entry.body.pointer("/resource/argv").and_then(Json::as_array).into_iter().flatten();
            let words = std::iter::once(resource("program")).chain(argv.filter_map(Json::as_str));
            let line = words.collect::<Vec<_>>().join(" ");
            let file = json!({ "name": resource("program"), "path": resource("path"), "type_id": 1 });
            json!({
                "device": device,
                "process": {
                    "name": resource("program"), "cmd_line": line, "file": file,
                    "working_directory": resource("cwd"), "uid": format!("{}/{}", entry.stream, entry.seq),
                },
            })
        }
        _ => json!({
            "api": { "operation": verb, "service": { "name": resource("type") } },
            // Within the session: no address is known of who asks.
            "src_endpoint": { "name": entry.actor, "uid": entry.stream },
        }),
    }
}
