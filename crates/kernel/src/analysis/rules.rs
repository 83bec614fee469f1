//! Rules that do nothing: that match no action, or only actions of which another rule says as much or more.
//!
//! "Does nothing" is proved by a search that found no action where the rule would make a difference; what is shown beside
//! is the smallest action that it does match, on which the real rules were asked.

use super::compare::ordered;
use super::formula::{Formulas, Id};
use super::histories::after;
use super::solve::{Found as Solved, Model, Steps, solve};
use super::texts::Known;
use super::verdicts::{Judgement, RuleSay, Verdicts, judgements, verdicts};
use super::witness::{Case, SharedFacts, action, supposed, time};
use crate::action::{Action, Value};
use crate::charter::{Charter, DefaultVerdict, Rule, RuleEffect};
use crate::ruling::Verdict;
use crate::session::Session;
use std::collections::{BTreeMap, BTreeSet};

/// What is the matter with a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Idle {
    /// It matches nothing.
    Vacuous,
    /// Another one says the same.
    Duplicate { of: String },
    /// Wherever it matches, others of its kind do, with the same effect.
    Shadowed { by: Vec<String> },
    /// Wherever it would permit or ask, others refuse.
    Overruled { by: Vec<String> },
    /// It asks only about what nothing permits.
    Unpermitted,
}

/// A finding about a rule.
#[derive(Clone, Debug)]
pub(crate) struct IdleRule {
    pub rule: String,
    pub idle: Idle,
    /// The smallest action that it matches.
    pub shown: Option<Shown>,
}

/// An action that shows something, on which the real rules were asked.
#[derive(Clone, Debug)]
pub(crate) struct Shown {
    pub action: Action,
    /// What the history is supposed to be.
    pub facts: BTreeMap<String, Value>,
    /// Such a history, where facts matter and one was found.
    pub after: Option<Vec<String>>,
}

/// Two paths that are asked about the same action, each by rules of its own.
#[derive(Clone, Debug)]
pub(crate) struct Conflict {
    pub paths: [String; 2],
    pub rules: Vec<String>,
    pub shown: Shown,
}

/// All that was found.
#[derive(Clone, Debug, Default)]
pub(crate) struct Found {
    pub idle: Vec<IdleRule>,
    pub conflicts: Vec<Conflict>,
    /// How many rules the search did not come to.
    pub missed: usize,
}

/// What a rule does, to what of each judgement.
type Saying<'s> = (RuleEffect, &'s Option<String>, &'s [(usize, Id)]);

/// Work for all rules, and for one question: enough for charters of some hundred rules.
const STEPS: u64 = 8_000_000;
const STEPS_PER_QUESTION: u64 = 1_000_000;

/// Pairs of paths that are looked at.
const PATHS_MAX: usize = 100;

/// All idle rules, and those that ask different people about the same.
pub(crate) fn questionable(charter: &Charter, session: &Session) -> Found {
    let facts = SharedFacts::of(&[charter]);
    let mut formulas = Formulas::new();
    let all: Vec<(Judgement, Verdicts)> =
        judgements().map(|j| (j, verdicts(&mut formulas, charter, 0, &facts, j))).collect();
    let consistent = ordered(&mut formulas, &facts.below);
    let mut bench = Bench {
        consistent,
        charter,
        session,
        facts,
        formulas,
        all,
        steps: STEPS,
        known: Known::default(),
        silent: BTreeSet::new(),
    };
    let mut out = bench.duplicates();
    for one in &mut out {
        one.shown = bench.smallest(&one.rule);
    }
    bench.silent.extend(out.iter().map(|found| found.rule.clone()));
    let mut missed = 0;
    // Of two rules that cover each other the earlier one stands.
    let mut rules: Vec<&Rule> = charter.rules().iter().filter(|r| !bench.silent.contains(&r.id)).collect();
    rules.sort_by(|a, b| (&a.place.file, a.place.span.start).cmp(&(&b.place.file, b.place.span.start)));
    for rule in rules.into_iter().rev() {
        match bench.question(rule) {
            Ok(Some(found)) => {
                bench.silent.insert(rule.id.clone());
                out.push(found);
            }
            Ok(None) => {}
            Err(CutOff) => missed += 1,
        }
    }
    out.sort_by(|a, b| a.rule.cmp(&b.rule));
    let conflicts = bench.conflicts();
    Found { idle: out, conflicts, missed }
}

