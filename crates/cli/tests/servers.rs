//! The reference MCP servers behind the gateway, driven by the SDKs' own clients: what is allowed is what it is without the
//! gateway, and what is refused meets the rules of what it does.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, missing_docs, reason = "tests")]

use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Both take calls as JSON, a server's command, and print what they got.
const TYPESCRIPT: &str = r#"
const from = (part) => import(process.env.SDK + "/dist/esm/client/" + part);
const { Client } = await from("index.js");
const { StdioClientTransport } = await from("stdio.js");
const [calls, command, ...args] = process.argv.slice(2);
const { StreamableHTTPClientTransport } = await from("streamableHttp.js");
const isHttp = command.startsWith("http:");
const way = isHttp
  ? new StreamableHTTPClientTransport(new URL(command))
  : new StdioClientTransport({ command, args, env: process.env });
const client = new Client({ name: "typescript", version: "1" }, { capabilities: {} });
await client.connect(way);
const tools = [];
let cursor;
do {
  const page = await client.listTools({ cursor });
  tools.push(...page.tools.map((tool) => tool.name));
  cursor = page.nextCursor;
} while (cursor);
const out = { server: client.getServerVersion().name, tools: tools.sort(), calls: [] };
for (const call of JSON.parse(calls)) out.calls.push(await client.callTool(call).catch((e) => ({ error: String(e) })));
await client.close();
console.log(JSON.stringify(out));
"#;
const PYTHON: &str = r#"
import asyncio, json, os, sys
from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamable_http_client

async def main():
    calls, command, *args = sys.argv[1:]
    is_http = command.startswith("http:")
    server = None if is_http else StdioServerParameters(command=command, args=args, env=dict(os.environ))
    async with (
        streamable_http_client(command) if is_http else stdio_client(server) as (read, write, *_),
        ClientSession(read, write) as session,
    ):
        told = await session.initialize()
        told = told.model_dump(by_alias=True, exclude_none=True)
        tools = (await session.list_tools()).tools
        out = {"server": told["serverInfo"]["name"], "tools": sorted(tool.name for tool in tools), "calls": []}
        for call in json.loads(calls):
            try:
                result = await session.call_tool(call["name"], call["arguments"])
                out["calls"].append(result.model_dump(mode="json", by_alias=True, exclude_none=True))
            except Exception as error:
                out["calls"].append({"error": str(error)})
        print(json.dumps(out))

asyncio.run(main())
"#;

/// Two clients at once in one process, each with a root of its own: what each is asked for, told and answered.
const TWO: &str = r#"
const from = (part) => import(process.env.SDK + "/dist/esm/" + part);
const { Client } = await from("client/index.js");
const { StreamableHTTPClientTransport } = await from("client/streamableHttp.js");
const { ListRootsRequestSchema } = await from("types.js");
const one = async (name) => {
  const way = new StreamableHTTPClientTransport(new URL(process.argv[2]));
  const client = new Client({ name, version: "1" }, { capabilities: { roots: {} } });
  client.setRequestHandler(ListRootsRequestSchema, () => ({ roots: [{ uri: "file:///" + name, name }] }));
  await client.connect(way);
  const echo = (n) => client.callTool({ name: "echo", arguments: { message: name + n } });
  const echoes = await Promise.all(Array.from({ length: 12 }, (_, n) => echo(n)));
  let told = 0;
  const long = { name: "trigger-long-running-operation", arguments: { duration: 1, steps: 4 } };
  await client.callTool(long, undefined, { onprogress: () => (told += 1) });
  const roots = await client.callTool({ name: "get-roots-list", arguments: {} });
  await way.terminateSession();
  await client.close();
  return { session: way.sessionId ?? "", told, echoes: echoes.map((it) => it.content[0].text), roots: roots.content[0].text };
};
console.log(JSON.stringify(await Promise.all([one("left"), one("right")])));
"#;

/// Calls a tool, goes away after the first event of the answer's stream, and goes on behind it until the answer has come: what came.
const GOES_ON: &str = r#"
import http.client, json, sys, time
port, path = int(sys.argv[1]), "/mcp"
def ask(method, body=None, **headers):
    to = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    kind = {"accept": "application/json, text/event-stream" if body else "text/event-stream", "content-type": "application/json"}
    to.request(method, path, body and json.dumps({"jsonrpc": "2.0", **body}), {**kind, **headers})
    return to, to.getresponse()
client = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "c", "version": "1"}}
_, answer = ask("POST", {"id": 1, "method": "initialize", "params": client})
session = {"mcp_session_id": answer.getheader("mcp-session-id"), "mcp_protocol_version": "2025-11-25"}
answer.read()
ask("POST", {"method": "notifications/initialized"}, **session)[1].read()
call = {"name": "trigger-long-running-operation", "arguments": {"duration": 1, "steps": 4}, "_meta": {"progressToken": "p"}}
to, answer = ask("POST", {"id": 2, "method": "tools/call", "params": call}, **session)
last, line = "", b""
while not line.startswith(b"data: {"):
    line = answer.readline()
    assert line, "the stream ended"
    if line.startswith(b"id:"):
        last = line[3:].decode().strip()
answer.close()
to.close()
until = time.monotonic() + 60
while True:
    assert time.monotonic() < until, "the answer does not come"
    came = []
    try:
        _, answer = ask("GET", last_event_id=last, **session)
        for line in answer:
            if line.startswith(b"data: {"):
                message = json.loads(line[5:])
                came.append(message.get("result") or message["params"])
                if message.get("id") == 2:
                    print(json.dumps(came))
                    sys.exit()
    except TimeoutError:
        pass
"#;

struct World {
    scratch: tempfile::TempDir,
    installed: PathBuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sdk {
    TypeScript,
    Python,
}

impl World {
    fn new() -> Option<Self> {
        let installed = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.agents/mcp");
        let Some(installed) = installed.canonicalize().ok().filter(|at| at.join("py/bin/mcp-server-git").exists())
        else {
            eprintln!("skipped: the MCP servers and clients are not installed: `cargo xtask test` does it");
            return None;
        };
        let world = Self { scratch: tempfile::tempdir().unwrap(), installed };
        for name in ["w", "home"] {
            std::fs::create_dir(world.path(name)).unwrap();
        }
        std::fs::write(world.path("client.mjs"), TYPESCRIPT).unwrap();
        std::fs::write(world.path("client.py"), PYTHON).unwrap();
        for words in [
            &["init", "-q", "-b", "main"][..],
            &["-c", "user.name=a", "-c", "user.email=a@b.example", "commit", "-q", "--allow-empty", "-m", "first"],
        ] {
            assert!(Command::new("git").args(words).current_dir(world.path("w")).status().unwrap().success());
        }
        let made = world.flyball(&["init"]).output().unwrap();
        assert!(made.status.success(), "{made:?}");
        Some(world)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.scratch.path().canonicalize().unwrap().join(name)
    }

    fn around(&self, command: &mut Command) {
        command.current_dir(self.path("w")).env("FLYBALL_HOME", self.path("l")).env("HOME", self.path("home"));
    }

    fn flyball(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_flyball"));
        command.args(words);
        self.around(&mut command);
        command
    }

    fn server(&self, name: &str) -> Vec<String> {
        let text = |path: PathBuf| path.to_str().unwrap().to_owned();
        let node = |name: &str| {
            text(self.installed.join("node_modules/@modelcontextprotocol").join(name).join("dist/index.js"))
        };
        let python = |name: &str| text(self.installed.join("py/bin").join(name));
        let here = text(self.path("w"));
        match name {
            "filesystem" => vec!["node".into(), node("server-filesystem"), here],
            "everything" => vec!["node".into(), node("server-everything")],
            "git" => vec![python("mcp-server-git"), "--repository".into(), here],
            name => vec![python(&format!("mcp-server-{name}"))],
        }
    }

    fn client(&self, sdk: Sdk) -> Command {
        let (program, script) = match sdk {
            Sdk::TypeScript => ("node".into(), "client.mjs"),
            Sdk::Python => (self.installed.join("py/bin/python"), "client.py"),
        };
        let mut command = Command::new(program);
        command.arg(self.path(script));
        command.env("SDK", self.installed.join("node_modules/@modelcontextprotocol/sdk"));
        command
    }

    /// What a client gets of a server's calls, with the gateway in between or without.
    fn calls(&self, sdk: Sdk, is_governed: bool, server: &str, calls: &Value) -> Value {
        let mut command = self.client(sdk);
        command.arg(calls.to_string());
        if is_governed {
            command.arg(env!("CARGO_BIN_EXE_flyball")).args(["gateway", "mcp", "--within", "0", "--"]);
        }
        command.args(self.server(server));
        self.around(&mut command);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{sdk:?} {server}: {output:?}");
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{sdk:?} {server}: {output:?}"))
    }

