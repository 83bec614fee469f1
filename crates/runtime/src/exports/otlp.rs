//! A session as an OpenTelemetry trace, OTLP/JSON (<https://opentelemetry.io/docs/specs/otlp/>), with the semantic conventions for
//! generative AI. The session is the root, each attempt a span beneath what caused it.

use super::text;
use crate::read::{History, ReadError, Trace, of_history};
use flyball_ledger::{Digest, Entry, Kind};
use serde_json::{Value as Json, json};
use std::collections::BTreeMap;

/// `SPAN_KIND_INTERNAL` and `SPAN_KIND_CLIENT`.
const INTERNAL: u8 = 1;
const CLIENT: u8 = 3;

/// What model calls used, by their attempts, as their recorded answers say: input, what of it was cached, output.
#[derive(Default)]
pub(super) struct Usage {
    /// The attempt that a recorded request belongs to. Emptied by the answer.
    requests: BTreeMap<u64, u64>,
    by_attempt: BTreeMap<u64, Json>,
}

/// Requests without an answer that are remembered; of older ones no use is told.
const REQUESTS_MAX: usize = 4096;

impl Usage {
    /// Hears of an entry; gives the attempt that it tells the use of.
    pub(super) fn take(&mut self, entry: &Entry) -> Option<u64> {
        let cause = *entry.cause.first().filter(|_| entry.kind == Kind::Observe)?;
        if entry.body.get("answer").is_none() {
            if entry.actor == "gateway" {
                self.requests.insert(entry.seq, cause);
                if self.requests.len() > REQUESTS_MAX {
                    self.requests.pop_first();
                }
            }
            return None;
        }
        let of = self.requests.remove(&cause)?;
        self.by_attempt.insert(of, entry.body.get("usage").cloned().unwrap_or_default());
        Some(of)
    }

    pub(super) fn of(&self, attempt: u64) -> Option<&Json> {
        self.by_attempt.get(&attempt)
    }

    pub(super) fn forget(&mut self, attempt: u64) {
        self.by_attempt.remove(&attempt);
    }
}

/// Its attributes.
fn usage_attributes(usage: &Json) -> Vec<(&'static str, Json)> {
    let count = |member: &str| usage.get(member).and_then(Json::as_i64);
    let (Some(input), Some(output)) = (count("input"), count("output")) else { return Vec::new() };
    let cached = count("cached").unwrap_or_default();
    vec![
        // All that was sent, by the conventions' definition.
        ("gen_ai.usage.input_tokens", input.saturating_add(cached).into()),
        ("gen_ai.usage.cache_read.input_tokens", cached.into()),
        ("gen_ai.usage.output_tokens", output.into()),
    ]
}

/// All spans of a session, and how many there are.
pub(super) fn traces(history: &History) -> Result<(Json, u64), ReadError> {
    let trace: Trace = of_history(history, None)?;
    let nodes: BTreeMap<u64, _> = trace.nodes.iter().map(|node| (node.seq, node)).collect();
    let open = history.entries().iter().find(|entry| entry.kind == Kind::Open);
    let mut spans: Vec<Json> = open.map(|open| root(history, open)).into_iter().collect();
    let mut usage = Usage::default();
    for entry in history.entries() {
        usage.take(entry);
    }
    for entry in history.entries().iter().filter(|entry| entry.kind == Kind::Attempt) {
        let node = nodes.get(&entry.seq);
        let parent = node.and_then(|node| node.parent).filter(|p| nodes.get(p).is_some_and(|n| n.kind == "attempt"));
        let because = node.map(|node| node.because.as_slice()).unwrap_or_default();
        let is_span = |seq: &&u64| nodes.get(seq).is_some_and(|n| n.kind == "attempt");
        let links = because.iter().filter(is_span).copied().collect::<Vec<_>>();
        spans.push(span(history, entry, parent.or(open.map(|open| open.seq)), &links, &usage));
    }
    let count = spans.len() as u64;
    let body = open.map(|open| &open.body).unwrap_or(&Json::Null);
    Ok((object(&history.session, body, spans), count))
}

