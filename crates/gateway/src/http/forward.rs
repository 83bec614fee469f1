//! Requests of one connection, one by one to the gate and on.

use super::abreast::{Driven, Ended, abreast};
use super::asked::{Asked, Unread, asked};
use super::body::Through;
use super::credentials::{self, Blot};
use super::model::{self, Exchange};
use super::past::{Answering, Past, Replay};
use super::tape::{self, Open, Side, Tape};
use super::{Egress, Place};
use crate::gate::{Answered, Asking, Gate, Later, NOT_CHANGED};
use flyball_intent::{ModelApi, model_refusal};
use flyball_kernel::Value;
use hyper::body::{Body, Bytes, Incoming};
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::http::uri::Authority;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode, Version, client, server};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io;
use std::os::fd::AsFd;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, Interest};
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio::task::JoinSet;

/// A request's line and headers, at most; curl's own limit is the same.
const HEAD_BYTES_MAX: usize = 300 * 1024;
const HEADERS_MAX: usize = 256;
/// Requests at once on one connection: each may have a body in memory.
const STREAMS_MAX: u32 = 64;
/// Protocols that a request may go on in: each a stream of that very request's, which was ruled on (SPDY is Kubernetes' `exec`).
const STREAMS: &[&str] = &["websocket", "spdy/3.1"];
/// A client that begins a request and does not finish its head holds a connection for this long.
const HEAD_WAIT_MAX: Duration = Duration::from_secs(if cfg!(test) { 3 } else { 30 });
/// How often it is tried to have a ruling at once.
const BUSY_TRIES_MAX: usize = 16;
/// So long, and so much, is read on of a request that was refused before all of it was there.
const REST_WAIT_MAX: Duration = Duration::from_secs(if cfg!(test) { 1 } else { 10 });
const REST_BYTES_MAX: usize = 256 << 20;
/// How long the server's answer is waited for when the client has gone away.
const LEFT_WAIT_MAX: Duration = Duration::from_secs(if cfg!(test) { 1 } else { 5 });
const LEFT_LOOK: Duration = Duration::from_millis(if cfg!(test) { 20 } else { 1000 });

/// The way to the server.
struct Way {
    server: Server,
    /// What requests of it went on in, and what is read of refused ones.
    streams: std::sync::Mutex<JoinSet<()>>,
    /// Whether a request asked for that.
    has_upgraded: AtomicBool,
    left: Left,
}

enum Server {
    One(Mutex<client::conn::http1::SendRequest<Through>>),
    Two(client::conn::http2::SendRequest<Through>),
    /// None: what is on record.
    Past(Answering),
}

pub(super) async fn forward<I, O>(
    egress: Arc<Egress>,
    inside: I,
    outside: O,
    is_h2: bool,
    place: Place,
    left: Left,
) -> Result<(), hyper::Error>
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    O: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let place = Arc::new(place);
    let outside = TokioIo::new(outside);
    let (server, driven): (_, Driven) = if is_h2 {
        let (sender, connection) = client::conn::http2::handshake(TokioExecutor::new(), outside).await?;
        (Server::Two(sender), Box::pin(async { drop(connection.await) }))
    } else {
        let (sender, connection) = client::conn::http1::Builder::new()
            .preserve_header_case(true)
            .title_case_headers(false)
            .handshake(outside)
            .await?;
        (Server::One(Mutex::new(sender)), Box::pin(async { drop(connection.with_upgrades().await) }))
    };
    serve(egress, inside, server, Some(driven), is_h2, place, left).await
}

/// The same where what is on record answers.
pub(super) async fn forward_past<I>(
    egress: Arc<Egress>,
    inside: I,
    past: Arc<dyn Past>,
    is_h2: bool,
    place: Place,
    left: Left,
) -> Result<(), hyper::Error>
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let place = Arc::new(place);
    let server = Server::Past(Answering { past, gate: Arc::clone(&egress.gate), place: Arc::clone(&place) });
    serve(egress, inside, server, None, is_h2, place, left).await
}

