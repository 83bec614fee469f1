#![allow(clippy::unwrap_used, reason = "tests")]

//! How requests end when one of the two sides does: raw clients and servers, each to the byte.

use crate::gate::{Answered, Asking, Gate};
use crate::http::*;
use flyball_kernel::{ModelSettings, Value};
use serde_json::Value as Json;
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener as StdListener, TcpStream as StdStream};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;
use tokio::runtime::Runtime;

const WAIT_MAX: Duration = Duration::from_secs(60);

/// Allows all, and writes down what it hears. Of `/held` it asks people, who never answer.
#[derive(Default)]
struct Ruler(Mutex<Vec<String>>);

impl Ruler {
    fn say(&self, said: String) {
        self.0.lock().unwrap().push(said);
    }
}

impl Gate for Ruler {
    fn ask(&self, asking: Asking) -> Answered {
        Answered::Allowed { attempts: (1..).take(asking.actions.len()).collect() }
    }
    fn ask_until(&self, asking: Asking, gone: &AtomicBool) -> Answered {
        let path = asking.actions.iter().map(|action| action.resource.str("path")).find(|path| !path.is_empty());
        let path = path.unwrap_or_default().to_owned();
        if path == "/held" {
            self.say("asked".to_owned());
            let until = Instant::now() + WAIT_MAX;
            while !gone.load(Ordering::SeqCst) && Instant::now() < until {
                std::thread::sleep(Duration::from_millis(5));
            }
            self.say("gone".to_owned());
            return Answered::Denied { attempt: 1, text: "gone".to_owned() };
        }
        self.ask(asking)
    }
    fn outcome(&self, attempts: &[u64], ok: Option<bool>, attrs: &BTreeMap<String, Value>) {
        if attempts == [1] {
            self.say(format!("outcome {ok:?} {:?}", attrs.get("status")));
        } else if !attempts.is_empty() {
            self.say(format!("implied {ok:?} {:?}", attrs.get("tokens")));
        }
    }
    fn observe(&self, _: &str, _: &[u64], _: Json) -> Option<u64> {
        None
    }
}

struct World {
    _runtime: Runtime,
    ruler: Arc<Ruler>,
    port: u16,
    /// Connections that are over.
    over: Arc<AtomicUsize>,
}

impl World {
    fn new(server: impl Fn(StdStream) + Send + Clone + 'static) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let outside = StdListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let server_port = outside.local_addr().unwrap().port();
        std::thread::spawn(move || {
            for stream in outside.incoming().flatten() {
                let server = server.clone();
                std::thread::spawn(move || server(stream));
            }
        });
        let (ruler, over) = (Arc::new(Ruler::default()), Arc::new(AtomicUsize::new(0)));
        let egress = Arc::new(Egress {
            gate: Arc::clone(&ruler) as Arc<dyn Gate>,
            authority: Arc::new(Authority::new().unwrap()),
            client: std::sync::LazyLock::new(Box::new(|| Ok((client_config(rustls::RootCertStore::empty())?, None)))),
            reads: Arc::default(),
            pass: Vec::new(),
            credentials: Default::default(),
            models: Arc::new(Models::new(ModelSettings::default())),
            opens: true,
            replay: Replay::Off,
            wait: Duration::from_secs(1),
        });
        let through = StdListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = through.local_addr().unwrap();
        through.set_nonblocking(true).unwrap();
        let count = Arc::clone(&over);
        runtime.spawn(async move {
            let through = tokio::net::TcpListener::from_std(through).unwrap();
            while let Ok((inside, _)) = through.accept().await {
                let (egress, count) = (Arc::clone(&egress), Arc::clone(&count));
                let outside = TcpStream::connect((Ipv4Addr::LOCALHOST, server_port)).await.unwrap();
                let (name, agent) = (Some("server.test".to_owned()), "a".to_owned());
                let connection = Connection { inside, outside: Some(outside), name, address, agent, cause: Vec::new() };
                tokio::spawn(async move {
                    let _ = egress.serve(connection).await;
                    count.fetch_add(1, Ordering::SeqCst);
                });
            }
        });
        Self { _runtime: runtime, ruler, port: address.port(), over }
    }

    fn send(&self, line: &str, more: &str) -> StdStream {
        let mut stream = StdStream::connect((Ipv4Addr::LOCALHOST, self.port)).unwrap();
        stream.set_read_timeout(Some(WAIT_MAX)).unwrap();
        write!(stream, "{line} HTTP/1.1\r\nHost: server.test:{}\r\n{more}\r\n", self.port).unwrap();
        stream
    }

