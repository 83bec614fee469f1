//! Finds an action that satisfies a formula: sets what must be, tries the rest, and asks of each group of atoms whether
//! some value comes out so. Bounded by steps, never by a clock.

use super::formula::{Atom, Formulas, Id, Slot, Term};
use super::texts::Known;
use super::words::{Demand, View};
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

/// How much work is left, and what is known from the work before.
#[derive(Clone, Debug, Default)]
pub(crate) struct Steps {
    pub left: u64,
    pub known: Known,
}

impl Steps {
    pub fn of(left: u64) -> Self {
        Self { left, known: Known::default() }
    }

    fn take(&mut self, n: u64) {
        self.left = self.left.saturating_sub(n);
    }
}

/// Finds a model of the formula for actions of that verb. `steps` knows of texts in this session.
pub(crate) fn solve(all: &Formulas, goal: Id, verb: Verb, session: &Session, steps: &mut Steps) -> Found {
    // A search sets up a place for each atom and term.
    steps.take(u64::try_from(all.atoms.len().saturating_add(all.terms.len()) / 4).unwrap_or(u64::MAX));
    Search::new(all, goal, verb, session).run(goal, steps)
}

/// What one value decides together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Group {
    /// A file's path, with what is derived from it.
    Path,
    Value(Slot),
}

struct Decision {
    term: Id,
    value: bool,
    /// Whether the other value was tried before.
    is_second: bool,
    /// Where the trail stood before it.
    trail: usize,
}

/// What is set of a term's parts.
#[derive(Clone, Copy, Debug, Default)]
struct Parts {
    open: usize,
    /// Those that decide the whole: true ones of an `or`, false ones of an `and`.
    deciding: usize,
}

/// What is set follows upwards and downwards through the formula before anything is tried; what is tried is a part of
/// something that is to hold and does not hold by itself yet.
struct Search<'f> {
    all: &'f Formulas,
    session: &'f Session,
    verb: Verb,
    /// By term.
    values: Vec<Option<bool>>,
    parts: Vec<Parts>,
    parents: Vec<Vec<Id>>,
    trail: Vec<Id>,
    /// How much of the trail has had its consequences.
    done: usize,
    decisions: Vec<Decision>,
    /// By atom.
    terms: Vec<Option<Id>>,
    group_of: Vec<Option<Group>>,
    groups: BTreeMap<Group, Vec<usize>>,
    /// Groups of which something was set since they were looked at.
    touched: BTreeSet<Group>,
    is_cut: bool,
    /// The atom that says whether an attribute is there.
    presences: BTreeMap<&'static str, usize>,
}

fn place(id: Id) -> usize {
    usize::try_from(id).unwrap_or(usize::MAX)
}

impl<'f> Search<'f> {
    fn new(all: &'f Formulas, goal: Id, verb: Verb, session: &'f Session) -> Self {
        let is_file = verb.spec().resource == ResourceKind::File;
        let mut out = Self {
            all,
            session,
            verb,
            values: vec![None; all.terms.len()],
            parts: vec![Parts::default(); all.terms.len()],
            parents: vec![Vec::new(); all.terms.len()],
            trail: Vec::new(),
            done: 0,
            decisions: Vec::new(),
            terms: vec![None; all.atoms.len()],
            group_of: vec![None; all.atoms.len()],
            groups: BTreeMap::new(),
            touched: BTreeSet::new(),
            is_cut: false,
            presences: BTreeMap::new(),
        };
        let mut seen = vec![false; all.terms.len()];
        let mut open = vec![goal];
        while let Some(id) = open.pop() {
            match seen.get_mut(place(id)) {
                Some(seen) if !*seen => *seen = true,
                _ => continue,
            }
            let parts: &[Id] = match all.get(id) {
                Term::Known(_) => &[],
                Term::Atom(atom) => {
                    out.has(*atom, id, is_file);
                    &[]
                }
                Term::Not(inner) => std::slice::from_ref(inner),
                Term::And(parts) | Term::Or(parts) => parts,
            };
            if let Some(own) = out.parts.get_mut(place(id)) {
                own.open = parts.len();
            }
            for part in parts {
                if let Some(parents) = out.parents.get_mut(place(*part)) {
                    parents.push(id);
                }
                open.push(*part);
            }
        }
        out.groups.values_mut().for_each(|atoms| atoms.sort_unstable());
        out
    }

