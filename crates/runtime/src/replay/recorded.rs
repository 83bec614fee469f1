//! Sessions for tests, recorded by the gate itself.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use crate::clock::Clock;
use crate::gate::{Answer, Asked, Gate};
use crate::signed::Actor;
use flyball_kernel::{Action, Charter, Kernel, Session, Sources, Verdict};
use flyball_ledger::{Draft, Kind, Ledger};
use serde_json::{Value as Json, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

pub(crate) const TOML: &str = r#"
[charter]
name = "test"
default = "allow"
[owners]
dev = ["user:alice"]
[escalation.dev]
ask = "dev"
within = "5m"
then = "deny"
[facts]
tests_green = 'no did fs.write since result process.exec(program: "cargo", exit: 0)'
writes = 'count[10m] did fs.write >= 3'
[budget.writes]
count = "fs.write"
limit = 6
per = "session"
[budget.shared]
count = "git.commit"
limit = 2
per = "fleet"
"#;

pub(crate) const CEDAR: &str = r#"
@id("asked") @owner("dev") @reason("Pushes are asked about.") @escalate("dev")
forbid (principal, action == Action::"git.push", resource);

@id("green") @owner("dev") @reason("Deploys need green tests.")
forbid (principal, action in Action::"deploy", resource) unless { context.fact.tests_green };
"#;

pub(crate) fn files(toml: &str, cedar: &str) -> Sources {
    Sources::from([("charter.toml", toml), ("r.cedar", cedar)].map(|(n, t)| (n.to_owned(), t.to_owned())))
}

pub(crate) fn charter(files: &Sources) -> Charter {
    Charter::compile(files).unwrap_or_else(|e| panic!("{:?}", e.0)).0
}

pub(crate) fn action(json: Json) -> Action {
    serde_json::from_value(json).unwrap()
}

pub(crate) fn write(path: &str) -> Action {
    action(json!({"verb": "fs.write", "resource": {"type": "File", "path": format!("/w/{path}")}, "surface": "fs"}))
}

pub(crate) fn push(name: &str) -> Action {
    action(
        json!({"verb": "git.push", "resource": {"type": "Ref", "remote": "origin", "name": name}, "surface": "exec"}),
    )
}

pub(crate) fn commit() -> Action {
    action(json!({"verb": "git.commit", "resource": {"type": "Ref", "remote": "", "name": "main"}, "surface": "exec"}))
}

pub(crate) fn deploy() -> Action {
    let target = json!({"type": "Target", "cluster": "", "namespace": "", "kind": "Deployment", "name": "api"});
    action(json!({"verb": "deploy.apply", "resource": target, "surface": "exec"}))
}

pub(crate) fn exec(program: &str) -> Action {
    let command =
        json!({"type": "Command", "program": program, "argv": [], "cwd": "/w", "path": format!("/usr/bin/{program}")});
    action(json!({"verb": "process.exec", "resource": command, "surface": "exec"}))
}

/// A session that is being recorded.
pub(crate) struct Recording {
    pub ledger: Arc<Ledger>,
    pub gate: Gate,
}

impl Recording {
    pub fn new(dir: &Path, id: &str, files: Sources, learns: Option<Vec<String>>) -> Self {
        let ledger = Arc::new(Ledger::open(dir).unwrap());
        let charter = charter(&files);
        let charter = Arc::new(match &learns {
            Some(kept) => charter.learning(kept.clone()),
            None => charter,
        });
        let stream = ledger.stream(id).unwrap();
        let mut clock = Clock::after(1);
        let body = json!({
            "session": id, "name": id, "agent": "a", "argv": ["a"], "cwd": "/w", "workspace": "/w", "home": "/home/u",
            "charter": {"digest": charter.digest(), "files": files}, "learning": learns.is_some(), "kept": learns,
        });
        let at_ns = clock.now_ns();
        stream.append(Draft { at_ns, kind: Kind::Open, actor: "user:alice".into(), cause: Vec::new(), body }).unwrap();
        let session = Session { workspace: "/w".into(), home: "/home/u".into(), agent: "a".into() };
        let gate = Gate::new(Kernel::new(Arc::clone(&charter), session), stream, clock, id);
        Self { ledger: Arc::clone(&ledger), gate: gate.with_fleet(&ledger, &charter) }
    }

    /// Attempts it; what is let through is done.
    pub fn does(&mut self, actions: Vec<Action>, cause: &[u64]) -> Asked {
        let asked = self.gate.ask(&actions, cause);
        if asked.verdict == Verdict::Allow {
            let attrs = BTreeMap::from([("exit".to_owned(), flyball_kernel::Value::Long(0))]);
            for of in &asked.attempts {
                self.gate.outcome(*of, true, attrs.clone()).unwrap();
            }
        }
        asked
    }

    pub fn answer(&mut self, verdict: Verdict) {
        let id = self.gate.questions().next().unwrap().id.clone();
        let answer = Answer {
            verdict,
            with: None,
            by: "user:alice".into(),
            reason: "seen".into(),
            signed: None,
            said_in: None,
            only: Vec::new(),
            set: None,
        };
        self.gate.answer(&id, answer).unwrap();
    }

    pub fn adopt(&mut self, files: Sources) {
        let ledger = Arc::clone(&self.ledger);
        let actor = Actor::local("user:alice");
        self.gate.adopt(&ledger, charter(&files), &files, &[], &actor, "tighter").unwrap();
    }

    pub fn close(mut self) -> Arc<Ledger> {
        self.gate.note(Kind::Close, "supervisor", &[], json!({"ended_by": "program", "exit": 0})).unwrap();
        self.gate.flush().unwrap();
        self.gate.end();
        self.ledger
    }
}

/// One of each: refusals by a fact, budgets, a question that is answered, one foreseen, one that nobody answers, acts of people, a
/// shared budget, another charter.
pub(crate) fn everything(dir: &Path, id: &str) -> Arc<Ledger> {
    let mut it = Recording::new(dir, id, files(TOML, CEDAR), None);
    let shell = it.gate.ask(&[exec("sh")], &[1]).attempts[0];
    it.does(vec![write("a.txt")], &[shell]);
    it.does(vec![deploy()], &[shell]);
    it.does(vec![exec("cargo")], &[shell]);
    it.does(vec![deploy()], &[shell]);
    // Foreseen by a shell's script, agreed to once, and done below it.
    let script = it.gate.ask(&[exec("bash"), push("main"), push("next")], &[shell]);
    assert_eq!(script.verdict, Verdict::Hold);
    it.answer(Verdict::Allow);
    it.does(vec![push("main")], &[script.attempts[0]]);
    it.does(vec![push("main")], &[script.attempts[0]]);
    it.answer(Verdict::Deny);
    it.gate.control("pause", "user:alice", "a look", json!({})).unwrap();
    it.does(vec![write("b.txt")], &[shell]);
    it.gate.tick().unwrap();
    it.gate.control("resume", "user:alice", "", json!({})).unwrap();
    (0..3).for_each(|_| drop(it.does(vec![commit()], &[shell])));
    for n in 0..7 {
        it.does(vec![write(&format!("{n}.txt"))], &[shell]);
    }
    it.adopt(files(TOML, &format!("{CEDAR}\n@id(\"late\") @owner(\"dev\") @reason(\"Enough.\")\nforbid (principal, action == Action::\"fs.write\", resource) when {{ context.fact.writes }};\n")));
    it.does(vec![write("late.txt")], &[shell]);
    it.does(vec![deploy()], &[shell]);
    it.gate.control("quarantine", "user:alice", "odd", json!({})).unwrap();
    it.does(vec![exec("ls")], &[shell]);
    it.close()
}
