//! Long content: each in a file of its own beside the database, `blobs/DIGEST` in hexadecimal. A database would write it three times.
//!
//! It comes into `blobs/coming/NAME`, and is on the disk there before anything that relies on it is queued. The writer gives it its
//! digest's name in the transaction that makes its row; erasing, the name goes after the row did, while nobody else can write. So
//! what has a row has its file. A name in `coming` begins with that of its handle's file in `inflight`: where that is gone, nobody
//! will ask for it any more.

use crate::{Digest, Ledger, LedgerError, commitment::commit, digest::Hasher, writer::Item};
use rustix::fs::{Advice, Mode, OFlags};
use serde_json::{Value, json};
use std::{
    fs::{self, File},
    io::{ErrorKind, Write as _},
    os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
};

/// From here on content that comes piece by piece is given a file: a shorter one is on the disk sooner in the database (`benches/append.rs`).
pub const FILED_BYTES_MIN: usize = 1 << 20;
const FOLDER: &str = "blobs";
const COMING: &str = "coming";
/// There where files may stand that have no row.
const UNSWEPT: &str = "unswept";
/// Hashed and written at a time: more in one write costs the system less, and each body on its way has so much in memory.
const BUFFER_BYTES: usize = 128 << 10;
/// As soon as so much more is written, the disk begins with it: the sync at the end, and whoever syncs beside it, waits for no more than that.
const BEGUN_BYTES: u64 = 1 << 20;

/// What one handle knows of its ledger's folders for content: that they are there, and on the disk.
#[derive(Default)]
pub(crate) struct Folders {
    made: AtomicBool,
    synced: AtomicBool,
}

/// Content on its way into a file. Dropped before its end it leaves nothing.
pub struct Incoming {
    ledger: Ledger,
    /// In `blobs/coming`.
    name: String,
    path: PathBuf,
    file: File,
    buffer: Vec<u8>,
    /// Of what was written, as it came; none where whoever brings it is to say its digest.
    hasher: Option<Hasher>,
    bytes: u64,
    /// In the file.
    written: u64,
    /// Of that, what the disk was told to begin with.
    begun: u64,
    is_queued: bool,
}

impl Ledger {
    /// Room for content of any length, none of which stays in memory.
    ///
    /// # Errors
    /// [`LedgerError::ReadOnly`]; those of the file, as [`LedgerError::Io`].
    pub fn begin_content(&self) -> Result<Incoming, LedgerError> {
        self.begin(Some(Hasher::new()))
    }

    /// [`Self::begin_content`] for whoever will know its digest at the end, so that it is not hashed twice.
    ///
    /// # Errors
    /// As for [`Self::begin_content`].
    pub fn begin_digested(&self) -> Result<Incoming, LedgerError> {
        self.begin(None)
    }

    fn begin(&self, hasher: Option<Hasher>) -> Result<Incoming, LedgerError> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let handle = self.queue()?.file_name().ok_or_else(|| LedgerError::ReadOnly(self.dir().to_owned()))?;
        let name = format!("{handle}-{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let path = coming(self.dir()).join(&name);
        let mut options = fs::OpenOptions::new();
        options.read(true).write(true).create_new(true).mode(0o600);
        if !self.folders().made.load(Ordering::Acquire) {
            make_folders(self.dir())?;
            self.folders().made.store(true, Ordering::Release);
        }
        let file = options.open(&path).map_err(|e| LedgerError::io("make the file", &path, e))?;
        Ok(Incoming {
            ledger: self.clone(),
            name,
            path,
            file,
            buffer: Vec::new(),
            hasher,
            bytes: 0,
            written: 0,
            begun: 0,
            is_queued: false,
        })
    }
}

