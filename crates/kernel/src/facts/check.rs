//! From a fact's tree to a monitor: names resolved, types checked, safe-range and bounded.

use super::monitor::{Counter, Node, Prev, Since};
use super::pattern::{Pattern, Test};
use super::relation::{Relation, Store, Var};
use super::syntax::{Aggregate, AtomAst, Cmp, Expr, Fault, MatchAst, MatchOp, NumberAst, Operand, Phase, Tree, Window};
use crate::action::Value;
use crate::charter::report::nearest;
use crate::charter::settings::{glob_matcher, verbs_named};
use crate::vocabulary::{AttrType, COMMON_ATTRS, CONTENT_ATTRS, FieldSpec, ResourceKind, Verb, verbs};
use std::collections::{BTreeMap, BTreeSet};

/// A fact ready to run.
#[derive(Clone, Debug)]
pub(crate) enum Compiled {
    Formula(Node),
    Number(Counter),
}

/// Most nodes of one fact, once the facts that it names stand in it.
const NODES_MAX: usize = 2_000;

/// What is needed beside the tree.
pub(crate) struct Checker<'c> {
    /// The fact's text, which spans refer to.
    pub text: &'c str,
    /// All facts' trees, by name, with their texts.
    pub facts: &'c BTreeMap<String, (String, Tree)>,
    vars: BTreeMap<String, Var>,
    types: BTreeMap<String, AttrType>,
    dollars: Vec<&'static str>,
    /// A fact that stands in this one is reported at the place of its name.
    outer: Option<std::ops::Range<usize>>,
    nodes: usize,
}

/// The verbs that an atom speaks of.
pub(super) fn verbs_of(atom: &AtomAst) -> impl Iterator<Item = Verb> {
    verbs_named(&atom.verb).into_iter()
}

/// Whether `$` variables are known: they are at the moment of asking, and not while a temporal operator looks back.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Level {
    Asked,
    Past,
}

impl<'c> Checker<'c> {
    pub fn new(text: &'c str, facts: &'c BTreeMap<String, (String, Tree)>) -> Self {
        Self { text, facts, vars: BTreeMap::new(), types: BTreeMap::new(), dollars: Vec::new(), outer: None, nodes: 0 }
    }

    /// The monitor and the attributes of the judged action that it reads, in the order of their variables.
    pub fn compile(mut self, name: &str, tree: &Tree) -> Result<(Compiled, Vec<&'static str>), Fault> {
        let mut seen = vec![name.to_owned()];
        let mut dollars = BTreeSet::new();
        self.dollars_of(tree, &mut seen, &mut dollars)?;
        for dollar in dollars {
            let attr = self.judged_attr(&dollar)?;
            self.vars.insert(format!("${attr}"), u16::try_from(self.dollars.len()).unwrap_or(Var::MAX));
            self.dollars.push(attr);
        }
        let compiled = match &self.resolve(tree).expr {
            Expr::Number(number) => Compiled::Number(self.counter(number, tree)?),
            _ => Compiled::Formula(self.formula(tree, Level::Asked)?.0),
        };
        Ok((compiled, self.dollars))
    }

    /// The tree that a chain of names ends in.
    fn resolve(&self, tree: &Tree) -> Tree {
        let mut at = tree;
        while let Expr::Name(name) = &at.expr {
            match self.facts.get(name) {
                Some((_, next)) => at = next,
                None => break,
            }
        }
        at.clone()
    }

    fn fault(&self, code: &'static str, span: &std::ops::Range<usize>, message: impl Into<String>) -> Fault {
        Fault::new(code, self.outer.clone().unwrap_or_else(|| span.clone()), message)
    }

    fn snippet(&self, tree: &Tree) -> String {
        let text = self.text.get(tree.span.clone()).unwrap_or_default();
        text.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(200).collect()
    }

