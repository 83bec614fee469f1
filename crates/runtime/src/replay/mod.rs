//! What a record supports, and whether it says the same again: the event log (level 1), the graph of causes (2), and the
//! audit reconstruction (3), in which every ruling is made again from its recorded inputs and compared in bytes.
//!
//! INVARIANT: a level is reached only where nothing stands in its way; what stands there is named by its entry.

pub(crate) mod differ;
mod player;
mod state;
mod survey;
mod told;

pub(crate) use player::{Player, Took, session};
pub use state::{Standing, StateAt, state};
pub(crate) use told::{Stored, Told, Untold};

use flyball_ledger::{Ledger, LedgerError};
use serde::Serialize;
use serde_json::Value as Json;

/// The highest level that this flyball can replay.
pub const LEVEL_MAX: u8 = 5;
/// Obstacles that are named of one level; of more only the number is told.
const NAMED_MAX: usize = 32;

/// What stands in the way of a level.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Obstacle {
    /// The entry.
    pub seq: u64,
    /// Why.
    pub why: String,
}

/// A level that a run supports, or does not.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Level {
    /// 1 to 5.
    pub level: u8,
    /// What it is called.
    pub name: &'static str,
    /// What stands in its way, by entry; the first of them.
    pub obstacles: Vec<Obstacle>,
    /// How many more there are.
    pub further: u64,
}

/// Where the record and what was made of it again differ.
#[derive(Clone, Debug, Serialize)]
pub struct Difference {
    /// The entry.
    pub seq: u64,
    /// The first field that differs, as a JSON pointer; empty for the whole.
    pub field: String,
    /// What is on record there.
    pub recorded: Json,
    /// What it is by now.
    pub recomputed: Json,
}

/// What a look at a whole record found.
#[derive(Clone, Debug, Serialize)]
pub struct Levels {
    /// The session.
    pub session: String,
    /// The highest level without an obstacle at it or below.
    pub level: u8,
    /// The highest level that can be tried: what may stand in the way of it is told, and only trying shows whether it does.
    #[serde(skip)]
    pub tried: u8,
    /// Each level, from 1.
    pub levels: Vec<Level>,
    /// Entries looked at.
    pub entries: u64,
    /// Rulings that were made again.
    pub rulings: u64,
    /// The first ruling, or other thing the kernel said, that is another by now.
    pub difference: Option<Difference>,
    /// Attempts whose ruling is not on record, since their supervisor died in between: they were not carried out.
    pub unrecorded: Vec<u64>,
    /// Entries with a charter that this version compiles to another digest; rulings were compared with the recorded one.
    pub recompiled: Vec<u64>,
}

/// What came of a replay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// All of the level is as it was.
    Match,
    /// Something is not.
    Diverged,
    /// The record lacks what it takes to tell.
    Inconclusive,
}

/// A replay at a level.
#[derive(Clone, Debug, Serialize)]
pub struct Replayed {
    /// What was asked for.
    pub asked: u8,
    /// What came of it.
    pub result: Outcome,
    /// The entry at which it diverged.
    pub at: Option<u64>,
    /// The program's run again, from level 4 on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rerun: Option<crate::rerun::Rerun>,
    /// The record and its levels.
    #[serde(flatten)]
    pub found: Levels,
}

/// A replay could not be begun.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The ledger can't be read.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// A level that this version does not replay.
    #[error("level {0} can't be replayed by this flyball: {LEVEL_MAX} is the highest")]
    Level(u8),
    /// Something on the way to a step can't be read.
    #[error("the state can't be made: entry {seq}: {why}")]
    State {
        /// The entry.
        seq: u64,
        /// Why not.
        why: String,
    },
}

impl ReplayError {
    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Ledger(error) => error.code(),
            Self::Level(_) => "FB0600",
            Self::State { .. } => "FB0603",
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::Ledger(error) => error.hint(),
            Self::Level(_) => {
                "`flyball show S` says which levels the record supports, and what stands in the way".to_owned()
            }
            Self::State { .. } => "`flyball show S` names what stands in the way of level 3".to_owned(),
        }
    }
}

