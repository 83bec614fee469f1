//! Cedar files to rules: parsed with places, annotated, strictly validated, sliced by verb.

use super::content;
use super::escalation::{Tier, known};
use super::report::{At, Place, Report, clip, nearest};
use super::settings::Owner;
use crate::vocabulary::{ResourceKind, Verb, verbs};
use cedar_policy::{
    ActionConstraint, Effect as CedarEffect, Policy, PolicyId, PolicySet, PrincipalConstraint, ResourceConstraint,
    Schema, ValidationError, ValidationMode, ValidationWarning, Validator,
};
use miette::Diagnostic as _;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::str::FromStr as _;
use std::sync::Arc;

/// Whether a rule lets through or refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RuleEffect {
    /// `permit`.
    Permit,
    /// `forbid`; a question when the rule escalates.
    Forbid,
}

/// One rule of the charter, as listings show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// `@id`.
    pub id: String,
    /// `@owner`.
    pub owner: String,
    /// `@reason`.
    pub reason: String,
    /// Permit or forbid.
    pub effect: RuleEffect,
    /// `@escalate`: the path that is asked instead of a refusal.
    pub escalate: Option<String>,
    /// `file:line`.
    pub source: String,
    /// The verbs that it can match, by name.
    pub verbs: Vec<&'static str>,
    /// The facts that it reads, by name.
    pub facts: Vec<String>,
    /// For each of them the value by which it helps the rule to match, where that is one.
    pub(crate) causes: BTreeMap<String, Option<bool>>,
    /// The attributes that it reads of what a written file says ([`CONTENT_ATTRS`]).
    pub(crate) content: BTreeSet<&'static str>,
}

/// What is evaluated for one verb.
#[derive(Clone, Debug, Default)]
pub(crate) struct Slice {
    pub forbids: PolicySet,
    pub permits: PolicySet,
    /// Names of the facts that its rules read.
    pub facts: BTreeSet<String>,
    /// Of `fs.write`: those that read what was written, for the second judgement.
    pub content: Option<Box<Slice>>,
}

impl Slice {
    fn add(&mut self, rule: &Rule, policy: &Policy) {
        self.facts.extend(rule.facts.iter().cloned());
        let set = if rule.effect == RuleEffect::Forbid { &mut self.forbids } else { &mut self.permits };
        // INVARIANT: ids are unique after `refuse_duplicates`, so that adding can't fail.
        let _ = set.add(policy.clone());
    }
}

/// All rules, compiled.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rules {
    pub rules: Vec<Rule>,
    pub by_id: BTreeMap<String, usize>,
    pub slices: BTreeMap<Verb, Slice>,
    /// All of them in one set, for the bench's baseline and for tests against bare Cedar.
    pub all: PolicySet,
}

/// Most rules in one charter.
const RULES_MAX: usize = 10_000;

struct Parsed {
    policy: Policy,
    rule: Rule,
    place: Place,
}

pub(crate) struct Context<'c> {
    pub owners: &'c BTreeMap<String, Owner>,
    pub tiers: &'c BTreeMap<String, Tier>,
    /// The schema's text.
    pub schema: &'c str,
    pub facts: &'c BTreeSet<String>,
}

