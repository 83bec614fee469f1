//! One decision: rules, and what else has a say, to the strictest verdict with its reasons.

use crate::action::Action;
use crate::charter::{Charter, DefaultVerdict};
use crate::facts::Lost;
use crate::request::{Judged, Matched, RuleError};
use crate::ruling::{Reason, Verdict};
use crate::text::Text;
use std::collections::{BTreeMap, BTreeSet};

/// One voice in a decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    pub verdict: Verdict,
    pub reason: Reason,
    /// The path to ask, for a hold that people can lift.
    pub escalate: Option<String>,
}

/// What was decided, before it is given out as a ruling.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Decision {
    pub verdict: Verdict,
    pub reasons: Vec<Reason>,
    /// Paths to ask, each with the rules that want it.
    pub asks: BTreeMap<String, BTreeSet<String>>,
    pub modified: Option<Box<Action>>,
}

/// What the facts that a rule reads say for its reason.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Evidence {
    pub witnesses: Vec<u64>,
    pub needs: Option<String>,
    /// The fact's value, for one that is true or false.
    pub holds: Option<bool>,
}

/// A reason of the kernel's own.
pub(crate) fn own(rule: &str, reason: impl Into<Text>, needs: Option<String>) -> Reason {
    Reason {
        rule: rule.into(),
        owner: Text::default(),
        reason: reason.into(),
        witnesses: Vec::new(),
        needs,
        source: None,
    }
}

impl Decision {
    /// Let through, for these reasons.
    pub fn allow(mut reasons: Vec<Reason>) -> Self {
        reasons.sort();
        reasons.dedup();
        Self { verdict: Verdict::Allow, reasons, asks: BTreeMap::new(), modified: None }
    }
}

impl Finding {
    pub fn deny(reason: Reason) -> Self {
        Self { verdict: Verdict::Deny, reason, escalate: None }
    }

    pub fn hold(reason: Reason, escalate: Option<String>) -> Self {
        Self { verdict: Verdict::Hold, reason, escalate }
    }
}

/// The strictest of the findings, with the reasons that gave it.
pub(crate) fn strictest(findings: Vec<Finding>) -> Decision {
    let verdict = findings.iter().map(|f| f.verdict).max().unwrap_or(Verdict::Deny);
    let mut asks: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut reasons = Vec::new();
    for finding in findings.into_iter().filter(|f| f.verdict == verdict) {
        if let Some(path) = finding.escalate {
            asks.entry(path).or_default().insert(finding.reason.rule.to_string());
        }
        reasons.push(finding.reason);
    }
    reasons.sort();
    reasons.dedup();
    Decision { verdict, reasons, asks, modified: None }
}

/// What turns an error into a finding: a refusal, or the question that `on_error` asks for.
pub(crate) fn error(charter: &Charter, rule: &str, message: String, waived: &BTreeSet<String>) -> Option<Finding> {
    if waived.contains(rule) {
        return None;
    }
    let reason = own(rule, message, None);
    Some(match &charter.on_error {
        Some(path) => {
            let needs = needs_answer(charter, path);
            Finding::hold(Reason { needs, ..reason }, Some(path.clone()))
        }
        None => Finding::deny(reason),
    })
}

/// `an answer by one of sre: alice, bob`.
pub(crate) fn needs_answer(charter: &Charter, path: &str) -> Option<String> {
    let tier = charter.tiers.get(path)?;
    let many =
        if tier.quorum > 1 { format!("answers by {} of", tier.quorum) } else { "an answer by one of".to_owned() };
    Some(format!("{many} {path}: {}", tier.who.join(", ")))
}

/// What rules are judged with.
pub(crate) struct Bench<'a> {
    pub charter: &'a Charter,
    /// What stands behind a fact's value, by name.
    pub evidence: &'a dyn Fn(&str) -> Evidence,
    /// Facts without a value. The rules that read them can't be evaluated, which is told of elsewhere.
    pub lost: &'a BTreeMap<String, Lost>,
    /// Reasons that people have answered for.
    pub waived: &'a BTreeSet<String>,
}

