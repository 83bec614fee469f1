//! Questions of a replay: answered as they were then, by nobody else.

use super::{Core, Notice};
use crate::gate::Question;
use crate::rerun::{Again, Fork};
use flyball_sandbox::{Decision, Ticket};

impl Core {
    /// Settles a fork's question by what people said of it in the parent; `None`: nobody did, or it is settled.
    pub(crate) fn answered_in_parent(&mut self, fork: &Fork, id: &str) -> Option<Vec<(Ticket, Decision)>> {
        let question = self.gate.questions().find(|question| question.id == id).cloned()?;
        // As below: who was not heard then is not now.
        while let Some(answer) = fork.answer(&question) {
            if let Ok((released, _)) = self.answer(id, answer) {
                return Some(released);
            }
        }
        None
    }

    /// Settles one open question by what came of it then; `None`: no question is open.
    pub(crate) fn answered_before(&mut self, again: &Again) -> Option<Vec<(Ticket, Decision)>> {
        let questions: Vec<Question> = self.gate.questions().cloned().collect();
        for question in &questions {
            for (of, action, _) in question.parts() {
                // Who was not heard then is not now, and whoever came next is.
                while let Some(answer) = again.answer(of, action) {
                    if let Ok((released, _)) = self.answer(&question.id, answer) {
                        return Some(released);
                    }
                }
            }
        }
        // What was answered in time first: the time that is over for one question may be so for others.
        let question = questions.first()?;
        let late = questions.iter().find(|q| q.parts().filter(|(_, action, _)| again.was_late(action)).count() > 0);
        if let Some(late) = late {
            self.gate.pass_time(late.ends_ns());
            return Some(self.tick());
        }
        match self.gate.unanswered(question, "nobody answered this in the recorded session") {
            Ok(settled) => Some(self.release_all(settled)),
            Err(error) => {
                self.outbox.push(Notice::Alert(error.to_string()));
                None
            }
        }
    }
}
