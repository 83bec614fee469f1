//! The tree's head as stored: frontier and signed checkpoint, read and held against each other before anything is built
//! on them.

use crate::{Digest, Keychain, LedgerError, key, merkle::Frontier, note::Checkpoint};
use rusqlite::Connection;
use std::path::Path;

/// The head row.
pub(crate) struct Head {
    pub(crate) frontier: Frontier,
    /// Empty while the tree is.
    pub(crate) note: String,
    /// How many checkpoints are kept.
    pub(crate) kept: u64,
}

impl Head {
    /// Whether its note says that it is of another ledger's key.
    pub(crate) fn is_signed_by_other_than(&self, keys: &Keychain) -> bool {
        self.note
            .split_once('\n')
            .is_some_and(|(origin, _)| origin != keys.origin() && origin.starts_with(key::ORIGIN_PREFIX))
    }
}

/// Reads the head. `trusted` is a note that this process has checked or written: a head that has it needs no second
/// look at the signature.
pub(crate) fn read(db: &Connection, dir: &Path, keys: &Keychain, trusted: &str) -> Result<Head, LedgerError> {
    let head = read_unchecked(db, dir)?;
    let damaged = |cause: String| LedgerError::damaged(dir, cause);
    if head.note.is_empty() {
        // A tree that was signed once is never unsigned again; the caller's `trusted` says whether it was.
        if head.frontier.size() == 0 && trusted.is_empty() {
            return Ok(head);
        }
        return Err(damaged("the tree's head has lost its checkpoint".into()));
    }
    // An attacker who rewrote entries and frontier must not get them signed by the next commit.
    let checkpoint = if head.note == trusted {
        let text = head.note.split_once("\n\n").map(|(text, _)| format!("{text}\n")).unwrap_or_default();
        Checkpoint::parse(&text)
    } else {
        keys.open(&head.note).map(|(checkpoint, _)| checkpoint)
    };
    let checkpoint = checkpoint.map_err(|e| damaged(format!("the tree's head is not signed: {e}")))?;
    if checkpoint.size != head.frontier.size() || checkpoint.root != head.frontier.root() {
        return Err(damaged("the tree's frontier is not the one that was signed".into()));
    }
    Ok(head)
}

/// Reads the head without holding it against its signature.
pub(crate) fn read_unchecked(db: &Connection, dir: &Path) -> Result<Head, LedgerError> {
    let sql = "SELECT size, peaks, note, kept FROM head WHERE id = 0";
    let row = db.prepare_cached(sql).and_then(|mut statement| {
        statement.query_row([], |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, Vec<u8>>(1)?, row.get(2)?, row.get::<_, i64>(3)?))
        })
    });
    let (size, peaks, note, kept) = row.map_err(|e| match e {
        rusqlite::Error::QueryReturnedNoRows => LedgerError::damaged(dir, "the tree's head is gone"),
        e => LedgerError::store(dir, e),
    })?;
    let is_whole = peaks.len() % 32 == 0;
    let peaks: Vec<Digest> = peaks.chunks_exact(32).filter_map(Digest::from_slice).collect();
    let frontier = u64::try_from(size).ok().filter(|_| is_whole).and_then(|size| Frontier::from_parts(size, peaks));
    let frontier = frontier.ok_or_else(|| LedgerError::damaged(dir, "the tree's frontier is malformed"))?;
    Ok(Head { frontier, note, kept: kept.unsigned_abs() })
}
