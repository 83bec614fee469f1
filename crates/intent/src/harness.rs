//! A tool call of an agent's harness, as its hooks tell it: the same actions that the same effect is by any other way.
//!
//! | tool | read as |
//! |---|---|
//! | `Bash` (Claude Code, Codex), `exec_command`, `run_shell_command`, `Shell` | `process.exec` of the shell, and every command in it as [`crate::command_actions`] reads it |
//! | `Write`, `Edit`, `MultiEdit`, `NotebookEdit`, `write_file`, `replace`, `apply_patch`, `Delete` | `fs.write`, `fs.delete`, `fs.move`, and what the new content says |
//! | `Read`, `Glob`, `Grep`, `LS`, `read_file`, … | `fs.read` |
//! | `WebFetch`, `web_fetch` | what `curl` of the same address is |
//! | `Task`, `Agent` | `agent.spawn` |
//! | `save_memory` | `state.write` |
//! | `mcp__SERVER__TOOL`, `mcp_SERVER_TOOL` | what the tool of a well-known server does ([`crate::mcp_call_actions`]) |
//! | any other | `tool.call` |
//!
//! Every path is made absolute by its letters; who resolves links is the caller.

mod edits;
mod forms;
mod patch;
#[cfg(test)]
mod tests;

use crate::address;
use crate::mcp::{is_known_tool, mcp_call_actions};
use crate::reading::{Command, Reading, Stdin, Word, absolute, places};
use crate::{Content, ContentWanted, Exec, GitContext, McpCall, McpOwn, command_actions, content_actions, programs};
use edits::Edited;
use flyball_kernel::{Action, ActionError, Resource, ResourceKind, Surface};
pub use forms::input_in_form;
use serde_json::{Map, Value as Json};

/// A harness whose hooks are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the variants say it")]
pub enum Harness {
    Claude,
    Codex,
    Gemini,
    Cursor,
}

impl Harness {
    /// All of them.
    pub const ALL: [Harness; 4] = [Harness::Claude, Harness::Codex, Harness::Gemini, Harness::Cursor];

    /// Its name on the command line and in the record.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Harness::Claude => "claude",
            Harness::Codex => "codex",
            Harness::Gemini => "gemini",
            Harness::Cursor => "cursor",
        }
    }
}

/// A tool call that a hook announces.
#[derive(Clone, Copy)]
pub struct ToolCall<'a> {
    /// Whose.
    pub harness: Harness,
    /// The tool, by the harness's name for it.
    pub name: &'a str,
    /// What it is given.
    pub input: &'a Json,
    /// Where the harness works, absolute.
    pub cwd: &'a str,
    /// The user's home, absolute; empty when there is none.
    pub home: &'a str,
    /// The repository around `cwd`.
    pub git: Option<&'a GitContext>,
    /// What a file holds now, by its absolute path; `None` where it is not there or can't be read.
    pub file: &'a dyn Fn(&str) -> Option<Vec<u8>>,
    /// What the charter says of its own servers' tools.
    pub own: &'a McpOwn,
}

/// The call is not one that this version can read, so nobody can say what it would do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ToolCallError {
    /// A field that the tool can't be without is not there or of another type.
    #[error("`{tool}` has no `{field}` that is {want}")]
    Field {
        /// The tool.
        tool: String,
        /// The field, or those of which it needs one.
        field: String,
        /// What it should be.
        want: &'static str,
    },
    /// A patch that is no patch.
    #[error("`{tool}` has a patch that can't be read: {why}")]
    Patch {
        /// The tool.
        tool: String,
        /// What is wrong with it.
        why: String,
    },
    /// The vocabulary can't say it.
    #[error(transparent)]
    Action(#[from] ActionError),
}

/// Characters of a tool's input that the action carries; all of it is in the record of the event itself.
const INPUT_CHARS_MAX: usize = 4096;

/// What the call implies; never empty. All on surface `hook`.
///
/// # Errors
/// [`ToolCallError`] when it can't be told, which a hook refuses.
pub fn tool_call_actions(call: &ToolCall<'_>) -> Result<Vec<Action>, ToolCallError> {
    let mut actions = read(call)?;
    walk(call, &mut actions)?;
    for action in &mut actions {
        action.surface = Surface::Hook;
    }
    Ok(actions)
}

