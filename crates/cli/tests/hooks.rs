//! `flyball hook` as a harness calls it: events on standard input, the verdict as exit code.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, missing_docs, reason = "tests")]

use flyball_testkit::collector::{collector, sorted, spans};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Output, Stdio};
use std::sync::Mutex;

struct World {
    scratch: tempfile::TempDir,
    harness: Mutex<Harness>,
}

/// A process that runs what it is told and is no shell by its name: what a hook takes for the agent.
struct Harness {
    child: Child,
    say: ChildStdin,
    hear: BufReader<ChildStdout>,
}

impl Harness {
    fn start(scratch: &std::path::Path) -> Self {
        let program = scratch.join("helper");
        std::fs::copy("/bin/sh", &program).unwrap();
        let mut child = Command::new(program).arg("-s").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (say, hear) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        Self { child, say, hear }
    }

    /// Runs a command of the shell's to its end, and gives its exit code.
    fn run(&mut self, command: &str) -> i32 {
        writeln!(self.say, "{command}; echo $?").unwrap();
        let mut line = String::new();
        self.hear.read_line(&mut line).unwrap();
        line.trim().parse().unwrap()
    }
}

impl World {
    fn new() -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let harness = Mutex::new(Harness::start(scratch.path()));
        let world = Self { scratch, harness };
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

    /// Hands an event to a hook that this test starts.
    fn send(&self, event: &[u8]) -> Output {
        self.send_with(&["hook", "claude", "--within", "1"], event)
    }

    fn send_with(&self, words: &[&str], event: &[u8]) -> Output {
        let mut command = self.command(words);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(event).unwrap();
        child.wait_with_output().unwrap()
    }

    /// Runs `flyball` with these words as the agent would; gives its exit code and what it says.
    fn by_agent(&self, words: &str) -> (i32, String) {
        let flyball = env!("CARGO_BIN_EXE_flyball");
        let (home, ledger, here, said) = (self.path("home"), self.path("l"), self.path("w"), self.path("said"));
        let [home, ledger, here, out] = [&home, &ledger, &here, &said].map(|path| path.display());
        let mut harness = self.harness.lock().unwrap();
        harness.run(&format!("cd {here}"));
        let code = harness.run(&format!("HOME={home} FLYBALL_HOME={ledger} {flyball} {words} >{out} 2>&1"));
        (code, std::fs::read_to_string(said).unwrap())
    }

    /// An event before a call; gives the exit code and what the model reads.
    fn before(&self, tool: &str, input: &Value) -> (i32, String) {
        self.before_of("claude", &self.event(tool, input))
    }

    fn before_of(&self, harness: &str, event: &Value) -> (i32, String) {
        let file = self.path("event");
        std::fs::write(&file, event.to_string()).unwrap();
        self.by_agent(&format!("hook {harness} --within 1 <{}", file.display()))
    }

    /// Replicas are bounded, and what is beyond is brought back within.
    fn clamps(&self) {
        let add = |name: &str, more: &str| {
            let file = self.path("w/.flyball").join(name);
            let text = std::fs::read_to_string(&file).unwrap() + more;
            std::fs::write(file, text).unwrap();
        };
        add(
            "charter.toml",
            "\n[envelope.replicas]\nof = \"deploy.scale.replicas\"\nmin = 1\nmax = 20\non_breach = \"clamp\"\n",
        );
        let rules = self.path("w/.flyball/rules.cedar");
        let text = std::fs::read_to_string(&rules).unwrap();
        std::fs::write(rules, text.replace("Action::\"deploy\",", "Action::\"deploy.apply\",")).unwrap();
        let more = "@id(\"scales\") @owner(\"maintainer\") @reason(\"Within bounds.\")\n\
                    permit (principal, action == Action::\"deploy.scale\", resource);\n";
        add("rules.cedar", more);
        self.ok(&["check"]);
    }

