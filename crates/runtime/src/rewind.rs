//! Rollback: takes a session's workspace back to a step, live or after its end, all or nothing, and checks the result against
//! the record.

mod journal;

use crate::capture::Capture;
use crate::control::{self, Request};
use crate::core::Core;
use crate::home::{Home, SessionLock};
use crate::past::Past;
use crate::recover;
use crate::state::{Change, State};
use crate::translate;
use flyball_ledger::{Kind, Ledger};
use flyball_sandbox::Running;
use flyball_sandbox::workspace::{self, Layers, Node, WorkspaceError};
use journal::{Journal, twin};
pub(crate) use journal::{is_between, recover, undo};
use rustix::fs::{Mode, OFlags, ResolveFlags};
use serde_json::json;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A rollback was not done; except for [`RewindError::Between`] and [`RewindError::Unrecorded`] the workspace is as it was before.
#[derive(Debug, thiserror::Error)]
pub enum RewindError {
    /// There is no such step.
    #[error("session `{session}` has no entry {seq}; its last is {last}")]
    NoStep {
        /// The session.
        session: String,
        /// What was asked.
        seq: u64,
        /// What there is.
        last: u64,
    },
    /// A content that the step needs is gone.
    #[error("the content of `{path}` as of that step is not in the ledger")]
    NoContent {
        /// The file.
        path: String,
    },
    /// The result is not what the record says.
    #[error(
        "after the rollback the workspace's digest would be {found}, the record says {recorded}; nothing was changed"
    )]
    Differs {
        /// What came out.
        found: String,
        /// What should have.
        recorded: String,
    },
    /// The session has no workspace any more.
    #[error("session `{0}` has no workspace any more: it was applied or discarded")]
    Gone(String),
    /// A live session's workspace is in between, and its processes stand still.
    #[error(
        "cut off half-way ({0}); the session stays paused: roll back again once the cause is mended, or kill it; the next start then \
         makes the workspace what its record says"
    )]
    Between(String),
    /// The workspace of a session that ended is as of that step, and its record does not say so yet.
    #[error(
        "the workspace was taken back, and that could not be recorded: {0}; the next act on the session records it"
    )]
    Unrecorded(String),
    /// Something beneath failed.
    #[error("{0}")]
    Failed(String),
}

fn failed(error: impl std::fmt::Display) -> RewindError {
    RewindError::Failed(error.to_string())
}

/// Takes a session's workspace back to the step `seq`; gives the entry that records it.
///
/// # Errors
/// [`RewindError`].
pub fn rollback(home: &Home, session: &str, seq: u64, reason: &str) -> Result<u64, RewindError> {
    let dir = home.session(session);
    if !dir.join("workspace").exists() {
        return Err(RewindError::Gone(session.to_owned()));
    }
    match SessionLock::take(&dir).map_err(failed)? {
        Some(held) => {
            recover::before_an_act(home, session, &held).map_err(failed)?;
            ended(home, session, seq, reason)
        }
        None => {
            let request = Request::Rollback { seq, reason: reason.to_owned() };
            let reply = control::send(home, session, &request).map_err(failed)?;
            Ok(reply.seq.unwrap_or_default())
        }
    }
}