/// A path in which `..` comes after a name that may be a link means one place by its letters and may mean another to the operating
/// system; which of them a harness's tool takes, its version says. Both are ruled on.
fn walk(call: &ToolCall<'_>, actions: &mut Vec<Action>) -> Result<(), ToolCallError> {
    let fields = call.input.as_object().into_iter().flat_map(|fields| fields.values());
    let mut words: Vec<&str> = fields.filter_map(Json::as_str).filter(|word| word.len() <= PATH_BYTES_MAX).collect();
    if call.name == "apply_patch" {
        let input = Input { tool: call.name, fields: call.input.as_object() };
        let text = input.text(&["input", "patch", "command"])?;
        for change in patch::read(text).unwrap_or_default() {
            words.push(change.path);
            words.extend(match change.kind {
                patch::Kind::Update { to, .. } => to,
                _ => None,
            });
        }
    }
    for word in words.into_iter().filter(|word| word.contains("..")) {
        let [plain, walked] = places(Some(call.cwd), word).try_into().unwrap_or_default();
        if plain.is_empty() {
            continue;
        }
        let mut all = Vec::with_capacity(actions.len());
        for action in actions.drain(..) {
            let is_it = action.verb.group() == "fs" && action.resource.str("path") == plain;
            let also = if is_it { Some(action.clone()) } else { None };
            all.push(action);
            if let Some(mut also) = also {
                also.resource = also.resource.with("path", walked.as_str())?;
                all.push(also);
            }
        }
        *actions = all;
    }
    Ok(())
}

/// Bytes of a path, at most.
const PATH_BYTES_MAX: usize = 4096;

fn read(call: &ToolCall<'_>) -> Result<Vec<Action>, ToolCallError> {
    let input = Input { tool: call.name, fields: call.input.as_object() };
    match call.name {
        "Bash" | "exec_command" | "shell_command" | "shell" | "local_shell" | "run_shell_command" | "Shell" => {
            shell(call, &input)
        }
        "Write" | "write_file" | "write" => {
            let path = input.path(call)?;
            let new = input.text(&["content", "contents"])?;
            written(call, &path, Edited::To(new.as_bytes().to_vec()))
        }
        "Edit" | "MultiEdit" | "StrReplace" | "replace" | "edit" => {
            let path = input.path(call)?;
            let old = (call.file)(&path);
            let edited = edits::apply(call.input, old.as_deref());
            written(call, &path, edited)
        }
        "NotebookEdit" | "EditNotebook" => written(call, &input.path(call)?, Edited::Unknown),
        "apply_patch" => patched(call, &input),
        "Delete" | "delete_file" => Ok(vec![file("fs.delete", &input.path(call)?)?]),
        "Read" | "read_file" | "NotebookRead" | "view_image" => Ok(vec![file("fs.read", &input.path(call)?)?]),
        "Glob"
        | "Grep"
        | "LS"
        | "glob"
        | "grep"
        | "grep_search"
        | "search_file_content"
        | "list_directory"
        | "list_dir"
        | "read_many_files"
        | "SemanticSearch" => looked(call, &input),
        "WebFetch" | "web_fetch" => fetched(call, &input),
        "Task" | "Agent" | "spawn_agent" | "delegate_to_agent" => {
            let name = input.optional(&["subagent_type", "agent_type", "agent", "name"]).unwrap_or("general");
            let task = input.optional(&["prompt", "message", "task", "objective", "description"]).unwrap_or_default();
            let agent = Resource::new(ResourceKind::Agent).with("name", name)?;
            let spawn = Action::new("agent.spawn", agent, Surface::Hook)?.with("task", clip(task))?;
            let rights = input.optional(&["mode", "permission_mode"]).map(programs::agents::rights_of_mode);
            Ok(vec![match rights.filter(|rights| !rights.is_empty()) {
                Some(rights) => spawn.with("rights", rights)?,
                None => spawn,
            }])
        }
        "save_memory" => {
            let bytes = input.text(&["fact"])?.len();
            let key = Resource::new(ResourceKind::Key).with("store", call.harness.name())?.with("key", "memory")?;
            let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
            Ok(vec![Action::new("state.write", key, Surface::Hook)?.with("bytes", bytes)?])
        }
        _ => other(call),
    }
}

