#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]
use super::*;
use crate::clock::Clock;
use crate::state::State;
use flyball_kernel::{Charter, Kernel, Resource, ResourceKind, Session, Sources, Surface};
use flyball_ledger::Draft;
use flyball_sandbox::FileId;
use flyball_sandbox::workspace::Layers;

const TOML: &str = r#"
[charter]
name = "test"
default = "allow"
[owners]
dev = ["user:alice"]
[escalation.dev]
ask = "dev"
within = "5m"
then = "deny"
[[label]]
name = "secret"
paths = ["secrets/**"]
owner = "dev"
"#;
const CEDAR: &str = r#"
@id("asked") @owner("dev") @reason("Asked about.") @escalate("dev")
forbid (principal, action == Action::"fs.write", resource);
"#;

/// A session that asks about every write, with nothing running in it.
fn session(dir: &Path) -> Core {
    session_under(dir, TOML)
}

fn session_under(dir: &Path, toml: &str) -> Core {
    let (workspace, ledger) = (dir.join("w"), Arc::new(Ledger::open(&dir.join("ledger")).unwrap()));
    std::fs::create_dir_all(&workspace).unwrap();
    let files = [("charter.toml", toml), ("r.cedar", CEDAR)].map(|(name, text)| (name.to_owned(), text.to_owned()));
    let charter = Arc::new(Charter::compile(&Sources::from(files)).unwrap().0);
    let told = Session { workspace: workspace.display().to_string(), home: "/home/u".into(), agent: "a".into() };
    let stream = ledger.stream("s").unwrap();
    let open = Draft { at_ns: 1, kind: Kind::Open, actor: "user:a".into(), cause: Vec::new(), body: json!({}) };
    let opened = stream.append(open).unwrap();
    let gate = Gate::new(Kernel::new(Arc::clone(&charter), told), stream, Clock::after(1), "s");
    let scratch = Arc::new(Scratch::default());
    let layers = Layers::new(workspace.clone(), dir.join("upper"));
    Core::new(Parts {
        gate,
        capture: Capture::new(layers, &workspace, Arc::clone(&scratch), State::default()),
        ledger,
        session: "s".into(),
        session_dir: dir.to_owned(),
        agent: "a".into(),
        workspace,
        home: "/home/u".into(),
        scratch,
        on_hold: OnHold::Wait,
        reading: charter.reads_content().clone(),
        opened,
    })
}

#[test]
fn who_waits_is_denied_when_nothing_can_be_recorded_any_more() {
    let dir = tempfile::tempdir().unwrap();
    let mut core = session(dir.path());
    let path = dir.path().join("w/file");
    let attempt = Attempt::Open { path, write: true, create: true, truncate: false, existing: None };
    let call = Call { ticket: Ticket(7), pid: 1, attempt };
    assert!(matches!(core.decide(&call), Decision::Hold));
    core.gate.end();
    let released = core.tick();
    assert_eq!(released.len(), 1);
    assert_eq!(released[0].0, Ticket(7));
    assert!(matches!(&released[0].1, Decision::Deny(refusal) if refusal.text.contains("could not be decided")));
    assert!(core.tick().is_empty(), "told once");
}

/// A request that people allow taints what is open, as a call that they allow does.
#[test]
fn an_approved_request_carries_its_taint() {
    for (is_full, expect) in [(false, Verdict::Allow), (true, Verdict::Deny)] {
        let dir = tempfile::tempdir().unwrap();
        let mut core = session(dir.path());
        core.written.note(Path::new("/elsewhere/out"), &dir.path().join("w"));
        core.written.is_full = is_full;
        let read = Action::new(
            "fs.read",
            flyball_kernel::Resource::file(&dir.path().join("w/secrets/key").display().to_string()),
            flyball_kernel::Surface::Http,
        );
        let write = Action::new("fs.write", flyball_kernel::Resource::file("/x"), flyball_kernel::Surface::Http);
        let Outgoing::Held(group) = core.outgoing(vec![write.unwrap(), read.unwrap()], &[], false) else {
            panic!("not held")
        };
        assert!(core.take_outgoing(group).is_none() && core.written.tainted.is_empty());
        let question = core.gate.questions().next().unwrap().id.clone();
        let answer = Answer {
            verdict: Verdict::Allow,
            with: None,
            by: "user:alice".into(),
            reason: "seen".into(),
            signed: None,
            said_in: None,
            only: Vec::new(),
            set: None,
        };
        core.answer(&question, answer).unwrap();
        let settled = core.take_outgoing(group).unwrap();
        assert_eq!(settled.verdict, expect);
        if is_full {
            assert!(core.outgoing_text(&settled).contains("could not be labelled"));
        } else {
            assert!(core.written.tainted.contains("secret"));
            assert_eq!(core.requests.take_open().len(), 2, "open until its outcome is told");
        }
    }
}

