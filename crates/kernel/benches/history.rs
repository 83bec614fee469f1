//! What a step costs after 10 thousand to 10 million events, by the kind of fact that its rule reads: nothing of it may
//! grow with the length of the history but for windows that hold more (`FLYBALL_BENCH_EVENTS` asks for another end).
//!
//! Events come one a millisecond, over 1,000 paths: a window of a minute holds 60,000 of them, one of a second 1,000.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a bench")]

use flyball_kernel::{Action, Charter, Event, Input, Kernel, Resource, Session, Sources, Surface};
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

const FACTS: [(&str, &str); 7] = [
    ("no fact", ""),
    ("once, no end", "once did fs.read(path: $path)"),
    ("since, no end", "no did fs.write(path: $path) since did fs.read(path: $path)"),
    ("count, no end", "count did fs.read by path >= 1000000000"),
    ("joined, no end", "exists p . (did fs.read(path: p) and once did fs.delete(path: p))"),
    ("once[1m]", "once[1m] did fs.read(path: $path)"),
    ("sum[1m]", "sum[1m] of bytes did fs.read >= 1000000000"),
];

const PROBES: usize = 2_000;

fn main() {
    if std::env::args().any(|arg| arg == "--test") {
        return;
    }
    let last: u64 = std::env::var("FLYBALL_BENCH_EVENTS").ok().and_then(|n| n.parse().ok()).unwrap_or(10_000_000);
    let marks: Vec<u64> = [10_000, 100_000, 1_000_000, 10_000_000].into_iter().filter(|n| *n <= last).collect();
    let heads: Vec<String> = marks.iter().map(|n| format!("{n:>12}")).collect();
    println!("p50 of one attempt's decision, us, after so many events");
    println!("{:<16}{}", "fact", heads.concat());
    for (name, fact) in FACTS {
        let cells: Vec<String> =
            curve(fact, &marks).into_iter().map(|took| format!("{:>12.2}", micros(took))).collect();
        println!("{name:<16}{}", cells.concat());
    }
}

fn micros(took: Duration) -> f64 {
    took.as_secs_f64() * 1e6
}

fn curve(fact: &str, marks: &[u64]) -> Vec<Duration> {
    let mut kernel = kernel(fact);
    let reads: Vec<Action> = (0..1_000).map(|n| action("fs.read", n)).collect();
    let mut events = 0;
    let mut out = Vec::new();
    for mark in marks {
        while events < *mark {
            // A governed read is three events: attempt, dispatch, outcome.
            let of = events + 1;
            let read = reads[usize::try_from(events / 3 % 1_000).unwrap()].clone();
            step(&mut kernel, &mut events, Event::Attempt(read));
            step(&mut kernel, &mut events, Event::Dispatch { of });
            step(&mut kernel, &mut events, Event::Outcome { of, ok: true, attrs: [].into() });
        }
        out.push(probed(&kernel, events));
    }
    out
}

/// Decisions on a kernel of that history, which stays as it is.
fn probed(kernel: &Kernel, events: u64) -> Duration {
    let mut kernel = kernel.clone();
    let mut events = events;
    let mut took: Vec<Duration> = (0..PROBES)
        .map(|n| {
            let write = action("fs.write", n % 1_000);
            let of = events + 1;
            let start = Instant::now();
            step(&mut kernel, &mut events, Event::Attempt(write));
            let took = start.elapsed();
            step(&mut kernel, &mut events, Event::Withdraw { of });
            took
        })
        .collect();
    took.sort_unstable();
    took[PROBES / 2]
}

fn step(kernel: &mut Kernel, events: &mut u64, event: Event) {
    *events += 1;
    black_box(kernel.step(&Input { seq: *events, at_ns: *events * 1_000_000, event }));
}

fn action(verb: &str, n: usize) -> Action {
    let action =
        Action::new(verb, Resource::file(&format!("/w/src/module{}/file{n}.rs", n % 40)), Surface::Fs).unwrap();
    action.with("bytes", 100).unwrap()
}

fn kernel(fact: &str) -> Kernel {
    let mut toml = "[charter]\nname = \"bench\"\ndefault = \"allow\"\n[owners]\ndev = [\"user:a\"]\n".to_owned();
    let mut cedar = "@id(\"all\") @owner(\"dev\") @reason(\"r\") permit (principal, action, resource);\n".to_owned();
    if !fact.is_empty() {
        toml.push_str(&format!("[facts]\nasked = {{ is = '{fact}', keys_max = 200000 }}\n"));
        cedar.push_str(
            "@id(\"f\") @owner(\"dev\") @reason(\"r\") forbid (principal, action == Action::\"fs.write\", resource) when { context.fact.asked };\n",
        );
    }
    let sources = Sources::from([("charter.toml".to_owned(), toml), ("rules.cedar".to_owned(), cedar)]);
    let (charter, _) = Charter::compile(&sources).unwrap_or_else(|found| panic!("{found:?}"));
    let session = Session { workspace: "/w".into(), home: "/home/u".into(), agent: "claude".into() };
    Kernel::new(Arc::new(charter), session)
}
