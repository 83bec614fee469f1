//! Which rules are valid beyond doubt, so that Cedar's validator, whose schema takes long to build, need not be asked.
//!
//! What this accepts, Cedar's strict validation accepts without an error and without a warning; the differential test
//! holds it to that. What it does not understand it leaves to Cedar.

use super::node::{Node, Path};
use super::read::Read;
use crate::charter::{FactType, rule_attrs};
use crate::vocabulary::{AttrType, Verb};
use std::collections::BTreeSet;

/// The types of facts, by place.
pub(crate) type FactTypes = [FactType];

/// What a condition comes to by its types alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Truth {
    Open,
    Always,
    Never,
}

impl Truth {
    fn not(self) -> Self {
        match self {
            Truth::Open => Truth::Open,
            Truth::Always => Truth::Never,
            Truth::Never => Truth::Always,
        }
    }
}

/// Attributes that are known to be there.
type There = BTreeSet<&'static str>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Type {
    Bool,
    Long,
    Str,
    Texts,
    Longs,
}

/// Whether a rule is valid for every verb of its scope, and may match each of them. Then evaluating it can't fail but
/// for a fact without a value, or by overflow.
pub(crate) fn is_plain(read: &Read, scope: &[Verb], facts: &FactTypes) -> bool {
    let is_of_types = |node: &Node| match node {
        Node::Verbs(_) | Node::KindIs(_) => true,
        Node::Or(all) => all.iter().all(|n| matches!(n, Node::Verbs(_))),
        _ => false,
    };
    let is_valid = |verb: &Verb| {
        let check = Check { verb: *verb, facts };
        let mut there = There::new();
        read.conditions.iter().all(|node| check.bool(node, &mut there).is_some_and(|truth| truth != Truth::Never))
    };
    read.is_clean && !scope.is_empty() && read.scope.iter().all(is_of_types) && scope.iter().all(is_valid)
}

struct Check<'f> {
    verb: Verb,
    facts: &'f FactTypes,
}

