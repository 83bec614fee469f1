//! A session's spans to an OpenTelemetry collector while it runs: OTLP over HTTP, in JSON.
//!
//! A thread of its own reads what was committed and sends the spans that have ended since. INVARIANT: nothing of the session waits
//! for it, and it writes nothing: what the collector does not take is dropped and counted.

use super::otlp::{Usage, object, root, span};
use crate::posting::Poster;
use crate::read::History;
use flyball_ledger::{Entry, Filter, Kind, Ledger, LedgerError};
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Value as Json, json};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How often it is looked whether something has ended.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Ended spans that wait for the collector; older ones are dropped.
const QUEUE_SPANS_MAX: usize = 8192;
/// Spans of one request.
const BATCH_SPANS_MAX: usize = 512;
/// Entries that are read at once.
const PAGE_ENTRIES: u64 = 1_000;
/// Attempts without an end, and attempts that others may name as their cause, that are remembered.
const OPEN_MAX: usize = 8192;
const KNOWN_MAX: usize = 65_536;
/// How long the collector may take for a request, and for all that is left at the end.
const ANSWER_TIME: Duration = Duration::from_secs(5);
const LAST_TIME: Duration = Duration::from_secs(5);
const ANSWER_BYTES_MAX: usize = 64 << 10;
/// A collector that took nothing is left alone for so long.
const AGAIN_AFTER: Duration = Duration::from_secs(5);

/// What became of a session's spans.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// Taken by the collector.
    pub spans: u64,
    /// Not taken.
    pub dropped: u64,
    /// Why the last of those was not.
    pub because: Option<String>,
}

/// Where the spans of a session are to go that has nobody beside it who waits for its end, and who is told what was not taken.
#[derive(Clone, Debug)]
pub struct Sending {
    /// As `--otlp` has it: an address, or `env`.
    pub url: String,
    /// Hears of it once, at the session's end.
    pub tell: fn(url: &str, sent: &Sent),
}

/// A sender beside a session.
pub struct Live {
    stop: Sender<()>,
    thread: JoinHandle<Sent>,
}

/// Where a collector takes traces: an address as `OTEL_EXPORTER_OTLP_ENDPOINT` has it, or that of the traces themselves.
fn traces_at(url: &str) -> String {
    let url = url.trim_end_matches('/');
    if url.ends_with("/v1/traces") { url.to_owned() } else { format!("{url}/v1/traces") }
}

/// Variables of OpenTelemetry's SDKs, the more special one first.
const ENDPOINTS: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"];
const HEADERS: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_HEADERS", "OTEL_EXPORTER_OTLP_HEADERS"];

/// The first of these variables that is set.
fn variable(names: [&'static str; 2]) -> Option<(&'static str, String)> {
    names.into_iter().find_map(|name| Some((name, std::env::var(name).ok().filter(|value| !value.is_empty())?)))
}

/// The address of a collector: as it is given, or, for `env`, as OpenTelemetry's variables have it.
///
/// # Errors
/// What is wrong with it, or with the headers that the variables ask for.
pub fn collector(given: &str) -> Result<String, String> {
    let url = match given {
        "env" => {
            variable(ENDPOINTS).ok_or_else(|| format!("neither `{}` nor `{}` is set", ENDPOINTS[0], ENDPOINTS[1]))?.1
        }
        url => url.to_owned(),
    };
    poster(&url).map(|_| url)
}

fn poster(url: &str) -> Result<Poster, String> {
    let headers = match variable(HEADERS) {
        Some((name, text)) => headers(&text).map_err(|nth| format!("`{name}`: header {nth} is not `NAME=VALUE`"))?,
        None => HeaderMap::new(),
    };
    Ok(Poster::to(&traces_at(url))?.with(headers))
}

/// Headers as W3C baggage has them, `NAME=VALUE` with commas between and percent signs before codes; or which is none. What they say
/// may be secret, and is in no message.
fn headers(text: &str) -> Result<HeaderMap, usize> {
    let mut out = HeaderMap::new();
    for (nth, pair) in (1_usize..).zip(text.split(',')) {
        let parsed = pair.split_once('=').and_then(|(name, value)| {
            let name = HeaderName::from_bytes(name.trim().as_bytes()).ok()?;
            let mut value = HeaderValue::from_bytes(&decoded(value.trim())?).ok()?;
            value.set_sensitive(true);
            Some((name, value))
        });
        // What says where and how long the request is isn't theirs.
        let is_ours = |name: &HeaderName| {
            ["host", "content-length", "content-type", "transfer-encoding"].contains(&name.as_str())
        };
        let (name, value) = parsed.filter(|(name, _)| !is_ours(name)).ok_or(nth)?;
        out.append(name, value);
    }
    Ok(out)
}

fn decoded(text: &str) -> Option<Vec<u8>> {
    let (mut out, mut bytes) = (Vec::new(), text.bytes());
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'%' => {
                let code = [bytes.next()?, bytes.next()?];
                let digits = std::str::from_utf8(&code).ok().filter(|d| d.bytes().all(|b| b.is_ascii_hexdigit()))?;
                u8::from_str_radix(digits, 16).ok()?
            }
            byte => byte,
        });
    }
    Some(out)
}

