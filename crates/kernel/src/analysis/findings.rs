//! What `check` tells of a charter that compiles: idle rules, what nothing mediates, what can't happen, examples that
//! don't hold.

use super::coverage::{self, RuleCoverage, is_mediated};
use super::doors::{Mediation, never};
use super::events::{contradiction, unmediated};
use super::rules::{Conflict, Idle, IdleRule, Shown, questionable};
use super::witness::text;
use crate::charter::report::{More, Place, Report};
use crate::charter::{Charter, Example, RuleEffect, Sources, before, check_examples, example_session};
use crate::diagnostic::{Diagnostics, Severity};
use crate::facts::Pattern;
use crate::ruling::Verdict;
use crate::vocabulary::{Verb, verbs};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What an analysis found.
#[derive(Clone, Debug, Serialize)]
pub struct Analysis {
    /// In order of file and place.
    pub findings: Diagnostics,
    /// Which rules can be triggered by which surfaces.
    pub coverage: Vec<RuleCoverage>,
    /// How many examples there are, and how many hold.
    pub examples: usize,
    /// Those that hold.
    pub examples_held: usize,
}

/// Analyses a charter. `sources`: what it was compiled from, for the places.
#[must_use]
pub fn analyse(charter: &Charter, sources: &Sources) -> Analysis {
    let mut report = Report::new(sources);
    idle_rules(&mut report, charter);
    unmediated_rules(&mut report, charter);
    unmet(&mut report, charter);
    facts(&mut report, charter);
    obligations(&mut report, charter, sources);
    registers(&mut report, charter);
    let held = examples(&mut report, charter);
    Analysis {
        findings: report.finish(),
        coverage: coverage::coverage(charter),
        examples: charter.examples().len(),
        examples_held: held,
    }
}

fn idle_rules(report: &mut Report, charter: &Charter) {
    let session = example_session();
    let found = questionable(charter, &session);
    for IdleRule { rule: id, idle, shown } in found.idle {
        let Some(rule) = charter.rule(&id) else { continue };
        let such_as = shown.as_ref().map(|shown| such_as(shown, &session)).unwrap_or_default();
        let (code, message, hint, by) = match idle {
            Idle::Vacuous => {
                let message = format!("rule `{id}` matches nothing: no action meets all of its conditions");
                ("FB0180", message, "mend its conditions, or remove it", Vec::new())
            }
            Idle::Duplicate { of } if !is_of_owner(charter, &of, &rule.owner) => {
                let message = format!(
                    "rule `{id}` of `{}` says the same as `{of}`, which is another owner's{such_as}",
                    rule.owner
                );
                ("FB0188", message, TWO_OWNERS, vec![of])
            }
            Idle::Duplicate { of } => {
                ("FB0181", format!("rule `{id}` says the same as `{of}`{such_as}"), "remove one of them", vec![of])
            }
            Idle::Shadowed { by }
                if by.iter().any(|other| other != "…" && !is_of_owner(charter, other, &rule.owner)) =>
            {
                let message = format!(
                    "rule `{id}` of `{}` says nothing that {} of another owner does not say wherever it matches{such_as}",
                    rule.owner,
                    names(&by)
                );
                ("FB0188", message, TWO_OWNERS, by)
            }
            Idle::Shadowed { by } => {
                let message =
                    format!("rule `{id}` changes nothing: {} already does so wherever it matches{such_as}", names(&by));
                ("FB0182", message, "remove it, or have the other leave out what this one is for", by)
            }
            Idle::Overruled { by } if rule.effect == RuleEffect::Permit => {
                let message =
                    format!("rule `{id}` permits nothing: {} refuses all that it matches{such_as}", names(&by));
                ("FB0183", message, "have the other leave out what this one is for (`unless`), or remove it", by)
            }
            Idle::Overruled { by } => {
                let message = format!("rule `{id}` never asks: {} refuses all that it matches{such_as}", names(&by));
                ("FB0183", message, "have the other leave out what is to be asked about (`unless`), or remove it", by)
            }
            Idle::Unpermitted => {
                let message = format!("rule `{id}` never asks: no rule permits what it matches{such_as}");
                ("FB0183", message, "permit what people are to be asked about: a question is no permit", Vec::new())
            }
        };
        let more = More { related: related(charter, &by), request: shown.map(|shown| shown.action) };
        report.tell(Severity::Warning, code, &rule.place, message, Some(hint.to_owned()), more);
    }
    for Conflict { paths: [first, second], rules, shown } in found.conflicts {
        let Some(rule) = rules.last().and_then(|id| charter.rule(id)) else { continue };
        let message = format!(
            "`{first}` and `{second}` are asked about the same action, by {}: it waits for both{}",
            names(&rules),
            such_as(&shown, &session)
        );
        let hint =
            "have one of the rules leave out what the other asks about (`unless`), unless both are meant to agree";
        let others: Vec<String> = rules.iter().filter(|id| **id != rule.id).cloned().collect();
        let more = More { related: related(charter, &others), request: Some(shown.action) };
        report.tell(Severity::Warning, "FB0188", &rule.place, message, Some(hint.to_owned()), more);
    }
    if found.missed > 0 {
        let (missed, all) = (found.missed, charter.rules().len());
        let message = format!("the analysis of rules stopped short: {missed} of {all} were not looked at");
        report.warning("FB0187", &start(), message, "`flyball explain FB0187` says what that means");
    }
}

