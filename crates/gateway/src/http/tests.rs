#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

//! Real clients (curl, raw bytes) through an [`Egress`] to a real server with a certificate authority of the test's own.

use super::*;
use crate::gate::{Answered, Asking, Gate};
use flyball_kernel::{Action, ModelSettings, Value};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::Value as Json;
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener as StdListener, TcpStream as StdStream};
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::Mutex;
use tokio::runtime::Runtime;

pub(super) const HOST: &str = "server.test";

/// Denies requests whose path has `forbidden` in it, and writes down what it hears.
#[derive(Default)]
struct Ruler(Mutex<Vec<String>>);

impl Gate for Ruler {
    fn ask(&self, asking: Asking) -> Answered {
        let said = |a: &Action| {
            let more = ["value", "opaque"].map(|name| a.attr(name).map(|value| format!(" {name}={value:?}")));
            let more = more.into_iter().flatten().filter(|_| a.verb.name() == "control.actuate");
            format!("{} {}{}", a.verb, a.resource.id(), more.collect::<String>())
        };
        let said = asking.actions.iter().map(said).collect::<Vec<_>>().join(" + ");
        let named = asking.actions.iter().flat_map(|a| [a.attr("json"), a.attr("headers")]).flatten();
        let named: Vec<String> = named.map(|value| format!("{value:?}")).collect();
        let said = if named.is_empty() { said } else { format!("{said} {}", named.join(" ")) };
        let is_denied = said.contains("forbidden");
        self.0.lock().unwrap().push(said);
        if is_denied {
            return Answered::Denied { attempt: 1, text: "denied by rule r".into() };
        }
        Answered::Allowed { attempts: (0..asking.actions.len() as u64).collect() }
    }
    fn outcome(&self, attempts: &[u64], ok: Option<bool>, attrs: &BTreeMap<String, Value>) {
        if attempts.first() == Some(&0) {
            self.0.lock().unwrap().push(format!("outcome {ok:?} {:?}", attrs.get("status")));
        }
    }
    fn observe(&self, _: &str, _: &[u64], _: Json) -> Option<u64> {
        None
    }
}

pub(super) struct World {
    runtime: Runtime,
    ruler: Arc<Ruler>,
    /// Where a client finds the way through.
    pub(super) port: u16,
    scratch: tempfile::TempDir,
}

/// Echoes method, path and the body's length; some paths do more.
async fn answer(request: Request<Incoming>) -> Result<Response<body::Through>, body::Broken> {
    let (path, method, version) = (request.uri().path().to_owned(), request.method().clone(), request.version());
    let framing =
        request.headers().contains_key("content-length") && request.headers().contains_key("transfer-encoding");
    let upgrade = request.headers().contains_key("upgrade");
    let bytes = body::Through::all(request.into_body()).peek(64 << 20).await?;
    let length = bytes.map_or(usize::MAX, |b| b.len());
    let text = match path.as_str() {
        "/large" => "x".repeat(16 << 20),
        "/upgrade" => format!("upgrade: {upgrade}"),
        _ => format!("{method} {path} {length} {version:?} {framing}"),
    };
    Ok(Response::new(body::Through::text(text)))
}

impl World {
    /// `is_tls`: how the server speaks; `is_trusted`: whether its certificate holds.
    pub(super) fn new(is_tls: bool, is_trusted: bool) -> Self {
        Self::serving(is_tls, is_trusted, Vec::new())
    }

