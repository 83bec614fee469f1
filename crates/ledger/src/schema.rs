//! The SQLite file: how it is opened, what is in it, and which versions of it are known.

use crate::LedgerError;
use rusqlite::{Connection, OpenFlags, TransactionBehavior, config::DbConfig};
use std::{os::unix::fs::FileExt as _, path::Path, time::Duration};

/// The format that this version writes, in `user_version`. Since 2 long blobs have files of their own, since 3 commitments are over a
/// content's digest (`crate::commitment`); a ledger of an earlier version is of this one from when it is first opened for writing.
pub(crate) const VERSION: i64 = 3;
/// The first format; what is in one is read as it ever was.
const FIRST_VERSION: i64 = 1;
/// `FLYB`: tells a ledger from any other SQLite file.
const APPLICATION: i64 = 0x464c_5942;
/// How long a connection waits for another process's transaction.
const BUSY: Duration = Duration::from_secs(30);

/// What an empty ledger is made of. `digest` stands before `data` so that reading digests does not read entries.
///
/// - `entries`: the leaves, by index. The level-0 tiles are its `digest` column.
/// - `streams`: a stream's number and what is kept of it for quick reading; `verify` recomputes it.
/// - `tiles`: the tiles of level 1 and above, the last of each level partial.
/// - `head`: the frontier, the signed checkpoint of the latest commit, and how many checkpoints are kept; one row.
/// - `checkpoints`: signed checkpoints that are kept, numbered from 1.
/// - `registers`: numbers that sessions share; what changed one stands in an entry of the same transaction.
/// - `chunks`, `blobs`: content by digest, in pieces; a blob is there once its row in `blobs` is. One that has no pieces is in a file
///   (`crate::filed`).
/// - `payloads`: salted commitments of entries, to salt and blob.
pub(crate) const TABLES: &[(&str, &str)] = &[
    (
        "streams",
        "CREATE TABLE streams (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, last_seq INTEGER NOT NULL, \
         opened_seq INTEGER, closed_seq INTEGER) STRICT",
    ),
    (
        "entries",
        "CREATE TABLE entries (leaf INTEGER PRIMARY KEY, stream INTEGER NOT NULL, seq INTEGER NOT NULL, \
         digest BLOB NOT NULL, data BLOB NOT NULL, UNIQUE (stream, seq)) STRICT",
    ),
    (
        "tiles",
        "CREATE TABLE tiles (level INTEGER NOT NULL, tile INTEGER NOT NULL, data BLOB NOT NULL, \
         PRIMARY KEY (level, tile)) STRICT, WITHOUT ROWID",
    ),
    (
        "head",
        "CREATE TABLE head (id INTEGER PRIMARY KEY CHECK (id = 0), size INTEGER NOT NULL, peaks BLOB NOT NULL, \
         note TEXT NOT NULL, kept INTEGER NOT NULL) STRICT",
    ),
    (
        "checkpoints",
        "CREATE TABLE checkpoints (number INTEGER PRIMARY KEY, size INTEGER NOT NULL UNIQUE, note TEXT NOT NULL) STRICT",
    ),
    (
        "chunks",
        "CREATE TABLE chunks (digest BLOB NOT NULL, piece INTEGER NOT NULL, data BLOB NOT NULL, \
         UNIQUE (digest, piece)) STRICT",
    ),
    (REGISTERS, "CREATE TABLE registers (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID"),
    ("blobs", "CREATE TABLE blobs (digest BLOB PRIMARY KEY, bytes INTEGER NOT NULL) STRICT, WITHOUT ROWID"),
    (
        "payloads",
        "CREATE TABLE payloads (commitment BLOB PRIMARY KEY, salt BLOB NOT NULL, digest BLOB NOT NULL) \
         STRICT, WITHOUT ROWID",
    ),
];

/// Came after the first ledgers: one that lacks it gets it when it is next opened for writing.
const REGISTERS: &str = "registers";

/// Whether the table of shared registers is there.
pub(crate) fn has_registers(db: &Connection) -> rusqlite::Result<bool> {
    has_table(db, REGISTERS)
}

