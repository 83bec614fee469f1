//! Cedar files to rules: parsed with places, annotated, strictly validated, sliced by verb.

use super::content;
use super::escalation::{Tier, known};
use super::report::{At, Place, Report, clip, nearest};
use super::schema::{FactType, schema_json};
use super::settings::{DefaultVerdict, Owner};
use crate::analysis::Mediation;
use crate::facts::Facts;
use crate::rules::{Compiled, Slice};
use crate::ruling::Reason;
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
    /// `@coverage`: how far its verbs are to be mediated, or a session does not start.
    pub coverage: Option<Mediation>,
    /// `file:line`.
    pub source: String,
    /// The verbs that it can match, by name.
    pub verbs: Vec<&'static str>,
    /// The facts that it reads, by name.
    pub facts: Vec<String>,
    /// For each of them the value by which it helps the rule to match, where that is one.
    pub(crate) causes: BTreeMap<String, Option<bool>>,
    /// What it says of an action that it matches, before any fact is looked at.
    pub(crate) said: Reason,
    /// Where it stands.
    pub(crate) place: Place,
    /// The attributes that it reads of what a written file says ([`CONTENT_ATTRS`]).
    pub(crate) content: BTreeSet<&'static str>,
}

/// All rules, compiled.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rules {
    pub rules: Vec<Rule>,
    pub by_id: BTreeMap<String, usize>,
    /// What is evaluated for each verb, by its place in the vocabulary.
    pub slices: Vec<Slice>,
    /// Of `fs.write`: those that read what was written, for the second judgement.
    pub content: Slice,
    /// All of them in one set, for the bench's baseline and for tests against bare Cedar.
    pub all: PolicySet,
}

impl Rules {
    /// Whether anything can let an action of that verb through.
    pub fn permit(&self, default: DefaultVerdict, verb: &str) -> bool {
        default == DefaultVerdict::Allow
            || self.rules.iter().any(|rule| rule.effect == RuleEffect::Permit && rule.verbs.contains(&verb))
    }
}

/// The rules of a verb and the places of the facts that they read.
#[derive(Default)]
struct SliceParts {
    rules: Vec<Compiled>,
    facts: BTreeSet<usize>,
}

impl SliceParts {
    fn add(&mut self, rule: &Rule, compiled: &Compiled, places: &BTreeMap<&str, usize>) {
        self.rules.push(compiled.clone());
        self.facts.extend(rule.facts.iter().filter_map(|fact| places.get(fact.as_str())));
    }
}

/// Most rules in one charter.
const RULES_MAX: usize = 10_000;

struct Parsed {
    policy: Policy,
    /// Its JSON form, where it has one.
    json: Option<serde_json::Value>,
    rule: Rule,
    place: Place,
}

