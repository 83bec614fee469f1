//! One thing that an agent attempts, parsed: a verb of the vocabulary, its resource, typed attributes.

use crate::text::Text;
use crate::vocabulary::{AttrType, COMMON_ATTRS, FieldSpec, ResourceKind, Verb};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _, ser::SerializeMap};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A value of an attribute or field.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Value {
    /// `true` or `false`.
    Bool(bool),
    /// A signed 64-bit integer.
    Long(i64),
    /// A string.
    Str(String),
    /// Strings, in order.
    Strs(Vec<String>),
}

impl Value {
    /// The type that it has.
    #[must_use]
    pub fn ty(&self) -> AttrType {
        match self {
            Value::Bool(_) => AttrType::Bool,
            Value::Long(_) => AttrType::Long,
            Value::Str(_) => AttrType::Str,
            Value::Strs(_) => AttrType::Strs,
        }
    }

    /// The string, if it is one.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        if let Value::Str(s) = self { Some(s) } else { None }
    }
}

impl From<&str> for Value {
    fn from(s: &str) -> Self {
        Value::Str(s.to_owned())
    }
}
impl From<String> for Value {
    fn from(s: String) -> Self {
        Value::Str(s)
    }
}
impl From<bool> for Value {
    fn from(b: bool) -> Self {
        Value::Bool(b)
    }
}
impl From<i64> for Value {
    fn from(n: i64) -> Self {
        Value::Long(n)
    }
}
impl From<Vec<String>> for Value {
    fn from(v: Vec<String>) -> Self {
        Value::Strs(v)
    }
}

/// The way by which an action was attempted (DESIGN section 1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the variants say it")]
pub enum Surface {
    Exec,
    Fs,
    Net,
    Http,
    Mcp,
    Sql,
    Git,
    K8s,
    Model,
    Hook,
    Sdk,
}

impl Surface {
    /// Its name, as charters and JSON write it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Surface::Exec => "exec",
            Surface::Fs => "fs",
            Surface::Net => "net",
            Surface::Http => "http",
            Surface::Mcp => "mcp",
            Surface::Sql => "sql",
            Surface::Git => "git",
            Surface::K8s => "k8s",
            Surface::Model => "model",
            Surface::Hook => "hook",
            Surface::Sdk => "sdk",
        }
    }
}

/// What an action is done to: a kind and its fields. JSON: `{"type":"File","path":"/w/a"}`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Resource {
    kind: ResourceKind,
    /// Sorted by name. Shared: an action goes through many hands and seldom changes on the way.
    fields: Arc<[(&'static str, Value)]>,
}

impl Resource {
    /// A resource with every field at its type's empty value.
    #[must_use]
    pub fn new(kind: ResourceKind) -> Self {
        let mut fields: Vec<_> = kind.fields().iter().map(|f| (f.name, empty(f.ty))).collect();
        fields.sort_unstable_by_key(|(name, _)| *name);
        Self { kind, fields: fields.into() }
    }

    /// A file by its canonical absolute path.
    #[must_use]
    pub fn file(path: &str) -> Self {
        Self { kind: ResourceKind::File, fields: Arc::new([("path", path.into())]) }
    }

    /// The same with a field set; a name or type that the kind does not have is an error.
    ///
    /// # Errors
    /// [`ActionError`] when the kind has no such field or it has another type.
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Result<Self, ActionError> {
        let value = value.into();
        let spec = typed(self.kind.fields().iter(), name, &value, self.kind.name())?;
        if let Some((_, there)) = Arc::make_mut(&mut self.fields).iter_mut().find(|(name, _)| *name == spec.name) {
            *there = value;
        }
        Ok(self)
    }

    /// Its kind.
    #[must_use]
    pub fn kind(&self) -> ResourceKind {
        self.kind
    }

    /// A field's value.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&Value> {
        self.fields.iter().find(|(field, _)| *field == name).map(|(_, value)| value)
    }

    /// A string field's value, empty when there is none.
    #[must_use]
    pub fn str(&self, name: &str) -> &str {
        self.field(name).and_then(Value::as_str).unwrap_or_default()
    }

    /// What names it within its kind: a path, `host:port`, or its strings joined by `/`.
    #[must_use]
    pub fn id(&self) -> String {
        match self.kind {
            ResourceKind::File => self.str("path").to_owned(),
            ResourceKind::Command => self.str("program").to_owned(),
            ResourceKind::Endpoint => {
                let port = if let Some(Value::Long(port)) = self.field("port") { *port } else { 0 };
                format!("{}:{port}", self.str("host"))
            }
            kind => {
                let parts: Vec<&str> =
                    kind.fields().iter().map(|f| self.str(f.name)).filter(|part| !part.is_empty()).collect();
                parts.join("/")
            }
        }
    }

    /// All fields, by name.
    pub fn fields(&self) -> impl Iterator<Item = (&'static str, &Value)> {
        self.fields.iter().map(|(k, v)| (*k, v))
    }
}

