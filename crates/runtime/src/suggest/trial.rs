//! Trying changes: each is compiled in memory, and the whole session is judged again under it.

use super::protected::Protected;
use super::rejudge::{Record, Rulings};
use super::shape;
use flyball_kernel::amend::{Amendment, amended, compared_with, number_at, sets_testing};
use flyball_kernel::{Action, Charter, Rule, RuleEffect, Ruling, Severity, Sources, Verdict, check_examples};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Reasons that no rule of a charter gives.
const NOT_THE_CHARTERS: &[(&str, &str)] = &[
    ("session-", "the session was stopped, which is no rule's doing"),
    ("input-out-of-order", "the record's numbers or times don't follow each other"),
    ("too-many-", "a limit of the kernel's own stopped it"),
    ("autonomy-", "a person raises the autonomy level: `[autonomy] start` says where a session begins"),
    ("fact-", "a fact had no value: its `keys_max` or its formula is to be mended"),
    ("rule-error", "a rule could not be evaluated: it is to be mended"),
    ("envelope-", "envelopes contradict each other"),
];

/// Changes that together let a group of attempts pass.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub changes: Vec<Amendment>,
    pub kinds: Vec<&'static str>,
    pub charter: Arc<Charter>,
    pub sources: Sources,
    pub rulings: Rulings,
}

/// A session, the charter to change, and what that says of it now.
pub(crate) struct Bench<'r> {
    pub record: &'r Record,
    pub sources: Sources,
    pub charter: Arc<Charter>,
    pub rulings: Rulings,
    /// The attempts for which changes are looked for.
    pub refused: BTreeSet<u64>,
    pub protected: Protected,
    pub is_general: bool,
    warnings: usize,
    /// Examples that don't hold to begin with.
    wrong: BTreeSet<usize>,
}

/// A changed charter, judged.
#[derive(Clone)]
struct Tried {
    sources: Sources,
    charter: Arc<Charter>,
    rulings: Rulings,
}

impl<'r> Bench<'r> {
    pub fn new(record: &'r Record, sources: Sources, protected: Protected, is_general: bool) -> Option<Self> {
        let (charter, warnings) = Charter::compile(&sources).ok()?;
        let charter = Arc::new(charter);
        let rulings = record.judge(&charter);
        let wrong = check_examples(&charter).into_iter().filter(|o| !o.passed).map(|o| o.index).collect();
        let stopped = |of: &u64, by: &Rulings| by.get(of).is_some_and(|r| r.verdict != Verdict::Allow);
        // What passed under the charter that was in force at its time was never refused.
        let then = record.judge_as_it_was();
        let refused = rulings.keys().filter(|of| stopped(of, &rulings) && then.as_ref().is_none_or(|t| stopped(of, t)));
        let refused = refused.copied().collect();
        Some(Self {
            record,
            sources,
            charter,
            rulings,
            refused,
            protected,
            is_general,
            warnings: warnings.0.len(),
            wrong,
        })
    }

    /// The changes that let these attempts pass, or why there are none.
    pub fn search(&self, targets: &[u64], label: &str) -> Result<Found, String> {
        let mut at =
            Tried { sources: self.sources.clone(), charter: Arc::clone(&self.charter), rulings: self.rulings.clone() };
        let (mut changes, mut kinds) = (Vec::new(), Vec::new());
        // One refusal may hide another: a question shows once nothing denies.
        for _ in 0..6 {
            let Some(ruling) = targets.iter().filter_map(|t| at.rulings.get(t)).find(|r| r.verdict != Verdict::Allow)
            else {
                self.verify(&at, targets)?;
                let Tried { sources, charter, rulings } = at;
                return Ok(Found { changes, kinds, charter, sources, rulings });
            };
            let rule = ruling.reasons.first().map(|r| r.rule.clone()).unwrap_or_default();
            let stopped: Vec<u64> = targets.iter().copied().filter(|t| stops(&at.rulings, *t, &rule)).collect();
            let (kind, change, tried) = self.step(&at, &rule, ruling, &stopped, label)?;
            at = tried;
            kinds.push(kind);
            changes.extend(change);
        }
        Err("too many rules stop it one after another".to_owned())
    }

