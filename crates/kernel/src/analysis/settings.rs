//! What two charters say beside their rules, compared without searching: a list of what is looser, and of what is stricter.

use super::doors::requirements;
use super::registers;
use crate::charter::{Charter, HomeKeep, Limits, Rule, RuleEffect, Tier};
use cedar_policy::PolicyId;
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
        // Sessions share registers under it: compared with the budgets.
        name: _,
        // Compared by the formulas, with the rules.
        default: _,
        rules: _,
        facts: _,
        fact_types: _,
        on_error: _,
        people: _,
        owners: _,
        tiers: _,
        consequences: _,
        governance: _,
        env_pass: _,
        home: _,
        http: _,
        sandbox: _,
        limits: _,
        required: _,
        budgets: _,
        envelopes: _,
        obligations: _,
        labels: _,
        autonomy: _,
        // Follows from rules and facts.
        content: _,
        tools: _,
        servers: _,
        // Say what is meant, and change nothing.
        examples: _,
        fact_places: _,
        digest: _,
        // No text says it, and a charter that is taken up during a run does not learn.
        models: _,
        credentials: _,
        learning: _,
        // What `check` tells of: nothing is ruled by it.
        not_covered: _,
        // Compared below, by what they ask for.
        contracts: _,
    } = a;
    let mut out = Differences::default();
    tiers(&mut out, &a.tiers, &b.tiers);
    people(&mut out, a, b);
    on_error(&mut out, a, b);
    owners(&mut out, a, b);
    registers::budgets(&mut out, &a.budgets, &b.budgets, a.name() != b.name());
    registers::envelopes(&mut out, &a.envelopes, &b.envelopes);
    registers::obligations(&mut out, &a.obligations, &b.obligations);
    labels(&mut out, a, b);
    weights(&mut out, a, b);
    autonomy(&mut out, a, b);
    read_by_both(&mut out, a, b);
    sandbox(&mut out, a, b);
    limits(&mut out, a.limits(), b.limits());
    tools(&mut out, a, b);
    let (was, is): (BTreeSet<&String>, BTreeSet<&String>) =
        (a.env_pass().iter().collect(), b.env_pass().iter().collect());
    grown(&mut out, "[env] pass", &was, &is, true);
    if a.http().opens != b.http().opens {
        let side = if a.http().opens { &mut out.looser } else { &mut out.stricter };
        side.push(format!("[http] open is {}", b.http().opens));
    }
    let (was, is) = (a.http().pass.iter().collect(), b.http().pass.iter().collect());
    grown(&mut out, "[http] pass", &was, &is, true);
    if a.http().reads != b.http().reads {
        // What a rule no longer sees it no longer forbids, and what it sees now it may permit.
        out.looser.push("[[http.read]] is another: rules see other things of requests".to_owned());
    }
    grown(&mut out, "what is required of coverage", &requirements(a), &requirements(b), false);
    let wants =
        |charter: &Charter| charter.contracts().iter().flat_map(crate::Contract::wants).collect::<BTreeSet<_>>();
    grown(&mut out, "what contracts ask for", &wants(a), &wants(b), false);
    models(&mut out, a, b);
    match (a.home_keep(), b.home_keep()) {
        (HomeKeep::Session, HomeKeep::Agent) => out.looser.push("[home] keeps what earlier sessions wrote".to_owned()),
        (HomeKeep::Agent, HomeKeep::Session) => out.stricter.push("[home] is fresh for each session".to_owned()),
        _ => {}
    }
    out
}

