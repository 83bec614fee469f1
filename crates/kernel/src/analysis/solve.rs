//! Finds an action that satisfies a formula: decides atoms one after another, and asks of each group of atoms whether
//! some value comes out so. Bounded by steps, never by a clock.

use super::formula::{Atom, Formulas, Id, Slot, Term};
use super::words::{Demand, NoWord, Test, View, word};
use crate::session::Session;
use crate::vocabulary::{ResourceKind, Verb};
use std::collections::{BTreeMap, BTreeSet};

/// Values that make a formula true. What is not named may have any value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Model {
    pub texts: BTreeMap<Slot, String>,
    pub longs: BTreeMap<Slot, i64>,
    pub sets: BTreeMap<Slot, Vec<String>>,
    pub flags: BTreeMap<Slot, bool>,
    pub present: BTreeMap<&'static str, bool>,
    /// For each part of the time that is bounded its least and its most.
    pub times: BTreeMap<&'static str, (i64, i64)>,
}

/// What a search came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    Model(Box<Model>),
    /// Nothing satisfies it.
    Nothing,
    /// The steps were used up, or some tests were too entangled.
    CutOff,
}

/// How much work is left.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Steps {
    pub left: u64,
}

impl Steps {
    fn take(&mut self, n: u64) {
        self.left = self.left.saturating_sub(n);
    }
}

/// Finds a model of the formula for actions of that verb.
pub(crate) fn solve(all: &Formulas, goal: Id, verb: Verb, session: &Session, steps: &mut Steps) -> Found {
    // A search sets up a place for each atom and term.
    steps.take(u64::try_from(all.atoms.len().saturating_add(all.terms.len()) / 4).unwrap_or(u64::MAX));
    Search::new(all, verb, session).run(goal, steps)
}

/// What one value decides together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Group {
    /// A file's path, with what is derived from it.
    Path,
    Value(Slot),
}

struct Decision {
    atom: usize,
    /// Whether the other value was tried before.
    is_second: bool,
    /// Where the trail stood before it.
    trail: usize,
}

struct Search<'f> {
    all: &'f Formulas,
    session: &'f Session,
    verb: Verb,
    values: Vec<Option<bool>>,
    trail: Vec<usize>,
    decisions: Vec<Decision>,
    groups: BTreeMap<Group, Vec<usize>>,
    group_of: Vec<Option<Group>>,
    /// Texts that were found for what was demanded of them.
    words: BTreeMap<(bool, Vec<Demand>), Result<String, NoWord>>,
    memo: Vec<(u64, Option<bool>)>,
    round: u64,
    is_cut: bool,
    /// The atom that says whether an attribute is there.
    presences: BTreeMap<&'static str, usize>,
}

impl<'f> Search<'f> {
    fn new(all: &'f Formulas, verb: Verb, session: &'f Session) -> Self {
        let is_file = verb.spec().resource == ResourceKind::File;
        let group_of: Vec<Option<Group>> = all.atoms.iter().map(|atom| group(atom, is_file)).collect();
        let mut groups: BTreeMap<Group, Vec<usize>> = BTreeMap::new();
        for (atom, group) in group_of.iter().enumerate() {
            if let Some(group) = group {
                groups.entry(*group).or_default().push(atom);
            }
        }
        let presence =
            |(at, atom): (usize, &Atom)| if let Atom::Present(name) = atom { Some((*name, at)) } else { None };
        Self {
            presences: all.atoms.iter().enumerate().filter_map(presence).collect(),
            values: vec![None; all.atoms.len()],
            memo: vec![(0, None); all.terms.len()],
            all,
            session,
            verb,
            trail: Vec::new(),
            decisions: Vec::new(),
            groups,
            group_of,
            words: BTreeMap::new(),
            round: 0,
            is_cut: false,
        }
    }

    fn run(mut self, goal: Id, steps: &mut Steps) -> Found {
        loop {
            if steps.left == 0 {
                return Found::CutOff;
            }
            self.round += 1;
            let is_open = match self.truth(goal, steps) {
                Some(true) => match self.model(steps) {
                    Some(model) => return Found::Model(Box::new(model)),
                    None => false,
                },
                Some(false) => false,
                None => match self.next(goal) {
                    Some((atom, value)) => self.decide(atom, value, false, steps),
                    None => false,
                },
            };
            if !is_open && !self.back(steps) {
                return if self.is_cut { Found::CutOff } else { Found::Nothing };
            }
        }
    }

