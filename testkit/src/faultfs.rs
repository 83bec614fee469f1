//! A file layer that fails on purpose and forgets what was not synced: for tests of what must survive a bad disk or a lost
//! power supply.
//!
//! [`library`] builds the layer; a program runs in it with `LD_PRELOAD` and the variables that its source names. [`read`] gives
//! what the program changed, in order, and what it told meanwhile. [`power_loss`] makes a folder as a power loss may have
//! left it: what was synced is there; of what was not, any part may be, torn within a file, renames and new names in order.
//!
//! It sees calls of the C library (SQLite's and those of Rust's standard library), not raw system calls.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What a disk writes at once, at least: a write that was not synced may be cut at any multiple of it.
const SECTOR_BYTES: usize = 512;

/// One change, or one thing told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// Bytes written at an offset.
    Write(PathBuf, u64, Vec<u8>),
    /// A file cut or stretched to a length.
    Truncate(PathBuf, u64),
    /// A new file with its mode.
    Create(PathBuf, u32),
    /// A new directory with its mode.
    Mkdir(PathBuf, u32),
    /// A name that went.
    Unlink(PathBuf),
    /// A name that became another.
    Rename(PathBuf, PathBuf),
    /// A second name.
    Link(PathBuf, PathBuf),
    /// A file or directory synced.
    Sync(PathBuf),
    /// A call that was made to fail: its kind, and on what.
    Failed(String, PathBuf),
    /// What was written to standard output.
    Told(String),
}

/// Builds the layer into `folder`; why not where there is no C compiler.
///
/// # Errors
/// What the compiler said, for a test to print when it skips itself.
pub fn library(folder: &Path) -> Result<PathBuf, String> {
    let (source, library) = (folder.join("faultfs.c"), folder.join("faultfs.so"));
    std::fs::write(&source, include_str!("faultfs.c")).map_err(|e| e.to_string())?;
    let built = Command::new("cc").args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(&source).output();
    let built = built.map_err(|e| format!("no C compiler `cc`: {e}"))?;
    if built.status.success() { Ok(library) } else { Err(String::from_utf8_lossy(&built.stderr).into_owned()) }
}

/// Puts a command into the layer: changes below `root` are logged and, if asked, made to fail.
pub fn wrap(command: &mut Command, library: &Path, root: &Path, log: &Path, fail: Option<&str>) {
    command.env("LD_PRELOAD", library).env("FAULTFS_ROOT", root).env("FAULTFS_LOG", log);
    if let Some(fail) = fail {
        command.env("FAULTFS_FAIL", fail);
    }
}

/// Reads a log.
///
/// # Errors
/// It can't be read, or is not one.
pub fn read(log: &Path) -> io::Result<Vec<Op>> {
    let bytes = std::fs::read(log)?;
    let bad = |what: &str| io::Error::other(format!("not a log: {what}"));
    let mut rest = bytes.as_slice();
    let mut ops = Vec::new();
    while !rest.is_empty() {
        let end = rest.iter().position(|b| *b == b'\n').ok_or_else(|| bad("no line end"))?;
        let (head, tail) = rest.split_at(end);
        let head = std::str::from_utf8(head).map_err(|_| bad("no text"))?;
        let mut words = head.split(' ');
        let kind = words.next().unwrap_or_default();
        let mut number = || words.next().and_then(|w| w.parse::<i64>().ok()).ok_or_else(|| bad(head));
        let (a, one, two) = (number()?, number()?, number()?);
        let size = |n: i64| usize::try_from(n).map_err(|_| bad(head));
        let tail = tail.get(1..).unwrap_or_default();
        let first = tail.get(..size(one)?).ok_or_else(|| bad("cut off"))?;
        let second = tail.get(size(one)?..size(one)? + size(two)?).ok_or_else(|| bad("cut off"))?;
        rest = tail.get(size(one)? + size(two)?..).unwrap_or_default();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let path = |bytes: &[u8]| PathBuf::from(text(bytes));
        let mode = u32::try_from(a).unwrap_or_default();
        ops.push(match kind {
            "W" => Op::Write(path(first), a.unsigned_abs(), second.to_vec()),
            "T" => Op::Truncate(path(first), a.unsigned_abs()),
            "C" => Op::Create(path(first), mode),
            "M" => Op::Mkdir(path(first), mode),
            "U" => Op::Unlink(path(first)),
            "R" => Op::Rename(path(first), path(second)),
            "L" => Op::Link(path(first), path(second)),
            "S" => Op::Sync(path(first)),
            "F" => Op::Failed(text(first), path(second)),
            "A" => Op::Told(text(first)),
            _ => return Err(bad(head)),
        });
    }
    Ok(ops)
}

