//! What the client says.

use super::message::{Frame, Id, Kind, Message, read_messages};
use super::pins::{self, Tools};
use super::{CALLS_MAX, Call, HELD_MAX, Looking, Proxy, Side, clip, raw, say, unique};
use crate::gate::{Answered, Asking, NOT_CHANGED};
use crate::paths;
use flyball_intent::{
    INPUT_CHARS_MAX, McpCall, ToolCallError, file_of_uri, mcp_call_actions, mcp_other_action, mcp_read_actions,
};
use flyball_kernel::{Action, Value};
use serde_json::{Value as Json, json};
use std::collections::BTreeMap;
use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

/// Methods that only ask for lists and states. Others are ruled on.
const PASSING: &[&str] = &[
    "initialize",
    "ping",
    "tools/list",
    "resources/list",
    "resources/templates/list",
    "resources/subscribe",
    "resources/unsubscribe",
    "prompts/list",
    "completion/complete",
    "logging/setLevel",
    "server/discover",
    "subscriptions/listen",
    "tasks/get",
    "tasks/list",
    "tasks/result",
    "tasks/cancel",
];
const PASSING_NOTIFICATIONS: &[&str] = &[
    "notifications/initialized",
    "notifications/cancelled",
    "notifications/progress",
    "notifications/roots/list_changed",
    "notifications/tasks/status",
];
/// Bytes of a file that is read to tell what an edit makes of it.
const FILE_BYTES_MAX: u64 = 8 * 1024 * 1024;

impl Proxy {
    /// A line of the client.
    pub fn from_client(self: &Arc<Self>, frame: &Frame) {
        let line = match frame {
            Frame::Line(line) => line,
            Frame::Long => {
                self.tell("unreadable", &[], json!({ "from": "client", "detail": "too long" }));
                return self.client(&say::error(None, say::REQUEST, "flyball: refused, the message is over 16 MiB"));
            }
            Frame::End => return,
        };
        if line.iter().all(u8::is_ascii_whitespace) {
            return;
        }
        match read_messages(line) {
            Ok(messages) => messages.into_iter().for_each(|(message, line)| self.said_by_client(message, line)),
            Err(error) => {
                self.tell("unreadable", &[], json!({ "from": "client", "detail": error.to_string() }));
                self.client(&say::error(None, error.code(), &format!("flyball: refused, {error}")));
            }
        }
    }

    fn said_by_client(self: &Arc<Self>, message: Message, line: Vec<u8>) {
        match message.kind.clone() {
            Kind::Request { id, method } => {
                if let Err((code, text)) = self.begin(&id, &method, &message) {
                    // The id may be another's that still waits for its answer.
                    let id = if code == say::REQUEST { None } else { Some(&id) };
                    return self.client(&say::error(id, code, text));
                }
                self.request(id, &method, message, line);
            }
            Kind::Notification { method } => self.notified(&method, &message, &line),
            Kind::Answer { id, is_error } => self.answered_by_client(id, is_error, &message, &line),
        }
    }

    /// Takes the id, so that no second request can have it.
    fn begin(&self, id: &Id, method: &str, message: &Message) -> Result<(), (i64, &'static str)> {
        let mut state = self.lock();
        if state.is_over {
            return Err((say::INTERNAL, "flyball: the server has ended"));
        }
        let is_taken = state.calls.contains_key(id) || state.looking.as_ref().is_some_and(|own| own.id == *id);
        if is_taken {
            return Err((say::REQUEST, "flyball: refused, a request with this id waits for its answer"));
        }
        // One that was taken back may never be answered: it makes room, and nobody knows what became of it.
        let forgotten = match state.calls.len() >= CALLS_MAX {
            true => state
                .calls
                .iter()
                .find(|(_, call)| call.is_cancelled && !call.attempts.is_empty())
                .map(|(id, _)| id.clone()),
            false => None,
        };
        let forgotten = forgotten.and_then(|id| state.calls.remove(&id));
        if state.calls.len() >= CALLS_MAX {
            return Err((say::INTERNAL, "flyball: refused, too many requests wait for their answers"));
        }
        let name = ["name", "uri"].iter().find_map(|name| message.params().get(name)).and_then(Json::as_str);
        let call = Call {
            method: method.to_owned(),
            of: clip(name.unwrap_or_default()),
            attempts: Vec::new(),
            is_modern: say::is_modern(message),
            is_cancelled: false,
        };
        state.calls.insert(id.clone(), call);
        drop(state);
        if let Some(call) = forgotten {
            self.unknown(&call);
        }
        Ok(())
    }

