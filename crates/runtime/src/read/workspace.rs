//! The workspace at a step, and between two steps.

use super::fold::{Node, Stood, Touched, Tree, stood};
use super::session::workspace;
use super::{ReadError, entry};
use crate::state::{State, StateError};
use flyball_ledger::{Digest, Ledger, LedgerError};
use serde::Serialize;
use similar::TextDiff;
use std::collections::BTreeSet;
use std::path::{Component, Path};

/// A side of a file longer than this is compared by digest only, bytes.
const DIFF_BYTES_MAX: usize = 4 << 20;

/// What had changed at a step.
#[derive(Clone, Debug, Serialize)]
pub struct At {
    /// The session.
    pub session: String,
    /// The step.
    pub seq: u64,
    /// The entry of the last look at the workspace at or before the step: what is shown is as of then.
    pub as_of: Option<u64>,
    /// The state's digest there.
    pub state: Option<String>,
    /// The workspace.
    pub workspace: String,
    /// What stood otherwise than before the session.
    pub changes: Vec<ChangedPath>,
}

/// A path that stood otherwise than before the session.
#[derive(Clone, Debug, Serialize)]
pub struct ChangedPath {
    /// Relative to the workspace.
    pub path: String,
    /// `added`, `modified` or `deleted`.
    pub change: &'static str,
    /// What stood there.
    pub node: Node,
    /// The entry of its last change.
    pub since: Option<u64>,
}

/// What stood at a path.
#[derive(Clone, Debug)]
pub enum Content {
    /// A file's bytes.
    File {
        /// The bytes.
        bytes: Vec<u8>,
        /// Whether they come from the real workspace, since the session had not touched the file.
        is_from_workspace: bool,
    },
    /// A link, and what it says.
    Link(String),
    /// A folder, and what below it had changed.
    Folder(Vec<ChangedPath>),
}

/// What the record saw of the workspace at a step, where something was done since the last look: what that left is not in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Behind {
    /// The step.
    pub seq: u64,
    /// The entry of the last look before it; without one, what is known is what stood there before the session.
    pub as_of: Option<u64>,
    /// The entry of the next look, which has it.
    pub next: Option<u64>,
}

/// What changed in the workspace between two steps.
#[derive(Clone, Debug, Serialize)]
pub struct WorkspaceDiff {
    /// The session.
    pub session: String,
    /// The earlier step.
    pub from: u64,
    /// The later step.
    pub to: u64,
    /// Each path that differs.
    pub files: Vec<FileDiff>,
    /// Of the two steps, those that the record had not seen the workspace at.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub behind: Vec<Behind>,
}

/// How a path differs.
#[derive(Clone, Debug, Serialize)]
pub struct FileDiff {
    /// Relative to the workspace.
    pub path: String,
    /// `added`, `modified` or `deleted`.
    pub change: &'static str,
    /// At the earlier step.
    pub from: Node,
    /// At the later step.
    pub to: Node,
    /// The unified diff, where both sides are text on record.
    pub unified: Option<String>,
    /// Why there is none.
    pub note: Option<String>,
}

/// What had changed at a step.
///
/// # Errors
/// [`ReadError`] when the ledger can't be read or the entry is not there.
pub fn at(ledger: &Ledger, session: &str, seq: u64) -> Result<At, ReadError> {
    entry(ledger, session, seq)?;
    let Stood { tree, as_of, .. } = stood(ledger, session, seq)?;
    let (as_of, told) = as_of.map_or((None, None), |(seq, state)| (Some(seq), state));
    // Not each look tells it.
    let state = match (as_of, told) {
        (Some(seq), None) => {
            Some(State::at(ledger, session, seq).map_err(|error| unreadable(session, error))?.digest())
        }
        (_, told) => told,
    };
    let workspace = workspace(ledger, session)?;
    Ok(At { session: session.to_owned(), seq, as_of, state, workspace, changes: listed(&tree, "") })
}

fn unreadable(session: &str, error: StateError) -> ReadError {
    let session = session.to_owned();
    match error {
        StateError::Ledger(error) => ReadError::Ledger(error),
        StateError::Unreadable { seq, cause, .. } => ReadError::Malformed { session, seq, what: cause },
        StateError::Differs { seq, .. } => ReadError::Malformed { session, seq, what: error.to_string() },
    }
}

