//! `check --prove`: what a solver says of a charter, and histories that make its facts true.

use crate::output::{Cell, Output, Style, table};
use flyball_kernel::analysis::{Answer, FactTrace, fact_traces, questions};
use flyball_kernel::{Charter, Value};
use flyball_runtime::solver::Solver;
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::Duration;

/// What `--prove` found.
#[derive(Debug, Serialize)]
pub struct Proof {
    /// The solver that was asked; nothing when none is installed.
    solver: Option<&'static str>,
    verbs: Vec<Proved>,
    facts: Vec<FactTrace>,
}

#[derive(Debug, Serialize)]
struct Proved {
    verb: &'static str,
    #[serde(flatten)]
    answer: Answer,
}

/// For one question. Most take a hundredth of it.
pub const LIMIT: Duration = Duration::from_secs(10);

/// Asks the solver, where there is one, and looks for histories.
pub fn prove(charter: &Charter) -> Proof {
    let solver = Solver::find();
    let session = flyball_kernel::Session {
        workspace: "/workspace".to_owned(),
        home: "/home/user".to_owned(),
        agent: "agent".to_owned(),
    };
    let asked = solver.map(|solver| {
        let ask = |question: flyball_kernel::analysis::Question| {
            let answer = match solver.ask(question.smt(), LIMIT) {
                Ok(output) => question.answer(&output, charter, &session),
                Err(error) => Answer::Unknown { why: error.to_string() },
            };
            Proved { verb: question.verb(), answer }
        };
        questions(charter, &session).into_iter().map(ask).collect()
    });
    Proof { solver: solver.map(Solver::name), verbs: asked.unwrap_or_default(), facts: fact_traces(charter) }
}

/// Shows it.
pub fn print(out: Output, proof: &Proof) {
    out.line("");
    match proof.solver {
        Some(name) => {
            out.line(&format!("asked {name}: can such an action ever be allowed?"));
            table(out, &["VERB", "ALLOWED", "SUCH AS"], &proof.verbs.iter().map(row).collect::<Vec<_>>());
        }
        None => out.line("no solver was asked: neither `cvc5` nor `z3` is installed"),
    }
    if !proof.facts.is_empty() {
        out.line("");
        let rows: Vec<Vec<Cell>> = proof.facts.iter().map(fact).collect();
        table(out, &["FACT", "IS TRUE"], &rows);
    }
}

fn row(proved: &Proved) -> Vec<Cell> {
    let (answer, shown) = match &proved.answer {
        Answer::Never => (Cell::new("never").styled(Style::Red), String::new()),
        Answer::Sometimes { action, facts, after } => {
            let supposed = supposed(facts, after.as_deref());
            let action = serde_json::to_string(&action.resource).unwrap_or_default();
            (Cell::new("sometimes").styled(Style::Green), format!("{action}{supposed}"))
        }
        Answer::Unknown { why } => (Cell::new("unknown").styled(Style::Yellow), why.clone()),
    };
    vec![Cell::new(format!("{:18}", proved.verb)), answer, Cell::new(shown)]
}

/// What facts are supposed to be, and the history that leads there.
pub fn supposed(facts: &BTreeMap<String, Value>, after: Option<&[String]>) -> String {
    if facts.is_empty() {
        return String::new();
    }
    let way = match after {
        None => ", after nothing that was tried".to_owned(),
        Some([]) => ", from the start".to_owned(),
        Some(given) => format!(", after {}", given.join(", ")),
    };
    format!(" where {}{way}", serde_json::to_string(facts).unwrap_or_default())
}

fn fact(found: &FactTrace) -> Vec<Cell> {
    let said = match &found.trace {
        None => format!("after nothing that was tried: {} events at most", found.events_max),
        Some(trace) if trace.is_empty() => "from the start".to_owned(),
        Some(trace) => format!("after {}", trace.join(", ")),
    };
    vec![Cell::new(&found.fact), Cell::new(said)]
}
