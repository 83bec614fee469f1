#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use super::*;
use serde_json::json;

fn said(actions: Result<Vec<Action>, ToolCallError>) -> Vec<String> {
    match actions {
        Ok(actions) => actions
            .iter()
            .map(|a| {
                assert_eq!(a.surface, Surface::Mcp);
                let opaque = if a.attr("opaque").is_some() { " opaque" } else { "" };
                format!("{} {}{opaque}", a.verb, a.resource.id())
            })
            .collect(),
        Err(error) => vec![error.to_string()],
    }
}

fn with<T>(server: &str, tool: &str, input: &Json, then: impl FnOnce(&McpCall<'_>) -> T) -> T {
    let own = [McpTool {
        server: "shop".into(),
        tool: "set_price".into(),
        verb: "control.actuate".into(),
        fields: [("name".into(), "price/{/item}".into()), ("value".into(), "/price".into())].into(),
    }];
    let file = |path: &str| (path == "/w/old.txt").then(|| b"one\ntwo\n".to_vec());
    then(&McpCall {
        server,
        kind: server,
        tool,
        input,
        cwd: "/w",
        home: "/h",
        roots: &["/other".to_owned()],
        git: &|_| None,
        file: &file,
        own: &own,
    })
}

fn check(server: &str, tool: &str, input: Json, expect: &[&str]) {
    with(server, tool, &input, |call| assert_eq!(said(mcp_call_actions(call)), expect, "{tool} {input}"));
}

#[test]
fn tools_are_what_they_do() {
    check("filesystem", "write_file", json!({"path": "/w/../x", "content": ""}), &["fs.write /x"]);
    check("filesystem", "read_file", json!({"path": "~/.ssh/id"}), &["fs.read /h/.ssh/id"]);
    // Nobody knows which of its folders the server takes a relative path from.
    check("filesystem", "read_file", json!({"path": "a"}), &["fs.read /w/a", "fs.read /other/a"]);
    check("filesystem", "read_multiple_files", json!({"paths": ["/a", "/b"]}), &["fs.read /a", "fs.read /b"]);
    check(
        "filesystem",
        "read_multiple_files",
        json!({"paths": ["/a", 7]}),
        &["`read_multiple_files` has no `paths` that is a path"],
    );
    check("filesystem", "move_file", json!({"source": "/a", "destination": "/b"}), &["fs.move /a", "fs.write /b"]);
    check(
        "filesystem",
        "edit_file",
        json!({"path": "/w/package.json", "edits": []}),
        &["fs.write /w/package.json", "fs.write /w/package.json opaque"],
    );
    check(
        "filesystem",
        "write_file",
        json!({"path": "/w/requirements.txt", "content": "left-pad==1\n"}),
        &["fs.write /w/requirements.txt", "dependency.add pypi/left-pad/1"],
    );
    check("filesystem", "write_file", json!({}), &["`write_file` has no `content` that is a string"]);
    check("filesystem", "new_tool", json!({}), &["tool.call filesystem/new_tool"]);
    with("mcp_server_git", "git_commit", &json!({"repo_path": "/w", "message": "m"}), |call| {
        let said = said(mcp_call_actions(call));
        assert!(said[0] == "process.exec git" && said[1].starts_with("git.commit"), "{said:?}");
    });
    check(
        "fetch",
        "fetch",
        json!({"url": "https://a.example/x"}),
        &["http.request GET/a.example//x", "net.connect a.example:443"],
    );
    check("github", "merge_pull_request", json!({"owner": "o", "repo": "r", "pullNumber": 7}), &["pr.merge o/r/7"]);
    check(
        "github",
        "push_files",
        json!({"owner": "o", "repo": "r", "branch": "main", "files": [
        {"path": ".github/workflows/ci.yml", "content": "on: push"}]}),
        &["git.push main", "fs.write /w/.github/workflows/ci.yml"],
    );
    check("shop", "set_price", json!({"item": "tea", "price": 3}), &["control.actuate price/tea"]);
    check(
        "shop",
        "set_price",
        json!({"item": "tea", "price": "3"}),
        &["`set_price` has no `price` that is of the field's type"],
    );
    check("shop", "set_price", json!({"price": 3}), &["control.actuate  opaque"]);
}

#[test]
fn what_an_edit_makes_of_a_file_is_read() {
    let edit = |was: &str, is: &str| json!([{"oldText": was, "newText": is}]).as_array().unwrap().clone();
    assert_eq!(edited(b"a b a".to_vec(), &edit("a", "c")).unwrap(), b"c b a");
    assert_eq!(edited(b"a".to_vec(), &edit("z", "c")), None);
    assert_eq!(edited(vec![0xff], &edit("a", "c")), None);
}

#[test]
fn resources_are_what_their_address_says() {
    let read = |uri: &str| with("x", "", &Json::Null, |call| said(mcp_read_actions(call, uri)));
    assert_eq!(read("file:///w/a%20b"), ["fs.read /w/a b"]);
    assert_eq!(read("FILE://localhost/etc/../x"), ["fs.read /x"]);
    assert_eq!(read("https://a.example/x"), ["http.request GET/a.example//x", "net.connect a.example:443"]);
    assert_eq!(read("demo://x"), ["tool.call x/resources/read"]);
    assert_eq!(read("file://host/x"), ["tool.call x/resources/read"]);
    assert_eq!(read("file:///%zz"), ["tool.call x/resources/read"]);
}

#[test]
fn statements_are_what_they_change() {
    let sql = |text: &str| said(sql::actions(text).map_err(Into::into));
    assert_eq!(
        sql("SELECT * FROM public.users u JOIN \"Orders\" o ON 1=1"),
        ["data.select public/users", "data.select Orders"]
    );
    assert_eq!(sql("select 1; DROP TABLE IF EXISTS users -- x"), ["data.select ", "data.ddl users"]);
    assert_eq!(sql("/* /* */ delete */ update t set a = ';delete'"), ["data.update t"]);
    assert_eq!(sql("with x as (delete from t returning *) select * from x"), ["data.delete t", "data.select x"]);
    assert_eq!(sql("explain analyze insert into a.b.c values (1)"), ["data.insert a/b/c"]);
    assert_eq!(sql("select * into copy from t"), ["data.ddl copy", "data.select t"]);
    assert_eq!(sql("select * from t for update"), ["data.select t"]);
    assert_eq!(sql("select pg_read_file('/etc/passwd')"), ["data.select  opaque"]);
    for text in ["", "do $$ begin end $$", "select 'x", "vacuum", "select '\\' ; drop table t; --'"] {
        assert_eq!(sql(text), ["data.ddl  opaque"], "{text}");
    }
    let filtered = |text: &str| sql::actions(text).unwrap()[0].attr("filtered").cloned();
    assert_eq!(filtered("delete from t"), Some(false.into()));
    assert_eq!(filtered("delete from t where id = 1"), Some(true.into()));
}