    /// The same, with these rows of what is read.
    pub(super) fn serving(is_tls: bool, is_trusted: bool, reads: Vec<RequestReading>) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let servers = Authority::new().unwrap();
        let mut roots = rustls::RootCertStore::empty();
        let trusted = if is_trusted { servers.pem().to_owned() } else { Authority::new().unwrap().pem().to_owned() };
        roots.add(der(&trusted)).unwrap();
        let mut config =
            rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_no_client_auth()
                .with_cert_resolver(Arc::new(One(servers.certified(HOST).unwrap())));
        config.alpn_protocols = vec![H2.to_vec(), HTTP1.to_vec()];
        let acceptor = is_tls.then(|| TlsAcceptor::from(Arc::new(config)));
        let server = listener(&runtime);
        let server_port = server.local_addr().unwrap().port();
        runtime.spawn(async move {
            while let Ok((stream, _)) = server.accept().await {
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    let builder = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
                    let _ = match acceptor {
                        Some(acceptor) => match acceptor.accept(stream).await {
                            Ok(stream) => builder.serve_connection(TokioIo::new(stream), service_fn(answer)).await,
                            Err(_) => return,
                        },
                        None => builder.serve_connection(TokioIo::new(stream), service_fn(answer)).await,
                    };
                });
            }
        });
        Self::before(runtime, roots, server_port, reads)
    }

    /// In front of a server that listens there without TLS.
    pub(super) fn plain(server_port: u16) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        Self::before(runtime, rustls::RootCertStore::empty(), server_port, Vec::new())
    }

    /// The same, with these rows of what is read.
    pub(super) fn reading(server_port: u16, reads: Vec<RequestReading>) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        Self::before(runtime, rustls::RootCertStore::empty(), server_port, reads)
    }

    /// The same, where this is what is on record.
    fn past(server_port: u16, past: Arc<dyn Past>) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let replay = Replay::Answers(Places::default(), past);
        Self::in_front(runtime, rustls::RootCertStore::empty(), server_port, Vec::new(), replay)
    }

    fn before(runtime: Runtime, roots: rustls::RootCertStore, server_port: u16, reads: Vec<RequestReading>) -> Self {
        Self::in_front(runtime, roots, server_port, reads, Replay::Off)
    }

    fn in_front(
        runtime: Runtime,
        roots: rustls::RootCertStore,
        server_port: u16,
        reads: Vec<RequestReading>,
        replay: Replay,
    ) -> Self {
        let ruler = Arc::new(Ruler::default());
        let scratch = tempfile::tempdir().unwrap();
        let authority = Arc::new(Authority::new().unwrap());
        std::fs::write(scratch.path().join("ca.pem"), authority.pem()).unwrap();
        let egress = Arc::new(Egress {
            gate: Arc::clone(&ruler) as Arc<dyn Gate>,
            authority,
            client: LazyLock::new(Box::new(|| client_config(roots).map(|client| (client, None)))),
            pass: vec!["passed.test".to_owned()],
            reads: reads.into(),
            credentials: Arc::default(),
            models: Arc::new(Models::new(ModelSettings::default())),
            opens: true,
            replay,
            wait: Duration::from_secs(1),
        });
        let through = listener(&runtime);
        let port = through.local_addr().unwrap().port();
        runtime.spawn(async move {
            while let Ok((inside, _)) = through.accept().await {
                let egress = Arc::clone(&egress);
                let outside = TcpStream::connect((Ipv4Addr::LOCALHOST, server_port)).await.unwrap();
                let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
                let connection = Connection {
                    inside,
                    outside: Some(outside),
                    name: Some(HOST.to_owned()),
                    address,
                    agent: "a".to_owned(),
                    cause: Vec::new(),
                };
                tokio::spawn(async move { egress.serve(connection).await });
            }
        });
        Self { runtime, ruler, port, scratch }
    }

    fn ca(&self) -> PathBuf {
        self.scratch.path().join("ca.pem")
    }

    pub(super) fn curl(&self, scheme: &str, path: &str, more: &[&str]) -> Output {
        let mut command = Command::new("curl");
        command.args(["-sS", "-m", "30", "-w", " [%{http_code}]", "--resolve"]);
        command.arg(format!("{HOST}:{}:127.0.0.1", self.port)).arg("--cacert").arg(self.ca()).args(more);
        command.arg(format!("{scheme}://{HOST}:{}{path}", self.port)).output().unwrap()
    }

    /// Sends these requests at once over one connection of HTTP/2, and gives each one's status.
    pub(super) fn at_once(&self, requests: Vec<Request<body::Through>>) -> Vec<u16> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(der(&std::fs::read_to_string(self.ca()).unwrap())).unwrap();
        let mut config = (*client_config(roots).unwrap()).clone();
        config.alpn_protocols = vec![H2.to_vec()];
        self.runtime.block_on(async {
            let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).await.unwrap();
            let connecting = TlsConnector::from(Arc::new(config)).connect(ServerName::try_from(HOST).unwrap(), stream);
            let stream = TokioIo::new(connecting.await.unwrap());
            let (sender, connection) =
                hyper::client::conn::http2::handshake(TokioExecutor::new(), stream).await.unwrap();
            tokio::spawn(connection);
            let ask = |request| {
                let mut sender = sender.clone();
                tokio::spawn(async move { sender.send_request(request).await.unwrap().status().as_u16() })
            };
            let asked: Vec<_> = requests.into_iter().map(ask).collect();
            let mut out = Vec::new();
            for one in asked {
                out.push(one.await.unwrap());
            }
            out
        })
    }

    /// Sends these bytes, and gives what came until the end.
    pub(super) fn raw(&self, bytes: &[u8]) -> String {
        let mut stream = StdStream::connect((Ipv4Addr::LOCALHOST, self.port)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        // Whoever is refused early reads no more.
        let _ = stream.write_all(bytes);
        let mut out = Vec::new();
        let _ = stream.read_to_end(&mut out);
        String::from_utf8_lossy(&out).into_owned()
    }

    pub(super) fn heard(&self) -> Vec<String> {
        std::mem::take(&mut self.ruler.0.lock().unwrap())
    }

    pub(super) fn asked(&self) -> Vec<String> {
        self.heard().into_iter().filter(|line| !line.starts_with("outcome")).collect()
    }
}

