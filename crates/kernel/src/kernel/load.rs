//! How many questions people have before them, and what becomes of more.
//!
//! At the cap the questions of little consequence are refused first: a part of every owner's share is kept for those of high
//! and critical consequence, so that a flood of small ones can't keep the great ones from being asked.

use super::{Kernel, OpenState};
use crate::action::Action;
use crate::decide::own;
use crate::question::{Number, Question};
use crate::registers::OwnerLoad;
use crate::ruling::{Effect, Reason};
use crate::vocabulary::Consequence;
use std::collections::{BTreeMap, BTreeSet};

/// Most actions that are held at once in a session, in however many questions.
const HELD_MAX: usize = 2048;
/// Most actions that one question is about: people must be able to read them all.
const QUESTION_ACTIONS_MAX: u32 = 256;
/// Most that one owner has open at once.
pub const OWNER_QUESTIONS_MAX: usize = 32;
/// Of these, how many may be of low or medium consequence.
pub const OWNER_SMALL_QUESTIONS_MAX: usize = 24;

/// Where a held attempt stands among those that are one question.
pub(super) struct Place {
    pub number: Number,
    pub first: u64,
    /// The question's deadlines, by tier.
    pub deadlines: BTreeMap<String, u64>,
}

impl Place {
    pub fn alone(of: u64, batch: Option<u64>) -> Self {
        Self { number: Number { batch, first: of, before: 0 }, first: of, deadlines: BTreeMap::new() }
    }
}

impl Kernel {
    /// The place in a question of the batch that is about to be put to the same tiers, if there is one with room.
    pub(super) fn beside(&self, batch: u64, asks: &BTreeMap<String, BTreeSet<String>>) -> Option<Place> {
        let is_same = |question: &Question| {
            question.place.batch == Some(batch)
                && question.demands.iter().map(|d| &d.tier).eq(asks.keys())
                && question.demands.iter().all(|d| d.is_fresh() && d.deadline_ns > self.last_at_ns)
        };
        let held = self.open.range(batch..).rev().filter_map(|(_, open)| match &open.state {
            OpenState::Held(question) => Some(question),
            OpenState::Allowed | OpenState::Dispatched => None,
        });
        let last = held.into_iter().find(|question| is_same(question))?;
        let before = last.place.before.saturating_add(1);
        (before < QUESTION_ACTIONS_MAX).then(|| Place {
            number: Number { before, ..last.place },
            first: last.place.first,
            deadlines: last.demands.iter().map(|d| (d.tier.clone(), d.deadline_ns)).collect(),
        })
    }

    /// Why one more question is not opened, if it is not.
    pub(super) fn too_many(
        &mut self,
        action: &Action,
        asks: &BTreeMap<String, BTreeSet<String>>,
        is_beside: bool,
        effects: &mut Vec<Effect>,
    ) -> Option<Reason> {
        let held = self.open.values().filter(|o| matches!(o.state, OpenState::Held(_))).count();
        if held >= HELD_MAX {
            return Some(own("too-many-questions", format!("{HELD_MAX} actions wait for answers"), None));
        }
        if is_beside {
            return None;
        }
        let open = self.questions_by_owner();
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
        let mut open: BTreeMap<String, BTreeSet<u64>> = BTreeMap::new();
        for attempt in self.open.values() {
            let OpenState::Held(question) = &attempt.state else { continue };
            let tiers = question.demands.iter().filter_map(|d| self.charter.tiers.get(&d.tier));
            for owner in tiers.flat_map(|tier| &tier.ask) {
                open.entry(owner.clone()).or_default().insert(question.place.first);
            }
        }
        open.into_iter().map(|(owner, questions)| (owner, questions.len())).collect()
    }
}