/// What stood at a path at a step.
///
/// # Errors
/// [`ReadError`] when the ledger can't be read, the entry or path was not there, or its content is not on record.
pub fn at_path(ledger: &Ledger, session: &str, seq: u64, path: &Path) -> Result<Content, ReadError> {
    entry(ledger, session, seq)?;
    let source = Source::new(ledger, session, seq)?;
    let rel = relative_to(&source.workspace, path)?;
    let tree = stood(ledger, session, seq)?.tree;
    let below = listed(&tree, &rel);
    match tree.get(&rel).map(|touched| (touched.node(), touched.since)) {
        Some((node, since)) => match node.kind.as_str() {
            "absent" => Err(ReadError::Absent { path: rel, seq }),
            "symlink" => Ok(Content::Link(node.target.unwrap_or_default())),
            "directory" => Ok(Content::Folder(below)),
            _ => Ok(Content::File { bytes: source.content(&rel, &node)?, is_from_workspace: since.is_none() }),
        },
        None if rel.is_empty() || !below.is_empty() => Ok(Content::Folder(below)),
        None => source.untouched(&rel),
    }
}

/// What changed in the workspace between two steps.
///
/// # Errors
/// [`ReadError`] when the ledger can't be read or an entry is not there.
pub fn diff(ledger: &Ledger, session: &str, from: u64, to: u64) -> Result<WorkspaceDiff, ReadError> {
    entry(ledger, session, from)?;
    entry(ledger, session, to)?;
    let (before, after) = (stood(ledger, session, from)?, stood(ledger, session, to)?);
    let source = Source::new(ledger, session, to)?;
    let mut files = Vec::new();
    // Both folds know every path that was ever touched.
    for (path, later) in after.tree.iter() {
        let Some(earlier) = before.tree.get(path).filter(|earlier| !earlier.stands_as(later)) else { continue };
        files.push(file_diff((&source, &source), path, earlier.node(), later.node()));
    }
    let behind = [(from, &before), (to, &after)].into_iter().filter_map(|(seq, stood)| behind_at(stood, seq)).collect();
    Ok(WorkspaceDiff { session: session.to_owned(), from, to, files, behind })
}

/// Whether something was carried out between a step and the last look at the workspace before it.
///
/// # Errors
/// [`ReadError`] when the ledger can't be read or the entry is not there.
pub fn behind(ledger: &Ledger, session: &str, seq: u64) -> Result<Option<Behind>, ReadError> {
    entry(ledger, session, seq)?;
    Ok(behind_at(&stood(ledger, session, seq)?, seq))
}

fn behind_at(stood: &Stood, seq: u64) -> Option<Behind> {
    let as_of = stood.as_of.as_ref().map(|(seq, _)| *seq);
    stood.is_behind.then_some(Behind { seq, as_of, next: stood.next })
}

/// A step of a session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Step {
    /// The session.
    pub session: String,
    /// The entry.
    pub seq: u64,
}

/// How the workspaces of two sessions differ.
#[derive(Clone, Debug, Serialize)]
pub struct SessionsDiff {
    /// One.
    pub from: Step,
    /// The other.
    pub to: Step,
    /// Each path that differs.
    pub files: Vec<FileDiff>,
}

/// How the workspace of one session at a step differs from another's. A path that only one of them ever touched stands for the
/// other as that one found it.
///
/// # Errors
/// [`ReadError`] when the ledger can't be read or an entry is not there.
pub fn diff_of_two(ledger: &Ledger, from: &Step, to: &Step) -> Result<SessionsDiff, ReadError> {
    for step in [from, to] {
        entry(ledger, &step.session, step.seq)?;
    }
    let tree = |step: &Step| stood(ledger, &step.session, step.seq).map(|stood| stood.tree);
    let (before, after) = (tree(from)?, tree(to)?);
    let (one, other) = (Source::new(ledger, &from.session, from.seq)?, Source::new(ledger, &to.session, to.seq)?);
    let paths: BTreeSet<&str> = before.iter().chain(after.iter()).map(|(path, _)| path).collect();
    let mut files = Vec::new();
    for path in paths {
        let (was, is) = (before.get(path), after.get(path));
        let Some(found) = was.or(is).map(|touched| touched.base()) else { continue };
        let old = was.map_or_else(|| found.clone(), |touched| touched.node());
        let new = is.map_or(found, |touched| touched.node());
        if !old.same(&new) {
            files.push(file_diff((&one, &other), path, old, new));
        }
    }
    Ok(SessionsDiff { from: from.clone(), to: to.clone(), files })
}

