//! Facts: named formulas over the session's history, which rules read as `context.fact.NAME`.
//!
//! Where the language leaves something open, it is settled thus. A fact that reads `$attr` is false, or 0, for an action
//! that lacks the attribute. An attribute that an event lacks passes no test, `!=` included. `min` and `max` of nothing
//! are 0. A variable that stands free in a whole fact ranges over all there was.

mod alone;
mod atoms;
mod bound;
mod check;
mod counter;
mod course;
mod explain;
mod memory;
#[cfg(test)]
mod mfotl;
mod monitor;
#[cfg(test)]
mod oracle;
mod order;
mod pair;
mod pattern;
mod reach;
mod relation;
mod store;
pub(crate) mod syntax;
mod words;

use crate::action::Value;
use crate::charter::FactType;
use crate::charter::report::{At, Place, Report, clip, nearest};
use crate::charter::table::{Keys, integer};
use crate::decide::Evidence;
use crate::input::Elsewhere;
use crate::session::Values;
use crate::vocabulary::Verb;
use check::{Checker, Compiled};
use course::Course;
use monitor::Query;
use relation::{Given, Var, given};
use smallvec::SmallVec;
use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use syntax::{Expr, Fault, Tree};

pub use alone::{History, Moment};
pub(crate) use atoms::fields_of;
pub use bound::FactBound;
pub(crate) use explain::span_text;
pub(crate) use memory::Memory;
pub(crate) use pair::{Pair, pair};
pub(crate) use pattern::{Occurrence, Pattern, Seen, Test};
pub(crate) use syntax::Cmp;
pub use syntax::Phase;

/// Records that a fact may keep, when it does not say otherwise.
const KEYS_MAX: usize = 65_536;

/// Memory that one of these may take on average: paths and names do with less, and nobody fills it with scripts.
const RECORD_BYTES_MAX: usize = 1_024;

/// Memory that a fact may take at least, however few its records.
const FACT_BYTES_MIN: usize = 1 << 20;

/// Most facts of one charter.
const FACTS_MAX: usize = 1_000;

/// A fact with its memory.
#[derive(Clone, Debug)]
pub(crate) struct Monitor {
    compiled: Compiled,
    /// The attributes of the judged action that it reads, in the order of their variables.
    dollars: Vec<&'static str>,
    keys_max: usize,
    /// Whether it is of the history across sessions, and not of this one alone.
    is_fleet: bool,
    /// The latest time that it was told of. What is learnt late from another session counts as of then.
    last_ns: u64,
    /// It forgot something, and can't be believed any more.
    is_overflowed: bool,
}

/// All facts. A fact's place is that of its name among all, sorted.
#[derive(Clone, Debug, Default)]
pub(crate) struct Facts {
    names: Arc<Vec<String>>,
    monitors: Vec<Monitor>,
    /// INVARIANT: each fact's, as its monitor stands: both change together.
    courses: Vec<Option<Course>>,
    watchers: Arc<Watchers>,
    /// Some fact may have no value.
    is_uncertain: bool,
}

/// The facts that an event may change, by its phase and verb.
#[derive(Debug, Default)]
struct Watchers {
    /// By [`at`].
    by_event: Vec<Vec<usize>>,
    /// Those that change by any event.
    every: Vec<usize>,
}

/// Where events of that phase and verb stand, by the verb's place in the vocabulary.
fn at(phase: Phase, verb: usize) -> usize {
    let phase = match phase {
        Phase::Attempt => 0,
        Phase::Did => 1,
        Phase::Result => 2,
    };
    verb.saturating_mul(3).saturating_add(phase)
}

impl Watchers {
    /// The places of the facts that such an event may change.
    fn of(&self, phase: Phase, verb: Verb) -> impl Iterator<Item = &usize> {
        self.by_event.get(at(phase, verb.index())).into_iter().flatten().chain(&self.every)
    }
}

/// What compiling `[facts]` gives.
#[derive(Debug, Default)]
pub(crate) struct FactSection {
    pub facts: Facts,
    /// Every name that was written, with its type; for one that did not compile, a guess, so that the rules that read
    /// it are not told of a second time.
    pub types: BTreeMap<String, FactType>,
    pub places: BTreeMap<String, Place>,
    /// The facts that other facts name.
    pub named: BTreeSet<String>,
    /// The verbs and attributes that the facts' atoms name.
    pub atoms: BTreeSet<String>,
}

