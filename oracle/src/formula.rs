//! Their temporal conditions to our facts.

use crate::slots::{Slots, decimal, plain, uid};
use dogwood_language::temporal_ast::{
    AggExprKind, CmpOp, Condition, ConditionKind, Interval, Predicate, Term, TypedBinder, WithinSpec,
};
use std::collections::BTreeMap;

/// A formula on its way to ours.
#[derive(Clone, Debug, PartialEq)]
pub enum F {
    Known(bool),
    Atom {
        name: String,
        matches: Vec<String>,
        binds: Vec<(String, &'static str)>,
    },
    Not(Box<F>),
    And(Vec<F>),
    Or(Vec<F>),
    Once(String, Box<F>),
    Prev(String, Box<F>),
    Since(Box<F>, String, Box<F>),
    Exists(String, Box<F>),
    /// `count|sum[w] …` compared with a number.
    Number(String, &'static str, i64),
    /// True or false for the judged action as a whole: a test that our rules make.
    Rigid(usize),
}

/// Leaves of one case, translated.
pub struct Leaves<'s> {
    pub slots: &'s Slots,
    /// Facts by name.
    pub facts: BTreeMap<String, String>,
    /// Tests on the judged action, as Cedar writes them.
    rigid: Vec<String>,
    vars: usize,
    depth: usize,
}

/// Their variables to ours, and aggregates that variables stand for.
type Scope = BTreeMap<String, Bound>;

#[derive(Clone)]
enum Bound {
    Var(String),
    /// The text of a number, and its value where it is known to count nothing.
    Number(String),
}

const RIGID_MAX: usize = 4;

impl<'s> Leaves<'s> {
    pub fn new(slots: &'s Slots) -> Self {
        Self { slots, facts: BTreeMap::new(), rigid: Vec::new(), vars: 0, depth: 0 }
    }

    /// The Cedar condition that a leaf becomes; its facts are added.
    pub fn leaf(&mut self, condition: &Condition) -> Result<String, String> {
        (self.depth, self.rigid) = (0, Vec::new());
        let formula = self.formula(condition, &Scope::new())?;
        let tests = self.rigid.clone();
        if tests.len() > RIGID_MAX {
            return Err("tests the judged action more than four times inside its formula".to_owned());
        }
        let mut cases = Vec::new();
        for choice in 0..1usize << tests.len() {
            let chosen = |n: usize| choice >> n & 1 == 1;
            let mut parts: Vec<String> = tests
                .iter()
                .enumerate()
                .map(|(n, test)| if chosen(n) { format!("({test})") } else { format!("!({test})") })
                .collect();
            match simplified(&formula, &chosen) {
                F::Known(false) => continue,
                F::Known(true) => {}
                formula => {
                    let text = print(&formula, 0)?.replace("$$", "$");
                    parts.push(format!("context.fact.{}", self.fact(text)));
                }
            }
            cases.push(if parts.is_empty() { "true".to_owned() } else { format!("({})", parts.join(" && ")) });
        }
        Ok(if cases.is_empty() { "false".to_owned() } else { format!("({})", cases.join(" || ")) })
    }

    fn fact(&mut self, text: String) -> String {
        if let Some((name, _)) = self.facts.iter().find(|(_, there)| **there == text) {
            return name.clone();
        }
        let name = format!("f{}", self.facts.len());
        self.facts.insert(name.clone(), text);
        name
    }

    fn formula(&mut self, condition: &Condition, scope: &Scope) -> Result<F, String> {
        match &condition.kind {
            ConditionKind::And { .. } => self.conjunction(condition, scope),
            ConditionKind::Or { left, right } => {
                Ok(F::Or(vec![self.formula(left, scope)?, self.formula(right, scope)?]))
            }
            ConditionKind::Not { inner } => Ok(F::Not(Box::new(self.formula(inner, scope)?))),
            ConditionKind::Formerly { within, body } => Ok(F::Once(window(within)?, Box::new(self.past(body, scope)?))),
            ConditionKind::Previous { within, body } => Ok(F::Prev(window(within)?, Box::new(self.past(body, scope)?))),
            ConditionKind::Since { left, within, right } => {
                let (left, right) = (self.past(left, scope)?, self.past(right, scope)?);
                Ok(F::Since(Box::new(left), window(within)?, Box::new(right)))
            }
            ConditionKind::Predicate(predicate) => self.atom(predicate, scope),
            ConditionKind::Comparison { op, left, right } => self.comparison(*op, left, right, scope),
            ConditionKind::Exists { var, body } => self.exists(var, body, scope),
            ConditionKind::Tp { .. } => Err("binds a time-point outside of a count or a sum".to_owned()),
            _ => Err("a macro that was not expanded".to_owned()),
        }
    }

