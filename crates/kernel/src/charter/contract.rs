//! `[[contract]]`: what is to be so at the end of a session.

use super::cedar::Rules;
use super::report::{At, Report, clip, nearest};
use super::schema::FactType;
use super::table::Keys;
use crate::facts::FactSection;
use std::collections::BTreeSet;

/// What is to be so at the end of a session: it holds if all of it does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contract {
    /// Its name.
    pub name: String,
    /// Rules of which nothing that they refused, or asked about in vain, was done all the same.
    pub holds: Vec<String>,
    /// Facts that are true at the end.
    pub facts: Vec<String>,
    /// The replay level that the record supports at least.
    pub replay_at_least: Option<u8>,
    /// Whether no question may stand unanswered.
    pub no_open_questions: bool,
    /// Whether each action that a rule speaks of has to have been ruled on before it took effect.
    pub covers_all: bool,
    /// What has to end well on the final workspace.
    pub command: Option<ContractCommand>,
}

/// A program that is run on the final workspace, in a sandbox of its own, and has to exit with 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContractCommand {
    /// Program and arguments; no shell reads them.
    pub argv: Vec<String>,
    /// How long it may take, nanoseconds.
    pub within_ns: u64,
}

/// How long a command may take where the charter does not say.
const WITHIN_NS: u64 = 5 * 60 * 1_000_000_000;
/// How long a charter can give it: somebody waits for the session's end.
const WITHIN_NS_MAX: u64 = 3600 * 1_000_000_000;

impl Contract {
    /// What it asks for, one by one: what two charters are compared by.
    pub(crate) fn wants(&self) -> BTreeSet<String> {
        let name = &self.name;
        let rules = self.holds.iter().map(|rule| format!("{name}: rule {rule}"));
        let facts = self.facts.iter().map(|fact| format!("{name}: fact {fact}"));
        let levels = (1..=self.replay_at_least.unwrap_or(0)).map(|level| format!("{name}: replay level {level}"));
        let flags = [(self.no_open_questions, "no open questions"), (self.covers_all, "coverage of all")];
        let flags = flags.into_iter().filter(|(is, _)| *is).map(|(_, what)| format!("{name}: {what}"));
        let command = self.command.iter().map(|command| format!("{name}: command {:?}", command.argv));
        rules.chain(facts).chain(levels).chain(flags).chain(command).collect()
    }
}

pub(super) fn section(report: &mut Report, root: &mut Keys, rules: &Rules, facts: &FactSection) -> Vec<Contract> {
    let mut out: Vec<Contract> = Vec::new();
    for mut keys in root.tables(report, "contract") {
        let place = keys.place.clone();
        let name = keys.required_str(report, "name");
        let holds = keys.strs(report, "holds");
        let holds = holds.into_iter().filter(|rule| {
            let is_known = rules.by_id.contains_key(&rule.value);
            if !is_known {
                let hint = nearest(&rule.value, rules.by_id.keys().map(String::as_str));
                report.error("FB0105", &rule.place, format!("no rule `{}`", clip(&rule.value)), hint);
            }
            is_known
        });
        let holds: Vec<String> = holds.map(|rule| rule.value).collect();
        let named = keys.strs(report, "facts");
        let named = named.into_iter().filter(|fact| is_fit(report, facts, fact)).map(|fact| fact.value).collect();
        let replay_at_least = keys.int(report, "replay_at_least").and_then(|level| {
            let read = u8::try_from(level.value).ok().filter(|level| (1..=5).contains(level));
            if read.is_none() {
                report.error("FB0103", &level.place, "`replay_at_least` is a replay level, 1 to 5", ());
            }
            read
        });
        let no_open_questions = keys.bool(report, "no_open_questions").is_some_and(|is| is.value);
        let covers_all = keys.choice(report, "coverage", &["all"]).is_some();
        let command = command(report, &mut keys);
        let is_empty = !["holds", "facts", "replay_at_least", "no_open_questions", "coverage", "command"]
            .into_iter()
            .any(|key| keys.has(key));
        keys.finish(report);
        let contract = Contract {
            name: name.map(|name| name.value).unwrap_or_default(),
            holds,
            facts: named,
            replay_at_least,
            no_open_questions,
            covers_all,
            command,
        };
        if is_empty {
            let message = format!("the contract `{}` asks for nothing", clip(&contract.name));
            report.error("FB0104", &place, message, "add `holds = [\"RULE\"]`, `facts`, `coverage = \"all\"`, …");
        }
        if out.iter().any(|other| other.name == contract.name) {
            let message = format!("two contracts are named `{}`", clip(&contract.name));
            report.error("FB0114", &place, message, "rename one");
        }
        out.push(contract);
    }
    out
}

fn command(report: &mut Report, keys: &mut Keys) -> Option<ContractCommand> {
    let argv: Vec<String> = keys.strs(report, "command").into_iter().map(|word| word.value).collect();
    let within = keys.duration(report, "within");
    if let Some(within) = &within {
        if !(1..=WITHIN_NS_MAX).contains(&within.value) {
            report.error("FB0103", &within.place, "`within` of a contract's command is at most `1h`, and not 0", ());
        } else if argv.is_empty() {
            report.error("FB0103", &within.place, "`within` is how long `command` may take, and there is none", ());
        }
    }
    let is_one_line = |only: &[String]| matches!(only, [line] if line.contains(char::is_whitespace));
    let is_wrong = argv.first().is_none_or(String::is_empty) || argv.iter().any(|word| word.contains('\0'));
    if keys.has("command") && (is_wrong || is_one_line(&argv)) {
        let message = "`command` is a list of a program and its arguments, which no shell reads";
        report.error("FB0103", &keys.place, message, "write `command = [\"cargo\", \"test\"]`");
        return None;
    }
    let within_ns = within.map_or(WITHIN_NS, |within| within.value);
    (!argv.is_empty()).then_some(ContractCommand { argv, within_ns })
}

/// Whether a fact has a truth at a session's end, where no action is judged.
fn is_fit(report: &mut Report, facts: &FactSection, fact: &At<String>) -> bool {
    let name = clip(&fact.value);
    let Some(kind) = facts.types.get(&fact.value) else {
        let hint = nearest(&fact.value, facts.types.keys().map(String::as_str));
        report.error("FB0105", &fact.place, format!("no fact `{name}`"), hint);
        return false;
    };
    if *kind != FactType::Bool {
        let hint = "compare it: `count … <= 3` is true or false";
        report.error("FB0103", &fact.place, format!("the fact `{name}` is a number, not true or false"), hint);
        return false;
    }
    let place = facts.facts.places().find(|(other, _)| *other == fact.value).map(|(_, place)| place);
    let dollars = place.map(|place| facts.facts.dollars(place)).unwrap_or_default();
    if let Some(dollar) = dollars.first() {
        let message = format!("the fact `{name}` reads `${dollar}` of an action, and there is none at the end");
        report.error("FB0103", &fact.place, message, "name a fact without `$`");
    }
    dollars.is_empty()
}
