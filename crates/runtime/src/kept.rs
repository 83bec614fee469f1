//! What passes through a session and is kept for its record: models' calls and answers, however long, with little of them in memory.

use flyball_gateway::Keep;
use flyball_ledger::Ledger;
use serde_json::{Value as Json, json};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Bytes of one body that are kept, at most. Of a longer one the beginning is, and the record says how long it was.
const KEPT_BYTES_MAX: u64 = if cfg!(test) { 4 << 20 } else { 64 << 20 };
/// Bytes of all bodies of a session that are kept. Of one that begins later the record has its length and digest.
const KEPT_ALL_BYTES_MAX: u64 = if cfg!(test) { 32 << 20 } else { 4 << 30 };
/// Bytes of it that are in memory; the rest waits in a file without a name.
const MEMORY_BYTES_MAX: usize = 64 << 10;
/// Calls of tools that are remembered; of more, the oldest are forgotten.
const TOOL_CALLS_MAX: usize = 4096;

pub(crate) struct Kept {
    ledger: Arc<Ledger>,
    calls: Mutex<ToolCalls>,
    /// Bytes that were kept so far.
    all: Arc<AtomicU64>,
}

/// Which model's call made a tool call.
#[derive(Default)]
struct ToolCalls {
    by_id: BTreeMap<String, u64>,
    order: VecDeque<String>,
}

impl Kept {
    pub fn new(ledger: &Arc<Ledger>) -> Self {
        Self { ledger: Arc::clone(ledger), calls: Mutex::default(), all: Arc::default() }
    }

    /// Room for one body.
    pub fn begin(&self) -> Keeping {
        let is_full = self.all.load(Ordering::Relaxed) >= KEPT_ALL_BYTES_MAX;
        Keeping {
            ledger: Arc::clone(&self.ledger),
            all: Arc::clone(&self.all),
            head: Vec::new(),
            file: None,
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
    /// All of it until there is a file, then what is not there yet.
    head: Vec<u8>,
    file: Option<File>,
    bytes: u64,
    is_lost: bool,
    /// In the place of what is kept, when there is no more room for it.
    digest: Option<Sha256>,
    all: Arc<AtomicU64>,
}

impl Keeping {
    fn spill(&mut self) -> std::io::Result<()> {
        let head = std::mem::take(&mut self.head);
        let mut file = match self.file.take() {
            Some(file) => file,
            None => nameless(self.ledger.dir())?,
        };
        file.write_all(&head)?;
        self.file = Some(file);
        Ok(())
    }

    fn payload(&mut self) -> Option<Json> {
        if self.file.is_none() {
            return self.ledger.payload(&self.head).ok();
        }
        self.spill().ok()?;
        let file = self.file.take()?;
        self.ledger.payload_from(file).ok()
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
        self.head.extend_from_slice(kept);
        if self.head.len() > MEMORY_BYTES_MAX && self.spill().is_err() {
            self.is_lost = true;
        }
    }

    fn finish(mut self: Box<Self>) -> Option<Json> {
        if self.is_lost {
            return None;
        }
        if let Some(digest) = self.digest.take() {
            let digest: String = digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
            return Some(json!({ "sha256": digest, "bytes": self.bytes }));
        }
        let payload = self.payload()?;
        if self.bytes <= KEPT_BYTES_MAX {
            return Some(payload);
        }
        Some(json!({ "beginning": payload, "bytes": self.bytes }))
    }
}

static NEXT: AtomicU64 = AtomicU64::new(0);

/// A file that goes away with this process, however that ends.
fn nameless(dir: &std::path::Path) -> std::io::Result<File> {
    let name = format!("kept-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let path: PathBuf = dir.join(name);
    let file = std::fs::OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
    std::fs::remove_file(&path)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
    use super::*;

    #[test]
    fn bodies_of_every_length_are_kept_as_they_passed() {
        let dir = tempfile::tempdir().unwrap();
        let ledger = Arc::new(Ledger::open(dir.path()).unwrap());
        let kept = Kept::new(&ledger);
        for length in [0, 10, 4096, 4097, MEMORY_BYTES_MAX, MEMORY_BYTES_MAX + 1, 3 << 20] {
            let bytes: Vec<u8> = (0..length).map(|n| (n % 251) as u8).collect();
            let mut keeping = Box::new(kept.begin());
            bytes.chunks(1000).for_each(|piece| keeping.write(piece));
            let member = keeping.finish().unwrap();
            ledger.flush().unwrap();
            assert_eq!(ledger.payload_bytes(&member).unwrap(), bytes, "{length}");
        }
        let mut keeping = Box::new(kept.begin());
        // Little, as other tests of this process measure its memory.
        let piece = vec![7; 1 << 20];
        (0..5).for_each(|_| keeping.write(&piece));
        let told = keeping.finish().unwrap();
        ledger.flush().unwrap();
        assert_eq!(told["bytes"], 5 << 20);
        assert_eq!(ledger.payload_bytes(&told["beginning"]).unwrap().len(), 4 << 20);
    }

    /// A session can't fill the disk by what passes.
    #[test]
    fn beyond_a_session_s_room_there_is_a_digest() {
        let dir = tempfile::tempdir().unwrap();
        let ledger = Arc::new(Ledger::open(dir.path()).unwrap());
        let kept = Kept::new(&ledger);
        let keep = |bytes: &[u8]| {
            let mut keeping = Box::new(kept.begin());
            keeping.write(bytes);
            keeping.finish().unwrap()
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
        let kept = Kept::new(&Arc::new(Ledger::open(dir.path()).unwrap()));
        for n in 0..5000_u64 {
            kept.calls(n, &[format!("t{n}")]);
        }
        assert_eq!((kept.call_of("t4999"), kept.call_of("t0")), (Some(4999), None));
        assert_eq!(kept.calls.lock().unwrap().by_id.len(), TOOL_CALLS_MAX);
    }
}
