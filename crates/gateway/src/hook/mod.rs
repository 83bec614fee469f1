//! Hooks of agents' harnesses: before a tool is called it is ruled on, afterwards its outcome is recorded.
//!
//! All harnesses go on when a hook crashes, times out or prints junk, and all stop a tool call when it exits with 2. So a
//! denial is exit code 2 with its text on standard error, and so is everything that can't be understood. An allowance says
//! nothing: the harness' own permissions still hold.
//!
//! An agent can go round a hook. What matters is stopped beneath it, by the sandbox of `flyball run`.

mod form;
pub mod install;
mod wire;

use crate::gate::{Answered, Asking, Gate, NOT_CHANGED};
use crate::mcp::Pins;
use crate::mcp::pins::inject;
use crate::paths;
use flyball_intent::{
    GitContext, Harness, McpOwn, ToolCall, all_succeeded_if_it_did, input_in_form, server_tool, tool_call_actions,
};
use flyball_kernel::{Action, Surface, Value};
use serde_json::{Value as Json, json};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::Read;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use wire::Event;

/// A larger event is refused unread; Claude Code's own limit on a written file is far below.
pub const EVENT_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Calls whose end was not told yet; of more, the oldest end as unknown.
const CALLS_MAX: usize = 1024;
/// Agents that are told apart by where they come from; of more, where is not told.
const AGENTS_MAX: usize = 4096;
/// Bytes of a file that is read to tell what an edit makes of it.
const FILE_BYTES_MAX: u64 = 8 * 1024 * 1024;
/// Characters of what people and agents say that an entry carries.
const TEXT_CHARS_MAX: usize = 8192;

/// What the hook's process prints, and its exit code.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reply {
    /// 0, or 2 to stop what was announced.
    pub exit: u8,
    /// Standard output.
    pub stdout: String,
    /// Standard error: what the model reads of a denial.
    pub stderr: String,
}

impl Reply {
    /// A denial.
    #[must_use]
    pub fn deny(text: &str) -> Self {
        Self { exit: 2, stdout: String::new(), stderr: format!("{}\n", text.trim_end()) }
    }
}

/// What a hook's caller knows beside the event.
pub struct Around<'a> {
    /// The user's home.
    pub home: &'a str,
    /// How long people may take.
    pub wait: Duration,
    /// The repository around a working directory.
    pub git: &'a dyn Fn(&str) -> Option<GitContext>,
    /// What a file holds now, by its absolute path.
    pub file: &'a dyn Fn(&str) -> Option<Vec<u8>>,
    /// Whether what the calls do is ruled on again as it happens.
    pub is_enforced: bool,
}

/// The hook events of one harness session.
pub struct Hooks {
    harness: Harness,
    /// What the charter says of its own servers' tools.
    own: McpOwn,
    /// The tools that are known of servers; without it nothing is asked about new ones.
    pins: Option<Arc<dyn Pins>>,
    /// Servers' tools that were asked about in this session, and may be used.
    seen: Mutex<BTreeSet<(String, String)>>,
    calls: Mutex<VecDeque<Call>>,
    /// The entry that tells of each agent's start, by its name.
    started: Mutex<BTreeMap<String, u64>>,
}

/// An allowed call, until its end is told.
struct Call {
    id: String,
    /// The input that it was given in the place of its own, and what names the call with that where its harness has no name for it.
    given: Option<(Json, String)>,
    attempts: Vec<u64>,
    /// The attempts of which a good end of the whole says that they ended well too, with exit code 0.
    surely: Vec<u64>,
    /// The attempt to start an agent that has not been told to have started, and whose it is.
    spawn: Option<(u64, String)>,
}

impl Hooks {
    /// For a session in which nothing has happened yet.
    #[must_use]
    pub fn new(harness: Harness) -> Self {
        Self {
            harness,
            own: McpOwn::default(),
            pins: None,
            seen: Mutex::default(),
            calls: Mutex::default(),
            started: Mutex::default(),
        }
    }

    /// The same where a charter says what tools do.
    #[must_use]
    pub fn with_tools(self, own: McpOwn) -> Self {
        Self { own, ..self }
    }

    /// The same where it is known which tools servers had.
    #[must_use]
    pub fn with_pins(self, pins: Arc<dyn Pins>) -> Self {
        Self { pins: Some(pins), ..self }
    }

