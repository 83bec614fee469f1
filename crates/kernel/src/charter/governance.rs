//! How deeply an action is governed: a table of consequence by reversibility, which `[[governance]]` tightens.

use super::escalation::{Tier, known};
use super::report::Report;
use super::table::Keys;
use crate::ruling::{Governance, Record};
use crate::vocabulary::{Consequence, Reversibility};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

/// A row of `[[governance]]`: what more is done for actions of at least that consequence that are at least as hard to undo.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct GovernanceRow {
    consequence: Consequence,
    reversibility: Reversibility,
    durable: bool,
    snapshot: bool,
    payload: bool,
    /// The path that is asked first.
    ask: Option<String>,
}

impl GovernanceRow {
    /// Whether this does all that the other does, wherever it does.
    pub fn covers(&self, other: &Self) -> bool {
        let has = |own: bool, others: bool| own || !others;
        self.consequence <= other.consequence
            && self.reversibility <= other.reversibility
            && has(self.durable, other.durable)
            && has(self.snapshot, other.snapshot)
            && has(self.payload, other.payload)
            && (other.ask.is_none() || self.ask == other.ask)
    }
}

const CONSEQUENCES: [(&str, Consequence); 4] = [
    ("low", Consequence::Low),
    ("medium", Consequence::Medium),
    ("high", Consequence::High),
    ("critical", Consequence::Critical),
];
const REVERSIBILITIES: [(&str, Reversibility); 4] = [
    ("pure", Reversibility::Pure),
    ("idempotent", Reversibility::Idempotent),
    ("compensatable", Reversibility::Compensatable),
    ("irreversible", Reversibility::Irreversible),
];

impl Governance {
    /// The built-in table: whatever the charter adds, an action is governed at least so.
    pub(crate) fn of(consequence: Consequence, reversibility: Reversibility) -> Self {
        let is_final = reversibility == Reversibility::Irreversible;
        let is_pure = reversibility == Reversibility::Pure;
        let is_light = consequence == Consequence::Low && reversibility <= Reversibility::Idempotent;
        Self {
            consequence,
            reversibility,
            durable: consequence >= Consequence::High || is_final,
            snapshot: !is_pure
                && (consequence >= Consequence::High || (is_final && consequence >= Consequence::Medium)),
            record: if is_light { Record::Digest } else { Record::Payload },
            approvals: 0,
        }
    }
}

pub(crate) fn section(report: &mut Report, root: &mut Keys, tiers: &BTreeMap<String, Tier>) -> Vec<GovernanceRow> {
    let mut rows = Vec::new();
    for mut keys in root.tables(report, "governance") {
        let named = |found: Option<super::report::At<String>>| found.map(|f| f.value).unwrap_or_default();
        let consequence = named(keys.choice(report, "consequence", &CONSEQUENCES.map(|(name, _)| name)));
        let reversibility = named(keys.choice(report, "reversibility", &REVERSIBILITIES.map(|(name, _)| name)));
        let mut tightened = |key: &'static str| {
            let Some(wanted) = keys.bool(report, key) else { return false };
            if !wanted.value {
                report.error(
                    "FB0153",
                    &wanted.place,
                    format!("`{key} = false` would loosen the table"),
                    "leave it out",
                );
            }
            wanted.value
        };
        let (durable, snapshot) = (tightened("durable"), tightened("snapshot"));
        let record = keys.choice(report, "record", &["payload", "digest"]);
        if let Some(digest) = record.as_ref().filter(|r| r.value == "digest") {
            report.error("FB0153", &digest.place, "`record = \"digest\"` would loosen the table", "leave it out");
        }
        let ask = keys.str(report, "ask").filter(|path| known(report, tiers, path)).map(|path| path.value);
        let payload = record.is_some();
        if !durable && !snapshot && !payload && ask.is_none() && !report.has_errors() {
            let hint = "add `durable = true`, `snapshot = true`, `record = \"payload\"` or `ask = \"PATH\"`";
            report.error("FB0153", &keys.place, "[[governance]] tightens nothing", hint);
        }
        keys.finish(report);
        let find = |name: &str| CONSEQUENCES.iter().find(|(n, _)| *n == name).map_or(Consequence::Low, |(_, c)| *c);
        let undo =
            |name: &str| REVERSIBILITIES.iter().find(|(n, _)| *n == name).map_or(Reversibility::Pure, |(_, r)| *r);
        let (consequence, reversibility) = (find(&consequence), undo(&reversibility));
        rows.push(GovernanceRow { consequence, reversibility, durable, snapshot, payload, ask });
    }
    rows
}

fn matching<'r>(rows: &'r [GovernanceRow], of: &Governance) -> impl Iterator<Item = &'r GovernanceRow> {
    let (consequence, reversibility) = (of.consequence, of.reversibility);
    rows.iter().filter(move |row| consequence >= row.consequence && reversibility >= row.reversibility)
}

/// What the table says of an action, tightened by the charter's rows.
pub(crate) fn depth(
    rows: &[GovernanceRow],
    tiers: &BTreeMap<String, Tier>,
    consequence: Consequence,
    reversibility: Reversibility,
) -> Governance {
    let table = Governance::of(consequence, reversibility);
    let mut out = table;
    for row in matching(rows, &table) {
        out.durable |= row.durable;
        out.snapshot |= row.snapshot;
        out.record = if row.payload { Record::Payload } else { out.record };
    }
    if rows.is_empty() {
        return out;
    }
    out.approvals = asked(rows, &out).iter().filter_map(|path| tiers.get(*path)).map(|tier| tier.quorum).sum();
    out
}

/// The paths that are asked before an action governed so.
pub(crate) fn asked<'r>(rows: &'r [GovernanceRow], of: &Governance) -> BTreeSet<&'r str> {
    matching(rows, of).filter_map(|row| row.ask.as_deref()).collect()
}

/// The table as comments of the schema.
pub(crate) fn table_text(rows: &[GovernanceRow], tiers: &BTreeMap<String, Tier>) -> String {
    let mut out = String::from("\n// How deeply an action is governed, by consequence and reversibility:\n");
    for (consequence, c) in CONSEQUENCES {
        for (reversibility, r) in REVERSIBILITIES {
            let depth = depth(rows, tiers, c, r);
            let mut said = vec![if depth.record == Record::Payload { "payload" } else { "digest" }.to_owned()];
            said.extend(depth.durable.then(|| "durable first".to_owned()));
            said.extend(depth.snapshot.then(|| "snapshot first".to_owned()));
            let asked: Vec<&str> = asked(rows, &depth).into_iter().collect();
            said.extend(
                (depth.approvals > 0).then(|| format!("{} approvals by {}", depth.approvals, asked.join(", "))),
            );
            // Writing to a String can't fail.
            let _ = writeln!(out, "//   {consequence:8}  {reversibility:13}  {}", said.join(", "));
        }
    }
    out
}
