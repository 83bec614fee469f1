//! From a fact's tree to a monitor: names resolved, safe-range and bounded. What atoms may say is checked in `atoms`.

use super::counter::Counter;
use super::monitor::{Ended, Last, Node, Prev, Since, Versus};
use super::pattern::Test;
use super::relation::Var;
use super::store::Store;
use super::syntax::{Aggregate, AtomAst, Cmp, Expr, Fault, MatchAst, MatchOp, NumberAst, Operand, Tree, Window};
use crate::charter::report::nearest;
use crate::vocabulary::AttrType;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

/// A fact ready to run.
#[derive(Clone, Debug)]
pub(crate) enum Compiled {
    Formula(Node),
    Number(Counter),
}

/// Most nodes of one fact, once the facts that it names stand in it.
const NODES_MAX: usize = 2_000;

/// Deepest nesting of a fact with all that it names: a monitor is walked by recursion, on stacks of 2 MiB.
const DEPTH_MAX: usize = 128;

/// Most variables of one fact, those included that only a comparison needs.
const VARS_MAX: usize = 4_096;

/// What is needed beside the tree.
pub(crate) struct Checker<'c> {
    /// The fact's text, which spans refer to.
    pub text: &'c str,
    /// All facts' trees, by name, with their texts.
    pub facts: &'c BTreeMap<String, (String, Tree)>,
    /// The variables that a name stands for where the checker is.
    pub(super) scope: BTreeMap<String, Var>,
    /// Each variable's name, where it was first met, and, once it is known, type.
    pub(super) vars: Vec<(String, Range<usize>, Option<AttrType>)>,
    pub(super) dollars: Vec<&'static str>,
    /// Variables that stand in more than one place, so that a number's are no affair of its own.
    shared: BTreeSet<String>,
    /// A fact that stands in this one is reported at the place of its name.
    outer: Option<Range<usize>>,
    nodes: usize,
}

/// Whether `$` variables are known: they are at the moment of asking, and not while a temporal operator looks back.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Level {
    Asked,
    Past,
}

/// A formula that was compiled.
struct Built {
    node: Node,
    /// Its free variables, `$` variables included.
    columns: Vec<Var>,
    /// Comparisons with variables that nothing in it binds.
    pending: Vec<Versus>,
}

impl Built {
    fn new(node: Node, columns: Vec<Var>) -> Self {
        Self { node, columns, pending: Vec::new() }
    }

    fn and(self, other: Built) -> Built {
        let columns = union(&self.columns, &other.columns);
        let pending = self.pending.into_iter().chain(other.pending).collect();
        Built { node: Node::And(Box::new(self.node), Box::new(other.node)), columns, pending }
    }
}

impl<'c> Checker<'c> {
    pub fn new(text: &'c str, facts: &'c BTreeMap<String, (String, Tree)>) -> Self {
        Self {
            text,
            facts,
            scope: BTreeMap::new(),
            vars: Vec::new(),
            dollars: Vec::new(),
            shared: BTreeSet::new(),
            outer: None,
            nodes: 0,
        }
    }

