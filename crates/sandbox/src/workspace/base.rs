//! A workspace by copy, where no overlay can be had: the session works in a copy of the user's tree, and what the tree held
//! when it was copied is kept in a manifest beside it. A change is what differs from that manifest.
//!
//! `upper` is the copy then; the manifest's being there says so. The user's tree may change meanwhile: the session doesn't
//! see it, and [`super::apply`] finds it out.

use super::node::{kind, named, node_in};
use super::text::serde_path;
use super::{Layers, Node, Result, WorkspaceError, beneath, beneath::err};
use crate::copy::{self, Bounds, Kind};
use rustix::fs::{FileType, Mode, OFlags, Stat, Timespec, Timestamps};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::ops::Bound;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Entries of a tree that is copied, at most.
pub const COPIED_MAX: u64 = 5_000_000;
/// First line of a manifest.
const VERSION: &str = "flyball-base-1";
/// So many milliseconds is waited for a file system's clock to move on.
const TICKS_MAX: usize = 200;
/// File systems on which every change of a file's content shows in its inode's change time, writes through a shared map
/// included. (Not so: tmpfs. Not known: whatever else.)
const TELLING: &[u64] = &[0xef53, 0x5846_5342, 0x9123_683e, 0xf2f5_2010, 0xca45_1a4e, 0x2fc1_2fc1];

/// What the user's tree held when it was copied.
#[derive(Clone, Debug, Default)]
pub(super) struct Base {
    entries: BTreeMap<PathBuf, Entry>,
    /// Files with several names, by the copy's inode.
    names: HashMap<u64, Vec<PathBuf>>,
    /// What was last changed before this time was so before the session began.
    begun: (i64, i64),
    /// Whether a file whose inode did not change holds what it held.
    is_telling: bool,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Entry {
    #[serde(with = "serde_path")]
    path: PathBuf,
    node: Node,
    /// The copy's inode, and the time of its last change.
    ino: u64,
    changed: (i64, i64),
}

#[derive(Serialize, Deserialize)]
struct Head {
    version: String,
    begun: (i64, i64),
    entries: usize,
}

/// Copies the user's tree to where the overlay's upper layer would be, `upper`, at which nothing or an empty folder may be.
/// What is at `hide` (host paths) stays out of it. Whether files share their blocks with the originals: then the copy took
/// little time and no space.
///
/// # Errors
/// The tree can't be read, its copy not be written, or it has more than [`COPIED_MAX`] entries; no copy is left then.
pub fn copy(layers: &Layers, hide: &[PathBuf]) -> Result<bool> {
    let unfinished = layers.upper.with_file_name("copying");
    let done = copy_to(layers, &unfinished, hide);
    if done.is_err() {
        // The cause is what counts.
        let _ = super::remove_tree(&unfinished);
        let _ = fs::remove_file(manifest(layers));
    }
    done
}

fn copy_to(layers: &Layers, unfinished: &Path, hide: &[PathBuf]) -> Result<bool> {
    let io = |doing| move |source| WorkspaceError::Io { doing, path: layers.upper.clone(), source };
    if unfinished.exists() {
        super::remove_tree(unfinished).map_err(io("clear the place of"))?;
    }
    match fs::remove_dir(&layers.upper) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(io("clear")(e)),
        _ => {}
    }
    fs::create_dir(unfinished).map_err(io("make"))?;
    let (from, to) = (beneath::root(&layers.lower)?, beneath::root(unfinished)?);
    rustix::fs::fchmod(&to, Mode::RWXU).map_err(err("open", unfinished))?;
    let mut found: Vec<(PathBuf, Kind)> = Vec::new();
    let bounds = Bounds { entries_max: COPIED_MAX, bytes_max: u64::MAX };
    let is_hidden = |path: &Path| hide.iter().any(|hidden| hidden.strip_prefix(&layers.lower) == Ok(path));
    copy::tree(from.as_fd(), to.as_fd(), bounds, &is_hidden, &mut |path, kind| found.push((path.to_owned(), kind)))
        .map_err(|failed| WorkspaceError::Io { doing: failed.doing, path: failed.path, source: failed.source })?;
    let entries = found.into_iter().map(|(path, kind)| entry(to.as_fd(), path, kind)).collect::<Result<Vec<_>>>()?;
    write(&manifest(layers), &entries)?;
    fs::rename(unfinished, &layers.upper).map_err(io("put in place"))?;
    Ok(copy::can_share(from.as_fd(), to.as_fd()))
}