    /// Whether the event says that the harness session is over.
    #[must_use]
    pub fn is_end(&self, bytes: &[u8]) -> bool {
        matches!(wire::read(self.harness, bytes), Ok(heard) if matches!(heard.event, Event::End))
    }

    /// Rules on an event, or records it.
    pub fn handle(&self, bytes: &[u8], gate: &dyn Gate, around: &Around<'_>) -> Reply {
        let heard = match wire::read(self.harness, bytes) {
            Ok(heard) => heard,
            Err(error) => {
                let text = format!("flyball: denied, the hook's event can't be read: {error}");
                gate.observe("hook", &[], json!({ "hook": "unreadable", "detail": error.to_string() }));
                return Reply::deny(&text);
            }
        };
        let agent = heard.agent(self.harness);
        let seen = self.tell(&agent, &heard, gate);
        let cause: Vec<u64> = seen.into_iter().collect();
        match heard.event {
            Event::Before { id, tool, input } => {
                let asked = Asked { id, tool, input, cwd: heard.cwd, agent };
                self.before(asked, &cause, gate, around)
            }
            Event::After { id, is_ok, exit, input } => {
                self.after(&id, is_ok, exit, &input, gate);
                Reply::default()
            }
            Event::Told | Event::End => Reply::default(),
        }
    }

    /// Records what was heard. Of an agent that another one started it says whose it is and is caused by its start, which the
    /// call that started it has caused.
    fn tell(&self, agent: &str, heard: &wire::Heard, gate: &dyn Gate) -> Option<u64> {
        let mut body = heard.told();
        if agent == self.harness.name() {
            return gate.observe(agent, &[], body);
        }
        let mut started = self.started.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(start) = started.get(agent) {
            return gate.observe(agent, &[*start], body);
        }
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        let spawn = calls.iter_mut().find_map(|call| call.spawn.take());
        drop(calls);
        let (cause, parent) = spawn.map_or((Vec::new(), self.harness.name().to_owned()), |(of, by)| (vec![of], by));
        if let Some(body) = body.as_object_mut() {
            body.insert("parent".to_owned(), parent.into());
        }
        let seq = gate.observe(agent, &cause, body)?;
        if started.len() < AGENTS_MAX {
            started.insert(agent.to_owned(), seq);
        }
        Some(seq)
    }

    fn before(&self, asked: Asked, cause: &[u64], gate: &dyn Gate, around: &Around<'_>) -> Reply {
        let actions = match asked.actions(self, around) {
            Ok(actions) => actions,
            Err(error) => return Reply::deny(&format!("flyball: denied, the call can't be read: {error}")),
        };
        if let Some(reply) = self.is_not_to_be_used(&asked, cause, gate, around) {
            return reply;
        }
        let (exact, wait) = (asked.digest().into(), around.wait);
        let can_change = form::can_give(self.harness);
        let asking = Asking { actions: actions.clone(), cause: cause.to_vec(), exact, wait, can_change };
        match gate.ask(asking) {
            Answered::Allowed { attempts } => {
                self.goes_on(asked, &actions, attempts, None, gate, around);
                Reply::default()
            }
            Answered::Changed { attempt, forms } => self.in_form(asked, &actions, attempt, &forms, gate, around),
            Answered::Denied { text, .. } | Answered::Waiting { text, .. } => Reply::deny(&text),
        }
    }

