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
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;
use tokio::runtime::Runtime;

const WAIT_MAX: Duration = Duration::from_secs(60);

/// Allows all, and writes down what it hears.
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
            pass: Vec::new(),
            credentials: Default::default(),
            models: Arc::new(Models::new(ModelSettings::default())),
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
                let connection = Connection { inside, outside, name, address, agent, cause: Vec::new() };
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
