//! The journal of an apply: what will be done, written before the first of it, so that a crash anywhere can be undone.

use super::rewind::move_to_free;
use super::{Result, WorkspaceError, beneath, beneath::err, text::serde_path};
use rustix::fs::{AtFlags, FileType, Mode};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

/// The version that this code writes, and the only one that it reads.
const VERSION: u32 = 1;

/// How far an apply had come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Phase {
    /// New content is being put beside the tree; the tree itself is as it was.
    Staging,
    /// Steps are being taken; on recovery they are undone.
    Applying,
    /// All steps are taken and durable; what is left is to throw the originals away.
    Committed,
}

/// One step on the real tree. Each can be told done from not done by what stands where, so the journal is not written
/// between steps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "do")]
pub(super) enum Step {
    /// `path` moves to the stage as `oN`.
    Keep {
        #[serde(with = "serde_path")]
        path: PathBuf,
        slot: usize,
    },
    /// The stage's `nN`, inode `ino`, moves to `path`.
    Place {
        #[serde(with = "serde_path")]
        path: PathBuf,
        slot: usize,
        ino: u64,
    },
    /// An empty directory goes; it had that mode. The stage's `dN` takes its place when that is undone.
    Rmdir {
        #[serde(with = "serde_path")]
        path: PathBuf,
        mode: u32,
        #[serde(default)]
        slot: Option<usize>,
    },
    /// A directory comes.
    Mkdir {
        #[serde(with = "serde_path")]
        path: PathBuf,
    },
    /// A directory's permission bits change.
    Chmod {
        #[serde(with = "serde_path")]
        path: PathBuf,
        from: u32,
        to: u32,
    },
}

/// The whole journal.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Journal {
    pub version: u32,
    #[serde(with = "serde_path")]
    pub workspace: PathBuf,
    /// The hidden folder in the workspace's root with new content and originals.
    pub stage: String,
    pub phase: Phase,
    pub steps: Vec<Step>,
}

/// What [`recover`] found and did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recovered {
    /// No apply was cut off.
    Nothing,
    /// One was, before it was complete: the tree is as it was before.
    RolledBack,
    /// One was, after it was complete: all of it stands.
    Completed,
}

impl Journal {
    pub fn new(workspace: &Path, stage: String) -> Self {
        Self { version: VERSION, workspace: workspace.to_owned(), stage, phase: Phase::Staging, steps: Vec::new() }
    }

    /// Writes it durably: whole, or as it was before.
    pub fn write(&self, at: &Path) -> Result<()> {
        let text =
            serde_json::to_vec(self).map_err(|e| WorkspaceError::Journal { path: at.into(), why: e.to_string() })?;
        write_durably(at, &text)
    }

    pub fn read(at: &Path) -> Result<Option<Self>> {
        let text = match std::fs::read(at) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(WorkspaceError::Io { doing: "read the journal", path: at.to_owned(), source }),
        };
        let damaged = |why: String| WorkspaceError::Journal { path: at.to_owned(), why };
        let journal: Self = serde_json::from_slice(&text).map_err(|e| damaged(e.to_string()))?;
        if journal.version != VERSION {
            return Err(damaged(format!("version {}", journal.version)));
        }
        let plain = Path::new(&journal.stage).components().count() == 1 && journal.stage.starts_with(".flyball-apply-");
        if !plain {
            return Err(damaged(format!("`{}` is no stage", journal.stage)));
        }
        Ok(Some(journal))
    }

    /// Throws the stage away.
    pub fn clear(&self, root: BorrowedFd<'_>) -> Result<()> {
        beneath::remove(root, Path::new(&self.stage)).map_err(err("remove", Path::new(&self.stage)))
    }

    /// Throws the stage away, then the journal.
    pub fn close(&self, root: BorrowedFd<'_>, at: &Path) -> Result<()> {
        self.clear(root)?;
        // INVARIANT: after the stage, which the journal alone knows.
        remove_durably(at)
    }

    /// Takes back every step that was taken, last first. What somebody else put in the way stays, and is told.
    pub fn undo(&self, root: BorrowedFd<'_>) -> Result<()> {
        let stage_path = Path::new(&self.stage);
        let stage = match beneath::dir(root, stage_path) {
            Ok(fd) => fd,
            // It is made before the first step and removed after the last was undone.
            Err(Errno::NOENT) => return Ok(()),
            Err(e) => return Err(err("open", stage_path)(e)),
        };
        let mut stuck = Vec::new();
        for step in self.steps.iter().rev() {
            let path = step.path();
            match undo_step(root, stage.as_fd(), step) {
                Ok(()) => {}
                Err(Errno::EXIST | Errno::NOTEMPTY | Errno::NOTDIR | Errno::ISDIR | Errno::NOENT | Errno::LOOP) => {
                    stuck.push(path.to_owned());
                }
                Err(e) => return Err(err("undo", path)(e)),
            }
        }
        sync_parents(root, &self.steps)?;
        if stuck.is_empty() {
            return Ok(());
        }
        stuck.sort();
        stuck.dedup();
        Err(WorkspaceError::Stuck { paths: stuck, kept: self.workspace.join(&self.stage) })
    }
}