/// The object that spans of a session, opened by that body, are sent in.
pub(super) fn object(session: &str, body: &Json, spans: Vec<Json>) -> Json {
    let resource = attributes(vec![
        ("service.name", "flyball".into()),
        ("service.version", env!("CARGO_PKG_VERSION").into()),
        ("flyball.session.id", session.into()),
        ("flyball.session.name", text(body, "/name").into()),
        ("flyball.workspace", text(body, "/workspace").into()),
        ("flyball.charter.digest", text(body, "/charter/digest").into()),
    ]);
    json!({ "resourceSpans": [{
        "resource": { "attributes": resource },
        "scopeSpans": [{ "scope": { "name": "flyball", "version": env!("CARGO_PKG_VERSION") }, "spans": spans }],
    }] })
}

/// The same for whoever exports the session: the first 16 bytes of a digest that only the session's name goes into.
fn trace_id(session: &str) -> String {
    hex(&format!("flyball-trace-1\n{session}"), 32)
}

fn span_id(session: &str, seq: u64) -> String {
    hex(&format!("flyball-span-1\n{session}\n{seq}"), 16)
}

fn hex(of: &str, characters: usize) -> String {
    let digest = Digest::of(of.as_bytes()).to_string();
    digest.trim_start_matches("sha256:").chars().take(characters).collect()
}

pub(super) fn root(history: &History, open: &Entry) -> Json {
    let agent = text(&open.body, "/agent");
    let close = history.entries().iter().rev().find(|entry| entry.kind == Kind::Close);
    let end = close.or(history.entries().last()).map_or(open.at_ns, |entry| entry.at_ns);
    let ended_by = close.map(|close| text(&close.body, "/ended_by")).unwrap_or_default();
    let exit = close.and_then(|close| close.body.get("exit")).cloned().unwrap_or_default();
    let code = if close.is_some() && ended_by != "program" { 2 } else { 0 };
    json!({
        "traceId": trace_id(&history.session),
        "spanId": span_id(&history.session, open.seq),
        "name": format!("invoke_agent {agent}"),
        "kind": INTERNAL,
        "startTimeUnixNano": open.at_ns.to_string(),
        "endTimeUnixNano": end.to_string(),
        "attributes": attributes(vec![
            ("gen_ai.operation.name", "invoke_agent".into()),
            ("gen_ai.agent.name", agent.into()),
            ("gen_ai.conversation.id", history.session.as_str().into()),
            ("flyball.ended_by", ended_by.into()),
            ("flyball.exit", exit),
        ]),
        "status": { "code": code },
    })
}

