#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;

fn check(line: &str, body: &str, expect: &[&str]) {
    let (method, rest) = line.split_once(' ').unwrap();
    let (host, target) = rest.split_at(rest.find('/').unwrap());
    let mut request = HttpRequest { method, scheme: "https", host, target, body: None };
    if wants_body(&request) {
        request.body = Some(body.as_bytes());
    }
    let said: Vec<String> = http_actions(&request)
        .unwrap()
        .iter()
        .skip(1)
        .map(|action| {
            let attrs = action.attrs().filter(|(name, _)| !["reader", "implied_by", "url", "tool"].contains(name));
            let attrs: Vec<String> = attrs.map(|(n, v)| format!("{n}={}", serde_json::to_string(v).unwrap())).collect();
            format!("{} {} {}", action.verb, action.resource.id(), attrs.join(" ")).trim_end().to_owned()
        })
        .collect();
    assert_eq!(said, expect, "{line} {body}");
}

#[test]
fn what_is_read_is_only_a_request() {
    check("GET api.github.com/repos/o/r/pulls", "", &[]);
    check("GET a.example/api/v1/pods", "", &[]);
    check("POST a.example/", "{}", &[]);
}

#[test]
fn a_path_has_one_spelling() {
    let path = |target: &str| {
        let request = HttpRequest { method: "GET", scheme: "https", host: "h", target, body: None };
        http_actions(&request).unwrap().first().unwrap().resource.str("path").to_owned()
    };
    for (target, is) in [
        ("/a/b?x=/../y", "/a/b"),
        ("/%61/%2e%2E/b", "/b"),
        ("//a///b/", "/a/b/"),
        ("/a/./b/../c", "/a/c"),
        ("/../../a", "/a"),
        ("/a%2fb%3f", "/a%2Fb%3F"),
        ("/a/..", "/"),
        ("/", "/"),
        ("/100%", "/100%"),
        ("/%zz%4", "/%zz%4"),
        ("/%E4%b8", "/%E4%B8"),
        ("*", "*"),
    ] {
        assert_eq!(path(target), is, "{target}");
    }
    check("PUT api.github.com//repos/./o/x/../r/%70ulls/7/merge", "", &["pr.merge o/r/7"]);
}

#[test]
fn github_by_its_api() {
    check(
        "POST api.github.com/repos/o/r/pulls",
        r#"{"title":"t","base":"main","head":"f"}"#,
        &[r#"pr.open o/r base="main" body="" head="f" title="t""#],
    );
    check("PUT api.github.com/repos/o/r/pulls/7/merge", "{}", &["pr.merge o/r/7"]);
    check("PUT own.example/api/v3/repos/o/r/pulls/7/merge", "", &["pr.merge o/r/7"]);
    check("PUT api.github.com/repos/o/%72/pulls/7/merge", "", &["pr.merge o/r/7"]);
    check("PATCH api.github.com/repos/o/r/git/refs/heads/main", r#"{"force":true}"#, &["git.push main force=true"]);
    check("DELETE api.github.com/repos/o/r/git/refs/heads/a/b", "", &["git.push a/b delete=true"]);
    check("POST api.github.com/repos/o/r/git/refs", "not json", &["git.push  opaque=true"]);
    check("PUT api.github.com/repos/o/r/contents/a.txt", "{}", &["git.push  default_branch=true"]);
    check(
        "POST api.github.com/graphql",
        r#"{"query":"mutation { mergePullRequest(input: $i) { id } }"}"#,
        &["pr.merge  opaque=true"],
    );
    check("POST api.github.com/graphql", r#"{"query":"query { viewer { login } }"}"#, &[]);
}

#[test]
fn git_by_what_the_push_itself_says() {
    let zero = "0".repeat(40);
    let one = "1".repeat(40);
    let line = |text: String| format!("{:04x}{text}", text.len() + 4);
    let first = line(format!("{zero} {one} refs/heads/main\0 report-status side-band-64k"));
    let second = line(format!("{one} {zero} refs/heads/old"));
    check(
        "POST h.example/o/r.git/git-receive-pack",
        &format!("{first}{second}0000PACK"),
        &["git.push main delete=false", "git.push old delete=true"],
    );
    for body in ["", "0000", "zzzz", "0005", "0009x y z", &first, "ffff"] {
        check("POST h.example/o/r.git/git-receive-pack", body, &["git.push  opaque=true"]);
    }
}

#[test]
fn kubernetes_by_its_paths() {
    check(
        "DELETE k.example/apis/apps/v1/namespaces/prod/deployments/api",
        "",
        &["deploy.delete k.example/prod/deployments/api"],
    );
    check(
        "PATCH k.example/apis/apps/v1/namespaces/prod/deployments/api/scale",
        r#"{"spec":{"replicas":9}}"#,
        &["deploy.scale k.example/prod/deployments/api replicas=9"],
    );
    check(
        "PUT k.example/apis/apps/v1/namespaces/prod/deployments/api",
        r#"{"spec":{"replicas":9}}"#,
        &["deploy.apply k.example/prod/deployments/api", "deploy.scale k.example/prod/deployments/api replicas=9"],
    );
    check(
        "POST k.example/api/v1/namespaces/prod/configmaps",
        r#"{"metadata":{"name":"c"}}"#,
        &["deploy.apply k.example/prod/configmaps/c"],
    );
    check(
        "GET k.example/api/v1/namespaces/prod/pods/p/exec?command=sh&command=-c&command=rm+x",
        "",
        &[r#"deploy.exec k.example/prod/pods/p argv=["sh","-c","rm x"]"#],
    );
    check("POST k.example/api/v1/namespaces", "not json", &["deploy.apply k.example/namespaces opaque=true"]);
}
