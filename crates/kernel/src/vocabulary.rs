//! The verbs, resources and attributes in which every action is said, whatever the surface (DESIGN section 3).

use serde::{Deserialize, Serialize};

/// How much harm an action can do. Ordered: `Low < Medium < High < Critical`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the variants say it")]
pub enum Consequence {
    Low,
    Medium,
    High,
    Critical,
}

/// What it takes to undo an action. Ordered from harmless to final.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reversibility {
    /// Changes nothing.
    Pure,
    /// Doing it twice is doing it once.
    Idempotent,
    /// Another action undoes it.
    Compensatable,
    /// Nothing undoes it.
    Irreversible,
}

/// The type of an attribute or of a resource's field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AttrType {
    /// `true` or `false`.
    Bool,
    /// A signed 64-bit integer; money is micro-units, time is nanoseconds.
    Long,
    /// A string.
    Str,
    /// A list of strings; Cedar sees it as `Set<String>`, facts keep its order.
    Strs,
}

/// A named, typed field of a resource or attribute of an action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FieldSpec {
    /// The name, as charters write it.
    pub name: &'static str,
    /// Its type.
    pub ty: AttrType,
}

const fn f(name: &'static str, ty: AttrType) -> FieldSpec {
    FieldSpec { name, ty }
}

/// What an action is done to. `name()` is the Cedar entity type and the `type` of the JSON form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "the variants say it")]
pub enum ResourceKind {
    File,
    Command,
    Endpoint,
    Request,
    Tool,
    Table,
    Ref,
    PullRequest,
    Target,
    Package,
    Model,
    Agent,
    Loop,
    Remediation,
    Quantity,
    Key,
    Label,
    Incident,
}

impl ResourceKind {
    /// All kinds, in the order of their names' first appearance in DESIGN section 3.
    pub const ALL: &'static [ResourceKind] = &[
        ResourceKind::File,
        ResourceKind::Command,
        ResourceKind::Endpoint,
        ResourceKind::Request,
        ResourceKind::Tool,
        ResourceKind::Table,
        ResourceKind::Ref,
        ResourceKind::PullRequest,
        ResourceKind::Target,
        ResourceKind::Package,
        ResourceKind::Model,
        ResourceKind::Agent,
        ResourceKind::Loop,
        ResourceKind::Remediation,
        ResourceKind::Quantity,
        ResourceKind::Key,
        ResourceKind::Label,
        ResourceKind::Incident,
    ];

    /// The Cedar entity type's name, which is also `resource.type` in JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            ResourceKind::File => "File",
            ResourceKind::Command => "Command",
            ResourceKind::Endpoint => "Endpoint",
            ResourceKind::Request => "Request",
            ResourceKind::Tool => "Tool",
            ResourceKind::Table => "Table",
            ResourceKind::Ref => "Ref",
            ResourceKind::PullRequest => "PullRequest",
            ResourceKind::Target => "Target",
            ResourceKind::Package => "Package",
            ResourceKind::Model => "Model",
            ResourceKind::Agent => "Subagent",
            ResourceKind::Loop => "Loop",
            ResourceKind::Remediation => "Remediation",
            ResourceKind::Quantity => "Quantity",
            ResourceKind::Key => "Key",
            ResourceKind::Label => "Label",
            ResourceKind::Incident => "Incident",
        }
    }

    /// The fields that callers give. The first ones identify the resource.
    ///
    /// `File` gets three more from the kernel itself (see [`Self::derived_fields`]).
    #[must_use]
    pub fn fields(self) -> &'static [FieldSpec] {
        use AttrType::{Long, Str, Strs};
        match self {
            ResourceKind::File => const { &[f("path", Str)] },
            ResourceKind::Command => const { &[f("program", Str), f("argv", Strs), f("cwd", Str), f("path", Str)] },
            ResourceKind::Endpoint => const { &[f("host", Str), f("port", Long)] },
            ResourceKind::Request => const { &[f("method", Str), f("host", Str), f("path", Str)] },
            ResourceKind::Tool => const { &[f("server", Str), f("name", Str)] },
            ResourceKind::Table => const { &[f("database", Str), f("schema", Str), f("name", Str)] },
            ResourceKind::Ref => const { &[f("remote", Str), f("name", Str)] },
            ResourceKind::PullRequest => const { &[f("repository", Str), f("name", Str)] },
            ResourceKind::Target => const { &[f("cluster", Str), f("namespace", Str), f("kind", Str), f("name", Str)] },
            ResourceKind::Package => const { &[f("ecosystem", Str), f("name", Str), f("version", Str)] },
            ResourceKind::Model => const { &[f("provider", Str), f("name", Str)] },
            ResourceKind::Agent | ResourceKind::Loop | ResourceKind::Quantity | ResourceKind::Label => {
                const { &[f("name", Str)] }
            }
            ResourceKind::Remediation => const { &[f("condition", Str), f("fix", Str)] },
            ResourceKind::Key => const { &[f("store", Str), f("key", Str)] },
            ResourceKind::Incident => const { &[f("id", Str)] },
        }
    }

    /// Fields that the kernel computes from the others and the session: for `File`, `rel` (path relative to the
    /// workspace, empty outside it), `name` (last component) and `zone` (`workspace`, `home`, `temp`, `system`).
    #[must_use]
    pub fn derived_fields(self) -> &'static [FieldSpec] {
        match self {
            ResourceKind::File => {
                const { &[f("rel", AttrType::Str), f("name", AttrType::Str), f("zone", AttrType::Str)] }
            }
            _ => &[],
        }
    }
}

