//! The table of well-known servers' tools, and the texts in it.

use serde::Deserialize;
use serde_json::Value as Json;
use std::collections::BTreeMap;
use std::sync::LazyLock;

/// One thing that a tool does. Fields are JSON pointers into its arguments.
#[derive(Debug, Deserialize)]
#[serde(tag = "do", rename_all = "lowercase", deny_unknown_fields)]
pub(super) enum Step {
    Read {
        path: String,
    },
    Write {
        path: String,
        content: String,
    },
    Edit {
        path: String,
        edits: String,
    },
    Mkdir {
        path: String,
    },
    Delete {
        path: String,
        #[serde(default)]
        recursive: bool,
    },
    Move {
        path: String,
        to: String,
    },
    /// Runs a program.
    Command {
        argv: Vec<String>,
    },
    /// Does what that program would, without running it.
    Implied {
        argv: Vec<String>,
    },
    Sql {
        statement: String,
    },
    /// Sends files elsewhere: all of the call, or each of a list.
    Content {
        files: Option<String>,
        path: String,
        content: String,
    },
    /// Sends text elsewhere.
    Text {
        text: String,
    },
    Action {
        verb: String,
        fields: BTreeMap<String, String>,
    },
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Server {
    servers: Vec<String>,
    tools: BTreeMap<String, Vec<Step>>,
}

// A table that can't be read knows no tool, so that all are `tool.call`; a test holds that it can.
static TABLE: LazyLock<Vec<Server>> =
    LazyLock::new(|| serde_json::from_str(include_str!("tools.json")).unwrap_or_default());

pub(super) fn steps(kind: &str, tool: &str) -> Option<&'static [Step]> {
    server(kind)?.tools.get(tool).map(Vec::as_slice)
}

/// Whether the table knows a server of that name.
#[must_use]
pub fn is_known_server(name: &str) -> bool {
    server(name).is_some()
}

pub(crate) fn is_known_tool(server: &str, tool: &str) -> bool {
    steps(server, tool).is_some()
}

fn server(name: &str) -> Option<&'static Server> {
    let name = name.to_ascii_lowercase().replace('_', "-");
    TABLE.iter().find(|server| server.servers.contains(&name))
}

/// A pointer, `/a/b`; or a text with pointers in it, `x-{/a}` or `{/a|/b}`. One that ends with `?` may be missing.
pub(crate) struct Text<'a>(&'a str);

impl<'a> Text<'a> {
    pub fn new(text: &'a str) -> Self {
        Self(text)
    }

    pub fn is_optional(&self) -> bool {
        self.0.ends_with('?')
    }

    pub fn value(&self, input: &Json) -> Option<Json> {
        self.value_by(|pointer| input.pointer(pointer))
    }

    /// The same of whatever finds what stands at a pointer.
    pub fn value_by<'j>(&self, at: impl Fn(&str) -> Option<&'j Json>) -> Option<Json> {
        if self.0.starts_with('/') {
            return at(self.0.trim_end_matches('?')).filter(|value| !value.is_null()).cloned();
        }
        let mut out = String::new();
        let mut rest = self.0;
        while let Some((before, after)) = rest.split_once('{') {
            out.push_str(before);
            let (pointers, after) = after.split_once('}')?;
            match pointers.split('|').find_map(&at)? {
                Json::String(text) => out.push_str(text),
                Json::Number(number) => out.push_str(&number.to_string()),
                _ => return None,
            }
            rest = after;
        }
        out.push_str(rest);
        Some(Json::String(out))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn the_table_can_be_read() {
        let table: Vec<Server> = serde_json::from_str(include_str!("tools.json")).unwrap();
        assert!(table.len() >= 5 && is_known_server("mcp_server_git") && !is_known_server("x"));
        for step in table.iter().flat_map(|server| server.tools.values()).flatten() {
            let Step::Action { verb, fields } = step else { continue };
            let spec = flyball_kernel::Verb::named(verb).unwrap().spec();
            for name in fields.keys() {
                assert!(spec.resource.fields().iter().chain(spec.attrs).any(|f| f.name == name), "{verb} {name}");
            }
        }
    }
}
