//! Calls of models as they pass: what they take is reserved before and settled after, and both sides of them are kept.
//!
//! INVARIANT: a call's use is known to whoever rules before its client knows that the answer is over: the next call is ruled on by
//! what this one really took. An answer that does not say what it took, or breaks off, took what was reserved.

use super::Place;
use crate::gate::{Gate, Keep};
use flyball_intent::{ModelAnswer, ModelCall, ModelUsage};
use flyball_kernel::{ModelSettings, Value};
use hyper::body::Bytes;
use hyper::header::{self, HeaderMap};
use hyper::{Response, StatusCode};
use serde_json::{Value as Json, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, watch};

/// As many bodies beyond [`super::asked::SMALL_BYTES_MAX`] are in memory at once.
const LARGE_MAX: usize = 2;
/// Bytes of smaller ones, all together.
const SMALL_ALL_BYTES_MAX: usize = 64 << 20;
/// Pieces of an answer whose lengths are kept.
const PIECES_MAX: usize = 65_536;
const SETTLE_WAIT_MAX: Duration = Duration::from_secs(10);
/// Words between the dashes of headers and of a query's fields that let others act as the user: the record has that they were
/// there.
const SECRET_WORDS: &[&str] = &[
    "apikey",
    "auth",
    "authorization",
    "cookie",
    "credential",
    "credentials",
    "key",
    "passwd",
    "password",
    "pat",
    "secret",
    "sig",
    "signature",
    "token",
];
/// Names with such a word that say nothing of the kind.
const NO_SECRETS: &[&str] = &["idempotency-key", "sec-websocket-key", "page-token", "next-token"];

/// Whether a header or a field of that name has a value that is not for the record.
fn is_secret(name: &str) -> bool {
    let mut plain = String::with_capacity(name.len());
    for letter in name.chars() {
        // `clientSecret` is two words as well.
        if letter.is_ascii_uppercase() && plain.ends_with(|before: char| before.is_ascii_lowercase()) {
            plain.push('-');
        }
        plain.push(if matches!(letter, '_' | '.') { '-' } else { letter.to_ascii_lowercase() });
    }
    !NO_SECRETS.contains(&plain.as_str()) && plain.split('-').any(|word| SECRET_WORDS.contains(&word))
}

/// What a session's calls of models have in common.
pub struct Models {
    /// What the charter says of them.
    pub settings: ModelSettings,
    /// Answers that are over and not on record yet.
    settling: watch::Sender<u64>,
    /// Calls and exchanges whose answers are not on record yet.
    pub(super) open: watch::Sender<u64>,
    pub(super) large: Arc<Semaphore>,
    /// Bytes.
    pub(super) small: Arc<Semaphore>,
}

impl Models {
    /// For a session in which none was called yet.
    #[must_use]
    pub fn new(settings: ModelSettings) -> Self {
        let (settling, open) = (watch::Sender::new(0), watch::Sender::new(0));
        let (large, small) = (Arc::new(Semaphore::new(LARGE_MAX)), Arc::new(Semaphore::new(SMALL_ALL_BYTES_MAX)));
        Self { settings, settling, open, large, small }
    }

    /// Something that is to be on record before the session ends, until it is dropped.
    pub(super) fn begin(&self) -> Begun {
        more(&self.open);
        Begun(self.open.clone())
    }

    /// Waits until answers that are over are settled.
    pub(super) async fn settled(&self) {
        // Later is still ruled on: by what was reserved.
        none(&self.settling, SETTLE_WAIT_MAX).await;
    }

    /// Waits until every call's answer is on record, when nobody calls any more.
    pub async fn recorded(&self, wait_max: Duration) {
        none(&self.open, wait_max).await;
    }
}

/// See [`Models::begin`].
pub(super) struct Begun(watch::Sender<u64>);

impl Drop for Begun {
    fn drop(&mut self) {
        fewer(&self.0);
    }
}

async fn none(count: &watch::Sender<u64>, wait_max: Duration) {
    let mut count = count.subscribe();
    let _ = tokio::time::timeout(wait_max, count.wait_for(|count| *count == 0)).await;
}

pub(super) fn more(count: &watch::Sender<u64>) {
    count.send_modify(|count| *count = count.saturating_add(1));
}

pub(super) fn fewer(count: &watch::Sender<u64>) {
    count.send_modify(|count| *count = count.saturating_sub(1));
}

/// A call's request, as the record is to have it.
pub(super) struct Asked {
    pub call: ModelCall,
    /// Which of the request's actions it is.
    pub index: usize,
    pub head: Json,
    pub body: Option<Bytes>,
}