    fn request(self: &Arc<Self>, id: Id, method: &str, message: Message, line: Vec<u8>) {
        if PASSING.contains(&method) {
            self.tell_once(method, &message);
            return self.go_on(Side::Client, &id, Vec::new(), &line);
        }
        if method == "tools/call" && !self.may_be_called(&id, &message, &line) {
            return;
        }
        let actions = match self.actions(method, &message) {
            Ok(actions) => actions,
            Err(error) => {
                let text = format!("flyball: denied, the call can't be read: {error}");
                self.tell("refused", &[], json!({ "method": method, "detail": error.to_string() }));
                return self.refuse(Side::Client, &id, &text);
            }
        };
        let cause = self.tool_use(&message);
        let line = self.without_own_state(&message, line);
        self.rule(Side::Client, id, actions, cause, line);
    }

    /// Whether the agent may use the tool; answers or puts aside the call where it may not yet.
    fn may_be_called(self: &Arc<Self>, id: &Id, message: &Message, line: &[u8]) -> bool {
        let Some(tool) = message.params().get("name").and_then(Json::as_str) else {
            self.take(Side::Client, id);
            self.client(&say::error(Some(id), say::PARAMS, "flyball: refused, `params.name` is not a string"));
            return false;
        };
        let mut state = self.lock();
        match state.tools.listed.get(tool).cloned() {
            Some(listed) if listed.is_shown => return true,
            // People may have been asked about it meanwhile.
            Some(listed) => {
                drop(state);
                return match self.agree(tool, &listed.digest) {
                    Ok(()) => true,
                    Err(text) => {
                        self.refuse(Side::Client, id, &text);
                        false
                    }
                };
            }
            None if !state.tools.is_whole && state.parked.len() < HELD_MAX => {
                state.parked.push((id.clone(), message.clone(), line.to_vec()));
                let meta = message.params().get("_meta").cloned().unwrap_or_default();
                let own = state.looking.is_none().then(|| state.looks_again(meta));
                drop(state);
                if let Some(own) = own {
                    // A server that is gone is noticed by whoever reads from it.
                    let _ = self.peers.to_server(&own);
                }
                return false;
            }
            None => drop(state),
        }
        self.tell("refused", &[], json!({ "tool": clip(tool), "detail": "the server does not list it" }));
        let text = format!("flyball: denied, the server `{}` lists no tool `{}`", self.around.server, clip(tool));
        self.refuse(Side::Client, id, &text);
        false
    }

    /// Asks whether the agent may see a tool as it is now.
    pub(super) fn agree(&self, tool: &str, digest: &str) -> Result<(), String> {
        let Some(was) = self.lock().tools.was(tool, digest) else {
            return self.show(tool, digest);
        };
        let server = &self.around.server;
        let action = pins::inject(server, tool, digest, &was)
            .map_err(|e| format!("flyball: denied, the tool can't be ruled on: {e}"))?;
        let asking = Asking {
            actions: vec![action],
            cause: Vec::new(),
            exact: self.exact(digest).into(),
            wait: Duration::ZERO,
            can_change: false,
        };
        match self.gate.ask(asking) {
            Answered::Allowed { attempts } => {
                self.gate.outcome(&attempts, Some(true), &BTreeMap::new());
                if let Err(why) = self.pins.keep(server, tool, digest) {
                    self.tell("pins", &attempts, json!({ "tool": clip(tool), "detail": why }));
                }
                self.lock().tools.agreed(tool, digest);
                self.show(tool, digest)
            }
            Answered::Denied { text, .. } | Answered::Waiting { text, .. } => Err(text),
            Answered::Changed { .. } => Err(NOT_CHANGED.to_owned()),
        }
    }