#[test]
fn a_workspace_in_memory_is_governed_like_any_other() {
    // Devices are beyond rules, and so is what else is in `/dev`; a workspace that lies there is not.
    let Ok(dir) = tempfile::tempdir_in("/dev/shm") else { return eprintln!("skipped: there is no `/dev/shm` here") };
    let mut core = session(dir.path());
    let mut decided = |path: &Path| {
        let attempt = Attempt::Open { path: path.into(), write: true, create: true, truncate: false, existing: None };
        core.decide(&Call { ticket: Ticket(7), pid: 1, attempt })
    };
    assert!(matches!(decided(&dir.path().join("w/file")), Decision::Hold));
    assert!(matches!(decided(Path::new("/dev/shm/other")), Decision::Allow));
}

/// A program is allowed to run, and does.
#[track_caller]
fn runs(core: &mut Core, ticket: u64, pid: i32, argv: &[&str]) {
    let attempt = Attempt::Exec {
        path: format!("/usr/bin/{}", argv[0]).into(),
        argv: argv.iter().map(Into::into).collect(),
        cwd: core.workspace.clone(),
        script: None,
        file: FileId { dev: 0, ino: 0, size: 0, mtime_ns: 0 },
    };
    let call = Call { ticket: Ticket(ticket), pid, attempt };
    assert!(matches!(core.decide(&call), Decision::Allow));
    core.done(call.ticket, pid, &Done::Ok);
}

#[test]
fn an_image_that_is_replaced_ends_with_its_process() {
    let dir = tempfile::tempdir().unwrap();
    let mut core = session(dir.path());
    let outcomes = |core: &Core| -> Vec<serde_json::Value> {
        core.gate.flush().unwrap();
        let only = flyball_ledger::Filter { kinds: vec![Kind::Outcome], ..Default::default() };
        let entries = core.ledger.entries("s", 1.., only).unwrap();
        entries.map(|entry| core.ledger.body(&entry.unwrap()).unwrap()).collect()
    };
    runs(&mut core, 1, 40_001, &["sh", "-c", "exec env git push origin main"]);
    runs(&mut core, 2, 40_001, &["env", "git", "push", "origin", "main"]);
    runs(&mut core, 3, 40_001, &["git", "push", "origin", "main"]);
    assert!(outcomes(&core).is_empty(), "none of them has ended, and nothing was pushed");
    core.exited(40_001, Some(1 << 8));
    let ended = outcomes(&core);
    assert_eq!(ended.len(), 6, "three programs, and the push that each implies: {ended:?}");
    assert!(ended.iter().all(|body| body["ok"] == false && body["exit"] == 1), "{ended:?}");
    // Whose end nobody saw is not called well, nor ill.
    runs(&mut core, 4, 40_002, &["true"]);
    core.exited(40_002, None);
    let last = outcomes(&core).pop().unwrap();
    assert_eq!((&last["ok"], &last["unknown"]), (&json!(null), &json!(true)));
    // One that replaces itself for ever does not fill the memory.
    for round in 0..OPEN_OF_ONE_MAX as u64 + 10 {
        runs(&mut core, 10 + round, 40_003, &["true"]);
    }
    assert_eq!(outcomes(&core).len(), 7 + 10);
}

