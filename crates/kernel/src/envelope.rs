//! Envelopes: the bounds within which a number may move, and how fast.

mod positions;

use crate::action::{Action, Value};
use crate::charter::escalation::{Tier, deny_or_escalate};
use crate::charter::report::{At, Report, clip, nearest};
use crate::charter::settings::verbs_of;
use crate::charter::table::Keys;
use crate::decide::{Finding, own};
use crate::facts::span_text;
use crate::vocabulary::{AttrType, Verb};
use std::collections::BTreeMap;

pub(crate) use positions::Positions;

/// `[envelope.NAME]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Envelope {
    verb: Verb,
    attr: &'static str,
    pub(crate) min: Option<i64>,
    pub(crate) max: Option<i64>,
    /// At most this far from each value that was in force within `per_ns`; from the last one without it.
    pub(crate) step: Option<i64>,
    /// At most this many changes within `per_ns`.
    pub(crate) rate: Option<i64>,
    pub(crate) per_ns: Option<u64>,
    pub(crate) on_breach: Breach,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Breach {
    Deny,
    Clamp,
    Escalate(String),
}

/// Most resources that envelopes follow, and most changes of one of them within its window.
const POSITIONS_MAX: usize = 65_536;
const CHANGES_MAX: usize = 4_096;

/// What an envelope says of an action.
pub(crate) enum Said {
    Within,
    Finding(Box<Finding>),
    /// The nearest value that it lets pass.
    Clamp(Box<Finding>, i64),
}

pub(crate) fn section(
    report: &mut Report,
    root: &mut Keys,
    tiers: &BTreeMap<String, Tier>,
) -> BTreeMap<String, Envelope> {
    let mut out = BTreeMap::new();
    for (name, mut keys) in root.named_tables(report, "envelope") {
        let of = keys.required_str(report, "of").and_then(|of| quantity(report, &of));
        let min = keys.int(report, "min").map(|n| n.value);
        let max = keys.int(report, "max").map(|n| n.value);
        let step = keys.int(report, "step");
        let rate = keys.int(report, "rate");
        let per = keys.duration(report, "per");
        let on_breach = match keys.str(report, "on_breach") {
            None => Breach::Deny,
            Some(text) if text.value == "clamp" => Breach::Clamp,
            Some(text) => match deny_or_escalate(report, tiers, &text) {
                Some(Some(path)) => Breach::Escalate(path),
                _ => Breach::Deny,
            },
        };
        if let (Some(min), Some(max)) = (min, max)
            && min > max
        {
            report.error("FB0150", &keys.place, format!("{}: `min` {min} is above `max` {max}", keys.name), ());
        }
        for bound in [&step, &rate].into_iter().flatten().filter(|b| b.value < 0) {
            report.error("FB0150", &bound.place, "this bound is not below 0", ());
        }
        if let (Some(rate), None) = (&rate, &per) {
            report.error("FB0104", &rate.place, "a `rate` needs the time it is counted in", "add `per = \"1m\"`");
        }
        if min.is_none() && max.is_none() && step.is_none() && rate.is_none() {
            report.error(
                "FB0150",
                &keys.place,
                format!("{} bounds nothing", keys.name),
                "add `min`, `max`, `step` or `rate`",
            );
        }
        keys.finish(report);
        if let Some((verb, attr)) = of {
            let (step, rate) = (step.map(|s| s.value), rate.map(|r| r.value));
            let per_ns = per.map(|p| p.value);
            out.insert(name.value, Envelope { verb, attr, min, max, step, rate, per_ns, on_breach });
        }
    }
    out
}

