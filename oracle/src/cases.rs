//! The corpus, a case a line: a charter and the inputs of its traces, or the reason why our language can't say it.

use crate::formula::Leaves;
use crate::rules::{self, Context};
use crate::slots::{NONE_NOW, NONE_PAST, Slots, is_plain, text_of, uid_text};
use dogwood_language::temporal_ast::{AggExprKind, Condition, ConditionKind, Term};
use dogwood_language::{Event, LoweredPolicySet, PolicySchema, ServiceSchema, Value, parse_trace, replay_log};
use serde_json::{Value as Json, json};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;

/// What a case without an event schema of its own is written for: nobody's events are kept apart.
const EVENTS: &str = "\
decision event <A>::request { ...inputs(A), callerPrincipal: principalType(A), callerResource: resourceType(A), requestId: String, sessionId: String, }
event <A>::response { ...inputs(A), ...outputs(A), callerPrincipal: principalType(A), callerResource: resourceType(A), requestId: String, sessionId: String, }
event <A>::error { ...inputs(A), callerPrincipal: principalType(A), callerResource: resourceType(A), requestId: String, sessionId: String, }
";

/// A case as the crate has it.
struct Case {
    name: String,
    policies: String,
    schema: String,
    events: Option<String>,
    macros: Option<String>,
    /// Trace and expected verdicts.
    traces: Vec<(String, String)>,
    is_rejected: bool,
}

pub fn write(rest: &[&str]) -> Result<(), String> {
    let number = |flag: &str, default: u64| -> Result<u64, String> {
        let at = rest.iter().position(|word| *word == flag);
        at.map_or(Ok(default), |n| {
            rest.get(n + 1).and_then(|w| w.parse().ok()).ok_or(format!("`{flag}` takes a number"))
        })
    };
    let (mutants, seed) = (number("--mutants", 0)?, number("--seed", 1)?);
    let mut out = std::io::stdout().lock();
    for case in corpus() {
        let told = match translated(&case, mutants, seed) {
            Ok(json) => json,
            Err(reason) => json!({"case": case.name, "left_out": reason}),
        };
        writeln!(out, "{told}").map_err(|e| e.to_string())?;
    }
    Ok(())
}

fn corpus() -> Vec<Case> {
    use dogwood_language::corpus::{CorpusTrace, TemporalCategory, macro_cases, mixed_cases, temporal_cases};
    let traces = |all: Vec<CorpusTrace>| all.into_iter().map(|t| (t.trace_log, t.expected)).collect();
    let mut out: Vec<Case> = Vec::new();
    for case in temporal_cases() {
        let is_rejected = case.category != TemporalCategory::Passing;
        let group = if is_rejected { "rejected" } else { "temporal" };
        out.push(Case {
            name: format!("{group}/{}", case.name),
            policies: case.policy_src,
            schema: case.schema_src,
            events: case.event_schema_src,
            macros: None,
            traces: traces(case.traces),
            is_rejected,
        });
    }
    for case in macro_cases() {
        out.push(Case {
            name: format!("macros/{}", case.name),
            policies: case.policy_src,
            schema: case.schema_src,
            events: case.event_schema_src,
            macros: case.macros_src,
            traces: traces(case.traces),
            is_rejected: false,
        });
    }
    for case in mixed_cases() {
        out.push(Case {
            name: format!("mixed/{}", case.name),
            policies: case.policy_src,
            schema: case.schema_src,
            events: case.event_schema_src,
            macros: None,
            traces: traces(case.traces),
            is_rejected: false,
        });
    }
    out.sort_by(|a, b| a.name.cmp(&b.name));
    out
}

fn lowered(case: &Case) -> Result<LoweredPolicySet, String> {
    let mut service = ServiceSchema::builder().event_schema_str(case.events.as_deref().unwrap_or(EVENTS));
    if let Some(macros) = &case.macros {
        service = service.macros_str(macros);
    }
    let service = service.build().map_err(|_| "its own engine refuses its event schema")?;
    let schema = PolicySchema::from_cedarschema_str(&case.schema).map_err(|_| "its own engine refuses its schema")?;
    LoweredPolicySet::from_str(&case.policies, &service, &schema)
        .map_err(|_| "its own engine refuses its policies: the corpus holds that".to_owned())
}

