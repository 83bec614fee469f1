//! The search against what the rules themselves say of many actions.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use super::witness::{Case, SharedFacts, USUAL_NS, supposed};
use super::*;
use crate::Diagnostics;
use crate::charter::{Charter, Sources, example_session};
use crate::{Action, Resource, ResourceKind, Surface, Value, Verdict};
use proptest::prelude::*;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::fmt::Write as _;

const TOML: &str = r#"
[charter]
name = "x"
[owners]
dev = ["user:alice"]
[escalation.dev]
ask = "dev"
within = "5m"
then = "deny"
[escalation.two]
ask = "dev"
within = "5m"
then = "deny"
[facts]
flag = 'once did fs.write'
many = 'count did fs.delete'
"#;

pub(super) fn charter(toml: &str, rules: &[String]) -> Charter {
    compiled(toml, rules).unwrap_or_else(|e| panic!("{rules:#?} {e:#?}"))
}

fn compiled(toml: &str, rules: &[String]) -> Result<Charter, Diagnostics> {
    let mut cedar = String::new();
    for (n, rule) in rules.iter().enumerate() {
        let ask = ["", "@escalate(\"dev\") ", "@escalate(\"two\") "]
            .into_iter()
            .find(|ask| rule.starts_with(ask) && !ask.is_empty())
            .unwrap_or_default();
        writeln!(cedar, "@id(\"r{n}\") @owner(\"dev\") @reason(\"r\") {ask}{}", rule.strip_prefix(ask).unwrap())
            .unwrap();
    }
    let sources =
        Sources::from([("charter.toml".to_owned(), format!("{TOML}{toml}")), ("rules.cedar".to_owned(), cedar)]);
    Charter::compile(&sources).map(|(charter, _)| charter)
}

fn rules(all: &[&str]) -> Vec<String> {
    all.iter().map(|r| (*r).to_owned()).collect()
}

const ALL: &str = "permit (principal, action, resource);";

fn shown(examples: &[Example]) -> Vec<String> {
    examples
        .iter()
        .map(|e| {
            format!(
                "{} {} {:?}{}->{:?}{} {:?}",
                e.action.verb,
                e.action.resource.id(),
                e.before,
                e.before_by.join(","),
                e.after,
                e.after_by.join(","),
                e.facts
            )
        })
        .collect()
}

#[test]
fn a_charter_is_narrower_than_itself_and_than_one_with_less_forbids() {
    let session = example_session();
    let a = charter(
        "",
        &rules(&[
            ALL,
            "forbid (principal, action in Action::\"fs\", resource) when { resource.rel like \"src/*\" && context.attrs has labels && context.attrs.labels.contains(\"x\") };",
        ]),
    );
    let same = compare(&a, &a, &session);
    assert_eq!((same.is_narrower, same.widened.len(), same.narrowed.len()), (Narrower::Proved, 0, 0));
    let b = charter(
        "",
        &rules(&[
            ALL,
            "forbid (principal, action in Action::\"fs\", resource) when { resource.rel like \"s*c/*\" && context.attrs has labels && context.attrs.labels.contains(\"x\") };",
        ]),
    );
    let forth = compare(&a, &b, &session);
    assert_eq!(forth.is_narrower, Narrower::Proved, "{forth:#?}");
    assert!(forth.narrowed.len() == 1 && forth.narrowed[0].also.len() == 5, "{forth:#?}");
    assert_eq!(shown(&forth.narrowed), ["fs.read /workspace/sc/x Allowr0->Denyr1 {}"]);
    let back = compare(&b, &a, &session);
    assert_eq!(back.is_narrower, Narrower::NotShown);
    assert_eq!(
        shown(&back.widened),
        shown(&forth.narrowed).iter().map(|s| s.replace("Allowr0->Denyr1", "Denyr1->Allowr0")).collect::<Vec<_>>()
    );
}

