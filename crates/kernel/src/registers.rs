//! What the kernel has counted so far, for people to look at. Reading changes nothing.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The registers of a session.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registers {
    /// `open`, `paused`, `quarantined` or `killed`.
    pub gate: String,
    /// What is used of each budget, by name, then agent. A budget of which nothing was used is there too.
    pub budgets: Vec<BudgetUse>,
    /// Where each envelope stands, by name, then resource. One that has seen no value yet is there too.
    pub envelopes: Vec<EnvelopeUse>,
    /// The autonomy level.
    #[serde(default)]
    pub autonomy: String,
    /// Labels of what was read and not declassified, each with the entry that read it first.
    #[serde(default)]
    pub labels: BTreeMap<String, u64>,
    /// Obligations that are open or were escalated, by name, then deadline.
    #[serde(default)]
    pub obligations: Vec<ObligationUse>,
    /// Owners who have questions open, by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub asked: Vec<OwnerLoad>,
}

/// How many questions an owner has open, and how many they get at once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnerLoad {
    /// The owner.
    pub owner: String,
    /// Questions that they are asked, however many actions each names.
    pub open: u64,
    /// From so many on, those of low or medium consequence are refused.
    pub small_max: u64,
    /// From so many on, all are.
    pub max: u64,
}

/// An obligation that isn't done with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObligationUse {
    /// The obligation.
    pub obligation: String,
    /// Who answers for it.
    pub owner: String,
    /// What its variables stand for: `i = "7"`.
    #[serde(default)]
    pub bound: String,
    /// The entry that began it.
    pub since: u64,
    /// When it must be met; nothing when that has passed, and it was escalated and not answered for yet.
    #[serde(default)]
    pub deadline_ns: Option<u64>,
}

/// What is used of a budget.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BudgetUse {
    /// The budget.
    pub budget: String,
    /// The agent that used it, where the budget is per agent; `owner NAME`, `fleet` or `day YYYY-MM-DD` where sessions share
    /// it, as last heard of; else empty.
    #[serde(default)]
    pub agent: String,
    /// What is used, reservations included.
    pub used: i64,
    /// How much of that is only reserved: for attempts whose outcome is not known yet.
    #[serde(default)]
    pub reserved: i64,
    /// The limit.
    pub limit: i64,
    /// Uses at which it is warned, ascending.
    #[serde(default)]
    pub warn_at: Vec<i64>,
}

/// Where a quantity stands within its envelope.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnvelopeUse {
    /// The envelope.
    pub envelope: String,
    /// What it is of: `deploy.scale.replicas`.
    pub of: String,
    /// The resource whose quantity it is; empty while nothing was set.
    #[serde(default)]
    pub resource: String,
    /// The value that was set last.
    pub value: Option<i64>,
    /// The least that it may be.
    pub min: Option<i64>,
    /// The most that it may be.
    pub max: Option<i64>,
    /// How far it may move, from each value within `per_ns`.
    pub step: Option<i64>,
    /// How often it may change within `per_ns`.
    pub rate: Option<i64>,
    /// The window, nanoseconds.
    pub per_ns: Option<u64>,
    /// Changes within the window.
    #[serde(default)]
    pub changes: u64,
}
