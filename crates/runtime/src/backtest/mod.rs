//! What another charter would have ruled on recorded sessions.

mod judge;
mod read;

use crate::replay::Obstacle;
use flyball_kernel::{Charter, Verdict};
use flyball_ledger::{Ledger, LedgerError};
use judge::Judge;
use read::{Item, Reader};
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};

/// Items that go from the reading to the judging thread at once, and such batches that may wait.
const BATCH_ITEMS: usize = 512;
const BATCHES_MAX: usize = 8;
/// Rules, owners and agents that a session's sums name; of more, the rest stands under `…`.
const NAMES_MAX: usize = 4096;

/// An attempt on which the other charter rules otherwise.
#[derive(Clone, Debug, Serialize)]
pub struct Flip {
    /// The session.
    pub session: String,
    /// The attempt's entry.
    pub seq: u64,
    /// What was attempted.
    pub verb: String,
    /// In words.
    pub action: String,
    /// Who attempted it.
    pub agent: String,
    /// What was ruled.
    pub was: Verdict,
    /// What would have been.
    pub now: Verdict,
    /// Whether it comes after another flip of its session: then the history itself might have been another.
    pub is_bounded: bool,
    /// Why the stricter of both rules so.
    pub reasons: Vec<Why>,
}

/// One reason, with the entries that made it so.
#[derive(Clone, Debug, Serialize)]
pub struct Why {
    /// The rule.
    pub rule: String,
    /// Who answers for it.
    pub owner: String,
    /// Why, in the charter's words.
    pub reason: String,
    /// Entries of the session.
    pub witnesses: Vec<u64>,
    /// What would make it pass.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub needs: Option<String>,
    /// Where the rule stands.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
}

/// How often which way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Count {
    /// Passed, and would be refused or changed.
    pub refused: u64,
    /// Passed or was refused, and people would be asked.
    pub asked: u64,
    /// Was refused or asked about, and would pass.
    pub passed: u64,
    /// Was asked about, and would be refused; or was refused for other reasons than a question.
    pub other: u64,
    /// How many of all these come after the first in their session.
    pub bounded: u64,
}

impl Count {
    /// All of them.
    #[must_use]
    pub fn all(&self) -> u64 {
        self.refused + self.asked + self.passed + self.other
    }

    fn add(&mut self, flip: &Flip) {
        let part = match (flip.was, flip.now) {
            (_, Verdict::Allow) => &mut self.passed,
            (_, Verdict::Hold) => &mut self.asked,
            (Verdict::Allow, _) => &mut self.refused,
            _ => &mut self.other,
        };
        *part += 1;
        self.bounded += u64::from(flip.is_bounded);
    }

    fn join(&mut self, other: &Self) {
        self.refused += other.refused;
        self.asked += other.asked;
        self.passed += other.passed;
        self.other += other.other;
        self.bounded += other.bounded;
    }
}

/// Sums of flips.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Sums {
    /// All of them.
    pub total: Count,
    /// By the rule that stops it, or did.
    pub rules: BTreeMap<String, Count>,
    /// By that rule's owner; empty for the kernel's own reasons.
    pub owners: BTreeMap<String, Count>,
    /// By who attempted it.
    pub agents: BTreeMap<String, Count>,
}

impl Sums {
    fn add(&mut self, flip: &Flip) {
        self.total.add(flip);
        let once = |of: fn(&Why) -> &str| -> std::collections::BTreeSet<&str> { flip.reasons.iter().map(of).collect() };
        once(|r| &r.rule).into_iter().for_each(|rule| entry(&mut self.rules, rule).add(flip));
        once(|r| &r.owner).into_iter().for_each(|owner| entry(&mut self.owners, owner).add(flip));
        entry(&mut self.agents, &flip.agent).add(flip);
    }

    fn join(&mut self, other: &Self) {
        self.total.join(&other.total);
        for (into, from) in
            [(&mut self.rules, &other.rules), (&mut self.owners, &other.owners), (&mut self.agents, &other.agents)]
        {
            from.iter().for_each(|(name, count)| entry(into, name).join(count));
        }
    }
}

fn entry<'m>(map: &'m mut BTreeMap<String, Count>, name: &str) -> &'m mut Count {
    let name = if map.len() < NAMES_MAX || map.contains_key(name) { name } else { "…" };
    map.entry(name.to_owned()).or_default()
}

