//! The one thread that writes: it takes what has queued up, and commits it as one transaction.

use crate::{
    Digest, Kind, LedgerError, filed, head,
    inflight::{FILE_BYTES_MAX, Inflight, KEPT_BYTES_MAX},
    key::{self, LedgerKey},
    merkle,
    note::{self, Checkpoint},
    schema,
    shared::SharedItem,
    tiles,
};
use rusqlite::{Connection, OptionalExtension as _, Transaction, TransactionBehavior};
use std::{
    collections::{HashMap, VecDeque},
    path::{Path, PathBuf},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// What may wait to be written: beyond it, `append` waits. Seconds of work for a slow disk, megabytes of memory.
const QUEUED_BYTES_MAX: usize = 32 << 20;
const QUEUED_ITEMS_MAX: usize = 16_384;
/// What one transaction takes at most, so that other processes and whoever waits for `durable` get their turn.
const COMMIT_BYTES_MAX: usize = 8 << 20;
const COMMIT_ITEMS_MAX: usize = 4096;
/// How long entries that nobody waits for may gather: a commit costs as much as a hundred entries, a processor that the
/// governed program could use, and a sync of the disk that its own changes wait behind. (A killed process loses none of them:
/// see `inflight`; and who needs one durable waits for it, which ends the gathering.)
const GATHER: Duration = Duration::from_millis(20);
/// A signed checkpoint is kept at least each time that the tree crosses a multiple of this.
pub(crate) const CHECKPOINT_EVERY: u64 = 4096;

/// What a stream and the writer share.
pub(crate) struct Progress {
    pub(crate) name: String,
    /// The last entry that is committed.
    pub(crate) durable_seq: AtomicU64,
}

/// Something to be written, in the order in which it was queued.
pub(crate) enum Item {
    Entry {
        stream: Arc<Progress>,
        seq: u64,
        kind: Kind,
        bytes: Vec<u8>,
    },
    Chunk {
        digest: Digest,
        piece: u64,
        bytes: Vec<u8>,
    },
    Blob {
        digest: Digest,
        bytes: u64,
    },
    /// A blob that is in `blobs/coming` and belongs into `blobs`.
    Filed {
        digest: Digest,
        bytes: u64,
        name: String,
    },
    Payload {
        commitment: Digest,
        salt: [u8; 32],
        digest: Digest,
    },
    /// Salts that go, and contents that nobody relies on any more.
    Erase {
        payloads: Vec<Digest>,
        blobs: Vec<Digest>,
    },
    Shared(Arc<SharedItem>),
}

impl Item {
    fn bytes(&self) -> usize {
        128 + match self {
            Self::Entry { bytes, .. } | Self::Chunk { bytes, .. } => bytes.len(),
            Self::Shared(item) => item.bytes(),
            Self::Blob { .. } | Self::Filed { .. } | Self::Payload { .. } => 0,
            Self::Erase { payloads, blobs } => 32 * (payloads.len() + blobs.len()),
        }
    }
}

/// The queue between those who append and the thread that commits.
pub(crate) struct Queue {
    dir: PathBuf,
    state: Mutex<State>,
    /// For the writer: there is something to do.
    work: Condvar,
    /// For all others: something was committed, or the store has stopped.
    committed: Condvar,
}

#[derive(Default)]
struct State {
    items: VecDeque<Item>,
    /// Where the items stand as well until they are committed.
    inflight: Option<Inflight>,
    /// So many bytes that were ever written to that file are on the disk.
    synced: u64,
    /// Somebody syncs it.
    is_syncing: bool,
    bytes: usize,
    /// Counts items ever queued and ever committed.
    queued: u64,
    done: u64,
    is_writer_idle: bool,
    /// The log is to begin before there is anything to commit.
    is_beginning: bool,
    /// Someone waits for what is queued.
    is_awaited: bool,
    is_closing: bool,
    /// Why the store takes nothing more.
    stopped: Option<String>,
}

impl State {
    fn is_full(&self) -> bool {
        self.bytes > QUEUED_BYTES_MAX
            || self.items.len() > QUEUED_ITEMS_MAX
            || (!self.items.is_empty() && self.inflight.as_ref().is_some_and(|file| file.bytes() > FILE_BYTES_MAX))
    }
}

impl Queue {
    pub(crate) fn new(dir: &Path) -> Result<Self, LedgerError> {
        let state = State { inflight: Some(Inflight::new(dir)?), ..State::default() };
        Ok(Self { dir: dir.to_owned(), state: Mutex::new(state), work: Condvar::new(), committed: Condvar::new() })
    }

    /// Queues items, together and in order; waits while the queue is full. Returns the ticket for [`Queue::wait`].
    pub(crate) fn push(&self, items: impl IntoIterator<Item = Item>) -> Result<u64, LedgerError> {
        self.push_all(items, true)
    }

    /// The same of what may go with its process for a moment: it stands in the file with what is queued next, or is committed
    /// before that.
    pub(crate) fn push_unhurried(&self, items: impl IntoIterator<Item = Item>) -> Result<u64, LedgerError> {
        self.push_all(items, false)
    }

    fn push_all(&self, items: impl IntoIterator<Item = Item>, is_written: bool) -> Result<u64, LedgerError> {
        let mut state = self.lock();
        while state.stopped.is_none() && state.is_full() {
            self.hurry(&mut state);
            state = self.committed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        self.check(&state)?;
        let mut written = Ok(());
        for item in items {
            if let (Ok(()), Some(inflight)) = (&written, state.inflight.as_mut()) {
                written = inflight.add(&item);
            }
            state.bytes += item.bytes();
            state.queued += 1;
            state.items.push_back(item);
        }
        if let (Ok(()), Some(inflight), true) = (&written, state.inflight.as_mut(), is_written) {
            written = inflight.write();
        }
        // INVARIANT: in the file before anyone hears that it is queued, and before the writer, which waits for this lock, sees it;
        // what is unhurried before anything queued behind it, and before the writer throws it away uncommitted.
        if let Err(error) = written {
            self.stop_locked(&mut state, &error);
            return self.check(&state).map(|()| 0);
        }
        let ticket = state.queued;
        // A writer that is busy looks at the queue again by itself: no wake-up to pay for.
        let is_writer_idle = std::mem::take(&mut state.is_writer_idle);
        drop(state);
        if is_writer_idle {
            self.work.notify_one();
        }
        Ok(ticket)
    }

    /// Waits until all that was queued up to `ticket` is committed.
    pub(crate) fn wait(&self, ticket: u64) -> Result<(), LedgerError> {
        let mut state = self.lock();
        // What failed may have been refused before it was queued.
        self.check(&state)?;
        while state.done < ticket {
            self.check(&state)?;
            self.hurry(&mut state);
            state = self.committed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        Ok(())
    }

    /// Waits until entry `seq` of a stream is committed.
    pub(crate) fn wait_durable(&self, stream: &Progress, seq: u64) -> Result<(), LedgerError> {
        if stream.durable_seq.load(Ordering::Acquire) >= seq {
            return Ok(());
        }
        let mut state = self.lock();
        while stream.durable_seq.load(Ordering::Acquire) < seq {
            self.check(&state)?;
            self.hurry(&mut state);
            state = self.committed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        Ok(())
    }

    /// Waits until entry `seq` of a stream, which is queued, is committed or stands on the disk in the file of what is not.
    ///
    /// INVARIANT: what was queued before it stands there too, so that whoever takes it in finds all that it relies on.
    pub(crate) fn wait_on_disk(&self, stream: &Progress, seq: u64) -> Result<(), LedgerError> {
        let is_committed = || stream.durable_seq.load(Ordering::Acquire) >= seq;
        let mut state = self.lock();
        if let Err(error) = state.inflight.as_mut().map_or(Ok(()), Inflight::write) {
            self.stop_locked(&mut state, &error);
        }
        let Some(wanted) = state.inflight.as_ref().map(|file| file.mark().written) else {
            drop(state);
            return self.wait_durable(stream, seq);
        };
        while !is_committed() && state.synced < wanted {
            self.check(&state)?;
            let Some(mark) = state.inflight.as_ref().map(Inflight::mark).filter(|_| !state.is_syncing) else {
                state = self.committed.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            state.is_syncing = true;
            drop(state);
            let synced = mark.sync();
            state = self.lock();
            state.is_syncing = false;
            match synced {
                Ok(()) => {
                    state.synced = state.synced.max(mark.written);
                    state.inflight.iter_mut().for_each(Inflight::synced);
                }
                // INVARIANT: as after a failed commit, there is no second try.
                Err(error) => self.stop_locked(&mut state, &error),
            }
            self.committed.notify_all();
        }
        // What was stopped meanwhile may have lost it.
        if is_committed() { Ok(()) } else { self.check(&state) }
    }

    /// Someone is about to wait: what gathers is to be committed now.
    fn hurry(&self, state: &mut State) {
        if !state.is_awaited {
            state.is_awaited = true;
            self.work.notify_one();
        }
    }

    /// What is queued is not to gather any longer.
    pub(crate) fn commit_now(&self) {
        let mut state = self.lock();
        if !state.items.is_empty() {
            self.hurry(&mut state);
        }
    }

    /// The log is to begin now, if nothing is queued yet that begins it.
    pub(crate) fn begin_log(&self) {
        self.lock().is_beginning = true;
        self.work.notify_one();
    }

    /// The ticket of what was queued last.
    pub(crate) fn ticket(&self) -> u64 {
        self.lock().queued
    }

    /// Whether the store has stopped, and why.
    pub(crate) fn check_running(&self) -> Result<(), LedgerError> {
        self.check(&self.lock())
    }

    /// Tells the writer to end when the queue is empty.
    pub(crate) fn close(&self) {
        self.lock().is_closing = true;
        self.work.notify_one();
    }

    fn stop(&self, error: &LedgerError) {
        self.stop_locked(&mut self.lock(), error);
    }

    fn stop_locked(&self, state: &mut State, error: &LedgerError) {
        // What a failed write was to add is no longer there to be added.
        if let Some(Err(later)) = state.inflight.as_mut().map(Inflight::write) {
            state.stopped.get_or_insert_with(|| format!("{error} ({}); and {later}", error.code()));
        }
        // The first cause is the one that counts.
        state.stopped.get_or_insert_with(|| format!("{error} ({})", error.code()));
        state.items.clear();
        state.bytes = 0;
        self.committed.notify_all();
    }

    /// That many items more are committed.
    fn done(&self, count: usize) -> Result<(), LedgerError> {
        let mut state = self.lock();
        state.done += count as u64;
        // INVARIANT: not by what is queued: what a stop threw away of that stands nowhere but in the file, and may be on the disk
        // by somebody's word.
        let is_all = state.done == state.queued;
        if let Some(inflight) = state.inflight.as_mut().filter(|file| is_all && file.bytes() > KEPT_BYTES_MAX) {
            inflight.empty()?;
        }
        self.committed.notify_all();
        Ok(())
    }

    /// Empties the file of what is in flight, if nothing is.
    pub(crate) fn empty_file(&self) -> Result<(), LedgerError> {
        let mut state = self.lock();
        let is_all = state.items.is_empty() && state.done == state.queued;
        match state.inflight.as_mut().filter(|_| is_all) {
            Some(inflight) => inflight.empty(),
            None => Ok(()),
        }
    }

    /// The name of that file.
    pub(crate) fn file_name(&self) -> Option<String> {
        Some(self.file_path()?.file_name()?.to_str()?.to_owned())
    }

    /// The file of what is in flight.
    pub(crate) fn file_path(&self) -> Option<PathBuf> {
        self.lock().inflight.as_ref().map(|file| file.path().to_owned())
    }

    /// The writer has ended: unless it had to stop, nothing is in flight any more.
    pub(crate) fn end(&self) {
        let mut state = self.lock();
        if state.stopped.is_none()
            && state.items.is_empty()
            && let Some(inflight) = state.inflight.take()
        {
            inflight.remove();
        }
    }

    fn check(&self, state: &State) -> Result<(), LedgerError> {
        match &state.stopped {
            Some(cause) => Err(LedgerError::Stopped { path: self.dir.clone(), cause: cause.clone() }),
            None => Ok(()),
        }
    }

    /// What is next to be committed, nothing where only the log is to begin; `None` at the end.
    fn take(&self) -> Option<Vec<Item>> {
        let mut state = self.lock();
        while state.items.is_empty() {
            if state.stopped.is_none() && std::mem::take(&mut state.is_beginning) {
                return Some(Vec::new());
            }
            if state.is_closing || state.stopped.is_some() {
                return None;
            }
            state.is_writer_idle = true;
            state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.is_writer_idle = false;
        let begun = Instant::now();
        while !state.is_awaited && !state.is_closing && state.bytes < COMMIT_BYTES_MAX {
            let Some(left) = GATHER.checked_sub(begun.elapsed()).filter(|left| !left.is_zero()) else { break };
            state = self.work.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        // INVARIANT: after a stop, which threw away what was there, nothing is written; and nothing taken would only begin the log.
        if state.stopped.is_some() {
            return None;
        }
        // Whoever still waits after this commit says so again.
        state.is_awaited = false;
        let (mut taken, mut bytes) = (Vec::new(), 0);
        while let Some(item) = state.items.pop_front() {
            bytes += item.bytes();
            taken.push(item);
            if bytes >= COMMIT_BYTES_MAX || taken.len() >= COMMIT_ITEMS_MAX {
                break;
            }
        }
        state.bytes = state.bytes.saturating_sub(bytes);
        Some(taken)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing under this lock can be left half-done by a panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the writer's thread owns.
pub(crate) struct Writer {
    pub(crate) dir: PathBuf,
    pub(crate) db: Connection,
    pub(crate) key: LedgerKey,
    /// The note of the head that was last read or written here, and so is known to be good.
    pub(crate) trusted: String,
    pub(crate) streams: HashMap<String, i64>,
}

impl Writer {
    /// Commits until the queue is closed or the store has to stop.
    pub(crate) fn run(mut self, queue: &Queue) {
        while let Some(items) = queue.take() {
            let done = if items.is_empty() { self.begin_log() } else { self.commit(&items) };
            // INVARIANT: whatever a failed commit left behind is unknown, so there is no second try and nothing after it.
            match done {
                Ok(()) => {
                    for item in &items {
                        match item {
                            Item::Entry { stream, seq, .. } => stream.durable_seq.store(*seq, Ordering::Release),
                            Item::Shared(item) => item.stream.durable_seq.store(item.seq, Ordering::Release),
                            _ => {}
                        }
                    }
                    if let Err(error) = queue.done(items.len()) {
                        return queue.stop(&error);
                    }
                }
                Err(error) => {
                    schema::let_lie(&self.db);
                    return queue.stop(&error);
                }
            }
        }
    }

    /// A commit that leaves everything as it is: the first in a log writes and syncs its beginning and its name as well.
    fn begin_log(&mut self) -> Result<(), LedgerError> {
        let is_begun = std::fs::metadata(self.dir.join("ledger.db-wal")).is_ok_and(|log| log.len() > 0);
        if is_begun {
            return Ok(());
        }
        let fail = |e| LedgerError::store(&self.dir, e);
        let tx = self.db.transaction_with_behavior(TransactionBehavior::Immediate).map_err(fail)?;
        // SQLite sees when a row is overwritten by itself, and writes nothing.
        tx.execute("INSERT INTO registers VALUES ('', 0)", []).map_err(fail)?;
        tx.execute("DELETE FROM registers WHERE name = ''", []).map_err(fail)?;
        tx.commit().map_err(fail)
    }

    fn commit(&mut self, items: &[Item]) -> Result<(), LedgerError> {
        let dir = self.dir.clone();
        let fail = |e| LedgerError::store(&dir, e);
        let tx = self.db.transaction_with_behavior(TransactionBehavior::Immediate).map_err(fail)?;
        if self.key.is_outdated(&dir) {
            // Another process changed the key. INVARIANT: within the transaction that the change would have to wait for.
            let key = key::open(&dir, false)?;
            if key.chain.first() != self.key.chain.first() {
                return Err(LedgerError::Key { path: dir, cause: "it became another ledger's".into() });
            }
            self.key = key;
        }
        let head = head::read(&tx, &dir, &self.key.chain, &self.trusted)?;
        let mut frontier = head.frontier;
        let size_before = frontier.size();
        let mut is_kept = false;
        let mut touched: HashMap<i64, Touched> = HashMap::new();
        let mut grown = tiles::Grown::default();
        let sql = "INSERT INTO entries (leaf, stream, seq, digest, data) VALUES (?1, ?2, ?3, ?4, ?5)";
        let mut insert = tx.prepare_cached(sql).map_err(fail)?;
        let mut leaf = |stream: &Progress, seq: u64, kind: Kind, bytes: &[u8]| -> Result<(), LedgerError> {
            let id = stream_id(&tx, &mut self.streams, &stream.name).map_err(fail)?;
            let digest = merkle::leaf_digest(bytes);
            let row = (to_sql(frontier.size()), id, to_sql(seq), digest.0, bytes);
            insert.execute(row).map_err(fail)?;
            frontier.append(digest, |level, index, digest| grown.note(level, index, digest));
            touched.entry(id).or_default().note(seq, kind);
            is_kept |= matches!(kind, Kind::Open | Kind::Close | Kind::Checkpoint);
            Ok(())
        };
        let mut is_named = true;
        for item in items {
            match item {
                Item::Filed { digest, bytes, name } => {
                    let sql = "SELECT count(*) FROM blobs WHERE digest = ?1";
                    let count =
                        tx.prepare_cached(sql).and_then(|mut s| s.query_row([digest.0], |row| row.get::<_, i64>(0)));
                    if count.map_err(fail)? > 0 {
                        filed::drop_coming(&dir, name)?;
                    } else if filed::settle(&dir, name, digest)? {
                        is_named = false;
                        let sql = "INSERT INTO blobs (digest, bytes) VALUES (?1, ?2)";
                        tx.prepare_cached(sql).and_then(|mut s| s.execute((digest.0, to_sql(*bytes)))).map_err(fail)?;
                    }
                }
                Item::Entry { stream, seq, kind, bytes } => leaf(stream, *seq, *kind, bytes)?,
                Item::Shared(item) => {
                    let bytes = item.write(&tx).map_err(fail)?;
                    leaf(&item.stream, item.seq, item.kind, &bytes)?;
                }
                Item::Chunk { digest, piece, bytes } => {
                    let sql = "INSERT OR IGNORE INTO chunks (digest, piece, data) VALUES (?1, ?2, ?3)";
                    let row = (digest.0, to_sql(*piece), bytes);
                    tx.prepare_cached(sql).and_then(|mut s| s.execute(row)).map_err(fail)?;
                }
                Item::Blob { digest, bytes } => {
                    let sql = "INSERT OR IGNORE INTO blobs (digest, bytes) VALUES (?1, ?2)";
                    tx.prepare_cached(sql).and_then(|mut s| s.execute((digest.0, to_sql(*bytes)))).map_err(fail)?;
                }
                Item::Erase { payloads, blobs } => erase(&tx, payloads, blobs).map_err(fail)?,
                Item::Payload { commitment, salt, digest } => {
                    let sql = "INSERT OR IGNORE INTO payloads (commitment, salt, digest) VALUES (?1, ?2, ?3)";
                    let row = (commitment.0, salt, digest.0);
                    tx.prepare_cached(sql).and_then(|mut s| s.execute(row)).map_err(fail)?;
                }
            }
        }
        drop(insert);
        if !is_named {
            // INVARIANT: before the row is committed. Until then nobody else makes or takes such a name.
            filed::sync_names(&dir)?;
        }
        if frontier.size() > size_before {
            for (id, touched) in touched {
                touched.write(&tx, id).map_err(fail)?;
            }
            grown.write(&tx, &dir)?;
            is_kept |= frontier.size() / CHECKPOINT_EVERY != size_before / CHECKPOINT_EVERY;
            let origin = self.key.chain.origin().to_owned();
            let text = Checkpoint { origin, size: frontier.size(), root: frontier.root() }.to_text();
            let note = note::sign(&text, self.key.chain.current(), &self.key.signing);
            let peaks: Vec<u8> = frontier.peaks().iter().flat_map(|digest| digest.0).collect();
            let sql = "UPDATE head SET size = ?1, peaks = ?2, note = ?3, kept = ?4 WHERE id = 0";
            let kept = head.kept + u64::from(is_kept);
            let row = (to_sql(frontier.size()), peaks, &note, to_sql(kept));
            tx.prepare_cached(sql).and_then(|mut s| s.execute(row)).map_err(fail)?;
            if is_kept {
                let sql = "INSERT INTO checkpoints (number, size, note) VALUES (?1, ?2, ?3)";
                tx.prepare_cached(sql)
                    .and_then(|mut s| s.execute((to_sql(kept), to_sql(frontier.size()), &note)))
                    .map_err(fail)?;
            }
            tx.commit().map_err(fail)?;
            self.trusted = note;
        } else {
            tx.commit().map_err(fail)?;
        }
        let erased =
            items.iter().filter_map(|item| if let Item::Erase { blobs, .. } = item { Some(blobs) } else { None });
        self.erase_files(&mut erased.flatten())
    }

    /// INVARIANT: after the rows went for good, so that no row is ever without its file; and while nobody else can write, so that a
    /// file that is here for another's row stays.
    fn erase_files(&mut self, blobs: &mut dyn Iterator<Item = &Digest>) -> Result<(), LedgerError> {
        let mut blobs = blobs.peekable();
        if blobs.peek().is_none() {
            return Ok(());
        }
        let fail = |e| LedgerError::store(&self.dir, e);
        let tx = self.db.transaction_with_behavior(TransactionBehavior::Immediate).map_err(fail)?;
        let mut is_any = false;
        for blob in blobs {
            let sql = "SELECT count(*) FROM blobs WHERE digest = ?1";
            if tx.query_row(sql, [blob.0], |row| row.get::<_, i64>(0)).map_err(fail)? == 0 {
                is_any |= filed::erase(&self.dir, blob)?;
            }
        }
        if is_any { filed::sync_names(&self.dir) } else { Ok(()) }
    }
}

/// INVARIANT: content that another payload still commits to stays, whoever asked.
fn erase(tx: &Transaction<'_>, payloads: &[Digest], blobs: &[Digest]) -> rusqlite::Result<()> {
    for commitment in payloads {
        tx.execute("DELETE FROM payloads WHERE commitment = ?1", [commitment.0])?;
    }
    for blob in blobs {
        let sql = "SELECT count(*) FROM payloads WHERE digest = ?1";
        if tx.query_row(sql, [blob.0], |row| row.get::<_, i64>(0))? == 0 {
            tx.execute("DELETE FROM blobs WHERE digest = ?1", [blob.0])?;
            tx.execute("DELETE FROM chunks WHERE digest = ?1", [blob.0])?;
        }
    }
    Ok(())
}

/// What a commit changes of a stream's row.
#[derive(Default)]
struct Touched {
    last: u64,
    opened: Option<u64>,
    closed: Option<u64>,
}

impl Touched {
    fn note(&mut self, seq: u64, kind: Kind) {
        self.last = seq;
        match kind {
            Kind::Open => (self.opened, self.closed) = (self.opened.or(Some(seq)), None),
            Kind::Close => self.closed = Some(seq),
            _ => {}
        }
    }

    fn write(&self, tx: &Transaction<'_>, id: i64) -> rusqlite::Result<()> {
        tx.prepare_cached("UPDATE streams SET last_seq = ?2 WHERE id = ?1")?.execute((id, to_sql(self.last)))?;
        if let Some(seq) = self.opened {
            // A session that opens again after its close is the same session, and open.
            let sql = "UPDATE streams SET opened_seq = coalesce(opened_seq, ?2), closed_seq = NULL WHERE id = ?1";
            tx.prepare_cached(sql)?.execute((id, to_sql(seq)))?;
        }
        if let Some(seq) = self.closed {
            tx.prepare_cached("UPDATE streams SET closed_seq = ?2 WHERE id = ?1")?.execute((id, to_sql(seq)))?;
        }
        Ok(())
    }
}

fn stream_id(tx: &Transaction<'_>, known: &mut HashMap<String, i64>, name: &str) -> rusqlite::Result<i64> {
    if let Some(id) = known.get(name) {
        return Ok(*id);
    }
    let found = tx.query_row("SELECT id FROM streams WHERE name = ?1", [name], |row| row.get(0)).optional()?;
    let id = match found {
        Some(id) => id,
        None => {
            tx.execute("INSERT INTO streams (name, last_seq) VALUES (?1, 0)", [name])?;
            tx.last_insert_rowid()
        }
    };
    known.insert(name.to_owned(), id);
    Ok(id)
}

/// SQLite's integers are signed. What is over their range cannot occur, and would be refused as negative.
pub(crate) fn to_sql(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(-1)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    /// What stands in the file of what is in flight.
    fn in_file(dir: &Path) -> Vec<u8> {
        let files = std::fs::read_dir(dir.join("inflight")).unwrap().map(|entry| entry.unwrap().path());
        files.flat_map(|path| std::fs::read(path).unwrap()).collect()
    }

    fn has(dir: &Path, text: &[u8]) -> bool {
        in_file(dir).windows(text.len()).any(|window| window == text)
    }

    #[test]
    fn what_is_unhurried_is_in_the_file_before_all_that_comes_after_it() {
        let dir = tempfile::tempdir().unwrap();
        let queue = Queue::new(dir.path()).unwrap();
        let stream = Arc::new(Progress { name: "s".into(), durable_seq: AtomicU64::new(0) });
        let entry = |seq, text: &str| Item::Entry {
            stream: Arc::clone(&stream),
            seq,
            kind: Kind::Outcome,
            bytes: text.as_bytes().to_vec(),
        };
        queue.push_unhurried([entry(1, "first")]).unwrap();
        assert!(!has(dir.path(), b"first"));
        queue.push([entry(2, "second")]).unwrap();
        let file = in_file(dir.path());
        let at = |text: &[u8]| file.windows(text.len()).position(|window| window == text).unwrap();
        assert!(at(b"first") < at(b"second"));
        // Who waits for the disk waits for it, too.
        queue.push_unhurried([entry(3, "third")]).unwrap();
        queue.wait_on_disk(&stream, 3).unwrap();
        assert!(has(dir.path(), b"third"));
        // What the writer took and could not commit stands nowhere else.
        queue.push_unhurried([entry(4, "fourth")]).unwrap();
        queue.lock().is_awaited = true;
        assert_eq!(queue.take().unwrap().len(), 4);
        queue.stop(&LedgerError::Key { path: dir.path().into(), cause: "a commit failed".into() });
        assert!(has(dir.path(), b"fourth"));
    }

    #[test]
    fn what_is_committed_is_not_written_after_it() {
        let dir = tempfile::tempdir().unwrap();
        let queue = Queue::new(dir.path()).unwrap();
        let stream = Arc::new(Progress { name: "s".into(), durable_seq: AtomicU64::new(0) });
        let entry =
            |seq| Item::Entry { stream: Arc::clone(&stream), seq, kind: Kind::Outcome, bytes: b"gone".to_vec() };
        queue.push_unhurried([entry(1)]).unwrap();
        queue.lock().is_awaited = true;
        queue.done(queue.take().unwrap().len()).unwrap();
        queue.empty_file().unwrap();
        queue.push([Item::Blob { digest: Digest::of(b""), bytes: 0 }]).unwrap();
        assert!(!has(dir.path(), b"gone"), "what was erased meanwhile would come back");
    }

    #[test]
    fn a_log_that_is_begun_holds_nothing_new() {
        let dir = tempfile::tempdir().unwrap();
        // The last to close a ledger takes its log away.
        drop(crate::Ledger::open(dir.path()).unwrap());
        let ledger = crate::Ledger::open(dir.path()).unwrap();
        let reader = schema::open_read(dir.path()).unwrap();
        let rows = || -> (i64, i64, i64) {
            let sql =
                "SELECT (SELECT count(*) FROM registers), (SELECT count(*) FROM entries), (SELECT size FROM head)";
            reader.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).unwrap()
        };
        assert_eq!(rows(), (0, 0, 0));
        let log = || std::fs::metadata(dir.path().join("ledger.db-wal")).unwrap().len();
        assert_eq!(log(), 0);
        ledger.begin_log().unwrap();
        drop(ledger);
        assert_ne!(log(), 0);
        assert_eq!(rows(), (0, 0, 0));
    }

    /// A failed sync stops the queue while the writer commits something else.
    #[test]
    fn what_is_on_the_disk_by_our_word_outlives_a_stop_during_a_commit() {
        let dir = tempfile::tempdir().unwrap();
        let queue = Queue::new(dir.path()).unwrap();
        let stream = Arc::new(Progress { name: "s".into(), durable_seq: AtomicU64::new(0) });
        let entry = |seq, bytes| Item::Entry { stream: Arc::clone(&stream), seq, kind: Kind::Observe, bytes };
        let long = usize::try_from(KEPT_BYTES_MAX).unwrap() + 1;
        queue.push([entry(1, vec![b'a'; long])]).unwrap();
        queue.lock().is_awaited = true;
        let taken = queue.take().unwrap();
        queue.push([entry(2, b"acknowledged".to_vec())]).unwrap();
        queue.wait_on_disk(&stream, 2).unwrap();
        queue.stop(&LedgerError::Key { path: dir.path().into(), cause: "a sync failed".into() });
        queue.done(taken.len()).unwrap();
        assert!(has(dir.path(), b"acknowledged"), "{} bytes are left", in_file(dir.path()).len());
    }
}
