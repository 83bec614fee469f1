//! What passes through a session and is kept for its record: models' calls and answers, however long, with little of them in memory.

use flyball_gateway::Keep;
use flyball_ledger::{Digest, FILED_BYTES_MIN, Incoming, Ledger, LedgerError};
use serde_json::{Value as Json, json};
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Bytes of one body that are kept, at most. Of a longer one the beginning is, and the record says how long it was.
const KEPT_BYTES_MAX: u64 = if cfg!(test) { 4 << 20 } else { 64 << 20 };
/// Bytes of all bodies of a session that are kept. Of one that begins later the record has its length and digest.
const KEPT_ALL_BYTES_MAX: u64 = if cfg!(test) { 32 << 20 } else { 4 << 30 };
/// Bytes of all bodies that are in memory at a time; beyond it a body goes into its file sooner.
const MEMORY_ALL_BYTES_MAX: usize = if cfg!(test) { 2 << 20 } else { 16 << 20 };
/// Bytes of each that are in memory whatever others take.
const HEAD_BYTES_MAX: usize = 64 << 10;
/// Calls of tools that are remembered; of more, the oldest are forgotten.
const TOOL_CALLS_MAX: usize = 4096;

pub(crate) struct Kept {
    ledger: Arc<Ledger>,
    calls: Mutex<ToolCalls>,
    /// Bytes that were kept so far.
    all: Arc<AtomicU64>,
    /// Bytes that are in memory beside each body's head.
    memory: Arc<AtomicUsize>,
    /// The last attempt on record.
    latest: Arc<AtomicU64>,
}

/// Which model's call made a tool call.
#[derive(Default)]
struct ToolCalls {
    by_id: BTreeMap<String, u64>,
    order: VecDeque<String>,
}

impl Kept {
    /// `latest`: the last attempt on record, as it stands.
    pub fn new(ledger: &Arc<Ledger>, latest: Arc<AtomicU64>) -> Self {
        let (calls, all, memory) = Default::default();
        Self { ledger: Arc::clone(ledger), calls, all, memory, latest }
    }

    /// The last attempt on record.
    pub fn latest(&self) -> u64 {
        self.latest.load(Ordering::SeqCst)
    }

    /// Room for one body.
    pub fn begin(&self) -> Keeping {
        self.begin_of(false)
    }

    /// Room for one whose digest is known at its end.
    pub fn begin_digested(&self) -> Keeping {
        self.begin_of(true)
    }

    fn begin_of(&self, is_digested: bool) -> Keeping {
        let is_full = self.all.load(Ordering::Relaxed) >= KEPT_ALL_BYTES_MAX;
        Keeping {
            ledger: Arc::clone(&self.ledger),
            all: Arc::clone(&self.all),
            head: Vec::new(),
            room: Room { taken: 0, of: Arc::clone(&self.memory) },
            file: None,
            is_digested,
            bytes: 0,
            is_lost: false,
            digest: is_full.then(Sha256::new),
        }
    }

    /// A model called tools in its answer to that attempt.
    pub fn calls(&self, attempt: u64, ids: &[String]) {
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        for id in ids {
            if calls.by_id.insert(id.clone(), attempt).is_none() {
                calls.order.push_back(id.clone());
            }
            if calls.order.len() > TOOL_CALLS_MAX
                && let Some(oldest) = calls.order.pop_front()
            {
                calls.by_id.remove(&oldest);
            }
        }
    }

    /// The attempt to call the model whose answer made that tool call.
    pub fn call_of(&self, id: &str) -> Option<u64> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).by_id.get(id).copied()
    }
}

/// One body, as it passes.
pub(crate) struct Keeping {
    ledger: Arc<Ledger>,
    /// All of it as long as it is short.
    head: Vec<u8>,
    room: Room,
    /// All of it once it is longer.
    file: Option<Incoming>,
    /// Whether whoever writes it will say its digest.
    is_digested: bool,
    bytes: u64,
    is_lost: bool,
    /// In the place of what is kept, when there is no more room for it.
    digest: Option<Sha256>,
    all: Arc<AtomicU64>,
}

/// A part of the memory that all bodies share.
struct Room {
    taken: usize,
    of: Arc<AtomicUsize>,
}

impl Room {
    /// Has room for all that one body may take of it.
    fn take(&mut self) -> bool {
        if self.taken == 0 {
            let add = |all: usize| all.checked_add(FILED_BYTES_MIN).filter(|all| *all <= MEMORY_ALL_BYTES_MAX);
            let is_taken = self.of.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add).is_ok();
            self.taken = if is_taken { FILED_BYTES_MIN } else { 0 };
        }
        self.taken > 0
    }

    fn give_back(&mut self) {
        self.of.fetch_sub(std::mem::take(&mut self.taken), Ordering::Relaxed);
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.give_back();
    }
}

