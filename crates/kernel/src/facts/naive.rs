//! The semantics of facts read aloud: slow, and obviously right. Shares nothing with the monitors but the syntax tree.
//!
//! A formula is looked at from a time-point `i` (1-based, 0 is before everything) whose stamp counts as `now`: the event's
//! own, but for the last one, which is looked at from the moment of asking.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use super::syntax::{Aggregate, AtomAst, Cmp, Expr, MatchOp, NumberAst, Operand, Phase, Tree};
use crate::action::Value;
use std::collections::{BTreeMap, BTreeSet};

/// One event: its attributes by name, those of its outcome over the action's.
#[derive(Clone, Debug)]
pub(crate) struct Happened {
    pub phase: Phase,
    pub verb: &'static str,
    pub attrs: BTreeMap<&'static str, Value>,
    pub at_ns: u64,
}

/// What variables stand for, `$` variables included.
pub(crate) type Assigned = BTreeMap<String, Value>;

pub(crate) struct Naive<'a> {
    pub history: &'a [Happened],
    /// All values that any variable can have.
    pub domain: &'a [Value],
    /// Facts by name.
    pub facts: &'a BTreeMap<String, Tree>,
}

impl Naive<'_> {
    /// Whether a whole fact holds: its free variables range over all there was.
    pub fn fact(&self, tree: &Tree, i: usize, now: u64, given: &Assigned) -> bool {
        let free = free(tree);
        self.assignments(&free, given).iter().any(|env| self.sat(tree, i, now, env))
    }

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
            Expr::Exists(vars, f) => {
                let vars: BTreeSet<String> = vars.iter().cloned().collect();
                self.assignments(&vars, env).iter().any(|env| self.sat(f, i, now, env))
            }
            Expr::Compare(inner, cmp, limit) => match &inner.expr {
                Expr::Number(number) => cmp.holds(self.number(number, i, now, env), i128::from(*limit)),
                Expr::Name(name) => {
                    let Expr::Number(number) = &self.facts[name].expr else { panic!("{name} is no number") };
                    cmp.holds(self.number(number, i, now, &given(env)), i128::from(*limit))
                }
                other => panic!("no number: {other:?}"),
            },
            Expr::Name(name) => self.fact(&self.facts[name], i, now, &given(env)),
            Expr::Number(_) => panic!("a number is not true or false"),
        }
    }

    /// Over the events within the window that match for some values of the variables that nothing else binds.
    pub fn number(&self, number: &NumberAst, i: usize, now: u64, env: &Assigned) -> i128 {
        let own: BTreeSet<String> = vars(&number.atom).into_iter().filter(|name| !env.contains_key(name)).collect();
        let by = |j: usize| {
            number
                .by
                .iter()
                .all(|(name, _)| self.history[j - 1].attrs.get(name.as_str()) == env.get(&format!("${name}")))
        };
        let counted = (1..=i).filter(|j| {
            number.window.holds(now - self.history[j - 1].at_ns)
                && by(*j)
                && self.assignments(&own, env).iter().any(|env| self.matches(&number.atom, *j, env))
        });
        let Some((of, _)) = &number.of else { return i128::try_from(counted.count()).unwrap() };
        let values: Vec<i128> = counted
            .filter_map(|j| match self.history[j - 1].attrs.get(of.as_str()) {
                Some(Value::Long(n)) => Some(i128::from(*n)),
                _ => None,
            })
            .collect();
        match number.aggregate {
            Aggregate::Count => panic!("a count is of nothing"),
            Aggregate::Sum => values.iter().sum(),
            Aggregate::Min => values.iter().copied().min().unwrap_or(0),
            Aggregate::Max => values.iter().copied().max().unwrap_or(0),
        }
    }

    fn matches(&self, atom: &AtomAst, i: usize, env: &Assigned) -> bool {
        let event = &self.history[i - 1];
        let is_verb = match atom.verb.strip_suffix(".*") {
            Some(group) => event.verb.split('.').next() == Some(group),
            None => event.verb == atom.verb,
        };
        atom.phase == event.phase
            && is_verb
            && atom.matches.iter().all(|m| {
                let Some(value) = event.attrs.get(m.attr.as_str()) else { return false };
                let wanted = match &m.operand {
                    Operand::Literal(literal) => literal,
                    Operand::Var(name) => &env[name],
                };
                match (&m.op, value, wanted) {
                    (MatchOp::Compare(Cmp::Eq), ..) => value == wanted,
                    (MatchOp::Compare(Cmp::Ne), ..) => value.ty() == wanted.ty() && value != wanted,
                    (MatchOp::Compare(cmp), Value::Long(value), Value::Long(wanted)) => cmp.holds(value, wanted),
                    (MatchOp::Compare(_), ..) => false,
                    (MatchOp::Has, Value::Strs(items), Value::Str(item)) => items.contains(item),
                    // Of patterns only those that end in their one star.
                    (MatchOp::Like, Value::Str(text), Value::Str(glob)) => text.starts_with(glob.trim_end_matches('*')),
                    other => panic!("no such match: {other:?}"),
                }
            })
    }

    /// `env` with every choice of values for the variables.
    fn assignments(&self, vars: &BTreeSet<String>, env: &Assigned) -> Vec<Assigned> {
        vars.iter().fold(vec![env.clone()], |all, var| {
            let with = |env: &Assigned, value: &Value| {
                let mut env = env.clone();
                env.insert(var.clone(), value.clone());
                env
            };
            all.iter().flat_map(|env| self.domain.iter().map(move |value| with(env, value))).collect()
        })
    }
}

