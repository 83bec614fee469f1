//! The gateway in front of an MCP server: what a client asks of it is ruled on before the server hears of it.
//!
//! Decided are `tools/call`, `resources/read`, `prompts/get`, what a server asks of the client's model or user, and every method
//! that is not known; a tool is decided on before the client reads of it. The rest passes, recorded once a method. What passes
//! is the bytes that came.
//!
//! INVARIANT: a request goes to the server only from [`Proxy::go_on`], which needs the gate's allowance or a method that only
//! asks for lists and states. An answer passes only to a question that was asked.
//!
//! Source: modelcontextprotocol.io, revisions 2024-11-05, 2025-03-26, 2025-06-18, 2025-11-25 and 2026-07-28.

mod client;
pub mod listen;
pub mod many;
mod message;
mod names;
pub(crate) mod pins;
mod raw;
mod say;
mod server;
pub mod stdio;
#[cfg(test)]
mod tests;

pub use message::{FRAME_BYTES_MAX, Frame, Id, Kind, Message, MessageError, read_frame, read_messages};
pub use names::server_name;
pub use pins::Pins;

use crate::gate::{Answered, Asking, Exact, Gate, NOT_CHANGED};
use flyball_intent::{GitContext, McpOwn};
use flyball_kernel::Action;
use pins::Tools;
use serde_json::{Value as Json, json};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Requests in flight each way, at most.
const CALLS_MAX: usize = 1024;
/// Requests that wait for people, or for the gateway's own look at the tools, at most.
const HELD_MAX: usize = 128;
/// How often it is looked whether a request that waits for people was taken back.
const HELD_LOOK: Duration = Duration::from_millis(500);
/// How long a client that can ask again is kept waiting for people.
const RETRY_AFTER: Duration = Duration::from_secs(20);
/// Answers that clients were told to ask again for, at most.
const RETRIES_MAX: usize = 1024;
/// Observations of the same kind that are recorded one by one, at most.
const TOLD_MAX: usize = 256;

/// Where lines go. Each is one message without its end of line.
pub trait Peers: Send + Sync {
    /// To the server.
    ///
    /// # Errors
    /// When it does not hear any more.
    fn to_server(&self, line: &[u8]) -> std::io::Result<()>;

    /// To the client.
    ///
    /// # Errors
    /// When it does not hear any more.
    fn to_client(&self, line: &[u8]) -> std::io::Result<()>;
}

/// Tells the repository around a folder.
pub type GitOf = Box<dyn Fn(&str) -> Option<GitContext> + Send + Sync>;

/// What is known of the server and of where it works.
pub struct Around {
    /// Its name, as rules see it.
    pub server: String,
    /// What it is known as among well-known servers.
    pub kind: String,
    /// Where it works, absolute.
    pub cwd: String,
    /// The user's home, absolute.
    pub home: String,
    /// Folders that it was given.
    pub roots: Vec<String>,
    /// How long a client is kept waiting for people.
    pub wait: Duration,
    /// What the charter says of its tools.
    pub own: McpOwn,
    /// The repository around a folder.
    pub git: GitOf,
}

/// One client, one server, and the gate between them.
pub struct Proxy {
    around: Around,
    gate: Arc<dyn Gate>,
    pins: Arc<dyn Pins>,
    peers: Arc<dyn Peers>,
    state: Mutex<State>,
}

struct State {
    /// The client's requests: those that the server has, and those that wait.
    calls: BTreeMap<Id, Call>,
    /// The server's.
    asked: BTreeMap<Id, Call>,
    tools: Tools,
    /// Calls that wait for the gateway's own look at the tools.
    parked: Vec<(Id, Message, Vec<u8>)>,
    looking: Option<Looking>,
    looks: u64,
    held: usize,
    /// The client's own roots, beside the folders that the server was given.
    roots: Vec<String>,
    told: BTreeMap<String, usize>,
    retries: BTreeMap<String, Retry>,
    is_over: bool,
}

/// A request in flight.
struct Call {
    method: String,
    /// The tool, resource or prompt.
    of: String,
    attempts: Vec<u64>,
    is_modern: bool,
    is_cancelled: bool,
}

/// The gateway's own `tools/list`.
struct Looking {
    id: Id,
    meta: Json,
    pages: usize,
}

/// What a client's first attempt held of the server's, while it is told to ask again.
#[derive(Default)]
struct Retry {
    state: Option<String>,
    responses: Option<String>,
}

/// From whom a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Client,
    Server,
}

