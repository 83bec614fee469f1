//! What an action that leads out of the sandbox carried: which contents on record it has bytes of, and which it could have had.

use super::trace::{self, Trace};
use super::{History, ReadError};
use crate::state::Change;
use flyball_ledger::{Digest, Entry, Kind, Ledger, LedgerError};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use sha1::{Digest as _, Sha1};
use std::collections::{BTreeMap, BTreeSet, HashSet};

/// Bytes that are compared at once: what two contents have in common and is twice as long is found, wherever it stands.
const BLOCK: usize = 16;
/// A content that is shorter than two blocks is looked for as a whole; a shorter one than this says nothing.
const WHOLE_BYTES_MIN: usize = 8;
/// Bytes of what went out that are compared.
const OUT_BYTES_MAX: usize = 2 << 20;
/// Bytes of one content, and of all of them, that are compared.
const SOURCE_BYTES_MAX: usize = 8 << 20;
const SOURCES_BYTES_MAX: usize = 512 << 20;
/// Contents that are looked for as a whole.
const WHOLES_MAX: usize = 1000;
/// The member that holds what a program sent. It is made of other contents, and so none that is looked for.
const REQUEST: &str = "request";
/// Members of a model's events that hold pieces of what it says.
const SPOKEN: &[&str] = &["text", "partial_json", "thinking", "content", "arguments", "delta"];
/// Verbs whose actions lead out.
const OUTWARD: &[&str] = &["net.", "http.", "tool.", "git.push", "pr.", "model.", "data.", "deploy.", "agent."];

/// Where the content of an outward action is from.
#[derive(Clone, Debug, Serialize)]
pub struct Carried {
    /// Contents that it has bytes of, in the order of their entries.
    pub carried: Vec<Source>,
    /// Contents that were there before and of which it has none that was found: it could carry them changed, or where what went out
    /// is not on record.
    pub could: Vec<Source>,
    /// How many bytes of what went out are on record.
    pub seen_bytes: u64,
    /// Why it could have carried more than the record has.
    pub unseen: Vec<String>,
    /// The graph of causes of the action and of what it carried.
    #[serde(flatten)]
    pub trace: Trace,
}

/// A content on record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Source {
    /// The entry that has it.
    pub seq: u64,
    /// `file`, or the member of the entry that holds it: `answer`, `request`, ...
    pub what: String,
    /// The file's path, if it is one's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// How many of its bytes went out, rounded to blocks; all, for a file that was pushed.
    pub bytes: u64,
}

