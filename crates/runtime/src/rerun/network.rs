//! A recorded session's network: each exchange by the digest of its request, and how each connection was met.
//!
//! INVARIANT: what answers is what is on record, each exchange once. What is not on record is noted in the replay's own session and
//! makes it another one.

use super::{Order, RerunError};
use crate::replay::{Difference, differ};
use crate::supervisor::Session;
use flyball_gateway::http::{Answer, Met, Past, Told};
use flyball_ledger::{Filter, Kind, Ledger};
use serde::Deserialize;
use serde_json::{Value as Json, json};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

/// Members by which a request is the same: all that the program said, its body by digest.
const KEY: [&str; 10] =
    ["method", "scheme", "host", "port", "target", "version", "headers", "sha256", "trailers", "whole"];
/// Who notes what a replay lacks or does otherwise.
const ACTOR: &str = "replay";
/// Differences that are noted in one replay.
const NOTED_MAX: usize = 256;
/// Bytes of a body that are read to say where it differs.
const BODY_BYTES_MAX: u64 = 16 << 20;
/// Characters of a text that are shown around its first difference.
const SHOWN: usize = 60;

type Key = [u8; 32];

/// What a session's record has of its network.
#[derive(Debug, Default)]
pub(crate) struct Exchanges {
    by_request: BTreeMap<Key, VecDeque<u64>>,
    /// Those that nobody asked for yet, with the place that they were asked at.
    unasked: BTreeMap<u64, Key>,
    connections: BTreeMap<(String, u16), BTreeMap<u64, Met>>,
    noted: usize,
}

impl Exchanges {
    /// Those of a session.
    pub fn of(ledger: &Ledger, session: &str) -> Result<Self, RerunError> {
        let mut found = Self::default();
        let kinds = vec![Kind::Observe];
        for entry in ledger.entries(session, 1.., Filter { kinds, ..Filter::default() })? {
            let entry = entry?;
            if entry.actor != "gateway" {
                continue;
            }
            let body = ledger.body(&entry)?;
            if let Some(request) = body.pointer("/http/request") {
                found.by_request.entry(key(request, &KEY)).or_default().push_back(entry.seq);
                found.unasked.insert(entry.seq, at(request));
            } else if let Some(told) = body.get("connection") {
                let lost = |_| RerunError::Record { seq: entry.seq, why: "a connection can't be read".into() };
                let Connection { host, port, nth, met } = Connection::deserialize(told).map_err(lost)?;
                found.connections.entry((host, port)).or_default().insert(nth, met);
            }
        }
        Ok(found)
    }
}

#[derive(Deserialize)]
struct Connection {
    host: String,
    port: u16,
    nth: u64,
    met: Met,
}

fn key(request: &Json, members: &[&str]) -> Key {
    let told: Vec<&Json> = members.iter().map(|member| request.get(*member).unwrap_or(&Json::Null)).collect();
    Sha256::digest(json!(told).to_string()).into()
}

fn at(request: &Json) -> Key {
    let path = request.get("target").and_then(Json::as_str).and_then(|target| target.split('?').next());
    let place = key(request, &["method", "host", "port"]);
    Sha256::new().chain_update(place).chain_update(path.unwrap_or_default()).finalize().into()
}

/// Why what such an entry tells can't be given again.
pub(crate) fn not_kept(body: &Json) -> Option<&'static str> {
    let is_kept = |kept: Option<&Json>| {
        kept.is_some_and(|kept| ["text", "base64", "commitment"].iter().any(|member| kept.get(member).is_some()))
    };
    if let Some(http) = body.get("http") {
        if http.get("failed").is_some() {
            return None;
        }
        if http.pointer("/answer/status").and_then(Json::as_u64) == Some(101) {
            return Some("a request went on as a stream of its own, which is not kept");
        }
        if http.pointer("/request/whole") != Some(&Json::Bool(true)) {
            return Some("a request was answered before all of it was said");
        }
        return (!is_kept(http.pointer("/answer/body"))).then_some("an answer was too long to be kept");
    }
    let met = body.pointer("/connection/met").filter(|met| met.get("as").and_then(Json::as_str) == Some("unread"))?;
    (!is_kept(met.get("said"))).then_some("what a connection said was too long to be kept")
}

/// See [`noted`].
#[derive(Default)]
pub(crate) struct Noted {
    pub differences: Vec<Difference>,
    /// By entry of the record.
    pub lacks: Vec<(u64, String)>,
}