/// What is counted and what is lent out: another reading of either is neither looser nor stricter by itself, so it is told as looser.
fn models(out: &mut Differences, a: &Charter, b: &Charter) {
    if a.models() != b.models() {
        out.looser.push("[[model]] or [[price]] is another: calls are counted otherwise".to_owned());
    }
    let shown = |charter: &Charter| -> BTreeSet<String> {
        let row = |c: &crate::charter::Credential| format!("{} for {}:{} in `{}`", c.name, c.host, c.port, c.header);
        charter.credentials().iter().map(row).collect()
    };
    let (was, is) = (shown(a), shown(b));
    grown(out, "[credentials]", &was.iter().collect(), &is.iter().collect(), true);
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

/// Who answers for a rule says whether it may be loosened: else a charter that stops the same could first hand it to others.
fn owners(out: &mut Differences, a: &Charter, b: &Charter) {
    for (name, was) in a.owners() {
        let Some(is) = b.owners().get(name) else { continue };
        let (was, is): (BTreeSet<&String>, BTreeSet<&String>) =
            (was.contacts.iter().collect(), is.contacts.iter().collect());
        grown(out, &format!("[owners] {name}"), &was, &is, true);
    }
    let missing: BTreeSet<&str> =
        a.rules().iter().filter(|r| b.rule(&r.id).is_none()).map(|r| r.owner.as_str()).collect();
    let added: BTreeSet<&str> =
        b.rules().iter().filter(|r| a.rule(&r.id).is_none()).map(|r| r.owner.as_str()).collect();
    for rule in b.rules() {
        if a.rule(&rule.id).is_some_and(|was| was.owner != rule.owner) {
            out.looser.push(format!("the rule `{}` has another owner, `{}`", rule.id, rule.owner));
        }
    }
    // A rule under another name may be one that stood under another owner's.
    if !missing.is_empty() && !added.is_empty() && missing.union(&added).count() > 1 {
        out.looser.push("rules of one owner are gone, and others of another's are new".to_owned());
    }
}

/// A label that more carry can be what a rule permits, as well as what it forbids.
fn labels(out: &mut Differences, a: &Charter, b: &Charter) {
    for name in a.labels.keys().chain(b.labels.keys()).collect::<BTreeSet<_>>() {
        match (a.labels.get(name), b.labels.get(name)) {
            (Some(_), None) => out.looser.push(format!("the label `{name}` is gone")),
            (None, Some(_)) if !permits_by_label(b) => out.stricter.push(format!("the label `{name}` is new")),
            (Some(was), Some(is)) if format!("{was:?}") == format!("{is:?}") => {}
            _ => out.looser.push(format!("the label `{name}` is not the same")),
        }
    }
}

/// Whether more labels may let more pass: whatever permits, excepts or remembers by them.
fn permits_by_label(charter: &Charter) -> bool {
    let reads = |rule: &Rule| {
        let text = charter.policy_set().policy(&PolicyId::new(&rule.id)).map(ToString::to_string).unwrap_or_default();
        let is_plain = rule.effect == RuleEffect::Forbid && !text.contains("unless") && !text.contains('!');
        text.contains("labels") && (!is_plain || text.contains("isEmpty"))
    };
    let places = || charter.facts.places().map(|(_, place)| place);
    charter.rules().iter().any(reads)
        || places().any(|p| charter.facts.patterns(p).iter().any(|p| p.tests.iter().any(|(attr, _)| *attr == "labels")))
}

/// How deeply actions are governed.
fn weights(out: &mut Differences, a: &Charter, b: &Charter) {
    let rows = |charter: &Charter| charter.consequences.iter().map(|row| format!("{row:?}")).collect::<BTreeSet<_>>();
    let (was, is) = (rows(a), rows(b));
    if was != is {
        // A row that is new replaces what is the verb's own, where no other says anything.
        let new = b.consequences.iter().filter(|row| !was.contains(&format!("{row:?}")));
        if was.is_subset(&is) && new.into_iter().all(|row| row.only_raises()) {
            out.stricter.push("[[consequence]] weighs more actions higher".to_owned());
        } else {
            out.looser.push("[[consequence]] is not the same, so that actions may be governed less deeply".to_owned());
        }
    }
    if !a.governance.iter().all(|row| b.governance.iter().any(|other| other.covers(row))) {
        out.looser.push("a row of [[governance]] is gone or does less".to_owned());
    } else if !b.governance.iter().all(|row| a.governance.iter().any(|other| other.covers(row))) {
        out.stricter.push("[[governance]] does more".to_owned());
    }
}

/// What is seen of a tool's call depends on it: more records or words let more pass here and less there.
fn tools(out: &mut Differences, a: &Charter, b: &Charter) {
    if format!("{:?}", a.tools()) != format!("{:?}", b.tools()) {
        out.looser.push("[tools] is not the same".to_owned());
    }
    if a.servers() != b.servers() {
        out.looser.push("[mcp] is not the same".to_owned());
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
        let pairs = || now.iter().flat_map(|one| now.iter().map(move |other| (one, other)));
        let differs = |more: &Tier, less: &Tier| {
            pairs().any(|(one, other)| more.person(one) == more.person(other) && less.person(one) != less.person(other))
        };
        if differs(was, is) {
            out.looser.push(format!("who is one person of [escalation.{name}] counts as several"));
        } else if differs(is, was) {
            out.stricter.push(format!("who counts as several of [escalation.{name}] is one person"));
        }
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

/// Who is known to be one: what an agent or somebody who answered already may not do, none of their contacts may.
fn people(out: &mut Differences, a: &Charter, b: &Charter) {
    let asked: BTreeSet<&String> = b.tiers.values().flat_map(|tier| &tier.who).collect();
    let known = |charter: &Charter, contact: &str| -> BTreeSet<String> {
        charter.people.of(contact).map(str::to_owned).chain(charter.people.name(contact).map(str::to_owned)).collect()
    };
    for contact in asked {
        let (was, is) = (known(a, contact), known(b, contact));
        if !was.is_subset(&is) {
            out.looser.push(format!("[people] does not say any more who `{contact}` is"));
        } else if was != is {
            out.stricter.push(format!("[people] says who `{contact}` is"));
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
    let place = |charter: &Charter, name: &str| charter.facts.places().find(|(n, _)| *n == name).map(|(_, p)| p);
    // Each row of the first has one of the second that lowers as far, whenever it does.
    let are_covered = |first: &Charter, second: &Charter| {
        first.autonomy.lower.iter().all(|(fact, to)| {
            second.autonomy.lower.iter().any(|(other, lower)| {
                let (Some(p), Some(q)) = (place(first, fact), place(second, other)) else { return false };
                lower <= to && first.facts.is_below(p, &second.facts, q)
            })
        })
    };
    match (are_covered(a, b), are_covered(b, a)) {
        (true, true) => {}
        (true, false) => out.stricter.push("[[autonomy.lower]] lowers more".to_owned()),
        (false, _) => out.looser.push("[[autonomy.lower]] has fewer or other rows".to_owned()),
    }
    if a.autonomy.ask != b.autonomy.ask {
        out.looser.push("`ask` of [autonomy] is not the same".to_owned());
    }
}

/// A stricter setting lets more pass where a rule turns on it: one that refuses unless a label is carried, or at a high level
/// only. Where one charter alone reads the setting, the search covers each value that it may have.
fn read_by_both(out: &mut Differences, a: &Charter, b: &Charter) {
    let in_rules =
        |charter: &Charter, word: &str| charter.policy_set().policies().any(|p| p.to_string().contains(word));
    let in_facts =
        |charter: &Charter, word: &str| charter.facts.places().any(|(_, at)| charter.facts.identity(at).contains(word));
    let reads = |charter: &Charter, word: &str| in_rules(charter, word) || in_facts(charter, word);
    if reads(a, "labels") && reads(b, "labels") && format!("{:?}", a.labels) != format!("{:?}", b.labels) {
        out.looser.push("rules or facts read labels, and [[label]] is not the same".to_owned());
    }
    if in_rules(a, "autonomy") && in_rules(b, "autonomy") && format!("{:?}", a.autonomy) != format!("{:?}", b.autonomy)
    {
        out.looser.push("rules read `context.autonomy`, and [autonomy] is not the same".to_owned());
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
