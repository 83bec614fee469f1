//! Three invariants over time, ruled on by `Kernel::step`; `cargo xtask bench temporal` runs it beside other engines.
//!
//! `events PATH N` writes N events, a line each: seconds, `request` or `response`, what, and for a request whether it may pass,
//! by a plain loop that knows nothing of facts. `run PATH` has the kernel rule on them and prints: events, requests, wrong
//! verdicts, nanoseconds, bytes that the kernel's state takes at most as a snapshot, KiB that the process grew by while at it.
//! `write PATH` does the same and has each ruling's JSON written too, digest and all, as the record has it. `facts PATH` has
//! the three facts alone take the events in, and say after each whether they hold: no rules, no ruling, no witnesses.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a bench"
)]

use flyball_kernel::{
    Action, Charter, Event, History, Input, Kernel, Phase, Resource, ResourceKind, Session, Sources, Surface, Verdict,
};
use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

const TOML: &str = r#"
[charter]
name = "temporal"
[owners]
dev = ["user:a"]
[facts]
green = 'not did fs.write since[24h] result process.exec(program: "test", ok: true)'
deleted = 'count[60s] did fs.delete >= 20'
approved = 'once[600s] did meta.label(name: "approved")'
"#;

const RULES: &str = r#"
@id("all") @owner("dev") @reason("r") permit (principal, action, resource);
@id("green") @owner("dev") @reason("r") forbid (principal, action == Action::"deploy.apply", resource) unless { context.fact.green };
@id("few") @owner("dev") @reason("r") forbid (principal, action == Action::"fs.delete", resource) when { context.fact.deleted };
@id("approved") @owner("dev") @reason("r") forbid (principal, action == Action::"git.push", resource) unless { context.fact.approved };
"#;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["events", path, n] => std::fs::write(path, events(n.parse().unwrap())).unwrap(),
        ["run", path] => run(&std::fs::read_to_string(path).unwrap(), false),
        ["write", path] => run(&std::fs::read_to_string(path).unwrap(), true),
        ["facts", path] => facts(&std::fs::read_to_string(path).unwrap()),
        _ => println!("temporal: run it by `cargo xtask bench temporal`"),
    }
}

/// Requests, each answered where it may pass.
fn events(n: usize) -> String {
    let (mut out, mut at, mut random) = (String::new(), 0u64, 7u64);
    let (mut green, mut approved, mut deletions) = (false, None::<u64>, VecDeque::new());
    let mut lines = 0;
    while lines < n {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let draw = random >> 33;
        let what = ["Write", "Delete", "Delete", "Delete", "Test", "Deploy", "Push", "Delete", "Delete", "Delete"]
            [usize::try_from(draw % 10).unwrap()];
        let what = if draw.is_multiple_of(211) { "Approve" } else { what };
        at += 1;
        while deletions.front().is_some_and(|d| at - d > 60) {
            deletions.pop_front();
        }
        let may = match what {
            "Deploy" => green,
            "Delete" => deletions.len() < 20,
            "Push" => approved.is_some_and(|a| at - a <= 600),
            _ => true,
        };
        writeln!(out, "{at} request {what} {}", u8::from(may)).unwrap();
        lines += 1;
        if !may || lines == n {
            continue;
        }
        at += 1;
        writeln!(out, "{at} response {what} -").unwrap();
        lines += 1;
        match what {
            "Write" => green = false,
            "Test" => green = true,
            "Approve" => approved = Some(at),
            "Delete" => deletions.push_back(at),
            _ => {}
        }
    }
    out
}

fn charter() -> (Charter, Session) {
    let files = [("charter.toml".to_owned(), TOML.to_owned()), ("rules.cedar".to_owned(), RULES.to_owned())];
    let (charter, _) = Charter::compile(&Sources::from(files)).unwrap_or_else(|e| panic!("{e:#?}"));
    let session = Session { workspace: "/w".into(), home: "/h".into(), agent: "a".into() };
    (charter, session)
}

/// What happened, as the other engines get it: decoded, by what it is.
struct Happened<'a> {
    action: &'a Action,
    at_ns: u64,
    /// A response is a dispatch and an outcome.
    is_response: bool,
    /// Of a request: which of the three says whether it may pass, and what has to be said.
    may: Option<(usize, bool)>,
}

