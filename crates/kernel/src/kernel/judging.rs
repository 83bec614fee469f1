//! The session gate, autonomy, facts, rules, envelopes and budgets: from an action to one decision.

use super::{Gate, Kernel};
use crate::action::{Action, Value};
use crate::charter::{Level, governance, settings};
use crate::decide::{self, Bench, Decision, Finding, own};
use crate::envelope::Said;
use crate::facts::Lost;
use crate::request::{Judged, consequence_name, reversibility_name};
use crate::ruling::{Effect, Governance, Verdict};
use crate::session::Values;
use crate::vocabulary::Reversibility;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

impl Kernel {
    /// The session gate, autonomy, facts, rules, envelopes and budgets, to one decision.
    pub(super) fn decide(&mut self, action: &Action, values: &Values, waived: &BTreeSet<String>) -> Decision {
        // What was written before a session was stopped is judged for itself: stopping it is no reason to undo its work.
        if let Some(finding) = self.session_gate().filter(|_| !action.is_from_content()) {
            return decide::strictest(vec![finding]);
        }
        let (decision, clamped) = self.judge(action, values, waived);
        if decision.verdict != Verdict::Modify {
            return decision;
        }
        let Some(changed) = clamped else {
            let reason = own("envelope-error", "the clamped value does not fit the action", None);
            return decide::strictest(vec![Finding::deny(reason)]);
        };
        // Once more, on what would really be done, and never a third time.
        let session = Arc::clone(&self.session);
        let (mut second, clamped_again) = self.judge(&changed, &session.values(&changed), waived);
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

    /// Every voice on an action, to the strictest; and the action as envelopes would clamp it.
    fn judge(&mut self, action: &Action, values: &Values, waived: &BTreeSet<String>) -> (Decision, Option<Action>) {
        let mut findings = self.lower_autonomy(values, waived);
        let charter = &self.charter;
        let governance = self.governance(action);
        let facts = self.facts.known(values, self.last_at_ns);
        let lost = match charter.slice_for(action) {
            Some(slice) => facts.lost(&slice.facts),
            None => BTreeMap::new(),
        };
        for (fact, why) in &lost {
            findings.extend(self.lost_finding(fact, *why, waived));
        }
        let autonomy = self.autonomy.index();
        let judged =
            Judged { action, values, governance: &governance, autonomy, at_ns: self.last_at_ns, facts: &facts };
        let evidence = |fact: &str| self.facts.evidence(fact, values, self.last_at_ns);
        let bench = Bench { charter, evidence: &evidence, lost: &lost, waived };
        let permits = decide::objections(&bench, &judged, &mut findings);
        // A write was counted, bounded and agreed to when the file was opened: what it wrote meets only rules.
        let clamped = match action.is_content() {
            true => None,
            false => self.further(action, values, &governance, waived, &mut findings),
        };
        // Why it is let through is told only where it is.
        let decision = match findings.is_empty() {
            true => decide::allowed(&bench, action, &permits),
            false => decide::strictest(findings),
        };
        (decision, clamped)
    }

    /// What is no rule and has a say; gives the action as envelopes would clamp it.
    fn further(
        &self,
        action: &Action,
        values: &Values,
        governance: &Governance,
        waived: &BTreeSet<String>,
        findings: &mut Vec<Finding>,
    ) -> Option<Action> {
        let charter = &self.charter;
        findings.extend(self.autonomy_finding(governance, waived));
        findings.extend(self.governance_findings(governance, waived));
        findings.extend(self.labels.findings(action));
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
        findings.extend(self.budgets.findings(&charter.budgets, action, values));
        let reversibility = governance.reversibility;
        findings.extend(self.obligations.findings(charter, action, values, reversibility, waived));
        clamped
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
        if self.charter.autonomy.lower.is_empty() {
            return findings;
        }
        let charter = Arc::clone(&self.charter);
        for (fact, level) in &charter.autonomy.lower {
            let is_known = self.autonomy_known.contains(fact);
            if *level >= self.autonomy && !is_known {
                continue;
            }
            match self.facts.value(fact, values, self.last_at_ns) {
                // A person raised the level and knew.
                Ok(Value::Bool(true)) if is_known => {}
                Ok(Value::Bool(true)) => {
                    self.autonomy = *level;
                    let because = format!("fact `{fact}` holds");
                    self.effects.push(Effect::Autonomy { level: level.name().to_owned(), because });
                }
                Ok(_) => {
                    self.autonomy_known.remove(fact);
                }
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

    /// How deeply an action is governed.
    #[must_use]
    pub fn governance(&self, action: &Action) -> Governance {
        let (consequence, reversibility) = settings::weigh(&self.charter.consequences, action.verb, &action.resource);
        let mut depth = governance::depth(&self.charter.governance, &self.charter.tiers, consequence, reversibility);
        // What may be taken back to just before it is captured then.
        depth.snapshot |= self.charter.obligations.values().any(|o| o.rolls_back(action.verb));
        depth
    }

    /// Approvals that the table of governance wants.
    fn governance_findings(&self, governance: &Governance, waived: &BTreeSet<String>) -> Vec<Finding> {
        if self.charter.governance.is_empty() || waived.contains("governance-approval") {
            return Vec::new();
        }
        let asked = governance::asked(&self.charter.governance, governance);
        let hold = |path: &str| {
            let (consequence, reversibility) = (governance.consequence, governance.reversibility);
            let (consequence, reversibility) = (consequence_name(consequence), reversibility_name(reversibility));
            let message = format!("an action of consequence `{consequence}`, {reversibility}, is approved first");
            let needs = decide::needs_answer(&self.charter, path);
            Finding::hold(own("governance-approval", message, needs), Some(path.to_owned()))
        };
        asked.into_iter().map(hold).collect()
    }
}
