//! Sessions that used the network, run again: what is on record answers, and nobody outside hears of it.

use crate::rerunning::{entries, matches, program, programs, replay};
use crate::support::{Case, World, stderr, summary};
use crate::web;
use flyball_testkit::user::User;
use serde_json::Value;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::Output;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

pub fn cases() -> Vec<Case> {
    vec![
        Case { name: "requests_are_answered_from_the_record", needs: web::needs, run: requests },
        Case { name: "another_request_is_told_and_reaches_nobody", needs: web::needs, run: another },
        Case { name: "equal_requests_are_answered_in_their_order", needs: web::needs, run: equal },
        Case {
            name: "an_answer_that_was_tampered_with_is_told_before_anything_runs",
            needs: web::needs,
            run: tampered,
        },
        Case { name: "connections_that_nobody_reads_are_played_again", needs: web::needs, run: unread },
        Case { name: "requests_over_http2_are_answered_from_the_record", needs: web::needs, run: http2 },
        Case { name: "a_websocket_is_said_to_stand_in_the_way", needs: web::needs, run: websocket },
        Case { name: "what_was_refused_is_told_in_the_words_of_then", needs: crate::support::nothing, run: refused },
    ]
}

/// Counts who comes to a port, and answers nobody.
pub struct Counter(Arc<AtomicUsize>);

impl Counter {
    pub fn at(port: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
        let count = Arc::new(AtomicUsize::new(0));
        let counts = Arc::clone(&count);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                counts.fetch_add(1, Ordering::SeqCst);
                drop(stream);
            }
        });
        Self(count)
    }

    pub fn nobody_came(&self) {
        assert_eq!(self.0.load(Ordering::SeqCst), 0, "a live call");
    }
}

fn recorded(world: &World, words: &[&str], ca: &std::path::Path) -> (Value, Output) {
    let mut all = vec!["run", "--json", "--record", "--apply", "never", "--on-hold", "deny", "--"];
    all.extend(words);
    let output = world.flyball(&all).env("SSL_CERT_FILE", ca).output().unwrap();
    (summary(&output), output)
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), stderr(output))
}

fn requests(user: User) {
    let (world, server, _outside) = web::scene(user);
    let script = r#"
        curl -sS @URL@/curl; curl -sS -d body @URL@/curl; curl -sS -d body @URL@/curl; curl -sS -I @URL@/head | head -1
        echo 'url = @URL@/forbidden' >settings; curl -sS -o /dev/null -w 'curl %{http_code}\n' -K settings
        /usr/bin/python3 -c 'import urllib.request as u; print(u.urlopen("@URL@/python").read().decode())'
        node -e 'fetch("@URL@/node").then(r => r.text()).then(t => require("fs").writeFileSync("node.txt", t))'
        curl -sS -H 'Authorization: Bearer nobody' @URL@/who >who
        /usr/bin/python3 none.py
    "#;
    let script = script.replace("@URL@", &format!("https://host.internal:{}", server.port));
    std::fs::write(world.repo.workspace().join("work.sh"), script).unwrap();
    // Nobody is there: whether that shows as an end or as a reset is a race of its own.
    let none = "import socket\ns = socket.create_connection(('host.internal', 1))\ntry: print('none' if not s.recv(1) else 'some')\nexcept OSError: print('none')\n";
    std::fs::write(world.repo.workspace().join("none.py"), none).unwrap();
    let (session, output) = recorded(&world, &["sh", "work.sh"], &server.ca);
    let text = said(&output);
    for expect in ["GET /curl 0", "POST /curl 4", "HTTP/1.1 501", "curl 403", "GET /python 0", "none\n"] {
        assert!(text.contains(expect), "{expect}: {text}");
    }
    assert_eq!(session["replay_level"], 5, "{session}");
    let port = server.port;
    drop(server);
    let counter = Counter::at(port);
    // What was answered from the record was not done again.
    let told = matches(&world, &session, "4");
    assert_eq!(told["rerun"]["in_the_copy"], serde_json::json!([]), "{told:#}");
    matches(&world, &session, "5");
    counter.nobody_came();
    world.verifies();
}

