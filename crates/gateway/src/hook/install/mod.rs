//! A harness's settings with Flyball's hooks in them, and without: functions of bytes, which leave every byte that is not
//! Flyball's where it was.
//!
//! An entry is Flyball's by its command: `PROGRAM … hook HARNESS [--otlp URL] --within SECONDS`. Before a tool call it ends with
//! `|| exit 2`, so that the shell of the harness stops the call when the program is gone or crashes.

mod spans;
#[cfg(test)]
mod tests;
pub mod trust;

use flyball_intent::Harness;
use serde_json::{Value as Json, json};
use spans::Node;
use std::fmt::Write as _;

/// A larger file is no settings file.
pub const SETTINGS_BYTES_MAX: usize = 1024 * 1024;

/// What a harness gives the hook beyond people's time, in seconds: more than the hook takes to give up by itself.
pub const SLACK_SECONDS: u64 = 30;

const CODEX_END_SECONDS: u64 = 3;

/// What the entries call.
#[derive(Clone, Debug)]
pub struct Called {
    /// The program and its own options, as a shell reads them.
    pub program: String,
    /// How many seconds people may take to answer.
    pub within: u64,
    /// What `--otlp` says, as a shell reads it, if the session's spans go anywhere.
    pub otlp: Option<String>,
}

/// The settings can't be read as what they should be; nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// Nobody writes such settings.
    #[error("it is over {SETTINGS_BYTES_MAX} bytes")]
    Large,
    /// Other bytes than JSON, or JSON with comments.
    #[error("it is no JSON (comments are none either): {0}")]
    Json(String),
    /// Other text than TOML.
    #[error("it is no TOML: {0}")]
    Toml(String),
    /// The user wants no hooks at all.
    #[error("`{0}` is `false` in it")]
    Off(String),
    /// Something else stands where an object or a list has to.
    #[error("`{at}` is not {want}")]
    Shape {
        /// Where.
        at: String,
        /// What has to stand there.
        want: &'static str,
    },
    /// Which of two the harness would take nobody can tell.
    #[error("`{0}` stands in it twice")]
    Twice(String),
}

/// An entry of Flyball's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The event that it is called at.
    pub event: String,
    /// Its group's number below the event, and its own in the group.
    pub place: (usize, usize),
    /// What of the tools it is called for.
    pub matcher: Option<String>,
    /// The command, as a shell reads it.
    pub command: String,
    /// How long the harness waits for it, in the harness's own unit.
    pub timeout: Option<u64>,
}

/// Where a harness looks for its hooks, below the user's home or the project.
#[must_use]
pub fn path(harness: Harness) -> &'static str {
    match harness {
        Harness::Claude => ".claude/settings.json",
        Harness::Codex => ".codex/hooks.json",
        Harness::Gemini => ".gemini/settings.json",
        Harness::Cursor => ".cursor/hooks.json",
    }
}

/// The settings with Flyball's hooks, and none of earlier ones; `None` is a file that is not there.
///
/// # Errors
/// [`SettingsError`] when they can't be read.
pub fn install(harness: Harness, settings: Option<&[u8]>, called: &Called) -> Result<Vec<u8>, SettingsError> {
    let (mut text, _) = match settings {
        Some(bytes) if !bytes.trim_ascii().is_empty() => take_out(harness, bytes)?,
        _ if harness == Harness::Cursor => ("{\n  \"version\": 1\n}\n".to_owned(), 0),
        _ => ("{}\n".to_owned(), 0),
    };
    for event in events(harness) {
        text = with_entry(&text, event.name, &entry(harness, event, called))?;
    }
    Ok(text.into_bytes())
}

/// The settings without any entry of Flyball's, and how many there were.
///
/// # Errors
/// [`SettingsError`] when they can't be read.
pub fn uninstall(harness: Harness, settings: &[u8]) -> Result<(Vec<u8>, usize), SettingsError> {
    take_out(harness, settings).map(|(text, taken)| (text.into_bytes(), taken))
}