fn translated(case: &Case, mutants: u64, seed: u64) -> Result<Json, String> {
    if case.is_rejected {
        return Err("policies that its own parser must refuse".to_owned());
    }
    let set = lowered(case)?;
    if set.provider_fields().next().is_some() {
        return Err("asks a script for a value (information provider)".to_owned());
    }
    if set.event_signatures().any(|s| !is_plain(s.action())) {
        return Err("tests how odd characters in the names of actions are quoted".to_owned());
    }
    let mut logs: Vec<(String, String)> = case.traces.clone();
    for (log, expected) in &case.traces {
        // Otherwise the translation would be held against nothing.
        if replay_log(lowered(case)?, log).map_err(|_| "its own engine refuses its trace")?.trim() != expected.trim() {
            return Err("its own engine does not give the verdicts that the corpus expects".to_owned());
        }
    }
    let mut random = Random(seed ^ case.name.bytes().fold(7u64, |a, b| a.wrapping_mul(31).wrapping_add(b.into())));
    for n in 0..mutants {
        if let Some((log, _)) = case.traces.get(usize::try_from(n).unwrap_or(0) % case.traces.len().max(1)) {
            let log = mutant(log, &mut random);
            if let Ok(expected) = replay_log(lowered(case)?, &log) {
                logs.push((log, expected));
            }
        }
    }
    let policies: Vec<Json> = set
        .as_cedar()
        .policies()
        .map(|p| p.to_json().map_err(|_| "a policy without a JSON form".to_owned()))
        .collect::<Result<_, _>>()?;
    let traces: Vec<(Vec<Event>, BTreeMap<usize, bool>)> = logs
        .iter()
        .map(|(log, expected)| Ok((parse_trace(log).map_err(|_| "an odd trace")?, verdicts(expected)?)))
        .collect::<Result<_, String>>()?;
    let keys = keys_read(&set, &policies);
    let numbers = numbers(&keys, &traces);
    let slots = Slots::new(&keys, &numbers)?;
    let mut leaves = Leaves::new(&slots);
    let mut conditions = BTreeMap::new();
    for field in set.temporal_fields() {
        conditions.insert(field.id.clone(), leaves.leaf(&field.condition.condition)?);
    }
    let within = within(&set, &traces);
    let context = Context { slots: &slots, leaves: &conditions, within: &within };
    let mut rules = policies.iter().map(|p| rules::rule(p, &context)).collect::<Result<Vec<_>, _>>()?;
    rules.sort_unstable();
    let traces: Vec<Json> =
        traces.iter().map(|(events, verdicts)| trace(events, verdicts, &slots)).collect::<Result<_, _>>()?;
    Ok(json!({
        "case": case.name, "verb": slots.verb, "facts": leaves.facts, "rules": rules, "traces": traces,
    }))
}

fn verdicts(expected: &str) -> Result<BTreeMap<usize, bool>, String> {
    let line = |line: &str| {
        let (_, rest) = line.split_once("(time point ")?;
        let (at, verdict) = rest.split_once("): ")?;
        Some((at.parse().ok()?, verdict.trim() == "true"))
    };
    let lines = expected.lines().filter(|l| !l.trim().is_empty());
    lines.map(|l| line(l).ok_or_else(|| "odd expected verdicts".to_owned())).collect()
}

/// The fields that policies read: by name, whether in history or of the judged action.
fn keys_read(set: &LoweredPolicySet, policies: &[Json]) -> BTreeSet<String> {
    let mut out = BTreeSet::new();
    let leaves: BTreeSet<String> = set.temporal_fields().map(|field| field.id.clone()).collect();
    for field in set.temporal_fields() {
        condition_keys(&field.condition.condition, &mut out);
    }
    for policy in policies {
        rules::keys(&policy["conditions"], &leaves, &mut out);
        for (who, key) in [("principal", "callerPrincipal"), ("resource", "callerResource")] {
            if policy[who]["op"] != "All" {
                out.insert(key.to_owned());
            }
        }
    }
    out
}

fn condition_keys(condition: &Condition, out: &mut BTreeSet<String>) {
    match &condition.kind {
        ConditionKind::And { left, right }
        | ConditionKind::Or { left, right }
        | ConditionKind::Since { left, right, .. } => {
            condition_keys(left, out);
            condition_keys(right, out);
        }
        ConditionKind::Not { inner } => condition_keys(inner, out),
        ConditionKind::Formerly { body, .. }
        | ConditionKind::Previous { body, .. }
        | ConditionKind::Exists { body, .. } => {
            condition_keys(body, out);
        }
        ConditionKind::Predicate(predicate) => {
            for argument in predicate.args.iter().filter(|a| a.value != Term::Wildcard) {
                out.insert(argument.name.clone());
                term_keys(&argument.value, out);
            }
        }
        ConditionKind::Comparison { left, right, .. } => {
            term_keys(left, out);
            term_keys(right, out);
        }
        _ => {}
    }
}

fn term_keys(term: &Term, out: &mut BTreeSet<String>) {
    match term {
        Term::ContextField(path) => drop(out.insert(path.join("."))),
        Term::ScopeField(path) if path.first().is_some_and(|p| p == "principal") => {
            out.insert("callerPrincipal".to_owned());
        }
        Term::ScopeField(_) => drop(out.insert("callerResource".to_owned())),
        Term::Agg(aggregate) => match &aggregate.kind {
            AggExprKind::Sum { body, .. } | AggExprKind::Count { body, .. } => condition_keys(body, out),
            AggExprKind::Call(_) => {}
        },
        Term::Arith { left, right, .. } => {
            term_keys(left, out);
            term_keys(right, out);
        }
        _ => {}
    }
}

