//! What the kernel takes of registers that all sessions of the ledger share, and gives back.
//!
//! INVARIANT: a register changes in the transaction of the entry that says so; that entry is the kernel's input, so that a
//! replay finds what was found then. What a session held when it died stays taken: nobody knows what of it was used.

use super::{Gate, GateError};
use crate::control;
use flyball_kernel::{Action, Event, Input, SharedFound};
use flyball_ledger::{Change, Draft, Kind};
use serde_json::json;

impl Gate {
    /// Takes what an action wants of shared registers, before it is ruled on.
    pub(super) fn take_shared(&mut self, action: &Action) -> Result<(), GateError> {
        let at_ns = self.clock.now_ns();
        let wants = self.kernel.shared_wants(action, at_ns);
        if wants.is_empty() {
            return Ok(());
        }
        let owner = control::this_user();
        let change = |register, add, limit| Change { register, add, limit };
        let changes = wants.iter().map(|w| change(w.register(&owner), w.amount, Some(w.limit))).collect();
        let budgets: Vec<(String, i64)> = wants.into_iter().map(|w| (w.budget, w.amount)).collect();
        self.share(at_ns, &budgets, changes)
    }

    /// Settles with shared registers what the last input changed.
    pub(super) fn pay_dues(&mut self) -> Result<(), GateError> {
        let dues = self.kernel.shared_dues();
        let (budgets, changes): (Vec<_>, Vec<_>) = dues
            .map(|(budget, register, add)| {
                ((budget.to_owned(), 0), Change { register: register.to_owned(), add, limit: None })
            })
            .unzip();
        if changes.is_empty() {
            return Ok(());
        }
        let at_ns = self.clock.now_ns();
        self.share(at_ns, &budgets, changes)
    }

    fn share(&mut self, at_ns: u64, budgets: &[(String, i64)], changes: Vec<Change>) -> Result<(), GateError> {
        let wants: Vec<_> =
            budgets.iter().map(|(budget, wanted)| json!({ "budget": budget, "wanted": wanted })).collect();
        let body = json!({ "shared": wants });
        let draft = Draft { at_ns, kind: Kind::Observe, actor: "ledger".to_owned(), cause: Vec::new(), body };
        let (seq, changed) = self.stream()?.share(draft, changes)?;
        let found = budgets
            .iter()
            .zip(changed)
            .map(|((budget, wanted), changed)| SharedFound {
                budget: budget.clone(),
                register: changed.register,
                used: changed.value,
                granted: if changed.is_made { *wanted } else { 0 },
            })
            .collect();
        self.step(&Input { seq, at_ns, event: Event::Shared { found } })?;
        Ok(())
    }
}
