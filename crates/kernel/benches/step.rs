//! `step()` at 10, 100 and 1,000 rules with 20 facts, beside bare Cedar on the same rules, unsliced, in the same run; and at
//! 100 rules after a million events (`FLYBALL_BENCH_EVENTS` asks for more).
//!
//! Prints p50 and p99 of single decisions before criterion's own numbers: the aim is a p50 below 10 us and a p99 below 50
//! us at 100 rules, and at 1,000 not above three times that. A tail on a busy machine is the scheduler's, not the kernel's:
//! read it beside the one of bare Cedar.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a bench"
)]

use cedar_policy::{Authorizer, Context, Entities, Entity, EntityUid, Request, RestrictedExpression as Value};
use criterion::{Criterion, criterion_group, criterion_main};
use flyball_kernel::{Action, Charter, Event, Input, Kernel, Resource, Session, Sources, Surface, Verdict};
use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

const VERBS: [&str; 10] = [
    "fs.read",
    "fs.write",
    "fs.delete",
    "fs.move",
    "process.exec",
    "net.connect",
    "git.push",
    "deploy.apply",
    "dependency.add",
    "model.call",
];

/// 100 rules over ten verbs, a fifth of them on a whole group, and 20 facts, each read by some rule.
fn sources(rules: usize) -> Sources {
    let mut toml = "[charter]\nname = \"bench\"\n[owners]\ndev = [\"user:a\"]\n[facts]\n".to_owned();
    for n in 0..20 {
        let formula = match n % 5 {
            0 => format!("once did fs.write(path like \"src/f{n}/**\")"),
            1 => format!(
                "no did fs.write(path like \"src/**\") since result process.exec(program: \"cargo\", argv has \"t{n}\", exit: 0)"
            ),
            2 => format!("count[{}m] did fs.delete >= 50", n + 1),
            3 => "once did fs.read(path: $path)".to_owned(),
            _ => format!("once[{}m] attempt git.push(name: \"b{n}\")", n + 1),
        };
        writeln!(toml, "f{n} = '{formula}'").unwrap();
    }
    let mut cedar = "@id(\"all\") @owner(\"dev\") @reason(\"r\") permit (principal, action, resource);\n".to_owned();
    for n in 1..rules {
        let scope = if n % 5 == 0 {
            format!("action in Action::\"{}\"", VERBS[n % 10].split('.').next().unwrap())
        } else {
            format!("action == Action::\"{}\"", VERBS[n % 10])
        };
        let test = match n % 3 {
            0 => format!("context.fact.f{} && context.surface == \"sdk\"", n % 20),
            1 => format!("context.surface == \"x{n}\" || context.consequence == \"y{n}\""),
            _ => format!("principal.name == \"agent{n}\" && !context.fact.f{}", n % 20),
        };
        writeln!(
            cedar,
            "@id(\"r{n}\") @owner(\"dev\") @reason(\"r\") forbid (principal, {scope}, resource) when {{ {test} }};"
        )
        .unwrap();
    }
    Sources::from([("charter.toml".to_owned(), toml), ("rules.cedar".to_owned(), cedar)])
}

fn kernel(charter: &Arc<Charter>) -> Kernel {
    let session = Session { workspace: "/w".into(), home: "/home/u".into(), agent: "claude".into() };
    Kernel::new(Arc::clone(charter), session)
}

/// One governed write: attempt, dispatch, outcome. Gives how long the attempt's decision took.
fn write(kernel: &mut Kernel, seq: &mut u64, actions: &[Action]) -> Duration {
    let action = actions[usize::try_from(*seq).unwrap() / 3 % actions.len()].clone();
    let of = *seq;
    let at_ns = |seq: u64| seq * 1_000_000;
    let input = Input { seq: of, at_ns: at_ns(of), event: Event::Attempt(action) };
    let start = Instant::now();
    let rulings = kernel.step(black_box(&input));
    let took = start.elapsed();
    assert_eq!(rulings[0].verdict, Verdict::Allow, "{rulings:#?}");
    kernel.step(&Input { seq: of + 1, at_ns: at_ns(of + 1), event: Event::Dispatch { of } });
    let outcome = Event::Outcome { of, ok: true, attrs: [].into() };
    kernel.step(&Input { seq: of + 2, at_ns: at_ns(of + 2), event: outcome });
    *seq += 3;
    took
}