/// What a replay found that is not as it was, and what it lacked, as its session has it.
pub(crate) fn noted(ledger: &Ledger, session: &str) -> Result<Noted, RerunError> {
    let Noted { mut differences, mut lacks } = Noted::default();
    let kinds = vec![Kind::Observe];
    for entry in ledger.entries(session, 1.., Filter { kinds, ..Filter::default() })? {
        let entry = entry?;
        if entry.actor != ACTOR {
            continue;
        }
        let mut body = ledger.body(&entry)?;
        let Some(told) = body.get_mut(ACTOR) else { continue };
        let seq = told.get("at").and_then(Json::as_u64).unwrap_or(1);
        let text = |key: &str| told.get(key).and_then(Json::as_str).map(str::to_owned);
        match (text("lacks"), text("field")) {
            (Some(why), _) => lacks.push((seq, why)),
            (None, field) => {
                let field = field.unwrap_or_default();
                let mut take = |key: &str| told.get_mut(key).map(Json::take).unwrap_or_default();
                let (recorded, recomputed) = (take("recorded"), take("recomputed"));
                differences.push(Difference { seq, field, recorded, recomputed });
            }
        }
    }
    Ok(Noted { differences, lacks })
}

/// The same, in the place of the world.
pub(crate) struct Recorded {
    pub exchanges: Arc<Mutex<Exchanges>>,
    pub order: Arc<Order>,
    pub ledger: Arc<Ledger>,
    /// The recorded session.
    pub parent: String,
    /// The replay's own.
    pub session: Session,
}

impl Recorded {
    fn exchanges(&self) -> std::sync::MutexGuard<'_, Exchanges> {
        self.exchanges.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, told: Json) {
        {
            let mut exchanges = self.exchanges();
            exchanges.noted = exchanges.noted.saturating_add(1);
            if exchanges.noted > NOTED_MAX {
                return;
            }
        }
        let noted = self.session.with(|core| core.gate.note(Kind::Observe, ACTOR, &[], json!({ ACTOR: told })).ok());
        if noted.flatten().is_some() {
            crate::supervisor::end(&self.session);
        }
    }

    fn entry(&self, seq: u64) -> Result<Json, String> {
        let entry = self.ledger.entry(&self.parent, seq).map_err(|e| e.to_string())?;
        self.ledger.body(&entry).map_err(|e| e.to_string())
    }

    fn payload(&self, member: Option<&Json>) -> Result<Vec<u8>, String> {
        self.ledger.payload_bytes(member.unwrap_or(&Json::Null)).map_err(|e| e.to_string())
    }

    /// What is on record of an exchange.
    fn recorded(&self, seq: u64) -> Result<Answer, String> {
        let body = self.entry(seq)?;
        if let Some(why) = body.pointer("/http/failed").and_then(Json::as_str) {
            return Ok(Answer { head: Err(why.to_owned()), body: Vec::new(), turn: Some(self.order.turn(seq)) });
        }
        let answer = body.pointer("/http/answer").unwrap_or(&Json::Null);
        let head = Told::deserialize(answer).map_err(|e| e.to_string())?;
        let body = self.payload(answer.get("body"))?;
        Ok(Answer { head: Ok(head), body, turn: Some(self.order.turn(seq)) })
    }

    /// A request that is not on record: against the one that is most like it.
    fn unheard(&self, request: &Json) -> String {
        let place = at(request);
        let nearest = {
            let exchanges = self.exchanges();
            let same = exchanges.unasked.iter().find(|(_, at)| **at == place).or(exchanges.unasked.iter().next());
            same.map(|(seq, _)| *seq)
        };
        let was = nearest.and_then(|seq| Some((seq, self.entry(seq).ok()?.pointer_mut("/http/request")?.take())));
        let Some((seq, was)) = was else {
            self.note(json!({ "at": 1, "field": "/http", "recorded": null, "recomputed": told(request) }));
            return format!("session {} has no exchange left that it could be", self.parent);
        };
        let of = |request: &Json| json!({ "head": told(request), "trailers": request.get("trailers") });
        let (field, recorded, recomputed) = match (of(&was), of(request)) {
            (a, b) if a == b => self.bodies(&was, request),
            (a, b) => {
                let (field, a, b) = differ::first(&a, &b);
                (field.replacen("/head", "", 1), a, b)
            }
        };
        let field = format!("/http/request{field}");
        let text =
            format!("the nearest request on record is entry {seq} of session {}: `{field}` differs", self.parent);
        self.note(json!({ "at": seq, "field": field, "recorded": recorded, "recomputed": recomputed }));
        text
    }

    /// Where two bodies differ.
    fn bodies(&self, was: &Json, is: &Json) -> (String, Json, Json) {
        let short = |request: &Json| json!({ "sha256": request.get("sha256"), "bytes": request.get("bytes"), "whole": request.get("whole") });
        let bytes = |request: &Json| {
            let length = request.get("bytes").and_then(Json::as_u64)?;
            if length > BODY_BYTES_MAX { None } else { self.payload(request.get("body")).ok() }
        };
        // What this replay keeps is read from the same disk.
        let _ = self.ledger.flush();
        let (Some(a), Some(b)) = (bytes(was), bytes(is)) else { return ("/body".to_owned(), short(was), short(is)) };
        let read = |bytes: &[u8]| serde_json::from_slice::<Json>(bytes).ok();
        if let (Some(a), Some(b)) = (read(&a), read(&b))
            && a != b
        {
            let (field, a, b) = differ::first(&a, &b);
            let (a, b) = match (&a, &b) {
                (Json::String(x), Json::String(y)) => around(x.as_bytes(), y.as_bytes()),
                _ => (brief(a), brief(b)),
            };
            return (format!("/body{field}"), a, b);
        }
        let (a, b) = around(&a, &b);
        ("/body".to_owned(), a, b)
    }
}

