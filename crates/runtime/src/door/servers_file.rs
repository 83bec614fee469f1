//! A client's own file of servers: `{ "mcpServers": { NAME: { "command": …, "args": […], "env": {…} }, NAME: { "url": … } } }`.

use flyball_gateway::mcp::many;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Bytes of such a file, and servers in it, at most.
const FILE_BYTES_MAX: u64 = 1 << 20;
const SERVERS_MAX: usize = 64;

/// The servers, in the order of their names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Servers {
    pub started: Vec<ServerEntry>,
    /// Those that are reached over HTTP, with their addresses.
    pub reached: Vec<(String, String)>,
}

/// A server that is started, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerEntry {
    pub name: String,
    pub command: String,
    pub args: Vec<String>,
    pub env: BTreeMap<String, String>,
}

impl ServerEntry {
    /// Its command line.
    pub fn argv(&self) -> Vec<String> {
        std::iter::once(&self.command).chain(&self.args).cloned().collect()
    }
}

#[derive(Deserialize)]
struct File {
    #[serde(rename = "mcpServers", alias = "servers")]
    // Sorted whatever features serde_json was built with.
    servers: BTreeMap<String, serde_json::Value>,
}

#[derive(Deserialize)]
struct Entry {
    command: Option<String>,
    #[serde(default)]
    args: Vec<String>,
    #[serde(default)]
    env: BTreeMap<String, String>,
    url: Option<String>,
    headers: Option<serde_json::Value>,
    #[serde(default)]
    disabled: bool,
}

/// Reads the file.
///
/// # Errors
/// What is wrong with it, and what to do.
pub fn read(path: &Path) -> Result<Servers, String> {
    let size = std::fs::metadata(path).map_err(|e| e.to_string())?.len();
    if size > FILE_BYTES_MAX {
        return Err(format!("it has {size} bytes, and {FILE_BYTES_MAX} is the most"));
    }
    parse(&std::fs::read(path).map_err(|e| e.to_string())?)
}

fn parse(bytes: &[u8]) -> Result<Servers, String> {
    let file: File = serde_json::from_slice(bytes)
        .map_err(|e| format!("it is not `{{ \"mcpServers\": {{ NAME: {{ \"command\": … }} }} }}`: {e}"))?;
    let (mut out, mut seen) = (Servers::default(), BTreeSet::new());
    for (name, value) in file.servers {
        let entry: Entry = serde_json::from_value(value).map_err(|e| format!("`{name}`: {e}"))?;
        if entry.disabled {
            continue;
        }
        if !many::is_name(&name) {
            return Err(format!(
                "`{name}` is no name for one of several servers: up to 32 letters, digits, `-` and `_`, no `__`, no `_` at the end"
            ));
        }
        // Rules and tools' digests go by the name, in whatever case a client writes it.
        if !seen.insert(name.to_ascii_lowercase()) {
            return Err(format!("two servers are named `{name}`, but for the case"));
        }
        match (entry.command.filter(|command| !command.is_empty()), entry.url) {
            (Some(command), None) => out.started.push(ServerEntry { name, command, args: entry.args, env: entry.env }),
            (None, Some(_)) if entry.headers.is_some() => {
                return Err(format!(
                    "`{name}` has `headers`: leave them to your client, which sends them through the gateway"
                ));
            }
            (None, Some(url)) => out.reached.push((name, url)),
            (None, None) => return Err(format!("`{name}` has no `command` and no `url`")),
            (Some(_), Some(_)) => return Err(format!("`{name}` has a `command` and a `url`: which is it?")),
        }
    }
    match seen.len() {
        0 => Err("there is no server in it".to_owned()),
        count if count > SERVERS_MAX => Err(format!("it has {count} servers, and {SERVERS_MAX} is the most")),
        _ => Ok(out),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
    use super::*;

    #[test]
    fn what_clients_write_is_read_and_what_is_odd_is_told() {
        let good = br#"{"mcpServers": {"b": {"command": "x", "args": ["1"], "env": {"K": "v"}, "type": "stdio"}, "a": {"command": "y"},
                        "off": {"disabled": true}, "web": {"url": "http://h/mcp"}}, "other": 1}"#;
        let Servers { started: read, reached } = parse(good).unwrap();
        assert_eq!(reached, [("web".to_owned(), "http://h/mcp".to_owned())]);
        assert_eq!(read.iter().map(|it| it.name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!((read[1].args.len(), read[1].env["K"].as_str()), (1, "v"));
        for (bad, part) in [
            ("[]", "mcpServers"),
            ("{\"mcpServers\": {}}", "no server"),
            ("{\"mcpServers\": {\"a__b\": {\"command\": \"x\"}}}", "no name"),
            ("{\"mcpServers\": {\"a/b\": {\"command\": \"x\"}}}", "no name"),
            ("{\"mcpServers\": {\"a\": {\"args\": []}}}", "no `command` and no `url`"),
            ("{\"mcpServers\": {\"a\": {\"command\": \"x\", \"url\": \"http://h\"}}}", "which is it"),
            ("{\"mcpServers\": {\"a\": {\"url\": \"http://h\", \"headers\": {}}}}", "leave them to your client"),
            ("{\"mcpServers\": {\"a\": {\"command\": 1}}}", "`a`"),
            ("{\"mcpServers\": {\"a\": {\"command\": \"x\"}, \"A\": {\"command\": \"x\"}}}", "but for the case"),
        ] {
            let said = parse(bad.as_bytes()).unwrap_err();
            assert!(said.contains(part), "{bad}: {said}");
        }
    }
}
