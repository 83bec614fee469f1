//! Every reader of the repository as a function of bytes that must neither panic nor say what can't be. Used by libFuzzer
//! (`cargo xtask fuzz`) and, over the seeds and mutations of them, by the test `crates/runtime/tests/readers.rs`.

use flyball_intent::{
    CONTENT_ACTIONS_MAX, Content, ContentWanted, Conversation, Exec, Harness, HttpRequest, McpOwn, ModelAnswer,
    ModelApi, ToolCall, TracedCall, WantedFields, command_actions, content_actions, exec_actions, http_actions,
    model_target, tool_call_actions,
};
use flyball_kernel::{Action, Charter, Input, Kernel, Session, Surface, ToolReading, Value, check_examples};
use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

/// A reader to be fuzzed.
#[derive(Clone, Copy)]
pub struct Target {
    pub name: &'static str,
    /// The file that the bytes are the content of; empty where they are none.
    pub path: &'static str,
    pub run: fn(&str, &[u8]),
    /// Mutations of its seeds in the short form: fewer where one takes long.
    pub rounds: usize,
}

const fn file(name: &'static str, path: &'static str) -> Target {
    Target { name, path, run: content, rounds: 1500 }
}

/// tree-sitter is built without optimisation in tests.
const fn source(name: &'static str, path: &'static str) -> Target {
    Target { name, path, run: content, rounds: 300 }
}

const fn reader(name: &'static str, run: fn(&str, &[u8]), rounds: usize) -> Target {
    Target { name, path: "", run, rounds }
}

/// All of them. Seeds lie in `fuzz/seeds/NAME/`.
pub const TARGETS: &[Target] = &[
    file("cargo-lock", "/w/Cargo.lock"),
    file("cargo-manifest", "/w/Cargo.toml"),
    file("ci", "/w/.github/workflows/ci.yml"),
    file("go-mod", "/w/go.mod"),
    file("go-sum", "/w/go.sum"),
    file("npm-installed", "/w/node_modules/a/package.json"),
    file("npm-lock", "/w/package-lock.json"),
    file("npm-manifest", "/w/package.json"),
    file("pipfile", "/w/Pipfile"),
    file("pipfile-lock", "/w/Pipfile.lock"),
    file("pnpm-lock", "/w/pnpm-lock.yaml"),
    file("pnpm-workspace", "/w/pnpm-workspace.yaml"),
    file("poetry-lock", "/w/poetry.lock"),
    file("pyproject", "/w/pyproject.toml"),
    file("requirements", "/w/requirements.txt"),
    file("secrets", "/w/notes"),
    file("setup-cfg", "/w/setup.cfg"),
    file("uv-lock", "/w/uv.lock"),
    file("yarn-lock", "/w/yarn.lock"),
    source("go", "/w/a.go"),
    source("java", "/w/A.java"),
    source("javascript", "/w/a.js"),
    source("python", "/w/a.py"),
    source("rust", "/w/a.rs"),
    source("tsx", "/w/a.tsx"),
    source("typescript", "/w/a.ts"),
    reader("action", action, 1500),
    reader("argv", argv, 800),
    reader("attestation", attestation, 1500),
    reader("charter", charter, 60),
    reader("bundle", bundle, 300),
    reader("checkpoint", checkpoint, 1500),
    reader("control", control, 1500),
    reader("entry", entry, 1500),
    reader("events", events, 1500),
    reader("fact", fact, 60),
    reader("git-pack", git_pack, 1500),
    reader("harness-call", harness_call, 500),
    reader("http-request", http_request, 1500),
    reader("http-fields", http_fields, 1500),
    reader("in-flight", in_flight, 1500),
    reader("input", input, 150),
    reader("kernel-calls", kernel_calls, 1500),
    reader("mcp", mcp, 800),
    reader("model-answer", model_answer, 300),
    reader("model-call", model_call, 1500),
    reader("name-query", name_query, 1500),
    reader("note", note, 1500),
    reader("payload", payload, 300),
    reader("proof", proof, 1500),
    reader("shell", shell, 300),
    reader("snapshot", snapshot, 150),
    reader("tool-call", tool_call, 400),
];

