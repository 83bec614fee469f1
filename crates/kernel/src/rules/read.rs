//! Cedar's JSON form of a policy, which is its stable one, to a [`Node`]. What isn't known here stays with Cedar.

use super::like::Pattern;
use super::node::{Arith, Node, Order, Path, SetTest, TextTest, VerbSet};
use crate::civil::PARTS;
use crate::vocabulary::{COMMON_ATTRS, FieldSpec, ResourceKind, verbs};
use serde_json::Value as Json;
use std::collections::BTreeMap;

/// Deepest nesting that is read; a chain of `&&` or of `||` counts once.
const DEPTH_MAX: usize = 64;

/// A policy: all of both must hold for it to match.
#[derive(Clone, Debug)]
pub(crate) struct Read {
    pub scope: Vec<Node>,
    pub conditions: Vec<Node>,
    /// Every text in it is of printable ASCII, and every action one of the vocabulary: nothing to warn of.
    pub is_clean: bool,
}

impl Read {
    pub fn into_node(self) -> Node {
        Node::And(self.scope.into_iter().chain(self.conditions).collect())
    }
}

/// Reads a policy; nothing when it says something that is not known here. `facts`: each fact's place.
pub(crate) fn policy(json: &Json, facts: &BTreeMap<&str, usize>) -> Option<Read> {
    let mut reader = Reader { facts, is_clean: true };
    let (mut scope, mut conditions) = (Vec::new(), Vec::new());
    for (name, who) in [("principal", Who::Principal), ("action", Who::Action), ("resource", Who::Resource)] {
        let node = reader.scope(json.get(name)?, who)?;
        scope.extend((!matches!(node, Node::Bool(true))).then_some(node));
    }
    for condition in json.get("conditions")?.as_array()? {
        let body = reader.node(condition.get("body")?, 0)?;
        match condition.get("kind")?.as_str()? {
            "when" => conditions.push(body),
            "unless" => conditions.push(Node::Not(Box::new(body))),
            _ => return None,
        }
    }
    Some(Read { scope, conditions, is_clean: reader.is_clean })
}

struct Reader<'f> {
    facts: &'f BTreeMap<&'f str, usize>,
    is_clean: bool,
}

/// The variables that are entities.
#[derive(Clone, Copy)]
enum Who {
    Principal,
    Action,
    Resource,
}

/// An entity's type and id.
struct Uid<'j>(&'j str, &'j str);

impl Who {
    fn is(self, Uid(ty, id): &Uid) -> Node {
        match self {
            Who::Principal if *ty == "Agent" => Node::PrincipalIs((*id).into()),
            Who::Principal => Node::Bool(false),
            Who::Action => Node::Verbs(VerbSet::new(verbs().filter(|v| *ty == "Action" && v.name() == *id))),
            Who::Resource => Node::ResourceIs((*ty).into(), (*id).into()),
        }
    }

    /// Agents and resources have no parents: they are in nothing but themselves.
    fn is_in(self, uid: &Uid) -> Node {
        match self {
            Who::Action => {
                let named = |v: &crate::Verb| uid.0 == "Action" && [v.name(), v.group(), "any"].contains(&uid.1);
                Node::Verbs(VerbSet::new(verbs().filter(named)))
            }
            _ => self.is(uid),
        }
    }

    fn is_a(self, ty: &str) -> Node {
        match self {
            Who::Principal => Node::Bool(ty == "Agent"),
            Who::Action => Node::Bool(ty == "Action"),
            Who::Resource => Node::KindIs(ty.into()),
        }
    }
}

fn sides(json: &Json) -> Option<(&Json, &Json)> {
    Some((json.get("left")?, json.get("right")?))
}

/// The only key of an object, and what stands there.
fn only(json: &Json) -> Option<(&str, &Json)> {
    let object = json.as_object()?;
    let (key, inner) = object.iter().next()?;
    (object.len() == 1).then_some((key.as_str(), inner))
}