pub(crate) fn compile(report: &mut Report, files: &BTreeMap<String, String>, context: &Context) -> Rules {
    let mut parsed: Vec<Parsed> = Vec::new();
    for (name, text) in files.iter().filter(|(name, _)| name.ends_with(".cedar")) {
        parse_file(report, &Arc::from(name.as_str()), text, context, &mut parsed);
    }
    if let Some(first_beyond) = parsed.get(RULES_MAX) {
        report.error("FB0160", &first_beyond.place.clone(), format!("more than {RULES_MAX} rules"), ());
        parsed.truncate(RULES_MAX);
    }
    refuse_duplicates(report, &mut parsed);
    let mut out = Rules::default();
    for item in &parsed {
        // INVARIANT: ids are unique after `refuse_duplicates`, so that adding can't fail.
        let _ = out.all.add(item.policy.clone());
    }
    let Some(first) = parsed.first() else { return out };
    let schema = match Schema::from_cedarschema_str(context.schema) {
        Ok((schema, _)) => schema,
        Err(error) => {
            // The text is our own: this says that the vocabulary does not fit Cedar.
            let message = format!("the generated schema is wrong: {error}");
            report.error("FB0199", &first.place, message, "please report this");
            return out;
        }
    };
    validate(report, &out.all, &parsed, &schema);
    for Parsed { policy, mut rule, .. } in parsed {
        let scope: Vec<Verb> = verbs().filter(|v| scope_matches(&policy, *v)).collect();
        let typed: BTreeSet<String> =
            policy.get_valid_request_envs(&schema).map(|env| env.action().id().unescaped().to_owned()).collect();
        rule.verbs = scope.iter().map(|v| v.name()).filter(|v| typed.contains(*v)).collect();
        for verb in scope {
            let slice = out.slices.entry(verb).or_default();
            slice.add(&rule, &policy);
            if verb.name() == "fs.write" && !rule.content.is_empty() {
                slice.content.get_or_insert_default().add(&rule, &policy);
            }
        }
        out.rules.push(rule);
    }
    out.rules.sort_by(|a, b| a.id.cmp(&b.id));
    out.by_id = out.rules.iter().enumerate().map(|(n, rule)| (rule.id.clone(), n)).collect();
    out
}

fn parse_file(report: &mut Report, file: &Arc<str>, text: &str, context: &Context, out: &mut Vec<Parsed>) {
    let set = match PolicySet::from_str(text) {
        Ok(set) => set,
        Err(errors) => {
            for error in errors.iter() {
                let place = Place::new(file, span_of(error).unwrap_or(0..0));
                report.error("FB0110", &place, error.to_string(), error.help().map(|h| h.to_string()));
            }
            return;
        }
    };
    for template in set.templates() {
        let span = template.as_ref().loc().map_or(0..0, |loc| loc.start()..loc.end());
        let place = Place::new(file, span);
        report.error(
            "FB0115",
            &place,
            "templates (`?principal`, `?resource`) are not for charters",
            "write the rule out",
        );
    }
    let mut policies: Vec<(Range<usize>, &Policy)> =
        set.policies().map(|p| (p.as_ref().loc().map_or(0..0, |loc| loc.start()..loc.end()), p)).collect();
    policies.sort_by_key(|(span, _)| (span.start, span.end));
    for (span, policy) in policies {
        let place = Place::new(file, span);
        let rule = annotated(report, policy, &place, context);
        let policy = policy.new_id(PolicyId::new(&rule.id));
        out.push(Parsed { policy, rule, place });
    }
}

/// Reads `@id`, `@owner`, `@reason` and `@escalate`; tells of what is missing.
fn annotated(report: &mut Report, policy: &Policy, place: &Place, context: &Context) -> Rule {
    let effect = match policy.effect() {
        CedarEffect::Permit => RuleEffect::Permit,
        CedarEffect::Forbid => RuleEffect::Forbid,
    };
    let known_names = ["id", "owner", "reason", "escalate"];
    let mut others: Vec<&str> = policy.annotations().map(|(k, _)| k).filter(|k| !known_names.contains(k)).collect();
    others.sort_unstable();
    for name in others {
        let hint = nearest(name, known_names);
        report.error("FB0102", place, format!("rules have no annotation `@{}`", clip(name)), hint);
    }
    let mut annotation = |name: &str, example: &str| {
        let value = policy.annotation(name).unwrap_or_default().trim().to_owned();
        if value.is_empty() {
            let hint = format!("add `@{name}(\"{example}\")`");
            report.error("FB0113", place, format!("a rule lacks its `@{name}`"), hint);
        }
        value
    };
    let id = annotation("id", "no-deploy-on-red");
    let owner = annotation("owner", "sre");
    let reason = annotation("reason", "why the rule is there");
    if !id.is_empty() && !id.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.')) {
        let message = format!("`{}` is no id for a rule", clip(&id));
        report.error("FB0113", place, message, "letters, digits, `-`, `_` and `.`");
    }
    if !owner.is_empty() && !context.owners.contains_key(&owner) {
        let hint = nearest(&owner, context.owners.keys().map(String::as_str))
            .unwrap_or_else(|| format!("add `{} = [\"user:NAME\"]` to [owners]", clip(&owner)));
        report.error("FB0105", place, format!("rule `{}` has no known owner: `{}`", clip(&id), clip(&owner)), hint);
    }
    let escalate = policy.annotation("escalate").map(str::to_owned);
    if let Some(path) = &escalate {
        known(report, context.tiers, &At { value: path.clone(), place: place.clone() });
        if effect == RuleEffect::Permit {
            report.error(
                "FB0113",
                place,
                "`@escalate` on a permit has no meaning",
                "put it on the `forbid` whose refusal is to become a question",
            );
        }
    }
    let id = if id.is_empty() { format!("{}@{}", place.file, place.span.start) } else { id };
    let mut causes = facts_read(policy);
    causes.retain(|fact, _| context.facts.contains(fact));
    let facts = causes.keys().cloned().collect();
    let content = content::read_by(policy);
    if effect == RuleEffect::Permit && !content.is_empty() {
        report.warning(
            "FB0117",
            place,
            format!("rule `{}` permits by what a file's content says, and refuses nothing by it", clip(&id)),
            "what a write leaves out of a permit has been permitted when the file was opened; write a `forbid`",
        );
    }
    let source = report.source(place);
    Rule { id, owner, reason, effect, escalate, source, verbs: Vec::new(), facts, causes, content }
}

