//! The corpus of `dogwood-language`, as `oracle/` translates it: their events are attempts of ours, their temporal conditions
//! facts, their policies rules; the verdicts must be theirs.
//!
//! The stored cases are those whose translation compiles; `cargo xtask oracle dogwood` translates the corpus anew, with random
//! changes of its traces that their engine ruled on, and gives the file by `FLYBALL_DOGWOOD_CASES`.

use flyball_kernel::{
    Action, Charter, Event, Input, Kernel, Resource, ResourceKind, Session, Sources, Surface, Verdict,
};
use serde_json::Value as Json;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

const STORED: &str = include_str!("../dogwood/cases.jsonl");

#[test]
fn verdicts_are_those_of_the_corpus() {
    let text = match std::env::var("FLYBALL_DOGWOOD_CASES") {
        Ok(path) => std::fs::read_to_string(path).unwrap(),
        Err(_) => STORED.to_owned(),
    };
    let mut seen = Seen::default();
    for line in text.lines() {
        let case: Json = serde_json::from_str(line).unwrap();
        let name = case["case"].as_str().unwrap();
        if let Some(reason) = case["left_out"].as_str() {
            seen.leave_out(name, reason.to_owned());
            continue;
        }
        match Charter::compile(&sources(&case)) {
            Ok((charter, _)) => {
                seen.same.push(name.to_owned());
                let charter = Arc::new(charter);
                for (n, trace) in case["traces"].as_array().unwrap().iter().enumerate() {
                    play(&charter, &case, &format!("{name}, trace {}", n + 1), trace, &mut seen);
                }
            }
            Err(told) => {
                let first = &told.0[0];
                seen.leave_out(name, format!("ours refuses it: {} {}", first.code, first.message));
            }
        }
    }
    if let Ok(path) = std::env::var("FLYBALL_DOGWOOD_TOLD") {
        let left_out: BTreeMap<&str, &str> = seen.left_out.iter().map(|(n, r)| (n.as_str(), r.as_str())).collect();
        let told = serde_json::json!({
            "same": seen.same, "left_out": left_out, "traces": seen.traces, "verdicts": seen.verdicts, "allowed": seen.allowed,
            "differ": seen.differ, "overflowed": seen.overflowed,
        });
        std::fs::write(path, told.to_string()).unwrap();
    }
    assert!(seen.differ.is_empty(), "{} verdicts differ:\n{}", seen.differ.len(), seen.differ.join("\n"));
    // Otherwise the test could pass by comparing nothing.
    assert!(seen.same.len() > 600 && seen.allowed * 10 > seen.verdicts, "{} cases", seen.same.len());
}

#[derive(Default)]
struct Seen {
    same: Vec<String>,
    left_out: Vec<(String, String)>,
    traces: usize,
    verdicts: usize,
    allowed: usize,
    differ: Vec<String>,
    overflowed: usize,
}

impl Seen {
    fn leave_out(&mut self, name: &str, reason: String) {
        self.left_out.push((name.to_owned(), reason));
    }
}

fn sources(case: &Json) -> Sources {
    let mut toml = "[charter]\nname = \"dogwood\"\n[owners]\ndev = [\"user:a\"]\n[facts]\n".to_owned();
    for (name, text) in case["facts"].as_object().unwrap() {
        writeln!(toml, "{name} = '{}'", text.as_str().unwrap()).unwrap();
    }
    let mut cedar = String::new();
    for (n, rule) in case["rules"].as_array().unwrap().iter().enumerate() {
        writeln!(cedar, "@id(\"r{n}\") @owner(\"dev\") @reason(\"r\") {}", rule.as_str().unwrap()).unwrap();
    }
    Sources::from([("charter.toml".to_owned(), toml), ("rules.cedar".to_owned(), cedar)])
}

/// Their events happen; after each that they ruled on, the same request is put to a copy of the kernel.
fn play(charter: &Arc<Charter>, case: &Json, name: &str, trace: &Json, seen: &mut Seen) {
    let session = Session { workspace: "/w".into(), home: "/h".into(), agent: "a".into() };
    let mut kernel = Kernel::new(Arc::clone(charter), session);
    let verb = case["verb"].as_str().unwrap();
    seen.traces += 1;
    for (n, event) in trace.as_array().unwrap().iter().enumerate() {
        let at_ns = (event[0].as_u64().unwrap() + 1) * 1_000_000_000;
        let seq = u64::try_from(n).unwrap() + 1;
        kernel.step(&Input { seq, at_ns, event: Event::Attempt(attempt(verb, &event[1])) });
        let Some(expected) = event[3].as_bool() else { continue };
        let asked = Input { seq: seq + 1, at_ns, event: Event::Attempt(attempt(verb, &event[2])) };
        let rulings = kernel.clone().step(&asked);
        let is_allowed = rulings[0].verdict == Verdict::Allow;
        seen.verdicts += 1;
        seen.allowed += usize::from(is_allowed);
        // Theirs adds up in 128 bits; what leaves ours is refused, and never let through.
        if !is_allowed && rulings[0].reasons.iter().any(|r| r.reason.contains("left 64 bits")) {
            seen.overflowed += 1;
        } else if is_allowed != expected {
            let reasons = format!("{:?}", rulings[0].reasons).chars().take(300).collect::<String>();
            seen.differ.push(format!("{name}, event {n}: expected {expected}, {reasons}"));
        }
    }
}

fn attempt(verb: &str, attrs: &Json) -> Action {
    let kind = if verb == "fs.chmod" { ResourceKind::File } else { ResourceKind::Target };
    let (mut resource, mut rest) = (Resource::new(kind), Vec::new());
    for (name, value) in attrs.as_object().unwrap() {
        let value = match value {
            Json::String(text) => flyball_kernel::Value::Str(text.clone()),
            number => flyball_kernel::Value::Long(number.as_i64().unwrap()),
        };
        match resource.clone().with(name, value.clone()) {
            Ok(with) => resource = with,
            Err(_) => rest.push((name, value)),
        }
    }
    let mut action = Action::new(verb, resource, Surface::Sdk).unwrap();
    for (name, value) in rest {
        action.set(name, value).unwrap();
    }
    action
}