    /// Collects `$` names through the facts that are named, and refuses facts that name themselves.
    fn dollars_of(&mut self, tree: &Tree, seen: &mut Vec<String>, out: &mut BTreeSet<String>) -> Result<(), Fault> {
        self.nodes += 1;
        if self.nodes > NODES_MAX {
            return Err(self.fault("FB0160", &tree.span, format!("larger than {NODES_MAX} parts")));
        }
        let mut from_atom = |atom: &AtomAst| {
            for found in &atom.matches {
                if let Operand::Var(name) = &found.operand
                    && let Some(name) = name.strip_prefix('$')
                {
                    out.insert(name.to_owned());
                }
            }
        };
        match &tree.expr {
            Expr::Atom(atom) => from_atom(atom),
            Expr::Number(number) => {
                from_atom(&number.atom);
                out.extend(number.by.iter().map(|(name, _)| name.clone()));
            }
            Expr::Not(inner)
            | Expr::Once(_, inner)
            | Expr::Prev(_, inner)
            | Expr::Historically(_, inner)
            | Expr::Exists(_, inner)
            | Expr::Compare(inner, ..) => self.dollars_of(inner, seen, out)?,
            Expr::And(sides) | Expr::Or(sides) => {
                for side in sides {
                    self.dollars_of(side, seen, out)?;
                }
            }
            Expr::Since(left, _, right) => {
                self.dollars_of(left, seen, out)?;
                self.dollars_of(right, seen, out)?;
            }
            Expr::Name(name) => {
                if seen.contains(name) {
                    let way = seen.iter().chain([name]).map(|n| format!("`{n}`")).collect::<Vec<_>>().join(" -> ");
                    return Err(self.fault("FB0125", &tree.span, format!("the fact names itself: {way}")));
                }
                let Some((_, named)) = self.facts.get(name) else {
                    let fault = self.fault("FB0121", &tree.span, format!("no fact `{name}`"));
                    let hint = nearest(name, self.facts.keys().map(String::as_str));
                    return Err(Fault { hint, ..fault });
                };
                seen.push(name.clone());
                let before = self.outer.clone();
                self.outer.get_or_insert(tree.span.clone());
                self.dollars_of(named, seen, out)?;
                self.outer = before;
                seen.pop();
            }
        }
        Ok(())
    }

