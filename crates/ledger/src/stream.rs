//! A stream of one session: numbers, causes and times are kept in order here, before anything is queued.

use crate::{
    Digest, Draft, Kind, Ledger, LedgerError, References,
    entry::{self, ENTRY_BYTES_MAX, Head},
    inflight,
    shared::SharedItem,
    time,
    writer::{Item, Progress, Queue},
};
use serde::Serialize;
use std::{
    collections::BTreeSet,
    fs::{self, File, TryLockError},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::AtomicU64},
};

/// The right to append to one stream. There is one at a time, on the whole machine; dropping it writes out what is
/// queued and gives the right back. Shared between threads by reference.
pub struct Stream {
    ledger: Ledger,
    progress: Arc<Progress>,
    tip: Mutex<Tip>,
    _owner: Owner,
}

struct Tip {
    seq: u64,
    at_ns: u64,
    /// Numbered and encoded, and not queued yet.
    staged: Vec<Item>,
    staged_bytes: usize,
}

/// What is staged is queued by itself beyond this.
const STAGED_BYTES_MAX: usize = 1 << 20;

impl Tip {
    fn queue_staged(&mut self, queue: &Queue) -> Result<(), LedgerError> {
        self.staged_bytes = 0;
        if self.staged.is_empty() { Ok(()) } else { queue.push(self.staged.drain(..)).map(drop) }
    }
}

impl Stream {
    pub(crate) fn open(ledger: &Ledger, id: &str) -> Result<Self, LedgerError> {
        ledger.queue()?.check_running()?;
        if !is_stream_name(id) {
            return Err(LedgerError::StreamName(id.to_owned()));
        }
        let owner = Owner::take(ledger.dir(), id)?;
        // Its last owner may have been killed a moment ago.
        inflight::take_in(ledger)?;
        // INVARIANT: read after the lock is held, so that nobody appends behind this.
        let (seq, at_ns) = ledger.tip(id)?;
        let progress = Arc::new(Progress { name: id.to_owned(), durable_seq: AtomicU64::new(seq) });
        Ok(Self {
            ledger: ledger.clone(),
            progress,
            tip: Mutex::new(Tip { seq, at_ns, staged: Vec::new(), staged_bytes: 0 }),
            _owner: owner,
        })
    }