pub(crate) struct Context<'c> {
    pub owners: &'c BTreeMap<String, Owner>,
    pub tiers: &'c BTreeMap<String, Tier>,
    pub facts: &'c Facts,
    /// Of every fact that was written, compiled or not.
    pub fact_types: &'c BTreeMap<String, FactType>,
    /// Always, but in tests.
    pub is_validated: bool,
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
    let places: BTreeMap<&str, usize> = context.facts.places().collect();
    let types: Vec<FactType> =
        places.keys().map(|name| context.fact_types.get(*name).copied().unwrap_or(FactType::Bool)).collect();
    let scopes: Vec<Vec<Verb>> = parsed.iter().map(|item| scope(&item.policy)).collect();
    let compiled: Vec<Compiled> = parsed
        .iter()
        .zip(&scopes)
        .map(|(Parsed { policy, json, rule, .. }, scope)| {
            Compiled::new(policy.clone(), json.as_ref(), rule.effect, scope, &places, &types)
        })
        .collect();
    // Most rules are plain, and Cedar's validator takes long to come up.
    let doubtful: Vec<usize> = compiled
        .iter()
        .enumerate()
        .filter(|(_, rule)| context.is_validated && !rule.is_plain())
        .map(|(n, _)| n)
        .collect();
    let Ok(typed) = validate_some(report, &parsed, &doubtful, context) else { return out };
    let mut by_verb: Vec<SliceParts> = verbs().map(|_| SliceParts::default()).collect();
    let mut of_content = SliceParts::default();
    for (n, ((Parsed { mut rule, .. }, scope), compiled)) in parsed.into_iter().zip(scopes).zip(compiled).enumerate() {
        let may_match = |verb: &Verb| typed.get(&n).is_none_or(|typed| typed.contains(verb.name()));
        rule.verbs = scope.iter().filter(|v| may_match(v)).map(|v| v.name()).collect();
        for verb in scope {
            if let Some(parts) = by_verb.get_mut(verb.index()) {
                parts.add(&rule, &compiled, &places);
            }
            if verb.name() == "fs.write" && !rule.content.is_empty() {
                of_content.add(&rule, &compiled, &places);
            }
        }
        out.rules.push(rule);
    }
    out.slices = by_verb.into_iter().map(|parts| Slice::new(parts.rules, parts.facts)).collect();
    out.content = Slice::new(of_content.rules, of_content.facts);
    out.rules.sort_by(|a, b| a.id.cmp(&b.id));
    out.by_id = out.rules.iter().enumerate().map(|(n, rule)| (rule.id.clone(), n)).collect();
    out
}

/// Has Cedar validate these rules, and tell which verbs each can match.
fn validate_some(
    report: &mut Report,
    parsed: &[Parsed],
    which: &[usize],
    context: &Context,
) -> Result<BTreeMap<usize, BTreeSet<String>>, ()> {
    let some: Vec<(usize, &Parsed)> = which.iter().filter_map(|n| Some((*n, parsed.get(*n)?))).collect();
    let Some((_, first)) = some.first() else { return Ok(BTreeMap::new()) };
    let schema = match Schema::from_json_value(schema_json(context.fact_types)) {
        Ok(schema) => schema,
        Err(error) => {
            // The text is our own: this says that the vocabulary does not fit Cedar.
            let message = format!("the generated schema is wrong: {error}");
            report.error("FB0199", &first.place, message, "please report this");
            return Err(());
        }
    };
    let mut set = PolicySet::new();
    for (_, item) in &some {
        // INVARIANT: ids are unique after `refuse_duplicates`, so that adding can't fail.
        let _ = set.add(item.policy.clone());
    }
    validate(report, &set, parsed, &schema);
    let typed = |policy: &Policy| -> BTreeSet<String> {
        policy.get_valid_request_envs(&schema).map(|env| env.action().id().unescaped().to_owned()).collect()
    };
    Ok(some.into_iter().map(|(n, item)| (n, typed(&item.policy))).collect())
}

fn parse_file(report: &mut Report, file: &Arc<str>, text: &str, context: &Context, out: &mut Vec<Parsed>) {
    if let Some((span, why)) = super::size::too_large(text) {
        report.error(
            "FB0160",
            &Place::new(file, span),
            why,
            "split the rule, or list literals in a set: `[…].contains(…)`",
        );
        return;
    }
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
        // From its tree: a policy that was parsed from text would be parsed once more, which takes longer than all else.
        let json = Policy::from(policy.as_ref().clone()).to_json().ok();
        let rule = annotated(report, policy, json.as_ref(), &place, context);
        let policy = policy.new_id(PolicyId::new(&rule.id));
        out.push(Parsed { policy, json, rule, place });
    }
}