/// Of a running session, whose processes stand still meanwhile.
///
/// INVARIANT: a twin of the upper layer, as it was before, stands until the rollback is on record: whenever this process
/// dies, the next start goes back to that.
pub(crate) fn live(core: &mut Core, running: &Running, seq: u64, by: &str, reason: &str) -> Result<u64, RewindError> {
    let dir = core.session_dir.clone();
    let is_between = is_between(&dir);
    if !is_between {
        core.barrier(&[]).map_err(failed)?;
    }
    let last = core.gate.last_seq();
    if seq == 0 || seq > last {
        return Err(RewindError::NoStep { session: core.session.clone(), seq, last });
    }
    core.gate.flush().map_err(failed)?;
    let target = State::as_recorded(&core.ledger, &core.session, seq).map_err(failed)?;
    let layers = core.capture.layers.clone();
    let inside = merged_view(running.root(), running.workspace()).map_err(failed)?;
    let ledger = Arc::clone(&core.ledger);
    // What an earlier one left in between is known of no path: each is set, whatever the record says of it.
    let nodes = wanted(&core.capture.state, &target, is_between);
    let before: Vec<(PathBuf, Node)> =
        nodes.iter().map(|(path, _)| (path.clone(), standing(&core.capture.state, path))).collect();
    if !is_between {
        Journal::new(true, seq, last, by, reason).prepare(&dir, &layers.upper).map_err(failed)?;
    }
    let set = |nodes: &[(PathBuf, Node)]| {
        workspace::set_all(inside.as_fd(), nodes, |rel, node| content(&ledger, &layers, rel, node))
    };
    if let Err(error) = set(&nodes) {
        return Err(match error {
            WorkspaceError::Between { .. } => RewindError::Between(error.to_string()),
            error if is_between => RewindError::Between(error.to_string()),
            error => given_up(&dir, &error),
        });
    }
    if is_between {
        leftovers(&inside);
    }
    for (path, _) in &nodes {
        core.capture.touched(&layers.lower.join(path));
    }
    let state = core.capture.state.clone();
    let looked = core.capture.barrier(&ledger).map_err(failed).and_then(|changes| {
        let (found, wanted) = (core.capture.state.digest(), target.digest());
        if found == wanted { Ok(changes) } else { Err(RewindError::Differs { found, recorded: wanted }) }
    });
    let changes = match looked {
        Ok(changes) => changes,
        Err(error) => {
            return Err(match set(&before) {
                Ok(()) => {
                    // What was seen in between is on no record, and is no more.
                    core.capture.state = state;
                    given_up(&dir, &error)
                }
                Err(worse) => RewindError::Between(format!("{error}; then: {worse}")),
            });
        }
    };
    let digest = target.digest();
    let recorded = record(&digest, &digest, &changes, seq, |act, observed| {
        let seq_act = core.gate.control("rollback", by, reason, act).map_err(failed)?;
        core.gate.note(Kind::Observe, "rollback", &[seq_act], observed).map_err(failed)?;
        core.gate.flush().map_err(failed)?;
        Ok(seq_act)
    });
    // INVARIANT: the journal stays until it is on record. What could not be committed may stand in flight, and the next start
    // commits it: that start makes the layer what the record says then.
    let seq = recorded.map_err(|error| RewindError::Between(error.to_string()))?;
    journal::close(&dir).map_err(failed)?;
    core.rewound(nodes.into_iter().map(|(path, _)| path)).map_err(failed)?;
    Ok(seq)
}

/// Nothing was changed: the journal goes. Should that fail, the next start finds twin and layer alike.
fn given_up(dir: &Path, error: &dyn std::fmt::Display) -> RewindError {
    let _ = journal::close(dir);
    failed(error)
}

/// What a rollback that could not go either way left in the view: only what was on its way.
fn leftovers(view: &OwnedFd) {
    let Ok(entries) = rustix::fs::Dir::read_from(view) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with(".flyball-rollback-") {
            let _ = workspace::set(view.as_fd(), Path::new(&name), &Node::Absent, || Ok(std::io::empty()));
        }
    }
}