impl Live {
    /// Begins to send a session's spans.
    ///
    /// # Errors
    /// What is wrong with the address, or that no thread can be had.
    pub fn start(ledger: &Path, session: &str, url: &str) -> Result<Self, String> {
        let to = poster(url)?;
        let (stop, stopped) = channel();
        let (dir, session) = (ledger.to_owned(), session.to_owned());
        let sender =
            Following { dir, spans: Spans::new(&session), session, to, next: 1, sent: Sent::default(), rest: None };
        let thread = std::thread::Builder::new().name("otlp".into()).spawn(move || sender.run(&stopped));
        Ok(Self { stop, thread: thread.map_err(|e| e.to_string())? })
    }

    /// Sends what is left of a session that is over, in bounded time.
    #[must_use]
    pub fn finish(self) -> Sent {
        let Self { stop, thread } = self;
        drop(stop);
        thread.join().unwrap_or_default()
    }
}

struct Following {
    dir: PathBuf,
    session: String,
    to: Poster,
    /// The first entry that was not read.
    next: u64,
    spans: Spans,
    sent: Sent,
    /// The collector is left alone until then.
    rest: Option<Instant>,
}

impl Following {
    fn run(mut self, stopped: &Receiver<()>) -> Sent {
        let mut ledger = None;
        loop {
            let is_last = !matches!(stopped.recv_timeout(LOOK_EVERY), Err(RecvTimeoutError::Timeout));
            if ledger.is_none() {
                ledger = Ledger::open_read(&self.dir).ok();
            }
            let until = Instant::now() + LAST_TIME;
            let read = ledger.as_ref().map_or(Ok(()), |ledger| self.read(ledger, is_last, until));
            if let Err(error) = read {
                self.sent.because = Some(error.to_string());
            }
            if is_last {
                self.rest = None;
                while !self.spans.ended.is_empty() && Instant::now() < until && self.rest.is_none() {
                    self.send(until.saturating_duration_since(Instant::now()));
                }
                self.sent.dropped += self.spans.dropped + self.spans.ended.len() as u64;
                return self.sent;
            }
        }
    }

    /// Reads on, page by page; sends in between, so that a session which acts quickly drops nothing for that.
    fn read(&mut self, ledger: &Ledger, is_last: bool, until: Instant) -> Result<(), LedgerError> {
        loop {
            let page = self.next..self.next + PAGE_ENTRIES;
            let mut count = 0;
            for entry in ledger.entries(&self.session, page, Filter::default())? {
                let mut entry = entry?;
                match ledger.body(&entry) {
                    Ok(body) => entry.body = body,
                    Err(LedgerError::NoBlob(_)) => {}
                    Err(error) => return Err(error),
                }
                self.next = entry.seq + 1;
                self.spans.take(entry);
                count += 1;
            }
            if is_last && count == 0 {
                self.spans.end();
            }
            self.send(ANSWER_TIME);
            if count < PAGE_ENTRIES && !(is_last && count > 0) || (is_last && Instant::now() >= until) {
                return Ok(());
            }
        }
    }

