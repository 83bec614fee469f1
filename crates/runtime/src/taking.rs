//! The end of a session's workspace: taken into the real tree, or dropped.

use crate::core::Contents;
use crate::home::{Home, SessionLock};
use crate::past::Past;
use crate::recover;
use crate::state::{self, StateError};
use crate::translate;
use flyball_kernel::{Charter, Sources};
use flyball_ledger::{Entry, Filter, Kind};
use flyball_sandbox::workspace::{self, Applied, Node, WorkspaceError};
use serde_json::{Value as Json, json};
use std::collections::BTreeMap;
use std::path::Path;

/// A session's changes were not taken; the real tree is as it was, but for [`TakingError::Between`].
#[derive(Debug, thiserror::Error)]
pub enum TakingError {
    /// It runs still.
    #[error("session `{0}` is still running; wait for its end or kill it first")]
    Running(String),
    /// Nothing is left to take.
    #[error("session `{0}` has no workspace any more: it was applied or discarded")]
    Gone(String),
    /// The record can't explain what is in the workspace.
    #[error("{} paths are not as any recorded call left them, such as `{}`; nothing was applied (roll back to a step before, or discard)", .0.len(), .0.first().map_or("", String::as_str))]
    Unexplained(Vec<String>),
    /// What files say was refused, or asked about and never allowed, or never judged.
    #[error("{} files hold what was refused, what people were asked about and have not allowed, or what was not judged before the supervisor died, such as `{}`; nothing was applied (roll back to a step before, or discard)", .0.len(), .0.first().map_or("", String::as_str))]
    Content(Vec<String>),
    /// The session wrote its own charter.
    #[error("the session changed the charter (`{}`); nothing was applied", .0.first().map_or("", String::as_str))]
    Charter(Vec<String>),
    /// An apply was cut off and could go neither on nor back yet.
    #[error("{0}")]
    Between(String),
    /// Something beneath failed.
    #[error("{0}")]
    Failed(String),
}

/// The real tree has all of it; what failed is what comes after.
fn after(error: impl std::fmt::Display) -> TakingError {
    TakingError::Between(format!("the changes were applied, but not all was tidied up: {error}"))
}

fn between(error: impl std::fmt::Display) -> TakingError {
    TakingError::Between(error.to_string())
}

fn failed(error: impl std::fmt::Display) -> TakingError {
    TakingError::Failed(error.to_string())
}

/// Takes an ended session's changes into the real workspace, all or nothing.
///
/// # Errors
/// [`TakingError`]; the real tree is then as it was, but for [`TakingError::Between`].
pub fn apply(home: &Home, session: &str, reason: &str) -> Result<Applied, TakingError> {
    let dir = home.session(session);
    // INVARIANT: what was done in a replay was done before, and is not done to the real tree again.
    if dir.join(crate::rerun::FIRST).exists() {
        return Err(TakingError::Failed(format!(
            "session `{session}` is a replay of another one, which is never applied"
        )));
    }
    let held = hold(session, &dir)?;
    recover::before_an_act(home, session, &held).map_err(between)?;
    if !dir.join("workspace").exists() {
        // An earlier apply was cut off when the real tree had all of it: that was it.
        return Ok(Applied::default());
    }
    let mut past = Past::open(home, session).map_err(failed)?;
    let paths = unexplained(&mut past, session)?;
    if !paths.is_empty() {
        let alert = json!({ "refused": "unexplained", "paths": paths });
        past.record("apply-refused", reason, alert, None).map_err(failed)?;
        return Err(TakingError::Unexplained(paths));
    }
    let refused = not_accepted(&past, session).map_err(failed)?;
    if !refused.is_empty() {
        let alert = json!({ "refused": "content", "paths": refused });
        past.record("apply-refused", reason, alert, None).map_err(failed)?;
        return Err(TakingError::Content(refused));
    }
    let digest = past.capture.state.digest();
    // What is scratch can be made again, and was never looked at: it is not taken.
    let changes = workspace::changes(&past.capture.layers, past.capture.scratch()).map_err(failed)?;
    let own: Vec<String> =
        changes.iter().filter(|c| c.path.starts_with(".flyball")).map(|c| translate::text(&c.path)).collect();
    if !own.is_empty() {
        return Err(TakingError::Charter(own));
    }
    // What was never read (a device, a file too large to keep) can't be compared; the layers' own word has to do.
    let expected = changes.iter().filter_map(|change| {
        let base = past.capture.state.base(&translate::text(&change.path))?;
        (base != change.was && base != Node::Other).then(|| (change.path.clone(), base))
    });
    let expected = expected.collect();
    // On record before it takes effect; what became of it follows.
    past.record("apply", reason, json!({ "digest": digest, "phase": "begun" }), None).map_err(failed)?;
    let plan = workspace::Plan { changes, expected };
    match workspace::apply(&past.capture.layers, plan, &dir.join(recover::APPLY)) {
        Ok(applied) => {
            // INVARIANT: first: a layer that was applied is none any more. Until it is on record, too, the journal says so.
            set_aside(&dir).map_err(after)?;
            let more = json!({
                "digest": digest, "phase": "done", "paths": applied.paths.len(), "left_out": named(&applied.left_out),
                "stripped": named(&applied.stripped),
            });
            past.record("apply", reason, more, None).map_err(after)?;
            workspace::conclude(&dir.join(recover::APPLY)).map_err(after)?;
            remove(&dir).map_err(after)?;
            Ok(applied)
        }
        Err(error) => {
            let more = json!({ "digest": digest, "phase": "failed", "error": error.to_string() });
            past.record("apply", reason, more, None).map_err(failed)?;
            Err(match error {
                WorkspaceError::Between { .. } | WorkspaceError::Stuck { .. } => between(error),
                error => failed(error),
            })
        }
    }
}

