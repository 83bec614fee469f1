//! The kernel from outside: charters in, rulings out.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "tests"
)]

mod adopting;
mod agreement;
mod analysis;
mod bounded;
mod content;
mod decide;
mod determinism;
mod diagnostics;
mod dogwood;
mod laws;
mod learning;
mod library;
mod narrower;
mod obligations;
mod people;
mod provoked;
mod questions;
mod registers;

use flyball_kernel::*;
use std::sync::Arc;

/// What every test charter starts with.
pub const HEAD: &str = r#"
[charter]
name = "test"
[owners]
dev = ["user:alice", "user:bob"]
boss = ["user:carol"]
[escalation.dev]
ask = "dev"
within = "5m"
then = "deny"
[escalation.both]
ask = "dev"
quorum = 2
within = "5m"
then = "boss"
[escalation.boss]
ask = "boss"
within = "10m"
then = "deny"
"#;

/// Lets everything pass that nothing else stops.
pub const ALL: &str =
    "@id(\"all\") @owner(\"dev\") @reason(\"everything else may pass\") permit (principal, action, resource);\n";

pub fn compile(toml: &str, cedar: &str) -> Result<(Charter, Diagnostics), Diagnostics> {
    Charter::compile(&Sources::from([
        ("charter.toml".to_owned(), format!("{HEAD}{toml}")),
        ("rules.cedar".to_owned(), cedar.to_owned()),
    ]))
}

pub fn charter(toml: &str, cedar: &str) -> Charter {
    compile(toml, cedar).unwrap_or_else(|e| panic!("{}", render(&e))).0
}

pub fn render(found: &Diagnostics) -> String {
    let line = |d: &Diagnostic| {
        let hint = d.hint.as_ref().map(|h| format!("\n    hint: {h}")).unwrap_or_default();
        format!("{:?} {} {}:{}:{} {}{hint}\n", d.severity, d.code, d.file, d.line, d.column, d.message)
    };
    found.0.iter().map(line).collect()
}

/// A session under a charter that numbers and times its inputs itself.
pub struct Run {
    pub kernel: Kernel,
    pub seq: u64,
    pub now_ns: u64,
}

pub const SECOND: u64 = 1_000_000_000;

impl Run {
    pub fn new(charter: Charter) -> Self {
        let session = Session { workspace: "/w".into(), home: "/home/u".into(), agent: "claude".into() };
        Self { kernel: Kernel::new(Arc::new(charter), session), seq: 0, now_ns: 0 }
    }

    pub fn step(&mut self, event: Event) -> Vec<Ruling> {
        self.seq += 1;
        self.now_ns += SECOND;
        self.kernel.step(&Input { seq: self.seq, at_ns: self.now_ns, event })
    }

    pub fn attempt(&mut self, action: &Action) -> Ruling {
        let mut rulings = self.step(Event::Attempt(action.clone()));
        assert_eq!(rulings.len(), 1, "an attempt gives one ruling");
        rulings.remove(0)
    }

    /// Attempt, dispatch, outcome; gives the attempt's number.
    pub fn does(&mut self, action: &Action) -> u64 {
        let ruling = self.attempt(action);
        assert_eq!(ruling.verdict, Verdict::Allow, "{ruling:#?}");
        self.step(Event::Dispatch { of: ruling.of });
        self.step(Event::Outcome { of: ruling.of, ok: true, attrs: [("exit".to_owned(), Value::Long(0))].into() });
        ruling.of
    }

    pub fn answer(&mut self, ruling: &Ruling, by: &str, verdict: Verdict, with: Option<Action>) -> Ruling {
        let event = Event::Answer {
            of: ruling.of,
            action: ruling.action.to_string(),
            verdict,
            with: with.map(Box::new),
            by: by.to_owned(),
            reason: "because".to_owned(),
        };
        let mut rulings = self.step(event);
        assert_eq!(rulings.len(), 1, "an answer gives one ruling");
        rulings.remove(0)
    }
}

/// `allow RULE…`: the verdict and the names of its reasons.
pub fn said(ruling: &Ruling) -> String {
    let verdict = format!("{:?}", ruling.verdict).to_lowercase();
    ruling.reasons.iter().fold(verdict, |all, reason| format!("{all} {}", reason.rule))
}

pub fn file(verb: &str, path: &str) -> Action {
    Action::new(verb, Resource::file(path), Surface::Fs).unwrap()
}

pub fn exec(program: &str, argv: &[&str]) -> Action {
    let argv: Vec<String> = argv.iter().map(|a| (*a).to_owned()).collect();
    let command = Resource::new(ResourceKind::Command).with("program", program).unwrap().with("argv", argv).unwrap();
    Action::new("process.exec", command, Surface::Exec).unwrap()
}
