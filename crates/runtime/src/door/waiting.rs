//! Attempts that wait for people, and those that were let go on and whose end was not told yet.
//!
//! Whoever asked may have gone away meanwhile: the answer is kept for the same attempt made again, once.

use crate::gate::{Question, Settled};
use crate::{asking, refusal};
use flyball_gateway::Asking;
use flyball_kernel::Action;
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
}

impl Waiting {
    pub fn wait(&mut self, group: u64, asking: &Asking, questions: Vec<Question>) {
        let (digests, exact) = (digests(&asking.actions), asking.exact.clone());
        self.groups.insert(group, Group { digests, exact, questions, settled: None });
    }

    /// The attempt that is the same as this one, if one waits or was settled and not taken.
    pub fn find(&self, asking: &Asking) -> Option<u64> {
        if self.groups.is_empty() {
            return None;
        }
        let digests = digests(&asking.actions);
        let is_same = |group: &Group| group.exact == asking.exact && group.digests == digests;
        self.groups.iter().find(|(_, group)| is_same(group)).map(|(name, _)| *name)
    }

    pub fn settle(&mut self, settled: Settled) {
        if let Some(group) = self.groups.get_mut(&settled.group) {
            group.settled = Some(settled);
        }
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
