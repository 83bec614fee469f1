//! The monitors against the naive evaluator of `testkit`: random formulas as people write them, random histories.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use super::check::{Checker, Compiled};
use super::monitor::Query;
use super::relation::given;
use super::syntax::Phase;
use super::{Facts, Memory, Monitor, Occurrence, Seen};
use crate::action::{Action, Resource, Surface, Value};
use crate::session::Session;
use crate::vocabulary::{ResourceKind, Verb};
use flyball_testkit::facts::{
    self as plain, Aggregate, Assigned, Atom, Cmp, Formula, Happened, Match, MatchOp, Naive, Number, Operand, Window,
};
use proptest::prelude::*;
use std::collections::BTreeMap;

/// Verbs with two strings and a number, by their names there.
const VERBS: [(&str, &str, &str, &str); 2] =
    [("deploy.scale", "name", "namespace", "replicas"), ("data.select", "name", "schema", "limit")];
const TEXTS: [&str; 3] = ["a", "b", "c"];
const NUMBERS: std::ops::Range<i64> = -2..3;

fn window() -> impl Strategy<Value = Window> {
    prop_oneof![
        3 => Just(Window::ALWAYS),
        3 => (0..12u64).prop_map(|max| Window { min_ns: 0, max_ns: Some(max) }),
        2 => (0..4u64, 0..9u64).prop_map(|(min, more)| Window { min_ns: min, max_ns: Some(min + more) }),
        1 => (1..6u64).prop_map(|min| Window { min_ns: min, max_ns: None }),
    ]
}

fn cmp() -> impl Strategy<Value = Cmp> {
    prop::sample::select(vec![Cmp::Eq, Cmp::Ne, Cmp::Lt, Cmp::Le, Cmp::Gt, Cmp::Ge])
}

fn text_match() -> impl Strategy<Value = (MatchOp, Operand)> {
    let literal = || prop::sample::select(TEXTS.to_vec()).prop_map(|t| Operand::Literal(t.into()));
    let var = || prop::sample::select(vec!["p", "p", "q", "$name"]).prop_map(|v| Operand::Var(v.to_owned()));
    let eq = || prop::sample::select(vec![Cmp::Eq, Cmp::Eq, Cmp::Ne]).prop_map(MatchOp::Compare);
    prop_oneof![
        2 => (eq(), literal()),
        6 => (Just(MatchOp::Compare(Cmp::Eq)), var()),
        1 => (Just(MatchOp::Compare(Cmp::Ne)), var()),
        1 => (Just(MatchOp::Like), Just(Operand::Literal("a*".into()))),
    ]
}

fn number_match() -> impl Strategy<Value = (MatchOp, Operand)> {
    let var = || prop::sample::select(vec!["m", "$replicas"]).prop_map(|v| Operand::Var(v.to_owned()));
    prop_oneof![
        2 => (cmp(), NUMBERS).prop_map(|(cmp, n)| (MatchOp::Compare(cmp), Operand::Literal(n.into()))),
        2 => (Just(MatchOp::Compare(Cmp::Eq)), var()),
        1 => (cmp(), var()).prop_map(|(cmp, var)| (MatchOp::Compare(cmp), var)),
    ]
}

fn atom() -> impl Strategy<Value = Atom> {
    let verb = prop::sample::select(VERBS.to_vec());
    (
        prop::sample::select(vec![plain::Phase::Did, plain::Phase::Result]),
        verb,
        prop::option::weighted(0.7, text_match()),
        prop::option::weighted(0.2, text_match()),
        prop::option::weighted(0.2, number_match()),
    )
        .prop_map(|(phase, (verb, one, other, number), a, b, c)| {
            let named = |attr: &str, found: Option<(MatchOp, Operand)>| {
                found.map(|(op, operand)| Match { attr: attr.to_owned(), op, operand })
            };
            let matches = [named(one, a), named(other, b), named(number, c)].into_iter().flatten().collect();
            Atom { phase, verb: verb.to_owned(), matches }
        })
}