/// Attributes by name, sorted; shared like a resource's fields, and nothing at all where there are none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Attrs(Option<Arc<[(&'static str, Value)]>>);

impl Attrs {
    fn all(&self) -> &[(&'static str, Value)] {
        self.0.as_deref().unwrap_or_default()
    }

    fn find(&self, name: &str) -> Option<&Value> {
        self.all().iter().find(|(attr, _)| *attr == name).map(|(_, value)| value)
    }

    fn insert(&mut self, name: &'static str, value: Value) {
        let others = self.all().iter().filter(|(attr, _)| *attr != name).cloned();
        let mut all: Vec<_> = others.chain([(name, value)]).collect();
        all.sort_unstable_by_key(|(attr, _)| *attr);
        self.0 = Some(all.into());
    }
}

impl Serialize for Attrs {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_map(self.all().iter().map(|(name, value)| (name, value)))
    }
}

fn empty(ty: AttrType) -> Value {
    match ty {
        AttrType::Bool => Value::Bool(false),
        AttrType::Long => Value::Long(0),
        AttrType::Str => Value::Str(String::new()),
        AttrType::Strs => Value::Strs(Vec::new()),
    }
}

/// One thing that an agent attempts, in the vocabulary that does not depend on the surface.
///
/// JSON: `{"verb":"fs.write","resource":{"type":"File","path":"/w/a"},"attrs":{"bytes":120},"surface":"fs","agent":"claude"}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Action {
    /// What is done.
    pub verb: Verb,
    /// What it is done to.
    pub resource: Resource,
    /// Typed attributes, by name.
    attrs: Attrs,
    /// The way it came.
    pub surface: Surface,
    /// Who does it; empty for the session's own agent.
    pub agent: Text,
}

/// Why something is no action.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ActionError {
    /// The vocabulary has no such verb.
    #[error("no verb `{verb}`{hint}")]
    Verb {
        /// What was written.
        verb: String,
        /// ` (did you mean …?)` or nothing.
        hint: String,
    },
    /// The verb or resource has no such name.
    #[error("`{of}` has no `{name}`; it has {has}")]
    Name {
        /// The verb or resource type.
        of: String,
        /// What was written.
        name: String,
        /// What there is.
        has: String,
    },
    /// The value is of another type.
    #[error("`{name}` of `{of}` is a {want}, not a {got}")]
    Type {
        /// The verb or resource type.
        of: String,
        /// The field or attribute.
        name: String,
        /// Its type.
        want: &'static str,
        /// The value's type.
        got: &'static str,
    },
    /// The verb is done to another kind of resource.
    #[error("`{verb}` is done to a {want}, not to a {got}")]
    Resource {
        /// The verb.
        verb: String,
        /// What it is done to.
        want: &'static str,
        /// What was given.
        got: String,
    },
}

impl Action {
    /// `sha256:…` over the canonical JSON form: what an approval is bound to.
    #[must_use]
    pub fn digest(&self) -> String {
        // INVARIANT: names are static strings and values plain data, so that serialising can't fail.
        crate::hash::sha256(&serde_json::to_vec(self).unwrap_or_default())
    }

    /// An action of that verb on that resource, with no attributes.
    ///
    /// # Errors
    /// [`ActionError`] when the vocabulary has no such verb or it is done to another kind.
    pub fn new(verb: &str, resource: Resource, surface: Surface) -> Result<Self, ActionError> {
        let verb = Verb::named(verb).ok_or_else(|| unknown_verb(verb))?;
        if verb.spec().resource != resource.kind {
            return Err(ActionError::Resource {
                verb: verb.name().into(),
                want: verb.spec().resource.name(),
                got: resource.kind.name().into(),
            });
        }
        Ok(Self { verb, resource, attrs: Attrs::default(), surface, agent: Text::default() })
    }

    /// The same with an attribute set.
    ///
    /// # Errors
    /// [`ActionError`] when the verb has no such attribute or it has another type.
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Result<Self, ActionError> {
        self.set(name, value.into())?;
        Ok(self)
    }

    /// Sets an attribute.
    ///
    /// # Errors
    /// [`ActionError`] when the verb has no such attribute or it has another type.
    pub fn set(&mut self, name: &str, value: Value) -> Result<(), ActionError> {
        let specs = self.verb.spec().attrs.iter().chain(COMMON_ATTRS);
        let spec = typed(specs, name, &value, self.verb.name())?;
        self.attrs.insert(spec.name, value);
        Ok(())
    }

    /// An attribute's value.
    #[must_use]
    pub fn attr(&self, name: &str) -> Option<&Value> {
        self.attrs.find(name)
    }

    /// Whether this is the second judgement of a write, on what it wrote ([`crate::CONTENT_ATTRS`]).
    #[must_use]
    pub fn is_content(&self) -> bool {
        self.attr("content") == Some(&Value::Bool(true))
    }