/// What taking the workspace back to a step would do, as far as the record knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Undone {
    /// The step.
    pub seq: u64,
    /// The entry of the last look at the workspace: what was done since is undone as well, and not named.
    pub as_of: Option<u64>,
    /// Each path, and what would become of it: `added`, `modified` or `deleted`.
    pub paths: Vec<(String, &'static str)>,
}

/// What taking the workspace back to a step would do. Reads only what was seen of the workspace.
///
/// # Errors
/// [`ReadError`] when the ledger can't be read.
pub fn undone(ledger: &Ledger, session: &str, seq: u64) -> Result<Undone, ReadError> {
    let (then, now) = (stood(ledger, session, seq)?.tree, stood(ledger, session, u64::MAX)?);
    let differs = |(path, now): (&str, &Touched)| {
        let then = then.get(path).filter(|then| !then.stands_as(now))?;
        Some((path.to_owned(), change(&now.node(), &then.node())))
    };
    let as_of = now.as_of.as_ref().map(|(seq, _)| *seq);
    Ok(Undone { seq, as_of, paths: now.tree.iter().filter_map(differs).collect() })
}

/// Where contents as of a step are found.
struct Source<'a> {
    ledger: &'a Ledger,
    session: &'a str,
    workspace: String,
    seq: u64,
}

impl<'a> Source<'a> {
    fn new(ledger: &'a Ledger, session: &'a str, seq: u64) -> Result<Self, ReadError> {
        Ok(Self { ledger, session, workspace: workspace(ledger, session)?, seq })
    }

    /// A file's bytes: from the ledger, or from the real workspace where it still holds exactly these.
    fn content(&self, path: &str, node: &Node) -> Result<Vec<u8>, ReadError> {
        let missing = |why: &str| ReadError::NotRecorded { path: path.to_owned(), seq: self.seq, why: why.to_owned() };
        let Some(digest) = &node.digest else { return Err(missing("only its presence was recorded")) };
        let wanted: Digest = digest.parse()?;
        match self.ledger.blob(&wanted) {
            Err(LedgerError::NoBlob(_)) => {
                let erased = crate::evidence::erased(self.ledger, self.session)?;
                if let Some(erased) = erased.values().find(|e| e.took(&wanted)) {
                    return Err(missing(&crate::evidence::say_erased(erased)));
                }
            }
            found => return Ok(found?),
        }
        let real =
            self.real(path).ok_or_else(|| missing("its bytes were not kept, and the workspace has it no more"))?;
        if Digest::of(&real) == wanted {
            return Ok(real);
        }
        Err(missing("its bytes were not kept, and the workspace has others now"))
    }

    /// A path that the session never touched: the real workspace's, which the session could not change.
    fn untouched(&self, path: &str) -> Result<Content, ReadError> {
        let full = Path::new(&self.workspace).join(path);
        let missing = |why: String| ReadError::NotRecorded { path: path.to_owned(), seq: self.seq, why };
        let meta = match std::fs::symlink_metadata(&full) {
            Ok(meta) => meta,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                return Err(ReadError::Absent { path: path.to_owned(), seq: self.seq });
            }
            Err(e) => return Err(missing(e.to_string())),
        };
        if meta.is_symlink() {
            let target = std::fs::read_link(&full).map_err(|e| missing(e.to_string()))?;
            return Ok(Content::Link(target.to_string_lossy().into_owned()));
        }
        if meta.is_dir() {
            return Ok(Content::Folder(Vec::new()));
        }
        let bytes = self.real(path).ok_or_else(|| missing("it is no regular file".to_owned()))?;
        Ok(Content::File { bytes, is_from_workspace: true })
    }

    fn real(&self, path: &str) -> Option<Vec<u8>> {
        let full = Path::new(&self.workspace).join(path);
        // A pipe or device in its place would block or never end.
        std::fs::symlink_metadata(&full).ok().filter(std::fs::Metadata::is_file)?;
        std::fs::read(full).ok()
    }
}