    /// An attribute that some action has when it is judged.
    fn judged_attr(&self, name: &str) -> Result<&'static str, Fault> {
        let all: BTreeSet<&'static str> = verbs().flat_map(|v| fields_of(v, Phase::Attempt)).map(|f| f.name).collect();
        all.get(name).copied().ok_or_else(|| {
            let at = self.text.find(&format!("${name}")).unwrap_or_default();
            let fault =
                self.fault("FB0121", &(at..at + name.len() + 1), format!("no action has an attribute `{name}`"));
            Fault { hint: nearest(name, all.iter().copied()), ..fault }
        })
    }

    /// The variables that were named so far.
    pub(super) fn variables(&self) -> BTreeMap<Var, String> {
        self.vars.iter().map(|(name, var)| (*var, name.clone())).collect()
    }

    fn var(&mut self, name: &str) -> Var {
        let next = u16::try_from(self.vars.len()).unwrap_or(Var::MAX);
        *self.vars.entry(name.to_owned()).or_insert(next)
    }

    fn var_names(&self, vars: &[Var]) -> String {
        let named = vars.iter().filter_map(|var| self.vars.iter().find(|(_, v)| *v == var));
        named.map(|(name, _)| format!("`{name}`")).collect::<Vec<_>>().join(", ")
    }

    fn is_dollar(&self, var: Var) -> bool {
        usize::from(var) < self.dollars.len()
    }

    /// Columns that are not known at that level.
    fn free(&self, columns: &[Var], level: Level) -> Vec<Var> {
        columns.iter().copied().filter(|c| level == Level::Past || !self.is_dollar(*c)).collect()
    }

    /// The node and its columns, `$` variables included.
    fn formula(&mut self, tree: &Tree, level: Level) -> Result<(Node, Vec<Var>), Fault> {
        match &tree.expr {
            Expr::Atom(atom) => {
                let pattern = self.pattern(atom)?;
                let columns = pattern.columns();
                let last = Relation::empty(columns.clone());
                Ok((Node::Atom { pattern, last, text: self.snippet(tree) }, columns))
            }
            Expr::Not(inner) => self.negation(inner, level),
            Expr::And(sides) => self.conjunction(sides, tree, level),
            Expr::Or(sides) => self.disjunction(sides, tree, level),
            Expr::Once(window, inner) => self.once(*window, inner, inner),
            Expr::Historically(window, inner) => {
                // Always f is: never not f.
                let never = match &inner.expr {
                    Expr::Not(positive) => (**positive).clone(),
                    _ => Tree { expr: Expr::Not(inner.clone()), span: inner.span.clone() },
                };
                let (node, columns) = self.once(*window, &never, &never)?;
                self.close(node, columns, tree, level)
            }
            Expr::Prev(window, inner) => {
                let (node, columns) = self.formula(inner, Level::Past)?;
                let text = self.snippet(inner);
                let prev = Prev { inner: node, window: *window, before: None, latest: None, text };
                Ok((Node::Prev(Box::new(prev)), columns))
            }
            Expr::Since(left, window, right) => self.since(left, *window, right, tree),
            Expr::Exists(names, inner) => {
                let (node, columns) = self.formula(inner, level)?;
                let vars: Vec<Var> = names.iter().map(|n| self.var(n)).collect();
                if let Some(missing) = vars.iter().find(|v| !columns.contains(v)) {
                    let missing = self.var_names(&[*missing]);
                    let fault = self.fault(
                        "FB0123",
                        &tree.span,
                        format!("{missing} is not bound in what `exists` ranges over"),
                    );
                    return Err(fault.hint("bind it in a `did`, `attempt` or `result` there, or remove it"));
                }
                let columns = columns.into_iter().filter(|c| !vars.contains(c)).collect();
                Ok((Node::Exists(vars, Box::new(node)), columns))
            }
            Expr::Name(name) => self.named(name, tree, level),
            Expr::Compare(inner, cmp, limit) => self.comparison(inner, *cmp, *limit, tree, level),
            Expr::Number(_) => {
                let fault = self.fault("FB0122", &tree.span, "a number stands where something true or false is wanted");
                Err(fault.hint("compare it: `count … >= 3`"))
            }
        }
    }

    fn once(&mut self, window: Window, inner: &Tree, text_of: &Tree) -> Result<(Node, Vec<Var>), Fault> {
        let (node, columns) = self.formula(inner, Level::Past)?;
        let store = Store::new(columns.clone(), window);
        Ok((Node::Once { inner: Box::new(node), store, text: self.snippet(text_of) }, columns))
    }

    fn negation(&mut self, inner: &Tree, level: Level) -> Result<(Node, Vec<Var>), Fault> {
        let (node, columns) = self.formula(inner, level)?;
        self.close(node, columns, inner, level)
    }

    /// Negates a formula whose variables are all known.
    fn close(&self, node: Node, columns: Vec<Var>, tree: &Tree, level: Level) -> Result<(Node, Vec<Var>), Fault> {
        let free = self.free(&columns, level);
        if !free.is_empty() {
            let names = self.var_names(&free);
            let fault = self.fault("FB0123", &tree.span, format!("{names} is negated and bound by nothing beside it"));
            return Err(fault.hint(format!(
                "join it with something that binds {names}, as in `once did … and not …`, or write `not exists … .`"
            )));
        }
        Ok((Node::Not(Box::new(node)), Vec::new()))
    }

    fn conjunction(&mut self, sides: &[Tree], tree: &Tree, level: Level) -> Result<(Node, Vec<Var>), Fault> {
        let mut joined: Option<(Node, Vec<Var>)> = None;
        let mut guarded = Vec::new();
        for side in sides {
            let compiled = match &side.expr {
                Expr::Not(inner) => {
                    let (node, columns) = self.formula(inner, level)?;
                    if !self.free(&columns, level).is_empty() {
                        guarded.push((node, columns, inner));
                        continue;
                    }
                    (Node::Not(Box::new(node)), Vec::new())
                }
                _ => self.formula(side, level)?,
            };
            joined = Some(match joined {
                None => compiled,
                Some((node, columns)) => {
                    (Node::And(Box::new(node), Box::new(compiled.0)), union(&columns, &compiled.1))
                }
            });
        }
        for (node, columns, inner) in guarded {
            let Some((left, left_columns)) = joined else { return self.close(node, columns, inner, level) };
            let unbound: Vec<Var> =
                self.free(&columns, level).into_iter().filter(|c| !left_columns.contains(c)).collect();
            if !unbound.is_empty() {
                let names = self.var_names(&unbound);
                let fault =
                    self.fault("FB0123", &inner.span, format!("{names} is negated and bound by nothing beside it"));
                return Err(fault.hint(format!("bind {names} in a part of the `and` that is not negated")));
            }
            joined = Some((Node::AndNot(Box::new(left), Box::new(node)), left_columns));
        }
        joined.ok_or_else(|| self.fault("FB0120", &tree.span, "nothing to join"))
    }

    fn disjunction(&mut self, sides: &[Tree], tree: &Tree, level: Level) -> Result<(Node, Vec<Var>), Fault> {
        let mut joined: Option<(Node, Vec<Var>)> = None;
        for side in sides {
            let (node, columns) = self.formula(side, level)?;
            joined = Some(match joined {
                None => (node, columns),
                Some((left, left_columns)) => {
                    let (mine, theirs) = (self.free(&left_columns, level), self.free(&columns, level));
                    if mine != theirs {
                        let differ: Vec<Var> = mine
                            .iter()
                            .filter(|c| !theirs.contains(c))
                            .chain(theirs.iter().filter(|c| !mine.contains(c)))
                            .copied()
                            .collect();
                        let names = self.var_names(&differ);
                        let message = format!("{names} is bound on one side of `or` only");
                        let fault = self.fault("FB0123", &tree.span, message);
                        return Err(
                            fault.hint(format!("bind {names} on both sides, or leave it out on the one that has it"))
                        );
                    }
                    (Node::Or(Box::new(left), Box::new(node)), union(&left_columns, &columns))
                }
            });
        }
        joined.ok_or_else(|| self.fault("FB0120", &tree.span, "nothing to choose from"))
    }

    fn since(&mut self, left: &Tree, window: Window, right: &Tree, tree: &Tree) -> Result<(Node, Vec<Var>), Fault> {
        let (is_negated, inner) = match &left.expr {
            Expr::Not(inner) => (true, &**inner),
            _ => (false, left),
        };
        let (left_node, left_columns) = self.formula(inner, Level::Past)?;
        let (right_node, columns) = self.formula(right, Level::Past)?;
        let unbound: Vec<Var> = left_columns.iter().copied().filter(|c| !columns.contains(c)).collect();
        if !unbound.is_empty() {
            let names = self.var_names(&unbound);
            let (a, b) = (self.snippet(inner), self.snippet(right));
            let fault = self.fault("FB0123", &tree.span, format!("{names} is bound before `since` and not after it"));
            let is_asked = unbound.iter().all(|var| self.is_dollar(*var));
            return Err(fault.hint(if is_negated && is_asked {
                format!("bind {names} after `since` too, or say it the other way round: `once {b} and not (not {b} since {a})`")
            } else {
                format!("bind {names} after `since` too, or leave it out where any value will do")
            }));
        }
        let since = Since {
            is_negated,
            left: left_node,
            right: right_node,
            store: Store::new(columns.clone(), window),
            text: self.snippet(right),
            last_right: Vec::new(),
            last_broken: Vec::new(),
        };
        Ok((Node::Since(Box::new(since)), columns))
    }

    /// Another fact: its variables are its own.
    fn named(&mut self, name: &str, tree: &Tree, level: Level) -> Result<(Node, Vec<Var>), Fault> {
        let Some((text, named)) = self.facts.get(name) else {
            return Err(self.fault("FB0121", &tree.span, format!("no fact `{name}`")));
        };
        let (before_text, before_outer, before_types) = (self.text, self.outer.clone(), self.types.clone());
        self.outer.get_or_insert(tree.span.clone());
        self.text = text;
        self.types.retain(|name, _| name.starts_with('$'));
        let compiled = self.formula(named, level);
        self.text = before_text;
        self.outer = before_outer;
        self.types = before_types;
        let (node, columns) = compiled?;
        let own: Vec<Var> = columns.iter().copied().filter(|c| !self.is_dollar(*c)).collect();
        if own.is_empty() {
            return Ok((node, columns));
        }
        let rest = columns.into_iter().filter(|c| !own.contains(c)).collect();
        Ok((Node::Exists(own, Box::new(node)), rest))
    }

    fn comparison(
        &mut self,
        inner: &Tree,
        cmp: Cmp,
        limit: i64,
        tree: &Tree,
        level: Level,
    ) -> Result<(Node, Vec<Var>), Fault> {
        let resolved = self.resolve(inner);
        let Expr::Number(number) = &resolved.expr else {
            return Err(self.fault("FB0122", &inner.span, "only a count, sum, min or max can be compared"));
        };
        let before = self.outer.clone();
        if matches!(inner.expr, Expr::Name(_)) {
            self.outer.get_or_insert(inner.span.clone());
        }
        let counter = self.counter(number, inner);
        self.outer = before;
        let mut counter = counter?;
        let keeps_all = counter.aggregate != Aggregate::Count || counter.window.min_ns > 0;
        if !keeps_all && counter.window.max_ns.is_some() {
            counter.keep_max = usize::try_from(limit.max(0)).ok().and_then(|n| n.checked_add(1));
        }
        let columns = counter.pattern.columns();
        if level == Level::Past && !columns.is_empty() {
            let fault = self.fault("FB0106", &tree.span, "a count by key within the past is not supported yet");
            return Err(fault.hint("take it out of `once`, `since`, `prev` or `historically`"));
        }
        Ok((Node::Compare(Box::new(counter), cmp, limit), columns))
    }

    fn counter(&mut self, number: &NumberAst, tree: &Tree) -> Result<Counter, Fault> {
        let mut atom = number.atom.clone();
        // `by a` is `(a: $a)`: the group of the action now judged.
        for (attr, span) in &number.by {
            atom.matches.push(MatchAst {
                attr: attr.clone(),
                op: MatchOp::Compare(Cmp::Eq),
                operand: Operand::Var(format!("${attr}")),
                span: span.clone(),
            });
        }
        let mut pattern = self.pattern(&atom)?;
        // A variable of its own joins nothing outside the count.
        let dollars = self.dollars.len();
        pattern.binds.retain(|var, _| usize::from(*var) < dollars);
        if number.window.max_ns.is_none() && number.window.min_ns > 0 {
            let fault =
                self.fault("FB0124", &tree.span, "a count that starts in the past and never ends keeps everything");
            return Err(fault.hint("give the window an end: `[1m, 24h]`"));
        }
        let of = match (&number.of, number.aggregate) {
            (Some((_, span)), Aggregate::Count) => {
                return Err(self.fault("FB0122", span, "`count` counts events, not an attribute"));
            }
            (None, Aggregate::Count) => None,
            (None, _) => {
                let fault = self.fault("FB0122", &tree.span, "this needs an attribute");
                return Err(fault.hint("such as `sum of bytes did …`"));
            }
            (Some((attr, span)), _) => {
                let (field, ty) = self.field(&pattern.verbs, attr, atom.phase, span)?;
                if ty != AttrType::Long {
                    return Err(self.fault("FB0122", span, format!("`{attr}` is no whole number")));
                }
                Some(field)
            }
        };
        let text = self.snippet(tree);
        Ok(Counter {
            aggregate: number.aggregate,
            window: number.window,
            pattern,
            of,
            text,
            groups: BTreeMap::new(),
            records: 0,
            keep_max: None,
            is_broken: false,
        })
    }

    pub(super) fn pattern(&mut self, atom: &AtomAst) -> Result<Pattern, Fault> {
        let found = verbs_named(&atom.verb);
        if found.is_empty() {
            let names = verbs().map(Verb::name).chain(verbs().map(Verb::group).collect::<BTreeSet<_>>());
            let fault = self.fault("FB0121", &atom.verb_span, format!("no verb `{}`", atom.verb));
            return Err(Fault { hint: nearest(&atom.verb, names), ..fault });
        }
        let names_content = atom.matches.iter().any(|m| CONTENT_ATTRS.contains(&m.attr.as_str()));
        let mut pattern =
            Pattern { phase: atom.phase, verbs: found, tests: Vec::new(), binds: BTreeMap::new(), names_content };
        // Variables first bind, and then compare.
        let (binding, rest): (Vec<&MatchAst>, Vec<&MatchAst>) = atom
            .matches
            .iter()
            .partition(|m| matches!((&m.op, &m.operand), (MatchOp::Compare(Cmp::Eq), Operand::Var(_))));
        for found in binding.into_iter().chain(rest) {
            self.add_match(&mut pattern, found)?;
        }
        Ok(pattern)
    }

    fn add_match(&mut self, pattern: &mut Pattern, found: &MatchAst) -> Result<(), Fault> {
        let span = &found.span;
        if found.attr == "label" {
            let labels = MatchAst { attr: "labels".to_owned(), op: MatchOp::Has, ..found.clone() };
            return self.add_match(pattern, &labels);
        }
        let (attr, ty) = self.field(&pattern.verbs, &found.attr, pattern.phase, span)?;
        let wrong = |message: String| self.fault("FB0122", span, message);
        let test = match (&found.op, &found.operand) {
            (MatchOp::Compare(Cmp::Eq), Operand::Var(name)) => return self.bind(pattern, attr, ty, name, span),
            (MatchOp::Compare(Cmp::Ne), Operand::Var(name)) => {
                let var = self.vars.get(name).copied();
                match var.and_then(|var| pattern.binds.get(&var)) {
                    Some(bound) => Test::Other(bound),
                    None => {
                        let fault = self.fault("FB0123", span, format!("`{name}` is compared and not bound here"));
                        return Err(fault.hint(format!("bind it in the same atom: `attribute: {name}`")));
                    }
                }
            }
            (_, Operand::Var(name)) => {
                let fault = self.fault("FB0106", span, format!("`{name}` can only be matched with `:`, `==` and `!=`"));
                return Err(fault.hint("other comparisons with variables are not supported yet"));
            }
            (MatchOp::Compare(cmp @ (Cmp::Eq | Cmp::Ne)), Operand::Literal(value)) => {
                if value.ty() != ty {
                    return Err(wrong(format!("`{}` is a {}, not a {}", found.attr, say(ty), say(value.ty()))));
                }
                let (anchored, value) = anchor(attr, value, &pattern.verbs);
                let test = if *cmp == Cmp::Eq { Test::Equal(value) } else { Test::Unequal(value) };
                pattern.tests.push((anchored, test));
                return Ok(());
            }
            (MatchOp::Compare(cmp), Operand::Literal(Value::Long(limit))) if ty == AttrType::Long => {
                Test::Compare(*cmp, *limit)
            }
            (MatchOp::Compare(_), Operand::Literal(_)) => {
                return Err(wrong(format!("`{}` can't be compared like that: only whole numbers can", found.attr)));
            }
            (MatchOp::Like, Operand::Literal(value @ Value::Str(_))) if ty == AttrType::Str => {
                let (anchored, value) = anchor(attr, value, &pattern.verbs);
                let glob = value.as_str().unwrap_or_default();
                let matcher = glob_matcher(glob, is_path(attr))
                    .map_err(|why| self.fault("FB0120", span, format!("this is no pattern: {why}")))?;
                pattern.tests.push((anchored, Test::Like(matcher)));
                return Ok(());
            }
            (MatchOp::Like, _) => {
                return Err(wrong(format!(
                    "`like` wants a string attribute and a pattern; `{}` is a {}",
                    found.attr,
                    say(ty)
                )));
            }
            (MatchOp::Has, Operand::Literal(Value::Str(item))) if ty == AttrType::Strs => Test::Has(item.clone()),
            (MatchOp::Has, _) => {
                return Err(wrong(format!(
                    "`has` wants a list of strings and a string; `{}` is a {}",
                    found.attr,
                    say(ty)
                )));
            }
        };
        pattern.tests.push((attr, test));
        Ok(())
    }

    fn bind(
        &mut self,
        pattern: &mut Pattern,
        attr: &'static str,
        ty: AttrType,
        name: &str,
        span: &std::ops::Range<usize>,
    ) -> Result<(), Fault> {
        let there = *self.types.entry(name.to_owned()).or_insert(ty);
        if there != ty {
            let message = format!("`{name}` is a {} here and a {} elsewhere", say(ty), say(there));
            return Err(self.fault("FB0122", span, message));
        }
        if let Some(judged) = name.strip_prefix('$')
            && !verbs().flat_map(|v| fields_of(v, Phase::Attempt)).any(|f| f.name == judged && f.ty == ty)
        {
            let message = format!("`{attr}` is a {}, and no action's `{judged}` is", say(ty));
            return Err(self.fault("FB0122", span, message));
        }
        let var = self.var(name);
        match pattern.binds.get(&var) {
            Some(first) => pattern.tests.push((attr, Test::Same(first))),
            None => {
                pattern.binds.insert(var, attr);
            }
        }
        Ok(())
    }

    /// An attribute that all the verbs have in that phase.
    fn field(
        &self,
        verbs: &[Verb],
        name: &str,
        phase: Phase,
        span: &std::ops::Range<usize>,
    ) -> Result<(&'static str, AttrType), Fault> {
        let mut found: Option<FieldSpec> = None;
        for verb in verbs {
            let fields: Vec<FieldSpec> = fields_of(*verb, phase).collect();
            let Some(field) = fields.iter().find(|f| f.name == name) else {
                let later = fields_of(*verb, Phase::Result).any(|f| f.name == name);
                let fault = self.fault("FB0121", span, format!("`{verb}` has no attribute `{name}`"));
                let hint = if later {
                    Some(format!("only its outcome has: write `result {verb}(…)`"))
                } else {
                    nearest(name, fields.iter().map(|f| f.name))
                };
                return Err(Fault { hint, ..fault });
            };
            if found.is_some_and(|other| other.ty != field.ty) {
                return Err(self.fault("FB0122", span, format!("`{name}` has different types among these verbs")));
            }
            found = Some(*field);
        }
        found
            .map(|f| (f.name, f.ty))
            .ok_or_else(|| self.fault("FB0121", span, format!("nothing has an attribute `{name}`")))
    }
}

