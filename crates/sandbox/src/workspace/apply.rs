//! Taking a session's changes to the real tree: all of them, or none.

use super::journal::{Journal, Phase, Step, new, old, spare, sync_parents};
use super::names::Names;
use super::node::node_in;
use super::rewind::{create, fill, own};
use super::{Change, Conflict, Layers, Node, Result, WorkspaceError, beneath, beneath::err, likeness};
use rustix::fs::{AtFlags, Mode, Stat};
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

/// What to take to the real tree.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// The changes, as [`super::changes`] gave them (or some of them).
    pub changes: Vec<Change>,
    /// What the session saw of each path when it first touched it. A path that is not in here is expected to be as
    /// [`Change::was`] has it.
    pub expected: BTreeMap<PathBuf, Node>,
}

/// What was applied.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// The paths that are now as the session left them.
    pub paths: Vec<PathBuf>,
    /// Devices, FIFOs and sockets, and files that could not be read: they were left out.
    pub left_out: Vec<PathBuf>,
    /// Files that were taken without their set-user-id or set-group-id bits.
    pub stripped: Vec<PathBuf>,
}

/// Takes the plan's changes from the session's layer to the real tree, all or nothing. `journal` is a path of the
/// supervisor's, where nothing is yet; should the process die, [`super::recover`] with that path undoes or completes.
/// Afterwards it stands and says that all was taken: take the layers out of use, then call [`super::conclude`].
///
/// In order: every touched real path is compared with what is expected of it; contents are copied into a hidden folder in the
/// workspace's root (so that a full disk is met before anything changes) and synced; the journal is synced; originals
/// are moved into the hidden folder and new content into place, by renames; if one fails, all are undone.
///
/// What is run as another user than who runs it is not the session's to make: a file that it made or changed comes without
/// set-id bits and without capabilities.
///
/// Modes, symbolic and hard links, modification times, extended attributes and holes are kept, owners where we may give
/// files away. A file of which only times or attributes changed is no change.
///
/// # Errors
/// [`WorkspaceError::Conflicts`] with all paths that are not as expected; [`WorkspaceError::Undone`] when a step failed.
/// In both cases, and whenever staging fails, the tree is as before.
pub fn apply(layers: &Layers, plan: Plan, journal: &Path) -> Result<Applied> {
    apply_with(layers, plan, journal, &mut |_| Ok(()))
}

