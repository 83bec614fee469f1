//! Budgets that reach beyond one session: counted in registers of the ledger, which the kernel never sees. It says what an
//! action would take ([`SharedWant`]), is told by an input what was granted ([`SharedFound`]), and says what goes back.

use super::{Budget, Key, Ledger, Per};
use crate::action::Action;
use crate::session::Values;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What an action would take of a register that sessions share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SharedWant {
    /// The budget.
    pub budget: String,
    /// How much.
    pub amount: i64,
    /// What the register may hold at most.
    pub limit: i64,
    prefix: String,
    scope: String,
    is_per_owner: bool,
}

impl SharedWant {
    /// The register's name, for sessions that this person runs.
    #[must_use]
    pub fn register(&self, owner: &str) -> String {
        let owner = if self.is_per_owner { format!(" {owner}") } else { String::new() };
        format!("{}{}{owner}", self.prefix, self.scope)
    }
}

/// What a shared register was found to hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SharedFound {
    /// The budget that it counts.
    pub budget: String,
    /// The register.
    pub register: String,
    /// What it holds now, with what is granted.
    pub used: i64,
    /// What the next attempt or answer may take of it: 0 or what was wanted.
    pub granted: i64,
}

impl Per {
    pub fn is_shared(self) -> bool {
        matches!(self, Per::Owner | Per::Fleet | Per::Day)
    }

    /// Whose it is, for reasons.
    pub fn text(self) -> &'static str {
        match self {
            Per::Session | Per::Agent => "",
            Per::Owner => " of all sessions of its owner",
            Per::Fleet => " of all sessions",
            Per::Day => " of all sessions of the day (UTC)",
        }
    }
}

impl Ledger {
    /// What an action would take of shared registers.
    pub fn wants(
        budgets: &BTreeMap<String, Budget>,
        charter: &str,
        action: &Action,
        values: &Values,
        at_ns: u64,
    ) -> Vec<SharedWant> {
        let mut out = Vec::new();
        for (name, budget) in budgets.iter().filter(|(_, b)| b.per.is_shared()) {
            let Some(amount) = budget.amount(action, values).filter(|amount| *amount > 0) else { continue };
            let scope = match budget.per {
                Per::Owner => "owner".to_owned(),
                Per::Day => format!("day {}", day(at_ns)),
                _ => "fleet".to_owned(),
            };
            let is_per_owner = budget.per == Per::Owner;
            let prefix = format!("budget/{charter}/{name}/");
            out.push(SharedWant { budget: name.clone(), amount, limit: budget.limit, prefix, scope, is_per_owner });
        }
        out
    }

    /// Takes in what registers were found to hold.
    pub fn found(&mut self, found: &[SharedFound]) {
        for SharedFound { budget, register, used, granted } in found {
            let key = (budget.clone(), register.clone());
            self.used.insert(key, *used);
            if let Some((register, unused)) = self.granted.insert(budget.clone(), (register.clone(), *granted)) {
                self.change_shared(&(budget.clone(), register), unused.saturating_neg());
            }
        }
    }

    /// Grants what is wanted from this kernel's own count, where there is no ledger to ask.
    pub fn found_alone(&mut self, wants: &[SharedWant]) {
        for want in wants {
            let register = want.register("");
            let used = self.used.get(&(want.budget.clone(), register.clone())).copied().unwrap_or_default();
            let after = used.checked_add(want.amount).filter(|after| *after <= want.limit);
            let (used, granted) = after.map_or((used, 0), |after| (after, want.amount));
            self.found(&[SharedFound { budget: want.budget.clone(), register, used, granted }]);
        }
    }

    /// What was granted and not taken goes back.
    pub fn give_back(&mut self) {
        for (budget, (register, unused)) in std::mem::take(&mut self.granted) {
            self.change_shared(&(budget, register), unused.saturating_neg());
        }
    }

    /// Changes what is used; of a shared register, says so.
    pub(super) fn change(&mut self, budgets: &BTreeMap<String, Budget>, key: &Key, amount: i64) {
        if budgets.get(&key.0).is_some_and(|b| b.per.is_shared()) {
            self.change_shared(key, amount);
        } else {
            self.add(key, amount);
        }
    }

    pub(super) fn change_shared(&mut self, key: &Key, amount: i64) -> i64 {
        if amount != 0 {
            let due = self.dues.entry(key.clone()).or_default();
            *due = due.saturating_add(amount);
        }
        self.add(key, amount)
    }
}

/// `2026-11-21`: the day in UTC. By H. Hinnant's `civil_from_days`, with years that begin in March.
fn day(at_ns: u64) -> String {
    let days = at_ns / 86_400_000_000_000 + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let date = of_year - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    format!("{:04}-{month:02}-{date:02}", year + era * 400 + next)
}

#[cfg(test)]
mod tests {
    use super::day;

    #[test]
    fn days_are_of_utc() {
        const DAY: u64 = 86_400_000_000_000;
        for (days, wanted) in [
            (0, "1970-01-01"),
            (58, "1970-02-28"),
            (59, "1970-03-01"),
            (11_016, "2000-02-29"),
            (20_413, "2025-11-21"),
            (20_819, "2027-01-01"),
            (213_502, "2554-07-20"),
        ] {
            assert_eq!(day(days * DAY), wanted);
            assert_eq!(day(days * DAY + DAY - 1), wanted);
        }
    }
}
