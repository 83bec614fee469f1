//! Attempts that wait for people, and those that were let go on and whose end was not told yet.
//!
//! Whoever asked may have gone away meanwhile: the answer is kept for the same attempt made again, once.

use crate::gate::{Question, Settled};
use crate::{asking, refusal};
use flyball_gateway::Asking;
use flyball_kernel::{Action, Verdict};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Debug, Default)]
pub(super) struct Waiting {
    /// By the attempt's name.
    groups: BTreeMap<u64, Group>,
    dispatched: BTreeSet<u64>,
}

#[derive(Debug)]
struct Group {
    /// What makes an attempt the same: all its actions, each by its digest.
    digests: Vec<String>,
    /// And what stands for the rest of it.
    exact: String,
    questions: Vec<Question>,
    settled: Option<Settled>,
    /// Once settled: until when the answer counts.
    until_ns: u64,
}

/// How long an answer that was given just before its question's deadline still counts.
const TAKEN_WITHIN_NS: u64 = 60_000_000_000;

impl Waiting {
    pub fn wait(&mut self, group: u64, asking: &Asking, questions: Vec<Question>) {
        let (digests, exact) = (digests(&asking.actions), asking.exact.text().to_owned());
        self.groups.insert(group, Group { digests, exact, questions, settled: None, until_ns: 0 });
    }

    /// The attempt that is the same as this one, if one waits or was settled and not taken.
    pub fn find(&self, asking: &Asking) -> Option<u64> {
        if self.groups.is_empty() {
            return None;
        }
        let digests = digests(&asking.actions);
        let is_same = |group: &Group| group.exact == asking.exact.text() && group.digests == digests;
        self.groups.iter().find(|(_, group)| is_same(group)).map(|(name, _)| *name)
    }

    pub fn settle(&mut self, settled: Settled, now_ns: u64) {
        if let Some(group) = self.groups.get_mut(&settled.group) {
            let deadline_ns = group.questions.iter().map(|question| question.deadline_ns).max().unwrap_or_default();
            group.until_ns = deadline_ns.max(now_ns.saturating_add(TAKEN_WITHIN_NS));
            group.settled = Some(settled);
        }
    }

    /// Takes out the answers that nobody has taken in time.
    pub fn expired(&mut self, now_ns: u64) -> Vec<Settled> {
        self.remove(|group| group.settled.is_some() && group.until_ns <= now_ns)
    }

    /// Takes out the allowances that nobody has taken: the session was stopped.
    pub fn allowed(&mut self) -> Vec<Settled> {
        self.remove(|group| group.settled.as_ref().is_some_and(|settled| settled.verdict != Verdict::Deny))
    }

    fn remove(&mut self, which: impl Fn(&Group) -> bool) -> Vec<Settled> {
        let (out, kept): (BTreeMap<_, _>, _) =
            std::mem::take(&mut self.groups).into_iter().partition(|(_, group)| which(group));
        self.groups = kept;
        out.into_values().filter_map(|group| group.settled).collect()
    }

    /// What was said of it, once.
    pub fn take_settled(&mut self, group: u64) -> Option<Settled> {
        self.groups.get(&group)?.settled.as_ref()?;
        self.groups.remove(&group)?.settled
    }

    pub fn is_waiting(&self, group: u64) -> bool {
        self.groups.contains_key(&group)
    }

    pub fn dispatched(&mut self, attempts: &[u64]) {
        self.dispatched.extend(attempts);
    }

    pub fn ended(&mut self, of: u64) {
        self.dispatched.remove(&of);
    }

    /// Those that nobody has answered, and whose answers nobody has taken.
    pub fn take_all(&mut self) -> Vec<u64> {
        let groups = std::mem::take(&mut self.groups);
        for settled in groups.values().filter_map(|g| g.settled.as_ref()) {
            self.dispatched.extend(&settled.attempts);
        }
        groups.into_keys().collect()
    }

    pub fn take_dispatched(&mut self) -> BTreeSet<u64> {
        std::mem::take(&mut self.dispatched)
    }

    /// What the agent reads when nobody has answered in time.
    pub fn text(&self, session: &str, group: u64) -> String {
        let questions = self.groups.get(&group).map(|g| g.questions.as_slice()).unwrap_or_default();
        let mut out = String::new();
        for question in questions {
            out.push_str(&format!("flyball: not yet: {}\n", asking::for_the_agent(question)));
        }
        if let [first, ..] = questions {
            let what = refusal::say(&first.attempt);
            out.push_str(&format!(
                "  nobody has answered so far; once {what} is allowed, make the very same call again and it passes\n"
            ));
        }
        out.push_str(&format!("  more: flyball why {session} {group}\n"));
        out
    }
}

fn digests(actions: &[Action]) -> Vec<String> {
    actions.iter().map(Action::digest).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use std::time::Duration;

    #[test]
    fn an_answer_that_nobody_takes_has_an_end() {
        let asking = Asking {
            actions: Vec::new(),
            cause: Vec::new(),
            exact: "x".to_owned().into(),
            wait: Duration::ZERO,
            can_change: false,
        };
        let settled = |group, verdict| Settled { group, attempts: vec![group], verdict, because: Vec::new() };
        let mut waiting = Waiting::default();
        for group in [7, 8, 9] {
            waiting.wait(group, &asking, Vec::new());
        }
        waiting.settle(settled(7, Verdict::Allow), 5);
        waiting.settle(settled(8, Verdict::Deny), TAKEN_WITHIN_NS);
        assert!(waiting.expired(TAKEN_WITHIN_NS).is_empty());
        let expired: Vec<u64> = waiting.expired(TAKEN_WITHIN_NS + 5).iter().map(|settled| settled.group).collect();
        assert_eq!((expired, waiting.is_waiting(7)), (vec![7], false));
        // A stop takes allowances, neither refusals nor what is still asked.
        waiting.settle(settled(9, Verdict::Allow), 0);
        let allowed: Vec<u64> = waiting.allowed().iter().map(|settled| settled.group).collect();
        assert_eq!((allowed, waiting.find(&asking)), (vec![9], Some(8)));
    }
}
