//! Open questions: what was asked of whom, who has answered, and when it is answered for them.

use crate::action::Action;
use crate::charter::Tier;
use crate::decide::own;
use crate::ruling::{Effect, Reason, Verdict};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// What one tier was asked about a held attempt. An attempt is let through when all its demands are met.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Demand {
    /// The tier that is asked now.
    pub tier: String,
    /// The rules that this answers for, sorted.
    pub rules: BTreeSet<String>,
    pub deadline_ns: u64,
    /// Tiers that were asked before and let their deadline pass.
    pub passed: u32,
    /// Who agreed, and to which action's digest: as asked, or as they changed it.
    agreed: BTreeMap<String, String>,
}

/// A held attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Question {
    pub action: Action,
    /// The action's digest: answers name it.
    pub digest: String,
    pub demands: Vec<Demand>,
    /// The changed actions that people proposed, by digest.
    pub changed: BTreeMap<String, Action>,
    /// Rules that earlier answers on the same attempt stand in for.
    pub answered_for: BTreeSet<String>,
    /// Which question to people it is part of.
    pub place: Number,
}

/// What counts as one question: attempts of one batch that the same tiers are asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Number {
    /// The batch in which it was asked for.
    pub batch: Option<u64>,
    /// The first attempt of the question.
    pub first: u64,
    /// How many came before it in the question.
    pub before: u32,
}

/// What people agreed to before the action itself came: for that one action, once, and not for long.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Approval {
    /// The rules that it stands in for.
    pub rules: BTreeSet<String>,
    /// Who agreed.
    pub by: Vec<String>,
    /// The entry of the answer that completed it, and its reason.
    pub seq: u64,
    pub why: String,
    /// It is worth nothing after this time.
    pub until_ns: u64,
}

impl Approval {
    /// Why the action that it was given for passes.
    pub fn reason(&self, of: u64) -> Reason {
        let by = self.by.join(", ");
        let message = format!("{by} allowed it when entry {of} named it: {}", self.why);
        Reason {
            owner: by.into(),
            witnesses: vec![of.min(self.seq), of.max(self.seq)],
            ..own("answered-before", message, None)
        }
    }
}

impl Demand {
    pub fn new(tier: &str, rules: BTreeSet<String>, within_ns: u64, now_ns: u64) -> Self {
        Self {
            tier: tier.to_owned(),
            rules,
            deadline_ns: now_ns.saturating_add(within_ns),
            passed: 0,
            agreed: BTreeMap::new(),
        }
    }

    /// The same demand, handed to the next tier: who agreed before was asked as another tier's.
    pub fn handed_on(&self, tier: &str, within_ns: u64, now_ns: u64) -> Self {
        let passed = self.passed.saturating_add(1);
        Self { passed, ..Self::new(tier, self.rules.clone(), within_ns, now_ns) }
    }

    /// The effect that opens it or hands it on.
    pub fn ask(&self, tier: &Tier, with: Option<u64>) -> Effect {
        Effect::Ask {
            tier: self.tier.clone(),
            who: tier.who.clone(),
            quorum: tier.quorum,
            deadline_ns: self.deadline_ns,
            with,
        }
    }

    /// Whether it stands as it was when it was opened.
    pub fn is_fresh(&self) -> bool {
        self.passed == 0 && self.agreed.is_empty()
    }

    /// Whether somebody has answered, by whichever of their contacts.
    pub fn has_answer_of(&self, contact: &str, tier: &Tier) -> bool {
        self.agreed.keys().any(|other| tier.person(other) == tier.person(contact))
    }

    pub fn agree(&mut self, person: &str, digest: &str) {
        self.agreed.insert(person.to_owned(), digest.to_owned());
    }

    /// The digest that enough of those who are asked agreed to. Under a narrower charter, who agreed before may not be one of
    /// them any more.
    fn agreed_to(&self, tier: Option<&Tier>) -> Option<&str> {
        let tier = tier?;
        let quorum = tier.quorum;
        let mut votes: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for (contact, digest) in self.agreed.iter().filter(|(contact, _)| tier.who.contains(contact)) {
            votes.entry(digest).or_default().insert(tier.person(contact));
        }
        let is_met = |people: &BTreeSet<&str>| u32::try_from(people.len()).is_ok_and(|count| count >= quorum);
        votes.into_iter().find(|(_, people)| is_met(people)).map(|(digest, _)| digest)
    }

    fn agreed_count(&self, tier: Option<&Tier>) -> usize {
        let Some(tier) = tier else { return 0 };
        let people = self.agreed.keys().filter(|contact| tier.who.contains(contact)).map(|c| tier.person(c));
        people.collect::<BTreeSet<_>>().len()
    }
}

/// What a person says to a question, or why they may not.
pub(crate) struct Reply<'a> {
    pub digest: &'a str,
    pub verdict: Verdict,
    pub with: Option<&'a Action>,
    pub by: &'a str,
    pub is_agent: bool,
    pub now_ns: u64,
    /// The answer's entry.
    pub seq: u64,
}

