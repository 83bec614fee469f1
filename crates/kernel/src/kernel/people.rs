//! What the kernel asks of people, takes from them, and does when they don't answer in time.

use super::load::Place;
use super::{Gate, Kernel, OPEN_MAX, Open, OpenState};
use crate::action::Action;
use crate::charter::Level;
use crate::decide::{self, Decision, Finding, own};
use crate::question::{Answered, Demand, Question, Reply};
use crate::ruling::{ActionDigest, Effect, Ruling, Verdict};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

impl Kernel {
    /// Gives a decision out: opens a question for a hold, keeps what may take effect.
    pub(super) fn settle(
        &mut self,
        of: u64,
        action: &Action,
        mut decision: Decision,
        waived: &BTreeSet<String>,
        batch: Option<u64>,
    ) -> Ruling {
        let mut effects = std::mem::take(&mut self.effects);
        if let Some(learning) = &self.charter.learning {
            decision = learning.soften(action, decision);
        }
        if matches!(decision.verdict, Verdict::Allow | Verdict::Modify | Verdict::Hold) && self.open.len() >= OPEN_MAX {
            let reason = own("too-many-open", format!("{OPEN_MAX} attempts are open without an outcome"), None);
            decision = decide::strictest(vec![Finding::deny(reason)]);
        }
        match decision.verdict {
            Verdict::Deny => {
                self.open.remove(&of);
            }
            Verdict::Allow | Verdict::Modify => {
                let action = decision.modified.as_deref().unwrap_or(action).clone();
                if !self.charter.budgets.is_empty() {
                    let values = self.session.values(&action);
                    effects.extend(self.budgets.reserve(&self.charter.budgets, of, &action, &values));
                }
                self.positions.reserve(&self.charter.envelopes, of, &action, self.last_at_ns);
                self.open.insert(of, Box::new(Open { action, state: OpenState::Allowed, approval: None }));
            }
            // A hold that nobody is asked about ends when its cause does: the caller attempts again.
            Verdict::Hold if decision.asks.is_empty() => {}
            Verdict::Hold => {
                let beside = batch.and_then(|batch| self.beside(batch, &decision.asks));
                if let Some(reason) = self.too_many(action, &decision.asks, beside.is_some(), &mut effects) {
                    decision = decide::strictest(vec![Finding::deny(reason)]);
                } else {
                    let place = beside.unwrap_or_else(|| Place::alone(of, batch));
                    effects.extend(self.open_question(of, action, &decision.asks, waived, place));
                }
            }
        }
        self.ruling(of, Some(action), decision, effects)
    }

    fn open_question(
        &mut self,
        of: u64,
        action: &Action,
        asks: &BTreeMap<String, BTreeSet<String>>,
        waived: &BTreeSet<String>,
        place: Place,
    ) -> Vec<Effect> {
        let with = (place.first != of).then_some(place.first);
        let mut effects = Vec::new();
        let mut demands = Vec::new();
        for (path, rules) in asks {
            // INVARIANT: `check` refused paths that no tier has, so that every ask finds its tier.
            let Some(tier) = self.charter.tiers.get(path) else { continue };
            let mut demand = Demand::new(path, rules.clone(), tier.within_ns, self.last_at_ns);
            // One question has one deadline.
            demand.deadline_ns = place.deadlines.get(path).copied().unwrap_or(demand.deadline_ns);
            effects.push(demand.ask(tier, with));
            self.undue_until_ns = self.undue_until_ns.min(demand.deadline_ns);
            demands.push(demand);
        }
        let question = Question {
            action: action.clone(),
            digest: action.digest(),
            demands,
            changed: BTreeMap::new(),
            answered_for: waived.clone(),
            place: place.number,
        };
        let action = action.clone();
        let state = OpenState::Held(Box::new(question));
        self.open.insert(of, Box::new(Open { action, state, approval: None }));
        effects
    }