/// Every rule of these is valid, and tests share values, so that they meet.
fn condition() -> impl Strategy<Value = String> {
    let word = || prop::sample::select(vec!["a", "ab", "src", "src/a", ".", "x", "b"]);
    let pattern =
        prop::sample::select(vec!["a*", "*a", "src/*", "*/a", "*b*", "a", "*", "*/.git/*", "/workspace/*", "a*b"]);
    let text = || prop::sample::select(vec!["resource.path", "resource.rel", "resource.name"]);
    let leaf = prop_oneof![
        4 => (text(), pattern).prop_map(|(t, p)| format!("{t} like \"{p}\"")),
        3 => (text(), word()).prop_map(|(t, w)| format!("{t} == \"{w}\"")),
        2 => prop::sample::select(vec!["workspace", "home", "temp", "system"]).prop_map(|z| format!("resource.zone == \"{z}\"")),
        1 => (word(), word()).prop_map(|(a, b)| format!("[\"{a}\", \"{b}\"].contains(resource.name)")),
        2 => word().prop_map(|w| format!("(context.attrs has labels && context.attrs.labels.contains(\"{w}\"))")),
        1 => Just("(context.attrs has labels && context.attrs.labels.isEmpty())".to_owned()),
        1 => Just("(context.attrs has reader && context.attrs.reader like \"a*\")".to_owned()),
        1 => Just("(context.attrs has reader && context.attrs.reader != \"a\")".to_owned()),
        1 => Just("context.attrs has reader".to_owned()),
        2 => Just("context.fact.flag".to_owned()),
        2 => (prop::sample::select(vec!["<", "<=", ">", ">=", "==", "!="]), -1..3i64).prop_map(|(op, n)| format!("context.fact.many {op} {n}")),
        1 => (0..4i64).prop_map(|n| format!("context.autonomy < {n}")),
        1 => Just("context.opaque".to_owned()),
        1 => prop::sample::select(vec!["fs", "hook", "sdk"]).prop_map(|s| format!("context.surface == \"{s}\"")),
        1 => Just("principal.name == \"a\"".to_owned()),
        1 => Just("context.consequence == \"low\"".to_owned()),
        1 => Just("context.fact.many + 1 == 2".to_owned()),
        1 => Just("resource.name == resource.rel".to_owned()),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        let many = || prop::collection::vec(inner.clone(), 2..4);
        prop_oneof![
            3 => many().prop_map(|all| format!("({})", all.join(" && "))),
            3 => many().prop_map(|all| format!("({})", all.join(" || "))),
            2 => inner.clone().prop_map(|a| format!("!({a})")),
        ]
    })
}

fn rule() -> impl Strategy<Value = String> {
    let effect = prop::sample::select(vec![
        "permit",
        "permit",
        "forbid",
        "forbid",
        "@escalate(\"dev\") forbid",
        "@escalate(\"two\") forbid",
    ]);
    let verb = prop::sample::select(vec![
        "action in Action::\"fs\"",
        "action == Action::\"fs.write\"",
        "action in [Action::\"fs.write\", Action::\"fs.read\"]",
    ]);
    (effect, verb, prop::option::of(condition())).prop_map(|(effect, verb, condition)| {
        let when = condition.map(|c| format!(" when {{ {c} }}")).unwrap_or_default();
        format!("{effect} (principal, {verb}, resource){when};")
    })
}

fn actions() -> Vec<Action> {
    let mut out = Vec::new();
    for path in [
        "/workspace",
        "/workspace/a",
        "/workspace/src/a",
        "/workspace/src/x",
        "/workspace/x/.git/y",
        "/home/user/a",
        "/home/user/x",
        "/tmp/ab",
        "/a",
        "/x/b",
        "/workspace/ab/a",
    ] {
        for verb in ["fs.write", "fs.read"] {
            let bare = Action::new(verb, Resource::file(path), Surface::Fs).unwrap();
            let labels = |items: &[&str]| Value::Strs(items.iter().map(|i| (*i).to_owned()).collect());
            out.push(bare.clone());
            out.push(bare.clone().with("labels", labels(&["a"])).unwrap());
            out.push(bare.clone().with("labels", labels(&[])).unwrap().with("reader", "a").unwrap());
            out.push(
                bare.clone()
                    .with("labels", labels(&["x", "b"]))
                    .unwrap()
                    .with("reader", "ab")
                    .unwrap()
                    .with("opaque", true)
                    .unwrap(),
            );
            let mut other = bare;
            other.agent = "a".into();
            other.surface = Surface::Hook;
            out.push(other);
        }
    }
    out
}

thread_local! {
    static PROVED: Cell<usize> = const { Cell::new(0) };
    static WIDER: Cell<usize> = const { Cell::new(0) };
    static UNKNOWN: Cell<usize> = const { Cell::new(0) };
}