fn var(json: &Json) -> Option<&str> {
    json.get("Var")?.as_str()
}

fn who(json: &Json) -> Option<Who> {
    match var(json)? {
        "principal" => Some(Who::Principal),
        "action" => Some(Who::Action),
        "resource" => Some(Who::Resource),
        _ => None,
    }
}

/// `context.NAME`.
fn of_context(json: &Json) -> Option<&str> {
    let access = json.get(".")?;
    let attr = access.get("attr")?.as_str()?;
    (var(access.get("left")?) == Some("context")).then_some(attr)
}

fn field_named(name: &str) -> Option<&'static str> {
    let fields = ResourceKind::ALL.iter().flat_map(|k| k.fields().iter().chain(k.derived_fields()));
    same(name, fields)
}

fn attr_named(name: &str) -> Option<&'static str> {
    let attrs = verbs().flat_map(|v| v.spec().attrs).chain(COMMON_ATTRS);
    // It stands in the context itself.
    same(name, attrs).filter(|name| *name != "opaque")
}

fn same(name: &str, mut among: impl Iterator<Item = &'static FieldSpec>) -> Option<&'static str> {
    among.find(|f| f.name == name).map(|f| f.name)
}

impl Reader<'_> {
    fn text<'j>(&mut self, text: &'j str) -> &'j str {
        self.is_clean &= text.bytes().all(|b| b.is_ascii_graphic() || b == b' ');
        text
    }

    fn uid<'j>(&mut self, json: &'j Json) -> Option<Uid<'j>> {
        let json = json.get("__entity").unwrap_or(json);
        let (ty, id) = (json.get("type")?.as_str()?, json.get("id")?.as_str()?);
        let is_action = verbs().any(|v| [v.name(), v.group(), "any"].contains(&id));
        self.is_clean &= is_action || ty != "Action";
        Some(Uid(self.text(ty), self.text(id)))
    }

    fn scope(&mut self, json: &Json, who: Who) -> Option<Node> {
        match json.get("op")?.as_str()? {
            "All" => Some(Node::Bool(true)),
            "==" => Some(who.is(&self.uid(json.get("entity")?)?)),
            "in" => self.scope_in(json, who),
            "is" => {
                let kind = who.is_a(self.text(json.get("entity_type")?.as_str()?));
                match json.get("in") {
                    None => Some(kind),
                    Some(within) => Some(Node::And(vec![kind, self.scope_in(within, who)?])),
                }
            }
            _ => None,
        }
    }

    fn scope_in(&mut self, json: &Json, who: Who) -> Option<Node> {
        if let Some(one) = json.get("entity") {
            return Some(who.is_in(&self.uid(one)?));
        }
        let many = json.get("entities")?.as_array()?;
        Some(Node::Or(many.iter().map(|one| Some(who.is_in(&self.uid(one)?))).collect::<Option<_>>()?))
    }

    fn node(&mut self, json: &Json, depth: usize) -> Option<Node> {
        if depth > DEPTH_MAX {
            return None;
        }
        let deeper = depth + 1;
        let (op, inner) = only(json)?;
        let pair = |reader: &mut Self| -> Option<Box<(Node, Node)>> {
            let (left, right) = sides(inner)?;
            Some(Box::new((reader.node(left, deeper)?, reader.node(right, deeper)?)))
        };
        let not = |node: Node| Node::Not(Box::new(node));
        Some(match op {
            "Value" => self.literal(inner)?,
            "&&" => Node::And(self.chain(json, "&&", deeper)?),
            "||" => Node::Or(joined(self.chain(json, "||", deeper)?)),
            "!" => not(self.node(inner.get("arg")?, deeper)?),
            "neg" => Node::Neg(Box::new(self.node(inner.get("arg")?, deeper)?)),
            "==" => self.equal(inner, deeper)?,
            "!=" => not(self.equal(inner, deeper)?),
            "<" => Node::Order(Order::Less, pair(self)?),
            "<=" => Node::Order(Order::LessEq, pair(self)?),
            // As Cedar has them: `a > b` is `!(a <= b)`.
            ">" => not(Node::Order(Order::LessEq, pair(self)?)),
            ">=" => not(Node::Order(Order::Less, pair(self)?)),
            "+" => Node::Arith(Arith::Add, pair(self)?),
            "-" => Node::Arith(Arith::Sub, pair(self)?),
            "*" => Node::Arith(Arith::Mul, pair(self)?),
            "contains" => match *pair(self)? {
                (Node::Texts(items), Node::Path(path)) => Node::Text(path, vec![TextTest::OneOf(items)]),
                sides => Node::Sets(SetTest::Contains, Box::new(sides)),
            },
            "containsAll" => Node::Sets(SetTest::ContainsAll, pair(self)?),
            "containsAny" => Node::Sets(SetTest::ContainsAny, pair(self)?),
            "isEmpty" => Node::IsEmpty(Box::new(self.node(inner.get("arg")?, deeper)?)),
            "like" => {
                let pattern = Pattern::new(self.pattern(inner.get("pattern")?)?);
                match self.node(inner.get("left")?, deeper)? {
                    Node::Path(path) => Node::Text(path, vec![TextTest::Like(pattern)]),
                    left => Node::Like(Box::new(left), pattern),
                }
            }
            "if-then-else" => {
                let part = |reader: &mut Self, name: &str| reader.node(inner.get(name)?, deeper);
                Node::If(Box::new((part(self, "if")?, part(self, "then")?, part(self, "else")?)))
            }
            "Set" => self.set(inner, deeper)?,
            "." => self.access(inner)?,
            "has" => self.has(inner)?,
            "is" => {
                let who = who(inner.get("left")?)?;
                let kind = who.is_a(self.text(inner.get("entity_type")?.as_str()?));
                match inner.get("in") {
                    None => kind,
                    Some(within) => Node::And(vec![kind, self.within(who, within)?]),
                }
            }
            "in" => {
                let (left, right) = sides(inner)?;
                self.within(who(left)?, right)?
            }
            _ => return None,
        })
    }

    /// `a && b && c`, in order. Cedar nests it to the left, for as long as its author liked.
    fn chain(&mut self, json: &Json, op: &str, depth: usize) -> Option<Vec<Node>> {
        let mut rights = Vec::new();
        let mut at = json;
        while let Some(inner) = at.get(op) {
            let (left, right) = sides(inner)?;
            rights.push(right);
            at = left;
        }
        let mut out = vec![self.node(at, depth)?];
        for right in rights.into_iter().rev() {
            out.push(self.node(right, depth)?);
        }
        Some(out)
    }

    fn literal(&mut self, json: &Json) -> Option<Node> {
        match json {
            Json::Bool(b) => Some(Node::Bool(*b)),
            Json::Number(n) => n.as_i64().map(Node::Long),
            Json::String(s) => Some(Node::Str(self.text(s).into())),
            Json::Array(items) => {
                let items = items.iter().map(|item| self.literal(item)).collect::<Option<Vec<_>>>()?;
                Some(set_of(items))
            }
            _ => None,
        }
    }

    fn set(&mut self, json: &Json, depth: usize) -> Option<Node> {
        let items = json.as_array()?.iter().map(|item| self.node(item, depth)).collect::<Option<Vec<_>>>()?;
        Some(set_of(items))
    }

    /// The literal parts between wildcards.
    fn pattern(&mut self, json: &Json) -> Option<Vec<String>> {
        let mut parts = vec![String::new()];
        for element in json.as_array()? {
            if element.as_str() == Some("Wildcard") {
                parts.push(String::new());
            } else {
                let literal = element.get("Literal")?.as_str()?;
                parts.last_mut()?.push_str(self.text(literal));
            }
        }
        Some(parts)
    }

    fn equal(&mut self, json: &Json, depth: usize) -> Option<Node> {
        let (left, right) = sides(json)?;
        for (variable, other) in [(left, right), (right, left)] {
            if let Some(who) = who(variable) {
                let uid = other.get("Value").filter(|v| v.get("__entity").is_some())?;
                return Some(who.is(&self.uid(uid)?));
            }
        }
        Some(match (self.node(left, depth)?, self.node(right, depth)?) {
            (Node::Path(path), Node::Str(text)) | (Node::Str(text), Node::Path(path)) => {
                Node::Text(path, vec![TextTest::Is(text)])
            }
            sides => Node::Eq(Box::new(sides)),
        })
    }

    /// `principal in X`, where X is an entity or a literal set of entities.
    fn within(&mut self, who: Who, json: &Json) -> Option<Node> {
        let one = |reader: &mut Self, json: &Json| -> Option<Node> {
            let uid = json.get("Value").filter(|v| v.get("__entity").is_some())?;
            Some(who.is_in(&reader.uid(uid)?))
        };
        match json.get("Set") {
            Some(items) => {
                let items = items.as_array()?.iter().map(|item| one(self, item)).collect::<Option<Vec<_>>>()?;
                Some(Node::Or(items))
            }
            None => one(self, json),
        }
    }

    fn access(&mut self, json: &Json) -> Option<Node> {
        let left = json.get("left")?;
        let attr = self.text(json.get("attr")?.as_str()?);
        let path = match (var(left), of_context(left)) {
            (Some("principal"), _) if attr == "name" => Path::Principal,
            (Some("resource"), _) => Path::Field(field_named(attr)?),
            (Some("context"), _) => match attr {
                "autonomy" => Path::Autonomy,
                "consequence" => Path::Consequence,
                "reversibility" => Path::Reversibility,
                "surface" => Path::Surface,
                "detected" => Path::Detected,
                "opaque" => Path::Opaque,
                _ => return None,
            },
            (None, Some("attrs")) => Path::Attr(attr_named(attr)?),
            (None, Some("time")) => Path::Time(PARTS.iter().find(|part| **part == attr)?),
            (None, Some("fact")) => Path::Fact(*self.facts.get(attr)?),
            _ => return None,
        };
        Some(Node::Path(path))
    }

    fn has(&mut self, json: &Json) -> Option<Node> {
        let left = json.get("left")?;
        let names: Vec<&str> = match json.get("attr")? {
            Json::String(name) => vec![name],
            Json::Array(names) => names.iter().map(Json::as_str).collect::<Option<_>>()?,
            _ => return None,
        };
        let (holder, name) = match (var(left), of_context(left), names.as_slice()) {
            (None, Some(holder), [name]) => (holder, *name),
            (Some("context"), None, [holder, name]) => (*holder, *name),
            (Some("resource"), _, [name]) => ("resource", *name),
            _ => return None,
        };
        self.text(name);
        Some(match holder {
            "attrs" => Node::HasAttr(attr_named(name)?),
            "fact" => Node::HasFact(*self.facts.get(name)?),
            "resource" => Node::HasField(field_named(name)?),
            _ => return None,
        })
    }
}

fn set_of(items: Vec<Node>) -> Node {
    let is_texts = !items.is_empty() && items.iter().all(|item| matches!(item, Node::Str(_)));
    if !is_texts {
        return Node::Set(items);
    }
    let mut texts: Vec<Box<str>> =
        items.into_iter().filter_map(|item| if let Node::Str(text) = item { Some(text) } else { None }).collect();
    texts.sort_unstable();
    texts.dedup();
    Node::Texts(texts)
}

/// Neighbours that test the same text become one test.
fn joined(nodes: Vec<Node>) -> Vec<Node> {
    let mut out: Vec<Node> = Vec::new();
    for node in nodes {
        match (out.last_mut(), node) {
            (Some(Node::Text(there, tests)), Node::Text(path, more)) if *there == path => tests.extend(more),
            (_, node) => out.push(node),
        }
    }
    out
}
