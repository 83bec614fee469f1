//! Several servers behind one gateway: to the client they are one, whose tools and prompts are called `SERVER__NAME`.
//!
//! Each server has a [`Proxy`] of its own, and whatever a client asks goes through that of the server that is meant: here nothing is
//! decided, only who is meant, and what several answer is put together. INVARIANT: nothing is meant by two servers: a name says
//! whose it is, an address belongs to the server that listed it first, and what could be anybody's is refused.

mod merge;
#[cfg(test)]
mod tests;

use super::message::{Frame, Id, Kind, Message, read_frame, read_messages};
use super::stdio::{Pipes, Started, Stop};
use super::{CALLS_MAX, Peers, Proxy, clip, raw, say};
use serde_json::{Value as Json, json};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

/// Addresses and tasks whose server is remembered, at most.
const REMEMBERED_MAX: usize = 65_536;
/// Requests that all servers are asked at once, at most: each keeps its answers until the last is there.
const ALL_MAX: usize = 16;
/// What stands between a server's name and its tool's.
const BETWEEN: &str = "__";

/// Where lines for the client go.
pub type ToClient = Box<dyn Fn(&[u8]) -> std::io::Result<()> + Send + Sync>;

/// Servers, and who asks them.
pub struct Many {
    servers: Vec<Server>,
    client: ToClient,
    state: Mutex<State>,
}

struct Server {
    name: String,
    proxy: OnceLock<Arc<Proxy>>,
}

#[derive(Default)]
struct State {
    waiting: BTreeMap<Id, Waiting>,
    /// What servers have asked the client: by the id that the client knows it by, whose it is and what it calls it.
    asked: BTreeMap<Id, (usize, Id)>,
    asks: u64,
    /// Whose an address is, and a task.
    addresses: BTreeMap<String, usize>,
    tasks: BTreeMap<String, usize>,
    /// Servers that have said that they have resources.
    with_resources: BTreeSet<usize>,
}

/// A request of the client's.
enum Waiting {
    /// That server has it.
    One(usize),
    /// Several have: the answers that are there.
    All { method: String, left: BTreeSet<usize>, answers: BTreeMap<usize, Vec<u8>> },
}

/// The ends of one server.
pub struct Port {
    many: Weak<Many>,
    at: usize,
    pipes: Arc<Pipes>,
}

impl Peers for Port {
    fn to_server(&self, line: &[u8]) -> std::io::Result<()> {
        self.pipes.to_server(line)
    }

    fn to_client(&self, line: &[u8]) -> std::io::Result<()> {
        let many = self.many.upgrade().ok_or(std::io::ErrorKind::BrokenPipe)?;
        many.said(self.at, line);
        Ok(())
    }
}

/// Whether a server can be called that: clients take few signs in a tool's name, and it has to be told from what follows.
#[must_use]
pub fn is_name(name: &str) -> bool {
    let is_sign = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    (1..=32).contains(&name.len()) && name.bytes().all(is_sign) && !name.contains(BETWEEN) && !name.ends_with('_')
}

impl Many {
    /// Servers of these names, in this order, that have said nothing yet.
    #[must_use]
    pub fn new(names: &[String], client: Box<dyn Write + Send>) -> Arc<Self> {
        let client = Mutex::new(client);
        let write = move |line: &[u8]| {
            let mut client = client.lock().unwrap_or_else(PoisonError::into_inner);
            client.write_all(&[line, b"\n"].concat()).and_then(|()| client.flush())
        };
        Self::telling(names, Box::new(write))
    }

    /// The same for a client that is told lines otherwise.
    #[must_use]
    pub fn telling(names: &[String], client: ToClient) -> Arc<Self> {
        let servers = names.iter().map(|name| Server { name: name.clone(), proxy: OnceLock::new() }).collect();
        Arc::new(Self { servers, client, state: Mutex::default() })
    }

    /// Where the proxy of the server at that place sends lines.
    #[must_use]
    pub fn port(self: &Arc<Self>, at: usize, pipes: Arc<Pipes>) -> Arc<Port> {
        Arc::new(Port { many: Arc::downgrade(self), at, pipes })
    }

    /// Gives the server at that place its proxy.
    pub fn stand(&self, at: usize, proxy: Arc<Proxy>) {
        if let Some(server) = self.servers.get(at) {
            let _ = server.proxy.set(proxy);
        }
    }

