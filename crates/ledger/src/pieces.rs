//! Content that is in memory until it is stored, in the pieces in which it will be.

use crate::{CHUNK_BYTES, Digest, digest::Hasher};
use std::io::Write;

/// Hashed at a time, by each of two: what the processor still has at hand for the second.
const TURN_BYTES: usize = 16 << 10;

/// INVARIANT: each piece but the last has [`CHUNK_BYTES`], none is empty.
#[derive(Debug, Default)]
pub struct Pieces {
    pieces: Vec<Vec<u8>>,
    bytes: u64,
}

impl Pieces {
    /// Adds what comes next.
    pub fn add(&mut self, mut bytes: &[u8]) {
        self.bytes = self.bytes.saturating_add(bytes.len() as u64);
        while !bytes.is_empty() {
            if self.pieces.last().is_none_or(|last| last.len() >= CHUNK_BYTES) {
                self.pieces.push(Vec::with_capacity(CHUNK_BYTES));
            }
            let Some(last) = self.pieces.last_mut() else { return };
            let (now, rest) = bytes.split_at(bytes.len().min(CHUNK_BYTES.saturating_sub(last.len())));
            last.extend_from_slice(now);
            bytes = rest;
        }
    }

    /// All of them together.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Bytes of memory that they take.
    #[must_use]
    pub fn room(&self) -> usize {
        self.pieces.len().saturating_mul(CHUNK_BYTES)
    }

    /// Bytes that fit without another piece.
    #[must_use]
    pub fn free(&self) -> usize {
        self.pieces.last().map_or(0, |last| CHUNK_BYTES.saturating_sub(last.len()))
    }

    /// Writes them out, one after the other.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn write_to(&self, out: &mut impl Write) -> std::io::Result<()> {
        self.pieces.iter().try_for_each(|piece| out.write_all(piece))
    }

    pub(crate) fn into_vecs(self) -> Vec<Vec<u8>> {
        self.pieces
    }

    /// The digest, and the one behind a salt.
    pub(crate) fn digests(&self, salt: &[u8; 32]) -> (Digest, Digest) {
        let mut both = Both::new(salt);
        self.pieces.iter().for_each(|piece| both.update(piece));
        both.finish()
    }
}

/// The digest of content, and the one behind a salt, in one pass.
pub(crate) struct Both {
    plain: Hasher,
    salted: Hasher,
}

impl Both {
    pub(crate) fn new(salt: &[u8; 32]) -> Self {
        let (plain, mut salted) = (Hasher::new(), Hasher::new());
        salted.update(salt);
        Self { plain, salted }
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        for turn in bytes.chunks(TURN_BYTES) {
            self.plain.update(turn);
            self.salted.update(turn);
        }
    }

    pub(crate) fn finish(self) -> (Digest, Digest) {
        (self.plain.finish(), self.salted.finish())
    }
}