    /// The stream's name.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.progress.name
    }

    /// The number of the last entry appended, durable or not; 0 if there is none.
    #[must_use]
    pub fn last_seq(&self) -> u64 {
        self.tip().seq
    }

    /// The time of the last entry appended: what the next one's must not be before.
    #[must_use]
    pub fn last_at_ns(&self) -> u64 {
        self.tip().at_ns
    }

    /// Appends an entry whose end the writer finds, and waits for it. Nothing else is appended meanwhile: should the process
    /// die, no later entry is in flight without it.
    pub(crate) fn append_shared(
        &self,
        draft: Draft,
        make: impl FnOnce(Arc<Progress>, u64, Draft) -> SharedItem,
    ) -> Result<Arc<SharedItem>, LedgerError> {
        let mut tip = self.tip();
        let seq = self.next(&tip, draft.at_ns, &draft.cause)?;
        let at_ns = draft.at_ns;
        let item = Arc::new(make(self.progress.clone(), seq, draft));
        let queue = self.ledger.queue()?;
        tip.queue_staged(queue)?;
        queue.push([Item::Shared(item.clone())])?;
        (tip.seq, tip.at_ns) = (seq, at_ns);
        queue.wait_durable(&self.progress, seq)?;
        Ok(item)
    }

    /// The number of the entry to be appended, if it may follow the last.
    fn next(&self, tip: &Tip, at_ns: u64, cause: &[u64]) -> Result<u64, LedgerError> {
        let seq = tip.seq + 1;
        if at_ns < tip.at_ns {
            let (at, last) = (time::format_ns(at_ns), time::format_ns(tip.at_ns));
            return Err(LedgerError::TimeBackwards { stream: self.id().to_owned(), at, last });
        }
        match cause.iter().find(|cause| **cause == 0 || **cause >= seq) {
            Some(&cause) => Err(LedgerError::Cause { stream: self.id().to_owned(), seq, cause }),
            None => Ok(seq),
        }
    }

    /// Appends an entry and returns its number, without waiting for the disk (unless too much is queued). A body that
    /// would make the entry longer than [`ENTRY_BYTES_MAX`] is stored as a payload: see [`Ledger::body`].
    ///
    /// # Errors
    /// [`LedgerError::TimeBackwards`], [`LedgerError::Cause`], [`LedgerError::EntryTooLarge`], and
    /// [`LedgerError::Malformed`] for a body nested too deeply refuse this entry, and no number is used up. [`LedgerError::Stopped`]: a commit failed, and nothing can be appended any more.
    pub fn append(&self, draft: Draft) -> Result<u64, LedgerError> {
        let mut tip = self.tip();
        let seq = self.number(&mut tip, draft.at_ns, draft.kind, &draft.cause, |seq| {
            self.with_references(&draft.head(self.id(), seq), &draft.body)
        })?;
        // INVARIANT: the tip is held until the entry is queued, so that a stream is queued in the order of its numbers.
        tip.queue_staged(self.ledger.queue()?)?;
        Ok(seq)
    }

    /// The same of a body whose members `blob`, wherever they are, name these digests and no others: nobody has to look for
    /// them, nor to make a value of it.
    ///
    /// # Errors
    /// Those of [`Self::append`].
    pub fn append_naming<B: Serialize>(
        &self,
        (at_ns, kind): (u64, Kind),
        actor: &str,
        cause: &[u64],
        body: &B,
        blobs: BTreeSet<Digest>,
    ) -> Result<u64, LedgerError> {
        let mut tip = self.tip();
        let seq = self.number(&mut tip, at_ns, kind, cause, |seq| {
            let head = Head { stream: self.id(), seq, at_ns, kind, actor, cause };
            let named = References { blobs: blobs.into_iter().collect(), ..References::default() };
            let bytes = entry::encode(&head, body, &self.ledger.stored(named)?)?;
            if bytes.len() <= ENTRY_BYTES_MAX {
                return Ok(bytes);
            }
            self.with_references(&head, &serde_json::to_value(body).map_err(entry::malformed)?)
        })?;
        tip.queue_staged(self.ledger.queue()?)?;
        Ok(seq)
    }

    /// Gives an entry its number, and its bytes, without queueing it: what belongs to one decision is then queued in one go, by
    /// [`Self::queue_staged`] or with whatever is appended, waited for or flushed next.
    ///
    /// INVARIANT: nothing takes effect on what is only staged: it is lost with its process.
    ///
    /// # Errors
    /// Those of [`Self::append`].
    pub fn stage<B: Serialize>(
        &self,
        at_ns: u64,
        kind: Kind,
        actor: &str,
        cause: &[u64],
        body: &B,
    ) -> Result<u64, LedgerError> {
        let mut tip = self.tip();
        let seq = self.number(&mut tip, at_ns, kind, cause, |seq| {
            let head = Head { stream: self.id(), seq, at_ns, kind, actor, cause };
            let bytes = entry::encode(&head, body, &References::default())?;
            if bytes.len() <= ENTRY_BYTES_MAX && !References::may_be_in(&bytes) {
                return Ok(bytes);
            }
            let body = serde_json::to_value(body).map_err(entry::malformed)?;
            self.with_references(&head, &body)
        })?;
        if tip.staged_bytes > STAGED_BYTES_MAX {
            tip.queue_staged(self.ledger.queue()?)?;
        }
        Ok(seq)
    }

    /// Queues what is staged. From then on it outlives this process.
    ///
    /// # Errors
    /// [`LedgerError::Stopped`].
    pub fn queue_staged(&self) -> Result<(), LedgerError> {
        self.tip().queue_staged(self.ledger.queue()?)
    }

    /// The same of what comes of an action that is over: it outlives this process from the next entry that is queued on, or from
    /// the next commit, for which it gathers no longer than others.
    ///
    /// # Errors
    /// [`LedgerError::Stopped`].
    pub fn queue_staged_unhurried(&self) -> Result<(), LedgerError> {
        let mut tip = self.tip();
        tip.staged_bytes = 0;
        if tip.staged.is_empty() { Ok(()) } else { self.ledger.queue()?.push_unhurried(tip.staged.drain(..)).map(drop) }
    }

    fn number(
        &self,
        tip: &mut Tip,
        at_ns: u64,
        kind: Kind,
        cause: &[u64],
        encode: impl FnOnce(u64) -> Result<Vec<u8>, LedgerError>,
    ) -> Result<u64, LedgerError> {
        let seq = self.next(tip, at_ns, cause)?;
        let bytes = encode(seq)?;
        tip.staged_bytes += bytes.len();
        tip.staged.push(Item::Entry { stream: self.progress.clone(), seq, kind, bytes });
        (tip.seq, tip.at_ns) = (seq, at_ns);
        Ok(seq)
    }

    /// An entry with what its body names, and with the body beside it where it is too long.
    fn with_references(&self, head: &Head<'_>, body: &serde_json::Value) -> Result<Vec<u8>, LedgerError> {
        let mut refs = self.ledger.stored(References::named_in(body)?)?;
        let mut bytes = entry::encode(head, body, &refs)?;
        if bytes.len() > ENTRY_BYTES_MAX {
            let (body, commitment) = self.ledger.payload_of_body(body)?;
            refs.payloads.push(commitment);
            bytes = entry::encode(head, &body, &refs)?;
            if bytes.len() > ENTRY_BYTES_MAX {
                return Err(LedgerError::EntryTooLarge { bytes: bytes.len(), limit_bytes: ENTRY_BYTES_MAX });
            }
        }
        Ok(bytes)
    }

    fn tip(&self) -> MutexGuard<'_, Tip> {
        self.tip.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until entry `seq`, and with it all before it, is on the disk.
    ///
    /// # Errors
    /// [`LedgerError::NoEntry`] if it was never appended; [`LedgerError::Stopped`] if it can no longer become durable.
    pub fn durable(&self, seq: u64) -> Result<(), LedgerError> {
        if seq > self.last_seq() {
            return Err(LedgerError::NoEntry { stream: self.id().to_owned(), seq });
        }
        self.queue_staged()?;
        self.ledger.queue()?.wait_durable(&self.progress, seq)
    }

    /// Waits until neither the process' end nor the power can take entry `seq` nor what was appended before it. Sooner than
    /// [`Self::durable`]: it may not be in the tree yet, where others read; who opens the ledger after a crash puts it there.
    ///
    /// # Errors
    /// As for [`Self::durable`].
    pub fn on_disk(&self, seq: u64) -> Result<(), LedgerError> {
        if seq > self.last_seq() {
            return Err(LedgerError::NoEntry { stream: self.id().to_owned(), seq });
        }
        self.queue_staged()?;
        self.ledger.queue()?.wait_on_disk(&self.progress, seq)
    }

    /// Waits until everything appended so far is on the disk.
    ///
    /// # Errors
    /// [`LedgerError::Stopped`].
    pub fn flush(&self) -> Result<(), LedgerError> {
        self.queue_staged()?;
        self.ledger.queue()?.wait_durable(&self.progress, self.last_seq())
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        // The next owner reads the last number from the disk. A stopped store has nothing left to wait for.
        let _ = self.flush().and_then(|()| {
            // What is erased of this stream from here on must not stay there, however long this process lives.
            self.ledger.flush()?;
            self.ledger.queue()?.empty_file()
        });
    }
}