/// A verb of the vocabulary, such as `fs.write`. Two equal verbs are the same static entry.
#[derive(Clone, Copy)]
pub struct Verb(&'static VerbSpec);

/// What is known of a verb before any charter speaks.
#[derive(Debug, PartialEq, Eq)]
pub struct VerbSpec {
    /// Full name, `group.word`.
    pub name: &'static str,
    /// What it is done to.
    pub resource: ResourceKind,
    /// Attributes that the attempt may carry, beyond the resource's fields.
    pub attrs: &'static [FieldSpec],
    /// Attributes that its outcome may carry, beyond `ok`.
    pub outcome: &'static [FieldSpec],
    /// Default consequence.
    pub consequence: Consequence,
    /// Default reversibility.
    pub reversibility: Reversibility,
}

impl Verb {
    /// The verb of that name, if the vocabulary has it.
    #[must_use]
    pub fn named(name: &str) -> Option<Verb> {
        VERBS.iter().find(|v| v.name == name).map(Verb)
    }

    /// Its place in the vocabulary.
    pub(crate) fn index(self) -> usize {
        // INVARIANT: every verb is an entry of `VERBS`.
        std::ptr::from_ref(self.0).addr().saturating_sub(VERBS.as_ptr().addr()) / size_of::<VerbSpec>()
    }

    /// Its full name, `group.word`.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.0.name
    }

    /// The part before the dot; also the Cedar action group.
    #[must_use]
    pub fn group(self) -> &'static str {
        self.0.name.split('.').next().unwrap_or_default()
    }

    /// All that is known of it.
    #[must_use]
    pub fn spec(self) -> &'static VerbSpec {
        self.0
    }
}

impl PartialEq for Verb {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self.0, other.0)
    }
}
impl Eq for Verb {}
impl PartialOrd for Verb {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Verb {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.name.cmp(other.0.name)
    }
}
impl std::hash::Hash for Verb {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.0.name.hash(state);
    }
}
impl std::fmt::Debug for Verb {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(self.0.name)
    }
}
impl std::fmt::Display for Verb {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(self.0.name)
    }
}

/// All verbs, grouped as in DESIGN section 3.
pub fn verbs() -> impl Iterator<Item = Verb> {
    VERBS.iter().map(Verb)
}

/// Attributes that every attempt may carry: what `intent` read, whether it could read it, and data labels.
pub const COMMON_ATTRS: &[FieldSpec] = &[
    f("opaque", AttrType::Bool),
    f("labels", AttrType::Strs),
    f("reader", AttrType::Str),
    f("implied_by", AttrType::Str),
];