impl Asked {
    /// Puts it on record; `None` when that can't be done, and it must not go out.
    pub fn record(&self, gate: &dyn Gate, of: u64) -> Option<u64> {
        let Some(mut keep) = gate.keep() else { return Some(of) };
        let mut told = self.head.clone();
        if let (Some(body), Some(told)) = (&self.body, told.as_object_mut()) {
            keep.write(body);
            told.insert("body".to_owned(), keep.finish(None)?);
        }
        let model = json!({
            "of": of, "api": self.call.api.map(flyball_intent::ModelApi::name), "provider": self.call.provider,
            "name": self.call.name, "stream": self.call.streams,
        });
        gate.observe("gateway", &[of], json!({ "model": model, "request": told }))
    }
}

/// A request's head for the record.
pub(super) fn head_of(method: &str, place: &Place, target: &str, headers: &HeaderMap) -> Json {
    json!({
        "method": method, "scheme": place.scheme, "host": place.host, "port": place.port,
        "target": without_secrets(target), "headers": told(headers),
    })
}

pub(super) fn told(headers: &HeaderMap) -> Json {
    let shown = headers.iter().map(|(name, value)| {
        let value =
            if is_secret(name.as_str()) { "(not recorded)".into() } else { String::from_utf8_lossy(value.as_bytes()) };
        json!([name.as_str(), value])
    });
    shown.collect()
}

fn without_secrets(target: &str) -> String {
    let Some((path, query)) = target.split_once('?') else { return target.to_owned() };
    let field = |field: &str| match field.split_once('=') {
        Some((name, _)) if is_secret(name) => format!("{name}=(not recorded)"),
        _ => field.to_owned(),
    };
    format!("{path}?{}", query.split('&').map(field).collect::<Vec<_>>().join("&"))
}

/// An allowed call, until its answer is over.
pub(super) struct Exchange {
    gate: Arc<dyn Gate>,
    models: Arc<Models>,
    call: ModelCall,
    of: u64,
    /// The entry that has the request.
    asked: u64,
    answer: Option<Reading>,
    is_settled: bool,
    is_ended: bool,
    /// Whether the provider may have it.
    is_out: bool,
}

/// An answer that is being read and kept.
struct Reading {
    /// `None`: the provider failed, and may have done it.
    is_ok: Option<bool>,
    told: Json,
    read: Option<ModelAnswer>,
    keep: Option<Box<dyn Keep>>,
    pieces: Vec<usize>,
    bytes: u64,
    tools_told: usize,
}

impl Exchange {
    pub fn new(gate: Arc<dyn Gate>, models: Arc<Models>, call: ModelCall, of: u64, asked: u64) -> Self {
        more(&models.open);
        Self { gate, models, call, of, asked, answer: None, is_settled: false, is_ended: false, is_out: false }
    }

    /// The call's attempt.
    pub fn of(&self) -> u64 {
        self.of
    }

    /// From here on the provider may have it, or not after all.
    pub fn goes_out(&mut self, is_out: bool) {
        self.is_out = is_out;
    }

    /// The answer begins.
    pub fn answers<B>(&mut self, response: &Response<B>) {
        let text = |name| response.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let is_plain = matches!(text(header::CONTENT_ENCODING), "" | "identity");
        let status = response.status();
        let read = self.call.api.filter(|_| is_plain && status.is_success());
        self.answer = Some(Reading {
            is_ok: if status == StatusCode::SWITCHING_PROTOCOLS || status.is_success() {
                Some(true)
            } else if status.is_server_error() && !is_turned_away(status) {
                None
            } else {
                Some(false)
            },
            told: json!({ "status": status.as_u16(), "headers": told(response.headers()) }),
            read: read.map(|api| ModelAnswer::new(api, text(header::CONTENT_TYPE))),
            keep: self.gate.keep(),
            pieces: Vec::new(),
            bytes: 0,
            tools_told: 0,
        });
    }

    /// A piece of it, before it is passed on.
    pub fn passes(&mut self, data: &Bytes) {
        let Some(answer) = &mut self.answer else { return };
        answer.bytes = answer.bytes.saturating_add(data.len() as u64);
        if answer.pieces.len() < PIECES_MAX {
            answer.pieces.push(data.len());
        }
        if let Some(keep) = &mut answer.keep {
            keep.write(data);
        }
        let Some(read) = &mut answer.read else { return };
        read.read(data);
        let new = read.tool_uses().get(answer.tools_told..).unwrap_or_default();
        if !new.is_empty() {
            let ids: Vec<String> = new.iter().map(|tool| tool.id.clone()).collect();
            answer.tools_told += ids.len();
            self.gate.calls(self.of, &ids);
        }
        if read.is_over() {
            self.settle();
        }
    }

    /// It is over; or, not `is_whole`, it broke off, or never began.
    pub fn end(mut self: Box<Self>, is_whole: bool) {
        self.ends(is_whole);
    }

    fn ends(&mut self, is_whole: bool) {
        if std::mem::replace(&mut self.is_ended, true) {
            return;
        }
        if let Some(answer) = &mut self.answer
            && let Some(read) = &mut answer.read
        {
            read.end();
            let ids: Vec<String> =
                read.tool_uses().iter().skip(answer.tools_told).map(|tool| tool.id.clone()).collect();
            if !ids.is_empty() {
                self.gate.calls(self.of, &ids);
            }
        }
        self.settle();
        let (answer, gate, asked) = (self.answer.take(), Arc::clone(&self.gate), self.asked);
        let models = Arc::clone(&self.models);
        later(move || {
            if let Some(answer) = answer {
                answer.record(&*gate, asked, is_whole);
            }
            fewer(&models.open);
        });
    }

