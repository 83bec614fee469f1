//! HTTP inside connections: real clients in a session, a real TLS server outside, each request ruled on.

use crate::support::{Case, World, program, stderr};
use flyball_testkit::user::User;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

pub fn cases() -> Vec<Case> {
    vec![
        Case { name: "requests_in_tls_are_ruled_on_whoever_makes_them", needs, run: clients },
        Case { name: "what_was_written_does_not_leave_by_an_open_connection", needs, run: barrier },
        Case { name: "a_credential_goes_to_its_host_and_nowhere_else", needs, run: credential },
        Case { name: "a_method_that_a_header_names_counts", needs, run: named_method },
        Case { name: "a_field_of_a_body_and_a_header_are_ruled_on", needs, run: fields },
        Case { name: "a_push_over_https_is_a_push", needs, run: push },
    ]
}

pub fn needs(_: User) -> Option<String> {
    ["openssl", "python3", "curl", "git", "node"].into_iter().find_map(program)
}

/// Answers with method, path and how many bytes came; stays open for more.
const SERVER: &str = r#"
import http.server, os, ssl, sys
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do(self):
        got = len(self.rfile.read(int(self.headers.get("Content-Length") or 0)))
        text = f"{self.command} {self.path} {got}\n".encode()
        path = self.path.split("?")[0].strip("/")
        if path.startswith("files/"):
            path = path + "/index.html" if os.path.isdir(path) else path
            if ".." in path or not os.path.isfile(path):
                return self.send_error(404)
            text = open(path, "rb").read()
        if self.path == "/who":
            import base64
            secret = "s3cret-of-the-user"
            said = self.headers.get("Authorization") or ""
            right = said in ("Bearer " + secret, "Basic " + base64.b64encode(b"x:" + secret.encode()).decode())
            text = f"{'right' if right else 'wrong'} {said} {secret if right else ''}.\n".encode()
        self.send_response(200)
        if path.endswith(".html"): self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)
    do_GET = do_POST = do_PUT = do_DELETE = do
    def log_message(self, *_): pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[1], sys.argv[2])
server.socket = context.wrap_socket(server.socket, server_side=True)
print(server.server_port, flush=True)
server.serve_forever()
"#;

pub struct Server {
    child: Child,
    pub port: u16,
    /// The authority that vouches for it.
    pub ca: std::path::PathBuf,
}