/// Words that Cedar keeps for itself.
const CEDAR_WORDS: &[&str] = &["if", "then", "else", "in", "is", "permit", "forbid", "when", "unless", "principal"];

pub(crate) fn section(report: &mut Report, root: &mut Keys, source: &str) -> FactSection {
    let mut out = FactSection::default();
    let Some(section) = root.table(report, "facts") else { return out };
    let mut texts: BTreeMap<String, Said> = BTreeMap::new();
    for (name, value) in section.entries() {
        if texts.len() >= FACTS_MAX {
            report.error("FB0160", &name.place, format!("more than {FACTS_MAX} facts"), ());
            break;
        }
        let is_name = name.value.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
            && name.value.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && !syntax::KEYWORDS.contains(&name.value.as_str())
            && !CEDAR_WORDS.contains(&name.value.as_str())
            && !name.value.starts_with("__");
        if !is_name {
            let message = format!("`{}` is no name for a fact", clip(&name.value));
            report.error("FB0120", &name.place, message, "letters, digits and `_`, and no word of the language");
            continue;
        }
        if let Some(said) = text_of(report, &section, &name, value) {
            out.places.insert(name.value.clone(), name.place.clone());
            texts.insert(name.value, said);
        }
    }
    let mut trees: BTreeMap<String, (String, Tree)> = BTreeMap::new();
    let mut monitors = BTreeMap::new();
    for (name, Said { text, .. }) in &texts {
        match syntax::fact(&text.value) {
            Ok(tree) => {
                named_in(&tree, &mut out.named);
                atoms_in(&tree, &mut out.atoms);
                trees.insert(name.clone(), (text.value.clone(), tree));
            }
            Err(fault) => tell(report, source, text, fault),
        }
        out.types.insert(name.clone(), FactType::Bool);
    }
    for (name, (text, tree)) in &trees {
        let Some(Said { text: at, keys_max, is_fleet }) = texts.get(name) else { continue };
        match Checker::new(text, &trees).compile(name, tree) {
            Ok((compiled, dollars)) => {
                let ty = match compiled {
                    Compiled::Formula(_) => FactType::Bool,
                    Compiled::Number(_) => FactType::Long,
                };
                out.types.insert(name.clone(), ty);
                let monitor = Monitor::new(compiled, dollars, *keys_max, *is_fleet);
                monitors.insert(name.clone(), monitor);
            }
            Err(fault) => {
                if matches!(tree.expr, Expr::Number(_)) {
                    out.types.insert(name.clone(), FactType::Long);
                }
                // A fact that names one that did not parse is told of there.
                let is_echo = fault.code == "FB0121" && fault.message.starts_with("no fact `") && {
                    let missing = fault.message.trim_start_matches("no fact `").trim_end_matches('`');
                    texts.contains_key(missing)
                };
                if !is_echo {
                    tell(report, source, at, fault);
                }
            }
        }
    }
    out.facts = Facts::new(monitors);
    out
}

/// What was said of a fact.
struct Said {
    text: At<String>,
    keys_max: usize,
    is_fleet: bool,
}

/// A fact's text: a string, or a table with `is`.
fn text_of(
    report: &mut Report,
    section: &Keys,
    name: &At<String>,
    value: &toml::Spanned<toml::de::DeValue<'_>>,
) -> Option<Said> {
    let place = Place::new(&section.place.file, value.span());
    if let Some(text) = value.get_ref().as_str() {
        return Some(Said { text: At { value: text.to_owned(), place }, keys_max: KEYS_MAX, is_fleet: false });
    }
    let Some(table) = value.get_ref().as_table() else {
        report.error("FB0103", &place, format!("fact `{}` is to be a string", name.value), "such as `'once did …'`");
        return None;
    };
    let mut keys = Keys::new(format!("fact `{}`", name.value), place, table);
    let text = keys.required_str(report, "is");
    let is_fleet = keys.choice(report, "per", &["session", "fleet"]).is_some_and(|per| per.value == "fleet");
    let keys_max = keys.raw("keys_max").map(|v| {
        let wanted = integer(v.get_ref()).and_then(|n| usize::try_from(n).ok()).filter(|n| (1..=1 << 24).contains(n));
        if wanted.is_none() {
            let place = Place::new(&section.place.file, v.span());
            report.error("FB0103", &place, "`keys_max` is to be between 1 and 16,777,216", ());
        }
        wanted.unwrap_or(KEYS_MAX)
    });
    keys.finish(report);
    Some(Said { text: text?, keys_max: keys_max.unwrap_or(KEYS_MAX), is_fleet })
}

