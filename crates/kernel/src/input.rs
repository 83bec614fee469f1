//! What the kernel is told: attempts, what became of them, people's answers and acts, and the passing of time.

use crate::budget::SharedFound;
use crate::facts::Phase;
use crate::{action::Action, action::Value, ruling::Verdict, session::Session};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// One input of [`crate::Kernel::step`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Input {
    /// The number, in the session's stream, of the entry that records this input. Strictly increasing.
    pub seq: u64,
    /// When it happened, nanoseconds since the Unix epoch. Never runs backwards within a session: the kernel refuses
    /// an input that is earlier than the one before.
    pub at_ns: u64,
    /// What happened.
    pub event: Event,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// An agent asks to do this. Gives exactly one ruling.
    Attempt(Action),
    /// An attempt that one let through earlier had named beforehand: a script's write, foreseen when its shell was started.
    /// What people allowed then stands for it once, if it is that very action. Gives exactly one ruling.
    Expected {
        /// The attempt that named it.
        of: u64,
        /// What is done.
        action: Action,
    },
    /// One of several attempts that are asked for at once: a command's, or those of all files that one barrier judges. Those of
    /// a batch that people are asked about in the same tiers are one question. Gives exactly one ruling.
    Together {
        /// The batch's first attempt; its own number for that one.
        batch: u64,
        /// The attempt that named it beforehand, as of [`Event::Expected`].
        of: Option<u64>,
        /// What is asked for.
        action: Action,
    },
    /// An allowed attempt is being carried out: from here on facts count it as `did`.
    Dispatch {
        /// The attempt's entry.
        of: u64,
    },
    /// What became of a dispatched attempt: from here on facts see its `result`.
    Outcome {
        /// The attempt's entry.
        of: u64,
        /// Whether it did what it was to do.
        ok: bool,
        /// `exit`, `rows`, `digest`, … as the verb's outcome has them.
        #[serde(default)]
        attrs: BTreeMap<String, Value>,
    },
    /// An allowed or held attempt will not be carried out (a sibling was refused, the asker died): what it reserved is
    /// given back, its question withdrawn.
    Withdraw {
        /// The attempt's entry.
        of: u64,
    },
    /// Something seen of the world that no action of the agent's made.
    Observe {
        /// What was seen, by name.
        #[serde(default)]
        attrs: BTreeMap<String, Value>,
    },
    /// What registers that sessions share were found to hold, and what of them the next attempt or answer may take.
    Shared {
        /// Each register.
        found: Vec<SharedFound>,
    },
    /// What happened in another session of the same ledger, told in the order in which that records it: facts with
    /// `per = "fleet"` see it, and nothing else does.
    Elsewhere(Box<Elsewhere>),
    /// Files that carry labels from earlier sessions.
    Labelled {
        /// The labels by path.
        files: BTreeMap<String, BTreeSet<String>>,
    },
    /// A person's answer to a held attempt. Gives a ruling on that attempt.
    Answer {
        /// The held attempt's entry.
        of: u64,
        /// The digest of the action that the person saw ([`crate::Ruling::action`]); another one is refused.
        action: String,
        /// `allow`, `deny`, or `modify` together with `with`.
        verdict: Verdict,
        /// The changed action, for `modify`.
        #[serde(default)]
        with: Option<Box<Action>>,
        /// Who answers, an owner's contact as the charter names it.
        by: String,
        /// Why.
        reason: String,
    },
    /// A person's (or the charter's) act on the session.
    Control {
        /// `pause`, `resume`, `quarantine`, `kill`; `autonomy` or `declassify` together with `level`.
        act: String,
        /// The new autonomy level, for `autonomy`; the label, for `declassify`.
        #[serde(default)]
        level: Option<String>,
        /// Who.
        by: String,
        /// Why.
        reason: String,
    },
    /// Time passes: deadlines that have come are acted on.
    Tick,
}

impl Event {
    /// Whether the kernel gives a ruling of its own on it: an attempt or an answer.
    #[must_use]
    pub fn is_ruled_on(&self) -> bool {
        matches!(self, Self::Attempt(_) | Self::Expected { .. } | Self::Together { .. } | Self::Answer { .. })
    }
}

/// An event of another session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Elsewhere {
    /// The stream of that session.
    pub stream: String,
    /// The event's entry there.
    pub seq: u64,
    /// When it happened. One that is learnt after a later one counts as of that one's time.
    pub at_ns: u64,
    /// Where that session runs.
    pub session: Session,
    /// What became of the action then.
    pub phase: Phase,
    /// The action.
    pub action: Action,
    /// Of a result: whether it did what it was to do.
    #[serde(default)]
    pub ok: bool,
    /// Of a result: what its outcome carried.
    #[serde(default)]
    pub attrs: BTreeMap<String, Value>,
}
