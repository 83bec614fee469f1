//! The ways of one session: from its proxy to the server, and back to the streams that its client reads.
//!
//! INVARIANT: the proxy is only called on threads that may wait, and no lock of this module is held while it is.

use super::events::{self, Events};
use super::unread::Way;
use super::{METHOD, NAME, Served, Session};
use crate::mcp::message::{FRAME_BYTES_MAX, Frame, Id};
use crate::mcp::{Peers, Proxy, say};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request, Response, StatusCode, Uri, client};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use serde::Deserialize;
use serde_json::Value as Json;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio_rustls::TlsConnector;

/// Headers that are of one connection, or that this module says itself.
const OWN: &[HeaderName] = &[
    header::CONNECTION,
    header::HOST,
    header::ORIGIN,
    header::CONTENT_LENGTH,
    header::TRANSFER_ENCODING,
    header::TE,
    header::TRAILER,
    header::UPGRADE,
    header::EXPECT,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    // What is compressed can't be read.
    header::ACCEPT_ENCODING,
    // What takes a client to where no gateway is.
    header::LOCATION,
    header::REFRESH,
    header::ALT_SVC,
];

/// How long a server may take to take a connection.
const CONNECT_WAIT_MAX: Duration = Duration::from_secs(10);
/// How long it may take until it begins to answer: a tool may be at work.
const HEAD_WAIT_MAX: Duration = Duration::from_secs(if cfg!(test) { 3 } else { 60 * 60 });
/// How long a body that is no stream may take, of either side.
const BODY_WAIT_MAX: Duration = Duration::from_secs(if cfg!(test) { 3 } else { 120 });
/// How long an answer is still waited for whose client has gone, so that the record has its end.
const GONE_GRACE: Duration = Duration::from_secs(30);

/// Where a server is.
#[derive(Clone, Debug)]
pub struct Upstream {
    host: String,
    port: u16,
    /// As the `Host` header has it.
    authority: String,
    path: String,
    /// How it is verified; `None` is plain HTTP.
    tls: Option<Arc<ClientConfig>>,
}

/// Why an address is not one of a server.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UpstreamError {
    /// It is something else.
    #[error("`{0}` is not `http://HOST[:PORT]/PATH` or `https://HOST[:PORT]/PATH`")]
    Address(String),
    /// Nobody vouches for a server over TLS.
    #[error("`{0}` can't be verified: {1}")]
    Unverified(String, String),
}

impl Upstream {
    /// From `http://HOST[:PORT]/PATH`, or `https://…`: that server is verified by what this machine trusts.
    ///
    /// # Errors
    /// [`UpstreamError`] when it is something else, or this machine trusts nobody.
    pub fn new(url: &str) -> Result<Self, UpstreamError> {
        Self::by(url, || {
            let (config, lacks) = crate::http::trusted()?;
            lacks.map_or(Ok(config), Err)
        })
    }