/// Where the manifest of a workspace by copy is.
fn manifest(layers: &Layers) -> PathBuf {
    layers.upper.with_file_name("base")
}

/// What a copied entry is, and how its inode stands once everything is copied.
fn entry(to: BorrowedFd<'_>, path: PathBuf, kind: Kind) -> Result<Entry> {
    let stat = beneath::stat(to, &path).map_err(err("look at", &path))?;
    let stat = stat.ok_or_else(|| err("find", &path)(rustix::io::Errno::NOENT))?;
    let mode = stat.st_mode & 0o7777;
    let node = match kind {
        Kind::File { digest, size } => Node::File { digest: named(&digest), size, mode },
        Kind::Directory => Node::Directory { mode },
        Kind::Symlink(target) => Node::Symlink { target },
        Kind::Other => Node::Other,
    };
    Ok(Entry { path, node, ino: stat.st_ino, changed: changed(&stat) })
}

fn changed(stat: &Stat) -> (i64, i64) {
    (stat.st_ctime, i64::try_from(stat.st_ctime_nsec).unwrap_or(i64::MAX))
}

fn write(path: &Path, entries: &[Entry]) -> Result<()> {
    let io = |doing| move |source| WorkspaceError::Io { doing, path: path.to_owned(), source };
    let file = File::create(path).map_err(io("make"))?;
    let last = entries.iter().map(|entry| entry.changed).max().unwrap_or_default();
    let begun = time_after(&file, last).map_err(err("look at", path))?;
    let mut out = BufWriter::new(file);
    let line = |out: &mut BufWriter<File>, json: serde_json::Result<String>| {
        json.map_err(std::io::Error::other).and_then(|json| writeln!(out, "{json}")).map_err(io("write"))
    };
    let head = Head { version: VERSION.to_owned(), begun, entries: entries.len() };
    line(&mut out, serde_json::to_string(&head))?;
    for entry in entries {
        line(&mut out, serde_json::to_string(entry))?;
    }
    let file = out.into_inner().map_err(|e| io("write")(e.into_error()))?;
    file.sync_all().map_err(io("sync"))
}

/// A time of the file system's own clock after that one: whatever is done from now on happens then or later. That clock may
/// stand still for some milliseconds.
fn time_after(file: &File, last: (i64, i64)) -> rustix::io::Result<(i64, i64)> {
    let now = Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_NOW as _ };
    for _ in 0..TICKS_MAX {
        rustix::fs::futimens(file, &Timestamps { last_access: now, last_modification: now })?;
        let begun = changed(&rustix::fs::fstat(file)?);
        if begun > last {
            return Ok(begun);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    // A clock that was set back: then no file is taken for unchanged without being read.
    Ok((0, 0))
}

impl Base {
    /// The manifest beside the copy; `None` where the workspace is an overlay.
    pub fn of(layers: &Layers) -> Result<Option<Self>> {
        let path = manifest(layers);
        let damaged = |why: String| WorkspaceError::Base { path: path.clone(), why };
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(damaged(e.to_string())),
        };
        let mut lines = BufReader::new(file).lines();
        let first = lines.next().transpose().map_err(|e| damaged(e.to_string()))?.unwrap_or_default();
        let head: Head = serde_json::from_str(&first).map_err(|e| damaged(e.to_string()))?;
        if head.version != VERSION {
            return Err(damaged(format!("it is of version `{}`", head.version)));
        }
        let fs_type = rustix::fs::statfs(&layers.upper).map_err(err("look at", &layers.upper))?.f_type;
        let mut base = Self { begun: head.begun, is_telling: TELLING.contains(&(fs_type as u64)), ..Self::default() };
        for line in lines {
            let line = line.map_err(|e| damaged(e.to_string()))?;
            let entry: Entry = serde_json::from_str(&line).map_err(|e| damaged(e.to_string()))?;
            if matches!(entry.node, Node::File { .. }) {
                base.names.entry(entry.ino).or_default().push(entry.path.clone());
            }
            base.entries.insert(entry.path.clone(), entry);
        }
        base.names.retain(|_, names| names.len() > 1);
        if base.entries.len() == head.entries {
            return Ok(Some(base));
        }
        Err(damaged(format!("it has {} of {} entries", base.entries.len(), head.entries)))
    }

    /// What the tree held there.
    pub fn node(&self, rel: &Path) -> Node {
        self.entries.get(rel).map_or(Node::Absent, |entry| entry.node.clone())
    }

    /// Every path that the tree held, in order.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.entries.keys().map(PathBuf::as_path)
    }

    /// All that the tree held below a path.
    pub fn below<'a>(&'a self, rel: &'a Path) -> impl Iterator<Item = &'a Path> {
        let after = (Bound::Excluded(rel), Bound::Unbounded);
        self.entries
            .range::<Path, _>(after)
            .map(|(path, _)| path.as_path())
            .take_while(move |path| path.starts_with(rel))
    }

    /// The other names that the copy's file with this inode had.
    pub fn names_of(&self, ino: u64) -> &[PathBuf] {
        self.names.get(&ino).map_or(&[], Vec::as_slice)
    }

    /// What the copy holds there now. A file that nobody can have changed since it was copied is not read again.
    pub fn look(&self, upper: BorrowedFd<'_>, rel: &Path, stat: &Stat) -> Result<Node> {
        match self.entries.get(rel) {
            Some(entry) if self.is_as_it_was(entry, stat) => Ok(entry.node.clone()),
            Some(Entry { node: Node::Other, .. }) if is_placeholder(upper, rel, stat)? => Ok(Node::Other),
            _ => node_in(upper, rel, &mut |_| {}).map_err(err("read", rel)),
        }
    }

    fn is_as_it_was(&self, entry: &Entry, stat: &Stat) -> bool {
        let Node::File { size, mode, .. } = entry.node else { return false };
        self.is_telling
            && entry.changed < self.begun
            && (entry.ino, entry.changed) == (stat.st_ino, changed(stat))
            && kind(stat) == FileType::RegularFile
            && u64::try_from(stat.st_size) == Ok(size)
            && stat.st_mode & 0o7777 == mode
    }
}

