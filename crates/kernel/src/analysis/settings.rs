//! What two charters say beside their rules, compared without searching: a list of what is looser, and of what is stricter.

use crate::charter::{Charter, HomeKeep, Limits, Tier};
use std::collections::{BTreeMap, BTreeSet};

/// Differences that no single action shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Differences {
    /// The second charter is looser there, or it could not be shown that it is not.
    pub looser: Vec<String>,
    pub stricter: Vec<String>,
}

/// Compares everything that a charter says beside its rules and its default.
pub(crate) fn compare(a: &Charter, b: &Charter) -> Differences {
    // What a charter says and nobody compares would be called narrower unseen: name each field here, and say why where
    // it makes no difference.
    let Charter {
        name: _,
        // Compared by the formulas, with the rules.
        default: _,
        rules: _,
        facts: _,
        fact_types: _,
        on_error: _,
        // Whom a tier asks stands in the tier.
        owners: _,
        tiers: _,
        consequences: _,
        governance: _,
        env_pass: _,
        home: _,
        sandbox: _,
        limits: _,
        budgets: _,
        envelopes: _,
        obligations: _,
        labels: _,
        autonomy: _,
        // Follows from rules and facts.
        content: _,
        // Say what is meant, and change nothing.
        examples: _,
        fact_places: _,
        digest: _,
        // No text says it, and a charter that is taken up during a run does not learn.
        learning: _,
    } = a;
    let mut out = Differences::default();
    tiers(&mut out, &a.tiers, &b.tiers);
    on_error(&mut out, a, b);
    named(&mut out, "budget", &a.budgets, &b.budgets);
    named(&mut out, "envelope", &a.envelopes, &b.envelopes);
    named(&mut out, "label", &a.labels, &b.labels);
    named(&mut out, "obligation", &a.obligations, &b.obligations);
    if format!("{:?}", a.consequences) != format!("{:?}", b.consequences) {
        out.looser.push("[[consequence]] is not the same, so that actions may be governed less deeply".to_owned());
    }
    let rows = |charter: &Charter| charter.governance.iter().map(|row| format!("{row:?}")).collect::<BTreeSet<_>>();
    if !rows(a).is_subset(&rows(b)) {
        out.looser.push("a row of [[governance]] is gone or not the same".to_owned());
    } else if rows(a) != rows(b) {
        out.stricter.push("[[governance]] has another row".to_owned());
    }
    autonomy(&mut out, a, b);
    sandbox(&mut out, a, b);
    limits(&mut out, a.limits(), b.limits());
    let (was, is): (BTreeSet<&String>, BTreeSet<&String>) =
        (a.env_pass().iter().collect(), b.env_pass().iter().collect());
    grown(&mut out, "[env] pass", &was, &is, true);
    match (a.home_keep(), b.home_keep()) {
        (HomeKeep::Session, HomeKeep::Agent) => out.looser.push("[home] keeps what earlier sessions wrote".to_owned()),
        (HomeKeep::Agent, HomeKeep::Session) => out.stricter.push("[home] is fresh for each session".to_owned()),
        _ => {}
    }
    out
}

/// A list of which more is looser (or stricter).
fn grown<T: Ord + std::fmt::Display>(
    out: &mut Differences,
    what: &str,
    was: &BTreeSet<T>,
    is: &BTreeSet<T>,
    is_looser: bool,
) {
    for more in is.difference(was) {
        let side = if is_looser { &mut out.looser } else { &mut out.stricter };
        side.push(format!("{what} has `{more}` as well"));
    }
    for less in was.difference(is) {
        let side = if is_looser { &mut out.stricter } else { &mut out.looser };
        side.push(format!("{what} has no `{less}` any more"));
    }
}

/// Budgets and envelopes by name: one that is gone or another is looser, unless it is new.
fn named<T: std::fmt::Debug>(out: &mut Differences, kind: &str, a: &BTreeMap<String, T>, b: &BTreeMap<String, T>) {
    for (name, was) in a {
        match b.get(name) {
            None => out.looser.push(format!("the {kind} `{name}` is gone")),
            Some(is) if format!("{is:?}") != format!("{was:?}") => {
                out.looser.push(format!("the {kind} `{name}` is not the same"))
            }
            Some(_) => {}
        }
    }
    for name in b.keys().filter(|name| !a.contains_key(*name)) {
        out.stricter.push(format!("the {kind} `{name}` is new"));
    }
}

