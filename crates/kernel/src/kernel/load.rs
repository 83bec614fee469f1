//! How many questions people have before them, and what becomes of more.
//!
//! At the cap the questions of little consequence are refused first: a part of every owner's share is kept for those of high
//! and critical consequence, so that a flood of small ones can't keep the great ones from being asked.

use super::{Kernel, OpenState};
use crate::action::Action;
use crate::decide::own;
use crate::registers::OwnerLoad;
use crate::ruling::{Effect, Reason};
use crate::vocabulary::Consequence;
use std::collections::{BTreeMap, BTreeSet};

/// Most questions that are open at once in a session.
const QUESTIONS_MAX: usize = 256;
/// Most that one owner has open at once.
pub const OWNER_QUESTIONS_MAX: usize = 32;
/// Of these, how many may be of low or medium consequence.
pub const OWNER_SMALL_QUESTIONS_MAX: usize = 24;

impl Kernel {
    /// Why one more question is not opened, if it is not.
    pub(super) fn too_many(
        &mut self,
        action: &Action,
        asks: &BTreeMap<String, BTreeSet<String>>,
        effects: &mut Vec<Effect>,
    ) -> Option<Reason> {
        let open = self.questions_by_owner();
        let held = self.open.values().filter(|o| matches!(o.state, OpenState::Held(_))).count();
        if held >= QUESTIONS_MAX {
            return Some(own("too-many-questions", format!("{QUESTIONS_MAX} questions are open"), None));
        }
        let consequence = self.governance(action).consequence;
        let max = if consequence >= Consequence::High { OWNER_QUESTIONS_MAX } else { OWNER_SMALL_QUESTIONS_MAX };
        let count = |owner: &String| open.get(owner).copied().unwrap_or_default();
        // Who got below the cap in the meantime is told of again when they come back to it.
        self.overloaded.retain(|owner| count(owner) >= OWNER_SMALL_QUESTIONS_MAX);
        let asked = asks.keys().filter_map(|path| self.charter.tiers.get(path)).flat_map(|tier| &tier.ask);
        let full = asked.into_iter().find(|owner| count(owner) >= max)?.clone();
        let reason = if max == OWNER_QUESTIONS_MAX {
            format!("`{full}` has {max} questions open, as many as anybody gets at once")
        } else {
            format!("`{full}` has {max} questions open: beyond that only those of high consequence are put to them")
        };
        if self.overloaded.insert(full.clone()) {
            effects
                .push(Effect::Alert { alert: "questions".to_owned(), because: format!("{reason}; more are refused") });
        }
        Some(own("owner-overloaded", reason, Some(format!("fewer open questions to `{full}`: answer some"))))
    }

    /// Owners who have questions open, by name.
    pub(super) fn owner_loads(&self) -> Vec<OwnerLoad> {
        let count = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
        let load = |(owner, open)| OwnerLoad {
            owner,
            open: count(open),
            small_max: count(OWNER_SMALL_QUESTIONS_MAX),
            max: count(OWNER_QUESTIONS_MAX),
        };
        self.questions_by_owner().into_iter().map(load).collect()
    }

    fn questions_by_owner(&self) -> BTreeMap<String, usize> {
        let mut open: BTreeMap<String, usize> = BTreeMap::new();
        for attempt in self.open.values() {
            let OpenState::Held(question) = &attempt.state else { continue };
            let tiers = question.demands.iter().filter_map(|d| self.charter.tiers.get(&d.tier));
            let owners: BTreeSet<&String> = tiers.flat_map(|tier| &tier.ask).collect();
            for owner in owners {
                let count = open.entry(owner.clone()).or_default();
                *count = count.saturating_add(1);
            }
        }
        open
    }
}