/// Whether some process holds the right to append to this stream.
pub(crate) fn is_owned(dir: &Path, id: &str) -> bool {
    let path = lock_path(dir, id);
    // Shared, so that two who look do not see each other.
    File::open(path).is_ok_and(|file| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)))
}

/// The lock on a stream: of the operating system, so that it ends with its holder.
struct Owner {
    path: PathBuf,
    _file: File,
}

impl Owner {
    fn take(dir: &Path, id: &str) -> Result<Self, LedgerError> {
        let path = lock_path(dir, id);
        let fail = |e| LedgerError::io("lock the stream's file", &path, e);
        let folder = dir.join("owners");
        if let Err(e) = fs::create_dir(&folder)
            && e.kind() != std::io::ErrorKind::AlreadyExists
        {
            return Err(LedgerError::io("make the folder", &folder, e));
        }
        let mut tries_left = 20;
        loop {
            let file = fs::OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path);
            let file = file.map_err(fail)?;
            match file.try_lock() {
                Ok(()) => {}
                // Someone who looks whether the stream is owned holds a shared lock for microseconds.
                Err(TryLockError::WouldBlock) if tries_left > 0 => {
                    tries_left -= 1;
                    std::thread::sleep(std::time::Duration::from_millis(1));
                    continue;
                }
                Err(TryLockError::WouldBlock) => return Err(LedgerError::StreamOwned(id.to_owned())),
                Err(TryLockError::Error(e)) => return Err(fail(e)),
            }
            // The last owner removes the file while it holds the lock: a lock on a file without a name is worth nothing.
            let is_current =
                fs::metadata(&path).is_ok_and(|named| file.metadata().is_ok_and(|m| m.ino() == named.ino()));
            if is_current {
                return Ok(Self { path, _file: file });
            }
        }
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

fn lock_path(dir: &Path, id: &str) -> PathBuf {
    dir.join("owners").join(id)
}

fn is_stream_name(id: &str) -> bool {
    (1..=128).contains(&id.len())
        && !id.starts_with('.')
        && id.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}
