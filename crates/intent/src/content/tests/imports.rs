use super::super::imports::{imports, source};

/// The imports of a file of that extension; `opaque` stands at the end.
fn check(extension: &str, text: &str, expect: &[&str]) {
    let Some(source) = source(&format!("/w/a.{extension}")) else { panic!("no reader for {extension}") };
    let found = imports(source, text.as_bytes());
    let mut is: Vec<&str> = found.names.iter().map(String::as_str).collect();
    if found.is_opaque {
        is.push("opaque");
    }
    assert_eq!(is, expect, "{extension}:\n{text}");
}

#[test]
fn python() {
    check(
        "py",
        "import os, google.cloud.storage as s\nfrom a.b import (c, d as e,\n  f)\n",
        &["a", "a.b", "a.b.c", "a.b.d", "a.b.f", "google", "google.cloud", "google.cloud.storage", "os"],
    );
    check(
        "py",
        "from . import x\nfrom ..y.z import w\nfrom q import *\nfrom __future__ import annotations\n",
        &[".", "..y", "..y.z", "..y.z.w", ".x", "__future__", "q"],
    );
    check(
        "py",
        "def f():\n    if x:\n        import a\n    __import__('b')\n    importlib.import_module(\"c.d\", p)\n    __import__(n)\n",
        &["a", "b", "c", "c.d"],
    );
    check("py", "\u{feff}import a \\\n  . b\r\nx = 'import no'  # import no\r\n", &["a", "a.b"]);
    check("py", "import \u{ff52}equests\n", &["\u{ff52}equests", "opaque"]);
    check("py", "def f(:\n  impor t x\n\nimport os\n@@@ import z $$\n", &["opaque"]);
    check("py", "x = = 1\n", &[]);
    check("py", "import a\0\n", &["opaque"]);
}

#[test]
fn javascript() {
    let expect =
        ["./r", "@s", "@s/p", "@s/p/sub", "a", "b", "c", "d", "e", "fs", "fs/promises", "f", "node:fs/promises"];
    let mut expect = expect.to_vec();
    expect.sort_unstable();
    for extension in ["js", "mjs", "jsx", "ts", "tsx"] {
        check(
            extension,
            "import x, {y} from '@s/p/sub';\nimport 'a';\nexport * from \"b\";\nexport {q} from 'c';\nfunction f() { const d = require('d'); \
             return import(`e`); }\nconst p = require('node:fs/promises'); module.require('f'); require('./r'); require(n); import(`${n}`);\n",
            &expect,
        );
    }
    check("ts", "import type {A} from 'a';\nimport b = require('b');\nlet x = <any>y;\n", &["a", "b"]);
    check("tsx", "import a from 'a';\nconst x = <div>import 'b'</div>;\n", &["a"]);
    check("js", "require('f\\x73')\n", &["f", "opaque"]);
    check("js", "requ\\u0069re('fs')\n", &["opaque"]);
    check("js", "import {a from 'x'; ((((\n", &["opaque"]);
}

#[test]
fn rust() {
    check(
        "rs",
        "use a::{b, c::{self, d as e}, f::*};\nextern crate g as h;\nfn x() { use i::j; k::l(); Vec::new(); u8::MAX; }\n",
        &["a", "a::b", "a::c", "a::c::d", "a::f", "g", "i", "i::j", "k", "k::l"],
    );
    check(
        "rs",
        "use crate::x; pub use super::y;\n#[tokio::main]\nfn m() { println!(\"{}\", reqwest::get(p.q)); }\n",
        &["crate", "crate::x", "reqwest", "reqwest::get", "super", "super::y", "tokio", "tokio::main"],
    );
    check(
        "rs",
        "fn m() -> std::io::Result<Vec<a::B>> { <T as c::D>::e(); ::f::g() }\n",
        &["a", "a::B", "c", "c::D", "f", "f::g", "std", "std::io", "std::io::Result"],
    );
    check("rs", "use r#try::x;\n// use not::this\n", &["try", "try::x"]);
    check("rs", "use a::{b, ;;; use c::d fn\n", &["a", "a::b", "c", "c::d", "opaque"]);
}

#[test]
fn go() {
    check(
        "go",
        "package p\nimport \"fmt\"\nimport (\n\tx \"net/http\"\n\t_ `github.com/a/b`\n)\nfunc f() { s := \"import no\" }\n",
        &["fmt", "github.com", "github.com/a", "github.com/a/b", "net", "net/http"],
    );
    check("go", "package p\nimport \"f\\x6dt\"\n", &["opaque"]);
}

