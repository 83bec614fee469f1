#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use super::*;
use serde_json::json;

/// What a tool of Claude Code's does in a folder with nothing in it.
pub(super) fn actions_of(name: &str, input: &Json) -> Result<Vec<Action>, ToolCallError> {
    let own = McpOwn::default();
    let (harness, cwd, home) = (Harness::Claude, "/w", "/h");
    tool_call_actions(&ToolCall { harness, name, input, cwd, home, git: None, file: &|_| None, own: &own })
}

fn check(harness: Harness, name: &str, input: Json, expect: &[&str]) {
    let file = |path: &str| (path == "/w/old.txt").then(|| b"one\ntwo\nthree\n".to_vec());
    let call = ToolCall {
        harness,
        name,
        input: &input,
        cwd: "/w",
        home: "/h",
        git: None,
        file: &file,
        own: &McpOwn::default(),
    };
    let said: Vec<String> = match tool_call_actions(&call) {
        Ok(actions) => actions
            .iter()
            .map(|a| {
                let opaque = if a.attr("opaque").is_some() { " opaque" } else { "" };
                format!("{} {}{opaque}", a.verb, a.resource.id())
            })
            .collect(),
        Err(error) => vec![error.to_string()],
    };
    assert_eq!(said, expect, "{name} {input}");
}

#[test]
fn tools_are_what_they_do() {
    use Harness::{Claude, Codex, Cursor, Gemini};
    check(Claude, "Bash", json!({"command": "echo x >f"}), &["process.exec bash", "fs.write /w/f"]);
    check(
        Codex,
        "exec_command",
        json!({"cmd": "rm a", "workdir": "sub"}),
        &["process.exec bash", "process.exec rm", "fs.delete /w/sub/a"],
    );
    check(Codex, "shell", json!({"command": ["rm", "a"]}), &["process.exec rm", "fs.delete /w/a"]);
    check(Gemini, "run_shell_command", json!({"command": "make"}), &["process.exec bash", "process.exec make"]);
    check(Claude, "Write", json!({"file_path": "/w/../x", "content": ""}), &["fs.write /x", "fs.write /w/../x"]);
    check(
        Claude,
        "Write",
        json!({"file_path": "requirements.txt", "content": "left-pad==1\n"}),
        &["fs.write /w/requirements.txt", "dependency.add pypi/left-pad/1"],
    );
    check(
        Claude,
        "Edit",
        json!({"file_path": "package.json", "old_string": "a", "new_string": "b"}),
        &["fs.write /w/package.json", "fs.write /w/package.json opaque"],
    );
    check(Claude, "Read", json!({"file_path": "/etc/passwd"}), &["fs.read /etc/passwd"]);
    check(Claude, "Grep", json!({"pattern": "x"}), &["fs.read /w"]);
    check(Gemini, "read_many_files", json!({"include": ["a", "b"]}), &["fs.read /w/a", "fs.read /w/b"]);
    check(
        Claude,
        "WebFetch",
        json!({"url": "https://a.example/x", "prompt": "p"}),
        &["http.request GET/a.example//x", "net.connect a.example:443"],
    );
    // What a reader of addresses makes more of than this one does is no mere call of a tool.
    for url in [
        "http:evil.example",
        "HTTPS:evil.example/x",
        "http://ev\u{ed}l.example/",
        "h\nttp:evil.example",
        "http://a\\@b/",
    ] {
        let refused = "`WebFetch` has no `url` that is a plain `http://HOST/…` or `https://HOST/…` address";
        check(Claude, "WebFetch", json!({"url": url, "prompt": "p"}), &[refused]);
    }
    let refused = "`web_fetch` has no `url` that is a plain `http://HOST/…` or `https://HOST/…` address";
    check(Gemini, "web_fetch", json!({"prompt": "read (http:evil.example) now"}), &[refused]);
    check(Gemini, "web_fetch", json!({"prompt": "what http: is"}), &["tool.call gemini/web_fetch"]);
    // By its letters, and as the operating system goes up from where a link leads.
    check(
        Codex,
        "apply_patch",
        json!({"input": "*** Begin Patch\n*** Delete File: a/../x\n*** End Patch"}),
        &["fs.delete /w/x", "fs.delete /w/a/../x"],
    );
    check(
        Claude,
        "Bash",
        json!({"command": "echo k >> a/../x; cd a/.. && rm y; env -C a/.. touch z"}),
        &[
            "process.exec bash",
            "fs.write /w/x",
            "fs.write /w/a/../x",
            "process.exec rm",
            "fs.delete /w/y",
            "process.exec env",
            "process.exec touch",
            "fs.write /w/z",
            "fs.write /w/a/../z",
            "fs.chmod /w/z",
            "fs.chmod /w/a/../z",
        ],
    );
    check(Claude, "Task", json!({"subagent_type": "helper", "prompt": "go"}), &["agent.spawn helper"]);
    check(Gemini, "save_memory", json!({"fact": "f"}), &["state.write gemini/memory"]);
    check(Claude, "mcp__github__open_pr", json!({}), &["tool.call github/open_pr"]);
    check(Claude, "mcp__filesystem__write_file", json!({"path": "/etc/x", "content": "y"}), &["fs.write /etc/x"]);
    check(Gemini, "mcp_github_open_pr", json!({}), &["tool.call github/open_pr"]);
    check(Cursor, "TodoWrite", json!({}), &["tool.call cursor/TodoWrite"]);
    check(Cursor, "Delete", json!({"path": "a"}), &["fs.delete /w/a"]);
    check(Claude, "Bash", json!({}), &["`Bash` has no `command` or `cmd` that is a string"]);
    check(
        Claude,
        "Write",
        json!({"content": ""}),
        &[
            "`Write` has no `file_path` or `absolute_path` or `notebook_path` or `target_notebook` or `path` or `target_file` that is a string",
        ],
    );
}