    /// The same, verified so where it is to be.
    pub(super) fn by(
        url: &str,
        config: impl FnOnce() -> Result<Arc<ClientConfig>, String>,
    ) -> Result<Self, UpstreamError> {
        let told = || url.chars().take(200).collect::<String>();
        let wrong = || UpstreamError::Address(told());
        let uri: Uri = url.parse().map_err(|_| wrong())?;
        let is_tls = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(wrong()),
        };
        let named = uri.authority().filter(|named| !named.as_str().contains('@')).ok_or_else(wrong)?;
        let host = named.host();
        let port = named.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
        let tls = if is_tls {
            let mut config = (*config().map_err(|why| UpstreamError::Unverified(told(), why))?).clone();
            config.alpn_protocols = vec![b"http/1.1".to_vec()];
            Some(Arc::new(config))
        } else {
            None
        };
        let path = uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
        let bare = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        Ok(Self { host: bare, port, authority: format!("{host}:{port}"), path, tls })
    }

    /// The path that clients would ask it for.
    #[must_use]
    pub fn path(&self) -> &str {
        self.path.split('?').next().unwrap_or_default()
    }

    /// Opens a connection to it. INVARIANT: nothing is sent to a server over TLS that was not verified.
    async fn connected(&self) -> io::Result<client::conn::http1::SendRequest<Full<Bytes>>> {
        let other = |error: hyper::Error| io::Error::other(error);
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await?;
        stream.set_nodelay(true)?;
        let Some(tls) = &self.tls else {
            let (sender, connection) = client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(other)?;
            tokio::spawn(connection);
            return Ok(sender);
        };
        let name = ServerName::try_from(self.host.clone()).map_err(io::Error::other)?;
        let stream = TlsConnector::from(Arc::clone(tls)).connect(name, stream).await?;
        let (sender, connection) = client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(other)?;
        tokio::spawn(connection);
        Ok(sender)
    }

    async fn send(&self, method: Method, headers: &HeaderMap, body: Vec<u8>) -> io::Result<Response<Incoming>> {
        let other = |error: hyper::Error| io::Error::other(error);
        let connected = tokio::time::timeout(CONNECT_WAIT_MAX, self.connected()).await;
        let mut sender = connected.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        let mut request = Request::new(Full::new(Bytes::from(body)));
        let is_post = method == Method::POST;
        *request.method_mut() = method;
        *request.uri_mut() = self.path.parse().map_err(io::Error::other)?;
        *request.headers_mut() = passed(headers);
        let host = HeaderValue::from_str(&self.authority).map_err(io::Error::other)?;
        request.headers_mut().insert(header::HOST, host);
        request.headers_mut().remove(header::CONTENT_TYPE);
        request.headers_mut().remove(header::CONTENT_ENCODING);
        if is_post {
            // INVARIANT: the server reads the bytes as they were ruled on.
            request.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        let answered = tokio::time::timeout(HEAD_WAIT_MAX, sender.send_request(request)).await;
        let response = answered.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?.map_err(other)?;
        match unreadable(response.status(), response.headers()) {
            Some(why) => Err(io::Error::other(why)),
            None => Ok(response),
        }
    }
}

/// Why a response is not one that can be ruled on or passed.
fn unreadable(status: StatusCode, headers: &HeaderMap) -> Option<&'static str> {
    if status.is_redirection() {
        return Some("it sends elsewhere, where no gateway is");
    }
    is_odd(headers).then_some("its answer is encoded in a way that is not read")
}

/// Whether a body is other bytes than UTF-8 for whoever goes by the headers.
pub(super) fn is_odd(headers: &HeaderMap) -> bool {
    let encodings = headers.get_all(header::CONTENT_ENCODING).iter();
    let is_encoded = encodings.into_iter().any(|said| !said.as_bytes().trim_ascii().eq_ignore_ascii_case(b"identity"));
    let is_other_text = |said: &HeaderValue| {
        let said = said.to_str().unwrap_or("charset=?").to_ascii_lowercase();
        // Whatever stands around it: readers differ in what they take for a parameter.
        said.match_indices("charset").any(|(at, word)| {
            let value = said.get(at + word.len()..).unwrap_or_default().trim_start_matches(['*', ' ', '\t']);
            let value = value.strip_prefix('=').unwrap_or("?").trim_start_matches([' ', '\t', '"', '\'']);
            let value = value.split([';', '"', '\'', ' ', '\t', ',']).next().unwrap_or_default();
            !["utf-8", "utf8"].contains(&value)
        })
    };
    let types = headers.get_all(header::CONTENT_TYPE);
    is_encoded || types.iter().count() > 1 || types.iter().any(is_other_text)
}

/// What is passed of a message's headers.
fn passed(headers: &HeaderMap) -> HeaderMap {
    let mut out = headers.clone();
    let named = headers.get_all(header::CONNECTION).iter().filter_map(|value| value.to_str().ok());
    for name in named.flat_map(|value| value.split(',')).filter_map(|name| name.trim().parse::<HeaderName>().ok()) {
        out.remove(name);
    }
    OWN.iter().for_each(|name| drop(out.remove(name)));
    out
}

/// A body, unless it is too long, takes too long or was cut off.
pub(super) async fn read(body: Incoming) -> Option<Vec<u8>> {
    let whole = Limited::new(body, FRAME_BYTES_MAX).collect();
    let read = tokio::time::timeout(BODY_WAIT_MAX, whole).await.ok()?.ok()?;
    Some(read.to_bytes().to_vec())
}

/// What a response to the client is made of.
#[derive(Debug)]
pub(super) enum Item {
    /// A response as it is.
    Whole(StatusCode, HeaderMap, Vec<u8>),
    /// The server's stream has begun.
    Stream(HeaderMap),
    /// The server's one answer follows.
    One(HeaderMap),
    /// An event, all of it.
    Event(Vec<u8>),
    /// A message.
    Line(Vec<u8>),
}