/// What the rules say of an action.
pub(crate) fn rules(bench: &Bench, judged: &Judged) -> Decision {
    let mut findings = Vec::new();
    let permits = objections(bench, judged, &mut findings);
    if findings.is_empty() { allowed(bench, judged.action, &permits) } else { strictest(findings) }
}

/// What the rules have against an action; gives the permits that let it through where nothing else has anything.
pub(crate) fn objections(bench: &Bench, judged: &Judged, findings: &mut Vec<Finding>) -> Matched {
    let (forbids, permits) = bench.charter.slice_for(judged.action).map(|s| s.judge(judged)).unwrap_or_default();
    object(bench, judged, &forbids, &permits, findings);
    permits
}

fn object(bench: &Bench, judged: &Judged, forbids: &Matched, permits: &Matched, findings: &mut Vec<Finding>) {
    let Bench { charter, evidence, lost, waived } = bench;
    let action = judged.action;
    for RuleError { rule, message } in forbids.errors.iter().chain(&permits.errors) {
        let reads_lost =
            rule.as_ref().and_then(|id| charter.rule(id)).is_some_and(|r| r.facts.iter().any(|f| lost.contains_key(f)));
        if reads_lost {
            continue;
        }
        let said = match rule {
            Some(rule) => format!("rule `{rule}` could not be evaluated: {message}"),
            None => format!("the action could not be put to the rules: {message}"),
        };
        findings.extend(error(charter, "rule-error", said, waived));
    }
    for id in &forbids.ids {
        let Some(rule) = charter.rule(id) else { continue };
        match &rule.escalate {
            Some(_) if waived.contains(id.as_str()) => {}
            Some(path) => {
                let mut reason = reason_of(charter, id, evidence);
                reason.needs = needs_answer(charter, path);
                findings.push(Finding::hold(reason, Some(path.clone())));
            }
            None => findings.push(Finding::deny(reason_of(charter, id, evidence))),
        }
    }
    // A write was permitted when the file was opened: what it wrote can only be refused.
    let is_permitted = !permits.ids.is_empty() || charter.default == DefaultVerdict::Allow || action.is_content();
    if !is_permitted {
        let needs = format!("a permit rule for {} on {}", action.verb, clip(&action.resource.id()));
        let reason = format!("no rule permits {} here, and the charter's default is `deny`", action.verb);
        findings.push(Finding::deny(own("no-rule-permits", reason, Some(needs))));
    }
}

/// The decision on an action that nothing objects to.
pub(crate) fn allowed(bench: &Bench, action: &Action, permits: &Matched) -> Decision {
    let reason = |id: &Text| Reason { needs: None, ..reason_of(bench.charter, id, bench.evidence) };
    let mut reasons: Vec<Reason> = permits.ids.iter().map(reason).collect();
    if reasons.is_empty() {
        let said = if action.is_content() {
            "no rule forbids what was written"
        } else {
            "no rule forbids it, and the charter's default is `allow`"
        };
        reasons.push(own("default", said, None));
    }
    Decision::allow(reasons)
}

fn reason_of(charter: &Charter, id: &str, evidence: &dyn Fn(&str) -> Evidence) -> Reason {
    let Some(rule) = charter.rule(id) else { return own(id, "", None) };
    if rule.causes.is_empty() {
        return rule.said.clone();
    }
    // A fact that is the way it would have to be for the rule not to match did not make it match.
    let read: Vec<Evidence> = rule
        .causes
        .iter()
        .map(|(fact, cause)| (cause, evidence(fact)))
        .filter(|(cause, e)| cause.is_none() || e.holds.is_none() || **cause == e.holds)
        .map(|(_, e)| e)
        .collect();
    let witnesses: BTreeSet<u64> = read.iter().flat_map(|e| e.witnesses.iter().copied()).collect();
    let needs: Vec<&str> = read.iter().filter_map(|e| e.needs.as_deref()).collect();
    Reason {
        witnesses: witnesses.into_iter().collect(),
        needs: (!needs.is_empty()).then(|| needs.join("; ")),
        ..rule.said.clone()
    }
}

/// At most 200 characters: a path may be long, and a reason is read by people.
pub(crate) fn clip(text: &str) -> String {
    if text.chars().count() <= 200 { text.to_owned() } else { text.chars().take(199).chain(['…']).collect() }
}