/// What `$` variables stand for: all that a fact by name sees of the one that names it.
fn given(env: &Assigned) -> Assigned {
    env.iter().filter(|(name, _)| name.starts_with('$')).map(|(name, value)| (name.clone(), value.clone())).collect()
}

fn vars(atom: &AtomAst) -> BTreeSet<String> {
    let names = atom.matches.iter().filter_map(|m| match &m.operand {
        Operand::Var(name) => Some(name.clone()),
        Operand::Literal(_) => None,
    });
    names.collect()
}

/// The free variables of a fact, but for `$`. One that stands in a single number and nowhere else is the number's own.
fn free(tree: &Tree) -> BTreeSet<String> {
    fn walk(tree: &Tree, bound: &BTreeSet<String>, atoms: &mut BTreeSet<String>, numbers: &mut Vec<BTreeSet<String>>) {
        match &tree.expr {
            Expr::Atom(atom) => atoms.extend(vars(atom).into_iter().filter(|name| !bound.contains(name))),
            Expr::Number(number) => {
                numbers.push(vars(&number.atom).into_iter().filter(|name| !bound.contains(name)).collect());
            }
            Expr::Exists(names, inner) => {
                walk(inner, &bound.iter().chain(names).cloned().collect(), atoms, numbers);
            }
            Expr::Not(f) | Expr::Once(_, f) | Expr::Prev(_, f) | Expr::Historically(_, f) | Expr::Compare(f, ..) => {
                walk(f, bound, atoms, numbers);
            }
            Expr::And(sides) | Expr::Or(sides) => sides.iter().for_each(|f| walk(f, bound, atoms, numbers)),
            Expr::Since(a, _, b) => {
                walk(a, bound, atoms, numbers);
                walk(b, bound, atoms, numbers);
            }
            Expr::Name(_) => {}
        }
    }
    let (mut atoms, mut numbers) = (BTreeSet::new(), Vec::new());
    walk(tree, &BTreeSet::new(), &mut atoms, &mut numbers);
    let twice = numbers.iter().enumerate().flat_map(|(n, names)| {
        let others = numbers.get(n + 1..).unwrap_or_default();
        names.iter().filter(|name| others.iter().any(|other| other.contains(*name))).cloned().collect::<Vec<_>>()
    });
    let all: BTreeSet<String> = twice.chain(atoms).collect();
    all.into_iter().filter(|name| !name.starts_with('$')).collect()
}
