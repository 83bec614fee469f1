//! Which surfaces of this version bring which verbs to the rules, and so which rules can be triggered.

use crate::action::Surface;
use crate::charter::{Charter, Rule};
use crate::vocabulary::{Verb, verbs};
use serde::Serialize;
use std::collections::BTreeMap;

/// How far a surface brings a verb's actions to the rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reach {
    /// As far as a command's arguments, a written file, or a tool's call tell of it.
    Told,
    /// Each one, before it takes effect.
    Each,
}

/// The surfaces that this version mediates, in the order of tables.
pub const SURFACES: &[Surface] =
    &[Surface::Exec, Surface::Fs, Surface::Net, Surface::Http, Surface::Hook, Surface::Mcp];

/// What each surface brings. The one place that says so: a surface that is built adds itself here.
const MEDIATED: &[(Surface, Reach, &[&str])] = &[
    (Surface::Exec, Reach::Each, &["process.exec"]),
    (Surface::Exec, Reach::Told, &["fs", "git", "pr", "deploy", "dependency", "http.request", "agent.spawn"]),
    (Surface::Fs, Reach::Each, &["fs"]),
    (Surface::Fs, Reach::Told, &["dependency"]),
    (Surface::Net, Reach::Each, &["net"]),
    (Surface::Http, Reach::Each, &["http.request", "git.push", "pr", "deploy", "model.call"]),
    // An agent can go round its hooks, and a program does what no call told.
    (
        Surface::Hook,
        Reach::Told,
        &[
            "fs",
            "process.exec",
            "net.connect",
            "http.request",
            "tool.call",
            "git",
            "pr",
            "deploy",
            "dependency",
            "agent.spawn",
            "state.write",
        ],
    ),
    // The gateway is the one way to the servers behind it; what a server does then is known by its tools' names.
    (Surface::Mcp, Reach::Each, &["tool"]),
    (
        Surface::Mcp,
        Reach::Told,
        &["fs", "net.connect", "http.request", "data", "git", "pr", "dependency", "model.call"],
    ),
];

fn is_named(verb: Verb, names: &[&str]) -> bool {
    names.iter().any(|n| *n == verb.name() || *n == verb.group())
}

/// The surfaces that bring a verb, and how far: this version's, and those by which tools and requests come of which the charter says
/// what they are.
pub(super) fn brought(verb: Verb, charter: &Charter) -> impl Iterator<Item = (Surface, Reach)> {
    let own = charter.servers().tools.iter().any(|row| row.verb == verb);
    let by_tools = [Surface::Hook, Surface::Mcp].into_iter().filter(move |_| own).map(|surface| (surface, Reach::Told));
    let asked = charter.http().reads.iter().any(|row| row.does().is_some_and(|does| does.verb == verb));
    let by_requests = asked.then_some((Surface::Http, Reach::Each));
    let rows = MEDIATED.iter().filter(move |(_, _, names)| is_named(verb, names));
    rows.map(|(surface, reach, _)| (*surface, *reach)).chain(by_tools).chain(by_requests)
}

/// How far each surface brings a verb in some kind of session; none for a verb that nothing mediates in this version.
#[must_use]
pub fn reach(verb: Verb, charter: &Charter) -> BTreeMap<Surface, Reach> {
    let mut out = BTreeMap::new();
    for (surface, reach) in brought(verb, charter) {
        // Without these settings the system's calls that read are not decided, nor what goes over a connection.
        let is_off = match surface {
            Surface::Fs => verb.name() == "fs.read" && !charter.sandbox().mediate_reads,
            Surface::Http => !charter.http().opens,
            _ => false,
        };
        if !is_off {
            let there = out.entry(surface).or_insert(reach);
            *there = (*there).max(reach);
        }
    }
    out
}

/// Whether anything in this version brings the verb's actions to the rules.
pub(crate) fn is_mediated(verb: Verb, charter: &Charter) -> bool {
    !reach(verb, charter).is_empty()
}

/// A row of the table of rules and surfaces.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RuleCoverage {
    /// The rule.
    pub rule: String,
    /// By surface, how far its verbs come through it.
    pub surfaces: BTreeMap<&'static str, Reach>,
    /// Its verbs that nothing in this version mediates.
    pub unmediated: Vec<&'static str>,
}

/// The table for all rules, by id.
#[must_use]
pub fn coverage(charter: &Charter) -> Vec<RuleCoverage> {
    charter.rules().iter().map(|rule| of_rule(charter, rule)).collect()
}

fn of_rule(charter: &Charter, rule: &Rule) -> RuleCoverage {
    let mut surfaces: BTreeMap<&'static str, Reach> = BTreeMap::new();
    let mut unmediated = Vec::new();
    for verb in verbs().filter(|v| rule.verbs.contains(&v.name())) {
        let reach = reach(verb, charter);
        if reach.is_empty() {
            unmediated.push(verb.name());
        }
        for (surface, reach) in reach {
            let there = surfaces.entry(surface.name()).or_insert(reach);
            *there = (*there).max(reach);
        }
    }
    RuleCoverage { rule: rule.id.clone(), surfaces, unmediated }
}
