//! Two records of one program held against each other: what it did under each command, what was said of it and what came of it,
//! and how it all ended.
//!
//! What one command does is compared as a whole: its processes run at once, so that their order is nobody's. Equal actions keep theirs.
//! Below level 5 one thing is not counted: how often a command opened a file again to write on in it. Whoever writes down what it has
//! every so often (a log, a transcript) does so by its own speed.

use super::RerunError;
use crate::replay::{Difference, differ};
use crate::state::State;
use flyball_ledger::{Entry, Filter, Kind, Ledger};
use flyball_sandbox::workspace::Node;
use serde_json::{Map, Value as Json, json};
use std::collections::{BTreeMap, BTreeSet};

/// Of an outcome, what the program sees of it.
const OUTCOME: [&str; 6] = ["exit", "signal", "errno", "status", "unknown", "ok"];

/// What a session did.
pub(crate) struct Done {
    acts: BTreeMap<u64, Act>,
    /// By the act that caused them; 0 for the session itself.
    below: BTreeMap<u64, Vec<u64>>,
    /// The entry that last told of a path.
    told_of: BTreeMap<String, u64>,
    state: State,
    close: Option<(u64, Json)>,
    streams: Option<(u64, Json)>,
}

/// One attempt.
struct Act {
    action: Json,
    ruling: Json,
    /// It was let through, and there is no way back.
    is_final: bool,
    /// What became of it, and the entry that says so: behind all that came of it.
    outcome: (u64, Json),
}

impl Act {
    fn told(&self) -> Json {
        json!({ "action": self.action, "ruling": self.ruling })
    }

    /// With what came of it.
    fn whole(&self) -> String {
        json!([self.told(), self.outcome.1]).to_string()
    }

    fn writes_on(&self) -> bool {
        writes_on(&self.action)
    }
}

impl Done {
    /// Reads it off a session's record.
    pub fn read(ledger: &Ledger, session: &str) -> Result<Self, RerunError> {
        let mut acts: BTreeMap<u64, Act> = BTreeMap::new();
        let mut below: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
        let mut causes: BTreeMap<u64, u64> = BTreeMap::new();
        let mut told_of = BTreeMap::new();
        let (mut close, mut streams, mut last) = (None, None, 0);
        for entry in ledger.entries(session, 1.., Filter::default())? {
            let entry = entry?;
            last = entry.seq;
            if let Some(cause) = entry.cause.first() {
                causes.insert(entry.seq, *cause);
            }
            if matches!(entry.kind, Kind::Checkpoint | Kind::Dispatch | Kind::Question | Kind::Answer) {
                continue;
            }
            let body = ledger.body(&entry)?;
            let of = body.get("of").and_then(Json::as_u64);
            match entry.kind {
                Kind::Attempt => {
                    below.entry(above(&entry, &body, &causes, &acts)).or_default().push(entry.seq);
                    let act = Act {
                        action: action(body),
                        ruling: Json::Null,
                        is_final: false,
                        outcome: (entry.seq, Json::Null),
                    };
                    acts.insert(entry.seq, act);
                }
                // The last one stands: an answer's comes after that of the question.
                Kind::Ruling => {
                    if let Some(act) = of.and_then(|of| acts.get_mut(&of)) {
                        (act.ruling, act.is_final) = (said(&body), is_final(&body));
                    }
                }
                Kind::Outcome => {
                    _ = of.and_then(|of| acts.get_mut(&of)).map(|act| act.outcome = (entry.seq, came(&body)))
                }
                Kind::Observe => {
                    let changes = body.pointer("/workspace/changes").and_then(Json::as_array);
                    for path in changes.into_iter().flatten().filter_map(|c| c.get("path")?.as_str()) {
                        told_of.insert(path.to_owned(), entry.seq);
                    }
                    if let Some(told) = body.get("streams").filter(|_| entry.actor == "supervisor") {
                        streams = Some((entry.seq, told.clone()));
                    }
                }
                Kind::Close => {
                    let told = json!({ "ended_by": body.get("ended_by"), "exit": body.get("exit") });
                    close = Some((entry.seq, told));
                }
                _ => {}
            }
        }
        let state = State::at(ledger, session, last).map_err(|e| RerunError::State(e.to_string()))?;
        Ok(Self { acts, below, told_of, state, close, streams })
    }

    /// How many attempts it has.
    pub fn count(&self) -> u64 {
        self.acts.len() as u64
    }