/// Attributes of `fs.write` that are read from what was written, once it is there.
///
/// A write is ruled on twice. When the file is opened, by every rule, without these. And when it is closed, or before the
/// next program, connection or other outward action starts, with `content: true` and what its content says: this second time only rules that
/// read one of these attributes have a say, since all others have ruled already; the default, budgets, envelopes and the
/// autonomy level don't count it again, and an atom of a fact matches it only if it names one of them.
pub const CONTENT_ATTRS: &[&str] = &["content", "imports", "secrets", "ci"];

/// Attributes of `tool.call`. Beside the input: its arguments as `name=value`, what the user's words ask for, and where each
/// argument was seen before, by name (`docs/tools.md`). Each argument with a text or number in it stands in exactly one of the
/// six `from_…`, that of the least trusted of its values.
const TOOL_CALL_ATTRS: &[FieldSpec] = &[
    f("input", AttrType::Str),
    f("args", AttrType::Strs),
    f("asks", AttrType::Strs),
    f("from_user", AttrType::Strs),
    f("from_records", AttrType::Strs),
    f("from_trusted", AttrType::Strs),
    f("from_documents", AttrType::Strs),
    f("from_nowhere", AttrType::Strs),
    f("from_results", AttrType::Strs),
    f("said_by_results", AttrType::Strs),
    f("foreign_links", AttrType::Strs),
    f("private", AttrType::Strs),
];

const fn v(
    name: &'static str,
    resource: ResourceKind,
    attrs: &'static [FieldSpec],
    outcome: &'static [FieldSpec],
    consequence: Consequence,
    reversibility: Reversibility,
) -> VerbSpec {
    VerbSpec { name, resource, attrs, outcome, consequence, reversibility }
}