impl Incoming {
    /// Adds what comes next.
    ///
    /// # Errors
    /// Those of the file.
    pub fn add(&mut self, bytes: &[u8]) -> Result<(), LedgerError> {
        self.bytes = self.bytes.saturating_add(bytes.len() as u64);
        if self.buffer.len().saturating_add(bytes.len()) > BUFFER_BYTES {
            self.write()?;
        }
        if bytes.len() < BUFFER_BYTES {
            self.buffer.extend_from_slice(bytes);
            return Ok(());
        }
        self.write_out(bytes)
    }

    fn write(&mut self) -> Result<(), LedgerError> {
        let mut buffer = std::mem::take(&mut self.buffer);
        let written = self.write_out(&buffer);
        buffer.clear();
        self.buffer = buffer;
        written
    }

    fn write_out(&mut self, bytes: &[u8]) -> Result<(), LedgerError> {
        self.hasher.iter_mut().for_each(|hasher| hasher.update(bytes));
        (&self.file).write_all(bytes).map_err(|e| self.fail(e))?;
        self.written = self.written.saturating_add(bytes.len() as u64);
        let more = self.written.saturating_sub(self.begun);
        if more >= BEGUN_BYTES {
            // What is asked for is that none of it stays in memory: so it is written out, and nobody waits until it is.
            let _ = rustix::fs::fadvise(&self.file, self.begun, std::num::NonZeroU64::new(more), Advice::DontNeed);
            self.begun = self.written;
        }
        Ok(())
    }

    fn fail(&self, error: std::io::Error) -> LedgerError {
        LedgerError::io("keep content in", &self.path, error)
    }

    /// Stores it, as [`Ledger::put_blob`] does.
    ///
    /// # Errors
    /// Those of the file, as [`LedgerError::Io`]; otherwise as for [`Ledger::put_blob`].
    pub fn store(mut self) -> Result<(Digest, u64), LedgerError> {
        let digest = self.finish(None)?;
        let bytes = self.bytes;
        self.queue(digest, None)?;
        Ok((digest, bytes))
    }

    /// Stores it as a payload, and gives the member of an entry that stands for it, as [`Ledger::payload`] does. `digest` is its
    /// digest, where that is known; else it is the one of what came.
    ///
    /// # Errors
    /// As for [`Self::store`].
    pub fn store_payload(mut self, digest: Option<Digest>) -> Result<Value, LedgerError> {
        let digest = self.finish(digest)?;
        let salt = self.ledger.new_salt()?;
        let commitment = commit(&salt, &digest);
        let (ledger, bytes) = (self.ledger.clone(), self.bytes);
        self.queue(digest, Some(Item::Payload { commitment, salt, digest }))?;
        ledger.remember(commitment)?;
        Ok(json!({ "bytes": bytes, "commitment": commitment.to_string() }))
    }

    /// Nothing more comes: all of it is written, and this is its digest.
    fn finish(&mut self, digest: Option<Digest>) -> Result<Digest, LedgerError> {
        self.write()?;
        // A write that failed left less, whoever went on after it.
        if self.file.metadata().map_err(|e| self.fail(e))?.len() != self.bytes {
            return Err(self.fail(ErrorKind::UnexpectedEof.into()));
        }
        match (digest, self.hasher.take()) {
            (Some(digest), _) => Ok(digest),
            (None, Some(hasher)) => Ok(hasher.finish()),
            (None, None) => self.read_back(),
        }
    }

    /// Whoever was to say its digest has it of something else.
    fn read_back(&self) -> Result<Digest, LedgerError> {
        let (mut buffer, mut at, mut hasher) = (vec![0; BUFFER_BYTES], 0, Hasher::new());
        while at < self.bytes {
            let read = match self.file.read_at(&mut buffer, at) {
                Err(e) if e.kind() == ErrorKind::Interrupted => continue,
                other => other.map_err(|e| self.fail(e))?,
            };
            if read == 0 {
                return Err(self.fail(ErrorKind::UnexpectedEof.into()));
            }
            hasher.update(buffer.get(..read).unwrap_or_default());
            at += read as u64;
        }
        Ok(hasher.finish())
    }