    /// A line of the client.
    pub fn from_client(&self, frame: &Frame) {
        let line = match frame {
            Frame::Line(line) if line.iter().all(u8::is_ascii_whitespace) => return,
            Frame::Line(line) => line,
            Frame::Long => return self.refuse(None, say::REQUEST, "the message is over 16 MiB"),
            Frame::End => return,
        };
        match read_messages(line) {
            Ok(messages) => messages.iter().for_each(|(message, line)| self.hear(message, line)),
            Err(error) => {
                if let Some(proxy) = self.servers.first().and_then(|server| server.proxy.get()) {
                    proxy.unreadable("client", &error.to_string());
                }
                self.refuse(None, error.code(), &error.to_string());
            }
        }
    }

    fn hear(&self, message: &Message, line: &[u8]) {
        match &message.kind {
            Kind::Request { id, method } => self.requested(id, method, message, line),
            Kind::Notification { method } if method == "notifications/cancelled" => self.cancelled(message, line),
            Kind::Notification { .. } => (0..self.servers.len()).for_each(|at| self.give(at, line)),
            Kind::Answer { id, .. } => {
                let asked = id.as_ref().and_then(|id| self.lock().asked.remove(id));
                match asked.and_then(|(at, own)| Some((at, raw::with_member(line, "id", &own.json().to_string())?))) {
                    Some((at, line)) => self.give(at, &line),
                    // The first one tells that nobody asked.
                    None => self.give(0, line),
                }
            }
        }
    }

    fn requested(&self, id: &Id, method: &str, message: &Message, line: &[u8]) {
        let state = self.lock();
        let (is_taken, is_full) = (state.waiting.contains_key(id), state.waiting.len() >= CALLS_MAX);
        drop(state);
        if is_taken {
            return self.refuse(None, say::REQUEST, "a request with this id waits for its answer");
        }
        if is_full {
            return self.refuse(Some(id), say::INTERNAL, "too many requests wait for their answers");
        }
        let text = |name: &str| message.params().get(name).and_then(Json::as_str).unwrap_or_default();
        match method {
            "ping" => self.tell(&say::result(id, &json!({}))),
            "initialize" | "server/discover" | "logging/setLevel" => self.ask_all(id, method, line, None),
            "tools/list" | "prompts/list" | "resources/list" | "resources/templates/list" => {
                let cursors = message.params().get("cursor").and_then(Json::as_str);
                match cursors.map(|text| merge::cursors(text, &self.names())) {
                    None => self.ask_all(id, method, line, None),
                    Some(Some(cursors)) => self.ask_all(id, method, line, Some(cursors)),
                    Some(None) => self.refuse(Some(id), say::PARAMS, "no listing has given that cursor"),
                }
            }
            "tools/call" | "prompts/get" => self.ask_by_name(id, &["params"], text("name"), line),
            "resources/read" | "resources/subscribe" | "resources/unsubscribe" => {
                self.ask_one(id, self.of_address(text("uri")), line);
            }
            "completion/complete" => {
                let of = message.params().get("ref").unwrap_or(&Json::Null);
                match of.get("name").and_then(Json::as_str) {
                    Some(name) => self.ask_by_name(id, &["params", "ref"], name, line),
                    None => {
                        let address = of.get("uri").and_then(Json::as_str).unwrap_or_default();
                        self.ask_one(id, self.of_address(address), line);
                    }
                }
            }
            "tasks/get" | "tasks/result" | "tasks/cancel" => {
                let of = self.lock().tasks.get(text("taskId")).copied();
                self.ask_one(id, of, line);
            }
            _ => self.refuse(Some(id), UNKNOWN_METHOD, "no one of several servers is meant by that method"),
        }
    }

    /// Asks the server whose name comes first in that one.
    fn ask_by_name(&self, id: &Id, within: &[&str], name: &str, line: &[u8]) {
        let found = name.split_once(BETWEEN).and_then(|(server, own)| Some((self.at(server)?, own)));
        let Some((at, own)) = found else {
            let text = format!("`{}` is no name of a server's, as in `SERVER__NAME`", clip(name));
            return self.refuse(Some(id), say::PARAMS, &text);
        };
        match raw::with_name(line, within, own) {
            Some(line) => self.ask_one(id, Some(at), &line),
            None => self.refuse(Some(id), say::PARAMS, "its name can't be told"),
        }
    }