impl Proxy {
    /// A proxy that has seen nothing yet.
    #[must_use]
    pub fn new(around: Around, gate: Arc<dyn Gate>, pins: Arc<dyn Pins>, peers: Arc<dyn Peers>) -> Arc<Self> {
        let tools = Tools::new(pins.known(&around.server));
        let state = State {
            calls: BTreeMap::new(),
            asked: BTreeMap::new(),
            tools,
            parked: Vec::new(),
            looking: None,
            looks: 0,
            held: 0,
            roots: Vec::new(),
            told: BTreeMap::new(),
            retries: BTreeMap::new(),
            is_over: false,
        };
        Arc::new(Self { around, gate, pins, peers, state: Mutex::new(state) })
    }

    /// The server is gone: what was asked of it is answered with an error, and nobody knows what became of it.
    pub fn server_ended(&self) {
        let mut state = self.lock();
        state.is_over = true;
        let calls = std::mem::take(&mut state.calls);
        let asked = std::mem::take(&mut state.asked);
        state.parked.clear();
        drop(state);
        for (id, call) in calls {
            self.unknown(&call);
            self.client(&say::error(Some(&id), say::INTERNAL, "flyball: the server ended before it answered"));
        }
        asked.values().for_each(|call| self.unknown(call));
    }

    /// No answer will come to a request, if none has: nobody knows what became of it. Its client is told so, if it is not yet.
    pub fn lost(&self, id: &Id, why: Option<&str>) {
        let mut state = self.lock();
        let mut over: Vec<Id> = vec![id.clone()];
        if state.looking.as_ref().is_some_and(|own| own.id == *id) {
            state.looking = None;
            over = state.parked.drain(..).map(|(id, ..)| id).collect();
        }
        let calls: Vec<_> = over.into_iter().filter_map(|id| state.calls.remove(&id).map(|call| (id, call))).collect();
        drop(state);
        for (id, call) in calls {
            self.unknown(&call);
            if let Some(why) = why {
                self.client(&say::error(Some(&id), say::INTERNAL, why));
            }
        }
    }