    /// The monitor and the attributes of the judged action that it reads, in the order of their variables.
    pub fn compile(&mut self, name: &str, tree: &Tree) -> Result<(Compiled, Vec<&'static str>), Fault> {
        let mut seen = vec![name.to_owned()];
        let mut dollars = BTreeMap::new();
        self.dollars_of(tree, 0, &mut seen, &mut dollars)?;
        for (dollar, span) in dollars {
            let attr = self.judged_attr(&dollar, &span)?;
            let var = self.fresh(&format!("${attr}"), &span)?;
            self.scope.insert(format!("${attr}"), var);
            self.dollars.push(attr);
        }
        let resolved = self.resolve(tree);
        let compiled = match &resolved.expr {
            Expr::Number(number) => {
                if matches!(tree.expr, Expr::Name(_)) {
                    self.outer.get_or_insert(tree.span.clone());
                }
                Compiled::Number(self.counter(number, &resolved, Level::Asked)?)
            }
            _ => {
                self.shared = shared(tree);
                let built = self.formula(tree, Level::Asked, &[])?;
                self.refuse_pending(&built.pending, None)?;
                Compiled::Formula(built.node)
            }
        };
        Ok((compiled, self.dollars.clone()))
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

    pub(super) fn fault(&self, code: &'static str, span: &Range<usize>, message: impl Into<String>) -> Fault {
        Fault::new(code, self.outer.clone().unwrap_or_else(|| span.clone()), message)
    }

    fn snippet(&self, tree: &Tree) -> String {
        let text = self.text.get(tree.span.clone()).unwrap_or_default();
        text.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(200).collect()
    }

    /// Collects `$` names with their places through the facts that are named, and refuses facts that name themselves.
    fn dollars_of(
        &mut self,
        tree: &Tree,
        depth: usize,
        seen: &mut Vec<String>,
        out: &mut BTreeMap<String, Range<usize>>,
    ) -> Result<(), Fault> {
        self.nodes += 1;
        if depth > DEPTH_MAX {
            let message = format!("nested deeper than {DEPTH_MAX}, with the facts that it names");
            return Err(self.fault("FB0160", &tree.span, message));
        }
        if self.nodes > NODES_MAX {
            return Err(self.fault("FB0160", &tree.span, format!("larger than {NODES_MAX} parts")));
        }
        let outer = self.outer.clone();
        let mut add = |name: &str, span: &Range<usize>| {
            out.entry(name.to_owned()).or_insert_with(|| outer.clone().unwrap_or_else(|| span.clone()));
        };
        match &tree.expr {
            Expr::Atom(_) | Expr::Number(_) => {
                let (atom, by): (&AtomAst, &[_]) = match &tree.expr {
                    Expr::Number(number) => (&number.atom, &number.by),
                    Expr::Atom(atom) => (atom, &[]),
                    _ => return Ok(()),
                };
                for found in &atom.matches {
                    if let Operand::Var(name) = &found.operand
                        && let Some(name) = name.strip_prefix('$')
                    {
                        add(name, &found.span);
                    }
                }
                by.iter().for_each(|(name, span)| add(name, span));
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
                self.dollars_of(named, depth + 1, seen, out)?;
                self.outer = before;
                seen.pop();
            }
            _ => {
                // Sides become a chain of pairs.
                let sides = tree.below();
                let depth = depth + sides.len();
                for inner in sides {
                    self.dollars_of(inner, depth, seen, out)?;
                }
            }
        }
        Ok(())
    }

    /// The variables that were named so far.
    pub(super) fn variables(&self) -> BTreeMap<Var, String> {
        self.scope.iter().map(|(name, var)| (*var, name.clone())).collect()
    }

    /// A variable that nothing else stands for.
    pub(super) fn fresh(&mut self, name: &str, span: &Range<usize>) -> Result<Var, Fault> {
        let var = Var::try_from(self.vars.len()).ok().filter(|_| self.vars.len() < VARS_MAX);
        let var = var.ok_or_else(|| self.fault("FB0160", span, format!("more than {VARS_MAX} variables")))?;
        self.vars.push((name.to_owned(), span.clone(), None));
        Ok(var)
    }

    /// The variable that the name stands for here.
    pub(super) fn var(&mut self, name: &str, span: &Range<usize>) -> Result<Var, Fault> {
        if let Some(var) = self.scope.get(name) {
            return Ok(*var);
        }
        let var = self.fresh(name, span)?;
        self.scope.insert(name.to_owned(), var);
        Ok(var)
    }

    fn var_names<'v>(&self, vars: impl IntoIterator<Item = &'v Var>) -> String {
        let mut names: Vec<String> = Vec::new();
        for (name, ..) in vars.into_iter().filter_map(|var| self.vars.get(usize::from(*var))) {
            let quoted = format!("`{name}`");
            if !names.contains(&quoted) {
                names.push(quoted);
            }
        }
        names.join(", ")
    }

    fn is_dollar(&self, var: Var) -> bool {
        usize::from(var) < self.dollars.len()
    }

    /// Columns that are not known at that level.
    fn free(&self, columns: &[Var], level: Level) -> Vec<Var> {
        columns.iter().copied().filter(|c| level == Level::Past || !self.is_dollar(*c)).collect()
    }

