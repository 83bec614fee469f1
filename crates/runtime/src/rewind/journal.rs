//! The journal of a rollback: which of two trees is the workspace's layer, whatever dies in between.
//!
//! `SESSION/rollback.journal` stands from before the first change until the rollback is on record. Beside the layer
//! (`workspace/upper`) lies its twin (`workspace/upper.twin`): of an ended session the one that is taken back and then
//! exchanged for it, of a live session the way back.

use crate::past::Past;
use crate::state::State;
use flyball_sandbox::workspace::{self, WorkspaceError};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::path::{Path, PathBuf};

/// The version that this code writes, and the only one that it reads.
const VERSION: u32 = 1;
const NAME: &str = "rollback.journal";

/// A rollback under way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Journal {
    version: u32,
    /// The step to go back to.
    to: u64,
    /// The session's last entry before it.
    since: u64,
    by: String,
    reason: String,
    /// Whether the session runs: then the twin is the way back.
    live: bool,
    /// The twin's inode, once it is whole. Before that nothing was changed.
    twin: Option<u64>,
}

/// What became of a rollback that was cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// The workspace is as it was before.
    Undone,
    /// The workspace is as of the step, and that is on record now.
    Completed,
}

impl Journal {
    pub fn new(live: bool, to: u64, since: u64, by: &str, reason: &str) -> Self {
        Self { version: VERSION, to, since, by: by.to_owned(), reason: reason.to_owned(), live, twin: None }
    }

    pub fn read(dir: &Path) -> Result<Option<Self>, WorkspaceError> {
        let path = dir.join(NAME);
        let damaged = |why: String| WorkspaceError::Journal { path: path.clone(), why };
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(WorkspaceError::Io { doing: "read the journal", path: path.clone(), source }),
        };
        // A later version may mean other things by the same words.
        let version: Version = serde_json::from_slice(&text).map_err(|e| damaged(e.to_string()))?;
        if version.version != VERSION {
            return Err(damaged(format!("version {}", version.version)));
        }
        serde_json::from_slice(&text).map(Some).map_err(|e| damaged(e.to_string()))
    }

    /// Makes the twin of the layer; nothing else is changed.
    pub fn prepare(&mut self, dir: &Path, upper: &Path) -> Result<(), WorkspaceError> {
        let made = (|| {
            self.write(dir)?;
            workspace::drop_twin(&twin(upper))?;
            workspace::twin(upper, &twin(upper))?;
            // Of a live session the twin is what the next start goes back to. The other is no layer before the exchange.
            self.twin = workspace::inode(&twin(upper))?;
            if self.live { self.write(dir) } else { Ok(()) }
        })();
        if made.is_err() {
            let _ = close(dir);
        }
        made
    }

    /// Makes the twin the layer, and the layer the twin.
    pub fn exchange(&self, dir: &Path, upper: &Path) -> Result<(), WorkspaceError> {
        // INVARIANT: the journal tells the two apart before they can be taken for each other.
        self.write(dir)?;
        workspace::exchange(upper, &twin(upper))
    }

    fn write(&self, dir: &Path) -> Result<(), WorkspaceError> {
        let path = dir.join(NAME);
        let text =
            serde_json::to_vec(self).map_err(|e| WorkspaceError::Journal { path: path.clone(), why: e.to_string() })?;
        workspace::write_durably(&path, &text)
    }
}

#[derive(Deserialize)]
struct Version {
    version: u32,
}

/// Where a layer's twin is.
pub(crate) fn twin(upper: &Path) -> PathBuf {
    upper.with_extension("twin")
}

/// Whether a rollback of this session has not come to its end.
pub(crate) fn is_between(dir: &Path) -> bool {
    dir.join(NAME).exists()
}

/// The rollback is on record, or nothing was changed: the journal goes, then the twin.
pub(crate) fn close(dir: &Path) -> Result<(), WorkspaceError> {
    workspace::remove_durably(&dir.join(NAME))?;
    // A twin without a journal is rubbish to everyone: what stays of it is collected at the next start.
    let _ = workspace::drop_twin(&dir.join("workspace/upper.twin"));
    Ok(())
}

/// Goes back to the tree that was the layer before the rollback; nobody has the layer mounted.
pub(crate) fn undo(dir: &Path, upper: &Path) -> Result<(), WorkspaceError> {
    let Some(journal) = Journal::read(dir)? else { return Ok(()) };
    let twin = twin(upper);
    // Of an ended session the twin is the new tree, of a live one the old.
    if let Some(made) = journal.twin
        && (workspace::inode(upper)? == Some(made)) != journal.live
        && workspace::inode(&twin)?.is_some()
    {
        workspace::exchange(upper, &twin)?;
    }
    close(dir)
}

/// Ends a rollback that a crash cut off, if one was. The session is over and its lock held.
pub(crate) fn recover(dir: &Path, past: &mut Past) -> Result<Option<Cut>, crate::past::PastError> {
    let Some(journal) = Journal::read(dir)? else { return Ok(None) };
    let upper = past.capture.layers.upper.clone();
    let is_new = journal.twin.is_some() && workspace::inode(&upper)? == journal.twin;
    if !journal.live && is_new {
        let changes = past.capture.unexplained(&std::sync::Arc::clone(&past.ledger))?;
        if !changes.is_empty() {
            let (found, target) = (past.capture.state.digest(), State::at(&past.ledger, &past.session, journal.to)?);
            let act = json!({ "to": journal.to, "digest": found, "recorded": target.digest(), "paths": changes.len(),
                              "recovered": true, "asked_by": journal.by });
            let observed = json!({ "workspace": { "changes": changes, "state": found } });
            past.record("rollback", &journal.reason, act, Some(observed))?;
        }
        close(dir)?;
        return Ok(Some(Cut::Completed));
    }
    // A live one that came to be on record is over; its layer is what the record says.
    let recorded = journal.live
        && !is_new
        && past.was_rolled_back_after(journal.since)?
        && past.capture.clone().unexplained(&std::sync::Arc::clone(&past.ledger))?.is_empty();
    if recorded {
        close(dir)?;
        return Ok(Some(Cut::Completed));
    }
    undo(dir, &upper)?;
    let act = json!({ "to": journal.to, "phase": "undone", "recovered": true, "asked_by": journal.by });
    past.record("rollback-cut-off", &journal.reason, act, None)?;
    Ok(Some(Cut::Undone))
}