fn file_diff(sources: (&Source<'_>, &Source<'_>), path: &str, from: Node, to: Node) -> FileDiff {
    let (unified, note) = compare(sources, path, &from, &to);
    FileDiff { path: path.to_owned(), change: change(&from, &to), from, to, unified, note }
}

fn compare(
    (of_from, of_to): (&Source<'_>, &Source<'_>),
    path: &str,
    from: &Node,
    to: &Node,
) -> (Option<String>, Option<String>) {
    let side = |source: &Source<'_>, node: &Node| match node.kind.as_str() {
        "absent" => Ok(Vec::new()),
        "file" => source.content(path, node).map_err(|e| e.to_string()),
        "symlink" => Ok(format!("link to {}\n", node.target.as_deref().unwrap_or_default()).into_bytes()),
        other => Err(other.to_owned()),
    };
    if from.kind == to.kind && from.digest == to.digest && from.target == to.target {
        let mode = |n: &Node| n.mode.map_or_else(|| "unknown".to_owned(), |m| format!("{m:04o}"));
        return (None, Some(format!("mode {} to {}", mode(from), mode(to))));
    }
    let (old, new) = match (side(of_from, from), side(of_to, to)) {
        (Ok(old), Ok(new)) => (old, new),
        (Err(why), _) | (_, Err(why)) => return (None, Some(why)),
    };
    if old.len() > DIFF_BYTES_MAX || new.len() > DIFF_BYTES_MAX || is_binary(&old) || is_binary(&new) {
        return (None, Some(format!("{} to {}", weigh(from, &old), weigh(to, &new))));
    }
    let (old, new) = (String::from_utf8_lossy(&old), String::from_utf8_lossy(&new));
    let name = |node: &Node, side: &str| {
        if node.is_absent() { "/dev/null".to_owned() } else { format!("{side}/{path}") }
    };
    let text = TextDiff::from_lines(&*old, &*new);
    (Some(text.unified_diff().header(&name(from, "a"), &name(to, "b")).to_string()), None)
}

fn weigh(node: &Node, bytes: &[u8]) -> String {
    match &node.digest {
        Some(digest) => format!("{} bytes {}", bytes.len(), digest.get(..19).unwrap_or(digest)),
        None => format!("{} bytes", bytes.len()),
    }
}

fn is_binary(bytes: &[u8]) -> bool {
    bytes.contains(&0) || std::str::from_utf8(bytes).is_err()
}

/// What stands changed at or below a path.
fn listed(tree: &Tree, below: &str) -> Vec<ChangedPath> {
    let inside = |path: &str| {
        below.is_empty() || path.strip_prefix(below).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    let changed = tree.changed().filter(|(path, _)| inside(path));
    changed
        .map(|(path, touched)| {
            let node = touched.node();
            let change = change(&touched.base(), &node);
            ChangedPath { path: path.to_owned(), change, node, since: touched.since }
        })
        .collect()
}

fn change(from: &Node, to: &Node) -> &'static str {
    match (from.is_absent(), to.is_absent()) {
        (true, false) => "added",
        (false, true) => "deleted",
        _ => "modified",
    }
}

/// The path as the record of a session in this workspace names it.
pub(crate) fn relative_to(workspace: &str, path: &Path) -> Result<String, ReadError> {
    let outside = || ReadError::Outside { path: path.display().to_string(), workspace: workspace.to_owned() };
    let rel = if path.is_absolute() { path.strip_prefix(workspace).map_err(|_| outside())? } else { path };
    let mut parts = Vec::new();
    for part in rel.components() {
        match part {
            Component::Normal(name) => parts.push(crate::translate::lossless(name)),
            Component::CurDir => {}
            Component::ParentDir if parts.pop().is_some() => {}
            _ => return Err(outside()),
        }
    }
    Ok(parts.join("/"))
}