#[test]
fn java() {
    check(
        "java",
        "package p;\nimport java.net.*;\nimport static a.b.C.m;\nclass X { java.io.File f = new q.w.E(); Map.Entry e; }\n",
        &["a", "a.b", "a.b.C", "a.b.C.m", "java", "java.io", "java.io.File", "java.net", "q", "q.w", "q.w.E"],
    );
    check("java", "\\u0069mport java.net.URL;\nclass X {}\n", &["opaque"]);
}

#[test]
fn what_is_built_to_exhaust_ends() {
    let deep = [
        ("py", "("),
        ("py", "[{"),
        ("js", "("),
        ("js", "{"),
        ("ts", "<"),
        ("tsx", "<a>"),
        ("rs", "use a::{"),
        ("rs", "m!("),
        ("go", "("),
        ("java", "<"),
    ];
    for (extension, part) in deep {
        let Some(source) = source(&format!("/w/a.{extension}")) else { panic!() };
        let found = imports(source, part.repeat(60_000).as_bytes());
        assert!(found.names.len() <= 1024, "{extension} {part}");
    }
    let Some(rust) = source("/w/a.rs") else { panic!() };
    assert!(imports(rust, format!("use {}b;", "a::".repeat(100_000)).as_bytes()).is_opaque);
    imports(rust, format!("fn f() {{ {}b; }}", "a::".repeat(100_000)).as_bytes());
    let Some(python) = source("/w/a.py") else { panic!() };
    assert!(imports(python, &vec![b'\n'; 2 << 20]).is_opaque);
    let many: String = (0..5_000).map(|n| format!("import m{n}\n")).collect();
    let found = imports(python, many.as_bytes());
    assert!(found.is_opaque && found.names.len() == 1024);
}

/// Half a MiB of it took five seconds of the processor's and half a GiB of memory.
#[test]
fn too_many_open_brackets_are_opaque() {
    let read = |extension: &str, text: String| {
        let Some(source) = source(&format!("/w/a.{extension}")) else { panic!() };
        imports(source, text.as_bytes())
    };
    for (extension, part) in
        [("py", "a::{"), ("js", "["), ("ts", "a<b>("), ("rs", "use a::{"), ("go", "("), ("java", "(a")]
    {
        let found = read(extension, part.repeat((1 << 19) / part.len()));
        assert!(found.is_opaque && found.names.is_empty(), "{extension} {part}");
    }
    let nested = |depth: usize| format!("import a\nx = {}{}\nimport b\n", "(".repeat(depth), ")".repeat(depth));
    assert_eq!(read("py", nested(200)).names, ["a", "b"]);
    assert!(!read("py", nested(500)).is_opaque && read("py", nested(513)).is_opaque);
    // One after the other is no nesting.
    assert!(!read("py", "x = (1)\n".repeat(2000)).is_opaque);
}

/// The parser lets go of what is ambiguous at each level by recursion: the process died of its stack.
#[test]
fn deep_ambiguities_do_not_end_the_stack() {
    for (extension, part) in [("go", "("), ("go", "a["), ("ts", "<"), ("rs", "<"), ("java", "(a")] {
        let Some(source) = source(&format!("/w/a.{extension}")) else { panic!() };
        imports(source, part.repeat((1 << 17) / part.len()).as_bytes());
    }
}

/// Ends in good time. With FLYBALL_LONG set as long as a file is read at all, and what takes longest is told:
/// `FLYBALL_LONG=1 cargo test -p flyball-intent --lib -- --nocapture worst`.
#[test]
fn worst_cases() {
    let bytes = if std::env::var_os("FLYBALL_LONG").is_some() { 1 << 19 } else { 1 << 14 };
    let parts = [
        "(",
        "[{",
        "{",
        "<",
        "a::{",
        "m!(",
        "a.",
        "a::",
        "'",
        "\"",
        "`${",
        "/*",
        "//",
        "\n ",
        "if x:\n",
        "import a\n",
        "f(",
        "a<b>(",
        "\\",
        "@",
        "<a>",
        "x = = ",
        ") } ]",
        "r#\"",
        "\u{e9}",
        "async ",
        "?.",
        "def f(",
        "0x",
        "#[",
    ];
    for extension in ["py", "js", "ts", "tsx", "rs", "go", "java"] {
        let Some(source) = source(&format!("/w/a.{extension}")) else { panic!() };
        for part in parts {
            let text = part.repeat(bytes / part.len());
            let started = std::time::Instant::now();
            let found = imports(source, text.as_bytes());
            let took = started.elapsed();
            if took.as_millis() > 500 {
                let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
                let peak = status.lines().find(|line| line.starts_with("VmHWM")).unwrap_or_default();
                eprintln!("{extension} {part:?}: {took:?}, opaque {}, {peak}", found.is_opaque);
            }
        }
    }
}
