//! The workspace as it was just before an action that must be possible to take back.

use super::{Gate, GateError};
use flyball_kernel::Action;
use flyball_ledger::Kind;
use serde_json::json;

impl Gate {
    /// Whether one of these actions wants the workspace captured before it is carried out. Then capture it, and say so by
    /// [`Self::captured`], before they are asked about or their question is answered.
    #[must_use]
    pub fn wants_capture(&self, actions: &[Action]) -> bool {
        actions.iter().any(|action| self.kernel.governance(action).snapshot)
    }

    /// Whether ruling on these waits for the disk, or for other sessions.
    #[must_use]
    pub fn waits(&self, actions: &[Action]) -> bool {
        self.fleet.is_some()
            || actions.iter().map(|action| self.kernel.governance(action)).any(|g| g.durable || g.snapshot)
    }

    /// The same for what an answer to this question lets through.
    #[must_use]
    pub fn answer_wants_capture(&self, question: &str) -> bool {
        let Some(question) = self.questions.get(question) else { return false };
        self.groups.values().any(|g| g.wants_capture && g.waiting.iter().any(|of| question.is_about(*of)))
    }

    /// The workspace was captured, and has this digest. It is the next dispatch's point to go back to.
    pub fn captured(&mut self, state: String) {
        self.captured = Some(state);
    }

    /// What was captured is not the point of what is dispatched next.
    pub fn forget_point(&mut self) {
        self.captured = None;
    }

    /// Names the point to go back to, in the entry before the dispatch.
    pub(super) fn name_point(&mut self, of: u64) -> Result<(), GateError> {
        let Some(state) = self.captured.take() else { return Ok(()) };
        let body = json!({ "snapshot": { "before": of, "state": state } });
        self.append(Kind::Observe, "barrier", &[of], body)?;
        Ok(())
    }
}
