//! What an input causes beside rulings on attempts: deadlines of obligations that passed.

use super::questions::Question;
use super::{Gate, GateError};
use flyball_kernel::{Effect, Event, Input, Ruling};
use flyball_ledger::Kind;
use serde_json::json;

impl Gate {
    /// Puts an input to the kernel; gives its rulings on attempts. What it causes is on record, and waits for
    /// [`Self::take_effects`] where no ruling on an attempt carries it.
    pub(super) fn step(&mut self, input: &Input) -> Result<Vec<Ruling>, GateError> {
        let is_asked = input.event.is_ruled_on();
        let mut rulings = self.kernel.step(input);
        let of_input = |r: &Ruling| !is_asked && r.of == input.seq;
        let own = if rulings.last().is_some_and(of_input) { rulings.pop() } else { None };
        for ruling in rulings.iter().chain(&own) {
            for effect in &ruling.effects {
                let Effect::Cause { act, because, since } = effect else { continue };
                let body = json!({
                    "alert": "obligation", "detail": because, "act": act, "since": since, "reasons": ruling.reasons,
                });
                self.append(Kind::Alert, "kernel", since.as_slice(), body)?;
            }
        }
        self.effects.extend(own.into_iter().flat_map(|r| r.effects));
        let made: Vec<(String, String)> =
            self.kernel.labels_made().map(|(label, path)| (label.to_owned(), path.to_owned())).collect();
        self.pay_dues()?;
        self.keep_labels(&made)?;
        if !matches!(input.event, Event::Tick) {
            // Questions that this input's time settled, beside what it is about.
            let beside = rulings.len().saturating_sub(usize::from(is_asked));
            for ruling in rulings.drain(..beside).collect::<Vec<_>>() {
                self.record_ruling(&ruling)?;
                self.late.push(ruling);
            }
        }
        Ok(rulings)
    }

    /// In a replay: it is that late now, as it was then, though nobody waited for it.
    pub(crate) fn pass_time(&mut self, at_ns: u64) {
        self.clock.reach(at_ns);
    }

    /// The autonomy levels that the charter has, from the least.
    #[must_use]
    pub fn autonomy_levels(&self) -> Vec<&'static str> {
        self.kernel.charter().autonomy().levels.iter().map(|l| l.name()).collect()
    }

    /// What the kernel wants done that no ruling on an attempt carried.
    pub fn take_effects(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.effects)
    }

    /// When the next deadline comes, of a question or an obligation; nanoseconds since the epoch.
    #[must_use]
    pub fn next_deadline_ns(&self) -> Option<u64> {
        if !self.late.is_empty() {
            return Some(0);
        }
        let tiers = self.questions.values().flat_map(Question::deadlines_ns);
        tiers.chain(self.kernel.next_deadline_ns()).min()
    }
}