/// Codes of replays and backtests, FB0600 to FB0619: code, title, page.
pub static CODES: &[(&str, &str, &str)] = &[
    ("FB0600", "no such replay level", "\
Level 1 is the event log, every entry in order and verified; level 2 the graph of causes; level 3 the audit reconstruction, in
which each ruling is made again and compared in bytes; level 4 the operational replay, in which the program of a run with `--record` is run
again; level 5 the deterministic replay, in which it is given the time and random bytes of then, and writes the same."),
    ("FB0601", "report can't be written", "\
The file that `backtest --html` names could not be written; the message says why. Nothing else was lost: the backtest changes
nothing."),
    ("FB0603", "state can't be made", "\
The kernel's state at a step is made from all that it was told before. The message names the entry that is gone or can't be
read; up to the one before it, `flyball at S SEQ --state` still tells."),
    ("FB0602", "no session to look at", "`--since` leaves no session of this ledger. Give a longer age, or name sessions."),
];

/// Replays a session: verifies its record, and at level 3 makes every ruling again under the charters that were in force.
///
/// # Errors
/// [`ReplayError`] when the ledger can't be read, or this version has no such level.
pub fn replay(ledger: &Ledger, session: &str, level: u8) -> Result<Replayed, ReplayError> {
    if !(1..=LEVEL_MAX).contains(&level) {
        return Err(ReplayError::Level(level));
    }
    let report = ledger.verify(Some(session))?;
    let mut found = survey::survey(ledger, session, level)?;
    for problem in &report.problems {
        let seq = problem.seq.filter(|_| problem.stream.as_deref() == Some(session)).unwrap_or_default();
        found.stands_in_the_way(1, seq, format!("{}: {}", problem.code, problem.message));
    }
    let is_in_the_way = found.tried < level;
    let (result, at) = match &found.difference {
        // What does not verify proves nothing either way.
        _ if found.tried == 0 => (Outcome::Inconclusive, None),
        Some(difference) => (Outcome::Diverged, Some(difference.seq)),
        None if is_in_the_way => (Outcome::Inconclusive, None),
        None => (Outcome::Match, None),
    };
    Ok(Replayed { asked: level, result, at, rerun: None, found })
}

/// The highest level that a session's record supports, and what stands in the way of those above. Entries are held against their
/// leaves; whether those are what was signed, only [`replay`] asks.
///
/// # Errors
/// [`LedgerError`] when the ledger can't be read.
pub fn levels(ledger: &Ledger, session: &str) -> Result<Levels, LedgerError> {
    survey::survey(ledger, session, LEVEL_MAX)
}

impl Levels {
    fn new(session: &str) -> Self {
        let names = ["event log", "causal trace", "audit reconstruction", "operational replay", "deterministic replay"];
        let level = |(n, name)| Level { level: n, name, ..Level::default() };
        Self {
            session: session.to_owned(),
            level: 5,
            tried: 5,
            levels: (1u8..).zip(names).map(level).collect(),
            entries: 0,
            rulings: 0,
            difference: None,
            unrecorded: Vec::new(),
            recompiled: Vec::new(),
        }
    }

    pub(crate) fn stands_in_the_way(&mut self, level: u8, seq: u64, why: String) {
        self.tried = self.tried.min(level.saturating_sub(1));
        self.may_stand_in_the_way(level, seq, why);
    }

    /// The level is not promised, and can be tried.
    fn may_stand_in_the_way(&mut self, level: u8, seq: u64, why: String) {
        self.level = self.level.min(level.saturating_sub(1));
        let Some(level) = self.levels.iter_mut().find(|l| l.level == level) else { return };
        if level.obstacles.len() < NAMED_MAX {
            level.obstacles.push(Obstacle { seq, why });
        } else {
            level.further += 1;
        }
    }

    fn further(&mut self, level: u8, more: u64) {
        self.levels.iter_mut().filter(|l| l.level == level).for_each(|l| l.further += more);
    }
}

#[cfg(test)]
pub(crate) mod recorded;
#[cfg(test)]
mod tests;