/// Flyball's entries in the settings.
///
/// # Errors
/// [`SettingsError`] when they can't be read.
pub fn entries(harness: Harness, settings: &[u8]) -> Result<Vec<Entry>, SettingsError> {
    let text = checked(settings)?;
    let root = tree(text)?;
    Ok(found(harness, text, &root)?.into_iter().map(|found| found.entry).collect())
}

/// An event that is asked for.
struct Event {
    name: &'static str,
    /// Whether the harness goes on or not by what the hook says.
    decides: bool,
    /// Whether it is of a tool, so that the entry says: of any.
    is_of_tool: bool,
}

const fn before(name: &'static str) -> Event {
    Event { name, decides: true, is_of_tool: true }
}

const fn after(name: &'static str) -> Event {
    Event { name, decides: false, is_of_tool: true }
}

const fn told(name: &'static str) -> Event {
    Event { name, decides: false, is_of_tool: false }
}

fn events(harness: Harness) -> &'static [Event] {
    match harness {
        Harness::Claude => {
            &const {
                [
                    before("PreToolUse"),
                    after("PostToolUse"),
                    after("PostToolUseFailure"),
                    after("PermissionRequest"),
                    told("UserPromptSubmit"),
                    told("SessionStart"),
                    told("SessionEnd"),
                    told("SubagentStart"),
                    told("SubagentStop"),
                    told("Stop"),
                ]
            }
        }
        Harness::Codex => {
            &const {
                [
                    before("PreToolUse"),
                    after("PostToolUse"),
                    after("PermissionRequest"),
                    told("UserPromptSubmit"),
                    told("SessionStart"),
                    told("SessionEnd"),
                    told("SubagentStart"),
                    told("SubagentStop"),
                    told("Stop"),
                ]
            }
        }
        Harness::Gemini => {
            &const {
                [
                    before("BeforeTool"),
                    after("AfterTool"),
                    told("BeforeModel"),
                    told("AfterModel"),
                    told("BeforeAgent"),
                    told("AfterAgent"),
                    told("SessionStart"),
                    told("SessionEnd"),
                ]
            }
        }
        // Of the events before a call `preToolUse` comes for every tool; the others would be the same call once more.
        Harness::Cursor => {
            &const {
                [
                    before("preToolUse"),
                    after("postToolUse"),
                    after("postToolUseFailure"),
                    told("beforeSubmitPrompt"),
                    told("sessionStart"),
                    told("sessionEnd"),
                    told("subagentStart"),
                    told("subagentStop"),
                    told("stop"),
                ]
            }
        }
    }
}

fn entry(harness: Harness, event: &Event, called: &Called) -> Json {
    let mut command = format!("{} hook {}", called.program, harness.name());
    if let Some(url) = &called.otlp {
        let _ = write!(command, " --otlp {url}");
    }
    let _ = write!(command, " --within {}", called.within);
    if event.decides {
        command.push_str(" || exit 2");
    }
    let seconds = called.within.saturating_add(SLACK_SECONDS);
    let timeout = match (harness, event.name) {
        (Harness::Gemini, _) => seconds.saturating_mul(1000),
        // Codex grants no more there, and trusts an entry by what it makes of it.
        (Harness::Codex, "SessionEnd") => CODEX_END_SECONDS,
        _ => seconds,
    };
    if harness == Harness::Cursor {
        return match event.decides {
            true => json!({ "command": command, "timeout": timeout, "failClosed": true }),
            false => json!({ "command": command, "timeout": timeout }),
        };
    }
    let handler = match harness {
        Harness::Gemini => json!({ "type": "command", "command": command, "timeout": timeout, "name": "flyball" }),
        _ => json!({ "type": "command", "command": command, "timeout": timeout }),
    };
    match event.is_of_tool {
        true => json!({ "matcher": "*", "hooks": [handler] }),
        false => json!({ "hooks": [handler] }),
    }
}