    fn settle(&mut self) {
        if std::mem::replace(&mut self.is_settled, true) {
            return;
        }
        let (is_ok, attrs) = self.outcome();
        let (gate, models, of) = (Arc::clone(&self.gate), Arc::clone(&self.models), self.of);
        more(&models.settling);
        later(move || {
            gate.outcome(&[of], is_ok, &attrs);
            fewer(&models.settling);
        });
    }

    /// INVARIANT: what was begun counts, however it ends: else a client that breaks off would call for nothing.
    fn outcome(&self) -> (Option<bool>, BTreeMap<String, Value>) {
        let settings = &self.models.settings;
        let mut attrs = BTreeMap::new();
        let mut say = |tokens: i64, cost: Option<i64>| {
            attrs.insert("tokens".to_owned(), Value::Long(tokens));
            if let Some(cost) = cost {
                attrs.insert("cost".to_owned(), Value::Long(cost));
            }
        };
        let Some(answer) = &self.answer else {
            // Of what went out nobody knows whether the provider has begun with it.
            if !self.is_out {
                say(0, self.models.settings.counts_cost.then_some(0));
            }
            return ((!self.is_out).then_some(false), attrs);
        };
        if answer.is_ok != Some(true) {
            // Refused by the provider, who takes nothing for that; or failed, which stays reserved.
            return (answer.is_ok, attrs);
        }
        match answer.read.as_ref().map(|read| (read.usage(), read.usage_so_far())) {
            Some((Some(usage), _)) => say(usage.tokens(), usage.cost(settings, &self.call.name)),
            // What can't be read took what was reserved: without a budget, that is no number to tell.
            _ if self.call.is_opaque() => {}
            found => {
                let so_far = found.map_or(ModelUsage::default(), |(_, so_far)| so_far);
                let (tokens, cost) = self.call.reserve(settings);
                let least = so_far.cost(settings, &self.call.name);
                say(tokens.max(so_far.tokens()), cost.into_iter().chain(least).max());
            }
        }
        (Some(true), attrs)
    }
}

/// Whoever goes away before there is an answer leaves an end behind all the same.
impl Drop for Exchange {
    fn drop(&mut self) {
        self.ends(false);
    }
}

/// Statuses of providers that have no room for a call, and have not begun with it.
fn is_turned_away(status: StatusCode) -> bool {
    matches!(status.as_u16(), 503 | 529)
}

impl Reading {
    fn record(mut self, gate: &dyn Gate, asked: u64, is_whole: bool) {
        let Some(keep) = self.keep.take() else { return };
        let body = keep.finish(None).unwrap_or_else(|| json!({ "lost": self.bytes }));
        let read = self.read.as_ref();
        let tools = read.map(ModelAnswer::tool_uses).unwrap_or_default();
        let tools: Vec<Json> = tools.iter().map(|tool| json!({ "id": tool.id, "name": tool.name })).collect();
        let usage = read.and_then(ModelAnswer::usage);
        if let Some(told) = self.told.as_object_mut() {
            told.extend([
                ("body".to_owned(), body),
                ("bytes".to_owned(), self.bytes.into()),
                ("pieces".to_owned(), self.pieces.into()),
                ("whole".to_owned(), is_whole.into()),
            ]);
        }
        let usage = usage.map(|u| json!({ "input": u.input, "cached": u.cached, "output": u.output }));
        gate.observe("gateway", &[asked], json!({ "answer": self.told, "usage": usage, "tool_use": tools }));
    }
}

/// Off the threads that pass things on.
pub(super) fn later(what: impl FnOnce() + Send + 'static) {
    match tokio::runtime::Handle::try_current() {
        Ok(runtime) => drop(runtime.spawn_blocking(what)),
        Err(_) => what(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lets_others_act_as_the_user_is_told_by_its_name() {
        for name in [
            "authorization",
            "x-api-key",
            "private-token",
            "x-vault-token",
            "dd-api-key",
            "x-amz-security-token",
            "set-cookie",
            "client_secret",
            "clientSecret",
            "access_token",
            "X-Amz-Signature",
            "sig",
            "key",
        ] {
            assert!(is_secret(name), "{name}");
        }
        for name in [
            "content-type",
            "anthropic-ratelimit-tokens-remaining",
            "x-request-id",
            "idempotency-key",
            "pageToken",
            "keyword",
            "author",
        ] {
            assert!(!is_secret(name), "{name}");
        }
        assert_eq!(without_secrets("/a?b=1&refresh_token=x&c"), "/a?b=1&refresh_token=(not recorded)&c");
    }
}