    /// What was done in this session itself, and could not be undone if it had been done outside: each entry, with its verb. What an
    /// answer from the record stood for is none of it.
    pub fn irreversible(&self) -> Vec<(u64, String)> {
        let text = |act: &Act, at: &str| act.action.pointer(at).and_then(Json::as_str).unwrap_or_default().to_owned();
        let answered = |act: &Act| matches!(text(act, "/surface").as_str(), "http" | "model" | "net");
        let came = |act: &Act| act.outcome.1.as_object().is_some_and(|came| !came.is_empty());
        let done = self.acts.iter().filter(|(_, act)| act.is_final && came(act) && !answered(act));
        done.map(|(seq, act)| (*seq, text(act, "/verb"))).collect()
    }

    /// What passed through the program's streams, by name, and the entry that says so.
    pub fn stream(&self, name: &str) -> Option<(u64, &Json)> {
        let (seq, streams) = self.streams.as_ref()?;
        Some((*seq, streams.get(name)?))
    }
}

/// The act under which another one was done.
fn above(entry: &Entry, body: &Json, causes: &BTreeMap<u64, u64>, acts: &BTreeMap<u64, Act>) -> u64 {
    // What an attempt implies was asked for with it.
    if let Some(batch) = body.get("batch").and_then(Json::as_u64).filter(|batch| acts.contains_key(batch)) {
        return batch;
    }
    let mut at = entry.cause.first().copied();
    while let Some(seq) = at {
        if acts.contains_key(&seq) {
            return seq;
        }
        at = causes.get(&seq).copied().filter(|cause| *cause < seq);
    }
    0
}

/// Whether it opened a file that was there, to write, and left what was in it.
pub(super) fn writes_on(action: &Json) -> bool {
    let attr = |name: &str| action.pointer(&format!("/attrs/{name}")).and_then(Json::as_bool);
    action.get("verb").and_then(Json::as_str) == Some("fs.write")
        && action.get("surface").and_then(Json::as_str) == Some("fs")
        && (attr("create"), attr("truncate")) == (Some(false), Some(false))
}

/// What was attempted, without the numbers of other entries.
pub(super) fn action(mut body: Json) -> Json {
    if let Some(body) = body.as_object_mut() {
        body.remove("batch");
        body.remove("named_by");
    }
    body
}

/// A ruling without the numbers of other entries: the verdict, and by which rules.
fn said(body: &Json) -> Json {
    let rules = body.get("reasons").and_then(Json::as_array).into_iter().flatten();
    let rules: BTreeSet<&str> = rules.filter_map(|reason| reason.get("rule")?.as_str()).collect();
    json!({ "verdict": body.get("verdict"), "rules": rules })
}

fn is_final(body: &Json) -> bool {
    let text = |at: &str| body.pointer(at).and_then(Json::as_str);
    text("/governance/reversibility") == Some("irreversible") && matches!(text("/verdict"), Some("allow" | "modify"))
}

fn came(body: &Json) -> Json {
    let told = OUTCOME.iter().filter_map(|key| Some(((*key).to_owned(), body.get(*key)?.clone())));
    Json::Object(told.collect::<Map<_, _>>())
}

/// What was done, held against each other.
pub(crate) struct Acts {
    /// The first difference, by the number of the recorded entry.
    pub difference: Option<Difference>,
    /// Files that one of both opened once more to write on in them, having done the same before; each time counts.
    pub reopened: u64,
}

