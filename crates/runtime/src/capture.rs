//! The barrier's eyes: which files may have changed, and what is in them now (SANDBOX.md, layer 5).
//!
//! A path is looked at when a call touched it, and again at each barrier as long as its content can change without a call to
//! that path: somebody holds it open for writing or mapped shared, or it is a link whose target counts. What has a second name is
//! looked at again once a call touched any of its names.

mod linked;

use crate::attest::{self, COMMIT_BYTES_MAX};
use crate::scratch::Scratch;
use crate::state::{Change, Kept, State};
use crate::translate;
use flyball_ledger::{Ledger, LedgerError};
use flyball_sandbox::workspace::{self, Found, Layers, Look, Node, Stamp, What, WorkspaceError};
use linked::Linked;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::io::Read;
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
    watched: BTreeMap<Rel, Option<Box<(Stamp, Instant)>>>,
    /// Paths that are looked at again once a call reached what stands there by any of its names.
    linked: Linked,
    /// Directories that one call moved, with all below them.
    moved: BTreeSet<Rel>,
    /// Paths that are told of at the next look even if they are as the record has them.
    forced: BTreeSet<Rel>,
    /// What a look that failed midway had found by then: the next one begins with it.
    untold: Vec<Seen>,
    /// Whether a file's times tell of every change that nobody holds it open for.
    stamps_tell: bool,
    /// The workspace as the record has it.
    pub(crate) state: State,
}

/// A path relative to the workspace, ordered by its bytes: a [`PathBuf`] is taken apart at each comparison.
pub(crate) type Rel = Box<OsStr>;

/// What a look at one path found.
#[derive(Clone, Debug)]
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
    /// Files of one look.
    pub found_max: usize,
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
/// Up to here a file is read in one piece; a larger one goes into its file as it is read.
const AT_ONCE_BYTES_MAX: u64 = 4 << 20;
/// Two changes within one tick of the operating system's clock have one time: only an older time tells that there was none.
const CLOCK_TICK: Duration = Duration::from_millis(50);

/// Whose content nobody asks for.
const NOTHING: Wanted<'static> = Wanted {
    path: &|_| false,
    keep_base: &|_| false,
    file_bytes_max: 0,
    bytes_max: usize::MAX,
    found_max: usize::MAX,
    only_closed: false,
};

impl Capture {
    pub(crate) fn new(layers: Layers, workspace: &Path, scratch: Arc<Scratch>, state: State) -> Self {
        Self {
            layers,
            workspace: workspace.to_path_buf(),
            scratch,
            watched: BTreeMap::new(),
            linked: Linked::default(),
            moved: BTreeSet::new(),
            forced: BTreeSet::new(),
            untold: Vec::new(),
            stamps_tell: false,
            state,
        }
    }

    /// A mediated call changed this path, or opened it for writing.
    pub(crate) fn touched(&mut self, path: &Path) {
        self.reached(path);
        self.changed_alone(path);
    }

    /// The same where what stands there now has no other name: it was made by this call, or is gone.
    pub(crate) fn changed_alone(&mut self, path: &Path) {
        if let Ok(rel) = path.strip_prefix(&self.workspace)
            && !self.scratch.covers(path)
        {
            self.watch(rel);
        }
    }

    /// A call was done to this path, recorded or not: what stands there is to be looked at by its other names.
    pub(crate) fn reached(&mut self, path: &Path) {
        let Ok(rel) = path.strip_prefix(&self.workspace) else { return };
        for rel in self.linked.reached(&self.layers.upper, rel) {
            self.watch(Path::new(&rel));
        }
    }

    /// Another layer takes the place of this one: nothing is known of what stands still in it.
    pub(crate) fn watch_linked(&mut self) {
        for rel in self.linked.all() {
            self.watch(Path::new(&rel));
        }
    }

    /// A mediated call moved this directory here or away: all that is below it came or went.
    pub(crate) fn moved(&mut self, path: &Path) {
        self.touched(path);
        if let Ok(rel) = path.strip_prefix(&self.workspace)
            && !self.scratch.covers(path)
        {
            self.moved.insert(rel.as_os_str().into());
        }
    }

    /// The next look tells of this path, changed or not.
    pub(crate) fn force(&mut self, rel: PathBuf) {
        self.watch(&rel);
        self.forced.insert(rel.as_os_str().into());
    }

    fn watch(&mut self, rel: &Path) {
        if !self.watched.contains_key(rel.as_os_str()) {
            self.watched.insert(rel.as_os_str().into(), None);
        }
    }

    /// Looks at one path; gives its change.
    pub(crate) fn one(&mut self, ledger: &Ledger, rel: &Path) -> Result<Option<Change>, CaptureError> {
        let mut look = Look::new(&self.layers)?;
        let found = look.at(rel)?;
        Ok(self.look_at(&mut look, ledger, rel, found, None, false)?.and_then(|seen| seen.change))
    }