    fn has(&mut self, atom: usize, id: Id, is_file: bool) {
        let Some(what) = self.all.atoms.get(atom) else { return };
        if let Some(term) = self.terms.get_mut(atom) {
            *term = Some(id);
        }
        if let Atom::Present(name) = what {
            self.presences.insert(name, atom);
        }
        let group = group(what, is_file);
        if let Some(group) = group {
            self.groups.entry(group).or_default().push(atom);
        }
        if let Some(place) = self.group_of.get_mut(atom) {
            *place = group;
        }
    }

    fn run(mut self, goal: Id, steps: &mut Steps) -> Found {
        let mut is_open = self.set(goal, true) && self.propagate(steps);
        loop {
            if !is_open && !self.back(steps) {
                return if self.is_cut || steps.left == 0 { Found::CutOff } else { Found::Nothing };
            }
            if steps.left == 0 {
                return Found::CutOff;
            }
            is_open = match self.next() {
                Some((term, value)) => self.decide(term, value, false, steps),
                None => match self.model(steps) {
                    Some(model) => return Found::Model(Box::new(model)),
                    None => false,
                },
            };
        }
    }

    /// Sets a term, and what follows of it; false when that contradicts itself.
    fn decide(&mut self, term: Id, value: bool, is_second: bool, steps: &mut Steps) -> bool {
        self.decisions.push(Decision { term, value, is_second, trail: self.trail.len() });
        self.set(term, value) && self.propagate(steps)
    }

    /// False when it was set to the other value.
    fn set(&mut self, term: Id, value: bool) -> bool {
        match self.values.get_mut(place(term)) {
            Some(Some(was)) => *was == value,
            Some(open) => {
                *open = Some(value);
                self.trail.push(term);
                true
            }
            None => false,
        }
    }

    fn is(&self, term: Id) -> Option<bool> {
        self.values.get(place(term)).copied().flatten()
    }

    fn of_atom(&self, atom: usize) -> Option<bool> {
        self.is(self.terms.get(atom).copied().flatten()?)
    }

    fn of_parts(&self, term: Id) -> Parts {
        self.parts.get(place(term)).copied().unwrap_or_default()
    }

    /// Takes the last decision back that has another value left, and takes that; false when there is none.
    fn back(&mut self, steps: &mut Steps) -> bool {
        while let Some(last) = self.decisions.pop() {
            if steps.left == 0 {
                return false;
            }
            self.touched.clear();
            for (at, term) in self.trail.split_off(last.trail).into_iter().enumerate() {
                if last.trail.saturating_add(at) < self.done {
                    self.count(term, false);
                }
                if let Some(value) = self.values.get_mut(place(term)) {
                    *value = None;
                }
            }
            self.done = self.done.min(self.trail.len());
            if !last.is_second && self.decide(last.term, !last.value, true, steps) {
                return true;
            }
        }
        false
    }

    /// All that follows of what is set; false when it contradicts itself.
    fn propagate(&mut self, steps: &mut Steps) -> bool {
        loop {
            while let Some(term) = self.trail.get(self.done).copied() {
                self.done += 1;
                let parents = self.count(term, true);
                steps.take(u64::try_from(parents).unwrap_or(u64::MAX).saturating_add(1));
                if !self.follows_up(term) || !self.follows_down(term) {
                    return false;
                }
            }
            let Some(group) = self.touched.pop_first() else { return true };
            if steps.left == 0 {
                return true;
            }
            match self.value(group, steps) {
                Some(true) => {}
                Some(false) => return false,
                None => {
                    self.is_cut = true;
                    return false;
                }
            }
            if !self.follows_of(group, steps) {
                return false;
            }
        }
    }

    /// Tells a term's parents that it is set, or no more; gives how many there are.
    fn count(&mut self, term: Id, is_set: bool) -> usize {
        let Some(value) = self.is(term) else { return 0 };
        let (all, parents) = (self.all, self.parents.get(place(term)).map(Vec::as_slice).unwrap_or_default());
        for parent in parents {
            let decides = match all.get(*parent) {
                Term::And(_) => !value,
                Term::Or(_) => value,
                _ => false,
            };
            let Some(parts) = self.parts.get_mut(place(*parent)) else { continue };
            if is_set {
                parts.open = parts.open.saturating_sub(1);
                parts.deciding += usize::from(decides);
            } else {
                parts.open += 1;
                parts.deciding = parts.deciding.saturating_sub(usize::from(decides));
            }
        }
        parents.len()
    }

