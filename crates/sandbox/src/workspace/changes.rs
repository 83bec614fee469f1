//! What a session changed, by walking its upper layer or its copy.

use super::base::Base;
use super::node::{Open, is_opaque, is_whiteout, kind, named, node_in, node_of};
use super::{Layers, Node, Result, WorkspaceError, beneath, beneath::err, escape};
use globset::{Glob, GlobSet, GlobSetBuilder};
use rustix::fs::FileType;
use rustix::io::Errno;
use sha2::{Digest, Sha256};
use std::collections::HashSet;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

/// Changed paths that are listed, at most: some 300 bytes each are held.
pub const CHANGES_MAX: usize = 4_000_000;

/// How a path changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChangeKind {
    /// Nothing was there.
    Added,
    /// Its content, target or kind is another.
    Modified,
    /// It is gone.
    Removed,
    /// Only its permission bits are others.
    Mode,
}

/// One changed path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Relative to the workspace.
    pub path: PathBuf,
    /// How.
    pub kind: ChangeKind,
    /// What the lower layer has there.
    pub was: Node,
    /// What the session left there.
    pub node: Node,
}

/// Places that are not looked into: build output and caches that the charter names.
#[derive(Clone, Debug, Default)]
pub struct Scratch(GlobSet);

impl Scratch {
    /// Of globs relative to the workspace: `target/**`, `**/__pycache__/**`. `*` does not cross a `/`.
    ///
    /// # Errors
    /// One of them is no glob.
    pub fn new<S: AsRef<str>>(globs: &[S]) -> Result<Self> {
        let mut set = GlobSetBuilder::new();
        let bad = |pattern: &str, e: &globset::Error| WorkspaceError::Pattern {
            pattern: pattern.to_owned(),
            why: e.kind().to_string(),
        };
        for glob in globs {
            let glob = glob.as_ref();
            let built = globset::GlobBuilder::new(glob.trim_end_matches('/')).literal_separator(true).build();
            let built: Glob = built.map_err(|e| bad(glob, &e))?;
            set.add(built);
        }
        set.build().map(Self).map_err(|e| bad("", &e))
    }

    /// Whether the path, or a directory that it is in, is one of them.
    #[must_use]
    pub fn has(&self, rel: &Path) -> bool {
        !self.0.is_empty() && rel.ancestors().any(|p| self.names(p))
    }

    /// Whether the path itself is one of them.
    #[must_use]
    pub fn names(&self, rel: &Path) -> bool {
        !rel.as_os_str().is_empty() && self.0.is_match(rel)
    }
}

/// What a session changed, by path: each path of the merged view that is not as in the lower layer. A removed directory
/// is listed with all that was in it. A directory's own times, owners and what [`Scratch`] names do not count.
///
/// # Errors
/// The layers can't be read, or more than [`CHANGES_MAX`] paths changed.
pub fn changes(layers: &Layers, scratch: &Scratch) -> Result<Vec<Change>> {
    let mut walk = Walk { open: Open::new(layers)?, scratch, found: Vec::new(), here: None };
    match walk.open.base.clone() {
        Some(base) => walk.copy(&base)?,
        None => walk.directory(Path::new(""), true, 0)?,
    }
    let mut found = walk.found;
    found.sort_by(|a, b| a.path.as_os_str().cmp(b.path.as_os_str()));
    Ok(found)
}

/// The digest of what a session changed: `sha256:` of the line `flyball-workspace-1` and, in the byte order of the paths, a
/// line `PATH NODE` for each change, the path as [`escape`] writes it and the node as [`Node`] displays itself. Each line ends
/// with a line feed. Two states of one workspace have the same digest when the merged views are the same.
///
/// # Errors
/// As [`changes`].
pub fn digest(layers: &Layers, scratch: &Scratch) -> Result<String> {
    let mut hasher = Sha256::new();
    hasher.update(b"flyball-workspace-1\n");
    for change in changes(layers, scratch)? {
        hasher.update(format!("{} {}\n", escape(&change.path), change.node));
    }
    Ok(named(&hasher.finalize()))
}

struct Walk<'a> {
    open: Open,
    scratch: &'a Scratch,
    found: Vec<Change>,
    /// The directory whose entries are looked at. One at a time: a walk may be deeper than descriptors can be had.
    here: Option<Here>,
}

/// One directory in both layers, opened.
struct Here {
    rel: PathBuf,
    upper: Option<OwnedFd>,
    lower: Option<OwnedFd>,
}

