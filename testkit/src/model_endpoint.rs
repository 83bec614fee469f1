//! A local endpoint that speaks enough of Anthropic's Messages API, OpenAI's Responses API and Gemini's generateContent to
//! drive an unmodified agent by script.
//!
//! Which turn comes next is read from the request alone: each scripted tool call carries its turn in its id, and the
//! request's tool results name those ids. So a retried request gets the same answer, and order between threads is no matter.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use serde_json::{Value, json};

mod generate;
mod http;
mod responses;

/// One answer of the model: what it says, and the tools that it calls.
#[derive(Debug, Clone, Default)]
pub struct Turn {
    blocks: Vec<Block>,
    /// Held by who wants it to be late.
    late: Option<Arc<Mutex<()>>>,
}

#[derive(Debug, Clone)]
enum Block {
    Text(String),
    ToolUse { name: String, input: Value },
}

impl Turn {
    /// A turn that only says something, and so ends the agent's run.
    pub fn say(text: &str) -> Self {
        Self { blocks: vec![Block::Text(text.to_owned())], late: None }
    }

    /// A turn that calls one tool.
    pub fn call(tool: &str, input: Value) -> Self {
        Self::default().and_call(tool, input)
    }

    /// A turn that runs a shell command with the agent's `Bash` tool.
    pub fn bash(command: &str) -> Self {
        Self::call("Bash", json!({"command": command, "description": "scripted step"}))
    }

    /// A turn that reads a file with the agent's `Read` tool.
    pub fn read(path: &str) -> Self {
        Self::call("Read", json!({"file_path": path}))
    }

    /// A turn that replaces a text in a file with the agent's `Edit` tool; the agent must have read the file before.
    pub fn edit(path: &str, old: &str, new: &str) -> Self {
        Self::call("Edit", json!({"file_path": path, "old_string": old, "new_string": new}))
    }

    /// A turn that writes a whole file with the agent's `Write` tool.
    pub fn write(path: &str, content: &str) -> Self {
        Self::call("Write", json!({"file_path": path, "content": content}))
    }

    /// A turn that runs a shell command with Codex's `exec_command` tool, and waits for its end as long as that tool can.
    pub fn exec(command: &str) -> Self {
        Self::call("exec_command", json!({"cmd": command, "yield_time_ms": 30_000}))
    }

    /// A turn that changes files with Codex's `apply_patch` tool, which takes a text.
    pub fn patch(patch: &str) -> Self {
        Self::call("apply_patch", Value::String(patch.to_owned()))
    }

    /// The same turn, of which but the first event comes as long as somebody has that lock.
    #[must_use]
    pub fn late(mut self, lock: &Arc<Mutex<()>>) -> Self {
        self.late = Some(Arc::clone(lock));
        self
    }

    /// The same turn with one more tool call.
    #[must_use]
    pub fn and_call(mut self, tool: &str, input: Value) -> Self {
        self.blocks.push(Block::ToolUse { name: tool.to_owned(), input });
        self
    }
}

/// The number of the first turn of an agent that the first one started.
pub const SECOND: usize = 1000;

/// The turns of one agent, and the number of the first.
#[derive(Clone, Copy)]
struct Script<'a> {
    turns: &'a [Turn],
    first: usize,
}

impl Shared {
    fn script_for(&self, body: &Value) -> Script<'_> {
        let first_message = body.pointer("/messages/0/content").cloned().unwrap_or_default();
        match &self.second {
            Some((words, turns)) if first_message.to_string().contains(words) => Script { turns, first: SECOND },
            _ => Script { turns: &self.turns, first: 0 },
        }
    }
}

/// What the agent reported back of one scripted tool call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolResult {
    /// Index of the turn, from 0, that made the call.
    pub turn: usize,
    /// Index of the call within its turn, from 0.
    pub call: usize,
    /// The text that the model would read.
    pub text: String,
    /// Whether the agent marked it as an error.
    pub is_error: bool,
}

impl ToolResult {
    /// `None` for the result of a call that is not from the script.
    fn of(id: &str, text: String, is_error: bool) -> Option<Self> {
        let (turn, call) = id.strip_prefix("toolu_scripted_")?.split_once('_')?;
        Some(Self { turn: turn.parse().ok()?, call: call.parse().ok()?, text, is_error })
    }
}

/// A request that the endpoint got.
#[derive(Debug, Clone)]
pub struct Request {
    /// HTTP method.
    pub method: String,
    /// Path with its query.
    pub path: String,
    /// The body as JSON; null where there was none or it was something else.
    pub body: Value,
}

