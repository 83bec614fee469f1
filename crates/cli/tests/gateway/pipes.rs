//! Servers over pipes behind `--listen`: each session has processes of its own, and what ends one ends the other.

use super::{Running, World};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Tells its process and its session's calls, answers a notification by one of its own, writes down that its input has ended; dies when
/// asked to. With STAYS it minds neither its input's end nor a signal.
const SERVER: &str = r#"
import json, os, signal, sys, time
stays = os.environ.get("STAYS")
if stays: signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("server says to stderr", file=sys.stderr, flush=True)
calls = 0
for line in sys.stdin:
    m = json.loads(line)
    if "id" not in m:
        print(json.dumps({"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": "heard"}}), flush=True)
        open(f"{sys.argv[0]}.heard-{os.getpid()}", "w")
        continue
    if m["method"] == "tools/list": r = {"tools": [{"name": "odd", "inputSchema": {"type": "object"}}]}
    elif m["method"] == "tools/call":
        if m["params"]["arguments"].get("die"): os._exit(3)
        calls += 1
        print(json.dumps({"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": os.getpid()}}), flush=True)
        r = {"content": [{"type": "text", "text": f"process {os.getpid()} call {calls}"}]}
    else: r = {"protocolVersion": "2025-11-25", "serverInfo": {"name": "s", "version": "1"}, "capabilities": {"tools": {}}}
    print(json.dumps({"jsonrpc": "2.0", "id": m["id"], "result": r}), flush=True)
open(f"{sys.argv[0]}.ended-{os.getpid()}", "w")
while stays: time.sleep(1)
"#;

struct Listening {
    world: World,
    gateway: Running,
    at: String,
    said: BufReader<std::process::ChildStderr>,
}

struct Response {
    status: u16,
    head: String,
    body: String,
}

fn listening(stays: bool) -> Listening {
    let world = World::new();
    let server = world.path("pipes.py");
    std::fs::write(&server, SERVER).unwrap();
    let words = ["--name", "shop", "--", "python3", server.to_str().unwrap()];
    listening_with(world, &words, "shop", stays)
}

fn listening_with(world: World, words: &[&str], names: &str, stays: bool) -> Listening {
    let mut gateway = world.command(&["gateway", "mcp", "--within", "0", "--listen", "127.0.0.1:0"]);
    gateway.args(words);
    if stays {
        gateway.env("STAYS", "1");
    }
    let mut gateway = gateway.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut said = BufReader::new(gateway.stderr.take().unwrap());
    let mut told = String::new();
    while !told.trim().ends_with("/mcp") {
        told.clear();
        assert!(said.read_line(&mut told).unwrap() > 0, "the gateway has ended");
    }
    let expect = format!("`{names}` is served at http://127.0.0.1:");
    assert!(told.contains(&expect), "{told}");
    let at = told.trim().rsplit_once("http://").unwrap().1.split('/').next().unwrap().to_owned();
    Listening { world, gateway: Running(gateway), at, said }
}

impl Listening {
    fn begin_request(&self, method: &str, session: Option<&str>, more: &str, body: &str) -> TcpStream {
        self.begin_request_at("/mcp", method, session, more, body)
    }

