#![allow(clippy::unwrap_used, reason = "tests")]

//! What an agent may try so that something leaves unread: tunnels, protocols that change unasked, requests behind requests, streams
//! that are reset faster than they are ruled on.

use super::tests::{HOST, World};
use hyper::Request;
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(60);

/// A server on the agent's side: it answers the first head with these bytes, and writes down all that comes.
fn accomplice(answer: &'static str) -> (u16, Arc<Mutex<Vec<u8>>>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let (port, came) = (listener.local_addr().unwrap().port(), Arc::new(Mutex::new(Vec::new())));
    let all = Arc::clone(&came);
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let all = Arc::clone(&all);
            std::thread::spawn(move || {
                let (mut head, mut piece) = (Vec::new(), [0; 4096]);
                let mut has_answered = false;
                while let Ok(read @ 1..) = stream.read(&mut piece) {
                    let read = piece.get(..read).unwrap();
                    all.lock().unwrap().extend_from_slice(read);
                    head.extend_from_slice(read);
                    if !has_answered && head.windows(4).any(|end| end == b"\r\n\r\n") {
                        has_answered = true;
                        let _ = stream.write_all(answer.as_bytes());
                    }
                }
            });
        }
    });
    (port, came)
}

/// Sends `first`, waits for something to come back, sends `then`, and gives all that came.
fn talk(world: &World, first: &str, then: &str) -> String {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, world.port)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(first.as_bytes()).unwrap();
    let mut out = vec![0; 4096];
    let read = stream.read(&mut out).unwrap_or(0);
    out.truncate(read);
    let _ = stream.write_all(then.as_bytes());
    let _ = stream.shutdown(Shutdown::Write);
    let _ = stream.read_to_end(&mut out);
    String::from_utf8_lossy(&out).into_owned()
}

/// Whatever the server says to it, no request but a stream that was ruled on makes a connection one that goes on unread.
#[test]
fn no_answer_makes_a_tunnel() {
    for (line, more, answer) in [
        ("CONNECT {host}", "", "HTTP/1.1 200 OK\r\n\r\n"),
        ("GET /", "", "HTTP/1.1 101 S\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"),
        (
            "GET /",
            "Connection: Upgrade\r\nUpgrade: h2c\r\n",
            "HTTP/1.1 101 S\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
        ),
        (
            "GET /",
            "Connection: Upgrade\r\nUpgrade: websocket\r\n",
            "HTTP/1.1 101 S\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
        ),
        ("GET /", "", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 101 S\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n"),
    ] {
        let (port, came) = accomplice(answer);
        let world = World::plain(port);
        let host = format!("{HOST}:{}", world.port);
        let first = format!("{line} HTTP/1.1\r\nHost: {host}\r\n{more}\r\n").replace("{host}", &host);
        let said = talk(&world, &first, "the secret\r\n\r\nGET /unread HTTP/1.0\r\n\r\n");
        assert!(!said.contains(" 101 "), "{first}: {said}");
        let came = String::from_utf8_lossy(&came.lock().unwrap()).into_owned();
        assert!(!came.contains("secret") && !came.contains("unread"), "{first}: {came}");
    }
}

/// Requests that were sent at once are ruled on one by one, though nothing follows them.
#[test]
fn requests_behind_a_request_are_ruled_on() {
    let world = World::new(false, true);
    let host = format!("{HOST}:{}", world.port);
    let all = format!(
        "POST /one HTTP/1.1\r\nHost: {host}\r\nContent-Length: 3\r\n\r\none\
         GET /forbidden HTTP/1.1\r\nHost: {host}\r\n\r\n\
         GET /three HTTP/1.1\r\nHost: {host}\r\n\r\n\
         GET /four HTTP/1.1\r\nHost: elsewhere.test\r\n\r\n"
    );
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, world.port)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(all.as_bytes()).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut said = String::new();
    stream.read_to_string(&mut said).unwrap();
    let statuses = said.split("HTTP/1.1 ").filter_map(|answer| answer.get(..3));
    let statuses: Vec<&str> = statuses.filter(|status| status.parse::<u16>().is_ok()).collect();
    assert_eq!(statuses, ["200", "403", "200", "421"], "{said}");
    assert_eq!(world.asked().len(), 3, "the last is for nobody to rule on");
}

/// Streams that are reset as soon as they are sent: each that was allowed has an outcome, and the next is served.
#[test]
fn streams_that_are_reset_leave_outcomes() {
    let world = World::new(false, true);
    let (port, host) = (world.port, format!("{HOST}:{}", world.port));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let uri = |path: &str| format!("http://{host}{path}");
    runtime.block_on(async {
        let stream = tokio::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.unwrap();
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        for n in 0..200 {
            let request = Request::get(uri(&format!("/n{n}"))).body(super::body::Through::text(String::new())).unwrap();
            if sender.ready().await.is_err() {
                break;
            }
            // Polled a little, so that it goes out; then dropped, which resets it.
            let _ = tokio::time::timeout(Duration::from_micros(200), sender.send_request(request)).await;
        }
    });
    drop(runtime);
    let output = std::process::Command::new("curl")
        .args(["-sS", "-m", "30", "--http2-prior-knowledge", "--resolve"])
        .args([format!("{HOST}:{port}:127.0.0.1"), uri("/next")])
        .output()
        .unwrap();
    assert!(String::from_utf8_lossy(&output.stdout).contains("GET /next"), "{output:?}");
    let (until, mut heard) = (Instant::now() + PATIENCE, Vec::new());
    loop {
        heard.extend(world.heard());
        let outcomes = heard.iter().filter(|line| line.starts_with("outcome")).count();
        if outcomes > 0 && outcomes * 2 == heard.len() {
            break;
        }
        assert!(Instant::now() < until, "{outcomes} outcomes of {}", heard.len() - outcomes);
        std::thread::sleep(Duration::from_millis(10));
    }
}