impl Item {
    /// Of what it keeps in memory.
    pub fn bytes(&self) -> usize {
        match self {
            Item::Whole(_, _, bytes) | Item::Event(bytes) | Item::Line(bytes) => bytes.len(),
            Item::Stream(_) | Item::One(_) => 0,
        }
    }
}

/// On whose behalf this thread is at work.
struct On {
    to: Option<Way>,
    /// The event that is being read: its bytes, its data, what stands beside that.
    event: Option<events::Event>,
    headers: HeaderMap,
    /// Whether the response is the server's own to what asks for no answer.
    is_told: bool,
}

thread_local! {
    static ON: RefCell<Option<On>> = const { RefCell::new(None) };
}

/// Does it with messages that belong to nobody else going there.
pub(super) fn on_behalf(to: Way, headers: HeaderMap, is_told: bool, what: impl FnOnce()) {
    with(On { to: Some(to), event: None, headers, is_told }, what);
}

fn with(on: On, what: impl FnOnce()) {
    ON.set(Some(on));
    what();
    ON.set(None);
}

fn on_now<T>(read: impl FnOnce(&On) -> T) -> Option<T> {
    ON.with_borrow(|on| on.as_ref().map(read))
}

/// Where messages go that belong to nobody else.
pub(super) fn here() -> Option<Way> {
    on_now(|on| on.to.clone()).flatten()
}

/// As much of a message as says where it goes.
#[derive(Deserialize)]
struct Envelope {
    id: Option<Json>,
    method: Option<String>,
}

struct Route {
    to: Way,
    headers: HeaderMap,
}

pub(super) struct Ways {
    upstream: Upstream,
    served: Weak<Served>,
    proxy: OnceLock<Weak<Proxy>>,
    this: Weak<Ways>,
    handle: Handle,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Where the answer to each of the client's requests is waited for.
    routes: BTreeMap<Id, Route>,
    /// Where the client listens for what the server says by itself.
    listening: Option<Way>,
    /// Of the client's last message.
    headers: HeaderMap,
}

impl Ways {
    pub fn new(upstream: Upstream, served: Weak<Served>) -> Arc<Self> {
        let (proxy, handle, state) = (OnceLock::new(), Handle::current(), Mutex::default());
        Arc::new_cyclic(|this| Self { upstream, served, proxy, this: this.clone(), handle, state })
    }

    pub fn serve(&self, proxy: &Arc<Proxy>) {
        let _ = self.proxy.set(Arc::downgrade(proxy));
    }

    /// Requests whose answers go there.
    pub fn expect(&self, ids: &[Id], headers: &HeaderMap, to: &Way) {
        let mut state = self.lock();
        state.headers.clone_from(headers);
        for id in ids {
            // One that is in flight keeps its way; the other is refused.
            state.routes.entry(id.clone()).or_insert_with(|| Route { to: to.clone(), headers: headers.clone() });
        }
    }

    /// The stream of what the server says by itself.
    pub fn listen(self: &Arc<Self>, headers: HeaderMap, to: Way) {
        let (this, alive) = (Arc::clone(self), self.proxy());
        self.handle.spawn(async move {
            let _alive = alive;
            let response = match this.upstream.send(Method::GET, &headers, Vec::new()).await {
                Ok(response) => response,
                Err(error) => return this.failed(&to, &error).await,
            };
            if !is(&response, b"text/event-stream") {
                return this.pass(response, &to).await;
            }
            this.lock().listening = Some(to.clone());
            let _ = to.send(Item::Stream(passed(response.headers()))).await;
            tokio::select! {
                () = to.closed() => {}
                _ = this.pump(response.into_body(), Some(to.clone())) => {}
            }
        });
    }

    pub fn end(self: &Arc<Self>, headers: HeaderMap, to: Way) {
        let this = Arc::clone(self);
        self.handle.spawn(async move {
            match this.upstream.send(Method::DELETE, &headers, Vec::new()).await {
                Ok(response) => this.pass(response, &to).await,
                Err(error) => this.failed(&to, &error).await,
            }
        });
    }

