//! An action as rules see it; and as Cedar does, with entities and a request, for what only Cedar can say.
// tidy: allow hash-order in this file: Cedar's constructors take hash collections; nothing here iterates over one.

use crate::action::{Action, Value};
use crate::charter::rule_attrs;
use crate::civil::{Civil, PARTS};
use crate::facts::Known;
use crate::ruling::Governance;
use crate::session::Values;
use crate::text::Text;
use crate::vocabulary::{Consequence, Reversibility, Verb, verbs};
use cedar_policy::{
    Authorizer, Context, Decision, Entities, Entity, EntityId, EntityTypeName, EntityUid, PolicySet, Request,
    RestrictedExpression,
};
use smallvec::SmallVec;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::str::FromStr as _;
use std::sync::LazyLock;

/// What does not change from one action to the next: the vocabulary's entities.
#[derive(Clone, Debug)]
struct Cedar {
    /// Each verb's entity, below its group, below `any`.
    verbs: BTreeMap<Verb, (EntityUid, Entities)>,
    agent: EntityTypeName,
    kinds: BTreeMap<&'static str, EntityTypeName>,
}

/// A request that could not be built or a rule that could not be evaluated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RuleError {
    /// The rule's id, or nothing when the request itself was not to be had.
    pub rule: Option<String>,
    pub message: String,
}

/// What the rules of one set said: the ids of those that matched, sorted, and what went wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Matched {
    pub ids: SmallVec<[Text; 2]>,
    pub errors: Vec<RuleError>,
}

static CEDAR: LazyLock<Result<Cedar, RuleError>> = LazyLock::new(Cedar::new);

impl Cedar {
    fn new() -> Result<Self, RuleError> {
        let name = |text: &str| EntityTypeName::from_str(text).map_err(|e| fault(&e));
        let action_type = name("Action")?;
        let uid = |id: &str| EntityUid::from_type_name_and_id(action_type.clone(), EntityId::new(id));
        let mut all = BTreeMap::new();
        let mut kinds = BTreeMap::new();
        for verb in verbs() {
            let entities = Entities::from_entities(
                [
                    Entity::new_no_attrs(uid(verb.name()), HashSet::from([uid(verb.group())])),
                    Entity::new_no_attrs(uid(verb.group()), HashSet::from([uid("any")])),
                    Entity::new_no_attrs(uid("any"), HashSet::new()),
                ],
                None,
            )
            .map_err(|e| fault(&e))?;
            all.insert(verb, (uid(verb.name()), entities));
            let kind = verb.spec().resource.name();
            kinds.insert(kind, name(kind)?);
        }
        Ok(Self { verbs: all, agent: name("Agent")?, kinds })
    }
}

/// Cedar's request on an action, and the entities that it speaks of. `facts`: those that its rules read.
pub(crate) fn request(judged: &Judged, facts: &BTreeSet<usize>) -> Result<(Request, Entities), RuleError> {
    let cedar = CEDAR.as_ref().map_err(RuleError::clone)?;
    let action = judged.action;
    let (verb, base) = cedar.verbs.get(&action.verb).ok_or_else(|| fault(&"no entity for the verb"))?;
    let kind = action.resource.kind().name();
    let kind = cedar.kinds.get(kind).ok_or_else(|| fault(&"no entity type for the resource"))?;
    let agent = judged.agent();
    let principal = EntityUid::from_type_name_and_id(cedar.agent.clone(), EntityId::new(agent));
    let resource = EntityUid::from_type_name_and_id(kind.clone(), EntityId::new(action.resource.id()));

    let name = HashMap::from([("name".to_owned(), RestrictedExpression::new_string(agent.to_owned()))]);
    let principal_entity = Entity::new(principal.clone(), name, HashSet::new()).map_err(|e| fault(&e))?;
    let fields = action.resource.kind().fields().iter().chain(action.resource.kind().derived_fields());
    let fields = fields.filter_map(|f| Some((f.name.to_owned(), expression(judged.field(f.name)?)))).collect();
    let resource_entity = Entity::new(resource.clone(), fields, HashSet::new()).map_err(|e| fault(&e))?;
    let entities = base.clone().add_entities([principal_entity, resource_entity], None).map_err(|e| fault(&e))?;

    let request =
        Request::new(principal, verb.clone(), resource, judged.context(facts)?, None).map_err(|e| fault(&e))?;
    Ok((request, entities))
}

/// What a rule is asked about.
pub(crate) struct Judged<'a> {
    pub action: &'a Action,
    pub values: &'a Values<'a>,
    pub governance: &'a Governance,
    /// Index of the autonomy level.
    pub autonomy: i64,
    /// When it is judged.
    pub at_ns: u64,
    pub facts: &'a Known<'a>,
}

