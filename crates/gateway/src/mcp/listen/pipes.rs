//! Servers over pipes behind the listener: each session of a client has processes of its own, one of each server.
//!
//! INVARIANT: nothing of a body reaches a server but by [`Peers::to_server`] of its session, which only a proxy calls.
//! The proxy is only called on threads that may wait, and no lock of this module is held while it is.

use super::unread::{Way, way};
use super::ways::{self, Item};
use super::{Out, Posted, SESSION, answer, json, posted, session_name, whole};
use crate::gate::Gate;
use crate::mcp::many::{self, Many};
use crate::mcp::message::{Frame, Id, Kind, Message};
use crate::mcp::stdio::{self, Pipes, Started};
use crate::mcp::{Around, Peers, Pins, Proxy, say};
use hyper::body::Incoming;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use ring::rand::{SecureRandom, SystemRandom};
use serde::Deserialize;
use serde_json::Value as Json;
use std::collections::BTreeMap;
use std::io;
use std::process::Command;
use std::sync::mpsc::channel;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

/// Processes at a time, at most.
pub const PROCESSES_MAX: usize = 32;
/// Messages of a session that are being ruled on at once, at most; others wait. Each keeps a thread.
const TURNS_MAX: usize = 8;
/// What a server has said by itself while nobody listened: so many messages, and bytes of them.
const KEPT_MAX: usize = 64;
const KEPT_BYTES_MAX: usize = 4 * 1024 * 1024;
/// How long a session that makes room for another may take to end, and all when the gateway ends.
const END_WAIT_MAX: Duration = Duration::from_secs(20);
/// How often it is looked for sessions that nobody uses, at least.
const LOOK_MAX: Duration = Duration::from_secs(30);
const REVISION: HeaderName = HeaderName::from_static("mcp-protocol-version");
const REVISIONS: &[&str] = &["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"];

/// How a server is started.
pub struct Launch {
    /// Its command.
    pub command: Box<dyn Fn() -> Command + Send + Sync>,
    /// What is known of it.
    pub around: Box<dyn Fn() -> Around + Send + Sync>,
}

/// What a client finds at a path.
pub enum Launches {
    /// A server, as it is.
    One(Launch),
    /// Several, which are one to the client; no more than [`PROCESSES_MAX`].
    Many(Vec<Launch>),
}

impl Launches {
    fn all(&self) -> &[Launch] {
        match self {
            Self::One(one) => std::slice::from_ref(one),
            Self::Many(all) => all,
        }
    }
}

/// Servers' commands, and their processes.
pub struct Piped {
    path: String,
    launches: Launches,
    gate: Arc<dyn Gate>,
    pins: Arc<dyn Pins>,
    idle_max: Duration,
    state: Mutex<State>,
    /// A process has ended.
    ended: Condvar,
}

#[derive(Default)]
struct State {
    sessions: BTreeMap<String, Arc<Session>>,
    /// Processes, also those of sessions that have ended.
    running: usize,
    is_over: bool,
}

struct Session {
    to: To,
    ends: Arc<Ends>,
}

/// Who hears a client's messages.
enum To {
    One(Arc<Proxy>),
    Many(Arc<Many>),
}

impl To {
    fn hear(&self, frame: &Frame) {
        match self {
            Self::One(proxy) => proxy.from_client(frame),
            Self::Many(many) => many.from_client(frame),
        }
    }
}

/// Counts a session's processes for as long as its thread has to do with them.
struct Counted(Arc<Piped>);

impl Drop for Counted {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.running = state.running.saturating_sub(self.0.launches.all().len());
        drop(state);
        self.0.ended.notify_all();
    }
}

impl Piped {
    /// Clients find it at that path. A session is ended when nobody has used it for `idle_max`.
    #[must_use]
    pub fn new(
        path: String,
        launches: Launches,
        gate: Arc<dyn Gate>,
        pins: Arc<dyn Pins>,
        idle_max: Duration,
    ) -> Arc<Self> {
        let (state, ended) = (Mutex::default(), Condvar::new());
        Arc::new(Self { path, launches, gate, pins, idle_max, state, ended })
    }

    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// Ends all sessions, begins no more, and waits until the processes are gone.
    pub fn end(&self) {
        let mut state = self.lock();
        state.is_over = true;
        for session in std::mem::take(&mut state.sessions).into_values() {
            session.ends.stop();
        }
        let _ = self.ended.wait_timeout_while(state, END_WAIT_MAX, |state| state.running > 0);
    }

