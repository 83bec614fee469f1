//! What was erased on request, as the entries that record it tell: whatever else is gone was taken away.

use crate::{Digest, Entry, Kind};
use serde::{Deserialize, Serialize};
use std::collections::{HashMap, HashSet};

/// The act of an entry that records an erasure.
pub(crate) const ACT: &str = "erase";
/// The bytes that no such entry lacks.
const MARK: &[u8] = b"\"act\":\"erase\"";

/// A payload that was erased on request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Erased {
    /// The session.
    pub stream: String,
    /// The entry whose content it was.
    pub seq: u64,
    /// The entry that records it.
    pub entry: u64,
    /// Who.
    pub by: String,
    /// When.
    pub at: String,
    /// Why.
    pub reason: String,
    /// Commitments and digests of what was erased.
    #[serde(skip)]
    pub(crate) what: What,
}

/// What an erasure took, by the names that entries have for it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct What {
    #[serde(default)]
    pub(crate) payloads: Vec<Digest>,
    #[serde(default)]
    pub(crate) blobs: Vec<Digest>,
}

#[derive(Deserialize)]
struct Body {
    act: String,
    of: u64,
    #[serde(default)]
    by: String,
    #[serde(default)]
    reason: String,
    erased: What,
}

impl Erased {
    /// Whether this took the content of that name.
    #[must_use]
    pub fn took(&self, digest: &Digest) -> bool {
        self.what.payloads.contains(digest) || self.what.blobs.contains(digest)
    }

    /// What an entry records of an erasure, if it records one.
    #[must_use]
    pub fn of(entry: &Entry) -> Option<Self> {
        let is_one = entry.kind == Kind::Intervention && entry.body.get("act").is_some_and(|act| act == ACT);
        let body: Body = serde_json::from_value(is_one.then(|| entry.body.clone())?).ok()?;
        // Nothing is erased before it is recorded.
        let is_one = body.act == ACT && body.of < entry.seq;
        is_one.then(|| Self {
            stream: entry.stream.clone(),
            seq: body.of,
            entry: entry.seq,
            by: body.by,
            at: crate::format_ns(entry.at_ns),
            reason: body.reason,
            what: body.erased,
        })
    }
}

/// All erasures of the entries that were read.
#[derive(Default)]
pub(crate) struct Erasures {
    all: Vec<Erased>,
    payloads: HashSet<Digest>,
    /// By blob, the entries that gave it up.
    blobs: HashMap<Digest, HashSet<(String, u64)>>,
}

impl Erasures {
    pub(crate) fn note(&mut self, data: &[u8]) {
        if !data.windows(MARK.len()).any(|w| w == MARK) {
            return;
        }
        let Ok(entry) = Entry::decode(data.to_vec(), 0, Digest::of(&[])) else { return };
        let Some(erased) = Erased::of(&entry) else { return };
        self.payloads.extend(&erased.what.payloads);
        for blob in &erased.what.blobs {
            self.blobs.entry(*blob).or_default().insert((erased.stream.clone(), erased.seq));
        }
        self.all.push(erased);
    }

    pub(crate) fn has_payload(&self, commitment: &Digest) -> bool {
        self.payloads.contains(commitment)
    }

    /// Whether so many entries relied on this blob, and all gave it up.
    pub(crate) fn has_blob(&self, digest: &Digest, relied: usize) -> bool {
        self.blobs.get(digest).is_some_and(|gave_up| gave_up.len() >= relied)
    }

    pub(crate) fn gave_up(&self, digest: &Digest, stream: &str, seq: u64) -> bool {
        self.blobs.get(digest).is_some_and(|gave_up| gave_up.contains(&(stream.to_owned(), seq)))
    }

    pub(crate) fn take(&mut self) -> Vec<Erased> {
        std::mem::take(&mut self.all)
    }
}
