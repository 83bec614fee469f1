//! What one charter allows that another did not, each shown by an action on which the real rules of both were asked.

use super::formula::{Atom, Formulas, Id, Slot};
use super::histories::after;
use super::settings;
use super::solve::{Found, Model, Steps, solve};
use super::verdicts::{Judgement, Verdicts, judgements, verdicts};
use super::witness::{Case, Said, SharedFacts, action, supposed, time};
use crate::action::{Action, Value};
use crate::charter::Charter;
use crate::civil::Civil;
use crate::ruling::Verdict;
use crate::session::Session;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// Whether a charter lets nothing pass that another stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Narrower {
    /// It was shown for every action.
    Proved,
    /// It lets something pass, or not all could be shown.
    NotShown,
}

/// An action on which two charters differ.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Example {
    /// The action, as `flyball test` takes it.
    pub action: Action,
    /// What the session's history is supposed to be: the facts that matter, by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub facts: BTreeMap<String, Value>,
    /// Such a history, as the `given` of an example: where facts matter, [`Self::look_back`] was asked and found one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub history: Option<Vec<String>>,
    /// The autonomy level (0 is observe), where a rule reads it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub autonomy: Option<i64>,
    /// When, where a rule reads the time; RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
    /// What the first charter says, and by which rules.
    pub before: Verdict,
    /// Its rules.
    pub before_by: Vec<String>,
    /// What the second charter says.
    pub after: Verdict,
    /// Its rules.
    pub after_by: Vec<String>,
    /// Further verbs with the same difference by the same rules.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub also: Vec<&'static str>,
}

/// What follows a fact's name where the first charter has another one by it.
const OF_THE_SECOND: &str = " (of the second)";

impl Example {
    /// Looks for a history that leads there.
    pub fn look_back(&mut self, a: &Charter, b: &Charter, session: &Session) {
        let of_a = self.facts.iter().filter(|(name, _)| a.fact_types.contains_key(*name));
        let of_a = of_a.map(|(name, value)| (name.clone(), value.clone())).collect();
        let of_b = b.fact_types.keys().filter_map(|name| {
            let value = self.facts.get(&format!("{name}{OF_THE_SECOND}")).or_else(|| self.facts.get(name))?;
            Some((name.clone(), value.clone()))
        });
        let of_b = of_b.collect();
        self.history = after(&[(a, &of_a), (b, &of_b)], &self.action, session);
    }
}

/// Two charters, compared.
#[derive(Clone, Debug, Serialize)]
pub struct Comparison {
    /// Whether the second lets nothing pass that the first stops, its settings included.
    pub is_narrower: Narrower,
    /// What the second lets pass, or asks about, that the first stops or asks about.
    pub widened: Vec<Example>,
    /// The reverse.
    pub narrowed: Vec<Example>,
    /// Settings that are looser in the second, or not shown to be no looser.
    pub widened_settings: Vec<String>,
    /// Settings that are stricter.
    pub narrowed_settings: Vec<String>,
    /// Verbs for which the search ended before it had seen everything, with why.
    pub unknown: Vec<String>,
}

/// Work for one verb, both ways: enough for charters of a few hundred rules.
const STEPS_PER_VERB: u64 = 4_000_000;

/// Most examples of one verb and direction.
const EXAMPLES_PER_VERB: usize = 4;

/// Says what `b` lets pass that `a` stops, and the reverse. `session`: where both are to govern.
#[must_use]
pub fn compare(a: &Charter, b: &Charter, session: &Session) -> Comparison {
    let facts = SharedFacts::of(&[a, b]);
    let settings = settings::compare(a, b);
    let mut out = Comparison {
        is_narrower: Narrower::NotShown,
        widened: Vec::new(),
        narrowed: Vec::new(),
        widened_settings: settings.looser,
        narrowed_settings: settings.stricter,
        unknown: Vec::new(),
    };
    let mut steps = Steps::default();
    for judgement in judgements() {
        steps.left = STEPS_PER_VERB;
        let pair = Pair { a, b, facts: &facts, judgement, session };
        let widened = pair.differences(true, &mut steps);
        pair.keep(widened, &mut out.widened, &mut out.unknown);
        let narrowed = pair.differences(false, &mut steps);
        pair.keep(narrowed, &mut out.narrowed, &mut Vec::new());
    }
    let is_proved = out.widened.is_empty() && out.widened_settings.is_empty() && out.unknown.is_empty();
    out.is_narrower = if is_proved { Narrower::Proved } else { Narrower::NotShown };
    out
}

