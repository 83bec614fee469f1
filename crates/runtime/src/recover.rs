//! After a crash: what a dead supervisor left is ended, undone or completed, and its session is closed honestly.
//!
//! INVARIANT: in this order. Its processes are gone, then its layer is whole (`rollback.journal`), then the real tree
//! (`apply.journal`), then the record is closed: what is looked at by a later step no longer changes.
//!
//! Each step may be cut off itself and is taken again by the next start; two starts at once take turns by the session's lock.

use crate::home::{Home, SessionLock};
use crate::past::{Past, PastError};
use crate::rewind;
use crate::state::Change;
use crate::translate;
use flyball_kernel::Action;
use flyball_ledger::{Filter, Kind, Ledger, LedgerError};
use flyball_sandbox::workspace::{self, Recovered};
use serde_json::{Value as Json, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What a look at all sessions found.
#[derive(Debug, Default)]
pub struct Swept {
    /// Sessions that were closed.
    pub closed: Vec<String>,
    /// Those that an apply of stands half done, or is under way.
    pub(crate) applying: Vec<String>,
}

/// Closes every session that nobody supervises any more: its open attempts become `unknown`, never guessed, and what it had
/// under way on a workspace is undone or completed. What can't be yet is left for the next start.
///
/// # Errors
/// [`LedgerError`] when the record can't be read or written.
pub fn dead_sessions(home: &Home, ledger: &Ledger) -> Result<Swept, LedgerError> {
    let mut swept = Swept::default();
    // Of most sessions that ever were nothing is left but their entries: one listing tells which still have a folder.
    let folders = folders(home);
    let heads = ledger.heads()?;
    for info in &heads {
        if info.closed_seq.is_some() && !folders.contains(&info.id) {
            continue;
        }
        let dir = home.session(&info.id);
        if info.closed_seq.is_some() && !has_leftovers(&dir) {
            continue;
        }
        let is_closed = end(home, ledger, &info.id, &dir)?;
        if is_closed {
            swept.closed.push(info.id.clone());
        }
        if dir.join(APPLY).exists() {
            swept.applying.push(info.id.clone());
        }
    }
    unborn(home, &folders, &heads.into_iter().map(|s| s.id).collect());
    Ok(swept)
}

fn folders(home: &Home) -> BTreeSet<String> {
    let entries = std::fs::read_dir(home.sessions()).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

/// Ends one session that nobody supervises. Whether it was closed by this.
fn end(home: &Home, ledger: &Ledger, session: &str, dir: &Path) -> Result<bool, LedgerError> {
    // Held by a living supervisor, or its folder is gone: not ours to close.
    let Ok(Some(held)) = SessionLock::take(dir) else { return Ok(false) };
    match settle(home, ledger, session, &held) {
        // Not: somebody's act on it needs what stands in the way told; a start of another session does not wait for it.
        Ok(closed) => Ok(closed),
        Err(PastError::Ledger(error)) => Err(error),
        Err(_) => Ok(false),
    }
}

/// Folders of sessions that died before they were on record: nothing was run in them.
fn unborn(home: &Home, folders: &BTreeSet<String>, known: &BTreeSet<String>) {
    for name in folders.difference(known) {
        let dir = home.session(name);
        let age = dir.symlink_metadata().and_then(|m| m.modified()).ok().and_then(|at| at.elapsed().ok());
        if age.is_none_or(|age| age <= UNBORN_AGE) {
            continue;
        }
        if let Ok(Some(_held)) = SessionLock::take(&dir) {
            // What can't be removed is looked at again by the next start.
            let _ = flyball_sandbox::remove_session_dir(&dir);
        }
    }
}

/// Before a person's act on a session whose lock is held: whatever a crash left of it ends first.
pub(crate) fn before_an_act(home: &Home, session: &str, held: &SessionLock) -> Result<(), PastError> {
    let ledger = Ledger::open(home.dir())?;
    settle(home, &ledger, session, held).map(drop)
}

/// Whether no apply stands half done in this workspace, of whatever session.
///
/// # Errors
/// Why the one that does could not be undone or completed.
pub(crate) fn whole(home: &Home, ledger: &Ledger, swept: &Swept, real: &Path) -> Result<(), String> {
    for id in &swept.applying {
        let dir = home.session(id);
        if !dir.join(APPLY).exists() || workspace_of(ledger, id).is_none_or(|w| w != real) {
            continue;
        }
        let Some(held) = turn(&dir).map_err(|e| e.to_string())? else {
            return Err(format!("`flyball apply {id}` is under way; wait for its end"));
        };
        let settled = settle(home, ledger, id, &held);
        settled.map_err(|e| format!("{e}; `flyball apply {id}` goes on with it once that is mended"))?;
    }
    Ok(())
}

/// The lock of a session whose apply stands half done; waited for a while, since another start may just be ending it.
fn turn(dir: &Path) -> std::io::Result<Option<SessionLock>> {
    let until = Instant::now() + TURN_WAIT_MAX;
    loop {
        match SessionLock::take(dir)? {
            None if Instant::now() < until => std::thread::sleep(TURN_LOOK),
            taken => return Ok(taken),
        }
    }
}

/// Ending an apply takes milliseconds, on a busy machine with many files some seconds.
const TURN_WAIT_MAX: Duration = Duration::from_secs(10);
const TURN_LOOK: Duration = Duration::from_millis(5);
/// The journal of an apply, in a session's folder.
pub(crate) const APPLY: &str = "apply.journal";
/// What an applied or discarded workspace is called until all of it is removed.
pub(crate) const GOING: &str = "workspace.going";

/// Between its folder and its first entry a session takes milliseconds.
const UNBORN_AGE: Duration = Duration::from_secs(600);

fn has_leftovers(dir: &Path) -> bool {
    [APPLY, "rollback.journal", GOING, "workspace/upper.twin"].iter().any(|name| dir.join(name).exists())
}

fn workspace_of(ledger: &Ledger, session: &str) -> Option<PathBuf> {
    let body = ledger.body(&ledger.entry(session, 1).ok()?).ok()?;
    body.get("workspace").and_then(Json::as_str).map(translate::path)
}

/// Ends all that a dead session left. Whether it was closed by this.
fn settle(home: &Home, ledger: &Ledger, session: &str, _held: &SessionLock) -> Result<bool, PastError> {
    let dir = home.session(session);
    let gone = flyball_sandbox::end_leftovers(&dir);
    gone.map_err(|cause| PastError::Leftovers { session: session.to_owned(), cause })?;
    let is_open = ledger.heads()?.iter().any(|s| s.id == session && s.closed_seq.is_none());
    if !is_open && !has_leftovers(&dir) {
        return Ok(false);
    }
    let mut past = Past::open_in(home, Arc::new(ledger.clone()), session)?;
    rewind::recover(&dir, &mut past)?;
    // What no journal knows any more is nobody's way back.
    let twin = dir.join("workspace/upper.twin");
    if twin.exists() {
        workspace::drop_twin(&twin)?;
    }
    let taken = recover_apply(&dir, &mut past)?;
    if is_open {
        close(&mut past, &dir)?;
    }
    if taken {
        // INVARIANT: the journal last: it alone says that this layer was taken.
        crate::taking::set_aside(&dir).map_err(|cause| removing(&dir, cause))?;
        workspace::conclude(&dir.join(APPLY))?;
    }
    crate::taking::remove(&dir).map_err(|cause| removing(&dir, cause))?;
    let _ = std::fs::remove_file(dir.join("control.sock"));
    Ok(is_open)
}

fn removing(dir: &Path, source: std::io::Error) -> PastError {
    workspace::WorkspaceError::Io { doing: "remove", path: dir.to_owned(), source }.into()
}

/// Undoes or completes an apply that was cut off. Whether the real tree has all of it.
fn recover_apply(dir: &Path, past: &mut Past) -> Result<bool, PastError> {
    let (phase, taken) = match workspace::recover(&dir.join(APPLY))? {
        Recovered::Nothing => return Ok(false),
        Recovered::RolledBack => ("undone", false),
        Recovered::Completed => ("done", true),
    };
    past.record("apply", "", json!({ "phase": phase, "recovered": true }), None)?;
    Ok(taken)
}

/// Open attempts become `unknown`; what the dead supervisor did not look at any more is looked at.
fn close(past: &mut Past, dir: &Path) -> Result<(), PastError> {
    let told = Told::of(past)?;
    for of in told.open {
        if told.held.contains(&of) {
            // An approval is durable before it takes effect: what has none was not carried out.
            let why = "the session's supervisor died before people had answered";
            past.append(Kind::Outcome, "recovery", vec![of], json!({ "of": of, "ok": false, "withdrawn": why }))?;
            continue;
        }
        past.append(Kind::Outcome, "recovery", vec![of], json!({ "of": of, "ok": null, "unknown": true }))?;
    }
    if dir.join("workspace/upper").exists() {
        let ledger = Arc::clone(&past.ledger);
        let found = past.capture.unexplained(&ledger)?;
        let workspace = past.workspace.clone();
        let (explained, rest): (Vec<Change>, Vec<Change>) =
            found.into_iter().partition(|c| explains(&told.touched, &workspace.join(translate::path(&c.path))));
        if !explained.is_empty() {
            past.observe("recovery", &explained)?;
        }
        // What is done at once and recorded a moment later can be lost with the supervisor: then nobody can say who did it.
        past.alarm("recovery", rest)?;
    }
    let body = json!({ "session": past.session, "ended_by": "error", "recovered": true });
    past.append(Kind::Close, "recovery", Vec::new(), body)?;
    past.flush()
}

/// What a stream tells of the attempts in it.
#[derive(Default)]
struct Told {
    /// Without an outcome.
    open: BTreeSet<u64>,
    /// Held for people when they were ruled on last, and not dispatched.
    held: BTreeSet<u64>,
    /// Paths that allowed calls may have changed, and whether with all below them.
    touched: BTreeMap<PathBuf, bool>,
}

impl Told {
    fn of(past: &Past) -> Result<Self, PastError> {
        let mut told = Self::default();
        let mut pending: BTreeMap<u64, Vec<(PathBuf, bool)>> = BTreeMap::new();
        for entry in past.ledger.entries(&past.session, 1.., Filter::default())? {
            let entry = entry?;
            if !matches!(entry.kind, Kind::Attempt | Kind::Ruling | Kind::Dispatch | Kind::Outcome) {
                continue;
            }
            let body = past.ledger.body(&entry)?;
            let of = body.get("of").and_then(Json::as_u64).unwrap_or_default();
            match entry.kind {
                Kind::Attempt => {
                    told.open.insert(entry.seq);
                    pending.insert(entry.seq, paths(&body));
                }
                Kind::Ruling if body.get("verdict").and_then(|v| v.as_str()) == Some("deny") => {
                    told.open.remove(&of);
                    pending.remove(&of);
                }
                Kind::Ruling if body.get("verdict").and_then(|v| v.as_str()) == Some("hold") => {
                    told.held.insert(of);
                }
                Kind::Dispatch => {
                    told.held.remove(&of);
                    told.touched.extend(pending.remove(&of).unwrap_or_default());
                }
                Kind::Outcome => {
                    told.open.remove(&of);
                }
                _ => {}
            }
        }
        Ok(told)
    }
}

/// The paths that an action changes.
fn paths(body: &Json) -> Vec<(PathBuf, bool)> {
    let Ok(action) = serde_json::from_value::<Action>(body.clone()) else { return Vec::new() };
    let verb = action.verb.to_string();
    if !verb.starts_with("fs.") || verb == "fs.read" {
        return Vec::new();
    }
    let with_all_below = matches!(verb.as_str(), "fs.move" | "fs.delete");
    let texts = [body.pointer("/resource/path"), body.pointer("/attrs/to"), body.pointer("/attrs/target")];
    texts.into_iter().flatten().filter_map(Json::as_str).map(|p| (translate::path(p), with_all_below)).collect()
}

/// Whether a recorded call may have changed this path.
fn explains(touched: &BTreeMap<PathBuf, bool>, path: &Path) -> bool {
    touched.contains_key(path) || path.ancestors().skip(1).any(|above| touched.get(above) == Some(&true))
}
