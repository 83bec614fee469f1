//! What the server says.

use super::message::{Frame, Id, Kind, Message, is_sure_tool, read_messages};
use super::pins::{self, Listed};
use super::{CALLS_MAX, Call, Proxy, Side, clip, digest, raw, say};
use crate::gate::{Answered, Asking, NOT_CHANGED};
use flyball_intent::mcp_other_action;
use flyball_kernel::{Action, ActionError, Resource, ResourceKind, Surface};
use serde_json::{Value as Json, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// Pages of a listing that the gateway follows by itself, at most.
const PAGES_MAX: usize = 64;
/// What a server may ask of a client without anybody being asked.
const PASSING: &[&str] = &["ping", "roots/list", "tasks/get", "tasks/list", "tasks/result", "tasks/cancel"];

impl Proxy {
    /// A line of the server.
    pub fn from_server(self: &Arc<Self>, frame: &Frame) {
        let line = match frame {
            Frame::Line(line) => line,
            Frame::Long => {
                self.tell("unreadable", &[], json!({ "from": "server", "detail": "too long" }));
                // It may have been anybody's answer.
                let mut state = self.lock();
                let calls = std::mem::take(&mut state.calls);
                (state.looking, state.parked) = (None, Vec::new());
                drop(state);
                for (id, call) in calls {
                    self.unknown(&call);
                    let text = "flyball: the server's answer is over 16 MiB";
                    self.client(&say::error(Some(&id), say::INTERNAL, text));
                }
                return;
            }
            Frame::End => return,
        };
        if line.iter().all(u8::is_ascii_whitespace) {
            return;
        }
        match read_messages(line) {
            Ok(messages) => messages.into_iter().for_each(|(message, line)| self.said_by_server(message, line)),
            Err(error) => {
                self.tell("unreadable", &[], json!({ "from": "server", "detail": error.to_string() }));
                self.fail_unreadable(line);
            }
        }
    }

    /// What can't be passed may still be told to be an answer: then its call has failed.
    fn fail_unreadable(&self, line: &[u8]) {
        let Ok(loose) = serde_json::from_slice::<Json>(line) else { return };
        let mut state = self.lock();
        if let Some(own) =
            state.looking.as_ref().map(|own| own.id.clone()).filter(|id| loose.get("id") == Some(&id.json()))
        {
            drop(state);
            return self.lost(&own, Some("flyball: the server's list of tools can't be read"));
        }
        let id = state.calls.keys().find(|id| loose.get("id") == Some(&id.json())).cloned();
        let Some((id, call)) = id.and_then(|id| state.calls.remove(&id).map(|call| (id, call))) else { return };
        drop(state);
        self.unknown(&call);
        self.client(&say::error(Some(&id), say::INTERNAL, "flyball: the server's answer can't be read"));
    }

    fn said_by_server(self: &Arc<Self>, message: Message, line: Vec<u8>) {
        match message.kind.clone() {
            Kind::Answer { id, is_error } => self.answered_by_server(id, is_error, &message, &line),
            Kind::Request { id, method } => self.asked_by_server(id, &method, &message, line),
            Kind::Notification { method } => {
                if method == "notifications/tools/list_changed" {
                    self.lock().tools().changed();
                    self.tell("tools changed", &[], json!({}));
                }
                self.client(&line);
            }
        }
    }

    fn answered_by_server(self: &Arc<Self>, id: Option<Id>, is_error: bool, message: &Message, line: &[u8]) {
        let is_own = id.is_some() && self.lock().looking.as_ref().map(|own| &own.id) == id.as_ref();
        if is_own {
            return self.looked(message);
        }
        let Some((id, call)) = id.and_then(|id| self.take(Side::Client, &id).map(|call| (id, call))) else {
            self.tell("unasked", &[], json!({ "from": "server" }));
            return;
        };
        let result = message.body.get("result");
        let waits = result.and_then(|r| r.get("resultType")).and_then(Json::as_str) == Some("input_required");
        if !call.attempts.is_empty() {
            let is_failed = is_error || result.and_then(|r| r.get("isError")) == Some(&Json::Bool(true));
            // What only waits for more, or goes on as a task, has not ended.
            let is_open = waits || call.is_cancelled || result.is_some_and(|r| r.get("task").is_some());
            let seen = json!({
                "mcp": "result", "server": self.around.server, "of": call.of, "bytes": line.len(), "digest": digest(line),
                "is_error": is_failed, "provenance": "untrusted",
            });
            self.gate.outcome_seen(&call.attempts, (!is_open).then_some(!is_failed), "gateway", seen);
        }
        if call.is_cancelled {
            return;
        }
        if let Some(most) =
            self.answer_bytes_max().filter(|most| !call.attempts.is_empty() && line.len() as u64 > *most)
        {
            self.tell("too long", &call.attempts, json!({ "of": call.of, "bytes": line.len(), "most": most }));
            let text = format!(
                "flyball: the answer of {} bytes is longer than the {most} that the charter lets pass; it was done, ask for less",
                line.len()
            );
            return self.client(&say::refusal(&id, &call.method, call.is_modern, &text));
        }
        if waits && let Err(text) = self.may_ask_for(result.and_then(|r| r.get("inputRequests"))) {
            return self.client(&say::refusal(&id, &call.method, call.is_modern, &text));
        }
        match call.method.as_str() {
            "tools/list" if !is_error => self.client(&self.shown(message, line)),
            "initialize" | "server/discover" => {
                let info = |name: &str| result.and_then(|r| r.get(name)).cloned().unwrap_or_default();
                let more = json!({ "serverInfo": info("serverInfo"), "protocolVersion": info("protocolVersion") });
                self.tell("server", &[], more);
                self.client(line);
            }
            _ => self.client(line),
        }
    }

    fn answer_bytes_max(&self) -> Option<u64> {
        self.around.own.answer_bytes_max.get(&self.around.server).copied()
    }

    /// The answer to `tools/list` with the tools that the agent may see.
    fn shown(&self, message: &Message, line: &[u8]) -> Vec<u8> {
        let id = match &message.kind {
            Kind::Answer { id, .. } => id.clone(),
            _ => None,
        };
        let refused = || say::error(id.as_ref(), say::INTERNAL, "flyball: the server's list of tools can't be read");
        let result = message.body.get("result").unwrap_or(&Json::Null);
        if !result.is_object() || result.get("tools").is_some_and(|tools| !tools.is_array()) {
            return refused();
        }
        let keep = self.sift(message);
        if keep.iter().all(|keep| *keep) {
            return line.to_vec();
        }
        raw::with_tools(line, &keep).unwrap_or_else(refused)
    }

    /// For each tool of a listing, whether the agent may see it.
    fn sift(&self, message: &Message) -> Vec<bool> {
        let result = message.body.get("result");
        let tools = result.and_then(|r| r.get("tools")).and_then(Json::as_array).map(Vec::as_slice).unwrap_or_default();
        let mut names = BTreeSet::new();
        let mut keep = Vec::with_capacity(tools.len());
        let mut hidden = Vec::new();
        for tool in tools {
            let name = tool.get("name").and_then(Json::as_str).filter(|_| is_sure_tool(tool));
            let Some(name) = name.filter(|name| names.insert((*name).to_owned())) else {
                keep.push(false);
                continue;
            };
            let digest = pins::digest(tool);
            let listed = Listed { digest: digest.clone(), is_shown: false };
            self.lock().tools().listed.insert(name.to_owned(), listed);
            let is_agreed = self.agree(name, &digest).is_ok();
            if !is_agreed {
                hidden.push(clip(name));
            }
            keep.push(is_agreed);
        }
        if !hidden.is_empty() {
            self.tell("hidden", &[], json!({ "tools": hidden }));
        }
        if result.and_then(|r| r.get("nextCursor")).is_none_or(Json::is_null) {
            self.lock().tools().ended();
        }
        keep
    }

    /// The answer to the gateway's own question.
    fn looked(self: &Arc<Self>, message: &Message) {
        let Some(own) = self.lock().looking.take() else { return };
        self.sift(message);
        let next = message.body.get("result").and_then(|r| r.get("nextCursor")).and_then(Json::as_str);
        if let Some(cursor) = next {
            if own.pages >= PAGES_MAX {
                // Without an end there is no telling what it does not list.
                let parked = std::mem::take(&mut self.lock().parked);
                for (id, ..) in parked {
                    let text = "flyball: denied, the server's list of tools has no end";
                    self.refuse(Side::Client, &id, text);
                }
                return;
            }
            let line = self.lock().look(own.meta, Some(cursor), own.pages + 1);
            let _ = self.peers.to_server(&line);
            return;
        }
        self.lock().tools().ended();
        self.go_on_parked();
    }

    fn asked_by_server(self: &Arc<Self>, id: Id, method: &str, message: &Message, line: Vec<u8>) {
        let mut state = self.lock();
        if state.asked.contains_key(&id) || state.asked.len() >= CALLS_MAX {
            drop(state);
            let _ = self.peers.to_server(&say::error(None, say::REQUEST, "flyball: refused, that id is taken"));
            return;
        }
        let call = Call {
            method: method.to_owned(),
            of: String::new(),
            attempts: Vec::new(),
            is_modern: false,
            is_cancelled: false,
        };
        state.asked.insert(id.clone(), call);
        drop(state);
        if PASSING.contains(&method) {
            return self.go_on(Side::Server, &id, Vec::new(), &line);
        }
        match self.wanted(method, message.params()) {
            Ok(action) => self.rule(Side::Server, id, vec![action], Vec::new(), line),
            Err(error) => self.refuse(Side::Server, &id, &format!("flyball: denied, it can't be read: {error}")),
        }
    }

    /// What a server wants of the client's model or user.
    fn wanted(&self, method: &str, params: &Json) -> Result<Action, String> {
        let text = |e: ActionError| e.to_string();
        if method != "sampling/createMessage" {
            return mcp_other_action(&self.around.server, &clip(method), params).map_err(|e| e.to_string());
        }
        let hint = params.pointer("/modelPreferences/hints/0/name").and_then(Json::as_str).unwrap_or_default();
        let model = Resource::new(ResourceKind::Model).with("provider", "mcp").map_err(text)?;
        let model = model.with("name", clip(hint)).map_err(text)?;
        let action = Action::new("model.call", model, Surface::Mcp).map_err(text)?;
        match params.get("maxTokens").and_then(Json::as_i64) {
            Some(tokens) => action.with("tokens", tokens).map_err(text),
            None => Ok(action),
        }
    }

    /// The questions within an answer that asks for more.
    fn may_ask_for(&self, requests: Option<&Json>) -> Result<(), String> {
        for request in requests.and_then(Json::as_object).into_iter().flat_map(|all| all.values()) {
            let method = request.get("method").and_then(Json::as_str).unwrap_or_default();
            if PASSING.contains(&method) {
                continue;
            }
            let action = self.wanted(method, request.get("params").unwrap_or(&Json::Null))?;
            let exact = self.exact(&digest(request.to_string().as_bytes())).into();
            let asking =
                Asking { actions: vec![action], cause: Vec::new(), exact, wait: Duration::ZERO, can_change: false };
            match self.gate.ask(asking) {
                Answered::Allowed { attempts } => self.gate.outcome(&attempts, None, &BTreeMap::new()),
                Answered::Denied { text, .. } | Answered::Waiting { text, .. } => return Err(text),
                Answered::Changed { .. } => return Err(NOT_CHANGED.to_owned()),
            }
        }
        Ok(())
    }
}