    fn past(&mut self, condition: &Condition, scope: &Scope) -> Result<F, String> {
        self.depth += 1;
        let out = self.formula(condition, scope);
        self.depth -= 1;
        out
    }

    /// Comparisons of a variable become tests of the atom that binds it.
    fn conjunction(&mut self, condition: &Condition, scope: &Scope) -> Result<F, String> {
        let mut parts = Vec::new();
        let mut tests = Vec::new();
        for one in flat(condition) {
            match &one.kind {
                ConditionKind::Comparison { op, left, right } => match var_test(*op, left, right, scope) {
                    Some((var, op, term)) => tests.push((var, op, self.operand(term, scope)?)),
                    None => parts.push(self.comparison(*op, left, right, scope)?),
                },
                _ => parts.push(self.formula(one, scope)?),
            }
        }
        for (var, op, operand) in tests {
            if !parts.iter_mut().any(|part| push(part, &var, op, &operand)) {
                return Err("compares a variable that no atom beside it binds".to_owned());
            }
        }
        Ok(F::And(parts))
    }

    fn atom(&mut self, predicate: &Predicate, scope: &Scope) -> Result<F, String> {
        let mut action = predicate.namespace.clone();
        action.push(predicate.action.clone());
        let name = self.slots.named(&action.join("::"), &predicate.kind);
        let (mut matches, mut binds) = (Vec::new(), Vec::new());
        for argument in &predicate.args {
            let slot = self.slots.slot(&argument.name);
            match &argument.value {
                Term::Wildcard => {}
                Term::Var(var) => match scope.get(var) {
                    Some(Bound::Var(own)) => {
                        matches.push(format!("{}: {own}", slot.clone()?));
                        binds.push((own.clone(), slot?));
                    }
                    Some(Bound::Number(_)) => return Err("joins events by a number that it counted".to_owned()),
                    None => return Err("a variable without a binder".to_owned()),
                },
                term => matches.push(format!("{}: {}", slot?, self.operand(term, scope)?)),
            }
        }
        Ok(F::Atom { name: format!("{}: \"{name}\"", self.slots.name), matches, binds })
    }

    /// What an attribute of an event is compared with.
    fn operand(&self, term: &Term, scope: &Scope) -> Result<String, String> {
        let quoted = |text: &str| format!("\"{text}\"");
        Ok(match term {
            Term::Integer(n) => n.to_string(),
            Term::String(text) => quoted(&plain(text)),
            Term::Bool(b) => quoted(&b.to_string()),
            Term::Decimal(text) => quoted(&plain(&decimal(text))),
            Term::Entity { ty, id } => quoted(&uid(ty, id)),
            Term::ContextField(path) => format!("${}", self.slots.slot(&path.join("."))?),
            Term::ScopeField(path) => format!("${}", self.slots.slot(scope_key(path)?)?),
            Term::Var(var) => match scope.get(var) {
                Some(Bound::Var(own)) => own.clone(),
                _ => return Err("compares a number that it counted with an attribute of an event".to_owned()),
            },
            _ => return Err("a set, an aggregate or arithmetic as an argument".to_owned()),
        })
    }

    fn exists(&mut self, var: &TypedBinder, body: &Condition, scope: &Scope) -> Result<F, String> {
        // `exists n. (count … == n && n > 3)`: n is the number.
        for one in flat(body) {
            if let ConditionKind::Comparison { op: CmpOp::Eq, left, right } = &one.kind {
                let (aggregate, name) = match (left, right) {
                    (Term::Agg(aggregate), Term::Var(name)) | (Term::Var(name), Term::Agg(aggregate)) => {
                        (aggregate, name)
                    }
                    _ => continue,
                };
                if name == var.name() {
                    let number = self.number(&aggregate.kind, scope)?;
                    let mut inner = scope.clone();
                    inner.insert(name.clone(), Bound::Number(number));
                    let rest: Vec<&Condition> = flat(body).into_iter().filter(|other| *other != one).collect();
                    let parts = rest.into_iter().map(|c| self.formula(c, &inner)).collect::<Result<Vec<_>, _>>()?;
                    return Ok(F::And(parts));
                }
            }
        }
        self.vars += 1;
        let own = format!("v{}", self.vars);
        let mut inner = scope.clone();
        inner.insert(var.name().to_owned(), Bound::Var(own.clone()));
        Ok(F::Exists(own, Box::new(self.formula(body, &inner)?)))
    }

