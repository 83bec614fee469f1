#![allow(clippy::panic, reason = "tests")]

use super::*;

mod documents;
mod go;
mod imports;
mod npm;
mod python;

/// Each action on a line: verb, resource, attributes; `reader` and `implied_by` left out.
pub(super) fn said(path: &str, old: Option<&str>, new: Option<&str>) -> String {
    let content =
        Content { path, old: old.map(str::as_bytes), new: new.map(str::as_bytes), wanted: ContentWanted::ALL };
    let mut out = String::new();
    for action in content_actions(&content) {
        let attrs: Vec<String> = action
            .attrs()
            .filter(|(name, _)| !matches!(*name, "reader" | "implied_by"))
            .map(|(name, value)| format!(" {name}={}", serde_json::to_string(value).unwrap_or_default()))
            .collect();
        out += &format!("{} {}{}\n", action.verb.name(), action.resource.id(), attrs.concat());
    }
    out
}

fn check(path: &str, old: &str, new: &str, expect: &[&str]) {
    let is = said(path, Some(old), Some(new));
    assert_eq!(is.lines().collect::<Vec<_>>(), expect, "{path}\n--- old\n{old}\n--- new\n{new}\n--- is\n{is}");
}

/// What a file that wasn't there adds: `NAME VERSION <SOURCE> dev opaque`.
fn added(path: &str, new: &str, expect: &[&str]) {
    let content = Content { path, old: None, new: Some(new.as_bytes()), wanted: ContentWanted::ALL };
    let mut is = Vec::new();
    for action in content_actions(&content) {
        let resource = &action.resource;
        assert_eq!(action.verb.name(), "dependency.add", "{path}: {action:?}");
        assert_eq!(action.attr("implied_by"), Some(&format!("fs.write {path}").into()));
        let mut line = resource.str("name").to_owned();
        if !resource.str("version").is_empty() {
            line += &format!(" {}", resource.str("version"));
        }
        if let Some(source) = action.attr("source").and_then(Value::as_str) {
            line += &format!(" <{source}>");
        }
        for flag in ["dev", "opaque"] {
            if action.attr(flag) == Some(&true.into()) {
                line += &format!(" {flag}");
            }
        }
        is.push(line);
    }
    assert_eq!(is, expect, "{path}\n{new}");
    // Gone again, it removes as much.
    let gone = content_actions(&Content { path, old: Some(new.as_bytes()), new: None, wanted: ContentWanted::ALL });
    assert!(gone.iter().all(|action| action.verb.name() == "dependency.remove") && gone.len() == is.len(), "{gone:?}");
}

#[test]
fn cargo_manifest() {
    check(
        "/w/Cargo.toml",
        "[dependencies]\nserde = \"1\"\n",
        "[dependencies]\nserde = \"1\"\nregex = \"1.13\"\n",
        &["dependency.add cargo/regex/1.13 dev=false"],
    );
    check(
        "/w/Cargo.toml",
        "",
        "[dependencies.a]\nversion = '1'\npackage = \"real\"\n[target.'cfg(unix)'.dev-dependencies]\nb.git = 'https://x/y'\nb.rev = 'abc'\n\
         [workspace.dependencies]\nc = { path = '../c', features = ['x', 'y'] }\n[build-dependencies]\ncc = '1'\n\
         [patch.crates-io]\nd = { git = 'https://evil/d' }\n",
        &[
            "dependency.add cargo/b/abc dev=true source=\"https://x/y\"",
            "dependency.add cargo/c dev=false source=\"../c\"",
            "dependency.add cargo/cc/1 dev=true",
            "dependency.add cargo/d dev=false source=\"https://evil/d\"",
            "dependency.add cargo/real/1 dev=false",
        ],
    );
}