    /// A call that passes in another form is given that, if its input can say it; else it is refused.
    fn in_form(
        &self,
        mut asked: Asked,
        actions: &[Action],
        attempt: u64,
        forms: &[(usize, Action)],
        gate: &dyn Gate,
        around: &Around<'_>,
    ) -> Reply {
        let read = |input: &Json| asked.with_input(input).actions(self, around).ok();
        let Some((input, given)) = input_in_form(&asked.input, actions, forms, &read) else {
            return match gate.give(attempt, None) {
                Answered::Denied { text, .. } | Answered::Waiting { text, .. } => Reply::deny(&text),
                Answered::Allowed { .. } | Answered::Changed { .. } => Reply::deny(NOT_CHANGED),
            };
        };
        // INVARIANT: both inputs are on record before the harness has the other one: what lets it pass is durable, and later.
        let body = json!({
            "hook": "form", "tool_use_id": asked.id, "tool_name": asked.tool,
            "asked": clip(&asked.input.to_string()), "given": clip(&input.to_string()),
        });
        let is_told = gate.observe("hook", &[attempt], body).is_some();
        match gate.give(attempt, Some(given.as_slice()).filter(|_| is_told)) {
            Answered::Allowed { attempts } => {
                asked.input = input.clone();
                let reply = form::reply(self.harness, &input);
                self.goes_on(asked, &given, attempts, Some(input), gate, around);
                reply
            }
            Answered::Denied { text, .. } | Answered::Waiting { text, .. } => Reply::deny(&text),
            Answered::Changed { .. } => Reply::deny(NOT_CHANGED),
        }
    }

    /// Remembers a call that goes on, until its end is told.
    fn goes_on(
        &self,
        asked: Asked,
        actions: &[Action],
        attempts: Vec<u64>,
        given: Option<Json>,
        gate: &dyn Gate,
        around: &Around<'_>,
    ) {
        let unread: Vec<String> =
            actions.iter().filter(|a| a.attr("opaque").is_some()).map(|a| a.verb.name().to_owned()).collect();
        // Nothing beneath a hook asks again: whoever reads the record is told what nobody could judge.
        if !unread.is_empty() && !around.is_enforced {
            gate.observe("hook", &attempts, json!({ "hook": "unread", "tool_use_id": asked.id, "verbs": unread }));
        }
        let surely = attempts.iter().zip(asked.surely(actions)).filter(|(_, is)| *is).map(|(of, _)| *of).collect();
        // An agent that a command starts tells nobody of itself.
        let is_subagent = |a: &Action| a.verb.name() == "agent.spawn" && a.attr("implied_by").is_none();
        let spawn = actions.iter().position(is_subagent);
        let spawn = spawn.and_then(|n| attempts.get(n)).map(|of| (*of, asked.agent));
        let given = given.map(|given| (given.clone(), wire::id_of(&asked.tool, &given)));
        self.remember(Call { id: asked.id, given, attempts, surely, spawn }, gate);
    }

    /// A server's tool is asked about when the session sees it first, unless a gateway has seen it before: a hook is told its name
    /// only, and not what the model reads of it.
    fn is_not_to_be_used(&self, asked: &Asked, cause: &[u64], gate: &dyn Gate, around: &Around<'_>) -> Option<Reply> {
        let (pins, (server, tool)) = (self.pins.as_ref()?, server_tool(self.harness, &asked.tool)?);
        let name = (server.to_owned(), tool.to_owned());
        if self.seen.lock().unwrap_or_else(PoisonError::into_inner).contains(&name) {
            return None;
        }
        let was = match pins.known(server) {
            Ok(Some(known)) if known.contains_key(tool) => None,
            Ok(Some(_)) => Some("absent"),
            Ok(None) => Some(""),
            Err(_) => Some("unreadable"),
        };
        if let Some(was) = was {
            let Ok(mut action) = inject(server, tool, "", was) else {
                return Some(Reply::deny("flyball: denied, the tool can't be ruled on"));
            };
            (action.surface, action.agent) = (Surface::Hook, asked.agent.as_str().into());
            let exact = format!("{server}\0{tool}").into();
            let (actions, cause, wait) = (vec![action], cause.to_vec(), around.wait);
            let asking = Asking { actions, cause, exact, wait, can_change: false };
            match gate.ask(asking) {
                Answered::Allowed { attempts } => gate.outcome(&attempts, Some(true), &BTreeMap::new()),
                Answered::Denied { text, .. } | Answered::Waiting { text, .. } => return Some(Reply::deny(&text)),
                Answered::Changed { .. } => return Some(Reply::deny(NOT_CHANGED)),
            }
        }
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.len() < AGENTS_MAX {
            seen.insert(name);
        }
        None
    }

    fn remember(&self, call: Call, gate: &dyn Gate) {
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        calls.push_back(call);
        let forgotten = if calls.len() > CALLS_MAX { calls.pop_front() } else { None };
        drop(calls);
        if let Some(call) = forgotten {
            gate.outcome(&call.attempts, None, &BTreeMap::new());
        }
    }

