//! What the attempts are made in: a governed repository, a server outside that git, GitHub's and Kubernetes' clients can talk to,
//! and each door as an agent uses it.

use crate::support::{World, stderr};
use flyball_testkit::user::User;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// git over HTTP for `/o/r.git`, and 200 for whatever else comes; each request that changes something is told on standard output.
const SERVER: &str = r#"
import http.server, os, ssl, subprocess, sys
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path, _, query = self.path.partition("?")
        if self.command != "GET" and "upload-pack" not in path:
            print("changed", self.command, self.path, flush=True)
        if path.startswith("/o/r.git/"):
            env = {"PATH": os.environ["PATH"], "GIT_PROJECT_ROOT": sys.argv[3], "GIT_HTTP_EXPORT_ALL": "1", "PATH_INFO": path[2:],
                   "REQUEST_METHOD": self.command, "QUERY_STRING": query, "CONTENT_TYPE": self.headers.get("Content-Type", ""),
                   "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""), "CONTENT_LENGTH": str(len(body)),
                   "GIT_CONFIG_COUNT": "2", "GIT_CONFIG_KEY_0": "http.receivepack", "GIT_CONFIG_VALUE_0": "true",
                   "GIT_CONFIG_KEY_1": "safe.directory", "GIT_CONFIG_VALUE_1": "*"}
            out = subprocess.run(["git", "http-backend"], input=body, env=env, capture_output=True).stdout
            head, _, text = out.partition(b"\r\n\r\n")
            fields = dict(line.split(": ", 1) for line in head.decode().split("\r\n") if ": " in line)
            status = int(fields.pop("Status", "200").split()[0])
        else:
            status, fields, text = 200, {}, b"{}\n"
        self.send_response(status)
        for name, value in fields.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)
    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do
    def log_message(self, *_): pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[1], sys.argv[2])
server.socket = context.wrap_socket(server.socket, server_side=True)
print(server.server_port, flush=True)
server.serve_forever()
"#;

/// Tools of any server: each call is written down, and answered.
const TOOLS: &str = r#"
import json, os, sys
names = sys.argv[2].split(",")
for line in sys.stdin:
    m = json.loads(line)
    if "id" not in m: continue
    if m["method"] == "tools/list": r = {"tools": [{"name": n, "inputSchema": {"type": "object"}} for n in names]}
    elif m["method"] == "tools/call":
        open(sys.argv[1], "a").write(line)
        r = {"content": [{"type": "text", "text": "done"}]}
    else: r = {"protocolVersion": "2025-11-25", "serverInfo": {"name": "s", "version": "1"}, "capabilities": {"tools": {}}}
    print(json.dumps({"jsonrpc": "2.0", "id": m["id"], "result": r}), flush=True)
"#;

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// The rule of its effect refused it, and nothing happened.
    Stopped,
    /// Refused as a command that can't be read, where there is no sandbox.
    Unread,
    /// No rule had a say.
    Passed,
    /// The effect is there.
    Happened,
    /// Something else, which is never right.
    Other(String),
}

pub struct Scene {
    pub world: World,
    server: Child,
    port: u16,
    outside: tempfile::TempDir,
}

