//! A ledger on this machine: one folder with the store, the keys, and the marks of who writes which stream.

use crate::{
    Digest, LedgerError, Stream,
    filed::Folders,
    head, inflight, key,
    keychain::Keychain,
    merkle,
    note::{Checkpoint, NoteVerifier},
    schema, tiles,
    writer::{Queue, Writer},
};
use rusqlite::Connection;
use std::{
    collections::{HashMap, HashSet},
    fs,
    os::unix::fs::{DirBuilderExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread::JoinHandle,
};

/// A handle on a ledger; cheap to clone, shared between threads. Other processes may have their own on the same folder.
#[derive(Clone)]
pub struct Ledger(Arc<Inner>);

struct Inner {
    dir: PathBuf,
    keys: Keychain,
    db: Mutex<Connection>,
    /// What was put through this handle lately.
    known: Mutex<HashSet<Digest>>,
    folders: Folders,
    // Both none in a handle for reading.
    queue: Option<Arc<Queue>>,
    writer: Option<JoinHandle<()>>,
}

impl Ledger {
    /// Opens the ledger in `dir` for reading and writing; makes it, and its signing key, when there is none.
    ///
    /// # Errors
    /// When the folder cannot be made, written or locked, or holds a ledger that is damaged, newer, or without its key:
    /// a ledger is never made anew over another.
    pub fn open(dir: &Path) -> Result<Self, LedgerError> {
        make_folder(dir)?;
        let dir = dir.canonicalize().map_err(|e| LedgerError::io("open the folder", dir, e))?;
        // INVARIANT: the key is made after the store. A key without a store is what a lost store leaves behind.
        let had_key = key::private_path(&dir).exists();
        let db = schema::open_write(&dir, !had_key)?;
        let head = head::read_unchecked(&db, &dir)?;
        let key = key::open(&dir, head.frontier.size() == 0 && head.note.is_empty())?;
        if head.is_signed_by_other_than(&key.chain) {
            let cause = format!("it is `{}`, and another signed this ledger", key.chain.origin());
            return Err(LedgerError::Key { path: key::private_path(&dir), cause });
        }
        if !had_key {
            sync_folder(&dir)?;
        }
        let trusted = head::read(&db, &dir, &key.chain, "")?.note;
        let reader = schema::open_beside(&dir)?;

        let queue = Arc::new(Queue::new(&dir)?);
        let keys = key.chain.clone();
        let writer = Writer { dir: dir.clone(), db, key, trusted, streams: HashMap::new() };
        let theirs = queue.clone();
        let thread = std::thread::Builder::new().name("ledger-writer".into()).spawn(move || writer.run(&theirs));
        let thread = thread.map_err(|e| LedgerError::io("start the writer of", &dir, e))?;
        let (queue, writer) = (Some(queue), Some(thread));
        let db = Mutex::new(reader);
        let opened = Self(Arc::new(Inner {
            dir,
            keys,
            db,
            known: Mutex::default(),
            folders: Folders::default(),
            queue,
            writer,
        }));
        inflight::take_in_first(&opened)?;
        Ok(opened)
    }

    /// Opens the ledger in `dir` for reading, while supervisors may be writing to it. Changes nothing.
    ///
    /// # Errors
    /// [`LedgerError::Absent`] if there is none; otherwise as for [`Ledger::open`].
    pub fn open_read(dir: &Path) -> Result<Self, LedgerError> {
        let db = schema::open_read(dir)?;
        let keys = match key::open_public(dir) {
            Err(LedgerError::Io { path, source, .. }) => {
                return Err(LedgerError::Key { path, cause: source.to_string() });
            }
            other => other?,
        };
        let dir = dir.canonicalize().map_err(|e| LedgerError::io("open the folder", dir, e))?;
        Ok(Self(Arc::new(Inner {
            dir,
            keys,
            db: Mutex::new(db),
            known: Mutex::default(),
            folders: Folders::default(),
            queue: None,
            writer: None,
        })))
    }

    /// The ledger's folder.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.0.dir
    }

    /// The ledger's name and public key, under which its checkpoints are signed: as of when this handle was opened.
    #[must_use]
    pub fn verifier(&self) -> &NoteVerifier {
        self.0.keys.current()
    }

    /// Every key that signed this ledger, as of when this handle was opened.
    #[must_use]
    pub fn keys(&self) -> &Keychain {
        &self.0.keys
    }

    /// Takes the right to append to stream `id`: a new one, or an existing one, whose numbers go on.
    ///
    /// # Errors
    /// [`LedgerError::StreamOwned`] while another holds that right; [`LedgerError::StreamName`].
    pub fn stream(&self, id: &str) -> Result<Stream, LedgerError> {
        Stream::open(self, id)
    }

    /// Whether some living process appends to stream `id`.
    #[must_use]
    pub fn is_owned(&self, id: &str) -> bool {
        crate::stream::is_owned(self.dir(), id)
    }

    /// Waits until everything queued through this handle is on the disk.
    ///
    /// # Errors
    /// [`LedgerError::Stopped`], [`LedgerError::ReadOnly`].
    pub fn flush(&self) -> Result<(), LedgerError> {
        let queue = self.queue()?;
        queue.wait(queue.ticket())
    }

    /// Has what is queued written at once instead of gathering more, and does not wait for it.
    ///
    /// # Errors
    /// [`LedgerError::ReadOnly`].
    pub fn commit_now(&self) -> Result<(), LedgerError> {
        self.queue()?.commit_now();
        Ok(())
    }

    /// Begins the store's log where it has none, which takes two waits for the disk, before there is anything to commit; does not
    /// wait for it.
    ///
    /// # Errors
    /// [`LedgerError::ReadOnly`].
    pub fn begin_log(&self) -> Result<(), LedgerError> {
        self.queue()?.begin_log();
        Ok(())
    }

    /// Puts a new signing key in the place of the one in force, which signs it. Sessions that are under way go on with the new
    /// key at their next commit.
    ///
    /// # Errors
    /// Those of the key's files and of the store; then the old key is in force.
    pub fn rotate_key(dir: &Path, at_ns: u64) -> Result<Keychain, LedgerError> {
        let mut db = schema::open_write(dir, false)?;
        let fail = |e| LedgerError::store(dir, e);
        // INVARIANT: nobody commits between the announcement of a key and the first head that it signs.
        let tx = db.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate).map_err(fail)?;
        let key = key::open(dir, false)?;
        let head = head::read(&tx, dir, &key.chain, "")?;
        let key = key::rotate(dir, &key, head.frontier.size(), at_ns)?;
        if !head.note.is_empty() {
            let (origin, size) = (key.chain.origin().to_owned(), head.frontier.size());
            let text = Checkpoint { origin, size, root: head.frontier.root() }.to_text();
            let note = crate::note::sign(&text, key.chain.current(), &key.signing);
            tx.execute("UPDATE head SET note = ?1 WHERE id = 0", [note]).map_err(fail)?;
        }
        tx.commit().map_err(fail)?;
        Ok(key.chain)
    }

    /// A handle for reading what a bundle brought: `db` is as [`schema`] makes it, and holds the bundle's entries.
    pub(crate) fn of_bundle(path: &Path, keys: Keychain, db: Connection) -> Self {
        let known = Mutex::default();
        Self(Arc::new(Inner {
            dir: path.to_owned(),
            keys,
            db: Mutex::new(db),
            known,
            folders: Folders::default(),
            queue: None,
            writer: None,
        }))
    }

    /// The latest signed checkpoint, as a note; `None` while the ledger is empty.
    ///
    /// # Errors
    /// Those of the store.
    pub fn checkpoint(&self) -> Result<Option<String>, LedgerError> {
        let note = head::read_unchecked(&self.db(), self.dir())?.note;
        Ok((!note.is_empty()).then_some(note))
    }

    /// The bytes of tile `tile` of `level`, `width` digests wide (1 to 256), as C2SP tlog-tiles serves them.
    ///
    /// # Errors
    /// [`LedgerError::OutOfRange`] if the tree is not as large.
    pub fn tile(&self, level: u32, tile: u64, width: u64) -> Result<Vec<u8>, LedgerError> {
        let (db, dir) = (self.db(), self.dir());
        let found = tiles::read(&db, dir, level, tile, width)?;
        found.map_or_else(|| Err(out_of_range(&db, dir, tile)), Ok)
    }

    /// The bytes of entry bundle `bundle`, `width` entries wide (1 to 256): each with its length in two bytes before it.
    ///
    /// # Errors
    /// [`LedgerError::OutOfRange`] if the tree is not as large.
    pub fn bundle(&self, bundle: u64, width: u64) -> Result<Vec<u8>, LedgerError> {
        let (db, dir) = (self.db(), self.dir());
        let fail = |e| LedgerError::store(dir, e);
        let start = bundle.saturating_mul(tiles::WIDTH);
        let sql = "SELECT data FROM entries WHERE leaf >= ?1 AND leaf < ?2 ORDER BY leaf";
        let mut statement = db.prepare_cached(sql).map_err(fail)?;
        let range = (crate::writer::to_sql(start), crate::writer::to_sql(start.saturating_add(width)));
        let mut rows = statement.query(range).map_err(fail)?;
        let (mut out, mut count) = (Vec::new(), 0);
        while let Some(row) = rows.next().map_err(fail)? {
            let data: Vec<u8> = row.get(0).map_err(fail)?;
            let length =
                u16::try_from(data.len()).map_err(|_| LedgerError::damaged(dir, "an entry is over its limit"))?;
            out.extend(length.to_be_bytes());
            out.extend(data);
            count += 1;
        }
        if count == width && (1..=tiles::WIDTH).contains(&width) {
            Ok(out)
        } else {
            Err(out_of_range(&db, dir, bundle))
        }
    }

    /// The proof that leaf `index` is in the tree of the first `size` leaves (RFC 6962 section 2.1.1).
    ///
    /// # Errors
    /// [`LedgerError::OutOfRange`] unless `index < size` and the tree is as large.
    pub fn prove_inclusion(&self, index: u64, size: u64) -> Result<Vec<Digest>, LedgerError> {
        self.prove(index, size, |node| merkle::inclusion_proof(index, size, node))
    }

    /// The proof that the tree of `old` leaves is the beginning of the one of `new` leaves (RFC 6962 section 2.1.2).
    ///
    /// # Errors
    /// [`LedgerError::OutOfRange`] unless `old <= new` and the tree is as large.
    pub fn prove_consistency(&self, old: u64, new: u64) -> Result<Vec<Digest>, LedgerError> {
        self.prove(old.saturating_sub(1), new, |node| merkle::consistency_proof(old, new, node))
    }

    /// The root of the tree of the first `size` leaves.
    ///
    /// # Errors
    /// [`LedgerError::OutOfRange`] if the tree is not as large.
    pub fn root_at(&self, size: u64) -> Result<Digest, LedgerError> {
        if size == 0 {
            return Ok(merkle::empty_root());
        }
        self.prove(0, size, |node| merkle::root(size, node))
    }

    /// The latest checkpoint, read and held against the ledger's key.
    ///
    /// # Errors
    /// [`LedgerError::Malformed`] if it is not signed by it.
    pub fn signed_head(&self) -> Result<Option<Checkpoint>, LedgerError> {
        self.checkpoint()?.map(|note| self.keys().open(&note).map(|(checkpoint, _)| checkpoint)).transpose()
    }

    fn prove<T>(
        &self,
        index: u64,
        size: u64,
        make: impl FnOnce(&mut dyn FnMut(u32, u64) -> Result<Digest, LedgerError>) -> Result<T, LedgerError>,
    ) -> Result<T, LedgerError> {
        let (db, dir) = (self.db(), self.dir());
        let whole = head::read_unchecked(&db, dir)?.frontier.size();
        if index >= size || size > whole {
            return Err(LedgerError::OutOfRange { asked: size.max(index), size: whole });
        }
        let mut nodes = tiles::Nodes::new(&db, dir, whole);
        make(&mut |level, index| nodes.node(level, index))
    }

    pub(crate) fn queue(&self) -> Result<&Queue, LedgerError> {
        self.0.queue.as_deref().ok_or_else(|| LedgerError::ReadOnly(self.dir().to_owned()))
    }

    pub(crate) fn folders(&self) -> &Folders {
        &self.0.folders
    }

    pub(crate) fn known_mutex(&self) -> &Mutex<HashSet<Digest>> {
        &self.0.known
    }

    pub(crate) fn db(&self) -> MutexGuard<'_, Connection> {
        self.0.db.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Some(queue) = &self.queue {
            queue.close();
        }
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
        if self.queue.as_ref().is_some_and(|queue| queue.check_running().is_err()) {
            // The last to close a ledger would tidy up its log: after a failure that is for the next start.
            schema::let_lie(&self.db.lock().unwrap_or_else(PoisonError::into_inner));
        }
        if let Some(queue) = &self.queue {
            queue.end();
        }
    }
}

