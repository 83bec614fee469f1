//! The barrier's eyes: which files may have changed, and what is in them now (SANDBOX.md, layer 5).

use crate::scratch::Scratch;
use crate::state::{Change, State};
use crate::translate;
use flyball_ledger::{Ledger, LedgerError};
use flyball_sandbox::workspace::{self, Layers, Node, WorkspaceError};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Watches the workspace of a session between barriers.
#[derive(Clone)]
pub struct Capture {
    pub(crate) layers: Layers,
    workspace: PathBuf,
    scratch: Arc<Scratch>,
    /// Paths (relative) that were touched since the last barrier, or that somebody still holds open for writing.
    watched: BTreeSet<PathBuf>,
    /// Names (relative) of files that have several, by device and inode.
    linked: BTreeMap<(u64, u64), BTreeSet<PathBuf>>,
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
    /// A file could not be looked at.
    #[error("can't look at `{}`: {cause}", path.display())]
    Look {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        cause: std::io::Error,
    },
}

/// Of a larger file the record says only that it is there ([`Node::Other`], with an alert): reading it at each barrier would
/// keep the whole session waiting.
const FILE_BYTES_MAX: u64 = 256 << 20;
/// Up to here a file is read in one piece; a larger one goes through a spool.
const AT_ONCE_BYTES_MAX: u64 = 4 << 20;

impl Capture {
    pub(crate) fn new(layers: Layers, workspace: &Path, scratch: Arc<Scratch>, state: State) -> Self {
        Self {
            layers,
            workspace: workspace.to_path_buf(),
            scratch,
            watched: BTreeSet::new(),
            linked: BTreeMap::new(),
            state,
        }
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
        let mut looked_at = BTreeSet::new();
        let mut names_seen = BTreeSet::new();
        while let Some(rel) = self.watched.pop_first() {
            self.watch_other_names(&rel, &mut names_seen);
            let along = workspace::along_with(&self.layers, &rel)?;
            looked_at.insert(rel.clone());
            let (root, scratch) = (&self.workspace, &self.scratch);
            self.watched.extend(along.into_iter().filter(|p| !looked_at.contains(p) && !scratch.covers(&root.join(p))));
            let looked = capture(&self.layers, &rel, ledger).and_then(|node| {
                self.watch_below(&rel, &node);
                self.changed(&rel, node)
            });
            // Whoever holds it open can change it again without another call.
            if looked.is_err() || workspace::has_writers(&self.layers, &rel) {
                still_open.insert(rel);
            }
            match looked {
                Ok(change) => changes.extend(change),
                Err(error) => {
                    self.watched.append(&mut still_open);
                    return Err(error);
                }
            }
        }
        self.watched = still_open;
        Ok(changes)
    }

    /// Who writes to one name of a file writes to all of them.
    fn watch_other_names(&mut self, rel: &Path, seen: &mut BTreeSet<PathBuf>) {
        // A number to compare, nothing more: whatever a link on the way leads to is not read.
        let Ok(found) = std::fs::symlink_metadata(self.layers.upper.join(rel)) else { return };
        if !found.is_file() || found.nlink() < 2 {
            return;
        }
        seen.insert(rel.to_path_buf());
        let names = self.linked.entry((found.dev(), found.ino())).or_default();
        names.insert(rel.to_path_buf());
        self.watched.extend(names.iter().filter(|name| !seen.contains(*name)).cloned());
    }

    /// A directory that came or went by one rename brought or took all that is below it.
    fn watch_below(&mut self, rel: &Path, node: &Node) {
        let path = translate::text(rel);
        let was = self.state.node(&path);
        match node {
            Node::Directory { .. } if !matches!(was, Some(Node::Directory { .. })) => {
                let found = children(&self.layers.upper, rel);
                let (workspace, scratch) = (&self.workspace, &self.scratch);
                self.watched.extend(found.into_iter().filter(|c| !scratch.covers(&workspace.join(c))));
            }
            Node::Absent if was.is_none() || matches!(was, Some(Node::Directory { .. })) => {
                let below = format!("{path}/");
                let gone = self.state.touched().filter(|(p, n)| p.starts_with(&below) && **n != Node::Absent);
                self.watched.extend(gone.map(|(p, _)| translate::path(p)));
                // Nobody may have touched what the real tree has there, and it went all the same.
                let is_file = workspace::lower_file(&self.layers, rel).is_ok();
                if !is_file && matches!(workspace::lower_node(&self.layers, rel), Ok(Node::Directory { .. })) {
                    let (workspace, scratch) = (&self.workspace, &self.scratch);
                    let found = children(&self.layers.lower, rel);
                    self.watched.extend(found.into_iter().filter(|c| !scratch.covers(&workspace.join(c))));
                }
            }
            _ => {}
        }
    }

