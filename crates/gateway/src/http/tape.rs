//! Exchanges of a run that is recorded, kept as the program saw them, so that it can be answered by them when it runs again.
//!
//! INVARIANT: kept is what the program said and was told: before a credential is put in, after one is blotted out, without the
//! values that the record never has.

use super::model::{Models, fewer, later, more};
use super::{Met, Place};
use crate::gate::{Gate, Keep};
use hyper::body::{Bytes, Frame};
use hyper::ext::ReasonPhrase;
use hyper::{Request, Response, Version};
use serde_json::{Value as Json, json};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Pieces of a body whose lengths are kept; what comes behind them is one piece.
const PIECES_MAX: usize = 65_536;
/// Parts of an answer of which is kept what came before them; of later ones it is not.
const AFTER_MAX: usize = 4096;
/// Places whose connections are counted.
const PLACES_MAX: usize = 4096;

/// How many connections there were to each place so far.
#[derive(Debug, Default)]
pub struct Places(Mutex<BTreeMap<(String, u16), u64>>);

impl Places {
    /// The number of a new one, from 1; `None` when there are too many places.
    pub fn next(&self, host: &str, port: u16) -> Option<u64> {
        let mut places = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (host.to_owned(), port);
        if places.len() >= PLACES_MAX && !places.contains_key(&key) {
            return None;
        }
        let count = places.entry(key).or_default();
        *count = count.saturating_add(1);
        Some(*count)
    }
}

/// Puts on record how the `nth` connection to a place was met.
pub fn tell_met(gate: &dyn Gate, cause: &[u64], host: &str, port: u16, nth: u64, met: &Met) {
    let body = json!({ "connection": { "host": host, "port": port, "nth": nth, "met": met } });
    gate.observe("gateway", cause, body);
}

/// A request's head, as it is compared: by the words of the record, with the headers in the order of their names.
pub(super) fn request_head<B>(request: &Request<B>, place: &Place) -> Json {
    let target = request.uri().path_and_query().map_or("/", |target| target.as_str());
    let mut head = super::model::head_of(request.method().as_str(), place, target, request.headers());
    if let Some(head) = head.as_object_mut() {
        let headers = head.get_mut("headers").and_then(Json::as_array_mut);
        headers.into_iter().for_each(|all| all.sort_by(|a, b| name(a).cmp(name(b))));
        head.insert("version".to_owned(), version(request.version()).into());
    }
    head
}

fn name(header: &Json) -> &str {
    header.get(0).and_then(Json::as_str).unwrap_or_default()
}

fn version(version: Version) -> String {
    format!("{version:?}")
}

fn answer_head<B>(response: &Response<B>) -> Json {
    let reason = response.extensions().get::<ReasonPhrase>().map(|said| String::from_utf8_lossy(said.as_bytes()));
    json!({
        "status": response.status().as_u16(), "version": version(response.version()), "reason": reason,
        "headers": super::model::told(response.headers()),
    })
}

/// A body that is being kept.
#[derive(Default)]
pub(super) struct Half {
    keep: Option<Box<dyn Keep>>,
    digest: Sha256,
    bytes: u64,
    pieces: Vec<usize>,
    trailers: Option<Json>,
    /// The last attempt of the session before each part, wherever that is another one than before the part before: the head is 0, pieces count
    /// from 1 on, the end comes behind them.
    after: Vec<(u64, u64)>,
    /// Whether all of it came, once it is over.
    whole: Option<bool>,
}

impl Half {
    pub fn new(gate: &dyn Gate) -> Self {
        Self { keep: gate.keep_digested(), ..Self::default() }
    }

    pub fn takes(&mut self, frame: &Frame<Bytes>) {
        if let Some(data) = frame.data_ref() {
            self.bytes = self.bytes.saturating_add(data.len() as u64);
            if self.pieces.len() < PIECES_MAX {
                self.pieces.push(data.len());
            }
            self.digest.update(data);
            self.keep.iter_mut().for_each(|keep| keep.write(data));
        }
        if let Some(trailers) = frame.trailers_ref() {
            self.trailers = Some(super::model::told(trailers));
        }
    }

    /// The next part is given: a piece or the end, or, where nothing came yet, the head.
    fn gives(&mut self, gate: &dyn Gate, is_head: bool) {
        let part = if is_head { 0 } else { self.pieces.len() as u64 + 1 };
        if self.after.len() < AFTER_MAX
            && self.pieces.len() < PIECES_MAX
            && let Some(latest) = gate.latest()
            && self.after.last().is_none_or(|(_, last)| *last != latest)
        {
            self.after.push((part, latest));
        }
    }

    /// What stands for it in an entry.
    pub fn told(self, is_whole: bool) -> Json {
        let digest: [u8; 32] = self.digest.finalize().into();
        let body =
            self.keep.and_then(|keep| keep.finish(Some(digest))).unwrap_or_else(|| json!({ "lost": self.bytes }));
        let digest = hex::encode(digest);
        let mut told = json!({
            "body": body, "sha256": digest, "bytes": self.bytes, "pieces": self.pieces, "trailers": self.trailers, "whole": is_whole,
        });
        if let (false, Some(told)) = (self.after.is_empty(), told.as_object_mut()) {
            told.insert("after".to_owned(), json!(self.after));
        }
        told
    }
}

