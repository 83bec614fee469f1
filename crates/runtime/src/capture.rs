//! The barrier's eyes: which files may have changed, and what is in them now (SANDBOX.md, layer 5).
//!
//! A path is looked at when a call touched it, and again at each barrier as long as its content can change without a call to
//! that path: somebody holds it open for writing or mapped shared, it has a second name, or it is a link whose target counts.

use crate::scratch::Scratch;
use crate::state::{Change, Kept, State};
use crate::translate;
use flyball_ledger::{Ledger, LedgerError};
use flyball_sandbox::workspace::{self, Layers, Node, Stamp, WorkspaceError};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Watches the workspace of a session between barriers.
#[derive(Clone)]
pub struct Capture {
    pub(crate) layers: Layers,
    workspace: PathBuf,
    scratch: Arc<Scratch>,
    /// Paths (relative) that are to be looked at, with how they were found last, and when.
    watched: BTreeMap<PathBuf, Option<(Stamp, Instant)>>,
    /// Directories that one call moved, with all below them.
    moved: BTreeSet<PathBuf>,
    /// Paths that are told of at the next look even if they are as the record has them.
    forced: BTreeSet<PathBuf>,
    /// Whether a file's times tell of every change that nobody holds it open for.
    stamps_tell: bool,
    /// The workspace as the record has it.
    pub(crate) state: State,
}

/// What a look at one path found.
#[derive(Debug)]
pub(crate) struct Seen {
    /// Relative to the workspace.
    pub rel: PathBuf,
    /// What was there before.
    pub was: Node,
    /// What is there.
    pub node: Node,
    /// The change to be recorded, if there is one.
    pub change: Option<Change>,
    /// The content of a file that counts, or of what a link that counts leads to; of a longer one its beginning.
    pub content: Option<Vec<u8>>,
    /// Somebody can still change it without a call.
    pub is_open: bool,
}

/// Which files' content is to be handed over, and how much at once.
pub(crate) struct Wanted<'w> {
    /// Whether a path's content counts.
    pub path: &'w dyn Fn(&Path) -> bool,
    /// Whether what the real tree has there is kept as well.
    pub keep_base: &'w dyn Fn(&Path) -> bool,
    /// Bytes of one file.
    pub file_bytes_max: usize,
    /// Bytes of all files of one look.
    pub bytes_max: usize,
    /// Only files that count and that nobody holds open.
    pub only_closed: bool,
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
/// Two changes within one tick of the operating system's clock have one time: only an older time tells that there was none.
const CLOCK_TICK: Duration = Duration::from_millis(50);

/// Whose content nobody asks for.
const NOTHING: Wanted<'static> =
    Wanted { path: &|_| false, keep_base: &|_| false, file_bytes_max: 0, bytes_max: usize::MAX, only_closed: false };

impl Capture {
    pub(crate) fn new(layers: Layers, workspace: &Path, scratch: Arc<Scratch>, state: State) -> Self {
        Self {
            layers,
            workspace: workspace.to_path_buf(),
            scratch,
            watched: BTreeMap::new(),
            moved: BTreeSet::new(),
            forced: BTreeSet::new(),
            stamps_tell: false,
            state,
        }
    }

    /// A mediated call changed this path, or opened it for writing.
    pub(crate) fn touched(&mut self, path: &Path) {
        if let Ok(rel) = path.strip_prefix(&self.workspace)
            && !self.scratch.covers(path)
        {
            self.watched.entry(rel.to_path_buf()).or_default();
        }
    }

    /// A mediated call moved this directory here or away: all that is below it came or went.
    pub(crate) fn moved(&mut self, path: &Path) {
        self.touched(path);
        if let Ok(rel) = path.strip_prefix(&self.workspace)
            && !self.scratch.covers(path)
        {
            self.moved.insert(rel.to_path_buf());
        }
    }

    /// The next look tells of this path, changed or not.
    pub(crate) fn force(&mut self, rel: PathBuf) {
        self.watched.entry(rel.clone()).or_default();
        self.forced.insert(rel);
    }

