//! Clients over streamable HTTP, and the servers that they mean behind it.
//!
//! Each message of a body goes through a [`Proxy`] of its session; what the proxy lets through is sent on with the client's own
//! headers, and what the server says streams back event by event. INVARIANT: nothing of a body reaches a server but by
//! [`super::Peers::to_server`] of the session's ways, which only the proxy calls.
//!
//! Source: modelcontextprotocol.io, "Streamable HTTP", 2025-03-26 to 2026-07-28.

mod events;
mod pipes;
#[cfg(test)]
mod tests;
mod unread;
mod ways;

use super::message::{Frame, Id, Kind, Message, read_messages};
use super::{Around, Pins, Proxy, say};
use crate::gate::Gate;
use hyper::body::{Body, Bytes, Incoming};
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode, server};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::net::TcpListener;
use unread::{Unread, way};
use ways::{Item, Ways};

pub use pipes::{Launch, Launches, PROCESSES_MAX, Piped};
pub use ways::{Upstream, UpstreamError};

/// The events of a stream that comes in pieces of so many bytes, each whole and its data alone. For fuzzers.
#[doc(hidden)]
#[must_use]
pub fn read_events(stream: &[u8], piece_bytes: usize) -> Option<Vec<(Vec<u8>, Vec<u8>)>> {
    let mut events = events::Events::default();
    let mut out = Vec::new();
    for piece in stream.chunks(piece_bytes.max(1)) {
        out.extend(events.take(piece)?.into_iter().map(|event| (event.bytes, event.data)));
    }
    Some(out)
}

/// Sessions of a server, at most.
const SESSIONS_MAX: usize = 256;
/// Connections at a time, at most.
const CONNECTIONS_MAX: usize = 512;
/// How long a client may take for a request's head.
const HEAD_WAIT_MAX: Duration = Duration::from_secs(if cfg!(test) { 2 } else { 30 });
/// How long connections are not taken when one could not be: others have to end before there is room.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);
/// Failures to take a connection that are recorded.
const FAILURES_TOLD_MAX: usize = 64;
const SESSION: HeaderName = HeaderName::from_static("mcp-session-id");
const METHOD: HeaderName = HeaderName::from_static("mcp-method");
const NAME: HeaderName = HeaderName::from_static("mcp-name");

/// A server behind the gateway.
pub struct Site {
    /// The path at which clients find it.
    pub path: String,
    /// Where it is.
    pub upstream: Upstream,
    /// What is known of it.
    pub around: Box<dyn Fn() -> Around + Send + Sync>,
}

struct Served {
    site: Site,
    gate: Arc<dyn Gate>,
    pins: Arc<dyn Pins>,
    /// By the server's own name for each; the one that was used last has the highest number.
    sessions: Mutex<BTreeMap<String, (u64, Arc<Session>)>>,
}

/// One client's dealings with one server.
struct Session {
    proxy: Arc<Proxy>,
    ways: Arc<Ways>,
}

/// Serves clients for as long as it is polled: servers over HTTP, and those over pipes.
///
/// # Errors
/// What the operating system says of the listener when it begins.
pub async fn serve(
    listener: TcpListener,
    sites: Vec<Site>,
    piped: Option<Arc<Piped>>,
    gate: Arc<dyn Gate>,
    pins: Arc<dyn Pins>,
) -> std::io::Result<()> {
    if let Some(piped) = &piped {
        tokio::spawn(Arc::clone(piped).watch());
    }
    let here = listener.local_addr()?.ip().to_string();
    let served = |site| Served { site, gate: Arc::clone(&gate), pins: Arc::clone(&pins), sessions: Mutex::default() };
    let sites: Arc<Vec<Arc<Served>>> = Arc::new(sites.into_iter().map(|site| Arc::new(served(site))).collect());
    let mut failures = 0_usize;
    let free = Arc::new(tokio::sync::Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(turn) = Arc::clone(&free).acquire_owned().await else { return Ok(()) };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                // One peer that uses up what there is must not end the gateway for all.
                let (gate, detail) = (Arc::clone(&gate), error.to_string());
                let told = failures < FAILURES_TOLD_MAX;
                failures += 1;
                if told {
                    let tell =
                        move || gate.observe("gateway", &[], serde_json::json!({ "mcp": "accept", "detail": detail }));
                    let _ = tokio::task::spawn_blocking(tell).await;
                }
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let (sites, piped, here) = (Arc::clone(&sites), piped.clone(), here.clone());
        tokio::spawn(async move {
            let service = service_fn(|request| {
                let (sites, piped, here) = (Arc::clone(&sites), piped.clone(), here.clone());
                async move { Ok::<_, Infallible>(one(&sites, piped, &here, request).await) }
            });
            let _ = server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_WAIT_MAX)
                .serve_connection(TokioIo::new(stream), service)
                .await;
            drop(turn);
        });
    }
}

