//! The monitors against an evaluator that is the semantics read aloud: random formulas, random histories.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use super::check::{Checker, Compiled};
use super::monitor::Query;
use super::pattern::Occurrence;
use super::relation::given;
use super::syntax::{Aggregate, AtomAst, Cmp, Expr, MatchAst, MatchOp, NumberAst, Operand, Phase, Tree, Window};
use super::{Facts, Monitor};
use crate::action::{Action, Resource, Surface, Value};
use crate::session::Session;
use proptest::prelude::*;
use std::collections::BTreeMap;

#[derive(Clone, Debug)]
struct Happened {
    phase: Phase,
    verb: &'static str,
    path: &'static str,
    bytes: i64,
    at_ns: u64,
}

const PATHS: [&str; 3] = ["/a", "/b", "/c"];
const VARS: [&str; 2] = ["p", "q"];

type Assigned = BTreeMap<String, Value>;

/// The history up to an event, and when it is looked at: the event's own time, but for the last one.
struct Naive<'a> {
    history: &'a [Happened],
}

impl Naive<'_> {
    /// Whether the tree holds at time-point `i` (1-based, 0 is before everything), whose stamp counts as `now`.
    fn sat(&self, tree: &Tree, i: usize, now: u64, env: &Assigned) -> bool {
        let stamp = |j: usize| self.history[j - 1].at_ns;
        match &tree.expr {
            Expr::Atom(atom) => i > 0 && self.matches(atom, i, env),
            Expr::Not(f) => !self.sat(f, i, now, env),
            Expr::And(sides) => sides.iter().all(|f| self.sat(f, i, now, env)),
            Expr::Or(sides) => sides.iter().any(|f| self.sat(f, i, now, env)),
            Expr::Once(w, f) => (1..=i).any(|j| w.holds(now - stamp(j)) && self.sat(f, j, stamp(j), env)),
            Expr::Historically(w, f) => (1..=i).all(|j| !w.holds(now - stamp(j)) || self.sat(f, j, stamp(j), env)),
            Expr::Prev(w, f) => i > 1 && w.holds(stamp(i) - stamp(i - 1)) && self.sat(f, i - 1, stamp(i - 1), env),
            Expr::Since(a, w, b) => (1..=i).any(|j| {
                w.holds(now - stamp(j))
                    && self.sat(b, j, stamp(j), env)
                    && (j + 1..=i).all(|k| self.sat(a, k, stamp(k), env))
            }),
            Expr::Exists(vars, f) => assignments(vars, env).iter().any(|env| self.sat(f, i, now, env)),
            Expr::Compare(inner, cmp, limit) => {
                let Expr::Number(number) = &inner.expr else { panic!("{inner:?}") };
                cmp.holds(self.number(number, i, now, env), *limit)
            }
            Expr::Name(_) | Expr::Number(_) => panic!("not generated here"),
        }
    }

    fn number(&self, number: &NumberAst, i: usize, now: u64, env: &Assigned) -> i64 {
        let free: Vec<String> = VARS.iter().map(|v| (*v).to_owned()).collect();
        let counted = (1..=i).filter(|j| {
            number.window.holds(now - self.history[j - 1].at_ns)
                && assignments(&free, env).iter().any(|env| self.matches(&number.atom, *j, env))
        });
        let values = counted.map(|j| self.history[j - 1].bytes).collect::<Vec<_>>();
        match number.aggregate {
            Aggregate::Count => i64::try_from(values.len()).unwrap(),
            Aggregate::Sum => values.iter().sum(),
            Aggregate::Min => values.iter().copied().min().unwrap_or(0),
            Aggregate::Max => values.iter().copied().max().unwrap_or(0),
        }
    }

    fn matches(&self, atom: &AtomAst, i: usize, env: &Assigned) -> bool {
        let event = &self.history[i - 1];
        atom.phase == event.phase
            && atom.verb == event.verb
            && atom.matches.iter().all(|m| match (&m.op, &m.operand) {
                (MatchOp::Compare(Cmp::Eq), Operand::Literal(value)) => value.as_str() == Some(event.path),
                (MatchOp::Compare(Cmp::Ne), Operand::Literal(value)) => value.as_str() != Some(event.path),
                (MatchOp::Compare(Cmp::Eq), Operand::Var(var)) => {
                    env.get(var).is_some_and(|v| v.as_str() == Some(event.path))
                }
                other => panic!("not generated here: {other:?}"),
            })
    }
}

