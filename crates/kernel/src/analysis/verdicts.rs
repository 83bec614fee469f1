//! What a charter says of one verb's actions, as formulas: refused, asked about, by which rule.

use super::formula::{FALSE, Formulas, Id, Scope, TRUE};
use super::witness::SharedFacts;
use crate::charter::{Charter, DefaultVerdict, RuleEffect, settings};
use crate::request::{consequence_name, reversibility_name};
use crate::rules::{Compiled, Slice};
use crate::vocabulary::{Verb, verbs};
use std::collections::BTreeMap;

/// A kind of judgement: a verb's, or the second one of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Judgement {
    pub verb: Verb,
    pub is_content: bool,
}

/// All kinds of judgement there are.
pub(crate) fn judgements() -> impl Iterator<Item = Judgement> {
    verbs().flat_map(|verb| {
        let contents = if verb.name() == "fs.write" { vec![false, true] } else { vec![false] };
        contents.into_iter().map(move |is_content| Judgement { verb, is_content })
    })
}

/// One rule's say.
#[derive(Clone, Debug)]
pub(crate) struct RuleSay {
    pub id: String,
    pub effect: RuleEffect,
    /// The path that it asks.
    pub escalate: Option<String>,
    pub matches: Id,
    /// Where evaluating it fails.
    pub fails: Id,
}

/// What a charter says of one kind of judgement.
#[derive(Clone, Debug)]
pub(crate) struct Verdicts {
    pub rules: Vec<RuleSay>,
    /// Refused, whatever people say.
    pub denied: Id,
    /// Some rule asks people.
    pub held: Id,
    /// By path.
    pub asks: BTreeMap<String, Id>,
}

impl Verdicts {
    /// What that rule says.
    pub fn rule(&self, id: &str) -> Option<&RuleSay> {
        // INVARIANT: a slice's rules are sorted by id.
        self.rules.binary_search_by(|r| r.id.as_str().cmp(id)).ok().and_then(|at| self.rules.get(at))
    }
}

pub(crate) fn verdicts(
    to: &mut Formulas,
    charter: &Charter,
    number: usize,
    facts: &SharedFacts,
    judgement: Judgement,
) -> Verdicts {
    let Judgement { verb, is_content } = judgement;
    let spec = verb.spec();
    let weight = (!settings::weighs(&charter.consequences, verb))
        .then(|| (consequence_name(spec.consequence), reversibility_name(spec.reversibility)));
    let scope = Scope {
        verb,
        is_content,
        charter: number,
        table: facts.table(number),
        facts: facts.of_charter(number),
        weight,
    };
    let slice = if is_content { Some(&charter.rules.content) } else { charter.slice(verb) };
    let compiled = slice.map(Slice::rules).unwrap_or_default();
    let rules: Vec<RuleSay> = compiled.iter().filter_map(|rule| say(to, &scope, charter, rule)).collect();

    let of = |effect: RuleEffect| rules.iter().filter(move |r| r.effect == effect);
    let mut refusals: Vec<Id> = of(RuleEffect::Forbid).filter(|r| r.escalate.is_none()).map(|r| r.matches).collect();
    let mut asks: BTreeMap<String, Vec<Id>> = BTreeMap::new();
    for rule in of(RuleEffect::Forbid) {
        if let Some(path) = &rule.escalate {
            asks.entry(path.clone()).or_default().push(rule.matches);
        }
    }
    let failures: Vec<Id> = rules.iter().map(|r| r.fails).collect();
    match &charter.on_error {
        Some(path) => asks.entry(path.clone()).or_default().extend(failures),
        None => refusals.extend(failures),
    }
    if charter.default == DefaultVerdict::Deny && !is_content {
        let permits: Vec<Id> = of(RuleEffect::Permit).map(|r| r.matches).collect();
        let permitted = to.or(permits);
        refusals.push(to.not(permitted));
    }
    let denied = to.or(refusals);
    let asks: BTreeMap<String, Id> = asks.into_iter().map(|(path, all)| (path, to.or(all))).collect();
    let held = to.or(asks.values().copied().collect::<Vec<_>>());
    Verdicts { rules, denied, held, asks }
}

fn say(to: &mut Formulas, scope: &Scope, charter: &Charter, compiled: &Compiled) -> Option<RuleSay> {
    let rule = charter.rule(compiled.id())?;
    let (matches, fails) = match compiled.node() {
        Some(node) if !compiled.computes() => (scope.formula(to, node), FALSE),
        Some(node) => (scope.formula(to, node), scope.opaque_text(to, "failure of", &compiled.text())),
        None => {
            let text = compiled.text();
            (scope.opaque_text(to, "rule", &text), scope.opaque_text(to, "failure of", &text))
        }
    };
    // A rule that fails does not match.
    let sound = to.not(fails);
    let matches = if fails == FALSE { matches } else { to.and([sound, matches]) };
    debug_assert!(fails != TRUE, "a rule that always fails does not compile");
    Some(RuleSay { id: rule.id.clone(), effect: rule.effect, escalate: rule.escalate.clone(), matches, fails })
}