/// A session, ruled on again.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Tested {
    /// The session.
    pub session: String,
    /// Who acted in it.
    pub agent: String,
    /// Entries read.
    pub entries: u64,
    /// Attempts whose last ruling is on record.
    pub actions: u64,
    /// Those on which the charter says the same, from the first ruling to the last.
    pub same: u64,
    /// From this entry on it is no longer the same history: the first flip, or where a shared budget had to be counted alone.
    pub bounded_from: Option<u64>,
    /// The first flips.
    pub flips: Vec<Flip>,
    /// Sums of all.
    pub sums: Sums,
    /// Where the record could not be read on, and why.
    pub stopped: Option<Obstacle>,
}

impl Tested {
    fn sum(&mut self, flip: &Flip) {
        self.sums.add(flip);
    }
}

/// What a charter would have ruled on sessions.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Backtest {
    /// The charter's name.
    pub charter: String,
    /// Its digest.
    pub digest: String,
    /// Attempts.
    pub actions: u64,
    /// Those on which it says the same.
    pub same: u64,
    /// Entries read.
    pub entries: u64,
    /// Sums over all sessions.
    pub sums: Sums,
    /// Each session, in the order asked for.
    pub sessions: Vec<Tested>,
}

/// Has a charter rule on the record of sessions, several at a time. With one session, one thread reads and one rules.
///
/// # Errors
/// [`LedgerError`] when the ledger can't be read.
pub fn backtest(dir: &Path, sessions: &[String], charter: &Arc<Charter>) -> Result<Backtest, LedgerError> {
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get).min(sessions.len());
    let next = AtomicUsize::new(0);
    let done: Mutex<Vec<(usize, Result<Tested, LedgerError>)>> = Mutex::default();
    let work = || {
        while let Some((at, session)) = {
            let at = next.fetch_add(1, Ordering::Relaxed);
            sessions.get(at).map(|s| (at, s))
        } {
            let tested = match sessions.len() {
                1 => in_two(dir, session, charter),
                _ => in_one(dir, session, charter),
            };
            done.lock().unwrap_or_else(PoisonError::into_inner).push((at, tested));
        }
    };
    std::thread::scope(|scope| {
        (1..threads).for_each(|_| drop(scope.spawn(work)));
        work();
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(at, _)| *at);
    let mut out =
        Backtest { charter: charter.name().to_owned(), digest: charter.digest().to_owned(), ..Backtest::default() };
    for (_, tested) in done {
        let tested = tested?;
        out.actions += tested.actions;
        out.same += tested.same;
        out.entries += tested.entries;
        out.sums.join(&tested.sums);
        out.sessions.push(tested);
    }
    Ok(out)
}

fn in_one(dir: &Path, session: &str, charter: &Arc<Charter>) -> Result<Tested, LedgerError> {
    let ledger = Ledger::open_read(dir)?;
    let mut reader = Reader::new(&ledger, session)?;
    let mut judge = Judge::new(session, charter);
    while let Some(item) = reader.next()? {
        if !judge.take(item) {
            break;
        }
    }
    Ok(judge.end())
}

/// One thread reads while the other rules.
fn in_two(dir: &Path, session: &str, charter: &Arc<Charter>) -> Result<Tested, LedgerError> {
    let (give, take) = mpsc::sync_channel::<Vec<Item>>(BATCHES_MAX);
    let read = move || -> Result<(), LedgerError> {
        let ledger = Ledger::open_read(dir)?;
        let mut reader = Reader::new(&ledger, session)?;
        let mut batch = Vec::with_capacity(BATCH_ITEMS);
        while let Some(item) = reader.next()? {
            batch.push(item);
            if batch.len() == BATCH_ITEMS {
                let full = std::mem::replace(&mut batch, Vec::with_capacity(BATCH_ITEMS));
                // Whoever rules has stopped: nothing more is asked for.
                if give.send(full).is_err() {
                    return Ok(());
                }
            }
        }
        let _ = give.send(batch);
        Ok(())
    };
    std::thread::scope(|scope| {
        let reading = scope.spawn(read);
        let mut judge = Judge::new(session, charter);
        'all: while let Ok(batch) = take.recv() {
            for item in batch {
                if !judge.take(item) {
                    break 'all;
                }
            }
        }
        drop(take);
        match reading.join() {
            Ok(read) => read.map(|()| judge.end()),
            Err(_) => Err(LedgerError::Malformed { what: "a record", cause: "its reader ended too early".to_owned() }),
        }
    })
}

#[cfg(test)]
mod tests;