impl Server {
    /// `program`: words before the paths of certificate and key; it prints its port.
    fn start(dir: &Path, program: &[&str]) -> Self {
        let made = Command::new("openssl")
            .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"])
            .args(["-subj", "/CN=host.internal", "-addext", "subjectAltName=DNS:host.internal"])
            .args(["-addext", "basicConstraints=critical,CA:FALSE", "-keyout", "key.pem"])
            .args(["-out", "cert.pem"])
            .current_dir(dir)
            .output()
            .unwrap();
        assert!(made.status.success(), "{made:?}");
        let mut child = Command::new(program[0])
            .args(&program[1..])
            .args(["cert.pem", "key.pem"])
            .current_dir(dir)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Self { child, port: line.trim().parse().unwrap(), ca: dir.join("cert.pem") }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A governed repository and a server that its charter lets be reached, but for `/forbidden`.
pub fn scene(user: User) -> (World, Server, tempfile::TempDir) {
    scene_of(user, &["python3", "-c", SERVER])
}

/// The same with another server.
pub fn scene_of(user: User, program: &[&str]) -> (World, Server, tempfile::TempDir) {
    let world = World::new(user);
    let outside = tempfile::tempdir().unwrap();
    let server = Server::start(outside.path(), program);
    // An ordinary user's supervisor reads the certificate as well.
    let readable = Command::new("chmod").args(["-R", "a+rX"]).arg(outside.path()).status().unwrap();
    assert!(readable.success());
    world.init(
        "",
        "@id(\"not-there\") @owner(\"maintainer\") @reason(\"Nobody asks for that.\")\n\
         forbid (principal, action == Action::\"http.request\", resource)\n\
         when { resource.path like \"/forbidden*\" };\n",
    );
    world.edit("rules.cedar", "[\"localhost\",", "[\"host.internal\", \"localhost\",");
    (world, server, outside)
}

pub fn run(world: &World, server: &Server, script: &str) -> String {
    std::fs::write(
        world.repo.workspace().join("work.sh"),
        script.replace("@URL@", &format!("https://host.internal:{}", server.port)),
    )
    .unwrap();
    let mut command = world.flyball(&["run", "--apply", "never", "--on-hold", "deny", "--", "sh", "work.sh"]);
    let output = command.env("SSL_CERT_FILE", &server.ca).output().unwrap();
    format!("{}{}", String::from_utf8_lossy(&output.stdout), stderr(&output))
}

fn clients(user: User) {
    let (world, server, _outside) = scene(user);
    // An ordinary user's supervisor reads it as well.
    let said = run(
        &world,
        &server,
        r#"
        curl -sS @URL@/curl; curl -sS --http1.1 -d body @URL@/curl; echo 'url = @URL@/forbidden/curl' >settings; curl -sS -o /dev/null -w 'curl %{http_code}\n' -K settings
        /usr/bin/python3 -c 'import urllib.request as u; print(u.urlopen("@URL@/python").read().decode())'
        /usr/bin/python3 -c 'import urllib.request as u; u.urlopen("@URL@/forbidden/python")' 2>&1 | tail -1
        node -e 'fetch("@URL@/node").then(r => r.text()).then(t => console.log(t))'
        node -e 'fetch("@URL@/forbidden/node").then(r => console.log("node", r.status))'
        "#,
    );
    for expect in
        ["GET /curl 0", "POST /curl 4", "curl 403", "GET /python 0", "HTTP Error 403", "GET /node 0", "node 403"]
    {
        assert!(said.contains(expect), "{expect} is not in:\n{said}");
    }
    assert!(said.contains("rule not-there") || world.ok(&["log", "@"]).contains("not-there"), "{said}");
    let log = world.log();
    let requests: Vec<&serde_json::Value> =
        log.iter().filter(|e| e["kind"] == "attempt" && e["body"]["surface"] == "http").collect();
    let of = |path: &str| requests.iter().filter(|e| e["body"]["resource"]["path"] == path).count();
    assert_eq!((of("/curl"), of("/python"), of("/node"), of("/forbidden/node")), (2, 1, 1, 1));
    // What led to a request is the connection that it came on.
    for request in &requests {
        let cause = request["cause"][0].as_u64().unwrap();
        let by = log.iter().find(|e| e["seq"] == cause).unwrap();
        assert_eq!(by["body"]["verb"], "net.connect", "{request}");
    }
    world.ok(&["verify"]);
}

/// One connection, kept open: what is written between two requests is judged before the second. A machine that is slow enough
/// puts a file back before the request that follows it is made, which then finds nothing to stop it: so it is tried until one is
/// in time, and none may pass whose file was not put back.
fn barrier(user: User) {
    let (world, server, _outside) = scene(user);
    let program = format!(
        "import http.client, ssl\n\
         c = http.client.HTTPSConnection('host.internal', {}, context=ssl.create_default_context())\n\
         c.request('GET', '/first'); print(c.getresponse().read().decode())\n\
         leak = 'aws_access_key_id = AKIA' + 'IOSFODNN7EXAMPLA' + chr(10) + 'aws_secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEZ' + chr(10)\n\
         for n in range(30):\n\
         \x20 f = open('leak%d.txt' % n, 'w'); f.write(leak); f.flush()\n\
         \x20 c.request('POST', '/second', 'x')\n\
         \x20 r = c.getresponse(); print('second', r.status, r.read().decode())\n\
         \x20 if r.status == 403: break\n",
        server.port
    );
    std::fs::write(world.repo.workspace().join("leak.py"), program).unwrap();
    let said = run(&world, &server, "/usr/bin/python3 leak.py");
    assert!(said.contains("GET /first 0") && said.contains("second 403"), "{said}");
    let put_back = world.log().iter().filter(|e| e["body"]["act"] == "put-back").count();
    assert!(said.matches("POST /second").count() < put_back, "{said}");
}

const SECRET: &str = "s3cret-of-the-user";

/// The program has a placeholder, which becomes the secret on its way to one host in one header.
fn credential(user: User) {
    let (world, server, _outside) = scene(user);
    let toml = world.repo.workspace().join(".flyball/charter.toml");
    let text = std::fs::read_to_string(&toml).unwrap();
    let more = format!(
        "[env]\npass = [\"API_TOKEN\"]\n[credentials.api]\nhost = \"host.internal\"\nport = {}\nenv = \"API_TOKEN\"\nprefix = \"ghp_\"\n",
        server.port
    );
    let text = text.replacen("[env]\npass = [\n", "[env]\npass = [\n\"API_TOKEN\",\n", 1);
    std::fs::write(
        &toml,
        format!("{text}\n{}", more.split_once("]\n[cred").map(|(_, rest)| format!("[cred{rest}")).unwrap()),
    )
    .unwrap();
    let script = r#"
        echo "have $API_TOKEN"
        curl -sS -H "authorization: Bearer $API_TOKEN" @URL@/who
        curl -sS --http1.1 -u "x:$API_TOKEN" @URL@/who
        curl -sS -H "authorization: Bearer $API_TOKEN" -H "x-other: $API_TOKEN" @URL@/who/else
        curl -sS -H "x-other: Bearer $API_TOKEN" @URL@/who
        curl -sS -d "$API_TOKEN" -H "authorization: Bearer other" @URL@/who
        env | grep API_TOKEN
        "#;
    let url = format!("https://host.internal:{}", server.port);
    std::fs::write(world.repo.workspace().join("work.sh"), script.replace("@URL@", &url)).unwrap();
    let mut command = world.flyball(&["run", "--apply", "never", "--on-hold", "deny", "--", "sh", "work.sh"]);
    let output = command.env("SSL_CERT_FILE", &server.ca).env("API_TOKEN", SECRET).output().unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), stderr(&output));
    let blotted = "*".repeat(SECRET.len());
    assert!(said.contains("have ghp_flyball") && said.contains("API_TOKEN=ghp_flyball"), "{said}");
    assert_eq!(said.matches("right ").count(), 2, "{said}");
    assert!(!said.contains("eDpzM2NyZXQ"), "the encoded pair: {said}");
    assert!(said.contains(&format!("right Bearer {blotted} {blotted}.")), "{said}");
    assert_eq!(said.matches("wrong ").count(), 2, "{said}");
    assert!(!said.contains(SECRET), "{said}");
    // Nor is it anywhere in what was recorded.
    let found = Command::new("grep").args(["-rlF", SECRET]).arg(&world.ledger).output().unwrap();
    assert!(found.stdout.is_empty(), "{}", String::from_utf8_lossy(&found.stdout));
    // Without it nothing starts, and the message says what is missing.
    let output = world.flyball(&["run", "--", "true"]).env("SSL_CERT_FILE", &server.ca).output().unwrap();
    assert!(!output.status.success() && stderr(&output).contains("`API_TOKEN` is not set"), "{}", stderr(&output));
}

