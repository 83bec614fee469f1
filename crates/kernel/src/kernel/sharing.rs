//! What the kernel wants of registers that sessions share, and gives back.

use super::Kernel;
use crate::action::Action;
use crate::budget::{Ledger, SharedWant};
use crate::input::{Event, Input};
use crate::ruling::Ruling;

impl Kernel {
    /// What this attempt, or answer with this action, would take of shared registers. Tell what was found by
    /// [`Event::Shared`] before it: what was not granted is refused.
    #[must_use]
    pub fn shared_wants(&self, action: &Action, at_ns: u64) -> Vec<SharedWant> {
        let charter = &self.charter;
        Ledger::wants(&charter.budgets, &charter.name, action, &self.session.values(action), at_ns)
    }

    /// What the last input changes of shared registers: budget, register, and what is to be added.
    pub fn shared_dues(&self) -> impl Iterator<Item = (&str, &str, i64)> {
        self.budgets.dues.iter().map(|((budget, register), add)| (budget.as_str(), register.as_str(), *add))
    }

    /// [`Self::step`] where no other session is: shared budgets are counted by this kernel alone.
    pub fn step_alone(&mut self, input: &Input) -> Vec<Ruling> {
        match &input.event {
            Event::Attempt(action) | Event::Expected { action, .. } | Event::Together { action, .. } => {
                self.grant_alone(action, input.at_ns);
            }
            Event::Answer { of, with, .. } => {
                let open = self.open.get(of).map(|open| open.action.clone());
                if let Some(action) = with.as_deref().cloned().or(open) {
                    self.grant_alone(&action, input.at_ns);
                }
            }
            _ => {}
        }
        self.step(input)
    }

    pub(super) fn grant_alone(&mut self, action: &Action, at_ns: u64) {
        let wants = self.shared_wants(action, at_ns);
        self.budgets.found_alone(&wants);
    }
}