    /// The first change of this kind of reason that takes the reason away from all that it stopped.
    fn step(
        &self,
        at: &Tried,
        rule: &str,
        ruling: &Ruling,
        stopped: &[u64],
        label: &str,
    ) -> Result<(&'static str, Vec<Amendment>, Tried), String> {
        if let Some((_, why)) = NOT_THE_CHARTERS.iter().find(|(prefix, _)| rule.starts_with(prefix)) {
            return Err((*why).to_owned());
        }
        let actions: Vec<&Action> = stopped.iter().filter_map(|t| self.record.actions.get(t)).collect();
        let first = actions.first().ok_or("its action can't be read")?;
        let is_gone = |tried: &Tried| stopped.iter().all(|t| !stops(&tried.rulings, *t, rule));
        if number_at(&at.sources, "budget", rule, "limit").is_some() {
            return self.numbers(at, "budget", rule, &[("limit", true)], &is_gone).map(|(c, t)| ("limit", c, t));
        }
        let bounds = [("max", true), ("min", false), ("step", true), ("rate", true)];
        if bounds.iter().any(|(key, _)| number_at(&at.sources, "envelope", rule, key).is_some()) {
            return self.numbers(at, "envelope", rule, &bounds, &is_gone).map(|(c, t)| ("limit", c, t));
        }
        let lists_of = |rule: &Rule| {
            let fields = first.resource.kind().fields().iter().chain(first.resource.kind().derived_fields());
            let mut out = Vec::new();
            for field in fields {
                let tested = format!("resource.{}", field.name);
                let values: BTreeSet<&str> =
                    actions.iter().filter_map(|a| shape::text(a, &self.record.session, field.name)).collect();
                for nth in 0..sets_testing(&at.sources, &rule.id, &tested) {
                    let items: Vec<String> = values.iter().map(|v| (*v).to_owned()).collect();
                    if !items.is_empty() && items.len() <= shape::EXACT_MAX {
                        let (rule, tested) = (rule.id.clone(), tested.clone());
                        out.push(Amendment::Extend { rule, tested, nth, items });
                    }
                }
            }
            out
        };
        if rule == "no-rule-permits" {
            let permits = at.charter.rules().iter();
            let permits = permits.filter(|r| r.effect == RuleEffect::Permit && r.verbs.contains(&first.verb.name()));
            for change in permits.flat_map(lists_of) {
                if let Some(tried) = self.attempt(at, &change, &is_gone) {
                    return Ok(("list", vec![change], tried));
                }
            }
            let condition = shape::condition(&actions, &self.record.session, self.is_general)
                .ok_or("too many different ones were seen: `--generalise` says what they have in common")?;
            let change = Amendment::Add { rule: self.permit(at, first, &condition, label)? };
            let tried =
                self.attempt(at, &change, &is_gone).ok_or("a permit for them does not compile or is not enough")?;
            return Ok(("permit", vec![change], tried));
        }
        let Some(found) = at.charter.rules().iter().find(|r| r.id == rule) else {
            return Err(format!("nothing in the charter's text is known to give the reason `{rule}`"));
        };
        for change in lists_of(found) {
            if let Some(tried) = self.attempt(at, &change, &is_gone) {
                return Ok(("list", vec![change], tried));
            }
        }
        for fact in &found.facts {
            for nth in 0..compared_with(&at.sources, rule, fact).len() {
                if let Some((change, tried)) = self.compare(at, rule, fact, nth, &is_gone) {
                    return Ok(("limit", vec![change], tried));
                }
            }
        }
        let condition = shape::condition(&actions, &self.record.session, self.is_general)
            .ok_or("too many different ones were seen: `--generalise` says what they have in common")?;
        let is_scoped = found.verbs.len() > 1;
        let condition = if is_scoped {
            format!("action == Action::{} && {condition}", shape::quoted(first.verb.name()))
        } else {
            condition
        };
        let change = Amendment::Except { rule: rule.to_owned(), condition };
        let tried = self.attempt(at, &change, &is_gone).ok_or_else(|| {
            let needs = ruling.reasons.iter().find_map(|r| r.needs.clone());
            match needs {
                Some(needs) => format!("no change of the text was found; it passes with: {needs}"),
                None => "no change of the text was found that lets it pass".to_owned(),
            }
        })?;
        Ok(("except", vec![change], tried))
    }