    /// Compiles a formula. Where it negates variables that it doesn't bind, those of `guard` will be asked about.
    fn formula(&mut self, tree: &Tree, level: Level, guard: &[Var]) -> Result<Built, Fault> {
        let built = match &tree.expr {
            Expr::Atom(atom) => self.atom(atom, tree)?,
            Expr::Not(inner) => return self.negation(inner, level, guard),
            Expr::And(sides) => self.conjunction(sides, level, guard)?,
            Expr::Or(sides) => self.disjunction(sides, tree, level, guard)?,
            Expr::Once(window, inner) => self.once(*window, inner, level)?,
            Expr::Historically(window, inner) => {
                // Always f is: never not f.
                let never = Tree { expr: Expr::Once(*window, Box::new(not(inner))), span: inner.span.clone() };
                return self.negation(&never, level, guard);
            }
            Expr::Prev(window, inner) => {
                let Built { node, columns, pending } = self.formula(inner, Level::Past, &[])?;
                let mut attrs = BTreeSet::new();
                node.attrs(&mut attrs);
                let (window, text) = (*window, self.snippet(inner));
                let prev = Prev { inner: node, window, text, attrs, behind_ns: None, pending: None };
                Built { node: Node::Prev(Box::new(prev)), columns, pending }
            }
            Expr::Since(left, window, right) => self.since(left, *window, right, tree, level)?,
            Expr::Exists(names, inner) => self.exists(names, inner, tree, level, guard)?,
            Expr::Name(name) => self.named(name, tree, level, guard)?,
            Expr::Compare(inner, cmp, limit) => self.comparison(inner, *cmp, *limit, level, guard)?,
            Expr::Number(_) => {
                let fault = self.fault("FB0122", &tree.span, "a number stands where something true or false is wanted");
                return Err(fault.hint("compare it: `count … >= 3`"));
            }
        };
        Ok(self.settle(built, level))
    }

    fn atom(&mut self, atom: &AtomAst, tree: &Tree) -> Result<Built, Fault> {
        let (pattern, pending) = self.pattern(atom)?;
        let columns = pattern.columns();
        let last = Last::new(&pattern);
        Ok(Built { node: Node::Atom { pattern, last, text: self.snippet(tree) }, columns, pending })
    }

    /// Makes the comparisons of which both sides are known here.
    fn settle(&self, built: Built, level: Level) -> Built {
        let is_known = |versus: &Versus| {
            built.columns.contains(&versus.right) || (level == Level::Asked && self.is_dollar(versus.right))
        };
        let (ready, pending): (Vec<Versus>, Vec<Versus>) = built.pending.iter().partition(|versus| is_known(versus));
        if ready.is_empty() {
            return built;
        }
        let columns = built.columns.into_iter().filter(|c| ready.iter().all(|versus| versus.left != *c)).collect();
        Built { node: Node::Filter(Box::new(built.node), ready), columns, pending }
    }

    /// Refuses comparisons with what nothing binds. They are told of where they stand, or at the place of the fact that
    /// they stand in.
    pub(super) fn refuse_pending(&self, pending: &[Versus], named_at: Option<&Tree>) -> Result<(), Fault> {
        let Some(first) = pending.first() else { return Ok(()) };
        let names = self.var_names(pending.iter().map(|versus| &versus.right));
        let place = self.vars.get(usize::from(first.left)).map(|(_, span, _)| span.clone());
        let span = named_at.map(|tree| tree.span.clone()).or(place).unwrap_or_default();
        let fault = self.fault("FB0123", &span, format!("{names} is compared and not bound here"));
        Err(fault.hint(format!(
            "bind it in the same atom, or in one that is joined to it with `and`: `attribute: {}`",
            names.trim_matches('`')
        )))
    }

    fn once(&mut self, window: Window, inner: &Tree, level: Level) -> Result<Built, Fault> {
        if let (Expr::Or(sides), Level::Asked) = (&inner.expr, level) {
            // Once either is either once. Apart, each remembers its own keys.
            let once = |side: &Tree| Tree { expr: Expr::Once(window, Box::new(side.clone())), span: side.span.clone() };
            return self.disjunction(&sides.iter().map(once).collect::<Vec<_>>(), inner, level, &[]);
        }
        let Built { node, columns, pending } = self.formula(inner, Level::Past, &[])?;
        let store = Store::new(columns.clone(), window);
        let node = Node::Once { inner: Box::new(node), store, text: self.snippet(inner) };
        Ok(Built { node, columns, pending })
    }

