//! Escalation paths: who is asked, how many, for how long, and what then. Every path ends in `deny`.

use super::people::{self, People};
use super::report::{At, Place, Report, clip, nearest};
use super::settings::Owner;
use super::table::Keys;
use std::collections::{BTreeMap, BTreeSet};

/// A tier: `[escalation.NAME]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tier {
    /// The owners who are asked.
    pub ask: Vec<String>,
    /// Their contacts, each once, sorted: who may answer.
    pub who: Vec<String>,
    /// Who of them is who, where the charter says so: names by contact.
    pub persons: BTreeMap<String, String>,
    /// How many of them must agree: persons, however many contacts each has.
    pub quorum: u32,
    /// How long they have, nanoseconds.
    pub within_ns: u64,
    /// Who is asked then; `None` is a refusal.
    pub then: Option<String>,
}

impl Tier {
    /// Who has this contact: a name of `[people]`, or the contact itself.
    #[must_use]
    pub fn person<'t>(&'t self, contact: &'t str) -> &'t str {
        self.persons.get(contact).map_or(contact, String::as_str)
    }
}

pub(crate) fn tiers(
    report: &mut Report,
    root: &mut Keys,
    owners: &BTreeMap<String, Owner>,
    people: &People,
) -> BTreeMap<String, Tier> {
    let mut tiers = BTreeMap::new();
    let mut thens: Vec<(String, At<String>)> = Vec::new();
    for (name, mut keys) in root.named_tables(report, "escalation") {
        let ask = keys.strs(report, "ask");
        if ask.is_empty() {
            report.error("FB0131", &keys.place, format!("{} asks nobody", keys.name), "add `ask = \"OWNER\"`");
        }
        let who = who(report, &ask, owners);
        if who.is_empty() && !ask.is_empty() {
            let message = format!("{} asks nobody: its owners have no contacts", keys.name);
            report.error("FB0131", &keys.place, message, "give the owner at least one contact in [owners]");
        }
        let named = who.iter().filter_map(|contact| Some((contact.clone(), people.name(contact)?.to_owned())));
        let persons: BTreeMap<String, String> = named.collect();
        let count = who.iter().map(|contact| persons.get(contact).unwrap_or(contact)).collect::<BTreeSet<_>>().len();
        let quorum = quorum(report, &mut keys, count);
        if quorum > 1 && people::may_be_one(people, &who) {
            let message = format!("of those whom {} asks, an account and a key may be one person's", keys.name);
            let hint = "gather each person's contacts in [people], `alice = [\"user:alice\", \"key:ssh-ed25519 …\"]`, \
                        and name them in [owners]: `[\"alice\", …]`";
            report.error("FB0135", &keys.place, message, hint);
        }
        let within_ns = match keys.duration(report, "within") {
            Some(d) if d.value > 0 => d.value,
            Some(d) => {
                report.error("FB0103", &d.place, "a deadline of 0 gives nobody time to answer", ());
                1
            }
            None => {
                let message = format!("{} has no deadline", keys.name);
                report.error("FB0104", &keys.place, message, "add `within = \"5m\"`");
                1
            }
        };
        let then = match keys.str(report, "then") {
            Some(then) if then.value == "deny" => None,
            Some(then) => {
                let next = then.value.clone();
                thens.push((name.value.clone(), then));
                Some(next)
            }
            None => {
                let message = format!("{} does not say what follows its deadline", keys.name);
                report.error("FB0104", &keys.place, message, "add `then = \"deny\"` or another path");
                None
            }
        };
        keys.finish(report);
        let ask = ask.into_iter().map(|a| a.value).collect();
        tiers.insert(name.value, Tier { ask, who, persons, quorum, within_ns, then });
    }
    for (_, then) in &thens {
        known(report, &tiers, then);
    }
    loops(report, &tiers, &thens);
    tiers
}

fn who(report: &mut Report, ask: &[At<String>], owners: &BTreeMap<String, Owner>) -> Vec<String> {
    let mut who = BTreeSet::new();
    for name in ask {
        match owners.get(&name.value) {
            Some(owner) => who.extend(owner.contacts.iter().cloned()),
            None => {
                let message = format!("no owner `{}`", clip(&name.value));
                report.error("FB0105", &name.place, message, nearest(&name.value, owners.keys().map(String::as_str)));
            }
        }
    }
    who.into_iter().collect()
}

fn quorum(report: &mut Report, keys: &mut Keys, people: usize) -> u32 {
    let Some(quorum) = keys.int(report, "quorum") else { return 1 };
    let value = u32::try_from(quorum.value).ok().filter(|n| *n > 0);
    match value {
        None => report.error("FB0132", &quorum.place, format!("a quorum of {} is none", quorum.value), "at least 1"),
        Some(n) if usize::try_from(n).is_ok_and(|n| n > people) && people > 0 => report.error(
            "FB0132",
            &quorum.place,
            format!("{} wants {n} answers of {people} people", keys.name),
            "a quorum can't be larger than the people who are asked",
        ),
        Some(_) => {}
    }
    value.unwrap_or(1)
}

/// Tells of a path that does not exist.
pub(crate) fn known(report: &mut Report, tiers: &BTreeMap<String, Tier>, path: &At<String>) -> bool {
    let found = tiers.contains_key(&path.value);
    if !found {
        let hint = nearest(&path.value, tiers.keys().map(String::as_str))
            .unwrap_or_else(|| format!("add [escalation.{}]", clip(&path.value)));
        report.error("FB0105", &path.place, format!("no escalation path `{}`", clip(&path.value)), hint);
    }
    found
}

/// Tells of each loop once, at the `then` of its first tier by name.
fn loops(report: &mut Report, tiers: &BTreeMap<String, Tier>, thens: &[(String, At<String>)]) {
    for (name, then) in thens {
        let mut way = vec![name.as_str()];
        let mut at = Some(then.value.as_str());
        while let Some(next) = at {
            if way.contains(&next) {
                break;
            }
            way.push(next);
            at = tiers.get(next).and_then(|t| t.then.as_deref());
        }
        let is_loop_of_this = at == Some(name.as_str()) && way.iter().min() == Some(&name.as_str());
        if is_loop_of_this {
            let shown = way.iter().chain([&name.as_str()]).map(|n| format!("`{n}`")).collect::<Vec<_>>().join(" -> ");
            report.error(
                "FB0130",
                &then.place,
                format!("the escalation never ends: {shown}"),
                "end the path with `then = \"deny\"`",
            );
        }
    }
}

/// What `deny` or `escalate:PATH` says: `Some(None)` and `Some(Some(path))`; `None` when it says neither.
pub(crate) fn deny_or_escalate(
    report: &mut Report,
    tiers: &BTreeMap<String, Tier>,
    text: &At<String>,
) -> Option<Option<String>> {
    if text.value == "deny" {
        return Some(None);
    }
    let Some(path) = text.value.strip_prefix("escalate:") else {
        let message = format!("`{}` is neither `deny` nor `escalate:PATH`", clip(&text.value));
        report.error("FB0105", &text.place, message, ());
        return None;
    };
    let at = At { value: path.to_owned(), place: text.place.clone() };
    known(report, tiers, &at).then(|| Some(path.to_owned()))
}

/// The place of nothing in particular: the start of a file.
pub(crate) fn start_of(file: &std::sync::Arc<str>) -> Place {
    Place::new(file, 0..0)
}