async fn one(
    sites: &[Arc<Served>],
    piped: Option<Arc<Piped>>,
    here: &str,
    request: Request<Incoming>,
) -> Response<Out> {
    if !is_from_here(request.headers(), here) {
        return said(StatusCode::FORBIDDEN, "flyball: refused, `Host` or `Origin` is not this machine's");
    }
    if let Some(piped) = piped.filter(|piped| piped.path() == request.uri().path()) {
        return piped.one(request).await;
    }
    let Some(served) = sites.iter().find(|served| served.site.path == request.uri().path()).map(Arc::clone) else {
        return said(StatusCode::NOT_FOUND, "flyball: no server is served at this path");
    };
    match *request.method() {
        Method::POST => served.post(request).await,
        Method::GET => served.listen(request.headers().clone()).await,
        Method::DELETE => served.end(request.headers().clone()).await,
        _ => said(StatusCode::METHOD_NOT_ALLOWED, "flyball: POST, GET or DELETE"),
    }
}

/// A page in somebody's browser may reach this machine by a name of its own, and says so in these.
fn is_from_here(headers: &HeaderMap, here: &str) -> bool {
    let is_here = |text: &str| {
        let host = text
            .rsplit_once(':')
            .filter(|(_, port)| port.bytes().all(|b| b.is_ascii_digit()))
            .map_or(text, |(host, _)| host);
        let host = host.trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
        ["localhost", "127.0.0.1", "::1", here].contains(&host.as_str())
    };
    let text = |name| headers.get(name).map(|value: &HeaderValue| value.to_str().unwrap_or("?"));
    let is_origin_here = |origin: &str| origin.split_once("://").is_some_and(|(_, host)| is_here(host));
    text(header::HOST).is_some_and(is_here) && text(header::ORIGIN).is_none_or(is_origin_here)
}

impl Served {
    async fn post(self: Arc<Self>, request: Request<Incoming>) -> Response<Out> {
        let Posted { headers, body, messages } = match posted(request).await {
            Ok(posted) => posted,
            Err(refused) => {
                if let Some(detail) = refused.detail {
                    self.unreadable(&detail).await;
                }
                return refused.response;
            }
        };
        let ids: Vec<Id> = messages.iter().filter_map(|(message, _)| id_of(message)).collect();
        let is_batch = messages.len() > 1;
        let session = self.session(&headers);
        let (to, from) = way();
        session.ways.expect(&ids, &headers, &to);
        let here = Arc::clone(&session);
        let is_told = ids.is_empty();
        let ruled = tokio::task::spawn_blocking(move || {
            ways::on_behalf(to, headers, is_told, || here.proxy.from_client(&Frame::Line(body)));
        });
        // What the proxy says goes the way of the stream; it may still be at it when the first of it is here.
        drop(ruled);
        answer(from, is_batch, is_told).await
    }

    async fn listen(self: Arc<Self>, headers: HeaderMap) -> Response<Out> {
        let session = self.session(&headers);
        let (to, from) = way();
        session.ways.listen(headers, to);
        answer(from, true, false).await
    }

    async fn end(self: Arc<Self>, headers: HeaderMap) -> Response<Out> {
        let session = self.session(&headers);
        let (to, from) = way();
        session.ways.end(headers.clone(), to);
        let response = answer(from, false, true).await;
        if response.status().is_success() {
            self.forget(&headers);
            let proxy = Arc::clone(&session.proxy);
            let _ = tokio::task::spawn_blocking(move || proxy.server_ended()).await;
        }
        response
    }

