//! The events as each harness writes them.
//!
//! | harness | before a call | after it | told as well |
//! |---|---|---|---|
//! | Claude Code, Codex | `PreToolUse` | `PostToolUse`, `PostToolUseFailure` | `PermissionRequest`, `UserPromptSubmit`, `SessionStart`, `SessionEnd`, `SubagentStart`, `SubagentStop`, `Stop`, `Notification`, `PreCompact` |
//! | Gemini CLI | `BeforeTool` | `AfterTool` | `BeforeAgent`, `AfterAgent`, `BeforeModel`, `AfterModel`, `SessionStart`, `SessionEnd` |
//! | Cursor | `preToolUse`, `beforeShellExecution`, `beforeMCPExecution`, `beforeReadFile` | `postToolUse`, `postToolUseFailure`, `afterShellExecution` | `sessionStart`, `sessionEnd`, `beforeSubmitPrompt`, `subagentStart`, `subagentStop`, `stop`, `afterFileEdit` |
//!
//! Source: the harnesses' own documentation of their hooks, and events recorded from Claude Code 2.1.197, Codex 0.169.0 and
//! Gemini CLI 0.61.0.

use super::{EVENT_BYTES_MAX, clip};
use flyball_intent::Harness;
use serde_json::{Map, Value as Json, json};
use std::hash::{DefaultHasher, Hash, Hasher};

/// What a hook was told, as far as Flyball cares.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Heard {
    pub event: Event,
    /// Where the harness works; absolute.
    pub cwd: String,
    name: String,
    fields: Map<String, Json>,
}

/// What happened.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Event {
    /// A tool is about to be called.
    Before { id: String, tool: String, input: Json },
    /// It was called.
    After { id: String, is_ok: Option<bool>, exit: Option<i64>, input: Json },
    /// The harness session is over.
    End,
    /// Something else that belongs to the story.
    Told,
}

