//! Obligations: what must follow when something happened, by when, and what is done where it did not.
//!
//! A trigger opens one obligation for each binding of its variables; the same trigger again leaves the earliest deadline as
//! it is. Each that was opened ends in one way only: an event that matches `must` discharges it, or the first input after its
//! deadline (a tick at it) causes `otherwise`, or it is still open when the session ends.
//!
//! INVARIANT: each rule's list is in the order of its deadlines.

mod adopting;
mod section;

use crate::action::{Action, Value};
use crate::charter::Charter;
use crate::decide::{Finding, clip, needs_answer, own};
use crate::facts::{Occurrence, Pattern, Phase, Seen};
use crate::registers::ObligationUse;
use crate::ruling::Reason;
use crate::session::Values;
use crate::vocabulary::{Reversibility, Verb};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

pub(crate) use section::section;

/// `[[obligation]]`.
#[derive(Clone, Debug)]
pub(crate) struct Obligation {
    pub(crate) trigger: Pattern,
    pub(crate) must: Pattern,
    /// Which value of `must` is to be which of the trigger.
    pub(crate) shared: Vec<(usize, usize)>,
    /// The trigger's variables, in the order of its values.
    variables: Vec<String>,
    pub(crate) within_ns: u64,
    pub(crate) owner: String,
    reason: String,
    pub(crate) otherwise: Otherwise,
    pub(crate) open_max: usize,
    source: String,
}

/// What is done at the deadline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Otherwise {
    Act(&'static str),
    /// From then on every effect is asked about on this path, until an answer settles it.
    Escalate(String),
}

/// The acts that a deadline can cause.
pub(crate) const ACTS: &[&str] = &["pause", "rollback", "quarantine", "kill"];

/// Obligations of one rule that may be open at once, where it doesn't say otherwise; and the most that it may say.
const OPEN_DEFAULT: usize = 1_024;
const OPEN_MAX: usize = 65_536;

/// Triggers that an unmet obligation names as its witnesses.
const WITNESSES_MAX: usize = 16;

/// One that is open.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Due {
    bound: Vec<Value>,
    since: u64,
    deadline_ns: u64,
}

/// The obligations of a session.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Obligations {
    open: BTreeMap<String, VecDeque<Due>>,
    /// By rule, the triggers of what was escalated and nobody has answered for.
    unmet: BTreeMap<String, Vec<u64>>,
}

/// A deadline that passed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Missed {
    pub rule: String,
    /// `pause`, `rollback`, `quarantine`, `kill` or `escalate:PATH`.
    pub act: String,
    pub because: String,
    /// The trigger's entry.
    pub since: u64,
    pub reason: Reason,
}

impl Obligation {
    /// `file:line`.
    pub(crate) fn source(&self) -> &str {
        &self.source
    }

    /// Whether an action of that verb may be taken back to just before it.
    pub fn rolls_back(&self, verb: Verb) -> bool {
        self.otherwise == Otherwise::Act("rollback") && self.trigger.verbs.contains(&verb)
    }

    fn bound_text(&self, bound: &[Value]) -> String {
        let pair =
            |(name, value): (&String, &Value)| format!("{name} = {}", serde_json::to_string(value).unwrap_or_default());
        clip(&self.variables.iter().zip(bound).map(pair).collect::<Vec<_>>().join(", "))
    }

    fn missed(&self, name: &str, due: &Due, why: &str) -> Missed {
        let bound = self.bound_text(&due.bound);
        let of = if bound.is_empty() { String::new() } else { format!(" ({bound})") };
        let act = match &self.otherwise {
            Otherwise::Act(act) => (*act).to_owned(),
            Otherwise::Escalate(path) => format!("escalate:{path}"),
        };
        let reason = Reason {
            rule: name.into(),
            owner: self.owner.as_str().into(),
            reason: format!("{}{of}: {why}", self.reason).into(),
            witnesses: vec![due.since],
            needs: None,
            source: Some(self.source.as_str().into()),
        };
        let because = format!("obligation `{name}`{of}: {why}");
        Missed { rule: name.to_owned(), act, because, since: due.since, reason }
    }
}

impl Obligations {
    /// Takes an event in. Gives what could not be kept: it counts as missed at once.
    pub fn note(&mut self, charter: &BTreeMap<String, Obligation>, event: &Occurrence) -> Vec<Missed> {
        let mut missed = Vec::new();
        for (name, rule) in charter {
            // What happened before discharges; what happens now may begin anew.
            if self.open.contains_key(name) && rule.must.matches(event) {
                self.discharge(name, rule, &rule.must.row(event));
            }
            if !rule.trigger.matches(event) {
                continue;
            }
            let bound = rule.trigger.row(event);
            let open = self.open.entry(name.clone()).or_default();
            // Those whose time was over are gone already, but for a past that is only gone through again.
            if open.len() >= rule.open_max {
                open.retain(|due| due.deadline_ns >= event.at_ns);
            }
            if open.iter().any(|due| due.bound == bound) {
                continue;
            }
            let due = Due { bound, since: event.seq, deadline_ns: event.at_ns.saturating_add(rule.within_ns) };
            if open.len() < rule.open_max {
                // Another charter may have put a shorter time in force since the others began.
                let at = open.partition_point(|other| other.deadline_ns <= due.deadline_ns);
                open.insert(at, due);
            } else {
                // Attempts that would lead here are refused; those under way already can't be.
                let lost = rule.missed(name, &due, &format!("{} are open, and no more can be kept", rule.open_max));
                self.miss(rule, &lost);
                missed.push(lost);
            }
        }
        missed
    }