/// Reports a fault in a text that stands in a TOML string.
pub(crate) fn tell(report: &mut Report, source: &str, text: &At<String>, fault: Fault) {
    let place = place_in(source, text, fault.span);
    report.error(fault.code, &place, fault.message, fault.hint);
}

/// Where bytes of a TOML string's value stand in the file: exact unless the string has escapes.
fn place_in(source: &str, text: &At<String>, part: std::ops::Range<usize>) -> Place {
    let raw = source.get(text.place.span.clone()).unwrap_or_default();
    let quote = ["'''", "\"\"\"", "'", "\""].into_iter().find(|q| raw.starts_with(q)).unwrap_or_default();
    let after = raw.get(quote.len()..).unwrap_or_default();
    let newline = if quote.len() == 3 { after.len() - after.trim_start_matches(['\r', '\n']).len() } else { 0 };
    let start = quote.len() + newline;
    if raw.get(start..).is_some_and(|inner| inner.starts_with(&text.value)) {
        text.place.within(start.saturating_add(part.start)..start.saturating_add(part.end))
    } else {
        text.place.clone()
    }
}

fn named_in(tree: &Tree, out: &mut BTreeSet<String>) {
    if let Expr::Name(name) = &tree.expr {
        out.insert(name.clone());
    }
    tree.below().into_iter().for_each(|inner| named_in(inner, out));
}

/// The verbs and attributes that its atoms name.
fn atoms_in(tree: &Tree, out: &mut BTreeSet<String>) {
    let mut add = |atom: &syntax::AtomAst| {
        out.extend(atoms::verbs_of(atom).map(|v| v.name().to_owned()));
        out.extend(atom.matches.iter().map(|m| m.attr.clone()));
    };
    match &tree.expr {
        Expr::Atom(atom) => add(atom),
        Expr::Number(number) => {
            add(&number.atom);
            out.extend(number.by.iter().map(|(name, _)| name.clone()));
        }
        _ => {}
    }
    tree.below().into_iter().for_each(|inner| atoms_in(inner, out));
}

/// A fact's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Bool(bool),
    Long(i64),
}

impl From<Answer> for Value {
    fn from(answer: Answer) -> Self {
        match answer {
            Answer::Bool(is_true) => Value::Bool(is_true),
            Answer::Long(n) => Value::Long(n),
        }
    }
}

/// Why a fact has no value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lost {
    /// It would have had to keep more than it may.
    Overflow,
    /// A number left 64 bits.
    Broken,
    /// There is no such fact.
    Unknown,
}

impl Facts {
    fn new(monitors: BTreeMap<String, Monitor>) -> Self {
        let (names, monitors): (Vec<String>, Vec<Monitor>) = monitors.into_iter().unzip();
        let mut watchers = Watchers::default();
        for (place, monitor) in monitors.iter().enumerate() {
            match monitor.events() {
                Some(events) => events.into_iter().for_each(|(phase, verb)| {
                    let at = at(phase, verb);
                    if watchers.by_event.len() <= at {
                        watchers.by_event.resize_with(at.saturating_add(1), Vec::new);
                    }
                    if let Some(places) = watchers.by_event.get_mut(at) {
                        places.push(place);
                    }
                }),
                None => watchers.every.push(place),
            }
        }
        let is_uncertain = monitors.iter().any(Monitor::is_uncertain);
        let courses = monitors.iter().map(Course::of).collect();
        Self { names: Arc::new(names), monitors, courses, watchers: Arc::new(watchers), is_uncertain }
    }

