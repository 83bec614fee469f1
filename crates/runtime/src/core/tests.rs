#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
use super::*;
use crate::clock::Clock;
use crate::state::State;
use flyball_kernel::{Charter, Kernel, Session, Sources};
use flyball_ledger::Draft;
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
"#;
const CEDAR: &str = r#"
@id("asked") @owner("dev") @reason("Asked about.") @escalate("dev")
forbid (principal, action == Action::"fs.write", resource);
"#;

/// A session that asks about every write, with nothing running in it.
fn session(dir: &Path) -> Core {
    let (workspace, ledger) = (dir.join("w"), Arc::new(Ledger::open(&dir.join("ledger")).unwrap()));
    std::fs::create_dir_all(&workspace).unwrap();
    let files = [("charter.toml", TOML), ("r.cedar", CEDAR)].map(|(name, text)| (name.to_owned(), text.to_owned()));
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
