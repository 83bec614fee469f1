//! What a harness waits for a hook: its process from start to end, by a shell as harnesses start it.

use super::workloads::{find_flyball, init};
use crate::Failure;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Events a row, for each of the rounds asked.
const EVENTS: usize = 60;

/// The section for docs/benchmarks.md.
pub(super) fn measure(flyball: Option<std::path::PathBuf>, rounds: usize) -> Result<String, Failure> {
    let scratch = std::env::temp_dir().join(format!("flyball-bench-hooks-{}", std::process::id()));
    let workspace = scratch.join("w");
    std::fs::create_dir_all(&workspace)?;
    let program = find_flyball(flyball, &scratch)?;
    init(&program, &workspace)?;
    let table = table(&scratch, &workspace, &program, rounds);
    std::fs::remove_dir_all(scratch)?;
    table
}

fn table(scratch: &Path, workspace: &Path, program: &Path, rounds: usize) -> Result<String, Failure> {
    let hook = format!("{} --ledger {} hook claude --within 5", program.display(), scratch.join("ledger").display());
    let event = |name: &str, input: &str| {
        format!(
            r#"{{"session_id":"bench","cwd":"{}","hook_event_name":"{name}","tool_name":"Bash","tool_use_id":"t","tool_input":{input},"tool_response":{{"stdout":""}}}}"#,
            workspace.display()
        )
    };
    let before = event("PreToolUse", r#"{"command":"cargo test --workspace 2>&1 | tail -20"}"#);
    let refused = event("PreToolUse", r#"{"command":"rm -rf / "}"#);
    let after = event("PostToolUse", "{}");
    let mut out = format!(
        "`cargo xtask bench hooks`, {}, {} events a row, each a process of its own started by `sh -c`\n\n\
         | event | p50 | p90 |\n|---|---|---|\n",
        super::machine(),
        EVENTS * rounds
    );
    let first = once(&hook, &before, 0)?;
    out.push_str(&format!("| the first of a session, which starts its supervisor | {} | |\n", milliseconds(first)));
    for (name, command, event, code) in [
        ("none: `sh -c true`", "true", &before, 0),
        ("before a tool call, allowed", hook.as_str(), &before, 0),
        ("before a tool call, refused", &hook, &refused, 2),
        ("after one", &hook, &after, 0),
    ] {
        let mut took = (0..EVENTS * rounds).map(|_| once(command, event, code)).collect::<Result<Vec<_>, _>>()?;
        took.sort();
        let at = |tenths: usize| took.get(took.len() * tenths / 10).copied().unwrap_or_default();
        out.push_str(&format!("| {name} | {} | {} |\n", milliseconds(at(5)), milliseconds(at(9))));
    }
    once(&hook, &event("SessionEnd", "{}"), 0)?;
    Ok(out)
}

fn once(command: &str, event: &str, code: i32) -> Result<Duration, Failure> {
    let mut sh = Command::new("sh");
    sh.args(["-c", command]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    let begun = Instant::now();
    let mut child = sh.spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        // `true` reads nothing, and may be gone.
        let _ = stdin.write_all(event.as_bytes());
    }
    let status = child.wait()?;
    let took = begun.elapsed();
    if status.code() == Some(code) { Ok(took) } else { Err(format!("`{command}` ended with {status}: {event}").into()) }
}

fn milliseconds(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1000.0)
}