    /// Ends sessions that nobody uses, for as long as it is polled.
    pub(super) async fn watch(self: Arc<Self>) {
        loop {
            tokio::time::sleep((self.idle_max / 4).min(LOOK_MAX)).await;
            let mut state = self.lock();
            let idle = |session: &Session| session.ends.unused().is_some_and(|unused| unused >= self.idle_max);
            let idle: Vec<String> =
                state.sessions.iter().filter(|(_, session)| idle(session)).map(|(name, _)| name.clone()).collect();
            for session in idle.iter().filter_map(|name| state.sessions.remove(name)) {
                session.ends.stop();
            }
        }
    }

    pub(super) async fn one(self: Arc<Self>, request: Request<Incoming>) -> Response<Out> {
        let name = session_name(request.headers());
        match *request.method() {
            Method::POST => self.post(request).await,
            Method::GET => match self.session(name.as_deref()) {
                Ok(session) => {
                    let (to, from) = way();
                    session.ends.listen(to);
                    answer(from, true, false).await
                }
                Err(refused) => refused.response(None),
            },
            Method::DELETE => match self.session(name.as_deref()) {
                Ok(session) => {
                    self.lock().sessions.remove(&session.ends.name);
                    session.ends.stop();
                    whole(StatusCode::OK, HeaderMap::new(), Vec::new())
                }
                Err(refused) => refused.response(None),
            },
            _ => super::said(StatusCode::METHOD_NOT_ALLOWED, "flyball: POST, GET or DELETE"),
        }
    }

    async fn post(self: Arc<Self>, request: Request<Incoming>) -> Response<Out> {
        let Posted { headers, body, messages } = match posted(request).await {
            Ok(posted) => posted,
            Err(refused) => {
                if let Some(detail) = refused.detail {
                    let seen = serde_json::json!({ "mcp": "unreadable", "from": "client", "detail": detail });
                    let _ = tokio::task::spawn_blocking(move || self.gate.observe("gateway", &[], seen)).await;
                }
                return refused.response;
            }
        };
        let id = match messages.as_slice() {
            [(Message { kind: Kind::Request { id, .. }, .. }, _)] => Some(id.clone()),
            _ => None,
        };
        if let Some(refused) = is_of_other_revision(&headers, &messages) {
            return refused.response(id.as_ref());
        }
        let name = session_name(&headers);
        let begins = matches!(messages.as_slice(),
            [(Message { kind: Kind::Request { method, .. }, .. }, _)] if method == "initialize");
        let session = match (begins, &name) {
            (true, None) => {
                let (this, handle) = (Arc::clone(&self), Handle::current());
                let begun = tokio::task::spawn_blocking(move || this.begin(handle)).await;
                begun.unwrap_or(Err(Refused(StatusCode::BAD_GATEWAY, "flyball: no session can be begun".to_owned())))
            }
            (true, Some(_)) => {
                let text = "flyball: refused, `initialize` begins a session: send it without `Mcp-Session-Id`";
                Err(Refused(StatusCode::BAD_REQUEST, text.to_owned()))
            }
            (false, name) => self.session(name.as_deref()),
        };
        let session = match session {
            Ok(session) => session,
            Err(refused) => return refused.response(id.as_ref()),
        };
        let (to, from) = way();
        session.ends.expect(&messages, begins, &to);
        let is_told = !messages.iter().any(|(message, _)| matches!(message.kind, Kind::Request { .. }));
        let taken_back: Vec<Id> = messages.iter().filter_map(|(message, _)| taken_back(message)).collect();
        let Ok(turn) = Arc::clone(&session.ends.turns).acquire_owned().await else {
            return Refused::gone().response(id.as_ref());
        };
        drop(tokio::task::spawn_blocking(move || {
            ways::on_behalf(to, headers, is_told, || session.to.hear(&Frame::Line(body)));
            // No answer will come to them.
            taken_back.iter().for_each(|id| session.ends.close(id));
            drop(turn);
        }));
        answer(from, messages.len() > 1, is_told).await
    }

