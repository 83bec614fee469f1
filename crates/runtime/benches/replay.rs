//! `cargo bench -p flyball-runtime`: making a record again and ruling on it by another charter, beside only reading the same entries
//! in the same run. 100 rules and 20 facts. `FLYBALL_BENCH_ENTRIES` says how many entries the longest session has.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs, reason = "a bench")]

use flyball_kernel::{Action, Charter, Event, Input, Kernel, Session, Sources, Value, Verdict};
use flyball_ledger::{Draft, Filter, Kind, Ledger};
use flyball_runtime::{backtest, replay};
use serde_json::{Value as Json, json};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

const ROUNDS: usize = 3;

fn main() {
    if !std::env::args().any(|arg| arg == "--bench") {
        println!("skipped: a bench runs under `cargo bench`");
        return;
    }
    let asked = std::env::var("FLYBALL_BENCH_ENTRIES").ok().and_then(|n| n.parse().ok());
    let longest: u64 = asked.unwrap_or(1_000_000);
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let files = files("");
    for (id, entries) in [("quarter", longest / 4), ("half", longest / 2), ("whole", longest)] {
        record(dir.path(), id, entries, &files);
    }
    println!("| what, 100 rules and 20 facts | entries | wall | entries/s | entries/s of CPU |\n|---|---|---|---|---|");
    let other = Arc::new(compiled(&self::files(
        "@id(\"other\") @owner(\"dev\") @reason(\"No.\")\nforbid (principal, action == Action::\"fs.delete\", resource);",
    )));
    for id in ["quarter", "half", "whole"] {
        let ids = vec![id.to_owned()];
        measure(&format!("reading `{id}`, nothing else"), || read(dir.path(), id));
        measure(&format!("backtest of `{id}`"), || backtest::backtest(dir.path(), &ids, &other).unwrap().entries);
    }
    measure("reading `whole` into entries", || decode(dir.path(), "whole"));
    let all = ["quarter", "half", "whole"].map(str::to_owned);
    measure("backtest of all three", || backtest::backtest(dir.path(), &all, &other).unwrap().entries);
    measure("level 3 of `whole`: each ruling made again and compared in bytes", || {
        let found = replay::levels(&Ledger::open_read(dir.path()).unwrap(), "whole").unwrap();
        assert_eq!((found.level, found.rulings), (3, found.entries / 4));
        found.entries
    });
}

fn measure(what: &str, mut run: impl FnMut() -> u64) {
    let mut taken: Vec<(f64, f64, u64)> = (0..ROUNDS)
        .map(|_| {
            let (wall, cpu) = (Instant::now(), cpu_s());
            let entries = run();
            (wall.elapsed().as_secs_f64(), cpu_s() - cpu, entries)
        })
        .collect();
    taken.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (wall, cpu, entries) = taken[ROUNDS / 2];
    let rate = |s: f64| entries as f64 / s.max(1e-9);
    println!("| {what} | {entries} | {wall:.2} s | {:.0} | {:.0} |", rate(wall), rate(cpu));
}

/// What this process has had of the processors, seconds.
fn cpu_s() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<f64> =
        stat.rsplit(')').next().unwrap().split_whitespace().map(|f| f.parse().unwrap_or(0.0)).collect();
    (fields[11] + fields[12]) / 100.0
}

fn read(dir: &Path, id: &str) -> u64 {
    let mut entries = Ledger::open_read(dir).unwrap().entries(id, .., Filter::default()).unwrap();
    let mut count = 0;
    while let Some((_, _, raw)) = entries.next_stored().unwrap() {
        count += u64::from(!raw.is_empty());
    }
    count
}

fn decode(dir: &Path, id: &str) -> u64 {
    Ledger::open_read(dir)
        .unwrap()
        .entries(id, .., Filter::default())
        .unwrap()
        .map(|e| u64::from(e.unwrap().seq > 0))
        .sum()
}

