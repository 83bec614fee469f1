//! The sections of `charter.toml` that only set values: owners, sandbox, limits, environment, consequence.

use super::people::{self, People};
use super::report::{At, Place, Report, clip, nearest};
use super::requests;
use super::table::{Keys, integer, size_bytes};
use crate::action::Resource;
use crate::vocabulary::{Consequence, ResourceKind, Reversibility, Verb, verbs};
use globset::{GlobBuilder, GlobMatcher};
use std::collections::BTreeMap;

/// What becomes of an action that no rule speaks of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DefaultVerdict {
    /// It is refused.
    #[default]
    Deny,
    /// It is let through.
    Allow,
}

/// Somebody who answers for rules or is asked: a name with contacts such as `user:alice` or `alice@corp`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Owner {
    /// How they are known and reached.
    pub contacts: Vec<String>,
}

/// What becomes of the home's upper layer at the session's end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HomeKeep {
    /// It is thrown away.
    #[default]
    Session,
    /// The same agent's next session finds it again.
    Agent,
}

/// `[sandbox]`: paths as written; `~` is the user's home, relative ones are below the workspace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SandboxSettings {
    /// Paths that read as absent inside.
    pub hide: Vec<String>,
    /// Further host paths that are readable inside.
    pub expose: Vec<String>,
    /// Paths relative to the workspace that are read-only inside.
    pub protect: Vec<String>,
    /// Patterns (relative to the workspace, `~/…`, or absolute): writable inside, and not recorded file by file.
    pub scratch: Vec<String>,
    /// Whether opens for reading are decided as well.
    pub mediate_reads: bool,
    /// Layers that the run must have.
    pub require: Vec<String>,
}

/// `[http]`: what becomes of HTTP inside the connections that a session's program opens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HttpSettings {
    /// Whether each request is ruled on, TLS opened where it must be; else a connection is, and no more. Where the charter does not
    /// say: whether it permits any.
    pub opens: bool,
    /// Hosts whose TLS stays closed to Flyball, as `host` or `*.domain`.
    pub pass: Vec<String>,
    /// What rules see of requests beside method, host and path.
    pub reads: Vec<super::RequestReading>,
}

/// `[limits]`; `None` is no limit of the charter's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Processes and threads.
    pub pids_max: Option<u64>,
    /// Memory, bytes.
    pub memory_bytes_max: Option<u64>,
    /// CPU, percent of one core.
    pub cpu_percent_max: Option<u64>,
}

/// A row of `[[consequence]]`.
#[derive(Clone, Debug)]
pub(crate) struct ConsequenceRow {
    verbs: Vec<Verb>,
    place: Option<GlobMatcher>,
    is: Option<Consequence>,
    reversibility: Option<Reversibility>,
}

impl ConsequenceRow {
    /// Whether each of its verbs weighs at least what it weighs by itself.
    pub fn only_raises(&self) -> bool {
        self.verbs.iter().map(|verb| verb.spec()).all(|spec| {
            self.is.is_none_or(|is| is >= spec.consequence)
                && self.reversibility.is_none_or(|is| is >= spec.reversibility)
        })
    }
}

pub(crate) fn owners(report: &mut Report, root: &mut Keys, people: &People) -> BTreeMap<String, Owner> {
    let Some(section) = root.table(report, "owners") else { return BTreeMap::new() };
    let mut out = BTreeMap::new();
    for (name, value) in section.entries() {
        let mut contacts: Vec<String> = Vec::new();
        for (place, said) in people::items(&section, value) {
            // Who has a name in [people] is meant with all their contacts.
            let found = match people.contacts(said.trim()) {
                Some(all) => all.to_vec(),
                None => people::read(report, &place, &name.value, said).into_iter().collect(),
            };
            for contact in found {
                if contacts.contains(&contact) {
                    let message = format!("`{}` stands twice in `{}`", clip(&contact), clip(&name.value));
                    report.error("FB0103", &place, message, "each person counts once");
                } else {
                    contacts.push(contact);
                }
            }
        }
        out.insert(name.value, Owner { contacts });
    }
    out
}