/// Holds what was done against each other. `counts`: also how often a file was opened again to write on in it.
pub(crate) fn acts(recorded: &Done, again: &Done, counts: bool) -> Acts {
    let mut found: Option<Difference> = None;
    let mut reopened = 0_u64;
    let mut open = vec![(0, 0)];
    while let Some((was, is)) = open.pop() {
        let none = Vec::new();
        let (were, are) = (recorded.below.get(&was).unwrap_or(&none), again.below.get(&is).unwrap_or(&none));
        let (same, mut missing, mut more) = pairs(recorded, again, were, are);
        if !counts {
            let before = missing.len() + more.len();
            let known: BTreeSet<String> = same
                .iter()
                .filter_map(|(was, _)| recorded.acts.get(was))
                .filter(|act| act.writes_on())
                .map(Act::whole)
                .collect();
            let is_new = |done: &Done, seq: &u64| done.acts.get(seq).is_none_or(|act| !known.contains(&act.whole()));
            missing.retain(|seq| is_new(recorded, seq));
            more.retain(|seq| is_new(again, seq));
            reopened = reopened.saturating_add((before - missing.len() - more.len()) as u64);
        }
        let mut take = |difference: Difference| {
            if found.as_ref().is_none_or(|first| difference.seq < first.seq) {
                found = Some(difference);
            }
        };
        for (was, is) in &same {
            if let (Some(was), Some(is)) = (recorded.acts.get(was), again.acts.get(is))
                && was.outcome.1 != is.outcome.1
            {
                take(differs(was.outcome.0, &was.outcome.1, &is.outcome.1));
            }
        }
        open.extend(same);
        take(match (missing.first(), more.first()) {
            (None, None) => continue,
            (Some(&was), _) => {
                let was_told = recorded.acts.get(&was).map(Act::told).unwrap_or_default();
                let is_told = nearest(&was_told, &more, again);
                differs(was, &was_told, &is_told)
            }
            // What the record has no place for stands where its cause does.
            (None, Some(is)) => {
                let is_told = again.acts.get(is).map(Act::told).unwrap_or_default();
                differs(was.max(1), &Json::Null, &is_told)
            }
        });
    }
    Acts { difference: found, reopened }
}

/// Those that are the same, what is missing, and what is more.
fn pairs(recorded: &Done, again: &Done, were: &[u64], are: &[u64]) -> (Vec<(u64, u64)>, Vec<u64>, Vec<u64>) {
    let told = |done: &Done, seq: &u64| done.acts.get(seq).map(Act::told).unwrap_or_default().to_string();
    let mut waiting: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for seq in are.iter().rev() {
        waiting.entry(told(again, seq)).or_default().push(*seq);
    }
    let (mut same, mut missing) = (Vec::new(), Vec::new());
    for seq in were {
        match waiting.get_mut(&told(recorded, seq)).and_then(Vec::pop) {
            Some(other) => same.push((*seq, other)),
            None => missing.push(*seq),
        }
    }
    let mut more: Vec<u64> = waiting.into_values().flatten().collect();
    more.sort_unstable();
    (same, missing, more)
}

/// Of what was done instead, that which is most like it.
fn nearest(was: &Json, more: &[u64], again: &Done) -> Json {
    let alike = |told: &Json| {
        let same = |at: &str| usize::from(told.pointer(at) == was.pointer(at));
        4 * same("/action/verb") + 2 * same("/action/resource") + same("/action/resource/program")
    };
    let told = more.iter().filter_map(|seq| again.acts.get(seq)).map(Act::told);
    let best = told.enumerate().max_by_key(|(at, told)| (alike(told), usize::MAX - at));
    best.filter(|(_, told)| told.pointer("/action/verb") == was.pointer("/action/verb"))
        .map(|(_, t)| t)
        .unwrap_or_default()
}

/// What a file says apart from what it says of the file system it lies on: by its digest, another one.
type Index<'a> = &'a dyn Fn(u64, &str) -> Result<String, RerunError>;

/// How the workspace stands at the end: with what is in its files, where `index` reads git's; otherwise which paths changed, and to what kind.
pub(crate) fn workspaces(
    recorded: &Done,
    again: &Done,
    index: Option<Index<'_>>,
) -> Result<Option<Difference>, RerunError> {
    let told = |done: &Done| -> Result<BTreeMap<String, Json>, RerunError> {
        let of = |path: &str, node| -> Result<Json, RerunError> {
            let mut told = json!(node);
            let Some(index) = index else { return Ok(told.get("kind").cloned().unwrap_or_default()) };
            if let Node::File { digest, .. } = &node
                && (path == ".git/index" || path.ends_with("/.git/index"))
            {
                let same = index(done.told_of.get(path).copied().unwrap_or(1), digest)?;
                told.as_object_mut().and_then(|told| told.insert("digest".to_owned(), json!(same)));
            }
            Ok(told)
        };
        done.state.changed().map(|(path, node)| Ok((path.to_owned(), of(path, node)?))).collect()
    };
    let (was, is) = (told(recorded)?, told(again)?);
    let paths: BTreeSet<&String> = was.keys().chain(is.keys()).collect();
    let differing = paths.into_iter().filter(|path| was.get(*path) != is.get(*path));
    // Of what is only there now the record knows nothing until its end.
    let end = recorded.close.as_ref().map_or(1, |(seq, _)| *seq);
    let seq = |path: &String| recorded.told_of.get(path).copied().unwrap_or(end);
    let Some(first) = differing.min_by_key(|path| (seq(path), path.len())) else { return Ok(None) };
    let at = |map: &BTreeMap<String, Json>| map.get(first).cloned().unwrap_or_default();
    let (recorded, recomputed) = (at(&was), at(&is));
    Ok(Some(Difference { seq: seq(first), field: format!("/workspace/{first}"), recorded, recomputed }))
}

