//! A charter that learns: what stays within the session is let through and remembered as what it would have been, so that
//! `suggest` can say what a charter for this work has to allow.
//!
//! INVARIANT: what leaves the session (connections, pushes, deploys, whatever is not listed here) is ruled on as ever, and so
//! is what touches a kept place, what reads other than by default, and what no rule decided (an error, a stopped session).

use crate::action::{Action, Value};
use crate::charter::Charter;
use crate::decide::{Decision, own};
use crate::hash::sha256;
use crate::ruling::Verdict;
use crate::vocabulary::Verb;

/// Places that are kept as the charter has them: absolute paths, with all below them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Learning {
    kept: Vec<String>,
}

/// Groups whose effects stay in the session: its overlay, its processes, its own memory.
const INWARD_GROUPS: &[&str] = &["fs", "process", "dependency", "state", "loop"];

/// Verbs of other groups that stay there as well.
const INWARD_VERBS: &[&str] = &["git.commit", "git.branch", "git.tag", "net.listen"];

/// The kernel's own reasons that stay refusals: no change of a charter could be learned from them.
const FINAL: &[&str] = &["session-", "input-", "too-many-", "rule-error", "fact-", "envelope-", "budget-error"];

/// Whether the verb's effects stay in the session.
pub(crate) fn is_inward(verb: Verb) -> bool {
    INWARD_GROUPS.contains(&verb.group()) || INWARD_VERBS.contains(&verb.name())
}

impl Charter {
    /// The same charter, learning. `kept`: absolute paths that it goes on protecting as it does.
    #[must_use]
    pub fn learning(mut self, mut kept: Vec<String>) -> Self {
        kept.sort();
        kept.dedup();
        let mut bytes = format!("learning\0{}", self.digest);
        for path in &kept {
            bytes.push('\0');
            bytes.push_str(path);
        }
        // Its rulings are others: they are not the charter's own.
        self.digest = sha256(bytes.as_bytes()).into();
        self.learning = Some(Learning { kept });
        self
    }

    /// Whether it learns.
    #[must_use]
    pub fn is_learning(&self) -> bool {
        self.learning.is_some()
    }
}

impl Learning {
    /// The decision as it is while learning.
    pub fn soften(&self, action: &Action, decision: Decision) -> Decision {
        if decision.verdict == Verdict::Allow || !self.lets(action, &decision) {
            return decision;
        }
        let said = match decision.verdict {
            Verdict::Hold => "asked about",
            Verdict::Modify => "changed",
            _ => "denied",
        };
        let mut reasons = decision.reasons;
        reasons.push(own("learning", format!("let through to learn from it: it would have been {said}"), None));
        reasons.sort();
        Decision { verdict: Verdict::Allow, reasons, asks: Default::default(), modified: None }
    }

    fn lets(&self, action: &Action, decision: &Decision) -> bool {
        let verb = action.verb;
        let is_inward = is_inward(verb);
        let is_final = decision.reasons.iter().any(|r| FINAL.iter().any(|f| r.rule.starts_with(f)));
        // What forbids a read guards something: only what nobody spoke of is learned.
        let is_guarded = verb.name() == "fs.read" && decision.reasons.iter().any(|r| r.rule != "no-rule-permits");
        let is_secret = matches!(action.attr("secrets"), Some(Value::Strs(found)) if !found.is_empty());
        let others = ["to", "target"].into_iter().filter_map(|name| action.attr(name)?.as_str());
        let mut paths = [action.resource.str("path")].into_iter().chain(others);
        let is_kept = verb.group() == "fs" && paths.any(|path| self.keeps(verb.name(), path));
        is_inward && !is_final && !is_guarded && !is_secret && !is_kept
    }

    fn keeps(&self, verb: &str, path: &str) -> bool {
        let is_below =
            |kept: &String| path.strip_prefix(kept.as_str()).is_some_and(|r| r.is_empty() || r.starts_with('/'));
        // What lies above a kept place holds it: moving or deleting it would take the place along.
        let is_above =
            |kept: &String| verb != "fs.write" && kept.strip_prefix(path).is_some_and(|r| r.starts_with('/'));
        self.kept.iter().any(|kept| is_below(kept) || is_above(kept))
    }
}