    fn permit(&self, at: &Tried, action: &Action, condition: &str, label: &str) -> Result<String, String> {
        let ids: BTreeSet<&str> = at.charter.rules().iter().map(|r| r.id.as_str()).collect();
        let base = format!("seen-{}", action.verb.name().replace(['.', '_'], "-"));
        let id = (1_u32..1000)
            .map(|n| if n == 1 { base.clone() } else { format!("{base}-{n}") })
            .find(|id| !ids.contains(id.as_str()))
            .ok_or("no name is left for a rule")?;
        let mut owners: BTreeMap<&str, usize> = BTreeMap::new();
        for rule in at.charter.rules() {
            *owners.entry(&rule.owner).or_default() += 1;
        }
        let owner = owners.iter().max_by_key(|(name, n)| (**n, std::cmp::Reverse(**name))).map(|(name, _)| *name);
        let owner = owner.or_else(|| at.charter.owners().keys().next().map(String::as_str));
        let owner = owner.ok_or("the charter has no owner who could answer for a rule")?;
        Ok(format!(
            "@id({}) @owner({})\n@reason({})\npermit (principal, action == Action::{}, resource)\nwhen {{ {condition} }};",
            shape::quoted(&id),
            shape::quoted(owner),
            shape::quoted(&format!("Session {label} had to do this.")),
            shape::quoted(action.verb.name()),
        ))
    }

    /// The least change of a comparison with a fact.
    fn compare(
        &self,
        at: &Tried,
        rule: &str,
        fact: &str,
        nth: usize,
        is_gone: &dyn Fn(&Tried) -> bool,
    ) -> Option<(Amendment, Tried)> {
        let from = *compared_with(&at.sources, rule, fact).get(nth)?;
        let change = |to: i64| Amendment::Compare { rule: rule.to_owned(), fact: fact.to_owned(), nth, to };
        let to = self.least(from, true, &|to| self.attempt(at, &change(to), is_gone).is_some())?;
        Some((change(to), self.attempt(at, &change(to), is_gone)?))
    }

    /// The least changes of numbers in `[section.name]`: as few of them, and each as little, as takes the reason away.
    fn numbers(
        &self,
        at: &Tried,
        section: &str,
        name: &str,
        keys: &[(&str, bool)],
        is_gone: &dyn Fn(&Tried) -> bool,
    ) -> Result<(Vec<Amendment>, Tried), String> {
        let there: Vec<(&str, bool, i64)> = keys
            .iter()
            .filter_map(|(key, up)| Some((*key, *up, number_at(&at.sources, section, name, key)?)))
            .collect();
        let far = |up: bool| if up { i64::MAX / 4 } else { i64::MIN / 4 };
        let change = |key: &str, to: i64| Amendment::Number {
            section: section.to_owned(),
            name: name.to_owned(),
            key: key.to_owned(),
            to,
        };
        let with = |values: &BTreeMap<&str, i64>| {
            let changes: Vec<Amendment> = values.iter().map(|(key, to)| change(key, *to)).collect();
            self.attempt_all(at, &changes, is_gone).map(|tried| (changes, tried))
        };
        let mut masks: Vec<u32> = (1..1_u32 << there.len()).collect();
        masks.sort_by_key(|mask| (mask.count_ones(), *mask));
        for mask in masks {
            let chosen: Vec<_> =
                there.iter().enumerate().filter(|(n, _)| mask >> n & 1 == 1).map(|(_, it)| *it).collect();
            let mut values: BTreeMap<&str, i64> = chosen.iter().map(|(key, up, _)| (*key, far(*up))).collect();
            if with(&values).is_none() {
                continue;
            }
            for (key, up, from) in &chosen {
                let passes = |to: i64| {
                    let mut values = values.clone();
                    values.insert(key, to);
                    with(&values).is_some()
                };
                let to = self.least(*from, *up, &passes);
                values.extend(to.map(|to| (*key, to)));
            }
            return with(&values).ok_or_else(|| "no number of it was found that lets it pass".to_owned());
        }
        Err(format!("no number in [{section}.{name}] lets it pass"))
    }

