//! Registers that all sessions of a ledger share: numbers by name. Each change is made in the transaction that records it, so
//! that two supervisors can't both take the last of something, and none is taken that no entry tells of.

use crate::{
    Draft, Kind, Ledger, LedgerError, References, Stream,
    entry::{self, ENTRY_BYTES_MAX},
    writer::Progress,
};
use rusqlite::{OptionalExtension as _, Transaction};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex, PoisonError};

/// Longest name of a register, bytes: a path and what it is about.
const NAME_BYTES_MAX: usize = 5_000;

/// What is to be done to a register.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Its name; one that nobody changed yet holds 0.
    pub register: String,
    /// What is added.
    pub add: i64,
    /// The most that it may hold afterwards; a change beyond that is not made.
    pub limit: Option<i64>,
}

/// What became of a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changed {
    /// The register's name.
    pub register: String,
    /// What it holds now.
    pub value: i64,
    /// Whether the change was made.
    pub is_made: bool,
}

/// An entry whose end is known only in the transaction that writes it.
pub(crate) struct SharedItem {
    pub(crate) stream: Arc<Progress>,
    pub(crate) seq: u64,
    pub(crate) kind: Kind,
    draft: Draft,
    changes: Vec<Change>,
    changed: Mutex<Vec<Changed>>,
}

impl Stream {
    /// Changes shared registers, each for itself, and appends the entry that says so, in one transaction; waits until it is
    /// on the disk. The entry's body gets a member `registers`: name, value, whether the change was made, and what it was.
    ///
    /// # Errors
    /// Those of [`Stream::append`]; then nothing was changed. [`LedgerError::EntryTooLarge`] for too many or too long names.
    pub fn share(&self, draft: Draft, changes: Vec<Change>) -> Result<(u64, Vec<Changed>), LedgerError> {
        if changes.iter().any(|c| c.register.len() > NAME_BYTES_MAX) {
            return Err(LedgerError::EntryTooLarge { bytes: NAME_BYTES_MAX + 1, limit_bytes: NAME_BYTES_MAX });
        }
        // INVARIANT: once it is queued it can't be too long: it is measured with the longest numbers.
        let longest = |c: &Change| Changed { register: c.register.clone(), value: i64::MIN, is_made: false };
        let worst = body(&draft.body, &changes, &changes.iter().map(longest).collect::<Vec<_>>());
        let bytes = entry::encode(&draft.head(self.id(), u64::MAX), &worst, &References::default())?.len();
        if bytes > ENTRY_BYTES_MAX {
            return Err(LedgerError::EntryTooLarge { bytes, limit_bytes: ENTRY_BYTES_MAX });
        }
        let kind = draft.kind;
        let make = |stream, seq, draft| SharedItem { stream, seq, kind, draft, changes, changed: Mutex::default() };
        let item = self.append_shared(draft, make)?;
        let changed = std::mem::take(&mut *item.changed.lock().unwrap_or_else(PoisonError::into_inner));
        Ok((item.seq, changed))
    }
}

impl SharedItem {
    pub(crate) fn bytes(&self) -> usize {
        self.changes.iter().map(|c| c.register.len() + 64).sum()
    }

    /// Makes the changes; gives the entry's bytes.
    pub(crate) fn write(&self, tx: &Transaction<'_>) -> Result<Vec<u8>, rusqlite::Error> {
        let mut all = Vec::new();
        for Change { register, add, limit } in &self.changes {
            let sql = "SELECT value FROM registers WHERE name = ?1";
            let before: i64 =
                tx.prepare_cached(sql)?.query_row([register], |row| row.get(0)).optional()?.unwrap_or_default();
            let after = before.checked_add(*add).filter(|after| limit.is_none_or(|limit| *after <= limit));
            if let Some(after) = after {
                let sql = "INSERT INTO registers (name, value) VALUES (?1, ?2) \
                           ON CONFLICT (name) DO UPDATE SET value = excluded.value";
                tx.prepare_cached(sql)?.execute((register, after))?;
            }
            let (value, is_made) = (after.unwrap_or(before), after.is_some());
            all.push(Changed { register: register.clone(), value, is_made });
        }
        let body = body(&self.draft.body, &self.changes, &all);
        let bytes = entry::encode(&self.draft.head(&self.stream.name, self.seq), &body, &References::default());
        *self.changed.lock().unwrap_or_else(PoisonError::into_inner) = all;
        bytes.map_err(|e| rusqlite::Error::ToSqlConversionFailure(Box::new(e)))
    }
}

fn body(body: &Value, changes: &[Change], changed: &[Changed]) -> Value {
    let mut body = body.clone();
    if let Some(members) = body.as_object_mut() {
        let one = |(Change { add, limit, .. }, c): (&Change, &Changed)| {
            let mut told = json!({ "register": c.register, "value": c.value, "made": c.is_made, "add": add });
            if let (Some(told), Some(limit)) = (told.as_object_mut(), limit) {
                told.insert("limit".to_owned(), (*limit).into());
            }
            told
        };
        members.insert("registers".to_owned(), changes.iter().zip(changed).map(one).collect());
    }
    body
}

impl Ledger {
    /// The shared registers whose names begin so, by name. A ledger of an earlier version has none.
    ///
    /// # Errors
    /// Those of the store.
    pub fn registers(&self, prefix: &str) -> Result<Vec<(String, i64)>, LedgerError> {
        let db = self.db();
        let fail = |e| LedgerError::store(self.dir(), e);
        if !crate::schema::has_registers(&db).map_err(fail)? {
            return Ok(Vec::new());
        }
        let sql = "SELECT name, value FROM registers WHERE substr(name, 1, length(?1)) = ?1 ORDER BY name";
        let mut statement = db.prepare_cached(sql).map_err(fail)?;
        let rows = statement.query_map([prefix], |row| Ok((row.get(0)?, row.get(1)?))).map_err(fail)?;
        rows.collect::<Result<_, _>>().map_err(fail)
    }
}