/// What became of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answered {
    /// It does not count: a reason's name and text. Nothing changed.
    Refused(&'static str, String),
    /// It counts, and more are needed.
    Counted(String),
    /// All demands are met, for this action; `true` when it is not the one that was asked about.
    Agreed(Box<Action>, bool),
    /// Refused by a person who may.
    Denied,
}

impl Question {
    pub fn answer(&mut self, reply: &Reply, tiers: &BTreeMap<String, Tier>) -> Answered {
        let quorum = |d: &Demand| tiers.get(&d.tier).map_or(u32::MAX, |t| t.quorum);
        let is_asked = |d: &Demand| tiers.get(&d.tier).is_some_and(|t| t.who.iter().any(|w| w == reply.by));
        let has_answered = |d: &Demand| tiers.get(&d.tier).is_some_and(|t| d.has_answer_of(reply.by, t));
        if reply.is_agent {
            return Answered::Refused("answer-by-agent", "an agent does not answer for itself".to_owned());
        }
        if !self.demands.iter().any(is_asked) {
            return Answered::Refused("answer-not-asked", format!("`{}` is not among those who are asked", reply.by));
        }
        if reply.digest != self.digest {
            let message = "the answer is for another action than the one that was asked about".to_owned();
            return Answered::Refused("answer-other-action", message);
        }
        if !self.demands.iter().any(|d| is_asked(d) && reply.now_ns < d.deadline_ns) {
            return Answered::Refused("answer-late", "the question's deadline has passed".to_owned());
        }
        if reply.verdict == Verdict::Deny {
            return Answered::Denied;
        }
        let (chosen, changed) = match (reply.verdict, reply.with) {
            (Verdict::Allow, None) => (self.digest.clone(), None),
            (Verdict::Modify, Some(with)) if with.verb != self.action.verb => {
                let message = format!("the changed action is a `{}`, not a `{}`", with.verb, self.action.verb);
                return Answered::Refused("answer-other-action", message);
            }
            (Verdict::Modify, Some(with)) => (with.digest(), Some(with)),
            _ => {
                let message = "an answer is `allow`, `deny`, or `modify` with the changed action".to_owned();
                return Answered::Refused("answer-unclear", message);
            }
        };
        let mut counts = false;
        for demand in &mut self.demands {
            if is_asked(demand) && reply.now_ns < demand.deadline_ns && !has_answered(demand) {
                demand.agree(reply.by, &chosen);
                counts = true;
            }
        }
        if !counts {
            return Answered::Refused("answer-twice", format!("`{}` has answered already", reply.by));
        }
        if let Some(with) = changed {
            self.changed.insert(chosen, with.clone());
        }
        let agreed: Vec<Option<&str>> = self.demands.iter().map(|d| d.agreed_to(tiers.get(&d.tier))).collect();
        let first = agreed.first().copied().flatten();
        match first {
            Some(digest) if agreed.iter().all(|a| *a == Some(digest)) => {
                let is_changed = digest != self.digest;
                let action = self.changed.get(digest).unwrap_or(&self.action).clone();
                Answered::Agreed(Box::new(action), is_changed)
            }
            _ => {
                let told = self
                    .demands
                    .iter()
                    .map(|d| format!("{} of {} for `{}`", d.agreed_count(tiers.get(&d.tier)), quorum(d), d.tier));
                Answered::Counted(told.collect::<Vec<_>>().join(", "))
            }
        }
    }

    /// What an agreement on this very action is worth to the same action later on: in the name of those who agreed to it, not to
    /// a changed one.
    pub fn approval(&self, reply: &Reply, why: &str, tiers: &BTreeMap<String, Tier>) -> Approval {
        let agreed = self.demands.iter().flat_map(|d| &d.agreed);
        let by: BTreeSet<&String> = agreed.filter(|(_, to)| **to == self.digest).map(|(who, _)| who).collect();
        let within_ns = self.demands.iter().filter_map(|d| tiers.get(&d.tier)).map(|t| t.within_ns).min();
        Approval {
            rules: self.rules(),
            by: by.into_iter().cloned().collect(),
            seq: reply.seq,
            why: why.to_owned(),
            until_ns: reply.now_ns.saturating_add(within_ns.unwrap_or_default()),
        }
    }

    /// Forgets the rules that are not these: an answer does not stand in for them.
    pub fn keep_rules(&mut self, keep: impl Fn(&str) -> bool) {
        self.demands.iter_mut().for_each(|d| d.rules.retain(|name| keep(name)));
        self.answered_for.retain(|name| keep(name));
    }

    /// All rules that the answer stands in for.
    pub fn rules(&self) -> BTreeSet<String> {
        self.demands.iter().flat_map(|d| &d.rules).chain(&self.answered_for).cloned().collect()
    }
}
