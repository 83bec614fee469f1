//! Which sessions there are and how they stand.

use super::board::Board;
use super::fold::Tree;
use super::history::{say, whole_body};
use super::registers::Levelled;
use super::tally::Tally;
use super::{History, ReadError};
use crate::clock::rfc3339;
use crate::gate::Counts;
use crate::replay::{self, Levels};
use flyball_kernel::analysis::{SessionCoverage, session_coverage};
use flyball_kernel::{Charter, Sources};
use flyball_ledger::{Entry, Filter, Kind, Ledger, LedgerError};
use serde::Serialize;
use serde_json::Value as Json;
use std::collections::BTreeMap;

/// How a session stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Its program runs.
    Running,
    /// A person stopped its processes.
    Paused,
    /// It runs, and something in it waits for an answer.
    Waiting,
    /// It was closed.
    Ended,
    /// Its supervisor is gone and it was never closed.
    Dead,
}

impl State {
    /// Its name in output.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            State::Running => "running",
            State::Paused => "paused",
            State::Waiting => "waiting",
            State::Ended => "ended",
            State::Dead => "dead",
        }
    }

    /// Whether a supervisor holds it.
    #[must_use]
    pub fn is_live(self) -> bool {
        matches!(self, State::Running | State::Paused | State::Waiting)
    }
}

/// A session in a list.
#[derive(Clone, Debug, Serialize)]
pub struct SessionLine {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Who acts in it.
    pub agent: String,
    /// How it stands.
    pub state: State,
    /// Whether a person or the boundary took all rights from it.
    pub quarantined: bool,
    /// What became of its attempts.
    #[serde(flatten)]
    pub counts: Counts,
    /// Open questions.
    pub questions: usize,
    /// When the first of them is answered for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deadline: Option<String>,
    /// When it was opened.
    pub since: String,
    /// The folder that it works in.
    pub workspace: String,
}

/// A session in full.
#[derive(Clone, Debug, Serialize)]
pub struct SessionView {
    /// As in a list.
    #[serde(flatten)]
    pub line: SessionLine,
    /// What was run.
    pub argv: Vec<String>,
    /// Where it started.
    pub cwd: String,
    /// The supervisor's process.
    pub pid: Option<i64>,
    /// Flyball's version.
    pub version: String,
    /// The charter's digest.
    pub charter: String,
    /// Layers that were missing: accepted ones, and those that something as good stood in for.
    pub weaker: Vec<String>,
    /// What this run does not cover.
    pub uncovered: Vec<String>,
    /// What becomes of each rule's actions in this very session; nothing where its charter can't be compiled any more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub coverage: Option<SessionCoverage>,
    /// Whether it runs under a learning charter: what stays inside is let through, whatever the rules say.
    pub learning: bool,
    /// Paths of the workspace that stand changed at the end.
    pub changed_files: usize,
    /// Refusals by rule, the most frequent first.
    pub refusals: Vec<RuleCount>,
    /// What people did to it.
    pub interventions: Vec<Act>,
    /// What became of its contracts, once it has ended.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub contracts: Vec<crate::ContractResult>,
    /// Its alerts, in words.
    pub alerts: Vec<String>,
    /// What it has counted, owes and carries; nothing where neither its supervisor nor its close tells.
    pub registers: Option<super::RegistersView>,
    /// How it ended, if it did.
    pub close: Option<Closing>,
    /// Entries.
    pub entries: usize,
    /// The highest replay level that the record supports, and what stands in the way of those above; nothing where the record is
    /// too long to be looked through by the way.
    pub replay: Option<Levels>,
}

/// How often a rule refused.
#[derive(Clone, Debug, Serialize)]
pub struct RuleCount {
    /// The rule.
    pub rule: String,
    /// How often.
    pub count: u64,
    /// The last entry that it refused.
    pub last: u64,
}

/// What a person did to a session.
#[derive(Clone, Debug, Serialize)]
pub struct Act {
    /// Its entry.
    pub seq: u64,
    /// When.
    pub at: String,
    /// What.
    pub act: String,
    /// Who.
    pub by: String,
    /// Why.
    pub reason: String,
    /// The step gone back to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<u64>,
    /// How far it came: `begun`, `done`, `failed`, or `undone` after a crash.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<String>,
}

/// How a session ended.
#[derive(Clone, Debug, Serialize)]
pub struct Closing {
    /// When.
    pub at: String,
    /// `program`, `person`, `charter` or `error`.
    pub ended_by: String,
    /// The program's exit code.
    pub exit: Option<i64>,
    /// The signal that ended it.
    pub signal: Option<i64>,
    /// The replay level that this run can reach.
    pub replay_level: Option<i64>,
    /// Whether its supervisor died, and a later start closed it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub recovered: bool,
}

