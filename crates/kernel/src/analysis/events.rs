//! Events that an atom of a fact or an obligation speaks of: whether there can be any, and one that it matches.

use super::coverage::is_mediated;
use super::witness::text;
use crate::action::{Action, Resource, Value};
use crate::charter::{Charter, default_surface};
use crate::facts::{Cmp, Occurrence, Pattern, Phase, Seen, Test};
use crate::session::Session;
use crate::vocabulary::{AttrType, Verb};
use std::collections::BTreeMap;

/// Something that happens in an action's life, as an atom asks for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Event {
    pub phase: Phase,
    pub action: Action,
    pub ok: bool,
    pub outcome: BTreeMap<String, Value>,
}

/// Why no event can match an atom, whatever is mediated.
pub(crate) fn contradiction(pattern: &Pattern) -> Option<String> {
    if pattern.verbs.is_empty() {
        return Some("it names no verb".to_owned());
    }
    let mut equal: BTreeMap<&str, &Value> = BTreeMap::new();
    let mut bounds: BTreeMap<&str, (i64, i64)> = BTreeMap::new();
    for (attr, test) in &pattern.tests {
        match test {
            Test::Equal(value) => {
                if let Some(other) = equal.insert(attr, value).filter(|other| *other != value) {
                    return Some(format!("`{attr}` can't be both {} and {}", shown(other), shown(value)));
                }
            }
            Test::Compare(cmp, n) => {
                let (low, high) = bounds.entry(attr).or_insert((i64::MIN, i64::MAX));
                match cmp {
                    Cmp::Eq => (*low, *high) = ((*low).max(*n), (*high).min(*n)),
                    Cmp::Lt => *high = (*high).min(n.saturating_sub(1)),
                    Cmp::Le => *high = (*high).min(*n),
                    Cmp::Gt => *low = (*low).max(n.saturating_add(1)),
                    Cmp::Ge => *low = (*low).max(*n),
                    Cmp::Ne => {}
                }
                if low > high {
                    return Some(format!("no number is what `{attr}` is to be"));
                }
            }
            _ => {}
        }
    }
    for (attr, test) in &pattern.tests {
        let Some(value) = equal.get(attr) else { continue };
        let is_met = match (test, value) {
            (Test::Unequal(other), value) => other != *value,
            (Test::Like(glob), Value::Str(text)) => glob.is_match(text),
            (Test::Has(item), Value::Strs(items)) => items.contains(item),
            (Test::Compare(cmp, limit), Value::Long(n)) => cmp.holds(*n, *limit),
            _ => true,
        };
        if !is_met {
            return Some(format!("`{attr}` is to be {}, and something else as well", shown(value)));
        }
    }
    None
}

fn shown(value: &Value) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

/// The event as the `given` of an example.
pub(crate) fn given(event: &Event, session: &Session) -> String {
    let phase = match event.phase {
        Phase::Attempt => "attempt",
        Phase::Did => "did",
        Phase::Result => "result",
    };
    let call = text(&event.action, session);
    let mut outcome: Vec<String> = event.outcome.iter().map(|(k, v)| format!("{k}: {}", shown(v))).collect();
    if event.phase == Phase::Result && !event.ok {
        outcome.push("ok: false".to_owned());
    }
    let args = call.strip_suffix(')').unwrap_or(&call);
    let between = if outcome.is_empty() || args.ends_with('(') { "" } else { ", " };
    format!("{phase} {args}{between}{})", outcome.join(", "))
}

/// The verbs of an atom that nothing in this version mediates, when that is all of them.
pub(crate) fn unmediated<'p>(charter: &Charter, pattern: &'p Pattern) -> Option<&'p [Verb]> {
    (!pattern.verbs.iter().any(|v| is_mediated(*v, charter))).then_some(&pattern.verbs)
}