/// What the outward action of an entry carried.
///
/// # Errors
/// [`ReadError`] when the ledger can't be read, the entry is not there, or leads nowhere.
pub fn carried(ledger: &Ledger, session: &str, seq: u64) -> Result<Carried, ReadError> {
    let history = History::read(ledger, session)?;
    history.entry(seq)?;
    let focus = history.attempt_of(seq).unwrap_or(seq);
    let attempt = history.entry(focus)?;
    let verb = attempt.body.get("verb").and_then(Json::as_str).unwrap_or_default();
    if attempt.kind != Kind::Attempt || !OUTWARD.iter().any(|outward| verb.starts_with(outward)) {
        let what = "it is no attempt of an action that leads out (http.request, git.push, tool.call, …)".to_owned();
        return Err(ReadError::Malformed { session: session.to_owned(), seq, what });
    }
    let mut unseen = Vec::new();
    let out = Out::of(ledger, &history, attempt, &mut unseen)?;
    let (mut carried, mut could, mut left) = (Vec::new(), Vec::new(), SOURCES_BYTES_MAX);
    let (mut wholes, mut compared) = (WHOLES_MAX, BTreeMap::<Digest, u64>::new());
    // A file that was written again is what it was last.
    let mut files = BTreeMap::<String, (u64, Digest)>::new();
    let mut objects = BTreeSet::new();
    for entry in history.entries().iter().take_while(|entry| entry.seq < focus) {
        for change in changes(entry) {
            let digest = match &change.node {
                flyball_sandbox::workspace::Node::File { digest, .. } => digest.parse::<Digest>().ok(),
                _ => None,
            };
            let object = change.path.rsplit_once("objects/").map(|(_, id)| id.replace('/', ""));
            objects.extend(object.filter(|id| matches!(id.len(), 40 | 64)));
            if let Some(digest) = digest.filter(|_| !change.path.split('/').any(|part| part == ".git")) {
                files.insert(change.path, (entry.seq, digest));
            }
        }
        if history.attempt_of(entry.seq) == Some(focus) {
            continue;
        }
        for (what, payload) in payloads(&entry.body).into_iter().filter(|(what, _)| what != REQUEST) {
            let Some(bytes) = at_hand(ledger.payload_bytes(payload), &mut unseen, entry.seq)? else { continue };
            let spoken = out.compared(&spoken(&bytes), &mut left, &mut wholes);
            let bytes = out.compared(&bytes, &mut left, &mut wholes).max(spoken);
            let source = Source { seq: entry.seq, what, path: None, bytes };
            if bytes > 0 { &mut carried } else { &mut could }.push(source);
        }
    }
    for (path, (seq, digest)) in files {
        let bytes = match compared.get(&digest) {
            Some(bytes) => *bytes,
            None => {
                let Some(content) = at_hand(ledger.blob(&digest), &mut unseen, seq)? else { continue };
                let is_pushed = verb == "git.push" && objects.contains(&git_id(&content));
                let bytes = match is_pushed {
                    true => content.len() as u64,
                    false => out.compared(&content, &mut left, &mut wholes),
                };
                compared.insert(digest, bytes);
                bytes
            }
        };
        let source = Source { seq, what: "file".to_owned(), path: Some(path), bytes };
        if bytes > 0 { &mut carried } else { &mut could }.push(source);
    }
    if left == 0 || wholes == 0 {
        unseen.push("not all contents were compared: there are too many".to_owned());
    }
    unseen.push(
        "what was read and is not on record: files as they were before the session, and answers that were not kept"
            .to_owned(),
    );
    carried.sort_by_key(|source: &Source| source.seq);
    could.sort_by_key(|source: &Source| source.seq);
    let sources: Vec<u64> = carried.iter().map(|source| source.seq).collect();
    let trace = trace::led(&history, focus, &sources);
    Ok(Carried { carried, could, seen_bytes: out.bytes, unseen, trace })
}

/// What went out, for comparison.
struct Out {
    bytes: u64,
    blocks: HashSet<[u8; BLOCK]>,
    content: Vec<u8>,
}

impl Out {
    fn of(ledger: &Ledger, history: &History, attempt: &Entry, unseen: &mut Vec<String>) -> Result<Self, ReadError> {
        let mut content = Vec::new();
        let mut has_body = false;
        // A call of a model is a request as well: what was sent stands with the one of them that tells more.
        let is_its = |of: &u64| *of == attempt.seq || history.find(*of).is_some_and(|e| e.cause.contains(&attempt.seq));
        let told = history
            .entries()
            .iter()
            .filter(|entry| entry.kind == Kind::Observe && entry.seq > attempt.seq)
            .filter(|entry| entry.body.get(REQUEST).is_some() && entry.cause.iter().any(is_its));
        for entry in std::iter::once(attempt).chain(told) {
            for (what, payload) in payloads(&entry.body) {
                if entry.kind == Kind::Observe && what != REQUEST {
                    continue;
                }
                if let Some(bytes) = at_hand(ledger.payload_bytes(payload), unseen, entry.seq)? {
                    has_body |= what == REQUEST;
                    content.extend_from_slice(&bytes);
                    content.push(0);
                }
            }
        }
        // What the action itself says: a path with its query, a tool's arguments.
        strings(&attempt.body, &mut content);
        if !has_body {
            unseen.push(
                "what went out beside the action itself is not on record: it could have carried all of these"
                    .to_owned(),
            );
        }
        let bytes = content.len() as u64;
        // Text in JSON stands there with its quotes and line ends escaped.
        let within: Vec<Vec<u8>> = content.split(|b| *b == 0).map(<[u8]>::to_vec).collect();
        for part in within {
            if let Ok(value) = serde_json::from_slice::<Json>(&part) {
                strings(&value, &mut content);
            }
        }
        content.truncate(OUT_BYTES_MAX);
        let blocks = content.windows(BLOCK).filter_map(|block| block.try_into().ok()).collect();
        Ok(Self { bytes, blocks, content })
    }