    fn comparison(&mut self, op: CmpOp, left: &Term, right: &Term, scope: &Scope) -> Result<F, String> {
        let sides = (self.side(left, scope)?, self.side(right, scope)?);
        match sides {
            (Side::Number(number), Side::Long(n)) => Ok(F::Number(number, sign(op), n)),
            (Side::Long(n), Side::Number(number)) => Ok(F::Number(number, sign(turned(op)), n)),
            (Side::Number(_), _) | (_, Side::Number(_)) if self.depth > 0 => {
                Err("compares a number with an attribute of the judged action, at an earlier time".to_owned())
            }
            (Side::Var, _) | (_, Side::Var) => Err("compares a variable that no atom beside it binds".to_owned()),
            (left, right) => {
                let (left, right) = (self.in_rule(left), self.in_rule(right));
                Ok(self.rigid(format!("{left} {} {right}", sign(op))))
            }
        }
    }

    fn rigid(&mut self, test: String) -> F {
        let at = self.rigid.iter().position(|there| *there == test).unwrap_or_else(|| {
            self.rigid.push(test);
            self.rigid.len() - 1
        });
        F::Rigid(at)
    }

    fn in_rule(&mut self, side: Side) -> String {
        match side {
            Side::Number(text) => format!("context.fact.{}", self.fact(text)),
            Side::Long(n) => n.to_string(),
            Side::Rule(text) => text,
            Side::Var => String::new(),
        }
    }

    fn side(&mut self, term: &Term, scope: &Scope) -> Result<Side, String> {
        Ok(match term {
            Term::Integer(n) => Side::Long(*n),
            Term::Agg(aggregate) => Side::Number(self.number(&aggregate.kind, scope)?),
            Term::Var(name) => match scope.get(name) {
                Some(Bound::Number(text)) => Side::Number(text.clone()),
                _ => Side::Var,
            },
            Term::ContextField(path) => Side::Rule(Slots::in_cedar(self.slots.slot(&path.join("."))?)),
            Term::ScopeField(path) => Side::Rule(Slots::in_cedar(self.slots.slot(scope_key(path)?)?)),
            Term::Arith { .. } => return Err("computes with numbers".to_owned()),
            other => Side::Rule(self.operand(other, scope)?),
        })
    }