    /// Whether a path on watch is such a one.
    pub(crate) fn watches(&self, is_it: &dyn Fn(&Path) -> bool) -> bool {
        self.watched.keys().any(|rel| is_it(&self.workspace.join(Path::new(rel))))
    }

    /// The files that somebody holds open for writing or mapped shared, as of now. Whole after a look, which finds what was moved.
    pub(crate) fn held_open(&self) -> Vec<PathBuf> {
        let watched = self.watched.keys().map(Path::new);
        let held = watched.filter(|rel| workspace::stamp(&self.layers, rel).is_some_and(|s| s.has_writers));
        held.map(|rel| self.workspace.join(rel)).collect()
    }

    /// Whether nothing is to be looked at.
    pub(crate) fn is_quiet(&self) -> bool {
        self.watched.is_empty() && self.untold.is_empty()
    }

    /// Looks at every watched path; keeps contents in the ledger and gives what changed since the last look.
    pub(crate) fn barrier(&mut self, ledger: &Ledger) -> Result<Vec<Change>, CaptureError> {
        let (seen, _) = self.look(ledger, &NOTHING, &mut BTreeSet::new())?;
        Ok(seen.into_iter().filter_map(|s| s.change).collect())
    }

    /// Looks at watched paths that are not in `done` yet, and adds them to it. Gives what was found, and whether there
    /// are more: call again then.
    ///
    /// INVARIANT: what was taken into the state is told, by this look or, should it fail, by the next that does not.
    pub(crate) fn look(
        &mut self,
        ledger: &Ledger,
        wanted: &Wanted<'_>,
        done: &mut BTreeSet<Rel>,
    ) -> Result<(Vec<Seen>, bool), CaptureError> {
        let mut found = std::mem::take(&mut self.untold);
        match self.look_on(ledger, wanted, done, &mut found) {
            Ok(more) => Ok((found, more)),
            Err(error) => {
                self.untold = found;
                Err(error)
            }
        }
    }

    fn look_on(
        &mut self,
        ledger: &Ledger,
        wanted: &Wanted<'_>,
        done: &mut BTreeSet<Rel>,
        found: &mut Vec<Seen>,
    ) -> Result<bool, CaptureError> {
        if self.watched.is_empty() {
            return Ok(false);
        }
        self.stamps_tell = workspace::stamps_tell(&self.layers);
        let mut look = Look::new(&self.layers)?;
        let mut bytes = 0_usize;
        loop {
            // Looking at a directory that came can put more on watch, before or behind the place that was reached.
            let next: Vec<Rel> =
                self.watched.keys().filter(|rel| !done.contains(*rel)).take(wanted.found_max).cloned().collect();
            if next.is_empty() {
                return Ok(false);
            }
            for rel in next {
                if bytes >= wanted.bytes_max || found.len() >= wanted.found_max {
                    return Ok(true);
                }
                let rel = PathBuf::from(OsString::from(rel));
                let full = self.workspace.join(&rel);
                let counts = (wanted.path)(&full);
                done.insert(rel.as_os_str().into());
                if wanted.only_closed && !counts {
                    continue;
                }
                if look.is_copy() {
                    for along in workspace::along_with(&self.layers, &rel)? {
                        self.watch_unless_scratch(&along);
                    }
                }
                // Before it is read: whoever comes to write after this has to ask first.
                let there = look.at(&rel)?;
                // What is closed to reading for a moment is not to become what was accepted last: the barrier decides on it.
                let is_unread = match &there.what {
                    What::File { mode, .. } => mode & 0o400 == 0,
                    What::Node(node) => *node == Node::Other,
                };
                if wanted.only_closed && (is_unread || there.stamp.is_some_and(|s| s.has_writers)) {
                    continue;
                }
                let keeps = counts && (wanted.keep_base)(&full);
                let max = counts.then_some(wanted.file_bytes_max);
                let seen = self.look_at(&mut look, ledger, &rel, there, max, keeps)?;
                bytes += seen.as_ref().and_then(|s| s.content.as_ref()).map_or(0, Vec::len);
                found.extend(seen);
            }
        }
    }

    fn watch_unless_scratch(&mut self, rel: &Path) {
        if !self.scratch.covers(&self.workspace.join(rel)) {
            self.watch(rel);
        }
    }

