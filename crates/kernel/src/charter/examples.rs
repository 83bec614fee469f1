//! `[[example]]`: what the charter's author expects, run against the charter itself.

use super::Charter;
use super::report::{At, Place, Report, clip, nearest};
use super::table::{Keys, duration_ns};
use crate::action::{Action, Resource, Surface, Value};
use crate::civil;
use crate::facts::syntax::{Call, Fault, Phase, call};
use crate::facts::{fields_of, tell};
use crate::kernel::Kernel;
use crate::ruling::{Ruling, Verdict};
use crate::session::Session;
use crate::vocabulary::{ResourceKind, Verb, verbs};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What stands before the attempt of an example.
#[derive(Clone, Debug)]
pub(crate) enum Given {
    /// An action up to a phase, with what its outcome carried.
    Event(Phase, Box<Action>, bool, BTreeMap<String, Value>),
    /// The same, several times.
    Times(u32, Box<Given>),
    /// Time passes.
    Wait(u64),
    /// It is then, if it is not later already.
    At(u64),
}

/// An `[[example]]`.
#[derive(Clone, Debug)]
pub struct Example {
    pub(crate) given: Vec<Given>,
    pub(crate) attempt: Action,
    /// The attempt, as written.
    pub text: String,
    /// What is expected: `allow`, `deny RULE`, …
    pub expect: String,
    pub(crate) verdict: Verdict,
    pub(crate) rule: Option<String>,
    /// `file:line`.
    pub source: String,
    pub(crate) place: Place,
}

/// What running an example gave.
#[derive(Clone, Debug)]
pub struct ExampleOutcome {
    /// Its number within the charter, from 0.
    pub index: usize,
    /// `file:line`.
    pub source: String,
    /// The attempt, as written.
    pub attempt: String,
    /// What was expected.
    pub expected: String,
    /// Whether it held.
    pub passed: bool,
    /// The ruling.
    pub got: Ruling,
}

/// Where examples take place: relative paths are below the workspace, `~/` is the home.
pub(crate) fn example_session() -> Session {
    Session { workspace: "/workspace".to_owned(), home: "/home/user".to_owned(), agent: "agent".to_owned() }
}

/// Most times that one `given` may happen.
const TIMES_MAX: u32 = 10_000;

/// Seconds between an example's events, in nanoseconds.
const STEP_NS: u64 = 1_000_000_000;

/// Runs every example of a charter.
#[must_use]
pub fn check_examples(charter: &Charter) -> Vec<ExampleOutcome> {
    let charter = Arc::new(charter.clone());
    charter.examples().iter().enumerate().map(|(index, example)| run(&charter, index, example)).collect()
}

fn run(charter: &Arc<Charter>, index: usize, example: &Example) -> ExampleOutcome {
    let (mut kernel, at_ns, _) = before(charter, example);
    let got = kernel.suppose_attempt(at_ns, &example.attempt);
    let has_rule = example.rule.as_ref().is_none_or(|rule| got.reasons.iter().any(|r| r.rule == *rule));
    ExampleOutcome {
        index,
        source: example.source.clone(),
        attempt: example.text.clone(),
        expected: example.expect.clone(),
        passed: got.verdict == example.verdict && has_rule,
        got,
    }
}

/// The session just before an example's attempt, when that is, and the last entry of each thing that was given.
pub(crate) fn before(charter: &Arc<Charter>, example: &Example) -> (Kernel, u64, Vec<u64>) {
    let mut lasts = Vec::new();
    let mut kernel = Kernel::new(Arc::clone(charter), example_session());
    let mut at_ns = STEP_NS;
    for given in &example.given {
        let (times, given) = match given {
            Given::Times(times, given) => (*times, given.as_ref()),
            once => (1, once),
        };
        for _ in 0..times {
            match given {
                Given::Wait(ns) => at_ns = at_ns.saturating_add(*ns),
                // Seconds pass between the events of an example, and none of them before the time that it names.
                Given::At(ns) => at_ns = at_ns.max(ns.saturating_sub(STEP_NS)),
                Given::Event(phase, action, ok, outcome) => kernel.suppose(at_ns, *phase, action, *ok, outcome),
                Given::Times(..) => {}
            }
            // Many at once are a burst: a hundredth of a second each.
            at_ns = at_ns.saturating_add(if times > 1 { STEP_NS / 100 } else { STEP_NS });
        }
        lasts.push(kernel.last_entry());
    }
    (kernel, at_ns, lasts)
}

