//! Rules and surfaces: what is enforced, observed only, or not mediated.

use crate::output::{Cell, Output, Style, table, visible};
use flyball_kernel::Charter;
use flyball_kernel::analysis::{
    Doors, Mediation, RuleMediation, SURFACES, SessionCoverage, SessionKind, session_coverage,
};
use serde::Serialize;

/// What the cells of [`cells`] mean.
pub const LEGEND: &str = "x enforced, ~ observed only (as far as a command's arguments, a written file, a hook or a tool tell), · not mediated. \
                          By surface the best of a rule's verbs; by kind of session whatever its verbs are there";

/// What each kind of session that this version has makes of a charter's rules.
pub fn of_kinds(charter: &Charter) -> Vec<SessionCoverage> {
    kinds().map(|kind| session_coverage(charter, &Doors::of(kind))).collect()
}

fn kinds() -> impl Iterator<Item = SessionKind> {
    let has_gateway = SURFACES.contains(&flyball_kernel::Surface::Mcp);
    SessionKind::ALL.into_iter().filter(move |kind| has_gateway || *kind != SessionKind::Gateway)
}

/// Headings of [`cells`].
pub fn headings() -> impl Iterator<Item = String> {
    kinds().map(|kind| kind.name().to_uppercase())
}

/// The rule's state in each kind of session, in one sign for each that its verbs have.
pub fn cells(kinds: &[SessionCoverage], rule: usize) -> Vec<Cell> {
    let cell = |coverage: &SessionCoverage| {
        let Some(row) = coverage.rules.get(rule) else { return Cell::new("") };
        let signs = [("x", &row.enforced), ("~", &row.observed), ("·", &row.not_mediated)];
        let said: String = signs.into_iter().filter(|(_, verbs)| !verbs.is_empty()).map(|(sign, _)| sign).collect();
        // A rule without verbs has nothing to bring.
        Cell::new(if said.is_empty() { "·".to_owned() } else { said })
    };
    kinds.iter().map(cell).collect()
}

/// A rule in one kind of session, for `check --json`.
#[derive(Serialize)]
pub struct OfKind<'c> {
    kind: SessionKind,
    #[serde(flatten)]
    row: &'c RuleMediation,
}

/// A rule in each kind of session.
pub fn of_rule(kinds: &[SessionCoverage], rule: usize) -> Vec<OfKind<'_>> {
    kinds.iter().filter_map(|c| Some(OfKind { kind: c.kind, row: c.rules.get(rule)? })).collect()
}

/// Why verbs that a surface brings one by one are only observed.
pub fn gaps(out: Output, kinds: &[SessionCoverage]) {
    for coverage in kinds {
        for gap in &coverage.gaps {
            let kind = coverage.kind.name();
            out.line(&format!("{} in `{kind}`: {}", out.paint(Style::Yellow, "observed only"), visible(gap)));
        }
    }
}

/// One session's table.
pub fn session(out: Output, coverage: &SessionCoverage) {
    out.line("");
    let mut headings = vec!["RULE"];
    headings.extend(&coverage.surfaces);
    headings.push("IN THIS SESSION");
    let row = |rule: &RuleMediation| {
        let mut cells = vec![Cell::new(&rule.rule)];
        cells.extend(coverage.surfaces.iter().map(|surface| {
            Cell::new(match rule.surfaces.get(surface) {
                Some(Mediation::Enforced) => "x",
                Some(Mediation::Observed) => "~",
                None => "·",
            })
        }));
        let (text, style) = match rule.state() {
            Some(Some(Mediation::Enforced)) => (Mediation::name(Some(Mediation::Enforced)).to_owned(), Style::Green),
            Some(state) => (Mediation::name(state).to_owned(), Style::Yellow),
            None => (mixed(rule), Style::Yellow),
        };
        cells.push(Cell::new(text).styled(style));
        cells
    };
    table(out, &headings, &coverage.rules.iter().map(row).collect::<Vec<_>>());
    gaps(out, std::slice::from_ref(coverage));
}

/// Verbs of a mixed rule that are named.
const NAMED_MAX: usize = 3;

fn mixed(rule: &RuleMediation) -> String {
    let states = [
        (Some(Mediation::Enforced), &rule.enforced),
        (Some(Mediation::Observed), &rule.observed),
        (None, &rule.not_mediated),
    ];
    let parts = states.into_iter().filter(|(_, verbs)| !verbs.is_empty()).map(|(state, verbs)| {
        let named = if verbs.len() > NAMED_MAX { format!("{} verbs", verbs.len()) } else { verbs.join(", ") };
        format!("{}: {named}", Mediation::name(state))
    });
    parts.collect::<Vec<_>>().join("; ")
}
