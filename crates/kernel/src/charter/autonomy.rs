//! `[autonomy]`: how far the agent may go by itself, and what lowers that.

use super::escalation::{Tier, known};
use super::report::{Report, clip, nearest};
use super::schema::FactType;
use super::table::Keys;
use crate::facts;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How far an agent may go. Ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Every effect is refused.
    Observe,
    /// Every effect is asked about.
    Propose,
    /// The rules decide.
    Bounded,
    /// The rules decide, and may let more through (`context.autonomy`).
    Extended,
}

impl Level {
    const ALL: [Level; 4] = [Level::Observe, Level::Propose, Level::Bounded, Level::Extended];

    /// Its name, as charters write it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Level::Observe => "observe",
            Level::Propose => "propose",
            Level::Bounded => "bounded",
            Level::Extended => "extended",
        }
    }

    /// The level of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Level> {
        Self::ALL.into_iter().find(|l| l.name() == name)
    }

    /// What rules see as `context.autonomy`: 0 for observe to 3 for extended.
    #[must_use]
    pub fn index(self) -> i64 {
        match self {
            Level::Observe => 0,
            Level::Propose => 1,
            Level::Bounded => 2,
            Level::Extended => 3,
        }
    }
}

/// `[autonomy]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Autonomy {
    /// The levels that sessions of this charter may have.
    pub levels: Vec<Level>,
    /// The one that they start with.
    pub start: Level,
    /// The path that is asked about effects at level `propose`.
    pub ask: Option<String>,
    /// Facts that lower it, and to what.
    pub lower: Vec<(String, Level)>,
}

impl Default for Autonomy {
    fn default() -> Self {
        Self { levels: Level::ALL.to_vec(), start: Level::Bounded, ask: None, lower: Vec::new() }
    }
}

pub(crate) fn section(
    report: &mut Report,
    root: &mut Keys,
    tiers: &BTreeMap<String, Tier>,
    fact_types: &BTreeMap<String, FactType>,
) -> Autonomy {
    // With one path there is no doubt whom to ask.
    let only = if tiers.len() == 1 { tiers.keys().next().cloned() } else { None };
    let Some(mut keys) = root.table(report, "autonomy") else { return Autonomy { ask: only, ..Autonomy::default() } };
    let mut out = Autonomy::default();
    let mut levels = Vec::new();
    for text in keys.strs(report, "levels") {
        match Level::named(&text.value) {
            Some(level) if levels.last().is_some_and(|last| *last >= level) => {
                let message = format!("`{}` is out of order", text.value);
                report.error("FB0151", &text.place, message, "from least to most: observe, propose, bounded, extended");
            }
            Some(level) => levels.push(level),
            None => unknown(report, &text),
        }
    }
    if !levels.is_empty() {
        out.levels = levels;
    }
    if let Some(start) = keys.str(report, "start") {
        match Level::named(&start.value) {
            Some(level) => out.start = level,
            None => unknown(report, &start),
        }
    } else if !out.levels.contains(&out.start) {
        report.error(
            "FB0151",
            &keys.place,
            "[autonomy] does not say at which level a session starts",
            "add `start = \"…\"`",
        );
    }
    if !out.levels.contains(&out.start) && !report.has_errors() {
        let message = format!("`start` is `{}`, which is not among the levels", out.start.name());
        report.error("FB0151", &keys.place, message, ());
    }
    out.ask = match keys.str(report, "ask") {
        Some(path) => known(report, tiers, &path).then_some(path.value),
        None => only,
    };
    let needs_ask = out.levels.contains(&Level::Propose) && out.ask.is_none();
    if needs_ask && !report.has_errors() {
        let hint = "add `ask = \"PATH\"`: the escalation path for effects at level `propose`";
        report.error("FB0151", &keys.place, "[autonomy] has level `propose` and nobody to ask", hint);
    }
    for mut row in keys.tables(report, "lower") {
        let when = row.required_str(report, "when");
        let to = row.required_str(report, "to");
        row.finish(report);
        let (Some(when), Some(to)) = (when, to) else { continue };
        match facts::known(report, fact_types, &when) {
            Some(FactType::Long) => {
                let message = format!("fact `{}` is a number", clip(&when.value));
                report.error("FB0122", &when.place, message, "compare it in a fact of its own: `… >= 3`");
            }
            Some(FactType::Bool) => match Level::named(&to.value) {
                Some(level) if out.levels.contains(&level) => out.lower.push((when.value, level)),
                _ => unknown(report, &to),
            },
            None => {}
        }
    }
    keys.finish(report);
    out
}

fn unknown(report: &mut Report, text: &super::report::At<String>) {
    let hint = nearest(&text.value, Level::ALL.map(Level::name));
    report.error("FB0105", &text.place, format!("no autonomy level `{}` here", clip(&text.value)), hint);
}