    /// `count` and `sum` of one kind of event in a window.
    fn number(&mut self, kind: &AggExprKind, scope: &Scope) -> Result<String, String> {
        let (sum, for_vars, body) = match kind {
            AggExprKind::Sum { bound_var, for_vars, body } => (Some(bound_var.name()), for_vars, body),
            AggExprKind::Count { for_vars, body } => (None, for_vars, body),
            AggExprKind::Call(_) => return Err("a macro that was not expanded".to_owned()),
        };
        let (span, body) = match &body.kind {
            ConditionKind::Formerly { within, body } => (window(within)?, body),
            _ => ("[0s]".to_owned(), body),
        };
        let parts = flat(body);
        let is_by_point = parts
            .iter()
            .any(|p| matches!(&p.kind, ConditionKind::Tp { var } if for_vars.iter().any(|v| v.name() == var.name())));
        if !is_by_point && span != "[0s]" {
            return Err("counts or adds up distinct values; ours count events".to_owned());
        }
        let (mut predicate, mut tests) = (None, Vec::new());
        for part in &parts {
            match &part.kind {
                ConditionKind::Tp { .. } => {}
                ConditionKind::Predicate(found) if predicate.is_none() => predicate = Some(found),
                ConditionKind::Comparison { op, left, right } => tests.push((*op, left, right)),
                _ => return Err("counts the points where a formula holds; ours count events of one kind".to_owned()),
            }
        }
        let Some(predicate) = predicate else {
            return Err("counts the points where a formula holds; ours count events of one kind".to_owned());
        };
        let mut inner = scope.clone();
        for var in for_vars {
            self.vars += 1;
            inner.insert(var.name().to_owned(), Bound::Var(format!("v{}", self.vars)));
        }
        let mut atom = self.atom(predicate, &inner)?;
        for (op, left, right) in tests {
            let Some((var, op, term)) = var_test(op, left, right, &inner) else {
                return Err("counts the points where a formula holds; ours count events of one kind".to_owned());
            };
            let operand = self.operand(term, &inner)?;
            if !push(&mut atom, &var, op, &operand) {
                return Err("compares a variable that no atom beside it binds".to_owned());
            }
        }
        let F::Atom { name, matches, binds } = atom else { return Err("no atom".to_owned()) };
        let own = |var: &str| match inner.get(var) {
            Some(Bound::Var(own)) => Some(own.clone()),
            _ => None,
        };
        let mut seen: Vec<&str> = binds.iter().map(|(var, _)| var.as_str()).collect();
        seen.sort_unstable();
        let is_repeated = seen.windows(2).any(|two| two[0] == two[1]);
        let is_outer = binds.iter().any(|(var, _)| !for_vars.iter().any(|v| own(v.name()).as_ref() == Some(var)));
        if is_repeated || is_outer {
            return Err("a number for each value of a variable".to_owned());
        }
        let of = match sum {
            None => String::new(),
            Some(var) => {
                let var = own(var).ok_or("sums no variable of its own")?;
                let slot = binds.iter().find(|(bound, _)| *bound == var).map(|(_, slot)| *slot);
                let slot = slot.ok_or("sums what no attribute binds")?;
                if !Slots::is_number(slot) {
                    return Err("sums what is no number".to_owned());
                }
                format!("of {slot} ")
            }
        };
        let bound = |m: &String| binds.iter().any(|(var, slot)| *m == format!("{slot}: {var}"));
        let matches: Vec<String> = [name].into_iter().chain(matches.into_iter().filter(|m| !bound(m))).collect();
        let what = if sum.is_some() { "sum" } else { "count" };
        Ok(format!("{what}{span} {of}attempt {}({})", self.slots.verb, matches.join(", ")))
    }
}

enum Side {
    Number(String),
    Long(i64),
    Rule(String),
    Var,
}

/// The parts of a conjunction.
fn flat(condition: &Condition) -> Vec<&Condition> {
    match &condition.kind {
        ConditionKind::And { left, right } => flat(left).into_iter().chain(flat(right)).collect(),
        _ => vec![condition],
    }
}

/// A comparison of one variable that atoms bind: the variable, the operator with it on the left, and the other side.
fn var_test<'t>(op: CmpOp, left: &'t Term, right: &'t Term, scope: &Scope) -> Option<(String, &'static str, &'t Term)> {
    let own = |term: &Term| match term {
        Term::Var(name) => match scope.get(name) {
            Some(Bound::Var(own)) => Some(own.clone()),
            _ => None,
        },
        _ => None,
    };
    match (own(left), own(right)) {
        (Some(var), None) if !matches!(right, Term::Agg(_) | Term::Arith { .. } | Term::Var(_)) => {
            Some((var, sign(op), right))
        }
        (None, Some(var)) if !matches!(left, Term::Agg(_) | Term::Arith { .. } | Term::Var(_)) => {
            Some((var, sign(turned(op)), left))
        }
        _ => None,
    }
}

/// Adds a test of a variable to an atom that must hold for the formula to hold and binds it.
fn push(formula: &mut F, var: &str, op: &str, operand: &str) -> bool {
    match formula {
        F::Atom { matches, binds, .. } => match binds.iter().find(|(bound, _)| bound == var) {
            Some((_, slot)) => {
                matches.push(format!("{slot} {op} {operand}"));
                true
            }
            None => false,
        },
        F::And(parts) => parts.iter_mut().any(|part| push(part, var, op, operand)),
        F::Once(_, inner) | F::Prev(_, inner) | F::Exists(_, inner) | F::Since(_, _, inner) => {
            push(inner, var, op, operand)
        }
        _ => false,
    }
}

fn sign(op: CmpOp) -> &'static str {
    match op {
        CmpOp::Le => "<=",
        CmpOp::Lt => "<",
        CmpOp::Ge => ">=",
        CmpOp::Gt => ">",
        CmpOp::Eq => "==",
        CmpOp::NotEq => "!=",
    }
}

fn turned(op: CmpOp) -> CmpOp {
    match op {
        CmpOp::Le => CmpOp::Ge,
        CmpOp::Lt => CmpOp::Gt,
        CmpOp::Ge => CmpOp::Le,
        CmpOp::Gt => CmpOp::Lt,
        same => same,
    }
}

