//! Which stored content an entry relies on. Bodies carry what agents wrote, so a digest in a body proves nothing: an
//! agent could name content that never was, and make a whole ledger look incomplete. What an entry relies on therefore
//! stands in a field of its own, which holds only what was stored when the entry was made.

use crate::{Digest, Ledger, LedgerError};
use memchr::memmem;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{collections::HashSet, sync::PoisonError};

/// The deepest nesting of a body: readers of JSON stop at 128, and an entry that cannot be read back is none.
const DEPTH_MAX: usize = 100;
/// How many digests of one body are looked up in the store; those put through the same handle cost nothing.
const LOOKUPS_MAX: usize = 256;
/// How many digests one entry can rely on: 74 bytes each, and the entry has to hold them. Who has more to tell makes more entries.
const NAMED_MAX: usize = 768;
/// How many digests a handle remembers of what it put.
const KNOWN_MAX: usize = 65_536;

/// Stored content that an entry relies on, and that `verify` therefore wants to find.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct References {
    /// Blobs: of the body's members `blob`, at any depth.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub blobs: Vec<Digest>,
    /// Commitments of payloads: of the body's members `commitment`, at any depth.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub payloads: Vec<Digest>,
}

impl References {
    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.blobs.is_empty() && self.payloads.is_empty()
    }

    /// Whether the body of an encoded entry may name any, or be nested too deeply: then it has to be looked through.
    pub(crate) fn may_be_in(bytes: &[u8]) -> bool {
        // In bytes and without an end before the last one: such a loop is made into instructions that take sixteen at once.
        let is_opened = |byte: &u8| u8::from(matches!(byte, b'{' | b'['));
        let opened = bytes.chunks(255).map(|chunk| usize::from(chunk.iter().map(is_opened).sum::<u8>()));
        // A quotation mark within a string has a backslash before it.
        opened.sum::<usize>() > DEPTH_MAX
            || memmem::find(bytes, b"\"blob\":").is_some()
            || memmem::find(bytes, b"\"commitment\":").is_some()
    }

    /// What a body names, stored or not.
    pub(crate) fn named_in(body: &Value) -> Result<Self, LedgerError> {
        let mut named = Self::default();
        let mut left = NAMED_MAX;
        let mut open = vec![(body, 0)];
        while let Some((value, depth)) = open.pop() {
            if depth > DEPTH_MAX {
                let cause = format!("it is nested deeper than {DEPTH_MAX} levels");
                return Err(LedgerError::Malformed { what: "a body", cause });
            }
            match value {
                Value::Array(items) => open.extend(items.iter().map(|item| (item, depth + 1))),
                Value::Object(members) => {
                    for (name, member) in members {
                        let into = match (name.as_str(), member) {
                            ("blob", Value::String(text)) => (text, &mut named.blobs),
                            ("commitment", Value::String(text)) => (text, &mut named.payloads),
                            _ => {
                                open.push((member, depth + 1));
                                continue;
                            }
                        };
                        if let (Ok(digest), digests) = (into.0.parse(), into.1)
                            && left > 0
                            && !digests.contains(&digest)
                        {
                            left -= 1;
                            digests.push(digest);
                        }
                    }
                }
                _ => {}
            }
        }
        Ok(named)
    }
}

impl Ledger {
    /// Of what is named, what is stored.
    pub(crate) fn stored(&self, mut named: References) -> Result<References, LedgerError> {
        let mut lookups_left = LOOKUPS_MAX;
        let mut failed = None;
        let mut retain = |digests: &mut Vec<Digest>, is_stored: &dyn Fn(&Digest) -> Result<bool, LedgerError>| {
            digests.retain(|digest| {
                if self.known().contains(digest) {
                    return true;
                }
                if lookups_left == 0 {
                    return false;
                }
                lookups_left -= 1;
                is_stored(digest).unwrap_or_else(|error| {
                    failed = Some(error);
                    false
                })
            });
        };
        retain(&mut named.blobs, &|digest| self.has_blob(digest));
        retain(&mut named.payloads, &|commitment| Ok(self.salt(commitment)?.is_some()));
        failed.map_or(Ok(named), Err)
    }

    /// Remembers what was just queued: it is as good as stored for whatever is queued after it.
    pub(crate) fn remember(&self, digest: Digest) -> Result<(), LedgerError> {
        let mut known = self.known();
        if known.len() >= KNOWN_MAX {
            // INVARIANT: whatever is forgotten here is in the store by then, so it is found by looking it up.
            self.flush()?;
            known.clear();
        }
        known.insert(digest);
        Ok(())
    }

    /// Forgets what was put: some of it was erased.
    pub(crate) fn forget_known(&self) {
        self.known().clear();
    }

    /// Whether it was queued a while ago.
    pub(crate) fn remembers(&self, digest: &Digest) -> bool {
        self.known().contains(digest)
    }

    fn known(&self) -> std::sync::MutexGuard<'_, HashSet<Digest>> {
        self.known_mutex().lock().unwrap_or_else(PoisonError::into_inner)
    }
}