fn has_table(db: &Connection, table: &str) -> rusqlite::Result<bool> {
    let sql = "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = ?1";
    db.query_row(sql, [table], |row| row.get::<_, i64>(0)).map(|count| count == 1)
}

/// Opens `dir/ledger.db` for writing; makes what an empty one needs, if `may_make`.
///
/// SQLite does not wait where waiting could be for each other, as when several make a ledger at once: then it is tried again.
pub(crate) fn open_write(dir: &Path, may_make: bool) -> Result<Connection, LedgerError> {
    let begun = std::time::Instant::now();
    loop {
        match try_open_write(dir, may_make) {
            Err(LedgerError::Busy { .. }) if begun.elapsed() < BUSY => {
                std::thread::sleep(Duration::from_millis(5));
            }
            other => return other,
        }
    }
}

/// One more connection to a ledger that this process has open for writing: what a first one looks at and mends is in order.
pub(crate) fn open_beside(dir: &Path) -> Result<Connection, LedgerError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(dir.join("ledger.db"), flags).map_err(|e| LedgerError::store(dir, e))?;
    configure(&db, dir)?;
    configure_writes(&db, dir)?;
    Ok(db)
}

fn try_open_write(dir: &Path, may_make: bool) -> Result<Connection, LedgerError> {
    let fail = |e| LedgerError::store(dir, e);
    let path = dir.join("ledger.db");
    let mut flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    if may_make {
        flags |= OpenFlags::SQLITE_OPEN_CREATE;
    } else if !path.exists() {
        return Err(LedgerError::damaged(dir, "there is a signing key and no `ledger.db`"));
    }
    let mut db = Connection::open_with_flags(path, flags).map_err(fail)?;
    configure(&db, dir)?;
    // SQLite goes on reading where it may not write, and says so only at the first commit.
    if db.is_readonly("main").map_err(fail)? {
        let cause = "its file system or `ledger.db` is read-only".to_owned();
        return Err(LedgerError::Unwritable { path: dir.to_owned(), cause });
    }
    if is_empty(&db, dir)? {
        if !may_make {
            return Err(LedgerError::damaged(dir, "there is a signing key, and `ledger.db` is empty"));
        }
        make(&mut db, dir)?;
    }
    check_version(&db, dir)?;
    db.pragma_update(None, "synchronous", "FULL").map_err(fail)?;
    let mode: String = db.query_row("PRAGMA journal_mode", [], |row| row.get(0)).map_err(fail)?;
    if mode != "wal" {
        // Its making was cut off, or the disk failed then.
        write_ahead(&db, dir)?;
    }
    rewrite(&db, dir)?;
    if !has_registers(&db).map_err(fail)? {
        let made = TABLES.iter().find(|(table, _)| *table == REGISTERS).map_or("", |(_, sql)| sql);
        let made = made.replace("CREATE TABLE registers", "CREATE TABLE IF NOT EXISTS registers");
        db.execute(&made, []).map_err(fail)?;
    }
    if pragma(&db, dir, "PRAGMA user_version")? < VERSION {
        db.pragma_update(None, "user_version", VERSION).map_err(fail)?;
    }
    configure_writes(&db, dir)?;
    Ok(db)
}

