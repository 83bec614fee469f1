//! A session's stream in memory, and which entries belong to which attempt.

use super::ReadError;
use crate::refusal;
use flyball_kernel::Action;
use flyball_ledger::{Entry, Kind, Ledger, LedgerError};
use serde_json::Value as Json;
use std::collections::{BTreeMap, BTreeSet};

/// A session's entries, oldest first, with an index of its attempts.
#[derive(Clone, Debug)]
pub struct History {
    /// The session's id.
    pub session: String,
    entries: Vec<Entry>,
    /// Entries of each attempt's life, the attempt itself first, by the attempt's number.
    lives: BTreeMap<u64, Vec<usize>>,
    workspace: String,
}

impl History {
    /// Reads a session's stream.
    ///
    /// # Errors
    /// [`ReadError`] when the ledger can't be read or the session is not there.
    pub fn read(ledger: &Ledger, session: &str) -> Result<Self, ReadError> {
        let mut out = Vec::new();
        for entry in ledger.entries(session, .., flyball_ledger::Filter::default())? {
            let mut entry = entry?;
            entry.body = whole_body(ledger, &entry)?;
            out.push(entry);
        }
        Ok(Self::new(session, out))
    }

    /// Over entries that were read already.
    pub(crate) fn new(session: &str, entries: Vec<Entry>) -> Self {
        let mut lives = BTreeMap::<u64, Vec<usize>>::new();
        for (at, entry) in entries.iter().enumerate() {
            if let Some(of) = attempt_of(entry) {
                lives.entry(of).or_default().push(at);
            }
        }
        let workspace = entries
            .iter()
            .find(|e| e.kind == Kind::Open)
            .and_then(|e| e.body.get("workspace"))
            .and_then(Json::as_str)
            .unwrap_or_default()
            .to_owned();
        Self { session: session.to_owned(), entries, lives, workspace }
    }

    /// All entries, oldest first.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The workspace's path, as the opening says.
    #[must_use]
    pub fn workspace(&self) -> &str {
        &self.workspace
    }

    /// The last entry's number.
    #[must_use]
    pub fn last(&self) -> u64 {
        self.entries.last().map(|e| e.seq).unwrap_or_default()
    }

    /// The entry of that number.
    ///
    /// # Errors
    /// [`ReadError::NoEntry`] when there is none.
    pub fn entry(&self, seq: u64) -> Result<&Entry, ReadError> {
        self.find(seq).ok_or_else(|| ReadError::NoEntry { session: self.session.clone(), seq, last: self.last() })
    }

    pub(super) fn find(&self, seq: u64) -> Option<&Entry> {
        let at = self.entries.binary_search_by_key(&seq, |e| e.seq).ok()?;
        self.entries.get(at)
    }

    /// The attempt that an entry belongs to, if it belongs to one.
    pub(super) fn attempt_of(&self, seq: u64) -> Option<u64> {
        let of = attempt_of(self.find(seq)?)?;
        self.find(of).is_some_and(|e| e.kind == Kind::Attempt).then_some(of)
    }

    /// Entries of an attempt's life: itself, rulings, questions, answers, dispatch, outcome.
    pub(crate) fn life(&self, of: u64) -> impl DoubleEndedIterator<Item = &Entry> {
        self.lives.get(&of).into_iter().flatten().filter_map(|at| self.entries.get(*at))
    }

    /// The numbers of all attempts, ascending.
    pub(super) fn attempts(&self) -> impl Iterator<Item = u64> {
        self.lives.keys().copied().filter(|of| self.find(*of).is_some_and(|e| e.kind == Kind::Attempt))
    }

    /// The action that an attempt's entry holds.
    pub(super) fn action(&self, of: u64) -> Option<Action> {
        serde_json::from_value(self.find(of)?.body.clone()).ok()
    }

    /// The verdict that stands last on an attempt.
    #[must_use]
    pub fn verdict(&self, of: u64) -> Option<&str> {
        self.life(of).rev().filter(|e| e.kind == Kind::Ruling).find_map(|e| e.body.get("verdict")?.as_str())
    }

    /// An entry in one line, for people.
    #[must_use]
    pub fn say(&self, entry: &Entry) -> String {
        say(&self.workspace, entry, attempt_of(entry).and_then(|of| self.find(of)))
    }

