//! The kernel: session state, and the step that takes one input to its rulings.

use crate::action::{Action, Value};
use crate::budget;
use crate::charter::{Charter, Level, settings};
use crate::decide::{self, Bench, Decision, Finding, own};
use crate::envelope::{Positions, Said};
use crate::facts::{Facts, Lost, Occurrence, Phase};
use crate::input::{Event, Input};
use crate::question::{Answered, Demand, QUESTIONS_MAX, Question, Reply};
use crate::registers::Registers;
use crate::request::Judged;
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
    action: Arc<Action>,
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
    session: Arc<Session>,
    gate: Gate,
    autonomy: Level,
    facts: Facts,
    budgets: budget::Ledger,
    positions: Positions,
    /// What deciding did to the session's state, to be told with the ruling.
    effects: Vec<Effect>,
    last_seq: Option<u64>,
    last_at_ns: u64,
    open: BTreeMap<u64, Open>,
}

impl Kernel {
    /// A session's kernel, before its first input.
    #[must_use]
    pub fn new(charter: Arc<Charter>, session: Session) -> Self {
        Self {
            autonomy: charter.autonomy.start,
            facts: charter.facts.clone(),
            budgets: budget::Ledger::default(),
            positions: Positions::default(),
            effects: Vec::new(),
            charter,
            session: Arc::new(session),
            gate: Gate::Open,
            last_seq: None,
            last_at_ns: 0,
            open: BTreeMap::new(),
        }
    }

