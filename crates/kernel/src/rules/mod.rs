//! Rules as they are evaluated at each step: Cedar's policies, compiled, and looked up by what they ask for.
//!
//! Cedar stays what rules mean. What is compiled gives Cedar's own answer or none; then, as for rules that say what is
//! not compiled, Cedar is asked about that rule. So errors are in Cedar's words, and nothing is decided twice.

mod index;
mod like;
pub(crate) mod node;
#[cfg(test)]
mod oracle;
mod read;
mod types;

use crate::request::{Judged, Matched, ask, request};
use cedar_policy::{Decision, Policy, PolicySet};
use index::Index;
use node::Node;
use smallvec::SmallVec;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::charter::{FactType, RuleEffect};
use crate::text::Text;
use crate::vocabulary::Verb;

/// A rule, ready to be evaluated.
#[derive(Clone, Debug)]
pub(crate) struct Compiled {
    id: Text,
    effect: RuleEffect,
    /// Its condition; nothing for a rule that is Cedar's.
    node: Option<Arc<Node>>,
    /// It is valid, may match every verb of its scope, and can't fail where all facts have values.
    is_plain: bool,
    computes: bool,
    policy: Arc<Policy>,
}

impl Compiled {
    /// `json`: the policy's own form of it. `scope`: the verbs that its scope names.
    pub fn new(
        policy: Policy,
        json: Option<&serde_json::Value>,
        effect: RuleEffect,
        scope: &[Verb],
        facts: &BTreeMap<&str, usize>,
        types: &[FactType],
    ) -> Self {
        let read = json.and_then(|json| read::policy(json, facts));
        let is_plain = read.as_ref().is_some_and(|read| types::is_plain(read, scope, types));
        let node = read.map(read::Read::into_node);
        Self {
            id: AsRef::<str>::as_ref(policy.id()).into(),
            effect,
            computes: node.as_ref().is_none_or(types::computes),
            node: node.map(Arc::new),
            is_plain,
            policy: Arc::new(policy),
        }
    }

    /// Whether it is valid beyond doubt.
    pub fn is_plain(&self) -> bool {
        self.is_plain
    }

    /// The rule's id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Its condition; nothing for a rule that is Cedar's.
    pub fn node(&self) -> Option<&Node> {
        self.node.as_deref()
    }

    /// Whether evaluating it can fail although it is valid.
    pub fn computes(&self) -> bool {
        self.computes
    }

    /// What it says, in Cedar's words.
    pub fn text(&self) -> String {
        self.policy.to_string()
    }
}

/// What is evaluated for one verb.
#[derive(Clone, Debug, Default)]
pub(crate) struct Slice {
    /// By id.
    rules: Vec<Compiled>,
    index: Index,
    /// The places of the facts that its rules read.
    pub facts: BTreeSet<usize>,
}

impl Slice {
    pub fn new(mut rules: Vec<Compiled>, facts: BTreeSet<usize>) -> Self {
        rules.sort_by(|a, b| a.id.cmp(&b.id));
        let index = Index::new(rules.iter().map(|r| Some((&**r.node.as_ref()?, r.is_plain && !r.computes))));
        Self { rules, index, facts }
    }

    /// All of them, by id.
    pub fn rules(&self) -> &[Compiled] {
        &self.rules
    }

    /// Which forbids and which permits match.
    pub fn judge(&self, judged: &Judged) -> (Matched, Matched) {
        let (mut forbids, mut permits) = (Matched::default(), Matched::default());
        let mut cedars: Vec<&Compiled> = Vec::new();
        for place in self.index.candidates(judged) {
            let Some(rule) = self.rules.get(place) else { continue };
            match rule.node.as_ref().map(|node| node.test(judged)) {
                Some(Ok(false)) => {}
                Some(Ok(true)) if rule.effect == RuleEffect::Forbid => forbids.ids.push(rule.id.clone()),
                Some(Ok(true)) => permits.ids.push(rule.id.clone()),
                Some(Err(node::Bail)) | None => cedars.push(rule),
            }
        }
        if !cedars.is_empty() {
            ask_cedar(&cedars, judged, &self.facts, &mut forbids, &mut permits);
        }
        (forbids, permits)
    }
}

/// What Cedar says of rules that only it can evaluate.
fn ask_cedar(
    rules: &[&Compiled],
    judged: &Judged,
    facts: &BTreeSet<usize>,
    forbids: &mut Matched,
    permits: &mut Matched,
) {
    let (request, entities) = match request(judged, facts) {
        Ok(both) => both,
        Err(fault) => {
            // An action that can't be put to all rules is put to none.
            *forbids = Matched { ids: SmallVec::new(), errors: vec![fault] };
            *permits = Matched::default();
            return;
        }
    };
    for (effect, wanted, matched) in
        [(RuleEffect::Forbid, Decision::Deny, forbids), (RuleEffect::Permit, Decision::Allow, permits)]
    {
        let mut set = PolicySet::new();
        for rule in rules.iter().filter(|r| r.effect == effect) {
            // INVARIANT: rules' ids are unique, so that adding can't fail.
            let _ = set.add(Policy::clone(&rule.policy));
        }
        let said = ask(&set, &request, &entities, wanted);
        matched.ids.extend(said.ids);
        matched.ids.sort_unstable();
        matched.errors = said.errors;
    }
}
