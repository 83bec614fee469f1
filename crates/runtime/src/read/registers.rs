//! What a session has counted, owes and carries, for people: as its supervisor says, or as its close tells.

use super::session::text;
use crate::clock::rfc3339;
use crate::control;
use flyball_kernel::{BudgetUse, EnvelopeUse, OwnerLoad, Registers};
use flyball_ledger::{Entry, Kind, Ledger};
use serde::Serialize;
use serde_json::Value as Json;
use std::collections::BTreeMap;
use std::time::Duration;

/// A supervisor that does not answer within this is taken to be silent.
const STATUS_WAIT: Duration = Duration::from_secs(5);

/// The registers of a session.
#[derive(Clone, Debug, Serialize)]
pub struct RegistersView {
    /// `live` as the supervisor says now, or `close` as they stood at the end.
    pub as_of: &'static str,
    /// `open`, `paused`, `quarantined` or `killed`.
    pub gate: String,
    /// How far the agent may go by itself.
    pub autonomy: AutonomyView,
    /// What is used of each budget, reservations included. Those of an owner, a day or the fleet are shared with other
    /// sessions, as this one heard last.
    pub budgets: Vec<BudgetUse>,
    /// Where each envelope stands.
    pub envelopes: Vec<EnvelopeUse>,
    /// What is owed.
    pub obligations: Vec<Owed>,
    /// Labels of what was read, each with the entry that read it first.
    pub labels: BTreeMap<String, u64>,
    /// Owners who have questions open.
    pub asked: Vec<OwnerLoad>,
}

/// The autonomy level, and what set it.
#[derive(Clone, Debug, Default, Serialize)]
pub struct AutonomyView {
    /// The level.
    pub level: String,
    /// The entry that set it; nothing while it is as it began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<u64>,
    /// Who or what did, and why.
    pub because: String,
}

/// An obligation that isn't done with.
#[derive(Clone, Debug, Serialize)]
pub struct Owed {
    /// The obligation.
    pub obligation: String,
    /// Who answers for it.
    pub owner: String,
    /// What its variables stand for.
    pub bound: String,
    /// The entry that began it.
    pub since: u64,
    /// When it must be met; nothing when that has passed, and it was escalated and not answered for yet.
    pub deadline: Option<String>,
}

/// The registers of a session that runs, or that was closed; `None` where nobody tells. `levels` has of each autonomy level
/// what set it last.
pub(super) fn view(
    ledger: &Ledger,
    session: &str,
    close: Option<&Entry>,
    is_live: bool,
    levels: &BTreeMap<String, Levelled>,
) -> Option<RegistersView> {
    let (as_of, found) = if is_live {
        ("live", control::status(ledger.dir(), session, STATUS_WAIT).ok().map(|s| s.registers))
    } else {
        let told = close.and_then(|e| e.body.get("registers"));
        ("close", told.and_then(|r| serde_json::from_value(r.clone()).ok()))
    };
    found.map(|registers| told(as_of, registers, levels))
}

fn told(as_of: &'static str, registers: Registers, levels: &BTreeMap<String, Levelled>) -> RegistersView {
    let owed = registers.obligations.into_iter().map(|o| Owed {
        obligation: o.obligation,
        owner: o.owner,
        bound: o.bound,
        since: o.since,
        deadline: o.deadline_ns.map(rfc3339),
    });
    RegistersView {
        as_of,
        gate: registers.gate,
        autonomy: autonomy(registers.autonomy, levels),
        budgets: registers.budgets,
        envelopes: registers.envelopes,
        obligations: owed.collect(),
        labels: registers.labels,
        asked: registers.asked,
    }
}

/// The entry that set an autonomy level, and who or what did.
pub(super) type Levelled = (u64, String);

/// The levels that an entry sets, by a ruling's effects or a person's act.
pub(super) fn levelled(entry: &Entry) -> Vec<(String, Levelled)> {
    match entry.kind {
        Kind::Intervention if text(&entry.body, "act") == "autonomy" => {
            let (by, reason) = (text(&entry.body, "by"), text(&entry.body, "reason"));
            let reason = if reason.is_empty() { String::new() } else { format!(": {reason}") };
            vec![(text(&entry.body, "level"), (entry.seq, format!("set by {by}{reason}")))]
        }
        Kind::Ruling => {
            let effects = entry.body.get("effects").and_then(Json::as_array).into_iter().flatten();
            let lowered = effects.filter(|e| e.get("effect").is_some_and(|effect| effect == "autonomy"));
            let told = |e| (text(e, "level"), (entry.seq, format!("lowered: {}", text(e, "because"))));
            lowered.map(told).collect()
        }
        _ => Vec::new(),
    }
}

fn autonomy(level: String, levels: &BTreeMap<String, Levelled>) -> AutonomyView {
    match levels.get(&level).cloned() {
        Some((since, because)) => AutonomyView { level, since: Some(since), because },
        None => AutonomyView { level, since: None, because: "as the charter starts".to_owned() },
    }
}
