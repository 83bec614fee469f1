#![allow(clippy::unwrap_used, reason = "tests")]
use super::*;
use proptest::prelude::*;

fn wanted(json: &[&str], headers: &[&str]) -> WantedFields {
    let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    WantedFields { headers: set(headers), json: set(json), does: Vec::new() }
}

fn read(pointers: &[&str], body: &str) -> Result<Vec<String>, String> {
    wanted(pointers, &[]).json(None, body.as_bytes())
}

#[test]
fn fields_are_told_by_their_pointers() {
    let body = r#" {"user": {"ro\u006ce": "a\"d\\min", "age": 1.50e1, "tags": ["x", ["y"], {"z": 1}, []]}, "n": -0.0, "items":
        [{"price": 5}, {"price": 7e0, "x": {}}], "ok" : true,"none":null, "a/b": 1, "e": {} } "#;
    let all = ["/user/role", "/user/age", "/user/tags", "/n", "/items/*/price", "/ok", "/none", "/a~1b", "/e", "/no"];
    let told = read(&all, body).unwrap();
    let expected = [
        "/a~1b=1",
        "/e=(object)",
        "/items/*/price=5",
        "/items/*/price=7",
        "/n=0",
        "/none=null",
        "/ok=true",
        "/user/age=15",
        "/user/role=a\"d\\min",
        "/user/tags=(empty)",
        "/user/tags=(object)",
        "/user/tags=x",
        "/user/tags=y",
    ];
    assert_eq!(told, expected);
    assert_eq!(read(&["/items/1/price"], body).unwrap(), ["/items/1/price=7"]);
    assert_eq!(read(&["/a"], "").unwrap(), [""; 0]);
    assert_eq!(read(&["/a"], "[{\"a\":1}]").unwrap(), [""; 0]);
    assert_eq!(read(&["/*/a"], "[{\"a\":1}]").unwrap(), ["/*/a=1"]);
    assert_eq!(read(&["/a"], "\"a\"").unwrap(), [""; 0]);
    let long = format!("{{\"a\":\"{}\"}}", "x".repeat(2000));
    assert_eq!(read(&["/a"], &long).unwrap(), ["/a=(too long)"]);
}

