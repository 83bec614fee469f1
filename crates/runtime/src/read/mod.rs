//! The reading side: what sessions there are, what happened in one, why, and what its workspace held at a step. All of
//! it comes from the ledger's entries; nothing is printed, and nothing is guessed where the record is silent.

mod ask;
mod board;
mod carried;
mod fold;
mod history;
mod log;
mod near;
mod registers;
mod session;
mod sets;
mod signatures;
mod tally;
mod timeline;
mod trace;
mod why;
mod workspace;

pub use ask::{Ask, Asker, ask, asks};
pub use board::Board;
pub use carried::{Carried, Source, carried};
pub use fold::Node;
pub use history::History;
pub(crate) use history::whole_body;
pub use log::{Filter, Log};
pub use near::entry;
pub use registers::{AutonomyView, Owed, RegistersView};
pub use session::{Closing, SessionLine, SessionView, State, has_learned, opening, resolve, sessions, show};
pub use sets::misnamed_questions;
pub use signatures::{SignedAnswers, last_act, signed_answers, signed_answers_brought};
pub(crate) use tally::Tally;
pub use timeline::{Fate, ROWS_MAX, Row, Show, Timeline};
pub(crate) use trace::of_history;
pub use trace::{Trace, TraceNode, lineage, trace};
pub use why::{Became, Quoted, Said, Why, WhyReason, WhyRuling, why};
pub(crate) use workspace::relative_to;
pub use workspace::{
    At, Behind, ChangedPath, Content, FileDiff, SessionsDiff, Step, Undone, WorkspaceDiff, at, at_path, behind, diff,
    diff_of_two, undone,
};

use flyball_ledger::LedgerError;

/// What can't be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The ledger itself can't be read.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The ledger has no session at all, or none answers to this.
    #[error("no session `{0}` in this ledger")]
    NoSession(String),
    /// Several questions begin so.
    #[error("`{wanted}` could be {}", .candidates.join(", "))]
    Ambiguous {
        /// What was asked for.
        wanted: String,
        /// The ids that it could mean, at most eight.
        candidates: Vec<String>,
    },
    /// The session has no such entry.
    #[error("session {session} has no entry {seq}: its last one is {last}")]
    NoEntry {
        /// The session.
        session: String,
        /// What was asked for.
        seq: u64,
        /// The last entry.
        last: u64,
    },
    /// An entry is there, but is not what it should be.
    #[error("entry {seq} of session {session} can't be read: {what}")]
    Malformed {
        /// The session.
        session: String,
        /// The entry.
        seq: u64,
        /// What is wrong with it.
        what: String,
    },
    /// The path is outside the workspace.
    #[error("`{path}` is not in the workspace `{workspace}`")]
    Outside {
        /// What was asked for.
        path: String,
        /// The workspace.
        workspace: String,
    },
    /// The path was not there at that step.
    #[error("`{path}` was not there at entry {seq}")]
    Absent {
        /// What was asked for.
        path: String,
        /// The step.
        seq: u64,
    },
    /// The path's content at that step is not on record.
    #[error("the content of `{path}` at entry {seq} is not on record: {why}")]
    NotRecorded {
        /// What was asked for.
        path: String,
        /// The step.
        seq: u64,
        /// Why not.
        why: String,
    },
    /// No open question has this id.
    #[error("no open question `{0}`")]
    NoQuestion(String),
}

impl ReadError {
    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            ReadError::Ledger(error) => error.code(),
            ReadError::NoSession(_) => "FB0480",
            ReadError::Ambiguous { .. } => "FB0481",
            ReadError::NoEntry { .. } => "FB0482",
            ReadError::Malformed { .. } => "FB0483",
            ReadError::Outside { .. } => "FB0484",
            ReadError::Absent { .. } => "FB0485",
            ReadError::NotRecorded { .. } => "FB0486",
            ReadError::NoQuestion(_) => "FB0487",
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            ReadError::Ledger(error) => return Some(error.hint()),
            ReadError::NoSession(_) => "`flyball ps` lists the sessions; `--ledger DIR` names another ledger",
            ReadError::Ambiguous { .. } => "give more of the id",
            ReadError::NoEntry { session, .. } => return Some(format!("`flyball log {session}` shows its entries")),
            ReadError::Malformed { session, .. } => {
                return Some(format!("`flyball verify {session}` says whether the record was changed"));
            }
            ReadError::Outside { .. } => "give a path relative to the workspace",
            ReadError::Absent { .. } => "without a path, `flyball at` lists what had changed at the step",
            ReadError::NotRecorded { .. } => "`flyball diff` shows what is on record of it",
            ReadError::NoQuestion(_) => {
                "`flyball asks` lists the open ones; this one may be answered or past its deadline"
            }
        };
        Some(hint.to_owned())
    }
}

/// The reading side's codes, FB0480 to FB0499: code, title, page.
pub static CODES: &[(&str, &str, &str)] = &[
    ("FB0480", "no such session", "\
A session is named by its id, any unique prefix of it, its name, or `@` for the latest. `flyball ps` lists those of this
ledger; `--ledger` or `$FLYBALL_HOME` names another."),
    ("FB0481", "several questions could be meant", "Give more of the id: it must begin only one."),
    ("FB0482", "no such entry", "\
Entries of a session are numbered from its opening on; `flyball log S` shows them. The message says the last one."),
    ("FB0483", "entry can't be read", "\
The entry's bytes are in the ledger, but lack what an entry of its kind holds. `flyball verify` says whether the record was
changed; a newer flyball may have written it."),
    ("FB0484", "path is outside the workspace", "\
Only the workspace is recorded step by step. Name a path relative to it, or an absolute one below it."),
    ("FB0485", "path was not there", "The record says that at this step nothing stood at the path."),
    ("FB0486", "content is not on record", "\
Scratch places are not recorded file by file, files that the session never touched are not copied, and payloads can be
erased. Flyball doesn't guess: what is not on record it does not show."),
    ("FB0487", "no such question", "\
No open question has this id or prefix. It may have been answered, its deadline may have passed, or the program that waited
for it may have ended. `flyball asks` lists the open ones."),
];
