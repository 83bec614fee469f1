//! The order of charters: what is called narrower lets nothing pass, after any history, that the other stops.
//!
//! The long form, with other seeds each round: `FLYBALL_ROUNDS=200 cargo test -p flyball-kernel --test kernel narrower`.

use crate::*;
use flyball_kernel::analysis::{Comparison, Narrower, compare};
use proptest::prelude::*;
use proptest::test_runner::{RngSeed, TestCaseError, TestRunner};
use std::cell::Cell;

fn session() -> Session {
    Session { workspace: "/w".into(), home: "/home/u".into(), agent: "claude".into() }
}

fn pair(a: (&str, &str), b: (&str, &str)) -> (Comparison, Comparison) {
    let (a, b) = (charter(a.0, &format!("{ALL}{}", a.1)), charter(b.0, &format!("{ALL}{}", b.1)));
    (compare(&a, &b, &session()), compare(&b, &a, &session()))
}

/// What a setting says, the looser first: the second is narrower, and the first is not.
#[test]
fn settings_have_an_order() {
    let fact = |text: &str| format!("[facts]\nf = '{text}'\n");
    let forbid =
        "@id(\"f\") @owner(\"dev\") @reason(\"r\") forbid (principal, action, resource) when { context.fact.f };";
    let over =
        "@id(\"f\") @owner(\"dev\") @reason(\"r\") forbid (principal, action, resource) when { context.fact.f > 2 };";
    let obligation = |rest: &str| {
        format!("[[obligation]]\nname = \"o\"\nwhen = 'did fs.write'\nmust = 'did fs.read'\nowner = \"dev\"\n{rest}\n")
    };
    let budget = |rest: &str| format!("[budget.x]\ncount = \"fs.write\"\n{rest}\n");
    let envelope = |rest: &str| format!("[envelope.x]\nof = \"deploy.scale.replicas\"\n{rest}\n");
    let cases: Vec<(String, String, &str)> = vec![
        (budget("limit = 3"), budget("limit = 2"), ""),
        (budget("limit = 3\nper = \"agent\""), budget("limit = 3\nper = \"session\""), ""),
        (budget("limit = 3"), "[budget.x]\ncount = \"fs.*\"\nlimit = 3\n".to_owned(), ""),
        (envelope("max = 9"), envelope("max = 8"), ""),
        (envelope("max = 9"), envelope("max = 9\nmin = 1"), ""),
        (envelope("max = 9\nstep = 4"), envelope("max = 9\nstep = 3"), ""),
        (envelope("step = 4\nper = \"1m\""), envelope("step = 4\nper = \"2m\""), ""),
        (envelope("step = 4"), envelope("step = 4\nper = \"2m\""), ""),
        (envelope("rate = 4\nper = \"1m\""), envelope("rate = 3\nper = \"1m\""), ""),
        (envelope("max = 9\non_breach = \"clamp\""), envelope("max = 9"), ""),
        (envelope("max = 9\non_breach = \"escalate:dev\""), envelope("max = 9"), ""),
        (
            obligation("within = \"5m\"\notherwise = \"pause\""),
            obligation("within = \"4m\"\notherwise = \"pause\""),
            "",
        ),
        (
            obligation("within = \"5m\"\notherwise = \"pause\""),
            obligation("within = \"5m\"\notherwise = \"kill\""),
            "",
        ),
        (fact("once[5m] did fs.write"), fact("once[10m] did fs.write"), forbid),
        (fact("count[5m] did fs.write >= 3"), fact("count[5m] did fs.write >= 2"), forbid),
        (fact("count[5m] did fs.write >= 3"), fact("count[6m] did fs.write >= 3"), forbid),
        (fact("count[5m] did fs.write"), fact("count[6m] did fs.write"), over),
        (fact("not did fs.read since[5m] did fs.write"), fact("not did fs.read since did fs.write"), forbid),
        (
            "[[autonomy.lower]]\nwhen = \"f\"\nto = \"propose\"\n[facts]\nf = 'once[5m] did fs.write'\n[autonomy]\nask = \"dev\"".into(),
            "[[autonomy.lower]]\nwhen = \"f\"\nto = \"observe\"\n[facts]\nf = 'once did fs.write'\n[autonomy]\nask = \"dev\"".into(),
            "",
        ),
        ("".into(), "[[consequence]]\naction = \"fs.write\"\nis = \"critical\"\n".into(), ""),
        (
            "[[governance]]\nconsequence = \"high\"\nreversibility = \"pure\"\ndurable = true\n".into(),
            "[[governance]]\nconsequence = \"medium\"\nreversibility = \"pure\"\ndurable = true\nsnapshot = true\n".into(),
            "",
        ),
        ("".into(), "[require]\ncoverage = [\"git\"]\n".into(), ""),
        ("[require]\ncoverage = [\"git.push\"]\n".into(), "[require]\ncoverage = [\"git\"]\n".into(), ""),
        ("[limits]\npids = 10\n".into(), "[limits]\npids = 9\nmemory = \"1GiB\"\n".into(), ""),
    ];
    for (looser, stricter, rules) in cases {
        let (forth, back) = pair((&looser, rules), (&stricter, rules));
        assert_eq!(forth.is_narrower, Narrower::Proved, "{looser}\n{stricter}\n{forth:#?}");
        assert_eq!(back.is_narrower, Narrower::NotShown, "{looser}\n{stricter}\n{back:#?}");
        assert!(!forth.narrowed.is_empty() || !forth.narrowed_settings.is_empty(), "{looser}\n{stricter}\n{forth:#?}");
    }
}