/// Keys that some readers take for the one that is named count as it, and two of them have no one reading.
#[test]
fn another_reader_s_spelling_is_this_one_s_too() {
    for key in ["role", "Role", "ROLE", "\\u0052ole", "r\\u006fle"] {
        assert_eq!(read(&["/role"], &format!("{{\"{key}\": \"admin\"}}")).unwrap(), ["/role=admin"], "{key}");
    }
    assert_eq!(read(&["/us/k"], "{\"u\u{17f}\": {\"\u{212a}\": 1}}").unwrap(), ["/us/k=1"]);
    for body in [
        r#"{"role":"user","role":"admin"}"#,
        r#"{"role":"user","r\u006fle":"admin"}"#,
        r#"{"role":"user","Role":"admin"}"#,
        r#"{"User":{"x":1},"user":{"role":"admin"}}"#,
        r#"{"x":{"a":1,"a":2}}"#,
    ] {
        assert!(read(&["/role", "/user/role"], body).is_err(), "{body}");
    }
    // Of what nobody named it does not matter.
    assert_eq!(read(&["/role"], r#"{"X":1,"x":2,"role":"a","list":[{"role":1},{"Role":2}]}"#).unwrap(), ["/role=a"]);
}

#[test]
fn what_has_no_one_reading_is_none() {
    let deep = format!("{}1{}", "[".repeat(1000), "]".repeat(1000));
    let wide = format!("{{\"a\":[{}1]}}", "1,".repeat(1000).replace('1', "\"x\"")).replace("\"x\",", "");
    assert!(read(&["/a"], &wide).is_ok());
    let many = format!("{{\"a\":[{}]}}", (0..300).map(|n| n.to_string()).collect::<Vec<_>>().join(","));
    for body in [
        "\u{feff}{\"a\":1}",
        "{\"a\":1}{\"a\":2}",
        "{\"a\":1} x",
        "{'a':1}",
        "{a:1}",
        "{\"a\":1,}",
        "[1,]",
        "{\"a\":01}",
        "{\"a\":+1}",
        "{\"a\":NaN}",
        "{\"a\":0x10}",
        "{\"a\":1} // c",
        "/**/{\"a\":1}",
        "a=1",
        "{\"a\":\"\\ud800\"}",
        "{\"a\":\"\t\"}",
        "{\"a\"",
        "\0",
        "{\"a\":9007199254740993}",
        "{\"a\":1e400}",
        "{\"a\":1e99999999999}",
        "{\"a\":0.12345678901234567}",
        &deep,
        &many,
    ] {
        assert!(read(&["/a"], body).is_err(), "{body:?}");
    }
    for bytes in
        [&b"{\"a\":\"\xff\"}"[..], b"\xff\xfe{\0\"\0a\0\"\0:\x001\0}\0", b"{\0\"\0a\0\"\0:\x001\0}\0", b"\x1f\x8b\x08"]
    {
        assert!(wanted(&["/a"], &[]).json(None, bytes).is_err(), "{bytes:?}");
    }
    // A number that nobody named may be as long as it likes.
    assert_eq!(read(&["/a"], "{\"a\":1,\"b\":9007199254740993}").unwrap(), ["/a=1"]);
}

#[test]
fn a_body_in_another_charset_is_not_read() {
    let read = |kind: &str| wanted(&["/a"], &[]).json(Some(kind.as_bytes()), b"{\"a\":1}");
    for kind in [
        "application/json",
        "text/plain; x=y",
        "application/json; charset=UTF-8",
        "a/b;charset=\"utf8\"",
        "x; charset=us-ascii",
    ] {
        assert!(read(kind).is_ok(), "{kind}");
    }
    for kind in
        ["application/json; charset=utf-7", "a/b;x=y; Charset = \"UTF-16\"", "a/b; charset=shift_jis; charset=utf-8"]
    {
        assert!(read(kind).is_err(), "{kind}");
    }
}

#[test]
fn headers_are_told_once_and_in_parts() {
    let wanted = wanted(&[], &["x-role", "authorization"]);
    let read = |pairs: &[(&str, &str)]| wanted.headers(pairs.iter().map(|(name, value)| (*name, value.as_bytes())));
    assert_eq!(read(&[("X-Role", " a, b"), ("x-other", "1")]).unwrap(), ["x-role=a", "x-role=a, b", "x-role=b"]);
    assert_eq!(read(&[("x_role", "a")]).unwrap(), ["x-role=a"]);
    assert_eq!(read(&[("authorization", "Bearer abc")]).unwrap(), ["authorization=(not recorded)"]);
    assert!(read(&[("x-role", "a"), ("x-role", "b")]).is_err());
    assert!(read(&[("x-role", "a"), ("x_role", "b")]).is_err());
    assert!(wanted.headers([("x-role", &b"\xff"[..])].into_iter()).is_err());
}

#[test]
fn numbers_have_one_spelling() {
    for (raw, plain) in [
        ("0", "0"),
        ("-0", "0"),
        ("0.0", "0"),
        ("1", "1"),
        ("-1", "-1"),
        ("1e3", "1000"),
        ("1E+3", "1000"),
        ("1000", "1000"),
        ("1.0", "1"),
        ("1.50", "1.5"),
        ("0.05", "0.05"),
        ("5e-2", "0.05"),
        ("123.45e1", "1234.5"),
        ("-12e-2", "-0.12"),
        ("100000000000000000000", "100000000000000000000"),
    ] {
        assert_eq!(number(raw).as_deref(), Some(plain), "{raw}");
    }
}

fn tree() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i32>().prop_map(Into::into),
        "[a-c\"\\\\\u{0}é{}\\[\\],:]{0,6}".prop_map(Into::into),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Into::into),
            prop::collection::btree_map("[a-c\"\\\\]{0,2}", inner, 0..4)
                .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    /// Each plain value is what the library's own pointer finds.
    #[test]
    fn it_reads_what_a_pointer_of_the_library_finds(tree in tree(), pretty: bool) {
        let text = if pretty { serde_json::to_string_pretty(&tree).unwrap() } else { tree.to_string() };
        for pointer in ["/a", "/b", "/a/b", "/a/0", "/0", "/a/b/c", "/\"", "/\\"] {
            let found = tree.pointer(pointer);
            let plain = found.and_then(|found| match found {
                serde_json::Value::Array(_) | serde_json::Value::Object(_) => None,
                serde_json::Value::String(text) => Some(text.clone()),
                other => Some(other.to_string()),
            });
            let told = read(&[pointer], &text).unwrap();
            match (found, plain) {
                (None, _) => prop_assert_eq!(told, Vec::<String>::new()),
                (Some(_), Some(plain)) => prop_assert_eq!(told, vec![format!("{pointer}={plain}")]),
                _ => prop_assert!(!told.is_empty()),
            }
        }
    }

    #[test]
    fn anything_is_read_or_refused(body in prop::collection::vec(any::<u8>(), 0..64), text in r#"[\[\]{}",:a1e.\\ -]{0,40}"#) {
        let wanted = wanted(&["/a", "/*/a"], &[]);
        let _ = wanted.json(None, &body);
        let _ = wanted.json(None, text.as_bytes());
    }
}

/// A proxy behind takes such a header out, or a reader takes another charset.
#[test]
fn what_others_would_read_otherwise_on_the_way_is_refused() {
    let told = |connection: &str| {
        let headers = [("Connection", connection.as_bytes()), ("X-Env", b"staging".as_slice())];
        wanted(&[], &["x-env"]).headers(headers.into_iter())
    };
    assert_eq!(told("keep-alive, x-other").unwrap(), ["x-env=staging"]);
    for connection in ["x-env", "close, X-Env", "X_Env"] {
        assert!(told(connection).is_err(), "{connection}");
    }
    for (kind, is_read) in [
        ("application/json; charset=utf-8", true),
        ("application/json; charsets=utf-7", true),
        ("application/json; charset*=utf-7''utf-7", false),
        ("application/json; charset=utf-8; charset*=utf-16''x", false),
        ("application/json; charset = utf-16", false),
    ] {
        assert_eq!(wanted(&["/a"], &[]).json(Some(kind.as_bytes()), b"{\"a\":1}").is_ok(), is_read, "{kind}");
    }
}