/// Bytes of an output that are shown around its first difference.
const SHOWN_BYTES: usize = 60;

/// What the program wrote to its output and errors.
pub(crate) fn outputs(ledger: &Ledger, recorded: &Done, again: &Done) -> Result<Option<Difference>, RerunError> {
    for name in ["stdout", "stderr"] {
        let bytes = |done: &Done| -> Result<Vec<u8>, RerunError> {
            match done.stream(name) {
                Some((_, told)) if !told.is_null() => Ok(ledger.payload_bytes(told)?),
                _ => Err(RerunError::Record {
                    seq: 1,
                    why: format!("what the program wrote to {name} is not on record"),
                }),
            }
        };
        let (was, is) = (bytes(recorded)?, bytes(again)?);
        let at = was.iter().zip(&is).position(|(a, b)| a != b);
        let Some(at) = at.or_else(|| (was.len() != is.len()).then(|| was.len().min(is.len()))) else { continue };
        let shown = |bytes: &[u8]| {
            let from = at.saturating_sub(SHOWN_BYTES / 2);
            let part = bytes.get(from..bytes.len().min(from + SHOWN_BYTES)).unwrap_or_default();
            json!({ "at": at, "text": String::from_utf8_lossy(part) })
        };
        let seq = recorded.stream(name).map_or(1, |(seq, _)| seq);
        let field = format!("/streams/{name}");
        return Ok(Some(Difference { seq, field, recorded: shown(&was), recomputed: shown(&is) }));
    }
    Ok(None)
}

/// How the program ended.
pub(crate) fn ends(recorded: &Done, again: &Done) -> Option<Difference> {
    let (seq, was) = recorded.close.as_ref()?;
    let is = again.close.as_ref().map(|(_, told)| told.clone()).unwrap_or_default();
    (*was != is).then(|| differs(*seq, was, &is))
}

fn differs(seq: u64, recorded: &Json, again: &Json) -> Difference {
    let (field, recorded, recomputed) = differ::first(recorded, again);
    Difference { seq, field, recorded, recomputed }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use flyball_ledger::Draft;

    #[test]
    fn what_cannot_be_undone_is_what_was_let_through_and_done_here() {
        let dir = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(dir.path()).unwrap();
        let stream = ledger.stream("s").unwrap();
        let append = |kind, body: Json| {
            let actor = "a".to_owned();
            stream.append(Draft { at_ns: 1, kind, actor, cause: Vec::new(), body }).unwrap()
        };
        append(Kind::Open, json!({}));
        let mut expected = Vec::new();
        for (verb, surface, reversibility, verdict, outcome, counts) in [
            ("git.push", "exec", "irreversible", "allow", json!({ "ok": true }), true),
            ("git.push", "exec", "irreversible", "modify", json!({ "exit": 1 }), true),
            // Refused: also where somebody closed it as if it might have been done.
            ("git.push", "exec", "irreversible", "deny", json!({ "ok": null, "unknown": true }), false),
            ("git.push", "exec", "irreversible", "hold", json!({ "ok": false }), false),
            ("git.push", "exec", "irreversible", "allow", json!({ "withdrawn": "not carried out" }), false),
            ("fs.write", "fs", "reversible", "allow", json!({ "ok": true }), false),
            ("http.write", "http", "irreversible", "allow", json!({ "status": 200 }), false),
            ("fs.delete", "fs", "irreversible", "allow", json!({ "ok": true }), true),
        ] {
            let of = append(Kind::Attempt, json!({ "verb": verb, "surface": surface }));
            let governance = json!({ "reversibility": reversibility });
            append(Kind::Ruling, json!({ "of": of, "verdict": verdict, "governance": governance, "reasons": [] }));
            let mut outcome = outcome;
            outcome.as_object_mut().unwrap().insert("of".to_owned(), of.into());
            append(Kind::Outcome, outcome);
            if counts {
                expected.push((of, verb.to_owned()));
            }
        }
        ledger.flush().unwrap();
        assert_eq!(Done::read(&ledger, "s").unwrap().irreversible(), expected);
    }
}