/// A file's bytes: what is surely there, and what came since.
#[derive(Clone, Debug, Default)]
struct File {
    mode: u32,
    synced: Vec<u8>,
    since: Vec<Since>,
}

#[derive(Clone, Debug)]
struct Since {
    change: Change,
    /// Its sync failed: the operating system may have forgotten it, and later syncs don't bring it back.
    is_forgotten: bool,
}

#[derive(Clone, Debug)]
enum Change {
    Write(u64, Vec<u8>),
    Cut(u64),
}

/// A change of names, in order.
#[derive(Clone, Debug)]
enum Name {
    Set(PathBuf, usize),
    Dir(PathBuf, u32),
    Gone(PathBuf),
    Moved(PathBuf, PathBuf),
}

#[derive(Default)]
struct Disk {
    files: Vec<File>,
    names: BTreeMap<PathBuf, usize>,
    changes: Vec<Name>,
    /// So many changes of names are surely there.
    synced: usize,
}

/// Makes `into` as `root` may be after the power was lost when the first `upto` of `ops` were done. `random` gives a number
/// below its argument.
///
/// # Errors
/// `into` can't be written.
pub fn power_loss(
    ops: &[Op],
    upto: usize,
    root: &Path,
    into: &Path,
    random: &mut dyn FnMut(u64) -> u64,
) -> io::Result<()> {
    let mut disk = Disk::default();
    ops.iter().take(upto).for_each(|op| disk.take(op));
    let spare = (disk.changes.len() - disk.synced) as u64;
    let there = disk.synced + usize::try_from(random(spare + 1)).unwrap_or(0);
    let mut names: BTreeMap<PathBuf, usize> = BTreeMap::new();
    let at = |path: &Path| path.strip_prefix(root).map(|rel| into.join(rel)).map_err(io::Error::other);
    for change in disk.changes.iter().take(there) {
        match change {
            Name::Set(path, file) => _ = names.insert(path.clone(), *file),
            Name::Dir(path, mode) => {
                std::fs::create_dir_all(at(path)?)?;
                std::fs::set_permissions(at(path)?, std::fs::Permissions::from_mode(*mode))?;
            }
            Name::Gone(path) => _ = names.remove(path),
            Name::Moved(from, to) => {
                if let Some(file) = names.remove(from) {
                    names.insert(to.clone(), file);
                }
            }
        }
    }
    for (path, file) in names {
        let Some(file) = disk.files.get(file) else { continue };
        std::fs::write(at(&path)?, file.after(random))?;
        std::fs::set_permissions(at(&path)?, std::fs::Permissions::from_mode(file.mode & 0o777))?;
    }
    Ok(())
}