    fn discharge(&mut self, name: &str, rule: &Obligation, row: &[Value]) {
        let Some(open) = self.open.get_mut(name) else { return };
        let agrees = |due: &Due| rule.shared.iter().all(|(ours, theirs)| due.bound.get(*ours) == row.get(*theirs));
        open.retain(|due| !agrees(due));
        if open.is_empty() {
            self.open.remove(name);
        }
    }

    fn miss(&mut self, rule: &Obligation, missed: &Missed) {
        if matches!(rule.otherwise, Otherwise::Escalate(_)) {
            let since = self.unmet.entry(missed.rule.clone()).or_default();
            if since.len() < WITNESSES_MAX {
                since.push(missed.since);
            }
        }
    }

    /// Takes out those whose deadline has passed, or with a tick has come. An event at the deadline itself is in time.
    pub fn due(&mut self, charter: &BTreeMap<String, Obligation>, now_ns: u64, is_tick: bool) -> Vec<Missed> {
        let mut missed = Vec::new();
        for (name, rule) in charter {
            let Some(open) = self.open.get_mut(name) else { continue };
            let is_due = |due: &Due| due.deadline_ns < now_ns || (is_tick && due.deadline_ns == now_ns);
            let mut late = Vec::new();
            while let Some(due) = open.pop_front() {
                if !is_due(&due) {
                    open.push_front(due);
                    break;
                }
                late.push(due);
            }
            if open.is_empty() {
                self.open.remove(name);
            }
            for due in late {
                let one = rule.missed(name, &due, "its time is over");
                self.miss(rule, &one);
                missed.push(one);
            }
        }
        missed
    }

    /// When the next deadline comes.
    pub fn next_deadline_ns(&self) -> Option<u64> {
        self.open.values().filter_map(|open| Some(open.front()?.deadline_ns)).min()
    }

    /// What has a say in an action: what was escalated and has no answer, and what would be one too many.
    pub fn findings(
        &self,
        charter: &Charter,
        action: &Action,
        values: &Values,
        reversibility: Reversibility,
        waived: &BTreeSet<String>,
    ) -> Vec<Finding> {
        let mut out = Vec::new();
        for (name, since) in &self.unmet {
            let Some(rule) = charter.obligations.get(name) else { continue };
            let Otherwise::Escalate(path) = &rule.otherwise else { continue };
            // What is owed is better done late than not at all.
            if reversibility == Reversibility::Pure || waived.contains(name) || rule.is_met_by(action, values) {
                continue;
            }
            let reason = Reason {
                rule: name.into(),
                owner: rule.owner.as_str().into(),
                reason: format!("{}: it was not met in time, and nobody has answered for it yet", rule.reason).into(),
                witnesses: since.clone(),
                needs: needs_answer(charter, path),
                source: Some(rule.source.as_str().into()),
            };
            out.push(Finding::hold(reason, Some(path.clone())));
        }
        for (name, rule) in &charter.obligations {
            let Some(open) = self.open.get(name).filter(|open| open.len() >= rule.open_max) else { continue };
            if rule.trigger.verbs.contains(&action.verb) && rule.opens_another(open, action, values) {
                let message = format!("{} obligations of `{name}` are open: no more can be kept", open.len());
                let needs = Some(format!("one of them to be met, or a larger `open_max` of `{name}`"));
                out.push(Finding::deny(own("obligation-overflow", message, needs)));
            }
        }
        out
    }

    /// People have answered for what was escalated.
    pub fn answered(&mut self, rules: &BTreeSet<String>) {
        self.unmet.retain(|name, _| !rules.contains(name));
    }

    /// Those that are open, by rule and deadline, and those that were escalated.
    pub fn uses(&self, charter: &BTreeMap<String, Obligation>) -> Vec<ObligationUse> {
        let mut out = Vec::new();
        for (name, rule) in charter {
            let blank = ObligationUse {
                obligation: name.clone(),
                owner: rule.owner.clone(),
                bound: String::new(),
                since: 0,
                deadline_ns: None,
            };
            for due in self.open.get(name).into_iter().flatten() {
                let (bound, deadline_ns) = (rule.bound_text(&due.bound), Some(due.deadline_ns));
                out.push(ObligationUse { bound, since: due.since, deadline_ns, ..blank.clone() });
            }
            for since in self.unmet.get(name).into_iter().flatten() {
                out.push(ObligationUse { since: *since, ..blank.clone() });
            }
        }
        out
    }
}

impl Obligation {
    /// Whether the action could begin an obligation that isn't open already.
    /// Whether doing this is what is owed, as far as can be told beforehand.
    fn is_met_by(&self, action: &Action, values: &Values) -> bool {
        let phase = self.must.phase;
        let event = Occurrence { phase, verb: action.verb, values: Seen::Live(values), seq: 0, at_ns: 0 };
        phase != Phase::Result && self.must.matches(&event)
    }

    fn opens_another(&self, open: &VecDeque<Due>, action: &Action, values: &Values) -> bool {
        let phase = self.trigger.phase;
        if phase == Phase::Result {
            // What its outcome will say isn't known yet.
            return true;
        }
        let event = Occurrence { phase, verb: action.verb, values: Seen::Live(values), seq: 0, at_ns: 0 };
        self.trigger.matches(&event) && {
            let bound = self.trigger.row(&event);
            !open.iter().any(|due| due.bound == bound)
        }
    }
}
