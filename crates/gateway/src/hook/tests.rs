#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use super::*;

/// A gate that denies what the text names, and writes down what it hears.
#[derive(Default)]
struct Written {
    denies: &'static str,
    heard: Mutex<Vec<String>>,
}

impl Written {
    fn tell(&self, line: String) {
        self.heard.lock().unwrap().push(line);
    }
}

impl Gate for Written {
    fn ask(&self, asking: Asking) -> Answered {
        let said: Vec<String> =
            asking.actions.iter().map(|a| format!("{} {} {}", a.agent, a.verb, a.resource.id())).collect();
        self.tell(format!("ask {}", said.join(" + ")));
        if !self.denies.is_empty() && said.iter().any(|s| s.contains(self.denies)) {
            return Answered::Denied { attempt: 1, text: "no".into() };
        }
        Answered::Allowed { attempts: (1..=asking.actions.len() as u64).collect() }
    }
    fn outcome(&self, attempts: &[u64], ok: Option<bool>, attrs: &BTreeMap<String, Value>) {
        self.tell(format!("outcome {attempts:?} {ok:?} {:?}", attrs.get("exit")));
    }
    fn observe(&self, actor: &str, _: &[u64], body: Json) -> Option<u64> {
        self.tell(format!("observe {actor} {}", body["hook"].as_str().unwrap()));
        Some(9)
    }
}

fn check(harness: Harness, denies: &'static str, events: &[Json], expect: &[&str]) {
    let gate = Written { denies, ..Written::default() };
    let hooks = Hooks::new(harness);
    let around = Around { home: "/h", wait: Duration::ZERO, git: &|_| None, file: &file, is_enforced: false };
    for event in events {
        let reply = hooks.handle(event.to_string().as_bytes(), &gate, &around);
        gate.tell(format!("exit {} {}", reply.exit, reply.stderr.trim_end()).trim_end().to_owned());
    }
    assert_eq!(*gate.heard.lock().unwrap(), expect);
}

/// What a gateway has seen of servers.
struct Known;

impl Pins for Known {
    fn known(&self, server: &str) -> Result<Option<BTreeMap<String, String>>, String> {
        match server {
            "kept" => Ok(Some([("old".to_owned(), "sha256:1".to_owned())].into())),
            "broken" => Err("x".into()),
            _ => Ok(None),
        }
    }
    fn keep(&self, _: &str, _: &str, _: &str) -> Result<(), String> {
        Ok(())
    }
}

#[test]
fn a_servers_tool_is_asked_about_when_it_is_first_seen() {
    let gate = Written { denies: "tool.inject kept/new", ..Written::default() };
    let hooks = Hooks::new(Harness::Claude).with_pins(Arc::new(Known));
    let around = Around { home: "/h", wait: Duration::ZERO, git: &|_| None, file: &file, is_enforced: false };
    let asks = |tool: &str| {
        let event = claude("PreToolUse", json!({"tool_name": tool, "tool_use_id": "t", "tool_input": {}}));
        let exit = hooks.handle(event.to_string().as_bytes(), &gate, &around).exit;
        let heard = std::mem::take(&mut *gate.heard.lock().unwrap());
        (exit, heard.into_iter().filter(|line| line.starts_with("ask ")).collect::<Vec<_>>())
    };
    let call = |of: &str| format!("ask claude tool.call {of}");
    let inject = |of: &str| format!("ask claude tool.inject {of}");
    assert_eq!(asks("mcp__some__t"), (0, vec![inject("some/t"), call("some/t")]));
    assert_eq!(asks("mcp__some__t"), (0, vec![call("some/t")]));
    assert_eq!(asks("mcp__kept__old"), (0, vec![call("kept/old")]));
    // Refused, and each time anew; nothing of the call itself is asked.
    assert_eq!(asks("mcp__kept__new"), (2, vec![inject("kept/new")]));
    assert_eq!(asks("mcp__kept__new"), (2, vec![inject("kept/new")]));
    assert_eq!(asks("mcp__broken__t").1[0], inject("broken/t"));
    // The harness's own are no server's.
    assert_eq!(asks("Thinking"), (0, vec![call("claude/Thinking")]));
}

fn claude(name: &str, more: Json) -> Json {
    let mut event = json!({"session_id": "s", "cwd": "/nowhere/w", "hook_event_name": name});
    event.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    event
}

#[test]
fn a_call_is_ruled_on_and_its_end_recorded() {
    let call = json!({"tool_name": "Bash", "tool_use_id": "t", "tool_input": {"command": "make && cargo test"}});
    let mut ended = call.clone();
    ended["tool_response"] = json!({"stdout": "", "stderr": "", "interrupted": false});
    check(
        Harness::Claude,
        "",
        &[claude("PreToolUse", call), claude("PostToolUse", ended)],
        &[
            "observe claude PreToolUse",
            "ask claude process.exec bash + claude process.exec make + claude process.exec cargo",
            "exit 0",
            "observe claude PostToolUse",
            "outcome [1] Some(true) Some(Long(0))",
            "outcome [2] Some(true) Some(Long(0))",
            "outcome [3] Some(true) Some(Long(0))",
            "exit 0",
        ],
    );
}

