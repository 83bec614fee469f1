//! The barrier's eyes: which files may have changed, and what is in them now (SANDBOX.md, layer 5).

use crate::scratch::Scratch;
use crate::state::{Change, State};
use crate::translate;
use flyball_ledger::{Ledger, LedgerError};
use flyball_sandbox::workspace::{self, Layers, Node, WorkspaceError};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Watches the workspace of a session between barriers.
pub struct Capture {
    pub(crate) layers: Layers,
    workspace: PathBuf,
    scratch: Arc<Scratch>,
    /// Paths (relative) that were touched since the last barrier, or that somebody still holds open for writing.
    watched: BTreeSet<PathBuf>,
    /// The workspace as the record has it.
    pub(crate) state: State,
}

/// The workspace could not be captured.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// It could not be read.
    #[error(transparent)]
    Workspace(#[from] WorkspaceError),
    /// A file's content could not be kept.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

impl Capture {
    pub(crate) fn new(layers: Layers, workspace: &Path, scratch: Arc<Scratch>, state: State) -> Self {
        Self { layers, workspace: workspace.to_path_buf(), scratch, watched: BTreeSet::new(), state }
    }

    /// A mediated call changed this path, or opened it for writing.
    pub(crate) fn touched(&mut self, path: &Path) {
        if let Ok(rel) = path.strip_prefix(&self.workspace)
            && !self.scratch.covers(path)
        {
            self.watched.insert(rel.to_path_buf());
        }
    }

    /// Looks at every watched path; keeps contents in the ledger and gives what changed since the last look.
    pub(crate) fn barrier(&mut self, ledger: &Ledger) -> Result<Vec<Change>, CaptureError> {
        let mut changes = Vec::new();
        let mut still_open = BTreeSet::new();
        while let Some(rel) = self.watched.pop_first() {
            let captured = capture(&self.layers, &rel, ledger);
            if captured.is_err() || workspace::has_writers(&self.layers, &rel) {
                still_open.insert(rel.clone());
            }
            match captured {
                Ok(node) => changes.extend(self.changed(&rel, node)?),
                Err(error) => {
                    self.watched.append(&mut still_open);
                    return Err(error);
                }
            }
        }
        self.watched = still_open;
        Ok(changes)
    }

    fn changed(&mut self, rel: &Path, node: Node) -> Result<Option<Change>, CaptureError> {
        let path = translate::text(rel);
        if self.state.node(&path) == Some(&node) {
            return Ok(None);
        }
        let base = match self.state.base(&path) {
            Some(_) => None,
            None => Some(workspace::lower_node(&self.layers, rel)?),
        };
        if base.as_ref() == Some(&node) {
            return Ok(None);
        }
        let change = Change { path, node, base };
        self.state.take(&change);
        Ok(Some(change))
    }

    /// Compares the whole upper layer with the record, and takes in what the record could not explain.
    ///
    /// Gives those changes: none, unless something wrote past the mediation.
    pub(crate) fn unexplained(&mut self, ledger: &Ledger) -> Result<Vec<Change>, CaptureError> {
        let mut found = Vec::new();
        for change in workspace::changes(&self.layers, &self.scratch.within)? {
            if self.scratch.covers(&self.workspace.join(&change.path)) {
                continue;
            }
            let node = capture(&self.layers, &change.path, ledger)?;
            found.extend(self.changed(&change.path, node)?);
        }
        Ok(found)
    }
}

/// Reads a path of the merged view once, keeping a file's content as a blob.
fn capture(layers: &Layers, rel: &Path, ledger: &Ledger) -> Result<Node, CaptureError> {
    let mut content = Vec::new();
    let node = workspace::capture(layers, rel, &mut |bytes| content.extend_from_slice(bytes))?;
    if let Node::File { .. } = node {
        ledger.put_blob(&content)?;
    }
    Ok(node)
}