/// An event that the atom matches, if one is easily made. `bound`: values of attributes that are to be these, where the
/// atom leaves them open.
pub(crate) fn event(
    pattern: &Pattern,
    verb: Verb,
    session: &Session,
    bound: &BTreeMap<&'static str, Value>,
) -> Option<Event> {
    let spec = verb.spec();
    let mut values: BTreeMap<&'static str, Value> = BTreeMap::new();
    for attr in pattern.binds.values() {
        if let Some(value) = bound.get(attr) {
            values.insert(attr, value.clone());
        }
    }
    for (attr, test) in &pattern.tests {
        let found = match test {
            Test::Equal(value) => value.clone(),
            Test::Like(glob) => Value::Str(matching(glob)?),
            Test::Has(item) => {
                let mut items = match values.remove(attr) {
                    Some(Value::Strs(items)) => items,
                    _ => Vec::new(),
                };
                items.push(item.clone());
                Value::Strs(items)
            }
            Test::Compare(cmp, n) => Value::Long(match cmp {
                Cmp::Eq | Cmp::Le | Cmp::Ge => *n,
                Cmp::Lt => n.checked_sub(1)?,
                Cmp::Gt | Cmp::Ne => n.checked_add(1)?,
            }),
            Test::Unequal(_) | Test::Versus(..) | Test::Present => continue,
        };
        values.entry(attr).or_insert(found);
    }
    let mut resource = Resource::new(spec.resource);
    for field in spec.resource.fields() {
        let value = values.remove(field.name).unwrap_or_else(|| usual(field.ty));
        resource = resource.with(field.name, value).ok()?;
    }
    // Where it is to be: below, a path that says nothing else is the workspace's.
    let zone = values.remove("zone").filter(|_| resource.field("zone").is_none());
    let folder = match zone.as_ref().and_then(Value::as_str) {
        Some("home") => session.home.clone(),
        Some("temp") => "/tmp".to_owned(),
        Some("system") => "/etc".to_owned(),
        _ => session.workspace.clone(),
    };
    let path = if let Some(Value::Str(rel)) = values.remove("rel") {
        Some(format!("{}/{rel}", session.workspace))
    } else if let Some(Value::Str(rel)) = values.remove("home_rel") {
        Some(format!("{}/{rel}", session.home))
    } else if let Some(Value::Str(name)) = values.remove("name").filter(|_| resource.field("name").is_none()) {
        Some(format!("{folder}/{name}"))
    } else if resource.field("path") == Some(&usual(AttrType::Str)) {
        Some(format!("{folder}/x"))
    } else {
        None
    };
    if let (Some(path), crate::ResourceKind::File) = (path, spec.resource) {
        resource = resource.with("path", path).ok()?;
    }
    let mut action = Action::new(verb.name(), resource, default_surface(verb)).ok()?;
    let (mut ok, mut outcome) = (true, BTreeMap::new());
    for (name, value) in values {
        match (name, &value) {
            ("ok", Value::Bool(b)) => ok = *b,
            ("agent", Value::Str(agent)) => action.agent = agent.into(),
            _ if pattern.phase == Phase::Result && spec.outcome.iter().any(|f| f.name == name) => {
                outcome.insert(name.to_owned(), value);
            }
            _ => action.set(name, value).ok()?,
        }
    }
    let present = pattern.tests.iter().filter(|(_, test)| matches!(test, Test::Present)).map(|(attr, _)| attr);
    for attr in pattern.binds.values().chain(present) {
        // An atom with a variable asks for the attribute to be there.
        let is_lacking = action.attr(attr).is_none() && action.resource.field(attr).is_none();
        if let Some(field) = spec.attrs.iter().find(|f| f.name == *attr && is_lacking) {
            action.set(attr, usual(field.ty)).ok()?;
        }
    }
    let it = Event { phase: pattern.phase, action, ok, outcome };
    let values = session.values(&it.action);
    let values = if it.phase == Phase::Result { values.with_outcome(it.ok, &it.outcome) } else { values };
    let occurrence = Occurrence { phase: it.phase, verb, values: Seen::Live(&values), seq: 1, at_ns: 1 };
    let is_match = pattern.matches(&occurrence);
    drop(values);
    is_match.then_some(it)
}

fn usual(ty: AttrType) -> Value {
    match ty {
        AttrType::Bool => Value::Bool(true),
        AttrType::Long => Value::Long(1),
        AttrType::Str => Value::Str("x".to_owned()),
        AttrType::Strs => Value::Strs(Vec::new()),
    }
}

/// A text that the pattern matches.
fn matching(glob: &globset::GlobMatcher) -> Option<String> {
    let pattern = glob.glob().glob();
    let tries = [
        pattern.replace("**/", "").replace("**", "x").replace(['*', '?'], "x"),
        pattern.replace("**", "x").replace(['*', '?'], "x"),
        pattern.replace(['*', '?'], ""),
        pattern.split('{').next().unwrap_or_default().to_owned()
            + pattern.split_once('{').and_then(|(_, rest)| rest.split([',', '}']).next()).unwrap_or_default()
            + pattern.split_once('}').map_or("", |(_, rest)| rest),
    ];
    let simple = |text: &String| text.replace("**", "x").replace(['*', '?'], "x");
    tries.iter().cloned().chain(tries.iter().map(simple)).find(|text| glob.is_match(text))
}