    fn send(&mut self, within: Duration) {
        if self.spans.ended.is_empty() || self.rest.is_some_and(|until| Instant::now() < until) {
            return;
        }
        let count = self.spans.ended.len().min(BATCH_SPANS_MAX);
        let batch: Vec<Json> = self.spans.ended.iter().take(count).cloned().collect();
        let body = object(&self.session, &self.spans.opening, batch).to_string().into_bytes();
        let because = match self.to.post("application/json", body, within.min(ANSWER_TIME), ANSWER_BYTES_MAX) {
            Ok((200..=299, answer)) => {
                self.spans.ended.drain(..count);
                let refused = refused(&answer).min(count as u64);
                self.sent.spans += count as u64 - refused;
                self.sent.dropped += refused;
                self.rest = None;
                if refused > 0 {
                    self.sent.because = Some(format!("it took only a part: {}", clip(&answer)));
                }
                return;
            }
            // What may be sent again, by the protocol.
            Ok((status @ (429 | 502 | 503 | 504), _)) => format!("it answered {status}"),
            Ok((status, answer)) => {
                self.spans.ended.drain(..count);
                self.sent.dropped += count as u64;
                format!("it answered {status}: {}", clip(&answer))
            }
            Err(because) => because,
        };
        self.sent.because = Some(because);
        self.rest = Some(Instant::now() + AGAIN_AFTER);
    }
}

/// Spans of a request that the collector says it did not take (`partialSuccess`).
fn refused(answer: &str) -> u64 {
    let told: Option<Json> = serde_json::from_str(answer).ok();
    let refused = told.as_ref().and_then(|told| told.pointer("/partialSuccess/rejectedSpans"));
    let number = refused.and_then(|n| n.as_u64().or_else(|| n.as_str()?.parse().ok()));
    number.unwrap_or_default()
}