pub(crate) fn env_pass(report: &mut Report, root: &mut Keys) -> Vec<String> {
    let Some(mut section) = root.table(report, "env") else { return Vec::new() };
    let pass = texts(section.strs(report, "pass"));
    section.finish(report);
    pass
}

/// With what is said of `open`, if anything is.
pub(crate) fn http(report: &mut Report, root: &mut Keys) -> (HttpSettings, Option<bool>) {
    let Some(mut section) = root.table(report, "http") else { return Default::default() };
    let said = section.bool(report, "open").map(|open| open.value);
    let mut pass = Vec::new();
    for said in section.strs(report, "pass") {
        requests::is_host(report, &said);
        pass.push(said.value);
    }
    let reads = requests::rows(report, &mut section);
    section.finish(report);
    (HttpSettings { opens: said == Some(true), pass, reads }, said)
}

/// `[require] coverage`.
pub(crate) fn required(report: &mut Report, root: &mut Keys) -> Vec<Verb> {
    let Some(mut section) = root.table(report, "require") else { return Vec::new() };
    let named = section.strs(report, "coverage");
    section.finish(report);
    let mut verbs: Vec<Verb> = named.iter().flat_map(|name| verbs_of(report, name)).collect();
    verbs.sort();
    verbs.dedup();
    verbs
}

pub(crate) fn home(report: &mut Report, root: &mut Keys) -> HomeKeep {
    let Some(mut section) = root.table(report, "home") else { return HomeKeep::default() };
    let keep = section.choice(report, "keep", &["session", "agent"]);
    section.finish(report);
    match keep {
        Some(k) if k.value == "agent" => HomeKeep::Agent,
        _ => HomeKeep::Session,
    }
}

pub(crate) fn sandbox(report: &mut Report, root: &mut Keys) -> SandboxSettings {
    let Some(mut section) = root.table(report, "sandbox") else { return SandboxSettings::default() };
    let hide = section.strs(report, "hide");
    let hide = outside(report, hide);
    let expose = section.strs(report, "expose");
    let expose = outside(report, expose);
    let protect = section.strs(report, "protect");
    let protect = inside(report, protect);
    let scratch_globs = section.strs(report, "scratch");
    for pattern in &scratch_globs {
        glob(report, pattern, true);
    }
    let scratch = anywhere(report, scratch_globs);
    let mediate_reads = section.bool(report, "mediate_reads").is_some_and(|b| b.value);
    let mut require = Vec::new();
    let layers = ["namespaces", "overlay", "landlock", "mediation", "freezer", "limits", "exit-status"];
    for layer in section.strs(report, "require") {
        if layers.contains(&layer.value.as_str()) {
            require.push(layer.value);
        } else {
            let message = format!("no layer `{}` of the sandbox", clip(&layer.value));
            report.error("FB0105", &layer.place, message, nearest(&layer.value, layers));
        }
    }
    section.finish(report);
    SandboxSettings { hide, expose, protect, scratch, mediate_reads, require }
}

/// Paths of the host: absolute or below `~`.
fn outside(report: &mut Report, paths: Vec<At<String>>) -> Vec<String> {
    paths
        .into_iter()
        .filter_map(|path| {
            let ok = (path.value.starts_with('/') || path.value == "~" || path.value.starts_with("~/"))
                && !climbs(&path.value);
            if !ok {
                let message = format!("`{}` is no path of the host without `..`", clip(&path.value));
                report.error("FB0103", &path.place, message, "start it with `/` or `~/`");
            }
            ok.then_some(path.value)
        })
        .collect()
}

/// Paths of the workspace, of the home (`~/…`), or absolute.
fn anywhere(report: &mut Report, paths: Vec<At<String>>) -> Vec<String> {
    let (beyond, within): (Vec<_>, Vec<_>) = paths.into_iter().partition(|p| p.value.starts_with(['/', '~']));
    let mut all = inside(report, within);
    all.extend(outside(report, beyond));
    all
}