    async fn unreadable(self: &Arc<Self>, detail: &str) {
        let session = self.session(&HeaderMap::new());
        let detail = detail.to_owned();
        let tell = move || session.proxy.unreadable("client", &detail);
        let _ = tokio::task::spawn_blocking(tell).await;
    }

    /// The session that the headers name; a new one where they name none, or one from before this gateway.
    fn session(self: &Arc<Self>, headers: &HeaderMap) -> Arc<Session> {
        let name = session_name(headers);
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        let last = sessions.values().map(|(last, _)| *last).max().unwrap_or(0) + 1;
        if let Some((used, session)) = name.as_ref().and_then(|name| sessions.get_mut(name)) {
            *used = last;
            return Arc::clone(session);
        }
        drop(sessions);
        let ways = Ways::new(self.site.upstream.clone(), Arc::downgrade(self));
        let peers: Arc<dyn super::Peers> = Arc::clone(&ways) as _;
        let proxy = Proxy::new((self.site.around)(), Arc::clone(&self.gate), Arc::clone(&self.pins), peers);
        ways.serve(&proxy);
        let session = Arc::new(Session { proxy, ways });
        if let Some(name) = name {
            self.remember(name, &session);
        }
        session
    }

    /// The server has given the session a name.
    fn remember(&self, name: String, session: &Arc<Session>) {
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        let last = sessions.values().map(|(last, _)| *last).max().unwrap_or(0) + 1;
        if sessions.len() >= SESSIONS_MAX
            && let Some(oldest) = sessions.iter().min_by_key(|(_, (last, _))| *last).map(|(name, _)| name.clone())
        {
            // Its client may go on: it gets a new one that knows nothing of the old one's calls.
            sessions.remove(&oldest);
        }
        sessions.insert(name, (last, Arc::clone(session)));
    }

    fn forget(&self, headers: &HeaderMap) {
        if let Some(name) = session_name(headers) {
            self.sessions.lock().unwrap_or_else(PoisonError::into_inner).remove(&name);
        }
    }
}

fn session_name(headers: &HeaderMap) -> Option<String> {
    headers.get(SESSION).and_then(|name| name.to_str().ok()).filter(|name| name.len() <= 1024).map(str::to_owned)
}

fn id_of(message: &Message) -> Option<Id> {
    match &message.kind {
        Kind::Request { id, .. } => Some(id.clone()),
        _ => None,
    }
}

/// A POST that can be ruled on.
struct Posted {
    headers: HeaderMap,
    body: Vec<u8>,
    messages: Vec<(Message, Vec<u8>)>,
}

/// One that can't, and what the record says of it.
struct Refused {
    detail: Option<String>,
    response: Response<Out>,
}

async fn posted(request: Request<Incoming>) -> Result<Posted, Refused> {
    let refused = |status, code, text: &str, detail| Refused {
        detail,
        response: json(status, HeaderMap::new(), say::error(None, code, text)),
    };
    let headers = request.headers().clone();
    if ways::is_odd(&headers) || headers.get_all(SESSION).iter().count() > 1 {
        let text = "flyball: refused, a message is JSON in UTF-8, not encoded, and of one session";
        return Err(refused(StatusCode::UNSUPPORTED_MEDIA_TYPE, say::REQUEST, text, None));
    }
    let Some(body) = ways::read(request.into_body()).await else {
        let text = "flyball: refused, the message is over 16 MiB or was cut off";
        return Err(refused(StatusCode::PAYLOAD_TOO_LARGE, say::REQUEST, text, None));
    };
    let messages = read_messages(&body).map_err(|error| {
        let text = format!("flyball: refused, {error}");
        refused(StatusCode::BAD_REQUEST, error.code(), &text, Some(error.to_string()))
    })?;
    are_as_the_headers_say(&headers, &messages)
        .map_err(|text| refused(StatusCode::BAD_REQUEST, say::REQUEST, text, None))?;
    Ok(Posted { headers, body, messages })
}

