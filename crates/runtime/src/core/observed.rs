//! What a look found, as its entry says it.

use crate::gate::{Gate, GateError};
use crate::state::{Change, Kept};
use flyball_ledger::{Digest, LedgerError};
use serde::ser::{Serialize, SerializeMap as _, Serializer};
use std::collections::BTreeSet;

/// Changes of the workspace.
pub(super) struct Observed<'a> {
    pub changes: &'a [&'a Change],
    /// The next entry goes on with what the same look found.
    pub is_part: bool,
    /// The digest of the whole.
    pub state: Option<&'a str>,
}

impl<'a> Observed<'a> {
    /// Puts it on record.
    pub fn note(&self, gate: &mut Gate, cause: &[u64]) -> Result<u64, GateError> {
        let kept = |change: &'a Change| change.kept.as_ref().map(|Kept { blob }| blob);
        let named = self.changes.iter().flat_map(|change| change.blob.iter().chain(kept(change)));
        // INVARIANT: a content that the entry could not stand for is not put on record as if it did.
        let blobs: Result<BTreeSet<Digest>, LedgerError> = named.map(|blob| blob.parse()).collect();
        gate.note_naming("barrier", cause, &Body { workspace: self }, blobs?)
    }
}

#[derive(serde::Serialize)]
struct Body<'a> {
    workspace: &'a Observed<'a>,
}

impl Serialize for Observed<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut map = to.serialize_map(None)?;
        map.serialize_entry("changes", self.changes)?;
        if self.is_part {
            map.serialize_entry("part", &true)?;
        }
        if let Some(state) = self.state {
            map.serialize_entry("state", state)?;
        }
        map.end()
    }
}