/// Every session of the ledger, the latest first.
///
/// # Errors
/// [`ReadError`] when the ledger can't be read.
pub fn sessions(ledger: &Ledger) -> Result<Vec<SessionLine>, ReadError> {
    let mut board = Board::default();
    board.refresh(ledger)?;
    Ok(board.lines())
}

/// The id of the session that is meant: an id, a unique prefix of one, a name (the latest of that name), `@` (the latest).
///
/// # Errors
/// [`ReadError::NoSession`], or the ledger's own when none or several answer to it.
pub fn resolve(ledger: &Ledger, wanted: &str) -> Result<String, ReadError> {
    if wanted != "@" {
        return ledger.resolve(wanted).map_err(|error| match error {
            LedgerError::NoStream(_) => ReadError::NoSession(wanted.chars().take(80).collect()),
            other => other.into(),
        });
    }
    let latest = ledger.streams()?.into_iter().filter(|s| s.opened_at_ns.is_some()).max_by_key(|s| s.opened_at_ns);
    latest.map(|s| s.id).ok_or_else(|| ReadError::NoSession(wanted.to_owned()))
}

/// The entry that opened a session, body in full.
///
/// # Errors
/// [`ReadError`] when the ledger can't be read or the session has none.
pub fn opening(ledger: &Ledger, session: &str) -> Result<Entry, ReadError> {
    let none = || ReadError::Malformed { session: session.to_owned(), seq: 0, what: "it has no opening".to_owned() };
    find_opening(ledger, session)?.ok_or_else(none)
}

fn find_opening(ledger: &Ledger, session: &str) -> Result<Option<Entry>, ReadError> {
    let openings = Filter { kinds: vec![Kind::Open], ..Filter::default() };
    let Some(opening) = ledger.entries(session, .., openings)?.next().transpose()? else { return Ok(None) };
    Ok(Some(Entry { body: whole_body(ledger, &opening)?, ..opening }))
}

/// The workspace's path, as the opening says; nothing of a stream that no session opened.
pub(super) fn workspace(ledger: &Ledger, session: &str) -> Result<String, ReadError> {
    Ok(find_opening(ledger, session)?.map(|opening| text(&opening.body, "workspace")).unwrap_or_default())
}

/// Whether a session ran under a learning charter: its changes were let through, whatever the rules say.
///
/// # Errors
/// As for [`opening`].
pub fn has_learned(ledger: &Ledger, session: &str) -> Result<bool, ReadError> {
    Ok(opening(ledger, session)?.body.get("learning").and_then(Json::as_bool).unwrap_or_default())
}

/// A session in full.
///
/// # Errors
/// [`ReadError`] when the ledger can't be read or the session is not there.
pub fn show(ledger: &Ledger, session: &str) -> Result<SessionView, ReadError> {
    let open = opening(ledger, session)?;
    let mut seen = Seen::default();
    for entry in ledger.entries(session, .., Filter::default())? {
        let mut entry = entry?;
        entry.body = whole_body(ledger, &entry)?;
        seen.take(entry)?;
    }
    let Seen { tally, tree, refusals, told, contracts, autonomy, charter, close, entries } = seen;
    let line = tally.line(session, ledger.is_owned(session)).ok_or_else(|| ReadError::NoSession(session.to_owned()))?;
    let registers = super::registers::view(ledger, session, close.as_ref(), line.state.is_live(), &autonomy);
    let of_kind = |kind: Kind| told.iter().filter(move |entry| entry.kind == kind);
    let workspace = line.workspace.clone();
    Ok(SessionView {
        line,
        registers,
        argv: strings(&open.body, "argv"),
        cwd: text(&open.body, "cwd"),
        pid: open.body.get("pid").and_then(Json::as_i64),
        version: text(&open.body, "version"),
        charter: open.body.pointer("/charter/digest").and_then(Json::as_str).unwrap_or_default().to_owned(),
        weaker: strings(&open.body, "weaker"),
        learning: open.body.get("learning").and_then(Json::as_bool).unwrap_or_default(),
        coverage: coverage(charter.as_ref(), &open.body),
        uncovered: strings(close.as_ref().map_or(&open.body, |close| &close.body), "uncovered"),
        changed_files: tree.changed().count(),
        refusals: refusals.ranked(),
        interventions: of_kind(Kind::Intervention).map(intervention).collect(),
        contracts,
        alerts: of_kind(Kind::Alert).map(|alert| say(&workspace, alert, None)).collect(),
        close: close.as_ref().map(closing),
        entries,
        replay: if entries <= SURVEYED_MAX { Some(replay::levels(ledger, session)?) } else { None },
    })
}

/// Entries that are looked through by the way: in about a second.
const SURVEYED_MAX: usize = 100_000;

