#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

//! Fields of JSON bodies and headers as rules see them, by real clients and raw bytes; and what would have a server read another
//! value than the rules.

use super::tests::{HOST, World, text};
use flyball_kernel::{Charter, RequestReading};
use hyper::Request;
use hyper::body::{Bytes, Frame};
use std::net::{Ipv4Addr, TcpListener};

fn rows(text: &str) -> Vec<RequestReading> {
    let charter = format!("[charter]\nname = \"t\"\ndefault = \"allow\"\n{text}");
    Charter::compile(&[("charter.toml".to_owned(), charter)].into()).unwrap().0.http().reads.clone()
}

fn world() -> World {
    world_of(READ)
}

fn world_of(read: &str) -> World {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || answer(stream));
        }
    });
    World::reading(port, rows(read))
}

const READ: &str =
    "[[http.read]]\nhost = \"server.test\"\npath = \"/api/**\"\nheaders = [\"x-role\"]\njson = [\"/role\"]\n";

/// Says how many bytes came; one request a connection.
fn answer(mut stream: std::net::TcpStream) {
    use std::io::{Read, Write};
    let (mut came, mut piece) = (Vec::new(), [0; 65536]);
    let _ = stream.set_read_timeout(Some(std::time::Duration::from_millis(300)));
    while let Ok(read @ 1..) = stream.read(&mut piece) {
        came.extend_from_slice(&piece[..read]);
        let is_chunked = came.windows(8).any(|w| w.eq_ignore_ascii_case(b"chunked\r"));
        if let Some(at) = came.windows(4).position(|end| end == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&came[..at]).to_ascii_lowercase();
            let length =
                head.split("content-length: ").nth(1).and_then(|l| l.split("\r\n").next()?.parse::<usize>().ok());
            if !is_chunked && came.len() - at - 4 >= length.unwrap_or(0) || came.ends_with(b"0\r\n\r\n") {
                break;
            }
        }
    }
    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok");
}

fn sent(world: &World, path: &str, head: &str, body: &[u8]) -> (String, Vec<String>) {
    let host = format!("{HOST}:{}", world.port);
    let mut bytes = format!("POST {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{head}").into_bytes();
    if !head.to_ascii_lowercase().contains("transfer-encoding") {
        bytes.extend(format!("Content-Length: {}\r\n", body.len()).bytes());
    }
    bytes.extend(b"\r\n");
    bytes.extend(body);
    let said = world.raw(&bytes);
    (said.lines().next().unwrap_or_default().to_owned(), world.asked())
}