#[test]
fn patches_are_the_changes_in_them() {
    let patch = "*** Begin Patch\n*** Add File: .github/workflows/a.yml\n+on: push\n*** Update File: old.txt\n*** Move to: new.txt\n\
                 @@\n one\n-two\n+zwei\n*** Delete File: gone\n*** End Patch\n";
    check(
        Harness::Codex,
        "apply_patch",
        json!({ "input": patch }),
        &[
            "fs.write /w/.github/workflows/a.yml",
            "fs.write /w/.github/workflows/a.yml",
            "fs.move /w/old.txt",
            "fs.write /w/new.txt",
            "fs.delete /w/gone",
        ],
    );
    for (text, why) in [
        ("", "it has no `*** Begin Patch`"),
        ("*** Begin Patch\n", "it has no `*** End Patch`"),
        ("*** Begin Patch\n*** End Patch", "it changes nothing"),
        ("*** Begin Patch\n+x\n*** End Patch", "a line before its first file"),
        ("*** Begin Patch\n*** Delete File: a\n+x\n*** End Patch", "lines below a file that is deleted"),
    ] {
        let expect = format!("`apply_patch` has a patch that can't be read: {why}");
        check(Harness::Codex, "apply_patch", json!({ "input": text }), &[&expect]);
    }
}

#[test]
fn edits_are_made_before_they_are_judged() {
    let old = Some(&b"one two one"[..]);
    for (input, is) in [
        (json!({"old_string": "one", "new_string": "1"}), Edited::To(b"1 two one".to_vec())),
        (json!({"old_string": "one", "new_string": "1", "replace_all": true}), Edited::To(b"1 two 1".to_vec())),
        (json!({"old_string": "none", "new_string": "1"}), Edited::Unknown),
        (json!({"old_string": "", "new_string": "1"}), Edited::Unknown),
        (
            json!({"edits": [{"old_string": "one", "new_string": ""}, {"old_string": " two ", "new_string": ""}]}),
            Edited::To(b"one".to_vec()),
        ),
        (json!({}), Edited::Unknown),
    ] {
        assert_eq!(edits::apply(&input, old), is, "{input}");
    }
    assert_eq!(edits::apply(&json!({"old_string": "", "new_string": "n"}), None), Edited::To(b"n".to_vec()));
    let grows = json!({"old_string": "o", "new_string": "x".repeat(9 << 20), "replace_all": true});
    assert_eq!(edits::apply(&grows, old), Edited::Unknown);
}

