//! The charter: compiled from text to a value with a digest, or refused with everything that is wrong with it.

mod autonomy;
mod cedar;
mod codes;
mod contact;
mod content;
mod contract;
pub(crate) mod escalation;
mod examples;
pub(crate) mod governance;
mod models;
mod people;
pub(crate) mod report;
mod requests;
mod schema;
mod servers;
pub(crate) mod settings;
mod size;
pub(crate) mod table;
mod tools;

use crate::action::Action;
use crate::budget::{self, Budget};
use crate::diagnostic::Diagnostics;
use crate::envelope::{self, Envelope};
use crate::facts::{self, FactBound, Facts, Phase};
use crate::hash::sha256;
use crate::label::{self, Label};
use crate::learning::Learning;
use crate::obligation::{self, Obligation};
use crate::rules::Slice;
use crate::text::Text;
use crate::vocabulary::Verb;
use report::{Place, Report, clip};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use table::Keys;
use toml::de::DeTable;

pub use autonomy::{Autonomy, Level};
pub(crate) use cedar::Rules;
pub use cedar::{Rule, RuleEffect};
pub use codes::CODES;
pub use content::ContentReading;
pub use contract::{Contract, ContractCommand};
pub use escalation::Tier;
pub(crate) use examples::default_surface;
pub use examples::{Example, ExampleOutcome, check_examples};
pub(crate) use examples::{before, example_session};
pub use models::{Credential, CredentialSource, MODEL_APIS, ModelHost, ModelPrice, ModelSettings};
pub use requests::{RequestEffect, RequestReading};
pub use schema::FactType;
pub(crate) use schema::rule_attrs;
pub use servers::{ServerSettings, ServerTool, Servers};
pub use settings::{DefaultVerdict, HomeKeep, HttpSettings, Limits, Owner, SandboxSettings};
pub use tools::ToolReading;

/// A charter's files: name within its folder -> text. `charter.toml` and any `*.cedar`.
pub type Sources = BTreeMap<String, String>;

/// Largest file of a charter.
const FILE_BYTES_MAX: usize = 4 << 20;

/// A compiled charter.
#[derive(Clone, Debug)]
pub struct Charter {
    pub(crate) name: String,
    pub(crate) default: DefaultVerdict,
    pub(crate) on_error: Option<String>,
    /// Verbs that it speaks of though no surface brings them: what is about these waits on purpose.
    pub(crate) not_covered: BTreeSet<Verb>,
    pub(crate) people: people::People,
    pub(crate) owners: BTreeMap<String, Owner>,
    pub(crate) tiers: BTreeMap<String, Tier>,
    pub(crate) consequences: Vec<settings::ConsequenceRow>,
    pub(crate) governance: Vec<governance::GovernanceRow>,
    pub(crate) env_pass: Vec<String>,
    pub(crate) home: HomeKeep,
    pub(crate) http: HttpSettings,
    pub(crate) models: ModelSettings,
    pub(crate) credentials: Vec<Credential>,
    pub(crate) sandbox: SandboxSettings,
    pub(crate) limits: Limits,
    pub(crate) required: Vec<Verb>,
    pub(crate) facts: Facts,
    pub(crate) budgets: BTreeMap<String, Budget>,
    pub(crate) envelopes: BTreeMap<String, Envelope>,
    pub(crate) autonomy: Autonomy,
    pub(crate) obligations: BTreeMap<String, Obligation>,
    pub(crate) labels: BTreeMap<String, Label>,
    pub(crate) rules: Rules,
    pub(crate) content: ContentReading,
    pub(crate) tools: ToolReading,
    pub(crate) servers: Servers,
    pub(crate) fact_types: BTreeMap<String, FactType>,
    pub(crate) examples: Vec<Example>,
    pub(crate) contracts: Vec<Contract>,
    pub(crate) fact_places: BTreeMap<String, Place>,
    pub(crate) digest: Text,
    pub(crate) learning: Option<Learning>,
}

impl Charter {
    /// Compiles a charter. Gives it with its warnings, or everything that is wrong with it.
    ///
    /// # Errors
    /// [`Diagnostics`] with at least one error, sorted by file and place.
    pub fn compile(sources: &Sources) -> Result<(Charter, Diagnostics), Diagnostics> {
        let mut report = Report::new(sources);
        let charter = compile(&mut report, sources, true);
        match charter {
            Some(charter) if !report.has_errors() => Ok((charter, report.finish())),
            _ => Err(report.finish()),
        }
    }

    /// `[charter] name`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// `sha256:…` over the canonical form of every file, the schema's version and the versions of readers and engine.
    #[must_use]
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// What becomes of an action that no rule speaks of.
    #[must_use]
    pub fn default_verdict(&self) -> DefaultVerdict {
        self.default
    }