    fn negation(&mut self, inner: &Tree, level: Level, guard: &[Var]) -> Result<Built, Fault> {
        match &inner.expr {
            Expr::Not(positive) => return self.formula(positive, level, guard),
            Expr::Historically(window, always) => {
                return self.once(*window, &not(always), level).map(|b| self.settle(b, level));
            }
            _ => {}
        }
        let built = self.formula(inner, level, guard)?;
        self.negated(built, inner, level, guard, false)
    }

    /// Negates a formula whose variables are all known, or asked about.
    fn negated(&self, built: Built, tree: &Tree, level: Level, guard: &[Var], is_joined: bool) -> Result<Built, Fault> {
        let built = self.guarded(built, level, guard);
        self.refuse_pending(&built.pending, None)?;
        let free = self.free(&built.columns, level);
        if free.is_empty() {
            return Ok(Built::new(Node::Not(Box::new(built.node)), Vec::new()));
        }
        let unbound: Vec<Var> = free.iter().copied().filter(|c| !guard.contains(c)).collect();
        if !unbound.is_empty() {
            let names = self.var_names(&unbound);
            let fault = self.fault("FB0123", &tree.span, format!("{names} is negated and bound by nothing beside it"));
            // Beside other parts of an `and`, one of those can bind it.
            return Err(fault.hint(if is_joined {
                format!("bind {names} in a part of the `and` that is not negated")
            } else {
                format!(
                    "join it with something that binds {names}, as in `once did … and not …`, or write `not exists … .`"
                )
            }));
        }
        let asked = Node::Guard(free.clone());
        Ok(Built::new(Node::AndNot(Box::new(asked), Box::new(built.node)), free))
    }

    /// Joined with what is asked about, where it compares with that.
    fn guarded(&self, built: Built, level: Level, guard: &[Var]) -> Built {
        let mut wanted: Vec<Var> = built.pending.iter().map(|v| v.right).filter(|v| guard.contains(v)).collect();
        wanted.sort_unstable();
        wanted.dedup();
        if wanted.is_empty() {
            return built;
        }
        self.settle(Built::new(Node::Guard(wanted.clone()), wanted).and(built), level)
    }

    /// Binders first, then what has a negation in it, then what is negated: each is asked about the rows before it.
    fn conjunction(&mut self, sides: &[Tree], level: Level, guard: &[Var]) -> Result<Built, Fault> {
        let mut order: Vec<&Tree> = sides.iter().collect();
        order.sort_by_key(|side| match &side.expr {
            Expr::Not(_) | Expr::Historically(..) => 3,
            Expr::Or(_) if negates(side) => 2,
            _ if negates(side) => 1,
            _ => 0,
        });
        let mut joined: Option<Built> = None;
        for side in order {
            let known = joined.as_ref().map_or_else(Vec::new, |built| built.columns.clone());
            let asked = union(&known, guard);
            let is_taken_away = match &side.expr {
                Expr::Not(inner) => !matches!(inner.expr, Expr::Not(_) | Expr::Historically(..)),
                _ => false,
            };
            if let (true, Expr::Not(inner)) = (is_taken_away, &side.expr) {
                let built = self.formula(inner, level, &asked)?;
                let free = self.free(&built.columns, level);
                let is_covered = !free.is_empty() && free.iter().all(|c| known.contains(c));
                if built.pending.is_empty()
                    && is_covered
                    && let Some(left) = joined.take()
                {
                    let node = Node::AndNot(Box::new(left.node), Box::new(built.node));
                    joined = Some(Built { node, ..left });
                    continue;
                }
                let built = self.negated(built, inner, level, &asked, true)?;
                joined = Some(match joined.take() {
                    Some(left) => self.settle(left.and(built), level),
                    None => built,
                });
                continue;
            }
            let built = self.formula(side, level, &asked)?;
            joined = Some(match joined.take() {
                Some(left) => self.settle(left.and(built), level),
                None => built,
            });
        }
        joined.ok_or_else(|| self.fault("FB0120", &(0..0), "nothing to join"))
    }

