#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use super::*;
use serde_json::json;

fn check(harness: Harness, name: &str, input: Json, expect: &[&str]) {
    let file = |path: &str| (path == "/w/old.txt").then(|| b"one\ntwo\nthree\n".to_vec());
    let call = ToolCall { harness, name, input: &input, cwd: "/w", home: "/h", git: None, file: &file };
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
    check(Claude, "Write", json!({"file_path": "/w/../x", "content": ""}), &["fs.write /x"]);
    check(
        Claude,
        "Write",
        json!({"file_path": "requirements.txt", "content": "left-pad==1\n"}),
        &["fs.write /w/requirements.txt", "dependency.add pypi/left-pad/==1"],
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
    check(Claude, "Task", json!({"subagent_type": "helper", "prompt": "go"}), &["agent.spawn helper"]);
    check(Gemini, "save_memory", json!({"fact": "f"}), &["state.write gemini/memory"]);
    check(Claude, "mcp__github__open_pr", json!({}), &["tool.call github/open_pr"]);
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