    /// Looks at one path; gives its change.
    pub(crate) fn one(&mut self, ledger: &Ledger, rel: &Path) -> Result<Option<Change>, CaptureError> {
        let stamp = workspace::stamp(&self.layers, rel);
        Ok(self.look_at(ledger, rel, stamp, None, false)?.and_then(|seen| seen.change))
    }

    /// Whether a path on watch is such a one.
    pub(crate) fn watches(&self, is_it: &dyn Fn(&Path) -> bool) -> bool {
        self.watched.keys().any(|rel| is_it(&self.workspace.join(rel)))
    }

    /// Whether nothing is to be looked at.
    pub(crate) fn is_quiet(&self) -> bool {
        self.watched.is_empty()
    }

    /// Looks at every watched path; keeps contents in the ledger and gives what changed since the last look.
    pub(crate) fn barrier(&mut self, ledger: &Ledger) -> Result<Vec<Change>, CaptureError> {
        let (seen, _) = self.look(ledger, &NOTHING, &mut BTreeSet::new())?;
        Ok(seen.into_iter().filter_map(|s| s.change).collect())
    }

    /// Looks at watched paths that are not in `done` yet, and adds them to it. Gives what was found, and whether there
    /// are more: call again then.
    pub(crate) fn look(
        &mut self,
        ledger: &Ledger,
        wanted: &Wanted<'_>,
        done: &mut BTreeSet<PathBuf>,
    ) -> Result<(Vec<Seen>, bool), CaptureError> {
        if self.watched.is_empty() {
            return Ok((Vec::new(), false));
        }
        self.stamps_tell = workspace::stamps_tell(&self.layers);
        let mut found = Vec::new();
        let mut bytes = 0_usize;
        loop {
            // Looking at a directory that came can put more on watch, before or behind the place that was reached.
            let next: Vec<PathBuf> = self.watched.keys().filter(|rel| !done.contains(*rel)).cloned().collect();
            if next.is_empty() {
                return Ok((found, false));
            }
            for rel in next {
                if bytes >= wanted.bytes_max {
                    return Ok((found, true));
                }
                let counts = (wanted.path)(&self.workspace.join(&rel));
                done.insert(rel.clone());
                if wanted.only_closed && !counts {
                    continue;
                }
                for along in workspace::along_with(&self.layers, &rel)? {
                    if !self.scratch.covers(&self.workspace.join(&along)) {
                        self.watched.entry(along).or_default();
                    }
                }
                // Before it is read: whoever comes to write after this has to ask first.
                let stamp = workspace::stamp(&self.layers, &rel);
                if wanted.only_closed && stamp.is_some_and(|s| s.has_writers) {
                    continue;
                }
                let keeps = counts && (wanted.keep_base)(&self.workspace.join(&rel));
                let seen = self.look_at(ledger, &rel, stamp, counts.then_some(wanted.file_bytes_max), keeps)?;
                bytes += seen.as_ref().and_then(|s| s.content.as_ref()).map_or(0, Vec::len);
                found.extend(seen);
            }
        }
    }

    /// Looks at one path. It stays on watch if it can't be read, or if it can change without a call.
    fn look_at(
        &mut self,
        ledger: &Ledger,
        rel: &Path,
        stamp: Option<Stamp>,
        keep_bytes: Option<usize>,
        keep_base: bool,
    ) -> Result<Option<Seen>, CaptureError> {
        let last = self.watched.get(rel).copied().flatten();
        let is_open = stamp.is_some_and(|s| s.has_writers);
        let is_forced = self.forced.remove(rel);
        let is_same = self.stamps_tell
            && !is_forced
            && !is_open
            && last.is_some_and(|(seen, at)| Some(seen) == stamp && is_settled(seen, at));
        let seen = if is_same { None } else { self.read(ledger, rel, is_open, keep_bytes, keep_base)? };
        let is_link = keep_bytes.is_some()
            && seen.as_ref().map(|s| &s.node).or(self.state.node(&translate::text(rel))).is_some_and(is_symlink);
        if is_link || stamp.is_some_and(|s| s.has_writers || s.links > 1) {
            self.watched.insert(rel.to_path_buf(), stamp.map(|s| (s, Instant::now())));
        } else {
            self.watched.remove(rel);
        }
        Ok(seen.filter(|s| s.change.is_some() || is_link || is_forced))
    }