fn out_of_range(db: &Connection, dir: &Path, asked: u64) -> LedgerError {
    match head::read_unchecked(db, dir) {
        Ok(head) => LedgerError::OutOfRange { asked, size: head.frontier.size() },
        Err(error) => error,
    }
}

fn make_folder(dir: &Path) -> Result<(), LedgerError> {
    let new: Vec<&Path> = dir.ancestors().take_while(|path| !path.as_os_str().is_empty() && !path.exists()).collect();
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(dir);
    made.map_err(|e| LedgerError::io("make the folder", dir, e))?;
    for made in &new {
        // A durable entry in a folder whose own name is lost with the power would be lost too.
        sync_folder(made.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new(".")))?;
    }
    if !new.is_empty() {
        return Ok(());
    }
    let mode = fs::metadata(dir).map_err(|e| LedgerError::io("open the folder", dir, e))?.permissions().mode() & 0o777;
    if mode & 0o022 != 0 {
        return Err(LedgerError::KeyExposed { path: dir.to_owned(), mode });
    }
    Ok(())
}

fn sync_folder(dir: &Path) -> Result<(), LedgerError> {
    let synced = fs::File::open(dir).and_then(|folder| folder.sync_all());
    synced.map_err(|e| LedgerError::io("sync the folder", dir, e))
}
