//! Rules' conditions as boolean formulas over atoms that can be decided one by one.
//!
//! What is not understood becomes an atom of its own that may be true or false. So a formula that nothing satisfies is
//! one that no action does; what satisfies it is only a candidate, and the real rules have the last word.

use super::words::Test;
use crate::rules::node::{Node, Order, Path, SetTest, TextTest};
use crate::vocabulary::{CONTENT_ATTRS, ResourceKind, Verb};
use std::collections::{BTreeMap, BTreeSet};

/// Where a value stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Slot {
    Principal,
    Field(&'static str),
    Attr(&'static str),
    /// By its number among the facts of both charters.
    Fact(usize),
    Autonomy,
    Surface,
    /// A part of the time at which the action is judged.
    Time(&'static str),
    /// Of the charter with that number: each has a table of its own.
    Consequence(usize),
    Reversibility(usize),
    Opaque,
}

/// What is true or false of an action by itself.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Atom {
    /// The action has the attribute.
    Present(&'static str),
    Flag(Slot),
    Text(Slot, Test),
    AtMost(Slot, i64),
    /// The set has the item.
    Has(Slot, Box<str>),
    Empty(Slot),
    /// Something that is not understood, by its text.
    Opaque(Box<str>),
}

/// A formula's place.
pub(crate) type Id = u32;

pub(crate) const FALSE: Id = 0;
pub(crate) const TRUE: Id = 1;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Term {
    Known(bool),
    Atom(usize),
    Not(Id),
    And(Vec<Id>),
    Or(Vec<Id>),
}

/// All formulas of one question, each once. A formula comes after its parts.
#[derive(Debug)]
pub(crate) struct Formulas {
    pub terms: Vec<Term>,
    pub atoms: Vec<Atom>,
    by_term: BTreeMap<Term, Id>,
    by_atom: BTreeMap<Atom, usize>,
}

impl Formulas {
    pub fn new() -> Self {
        let mut it = Self { terms: Vec::new(), atoms: Vec::new(), by_term: BTreeMap::new(), by_atom: BTreeMap::new() };
        // INVARIANT: in this order, so that they are FALSE and TRUE.
        it.term(Term::Known(false));
        it.term(Term::Known(true));
        it
    }

    fn term(&mut self, term: Term) -> Id {
        if let Some(id) = self.by_term.get(&term) {
            return *id;
        }
        let id = Id::try_from(self.terms.len()).unwrap_or(Id::MAX);
        self.by_term.insert(term.clone(), id);
        self.terms.push(term);
        id
    }

    pub fn get(&self, id: Id) -> &Term {
        usize::try_from(id).ok().and_then(|at| self.terms.get(at)).unwrap_or(&Term::Known(false))
    }

    pub fn known(&self, is_true: bool) -> Id {
        if is_true { TRUE } else { FALSE }
    }

    pub fn atom(&mut self, atom: Atom) -> Id {
        let place = match self.by_atom.get(&atom) {
            Some(place) => *place,
            None => {
                self.atoms.push(atom.clone());
                self.by_atom.insert(atom, self.atoms.len() - 1);
                self.atoms.len() - 1
            }
        };
        self.term(Term::Atom(place))
    }

    pub fn not(&mut self, id: Id) -> Id {
        match self.get(id) {
            Term::Known(b) => {
                let flipped = !b;
                self.known(flipped)
            }
            Term::Not(inner) => *inner,
            _ => self.term(Term::Not(id)),
        }
    }

    pub fn and(&mut self, parts: impl IntoIterator<Item = Id>) -> Id {
        self.join(parts, TRUE, FALSE)
    }

    pub fn or(&mut self, parts: impl IntoIterator<Item = Id>) -> Id {
        self.join(parts, FALSE, TRUE)
    }

    fn join(&mut self, parts: impl IntoIterator<Item = Id>, neutral: Id, decided: Id) -> Id {
        let mut all: Vec<Id> = Vec::new();
        let mut seen: BTreeSet<Id> = BTreeSet::new();
        for part in parts {
            if part == decided {
                return decided;
            }
            if part != neutral && seen.insert(part) {
                all.push(part);
            }
        }
        match all.as_slice() {
            [] => neutral,
            [one] => *one,
            _ if neutral == TRUE => self.term(Term::And(all)),
            _ => self.term(Term::Or(all)),
        }
    }
}

/// Whose conditions are read, and of which actions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scope<'s> {
    pub verb: Verb,
    /// The second judgement of a write.
    pub is_content: bool,
    /// The charter's number.
    pub charter: usize,
    /// The number among all facts of each of the charter's.
    pub facts: &'s [usize],
    /// The number of the first charter with the same table of consequences.
    pub table: usize,
    /// Consequence and reversibility, where the charter says them without looking at the action.
    pub weight: Option<(&'static str, &'static str)>,
}

/// A value that is read, or one that is known.
enum Read {
    Slot(Slot),
    Text(&'static str),
    /// The set that is always empty.
    Nothing,
    /// What such an action does not have.
    Lost,
}

impl Scope<'_> {
    /// A condition of a rule that can't fail.
    pub fn formula(&self, to: &mut Formulas, node: &Node) -> Id {
        match node {
            Node::Bool(b) => to.known(*b),
            Node::Not(inner) => {
                let inner = self.formula(to, inner);
                to.not(inner)
            }
            Node::And(all) => {
                let all: Vec<Id> = all.iter().map(|one| self.formula(to, one)).collect();
                to.and(all)
            }
            Node::Or(all) => {
                let all: Vec<Id> = all.iter().map(|one| self.formula(to, one)).collect();
                to.or(all)
            }
            Node::If(parts) => {
                let (test, then, other) =
                    (self.formula(to, &parts.0), self.formula(to, &parts.1), self.formula(to, &parts.2));
                choice(to, test, then, other)
            }
            Node::Text(path, tests) => self.text(to, node, *path, tests),
            Node::Eq(sides) => self.equal(to, node, &sides.0, &sides.1),
            Node::Order(order, sides) => self.order(to, node, *order, &sides.0, &sides.1),
            Node::Sets(test, sides) => self.sets(to, node, *test, &sides.0, &sides.1),
            Node::IsEmpty(set) => match &**set {
                Node::Path(path) => match self.read(path) {
                    Read::Slot(slot) => to.atom(Atom::Empty(slot)),
                    Read::Nothing => TRUE,
                    _ => self.opaque(to, node),
                },
                _ => self.opaque(to, node),
            },
            Node::HasAttr(name) => self.present(to, name),
            Node::HasFact(_) => TRUE,
            Node::HasField(name) => {
                let kind = self.verb.spec().resource;
                to.known(kind.fields().iter().chain(kind.derived_fields()).any(|f| f.name == *name))
            }
            Node::Verbs(verbs) => to.known(verbs.contains(self.verb)),
            Node::KindIs(kind) => to.known(self.verb.spec().resource.name() == &**kind),
            Node::PrincipalIs(id) => to.atom(Atom::Text(Slot::Principal, Test::Is(id.clone()))),
            Node::ResourceIs(kind, id) => self.resource(to, node, kind, id),
            Node::Path(path) => match self.read(path) {
                Read::Slot(Slot::Attr("content")) => to.known(self.is_content),
                Read::Slot(slot) => to.atom(Atom::Flag(slot)),
                _ => self.opaque(to, node),
            },
            Node::Like(..) | Node::Long(_) | Node::Str(_) | Node::Texts(_) | Node::Set(_) => self.opaque(to, node),
            Node::Arith(..) | Node::Neg(_) => self.opaque(to, node),
        }
    }

    /// Whether the rule may fail where this says so. `text`: the rule's own.
    pub fn opaque_text(&self, to: &mut Formulas, what: &str, text: &str) -> Id {
        to.atom(Atom::Opaque(self.named(what, text).into()))
    }

    fn opaque(&self, to: &mut Formulas, node: &Node) -> Id {
        self.opaque_text(to, "condition", &format!("{node:?}"))
    }

    /// Facts have other places in another charter, so that what reads them is never taken for the same.
    fn named(&self, what: &str, text: &str) -> String {
        if text.to_ascii_lowercase().contains("fact") {
            format!("{what} {} {text}", self.charter)
        } else {
            format!("{what} {text}")
        }
    }

    fn read(&self, path: &Path) -> Read {
        let kind = self.verb.spec().resource;
        match path {
            Path::Principal => Read::Slot(Slot::Principal),
            Path::Field(name) if kind.fields().iter().chain(kind.derived_fields()).any(|f| f.name == *name) => {
                Read::Slot(Slot::Field(name))
            }
            Path::Attr(name) if crate::charter::rule_attrs(self.verb).any(|a| a.name == *name) => {
                Read::Slot(Slot::Attr(name))
            }
            Path::Fact(n) => self.facts.get(*n).map_or(Read::Lost, |n| Read::Slot(Slot::Fact(*n))),
            Path::Autonomy => Read::Slot(Slot::Autonomy),
            Path::Surface => Read::Slot(Slot::Surface),
            Path::Time(part) => Read::Slot(Slot::Time(part)),
            Path::Consequence => self.weight.map_or(Read::Slot(Slot::Consequence(self.table)), |(c, _)| Read::Text(c)),
            Path::Reversibility => {
                self.weight.map_or(Read::Slot(Slot::Reversibility(self.table)), |(_, r)| Read::Text(r))
            }
            Path::Detected => Read::Nothing,
            Path::Opaque => Read::Slot(Slot::Opaque),
            Path::Field(_) | Path::Attr(_) => Read::Lost,
        }
    }

    fn present(&self, to: &mut Formulas, name: &'static str) -> Id {
        if !crate::charter::rule_attrs(self.verb).any(|a| a.name == name) {
            return FALSE;
        }
        // What a file says is known the second time, and only then.
        if self.verb.name() == "fs.write" && CONTENT_ATTRS.contains(&name) {
            if !self.is_content {
                return FALSE;
            }
            if name == "content" {
                return TRUE;
            }
        }
        to.atom(Atom::Present(name))
    }

    fn text(&self, to: &mut Formulas, node: &Node, path: Path, tests: &[TextTest]) -> Id {
        let tests: Vec<Test> = tests
            .iter()
            .flat_map(|test| match test {
                TextTest::Is(text) => vec![Test::Is(text.clone())],
                TextTest::OneOf(texts) => texts.iter().map(|t| Test::Is(t.clone())).collect(),
                TextTest::Like(pattern) => vec![Test::like(pattern.parts())],
            })
            .collect();
        match self.read(&path) {
            Read::Slot(slot) => {
                let atoms: Vec<Id> = tests.into_iter().map(|t| to.atom(Atom::Text(slot, t))).collect();
                to.or(atoms)
            }
            Read::Text(text) => to.known(tests.iter().any(|t| t.holds(text))),
            Read::Nothing | Read::Lost => self.opaque(to, node),
        }
    }

    fn equal(&self, to: &mut Formulas, node: &Node, left: &Node, right: &Node) -> Id {
        for (path, other) in [(left, right), (right, left)] {
            let Node::Path(path) = path else { continue };
            let slot = match self.read(path) {
                Read::Slot(slot) => slot,
                _ => return self.opaque(to, node),
            };
            match other {
                Node::Bool(wanted) => {
                    let flag = self.formula(to, &Node::Path(*path));
                    return if *wanted { flag } else { to.not(flag) };
                }
                _ => {
                    if let Some(n) = long(other) {
                        return is(to, slot, n);
                    }
                }
            }
        }
        self.opaque(to, node)
    }

    fn order(&self, to: &mut Formulas, node: &Node, order: Order, left: &Node, right: &Node) -> Id {
        let slot = |side: &Node| match side {
            Node::Path(path) => match self.read(path) {
                Read::Slot(slot) => Some(slot),
                _ => None,
            },
            _ => None,
        };
        match (slot(left), long(right), long(left), slot(right)) {
            (Some(slot), Some(n), ..) => match order {
                Order::LessEq => to.atom(Atom::AtMost(slot, n)),
                Order::Less => below(to, slot, n),
            },
            (_, _, Some(n), Some(slot)) => {
                // n <= x is: not x < n.
                let lower = match order {
                    Order::LessEq => below(to, slot, n),
                    Order::Less => to.atom(Atom::AtMost(slot, n)),
                };
                to.not(lower)
            }
            _ => self.opaque(to, node),
        }
    }

    fn sets(&self, to: &mut Formulas, node: &Node, test: SetTest, left: &Node, right: &Node) -> Id {
        let texts = |side: &Node| match side {
            Node::Texts(all) => Some(all.clone()),
            Node::Str(one) => Some(vec![one.clone()]),
            Node::Set(all) if all.is_empty() => Some(Vec::new()),
            _ => None,
        };
        let (path, items) = match (test, left, right) {
            (_, Node::Path(path), items) | (SetTest::ContainsAny, items, Node::Path(path)) => (path, texts(items)),
            _ => return self.opaque(to, node),
        };
        let Some(items) = items else { return self.opaque(to, node) };
        let atoms: Vec<Id> = match self.read(path) {
            Read::Slot(slot) => items.into_iter().map(|item| to.atom(Atom::Has(slot, item))).collect(),
            Read::Nothing => items.iter().map(|_| FALSE).collect(),
            _ => return self.opaque(to, node),
        };
        if test == SetTest::ContainsAny { to.or(atoms) } else { to.and(atoms) }
    }

    fn resource(&self, to: &mut Formulas, node: &Node, kind: &str, id: &str) -> Id {
        let own = self.verb.spec().resource;
        if own.name() != kind {
            return FALSE;
        }
        let is = |name: &'static str, text: &str| Atom::Text(Slot::Field(name), Test::Is(text.into()));
        match own {
            ResourceKind::File => to.atom(is("path", id)),
            ResourceKind::Command => to.atom(is("program", id)),
            ResourceKind::Endpoint => {
                let Some((host, port)) = id.rsplit_once(':') else { return FALSE };
                let Ok(port) = port.parse() else { return FALSE };
                let (host, port) = (to.atom(is("host", host)), self::is(to, Slot::Field("port"), port));
                to.and([host, port])
            }
            _ => match own.fields() {
                [only] => to.atom(is(only.name, id)),
                _ => self.opaque(to, node),
            },
        }
    }
}

fn choice(to: &mut Formulas, test: Id, then: Id, other: Id) -> Id {
    let otherwise = to.not(test);
    let (yes, no) = (to.and([test, then]), to.and([otherwise, other]));
    to.or([yes, no])
}

fn below(to: &mut Formulas, slot: Slot, n: i64) -> Id {
    match n.checked_sub(1) {
        Some(n) => to.atom(Atom::AtMost(slot, n)),
        None => FALSE,
    }
}

fn is(to: &mut Formulas, slot: Slot, n: i64) -> Id {
    let (at_most, lower) = (to.atom(Atom::AtMost(slot, n)), below(to, slot, n));
    let at_least = to.not(lower);
    to.and([at_most, at_least])
}

fn long(node: &Node) -> Option<i64> {
    match node {
        Node::Long(n) => Some(*n),
        Node::Neg(inner) => long(inner)?.checked_neg(),
        _ => None,
    }
}