    fn after(&self, id: &str, is_ok: Option<bool>, exit: Option<i64>, input: &Json, gate: &dyn Gate) {
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        let is_it = |call: &Call| call.id == id || call.given.as_ref().is_some_and(|(_, of_given)| of_given == id);
        let at = calls.iter().position(is_it);
        let Some(call) = at.and_then(|at| calls.remove(at)) else { return };
        drop(calls);
        // A harness that is told another input and takes its own has done what was never allowed.
        if call.given.as_ref().is_some_and(|(given, _)| !form::holds(input, given)) {
            gate.observe(
                "hook",
                &call.attempts,
                json!({ "hook": "not-given", "tool_use_id": id, "took": clip(&input.to_string()) }),
            );
            gate.outcome(&call.attempts, None, &BTreeMap::new());
            return;
        }
        let Some((first, implied)) = call.attempts.split_first() else { return };
        let attrs = |exit: Option<i64>| exit.map(|code| ("exit".to_owned(), Value::Long(code))).into_iter().collect();
        gate.outcome(&[*first], is_ok, &attrs(exit));
        // How a script ended says of what it held only this: if all had to end well for it to, and it did, they did.
        let is_good = is_ok == Some(true);
        for of in implied {
            match is_good && call.surely.contains(of) {
                true => gate.outcome(&[*of], Some(true), &attrs(exit)),
                false => gate.outcome(&[*of], None, &BTreeMap::new()),
            }
        }
    }
}

/// A call that is to be ruled on.
#[derive(Clone)]
struct Asked {
    id: String,
    tool: String,
    input: Json,
    cwd: String,
    agent: String,
}

impl Asked {
    /// The same call with another input.
    fn with_input(&self, input: &Json) -> Self {
        Self { input: input.clone(), ..self.clone() }
    }

    fn actions(&self, hooks: &Hooks, around: &Around<'_>) -> Result<Vec<Action>, flyball_intent::ToolCallError> {
        let git = (around.git)(&self.cwd);
        let mut actions = tool_call_actions(&ToolCall {
            harness: hooks.harness,
            name: &self.tool,
            input: &self.input,
            cwd: &self.cwd,
            home: around.home,
            git: git.as_ref(),
            file: around.file,
            own: &hooks.own,
        })?;
        paths::resolve(&mut actions);
        // What two spellings of a path lead to alike is one thing.
        actions.dedup();
        if !around.is_enforced {
            paths::leave_nothing_open(&mut actions);
        }
        for action in &mut actions {
            action.agent = self.agent.as_str().into();
        }
        Ok(actions)
    }

    /// Of the tool and all of its input.
    fn digest(&self) -> String {
        let whole = json!([self.tool, self.input, self.cwd]).to_string();
        hex::encode(Sha256::digest(whole.as_bytes()))
    }

    /// For each action, whether a good end of the call says that it ended well itself.
    fn surely(&self, actions: &[Action]) -> Vec<bool> {
        let script = ["command", "cmd"].iter().find_map(|name| self.input.get(name)).and_then(Json::as_str);
        match script {
            Some(script) => vec![all_succeeded_if_it_did(script); actions.len()],
            // One effect in several words: a write, and what its content says.
            None => vec![true; actions.len()],
        }
    }
}

/// What a file of this machine holds, if it is a plain one that is not too large.
#[must_use]
pub fn file(path: &str) -> Option<Vec<u8>> {
    // A pipe would keep whoever opens it waiting.
    let file = std::fs::metadata(path).is_ok_and(|m| m.is_file()).then(|| std::fs::File::open(path).ok())??;
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

/// The name of the harness session that an event belongs to.
#[must_use]
pub fn session_of(event: &[u8]) -> Option<String> {
    wire::session(event)
}

/// Whether the event only tells of something, so that nothing passes because of it and stopping it would stop nothing: a harness
/// that is told to stop at its own end starts over, for one.
#[must_use]
pub fn only_tells(harness: Harness, event: &[u8]) -> bool {
    matches!(wire::read(harness, event), Ok(heard) if !matches!(heard.event, Event::Before { .. }))
}

/// As much of a text as an entry carries.
fn clip(text: &str) -> String {
    text.chars().take(TEXT_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests;