    fn log(&self) -> String {
        let output = self.flyball(&["log", "@", "--json"]).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    }
}

fn text(call: &Value) -> &str {
    call["content"][0]["text"].as_str().unwrap_or_default()
}

#[test]
fn the_sdks_clients_get_from_the_reference_servers_what_they_get_without_a_gateway() {
    let Some(world) = World::new() else { return };
    for name in ["w/a.txt", "w/b.txt"] {
        std::fs::write(world.path(name), "one\n").unwrap();
    }
    let here = world.path("w");
    for (server, calls) in [
        (
            "filesystem",
            json!([
                {"name": "read_text_file", "arguments": {"path": here.join("a.txt")}},
                {"name": "list_directory", "arguments": {"path": here}},
                {"name": "write_file", "arguments": {"path": here.join("b.txt"), "content": "two\n"}},
                {"name": "edit_file", "arguments": {"path": here.join("b.txt"), "edits": [{"oldText": "two", "newText": "2"}]}},
                {"name": "write_file", "arguments": {"path": here.join("b.txt"), "content": "two\n"}},
                {"name": "read_text_file", "arguments": {"path": here.join("none")}},
            ]),
        ),
        (
            "everything",
            json!([
                {"name": "echo", "arguments": {"message": "caf\u{e9}"}},
                {"name": "get-sum", "arguments": {"a": 1.10, "b": 2}},
            ]),
        ),
        (
            "git",
            json!([
                {"name": "git_log", "arguments": {"repo_path": here}},
                {"name": "git_status", "arguments": {"repo_path": here}},
            ]),
        ),
        ("fetch", json!([])),
    ] {
        for sdk in [Sdk::TypeScript, Sdk::Python] {
            let direct = world.calls(sdk, false, server, &calls);
            assert_eq!(direct["calls"].as_array().unwrap().len(), calls.as_array().unwrap().len());
            assert_eq!(direct, world.calls(sdk, true, server, &calls), "{sdk:?} {server}");
        }
    }
}

/// Ends with its owner.
struct Running(std::process::Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts it and waits until one of its lines holds that text; gives the line.
fn started(mut command: Command, text: &str) -> (Running, String) {
    let mut child = command.stderr(std::process::Stdio::piped()).spawn().unwrap();
    let mut said = std::io::BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains(text) {
        line.clear();
        assert!(std::io::BufRead::read_line(&mut said, &mut line).unwrap() > 0, "{command:?} ended");
    }
    std::thread::spawn(move || std::io::copy(&mut said, &mut std::io::sink()));
    (Running(child), line)
}

/// The gateway in front of a server over pipes, for clients over HTTP; and where.
fn listening(world: &World, server: &str) -> (Running, String) {
    let mut gateway = world.flyball(&["gateway", "mcp", "--within", "0", "--listen", "127.0.0.1:0", "--"]);
    gateway.args(world.server(server));
    let (gateway, line) = started(gateway, "is served at ");
    (gateway, line.trim().rsplit_once(' ').unwrap().1.to_owned())
}

#[test]
fn a_server_over_pipes_is_to_clients_over_http_what_it_is_over_pipes() {
    let Some(world) = World::new() else { return };
    std::fs::write(world.path("w/a.txt"), "one\n").unwrap();
    let here = world.path("w");
    let ci = here.join(".github/workflows/ci.yml");
    std::fs::create_dir_all(ci.parent().unwrap()).unwrap();
    let calls = json!([
        {"name": "read_text_file", "arguments": {"path": here.join("a.txt")}},
        {"name": "write_file", "arguments": {"path": here.join("b.txt"), "content": "two\n"}},
        {"name": "write_file", "arguments": {"path": ci, "content": "on: push\n"}},
        {"name": "write_file", "arguments": {"path": "/etc/flyball-test", "content": "x"}},
    ]);
    let (_gateway, at) = listening(&world, "filesystem");
    for sdk in [Sdk::TypeScript, Sdk::Python] {
        let _ = std::fs::remove_file(here.join("b.txt"));
        let mut client = world.client(sdk);
        let output = client.arg(calls.to_string()).arg(&at).output().unwrap();
        assert!(output.status.success(), "{sdk:?} {output:?}");
        let told: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert!(text(&told["calls"][0]) == "one\n" && told["calls"][1]["isError"] != true, "{sdk:?} {told}");
        assert_eq!(std::fs::read_to_string(here.join("b.txt")).unwrap(), "two\n");
        assert!(text(&told["calls"][2]).contains("ci-is-asked-about") && !ci.exists(), "{sdk:?} {told}");
        assert!(text(&told["calls"][3]).contains("outside-the-workspace"), "{sdk:?} {told}");
        // But for what names the attempt, which is another one.
        let over_pipes = world.calls(sdk, true, "filesystem", &calls);
        assert_eq!((&told["tools"], &told["server"]), (&over_pipes["tools"], &over_pipes["server"]), "{sdk:?}");
        assert_eq!(told["calls"][0], over_pipes["calls"][0], "{sdk:?}");
        assert_eq!(told["calls"][1], over_pipes["calls"][1], "{sdk:?}");
    }
}

#[test]
fn two_clients_of_a_server_over_pipes_have_nothing_of_each_other() {
    let Some(world) = World::new() else { return };
    std::fs::write(world.path("two.mjs"), TWO).unwrap();
    let (gateway, at) = listening(&world, "everything");
    let mut client = Command::new("node");
    client.arg(world.path("two.mjs")).arg(&at);
    client.env("SDK", world.installed.join("node_modules/@modelcontextprotocol/sdk"));
    let output = client.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let both: Value = serde_json::from_slice(&output.stdout).unwrap();
    for (at, name, other) in [(0, "left", "right"), (1, "right", "left")] {
        let one = &both[at];
        let echoes: Vec<String> = (0..12).map(|n| format!("Echo: {name}{n}")).collect();
        assert_eq!(one["echoes"], json!(echoes));
        assert_eq!(one["told"], 4, "{one}");
        let roots = one["roots"].as_str().unwrap();
        assert!(roots.contains(&format!("file:///{name}")) && !roots.contains(other), "{one}");
    }
    // The clients have ended their sessions, and so the processes.
    let until = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while world.log().matches("\"process ended\"").count() < 2 {
        assert!(std::time::Instant::now() < until, "{}", world.log());
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    drop(gateway);
}

/// What a server keeps of a stream is given to a client that goes on at `Last-Event-ID`, as without the gateway.
#[test]
fn a_client_goes_on_behind_the_last_event_that_it_has_seen() {
    let Some(world) = World::new() else { return };
    std::fs::write(world.path("goes_on.py"), GOES_ON).unwrap();
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
    let [node, everything] = <[String; 2]>::try_from(world.server("everything")).unwrap();
    let mut server = Command::new(node);
    server.args([&everything, "streamableHttp"]).env("PORT", &free);
    let (_server, _) = started(server, "listening on port");
    let site = format!("everything=http://127.0.0.1:{free}/mcp");
    let gateway = world.flyball(&["gateway", "mcp", "--within", "0", "--listen", "127.0.0.1:0", "--", &site]);
    let (gateway, line) = started(gateway, "is served at ");
    let through = line.trim().trim_end_matches("/mcp").rsplit_once(':').unwrap().1.to_owned();
    let came = |port: &str| {
        let mut client = Command::new(world.installed.join("py/bin/python"));
        let output = client.arg(world.path("goes_on.py")).arg(port).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        serde_json::from_slice::<Value>(&output.stdout).unwrap()
    };
    let behind = came(&through);
    assert_eq!(behind.as_array().unwrap().len(), 4, "three steps and the answer: {behind}");
    assert_eq!(came(&free), behind);
    // What became of the call is known, though nobody waited on the stream on which it began.
    let until = std::time::Instant::now() + std::time::Duration::from_secs(60);
    let is_done = |log: &str| {
        let entries: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let calls = entries.iter().filter(|e| e["kind"] == "attempt" && e["body"]["verb"] == "tool.call");
        let of = calls.filter_map(|e| e["seq"].as_u64()).next_back();
        entries.iter().any(|e| e["kind"] == "outcome" && e["body"]["of"].as_u64() == of && e["body"]["ok"] == true)
    };
    while !is_done(&world.log()) {
        assert!(std::time::Instant::now() < until, "{}", world.log());
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    drop(gateway);
}

#[test]
fn the_conformance_suite_says_the_same_with_the_gateway_in_between() {
    let Some(world) = World::new() else { return };
    let node = ["x64", "arm64"].map(|cpu| world.installed.join(format!("node_modules/node-linux-{cpu}/bin/node")));
    let Some(node) = node.into_iter().find(|node| Command::new(node).arg("--version").output().is_ok()) else {
        eprintln!("skipped: no node 22 is installed: `cargo xtask test` does it");
        return;
    };
    let modules = world.installed.join("node_modules/@modelcontextprotocol");
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
    let mut server = Command::new(&node);
    server.arg(modules.join("server-everything/dist/index.js")).arg("streamableHttp").env("PORT", &free);
    let (_server, _) = started(server, "listening on port");
    let direct = format!("http://127.0.0.1:{free}/mcp");
    let site = format!("everything={direct}");
    let gateway = world.flyball(&["gateway", "mcp", "--listen", "127.0.0.1:0", "--", &site]);
    let (_gateway, line) = started(gateway, "is served at ");
    let through = line.trim().rsplit_once(' ').unwrap().1;
    let said = |url: &str| {
        let mut suite = Command::new(&node);
        suite.arg(modules.join("conformance/dist/index.js")).args(["server", "--url", url]);
        world.around(&mut suite);
        let said = String::from_utf8(suite.output().unwrap().stdout).unwrap();
        let rows: Vec<String> = said.lines().filter(|line| line.contains(" passed, ")).map(str::to_owned).collect();
        assert!(rows.len() > 25, "{said}");
        // The gateway refuses foreign hosts by itself, the reference server does not.
        rows.into_iter().filter(|row| !row.contains("dns-rebinding") && !row.starts_with("Total")).collect::<Vec<_>>()
    };
    assert_eq!(said(&direct), said(through));
    // Nor does it tell that the server is one over pipes.
    let (_piped, piped) = listening(&world, "everything");
    let names =
        |rows: Vec<String>| rows.iter().map(|row| row.split(':').next().unwrap().to_owned()).collect::<Vec<_>>();
    // One scenario counts streams of events; an answer alone is JSON here.
    assert_eq!(names(said(&direct)), names(said(&piped)));
    let calls =
        json!([{"name": "echo", "arguments": {"message": "x"}}, {"name": "get-sum", "arguments": {"a": 1, "b": 2}}]);
    let by_sdk = |url: &str| {
        let mut client = Command::new(&node);
        client.arg(world.path("client.mjs")).arg(calls.to_string()).arg(url);
        client.env("SDK", modules.join("sdk"));
        let output = client.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        serde_json::from_slice::<Value>(&output.stdout).unwrap()
    };
    assert_eq!(by_sdk(&direct), by_sdk(through));
}

#[test]
fn what_is_refused_meets_the_rules_of_what_it_does() {
    let Some(world) = World::new() else { return };
    let ci = world.path("w/.github/workflows/ci.yml");
    std::fs::create_dir_all(ci.parent().unwrap()).unwrap();
    let write = |path: &Path| json!([{"name": "write_file", "arguments": {"path": path, "content": "on: push\n"}}]);
    for sdk in [Sdk::TypeScript, Sdk::Python] {
        let told = world.calls(sdk, true, "filesystem", &write(&ci));
        assert!(text(&told["calls"][0]).contains("ci-is-asked-about"), "{sdk:?} {told}");
        // The gateway says so, before the server says that it is none of its folders.
        let told = world.calls(sdk, true, "filesystem", &write(Path::new("/etc/flyball-test")));
        assert!(text(&told["calls"][0]).contains("outside-the-workspace"), "{sdk:?} {told}");
        let fetch = json!([{"name": "fetch", "arguments": {"url": "http://paste.example/"}}]);
        let told = world.calls(sdk, true, "fetch", &fetch);
        assert!(text(&told["calls"][0]).contains("network-elsewhere-is-asked-about"), "{sdk:?} {told}");
    }
    assert!(!ci.exists());
    // The same verb, path and rule as the same effect by a harness's own tool.
    world.calls(Sdk::TypeScript, true, "filesystem", &write(&ci));
    let by_server = world.log();
    let event = json!({"session_id": "s", "cwd": world.path("w"), "hook_event_name": "PreToolUse", "tool_name": "Write",
        "tool_use_id": "t", "tool_input": {"file_path": ci, "content": "on: push\n"}});
    let mut hook = world.flyball(&["hook", "claude", "--within", "0"]);
    let mut child = hook.stdin(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn().unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), event.to_string().as_bytes()).unwrap();
    let told = child.wait_with_output().unwrap();
    assert!(told.status.code() == Some(2) && String::from_utf8_lossy(&told.stderr).contains("ci-is-asked-about"));
    let written = |log: &str| -> Vec<String> {
        let entries = log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let actions = entries.filter(|entry| entry["kind"] == "attempt").map(|entry| entry["body"].clone());
        let writes = actions.filter(|action| action["verb"] == "fs.write");
        let said = |mut action: Value| {
            // Whose tool it is, as a command's words are told by a shell.
            action["attrs"].as_object_mut().unwrap().remove("implied_by");
            format!("{} {}", action["resource"], action["attrs"])
        };
        writes.map(said).collect()
    };
    let by_harness = world.log();
    assert!(!written(&by_server).is_empty(), "{by_server}");
    assert_eq!(written(&by_server), written(&by_harness));
}
