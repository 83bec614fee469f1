//! Agents that are started as programs.

use super::*;

#[test]
fn agents_are_started() {
    for (line, expect) in [
        ("claude", "agent.spawn claude task="),
        ("claude -p fix", "agent.spawn claude task=fix"),
        ("claude --agent admin -p fix", "agent.spawn admin task=fix"),
        ("claude -p fix --agent=admin", "agent.spawn admin task=fix"),
        (
            "claude -p --dangerously-skip-permissions fix",
            "agent.spawn claude rights=dangerously-skip-permissions,unrestricted task=fix",
        ),
        (
            "claude --permission-mode bypassPermissions fix",
            "agent.spawn claude rights=bypassPermissions,unrestricted task=fix",
        ),
        ("claude -p fix --permission-mode=plan", "agent.spawn claude rights=plan task=fix"),
        (
            "claude --allowedTools Bash(git:*),Edit Read -p fix",
            "agent.spawn claude rights=Bash(git:*),Edit,Read task=fix",
        ),
        ("claude --allowed-tools Edit -- fix", "agent.spawn claude rights=Edit task=fix"),
        (
            r#"claude --settings {"permissions":{"defaultMode":"bypassPermissions","allow":["Edit"]}} fix"#,
            "agent.spawn claude rights=Edit,bypassPermissions,unrestricted task=fix",
        ),
        ("claude --settings other.json fix", "agent.spawn claude opaque task=fix"),
        ("claude --new-option fix", "agent.spawn claude opaque task=fix"),
        ("claude mcp list", ""),
        // Its own `rg`, and no option of the agent's.
        ("claude --no-config --files --hidden /w", ""),
        ("claude --model opus mcp list", ""),
        ("claude --version", ""),
        ("claude -p x --help", ""),
        // Words that an option before them may have taken.
        ("claude -d mcp -p", "agent.spawn claude task=mcp"),
        ("claude --mcp-config mcp", "agent.spawn claude task="),
        ("claude --allowed-tools --version -p fix", "agent.spawn claude rights=--version task=fix"),
        ("claude --model --version fix", "agent.spawn claude task=fix"),
        ("claude -dv fix", "agent.spawn claude task=fix"),
        ("codex exec fix", "agent.spawn codex task=fix"),
        ("codex --yolo e fix", "agent.spawn codex rights=unrestricted,yolo task=fix"),
        (
            "codex exec --dangerously-bypass-approvals-and-sandbox fix",
            "agent.spawn codex rights=dangerously-bypass-approvals-and-sandbox,unrestricted task=fix",
        ),
        (
            "codex exec -sdanger-full-access -a never fix",
            "agent.spawn codex rights=danger-full-access,never,unrestricted task=fix",
        ),
        (
            r#"codex -c sandbox_mode="danger-full-access" fix"#,
            "agent.spawn codex rights=danger-full-access,unrestricted task=fix",
        ),
        ("codex -c model=o3 exec fix", "agent.spawn codex task=fix"),
        ("codex -p mine exec fix", "agent.spawn codex opaque task=fix"),
        ("codex login", ""),
        ("codex --codex-run-as-process-setup 46 3 pipe /w /bin/bash -c ls", ""),
        ("codex -i mcp exec fix", "agent.spawn codex task="),
        ("gemini -p fix -y", "agent.spawn gemini rights=unrestricted,yolo task=fix"),
        ("gemini --approvalMode=yolo fix", "agent.spawn gemini rights=unrestricted,yolo task=fix"),
        ("gemini --approval-mode auto_edit -i fix", "agent.spawn gemini rights=auto_edit task=fix"),
        ("gemini mcp list", ""),
        ("gemini -w mcp -p fix", "agent.spawn gemini task=fix"),
        ("cursor-agent -f -p fix", "agent.spawn cursor-agent rights=force,unrestricted task=fix"),
        ("cursor-agent status", ""),
        ("npx -y @anthropic-ai/claude-code@2 -p fix", "agent.spawn claude task=fix"),
        ("npx -p @openai/codex codex exec --yolo fix", "agent.spawn codex rights=unrestricted,yolo task=fix"),
        ("npx cowsay claude", ""),
        ("npm exec @google/gemini-cli -- -y -p fix", "agent.spawn gemini rights=unrestricted,yolo task=fix"),
        ("pnpm dlx @openai/codex exec fix", "agent.spawn codex task=fix"),
        (
            "node /x/@google/gemini-cli/bundle/gemini.js -y -p fix",
            "agent.spawn gemini rights=unrestricted,yolo task=fix",
        ),
        ("node --no-warnings /x/bin/codex.js exec fix", "agent.spawn codex task=fix"),
        ("env A=1 timeout 5 claude -p fix", "agent.spawn claude task=fix"),
        ("xargs claude -p", "agent.spawn claude opaque task=…"),
    ] {
        check(line, expect);
    }
    // As a hook tells it, and as the boundary does.
    for escaped in [r"\u004d", r"\x5cu004d"] {
        let settings = format!(r#" {{"permissions":{{"default{escaped}ode":"bypassPermissions"}}}}"#);
        let actions = run(&["claude", "--settings", &settings, "x"]);
        compare(&actions, "agent.spawn claude rights=bypassPermissions,unrestricted task=x", &settings);
    }
    for loader in
        ["ld-linux-x86-64.so.2", "ld-linux-x86-64.so.2 --library-path /x --argv0 rg", "ld-musl-x86_64.so.1 --"]
    {
        check(
            &format!("{loader} /usr/bin/codex exec --yolo fix"),
            "agent.spawn codex rights=unrestricted,yolo task=fix",
        );
    }
    sh("claude -p \"$TASK\" --agent \"$WHO\"", "agent.spawn opaque task=\"$TASK\"");
    sh("claude -p <<'EOF'\nfix it\nEOF", "agent.spawn claude task=fix it");
    sh("A='--yolo'; codex exec $A fix", "agent.spawn codex rights=unrestricted,yolo task=fix");
}

#[test]
fn an_agent_interprets_a_script() {
    let of = |interpreter, argument| {
        let (argv, script) = (["./s".to_owned(), "fix".to_owned()], Some(Script { interpreter, argument }));
        exec_actions(&Exec { program: "/w/s", argv: &argv, cwd: "/w", home: "/home/u", script, git: None })
    };
    let rights = "rights=dangerously-skip-permissions,unrestricted";
    let expect = format!("agent.spawn claude {rights} task=/w/s");
    compare(&of("/usr/bin/claude", Some("--dangerously-skip-permissions")), &expect, "#!");
    compare(&of("/usr/bin/sh", None), "", "#!/usr/bin/sh");
    compare(&of("/usr/bin/env", Some("node")), "", "#!/usr/bin/env node");
}