    /// Sets an atom, and what follows of it; false when no value comes out so.
    fn decide(&mut self, atom: usize, value: bool, is_second: bool, steps: &mut Steps) -> bool {
        self.decisions.push(Decision { atom, is_second, trail: self.trail.len() });
        self.set(atom, value);
        let Some(group) = self.group_of.get(atom).copied().flatten() else { return true };
        match self.value(group, steps) {
            Some(false) => false,
            _ => {
                self.follow(group, steps);
                true
            }
        }
    }

    fn set(&mut self, atom: usize, value: bool) {
        if let Some(place) = self.values.get_mut(atom) {
            *place = Some(value);
            self.trail.push(atom);
        }
    }

    /// Takes the last decision back that has another value left, and takes that; false when there is none.
    fn back(&mut self, steps: &mut Steps) -> bool {
        while let Some(last) = self.decisions.pop() {
            let was = self.values.get(last.atom).copied().flatten().unwrap_or_default();
            for atom in self.trail.drain(last.trail..) {
                if let Some(place) = self.values.get_mut(atom) {
                    *place = None;
                }
            }
            if !last.is_second && self.decide(last.atom, !was, true, steps) {
                return true;
            }
        }
        false
    }

    /// Where one text is left, all other tests of it are decided too.
    fn follow(&mut self, group: Group, steps: &mut Steps) {
        let is_text = |d: &(&Demand, bool)| d.1;
        let demands = self.demands(group);
        let fixed = demands.iter().map(|d| (d, d.wanted && matches!(d.test, Test::Is(_)))).find(is_text);
        let is_fixed =
            fixed.is_some_and(|(d, _)| d.view == View::Whole || (d.view == View::Rel && d.test != Test::Is("".into())));
        if !is_fixed {
            return;
        }
        let Some(Ok(text)) = self.words.get(&(group == Group::Path, demands)).cloned() else { return };
        let atoms = self.groups.get(&group).cloned().unwrap_or_default();
        steps.take(u64::try_from(atoms.len()).unwrap_or(u64::MAX));
        for atom in atoms {
            if self.values.get(atom).copied().flatten().is_none()
                && let Some(demand) = self.demand(atom, true)
            {
                let holds = demand.test.holds(&self.seen(demand.view, &text));
                self.set(atom, holds);
            }
        }
    }

    fn seen(&self, view: View, path: &str) -> String {
        let Ok(action) = crate::Action::new("fs.read", crate::Resource::file(path), crate::Surface::Fs) else {
            return String::new();
        };
        let values = self.session.values(&action);
        let field = match view {
            View::Whole => return path.to_owned(),
            View::Rel => "rel",
            View::Name => "name",
            View::Zone => "zone",
        };
        values.get(field).and_then(crate::Value::as_str).unwrap_or_default().to_owned()
    }

    fn demand(&self, atom: usize, wanted: bool) -> Option<Demand> {
        let Some(Atom::Text(slot, test)) = self.all.atoms.get(atom) else { return None };
        let is_path = self.group_of.get(atom).copied().flatten() == Some(Group::Path);
        let view = match slot {
            Slot::Field("rel") if is_path => View::Rel,
            Slot::Field("name") if is_path => View::Name,
            Slot::Field("zone") if is_path => View::Zone,
            _ => View::Whole,
        };
        Some(Demand { view, test: test.clone(), wanted })
    }

    fn demands(&self, group: Group) -> Vec<Demand> {
        let atoms = self.groups.get(&group).map(Vec::as_slice).unwrap_or_default();
        let decided = atoms.iter().filter_map(|a| Some((*a, self.values.get(*a).copied().flatten()?)));
        decided.filter_map(|(atom, value)| self.demand(atom, value)).collect()
    }

    /// Whether the action has what the group is about; nothing while that is open.
    fn presence(&self, group: Group) -> Option<bool> {
        let Group::Value(Slot::Attr(name)) = group else { return Some(true) };
        match self.presences.get(name) {
            Some(at) => self.values.get(*at).copied().flatten(),
            None => Some(true),
        }
    }

    /// Whether the group has a value that comes out as decided; nothing when that could not be told.
    fn value(&mut self, group: Group, steps: &mut Steps) -> Option<bool> {
        // An attribute that the action lacks, or may yet lack, has no value that could be wrong.
        if self.presence(group) != Some(true) {
            return Some(true);
        }
        let atoms = self.groups.get(&group).cloned().unwrap_or_default();
        steps.take(u64::try_from(atoms.len()).unwrap_or(u64::MAX));
        let decided: Vec<(&Atom, bool)> = atoms
            .iter()
            .filter_map(|a| Some((self.all.atoms.get(*a)?, self.values.get(*a).copied().flatten()?)))
            .collect();
        if decided.iter().any(|(a, _)| matches!(a, Atom::Text(..))) {
            return match self.text(group, steps) {
                Ok(_) => Some(true),
                Err(NoWord::Impossible) => Some(false),
                Err(NoWord::CutOff) => {
                    self.is_cut = true;
                    Some(false)
                }
            };
        }
        if decided.iter().any(|(a, _)| matches!(a, Atom::AtMost(..))) {
            return Some(number(&decided, group).is_some());
        }
        Some(items(&decided).is_some())
    }