fn request() -> (Request, Entities) {
    let uid = |text: &str| text.parse::<EntityUid>().unwrap();
    let text = |s: &str| Value::new_string(s.to_owned());
    let principal = uid("Agent::\"claude\"");
    let resource = uid("File::\"/w/src/a.rs\"");
    let attrs =
        |pairs: &[(&str, &str)]| pairs.iter().map(|(k, v)| ((*k).to_owned(), text(v))).collect::<HashMap<_, _>>();
    let file = [("path", "/w/src/a.rs"), ("rel", "src/a.rs"), ("name", "a.rs"), ("zone", "workspace")];
    let entities = Entities::from_entities(
        [
            Entity::new(principal.clone(), attrs(&[("name", "claude")]), HashSet::new()).unwrap(),
            Entity::new(resource.clone(), attrs(&file), HashSet::new()).unwrap(),
            Entity::new_no_attrs(uid("Action::\"fs.write\""), HashSet::from([uid("Action::\"fs\"")])),
            Entity::new_no_attrs(uid("Action::\"fs\""), HashSet::from([uid("Action::\"any\"")])),
            Entity::new_no_attrs(uid("Action::\"any\""), HashSet::new()),
        ],
        None,
    )
    .unwrap();
    let facts = (0..20).map(|n| (format!("f{n}"), Value::new_bool(false)));
    let context = Context::from_pairs([
        ("fact".to_owned(), Value::new_record(facts).unwrap()),
        ("attrs".to_owned(), Value::new_record([]).unwrap()),
        ("autonomy".to_owned(), Value::new_long(2)),
        ("consequence".to_owned(), text("low")),
        ("reversibility".to_owned(), text("compensatable")),
        ("surface".to_owned(), text("fs")),
        ("detected".to_owned(), Value::new_set([])),
        ("opaque".to_owned(), Value::new_bool(false)),
    ])
    .unwrap();
    (Request::new(principal, uid("Action::\"fs.write\""), resource, context, None).unwrap(), entities)
}

fn percentiles(name: &str, mut took: Vec<Duration>) {
    took.sort_unstable();
    let at = |part: usize| took[took.len() * part / 1000].as_nanos();
    println!("{name}: p50 {} ns, p99 {} ns, p99.9 {} ns over {}", at(500), at(990), at(999), took.len());
}

fn step(c: &mut Criterion) {
    let actions: Vec<Action> = (0..500)
        .map(|n| Action::new("fs.write", Resource::file(&format!("/w/src/d{}/f{n}.rs", n % 30)), Surface::Fs).unwrap())
        .collect();
    let authorizer = Authorizer::new();
    let mut group = c.benchmark_group("decide");
    for rules in [10, 100, 1_000] {
        let charter = Arc::new(Charter::compile(&sources(rules)).unwrap_or_else(|e| panic!("{e:#?}")).0);
        let (mut kernel, mut seq) = (kernel(&charter), 1);
        let measure = |name: &str, kernel: &mut Kernel, seq: &mut u64| {
            for _ in 0..1_000 {
                write(kernel, seq, &actions);
            }
            percentiles(name, (0..20_000).map(|_| write(kernel, seq, &actions)).collect());
        };
        measure(&format!("step, {rules} rules and 20 facts"), &mut kernel, &mut seq);
        let (request, entities) = request();
        let bare = || {
            let start = Instant::now();
            black_box(authorizer.is_authorized(black_box(&request), charter.policy_set(), &entities));
            start.elapsed()
        };
        percentiles(&format!("bare cedar, the same {rules} rules"), (0..2_000).map(|_| bare()).collect());
        if rules != 100 {
            snapshots(&charter, &kernel, &format!("{rules} rules, after {seq} events"));
        }
        if rules == 100 {
            let events: u64 =
                std::env::var("FLYBALL_BENCH_EVENTS").ok().and_then(|n| n.parse().ok()).unwrap_or(1_000_000);
            history(&mut kernel, &mut seq, events);
            let name = format!("step, {rules} rules and 20 facts, after {seq} events");
            measure(&name, &mut kernel, &mut seq);
            snapshots(&charter, &kernel, &format!("after {seq} events"));
        }
        group.bench_function(format!("step, {rules} rules"), |b| {
            b.iter_custom(|n| (0..n).map(|_| write(&mut kernel, &mut seq, &actions)).sum());
        });
        group.bench_function(format!("bare cedar, {rules} rules"), |b| {
            b.iter(|| authorizer.is_authorized(black_box(&request), charter.policy_set(), &entities));
        });
    }
    group.finish();
}