    fn log(&self) -> Vec<Value> {
        self.ok(&["log", "@", "--json"]).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The same once it has that: what is only in flight yet is committed a moment later.
    fn log_with(&self, has_it: impl Fn(&[Value]) -> bool) -> Vec<Value> {
        let until = std::time::Instant::now() + std::time::Duration::from_secs(60);
        loop {
            let log = self.log();
            if has_it(&log) {
                return log;
            }
            assert!(std::time::Instant::now() < until, "{log:#?}");
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }

    fn event(&self, tool: &str, input: &Value) -> Value {
        json!({
            "session_id": "s", "cwd": self.path("w"), "hook_event_name": "PreToolUse", "tool_name": tool,
            "tool_use_id": "t", "tool_input": input,
        })
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = self.command(&["kill", "@"]).output();
        let end = json!({"session_id": "s", "cwd": "/", "hook_event_name": "SessionEnd"});
        self.send(end.to_string().as_bytes());
        let harness = self.harness.get_mut().unwrap();
        let _ = harness.child.kill();
        let _ = harness.child.wait();
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

const SCALE: &str = "kubectl scale deployment/api --replicas=50";

#[test]
fn a_call_goes_on_with_the_input_that_passes_and_the_record_names_both() {
    let world = World::new();
    world.clamps();
    let (code, said) = world.before("Bash", &json!({"command": SCALE, "timeout": 9}));
    let said: Value = serde_json::from_str(&said).unwrap_or_else(|_| panic!("{said}"));
    let given = "kubectl scale deployment/api --replicas=20";
    assert_eq!((code, &said["hookSpecificOutput"]["updatedInput"]), (0, &json!({"command": given, "timeout": 9})));
    assert!(said["hookSpecificOutput"].get("permissionDecision").is_none(), "{said}");

    let log = world.log_with(|log| log.iter().filter(|e| e["kind"] == "dispatch").count() >= 3);
    let attempt = |replicas: i64| {
        log.iter()
            .find(|e| e["kind"] == "attempt" && e["body"]["attrs"]["replicas"] == replicas)
            .map(|e| e["seq"].clone())
    };
    let asked = attempt(50).unwrap();
    let ruling = log.iter().find(|e| e["kind"] == "ruling" && e["body"]["of"] == asked).unwrap();
    assert_eq!(ruling["body"]["verdict"], "modify");
    assert_eq!(ruling["body"]["modified"]["attrs"]["replicas"], 20, "{ruling}");
    // What is done is that attempt, as it was changed, below a command that was ruled on as it will be called.
    assert!(log.iter().any(|e| e["kind"] == "dispatch" && e["body"]["of"] == asked));
    let of = |words: &str| {
        let is_it = |e: &&Value| {
            e["body"]["verb"] == "process.exec" && e["body"]["resource"]["argv"].to_string().contains(words)
        };
        log.iter().find(is_it).unwrap()["seq"].clone()
    };
    let is_dispatched = |of: Value| log.iter().any(|e| e["kind"] == "dispatch" && e["body"]["of"] == of);
    assert!(is_dispatched(of("replicas=20")) && !is_dispatched(of("replicas=50")));
    let told = log.iter().find(|e| e["body"]["hook"] == "form").unwrap_or_else(|| panic!("{log:#?}"));
    assert!(told["body"]["asked"].as_str().unwrap().contains("=50"), "{told}");
    assert!(told["body"]["given"].as_str().unwrap().contains("=20"), "{told}");

    // A harness that takes its own input after all is told on.
    let mut after = world.event("Bash", &json!({"command": SCALE, "timeout": 9}));
    after["hook_event_name"] = "PostToolUse".into();
    after["tool_response"] = json!({"stdout": ""});
    assert_eq!(world.before_of("claude", &after).0, 0);
    let is_told = || {
        let log = world.log();
        let is_unknown = |e: &Value| e["kind"] == "outcome" && e["body"]["of"] == asked && e["body"]["unknown"] == true;
        log.iter().any(|e| e["body"]["hook"] == "not-given") && log.iter().any(is_unknown)
    };
    // Nobody waits for what is told afterwards.
    let until = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while !is_told() {
        assert!(std::time::Instant::now() < until, "{:#?}", world.log());
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    world.ok(&["verify"]);
}

#[test]
fn each_harness_is_given_an_input_in_its_own_way_or_is_refused() {
    let world = World::new();
    world.clamps();
    let said = |harness: &str, event: &str, tool: &str, command: &str| {
        let mut before = world.event(tool, &json!({"command": command}));
        before["hook_event_name"] = event.into();
        let (code, said) = world.before_of(harness, &before);
        (
            code,
            serde_json::from_str::<Value>(&said).map_or(Value::from(said), |said| said["hookSpecificOutput"].clone()),
        )
    };
    let given = json!({"command": "kubectl scale deployment/api --replicas=20"});
    let (code, codex) = said("codex", "PreToolUse", "Bash", SCALE);
    assert_eq!((code, &codex["permissionDecision"], &codex["updatedInput"]), (0, &json!("allow"), &given));
    let (code, gemini) = said("gemini", "BeforeTool", "run_shell_command", SCALE);
    assert_eq!((code, &gemini["tool_input"]), (0, &given));
    // Nobody has seen it take one.
    let (code, cursor) = said("cursor", "preToolUse", "Shell", SCALE);
    assert!(code == 2 && cursor.as_str().unwrap().contains("the same with replicas = 20"), "{cursor}");
    // No other text says so.
    for command in ["kubectl scale deployment/api --replicas=0x32", "kubectl scale deployment/api --replicas=050"] {
        let (code, claude) = said("claude", "PreToolUse", "Bash", command);
        assert_eq!(code, 2, "{command}: {claude}");
    }
}

/// What has to be changed is not let through unchanged because people allowed what stands beside it.
#[test]
fn an_answer_to_one_part_does_not_let_another_pass_unchanged() {
    let world = World::new();
    world.clamps();
    let both = json!({"command": format!("{SCALE} && git push origin main")});
    let (code, text) = world.before("Bash", &both);
    assert!(code == 2 && text.contains("default-branch-is-asked-about"), "{text}");
    let asked: Value = serde_json::from_str(world.ok(&["asks", "--json"]).lines().next().unwrap()).unwrap();
    world.ok(&["answer", asked["id"].as_str().unwrap(), "allow", "--reason", "it may"]);
    let (code, text) = world.before("Bash", &both);
    assert!(code == 0 && text.contains("--replicas=20 && git push origin main"), "{text}");
    // Where no input can be given, nobody is asked about the rest.
    let mut event = world.event("Shell", &both);
    event["hook_event_name"] = "preToolUse".into();
    let (code, text) = world.before_of("cursor", &event);
    assert!(code == 2 && text.contains("the same with replicas = 20"), "{text}");
    assert_eq!(world.ok(&["asks", "--json"]), "");
}

#[test]
fn a_person_changes_what_is_asked() {
    let world = World::new();
    let push = json!({"command": "git push origin main"});
    assert_eq!(world.before("Bash", &push).0, 2);
    let asked: Value = serde_json::from_str(world.ok(&["asks", "--json"]).lines().next().unwrap()).unwrap();
    let mut with = asked["attempt"].clone();
    with["resource"]["name"] = "topic".into();
    with["attrs"]["source"] = "topic".into();
    let with = with.to_string();
    let id = asked["id"].as_str().unwrap();
    world.ok(&["answer", id, "modify", "--with", &with, "--reason", "not there"]);
    let (code, said) = world.before("Bash", &push);
    let said: Value = serde_json::from_str(&said).unwrap_or_else(|_| panic!("{said}"));
    assert_eq!(code, 0);
    assert_eq!(said["hookSpecificOutput"]["updatedInput"]["command"], "git push origin topic");
    world.ok(&["verify"]);
}

/// The action of a write does not say what is written: who allowed one content has not seen another.
#[test]
fn an_answer_is_for_that_very_call() {
    let world = World::new();
    let write = |content: &str| {
        let path = world.path("w").join(".github/workflows/ci.yml");
        world.before("Write", &json!({"file_path": path, "content": content}))
    };
    assert_eq!(write("on: push").0, 2);
    let asked: Value = serde_json::from_str(world.ok(&["asks", "--json"]).lines().next().unwrap()).unwrap();
    world.ok(&["answer", asked["id"].as_str().unwrap(), "allow", "--reason", "that one"]);
    assert_eq!(write("on: pull_request_target").0, 2);
    assert_eq!(write("on: push"), (0, String::new()));
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
    let event = world.event("Bash", &json!({"command": "ls"})).to_string();
    std::thread::scope(|scope| {
        let all: Vec<_> = (0..8).map(|_| scope.spawn(|| world.send(event.as_bytes()))).collect();
        for one in all {
            let output = one.join().unwrap();
            assert!(output.status.success() && output.stdout.is_empty() && output.stderr.is_empty(), "{output:?}");
        }
    });
    assert_eq!(world.ok(&["ps", "--json"]).lines().count(), 1);
}

const HARNESSES: [(&str, &str); 4] = [
    ("claude", ".claude/settings.json"),
    ("codex", ".codex/hooks.json"),
    ("gemini", ".gemini/settings.json"),
    ("cursor", ".cursor/hooks.json"),
];

#[test]
fn installed_hooks_are_taken_out_again_byte_for_byte() {
    let world = World::new();
    for (harness, file) in HARNESSES {
        // Where there was nothing, there is nothing afterwards.
        let path = world.path("w").join(file);
        world.ok(&["hook", "install", harness]);
        let written = std::fs::read_to_string(&path).unwrap();
        assert!(written.contains(env!("CARGO_BIN_EXE_flyball")) && written.contains("--within 570"), "{written}");
        world.ok(&["hook", "install", harness, "--within", "30"]);
        world.ok(&["hook", "install", harness, "--otlp", "env"]);
        let written = std::fs::read_to_string(&path).unwrap();
        assert!(written.contains(" --otlp env --within 570") && !written.contains("--within 30"), "{written}");
        assert!(world.ok(&["hook", "uninstall", harness]).contains("gone again"));
        assert!(!path.parent().unwrap().exists(), "{file}");
        // What was there is there again, whatever it looked like; also in the user's own settings.
        let path = world.path("home").join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let before = b"{ \"z\" :1,\r\n\t\"hooks\": {\"Stop\":[ ]}, \"a\": \"\\u00e9\" }";
        std::fs::write(&path, before).unwrap();
        for _ in 0..2 {
            world.ok(&["hook", "install", harness, "--user"]);
        }
        assert_ne!(std::fs::read(&path).unwrap(), before);
        assert!(world.ok(&["hook", "uninstall", harness, "--user"]).contains("byte for byte"));
        assert_eq!(std::fs::read(&path).unwrap(), before, "{file}");
        assert!(world.ok(&["hook", "uninstall", harness, "--user"]).contains("no hooks"));
        // What others wrote meanwhile stays.
        world.ok(&["hook", "install", harness, "--user"]);
        let changed = std::fs::read_to_string(&path).unwrap().replacen("\"z\" :1", "\"z\" :2", 1);
        std::fs::write(&path, changed).unwrap();
        assert!(world.ok(&["hook", "uninstall", harness, "--user"]).contains("was changed since"));
        let left: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        assert_eq!((left["z"].clone(), left["a"].clone()), (json!(2), json!("\u{e9}")), "{left}");
        assert!(!left.to_string().contains("flyball"), "{left}");
    }
    assert_eq!(std::fs::read_dir(world.path("l/hooks")).unwrap().count(), 0);
}

#[test]
fn settings_that_are_none_stay_as_they_are() {
    let world = World::new();
    let path = world.path("w").join(".claude/settings.json");
    std::fs::create_dir(path.parent().unwrap()).unwrap();
    let refused = |told: &str| {
        let output = world.command(&["hook", "install", "claude"]).output().unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(1) && text.contains("FB0538") && text.contains(told), "{text}");
    };
    for (bytes, told) in
        [(&b"// mine\n{}"[..], "comments"), (b"[]", "not an object"), (&vec![b'1'; 2 << 20], "over 1048576 bytes")]
    {
        std::fs::write(&path, bytes).unwrap();
        refused(told);
        assert!(std::fs::read(&path).unwrap() == bytes);
    }
    std::fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink(world.path("home").join("elsewhere"), &path).unwrap();
    refused("is a link");
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    refused("is no file");
    std::fs::remove_dir(&path).unwrap();
    assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
    refused("is no file");
}

#[test]
fn doctor_tells_whether_codex_calls_its_hooks() {
    let world = World::new();
    let output = world.command(&["hook", "install", "codex", "--user"]).output().unwrap();
    assert!(String::from_utf8(output.stderr).unwrap().contains("/hooks"));
    let told = || {
        let output = world.command(&["doctor", "--json"]).output().unwrap();
        let told: Value = serde_json::from_slice(&output.stdout).unwrap();
        told["hooks"][0]["state"].as_str().unwrap().to_owned()
    };
    assert!(told().contains("not trusted"), "{}", told());
    // As Codex does it when its user says so.
    let file = world.path("home").join(".codex/hooks.json");
    let hooks = std::fs::read(&file).unwrap();
    let mut config = String::new();
    for entry in flyball_gateway::hook::install::entries(flyball_intent::Harness::Codex, &hooks).unwrap() {
        let digest = flyball_gateway::hook::install::trust::digest(&entry);
        let event = flyball_gateway::hook::install::trust::label(&entry.event);
        config.push_str(&format!("[hooks.state.\"{}:{event}:0:0\"]\ntrusted_hash = \"{digest}\"\n", file.display()));
    }
    std::fs::write(world.path("home").join(".codex/config.toml"), config).unwrap();
    assert_eq!(told(), "installed");
    // With another wait it is another entry.
    world.ok(&["hook", "install", "codex", "--user", "--within", "30"]);
    assert!(told().contains("not trusted"), "{}", told());
}

#[test]
fn an_agent_has_no_say_over_its_own_session() {
    let world = World::new();
    let push = json!({"command": "git push origin main"});
    assert_eq!(world.before("Bash", &push).0, 2);
    let asked: Value = serde_json::from_str(world.ok(&["asks", "--json"]).lines().next().unwrap()).unwrap();
    let id = asked["id"].as_str().unwrap();
    for act in [&format!("answer {id} allow"), "pause @", "resume @", "kill @", "quarantine @"] {
        let (code, text) = world.by_agent(&format!("{act} --reason mine"));
        assert!(code == 1 && text.contains("agent's own processes"), "{act}: {text}");
    }
    assert_eq!(world.before("Bash", &push).0, 2);
    world.ok(&["answer", id, "allow", "--reason", "it may"]);
    assert_eq!(world.before("Bash", &push), (0, String::new()));
}

#[test]
fn what_is_only_told_stops_nothing_when_it_cannot_be_recorded() {
    let world = World::new();
    std::fs::write(world.path("l"), "no folder").unwrap();
    let told = |name: &str| {
        let event = json!({"session_id": "s", "cwd": world.path("w"), "hook_event_name": name, "tool_name": "Bash",
            "tool_use_id": "t", "tool_input": {"command": "ls"}});
        world.send(event.to_string().as_bytes()).status.code()
    };
    assert_eq!(told("PreToolUse"), Some(2));
    for name in ["PostToolUse", "Stop", "SessionEnd", "UserPromptSubmit"] {
        assert_eq!(told(name), Some(1), "{name}");
    }
    assert_eq!(told("NeverHeardOf"), Some(2));
}

#[test]
fn a_supervisor_that_was_killed_is_not_followed_by_one_that_knows_nothing() {
    let world = World::new();
    let ls = json!({"command": "ls"});
    assert_eq!(world.before("Bash", &ls).0, 0);
    let open: Value = serde_json::from_str(world.ok(&["log", "@", "--json"]).lines().next().unwrap()).unwrap();
    let pid = open["body"]["pid"].to_string();
    assert!(Command::new("kill").args(["-9", &pid]).status().unwrap().success());
    let gone = || std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z"));
    while gone() {
        std::thread::yield_now();
    }
    let (code, text) = world.before("Bash", &ls);
    assert!(code == 2 && text.contains("has died"), "{text}");
    assert_eq!(world.ok(&["ps", "--json"]).lines().count(), 1);
    // The harness started anew, which goes on with the same session of its own.
    {
        let mut harness = world.harness.lock().unwrap();
        harness.child.kill().unwrap();
        harness.child.wait().unwrap();
        *harness = Harness::start(world.scratch.path());
    }
    assert_eq!(world.before("Bash", &ls), (0, String::new()));
    assert_eq!(world.ok(&["ps", "--json"]).lines().count(), 2);
}

#[test]
fn hooks_are_not_what_a_charter_requires_to_be_enforced() {
    let world = World::new();
    assert_eq!(world.before("Bash", &json!({"command": "ls"})).0, 0);
    let view: Value = serde_json::from_str(&world.ok(&["show", "@", "--json"])).unwrap();
    let rules = view["coverage"]["rules"].as_array().unwrap();
    assert_eq!((&view["coverage"]["kind"], &view["coverage"]["surfaces"]), (&json!("hooks"), &json!(["hook"])));
    assert!(rules.iter().all(|rule| rule["enforced"] == json!([])), "{view}");
    let pushes = rules.iter().find(|rule| rule["rule"] == "no-force-push").unwrap();
    assert_eq!(pushes["observed"], json!(["git.push"]));

    let world = World::new();
    let charter = world.path("w").join(".flyball/charter.toml");
    let text = std::fs::read_to_string(&charter).unwrap();
    std::fs::write(&charter, text + "\n[require]\ncoverage = [\"git.push\"]\n").unwrap();
    let (code, text) = world.before("Bash", &json!({"command": "ls"}));
    assert_eq!(code, 2, "{text}");
    for told in ["`git.push` is observed only", "no-force-push", "surface `http`", "flyball run"] {
        assert!(text.contains(told), "{told} is not in: {text}");
    }
    assert_eq!(world.ok(&["ps", "--json"]).lines().count(), 0, "no session was opened");
}

#[test]
fn an_address_that_nobody_reads_alike_is_not_fetched() {
    let world = World::new();
    for (tool, input, said) in [
        ("WebFetch", json!({"url": "http:evil.example", "prompt": "x"}), "has no `url`"),
        ("mcp__fetch__fetch", json!({"url": "http://ev\u{ed}l.example/"}), "has no `url`"),
        // Nothing beneath a hook decides again where it goes.
        ("Bash", json!({"command": "curl $X"}), "network-elsewhere-is-asked-about"),
    ] {
        let (code, text) = world.before(tool, &input);
        assert!(code == 2 && text.contains(said), "{tool} {input}: {code} {text}");
    }
    // Up from where a link leads, as a shell's own redirection goes.
    std::fs::create_dir_all(world.path("home/.ssh/deep")).unwrap();
    std::os::unix::fs::symlink(world.path("home/.ssh/deep"), world.path("w/a")).unwrap();
    let (code, text) = world.before("Bash", &json!({"command": "echo k >> a/../authorized_keys"}));
    assert!(code == 2 && text.contains("authorized_keys"), "{code} {text}");
}

/// Its contracts are held against a session of hooks as well; a command runs on the folder as it stands.
/// The first hook says where to, and the session's supervisor sends, while the harness lives and at its end.
#[test]
fn spans_of_a_harnesss_session_go_to_a_collector() {
    let world = World::new();
    let (url, taken) = collector(&[200]);
    let words = ["hook", "claude", "--otlp", &url, "--within", "1"];
    let event = |name: &str| {
        let mut event = world.event("Bash", &json!({"command": "ls"}));
        event["hook_event_name"] = name.into();
        event["tool_response"] = json!({"stdout": ""});
        event.to_string().into_bytes()
    };
    for name in ["PreToolUse", "PostToolUse"] {
        let output = world.send_with(&words, &event(name));
        assert!(output.status.success(), "{output:?}");
    }
    let next = || taken.recv_timeout(std::time::Duration::from_secs(120)).unwrap();
    let mut requests = Vec::new();
    let names = |requests: &[Value]| -> Vec<String> {
        requests.iter().flat_map(spans).map(|span| span["name"].as_str().unwrap().to_owned()).collect()
    };
    while names(&requests).is_empty() {
        requests.push(next());
    }
    assert!(!names(&requests).iter().any(|name| name.starts_with("invoke_agent")), "{requests:?}");
    let end = json!({"session_id": "s", "cwd": world.path("w"), "hook_event_name": "SessionEnd"});
    assert!(world.send(end.to_string().as_bytes()).status.success());
    while !names(&requests).iter().any(|name| name.starts_with("invoke_agent")) {
        requests.push(next());
    }
    let exported: Value = serde_json::from_str(&world.ok(&["export", "@", "--format", "otlp", "-o", "-"])).unwrap();
    assert_eq!(sorted(requests.iter().flat_map(spans).collect()), sorted(spans(&exported)));

    // One that takes nothing keeps no harness waiting, and what it did not take is in the supervisor's log.
    let (dead, _taken) = collector(&[400]);
    let words = ["hook", "claude", "--otlp", &dead, "--within", "1"];
    assert!(world.send_with(&words, &event("PreToolUse")).status.success());
    assert!(world.send(end.to_string().as_bytes()).status.success());
    let until = std::time::Instant::now() + std::time::Duration::from_secs(60);
    let logs = || {
        let files = std::fs::read_dir(world.path("l/doors")).unwrap().map(|file| file.unwrap().path());
        files
            .filter(|path| path.extension().is_some_and(|is| is == "log"))
            .map(|path| std::fs::read_to_string(path).unwrap())
            .collect::<String>()
    };
    while !logs().contains("took 0 spans and not ") {
        assert!(std::time::Instant::now() < until, "{}", logs());
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

/// What a collector leaves unanswered is waited for by the session's supervisor, and not by the harness.
#[test]
fn a_collector_that_never_answers_keeps_no_harness_waiting() {
    let world = World::new();
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/v1/traces", silent.local_addr().unwrap());
    let mut event = world.event("Bash", &json!({"command": "ls"}));
    event["hook_event_name"] = "PreToolUse".into();
    let words = ["hook", "claude", "--otlp", &url, "--within", "1"];
    assert!(world.send_with(&words, event.to_string().as_bytes()).status.success());
    let end = json!({"session_id": "s", "cwd": world.path("w"), "hook_event_name": "SessionEnd"});
    assert!(world.send(end.to_string().as_bytes()).status.success());
    // It was told that all is well, and somebody is still waiting here.
    silent.set_nonblocking(true).unwrap();
    let until = std::time::Instant::now() + std::time::Duration::from_secs(60);
    let is_open = |mut stream: std::net::TcpStream| {
        stream.set_nonblocking(true).unwrap();
        let mut buffer = [0; 4096];
        loop {
            match std::io::Read::read(&mut stream, &mut buffer) {
                Ok(1..) => {}
                Ok(0) => return false,
                Err(error) => return error.kind() == std::io::ErrorKind::WouldBlock,
            }
        }
    };
    loop {
        match silent.accept() {
            Ok((stream, _)) => {
                if is_open(stream) {
                    break;
                }
            }
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock),
        }
        assert!(std::time::Instant::now() < until, "nobody waits for the collector any more");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

/// A witness of the ledger is asked at the end of a harness's session, which it does not keep waiting.
#[test]
fn a_witness_cosigns_the_session_of_a_harness() {
    let world = World::new();
    let end = json!({"session_id": "s", "cwd": world.path("w"), "hook_event_name": "SessionEnd"});
    // The first one makes the ledger.
    assert_eq!(world.before("Bash", &json!({"command": "ls"})).0, 0);
    assert!(world.send(end.to_string().as_bytes()).status.success());
    let key: Value = serde_json::from_str(&world.ok(&["--json", "key", "show"])).unwrap();
    let serve = |dir: &str| {
        let words = ["--json", "witness", "serve", "--listen", "127.0.0.1:0", "--dir", dir, "--trust"];
        let mut serve = world.command(&[&words[..], &[key["key"].as_str().unwrap()]].concat());
        let mut witness = serve.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(witness.stdout.take().unwrap()).read_line(&mut line).unwrap();
        (witness, serde_json::from_str::<Value>(&line).unwrap())
    };
    let (mut witness, at) = serve("one");
    world.ok(&["witness", "add", at["url"].as_str().unwrap(), at["key"].as_str().unwrap()]);
    // Another one takes connections and never answers.
    let (mut other, theirs) = serve("other");
    other.kill().unwrap();
    other.wait().unwrap();
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    world.ok(&["witness", "add", &url, theirs["key"].as_str().unwrap()]);
    assert_eq!(world.before("Bash", &json!({"command": "ls"})).0, 0);
    assert!(world.send(end.to_string().as_bytes()).status.success());
    // It was told that all is well: what the silent one says is awaited by the supervisor.
    let waits = silent.accept().unwrap();
    let until = std::time::Instant::now() + std::time::Duration::from_secs(60);
    loop {
        let report: Value = serde_json::from_str(&world.ok(&["--json", "verify"])).unwrap();
        if report["witnessed_by"] == json!([at["key"]]) {
            break;
        }
        assert!(std::time::Instant::now() < until, "{report:#}");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    drop(waits);
    witness.kill().unwrap();
    witness.wait().unwrap();
}

#[test]
fn contracts_are_held_against_a_session_of_hooks() {
    if !Command::new(env!("CARGO_BIN_EXE_flyball")).arg("doctor").output().unwrap().status.success() {
        eprintln!("skipped: nothing can be run in a sandbox on this machine (see `flyball doctor`)");
        return;
    }
    let world = World::new();
    let file = world.path("w/.flyball/charter.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let contracts = "\n[[contract]]\nname = \"asked\"\nno_open_questions = true\n\n[[contract]]\nname = \"made\"\ncommand = [\"sh\", \"-c\", \"cat made; echo forged > made\"]\n\n[[contract]]\nname = \"level\"\nreplay_at_least = 2\n";
    std::fs::write(&file, text + contracts).unwrap();
    assert_eq!(world.before("Bash", &json!({"command": "ls"})).0, 0);
    std::fs::write(world.path("w/made"), "one\n").unwrap();
    // One that nobody answers.
    assert_eq!(world.before("Bash", &json!({"command": "git push origin main"})).0, 2);
    let end = json!({"session_id": "s", "cwd": world.path("w"), "hook_event_name": "SessionEnd"});
    assert!(world.send(end.to_string().as_bytes()).status.success());
    let until = std::time::Instant::now() + std::time::Duration::from_secs(60);
    let shown = loop {
        let shown: Value = serde_json::from_str(&world.ok(&["show", "@", "--json"])).unwrap();
        if shown["state"] == "ended" {
            break shown;
        }
        assert!(std::time::Instant::now() < until, "{shown:#}");
        std::thread::sleep(std::time::Duration::from_millis(50));
    };
    let held: Vec<(&str, &Value)> = shown["contracts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|result| (result["contract"].as_str().unwrap(), &result["holds"]))
        .collect();
    // The session's end answers for nobody: what was asked about stays unanswered.
    assert_eq!(held, [("asked", &json!(false)), ("made", &json!(true)), ("level", &json!(false))], "{shown:#}");
    let check = &shown["contracts"][1]["checks"][0];
    assert_eq!(check["output"], format!("sha256:{}", flyball_ledger::Digest::of(b"one\n").to_hex()), "{check}");
    assert_eq!(std::fs::read_to_string(world.path("w/made")).unwrap(), "one\n");
    world.ok(&["attest", "@", "-o", world.path("a.json").to_str().unwrap()]);
    world.ok(&["verify", world.path("a.json").to_str().unwrap()]);
}