fn quantity(report: &mut Report, of: &At<String>) -> Option<(Verb, &'static str)> {
    let (verb, attr) = of.value.rsplit_once('.').unwrap_or((&of.value, ""));
    let verbs = verbs_of(report, &At { value: verb.to_owned(), place: of.place.clone() });
    let [verb] = verbs.as_slice() else {
        if !verbs.is_empty() {
            report.error("FB0150", &of.place, "an envelope is of one verb", "such as `deploy.scale.replicas`");
        }
        return None;
    };
    let numbers = || verb.spec().attrs.iter().filter(|a| a.ty == AttrType::Long);
    let found = numbers().find(|a| a.name == attr);
    if found.is_none() {
        let message = format!("`{verb}` has no number `{}`", clip(attr));
        report.error("FB0121", &of.place, message, nearest(attr, numbers().map(|a| a.name)));
    }
    found.map(|f| (*verb, f.name))
}

impl Envelope {
    pub fn verb(&self) -> Verb {
        self.verb
    }

    pub fn attr(&self) -> &'static str {
        self.attr
    }

    /// Whether an action stays within.
    pub fn judge(&self, name: &str, action: &Action, positions: &Positions, now_ns: u64) -> Said {
        if action.verb != self.verb {
            return Said::Within;
        }
        let deny =
            |message: String, needs: Option<String>| Said::Finding(Box::new(Finding::deny(own(name, message, needs))));
        let Some(Value::Long(value)) = action.attr(self.attr) else {
            let message = format!("`{}` of {} is not known", self.attr, action.verb);
            return deny(message, Some(format!("an action that says its `{}`", self.attr)));
        };
        let key = (name.to_owned(), action.resource.id());
        if positions.is_full_for(&key) {
            return deny(format!("`{name}` follows too many resources or changes to take another"), None);
        }
        if let (Some(rate), Some(per_ns)) = (self.rate, self.per_ns) {
            let changes = positions.changes(&key, per_ns, now_ns);
            if i64::try_from(changes).unwrap_or(i64::MAX) >= rate {
                let message =
                    format!("`{name}` lets {rate} changes pass in {}: there were {changes}", span_text(per_ns));
                return self.breach(
                    name,
                    message,
                    None,
                    Some(format!("fewer than {rate} changes in {}", span_text(per_ns))),
                );
            }
        }
        let mut low = self.min.unwrap_or(i64::MIN);
        let mut high = self.max.unwrap_or(i64::MAX);
        for there in self.step.iter().flat_map(|_| positions.in_force(&key, self.per_ns, now_ns)) {
            let step = self.step.unwrap_or(i64::MAX);
            low = low.max(there.saturating_sub(step));
            high = high.min(there.saturating_add(step));
        }
        if (low..=high).contains(value) {
            return Said::Within;
        }
        if low > high {
            let message = format!("`{name}` lets no value pass now: its bounds are {low} and {high}");
            return self.breach(name, message, None, None);
        }
        let message = format!("`{}` is to be {value}, and `{name}` lets {} pass", self.attr, range_text(low, high));
        let nearest = (*value).clamp(low, high);
        self.breach(name, message, Some(nearest), Some(format!("`{}` within {}", self.attr, range_text(low, high))))
    }

    fn breach(&self, name: &str, message: String, nearest: Option<i64>, needs: Option<String>) -> Said {
        let reason = own(name, message, needs);
        match (&self.on_breach, nearest) {
            (Breach::Clamp, Some(value)) => {
                let finding = Finding { verdict: crate::Verdict::Modify, reason, escalate: None };
                Said::Clamp(Box::new(finding), value)
            }
            (Breach::Escalate(path), _) => Said::Finding(Box::new(Finding::hold(reason, Some(path.clone())))),
            // What can't be clamped is refused.
            (Breach::Deny | Breach::Clamp, _) => Said::Finding(Box::new(Finding::deny(reason))),
        }
    }
}

fn range_text(low: i64, high: i64) -> String {
    match (low, high) {
        (i64::MIN, high) => format!("at most {high}"),
        (low, i64::MAX) => format!("at least {low}"),
        (low, high) => format!("{low} to {high}"),
    }
}