fn listener(runtime: &Runtime) -> tokio::net::TcpListener {
    let listener = StdListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.set_nonblocking(true).unwrap();
    let _inside = runtime.enter();
    tokio::net::TcpListener::from_std(listener).unwrap()
}

fn der(pem: &str) -> rustls::pki_types::CertificateDer<'static> {
    use rustls::pki_types::pem::PemObject;
    rustls::pki_types::CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()
}

pub(super) fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn requests_in_tls_are_ruled_on_one_by_one() {
    let world = World::new(true, true);
    for (more, version) in [(&["--http1.1"][..], "HTTP/1.1"), (&["--http2"], "HTTP/2.0")] {
        let said = text(&world.curl("https", "/a?q=1", more));
        assert_eq!(said, format!("GET /a 0 {version} false [200]"));
        let said = text(&world.curl("https", "/forbidden", more));
        assert_eq!(said, "denied by rule r\n [403]");
        let body = &[more, &["-d", "body"]].concat();
        assert_eq!(text(&world.curl("https", "/p", body)), format!("POST /p 4 {version} false [200]"));
    }
    let asked = world.asked();
    assert_eq!(asked[0], format!("http.request GET/{HOST}//a"));
    assert_eq!(asked.len(), 6);
}

/// A client in Rust: rustls, which believes the session's authority and nothing else, with hyper over both versions.
#[test]
fn a_rustls_client_is_ruled_on() {
    let world = World::new(true, true);
    let mut roots = rustls::RootCertStore::empty();
    roots.add(der(&std::fs::read_to_string(world.ca()).unwrap())).unwrap();
    for (alpn, version) in [(HTTP1, "HTTP/1.1"), (H2, "HTTP/2.0")] {
        let mut config = (*client_config(roots.clone()).unwrap()).clone();
        config.alpn_protocols = vec![alpn.to_vec()];
        let said = world.runtime.block_on(async {
            let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, world.port)).await.unwrap();
            let name = ServerName::try_from(HOST).unwrap();
            let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap();
            assert_eq!(stream.get_ref().1.alpn_protocol(), Some(alpn));
            let authority = format!("https://{HOST}:{}", world.port);
            let mut said = Vec::new();
            let stream = TokioIo::new(stream);
            let mut send: Box<dyn FnMut(Request<body::Through>) -> Sent> = if alpn == H2 {
                let (mut sender, connection) =
                    hyper::client::conn::http2::handshake(TokioExecutor::new(), stream).await.unwrap();
                tokio::spawn(connection);
                Box::new(move |request| futures(sender.send_request(request)))
            } else {
                let (sender, connection) = hyper::client::conn::http1::handshake(stream).await.unwrap();
                tokio::spawn(connection);
                let sender = Arc::new(tokio::sync::Mutex::new(sender));
                Box::new(move |request| {
                    let sender = Arc::clone(&sender);
                    futures(async move {
                        let mut sender = sender.lock().await;
                        sender.ready().await?;
                        sender.send_request(request).await
                    })
                })
            };
            for path in ["/a", "/forbidden", "/b"] {
                let uri = if alpn == H2 { format!("{authority}{path}") } else { path.to_owned() };
                let request = Request::post(uri).header("host", format!("{HOST}:{}", world.port));
                let request = request.body(body::Through::text("body".to_owned())).unwrap();
                let response = send(request).await.unwrap();
                let status = response.status().as_u16();
                let text = body::Through::all(response.into_body()).peek(4096).await.unwrap().unwrap();
                said.push(format!("{status} {}", String::from_utf8_lossy(&text)));
            }
            said
        });
        let ok = |path: &str| format!("200 POST {path} 4 {version} false");
        assert_eq!(said, [ok("/a"), "403 denied by rule r\n".to_owned(), ok("/b")]);
    }
    assert_eq!(world.asked().len(), 6);
}

