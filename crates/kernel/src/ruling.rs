//! What the kernel says of an input.

mod digest;

use crate::action::Action;
use crate::text::Text;
use crate::vocabulary::{Consequence, Reversibility};
use serde::{Deserialize, Serialize};

pub use digest::ActionDigest;

/// What is to be done with an attempt. Ordered by strictness: `allow < modify < hold < deny`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Carry it out.
    Allow,
    /// Carry out [`Ruling::modified`] in its place.
    Modify,
    /// Ask people first.
    Hold,
    /// Refuse it.
    Deny,
}

/// One reason for a verdict. Sorted by `rule` within a ruling.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Reason {
    /// The rule's, envelope's or budget's id, or a kernel reason such as `no-rule-permits`, `session-quarantined`.
    pub rule: Text,
    /// Who answers for it; empty for the kernel's own.
    pub owner: Text,
    /// Why, in the charter's words.
    pub reason: Text,
    /// Entries of the stream that made it so, ascending.
    #[serde(default)]
    pub witnesses: Vec<u64>,
    /// What would make the same action pass, if anything is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub needs: Option<String>,
    /// `file:line` of the rule in the charter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Text>,
}

/// What the runtime must do beside giving the verdict.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "effect")]
pub enum Effect {
    /// Open (or hand to the next tier) a question on the attempt.
    Ask {
        /// The escalation path's tier.
        tier: String,
        /// Who may answer: owners' contacts.
        who: Vec<String>,
        /// How many must agree.
        quorum: u32,
        /// When it is answered for them, nanoseconds since the epoch.
        deadline_ns: u64,
        /// The first attempt of those that are one question with this one, where it is another.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        with: Option<u64>,
    },
    /// Budget reserved for the attempt.
    Reserve {
        /// The budget.
        budget: String,
        /// How much.
        amount: i64,
        /// What is used with it.
        used: i64,
        /// The limit.
        limit: i64,
    },
    /// A budget passed one of its `warn_at` fractions.
    Warn {
        /// The budget.
        budget: String,
        /// What is used.
        used: i64,
        /// The limit.
        limit: i64,
    },
    /// Autonomy was lowered or set.
    Autonomy {
        /// The level now.
        level: String,
        /// Why.
        because: String,
    },
    /// Something that people should see to.
    Alert {
        /// What kind: `questions`.
        alert: String,
        /// In words.
        because: String,
    },
    /// An obligation's deadline passed: the session must be paused, rolled back or killed as it says.
    Cause {
        /// `pause`, `rollback`, `quarantine`, `kill` or `escalate:PATH`.
        act: String,
        /// The obligation or rule.
        because: String,
        /// The entry that began it: `rollback` goes to just before it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        since: Option<u64>,
    },
}

/// How deeply an action is governed: the product of consequence and reversibility.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Governance {
    /// How much harm it can do.
    pub consequence: Consequence,
    /// What it takes to undo it.
    pub reversibility: Reversibility,
    /// Whether attempt and ruling must be durable before it takes effect.
    pub durable: bool,
    /// Whether the workspace is captured first.
    pub snapshot: bool,
    /// What is kept of what the action carries.
    #[serde(default)]
    pub record: Record,
    /// How many approvals it takes in any case.
    #[serde(default)]
    pub approvals: u32,
}

/// What is kept of what an action carries: a file's content, a request's body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Record {
    /// All of it.
    #[default]
    Payload,
    /// Its digest at least.
    Digest,
}

/// What the kernel says of one attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ruling {
    /// The attempt's entry.
    pub of: u64,
    /// What is to be done.
    pub verdict: Verdict,
    /// Why, sorted by rule; for an allow, the permits that let it through.
    pub reasons: Vec<Reason>,
    /// What the runtime must do besides.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub effects: Vec<Effect>,
    /// Digest of the action ruled on, `sha256:…`: what an approval is bound to.
    pub action: ActionDigest,
    /// The charter's digest, `sha256:…`.
    pub charter: Text,
    /// How deeply it is governed.
    pub governance: Governance,
    /// The changed action, for `modify`.
    pub modified: Option<Box<Action>>,
}