/// `driven`: the server's connection.
async fn serve<I>(
    egress: Arc<Egress>,
    inside: I,
    server: Server,
    mut driven: Option<Driven>,
    is_h2: bool,
    place: Arc<Place>,
    left: Left,
) -> Result<(), hyper::Error>
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let has_upgraded = AtomicBool::new(false);
    let way = Arc::new(Way { server, streams: Default::default(), has_upgraded, left });
    let of_way = Arc::clone(&way);
    let service = service_fn(move |request| {
        let (egress, way, place) = (Arc::clone(&egress), Arc::clone(&of_way), Arc::clone(&place));
        async move { Ok::<_, Infallible>(one(&egress, &way, &place, request).await) }
    });
    let inside = TokioIo::new(inside);
    let served = if is_h2 {
        let serving = server::conn::http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .max_header_list_size(HEAD_BYTES_MAX as u32)
            .max_concurrent_streams(STREAMS_MAX)
            .serve_connection(inside, service);
        let mut serving = std::pin::pin!(serving);
        match abreast(serving.as_mut(), &mut driven).await {
            Ended::Client(served) => served,
            Ended::Server => {
                way.closes(|| serving.as_mut().graceful_shutdown());
                serving.await
            }
        }
    } else {
        let serving = server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_WAIT_MAX)
            .max_buf_size(HEAD_BYTES_MAX)
            .max_headers(HEADERS_MAX)
            .preserve_header_case(true)
            // What came before its client's end is served: that end may be of one direction only.
            .half_close(true)
            .serve_connection(inside, service)
            .with_upgrades();
        let mut serving = std::pin::pin!(serving);
        match abreast(serving.as_mut(), &mut driven).await {
            Ended::Client(served) => served,
            Ended::Server => {
                way.closes(|| serving.as_mut().graceful_shutdown());
                serving.await
            }
        }
    };
    // What was allowed still goes out, though nobody waits for its answer.
    driven.map(tokio::spawn);
    // INVARIANT: a connection is one of so many, and ends with the session, until the last of it has ended.
    let mut streams = std::mem::take(&mut *way.streams.lock().unwrap_or_else(PoisonError::into_inner));
    while streams.join_next().await.is_some() {}
    served
}

impl Way {
    /// The server has closed its connection, which the client is to know before it asks for more; not that it became a stream.
    fn closes(&self, tell: impl FnOnce()) {
        if !self.has_upgraded.load(Ordering::SeqCst) {
            tell();
        }
    }
}

/// Reads on what a client still says of a request that was refused, and drops it: a connection that is closed with that in it takes the
/// answer with it, before the client has read why.
fn read_on(way: &Way, request: Request<Through>) {
    // Who waits to be told to go on says nothing more; to read would be to tell it.
    let waits = request.headers().contains_key(header::EXPECT) && !request.body().is_begun();
    let mut body = request.into_body();
    if waits || body.is_end_stream() {
        return;
    }
    let reading = async move {
        let mut left = REST_BYTES_MAX;
        while let Some(Ok(frame)) = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await
            && let Some(rest) = left.checked_sub(frame.data_ref().map_or(0, Bytes::len))
        {
            left = rest;
        }
    };
    let mut streams = way.streams.lock().unwrap_or_else(PoisonError::into_inner);
    // A connection can be refused as often as it likes: those that are over go.
    while streams.try_join_next().is_some() {}
    streams.spawn(async move {
        let _ = tokio::time::timeout(REST_WAIT_MAX, reading).await;
    });
}

