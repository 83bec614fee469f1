#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

//! Peers that break off, lie, wait, or change the protocol: an error to the other one in HTTP, an outcome for each request that was
//! allowed, and the next one is served.

use super::tests::{HOST, World};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(60);

/// A server without manners. By path it breaks off, lies, or goes on when the test says so.
struct Origin {
    port: u16,
    go_on: Sender<()>,
    written: Arc<AtomicU64>,
}

impl Origin {
    fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let (go_on, gone_on) = channel();
        let (gone_on, written) = (Arc::new(Mutex::new(gone_on)), Arc::new(AtomicU64::new(0)));
        let count = Arc::clone(&written);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (gone_on, count) = (Arc::clone(&gone_on), Arc::clone(&count));
                std::thread::spawn(move || serve(stream.unwrap(), &gone_on, &count));
            }
        });
        Self { port, go_on, written }
    }
}

fn serve(stream: TcpStream, gone_on: &Mutex<Receiver<()>>, written: &AtomicU64) {
    let mut out = stream.try_clone().unwrap();
    let mut from = BufReader::new(stream);
    loop {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            if from.read_until(b'\n', &mut head).unwrap_or(0) == 0 {
                return;
            }
        }
        let head = String::from_utf8_lossy(&head).into_owned();
        let path = head.split(' ').nth(1).unwrap();
        let ok = |more: &str| format!("HTTP/1.1 200 OK\r\n{more}\r\n");
        match path {
            "/dies" => {
                let _ = out.write_all((ok("Content-Length: 100\r\n") + "short").as_bytes());
                return;
            }
            "/silent" => return,
            "/waits" => {
                let _ = gone_on.lock().unwrap().recv();
                return;
            }
            "/lies" => {
                let _ = out.write_all(
                    (ok("Content-Length: 5\r\n") + "hello" + &ok("Content-Length: 8\r\n") + "smuggled").as_bytes(),
                );
            }
            "/junk" => {
                let _ = out.write_all(b"\xff\xfe nothing that is HTTP\r\n\r\n");
            }
            "/events" => {
                let _ = out.write_all(
                    (ok("Content-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n") + "9\r\ndata: 1\n\n\r\n")
                        .as_bytes(),
                );
                let _ = gone_on.lock().unwrap().recv();
                let _ = out.write_all(b"9\r\ndata: 2\n\n\r\n0\r\n\r\n");
            }
            "/socket" => {
                let _ = out.write_all(
                    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n\x81\x02hi",
                );
                let mut frame = [0; 8];
                if from.read_exact(&mut frame).is_ok() {
                    let _ = out.write_all(&frame);
                }
                return;
            }
            "/endless" => {
                let _ = out.write_all(ok("Connection: close\r\n").as_bytes());
                while out.write_all(&[b'x'; 65536]).is_ok() {
                    written.fetch_add(65536, Ordering::SeqCst);
                }
                return;
            }
            _ => {
                let _ = out.write_all((ok("Content-Length: 2\r\n") + "ok").as_bytes());
            }
        }
    }
}

struct Client {
    out: TcpStream,
    from: BufReader<TcpStream>,
    host: String,
}

impl Client {
    fn new(world: &World) -> Self {
        let out = TcpStream::connect((Ipv4Addr::LOCALHOST, world.port)).unwrap();
        out.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { from: BufReader::new(out.try_clone().unwrap()), out, host: format!("{HOST}:{}", world.port) }
    }

    fn ask(&mut self, path: &str, more: &str) {
        write!(self.out, "GET {path} HTTP/1.1\r\nHost: {}\r\n{more}\r\n", self.host).unwrap();
    }

    /// Reads until these bytes have come; gives all up to there.
    fn until(&mut self, end: &[u8]) -> Vec<u8> {
        let (mut got, mut byte) = (Vec::new(), [0]);
        while !got.ends_with(end) {
            if self.from.read(&mut byte).unwrap() == 0 {
                panic!("ended after {}", got.escape_ascii());
            }
            got.push(byte[0]);
        }
        got
    }

    fn rest(&mut self) -> String {
        let mut got = Vec::new();
        let _ = self.from.read_to_end(&mut got);
        String::from_utf8_lossy(&got).into_owned()
    }
}