    fn disjunction(&mut self, sides: &[Tree], tree: &Tree, level: Level, guard: &[Var]) -> Result<Built, Fault> {
        let mut joined: Option<Built> = None;
        for side in sides {
            let built = self.formula(side, level, guard)?;
            let built = self.guarded(built, level, guard);
            self.refuse_pending(&built.pending, None)?;
            let Some(left) = joined else {
                joined = Some(built);
                continue;
            };
            let (mine, theirs) = (self.free(&left.columns, level), self.free(&built.columns, level));
            if mine != theirs {
                let differ: Vec<Var> = mine
                    .iter()
                    .filter(|c| !theirs.contains(c))
                    .chain(theirs.iter().filter(|c| !mine.contains(c)))
                    .copied()
                    .collect();
                let names = self.var_names(&differ);
                let fault = self.fault("FB0123", &tree.span, format!("{names} is bound on one side of `or` only"));
                return Err(fault.hint(format!("bind {names} on both sides, or leave it out on the one that has it")));
            }
            let columns = union(&left.columns, &built.columns);
            joined = Some(Built::new(Node::Or(Box::new(left.node), Box::new(built.node)), columns));
        }
        joined.ok_or_else(|| self.fault("FB0120", &tree.span, "nothing to choose from"))
    }

    fn since(&mut self, left: &Tree, window: Window, right: &Tree, tree: &Tree, level: Level) -> Result<Built, Fault> {
        let (is_negated, inner) = match &left.expr {
            Expr::Not(inner) => (true, &**inner),
            _ => (false, left),
        };
        let Built { node: right_node, columns, pending } = self.formula(right, Level::Past, &[])?;
        let built = self.formula(inner, Level::Past, &columns)?;
        let built = self.guarded(built, Level::Past, &columns);
        self.refuse_pending(&built.pending, None)?;
        let unbound: Vec<Var> = built.columns.iter().copied().filter(|c| !columns.contains(c)).collect();
        if !unbound.is_empty() {
            let is_asked = level == Level::Asked && unbound.iter().all(|var| self.is_dollar(*var));
            if is_asked && is_negated && window.min_ns == 0 && columns.is_empty() && pending.is_empty() {
                return self.formula(&keyed_since(inner, window, right, tree), level, &[]);
            }
            let names = self.var_names(&unbound);
            let message = format!("{names} is bound before `since` and not after it");
            let hint = format!("bind {names} after `since` too, or leave it out where any value will do");
            return Err(self.fault("FB0123", &tree.span, message).hint(hint));
        }
        let mut guard = BTreeSet::new();
        guards(&built.node, &mut guard);
        let since = Since {
            is_negated,
            left: built.node,
            guard: guard.into_iter().collect(),
            right: right_node,
            store: Store::new(columns.clone(), window),
            text: self.snippet(right),
            ended: Ended::default(),
        };
        Ok(Built { node: Node::Since(Box::new(since)), columns, pending })
    }

    fn exists(
        &mut self,
        names: &[String],
        inner: &Tree,
        tree: &Tree,
        level: Level,
        guard: &[Var],
    ) -> Result<Built, Fault> {
        // Within, the names stand for other variables than outside.
        let outside = self.scope.clone();
        let mut vars = Vec::new();
        for name in names {
            let var = self.fresh(name, &tree.span)?;
            self.scope.insert(name.clone(), var);
            vars.push(var);
        }
        let built = self.formula(inner, level, guard);
        let within = std::mem::replace(&mut self.scope, outside);
        for (name, var) in within {
            if !names.contains(&name) {
                self.scope.entry(name).or_insert(var);
            }
        }
        let built = built?;
        if let Some(versus) = built.pending.iter().find(|versus| vars.contains(&versus.right)) {
            self.refuse_pending(&[*versus], None)?;
        }
        if let Some(missing) = vars.iter().find(|v| !built.columns.contains(v)) {
            let missing = self.var_names([missing]);
            let message = format!("{missing} is not bound in what `exists` ranges over");
            let fault = self.fault("FB0123", &tree.span, message);
            return Err(fault.hint("bind it in a `did`, `attempt` or `result` there, or remove it"));
        }
        let columns = built.columns.into_iter().filter(|c| !vars.contains(c)).collect();
        Ok(Built { node: Node::Exists(vars, Box::new(built.node)), columns, pending: built.pending })
    }