    /// INVARIANT: what was agreed to is what is shown; the server may have listed another tool of that name meanwhile.
    fn show(&self, tool: &str, digest: &str) -> Result<(), String> {
        match self.lock().tools.listed.get_mut(tool).filter(|listed| listed.digest == digest) {
            Some(listed) => {
                listed.is_shown = true;
                Ok(())
            }
            None => Err("flyball: denied, the tool has changed while it was asked about: call it again".to_owned()),
        }
    }

    pub(super) fn actions(&self, method: &str, message: &Message) -> Result<Vec<Action>, ToolCallError> {
        let params = message.params();
        let null = Json::Null;
        let roots = unique(self.around.roots.iter().cloned().chain(self.lock().roots.iter().cloned()));
        let call = McpCall {
            server: &self.around.server,
            kind: &self.around.kind,
            tool: params.get("name").and_then(Json::as_str).unwrap_or_default(),
            input: params.get("arguments").unwrap_or(&null),
            cwd: &self.around.cwd,
            home: &self.around.home,
            roots: &roots,
            git: &self.around.git,
            file: &file,
            own: &self.around.own,
        };
        let mut actions = match method {
            "tools/call" => mcp_call_actions(&call)?,
            "resources/read" => mcp_read_actions(&call, params.get("uri").and_then(Json::as_str).unwrap_or_default())?,
            method => {
                let mut input = params.clone();
                if let Some(input) = input.as_object_mut() {
                    input.remove("_meta");
                }
                let mut actions = vec![mcp_other_action(&self.around.server, &clip(method), &input)?];
                self.around.own.label(&self.around.server, &mut actions)?;
                actions
            }
        };
        paths::resolve(&mut actions);
        actions.dedup();
        paths::leave_nothing_open(&mut actions);
        let is_named = |action: &Action| action.verb.group() == "tool" || action.attr("implied_by").is_some();
        for action in actions.iter_mut().filter(|action| !is_named(action)) {
            // Whoever is asked about it sees whose tool it is.
            let of = format!(
                "{} of MCP server {}",
                clip(if call.tool.is_empty() { method } else { call.tool }),
                self.around.server
            );
            action.set("implied_by", of.into())?;
        }
        // An approval is for one action: what is cut off is still part of what was asked.
        let bound = || super::digest(params.get("arguments").unwrap_or(params).to_string().as_bytes());
        for action in &mut actions {
            let cut = action.attr("input").and_then(Value::as_str).filter(|i| i.chars().count() >= INPUT_CHARS_MAX);
            if let Some(cut) = cut.map(|input| format!("{input}… {}", bound())) {
                action.set("input", cut.into())?;
            }
        }
        Ok(actions)
    }

    /// The harness's own name for the call, where it gives one: it links the call to what its hooks tell.
    fn tool_use(&self, message: &Message) -> Vec<u64> {
        let name =
            message.params().get("_meta").and_then(|meta| meta.get("claudecode/toolUseId")).and_then(Json::as_str);
        let seen = name
            .and_then(|name| self.gate.observe("gateway", &[], json!({ "mcp": "call", "tool_use_id": clip(name) })));
        seen.into_iter().collect()
    }

    /// A request that was told to be made again goes on as it was the first time.
    fn without_own_state(&self, message: &Message, line: Vec<u8>) -> Vec<u8> {
        let name = message.params().get("requestState").and_then(Json::as_str).filter(|s| s.starts_with("flyball:"));
        let Some(name) = name else { return line };
        let kept = self.lock().retries.remove(name).unwrap_or_default();
        let changed = raw::with_object(&line, "params", |params| {
            params.remove("requestState");
            if let Some(state) = kept.state {
                params.0.push(("requestState".to_owned(), state));
            }
            if let (Some(responses), None) = (kept.responses, params.0.iter().find(|(k, _)| k == "inputResponses")) {
                params.0.push(("inputResponses".to_owned(), responses));
            }
        });
        changed.unwrap_or(line)
    }