fn another(user: User) {
    let (world, server, _outside) = web::scene(user);
    let dir = programs(&world);
    let (agent, helper) = (dir.join("agent"), dir.join("helper"));
    let url = format!("https://host.internal:{}", server.port);
    program(&agent, &format!("{}; exit 0", helper.display()));
    let asks = |body: &str, more: &str| {
        format!("curl -sS {more} -H 'content-type: application/json' -d '{body}' {url}/a >out || exit 0")
    };
    program(&helper, &asks(r#"{"a": 1, "b": [1, "two"]}"#, ""));
    world.user.own(&dir).unwrap();
    let (session, output) = recorded(&world, &[agent.to_str().unwrap()], &server.ca);
    assert_eq!(session["exit"], 0, "{}", said(&output));
    let port = server.port;
    drop(server);
    let counter = Counter::at(port);
    matches(&world, &session, "4");
    let exchange =
        entries(&world, &session).into_iter().find(|e| e["body"]["http"].is_object()).unwrap()["seq"].clone();
    for (body, more, field, was, is) in [
        (r#"{"a": 1, "b": [1, "twa"]}"#, "", "/http/request/body/b/1", "two", "twa"),
        (r#"{"a": 1, "b": [1, "two"]}"#, "-H 'x-replay: 1'", "/http/request/headers/", "", "x-replay"),
        (r#"{"a": 1, "b": [1, "two"] }"#, "-A other", "/http/request/headers/", "", ""),
    ] {
        program(&helper, &asks(body, more));
        let (told, output) = replay(&world, &session, "4");
        assert_eq!((told["result"].as_str(), output.status.code()), (Some("diverged"), Some(104)), "{told:#}");
        let difference = &told["difference"];
        // The words of the command differ before the request does.
        let all = world.log();
        let noted = all.iter().find(|e| e["actor"] == "replay").unwrap();
        assert!(difference["seq"].as_u64() <= exchange.as_u64(), "{told:#}");
        assert_eq!(noted["body"]["replay"]["at"], exchange, "{noted:#}");
        let noted = &noted["body"]["replay"];
        assert!(noted["field"].as_str().unwrap().starts_with(field), "{noted:#}");
        assert!(
            noted["recorded"].to_string().contains(was) && noted["recomputed"].to_string().contains(is),
            "{noted:#}"
        );
    }
    // One that is asked for once more than then is not answered twice.
    program(&helper, &format!("{0}; {0}", asks(r#"{"a": 1, "b": [1, "two"]}"#, "")));
    let (told, _) = replay(&world, &session, "4");
    assert_eq!(told["result"], "diverged", "{told:#}");
    assert!(std::fs::read(world.repo.workspace().join("out")).is_err());
    counter.nobody_came();
}

/// Says something else each time.
const COUNTING: &str = r#"
const fs = require("fs"), [, cert, key] = process.argv;
const server = require("https").createServer({ cert: fs.readFileSync(cert), key: fs.readFileSync(key) });
let n = 0;
server.on("request", (asked, answer) => {
    asked.resume();
    asked.on("end", () => answer.end(`answer ${++n}\n` + require("crypto").randomBytes(9000).toString("hex") + "\n"));
});
server.listen(0, "127.0.0.1", () => console.log(server.address().port));
"#;

fn equal(user: User) {
    let (world, server, _outside) = web::scene_of(user, &["node", "-e", COUNTING]);
    let url = format!("https://host.internal:{}/same", server.port);
    // One that differs in its body is another, wherever it stands between them.
    let script =
        format!("for n in 1 2 3; do curl -sS {url}; done; curl -sS -d x {url}; curl -sS {url}; curl -sS -d x {url}");
    let (session, output) = recorded(&world, &["sh", "-c", &script], &server.ca);
    let text = said(&output);
    let order: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("answer ")).collect();
    assert_eq!(order, ["1", "2", "3", "4", "5", "6"], "{text}");
    let port = server.port;
    drop(server);
    let counter = Counter::at(port);
    matches(&world, &session, "5");
    counter.nobody_came();
}

/// Changes what is kept of a payload, which content it is said to be, or has it gone.
const TAMPER: &str = r#"
import sqlite3, sys
ledger, what, commitment = sys.argv[1], sys.argv[2], bytes.fromhex(sys.argv[3])
db = sqlite3.connect(ledger)
flip = lambda data: data[:-9] + bytes([data[-9] ^ 1]) + data[-8:]
one = lambda text, *words: db.execute(text, words).fetchone()
digest, = one("select digest from payloads where commitment = ?", commitment)
if what == "content":
    piece, data = one("select piece, data from chunks where digest = ? order by piece desc", digest)
    db.execute("update chunks set data = ? where digest = ? and piece = ?", (flip(data), digest, piece))
elif what == "cut":
    piece, data = one("select piece, data from chunks where digest = ? order by piece desc", digest)
    db.execute("update chunks set data = ? where digest = ? and piece = ?", (data[:-1], digest, piece))
elif what == "swapped":
    other, = one("select digest from blobs where digest != ? order by digest", digest)
    db.execute("update chunks set digest = zeroblob(32) where digest = ?", (digest,))
    db.execute("update chunks set digest = ? where digest = ?", (digest, other))
    db.execute("update chunks set digest = ? where digest = zeroblob(32)", (other,))
elif what == "which":
    other, there = one("select commitment, digest from payloads where digest != ? and commitment != ? order by commitment", digest, commitment)
    db.execute("update payloads set digest = ? where commitment = ?", (there, commitment))
    db.execute("update payloads set digest = ? where commitment = ?", (digest, other))
elif what == "lost":
    db.execute("delete from blobs where digest = ?", (digest,))
elif what == "gone":
    db.execute("delete from payloads where commitment = ?", (commitment,))
db.commit()
db.execute("pragma wal_checkpoint(truncate)")
"#;

fn tampered(user: User) {
    let (world, server, _outside) = web::scene_of(user, &["node", "-e", COUNTING]);
    let url = format!("https://host.internal:{}", server.port);
    let (session, output) =
        recorded(&world, &["sh", "-c", &format!("curl -sS {url}/a >a; curl -sS {url}/b >b")], &server.ca);
    assert_eq!(session["exit"], 0, "{}", said(&output));
    let port = server.port;
    drop(server);
    let counter = Counter::at(port);
    let exchange = entries(&world, &session).into_iter().find(|e| e["body"]["http"]["answer"].is_object()).unwrap();
    let kept = exchange["body"]["http"]["answer"]["body"]["commitment"].as_str().unwrap();
    let hex = kept.strip_prefix("sha256:").unwrap_or(kept);
    matches(&world, &session, "4");
    let sessions = world.ok(&["ps", "--json"]).lines().count();
    let (ledger, whole) = (world.ledger.join("ledger.db"), world.ledger.join("ledger.whole"));
    std::fs::copy(&ledger, &whole).unwrap();
    for what in ["content", "cut", "swapped", "which", "lost", "gone"] {
        for beside in ["ledger.db-wal", "ledger.db-shm"] {
            let _ = std::fs::remove_file(world.ledger.join(beside));
        }
        std::fs::copy(&whole, &ledger).unwrap();
        let changed = std::process::Command::new("/usr/bin/python3")
            .args(["-c", TAMPER, ledger.to_str().unwrap(), what, hex])
            .output()
            .unwrap();
        assert!(changed.status.success(), "{changed:?}");
        world.user.own(&world.ledger).unwrap();
        for level in ["4", "5"] {
            let (told, output) = replay(&world, &session, level);
            assert_eq!(
                (told["result"].as_str(), output.status.code()),
                (Some("inconclusive"), Some(1)),
                "{what}: {told:#}"
            );
            assert!(told["rerun"].is_null(), "{what}: nothing was run: {told:#}");
            let named = |o: &Value| o["seq"] == exchange["seq"];
            let why = &told["levels"][0]["obstacles"];
            assert!(why.as_array().unwrap().iter().any(named), "{what}: entry {}: {why:#}", exchange["seq"]);
        }
        let verified = world.flyball(&["verify", session["session"].as_str().unwrap(), "--json"]).output().unwrap();
        let report: Value = serde_json::from_slice(&verified.stdout).unwrap();
        let named = |p: &Value| p["stream"] == exchange["stream"] && p["seq"] == exchange["seq"];
        assert!(report["problems"].as_array().unwrap().iter().any(named), "{what}: {report:#}");
        assert_eq!(world.ok(&["ps", "--json"]).lines().count(), sessions, "{what}: no session was made");
    }
    counter.nobody_came();
}

/// A server that speaks first, and one whose TLS is passed on closed.
fn unread(user: User) {
    let (world, server, _outside) = web::scene(user);
    world.edit("charter.toml", "[charter]", "[http]\npass = [\"host.internal\"]\n[charter]");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let serving = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(b"hello, who?\n").unwrap();
        let mut name = [0; 4];
        stream.read_exact(&mut name).unwrap();
        stream.write_all(&[b"welcome ", &name[..], b"\n"].concat()).unwrap();
        stream.write_all(&vec![b'x'; 200_000]).unwrap();
    });
    let dir = programs(&world);
    let agent = dir.join("agent");
    let asks = |name: &str| {
        let talk = format!(
            "import socket; s = socket.create_connection((\"host.internal\", {port})); print(s.recv(12)); s.sendall(b\"{name}\"); print(len(b\"\".join(iter(lambda: s.recv(9999), b\"\"))))"
        );
        std::fs::write(dir.join("talk.py"), talk).unwrap();
    };
    asks("anna");
    program(
        &agent,
        &format!(
            "/usr/bin/python3 {}; curl -sSk https://host.internal:{}/closed; exit 0",
            dir.join("talk.py").display(),
            server.port
        ),
    );
    world.user.own(&dir).unwrap();
    let (session, output) = recorded(&world, &[agent.to_str().unwrap()], &server.ca);
    serving.join().unwrap();
    let text = said(&output);
    assert!(text.contains("hello, who?") && text.contains("200013") && text.contains("GET /closed 0"), "{text}");
    let tls = server.port;
    drop(server);
    let counters = [Counter::at(port), Counter::at(tls)];
    matches(&world, &session, "5");
    asks("otto");
    let (told, _) = replay(&world, &session, "4");
    assert_eq!(told["result"], "diverged", "{told:#}");
    let noted = world.log().into_iter().find(|e| e["actor"] == "replay").unwrap();
    assert_eq!(noted["body"]["replay"]["recorded"]["text"], "anna", "{noted:#}");
    assert_eq!(noted["body"]["replay"]["recomputed"]["text"], "otto", "{noted:#}");
    counters.iter().for_each(Counter::nobody_came);
}

/// Says the version, and gives back what comes over a WebSocket.
const SERVER: &str = r#"
const fs = require("fs"), [, cert, key] = process.argv;
const server = require("http2").createSecureServer({ cert: fs.readFileSync(cert), key: fs.readFileSync(key), allowHTTP1: true });
server.on("request", (asked, answer) => {
    let bytes = 0;
    asked.on("data", more => bytes += more.length);
    asked.on("end", () => answer.end(`${asked.httpVersion} ${asked.method} ${asked.url} ${bytes}\n`));
});
server.on("upgrade", (asked, socket) => {
    socket.write("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
    socket.on("data", bytes => socket.write(bytes));
    socket.on("error", () => {});
});
server.listen(0, "127.0.0.1", () => console.log(server.address().port));
"#;

fn http2(user: User) {
    let (world, server, _outside) = web::scene_of(user, &["node", "-e", SERVER]);
    let url = format!("https://host.internal:{}", server.port);
    // Several at once over one connection, too.
    let script = format!(
        "curl -sS --http2 {url}/one; curl -sS --http2 -d body {url}/two; curl -sS --http2 -Z {url}/three {url}/four >both; sort both; rm both; curl -sS --http1.1 {url}/old"
    );
    let (session, output) = recorded(&world, &["sh", "-c", &script], &server.ca);
    let text = said(&output);
    for expect in ["2.0 GET /one 0", "2.0 POST /two 4", "2.0 GET /three 0", "2.0 GET /four 0", "1.1 GET /old 0"] {
        assert!(text.contains(expect), "{expect}: {text}");
    }
    let port = server.port;
    drop(server);
    let counter = Counter::at(port);
    matches(&world, &session, "4");
    counter.nobody_came();
    world.verifies();
}

fn websocket(user: User) {
    let (world, server, _outside) = web::scene_of(user, &["node", "-e", SERVER]);
    let client = format!(
        "import socket, ssl\n\
         s = ssl.create_default_context().wrap_socket(socket.create_connection(('host.internal', {port})), server_hostname='host.internal')\n\
         s.sendall(b'GET /stream HTTP/1.1\\r\\nHost: host.internal:{port}\\r\\nConnection: Upgrade\\r\\nUpgrade: websocket\\r\\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\\r\\nSec-WebSocket-Version: 13\\r\\n\\r\\n')\n\
         head = b''\n\
         while not head.endswith(b'\\r\\n\\r\\n'): head += s.recv(1)\n\
         s.sendall(b'hello'); print(head.split()[1].decode(), s.recv(5).decode())\n",
        port = server.port
    );
    std::fs::write(world.repo.workspace().join("client.py"), client).unwrap();
    let (session, output) = recorded(&world, &["/usr/bin/python3", "client.py"], &server.ca);
    assert!(said(&output).contains("101 hello"), "{}", said(&output));
    let port = server.port;
    drop(server);
    let counter = Counter::at(port);
    let (told, output) = replay(&world, &session, "4");
    assert_eq!((told["result"].as_str(), output.status.code()), (Some("inconclusive"), Some(1)), "{told:#}");
    let why = told["levels"][3]["obstacles"].to_string();
    assert!(why.contains("a stream of its own"), "{why}");
    assert!(told["rerun"].is_null(), "nothing was run: {told:#}");
    let shown = world.ok(&["show", session["session"].as_str().unwrap()]);
    assert!(shown.contains("a stream of its own"), "{shown}");
    counter.nobody_came();
}

/// A refusal names its session and its entry: those of then.
fn refused(user: User) {
    let world = World::new(user);
    world.init(
        "",
        "@id(\"closed\") @owner(\"maintainer\") @reason(\"no\")\nforbid (principal, action == Action::\"fs.write\", resource) when { resource.path like \"*.no\" };\n",
    );
    std::fs::write(
        world.repo.workspace().join("work.sh"),
        "echo 1 >a.no; echo 2 >b.no; sh -c 'echo 3 >c.no' 2>said; exit 0",
    )
    .unwrap();
    let (session, output) = recorded(&world, &["sh", "work.sh"], std::path::Path::new("/nowhere"));
    let (text, id) = (said(&output), session["session"].as_str().unwrap());
    assert!(text.contains("(entry ") && text.contains(id), "{text}");
    matches(&world, &session, "5");
    let log = world.log();
    assert!(log.iter().any(|e| e["kind"] == "ruling" && e["body"]["verdict"] == "deny"), "ruled on as ever");
}
