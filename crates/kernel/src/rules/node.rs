//! A rule's condition in a form that is evaluated on the action itself, without entities or a request.
//!
//! Whatever is not plainly so gives [`Bail`]: a missing attribute, a value of another type, an overflow. Then Cedar is
//! asked about that rule, and says what is wrong in its own words. What is evaluated here is what Cedar would evaluate,
//! from left to right, so that no error of Cedar's is passed over.

use super::like::Pattern;
use crate::action::Value;
use crate::facts::Answer;
use crate::request::Judged;
use crate::vocabulary::Verb;
use std::collections::BTreeSet;

/// Cedar is to say it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bail;

/// A value that rules read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Path {
    Principal,
    Field(&'static str),
    Attr(&'static str),
    /// By its place among the charter's facts.
    Fact(usize),
    Autonomy,
    Consequence,
    Reversibility,
    Surface,
    Detected,
    Opaque,
    /// A part of the action's time.
    Time(&'static str),
}

/// A test of one text.
#[derive(Clone, Debug)]
pub(crate) enum TextTest {
    Is(Box<str>),
    /// Sorted.
    OneOf(Vec<Box<str>>),
    Like(Pattern),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    Less,
    LessEq,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arith {
    Add,
    Sub,
    Mul,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SetTest {
    Contains,
    ContainsAll,
    ContainsAny,
}

/// An expression of Cedar's.
#[derive(Clone, Debug)]
pub(crate) enum Node {
    Bool(bool),
    Long(i64),
    Str(Box<str>),
    /// A literal set of strings; sorted, each once.
    Texts(Vec<Box<str>>),
    Set(Vec<Node>),
    Path(Path),
    Not(Box<Node>),
    And(Vec<Node>),
    Or(Vec<Node>),
    If(Box<(Node, Node, Node)>),
    /// Whether a text passes any of the tests.
    Text(Path, Vec<TextTest>),
    Like(Box<Node>, Pattern),
    Eq(Box<(Node, Node)>),
    Order(Order, Box<(Node, Node)>),
    Arith(Arith, Box<(Node, Node)>),
    Neg(Box<Node>),
    Sets(SetTest, Box<(Node, Node)>),
    IsEmpty(Box<Node>),
    HasAttr(&'static str),
    HasFact(usize),
    HasField(&'static str),
    /// The verb is one of these.
    Verbs(VerbSet),
    /// The resource is of that Cedar type.
    KindIs(Box<str>),
    PrincipalIs(Box<str>),
    ResourceIs(Box<str>, Box<str>),
}

/// Verbs, by their places in the vocabulary.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct VerbSet(BTreeSet<usize>);

impl VerbSet {
    pub fn new(verbs: impl IntoIterator<Item = Verb>) -> Self {
        Self(verbs.into_iter().map(Verb::index).collect())
    }

    pub fn contains(&self, verb: Verb) -> bool {
        self.0.contains(&verb.index())
    }
}

/// What an expression came to.
#[derive(Clone, Debug)]
enum Val<'a> {
    Bool(bool),
    Long(i64),
    Str(&'a str),
    Strs(&'a [String]),
    Texts(&'a [Box<str>]),
    /// Of booleans, numbers and strings.
    Set(Vec<Val<'a>>),
}

impl Node {
    /// Whether the condition holds.
    pub fn test(&self, judged: &Judged) -> Result<bool, Bail> {
        Ok(match self {
            Node::Not(inner) => !inner.test(judged)?,
            Node::And(all) => {
                for one in all {
                    if !one.test(judged)? {
                        return Ok(false);
                    }
                }
                true
            }
            Node::Or(all) => {
                for one in all {
                    if one.test(judged)? {
                        return Ok(true);
                    }
                }
                false
            }
            Node::If(parts) => {
                if parts.0.test(judged)? {
                    parts.1.test(judged)?
                } else {
                    parts.2.test(judged)?
                }
            }
            Node::Text(path, tests) => {
                let Val::Str(text) = path.read(judged)? else { return Err(Bail) };
                tests.iter().any(|test| test.holds(text))
            }
            Node::Like(text, pattern) => match text.val(judged)? {
                Val::Str(text) => pattern.matches(text),
                _ => return Err(Bail),
            },
            Node::Eq(sides) => {
                let (left, right) = (sides.0.val(judged)?, sides.1.val(judged)?);
                left.equals(&right)
            }
            Node::Order(order, sides) => match (sides.0.val(judged)?, sides.1.val(judged)?) {
                (Val::Long(a), Val::Long(b)) if *order == Order::Less => a < b,
                (Val::Long(a), Val::Long(b)) => a <= b,
                _ => return Err(Bail),
            },
            Node::Sets(test, sides) => {
                let (left, right) = (sides.0.val(judged)?, sides.1.val(judged)?);
                match test {
                    SetTest::Contains if right.is_set() => return Err(Bail),
                    SetTest::Contains => left.has(&right)?,
                    SetTest::ContainsAll => right.is_below(&left)?,
                    SetTest::ContainsAny => left.meets(&right)?,
                }
            }
            Node::IsEmpty(set) => match set.val(judged)? {
                Val::Strs(items) => items.is_empty(),
                Val::Texts(items) => items.is_empty(),
                Val::Set(items) => items.is_empty(),
                _ => return Err(Bail),
            },
            Node::HasAttr(name) => judged.attr(name).is_some(),
            Node::HasFact(n) => judged.facts.value(*n).is_some(),
            Node::HasField(name) => judged.field(name).is_some(),
            Node::Verbs(verbs) => verbs.contains(judged.action.verb),
            Node::KindIs(kind) => judged.action.resource.kind().name() == &**kind,
            Node::PrincipalIs(id) => judged.agent() == &**id,
            Node::ResourceIs(kind, id) => {
                judged.action.resource.kind().name() == &**kind && judged.action.resource.id() == **id
            }
            Node::Bool(b) => *b,
            Node::Path(path) => match path.read(judged)? {
                Val::Bool(b) => b,
                _ => return Err(Bail),
            },
            Node::Long(_) | Node::Str(_) | Node::Texts(_) | Node::Set(_) | Node::Arith(..) | Node::Neg(_) => {
                return Err(Bail);
            }
        })
    }

    fn val<'a>(&'a self, judged: &'a Judged) -> Result<Val<'a>, Bail> {
        Ok(match self {
            Node::Long(n) => Val::Long(*n),
            Node::Str(s) => Val::Str(s),
            Node::Texts(items) => Val::Texts(items),
            Node::Set(items) => {
                let items = items.iter().map(|item| item.val(judged)).collect::<Result<Vec<_>, _>>()?;
                if items.iter().any(Val::is_set) {
                    return Err(Bail);
                }
                Val::Set(items)
            }
            Node::Path(path) => path.read(judged)?,
            Node::If(parts) => {
                if parts.0.test(judged)? {
                    parts.1.val(judged)?
                } else {
                    parts.2.val(judged)?
                }
            }
            Node::Arith(op, sides) => match (sides.0.val(judged)?, sides.1.val(judged)?) {
                (Val::Long(a), Val::Long(b)) => Val::Long(
                    match op {
                        Arith::Add => a.checked_add(b),
                        Arith::Sub => a.checked_sub(b),
                        Arith::Mul => a.checked_mul(b),
                    }
                    .ok_or(Bail)?,
                ),
                _ => return Err(Bail),
            },
            Node::Neg(inner) => match inner.val(judged)? {
                Val::Long(n) => Val::Long(n.checked_neg().ok_or(Bail)?),
                _ => return Err(Bail),
            },
            _ => Val::Bool(self.test(judged)?),
        })
    }
}

impl Path {
    fn read<'a>(&self, judged: &'a Judged) -> Result<Val<'a>, Bail> {
        Ok(match self {
            Path::Principal => Val::Str(judged.agent()),
            Path::Field(name) => judged.field(name).ok_or(Bail)?.into(),
            Path::Attr(name) => judged.attr(name).ok_or(Bail)?.into(),
            Path::Fact(n) => match judged.facts.value(*n).ok_or(Bail)? {
                Answer::Bool(is_true) => Val::Bool(is_true),
                Answer::Long(n) => Val::Long(n),
            },
            Path::Autonomy => Val::Long(judged.autonomy),
            Path::Consequence => Val::Str(crate::request::consequence_name(judged.governance.consequence)),
            Path::Reversibility => Val::Str(crate::request::reversibility_name(judged.governance.reversibility)),
            Path::Surface => Val::Str(judged.action.surface.name()),
            Path::Detected => Val::Strs(&[]),
            Path::Opaque => Val::Bool(judged.is_opaque()),
            Path::Time(part) => Val::Long(judged.time().part(part).ok_or(Bail)?),
        })
    }

    /// Its text, where it is one: what the index looks rules up by.
    pub fn text<'a>(&self, judged: &'a Judged) -> Option<&'a str> {
        if let Ok(Val::Str(text)) = self.read(judged) { Some(text) } else { None }
    }
}

impl TextTest {
    fn holds(&self, text: &str) -> bool {
        match self {
            TextTest::Is(wanted) => **wanted == *text,
            TextTest::OneOf(wanted) => wanted.binary_search_by(|w| (**w).cmp(text)).is_ok(),
            TextTest::Like(pattern) => pattern.matches(text),
        }
    }
}

impl<'a> From<&'a Value> for Val<'a> {
    fn from(value: &'a Value) -> Self {
        match value {
            Value::Bool(b) => Val::Bool(*b),
            Value::Long(n) => Val::Long(*n),
            Value::Str(s) => Val::Str(s),
            Value::Strs(items) => Val::Strs(items),
        }
    }
}

impl Val<'_> {
    fn is_set(&self) -> bool {
        matches!(self, Val::Strs(_) | Val::Texts(_) | Val::Set(_))
    }

    /// Values of different types are not equal, which is no error.
    fn equals(&self, other: &Val) -> bool {
        match (self, other) {
            (Val::Bool(a), Val::Bool(b)) => a == b,
            (Val::Long(a), Val::Long(b)) => a == b,
            (Val::Str(a), Val::Str(b)) => a == b,
            (a, b) if a.is_set() && b.is_set() => a.is_below(b) == Ok(true) && b.is_below(a) == Ok(true),
            _ => false,
        }
    }

    /// Whether a set has an item that is no set.
    fn has(&self, item: &Val) -> Result<bool, Bail> {
        Ok(match (self, item) {
            (Val::Strs(items), Val::Str(text)) => items.iter().any(|i| i == text),
            (Val::Texts(items), Val::Str(text)) => items.binary_search_by(|i| (**i).cmp(text)).is_ok(),
            (Val::Strs(_) | Val::Texts(_), _) => false,
            (Val::Set(items), item) => items.iter().any(|i| i.equals(item)),
            _ => return Err(Bail),
        })
    }

    fn is_below(&self, other: &Val) -> Result<bool, Bail> {
        if !other.is_set() {
            return Err(Bail);
        }
        self.every(|item| other.has(item) == Ok(true))
    }

    fn meets(&self, other: &Val) -> Result<bool, Bail> {
        if !other.is_set() {
            return Err(Bail);
        }
        Ok(!self.every(|item| other.has(item) != Ok(true))?)
    }

    fn every(&self, holds: impl Fn(&Val) -> bool) -> Result<bool, Bail> {
        Ok(match self {
            Val::Strs(items) => items.iter().all(|i| holds(&Val::Str(i))),
            Val::Texts(items) => items.iter().all(|i| holds(&Val::Str(i))),
            Val::Set(items) => items.iter().all(holds),
            _ => return Err(Bail),
        })
    }
}
