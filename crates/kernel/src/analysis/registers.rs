//! Budgets, envelopes and obligations of two charters, part by part: a smaller limit, a tighter range, a shorter deadline are
//! stricter. What has no order counts as looser.

use super::settings::Differences;
use crate::budget::{Budget, Per};
use crate::envelope::{Breach, Envelope};
use crate::facts::span_text;
use crate::obligation::{Obligation, Otherwise};
use crate::vocabulary::Verb;
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;

impl Differences {
    fn tell(&mut self, is_looser: bool, text: String) {
        if is_looser { self.looser.push(text) } else { self.stricter.push(text) }
    }

    /// A number of which more is looser.
    fn more<T: Ord + Display>(&mut self, what: &str, was: T, is: T) {
        let text = format!("{what} is {is}, and was {was}");
        match is.cmp(&was) {
            Ordering::Equal => {}
            order => self.tell(order == Ordering::Greater, text),
        }
    }

    /// One of which more is looser, and none is without end.
    fn more_or_all<T: Ord + Display>(&mut self, what: &str, was: Option<T>, is: Option<T>) {
        match (was, is) {
            (Some(was), Some(is)) => self.more(what, was, is),
            (None, Some(is)) => self.tell(false, format!("{what} is {is}")),
            (Some(_), None) => self.tell(true, format!("{what} is gone")),
            (None, None) => {}
        }
    }
}

/// What is in both by name, and what is gone or new.
fn paired<'m, T>(
    out: &mut Differences,
    kind: &str,
    a: &'m BTreeMap<String, T>,
    b: &'m BTreeMap<String, T>,
) -> Vec<(String, &'m T, &'m T)> {
    for name in a.keys().filter(|name| !b.contains_key(*name)) {
        out.tell(true, format!("the {kind} `{name}` is gone"));
    }
    for name in b.keys().filter(|name| !a.contains_key(*name)) {
        out.tell(false, format!("the {kind} `{name}` is new"));
    }
    a.iter().filter_map(|(name, was)| Some((format!("{kind} `{name}`"), was, b.get(name)?))).collect()
}

/// `is_renamed`: the charters' names differ, by which registers that sessions share are found.
pub(super) fn budgets(
    out: &mut Differences,
    a: &BTreeMap<String, Budget>,
    b: &BTreeMap<String, Budget>,
    is_renamed: bool,
) {
    for (what, was, is) in paired(out, "budget", a, b) {
        if is_renamed && was.per.is_shared() {
            out.tell(true, format!("the {what} is counted anew: sessions share it under the charter's name"));
        }
        if was.attr != is.attr {
            out.tell(true, format!("the {what} counts something else"));
        }
        verbs(out, &what, &was.verbs, &is.verbs);
        match (was.per, is.per) {
            (was, is) if was == is => {}
            (Per::Agent, Per::Session) => out.tell(false, format!("the {what} counts all agents together")),
            // What other sessions used by now would not be in it.
            _ => out.tell(true, format!("the {what} is of another scope")),
        }
        out.more(&format!("the limit of {what}"), was.limit, is.limit);
        if !was.warn_at.is_empty() && is.warn_at.is_empty() {
            out.tell(true, format!("the {what} warns no more"));
        }
    }
}

fn verbs(out: &mut Differences, what: &str, was: &[Verb], is: &[Verb]) {
    let names = |verbs: &[Verb]| verbs.iter().map(|v| v.name()).collect::<BTreeSet<_>>();
    let (was, is) = (names(was), names(is));
    for more in is.difference(&was) {
        out.tell(false, format!("the {what} counts `{more}` as well"));
    }
    for less in was.difference(&is) {
        out.tell(true, format!("the {what} does not count `{less}` any more"));
    }
}

pub(super) fn envelopes(out: &mut Differences, a: &BTreeMap<String, Envelope>, b: &BTreeMap<String, Envelope>) {
    for (what, was, is) in paired(out, "envelope", a, b) {
        if (was.verb(), was.attr()) != (is.verb(), is.attr()) {
            out.tell(true, format!("the {what} is of something else"));
            continue;
        }
        out.more_or_all(&format!("`max` of {what}"), was.max, is.max);
        out.more_or_all(&format!("`step` of {what}"), was.step, is.step);
        out.more_or_all(&format!("`rate` of {what}"), was.rate, is.rate);
        match (was.min, is.min) {
            (Some(low), Some(high)) if low < high => {
                out.tell(false, format!("`min` of {what} is {high}, and was {low}"))
            }
            (Some(high), Some(low)) if low < high => {
                out.tell(true, format!("`min` of {what} is {low}, and was {high}"))
            }
            (None, Some(low)) => out.tell(false, format!("`min` of {what} is {low}")),
            (Some(_), None) => out.tell(true, format!("`min` of {what} is gone")),
            _ => {}
        }
        // Of a longer time more changes count, and more places that are to be within a step. Without any it is the last one.
        let bounded = |e: &Envelope| e.step.is_some() || e.rate.is_some();
        if bounded(was) && bounded(is) && was.per_ns != is.per_ns {
            let span = is.per_ns.map_or("gone".to_owned(), span_text);
            out.tell(is.per_ns < was.per_ns, format!("`per` of {what} is {span}"));
        }
        match (&was.on_breach, &is.on_breach) {
            (was, is) if was == is => {}
            (_, Breach::Deny) => out.tell(false, format!("the {what} refuses what is outside it")),
            _ => out.tell(true, format!("`on_breach` of {what} is not the same")),
        }
    }
}

pub(super) fn obligations(out: &mut Differences, a: &BTreeMap<String, Obligation>, b: &BTreeMap<String, Obligation>) {
    for (what, was, is) in paired(out, "obligation", a, b) {
        if !was.is_of_the_same(is) {
            out.tell(true, format!("the {what} is of something else"));
            continue;
        }
        if was.within_ns != is.within_ns {
            let text =
                format!("`within` of {what} is {}, and was {}", span_text(is.within_ns), span_text(was.within_ns));
            out.tell(is.within_ns > was.within_ns, text);
        }
        out.more(&format!("`open_max` of {what}"), was.open_max, is.open_max);
        if was.owner != is.owner {
            out.tell(true, format!("the {what} has another owner, `{}`", is.owner));
        }
        match (&was.otherwise, &is.otherwise) {
            (was, is) if was == is => {}
            // A rollback takes back what the others leave.
            (Otherwise::Act("pause" | "quarantine") | Otherwise::Escalate(_), Otherwise::Act("kill")) => {
                out.tell(false, format!("the {what} ends the session where it is not met"));
            }
            _ => out.tell(true, format!("`otherwise` of {what} is not the same")),
        }
    }
}
