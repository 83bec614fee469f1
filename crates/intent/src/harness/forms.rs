//! A tool's input in another form: the one that does what it is to do instead.
//!
//! A form is found by trying: what has to change is put in the place of what it was, wherever that stands in the input, and each outcome is
//! read anew. INVARIANT: only an input that is read as exactly what is wanted is given out.

use flyball_kernel::{Action, Value};
use serde_json::Value as Json;

/// Inputs that are tried.
const TRIES_MAX: usize = 64;
/// What may differ, at most.
const CHANGES_MAX: usize = 4;

/// The input that does `wanted` in place of `asked`, and what it does in all. `forms` says which of the actions have to be others; `read` tells what an
/// input does. What a command is called with may change with it, nothing else.
pub fn input_in_form(
    input: &Json,
    asked: &[Action],
    forms: &[(usize, Action)],
    read: &dyn Fn(&Json) -> Option<Vec<Action>>,
) -> Option<(Json, Vec<Action>)> {
    let mut changes = Vec::new();
    for (n, form) in forms {
        changes.extend(differences(asked.get(*n)?, form));
    }
    changes.dedup();
    if changes.is_empty() || changes.len() > CHANGES_MAX {
        return None;
    }
    let mut inputs = vec![input.clone()];
    for change in &changes {
        inputs = inputs.iter().flat_map(|input| with(input, change)).take(TRIES_MAX).collect();
    }
    inputs.into_iter().find_map(|input| {
        let given = read(&input)?;
        is_as_wanted(asked, forms, &given).then_some((input, given))
    })
}

fn is_as_wanted(asked: &[Action], forms: &[(usize, Action)], given: &[Action]) -> bool {
    let is_it = |(n, (asked, given)): (usize, (&Action, &Action))| match forms.iter().find(|(of, _)| *of == n) {
        Some((_, form)) => is_same(form, given),
        None => is_same(asked, given) || is_command(asked) && is_command(given),
    };
    asked.len() == given.len() && asked.iter().zip(given).enumerate().all(is_it)
}

fn is_command(action: &Action) -> bool {
    action.verb.name() == "process.exec"
}

/// What it is made of: labels are the kernel's to tell, and how a command is shown that it was read from changes with it.
fn attrs(action: &Action) -> impl Iterator<Item = (&'static str, &Value)> {
    action.attrs().filter(|(name, _)| !["labels", "implied_by"].contains(name))
}

fn is_same(one: &Action, other: &Action) -> bool {
    one.verb == other.verb && one.resource == other.resource && attrs(one).eq(attrs(other))
}

/// One text or number in the place of another.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Change {
    was: String,
    now: Json,
}

fn differences(was: &Action, now: &Action) -> Vec<Change> {
    let change = |was: Option<&Value>, now: &Value| {
        let (was, now) = (plain(was?)?, plain(now)?);
        (was != now).then(|| Change { was: text(&was), now })
    };
    let fields = now.resource.fields().filter_map(|(name, value)| change(was.resource.field(name), value));
    fields.chain(attrs(now).filter_map(|(name, value)| change(was.attr(name), value))).collect()
}

fn plain(value: &Value) -> Option<Json> {
    match value {
        Value::Long(number) => Some((*number).into()),
        Value::Bool(is) => Some((*is).into()),
        value => value.as_str().map(Json::from),
    }
}

fn text(value: &Json) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// The input with that change, at each place where it could be made.
fn with(input: &Json, change: &Change) -> Vec<Json> {
    match input {
        Json::String(there) => places(there, change).into_iter().map(Json::from).collect(),
        Json::Number(_) | Json::Bool(_) if text(input) == change.was => vec![change.now.clone()],
        Json::Array(items) => {
            let changed = items.iter().enumerate().flat_map(|(n, item)| {
                with(item, change).into_iter().map(move |item| {
                    let mut items = items.clone();
                    items.iter_mut().skip(n).take(1).for_each(|place| *place = item.clone());
                    Json::Array(items)
                })
            });
            changed.take(TRIES_MAX).collect()
        }
        Json::Object(fields) => {
            let changed = fields.iter().flat_map(|(name, value)| {
                with(value, change).into_iter().map(move |value| {
                    let mut fields = fields.clone();
                    fields.insert(name.clone(), value);
                    Json::Object(fields)
                })
            });
            changed.take(TRIES_MAX).collect()
        }
        _ => Vec::new(),
    }
}

/// The text with that change at each place where the old one stands as a word.
fn places(there: &str, change: &Change) -> Vec<String> {
    if change.was.is_empty() {
        return Vec::new();
    }
    let is_part = |c: char| c.is_alphanumeric() || c == '_' || c == '.';
    let mut out = Vec::new();
    for (start, _) in there.match_indices(&change.was).take(TRIES_MAX) {
        let (Some(before), Some(after)) = (there.get(..start), there.get(start + change.was.len()..)) else { continue };
        if before.ends_with(is_part) || after.starts_with(is_part) {
            continue;
        }
        out.push(format!("{before}{}{after}", text(&change.now)));
    }
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
    use super::super::tests::actions_of;
    use super::*;
    use serde_json::json;

    fn form(command: &str, replicas: i64) -> Option<String> {
        let read = |input: &Json| actions_of("Bash", input).ok();
        let input = json!({ "command": command, "description": "50 of them" });
        let asked = read(&input)?;
        let n = asked.iter().position(|action| action.verb.name() == "deploy.scale")?;
        let mut wanted = asked[n].clone();
        wanted.set("replicas", Value::Long(replicas)).ok()?;
        let (given, actions) = input_in_form(&input, &asked, &[(n, wanted)], &read)?;
        assert_eq!(actions[n].attr("replicas"), Some(&Value::Long(replicas)));
        given["command"].as_str().map(str::to_owned)
    }

    #[test]
    fn a_command_is_given_the_value_that_passes_where_it_stands() {
        for (asked, given) in [
            ("kubectl scale deployment/api --replicas=50", Some("kubectl scale deployment/api --replicas=20")),
            (
                "echo 50 && kubectl scale deployment/api50 --replicas 50",
                Some("echo 50 && kubectl scale deployment/api50 --replicas 20"),
            ),
            (
                "bash -c 'kubectl scale deployment/api --replicas=50'",
                Some("bash -c 'kubectl scale deployment/api --replicas=20'"),
            ),
            ("kubectl scale deployment/50 --replicas=50", Some("kubectl scale deployment/50 --replicas=20")),
            // Nowhere it could be put so that nothing else changes.
            ("N=0x32; kubectl scale deployment/api --replicas=$((N))", None),
            (
                "kubectl scale deployment/api --replicas=50; kubectl scale deployment/b --replicas=50",
                Some("kubectl scale deployment/api --replicas=20; kubectl scale deployment/b --replicas=50"),
            ),
        ] {
            assert_eq!(form(asked, 20).as_deref(), given, "{asked}");
        }
    }

    #[test]
    fn an_input_that_would_do_more_is_not_given() {
        let read = |input: &Json| actions_of("Bash", input).ok();
        let input = json!({ "command": "kubectl scale deployment/api --replicas=5" });
        let asked = read(&input).unwrap();
        let n = asked.iter().position(|action| action.verb.name() == "deploy.scale").unwrap();
        let mut wanted = asked[n].clone();
        wanted.resource = wanted.resource.with("name", "api; rm -rf x").unwrap();
        assert_eq!(input_in_form(&input, &asked, &[(n, wanted)], &read), None);
        assert_eq!(input_in_form(&input, &asked, &[], &read), None);
        assert_eq!(input_in_form(&input, &asked, &[(9, asked[0].clone())], &read), None);
    }
}