pub(super) fn span(history: &History, entry: &Entry, parent: Option<u64>, links: &[u64], usage: &Usage) -> Json {
    let life: Vec<&Entry> = history.life(entry.seq).collect();
    let last = |kind: Kind| life.iter().rev().find(|e| e.kind == kind).map(|e| &e.body);
    let verdict = history.verdict(entry.seq).unwrap_or_default();
    let outcome = last(Kind::Outcome);
    let ok = outcome.and_then(|body| body.get("ok")?.as_bool());
    let end = life.iter().map(|e| e.at_ns).max().unwrap_or(entry.at_ns);
    let verb = text(&entry.body, "/verb");
    let resource = |member: &str| text(&entry.body, &format!("/resource/{member}"));
    let surface = text(&entry.body, "/surface");
    let mut out: Vec<(&str, Json)> = vec![
        ("flyball.seq", entry.seq.into()),
        ("flyball.verb", verb.into()),
        ("flyball.surface", surface.into()),
        ("flyball.verdict", verdict.into()),
        ("flyball.action", history.say(entry).into()),
        ("gen_ai.conversation.id", history.session.as_str().into()),
        ("gen_ai.agent.name", entry.actor.as_str().into()),
    ];
    let rules = last(Kind::Ruling).and_then(|body| body.get("reasons")?.as_array());
    let rules: Vec<Json> = rules.into_iter().flatten().map(|reason| text(reason, "/rule").into()).collect();
    out.push(("flyball.rules", Json::Array(rules)));
    let (name, kind) = match verb {
        "tool.call" => {
            let tool = resource("name");
            out.push(("gen_ai.operation.name", "execute_tool".into()));
            out.push(("gen_ai.tool.name", tool.into()));
            if surface == "mcp" {
                out.push(("mcp.method.name", "tools/call".into()));
                out.push(("flyball.mcp.server", resource("server").into()));
            }
            (format!("execute_tool {tool}"), if surface == "mcp" { CLIENT } else { INTERNAL })
        }
        "model.call" => {
            let model = resource("name");
            out.push(("gen_ai.operation.name", "chat".into()));
            out.push(("gen_ai.provider.name", resource("provider").into()));
            out.push(("gen_ai.request.model", model.into()));
            let used = |member: &str| outcome.and_then(|body| body.get(member)).cloned();
            out.extend(usage.of(entry.seq).map(usage_attributes).unwrap_or_default());
            for (of, name) in [("tokens", "flyball.model.tokens"), ("cost", "flyball.model.cost_micros")] {
                out.extend(used(of).map(|used| (name, used)));
            }
            (format!("chat {model}"), CLIENT)
        }
        "process.exec" => {
            out.push(("process.executable.name", resource("program").into()));
            out.push(("process.executable.path", resource("path").into()));
            out.push(("process.command_args", entry.body.pointer("/resource/argv").cloned().unwrap_or_default()));
            out.push(("process.working_directory", resource("cwd").into()));
            (format!("process.exec {}", resource("program")), INTERNAL)
        }
        _ if verb.starts_with("fs.") => {
            out.push(("file.path", resource("path").into()));
            (verb.to_owned(), INTERNAL)
        }
        "http.request" => {
            out.push(("http.request.method", resource("method").into()));
            out.push(("server.address", resource("host").into()));
            (format!("http.request {}", resource("method")), CLIENT)
        }
        "net.connect" => {
            out.push(("server.address", resource("host").into()));
            out.push(("server.port", entry.body.pointer("/resource/port").cloned().unwrap_or_default()));
            (verb.to_owned(), CLIENT)
        }
        _ => (verb.to_owned(), INTERNAL),
    };
    let (code, message) = match (verdict, ok) {
        ("deny", _) => (2, "denied"),
        (_, Some(false)) => (2, "failed"),
        _ => (0, ""),
    };
    let trace = trace_id(&history.session);
    let events: Vec<Json> = life
        .iter()
        .filter(|e| matches!(e.kind, Kind::Ruling | Kind::Question | Kind::Answer | Kind::Dispatch | Kind::Outcome))
        .map(|e| {
            json!({
                "timeUnixNano": e.at_ns.to_string(), "name": format!("flyball.{}", e.kind),
                "attributes": attributes(vec![("flyball.seq", e.seq.into()), ("flyball.said", history.say(e).into())]),
            })
        })
        .collect();
    let link = |seq: &u64| json!({ "traceId": trace, "spanId": span_id(&history.session, *seq) });
    json!({
        "traceId": trace,
        "spanId": span_id(&history.session, entry.seq),
        "parentSpanId": parent.map(|seq| span_id(&history.session, seq)).unwrap_or_default(),
        "name": name,
        "kind": kind,
        "startTimeUnixNano": entry.at_ns.to_string(),
        "endTimeUnixNano": end.to_string(),
        "attributes": attributes(out),
        "events": events,
        "links": links.iter().map(link).collect::<Vec<_>>(),
        "status": { "code": code, "message": message },
    })
}

/// As OTLP writes them; what is empty is left out.
fn attributes(all: Vec<(&str, Json)>) -> Vec<Json> {
    let told = all.into_iter().filter_map(|(key, value)| Some(json!({ "key": key, "value": any(&value)? })));
    told.collect()
}

fn any(value: &Json) -> Option<Json> {
    match value {
        Json::String(text) if !text.is_empty() => Some(json!({ "stringValue": text })),
        Json::Bool(is) => Some(json!({ "boolValue": is })),
        // 64-bit numbers are texts in protobuf's JSON.
        Json::Number(number) => Some(json!({ "intValue": number.as_i64()?.to_string() })),
        Json::Array(items) if !items.is_empty() => {
            Some(json!({ "arrayValue": { "values": items.iter().filter_map(any).collect::<Vec<_>>() } }))
        }
        _ => None,
    }
}