/// Stands between what a file was and what it is; without it, it wasn't there.
pub const AND_THEN: &[u8] = b"\n===AND THEN===\n";

fn content(path: &str, data: &[u8]) {
    let at = data.windows(AND_THEN.len()).position(|window| window == AND_THEN);
    let (old, new) = match at {
        Some(at) => (data.get(..at), data.get(at + AND_THEN.len()..).unwrap_or_default()),
        None => (None, data),
    };
    let actions = content_actions(&Content { path, old, new: Some(new), wanted: ContentWanted::ALL });
    assert!(actions.len() <= CONTENT_ACTIONS_MAX + 1, "{} actions", actions.len());
    let writes = actions.iter().filter(|action| action.verb.name() == "fs.write").count();
    assert!(writes <= 1, "{writes} writes");
    for action in &actions {
        content_action(path, action);
    }
    // The same bytes are no change, and the same question has the same answer.
    assert!(content_actions(&Content { path, old: Some(new), new: Some(new), wanted: ContentWanted::ALL }).is_empty());
    assert_eq!(actions, content_actions(&Content { path, old, new: Some(new), wanted: ContentWanted::ALL }));
    // What came can go: nothing is added by deleting.
    for action in content_actions(&Content { path, old: Some(new), new: None, wanted: ContentWanted::ALL }) {
        assert!(action.verb.name() == "dependency.remove" || is_opaque(&action), "{action:?}");
    }
}

fn content_action(path: &str, action: &Action) {
    for list in ["imports", "secrets"] {
        if let Some(Value::Strs(names)) = action.attr(list) {
            assert!(!names.is_empty() && names.is_sorted(), "{list}: {names:?}");
            assert!(names.windows(2).all(|two| two[0] != two[1]), "{list}: {names:?}");
        }
    }
    if action.verb.name() == "fs.write" {
        assert_eq!((action.attr("content"), action.resource.str("path")), (Some(&Value::Bool(true)), path));
        return;
    }
    assert!(
        action.verb.group() == "dependency" && action.attr("implied_by") == Some(&format!("fs.write {path}").into())
    );
    assert!(is_opaque(action) == action.resource.str("name").is_empty(), "{action:?}");
}

fn is_opaque(action: &Action) -> bool {
    action.attr("opaque") == Some(&Value::Bool(true))
}

fn exec(argv: &[String]) {
    let program = format!("/usr/bin/{}", argv.first().map_or("sh", String::as_str));
    let exec = Exec { program: &program, argv, cwd: "/w", home: "/home/me", script: None, git: None };
    for actions in [exec_actions(&exec), command_actions(&exec)] {
        assert_eq!(actions.first().map(|action| action.verb.name()), Some("process.exec"));
        assert!(actions.len() <= flyball_intent::ACTIONS_MAX, "{} actions", actions.len());
        assert!(actions.iter().skip(1).all(|action| action.attr("implied_by").is_some()));
    }
}

/// A method, host and target on the first line, and the body behind it.
fn http_request(_: &str, data: &[u8]) {
    let at = data.iter().position(|byte| *byte == b'\n').unwrap_or(data.len());
    let line = lossy(data.get(..at).unwrap_or_default());
    let (method, rest) = line.split_once(' ').unwrap_or((&line, ""));
    let (host, target) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let request = HttpRequest { method, scheme: "https", host, target, body: data.get(at + 1..), beginning: None };
    let actions = http_actions(&request).unwrap();
    assert_eq!(actions.first().map(|action| action.verb.name()), Some("http.request"));
    assert!(actions.iter().skip(1).all(|action| action.attr("implied_by").is_some()));
    let unread = http_actions(&HttpRequest { body: None, ..request }).unwrap();
    // Who could not read the body says no less than that something is done.
    assert!(unread.len() <= actions.len() || unread.iter().any(is_opaque), "{unread:?}");
}

