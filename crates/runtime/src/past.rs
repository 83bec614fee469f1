//! A session that is over, opened again for a person's act on it, or for its recovery.

use crate::capture::{Capture, CaptureError};
use crate::clock::{Clock, wall_ns};
use crate::control;
use crate::home::Home;
use crate::plan;
use crate::scratch::Scratch;
use crate::state::{Change, State};
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
