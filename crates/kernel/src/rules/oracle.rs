//! Cedar's own authorizer against what is compiled of the same rules: random charters, random actions.
//!
//! `FLYBALL_ORACLE_CASES` says how many charters; `cargo xtask oracle cedar` runs the long form.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use super::node::{Arith, Node, Order, SetTest, TextTest};
use crate::charter::{Charter, RuleEffect, Sources};
use crate::request::{Judged, Matched, ask, request};
use crate::ruling::Governance;
use crate::session::Session;
use crate::vocabulary::{Consequence, Reversibility, Verb, verbs};
use crate::{Action, Diagnostics, Resource, ResourceKind, Surface, Value};
use cedar_policy::{Decision, PolicySet, Schema, ValidationMode, Validator};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use std::cell::RefCell;

/// 2026-11-21T12:34:00Z, a Saturday.
const AT_NS: u64 = 1_795_264_440_000_000_000;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

const TOML: &str = r#"
[charter]
name = "oracle"
[owners]
dev = ["user:alice"]
[facts]
flag = 'once did fs.write'
seen = 'once did fs.read(path: $path)'
many = 'count did fs.delete'
total = 'sum of bytes did fs.write'
"#;

/// Text that patterns and paths share pieces of.
fn word() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["", "a", "b", "ab", "src", "src/a", "/w/src/a", ".git", "main", "x*y", "é", "/w", "443"])
        .prop_map(str::to_owned)
}

fn literal() -> impl Strategy<Value = String> {
    word().prop_map(|w| format!("\"{w}\""))
}

fn number() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => (-3..5i64).prop_map(|n| format!("({n})")),
        1 => Just(i64::MAX.to_string()),
        1 => Just(format!("({})", i64::MIN)),
    ]
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        2 => literal(),
        6 => prop::sample::select(vec![
            "resource.path", "resource.rel", "resource.zone", "resource.name", "principal.name", "context.surface",
            "context.consequence", "context.reversibility", "context.attrs.kind", "context.attrs.reader",
            "resource.program", "resource.cwd", "resource.host", "context.attrs.to",
        ]).prop_map(str::to_owned),
    ]
}

fn long() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        number(),
        prop::sample::select(vec![
            "context.autonomy",
            "context.time.hour",
            "context.time.weekday",
            "context.time.month",
            "context.fact.many",
            "context.fact.total",
            "context.attrs.bytes",
            "resource.port",
            "context.attrs.mode",
            "context.time.hour",
            "context.time.weekday",
        ])
        .prop_map(str::to_owned),
    ];
    leaf.prop_recursive(2, 6, 2, |inner| {
        let op = prop::sample::select(vec!["+", "-", "*"]);
        prop_oneof![
            4 => (inner.clone(), op, inner.clone()).prop_map(|(a, op, b)| format!("({a} {op} {b})")),
            1 => inner.prop_map(|a| format!("(-({a}))")),
        ]
    })
}

fn set() -> impl Strategy<Value = String> {
    let literals = prop::collection::vec(literal(), 0..4).prop_map(|items| format!("[{}]", items.join(", ")));
    let mixed = prop::collection::vec(prop_oneof![text(), long()], 0..3).prop_map(|i| format!("[{}]", i.join(", ")));
    prop_oneof![
        3 => literals,
        1 => mixed,
        3 => prop::sample::select(vec![
            "resource.argv", "context.attrs.labels", "context.attrs.implies", "context.attrs.imports", "context.detected",
        ]).prop_map(str::to_owned),
    ]
}

fn entity() -> impl Strategy<Value = String> {
    prop::sample::select(vec![
        "Agent::\"claude\"",
        "Agent::\"a\"",
        "File::\"/w/src/a\"",
        "File::\"/w\"",
        "Command::\"ab\"",
        "Action::\"fs.write\"",
        "Action::\"fs.read\"",
        "Action::\"fs\"",
        "Action::\"any\"",
        "Endpoint::\"a:443\"",
    ])
    .prop_map(str::to_owned)
}

