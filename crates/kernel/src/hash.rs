//! Digests, as they are written everywhere: `sha256:` and lower-case hex.

use sha2::{Digest as _, Sha256};
use std::fmt::Write as _;

pub(crate) fn sha256(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(71);
    out.push_str("sha256:");
    for byte in Sha256::digest(bytes) {
        // Writing to a String can't fail.
        let _ = write!(out, "{byte:02x}");
    }
    out
}