/// What an event of that verb and phase carries; the outcome's own come first.
pub(crate) fn fields_of(verb: Verb, phase: Phase) -> impl Iterator<Item = FieldSpec> {
    const OUTCOME: &[FieldSpec] = &[FieldSpec { name: "ok", ty: AttrType::Bool }];
    const ALWAYS: &[FieldSpec] =
        &[FieldSpec { name: "agent", ty: AttrType::Str }, FieldSpec { name: "surface", ty: AttrType::Str }];
    let spec = verb.spec();
    let outcome = spec.outcome.iter().chain(OUTCOME).filter(move |_| phase == Phase::Result);
    outcome
        .chain(spec.resource.fields())
        .chain(spec.resource.derived_fields())
        .chain(spec.attrs)
        .chain(COMMON_ATTRS)
        .chain(ALWAYS)
        .copied()
}

/// A file's path that is written relative is relative to the workspace, one that starts with `~/` to the home.
fn anchor(attr: &'static str, value: &Value, verbs: &[Verb]) -> (&'static str, Value) {
    let is_file = verbs.iter().all(|v| v.spec().resource == ResourceKind::File);
    let (Value::Str(text), true) = (value, is_file) else { return (attr, value.clone()) };
    match (attr, text.strip_prefix("~/")) {
        ("path", Some(rest)) => ("home_rel", rest.into()),
        ("path", None) if !text.starts_with('/') => ("rel", text.strip_prefix("./").unwrap_or(text).into()),
        ("to", None) if !text.starts_with('/') => ("to_rel", text.strip_prefix("./").unwrap_or(text).into()),
        _ => (attr, value.clone()),
    }
}

fn is_path(attr: &str) -> bool {
    matches!(attr, "path" | "rel" | "cwd" | "to" | "to_rel" | "target")
}

fn union(a: &[Var], b: &[Var]) -> Vec<Var> {
    let mut all: Vec<Var> = a.iter().chain(b).copied().collect();
    all.sort_unstable();
    all.dedup();
    all
}

fn say(ty: AttrType) -> &'static str {
    match ty {
        AttrType::Bool => "boolean",
        AttrType::Long => "whole number",
        AttrType::Str => "string",
        AttrType::Strs => "list of strings",
    }
}
