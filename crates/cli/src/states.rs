//! `diff --state`: what of a session's own state differs between two steps, or from another session's.

use crate::failure::Failure;
use crate::output::{Cell, Output, table, visible};
use crate::place::Place;
use crate::workspace::step;
use flyball_ledger::Ledger;
use flyball_runtime::read::Step;
use flyball_runtime::replay;
use serde_json::{Value as Json, json};
use std::collections::BTreeMap;

/// `flyball diff S SEQ SEQ --state`.
pub fn diff(out: Output, place: &Place, wanted: &str, from: &str, to: u64) -> Result<(), Failure> {
    let from = step(from)?;
    let (ledger, id) = place.session(wanted)?;
    let (before, after) = (members(&ledger, &id, from)?, members(&ledger, &id, to)?);
    let told = json!({ "session": id, "from": from, "to": to });
    say(out, told, &format!("the session's state was the same at entries {from} and {to}"), &before, &after);
    Ok(())
}

/// `flyball diff S S --state`.
pub fn diff_of_two(out: Output, ledger: &Ledger, from: &Step, to: &Step) -> Result<(), Failure> {
    let side = |step: &Step| members(ledger, &step.session, step.seq);
    let (before, after) = (side(from)?, side(to)?);
    let same = format!("the state of session {} was that of session {}", visible(&from.session), visible(&to.session));
    say(out, json!({ "from": from, "to": to }), &same, &before, &after);
    Ok(())
}

/// Every member of a session's state at a step.
fn members(ledger: &Ledger, id: &str, seq: u64) -> Result<BTreeMap<String, Json>, Failure> {
    let mut all = BTreeMap::new();
    let mut state = serde_json::to_value(replay::state(ledger, id, seq)?).unwrap_or_default();
    if let Some(state) = state.as_object_mut() {
        state.remove("seq");
        state.remove("session");
    }
    flat("", &state, &mut all);
    Ok(all)
}

fn say(out: Output, mut told: Json, same: &str, before: &BTreeMap<String, Json>, after: &BTreeMap<String, Json>) {
    let mut names: Vec<&String> = before.keys().chain(after.keys()).collect();
    names.sort();
    names.dedup();
    let differ: Vec<(&String, Option<&Json>, Option<&Json>)> = names
        .into_iter()
        .map(|name| (name, before.get(name), after.get(name)))
        .filter(|(_, before, after)| before != after)
        .collect();
    if out.is_json {
        let differences: Vec<Json> = differ
            .iter()
            .map(|(name, before, after)| json!({ "member": name, "before": before, "after": after }))
            .collect();
        if let Some(told) = told.as_object_mut() {
            told.insert("differences".to_owned(), differences.into());
        }
        out.json(&told);
        return;
    }
    if differ.is_empty() {
        out.note(same);
        return;
    }
    let said = |value: Option<&Json>| match value {
        None => Cell::new("-"),
        Some(Json::String(text)) => Cell::new(text),
        Some(other) => Cell::new(other.to_string()),
    };
    let rows = differ
        .iter()
        .map(|(name, before, after)| vec![Cell::new(*name), said(*before), said(*after)])
        .collect::<Vec<_>>();
    table(out, &["MEMBER", "BEFORE", "AFTER"], &rows);
}

/// Every value by its way there: `registers/budgets/tokens/spent`. Items that have a name or a number go by that, so that one more does not
/// shift the others.
fn flat(way: &str, value: &Json, into: &mut BTreeMap<String, Json>) {
    let below = |name: &str| if way.is_empty() { name.to_owned() } else { format!("{way}/{name}") };
    match value {
        Json::Object(members) => members.iter().for_each(|(name, value)| flat(&below(name), value, into)),
        Json::Array(items) => {
            for (at, item) in items.iter().enumerate() {
                let named =
                    ["budget", "envelope", "obligation", "name", "seq", "of", "id"].into_iter().find_map(|key| {
                        match item.get(key)? {
                            Json::String(name) => Some(name.clone()),
                            Json::Number(number) => Some(number.to_string()),
                            _ => None,
                        }
                    });
                let place = below(&named.unwrap_or_else(|| at.to_string()));
                // Two of one name stand apart.
                let is_taken = into.keys().any(|known| known.starts_with(&format!("{place}/")));
                flat(&if is_taken { below(&at.to_string()) } else { place }, item, into);
            }
        }
        other => _ = into.insert(way.to_owned(), other.clone()),
    }
}
