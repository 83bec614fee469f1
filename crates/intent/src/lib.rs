//! Bytes to actions: what an attempt means, read from what the agent handed over, before it takes effect.
//!
//! Every reader is a function of its arguments: no I/O, clock or threads. It is total (any input gives a value) and
//! bounded ([`DEPTH_MAX`], [`ACTIONS_MAX`], [`SCRIPT_BYTES_MAX`]). What it cannot read carries `opaque: true` and empty
//! fields, never a guess: a command inside a script is mediated again when it runs, so reading it early makes for a
//! better question and is not the boundary.
//!
//! Entry points: [`exec_actions`], a program about to run; [`command_actions`], the same where nothing beneath asks again;
//! [`content_actions`], a file that changed; [`tool_call_actions`], a tool call of an agent's harness; [`mcp_call_actions`], a
//! call of an MCP server's tool; [`Conversation::call`], a tool's call by where its arguments were seen before.
//!
//! | programs | read as |
//! |---|---|
//! | `sh bash dash zsh -c`, here-documents to a shell, `eval`, `trap` | every command in the script; `>` `>>` `<` to files; `cd` is followed |
//! | `env sudo nohup time timeout nice xargs find -exec busybox flock stdbuf …` | the program inside |
//! | `git push commit branch tag checkout switch worktree clone fetch pull rm -r clean` | `git.*`, `net.connect`, `fs.delete` |
//! | `gh pr create merge comment review` | `pr.*` |
//! | `npm pnpm yarn bun pip pipx uv poetry cargo go` adding, removing, updating | `dependency.*` |
//! | `kubectl helm terraform tofu docker podman docker-compose` | `deploy.*` |
//! | `curl wget ssh scp sftp rsync nc telnet` | `http.request`, `net.connect`, `net.listen`, what is sent as `fs.read` |
//! | `cat head tail grep sed awk sort base64 xxd jq cp mv tee dd touch rm -r …` | `fs.read`, `fs.write`, `fs.move`, `fs.delete` |
//! | `python3 -c`, `node -e`, `perl -e`, programs on standard input | opaque |
//!
//! Not here: rules, files, the operating system's idea of a path (callers hand over canonical ones).
#![forbid(unsafe_code)]

mod address;
mod content;
mod exec;
mod harness;
mod http;
mod mcp;
mod model;
mod names;
mod options;
mod programs;
mod reading;
mod shell;
#[cfg(test)]
mod tests;
mod tools;
mod words;

pub use content::{CONTENT_ACTIONS_MAX, CONTENT_BYTES_MAX, Content, ContentWanted, content_actions, reads_content};
pub use exec::{Exec, GitContext, Script, command_actions, exec_actions};
pub use harness::{Harness, ToolCall, ToolCallError, input_in_form, server_tool, tool_call_actions};
pub use http::{BODY_BYTES_MAX, HttpRequest, WantedFields, http_actions, wants_body, wants_plain_body};
pub use mcp::{
    INPUT_CHARS_MAX, McpCall, McpOwn, McpTool, file_of_uri, is_known_server, mcp_call_actions, mcp_other_action,
    mcp_read_actions,
};
pub use model::{
    MODEL_BODY_BYTES_MAX, ModelAnswer, ModelApi, ModelCall, ModelTarget, ModelUsage, ToolUse, model_refusal,
    model_target,
};
pub use shell::all_succeeded_if_it_did;
pub use tools::{ARGUMENTS_MAX, Conversation, TEXT_BYTES_MAX, TEXTS_BYTES_MAX, TracedCall};

/// Wrappers, shells and substitutions inside one another, at most.
pub const DEPTH_MAX: usize = 16;

/// Actions that one program start can imply, at most; beyond it one opaque action stands for the rest.
pub const ACTIONS_MAX: usize = 512;

/// Bytes of a script that are read, at most; a longer one is opaque. Agents' own command strings stay far below.
pub const SCRIPT_BYTES_MAX: usize = 64 * 1024;