    fn read(
        &mut self,
        ledger: &Ledger,
        rel: &Path,
        is_open: bool,
        keep_bytes: Option<usize>,
        keep_base: bool,
    ) -> Result<Option<Seen>, CaptureError> {
        let (node, content) = capture(&self.layers, rel, ledger, keep_bytes)?;
        self.watch_below(rel, &node);
        let path = translate::text(rel);
        let was = self.state.node(&path).or(self.state.base(&path)).cloned();
        let keep = keep_bytes.filter(|_| keep_base).map(|max| (ledger, max));
        let change = self.changed(rel, node.clone(), keep)?;
        let was = match (was, &change) {
            (Some(was), _) => was,
            (None, Some(Change { base: Some(base), .. })) => base.clone(),
            (None, _) => node.clone(),
        };
        Ok(Some(Seen { rel: rel.to_path_buf(), was, node, change, content, is_open }))
    }

    /// A directory that came or went by one rename brought or took all that is below it.
    fn watch_below(&mut self, rel: &Path, node: &Node) {
        let path = translate::text(rel);
        let was_directory = matches!(self.state.node(&path), Some(Node::Directory { .. }));
        let moved = self.moved.remove(rel);
        let is_directory = matches!(node, Node::Directory { .. });
        let mut below = BTreeSet::new();
        if is_directory && (moved || !was_directory) {
            below.extend(children(&self.layers.upper, rel));
            // What was moved with it lies deeper, in directories that the record may know under this very name.
            if moved {
                self.moved.extend(below.iter().cloned());
            }
        }
        let went = *node == Node::Absent && (was_directory || self.state.node(&path).is_none());
        if went || moved {
            let prefix = format!("{path}/");
            let gone = self.state.touched().filter(|(p, n)| p.starts_with(&prefix) && **n != Node::Absent);
            below.extend(gone.map(|(p, _)| translate::path(p)));
        }
        if went {
            // Nobody may have touched what the real tree has there, and it went all the same.
            let is_file = workspace::lower_file(&self.layers, rel).is_ok();
            if !is_file && matches!(workspace::lower_node(&self.layers, rel), Ok(Node::Directory { .. })) {
                below.extend(children(&self.layers.lower, rel));
            }
        }
        for rel in below {
            if !self.scratch.covers(&self.workspace.join(&rel)) {
                self.watched.entry(rel).or_default();
            }
        }
    }

    /// Takes a change into the state. With a ledger, what the real tree has there is kept as well: it may have to be put back.
    fn changed(
        &mut self,
        rel: &Path,
        node: Node,
        keep: Option<(&Ledger, usize)>,
    ) -> Result<Option<Change>, CaptureError> {
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
        let kept = match (&base, keep) {
            (Some(Node::File { size, .. }), Some((ledger, max))) if *size <= max as u64 => {
                keep_base(&self.layers, rel, ledger)?
            }
            _ => None,
        };
        let blob = if let Node::File { digest, .. } = &node { Some(digest.clone()) } else { None };
        let change = Change { path, node, base, blob, kept };
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
            let (node, _) = capture(&self.layers, &path, ledger, None)?;
            found.extend(self.changed(&path, node, None)?);
        }
        Ok(found)
    }
}

fn is_symlink(node: &Node) -> bool {
    matches!(node, Node::Symlink { .. })
}

