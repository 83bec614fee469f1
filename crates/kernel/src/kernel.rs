//! The kernel: session state, and the step that takes one input to its rulings.

use crate::action::Action;
use crate::charter::{Charter, settings};
use crate::decide::{self, Decision, Finding, own};
use crate::input::{Event, Input};
use crate::question::{Answered, Demand, QUESTIONS_MAX, Question, Reply};
use crate::request::{Cedar, Judged, RuleError};
use crate::ruling::{Effect, Governance, Ruling, Verdict};
use crate::session::{Session, Values};
use crate::vocabulary::{Consequence, Reversibility};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Most attempts that are open at once: ruled allowed or held, without an outcome. Further ones are refused.
const OPEN_MAX: usize = 65_536;

/// Whether the session may act at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gate {
    Open,
    Paused,
    Quarantined,
    Killed,
}

/// An attempt that may yet take effect.
#[derive(Clone, Debug)]
struct Open {
    /// As it is carried out: changed, when people or an envelope changed it.
    action: Action,
    state: OpenState,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum OpenState {
    Held(Box<Question>),
    Allowed,
    Dispatched,
}

/// The state of one governed session under one charter.
#[derive(Clone, Debug)]
pub struct Kernel {
    charter: Arc<Charter>,
    session: Session,
    /// What Cedar needs, or why it can't be had: then every action is refused.
    cedar: Result<Cedar, RuleError>,
    gate: Gate,
    autonomy: usize,
    last_seq: Option<u64>,
    last_at_ns: u64,
    open: BTreeMap<u64, Open>,
}

impl Kernel {
    /// A session's kernel, before its first input.
    #[must_use]
    pub fn new(charter: Arc<Charter>, session: Session) -> Self {
        Self {
            autonomy: 2,
            charter,
            session,
            cedar: Cedar::new(),
            gate: Gate::Open,
            last_seq: None,
            last_at_ns: 0,
            open: BTreeMap::new(),
        }
    }

    /// Takes one input and gives its rulings: exactly one for an attempt or an answer, any number for a tick, none for
    /// the rest.
    ///
    /// An input whose number does not increase is not taken: an attempt or answer is refused, any other ignored. When
    /// time runs backwards, attempts and answers are refused too; what *happened* (a dispatch, an outcome, an act of a
    /// person) is taken all the same, at the latest time known, since facts must not forget what was done.
    pub fn step(&mut self, input: &Input) -> Vec<Ruling> {
        let is_repeated = self.last_seq.is_some_and(|last| input.seq <= last);
        let is_early = input.at_ns < self.last_at_ns;
        if is_repeated || (is_early && matches!(input.event, Event::Attempt(_) | Event::Answer { .. })) {
            return self.refuse_out_of_order(input, is_repeated);
        }
        self.last_seq = Some(input.seq);
        self.last_at_ns = self.last_at_ns.max(input.at_ns);
        match &input.event {
            Event::Attempt(action) => vec![self.attempt(input.seq, action)],
            Event::Answer { of, action, verdict, with, by, reason } => {
                let reply = Reply {
                    digest: action,
                    verdict: *verdict,
                    with: with.as_deref(),
                    by,
                    is_agent: *by == self.session.agent || by.starts_with("agent:"),
                    now_ns: self.last_at_ns,
                };
                vec![self.answer(*of, &reply, reason)]
            }
            Event::Dispatch { of } => self.dispatch(*of, input.seq),
            Event::Outcome { of, .. } => self.outcome(*of),
            Event::Withdraw { of } => {
                self.open.remove(of);
                Vec::new()
            }
            Event::Control { act, level, .. } => {
                self.control(act, level.as_deref());
                Vec::new()
            }
            Event::Observe { .. } => Vec::new(),
            Event::Tick => self.tick(),
        }
    }

    fn refuse_out_of_order(&self, input: &Input, is_repeated: bool) -> Vec<Ruling> {
        let (of, action) = match &input.event {
            Event::Attempt(action) => (input.seq, Some(action.clone())),
            Event::Answer { of, .. } => (*of, self.open.get(of).map(|o| o.action.clone())),
            _ => return Vec::new(),
        };
        let why = if is_repeated {
            format!("entry {} does not follow entry {}", input.seq, self.last_seq.unwrap_or_default())
        } else {
            format!("its time, {} ns, is before that of the last entry, {} ns", input.at_ns, self.last_at_ns)
        };
        let reason = own("input-out-of-order", format!("the input was not taken: {why}"), None);
        // A held attempt stays held: a misplaced answer must not settle it.
        let is_held = matches!(self.open.get(&of), Some(Open { state: OpenState::Held(_), .. }))
            && matches!(input.event, Event::Answer { .. });
        let finding = if is_held { Finding::hold(reason, None) } else { Finding::deny(reason) };
        vec![self.ruling(of, action.as_ref(), decide::strictest(vec![finding]), Vec::new())]
    }

    fn attempt(&mut self, seq: u64, action: &Action) -> Ruling {
        let decision = self.decide(action, &BTreeSet::new());
        self.settle(seq, action, decision)
    }