/// The endpoint: listens on loopback from [`ModelEndpoint::start`] until it is dropped.
#[derive(Debug)]
pub struct ModelEndpoint {
    address: SocketAddr,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    turns: Vec<Turn>,
    /// What an agent that the first one starts is played, and the words of its task by which it is known.
    second: Option<(String, Vec<Turn>)>,
    requests: Mutex<Vec<Request>>,
    /// Connections now open, so that a drop can end them.
    open: Mutex<Vec<TcpStream>>,
    is_stopping: AtomicBool,
}

impl ModelEndpoint {
    /// Listens on a free port of 127.0.0.1 and plays the turns. Past the last turn it says that the script is over.
    ///
    /// # Errors
    /// When no port can be had.
    pub fn start(turns: Vec<Turn>) -> io::Result<Self> {
        Self::start_both(turns, None)
    }

    /// The same, with a script for an agent that the first one starts: in whose first message these words stand. Its turns
    /// count from [`SECOND`].
    ///
    /// # Errors
    /// When no port can be had.
    pub fn start_two(turns: Vec<Turn>, words: &str, second: Vec<Turn>) -> io::Result<Self> {
        Self::start_both(turns, Some((words.to_owned(), second)))
    }

    fn start_both(turns: Vec<Turn>, second: Option<(String, Vec<Turn>)>) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            turns,
            second,
            requests: Mutex::default(),
            open: Mutex::default(),
            is_stopping: AtomicBool::new(false),
        });
        let acceptor = std::thread::spawn({
            let shared = Arc::clone(&shared);
            move || accept(&listener, &shared)
        });
        Ok(Self { address, shared, acceptor: Some(acceptor) })
    }

    /// The base URL to give to the agent.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The port that it listens on.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Every request so far, in the order of arrival.
    pub fn requests(&self) -> Vec<Request> {
        self.shared.requests.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The result of each scripted call that the agent reported, in the script's order.
    pub fn tool_results(&self) -> Vec<ToolResult> {
        let mut results: Vec<ToolResult> = Vec::new();
        for request in self.requests() {
            for result in results_in(&request.body) {
                if !results.iter().any(|known| (known.turn, known.call) == (result.turn, result.call)) {
                    results.push(result);
                }
            }
        }
        results.sort_by_key(|result| (result.turn, result.call));
        results
    }

    /// Text of the first call's result of a turn, empty if the agent never reported one.
    pub fn result_of(&self, turn: usize) -> String {
        let results = self.tool_results();
        results.into_iter().find(|result| result.turn == turn).map(|result| result.text).unwrap_or_default()
    }
}

impl Drop for ModelEndpoint {
    fn drop(&mut self) {
        self.shared.is_stopping.store(true, Ordering::SeqCst);
        // Wakes the acceptor, which then sees the flag.
        drop(TcpStream::connect(self.address));
        for stream in self.shared.open.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            let _ = stream.shutdown(std::net::Shutdown::Both);
        }
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    let mut conversations = Vec::new();
    for stream in listener.incoming() {
        if shared.is_stopping.load(Ordering::SeqCst) {
            break;
        }
        let Ok(stream) = stream else { continue };
        if let Ok(copy) = stream.try_clone() {
            shared.open.lock().unwrap_or_else(PoisonError::into_inner).push(copy);
        }
        let shared = Arc::clone(shared);
        conversations.push(std::thread::spawn(move || {
            // A peer that hangs up mid-way is the agent's to report, not ours.
            let _ = converse(&stream, &shared);
            let _ = stream.shutdown(std::net::Shutdown::Both);
        }));
    }
    for conversation in conversations {
        let _ = conversation.join();
    }
}

fn converse(stream: &TcpStream, shared: &Shared) -> io::Result<()> {
    let Some(request) = http::read_request(stream)? else { return Ok(()) };
    let answer = answer_to(&request, shared.script_for(&request.body));
    shared.requests.lock().unwrap_or_else(PoisonError::into_inner).push(request);
    http::write_answer(stream, &answer)
}

/// What goes back for one request: a status, a media type, a body.
struct Answer {
    status: u16,
    media_type: &'static str,
    body: String,
    /// Behind so many bytes of the body it waits for whoever has that.
    late: Option<(usize, Arc<Mutex<()>>)>,
}

impl Answer {
    fn json(status: u16, body: &Value) -> Self {
        Self { status, media_type: "application/json", body: body.to_string(), late: None }
    }

    /// Server-sent events, each named by its type.
    fn events(events: &[Value]) -> Self {
        let line = |event: &Value| {
            format!("event: {}\ndata: {event}\n\n", event.get("type").and_then(Value::as_str).unwrap_or_default())
        };
        let body = events.iter().map(line).collect();
        Self { status: 200, media_type: "text/event-stream", body, late: None }
    }
}