    /// How many of these bytes went out.
    fn compared(&self, source: &[u8], left: &mut usize, wholes: &mut usize) -> u64 {
        let source = source.get(..SOURCE_BYTES_MAX.min(*left)).unwrap_or(source);
        *left = left.saturating_sub(source.len());
        if source.len() >= 2 * BLOCK {
            let telling = |block: &&[u8]| block.iter().collect::<BTreeSet<_>>().len() > 4;
            let has = |block: &[u8]| <[u8; BLOCK]>::try_from(block).is_ok_and(|block| self.blocks.contains(&block));
            let found = source.chunks_exact(BLOCK).filter(telling).filter(|block| has(block)).count();
            return (found * BLOCK) as u64;
        }
        let whole = source.trim_ascii();
        if whole.len() < WHOLE_BYTES_MIN || *wholes == 0 {
            return 0;
        }
        *wholes -= 1;
        let is_in = self.content.windows(whole.len()).any(|window| window == whole);
        if is_in { whole.len() as u64 } else { 0 }
    }
}

/// What a model's answer says, whose pieces came in events of their own: `data:` and a value in JSON on each line.
fn spoken(answer: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for line in answer.split(|b| *b == b'\n').filter_map(|line| line.strip_prefix(b"data:")) {
        let Ok(event) = serde_json::from_slice::<Json>(line) else { continue };
        let mut waiting = vec![&event];
        while let Some(value) = waiting.pop() {
            for (key, value) in value.as_object().into_iter().flatten() {
                match value {
                    Json::String(text) if SPOKEN.contains(&key.as_str()) => out.extend_from_slice(text.as_bytes()),
                    Json::Array(items) => waiting.extend(items),
                    other => waiting.push(other),
                }
            }
        }
    }
    out
}

fn changes(entry: &Entry) -> Vec<Change> {
    let changes = entry.body.pointer("/workspace/changes").filter(|_| entry.kind == Kind::Observe);
    changes.and_then(|changes| Vec::deserialize(changes).ok()).unwrap_or_default()
}

/// The contents that an entry commits to, by the member of its body in which they are.
fn payloads(body: &Json) -> Vec<(String, &Json)> {
    let mut out = Vec::new();
    let mut waiting = vec![(String::new(), body)];
    while let Some((name, value)) = waiting.pop() {
        match value {
            Json::Object(members) => {
                let is = |key: &str| members.get(key).is_some_and(Json::is_string);
                let is_payload = match members.len() {
                    1 => is("text") || is("base64"),
                    2 => is("commitment") && members.contains_key("bytes"),
                    _ => false,
                };
                if is_payload {
                    out.push((name, value));
                } else {
                    let below = |key: &String| if name.is_empty() { key.clone() } else { name.clone() };
                    waiting.extend(members.iter().map(|(key, value)| (below(key), value)));
                }
            }
            Json::Array(items) => waiting.extend(items.iter().map(|item| (name.clone(), item))),
            _ => {}
        }
    }
    out
}

/// Every text in a value, each behind a zero byte.
fn strings(value: &Json, out: &mut Vec<u8>) {
    match value {
        Json::String(text) => {
            out.extend_from_slice(text.as_bytes());
            out.push(0);
        }
        Json::Array(items) => items.iter().for_each(|item| strings(item, out)),
        Json::Object(members) => members.values().for_each(|value| strings(value, out)),
        _ => {}
    }
}

/// A content, or that it is not there.
fn at_hand(
    read: Result<Vec<u8>, LedgerError>,
    unseen: &mut Vec<String>,
    seq: u64,
) -> Result<Option<Vec<u8>>, ReadError> {
    match read {
        Ok(bytes) => Ok(Some(bytes)),
        Err(LedgerError::NoBlob(_)) => {
            unseen.push(format!("a content of entry {seq} is not there any more"));
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

/// The id that git gives to a file of this content.
fn git_id(content: &[u8]) -> String {
    let mut hash = Sha1::new();
    hash.update(format!("blob {}\0", content.len()));
    hash.update(content);
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
#[path = "carried_tests.rs"]
mod tests;