/// Paths relative to the workspace, that stay in it.
fn inside(report: &mut Report, paths: Vec<At<String>>) -> Vec<String> {
    paths
        .into_iter()
        .filter_map(|path| {
            let ok = !path.value.is_empty()
                && !path.value.starts_with('/')
                && !path.value.starts_with('~')
                && !climbs(&path.value);
            if !ok {
                let message = format!("`{}` is no path below the workspace", clip(&path.value));
                report.error("FB0103", &path.place, message, "write it relative to the workspace, without `..`");
            }
            ok.then_some(path.value)
        })
        .collect()
}

fn climbs(path: &str) -> bool {
    path.split('/').any(|part| part == "..")
}

pub(crate) fn limits(report: &mut Report, root: &mut Keys) -> Limits {
    let Some(mut section) = root.table(report, "limits") else { return Limits::default() };
    let pids = section.int(report, "pids");
    let pids_max = positive(report, pids);
    let memory_bytes_max = section.raw("memory").and_then(|v| {
        let place = Place::new(&section.place.file, v.span());
        let bytes = match v.get_ref().as_str() {
            Some(text) => size_bytes(text),
            None => integer(v.get_ref()).and_then(|n| u64::try_from(n).ok()),
        };
        // Less than this can't start a program: a typing error, not a limit.
        let bytes = bytes.filter(|b| *b >= 1 << 20);
        if bytes.is_none() {
            report.error(
                "FB0103",
                &place,
                "`memory` is no size of at least 1MiB",
                "such as `\"2GiB\"` or `\"512MiB\"`",
            );
        }
        bytes
    });
    let cpu_percent_max = section.raw("cpu").and_then(|v| {
        let place = Place::new(&section.place.file, v.span());
        let percent = match v.get_ref().as_str() {
            Some(text) => text.strip_suffix('%').and_then(|n| n.parse::<u64>().ok()),
            None => integer(v.get_ref()).and_then(|n| u64::try_from(n).ok()).and_then(|n| n.checked_mul(100)),
        };
        let percent = percent.filter(|p| *p > 0);
        if percent.is_none() {
            report.error(
                "FB0103",
                &place,
                "`cpu` is no share of the processor",
                "whole cores (`2`) or percent of one (`\"150%\"`)",
            );
        }
        percent
    });
    section.finish(report);
    Limits { pids_max, memory_bytes_max, cpu_percent_max }
}

fn positive(report: &mut Report, number: Option<At<i64>>) -> Option<u64> {
    let number = number?;
    let value = u64::try_from(number.value).ok().filter(|n| *n > 0);
    if value.is_none() {
        report.error("FB0103", &number.place, format!("`{}` is to be above 0", number.value), ());
    }
    value
}

fn texts(list: Vec<At<String>>) -> Vec<String> {
    list.into_iter().map(|t| t.value).collect()
}

pub(crate) fn consequences(report: &mut Report, root: &mut Keys) -> Vec<ConsequenceRow> {
    let mut rows = Vec::new();
    for mut row in root.tables(report, "consequence") {
        let verbs = row.required_str(report, "action").map(|a| verbs_of(report, &a)).unwrap_or_default();
        let place = row.str(report, "in").and_then(|pattern| glob(report, &pattern, false));
        let is = row.choice(report, "is", &["low", "medium", "high", "critical"]).map(|c| match c.value.as_str() {
            "low" => Consequence::Low,
            "medium" => Consequence::Medium,
            "high" => Consequence::High,
            _ => Consequence::Critical,
        });
        let reversibility = row
            .choice(report, "reversibility", &["pure", "idempotent", "compensatable", "irreversible"])
            .map(|r| match r.value.as_str() {
                "pure" => Reversibility::Pure,
                "idempotent" => Reversibility::Idempotent,
                "compensatable" => Reversibility::Compensatable,
                _ => Reversibility::Irreversible,
            });
        if is.is_none() && reversibility.is_none() {
            report.error(
                "FB0104",
                &row.place,
                "[[consequence]] says nothing",
                "add `is = \"high\"` or `reversibility = \"…\"`",
            );
        }
        row.finish(report);
        rows.push(ConsequenceRow { verbs, place, is, reversibility });
    }
    rows
}