    /// Questions that nobody has settled: the last question entry of each attempt that still waits.
    pub(super) fn open_questions(&self) -> Vec<&Entry> {
        let mut open = BTreeMap::new();
        for entry in &self.entries {
            let Some(of) = attempt_of(entry) else { continue };
            match entry.kind {
                Kind::Question => {
                    open.insert(of, entry);
                }
                Kind::Ruling if entry.body.get("verdict").and_then(Json::as_str) != Some("hold") => {
                    open.remove(&of);
                }
                Kind::Outcome | Kind::Dispatch => {
                    open.remove(&of);
                }
                _ => {}
            }
        }
        open.into_values().collect()
    }
}

/// An entry in one line, for people; of what speaks of an attempt, with that attempt.
#[must_use]
pub fn say(workspace: &str, entry: &Entry, attempt: Option<&Entry>) -> String {
    let body = &entry.body;
    let text = |key: &str| body.get(key).and_then(Json::as_str).unwrap_or_default();
    let about = || attempt.map(|attempt| say_attempt(workspace, attempt)).unwrap_or_default();
    let said = match entry.kind {
        Kind::Attempt => say_attempt(workspace, entry),
        Kind::Ruling => {
            let rules: Vec<&str> = body
                .get("reasons")
                .and_then(Json::as_array)
                .into_iter()
                .flatten()
                .filter_map(|r| r.get("rule")?.as_str())
                .collect();
            let of = body.get("of").and_then(Json::as_u64).unwrap_or_default();
            let by = if rules.is_empty() { String::new() } else { format!(" by {}", rules.join(", ")) };
            format!("{} {of}{by}", text("verdict"))
        }
        Kind::Dispatch => format!("began: {}", about()),
        Kind::Outcome => format!("{}: {}", say_outcome(body), about()),
        Kind::Question => format!("asks {}: {}", people(body), about()),
        Kind::Answer => format!("{} by {}: {}", text("verdict"), text("by"), quote_or_nothing(text("reason"))),
        Kind::Intervention => {
            let to = body.get("to").and_then(Json::as_u64).map(|to| format!(" to {to}")).unwrap_or_default();
            format!("{}{to} by {}{}", text("act"), text("by"), because(text("reason")))
        }
        Kind::Open => {
            let argv: Vec<&str> =
                body.get("argv").and_then(Json::as_array).into_iter().flatten().filter_map(Json::as_str).collect();
            format!("`{}` in {}", argv.join(" "), text("workspace"))
        }
        Kind::Observe if body.get("shared").is_some() => {
            let registers = body.get("registers").and_then(Json::as_array);
            let said = registers.into_iter().flatten().filter_map(|r| {
                let refused = if r.get("made")?.as_bool()? { "" } else { ", and no more can be taken" };
                Some(format!("{} is at {}{refused}", r.get("register")?.as_str()?, r.get("value")?))
            });
            said.collect::<Vec<_>>().join("; ")
        }
        Kind::Observe if body.get("labelled").is_some() => {
            let count = body.get("labelled").and_then(Json::as_object).map_or(0, serde_json::Map::len);
            format!("{count} files carry labels of earlier sessions")
        }
        Kind::Observe if body.get("snapshot").is_some() => {
            let before = body.pointer("/snapshot/before").and_then(Json::as_u64).unwrap_or_default();
            format!("the point just before entry {before}: `flyball rollback` goes to {}", entry.seq)
        }
        Kind::Observe if body.get("contract").is_some() => {
            let is = body.pointer("/contract/holds").and_then(Json::as_bool) == Some(true);
            let name = body.pointer("/contract/contract").and_then(Json::as_str).unwrap_or_default();
            format!("contract {name} {}", if is { "holds" } else { "does not hold" })
        }
        Kind::Observe if body.get("contract_command").is_some() => {
            let text = |key: &str| body.pointer(&format!("/contract_command/{key}")).and_then(Json::as_str);
            let argv = body.pointer("/contract_command/argv").and_then(Json::as_array);
            let argv: Vec<&str> = argv.into_iter().flatten().filter_map(Json::as_str).collect();
            let what = text("because").map(|because| format!(": {because}")).unwrap_or_default();
            format!("contract {} ran `{}`{what}", text("contract").unwrap_or_default(), argv.join(" "))
        }
        Kind::Observe if body.get("attestation").is_some() => "attested".to_owned(),
        Kind::Observe if body.get("elsewhere").is_some() => {
            let told =
                |key: &str| body.pointer(&format!("/elsewhere/{key}")).and_then(Json::as_str).unwrap_or_default();
            format!("in session {}: {} {}", told("stream"), told("phase"), told("action/verb"))
        }
        Kind::Observe => {
            let changes = body.pointer("/workspace/changes").and_then(Json::as_array);
            let paths: Vec<&str> = changes.into_iter().flatten().filter_map(|c| c.get("path")?.as_str()).collect();
            say_paths(&paths)
        }
        Kind::Alert => format!("{}: {}", text("alert"), text("detail")),
        Kind::Close => {
            let exit = body.get("exit").and_then(Json::as_i64).map(|n| format!(", exit {n}")).unwrap_or_default();
            format!("ended by {}{exit}", text("ended_by"))
        }
        _ => String::new(),
    };
    short_paths(workspace, &said)
}

