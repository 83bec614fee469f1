//! From the values that satisfy a formula to an action, and what the real rules say of it.

use super::formula::Slot;
use super::solve::Model;
use super::words::word;
use crate::action::{Action, Resource, Surface, Value};
use crate::charter::{Charter, FactType, default_surface, rule_attrs, settings};
use crate::civil::Civil;
use crate::decide::{Bench, Decision, Evidence, rules};
use crate::request::Judged;
use crate::ruling::{Governance, Verdict};
use crate::session::Session;
use crate::vocabulary::{AttrType, ResourceKind, Verb};
use std::collections::{BTreeMap, BTreeSet};

/// The facts of some charters, each told apart by what it says.
#[derive(Debug, Default)]
pub(crate) struct SharedFacts {
    /// For each charter the number of each of its facts.
    pub numbers: Vec<Vec<usize>>,
    /// For each charter the first with the same table of consequences.
    tables: Vec<usize>,
    /// A fact's number, and that of one that holds wherever it does (for numbers: is never smaller).
    pub below: Vec<(usize, usize)>,
}

/// Most facts of two charters that are put in order.
const ORDERED_MAX: usize = 300;

impl SharedFacts {
    pub fn of(charters: &[&Charter]) -> Self {
        let mut known: BTreeMap<String, usize> = BTreeMap::new();
        let mut numbers: Vec<Vec<usize>> = Vec::new();
        for charter in charters {
            let places = charter.facts.places();
            let of_charter = places.map(|(_, place)| {
                let next = known.len();
                *known.entry(charter.facts.identity(place)).or_insert(next)
            });
            numbers.push(of_charter.collect());
        }
        let all: Vec<(usize, &Charter, usize)> = charters
            .iter()
            .zip(&numbers)
            .flat_map(|(c, of): (&&Charter, &Vec<usize>)| of.iter().copied().zip(0..).map(|(n, place)| (n, *c, place)))
            .collect();
        let mut below: BTreeSet<(usize, usize)> = BTreeSet::new();
        if all.len() <= ORDERED_MAX {
            for (n, charter, place) in &all {
                let above =
                    all.iter().filter(|(m, other, at)| m != n && charter.facts.is_below(*place, &other.facts, *at));
                below.extend(above.map(|(m, ..)| (*n, *m)));
            }
        }
        let table = |charter: &Charter| format!("{:?}", charter.consequences);
        let tables =
            charters.iter().map(|c| charters.iter().position(|other| table(other) == table(c)).unwrap_or(0)).collect();
        Self { numbers, tables, below: below.into_iter().collect() }
    }

    pub fn table(&self, charter: usize) -> usize {
        self.tables.get(charter).copied().unwrap_or(charter)
    }

    pub fn of_charter(&self, charter: usize) -> &[usize] {
        self.numbers.get(charter).map(Vec::as_slice).unwrap_or_default()
    }
}

/// The action that has these values; what is left open reads as people would write it.
pub(crate) fn action(verb: Verb, is_content: bool, model: &Model, session: &Session) -> Option<Action> {
    let kind = verb.spec().resource;
    let mut resource = Resource::new(kind);
    for field in kind.fields() {
        let slot = Slot::Field(field.name);
        let value = value(model, slot, field.ty).unwrap_or_else(|| usual(kind, field.name, field.ty, model, session));
        resource = resource.with(field.name, value).ok()?;
    }
    let text = |slot: Slot| model.texts.get(&slot).map(String::as_str);
    let surface = match text(Slot::Surface) {
        Some(name) => serde_json::from_value::<Surface>(serde_json::Value::String(name.to_owned())).ok()?,
        None => default_surface(verb),
    };
    let mut action = Action::new(verb.name(), resource, surface).ok()?;
    action.agent = text(Slot::Principal).unwrap_or_default().into();
    for spec in rule_attrs(verb) {
        let slot = Slot::Attr(spec.name);
        let found = value(model, slot, spec.ty);
        let is_there = match model.present.get(spec.name) {
            Some(is_there) => *is_there,
            None => found.is_some() || (is_content && spec.name == "content"),
        };
        if is_there {
            let value = if spec.name == "content" { Some(Value::Bool(true)) } else { found };
            action.set(spec.name, value.unwrap_or_else(|| empty(spec.ty))).ok()?;
        }
    }
    if model.flags.get(&Slot::Opaque) == Some(&true) {
        action.set("opaque", Value::Bool(true)).ok()?;
    }
    Some(action)
}

