//! The end of a session without a sandbox: what is still open, the charter's contracts, the last entry.

use super::{Door, State, hooks};
use crate::contracts::{self, command};
use crate::home::Home;
use crate::plan;
use flyball_kernel::Charter;
use flyball_ledger::Kind;
use flyball_sandbox::Spec;
use serde_json::json;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{MutexGuard, PoisonError};

/// What the agent did beside what it told is not known.
const REPLAY_LEVEL: u8 = 1;

/// Where a session works.
pub(super) struct Place {
    pub(super) home: Home,
    pub(super) workspace: PathBuf,
    pub(super) charter: Option<PathBuf>,
}

impl Place {
    /// The sandbox for a contract's command: the folder as it stands now, under a layer that is thrown away.
    fn spec(&self, id: &str, charter: &Charter) -> Result<Spec, String> {
        let options = command::options(self.workspace.clone(), self.charter.clone(), Vec::new());
        let plan = plan::plan(&self.home, id, &options, charter).map_err(|error| error.to_string())?;
        Ok(command::place(&plan.spec, None))
    }
}

impl Door {
    /// Ends the session: what waits is denied, what is open becomes unknown, contracts are held against it, and the record is
    /// closed. Returns once it is, whoever closes it.
    pub fn close(&self, ended_by: &'static str) {
        if self.over.swap(true, Ordering::SeqCst) {
            let mut state = self.lock();
            while !state.is_closed {
                state = self.settled.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            return;
        }
        let mut state = self.lock();
        let ended_by = *state.ended_by.get_or_insert(ended_by);
        for group in state.waiting.take_all() {
            let _ = state.gate.abandon(group, "the session is over");
        }
        for of in state.waiting.take_dispatched() {
            let _ = state.gate.note(Kind::Outcome, "gate", &[of], json!({ "of": of, "ok": null, "unknown": true }));
        }
        self.settled.notify_all();
        let (mut state, results) = self.hold(state, ended_by);
        let mut body = serde_json::to_value(state.gate.counts()).unwrap_or_default();
        if let Some(body) = body.as_object_mut() {
            body.extend([
                ("session".to_owned(), self.id.as_str().into()),
                ("ended_by".to_owned(), ended_by.into()),
                ("exit".to_owned(), 0.into()),
                ("changed_files".to_owned(), 0.into()),
                ("uncovered".to_owned(), self.uncovered.clone().into()),
                ("replay_level".to_owned(), REPLAY_LEVEL.into()),
                ("registers".to_owned(), serde_json::to_value(state.gate.status().registers).unwrap_or_default()),
            ]);
            if !results.is_empty() {
                body.insert("contracts".to_owned(), serde_json::to_value(results).unwrap_or_default());
            }
        }
        let _ = state.gate.note(Kind::Close, "supervisor", &[], body);
        let _ = state.gate.flush();
        state.gate.end();
        let _ = self.ledger.checkpoint();
        let _ = std::fs::remove_file(self.session_dir.join("control.sock"));
        let _ = std::fs::remove_file(self.session_dir.join(hooks::SOCKET));
        drop(state);
        // They are asked once more now.
        drop(self.witnesses.lock().unwrap_or_else(PoisonError::into_inner).take());
        // The last of its spans, its own among them, in bounded time.
        let live = self.live.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some((live, sending)) = live {
            (sending.tell)(&sending.url, &live.finish());
        }
        self.lock().is_closed = true;
        self.settled.notify_all();
    }

    /// Whether closing it takes as long as a program that the charter names, a collector, or a witness.
    pub(super) fn closes_slowly(&self) -> bool {
        let sends = self.live.lock().unwrap_or_else(PoisonError::into_inner).is_some();
        let witnesses = self.witnesses.lock().unwrap_or_else(PoisonError::into_inner);
        let asks = witnesses.as_ref().is_some_and(crate::witnessing::Beside::is_any);
        sends || asks || !contracts::commands(self.lock().gate.kernel().charter()).is_empty()
    }

    /// Holds the charter's contracts against the session. Its state is let go while a command runs.
    fn hold<'s>(
        &'s self,
        state: MutexGuard<'s, State>,
        ended_by: &str,
    ) -> (MutexGuard<'s, State>, Vec<contracts::ContractResult>) {
        let charter = state.gate.kernel().charter().clone();
        drop(state);
        let commands = contracts::commands(&charter);
        let place = match (commands.is_empty(), ended_by) {
            (true, _) => Err("there is none".to_owned()),
            (false, "program") => self.place.spec(&self.id, &charter),
            (false, _) => Err("the session did not end by itself".to_owned()),
        };
        let place = place.as_ref().map_err(String::as_str);
        let ran = contracts::run_all(&commands, place, &command::Now::default(), &|_, _| {});
        let mut state = self.lock();
        let gate = &mut state.gate;
        let held = contracts::Ended {
            gate,
            ledger: &self.ledger,
            session: &self.id,
            replay_level: REPLAY_LEVEL,
            has_gaps: false,
            ran,
        };
        let results = contracts::settle(held);
        (state, results)
    }
}