    /// The schema that the rules were checked against, in Cedar's own syntax; with the table of governance, as comments.
    #[must_use]
    pub fn schema_cedar(&self) -> String {
        schema::schema_text(&self.fact_types) + &governance::table_text(&self.governance, &self.tiers)
    }

    /// All rules, sorted by id.
    #[must_use]
    pub fn rules(&self) -> &[Rule] {
        &self.rules.rules
    }

    /// All rules as one Cedar policy set, ids as in the charter.
    #[must_use]
    pub fn policy_set(&self) -> &cedar_policy::PolicySet {
        &self.rules.all
    }

    /// `[owners]`.
    #[must_use]
    pub fn owners(&self) -> &BTreeMap<String, Owner> {
        &self.owners
    }

    /// `[escalation]`.
    #[must_use]
    pub fn escalations(&self) -> &BTreeMap<String, Tier> {
        &self.tiers
    }

    /// `[env] pass`: names (or `NAME*`) of the caller's variables that the program sees.
    #[must_use]
    pub fn env_pass(&self) -> &[String] {
        &self.env_pass
    }

    /// `[home] keep`.
    #[must_use]
    pub fn home_keep(&self) -> HomeKeep {
        self.home
    }

    /// `[http]`.
    #[must_use]
    pub fn http(&self) -> &HttpSettings {
        &self.http
    }

    /// `[[model]]` and `[[price]]`.
    #[must_use]
    pub fn models(&self) -> &ModelSettings {
        &self.models
    }

    /// `[credentials]`.
    #[must_use]
    pub fn credentials(&self) -> &[Credential] {
        &self.credentials
    }

    /// `[sandbox]`.
    #[must_use]
    pub fn sandbox(&self) -> &SandboxSettings {
        &self.sandbox
    }

    /// Whether reads of labelled files must be decided one by one.
    #[must_use]
    pub fn labels_files(&self) -> bool {
        self.labels.values().any(Label::has_paths)
    }

    /// Whether it labels anything.
    #[must_use]
    pub fn has_labels(&self) -> bool {
        !self.labels.is_empty()
    }

    /// `[mcp]`.
    #[must_use]
    pub fn servers(&self) -> &Servers {
        &self.servers
    }

    /// `[tools]`.
    #[must_use]
    pub fn tools(&self) -> &ToolReading {
        &self.tools
    }

    /// `[limits]`.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// `[require] coverage`: verbs of which each action is to be ruled on before it takes effect, or a session does not start.
    #[must_use]
    pub fn required_verbs(&self) -> &[Verb] {
        &self.required
    }

    /// `[autonomy]`.
    #[must_use]
    pub fn autonomy(&self) -> &Autonomy {
        &self.autonomy
    }

    /// `[[example]]`, in the order of the file; [`check_examples`] runs them.
    #[must_use]
    pub fn examples(&self) -> &[Example] {
        &self.examples
    }

    /// `[[contract]]`, in the order of the file.
    #[must_use]
    pub fn contracts(&self) -> &[Contract] {
        &self.contracts
    }

    /// Each fact with its type and what it keeps at most.
    pub fn facts(&self) -> impl Iterator<Item = (FactType, FactBound)> {
        self.fact_types.iter().filter_map(|(name, ty)| Some((*ty, self.facts.bound(name)?)))
    }

    /// Whether any fact is of the history across sessions, so that what happens in others is to be told to the kernel.
    #[must_use]
    pub fn has_fleet_facts(&self) -> bool {
        self.facts.are_fleet()
    }

    /// How old an event of another session may be and still matter to such a fact; `None` where no window says so.
    #[must_use]
    pub fn reach_ns(&self) -> Option<u64> {
        self.facts.reach_ns()
    }

    /// Whether such an event of another session can matter to a fact.
    #[must_use]
    pub fn sees_elsewhere(&self, phase: Phase, verb: Verb) -> bool {
        self.facts.sees_elsewhere(phase, verb)
    }

    /// Whether anything in the charter can let a connection through.
    #[must_use]
    pub fn mentions_network(&self) -> bool {
        self.rules.permit(self.default, "net.connect")
    }

    pub(crate) fn slice(&self, verb: Verb) -> Option<&Slice> {
        self.rules.slices.get(verb.index())
    }

    /// The rules that have a say in an action: of a write's content, only those that read it.
    pub(crate) fn slice_for(&self, action: &Action) -> Option<&Slice> {
        let slice = self.slice(action.verb)?;
        if action.is_content() { Some(&self.rules.content) } else { Some(slice) }
    }