/// Paths that an entry names; of more the rest is not named.
fn named(paths: &[std::path::PathBuf]) -> Vec<String> {
    paths.iter().take(NAMED_MAX).map(|path| translate::text(path)).collect()
}

const NAMED_MAX: usize = 1000;

/// Paths that hold, at the session's end, content that was judged and not accepted (by a rollback to where it was still
/// there, or because the supervisor died before an answer), or that was to be judged when the supervisor died.
fn not_accepted(past: &Past, session: &str) -> Result<Vec<String>, StateError> {
    let workspace = past.capture.layers.lower.to_string_lossy().into_owned();
    // By path what was found last, by attempt what it judged, and what the last judgement of each content came to.
    let (mut found, mut judged) = (BTreeMap::new(), BTreeMap::new());
    let mut accepted: BTreeMap<(String, String), bool> = BTreeMap::new();
    let mut contents = Contents::default();
    let mut is_recovered = false;
    let kinds = vec![Kind::Open, Kind::Charter, Kind::Close, Kind::Observe, Kind::Attempt, Kind::Outcome];
    for entry in past.ledger.entries(session, 1.., Filter { kinds, ..Filter::default() })? {
        let entry = entry?;
        let body = past.ledger.body(&entry)?;
        match entry.kind {
            Kind::Open | Kind::Charter => contents = contents_of(&entry, &body),
            Kind::Observe => {
                found
                    .extend(state::changes(&past.ledger, &entry)?.into_iter().map(|change| (change.path, change.node)));
            }
            Kind::Close => is_recovered = body.get("recovered").and_then(Json::as_bool) == Some(true),
            Kind::Attempt if body.pointer("/attrs/content").and_then(|c| c.as_bool()) == Some(true) => {
                let full = body.pointer("/resource/path").and_then(|p| p.as_str()).unwrap_or_default();
                let path = full.strip_prefix(&workspace).and_then(|p| p.strip_prefix('/')).unwrap_or(full);
                if let Some(Node::File { digest, .. }) = found.get(path) {
                    let what = (path.to_owned(), digest.clone());
                    accepted.insert(what.clone(), false);
                    judged.insert(entry.seq, what);
                }
            }
            Kind::Outcome => {
                let of = body.get("of").and_then(|of| of.as_u64()).unwrap_or_default();
                if let Some(what) = judged.get(&of) {
                    accepted.insert(what.clone(), body.get("ok").and_then(|ok| ok.as_bool()) == Some(true));
                }
            }
            _ => {}
        }
    }
    let stands = past.capture.state.changed().filter_map(|(path, node)| match node {
        Node::File { digest, .. } => Some((path.to_owned(), digest)),
        _ => None,
    });
    // What a supervisor that died had not come to judge left no attempt: whether there is anything to judge is seen now.
    let is_unjudged = |path: &str| {
        let rel = translate::path(path);
        let layers = &past.capture.layers;
        is_recovered && contents.says(&past.workspace.join(&rel), &layers.lower.join(&rel), &layers.upper.join(&rel))
    };
    let refused = |what: &(String, String)| match accepted.get(what) {
        Some(is_accepted) => !is_accepted,
        None => is_unjudged(&what.0),
    };
    Ok(stands.filter(refused).map(|(path, _)| path).collect())
}

