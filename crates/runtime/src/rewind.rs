//! Rollback: takes a session's workspace back to a step, live or after its end, and checks the result against the record.

use crate::control::{self, Request};
use crate::core::Core;
use crate::home::{Home, SessionLock};
use crate::past::Past;
use crate::state::{Change, State};
use crate::translate;
use flyball_ledger::{Kind, Ledger};
use flyball_sandbox::Running;
use flyball_sandbox::workspace::{self, Layers, Node};
use rustix::fs::{Mode, OFlags, ResolveFlags};
use serde_json::json;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

/// A rollback was not done, or not wholly; what was done is recorded.
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
    #[error("after the rollback the workspace's digest is {found}, the record says {recorded}")]
    Differs {
        /// What came out.
        found: String,
        /// What should have.
        recorded: String,
    },
    /// The session has no workspace any more.
    #[error("session `{0}` has no workspace any more: it was applied or discarded")]
    Gone(String),
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
        Some(_held) => ended(home, session, seq, reason),
        None => {
            let request = Request::Rollback { seq, reason: reason.to_owned() };
            let reply = control::send(home, session, &request).map_err(failed)?;
            Ok(reply.seq.unwrap_or_default())
        }
    }
}

/// Of a running session, whose processes stand still meanwhile.
pub(crate) fn live(core: &mut Core, running: &Running, seq: u64, by: &str, reason: &str) -> Result<u64, RewindError> {
    core.barrier(&[]).map_err(failed)?;
    let last = core.gate.last_seq();
    if seq == 0 || seq > last {
        return Err(RewindError::NoStep { session: core.session.clone(), seq, last });
    }
    core.gate.flush().map_err(failed)?;
    let target = State::at(&core.ledger, &core.session, seq).map_err(failed)?;
    let ledger = std::sync::Arc::clone(&core.ledger);
    let layers = core.capture.layers.clone();
    let inside = merged_view(running, &layers.lower).map_err(failed)?;
    let steps = steps(&core.capture.state, &target);
    for (path, node) in steps {
        let rel = translate::path(&path);
        let content = content(&ledger, &layers, &path, &node)?;
        workspace::set(inside.as_fd(), &rel, &node, || Ok(content.as_slice())).map_err(failed)?;
        core.capture.touched(&layers.lower.join(&rel));
    }
    let changes = core.capture.barrier(&ledger).map_err(failed)?;
    finish(
        &core.capture.state,
        &target,
        changes,
        |act, observed| {
            let seq_act = core.gate.control("rollback", by, reason, act).map_err(failed)?;
            core.gate.note(Kind::Observe, "rollback", &[seq_act], observed).map_err(failed)?;
            core.gate.flush().map_err(failed)?;
            Ok(seq_act)
        },
        seq,
    )
}

/// Of a session that ended: its upper layer is worked on directly, nothing has it mounted.
fn ended(home: &Home, session: &str, seq: u64, reason: &str) -> Result<u64, RewindError> {
    let mut past = Past::open(home, session).map_err(failed)?;
    if seq == 0 || seq > past.last_seq {
        return Err(RewindError::NoStep { session: session.to_owned(), seq, last: past.last_seq });
    }
    let target = State::at(&past.ledger, session, seq).map_err(failed)?;
    let steps = steps(&past.capture.state, &target);
    for (path, node) in steps {
        let rel = translate::path(&path);
        let content = content(&past.ledger, &past.capture.layers, &path, &node)?;
        workspace::set_upper(&past.capture.layers, &rel, &node, || Ok(content.as_slice())).map_err(failed)?;
        past.capture.touched(&past.capture.layers.lower.clone().join(&rel));
    }
    let ledger = std::sync::Arc::clone(&past.ledger);
    let changes = past.capture.barrier(&ledger).map_err(failed)?;
    let state = past.capture.state.clone();
    finish(
        &state,
        &target,
        changes,
        |act, observed| past.record("rollback", reason, act, Some(observed)).map_err(failed),
        seq,
    )
}

fn finish(
    now: &State,
    target: &State,
    changes: Vec<Change>,
    record: impl FnOnce(serde_json::Value, serde_json::Value) -> Result<u64, RewindError>,
    to: u64,
) -> Result<u64, RewindError> {
    let (found, recorded) = (now.digest(), target.digest());
    let act = json!({ "to": to, "digest": found, "recorded": recorded, "paths": changes.len() });
    let seq = record(act, json!({ "workspace": { "changes": changes, "state": found } }))?;
    if found == recorded { Ok(seq) } else { Err(RewindError::Differs { found, recorded }) }
}

/// What must be set, in an order that works: removals deepest first, then parents before children.
fn steps(now: &State, target: &State) -> Vec<(String, Node)> {
    let mut removals = Vec::new();
    let mut rest = Vec::new();
    for (path, is) in now.touched() {
        // A path that the session first touched after that step was what the real tree had.
        let Some(wanted) = target.node(path).or_else(|| now.base(path)) else { continue };
        if wanted == is {
            continue;
        }
        let replaced = std::mem::discriminant(wanted) != std::mem::discriminant(is);
        if replaced && *is != Node::Absent {
            removals.push((path.to_owned(), Node::Absent));
        }
        if *wanted != Node::Absent {
            rest.push((path.to_owned(), wanted.clone()));
        }
    }
    removals.reverse();
    removals.extend(rest);
    removals
}

/// The workspace as the program sees it, held open from outside.
fn merged_view(running: &Running, workspace: &Path) -> rustix::io::Result<OwnedFd> {
    let below_root = workspace.strip_prefix("/").unwrap_or(workspace);
    let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat2(
        running.root(),
        below_root,
        flags,
        Mode::empty(),
        ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS,
    )
}

fn content(ledger: &Ledger, layers: &Layers, path: &str, node: &Node) -> Result<Vec<u8>, RewindError> {
    let Node::File { digest, .. } = node else { return Ok(Vec::new()) };
    let named: Option<flyball_ledger::Digest> = digest.parse().ok();
    if let Some(named) = named
        && ledger.has_blob(&named).map_err(failed)?
    {
        return ledger.blob(&named).map_err(failed);
    }
    // What the real tree had is not kept twice; it must still be what the session saw.
    let rel = translate::path(path);
    match workspace::lower_node(layers, &rel).map_err(failed)? {
        Node::File { digest: found, .. } if found == *digest => {
            let mut bytes = Vec::new();
            workspace::lower_file(layers, &rel).map_err(failed)?.read_to_end(&mut bytes).map_err(failed)?;
            Ok(bytes)
        }
        _ => Err(RewindError::NoContent { path: path.to_owned() }),
    }
}