#[test]
fn only_the_harness_is_heard_at_the_hooks_door() {
    let dir = tempfile::tempdir().unwrap();
    let mut core = session(dir.path());
    // This test's program stands for Flyball's own, whoever started it for the harness.
    let pid = i32::try_from(std::process::id()).unwrap();
    let tell = |core: &mut Core| {
        let attempt = Attempt::ConnectUnix { path: flyball_sandbox::HOOKS_SOCKET.into() };
        matches!(core.decide(&Call { ticket: Ticket(7), pid, attempt }), Decision::Allow)
    };
    assert!(tell(&mut core) && tell(&mut core));
    // Run by a tool call's command, it may not say how that call ended.
    let run = |is_of_tool_call| Process { exec: 1, attempts: Vec::new(), is_of_tool_call, agent: None };
    core.processes.insert(pid, run(true));
    assert!(!tell(&mut core));
    core.processes.insert(pid, run(false));
    assert!(tell(&mut core));
    // Nor when another process was the harness, for as long as that one lives.
    let mut other = std::process::Command::new("sleep").arg("600").spawn().unwrap();
    core.tool_calls.is_heard_from(i32::try_from(other.id()).unwrap());
    assert!(!tell(&mut core));
    other.kill().unwrap();
    other.wait().unwrap();
    assert!(tell(&mut core));
}

/// What a folder of the host's has in it that the charter exposes is the host's in a replay too.
#[test]
fn a_replay_reaches_no_socket_of_the_hosts() {
    for is_again in [true, false] {
        let dir = tempfile::tempdir().unwrap();
        let mut core = session(dir.path());
        let (host, link) = (dir.path().join("host"), dir.path().join("link"));
        std::fs::create_dir(&host).unwrap();
        std::os::unix::fs::symlink(&host, &link).unwrap();
        core.sockets = outside::Sockets::new(&[link], is_again);
        core.replayable = Some(5);
        let connect = |core: &mut Core, path: PathBuf| {
            core.decide(&Call { ticket: Ticket(1), pid: 1, attempt: Attempt::ConnectUnix { path } })
        };
        let own = dir.path().join("w/own.sock");
        assert!(matches!(connect(&mut core, own), Decision::Allow));
        assert_eq!(core.replayable, Some(5));
        let decision = connect(&mut core, host.join("docker.sock"));
        if is_again {
            assert!(matches!(decision, Decision::Deny(refusal) if refusal.text.contains("a replay reaches nothing")));
        } else {
            assert!(matches!(decision, Decision::Allow));
            assert_eq!(core.replayable, None, "what it was told there is not on record");
        }
    }
}

/// What passes in another form has the workspace of that moment to go back to, and leaves no point behind where it is not given.
#[test]
fn a_changed_request_has_its_own_point_to_go_back_to() {
    let dir = tempfile::tempdir().unwrap();
    let envelope = "[envelope.replicas]\nof = \"deploy.scale.replicas\"\nmax = 20\non_breach = \"clamp\"\n";
    let mut core = session_under(dir.path(), &format!("{TOML}{envelope}"));
    let scale = |replicas: i64| {
        let api = Resource::new(ResourceKind::Target);
        Action::new("deploy.scale", api, Surface::Http).unwrap().with("replicas", replicas).unwrap()
    };
    let points = |core: &Core| -> Vec<u64> {
        core.gate.flush().unwrap();
        let entries = core.ledger.entries("s", 1.., flyball_ledger::Filter::default()).unwrap();
        let bodies = entries.map(|entry| core.ledger.body(&entry.unwrap()).unwrap());
        bodies.filter_map(|body| body.pointer("/snapshot/before").and_then(serde_json::Value::as_u64)).collect()
    };
    let opened = core.opened;
    let outgoing::Outgoing::Changed(group) = core.outgoing(vec![scale(50)], &[opened], true) else { panic!() };
    assert!(points(&core).is_empty());
    let outgoing::Outgoing::Allowed(attempts) = core.give_outgoing(group, Some(&[scale(20)])) else { panic!() };
    assert_eq!(points(&core), attempts);
    // Another one is given nothing; what comes next and needs no point names none.
    let outgoing::Outgoing::Changed(group) = core.outgoing(vec![scale(60)], &[opened], true) else { panic!() };
    assert!(matches!(core.give_outgoing(group, Some(&[scale(30)])), outgoing::Outgoing::Denied(..)));
    let get = Action::new("http.request", Resource::new(ResourceKind::Request), Surface::Http).unwrap();
    assert!(matches!(core.outgoing(vec![get], &[opened], false), outgoing::Outgoing::Allowed(_)));
    assert_eq!(points(&core).len(), 1);
}

