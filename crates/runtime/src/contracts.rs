//! Contracts, held against a session at its end: on record before its last entry, whatever came of them.

pub(crate) mod command;
pub(crate) mod later;

use crate::coverage;
use crate::gate::Gate;
use crate::read::History;
use command::Ran;
use flyball_kernel::analysis::session_coverage;
use flyball_kernel::{Charter, Contract, ContractCommand};
use flyball_ledger::{Kind, Ledger};
use flyball_sandbox::Spec;
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};
use std::collections::BTreeMap;

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
    /// `rule`, `fact`, `replay`, `questions`, `coverage`, `command`, or `told` of a contract that was never looked at.
    pub check: String,
    /// The rule, fact or command.
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
    /// The command's exit code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit: Option<i32>,
    /// Digest of all that the command wrote.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
}

/// A session at its end: what its contracts ask, and where what came of them is put on record.
pub(crate) trait AtEnd {
    /// The charter in force.
    fn charter(&self) -> &Charter;
    /// Whether a fact is true, by which entries, and what it would need.
    fn fact(&self, name: &str) -> (bool, Vec<u64>, Option<String>);
    /// All that was recorded can be read.
    fn flush(&mut self) -> Result<(), String>;
    /// Puts something on record; the entry's number.
    fn note(&mut self, body: Json) -> Result<u64, String>;
}

impl AtEnd for Gate {
    fn charter(&self) -> &Charter {
        self.kernel().charter()
    }
    fn fact(&self, name: &str) -> (bool, Vec<u64>, Option<String>) {
        Self::fact(self, name)
    }
    fn flush(&mut self) -> Result<(), String> {
        Self::flush(self).map_err(|e| e.to_string())
    }
    fn note(&mut self, body: Json) -> Result<u64, String> {
        Self::note(self, Kind::Observe, ACTOR, &[], body).map_err(|e| e.to_string())
    }
}

/// Who says in the record what came of contracts.
const ACTOR: &str = "contracts";

/// A session at its end, with what is held against its contracts.
pub(crate) struct Ended<'a> {
    pub gate: &'a mut dyn AtEnd,
    pub ledger: &'a Ledger,
    pub session: &'a str,
    pub replay_level: u8,
    /// Something of the workspace was not recorded, or is not what any recorded call left.
    pub has_gaps: bool,
    /// What came of the contracts' commands.
    pub ran: BTreeMap<String, Ran>,
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
        Self::of(contract, vec![Check::new("told", None, because, Vec::new())])
    }
}

impl Check {
    fn new(check: &str, of: Option<&str>, because: Option<String>, witnesses: Vec<u64>) -> Self {
        let (check, of) = (check.to_owned(), of.map(str::to_owned));
        Self { check, of, holds: because.is_none(), because, witnesses, exit: None, output: None }
    }
}

/// The commands that the charter's contracts have, by contract.
pub(crate) fn commands(charter: &Charter) -> Vec<(String, ContractCommand)> {
    let contracts = charter.contracts().iter();
    contracts.filter_map(|contract| Some((contract.name.clone(), contract.command.clone()?))).collect()
}

/// Runs commands one after the other, each on the workspace as the session left it. `place`: where, or why not.
pub(crate) fn run_all(
    commands: &[(String, ContractCommand)],
    place: Result<&Spec, &str>,
    now: &command::Now,
    tell: &dyn Fn(&str, &ContractCommand),
) -> BTreeMap<String, Ran> {
    let one = |(contract, command): &(String, ContractCommand)| {
        let ran = match place {
            Ok(place) => {
                tell(contract, command);
                command::run(command, place, now)
            }
            Err(because) => Ran::not(command, because),
        };
        (contract.clone(), ran)
    };
    commands.iter().map(one).collect()
}

/// Holds every contract of the charter in force against the session, and puts what came of it on record.
pub(crate) fn settle(mut ended: Ended<'_>) -> Vec<ContractResult> {
    let contracts = ended.gate.charter().contracts().to_vec();
    hold(&mut ended, &contracts)
}

/// Holds these contracts against it, and puts what came of them on record.
fn hold(ended: &mut Ended<'_>, contracts: &[Contract]) -> Vec<ContractResult> {
    if contracts.is_empty() {
        return Vec::new();
    }
    // What can't be read can't be said to hold.
    let history = ended.gate.flush();
    let history = history.and_then(|()| History::read(ended.ledger, ended.session).map_err(|e| e.to_string()));
    let results: Vec<ContractResult> = contracts
        .iter()
        .map(|contract| match &history {
            Ok(history) => ContractResult::of(&contract.name, checks(ended, history, contract)),
            Err(_) => ContractResult::untold(&contract.name),
        })
        .collect();
    for result in &results {
        let _ = ended.gate.note(json!({ "contract": result }));
    }
    results
}

fn checks(ended: &mut Ended<'_>, history: &History, contract: &Contract) -> Vec<Check> {
    let check = Check::new;
    let mut out = Vec::new();
    for rule in &contract.holds {
        let mut done = done_against(history, rule);
        let because = (!done.is_empty()).then(|| format!("{} actions were done against it", done.len()));
        done.truncate(WITNESSES_MAX);
        out.push(check("rule", Some(rule), because, done));
    }
    for fact in &contract.facts {
        let (is_true, mut witnesses, needs) = ended.gate.fact(fact);
        witnesses.truncate(WITNESSES_MAX);
        let because = (!is_true).then(|| match needs {
            Some(needs) => format!("it is not true at the end: it needs {needs}"),
            None => "it is not true at the end".to_owned(),
        });
        out.push(check("fact", Some(fact), because, witnesses));
    }
    if let Some(wanted) = contract.replay_at_least {
        let level = ended.replay_level;
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
        let because = uncovered(ended.gate.charter(), opening.map(|entry| &entry.body), ended.has_gaps);
        out.push(check("coverage", None, because, Vec::new()));
    }
    if let Some(wanted) = &contract.command {
        let ran = ended.ran.remove(&contract.name).unwrap_or_else(|| Ran::not(wanted, "nobody ran it"));
        let noted = ended.gate.note(ran.entry(&contract.name));
        let because = ran.because.or_else(|| noted.as_ref().err().map(|error| format!("it is not on record: {error}")));
        let told = Check::new("command", Some(&ran.argv.join(" ")), because, noted.into_iter().collect());
        out.push(Check { exit: ran.exit, output: ran.output.map(|output| output.digest), ..told });
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

#[cfg(test)]
mod tests;