fn condition() -> impl Strategy<Value = String> {
    let var = || prop::sample::select(vec!["principal", "action", "resource"]);
    let attr =
        prop::sample::select(vec!["kind", "bytes", "create", "labels", "reader", "implies", "mode", "to", "imports"]);
    let flag = prop::sample::select(vec![
        "context.fact.flag",
        "context.fact.seen",
        "context.opaque",
        "context.attrs.create",
        "context.attrs.recursive",
        "true",
        "false",
    ]);
    let pattern =
        prop::collection::vec(prop_oneof![word().prop_map(|w| w.replace('*', "\\*")), Just("*".to_owned())], 0..4)
            .prop_map(|parts| format!("\"{}\"", parts.concat()));
    let tail =
        prop::sample::select(vec!["a", "b", "ab", ".git", "é", "443", "/a", "/src/*", "/w/*", "*/u/*", "/.git/*b"]);
    let order = prop::sample::select(vec!["<", "<=", ">", ">="]);
    let equal = || prop::sample::select(vec!["==", "!="]);
    let leaf = prop_oneof![
        6 => (text(), pattern).prop_map(|(t, p)| format!("{t} like {p}")),
        2 => (text(), tail).prop_map(|(t, p)| format!("{t} like \"*{p}\"")),
        6 => (text(), equal(), text()).prop_map(|(a, op, b)| format!("{a} {op} {b}")),
        4 => (long(), order, long()).prop_map(|(a, op, b)| format!("{a} {op} {b}")),
        2 => (long(), equal(), long()).prop_map(|(a, op, b)| format!("{a} {op} {b}")),
        4 => (set(), text()).prop_map(|(s, t)| format!("{s}.contains({t})")),
        2 => (set(), long()).prop_map(|(s, t)| format!("{s}.contains({t})")),
        3 => (set(), prop::sample::select(vec!["containsAll", "containsAny"]), set()).prop_map(|(a, op, b)| format!("{a}.{op}({b})")),
        1 => (set(), equal(), set()).prop_map(|(a, op, b)| format!("{a} {op} {b}")),
        1 => set().prop_map(|s| format!("{s}.isEmpty()")),
        6 => flag.prop_map(str::to_owned),
        2 => attr.clone().prop_map(|a| format!("context.attrs has {a}")),
        3 => attr.prop_map(|a| format!("(context.attrs has {a} && context.attrs.{a} == context.attrs.{a})")),
        1 => Just("(context.attrs has create && context.attrs.create)".to_owned()),
        1 => Just("(context.attrs has kind && context.attrs.kind like \"a*\")".to_owned()),
        1 => Just("context has attrs.bytes".to_owned()),
        1 => prop::sample::select(vec!["resource has rel", "resource has argv", "context.fact has flag"]).prop_map(str::to_owned),
        2 => (var(), entity()).prop_map(|(v, e)| format!("{v} == {e}")),
        1 => (entity(), var()).prop_map(|(e, v)| format!("{e} != {v}")),
        2 => (var(), entity()).prop_map(|(v, e)| format!("{v} in {e}")),
        1 => (var(), entity(), entity()).prop_map(|(v, e, f)| format!("{v} in [{e}, {f}]")),
        1 => prop::sample::select(vec!["resource is File", "principal is Agent", "resource is Command", "resource is File in File::\"/w\""]).prop_map(str::to_owned),
        1 => text().prop_map(|t| format!("(if context.opaque then {t} else \"a\") like \"*a\"")),
        1 => (any::<bool>(), any::<bool>()).prop_map(|(a, b)| format!("{a} == {b}")),
        // What only Cedar reads.
        1 => prop::sample::select(vec![
            "{a: resource.path}.a == \"/w\"", "principal == resource", "principal has name", "principal has other", "context has time",
            "principal in resource", "[principal, resource].contains(principal)", "[[1], []].contains([1])", "[1, \"a\"].containsAny([\"a\"])",
            "principal is Agent in Agent::\"a\"", "[Agent::\"a\"].contains(principal)", "context.attrs == {}", "context.time == context.time",
            "resource.path.contains(\"a\")", "principal.path == \"a\"", "resource.nope == \"a\"", "File::\"/w\".path == \"a\"",
            "\"a\" like \"a*\"", "action is Action", "action has name", "!(1 + 1)", "-resource.path == 1", "context.fact has other",
        ]).prop_map(str::to_owned),
        // Types confused.
        1 => (text(), long()).prop_map(|(a, b)| format!("{a} < {b}")),
        1 => (long(), text()).prop_map(|(a, b)| format!("{a} == {b}")),
        1 => text(),
        1 => long().prop_map(|n| format!("{n}.contains(1)")),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        let many = || prop::collection::vec(inner.clone(), 2..5);
        prop_oneof![
            5 => many().prop_map(|all| format!("({})", all.join(" && "))),
            5 => many().prop_map(|all| format!("({})", all.join(" || "))),
            3 => inner.clone().prop_map(|a| format!("!({a})")),
            1 => (inner.clone(), inner.clone(), inner.clone()).prop_map(|(a, b, c)| format!("(if {a} then {b} else {c})")),
        ]
    })
}