    fn begin_request_at(&self, path: &str, method: &str, session: Option<&str>, more: &str, body: &str) -> TcpStream {
        let mut stream = TcpStream::connect(&self.at).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let session = session.map(|name| format!("Mcp-Session-Id: {name}\r\n")).unwrap_or_default();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\n{session}{more}Accept: application/json, text/event-stream\r\n\
             Content-Type: application/json\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
            self.at,
            body.len()
        );
        stream.write_all(head.as_bytes()).unwrap();
        stream
    }

    fn request(&self, method: &str, session: Option<&str>, more: &str, body: &Value) -> Response {
        self.request_at("/mcp", method, session, more, body)
    }

    fn request_at(&self, path: &str, method: &str, session: Option<&str>, more: &str, body: &Value) -> Response {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let mut stream = self.begin_request_at(path, method, session, more, &body);
        let mut said = String::new();
        stream.read_to_string(&mut said).unwrap();
        let (head, body) = said.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{said:?}"));
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Response { status, head: head.to_ascii_lowercase(), body: body.to_owned() }
    }

    fn initialize(&self) -> Response {
        self.request("POST", None, "", &initialize())
    }

    fn session(&self) -> String {
        let begun = self.initialize();
        assert!(begun.status == 200 && begun.body.contains("serverInfo"), "{} {}", begun.head, begun.body);
        let name = begun.head.lines().find_map(|line| line.strip_prefix("mcp-session-id: "));
        name.unwrap_or_else(|| panic!("{}", begun.head)).to_owned()
    }

    fn call(&self, session: &str, arguments: Value) -> Response {
        self.call_of("odd", session, arguments)
    }

    fn call_of(&self, tool: &str, session: &str, arguments: Value) -> Response {
        let params = json!({"name": tool, "arguments": arguments});
        let call = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params});
        self.request("POST", Some(session), "MCP-Protocol-Version: 2025-11-25\r\n", &call)
    }

    /// The process that answers a session's calls.
    fn process(&self, session: &str) -> PathBuf {
        self.process_of("odd", session)
    }

    fn process_of(&self, tool: &str, session: &str) -> PathBuf {
        let said = self.call_of(tool, session, json!({}));
        let id = said.body.split("process ").nth(1).unwrap_or_else(|| panic!("{} {}", said.head, said.body));
        PathBuf::from("/proc").join(id.split(' ').next().unwrap())
    }

    fn status_of(&self, session: &str) -> u16 {
        self.request("POST", Some(session), "", &json!({"jsonrpc": "2.0", "id": 2, "method": "ping"})).status
    }
}

fn initialize() -> Value {
    let params =
        json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "c", "version": "1"}});
    json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params})
}