    /// Records that a message of that peer could not be read.
    pub fn unreadable(&self, from: &str, detail: &str) {
        self.tell("unreadable", &[], json!({ "from": from, "detail": detail }));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A client that is gone has no use for what it would be told.
    fn client(&self, line: &[u8]) {
        let _ = self.peers.to_client(line);
    }

    fn unknown(&self, call: &Call) {
        if !call.attempts.is_empty() {
            self.gate.outcome(&call.attempts, None, &BTreeMap::new());
        }
    }

    /// Records what was seen; of each kind only so many.
    fn tell(&self, what: &str, cause: &[u64], more: Json) -> Option<u64> {
        let mut state = self.lock();
        let told = state.told.entry(what.to_owned()).or_default();
        *told += 1;
        if *told > TOLD_MAX {
            return None;
        }
        drop(state);
        let mut body = json!({ "mcp": what, "server": self.around.server });
        if let (Some(body), Json::Object(more)) = (body.as_object_mut(), more) {
            body.extend(more);
        }
        self.gate.observe("gateway", cause, body)
    }

    /// Puts a request to the gate, and sends it on or answers it.
    fn rule(self: &Arc<Self>, side: Side, id: Id, actions: Vec<Action>, cause: Vec<u64>, line: Vec<u8>) {
        let line: Arc<[u8]> = line.into();
        let (this, of) = (Arc::clone(self), Arc::clone(&line));
        // INVARIANT: an answer is for the call that goes on: of the very bytes.
        let exact = Exact::when_asked(move || {
            this.exact(&raw::exact(&of).map_or_else(|| digest(&of), |exact| digest(exact.as_bytes())))
        });
        let asking = Asking { actions, cause, exact, wait: Duration::ZERO, can_change: false };
        match self.gate.ask(asking.clone()) {
            Answered::Allowed { attempts } => self.go_on(side, &id, attempts, &line),
            Answered::Denied { text, .. } => self.refuse(side, &id, &text),
            Answered::Changed { .. } => self.refuse(side, &id, NOT_CHANGED),
            Answered::Waiting { text, .. } => self.hold(side, id, asking, line, &text),
        }
    }

    /// What stands for a call: also of which server, since another one may do something else with the same words.
    fn exact(&self, of: &str) -> String {
        digest(format!("{}\0{of}", self.around.server).as_bytes())
    }

    /// Waits for people beside all else that goes on.
    fn hold(self: &Arc<Self>, side: Side, id: Id, asking: Asking, line: Arc<[u8]>, text: &str) {
        let mut state = self.lock();
        let is_full = state.held >= HELD_MAX;
        state.held += usize::from(!is_full);
        drop(state);
        if is_full {
            return self.refuse(side, &id, text);
        }
        let this = Arc::clone(self);
        let held = (id.clone(), text.to_owned());
        let begun = std::thread::Builder::new().name("held".into()).spawn(move || {
            this.wait(side, id, asking, line);
            let mut state = this.lock();
            state.held = state.held.saturating_sub(1);
        });
        if begun.is_err() {
            let mut state = self.lock();
            state.held = state.held.saturating_sub(1);
            drop(state);
            self.refuse(side, &held.0, &held.1);
        }
    }

    fn wait(self: &Arc<Self>, side: Side, id: Id, mut asking: Asking, line: Arc<[u8]>) {
        let may_ask_again = side == Side::Client && self.lock().calls.get(&id).is_some_and(|call| call.is_modern);
        let wait = if may_ask_again { RETRY_AFTER.min(self.around.wait) } else { self.around.wait };
        let until = Instant::now() + wait;
        loop {
            let call = |state: &State| match side {
                Side::Client => state.calls.get(&id).map(|call| call.is_cancelled),
                Side::Server => state.asked.get(&id).map(|call| call.is_cancelled),
            };
            let is_wanted = call(&self.lock()) == Some(false);
            if !is_wanted {
                // Nobody waits for it any more; an answer is kept for the same attempt made again.
                self.take(side, &id);
                return;
            }
            let left = until.saturating_duration_since(Instant::now());
            asking.wait = left.min(HELD_LOOK);
            match self.gate.ask(asking.clone()) {
                Answered::Allowed { attempts } => return self.go_on(side, &id, attempts, &line),
                Answered::Denied { text, .. } => return self.refuse(side, &id, &text),
                Answered::Changed { .. } => return self.refuse(side, &id, NOT_CHANGED),
                Answered::Waiting { text, .. } if left.is_zero() && !may_ask_again => {
                    return self.refuse(side, &id, &text);
                }
                Answered::Waiting { attempt, .. } if left.is_zero() => return self.ask_again(&id, attempt, &line),
                Answered::Waiting { .. } => {}
            }
        }
    }

    /// Tells a client to make the same request again.
    fn ask_again(&self, id: &Id, attempt: u64, line: &[u8]) {
        let mut kept = Retry::default();
        let _ = raw::with_object(line, "params", |params| {
            kept = Retry { state: params.remove("requestState"), responses: params.remove("inputResponses") };
        });
        let name = format!("flyball:{attempt}");
        let mut state = self.lock();
        if state.retries.len() >= RETRIES_MAX {
            state.retries.pop_first();
        }
        state.retries.insert(name.clone(), kept);
        state.calls.remove(id);
        drop(state);
        self.client(&say::ask_again(id, &name));
    }

    /// INVARIANT: the only place from which a request reaches a server.
    fn go_on(&self, side: Side, id: &Id, attempts: Vec<u64>, line: &[u8]) {
        let mut state = self.lock();
        let calls = if side == Side::Client { &mut state.calls } else { &mut state.asked };
        let Some(call) = calls.get_mut(id).filter(|call| !call.is_cancelled) else {
            // Taken back, or the server is gone: it was allowed, and is not carried out.
            calls.remove(id);
            drop(state);
            self.gate.outcome(&attempts, Some(false), &BTreeMap::new());
            return;
        };
        call.attempts = attempts;
        drop(state);
        let sent = match side {
            Side::Client => self.peers.to_server(line),
            Side::Server => self.peers.to_client(line),
        };
        if sent.is_err()
            && let Some(call) = self.take(side, id)
        {
            self.unknown(&call);
            if side == Side::Client {
                self.client(&say::error(Some(id), say::INTERNAL, "flyball: the server does not hear any more"));
            }
        }
    }

    fn refuse(&self, side: Side, id: &Id, text: &str) {
        let Some(call) = self.take(side, id) else { return };
        match side {
            Side::Client => self.client(&say::refusal(id, &call.method, call.is_modern, text)),
            Side::Server => drop(self.peers.to_server(&say::error(Some(id), say::DENIED, text))),
        }
    }

    fn take(&self, side: Side, id: &Id) -> Option<Call> {
        let mut state = self.lock();
        if side == Side::Client { state.calls.remove(id) } else { state.asked.remove(id) }
    }
}

fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

/// As much of a text as an entry carries.
fn clip(text: &str) -> String {
    text.chars().take(256).collect()
}

/// Names once each.
fn unique(names: impl Iterator<Item = String>) -> Vec<String> {
    names.collect::<BTreeSet<_>>().into_iter().collect()
}