    pub(crate) fn rule(&self, id: &str) -> Option<&Rule> {
        self.rules.by_id.get(id).and_then(|n| self.rules.rules.get(*n))
    }
}

/// Compiles a charter whose rules Cedar's validator may refuse: so that tests reach errors of evaluation.
#[cfg(test)]
pub(crate) fn compile_unvalidated(sources: &Sources) -> Result<Charter, Diagnostics> {
    let mut report = Report::new(sources);
    let charter = compile(&mut report, sources, false);
    match charter {
        Some(charter) if !report.has_errors() => Ok(charter),
        _ => Err(report.finish()),
    }
}

fn compile(report: &mut Report, sources: &Sources, is_validated: bool) -> Option<Charter> {
    refuse_foreign_files(report, sources);
    if sources.values().any(|text| text.len() > FILE_BYTES_MAX) {
        return None;
    }
    let file: Arc<str> = Arc::from("charter.toml");
    let Some(text) = sources.get("charter.toml") else {
        let place = escalation::start_of(&file);
        report.error("FB0107", &place, "the charter's folder has no `charter.toml`", "`flyball init` writes one");
        return None;
    };
    let (parsed, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        let place = Place::new(&file, error.span().unwrap_or(0..0));
        report.error("FB0101", &place, error.message().to_owned(), ());
    }
    if !errors.is_empty() {
        return None;
    }
    let mut root = Keys::new("charter.toml".to_owned(), escalation::start_of(&file), parsed.get_ref());

    let people = people::section(report, &mut root);
    let owners = settings::owners(report, &mut root, &people);
    let tiers = escalation::tiers(report, &mut root, &owners, &people);
    let Head { name, default, on_error, not_covered } = head(report, &mut root, &tiers);
    let consequences = settings::consequences(report, &mut root);
    let governance = governance::section(report, &mut root, &tiers);
    let env_pass = settings::env_pass(report, &mut root);
    let home = settings::home(report, &mut root);
    let (http, says_open) = settings::http(report, &mut root);
    let mut models = models::section(report, &mut root);
    let credentials = models::credentials(report, &mut root);
    let sandbox = settings::sandbox(report, &mut root);
    let limits = settings::limits(report, &mut root);
    let required = settings::required(report, &mut root);
    let facts = facts::section(report, &mut root, text);
    let budgets = budget::section(report, &mut root);
    models.counts_cost = budgets.values().any(|budget| budget.attr == Some("cost"));
    let envelopes = envelope::section(report, &mut root, &tiers);
    let autonomy = autonomy::section(report, &mut root, &tiers, &facts.types);
    let obligations = obligation::section(report, &mut root, text, &owners, &tiers);
    let (servers, named) = servers::section(report, &mut root);
    let on_servers = named.iter().map(|label| label.value.clone()).collect();
    let labels = label::section(report, &mut root, &owners, &on_servers);
    Servers::check_labels(report, &named, &labels.keys().cloned().collect());
    let tools = tools::section(report, &mut root);

    let (fact_types, facts_kept) = (&facts.types, &facts.facts);
    let context = cedar::Context { owners: &owners, tiers: &tiers, facts: facts_kept, fact_types, is_validated };
    let rules = cedar::compile(report, sources, &context);
    // Who puts something in has to open what it is put into. Who permits no request would have all of them refused.
    let opens = says_open.unwrap_or_else(|| rules.permit(default, "http.request")) || !credentials.is_empty();
    let http = HttpSettings { opens, ..http };
    let names: BTreeSet<String> =
        rules.by_id.keys().chain(budgets.keys()).chain(envelopes.keys()).chain(obligations.keys()).cloned().collect();
    refuse_shared_names(report, &rules, &budgets, &envelopes, &obligations);
    let examples = examples::section(report, &mut root, text, &names);
    let contracts = contract::section(report, &mut root, &rules, &facts);
    root.finish(report);
    if !report.has_errors() {
        warn_of_idle(report, &rules, &facts, &autonomy, &examples, &contracts);
    }
    let digest = Text::from(digest(sources));
    let mut charter = Charter {
        name,
        default,
        on_error,
        not_covered,
        people,
        owners,
        tiers,
        consequences,
        governance,
        env_pass,
        home,
        http,
        models,
        credentials,
        sandbox,
        limits,
        required,
        facts: facts.facts,
        budgets,
        envelopes,
        autonomy,
        obligations,
        labels,
        rules,
        content: ContentReading::default(),
        tools,
        servers,
        fact_types: facts.types,
        examples,
        contracts,
        fact_places: facts.places,
        digest,
        learning: None,
    };
    charter.content = ContentReading::of(&charter, &facts.atoms);
    Some(charter)
}