    /// Looks at one path. It stays on watch if it can't be read, or if it can change without a call.
    fn look_at(
        &mut self,
        look: &mut Look,
        ledger: &Ledger,
        rel: &Path,
        found: Found,
        keep_bytes: Option<usize>,
        keep_base: bool,
    ) -> Result<Option<Seen>, CaptureError> {
        let (stamp, closed_link) = (found.stamp, found.closed_link);
        let last = self.watched.get(rel.as_os_str()).and_then(Option::as_deref).copied();
        let is_open = stamp.is_some_and(|s| s.has_writers);
        let is_forced = self.forced.contains(rel.as_os_str());
        let is_same = self.stamps_tell
            && !is_forced
            && !is_open
            && last.is_some_and(|(seen, at)| Some(seen) == stamp && is_settled(seen, at));
        let seen = if is_same { None } else { self.read(look, ledger, rel, found, (keep_bytes, keep_base))? };
        let seen = seen.map(|seen| Seen { is_open, ..seen });
        self.forced.remove(rel.as_os_str());
        let is_link = keep_bytes.is_some()
            && match &seen {
                Some(seen) => is_symlink(&seen.node),
                None => self.state.node(&translate::text(rel)).as_ref().is_some_and(is_symlink),
            };
        if is_link || is_open {
            self.watched.insert(rel.as_os_str().into(), stamp.map(|s| Box::new((s, Instant::now()))));
        } else {
            self.watched.remove(rel.as_os_str());
        }
        let still = stamp.filter(|s| s.links > 1 && !s.has_writers).map(|s| s.ino);
        match still.or(closed_link) {
            Some(inode) => self.linked.insert(rel.as_os_str(), inode),
            None => self.linked.remove(rel.as_os_str()),
        }
        Ok(seen.filter(|s| s.change.is_some() || is_link || is_forced))
    }

    fn read(
        &mut self,
        look: &mut Look,
        ledger: &Ledger,
        rel: &Path,
        there: Found,
        (keep_bytes, keep_base): (Option<usize>, bool),
    ) -> Result<Option<Seen>, CaptureError> {
        let path = translate::text(rel);
        // What came and went since the last look left nothing to tell, nor anything below it that could be looked at.
        let is_known = || self.state.knows(&path) || self.state.standing_below(&path).next().is_some();
        if there.is_bare && !self.moved.contains(rel.as_os_str()) && !is_known() {
            let (was, node) = (Node::Absent, Node::Absent);
            let (change, content, is_open) = (None, None, false);
            return Ok(Some(Seen { rel: rel.to_path_buf(), was, node, change, content, is_open }));
        }
        let (node, content) = capture(there.what, rel, ledger, keep_bytes)?;
        self.watch_below(rel, &path, &node);
        let was = self.state.node(&path).or_else(|| self.state.base(&path));
        let keep = keep_bytes.filter(|_| keep_base);
        let change = self.changed(look, rel, path, node.clone(), ledger, keep)?;
        let was = match (was, &change) {
            (Some(was), _) => was,
            (None, Some(Change { base: Some(base), .. })) => base.clone(),
            (None, _) => node.clone(),
        };
        Ok(Some(Seen { rel: rel.to_path_buf(), was, node, change, content, is_open: false }))
    }

    /// A directory that came or went by one rename brought or took all that is below it.
    fn watch_below(&mut self, rel: &Path, path: &str, node: &Node) {
        let was = self.state.node(path);
        let was_directory = matches!(was, Some(Node::Directory { .. }));
        let was_unknown = was.is_none();
        let moved = self.moved.remove(rel.as_os_str());
        let is_directory = matches!(node, Node::Directory { .. });
        let mut below = BTreeSet::new();
        if is_directory && (moved || !was_directory) {
            below.extend(children(&self.layers.upper, rel));
            // What was moved with it lies deeper, in directories that the record may know under this very name.
            if moved {
                self.moved.extend(below.iter().map(|rel| rel.as_os_str().into()));
            }
        }
        let went = *node == Node::Absent && (was_directory || was_unknown);
        if went || moved {
            below.extend(self.state.standing_below(path).map(translate::path));
        }
        // Nobody may have touched what the real tree has there, and it went all the same.
        if went && self.layers.lower.join(rel).symlink_metadata().is_ok_and(|found| found.is_dir()) {
            below.extend(children(&self.layers.lower, rel));
        }
        for rel in below {
            self.watch_unless_scratch(&rel);
        }
    }