    async fn post(self: Arc<Self>, line: Vec<u8>, id: Option<Id>, headers: HeaderMap, to: Option<Way>) {
        let sent = self.upstream.send(Method::POST, &headers, line).await;
        let response = match (sent, &to) {
            (Ok(response), _) => response,
            (Err(error), Some(to)) if id.is_none() => return self.failed(to, &error).await,
            (Err(error), _) => {
                let why = format!("flyball: the server did not answer: {error}");
                return self.lost(id, why.as_str()).await;
            }
        };
        self.named(response.headers());
        let is_good = response.status().is_success();
        if id.is_some() && is_good && is(&response, b"text/event-stream") {
            if let Some(to) = &to {
                let _ = to.send(Item::Stream(passed(response.headers()))).await;
            }
            let may_go_on = self.pump(response.into_body(), to).await;
            // Where it said from where to go on, the client asks for the rest of it.
            return match may_go_on {
                true => self.unroute(&id),
                false => self.lost(id, "flyball: the server's stream has ended").await,
            };
        }
        if id.is_some() && is_good && is(&response, b"application/json") {
            let headers = passed(response.headers());
            let Some(body) = read(response.into_body()).await else {
                return self.lost(id, "flyball: the server's answer is over 16 MiB or was cut off").await;
            };
            if let Some(to) = &to {
                let _ = to.send(Item::One(headers)).await;
            }
            self.heard(body, to, None).await;
            return self.lost(id, "flyball: the server's answer is not one to this request").await;
        }
        if id.is_some() && is_good {
            return self.lost(id, "flyball: the server's answer is neither JSON nor a stream of events").await;
        }
        if let Some(to) = &to {
            self.pass(response, to).await;
        }
        // Its client has been told; nobody knows what became of it.
        self.lost(id, None).await;
    }

    /// Reads a stream to its end; says whether it can be gone on with.
    async fn pump(self: &Arc<Self>, mut body: Incoming, to: Option<Way>) -> bool {
        let (mut events, mut may_go_on) = (Events::default(), false);
        while let Some(Ok(frame)) = body.frame().await {
            let Ok(data) = frame.into_data() else { continue };
            let Some(whole) = events.take(&data) else { return false };
            for event in whole {
                if event.is_odd {
                    self.heard(event.bytes, None, None).await;
                    continue;
                }
                may_go_on |= event.has_id;
                match (event.data.is_empty(), &to) {
                    (true, Some(to)) => drop(to.send(Item::Event(event.bytes)).await),
                    (true, None) => {}
                    (false, to) => self.heard(event.data.clone(), to.clone(), Some(event)).await,
                }
            }
        }
        may_go_on
    }

    /// Hands a message of the server to the proxy.
    async fn heard(self: &Arc<Self>, line: Vec<u8>, to: Option<Way>, event: Option<events::Event>) {
        let Some(proxy) = self.proxy() else { return };
        let headers = self.lock().headers.clone();
        let on = On { to, event, headers, is_told: false };
        let hear = move || with(on, || proxy.from_server(&Frame::Line(line)));
        let _ = tokio::task::spawn_blocking(hear).await;
    }

    /// There is no answer to come, if there was none yet.
    async fn lost(self: &Arc<Self>, id: Option<Id>, why: impl Into<Option<&str>>) {
        let (Some(proxy), Some(id)) = (self.proxy(), id) else { return };
        let (of, why) = (id.clone(), why.into().map(str::to_owned));
        let _ = tokio::task::spawn_blocking(move || proxy.lost(&of, why.as_deref())).await;
        self.unroute(&Some(id));
    }

    fn unroute(&self, id: &Option<Id>) {
        if let Some(id) = id {
            self.lock().routes.remove(id);
        }
    }

    async fn failed(&self, to: &Way, error: &io::Error) {
        let line = say::error(None, say::INTERNAL, &format!("flyball: the server did not answer: {error}"));
        let _ = to.send(Item::Whole(StatusCode::BAD_GATEWAY, HeaderMap::new(), line)).await;
    }

    /// Passes a response that has no message to rule on.
    async fn pass(&self, response: Response<Incoming>, to: &Way) {
        let (status, headers) = (response.status(), passed(response.headers()));
        let body = read(response.into_body()).await.unwrap_or_default();
        // A result is one whatever number stands before it.
        let has_result = serde_json::from_slice::<Json>(&body).is_ok_and(|json| json.get("result").is_some());
        let body = if has_result || status.is_success() { Vec::new() } else { body };
        let _ = to.send(Item::Whole(status, headers, body)).await;
    }

    /// The server may name the session.
    fn named(&self, headers: &HeaderMap) {
        let (Some(name), Some(served), Some(proxy)) =
            (super::session_name(headers), self.served.upgrade(), self.proxy())
        else {
            return;
        };
        if let Some(ways) = self.this.upgrade() {
            served.remember(name, &Arc::new(Session { proxy, ways }));
        }
    }

