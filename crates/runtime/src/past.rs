//! A session that is over, opened again for a person's act on it.

use crate::capture::Capture;
use crate::clock::{Clock, wall_ns};
use crate::control;
use crate::home::Home;
use crate::plan;
use crate::scratch::Scratch;
use crate::state::State;
use crate::translate;
use flyball_ledger::{Draft, Kind, Ledger, Stream};
use serde_json::{Value as Json, json};
use std::sync::Arc;

/// An ended session's record and workspace.
pub(crate) struct Past {
    pub ledger: Arc<Ledger>,
    pub capture: Capture,
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
    /// Its first entry does not say what a session needs.
    #[error("session `{0}` has no readable `open` entry")]
    NoOpening(String),
}

impl Past {
    /// Opens it. The caller holds the session's lock.
    pub(crate) fn open(home: &Home, session: &str) -> Result<Self, PastError> {
        let ledger = Arc::new(Ledger::open(home.dir())?);
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
        Ok(Self { ledger, capture, last_seq, stream, clock })
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
        self.stream.flush()?;
        self.ledger.checkpoint()?;
        Ok(seq)
    }

    fn append(&mut self, kind: Kind, actor: &str, cause: Vec<u64>, body: Json) -> Result<u64, PastError> {
        let at_ns = self.clock.now_ns();
        Ok(self.stream.append(Draft { at_ns, kind, actor: actor.to_owned(), cause, body })?)
    }
}