type Sent = std::pin::Pin<Box<dyn Future<Output = hyper::Result<Response<Incoming>>>>>;

fn futures(sending: impl Future<Output = hyper::Result<Response<Incoming>>> + 'static) -> Sent {
    Box::pin(sending)
}

#[test]
fn requests_without_tls_are_ruled_on_too() {
    let world = World::new(false, true);
    assert_eq!(text(&world.curl("http", "/a", &[])), "GET /a 0 HTTP/1.1 false [200]");
    assert_eq!(text(&world.curl("http", "/a", &["--http2-prior-knowledge"])), "GET /a 0 HTTP/2.0 false [200]");
    assert_eq!(text(&world.curl("http", "/forbidden", &[])), "denied by rule r\n [403]");
    assert_eq!(world.asked().len(), 3);
}

/// A connection that is closed with bytes in it takes the answer with it.
#[test]
fn who_is_refused_amid_a_long_body_is_told_why() {
    use std::io::{Read, Write};
    let world = World::new(false, true);
    for _ in 0..20 {
        let mut stream = std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, world.port)).unwrap();
        let head = "POST /forbidden HTTP/1.1\r\nHost: HOST\r\nContent-Length: 3000000\r\nConnection: close\r\n\r\n";
        stream.write_all(head.replace("HOST", &format!("{HOST}:{}", world.port)).as_bytes()).unwrap();
        stream.write_all(&vec![b'x'; 3_000_000]).unwrap();
        let mut said = String::new();
        stream.read_to_string(&mut said).unwrap();
        assert!(said.starts_with("HTTP/1.1 403") && said.contains("denied by rule r"), "{said}");
    }
    // Who asks first whether to go on is not told to.
    let mut stream = std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, world.port)).unwrap();
    let head = "POST /forbidden HTTP/1.1\r\nHost: HOST\r\nContent-Length: 3000000\r\nExpect: 100-continue\r\n\r\n";
    stream.write_all(head.replace("HOST", &format!("{HOST}:{}", world.port)).as_bytes()).unwrap();
    let mut said = [0; 12];
    stream.read_exact(&mut said).unwrap();
    assert_eq!(&said, b"HTTP/1.1 403");
}