#[derive(Clone, Copy)]
pub(super) struct Pair<'p> {
    pub a: &'p Charter,
    pub b: &'p Charter,
    pub facts: &'p SharedFacts,
    pub judgement: Judgement,
    pub session: &'p Session,
}

impl Pair<'_> {
    /// Examples of what the second charter lets pass (or, turned round, the first), and why the search stopped early.
    fn differences(&self, is_widening: bool, steps: &mut Steps) -> (Vec<Example>, Option<&'static str>) {
        let mut all = Formulas::new();
        let first = verdicts(&mut all, self.a, 0, self.facts, self.judgement);
        let second = verdicts(&mut all, self.b, 1, self.facts, self.judgement);
        let mut goal = if is_widening { looser(&mut all, &first, &second) } else { looser(&mut all, &second, &first) };
        let consistent = ordered(&mut all, &self.facts.below);
        goal = all.and([goal, consistent]);
        let mut found = Vec::new();
        while found.len() < EXAMPLES_PER_VERB {
            let model = match solve(&all, goal, self.judgement.verb, self.session, steps) {
                Found::Nothing => return (found, None),
                Found::CutOff => return (found, Some("the search was cut off")),
                Found::Model(model) => model,
            };
            let Some(example) = self.example(&model, is_widening) else {
                // The rules themselves say otherwise: it hangs on something that is not understood here.
                return (found, Some("it hangs on a condition that only Cedar evaluates"));
            };
            // The next one is to differ by another rule.
            let mut same: Vec<Id> = Vec::new();
            for (verdicts, verdict, rules) in
                [(&first, example.before, &example.before_by), (&second, example.after, &example.after_by)]
            {
                same.push(level(&mut all, verdicts, verdict));
                same.extend(verdicts.rules.iter().filter(|r| rules.contains(&r.id)).map(|r| r.matches));
            }
            found.push(example);
            let same = all.and(same);
            let other = all.not(same);
            goal = all.and([goal, other]);
        }
        (found, None)
    }

    /// What both charters say, and where the second lets something pass that the first stops.
    pub fn widening(&self) -> (Formulas, Verdicts, Verdicts, Id) {
        let mut all = Formulas::new();
        let first = verdicts(&mut all, self.a, 0, self.facts, self.judgement);
        let second = verdicts(&mut all, self.b, 1, self.facts, self.judgement);
        let goal = looser(&mut all, &first, &second);
        let consistent = ordered(&mut all, &self.facts.below);
        let goal = all.and([goal, consistent]);
        (all, first, second, goal)
    }

    pub fn example(&self, model: &Model, is_widening: bool) -> Option<Example> {
        let action = action(self.judgement.verb, self.judgement.is_content, model, self.session)?;
        let autonomy = model.longs.get(&Slot::Autonomy).copied();
        let of_a = supposed(self.a, self.facts.of_charter(0), model);
        let of_b = supposed(self.b, self.facts.of_charter(1), model);
        let at_ns = time(model)?;
        let case =
            |facts| Case { action: &action, facts, autonomy: autonomy.unwrap_or(2), at_ns, session: self.session };
        let (before, after) = (case(&of_a).judge(self.a), case(&of_b).judge(self.b));
        let (strict, loose) = if is_widening { (&before, &after) } else { (&after, &before) };
        if !is_looser(strict, loose) {
            return None;
        }
        let mut facts = of_a;
        for (name, value) in of_b {
            match facts.get(&name) {
                // The same name for two facts: each charter has its own.
                Some(other) if *other != value => {
                    facts.insert(format!("{name}{OF_THE_SECOND}"), value);
                }
                _ => {
                    facts.insert(name, value);
                }
            }
        }
        Some(Example {
            action,
            facts,
            history: None,
            autonomy,
            at: (!model.times.is_empty()).then(|| Civil::of(at_ns).text()),
            before: before.verdict,
            before_by: before.rules,
            after: after.verdict,
            after_by: after.rules,
            also: Vec::new(),
        })
    }

    /// Examples that differ from earlier ones in their verb only stand with them.
    fn keep(&self, found: (Vec<Example>, Option<&'static str>), to: &mut Vec<Example>, unknown: &mut Vec<String>) {
        let verb = self.judgement.verb.name();
        for example in found.0 {
            let is_same = |other: &&mut Example| {
                (other.before, other.after) == (example.before, example.after)
                    && other.before_by == example.before_by
                    && other.after_by == example.after_by
                    && other.action.verb != example.action.verb
            };
            match to.iter_mut().find(is_same) {
                Some(other) => other.also.push(verb),
                None => to.push(example),
            }
        }
        if let Some(why) = found.1 {
            unknown.push(format!("{verb}: {why}"));
        }
    }
}

