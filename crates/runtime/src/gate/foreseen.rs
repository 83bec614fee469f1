//! Actions that an exec named beforehand and people allowed: the same action, done later below that exec, is not asked about
//! again. The kernel decides whether the approval stands; here is only known who descends from whom.

use flyball_kernel::Action;
use std::collections::BTreeMap;

/// How far up a cause is followed.
const UP_MAX: usize = 64;

/// What was allowed and has not come yet.
#[derive(Default)]
pub(super) struct Foreseen {
    /// By the attempt that named it: the exec's attempt, and the action.
    named: BTreeMap<u64, (u64, Action)>,
    /// Each exec that runs, with its cause.
    causes: BTreeMap<u64, u64>,
}

impl Foreseen {
    /// An exec is attempted.
    pub fn began(&mut self, exec: u64, cause: u64) {
        self.causes.insert(exec, cause);
    }

    /// What it named was allowed.
    pub fn allow(&mut self, exec: u64, named: Vec<(u64, Action)>) {
        self.named.extend(named.into_iter().map(|(of, action)| (of, (exec, action))));
    }

    /// The attempt that named this action, if one above `cause` did.
    pub fn find(&self, cause: Option<u64>, action: &Action) -> Option<u64> {
        if self.named.is_empty() {
            return None;
        }
        let above = std::iter::successors(cause, |at| self.causes.get(at).copied()).take(UP_MAX);
        let named = |exec: u64| self.named.iter().find(|(_, (by, named))| *by == exec && named.foresees(action));
        above.into_iter().find_map(|exec| named(exec).map(|(of, _)| *of))
    }

    /// It has come, or will not come any more.
    pub fn ended(&mut self, of: u64) {
        self.named.remove(&of);
        self.causes.remove(&of);
    }
}