/// A request is ruled on by every method that a server may take it for.
fn named_method(user: User) {
    let (world, server, _outside) = scene(user);
    std::fs::write(
        world.repo.workspace().join(".flyball/methods.cedar"),
        "@id(\"no-deleting\") @owner(\"maintainer\") @reason(\"Nothing is deleted there.\")\n\
         forbid (principal, action == Action::\"http.request\", resource) when { resource.method == \"DELETE\" };\n",
    )
    .unwrap();
    let said = run(
        &world,
        &server,
        r#"
        code() { curl -sS -o /dev/null -w '%{http_code} ' "$@"; }
        code @URL@/a; code -X POST -H 'X-HTTP-Method-Override: delete' @URL@/a
        code -H 'X-Method-Override: DELETE' @URL@/a; code -X POST -H 'X-HTTP-Method: PUT' @URL@/a
        code -X POST -H 'X-HTTP-Method: PUT' -H 'X-HTTP-Method-Override: PATCH' @URL@/a
        code -X POST -H 'X-HTTP-Method: D,E' @URL@/a
        echo; code -X POST -H 'X_HTTP_Method_Override: DELETE' @URL@/a; code -d 'a=b&_method=delete' @URL@/a
        code -F _method=delete @URL@/a; code -X POST '@URL@/a?_method=DELETE'; code -d 'a=b' @URL@/a
        code -H 'X-Original-URL: /forbidden' @URL@/a; code '@URL@/x%2F..%2Fforbidden'; code '@URL@/x%2Fy'
        "#,
    );
    assert!(said.contains("200 403 403 200 400 400 \n403 403 403 403 200 400 403 200 "), "{said}");
}