/// A body, of which fields are read.
fn http_fields(_: &str, data: &[u8]) {
    static ROWS: LazyLock<Charter> = LazyLock::new(|| {
        let text = "[charter]\nname = \"f\"\ndefault = \"allow\"\n[[http.read]]\nhost = \"h\"\nheaders = [\"x-a\"]\n\
                    json = [\"/a\", \"/b/c\", \"/list/*/n\", \"/*\"]\n";
        Charter::compile(&[("charter.toml".to_owned(), text.to_owned())].into()).unwrap().0
    });
    let request = HttpRequest { method: "POST", scheme: "https", host: "h", target: "/", body: None, beginning: None };
    let wanted = WantedFields::of(&request, &ROWS.http().reads).unwrap();
    if let Ok(told) = wanted.json(None, data) {
        assert!(data.is_empty() || serde_json::from_slice::<serde_json::Value>(data).is_ok());
        assert!(told.len() <= 256 && told.iter().all(|said| said.starts_with('/') && said.contains('=')), "{told:?}");
    }
    if let Ok(told) = wanted.headers([("X_A", data)].into_iter()) {
        assert!(told.iter().all(|said| said.starts_with("x-a=")), "{told:?}");
    }
}

/// A host and target on the first line, and a call's body behind it.
fn model_call(_: &str, data: &[u8]) {
    let at = data.iter().position(|byte| *byte == b'\n').unwrap_or(data.len());
    let line = lossy(data.get(..at).unwrap_or_default());
    let (host, target) = line.split_at(line.find('/').unwrap_or(line.len()));
    let request = HttpRequest { method: "POST", scheme: "https", host, target, body: None, beginning: None };
    let settings = flyball_kernel::ModelSettings { counts_cost: true, ..Default::default() };
    let Some(target) = model_target(&request, true, false, &settings) else { return };
    let unread = target.call(None).unwrap();
    let (most, _) = unread.reserve(&settings);
    if let Some(call) = target.call(data.get(at + 1..)) {
        let (tokens, cost) = call.reserve(&settings);
        // Who could not read it says that it takes no less.
        assert!((0..=most.saturating_mul(2)).contains(&tokens) && cost.is_some(), "{call:?}");
        assert_eq!(is_opaque(&call.action(&settings).unwrap()), call.is_opaque());
    }
}

/// However an answer is cut into pieces, it is read the same.
fn model_answer(_: &str, data: &[u8]) {
    for api in ModelApi::ALL {
        for kind in ["application/json", "text/event-stream"] {
            let read = |size: usize| {
                let mut answer = ModelAnswer::new(api, kind);
                data.chunks(size).for_each(|piece| answer.read(piece));
                answer.end();
                (answer.usage(), answer.usage_so_far(), answer.tool_uses().to_vec())
            };
            let whole = read(data.len().max(1));
            // A `\r` at the end of a piece may be half a line's end.
            assert!(data.contains(&b'\r') || whole == read(3));
            assert!(whole.1.tokens() >= 0 && whole.2.len() <= 256);
        }
    }
}

/// A tool's name on the first line, and its input behind it.
fn harness_call(_: &str, data: &[u8]) {
    let at = data.iter().position(|byte| *byte == b'\n').unwrap_or(data.len());
    let name = lossy(data.get(..at).unwrap_or_default());
    let Ok(input) = serde_json::from_slice(data.get(at + 1..).unwrap_or_default()) else { return };
    for harness in Harness::ALL {
        let file = |_: &str| Some(b"one\ntwo\none\n".to_vec());
        let call = ToolCall {
            harness,
            name: &name,
            input: &input,
            cwd: "/w",
            home: "/h",
            git: None,
            file: &file,
            own: &McpOwn::default(),
        };
        if let Ok(actions) = tool_call_actions(&call) {
            assert!(!actions.is_empty(), "a call that does nothing");
            assert!(actions.iter().all(|action| action.surface == flyball_kernel::Surface::Hook));
        }
    }
}

