//! What verification reads of stored bytes, by name, so that a fuzzer reaches it.

use crate::{Digest, Entry, References};

/// A stored entry, what it refers to, and its form as JSON; whether it is one.
#[must_use]
pub fn entry(raw: &[u8]) -> bool {
    let Ok(entry) = Entry::decode(raw.to_vec(), 0, Digest::of(raw)) else { return false };
    let _ = entry.to_json();
    References::named_in(&entry.body).is_ok()
}