/// What has no order, or could be a way round one, is never called narrower.
#[test]
fn what_has_no_order_counts_as_wider() {
    let budget = |rest: &str| format!("[budget.x]\n{rest}\n");
    let fact = |text: &str| format!("[facts]\nf = '{text}'\n");
    let read =
        "@id(\"f\") @owner(\"dev\") @reason(\"r\") forbid (principal, action, resource) when { context.fact.f };";
    let owned = |id: &str, by: &str| {
        format!(
            "@id(\"{id}\") @owner(\"{by}\") @reason(\"r\") forbid (principal, action == Action::\"fs.write\", resource);"
        )
    };
    let label = "[[label]]\nname = \"l\"\nowner = \"dev\"\npaths = [\"a/**\"]\n";
    let by_label = "@id(\"f\") @owner(\"dev\") @reason(\"r\") forbid (principal, action == Action::\"net.connect\", resource) unless { context.attrs has labels && context.attrs.labels.contains(\"l\") };";
    let cases: Vec<(String, String, String, String)> = vec![
        // The day's count starts with nothing of this session's in it.
        (
            budget("count = \"fs.write\"\nlimit = 3"),
            budget("count = \"fs.write\"\nlimit = 3\nper = \"day\""),
            "".into(),
            "".into(),
        ),
        (
            budget("count = \"fs.write\"\nlimit = 3"),
            budget("sum = \"fs.write.bytes\"\nlimit = 3"),
            "".into(),
            "".into(),
        ),
        (fact("once did fs.write"), fact("once did fs.read"), read.into(), read.into()),
        (fact("count did fs.write >= 2"), fact("count did fs.write == 2"), read.into(), read.into()),
        (
            fact("max[5m] of bytes did fs.write >= 2"),
            fact("max[6m] of bytes did fs.write >= 2"),
            read.into(),
            read.into(),
        ),
        // Handing a rule to others who may loosen it.
        ("".into(), "".into(), owned("r", "boss"), owned("r", "dev")),
        ("".into(), "".into(), owned("r", "boss"), owned("s", "dev")),
        ("".into(), label.into(), by_label.into(), by_label.into()),
    ];
    for (a, b, first, second) in cases {
        let (forth, _) = pair((&a, &first), (&b, &second));
        assert_eq!(forth.is_narrower, Narrower::NotShown, "{a}{first}\n{b}{second}\n{forth:#?}");
    }
    // Registers that sessions share are found by the charter's name.
    let named = |name: &str| {
        let toml = format!("{HEAD}[budget.x]\ncount = \"fs.write\"\nlimit = 3\nper = \"day\"\n");
        let toml = toml.replace("name = \"test\"", &format!("name = \"{name}\""));
        let files = Sources::from([("charter.toml".to_owned(), toml), ("rules.cedar".to_owned(), ALL.to_owned())]);
        Charter::compile(&files).unwrap().0
    };
    let said = compare(&named("test"), &named("other"), &session());
    assert_eq!(said.is_narrower, Narrower::NotShown, "{said:#?}");
    assert_eq!(compare(&named("test"), &named("test"), &session()).is_narrower, Narrower::Proved);
}

type History = Vec<(usize, u64)>;
type Made = (String, String);