impl Disk {
    fn take(&mut self, op: &Op) {
        match op {
            Op::Create(path, mode) => {
                self.files.push(File { mode: *mode, ..File::default() });
                self.name(path, self.files.len() - 1);
            }
            Op::Mkdir(path, mode) => self.changes.push(Name::Dir(path.clone(), *mode)),
            Op::Link(from, to) => {
                if let Some(file) = self.names.get(from).copied() {
                    self.name(to, file);
                }
            }
            Op::Unlink(path) => {
                self.names.remove(path);
                self.changes.push(Name::Gone(path.clone()));
            }
            Op::Rename(from, to) => {
                if let Some(file) = self.names.remove(from) {
                    self.names.insert(to.clone(), file);
                    self.changes.push(Name::Moved(from.clone(), to.clone()));
                }
            }
            Op::Write(path, at, bytes) => self.change(path, Change::Write(*at, bytes.clone())),
            Op::Truncate(path, size) => self.change(path, Change::Cut(*size)),
            Op::Sync(path) => match self.file(path) {
                Some(file) => file.sync(),
                // A directory: what was done to names in it is there, and all before that, as a journal keeps it.
                None => {
                    let last = self.changes.iter().rposition(|change| change.parent() == Some(path));
                    self.synced = self.synced.max(last.map_or(0, |n| n + 1));
                }
            },
            Op::Failed(kind, path) if kind == "sync" => {
                if let Some(file) = self.file(path) {
                    file.since.iter_mut().for_each(|since| since.is_forgotten = true);
                }
            }
            Op::Failed(..) | Op::Told(_) => {}
        }
    }

    fn name(&mut self, path: &Path, file: usize) {
        self.names.insert(path.to_owned(), file);
        self.changes.push(Name::Set(path.to_owned(), file));
    }

    fn file(&mut self, path: &Path) -> Option<&mut File> {
        self.files.get_mut(*self.names.get(path)?)
    }

    fn change(&mut self, path: &Path, change: Change) {
        if let Some(file) = self.file(path) {
            file.since.push(Since { change, is_forgotten: false });
        }
    }
}

impl Name {
    fn parent(&self) -> Option<&Path> {
        match self {
            Name::Set(path, _) | Name::Dir(path, _) | Name::Gone(path) | Name::Moved(_, path) => path.parent(),
        }
    }
}

impl File {
    fn sync(&mut self) {
        let (forgotten, kept): (Vec<Since>, Vec<Since>) =
            std::mem::take(&mut self.since).into_iter().partition(|since| since.is_forgotten);
        kept.iter().for_each(|since| since.change.whole(&mut self.synced));
        self.since = forgotten;
    }

    /// As the power loss left it: of what came since the last sync nothing, all, or any part.
    fn after(&self, random: &mut dyn FnMut(u64) -> u64) -> Vec<u8> {
        let mut bytes = self.synced.clone();
        let how = random(4);
        for since in &self.since {
            match (how, since.is_forgotten) {
                (0, _) | (_, true) => {}
                (1, false) => since.change.whole(&mut bytes),
                (_, false) => since.change.torn(&mut bytes, random),
            }
        }
        bytes
    }
}

impl Change {
    fn whole(&self, bytes: &mut Vec<u8>) {
        match self {
            Change::Cut(size) => bytes.resize(usize::try_from(*size).unwrap_or(0), 0),
            Change::Write(at, new) => put(bytes, *at, new),
        }
    }

    fn torn(&self, bytes: &mut Vec<u8>, random: &mut dyn FnMut(u64) -> u64) {
        match self {
            Change::Cut(_) if random(2) == 0 => {}
            Change::Cut(_) => self.whole(bytes),
            Change::Write(at, new) => {
                for (n, sector) in (0_u64..).zip(new.chunks(SECTOR_BYTES)) {
                    if random(3) > 0 {
                        put(bytes, at + n * SECTOR_BYTES as u64, sector);
                    }
                }
            }
        }
    }
}

fn put(bytes: &mut Vec<u8>, at: u64, new: &[u8]) {
    let at = usize::try_from(at).unwrap_or(0);
    if bytes.len() < at + new.len() {
        bytes.resize(at + new.len(), 0);
    }
    if let Some(place) = bytes.get_mut(at..at + new.len()) {
        place.copy_from_slice(new);
    }
}