/// What stands before a server may go by the headers: they say what the body says, or the request is refused.
fn are_as_the_headers_say(headers: &HeaderMap, messages: &[(Message, Vec<u8>)]) -> Result<(), &'static str> {
    let mut methods = headers.get_all(METHOD).iter().peekable();
    let mut names = headers.get_all(NAME).iter().peekable();
    if methods.peek().is_none() && names.peek().is_none() {
        return Ok(());
    }
    let [(message, _)] = messages else { return Err("flyball: refused, headers name one of several messages") };
    let (Kind::Request { method, .. } | Kind::Notification { method }) = &message.kind else {
        return Err("flyball: refused, headers name a method that is not there");
    };
    let name = ["name", "uri"].iter().find_map(|field| message.params().get(field)).and_then(|name| name.as_str());
    let is_same = methods.all(|said| said.as_bytes() == method.as_bytes())
        && names.all(|said| Some(said.as_bytes()) == name.map(str::as_bytes));
    if is_same { Ok(()) } else { Err("flyball: refused, the headers say another method or name than the body") }
}

/// What is said first decides what the response is.
async fn answer(mut from: Unread, is_stream: bool, is_told: bool) -> Response<Out> {
    match from.recv().await {
        Some(Item::Whole(status, headers, body)) => whole(status, headers, body),
        Some(Item::Stream(headers)) => stream(headers, Vec::new(), from),
        // Of a batch: the other answers follow.
        Some(Item::One(headers)) if is_stream => stream(headers, Vec::new(), from),
        Some(Item::One(headers)) => match from.recv().await {
            Some(Item::Line(line)) => json(StatusCode::OK, headers, line),
            _ => said(StatusCode::BAD_GATEWAY, "flyball: the server's answer can't be passed"),
        },
        Some(Item::Line(line)) if is_stream => stream(HeaderMap::new(), events::written(b"", &line), from),
        Some(Item::Line(line)) => {
            let is_nobodys = line.windows(9).any(|part| part == b"\"id\":null");
            json(if is_nobodys { StatusCode::BAD_REQUEST } else { StatusCode::OK }, HeaderMap::new(), line)
        }
        Some(Item::Event(_)) => said(StatusCode::BAD_GATEWAY, "flyball: the server's answer can't be passed"),
        // Nothing was sent on: it was dropped, as what is not known is.
        None if is_told => whole(StatusCode::ACCEPTED, HeaderMap::new(), Vec::new()),
        None => said(StatusCode::BAD_GATEWAY, "flyball: the server did not answer"),
    }
}

fn said(status: StatusCode, text: &str) -> Response<Out> {
    json(status, HeaderMap::new(), say::error(None, say::REQUEST, text))
}

fn json(status: StatusCode, mut headers: HeaderMap, line: Vec<u8>) -> Response<Out> {
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    whole(status, headers, line)
}

fn whole(status: StatusCode, headers: HeaderMap, body: Vec<u8>) -> Response<Out> {
    let first = (!body.is_empty()).then(|| Bytes::from(body));
    let mut response = Response::new(Out { first, rest: None });
    (*response.status_mut(), *response.headers_mut()) = (status, headers);
    response
}

fn stream(mut headers: HeaderMap, first: Vec<u8>, rest: Unread) -> Response<Out> {
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-cache"));
    let first = (!first.is_empty()).then(|| Bytes::from(first));
    let mut response = Response::new(Out { first, rest: Some(rest) });
    *response.headers_mut() = headers;
    response
}

/// A response's body: what is there, and then what comes.
struct Out {
    first: Option<Bytes>,
    rest: Option<Unread>,
}

impl Body for Out {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<hyper::body::Frame<Bytes>, Infallible>>> {
        let data = |bytes: Bytes| Poll::Ready(Some(Ok(hyper::body::Frame::data(bytes))));
        if let Some(first) = self.first.take() {
            return data(first);
        }
        let Some(rest) = &mut self.rest else { return Poll::Ready(None) };
        loop {
            return match rest.poll(context) {
                Poll::Ready(Some(Item::Event(bytes))) => data(bytes.into()),
                Poll::Ready(Some(Item::Line(line))) => data(events::written(b"", &line).into()),
                // Others of a batch have begun their answers as well.
                Poll::Ready(Some(Item::Stream(_) | Item::One(_) | Item::Whole(..))) => continue,
                Poll::Ready(None) => Poll::Ready(None),
                Poll::Pending => Poll::Pending,
            };
        }
    }

    fn is_end_stream(&self) -> bool {
        self.first.is_none() && self.rest.is_none()
    }
}