fn argv(_: &str, data: &[u8]) {
    let argv: Vec<String> = data.split(|byte| matches!(byte, 0 | b'\n')).map(lossy).collect();
    exec(&argv);
}

fn shell(_: &str, data: &[u8]) {
    exec(&["bash".to_owned(), "-c".to_owned(), lossy(data)]);
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A charter's files: the rules stand behind [`AND_THEN`].
fn charter(_: &str, data: &[u8]) {
    let at = data.windows(AND_THEN.len()).position(|window| window == AND_THEN);
    let (toml, cedar) = match at {
        Some(at) => (data.get(..at).unwrap_or_default(), data.get(at + AND_THEN.len()..).unwrap_or_default()),
        None => (data, &b""[..]),
    };
    let sources: BTreeMap<String, String> =
        [("charter.toml".to_owned(), lossy(toml)), ("rules.cedar".to_owned(), lossy(cedar))].into();
    match Charter::compile(&sources) {
        Ok((charter, _)) => {
            let _ = check_examples(&charter);
            let again = Charter::compile(&sources).map(|(again, _)| again.digest().to_owned());
            assert_eq!(again.ok().as_deref(), Some(charter.digest()));
        }
        Err(found) => assert!(found.to_string().len() < 64 << 20),
    }
}

const HEAD: &str = "[charter]\nname = \"fuzz\"\ndefault = \"deny\"\n[owners]\ndev = [\"alice@x\"]\n";

/// A fact's formula.
fn fact(_: &str, data: &[u8]) {
    let formula = toml_string(&lossy(data));
    let sources: BTreeMap<String, String> =
        [("charter.toml".to_owned(), format!("{HEAD}[facts]\nx = {formula}\n"))].into();
    let _ = Charter::compile(&sources);
}

fn toml_string(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => out += &format!("\\u{:04X}", u32::from(c)),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// A stream of events: the same however it is cut, all of it but for an end that is not there yet.
fn events(_: &str, data: &[u8]) {
    use flyball_gateway::mcp::listen::read_events;
    let Some(whole) = read_events(data, usize::MAX) else { return };
    for piece_bytes in [1, 2, 7] {
        assert_eq!(read_events(data, piece_bytes).as_ref(), Some(&whole));
    }
    let bytes: Vec<u8> = whole.iter().flat_map(|(bytes, _)| bytes.iter().copied()).collect();
    assert!(data.starts_with(&bytes));
    for (bytes, data) in &whole {
        assert!(data.len() <= bytes.len());
        // What is written of it again is one event with the same data, where it is one line.
        if !data.contains(&b'\n') && !data.contains(&b'\r') {
            let again = [b"data: ".as_slice(), data, b"\n\n"].concat();
            assert_eq!(read_events(&again, usize::MAX), Some(vec![(again.clone(), data.clone())]));
        }
    }
}

/// A client's line, and what the call in it would be.
fn mcp(_: &str, data: &[u8]) {
    let Ok(messages) = flyball_gateway::mcp::read_messages(data) else { return };
    for (message, line) in messages {
        assert!(!line.contains(&b'\r') && flyball_gateway::mcp::read_messages(&line).is_ok());
        let params = message.params();
        let text = |name: &str| params.get(name).and_then(serde_json::Value::as_str).unwrap_or_default();
        for server in ["filesystem", "git", "fetch", "postgres", "github", "other"] {
            let call = flyball_intent::McpCall {
                server,
                kind: server,
                tool: text("name"),
                input: params.get("arguments").unwrap_or(&serde_json::Value::Null),
                cwd: "/w",
                home: "/h",
                roots: &[],
                git: &|_| None,
                file: &|_| None,
                own: &McpOwn::default(),
            };
            assert!(flyball_intent::mcp_call_actions(&call).map_or(true, |actions| !actions.is_empty()));
            assert!(flyball_intent::mcp_read_actions(&call, text("uri")).map_or(true, |actions| !actions.is_empty()));
        }
    }
}

fn action(_: &str, data: &[u8]) {
    let Ok(action) = serde_json::from_slice::<Action>(data) else { return };
    let text = serde_json::to_vec(&action).unwrap_or_default();
    let again: Result<Action, _> = serde_json::from_slice(&text);
    assert_eq!(again.ok().as_ref(), Some(&action));
    assert!(action.digest().starts_with("sha256:"));
}

static CHARTER: LazyLock<Arc<Charter>> = LazyLock::new(|| {
    let toml = format!(
        "{HEAD}[facts]\nread = 'once did fs.read(label: \"secret\")'\nfixes = 'count[10m] attempt remediation.start(condition: $condition)'\n\
         [budget.tokens]\nsum = \"model.call.tokens\"\nlimit = 1000\nper = \"session\"\n"
    );
    let cedar = "@id(\"all\") @owner(\"dev\") @reason(\"r\") permit (principal, action, resource);\n\
                 @id(\"no\") @owner(\"dev\") @reason(\"r\") forbid (principal, action in Action::\"net\", resource) when { context.fact.read };\n";
    let sources = [("charter.toml".to_owned(), toml), ("rules.cedar".to_owned(), cedar.to_owned())].into();
    match Charter::compile(&sources) {
        Ok((charter, _)) => Arc::new(charter),
        Err(found) => panic!("{found}"),
    }
});

/// Lines of inputs as recorded, given to two kernels, which must say the same.
fn input(_: &str, data: &[u8]) {
    let session = || Session { workspace: "/w".into(), home: "/home/me".into(), agent: "a".into() };
    let mut kernels = [Kernel::new(CHARTER.clone(), session()), Kernel::new(CHARTER.clone(), session())];
    for line in data.split(|byte| *byte == b'\n').take(200) {
        let Ok(input) = serde_json::from_slice::<Input>(line) else { continue };
        let [one, two] = &mut kernels;
        let said = one.step(&input);
        assert_eq!(format!("{said:?}"), format!("{:?}", two.step(&input)));
    }
    let [one, two] = &kernels;
    assert_eq!(format!("{:?}", one.registers()), format!("{:?}", two.registers()));
}

const INPUTS: &[u8] = include_bytes!("../seeds/input/plain");

/// The state after those, as it is stored.
static SNAPSHOT: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let session = Session { workspace: "/w".into(), home: "/home/me".into(), agent: "a".into() };
    let mut kernel = Kernel::new(CHARTER.clone(), session);
    inputs().for_each(|input| drop(kernel.step(&input)));
    kernel.snapshot()
});