/// Of a session that ended: a twin of its upper layer is taken back, then the two are exchanged in one step.
fn ended(home: &Home, session: &str, seq: u64, reason: &str) -> Result<u64, RewindError> {
    let dir = home.session(session);
    let mut past = Past::open(home, session).map_err(failed)?;
    past.take_in_reality(reason).map_err(failed)?;
    if seq == 0 || seq > past.last_seq {
        return Err(RewindError::NoStep { session: session.to_owned(), seq, last: past.last_seq });
    }
    let target = State::as_recorded(&past.ledger, session, seq).map_err(failed)?;
    let mut journal = Journal::new(false, seq, past.last_seq, &control::this_user(), reason);
    let layers = past.capture.layers.clone();
    let result = journal.prepare(&dir, &layers.upper).map_err(failed).and_then(|()| {
        let changes = rewind_twin(&mut past.capture, &past.ledger, &twin(&layers.upper), &target)?;
        journal.exchange(&dir, &layers.upper).map_err(failed)?;
        Ok(changes)
    });
    let changes = match result {
        Ok(changes) => changes,
        Err(error) => {
            // Whichever side of the exchange it failed on: back to what was.
            undo(&dir, &layers.upper).map_err(|worse| RewindError::Between(format!("{error}; then: {worse}")))?;
            return Err(error);
        }
    };
    let state = past.capture.state.digest();
    let recorded = record(&state, &target.digest(), &changes, seq, |act, observed| {
        past.record("rollback", reason, act, Some(observed)).map_err(failed)
    });
    match recorded {
        Ok(seq) => {
            journal::close(&dir).map_err(failed)?;
            Ok(seq)
        }
        // INVARIANT: the journal stays. What could not be committed may still stand in flight, and then the next start commits
        // it: the layer must be what it says. Should it be lost, that start finds the new layer and records it.
        Err(error) => Err(RewindError::Unrecorded(error.to_string())),
    }
}

/// Takes the twin to that state and looks at the result.
fn rewind_twin(
    capture: &mut Capture,
    ledger: &Ledger,
    twin: &Path,
    target: &State,
) -> Result<Vec<Change>, RewindError> {
    let on = Layers::new(capture.layers.lower.clone(), twin.to_owned());
    let steps = steps(&capture.state, target);
    for (path, node) in &steps {
        let rel = translate::path(path);
        if let Node::File { .. } = node {
            let content =
                content(ledger, &on, &rel, node).map_err(|_| RewindError::NoContent { path: path.clone() })?;
            workspace::set_upper(&on, &rel, node, || Ok(content)).map_err(failed)?;
        } else {
            workspace::set_upper(&on, &rel, node, || Ok(std::io::empty())).map_err(failed)?;
        }
        capture.touched(&on.lower.join(&rel));
    }
    capture.watch_linked();
    let real = std::mem::replace(&mut capture.layers, on);
    let looked = capture.barrier(ledger);
    capture.layers = real;
    let changes = looked.map_err(failed)?;
    let (found, recorded) = (capture.state.digest(), target.digest());
    if found == recorded { Ok(changes) } else { Err(RewindError::Differs { found, recorded }) }
}

fn record(
    found: &str,
    recorded: &str,
    changes: &[Change],
    to: u64,
    record: impl FnOnce(serde_json::Value, serde_json::Value) -> Result<u64, RewindError>,
) -> Result<u64, RewindError> {
    let act = json!({ "to": to, "digest": found, "recorded": recorded, "paths": changes.len() });
    record(act, json!({ "workspace": { "changes": changes, "state": found } }))
}

/// What each path that the session touched is to be.
fn wanted(now: &State, target: &State, all: bool) -> Vec<(PathBuf, Node)> {
    let mut out = Vec::new();
    for (path, is) in now.touched() {
        // A path that the session first touched after that step was what the real tree had.
        let Some(wanted) = target.node(path).or_else(|| now.base(path)) else { continue };
        if wanted != is || (all && wanted != Node::Other) {
            out.push((translate::path(path), wanted));
        }
    }
    out
}

fn standing(now: &State, path: &Path) -> Node {
    now.node(&translate::text(path)).unwrap_or(Node::Absent)
}

/// What must be set, in an order that works: removals deepest first, then parents before children.
fn steps(now: &State, target: &State) -> Vec<(String, Node)> {
    let mut removals = Vec::new();
    let mut rest = Vec::new();
    for (path, wanted) in wanted(now, target, false) {
        let path = translate::text(&path);
        let Some(is) = now.node(&path) else { continue };
        let replaced = std::mem::discriminant(&wanted) != std::mem::discriminant(&is);
        if replaced && is != Node::Absent {
            removals.push((path.clone(), Node::Absent));
        }
        if wanted != Node::Absent {
            rest.push((path, wanted));
        }
    }
    removals.reverse();
    removals.extend(rest);
    removals
}