fn answer_to(request: &Request, script: Script<'_>) -> Answer {
    let path = request.path.split('?').next().unwrap_or_default();
    match (request.method.as_str(), path) {
        ("HEAD" | "GET", "/") => Answer::json(200, &json!({"ok": true})),
        ("POST", "/v1/messages/count_tokens") => Answer::json(200, &json!({"input_tokens": 1000})),
        ("POST", "/v1/messages") => messages(&request.body, script),
        ("POST", "/v1/responses") => responses::answer(&request.body, script),
        ("POST", path) if path.starts_with("/v1beta/") => generate::answer(path, &request.body, script)
            .unwrap_or_else(|| Answer::json(404, &json!({"error": {"code": 404, "status": "NOT_FOUND"}}))),
        _ => {
            let error = json!({"type": "not_found_error", "message": "the scripted endpoint has no such path"});
            Answer::json(404, &json!({"type": "error", "error": error}))
        }
    }
}

/// The turn that is next by the request's own tool results, and its number.
fn turn_of(body: &Value, script: Script<'_>) -> (Turn, usize) {
    let index = results_in(body).iter().map(|result| result.turn + 1).max().unwrap_or(script.first);
    // Requests without tools are the agent's own side questions (a title, a summary), and are no turn of the script.
    let has_tools = body["tools"].as_array().is_some_and(|tools| !tools.is_empty());
    let scripted = if has_tools { script.turns.get(index.wrapping_sub(script.first)).cloned() } else { None };
    (scripted.unwrap_or_else(|| Turn::say("The script is over.")), index)
}

fn messages(body: &Value, script: Script<'_>) -> Answer {
    let (turn, index) = turn_of(body, script);
    let model = body["model"].as_str().unwrap_or("scripted");
    if body["stream"].as_bool() == Some(true) {
        let mut answer = Answer::events(&events(&turn, index, model));
        let first = answer.body.find("\n\n").map_or(0, |end| end + 2);
        answer.late = turn.late.map(|lock| (first, lock));
        answer
    } else {
        let blocks: Vec<Value> = content(&turn, index);
        Answer::json(200, &message(index, model, blocks, Some(stop_reason(&turn))))
    }
}

fn message(index: usize, model: &str, content: Vec<Value>, stop_reason: Option<&str>) -> Value {
    json!({
        "id": format!("msg_scripted_{index}"), "type": "message", "role": "assistant", "model": model,
        "content": content, "stop_reason": stop_reason, "stop_sequence": null,
        "usage": {"input_tokens": 10, "output_tokens": 10},
    })
}

fn content(turn: &Turn, index: usize) -> Vec<Value> {
    let mut calls = 0..;
    let block = |block: &Block| match block {
        Block::Text(text) => json!({"type": "text", "text": text}),
        Block::ToolUse { name, input } => {
            let id = call_id(index, calls.next().unwrap_or(0));
            json!({"type": "tool_use", "id": id, "name": name, "input": input})
        }
    };
    turn.blocks.iter().map(block).collect()
}

fn stop_reason(turn: &Turn) -> &'static str {
    let calls = turn.blocks.iter().any(|block| matches!(block, Block::ToolUse { .. }));
    if calls { "tool_use" } else { "end_turn" }
}

/// The turn as server-sent events, in the order that the Messages API streams them.
fn events(turn: &Turn, index: usize, model: &str) -> Vec<Value> {
    let mut events = vec![json!({"type": "message_start", "message": message(index, model, Vec::new(), None)})];
    let mut calls = 0..;
    for (number, block) in turn.blocks.iter().enumerate() {
        let (start, delta) = match block {
            Block::Text(text) => (json!({"type": "text", "text": ""}), json!({"type": "text_delta", "text": text})),
            Block::ToolUse { name, input } => {
                let id = call_id(index, calls.next().unwrap_or(0));
                let delta = json!({"type": "input_json_delta", "partial_json": input.to_string()});
                (json!({"type": "tool_use", "id": id, "name": name, "input": {}}), delta)
            }
        };
        events.push(json!({"type": "content_block_start", "index": number, "content_block": start}));
        events.push(json!({"type": "content_block_delta", "index": number, "delta": delta}));
        events.push(json!({"type": "content_block_stop", "index": number}));
    }
    let ending = json!({"stop_reason": stop_reason(turn), "stop_sequence": null});
    events.push(json!({"type": "message_delta", "delta": ending, "usage": {"output_tokens": 10}}));
    events.push(json!({"type": "message_stop"}));
    events
}

fn call_id(turn: usize, call: usize) -> String {
    format!("toolu_scripted_{turn}_{call}")
}

