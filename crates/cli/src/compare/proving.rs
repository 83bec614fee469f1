//! `diff A B --prove`: what a solver says of two charters, verb by verb and rule by rule.

use crate::output::{Cell, Output, Style, table};
use crate::prove::{LIMIT, supposed};
use flyball_kernel::analysis::{Side, Widening, widening_questions};
use flyball_kernel::{Charter, Session};
use flyball_runtime::solver::Solver;
use serde::Serialize;
use std::collections::BTreeMap;

/// What `--prove` found.
#[derive(Debug, Serialize)]
pub struct Proof {
    /// The solver that was asked; nothing when none is installed.
    solver: Option<&'static str>,
    /// Whether any action of the verb passes in the second charter that the first stops or asks about. Verbs that are not
    /// here are plainly the same.
    verbs: Vec<OfVerb>,
    /// For each rule that stops or asks in the first charter (`before`), or permits in the second (`after`): whether something
    /// that it matches passes in the second that the first stops or asks about.
    rules: Vec<OfRule>,
}

#[derive(Debug, Serialize)]
struct OfVerb {
    verb: &'static str,
    /// The judgement of what a write has in it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    of_content: bool,
    #[serde(flatten)]
    answer: Widening,
}

#[derive(Debug, Serialize)]
struct OfRule {
    rule: String,
    of: Side,
    #[serde(flatten)]
    answer: Widening,
}

impl Proof {
    /// Whether the solver says something else than our own search.
    pub fn is_contradiction(&self) -> bool {
        let is = |answer: &Widening| matches!(answer, Widening::Unknown { is_contradiction: true, .. });
        self.verbs.iter().any(|v| is(&v.answer)) || self.rules.iter().any(|r| is(&r.answer))
    }
}

/// Asks the solver, where there is one.
pub fn prove(a: &Charter, b: &Charter, session: &Session) -> Proof {
    let Some(solver) = Solver::find() else {
        return Proof { solver: None, verbs: Vec::new(), rules: Vec::new() };
    };
    let mut verbs = Vec::new();
    let mut rules: BTreeMap<(String, Side), Widening> = BTreeMap::new();
    for rule in a.rules().iter().filter(|r| r.effect == flyball_kernel::RuleEffect::Forbid) {
        rules.insert((rule.id.clone(), Side::Before), Widening::Never);
    }
    for rule in b.rules().iter().filter(|r| r.effect == flyball_kernel::RuleEffect::Permit) {
        rules.insert((rule.id.clone(), Side::After), Widening::Never);
    }
    let failed = |error: std::io::Error| Widening::Unknown { why: error.to_string(), is_contradiction: false };
    for question in widening_questions(a, b, session) {
        let answer = match solver.ask(question.smt(), LIMIT) {
            Ok(output) => question.answer(&output, a, b, session),
            Err(error) => failed(error),
        };
        // What no action of the verb does, none does that a rule matches.
        if answer != Widening::Never {
            for (side, id, smt) in question.rules() {
                let known = rules.entry((id.to_owned(), side)).or_insert(Widening::Never);
                if matches!(known, Widening::Sometimes { .. }) {
                    continue;
                }
                let answer = match solver.ask(smt, LIMIT) {
                    Ok(output) => question.answer_of((side, id), &output, a, b, session),
                    Err(error) => failed(error),
                };
                if answer != Widening::Never {
                    *known = answer;
                }
            }
        }
        verbs.push(OfVerb { verb: question.verb(), of_content: question.is_content(), answer });
    }
    let rules = rules.into_iter().map(|((rule, of), answer)| OfRule { rule, of, answer }).collect();
    Proof { solver: Some(solver.name()), verbs, rules }
}

/// Shows it.
pub fn print(out: Output, proof: &Proof) {
    out.line("");
    let Some(name) = proof.solver else {
        out.line("no solver was asked: neither `cvc5` nor `z3` is installed");
        return;
    };
    let never = proof.verbs.iter().filter(|v| v.answer == Widening::Never).count();
    out.line(&format!(
        "asked {name}: does the second let pass what the first stops? Of {} verbs on which they could differ, never for {never}",
        proof.verbs.len()
    ));
    let not_never = |answer: &Widening| *answer != Widening::Never;
    let verb = |v: &OfVerb| if v.of_content { format!("{} (what is written)", v.verb) } else { v.verb.to_owned() };
    let verbs: Vec<Vec<Cell>> =
        proof.verbs.iter().filter(|v| not_never(&v.answer)).map(|v| row(verb(v), &v.answer)).collect();
    if !verbs.is_empty() {
        table(out, &["VERB", "PASSES", "SUCH AS"], &verbs);
    }
    let of = |side: Side| if side == Side::Before { "stops in the first" } else { "permits in the second" };
    let rules: Vec<Vec<Cell>> =
        proof.rules.iter().map(|r| row(format!("{} ({})", r.rule, of(r.of)), &r.answer)).collect();
    if !rules.is_empty() {
        out.line("");
        table(out, &["RULE", "PASSES", "SUCH AS"], &rules);
    }
}

fn row(name: String, answer: &Widening) -> Vec<Cell> {
    let (answer, shown) = match answer {
        Widening::Never => (Cell::new("never").styled(Style::Green), String::new()),
        Widening::Sometimes { example } => {
            let supposed = supposed(&example.facts, example.history.as_deref());
            let resource = serde_json::to_string(&example.action.resource).unwrap_or_default();
            (Cell::new("sometimes").styled(Style::Red), format!("{} {resource}{supposed}", example.action.verb))
        }
        Widening::Unknown { why, .. } => (Cell::new("unknown").styled(Style::Yellow), why.clone()),
    };
    vec![Cell::new(name), answer, Cell::new(shown)]
}