/// Whether that is what stands for something that could not be read: told by its shape, since a twin has another inode.
fn is_placeholder(upper: BorrowedFd<'_>, rel: &Path, stat: &Stat) -> Result<bool> {
    match kind(stat) {
        FileType::RegularFile => Ok(stat.st_size == 0 && stat.st_mode & 0o7777 == copy::CLOSED_FILE),
        FileType::Directory if stat.st_mode & 0o7777 == copy::CLOSED_FOLDER => {
            Ok(beneath::names(upper, rel).map_err(err("list", rel))?.is_empty())
        }
        _ => Ok(false),
    }
}

/// What the user's tree held at a path when the session began to work on it: now, for an overlay; then, for a copy.
///
/// # Errors
/// The path does not stay within, or the operating system refuses.
pub fn base_node(layers: &Layers, rel: &Path) -> Result<Node> {
    beneath::check(rel)?;
    match layers.base()? {
        Some(base) => Ok(base.node(rel)),
        None => super::lower_node(layers, rel),
    }
}

/// Whether the session works in a copy and not in an overlay.
///
/// # Errors
/// The manifest is damaged.
pub fn is_copy(layers: &Layers) -> Result<bool> {
    Ok(layers.base()?.is_some())
}

/// What else changed when something did at this path, where the session works in a copy: all that the tree held below it,
/// unless that very folder is still there (one rename takes it all away, and may bring another), and the other names of the
/// file that is there.
///
/// # Errors
/// The path does not stay within, or the operating system refuses.
pub fn along_with(layers: &Layers, rel: &Path) -> Result<Vec<PathBuf>> {
    beneath::check(rel)?;
    let Some(base) = layers.base()? else { return Ok(Vec::new()) };
    let upper = rustix::fs::open(&layers.upper, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(err("open", &layers.upper))?;
    match beneath::stat(upper.as_fd(), rel).map_err(err("look at", rel))? {
        Some(stat) if kind(&stat) == FileType::Directory => {
            if base.entries.get(rel).is_none_or(|entry| entry.ino == stat.st_ino) {
                return Ok(Vec::new());
            }
            let here = beneath::names(upper.as_fd(), rel).map_err(err("list", rel))?;
            Ok(here.iter().map(|name| rel.join(name)).chain(base.below(rel).map(Path::to_owned)).collect())
        }
        Some(stat) => {
            let names = base.names_of(stat.st_ino).iter().filter(|name| *name != rel);
            Ok(names.map(PathBuf::as_path).chain(base.below(rel)).map(Path::to_owned).collect())
        }
        None => Ok(base.below(rel).map(Path::to_owned).collect()),
    }
}