    fn session(&self, name: Option<&str>) -> Result<Arc<Session>, Refused> {
        let Some(name) = name else {
            let text = "flyball: refused, there is no `Mcp-Session-Id`: begin a session with `initialize`";
            return Err(Refused(StatusCode::BAD_REQUEST, text.to_owned()));
        };
        self.lock().sessions.get(name).map(Arc::clone).ok_or_else(Refused::gone)
    }

    /// Starts a session's processes; sessions that nobody uses make room for them.
    fn begin(self: &Arc<Self>, handle: Handle) -> Result<Arc<Session>, Refused> {
        let count = self.launches.all().len();
        let is_full = |state: &mut State| state.running.saturating_add(count) > PROCESSES_MAX;
        let mut state = self.lock();
        if is_full(&mut state) {
            let unused = state.sessions.values().filter_map(|session| Some((session.ends.unused()?, session)));
            if let Some((_, oldest)) = unused.max_by_key(|(unused, _)| *unused) {
                oldest.ends.stop();
                let name = oldest.ends.name.clone();
                state.sessions.remove(&name);
                let waited = self.ended.wait_timeout_while(state, END_WAIT_MAX, |state| is_full(state));
                state = waited.unwrap_or_else(PoisonError::into_inner).0;
            }
        }
        if is_full(&mut state) || state.is_over {
            let text = format!(
                "flyball: refused, sessions in use have {} processes, and {PROCESSES_MAX} are the most: end one, or come again later",
                state.running
            );
            return Err(Refused(StatusCode::SERVICE_UNAVAILABLE, text));
        }
        state.running += count;
        drop(state);
        let counted = Counted(Arc::clone(self));
        let failed = |why: &dyn std::fmt::Display| {
            Refused(StatusCode::BAD_GATEWAY, format!("flyball: the server can't be started: {why}"))
        };
        let mut bytes = [0_u8; 16];
        SystemRandom::new().fill(&mut bytes).map_err(|e| failed(&e))?;
        let name: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let (tell, told) = channel();
        // A thread of its own, for as long as the process lives: what ends a process with its parent goes by the thread.
        std::thread::Builder::new()
            .name("session".into())
            .spawn(move || counted.0.serve(name, handle, |begun| drop(tell.send(begun))))
            .map_err(|e| failed(&e))?;
        told.recv().map_err(|e| failed(&e))?.map_err(|e| failed(&e))
    }