    fn follows_up(&mut self, term: Id) -> bool {
        let Some(value) = self.is(term) else { return true };
        let parents = self.parents.get_mut(place(term)).map(std::mem::take).unwrap_or_default();
        let is_sound = parents.iter().all(|parent| match self.all.get(*parent) {
            Term::Not(_) => self.set(*parent, !value),
            _ => self.joined(*parent),
        });
        if let Some(place) = self.parents.get_mut(place(term)) {
            *place = parents;
        }
        is_sound
    }

    fn follows_down(&mut self, term: Id) -> bool {
        let (all, Some(value)) = (self.all, self.is(term)) else { return true };
        match all.get(term) {
            Term::Known(known) => *known == value,
            Term::Atom(atom) => {
                self.touched.extend(self.group_of.get(*atom).copied().flatten());
                // Whether its value can be as wanted matters once it is there.
                if let Some(Atom::Present(name)) = all.atoms.get(*atom) {
                    let group = Group::Value(Slot::Attr(name));
                    self.touched.extend(self.groups.contains_key(&group).then_some(group));
                }
                true
            }
            Term::Not(inner) => self.set(*inner, !value),
            Term::And(parts) if value => parts.iter().all(|part| self.set(*part, true)),
            Term::Or(parts) if !value => parts.iter().all(|part| self.set(*part, false)),
            Term::And(_) | Term::Or(_) => self.joined(term),
        }
    }

    /// What follows between a whole and its parts.
    fn joined(&mut self, term: Id) -> bool {
        let all = self.all;
        let (parts, decides) = match all.get(term) {
            Term::And(parts) => (parts, false),
            Term::Or(parts) => (parts, true),
            _ => return true,
        };
        let count = self.of_parts(term);
        if count.deciding > 0 {
            return self.set(term, decides);
        }
        if count.open == 0 {
            return self.set(term, !decides);
        }
        if count.open == 1 && self.is(term) == Some(decides) {
            let last = parts.iter().copied().find(|part| self.is(*part).is_none());
            return last.is_none_or(|last| self.set(last, decides));
        }
        true
    }

    /// A part to try, and the value of it that helps, of what is to hold and has the fewest ways to.
    fn next(&self) -> Option<(Id, bool)> {
        let unfounded = self.trail.iter().filter_map(|term| {
            let (parts, decides) = match self.all.get(*term) {
                Term::And(parts) => (parts, false),
                Term::Or(parts) => (parts, true),
                _ => return None,
            };
            let count = self.of_parts(*term);
            (self.is(*term) == Some(decides) && count.deciding == 0).then_some((count.open, parts, decides))
        });
        let (_, parts, decides) = unfounded.min_by_key(|(open, ..)| *open)?;
        parts.iter().copied().find(|part| self.is(*part).is_none()).map(|part| (part, decides))
    }