async fn one(egress: &Arc<Egress>, way: &Way, place: &Place, request: Request<Incoming>) -> Response<Through> {
    if let Err(why) = check_host(&request, place) {
        return said(StatusCode::MISDIRECTED_REQUEST, why);
    }
    let Asked { actions, mut request, model, unread } = match asked(egress, place, request).await {
        Ok(read) => read,
        Err(Unread { status, why }) => return said(status, &why),
    };
    let api = model.as_ref().map(|model| model.call.api);
    if model.is_some() {
        // Of two calls one after the other the second is ruled on by what the first really took.
        egress.models.settled().await;
        // An answer that is packed would tell nobody on the way what it took.
        request.headers_mut().remove(header::ACCEPT_ENCODING);
    }
    let asking = Asking {
        actions,
        cause: place.cause.clone(),
        exact: String::new().into(),
        wait: egress.wait,
        can_change: false,
    };
    let allowed = match ruled(egress, &way.left, asking, model).await {
        Ok(allowed) => allowed,
        Err(text) => {
            read_on(way, request);
            return refused(api, &text);
        }
    };
    if let Some(Unread { status, why }) = unread {
        read_on(way, request);
        // Dropped, what was allowed says that it did not go out.
        drop(allowed);
        return said(status, &why);
    }
    let (mut request, tape) = taped(egress, place, &allowed, request);
    let blot = Blot::new(credentials::put_in(&egress.credentials, place, request.headers_mut()));
    if blot.is_some() {
        request.headers_mut().remove(header::ACCEPT_ENCODING);
    }
    let is_h2 = request.version() == Version::HTTP_2;
    match carried_out(way, allowed, request).await {
        Ok((response, exchange)) => {
            let response = blotted(response, blot);
            let response = match exchange {
                Some(mut exchange) => {
                    exchange.answers(&response);
                    response.map(|body| body.watched(exchange))
                }
                None => response,
            };
            match &tape {
                Some(Open(tape)) => {
                    tape.answers(&response);
                    response.map(|body| body.kept(Side::answered(tape)))
                }
                None => response,
            }
        }
        Err(why) => {
            tape.iter().for_each(|Open(tape)| tape.fails(&why));
            let mut said = said(StatusCode::BAD_GATEWAY, &format!("flyball: the server did not answer: {why}"));
            if !is_h2 {
                // The next one finds a connection that stands.
                said.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            said
        }
    }
}

/// Keeps a request that goes out, where it is to be answered again.
fn taped(
    egress: &Egress,
    place: &Place,
    allowed: &Allowed,
    request: Request<Through>,
) -> (Request<Through>, Option<Open>) {
    if !matches!(egress.replay, Replay::Keeps(_)) {
        return (request, None);
    }
    let of = allowed.attempts.first().copied().unwrap_or_default();
    let tape = Tape::new(&egress.gate, &egress.models, of, tape::request_head(&request, place));
    let request = request.map(|body| body.kept(Side::asked(&tape)));
    (request, Some(Open(tape)))
}

/// Sends what was allowed and gives the answer.
///
/// INVARIANT: what was allowed goes out whoever waits for it, as it would without a broker; of what nobody waits for, the end is
/// waited for so long.
async fn carried_out(
    way: &Way,
    mut allowed: Allowed,
    request: Request<Through>,
) -> Result<(Response<Through>, Option<Exchange>), String> {
    allowed.goes_out(true);
    let left = async {
        way.left.seen().await;
        tokio::time::sleep(LEFT_WAIT_MAX).await;
    };
    let answered = tokio::select! {
        biased;
        answered = send(way, request) => answered,
        () = left => return Err("nobody waits for it".to_owned()),
    };
    match answered {
        Ok(response) => {
            let exchange = allowed.ended(response.status());
            Ok((response, exchange))
        }
        Err(Unanswered { error, is_sent }) => {
            allowed.goes_out(is_sent);
            Err(error)
        }
    }
}

/// A request that was allowed, until it is known what became of it.
///
/// INVARIANT: something is said of it whatever happens: a client that goes away takes what serves it along.
struct Allowed {
    gate: Arc<dyn Gate>,
    attempts: Vec<u64>,
    exchange: Option<Exchange>,
    /// Whether the server may have it.
    is_out: bool,
}

impl Allowed {
    fn goes_out(&mut self, is_out: bool) {
        self.is_out = is_out;
        self.exchange.iter_mut().for_each(|exchange| exchange.goes_out(is_out));
    }

    fn ended(&mut self, status: StatusCode) -> Option<Exchange> {
        // A server that failed may have done it before that.
        let is_ok = (!status.is_server_error()).then(|| !status.is_client_error());
        self.say(is_ok, Some(status));
        self.exchange.take()
    }

    /// What became of a model's call is said when its answer is over.
    fn say(&mut self, is_ok: Option<bool>, status: Option<StatusCode>) {
        let attrs = status.map(|s| ("status".to_owned(), Value::Long(s.as_u16().into())));
        let attrs: BTreeMap<String, Value> = attrs.into_iter().collect();
        let of_model = self.exchange.as_ref().map(Exchange::of);
        let mut attempts = std::mem::take(&mut self.attempts);
        let implied: Vec<u64> = attempts.drain(1.min(attempts.len())..).filter(|of| Some(*of) != of_model).collect();
        if attempts.is_empty() || implied.is_empty() && self.gate.outcome_now(&attempts, is_ok, &attrs) {
            return;
        }
        let gate = Arc::clone(&self.gate);
        // The answer may be on its way before that is on record, as with any outcome.
        model::later(move || {
            gate.outcome(&attempts, is_ok, &attrs);
            gate.outcome(&implied, is_ok, &BTreeMap::new());
        });
    }
}

impl Drop for Allowed {
    fn drop(&mut self) {
        if !self.attempts.is_empty() {
            self.say((!self.is_out).then_some(false), None);
        }
        if let Some(exchange) = self.exchange.take() {
            Box::new(exchange).end(false);
        }
    }
}

/// The gate's answer: a text where it is not to go on. Of an allowed call of a model its request is on record then.
async fn ruled(egress: &Egress, left: &Left, asking: Asking, model: Option<model::Asked>) -> Result<Allowed, String> {
    let (gate, wait) = (Arc::clone(&egress.gate), asking.wait);
    let mut later = Later::Ask(asking);
    if model.is_none() {
        // Without a switch of threads, which takes longer than most rulings.
        for _ in 0..BUSY_TRIES_MAX {
            later = match later {
                Later::Ask(asking) | Later::Busy(asking) => match gate.ask_now(asking) {
                    Ok(answered) => return allowed(gate, answered),
                    Err(later) => later,
                },
                held => held,
            };
            match later {
                Later::Busy(_) => tokio::task::yield_now().await,
                _ => break,
            }
        }
    }
    let models = Arc::clone(&egress.models);
    let asker = Asker::default();
    let gone = Arc::clone(&asker.0);
    let mut answered = tokio::task::spawn_blocking(move || {
        let answered = match later {
            Later::Ask(asking) | Later::Busy(asking) => gate.ask_until(asking, &gone),
            Later::Held(group) => gate.wait(group, wait, &gone),
        };
        let mut allowed = allowed(gate, answered)?;
        if let Some(model) = model {
            match recorded(&allowed, models, model) {
                Ok(exchange) => allowed.exchange = Some(exchange),
                // Dropped, what was allowed says that it did not go out.
                Err(text) => return Err(text),
            }
        }
        Ok(allowed)
    });
    let answered = tokio::select! {
        biased;
        answered = &mut answered => answered,
        () = left.seen() => {
            drop(asker);
            answered.await
        }
    };
    answered.unwrap_or_else(|_| Err("flyball: denied, it could not be decided".to_owned()))
}

/// Tells that whoever asks has gone away, when it is dropped.
#[derive(Default)]
struct Asker(Arc<AtomicBool>);

impl Drop for Asker {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Tells whether the client has said all that it will: as far as anybody can tell, it has gone away.
pub(super) struct Left(Option<std::net::TcpStream>);

impl Left {
    pub fn of(inside: &TcpStream) -> Self {
        let fd = inside.as_fd().try_clone_to_owned();
        Self(fd.ok().map(Into::into))
    }

    async fn seen(&self) {
        // Most requests are through before that.
        tokio::time::sleep(LEFT_LOOK).await;
        let watched = self.0.as_ref().and_then(|inside| TcpStream::from_std(inside.try_clone().ok()?).ok());
        let Some(watched) = watched else { return std::future::pending().await };
        while watched.ready(Interest::READABLE).await.is_ok_and(|ready| !ready.is_read_closed()) {
            tokio::time::sleep(LEFT_LOOK).await;
        }
    }
}

fn allowed(gate: Arc<dyn Gate>, answered: Answered) -> Result<Allowed, String> {
    match answered {
        Answered::Allowed { attempts } => Ok(Allowed { gate, attempts, exchange: None, is_out: false }),
        Answered::Denied { text, .. } | Answered::Waiting { text, .. } => Err(text),
        Answered::Changed { .. } => Err(NOT_CHANGED.to_owned()),
    }
}

pub(super) fn blotted(mut response: Response<Through>, blot: Option<Blot>) -> Response<Through> {
    match blot {
        Some(blot) => {
            response.extensions_mut().remove::<hyper::ext::ReasonPhrase>();
            blot.headers(response.headers_mut());
            response.map(|body| body.blotted(blot))
        }
        None => response,
    }
}

/// INVARIANT: a call's request is on record before it goes out.
fn recorded(allowed: &Allowed, models: Arc<model::Models>, asked: model::Asked) -> Result<Exchange, String> {
    let unrecorded = || "flyball: denied, the call could not be recorded first".to_owned();
    let of = *allowed.attempts.get(asked.index).ok_or_else(unrecorded)?;
    let entry = asked.record(&*allowed.gate, of).ok_or_else(unrecorded)?;
    Ok(Exchange::new(Arc::clone(&allowed.gate), models, asked.call, of, entry))
}

/// INVARIANT: one host, however often a request names it.
fn check_host(request: &Request<Incoming>, place: &Place) -> Result<(), &'static str> {
    const OTHER: &str = "flyball: denied, the request is for another host than its connection was allowed for";
    let mut named: Vec<String> = request.uri().authority().map(ToString::to_string).into_iter().collect();
    for host in request.headers().get_all(header::HOST) {
        named.push(host.to_str().map_err(|_| OTHER)?.to_owned());
    }
    if named.is_empty() && request.version() != Version::HTTP_10 {
        return Err("flyball: denied, the request names no host");
    }
    let default = if place.scheme == "https" { 443 } else { 80 };
    let is_this = |named: &String| {
        let Ok(authority) = named.parse::<Authority>() else { return false };
        // A name of a user before it would be a second reading of whose it is.
        let host = authority.host().trim_start_matches('[').trim_end_matches([']', '.']);
        !named.contains('@')
            && host.eq_ignore_ascii_case(place.host.trim_end_matches('.'))
            && authority.port_u16().unwrap_or(default) == place.port
    };
    if named.iter().all(is_this) { Ok(()) } else { Err(OTHER) }
}

fn is_stream(value: &HeaderValue) -> bool {
    STREAMS.iter().any(|name| value.as_bytes().eq_ignore_ascii_case(name.as_bytes()))
}

/// What is meant for whoever is next, but for the words by which a connection becomes a stream of one request's own.
///
/// INVARIANT: no connection is changed into one that carries further requests: in `h2c`, say, none of them would be ruled on.
pub(super) fn hop_by_hop(headers: &mut HeaderMap) {
    let mut wanted = headers.get_all(header::UPGRADE).iter();
    if wanted.next().is_some_and(|first| !is_stream(first)) || wanted.next().is_some() {
        headers.remove(header::UPGRADE);
        headers.remove("http2-settings");
        headers.remove(header::CONNECTION);
    }
    for name in ["proxy-connection", "proxy-authorization", "te", "trailer"] {
        if name != "te" || headers.get("te").is_some_and(|v| v != "trailers") {
            headers.remove(name);
        }
    }
    headers.remove(header::TRANSFER_ENCODING);
}

/// A request that got no answer.
struct Unanswered {
    error: String,
    /// Whether the server may have it.
    is_sent: bool,
}

impl Unanswered {
    fn unsent(error: hyper::Error) -> Self {
        Self { error: error.to_string(), is_sent: false }
    }

    fn of(mut error: client::conn::TrySendError<Request<Through>>) -> Self {
        let is_sent = error.take_message().is_none();
        Self { error: error.into_error().to_string(), is_sent }
    }
}

async fn send(way: &Way, mut request: Request<Through>) -> Result<Response<Through>, Unanswered> {
    let wants_upgrade = request.headers().contains_key(header::UPGRADE);
    let inside = wants_upgrade.then(|| hyper::upgrade::on(&mut request));
    way.has_upgraded.fetch_or(wants_upgrade, Ordering::SeqCst);
    let mut response = match &way.server {
        Server::One(sender) => {
            let mut sender = sender.lock().await;
            sender.ready().await.map_err(Unanswered::unsent)?;
            sender.try_send_request(request).await.map_err(Unanswered::of)?
        }
        Server::Two(sender) => {
            let mut sender = sender.clone();
            sender.ready().await.map_err(Unanswered::unsent)?;
            sender.try_send_request(request).await.map_err(Unanswered::of)?
        }
        Server::Past(past) => {
            return past.answer(request).await.map_err(|error| Unanswered { error, is_sent: true });
        }
    };
    let is_stream = response.headers().get(header::UPGRADE).is_some_and(is_stream);
    if response.status() == StatusCode::SWITCHING_PROTOCOLS && !(wants_upgrade && is_stream) {
        // Nobody asked for that protocol; the connection ends.
        *response.status_mut() = StatusCode::BAD_GATEWAY;
        response.headers_mut().clear();
    }
    if let (StatusCode::SWITCHING_PROTOCOLS, Some(inside)) = (response.status(), inside) {
        let outside = hyper::upgrade::on(&mut response);
        way.streams.lock().unwrap_or_else(PoisonError::into_inner).spawn(async move {
            let (Ok(inside), Ok(outside)) = tokio::join!(inside, outside) else { return };
            let (mut inside, mut outside) = (TokioIo::new(inside), TokioIo::new(outside));
            // Either end may go first, and nobody is left to tell.
            let _ = tokio::io::copy_bidirectional(&mut inside, &mut outside).await;
        });
    }
    if wants_upgrade && response.status() != StatusCode::SWITCHING_PROTOCOLS {
        way.has_upgraded.store(false, Ordering::SeqCst);
    }
    response.headers_mut().remove(header::TRANSFER_ENCODING);
    Ok(response.map(Through::all))
}

/// A refusal, to a model's client in the words of its API.
fn refused(api: Option<Option<ModelApi>>, text: &str) -> Response<Through> {
    let Some(api) = api else { return said(StatusCode::FORBIDDEN, text) };
    let mut response = said(StatusCode::FORBIDDEN, "");
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.map(|_| Through::text(model_refusal(api, text)))
}

/// An answer of Flyball's own.
fn said(status: StatusCode, text: &str) -> Response<Through> {
    let mut response = Response::new(Through::text(format!("{}\n", text.trim_end())));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response.headers_mut().insert("x-flyball", HeaderValue::from_static("denied"));
    response
}

/// Tells a program over its own connection why there is none to the server.
pub(super) async fn unreachable<I>(inside: I, place: &Place, error: &str) -> io::Result<()>
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let text = format!("flyball: no secure connection to {}:{}: {error}", place.host, place.port);
    let service = service_fn(move |_: Request<Incoming>| {
        let text = text.clone();
        async move { Ok::<_, Infallible>(said(StatusCode::BAD_GATEWAY, &text)) }
    });
    let served = server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WAIT_MAX)
        .serve_connection(TokioIo::new(inside), service)
        .await;
    served.map_err(io::Error::other)
}

#[cfg(test)]
mod endings;