    /// The number nearest to `from`, on one side of it, from which on `passes`.
    fn least(&self, from: i64, is_up: bool, passes: &dyn Fn(i64) -> bool) -> Option<i64> {
        let away = |by: i64| if is_up { from.checked_add(by) } else { from.checked_sub(by) };
        let (mut fails, mut by) = (0_i64, 1_i64);
        while !passes(away(by)?) {
            fails = by;
            by = by.checked_mul(4).filter(|by| *by < 1 << 50)?;
        }
        while by - fails > 1 {
            let middle = fails + (by - fails) / 2;
            if passes(away(middle)?) { by = middle } else { fails = middle }
        }
        away(by)
    }

    fn attempt(&self, at: &Tried, change: &Amendment, is_gone: &dyn Fn(&Tried) -> bool) -> Option<Tried> {
        self.attempt_all(at, std::slice::from_ref(change), is_gone)
    }

    fn attempt_all(&self, at: &Tried, changes: &[Amendment], is_gone: &dyn Fn(&Tried) -> bool) -> Option<Tried> {
        let sources = changes.iter().try_fold(at.sources.clone(), |sources, change| amended(&sources, change))?;
        let (charter, warnings) = Charter::compile(&sources).ok()?;
        if warnings.0.iter().filter(|d| d.severity == Severity::Warning).count() > self.warnings {
            return None;
        }
        let charter = Arc::new(charter);
        let rulings = self.record.judge(&charter);
        let tried = Tried { sources, charter, rulings };
        is_gone(&tried).then_some(tried)
    }

    /// Whether it does what it is to do and nothing that nobody asked for.
    fn verify(&self, tried: &Tried, targets: &[u64]) -> Result<(), String> {
        if let Some(outcome) =
            check_examples(&tried.charter).into_iter().find(|o| !o.passed && !self.wrong.contains(&o.index))
        {
            return Err(format!(
                "the example at {} says otherwise: `{}` is to give `{}`",
                outcome.source, outcome.attempt, outcome.expected
            ));
        }
        if let Some(what) = self.protected.loosened(&self.charter, &tried.charter) {
            return Err(what);
        }
        let is_stricter = |(of, was): (&u64, &Ruling)| {
            !targets.contains(of) && tried.rulings.get(of).is_none_or(|now| now.verdict > was.verdict)
        };
        match self.rulings.iter().find(|(of, was)| is_stricter((of, was))) {
            Some((of, _)) => Err(format!("entry {of}, which passes today, would be stopped")),
            None => Ok(()),
        }
    }

    /// All of these changes in one charter, if they hold together.
    pub fn together(&self, changes: &[Amendment], targets: &[u64]) -> Result<(Sources, Arc<Charter>), String> {
        let at =
            Tried { sources: self.sources.clone(), charter: Arc::clone(&self.charter), rulings: self.rulings.clone() };
        let passes =
            |tried: &Tried| targets.iter().all(|t| tried.rulings.get(t).is_some_and(|r| r.verdict == Verdict::Allow));
        let tried = self.attempt_all(&at, changes, &passes).ok_or("the changes don't hold together")?;
        self.verify(&tried, targets)?;
        Ok((tried.sources, tried.charter))
    }

    /// The charter with an example of what passes now: one that holds without the session's history, and did not before.
    pub fn exemplified(&self, found: &Found, action: &Action) -> Option<(Amendment, Sources)> {
        let attempt = shape::example(action, &self.record.session)?;
        let change = Amendment::Example { attempt, expect: "allow".to_owned() };
        let with = |sources: &Sources| {
            let sources = amended(sources, &change)?;
            let (charter, _) = Charter::compile(&sources).ok()?;
            let holds = check_examples(&charter).iter().all(|o| o.passed || self.wrong.contains(&o.index));
            Some((sources, holds))
        };
        let (sources, holds_now) = with(&found.sources)?;
        // Where it is an error not to hold, it is one here.
        let held_before = with(&self.sources).is_some_and(|(_, holds)| holds);
        (holds_now && !held_before).then_some((change, sources))
    }
}

fn stops(rulings: &Rulings, of: u64, rule: &str) -> bool {
    rulings.get(&of).is_some_and(|r| r.verdict != Verdict::Allow && r.reasons.iter().any(|x| x.rule == rule))
}