#[test]
fn fields_and_headers_reach_the_gate_however_the_body_comes() {
    let world = world();
    let told = |path: &str, head: &str, body: &[u8]| sent(&world, path, head, body);
    let body = br#"{"role":"forbidden"}"#;
    let (status, asked) = told("/api/x", "", body);
    assert!(status.contains("403") && asked[0].contains("/role=forbidden"), "{status} {asked:?}");
    let (status, asked) = told("/api/x", "X-Role: forbidden\r\n", b"{}");
    assert!(status.contains("403") && asked[0].contains("x-role=forbidden"), "{status} {asked:?}");
    let (status, asked) = told("/api/x", "X-Role: user\r\n", br#"{"role":"user"}"#);
    assert!(status.contains("200") && asked[0].contains("/role=user") && asked[0].contains("x-role=user"), "{asked:?}");
    // Odd chunks, another spelling of the path, a type that is none of JSON.
    let chunked = b"3;x=y\r\n{\"r\r\n1\r\no\r\nD\r\nle\":\"forbidden\r\n2\r\n\"}\r\n0\r\n\r\n".as_slice();
    let chunked =
        String::from_utf8_lossy(chunked).replace("D\r\nle\":\"forbidden", "e\r\nle\":\"forbidden").into_bytes();
    for (path, head, body) in [
        ("/api/x", "Transfer-Encoding: chunked\r\n", chunked.as_slice()),
        ("/%61pi//./x", "", body),
        ("/other/..;/api/x", "", body),
        ("/api%2fx", "", body),
        ("/api/x", "Content-Type: text/plain\r\n", body),
        ("/api/x", "", br#"{"Role":"forbidden"}"#),
        ("/api/x", "", br#"{"r\u006fle":"forbidden"}"#),
        ("/api/x", "Expect: 100-continue\r\n", body),
    ] {
        let (status, asked) = told(path, head, body);
        assert!(
            asked.first().is_some_and(|asked| asked.contains("/role=forbidden")),
            "{path} {head}: {status} {asked:?}"
        );
    }
    // What nobody named is not read.
    let (status, asked) = told("/else", "X-Role: forbidden\r\n", body);
    assert!(status.contains("200") && !asked[0].contains("role"), "{status} {asked:?}");
}

#[test]
fn what_can_t_be_read_does_not_go_out_whatever_the_gate_says() {
    let world = world();
    let long = format!("{{\"pad\":\"{}\",\"role\":\"x\"}}", "x".repeat(2 << 20));
    let deep = format!("{{\"role\":{}1{}}}", "[".repeat(1000), "]".repeat(1000));
    for (head, body) in [
        ("Content-Encoding: gzip\r\n", &b"\x1f\x8b\x08\0\0"[..]),
        ("Content-Encoding: identity\r\nContent-Encoding: br\r\n", b"{}"),
        ("Content-Type: application/json; charset=utf-16\r\n", b"{}"),
        ("Content-Type: application/json\r\nContent-Type: text/plain\r\n", b"{}"),
        ("", br#"{"role":"user","role":"forbidden"}"#),
        ("", br#"{"role":"user","Role":"forbidden"}"#),
        ("", b"\xef\xbb\xbf{\"role\":\"forbidden\"}"),
        ("", b"role=forbidden"),
        ("Content-Type: application/x-www-form-urlencoded\r\n", b"role=forbidden"),
        ("", br#"{"role":9007199254740993}"#),
        ("", br#"{"role":"user"}{"role":"forbidden"}"#),
        ("X-Role: user\r\nX_Role: forbidden\r\n", b"{}"),
        ("", long.as_bytes()),
        ("", deep.as_bytes()),
    ] {
        let (status, asked) = sent(&world, "/api/x", head, body);
        let shown = String::from_utf8_lossy(&body[..body.len().min(60)]).into_owned();
        assert!(status.contains(" 40"), "{head}{shown}: {status}");
        // It is on record all the same, without what could not be told.
        assert!(asked.len() == 1 && !asked[0].contains("role="), "{head}{shown}: {asked:?}");
    }
    let (status, _) = sent(&world, "/api/x", "", b"{\"role\":\"user\"}");
    assert!(status.contains("200"), "the next is served: {status}");
}

const DOES: &str = "[[http.read]]\nhost = \"server.test\"\npath = \"/valves/**\"\nis = \"control.actuate\"\n\
    with = { name = \"valve/{/valve}\", value = \"/set/value\" }\n";

/// A request that the charter says is a setpoint is ruled on as one, by the value that its body has in any spelling; one of which that
/// can't be told in one way does not go out.
#[test]
fn a_request_is_what_the_charter_says_that_it_does() {
    let world = world_of(DOES);
    let put = |head: &str, body: &str| sent(&world, "/valves/north", head, body.as_bytes());
    let actuates = |asked: &[String], what: &str| {
        asked.iter().any(|a| a.split_once("control.actuate").is_some_and(|(_, act)| act.contains(what)))
    };
    let (status, asked) = put("", r#"{"valve":"north","set":{"value":50}}"#);
    assert!(
        status.contains("200") && actuates(&asked, "valve/north") && actuates(&asked, "value=Long(50)"),
        "{status} {asked:?}"
    );
    for body in
        [r#"{"Valve":"north","SET":{"v\u0061lue":150}}"#, r#"{"set":{"x":[{"value":1}],"value":150},"valve":"north"}"#]
    {
        let (status, asked) = put("", body);
        assert!(status.contains("200") && actuates(&asked, "value=Long(150)"), "{body}: {status} {asked:?}");
    }
    // Without a value, or a valve, it is one that rules know too little of.
    let (_, asked) = put("", r#"{"valve":"north"}"#);
    assert!(actuates(&asked, "valve/north") && !actuates(&asked, "value=Long"), "{asked:?}");
    for body in ["", "{}", r#"{"valve":null,"set":{"value":150}}"#, r#"{"valve":["north"],"set":{"value":1}}"#] {
        let (_, asked) = put("", body);
        assert!(actuates(&asked, "opaque="), "{body}: {asked:?}");
    }
    for body in [
        r#"{"valve":"north","set":{"value":"50"}}"#,
        r#"{"valve":"north","set":{"value":50.5}}"#,
        r#"{"valve":"north","set":{"value":[50,150]}}"#,
        r#"{"valve":"north","set":{"value":{"value":50}}}"#,
        r#"{"valve":"north","set":{"value":50},"Set":{"value":150}}"#,
        r#"{"valve":"north","set":{"value":50,"value":150}}"#,
        r#"{"valve":"north","set":{"value":9007199254740993}}"#,
        "value=150",
    ] {
        let (status, _) = put("", body);
        assert!(status.contains(" 400"), "{body}: {status}");
    }
    let (status, asked) = put("Content-Encoding: gzip\r\n", "\u{1f}");
    assert!(status.contains(" 4") && !actuates(&asked, "value=Long"), "{status} {asked:?}");
    // Another place, and what only reads.
    let (_, asked) = sent(&world, "/else", "", br#"{"valve":"north","set":{"value":150}}"#);
    assert!(!actuates(&asked, ""), "{asked:?}");
    let host = format!("{HOST}:{}", world.port);
    world.raw(format!("GET /valves/north HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").as_bytes());
    assert!(!actuates(&world.asked(), ""));
    let (_, asked) = sent(&world, "/%76alves//x", "", br#"{"valve":"north","set":{"value":150}}"#);
    assert!(actuates(&asked, "value=Long(150)"), "{asked:?}");
}

/// The same over HTTP/2, which has heads of its own and no lengths.
#[test]
fn fields_are_read_over_http_2_as_well() {
    let world = World::serving(true, true, rows(READ));
    let told = |path: &str, more: &[&str]| {
        let said = text(&world.curl("https", path, &[&["--http2", "--path-as-is"], more].concat()));
        (said, world.asked())
    };
    let (said, asked) = told("/api/x", &["-H", "x-role: user", "-d", r#"{"role":"user"}"#]);
    assert!(said.contains("HTTP/2.0") && said.ends_with("[200]"), "{said}");
    assert!(asked[0].contains("/role=user") && asked[0].contains("x-role=user"), "{asked:?}");
    let body = r#"{"role":"forbidden"}"#;
    for (path, more) in [
        ("/api/x", &["-d", body][..]),
        ("/%61pi//./x", &["-d", body]),
        ("/other/..;/api/x", &["-d", body]),
        ("/api/x", &["-H", "content-type: text/plain", "-d", body]),
        ("/api/x", &["-H", "X-Role: forbidden", "-d", "{}"]),
        ("/api/x", &["-H", "x_role: forbidden", "-d", "{}"]),
        ("/api/x", &["-X", "PUT", "-H", "content-length:", "-d", body]),
    ] {
        let (said, asked) = told(path, more);
        assert!(said.ends_with("[403]") && asked[0].contains("role=forbidden"), "{path} {more:?}: {said} {asked:?}");
    }
    for more in [
        &["-H", "x-role: user", "-H", "x_role: forbidden", "-d", "{}"][..],
        &["-H", "content-encoding: gzip", "-d", body],
        &["-H", "content-type: application/json; charset=utf-16", "-d", body],
        &["-d", r#"{"role":"user","Role":"forbidden"}"#],
    ] {
        let (said, asked) = told("/api/x", more);
        assert!(said.contains("[40"), "{more:?}: {said}");
        assert!(asked.len() == 1 && !asked[0].contains("role="), "{more:?}: {asked:?}");
    }
    let (said, asked) = told("/else", &["-H", "x-role: forbidden", "-d", body]);
    assert!(said.ends_with("[200]") && !asked[0].contains("role"), "{said} {asked:?}");
}

/// Bodies of several requests come at once, a byte a frame: each is its own request's.
#[test]
fn bodies_of_one_connection_are_not_mixed_up() {
    let world = World::serving(true, true, rows(READ));
    let request = |n: usize, role: &str| {
        let body = format!(r#"{{"n":{n},"role":"{role}"}}"#);
        let frames = body.bytes().map(|byte| Frame::data(Bytes::from(vec![byte]))).collect();
        let uri = format!("https://{HOST}:{}/api/{n}", world.port);
        Request::post(uri).body(super::body::Through::frames(frames)).unwrap()
    };
    let roles = |n: usize| if n.is_multiple_of(3) { "forbidden" } else { "user" };
    let said = world.at_once((0..30).map(|n| request(n, roles(n))).collect());
    let expected: Vec<u16> = (0..30).map(|n| if n % 3 == 0 { 403 } else { 200 }).collect();
    assert_eq!(said, expected);
    let asked = world.asked();
    assert_eq!(asked.len(), 30);
    for n in 0..30 {
        let of = format!("/api/{n} ");
        let one = asked.iter().find(|line| line.contains(&of)).unwrap_or_else(|| panic!("{n}: {asked:?}"));
        assert!(one.contains(&format!("/role={}\"", roles(n))), "{one}");
    }
}

#[test]
fn rows_that_mean_nothing_are_told() {
    let wrong = |text: &str| {
        let charter = format!("[charter]\nname = \"t\"\ndefault = \"allow\"\n{text}");
        Charter::compile(&[("charter.toml".to_owned(), charter)].into())
            .map(drop)
            .map_err(|told| format!("{told:?}"))
            .unwrap_err()
    };
    for (text, said) in [
        ("[[http.read]]\nhost = \"a\"\n", "nothing to read"),
        ("[[http.read]]\njson = [\"/a\"]\n", "host"),
        ("[[http.read]]\nhost = \"A\"\njson = [\"/a\"]\n", "no host"),
        ("[[http.read]]\nhost = \"a\"\njson = [\"a\"]\n", "`a` is no name"),
        ("[[http.read]]\nhost = \"a\"\njson = [\"/a~2\"]\n", "no name"),
        ("[[http.read]]\nhost = \"a\"\nheaders = [\"X-A\"]\n", "no name"),
        ("[[http.read]]\nhost = \"a\"\njson = [\"/a\"]\npath = \"/[\"\n", "no pattern"),
        ("[[http.read]]\nhost = \"a\"\njson = [\"/a\"]\nbody = 1\n", "no key"),
    ] {
        let told = wrong(text);
        assert!(told.contains(said), "{text}: {told}");
    }
}