impl Judged<'_> {
    /// Who acts.
    pub fn agent(&self) -> &str {
        self.values.agent()
    }

    /// `resource.NAME`.
    pub fn field(&self, name: &str) -> Option<&Value> {
        let kind = self.action.resource.kind();
        if let Some(value) = self.action.resource.field(name) {
            return Some(value);
        }
        self.values.get(kind.derived_fields().iter().find(|f| f.name == name)?.name)
    }

    /// `context.attrs.NAME`.
    pub fn attr(&self, name: &str) -> Option<&Value> {
        self.action.attr(name)
    }

    pub fn is_opaque(&self) -> bool {
        self.action.attr("opaque") == Some(&Value::Bool(true))
    }

    pub fn time(&self) -> Civil {
        Civil::of(self.at_ns)
    }

    fn context(&self, facts: &BTreeSet<usize>) -> Result<Context, RuleError> {
        let record =
            |pairs: Vec<(String, RestrictedExpression)>| RestrictedExpression::new_record(pairs).map_err(|e| fault(&e));
        let facts = facts.iter().filter_map(|place| {
            Some((self.facts.name(*place).to_owned(), expression(&self.facts.value(*place)?.into())))
        });
        let attrs = rule_attrs(self.action.verb)
            .filter_map(|a| Some((a.name.to_owned(), expression(self.action.attr(a.name)?))))
            .collect();
        let time = self.time();
        let number = |part: &&str| Some(((*part).to_owned(), RestrictedExpression::new_long(time.part(part)?)));
        let time = PARTS.iter().filter_map(number).collect();
        let text = |s: &str| RestrictedExpression::new_string(s.to_owned());
        Context::from_pairs([
            ("fact".to_owned(), record(facts.collect())?),
            ("attrs".to_owned(), record(attrs)?),
            ("time".to_owned(), record(time)?),
            ("autonomy".to_owned(), RestrictedExpression::new_long(self.autonomy)),
            ("consequence".to_owned(), text(consequence_name(self.governance.consequence))),
            ("reversibility".to_owned(), text(reversibility_name(self.governance.reversibility))),
            ("surface".to_owned(), text(self.action.surface.name())),
            ("detected".to_owned(), RestrictedExpression::new_set([])),
            ("opaque".to_owned(), RestrictedExpression::new_bool(self.is_opaque())),
        ])
        .map_err(|e| fault(&e))
    }
}

fn expression(value: &Value) -> RestrictedExpression {
    match value {
        Value::Bool(b) => RestrictedExpression::new_bool(*b),
        Value::Long(n) => RestrictedExpression::new_long(*n),
        Value::Str(s) => RestrictedExpression::new_string(s.clone()),
        Value::Strs(list) => {
            RestrictedExpression::new_set(list.iter().map(|s| RestrictedExpression::new_string(s.clone())))
        }
    }
}

/// Asks the rules of one set, which are all permits or all forbids.
pub(crate) fn ask(set: &PolicySet, request: &Request, entities: &Entities, wanted: Decision) -> Matched {
    if set.is_empty() {
        return Matched::default();
    }
    let response = Authorizer::new().is_authorized(request, set, entities);
    // Cedar skips a rule that can't be evaluated: a `forbid` in error would let the action through.
    let errors = response
        .diagnostics()
        .errors()
        .map(|error| {
            let cedar_policy::AuthorizationError::PolicyEvaluationError(error) = error;
            RuleError { rule: Some(error.policy_id().to_string()), message: error.inner().to_string() }
        })
        .collect();
    let mut matched = Matched { ids: SmallVec::new(), errors };
    if response.decision() == wanted {
        matched.ids = response.diagnostics().reason().map(|id| AsRef::<str>::as_ref(id).into()).collect();
    }
    // Cedar's order is that of a hash table with a random seed.
    matched.ids.sort_unstable();
    matched.errors.sort_by(|a, b| (&a.rule, &a.message).cmp(&(&b.rule, &b.message)));
    matched
}

fn fault(error: &dyn std::fmt::Display) -> RuleError {
    RuleError { rule: None, message: error.to_string() }
}

pub(crate) fn consequence_name(consequence: Consequence) -> &'static str {
    match consequence {
        Consequence::Low => "low",
        Consequence::Medium => "medium",
        Consequence::High => "high",
        Consequence::Critical => "critical",
    }
}

pub(crate) fn reversibility_name(reversibility: Reversibility) -> &'static str {
    match reversibility {
        Reversibility::Pure => "pure",
        Reversibility::Idempotent => "idempotent",
        Reversibility::Compensatable => "compensatable",
        Reversibility::Irreversible => "irreversible",
    }
}
