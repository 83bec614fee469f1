//! A file-heavy session under the charter that `flyball init` writes (`benches/init`: a repository with Rust and
//! Node.js): what compiling it costs at each start, and what the kernel's inputs of one file write cost.
//!
//! Baselines of the same run: Cedar's own parser, schema and validator on the same text, and Cedar's authorizer, unsliced.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a bench"
)]

use cedar_policy::{PolicySet, Schema, ValidationMode, Validator};
use flyball_kernel::{Action, Charter, Event, Input, Kernel, Resource, Session, Sources, Surface, Verdict};
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

fn main() {
    // `cargo test --benches` only wants to know that it runs.
    let is_short = !std::env::args().any(|a| a == "--bench");
    let (compiles, writes, warm) = if is_short { (1, 10, 0) } else { (41, 20_000, 2_000) };
    let toml = include_str!("init/charter.toml");
    let cedar = include_str!("init/rules.cedar");
    let sources =
        Sources::from([("charter.toml".to_owned(), toml.to_owned()), ("rules.cedar".to_owned(), cedar.to_owned())]);
    let charter = Charter::compile(&sources).unwrap_or_else(|e| panic!("{e:#?}")).0;
    let schema_text = charter.schema_cedar();

    let mut took = Table::default();
    for _ in 0..compiles {
        took.time("compile the init charter", || Charter::compile(black_box(&sources)).is_ok());
        let set: PolicySet = took.time("  baseline: cedar parses its rules", || black_box(cedar).parse().unwrap());
        let schema =
            took.time("  baseline: cedar parses the schema", || Schema::from_cedarschema_str(&schema_text).unwrap().0);
        let validator = Validator::new(schema);
        took.time("  baseline: cedar validates", || {
            validator.validate(&set, ValidationMode::Strict).validation_passed()
        });
    }
    let session = Session { workspace: "/w".into(), home: "/home/u".into(), agent: "claude".into() };
    let charter = Arc::new(charter);
    took.time("a kernel", || Kernel::new(Arc::clone(&charter), session.clone()));
    let mut kernel = Kernel::new(Arc::clone(&charter), session);
    let actions: Vec<Action> = (0..500)
        .map(|n| {
            Action::new("fs.write", Resource::file(&format!("/w/src/some/folder{}/f{n}.rs", n % 30)), Surface::Fs)
                .and_then(|a| a.with("create", true))
                .and_then(|a| a.with("kind", "file"))
                .unwrap()
        })
        .collect();
    let mut seq = 1;
    for n in 0..writes + warm {
        if n == warm {
            took.forget(&["attempt", "dispatch", "outcome", "attempt, dispatch, outcome"]);
        }
        let of = seq;
        let mut input = |event| {
            seq += 1;
            Input { seq: seq - 1, at_ns: seq * 1_000_000, event }
        };
        let attempt = input(Event::Attempt(actions[n % actions.len()].clone()));
        let dispatch = input(Event::Dispatch { of });
        let outcome = input(Event::Outcome { of, ok: true, attrs: [].into() });
        let start = Instant::now();
        let rulings = took.time("attempt", || kernel.step(black_box(&attempt)));
        took.time("dispatch", || kernel.step(black_box(&dispatch)));
        took.time("outcome", || kernel.step(black_box(&outcome)));
        took.add("attempt, dispatch, outcome", start.elapsed());
        assert_eq!(rulings[0].verdict, Verdict::Allow, "{rulings:#?}");
    }
    took.print();
}

#[derive(Default)]
struct Table(Vec<(&'static str, Vec<Duration>)>);

impl Table {
    fn time<T>(&mut self, name: &'static str, run: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        let out = run();
        self.add(name, start.elapsed());
        out
    }

    fn add(&mut self, name: &'static str, took: Duration) {
        match self.0.iter_mut().find(|(there, _)| *there == name) {
            Some((_, all)) => all.push(took),
            None => self.0.push((name, vec![took])),
        }
    }

    fn forget(&mut self, names: &[&str]) {
        self.0.retain(|(name, _)| !names.contains(name));
    }

    fn print(mut self) {
        for (name, all) in &mut self.0 {
            all.sort_unstable();
            let at = |part: usize| all[all.len() * part / 1000].as_nanos() as f64 / 1000.0;
            println!("{name:42} p50 {:>10.2} us   p99 {:>10.2} us   over {}", at(500), at(990), all.len());
        }
    }
}
