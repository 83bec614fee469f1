//! What verification reads of stored bytes, by name, so that a fuzzer reaches it.

use crate::{Digest, Entry, Proof, References, bundle, witness};

/// A stored entry, what it refers to, and its form as JSON; whether it is one.
#[must_use]
pub fn entry(raw: &[u8]) -> bool {
    let Ok(entry) = Entry::decode(raw.to_vec(), 0, Digest::of(raw)) else { return false };
    let _ = entry.to_json();
    References::named_in(&entry.body).is_ok()
}

/// The file of what waited for a commit, as it is taken in after a crash: how many items it has. The first byte is tried as an item's
/// tag as well, since a fuzzer does not find checksums.
#[must_use]
pub fn in_flight(raw: &[u8]) -> usize {
    if let Some((tag, payload)) = raw.split_first() {
        let _ = crate::inflight::decode(*tag, payload.to_vec());
    }
    crate::inflight::items(raw)
}

/// A bundle, from its first byte to its last; whether it verifies.
#[must_use]
pub fn bundle(raw: &[u8]) -> bool {
    let limits = bundle::Limits { bytes: 1 << 20, entries: 1000, references: 1000 };
    let read =
        |raw: &[u8]| bundle::read(raw, std::path::Path::new("fuzzed"), limits).is_ok_and(|opened| opened.report.ok);
    let is_one = read(raw);
    read(&bundle::mended(raw)) || is_one
}

/// A proof of one entry, and what a witness is asked; whether it is either.
#[must_use]
pub fn proof(raw: &[u8]) -> bool {
    let is_request = witness::is_request(raw);
    Proof::parse(raw).is_ok_and(|proof| Proof::parse(proof.to_text().as_bytes()).is_ok()) || is_request
}