/// Those that are numbers wherever they are seen.
fn numbers(keys: &BTreeSet<String>, traces: &[(Vec<Event>, BTreeMap<usize, bool>)]) -> BTreeSet<String> {
    let is_number = |key: &&String| {
        let path: Vec<String> = key.split('.').map(str::to_owned).collect();
        let values = traces.iter().flat_map(|(events, _)| events);
        let mut values =
            values.flat_map(|e| e.field_path(&path).into_iter().chain(e.request_context_path(&path))).peekable();
        values.peek().is_some() && values.all(|v| matches!(v, Value::Int(_)))
    };
    keys.iter().filter(is_number).cloned().collect()
}

/// For each judged action, what it is in.
fn within(
    set: &LoweredPolicySet,
    traces: &[(Vec<Event>, BTreeMap<usize, bool>)],
) -> BTreeMap<String, BTreeSet<String>> {
    let mut out: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (events, verdicts) in traces {
        for n in verdicts.keys() {
            if let Some(event) = events.get(*n) {
                let uid = action(event);
                out.insert(uid.clone(), [uid].into());
            }
        }
    }
    if let Ok(entities) = set.cedar_schema().action_entities() {
        for entity in entities.iter() {
            if let Some(all) = out.get_mut(&entity.uid().to_string()) {
                all.extend(entities.ancestors(&entity.uid()).into_iter().flatten().map(ToString::to_string));
            }
        }
    }
    out
}

fn action(event: &Event) -> String {
    let mut parts: Vec<&str> = event.namespace().iter().map(String::as_str).collect();
    let quoted = format!("\"{}\"", event.action());
    parts.push(&quoted);
    parts.join("::")
}

fn trace(events: &[Event], verdicts: &BTreeMap<usize, bool>, slots: &Slots) -> Result<Json, String> {
    let first = events.first().map_or(0, Event::timestamp);
    let mut out = Vec::new();
    for (n, event) in events.iter().enumerate() {
        let at = event.timestamp().checked_sub(first).filter(|at| (0..9_000_000_000).contains(at));
        let at = at.ok_or("times that run backwards, or span more than 2^63 nanoseconds")?;
        let (mut past, mut now) = (BTreeMap::new(), BTreeMap::new());
        let qualified = action(event).replace('"', "");
        past.insert(slots.name, json!(slots.named(&qualified, event.kind())));
        now.insert(slots.name, json!(slots.named(&action(event), "")));
        let verdict = verdicts.get(&n);
        for (key, slot) in slots.all() {
            let path: Vec<String> = key.split('.').map(str::to_owned).collect();
            let scope = match key {
                "callerPrincipal" => event.principal_uid(),
                "callerResource" => event.resource_uid(),
                _ => None,
            };
            let logged = event.field_path(&path).map(|v| value(v, slot)).transpose()?;
            let asked = match scope {
                Some(uid) => Some(json!(uid_text(&uid).ok_or("an odd entity")?)),
                None => event.request_context_path(&path).map(|v| value(v, slot)).transpose()?,
            };
            if Slots::is_number(slot) {
                if asked.is_none() && verdict.is_some() {
                    now.insert(slot, Json::Null);
                }
                past.extend(logged.map(|v| (slot, v)));
                now.extend(asked.map(|v| (slot, v)));
            } else {
                past.insert(slot, logged.unwrap_or_else(|| json!(NONE_PAST)));
                now.insert(slot, asked.unwrap_or_else(|| json!(NONE_NOW)));
            }
        }
        now.retain(|_, value| !value.is_null());
        out.push(match verdict {
            Some(verdict) => json!([at, past, now, verdict]),
            None => json!([at, past]),
        });
    }
    Ok(Json::Array(out))
}

fn value(value: &Value, slot: &str) -> Result<Json, String> {
    match value {
        Value::Int(n) if Slots::is_number(slot) => Ok(json!(n)),
        other => Ok(json!(text_of(other)?)),
    }
}

/// A trace with lines left out, doubled, swapped, and at other times; times still rise.
fn mutant(log: &str, random: &mut Random) -> String {
    let mut lines: Vec<(i64, &str)> = log
        .lines()
        .filter_map(|line| {
            let (at, rest) = line.trim().strip_prefix('@')?.split_once(' ')?;
            Some((at.parse().ok()?, rest))
        })
        .collect();
    for _ in 0..=random.below(3) {
        if lines.is_empty() {
            break;
        }
        let (a, b) = (random.below(lines.len()), random.below(lines.len()));
        match random.below(4) {
            0 if lines.len() > 1 => drop(lines.remove(a)),
            1 => {
                let rest = lines[a].1;
                lines[a].1 = lines[b].1;
                lines[b].1 = rest;
            }
            2 => lines.insert(a, lines[b]),
            _ => {
                let later = [1, 30, 3_599, 3_600, 3_601][random.below(5)];
                lines.iter_mut().skip(a).for_each(|(at, _)| *at = at.saturating_add(later));
            }
        }
    }
    let mut last = i64::MIN;
    let mut out = String::new();
    for (at, rest) in lines {
        last = at.max(last.saturating_add(1));
        out.push_str(&format!("@{last} {rest}\n"));
    }
    out
}

/// SplitMix64: the same mutants for the same seed.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % end.max(1) as u64).unwrap_or(0)
    }
}