/// Sections and rules of a charter made by chance.
fn made() -> impl Strategy<Value = Made> {
    let minutes = || 1..3_u32;
    let budget = prop::option::of((1..4_u32, 0..3_usize, 0..2_usize)).prop_map(|found| {
        found.map_or(String::new(), |(limit, per, count)| {
            let (per, count) = (["session", "agent", "day"][per], ["fs.write", "fs.*"][count]);
            format!("[budget.b]\ncount = \"{count}\"\nlimit = {limit}\nper = \"{per}\"\n")
        })
    });
    let envelope = prop::option::of((2..5_i32, prop::option::of(1..3_u32), prop::option::of(1..3_u32), 0..2_usize))
        .prop_map(|found| {
            found.map_or(String::new(), |(max, step, per, breach)| {
                let step = step.map_or(String::new(), |s| format!("step = {s}\n"));
                let per = per.map_or(String::new(), |s| format!("per = \"{s}s\"\n"));
                let breach = ["deny", "clamp"][breach];
                format!(
                    "[envelope.e]\nof = \"deploy.scale.replicas\"\nmax = {max}\n{step}{per}on_breach = \"{breach}\"\n"
                )
            })
        });
    let facts = (minutes(), minutes(), 1..4_u32, minutes()).prop_map(|(a, b, n, c)| {
        format!(
            "[facts]\nwrote = 'once[{}s] did fs.write'\nmany = 'count[{}s] did fs.read >= {n}'\nreads = 'count[{}s] did fs.read'\n",
            a * 4,
            b * 6,
            c * 6
        )
    });
    let condition = prop_oneof![
        Just("context.fact.wrote".to_owned()),
        Just("context.fact.many".to_owned()),
        (1..3_u32).prop_map(|n| format!("context.fact.reads > {n}")),
        prop::sample::select(vec!["a*", "*b", "a", "*a*"]).prop_map(|p| format!("resource.rel like \"{p}\"")),
    ];
    let rule = (
        prop::sample::select(vec!["fs.write", "fs.read"]),
        prop::collection::vec(condition, 1..3),
        prop::sample::select(vec!["forbid", "forbid", "@escalate(\"dev\") forbid"]),
    )
        .prop_map(|(verb, all, effect)| {
            let (ask, effect) = effect.split_once(' ').map_or(("", effect), |(ask, effect)| (ask, effect));
            format!(
                "@owner(\"dev\") @reason(\"r\") {ask} {effect} (principal, action == Action::\"{verb}\", resource) when {{ {} }};\n",
                all.join(" && ")
            )
        });
    (budget, envelope, facts, prop::collection::vec(rule, 0..3)).prop_map(|(budget, envelope, facts, rules)| {
        let rules = (0..).zip(rules).map(|(n, rule): (i32, String)| format!("@id(\"r{n}\") {rule}")).collect();
        (format!("{budget}{envelope}{facts}"), rules)
    })
}

/// What happens: which action, how many seconds after the one before.
fn acts() -> impl Strategy<Value = Vec<(usize, u64)>> {
    prop::collection::vec((0..6_usize, 0..4_u64), 0..8)
}

fn act(n: usize) -> Action {
    let scale = |to: i64| {
        Action::new("deploy.scale", Resource::new(ResourceKind::Target), Surface::K8s)
            .unwrap()
            .with("replicas", to)
            .unwrap()
    };
    match n {
        0 => file("fs.write", "/w/a"),
        1 => file("fs.read", "/w/a"),
        2 => file("fs.read", "/w/ab"),
        3 => file("fs.write", "/w/b"),
        n => scale(i64::try_from(n).unwrap() - 2),
    }
}

/// What a charter says of each action after a history, whatever it would have said to that.
fn after(charter: &Charter, history: &[(usize, u64)]) -> Vec<(Verdict, Option<Action>)> {
    let mut free = Run::new(crate::charter("", ALL));
    let mut past = Vec::new();
    let mut tell = |run: &mut Run, event: Event| {
        let rulings = run.step(event.clone());
        past.push(Past { input: Input { seq: run.seq, at_ns: run.now_ns, event }, rulings: rulings.clone() });
        rulings
    };
    for (n, wait) in history {
        free.now_ns += wait * SECOND;
        let of = tell(&mut free, Event::Attempt(act(*n)))[0].of;
        tell(&mut free, Event::Dispatch { of });
        tell(&mut free, Event::Outcome { of, ok: true, attrs: [].into() });
    }
    let kernel = free.kernel.adopted(Arc::new(charter.clone()), past, free.seq + 1, free.now_ns);
    let one = |n: usize| {
        let mut run = Run { kernel: kernel.clone(), seq: free.seq + 1, now_ns: free.now_ns };
        let ruling = run.attempt(&act(n));
        (ruling.verdict, ruling.modified.map(|m| *m))
    };
    (0..7).map(one).collect()
}