#[test]
fn the_outcome_is_what_the_server_says() {
    let world = World::new(false, true);
    world.curl("http", "/a", &[]);
    let until = std::time::Instant::now() + Duration::from_secs(30);
    while !world.ruler.0.lock().unwrap().iter().any(|l| l == "outcome Some(true) Some(Long(200))") {
        assert!(std::time::Instant::now() < until, "{:?}", world.heard());
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_server_that_is_not_who_it_says_is_not_reached() {
    let world = World::new(true, false);
    let said = text(&world.curl("https", "/a", &[]));
    assert!(said.contains("no secure connection to server.test") && said.ends_with("[502]"), "{said}");
    assert!(world.asked().is_empty());
}

#[test]
fn large_bodies_stream_both_ways() {
    let world = World::new(true, true);
    let file = world.scratch.path().join("large");
    std::fs::write(&file, vec![b'x'; 20 << 20]).unwrap();
    let up = format!("@{}", file.display());
    let said = text(&world.curl("https", "/up", &["--data-binary", &up]));
    assert_eq!(said, format!("POST /up {} HTTP/2.0 false [200]", 20 << 20));
    let output = world.curl("https", "/large", &[]);
    assert_eq!(output.stdout.len(), (16 << 20) + " [200]".len());
}

#[test]
fn there_is_one_reading_of_whose_and_where_a_request_ends() {
    let world = World::new(false, true);
    let host = format!("{HOST}:{}", world.port);
    // However it is written, it is one request, to one host, ruled on.
    for bytes in [
        format!("\r\n\r\nGET /forbidden HTTP/1.1\r\nHost: {host}\r\n\r\n"),
        format!("GET /forbidden HTTP/1.1\r\nhost:{host}\r\nConnection: close\r\n\r\n"),
        format!("GET http://{host}/forbidden HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"),
        format!("BREW /forbidden HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"),
    ] {
        let said = world.raw(bytes.as_bytes());
        assert!(said.contains(" 403 ") && said.contains("denied by rule r"), "{bytes}: {said}");
    }
    // Two hosts, or another's.
    for bytes in [
        "GET / HTTP/1.1\r\nHost: other.test\r\nConnection: close\r\n\r\n".to_owned(),
        format!("GET / HTTP/1.1\r\nHost: {host}\r\nHost: other.test\r\nConnection: close\r\n\r\n"),
        format!("GET http://other.test/ HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"),
        format!("GET / HTTP/1.1\r\nHost: {HOST}:1\r\nConnection: close\r\n\r\n"),
        format!("GET / HTTP/1.1\r\nHost: x@{host}\r\nConnection: close\r\n\r\n"),
        format!("CONNECT other.test:443 HTTP/1.1\r\nHost: {host}\r\n\r\n"),
    ] {
        let said = world.raw(bytes.as_bytes());
        assert!(said.starts_with("HTTP/1.1 421 ") || said.starts_with("HTTP/1.1 400 "), "{bytes}: {said}");
    }
    world.heard();
    // Both lengths, odd chunks: refused, or one request with one body.
    for (bytes, requests) in [
        (
            format!(
                "POST /a HTTP/1.1\r\nHost: {host}\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: {host}\r\n\r\n"
            ),
            1,
        ),
        (
            format!(
                "POST /a HTTP/1.1\r\nHost: {host}\r\nContent-Length: 4\r\nContent-Length: 40\r\nConnection: close\r\n\r\nbody"
            ),
            0,
        ),
        (
            format!(
                "POST /a HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\nzz\r\nbody\r\n0\r\n\r\n"
            ),
            1,
        ),
        (
            format!(
                "POST /a HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: xchunked\r\nConnection: close\r\n\r\n0\r\n\r\n"
            ),
            0,
        ),
        (format!("GET /a HTTP/1.1\r\nHost: {host}\r\nX: {}\r\n\r\n", "y".repeat(10 << 20)), 0),
        ("GET /\0 HTTP/1.1\r\n\r\n".to_owned(), 0),
    ] {
        let said = world.raw(bytes.as_bytes());
        let asked = world.asked();
        assert!(asked.len() <= requests && !asked.iter().any(|a| a.contains("smuggled")), "{asked:?}: {said}");
        assert!(!said.contains(" true"), "both framings went on: {said}");
    }
}

/// A server that would change to HTTP/2 in place, and then hear requests that nobody else reads.
#[test]
fn no_connection_becomes_one_that_carries_more_requests() {
    let world = World::new(false, true);
    let host = format!("{HOST}:{}", world.port);
    for upgrade in ["h2c", "H2C, websocket", "foo", "TLS/1.2"] {
        let said = world.raw(
            format!(
                "GET /upgrade HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: {upgrade}\r\n\
                 HTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\nGET / HTTP/1.0\r\nHost: {host}\r\n\r\n"
            )
            .as_bytes(),
        );
        assert!(
            said.starts_with("HTTP/1.1 200") && !said.contains(" 101 ") && said.contains("upgrade: false"),
            "{said}"
        );
    }
    let said = world.raw(
        format!("GET /upgrade HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade, close\r\nUpgrade: websocket\r\n\r\n")
            .as_bytes(),
    );
    assert!(said.contains("upgrade: true"), "{said}");
}

/// Elsewhere than at HTTP's own ports other protocols pass; who begins like HTTP and waits becomes none of them.
#[test]
fn waiting_makes_no_other_protocol_of_it() {
    let world = World::new(false, true);
    let mut stream = StdStream::connect((Ipv4Addr::LOCALHOST, world.port)).unwrap();
    stream.set_read_timeout(Some(HEAD_WAIT_MAX + Duration::from_secs(20))).unwrap();
    stream.write_all(b"GE").unwrap();
    let mut out = Vec::new();
    let read = stream.read_to_end(&mut out);
    assert!(matches!(read, Ok(0) | Err(_)) && out.is_empty(), "{out:?}");
    let _ = stream.write_all(format!("T /a HTTP/1.1\r\nHost: {HOST}:{}\r\n\r\n", world.port).as_bytes());
    assert!(world.asked().is_empty());
}

#[test]
fn a_handshake_for_another_name_ends() {
    let world = World::new(true, true);
    let other = format!("other.test:{}:127.0.0.1", world.port);
    let url = format!("https://other.test:{}/", world.port);
    let output = Command::new("curl").args(["-skS", "-m", "30", "--resolve", &other, &url]).output().unwrap();
    assert!(!output.status.success() && world.asked().is_empty(), "{output:?}");
    drop(world.runtime);
}

/// A record that has nothing.
struct Nothing;

impl Past for Nothing {
    fn met(&self, _: &str, _: u16, _: u64) -> Option<Met> {
        Some(Met::Plain)
    }
    fn answer(&self, _: &Json) -> Result<super::past::Answer, String> {
        Err("nobody asked for that then".to_owned())
    }
    fn transcript(&self, _: &Json) -> Result<Vec<u8>, String> {
        Err("it is not there".to_owned())
    }
    fn differs(&self, _: (&str, u16, u64), _: u64, _: &[u8], _: &[u8]) {}
}

#[test]
fn where_the_record_answers_whoever_is_connected_hears_nothing() {
    let server = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = server.local_addr().unwrap().port();
    let heard = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        server.accept().unwrap().0.read_to_end(&mut bytes).map(|_| bytes)
    });
    let world = World::past(port, Arc::new(Nothing));
    let said = text(&world.curl("http", "/", &[]));
    assert!(said.contains("[502]") && said.contains("nobody asked"), "{said}");
    drop(world);
    assert_eq!(heard.join().unwrap().unwrap(), b"");
}
