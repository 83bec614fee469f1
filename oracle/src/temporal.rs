//! The three invariants of Flyball's bench, as these engines say them, over the bench's own events.
//!
//! A line of the events is `AT KIND ACTION VERDICT`: seconds, `request` or `response`, and for a request whether it may pass.

use dogwood_language::{
    Authorizer, Decision, Event, EventBuilder, LoweredPolicySet, PolicySchema, ServiceSchema, TemporalEngine,
};
use dogwood_local_engine::LocalTemporalEngine;
use rtlola_interpreter::monitor::{Incremental, Monitor};
use rtlola_interpreter::time::RelativeFloat;
use rtlola_interpreter::{ConfigBuilder, Value};
use std::convert::Infallible;
use std::time::{Duration, Instant};

const SCHEMA: &str = r#"
namespace B {
  type In = { user: String };
  entity Gateway;
  entity User;
  action "Write", "Test", "Delete", "Approve", "Deploy", "Push" appliesTo {
    principal: [User], resource: [Gateway], context: { input: In }
  };
}
"#;

const POLICIES: &str = r#"
permit (principal, action, resource);
forbid (principal, action == B::Action::"Deploy", resource)
unless temporal { !B::Action::"Write"::response{} since within 24h B::Action::"Test"::response{} };
forbid (principal, action == B::Action::"Delete", resource)
when temporal {
  exists (n: Long). ((count for (t: Timepoint). where (formerly within 60s (B::Action::"Delete"::response{} && tp(t)))) == n && n >= 20)
};
forbid (principal, action == B::Action::"Push", resource)
unless temporal { formerly within 600s B::Action::"Approve"::response{} };
"#;

/// Two inputs say what happens now; two hold the times of deletions and approvals.
const SPEC: &str = "\
input kind: Int64
input at: Int64
input deleted: Int64
input approved: Int64
output green @(kind && at) := if kind = 2 then true else if kind = 1 then false else green.offset(by: -1).defaults(to: false)
output twentieth @deleted := deleted.offset(by: -19).defaults(to: -1000000)
output denied @(kind && at) := (kind = 10 && !green) || (kind = 11 && at - twentieth.hold(or: -1000000) <= 60) || (kind = 12 && at - approved.hold(or: -1000000) > 600)
trigger denied
";

struct Line {
    at: i64,
    kind: String,
    action: String,
    verdict: Option<bool>,
}

fn lines(path: &str) -> Result<Vec<Line>, String> {
    let text = std::fs::read_to_string(path).map_err(|e| format!("`{path}`: {e}"))?;
    let line = |line: &str| {
        let words: Vec<&str> = line.split(' ').collect();
        let [at, kind, action, verdict] = words.as_slice() else { return None };
        let verdict = (*kind == "request").then_some(*verdict == "1");
        Some(Line { at: at.parse().ok()?, kind: (*kind).to_owned(), action: (*action).to_owned(), verdict })
    };
    text.lines().map(|l| line(l).ok_or_else(|| format!("an odd line: {l}"))).collect()
}

/// `grown_kib`: what the process grew by while the events went through, by the same count as in Flyball's bench.
fn tell(
    events: usize,
    requests: usize,
    wrong: usize,
    took: Duration,
    state_bytes: usize,
    grown_kib: u64,
) -> Result<(), String> {
    println!("{events} {requests} {wrong} {} {state_bytes} {grown_kib}", took.as_nanos());
    if wrong > 0 { Err(format!("{wrong} verdicts differ")) } else { Ok(()) }
}

/// The most memory that this process ever had.
fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or_default()
}

fn event(line: &Line) -> Event {
    let builder: EventBuilder = Event::builder(&format!("B::Action::{}", line.action), &line.kind);
    let user = || dogwood_language::Value::String("u".to_owned());
    let builder = builder.timestamp(line.at).principal("B::User::\"u\"").resource("B::Gateway::\"g\"");
    builder.field("input", "user", user()).build()
}