/// What facts that are in order can be together, as far as the formulas ask for them.
pub(super) fn ordered(to: &mut Formulas, below: &[(usize, usize)]) -> Id {
    let mut all = Vec::new();
    for (lower, upper) in below {
        let (lower, upper) = (Slot::Fact(*lower), Slot::Fact(*upper));
        let asks = |atom: &Atom, slot: Slot| matches!(atom, Atom::Flag(s) | Atom::AtMost(s, _) if *s == slot);
        if ![lower, upper].into_iter().all(|slot| to.atoms.iter().any(|atom| asks(atom, slot))) {
            continue;
        }
        let bounds = |to: &Formulas, slot: Slot| -> Vec<i64> {
            to.atoms
                .iter()
                .filter_map(|a| if let Atom::AtMost(s, n) = a { (*s == slot).then_some(*n) } else { None })
                .collect()
        };
        // The lower one is at most whatever the upper one is at most.
        let tops: Vec<(i64, i64)> = bounds(to, upper)
            .into_iter()
            .filter_map(|n| Some((n, bounds(to, lower).into_iter().filter(|m| *m >= n).min()?)))
            .collect();
        for (n, m) in tops {
            let (upper, lower) = (to.atom(Atom::AtMost(upper, n)), to.atom(Atom::AtMost(lower, m)));
            let not = to.not(upper);
            all.push(to.or([not, lower]));
        }
        if to.atoms.contains(&Atom::Flag(lower)) && to.atoms.contains(&Atom::Flag(upper)) {
            let (lower, upper) = (to.atom(Atom::Flag(lower)), to.atom(Atom::Flag(upper)));
            let not = to.not(lower);
            all.push(to.or([not, upper]));
        }
    }
    to.and(all)
}

/// Where a charter gives that verdict.
fn level(to: &mut Formulas, verdicts: &Verdicts, verdict: Verdict) -> Id {
    let passes = to.not(verdicts.denied);
    let unasked = to.not(verdicts.held);
    match verdict {
        Verdict::Deny => verdicts.denied,
        Verdict::Hold => to.and([passes, verdicts.held]),
        Verdict::Allow | Verdict::Modify => to.and([passes, unasked]),
    }
}

/// Where the second is looser than the first.
fn looser(to: &mut Formulas, first: &Verdicts, second: &Verdicts) -> Id {
    let passes = to.not(second.denied);
    let unasked = to.not(second.held);
    let stopped = to.or([first.denied, first.held]);
    let allowed = to.and([passes, unasked, stopped]);
    let asked = to.and([passes, second.held, first.denied]);
    // Both ask, and the second doesn't ask everybody that the first does.
    let spared: Vec<Id> = first
        .asks
        .iter()
        .map(|(path, asks)| {
            let still = second.asks.get(path).copied().unwrap_or(super::formula::FALSE);
            let not = to.not(still);
            to.and([*asks, not])
        })
        .collect();
    let spared = to.or(spared);
    let other = to.and([passes, second.held, spared]);
    to.or([allowed, asked, other])
}

fn is_looser(first: &Said, second: &Said) -> bool {
    second.verdict < first.verdict
        || (first.verdict == Verdict::Hold
            && second.verdict == Verdict::Hold
            && !first.asks.iter().collect::<BTreeSet<_>>().is_subset(&second.asks.iter().collect()))
}
