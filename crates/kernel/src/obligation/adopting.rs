//! What is owed when another charter comes into force: no adoption of a narrower one lets anybody off.

use super::{Due, Obligation, Obligations, Otherwise};
use std::collections::{BTreeMap, VecDeque};

impl Obligations {
    /// What is owed goes on under another charter that has the obligation, by its name, from `now_ns` on.
    ///
    /// Where it is of the same events, each keeps the earlier of its two deadlines. Where it is not, it is what `rebuilt` has
    /// from the history, by the new events, as far as its time is not over, or it was owed before as well. What was escalated
    /// and has no answer is due at once where the deadline's consequence is no question any more.
    pub fn adopted(
        &self,
        was: &BTreeMap<String, Obligation>,
        is: &BTreeMap<String, Obligation>,
        rebuilt: &Self,
        now_ns: u64,
    ) -> Self {
        let mut out = Self::default();
        for (name, rule, before) in is.iter().filter_map(|(name, rule)| Some((name, rule, was.get(name)?))) {
            let owed: Vec<&Due> = self.open.get(name).into_iter().flatten().collect();
            let mut open: Vec<Due> = if before.is_of_the_same(rule) {
                let anew = |due: &Due| due.deadline_ns.saturating_sub(before.within_ns).saturating_add(rule.within_ns);
                owed.into_iter().map(|due| Due { deadline_ns: due.deadline_ns.min(anew(due)), ..due.clone() }).collect()
            } else {
                let all = rebuilt.open.get(name).into_iter().flatten().cloned();
                all.filter_map(|due| match owed.iter().find(|other| other.since == due.since) {
                    Some(other) => Some(Due { deadline_ns: due.deadline_ns.min(other.deadline_ns), ..due }),
                    None => (due.deadline_ns >= now_ns).then_some(due),
                })
                .collect()
            };
            let unmet = self.unmet.get(name).cloned().unwrap_or_default();
            if matches!(rule.otherwise, Otherwise::Escalate(_)) {
                if !unmet.is_empty() {
                    out.unmet.insert(name.clone(), unmet);
                }
            } else {
                open.extend(unmet.into_iter().map(|since| Due { bound: Vec::new(), since, deadline_ns: now_ns }));
            }
            // INVARIANT: in the order of their deadlines.
            open.sort_by_key(|due| (due.deadline_ns, due.since));
            if !open.is_empty() {
                out.open.insert(name.clone(), VecDeque::from(open));
            }
        }
        out
    }
}

impl Obligation {
    /// Whether both begin and are met by the same events.
    pub(crate) fn is_of_the_same(&self, other: &Self) -> bool {
        let said = |it: &Self| format!("{:?} {:?} {:?}", it.trigger, it.must, it.shared);
        said(self) == said(other)
    }
}