pub fn dogwood(path: &str) -> Result<(), String> {
    let lines = lines(path)?;
    let schema = PolicySchema::from_cedarschema_str(SCHEMA).map_err(|e| format!("{e:?}"))?;
    let set =
        LoweredPolicySet::from_str(POLICIES, &ServiceSchema::defaults(), &schema).map_err(|e| format!("{e:?}"))?;
    // The same events once more through the monitors alone, for the size of what they keep.
    let leaves: Vec<_> = set.temporal_fields().cloned().collect();
    let again =
        LoweredPolicySet::from_str(POLICIES, &ServiceSchema::defaults(), &schema).map_err(|e| format!("{e:?}"))?;
    let mut authorizer =
        Authorizer::builder(again).temporal_engine(LocalTemporalEngine::new()).build().map_err(|e| format!("{e:?}"))?;
    let events: Vec<Event> = lines.iter().map(event).collect();
    let (mut wrong, mut requests) = (0, 0);
    let before_kib = peak_kib();
    let start = Instant::now();
    for (event, line) in events.iter().zip(&lines) {
        if let Some(response) = authorizer.is_authorized(event) {
            requests += 1;
            wrong += usize::from(Some(response.decision() == Decision::Allow) != line.verdict);
        }
    }
    let took = start.elapsed();
    let grown_kib = peak_kib().saturating_sub(before_kib);
    let mut engine = LocalTemporalEngine::new();
    let mut peak = 0;
    let signatures: Vec<_> = set.event_signatures().collect();
    if engine.prepare(&leaves, set.cedar_schema(), &signatures).is_ok() {
        for (n, event) in events.iter().enumerate() {
            engine.observe(event);
            if n % 100 == 0 {
                peak = peak.max(engine.save_snapshot().len());
            }
        }
    }
    tell(events.len(), requests, wrong, took, peak, grown_kib)
}

type Rtlola = Monitor<
    rtlola_interpreter::input::VectorFactory<Infallible, Vec<Value>>,
    rtlola_interpreter::config::OfflineMode<RelativeFloat>,
    Incremental,
    RelativeFloat,
>;

pub fn rtlola(path: &str) -> Result<(), String> {
    let lines = lines(path)?;
    let mut monitor: Rtlola = ConfigBuilder::new()
        .spec_str(SPEC)
        .offline::<RelativeFloat>()
        .with_event_factory()
        .with_verdict::<Incremental>()
        .monitor_with_data(4)
        .map_err(|e| format!("{e}"))?;
    let events: Vec<(Vec<Value>, Duration)> = lines
        .iter()
        .map(|line| {
            let none = || Value::None;
            let kind = match (line.kind.as_str(), line.action.as_str()) {
                ("response", "Write") => 1,
                ("response", "Test") => 2,
                ("request", "Deploy") => 10,
                ("request", "Delete") => 11,
                ("request", "Push") => 12,
                _ => 0,
            };
            let is = |action: &str| line.kind == "response" && line.action == action;
            let at = || Value::Signed(line.at);
            let deleted = if is("Delete") { at() } else { none() };
            let approved = if is("Approve") { at() } else { none() };
            (vec![Value::Signed(kind), at(), deleted, approved], Duration::from_secs(line.at.unsigned_abs()))
        })
        .collect();
    let denied = monitor.trigger_stream_index(0);
    let (mut wrong, mut requests) = (0, 0);
    let before_kib = peak_kib();
    let start = Instant::now();
    for ((event, at), line) in events.into_iter().zip(&lines) {
        let told = monitor.accept_event(event, at).map_err(|e| format!("{e}"))?;
        if let Some(allowed) = line.verdict {
            requests += 1;
            let is_denied = told.event.iter().any(|(stream, _)| *stream == denied);
            wrong += usize::from(allowed == is_denied);
        }
    }
    let took = start.elapsed();
    let grown_kib = peak_kib().saturating_sub(before_kib);
    tell(lines.len(), requests, wrong, took, 0, grown_kib)
}
