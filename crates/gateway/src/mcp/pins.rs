//! Tools as they were when they were seen first. A tool that is new or not what it was may say anything to the model, so it is
//! an action, `tool.inject`, before the agent reads of it.

use flyball_kernel::{Action, ActionError, Resource, ResourceKind, Surface};
use serde_json::Value as Json;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// Keeps tools' digests from one session to the next.
pub trait Pins: Send + Sync {
    /// The digest of each tool of a server; `None` where nothing is known of it.
    ///
    /// # Errors
    /// Why what is known can't be read: then every tool counts as changed.
    fn known(&self, server: &str) -> Result<Option<BTreeMap<String, String>>, String>;

    /// Keeps a tool's digest.
    ///
    /// # Errors
    /// Why it can't be kept.
    fn keep(&self, server: &str, tool: &str, digest: &str) -> Result<(), String>;
}

/// What is known of a server's tools, and which the agent may use.
#[derive(Debug, Default)]
pub(super) struct Tools {
    /// As kept.
    pins: BTreeMap<String, String>,
    /// Why it can't be read.
    unreadable: bool,
    /// Nothing is known of the server from before this session.
    is_first_session: bool,
    /// By name: the tools that the server has listed.
    pub listed: BTreeMap<String, Listed>,
    /// A whole listing was seen, and the server has not said since that there is another.
    pub is_whole: bool,
    /// A whole listing was seen in this session.
    was_whole: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Listed {
    pub digest: String,
    /// Whether the agent may see it.
    pub is_shown: bool,
}

impl Tools {
    pub fn new(known: Result<Option<BTreeMap<String, String>>, String>) -> Self {
        let unreadable = known.is_err();
        let known = known.unwrap_or_default();
        Self {
            is_first_session: known.is_none() && !unreadable,
            unreadable,
            pins: known.unwrap_or_default(),
            ..Self::default()
        }
    }

    /// What the tool was, where it is not what it is: empty at the first sight of its server, `absent` when it is new,
    /// its digest when it has changed.
    pub fn was(&self, name: &str, digest: &str) -> Option<String> {
        match self.pins.get(name) {
            Some(was) if was == digest => None,
            Some(was) => Some(was.clone()),
            None if self.unreadable => Some("unreadable".to_owned()),
            None if self.is_first_session && !self.was_whole => Some(String::new()),
            None => Some("absent".to_owned()),
        }
    }

    pub fn agreed(&mut self, name: &str, digest: &str) {
        self.pins.insert(name.to_owned(), digest.to_owned());
    }

    pub fn ended(&mut self) {
        self.is_whole = true;
        self.was_whole = true;
    }

    /// The server says that its tools have changed.
    pub fn changed(&mut self) {
        self.is_whole = false;
        self.listed.clear();
    }
}

/// `sha256:…` over what the model reads of a tool and what its arguments are: all that its server says of it but `_meta`, in one
/// order.
pub(super) fn digest(tool: &Json) -> String {
    let mut out = Vec::new();
    canonical(tool, true, &mut out);
    format!("sha256:{}", hex::encode(Sha256::digest(&out)))
}

fn canonical(json: &Json, is_top: bool, out: &mut Vec<u8>) {
    match json {
        Json::Object(map) => {
            let sorted: BTreeMap<&String, &Json> = map.iter().filter(|(k, _)| !(is_top && *k == "_meta")).collect();
            out.push(b'{');
            for (key, value) in sorted {
                canonical(&Json::String(key.clone()), false, out);
                out.push(b':');
                canonical(value, false, out);
                out.push(b',');
            }
            out.push(b'}');
        }
        Json::Array(list) => {
            out.push(b'[');
            for one in list {
                canonical(one, false, out);
                out.push(b',');
            }
            out.push(b']');
        }
        other => out.extend(other.to_string().into_bytes()),
    }
}

pub(crate) fn inject(server: &str, name: &str, digest: &str, was: &str) -> Result<Action, ActionError> {
    let tool = Resource::new(ResourceKind::Tool).with("server", server)?.with("name", name)?;
    Action::new("tool.inject", tool, Surface::Mcp)?.with("digest", digest)?.with("was", was)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use serde_json::json;

    #[test]
    fn a_digest_is_of_all_that_the_model_reads() {
        let tool =
            json!({"name": "a", "description": "b", "inputSchema": {"type": "object", "x": [1, 2]}, "_meta": {"t": 1}});
        let same =
            json!({"inputSchema": {"x": [1, 2], "type": "object"}, "_meta": {"t": 2}, "description": "b", "name": "a"});
        assert_eq!(digest(&tool), digest(&same));
        for (pointer, value) in [("/description", json!("c")), ("/inputSchema/x", json!([2, 1])), ("/name", json!("z"))]
        {
            let mut other = tool.clone();
            *other.pointer_mut(pointer).unwrap() = value;
            assert_ne!(digest(&tool), digest(&other), "{pointer}");
        }
    }

    #[test]
    fn first_sight_is_told_from_what_came_later() {
        let mut tools = Tools::new(Ok(None));
        assert_eq!(tools.was("a", "1").as_deref(), Some(""));
        tools.agreed("a", "1");
        tools.ended();
        assert_eq!(tools.was("a", "1"), None);
        assert_eq!(tools.was("a", "2").as_deref(), Some("1"));
        assert_eq!(tools.was("b", "1").as_deref(), Some("absent"));
        assert_eq!(Tools::new(Ok(Some(BTreeMap::new()))).was("a", "1").as_deref(), Some("absent"));
        assert_eq!(Tools::new(Err("x".into())).was("a", "1").as_deref(), Some("unreadable"));
    }
}