fn files(more: &str) -> Sources {
    let mut toml =
        "[charter]\nname = \"bench\"\ndefault = \"allow\"\n[owners]\ndev = [\"user:a\"]\n[facts]\n".to_owned();
    let mut cedar = String::new();
    for n in 0..20 {
        let _ = match n % 4 {
            0 => writeln!(toml, "f{n} = 'once[10m] did fs.write(path like \"secret{n}/**\")'"),
            1 => writeln!(toml, "f{n} = 'count[1h] did process.exec(program: \"tool{n}\") >= 50'"),
            2 => writeln!(
                toml,
                "f{n} = 'no did fs.write(path like \"src{n}/**\") since result process.exec(program: \"cargo\", exit: 0)'"
            ),
            _ => writeln!(toml, "f{n} = 'count did fs.write(path like \"out{n}/**\") >= 1000000'"),
        };
    }
    for n in 0..100 {
        let verb = ["fs.write", "process.exec", "git.push", "net.connect", "fs.delete"][n % 5];
        let fact = if n % 4 == 0 { format!(" && context.fact.f{}", n % 20 / 4 * 4) } else { String::new() };
        let when = match verb {
            "fs.write" | "fs.delete" => format!("resource.path like \"/etc/{n}/*\"{fact}"),
            "process.exec" => format!("resource.program == \"evil{n}\"{fact}"),
            "git.push" => format!("resource.name == \"main{n}\"{fact}"),
            _ => format!("resource.host == \"h{n}.example\"{fact}"),
        };
        let _ = write!(
            cedar,
            "@id(\"r{n}\") @owner(\"dev\") @reason(\"No.\")\nforbid (principal, action == Action::\"{verb}\", resource) when {{ {when} }};\n"
        );
    }
    cedar.push_str(more);
    Sources::from([("charter.toml".to_owned(), toml), ("r.cedar".to_owned(), cedar)])
}

fn compiled(files: &Sources) -> Charter {
    Charter::compile(files).unwrap_or_else(|found| unreachable!("{:?}", found.0)).0
}

/// A session of writes and commands, as the gate records it: attempt, ruling, dispatch, outcome.
fn record(dir: &Path, id: &str, entries: u64, files: &Sources) {
    let ledger = Ledger::open(dir).unwrap();
    let charter = Arc::new(compiled(files));
    let session = Session { workspace: "/w".into(), home: "/home/u".into(), agent: "a".into() };
    let stream = ledger.stream(id).unwrap();
    let mut at_ns = 1_795_230_000_000_000_000;
    let mut put = |kind, actor: &str, cause: Vec<u64>, body: Json| {
        at_ns += 1_000_000;
        (stream.append(Draft { at_ns, kind, actor: actor.to_owned(), cause, body }).unwrap(), at_ns)
    };
    let open = json!({"session": id, "name": id, "agent": "a", "argv": ["a"], "cwd": "/w", "workspace": "/w", "home": "/home/u",
        "charter": {"digest": charter.digest(), "files": files}, "learning": false});
    put(Kind::Open, "user:a", vec![], open);
    let mut kernel = Kernel::new(charter, session);
    let mut seq = 1;
    let mut n = 0_u64;
    while seq + 4 <= entries {
        n += 1;
        let body = match n % 3 {
            0 => {
                json!({"verb": "process.exec", "resource": {"type": "Command", "program": format!("tool{}", n % 40), "argv": ["--check", "src/lib.rs"], "cwd": "/w", "path": "/usr/bin/tool"}, "attrs": {}, "surface": "exec", "agent": "a"})
            }
            _ => {
                json!({"verb": "fs.write", "resource": {"type": "File", "path": format!("/w/src{}/module_{}.rs", n % 25, n % 997)}, "attrs": {"create": true}, "surface": "fs", "agent": "a"})
            }
        };
        let action: Action = serde_json::from_value(body).unwrap();
        let (of, at_ns) = put(Kind::Attempt, "a", vec![1], serde_json::to_value(&action).unwrap());
        let ruling = kernel.step(&Input { seq: of, at_ns, event: Event::Attempt(action) }).pop().unwrap();
        assert_eq!(ruling.verdict, Verdict::Allow, "{ruling:?}");
        put(Kind::Ruling, "kernel", vec![of], serde_json::to_value(&ruling).unwrap());
        let (dispatch, at_ns) = put(Kind::Dispatch, "gate", vec![of], json!({"of": of}));
        kernel.step(&Input { seq: dispatch, at_ns, event: Event::Dispatch { of } });
        let (outcome, at_ns) = put(Kind::Outcome, "gate", vec![of], json!({"of": of, "ok": true, "exit": 0}));
        let attrs = BTreeMap::from([("exit".to_owned(), Value::Long(0))]);
        kernel.step(&Input { seq: outcome, at_ns, event: Event::Outcome { of, ok: true, attrs } });
        seq = outcome;
    }
    stream.flush().unwrap();
}
