//! What of a written file's content a charter wants to know, told at compile time: what nobody asks for is never read.

use super::{Charter, DefaultVerdict, RuleEffect};
use crate::vocabulary::CONTENT_ATTRS;
use serde_json::Value as Json;
use std::collections::BTreeSet;

/// What a charter reads of the content of files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ContentReading {
    /// The attributes of `fs.write` that a rule or a fact names.
    pub attrs: BTreeSet<&'static str>,
    /// Whether a `dependency.*` action could be anything but allowed unseen.
    pub dependencies: bool,
}

impl ContentReading {
    /// Whether anything is read at all.
    #[must_use]
    pub fn is_any(&self) -> bool {
        self.dependencies || !self.attrs.is_empty()
    }

    pub(super) fn of(charter: &Charter, named_by_facts: &BTreeSet<String>) -> Self {
        let rules = &charter.rules.rules;
        let by_rules = rules.iter().filter(|r| r.verbs.contains(&"fs.write")).flat_map(|r| &r.content).copied();
        let by_facts = CONTENT_ATTRS.iter().copied().filter(|a| named_by_facts.contains(*a));
        let is_dependency = |verb: &str| verb.starts_with("dependency.");
        let stopped = |r: &super::Rule| r.effect == RuleEffect::Forbid && r.verbs.iter().any(|v| is_dependency(v));
        let dependencies = charter.default == DefaultVerdict::Deny
            || rules.iter().any(stopped)
            || named_by_facts.iter().any(|name| is_dependency(name))
            || charter.budgets.values().any(|b| b.verbs.iter().any(|v| is_dependency(v.name())));
        Self { attrs: by_rules.chain(by_facts).collect(), dependencies }
    }
}

impl Charter {
    /// What the charter wants to know of the content of files that were written.
    #[must_use]
    pub fn reads_content(&self) -> &ContentReading {
        &self.content
    }
}

/// The content attributes that a rule reads anywhere. Errs to the side of reading: a rule that looks at `context.attrs`
/// as a whole reads them all.
pub(super) fn read_by(policy: Option<&Json>) -> BTreeSet<&'static str> {
    let mut out = BTreeSet::new();
    match policy {
        Some(json) => {
            for condition in json.get("conditions").and_then(Json::as_array).into_iter().flatten() {
                collect(condition.get("body").unwrap_or(&Json::Null), &mut out);
            }
        }
        None => out.extend(CONTENT_ATTRS),
    }
    out
}

fn collect(node: &Json, out: &mut BTreeSet<&'static str>) {
    match node {
        Json::Object(map) => {
            for (key, inner) in map {
                let left = inner.get("left");
                let names = || {
                    let attr = inner.get("attr");
                    let all = attr.and_then(Json::as_array).map(Vec::as_slice).or(attr.map(std::slice::from_ref));
                    all.unwrap_or_default().iter().filter_map(Json::as_str)
                };
                let is_access = key == "." || key == "has";
                if is_access && left.is_some_and(is_attrs) {
                    out.extend(names().filter_map(named));
                } else if is_access && left.is_some_and(is_context) {
                    // `context has attrs.secrets` may carry the whole path; `context.attrs` by itself is all of them.
                    let path: Vec<&str> = names().collect();
                    match path.as_slice() {
                        ["attrs"] if key == "." => out.extend(CONTENT_ATTRS),
                        ["attrs", rest @ ..] => out.extend(rest.iter().filter_map(|n| named(n))),
                        _ => {}
                    }
                } else {
                    collect(inner, out);
                }
            }
        }
        Json::Array(items) => items.iter().for_each(|item| collect(item, out)),
        _ => {}
    }
}

fn named(attr: &str) -> Option<&'static str> {
    CONTENT_ATTRS.iter().copied().find(|a| *a == attr)
}

fn is_context(node: &Json) -> bool {
    node.get("Var").and_then(Json::as_str) == Some("context")
}

fn is_attrs(node: &Json) -> bool {
    node.get(".").is_some_and(|access| {
        access.get("attr").and_then(Json::as_str) == Some("attrs") && access.get("left").is_some_and(is_context)
    })
}