fn clip(text: &str) -> String {
    text.chars().take(200).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// An attempt that has not ended.
struct Life {
    parent: Option<u64>,
    /// Itself first.
    entries: Vec<Entry>,
}

/// What of a session's entries makes its spans, in bounded memory.
struct Spans {
    session: String,
    /// What of the first entry's body spans are made of.
    opening: Json,
    open: Option<Entry>,
    close: Option<Entry>,
    last: Option<Entry>,
    lives: BTreeMap<u64, Life>,
    /// Attempts, and whether each was begun or asked about by now.
    known: BTreeMap<u64, bool>,
    /// The attempts that entries which came of them belong to.
    came_of: BTreeMap<u64, u64>,
    /// Model calls that ended; their answers are yet to be recorded.
    answers_due: BTreeSet<u64>,
    usage: Usage,
    ended: VecDeque<Json>,
    dropped: u64,
}

impl Spans {
    fn new(session: &str) -> Self {
        Self {
            session: session.to_owned(),
            opening: Json::Null,
            open: None,
            close: None,
            last: None,
            lives: BTreeMap::new(),
            known: BTreeMap::new(),
            came_of: BTreeMap::new(),
            answers_due: BTreeSet::new(),
            usage: Usage::default(),
            ended: VecDeque::new(),
            dropped: 0,
        }
    }

    fn take(&mut self, entry: Entry) {
        self.last = Some(Entry { body: Json::Null, ..entry.clone() });
        match entry.kind {
            Kind::Open => {
                let member = |key: &str| entry.body.get(key).cloned().unwrap_or_default();
                let digest = entry.body.pointer("/charter/digest").cloned().unwrap_or_default();
                self.opening = json!({
                    "name": member("name"), "agent": member("agent"), "workspace": member("workspace"),
                    "charter": { "digest": digest },
                });
                self.open = Some(Entry { body: self.opening.clone(), ..entry });
            }
            Kind::Attempt => {
                let parent = self.parent(&entry);
                self.known.insert(entry.seq, false);
                if self.known.len() > KNOWN_MAX {
                    self.known.pop_first();
                }
                self.lives.insert(entry.seq, Life { parent, entries: vec![entry] });
                if self.lives.len() > OPEN_MAX
                    && let Some((_, life)) = self.lives.pop_first()
                {
                    self.emit(life);
                }
            }
            Kind::Ruling | Kind::Question | Kind::Answer | Kind::Dispatch | Kind::Outcome => self.lived(entry),
            Kind::Observe => {
                if let Some(of) = self.usage.take(&entry)
                    && self.answers_due.remove(&of)
                {
                    self.is_over(of);
                }
            }
            Kind::Close => self.close = Some(entry),
            _ => {}
        }
    }

    fn lived(&mut self, entry: Entry) {
        let Some(of) = entry.body.get("of").and_then(Json::as_u64) else { return };
        self.came_of.insert(entry.seq, of);
        if self.came_of.len() > KNOWN_MAX {
            self.came_of.pop_first();
        }
        if matches!(entry.kind, Kind::Question | Kind::Dispatch | Kind::Outcome)
            && let Some(is_begun) = self.known.get_mut(&of)
        {
            *is_begun = true;
        }
        let Some(Life { entries: life, .. }) = self.lives.get_mut(&of) else { return };
        let is_denied = entry.kind == Kind::Ruling && entry.body.get("verdict").and_then(Json::as_str) == Some("deny");
        let is_over = is_denied || entry.kind == Kind::Outcome;
        let is_call = life.first().is_some_and(|e| e.body.get("verb").and_then(Json::as_str) == Some("model.call"));
        life.push(entry);
        if is_over && is_call && !is_denied && self.usage.of(of).is_none() {
            // Until the next such entry, at most.
            self.answers_due.insert(of);
        } else if is_over {
            self.is_over(of);
        }
    }

    fn is_over(&mut self, of: u64) {
        if let Some(life) = self.lives.remove(&of) {
            self.emit(life);
        }
        self.usage.forget(of);
    }

    /// The attempt that an entry is, or came of.
    fn attempt_of(&self, seq: u64) -> Option<u64> {
        let of = self.came_of.get(&seq).copied().unwrap_or(seq);
        self.known.contains_key(&of).then_some(of)
    }

    /// What caused an attempt: the first of the same call, which stands last among its causes; else what it names first.
    fn parent(&self, attempt: &Entry) -> Option<u64> {
        let implied = attempt.cause.last().copied().filter(|seq| self.known.get(seq) == Some(&false));
        let named = attempt.cause.first().and_then(|seq| self.attempt_of(*seq));
        implied.or(named).filter(|seq| *seq < attempt.seq).or(self.open.as_ref().map(|open| open.seq))
    }

    fn emit(&mut self, Life { parent, entries: life }: Life) {
        let Some(attempt) = life.first().cloned() else { return };
        let links: BTreeSet<u64> = life
            .iter()
            .filter(|entry| entry.kind == Kind::Ruling)
            .flat_map(|ruling| ruling.body.get("reasons").and_then(Json::as_array).into_iter().flatten())
            .flat_map(|reason| reason.get("witnesses").and_then(Json::as_array).into_iter().flatten())
            .filter_map(Json::as_u64)
            .chain(attempt.cause.iter().skip(1).copied())
            .filter_map(|seq| self.attempt_of(seq))
            .filter(|seq| *seq != attempt.seq && Some(*seq) != parent)
            .collect();
        let history = History::new(&self.session, self.open.iter().cloned().chain(life).collect());
        let made = span(&history, &attempt, parent, &links.into_iter().collect::<Vec<_>>(), &self.usage);
        self.push(made);
    }

    fn push(&mut self, span: Json) {
        self.ended.push_back(span);
        if self.ended.len() > QUEUE_SPANS_MAX {
            self.ended.pop_front();
            self.dropped += 1;
        }
    }

    /// The session is over: so is all that is still open, and the session's own span.
    fn end(&mut self) {
        for (_, life) in std::mem::take(&mut self.lives) {
            self.emit(life);
        }
        if let Some(open) = self.open.take() {
            let last = self.close.take().or(self.last.take()).filter(|last| last.seq > open.seq);
            let history = History::new(&self.session, std::iter::once(open.clone()).chain(last).collect());
            let made = root(&history, &open);
            self.push(made);
        }
    }
}

#[cfg(test)]
mod tests;