    /// Another fact: its variables are its own.
    fn named(&mut self, name: &str, tree: &Tree, level: Level, guard: &[Var]) -> Result<Built, Fault> {
        let Some((text, named)) = self.facts.get(name) else {
            return Err(self.fault("FB0121", &tree.span, format!("no fact `{name}`")));
        };
        let before = (self.text, self.outer.clone(), self.scope.clone(), std::mem::take(&mut self.shared));
        self.outer.get_or_insert(tree.span.clone());
        self.text = text;
        self.scope.retain(|name, _| name.starts_with('$'));
        self.shared = shared(named);
        let built = self.formula(named, level, guard);
        (self.text, self.outer, self.scope, self.shared) = before;
        let built = built?;
        let is_asked_about = |versus: &Versus| self.is_dollar(versus.right);
        let own_pending: Vec<Versus> = built.pending.iter().copied().filter(|v| !is_asked_about(v)).collect();
        self.refuse_pending(&own_pending, Some(tree))?;
        let hidden: Vec<Var> = built.pending.iter().map(|versus| versus.left).collect();
        let own: Vec<Var> =
            built.columns.iter().copied().filter(|c| !self.is_dollar(*c) && !hidden.contains(c)).collect();
        if own.is_empty() {
            return Ok(built);
        }
        let columns = built.columns.into_iter().filter(|c| !own.contains(c)).collect();
        Ok(Built { node: Node::Exists(own, Box::new(built.node)), columns, pending: built.pending })
    }

    fn comparison(&mut self, inner: &Tree, cmp: Cmp, limit: i64, level: Level, guard: &[Var]) -> Result<Built, Fault> {
        let resolved = self.resolve(inner);
        let Expr::Number(number) = &resolved.expr else {
            return Err(self.fault("FB0122", &inner.span, "only a count, sum, min or max can be compared"));
        };
        let before = (self.outer.clone(), self.scope.clone(), self.shared.clone());
        if matches!(inner.expr, Expr::Name(_)) {
            self.outer.get_or_insert(inner.span.clone());
            // A number that stands by name has its own variables.
            self.scope.retain(|name, _| name.starts_with('$'));
            self.shared.clear();
        }
        let counter = self.counter(number, inner, level);
        if matches!(inner.expr, Expr::Name(_)) {
            (self.outer, self.scope, self.shared) = before;
        }
        let mut counter = counter?;
        let keeps_all = counter.aggregate != Aggregate::Count || counter.window.min_ns > 0 || counter.is_compared();
        if !keeps_all && counter.window.max_ns.is_some() {
            counter.keep_max = usize::try_from(limit.max(0)).ok().and_then(|n| n.checked_add(1));
        }
        let columns = counter.columns();
        if self.free(&columns, level).is_empty() || !cmp.holds(0, limit) {
            return Ok(Built::new(Node::Compare(Box::new(counter), cmp, limit), columns));
        }
        // It holds for every key of which there is nothing: as good as negated.
        let other = Built::new(Node::Compare(Box::new(counter), cmp.negated(), limit), columns);
        self.negated(other, inner, level, guard, false)
    }

