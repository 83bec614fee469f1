//! What a read of labelled data makes of files that the session holds open for writing: their descriptors get bytes without
//! a call that anybody is asked about.
//!
//! INVARIANT: before a read that taints goes on, every file that may be open for writing carries the label, and whatever is
//! found changed afterwards carries it as well.

use super::{BarrierError, Core};
use crate::gate::GateError;
use crate::state::Change;
use crate::translate;
use flyball_kernel::{Action, ActionError, Resource, Surface};
use flyball_sandbox::workspace::Node;
use flyball_sandbox::{Attempt, FileKind};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Files beyond the workspace that a session wrote to, and remembers; with more, nothing that is labelled is read any more.
const WRITTEN_MAX: usize = 16_384;

/// What was written to, as far as only this remembers it.
#[derive(Debug, Default)]
pub(super) struct Written {
    /// Paths beyond the workspace: nobody can tell whether one is still open.
    beyond: BTreeSet<PathBuf>,
    pub(super) is_full: bool,
    /// The labels that were followed.
    pub(super) tainted: BTreeSet<String>,
}

impl Written {
    /// A call wrote to this path, or gave it to a file.
    pub fn note(&mut self, path: &Path, workspace: &Path) {
        if path.starts_with(workspace) {
            return;
        }
        if self.beyond.len() < WRITTEN_MAX {
            self.beyond.insert(path.to_path_buf());
        } else {
            self.is_full |= !self.beyond.contains(path);
        }
    }

    /// What was written to below one path may stand below another now.
    pub fn moved(&mut self, from: &Path, to: &Path, workspace: &Path) {
        let below = |path: &PathBuf| path.strip_prefix(from).ok().map(|rest| to.join(rest));
        let new: Vec<PathBuf> = self.beyond.iter().filter_map(below).collect();
        for path in new {
            self.note(&path, workspace);
        }
    }
}

impl Core {
    /// Labels what is open for writing with what taints the session since the last time.
    pub(super) fn follow_taint(&mut self) -> Result<(), BarrierError> {
        let taint = self.gate.taint();
        if taint.is_subset(&self.written.tainted) {
            self.written.tainted = taint;
            return Ok(());
        }
        // Files that came with a moved folder are known by their new names after it.
        self.barrier(&[])?;
        if self.written.is_full {
            return Err(
                GateError::Refused(format!("more than {WRITTEN_MAX} files were written beyond the workspace")).into()
            );
        }
        let open = self.capture.held_open();
        self.gate.label_files(open.iter().chain(&self.written.beyond).map(|path| translate::text(path)))?;
        self.written.tainted = taint;
        Ok(())
    }

    /// Labels what is found changed while the session is tainted: through a descriptor, where no call said so.
    pub(super) fn label_changes<'c>(&mut self, changes: impl IntoIterator<Item = &'c Change>) -> Result<(), GateError> {
        if self.written.tainted.is_empty() {
            return Ok(());
        }
        let files = changes.into_iter().filter(|c| matches!(c.node, Node::File { .. } | Node::Other));
        let paths: Vec<String> =
            files.map(|c| translate::text(&self.workspace.join(translate::path(&c.path)))).collect();
        self.gate.label_files(paths)
    }

    /// Who opens a file for writing and keeps what is in it can read it: by the descriptor itself, or by opening that anew.
    pub(super) fn read_by_writing(&self, attempt: &Attempt) -> Result<Option<Action>, ActionError> {
        let Attempt::Open { path, write: true, truncate: false, existing: Some(FileKind::File), .. } = attempt else {
            return Ok(None);
        };
        let path = translate::text(path);
        if !self.gate.decides_reading(&path) {
            return Ok(None);
        }
        let mut action = Action::new("fs.read", Resource::file(&path), Surface::Fs)?;
        action.agent = self.agent.as_str().into();
        Ok(Some(action))
    }
}

/// What the program reads when the labels can't be kept.
pub(super) fn refusal(error: &BarrierError) -> String {
    format!(
        "flyball: denied, what is open for writing could not be labelled with what this would read: {error}; with those files \
         closed it passes\n"
    )
}
