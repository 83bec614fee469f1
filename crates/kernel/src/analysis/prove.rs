//! Questions to a solver: can an action of this verb ever be allowed?

use super::compare::ordered;
use super::coverage::is_mediated;
use super::formula::Formulas;
use super::histories::after;
use super::smt::{Query, encode};
use super::solve::{Found, Model, Steps, solve};
use super::verdicts::{judgements, verdicts};
use super::witness::{Case, SharedFacts, action, supposed, time};
use crate::action::{Action, Value};
use crate::charter::Charter;
use crate::ruling::Verdict;
use crate::session::Session;
use crate::vocabulary::Verb;
use serde::Serialize;
use std::collections::BTreeMap;

/// Whether actions of a verb can ever be allowed, asked of a solver.
#[derive(Clone, Debug)]
pub struct Question {
    verb: Verb,
    query: Query,
    /// What our own search says.
    own: Option<bool>,
}

/// What came of a question.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "answer")]
pub enum Answer {
    /// No action of the verb is ever allowed.
    Never,
    /// Some are; this one, as the real rules confirm.
    Sometimes {
        /// The action.
        action: Box<Action>,
        /// What the history is supposed to be.
        facts: BTreeMap<String, Value>,
        /// Such a history, as the `given` of an example, where facts matter and one was found.
        #[serde(skip_serializing_if = "Option::is_none")]
        after: Option<Vec<String>>,
    },
    /// The solver gave no answer that could be used, with why.
    Unknown {
        /// Why.
        why: String,
    },
}

/// Work of our own search for one question.
const STEPS: u64 = 4_000_000;

/// A question for each verb that this version mediates.
#[must_use]
pub fn questions(charter: &Charter, session: &Session) -> Vec<Question> {
    let facts = SharedFacts::of(&[charter]);
    let mediated = judgements().filter(|j| !j.is_content && is_mediated(j.verb, charter));
    mediated
        .map(|judgement| {
            let mut all = Formulas::new();
            let said = verdicts(&mut all, charter, 0, &facts, judgement);
            let (passes, unasked) = (all.not(said.denied), all.not(said.held));
            let consistent = ordered(&mut all, &facts.below);
            let goal = all.and([passes, unasked, consistent]);
            let own = match solve(&all, goal, judgement.verb, session, &mut Steps::of(STEPS)) {
                Found::Model(_) => Some(true),
                Found::Nothing => Some(false),
                Found::CutOff => None,
            };
            Question { verb: judgement.verb, query: encode(&all, goal, judgement.verb, session), own }
        })
        .collect()
}

impl Question {
    /// The verb that it is about.
    #[must_use]
    pub fn verb(&self) -> &'static str {
        self.verb.name()
    }

    /// The question in SMT-LIB.
    #[must_use]
    pub fn smt(&self) -> &str {
        &self.query.text
    }

    /// What a solver's output means. What it says is possible is put to the real rules first, and what it says is
    /// impossible is not believed where our own search found an action.
    #[must_use]
    pub fn answer(&self, output: &str, charter: &Charter, session: &Session) -> Answer {
        let unknown = |why: &str| Answer::Unknown { why: why.to_owned() };
        let first = output.trim_start().lines().next().unwrap_or_default().trim();
        match (first, self.own) {
            ("unsat", Some(true)) => unknown("the solver says never, and an action was found: please report this"),
            ("unsat", _) => Answer::Never,
            ("sat", Some(false)) => unknown("the solver says sometimes, and no action was found"),
            ("sat", _) => match self.query.model(output) {
                Some(model) => {
                    self.confirmed(&model, charter, session).unwrap_or_else(|| unknown("the rules say otherwise"))
                }
                None => unknown("its values could not be read"),
            },
            ("", _) => unknown("the time was up"),
            _ => unknown("the solver does not know"),
        }
    }

    fn confirmed(&self, model: &Model, charter: &Charter, session: &Session) -> Option<Answer> {
        let action = action(self.verb, false, model, session)?;
        let facts = supposed(charter, SharedFacts::of(&[charter]).of_charter(0), model);
        let autonomy = model.longs.get(&super::formula::Slot::Autonomy).copied().unwrap_or(2);
        let case = Case { action: &action, facts: &facts, autonomy, at_ns: time(model)?, session };
        (case.judge(charter).verdict == Verdict::Allow).then(|| {
            let after = after(&[(charter, &facts)], &action, session);
            Answer::Sometimes { action: Box::new(action), facts: facts.clone(), after }
        })
    }
}