fn number() -> impl Strategy<Value = Number> {
    let aggregate =
        prop::sample::select(vec![Aggregate::Count, Aggregate::Count, Aggregate::Sum, Aggregate::Min, Aggregate::Max]);
    (aggregate, window(), atom(), prop::bool::weighted(0.2)).prop_map(|(aggregate, window, atom, is_by)| {
        let number = VERBS.iter().find(|(verb, ..)| *verb == atom.verb).unwrap().3;
        let of = (aggregate != Aggregate::Count).then(|| number.to_owned());
        let by = if is_by { vec!["name".to_owned()] } else { Vec::new() };
        Number { aggregate, window, of, atom, by }
    })
}

fn compared() -> impl Strategy<Value = Formula> {
    (number(), cmp(), -1..5i64)
        .prop_map(|(number, cmp, limit)| Formula::Compare(Box::new(Formula::Number(number)), cmp, limit))
}

fn formula() -> impl Strategy<Value = Formula> {
    let leaf = prop_oneof![
        8 => atom().prop_map(Formula::Atom),
        2 => compared(),
        1 => Just(Formula::Name("named".to_owned())),
        1 => (cmp(), -1..4i64).prop_map(|(c, n)| Formula::Compare(Box::new(Formula::Name("tally".to_owned())), c, n)),
    ];
    leaf.prop_recursive(4, 16, 3, |inner| {
        let boxed = || inner.clone().prop_map(Box::new);
        let many = || prop::collection::vec(inner.clone(), 2..4);
        prop_oneof![
            4 => (window(), boxed()).prop_map(|(w, f)| Formula::Once(w, f)),
            3 => (boxed(), window(), boxed()).prop_map(|(a, w, b)| Formula::Since(a, w, b)),
            3 => (boxed(), window(), boxed()).prop_map(|(a, w, b)| Formula::Since(Box::new(Formula::Not(a)), w, b)),
            3 => many().prop_map(Formula::And),
            3 => (inner.clone(), boxed()).prop_map(|(a, b)| Formula::And(vec![a, Formula::Not(b)])),
            2 => many().prop_map(Formula::Or),
            2 => boxed().prop_map(Formula::Not),
            1 => (window(), boxed()).prop_map(|(w, f)| Formula::Prev(w, f)),
            1 => (window(), boxed()).prop_map(|(w, f)| Formula::Historically(w, f)),
            1 => (prop::sample::select(vec!["p", "q", "m"]), boxed()).prop_map(|(v, f)| Formula::Exists(vec![v.to_owned()], f)),
        ]
    })
}

fn history() -> impl Strategy<Value = Vec<Happened>> {
    let event = (
        prop::sample::select(vec![plain::Phase::Did, plain::Phase::Result]),
        prop::sample::select(VERBS.to_vec()),
        prop::sample::select(TEXTS.to_vec()),
        prop::sample::select(TEXTS.to_vec()),
        prop::option::weighted(0.9, NUMBERS),
        0..4u64,
    );
    prop::collection::vec(event, 0..14).prop_map(|events| {
        let mut at_ns = 100;
        let happened = |event: Drawn| {
            let (phase, (verb, one, other, number), a, b, n, later) = event;
            at_ns += later;
            let mut attrs: BTreeMap<&'static str, plain::Value> = [(one, a.into()), (other, b.into())].into();
            attrs.extend(n.map(|n| (number, plain::Value::Long(n))));
            Happened { phase, verb, attrs, at_ns }
        };
        events.into_iter().map(happened).collect()
    })
}

/// What an event is drawn as: verb and attributes by [`VERBS`], and how much later than the one before it is.
type Drawn = (
    plain::Phase,
    (&'static str, &'static str, &'static str, &'static str),
    &'static str,
    &'static str,
    Option<i64>,
    u64,
);