/// Points at which a test stops the work, as a crash would, or makes a step fail.
pub(super) type Probe<'a> = &'a mut dyn FnMut(&'static str) -> Result<()>;

pub(super) fn apply_with(layers: &Layers, plan: Plan, journal: &Path, probe: Probe<'_>) -> Result<Applied> {
    if std::fs::symlink_metadata(journal).is_ok() {
        return Err(WorkspaceError::Unfinished(journal.to_owned()));
    }
    let lower = beneath::root(&layers.lower)?;
    let upper = beneath::root(&layers.upper)?;
    let (mut changes, mut stripped) = (plan.changes, Vec::new());
    for change in &mut changes {
        if strip(change) {
            stripped.push(change.path.clone());
        }
    }
    changes.retain(|c| c.was != c.node);
    let (take, left_out): (Vec<&Change>, Vec<&Change>) = changes.iter().partition(|c| c.node != Node::Other);
    for change in &take {
        beneath::check(&change.path)?;
    }
    let seen = unchanged(lower.as_fd(), &take, &plan.expected)?;
    let applied = Applied {
        paths: take.iter().map(|c| c.path.clone()).collect(),
        left_out: left_out.iter().map(|c| c.path.clone()).collect(),
        stripped,
    };
    if take.is_empty() {
        return Ok(applied);
    }
    let mut log = Journal::new(&layers.lower, stage_name("apply")?);
    log.write(journal)?;
    let staged = probe("journal").and_then(|()| stage(lower.as_fd(), upper.as_fd(), &take, &mut log, probe));
    let stage = match staged {
        Ok(stage) => stage,
        Err(e) => return abandon(e, &log, lower.as_fd(), journal),
    };
    log.phase = Phase::Applying;
    if let Err(e) = log.write(journal) {
        return abandon(e, &log, lower.as_fd(), journal);
    }
    if let Err(e) = steps(&log, lower.as_fd(), stage.as_fd(), &seen, probe) {
        #[cfg(test)]
        if matches!(e, WorkspaceError::Stopped) {
            return Err(e);
        }
        return take_back(e, &log, lower.as_fd(), journal);
    }
    log.phase = Phase::Committed;
    if let Err(e) = log.write(journal) {
        // INVARIANT: while the journal may say that all is done, nothing is undone: only the word that it is not lets us.
        log.phase = Phase::Applying;
        return match log.write(journal) {
            Ok(()) => take_back(e, &log, lower.as_fd(), journal),
            Err(_) => Err(WorkspaceError::Between { journal: journal.to_owned(), why: e.to_string() }),
        };
    }
    probe("committed")?;
    // All of it stands and is durable: what could not be removed of the stage goes with the journal.
    let _ = log.clear(lower.as_fd());
    // Last, because the stage's going changes the root's time.
    likeness::directories(upper.as_fd(), lower.as_fd(), &take);
    probe("cleared")?;
    Ok(applied)
}

/// Takes the set-id bits off a changed file, but for those that it had before with the same content. Whether any went.
fn strip(change: &mut Change) -> bool {
    const SET_ID: u32 = 0o6000;
    let Node::File { digest, mode, .. } = &mut change.node else { return false };
    let kept = match &change.was {
        Node::File { digest: was, mode, .. } if was == digest => mode & SET_ID,
        _ => 0,
    };
    let gained = *mode & SET_ID & !kept;
    *mode &= !gained;
    gained != 0
}

/// Undoes every step; where that fails the journal stands, and whoever recovers it goes on.
fn take_back<T>(e: WorkspaceError, log: &Journal, root: BorrowedFd<'_>, journal: &Path) -> Result<T> {
    match log.undo(root).and_then(|()| log.close(root, journal)) {
        Ok(()) => Err(e),
        Err(stuck @ WorkspaceError::Stuck { .. }) => Err(stuck),
        Err(worse) => Err(WorkspaceError::Between { journal: journal.to_owned(), why: format!("{e}; then: {worse}") }),
    }
}

/// Nothing of the tree was touched yet: the stage goes, and the error stands. Where the stage can't go, it is left lying in
/// the tree, and the journal stands for whoever recovers it.
fn abandon<T>(e: WorkspaceError, log: &Journal, root: BorrowedFd<'_>, journal: &Path) -> Result<T> {
    #[cfg(test)]
    if matches!(e, WorkspaceError::Stopped) {
        return Err(e);
    }
    match log.close(root, journal) {
        Ok(()) => Err(e),
        Err(worse) => Err(WorkspaceError::Between { journal: journal.to_owned(), why: format!("{e}; then: {worse}") }),
    }
}

/// What tells a file from the same one edited: inode, size, modification time.
type Seen = BTreeMap<PathBuf, (u64, i64, i64, u64)>;

fn identity(stat: &Stat) -> (u64, i64, i64, u64) {
    (stat.st_ino, stat.st_size, stat.st_mtime, stat.st_mtime_nsec)
}

/// Checks that each real path is as expected, and notes which files those are.
fn unchanged(lower: BorrowedFd<'_>, take: &[&Change], expected: &BTreeMap<PathBuf, Node>) -> Result<Seen> {
    let (mut conflicts, mut seen) = (Vec::new(), Seen::new());
    for change in take {
        let expected = expected.get(&change.path).unwrap_or(&change.was);
        // Before the content is read: an edit during the reading shows as another time later.
        if let Some(stat) = beneath::stat(lower, &change.path).map_err(err("look at", &change.path))? {
            seen.insert(change.path.clone(), identity(&stat));
        }
        let found = node_in(lower, &change.path, &mut |_| {}).map_err(err("read", &change.path))?;
        if found != *expected || found != change.was {
            conflicts.push(Conflict { path: change.path.clone(), expected: expected.clone(), found });
        }
    }
    if conflicts.is_empty() { Ok(seen) } else { Err(WorkspaceError::Conflicts(conflicts)) }
}

pub(super) fn stage_name(what: &str) -> Result<String> {
    let mut random = [0_u8; 8];
    rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())
        .map_err(err("name", Path::new("the stage")))?;
    Ok(format!(".flyball-{what}-{}", random.iter().map(|b| format!("{b:02x}")).collect::<String>()))
}

