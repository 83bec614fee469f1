//! Where threads of one program acted in turns, and where several processes wrote the same file at once: which of them comes first is
//! nobody's to give again.

use flyball_sandbox::{Asker, Attempt, Call};
use serde_json::{Value as Json, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Entries that are named, of each of both.
const NAMED_MAX: usize = 16;
/// Processes that are told apart; those of later ones are not looked at.
const PROCESSES_MAX: usize = 4096;
/// Paths of which is known who wrote there last; of more, nothing.
const PATHS_MAX: usize = 16_384;
/// How far up it is looked whether a process stands above another.
const ABOVE_MAX: usize = 64;

/// Who acted so far.
#[derive(Default)]
pub(super) struct Turns {
    processes: BTreeMap<u64, (BTreeSet<u32>, u32)>,
    again: Named,
    /// The process that wrote there last.
    writers: BTreeMap<PathBuf, i32>,
    beside: Named,
}

/// The first entries, and how many more.
#[derive(Default)]
struct Named {
    entries: Vec<u64>,
    more: u64,
}

impl Named {
    fn add(&mut self, seq: u64) {
        if self.entries.len() < NAMED_MAX {
            self.entries.push(seq);
        } else {
            self.more += 1;
        }
    }

    fn told(&self) -> Json {
        json!({ "entries": self.entries, "more": self.more })
    }
}

impl Turns {
    /// A thread did what that entry tells.
    pub fn acted(&mut self, asker: Asker, seq: u64, call: &Call) {
        self.took_turns(asker, seq);
        if let Some(path) = written(&call.attempt) {
            self.wrote(call.pid, path, seq, &is_beside);
        }
    }

    fn took_turns(&mut self, asker: Asker, seq: u64) {
        if self.processes.len() >= PROCESSES_MAX && !self.processes.contains_key(&asker.process) {
            return;
        }
        let (threads, last) = self.processes.entry(asker.process).or_default();
        let is_back = !threads.insert(asker.thread) && *last != asker.thread;
        *last = asker.thread;
        if is_back {
            self.again.add(seq);
        }
    }

    /// A process writes there. `is_beside` says of the one that did before and of this one whether both go on at once.
    fn wrote(&mut self, pid: i32, path: &Path, seq: u64, is_beside: &dyn Fn(i32, i32) -> bool) {
        if let Some(last) = self.writers.get_mut(path) {
            let before = std::mem::replace(last, pid);
            if before != pid && is_beside(before, pid) {
                self.beside.add(seq);
            }
        } else if self.writers.len() < PATHS_MAX {
            self.writers.insert(path.to_owned(), pid);
        }
    }

    /// For the record; `None`: neither ever was.
    pub fn told(&self) -> Option<Json> {
        let mut told = self.again.told();
        if let (false, Some(told)) = (self.beside.entries.is_empty(), told.as_object_mut()) {
            told.insert("beside".to_owned(), self.beside.told());
        }
        (!self.again.entries.is_empty() || !self.beside.entries.is_empty()).then_some(told)
    }
}

/// Where a call writes.
fn written(attempt: &Attempt) -> Option<&Path> {
    match attempt {
        Attempt::Open { path, write: true, .. } | Attempt::Truncate { path, .. } => Some(path),
        Attempt::Rename { to, .. } => Some(to),
        _ => None,
    }
}

/// Whether the one process goes on while the other acts. One that stands above the other waits for it, mostly: a shell that wrote itself,
/// and has another program write after it.
fn is_beside(before: i32, now: i32) -> bool {
    let above = std::iter::successors(Some(now), |pid| stands(*pid).map(|(_, parent)| parent));
    stands(before).is_some_and(|(is_running, _)| is_running) && !above.take(ABOVE_MAX).any(|pid| pid == before)
}

/// Whether a process runs, and its parent; `None`: it is not there.
fn stands(pid: i32) -> Option<(bool, i32)> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name before may hold anything.
    let mut fields = stat.rsplit_once(") ")?.1.split(' ');
    let state = fields.next()?;
    Some((!matches!(state, "Z" | "X"), fields.next()?.parse().ok().filter(|parent| *parent > 0)?))
}

/// The entries at which threads acted in turns, by what the record tells, and how many more.
pub(crate) fn turns(told: &Json) -> (Vec<u64>, u64) {
    let entries = told.get("entries").and_then(Json::as_array);
    let entries = entries.into_iter().flatten().filter_map(Json::as_u64).take(NAMED_MAX).collect();
    (entries, told.get("more").and_then(Json::as_u64).unwrap_or_default())
}

/// Those at which several processes wrote the same file at once.
pub(crate) fn beside(told: &Json) -> (Vec<u64>, u64) {
    told.get("beside").map(turns).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_acts_again_behind_another_of_its_program_is_named() {
        let mut turns = Turns::default();
        let acts = [(1, 0), (1, 0), (2, 0), (1, 1), (1, 1), (1, 2), (2, 0), (1, 0), (1, 0), (1, 2)];
        for ((process, thread), seq) in acts.into_iter().zip(10..) {
            turns.took_turns(Asker { process, thread }, seq);
        }
        assert_eq!(turns.told(), Some(json!({ "entries": [17, 19], "more": 0 })));
        assert_eq!(Turns::default().told(), None);
        for n in 0..100 {
            turns.took_turns(Asker { process: 7, thread: n % 2 }, 100);
        }
        assert_eq!(super::turns(&turns.told().unwrap_or_default()).1, 84);
    }

    #[test]
    fn who_writes_where_another_one_wrote_that_goes_on_is_named() {
        let mut turns = Turns::default();
        let lives = |before: i32, _: i32| before < 10;
        for ((pid, path), seq) in
            [(1, "a"), (1, "a"), (2, "b"), (11, "a"), (3, "a"), (2, "a"), (3, "b")].into_iter().zip(20..)
        {
            turns.wrote(pid, Path::new(path), seq, &lives);
        }
        let told = turns.told().unwrap_or_default();
        assert_eq!(told, json!({ "entries": [], "more": 0, "beside": { "entries": [23, 25, 26], "more": 0 } }));
        assert_eq!((super::turns(&told), beside(&told)), ((vec![], 0), (vec![23, 25, 26], 0)));
        for n in 0..100 {
            turns.wrote(n % 2, Path::new("c"), 100, &lives);
        }
        assert_eq!(beside(&turns.told().unwrap_or_default()), ([vec![23, 25, 26], vec![100; 13]].concat(), 86));
    }

    #[test]
    fn who_has_ended_or_stands_above_is_not_beside() {
        let own = std::process::id() as i32;
        let sleeps = || std::process::Command::new("sleep").arg("600").spawn();
        let (Ok(mut one), Ok(mut other)) = (sleeps(), sleeps()) else { return };
        let (a, b) = (one.id() as i32, other.id() as i32);
        assert_eq!((is_beside(a, b), is_beside(a, own), is_beside(own, a)), (true, true, false));
        let _ = one.kill();
        // As long as nobody asked for its end it stands there, and runs no more.
        let until = std::time::Instant::now() + std::time::Duration::from_secs(60);
        while is_beside(a, b) {
            assert!(std::time::Instant::now() < until, "it does not end");
        }
        assert!(stands(a).is_some());
        let _ = (one.wait(), other.kill(), other.wait());
        assert!(!is_beside(a, own) && !is_beside(b, own));
    }
}