const TWO_OWNERS: &str = "whoever loosens the one changes nothing while the other stands: have one owner answer for both, or leave it so on purpose";

fn is_of_owner(charter: &Charter, rule: &str, owner: &str) -> bool {
    charter.rule(rule).is_some_and(|r| r.owner == owner)
}

fn related(charter: &Charter, rules: &[String]) -> Vec<(Place, String)> {
    let rules = rules.iter().filter_map(|other| charter.rule(other));
    rules.map(|other| (other.place.clone(), format!("rule `{}`", other.id))).collect()
}

/// What shows it, and what happened before.
fn such_as(shown: &Shown, session: &crate::Session) -> String {
    let action = text(&shown.action, session);
    match &shown.after {
        _ if shown.facts.is_empty() => format!("; such as `{action}`"),
        Some(given) if given.is_empty() => format!("; such as `{action}`"),
        Some(given) => {
            let given: Vec<String> = given.iter().map(|one| format!("`{one}`")).collect();
            format!("; such as `{action}` after {}", given.join(", "))
        }
        None => {
            let json = |value| serde_json::to_string(value).unwrap_or_default();
            let facts: Vec<String> =
                shown.facts.iter().map(|(name, value)| format!("`{name}` is {}", json(value))).collect();
            format!("; such as `{action}` where {}, if that can be", facts.join(", "))
        }
    }
}

/// The rule that does it, or those of several that are seen in what is shown.
fn names(rules: &[String]) -> String {
    let named: Vec<String> = rules.iter().filter(|r| *r != "…").map(|r| format!("`{r}`")).collect();
    if named.len() == rules.len() { named.join(" and ") } else { format!("{} with others", named.join(" and ")) }
}

fn start() -> Place {
    Place::new(&Arc::from("charter.toml"), 0..0)
}

/// A `forbid` that can't be triggered is a control that isn't there; a permit without use does no harm.
fn unmediated_rules(report: &mut Report, charter: &Charter) {
    for rule in charter.rules().iter().filter(|r| r.effect == RuleEffect::Forbid && !r.verbs.is_empty()) {
        let its: Vec<_> = verbs().filter(|v| rule.verbs.contains(&v.name())).collect();
        if its.iter().all(|v| !is_mediated(*v, charter)) {
            not_covered(report, charter, &rule.place, &format!("rule `{}` can't be triggered", rule.id), its);
        }
    }
}

