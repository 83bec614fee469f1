//! What is narrower at a glance: only rules that forbid were added, or rules that permit taken away.

use super::settings;
use crate::charter::{Charter, DefaultVerdict, RuleEffect};
use cedar_policy::PolicyId;
use std::collections::BTreeMap;

/// Whether `is` plainly lets nothing pass that `was` stops: every rule that forbids is still there, word for word and about
/// the same facts; every rule that permits was there; and no setting is looser. What is not plain may still be narrower: ask
/// [`super::compare`].
#[must_use]
pub fn is_plainly_narrower(was: &Charter, is: &Charter) -> bool {
    let facts = |charter: &Charter| -> BTreeMap<String, String> {
        let places = charter.facts.places();
        places.map(|(name, place)| (name.to_owned(), charter.facts.identity(place))).collect()
    };
    let (facts_was, facts_is) = (facts(was), facts(is));
    let text = |charter: &Charter, id: &str| charter.policy_set().policy(&PolicyId::new(id)).map(ToString::to_string);
    // The rule of this id, if it means the same in both.
    let is_kept = |id: &str| {
        let (Some(a), Some(b)) = (was.rule(id), is.rule(id)) else { return false };
        let reads_same = a.facts.iter().all(|fact| facts_was.get(fact) == facts_is.get(fact));
        a.effect == b.effect && a.escalate == b.escalate && reads_same && text(was, id) == text(is, id)
    };
    let forbids_stay = was.rules().iter().filter(|r| r.effect == RuleEffect::Forbid).all(|r| is_kept(&r.id));
    let permits_are_old = is.rules().iter().filter(|r| r.effect == RuleEffect::Permit).all(|r| is_kept(&r.id));
    let default_holds = was.default == is.default || is.default == DefaultVerdict::Deny;
    forbids_stay && permits_are_old && default_holds && settings::compare(was, is).looser.is_empty()
}