    fn ask_one(&self, id: &Id, at: Option<usize>, line: &[u8]) {
        let Some(at) = at else {
            return self.refuse(Some(id), say::PARAMS, "it can't be told whose that is: no server has listed it");
        };
        self.lock().waiting.insert(id.clone(), Waiting::One(at));
        self.give(at, line);
    }

    /// Asks all, or those that have more to list.
    fn ask_all(&self, id: &Id, method: &str, line: &[u8], cursors: Option<BTreeMap<usize, String>>) {
        let mut lines: Vec<(usize, Vec<u8>)> = Vec::new();
        for at in 0..self.servers.len() {
            match &cursors {
                None => lines.push((at, line.to_vec())),
                Some(cursors) => {
                    let Some(cursor) = cursors.get(&at) else { continue };
                    let of = raw::with_object(line, "params", |params| {
                        params.remove("cursor");
                        params.0.push(("cursor".to_owned(), Json::from(cursor.as_str()).to_string()));
                    });
                    lines.extend(of.map(|line| (at, line)));
                }
            }
        }
        let left: BTreeSet<usize> = lines.iter().map(|(at, _)| *at).collect();
        let all = Waiting::All { method: method.to_owned(), left, answers: BTreeMap::new() };
        let mut state = self.lock();
        if state.waiting.values().filter(|it| matches!(it, Waiting::All { .. })).count() >= ALL_MAX {
            drop(state);
            return self.refuse(Some(id), say::INTERNAL, "too many listings wait for their answers");
        }
        state.waiting.insert(id.clone(), all);
        drop(state);
        lines.iter().for_each(|(at, line)| self.give(*at, line));
    }

    fn cancelled(&self, message: &Message, line: &[u8]) {
        let of = message.params().get("requestId").and_then(Id::new);
        let waiting = of.and_then(|id| self.lock().waiting.remove(&id));
        match waiting {
            Some(Waiting::One(at)) => self.give(at, line),
            Some(Waiting::All { left, .. }) => left.into_iter().for_each(|at| self.give(at, line)),
            None => {}
        }
    }

    /// A line of that server's, as its proxy lets it through.
    fn said(&self, at: usize, line: &[u8]) {
        let Ok(messages) = read_messages(line) else { return };
        for (message, line) in messages {
            match &message.kind {
                Kind::Answer { id: Some(id), .. } => self.answered(at, id, &message, &line),
                Kind::Answer { id: None, .. } => self.tell(&line),
                Kind::Request { id, .. } => self.asked(at, id, &line),
                Kind::Notification { method } => self.notified(at, method, &message, &line),
            }
        }
    }

    fn answered(&self, at: usize, id: &Id, message: &Message, line: &[u8]) {
        let mut state = self.lock();
        let is_whole = match state.waiting.get_mut(id) {
            Some(Waiting::One(of)) if *of == at => true,
            Some(Waiting::All { left, answers, .. }) if left.contains(&at) => {
                left.remove(&at);
                answers.insert(at, line.to_vec());
                left.is_empty()
            }
            _ => return,
        };
        if !is_whole {
            return;
        }
        let waiting = state.waiting.remove(id);
        if let Some(task) = message.body.get("result").and_then(|r| r.pointer("/task/taskId")).and_then(Json::as_str)
            && state.tasks.len() < REMEMBERED_MAX
        {
            state.tasks.entry(task.to_owned()).or_insert(at);
        }
        let said = match waiting {
            Some(Waiting::All { method, answers, .. }) => {
                merge::answers(id, &method, &answers, &self.names(), &mut state)
            }
            _ => line.to_vec(),
        };
        drop(state);
        self.tell(&said);
    }

    /// A question of a server's: two of them may have the same id for theirs.
    fn asked(&self, at: usize, id: &Id, line: &[u8]) {
        let mut state = self.lock();
        state.asks += 1;
        let own = json!(format!("flyball/{}", state.asks));
        let known = Id::new(&own).filter(|_| state.asked.len() < CALLS_MAX);
        if let Some(known) = &known {
            state.asked.insert(known.clone(), (at, id.clone()));
        }
        drop(state);
        let told = known.as_ref().and_then(|_| raw::with_member(line, "id", &own.to_string()));
        let refusal = match told.map(|line| (self.client)(&line)) {
            Some(Ok(())) => return,
            Some(Err(_)) => "flyball: the client does not listen",
            None => "flyball: too many questions wait",
        };
        if let Some(known) = &known {
            self.lock().asked.remove(known);
        }
        self.give(at, &say::error(Some(id), say::INTERNAL, refusal));
    }