impl Walk<'_> {
    /// The upper layer's directory at `rel`, with all in it. `merged`: whether the lower directory shows through.
    fn directory(&mut self, rel: &Path, merged: bool, depth: usize) -> Result<()> {
        if depth > beneath::DEPTH_MAX {
            return Err(err("walk", rel)(rustix::io::Errno::NAMETOOLONG));
        }
        let opaque = is_opaque(self.open.upper.as_fd(), rel)?;
        let names = beneath::names(self.open.upper.as_fd(), rel).map_err(err("list", rel))?;
        for name in &names {
            let path = rel.join(name);
            if !self.scratch.has(&path) {
                self.entry(&path, merged && !opaque, depth)?;
            }
        }
        if merged && opaque {
            self.hidden(rel, &names, depth)?;
        }
        Ok(())
    }

    /// What of the lower directory an opaque one hides.
    fn hidden(&mut self, rel: &Path, but: &[std::ffi::OsString], depth: usize) -> Result<()> {
        for name in beneath::names(self.open.lower.as_fd(), rel).map_err(err("list", rel))? {
            let path = rel.join(&name);
            if self.scratch.has(&path) {
                continue;
            }
            if but.binary_search(&name).is_err() {
                self.gone(&path, depth + 1)?;
            }
        }
        Ok(())
    }

    /// That directory, opened if it is not the one that is.
    fn here(&mut self, rel: &Path) -> Result<&Here> {
        let here = match self.here.take().filter(|here| here.rel == rel) {
            Some(here) => here,
            None => {
                let open = |layer: &OwnedFd| match beneath::place(layer.as_fd(), rel) {
                    Ok(found) => Ok(Some(found)),
                    Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
                    Err(e) => Err(err("look at", rel)(e)),
                };
                Here { rel: rel.to_owned(), upper: open(&self.open.upper)?, lower: open(&self.open.lower)? }
            }
        };
        Ok(self.here.insert(here))
    }

    /// One entry of the upper layer.
    fn entry(&mut self, path: &Path, merged: bool, depth: usize) -> Result<()> {
        let name = Path::new(path.file_name().unwrap_or_default());
        let here = self.here(path.parent().unwrap_or(Path::new("")))?;
        let Some(upper) = &here.upper else { return Ok(()) };
        let Some(stat) = beneath::stat(upper.as_fd(), name).map_err(err("look at", path))? else { return Ok(()) };
        // Also below an opaque directory what stands in the lower layer is what the change is measured by.
        let was = here.lower.as_ref().map(|lower| node_in(lower.as_fd(), name, &mut |_| {}));
        let was = was.unwrap_or(Ok(Node::Absent)).map_err(err("read", path))?;
        if is_whiteout(&stat) {
            return if was == Node::Absent { Ok(()) } else { self.gone(path, depth + 1) };
        }
        let node = node_of(upper.as_fd(), name, &stat, &mut |_| {}).map_err(err("read", path))?;
        let is_dir = kind(&stat) == FileType::Directory;
        let was_dir = matches!(was, Node::Directory { .. });
        if let Some(kind) = changed(&was, &node) {
            self.push(Change { path: path.to_owned(), kind, was, node })?;
        }
        match (was_dir, is_dir) {
            (true, true) if merged => self.directory(path, true, depth + 1),
            (true, true) => self.replaced(path, depth + 1),
            (false, true) => self.directory(path, false, depth + 1),
            (true, false) => self.hidden(path, &[], depth),
            (false, false) => Ok(()),
        }
    }

    /// A directory below an opaque one: all that the lower layer has there is hidden, as if it were opaque itself.
    fn replaced(&mut self, rel: &Path, depth: usize) -> Result<()> {
        self.directory(rel, false, depth)?;
        let names = beneath::names(self.open.upper.as_fd(), rel).map_err(err("list", rel))?;
        self.hidden(rel, &names, depth)
    }

    /// A path that the lower layer has and the merged view no more, with all in it.
    fn gone(&mut self, path: &Path, depth: usize) -> Result<()> {
        if depth > beneath::DEPTH_MAX {
            return Err(err("walk", path)(rustix::io::Errno::NAMETOOLONG));
        }
        let was = self.open.lower_node(path)?;
        let is_dir = matches!(was, Node::Directory { .. });
        self.push(Change { path: path.to_owned(), kind: ChangeKind::Removed, was, node: Node::Absent })?;
        if is_dir { self.hidden(path, &[], depth) } else { Ok(()) }
    }

    /// A copy, held against what it was copied from.
    fn copy(&mut self, base: &Base) -> Result<()> {
        let mut seen = HashSet::new();
        self.copied(base, Path::new(""), 0, &mut seen)?;
        let gone: Vec<PathBuf> =
            base.paths().filter(|path| !seen.contains(*path) && !self.scratch.has(path)).map(Path::to_owned).collect();
        for path in gone {
            let was = base.node(&path);
            self.push(Change { path, kind: ChangeKind::Removed, was, node: Node::Absent })?;
        }
        Ok(())
    }

    fn copied(&mut self, base: &Base, rel: &Path, depth: usize, seen: &mut HashSet<PathBuf>) -> Result<()> {
        if depth > beneath::DEPTH_MAX {
            return Err(err("walk", rel)(rustix::io::Errno::NAMETOOLONG));
        }
        for name in beneath::names(self.open.upper.as_fd(), rel).map_err(err("list", rel))? {
            let path = rel.join(name);
            if self.scratch.has(&path) {
                continue;
            }
            let upper = self.open.upper.as_fd();
            let Some(stat) = beneath::stat(upper, &path).map_err(err("look at", &path))? else { continue };
            let (was, node) = (base.node(&path), base.look(upper, &path, &stat)?);
            if was != Node::Absent {
                seen.insert(path.clone());
            }
            // A folder that nobody could read has nothing in it, and can't be looked into now either.
            let is_folder = kind(&stat) == FileType::Directory && node != Node::Other;
            if let Some(kind) = changed(&was, &node) {
                self.push(Change { path: path.clone(), kind, was, node })?;
            }
            if is_folder {
                self.copied(base, &path, depth + 1, seen)?;
            }
        }
        Ok(())
    }

    fn push(&mut self, change: Change) -> Result<()> {
        if self.found.len() >= CHANGES_MAX {
            return Err(WorkspaceError::TooMany(CHANGES_MAX));
        }
        self.found.push(change);
        Ok(())
    }
}

/// How one became the other, if they differ.
fn changed(was: &Node, is: &Node) -> Option<ChangeKind> {
    match (was, is) {
        (was, is) if was == is => None,
        (Node::Absent, _) => Some(ChangeKind::Added),
        (_, Node::Absent) => Some(ChangeKind::Removed),
        (Node::File { digest: a, .. }, Node::File { digest: b, .. }) if a == b => Some(ChangeKind::Mode),
        (Node::Directory { .. }, Node::Directory { .. }) => Some(ChangeKind::Mode),
        _ => Some(ChangeKind::Modified),
    }
}