fn checked(settings: &[u8]) -> Result<&str, SettingsError> {
    if settings.len() > SETTINGS_BYTES_MAX {
        return Err(SettingsError::Large);
    }
    std::str::from_utf8(settings).map_err(|e| SettingsError::Json(e.to_string()))
}

fn tree(text: &str) -> Result<Node, SettingsError> {
    // INVARIANT: the parser's own limit on depth is what bounds ours.
    let _: Json = serde_json::from_str(text).map_err(|e| SettingsError::Json(e.to_string()))?;
    let root = spans::read(text).ok_or_else(|| SettingsError::Json("it can't be read".to_owned()))?;
    for node in [Some(&root), root.member("hooks")].into_iter().flatten() {
        let mut names: Vec<&str> = node.members().into_iter().flatten().map(|m| m.name.as_str()).collect();
        names.sort_unstable();
        if let Some([twice, _]) = names.windows(2).find(|pair| matches!(pair, [a, b] if a == b)) {
            return Err(SettingsError::Twice((*twice).to_owned()));
        }
    }
    Ok(root)
}

/// An entry, and where it stands.
struct Found {
    entry: Entry,
    /// The groups of its event.
    groups: (usize, usize),
}

fn found(harness: Harness, text: &str, root: &Node) -> Result<Vec<Found>, SettingsError> {
    let shape = |at: &str, want| SettingsError::Shape { at: at.to_owned(), want };
    root.members().ok_or_else(|| shape("the file", "an object"))?;
    let Some(hooks) = root.member("hooks") else { return Ok(Vec::new()) };
    let mut found = Vec::new();
    for event in hooks.members().ok_or_else(|| shape("hooks", "an object"))? {
        // What is no event of tools or the like has another shape, such as Gemini CLI's `enabled`.
        let Some(groups) = event.value.items() else { continue };
        for (n, group) in groups.iter().enumerate() {
            let alone = std::slice::from_ref(group);
            let handlers = group.member("hooks").and_then(Node::items).unwrap_or(alone);
            for (m, handler) in handlers.iter().enumerate() {
                let value = |node: &Node| serde_json::from_str::<Json>(text.get(node.start..node.end)?).ok();
                let text_of = |node: Option<&Node>| value(node?)?.as_str().map(str::to_owned);
                let Some(command) = text_of(handler.member("command")) else { continue };
                if !is_ours(harness, &command) {
                    continue;
                }
                let entry = Entry {
                    event: event.name.clone(),
                    place: (n, m),
                    matcher: text_of(group.member("matcher")),
                    command,
                    timeout: handler.member("timeout").and_then(value).and_then(|t| t.as_u64()),
                };
                found.push(Found { entry, groups: (event.value.start, event.value.end) });
            }
        }
    }
    Ok(found)
}

/// Whether a command is one that [`install`] writes, wherever the program is.
fn is_ours(harness: Harness, command: &str) -> bool {
    let command = command.strip_suffix(" || exit 2").unwrap_or(command);
    let Some((front, seconds)) = command.rsplit_once(" --within ") else { return false };
    let is_number = !seconds.is_empty() && seconds.bytes().all(|b| b.is_ascii_digit());
    let is_word = |word: &str| !word.is_empty() && !word.contains(char::is_whitespace);
    let front = front.rsplit_once(" --otlp ").filter(|(_, url)| is_word(url)).map_or(front, |(front, _)| front);
    is_number && front.strip_suffix(harness.name()).is_some_and(|front| front.ends_with(" hook "))
}

