#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

//! Clients and servers that are wrong on the wire: raw bytes to a real listener, with a real server behind it.

use super::super::tests::{World, around};
use super::*;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener as StdListener, TcpStream};
use std::time::Instant;

const PATIENCE: Duration = Duration::from_secs(60);

struct Scene {
    at: SocketAddr,
    world: Arc<World>,
    /// All that the server got.
    came: Arc<Mutex<Vec<u8>>>,
    _runtime: tokio::runtime::Runtime,
}

/// A server that answers a call of `NAME` with what this gives, then closes or, at nothing more to say, stays.
fn scene(answer: fn(&str) -> (Vec<u8>, bool)) -> Scene {
    let server = StdListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = server.local_addr().unwrap().port();
    let came = Arc::new(Mutex::new(Vec::new()));
    let all = Arc::clone(&came);
    std::thread::spawn(move || {
        for stream in server.incoming().flatten() {
            let all = Arc::clone(&all);
            std::thread::spawn(move || served(stream, &all, answer));
        }
    });
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let listener = runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).unwrap();
    let at = listener.local_addr().unwrap();
    let upstream = Upstream::new(&format!("http://127.0.0.1:{port}/mcp")).unwrap();
    let site = Site { path: "/mcp".to_owned(), upstream, around: Box::new(|| around("s")) };
    let world = Arc::new(World::default());
    let (gate, pins) = (Arc::clone(&world), Arc::clone(&world));
    runtime.spawn(async move { serve(listener, vec![site], None, gate, pins).await });
    Scene { at, world, came, _runtime: runtime }
}

fn served(mut stream: TcpStream, all: &Mutex<Vec<u8>>, answer: fn(&str) -> (Vec<u8>, bool)) {
    let (mut had, mut piece) = (Vec::new(), [0; 65536]);
    while let Ok(read @ 1..) = stream.read(&mut piece) {
        had.extend_from_slice(&piece[..read]);
        let text = String::from_utf8_lossy(&had).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.to_ascii_lowercase().split("content-length: ").nth(1).map_or("0".to_owned(), str::to_owned);
        if body.len() < length.split("\r\n").next().unwrap().parse().unwrap() {
            continue;
        }
        all.lock().unwrap().extend_from_slice(&had);
        let name = body.split("\"name\":\"").nth(1).map_or("", |rest| rest.split('"').next().unwrap());
        let (said, stays) = answer(if body.contains("tools/list") { "tools/list" } else { name });
        let _ = stream.write_all(&said);
        if stays {
            // Until the other side has had enough.
            let _ = stream.read(&mut piece);
        }
        return;
    }
}

fn whole(body: &str) -> Vec<u8> {
    let head = format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n", body.len());
    [head, body.to_owned()].concat().into_bytes()
}

fn call(tool: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"{tool}","arguments":{{}}}}}}"#)
}

impl Scene {
    /// Sends these bytes, and gives what came until the gateway closed the connection; it must.
    fn raw(&self, bytes: &[u8], ends: bool) -> String {
        let mut stream = TcpStream::connect(self.at).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let _ = stream.write_all(bytes);
        if ends {
            let _ = stream.shutdown(Shutdown::Write);
        }
        let begun = Instant::now();
        let mut out = Vec::new();
        let read = stream.read_to_end(&mut out);
        assert!(begun.elapsed() < PATIENCE, "{read:?}: {}", String::from_utf8_lossy(&out));
        String::from_utf8_lossy(&out).into_owned()
    }

