//! Time and random bytes that a program was given, in the order in which each of its threads asked: kept as they are given, and given again.

use crate::kept::Keeping;
use flyball_gateway::Keep;
use serde_json::Value as Json;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

/// What a thread asked for: its number inside, and the kind of it.
type Asked = (u32, u32);

/// What a run gives.
#[derive(Clone, Default)]
pub(crate) struct Given(Arc<Mutex<Source>>);

#[derive(Default)]
enum Source {
    /// What the kernel says.
    #[default]
    Fresh,
    /// The same, kept.
    Kept(Box<Keeping>),
    /// What was kept, as long as there is any.
    Again(BTreeMap<Asked, VecDeque<Vec<u8>>>),
}

impl Given {
    /// Keeps what it gives.
    pub fn keeping(keeping: Keeping) -> Self {
        Self(Arc::new(Mutex::new(Source::Kept(Box::new(keeping)))))
    }

    /// Gives what was kept.
    pub fn again(kept: &[u8]) -> Self {
        Self(Arc::new(Mutex::new(Source::Again(read(kept)))))
    }

    /// Time or random bytes for a thread.
    pub fn give(&self, thread: u32, kind: u32, fresh: &mut dyn FnMut() -> Vec<u8>) -> Vec<u8> {
        match &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            Source::Fresh => fresh(),
            Source::Kept(keeping) => {
                let bytes = fresh();
                let length = u32::try_from(bytes.len()).unwrap_or_default();
                [thread, kind, length].iter().for_each(|n| keeping.write(&n.to_le_bytes()));
                keeping.write(&bytes);
                bytes
            }
            // A program that asks for more than it did is another one by then; it is compared in what it does.
            Source::Again(kept) => kept.get_mut(&(thread, kind)).and_then(VecDeque::pop_front).unwrap_or_else(fresh),
        }
    }

    /// What was kept, for the record.
    pub fn finish(&self) -> Option<Json> {
        let source = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        match source {
            Source::Kept(keeping) => keeping.finish(),
            Source::Fresh | Source::Again(_) => None,
        }
    }
}

fn read(mut kept: &[u8]) -> BTreeMap<Asked, VecDeque<Vec<u8>>> {
    let mut all: BTreeMap<Asked, VecDeque<Vec<u8>>> = BTreeMap::new();
    let number = |kept: &mut &[u8]| -> Option<u32> {
        let (head, rest) = kept.split_first_chunk::<4>()?;
        *kept = rest;
        Some(u32::from_le_bytes(*head))
    };
    while let (Some(thread), Some(kind), Some(length)) = (number(&mut kept), number(&mut kept), number(&mut kept)) {
        let Some((bytes, rest)) = kept.split_at_checked(usize::try_from(length).unwrap_or(usize::MAX)) else { break };
        all.entry((thread, kind)).or_default().push_back(bytes.to_vec());
        kept = rest;
    }
    all
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::kept::Kept;
    use flyball_ledger::Ledger;

    #[test]
    fn each_thread_is_given_what_it_was_given_in_its_order() {
        let dir = tempfile::tempdir().unwrap();
        let ledger = Arc::new(Ledger::open(dir.path()).unwrap());
        let given = Given::keeping(Kept::new(&ledger).begin());
        let mut next = 0_u8;
        let mut fresh = move || {
            next += 1;
            vec![next; usize::from(next)]
        };
        for asked in [(1, 7), (2, 7), (1, 7), (1, 8)] {
            given.give(asked.0, asked.1, &mut fresh);
        }
        let told = given.finish().unwrap();
        ledger.flush().unwrap();
        let again = Given::again(&ledger.payload_bytes(&told).unwrap());
        let mut none = || vec![0];
        let mut give = |thread, kind| again.give(thread, kind, &mut none);
        assert_eq!([give(2, 7), give(1, 7), give(1, 7)], [vec![2; 2], vec![1], vec![3; 3]]);
        assert_eq!([give(1, 8), give(1, 8), give(3, 7)], [vec![4; 4], vec![0], vec![0]]);
        // Cut off or not ours: what is whole counts.
        assert!(read(&[1, 0, 0, 0, 9, 0, 0, 0, 255, 255, 255, 255, 1]).is_empty());
    }
}