/// Opens `dir/ledger.db` for reading while others write.
pub(crate) fn open_read(dir: &Path) -> Result<Connection, LedgerError> {
    let path = dir.join("ledger.db");
    if !path.exists() {
        return Err(LedgerError::Absent(dir.to_owned()));
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(path, flags).map_err(|e| LedgerError::store(dir, e))?;
    configure(&db, dir)?;
    // Empty for as long as its first owner is making it.
    let asked = std::time::Instant::now();
    while is_empty(&db, dir)? {
        if asked.elapsed() > BUSY {
            return Err(LedgerError::damaged(dir, "`ledger.db` is empty"));
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    check_version(&db, dir)?;
    Ok(db)
}

/// Takes the write-ahead log into the database and cuts it to nothing; whether that could be done, for all who read.
pub(crate) fn empty_log(dir: &Path) -> Result<bool, LedgerError> {
    let db = open_write(dir, false)?;
    let busy = db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, i64>(0));
    Ok(busy.map_err(|e| LedgerError::store(dir, e))? == 0)
}

/// A ledger's tables in a file of their own that goes with the connection: what a bundle brought.
pub(crate) fn temporary(path: &Path) -> Result<Connection, LedgerError> {
    let fail = |e| LedgerError::store(path, e);
    let db = Connection::open("").map_err(fail)?;
    db.set_prepared_statement_cache_capacity(64);
    for (_, sql) in TABLES {
        db.execute(sql, []).map_err(fail)?;
    }
    Ok(db)
}

fn configure(db: &Connection, dir: &Path) -> Result<(), LedgerError> {
    let fail = |e| LedgerError::store(dir, e);
    db.busy_timeout(BUSY).map_err(fail)?;
    db.set_prepared_statement_cache_capacity(64);
    // A file that someone tampered with must not run their SQL: no functions or tables from its schema.
    db.pragma_update(None, "trusted_schema", "OFF").map_err(fail)?;
    db.pragma_update(None, "cell_size_check", "ON").map_err(fail)
}

fn configure_writes(db: &Connection, dir: &Path) -> Result<(), LedgerError> {
    let fail = |e| LedgerError::store(dir, e);
    db.pragma_update(None, "synchronous", "FULL").map_err(fail)?;
    db.pragma_update(None, "wal_autocheckpoint", 4000).map_err(fail)?;
    // What is erased is not to be read from free pages.
    db.pragma_update(None, "secure_delete", "ON").map_err(fail)
}

fn is_empty(db: &Connection, dir: &Path) -> Result<bool, LedgerError> {
    let fail = |e| LedgerError::store(dir, e);
    let objects: i64 = db.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).map_err(fail)?;
    Ok(objects == 0 && pragma(db, dir, "PRAGMA user_version")? == 0)
}

fn make(db: &mut Connection, dir: &Path) -> Result<(), LedgerError> {
    let fail = |e| LedgerError::store(dir, e);
    write_ahead(db, dir)?;
    db.pragma_update(None, "synchronous", "FULL").map_err(fail)?;
    let tx = db.transaction_with_behavior(TransactionBehavior::Immediate).map_err(fail)?;
    // Another process may have made it while this one waited for the lock.
    if is_empty(&tx, dir)? {
        for (_, sql) in TABLES {
            tx.execute(sql, []).map_err(fail)?;
        }
        tx.execute("INSERT INTO head VALUES (0, 0, x'', '', 0)", []).map_err(fail)?;
        tx.pragma_update(None, "application_id", APPLICATION).map_err(fail)?;
        tx.pragma_update(None, "user_version", VERSION).map_err(fail)?;
    }
    tx.commit().map_err(fail)
}

/// SQLite says by the mode that it answers, not by an error, that it could not take the one asked for.
fn write_ahead(db: &Connection, dir: &Path) -> Result<(), LedgerError> {
    let mode = db.query_row("PRAGMA journal_mode = WAL", [], |row| row.get::<_, String>(0));
    match mode.map_err(|e| LedgerError::store(dir, e))?.as_str() {
        "wal" => Ok(()),
        mode => Err(LedgerError::damaged(dir, format!("its journal mode is `{mode}`, and can't be made `wal`"))),
    }
}

/// Takes what a dead writer left in the write-ahead log into the database, and begins a new log.
///
/// INVARIANT: nothing is appended behind a commit whose sync failed. The operating system may show such a commit and have
/// forgotten to write it; a later commit, synced behind it, would be lost with it. Written anew it is durable, or it fails again.
fn rewrite(db: &Connection, dir: &Path) -> Result<(), LedgerError> {
    let fail = |e| LedgerError::store(dir, e);
    let log = std::fs::metadata(dir.join("ledger.db-wal")).map_or(0, |meta| meta.len());
    if log == 0 {
        return Ok(());
    }
    // Where others are at work they have the log open since before, and their own syncs tell them what failed.
    db.busy_timeout(Duration::ZERO).map_err(fail)?;
    let done = written_again(db, dir).and_then(|()| {
        let done = db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, i64>(0));
        done.map(drop).map_err(fail)
    });
    db.busy_timeout(BUSY).map_err(fail)?;
    match done {
        Ok(()) | Err(LedgerError::Busy { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Writes the write-ahead log where it stands once more, as the operating system shows it, and syncs it.
///
/// INVARIANT: what the disk has of it is the whole of it before any of it is taken into the database: a power loss on the way
/// would else leave pages of a commit that the log no longer has, and one behind it, where the log was not cut yet, older pages.
fn written_again(db: &Connection, dir: &Path) -> Result<(), LedgerError> {
    let path = dir.join("ledger.db-wal");
    let io = |e| LedgerError::io("write again", &path, e);
    // While this stands no writer adds to it or begins it anew.
    db.execute_batch("BEGIN IMMEDIATE").map_err(|e| LedgerError::store(dir, e))?;
    let written = (|| {
        let log = std::fs::OpenOptions::new().read(true).write(true).open(&path)?;
        let mut piece = vec![0; 1 << 20];
        let mut at = 0;
        loop {
            let read = log.read_at(&mut piece, at)?;
            let Some(bytes) = piece.get(..read).filter(|bytes| !bytes.is_empty()) else { break log.sync_all() };
            log.write_all_at(bytes, at)?;
            at += bytes.len() as u64;
        }
    })();
    let ended = db.execute_batch("ROLLBACK").map_err(|e| LedgerError::store(dir, e));
    written.map_err(io).and(ended)
}

/// From here on this connection writes nothing more, not even when it is closed.
pub(crate) fn let_lie(db: &Connection) {
    // It can't fail on an open connection; if it did, a checkpoint at the close would only rewrite what was committed.
    let _ = db.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true);
}

fn check_version(db: &Connection, dir: &Path) -> Result<(), LedgerError> {
    if pragma(db, dir, "PRAGMA application_id")? != APPLICATION {
        return Err(LedgerError::damaged(dir, "`ledger.db` is a database of something else"));
    }
    let found = pragma(db, dir, "PRAGMA user_version")?;
    if found > VERSION {
        return Err(LedgerError::Newer { path: dir.to_owned(), found, known: VERSION });
    }
    if found < FIRST_VERSION {
        return Err(LedgerError::damaged(dir, format!("its format is {found}, which no version has")));
    }
    for (table, _) in TABLES {
        let is_there = has_table(db, table).map_err(|e| LedgerError::store(dir, e))?;
        if !is_there && *table != REGISTERS {
            return Err(LedgerError::damaged(dir, format!("its table `{table}` is gone")));
        }
    }
    Ok(())
}

fn pragma(db: &Connection, dir: &Path, sql: &str) -> Result<i64, LedgerError> {
    db.query_row(sql, [], |row| row.get(0)).map_err(|e| LedgerError::store(dir, e))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn a_ledger_that_another_is_making_is_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let theirs = Connection::open(dir.path().join("ledger.db")).unwrap();
        theirs.execute_batch("CREATE TABLE t (a); DROP TABLE t; BEGIN IMMEDIATE").unwrap();
        // While another writes, SQLite does not wait to change the journal's mode, whatever it was told to wait (3.40 and later):
        // this is what two that make a ledger at once run into.
        let mine = Connection::open(dir.path().join("ledger.db")).unwrap();
        configure(&mine, dir.path()).unwrap();
        assert!(matches!(write_ahead(&mine, dir.path()), Err(LedgerError::Busy { .. })));
        drop(mine);
        std::thread::scope(|scope| {
            let opened = scope.spawn(|| open_write(dir.path(), true).map(drop));
            std::thread::sleep(Duration::from_millis(50));
            assert!(!opened.is_finished(), "it waits");
            theirs.execute_batch("COMMIT").unwrap();
            opened.join().unwrap().unwrap();
        });
    }
}