    fn heard(&self, what: &str) {
        let until = Instant::now() + WAIT_MAX;
        while !self.ruler.0.lock().unwrap().iter().any(|said| said == what) {
            assert!(Instant::now() < until, "{what}: {:?}", self.ruler.0.lock().unwrap());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn ends(&self) {
        let until = Instant::now() + WAIT_MAX;
        while self.over.load(Ordering::SeqCst) == 0 {
            assert!(Instant::now() < until, "the connection goes on");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Reads a request's head.
fn head(stream: &mut StdStream) -> bool {
    let (mut seen, mut byte) = (Vec::new(), [0; 1]);
    while !seen.ends_with(b"\r\n\r\n") {
        if stream.read_exact(&mut byte).is_err() {
            return false;
        }
        seen.extend_from_slice(&byte);
    }
    true
}

#[test]
fn a_stream_is_a_part_of_its_connection() {
    let world = World::new(|mut stream| {
        assert!(head(&mut stream));
        stream.write_all(b"HTTP/1.1 101 S\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n").unwrap();
        let mut byte = [0; 1];
        while stream.read_exact(&mut byte).is_ok() {
            stream.write_all(&byte).unwrap();
        }
    });
    let mut client = world.send("GET /", "Connection: Upgrade\r\nUpgrade: websocket\r\n");
    assert!(head(&mut client));
    let mut byte = [0; 1];
    for _ in 0..3 {
        client.write_all(b"x").unwrap();
        client.read_exact(&mut byte).unwrap();
        assert_eq!((&byte, world.over.load(Ordering::SeqCst)), (b"x", 0), "it counts no longer");
    }
    drop(client);
    world.ends();
}

/// A call that was begun counts, whoever breaks it off.
#[test]
fn a_call_of_a_model_counts_however_it_ends() {
    const CALL: &str = r#"{"model":"m","max_tokens":9,"messages":[]}"#;
    for (answer, expect) in [
        ("HTTP/1.1 200 X\r\nContent-Length: 9\r\n\r\n{", "implied Some(true) Some(Long(23))"),
        ("HTTP/1.1 500 X\r\nContent-Length: 0\r\n\r\n", "implied None None"),
        ("HTTP/1.1 503 X\r\nContent-Length: 0\r\n\r\n", "implied Some(false) None"),
        ("HTTP/1.1 429 X\r\nContent-Length: 0\r\n\r\n", "implied Some(false) None"),
    ] {
        let world = World::new(move |mut stream| {
            assert!(head(&mut stream));
            stream.read_exact(&mut [0; CALL.len()]).unwrap();
            stream.write_all(answer.as_bytes()).unwrap();
        });
        let mut client = world.send("POST /v1/messages", &format!("Content-Length: {}\r\n", CALL.len()));
        client.write_all(CALL.as_bytes()).unwrap();
        let _ = client.read_to_end(&mut Vec::new());
        world.heard(expect);
    }
}

/// A client that keeps its connection is told that the server has not.
#[test]
fn a_closed_server_closes_the_client_s_connection() {
    let world = World::new(|mut stream| {
        assert!(head(&mut stream));
        stream.write_all(b"HTTP/1.1 200 X\r\nContent-Length: 1\r\n\r\nx").unwrap();
    });
    let mut client = world.send("GET /", "");
    let mut said = String::new();
    client.read_to_string(&mut said).unwrap();
    assert!(said.ends_with("\r\n\r\nx"), "{said}");
}

#[test]
fn a_request_whose_client_goes_away_has_an_outcome() {
    let (heard, hears) = std::sync::mpsc::channel();
    let world = World::new(move |mut stream| {
        assert!(head(&mut stream));
        heard.send(()).unwrap();
        // Never answered.
        let _ = stream.read(&mut [0; 1]);
    });
    let client = world.send("GET /", "");
    hears.recv_timeout(WAIT_MAX).unwrap();
    drop(client);
    world.heard("outcome None None");
    world.ends();
}

/// As without a broker: what a program sent before it ended arrives, and what became of it is on record.
#[test]
fn what_nobody_waits_for_goes_out_all_the_same() {
    for _ in 0..20 {
        let world = World::new(|mut stream| {
            assert!(head(&mut stream));
            let mut body = [0; 4];
            stream.read_exact(&mut body).unwrap();
            assert_eq!(&body, b"last");
            stream.write_all(b"HTTP/1.1 201 X\r\nContent-Length: 0\r\n\r\n").unwrap();
        });
        let mut client = world.send("POST /", "Content-Length: 4\r\n");
        client.write_all(b"last").unwrap();
        drop(client);
        world.heard("outcome Some(true) Some(Long(201))");
    }
}

#[test]
fn nobody_is_asked_for_whoever_has_gone_away() {
    let world = World::new(|mut stream| assert!(!head(&mut stream), "a request came"));
    let client = world.send("GET /held", "");
    world.heard("asked");
    drop(client);
    world.heard("gone");
    // Allowed and dropped before it went out.
    let ruler = Arc::new(Ruler::default());
    drop(super::allowed(Arc::clone(&ruler) as Arc<dyn Gate>, Answered::Allowed { attempts: vec![1] }));
    assert_eq!(*ruler.0.lock().unwrap(), ["outcome Some(false) None"]);
}

#[test]
fn a_server_that_fails_may_have_done_it() {
    for (status, expect) in
        [("500 X", "outcome None Some(Long(500))"), ("404 X", "outcome Some(false) Some(Long(404))")]
    {
        let world = World::new(move |mut stream| {
            assert!(head(&mut stream));
            write!(stream, "HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n").unwrap();
        });
        assert!(head(&mut world.send("GET /", "")));
        world.heard(expect);
    }
}

/// A client whose request got no answer is told not to send the next one there.
#[test]
fn a_server_that_breaks_off_ends_the_client_s_connection() {
    let world = World::new(|mut stream| assert!(head(&mut stream)));
    let mut client = world.send("GET /", "");
    let mut said = String::new();
    client.read_to_string(&mut said).unwrap();
    assert!(said.starts_with("HTTP/1.1 502") && said.to_ascii_lowercase().contains("connection: close"), "{said}");
    world.heard("outcome None None");
}
