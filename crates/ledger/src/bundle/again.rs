//! A second reading of a bundle, for blobs that its entries turned out to need: the first one holds all of them against their
//! digests, and keeps few.

use super::{Opened, member, tar};
use crate::{CHUNK_BYTES, Digest, LedgerError, digest::Hasher, writer::to_sql};
use std::{
    collections::BTreeSet,
    io::{BufReader, Read},
    path::Path,
};

/// What all blobs that are kept may take together.
const BYTES_MAX: u64 = 1 << 30;

impl Opened {
    /// Reads the same file again and keeps the wanted blobs, as far as a gigabyte goes, for who reads the ledger. One whose bytes
    /// are no longer those of its digest is left out.
    ///
    /// # Errors
    /// [`LedgerError::Bundle`] if it is no whole bundle any more; those of reading, and of the store.
    pub fn bring(&mut self, from: impl Read, wanted: &BTreeSet<Digest>) -> Result<(), LedgerError> {
        let path = self.ledger.dir().to_owned();
        let mut from = tar::Reader::new(BufReader::with_capacity(256 << 10, from));
        let mut left = BYTES_MAX;
        while let Some((name, bytes)) = from.next().map_err(|e| failed(&path, e))? {
            let digest = name.strip_prefix(member::BLOBS).and_then(|hex| hex.parse::<Digest>().ok());
            let Some(digest) = digest.filter(|digest| wanted.contains(digest) && bytes <= left) else { continue };
            if self.ledger.has_blob(&digest)? {
                continue;
            }
            left -= bytes;
            self.keep(&mut from, digest, bytes, &path)?;
        }
        Ok(())
    }

    fn keep(
        &self,
        from: &mut tar::Reader<impl Read>,
        digest: Digest,
        bytes: u64,
        path: &Path,
    ) -> Result<(), LedgerError> {
        let fail = |e| LedgerError::store(path, e);
        let db = self.ledger.db();
        let (mut hasher, mut piece) = (Hasher::new(), Vec::new());
        db.execute_batch("BEGIN").map_err(fail)?;
        for number in 0..bytes.div_ceil(CHUNK_BYTES as u64) {
            piece.clear();
            from.take(CHUNK_BYTES as u64).read_to_end(&mut piece).map_err(|e| failed(path, e))?;
            hasher.update(&piece);
            let sql = "INSERT INTO chunks (digest, piece, data) VALUES (?1, ?2, ?3)";
            db.execute(sql, (digest.0, to_sql(number), &piece)).map_err(fail)?;
        }
        if hasher.finish() != digest {
            return db.execute_batch("ROLLBACK").map_err(fail);
        }
        let sql = "INSERT INTO blobs (digest, bytes) VALUES (?1, ?2)";
        db.execute(sql, (digest.0, to_sql(bytes))).map_err(fail)?;
        db.execute_batch("COMMIT").map_err(fail)
    }
}

fn failed(path: &Path, error: std::io::Error) -> LedgerError {
    use std::io::ErrorKind::{InvalidData, UnexpectedEof};
    match error.kind() {
        InvalidData | UnexpectedEof => LedgerError::Bundle { path: path.to_owned(), cause: error.to_string() },
        _ => LedgerError::io("read", path, error),
    }
}