#[test]
fn the_order_is_one_and_holds_after_any_history() {
    let rounds: u32 = std::env::var("FLYBALL_ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(1);
    for round in 0..rounds {
        let rng_seed = if rounds == 1 { RngSeed::Random } else { RngSeed::Fixed(u64::from(round)) };
        let config = ProptestConfig { cases: 24, failure_persistence: None, rng_seed, ..ProptestConfig::default() };
        let (proved, wider) = (Cell::new(0), Cell::new(0));
        let input = (made(), made(), made(), prop::collection::vec(acts(), 4));
        let test = |(one, other, third, histories): (Made, Made, Made, Vec<History>)| {
            let make = |(toml, rules): &Made| {
                compile(toml, &format!("{ALL}{rules}")).map_err(|_| TestCaseError::reject("a rule never applies"))
            };
            let mixed = (one.0.clone(), format!("{}{}", one.1, other.1.replace("\"r", "\"s")));
            let all = [make(&one)?.0, make(&other)?.0, make(&third)?.0, make(&mixed)?.0];
            let said: Vec<Vec<bool>> = all
                .iter()
                .map(|a| all.iter().map(|b| compare(a, b, &session()).is_narrower == Narrower::Proved).collect())
                .collect();
            for (a, row) in said.iter().enumerate() {
                prop_assert!(row[a], "not narrower than itself: {one:?}");
                for (b, is_narrower) in row.iter().enumerate().filter(|(b, _)| *b != a) {
                    let count = if *is_narrower { &proved } else { &wider };
                    count.set(count.get() + 1);
                    if !*is_narrower {
                        continue;
                    }
                    let both = said[b][a];
                    // What is narrower than the narrower one is narrower.
                    for (c, then) in said[b].iter().enumerate() {
                        prop_assert!(!*then || row[c], "{a} {b} {c}: {one:#?}\n{other:#?}\n{third:#?}");
                    }
                    for history in &histories {
                        for (n, (was, is)) in
                            (0..).zip(after(&all[a], history).into_iter().zip(after(&all[b], history)))
                        {
                            prop_assert!(
                                is.0 >= was.0,
                                "{:?} after {history:?}: {was:?} {is:?}\n{one:#?}\n{other:#?}",
                                act(n)
                            );
                            prop_assert!(
                                !both || is.0 == was.0,
                                "each narrower than the other: {:?} {was:?} {is:?}",
                                act(n)
                            );
                        }
                    }
                }
            }
            Ok(())
        };
        TestRunner::new(config).run(&input, test).unwrap_or_else(|e| panic!("round {round}: {e}"));
        // Otherwise it could pass by proving nothing.
        assert!(proved.get() > 10 && wider.get() > 10, "round {round}: {} {}", proved.get(), wider.get());
    }
}

/// A charter of the size that `init` writes, against itself with one line changed: all is seen, in few steps.
#[test]
fn charters_of_the_library_are_compared_whole() {
    for name in ["coding", "release", "sre"] {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../charters").join(name);
        let read = |file: &str| std::fs::read_to_string(folder.join(file)).unwrap();
        let files = |rules: String| {
            Sources::from([("charter.toml".to_owned(), read("charter.toml")), ("rules.cedar".to_owned(), rules)])
        };
        let (charter, _) = Charter::compile(&files(read("rules.cedar"))).unwrap();
        let same = compare(&charter, &charter, &session());
        assert_eq!((same.is_narrower, same.widened.len(), same.narrowed.len()), (Narrower::Proved, 0, 0), "{name}");
        let added = format!(
            "{}\n@id(\"added\") @owner(\"{}\") @reason(\"r\") forbid (principal, action in Action::\"fs\", resource) when {{ resource.rel like \"src/*.rs\" && resource.name != \"lib.rs\" }};\n",
            read("rules.cedar"),
            charter.owners().keys().next().unwrap()
        );
        let (more, _) = Charter::compile(&files(added)).unwrap();
        assert_eq!(compare(&charter, &more, &session()).is_narrower, Narrower::Proved, "{name}");
        let back = compare(&more, &charter, &session());
        assert!(back.unknown.is_empty(), "{name}: {:?}", back.unknown);
        assert!(back.widened.iter().all(|e| e.before_by == ["added"]), "{name}: {:#?}", back.widened);
        assert!(name == "sre" || !back.widened.is_empty(), "{name}");
    }
}