struct CutOff;

struct Bench<'b> {
    charter: &'b Charter,
    session: &'b Session,
    facts: SharedFacts,
    formulas: Formulas,
    all: Vec<(Judgement, Verdicts)>,
    /// What facts that are in order can be together.
    consistent: Id,
    steps: u64,
    known: Known,
    /// Rules that were found to do nothing: they can't be what makes another one idle.
    silent: BTreeSet<String>,
}

impl Bench<'_> {
    /// Rules that say the same of every verb.
    fn duplicates(&self) -> Vec<IdleRule> {
        let mut says: BTreeMap<&str, Vec<(usize, Id)>> = BTreeMap::new();
        for (n, (_, verdicts)) in self.all.iter().enumerate() {
            for rule in &verdicts.rules {
                says.entry(&rule.id).or_default().push((n, rule.matches));
            }
        }
        let mut rules: Vec<&Rule> = self.charter.rules().iter().collect();
        rules.sort_by(|a, b| (&a.place.file, a.place.span.start).cmp(&(&b.place.file, b.place.span.start)));
        let mut first: BTreeMap<Saying, &str> = BTreeMap::new();
        let mut out = Vec::new();
        for rule in rules {
            let Some(said) = says.get(rule.id.as_str()) else { continue };
            match first.get(&(rule.effect, &rule.escalate, said.as_slice())) {
                Some(of) => out.push(IdleRule {
                    rule: rule.id.clone(),
                    idle: Idle::Duplicate { of: (*of).to_owned() },
                    shown: None,
                }),
                None => {
                    first.insert((rule.effect, &rule.escalate, said.as_slice()), &rule.id);
                }
            }
        }
        out
    }

    /// The smallest action that a rule matches.
    fn smallest(&mut self, rule: &str) -> Option<Shown> {
        let says = self.all.iter().enumerate().filter_map(|(n, (_, v))| Some((n, v.rule(rule)?.matches)));
        for (n, matches) in says.collect::<Vec<_>>() {
            if let Ok(Some(model)) = self.solve(n, matches) {
                let matched = |case: &Case| case.matching(self.charter)?.contains(rule).then_some(());
                return self.confirmed(n, &model, matched).map(|(shown, ())| shown);
            }
        }
        None
    }

    /// What the model stands for, with what is made of it there, if anything is.
    fn confirmed<T>(&self, n: usize, model: &Model, see: impl Fn(&Case) -> Option<T>) -> Option<(Shown, T)> {
        let (judgement, _) = self.all.get(n)?;
        let action = action(judgement.verb, judgement.is_content, model, self.session)?;
        let facts = supposed(self.charter, self.facts.of_charter(0), model);
        let autonomy = model.longs.get(&super::formula::Slot::Autonomy).copied().unwrap_or(2);
        let case = Case { action: &action, facts: &facts, autonomy, at_ns: time(model)?, session: self.session };
        let seen = see(&case)?;
        let after = after(&[(self.charter, &facts)], &action, self.session);
        Some((Shown { action, facts, after }, seen))
    }

    /// Paths that are asked about the same action, where no rule refuses it: one example for each two.
    fn conflicts(&mut self) -> Vec<Conflict> {
        let mut paths: Vec<&String> = self.charter.rules().iter().filter_map(|r| r.escalate.as_ref()).collect();
        paths.sort();
        paths.dedup();
        let of = |n: usize, p: &String| paths.iter().skip(n + 1).map(|q| [p.clone(), (*q).clone()]).collect::<Vec<_>>();
        let pairs: Vec<[String; 2]> = paths.iter().enumerate().flat_map(|(n, p)| of(n, p)).take(PATHS_MAX).collect();
        pairs.into_iter().filter_map(|pair| self.conflict(pair)).collect()
    }

    fn conflict(&mut self, paths: [String; 2]) -> Option<Conflict> {
        for n in 0..self.all.len() {
            let (_, verdicts) = self.all.get(n)?;
            let [Some(one), Some(other)] = paths.each_ref().map(|path| verdicts.asks.get(path).copied()) else {
                continue;
            };
            let denied = verdicts.denied;
            let passes = self.formulas.not(denied);
            let goal = self.formulas.and([one, other, passes]);
            let Ok(Some(model)) = self.solve(n, goal) else { continue };
            let asking = |case: &Case| {
                let said = case.judge(self.charter);
                let are_asked = said.verdict == Verdict::Hold && paths.iter().all(|path| said.asks.contains(path));
                let asks = |id: &String| self.charter.rule(id)?.escalate.as_ref().filter(|path| paths.contains(path));
                let matching = case.matching(self.charter).filter(|_| are_asked)?;
                Some(matching.into_iter().filter(|id| asks(id).is_some()).collect())
            };
            if let Some((shown, rules)) = self.confirmed(n, &model, asking) {
                return Some(Conflict { paths, rules, shown });
            }
        }
        None
    }

    /// What is the matter with a rule, if it is the same wherever it matches.
    fn question(&mut self, rule: &Rule) -> Result<Option<IdleRule>, CutOff> {
        let of_rule: Vec<(usize, RuleSay)> =
            self.all.iter().enumerate().filter_map(|(n, (_, v))| Some((n, v.rule(&rule.id)?.clone()))).collect();
        let mut matching: Option<(usize, Box<Model>)> = None;
        let mut live: Vec<(usize, RuleSay)> = Vec::new();
        for (n, say) in of_rule {
            match self.solve(n, say.matches)? {
                Some(model) => {
                    matching.get_or_insert((n, model));
                    live.push((n, say));
                }
                None => continue,
            }
        }
        let Some((n, model)) = matching else {
            return Ok(Some(IdleRule { rule: rule.id.clone(), idle: Idle::Vacuous, shown: None }));
        };
        for kind in Kind::of(rule, self.charter) {
            let mut is_idle = true;
            for (n, say) in &live {
                let cover = self.cover(*n, say, kind);
                let outside = self.formulas.not(cover);
                let difference = self.formulas.and([say.matches, outside]);
                if self.solve(*n, difference)?.is_some() {
                    is_idle = false;
                    break;
                }
            }
            if is_idle {
                let Some(mut found) = self.shown(rule, kind, n, &model) else { return Ok(None) };
                if let Idle::Shadowed { by } | Idle::Overruled { by } = &mut found.idle {
                    *by = self.alone(&live, std::mem::take(by), kind);
                }
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// The one of these that makes the rule idle by itself; or all of them, and `…` for further ones.
    fn alone(&mut self, live: &[(usize, RuleSay)], by: Vec<String>, kind: Kind) -> Vec<String> {
        let mut candidates: Vec<&String> = by.iter().filter(|other| !self.silent.contains(*other)).collect();
        // Another owner's word is another one.
        let owner = |id: &str| self.charter.rule(id).map(|r| r.owner.as_str());
        let own = live.first().and_then(|(_, say)| owner(&say.id));
        candidates.sort_by_key(|other| owner(other) != own);
        candidates.truncate(8);
        for other in candidates {
            let is_enough = live.iter().all(|(n, say)| {
                let Some(cover) = self.all.get(*n).and_then(|(_, v)| v.rule(other)).filter(|r| kind.covers(r, say))
                else {
                    return false;
                };
                let outside = self.formulas.not(cover.matches);
                let difference = self.formulas.and([say.matches, outside]);
                matches!(self.solve(*n, difference), Ok(None))
            });
            if is_enough {
                return vec![other.clone()];
            }
        }
        by.into_iter().chain(["…".to_owned()]).collect()
    }

    /// Where others make the rule idle in that way.
    fn cover(&mut self, n: usize, say: &RuleSay, kind: Kind) -> Id {
        let Some((_, verdicts)) = self.all.get(n) else { return super::formula::FALSE };
        let others = verdicts.rules.iter().filter(|r| r.id != say.id && !self.silent.contains(&r.id));
        let cover: Vec<Id> = others.filter(|other| kind.covers(other, say)).map(|r| r.matches).collect();
        // The formula itself takes work and memory.
        self.steps = self.steps.saturating_sub(4 * u64::try_from(cover.len()).unwrap_or(u64::MAX));
        let cover = self.formulas.or(cover);
        if kind == Kind::Unpermitted { self.formulas.not(cover) } else { cover }
    }

    /// The finding, if the real rules agree on the action that shows it.
    fn shown(&self, rule: &Rule, kind: Kind, n: usize, model: &Model) -> Option<IdleRule> {
        let (_, verdicts) = self.all.get(n)?;
        let say = verdicts.rule(&rule.id)?;
        let agreed = |case: &Case| {
            let matching = case.matching(self.charter).filter(|all| all.contains(&rule.id))?;
            let others = verdicts.rules.iter().filter(|r| r.id != rule.id && matching.contains(&r.id));
            let by: Vec<String> = others.filter(|r| kind.covers(r, say)).map(|r| r.id.clone()).collect();
            (by.is_empty() == (kind == Kind::Unpermitted)).then_some(by)
        };
        let (shown, by) = self.confirmed(n, model, agreed)?;
        let idle = match kind {
            Kind::Shadowed => Idle::Shadowed { by },
            Kind::Overruled => Idle::Overruled { by },
            Kind::Unpermitted => Idle::Unpermitted,
        };
        Some(IdleRule { rule: rule.id.clone(), idle, shown: Some(shown) })
    }

    fn solve(&mut self, n: usize, goal: Id) -> Result<Option<Box<Model>>, CutOff> {
        let Some((judgement, _)) = self.all.get(n) else { return Ok(None) };
        let goal = self.formulas.and([goal, self.consistent]);
        let before = self.steps.min(STEPS_PER_QUESTION);
        let mut steps = Steps { left: before, known: std::mem::take(&mut self.known) };
        let found = solve(&self.formulas, goal, judgement.verb, self.session, &mut steps);
        self.known = steps.known;
        self.steps = self.steps.saturating_sub(before.saturating_sub(steps.left));
        match found {
            Solved::Model(model) => Ok(Some(model)),
            Solved::Nothing => Ok(None),
            Solved::CutOff => Err(CutOff),
        }
    }
}

/// A way in which a rule can be idle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Overruled,
    Unpermitted,
    Shadowed,
}

impl Kind {
    /// The ways that make sense for a rule, the worst first.
    fn of(rule: &Rule, charter: &Charter) -> Vec<Kind> {
        match (rule.effect, &rule.escalate) {
            (RuleEffect::Permit, _) => vec![Kind::Overruled, Kind::Shadowed],
            (RuleEffect::Forbid, None) => vec![Kind::Shadowed],
            (RuleEffect::Forbid, Some(_)) if charter.default == DefaultVerdict::Allow => {
                vec![Kind::Overruled, Kind::Shadowed]
            }
            (RuleEffect::Forbid, Some(_)) => vec![Kind::Overruled, Kind::Unpermitted, Kind::Shadowed],
        }
    }

    /// Whether `other` counts among what makes the rule idle in this way.
    fn covers(self, other: &RuleSay, rule: &RuleSay) -> bool {
        match self {
            Kind::Overruled => other.effect == RuleEffect::Forbid && other.escalate.is_none(),
            Kind::Unpermitted => other.effect == RuleEffect::Permit,
            Kind::Shadowed => other.effect == rule.effect && other.escalate == rule.escalate,
        }
    }
}