pub fn scope_key(path: &[String]) -> Result<&'static str, String> {
    match path.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["principal"] => Ok("callerPrincipal"),
        ["resource"] => Ok("callerResource"),
        _ => Err("reads attributes of an entity; ours have none but their name".to_owned()),
    }
}

fn window(within: &WithinSpec) -> Result<String, String> {
    let WithinSpec::Concrete(interval) = within else { return Err("a macro that was not expanded".to_owned()) };
    let seconds = Interval::checked_seconds(interval).ok_or("a window beyond 2^63 seconds")?;
    if !(0..i64::MAX / 1_000_000_000).contains(&seconds) {
        return Err("a window beyond 2^63 nanoseconds".to_owned());
    }
    Ok(format!("[{seconds}s]"))
}

/// With every test of the judged action settled.
fn simplified(formula: &F, chosen: &dyn Fn(usize) -> bool) -> F {
    let boxed = |inner: &F| Box::new(simplified(inner, chosen));
    match formula {
        F::Rigid(n) => F::Known(chosen(*n)),
        F::Not(inner) => match simplified(inner, chosen) {
            F::Known(b) => F::Known(!b),
            F::Not(inner) => *inner,
            inner => F::Not(Box::new(inner)),
        },
        F::And(parts) => joined(parts, chosen, false),
        F::Or(parts) => joined(parts, chosen, true),
        // There is always the point itself.
        F::Once(w, inner) => match simplified(inner, chosen) {
            F::Known(b) => F::Known(b),
            inner => F::Once(w.clone(), Box::new(inner)),
        },
        F::Prev(w, inner) => match simplified(inner, chosen) {
            F::Known(false) => F::Known(false),
            inner => F::Prev(w.clone(), Box::new(inner)),
        },
        F::Since(left, w, right) => match (simplified(left, chosen), simplified(right, chosen)) {
            (_, F::Known(b)) => F::Known(b),
            (F::Known(true), right) => F::Once(w.clone(), Box::new(right)),
            (F::Known(false), right) => right,
            (left, right) => F::Since(Box::new(left), w.clone(), Box::new(right)),
        },
        F::Exists(var, inner) => match *boxed(inner) {
            F::Known(b) => F::Known(b),
            inner => F::Exists(var.clone(), Box::new(inner)),
        },
        other => other.clone(),
    }
}

/// `decided`: what one part alone decides.
fn joined(parts: &[F], chosen: &dyn Fn(usize) -> bool, decided: bool) -> F {
    let mut out = Vec::new();
    for part in parts {
        match simplified(part, chosen) {
            F::Known(b) if b == decided => return F::Known(decided),
            F::Known(_) => {}
            part => out.push(part),
        }
    }
    match out.len() {
        0 => F::Known(!decided),
        1 => out.remove(0),
        _ if decided => F::Or(out),
        _ => F::And(out),
    }
}

/// Our text of it.
fn print(formula: &F, depth: usize) -> Result<String, String> {
    let inner = |f: &F| print(f, depth + 1);
    let group = |f: &F| Ok::<_, String>(format!("({})", inner(f)?));
    Ok(match formula {
        F::Atom { name, matches, .. } => {
            let all: Vec<String> = [name.clone()].into_iter().chain(matches.iter().cloned()).collect();
            let verb = if name.starts_with("path") { "fs.chmod" } else { "deploy.scale" };
            format!("attempt {verb}({})", all.join(", "))
        }
        F::Not(f) => format!("not {}", group(f)?),
        F::And(parts) => parts.iter().map(group).collect::<Result<Vec<_>, _>>()?.join(" and "),
        F::Or(parts) => parts.iter().map(group).collect::<Result<Vec<_>, _>>()?.join(" or "),
        F::Once(w, f) => format!("once{w} {}", group(f)?),
        F::Prev(w, f) => match **f {
            F::Known(_) => return Err("asks for the point before, whatever it was".to_owned()),
            _ => format!("prev{w} {}", group(f)?),
        },
        F::Since(l, w, r) => format!("{} since{w} {}", group(l)?, group(r)?),
        F::Exists(var, f) => format!("exists {var}. {}", group(f)?),
        F::Number(text, op, n) => format!("{text} {op} {n}"),
        F::Known(_) | F::Rigid(_) => return Err("a constant inside a formula".to_owned()),
    })
}