/// A request's head.
fn told(request: &Json) -> Json {
    let members = KEY.iter().filter(|key| !matches!(**key, "sha256" | "trailers" | "whole"));
    members
        .map(|key| ((*key).to_owned(), request.get(*key).cloned().unwrap_or_default()))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

/// Both sides of the first difference, with what stands around it.
fn around(a: &[u8], b: &[u8]) -> (Json, Json) {
    let at = a.iter().zip(b).position(|(a, b)| a != b).unwrap_or(a.len().min(b.len()));
    let shown = |bytes: &[u8]| {
        let from = at.saturating_sub(SHOWN / 2);
        let part = bytes.get(from..bytes.len().min(from.saturating_add(SHOWN))).unwrap_or_default();
        json!({ "at": at, "text": String::from_utf8_lossy(part) })
    };
    (shown(a), shown(b))
}

fn brief(value: Json) -> Json {
    let text = value.to_string();
    if text.len() <= 16 * SHOWN { value } else { json!({ "text": text.chars().take(4 * SHOWN).collect::<String>() }) }
}

impl Past for Recorded {
    fn met(&self, host: &str, port: u16, nth: u64) -> Option<Met> {
        let exchanges = self.exchanges();
        let there = exchanges.connections.get(&(host.to_owned(), port))?;
        // How many a client opens is its own; a server speaks as it did.
        let speaks = |met: &&Met| matches!(met, Met::Plain | Met::Tls { .. });
        there.get(&nth).or_else(|| there.values().rev().find(speaks)).cloned()
    }

    fn answer(&self, request: &Json) -> Result<Answer, String> {
        let seq = {
            let mut exchanges = self.exchanges();
            let seq = exchanges.by_request.get_mut(&key(request, &KEY)).and_then(VecDeque::pop_front);
            seq.inspect(|seq| _ = exchanges.unasked.remove(seq))
        };
        let Some(seq) = seq else { return Err(self.unheard(request)) };
        self.recorded(seq).map_err(|why| {
            self.note(json!({ "at": seq, "lacks": format!("what was answered is not in the ledger any more: {why}") }));
            why
        })
    }

    fn transcript(&self, said: &Json) -> Result<Vec<u8>, String> {
        self.payload(Some(said)).map_err(|why| {
            self.note(
                json!({ "at": 1, "lacks": format!("what a connection said is not in the ledger any more: {why}") }),
            );
            why
        })
    }

    fn differs(&self, (host, port, nth): (&str, u16, u64), at: u64, recorded: &[u8], made: &[u8]) {
        let shown = |bytes: &[u8]| json!({ "at": at, "text": String::from_utf8_lossy(bytes) });
        let field = format!("/connection/{host}:{port}/{nth}");
        self.note(json!({ "at": 1, "field": field, "recorded": shown(recorded), "recomputed": shown(made) }));
    }
}
