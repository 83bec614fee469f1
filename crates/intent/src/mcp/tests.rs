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
    let tools = vec![McpTool {
        server: "shop".into(),
        tool: "set_price".into(),
        verb: "control.actuate".into(),
        fields: [("name".into(), "price/{/item}".into()), ("value".into(), "/price".into())].into(),
    }];
    let own = McpOwn { tools, labels: [("web".to_owned(), vec!["outside".to_owned()])].into(), ..McpOwn::default() };
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
    check("filesystem", "write_file", json!({"path": "/w/../x", "content": ""}), &["fs.write /x", "fs.write /w/../x"]);
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
    // The default branch is one that rules know, however it is spelt.
    for (branch, name, is_default) in
        [(json!("refs/heads/main"), "main", None), (json!(null), "", Some(true.into())), (json!("x"), "x", None)]
    {
        with("github", "delete_file", &json!({"owner": "o", "repo": "r", "path": "p", "branch": branch}), |call| {
            let action = mcp_call_actions(call).unwrap().remove(0);
            assert_eq!((action.resource.str("name"), action.attr("default_branch").cloned()), (name, is_default));
        });
    }
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
    assert_eq!(read("FILE://localhost/etc/../x"), ["fs.read /x", "fs.read /etc/../x"]);
    assert_eq!(read("https://a.example/x"), ["http.request GET/a.example//x", "net.connect a.example:443"]);
    assert_eq!(read("demo://x"), ["tool.call x/resources/read"]);
    // What servers read in different ways is refused.
    for uri in [
        "file://host/x",
        "file:///%zz",
        "file:etc/passwd",
        "file://127.0.0.1/etc/passwd",
        "file:///a?b",
        "file:///a#b",
        "file:\\\\x",
        "file:///a%00",
        "FILE:x",
        "fi\nle:///x",
        "http:evil.example/x",
        "http://ok.example\\@evil.example/",
        "http://ev\u{ed}l.example/",
        "https:///x",
        "HTTPS:x",
    ] {
        assert!(read(uri)[0].contains("has no `uri` that is"), "{uri} {:?}", read(uri));
    }
    assert_eq!(read("file:/etc/passwd"), ["fs.read /etc/passwd"]);
    assert_eq!(read(" \tfile:///etc/passwd\n"), ["fs.read /etc/passwd"]);
    assert_eq!(read("HTTP://A.example/"), ["http.request GET/a.example//", "net.connect a.example:80"]);
    assert_eq!(read("file:///w/link/../x"), ["fs.read /w/x", "fs.read /w/link/../x"]);
}

#[test]
fn an_address_that_is_read_in_different_ways_is_refused() {
    for url in
        ["http:evil.example/x", "http://ev\u{ed}l.example/", "evil.example", "-Kx", "http://a\\@evil.example/", ""]
    {
        check(
            "fetch",
            "fetch",
            json!({ "url": url }),
            &["`fetch` has no `url` that is a plain `http://HOST/…` or `https://HOST/…` address"],
        );
    }
}

fn sql(text: &str) -> Vec<String> {
    said(sql::actions(text, false).map_err(Into::into))
}