/// Compiles each nine times, and tells the median.
fn compile(_: &mut Criterion) {
    for rules in [10, 100, 1_000] {
        let sources = sources(rules);
        let mut took = Vec::new();
        for _ in 0..9 {
            let start = Instant::now();
            drop(black_box(Charter::compile(black_box(&sources)).unwrap_or_else(|e| panic!("{e:#?}"))));
            took.push(start.elapsed());
        }
        took.sort_unstable();
        println!("compile, {rules} rules and 20 facts: {:.1} ms", took[4].as_secs_f64() * 1e3);
    }
}

/// What a snapshot of this kernel is, and what it takes to write and to read.
fn snapshots(charter: &Arc<Charter>, kernel: &Kernel, name: &str) {
    let start = Instant::now();
    let bytes = kernel.snapshot();
    let wrote = start.elapsed();
    let start = Instant::now();
    let restored = Kernel::restore(Arc::clone(charter), &bytes).unwrap();
    let read = start.elapsed();
    assert_eq!(restored.snapshot(), bytes);
    let ms = |took: Duration| took.as_secs_f64() * 1e3;
    println!("snapshot, {name}: {} bytes, written in {:.1} ms, restored in {:.1} ms", bytes.len(), ms(wrote), ms(read));
}

/// The same charters with ten rules that do match the attempt, by scope, by conditions and by facts: five that permit and five
/// that forbid, so that the ruling gives five reasons. What of a charter matches one action doesn't grow with the charter.
fn refused(_: &mut Criterion) {
    let action = Action::new("fs.write", Resource::file("/w/src/d1/f1.rs"), Surface::Fs).unwrap();
    for rules in [10, 100, 1_000] {
        let mut files = sources(rules.max(11) - 10);
        let cedar = files.get_mut("rules.cedar").unwrap();
        for n in 0..5 {
            let head = |id: &str| format!("@id(\"{id}{n}\") @owner(\"dev\") @reason(\"r\")");
            writeln!(
                cedar,
                "{} permit (principal, action in Action::\"fs\", resource) when {{ resource.zone == \"workspace\" && context.autonomy > {n} - 4 }};",
                head("may")
            )
            .unwrap();
            writeln!(
                cedar,
                "{} forbid (principal, action == Action::\"fs.write\", resource is File) when {{ resource.path like \"/w/src/*\" && resource.name != \"x{n}\" }} unless {{ context.fact.f{} }};",
                head("not"),
                [0, 2, 3, 4, 5][n]
            )
            .unwrap();
        }
        let charter = Arc::new(Charter::compile(&files).unwrap_or_else(|e| panic!("{e:#?}")).0);
        let (mut kernel, mut seq) = (kernel(&charter), 0);
        let mut ask = || {
            seq += 1;
            let input = Input { seq, at_ns: seq * 1_000_000, event: Event::Attempt(action.clone()) };
            let start = Instant::now();
            let rulings = kernel.step(black_box(&input));
            let took = start.elapsed();
            assert_eq!((rulings[0].verdict, rulings[0].reasons.len()), (Verdict::Deny, 5), "{rulings:#?}");
            took
        };
        for _ in 0..1_000 {
            ask();
        }
        let took = (0..20_000).map(|_| ask()).collect();
        percentiles(&format!("step, {rules} rules and 20 facts, refused by five of ten that match"), took);
        let (request, entities) = request();
        let authorizer = Authorizer::new();
        let bare = || {
            let start = Instant::now();
            black_box(authorizer.is_authorized(black_box(&request), charter.policy_set(), &entities));
            start.elapsed()
        };
        percentiles("bare cedar, the same rules", (0..1_000).map(|_| bare()).collect());
    }
}