fn inputs() -> impl Iterator<Item = Input> {
    INPUTS.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok())
}

/// Lines `AT LENGTH TEXT`: what is changed in a stored state, which is then restored and goes on. So the seeds outlive its form.
fn snapshot(_: &str, data: &[u8]) {
    let mut bytes = SNAPSHOT.clone();
    for line in data.split(|byte| *byte == b'\n').take(64) {
        let mut parts = line.splitn(3, |byte| *byte == b' ');
        let mut number = || parts.next().and_then(|text| lossy(text).parse::<usize>().ok());
        let (Some(at), Some(length)) = (number(), number()) else { continue };
        let at = at % (bytes.len() + 1);
        let end = at.saturating_add(length).min(bytes.len());
        bytes.splice(at..end, parts.next().unwrap_or_default().iter().copied());
    }
    let Ok(mut kernel) = Kernel::restore(CHARTER.clone(), &bytes) else { return };
    let stored = kernel.snapshot();
    let Ok(mut again) = Kernel::restore(CHARTER.clone(), &stored) else { panic!("it can't read what it wrote") };
    assert_eq!(lossy(&stored), lossy(&again.snapshot()));
    for input in inputs() {
        assert_eq!(format!("{:?}", kernel.step(&input)), format!("{:?}", again.step(&input)));
    }
}

