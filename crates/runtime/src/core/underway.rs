//! Calls that were let go on, until the system says what came of them.

use flyball_kernel::Action;
use flyball_sandbox::{Attempt, FileKind};
use std::path::PathBuf;
use std::sync::Arc;

#[derive(Default)]
pub(super) struct Underway {
    pub attempts: Vec<u64>,
    pub touched: Vec<PathBuf>,
    /// Whether it is in the record.
    pub is_recorded: bool,
    /// A directory goes from one of them to the other.
    pub moves: bool,
    pub is_exec: bool,
    /// What stands there afterwards has no other name, or nothing does.
    pub is_alone: bool,
    /// The agent that it starts, where it is the start of one.
    pub agent: Option<Arc<Action>>,
}

/// What a call that changes something changes.
pub(super) fn touched(attempt: &Attempt) -> Vec<PathBuf> {
    match attempt {
        Attempt::Open { path, write: true, .. }
        | Attempt::Make { path, .. }
        | Attempt::Remove { path, .. }
        | Attempt::Symlink { path, .. }
        | Attempt::Truncate { path, .. }
        | Attempt::Metadata { path, .. }
        | Attempt::BindUnix { path } => vec![path.clone()],
        Attempt::Rename { from, to, .. } => vec![from.clone(), to.clone()],
        Attempt::Link { target, path } => vec![target.clone(), path.clone()],
        _ => Vec::new(),
    }
}

pub(super) fn underway(attempt: &Attempt, attempts: Vec<u64>, agent: Option<Arc<Action>>) -> Underway {
    let moves = match attempt {
        Attempt::Rename { kind, exchange, .. } => *kind == FileKind::Directory || *exchange,
        _ => false,
    };
    let is_exec = matches!(attempt, Attempt::Exec { .. });
    let (touched, is_alone) = (touched(attempt), is_alone(attempt));
    Underway { attempts, touched, is_recorded: true, moves, is_exec, is_alone, agent }
}

/// Whether nothing that other names lead to can stand where the call was done.
pub(super) fn is_alone(attempt: &Attempt) -> bool {
    matches!(
        attempt,
        Attempt::Open { write: true, existing: None, .. }
            | Attempt::Make { .. }
            | Attempt::Remove { .. }
            | Attempt::Symlink { .. }
            | Attempt::BindUnix { .. }
    )
}