    fn proxy(&self) -> Option<Arc<Proxy>> {
        self.proxy.get()?.upgrade()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn spawn(&self, line: &[u8], id: Option<Id>, headers: HeaderMap, to: Option<Way>) -> io::Result<()> {
        let (this, alive) = self.this.upgrade().zip(self.proxy()).ok_or(io::ErrorKind::BrokenPipe)?;
        let line = line.to_vec();
        self.handle.spawn(async move {
            // INVARIANT: the proxy lives until what it sent was answered.
            let _alive = alive;
            let Some(client) = to.clone() else { return this.post(line, id, headers, to).await };
            let gone = async {
                client.closed().await;
                // One that has come back hears the rest by the stream that it listens to.
                loop {
                    tokio::time::sleep(GONE_GRACE).await;
                    if this.lock().listening.as_ref().is_none_or(Way::is_closed) {
                        break;
                    }
                }
            };
            tokio::select! {
                () = Arc::clone(&this).post(line, id.clone(), headers, to) => {}
                () = gone => this.lost(id, "flyball: the client has gone").await,
            }
        });
        Ok(())
    }
}

impl Peers for Ways {
    fn to_server(&self, line: &[u8]) -> io::Result<()> {
        let envelope: Envelope = serde_json::from_slice(line)?;
        let id = envelope.id.as_ref().and_then(Id::new).filter(|_| envelope.method.is_some());
        let Some(id) = id else {
            let told = on_now(|on| (on.headers.clone(), on.to.clone().filter(|_| on.is_told)));
            let (headers, to) = told.unwrap_or_else(|| (self.lock().headers.clone(), None));
            return self.spawn(line, None, headers, to);
        };
        let state = self.lock();
        let route = state.routes.get(&id).map(|route| (route.headers.clone(), Some(route.to.clone())));
        let (headers, to) = route.unwrap_or_else(|| (of_own(&state.headers, envelope.method.as_deref()), None));
        drop(state);
        self.spawn(line, Some(id), headers, to)
    }

    fn to_client(&self, line: &[u8]) -> io::Result<()> {
        let envelope: Envelope = serde_json::from_slice(line)?;
        let id = envelope.id.as_ref().and_then(Id::new).filter(|_| envelope.method.is_none());
        let mut state = self.lock();
        let route = id.and_then(|id| state.routes.remove(&id)).map(|route| route.to);
        let listening = state.listening.clone();
        drop(state);
        let here = on_now(|on| on.to.clone()).flatten();
        for to in [route, here, listening].into_iter().flatten() {
            if to.send_here(item(line, &to), &self.handle).is_ok() {
                return Ok(());
            }
        }
        Err(io::ErrorKind::BrokenPipe.into())
    }
}

/// What is sent there: on the stream that it came on, the event as it came if nothing of it was changed.
fn item(line: &[u8], to: &Way) -> Item {
    let event = on_now(|on| {
        let event = on.event.as_ref().filter(|_| on.to.as_ref().is_some_and(|here| here.is_same(to)))?;
        let is_same = event.data == line && !events::may_end_lines(line);
        Some(if is_same { event.bytes.clone() } else { events::written(&event.beside, line) })
    });
    event.flatten().map_or_else(|| Item::Line(line.to_vec()), Item::Event)
}

/// The client's headers for a request of the gateway's own.
fn of_own(headers: &HeaderMap, method: Option<&str>) -> HeaderMap {
    let mut out = headers.clone();
    let of_message: Vec<HeaderName> =
        out.keys().filter(|name| name.as_str().starts_with("mcp-param-")).cloned().collect();
    of_message.iter().for_each(|name| drop(out.remove(name)));
    out.remove(NAME);
    out.remove("last-event-id");
    if let (true, Some(method)) = (out.contains_key(METHOD), method.and_then(|m| HeaderValue::from_str(m).ok())) {
        out.insert(METHOD, method);
    }
    out.insert(header::ACCEPT, HeaderValue::from_static("application/json, text/event-stream"));
    out.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    out
}

fn is(response: &Response<Incoming>, kind: &[u8]) -> bool {
    let said = response.headers().get(header::CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    let said = said.split(|byte| *byte == b';').next().unwrap_or_default();
    said.trim_ascii().eq_ignore_ascii_case(kind) && response.status().is_success()
}