/// Waits until it holds.
fn until(what: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !what() {
        assert!(Instant::now() < end, "it does not come");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn id_of(process: &std::path::Path) -> &str {
    process.file_name().unwrap().to_str().unwrap()
}

/// One that nobody has waited for yet has ended as well.
fn has_ended(process: &std::path::Path) -> bool {
    std::fs::read_to_string(process.join("stat")).map_or(true, |stat| stat.contains(") Z "))
}

#[test]
fn each_session_has_a_process_and_both_end_together() {
    let mut it = listening(false);
    let (a, b) = (it.session(), it.session());
    assert!(a != b && a.len() == 32);
    let (of_a, of_b) = (it.process(&a), it.process(&b));
    assert_ne!(of_a, of_b);
    assert!(it.call(&a, json!({})).body.contains("call 2") && it.call(&b, json!({})).body.contains("call 2"));
    // What the server says by itself comes before the answer, on the call's own stream or the one that is listened to.
    let streamed = it.call(&a, json!({}));
    assert!(streamed.head.contains("text/event-stream") && streamed.body.contains("notifications/message"));
    let mut listened = BufReader::new(it.begin_request("GET", Some(&a), "", ""));
    let mut line = String::new();
    while line != "\r\n" {
        line.clear();
        listened.read_line(&mut line).unwrap();
    }
    let called = it.call(&a, json!({}));
    assert!(called.head.contains("application/json") && !called.body.contains("notifications"), "{}", called.body);
    while !line.contains("notifications/message") {
        line.clear();
        assert!(listened.read_line(&mut line).unwrap() > 0);
    }
    // Without a session there is no process; revisions without sessions are told so.
    let ping = json!({"jsonrpc": "2.0", "id": 7, "method": "ping"});
    let none = it.request("POST", None, "", &ping);
    assert!(
        none.status == 400 && none.body.contains("`initialize`") && none.body.contains("\"id\":7"),
        "{}",
        none.body
    );
    assert_eq!(it.request("GET", None, "", &Value::Null).status, 400);
    for (more, body) in [
        ("MCP-Protocol-Version: 2026-07-28\r\n", ping),
        ("", json!({"jsonrpc": "2.0", "id": 7, "method": "server/discover", "params": {}})),
    ] {
        let stateless = it.request("POST", None, more, &body);
        assert!(stateless.status == 400 && stateless.body.contains("revisions with sessions"), "{}", stateless.body);
    }
    assert_eq!(it.status_of("0123"), 404);
    // The end of one is none of the other.
    assert_eq!(it.request("DELETE", Some(&a), "", &Value::Null).status, 200);
    assert_eq!(it.status_of(&a), 404);
    until(|| has_ended(&of_a));
    assert!(it.status_of(&b) == 200 && !has_ended(&of_b));
    // What it says to its standard error is heard where the gateway's is.
    let mut said = String::new();
    it.said.read_line(&mut said).unwrap();
    assert_eq!(said, "server says to stderr\n");
    let id = it.gateway.0.id().to_string();
    assert!(Command::new("kill").arg(id).status().unwrap().success());
    assert!(it.gateway.0.wait().unwrap().success() && has_ended(&of_b));
    // Told to end, not killed.
    assert!(it.world.path(&format!("pipes.py.ended-{}", id_of(&of_b))).exists());
    it.world.ok(&["verify"]);
}

/// What a server says while nobody listens is there for who listens next.
#[test]
fn what_nobody_heard_is_kept_for_the_next_to_listen() {
    let it = listening(false);
    let session = it.session();
    let process = it.process(&session);
    let begun = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
    assert_eq!(it.request("POST", Some(&session), "", &begun).status, 202);
    until(|| it.world.path(&format!("pipes.py.heard-{}", id_of(&process))).exists());
    let mut listened = BufReader::new(it.begin_request("GET", Some(&session), "", ""));
    let mut line = String::new();
    while !line.contains("\"heard\"") {
        line.clear();
        assert!(listened.read_line(&mut line).unwrap() > 0, "nothing was kept");
    }
}

#[test]
fn a_server_that_dies_during_a_call_leaves_it_unknown_and_the_next_session_works() {
    let it = listening(false);
    let (a, b) = (it.session(), it.session());
    let of_b = it.process(&b);
    let said = it.call(&a, json!({"die": true}));
    assert!(
        said.status == 200
            && said.body.contains("the server ended before it answered")
            && said.body.contains("\"id\":1"),
        "{} {}",
        said.head,
        said.body
    );
    until(|| it.status_of(&a) == 404);
    assert_eq!(it.process(&b), of_b);
    let c = it.session();
    assert!(it.call(&c, json!({})).body.contains("call 1"));
    until(|| {
        let log = it.world.ok(&["log", "@", "--json"]);
        log.matches("\"unknown\":true").count() == 1 && log.contains("\"process ended\"")
    });
}

#[test]
fn processes_are_so_many_and_whoever_uses_none_makes_room() {
    let it = listening(false);
    let first = it.session();
    let mut listened = Vec::new();
    for _ in 1..32 {
        let mut stream = it.begin_request("GET", Some(&it.session()), "", "");
        // Its head is here: it listens.
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        listened.push(stream);
    }
    let more = it.session();
    assert!(it.status_of(&first) == 404 && it.status_of(&more) == 200);
    let mut stream = it.begin_request("GET", Some(&more), "", "");
    stream.read_exact(&mut [0]).unwrap();
    // The head is on its way before the stream is taken down as one that is listened to.
    until(|| it.initialize().status == 503);
    drop(listened.pop());
    until(|| it.initialize().status == 200);
}

/// So many servers of a file, `a` and `b` and so on, and `more`.
fn several(count: u8, more: &str, names: &str, stays: bool) -> Listening {
    let world = World::new();
    let (server, file) = (world.path("pipes.py"), world.path("servers.json"));
    std::fs::write(&server, SERVER).unwrap();
    let entry = |name| format!(r#""{name}": {{"command": "python3", "args": ["{}"]}}"#, server.display());
    let entries = ('a'..).take(count.into()).map(entry).collect::<Vec<_>>().join(", ");
    std::fs::write(&file, format!(r#"{{"mcpServers": {{{entries}{more}}}}}"#)).unwrap();
    listening_with(world, &["--servers", file.to_str().unwrap()], names, stays)
}

#[test]
fn each_session_has_processes_of_all_servers_of_a_file() {
    let mut it = several(2, "", "a`, `b", false);
    let (one, two) = (it.session(), it.session());
    let list = json!({"jsonrpc": "2.0", "id": 3, "method": "tools/list"});
    let listed = it.request("POST", Some(&one), "", &list).body;
    assert!(listed.contains("\"a__odd\"") && listed.contains("\"b__odd\""), "{listed}");
    let all = [("a__odd", &one), ("b__odd", &one), ("a__odd", &two), ("b__odd", &two)];
    let mut processes = all.map(|(tool, session)| it.process_of(tool, session));
    let [of_a, of_b, ..] = processes.clone();
    processes.sort();
    assert!(processes.windows(2).all(|two| two[0] != two[1]), "{processes:?}");
    // Each is ruled on as its own server's.
    until(|| {
        let log = it.world.ok(&["log", "@", "--json", "--verb", "tool.call"]);
        log.contains(r#""server":"a""#) && log.contains(r#""server":"b""#)
    });
    // One that dies takes its calls with it, and neither its session nor the other server.
    let died = it.call_of("a__odd", &one, json!({"die": true}));
    assert!(died.body.contains("the server ended before it answered"), "{}", died.body);
    assert_eq!((it.process_of("b__odd", &one), it.status_of(&one)), (of_b.clone(), 200));
    until(|| has_ended(&of_a));
    let again = it.call_of("a__odd", &one, json!({}));
    assert!(again.body.contains("the server has ended"), "{}", again.body);
    // The end of a session is that of all its processes, and no other's.
    assert_eq!(it.request("DELETE", Some(&one), "", &Value::Null).status, 200);
    until(|| has_ended(&of_b));
    assert!(it.status_of(&one) == 404 && it.call_of("b__odd", &two, json!({})).body.contains("call 2"));
    let of_two = ["a__odd", "b__odd"].map(|tool| it.process_of(tool, &two));
    let id = it.gateway.0.id().to_string();
    assert!(Command::new("kill").arg(id).status().unwrap().success());
    assert!(it.gateway.0.wait().unwrap().success() && of_two.iter().all(|process| has_ended(process)));
    it.world.ok(&["verify"]);
}

#[test]
fn processes_of_several_servers_are_so_many_as_well() {
    let names: Vec<String> = ('a'..='p').map(String::from).collect();
    let mut it = several(16, "", &names.join("`, `"), false);
    let one = it.session();
    let of_one = it.process_of("p__odd", &one);
    let two = it.session();
    let three = it.session();
    assert!(it.status_of(&one) == 404 && it.status_of(&two) == 200 && it.status_of(&three) == 200);
    until(|| has_ended(&of_one));
    let of_three = it.process_of("a__odd", &three);
    it.gateway.0.kill().unwrap();
    it.gateway.0.wait().unwrap();
    until(|| has_ended(&of_three));
}

#[test]
fn a_server_that_can_t_be_started_takes_those_before_it_along() {
    let broken = tempfile::tempdir().unwrap();
    let path = broken.path().join("broken");
    std::fs::write(&path, "no program").unwrap();
    let more = format!(r#", "z": {{"command": "{}"}}"#, path.display());
    let it = several(1, &more, "a`, `z", false);
    let refused = it.initialize();
    assert!(refused.status == 502 && refused.body.contains("`z`"), "{} {}", refused.head, refused.body);
    let children = || std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", it.gateway.0.id())).unwrap();
    until(|| children().is_empty());
}

/// What of a file is over HTTP has a path of its own.
#[test]
fn servers_over_http_of_a_file_stand_beside_those_that_are_started() {
    let upstream = listening(false);
    let more = format!(r#", "web": {{"url": "http://{}/mcp"}}"#, upstream.at);
    let it = several(1, &more, "a", false);
    let begun = it.request_at("/web", "POST", None, "", &initialize());
    assert!(begun.status == 200 && begun.body.contains("serverInfo"), "{} {}", begun.head, begun.body);
    let list = json!({"jsonrpc": "2.0", "id": 3, "method": "tools/list"});
    let own = it.session();
    assert!(it.request("POST", Some(&own), "", &list).body.contains("\"a__odd\""));
}

#[test]
fn a_process_does_not_outlive_a_gateway_that_is_killed() {
    let mut it = listening(true);
    let processes = [it.session(), it.session()].map(|session| it.process(&session));
    it.gateway.0.kill().unwrap();
    it.gateway.0.wait().unwrap();
    until(|| processes.iter().all(|process| has_ended(process)));
}

#[test]
fn what_is_no_command_and_no_address_is_told_before_anybody_comes() {
    let world = World::new();
    for (words, part) in [
        (&["--", "shop=localhost:3000/mcp"][..], "no such program"),
        (&["--", "/none/server", "x"], "no such program"),
        (&["--name", "shop", "--", "http://127.0.0.1:3000/mcp"], "`shop=http://…`"),
    ] {
        let output = world.command(&["gateway", "mcp", "--listen", "127.0.0.1:0"]).args(words).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(1) && said.contains(part), "{words:?}: {said}");
    }
}