/// What the charter that this entry puts in force wants to know of files.
fn contents_of(entry: &Entry, body: &Json) -> Contents {
    let files = if entry.kind == Kind::Open { body.pointer("/charter/files") } else { body.get("files") };
    let files: Option<Sources> = files.and_then(|files| serde_json::from_value(files.clone()).ok());
    let charter = files.and_then(|files| Charter::compile(&files).ok());
    charter.map(|(charter, _)| Contents::new(charter.reads_content().clone())).unwrap_or_default()
}

/// Paths that are not as any recorded call left them: found now, or at the session's end and not rolled back since.
fn unexplained(past: &mut Past, session: &str) -> Result<Vec<String>, TakingError> {
    let ledger = std::sync::Arc::clone(&past.ledger);
    let found = past.capture.unexplained(&ledger).map_err(failed)?;
    let mut paths: Vec<String> = found.into_iter().map(|c| c.path).collect();
    let alerts = Filter { kinds: vec![Kind::Alert], ..Filter::default() };
    for entry in ledger.entries(session, 1.., alerts).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let body = ledger.body(&entry).map_err(failed)?;
        if body.get("alert").and_then(|a| a.as_str()) != Some("unexplained") {
            continue;
        }
        let told: Vec<String> =
            serde_json::from_value(body.get("detail").cloned().unwrap_or_default()).map_err(|e| {
                TakingError::Failed(format!("entry {} does not say which paths it is about: {e}", entry.seq))
            })?;
        paths.extend(told.into_iter().filter(|path| past.capture.state.changed().any(|(changed, _)| changed == path)));
    }
    Ok(paths)
}

/// Drops an ended session's changes. Their record, with every content, stays in the ledger.
///
/// # Errors
/// [`TakingError`].
pub fn discard(home: &Home, session: &str, reason: &str) -> Result<(), TakingError> {
    let dir = home.session(session);
    let held = hold(session, &dir)?;
    recover::before_an_act(home, session, &held).map_err(between)?;
    if !dir.join("workspace").exists() {
        return Err(TakingError::Gone(session.to_owned()));
    }
    let mut past = Past::open(home, session).map_err(failed)?;
    let digest = past.capture.state.digest();
    past.record("discard", reason, json!({ "digest": digest }), None).map_err(failed)?;
    set_aside(&dir).map_err(failed)?;
    remove(&dir).map_err(failed)
}

fn hold(session: &str, dir: &Path) -> Result<SessionLock, TakingError> {
    if !dir.join("workspace").exists() && !dir.join(recover::APPLY).exists() {
        return Err(TakingError::Gone(session.to_owned()));
    }
    SessionLock::take(dir).map_err(failed)?.ok_or_else(|| TakingError::Running(session.to_owned()))
}

/// Takes the workspace's layer out of use, in one step: half of one must never be taken for one.
pub(crate) fn set_aside(dir: &Path) -> std::io::Result<()> {
    let going = dir.join(recover::GOING);
    if going.exists() {
        workspace::remove_tree(&going)?;
    }
    match std::fs::rename(dir.join("workspace"), &going) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(e),
        Ok(()) => std::fs::File::open(dir)?.sync_all(),
    }
}

/// Removes what was set aside, and with it the rest of a session's layers. Overlayfs leaves folders without any permission
/// behind; they are the user's own.
pub(crate) fn remove(dir: &Path) -> std::io::Result<()> {
    if dir.join("workspace").exists() {
        return Ok(());
    }
    // INVARIANT: last, because it is what tells the next start that there is something left to remove.
    for name in ["home", "tmp", recover::GOING] {
        let place = dir.join(name);
        if place.exists() {
            workspace::remove_tree(&place)?;
        }
    }
    Ok(())
}