    fn counter(&mut self, number: &NumberAst, tree: &Tree, level: Level) -> Result<Counter, Fault> {
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
        let (mut pattern, pending) = self.pattern(&atom)?;
        if let Some(versus) = pending.iter().find(|v| level == Level::Past || !self.is_dollar(v.right)) {
            let names = self.var_names([&versus.right]);
            let fault =
                self.fault("FB0123", &tree.span, format!("{names} is compared within a number, and not bound there"));
            return Err(fault.hint(format!(
                "bind {names} in the same atom, or count by it: `attribute: {}`",
                names.trim_matches('`')
            )));
        }
        // A variable that stands nowhere else joins nothing outside the number.
        let outside: BTreeSet<Var> = self.shared.iter().filter_map(|name| self.scope.get(name).copied()).collect();
        let hidden: BTreeSet<Var> = pending.iter().map(|versus| versus.left).collect();
        let dollars = self.dollars.len();
        let is_kept = |v: &Var| usize::from(*v) < dollars || outside.contains(v) || hidden.contains(v);
        // But what it would have bound must be there.
        let unbound = pattern.binds.iter().filter(|(v, _)| !is_kept(v)).map(|(_, attr)| (*attr, Test::Present));
        pattern.tests.extend(unbound);
        pattern.binds.retain(|v, _| is_kept(v));
        if number.window.max_ns.is_none() && number.window.min_ns > 0 {
            let fault =
                self.fault("FB0124", &tree.span, "a count that starts in the past and never ends keeps everything");
            return Err(fault.hint("give the window an end: `[1m, 24h]`"));
        }
        let of = self.summed(number, &pattern.verbs, tree)?;
        let counter = Counter::new(number.aggregate, number.window, pattern, of, self.snippet(tree));
        Ok(counter.comparing(pending))
    }
}

/// `not f`, without two negations.
fn not(tree: &Tree) -> Tree {
    match &tree.expr {
        Expr::Not(positive) => (**positive).clone(),
        _ => Tree { expr: Expr::Not(Box::new(tree.clone())), span: tree.span.clone() },
    }
}

/// `not left since right`, where `left` is of the action now judged and `right` of none: a right there was, and since the
/// latest no left. This way each key's latest left is all that need be kept.
fn keyed_since(left: &Tree, window: Window, right: &Tree, tree: &Tree) -> Tree {
    let at = |expr: Expr, span: &Range<usize>| Tree { expr, span: span.clone() };
    let alone = at(Expr::And(vec![left.clone(), not(right)]), &left.span);
    let after = at(Expr::Since(Box::new(not(right)), Window::ALWAYS, Box::new(alone)), &left.span);
    let there_was = at(Expr::Once(window, Box::new(right.clone())), &right.span);
    at(Expr::And(vec![there_was, not(&after)]), &tree.span)
}

/// Whether something in it is negated, as of now and not in the past.
fn negates(tree: &Tree) -> bool {
    match &tree.expr {
        Expr::Not(_) | Expr::Historically(..) | Expr::Compare(..) => true,
        Expr::And(sides) | Expr::Or(sides) => sides.iter().any(negates),
        Expr::Exists(_, inner) => negates(inner),
        _ => false,
    }
}

/// The columns that a formula wants to be asked about.
fn guards(node: &Node, out: &mut BTreeSet<Var>) {
    match node {
        Node::Guard(columns) => out.extend(columns),
        Node::Once { .. } | Node::Since(_) | Node::Prev(_) => {}
        _ => node.below().into_iter().for_each(|node| guards(node, out)),
    }
}

/// The variables that stand in more places than one number.
fn shared(tree: &Tree) -> BTreeSet<String> {
    fn vars(atom: &AtomAst) -> BTreeSet<String> {
        let names = atom.matches.iter().filter_map(|m| match &m.operand {
            Operand::Var(name) => Some(name.clone()),
            Operand::Literal(_) => None,
        });
        names.collect()
    }
    fn walk(tree: &Tree, seen: &mut BTreeMap<String, usize>) {
        let mut count = |name: String, times: usize| *seen.entry(name).or_default() += times;
        match &tree.expr {
            Expr::Atom(atom) => vars(atom).into_iter().for_each(|name| count(name, 2)),
            Expr::Number(number) => vars(&number.atom).into_iter().for_each(|name| count(name, 1)),
            Expr::Exists(names, _) => names.iter().for_each(|name| count(name.clone(), 2)),
            _ => {}
        }
        tree.below().into_iter().for_each(|inner| walk(inner, seen));
    }
    let mut seen = BTreeMap::new();
    walk(tree, &mut seen);
    seen.into_iter().filter(|(_, times)| *times > 1).map(|(name, _)| name).collect()
}

fn union(a: &[Var], b: &[Var]) -> Vec<Var> {
    let mut all: Vec<Var> = a.iter().chain(b).copied().collect();
    all.sort_unstable();
    all.dedup();
    all
}