fn policy() -> impl Strategy<Value = String> {
    let principal = prop_oneof![
        8 => Just("principal"), 1 => Just("principal == Agent::\"claude\""), 1 => Just("principal is Agent"),
        1 => Just("principal in Agent::\"a\""),
    ];
    let action = prop::sample::select(vec![
        "action",
        "action",
        "action == Action::\"fs.write\"",
        "action in Action::\"fs\"",
        "action in [Action::\"fs.write\", Action::\"process.exec\"]",
        "action in [Action::\"fs\", Action::\"net\"]",
        "action in Action::\"any\"",
        "action == Action::\"process.exec\"",
        "action == Action::\"fs\"",
    ]);
    let resource = prop_oneof![
        8 => Just("resource"), 1 => Just("resource is File"), 1 => Just("resource == File::\"/w/src/a\""), 1 => Just("resource in File::\"/w\""),
        1 => Just("resource is Command"),
    ];
    let clauses = prop::collection::vec((any::<bool>(), condition()), 0..3);
    (any::<bool>(), principal, action, resource, clauses).prop_map(|(is_forbid, p, a, r, clauses)| {
        let effect = if is_forbid { "forbid" } else { "permit" };
        let mut out = format!("{effect} ({p}, {a}, {r})");
        for (is_when, body) in clauses {
            write!(out, " {} {{ {body} }}", if is_when { "when" } else { "unless" }).unwrap();
        }
        out + ";"
    })
}

fn action() -> impl Strategy<Value = Action> {
    let file = (
        prop::sample::select(vec!["fs.write", "fs.read", "fs.delete", "fs.chmod", "fs.move"]),
        prop::sample::select(vec!["/w/src/a", "/w", "/w/.git", "/etc/x", "/home/u/ab", "/w/x*y", "/w/é", ""]),
    )
        .prop_map(|(verb, path)| Action::new(verb, Resource::file(path), Surface::Fs).unwrap());
    let exec = (word(), prop::collection::vec(word(), 0..3)).prop_map(|(program, argv)| {
        let command =
            Resource::new(ResourceKind::Command).with("program", program).unwrap().with("argv", argv).unwrap();
        Action::new("process.exec", command, Surface::Exec).unwrap()
    });
    let connect = (word(), prop::sample::select(vec![443i64, 0, 1])).prop_map(|(host, port)| {
        let place = Resource::new(ResourceKind::Endpoint).with("host", host).unwrap().with("port", port).unwrap();
        Action::new("net.connect", place, Surface::Net).unwrap()
    });
    let attrs = prop::collection::vec(
        (
            prop::sample::select(vec![
                "kind",
                "bytes",
                "create",
                "recursive",
                "labels",
                "reader",
                "opaque",
                "implies",
                "mode",
                "to",
                "imports",
            ]),
            prop_oneof![
                word().prop_map(Value::Str),
                any::<bool>().prop_map(Value::Bool),
                prop_oneof![-3..5i64, Just(i64::MAX)].prop_map(Value::Long),
                prop::collection::vec(word(), 0..3).prop_map(Value::Strs),
            ],
        ),
        0..12,
    );
    let agent = prop::sample::select(vec!["", "a", "claude"]);
    (prop_oneof![4 => file, 2 => exec, 1 => connect], attrs, agent).prop_map(|(mut action, attrs, agent)| {
        for (name, value) in attrs {
            let _ = action.set(name, value);
        }
        action.agent = agent.into();
        action
    })
}