/// Without our entries, and with no list or object that only they were in.
fn take_out(harness: Harness, settings: &[u8]) -> Result<(String, usize), SettingsError> {
    let mut text = checked(settings)?.to_owned();
    let mut taken = 0;
    loop {
        let root = tree(&text)?;
        // INVARIANT: each round has an entry less.
        let Some(Found { entry, groups: (start, _) }) = found(harness, &text, &root)?.pop() else {
            return Ok((text, taken));
        };
        taken += 1;
        let hooks = root.member("hooks");
        let event = hooks.and_then(Node::members).and_then(|all| all.iter().find(|e| e.value.start == start));
        let (Some(hooks), Some(event)) = (hooks, event) else { return Ok((text, taken)) };
        let groups = event.value.items().unwrap_or_default();
        let handlers = groups.get(entry.place.0).and_then(|g| g.member("hooks")).and_then(Node::items);
        let spans = |nodes: &[Node]| nodes.iter().map(|n| (n.start, n.end)).collect::<Vec<_>>();
        let cut = match handlers {
            Some(handlers) if handlers.len() > 1 => part(&spans(handlers), entry.place.1),
            _ if groups.len() > 1 => part(&spans(groups), entry.place.0),
            _ => {
                let members = |node: &Node| -> Vec<(usize, usize)> {
                    node.members().into_iter().flatten().map(|m| (m.start, m.value.end)).collect()
                };
                let of = |all: &[(usize, usize)], start: usize| all.iter().position(|m| m.0 == start);
                let (events, top) = (members(hooks), members(&root));
                let is_last = events.len() == 1;
                let hooks_start = root.members().into_iter().flatten().find(|m| m.name == "hooks").map(|m| m.start);
                match (is_last, hooks_start) {
                    (true, Some(start)) => of(&top, start).and_then(|n| part(&top, n)),
                    _ => of(&events, event.start).and_then(|n| part(&events, n)),
                }
            }
        };
        let Some((from, to)) = cut else { return Ok((text, taken)) };
        text.replace_range(from..to, "");
    }
}

/// What to cut so that the n-th of several in a row is gone, with the comma on its one side.
fn part(row: &[(usize, usize)], n: usize) -> Option<(usize, usize)> {
    let (start, end) = *row.get(n)?;
    match (n.checked_sub(1).and_then(|before| row.get(before)), row.get(n + 1)) {
        (Some(before), _) => Some((before.1, end)),
        (None, Some(next)) => Some((start, next.0)),
        (None, None) => Some((start, end)),
    }
}

/// With one more entry at the end of that event's.
fn with_entry(text: &str, event: &str, entry: &Json) -> Result<String, SettingsError> {
    let root = tree(text)?;
    let shape = |at: &str, want| SettingsError::Shape { at: at.to_owned(), want };
    let top = root.members().ok_or_else(|| shape("the file", "an object"))?;
    let Some(hooks) = root.member("hooks") else {
        let value = json!({ event: [entry] });
        return Ok(appended(text, &root, top.last().map(|m| m.value.end), 1, Some("hooks"), &value));
    };
    let events = hooks.members().ok_or_else(|| shape("hooks", "an object"))?;
    let Some(groups) = hooks.member(event) else {
        let value = json!([entry]);
        return Ok(appended(text, hooks, events.last().map(|m| m.value.end), 2, Some(event), &value));
    };
    let items = groups.items().ok_or_else(|| shape(&format!("hooks.{event}"), "a list"))?;
    Ok(appended(text, groups, items.last().map(|i| i.end), 3, None, entry))
}

/// Puts a value after the last one of an object or list, or as its only one, on a line of its own.
fn appended(text: &str, into: &Node, last: Option<usize>, depth: usize, name: Option<&str>, value: &Json) -> String {
    let indent = "  ".repeat(depth);
    let pretty = serde_json::to_string_pretty(value).unwrap_or_default().replace('\n', &format!("\n{indent}"));
    let name = name.map(|name| format!("{}: ", Json::from(name))).unwrap_or_default();
    let (from, to, new) = match last {
        Some(end) => (end, end, format!(",\n{indent}{name}{pretty}")),
        None => {
            let outer = "  ".repeat(depth - 1);
            (into.start + 1, into.end - 1, format!("\n{indent}{name}{pretty}\n{outer}"))
        }
    };
    let mut out = text.to_owned();
    out.replace_range(from..to, &new);
    out
}
