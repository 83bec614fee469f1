//! Git's index without what it says of the file system: times of change and numbers of inodes and devices, which no sandbox gives
//! back. All else of it, names, modes, object ids, is compared.

use flyball_ledger::{Digest, Ledger};

/// Of each entry: ctime, mtime (two words each), dev, ino.
const STAT_BYTES: usize = 24;
/// Up to the flags: the rest of stat, a SHA-1, the flags.
const FIXED_BYTES: usize = 62;
/// The longest index that is read.
const INDEX_BYTES_MAX: usize = 64 << 20;

/// The digest that an index has wherever it lies. What is none of version 2 is compared as it is.
pub(crate) fn same_for_all(ledger: &Ledger, digest: &str) -> Result<String, String> {
    let named: Digest = digest.parse().map_err(|_| format!("`{digest}` is no digest"))?;
    let bytes = ledger.blob(&named).map_err(|e| e.to_string())?;
    Ok(without_stat(&bytes).map_or_else(|| digest.to_owned(), |bytes| Digest::of(&bytes).to_string()))
}

/// An index of version 2 (git's index-format) with these members zero, and without its own checksum.
fn without_stat(bytes: &[u8]) -> Option<Vec<u8>> {
    let word = |at: usize| bytes.get(at..at + 4)?.try_into().ok().map(u32::from_be_bytes);
    if bytes.len() > INDEX_BYTES_MAX || bytes.get(..4)? != b"DIRC" || word(4)? != 2 {
        return None;
    }
    let mut out = bytes.to_vec();
    let mut at = 12;
    for _ in 0..word(8)? {
        out.get_mut(at..at + STAT_BYTES)?.fill(0);
        let name = bytes.get(at + FIXED_BYTES..)?;
        let end = name.iter().position(|b| *b == 0)?;
        // Padded with nulls, one at least, to a multiple of eight.
        at += (FIXED_BYTES + end + 8) / 8 * 8;
    }
    out.truncate(out.len().checked_sub(20)?);
    Some(out)
}