#[test]
fn statements_are_what_they_change() {
    for (text, does) in [
        (
            "SELECT * FROM public.users u JOIN \"Orders\" o ON 1=1",
            &["data.select public/users", "data.select Orders"][..],
        ),
        ("select 1; DROP TABLE IF EXISTS users -- x", &["data.select ", "data.ddl users"]),
        ("/* delete */ update t set a = ';delete'", &["data.update t"]),
        ("with x as (delete from t returning *) select * from x", &["data.delete t", "data.select x"]),
        ("explain analyze insert into a.b.c values (1)", &["data.insert a/b/c"]),
        ("select * into copy from t", &["data.ddl copy", "data.select t"]),
        ("select * from t for update", &["data.select t"]),
        ("select pg_read_file('/etc/passwd')", &["data.select  opaque"]),
        // As a hostile client would write them.
        ("DELETE FROM ONLY users", &["data.delete users"]),
        ("UPDATE ONLY (users) SET a = 1", &["data.update users"]),
        ("SELECT * FROM a, users", &["data.select a", "data.select users"]),
        ("SELECT * FROM a x, (select 1) y, ONLY users AS z", &["data.select a", "data.select users"]),
        ("SELECT * FROM a JOIN b ON a.i = b.i, users", &["data.select a", "data.select b", "data.select users"]),
        ("SELECT * FROM (a CROSS JOIN users)", &["data.select a", "data.select users"]),
        ("select (select max(x) from a), b from c", &["data.select a", "data.select c"]),
        ("TABLE users", &["data.select users"]),
        ("select 1 union table users", &["data.select users"]),
        ("SELECT * FROM public . users", &["data.select public/users"]),
        ("INSERT OR REPLACE INTO t (a, b) VALUES (1, 2)", &["data.delete t", "data.insert t"]),
        ("REPLACE INTO t VALUES (1)", &["data.delete t", "data.insert t"]),
        ("UPDATE OR IGNORE t SET a = 1", &["data.update t"]),
        (
            "insert into t select * from users on conflict (id) do update set a = 1",
            &["data.insert t", "data.select users", "data.update t"],
        ),
        ("delete from a using b, users where true", &["data.delete a", "data.select b", "data.select users"]),
        ("DROP TABLE a, users CASCADE", &["data.ddl a", "data.ddl users"]),
        ("TRUNCATE TABLE ONLY a, public.users", &["data.ddl a", "data.ddl public/users"]),
        ("create table x as select * from users", &["data.ddl x", "data.select users"]),
        ("create index concurrently i on users (a)", &["data.ddl users"]),
        ("COPY users (a) TO '/tmp/x'", &["data.copy users"]),
        ("select name from t where pg_read_file('x') = 'y'", &["data.select t", "data.select  opaque"]),
        ("select * from generate_series(1, 2)", &["data.select generate_series", "data.select  opaque"]),
        ("select count(*), a is distinct from b from t where id in (1, 2) group by a, b", &["data.select t"]),
        ("select pg_catalog.count(*) from t", &["data.select t", "data.select  opaque"]),
    ] {
        assert_eq!(sql(text), does, "{text}");
    }
    for text in [
        "",
        "do $$ begin end $$",
        "select 'x",
        "vacuum",
        "select '\\' ; drop table t; --'",
        "SELECT * FROM U&\"us\\0065rs\"",
        "select * from U&\"users\"",
        "SELECT * FROM [users]",
        "SELECT * FROM `users`",
        "SELECT * FROM 'users'",
        "SELECT * FROM us\u{e9}rs",
        "SELECT * FROM a INDEXED BY i WHERE [x]",
        "COPY (SELECT * FROM users) TO '/tmp/x'",
        "COPY users TO PROGRAM 'sh'",
        "/* /* */ delete from users */ select 1",
        "select 1 -- x\rdelete from t",
        "select 1 /*! from users */",
        "update a, users set x = 1",
        "select * from \"a.b\"",
        "grant select on a, users to x",
        "delete from select",
        "select e'\\''",
        "explain analyze create table x as select 1",
        "rollback prepared 'x'",
        "select * from a,",
        "((",
        "select * from t)",
        "merge into t",
        "execute p",
        "select * from",
        "delete from a using (users join b)",
    ] {
        assert_eq!(sql(text).last().unwrap(), "data.ddl  opaque", "{text}");
    }
    let filtered = |text: &str| sql::actions(text, false).unwrap()[0].attr("filtered").cloned();
    assert_eq!(filtered("delete from t"), Some(false.into()));
    assert_eq!(filtered("delete from t where id = 1"), Some(true.into()));
    assert_eq!(filtered("with x as (delete from t) select 1 from y where true"), Some(false.into()));
    check("sqlite", "read_query", json!({"query": "select * from \"USERS\""}), &["data.select users"]);
}

#[test]
fn what_a_server_gives_back_is_labelled_whatever_its_call_is() {
    for (server, tool, input) in
        [("web", "look", json!({"q": 1})), ("shop", "list", json!({})), ("web", "read_file", json!({"path": "a"}))]
    {
        let actions = with(server, tool, &input, |call| mcp_call_actions(call).unwrap());
        let labels = |action: &Action| action.attr("labels").cloned();
        let expect = (server == "web").then(|| Value::Strs(vec!["outside".into()]));
        assert!(actions.iter().all(|action| labels(action) == expect), "{server} {tool}");
    }
    let read = with("web", "", &Json::Null, |call| mcp_read_actions(call, "file:///w/a").unwrap());
    assert!(read.iter().all(|action| action.attr("labels").is_some()));
}
