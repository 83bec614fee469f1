//! What the gateway adds to a tool call: the same client and the same server, with it in between and without, call by call in turns.

use super::workloads::{find_flyball, init};
use crate::Failure;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

/// Calls a row, for each of the rounds asked.
const CALLS: usize = 2000;
/// Calls before any is counted.
const WARM: usize = 200;

/// Answers each call at once with as little as a client takes.
const SERVER: &str = r#"
import json, sys
TOOLS = [{"name": n, "inputSchema": {"type": "object"}} for n in ("echo", "read_file")]
for line in sys.stdin:
    m = json.loads(line)
    if "id" not in m: continue
    r = {"tools": TOOLS} if m["method"] == "tools/list" else {"content": [{"type": "text", "text": "x"}]}
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", "id": m["id"], "result": r}) + "\n")
    sys.stdout.flush()
"#;

/// The section for docs/benchmarks.md.
pub(super) fn measure(flyball: Option<std::path::PathBuf>, rounds: usize) -> Result<String, Failure> {
    let scratch = std::env::temp_dir().join(format!("flyball-bench-mcp-{}", std::process::id()));
    let workspace = scratch.join("w");
    std::fs::create_dir_all(&workspace)?;
    std::fs::write(scratch.join("server.py"), SERVER)?;
    std::fs::write(workspace.join("a.txt"), "a\n")?;
    let program = find_flyball(flyball, &scratch)?;
    init(&program, &workspace)?;
    let table = table(&scratch, &workspace, &program, rounds);
    std::fs::remove_dir_all(scratch)?;
    table
}

fn table(scratch: &Path, workspace: &Path, program: &Path, rounds: usize) -> Result<String, Failure> {
    let server = scratch.join("server.py");
    let mut direct = Command::new("python3");
    direct.arg(&server);
    let mut through = Command::new(program);
    through.arg("--ledger").arg(scratch.join("ledger"));
    through.args(["gateway", "mcp", "--name", "filesystem", "--", "python3"]).arg(&server);
    let mut direct = Client::start(&mut direct, workspace)?;
    let mut through = Client::start(&mut through, workspace)?;
    let file = workspace.join("a.txt");
    let rows = [
        (
            "a tool that nobody knows: `tool.call`",
            format!(r#"{{"name":"echo","arguments":{{"text":"{}"}}}}"#, "x".repeat(64)),
        ),
        (
            "`read_file` of a known server: `fs.read`",
            format!(r#"{{"name":"read_file","arguments":{{"path":"{}"}}}}"#, file.display()),
        ),
    ];
    let mut out = format!(
        "`cargo xtask bench mcp`, {}, {} calls a row, direct and through the gateway in turns, a server in Python\n\n\
         | call | direct p50 | p99 | through the gateway p50 | p99 | added p50 | p99 |\n|---|---|---|---|---|---|---|\n",
        super::machine(),
        CALLS * rounds
    );
    for (name, params) in rows {
        let (mut plain, mut governed) = (Vec::new(), Vec::new());
        for n in 0..WARM + CALLS * rounds {
            // Who is first changes, so that neither always finds the caches warm.
            let (a, b) = if n % 2 == 0 {
                let a = direct.call(&params)?;
                (a, through.call(&params)?)
            } else {
                let b = through.call(&params)?;
                (direct.call(&params)?, b)
            };
            if n >= WARM {
                plain.push(a);
                governed.push(b);
            }
        }
        let at = |times: &mut Vec<Duration>, hundredths: usize| {
            times.sort();
            times.get(times.len() * hundredths / 100).copied().unwrap_or_default()
        };
        let [p50, p99] = [50, 99].map(|h| (at(&mut plain, h), at(&mut governed, h)));
        let us = |time: Duration| format!("{:.0} us", time.as_secs_f64() * 1e6);
        let added = |(plain, governed): (Duration, Duration)| us(governed.saturating_sub(plain));
        let [a, b, c, d] = [p50.0, p99.0, p50.1, p99.1].map(us);
        out.push_str(&format!("| {name} | {a} | {b} | {c} | {d} | {} | {} |\n", added(p50), added(p99)));
    }
    Ok(out)
}

struct Client {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    asked: u64,
}

impl Client {
    fn start(command: &mut Command, workspace: &Path) -> Result<Self, Failure> {
        command.current_dir(workspace).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn()?;
        let (stdin, stdout) = (child.stdin.take().ok_or("no pipe")?, child.stdout.take().ok_or("no pipe")?);
        Ok(Self { child, stdin, stdout: BufReader::new(stdout), asked: 0 })
    }

    fn call(&mut self, params: &str) -> Result<Duration, Failure> {
        self.asked += 1;
        let id = self.asked;
        let line = format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"method\":\"tools/call\",\"params\":{params}}}\n");
        let mut answer = String::new();
        let begun = Instant::now();
        self.stdin.write_all(line.as_bytes())?;
        self.stdout.read_line(&mut answer)?;
        let took = begun.elapsed();
        let is_good = answer.contains("\"content\"") && !answer.contains("isError");
        if is_good { Ok(took) } else { Err(format!("`{line}` was answered with `{answer}`").into()) }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