fn sources(policies: &[String]) -> Sources {
    let mut cedar = String::new();
    for (n, policy) in policies.iter().enumerate() {
        writeln!(cedar, "@id(\"r{n}\") @owner(\"dev\") @reason(\"r\") {policy}").unwrap();
    }
    Sources::from([("charter.toml".to_owned(), TOML.to_owned()), ("rules.cedar".to_owned(), cedar)])
}

/// What Cedar says of all rules of the verb, unsliced and whole.
fn cedar(charter: &Charter, judged: &Judged) -> (Matched, Matched) {
    let facts: BTreeSet<usize> = charter.facts.places().map(|(_, place)| place).collect();
    let (request, entities) = request(judged, &facts).unwrap();
    let of = |effect: RuleEffect, wanted: Decision| {
        let mut set = PolicySet::new();
        for policy in charter.policy_set().policies() {
            let rule = charter.rule(policy.id().as_ref()).unwrap();
            if rule.effect == effect {
                set.add(policy.clone()).unwrap();
            }
        }
        ask(&set, &request, &entities, wanted)
    };
    (of(RuleEffect::Forbid, Decision::Deny), of(RuleEffect::Permit, Decision::Allow))
}

#[derive(Debug, Default)]
struct Coverage {
    charters: usize,
    compared: usize,
    matched: usize,
    errors: usize,
    refused: usize,
    plain: usize,
    /// How many rules each kind of node stands in.
    nodes: BTreeMap<&'static str, usize>,
}

/// Every kind of node that the compiler makes, and rules that stay with Cedar.
const NODES: &[&str] = &[
    "cedar's",
    "bool",
    "long",
    "str",
    "texts",
    "set",
    "path",
    "not",
    "and",
    "or",
    "if",
    "text is",
    "text one of",
    "text like",
    "like",
    "eq",
    "less",
    "less or equal",
    "add",
    "sub",
    "mul",
    "neg",
    "contains",
    "contains all",
    "contains any",
    "is empty",
    "has attr",
    "has fact",
    "has field",
    "verbs",
    "kind is",
    "principal is",
    "resource is",
];

/// Adds the kinds of a rule's nodes.
fn kinds(node: &Node, out: &mut BTreeSet<&'static str>) {
    let mut inner: Vec<&Node> = Vec::new();
    out.insert(match node {
        Node::Bool(_) => "bool",
        Node::Long(_) => "long",
        Node::Str(_) => "str",
        Node::Texts(_) => "texts",
        Node::Path(_) => "path",
        Node::HasAttr(_) => "has attr",
        Node::HasFact(_) => "has fact",
        Node::HasField(_) => "has field",
        Node::Verbs(_) => "verbs",
        Node::KindIs(_) => "kind is",
        Node::PrincipalIs(_) => "principal is",
        Node::ResourceIs(..) => "resource is",
        Node::Text(_, tests) => {
            out.extend(tests.iter().map(|test| match test {
                TextTest::Is(_) => "text is",
                TextTest::OneOf(_) => "text one of",
                TextTest::Like(_) => "text like",
            }));
            return;
        }
        Node::Not(a) | Node::Neg(a) | Node::IsEmpty(a) | Node::Like(a, _) => {
            inner.push(a);
            match node {
                Node::Not(_) => "not",
                Node::Neg(_) => "neg",
                Node::IsEmpty(_) => "is empty",
                _ => "like",
            }
        }
        Node::And(all) | Node::Or(all) | Node::Set(all) => {
            inner.extend(all);
            match node {
                Node::And(_) => "and",
                Node::Or(_) => "or",
                _ => "set",
            }
        }
        Node::If(parts) => {
            inner.extend([&parts.0, &parts.1, &parts.2]);
            "if"
        }
        Node::Eq(sides) | Node::Order(_, sides) | Node::Arith(_, sides) | Node::Sets(_, sides) => {
            inner.extend([&sides.0, &sides.1]);
            match node {
                Node::Order(Order::Less, _) => "less",
                Node::Order(Order::LessEq, _) => "less or equal",
                Node::Arith(Arith::Add, _) => "add",
                Node::Arith(Arith::Sub, _) => "sub",
                Node::Arith(Arith::Mul, _) => "mul",
                Node::Sets(SetTest::Contains, _) => "contains",
                Node::Sets(SetTest::ContainsAll, _) => "contains all",
                Node::Sets(SetTest::ContainsAny, _) => "contains any",
                _ => "eq",
            }
        }
    });
    inner.into_iter().for_each(|node| kinds(node, out));
}

