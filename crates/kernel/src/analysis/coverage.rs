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
    /// As far as a command's arguments, or a written file, tell of it.
    Told,
    /// Each one, before it takes effect.
    Each,
}

/// The surfaces that this version mediates, in the order of tables.
pub const SURFACES: &[Surface] = &[Surface::Exec, Surface::Fs, Surface::Net];

/// What each surface brings. The one place that says so: a surface that is built adds itself here.
const MEDIATED: &[(Surface, Reach, &[&str])] = &[
    (Surface::Exec, Reach::Each, &["process.exec"]),
    (Surface::Exec, Reach::Told, &["fs", "git", "pr", "deploy", "dependency", "http.request"]),
    (Surface::Fs, Reach::Each, &["fs"]),
    (Surface::Fs, Reach::Told, &["dependency"]),
    (Surface::Net, Reach::Each, &["net"]),
];

/// How far each surface brings a verb; none for a verb that nothing mediates in this version.
#[must_use]
pub fn reach(verb: Verb, charter: &Charter) -> BTreeMap<Surface, Reach> {
    let mut out = BTreeMap::new();
    for (surface, reach, names) in MEDIATED {
        let is_named = names.iter().any(|n| *n == verb.name() || *n == verb.group());
        // Without this setting the system's calls that read are not decided.
        let is_unread = verb.name() == "fs.read" && *surface == Surface::Fs && !charter.sandbox().mediate_reads;
        if is_named && !is_unread {
            let there = out.entry(*surface).or_insert(*reach);
            *there = (*there).max(*reach);
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