    fn text(&mut self, group: Group, steps: &mut Steps) -> Result<String, NoWord> {
        let demands = self.demands(group);
        let holds_all = |text: &str| demands.iter().all(|d| d.test.holds(text) == d.wanted);
        let few = match group {
            Group::Value(Slot::Surface) => Some(surfaces(self.verb)),
            Group::Value(Slot::Consequence(_)) => Some(vec!["low", "medium", "high", "critical"]),
            Group::Value(Slot::Reversibility(_)) => Some(vec!["pure", "idempotent", "compensatable", "irreversible"]),
            _ => None,
        };
        if let Some(few) = few {
            return few.into_iter().find(|t| holds_all(t)).map(str::to_owned).ok_or(NoWord::Impossible);
        }
        let key = (group == Group::Path, demands);
        if let Some(found) = self.words.get(&key) {
            return found.clone();
        }
        let mut taken = 0;
        let found = if group == Group::Path {
            word(&key.1, Some(self.session), &mut taken)
        } else {
            // An empty text reads badly.
            let mut fuller = key.1.clone();
            fuller.push(Demand { view: View::Whole, test: Test::Is("".into()), wanted: false });
            word(&fuller, None, &mut taken).or_else(|_| word(&key.1, None, &mut taken))
        };
        steps.take(taken);
        self.words.insert(key, found.clone());
        found
    }

    fn model(&mut self, steps: &mut Steps) -> Option<Model> {
        let mut out = Model::default();
        for (atom, value) in self.all.atoms.iter().zip(&self.values) {
            match (atom, value) {
                (Atom::Present(name), Some(value)) => {
                    out.present.insert(name, *value);
                }
                (Atom::Flag(slot), Some(value)) => {
                    out.flags.insert(*slot, *value);
                }
                _ => {}
            }
        }
        let groups: Vec<(Group, Vec<usize>)> = self.groups.iter().map(|(g, atoms)| (*g, atoms.clone())).collect();
        for (group, atoms) in groups {
            let decided: Vec<(&Atom, bool)> = atoms
                .iter()
                .filter_map(|a| Some((self.all.atoms.get(*a)?, self.values.get(*a).copied().flatten()?)))
                .collect();
            let presence = self.presence(group);
            if decided.is_empty() || presence == Some(false) {
                continue;
            }
            let slot = match group {
                Group::Path => Slot::Field("path"),
                Group::Value(slot) => slot,
            };
            if let Slot::Time(part) = slot {
                out.times.insert(part, bounds(&decided, group)?);
                continue;
            }
            let is_there = if decided.iter().any(|(a, _)| matches!(a, Atom::Text(..))) {
                self.text(group, steps).ok().map(|text| out.texts.insert(slot, text)).is_some()
            } else if decided.iter().any(|(a, _)| matches!(a, Atom::AtMost(..))) {
                number(&decided, group).map(|n| out.longs.insert(slot, n)).is_some()
            } else {
                items(&decided).map(|items| out.sets.insert(slot, items)).is_some()
            };
            match (is_there, slot) {
                (true, _) => {}
                (false, Slot::Attr(name)) if presence.is_none() => {
                    out.present.insert(name, false);
                }
                (false, _) => return None,
            }
        }
        Some(out)
    }

    /// The formula's value as far as it is decided.
    fn truth(&mut self, id: Id, steps: &mut Steps) -> Option<bool> {
        let at = usize::try_from(id).unwrap_or(usize::MAX);
        if let Some((round, known)) = self.memo.get(at)
            && *round == self.round
        {
            return *known;
        }
        steps.take(1);
        let all = self.all;
        let known = match all.get(id) {
            Term::Known(b) => Some(*b),
            Term::Atom(atom) => self.values.get(*atom).copied().flatten(),
            Term::Not(inner) => self.truth(*inner, steps).map(|b| !b),
            Term::And(parts) => self.joined(parts, false, steps),
            Term::Or(parts) => self.joined(parts, true, steps),
        };
        if let Some(place) = self.memo.get_mut(at) {
            *place = (self.round, known);
        }
        known
    }