/// What is gathered of a session's entries, which are read one by one: there may be more than fit in memory.
#[derive(Default)]
struct Seen {
    tally: Tally,
    tree: Tree,
    refusals: Refusals,
    /// People's acts and alerts.
    told: Vec<Entry>,
    /// Of each contract what was found last.
    contracts: Vec<crate::ContractResult>,
    autonomy: BTreeMap<String, Levelled>,
    /// The files of the charter that was taken up last.
    charter: Option<Json>,
    close: Option<Entry>,
    entries: usize,
}

impl Seen {
    fn take(&mut self, mut entry: Entry) -> Result<(), ReadError> {
        self.entries += 1;
        self.tally.take(&entry);
        self.tree.take(&entry, u64::MAX)?;
        self.autonomy.extend(super::registers::levelled(&entry));
        match entry.kind {
            Kind::Ruling => self.refusals.take(&entry),
            Kind::Observe => self.contract(&entry),
            Kind::Charter => self.charter = entry.body.get_mut("files").map(Json::take),
            Kind::Intervention | Kind::Alert => self.told.push(entry),
            Kind::Close => self.close = Some(entry),
            _ => {}
        }
        Ok(())
    }

    fn contract(&mut self, entry: &Entry) {
        let told = entry.body.get("contract").and_then(|told| serde_json::from_value(told.clone()).ok());
        let Some(result): Option<crate::ContractResult> = told else { return };
        match self.contracts.iter_mut().find(|earlier| earlier.contract == result.contract) {
            Some(earlier) => *earlier = result,
            None => self.contracts.push(result),
        }
    }
}

/// What becomes of each rule's actions, by the charter in force and what the session has and lacks.
fn coverage(later: Option<&Json>, open: &Json) -> Option<SessionCoverage> {
    // A charter that was taken up later is in force.
    let sources = later.or_else(|| open.pointer("/charter/files"))?;
    let sources: Sources = serde_json::from_value(sources.clone()).ok()?;
    let (charter, _) = Charter::compile(&sources).ok()?;
    Some(session_coverage(&charter, &crate::coverage::doors(open)))
}

/// The attempt of the same call that implied this one. The gate names a call's first attempt as the last cause of the
/// others, right after which they stand; an exec that merely is the process' own has had its dispatch before.
pub(super) fn implied_by(history: &History, of: u64) -> Option<u64> {
    let first = *history.find(of)?.cause.last()?;
    if history.find(first)?.kind != Kind::Attempt {
        return None;
    }
    let begun = history.life(first).find(|e| e.kind == Kind::Dispatch || e.kind == Kind::Outcome).map(|e| e.seq);
    let settled = history.life(first).find(|e| e.kind == Kind::Question).map(|e| e.seq);
    [begun, settled].into_iter().flatten().all(|seq| seq > of).then_some(first)
}

/// By rule how often it refused, and the last entry that it refused.
#[derive(Default)]
struct Refusals(BTreeMap<String, (u64, u64)>);

impl Refusals {
    fn take(&mut self, ruling: &Entry) {
        if ruling.body.get("verdict").and_then(Json::as_str) != Some("deny") {
            return;
        }
        let of = ruling.body.get("of").and_then(Json::as_u64).unwrap_or(ruling.seq);
        for rule in ruling.body.get("reasons").and_then(Json::as_array).into_iter().flatten() {
            let count = self.0.entry(text(rule, "rule")).or_default();
            *count = (count.0 + 1, of);
        }
    }

    fn ranked(self) -> Vec<RuleCount> {
        let mut out: Vec<RuleCount> =
            self.0.into_iter().map(|(rule, (count, last))| RuleCount { rule, count, last }).collect();
        out.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.rule.cmp(&b.rule)));
        out
    }
}

pub(super) fn intervention(entry: &Entry) -> Act {
    Act {
        seq: entry.seq,
        at: rfc3339(entry.at_ns),
        act: text(&entry.body, "act"),
        by: text(&entry.body, "by"),
        reason: text(&entry.body, "reason"),
        to: entry.body.get("to").and_then(Json::as_u64),
        phase: entry.body.get("phase").and_then(Json::as_str).map(str::to_owned),
    }
}

fn closing(entry: &Entry) -> Closing {
    let number = |key: &str| entry.body.get(key).and_then(Json::as_i64);
    Closing {
        at: rfc3339(entry.at_ns),
        ended_by: text(&entry.body, "ended_by"),
        exit: number("exit"),
        signal: number("signal"),
        replay_level: number("replay_level"),
        recovered: entry.body.get("recovered").and_then(Json::as_bool).unwrap_or_default(),
    }
}

pub(super) fn text(body: &Json, key: &str) -> String {
    body.get(key).and_then(Json::as_str).unwrap_or_default().to_owned()
}

pub(super) fn strings(body: &Json, key: &str) -> Vec<String> {
    let list = body.get(key).and_then(Json::as_array).into_iter().flatten();
    list.map(|v| v.as_str().map_or_else(|| v.to_string(), str::to_owned)).collect()
}