#[test]
fn a_good_end_of_a_script_says_nothing_of_what_may_have_failed_in_it() {
    let call = json!({"tool_name": "Bash", "tool_use_id": "t", "tool_input": {"command": "cargo test; make done"}});
    let mut ended = call.clone();
    ended["tool_response"] = json!({"stdout": "Exit code: 0", "stderr": "", "interrupted": false});
    let mut failed = call.clone();
    failed["error"] = json!("Exit code 101\nmore");
    check(
        Harness::Claude,
        "",
        &[
            claude("PreToolUse", call.clone()),
            claude("PostToolUse", ended),
            claude("PreToolUse", call),
            claude("PostToolUseFailure", failed),
        ],
        &[
            "observe claude PreToolUse",
            "ask claude process.exec bash + claude process.exec cargo + claude process.exec make",
            "exit 0",
            "observe claude PostToolUse",
            "outcome [1] Some(true) Some(Long(0))",
            "outcome [2] None None",
            "outcome [3] None None",
            "exit 0",
            "observe claude PreToolUse",
            "ask claude process.exec bash + claude process.exec cargo + claude process.exec make",
            "exit 0",
            "observe claude PostToolUseFailure",
            "outcome [1] Some(false) Some(Long(101))",
            "outcome [2] None None",
            "outcome [3] None None",
            "exit 0",
        ],
    );
}

#[test]
fn what_a_command_printed_is_no_outcome() {
    let call = json!({"tool_name": "Bash", "tool_use_id": "t", "tool_input": {"command": "cargo test"}});
    let mut ended = call.clone();
    ended["tool_response"] = json!("Exit code: 0\nall tests passed");
    check(
        Harness::Codex,
        "",
        &[claude("PreToolUse", call), claude("PostToolUse", ended)],
        &[
            "observe codex PreToolUse",
            "ask codex process.exec bash + codex process.exec cargo",
            "exit 0",
            "observe codex PostToolUse",
            "outcome [1] None None",
            "outcome [2] None None",
            "exit 0",
        ],
    );
}

#[test]
fn subagents_are_agents_of_their_own() {
    let call = json!({"tool_name": "Write", "tool_use_id": "t", "agent_id": "a1", "agent_type": "helper",
        "tool_input": {"file_path": "x", "content": "y"}});
    check(
        Harness::Claude,
        "x",
        &[claude("PreToolUse", call)],
        &["observe claude/a1 PreToolUse", "ask claude/a1 fs.write /nowhere/w/x", "exit 2 no"],
    );
}

#[test]
fn gemini_names_no_calls() {
    let call = json!({"session_id": "s", "cwd": "/nowhere/w", "hook_event_name": "BeforeTool",
        "tool_name": "write_file", "tool_input": {"file_path": "/nowhere/w/x", "content": "y"}});
    let mut ended = call.clone();
    ended["hook_event_name"] = json!("AfterTool");
    ended["tool_response"] = json!({"llmContent": "ok"});
    check(
        Harness::Gemini,
        "",
        &[call, ended],
        &[
            "observe gemini BeforeTool",
            "ask gemini fs.write /nowhere/w/x",
            "exit 0",
            "observe gemini AfterTool",
            "outcome [1] Some(true) None",
            "exit 0",
        ],
    );
}

#[test]
fn what_can_not_be_understood_is_stopped() {
    let hooks = Hooks::new(Harness::Claude);
    let around = Around { home: "/h", wait: Duration::ZERO, git: &|_| None, file: &file, is_enforced: false };
    let deep = format!("{}{}", "[".repeat(5000), "]".repeat(5000));
    for bytes in [
        &b""[..],
        b"{",
        b"[]",
        b"null",
        b"{\"hook_event_name\":\"PreToolUse\"}",
        b"{\"hook_event_name\":\"PreToolUse\",\"cwd\":\"relative\",\"tool_name\":\"Bash\",\"tool_input\":{\"command\":\"x\"}}",
        b"{\"hook_event_name\":\"PreToolUse\",\"cwd\":\"/w\",\"tool_name\":\"Bash\",\"tool_input\":{}}",
        b"{\"hook_event_name\":\"PreToolUse\",\"cwd\":\"/w\",\"tool_name\":\"Bash\",\"tool_input\":{\"command\":7}}",
        b"{\"hook_event_name\":\"PreToolUse\",\"cwd\":\"/w\",\"tool_name\":\"Write\",\"tool_input\":[]}",
        b"{\"hook_event_name\":\"PreToolUse\",\"cwd\":\"/w\",\"tool_name\":\"apply_patch\",\"tool_input\":{\"input\":\"x\"}}",
        b"{\"hook_event_name\":\"NewKindOfThing\",\"cwd\":\"/w\"}",
        b"\xff\xfe",
        deep.as_bytes(),
    ] {
        let reply = hooks.handle(bytes, &Written::default(), &around);
        assert_eq!(reply.exit, 2, "{}", bytes.escape_ascii());
        assert!(reply.stderr.starts_with("flyball: denied"), "{}", reply.stderr);
    }
}

#[test]
fn where_a_command_goes_that_nobody_sees_is_no_open_place() {
    let fetch = json!({"tool_name": "Bash", "tool_use_id": "t", "tool_input": {"command": "curl $X"}});
    let event = claude("PreToolUse", fetch).to_string();
    for (is_enforced, host) in [(false, "net.connect ?"), (true, "net.connect ")] {
        let gate = Written::default();
        let around = Around { home: "/h", wait: Duration::ZERO, git: &|_| None, file: &file, is_enforced };
        Hooks::new(Harness::Claude).handle(event.as_bytes(), &gate, &around);
        let heard = gate.heard.lock().unwrap().join("\n");
        assert_eq!(heard.contains("net.connect ?"), !is_enforced, "{heard}");
        assert!(heard.contains(host), "{heard}");
    }
}
