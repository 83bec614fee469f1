//! Questions to a solver about two charters: whether the second lets something pass that the first stops, by verb and by rule.

use super::compare::{Example, Pair};
use super::formula::{FALSE, Formulas, Id};
use super::smt::{Query, encode};
use super::solve::{Found, Steps, solve};
use super::verdicts::{Judgement, judgements};
use super::witness::SharedFacts;
use crate::charter::{Charter, RuleEffect};
use crate::session::Session;
use serde::Serialize;
use std::collections::BTreeMap;

/// Whether the second charter lets something pass that the first stops or asks about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "answer")]
pub enum Widening {
    /// It does not.
    Never,
    /// It does; this one, as the real rules of both confirm.
    Sometimes {
        /// The action, and what both say of it.
        example: Box<Example>,
    },
    /// There is no answer that could be used.
    Unknown {
        /// Why.
        why: String,
        /// The solver and our own search contradict each other.
        is_contradiction: bool,
    },
}

/// Whose rule a question is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// A rule of the first charter that stops or asks: whether something of what it matches passes in the second.
    Before,
    /// A rule of the second charter that permits: whether it permits something that the first stops.
    After,
}

/// A question about all actions of one verb.
#[derive(Clone, Debug)]
pub struct WideningQuestion {
    judgement: Judgement,
    query: Query,
    /// What our own search says.
    own: Option<bool>,
    /// The question narrowed down to what one rule matches.
    rules: BTreeMap<(Side, String), Query>,
}

/// Work of our own search for one question.
const STEPS: u64 = 4_000_000;

/// A question for each verb of which the charters may differ; of the others it is plain that they don't.
#[must_use]
pub fn widening_questions(a: &Charter, b: &Charter, session: &Session) -> Vec<WideningQuestion> {
    let facts = SharedFacts::of(&[a, b]);
    let mut steps = Steps::default();
    let mut out = Vec::new();
    for judgement in judgements() {
        let pair = Pair { a, b, facts: &facts, judgement, session };
        let (mut all, first, second, goal) = pair.widening();
        if goal == FALSE {
            continue;
        }
        steps.left = STEPS;
        let own = match solve(&all, goal, judgement.verb, session, &mut steps) {
            Found::Model(_) => Some(true),
            Found::Nothing => Some(false),
            Found::CutOff => None,
        };
        let before = first.rules.iter().filter(|r| r.effect == RuleEffect::Forbid).map(|r| (Side::Before, r));
        let after = second.rules.iter().filter(|r| r.effect == RuleEffect::Permit).map(|r| (Side::After, r));
        let of = |all: &mut Formulas, matches: Id| {
            let goal = all.and([goal, matches]);
            encode(all, goal, judgement.verb, session)
        };
        let rules = before.chain(after).map(|(side, r)| ((side, r.id.clone()), of(&mut all, r.matches))).collect();
        let query = encode(&all, goal, judgement.verb, session);
        out.push(WideningQuestion { judgement, query, own, rules });
    }
    out
}

impl WideningQuestion {
    /// The verb that it is about.
    #[must_use]
    pub fn verb(&self) -> &'static str {
        self.judgement.verb.name()
    }

    /// Whether it is about what a write has in it, once that is known.
    #[must_use]
    pub fn is_content(&self) -> bool {
        self.judgement.is_content
    }

    /// The question in SMT-LIB.
    #[must_use]
    pub fn smt(&self) -> &str {
        &self.query.text
    }

    /// The rules that it can be narrowed down to, each with its question.
    pub fn rules(&self) -> impl Iterator<Item = (Side, &str, &str)> {
        self.rules.iter().map(|((side, id), query)| (*side, id.as_str(), query.text.as_str()))
    }

    /// What a solver's output to the whole question means. What it says is possible is put to the real rules first, and what
    /// it says is impossible is not believed where our own search found an action.
    #[must_use]
    pub fn answer(&self, output: &str, a: &Charter, b: &Charter, session: &Session) -> Widening {
        self.read(output, &self.query, self.own, a, b, session)
    }

    /// The same of one rule's question.
    #[must_use]
    pub fn answer_of(&self, rule: (Side, &str), output: &str, a: &Charter, b: &Charter, session: &Session) -> Widening {
        // What holds of no action of the verb holds of none that the rule matches.
        let own = self.own.filter(|found| !found);
        match self.rules.get(&(rule.0, rule.1.to_owned())) {
            Some(query) => self.read(output, query, own, a, b, session),
            None => Widening::Never,
        }
    }

    fn read(
        &self,
        output: &str,
        query: &Query,
        own: Option<bool>,
        a: &Charter,
        b: &Charter,
        session: &Session,
    ) -> Widening {
        let unknown = |why: &str, is_contradiction| Widening::Unknown { why: why.to_owned(), is_contradiction };
        let first = output.trim_start().lines().next().unwrap_or_default().trim();
        match (first, own) {
            ("unsat", Some(true)) => {
                unknown("the solver says never, and an action was found: please report this", true)
            }
            ("unsat", _) => Widening::Never,
            ("sat", _) => {
                let Some(model) = query.model(output) else { return unknown("its values could not be read", false) };
                let facts = SharedFacts::of(&[a, b]);
                let pair = Pair { a, b, facts: &facts, judgement: self.judgement, session };
                match pair.example(&model, true) {
                    Some(_) if own == Some(false) => {
                        unknown("the solver found an action, and our search says never: please report this", true)
                    }
                    Some(mut example) => {
                        example.look_back(a, b, session);
                        Widening::Sometimes { example: Box::new(example) }
                    }
                    None => unknown("it hangs on a condition that only Cedar evaluates", false),
                }
            }
            ("", _) => unknown("the time was up", false),
            _ => unknown("the solver does not know", false),
        }
    }
}