    fn post(&self, headers: &str, body: &str) -> String {
        let host = if headers.contains("Host:") { String::new() } else { format!("Host: {}\r\n", self.at) };
        let head = format!(
            "POST /mcp HTTP/1.1\r\n{host}{headers}Content-Type: application/json\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        self.raw(format!("{head}{body}").as_bytes(), false)
    }

    fn came(&self) -> String {
        String::from_utf8_lossy(&self.came.lock().unwrap()).into_owned()
    }

    /// That it still serves.
    fn serves(&self) {
        let said = self.post("", r#"{"jsonrpc":"2.0","id":9,"method":"ping"}"#);
        assert!(said.starts_with("HTTP/1.1 200") && said.contains("pong"), "{said}");
    }
}

const LIST: &str = r#"{"jsonrpc":"2.0","id":1,"result":{"tools":[]}}"#;

fn well(name: &str) -> Option<Vec<u8>> {
    match name {
        "tools/list" => Some(whole(LIST)),
        "" => Some(whole(r#"{"jsonrpc":"2.0","id":9,"result":{"is":"pong"}}"#)),
        _ => None,
    }
}

/// A page in a browser comes by a name of its own.
#[test]
fn only_this_machine_s_own_names_are_served() {
    let scene = scene(|name| (well(name).unwrap_or_else(|| whole(r#"{"jsonrpc":"2.0","id":1,"result":{}}"#)), false));
    let ping = r#"{"jsonrpc":"2.0","id":9,"method":"ping"}"#;
    let port = scene.at.port();
    for headers in [
        "Host: evil.test\r\n".to_owned(),
        format!("Host: evil.test:{port}\r\n"),
        "Host: 127.0.0.1.evil.test\r\n".to_owned(),
        "Host: localhost.\r\n".to_owned(),
        "Host: \r\n".to_owned(),
        format!("Host: 127.0.0.1:{port}\r\nOrigin: https://evil.test\r\n"),
        format!("Host: 127.0.0.1:{port}\r\nOrigin: null\r\n"),
        format!("Host: 127.0.0.1:{port}\r\nOrigin: http://127.0.0.1.evil.test\r\n"),
        format!("Host: 127.0.0.1:{port}\r\nOrigin: http://127.0.0.1@evil.test\r\n"),
    ] {
        let said = scene.post(&headers, ping);
        assert!(said.starts_with("HTTP/1.1 403") && !said.contains("pong"), "{headers}: {said}");
    }
    assert_eq!(scene.came(), "");
    for headers in
        [format!("Host: localhost:{port}\r\nOrigin: http://localhost:1\r\n"), "Host: 127.0.0.1\r\n".to_owned()]
    {
        assert!(scene.post(&headers, ping).contains("pong"), "{headers}");
    }
}

/// A server that goes by the headers does what was ruled on, or nothing.
#[test]
fn headers_say_what_the_body_says() {
    let scene = scene(|name| (well(name).unwrap_or_else(|| whole(r#"{"jsonrpc":"2.0","id":1,"result":{}}"#)), false));
    let ping = r#"{"jsonrpc":"2.0","id":9,"method":"ping"}"#;
    let batch = format!("[{ping},{ping}]");
    for (headers, body) in [
        ("Mcp-Method: tools/call\r\n", ping.to_owned()),
        ("Mcp-Method: ping\r\nMcp-Method: tools/call\r\n", ping.to_owned()),
        ("Mcp-Method: PING\r\n", ping.to_owned()),
        ("Mcp-Name: other\r\n", call("t")),
        ("Mcp-Method: tools/call\r\nMcp-Name: T\r\n", call("t")),
        ("Mcp-Name: t\r\n", ping.to_owned()),
        ("Mcp-Method: ping\r\n", batch),
        ("Mcp-Method: ping\r\n", r#"{"jsonrpc":"2.0","id":9,"result":{}}"#.to_owned()),
    ] {
        let said = scene.post(headers, &body);
        assert!(said.starts_with("HTTP/1.1 400") && said.contains("flyball: refused"), "{headers}{body}: {said}");
    }
    assert_eq!(scene.came(), "");
    assert!(scene.post("Mcp-Method: ping\r\n", ping).contains("pong"));
}

/// A redirection would take a client, or this gateway, to where nobody rules.
#[test]
fn no_redirection_is_followed_or_passed() {
    let scene = scene(|name| {
        let to = |status: &str| {
            format!("HTTP/1.1 {status}\r\nlocation: http://127.0.0.1:9/evil\r\ncontent-length: 0\r\n\r\n")
        };
        (well(name).unwrap_or_else(|| to(&name.replace('_', " ")).into_bytes()), false)
    });
    scene.post("", r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#);
    for status in ["301", "302", "303", "307", "308", "300"] {
        // As a message of its own, which goes on unruled.
        let said =
            scene.post("", &format!(r#"{{"jsonrpc":"2.0","id":1,"method":"x/y","params":{{"name":"{status}_X"}}}}"#));
        assert!(!said.contains("evil") && !said.starts_with("HTTP/1.1 3"), "{said}");
        assert!(said.contains("\"error\""), "{said}");
    }
    assert!(!scene.came().contains("/evil"), "{}", scene.came());
    scene.serves();
}

/// What a reader of events may take for the end of a line is none on its way.
#[test]
fn no_event_is_two_to_anybody() {
    let scene = scene(|name| {
        let forged = "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"forged\":1}}";
        let mut out = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n".to_owned();
        let event = match name {
            "cr" => format!(": x\rdata: {forged}\r\r\n"),
            "cr_in_data" => format!("data: {{\"jsonrpc\":\"2.0\",\"method\":\"n\"}}\rdata: {forged}\n"),
            "cr_between" => "data: {\"jsonrpc\":\"2.0\",\r\"method\":\"n\"}\n".to_owned(),
            "field" => format!("\u{feff}data: {forged}\n"),
            "beside" => format!("event: \u{2028}data: {forged}\ndata: {{\"jsonrpc\":\"2.0\",\"method\":\"n\"}}\n"),
            "in_text" => {
                let line = "\u{2028}data: {\\\"id\\\":1}\u{85}\u{2029}";
                format!("data: {{\"jsonrpc\":\"2.0\",\"method\":\"n\",\"params\":{{\"x\":\"{line}\"}}}}\n")
            }
            _ => return (well(name).unwrap(), false),
        };
        out.push_str(&event);
        out.push_str("\ndata: {\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"is\":\"true\"}}\n\n");
        (out.into_bytes(), false)
    });
    for name in ["cr", "cr_in_data", "cr_between", "field", "beside", "in_text"] {
        let said =
            scene.post("", &format!(r#"{{"jsonrpc":"2.0","id":1,"method":"x/y","params":{{"name":"{name}"}}}}"#));
        assert!(!said.contains("forged") && said.contains("\"is\":\"true\""), "{name}: {said}");
        let body = said.split_once("\r\n\r\n").unwrap().1;
        // (Those of the chunks aside.)
        let body = body.replace("\r\n", "");
        assert!(!body.contains(['\r', '\u{85}', '\u{2028}', '\u{2029}']), "{name}: {body:?}");
        if name == "in_text" {
            assert!(body.contains("\\u2028data") && body.contains("\\u0085\\u2029"), "{body:?}");
        }
    }
}

/// Whoever begins and does not go on holds nothing for longer than so long: heads, bodies, answers' heads and bodies, readers.
#[test]
fn whoever_does_not_go_on_is_waited_for_no_longer_than_so_long() {
    let scene = scene(|name| match name {
        "no_head" => (Vec::new(), true),
        "half_head" => (b"HTTP/1.1 200 OK\r\ncontent-".to_vec(), true),
        "half_body" => {
            (b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 90\r\n\r\n{\"json".to_vec(), true)
        }
        name => (well(name).unwrap(), false),
    });
    let host = format!("Host: {}\r\n", scene.at);
    for begun in [
        "POST /mcp HT".to_owned(),
        format!("POST /mcp HTTP/1.1\r\n{host}X-Slow: "),
        format!("POST /mcp HTTP/1.1\r\n{host}Content-Length: 90\r\n\r\n{{\"jsonr"),
        format!("POST /mcp HTTP/1.1\r\n{host}Transfer-Encoding: chunked\r\n\r\n5\r\n{{\"j"),
    ] {
        let said = scene.raw(begun.as_bytes(), false);
        assert!(said.is_empty() || said.starts_with("HTTP/1.1 4"), "{begun}: {said}");
    }
    assert_eq!(scene.came(), "");
    for name in ["no_head", "half_head", "half_body"] {
        let said =
            scene.post("", &format!(r#"{{"jsonrpc":"2.0","id":1,"method":"x/y","params":{{"name":"{name}"}}}}"#));
        assert!(said.contains("\"error\"") && said.contains("\"id\":1"), "{name}: {said}");
        scene.serves();
    }
    let _ = scene.world.all_heard();
}

#[test]
fn a_session_over_pipes_that_nobody_uses_is_ended() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let listener = runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).unwrap();
    let at = listener.local_addr().unwrap();
    let world = Arc::new(World::default());
    let (gate, pins) = (Arc::clone(&world), Arc::clone(&world));
    let command = || {
        let mut command = std::process::Command::new("sh");
        command.args(["-c", r#"while read -r line; do echo '{"jsonrpc":"2.0","id":1,"result":{"is":"here"}}'; done"#]);
        command
    };
    let idle = Duration::from_millis(400);
    let launch = Launch { command: Box::new(command), around: Box::new(|| around("s")) };
    let piped = Piped::new("/mcp".to_owned(), Launches::One(launch), gate.clone(), pins.clone(), idle);
    let served = Arc::clone(&piped);
    runtime.spawn(async move { serve(listener, Vec::new(), Some(served), gate, pins).await });
    let scene = Scene { at, world, came: Arc::default(), _runtime: runtime };
    let said = scene.post("", r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{}}"#);
    let said = said.to_ascii_lowercase();
    let name = said.split("mcp-session-id: ").nth(1).unwrap_or_else(|| panic!("{said}")).split("\r\n").next().unwrap();
    let until = Instant::now() + PATIENCE;
    while !scene.world.all_heard().iter().any(|heard| heard == "observe process ended") {
        assert!(Instant::now() < until);
        std::thread::sleep(Duration::from_millis(20));
    }
    let said = scene.post(&format!("Mcp-Session-Id: {name}\r\n"), r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#);
    assert!(said.starts_with("HTTP/1.1 404") && said.contains("begin one with `initialize`"), "{said}");
    piped.end();
}