impl Step {
    pub fn path(&self) -> &Path {
        match self {
            Step::Keep { path, .. }
            | Step::Place { path, .. }
            | Step::Rmdir { path, .. }
            | Step::Mkdir { path }
            | Step::Chmod { path, .. } => path,
        }
    }

    pub fn doing(&self) -> &'static str {
        match self {
            Step::Keep { .. } => "set aside",
            Step::Place { .. } => "put in place",
            Step::Rmdir { .. } => "remove the directory",
            Step::Mkdir { .. } => "make the directory",
            Step::Chmod { .. } => "set the mode of",
        }
    }

    /// Takes the step.
    pub fn take(&self, root: BorrowedFd<'_>, stage: BorrowedFd<'_>) -> rustix::io::Result<()> {
        match self {
            Step::Keep { path, slot } => {
                let (dir, name) = beneath::parent(root, path)?;
                move_to_free((dir.as_fd(), &name), (stage, &old(*slot)))
            }
            Step::Place { path, slot, .. } => {
                let (dir, name) = beneath::parent(root, path)?;
                move_to_free((stage, &new(*slot)), (dir.as_fd(), &name))
            }
            Step::Rmdir { path, .. } => {
                let (dir, name) = beneath::parent(root, path)?;
                rustix::fs::unlinkat(&dir, &name, AtFlags::REMOVEDIR)
            }
            Step::Mkdir { path } => {
                let (dir, name) = beneath::parent(root, path)?;
                rustix::fs::mkdirat(&dir, &name, Mode::from_raw_mode(0o700))
            }
            Step::Chmod { path, to, .. } => beneath::chmod(root, path, *to),
        }
    }
}