/// Consequence and reversibility of an action: the verb's own, replaced by the strictest that a matching row says.
pub(crate) fn weigh(rows: &[ConsequenceRow], verb: Verb, resource: &Resource) -> (Consequence, Reversibility) {
    let matching = || {
        rows.iter().filter(|row| {
            row.verbs.contains(&verb)
                && row.place.as_ref().is_none_or(|glob| {
                    place_fields(resource.kind()).iter().any(|field| glob.is_match(resource.str(field)))
                })
        })
    };
    let spec = verb.spec();
    let consequence = matching().filter_map(|row| row.is).max().unwrap_or(spec.consequence);
    let reversibility = matching().filter_map(|row| row.reversibility).max().unwrap_or(spec.reversibility);
    (consequence, reversibility)
}

/// Whether some row says something of that verb's actions.
pub(crate) fn weighs(rows: &[ConsequenceRow], verb: Verb) -> bool {
    rows.iter().any(|row| row.verbs.contains(&verb))
}

/// The fields that say where a resource is: what `in = "prod"` looks at.
fn place_fields(kind: ResourceKind) -> &'static [&'static str] {
    match kind {
        ResourceKind::File => &["path"],
        ResourceKind::Command => &["cwd"],
        ResourceKind::Endpoint | ResourceKind::Request => &["host"],
        ResourceKind::Tool => &["server"],
        ResourceKind::Table => &["database", "schema"],
        ResourceKind::Ref => &["remote", "name"],
        ResourceKind::PullRequest => &["repository"],
        ResourceKind::Target => &["cluster", "namespace"],
        ResourceKind::Package => &["ecosystem"],
        ResourceKind::Model => &["provider"],
        ResourceKind::Remediation => &["condition"],
        ResourceKind::Key => &["store"],
        ResourceKind::Agent | ResourceKind::Loop | ResourceKind::Quantity | ResourceKind::Label => &["name"],
        ResourceKind::Incident => &["id"],
    }
}

/// The verbs that `deploy.apply`, `deploy.*`, `deploy` or `*` names; none (and an error told) when there are none.
pub(crate) fn verbs_of(report: &mut Report, pattern: &At<String>) -> Vec<Verb> {
    let found = verbs_named(&pattern.value);
    if found.is_empty() {
        let said = clip(&pattern.value);
        let names = verbs().map(Verb::name);
        let groups = verbs().map(Verb::group).collect::<std::collections::BTreeSet<_>>();
        let hint = nearest(&said, names.chain(groups));
        report.error("FB0121", &pattern.place, format!("no verb `{said}`"), hint);
    }
    found
}

pub(crate) fn verbs_named(pattern: &str) -> Vec<Verb> {
    let group = pattern.strip_suffix(".*").unwrap_or(pattern);
    verbs().filter(|v| pattern == "*" || v.name() == pattern || v.group() == group).collect()
}

/// A compiled pattern; with `paths`, `*` stops at `/` and `**` crosses it.
pub(crate) fn glob(report: &mut Report, pattern: &At<String>, paths: bool) -> Option<GlobMatcher> {
    match glob_matcher(&pattern.value, paths) {
        Ok(matcher) => Some(matcher),
        Err(why) => {
            report.error("FB0103", &pattern.place, format!("`{}` is no pattern: {why}", clip(&pattern.value)), ());
            None
        }
    }
}

/// Longest pattern in bytes and most alternatives: a longer one is a mistake or an attack on the compiler's memory.
const PATTERN_BYTES_MAX: usize = 1024;

pub(crate) fn glob_matcher(pattern: &str, paths: bool) -> Result<GlobMatcher, String> {
    if pattern.len() > PATTERN_BYTES_MAX {
        return Err(format!("longer than {PATTERN_BYTES_MAX} bytes"));
    }
    if pattern.bytes().filter(|b| *b == b'{').count() > 16 {
        return Err("more than 16 alternatives in braces".to_owned());
    }
    let glob = GlobBuilder::new(pattern)
        .literal_separator(paths)
        .backslash_escape(true)
        .build()
        .map_err(|e| e.kind().to_string())?;
    Ok(glob.compile_matcher())
}