/// Makes a layer that nothing runs in yet show that state; says of which path it could not, and why.
///
/// Nothing can be set below what is gone: so what goes does so first, deepest first, also where something of another kind comes in
/// its place.
pub(crate) fn lay_over(state: &State, ledger: &Ledger, layers: &Layers) -> Result<(), (String, String)> {
    let set = |path: &str, node: &Node| {
        let rel = translate::path(path);
        let content = content(ledger, layers, &rel, node).map_err(|e| (path.to_owned(), e.to_string()))?;
        workspace::set_upper(layers, &rel, node, || Ok(content)).map_err(|e| (path.to_owned(), e.to_string()))
    };
    let changed: Vec<_> = state.changed().collect();
    for (path, node) in changed.iter().rev() {
        let was = state.base(path).unwrap_or(Node::Absent);
        if was != Node::Absent && std::mem::discriminant(&was) != std::mem::discriminant(node) {
            set(path, &Node::Absent)?;
        }
    }
    changed.iter().filter(|(_, node)| *node != Node::Absent).try_for_each(|(path, node)| set(path, node))
}

/// The workspace as the program sees it below its root, held open from outside.
pub(crate) fn merged_view(root: BorrowedFd<'_>, workspace: &Path) -> rustix::io::Result<OwnedFd> {
    let below_root = workspace.strip_prefix("/").unwrap_or(workspace);
    let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat2(root, below_root, flags, Mode::empty(), ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS)
}

/// A file's content as of a step: kept in the ledger, or what the real tree still has.
pub(crate) fn content(ledger: &Ledger, layers: &Layers, rel: &Path, node: &Node) -> std::io::Result<Box<dyn Read>> {
    let Node::File { digest, .. } = node else { return Ok(Box::new(std::io::empty())) };
    let other = |e: &dyn std::fmt::Display| std::io::Error::other(e.to_string());
    let named: Option<flyball_ledger::Digest> = digest.parse().ok();
    if let Some(named) = named
        && ledger.has_blob(&named).map_err(|e| other(&e))?
    {
        return Ok(Box::new(std::io::Cursor::new(ledger.blob(&named).map_err(|e| other(&e))?)));
    }
    // What the real tree had is not kept twice; it must still be what the session saw.
    match workspace::lower_node(layers, rel).map_err(|e| other(&e))? {
        Node::File { digest: found, .. } if found == *digest => {
            Ok(Box::new(workspace::lower_file(layers, rel).map_err(|e| other(&e))?))
        }
        _ => Err(other(&format!("the content of `{}` as of that step is not in the ledger", rel.display()))),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use std::fs;

    #[test]
    fn folders_that_went_and_what_came_in_their_place_are_laid_over() {
        let dir = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(&dir.path().join("ledger")).unwrap();
        let (lower, upper) = (dir.path().join("lower"), dir.path().join("upper"));
        fs::create_dir_all(lower.join("gone/deep")).unwrap();
        fs::create_dir(lower.join("file")).unwrap();
        fs::create_dir(&upper).unwrap();
        for name in ["gone/a", "gone/deep/b", "file/c", "folder"] {
            fs::write(lower.join(name), name).unwrap();
        }
        let layers = Layers::new(lower, upper);
        let digest = ledger.put_blob(b"new").unwrap().to_string();
        ledger.flush().unwrap();
        let (file, folder) = (Node::File { digest, size: 3, mode: 0o644 }, Node::Directory { mode: 0o755 });
        let mut state = State::default();
        let wanted = [
            ("file", file.clone()),
            ("file/c", Node::Absent),
            ("folder", folder),
            ("folder/d", file),
            ("gone", Node::Absent),
            ("gone/a", Node::Absent),
            ("gone/deep", Node::Absent),
            ("gone/deep/b", Node::Absent),
        ];
        for (path, node) in wanted {
            let base = Some(workspace::lower_node(&layers, Path::new(path)).unwrap_or(Node::Absent));
            state.take(&Change { path: path.into(), node, base, blob: None, kept: None });
        }
        lay_over(&state, &ledger, &layers).unwrap();
        assert_eq!(workspace::digest(&layers, &workspace::Scratch::default()).unwrap(), state.digest());
    }
}
