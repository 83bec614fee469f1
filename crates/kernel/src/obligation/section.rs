//! `[[obligation]]`, read.

use super::{ACTS, OPEN_DEFAULT, OPEN_MAX, Obligation, Otherwise};
use crate::charter::Tier;
use crate::charter::escalation::known;
use crate::charter::report::{At, Report, clip, nearest};
use crate::charter::settings::Owner;
use crate::charter::table::Keys;
use crate::facts::{self, Pair};
use std::collections::BTreeMap;

pub(crate) fn section(
    report: &mut Report,
    root: &mut Keys,
    source: &str,
    owners: &BTreeMap<String, Owner>,
    tiers: &BTreeMap<String, Tier>,
) -> BTreeMap<String, Obligation> {
    let mut out = BTreeMap::new();
    for (number, mut keys) in (1..).zip(root.tables(report, "obligation")) {
        let place = keys.place.clone();
        let name = keys.str(report, "name").map_or_else(|| format!("obligation-{number}"), |name| name.value);
        let when = keys.required_str(report, "when");
        let must = keys.required_str(report, "must");
        let within = keys.duration(report, "within");
        if within.is_none() && !keys.has("within") {
            report.error("FB0104", &place, "[[obligation]] has no deadline", "add `within = \"5m\"`");
        }
        if let Some(zero) = within.as_ref().filter(|w| w.value == 0) {
            report.error("FB0152", &zero.place, "nothing can be done within no time at all", "such as `\"5m\"`");
        }
        let owner = keys.required_str(report, "owner").filter(|owner| is_owner(report, owner, owners));
        let otherwise = keys.required_str(report, "otherwise").and_then(|text| otherwise(report, tiers, &text));
        let reason = keys.str(report, "reason").map(|r| r.value);
        let open_max = open_max(report, &mut keys);
        let source_line = report.source(&place);
        keys.finish(report);
        let (Some(when), Some(must)) = (when, must) else { continue };
        let pair = pair(report, source, &when, &must);
        let (Some(pair), Some(within), Some(owner), Some(otherwise)) = (pair, within, owner, otherwise) else {
            continue;
        };
        let Pair { trigger, must: discharge, shared, variables } = pair;
        let reason = reason.unwrap_or_else(|| {
            format!(
                "`{}` is owed within {} of `{}`",
                clip(&must.value),
                facts::span_text(within.value),
                clip(&when.value)
            )
        });
        let obligation = Obligation {
            trigger,
            must: discharge,
            shared,
            variables,
            within_ns: within.value,
            owner: owner.value,
            reason,
            otherwise,
            open_max,
            source: source_line,
        };
        if out.insert(name.clone(), obligation).is_some() {
            report.error("FB0114", &place, format!("two obligations are named `{}`", clip(&name)), "rename one");
        }
    }
    out
}

fn pair(report: &mut Report, source: &str, when: &At<String>, must: &At<String>) -> Option<Pair> {
    match facts::pair(&when.value, &must.value) {
        Ok(pair) => Some(pair),
        Err((is_must, fault)) => {
            facts::tell(report, source, if is_must { must } else { when }, fault);
            None
        }
    }
}

fn is_owner(report: &mut Report, owner: &At<String>, owners: &BTreeMap<String, Owner>) -> bool {
    let found = owners.contains_key(&owner.value);
    if !found {
        let hint = nearest(&owner.value, owners.keys().map(String::as_str));
        report.error("FB0105", &owner.place, format!("no owner `{}`", clip(&owner.value)), hint);
    }
    found
}

fn otherwise(report: &mut Report, tiers: &BTreeMap<String, Tier>, text: &At<String>) -> Option<Otherwise> {
    if let Some(path) = text.value.strip_prefix("escalate:") {
        let at = At { value: path.to_owned(), place: text.place.clone() };
        return known(report, tiers, &at).then(|| Otherwise::Escalate(path.to_owned()));
    }
    let found = ACTS.iter().find(|act| **act == text.value);
    if found.is_none() {
        let message = format!("`{}` is nothing that a deadline can cause", clip(&text.value));
        let hint = nearest(&text.value, ACTS.iter().copied())
            .unwrap_or_else(|| "`escalate:PATH`, `pause`, `rollback`, `quarantine` or `kill`".to_owned());
        report.error("FB0152", &text.place, message, hint);
    }
    found.map(|act| Otherwise::Act(act))
}

fn open_max(report: &mut Report, keys: &mut Keys) -> usize {
    let Some(wanted) = keys.int(report, "open_max") else { return OPEN_DEFAULT };
    let value = usize::try_from(wanted.value).ok().filter(|n| (1..=OPEN_MAX).contains(n));
    if value.is_none() {
        report.error("FB0103", &wanted.place, format!("`open_max` is to be between 1 and {OPEN_MAX}"), ());
    }
    value.unwrap_or(OPEN_DEFAULT)
}