/// Reads `@id`, `@owner`, `@reason`, `@escalate` and `@coverage`; tells of what is missing.
fn annotated(
    report: &mut Report,
    policy: &Policy,
    json: Option<&serde_json::Value>,
    place: &Place,
    context: &Context,
) -> Rule {
    let effect = match policy.effect() {
        CedarEffect::Permit => RuleEffect::Permit,
        CedarEffect::Forbid => RuleEffect::Forbid,
    };
    let known_names = ["id", "owner", "reason", "escalate", "coverage"];
    // Cedar parses each name that it is asked for.
    let annotations: BTreeMap<&str, &str> = policy.annotations().collect();
    for name in annotations.keys().filter(|k| !known_names.contains(k)) {
        let hint = nearest(name, known_names);
        report.error("FB0102", place, format!("rules have no annotation `@{}`", clip(name)), hint);
    }
    let mut annotation = |name: &str, example: &str| {
        let value = annotations.get(name).copied().unwrap_or_default().trim().to_owned();
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
    let escalate = annotations.get("escalate").map(|path| (*path).to_owned());
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
    let coverage = annotations.get("coverage").and_then(|said| match said.trim() {
        "enforced" => Some(Mediation::Enforced),
        "observed" => Some(Mediation::Observed),
        said => {
            let message = format!("`@coverage` is `enforced` or `observed`, not `{}`", clip(said));
            report.error("FB0113", place, message, "a session that would run below it does not start");
            None
        }
    });
    let id = if id.is_empty() { format!("{}@{}", place.file, place.span.start) } else { id };
    let mut causes = facts_read(json);
    causes.retain(|fact, _| context.fact_types.contains_key(fact));
    let facts = causes.keys().cloned().collect();
    let content = content::read_by(json);
    if effect == RuleEffect::Permit && !content.is_empty() {
        report.warning(
            "FB0117",
            place,
            format!("rule `{}` permits by what a file's content says, and refuses nothing by it", clip(&id)),
            "what a write leaves out of a permit has been permitted when the file was opened; write a `forbid`",
        );
    }
    let source = report.source(place);
    let said = Reason {
        rule: id.as_str().into(),
        owner: owner.as_str().into(),
        reason: reason.as_str().into(),
        witnesses: Vec::new(),
        needs: None,
        source: Some(source.as_str().into()),
    };
    let place = place.clone();
    Rule {
        id,
        owner,
        reason,
        effect,
        escalate,
        coverage,
        source,
        verbs: Vec::new(),
        facts,
        causes,
        said,
        place,
        content,
    }
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

/// The verbs that a rule's scope can match. Errs to the side of more: where one is left out the rule is not evaluated.
fn scope(policy: &Policy) -> Vec<Verb> {
    let actions: Option<Vec<(String, bool)>> = match policy.action_constraint() {
        ActionConstraint::Any => None,
        ActionConstraint::Eq(uid) => Some(vec![(uid.id().unescaped().to_owned(), false)]),
        ActionConstraint::In(uids) => Some(uids.iter().map(|uid| (uid.id().unescaped().to_owned(), true)).collect()),
    };
    let kind = match policy.resource_constraint() {
        ResourceConstraint::Any | ResourceConstraint::In(_) => None,
        ResourceConstraint::Eq(uid) => Some(uid.type_name().to_string()),
        ResourceConstraint::Is(ty) | ResourceConstraint::IsIn(ty, _) => Some(ty.to_string()),
    };
    let is_agent = match policy.principal_constraint() {
        PrincipalConstraint::Is(ty) | PrincipalConstraint::IsIn(ty, _) => ty.to_string() == "Agent",
        _ => true,
    };
    let is_named = |verb: &Verb| {
        actions.as_ref().is_none_or(|actions| {
            actions
                .iter()
                .any(|(id, is_within)| id == verb.name() || (*is_within && (id == verb.group() || id == "any")))
        })
    };
    let is_of_kind = |verb: &Verb| kind.as_ref().is_none_or(|kind| kind == verb.spec().resource.name());
    verbs().filter(|verb| is_agent && is_named(verb) && is_of_kind(verb)).collect()
}

/// The names in `context.fact.NAME` and `context.fact has NAME` anywhere in the rule, each with the value by which it
/// helps the rule to match; nothing where that depends.
fn facts_read(json: Option<&serde_json::Value>) -> BTreeMap<String, Option<bool>> {
    let mut out = BTreeMap::new();
    for condition in json.and_then(|json| json.get("conditions")).and_then(|c| c.as_array()).into_iter().flatten() {
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