/// Puts all new content beside the tree, durably, and lays down the steps.
fn stage(
    lower: BorrowedFd<'_>,
    upper: BorrowedFd<'_>,
    take: &[&Change],
    log: &mut Journal,
    probe: Probe<'_>,
) -> Result<OwnedFd> {
    let at = PathBuf::from(&log.stage);
    rustix::fs::mkdirat(lower, &at, Mode::from_raw_mode(0o700)).map_err(err("make", &at))?;
    let stage = beneath::dir(lower, &at).map_err(err("open", &at))?;
    let mut made = Vec::new();
    let mut names = Names::default();
    let is_each_synced = take.len() <= SYNCED_ALONE_MAX || !syncs_whole(stage.as_fd());
    for (slot, change) in take.iter().enumerate() {
        probe("stage")?;
        made.push(match names.link(lower, upper, stage.as_fd(), take, slot)? {
            Some(ino) => ino,
            None => content(upper, stage.as_fd(), slot, change, is_each_synced)?,
        });
    }
    log.steps = lay(take, &made);
    spares(stage.as_fd(), &log.steps)?;
    if !is_each_synced {
        rustix::fs::syncfs(&stage).map_err(err("sync", &at))?;
    }
    rustix::fs::fsync(&stage).map_err(err("sync", &at))?;
    rustix::fs::fsync(lower).map_err(err("sync", Path::new("")))?;
    Ok(stage)
}

/// So many files are put on the disk each by itself: of more, the whole file system is, once. Each alone waits for the disk, and
/// what others wrote to it meanwhile is seldom more than all of them.
const SYNCED_ALONE_MAX: usize = 64;

/// Whether a sync of the whole file system puts all its files on the disk and tells of what it could not: ext4, XFS, Btrfs and
/// tmpfs do; FUSE, overlays and network file systems of some kernels do not.
fn syncs_whole(dir: BorrowedFd<'_>) -> bool {
    const KNOWN: [u64; 4] = [0xef53, 0x5846_5342, 0x9123_683e, 0x0102_1994];
    rustix::fs::fstatfs(dir).is_ok_and(|fs| KNOWN.contains(&(fs.f_type as u64)))
}

/// One change's new content in the stage; its inode. `synced`: whether it is put on the disk by itself.
fn content(upper: BorrowedFd<'_>, stage: BorrowedFd<'_>, slot: usize, change: &Change, synced: bool) -> Result<u64> {
    let (rel, name) = (change.path.as_path(), new(slot));
    match &change.node {
        Node::File { digest, mode, .. } => {
            let mut from = beneath::file(upper, rel).map_err(err("read", rel))?;
            let stat = rustix::fs::fstat(&from).map_err(err("read", rel))?;
            let file = create(stage, &name).map_err(err("stage", rel))?;
            let file = fill(File::from(file), &mut from, rel, digest, *mode)?;
            own(file.as_fd(), stat.st_uid, stat.st_gid).map_err(err("give away", rel))?;
            // Giving away takes set-id bits off.
            rustix::fs::fchmod(&file, Mode::from_raw_mode(*mode)).map_err(err("set the mode of", rel))?;
            likeness::holes(&from, &stat, &file);
            likeness::xattrs(from.as_fd(), file.as_fd()).map_err(err("set the attributes of", rel))?;
            rustix::fs::futimens(&file, &likeness::times(&stat)).map_err(err("set the times of", rel))?;
            if synced {
                rustix::fs::fsync(&file).map_err(err("sync", rel))?;
            }
            Ok(rustix::fs::fstat(&file).map_err(err("look at", rel))?.st_ino)
        }
        Node::Symlink { target } => {
            rustix::fs::symlinkat(target, stage, &name).map_err(err("stage", rel))?;
            if let Some(stat) = beneath::stat(upper, rel).map_err(err("look at", rel))? {
                likeness::link_times(stage, &name, &stat).map_err(err("set the times of", rel))?;
            }
            Ok(rustix::fs::statat(stage, &name, AtFlags::SYMLINK_NOFOLLOW).map_err(err("look at", rel))?.st_ino)
        }
        Node::Directory { .. } | Node::Absent | Node::Other => Ok(0),
    }
}