fn note(_: &str, data: &[u8]) {
    use flyball_ledger::{Note, NoteVerifier};
    let _ = NoteVerifier::parse(&lossy(data)).map(|verifier| {
        let again = NoteVerifier::parse(&verifier.to_vkey());
        assert_eq!(again.ok(), Some(verifier));
    });
    let verifier = NoteVerifier::parse("example+00000000+AQ==");
    if let (Ok(note), Ok(verifier)) = (Note::parse(data), verifier) {
        let _ = note.is_signed_by(&verifier);
    }
}

fn checkpoint(_: &str, data: &[u8]) {
    use flyball_ledger::{Checkpoint, Digest, format_ns, merkle, parse_ns};
    let text = lossy(data);
    if let Ok(checkpoint) = Checkpoint::parse(&text) {
        assert_eq!(Checkpoint::parse(&checkpoint.to_text()).ok(), Some(checkpoint));
    }
    if let Some(at) = parse_ns(text.trim()) {
        assert_eq!(parse_ns(&format_ns(at)), Some(at));
    }
    if let Ok(digest) = text.trim().parse::<Digest>() {
        assert_eq!(digest.to_hex().parse::<Digest>().ok(), Some(digest));
    }
    // A proof: two numbers, two roots, and the rest.
    let number = |at: usize| data.get(at..at + 8).and_then(|eight| eight.try_into().ok()).map(u64::from_le_bytes);
    let mut digests = data.get(16..).unwrap_or_default().chunks_exact(32).map(Digest::of);
    if let (Some(old), Some(new), Some(one), Some(two)) = (number(0), number(8), digests.next(), digests.next()) {
        let proof: Vec<Digest> = digests.collect();
        let _ = merkle::verify_consistency(old, new, &one, &two, &proof);
        let _ = merkle::verify_inclusion(&one, old, new, &two, &proof);
    }
}

fn entry(_: &str, data: &[u8]) {
    let _ = flyball_ledger::readers::entry(data);
}

fn in_flight(_: &str, data: &[u8]) {
    assert!(flyball_ledger::readers::in_flight(data) <= data.len() / 9);
}

fn control(_: &str, data: &[u8]) {
    use flyball_runtime::control::{Reply, Request};
    if let Ok(request) = serde_json::from_slice::<Request>(data) {
        let text = serde_json::to_vec(&request).unwrap_or_default();
        assert_eq!(serde_json::from_slice::<Request>(&text).ok(), Some(request));
    }
    let _ = serde_json::from_slice::<Reply>(data);
}

/// A query of a name, as the sandbox's own name server gets it.
fn name_query(_: &str, data: &[u8]) {
    if let Some(answer) = flyball_sandbox::readers::name_query(data) {
        assert!(answer.len() >= 12 && answer.get(..2) == data.get(..2), "{answer:?}");
        // An answer is never answered.
        assert_eq!(flyball_sandbox::readers::name_query(&answer), None);
    }
}

/// What calls of the governed program hand over, and what `/proc` says of it.
fn kernel_calls(_: &str, data: &[u8]) {
    let _ = flyball_sandbox::readers::socket_address(data);
    let _ = flyball_sandbox::readers::interpreter(data);
    let _ = flyball_sandbox::readers::process_status(data);
    let text = lossy(data);
    if let Some(path) = flyball_sandbox::workspace::unescape(&text) {
        assert_eq!(flyball_sandbox::workspace::escape(&path), text);
    }
}

static LEDGER: LazyLock<(tempfile::TempDir, flyball_ledger::Ledger)> = LazyLock::new(|| {
    let Ok(folder) = tempfile::tempdir() else { panic!("no temporary folder") };
    match flyball_ledger::Ledger::open(&folder.path().join("l")) {
        Ok(ledger) => (folder, ledger),
        Err(error) => panic!("{error}"),
    }
});