impl Check<'_> {
    /// What a valid condition comes to by its types. Adds what it shows to be there.
    fn bool(&self, node: &Node, there: &mut There) -> Option<Truth> {
        match node {
            Node::And(all) => self.joined(all, Truth::Never, there),
            Node::Or(all) => self.joined(all, Truth::Always, &mut there.clone()),
            Node::Not(inner) => Some(self.bool(inner, &mut there.clone())?.not()),
            Node::If(parts) => {
                let mut within = there.clone();
                let test = self.bool(&parts.0, &mut within)?;
                let sides = (self.bool(&parts.1, &mut within)?, self.bool(&parts.2, &mut there.clone())?);
                (test == Truth::Open).then_some(if sides.0 == sides.1 { sides.0 } else { Truth::Open })
            }
            Node::HasAttr(name) => Some(match rule_attrs(self.verb).find(|a| a.name == *name) {
                // What is known already is no question any more: Cedar takes it for `true`.
                Some(attr) if there.insert(attr.name) => Truth::Open,
                Some(_) => Truth::Always,
                None => Truth::Never,
            }),
            _ => self.test(node, there).map(|()| Truth::Open),
        }
    }

    /// `decided`: what one part alone makes of the whole. Every part has to be valid, though Cedar passes over those
    /// that come after such a one.
    fn joined(&self, all: &[Node], decided: Truth, there: &mut There) -> Option<Truth> {
        let mut out = decided.not();
        for one in all {
            let truth =
                if decided == Truth::Never { self.bool(one, there) } else { self.bool(one, &mut there.clone()) }?;
            out = match (out, truth) {
                (out, _) if out == decided => out,
                (_, truth) if truth == decided => truth,
                (Truth::Open, _) | (_, Truth::Open) => Truth::Open,
                (out, _) => out,
            };
        }
        Some(out)
    }

    fn test(&self, node: &Node, there: &There) -> Option<()> {
        match node {
            Node::Text(path, tests) => {
                let is_text = !tests.is_empty() && self.path(*path, there)? == Type::Str;
                is_text.then_some(())
            }
            Node::Path(path) => (self.path(*path, there)? == Type::Bool).then_some(()),
            Node::Like(text, _) => (self.of(text, there)? == Type::Str).then_some(()),
            Node::Eq(sides) => {
                let is_literal = |n: &Node| !matches!(n, Node::Path(_) | Node::Arith(..));
                let is_decided = is_literal(&sides.0) && is_literal(&sides.1);
                (!is_decided && self.of(&sides.0, there)? == self.of(&sides.1, there)?).then_some(())
            }
            Node::Order(_, sides) => {
                let both = (self.of(&sides.0, there)?, self.of(&sides.1, there)?);
                (both == (Type::Long, Type::Long)).then_some(())
            }
            Node::Sets(test, sides) => {
                let item = |set: Type| match set {
                    Type::Texts => Some(Type::Str),
                    Type::Longs => Some(Type::Long),
                    _ => None,
                };
                let (left, right) = (self.of(&sides.0, there)?, self.of(&sides.1, there)?);
                match test {
                    super::node::SetTest::Contains => (item(left)? == right).then_some(()),
                    _ => {
                        item(left)?;
                        (left == right).then_some(())
                    }
                }
            }
            Node::IsEmpty(set) => matches!(self.of(set, there)?, Type::Texts | Type::Longs).then_some(()),
            _ => None,
        }
    }

    fn of(&self, node: &Node, there: &There) -> Option<Type> {
        Some(match node {
            Node::Long(_) => Type::Long,
            Node::Str(_) => Type::Str,
            Node::Texts(_) => Type::Texts,
            Node::Set(items) if !items.is_empty() && items.iter().all(|i| matches!(i, Node::Long(_))) => Type::Longs,
            Node::Path(path) => self.path(*path, there)?,
            Node::Arith(_, sides) => {
                let both = (self.of(&sides.0, there)?, self.of(&sides.1, there)?);
                (both == (Type::Long, Type::Long)).then_some(Type::Long)?
            }
            Node::Neg(inner) => (self.of(inner, there)? == Type::Long).then_some(Type::Long)?,
            _ => return None,
        })
    }

    fn path(&self, path: Path, there: &There) -> Option<Type> {
        let kind = self.verb.spec().resource;
        Some(match path {
            Path::Principal | Path::Consequence | Path::Reversibility | Path::Surface => Type::Str,
            Path::Autonomy | Path::Time(_) => Type::Long,
            Path::Opaque => Type::Bool,
            Path::Detected => Type::Texts,
            Path::Field(name) => typed(kind.fields().iter().chain(kind.derived_fields()).find(|f| f.name == name)?.ty),
            Path::Attr(name) => {
                let spec = rule_attrs(self.verb).find(|a| a.name == name)?;
                there.contains(name).then_some(typed(spec.ty))?
            }
            Path::Fact(n) => match self.facts.get(n)? {
                FactType::Bool => Type::Bool,
                FactType::Long => Type::Long,
            },
        })
    }
}

fn typed(ty: AttrType) -> Type {
    match ty {
        AttrType::Bool => Type::Bool,
        AttrType::Long => Type::Long,
        AttrType::Str => Type::Str,
        AttrType::Strs => Type::Texts,
    }
}

/// Whether evaluating a valid condition can overflow.
pub(crate) fn computes(node: &Node) -> bool {
    match node {
        Node::Arith(..) | Node::Neg(_) => true,
        Node::Not(a) | Node::Like(a, _) | Node::IsEmpty(a) => computes(a),
        Node::And(all) | Node::Or(all) | Node::Set(all) => all.iter().any(computes),
        Node::If(parts) => computes(&parts.0) || computes(&parts.1) || computes(&parts.2),
        Node::Eq(sides) | Node::Order(_, sides) | Node::Sets(_, sides) => computes(&sides.0) || computes(&sides.1),
        _ => false,
    }
}