/// One exchange, kept until both its sides are over.
pub(super) struct Tape {
    gate: Arc<dyn Gate>,
    models: Arc<Models>,
    of: u64,
    halves: Mutex<Halves>,
}

struct Halves {
    request: Json,
    asked: Half,
    /// The answer's head; or why there was none.
    answer: Option<Result<Json, String>>,
    answered: Half,
    is_told: bool,
}

impl Tape {
    /// Begins with a request that was allowed as that attempt.
    pub fn new(gate: &Arc<dyn Gate>, models: &Arc<Models>, of: u64, request: Json) -> Arc<Self> {
        more(&models.open);
        let (asked, answered) = (Half::new(&**gate), Half::new(&**gate));
        let halves = Halves { request, asked, answer: None, answered, is_told: false };
        Arc::new(Self { gate: Arc::clone(gate), models: Arc::clone(models), of, halves: Mutex::new(halves) })
    }

    /// The answer begins.
    pub fn answers<B>(&self, response: &Response<B>) {
        let mut halves = self.lock();
        halves.answer = Some(Ok(answer_head(response)));
        halves.answered.gives(&*self.gate, true);
    }

    /// There is none.
    pub fn fails(&self, why: &str) {
        let mut halves = self.lock();
        halves.answer.get_or_insert_with(|| Err(why.to_owned()));
        halves.answered.whole.get_or_insert(true);
        self.tell(&mut halves);
    }

    fn takes(&self, is_answer: bool, frame: &Frame<Bytes>) {
        let mut halves = self.lock();
        if is_answer {
            halves.answered.gives(&*self.gate, false);
        }
        halves.half(is_answer).takes(frame);
    }

    fn ends(&self, is_answer: bool, is_whole: bool) {
        let mut halves = self.lock();
        if is_answer && halves.answered.whole.is_none() && halves.answer.is_some() {
            halves.answered.gives(&*self.gate, false);
        }
        halves.half(is_answer).whole.get_or_insert(is_whole);
        self.tell(&mut halves);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Halves> {
        self.halves.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, halves: &mut Halves) {
        let (Some(asked), Some(answered)) = (halves.asked.whole, halves.answered.whole) else { return };
        if std::mem::replace(&mut halves.is_told, true) {
            return;
        }
        let (was_asked, was_answered) = (std::mem::take(&mut halves.asked), std::mem::take(&mut halves.answered));
        let (request, answer) = (std::mem::take(&mut halves.request), halves.answer.take());
        let (gate, models, of) = (Arc::clone(&self.gate), Arc::clone(&self.models), self.of);
        later(move || {
            let mut told = json!({ "of": of, "request": joined(request, was_asked.told(asked)) });
            let (key, answer) = match answer {
                Some(Ok(head)) => ("answer", joined(head, was_answered.told(answered))),
                Some(Err(why)) => ("failed", why.into()),
                None => ("failed", "nobody waited for it".into()),
            };
            told.as_object_mut().and_then(|told| told.insert(key.to_owned(), answer));
            gate.observe("gateway", &[of], json!({ "http": told }));
            fewer(&models.open);
        });
    }
}

impl Halves {
    fn half(&mut self, is_answer: bool) -> &mut Half {
        if is_answer { &mut self.answered } else { &mut self.asked }
    }
}

pub(super) fn joined(mut head: Json, body: Json) -> Json {
    if let (Some(head), Json::Object(body)) = (head.as_object_mut(), body) {
        head.extend(body);
    }
    head
}

/// One side of an exchange, as long as it passes.
pub(super) struct Side {
    tape: Arc<Tape>,
    is_answer: bool,
}

impl Side {
    pub fn asked(tape: &Arc<Tape>) -> Self {
        Self { tape: Arc::clone(tape), is_answer: false }
    }

    pub fn answered(tape: &Arc<Tape>) -> Self {
        Self { tape: Arc::clone(tape), is_answer: true }
    }

    pub fn passes(&self, frame: &Frame<Bytes>) {
        self.tape.takes(self.is_answer, frame);
    }

    /// It is over; or, not `is_whole`, it broke off.
    pub fn end(&self, is_whole: bool) {
        self.tape.ends(self.is_answer, is_whole);
    }
}

/// Whoever goes away first leaves an end behind.
impl Drop for Side {
    fn drop(&mut self) {
        self.end(false);
    }
}

/// An exchange that may yet have no answer: whoever drops it has said all that there is.
pub(super) struct Open(pub Arc<Tape>);

impl Drop for Open {
    fn drop(&mut self) {
        if self.0.lock().answer.is_none() {
            self.0.fails("nobody waited for it");
        }
    }
}
