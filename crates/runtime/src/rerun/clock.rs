//! The time in a replay of a program that asks for it more or less often than it did: by what each thread has come to.
//!
//! What a thread attempts parts its asking into stretches, each begun by the same call as then. Within one it is told what it was told in
//! it, in order. Beyond that its clock goes on by itself, up to the first time of the stretch behind, where it waits for the thread to come
//! there; and when the thread does, the clock is where it was then.
//!
//! INVARIANT: it never stands for good: who waits for a time that does not come is told it after [`STOOD_MAX`].

use super::given::{Item, Items, is_measure, units};
use flyball_sandbox::Asker;
use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

/// Stretches that are looked through for the one that a call begins.
const STRETCHES_MAX: usize = 64;
/// How long a clock waits for its thread.
const STOOD_MAX: Duration = Duration::from_millis(500);
/// A clock that measures is not told in the order of then to who came back after so long: it waited by that clock.
const WAITED: Duration = Duration::from_millis(5);

/// What was told between two calls of a thread.
#[derive(Default)]
struct Stretch {
    /// The call that it began with; `None`: the thread.
    mark: Option<u64>,
    times: BTreeMap<u64, VecDeque<i64>>,
    is_found: bool,
}

#[derive(Default)]
struct Thread {
    stretches: Vec<Stretch>,
    at: usize,
    /// What each clock told last, and when that was.
    told: BTreeMap<u64, (i64, Instant)>,
    /// Since when a clock waits, in this stretch.
    stands: Option<Instant>,
}

/// What was kept of the time.
pub(super) struct Clock {
    threads: BTreeMap<Asker, Thread>,
    /// What each clock told anybody last.
    latest: BTreeMap<u64, (i64, Instant)>,
}

impl Clock {
    pub fn of(items: &Items) -> Self {
        let mut threads: BTreeMap<Asker, Thread> = BTreeMap::new();
        for (asker, kind, item) in items {
            let stretches = &mut threads.entry(*asker).or_default().stretches;
            if stretches.is_empty() {
                stretches.push(Stretch { is_found: true, ..Stretch::default() });
            }
            match (item, stretches.last_mut()) {
                (Item::Mark(mark), _) => stretches.push(Stretch { mark: Some(*mark), ..Stretch::default() }),
                (Item::Time(time), Some(last)) => last.times.entry(*kind).or_default().push_back(*time),
                _ => {}
            }
        }
        Self { threads, latest: BTreeMap::new() }
    }

    /// A thread attempts what this mark stands for.
    pub fn passed(&mut self, asker: Asker, mark: u64) {
        let Some(thread) = self.threads.get_mut(&asker) else { return };
        let is_it = |stretch: &Stretch| !stretch.is_found && stretch.mark == Some(mark);
        let from = thread.at.saturating_sub(STRETCHES_MAX);
        // What came later then than what came first now is no step ahead.
        let behind = thread.stretches.get_mut(from..thread.at).into_iter().flatten().find(|stretch| is_it(stretch));
        if let Some(stretch) = behind {
            stretch.is_found = true;
            return;
        }
        let ahead = thread.stretches.iter_mut().enumerate().skip(thread.at + 1).take(STRETCHES_MAX);
        if let Some((at, stretch)) = ahead.into_iter().find(|(_, stretch)| is_it(stretch)) {
            stretch.is_found = true;
            (thread.at, thread.stands) = (at, None);
        }
    }

    /// What a clock tells a thread; `None`: nobody asked it then.
    pub fn tell(&mut self, asker: Asker, kind: u64) -> Option<i64> {
        let at = Instant::now();
        let latest = self.latest.get(&kind).copied();
        let told = match self.threads.get_mut(&asker) {
            Some(thread) => thread.tell(kind, latest, at),
            None => on(kind, latest, at),
        }?;
        if latest.is_none_or(|(latest, _)| latest <= told) {
            self.latest.insert(kind, (told, at));
        }
        Some(told)
    }
}

impl Thread {
    fn tell(&mut self, kind: u64, latest: Option<(i64, Instant)>, at: Instant) -> Option<i64> {
        let last = self.told.get(&kind).copied();
        let told = self.in_order(kind, last, at).or_else(|| self.beyond(kind, last.or(latest), at))?;
        // INVARIANT: what measures never goes back.
        let told = last.filter(|_| is_measure(kind)).map_or(told, |(last, _)| told.max(last));
        self.told.insert(kind, (told, at));
        Some(told)
    }

