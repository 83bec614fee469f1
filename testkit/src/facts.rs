//! Facts and their semantics read aloud: slow, and obviously right. Of the kernel it knows nothing: its formulas are its own, and
//! reach the kernel as the text that people write ([`Formula`]'s `Display`).
//!
//! A formula is looked at from a time-point `i` (1-based, 0 is before everything) whose stamp counts as `now`: the event's
//! own, but for the last one, which is looked at from the moment of asking. The semantics are the point-based ones of Basin,
//! Klaedtke, Mueller and Zalinescu (JACM 2015), restricted to the past.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "for tests only")]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Display, Formatter};
use std::mem::discriminant;

/// What an attribute holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A whole number.
    Long(i64),
    /// A text.
    Str(String),
    /// Texts.
    Strs(Vec<String>),
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Value::Str(text.to_owned())
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Value::Long(number)
    }
}

/// When in an action's life something happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Asked for, whatever was ruled.
    Attempt,
    /// Allowed and dispatched.
    Did,
    /// Its outcome is known.
    Result,
}

/// How long ago: `min_ns..=max_ns`, `None` without end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// At least so old.
    pub min_ns: u64,
    /// At most so old.
    pub max_ns: Option<u64>,
}

impl Window {
    /// All there was.
    pub const ALWAYS: Window = Window { min_ns: 0, max_ns: None };

    fn holds(self, age_ns: u64) -> bool {
        self.min_ns <= age_ns && self.max_ns.is_none_or(|max_ns| age_ns <= max_ns)
    }
}

/// A comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "as they are called everywhere")]
pub enum Cmp {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
}

impl Cmp {
    fn holds<T: Ord>(self, left: T, right: T) -> bool {
        match self {
            Cmp::Eq => left == right,
            Cmp::Ne => left != right,
            Cmp::Lt => left < right,
            Cmp::Le => left <= right,
            Cmp::Gt => left > right,
            Cmp::Ge => left >= right,
        }
    }
}

/// What an attribute is compared with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operand {
    /// A value.
    Literal(Value),
    /// `$name` (kept with its `$`) or a variable that joins atoms.
    Var(String),
}

/// How an attribute is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MatchOp {
    /// In order.
    Compare(Cmp),
    /// With a glob; here only with one that ends in its one star.
    Like,
    /// Texts that hold one.
    Has,
}

/// `attr op operand` within an atom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Match {
    /// The attribute's name.
    pub attr: String,
    /// How it is compared.
    pub op: MatchOp,
    /// With what.
    pub operand: Operand,
}

/// `phase VERB(matches)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Atom {
    /// In which phase.
    pub phase: Phase,
    /// `group.verb`, or `group.*`.
    pub verb: String,
    /// All have to hold.
    pub matches: Vec<Match>,
}

/// What a number is made by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "as they are called everywhere")]
pub enum Aggregate {
    Count,
    Sum,
    Min,
    Max,
}

/// `count[w] of attr ATOM by attrs`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Number {
    /// What it is made by.
    pub aggregate: Aggregate,
    /// Which events count.
    pub window: Window,
    /// The attribute, but for a count.
    pub of: Option<String>,
    /// Which events count.
    pub atom: Atom,
    /// Attributes that have to be those of the action now judged.
    pub by: Vec<String>,
}

/// A formula. What each means, [`Naive`] says.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "named as in the text")]
pub enum Formula {
    Atom(Atom),
    Not(Box<Formula>),
    And(Vec<Formula>),
    Or(Vec<Formula>),
    Once(Window, Box<Formula>),
    Prev(Window, Box<Formula>),
    Historically(Window, Box<Formula>),
    Since(Box<Formula>, Window, Box<Formula>),
    Exists(Vec<String>, Box<Formula>),
    /// Another fact, by name.
    Name(String),
    Number(Number),
    Compare(Box<Formula>, Cmp, i64),
}

/// One event: its attributes by name, those of its outcome over the action's.
#[derive(Clone, Debug)]
pub struct Happened {
    /// What of the action it was.
    pub phase: Phase,
    /// `group.verb`.
    pub verb: &'static str,
    /// By name.
    pub attrs: BTreeMap<&'static str, Value>,
    /// When.
    pub at_ns: u64,
}

/// What variables stand for, `$` variables included.
pub type Assigned = BTreeMap<String, Value>;