/// A member of an entry that stands for a payload.
fn payload(_: &str, data: &[u8]) {
    if let Ok(member) = serde_json::from_slice::<serde_json::Value>(data) {
        let _ = LEDGER.1.payload_bytes(&member);
    }
}

/// What of a tool's results is what: everything at once, so that each way is gone.
static TOOLS: LazyLock<ToolReading> = LazyLock::new(|| {
    let text = "[charter]\nname = \"t\"\n[tools]\nown = [\"*@corp.example\"]\n[tools.asks]\npay = [\"pay*\", \"send it\"]\n\
        [[tools.records]]\ntool = \"*\"\nfields = [\"id\", \"id_\", \"recipient\", \"shared_with\"]\n\
        [[tools.trusted]]\ntool = \"*\"\nfields = [\"body\"]\n[[tools.documents]]\ntool = \"*\"\nfields = [\"*\"]\n\
        [[tools.private]]\ntool = \"*\"\nfields = [\"content\"]\n";
    let sources = [("charter.toml".to_owned(), text.to_owned())].into();
    Charter::compile(&sources).unwrap().0.tools().clone()
});

/// What the user said, what a tool gave back, and the arguments of a call.
fn tool_call(_: &str, data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let then = std::str::from_utf8(AND_THEN).unwrap();
    let mut parts = text.splitn(3, then);
    let (user, result, arguments) =
        (parts.next().unwrap_or_default(), parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let call = TracedCall { server: "s", name: "do", arguments, surface: Surface::Mcp };
    let mut seen = Conversation::default();
    seen.user(&TOOLS, user);
    seen.result(&TOOLS, &call, result);
    let action = seen.call(&TOOLS, &call);
    assert_eq!(action, seen.call(&TOOLS, &call));
    let list = |attr: &str| match action.attr(attr) {
        Some(Value::Strs(list)) => list.clone(),
        other => panic!("{attr}: {other:?}"),
    };
    let places = ["from_user", "from_records", "from_trusted", "from_documents", "from_nowhere", "from_results"];
    let mut placed: Vec<String> = places.iter().flat_map(|place| list(place)).collect();
    let all = placed.len();
    placed.sort();
    placed.dedup();
    assert_eq!(placed.len(), all, "an argument has one place");
    for attr in ["said_by_results", "foreign_links", "private"] {
        assert!(list(attr).iter().all(|name| placed.contains(name)), "{attr}");
    }
    assert!(placed.is_empty() || !list("args").is_empty());
    // Nothing is told of what can't be read.
    assert!(!is_opaque(&action) || placed.is_empty());
}

/// A session in a file, whoever made it.
fn bundle(_: &str, data: &[u8]) {
    let _ = flyball_ledger::readers::bundle(data);
}

/// What somebody says that a session was.
fn attestation(_: &str, data: &[u8]) {
    use flyball_runtime::attest;
    if let Ok(about) = attest::about(data) {
        assert!(attest::is_envelope(data));
        let keys = flyball_ledger::NoteVerifier::parse(&about.key).into_iter().collect();
        let _ = attest::check(data, &attest::Keys { keys, from: attest::ITSELF }, None);
    }
}

/// A pack of git's objects that an agent left, and its index.
fn git_pack(_: &str, data: &[u8]) {
    if let Some(at) = data.windows(AND_THEN.len()).position(|window| window == AND_THEN) {
        let (pack, index) = data.split_at(at);
        let _ = flyball_runtime::attest::commits_in_pack(pack, index.get(AND_THEN.len()..).unwrap_or_default());
    }
}

/// A proof of one entry, and what a witness is asked.
fn proof(_: &str, data: &[u8]) {
    let _ = flyball_ledger::readers::proof(data);
}