    /// INVARIANT: it is on the disk, under a name that is, before what relies on it is queued.
    fn queue(mut self, digest: Digest, payload: Option<Item>) -> Result<(), LedgerError> {
        let queue = self.ledger.queue()?;
        if self.ledger.has_blob(&digest)? {
            queue.push(payload)?;
            return Ok(());
        }
        self.file.sync_data().map_err(|e| self.fail(e))?;
        // It is rarely read: the memory that holds it now is better used for what comes next than taken from what others use.
        let _ = rustix::fs::fadvise(&self.file, 0, None, Advice::DontNeed);
        sync(&coming(self.ledger.dir()))?;
        let folders = self.ledger.folders();
        if !folders.synced.load(Ordering::Acquire) {
            sync(&folder(self.ledger.dir()))?;
            sync(self.ledger.dir())?;
            folders.synced.store(true, Ordering::Release);
        }
        let item = Item::Filed { digest, bytes: self.bytes, name: self.name.clone() };
        queue.push([item].into_iter().chain(payload))?;
        self.is_queued = true;
        self.ledger.remember(digest)
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        if !self.is_queued {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Gives what came its digest's name; `false` where it is not there. To be called by the writer in its transaction.
pub(crate) fn settle(dir: &Path, name: &str, digest: &Digest) -> Result<bool, LedgerError> {
    let (from, to) = (coming(dir).join(name), path(dir, digest));
    match fs::rename(&from, &to) {
        Ok(()) => Ok(true),
        // A killed process had got so far.
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(fs::symlink_metadata(&to).is_ok_and(|meta| meta.is_file())),
        Err(e) => Err(LedgerError::io("name content", &to, e)),
    }
}

/// What came is stored already.
pub(crate) fn drop_coming(dir: &Path, name: &str) -> Result<(), LedgerError> {
    remove(&coming(dir).join(name)).map(drop)
}

/// The names of what was settled are on the disk when this returns.
pub(crate) fn sync_names(dir: &Path) -> Result<(), LedgerError> {
    sync(&folder(dir))
}

/// Takes content away; whether there was any. To be called by the writer in a transaction, when it has no row.
pub(crate) fn erase(dir: &Path, digest: &Digest) -> Result<bool, LedgerError> {
    remove(&path(dir, digest))
}

/// Takes away what came by handles that are gone. To be called in the turn of [`crate::inflight`].
pub(crate) fn sweep_coming(dir: &Path, is_gone: impl Fn(&str) -> bool) -> Result<(), LedgerError> {
    for name in names(&coming(dir))? {
        if name.rsplit_once('-').is_some_and(|(handle, _)| is_name(&name) && is_gone(handle)) {
            drop_coming(dir, &name)?;
        }
    }
    Ok(())
}

/// Whether anything is on its way.
pub(crate) fn is_any_coming(dir: &Path) -> Result<bool, LedgerError> {
    Ok(!names(&coming(dir))?.is_empty())
}

/// Notes that a process was killed that may have named something, or erased its row: to be called before what it left is taken in, and
/// kept until nobody else has the ledger open, however long that takes.
pub(crate) fn note_unswept(dir: &Path) -> Result<(), LedgerError> {
    let path = folder(dir).join(UNSWEPT);
    let mut options = fs::OpenOptions::new();
    match options.write(true).create_new(true).mode(0o600).open(&path) {
        Ok(_) => sync(&folder(dir)),
        // There is no content in files, or it is noted.
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::AlreadyExists) => Ok(()),
        Err(e) => Err(LedgerError::io("make the file", &path, e)),
    }
}

/// Takes away what has no row, where such may be: whoever named it was cut off before its commit, or after what it erased. Nobody else may
/// have the ledger open for writing.
pub(crate) fn sweep_settled(ledger: &Ledger) -> Result<(), LedgerError> {
    let note = folder(ledger.dir()).join(UNSWEPT);
    if fs::symlink_metadata(&note).is_err() {
        return Ok(());
    }
    for name in names(&folder(ledger.dir()))? {
        let digest = name.parse::<Digest>().ok().filter(|digest| digest.to_hex() == name);
        if let Some(digest) = digest
            && !ledger.has_blob(&digest)?
        {
            erase(ledger.dir(), &digest)?;
        }
    }
    remove(&note).map(drop)
}

fn names(folder: &Path) -> Result<Vec<String>, LedgerError> {
    let fail = |e| LedgerError::io("read the folder", folder, e);
    let entries = match fs::read_dir(folder) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(fail)?,
    };
    let names = entries.map(|entry| entry.map(|entry| entry.file_name().into_string().ok()));
    names.filter_map(Result::transpose).collect::<Result<_, _>>().map_err(fail)
}

fn remove(path: &Path) -> Result<bool, LedgerError> {
    match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(false),
        Err(e) => Err(LedgerError::io("remove", path, e)),
    }
}

