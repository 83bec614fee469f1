//! What the kernel does about obligations as time passes.

use super::{Gate, Kernel};
use crate::decide::{self, Finding};
use crate::input::Event;
use crate::obligation::Missed;
use crate::ruling::{Effect, Ruling};

impl Kernel {
    /// Acts on the obligations whose deadline has passed.
    pub(super) fn pass_time(&mut self, is_tick: bool) {
        if self.charter.obligations.is_empty() {
            return;
        }
        let missed = self.obligations.due(&self.charter.obligations, self.last_at_ns, is_tick);
        self.miss(missed);
    }

    /// What was missed is caused. The session's own gate closes at once: nothing passes until the supervisor has acted.
    pub(super) fn miss(&mut self, missed: Vec<Missed>) {
        for Missed { act, because, since, reason, .. } in missed {
            self.gate = match (self.gate, act.as_str()) {
                (Gate::Killed, _) | (_, "kill") => Gate::Killed,
                (Gate::Quarantined, _) | (_, "quarantine") => Gate::Quarantined,
                (_, "pause") => Gate::Paused,
                (gate, _) => gate,
            };
            self.effects.push(Effect::Cause { act, because, since: Some(since) });
            self.missed.push(reason);
        }
    }

    /// Gives out what no ruling of this input carries: with the last of its rulings, or one of its own.
    pub(super) fn give_out(&mut self, seq: u64, event: &Event, mut rulings: Vec<Ruling>) -> Vec<Ruling> {
        let (effects, reasons) = (std::mem::take(&mut self.effects), std::mem::take(&mut self.missed));
        if effects.is_empty() && reasons.is_empty() {
            return rulings;
        }
        let is_single = event.is_ruled_on();
        match rulings.last_mut() {
            Some(ruling) if is_single => ruling.effects.extend(effects),
            _ => {
                let decision = decide::strictest(reasons.into_iter().map(Finding::deny).collect());
                rulings.push(self.ruling(seq, None, decision, effects));
            }
        }
        rulings
    }

    /// When a tick is wanted next, for an obligation.
    #[must_use]
    pub fn next_deadline_ns(&self) -> Option<u64> {
        self.obligations.next_deadline_ns()
    }
}