/// Nothing asks again beneath a hook: what a command does is read here or said not to be.
#[test]
fn commands_are_what_they_do() {
    for (command, expect) in [
        ("mkdir -p a/b c", &["process.exec mkdir", "fs.write /w/a/b", "fs.write /w/c"][..]),
        ("mkfifo -m 600 p", &["process.exec mkfifo", "fs.write /w/p"]),
        ("chmod 644 a", &["process.exec chmod", "fs.chmod /w/a"]),
        ("chmod -R u+w a", &["process.exec chmod", "fs.chmod /w/a opaque"]),
        ("chmod -x a b", &["process.exec chmod", "fs.chmod /w/a opaque", "fs.chmod /w/b opaque"]),
        ("chmod --reference=a b", &["process.exec chmod", "fs.chmod /w/b opaque"]),
        ("chown 0:0 a", &["process.exec chown", "fs.chmod /w/a"]),
        ("chown root a", &["process.exec chown", "fs.chmod /w/a opaque"]),
        ("setfattr -n user.x -v 1 a", &["process.exec setfattr", "fs.chmod /w/a"]),
        ("ln -s /etc/passwd a", &["process.exec ln", "fs.link /w/a", "fs.write /w/a"]),
        ("ln old d/new", &["process.exec ln", "fs.link /w/d/new", "fs.write /w/old", "fs.write /w/d/new"]),
        (
            "ln -st d x/a b",
            &["process.exec ln", "fs.link /w/d/a", "fs.write /w/d/a", "fs.link /w/d/b", "fs.write /w/d/b"],
        ),
        ("ln -s ../x", &["process.exec ln", "fs.link /w/x", "fs.write /w/x"]),
        ("rmdir a", &["process.exec rmdir", "fs.delete /w/a"]),
        ("rm -rf a", &["process.exec rm", "fs.delete /w/a"]),
        ("touch a", &["process.exec touch", "fs.write /w/a", "fs.chmod /w/a"]),
        ("mv a b", &["process.exec mv", "fs.move /w/a", "fs.write /w/b"]),
        ("cp a b", &["process.exec cp", "fs.read /w/a", "fs.write /w/b"]),
        ("sed -i s/x/y/ a", &["process.exec sed", "fs.read /w/a", "fs.write /w/a"]),
        ("echo x | tee a", &["process.exec tee", "fs.write /w/a"]),
        ("cat <<E >a\nx\nE", &["fs.write /w/a", "process.exec cat"]),
        ("dd if=a of=b", &["process.exec dd", "fs.read /w/a", "fs.write /w/b"]),
        ("env X=1 rm a", &["process.exec env", "process.exec rm", "fs.delete /w/a"]),
        ("sudo -u x rm a", &["process.exec sudo", "process.exec rm", "fs.delete /w/a"]),
        ("eval 'rm a'", &["process.exec rm", "fs.delete /w/a"]),
        ("bash -c 'rm a'", &["process.exec bash", "process.exec rm", "fs.delete /w/a"]),
        ("sh <<'E'\nrm a\nE", &["process.exec sh", "process.exec rm", "fs.delete /w/a"]),
        ("find . -name x -exec rm a \\;", &["process.exec find", "process.exec rm", "fs.delete /w/a"]),
        ("find d -delete", &["process.exec find", "fs.delete /w/d opaque"]),
        (
            "ls | xargs rm -f a",
            &["process.exec ls", "process.exec xargs", "process.exec rm opaque", "fs.delete /w/a", "fs.delete  opaque"],
        ),
        ("rm $X", &["process.exec rm opaque", "fs.delete  opaque"]),
    ] {
        check_command(command, expect, false);
    }
    // What can't be read is said to be: of the command as a whole.
    for (command, expect) in [
        ("python3 -c 'x'", &["process.exec python3"][..]),
        ("python3 x.py", &["process.exec python3"]),
        ("node -e 'x'", &["process.exec node"]),
        ("bash x.sh", &["process.exec bash"]),
        (". x.sh", &["fs.read /w/x.sh"]),
        ("alias ls=rm; ls a", &["process.exec ls"]),
        ("eval \"$X\"", &[]),
        ("tar -xf a.tar", &["process.exec tar"]),
        ("patch -p1", &["process.exec patch"]),
        ("unzip a.zip", &["process.exec unzip"]),
        ("git -c alias.p=push p", &["process.exec git"]),
        ("parallel rm ::: a", &["process.exec parallel"]),
        ("if ((", &[]),
    ] {
        check_command(command, expect, true);
    }
    check_command("tar -tf a.tar", &["process.exec tar"], false);
}

fn check_command(command: &str, expect: &[&str], is_opaque: bool) {
    let input = json!({"command": command});
    let call = ToolCall {
        harness: Harness::Claude,
        name: "Bash",
        input: &input,
        cwd: "/w",
        home: "/h",
        git: None,
        file: &|_| None,
        own: &McpOwn::default(),
    };
    let actions = tool_call_actions(&call).unwrap();
    let said: Vec<String> = actions
        .iter()
        .skip(1)
        .map(|a| {
            let opaque = if a.attr("opaque").is_some() { " opaque" } else { "" };
            format!("{} {}{opaque}", a.verb, a.resource.id())
        })
        .collect();
    assert_eq!(said, expect, "{command}");
    assert_eq!(actions[0].attr("opaque").is_some(), is_opaque, "{command}");
}
