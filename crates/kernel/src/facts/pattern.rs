//! Atoms: which events they match, and what they bind.

use super::relation::{Relation, Var};
use super::syntax::{Cmp, Phase};
use crate::action::Value;
use crate::session::Values;
use crate::vocabulary::Verb;
use globset::GlobMatcher;
use smallvec::smallvec;
use std::collections::BTreeMap;

/// One event of an action's life, as facts see it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Occurrence<'a> {
    pub phase: Phase,
    pub verb: Verb,
    pub values: Seen<'a>,
    pub seq: u64,
    pub at_ns: u64,
}

/// The values of an event, by name.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Seen<'a> {
    /// The action's; for a result, with the outcome's over them.
    Live(&'a Values<'a>),
    /// Those that were kept for later.
    Kept(&'a BTreeMap<String, Value>),
}

impl<'a> Seen<'a> {
    pub fn get(&self, name: &str) -> Option<&'a Value> {
        match self {
            Seen::Live(values) => values.get(name),
            Seen::Kept(values) => values.get(name),
        }
    }

    /// Whether it is of what a file's content says.
    fn is_content(&self) -> bool {
        match self {
            Seen::Live(values) => values.is_content(),
            Seen::Kept(values) => values.get("content") == Some(&Value::Bool(true)),
        }
    }
}

/// A test on one attribute. An attribute that the event lacks passes no test, `!=` included.
#[derive(Clone, Debug)]
pub(crate) enum Test {
    Equal(Value),
    Unequal(Value),
    Compare(Cmp, i64),
    Like(GlobMatcher),
    Has(String),
    /// Any value.
    Present,
    /// Compares with another attribute of the same event: the one that binds the variable.
    Versus(Cmp, &'static str),
}

/// An atom, resolved against the vocabulary.
#[derive(Clone, Debug)]
pub(crate) struct Pattern {
    pub phase: Phase,
    pub verbs: Vec<Verb>,
    pub tests: Vec<(&'static str, Test)>,
    /// Variables with the attribute that binds each, sorted by variable.
    pub binds: BTreeMap<Var, &'static str>,
    /// Whether it asks for what a file's content says. One that doesn't counts a write once, when the file is opened.
    pub names_content: bool,
}

impl Pattern {
    pub fn columns(&self) -> Vec<Var> {
        self.binds.keys().copied().collect()
    }

    pub fn matches(&self, event: &Occurrence) -> bool {
        self.phase == event.phase
            && self.verbs.contains(&event.verb)
            && (self.names_content || !event.values.is_content())
            && self.tests.iter().all(|(attr, test)| event.values.get(attr).is_some_and(|v| test.holds(v, event.values)))
            && self.binds.values().all(|attr| event.values.get(attr).is_some())
    }

    /// What the event binds.
    pub fn row(&self, event: &Occurrence) -> Vec<Value> {
        self.binds.values().filter_map(|attr| event.values.get(attr).cloned()).collect()
    }

    /// What an event that it matches binds.
    pub fn relation(&self, event: &Occurrence) -> Relation {
        let mut out = Relation::empty(self.columns());
        out.rows.insert(self.row(event), smallvec![event.seq]);
        out
    }

    /// The attributes that it reads.
    pub fn attrs(&self) -> impl Iterator<Item = &'static str> {
        let compared = self.tests.iter().filter_map(|(_, test)| match test {
            Test::Versus(_, other) => Some(*other),
            _ => None,
        });
        self.tests.iter().map(|(attr, _)| *attr).chain(compared).chain(self.binds.values().copied()).chain(["content"])
    }
}

impl Test {
    fn holds(&self, value: &Value, all: Seen) -> bool {
        match (self, value) {
            (Test::Present, _) => true,
            (Test::Equal(wanted), value) => wanted == value,
            (Test::Unequal(other), value) => other != value,
            (Test::Compare(cmp, limit), Value::Long(n)) => cmp.holds(n, limit),
            (Test::Like(glob), Value::Str(text)) => glob.is_match(text),
            (Test::Has(item), Value::Strs(items)) => items.contains(item),
            (Test::Versus(cmp, attr), value) => all.get(attr).is_some_and(|other| compare(*cmp, value, other)),
            _ => false,
        }
    }
}

/// Values of one type: any can be equal or not, only numbers are more or less.
pub(crate) fn compare(cmp: Cmp, left: &Value, right: &Value) -> bool {
    match (cmp, left, right) {
        (Cmp::Eq, ..) => left == right,
        (Cmp::Ne, ..) => left != right,
        (_, Value::Long(left), Value::Long(right)) => cmp.holds(left, right),
        _ => false,
    }
}