/// Lets what the facts are of happen: writes, deletions, programs and reads of 50,000 files.
fn history(kernel: &mut Kernel, seq: &mut u64, events: u64) {
    let end = *seq + events;
    let exec = |n: u64| {
        let argv = vec![format!("t{}", n % 20)];
        let command = Resource::new(flyball_kernel::ResourceKind::Command).with("program", "cargo");
        Action::new("process.exec", command.and_then(|c| c.with("argv", argv)).unwrap(), Surface::Exec).unwrap()
    };
    let file = |verb: &str, path: String| Action::new(verb, Resource::file(&path), Surface::Fs).unwrap();
    for n in 0.. {
        if *seq >= end {
            return;
        }
        let action = match n % 10 {
            0 => exec(n),
            1 => file("fs.delete", format!("/w/d{}", n % 100)),
            2..5 => file("fs.read", format!("/w/r{}", n % 50_000)),
            _ => file("fs.write", format!("/w/o{}", n % 50_000)),
        };
        let of = *seq;
        let outcome = Event::Outcome { of, ok: true, attrs: [("exit".to_owned(), 0i64.into())].into() };
        for event in [Event::Attempt(action), Event::Dispatch { of }, outcome] {
            kernel.step(&Input { seq: *seq, at_ns: *seq * 1_000_000, event });
            *seq += 1;
        }
    }
}

/// A thousand rules of one verb that an attempt meets: that all match, that no index leaves out, and that are like what
/// charters say of paths. Each beside bare Cedar.
fn crowded(_: &mut Criterion) {
    let action = [Action::new("fs.write", Resource::file("/w/src/d1/f1.rs"), Surface::Fs).unwrap()];
    let (request, entities) = request();
    type Body = fn(usize) -> String;
    let shapes: [(&str, &str, Body); 4] = [
        ("match, all of them,", "permit", |_| "resource.zone == \"workspace\"".to_owned()),
        ("can't be left out by an index", "forbid", |n| format!("context.autonomy > {}", n + 5)),
        ("look for a text within the path", "forbid", |n| format!("resource.path like \"*/dir{n}/*\"")),
        ("ask how the path ends", "forbid", |n| format!("resource.path like \"*.ext{n}\"")),
    ];
    for (name, effect, body) in shapes {
        let mut files = sources(1);
        let rules = files.get_mut("rules.cedar").unwrap();
        for n in 0..1_000 {
            let head = format!("@id(\"c{n}\") @owner(\"dev\") @reason(\"r\") {effect}");
            writeln!(rules, "{head} (principal, action == Action::\"fs.write\", resource) when {{ {} }};", body(n))
                .unwrap();
        }
        let charter = Arc::new(Charter::compile(&files).unwrap_or_else(|e| panic!("{e:#?}")).0);
        let (mut kernel, mut seq) = (kernel(&charter), 1);
        for _ in 0..500 {
            write(&mut kernel, &mut seq, &action);
        }
        let took = (0..5_000).map(|_| write(&mut kernel, &mut seq, &action)).collect();
        percentiles(&format!("step, 1,000 rules of its verb that {name}"), took);
        let authorizer = Authorizer::new();
        let bare = || {
            let start = Instant::now();
            black_box(authorizer.is_authorized(black_box(&request), charter.policy_set(), &entities));
            start.elapsed()
        };
        percentiles("bare cedar, the same rules", (0..500).map(|_| bare()).collect());
    }
}

criterion_group!(benches, compile, step, refused, crowded);
criterion_main!(benches);