    /// Takes the next event of this session in.
    pub fn commit(&mut self, event: &Occurrence) {
        self.take(event, false);
    }

    /// Takes in what happened in another session, under the number of the entry that tells of it here: only facts of the
    /// whole fleet see it.
    pub fn elsewhere(&mut self, happened: &Elsewhere, seq: u64, now_ns: u64) {
        let Elsewhere { session, phase, action, ok, attrs, .. } = happened;
        let mut values = session.values(action);
        if *phase == Phase::Result {
            values = values.with_outcome(*ok, attrs);
        }
        let (values, at_ns) = (Seen::Live(&values), happened.at_ns.min(now_ns));
        self.take(&Occurrence { phase: *phase, verb: action.verb, values, seq, at_ns }, true);
    }

    /// Whether any fact is of the history across sessions.
    pub fn are_fleet(&self) -> bool {
        self.monitors.iter().any(|m| m.is_fleet)
    }

    /// Whether an event of another session can matter.
    pub fn sees_elsewhere(&self, phase: Phase, verb: Verb) -> bool {
        let mut watching = self.watchers.of(phase, verb);
        watching.any(|place| self.monitors.get(*place).is_some_and(|m| m.is_fleet))
    }

    /// Whether such an event can change any fact.
    pub fn is_watched(&self, phase: Phase, verb: Verb) -> bool {
        self.watchers.of(phase, verb).next().is_some()
    }

    fn take(&mut self, event: &Occurrence, is_elsewhere: bool) {
        for place in self.watchers.of(event.phase, event.verb) {
            let Some(monitor) = self.monitors.get_mut(*place) else { continue };
            if !monitor.is_overflowed && (monitor.is_fleet || !is_elsewhere) {
                monitor.commit(event);
                if let Some(course) = self.courses.get_mut(*place) {
                    *course = Course::of(monitor);
                }
                self.is_uncertain |= monitor.is_uncertain();
            }
        }
    }

    /// Each fact's name with its place.
    pub fn places(&self) -> impl Iterator<Item = (&str, usize)> {
        self.names.iter().map(String::as_str).zip(0..)
    }

    pub fn name(&self, place: usize) -> &str {
        self.names.get(place).map_or("", String::as_str)
    }

    fn place(&self, name: &str) -> Option<usize> {
        self.names.binary_search_by(|n| n.as_str().cmp(name)).ok()
    }

    fn named(&self, name: &str) -> Option<&Monitor> {
        self.monitors.get(self.place(name)?)
    }

    /// The value of the fact at that place, where it was worked out with the last event that it took in.
    fn foreseen(&self, place: usize, now_ns: u64) -> Option<Answer> {
        let course = self.courses.get(place).copied().flatten()?;
        Some(Answer::Bool(course.holds(now_ns)))
    }