    /// Takes a change into the state. Of a file that is not longer than `keep`, what the real tree has there is kept as well: it may have to be put back.
    fn changed(
        &mut self,
        look: &mut Look,
        rel: &Path,
        path: String,
        node: Node,
        ledger: &Ledger,
        keep: Option<usize>,
    ) -> Result<Option<Change>, CaptureError> {
        if self.state.has(&path, &node) {
            return Ok(None);
        }
        let base = match self.state.base(&path) {
            Some(_) => None,
            None => Some(look.base(rel, FILE_BYTES_MAX)?),
        };
        if base.as_ref() == Some(&node) {
            return Ok(None);
        }
        let kept = match (&base, keep) {
            (Some(Node::File { size, .. }), Some(max)) if *size <= max as u64 => {
                keep_base(&self.layers, rel, ledger, max, |_| true)?
            }
            // Else who attests the session could not say of a commit whether it stood there before.
            (Some(Node::File { size, .. }), None) if *size <= COMMIT_BYTES_MAX && attest::is_object_path(&path) => {
                let max = usize::try_from(COMMIT_BYTES_MAX).unwrap_or(usize::MAX);
                keep_base(&self.layers, rel, ledger, max, |file| !attest::is_other_object(file))?
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
        for change in workspace::changes(&self.layers, &self.scratch.within)? {
            // What was just read and is what the record says need not be read again.
            if self.state.node(&translate::text(&change.path)).as_ref() == Some(&change.node) {
                paths.remove(&change.path);
            } else {
                paths.insert(change.path);
            }
        }
        let mut look = Look::new(&self.layers)?;
        for path in paths {
            if self.scratch.covers(&self.workspace.join(&path)) {
                continue;
            }
            let (node, _) = capture(look.at(&path)?.what, &path, ledger, None)?;
            found.extend(self.changed(&mut look, &path, translate::text(&path), node, ledger, None)?);
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

/// What stands there, keeping a file's content as a blob. With `keep_bytes`, that many of its bytes and one more are handed
/// over.
fn capture(
    there: What,
    rel: &Path,
    ledger: &Ledger,
    keep_bytes: Option<usize>,
) -> Result<(Node, Option<Vec<u8>>), CaptureError> {
    let (file, bytes, mode) = match there {
        What::Node(node) => return Ok((node, None)),
        What::File { file, bytes, mode } => (file, bytes, mode),
    };
    let look = |cause| CaptureError::Look { path: rel.to_path_buf(), cause };
    if bytes > FILE_BYTES_MAX || mode & 0o400 == 0 {
        let start = match keep_bytes {
            Some(max) => Some(beginning(&file, max).map_err(look)?),
            None => None,
        };
        return Ok((Node::Other, start));
    }
    let at_once = AT_ONCE_BYTES_MAX.max(keep_bytes.unwrap_or_default() as u64);
    // It may grow meanwhile: what was read is what is recorded, and whoever writes to it keeps it on watch.
    if bytes <= at_once {
        let mut content = Vec::with_capacity(usize::try_from(bytes).unwrap_or_default().saturating_add(1));
        // There was room for one more: a read that gave as many as the file had has met its end.
        let is_whole = rustix::io::read(&file, rustix::buffer::spare_capacity(&mut content)).is_ok()
            && content.len() as u64 == bytes;
        if !is_whole {
            rewind(&file).map_err(look)?;
            content.clear();
            (&file).take(at_once.saturating_add(1)).read_to_end(&mut content).map_err(look)?;
        }
        if content.len() as u64 <= at_once {
            let (digest, size) = (ledger.put_blob(&content)?.to_string(), content.len() as u64);
            content.truncate(keep_bytes.map_or(0, |max| max.saturating_add(1)));
            return Ok((Node::File { digest, size, mode }, keep_bytes.map(|_| content)));
        }
    }
    let mut start = None;
    if let Some(max) = keep_bytes {
        rewind(&file).map_err(look)?;
        start = Some(beginning(&file, max).map_err(look)?);
    }
    rewind(&file).map_err(look)?;
    let mut rest = (&file).take(FILE_BYTES_MAX.saturating_add(1));
    let (digest, size) = ledger.put_blob_from(&mut rest)?;
    let node = if size > FILE_BYTES_MAX { Node::Other } else { Node::File { digest: digest.to_string(), size, mode } };
    Ok((node, start))
}

fn rewind(mut file: &std::fs::File) -> std::io::Result<()> {
    std::io::Seek::rewind(&mut file)
}

/// The first bytes, one more than `max` where there are as many.
fn beginning(file: &std::fs::File, max: usize) -> std::io::Result<Vec<u8>> {
    let mut start = Vec::new();
    file.take((max as u64).saturating_add(1)).read_to_end(&mut start)?;
    Ok(start)
}

/// Keeps what the real tree has at a path: the user may change it there while the session runs.
fn keep_base(
    layers: &Layers,
    rel: &Path,
    ledger: &Ledger,
    max: usize,
    is_wanted: impl Fn(&[u8]) -> bool,
) -> Result<Option<Kept>, CaptureError> {
    let Ok(file) = workspace::lower_file(layers, rel) else { return Ok(None) };
    // It may be longer by now, and then it is not what was there.
    let content = beginning(&file, max).map_err(|cause| CaptureError::Look { path: rel.to_path_buf(), cause })?;
    if content.len() > max || !is_wanted(&content) {
        return Ok(None);
    }
    Ok(Some(Kept { blob: ledger.put_blob(&content)?.to_string() }))
}

#[cfg(test)]
mod tests;
