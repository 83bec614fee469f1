//! The workspace as it is just before what must be possible to take back.

use super::{BarrierError, Core};
use crate::gate::{Answer, Answered, GateError};
use flyball_kernel::Verdict;

impl Core {
    /// Captures the workspace for the point that the gate names; an outward call has met the barrier already.
    pub(super) fn capture_before(&mut self, cause: &[u64], is_captured: bool) -> Result<(), BarrierError> {
        if !is_captured {
            self.barrier(cause)?;
        }
        self.gate.captured(self.capture.state.digest());
        Ok(())
    }

    /// Tells the gate a person's answer, with the point of what it lets through. What was captured is of this answer alone.
    pub(super) fn answered(&mut self, id: &str, answer: Answer) -> Result<Answered, GateError> {
        if answer.verdict != Verdict::Deny && self.gate.answer_wants_capture(id) {
            self.capture_before(&[], false).map_err(|e| GateError::Refused(e.to_string()))?;
        }
        let answered = self.gate.answer(id, answer);
        self.gate.forget_point();
        answered
    }
}
