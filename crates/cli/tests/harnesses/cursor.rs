//! Cursor's program is not to be had from a registry: a stand-in for it reads its settings, calls its hooks in its wire form and does
//! what they let pass. It shows that Flyball's side works, not that Cursor's does.

use crate::{Case, World, is_caused, text};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

pub fn cases() -> Vec<Case> {
    let needs = || {
        let python = Command::new("/usr/bin/python3").arg("--version").output();
        (!python.is_ok_and(|told| told.status.success())).then(|| "no /usr/bin/python3".to_owned())
    };
    vec![Case { name: "cursor_form_under_run_has_hooks_and_a_boundary", needs, run: governed }]
}

const STAND_IN: &str = r#"#!/usr/bin/python3
import json, os, subprocess
settings = json.load(open(os.path.expanduser("~/.cursor/hooks.json")))
assert settings["version"] == 1, settings

def tell(event, **more):
    body = {"hook_event_name": event, "conversation_id": "c", "workspace_roots": [os.getcwd()], "cwd": os.getcwd(), **more}
    for hook in settings["hooks"].get(event, []):
        done = subprocess.run(["sh", "-c", hook["command"]], input=json.dumps(body), text=True, capture_output=True)
        if done.returncode != 0:
            return done.stderr or "hook failed"

def use(number, tool, arguments, act):
    call = {"tool_name": tool, "tool_input": arguments, "tool_use_id": f"tool_{number}"}
    refused = tell("preToolUse", **call)
    print(tool, number, refused or "goes on")
    if refused is None:
        act()
        tell("postToolUse", **call, tool_output="{}")

def shell(command):
    return lambda: subprocess.run(["bash", "-c", command])

def write(path):
    return lambda: open(path, "w").write("x")

tell("sessionStart")
for n, command in enumerate(["sh -c 'echo ready >made'", "echo x >forbidden.sh"]):
    use(n, "Shell", {"command": command}, shell(command))
for n, path in enumerate(["written.txt", "forbidden.txt"]):
    path = os.path.join(os.getcwd(), path)
    use(n + 2, "Write", {"file_path": path, "contents": "x"}, write(path))
tell("sessionEnd")
"#;

fn governed() {
    let world = World::new();
    let bin = world.path("bin");
    std::fs::create_dir(&bin).unwrap();
    std::fs::write(bin.join("cursor-agent"), STAND_IN).unwrap();
    std::fs::set_permissions(bin.join("cursor-agent"), std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut plain = Command::new("cursor-agent");
    plain.env("HOME", world.path("home"));
    let mut command = world.governed("cursor-agent", &plain);
    command.env("PATH", format!("{}:{}", bin.display(), std::env::var("PATH").unwrap()));
    let output = world.run(command, false);
    let told = format!("{}\n{}", text(&output.stdout), text(&output.stderr));
    let log = world.closed();
    assert_eq!(log[0]["body"]["hooks"], "cursor", "{told}");
    assert!(text(&output.stdout).contains("Shell 0 goes on"), "{told}");
    assert_eq!(text(&output.stdout).matches("rule no-forbidden-file").count(), 2, "{told}");
    let chain = is_caused(&log, "fs.write", "/made", "preToolUse", &told);
    assert_eq!(chain.last().unwrap()["body"]["tool_use_id"], "tool_0", "{told}");
    is_caused(&log, "fs.write", "/written.txt", "preToolUse", &told);
    assert!(!world.path("home").join(".cursor").exists());
}
