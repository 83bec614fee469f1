//! Atoms: which events they match, and what they bind.

use super::relation::{Relation, Var};
use super::syntax::{Cmp, Phase};
use crate::action::Value;
use crate::session::Values;
use crate::vocabulary::Verb;
use globset::GlobMatcher;
use std::collections::BTreeMap;

/// One event of an action's life, as facts see it.
#[derive(Clone, Debug)]
pub(crate) struct Occurrence<'a> {
    pub phase: Phase,
    pub verb: Verb,
    /// The action's values; for a result, with the outcome's over them.
    pub values: &'a Values<'a>,
    pub seq: u64,
    pub at_ns: u64,
}

/// A test on one attribute. An attribute that the event lacks passes no test, `!=` included.
#[derive(Clone, Debug)]
pub(crate) enum Test {
    Equal(Value),
    Unequal(Value),
    Compare(Cmp, i64),
    Like(GlobMatcher),
    Has(String),
    /// Is equal to the first attribute that bound the variable; and the reverse.
    Same(&'static str),
    Other(&'static str),
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
            && (self.names_content || event.values.get("content") != Some(&Value::Bool(true)))
            && self.tests.iter().all(|(attr, test)| event.values.get(attr).is_some_and(|v| test.holds(v, event.values)))
            && self.binds.values().all(|attr| event.values.get(attr).is_some())
    }

    /// What the event binds.
    pub fn row(&self, event: &Occurrence) -> Vec<Value> {
        self.binds.values().filter_map(|attr| event.values.get(attr).cloned()).collect()
    }

    pub fn relation(&self, event: &Occurrence) -> Relation {
        let mut out = Relation::empty(self.columns());
        if self.matches(event) {
            out.rows.insert(self.row(event), vec![event.seq]);
        }
        out
    }
}

impl Test {
    fn holds(&self, value: &Value, all: &Values) -> bool {
        match (self, value) {
            (Test::Equal(wanted), value) => wanted == value,
            (Test::Unequal(other), value) => other != value,
            (Test::Compare(cmp, limit), Value::Long(n)) => cmp.holds(*n, *limit),
            (Test::Like(glob), Value::Str(text)) => glob.is_match(text),
            (Test::Has(item), Value::Strs(items)) => items.contains(item),
            (Test::Same(attr), value) => all.get(attr) == Some(value),
            (Test::Other(attr), value) => all.get(attr).is_some_and(|other| other != value),
            _ => false,
        }
    }
}