/// What is called narrower lets nothing pass that the other stops; what is shown as wider is.
#[test]
fn what_is_proved_holds_for_every_action() {
    let config = ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() };
    let base = prop::collection::vec(rule(), 1..5);
    let more = prop::collection::vec(rule(), 0..3);
    let input = (base, more, 0..3usize);
    proptest::test_runner::TestRunner::new(config)
        .run(&input, |(base, more, way)| {
            let session = example_session();
            let (first, second) = match way {
                // Often the second is the first with something added, so that there is something to prove.
                0 => (base.clone(), base.iter().chain(&more).cloned().collect()),
                1 => (base.iter().chain(&more).cloned().collect(), base.clone()),
                _ => (base, more),
            };
            // A condition made by chance can contradict itself: such a rule never applies, and is an error.
            let (Ok(a), Ok(b)) = (compiled("", &first), compiled("", &second)) else {
                return Err(TestCaseError::reject("a rule never applies"));
            };
            let said = compare(&a, &b, &session);
            let count = |of: &'static std::thread::LocalKey<Cell<usize>>| of.set(of.get() + 1);
            if !said.widened.is_empty() {
                count(&WIDER);
            } else if said.unknown.is_empty() {
                count(&PROVED);
            } else {
                count(&UNKNOWN);
            }
            for example in &said.widened {
                prop_assert!(
                    example.after < example.before || (example.before, example.after) == (Verdict::Hold, Verdict::Hold)
                );
            }
            if !said.widened.is_empty() || !said.unknown.is_empty() {
                return Ok(());
            }
            for action in actions() {
                for (flag, many, autonomy) in [(false, 0, 2), (true, 1, 0), (true, 5, 3), (false, 2, 1)] {
                    let facts = BTreeMap::from([
                        ("flag".to_owned(), Value::Bool(flag)),
                        ("many".to_owned(), Value::Long(many)),
                    ]);
                    let case = Case { action: &action, facts: &facts, autonomy, at_ns: USUAL_NS, session: &session };
                    let (before, after) = (case.judge(&a).verdict, case.judge(&b).verdict);
                    prop_assert!(
                        after >= before,
                        "{:#?}\n{:#?}\n{:#?} {:?} {:?}",
                        first,
                        second,
                        action,
                        before,
                        after
                    );
                }
            }
            Ok(())
        })
        .unwrap_or_else(|e| panic!("{e}"));
    // Otherwise the test could pass by proving nothing.
    assert!(
        PROVED.get() > 60 && WIDER.get() > 40 && UNKNOWN.get() * 6 < PROVED.get(),
        "{} {} {}",
        PROVED.get(),
        WIDER.get(),
        UNKNOWN.get()
    );
}

#[test]
fn facts_are_the_same_only_where_they_say_the_same() {
    let a = charter("other = 'once did fs.read'\n", &rules(&[ALL]));
    let b = charter("named = 'once did fs.read'\n", &rules(&[ALL]));
    let shared = SharedFacts::of(&[&a, &b]);
    let number = |charter: usize, of: &Charter, name: &str| {
        let place = of.facts.places().find(|(n, _)| *n == name).unwrap().1;
        shared.of_charter(charter)[place]
    };
    assert_eq!(number(0, &a, "flag"), number(1, &b, "flag"));
    assert_eq!(number(0, &a, "other"), number(1, &b, "named"));
    assert_ne!(number(0, &a, "other"), number(1, &b, "flag"));
    let model = super::solve::Model::default();
    assert!(supposed(&a, shared.of_charter(0), &model).is_empty());
}