impl Keeping {
    fn add(&mut self, bytes: &[u8]) -> Result<(), LedgerError> {
        if let Some(file) = &mut self.file {
            return file.add(bytes);
        }
        let coming = self.head.len().saturating_add(bytes.len());
        if coming <= HEAD_BYTES_MAX || (coming < FILED_BYTES_MIN && self.room.take()) {
            self.head.extend_from_slice(bytes);
            return Ok(());
        }
        let file = if self.is_digested { self.ledger.begin_digested()? } else { self.ledger.begin_content()? };
        let file = self.file.insert(file);
        file.add(&std::mem::take(&mut self.head))?;
        self.room.give_back();
        file.add(bytes)
    }

    /// `digest` is of all that was kept, where that is known.
    fn payload(&mut self, digest: Option<Digest>) -> Option<Json> {
        match self.file.take() {
            None => self.ledger.payload_of(&self.head, digest).ok(),
            Some(file) => file.store_payload(digest).ok(),
        }
    }
}

impl Keep for Keeping {
    fn write(&mut self, bytes: &[u8]) {
        let room = KEPT_BYTES_MAX.saturating_sub(self.bytes);
        self.bytes = self.bytes.saturating_add(bytes.len() as u64);
        if let Some(digest) = &mut self.digest {
            return digest.update(bytes);
        }
        let kept = bytes.get(..usize::try_from(room).unwrap_or(usize::MAX)).unwrap_or(bytes);
        if self.is_lost || kept.is_empty() {
            return;
        }
        self.all.fetch_add(kept.len() as u64, Ordering::Relaxed);
        if self.add(kept).is_err() {
            // Where there is no room, none of it is to stand in the way of what follows.
            (self.is_lost, self.file) = (true, None);
        }
    }

    fn finish(mut self: Box<Self>, sha256: Option<[u8; 32]>) -> Option<Json> {
        if self.is_lost {
            return None;
        }
        if let Some(digest) = self.digest.take() {
            let digest: String = digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
            return Some(json!({ "sha256": digest, "bytes": self.bytes }));
        }
        // Of what was cut off it is another's.
        let payload = self.payload(sha256.filter(|_| self.bytes <= KEPT_BYTES_MAX).map(Digest))?;
        if self.bytes <= KEPT_BYTES_MAX {
            return Some(payload);
        }
        Some(json!({ "beginning": payload, "bytes": self.bytes }))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
    use super::*;

    #[test]
    fn bodies_of_every_length_are_kept_as_they_passed() {
        let dir = tempfile::tempdir().unwrap();
        let ledger = Arc::new(Ledger::open(dir.path()).unwrap());
        let kept = Kept::new(&ledger, Arc::default());
        for length in [0, 10, 4096, 4097, HEAD_BYTES_MAX, HEAD_BYTES_MAX + 1, 1 << 20, (1 << 20) + 1, 2 << 20, 3 << 20]
        {
            let bytes: Vec<u8> = (0..length).map(|n| (n % 251) as u8).collect();
            for (keeping, digest) in [(kept.begin(), None), (kept.begin_digested(), Some(Digest::of(&bytes).0))] {
                let mut keeping = Box::new(keeping);
                bytes.chunks(1000).for_each(|piece| keeping.write(piece));
                let member = keeping.finish(digest).unwrap();
                ledger.flush().unwrap();
                assert_eq!(ledger.payload_bytes(&member).unwrap(), bytes, "{length}");
            }
        }
        // Little, as other tests of this process measure its memory.
        let piece = vec![7; 1 << 20];
        let all = Digest::of(&piece.repeat(5)).0;
        // The digest of all of it is not that of its beginning.
        for (keeping, digest) in [(kept.begin(), None), (kept.begin_digested(), Some(all))] {
            let mut keeping = Box::new(keeping);
            (0..5).for_each(|_| keeping.write(&piece));
            let told = keeping.finish(digest).unwrap();
            ledger.flush().unwrap();
            assert_eq!(told["bytes"], 5 << 20);
            assert_eq!(ledger.payload_bytes(&told["beginning"]).unwrap().len(), 4 << 20);
        }
        assert!(ledger.verify(None).unwrap().ok);
    }

    /// A session can't fill the disk by what passes.
    #[test]
    fn beyond_a_session_s_room_there_is_a_digest() {
        let dir = tempfile::tempdir().unwrap();
        let ledger = Arc::new(Ledger::open(dir.path()).unwrap());
        let kept = Kept::new(&ledger, Arc::default());
        let keep = |bytes: &[u8]| {
            let mut keeping = Box::new(kept.begin());
            keeping.write(bytes);
            keeping.finish(None).unwrap()
        };
        kept.all.store(KEPT_ALL_BYTES_MAX - 1, Ordering::Relaxed);
        assert!(keep(b"ab").get("sha256").is_none());
        let told = keep(b"abc");
        let digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(told, json!({ "sha256": digest, "bytes": 3 }));
    }

    #[test]
    fn the_latest_tool_calls_are_known() {
        let dir = tempfile::tempdir().unwrap();
        let kept = Kept::new(&Arc::new(Ledger::open(dir.path()).unwrap()), Arc::default());
        for n in 0..5000_u64 {
            kept.calls(n, &[format!("t{n}")]);
        }
        assert_eq!((kept.call_of("t4999"), kept.call_of("t0")), (Some(4999), None));
        assert_eq!(kept.calls.lock().unwrap().by_id.len(), TOOL_CALLS_MAX);
    }
}