    /// Whether it was read from a file that was written already: its content, or a package that it names. Such a package
    /// meets all the rules of its verb and the default, as if a command had named it.
    #[must_use]
    pub fn is_from_content(&self) -> bool {
        self.is_content() || (self.surface == Surface::Fs && self.verb.group() == "dependency")
    }

    /// Whether `later` is what this, read from a command beforehand, said would be done: the same verb on the same
    /// resource by the same agent, with every attribute that was stated. Only how a file is opened may show later.
    #[must_use]
    pub fn foresees(&self, later: &Action) -> bool {
        // A command's reader says that a file would be created where it may be; whether it was there shows later.
        let is_shown = |name: &str| match self.attrs.find(name) {
            None => matches!(name, "create" | "truncate" | "kind"),
            Some(value) => name == "create" && *value == Value::Bool(true),
        };
        let is_stated = |name: &str| !["implied_by", "reader"].contains(&name) && !is_shown(name);
        self.verb == later.verb
            && self.resource == later.resource
            && self.agent == later.agent
            && self.attr("opaque").is_none()
            && self.attrs().filter(|(name, _)| is_stated(name)).eq(later.attrs().filter(|(name, _)| is_stated(name)))
    }

    /// All attributes, by name.
    pub fn attrs(&self) -> impl Iterator<Item = (&'static str, &Value)> {
        self.attrs.all().iter().map(|(k, v)| (*k, v))
    }
}

fn unknown_verb(verb: &str) -> ActionError {
    let hint = crate::vocabulary::verbs()
        .map(|v| (strsim::damerau_levenshtein(v.name(), verb), v.name()))
        .min()
        .filter(|(far, _)| *far <= 3)
        .map(|(_, name)| format!(" (did you mean `{name}`?)"))
        .unwrap_or_default();
    ActionError::Verb { verb: verb.chars().take(80).collect(), hint }
}

fn typed(
    specs: impl Iterator<Item = &'static FieldSpec> + Clone,
    name: &str,
    value: &Value,
    of: &str,
) -> Result<FieldSpec, ActionError> {
    let Some(spec) = specs.clone().find(|s| s.name == name) else {
        let has = specs.map(|s| format!("`{}`", s.name)).collect::<Vec<_>>().join(", ");
        return Err(ActionError::Name { of: of.into(), name: name.chars().take(80).collect(), has });
    };
    if spec.ty != value.ty() {
        return Err(ActionError::Type { of: of.into(), name: name.into(), want: say(spec.ty), got: say(value.ty()) });
    }
    Ok(*spec)
}

fn say(ty: AttrType) -> &'static str {
    match ty {
        AttrType::Bool => "boolean",
        AttrType::Long => "whole number",
        AttrType::Str => "string",
        AttrType::Strs => "list of strings",
    }
}

impl Serialize for Resource {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut map = to.serialize_map(Some(1 + self.fields.len()))?;
        map.serialize_entry("type", self.kind.name())?;
        // In the vocabulary's order, so that the bytes do not depend on how the map is kept.
        for spec in self.kind.fields() {
            if let Some(value) = self.field(spec.name) {
                map.serialize_entry(spec.name, value)?;
            }
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Resource {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let mut raw = BTreeMap::<String, serde_json::Value>::deserialize(from)?;
        let name = raw.remove("type").ok_or_else(|| D::Error::missing_field("type"))?;
        let kind = name
            .as_str()
            .and_then(|n| ResourceKind::ALL.iter().find(|k| k.name() == n))
            .ok_or_else(|| D::Error::custom(format!("no resource type {name}")))?;
        let mut it = Resource::new(*kind);
        for (key, value) in raw {
            let value: Value = serde_json::from_value(value).map_err(|_| {
                D::Error::custom(format!("`{key}` is no boolean, whole number, string or list of strings"))
            })?;
            it = it.with(&key, value).map_err(D::Error::custom)?;
        }
        Ok(it)
    }
}

impl Serialize for Action {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut map = to.serialize_map(None)?;
        map.serialize_entry("verb", self.verb.name())?;
        map.serialize_entry("resource", &self.resource)?;
        map.serialize_entry("attrs", &self.attrs)?;
        map.serialize_entry("surface", &self.surface)?;
        map.serialize_entry("agent", &self.agent)?;
        map.end()
    }
}

impl<'de> Deserialize<'de> for Action {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        /// `at` and `cause` belong to the entry around the action; they may stand here and are read elsewhere.
        #[derive(Deserialize)]
        struct Raw {
            verb: String,
            resource: Resource,
            #[serde(default)]
            attrs: BTreeMap<String, Value>,
            #[serde(default = "sdk")]
            surface: Surface,
            #[serde(default)]
            agent: Text,
        }
        fn sdk() -> Surface {
            Surface::Sdk
        }
        let raw = Raw::deserialize(from)?;
        let mut action = Action::new(&raw.verb, raw.resource, raw.surface).map_err(D::Error::custom)?;
        action.agent = raw.agent;
        for (name, value) in raw.attrs {
            action.set(&name, value).map_err(D::Error::custom)?;
        }
        Ok(action)
    }
}
