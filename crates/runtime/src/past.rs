//! A session that is over, opened again for a person's act on it, or for its recovery.

use crate::capture::{Capture, CaptureError};
use crate::clock::{Clock, wall_ns};
use crate::control;
use crate::home::Home;
use crate::plan;
use crate::scratch::Scratch;
use crate::state::{Change, State, StateError};
use crate::translate;
use flyball_ledger::{Draft, Filter, Kind, Ledger, Stream};
use flyball_sandbox::workspace::WorkspaceError;
use serde_json::{Value as Json, json};
use std::path::PathBuf;
use std::sync::Arc;

/// An ended session's record and workspace.
pub(crate) struct Past {
    pub ledger: Arc<Ledger>,
    pub capture: Capture,
    pub session: String,
    pub workspace: PathBuf,
    pub last_seq: u64,
    stream: Stream,
    clock: Clock,
}

/// The session can't be opened again.
#[derive(Debug, thiserror::Error)]
pub enum PastError {
    /// The ledger could not be read or written.
    #[error(transparent)]
    Ledger(#[from] flyball_ledger::LedgerError),
    /// What the record says of its workspace can't be relied on.
    #[error(transparent)]
    State(StateError),
    /// Its workspace could not be looked at.
    #[error(transparent)]
    Capture(#[from] CaptureError),
    /// Its workspace's layer could not be mended.
    #[error(transparent)]
    Workspace(#[from] WorkspaceError),
    /// Its first entry does not say what a session needs.
    #[error("session `{0}` has no readable `open` entry")]
    NoOpening(String),
    /// What was left of its run is still there.
    #[error("what session `{session}` left running is not gone yet: {cause}")]
    Leftovers {
        /// The session.
        session: String,
        /// What the operating system said.
        cause: std::io::Error,
    },
}

impl From<StateError> for PastError {
    fn from(error: StateError) -> Self {
        match error {
            StateError::Ledger(error) => Self::Ledger(error),
            error => Self::State(error),
        }
    }
}

impl Past {
    /// Opens it. The caller holds the session's lock.
    pub(crate) fn open(home: &Home, session: &str) -> Result<Self, PastError> {
        Self::open_in(home, Arc::new(Ledger::open(home.dir())?), session)
    }

    /// The same, with a ledger that is open.
    pub(crate) fn open_in(home: &Home, ledger: Arc<Ledger>, session: &str) -> Result<Self, PastError> {
        let stream = ledger.stream(session)?;
        let last_seq = stream.last_seq();
        let opening = ledger.entry(session, 1)?;
        let body = ledger.body(&opening)?;
        let field = |name: &str| body.get(name).and_then(Json::as_str).map(translate::path);
        let (Some(workspace), Some(user_home)) = (field("workspace"), field("home")) else {
            return Err(PastError::NoOpening(session.to_owned()));
        };
        let patterns: Vec<String> =
            serde_json::from_value(body.get("scratch").cloned().unwrap_or_default()).unwrap_or_default();
        let scratch =
            Scratch::new(&patterns, &workspace, &user_home, &[workspace.join(".flyball")]).unwrap_or_default();
        let state = State::at(&ledger, session, last_seq)?;
        let layers = plan::layers(&home.session(session), &workspace);
        let capture = Capture::new(layers, &workspace, Arc::new(scratch), state);
        let clock = Clock::after(stream.last_at_ns().max(wall_ns()));
        Ok(Self { ledger, capture, session: session.to_owned(), workspace, last_seq, stream, clock })
    }

    /// Records a person's act, and what the workspace is after it, for good.
    pub(crate) fn record(
        &mut self,
        act: &str,
        reason: &str,
        more: Json,
        observed: Option<Json>,
    ) -> Result<u64, PastError> {
        let by = control::this_user();
        let mut body = json!({ "act": act, "by": by, "reason": reason });
        if let (Some(body), Json::Object(more)) = (body.as_object_mut(), more) {
            body.extend(more);
        }
        let seq = self.append(Kind::Intervention, &by, Vec::new(), body)?;
        if let Some(observed) = observed {
            self.append(Kind::Observe, act, vec![seq], observed)?;
        }
        self.flush()?;
        self.ledger.checkpoint()?;
        Ok(seq)
    }

    /// Looks whether the layer is what the record says. What is not goes on record with an alert; gives those paths.
    pub(crate) fn take_in_reality(&mut self, actor: &str) -> Result<Vec<String>, PastError> {
        let found = self.capture.unexplained(&Arc::clone(&self.ledger))?;
        self.alarm(actor, found)
    }

    /// Puts changes that no recorded call explains on record, with an alert.
    pub(crate) fn alarm(&mut self, actor: &str, found: Vec<Change>) -> Result<Vec<String>, PastError> {
        let paths: Vec<String> = found.iter().map(|c| c.path.clone()).collect();
        if !found.is_empty() {
            self.append(Kind::Alert, actor, Vec::new(), json!({ "alert": "unexplained", "detail": paths }))?;
            self.observe(actor, &found)?;
        }
        Ok(paths)
    }

    /// Puts changes on record.
    pub(crate) fn observe(&mut self, actor: &str, found: &[Change]) -> Result<(), PastError> {
        let body = json!({ "workspace": { "changes": found, "state": self.capture.state.digest() } });
        self.append(Kind::Observe, actor, Vec::new(), body)?;
        self.last_seq = self.stream.last_seq();
        Ok(())
    }

    /// Whether a rollback is on record after that entry.
    pub(crate) fn was_rolled_back_after(&self, seq: u64) -> Result<bool, PastError> {
        let acts = Filter { kinds: vec![Kind::Intervention], ..Filter::default() };
        for entry in self.ledger.entries(&self.session, seq.saturating_add(1).., acts)? {
            if entry?.body.get("act").and_then(Json::as_str) == Some("rollback") {
                return Ok(true);
            }
        }
        Ok(false)
    }

    pub(crate) fn append(&mut self, kind: Kind, actor: &str, cause: Vec<u64>, body: Json) -> Result<u64, PastError> {
        let at_ns = self.clock.now_ns();
        Ok(self.stream.append(Draft { at_ns, kind, actor: actor.to_owned(), cause, body })?)
    }

    /// Waits until all of it is durable.
    pub(crate) fn flush(&mut self) -> Result<(), PastError> {
        self.last_seq = self.stream.last_seq();
        Ok(self.stream.flush()?)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use std::path::Path;

    /// A ledger with the session `s`, of which nothing runs any more: its opening, then these entries.
    pub(crate) fn left(dir: &Path, entries: Vec<(Kind, Json)>) -> Home {
        let (workspace, user_home) = (dir.join("w"), dir.join("h"));
        std::fs::create_dir_all(&workspace).unwrap();
        std::fs::create_dir_all(&user_home).unwrap();
        let home = Home::open(&dir.join("ledger")).unwrap();
        let session = home.make_session("s").unwrap();
        std::fs::create_dir_all(session.join("workspace/upper")).unwrap();
        let ledger = Ledger::open(home.dir()).unwrap();
        let stream = ledger.stream("s").unwrap();
        let opening = json!({ "workspace": workspace, "home": user_home, "scratch": [] });
        for (at_ns, (kind, body)) in (1..).zip([(Kind::Open, opening)].into_iter().chain(entries)) {
            stream.append(Draft { at_ns, kind, actor: "test".into(), cause: Vec::new(), body }).unwrap();
        }
        home
    }

    #[test]
    fn a_change_that_cannot_be_read_is_not_left_out() {
        let change = |node: &str| json!({ "path": "a", "node": { "kind": node }, "base": { "kind": "absent" } });
        let observed = |node: &str, state: &str| {
            (Kind::Observe, json!({ "workspace": { "changes": [change(node)], "state": state } }))
        };
        let fold = |entries| {
            let dir = tempfile::tempdir().unwrap();
            let ledger = Ledger::open_read(left(dir.path(), entries).dir()).unwrap();
            let at = State::at(&ledger, "s", 9).map(|state| state.digest()).map_err(|e| e.to_string());
            (at, State::as_recorded(&ledger, "s", 9).map(drop).map_err(|e| e.to_string()))
        };
        let (at, as_recorded) = fold(vec![observed("absent", "sha256:0")]);
        assert!(at.is_ok() && as_recorded.unwrap_err().contains("sha256:0"));
        let (at, as_recorded) = fold(vec![observed("absent", &State::default().digest())]);
        assert!(at.is_ok() && as_recorded.is_ok());
        let (at, as_recorded) = fold(vec![observed("hologram", "sha256:0")]);
        assert!(at.unwrap_err().contains("entry 2") && as_recorded.unwrap_err().contains("entry 2"));
    }

    #[test]
    fn nothing_is_applied_over_a_record_that_cannot_be_read() {
        let damaged = vec![
            (Kind::Observe, json!({ "workspace": { "changes": [{ "path": "a", "node": { "kind": "hologram" } }] } })),
            (Kind::Alert, json!({ "alert": "unexplained", "detail": { "paths": ["a"] } })),
        ];
        for entry in damaged {
            let dir = tempfile::tempdir().unwrap();
            let home = left(dir.path(), vec![entry, (Kind::Close, json!({}))]);
            let error = crate::taking::apply(&home, "s", "").unwrap_err().to_string();
            assert!(error.contains("entry 2"), "{error}");
        }
    }

    /// A body of more than 65,535 bytes stands beside its entry.
    #[test]
    fn a_denial_that_is_too_long_for_its_entry_is_one_all_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let action = json!({ "verb": "fs.write", "resource": { "type": "File", "path": "/w/a" }, "surface": "fs" });
        let long = json!({ "of": 2, "verdict": "deny", "why": "x".repeat(70_000) });
        let home = left(dir.path(), vec![(Kind::Attempt, action), (Kind::Ruling, long)]);
        let ledger = Ledger::open(home.dir()).unwrap();
        assert_eq!(crate::recover::dead_sessions(&home, &ledger).unwrap().closed, ["s"]);
        let kinds: Vec<Kind> = ledger.entries("s", 4.., Filter::default()).unwrap().map(|e| e.unwrap().kind).collect();
        assert_eq!(kinds, [Kind::Close], "and no outcome of what was never carried out");
    }
}