fn results_in(body: &Value) -> Vec<ToolResult> {
    let messages = body["messages"].as_array().into_iter().flatten();
    let blocks = messages.filter_map(|message| message["content"].as_array()).flatten();
    let results = blocks.filter(|block| block["type"] == "tool_result").filter_map(result_of_block);
    results.chain(responses::results_in(body)).chain(generate::results_in(body)).collect()
}

fn result_of_block(block: &Value) -> Option<ToolResult> {
    let text = match &block["content"] {
        Value::String(text) => text.clone(),
        Value::Array(parts) => parts.iter().filter_map(|part| part["text"].as_str()).collect::<Vec<_>>().join("\n"),
        _ => String::new(),
    };
    let is_error = block["is_error"].as_bool() == Some(true);
    ToolResult::of(block["tool_use_id"].as_str()?, text, is_error)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
    use super::*;
    use std::io::{Read, Write};

    /// Sends raw bytes, gives everything that came back.
    fn exchange(endpoint: &ModelEndpoint, bytes: &str) -> String {
        let mut stream = TcpStream::connect(endpoint.address).unwrap();
        stream.write_all(bytes.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    fn post(endpoint: &ModelEndpoint, path: &str, body: &Value) -> String {
        let body = body.to_string();
        exchange(endpoint, &format!("POST {path} HTTP/1.1\r\ncontent-length: {}\r\n\r\n{body}", body.len()))
    }

    fn asked(results: &[&str], stream: bool) -> Value {
        let results: Vec<Value> = results
            .iter()
            .map(|id| json!({"type": "tool_result", "tool_use_id": id, "content": [{"type": "text", "text": "out"}]}))
            .collect();
        json!({"model": "m", "stream": stream, "tools": [{"name": "Bash"}], "messages": [{"role": "user", "content": results}]})
    }

    #[test]
    fn the_turn_follows_from_the_results_in_the_request() {
        let endpoint = ModelEndpoint::start(vec![Turn::bash("one"), Turn::bash("two"), Turn::say("end")]).unwrap();
        assert!(post(&endpoint, "/v1/messages", &asked(&[], false)).contains("\"one\""));
        assert!(post(&endpoint, "/v1/messages?beta=true", &asked(&["toolu_scripted_0_0"], false)).contains("\"two\""));
        assert!(post(&endpoint, "/v1/messages", &asked(&["toolu_scripted_0_0"], false)).contains("\"two\""), "a retry");
        let last = asked(&["toolu_scripted_0_0", "toolu_scripted_1_0"], false);
        assert!(post(&endpoint, "/v1/messages", &last).contains("end_turn"));
        assert_eq!(endpoint.tool_results().len(), 2);
        assert_eq!(endpoint.result_of(1), "out");
        assert_eq!(endpoint.result_of(2), "");
    }

    #[test]
    fn a_stream_holds_the_same_call() {
        let endpoint = ModelEndpoint::start(vec![Turn::bash("one")]).unwrap();
        let answer = post(&endpoint, "/v1/messages", &asked(&[], true));
        assert!(answer.contains("text/event-stream"));
        let data: Vec<Value> = answer
            .lines()
            .filter_map(|line| line.strip_prefix("data: "))
            .map(|data| serde_json::from_str(data).unwrap())
            .collect();
        assert_eq!(data[0]["type"], "message_start");
        assert_eq!(data[1]["content_block"]["id"], "toolu_scripted_0_0");
        let input: Value = serde_json::from_str(data[2]["delta"]["partial_json"].as_str().unwrap()).unwrap();
        assert_eq!(input["command"], "one");
        assert_eq!(data.last().unwrap()["type"], "message_stop");
    }

    #[test]
    fn side_questions_are_no_turns() {
        let endpoint = ModelEndpoint::start(vec![Turn::bash("one")]).unwrap();
        let answer = post(&endpoint, "/v1/messages", &json!({"messages": []}));
        assert!(answer.contains("The script is over."));
    }

    #[test]
    fn the_other_paths_answer_as_the_service_does() {
        let endpoint = ModelEndpoint::start(Vec::new()).unwrap();
        assert!(exchange(&endpoint, "HEAD / HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 200"));
        assert!(post(&endpoint, "/v1/messages/count_tokens", &json!({})).contains("input_tokens"));
        assert!(post(&endpoint, "/api/event_logging", &json!({})).starts_with("HTTP/1.1 404"));
        assert_eq!(endpoint.requests().len(), 3);
    }

    #[test]
    fn a_drop_ends_it_with_a_connection_open() {
        let endpoint = ModelEndpoint::start(Vec::new()).unwrap();
        let address = endpoint.address;
        let mut idle = TcpStream::connect(address).unwrap();
        idle.write_all(b"POST /v1/messages HTTP/1.1\r\n").unwrap();
        drop(endpoint);
        assert!(TcpStream::connect(address).is_err());
    }
}