fn value(model: &Model, slot: Slot, ty: AttrType) -> Option<Value> {
    match ty {
        AttrType::Bool => model.flags.get(&slot).map(|b| Value::Bool(*b)),
        AttrType::Long => model.longs.get(&slot).map(|n| Value::Long(*n)),
        AttrType::Str => model.texts.get(&slot).map(|t| Value::Str(t.clone())),
        AttrType::Strs => model.sets.get(&slot).map(|items| Value::Strs(items.clone())),
    }
}

fn empty(ty: AttrType) -> Value {
    match ty {
        AttrType::Bool => Value::Bool(false),
        AttrType::Long => Value::Long(0),
        AttrType::Str => Value::Str(String::new()),
        AttrType::Strs => Value::Strs(Vec::new()),
    }
}

fn usual(kind: ResourceKind, field: &str, ty: AttrType, model: &Model, session: &Session) -> Value {
    let program = model.texts.get(&Slot::Field("program")).map_or("x", String::as_str);
    match (kind, field) {
        (ResourceKind::File, "path") => word(&[], Some(session), &mut 0).unwrap_or_default().into(),
        (ResourceKind::Command, "path") if program.starts_with('/') => program.into(),
        (ResourceKind::Command, "path") => format!("/usr/bin/{program}").into(),
        (ResourceKind::Command, "cwd") => session.workspace.clone().into(),
        (ResourceKind::Endpoint, "port") => Value::Long(443),
        (ResourceKind::Request, "method") => "GET".into(),
        (ResourceKind::Request, "path") => "/".into(),
        (ResourceKind::Endpoint | ResourceKind::Request, "host") => "x.example".into(),
        _ if ty == AttrType::Str => "x".into(),
        _ => empty(ty),
    }
}

/// 2026-01-01T12:00:00Z, a Thursday.
pub(crate) const USUAL_NS: u64 = 1_767_268_800_000_000_000;

/// A time whose parts are within the model's bounds, the usual one if it is.
pub(crate) fn time(model: &Model) -> Option<u64> {
    const HOUR_NS: u64 = 3_600_000_000_000;
    if model.times.is_empty() {
        return Some(USUAL_NS);
    }
    let fits = |at_ns: &u64, parts: &[&str]| {
        let civil = Civil::of(*at_ns);
        model
            .times
            .iter()
            .filter(|(part, _)| parts.contains(*part))
            .all(|(part, (low, high))| civil.part(part).is_some_and(|n| *low <= n && n <= *high))
    };
    let year = model.times.get("year").map_or(2026, |(low, high)| 2026.clamp(*low, *high));
    let first = crate::civil::parse(&format!("{year:04}-01-01T12:00:00Z"))?;
    // Every weekday meets every date within 28 years.
    let day = (0..28 * 366)
        .map(|n: u64| first.saturating_add(n * 24 * HOUR_NS))
        .find(|at| fits(at, &["year", "month", "day", "weekday"]))?;
    let midnight = day - 12 * HOUR_NS;
    let hour = [12].into_iter().chain(0..24).map(|n| midnight + n * HOUR_NS).find(|at| fits(at, &["hour"]))?;
    (0..60).map(|n| hour + n * (HOUR_NS / 60)).find(|at| fits(at, &["minute"]))
}

/// What the facts of a charter are supposed to be: by name, and only those that the model decides.
pub(crate) fn supposed(charter: &Charter, numbers: &[usize], model: &Model) -> BTreeMap<String, Value> {
    let mut out = BTreeMap::new();
    for (name, place) in charter.facts.places() {
        let Some(number) = numbers.get(place) else { continue };
        let slot = Slot::Fact(*number);
        let value = match charter.fact_types.get(name) {
            Some(FactType::Long) => model.longs.get(&slot).map(|n| Value::Long(*n)),
            _ => model.flags.get(&slot).map(|b| Value::Bool(*b)),
        };
        if let Some(value) = value {
            out.insert(name.to_owned(), value);
        }
    }
    out
}