/// What an example supposes of facts is shown by a history: as the `given` of an `[[example]]` it leads to that ruling.
#[test]
fn a_history_leads_to_what_is_supposed() {
    let cases = [
        ("once did fs.write(path like \"src/**\")", 1),
        ("no did fs.write since result process.exec(program: \"cargo\", argv has \"test\", exit: 0)", 1),
        ("once result process.exec(program: \"make\", ok: false)", 1),
        ("count[10m] did fs.read >= 3", 1),
        ("count[1m] did fs.delete(zone: \"workspace\", kind: \"file\") > 500", 1),
        ("once did fs.read(path: $path)", 1),
        ("prev once did fs.read", 2),
        ("not once did fs.write", 0),
        ("exists p . (once did fs.read(path: p) and once did fs.write(path: p))", 2),
        ("once did fs.read(label: \"secret\") and not once did fs.write", 1),
        ("once (did fs.write and once did fs.read(rel: \"a\"))", 2),
    ];
    let session = example_session();
    let label = "[[label]]\nname = \"secret\"\nowner = \"dev\"\npaths = [\"secrets/**\"]\n";
    let stops = "forbid (principal, action == Action::\"fs.delete\", resource) when { context.fact.f };";
    for (fact, events) in cases {
        let toml = format!("f = '{fact}'\n{label}");
        let (a, b) = (charter(&toml, &rules(&[ALL])), charter(&toml, &rules(&[ALL, stops])));
        let mut found = compare(&a, &b, &session).narrowed;
        assert_eq!(found.len(), 1, "{fact}");
        found[0].look_back(&a, &b, &session);
        let given = found[0].history.clone().unwrap_or_else(|| panic!("nothing leads to {fact}"));
        assert_eq!(given.len(), events, "{fact}: {given:?}");
        let quoted: Vec<String> = given.iter().map(|one| format!("'''{one}'''")).collect();
        let attempt = super::witness::text(&found[0].action, &session);
        let example =
            format!("[[example]]\ngiven = [{}]\nattempt = \"{attempt}\"\nexpect = \"deny r1\"\n", quoted.join(", "));
        let it = charter(&format!("{toml}{example}"), &rules(&[ALL, stops]));
        assert!(crate::charter::check_examples(&it)[0].passed, "{fact}: {given:?}");
    }
    // What can't be has none.
    let toml = "f = 'once did fs.write and not once did fs.write'\n";
    let (a, b) = (charter(toml, &rules(&[ALL])), charter(toml, &rules(&[ALL, stops])));
    let mut found = compare(&a, &b, &session).narrowed;
    found[0].look_back(&a, &b, &session);
    assert_eq!(found[0].history, None);
}

#[test]
fn settings_are_compared() {
    let session = example_session();
    let is = |a: &str, b: &str| {
        let said = compare(&charter(a, &rules(&[ALL])), &charter(b, &rules(&[ALL])), &session);
        (said.is_narrower, said.widened_settings.len(), said.narrowed_settings.len())
    };
    for (stricter, looser) in [
        ("[sandbox]\nhide = [\"~/.ssh\"]", ""),
        ("[sandbox]\nmediate_reads = true", ""),
        ("", "[sandbox]\nexpose = [\"/opt\"]"),
        ("[limits]\npids = 10", ""),
        ("[budget.x]\ncount = \"fs.write\"\nlimit = 1", ""),
        ("[envelope.x]\nof = \"deploy.scale.replicas\"\nmax = 3", ""),
        (
            "[autonomy]\nlevels = [\"observe\", \"bounded\"]\nstart = \"observe\"",
            "[autonomy]\nlevels = [\"observe\", \"bounded\"]\nstart = \"bounded\"",
        ),
        ("", "[home]\nkeep = \"agent\""),
        ("", "[env]\npass = [\"X\"]"),
        ("[http]\nopen = true", "[http]\nopen = false"),
        ("", "[http]\nopen = false"),
        ("[http]\nopen = true", "[http]\nopen = true\npass = [\"a.example\"]"),
    ] {
        assert_eq!(is(looser, stricter), (Narrower::Proved, 0, 1), "{looser:?} {stricter:?}");
        assert_eq!(is(stricter, looser).0, Narrower::NotShown, "{looser:?} {stricter:?}");
    }
}

#[test]
fn a_resource_is_named_by_its_id() {
    let session = example_session();
    let a = charter(
        "",
        &rules(&["permit (principal, action == Action::\"net.connect\", resource == Endpoint::\"a.example:443\");"]),
    );
    let b = charter(
        "",
        &rules(&[
            "permit (principal, action == Action::\"net.connect\", resource) when { resource.host like \"*.example\" && resource.port < 1024 };",
        ]),
    );
    assert_eq!(compare(&b, &a, &session).is_narrower, Narrower::Proved);
    let wider = compare(&a, &b, &session);
    assert_eq!(wider.widened.len(), 1);
    assert_eq!(wider.widened[0].action.resource.kind(), ResourceKind::Endpoint);
}

#[test]
fn times_are_found() {
    let session = example_session();
    let a = charter(
        "",
        &rules(&[
            ALL,
            "forbid (principal, action in Action::\"git\", resource) when { context.time.weekday >= 5 || context.time.hour < 6 };",
        ]),
    );
    let b = charter(
        "",
        &rules(&[
            ALL,
            "forbid (principal, action in Action::\"git\", resource) when { context.time.weekday >= 5 && context.time.day != 2 || context.time.hour < 6 };",
        ]),
    );
    let said = compare(&a, &b, &session);
    // The first Friday to Sunday that is the second day of its month.
    assert_eq!(said.widened[0].at.as_deref(), Some("2026-01-02T12:00:00Z"), "{said:#?}");
    assert_eq!(compare(&b, &a, &session).is_narrower, Narrower::Proved);
}