static VERBS: &[VerbSpec] = {
    use AttrType::{Bool, Long, Str, Strs};
    use Consequence::{Critical, High, Low, Medium};
    use ResourceKind as R;
    use Reversibility::{Compensatable, Idempotent, Irreversible, Pure};
    &[
        // Inside a session the workspace is an overlay: what is written there can be put back.
        v("fs.read", R::File, &[f("bytes", Long)], &[], Low, Pure),
        v(
            "fs.write",
            R::File,
            // The last four are read from the content, once it is there: `content` says that this is that second judgement.
            &[
                f("bytes", Long),
                f("create", Bool),
                f("truncate", Bool),
                f("kind", Str),
                f("content", Bool),
                f("imports", Strs),
                f("secrets", Strs),
                f("ci", Bool),
            ],
            &[f("digest", Str), f("bytes", Long)],
            Low,
            Compensatable,
        ),
        v("fs.delete", R::File, &[f("kind", Str), f("recursive", Bool)], &[], Low, Compensatable),
        v(
            "fs.move",
            R::File,
            &[f("to", Str), f("to_rel", Str), f("to_zone", Str), f("replaces", Bool)],
            &[],
            Low,
            Compensatable,
        ),
        v("fs.link", R::File, &[f("target", Str), f("symbolic", Bool)], &[], Low, Compensatable),
        v(
            "fs.chmod",
            R::File,
            &[f("mode", Long), f("uid", Long), f("gid", Long), f("xattr", Str)],
            &[],
            Low,
            Compensatable,
        ),
        v(
            "process.exec",
            R::Command,
            &[f("script", Str), f("interpreter", Str), f("implies", Strs)],
            &[f("exit", Long), f("signal", Long)],
            Low,
            Compensatable,
        ),
        v("process.signal", R::Command, &[f("signal", Long), f("pid", Long)], &[], Low, Irreversible),
        v(
            "net.connect",
            R::Endpoint,
            &[f("address", Str), f("protocol", Str)],
            &[f("sent", Long), f("received", Long)],
            Medium,
            Compensatable,
        ),
        v("net.listen", R::Endpoint, &[f("protocol", Str)], &[], Low, Compensatable),
        v(
            "http.request",
            R::Request,
            &[f("bytes", Long), f("scheme", Str), f("headers", Strs), f("json", Strs)],
            &[f("status", Long), f("bytes", Long)],
            Medium,
            Compensatable,
        ),
        v("tool.call", R::Tool, TOOL_CALL_ATTRS, &[], Medium, Compensatable),
        v("tool.inject", R::Tool, &[f("digest", Str), f("was", Str)], &[], High, Compensatable),
        v("data.select", R::Table, &[f("columns", Strs), f("limit", Long)], &[f("rows", Long)], Low, Pure),
        v("data.insert", R::Table, &[f("columns", Strs)], &[f("rows", Long)], Medium, Compensatable),
        v("data.update", R::Table, &[f("columns", Strs), f("filtered", Bool)], &[f("rows", Long)], High, Irreversible),
        v("data.delete", R::Table, &[f("filtered", Bool)], &[f("rows", Long)], High, Irreversible),
        v("data.ddl", R::Table, &[f("statement", Str)], &[], Critical, Irreversible),
        v("data.copy", R::Table, &[f("to", Str), f("from", Str)], &[f("rows", Long)], High, Irreversible),
        v(
            "git.commit",
            R::Ref,
            &[f("message", Str), f("amend", Bool), f("no_verify", Bool)],
            &[f("id", Str)],
            Low,
            Compensatable,
        ),
        v("git.branch", R::Ref, &[f("delete", Bool), f("force", Bool)], &[], Low, Compensatable),
        v(
            "git.push",
            R::Ref,
            &[f("force", Bool), f("delete", Bool), f("source", Str), f("url", Str), f("default_branch", Bool)],
            &[],
            High,
            Irreversible,
        ),
        v("git.tag", R::Ref, &[f("delete", Bool), f("force", Bool)], &[], Low, Compensatable),
        v(
            "pr.open",
            R::PullRequest,
            &[f("title", Str), f("body", Str), f("base", Str), f("head", Str)],
            &[],
            Medium,
            Compensatable,
        ),
        v("pr.merge", R::PullRequest, &[f("base", Str)], &[], High, Irreversible),
        v("pr.comment", R::PullRequest, &[f("body", Str)], &[], Low, Irreversible),
        v("deploy.apply", R::Target, &[f("source", Str), f("tool", Str)], &[], High, Compensatable),
        v("deploy.delete", R::Target, &[f("tool", Str)], &[], Critical, Irreversible),
        v("deploy.scale", R::Target, &[f("replicas", Long), f("tool", Str)], &[], High, Compensatable),
        v("deploy.exec", R::Target, &[f("argv", Strs), f("tool", Str)], &[], High, Irreversible),
        v("dependency.add", R::Package, &[f("dev", Bool), f("source", Str)], &[], Medium, Compensatable),
        v("dependency.remove", R::Package, &[], &[], Low, Compensatable),
        v("dependency.change", R::Package, &[f("from", Str)], &[], Medium, Compensatable),
        v(
            "model.call",
            R::Model,
            &[f("tokens", Long), f("cost", Long)],
            &[f("tokens", Long), f("cost", Long)],
            Low,
            Irreversible,
        ),
        v("agent.delegate", R::Agent, &[f("task", Str), f("rights", Strs)], &[], Medium, Compensatable),
        v("agent.spawn", R::Agent, &[f("task", Str), f("rights", Strs)], &[], Medium, Compensatable),
        v("loop.tick", R::Loop, &[f("n", Long)], &[], Low, Pure),
        v("remediation.start", R::Remediation, &[], &[], High, Compensatable),
        v("remediation.finish", R::Remediation, &[], &[], Low, Idempotent),
        v("control.actuate", R::Quantity, &[f("value", Long), f("unit", Str)], &[], Critical, Irreversible),
        // A reading of telemetry, as its adaptor saw it.
        v("control.sense", R::Quantity, &[f("value", Long), f("unit", Str), f("source", Str)], &[], Low, Pure),
        v("state.write", R::Key, &[f("bytes", Long)], &[], Low, Compensatable),
        v("state.delete", R::Key, &[], &[], Low, Compensatable),
        v("meta.label", R::Label, &[f("value", Str)], &[], Low, Idempotent),
        v("meta.declassify", R::Label, &[], &[], Critical, Irreversible),
        v("meta.config", R::Label, &[f("value", Str)], &[], Low, Idempotent),
        v("incident.open", R::Incident, &[], &[], Low, Idempotent),
        v("incident.escalate", R::Incident, &[], &[], Low, Idempotent),
    ]
};