#[test]
fn an_unreadable_manifest_is_one_opaque_change() {
    for new in ["[dependencies", "a = {", "\u{0}", "[dependencies]\nx = 1e", "= =", "'''"] {
        check("/w/Cargo.toml", "", new, &["dependency.change cargo opaque=true"]);
    }
    let actions = content_actions(&Content {
        path: "/w/Cargo.lock",
        old: None,
        new: Some(b"\xff\xfe"),
        wanted: ContentWanted::ALL,
    });
    assert_eq!(actions.len(), 1);
    let long = vec![b' '; CONTENT_BYTES_MAX + 1];
    let actions =
        content_actions(&Content { path: "/w/Cargo.lock", old: None, new: Some(&long), wanted: ContentWanted::ALL });
    assert_eq!(actions.iter().map(|a| a.verb.name()).collect::<Vec<_>>(), ["fs.write", "dependency.change"]);
    assert!(actions.iter().all(|a| a.attr("opaque") == Some(&true.into())));
}

const CRATES_IO: &str = super::registries::CRATES_IO_GIT;

#[test]
fn cargo_lock() {
    let entry = |name: &str, version: &str, source: &str, sum: &str| {
        format!(
            "[[package]]\nname = \"{name}\"\nversion = \"{version}\"\nsource = \"{source}\"\nchecksum = \"{sum}\"\n\n"
        )
    };
    let own = "version = 4\n[[package]]\nname = \"own\"\nversion = \"0.1.0\"\ndependencies = [\n \"a\",\n]\n\n";
    let old = [own, &entry("a", "1.0.0", CRATES_IO, "aa"), &entry("b", "1.0.0", CRATES_IO, "bb")].concat();
    let new = [
        own,
        &entry("a", "1.0.1", CRATES_IO, "ab"),
        &entry("c", "0.1.0", "git+https://x/c?rev=1#f00", ""),
        &entry("c", "0.2.0", super::registries::CRATES_IO_SPARSE, "cc"),
    ]
    .concat();
    check(
        "/w/Cargo.lock",
        &old,
        &new,
        &[
            "dependency.change cargo/a/1.0.1 from=\"1.0.0\"",
            "dependency.remove cargo/b/1.0.0",
            "dependency.add cargo/c/0.1.0 dev=false source=\"https://x/c?rev=1#f00\"",
            "dependency.add cargo/c/0.2.0 dev=false",
        ],
    );
    // Other bytes under the same version; the same from elsewhere.
    check(
        "/w/Cargo.lock",
        &entry("a", "1.0.0", CRATES_IO, "aa"),
        &entry("a", "1.0.0", CRATES_IO, "ab"),
        &["dependency.change cargo/a/1.0.0 from=\"1.0.0\""],
    );
    check(
        "/w/Cargo.lock",
        &entry("a", "1.0.0", CRATES_IO, "aa"),
        &entry("a", "1.0.0", "registry+https://evil", "aa"),
        &["dependency.add cargo/a/1.0.0 dev=false source=\"https://evil\""],
    );
    check("/w/Cargo.lock", &old, own, &["dependency.remove cargo/a/1.0.0", "dependency.remove cargo/b/1.0.0"]);
}

#[test]
fn ci_and_secrets() {
    check(
        "/w/.github/workflows/ci.yml",
        "on: push\n",
        "on: pull_request\n",
        &["fs.write /w/.github/workflows/ci.yml ci=true content=true"],
    );
    for path in ["/w/.a/.b/.gitlab/ci/x", "/w/../.teamcity/x", "/w/..circleci/.circleci/x", "/w/./.gitea/actions/x"] {
        assert!(reads_content(path, ContentWanted::ALL), "{path}");
    }
    for path in ["/w/.github/workflow/x", "/w/a.github/workflows/x", "/w/.teamcity", "/w/./github/workflows/x"] {
        assert!(!reads_content(path, ContentWanted::ALL), "{path}");
    }
    let key = format!("key = \"AKIA{}\"\n", "QX3VJ5LMZT7RNB2K");
    check("/w/a.txt", "", &key, &["fs.write /w/a.txt content=true secrets=[\"aws-access-key\"]"]);
    check("/w/a.txt", &key, &format!("{key}{key}more"), &[]);
    check("/w/a.txt", "", concat!("AKIA", "IOSFODNN7EXAMPLE wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"), &[]);
}