    fn notified(&self, at: usize, method: &str, message: &Message, line: &[u8]) {
        if method != "notifications/cancelled" {
            return self.tell(line);
        }
        let of = message.params().get("requestId").and_then(Id::new);
        let mut state = self.lock();
        let known = state.asked.iter().find(|(_, (by, own))| *by == at && Some(own) == of.as_ref());
        let known = known.map(|(known, _)| known.clone());
        if let Some(known) = &known {
            state.asked.remove(known);
        }
        drop(state);
        let line = known.and_then(|known| {
            raw::with_object(line, "params", |params| {
                params.remove("requestId");
                params.0.push(("requestId".to_owned(), known.json().to_string()));
            })
        });
        if let Some(line) = line {
            self.tell(&line);
        }
    }

    fn names(&self) -> Vec<&str> {
        self.servers.iter().map(|server| server.name.as_str()).collect()
    }

    fn at(&self, name: &str) -> Option<usize> {
        self.servers.iter().position(|server| server.name == name)
    }

    /// Whose an address is: of the server that listed it, or of the only one that has any.
    fn of_address(&self, address: &str) -> Option<usize> {
        let state = self.lock();
        let only = state.with_resources.iter().next().copied().filter(|_| state.with_resources.len() == 1);
        state.addresses.get(address).copied().or(only)
    }

    fn give(&self, at: usize, line: &[u8]) {
        if let Some(proxy) = self.servers.get(at).and_then(|server| server.proxy.get()) {
            proxy.from_client(&Frame::Line(line.to_vec()));
        }
    }

    /// A client that is gone has no use for it.
    fn tell(&self, line: &[u8]) {
        let _ = (self.client)(line);
    }

    fn refuse(&self, id: Option<&Id>, code: i64, text: &str) {
        self.tell(&say::error(id, code, &format!("flyball: refused, {text}")));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// JSON-RPC's own code for a method that there is not.
const UNKNOWN_METHOD: i64 = -32601;

/// Ends when nobody holds the other side any more.
struct UntilDropped(Receiver<()>);

impl Read for UntilDropped {
    fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
        let _ = self.0.recv();
        Ok(0)
    }
}

/// Whoever of a session has ended.
enum Ended {
    Client,
    Server,
}

/// Carries lines until the client or every server has ended; each server has its proxy by then. `ready` is handed what ends it from
/// outside.
///
/// # Errors
/// When the threads can't be started.
pub fn serve(
    many: &Arc<Many>,
    started: Vec<Started>,
    mut client: impl BufRead + Send + 'static,
    ready: impl FnOnce(Stop),
) -> std::io::Result<()> {
    let (tell, ended) = channel();
    let (to, by) = (Arc::clone(many), tell.clone());
    ready(Stop::by(&tell, || Ended::Client));
    std::thread::Builder::new().name("client".into()).spawn(move || {
        while let Ok(frame) = read_frame(&mut client) {
            if frame == Frame::End {
                break;
            }
            to.from_client(&frame);
        }
        let _ = by.send(Ended::Client);
    })?;
    hear(many, started, &tell, &ended)
}

/// The same for a client whose lines others hand over.
///
/// # Errors
/// When the threads can't be started.
pub fn serve_until_stopped(many: &Arc<Many>, started: Vec<Started>, ready: impl FnOnce(Stop)) -> std::io::Result<()> {
    let (tell, ended) = channel();
    ready(Stop::by(&tell, || Ended::Client));
    hear(many, started, &tell, &ended)
}

fn hear(many: &Arc<Many>, started: Vec<Started>, tell: &Sender<Ended>, ended: &Receiver<Ended>) -> std::io::Result<()> {
    let (mut alive, mut threads) = (Vec::new(), Vec::new());
    let mut left = started.len();
    for (server, started) in many.servers.iter().zip(started) {
        let Some(proxy) = server.proxy.get().map(Arc::clone) else { continue };
        let (hold, until) = channel();
        alive.push(hold);
        let by = tell.clone();
        threads.push(std::thread::Builder::new().name("server".into()).spawn(move || {
            let _ = started.serve(&proxy, BufReader::new(UntilDropped(until)), |_| ());
            let _ = by.send(Ended::Server);
        })?);
    }
    while let Ok(Ended::Server) = ended.recv() {
        left = left.saturating_sub(1);
        if left == 0 {
            break;
        }
    }
    drop(alive);
    threads.into_iter().for_each(|thread| drop(thread.join()));
    Ok(())
}