/// Whether a stamp is old enough to tell: a change after it has a later time. And whoever held the file open then could
/// have changed a mapping of it since without any.
fn is_settled(seen: Stamp, at: Instant) -> bool {
    let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let looked_ns = since_epoch.saturating_sub(at.elapsed()).as_nanos();
    let tick_ns = i128::try_from(CLOCK_TICK.as_nanos()).unwrap_or(i128::MAX);
    !seen.has_writers && seen.ctime_ns.saturating_add(tick_ns) < i128::try_from(looked_ns).unwrap_or(0)
}

/// One layer's entries of a directory. Their own are found when they are looked at.
fn children(layer: &Path, rel: &Path) -> Vec<PathBuf> {
    // Names only: what stands behind them is read through the layers' own descriptors, no link followed.
    let Ok(entries) = std::fs::read_dir(layer.join(rel)) else { return Vec::new() };
    entries.filter_map(Result::ok).map(|e| rel.join(e.file_name())).collect()
}

/// Looks at a path of the merged view once, keeping a file's content as a blob. With `keep_bytes`, that many of its bytes and
/// one more are handed over.
fn capture(
    layers: &Layers,
    rel: &Path,
    ledger: &Ledger,
    keep_bytes: Option<usize>,
) -> Result<(Node, Option<Vec<u8>>), CaptureError> {
    let Ok(file) = workspace::read(layers, rel) else {
        return match workspace::node_at(layers, rel) {
            // A file that its own owner may not read: nobody inside can, before a call changes that.
            Err(WorkspaceError::Io { source, .. }) if source.kind() == std::io::ErrorKind::PermissionDenied => {
                Ok((Node::Other, None))
            }
            other => Ok((other?, None)),
        };
    };
    let look = |cause| CaptureError::Look { path: rel.to_path_buf(), cause };
    let found = file.metadata().map_err(look)?;
    let mode = found.mode() & 0o7777;
    if found.len() > FILE_BYTES_MAX || mode & 0o400 == 0 {
        let start = match keep_bytes {
            Some(max) => Some(beginning(&file, max).map_err(look)?),
            None => None,
        };
        return Ok((Node::Other, start));
    }
    let at_once = AT_ONCE_BYTES_MAX.max(keep_bytes.unwrap_or_default() as u64);
    // It may grow meanwhile: what was read is what is recorded, and whoever writes to it keeps it on watch.
    let mut file = file.take(FILE_BYTES_MAX);
    if found.len() <= at_once {
        let mut content = Vec::new();
        file.read_to_end(&mut content).map_err(look)?;
        let (digest, size) = (ledger.put_blob(&content)?.to_string(), content.len() as u64);
        content.truncate(keep_bytes.map_or(0, |max| max.saturating_add(1)));
        return Ok((Node::File { digest, size, mode }, keep_bytes.map(|_| content)));
    }
    let start = match keep_bytes {
        Some(max) => Some(beginning(file.get_ref(), max).map_err(look)?),
        None => None,
    };
    std::io::Seek::rewind(file.get_mut()).map_err(look)?;
    let (digest, size) = ledger.put_blob_from(file)?;
    Ok((Node::File { digest: digest.to_string(), size, mode }, start))
}

/// The first bytes, one more than `max` where there are as many.
fn beginning(file: &std::fs::File, max: usize) -> std::io::Result<Vec<u8>> {
    let mut start = Vec::new();
    file.take((max as u64).saturating_add(1)).read_to_end(&mut start)?;
    Ok(start)
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

/// Keeps what the real tree has at a path: the user may change it there while the session runs.
fn keep_base(layers: &Layers, rel: &Path, ledger: &Ledger) -> Result<Option<Kept>, CaptureError> {
    let Ok(mut file) = workspace::lower_file(layers, rel) else { return Ok(None) };
    let mut content = Vec::new();
    file.read_to_end(&mut content).map_err(|cause| CaptureError::Look { path: rel.to_path_buf(), cause })?;
    Ok(Some(Kept { blob: ledger.put_blob(&content)?.to_string() }))
}