    pub(super) fn answer(&mut self, of: u64, reply: &Reply, reason: &str) -> Ruling {
        let Some(open) = self.open.get_mut(&of) else {
            let reason = own("no-open-question", format!("entry {of} is no attempt that waits for an answer"), None);
            return self.ruling(of, None, decide::strictest(vec![Finding::deny(reason)]), Vec::new());
        };
        let action = open.action.clone();
        let OpenState::Held(question) = &mut open.state else {
            // It was settled before: what was ruled then stands, and this answer changes nothing.
            let reason = own("no-open-question", format!("entry {of} has been settled already"), None);
            return self.ruling(of, Some(&action), decide::strictest(vec![Finding::deny(reason)]), Vec::new());
        };
        if self.gate == Gate::Paused && reply.verdict != Verdict::Deny {
            // An approval is spent when it is given, and now it could buy nothing.
            let needs = "the session to be resumed first".to_owned();
            let reason = own("session-paused", "the session is paused: the answer was not taken", Some(needs));
            return self.ruling(of, Some(&action), decide::strictest(vec![Finding::hold(reason, None)]), Vec::new());
        }
        let answered = question.answer(reply, &self.charter.tiers);
        let waived = question.rules();
        let approval = question.approval(reply, reason, &self.charter.tiers);
        match answered {
            Answered::Refused(name, message) => {
                let finding = Finding::hold(own(name, message, None), None);
                self.ruling(of, Some(&action), decide::strictest(vec![finding]), Vec::new())
            }
            Answered::Counted(progress) => {
                let message = format!("`{}` agreed: {reason}; so far {progress}", reply.by);
                let finding = Finding::hold(own("answer-counted", message, None), None);
                self.ruling(of, Some(&action), decide::strictest(vec![finding]), Vec::new())
            }
            Answered::Denied => {
                let reason = crate::Reason { owner: reply.by.into(), ..own("answered", reason, None) };
                self.settle(of, &action, decide::strictest(vec![Finding::deny(reason)]), &waived, None)
            }
            Answered::Agreed(agreed, is_changed) => {
                // What was read since, or what a person put in its place, may carry more.
                let agreed = Box::new(self.labelled(&agreed).into_owned());
                let session = Arc::clone(&self.session);
                let mut decision = self.decide(&agreed, &session.values(&agreed), &waived);
                // The approval is spent: what still stops the action now asks again, or refuses.
                self.open.remove(&of);
                if matches!(decision.verdict, Verdict::Allow | Verdict::Modify) {
                    self.obligations.answered(&waived);
                    let reason = crate::Reason { owner: reply.by.into(), ..own("answered", reason, None) };
                    decision.reasons.push(reason);
                    decision.reasons.sort();
                    if is_changed && decision.verdict == Verdict::Allow {
                        decision.verdict = Verdict::Modify;
                        decision.modified = Some(agreed.clone());
                    }
                }
                let mut ruling = self.settle(of, &agreed, decision, &waived, None);
                if matches!(ruling.verdict, Verdict::Allow | Verdict::Modify)
                    && let Some(open) = self.open.get_mut(&of)
                {
                    open.approval = Some(Box::new(approval));
                }
                if ruling.verdict == Verdict::Modify {
                    // It answers the attempt as it was made; what is done instead stands in `modified`.
                    ruling.action = ActionDigest::of(&action);
                }
                ruling
            }
        }
    }

    pub(super) fn control(&mut self, act: &str, level: Option<&str>, by: &str) {
        if let ("autonomy", Some(level)) = (act, level.and_then(Level::named)) {
            // Whoever is no person may lower it, and never raise it.
            let may =
                level <= self.autonomy || !["", "charter", "kernel", "sandbox", "supervisor", "gate"].contains(&by);
            if may && self.charter.autonomy.levels.contains(&level) {
                if level > self.autonomy {
                    self.autonomy_known = self.charter.autonomy.lower.iter().map(|(fact, _)| fact.clone()).collect();
                }
                self.autonomy = level;
            }
            return;
        }
        if let ("declassify", Some(label)) = (act, level) {
            if self.declassifiers(label).iter().any(|contact| contact == by) {
                self.labels.declassify(label);
            }
            return;
        }
        self.gate = match (self.gate, act) {
            // Nothing brings a session back from its end.
            (Gate::Killed, _) | (_, "kill") => Gate::Killed,
            (_, "quarantine") => Gate::Quarantined,
            (Gate::Open, "pause") => Gate::Paused,
            (_, "resume") => Gate::Open,
            (gate, _) => gate,
        };
    }