#[test]
fn the_sessions_own_agent_is_none_that_it_starts() {
    let started = |execs: &[(i32, &[&str])]| -> Vec<String> {
        let dir = tempfile::tempdir().unwrap();
        let mut core = session(dir.path());
        for (n, (pid, argv)) in execs.iter().enumerate() {
            runs(&mut core, n as u64, *pid, argv);
        }
        core.gate.flush().unwrap();
        let only = flyball_ledger::Filter { kinds: vec![Kind::Attempt], ..Default::default() };
        let entries = core.ledger.entries("s", 1.., only).unwrap();
        let bodies = entries.map(|entry| core.ledger.body(&entry.unwrap()).unwrap());
        let spawned = bodies.filter(|body| body["verb"] == "agent.spawn");
        spawned.map(|body| body["attrs"]["task"].as_str().unwrap_or_default().to_owned()).collect()
    };
    // PIDs above what the kernel gives: none has a parent that is known.
    let (one, two) = (5_000_001, 5_000_002);
    assert!(started(&[(one, &["claude", "-p", "x"])]).is_empty());
    assert!(started(&[(one, &["bash", "-c", "claude -p x"]), (one, &["claude", "-p", "x"])]).is_empty());
    assert!(started(&[(one, &["env", "claude", "-p", "x"]), (two, &["claude", "-p", "x"])]).is_empty());
    // A launcher that becomes the agent itself.
    let anew: &[(i32, &[&str])] =
        &[(one, &["codex", "exec", "x"]), (one, &["codex", "exec", "x"]), (one, &["node", "/x/codex.js", "exec", "x"])];
    assert!(started(anew).is_empty());
    // Another task, other rights, another agent, a shell between, and another session's.
    assert_eq!(started(&[(one, &["claude", "-p", "x"]), (one, &["claude", "-p", "y"])]), ["y"]);
    assert_eq!(started(&[(one, &["codex", "exec", "x"]), (one, &["codex", "exec", "--yolo", "x"])]), ["x"]);
    assert_eq!(started(&[(one, &["claude", "x"]), (one, &["codex", "x"])]), ["x"]);
    assert_eq!(started(&[(one, &["claude", "x"]), (two, &["claude", "x"])]), ["x"]);
    assert_eq!(
        started(&[(one, &["claude", "x"]), (one, &["sh", "-c", "claude x"]), (one, &["claude", "x"])]),
        ["x", "x"]
    );
    assert_eq!(started(&[(one, &["sh", "f"]), (one, &["claude", "x"])]), ["x"]);
}

/// What became of a call is queued, and so outlives the process, when its call is over: with nothing recorded after it.
#[test]
fn every_outcome_of_a_call_is_on_record_when_it_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let mut core = session(dir.path());
    let delete = |path: &str| Action::new("fs.delete", Resource::file(path), Surface::Fs).unwrap();
    let opened = core.opened;
    let asked = core.gate.ask(&["/a", "/b", "/c"].map(delete), &[opened]);
    assert_eq!((asked.verdict, asked.attempts.len()), (Verdict::Allow, 3));
    core.record_outcomes(&asked.attempts, true, &BTreeMap::new());
    // Of the ledger's queue alone: the stream's own would queue what is staged first.
    core.ledger.flush().unwrap();
    let only = flyball_ledger::Filter { kinds: vec![Kind::Outcome], ..Default::default() };
    assert_eq!(core.ledger.entries("s", 1.., only).unwrap().count(), 3);
}