fn tiers(out: &mut Differences, a: &BTreeMap<String, Tier>, b: &BTreeMap<String, Tier>) {
    for (name, was) in a {
        let Some(is) = b.get(name) else { continue };
        if is == was {
            continue;
        }
        let (before, now): (BTreeSet<&String>, BTreeSet<&String>) = (was.who.iter().collect(), is.who.iter().collect());
        grown(out, &format!("[escalation.{name}]"), &before, &now, true);
        for (what, was, is) in
            [("quorum", u64::from(is.quorum), u64::from(was.quorum)), ("within", was.within_ns, is.within_ns)]
        {
            let text = format!("`{what}` of [escalation.{name}] is not the same");
            if is > was {
                out.looser.push(text);
            } else if is < was {
                out.stricter.push(text);
            }
        }
        match (&was.then, &is.then) {
            (was, is) if was == is => {}
            (Some(_), None) => out.stricter.push(format!("[escalation.{name}] ends in a refusal")),
            _ => out.looser.push(format!("`then` of [escalation.{name}] is not the same")),
        }
    }
}

fn on_error(out: &mut Differences, a: &Charter, b: &Charter) {
    match (&a.on_error, &b.on_error) {
        (was, is) if was == is => {}
        (Some(_), None) => out.stricter.push("an error is a refusal".to_owned()),
        (_, Some(path)) => out.looser.push(format!("an error asks `{path}`")),
        (None, None) => {}
    }
}

fn autonomy(out: &mut Differences, a: &Charter, b: &Charter) {
    if b.autonomy.start > a.autonomy.start {
        out.looser.push(format!("sessions start at level `{}`", b.autonomy.start.name()));
    } else if b.autonomy.start < a.autonomy.start {
        out.stricter.push(format!("sessions start at level `{}`", b.autonomy.start.name()));
    }
    let levels = |charter: &Charter| charter.autonomy.levels.iter().map(|l| l.name()).collect::<BTreeSet<_>>();
    grown(out, "[autonomy] levels", &levels(a), &levels(b), true);
    let lower = |charter: &Charter| -> BTreeSet<(String, &'static str)> {
        let identity =
            |name: &str| charter.facts.places().find(|(n, _)| *n == name).map(|(_, p)| charter.facts.identity(p));
        charter.autonomy.lower.iter().map(|(fact, to)| (identity(fact).unwrap_or_default(), to.name())).collect()
    };
    let (was, is) = (lower(a), lower(b));
    if !was.is_subset(&is) {
        out.looser.push("[[autonomy.lower]] has fewer or other rows".to_owned());
    } else if was != is {
        out.stricter.push("[[autonomy.lower]] has more rows".to_owned());
    }
    if a.autonomy.ask != b.autonomy.ask {
        out.looser.push("`ask` of [autonomy] is not the same".to_owned());
    }
}

fn sandbox(out: &mut Differences, a: &Charter, b: &Charter) {
    let (was, is) = (a.sandbox(), b.sandbox());
    let lists = [
        ("hide", &was.hide, &is.hide, false),
        ("expose", &was.expose, &is.expose, true),
        ("protect", &was.protect, &is.protect, false),
        ("scratch", &was.scratch, &is.scratch, true),
        ("require", &was.require, &is.require, false),
    ];
    for (name, was, is, is_looser) in lists {
        let (was, is): (BTreeSet<&String>, BTreeSet<&String>) = (was.iter().collect(), is.iter().collect());
        grown(out, &format!("[sandbox] {name}"), &was, &is, is_looser);
    }
    match (was.mediate_reads, is.mediate_reads) {
        (true, false) => out.looser.push("[sandbox] reads are not decided any more".to_owned()),
        (false, true) => out.stricter.push("[sandbox] reads are decided as well".to_owned()),
        _ => {}
    }
}

fn limits(out: &mut Differences, a: &Limits, b: &Limits) {
    for (name, was, is) in [
        ("pids", a.pids_max, b.pids_max),
        ("memory", a.memory_bytes_max, b.memory_bytes_max),
        ("cpu", a.cpu_percent_max, b.cpu_percent_max),
    ] {
        let (was, is) = (was.unwrap_or(u64::MAX), is.unwrap_or(u64::MAX));
        if is > was {
            out.looser.push(format!("[limits] {name} is higher"));
        } else if is < was {
            out.stricter.push(format!("[limits] {name} is lower"));
        }
    }
}