/// A requirement that no session of this version meets.
fn unmet(report: &mut Report, charter: &Charter) {
    for (verb, wants) in never(charter) {
        let wants = Mediation::name(Some(wants));
        let message =
            format!("the charter requires `{verb}` to be {wants}, which no session of this version does: none starts");
        report.error("FB0189", &start(), message, "take it out of `[require] coverage`, or the rule's `@coverage`");
    }
}

/// Tells of what waits for a surface that this version does not have: an error, unless the charter says itself that it waits.
fn not_covered(report: &mut Report, charter: &Charter, at: &Place, what: &str, verbs: impl IntoIterator<Item = Verb>) {
    let verbs: BTreeSet<Verb> = verbs.into_iter().collect();
    let names: Vec<&str> = verbs.iter().map(|v| v.name()).collect();
    let message = format!("{what}: {} not mediated in this version", are(&names));
    if verbs.is_subset(&charter.not_covered) {
        report.warning("FB0184", at, message, "it will be, once a surface brings them");
        return;
    }
    let missing: Vec<String> = verbs.difference(&charter.not_covered).map(|v| format!("\"{}\"", v.name())).collect();
    let hint = format!("remove it, or say in [charter] that it waits: `not_covered = [{}]`", missing.join(", "));
    report.error("FB0184", at, message, hint);
}

fn are(verbs: &[&str]) -> String {
    let all = verbs.iter().map(|v| format!("`{v}`")).collect::<Vec<_>>().join(", ");
    if verbs.len() == 1 { format!("{all} is") } else { format!("{all} are") }
}

fn facts(report: &mut Report, charter: &Charter) {
    for (name, place) in charter.facts.places() {
        let Some(at) = charter.fact_places.get(name) else { continue };
        let patterns = charter.facts.patterns(place);
        for why in patterns.iter().filter_map(|p| contradiction(p)).collect::<BTreeSet<_>>() {
            let message = format!("fact `{name}` asks for an event that can't be: {why}");
            report.error("FB0185", at, message, "mend the values, or remove the atom");
        }
        let lacking: Vec<&[Verb]> = patterns.iter().filter_map(|p| unmediated(charter, p)).collect();
        if !patterns.is_empty() && lacking.len() == patterns.len() {
            let verbs = lacking.into_iter().flatten().copied();
            not_covered(report, charter, at, &format!("fact `{name}` never changes"), verbs);
        }
    }
}

fn obligations(report: &mut Report, charter: &Charter, sources: &Sources) {
    for (name, obligation) in &charter.obligations {
        let at = line(sources, obligation.source());
        let of = |part: &str, pattern: &Pattern| contradiction(pattern).map(|why| (part.to_owned(), why));
        for (part, why) in of("when", &obligation.trigger).into_iter().chain(of("must", &obligation.must)) {
            let message = format!("`{part}` of obligation `{name}` is an event that can't be: {why}");
            report.error("FB0185", &at, message, "mend the values");
        }
        // What can't be met causes what it causes, every time: no control that is missing, but hardly what is meant.
        let told = [(&obligation.trigger, "never begins"), (&obligation.must, "can't be met")];
        let told = told.into_iter().find_map(|(pattern, what)| Some((unmediated(charter, pattern)?, what)));
        if let Some((verbs, what)) = told {
            not_covered(report, charter, &at, &format!("obligation `{name}` {what}"), verbs.iter().copied());
        }
    }
}

/// Budgets and envelopes of what nothing mediates.
fn registers(report: &mut Report, charter: &Charter) {
    let mut tell = |kind: &str, name: &str, verbs: &[crate::Verb]| {
        if !verbs.is_empty() && verbs.iter().all(|v| !is_mediated(*v, charter)) {
            let what = format!("{kind} `{name}` counts nothing");
            not_covered(report, charter, &start(), &what, verbs.iter().copied());
        }
    };
    for (name, budget) in &charter.budgets {
        tell("budget", name, &budget.verbs);
    }
    for (name, envelope) in &charter.envelopes {
        tell("envelope", name, &[envelope.verb()]);
    }
}