    /// What was told here then.
    fn in_order(&mut self, kind: u64, last: Option<(i64, Instant)>, at: Instant) -> Option<i64> {
        let times = self.stretches.get_mut(self.at)?.times.get_mut(&kind)?;
        let mut told = times.pop_front()?;
        let has_waited = |(_, since): &(i64, Instant)| is_measure(kind) && at.duration_since(*since) >= WAITED;
        if let Some(on) = on(kind, last.filter(has_waited), at) {
            while let Some(next) = times.front().copied().filter(|next| *next <= on) {
                times.pop_front();
                told = next;
            }
        }
        Some(told)
    }

    fn beyond(&mut self, kind: u64, last: Option<(i64, Instant)>, at: Instant) -> Option<i64> {
        let on = on(kind, last, at);
        let behind = self.stretches.iter().skip(self.at + 1).take(STRETCHES_MAX);
        let next = behind.filter_map(|stretch| stretch.times.get(&kind)?.front().copied()).next();
        let (Some(on), Some(next)) = (on, next) else { return on.or(next) };
        if on <= next {
            return Some(on);
        }
        let stands = *self.stands.get_or_insert(at);
        Some(if at.duration_since(stands) < STOOD_MAX { next } else { on })
    }
}

/// A clock that goes on by itself.
fn on(kind: u64, last: Option<(i64, Instant)>, at: Instant) -> Option<i64> {
    let (last, since) = last?;
    last.checked_add(units(kind, at.duration_since(since))?)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    const MEASURE: u64 = 228 << 40 | 1 << 32;
    const OF_DAY: u64 = 228 << 40;
    const ONE: Asker = Asker { process: 1, thread: 0 };

    fn clock(items: &[(u64, Item)]) -> Clock {
        Clock::of(&items.iter().map(|(kind, item)| (ONE, *kind, item.clone())).collect())
    }

    fn time(time: i64) -> Item {
        Item::Time(time)
    }

    #[test]
    fn a_thread_that_asks_more_or_less_often_is_told_the_time_of_where_it_is() {
        const SECOND: i64 = 1_000_000_000;
        let items = [
            (OF_DAY, time(10 * SECOND)),
            (OF_DAY, time(11 * SECOND)),
            (0, Item::Mark(1)),
            (OF_DAY, time(20 * SECOND)),
            (OF_DAY, time(21 * SECOND)),
            (0, Item::Mark(2)),
            (OF_DAY, time(30 * SECOND)),
        ];
        let mut less = clock(&items);
        assert_eq!(less.tell(ONE, OF_DAY), Some(10 * SECOND));
        less.passed(ONE, 1);
        assert_eq!(less.tell(ONE, OF_DAY), Some(20 * SECOND));
        // A call that was not made then changes nothing.
        less.passed(ONE, 9);
        assert_eq!(less.tell(ONE, OF_DAY), Some(21 * SECOND));
        less.passed(ONE, 2);
        assert_eq!(less.tell(ONE, OF_DAY), Some(30 * SECOND));
        let mut more = clock(&items);
        let told: Vec<i64> = (0..100).map(|_| more.tell(ONE, OF_DAY).unwrap()).collect();
        assert_eq!(told.get(..2).unwrap(), [10 * SECOND, 11 * SECOND]);
        assert!(told.iter().all(|told| *told < 20 * SECOND), "never ahead of where it is: {told:?}");
        more.passed(ONE, 1);
        assert_eq!(more.tell(ONE, OF_DAY), Some(20 * SECOND));
        // Another thread's clock is not behind.
        let other = Asker { process: 1, thread: 1 };
        assert!(more.tell(other, OF_DAY).unwrap() >= 20 * SECOND);
    }

    #[test]
    fn a_call_that_comes_earlier_or_later_than_then_does_not_lose_the_way() {
        let items: Vec<(u64, Item)> = [1, 2, 3, 1, 2]
            .into_iter()
            .zip(1..)
            .flat_map(|(mark, n)| [(0, Item::Mark(mark)), (OF_DAY, time(n))])
            .collect();
        let mut clock = clock(&items);
        // 2 comes behind 3: it is the one that was left out, not the last.
        for (mark, told) in [(1, 1), (3, 3), (2, 3), (1, 4), (2, 5)] {
            clock.passed(ONE, mark);
            if mark != 2 || told == 5 {
                assert_eq!(clock.tell(ONE, OF_DAY), Some(told), "{mark}");
            }
        }
    }

    /// Nothing waits for good for a time that another run came to in another way.
    #[test]
    fn a_clock_that_waits_goes_on_after_a_while() {
        let mut clock = clock(&[(MEASURE, time(0)), (0, Item::Mark(1)), (MEASURE, time(1000))]);
        let since = Instant::now();
        let mut last = 0;
        let mut stood = false;
        while last <= 1000 && since.elapsed() < Duration::from_secs(60) {
            let told = clock.tell(ONE, MEASURE).unwrap();
            assert!(told >= last, "never back");
            stood |= told == 1000;
            last = told;
        }
        assert!(stood && last > 1000);
    }
}
