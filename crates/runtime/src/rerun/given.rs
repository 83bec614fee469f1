//! Time and random bytes that a program was given, in the order in which each of its threads asked: kept as they are given, and given again.

use super::clock::Clock;
use super::turns::Turns;
use crate::kept::Keeping;
use flyball_gateway::Keep;
use flyball_sandbox::{Asker, Call};
use serde_json::Value as Json;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How it is kept: by processes as they came to be, with the marks between. From 3 on folders were listed by names, and what programs begin with
/// was given.
pub(crate) const VERSION: u32 = 3;
/// Numbers of calls, by which kinds are told apart (x86-64).
const CLOCK_GETTIME: u64 = 228;
const GETTIMEOFDAY: u64 = 96;
const TIME: u64 = 201;
/// In the place of a kind: the thread attempted something.
const MARK: u64 = 0;

/// What a run gives.
#[derive(Clone, Default)]
pub(crate) struct Given(Arc<Mutex<Source>>);

#[derive(Default)]
enum Source {
    /// What the kernel says.
    #[default]
    Fresh,
    /// The same, kept.
    Kept(Box<Keeping>, Names, Turns),
    /// What was kept, as long as there is any, whatever else happens meanwhile.
    Again(Kept),
    /// Random bytes likewise; the time by what each thread has come to.
    Along(Kept, Clock),
}

impl Given {
    /// Keeps what it gives.
    pub fn keeping(keeping: Keeping) -> Self {
        Self(Arc::new(Mutex::new(Source::Kept(Box::new(keeping), Names::default(), Turns::default()))))
    }

    /// Gives what was kept, each in its order. `along`: how often the time is asked for may differ.
    pub fn again(kept: &[u8], along: bool) -> Self {
        let items = read(kept);
        let source = match along {
            true => Source::Along(Kept::of(&items), Clock::of(&items)),
            false => Source::Again(Kept::of(&items)),
        };
        Self(Arc::new(Mutex::new(source)))
    }

    /// Time or random bytes for a thread.
    pub fn give(&self, asker: Asker, kind: u64, fresh: &mut dyn FnMut() -> Vec<u8>) -> Vec<u8> {
        match &mut *self.source() {
            Source::Fresh => fresh(),
            Source::Kept(keeping, names, _) => {
                let bytes = fresh();
                names.write(keeping, asker, kind, &bytes);
                bytes
            }
            // A program that asks for more than it did is another one by then; it is compared in what it does.
            Source::Again(kept) => kept.give(asker, kind, fresh),
            Source::Along(kept, clock) => match in_second(kind) {
                Some(_) => clock.tell(asker, kind).and_then(|told| time_bytes(kind, told)).unwrap_or_else(fresh),
                None => kept.give(asker, kind, fresh),
            },
        }
    }

    /// A thread attempts something.
    pub fn passed(&self, asker: Asker, mark: u64) {
        match &mut *self.source() {
            Source::Kept(keeping, names, _) => names.write(keeping, asker, MARK, &mark.to_le_bytes()),
            Source::Along(_, clock) => clock.passed(asker, mark),
            Source::Fresh | Source::Again(_) => {}
        }
    }

    /// A thread did what that entry tells.
    pub fn acted(&self, asker: Asker, seq: u64, call: &Call) {
        if let Source::Kept(.., turns) = &mut *self.source() {
            turns.acted(asker, seq, call);
        }
    }

    /// Where threads of one program acted in turns, or processes wrote at once, for the record; `None`: nowhere.
    pub fn turns(&self) -> Option<Json> {
        match &*self.source() {
            Source::Kept(.., turns) => turns.told(),
            Source::Fresh | Source::Again(_) | Source::Along(..) => None,
        }
    }

    /// What was kept, for the record.
    pub fn finish(&self) -> Option<Json> {
        match std::mem::take(&mut *self.source()) {
            Source::Kept(keeping, ..) => keeping.finish(None),
            Source::Fresh | Source::Again(_) | Source::Along(..) => None,
        }
    }

    fn source(&self) -> std::sync::MutexGuard<'_, Source> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One thing of what was kept, in its order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Item {
    Time(i64),
    Bytes(Vec<u8>),
    Mark(u64),
}

pub(super) type Items = Vec<(Asker, u64, Item)>;

/// Of askers and kinds what is on record already: each is written out once, and named by its place then. Of a clock, what it told last.
#[derive(Default)]
struct Names {
    askers: BTreeMap<Asker, u64>,
    kinds: BTreeMap<u64, u64>,
    last: BTreeMap<u64, i64>,
}