/// A tool that is not known by name: one of a tool server, or the harness's own.
fn other(call: &ToolCall<'_>) -> Result<Vec<Action>, ToolCallError> {
    let (server, name) = server_and_tool(call.harness, call.name);
    if let Some(known) = of_known_server(call, server, name) {
        return known;
    }
    let tool = Resource::new(ResourceKind::Tool).with("server", server)?.with("name", name)?;
    let input = serde_json::to_string(call.input).unwrap_or_default();
    let mut actions = vec![Action::new("tool.call", tool, Surface::Hook)?.with("input", clip(&input))?];
    call.own.label(server, &mut actions)?;
    Ok(actions)
}

/// What a well-known server's tool does, as the gateway in front of that server reads it.
fn of_known_server(call: &ToolCall<'_>, server: &str, tool: &str) -> Option<Result<Vec<Action>, ToolCallError>> {
    let git = |folder: &str| call.git.filter(|_| folder == call.cwd).cloned();
    let (cwd, home) = (call.cwd, call.home);
    let read = McpCall {
        server,
        kind: server,
        tool,
        input: call.input,
        cwd,
        home,
        roots: &[],
        git: &git,
        file: call.file,
        own: call.own,
    };
    let is_own = call.own.tools.iter().any(|own| own.server == server && own.tool == tool);
    (is_own || is_known_tool(server, tool)).then(|| {
        let mut actions = mcp_call_actions(&read)?;
        actions.iter_mut().for_each(|action| action.surface = Surface::Hook);
        Ok(actions)
    })
}

/// The server and the tool that a call's name means, where it is one of a tool server's.
#[must_use]
pub fn server_tool(harness: Harness, name: &str) -> Option<(&str, &str)> {
    let (server, tool) = server_and_tool(harness, name);
    (tool != name).then_some((server, tool))
}

/// The tool server and its tool in a name such as `mcp__github__open_pr`; else the harness itself.
fn server_and_tool(harness: Harness, name: &str) -> (&str, &str) {
    let split = match harness {
        Harness::Gemini => name.strip_prefix("mcp_").and_then(|rest| rest.split_once('_')),
        _ => name.strip_prefix("mcp__").and_then(|rest| rest.split_once("__")),
    };
    match split {
        Some((server, tool)) if !server.is_empty() && !tool.is_empty() => (server, tool),
        _ => (harness.name(), name),
    }
}

fn shell(call: &ToolCall<'_>, input: &Input<'_>) -> Result<Vec<Action>, ToolCallError> {
    let cwd = input.optional(&["workdir", "working_directory", "directory", "dir_path", "cwd"]).unwrap_or_default();
    let cwd = absolute(Some(call.cwd), if cwd.is_empty() { "." } else { cwd }).unwrap_or_else(|| call.cwd.to_owned());
    // A list is the program's own arguments, no shell in between.
    let argv = match input.field("command").and_then(Json::as_array) {
        Some(words) => words.iter().map(|w| w.as_str().map(str::to_owned)).collect::<Option<Vec<_>>>(),
        None => {
            let script = input.text(&["command", "cmd"])?;
            Some(vec!["bash".to_owned(), "-c".to_owned(), script.to_owned()])
        }
    };
    let argv = argv.filter(|argv| !argv.is_empty()).ok_or_else(|| input.lacks("command", "a list of words"))?;
    let program = argv.first().cloned().unwrap_or_default();
    let git = call.git.filter(|_| cwd == call.cwd);
    Ok(command_actions(&Exec { program: &program, argv: &argv, cwd: &cwd, home: call.home, script: None, git }))
}

fn written(call: &ToolCall<'_>, path: &str, edited: Edited) -> Result<Vec<Action>, ToolCallError> {
    let old = (call.file)(path);
    let mut actions = vec![file("fs.write", path)?.with("create", old.is_none())?];
    match edited {
        Edited::To(new) => {
            let wanted = ContentWanted::ALL;
            actions.extend(content_actions(&Content { path, old: old.as_deref(), new: Some(&new), wanted }));
        }
        Edited::Unknown if crate::reads_content(path, ContentWanted::ALL) => {
            actions.push(file("fs.write", path)?.with("content", true)?.with("opaque", true)?);
        }
        Edited::Unknown => {}
    }
    Ok(actions)
}