/// A directory for each that will go, so that undoing needs no room.
pub(super) fn spares(stage: BorrowedFd<'_>, steps: &[Step]) -> Result<()> {
    for step in steps {
        if let Step::Rmdir { path, slot: Some(slot), .. } = step {
            rustix::fs::mkdirat(stage, spare(*slot), Mode::from_raw_mode(0o700)).map_err(err("stage", path))?;
        }
    }
    Ok(())
}

/// The steps: what goes, deepest first; what comes, from the top down; then directories' modes, deepest first, since one
/// may close a directory to us.
pub(super) fn lay(take: &[&Change], made: &[u64]) -> Vec<Step> {
    let mut order: Vec<(usize, &Change, u64)> =
        take.iter().zip(made).enumerate().map(|(slot, (c, ino))| (slot, *c, *ino)).collect();
    order.sort_by(|a, b| a.1.path.cmp(&b.1.path));
    let mut out = Vec::new();
    // A directory that is to be emptied or filled must let us, whatever its mode was; undo gives that back.
    for (_, c, _) in &order {
        if let Node::Directory { mode } = c.was
            && mode & 0o700 != 0o700
        {
            out.push(Step::Chmod { path: c.path.clone(), from: mode, to: mode | 0o700 });
        }
    }
    for (slot, c, _) in order.iter().rev() {
        let path = c.path.clone();
        match (&c.was, &c.node) {
            (Node::Absent, _) | (Node::Directory { .. }, Node::Directory { .. }) => {}
            (Node::Directory { mode }, _) => {
                out.push(Step::Rmdir { path, mode: *mode | 0o700, slot: Some(*slot) });
            }
            (a, b) if a == b => {}
            _ => out.push(Step::Keep { path, slot: *slot }),
        }
    }
    for (slot, c, ino) in &order {
        let path = c.path.clone();
        match (&c.was, &c.node) {
            (_, Node::Absent | Node::Other) | (Node::Directory { .. }, Node::Directory { .. }) => {}
            (_, Node::Directory { .. }) => out.push(Step::Mkdir { path }),
            (a, b) if a == b => {}
            _ => out.push(Step::Place { path, slot: *slot, ino: *ino }),
        }
    }
    for (_, c, _) in order.iter().rev() {
        if let Node::Directory { mode } = c.node {
            let from = if let Node::Directory { mode } = c.was { mode | 0o700 } else { 0o700 };
            out.push(Step::Chmod { path: c.path.clone(), from, to: mode });
        }
    }
    out
}

fn steps(log: &Journal, root: BorrowedFd<'_>, stage: BorrowedFd<'_>, seen: &Seen, probe: Probe<'_>) -> Result<()> {
    for step in &log.steps {
        let undone =
            |e: Errno| WorkspaceError::Undone { doing: step.doing(), path: step.path().to_owned(), source: e.into() };
        probe("step")?;
        step.take(root, stage).map_err(undone)?;
        if let Step::Keep { path, slot } = step {
            // Edited since it was compared: whoever did it must not lose that.
            let stat = rustix::fs::statat(stage, old(*slot), AtFlags::SYMLINK_NOFOLLOW).map_err(undone)?;
            if seen.get(path) != Some(&identity(&stat)) {
                return Err(undone(Errno::BUSY));
            }
        }
    }
    probe("steps")?;
    sync_parents(root, &log.steps)?;
    rustix::fs::fsync(stage).map_err(err("sync", Path::new(&log.stage)))
}
