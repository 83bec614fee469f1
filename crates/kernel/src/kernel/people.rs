//! What the kernel asks of people, takes from them, and does when they don't answer in time.

use super::{Gate, Kernel, OPEN_MAX, Open, OpenState};
use crate::action::Action;
use crate::charter::Level;
use crate::decide::{self, Decision, Finding, own};
use crate::question::{Answered, Demand, QUESTIONS_MAX, Question, Reply};
use crate::ruling::{Effect, Ruling, Verdict};
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
    ) -> Ruling {
        let mut effects = std::mem::take(&mut self.effects);
        if matches!(decision.verdict, Verdict::Allow | Verdict::Modify | Verdict::Hold) && self.open.len() >= OPEN_MAX {
            let reason = own("too-many-open", format!("{OPEN_MAX} attempts are open without an outcome"), None);
            decision = decide::strictest(vec![Finding::deny(reason)]);
        }
        match decision.verdict {
            Verdict::Deny => {
                self.open.remove(&of);
            }
            Verdict::Allow | Verdict::Modify => {
                let action = Arc::new(decision.modified.as_deref().unwrap_or(action).clone());
                let values = self.session.values(&action);
                effects.extend(self.budgets.reserve(&self.charter.budgets, of, &action, &values));
                self.positions.reserve(&self.charter.envelopes, of, &action, self.last_at_ns);
                self.open.insert(of, Open { action, state: OpenState::Allowed });
            }
            // A hold that nobody is asked about ends when its cause does: the caller attempts again.
            Verdict::Hold if decision.asks.is_empty() => {}
            Verdict::Hold => {
                let held = self.open.values().filter(|o| matches!(o.state, OpenState::Held(_))).count();
                if held >= QUESTIONS_MAX {
                    let reason = own("too-many-questions", format!("{QUESTIONS_MAX} questions are open"), None);
                    decision = decide::strictest(vec![Finding::deny(reason)]);
                } else {
                    effects.extend(self.open_question(of, action, &decision.asks, waived));
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
    ) -> Vec<Effect> {
        let mut effects = Vec::new();
        let mut demands = Vec::new();
        for (path, rules) in asks {
            // INVARIANT: `check` refused paths that no tier has, so that every ask finds its tier.
            let Some(tier) = self.charter.tiers.get(path) else { continue };
            let demand = Demand::new(path, rules.clone(), tier.within_ns, self.last_at_ns);
            effects.push(demand.ask(tier));
            demands.push(demand);
        }
        let question = Question {
            action: action.clone(),
            digest: action.digest(),
            demands,
            changed: BTreeMap::new(),
            answered_for: waived.clone(),
        };
        let action = Arc::new(action.clone());
        self.open.insert(of, Open { action, state: OpenState::Held(Box::new(question)) });
        effects
    }

    pub(super) fn answer(&mut self, of: u64, reply: &Reply, reason: &str) -> Ruling {
        let Some(open) = self.open.get_mut(&of) else {
            let reason = own("no-open-question", format!("entry {of} is no attempt that waits for an answer"), None);
            return self.ruling(of, None, decide::strictest(vec![Finding::deny(reason)]), Vec::new());
        };
        let action = Arc::clone(&open.action);
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
                let reason = crate::Reason { owner: reply.by.to_owned(), ..own("answered", reason, None) };
                self.settle(of, &action, decide::strictest(vec![Finding::deny(reason)]), &waived)
            }
            Answered::Agreed(agreed, is_changed) => {
                let mut decision = self.decide(&agreed, &waived);
                // The approval is spent: what still stops the action now asks again, or refuses.
                self.open.remove(&of);
                if matches!(decision.verdict, Verdict::Allow | Verdict::Modify) {
                    self.obligations.answered(&waived);
                    let reason = crate::Reason { owner: reply.by.to_owned(), ..own("answered", reason, None) };
                    decision.reasons.push(reason);
                    decision.reasons.sort();
                    if is_changed && decision.verdict == Verdict::Allow {
                        decision.verdict = Verdict::Modify;
                        decision.modified = Some(agreed.clone());
                    }
                }
                let mut ruling = self.settle(of, &agreed, decision, &waived);
                if ruling.verdict == Verdict::Modify {
                    // It answers the attempt as it was made; what is done instead stands in `modified`.
                    ruling.action = action.digest();
                }
                ruling
            }
        }
    }

    pub(super) fn control(&mut self, act: &str, level: Option<&str>) {
        if let ("autonomy", Some(level)) = (act, level.and_then(Level::named)) {
            if self.charter.autonomy.levels.contains(&level) {
                self.autonomy = level;
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
    pub(super) fn tick(&mut self) -> Vec<Ruling> {
        let due: Vec<u64> = self
            .open
            .iter()
            .filter(|(_, open)| match &open.state {
                OpenState::Held(question) => question.demands.iter().any(|d| d.deadline_ns <= self.last_at_ns),
                _ => false,
            })
            .map(|(of, _)| *of)
            .collect();
        due.into_iter().filter_map(|of| self.expire(of)).collect()
    }

    /// Hands a question to the next tiers, or answers it with a refusal.
    fn expire(&mut self, of: u64) -> Option<Ruling> {
        let now_ns = self.last_at_ns;
        let open = self.open.get_mut(&of)?;
        let action = Arc::clone(&open.action);
        let OpenState::Held(question) = &mut open.state else { return None };
        let mut effects = Vec::new();
        let mut reasons = Vec::new();
        for demand in &mut question.demands {
            if demand.deadline_ns > now_ns {
                continue;
            }
            let late = demand.tier.clone();
            match self.charter.tiers.get(&late).and_then(|t| t.then.as_deref()) {
                Some(next) => {
                    let Some(tier) = self.charter.tiers.get(next) else { continue };
                    *demand = Demand::new(next, demand.rules.clone(), tier.within_ns, now_ns);
                    effects.push(demand.ask(tier));
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