/// The evaluator, over one history.
#[derive(Clone, Copy, Debug)]
pub struct Naive<'a> {
    /// What happened, in order.
    pub history: &'a [Happened],
    /// All values that any variable can have.
    pub domain: &'a [Value],
    /// Facts by name.
    pub facts: &'a BTreeMap<String, Formula>,
}

impl Naive<'_> {
    /// Whether a whole fact holds: its free variables range over all there was.
    pub fn fact(&self, tree: &Formula, i: usize, now: u64, given: &Assigned) -> bool {
        let free = free(tree);
        self.assignments(&free, given).iter().any(|env| self.sat(tree, i, now, env))
    }

    fn sat(&self, tree: &Formula, i: usize, now: u64, env: &Assigned) -> bool {
        let stamp = |j: usize| self.history[j - 1].at_ns;
        match tree {
            Formula::Atom(atom) => i > 0 && self.matches(atom, i, env),
            Formula::Not(f) => !self.sat(f, i, now, env),
            Formula::And(sides) => sides.iter().all(|f| self.sat(f, i, now, env)),
            Formula::Or(sides) => sides.iter().any(|f| self.sat(f, i, now, env)),
            Formula::Once(w, f) => (1..=i).any(|j| w.holds(now - stamp(j)) && self.sat(f, j, stamp(j), env)),
            Formula::Historically(w, f) => (1..=i).all(|j| !w.holds(now - stamp(j)) || self.sat(f, j, stamp(j), env)),
            Formula::Prev(w, f) => i > 1 && w.holds(stamp(i) - stamp(i - 1)) && self.sat(f, i - 1, stamp(i - 1), env),
            Formula::Since(a, w, b) => (1..=i).any(|j| {
                w.holds(now - stamp(j))
                    && self.sat(b, j, stamp(j), env)
                    && (j + 1..=i).all(|k| self.sat(a, k, stamp(k), env))
            }),
            Formula::Exists(vars, f) => {
                let vars: BTreeSet<String> = vars.iter().cloned().collect();
                self.assignments(&vars, env).iter().any(|env| self.sat(f, i, now, env))
            }
            Formula::Compare(inner, cmp, limit) => match &**inner {
                Formula::Number(number) => cmp.holds(self.number(number, i, now, env), i128::from(*limit)),
                Formula::Name(name) => {
                    let Formula::Number(number) = &self.facts[name] else { panic!("{name} is no number") };
                    cmp.holds(self.number(number, i, now, &given(env)), i128::from(*limit))
                }
                other => panic!("no number: {other:?}"),
            },
            Formula::Name(name) => self.fact(&self.facts[name], i, now, &given(env)),
            Formula::Number(_) => panic!("a number is not true or false"),
        }
    }

    /// Over the events within the window that match for some values of the variables that nothing else binds.
    pub fn number(&self, number: &Number, i: usize, now: u64, env: &Assigned) -> i128 {
        let own: BTreeSet<String> = vars(&number.atom).into_iter().filter(|name| !env.contains_key(name)).collect();
        let by = |j: usize| {
            number.by.iter().all(|name| self.history[j - 1].attrs.get(name.as_str()) == env.get(&format!("${name}")))
        };
        let counted = (1..=i).filter(|j| {
            number.window.holds(now - self.history[j - 1].at_ns)
                && by(*j)
                && self.assignments(&own, env).iter().any(|env| self.matches(&number.atom, *j, env))
        });
        let Some(of) = &number.of else { return i128::try_from(counted.count()).unwrap() };
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

    fn matches(&self, atom: &Atom, i: usize, env: &Assigned) -> bool {
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
                match (m.op, value, wanted) {
                    (MatchOp::Compare(Cmp::Eq), ..) => value == wanted,
                    (MatchOp::Compare(Cmp::Ne), ..) => discriminant(value) == discriminant(wanted) && value != wanted,
                    (MatchOp::Compare(cmp), Value::Long(value), Value::Long(wanted)) => cmp.holds(*value, *wanted),
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

fn vars(atom: &Atom) -> BTreeSet<String> {
    let names = atom.matches.iter().filter_map(|m| match &m.operand {
        Operand::Var(name) => Some(name.clone()),
        Operand::Literal(_) => None,
    });
    names.collect()
}

/// The free variables of a fact, but for `$`. One that stands in a single number and nowhere else is the number's own.
fn free(tree: &Formula) -> BTreeSet<String> {
    fn walk(
        tree: &Formula,
        bound: &BTreeSet<String>,
        atoms: &mut BTreeSet<String>,
        numbers: &mut Vec<BTreeSet<String>>,
    ) {
        match tree {
            Formula::Atom(atom) => atoms.extend(vars(atom).into_iter().filter(|name| !bound.contains(name))),
            Formula::Number(number) => {
                numbers.push(vars(&number.atom).into_iter().filter(|name| !bound.contains(name)).collect());
            }
            Formula::Exists(names, inner) => {
                walk(inner, &bound.iter().chain(names).cloned().collect(), atoms, numbers);
            }
            Formula::Not(f)
            | Formula::Once(_, f)
            | Formula::Prev(_, f)
            | Formula::Historically(_, f)
            | Formula::Compare(f, ..) => {
                walk(f, bound, atoms, numbers);
            }
            Formula::And(sides) | Formula::Or(sides) => sides.iter().for_each(|f| walk(f, bound, atoms, numbers)),
            Formula::Since(a, _, b) => {
                walk(a, bound, atoms, numbers);
                walk(b, bound, atoms, numbers);
            }
            Formula::Name(_) => {}
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

/// As people write it, so that the parser has its share.
impl Display for Formula {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let join =
            |sides: &[Formula], word: &str| sides.iter().map(|side| format!("({side})")).collect::<Vec<_>>().join(word);
        match self {
            Formula::Atom(atom) => write!(f, "{atom}"),
            Formula::Not(inner) => write!(f, "not ({inner})"),
            Formula::And(sides) => f.write_str(&join(sides, " and ")),
            Formula::Or(sides) => f.write_str(&join(sides, " or ")),
            Formula::Once(w, inner) => write!(f, "once{w} ({inner})"),
            Formula::Prev(w, inner) => write!(f, "prev{w} ({inner})"),
            Formula::Historically(w, inner) => write!(f, "historically{w} ({inner})"),
            Formula::Since(a, w, b) => write!(f, "({a}) since{w} ({b})"),
            Formula::Exists(names, inner) => write!(f, "exists {} . ({inner})", names.join(", ")),
            Formula::Name(name) => f.write_str(name),
            Formula::Compare(inner, cmp, limit) => write!(f, "{inner} {cmp} {limit}"),
            Formula::Number(number) => write!(f, "{number}"),
        }
    }
}

impl Display for Number {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let word = match self.aggregate {
            Aggregate::Count => "count",
            Aggregate::Sum => "sum",
            Aggregate::Min => "min",
            Aggregate::Max => "max",
        };
        write!(f, "{word}{}", self.window)?;
        if let Some(of) = &self.of {
            write!(f, " of {of}")?;
        }
        write!(f, " {}", self.atom)?;
        if self.by.is_empty() { Ok(()) } else { write!(f, " by {}", self.by.join(", ")) }
    }
}

impl Display for Atom {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let phase = match self.phase {
            Phase::Attempt => "attempt",
            Phase::Did => "did",
            Phase::Result => "result",
        };
        let matches: Vec<String> = self.matches.iter().map(ToString::to_string).collect();
        write!(f, "{phase} {}({})", self.verb, matches.join(", "))
    }
}

impl Display for Match {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let op = match self.op {
            MatchOp::Compare(cmp) => cmp.to_string(),
            MatchOp::Like => "like".to_owned(),
            MatchOp::Has => "has".to_owned(),
        };
        let operand = match &self.operand {
            Operand::Literal(Value::Str(text)) => format!("'{text}'"),
            Operand::Literal(Value::Long(number)) => number.to_string(),
            Operand::Literal(Value::Strs(_)) => panic!("texts can't be written as a literal"),
            Operand::Var(name) => name.clone(),
        };
        write!(f, "{} {op} {operand}", self.attr)
    }
}

impl Display for Window {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match (self.min_ns, self.max_ns) {
            (0, None) => Ok(()),
            (0, Some(max)) => write!(f, "[{max}ns]"),
            (min, Some(max)) => write!(f, "[{min}ns, {max}ns]"),
            (min, None) => write!(f, "[{min}ns, *)"),
        }
    }
}

impl Display for Cmp {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Cmp::Eq => "==",
            Cmp::Ne => "!=",
            Cmp::Lt => "<",
            Cmp::Le => "<=",
            Cmp::Gt => ">",
            Cmp::Ge => ">=",
        })
    }
}
