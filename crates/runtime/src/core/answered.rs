//! Questions of a replay: answered as they were then, by nobody else.

use super::{Core, Notice};
use crate::rerun::Again;
use flyball_sandbox::{Decision, Ticket};

impl Core {
    /// Settles one open question by what people said then; `None`: no question is open.
    pub(crate) fn answered_before(&mut self, again: &Again) -> Option<Vec<(Ticket, Decision)>> {
        let question = self.gate.questions().next().cloned()?;
        for (of, action, _) in question.parts() {
            if let Some(answer) = again.answer(of, action)
                && let Ok((released, _)) = self.answer(&question.id, answer)
            {
                return Some(released);
            }
        }
        match self.gate.unanswered(&question, "nobody answered this in the recorded session") {
            Ok(settled) => Some(self.release_all(settled)),
            Err(error) => {
                self.outbox.push(Notice::Alert(error.to_string()));
                None
            }
        }
    }
}
