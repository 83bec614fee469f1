//! What atoms may say: verbs, attributes and their types, and what each match becomes.

use super::check::Checker;
use super::monitor::Versus;
use super::pattern::{Pattern, Test};
use super::relation::Var;
use super::syntax::{Aggregate, AtomAst, Cmp, Fault, MatchAst, MatchOp, NumberAst, Operand, Phase, Tree};
use crate::action::Value;
use crate::charter::report::nearest;
use crate::charter::settings::{glob_matcher, verbs_named};
use crate::vocabulary::{AttrType, COMMON_ATTRS, CONTENT_ATTRS, FieldSpec, ResourceKind, Verb, verbs};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

/// The verbs that an atom speaks of.
pub(super) fn verbs_of(atom: &AtomAst) -> impl Iterator<Item = Verb> {
    verbs_named(&atom.verb).into_iter()
}

impl Checker<'_> {
    /// An attribute that some action has when it is judged.
    pub(super) fn judged_attr(&self, name: &str, span: &Range<usize>) -> Result<&'static str, Fault> {
        let all: BTreeSet<&'static str> = verbs().flat_map(|v| fields_of(v, Phase::Attempt)).map(|f| f.name).collect();
        all.get(name).copied().ok_or_else(|| {
            let fault = self.fault("FB0121", span, format!("no action has an attribute `{name}`"));
            Fault { hint: nearest(name, all.iter().copied()), ..fault }
        })
    }

    /// The pattern, and what in it is compared with variables that it doesn't bind.
    pub(super) fn pattern(&mut self, atom: &AtomAst) -> Result<(Pattern, Vec<Versus>), Fault> {
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
        let mut pending = Vec::new();
        for found in binding.into_iter().chain(rest) {
            self.add_match(&mut pattern, &mut pending, found)?;
        }
        Ok((pattern, pending))
    }

    fn add_match(&mut self, pattern: &mut Pattern, pending: &mut Vec<Versus>, found: &MatchAst) -> Result<(), Fault> {
        let span = &found.span;
        if found.attr == "label" {
            let labels = MatchAst { attr: "labels".to_owned(), op: MatchOp::Has, ..found.clone() };
            return self.add_match(pattern, pending, &labels);
        }
        let (attr, ty) = self.field(&pattern.verbs, &found.attr, pattern.phase, span)?;
        let wrong = |message: String| self.fault("FB0122", span, message);
        let test = match (&found.op, &found.operand) {
            (MatchOp::Compare(Cmp::Eq), Operand::Var(name)) => return self.bind(pattern, attr, ty, name, span),
            (MatchOp::Compare(cmp), Operand::Var(name)) => {
                return self.versus(pattern, pending, (attr, ty), *cmp, name, span);
            }
            (MatchOp::Like | MatchOp::Has, Operand::Var(name)) => {
                let fault = self.fault("FB0122", span, format!("`like` and `has` want a text in quotes, not `{name}`"));
                return Err(fault.hint(format!("a variable is matched with `:` or compared: `{}: {name}`", found.attr)));
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
        span: &Range<usize>,
    ) -> Result<(), Fault> {
        let var = self.typed(name, attr, ty, span)?;
        match pattern.binds.get(&var) {
            Some(first) => pattern.tests.push((attr, Test::Versus(Cmp::Eq, first))),
            None => {
                pattern.binds.insert(var, attr);
            }
        }
        Ok(())
    }

    /// Compares with a variable: of the same event, or of another one, for which the attribute's value is kept.
    fn versus(
        &mut self,
        pattern: &mut Pattern,
        pending: &mut Vec<Versus>,
        (attr, ty): (&'static str, AttrType),
        cmp: Cmp,
        name: &str,
        span: &Range<usize>,
    ) -> Result<(), Fault> {
        if cmp != Cmp::Ne && ty != AttrType::Long {
            let message = format!("`{attr}` can't be compared like that: only whole numbers can");
            return Err(self.fault("FB0122", span, message));
        }
        let right = self.typed(name, attr, ty, span)?;
        if let Some(bound) = pattern.binds.get(&right) {
            pattern.tests.push((attr, Test::Versus(cmp, bound)));
            return Ok(());
        }
        let left = self.fresh(attr, span)?;
        pattern.binds.insert(left, attr);
        pending.push(Versus { left, cmp, right });
        Ok(())
    }

    /// The variable of that name, which has that type wherever it stands.
    fn typed(&mut self, name: &str, attr: &str, ty: AttrType, span: &Range<usize>) -> Result<Var, Fault> {
        if let Some(judged) = name.strip_prefix('$')
            && !verbs().flat_map(|v| fields_of(v, Phase::Attempt)).any(|f| f.name == judged && f.ty == ty)
        {
            let message = format!("`{attr}` is a {}, and no action's `{judged}` is", say(ty));
            return Err(self.fault("FB0122", span, message));
        }
        let var = self.var(name, span)?;
        let there = match self.vars.get_mut(usize::from(var)) {
            Some((.., there)) => *there.get_or_insert(ty),
            None => ty,
        };
        if there != ty {
            let message = format!("`{name}` is a {} here and a {} elsewhere", say(ty), say(there));
            return Err(self.fault("FB0122", span, message));
        }
        Ok(var)
    }

    /// What a number is of.
    pub(super) fn summed(
        &self,
        number: &NumberAst,
        verbs: &[Verb],
        tree: &Tree,
    ) -> Result<Option<&'static str>, Fault> {
        match (&number.of, number.aggregate) {
            (Some((_, span)), Aggregate::Count) => {
                Err(self.fault("FB0122", span, "`count` counts events, not an attribute"))
            }
            (None, Aggregate::Count) => Ok(None),
            (None, _) => {
                let fault = self.fault("FB0122", &tree.span, "this needs an attribute");
                Err(fault.hint("such as `sum of bytes did …`"))
            }
            (Some((attr, span)), _) => {
                let (field, ty) = self.field(verbs, attr, number.atom.phase, span)?;
                if ty != AttrType::Long {
                    return Err(self.fault("FB0122", span, format!("`{attr}` is no whole number")));
                }
                Ok(Some(field))
            }
        }
    }

    /// An attribute that all the verbs have in that phase.
    fn field(
        &self,
        verbs: &[Verb],
        name: &str,
        phase: Phase,
        span: &Range<usize>,
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

fn say(ty: AttrType) -> &'static str {
    match ty {
        AttrType::Bool => "boolean",
        AttrType::Long => "whole number",
        AttrType::Str => "string",
        AttrType::Strs => "list of strings",
    }
}