/// Whether that can be the name of something that comes.
pub(crate) fn is_name(name: &str) -> bool {
    (5..=64).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_digit() || b == b'-')
}

/// Bytes of content in a file from an offset on; fewer than `bytes_max` at its end.
pub(crate) fn piece(dir: &Path, digest: &Digest, from: u64, bytes_max: usize) -> Result<Option<Vec<u8>>, LedgerError> {
    let path = path(dir, digest);
    let fail = |e: std::io::Error| LedgerError::io("read content in", &path, e);
    let Some(file) = open(dir, digest).map_err(fail)? else { return Ok(None) };
    let (mut bytes, mut at) = (vec![0; bytes_max], 0);
    while at < bytes_max {
        match file.read_at(bytes.get_mut(at..).unwrap_or_default(), from.saturating_add(at as u64)) {
            Ok(0) => break,
            Ok(read) => at += read,
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => return Err(fail(e)),
        }
    }
    bytes.truncate(at);
    Ok(Some(bytes))
}

/// Nothing is followed and nothing is waited for that somebody put in its place.
fn open(dir: &Path, digest: &Digest) -> std::io::Result<Option<File>> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let found = rustix::fs::open(folder(dir), flags | OFlags::DIRECTORY, Mode::empty())
        .and_then(|folder| rustix::fs::openat(folder, digest.to_hex(), flags, Mode::empty()));
    let file = match found {
        Ok(file) => File::from(file),
        Err(e) if [rustix::io::Errno::NOENT, rustix::io::Errno::NOTDIR, rustix::io::Errno::LOOP].contains(&e) => {
            return Ok(None);
        }
        Err(e) => return Err(e.into()),
    };
    Ok(file.metadata()?.is_file().then_some(file))
}

fn path(dir: &Path, digest: &Digest) -> PathBuf {
    folder(dir).join(digest.to_hex())
}

fn folder(dir: &Path) -> PathBuf {
    dir.join(FOLDER)
}

fn coming(dir: &Path) -> PathBuf {
    folder(dir).join(COMING)
}

fn make_folders(dir: &Path) -> Result<(), LedgerError> {
    for folder in [folder(dir), coming(dir)] {
        let fail = |e| LedgerError::io("make the folder", &folder, e);
        match fs::DirBuilder::new().mode(0o700).create(&folder) {
            Err(e) if e.kind() != ErrorKind::AlreadyExists => return Err(fail(e)),
            _ => {}
        }
        if !fs::symlink_metadata(&folder).map_err(fail)?.is_dir() {
            return Err(fail(ErrorKind::NotADirectory.into()));
        }
    }
    Ok(())
}

fn sync(folder: &Path) -> Result<(), LedgerError> {
    let synced = File::open(folder).and_then(|folder| folder.sync_all());
    synced.map_err(|e| LedgerError::io("sync the folder", folder, e))
}
