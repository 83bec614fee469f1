//! Bundles: one session of a ledger in one file, with all that a stranger needs to hold it against a key. `docs/bundle.md` is
//! the format; [`Ledger::export`](crate::Ledger::export) writes one, [`read()`] reads and verifies one, without any ledger.

mod again;
mod content;
mod read;
mod tar;
mod write;

pub use read::{Limits, Opened, read};
pub use write::{Export, Exported};

use serde::{Deserialize, Serialize};

/// The version that is written. Since 2 commitments may be over a content's digest (`crate::commitment`).
pub const VERSION: u64 = 2;
/// The first one that is read.
const FIRST_VERSION: u64 = 1;
const FORMAT: &str = "flyball-bundle";

/// Members, in their order. Those that end in a slash are any number of files, in the order of their names.
mod member {
    pub(super) const MANIFEST: &str = "manifest.json";
    pub(super) const KEY: &str = "ledger.pub";
    pub(super) const ROTATIONS: &str = "rotations.jsonl";
    pub(super) const CHECKPOINT: &str = "checkpoint";
    pub(super) const LEAVES: &str = "leaves.txt";
    pub(super) const DIGESTS: &str = "digests";
    pub(super) const PROOF: &str = "proof";
    pub(super) const ENTRIES: &str = "entries.jsonl";
    pub(super) const PAYLOADS: &str = "payloads.jsonl";
    /// Files that are none of the ledger's business.
    pub(super) const BESIDE: [&str; 2] = ["attestations/", "charter/"];
    pub(super) const BLOBS: &str = "blobs/";
}

/// What the first member says: what to expect, and how much of it. Nothing of it is believed beyond that.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// `flyball-bundle`.
    pub format: String,
    /// [`VERSION`], or an earlier one.
    pub version: u64,
    /// The session.
    pub session: String,
    /// How many entries there are.
    pub entries: u64,
    /// Whether payloads and blobs are with it, or only their commitments and digests.
    pub payloads: bool,
    /// The length of all other members together.
    pub bytes: u64,
}

/// For fuzzers: [`tar::mended`].
pub(crate) fn mended(raw: &[u8]) -> Vec<u8> {
    tar::mended(raw)
}

/// A payload's row: with it the content can be held against the commitment in its entry.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PayloadLine {
    commitment: crate::Digest,
    /// 64 hexadecimal digits.
    salt: String,
    blob: crate::Digest,
}