/// Runs the examples; gives how many hold.
fn examples(report: &mut Report, charter: &Charter) -> usize {
    let outcomes = check_examples(charter);
    let held = outcomes.iter().filter(|o| o.passed).count();
    let shared = Arc::new(charter.clone());
    for outcome in outcomes.into_iter().filter(|o| !o.passed) {
        let Some(example) = charter.examples().get(outcome.index) else { continue };
        let verdict = match outcome.got.verdict {
            Verdict::Allow => "allow",
            Verdict::Modify => "modify",
            Verdict::Hold => "hold",
            Verdict::Deny => "deny",
        };
        let by: Vec<&str> = outcome.got.reasons.iter().map(|r| r.rule.as_str()).collect();
        let message = format!(
            "this example does not hold: `{}` is ruled `{verdict} {}`, not `{}`",
            outcome.attempt,
            by.join(", "),
            outcome.expected
        );
        let mut trace = trace(&shared, example, &by);
        let related: Vec<(Place, String)> = by
            .iter()
            .copied()
            .chain(example.rule.as_deref().filter(|r| !by.contains(r)))
            .filter_map(|id| charter.rule(id))
            .map(|rule| {
                let is_expected = example.rule.as_deref() == Some(&rule.id) && !by.contains(&rule.id.as_str());
                let what = if is_expected { "was expected and did not match" } else { "ruled" };
                (rule.place.clone(), format!("rule `{}` {what}", rule.id))
            })
            .collect();
        if let Some((_, what)) = related.iter().find(|(_, what)| what.ends_with("did not match")) {
            trace.push(what.clone());
        }
        let hint = if trace.is_empty() { "mend the rules, or the example".to_owned() } else { trace.join("; ") };
        let more = More { related, request: Some(example.attempt.clone()) };
        report.tell(Severity::Error, "FB0186", &example.place, message, Some(hint), more);
    }
    held
}

/// What was given, by number, and each fact that the rules in question read, with what stands behind it.
fn trace(charter: &Arc<Charter>, example: &Example, by: &[&str]) -> Vec<String> {
    let (kernel, at_ns, lasts) = before(charter, example);
    // Where an entry comes from: the first thing given that ended at or after it.
    let given = |seq: u64| lasts.iter().position(|last| seq <= *last).map(|n| n + 1);
    let rules = by.iter().copied().chain(example.rule.as_deref());
    let facts: BTreeMap<&str, ()> =
        rules.filter_map(|id| charter.rule(id)).flat_map(|r| &r.facts).map(|f| (f.as_str(), ())).collect();
    facts
        .into_keys()
        .map(|fact| {
            let (value, evidence) = kernel.supposed_fact(fact, at_ns, &example.attempt);
            let value = value.map_or("without a value".to_owned(), |v| serde_json::to_string(&v).unwrap_or_default());
            let from: BTreeSet<usize> = evidence.witnesses.iter().filter_map(|seq| given(*seq)).collect();
            let because = match from.len() {
                0 => String::new(),
                _ => format!(
                    ", because of given {}",
                    from.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
                ),
            };
            let needs = evidence.needs.map(|needs| format!(", and would turn with: {needs}")).unwrap_or_default();
            format!("fact `{fact}` is {value}{because}{needs}")
        })
        .collect()
}

/// The place of `file:line`.
fn line(sources: &Sources, source: &str) -> Place {
    let (file, number) = source.rsplit_once(':').unwrap_or((source, "1"));
    let text = sources.get(file).map(String::as_str).unwrap_or_default();
    let number: usize = number.parse().unwrap_or(1);
    let start: usize = text.split_inclusive('\n').take(number.saturating_sub(1)).map(str::len).sum();
    let length = text.get(start..).and_then(|rest| rest.lines().next()).map_or(0, str::len);
    Place::new(&Arc::from(file), start..start.saturating_add(length))
}
