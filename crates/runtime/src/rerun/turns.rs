//! Where threads of one program acted in turns: which of them comes first is nobody's to give again.

use flyball_sandbox::Asker;
use serde_json::{Value as Json, json};
use std::collections::{BTreeMap, BTreeSet};

/// Entries that are named.
const NAMED_MAX: usize = 16;
/// Processes that are told apart; those of later ones are not looked at.
const PROCESSES_MAX: usize = 4096;

/// Who acted so far.
#[derive(Default)]
pub(super) struct Turns {
    processes: BTreeMap<u64, (BTreeSet<u32>, u32)>,
    named: Vec<u64>,
    more: u64,
}

impl Turns {
    /// A thread did what that entry tells.
    pub fn acted(&mut self, asker: Asker, seq: u64) {
        if self.processes.len() >= PROCESSES_MAX && !self.processes.contains_key(&asker.process) {
            return;
        }
        let (threads, last) = self.processes.entry(asker.process).or_default();
        let is_back = !threads.insert(asker.thread) && *last != asker.thread;
        *last = asker.thread;
        match is_back {
            true if self.named.len() < NAMED_MAX => self.named.push(seq),
            true => self.more += 1,
            false => {}
        }
    }

    /// For the record; `None`: none ever did.
    pub fn told(&self) -> Option<Json> {
        (!self.named.is_empty()).then(|| json!({ "entries": self.named, "more": self.more }))
    }
}

/// Those entries, by what the record tells, and how many more.
pub(crate) fn turns(told: &Json) -> (Vec<u64>, u64) {
    let entries = told.get("entries").and_then(Json::as_array);
    let entries = entries.into_iter().flatten().filter_map(Json::as_u64).take(NAMED_MAX).collect();
    (entries, told.get("more").and_then(Json::as_u64).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_acts_again_behind_another_of_its_program_is_named() {
        let mut turns = Turns::default();
        let acts = [(1, 0), (1, 0), (2, 0), (1, 1), (1, 1), (1, 2), (2, 0), (1, 0), (1, 0), (1, 2)];
        for ((process, thread), seq) in acts.into_iter().zip(10..) {
            turns.acted(Asker { process, thread }, seq);
        }
        assert_eq!(turns.told(), Some(json!({ "entries": [17, 19], "more": 0 })));
        assert_eq!(Turns::default().told(), None);
        for n in 0..100 {
            turns.acted(Asker { process: 7, thread: n % 2 }, 100);
        }
        assert_eq!(super::turns(&turns.told().unwrap_or_default()).1, 84);
    }
}
