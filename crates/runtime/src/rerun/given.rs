//! Time and random bytes that a program was given, in the order in which each of its threads asked: kept as they are given, and given again.

use crate::kept::Keeping;
use flyball_gateway::Keep;
use serde_json::Value as Json;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// What a thread asked for: its number inside, and the kind of it.
type Asked = (u32, u32);

/// Numbers of calls, by which kinds are told apart (x86-64).
const CLOCK_GETTIME: i64 = 228;
const GETTIMEOFDAY: i64 = 96;
const TIME: i64 = 201;

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
    Again(Kept),
}

impl Given {
    /// Keeps what it gives.
    pub fn keeping(keeping: Keeping) -> Self {
        Self(Arc::new(Mutex::new(Source::Kept(Box::new(keeping)))))
    }

    /// Gives what was kept.
    pub fn again(kept: &[u8]) -> Self {
        Self(Arc::new(Mutex::new(Source::Again(Kept { all: read(kept), latest: BTreeMap::new() }))))
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
            Source::Again(kept) => kept.give(thread, kind, fresh),
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

/// What was kept, and how far the clocks are.
struct Kept {
    all: BTreeMap<Asked, VecDeque<Vec<u8>>>,
    /// What each clock told last, and when that was.
    latest: BTreeMap<u32, (Vec<u8>, Instant)>,
}

impl Kept {
    fn give(&mut self, thread: u32, kind: u32, fresh: &mut dyn FnMut() -> Vec<u8>) -> Vec<u8> {
        if let Some(bytes) = self.all.get_mut(&(thread, kind)).and_then(VecDeque::pop_front) {
            // INVARIANT: a clock that goes on by itself goes on from the latest time that anybody was told.
            let is_later = self.latest.get(&kind).is_none_or(|(latest, _)| time(latest) <= time(&bytes));
            if is_later {
                self.latest.insert(kind, (bytes.clone(), Instant::now()));
            }
            return bytes;
        }
        // It asks for more than it did; what it does by that is compared. Its clock does not jump to another day.
        let on = self.latest.get(&kind).and_then(|(latest, since)| later(kind, latest, since.elapsed()));
        on.unwrap_or_else(fresh)
    }
}

/// Seconds and fractions, as clocks tell them.
fn time(bytes: &[u8]) -> Option<(i64, i64)> {
    let (seconds, rest) = bytes.split_first_chunk::<8>()?;
    Some((i64::from_ne_bytes(*seconds), rest.first_chunk::<8>().map_or(0, |rest| i64::from_ne_bytes(*rest))))
}

/// What a clock tells so much later; `None`: it is none.
fn later(kind: u32, latest: &[u8], elapsed: Duration) -> Option<Vec<u8>> {
    let in_second = match i64::from(kind >> 8) {
        CLOCK_GETTIME => 1_000_000_000,
        GETTIMEOFDAY => 1_000_000,
        TIME => {
            return Some(time(latest)?.0.checked_add(i64::try_from(elapsed.as_secs()).ok()?)?.to_ne_bytes().to_vec());
        }
        _ => return None,
    };
    let (seconds, fraction) = time(latest)?;
    let more = i64::from(elapsed.subsec_nanos()).checked_div(1_000_000_000_i64.checked_div(in_second)?)?;
    let fraction = fraction.checked_add(more)?;
    let seconds =
        seconds.checked_add(i64::try_from(elapsed.as_secs()).ok()?)?.checked_add(fraction.checked_div(in_second)?)?;
    Some([seconds.to_ne_bytes(), fraction.checked_rem(in_second)?.to_ne_bytes()].concat())
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
        // A clock goes on from the latest time that it told; what is no clock is fresh.
        let clock = |seconds: i64, fraction: i64| [seconds.to_ne_bytes(), fraction.to_ne_bytes()].concat();
        let on = later(228 << 8, &clock(5, 999_999_999), Duration::new(1, 2)).unwrap();
        assert_eq!(time(&on), Some((7, 1)));
        assert_eq!(later(96 << 8, &clock(5, 999_999), Duration::new(0, 2_000)), Some(clock(6, 1)));
        assert_eq!(later(201 << 8, &5_i64.to_ne_bytes(), Duration::new(3, 0)), Some(8_i64.to_ne_bytes().to_vec()));
        assert_eq!(later(318 << 8, &[1; 16], Duration::ZERO), None);
        // Cut off or not ours: what is whole counts.
        assert!(read(&[1, 0, 0, 0, 9, 0, 0, 0, 255, 255, 255, 255, 1]).is_empty());
    }
}
