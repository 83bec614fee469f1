//! `flyball hook` as a harness calls it: events on standard input, the verdict as exit code.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, missing_docs, reason = "tests")]

use serde_json::{Value, json};
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

struct World {
    scratch: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        let world = Self { scratch: tempfile::tempdir().unwrap() };
        for name in ["w", "home"] {
            std::fs::create_dir(world.path(name)).unwrap();
        }
        let made =
            Command::new("git").args(["init", "-q", "-b", "main"]).current_dir(world.path("w")).status().unwrap();
        assert!(made.success());
        world.ok(&["init"]);
        world
    }

    fn path(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_flyball"));
        command
            .args(words)
            .current_dir(self.path("w"))
            .env("FLYBALL_HOME", self.path("l"))
            .env("HOME", self.path("home"));
        command
    }

    fn ok(&self, words: &[&str]) -> String {
        let output = self.command(words).output().unwrap();
        assert!(output.status.success(), "{words:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn send(&self, event: &[u8]) -> Output {
        let mut command = self.command(&["hook", "claude", "--within", "1"]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(event).unwrap();
        child.wait_with_output().unwrap()
    }

    /// An event before a call; gives the exit code and what the model reads.
    fn before(&self, tool: &str, input: &Value) -> (i32, String) {
        let event = json!({
            "session_id": "s", "cwd": self.path("w"), "hook_event_name": "PreToolUse", "tool_name": tool,
            "tool_use_id": "t", "tool_input": input,
        });
        let output = self.send(event.to_string().as_bytes());
        assert_eq!(output.stdout, b"");
        (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = self.command(&["kill", "@"]).output();
        let end = json!({"session_id": "s", "cwd": "/", "hook_event_name": "SessionEnd"});
        self.send(end.to_string().as_bytes());
    }
}

#[test]
fn what_the_rules_allow_goes_on_and_an_answer_is_taken_by_the_same_call() {
    let world = World::new();
    assert_eq!(world.before("Bash", &json!({"command": "ls"})), (0, String::new()));
    let push = json!({"command": "git push origin main"});
    let (code, text) = world.before("Bash", &push);
    assert!(code == 2 && text.contains("default-branch-is-asked-about") && text.contains("same call again"), "{text}");
    let asked: Value = serde_json::from_str(world.ok(&["asks", "--json"]).lines().next().unwrap()).unwrap();
    world.ok(&["answer", asked["id"].as_str().unwrap(), "allow", "--reason", "it may"]);
    assert_eq!(world.before("Bash", &push), (0, String::new()));
    // The answer was for one call.
    assert_eq!(world.before("Bash", &push).0, 2);
    world.ok(&["verify"]);
}

#[test]
fn one_answer_lets_one_of_two_same_calls_pass() {
    let world = World::new();
    let push = json!({"command": "git push origin main"});
    assert_eq!(world.before("Bash", &push).0, 2);
    let asked: Value = serde_json::from_str(world.ok(&["asks", "--json"]).lines().next().unwrap()).unwrap();
    world.ok(&["answer", asked["id"].as_str().unwrap(), "allow", "--reason", "once"]);
    let mut codes = std::thread::scope(|scope| {
        let both = [scope.spawn(|| world.before("Bash", &push)), scope.spawn(|| world.before("Bash", &push))];
        both.map(|one| one.join().unwrap().0)
    });
    codes.sort_unstable();
    assert_eq!(codes, [0, 2]);
}

#[test]
fn people_stop_a_session_that_has_no_sandbox() {
    let world = World::new();
    let ls = json!({"command": "ls"});
    assert_eq!(world.before("Bash", &ls).0, 0);
    world.ok(&["pause", "@"]);
    let (code, text) = world.before("Bash", &ls);
    assert!(code == 2 && text.contains("session-paused"), "{text}");
    world.ok(&["resume", "@"]);
    assert_eq!(world.before("Bash", &ls).0, 0);
    world.ok(&["kill", "@"]);
    // No other session is opened in its place.
    assert_eq!(world.before("Bash", &ls).0, 2);
    assert_eq!(world.ok(&["ps", "--json"]).lines().count(), 1);
}

#[test]
fn what_is_no_event_stops_the_harness() {
    let world = World::new();
    let long = vec![b' '; (16 << 20) + 1];
    for event in [&b""[..], b"{", b"[]", b"{\"session_id\":\"s\"}", b"\xff", b"{\"session_id\":7}", &long] {
        let output = world.send(event);
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        assert!(String::from_utf8_lossy(&output.stderr).starts_with("flyball: denied"), "{output:?}");
    }
}

#[test]
fn hooks_at_once_share_one_session() {
    let world = World::new();
    std::thread::scope(|scope| {
        let all: Vec<_> = (0..8).map(|_| scope.spawn(|| world.before("Bash", &json!({"command": "ls"})))).collect();
        for one in all {
            assert_eq!(one.join().unwrap(), (0, String::new()));
        }
    });
    assert_eq!(world.ok(&["ps", "--json"]).lines().count(), 1);
}