/// `env` with every choice of values for the variables.
fn assignments(vars: &[String], env: &Assigned) -> Vec<Assigned> {
    vars.iter().fold(vec![env.clone()], |all, var| {
        let with = |env: &Assigned, path: &str| {
            let mut env = env.clone();
            env.insert(var.clone(), path.into());
            env
        };
        all.iter().flat_map(|env| PATHS.iter().map(move |path| with(env, path))).collect()
    })
}

fn tree(expr: Expr) -> Tree {
    Tree { expr, span: 0..0 }
}

fn window() -> impl Strategy<Value = Window> {
    prop_oneof![
        3 => Just(Window::ALWAYS),
        3 => (0..12u64).prop_map(|max| Window { min_ns: 0, max_ns: Some(max) }),
        1 => (0..4u64, 0..9u64).prop_map(|(min, more)| Window { min_ns: min, max_ns: Some(min + more) }),
        1 => (1..6u64).prop_map(|min| Window { min_ns: min, max_ns: None }),
    ]
}

fn atom() -> impl Strategy<Value = AtomAst> {
    let operand = prop_oneof![
        3 => Just(None),
        2 => prop::sample::select(PATHS.to_vec()).prop_map(|p| Some((Cmp::Eq, Operand::Literal(p.into())))),
        1 => prop::sample::select(PATHS.to_vec()).prop_map(|p| Some((Cmp::Ne, Operand::Literal(p.into())))),
        4 => prop::sample::select(vec!["p", "q", "$path", "$path"]).prop_map(|v| Some((Cmp::Eq, Operand::Var(v.to_owned())))),
    ];
    let verb = prop::sample::select(vec!["fs.read", "fs.write"]);
    (prop::sample::select(vec![Phase::Did, Phase::Result]), verb, operand).prop_map(|(phase, verb, operand)| AtomAst {
        phase,
        verb: verb.to_owned(),
        verb_span: 0..0,
        matches: operand
            .map(|(cmp, operand)| MatchAst { attr: "path".to_owned(), op: MatchOp::Compare(cmp), operand, span: 0..0 })
            .into_iter()
            .collect(),
    })
}

fn compared() -> impl Strategy<Value = Tree> {
    let aggregate =
        prop::sample::select(vec![Aggregate::Count, Aggregate::Count, Aggregate::Sum, Aggregate::Min, Aggregate::Max]);
    let cmp = prop::sample::select(vec![Cmp::Eq, Cmp::Ne, Cmp::Lt, Cmp::Le, Cmp::Gt, Cmp::Ge]);
    (aggregate, window(), atom(), cmp, -1..5i64).prop_map(|(aggregate, window, atom, cmp, limit)| {
        let of = (aggregate != Aggregate::Count).then(|| ("bytes".to_owned(), 0..0));
        let number = NumberAst { aggregate, window, of, atom, by: Vec::new() };
        tree(Expr::Compare(Box::new(tree(Expr::Number(number))), cmp, limit))
    })
}

fn formula() -> impl Strategy<Value = Tree> {
    let leaf = prop_oneof![6 => atom().prop_map(|a| tree(Expr::Atom(a))), 1 => compared()];
    leaf.prop_recursive(4, 16, 2, |inner| {
        let boxed = || inner.clone().prop_map(Box::new);
        prop_oneof![
            4 => (window(), boxed()).prop_map(|(w, f)| tree(Expr::Once(w, f))),
            3 => (boxed(), window(), boxed()).prop_map(|(a, w, b)| tree(Expr::Since(a, w, b))),
            3 => (boxed(), window(), boxed()).prop_map(|(a, w, b)| tree(Expr::Since(Box::new(tree(Expr::Not(a))), w, b))),
            3 => prop::collection::vec(inner.clone(), 2..3).prop_map(|s| tree(Expr::And(s))),
            2 => (inner.clone(), boxed()).prop_map(|(a, b)| tree(Expr::And(vec![a, tree(Expr::Not(b))]))),
            2 => prop::collection::vec(inner.clone(), 2..3).prop_map(|s| tree(Expr::Or(s))),
            2 => boxed().prop_map(|f| tree(Expr::Not(f))),
            1 => (window(), boxed()).prop_map(|(w, f)| tree(Expr::Prev(w, f))),
            1 => (window(), boxed()).prop_map(|(w, f)| tree(Expr::Historically(w, f))),
            1 => (prop::sample::select(VARS.to_vec()), boxed()).prop_map(|(v, f)| tree(Expr::Exists(vec![v.to_owned()], f))),
        ]
    })
}