/// What was told of allowed requests, when something was.
fn outcome(world: &World) -> String {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(told) = world.heard().into_iter().find(|line| line.starts_with("outcome")) {
            return told;
        }
        assert!(Instant::now() < until, "no outcome");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn serves_the_next(world: &World) {
    let mut client = Client::new(world);
    client.ask("/next", "Connection: close\r\n");
    assert!(client.rest().ends_with("ok"));
    outcome(world);
}

#[test]
fn a_server_that_breaks_off_is_told_of_as_far_as_it_came() {
    let origin = Origin::start();
    let world = World::plain(origin.port);
    for (path, said, told) in [
        // Its status came: that is what is known of it. The client sees that the body is short.
        ("/dies", "HTTP/1.1 200", "outcome Some(true)"),
        ("/silent", "HTTP/1.1 502", "outcome None"),
        ("/junk", "HTTP/1.1 502", "outcome None"),
    ] {
        let mut client = Client::new(&world);
        client.ask(path, "Connection: close\r\n");
        let got = client.rest();
        assert!(got.starts_with(said) && !got.contains("\r\n\r\nshort\r\n"), "{path}: {got}");
        let heard = outcome(&world);
        assert!(heard.starts_with(told), "{path}: {heard}");
        serves_the_next(&world);
    }
}

/// What a server adds to an answer is no answer to the next request.
#[test]
fn an_answer_that_nobody_asked_for_is_nobodys() {
    let origin = Origin::start();
    let world = World::plain(origin.port);
    let mut client = Client::new(&world);
    client.ask("/lies", "");
    client.until(b"hello");
    // The connection may be closed already, as its server's is.
    let _ = write!(client.out, "GET /second HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", client.host);
    let got = client.rest();
    assert!(!got.contains("smuggled"), "{got}");
    serves_the_next(&world);
}

/// A client that goes away while its request is out leaves an outcome that says so: nobody knows.
#[test]
fn whoever_goes_away_leaves_an_outcome() {
    let origin = Origin::start();
    let world = World::plain(origin.port);
    let mut client = Client::new(&world);
    client.ask("/waits", "");
    let until = Instant::now() + PATIENCE;
    while world.asked().is_empty() {
        assert!(Instant::now() < until);
        std::thread::sleep(Duration::from_millis(10));
    }
    client.out.shutdown(Shutdown::Both).unwrap();
    drop(client);
    assert_eq!(outcome(&world), "outcome None None");
    serves_the_next(&world);
}

/// Half of a request is none: nothing is asked, and nothing goes out.
#[test]
fn half_a_request_is_none() {
    let origin = Origin::start();
    let world = World::plain(origin.port);
    let host = format!("{HOST}:{}", world.port);
    for half in [
        "GET /a HT".to_owned(),
        format!("GET /a HTTP/1.1\r\nHost: {host}\r\n"),
        format!("GET /\u{fffd}\u{7f} HTTP/1.1\r\nHost: {host}"),
    ] {
        let mut client = Client::new(&world);
        client.out.write_all(half.as_bytes()).unwrap();
        client.out.shutdown(Shutdown::Write).unwrap();
        let got = client.rest();
        assert!(!got.contains(" 200 ") && world.asked().is_empty(), "{half}: {got}");
    }
    // A body that is shorter than it says.
    let mut client = Client::new(&world);
    write!(client.out, "POST /short HTTP/1.1\r\nHost: {host}\r\nContent-Length: 100\r\n\r\nhalf").unwrap();
    client.out.shutdown(Shutdown::Both).unwrap();
    drop(client);
    serves_the_next(&world);
}

/// Who begins a head, or a body that is read before it is ruled on, and does not go on is waited for no longer than so long, though
/// the connection stays open; one that only streams through waits as long as both ends like.
#[test]
fn who_does_not_go_on_is_not_waited_for() {
    let origin = Origin::start();
    let world = World::plain(origin.port);
    let host = format!("{HOST}:{}", world.port);
    let form = "Content-Type: application/x-www-form-urlencoded\r\n";
    for (begun, status) in [
        (format!("GET /a HTTP/1.1\r\nHost: {host}\r\nX-Slow: "), ""),
        (format!("GET /a HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n"), ""),
        (format!("POST /a HTTP/1.1\r\nHost: {host}\r\n{form}Content-Length: 100\r\n\r\na=b"), "HTTP/1.1 400"),
        (
            format!("POST /a HTTP/1.1\r\nHost: {host}\r\n{form}Transfer-Encoding: chunked\r\n\r\n5\r\na=b"),
            "HTTP/1.1 400",
        ),
    ] {
        let mut client = Client::new(&world);
        client.out.write_all(begun.as_bytes()).unwrap();
        let at = Instant::now();
        let got = client.rest();
        assert!(at.elapsed() < PATIENCE && got.starts_with(status) && !got.contains(" 200 "), "{begun}: {got}");
        assert!(world.asked().is_empty(), "{begun}");
    }
    serves_the_next(&world);
}

/// Header values that are no UTF-8 go on as the bytes that they are; a name or line that is none is refused.
#[test]
fn bytes_that_are_no_text() {
    let origin = Origin::start();
    let world = World::plain(origin.port);
    let host = format!("{HOST}:{}", world.port);
    let with = |line: &[u8]| {
        [b"GET /a HTTP/1.1\r\nHost: ", host.as_bytes(), b"\r\nConnection: close\r\n", line, b"\r\n\r\n"].concat()
    };
    assert!(world.raw(&with(b"X-A: \xff\xfe")).contains(" 200 "));
    world.heard();
    for line in [
        &b"X-\xff: a"[..],
        b"X-A: a\0b",
        b"Content-Length: -1",
        b"Content-Length: 99999999999999999999999",
        b" folded: a",
    ] {
        let said = world.raw(&with(line));
        assert!(said.starts_with("HTTP/1.1 400") && world.asked().is_empty(), "{}: {said}", line.escape_ascii());
    }
    serves_the_next(&world);
}

/// Each event is there before the next one is made.
#[test]
fn events_pass_as_they_come() {
    let origin = Origin::start();
    let world = World::plain(origin.port);
    let mut client = Client::new(&world);
    client.ask("/events", "Accept: text/event-stream\r\n");
    client.until(b"data: 1\n\n");
    origin.go_on.send(()).unwrap();
    client.until(b"data: 2\n\n");
    assert_eq!(outcome(&world), "outcome Some(true) Some(Long(200))");
}

/// Both ways, beginning with what the server says first.
#[test]
fn a_websocket_goes_both_ways() {
    let origin = Origin::start();
    let world = World::plain(origin.port);
    let mut client = Client::new(&world);
    client.ask(
        "/socket",
        "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\nSec-WebSocket-Version: 13\r\n",
    );
    let head = client.until(b"\x81\x02hi");
    assert!(head.starts_with(b"HTTP/1.1 101"), "{}", head.escape_ascii());
    client.out.write_all(b"\x81\x82\0\0\0\0yo").unwrap();
    client.until(b"\x81\x82\0\0\0\0yo");
    assert_eq!(world.asked(), [format!("http.request GET/{HOST}//socket")]);
    let mut refused = Client::new(&world);
    refused.ask("/forbidden", "Connection: Upgrade\r\nUpgrade: websocket\r\n");
    assert!(String::from_utf8_lossy(&refused.until(b"\r\n\r\n")).starts_with("HTTP/1.1 403"));
}

/// Who asks for much and reads nothing makes the server wait, and takes no memory here for it.
#[test]
fn a_slow_reader_holds_its_server_up() {
    let origin = Origin::start();
    let world = World::plain(origin.port);
    let mut client = Client::new(&world);
    client.ask("/endless", "");
    client.until(b"\r\n\r\n");
    let (mut last, mut since) = (0, Instant::now());
    while since.elapsed() < Duration::from_secs(1) {
        let now = origin.written.load(Ordering::SeqCst);
        if now != last {
            (last, since) = (now, Instant::now());
        }
        assert!(now < 64 << 20, "{now} bytes were taken for a client that reads none");
        std::thread::sleep(Duration::from_millis(20));
    }
    serves_the_next(&world);
}