fn count_kinds(charter: &Charter, nodes: &mut BTreeMap<&'static str, usize>) {
    let rules = verbs().filter_map(|v| charter.slice(v)).flat_map(|slice| &slice.rules);
    let mut told = BTreeSet::new();
    for rule in rules.filter(|rule| told.insert(&rule.id)) {
        let mut found = BTreeSet::new();
        match &rule.node {
            Some(node) => kinds(node, &mut found),
            None => drop(found.insert("cedar's")),
        }
        found.into_iter().for_each(|kind| *nodes.entry(kind).or_default() += 1);
    }
}

fn runner(short: u32) -> TestRunner {
    let cases = std::env::var("FLYBALL_ORACLE_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(short);
    TestRunner::new(ProptestConfig {
        cases,
        failure_persistence: None,
        max_shrink_iters: 4_000,
        ..ProptestConfig::default()
    })
}

/// Compiles though Cedar's validator would refuse: so that errors of evaluation are reached.
fn unvalidated(policies: &[String]) -> Charter {
    crate::charter::compile_unvalidated(&sources(policies)).unwrap_or_else(|e| panic!("{policies:#?} {e:#?}"))
}

#[test]
fn compiled_rules_say_what_cedar_says() {
    let coverage = RefCell::new(Coverage::default());
    let input = (
        prop::collection::vec(policy(), 1..14),
        prop::collection::vec(action(), 1..6),
        prop::collection::vec(action(), 0..4),
        any::<bool>(),
        0..4i64,
    );
    let check =
        |(policies, actions, history, is_lost, autonomy): (Vec<String>, Vec<Action>, Vec<Action>, bool, i64)| {
            let charter = unvalidated(&policies);
            let session = Session { workspace: "/w".into(), home: "/home/u".into(), agent: "claude".into() };
            let mut facts = charter.facts.clone();
            for (n, action) in history.iter().enumerate() {
                let at = u64::try_from(n).unwrap();
                let values = session.values(action);
                facts.commit(&crate::facts::Occurrence {
                    phase: crate::facts::Phase::Did,
                    verb: action.verb,
                    values: crate::facts::Seen::Live(&values),
                    seq: at,
                    at_ns: at,
                });
            }
            let mut seen = coverage.borrow_mut();
            seen.charters += 1;
            count_kinds(&charter, &mut seen.nodes);
            for action in &actions {
                let values = session.values(action);
                let governance = Governance::of(Consequence::Low, Reversibility::Pure);
                let mut known = facts.known(&values, 100);
                if is_lost {
                    known.lose(0);
                }
                let judged =
                    Judged { action, values: &values, governance: &governance, autonomy, at_ns: AT_NS, facts: &known };
                let ours = charter.slice(action.verb).unwrap().judge(&judged);
                let theirs = cedar(&charter, &judged);
                seen.compared += 1;
                seen.matched += theirs.0.ids.len() + theirs.1.ids.len();
                seen.errors += theirs.0.errors.len() + theirs.1.errors.len();
                prop_assert_eq!(ours, theirs, "{:#?}\n{:#?}", policies, action);
            }
            Ok(())
        };
    runner(150).run(&input, check).unwrap_or_else(|e| panic!("{e}"));
    let seen = coverage.into_inner();
    println!("{seen:#?}");
    let missed: Vec<&&str> = NODES.iter().filter(|kind| !seen.nodes.contains_key(**kind)).collect();
    assert!(missed.is_empty(), "no rule had {missed:?}");
    // Otherwise the test could pass by comparing nothing.
    assert!(
        seen.compared > seen.charters && seen.matched * 5 > seen.compared && seen.errors * 5 > seen.compared,
        "{seen:?}"
    );
}

#[test]
fn what_is_plain_passes_cedars_validator() {
    let coverage = RefCell::new(Coverage::default());
    // All charters have the same facts, and Cedar takes long to read a schema.
    let (schema, _) = Schema::from_cedarschema_str(&unvalidated(&[]).schema_cedar()).unwrap();
    let validator = Validator::new(schema.clone());
    let check = |policies: Vec<String>| {
        let mut seen = coverage.borrow_mut();
        let charter = unvalidated(&policies);
        for policy in charter.policy_set().policies() {
            let mut set = PolicySet::new();
            set.add(policy.clone()).unwrap();
            let found = validator.validate(&set, ValidationMode::Strict);
            let is_clean = found.validation_errors().next().is_none() && found.validation_warnings().next().is_none();
            let slices = || verbs().filter_map(|v| charter.slice(v)).flat_map(|s| &s.rules);
            let Some(rule) = slices().find(|r| r.id == policy.id().to_string()) else { continue };
            seen.refused += usize::from(!is_clean);
            if rule.is_plain() {
                seen.plain += 1;
                prop_assert!(is_clean, "{} is not plain: {:?}", policy, found);
                let envs: BTreeSet<String> =
                    policy.get_valid_request_envs(&schema).map(|e| e.action().id().unescaped().to_owned()).collect();
                let own: BTreeSet<String> = verbs()
                    .filter(|v| charter.slice(*v).unwrap().rules.iter().any(|r| r.id == rule.id))
                    .map(|v: Verb| v.name().to_owned())
                    .collect();
                prop_assert_eq!(envs, own, "{}", policy);
            }
        }
        Ok(())
    };
    runner(40).run(&prop::collection::vec(policy(), 1..20), check).unwrap_or_else(|e| panic!("{e}"));
    let seen = coverage.into_inner();
    assert!(seen.plain > 20 && seen.refused > 20, "{seen:?}");
}

/// Rules that have no errors to tell of are told of none, however many stand beside those that do.
#[test]
fn a_doubtful_rule_is_still_refused() {
    let told = |policies: &[&str]| -> Diagnostics {
        let policies: Vec<String> = policies.iter().map(|p| (*p).to_owned()).collect();
        Charter::compile(&sources(&policies)).unwrap_err()
    };
    let plain = "permit (principal, action in Action::\"fs\", resource) when { resource.zone == \"home\" };";
    let found = told(&[plain, "forbid (principal, action, resource) when { resource.path == \"a\" };"]);
    assert!(found.0.iter().all(|d| d.line == 2), "{found:#?}");
    let found = told(&[plain, "forbid (principal, action in [Action::\"fs\", Action::\"fs.nope\"], resource);"]);
    assert!(found.0.iter().any(|d| d.code == "FB0111" && d.line == 2), "{found:#?}");
}

/// Each operator by itself, on values where a slip would show; random charters rarely come to them undisturbed.
#[test]
fn every_operator_by_itself() {
    let mut policies = Vec::new();
    let mut rule = |body: String| {
        policies.push(format!("permit (principal, action == Action::\"fs.write\", resource) when {{ {body} }};"));
    };
    for n in ["(-1)", "0", "1", "2", "3"] {
        for op in ["<", "<=", ">", ">=", "==", "!="] {
            rule(format!("context.autonomy {op} {n}"));
            rule(format!("!({n} {op} context.autonomy)"));
        }
        for op in ["+", "-", "*"] {
            rule(format!("context.autonomy {op} {n} == 2"));
            rule(format!("({n} {op} {}) < 0", i64::MAX));
        }
        rule(format!("[1, {n}].contains(context.autonomy)"));
    }
    let sets = ["[]", "[\"a\"]", "[\"a\", \"b\"]", "[\"c\"]", "context.attrs.labels", "context.attrs.imports"];
    for a in sets {
        for b in sets {
            for op in ["containsAll", "containsAny"] {
                rule(format!("{a}.{op}({b})"));
            }
            rule(format!("{a} == {b}"));
        }
        rule(format!("{a}.contains(\"b\")"));
        rule(format!("{a}.isEmpty()"));
    }
    for (a, b) in [("true", "false"), ("false", "true"), ("true", "true"), ("context.opaque", "context.fact.flag")] {
        rule(format!("{a} && {b}"));
        rule(format!("{a} || {b}"));
        rule(format!("if {a} then {b} else !{b}"));
    }
    // Rules that can't be left out for their last part, since their first one fails.
    for part in crate::civil::PARTS {
        rule(format!("context.time.{part} > {n}", n = 3));
        rule(format!("context.time.{part} == 11 || [21, 2026].contains(context.time.{part})"));
    }
    rule(format!("context.autonomy + {} > 0 && resource.path == \"/elsewhere\"", i64::MAX));
    rule("context.attrs.kind like \"*\" && resource.path == \"/elsewhere\"".to_owned());
    let charter = unvalidated(&policies);
    let session = Session { workspace: "/w".into(), home: "/home/u".into(), agent: "claude".into() };
    let action = Action::new("fs.write", Resource::file("/w/a"), Surface::Fs).unwrap();
    let list = |items: &[&str]| Value::Strs(items.iter().map(|i| (*i).to_owned()).collect());
    let action = action.with("labels", list(&["b", "a", "b"])).unwrap().with("imports", list(&[])).unwrap();
    let values = session.values(&action);
    let governance = Governance::of(Consequence::Low, Reversibility::Pure);
    for autonomy in 0..4 {
        let known = charter.facts.known(&values, 100);
        let judged =
            Judged { action: &action, values: &values, governance: &governance, autonomy, at_ns: AT_NS, facts: &known };
        let theirs = cedar(&charter, &judged);
        assert!(theirs.1.ids.len() > 40 && !theirs.1.errors.is_empty(), "{theirs:?}");
        assert_eq!(charter.slice(action.verb).unwrap().judge(&judged), theirs);
    }
    // Once it is known to be there, Cedar takes the question for `true`, and its denial for a rule that never applies.
    let twice =
        "forbid (principal, action, resource) when { context.attrs has labels && !(context.attrs has labels) };";
    let found = Charter::compile(&sources(&[twice.to_owned()])).unwrap_err();
    assert!(found.0.iter().any(|d| d.code == "FB0112"), "{found:#?}");
}

/// Cedar's extension types are no part of the vocabulary. Rules that use them with literals are refused, or mean what
/// Cedar says.
#[test]
fn extension_types_are_refused_or_cedars() {
    let action = Action::new("fs.write", Resource::file("/w/a"), Surface::Fs).unwrap();
    let session = Session { workspace: "/w".into(), home: "/home/u".into(), agent: "claude".into() };
    let values = session.values(&action);
    let governance = Governance::of(Consequence::Low, Reversibility::Pure);
    for body in [
        "decimal(\"1.5\").lessThan(decimal(\"2.0\"))",
        "ip(\"10.0.0.1\").isInRange(ip(\"10.0.0.0/8\"))",
        "ip(resource.path).isLoopback()",
        "datetime(\"2024-01-01\") < datetime(\"2025-01-01\")",
        "duration(\"1h\").toMinutes() == 60",
        "decimal(\"nonsense\").lessThan(decimal(\"2.0\"))",
        "nonsense(\"1\")",
        "principal.getTag(\"a\") == \"b\"",
    ] {
        for effect in ["permit", "forbid"] {
            let rule = format!("{effect} (principal, action == Action::\"fs.write\", resource) when {{ {body} }};");
            let Ok((charter, _)) = Charter::compile(&sources(&[rule])) else { continue };
            let known = charter.facts.known(&values, 100);
            let judged = Judged {
                action: &action,
                values: &values,
                governance: &governance,
                autonomy: 2,
                at_ns: AT_NS,
                facts: &known,
            };
            assert_eq!(charter.slice(action.verb).unwrap().judge(&judged), cedar(&charter, &judged), "{body}");
        }
    }
}