/// What the rules of a charter say of an action.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Said {
    pub verdict: Verdict,
    /// The rules that gave the verdict, or the kernel's own reason.
    pub rules: Vec<String>,
    /// The paths that are asked.
    pub asks: BTreeSet<String>,
}

/// An action with what is supposed around it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Case<'c> {
    pub action: &'c Action,
    pub facts: &'c BTreeMap<String, Value>,
    pub autonomy: i64,
    pub at_ns: u64,
    pub session: &'c Session,
}

impl Case<'_> {
    /// What the real rules of a charter say of it.
    pub fn judge(&self, charter: &Charter) -> Said {
        self.judged(charter, |judged| {
            let (lost, waived) = (BTreeMap::new(), BTreeSet::new());
            let bench = Bench { charter, evidence: &|_| Evidence::default(), lost: &lost, waived: &waived };
            let Decision { verdict, reasons, asks, .. } = rules(&bench, judged);
            Said {
                verdict,
                rules: reasons.into_iter().map(|r| r.rule.into()).collect(),
                asks: asks.into_keys().collect(),
            }
        })
    }

    /// The real rules that match it; nothing when one of them fails.
    pub fn matching(&self, charter: &Charter) -> Option<BTreeSet<String>> {
        self.judged(charter, |judged| {
            let (forbids, permits) = charter.slice_for(self.action)?.judge(judged);
            let is_sound = forbids.errors.is_empty() && permits.errors.is_empty();
            is_sound.then(|| forbids.ids.into_iter().chain(permits.ids).map(String::from).collect())
        })
    }

    fn judged<T>(&self, charter: &Charter, with: impl FnOnce(&Judged) -> T) -> T {
        let values = self.session.values(self.action);
        let facts = charter.facts.supposed(&values, |place| {
            let name = charter.facts.name(place);
            let otherwise = || match charter.fact_types.get(name) {
                Some(FactType::Long) => Value::Long(0),
                _ => Value::Bool(false),
            };
            self.facts.get(name).cloned().unwrap_or_else(otherwise)
        });
        let rows = &charter.consequences;
        let (consequence, reversibility) = settings::weigh(rows, self.action.verb, &self.action.resource);
        let governance = Governance::of(consequence, reversibility);
        let autonomy = self.autonomy;
        let at_ns = self.at_ns;
        with(&Judged { action: self.action, values: &values, governance: &governance, autonomy, at_ns, facts: &facts })
    }
}

/// The action as an [[example]] writes it, without what goes without saying.
pub(crate) fn text(action: &Action, session: &Session) -> String {
    let kind = action.verb.spec().resource;
    let mut said: Vec<String> = Vec::new();
    for (name, value) in kind.fields().iter().filter_map(|f| Some((f, action.resource.field(f.name)?))) {
        let is_usual = *value == usual(kind, name.name, name.ty, &Model::default(), session)
            || (kind == ResourceKind::Command && matches!(name.name, "path" | "cwd"));
        let is_first = kind.fields().first() == Some(name);
        if (is_first || !is_usual) && *value != empty(name.ty) {
            let path = value.as_str().filter(|_| kind == ResourceKind::File);
            let short = path.and_then(|path| crate::session::below(path, &session.workspace)).filter(|r| !r.is_empty());
            said.push(format!("{}: {}", name.name, short.map_or_else(|| quoted(value), |rel| quoted(&rel.into()))));
        }
    }
    said.extend(action.attrs().map(|(name, value)| format!("{name}: {}", quoted(value))));
    if !action.agent.is_empty() {
        said.push(format!("agent: {}", quoted(&action.agent.as_str().into())));
    }
    if action.surface != default_surface(action.verb) {
        said.push(format!("surface: {}", quoted(&action.surface.name().into())));
    }
    format!("{}({})", action.verb, said.join(", "))
}

fn quoted(value: &Value) -> String {
    let quote = |text: &str| {
        if text.contains('\'') { format!("\"{text}\"") } else { format!("'{text}'") }
    };
    match value {
        Value::Bool(b) => b.to_string(),
        Value::Long(n) => n.to_string(),
        Value::Str(text) => quote(text),
        Value::Strs(items) => format!("[{}]", items.iter().map(|i| quote(i)).collect::<Vec<_>>().join(", ")),
    }
}