fn history() -> impl Strategy<Value = Vec<Happened>> {
    let event = (
        prop::sample::select(vec![Phase::Did, Phase::Result]),
        prop::sample::select(vec!["fs.read", "fs.write"]),
        prop::sample::select(PATHS.to_vec()),
        -2..4i64,
        0..4u64,
    );
    prop::collection::vec(event, 0..14).prop_map(|events| {
        let mut at_ns = 100;
        let happened = |(phase, verb, path, bytes, later): (Phase, &'static str, &'static str, i64, u64)| {
            at_ns += later;
            Happened { phase, verb, path, bytes, at_ns }
        };
        events.into_iter().map(happened).collect()
    })
}

/// Compares monitor and naive evaluator before the first event and after each; gives how often the fact held.
fn check(
    formula: &Tree,
    history: &[Happened],
    judged: &'static str,
    later: u64,
) -> Result<Option<usize>, TestCaseError> {
    let facts = BTreeMap::new();
    let Ok((Compiled::Formula(mut node), dollars)) = Checker::new("", &facts).compile("f", formula) else {
        return Ok(None);
    };
    let mut pruned = node.clone();
    // As the kernel keeps it: told only of events that can change it, asked for no more than the truth.
    let compiled = Compiled::Formula(node.clone());
    let monitor = Monitor { compiled, dollars: dollars.clone(), keys_max: 1_000, is_overflowed: false };
    let mut kept = Facts::new([("f".to_owned(), monitor)].into());
    let blank = kept.clone();
    let session = Session { workspace: "/w".to_owned(), home: "/h".to_owned(), agent: "a".to_owned() };
    let action = |verb: &str, path: &str| Action::new(verb, Resource::file(path), Surface::Fs).unwrap();
    let judged_action = action("fs.read", judged);
    let judged_values = session.values(&judged_action);
    let given = given(&dollars, &judged_values).unwrap();
    let free: Vec<String> = VARS.iter().map(|v| (*v).to_owned()).collect();
    let env: Assigned = [("$path".to_owned(), judged.into())].into();
    let mut held = 0;
    for i in 0..=history.len() {
        let mut now = 50;
        if i > 0 {
            let event = &history[i - 1];
            now = event.at_ns;
            let done = action(event.verb, event.path).with("bytes", event.bytes).unwrap();
            let values = session.values(&done);
            let seq = u64::try_from(i).unwrap();
            let event = Occurrence { phase: event.phase, verb: done.verb, values: &values, seq, at_ns: event.at_ns };
            node.commit(&event);
            kept.commit(&event);
            // A snapshot is the same state.
            let written = serde_json::to_string(&kept.memory()).unwrap();
            let memory: super::Memory = serde_json::from_str(&written).unwrap();
            let mut restored = blank.clone();
            restored.recall(memory).unwrap();
            prop_assert_eq!(serde_json::to_string(&restored.memory()).unwrap(), written);
            kept = restored;
            pruned.prune(now);
            pruned.commit(&event);
        }
        for now in [now, now + later] {
            let query = Query { now_ns: now, given: Some(&given) };
            let naive = Naive { history: &history[..i] };
            let want = assignments(&free, &env).iter().any(|env| naive.sat(formula, i, now, env));
            prop_assert_eq!(node.at(query).holds(), want, "after {} events at {}", i, now);
            prop_assert_eq!(pruned.at(query), node.at(query), "pruning changed what holds");
            prop_assert_eq!(kept.value("f", &judged_values, now), Ok(Value::Bool(want)), "what sleeps was missed");
            held += usize::from(want);
            for seq in node.at(query).witnesses() {
                prop_assert!(seq >= 1 && seq <= u64::try_from(i).unwrap(), "a witness that has not happened");
            }
            let (why, _) = if want { super::explain::why(&node, query) } else { super::explain::why_not(&node, query) };
            prop_assert!(why.is_sorted());
        }
    }
    Ok(Some(held))
}

/// What the random formulas came to: compiled, and held at least once without always holding.
#[derive(Default)]
struct Coverage {
    compiled: usize,
    telling: usize,
}

#[test]
fn monitors_agree_with_the_semantics() {
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        cases: 1_000,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let coverage = std::cell::RefCell::new(Coverage::default());
    let input = (formula(), history(), prop::sample::select(PATHS.to_vec()), 0..9u64);
    runner
        .run(&input, |(formula, history, judged, later)| {
            if let Some(held) = check(&formula, &history, judged, later)? {
                let mut coverage = coverage.borrow_mut();
                coverage.compiled += 1;
                coverage.telling += usize::from(held > 0 && held < 2 * (history.len() + 1));
            }
            Ok(())
        })
        .unwrap_or_else(|e| panic!("{e}"));
    let Coverage { compiled, telling } = coverage.into_inner();
    // Otherwise the test could pass by comparing nothing.
    assert!(compiled > 200 && telling > 80, "{compiled} compiled, {telling} telling");
}
