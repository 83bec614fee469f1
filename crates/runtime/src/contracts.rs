//! Contracts, held against a session at its end: on record before its last entry, whatever came of them.

use crate::core::Core;
use crate::coverage;
use crate::read::History;
use flyball_kernel::analysis::session_coverage;
use flyball_kernel::{Charter, Contract};
use flyball_ledger::Kind;
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

/// What became of a contract.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContractResult {
    /// Its name.
    pub contract: String,
    /// Whether all of it holds.
    pub holds: bool,
    /// What it asks for, one by one.
    pub checks: Vec<Check>,
}

/// One thing that a contract asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// `rule`, `fact`, `replay`, `questions`, `coverage`, or `told` of a contract that was never looked at.
    pub check: String,
    /// The rule or fact.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<String>,
    /// Whether it is so.
    pub holds: bool,
    /// Why not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub because: Option<String>,
    /// Entries behind it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub witnesses: Vec<u64>,
}

/// Entries that one check names.
const WITNESSES_MAX: usize = 20;

impl ContractResult {
    fn of(contract: &str, checks: Vec<Check>) -> Self {
        Self { contract: contract.to_owned(), holds: checks.iter().all(|check| check.holds), checks }
    }

    /// Of one that the record tells nothing of: its session ended otherwise than by its supervisor, or has no sandbox.
    pub(crate) fn untold(contract: &str) -> Self {
        let because = Some("the record does not say that it was looked at".to_owned());
        let check = Check { check: "told".to_owned(), of: None, holds: false, because, witnesses: Vec::new() };
        Self::of(contract, vec![check])
    }
}

/// Holds every contract of the charter in force against the session, and puts what came of it on record.
pub(crate) fn settle(core: &mut Core) -> Vec<ContractResult> {
    let contracts = core.gate.kernel().charter().contracts().to_vec();
    if contracts.is_empty() {
        return Vec::new();
    }
    // What can't be read can't be said to hold.
    let history = core.gate.flush().map_err(|e| e.to_string());
    let history = history.and_then(|()| History::read(&core.ledger, &core.session).map_err(|e| e.to_string()));
    let results: Vec<ContractResult> = contracts
        .iter()
        .map(|contract| match &history {
            Ok(history) => ContractResult::of(&contract.name, checks(core, history, contract)),
            Err(_) => ContractResult::untold(&contract.name),
        })
        .collect();
    for result in &results {
        let _ = core.gate.note(Kind::Observe, "contracts", &[], json!({ "contract": result }));
    }
    results
}

fn checks(core: &Core, history: &History, contract: &Contract) -> Vec<Check> {
    let check = |name: &str, of: Option<&str>, because: Option<String>, witnesses: Vec<u64>| Check {
        check: name.to_owned(),
        of: of.map(str::to_owned),
        holds: because.is_none(),
        because,
        witnesses,
    };
    let mut out = Vec::new();
    for rule in &contract.holds {
        let mut done = done_against(history, rule);
        let because = (!done.is_empty()).then(|| format!("{} actions were done against it", done.len()));
        done.truncate(WITNESSES_MAX);
        out.push(check("rule", Some(rule), because, done));
    }
    for fact in &contract.facts {
        let (is_true, mut witnesses, needs) = core.gate.fact(fact);
        witnesses.truncate(WITNESSES_MAX);
        let because = (!is_true).then(|| match needs {
            Some(needs) => format!("it is not true at the end: it needs {needs}"),
            None => "it is not true at the end".to_owned(),
        });
        out.push(check("fact", Some(fact), because, witnesses));
    }
    if let Some(wanted) = contract.replay_at_least {
        let level = core.replay_level();
        let because = (level < wanted).then(|| format!("the record supports level {level}, and {wanted} is asked for"));
        out.push(check("replay", None, because, Vec::new()));
    }
    if contract.no_open_questions {
        let mut open = unanswered(history);
        let because = (!open.is_empty()).then(|| format!("{} questions were not answered", open.len()));
        open.truncate(WITNESSES_MAX);
        out.push(check("questions", None, because, open));
    }
    if contract.covers_all {
        let opening = history.entries().iter().find(|entry| entry.kind == Kind::Open);
        let because = uncovered(core.gate.kernel().charter(), opening.map(|entry| &entry.body), core.has_gaps);
        out.push(check("coverage", None, because, Vec::new()));
    }
    out
}

/// Attempts that a rule refused or asked about, whose last ruling is no permission, and that were carried out.
fn done_against(history: &History, rule: &str) -> Vec<u64> {
    let names = |body: &Json| {
        let reasons = body.get("reasons").and_then(Json::as_array).into_iter().flatten();
        reasons.into_iter().any(|reason| reason.get("rule").and_then(Json::as_str) == Some(rule))
    };
    let verdict = |body: &Json| body.get("verdict").and_then(Json::as_str).unwrap_or_default().to_owned();
    let mut out = Vec::new();
    for attempt in history.entries().iter().filter(|entry| entry.kind == Kind::Attempt) {
        let (mut is_against, mut last) = (false, String::new());
        let mut was_done = false;
        for entry in history.life(attempt.seq) {
            match entry.kind {
                Kind::Ruling => {
                    last = verdict(&entry.body);
                    is_against |= matches!(last.as_str(), "deny" | "hold") && names(&entry.body);
                }
                Kind::Dispatch => was_done = true,
                Kind::Outcome => was_done |= entry.body.get("ok").and_then(Json::as_bool) == Some(true),
                _ => {}
            }
        }
        if is_against && was_done && !matches!(last.as_str(), "allow" | "modify") {
            out.push(attempt.seq);
        }
    }
    out
}

/// Attempts that people were asked about and nobody answered for: neither they nor a deadline.
fn unanswered(history: &History) -> Vec<u64> {
    let is_asked = |of: u64| history.life(of).any(|entry| entry.kind == Kind::Question);
    let attempts = history.entries().iter().filter(|entry| entry.kind == Kind::Attempt).map(|entry| entry.seq);
    attempts.filter(|of| history.verdict(*of) == Some("hold") && is_asked(*of)).collect()
}

/// Why it can't be said that every action was ruled on before it took effect, if so.
fn uncovered(charter: &Charter, opening: Option<&Json>, has_gaps: bool) -> Option<String> {
    let Some(opening) = opening else { return Some("the session has no opening".to_owned()) };
    if has_gaps {
        return Some("something of the workspace was changed or could not be seen without a recorded call".to_owned());
    }
    let coverage = session_coverage(charter, &coverage::doors(opening));
    let open: Vec<String> = coverage
        .rules
        .iter()
        .filter_map(|row| {
            let verbs: Vec<&str> = row.observed.iter().chain(&row.not_mediated).copied().collect();
            (!verbs.is_empty()).then(|| format!("{} ({})", row.rule, verbs.join(", ")))
        })
        .collect();
    (!open.is_empty())
        .then(|| format!("not each action of these rules is ruled on in this session: {}", open.join("; ")))
}