    /// Gives a decision out: opens a question for a hold, keeps what may take effect.
    fn settle(&mut self, of: u64, action: &Action, mut decision: Decision) -> Ruling {
        let mut effects = Vec::new();
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
                    effects = self.open_question(of, action, &decision.asks);
                }
            }
        }
        self.ruling(of, Some(action), decision, effects)
    }

    fn open_question(&mut self, of: u64, action: &Action, asks: &BTreeMap<String, BTreeSet<String>>) -> Vec<Effect> {
        let mut effects = Vec::new();
        let mut demands = Vec::new();
        for (path, rules) in asks {
            // INVARIANT: `check` refused paths that no tier has, so that every ask finds its tier.
            let Some(tier) = self.charter.tiers.get(path) else { continue };
            let demand = Demand::new(path, rules.clone(), tier.within_ns, self.last_at_ns);
            effects.push(demand.ask(tier));
            demands.push(demand);
        }
        let question = Question { action: action.clone(), digest: action.digest(), demands, changed: BTreeMap::new() };
        self.open.insert(of, Open { action: action.clone(), state: OpenState::Held(Box::new(question)) });
        effects
    }

    /// The session gate, the rules, and whatever else has a say.
    fn decide(&mut self, action: &Action, waived: &BTreeSet<String>) -> Decision {
        if let Some(finding) = self.session_gate() {
            return decide::strictest(vec![finding]);
        }
        let values = self.session.values(action);
        let governance = self.governance(action);
        let mut findings = Vec::new();
        findings.extend(self.rule_findings(action, &values, &governance, waived));
        decide::strictest(findings)
    }

    fn session_gate(&self) -> Option<Finding> {
        match self.gate {
            Gate::Open => None,
            Gate::Paused => {
                let needs = "the session to be resumed by a person".to_owned();
                Some(Finding::hold(own("session-paused", "the session is paused", Some(needs)), None))
            }
            Gate::Quarantined => Some(Finding::deny(own(
                "session-quarantined",
                "the session is in quarantine: nothing takes effect",
                None,
            ))),
            Gate::Killed => Some(Finding::deny(own("session-killed", "the session was ended", None))),
        }
    }

    fn rule_findings(
        &self,
        action: &Action,
        values: &Values,
        governance: &Governance,
        waived: &BTreeSet<String>,
    ) -> Vec<Finding> {
        let cedar = match &self.cedar {
            Ok(cedar) => cedar,
            Err(fault) => return vec![Finding::deny(own("rule-error", fault.message.clone(), None))],
        };
        let autonomy = i64::try_from(self.autonomy).unwrap_or_default();
        let judged = Judged { action, values, governance, autonomy, facts: &BTreeMap::new() };
        decide::rules(&self.charter, cedar, &judged, &BTreeMap::new(), waived)
    }

    fn answer(&mut self, of: u64, reply: &Reply, reason: &str) -> Ruling {
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
                self.settle(of, &action, decide::strictest(vec![Finding::deny(reason)]))
            }
            Answered::Agreed(agreed, is_changed) => {
                let mut decision = self.decide(&agreed, &waived);
                // The approval is spent: what still stops the action now asks again, or refuses.
                self.open.remove(&of);
                if matches!(decision.verdict, Verdict::Allow | Verdict::Modify) {
                    let reason = crate::Reason { owner: reply.by.to_owned(), ..own("answered", reason, None) };
                    decision.reasons.push(reason);
                    decision.reasons.sort();
                    if is_changed && decision.verdict == Verdict::Allow {
                        decision.verdict = Verdict::Modify;
                        decision.modified = Some(agreed.clone());
                    }
                }
                self.settle(of, &agreed, decision)
            }
        }
    }

    fn dispatch(&mut self, of: u64, _seq: u64) -> Vec<Ruling> {
        if let Some(open) = self.open.get_mut(&of)
            && open.state == OpenState::Allowed
        {
            open.state = OpenState::Dispatched;
        }
        Vec::new()
    }

    fn outcome(&mut self, of: u64) -> Vec<Ruling> {
        self.open.remove(&of);
        Vec::new()
    }

    fn control(&mut self, act: &str, _level: Option<&str>) {
        self.gate = match (self.gate, act) {
            // Nothing brings a session back from its end.
            (Gate::Killed, _) => Gate::Killed,
            (_, "kill") => Gate::Killed,
            (_, "quarantine") => Gate::Quarantined,
            (Gate::Open, "pause") => Gate::Paused,
            (_, "resume") => Gate::Open,
            (gate, _) => gate,
        };
    }

    /// Acts on the deadlines that have come, in order of the attempts.
    fn tick(&mut self) -> Vec<Ruling> {
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
        let action = open.action.clone();
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

    /// How deeply an action is governed.
    fn governance(&self, action: &Action) -> Governance {
        let (consequence, reversibility) = settings::weigh(&self.charter.consequences, action.verb, &action.resource);
        governance(consequence, reversibility)
    }

    fn ruling(&self, of: u64, action: Option<&Action>, decision: Decision, effects: Vec<Effect>) -> Ruling {
        let governance = match action {
            Some(action) => self.governance(action),
            // Nothing is known of the action: nothing is taken lightly.
            None => governance(Consequence::Critical, Reversibility::Irreversible),
        };
        Ruling {
            of,
            verdict: decision.verdict,
            reasons: decision.reasons,
            effects,
            action: action.map(Action::digest).unwrap_or_default(),
            charter: self.charter.digest().to_owned(),
            governance,
            modified: decision.modified,
        }
    }
}

fn governance(consequence: Consequence, reversibility: Reversibility) -> Governance {
    let is_grave = consequence >= Consequence::High || reversibility == Reversibility::Irreversible;
    Governance { consequence, reversibility, durable: is_grave, snapshot: is_grave }
}