/// Names that `expect` may name beside the rules: what the kernel itself refuses with.
const OWN_REASONS: &[&str] = &[
    "no-rule-permits",
    "rule-error",
    "fact-overflow",
    "fact-error",
    "autonomy-observe",
    "autonomy-propose",
    "obligation-overflow",
    "governance-approval",
    "label-owner",
    "label-overflow",
    "session-paused",
    "session-quarantined",
    "session-killed",
];

pub(crate) fn section(report: &mut Report, root: &mut Keys, source: &str, names: &BTreeSet<String>) -> Vec<Example> {
    let mut out = Vec::new();
    for mut keys in root.tables(report, "example") {
        let given_texts = keys.strs(report, "given");
        let given: Vec<Given> = given_texts.iter().filter_map(|text| given_of(report, source, text)).collect();
        let attempt = keys.required_str(report, "attempt");
        let expect = keys.required_str(report, "expect");
        let at = report.source(&keys.place);
        keys.finish(report);
        let (Some(attempt), Some(expect)) = (attempt, expect) else { continue };
        let action = match parsed(&attempt.value) {
            Ok((Phase::Attempt, action, ..)) => action,
            Ok(_) => {
                report.error(
                    "FB0140",
                    &attempt.place,
                    "what is attempted is neither `did` nor `result`",
                    "leave it out",
                );
                continue;
            }
            Err(fault) => {
                tell(report, source, &attempt, fault);
                continue;
            }
        };
        let Some((verdict, rule)) = expectation(report, &expect, names) else { continue };
        let place = expect.place.clone();
        let (text, expect) = (attempt.value, expect.value);
        out.push(Example { given, attempt: action, text, expect, verdict, rule, source: at, place });
    }
    out
}

fn given_of(report: &mut Report, source: &str, text: &At<String>) -> Option<Given> {
    if let Some(duration) = text.value.strip_prefix("wait ") {
        let ns = duration_ns(duration.trim());
        if ns.is_none() {
            report.error("FB0140", &text.place, "this is no duration", "such as `wait 10m`");
        }
        return ns.map(Given::Wait);
    }
    if let Some(time) = text.value.strip_prefix("at ") {
        let ns = civil::parse(time.trim());
        if ns.is_none() {
            report.error("FB0140", &text.place, "this is no time", "such as `at 2026-12-24T18:00:00Z`, in UTC");
        }
        return ns.map(Given::At);
    }
    if let Some((times, event)) = text.value.split_once(" times ") {
        let count = times.trim().parse::<u32>().ok().filter(|n| (1..=TIMES_MAX).contains(n));
        if count.is_none() {
            let hint = format!("such as `500 times did fs.delete(path: 'a')`, at most {TIMES_MAX}");
            report.error("FB0140", &text.place, "this is no number of times", hint);
        }
        return match parsed(event.trim()) {
            Ok((phase, action, ok, outcome)) => {
                Some(Given::Times(count?, Box::new(Given::Event(phase, Box::new(action), ok, outcome))))
            }
            Err(fault) => {
                tell(report, source, text, fault);
                None
            }
        };
    }
    match parsed(&text.value) {
        Ok((phase, action, ok, outcome)) => Some(Given::Event(phase, Box::new(action), ok, outcome)),
        Err(fault) => {
            tell(report, source, text, fault);
            None
        }
    }
}

fn expectation(
    report: &mut Report,
    expect: &At<String>,
    names: &BTreeSet<String>,
) -> Option<(Verdict, Option<String>)> {
    let (word, rule) = match expect.value.split_once(' ') {
        Some((word, rule)) => (word, Some(rule.trim().to_owned())),
        None => (expect.value.as_str(), None),
    };
    let verdict = match word {
        "allow" => Verdict::Allow,
        "deny" => Verdict::Deny,
        "hold" => Verdict::Hold,
        "modify" => Verdict::Modify,
        _ => {
            let message = format!("`{}` is no expectation", clip(&expect.value));
            report.error("FB0140", &expect.place, message, "`allow`, `deny RULE`, `hold RULE` or `modify`");
            return None;
        }
    };
    if let Some(rule) = &rule
        && !names.contains(rule)
        && !OWN_REASONS.contains(&rule.as_str())
    {
        let hint = nearest(rule, names.iter().map(String::as_str).chain(OWN_REASONS.iter().copied()));
        report.error("FB0105", &expect.place, format!("no rule `{}`", clip(rule)), hint);
        return None;
    }
    Some((verdict, rule))
}