    /// What was counted so far.
    #[must_use]
    pub fn registers(&self) -> Registers {
        let gate = match self.gate {
            Gate::Open => "open",
            Gate::Paused => "paused",
            Gate::Quarantined => "quarantined",
            Gate::Killed => "killed",
        };
        Registers {
            gate: gate.to_owned(),
            budgets: self.budgets.uses(&self.charter.budgets),
            envelopes: self.positions.uses(&self.charter.envelopes, self.last_at_ns),
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
                    is_agent: self.is_agent(by),
                    now_ns: self.last_at_ns,
                };
                vec![self.answer(*of, &reply, reason)]
            }
            Event::Dispatch { of } => {
                self.dispatch(*of, input.seq);
                Vec::new()
            }
            Event::Outcome { of, ok, attrs } => {
                self.outcome(*of, input.seq, *ok, attrs);
                Vec::new()
            }
            Event::Withdraw { of } => {
                self.withdraw(*of);
                Vec::new()
            }
            Event::Control { act, level, by, .. } => {
                if !self.is_agent(by) {
                    self.control(act, level.as_deref());
                }
                Vec::new()
            }
            Event::Observe { .. } => Vec::new(),
            Event::Tick => self.tick(),
        }
    }

    fn refuse_out_of_order(&self, input: &Input, is_repeated: bool) -> Vec<Ruling> {
        let (of, action) = match &input.event {
            Event::Attempt(action) => (input.seq, Some(Arc::new(action.clone()))),
            Event::Answer { of, .. } => (*of, self.open.get(of).map(|o| Arc::clone(&o.action))),
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
        vec![self.ruling(of, action.as_deref(), decide::strictest(vec![finding]), Vec::new())]
    }

    fn is_agent(&self, who: &str) -> bool {
        who == self.session.agent || who.starts_with("agent:")
    }

    fn attempt(&mut self, seq: u64, action: &Action) -> Ruling {
        let decision = self.decide(action, &BTreeSet::new());
        // Facts are as of just before the action: it counts from here on, whatever was ruled.
        let session = Arc::clone(&self.session);
        self.note(Phase::Attempt, action, &session.values(action), seq);
        self.settle(seq, action, decision, &BTreeSet::new())
    }

    /// Lets facts see an event.
    fn note(&mut self, phase: Phase, action: &Action, values: &Values, seq: u64) {
        let event = Occurrence { phase, verb: action.verb, values, seq, at_ns: self.last_at_ns };
        self.facts.commit(&event);
    }

    /// Gives a decision out: opens a question for a hold, keeps what may take effect.
    fn settle(&mut self, of: u64, action: &Action, mut decision: Decision, waived: &BTreeSet<String>) -> Ruling {
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

    /// The session gate, autonomy, facts, rules, envelopes and budgets, to one decision.
    fn decide(&mut self, action: &Action, waived: &BTreeSet<String>) -> Decision {
        // What was written before a session was stopped is judged for itself: stopping it is no reason to undo its work.
        if let Some(finding) = self.session_gate().filter(|_| !action.is_from_content()) {
            return decide::strictest(vec![finding]);
        }
        let (findings, clamped) = self.findings(action, waived);
        let decision = decide::strictest(findings);
        if decision.verdict != Verdict::Modify {
            return decision;
        }
        let Some(changed) = clamped else {
            let reason = own("envelope-error", "the clamped value does not fit the action", None);
            return decide::strictest(vec![Finding::deny(reason)]);
        };
        // Once more, on what would really be done, and never a third time.
        let (findings, clamped_again) = self.findings(&changed, waived);
        let mut second = decide::strictest(findings);
        match second.verdict {
            Verdict::Modify => {
                let last = clamped_again.map(|a| a.resource.id()).unwrap_or_default();
                let reason = own("envelope-conflict", format!("no value fits every envelope of {last}"), None);
                decide::strictest(vec![Finding::deny(reason)])
            }
            Verdict::Allow => Decision { modified: Some(Box::new(changed)), ..decision },
            Verdict::Hold | Verdict::Deny => {
                second.reasons.extend(decision.reasons);
                second.reasons.sort();
                second
            }
        }
    }

    /// Every voice on an action, and the action as envelopes would clamp it.
    fn findings(&mut self, action: &Action, waived: &BTreeSet<String>) -> (Vec<Finding>, Option<Action>) {
        let session = Arc::clone(&self.session);
        let values = session.values(action);
        let governance = self.governance(action);
        let mut findings = self.lower_autonomy(&values, waived);
        let charter = Arc::clone(&self.charter);
        findings.extend(self.rule_findings(action, &values, &governance, waived));
        if action.is_content() {
            // The write itself was counted, bounded and agreed to when the file was opened.
            return (findings, None);
        }
        findings.extend(self.autonomy_finding(&governance, waived));
        let mut clamped: Option<Action> = None;
        for (name, envelope) in charter.envelopes.iter().filter(|(name, _)| !waived.contains(*name)) {
            match envelope.judge(name, action, &self.positions, self.last_at_ns) {
                Said::Within => {}
                Said::Finding(finding) => findings.push(*finding),
                Said::Clamp(finding, value) => {
                    let mut changed = clamped.take().unwrap_or_else(|| action.clone());
                    let is_set = changed.set(envelope.attr(), Value::Long(value)).is_ok();
                    clamped = is_set.then_some(changed);
                    findings.push(*finding);
                }
            }
        }
        findings.extend(self.budgets.findings(&charter.budgets, action, &values));
        (findings, clamped)
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

    /// Lowers the level where a fact asks for it; a fact without a value is an error like any other.
    fn lower_autonomy(&mut self, values: &Values, waived: &BTreeSet<String>) -> Vec<Finding> {
        let mut findings = Vec::new();
        let charter = Arc::clone(&self.charter);
        for (fact, level) in &charter.autonomy.lower {
            if *level >= self.autonomy {
                continue;
            }
            match self.facts.value(fact, values, self.last_at_ns) {
                Ok(Value::Bool(true)) => {
                    self.autonomy = *level;
                    let because = format!("fact `{fact}` holds");
                    self.effects.push(Effect::Autonomy { level: level.name().to_owned(), because });
                }
                Ok(_) => {}
                Err(lost) => findings.extend(self.lost_finding(fact, lost, waived)),
            }
        }
        findings
    }

    fn autonomy_finding(&self, governance: &Governance, waived: &BTreeSet<String>) -> Option<Finding> {
        if governance.reversibility == Reversibility::Pure {
            return None;
        }
        match self.autonomy {
            Level::Observe => {
                let needs = "a person to raise the autonomy level".to_owned();
                let reason = own("autonomy-observe", "at level `observe` nothing takes effect", Some(needs));
                Some(Finding::deny(reason))
            }
            Level::Propose if waived.contains("autonomy-propose") => None,
            Level::Propose => {
                let message = "at level `propose` every effect is asked about";
                Some(match &self.charter.autonomy.ask {
                    Some(path) => {
                        let needs = decide::needs_answer(&self.charter, path);
                        Finding::hold(own("autonomy-propose", message, needs), Some(path.clone()))
                    }
                    None => {
                        let needs = "`ask` in the charter's [autonomy]: nobody is named to be asked".to_owned();
                        Finding::deny(own("autonomy-propose", message, Some(needs)))
                    }
                })
            }
            Level::Bounded | Level::Extended => None,
        }
    }

    fn lost_finding(&self, fact: &str, lost: Lost, waived: &BTreeSet<String>) -> Option<Finding> {
        let (rule, why) = match lost {
            Lost::Overflow => ("fact-overflow", "it would have had to keep more than its `keys_max`"),
            Lost::Broken => ("fact-error", "its number left 64 bits"),
            Lost::Unknown => ("fact-error", "there is no such fact"),
        };
        decide::error(&self.charter, rule, format!("the fact `{fact}` has no value: {why}"), waived)
    }

    fn rule_findings(
        &self,
        action: &Action,
        values: &Values,
        governance: &Governance,
        waived: &BTreeSet<String>,
    ) -> Vec<Finding> {
        let mut findings = Vec::new();
        let facts = self.facts.known(values, self.last_at_ns);
        let lost = match self.charter.slice_for(action) {
            Some(slice) => facts.lost(&slice.facts),
            None => BTreeMap::new(),
        };
        for (fact, why) in &lost {
            findings.extend(self.lost_finding(fact, *why, waived));
        }
        let judged = Judged { action, values, governance, autonomy: self.autonomy.index(), facts: &facts };
        let evidence = |fact: &str| self.facts.evidence(fact, values, self.last_at_ns);
        let bench = Bench { charter: &self.charter, evidence: &evidence, lost: &lost, waived };
        findings.extend(decide::rules(&bench, &judged));
        findings
    }

    fn answer(&mut self, of: u64, reply: &Reply, reason: &str) -> Ruling {
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

    fn dispatch(&mut self, of: u64, seq: u64) {
        let Some(open) = self.open.get_mut(&of) else { return };
        if !matches!(open.state, OpenState::Allowed) {
            return;
        }
        open.state = OpenState::Dispatched;
        let action = Arc::clone(&open.action);
        let session = Arc::clone(&self.session);
        self.did(&action, &session.values(&action), seq);
    }

    fn did(&mut self, action: &Action, values: &Values, seq: u64) {
        self.note(Phase::Did, action, values, seq);
        self.positions.commit(&self.charter.envelopes, action, self.last_at_ns);
    }

    fn outcome(&mut self, of: u64, seq: u64, ok: bool, attrs: &BTreeMap<String, Value>) {
        match self.open.get(&of).map(|open| &open.state) {
            // What was not let through has no outcome; what was and came without its dispatch was dispatched.
            None | Some(OpenState::Held(_)) => return,
            Some(OpenState::Allowed) => self.dispatch(of, seq),
            Some(OpenState::Dispatched) => {}
        }
        let Some(open) = self.open.remove(&of) else { return };
        self.result(&open.action, seq, ok, attrs);
        self.budgets.settle(&self.charter.budgets, of, ok, attrs);
    }

    fn result(&mut self, action: &Action, seq: u64, ok: bool, attrs: &BTreeMap<String, Value>) {
        let session = Arc::clone(&self.session);
        let values = session.values(action).with_outcome(ok, attrs);
        self.note(Phase::Result, action, &values, seq);
    }

    fn withdraw(&mut self, of: u64) {
        // What was dispatched can't be called back: its outcome is still to come.
        if self.open.get(&of).is_some_and(|open| !matches!(open.state, OpenState::Dispatched)) {
            self.open.remove(&of);
            self.budgets.release(of);
        }
    }

    fn control(&mut self, act: &str, level: Option<&str>) {
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

    /// Takes in what an example supposes to have happened, whatever the charter would have said to it.
    pub(crate) fn suppose(
        &mut self,
        at_ns: u64,
        phase: Phase,
        action: &Action,
        ok: bool,
        outcome: &BTreeMap<String, Value>,
    ) {
        self.last_at_ns = self.last_at_ns.max(at_ns);
        let session = Arc::clone(&self.session);
        let values = session.values(action);
        let of = self.next_seq();
        self.note(Phase::Attempt, action, &values, of);
        if phase >= Phase::Did {
            let seq = self.next_seq();
            self.budgets.reserve(&self.charter.budgets, of, action, &values);
            self.did(action, &values, seq);
        }
        if phase >= Phase::Result {
            let seq = self.next_seq();
            self.result(action, seq, ok, outcome);
            self.budgets.settle(&self.charter.budgets, of, ok, outcome);
        }
    }

    /// Rules on an example's attempt.
    pub(crate) fn suppose_attempt(&mut self, at_ns: u64, action: &Action) -> Ruling {
        self.last_at_ns = self.last_at_ns.max(at_ns);
        let seq = self.next_seq();
        self.attempt(seq, action)
    }

    fn next_seq(&mut self) -> u64 {
        let next = self.last_seq.unwrap_or_default().saturating_add(1);
        self.last_seq = Some(next);
        next
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