fn refuse_duplicates(report: &mut Report, parsed: &mut Vec<Parsed>) {
    let mut first: BTreeMap<String, String> = BTreeMap::new();
    parsed.retain(|item| match first.get(&item.rule.id) {
        Some(source) => {
            let message = format!("a second rule `{}`", clip(&item.rule.id));
            report.error("FB0114", &item.place, message, format!("the first stands in {source}"));
            false
        }
        None => {
            first.insert(item.rule.id.clone(), item.rule.source.clone());
            true
        }
    });
}

fn validate(report: &mut Report, all: &PolicySet, parsed: &[Parsed], schema: &Schema) {
    let places: BTreeMap<&str, &Place> = parsed.iter().map(|p| (p.rule.id.as_str(), &p.place)).collect();
    let place_of = |id: &PolicyId, span: Option<Range<usize>>| -> Place {
        let id: &str = id.as_ref();
        let rule = places.get(id);
        let file = rule.map_or_else(|| Arc::from(""), |p| Arc::clone(&p.file));
        Place::new(&file, span.or_else(|| rule.map(|p| p.span.clone())).unwrap_or(0..0))
    };
    let result = Validator::new(schema.clone()).validate(all, ValidationMode::Strict);
    // A rule in error, or without an action to apply to, is dead as well: that is told once.
    let mut told: BTreeSet<PolicyId> = result.validation_errors().map(|e| e.policy_id().clone()).collect();
    let inapplicable =
        result.validation_warnings().filter(|w| matches!(w, ValidationWarning::InvalidActionApplication(_)));
    let inapplicable: BTreeSet<PolicyId> = inapplicable.map(|w| w.policy_id().clone()).collect();
    for error in result.validation_errors() {
        let place = place_of(error.policy_id(), span_of(error));
        let message = error.to_string();
        let prefix = format!("for policy `{}`, ", error.policy_id());
        let message = lower_first(message.strip_prefix(&prefix).unwrap_or(&message));
        let hint = match error {
            // Cedar's own proposals for these depend on the order of a hash table.
            ValidationError::UnrecognizedActionId(_) => {
                let wrote = message.split('"').nth(1).unwrap_or_default().to_owned();
                nearest(&wrote, verbs().flat_map(|v| [v.name(), v.group()]).collect::<BTreeSet<_>>())
            }
            ValidationError::UnrecognizedEntityType(_) => {
                let wrote = message.split('`').nth(1).unwrap_or_default().to_owned();
                nearest(&wrote, ResourceKind::ALL.iter().map(|k| k.name()).chain(["Agent"]))
            }
            _ => error.help().map(|h| h.to_string()),
        };
        report.error("FB0111", &place, message, hint);
    }
    for warning in result.validation_warnings() {
        let is_dead = matches!(warning, ValidationWarning::ImpossiblePolicy(_));
        let is_second = is_dead && inapplicable.contains(warning.policy_id());
        let is_death = is_dead || matches!(warning, ValidationWarning::InvalidActionApplication(_));
        if is_second || (is_death && !told.insert(warning.policy_id().clone())) {
            continue;
        }
        let place = place_of(warning.policy_id(), span_of(warning));
        match warning {
            ValidationWarning::ImpossiblePolicy(w) => report.error(
                "FB0112",
                &place,
                format!("rule `{}` never applies: its condition is always false", AsRef::<str>::as_ref(w.policy_id())),
                "remove the rule or mend its condition; values are compared with their exact types and names",
            ),
            ValidationWarning::InvalidActionApplication(w) => report.error(
                "FB0112",
                &place,
                format!(
                    "rule `{}` never applies: no action of its scope has such a principal and resource",
                    AsRef::<str>::as_ref(w.policy_id())
                ),
                "`flyball schema` shows which resource each action has",
            ),
            other => report.warning("FB0116", &place, lower_first(&other.to_string()), ()),
        }
    }
}