    /// What else is decided of a group: all tests of a text that is known, and what would make it one that can't be.
    fn follows_of(&mut self, group: Group, steps: &mut Steps) -> bool {
        let is_path = group == Group::Path;
        let atoms = self.groups.get(&group).cloned().unwrap_or_default();
        let demands = self.demands(group);
        if demands.is_empty() || self.presence(group) != Some(true) {
            return true;
        }
        steps.take(u64::try_from(atoms.len()).unwrap_or(u64::MAX));
        let session = is_path.then_some(self.session);
        let fixed = steps.known.fixed(&demands, session);
        let mut follows: Vec<(Id, bool)> = Vec::new();
        for atom in atoms.iter().copied().filter(|atom| self.of_atom(*atom).is_none()) {
            let (Some(demand), Some(term)) = (self.demand(atom, true), self.terms.get(atom).copied().flatten()) else {
                continue;
            };
            match &fixed {
                Some(text) => follows.push((term, text.meets(&demand))),
                None => {
                    let is_not = |wanted: bool| {
                        let also = Demand { wanted, ..demand.clone() };
                        steps.known.is_impossible_with(is_path, &demands, &also)
                    };
                    follows.extend([true, false].into_iter().find(|wanted| is_not(*wanted)).map(|w| (term, !w)));
                }
            }
        }
        follows.into_iter().all(|(term, value)| self.set(term, value))
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

    /// What is demanded of the group's text, sorted.
    fn demands(&self, group: Group) -> Vec<Demand> {
        let atoms = self.groups.get(&group).map(Vec::as_slice).unwrap_or_default();
        let decided = atoms.iter().filter_map(|a| Some((*a, self.of_atom(*a)?)));
        let mut demands: Vec<Demand> = decided.filter_map(|(atom, value)| self.demand(atom, value)).collect();
        demands.sort();
        demands
    }

    /// Whether the action has what the group is about; nothing while that is open.
    fn presence(&self, group: Group) -> Option<bool> {
        let Group::Value(Slot::Attr(name)) = group else { return Some(true) };
        match self.presences.get(name) {
            Some(at) => self.of_atom(*at),
            None => Some(true),
        }
    }

    /// The group's atoms that are decided.
    fn decided(&self, group: Group) -> Vec<(&'f Atom, bool)> {
        let atoms = self.groups.get(&group).map(Vec::as_slice).unwrap_or_default();
        atoms.iter().filter_map(|a| Some((self.all.atoms.get(*a)?, self.of_atom(*a)?))).collect()
    }

    /// Whether the group has a value that comes out as decided; nothing when that could not be told.
    fn value(&self, group: Group, steps: &mut Steps) -> Option<bool> {
        // An attribute that the action lacks, or may yet lack, has no value that could be wrong.
        if self.presence(group) != Some(true) {
            return Some(true);
        }
        let decided = self.decided(group);
        steps.take(u64::try_from(decided.len()).unwrap_or(u64::MAX));
        if decided.iter().any(|(a, _)| matches!(a, Atom::Text(..))) {
            let demands = self.demands(group);
            if let Some(few) = self.few(group) {
                return Some(few.into_iter().any(|text| meets(&demands, text)));
            }
            let session = (group == Group::Path).then_some(self.session);
            let mut taken = 0;
            let is_there = steps.known.is_possible(&demands, session, &mut taken);
            steps.take(taken);
            return is_there;
        }
        if decided.iter().any(|(a, _)| matches!(a, Atom::AtMost(..))) {
            return Some(number(&decided, group).is_some());
        }
        Some(items(&decided).is_some())
    }

    /// The few texts that a value may be.
    fn few(&self, group: Group) -> Option<Vec<&'static str>> {
        match group {
            Group::Value(Slot::Surface) => Some(surfaces(self.verb)),
            Group::Value(Slot::Consequence(_)) => Some(vec!["low", "medium", "high", "critical"]),
            Group::Value(Slot::Reversibility(_)) => Some(vec!["pure", "idempotent", "compensatable", "irreversible"]),
            _ => None,
        }
    }

    /// The text that reads best.
    fn text(&self, group: Group, steps: &mut Steps) -> Option<String> {
        let demands = self.demands(group);
        if let Some(few) = self.few(group) {
            return few.into_iter().find(|text| meets(&demands, text)).map(str::to_owned);
        }
        let mut taken = 0;
        let session = (group == Group::Path).then_some(self.session);
        let found = steps.known.best(&demands, session, &mut taken);
        steps.take(taken);
        found
    }

    fn model(&self, steps: &mut Steps) -> Option<Model> {
        let mut out = Model::default();
        for (place, atom) in self.all.atoms.iter().enumerate() {
            match (atom, self.of_atom(place)) {
                (Atom::Present(name), Some(value)) => {
                    out.present.insert(name, value);
                }
                (Atom::Flag(slot), Some(value)) => {
                    out.flags.insert(*slot, value);
                }
                _ => {}
            }
        }
        for group in self.groups.keys().copied() {
            let decided = self.decided(group);
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
                self.text(group, steps).map(|text| out.texts.insert(slot, text)).is_some()
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
}

fn meets(demands: &[Demand], text: &str) -> bool {
    demands.iter().all(|d| d.test.holds(text) == d.wanted)
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
