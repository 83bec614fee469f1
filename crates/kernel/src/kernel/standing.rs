//! Attempts that may yet take effect, for people to look at. Reading changes nothing.

use super::{Kernel, OpenState};
use crate::action::Action;

impl Kernel {
    /// Each attempt that is open, by its number: `held`, `allowed` or `dispatched`, and the action as it would be carried out.
    pub fn standing(&self) -> impl Iterator<Item = (u64, &'static str, &Action)> {
        self.open.iter().map(|(of, open)| {
            let state = match &open.state {
                OpenState::Held(_) => "held",
                OpenState::Allowed => "allowed",
                OpenState::Dispatched => "dispatched",
            };
            (*of, state, &open.action)
        })
    }
}