fn span_of(diagnostic: &dyn miette::Diagnostic) -> Option<Range<usize>> {
    let label = diagnostic.labels()?.next()?;
    Some(label.offset()..label.offset().saturating_add(label.len()))
}

fn lower_first(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map(|c| c.to_lowercase().collect::<String>() + chars.as_str()).unwrap_or_default()
}

/// Whether a rule's scope can match that verb. Errs to the side of `true`: what is left out is never evaluated.
fn scope_matches(policy: &Policy, verb: Verb) -> bool {
    let names = [verb.name(), verb.group(), "any"];
    let action = match policy.action_constraint() {
        ActionConstraint::Any => true,
        ActionConstraint::Eq(uid) => uid.id().unescaped() == verb.name(),
        ActionConstraint::In(uids) => uids.iter().any(|uid| names.contains(&uid.id().unescaped())),
    };
    let kind = verb.spec().resource.name();
    let resource = match policy.resource_constraint() {
        ResourceConstraint::Any | ResourceConstraint::In(_) => true,
        ResourceConstraint::Eq(uid) => uid.type_name().to_string() == kind,
        ResourceConstraint::Is(ty) | ResourceConstraint::IsIn(ty, _) => ty.to_string() == kind,
    };
    let principal = match policy.principal_constraint() {
        PrincipalConstraint::Is(ty) | PrincipalConstraint::IsIn(ty, _) => ty.to_string() == "Agent",
        _ => true,
    };
    action && resource && principal
}

/// The names in `context.fact.NAME` and `context.fact has NAME` anywhere in the rule, each with the value by which it
/// helps the rule to match; nothing where that depends.
fn facts_read(policy: &Policy) -> BTreeMap<String, Option<bool>> {
    let mut out = BTreeMap::new();
    let Ok(json) = policy.to_json() else { return out };
    for condition in json.get("conditions").and_then(|c| c.as_array()).into_iter().flatten() {
        let is_when = condition.get("kind").and_then(|k| k.as_str()) == Some("when");
        collect_facts(condition.get("body").unwrap_or(&serde_json::Value::Null), Some(is_when), &mut out);
    }
    out
}

fn collect_facts(node: &serde_json::Value, helps: Option<bool>, out: &mut BTreeMap<String, Option<bool>>) {
    match node {
        serde_json::Value::Object(map) => {
            for (key, inner) in map {
                if (key == "." || key == "has") && inner.get("left").is_some_and(is_context_fact) {
                    // `has` may carry a path: its first name is the fact's.
                    let attr = inner.get("attr").and_then(|a| a.as_str().or_else(|| a.get(0).and_then(|x| x.as_str())));
                    if let Some(attr) = attr {
                        let there = out.entry(attr.to_owned()).or_insert(helps);
                        *there = if *there == helps { helps } else { None };
                    }
                }
                let inside = match key.as_str() {
                    "&&" | "||" | "left" | "right" | "arg" => helps,
                    "!" => helps.map(|h| !h),
                    // Comparisons, `if` and the rest: either value may help.
                    _ => None,
                };
                collect_facts(inner, inside, out);
            }
        }
        serde_json::Value::Array(items) => items.iter().for_each(|item| collect_facts(item, None, out)),
        _ => {}
    }
}

fn is_context_fact(node: &serde_json::Value) -> bool {
    let Some(access) = node.get(".") else { return false };
    access.get("attr").and_then(|a| a.as_str()) == Some("fact")
        && access.get("left").and_then(|l| l.get("Var")).and_then(|v| v.as_str()) == Some("context")
}