/// Takes one step back if it was taken.
fn undo_step(root: BorrowedFd<'_>, stage: BorrowedFd<'_>, step: &Step) -> rustix::io::Result<()> {
    match step {
        Step::Keep { path, slot } => {
            if !is_there(stage, &old(*slot))? {
                return Ok(());
            }
            let (dir, name) = beneath::parent(root, path)?;
            move_to_free((stage, &old(*slot)), (dir.as_fd(), &name))
        }
        Step::Place { path, slot, ino } => {
            // Ours is known by its inode: what somebody put there since stays.
            match beneath::stat(root, path)? {
                Some(stat) if stat.st_ino == *ino && !is_there(stage, &new(*slot))? => {}
                _ => return Ok(()),
            }
            let (dir, name) = beneath::parent(root, path)?;
            move_to_free((dir.as_fd(), &name), (stage, &new(*slot)))
        }
        Step::Rmdir { path, mode, slot } => {
            if let Some(stat) = beneath::stat(root, path)? {
                // There still, or again: an earlier undoing may have stopped before it set the mode.
                let is_dir = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
                return if is_dir { beneath::chmod(root, path, *mode) } else { Ok(()) };
            }
            let (dir, name) = beneath::parent(root, path)?;
            // INVARIANT: undoing makes nothing anew where there is a spare, so that a full disk can't keep it from its end.
            match slot.map(spare) {
                Some(spare) if is_there(stage, &spare)? => move_to_free((stage, &spare), (dir.as_fd(), &name))?,
                _ => rustix::fs::mkdirat(&dir, &name, Mode::from_raw_mode(0o700))?,
            }
            // Its content comes back first only if it may be written: the final mode is set by its own step, below.
            beneath::chmod(root, path, *mode)
        }
        Step::Mkdir { path } => match beneath::stat(root, path)? {
            Some(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => {
                let (dir, name) = beneath::parent(root, path)?;
                rustix::fs::unlinkat(&dir, &name, AtFlags::REMOVEDIR)
            }
            _ => Ok(()),
        },
        // Only directories' modes are changed by a step of their own: where the directory was not made yet, what it is
        // to replace may stand there.
        Step::Chmod { path, from, .. } => match beneath::stat(root, path)? {
            Some(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => {
                beneath::chmod(root, path, *from)
            }
            _ => Ok(()),
        },
    }
}

/// Finishes what a crash cut off: undoes an apply that was not complete, throws away the originals of one that was.
/// The journal of one that was complete stands, as after [`super::apply`]: [`conclude`] removes it.
///
/// # Errors
/// The journal can't be read ([`WorkspaceError::Journal`]), something of somebody else's is in the way
/// ([`WorkspaceError::Stuck`]; move it and call again), or the operating system refuses.
pub fn recover(journal: &Path) -> Result<Recovered> {
    let Some(found) = Journal::read(journal)? else { return Ok(Recovered::Nothing) };
    let root = beneath::root(&found.workspace)?;
    match found.phase {
        Phase::Staging => {}
        Phase::Applying => found.undo(root.as_fd())?,
        Phase::Committed => {
            found.clear(root.as_fd())?;
            return Ok(Recovered::Completed);
        }
    }
    found.close(root.as_fd(), journal)?;
    Ok(Recovered::RolledBack)
}

/// Removes the journal of an apply that is complete, once its layers are out of use: until then the journal alone tells
/// that all of them was taken. Without a journal there is nothing to do.
///
/// # Errors
/// The journal can't be read, it is of an apply that is not complete, or the operating system refuses.
pub fn conclude(journal: &Path) -> Result<()> {
    let Some(found) = Journal::read(journal)? else { return Ok(()) };
    if found.phase != Phase::Committed {
        return Err(WorkspaceError::Unfinished(journal.to_owned()));
    }
    // Where it could not be removed before; removing what is not there does not touch the folder's times.
    found.close(beneath::root(&found.workspace)?.as_fd(), journal)
}

/// The stage's name for an original.
pub(super) fn old(slot: usize) -> OsString {
    format!("o{slot}").into()
}

/// The stage's name for new content.
pub(super) fn new(slot: usize) -> OsString {
    format!("n{slot}").into()
}

/// The stage's name for a directory that stands by, should one that went have to come back.
pub(super) fn spare(slot: usize) -> OsString {
    format!("d{slot}").into()
}

fn is_there(dir: BorrowedFd<'_>, name: &OsStr) -> rustix::io::Result<bool> {
    match rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(_) => Ok(true),
        Err(Errno::NOENT) => Ok(false),
        Err(e) => Err(e),
    }
}

/// Makes renames in the directories of these steps durable.
pub(super) fn sync_parents(root: BorrowedFd<'_>, steps: &[Step]) -> Result<()> {
    let mut dirs: Vec<&Path> = steps.iter().filter_map(|s| s.path().parent()).collect();
    dirs.sort();
    dirs.dedup();
    for dir in dirs {
        match beneath::dir(root, dir) {
            Ok(fd) => rustix::fs::fsync(fd).map_err(err("sync", dir))?,
            // Gone with a later step, or not readable by us; its own parent's entry is synced.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::ACCESS | Errno::LOOP) => {}
            Err(e) => return Err(err("sync", dir)(e)),
        }
    }
    Ok(())
}

/// Writes a file of the supervisor's own, durably: whole, or as it was before. Nobody else may write it meanwhile.
///
/// # Errors
/// The operating system refused; then it is unknown which of the two a crash would leave.
pub fn write_durably(at: &Path, bytes: &[u8]) -> Result<()> {
    let io = |source| WorkspaceError::Io { doing: "write", path: at.to_owned(), source };
    let temp = at.with_extension("new");
    let mut file = std::fs::File::create(&temp).map_err(io)?;
    // INVARIANT: the content is on the disk before the name means it, and the name before anything relies on it.
    let written = file.write_all(bytes).and_then(|()| file.sync_all()).and_then(|()| std::fs::rename(&temp, at));
    if let Err(e) = written {
        // The cause counts; a leftover is written over by the next.
        let _ = std::fs::remove_file(&temp);
        return Err(io(e));
    }
    sync_above(at)
}

/// Removes a file of the supervisor's own, durably; nothing there is fine.
///
/// # Errors
/// The operating system refused.
pub fn remove_durably(at: &Path) -> Result<()> {
    match std::fs::remove_file(at) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            Err(WorkspaceError::Io { doing: "remove", path: at.to_owned(), source: e })
        }
        _ => sync_above(at),
    }
}

pub(super) fn sync_above(path: &Path) -> Result<()> {
    let dir = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let io = |source| WorkspaceError::Io { doing: "sync", path: dir.to_owned(), source };
    std::fs::File::open(dir).and_then(|d| d.sync_all()).map_err(io)
}
