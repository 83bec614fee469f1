//! Where a session runs, and how an action looks from there.

use crate::action::{Action, Value};
use crate::vocabulary::ResourceKind;
use std::collections::BTreeMap;

/// What the kernel knows of a session from its start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// The workspace: absolute, canonical, without a slash at its end.
    pub workspace: String,
    /// The user's home, likewise.
    pub home: String,
    /// The agent's name: the principal of actions that name none.
    pub agent: String,
}

/// The values of an action by name: the resource's fields, what is derived from them, attributes, `agent`, `surface`.
pub(crate) type Values = BTreeMap<&'static str, Value>;

impl Session {
    /// Who acts.
    pub(crate) fn agent_of<'a>(&'a self, action: &'a Action) -> &'a str {
        if action.agent.is_empty() { &self.agent } else { &action.agent }
    }

    pub(crate) fn values(&self, action: &Action) -> Values {
        let mut out: Values = action.resource.fields().map(|(name, value)| (name, value.clone())).collect();
        if action.resource.kind() == ResourceKind::File {
            let path = action.resource.str("path");
            out.insert("rel", self.rel(path).into());
            // Only for patterns of facts that start with `~/`; rules have `zone`.
            out.extend(below(path, &self.home).map(|rest| ("home_rel", Value::from(rest))));
            out.insert("name", path.rsplit('/').next().unwrap_or_default().into());
            out.insert("zone", self.zone(path).into());
        }
        out.extend(action.attrs().map(|(name, value)| (name, value.clone())));
        out.insert("agent", self.agent_of(action).into());
        out.insert("surface", action.surface.name().into());
        out
    }

    /// The path relative to the workspace; empty outside it, `.` for the workspace itself.
    fn rel<'p>(&self, path: &'p str) -> &'p str {
        match below(path, &self.workspace) {
            Some("") => ".",
            Some(rest) => rest,
            None => "",
        }
    }

    fn zone(&self, path: &str) -> &'static str {
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