fn facts(text: &str) {
    let (charter, session) = charter();
    let mut history = History::new(&charter, session);
    let places = ["green", "deleted", "approved"].map(|name| history.place(name).unwrap());
    let names = ["Write", "Test", "Approve", "Deploy", "Delete", "Push"];
    let actions = names.map(attempt);
    let happened = |line: &str| {
        let words: Vec<&str> = line.split(' ').collect();
        let at = names.iter().position(|name| *name == words[2]).unwrap();
        // The last three names are those that facts speak of, in the order of `places`.
        let fact = at.checked_sub(3).unwrap_or(usize::MAX);
        Happened {
            action: &actions[at],
            at_ns: words[0].parse::<u64>().unwrap() * 1_000_000_000,
            is_response: words[1] == "response",
            may: (words[1] == "request").then(|| (fact, words[3] == "1")),
        }
    };
    let events: Vec<Happened> = text.lines().map(happened).collect();
    let outcome = BTreeMap::new();
    let (mut wrong, mut requests, mut seq) = (0, 0, 0);
    let before_kib = peak_kib();
    let start = Instant::now();
    for Happened { action, at_ns, is_response, may } in &events {
        if *is_response {
            history.note(Phase::Did, action, None, seq + 1, *at_ns);
            history.note(Phase::Result, action, Some((true, &outcome)), seq + 2, *at_ns);
            seq += 2;
        } else {
            seq += 1;
        }
        let seen = history.seen_by(black_box(action), *at_ns);
        let holds = places.map(|place| seen.holds(place) == Some(true));
        if let Some((fact, may)) = may {
            requests += 1;
            let [green, deleted, approved] = holds;
            let passes = [green, !deleted, approved].get(*fact).copied().unwrap_or(true);
            wrong += usize::from(passes != *may);
        }
        black_box(holds);
        if !is_response {
            history.note(Phase::Attempt, action, None, seq, *at_ns);
        }
    }
    let took = start.elapsed();
    let grown_kib = peak_kib().saturating_sub(before_kib);
    println!("{} {requests} {wrong} {} 0 {grown_kib}", events.len(), took.as_nanos());
}

fn run(text: &str, is_written: bool) {
    let (charter, session) = charter();
    let mut kernel = Kernel::new(Arc::new(charter), session);
    let (mut inputs, mut open) = (Vec::new(), BTreeMap::new());
    let (mut seq, mut events) = (0, 0usize);
    for line in text.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let at_ns = words[0].parse::<u64>().unwrap() * 1_000_000_000;
        let mut add = |event: Event| {
            seq += 1;
            inputs.push((Input { seq, at_ns, event }, None));
            seq
        };
        events += 1;
        if words[1] == "request" {
            let of = add(Event::Attempt(attempt(words[2])));
            open.insert(words[2].to_owned(), of);
            inputs.last_mut().unwrap().1 = Some(words[3] == "1");
        } else {
            let of = open[words[2]];
            add(Event::Dispatch { of });
            add(Event::Outcome { of, ok: true, attrs: BTreeMap::new() });
        }
    }
    let fresh = kernel.clone();
    let (mut wrong, mut requests) = (0, 0);
    let before_kib = peak_kib();
    let start = Instant::now();
    for (input, may) in &inputs {
        let rulings = kernel.step(black_box(input));
        if is_written {
            rulings.iter().for_each(|ruling| drop(black_box(serde_json::to_vec(ruling))));
        }
        if let Some(may) = may {
            requests += 1;
            wrong += usize::from((rulings[0].verdict == Verdict::Allow) != *may);
        }
    }
    let took = start.elapsed();
    let grown_kib = peak_kib().saturating_sub(before_kib);
    let state_bytes = largest(fresh, inputs.iter().map(|(input, _)| input));
    println!("{events} {requests} {wrong} {} {state_bytes} {grown_kib}", took.as_nanos());
}

/// The largest snapshot on the way, looked at every hundredth input: apart from the run that is timed.
fn largest<'a>(mut kernel: Kernel, inputs: impl Iterator<Item = &'a Input>) -> usize {
    let sizes = inputs.enumerate().map(|(n, input)| {
        kernel.step(input);
        if n.is_multiple_of(100) { kernel.snapshot().len() } else { 0 }
    });
    sizes.max().unwrap_or_default()
}

/// The most memory that this process ever had.
fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or_default()
}

fn attempt(what: &str) -> Action {
    let file = |verb: &str| Action::new(verb, Resource::file("/w/src/a.rs"), Surface::Sdk).unwrap();
    let on = |verb: &str, kind: ResourceKind, field: &str, value: &str| {
        Action::new(verb, Resource::new(kind).with(field, value).unwrap(), Surface::Sdk).unwrap()
    };
    match what {
        "Write" => file("fs.write"),
        "Delete" => file("fs.delete"),
        "Test" => on("process.exec", ResourceKind::Command, "program", "test"),
        "Approve" => on("meta.label", ResourceKind::Label, "name", "approved"),
        "Deploy" => on("deploy.apply", ResourceKind::Target, "name", "api"),
        "Push" => on("git.push", ResourceKind::Ref, "name", "main"),
        other => panic!("{other}"),
    }
}