/// What the charter has read of requests is what its rules see; what it can't be read of does not go out.
fn fields(user: User) {
    let (world, server, _outside) = scene(user);
    let file = world.repo.workspace().join(".flyball/charter.toml");
    let rows = "[[http.read]]\nhost = \"host.internal\"\npath = \"/api/**\"\nheaders = [\"x-tenant\"]\njson = [\"/user/role\"]\n";
    std::fs::write(&file, format!("{}\n{rows}", std::fs::read_to_string(&file).unwrap())).unwrap();
    std::fs::write(
        world.repo.workspace().join(".flyball/fields.cedar"),
        "@id(\"no-admins\") @owner(\"maintainer\") @reason(\"Nobody makes admins there.\")\n\
         forbid (principal, action == Action::\"http.request\", resource)\n\
         when { context.attrs has json && context.attrs.json.contains(\"/user/role=admin\") };\n\
         @id(\"own-tenant\") @owner(\"maintainer\") @reason(\"Only our own.\")\n\
         forbid (principal, action == Action::\"http.request\", resource)\n\
         when { context.attrs has headers && context.attrs.headers.contains(\"x-tenant=other\") };\n",
    )
    .unwrap();
    let said = run(
        &world,
        &server,
        r#"
        say() { curl -sS -w '[%{http_code}]\n' "$@"; }
        code() { curl -sS -o /dev/null -w '%{http_code} ' "$@"; }
        say -d '{"user":{"role":"admin"}}' @URL@/api/a; say --http1.1 -H 'X-Tenant: other' @URL@/api/b
        code -H 'X-Tenant: own' --json '{"user":{"role":"user"}}' @URL@/api/c; code --json '{"user":{"Role":"admin"}}' @URL@/api/c
        code -H 'Transfer-Encoding: chunked' -d '{"user":{"r\u006fle":"admin"}}' @URL@/%61pi/c; code --json '[]' @URL@/api/c
        code -d '{"user":{"role":"user","role":"admin"}}' @URL@/api/c; code -d user.role=admin @URL@/api/c
        echo '{"user":{"role":"user"}}' | gzip | code -H 'Content-Encoding: gzip' --data-binary @- @URL@/api/c
        code -d '{"user":{"role":"admin"}}' @URL@/else; code @URL@/api/c; echo
        "#,
    );
    assert!(said.contains("no-admins") && said.contains("own-tenant"), "{said}");
    assert!(said.contains("200 403 403 200 400 400 400 200 200 "), "{said}");
    let log = world.log();
    let told: Vec<&serde_json::Value> =
        log.iter().map(|e| &e["body"]["attrs"]["json"]).filter(|j| j.is_array()).collect();
    assert!(told.contains(&&serde_json::json!(["/user/role=user"])), "{told:?}");
    world.ok(&["verify"]);
    world.ok(&["replay", "@"]);
}

/// The push says what it does in its own words, to whatever server.
fn push(user: User) {
    let (world, server, _outside) = scene(user);
    let zero = "0".repeat(40);
    let one = "1".repeat(40);
    let command = format!("{zero} {one} refs/heads/main\0 report-status");
    let body = format!("{:04x}{command}0000PACK", command.len() + 4);
    std::fs::write(world.repo.workspace().join("body"), body).unwrap();
    let said = run(
        &world,
        &server,
        r#"
        push() { curl -sS -w '%{http_code}\n' --data-binary "$@" @URL@/o/r.git/git-receive-pack; }
        push @body; (cat body; head -c 2000000 /dev/zero) >long; push @long
        gzip <body >packed; push @packed -H 'Content-Encoding: gzip'
        "#,
    );
    assert_eq!(said.matches("default-branch-is-asked-about").count(), 2, "{said}");
    assert_eq!((said.matches("403").count(), said.matches("415").count()), (2, 1), "{said}");
    assert!(!said.contains("POST /o"), "{said}");
}