fn patched(call: &ToolCall<'_>, input: &Input<'_>) -> Result<Vec<Action>, ToolCallError> {
    let text = input.text(&["input", "patch", "command"])?;
    let wrong = |why: &'static str| ToolCallError::Patch { tool: call.name.to_owned(), why: why.to_owned() };
    let mut actions = Vec::new();
    for change in patch::read(text).map_err(wrong)? {
        let path = absolute(Some(call.cwd), change.path).ok_or_else(|| wrong("a file without a name"))?;
        match change.kind {
            patch::Kind::Add(content) => actions.extend(written(call, &path, Edited::To(content.into_bytes()))?),
            patch::Kind::Delete => actions.push(file("fs.delete", &path)?),
            patch::Kind::Update { to, hunks } => {
                let edited = patch::apply(&hunks, (call.file)(&path).as_deref());
                match to {
                    None => actions.extend(written(call, &path, edited)?),
                    Some(to) => {
                        let to = absolute(Some(call.cwd), to).ok_or_else(|| wrong("a file without a name"))?;
                        actions.push(file("fs.move", &path)?.with("to", to.as_str())?);
                        actions.extend(written(call, &to, edited)?);
                    }
                }
            }
        }
    }
    if actions.is_empty() { Err(wrong("it changes nothing")) } else { Ok(actions) }
}

/// What is searched or listed is read, from its folder on.
fn looked(call: &ToolCall<'_>, input: &Input<'_>) -> Result<Vec<Action>, ToolCallError> {
    let mut paths: Vec<&str> = Vec::new();
    for name in ["paths", "include"] {
        paths.extend(input.field(name).and_then(Json::as_array).into_iter().flatten().filter_map(Json::as_str));
    }
    let one = input.optional(&["path", "dir_path", "target_directory", "directory"]);
    paths.extend(one);
    if paths.is_empty() {
        paths.push(".");
    }
    paths.iter().map(|path| file("fs.read", &absolute(Some(call.cwd), path).unwrap_or_default())).collect()
}

/// Each address that it names, as `curl` would be read.
fn fetched(call: &ToolCall<'_>, input: &Input<'_>) -> Result<Vec<Action>, ToolCallError> {
    let text = input.text(&["url", "prompt"])?;
    let urls: Vec<&str> = match input.optional(&["url"]) {
        Some(url) => vec![url.trim()],
        None => {
            text.split(|c: char| c.is_whitespace() || "\"'<>()`".contains(c)).filter(|w| address::is_meant(w)).collect()
        }
    };
    if urls.is_empty() {
        return other(call);
    }
    // INVARIANT: nothing beneath a hook sees where the harness goes, so that an address has one meaning or is refused.
    if !urls.iter().all(|url| address::is_plain(url)) {
        return Err(input.lacks("url", address::WANTED));
    }
    let mut reading = Reading::new(call.home, None, false);
    for url in urls {
        let command = Command {
            program: "curl".to_owned(),
            args: vec![Word::Known(url.to_owned())],
            cwd: Some(call.cwd.to_owned()),
            is_home_repository: false,
            stdin: Stdin::Other,
            elsewhere: Vec::new(),
            depth: 0,
        };
        programs::read(&mut reading, &command);
    }
    if reading.found.is_empty() || reading.is_full { other(call) } else { Ok(reading.found) }
}

fn file(verb: &str, path: &str) -> Result<Action, ToolCallError> {
    Ok(Action::new(verb, Resource::file(path), Surface::Hook)?)
}

fn clip(text: &str) -> String {
    text.chars().take(INPUT_CHARS_MAX).collect()
}

/// The fields of a tool's input.
struct Input<'a> {
    tool: &'a str,
    fields: Option<&'a Map<String, Json>>,
}

impl<'a> Input<'a> {
    fn field(&self, name: &str) -> Option<&'a Json> {
        self.fields?.get(name)
    }

    fn optional(&self, names: &[&str]) -> Option<&'a str> {
        names.iter().find_map(|name| self.field(name)).and_then(Json::as_str)
    }

    fn text(&self, names: &[&str]) -> Result<&'a str, ToolCallError> {
        self.optional(names).ok_or_else(|| self.lacks(&names.join("` or `"), "a string"))
    }

    fn path(&self, call: &ToolCall<'_>) -> Result<String, ToolCallError> {
        let names = ["file_path", "absolute_path", "notebook_path", "target_notebook", "path", "target_file"];
        let path = self.text(&names)?;
        absolute(Some(call.cwd), path).ok_or_else(|| self.lacks("file_path", "a path"))
    }

    fn lacks(&self, field: &str, want: &'static str) -> ToolCallError {
        ToolCallError::Field { tool: self.tool.chars().take(80).collect(), field: field.to_owned(), want }
    }
}