/// Why an event can't be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum WireError {
    #[error("it is over {EVENT_BYTES_MAX} bytes")]
    Large,
    #[error("it is no JSON object: {0}")]
    Json(String),
    #[error("it has no `{0}`")]
    Field(&'static str),
    #[error("`{0}` is no event that this version of Flyball knows of {1}: take the hook off it, or update Flyball")]
    Unknown(String, &'static str),
}

/// Events beside tool calls that are recorded.
const TOLD: &[&str] = &[
    "PermissionRequest",
    "UserPromptSubmit",
    "SessionStart",
    "SubagentStart",
    "SubagentStop",
    "Stop",
    "Notification",
    "PreCompact",
    "PostCompact",
    "BeforeAgent",
    "AfterAgent",
    "BeforeModel",
    "AfterModel",
    "BeforeToolSelection",
    "PreCompress",
    "sessionStart",
    "beforeSubmitPrompt",
    "subagentStart",
    "subagentStop",
    "stop",
    "afterFileEdit",
    "afterAgentResponse",
];

pub(super) fn read(harness: Harness, bytes: &[u8]) -> Result<Heard, WireError> {
    if bytes.len() > EVENT_BYTES_MAX {
        return Err(WireError::Large);
    }
    let json: Json = serde_json::from_slice(bytes).map_err(|e| WireError::Json(e.to_string()))?;
    let Json::Object(fields) = json else { return Err(WireError::Json("another value".to_owned())) };
    let name = text(&fields, "hook_event_name").ok_or(WireError::Field("hook_event_name"))?.to_owned();
    let cwd = text(&fields, "cwd").or_else(|| workspace_root(&fields)).unwrap_or_default().to_owned();
    let event = event(harness, &name, &fields)?;
    if matches!(event, Event::Before { .. }) && !cwd.starts_with('/') {
        return Err(WireError::Field("cwd"));
    }
    Ok(Heard { event, cwd, name, fields })
}

fn event(harness: Harness, name: &str, fields: &Map<String, Json>) -> Result<Event, WireError> {
    let tool = || text(fields, "tool_name").map(str::to_owned).ok_or(WireError::Field("tool_name"));
    match name {
        "PreToolUse" | "BeforeTool" | "preToolUse" => {
            let tool = tool()?;
            let input = fields.get("tool_input").cloned().ok_or(WireError::Field("tool_input"))?;
            Ok(Event::Before { id: id(fields, &tool, &input), tool, input })
        }
        "PostToolUse" | "AfterTool" | "postToolUse" | "PostToolUseFailure" | "postToolUseFailure" => {
            let (is_ok, exit) = ended(name, fields);
            let input = fields.get("tool_input").cloned().unwrap_or_default();
            Ok(Event::After { id: id(fields, &tool()?, &input), is_ok, exit, input })
        }
        "beforeShellExecution" => {
            let command = text(fields, "command").ok_or(WireError::Field("command"))?;
            let input = json!({ "command": command });
            Ok(Event::Before { id: id(fields, "Shell", &input), tool: "Shell".to_owned(), input })
        }
        "afterShellExecution" => {
            let input = json!({ "command": text(fields, "command").unwrap_or_default() });
            Ok(Event::After { id: id(fields, "Shell", &input), is_ok: None, exit: None, input })
        }
        "beforeReadFile" => {
            let path = text(fields, "file_path").ok_or(WireError::Field("file_path"))?;
            let input = json!({ "file_path": path });
            Ok(Event::Before { id: id(fields, "Read", &input), tool: "Read".to_owned(), input })
        }
        "beforeMCPExecution" => {
            let tool = format!("mcp__{}__{}", text(fields, "server").unwrap_or("cursor"), tool()?);
            // Cursor writes the input as JSON in a string.
            let input = match fields.get("tool_input") {
                Some(Json::String(inner)) => serde_json::from_str(inner).unwrap_or_else(|_| json!({ "text": inner })),
                Some(other) => other.clone(),
                None => return Err(WireError::Field("tool_input")),
            };
            Ok(Event::Before { id: id(fields, &tool, &input), tool, input })
        }
        "SessionEnd" | "sessionEnd" => Ok(Event::End),
        name if TOLD.contains(&name) => Ok(Event::Told),
        name => Err(WireError::Unknown(clip(name), harness.name())),
    }
}

/// What names the call. Gemini CLI has no name for one: there it is what is called and with what.
fn id(fields: &Map<String, Json>, tool: &str, input: &Json) -> String {
    let given = ["tool_use_id", "tool_call_id", "call_id"].iter().find_map(|name| text(fields, name));
    given.map_or_else(|| id_of(tool, input), str::to_owned)
}

/// A name for a call that has none.
pub(super) fn id_of(tool: &str, input: &Json) -> String {
    let mut hasher = DefaultHasher::new();
    (tool, input.to_string()).hash(&mut hasher);
    format!("{tool}-{:016x}", hasher.finish())
}

/// Whether the call did what it was to do, and with which exit code; only what the harness itself says, never its output.
fn ended(name: &str, fields: &Map<String, Json>) -> (Option<bool>, Option<i64>) {
    if name.ends_with("Failure") {
        let error = text(fields, "error").unwrap_or_default();
        return (Some(false), error.strip_prefix("Exit code ").and_then(number));
    }
    let response = fields.get("tool_response").or_else(|| fields.get("tool_output"));
    let field = |name: &str| response.and_then(|r| r.get(name));
    if field("error").is_some_and(|e| !e.is_null()) || field("interrupted").and_then(Json::as_bool) == Some(true) {
        return (Some(false), None);
    }
    // What goes on in the background has not ended.
    if field("backgroundTaskId").or_else(|| field("backgroundPIDs")).is_some_and(|v| !v.is_null()) {
        return (None, None);
    }
    // Gemini CLI and Codex tell a command's end, if at all, in words that the command itself could have printed.
    let is_gemini_command = name == "AfterTool" && text(fields, "tool_name") == Some("run_shell_command");
    if is_gemini_command || response.is_some_and(Json::is_string) {
        return (None, None);
    }
    let exit = field("exit_code").or_else(|| field("exitCode")).and_then(Json::as_i64);
    // Claude Code tells a command that failed as a failure.
    let is_plain_success = name == "PostToolUse" && field("stdout").is_some();
    let exit = exit.or(is_plain_success.then_some(0));
    (Some(exit.is_none_or(|code| code == 0)), exit)
}

fn number(text: &str) -> Option<i64> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '-').unwrap_or(text.len());
    text.get(..end)?.parse().ok()
}

fn workspace_root(fields: &Map<String, Json>) -> Option<&str> {
    fields.get("workspace_roots")?.as_array()?.first()?.as_str()
}

fn text<'a>(fields: &'a Map<String, Json>, name: &str) -> Option<&'a str> {
    fields.get(name).and_then(Json::as_str)
}

impl Heard {
    /// Who acts: the harness's own agent, or one that it started.
    pub fn agent(&self, harness: Harness) -> String {
        match text(&self.fields, "agent_id").or_else(|| text(&self.fields, "subagent_id")) {
            Some(id) => format!("{}/{}", harness.name(), clip(id)),
            None => harness.name().to_owned(),
        }
    }

    /// The entry that tells of it.
    pub fn told(&self) -> Json {
        let mut body = json!({ "hook": self.name });
        let Some(map) = body.as_object_mut() else { return body };
        for name in
            ["tool_name", "tool_use_id", "agent_id", "agent_type", "prompt", "source", "reason", "model", "message"]
        {
            if let Some(value) = text(&self.fields, name) {
                map.insert(name.to_owned(), clip(value).into());
            }
        }
        if let Event::Before { id, .. } | Event::After { id, .. } = &self.event {
            map.entry("tool_use_id").or_insert_with(|| id.as_str().into());
        }
        body
    }
}

/// The name by which a harness session is known, from an event.
pub(super) fn session(bytes: &[u8]) -> Option<String> {
    let json: Json = serde_json::from_slice(bytes).ok()?;
    let name = ["session_id", "conversation_id"].iter().find_map(|name| json.get(name)).and_then(Json::as_str)?;
    Some(clip(name))
}