    fn joined(&mut self, parts: &[Id], decided: bool, steps: &mut Steps) -> Option<bool> {
        let mut is_open = false;
        for part in parts {
            match self.truth(*part, steps) {
                Some(value) if value == decided => return Some(decided),
                Some(_) => {}
                None => is_open = true,
            }
        }
        (!is_open).then_some(!decided)
    }

    /// An atom that the formula's value hangs on, and the value of it that helps.
    fn next(&self, goal: Id) -> Option<(usize, bool)> {
        let (mut id, mut wanted) = (goal, true);
        loop {
            match self.all.get(id) {
                Term::Known(_) => return None,
                Term::Atom(atom) => return Some((*atom, wanted)),
                Term::Not(inner) => (id, wanted) = (*inner, !wanted),
                // INVARIANT: a formula that is open has an open part.
                Term::And(parts) | Term::Or(parts) => id = *parts.iter().find(|part| self.is_open(**part))?,
            }
        }
    }

    fn is_open(&self, id: Id) -> bool {
        match self.all.get(id) {
            Term::Known(_) => false,
            Term::Atom(atom) => self.values.get(*atom).copied().flatten().is_none(),
            _ => usize::try_from(id)
                .ok()
                .and_then(|at| self.memo.get(at))
                .is_none_or(|(round, known)| *round != self.round || known.is_none()),
        }
    }
}

fn group(atom: &Atom, is_file: bool) -> Option<Group> {
    match atom {
        Atom::Text(Slot::Field("path" | "rel" | "name" | "zone"), _) if is_file => Some(Group::Path),
        Atom::Text(slot, _) | Atom::AtMost(slot, _) | Atom::Has(slot, _) | Atom::Empty(slot) => {
            Some(Group::Value(*slot))
        }
        Atom::Present(_) | Atom::Flag(_) | Atom::Opaque(_) => None,
    }
}

/// The least and the most that a number may be, and what people would write.
fn domain(group: Group) -> (i64, i64, i64) {
    match group {
        Group::Value(Slot::Autonomy) => (0, 3, 2),
        Group::Value(Slot::Field("port")) => (0, 65_535, 443),
        Group::Value(Slot::Time(part)) => part_of_time(part),
        _ => (i64::MIN, i64::MAX, 0),
    }
}

/// The number nearest to what people would write that is within the bounds.
fn number(decided: &[(&Atom, bool)], group: Group) -> Option<i64> {
    let (low, high) = bounds(decided, group)?;
    Some(domain(group).2.clamp(low, high))
}

fn bounds(decided: &[(&Atom, bool)], group: Group) -> Option<(i64, i64)> {
    let (least, most, _) = domain(group);
    let (mut low, mut high) = (least, most);
    for (atom, value) in decided {
        if let Atom::AtMost(_, n) = atom {
            if *value {
                high = high.min(*n);
            } else {
                low = low.max(n.checked_add(1)?);
            }
        }
    }
    (low <= high).then_some((low, high))
}

/// The least and the most that a number there may be.
pub(crate) fn bounds_of(slot: Slot) -> (i64, i64) {
    let (least, most, _) = domain(Group::Value(slot));
    (least, most)
}

/// The least, the most and a usual value of a part of the time.
fn part_of_time(part: &str) -> (i64, i64, i64) {
    match part {
        "year" => (1970, 2554, 2026),
        "month" => (1, 12, 1),
        "day" => (1, 31, 1),
        "weekday" => (1, 7, 4),
        "hour" => (0, 23, 12),
        _ => (0, 59, 0),
    }
}

/// The items of a set.
fn items(decided: &[(&Atom, bool)]) -> Option<Vec<String>> {
    let has = |wanted: bool| {
        decided.iter().filter_map(move |(atom, value)| match atom {
            Atom::Has(_, item) if *value == wanted => Some(item.to_string()),
            _ => None,
        })
    };
    let mut out: Vec<String> = has(true).collect();
    let empty = decided.iter().find_map(|(atom, value)| matches!(atom, Atom::Empty(_)).then_some(*value));
    match empty {
        Some(true) if !out.is_empty() => return None,
        Some(false) if out.is_empty() => {
            let not: BTreeSet<String> = has(false).collect();
            let free = (0..=not.len()).map(|n| format!("x{n}")).find(|x| !not.contains(x))?;
            out.push(free);
        }
        _ => {}
    }
    Some(out)
}

/// The surfaces by which an action may come, the usual one first.
fn surfaces(verb: Verb) -> Vec<&'static str> {
    let usual = crate::charter::default_surface(verb).name();
    let all = ["exec", "fs", "net", "http", "mcp", "sql", "git", "k8s", "model", "hook", "sdk"];
    std::iter::once(usual).chain(all.into_iter().filter(|s| *s != usual)).collect()
}