    fn serve(self: &Arc<Self>, name: String, handle: Handle, tell: impl Fn(io::Result<Arc<Session>>)) {
        let mut started = Vec::new();
        for launch in self.launches.all() {
            match stdio::start_apart(&mut (launch.command)(), Box::new(io::sink())) {
                Ok(one) => started.push(one),
                Err(error) => {
                    let name = (launch.around)().server;
                    tell(Err(io::Error::new(error.kind(), format!("`{name}`: {error}"))));
                    return started.into_iter().for_each(Started::abandon);
                }
            }
        }
        let ends = Arc::new(Ends::new(name, handle));
        let arounds: Vec<Around> = self.launches.all().iter().map(|launch| (launch.around)()).collect();
        let names: Vec<String> = arounds.iter().map(|around| around.server.clone()).collect();
        let begin = |to: To, stop: Box<dyn Fn() + Send + Sync>| {
            let session = Arc::new(Session { to, ends: Arc::clone(&ends) });
            let _ = ends.stop.set(stop);
            let mut state = self.lock();
            if state.is_over {
                ends.stop();
            }
            state.sessions.insert(ends.name.clone(), Arc::clone(&session));
            drop(state);
            tell(Ok(session));
        };
        let proxy = |around, peers| Proxy::new(around, Arc::clone(&self.gate), Arc::clone(&self.pins), peers);
        let served = match &self.launches {
            Launches::One(_) => started.pop().zip(arounds.into_iter().next()).map(|(started, around)| {
                let peers = Arc::new(Line { ends: Arc::clone(&ends), pipes: started.peers() });
                let proxy = proxy(around, peers);
                let to = To::One(Arc::clone(&proxy));
                started.serve_until_stopped(&proxy, |stop| begin(to, Box::new(move || stop.stop()))).ok()
            }),
            Launches::Many(_) => {
                let client = Arc::clone(&ends);
                let many = Many::telling(&names, Box::new(move |line| client.to_client(line)));
                for (at, (started, around)) in started.iter().zip(arounds).enumerate() {
                    many.stand(at, proxy(around, many.port(at, started.peers())));
                }
                let to = To::Many(Arc::clone(&many));
                let begin = |stop: stdio::Stop| begin(to, Box::new(move || stop.stop()));
                let _ = many::serve_until_stopped(&many, started, begin);
                None
            }
        };
        self.lock().sessions.remove(&ends.name);
        ends.close_all();
        let seen = serde_json::json!({ "mcp": "process ended", "server": names.join(" "), "code": served.flatten() });
        self.gate.observe("gateway", &[], seen);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why there is no session for a request.
struct Refused(StatusCode, String);

impl Refused {
    fn gone() -> Self {
        let text = "flyball: there is no such session, or it has ended: begin one with `initialize`";
        Self(StatusCode::NOT_FOUND, text.to_owned())
    }

    fn response(self, id: Option<&Id>) -> Response<Out> {
        json(self.0, HeaderMap::new(), say::error(id, say::REQUEST, &self.1))
    }
}

/// A process is a session's; a revision without sessions has none to give it to.
fn is_of_other_revision(headers: &HeaderMap, messages: &[(Message, Vec<u8>)]) -> Option<Refused> {
    let said = headers.get(REVISION).map(HeaderValue::as_bytes);
    let is_known = said.is_none_or(|said| REVISIONS.iter().any(|known| known.as_bytes() == said));
    let is_stateless = messages.iter().any(|(message, _)| {
        say::is_modern(message) || matches!(&message.kind, Kind::Request { method, .. } if method == "server/discover")
    });
    (!is_known || is_stateless).then(|| {
        let known = REVISIONS.join(", ");
        let text = format!(
            "flyball: refused, a server over pipes is served here by the revisions with sessions ({known}): begin with `initialize`"
        );
        Refused(StatusCode::BAD_REQUEST, text)
    })
}

/// The request that a client does not wait for any more.
fn taken_back(message: &Message) -> Option<Id> {
    match &message.kind {
        Kind::Notification { method } if method == "notifications/cancelled" => {
            message.params().get("requestId").and_then(Id::new)
        }
        _ => None,
    }
}

/// As much of a message as says where it goes.
#[derive(Deserialize)]
struct Envelope {
    id: Option<Json>,
    method: Option<String>,
}

/// A session's end towards its client: the streams that it reads.
struct Ends {
    name: String,
    stop: OnceLock<Box<dyn Fn() + Send + Sync>>,
    handle: Handle,
    turns: Arc<Semaphore>,
    open: Mutex<Open>,
}

struct Open {
    routes: BTreeMap<Id, Route>,
    /// Where the client listens for what the server says by itself.
    listening: Option<Way>,
    /// What it has said while nobody did.
    kept: Vec<Vec<u8>>,
    used: Instant,
}

/// Where the answer to a request is waited for.
struct Route {
    to: Way,
    /// By which the server tells how far it is.
    token: Option<Json>,
    begins: bool,
}

impl Ends {
    fn new(name: String, handle: Handle) -> Self {
        let open = Open { routes: BTreeMap::new(), listening: None, kept: Vec::new(), used: Instant::now() };
        let turns = Arc::new(Semaphore::new(TURNS_MAX));
        Self { name, stop: OnceLock::new(), handle, turns, open: Mutex::new(open) }
    }

    fn stop(&self) {
        if let Some(stop) = self.stop.get() {
            stop();
        }
    }

    /// How long nobody has used it; nothing where somebody waits or listens.
    fn unused(&self) -> Option<Duration> {
        let open = self.lock();
        let is_used = open.routes.values().map(|route| &route.to).chain(&open.listening).any(|to| !to.is_closed());
        (!is_used).then(|| open.used.elapsed())
    }

    fn expect(&self, messages: &[(Message, Vec<u8>)], begins: bool, to: &Way) {
        let mut open = self.lock();
        open.used = Instant::now();
        for (message, _) in messages {
            let Kind::Request { id, .. } = &message.kind else { continue };
            let token = message.params().pointer("/_meta/progressToken").cloned();
            // One that is in flight keeps its way; the other is refused.
            open.routes.entry(id.clone()).or_insert_with(|| Route { to: to.clone(), token, begins });
        }
    }

    /// A stream takes the place of the one before; what was kept comes first.
    fn listen(self: &Arc<Self>, to: Way) {
        let this = Arc::clone(self);
        self.handle.spawn(async move {
            let _ = to.send(Item::Stream(HeaderMap::new())).await;
            loop {
                let kept = {
                    let mut open = this.lock();
                    open.used = Instant::now();
                    if open.kept.is_empty() {
                        open.listening = Some(to);
                        return;
                    }
                    std::mem::take(&mut open.kept)
                };
                for line in kept {
                    let _ = to.send(Item::Line(line)).await;
                }
            }
        });
    }

    /// No answer will come: the response ends without one.
    fn close(&self, id: &Id) {
        let route = self.lock().routes.remove(id);
        if let Some(route) = route {
            let _ = route.to.send_here(Item::Stream(HeaderMap::new()), &self.handle);
        }
    }

    fn close_all(&self) {
        let mut open = self.lock();
        open.routes.clear();
        open.listening = None;
    }

    fn answered(&self, id: Option<Id>, line: &[u8]) -> io::Result<()> {
        let mut open = self.lock();
        open.used = Instant::now();
        let route = id.and_then(|id| open.routes.remove(&id));
        drop(open);
        let line = Item::Line(line.to_vec());
        let Some(Route { to, begins, .. }) = route else {
            let here = ways::here().ok_or(io::ErrorKind::BrokenPipe)?;
            return here.send_here(line, &self.handle);
        };
        if begins && let Ok(name) = HeaderValue::from_str(&self.name) {
            to.send_here(Item::One(HeaderMap::from_iter([(SESSION, name)])), &self.handle)?;
        }
        to.send_here(line, &self.handle)
    }

    /// What the server says by itself: by the stream of the call that it is about, else by the one that is listened to, else by any
    /// call's that waits.
    fn said(&self, envelope: &Envelope, line: &[u8]) -> io::Result<()> {
        let token = serde_json::from_slice::<Json>(line)
            .ok()
            .filter(|_| envelope.method.as_deref() == Some("notifications/progress"));
        let token = token.and_then(|said| said.pointer("/params/progressToken").cloned());
        let open = self.lock();
        // Nothing comes before the answer to `initialize`.
        let routes = || open.routes.values().filter(|route| !route.begins);
        let of_it = routes().filter(|route| token.is_some() && route.token == token).map(|route| route.to.clone());
        let any = routes().map(|route| route.to.clone());
        let candidates: Vec<Way> = of_it.chain(open.listening.clone()).chain(any).collect();
        drop(open);
        for to in candidates.into_iter().filter(|to| !to.is_closed()) {
            let begun = to.send_here(Item::Stream(HeaderMap::new()), &self.handle);
            if begun.and_then(|()| to.send_here(Item::Line(line.to_vec()), &self.handle)).is_ok() {
                return Ok(());
            }
        }
        let mut open = self.lock();
        let bytes: usize = open.kept.iter().map(Vec::len).sum();
        if open.kept.len() < KEPT_MAX && bytes + line.len() <= KEPT_BYTES_MAX {
            open.kept.push(line.to_vec());
            return Ok(());
        }
        Err(io::ErrorKind::BrokenPipe.into())
    }

    /// # Errors
    /// When nobody hears it.
    fn to_client(&self, line: &[u8]) -> io::Result<()> {
        let envelope: Envelope = serde_json::from_slice(line)?;
        match envelope.method {
            None => self.answered(envelope.id.as_ref().and_then(Id::new), line),
            Some(_) => self.said(&envelope, line),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The two ends of a session with one server.
struct Line {
    ends: Arc<Ends>,
    pipes: Arc<Pipes>,
}

impl Peers for Line {
    fn to_server(&self, line: &[u8]) -> io::Result<()> {
        self.pipes.to_server(line)
    }

    fn to_client(&self, line: &[u8]) -> io::Result<()> {
        let said = self.ends.to_client(line);
        let asks = || serde_json::from_slice::<Envelope>(line).ok().filter(|it| it.method.is_some())?.id;
        if said.is_err()
            && let Some(id) = asks().as_ref().and_then(Id::new)
        {
            let text = "flyball: the client does not listen";
            let _ = self.pipes.to_server(&say::error(Some(&id), say::INTERNAL, text));
        }
        said
    }
}