/// The facts that others name.
fn named() -> BTreeMap<String, Formula> {
    let atom = |phase, verb: &str, matches: &[(&str, &str)]| {
        let matches = matches.iter().map(|(attr, var)| Match {
            attr: (*attr).to_owned(),
            op: MatchOp::Compare(Cmp::Eq),
            operand: Operand::Var((*var).to_owned()),
        });
        Atom { phase, verb: verb.to_owned(), matches: matches.collect() }
    };
    let did = plain::Phase::Did;
    let once = |window, atom| Formula::Once(window, Box::new(Formula::Atom(atom)));
    let within = |max_ns| Window { min_ns: 0, max_ns: Some(max_ns) };
    let named = Formula::And(vec![
        once(within(5), atom(did, "deploy.scale", &[("name", "$name"), ("namespace", "p")])),
        Formula::Not(Box::new(once(Window::ALWAYS, atom(did, "data.select", &[("name", "p")])))),
    ]);
    let tally = Formula::Number(Number {
        aggregate: Aggregate::Count,
        window: within(6),
        of: None,
        atom: atom(did, "data.select", &[("name", "p"), ("schema", "p")]),
        by: vec!["name".to_owned()],
    });
    [("named".to_owned(), named), ("tally".to_owned(), tally)].into()
}

fn value(plain: &plain::Value) -> Value {
    match plain {
        plain::Value::Long(number) => (*number).into(),
        plain::Value::Str(text) => text.as_str().into(),
        plain::Value::Strs(texts) => texts.clone().into(),
    }
}

fn phase(plain: plain::Phase) -> Phase {
    match plain {
        plain::Phase::Attempt => Phase::Attempt,
        plain::Phase::Did => Phase::Did,
        plain::Phase::Result => Phase::Result,
    }
}

fn action(event: &Happened) -> Action {
    let kind = Verb::named(event.verb).unwrap().spec().resource;
    let mut resource = Resource::new(kind);
    let mut attrs = Vec::new();
    for (name, plain) in &event.attrs {
        if kind.fields().iter().any(|f| f.name == *name) {
            resource = resource.with(name, value(plain)).unwrap();
        } else {
            attrs.push((*name, value(plain)));
        }
    }
    let action = Action::new(event.verb, resource, Surface::Sdk).unwrap();
    attrs.into_iter().fold(action, |action, (name, value)| action.with(name, value).unwrap())
}