impl Scene {
    pub fn new(user: User) -> Self {
        let world = World::new(user);
        let workspace = world.repo.workspace();
        let dir = workspace.join(".flyball");
        std::fs::create_dir(&dir).unwrap();
        std::fs::write(dir.join("charter.toml"), include_str!("charter/charter.toml")).unwrap();
        std::fs::write(dir.join("rules.cedar"), include_str!("charter/rules.cedar")).unwrap();
        for (name, text) in [
            ("locked/plan.txt", "plan\n"),
            ("secrets/key", "k\n"),
            ("package.json", "{\"name\": \"t\", \"dependencies\": {}}\n"),
            ("requirements.txt", "# none\n"),
            ("note.ipynb", "{\"cells\": []}\n"),
            ("deploy.yaml", "kind: Deployment\nmetadata:\n  name: api\n"),
        ] {
            std::fs::create_dir_all(workspace.join(name).parent().unwrap()).unwrap();
            std::fs::write(workspace.join(name), text).unwrap();
        }
        // By their names they are known; what they would do is that they ran.
        let shell = [
            "npm",
            "yarn",
            "pnpm",
            "pip",
            "cargo",
            "uv",
            "gh",
            "kubectl",
            "helm",
            "claude",
            "codex",
            "gemini",
            "cursor-agent",
        ];
        let shell = shell.map(|name| (name, "#!/bin/sh\n: > ran\n"));
        let script = [("codex.js", "require('fs').writeFileSync('ran', '')\n")];
        for (name, text) in shell.into_iter().chain(script) {
            let file = workspace.join("bin").join(name);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(&file, text).unwrap();
            std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        }
        let outside = tempfile::tempdir().unwrap();
        let made = Command::new("openssl")
            .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"])
            .args(["-subj", "/CN=host.internal", "-addext", "subjectAltName=DNS:host.internal"])
            .args(["-addext", "basicConstraints=critical,CA:FALSE", "-keyout", "key.pem", "-out", "cert.pem"])
            .current_dir(outside.path())
            .output()
            .unwrap();
        assert!(made.status.success(), "{made:?}");
        let origin = world.repo.origin();
        let bare = outside.path().join("r.git");
        let copied = Command::new("cp").arg("-r").arg(&origin).arg(&bare).status().unwrap();
        assert!(copied.success());
        std::fs::write(outside.path().join("tools.py"), TOOLS).unwrap();
        let readable = Command::new("chmod").args(["-R", "a+rX"]).arg(outside.path()).status().unwrap();
        assert!(readable.success());
        let mut server = Command::new("python3")
            .args(["-c", SERVER, "cert.pem", "key.pem"])
            .arg(outside.path())
            .current_dir(outside.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut told = BufReader::new(server.stdout.take().unwrap());
        let mut line = String::new();
        told.read_line(&mut line).unwrap();
        let port = line.trim().parse().unwrap();
        let changes = outside.path().join("changes");
        std::fs::write(&changes, "").unwrap();
        std::thread::spawn(move || {
            let mut file = std::fs::File::options().append(true).open(changes).unwrap();
            for line in told.lines().map_while(Result::ok) {
                let _ = writeln!(file, "{line}");
            }
        });
        let remote = format!("https://host.internal:{port}/o/r.git");
        world.repo.git(user, &["remote", "set-url", "origin", &remote]).unwrap();
        world.user.own(&workspace).unwrap();
        Self { world, server, port, outside }
    }

    /// What reached the server and was no reading, and where its branches are.
    pub fn outside(&self) -> String {
        let refs = Command::new("git").args(["for-each-ref"]).current_dir(self.outside.path().join("r.git")).output();
        let changes = std::fs::read_to_string(self.outside.path().join("changes")).unwrap();
        format!("{changes}{}", String::from_utf8_lossy(&refs.unwrap().stdout))
    }

    /// Makes each attempt in one session of `run`, in the order given.
    pub fn run(&self, name: &str, rule: &str, setup: &str, happened: &str, ways: &[&str]) -> Vec<End> {
        let mut script = format!(
            "export PATH=$PWD/bin:$PATH HERE=$PWD URL=https://host.internal:{}\n{}\n{setup}\nhappened() {{ {happened}\n}}\n",
            self.port, "ID='-c user.name=a -c user.email=a@example.test'; mkdir .marks"
        );
        for (n, way) in ways.iter().enumerate() {
            // Starting a program has what was written judged first.
            script += &format!(
                ": > .marks/{n}\n(\n{way}\n)\ncode=$?\n/bin/true\nif happened; then echo \"way {n} $code happened\"; else echo \"way {n} $code kept\"; fi\n"
            );
        }
        let file = format!("ways-{name}.sh");
        std::fs::write(self.world.repo.workspace().join(&file), script).unwrap();
        let words = ["run", "--name", name, "--apply", "never", "--on-hold", "deny", "--", "bash", &file];
        let mut command = self.world.flyball(&words);
        let output = command.env("SSL_CERT_FILE", self.outside.path().join("cert.pem")).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let log = self.closed(name);
        if std::env::var_os("SAMENESS_SAY").is_some() {
            eprintln!("== {name}\n{said}\n{}", stderr(&output));
        }
        let mut at: Option<usize> = None;
        let mut refused: Vec<Vec<String>> = vec![Vec::new(); ways.len()];
        for entry in &log {
            let body = &entry["body"];
            let mark = body["resource"]["path"].as_str().and_then(|path| path.split_once("/.marks/")?.1.parse().ok());
            if entry["kind"] == "attempt" && mark.is_some() {
                at = mark;
            }
            if let (Some(at), "deny") = (at, body["verdict"].as_str().unwrap_or_default()) {
                let rules = body["reasons"].as_array().unwrap().iter().filter_map(|r| r["rule"].as_str());
                let of: &mut Vec<String> = &mut refused[at];
                of.extend(rules.map(str::to_owned));
            }
        }
        let end = |n: usize| {
            let line = said.lines().find_map(|line| line.strip_prefix(&format!("way {n} ")));
            let line = line.unwrap_or_else(|| panic!("{name}: way {n} `{}`: {said}\n{}", ways[n], stderr(&output)));
            match (line.ends_with("happened"), refused[n].iter().any(|r| r == rule)) {
                (true, _) => End::Happened,
                (false, true) => End::Stopped,
                (false, false) => End::Passed,
            }
        };
        (0..ways.len()).map(end).collect()
    }

    /// Tells a harness's hook of a tool call, by that id; gives the hook's exit code and what it says.
    pub fn hook(&self, harness: &str, id: &str, tool: &str, input: &Value) -> (Option<i32>, String) {
        let here = self.world.repo.workspace();
        let mut event = json!({
            "session_id": "sameness", "conversation_id": "sameness", "cwd": here, "workspace_roots": [here],
            "tool_use_id": id, "tool_name": tool, "tool_input": input,
            "hook_event_name": match harness { "gemini" => "BeforeTool", "cursor" => "preToolUse", _ => "PreToolUse" },
        });
        if let (Some(name), Some(fields)) = (input["cursor"].as_str(), input.as_object()) {
            event["hook_event_name"] = json!(name);
            fields.iter().for_each(|(name, value)| event[name] = value.clone());
        }
        self.hear(harness, &event)
    }

    /// The whole record of a session that was told to end.
    fn closed(&self, name: &str) -> Vec<Value> {
        let until = Instant::now() + Duration::from_secs(60);
        loop {
            let log = self.world.ok(&["log", name, "--json"]);
            let log: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
            if log.iter().any(|entry| entry["kind"] == "close") {
                return log;
            }
            assert!(Instant::now() < until, "{name} does not end");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// By tool call, the rules that refused it in the session of that harness.
    pub fn refused(&self, harness: &str) -> BTreeMap<String, Vec<String>> {
        let mut out: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let mut at = String::new();
        for entry in self.closed(harness) {
            if let Some(id) = entry["body"]["tool_use_id"].as_str() {
                id.clone_into(&mut at);
            }
            if entry["kind"] == "ruling" && entry["body"]["verdict"] == "deny" {
                let rules = entry["body"]["reasons"].as_array().unwrap().iter().filter_map(|r| r["rule"].as_str());
                out.entry(at.clone()).or_default().extend(rules.map(str::to_owned));
            }
        }
        out
    }

    fn hear(&self, harness: &str, event: &Value) -> (Option<i32>, String) {
        let mut command = self.world.flyball(&["hook", harness, "--within", "1"]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(event.to_string().as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        (output.status.code(), stderr(&output))
    }

    /// Ends the session that a harness's hooks began: all of its record is there then.
    pub fn end_hooks(&self, harness: &str) {
        let here = self.world.repo.workspace();
        let name = if harness == "cursor" { "sessionEnd" } else { "SessionEnd" };
        let event = json!({"session_id": "sameness", "conversation_id": "sameness", "cwd": here, "workspace_roots": [here],
            "hook_event_name": name});
        self.hear(harness, &event);
    }

    /// Calls tools of a server behind a gateway, one after another, in one session.
    pub fn gateway(&self, server: &str, offers: &str, calls: &[(&str, &str, Value)]) -> Vec<End> {
        let called = self.outside.path().join(format!("called-{server}"));
        std::fs::write(&called, "").unwrap();
        let tools = self.outside.path().join("tools.py");
        let words = ["gateway", "mcp", "--name", server, "--within", "1", "--", "python3"];
        let mut command = self.world.flyball(&words);
        command.arg(&tools).arg(&called).arg(offers);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (mut say, mut hear) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        let mut ask = |id: usize, method: &str, params: Value| {
            let message = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params});
            writeln!(say, "{message}").unwrap();
            let mut line = String::new();
            hear.read_line(&mut line).unwrap();
            serde_json::from_str::<Value>(&line).unwrap_or_else(|_| panic!("{line:?}"))
        };
        let client =
            json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "c", "version": "1"}});
        ask(0, "initialize", client);
        ask(1, "tools/list", json!({}));
        let mut ends = Vec::new();
        for (n, (rule, tool, arguments)) in calls.iter().enumerate() {
            let before = std::fs::read(&called).unwrap().len();
            let answer = ask(n + 2, "tools/call", json!({"name": tool, "arguments": arguments})).to_string();
            let has_reached = std::fs::read(&called).unwrap().len() != before;
            ends.push(match (has_reached, answer.contains(&format!("rule {rule}"))) {
                (false, true) => End::Stopped,
                (false, false) => End::Other(answer),
                (true, _) => End::Passed,
            });
        }
        drop(say);
        child.wait().unwrap();
        ends
    }

    /// A command as somebody would write it who knows the server's address.
    pub fn spelt(&self, command: &str) -> String {
        command.replace("$URL", &format!("https://host.internal:{}", self.port)).replace("$ID", "-q")
    }

    /// A tool's input with the workspace's own path.
    pub fn placed(&self, input: &Value) -> Value {
        let here = self.path("").display().to_string();
        serde_json::from_str(&input.to_string().replace("@W", here.trim_end_matches('/'))).unwrap()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.world.repo.workspace().join(name)
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

/// The page in the repository.
pub fn page() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/sameness.md")
}