impl Names {
    fn write(&mut self, keeping: &mut Keeping, asker: Asker, kind: u64, bytes: &[u8]) {
        let mut out = Vec::with_capacity(16);
        let next = self.askers.len() as u64;
        let place = *self.askers.entry(asker).or_insert(next);
        put(&mut out, place);
        if place == next {
            put(&mut out, asker.process);
            put(&mut out, u64::from(asker.thread));
        }
        let next = self.kinds.len() as u64;
        let place = *self.kinds.entry(kind).or_insert(next);
        put(&mut out, place);
        if place == next {
            put(&mut out, kind);
        }
        match read_time(kind, bytes) {
            Some(time) => {
                let last = self.last.insert(kind, time).unwrap_or_default();
                let more = time.wrapping_sub(last);
                // Zigzag: small differences of both signs are short.
                put(&mut out, ((more << 1) ^ (more >> 63)) as u64);
            }
            None => {
                put(&mut out, bytes.len() as u64);
                out.extend_from_slice(bytes);
            }
        }
        keeping.write(&out);
    }
}

/// Seven bits a byte, the lowest first, as in LEB128.
fn put(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn take(kept: &mut &[u8]) -> Option<u64> {
    let mut number = 0_u64;
    for shift in (0..64).step_by(7) {
        let (first, rest) = kept.split_first()?;
        *kept = rest;
        number |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

/// What was kept, up to where it can be read.
fn read(mut kept: &[u8]) -> Items {
    let (mut askers, mut kinds, mut last) = (Vec::new(), Vec::new(), BTreeMap::<u64, i64>::new());
    let mut items = Vec::new();
    let mut next = |kept: &mut &[u8]| -> Option<(Asker, u64, Item)> {
        let place = usize::try_from(take(kept)?).ok()?;
        if place == askers.len() {
            askers.push(Asker { process: take(kept)?, thread: u32::try_from(take(kept)?).ok()? });
        }
        let asker = *askers.get(place)?;
        let place = usize::try_from(take(kept)?).ok()?;
        if place == kinds.len() {
            kinds.push(take(kept)?);
        }
        let kind = *kinds.get(place)?;
        if in_second(kind).is_some() {
            let more = take(kept)?;
            let more = (more >> 1) as i64 ^ -((more & 1) as i64);
            let told = last.entry(kind).or_default();
            *told = told.wrapping_add(more);
            return Some((asker, kind, Item::Time(*told)));
        }
        let length = usize::try_from(take(kept)?).ok()?;
        let (bytes, rest) = kept.split_at_checked(length)?;
        *kept = rest;
        let item = match kind {
            MARK => Item::Mark(u64::from_le_bytes(bytes.try_into().ok()?)),
            _ => Item::Bytes(bytes.to_vec()),
        };
        Some((asker, kind, item))
    };
    while !kept.is_empty()
        && let Some(item) = next(&mut kept)
    {
        items.push(item);
    }
    items
}

/// What was kept by thread and kind, and how far the clocks are.
struct Kept {
    all: BTreeMap<(Asker, u64), VecDeque<Item>>,
    /// What each clock told last, and when that was.
    latest: BTreeMap<u64, (i64, Instant)>,
}

impl Kept {
    fn of(items: &Items) -> Self {
        let mut all: BTreeMap<(Asker, u64), VecDeque<Item>> = BTreeMap::new();
        for (asker, kind, item) in items.iter().filter(|(_, kind, _)| *kind != MARK) {
            all.entry((*asker, *kind)).or_default().push_back(item.clone());
        }
        Self { all, latest: BTreeMap::new() }
    }

    fn give(&mut self, asker: Asker, kind: u64, fresh: &mut dyn FnMut() -> Vec<u8>) -> Vec<u8> {
        match self.all.get_mut(&(asker, kind)).and_then(VecDeque::pop_front) {
            Some(Item::Bytes(bytes)) => return bytes,
            Some(Item::Time(time)) => {
                // INVARIANT: a clock that goes on by itself goes on from the latest time that anybody was told.
                if self.latest.get(&kind).is_none_or(|(latest, _)| *latest <= time) {
                    self.latest.insert(kind, (time, Instant::now()));
                }
                return time_bytes(kind, time).unwrap_or_else(fresh);
            }
            Some(Item::Mark(_)) | None => {}
        }
        // It asks for more than it did; what it does by that is compared. Its clock does not jump to another day.
        let on = self.latest.get(&kind).and_then(|(latest, since)| latest.checked_add(units(kind, since.elapsed())?));
        on.and_then(|on| time_bytes(kind, on)).unwrap_or_else(fresh)
    }
}

/// What a second is for a clock; `None`: it is none.
fn in_second(kind: u64) -> Option<i64> {
    match kind >> 40 {
        CLOCK_GETTIME => Some(1_000_000_000),
        GETTIMEOFDAY => Some(1_000_000),
        TIME => Some(1),
        _ => None,
    }
}

/// Whether a clock is there to measure by, and tells no time of day.
pub(super) fn is_measure(kind: u64) -> bool {
    kind >> 40 == CLOCK_GETTIME && !matches!(kind >> 32 & 0xff, 0 | 5 | 11)
}

/// A time span as this clock counts.
pub(super) fn units(kind: u64, span: Duration) -> Option<i64> {
    let all = span.as_nanos().checked_mul(u128::try_from(in_second(kind)?).ok()?)?;
    i64::try_from(all / 1_000_000_000).ok()
}

/// What a clock told, in its own units.
fn read_time(kind: u64, bytes: &[u8]) -> Option<i64> {
    let in_second = in_second(kind)?;
    let (seconds, rest) = bytes.split_first_chunk::<8>()?;
    let fraction = rest.first_chunk::<8>().map_or(0, |rest| i64::from_ne_bytes(*rest));
    i64::from_ne_bytes(*seconds).checked_mul(in_second)?.checked_add(fraction)
}

/// Seconds and fractions, as clocks tell them.
fn time_bytes(kind: u64, time: i64) -> Option<Vec<u8>> {
    let in_second = in_second(kind)?;
    let (seconds, fraction) = (time.div_euclid(in_second), time.rem_euclid(in_second));
    Some(match kind >> 40 {
        TIME => seconds.to_ne_bytes().to_vec(),
        _ => [seconds.to_ne_bytes(), fraction.to_ne_bytes()].concat(),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::kept::Kept;
    use flyball_ledger::Ledger;

    fn clock(seconds: i64, fraction: i64) -> Vec<u8> {
        [seconds.to_ne_bytes(), fraction.to_ne_bytes()].concat()
    }

    #[test]
    fn each_thread_is_given_what_it_was_given_in_its_order() {
        let dir = tempfile::tempdir().unwrap();
        let ledger = Arc::new(Ledger::open(dir.path()).unwrap());
        let given = Given::keeping(Kept::new(&ledger, Arc::default()).begin());
        let mut next = 0_u8;
        let mut fresh = move || {
            next += 1;
            vec![next; usize::from(next)]
        };
        let asker = |thread| Asker { process: u64::MAX, thread };
        for asked in [(1, 7), (2, 7), (1, 7), (1, 8)] {
            given.give(asker(asked.0), asked.1, &mut fresh);
        }
        let times = [clock(5, 999_999_999), clock(4, 3), clock(1 << 32, 0)];
        for time in &times {
            given.give(asker(1), CLOCK_GETTIME << 40, &mut || time.clone());
            given.passed(asker(1), 77);
        }
        given.give(asker(1), TIME << 40, &mut || 9_i64.to_ne_bytes().to_vec());
        let told = given.finish().unwrap();
        ledger.flush().unwrap();
        let again = Given::again(&ledger.payload_bytes(&told).unwrap(), false);
        let mut none = || vec![0];
        let mut give = |thread, kind| again.give(asker(thread), kind, &mut none);
        assert_eq!([give(2, 7), give(1, 7), give(1, 7)], [vec![2; 2], vec![1], vec![3; 3]]);
        assert_eq!([give(1, 8), give(1, 8), give(3, 7)], [vec![4; 4], vec![0], vec![0]]);
        for time in &times {
            assert_eq!(&give(1, CLOCK_GETTIME << 40), time);
        }
        assert_eq!(give(1, TIME << 40), 9_i64.to_ne_bytes());
        // A clock goes on from the latest time that it told; what is no clock is fresh.
        assert!(read_time(CLOCK_GETTIME << 40, &give(1, CLOCK_GETTIME << 40)) >= Some(1_000_000_000 << 32));
    }

    #[test]
    fn what_is_kept_of_a_clock_is_short_and_what_is_broken_ends() {
        let mut names = Names::default();
        let dir = tempfile::tempdir().unwrap();
        let ledger = Arc::new(Ledger::open(dir.path()).unwrap());
        let mut keeping = Kept::new(&ledger, Arc::default()).begin();
        for n in 0..1000 {
            names.write(&mut keeping, Asker::default(), CLOCK_GETTIME << 40, &clock(1_795_343_738, n * 100_000));
        }
        let told = Box::new(keeping).finish(None).unwrap();
        ledger.flush().unwrap();
        let bytes = ledger.payload_bytes(&told).unwrap();
        assert!(bytes.len() < 6000, "{}", bytes.len());
        assert_eq!(read(&bytes).len(), 1000);
        for cut in 0..bytes.len().min(300) {
            assert!(read(bytes.get(..cut).unwrap()).len() <= cut);
        }
        assert_eq!(read(&[0xff; 40]), []);
        assert_eq!(read(&[0, 1, 1, 0, 7, 0xff, 0xff, 0xff, 0xff, 0x0f]), []);
    }
}
