//! What is queued and not yet committed, in a file: a write into the system's memory costs a microsecond, and outlives a
//! process that is killed. So what was appended is not lost with its process; only the power can take it before it is durable.
//! What is queued unhurried (how an action ended that is over) is written with what is queued behind it, or committed first.
//! And it is durable once this file is synced, for less than a commit costs ([`Inflight::mark`]).
//!
//! Each handle for writing has such a file, `inflight/NAME`, locked for as long as its process lives. Whoever finds one that
//! nobody holds takes what is in it into the store and removes it. It is no second record: it holds nothing that was committed
//! for longer than until the next pause, and nothing is read from it but after a crash.

use crate::{
    Digest, Entry, Ledger, LedgerError, filed, merkle,
    writer::{Item, Progress},
};
use std::{
    collections::HashMap,
    fs::{self, File, TryLockError},
    io::{BufReader, Read, Seek as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

const MAGIC: &[u8; 8] = b"FBIFLT1\n";
/// The longest item: a piece of a blob, with what names it.
const ITEM_BYTES_MAX: usize = crate::CHUNK_BYTES + 4096;
/// Written in one go, about; and what is kept of the room for it.
const BUFFER_BYTES_MAX: usize = 64 << 10;
/// Taken back at a time.
const BATCH_BYTES_MAX: usize = 8 << 20;
/// Up to here what is committed may stay in the file; it is skipped by its numbers.
pub(crate) const KEPT_BYTES_MAX: u64 = 1 << 20;
/// Beyond this, `append` waits until the queue was empty once.
pub(crate) const FILE_BYTES_MAX: u64 = 256 << 20;

/// The file of one handle.
pub(crate) struct Inflight {
    path: PathBuf,
    file: Arc<File>,
    bytes: u64,
    /// Bytes ever written.
    written: u64,
    /// The folders above it are to be synced, so that its name is there.
    is_named: bool,
    buffer: Vec<u8>,
}

/// What stood in the file at one moment, to be synced without whoever guards the file.
pub(crate) struct Mark {
    file: Arc<File>,
    path: PathBuf,
    is_named: bool,
    pub(crate) written: u64,
}

impl Mark {
    /// Returns when all that stood there then is on the disk, under a name that is.
    pub(crate) fn sync(&self) -> Result<(), LedgerError> {
        let fail = |e| LedgerError::io("sync", &self.path, e);
        self.file.sync_data().map_err(fail)?;
        if !self.is_named {
            for folder in self.path.ancestors().skip(1).take(2) {
                File::open(folder).and_then(|folder| folder.sync_all()).map_err(fail)?;
            }
        }
        Ok(())
    }
}

impl Inflight {
    /// Makes the file and locks it.
    pub(crate) fn new(dir: &Path) -> Result<Self, LedgerError> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let folder = folder(dir);
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder);
        made.map_err(|e| LedgerError::io("make the folder", &folder, e))?;
        let _turn = turn(dir)?;
        let (path, file) = loop {
            let path = folder.join(format!("{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed)));
            match fs::OpenOptions::new().append(true).create_new(true).mode(0o600).open(&path) {
                Ok(file) => break (path, file),
                // A killed process that had this one's number left it, and it is yet to be taken in.
                Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(e) => return Err(LedgerError::io("make the file", &path, e)),
            }
        };
        let fail = |e| LedgerError::io("make the file", &path, e);
        file.try_lock().map_err(|e| fail(e.into()))?;
        (&file).write_all(MAGIC).map_err(fail)?;
        let (file, bytes) = (Arc::new(file), MAGIC.len() as u64);
        Ok(Self { path, file, bytes, written: bytes, is_named: false, buffer: Vec::with_capacity(1024) })
    }

    /// All that was written so far.
    pub(crate) fn mark(&self) -> Mark {
        let (file, path) = (Arc::clone(&self.file), self.path.clone());
        Mark { file, path, is_named: self.is_named, written: self.written }
    }

    /// A [`Mark`] of it was synced.
    pub(crate) fn synced(&mut self) {
        self.is_named = true;
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes in it.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Adds an item to what is written next, which is at [`Self::write`] at the latest.
    pub(crate) fn add(&mut self, item: &Item) -> Result<(), LedgerError> {
        encode(item, &mut self.buffer);
        if self.buffer.len() > BUFFER_BYTES_MAX { self.write() } else { Ok(()) }
    }

    /// Writes what was added behind what is there.
    pub(crate) fn write(&mut self) -> Result<(), LedgerError> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let written = (&*self.file).write_all(&self.buffer);
        let bytes = self.buffer.len() as u64;
        self.buffer.clear();
        self.buffer.shrink_to(BUFFER_BYTES_MAX);
        written.map_err(|e| LedgerError::io("write to", &self.path, e))?;
        self.bytes += bytes;
        self.written += bytes;
        Ok(())
    }

    /// All that is in it is committed, and what was to be written next.
    pub(crate) fn empty(&mut self) -> Result<(), LedgerError> {
        self.buffer.clear();
        self.file.set_len(MAGIC.len() as u64).map_err(|e| LedgerError::io("empty", &self.path, e))?;
        self.bytes = MAGIC.len() as u64;
        Ok(())
    }

    /// All that is in it is committed, and nothing more will come.
    pub(crate) fn remove(self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// Takes in what processes that were killed left behind. Must be done before the tip of a stream is read.
pub(crate) fn take_in(ledger: &Ledger) -> Result<(), LedgerError> {
    let _turn = turn(ledger.dir())?;
    take_in_turn(ledger)
}

/// The same when the ledger is being opened: nobody puts anything through this handle yet.
pub(crate) fn take_in_first(ledger: &Ledger) -> Result<(), LedgerError> {
    let _turn = turn(ledger.dir())?;
    take_in_turn(ledger)?;
    // Others that live may be about to commit what they named; who comes is waiting for the turn.
    if files(ledger.dir())?.len() == 1 { filed::sweep_settled(ledger) } else { Ok(()) }
}

fn take_in_turn(ledger: &Ledger) -> Result<(), LedgerError> {
    let dir = ledger.dir();
    for path in files(dir)? {
        let fail = |e| LedgerError::io("read what a killed process left in", &path, e);
        let file = match File::open(&path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => continue,
            other => other.map_err(fail)?,
        };
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => continue,
            Err(TryLockError::Error(e)) => return Err(fail(e)),
        }
        filed::note_unswept(dir)?;
        let committed = committed(ledger, &file)?;
        (&file).rewind().map_err(fail)?;
        take_in_one(ledger, &file, committed)?;
        fs::remove_file(&path).map_err(fail)?;
    }
    filed::sweep_coming(dir, |handle| !folder(dir).join(handle).exists())
}

/// Whether living processes have anything in files of theirs.
pub(crate) fn others_hold_any(ledger: &Ledger) -> Result<bool, LedgerError> {
    let own = ledger.queue()?.file_path();
    let others = files(ledger.dir())?.into_iter().filter(|path| Some(path) != own.as_ref());
    let is_any = others.filter_map(|path| fs::metadata(path).ok()).any(|meta| meta.len() > MAGIC.len() as u64);
    Ok(is_any || filed::is_any_coming(ledger.dir())?)
}

/// What stands at the beginning of it.
fn is_ours(reader: &mut impl Read) -> bool {
    let mut magic = [0; MAGIC.len()];
    reader.read_exact(&mut magic).is_ok() && magic == *MAGIC
}

/// How many items at the file's beginning were committed.
///
/// INVARIANT: items are committed in the order in which they stand here, so all before an entry that the store has were. Such a
/// salt or content that the store has no more was erased since, and must not come back.
fn committed(ledger: &Ledger, file: &File) -> Result<usize, LedgerError> {
    let mut reader = BufReader::new(file);
    let mut tips: HashMap<String, u64> = HashMap::new();
    let mut committed = 0;
    if !is_ours(&mut reader) {
        return Ok(0);
    }
    let frames = std::iter::from_fn(|| frame(&mut reader));
    for (at, (tag, payload)) in frames.enumerate() {
        match (tag == b'E').then(|| decode(tag, payload)) {
            None => {}
            Some(Some((Found::Entry(entry), _))) => {
                let tip = match tips.get(&entry.stream) {
                    Some(tip) => *tip,
                    None => ledger.tip(&entry.stream)?.0,
                };
                if entry.seq <= tip {
                    committed = at + 1;
                }
                tips.insert(entry.stream, tip);
            }
            Some(_) => break,
        }
    }
    Ok(committed)
}

/// Takes in what stands behind the first `skipped` items.
fn take_in_one(ledger: &Ledger, file: &File, skipped: usize) -> Result<(), LedgerError> {
    let mut reader = BufReader::new(file);
    if !is_ours(&mut reader) {
        return Ok(());
    }
    for _ in 0..skipped {
        frame(&mut reader);
    }
    let mut tips: HashMap<String, u64> = HashMap::new();
    let mut is_over = false;
    while !is_over {
        let (mut items, mut bytes) = (Vec::new(), 0);
        while bytes < BATCH_BYTES_MAX {
            // The end, or where it was cut off. INVARIANT: nothing is taken from behind that: it may rely on what is missing.
            let Some((found, length)) = frame(&mut reader).and_then(|(tag, payload)| decode(tag, payload)) else {
                is_over = true;
                break;
            };
            bytes += length;
            match found {
                Found::Item(item) => items.push(item),
                Found::Entry(entry) => {
                    let tip = match tips.get(&entry.stream) {
                        Some(tip) => *tip,
                        None => ledger.tip(&entry.stream)?.0,
                    };
                    if entry.seq == tip + 1 {
                        tips.insert(entry.stream.clone(), entry.seq);
                        items.push(item(entry));
                    } else {
                        tips.insert(entry.stream, tip);
                    }
                }
            }
        }
        ledger.queue()?.push(items)?;
        ledger.flush()?;
    }
    // It is committed now: a copy in this handle's own file would outlive an erasure.
    ledger.queue()?.empty_file()
}

fn item(entry: Entry) -> Item {
    let stream = Arc::new(Progress { name: entry.stream, durable_seq: AtomicU64::new(0) });
    Item::Entry { stream, seq: entry.seq, kind: entry.kind, bytes: entry.raw }
}

/// How many whole items stand one after the other.
pub(crate) fn items(mut raw: &[u8]) -> usize {
    std::iter::from_fn(|| frame(&mut raw).and_then(|(tag, payload)| decode(tag, payload))).count()
}

pub(crate) enum Found {
    Item(Item),
    Entry(Entry),
}

/// Tag, length of the payload, CRC-32 of it, and the payload; behind what is there.
fn encode(item: &Item, into: &mut Vec<u8>) {
    if matches!(item, Item::Shared(_)) {
        // Nobody is told of it before it is committed: with its process it never was.
        return;
    }
    let start = into.len();
    into.extend([0; 9]);
    let tag = match item {
        Item::Entry { bytes, .. } => {
            into.extend(bytes);
            b'E'
        }
        Item::Chunk { digest, piece, bytes } => {
            into.extend(digest.0);
            into.extend(piece.to_le_bytes());
            into.extend(bytes);
            b'C'
        }
        Item::Blob { digest, bytes } => {
            into.extend(digest.0);
            into.extend(bytes.to_le_bytes());
            b'B'
        }
        Item::Filed { digest, bytes, name } => {
            into.extend(digest.0);
            into.extend(bytes.to_le_bytes());
            into.extend(name.as_bytes());
            b'F'
        }
        Item::Payload { commitment, salt, digest } => {
            into.extend(commitment.0);
            into.extend(salt);
            into.extend(digest.0);
            b'P'
        }
        Item::Erase { payloads, blobs } => {
            into.extend((payloads.len() as u64).to_le_bytes());
            payloads.iter().chain(blobs).for_each(|digest| into.extend(digest.0));
            b'X'
        }
        Item::Shared(_) => return,
    };
    let Some((head, payload)) = into.get_mut(start..).and_then(<[u8]>::split_first_chunk_mut::<9>) else { return };
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX).to_le_bytes();
    let check = crc32fast::hash(payload).to_le_bytes();
    let mut bytes = [tag].into_iter().chain(length).chain(check);
    head.fill_with(|| bytes.next().unwrap_or_default());
}

/// The next frame that is whole.
fn frame(reader: &mut impl Read) -> Option<(u8, Vec<u8>)> {
    let mut head = [0; 9];
    reader.read_exact(&mut head).ok()?;
    let [tag, a, b, c, d, e, f, g, h] = head;
    let length = usize::try_from(u32::from_le_bytes([a, b, c, d])).ok().filter(|length| *length <= ITEM_BYTES_MAX)?;
    let mut payload = vec![0; length];
    reader.read_exact(&mut payload).ok()?;
    (crc32fast::hash(&payload) == u32::from_le_bytes([e, f, g, h])).then_some((tag, payload))
}

pub(crate) fn decode(tag: u8, payload: Vec<u8>) -> Option<(Found, usize)> {
    let length = payload.len();
    let digest = |at: usize| Some(Digest(payload.get(at..at + 32)?.try_into().ok()?));
    let number = |at: usize| Some(u64::from_le_bytes(payload.get(at..at + 8)?.try_into().ok()?));
    let found = match tag {
        b'E' => {
            let leaf = merkle::leaf_digest(&payload);
            Found::Entry(Entry::decode(payload, 0, leaf).ok()?)
        }
        b'C' => {
            let (digest, piece) = (digest(0)?, number(32)?);
            Found::Item(Item::Chunk { digest, piece, bytes: payload.get(40..)?.to_vec() })
        }
        b'B' => Found::Item(Item::Blob { digest: digest(0)?, bytes: number(32)? }),
        b'F' => {
            let name = String::from_utf8(payload.get(40..)?.to_vec()).ok().filter(|name| filed::is_name(name))?;
            Found::Item(Item::Filed { digest: digest(0)?, bytes: number(32)?, name })
        }
        b'P' => {
            let (commitment, salt, digest) = (digest(0)?, payload.get(32..64)?.try_into().ok()?, digest(64)?);
            Found::Item(Item::Payload { commitment, salt, digest })
        }
        b'X' => {
            let count = usize::try_from(number(0)?).ok()?;
            let digests = payload.get(8..).filter(|rest| rest.len() % 32 == 0)?;
            let mut payloads: Vec<Digest> = digests.chunks_exact(32).filter_map(Digest::from_slice).collect();
            let blobs = (count <= payloads.len()).then(|| payloads.split_off(count))?;
            Found::Item(Item::Erase { payloads, blobs })
        }
        _ => return None,
    };
    Some((found, length))
}

fn folder(dir: &Path) -> PathBuf {
    dir.join("inflight")
}

/// The files of all handles.
fn files(dir: &Path) -> Result<Vec<PathBuf>, LedgerError> {
    let folder = folder(dir);
    let fail = |e| LedgerError::io("read the folder", &folder, e);
    let mut found = Vec::new();
    for entry in fs::read_dir(&folder).map_err(fail)? {
        let path = entry.map_err(fail)?.path();
        if path.file_name().is_some_and(|name| name != TURN) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

const TURN: &str = "turn";

/// One process at a time makes such a file or takes one in: between making and locking, one looks as if nobody held it.
fn turn(dir: &Path) -> Result<File, LedgerError> {
    let path = folder(dir).join(TURN);
    let fail = |e| LedgerError::io("lock", &path, e);
    let file = fs::OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path).map_err(fail)?;
    file.lock().map_err(fail)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_back_and_damaged_ones_end_it() {
        let chunk = || Item::Chunk { digest: Digest::of(b"x"), piece: 7, bytes: b"content".to_vec() };
        let mut bytes = Vec::new();
        for _ in 0..3 {
            let mut one = Vec::new();
            encode(&chunk(), &mut one);
            bytes.extend(one);
        }
        let count = |bytes: &[u8]| {
            let mut reader = bytes;
            std::iter::from_fn(|| frame(&mut reader)).filter_map(|(tag, payload)| decode(tag, payload)).count()
        };
        assert_eq!(count(&bytes), 3);
        for cut in 0..bytes.len() {
            assert_eq!(count(bytes.get(..cut).unwrap_or_default()), cut / (bytes.len() / 3), "cut at {cut}");
        }
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            if let Some(byte) = damaged.get_mut(at) {
                *byte ^= 0x40;
            }
            assert!(count(&damaged) <= 3, "never more than there was");
        }
    }
}