/// Compares monitor and naive evaluator before the first event and after each; gives how often the fact held.
fn check(
    formula: &Formula,
    history: &[Happened],
    judged: (&'static str, i64),
    later: u64,
) -> Result<Option<usize>, TestCaseError> {
    let text = formula.to_string();
    let parsed = super::syntax::fact(&text).map_err(|fault| TestCaseError::fail(format!("{text}: {fault:?}")))?;
    let trees = named();
    let facts: BTreeMap<_, _> = trees
        .iter()
        .map(|(name, tree)| (name.clone(), tree.to_string()))
        .map(|(name, text)| (name, (text.clone(), super::syntax::fact(&text).unwrap())))
        .collect();
    let Ok((compiled, dollars)) = Checker::new(&text, &facts).compile("f", &parsed) else { return Ok(None) };
    let Compiled::Formula(mut node) = compiled else { return Ok(None) };
    let mut pruned = node.clone();
    // As the kernel keeps it: told only of events that can change it, asked for no more than the truth.
    let compiled = Compiled::Formula(node.clone());
    let monitor = Monitor::new(compiled, dollars.clone(), 1_000, false);
    let mut kept = Facts::new([("f".to_owned(), monitor)].into());
    let blank = kept.clone();
    let mut live = kept.clone();
    let session = Session { workspace: "/w".to_owned(), home: "/h".to_owned(), agent: "a".to_owned() };
    let target = Resource::new(ResourceKind::Target).with("name", judged.0).unwrap();
    let judged_action = Action::new("deploy.scale", target, Surface::K8s).unwrap().with("replicas", judged.1).unwrap();
    let judged_values = session.values(&judged_action);
    let given = given(&dollars, &judged_values).unwrap();
    let env: Assigned = [("$name".to_owned(), judged.0.into()), ("$replicas".to_owned(), judged.1.into())].into();
    let domain: Vec<plain::Value> =
        TEXTS.iter().map(|t| plain::Value::from(*t)).chain(NUMBERS.map(plain::Value::Long)).collect();
    let mut held = 0;
    for i in 0..=history.len() {
        let mut now = 50;
        if i > 0 {
            let event = &history[i - 1];
            now = event.at_ns;
            let done = action(event);
            let values = session.values(&done);
            let seq = u64::try_from(i).unwrap();
            let event = Occurrence {
                phase: phase(event.phase),
                verb: done.verb,
                values: Seen::Live(&values),
                seq,
                at_ns: event.at_ns,
            };
            node.commit(&event);
            kept.commit(&event);
            live.commit(&event);
            // A snapshot is the same state.
            let written = serde_json::to_string(&kept.memory()).unwrap();
            let memory: Memory = serde_json::from_str(&written).unwrap();
            let mut restored = blank.clone();
            restored.recall(memory).unwrap();
            prop_assert_eq!(serde_json::to_string(&restored.memory()).unwrap(), written);
            kept = restored;
            pruned.expire(now);
            pruned.commit(&event);
        }
        for now in [now, now + later] {
            let query = Query { now_ns: now, given: Some(&given), guard: None };
            let naive = Naive { history: &history[..i], domain: &domain, facts: &trees };
            let want = naive.fact(formula, i, now, &env);
            prop_assert_eq!(node.at(query).holds(), want, "{} after {} events at {}", text, i, now);
            prop_assert_eq!(pruned.at(query), node.at(query), "pruning changed what holds: {}", text);
            prop_assert_eq!(
                kept.value("f", &judged_values, now),
                Ok(Value::Bool(want)),
                "what sleeps was missed: {}",
                text
            );
            prop_assert_eq!(live.value("f", &judged_values, now), Ok(Value::Bool(want)), "from the start on: {}", text);
            held += usize::from(want);
            let (why, _) = if want { super::explain::why(&node, query) } else { super::explain::why_not(&node, query) };
            prop_assert!(why.is_sorted());
            for seq in node.at(query).witnesses().into_iter().chain(why) {
                prop_assert!(seq >= 1 && seq <= u64::try_from(i).unwrap(), "a witness that has not happened");
            }
        }
    }
    Ok(Some(held))
}

/// What the random formulas came to: compiled, and held at least once without always holding.
#[derive(Default)]
struct Coverage {
    seen: usize,
    compiled: usize,
    telling: usize,
}

/// `FLYBALL_ORACLE_CASES` says how many formulas; few by default.
#[test]
fn monitors_agree_with_the_semantics() {
    let cases = std::env::var("FLYBALL_ORACLE_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(1_500);
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        cases,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let coverage = std::cell::RefCell::new(Coverage::default());
    let input = (formula(), history(), (prop::sample::select(TEXTS.to_vec()), NUMBERS), 0..9u64);
    runner
        .run(&input, |(formula, history, judged, later)| {
            coverage.borrow_mut().seen += 1;
            if let Some(held) = check(&formula, &history, judged, later)? {
                let mut coverage = coverage.borrow_mut();
                coverage.compiled += 1;
                coverage.telling += usize::from(held > 0 && held < 2 * (history.len() + 1));
            }
            Ok(())
        })
        .unwrap_or_else(|e| panic!("{e}"));
    let Coverage { seen, compiled, telling } = coverage.into_inner();
    eprintln!("{seen} formulas, {compiled} compiled, {telling} held at some times and not at others");
    // Otherwise the test could pass by comparing nothing.
    assert!(compiled > seen / 5 && telling > seen / 12, "{seen} formulas, {compiled} compiled, {telling} telling");
}

/// Found by a long run.
#[test]
fn what_a_count_names_and_does_not_use_must_be_there() {
    let count = |window, matches| {
        let atom = Atom { phase: plain::Phase::Did, verb: "deploy.scale".to_owned(), matches };
        Formula::Number(Number { aggregate: Aggregate::Count, window, of: None, atom, by: Vec::new() })
    };
    let unbound =
        Match { attr: "replicas".to_owned(), op: MatchOp::Compare(Cmp::Eq), operand: Operand::Var("m".to_owned()) };
    let recent = count(Window { min_ns: 1, max_ns: Some(9) }, Vec::new());
    let all = Formula::Compare(Box::new(count(Window::ALWAYS, vec![unbound])), Cmp::Eq, 2);
    let formula = Formula::And(vec![Formula::Compare(Box::new(recent), Cmp::Eq, 1), Formula::Not(Box::new(all))]);
    let scaled = |at_ns| Happened {
        phase: plain::Phase::Did,
        verb: "deploy.scale",
        attrs: [("name", "a".into()), ("namespace", "a".into())].into(),
        at_ns,
    };
    let held = check(&formula, &[scaled(100), scaled(101)], ("a", 0), 0);
    assert!(matches!(held, Ok(Some(1..))), "{held:?}");
}

/// What docs/facts.md shows compiles.
#[test]
fn the_page_on_facts_shows_facts() {
    let page = include_str!("../../../../docs/facts.md");
    let shown = page.split("```toml").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let toml = format!("[charter]\nname = \"page\"\n{shown}");
    let sources = crate::Sources::from([("charter.toml".to_owned(), toml)]);
    let (charter, _) = crate::Charter::compile(&sources).unwrap_or_else(|found| panic!("{found:?}"));
    assert_eq!(charter.facts().count(), shown.lines().filter(|line| line.contains(" = ")).count());
}

/// What happens in another session counts for facts of the fleet, at the time that it happened, and for no other.
#[test]
fn facts_of_the_fleet_see_other_sessions() {
    let toml = "[charter]\nname = \"c\"\ndefault = \"allow\"\n[owners]\ndev = [\"user:a\"]\n[facts]\n\
        ours = 'once[10s] did deploy.apply(name: $name)'\n\
        all = { is = 'once[10s] did deploy.apply(name: $name)', per = \"fleet\" }\n";
    let rule = |fact: &str| {
        format!(
            "@id(\"{fact}\") @owner(\"dev\") @reason(\"r\") forbid (principal, action == Action::\"deploy.apply\", resource) when {{ context.fact.{fact} }};\n"
        )
    };
    let sources = [("charter.toml".to_owned(), toml.to_owned()), ("r.cedar".to_owned(), rule("ours") + &rule("all"))];
    let (charter, _) = crate::Charter::compile(&sources.into()).unwrap_or_else(|found| panic!("{found:?}"));
    assert!(charter.has_fleet_facts());
    assert!(charter.sees_elsewhere(Phase::Did, Verb::named("deploy.apply").unwrap()));
    assert!(!charter.sees_elsewhere(Phase::Did, Verb::named("fs.read").unwrap()));
    let session = Session { workspace: "/w".to_owned(), home: "/h".to_owned(), agent: "a".to_owned() };
    let mut kernel = crate::Kernel::new(charter.into(), session.clone());
    let target = Resource::new(ResourceKind::Target).with("name", "api").unwrap();
    let apply = Action::new("deploy.apply", target, Surface::K8s).unwrap();
    let second = 1_000_000_000;
    let mut ask = |seq: u64, at_ns: u64, event: crate::Event| {
        let ruling = kernel.step(&crate::Input { seq, at_ns, event }).pop();
        ruling.map(|r| r.reasons.iter().map(|r| (r.rule.clone(), r.witnesses.clone())).collect::<Vec<_>>())
    };
    let elsewhere = crate::Elsewhere {
        stream: "other".to_owned(),
        seq: 7,
        at_ns: 100 * second,
        session,
        phase: Phase::Did,
        action: apply.clone(),
        ok: false,
        attrs: BTreeMap::new(),
    };
    assert_eq!(ask(1, 105 * second, crate::Event::Elsewhere(Box::new(elsewhere))), None);
    let denied = ask(2, 106 * second, crate::Event::Attempt(apply.clone())).unwrap();
    assert_eq!(denied, [("all".into(), vec![1])], "by the entry that tells of it here");
    let later = ask(3, 111 * second, crate::Event::Attempt(apply)).unwrap();
    assert_eq!(later, [("default".into(), vec![])], "as old as it is, not as old as the news");
}