    fn changed(&mut self, rel: &Path, node: Node) -> Result<Option<Change>, CaptureError> {
        let path = translate::text(rel);
        if self.state.node(&path) == Some(&node) {
            return Ok(None);
        }
        let base = match self.state.base(&path) {
            Some(_) => None,
            None => Some(base(&self.layers, rel)?),
        };
        if base.as_ref() == Some(&node) {
            return Ok(None);
        }
        let blob = if let Node::File { digest, .. } = &node { Some(digest.clone()) } else { None };
        let change = Change { path, node, base, blob };
        self.state.take(&change);
        Ok(Some(change))
    }

    /// The workspace's scratch places.
    pub(crate) fn scratch(&self) -> &workspace::Scratch {
        &self.scratch.within
    }

    /// Compares the whole upper layer with the record, and takes in what the record could not explain.
    ///
    /// Gives those changes: none, unless something wrote past the mediation, or a crash of the machine lost some of the layer.
    pub(crate) fn unexplained(&mut self, ledger: &Ledger) -> Result<Vec<Change>, CaptureError> {
        let mut found = Vec::new();
        // Also what the record has and the layer lacks: it would be missing from an apply.
        let mut paths: BTreeSet<PathBuf> = self.state.changed().map(|(path, _)| translate::path(path)).collect();
        paths.extend(workspace::changes(&self.layers, &self.scratch.within)?.into_iter().map(|change| change.path));
        for path in paths {
            if self.scratch.covers(&self.workspace.join(&path)) {
                continue;
            }
            let node = capture(&self.layers, &path, ledger)?;
            found.extend(self.changed(&path, node)?);
        }
        Ok(found)
    }
}

/// One layer's entries of a directory. Their own are found when they are looked at.
fn children(layer: &Path, rel: &Path) -> Vec<PathBuf> {
    // Names only: what stands behind them is read through the layers' own descriptors, no link followed.
    let Ok(entries) = std::fs::read_dir(layer.join(rel)) else { return Vec::new() };
    entries.filter_map(Result::ok).map(|e| rel.join(e.file_name())).collect()
}

/// Looks at a path of the merged view once, keeping a file's content as a blob.
fn capture(layers: &Layers, rel: &Path, ledger: &Ledger) -> Result<Node, CaptureError> {
    let Ok(file) = workspace::read(layers, rel) else {
        return Ok(workspace::node_at(layers, rel)?);
    };
    let look = |cause| CaptureError::Look { path: rel.to_path_buf(), cause };
    let found = file.metadata().map_err(look)?;
    let mode = found.mode() & 0o7777;
    if found.len() > FILE_BYTES_MAX || mode & 0o400 == 0 {
        return Ok(Node::Other);
    }
    // It may grow meanwhile: what was read is what is recorded, and whoever writes to it keeps it on watch.
    let mut file = file.take(FILE_BYTES_MAX);
    let (digest, size) = if found.len() <= AT_ONCE_BYTES_MAX {
        let mut content = Vec::new();
        file.read_to_end(&mut content).map_err(look)?;
        (ledger.put_blob(&content)?, content.len() as u64)
    } else {
        ledger.put_blob_from(file)?
    };
    Ok(Node::File { digest: digest.to_string(), size, mode })
}

/// What the real tree has at a path; had, where the session works in a copy of it.
fn base(layers: &Layers, rel: &Path) -> Result<Node, CaptureError> {
    if workspace::is_copy(layers)? {
        let node = workspace::base_node(layers, rel)?;
        let is_large = matches!(node, Node::File { size, .. } if size > FILE_BYTES_MAX);
        return Ok(if is_large { Node::Other } else { node });
    }
    if let Ok(file) = workspace::lower_file(layers, rel) {
        let found = file.metadata().map_err(|cause| CaptureError::Look { path: rel.to_path_buf(), cause })?;
        if found.len() > FILE_BYTES_MAX {
            return Ok(Node::Other);
        }
    }
    Ok(workspace::lower_node(layers, rel)?)
}