    /// Acts on the deadlines that have come, in order of the attempts.
    pub(super) fn expired(&mut self) -> Vec<Ruling> {
        let now_ns = self.last_at_ns;
        if now_ns < self.undue_until_ns {
            return Vec::new();
        }
        let due: Vec<u64> =
            self.open.iter().filter(|(_, open)| deadline_ns(open) <= now_ns).map(|(of, _)| *of).collect();
        let rulings = due.into_iter().filter_map(|of| self.expire(of)).collect();
        self.undue_until_ns = self.open.values().map(|open| deadline_ns(open)).min().unwrap_or(u64::MAX);
        rulings
    }

    /// Hands a question to the next tiers, or answers it with a refusal.
    fn expire(&mut self, of: u64) -> Option<Ruling> {
        let now_ns = self.last_at_ns;
        let open = self.open.get_mut(&of)?;
        let action = open.action.clone();
        let OpenState::Held(question) = &mut open.state else { return None };
        let mut effects = Vec::new();
        let mut reasons = Vec::new();
        for demand in question.demands.iter_mut().filter(|d| d.deadline_ns <= now_ns) {
            let late = demand.tier.clone();
            let next = self.charter.tiers.get(&late).and_then(|t| t.then.as_deref());
            // INVARIANT: a path without a loop hands on fewer times than there are tiers; `check` refuses loops.
            let may_go_on =
                usize::try_from(demand.passed).is_ok_and(|n| n.saturating_add(1) < self.charter.tiers.len());
            match next.and_then(|next| Some((next, self.charter.tiers.get(next)?))).filter(|_| may_go_on) {
                Some((next, tier)) => {
                    *demand = demand.handed_on(next, tier.within_ns, now_ns);
                    effects.push(demand.ask(tier, None));
                    let message = format!("`{late}` did not answer in time: `{next}` is asked");
                    reasons.push(Finding::hold(own("question-escalated", message, None), None));
                }
                None => {
                    let message = format!("`{late}` did not answer in time");
                    let needs = "a new attempt, answered before its deadline".to_owned();
                    reasons.push(Finding::deny(own("question-expired", message, Some(needs))));
                }
            }
        }
        let decision = decide::strictest(reasons);
        if decision.verdict == Verdict::Deny {
            self.open.remove(&of);
            effects.clear();
        }
        Some(self.ruling(of, Some(&action), decision, effects))
    }
}

/// When the first of an attempt's demands is due, where it waits for any.
fn deadline_ns(open: &Open) -> u64 {
    match &open.state {
        OpenState::Held(question) => question.demands.iter().map(|d| d.deadline_ns).min().unwrap_or(u64::MAX),
        OpenState::Allowed | OpenState::Dispatched => u64::MAX,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
mod tests {
    use crate::{Action, Charter, Event, Input, Kernel, Resource, Session, Sources, Surface, Verdict};
    use std::sync::Arc;

    /// `check` refuses such a charter; should one come past it, its questions end all the same.
    #[test]
    fn a_path_that_loops_ends_in_refusal() {
        let toml = "[charter]\nname = \"t\"\n[owners]\nd = [\"user:a\"]\n[escalation.x]\nask = \"d\"\nwithin = \"1s\"\nthen = \"y\"\n\
                    [escalation.y]\nask = \"d\"\nwithin = \"1s\"\nthen = \"deny\"\n";
        let rules = "@id(\"r\") @owner(\"d\") @reason(\"r\") @escalate(\"x\") forbid (principal, action, resource);\
                     @id(\"p\") @owner(\"d\") @reason(\"r\") permit (principal, action, resource);";
        let files = [("charter.toml", toml), ("r.cedar", rules)].map(|(name, text)| (name.to_owned(), text.to_owned()));
        let (mut charter, _) = Charter::compile(&Sources::from(files)).unwrap();
        charter.tiers.get_mut("y").unwrap().then = Some("x".to_owned());
        let session = Session { workspace: "/w".into(), home: "/h".into(), agent: "a".into() };
        let mut kernel = Kernel::new(Arc::new(charter), session);
        let action = Action::new("fs.write", Resource::file("/w/a"), Surface::Fs).unwrap();
        let held = kernel.step(&Input { seq: 1, at_ns: 0, event: Event::Attempt(action) });
        assert_eq!(held[0].verdict, Verdict::Hold);
        let said: Vec<Verdict> = (2..10)
            .flat_map(|seq| kernel.step(&Input { seq, at_ns: seq * 2_000_000_000, event: Event::Tick }))
            .map(|r| r.verdict)
            .collect();
        assert_eq!(said, [Verdict::Hold, Verdict::Deny]);
    }
}
