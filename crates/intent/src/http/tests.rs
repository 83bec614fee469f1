#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;

fn check(line: &str, body: &str, expect: &[&str]) {
    let (method, rest) = line.split_once(' ').unwrap();
    let (host, target) = rest.split_at(rest.find('/').unwrap());
    let mut request = HttpRequest { method, scheme: "https", host, target, body: None, beginning: None };
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
        let request = HttpRequest { method: "GET", scheme: "https", host: "h", target, body: None, beginning: None };
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
    for body in ["", "zzzz", "0005", "0009x y z", &first, "ffff"] {
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

/// What servers may make of a path that they split, or strip, before they read it.
#[test]
fn a_path_of_several_readings_is_all_of_them() {
    let paths = |target: &str| {
        let request = HttpRequest { method: "POST", scheme: "https", host: "h", target, body: None, beginning: None };
        let actions = http_actions(&request).unwrap();
        let own = actions.iter().filter(|action| action.verb.name() == "http.request");
        own.map(|action| action.resource.str("path").to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(paths("/admin%2Fdelete"), ["/admin%2Fdelete", "/admin/delete"]);
    assert_eq!(paths("/admin\\delete"), ["/admin\\delete", "/admin/delete"]);
    assert_eq!(paths("/x/..%5cadmin"), ["/x/..%5Cadmin", "/admin"]);
    assert_eq!(paths("/public/..;/admin"), ["/public/..;/admin", "/admin"]);
    assert_eq!(paths("/admin;x=1/a"), ["/admin;x=1/a", "/admin/a"]);
    assert_eq!(paths("/a;%2f../admin"), ["/a;%2F../admin", "/admin", "/a/admin"]);
    assert_eq!(paths("/a%20b"), ["/a%20b"]);
    let check = |line: &str, body: &str, expect: &str| {
        let (method, rest) = line.split_once(' ').unwrap();
        let (host, target) = rest.split_at(rest.find('/').unwrap());
        let mut request = HttpRequest { method, scheme: "https", host, target, body: None, beginning: None };
        if wants_body(&request) {
            request.body = Some(body.as_bytes());
        }
        let said = http_actions(&request).unwrap();
        assert!(said.iter().any(|a| format!("{} {}", a.verb, a.resource.id()) == expect), "{line}: {said:?}");
    };
    check("DELETE k.example/api%2Fv1/namespaces/prod/pods/x", "", "deploy.delete k.example/prod/pods/x");
    check("DELETE k.example/api/v1;a/namespaces/prod/pods/x", "", "deploy.delete k.example/prod/pods/x");
    check("PUT api.github.com/repos%2Fo/r/pulls/7/merge", "", "pr.merge o/r/7");
    let (zero, one) = ("0".repeat(40), "1".repeat(40));
    let list = format!("{zero} {one} refs/heads/main\0");
    let list = format!("{:04x}{list}0000", list.len() + 4);
    check("POST h.example/o/r.git%2Fgit-receive-pack", &list, "git.push main");
}

#[test]
fn github_by_numbers_and_by_other_ways_to_a_branch() {
    check("PUT api.github.com/repositories/42/pulls/7/merge", "", &["pr.merge repositories/42/7 opaque=true"]);
    check("PUT api.acme.ghe.com/repos/o/r/pulls/7/merge", "", &["pr.merge o/r/7"]);
    check("POST api.github.com/repos/o/r/merge-upstream", r#"{"branch":"main"}"#, &["git.push main"]);
    check("PUT api.github.com/repos/o/r/pulls/7/update-branch", "{}", &["git.push  opaque=true"]);
    check(
        "POST api.github.com/repos/o/r/branches/a/b/rename",
        r#"{"new_name":"main"}"#,
        &["git.push a/b delete=true", "git.push main"],
    );
    check("POST api.github.com/repos/o/r/merges", r#"{"base":"x","base":"main"}"#, &["git.push  opaque=true"]);
    for (word, expect) in [
        ("enqueuePullRequest", &["pr.merge  opaque=true"][..]),
        ("updatePullRequestBranch", &["git.push  opaque=true"]),
        ("revertPullRequest", &["pr.open  opaque=true", "git.push  opaque=true"]),
        ("createLinkedBranch", &["git.push  opaque=true"]),
    ] {
        check("POST api.github.com/graphql", &format!(r#"{{"query":"mutation {{ {word}(input: $i) }}"}}"#), expect);
    }
}

/// Patches say it by operations, and what is no JSON may say it too.
#[test]
fn kubernetes_by_other_bodies() {
    let target = "k.example/prod/deployments/api";
    let line = "PATCH k.example/apis/apps/v1/namespaces/prod/deployments/api";
    let apply = format!("deploy.apply {target}");
    let scaled = |how: &str| format!("deploy.scale {target} {how}");
    for (body, scale) in [
        (r#"[{"op":"replace","path":"/spec/replicas","value":9}]"#, Some("replicas=9")),
        (r#"[{"op":"add","path":"/spec","value":{"replicas":9}}]"#, Some("replicas=9")),
        (r#"[{"op":"replace","path":"","value":{"spec":{"replicas":9}}}]"#, Some("replicas=9")),
        (
            r#"[{"op":"add","path":"/spec/replicas","value":1},{"op":"replace","path":"/spec/replicas","value":9}]"#,
            Some("replicas=9"),
        ),
        (r#"[{"op":"replace","path":"/spec/replicas","value":"9"}]"#, Some("opaque=true")),
        (r#"[{"op":"copy","from":"/spec/x","path":"/spec/replicas"}]"#, Some("opaque=true")),
        (r#"[{"op":"move","from":"/spec/replicas","path":"/metadata/x"}]"#, Some("opaque=true")),
        (r#"[{"op":"remove","path":"/spec/replicas"}]"#, Some("opaque=true")),
        (r#"[{"op":"replace","path":"x/spec/replicas","value":9}]"#, Some("opaque=true")),
        (r#"[{"op":"grow"}]"#, Some("opaque=true")),
        (
            r#"[{"op":"test","path":"/spec/replicas","value":9},{"op":"add","path":"/metadata/labels/a","value":"b"}]"#,
            None,
        ),
    ] {
        let scale = scale.map(scaled);
        let expect: Vec<&str> = [&apply].into_iter().chain(&scale).map(String::as_str).collect();
        check(line, body, &expect);
    }
    for body in ["spec:\n  replicas: 9\n", r#"{"spec":{"replicas":9},"spec":{}}"#] {
        check(line, body, &[&format!("{apply} opaque=true"), &scaled("opaque=true")]);
    }
    check(
        &format!("{line}/scale"),
        r#"[{"op":"replace","path":"/spec/replicas","value":9}]"#,
        &[&scaled("replicas=9")],
    );
    check(&format!("{line}/scale"), "[]", &[&scaled("opaque=true")]);
    check("POST k.example/api/v1/namespaces/prod/pods", "k8s\0", &["deploy.apply k.example/prod/pods opaque=true"]);
    check(
        "GET k.example/api/v1/nodes/n1/proxy/exec/prod/p/c?command=id",
        "",
        &[r#"deploy.exec k.example/nodes/n1 argv=["id"]"#],
    );
    check("GET k.example/api/v1/nodes/n1/proxy/pods", "", &[r#"deploy.exec k.example/nodes/n1 argv=[] opaque=true"#]);
}

/// The list of a push stands before its pack, however long that is.
#[test]
fn a_long_push_is_read_by_its_beginning() {
    let (zero, one) = ("0".repeat(40), "1".repeat(40));
    let list = format!("{zero} {one} refs/heads/main\0");
    let list = format!("{:04x}{list}0000PACK", list.len() + 4);
    let pushed = |body: Option<&str>, beginning: Option<&str>| {
        let (body, beginning) = (body.map(str::as_bytes), beginning.map(str::as_bytes));
        let target = "/o/r.git/git-receive-pack";
        let request = HttpRequest { method: "POST", scheme: "https", host: "h", target, body, beginning };
        let actions = http_actions(&request).unwrap();
        actions
            .iter()
            .skip(1)
            .map(|a| (a.resource.str("name").to_owned(), a.attr("opaque").is_some()))
            .collect::<Vec<_>>()
    };
    assert_eq!(pushed(None, Some(&list)), [("main".to_owned(), false)]);
    assert_eq!(pushed(None, Some(&list[..60])), [(String::new(), true)]);
    assert_eq!(pushed(None, None), [(String::new(), true)]);
    // Git's question before it streams a pack.
    assert_eq!(pushed(Some("0000"), None), []);
    assert_eq!(pushed(None, Some("0000")), [(String::new(), true)]);
}