    /// The facts as the action with these values finds them.
    pub fn known<'a>(&'a self, values: &'a Values<'a>, now_ns: u64) -> Known<'a> {
        Known { facts: self, values, now_ns, cells: self.monitors.iter().map(|_| OnceCell::new()).collect() }
    }

    /// The atoms of the fact at that place.
    pub fn patterns(&self, place: usize) -> Vec<&Pattern> {
        let mut out = Vec::new();
        match self.monitors.get(place).map(|m| &m.compiled) {
            Some(Compiled::Formula(node)) => node.patterns(&mut out),
            Some(Compiled::Number(counter)) => out.push(&counter.pattern),
            None => {}
        }
        out
    }

    /// The attributes of the judged action that the fact reads, in the order of their variables, which come before all others.
    pub fn dollars(&self, place: usize) -> &[&'static str] {
        self.monitors.get(place).map(|m| m.dollars.as_slice()).unwrap_or_default()
    }

    /// The numbers that the fact compares counts with.
    pub fn limits(&self, place: usize) -> Vec<i64> {
        let mut out = Vec::new();
        if let Some(Compiled::Formula(node)) = self.monitors.get(place).map(|m| &m.compiled) {
            node.limits(&mut out);
        }
        out
    }

    /// What the fact says, all that it names included: two facts of which this is equal have equal values for ever.
    pub fn identity(&self, place: usize) -> String {
        self.monitors.get(place).map(|monitor| format!("{monitor:?}")).unwrap_or_default()
    }

    /// The facts as they are supposed to be, by place, whatever happened.
    pub fn supposed<'a>(&'a self, values: &'a Values<'a>, suppose: impl Fn(usize) -> Value) -> Known<'a> {
        let answer = |value| match value {
            Value::Long(n) => Answer::Long(n),
            value => Answer::Bool(value == Value::Bool(true)),
        };
        let cells = (0..self.monitors.len()).map(|place| OnceCell::from(Ok(answer(suppose(place))))).collect();
        Known { facts: self, values, now_ns: 0, cells }
    }

    /// A fact's value for the action with these values.
    pub fn value(&self, name: &str, values: &Values, now_ns: u64) -> Result<Value, Lost> {
        let place = self.place(name).ok_or(Lost::Unknown)?;
        let answer = match self.foreseen(place, now_ns) {
            Some(answer) => answer,
            None => self.monitors.get(place).ok_or(Lost::Unknown)?.value(values, now_ns)?,
        };
        Ok(answer.into())
    }

    /// The entries behind the value, and what would turn it.
    pub fn evidence(&self, name: &str, values: &Values, now_ns: u64) -> Evidence {
        let Some(monitor) = self.named(name) else { return Evidence::default() };
        let Some(given) = given(&monitor.dollars, values) else {
            let is_formula = matches!(monitor.compiled, Compiled::Formula(_));
            return Evidence { holds: is_formula.then_some(false), ..Evidence::default() };
        };
        let query = Query { now_ns, given: Some(&given), guard: None };
        let ((witnesses, needs), holds) = match &monitor.compiled {
            Compiled::Formula(node) if node.truth(query).unwrap_or_else(|| node.at(query).holds()) => {
                (explain::why(node, query), Some(true))
            }
            Compiled::Formula(node) => (explain::why_not(node, query), Some(false)),
            Compiled::Number(counter) => (explain::number(counter, None, query), None),
        };
        Evidence { witnesses: witnesses.into_vec(), needs, holds }
    }

    /// What the fact may keep at most, and why.
    pub fn bound(&self, name: &str) -> Option<FactBound> {
        self.named(name).map(|monitor| bound::of(name, monitor))
    }
}

/// The facts as one action finds them, each evaluated when it is first asked for.
#[derive(Debug)]
pub(crate) struct Known<'a> {
    facts: &'a Facts,
    values: &'a Values<'a>,
    now_ns: u64,
    cells: SmallVec<[OnceCell<Result<Answer, Lost>>; 16]>,
}

impl Known<'_> {
    /// The value of the fact at that place, if it has one.
    pub fn value(&self, place: usize) -> Option<Answer> {
        self.at(place)?.ok()
    }

    fn at(&self, place: usize) -> Option<Result<Answer, Lost>> {
        let cell = self.cells.get(place)?;
        // Nothing is kept of one that was worked out already: but what was supposed or taken away stands in its cell.
        if let (None, Some(answer)) = (cell.get(), self.facts.foreseen(place, self.now_ns)) {
            return Some(Ok(answer));
        }
        let monitor = self.facts.monitors.get(place)?;
        Some(*cell.get_or_init(|| monitor.value(self.values, self.now_ns)))
    }

    pub fn name(&self, place: usize) -> &str {
        self.facts.name(place)
    }

    /// Takes a fact's value away.
    #[cfg(test)]
    pub fn lose(&mut self, place: usize) {
        if let Some(cell) = self.cells.get_mut(place) {
            *cell = OnceCell::from(Err(Lost::Overflow));
        }
    }

    /// Those of the facts that have no value, and why.
    pub fn lost(&self, places: &BTreeSet<usize>) -> BTreeMap<String, Lost> {
        if !self.facts.is_uncertain {
            return BTreeMap::new();
        }
        let lost = |place: &usize| match self.at(*place)? {
            Err(why) => Some((self.name(*place).to_owned(), why)),
            Ok(_) => None,
        };
        places.iter().filter_map(lost).collect()
    }
}