/// The phase, the action, whether it went well, and what its outcome carried.
fn parsed(text: &str) -> Result<(Phase, Action, bool, BTreeMap<String, Value>), Fault> {
    let Call { phase, verb: name, verb_span, args } = call(text)?;
    let Some(verb) = Verb::named(&name) else {
        let fault = Fault::new("FB0121", verb_span, format!("no verb `{}`", clip(&name)));
        return Err(Fault { hint: nearest(&name, verbs().map(Verb::name)), ..fault });
    };
    let spec = verb.spec();
    let mut resource = Resource::new(spec.resource);
    let mut attrs = Vec::new();
    let mut outcome = BTreeMap::new();
    let (mut ok, mut exit, mut agent, mut surface) = (None, None, String::new(), default_surface(verb));
    for (name, value, span) in args {
        let wrong = |message: String| Fault::new("FB0122", span.clone(), message);
        let is_outcome = phase == Phase::Result && spec.outcome.iter().any(|f| f.name == name && f.ty == value.ty());
        match (name.as_str(), &value) {
            ("ok", Value::Bool(b)) if phase == Phase::Result => ok = Some(*b),
            ("agent", Value::Str(text)) => agent.clone_from(text),
            ("surface", Value::Str(text)) => {
                surface = serde_json::from_value(serde_json::Value::String(text.clone()))
                    .map_err(|_| wrong(format!("no surface `{}`", clip(text))))?;
            }
            _ if is_outcome => {
                if let ("exit", Value::Long(code)) = (name.as_str(), &value) {
                    exit = Some(*code);
                }
                outcome.insert(name, value);
            }
            _ if spec.resource.fields().iter().any(|f| f.name == name) => {
                let value = absolute(spec.resource, &name, value);
                resource = resource.with(&name, value).map_err(|e| wrong(e.to_string()))?;
            }
            _ => attrs.push((name, value, span)),
        }
    }
    let whole = verb_span.start..text.len();
    let mut action = Action::new(&name, resource, surface).map_err(|e| Fault::new("FB0122", whole, e.to_string()))?;
    action.agent = agent.into();
    for (name, value, span) in attrs {
        let known: Vec<_> = fields_of(verb, phase).map(|f| f.name).collect();
        action.set(&name, value).map_err(|e| {
            let fault = Fault::new("FB0121", span, e.to_string());
            Fault { hint: nearest(&name, known.iter().copied()), ..fault }
        })?;
    }
    let ok = ok.unwrap_or_else(|| exit.unwrap_or_default() == 0);
    Ok((phase, action, ok, outcome))
}

/// The paths of an example's files are those of its session.
fn absolute(kind: ResourceKind, field: &str, value: Value) -> Value {
    let session = example_session();
    match (kind, field, &value) {
        (ResourceKind::File, "path", Value::Str(path)) if path.starts_with("~/") => {
            Value::Str(format!("{}{}", session.home, path.strip_prefix('~').unwrap_or_default()))
        }
        (ResourceKind::File, "path", Value::Str(path)) if !path.starts_with('/') => {
            let rel = path.strip_prefix("./").unwrap_or(path);
            Value::Str(if rel == "." { session.workspace } else { format!("{}/{rel}", session.workspace) })
        }
        _ => value,
    }
}

/// The surface by which a verb's actions usually come.
pub(crate) fn default_surface(verb: Verb) -> Surface {
    match verb.group() {
        "fs" => Surface::Fs,
        "process" | "dependency" => Surface::Exec,
        "net" => Surface::Net,
        "http" => Surface::Http,
        "tool" => Surface::Mcp,
        "data" => Surface::Sql,
        "git" | "pr" => Surface::Git,
        "deploy" => Surface::K8s,
        "model" => Surface::Model,
        _ => Surface::Sdk,
    }
}