    fn notified(self: &Arc<Self>, method: &str, message: &Message, line: &[u8]) {
        if method == "notifications/cancelled" {
            let params = message.params().get("requestId");
            let mut state = self.lock();
            let id = state.calls.keys().find(|id| Some(&id.json()) == params).cloned();
            let call = id.as_ref().and_then(|id| state.calls.get_mut(id));
            let was_sent = match (call, &id) {
                // It goes on being answered or not: the client does not read it.
                (Some(call), Some(_)) => {
                    call.is_cancelled = true;
                    !call.attempts.is_empty() || PASSING.contains(&call.method.as_str())
                }
                _ => false,
            };
            drop(state);
            // The server knows nothing of a request that waits.
            if was_sent {
                let _ = self.peers.to_server(line);
            }
            return;
        }
        if PASSING_NOTIFICATIONS.contains(&method) {
            let _ = self.peers.to_server(line);
            return;
        }
        // Some servers do what a notification says as if it were a request; nobody could be told that it was refused.
        self.tell("refused", &[], json!({ "method": clip(method), "detail": "a notification that is not known" }));
    }

    fn answered_by_client(&self, id: Option<Id>, is_error: bool, message: &Message, line: &[u8]) {
        let call = id.as_ref().and_then(|id| self.take(Side::Server, id));
        let Some(call) = call else {
            self.tell("unasked", &[], json!({ "from": "client" }));
            return;
        };
        if call.method == "roots/list" {
            let roots = message.body.get("result").and_then(|r| r.get("roots")).and_then(Json::as_array);
            let paths = roots.into_iter().flatten().filter_map(|r| file_of_uri(r.get("uri")?.as_str()?));
            self.lock().roots = paths.take(16).collect();
        }
        let sent = self.peers.to_server(line).is_ok();
        if !call.attempts.is_empty() {
            self.gate.outcome(&call.attempts, sent.then_some(!is_error), &BTreeMap::new());
        }
    }

    pub(super) fn tell_once(&self, method: &str, message: &Message) {
        let key = format!("method {method}");
        if self.lock().told.insert(key, 1).is_some() {
            return;
        }
        let mut more = json!({ "method": method });
        if let (true, Some(more)) = (method == "initialize", more.as_object_mut()) {
            for name in ["protocolVersion", "clientInfo"] {
                more.insert(name.to_owned(), message.params().get(name).cloned().unwrap_or_default());
            }
        }
        self.tell("passed", &[], more);
    }

    /// Makes calls again that waited for the gateway's own look at the tools.
    pub(super) fn go_on_parked(self: &Arc<Self>) {
        let parked = std::mem::take(&mut self.lock().parked);
        for (id, message, line) in parked {
            if self.lock().calls.get(&id).is_some_and(|call| !call.is_cancelled) {
                self.request(id, "tools/call", message, line);
            } else {
                self.take(Side::Client, &id);
            }
        }
    }
}

impl super::State {
    fn looks_again(&mut self, meta: Json) -> Vec<u8> {
        self.looking = None;
        self.look(meta, None, 0)
    }

    /// The gateway's own question for the tools, from that page on.
    pub(super) fn look(&mut self, meta: Json, cursor: Option<&str>, pages: usize) -> Vec<u8> {
        let id = loop {
            self.looks += 1;
            let id = Id::Text(format!("flyball/{}", self.looks));
            if !self.calls.contains_key(&id) {
                break id;
            }
        };
        let line = say::list(&id, cursor, &meta);
        self.looking = Some(Looking { id, meta, pages });
        line
    }

    pub(super) fn tools(&mut self) -> &mut Tools {
        &mut self.tools
    }
}

fn file(path: &str) -> Option<Vec<u8>> {
    // A pipe would keep whoever opens it waiting.
    let file = std::fs::metadata(path).is_ok_and(|m| m.is_file()).then(|| std::fs::File::open(path).ok())??;
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}
