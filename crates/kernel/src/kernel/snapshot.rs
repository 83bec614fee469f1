//! A kernel's state as bytes, and back: the same state gives the same bytes, and the restored kernel rules the same.
//!
//! INVARIANT: `snapshot` takes the kernel apart without `..`: a field that the state gains must be put here to compile.

use super::{Gate, Kernel, Open, OpenState};
use crate::action::Action;
use crate::budget;
use crate::charter::{Charter, Level};
use crate::envelope::Positions;
use crate::facts;
use crate::label::Labels;
use crate::obligation::Obligations;
use crate::question::Approval;
use crate::ruling::{Effect, Reason};
use crate::session::Session;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Raised whenever the form of the state, or what the kernel makes of it, changes.
const VERSION: u32 = 2;

/// A snapshot could not be restored.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    /// It was made by a kernel that kept another state.
    #[error("the snapshot is of version {found}, and this flyball reads version {VERSION}")]
    Version {
        /// Its version.
        found: u32,
    },
    /// It was made under another charter.
    #[error("the snapshot was made under the charter {found}, not under {wanted}")]
    Charter {
        /// The digest in it.
        found: String,
        /// The digest of the charter at hand.
        wanted: String,
    },
    /// It is no snapshot, or damaged.
    #[error("the snapshot can't be read: {0}")]
    Unreadable(String),
}

impl SnapshotError {
    /// Its code, for `flyball explain`.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Version { .. } => "FB0170",
            Self::Charter { .. } => "FB0171",
            Self::Unreadable(_) => "FB0172",
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Version { .. } => {
                "leave it and rebuild the state from the session's record, which every version reads"
            }
            Self::Charter { .. } => "restore it under the charter that it names, then adopt the other one",
            Self::Unreadable(_) => "leave it and rebuild the state from the session's record",
        }
    }
}

/// What is read first, whatever the rest looks like.
#[derive(Deserialize)]
struct Head {
    version: u32,
    charter: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct State {
    version: u32,
    charter: String,
    session: Session,
    gate: Gate,
    autonomy: Level,
    autonomy_known: BTreeSet<String>,
    facts: facts::Memory,
    budgets: budget::Ledger,
    positions: Positions,
    obligations: Obligations,
    labels: Labels,
    effects: Vec<Effect>,
    missed: Vec<Reason>,
    last_seq: Option<u64>,
    last_at_ns: u64,
    open: Vec<(u64, Action, OpenState, Option<Approval>)>,
    overloaded: BTreeSet<String>,
}

impl Kernel {
    /// The state as bytes: canonical, of the charter and the version that they name.
    #[must_use]
    pub fn snapshot(&self) -> Vec<u8> {
        let Self {
            charter,
            session,
            gate,
            autonomy,
            autonomy_known,
            facts,
            budgets,
            positions,
            obligations,
            labels,
            effects,
            missed,
            last_seq,
            last_at_ns,
            open,
            undue_until_ns: _,
            overloaded,
        } = self;
        let state = State {
            version: VERSION,
            charter: charter.digest().to_owned(),
            session: (**session).clone(),
            gate: *gate,
            autonomy: *autonomy,
            autonomy_known: autonomy_known.clone(),
            facts: facts.memory(),
            budgets: budgets.clone(),
            positions: positions.clone(),
            obligations: obligations.clone(),
            labels: labels.clone(),
            effects: effects.clone(),
            missed: missed.clone(),
            last_seq: *last_seq,
            last_at_ns: *last_at_ns,
            open: open
                .iter()
                .map(|(of, open)| {
                    let Open { action, state, approval } = &**open;
                    (*of, action.clone(), state.clone(), approval.as_deref().cloned())
                })
                .collect(),
            overloaded: overloaded.clone(),
        };
        // INVARIANT: every map in it has strings for keys or is written as pairs, so that JSON can say it.
        serde_json::to_vec(&state).unwrap_or_default()
    }

    /// The kernel that a snapshot was made of, under the same charter.
    ///
    /// # Errors
    /// [`SnapshotError`] when it is of another version, another charter, or no snapshot.
    pub fn restore(charter: Arc<Charter>, bytes: &[u8]) -> Result<Self, SnapshotError> {
        let unreadable = |e: serde_json::Error| SnapshotError::Unreadable(e.to_string());
        let head: Head = serde_json::from_slice(bytes).map_err(unreadable)?;
        if head.version != VERSION {
            return Err(SnapshotError::Version { found: head.version });
        }
        if head.charter != charter.digest() {
            return Err(SnapshotError::Charter { found: head.charter, wanted: charter.digest().to_owned() });
        }
        let state: State = serde_json::from_slice(bytes).map_err(unreadable)?;
        let State {
            version: _,
            charter: _,
            session,
            gate,
            autonomy,
            autonomy_known,
            facts: memory,
            budgets,
            positions,
            obligations,
            labels,
            effects,
            missed,
            last_seq,
            last_at_ns,
            open,
            overloaded,
        } = state;
        let mut facts = charter.facts.clone();
        let misfit = |fact: String| SnapshotError::Unreadable(format!("its memory of `{fact}` does not fit the fact"));
        facts.recall(memory).map_err(misfit)?;
        let open = open
            .into_iter()
            .map(|(of, action, state, approval)| {
                (of, Box::new(Open { action, state, approval: approval.map(Box::new) }))
            })
            .collect();
        let session = Arc::new(session);
        Ok(Self {
            charter,
            session,
            gate,
            autonomy,
            autonomy_known,
            facts,
            budgets,
            positions,
            obligations,
            labels,
            effects,
            missed,
            last_seq,
            last_at_ns,
            open,
            // Looked for at the next input.
            undue_until_ns: 0,
            overloaded,
        })
    }
}
