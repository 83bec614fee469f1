//! Where a session runs, and how an action looks from there.

use crate::action::{Action, Value};
use crate::vocabulary::ResourceKind;
use serde::{Deserialize, Serialize};
use std::cell::OnceCell;
use std::collections::BTreeMap;

/// What the kernel knows of a session from its start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// The workspace: absolute, canonical, without a slash at its end.
    pub workspace: String,
    /// The user's home, likewise.
    pub home: String,
    /// The agent's name: the principal of actions that name none.
    pub agent: String,
}

/// The values of an action by name: the resource's fields, what is derived from them, attributes, `agent`, `surface`;
/// for a result what its outcome carried. Each is made when it is first asked for.
#[derive(Debug)]
pub(crate) struct Values<'a> {
    session: &'a Session,
    action: &'a Action,
    outcome: Option<(Value, &'a BTreeMap<String, Value>)>,
    rel: OnceCell<Value>,
    home_rel: OnceCell<Option<Value>>,
    name: OnceCell<Value>,
    zone: OnceCell<Value>,
    agent: OnceCell<Value>,
    surface: OnceCell<Value>,
}

impl<'a> Values<'a> {
    /// The same action once its outcome is known.
    pub fn with_outcome(mut self, ok: bool, attrs: &'a BTreeMap<String, Value>) -> Self {
        self.outcome = Some((Value::Bool(ok), attrs));
        self
    }

    /// Who acts.
    pub fn agent(&self) -> &'a str {
        self.session.agent_of(self.action)
    }

    /// Whether it is the second judgement of a write, on what it wrote.
    pub fn is_content(&self) -> bool {
        self.action.is_content()
    }

    pub fn get(&self, name: &str) -> Option<&Value> {
        if let Some((ok, attrs)) = &self.outcome {
            let spec = self.action.verb.spec();
            if name == "ok" {
                return Some(ok);
            }
            if let Some(field) = spec.outcome.iter().find(|f| f.name == name) {
                // What the vocabulary does not know of an outcome, or knows with another type, no fact can ask for.
                if let Some(value) = attrs.get(name).filter(|value| value.ty() == field.ty) {
                    return Some(value);
                }
                if !spec.attrs.iter().any(|a| a.name == name) {
                    return None;
                }
            }
        }
        match name {
            "agent" => return Some(self.agent.get_or_init(|| self.agent().into())),
            "surface" => return Some(self.surface.get_or_init(|| self.action.surface.name().into())),
            _ => {}
        }
        if let Some(value) = self.action.attr(name) {
            return Some(value);
        }
        if self.action.resource.kind() == ResourceKind::File {
            let path = self.action.resource.str("path");
            match name {
                "rel" => return Some(self.rel.get_or_init(|| self.session.rel(path).into())),
                // Only for patterns of facts that start with `~/`; rules have `zone`.
                "home_rel" => {
                    let there = || below(path, &self.session.home).map(Value::from);
                    return self.home_rel.get_or_init(there).as_ref();
                }
                "name" => return Some(self.name.get_or_init(|| path.rsplit('/').next().unwrap_or_default().into())),
                "zone" => return Some(self.zone.get_or_init(|| self.session.zone(path).into())),
                _ => {}
            }
        }
        self.action.resource.field(name)
    }
}

impl Session {
    /// Who acts.
    pub(crate) fn agent_of<'a>(&'a self, action: &'a Action) -> &'a str {
        if action.agent.is_empty() { &self.agent } else { action.agent.as_str() }
    }

    pub(crate) fn values<'a>(&'a self, action: &'a Action) -> Values<'a> {
        Values {
            session: self,
            action,
            outcome: None,
            rel: OnceCell::new(),
            home_rel: OnceCell::new(),
            name: OnceCell::new(),
            zone: OnceCell::new(),
            agent: OnceCell::new(),
            surface: OnceCell::new(),
        }
    }

    /// The path relative to the workspace; empty outside it, `.` for the workspace itself.
    pub(crate) fn rel<'p>(&self, path: &'p str) -> &'p str {
        match below(path, &self.workspace) {
            Some("") => ".",
            Some(rest) => rest,
            None => "",
        }
    }

    pub(crate) fn zone(&self, path: &str) -> &'static str {
        if below(path, &self.workspace).is_some() {
            "workspace"
        } else if below(path, &self.home).is_some() {
            "home"
        } else if below(path, "/tmp").is_some() || below(path, "/var/tmp").is_some() {
            "temp"
        } else {
            "system"
        }
    }
}

/// What stands after `folder/` in a path below it; empty for the folder itself.
pub(crate) fn below<'p>(path: &'p str, folder: &str) -> Option<&'p str> {
    let folder = folder.strip_suffix('/').unwrap_or(folder);
    if folder.is_empty() {
        // The root is no workspace or home that could set anything apart.
        return None;
    }
    match path.strip_prefix(folder)? {
        "" => Some(""),
        rest => rest.strip_prefix('/'),
    }
}

#[cfg(test)]
mod tests {
    use crate::vocabulary::{COMMON_ATTRS, verbs};

    /// Rules read fields of resources and attributes of actions apart, facts by one name.
    #[test]
    fn no_attribute_has_the_name_of_a_field() {
        for verb in verbs() {
            let kind = verb.spec().resource;
            for field in kind.fields().iter().chain(kind.derived_fields()) {
                let attrs = verb.spec().attrs.iter().chain(COMMON_ATTRS).map(|a| a.name);
                let mut others = attrs.chain(["agent", "surface", "ok"]);
                assert!(others.all(|name| name != field.name), "{verb} has two `{}`", field.name);
            }
        }
    }
}