impl Monitor {
    fn new(compiled: Compiled, dollars: Vec<&'static str>, keys_max: usize, is_fleet: bool) -> Self {
        Self { compiled, dollars, keys_max, is_fleet, last_ns: 0, is_overflowed: false }
    }

    /// The events that can change it; nothing when any can.
    fn events(&self) -> Option<BTreeSet<(Phase, usize)>> {
        let mut patterns = Vec::new();
        match &self.compiled {
            Compiled::Formula(node) if !node.sleeps() => return None,
            Compiled::Formula(node) => node.patterns(&mut patterns),
            Compiled::Number(counter) => patterns.push(&counter.pattern),
        }
        Some(patterns.into_iter().flat_map(|p| p.verbs.iter().map(|v| (p.phase, v.index()))).collect())
    }

    /// Whether it may have no value.
    fn is_uncertain(&self) -> bool {
        match &self.compiled {
            Compiled::Formula(node) => self.is_overflowed || node.joins(),
            // Numbers are checked when they are given out.
            Compiled::Number(counter) => self.is_overflowed || counter.of.is_some(),
        }
    }

    fn value(&self, values: &Values, now_ns: u64) -> Result<Answer, Lost> {
        if self.dollars.is_empty() {
            return self.value_for_all(now_ns);
        }
        let given = given(&self.dollars, values);
        self.answer(given.as_ref().map(|given| Query { now_ns, given: Some(given as Given), guard: None }))
    }

    /// Of a fact that reads nothing of the judged action.
    fn value_for_all(&self, now_ns: u64) -> Result<Answer, Lost> {
        static NOTHING: BTreeMap<Var, &Value> = BTreeMap::new();
        self.answer(Some(Query { now_ns, given: Some(&NOTHING), guard: None }))
    }

    /// The answer to a question; to none, where the action lacks what the fact reads of it.
    fn answer(&self, query: Option<Query>) -> Result<Answer, Lost> {
        if self.is_overflowed {
            return Err(Lost::Overflow);
        }
        Ok(match (&self.compiled, query) {
            (Compiled::Formula(node), Some(query)) => match node.truth(query) {
                Some(is_true) => Answer::Bool(is_true),
                None => {
                    let relation = node.at(query);
                    if relation.is_cut {
                        return Err(Lost::Overflow);
                    }
                    Answer::Bool(relation.holds())
                }
            },
            (Compiled::Formula(_), None) => Answer::Bool(false),
            (Compiled::Number(counter), Some(query)) => {
                Answer::Long(i64::try_from(counter.number(query)).map_err(|_| Lost::Broken)?)
            }
            (Compiled::Number(_), None) => Answer::Long(0),
        })
    }

    fn commit(&mut self, event: &Occurrence) {
        self.last_ns = self.last_ns.max(event.at_ns);
        let event = &Occurrence { at_ns: self.last_ns, ..*event };
        match &mut self.compiled {
            Compiled::Formula(node) => node.commit(event),
            Compiled::Number(counter) => counter.commit(event),
        }
        if self.is_full() {
            match &mut self.compiled {
                Compiled::Formula(node) => node.expire(event.at_ns),
                Compiled::Number(counter) => counter.expire(event.at_ns),
            }
            self.is_overflowed = self.is_full();
        }
    }

    fn is_full(&self) -> bool {
        let (records, bytes) = match &self.compiled {
            Compiled::Formula(node) => node.size(),
            Compiled::Number(counter) => (counter.records(), counter.bytes()),
        };
        records > self.keys_max || bytes > self.bytes_max()
    }

    fn bytes_max(&self) -> usize {
        self.keys_max.saturating_mul(RECORD_BYTES_MAX).max(FACT_BYTES_MIN)
    }
}

/// Tells of a fact that does not exist.
pub(crate) fn known(report: &mut Report, types: &BTreeMap<String, FactType>, name: &At<String>) -> Option<FactType> {
    let found = types.get(&name.value).copied();
    if found.is_none() {
        let hint = nearest(&name.value, types.keys().map(String::as_str));
        report.error("FB0121", &name.place, format!("no fact `{}`", clip(&name.value)), hint);
    }
    found
}