fn say_attempt(workspace: &str, entry: &Entry) -> String {
    match serde_json::from_value::<Action>(entry.body.clone()) {
        Ok(action) => short_paths(workspace, refusal::say(&action).trim_end()),
        // An action of a newer vocabulary still has its verb.
        Err(_) => entry.body.get("verb").and_then(Json::as_str).unwrap_or("an unreadable action").to_owned(),
    }
}

/// Paths below a workspace said relative to it.
pub(super) fn short_paths(workspace: &str, text: &str) -> String {
    if workspace.is_empty() || workspace == "/" {
        return text.to_owned();
    }
    text.replace(&format!("{workspace}/"), "")
}

/// An entry's body in full. An erased payload leaves its commitment, which is what there is to show.
pub(crate) fn whole_body(ledger: &Ledger, entry: &Entry) -> Result<Json, LedgerError> {
    match ledger.body(entry) {
        Err(LedgerError::NoBlob(_)) => Ok(entry.body.clone()),
        other => other,
    }
}

/// The attempt that an entry speaks of: its own number for an attempt, else what it names.
pub(super) fn attempt_of(entry: &Entry) -> Option<u64> {
    match entry.kind {
        Kind::Attempt => Some(entry.seq),
        Kind::Ruling | Kind::Dispatch | Kind::Outcome | Kind::Question | Kind::Answer => entry.body.get("of")?.as_u64(),
        _ => None,
    }
}

/// An outcome's body in a word or two.
pub(super) fn say_outcome(body: &Json) -> String {
    let number = |key: &str| body.get(key).and_then(Json::as_i64);
    if let Some(why) = body.get("withdrawn").and_then(Json::as_str) {
        return format!("not carried out ({why})");
    }
    if body.get("unknown").and_then(Json::as_bool) == Some(true) {
        return "outcome unknown".to_owned();
    }
    if let Some(exit) = number("exit") {
        return format!("exit {exit}");
    }
    if let Some(signal) = number("signal") {
        return format!("ended by signal {signal}");
    }
    match (body.get("ok").and_then(Json::as_bool), number("errno")) {
        (Some(true), _) => "done".to_owned(),
        (_, Some(errno)) => {
            let errno = i32::try_from(errno).unwrap_or_default();
            format!("failed ({})", std::io::Error::from_raw_os_error(errno))
        }
        _ => "failed".to_owned(),
    }
}

fn say_paths(paths: &[&str]) -> String {
    let unique: BTreeSet<&str> = paths.iter().copied().collect();
    let shown: Vec<&str> = unique.iter().copied().take(3).collect();
    match unique.len() {
        0 => "workspace unchanged".to_owned(),
        n if n > shown.len() => format!("changed {} and {} more", shown.join(", "), n - shown.len()),
        _ => format!("changed {}", shown.join(", ")),
    }
}

fn people(body: &Json) -> String {
    let who: Vec<&str> =
        body.get("who").and_then(Json::as_array).into_iter().flatten().filter_map(Json::as_str).collect();
    if who.is_empty() { "nobody".to_owned() } else { who.join(", ") }
}

fn because(reason: &str) -> String {
    if reason.is_empty() { String::new() } else { format!(": \"{reason}\"") }
}

fn quote_or_nothing(reason: &str) -> String {
    if reason.is_empty() { "no reason given".to_owned() } else { format!("\"{reason}\"") }
}