fn refuse_foreign_files(report: &mut Report, sources: &Sources) {
    for (name, text) in sources {
        let place = Place::new(&Arc::from(name.as_str()), 0..0);
        if name != "charter.toml" && !name.ends_with(".cedar") {
            let message = format!("`{}` is no file of a charter", clip(name));
            report.error("FB0107", &place, message, "a charter is `charter.toml` and any `*.cedar` beside it");
        }
        if text.len() > FILE_BYTES_MAX {
            report.error("FB0160", &place, format!("`{}` is larger than 4 MiB", clip(name)), ());
        }
    }
}

/// `[charter]`.
#[derive(Default)]
struct Head {
    name: String,
    default: DefaultVerdict,
    on_error: Option<String>,
    not_covered: BTreeSet<Verb>,
}

fn head(report: &mut Report, root: &mut Keys, tiers: &BTreeMap<String, Tier>) -> Head {
    let Some(mut head) = root.table(report, "charter") else {
        report.error(
            "FB0104",
            &root.place.clone(),
            "charter.toml lacks [charter]",
            "add `[charter]` and `name = \"…\"`",
        );
        return Head::default();
    };
    let name = head.required_str(report, "name").map(|n| n.value).unwrap_or_default();
    let default = match head.choice(report, "default", &["deny", "allow"]) {
        Some(d) if d.value == "allow" => DefaultVerdict::Allow,
        _ => DefaultVerdict::Deny,
    };
    let on_error =
        head.str(report, "on_error").and_then(|text| escalation::deny_or_escalate(report, tiers, &text)).flatten();
    let patterns = head.strs(report, "not_covered");
    let not_covered = patterns.iter().flat_map(|pattern| settings::verbs_of(report, pattern)).collect();
    head.finish(report);
    Head { name, default, on_error, not_covered }
}

/// Reasons name rules, budgets and envelopes alike: one name is one thing.
fn refuse_shared_names(
    report: &mut Report,
    rules: &Rules,
    budgets: &BTreeMap<String, Budget>,
    envelopes: &BTreeMap<String, Envelope>,
    obligations: &BTreeMap<String, Obligation>,
) {
    let place = escalation::start_of(&Arc::from("charter.toml"));
    for name in budgets.keys() {
        if rules.by_id.contains_key(name) || envelopes.contains_key(name) {
            report.error("FB0114", &place, format!("`{}` names a budget and something else", clip(name)), "rename one");
        }
    }
    for name in obligations.keys() {
        if rules.by_id.contains_key(name) || envelopes.contains_key(name) || budgets.contains_key(name) {
            let message = format!("`{}` names an obligation and something else", clip(name));
            report.error("FB0114", &place, message, "rename one");
        }
    }
    for name in envelopes.keys().filter(|name| rules.by_id.contains_key(*name)) {
        report.error("FB0114", &place, format!("`{}` names an envelope and a rule", clip(name)), "rename one");
    }
}

/// Warns of facts that nothing reads and of a charter without examples.
fn warn_of_idle(
    report: &mut Report,
    rules: &Rules,
    facts: &facts::FactSection,
    autonomy: &Autonomy,
    examples: &[Example],
    contracts: &[Contract],
) {
    let read: BTreeSet<&String> = rules
        .rules
        .iter()
        .flat_map(|r| &r.facts)
        .chain(&facts.named)
        .chain(autonomy.lower.iter().map(|(f, _)| f))
        .chain(contracts.iter().flat_map(|contract| &contract.facts))
        .collect();
    for (name, place) in facts.places.iter().filter(|(name, _)| !read.contains(name)) {
        report.warning("FB0127", place, format!("nothing reads the fact `{name}`"), "use it in a rule, or remove it");
    }
    if examples.is_empty() {
        let place = escalation::start_of(&Arc::from("charter.toml"));
        let hint = "add an [[example]] with `attempt` and `expect` for what must never pass";
        report.warning("FB0141", &place, "the charter has no examples: nothing shows that it means what it says", hint);
    }
}

/// Versions of what reads a charter: another reader may understand the same text otherwise.
const READERS: &str = "facts 1, settings 1";

fn digest(sources: &Sources) -> String {
    let mut bytes = Vec::new();
    let mut part = |text: &str| {
        bytes.extend_from_slice(&u64::try_from(text.len()).unwrap_or(u64::MAX).to_be_bytes());
        bytes.extend_from_slice(text.as_bytes());
    };
    part("flyball-charter");
    part(&schema::SCHEMA_VERSION.to_string());
    part(READERS);
    part(&format!("cedar {}", cedar_policy::get_sdk_version()));
    for (name, text) in sources {
        part(name);
        // A checkout on another system may change line ends, and nothing else.
        part(&text.replace("\r\n", "\n"));
    }
    sha256(&bytes)
}
