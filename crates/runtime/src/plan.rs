//! From options and charter to what the sandbox builds: paths, environment, limits, and what stays uncovered.

use crate::door::own_tools;
use crate::home::Home;
use crate::hooked::{self, Hooking};
use crate::inbox;
use crate::lent::Lent;
use crate::outward::TRUST_VARIABLES;
use crate::scratch::ScratchError;
use crate::supervisor::RunOptions;
use crate::terminal;
use flyball_intent::McpOwn;
use flyball_kernel::analysis::{Doors, SessionKind};
use flyball_kernel::{Charter, HomeKeep, RuleEffect, Session, Sources};
use flyball_sandbox::workspace::Layers;
use flyball_sandbox::{Limits, Network, Spec, Terminal, Weakness};
use serde_json::{Value as Json, json};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

/// Where well-known programs keep what must not be read by an agent, below home. Hidden unless the charter exposes them.
pub(crate) const CREDENTIALS: &[&str] = &[
    ".ssh",
    ".gnupg",
    ".aws",
    ".azure",
    ".config/gcloud",
    ".config/gh",
    ".config/hub",
    ".config/op",
    ".docker/config.json",
    ".kube",
    ".netrc",
    ".git-credentials",
    ".config/git/credentials",
    ".npmrc",
    ".yarnrc.yml",
    ".pypirc",
    ".cargo/credentials",
    ".cargo/credentials.toml",
    ".gem/credentials",
    ".terraform.d/credentials.tfrc.json",
    ".vault-token",
    ".password-store",
    ".local/share/keyrings",
    ".mozilla",
    ".config/google-chrome",
    ".config/chromium",
    ".bash_history",
    ".zsh_history",
];

/// What of the environment every program gets; a charter names the rest (`[env] pass`).
const ENVIRONMENT: &[&str] = &[
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "SHELL",
    "TERM",
    "COLORTERM",
    "NO_COLOR",
    "COLUMNS",
    "LINES",
    "LANG",
    "LANGUAGE",
    "TZ",
    "EDITOR",
    "PAGER",
];

/// What a session without namespaces does not hold, beside what every session does not.
const APART: &[&str] = &[
    "fs.read: names, sizes and times of files that can't be read, where their folder is known",
    "process: the machine's processes can be listed, with their arguments",
    "net: closed, whatever the charter says; the machine's interfaces can be listed",
];

/// What a run is made of, before anything is built.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub spec: Spec,
    pub name: String,
    pub agent: String,
    pub scratch: Vec<String>,
    pub uncovered: Vec<String>,
    /// Layers that the charter requires.
    pub require: Vec<String>,
    /// Whether the charter learns.
    pub learns: bool,
    /// Whether requests inside connections are ruled on.
    pub opens_http: bool,
    /// The harness's hooks.
    pub hooks: Option<Hooking>,
    /// What the charter says of its own servers' tools.
    pub own: McpOwn,
    /// Secrets that the broker puts in.
    pub lent: Lent,
}

/// The run can't be planned.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// The workspace can't be used.
    #[error("can't use `{}` as the workspace: {cause}", path.display())]
    Workspace {
        /// What was given.
        path: PathBuf,
        /// Why not.
        cause: String,
    },
    /// A layer was accepted as missing that the charter requires.
    #[error("`--accept-weaker {0}` was given, and the charter requires that layer (`[sandbox] require`)")]
    Required(String),
    /// A layer is missing that the charter requires, though a session could go on without.
    #[error("this machine has no `{0}` layer for this session, and the charter requires it (`[sandbox] require`)")]
    Lacking(String),
    /// Nothing to run.
    #[error("there is no command to run")]
    NoCommand,
    /// The user has no home folder.
    #[error("can't tell where your home is: `HOME` is not set to an existing folder")]
    NoHome,
    /// A scratch pattern is wrong.
    #[error(transparent)]
    Scratch(#[from] ScratchError),
}

pub(crate) fn plan(home: &Home, id: &str, options: &RunOptions, charter: &Charter) -> Result<Plan, PlanError> {
    let program = options.argv.first().ok_or(PlanError::NoCommand)?;
    let agent = Path::new(program).file_name().unwrap_or(program).to_string_lossy().into_owned();
    let workspace = workspace(&options.workspace)?;
    if home.dir().starts_with(&workspace) {
        let cause = format!("the ledger is inside it (`{}`); name another with --ledger", home.dir().display());
        return Err(PlanError::Workspace { path: workspace, cause });
    }
    let cwd = match &options.cwd {
        Some(dir) => dir.canonicalize().ok().filter(|d| d.starts_with(&workspace)).unwrap_or_else(|| workspace.clone()),
        None => workspace.clone(),
    };
    let user_home = std::env::var_os("HOME")
        .map(PathBuf::from)
        .and_then(|h| h.canonicalize().ok())
        .filter(|h| h.is_dir())
        .ok_or(PlanError::NoHome)?;
    let sandbox = charter.sandbox();
    // Whoever starts a run may be weaker than the default, never than the charter.
    if let Some(required) = options.accept_weaker.iter().map(weakness_name).find(|w| sandbox.require.contains(w)) {
        return Err(PlanError::Required(required));
    }
    let limits = charter.limits();
    let expand = |p: &String| expand(p, &workspace, &user_home);
    let expose: Vec<PathBuf> = sandbox.expose.iter().map(expand).collect();
    let mut hide = credentials(&user_home, &expose);
    hide.extend(sandbox.hide.iter().map(expand));
    hide.push(home.dir().to_path_buf());
    let programs = programs(program, &hide);
    let mut protect: Vec<PathBuf> = sandbox.protect.iter().map(expand).collect();
    protect.push(workspace.join(".flyball"));
    protect.extend(options.charter.iter().filter_map(|c| c.canonicalize().ok()).filter(|c| c.starts_with(&workspace)));
    protect.sort();
    protect.dedup();
    let terminal = if options.allow_pty && terminal::is_interactive() {
        let (rows, columns) = terminal::window();
        Terminal::Pty { rows, columns }
    } else {
        Terminal::Inherit
    };
    let opens_http = charter.http().opens && charter.mentions_network();
    let lent = Lent::new(charter, &user_home);
    hide.extend(lent.files.iter().cloned());
    let mut env = environment(charter.env_pass(), std::env::vars_os());
    env.retain(|(name, _)| !lent.withheld.iter().any(|withheld| name == withheld.as_str()));
    env.extend(lent.placeholders.iter().map(|(name, placeholder)| (name.into(), placeholder.into())));
    if opens_http {
        env.retain(|(name, _)| !TRUST_VARIABLES.iter().any(|variable| name == variable));
        env.extend(TRUST_VARIABLES.iter().map(|name| (name.into(), flyball_sandbox::TRUST.into())));
    }
    let is_set = |env: &[(OsString, OsString)], name: &str| env.iter().any(|(known, _)| known == name);
    for (name, value) in crate::rerun::STEADYING.iter().filter(|_| options.record) {
        if !is_set(&env, name) {
            env.push((name.into(), value.into()));
        }
    }
    let hooking = match options.hooks {
        true => hooked::hooking(&agent, &user_home, &env),
        false => Ok(None),
    };
    let unhooked = hooking.as_ref().err().map(|why| format!("hooks: the harness has none in this session: {why}"));
    let hooks = hooking.ok().flatten();
    let spec = Spec {
        hooks: hooks.as_ref().map(|hooks| hooks.door.clone()),
        argv: options.argv.clone(),
        env,
        cwd,
        session_dir: home.session(id),
        left: None,
        home_keep: (charter.home_keep() == HomeKeep::Agent).then(|| home.dir().join("homes").join(&agent)),
        home: user_home,
        hide,
        protect,
        expose,
        programs,
        limits: limits_of(limits),
        terminal,
        network: if charter.mentions_network() { Network::Brokered } else { Network::Closed },
        // Who reads what is labelled must be known: those reads are decided, others pass unseen.
        lower: None,
        gives: options.record,
        mediate_reads: sandbox.mediate_reads || charter.labels_files(),
        accept_weaker: options.accept_weaker.clone(),
        workspace,
    };
    Ok(Plan {
        name: options.name.clone().unwrap_or_else(|| agent.clone()),
        scratch: sandbox.scratch.clone(),
        uncovered: uncovered(&spec, charter, opens_http).into_iter().chain(unhooked).collect(),
        opens_http,
        hooks,
        lent,
        own: own_tools(charter),
        require: sandbox.require.clone(),
        learns: options.learn,
        agent,
        spec,
    })
}

impl Plan {
    /// The overlay's layers on the host.
    pub(crate) fn layers(&self) -> Layers {
        layers(&self.spec.session_dir, &self.spec.workspace)
    }

    /// What the kernel must know of the session.
    pub(crate) fn kernel_session(&self) -> Session {
        Session {
            workspace: self.spec.workspace.to_string_lossy().into_owned(),
            home: self.spec.home.to_string_lossy().into_owned(),
            agent: self.agent.clone(),
        }
    }

    /// What a learning charter goes on protecting: the charter, the ledger, credentials, what the charter hides.
    pub(crate) fn kept(&self) -> Vec<String> {
        self.spec.hide.iter().chain(&self.spec.protect).map(|p| crate::translate::text(p)).collect()
    }

    /// What is not covered for want of these layers as well.
    pub(crate) fn without(&mut self, weaker: &[String]) {
        if weaker.iter().any(|layer| layer == "namespaces") {
            self.uncovered.extend(APART.iter().map(|&text| text.to_owned()));
            if self.hooks.take().is_some() {
                self.uncovered.push("hooks: the harness has none in a session without namespaces".to_owned());
            }
        }
    }

    /// The first of these missing layers that the charter requires, as the error that it is.
    pub(crate) fn lacking(&self, weaker: &[String]) -> Option<PlanError> {
        weaker.iter().find(|layer| self.require.contains(layer)).cloned().map(PlanError::Lacking)
    }

    /// The body of the session's first entry. `weaker`: layers that are missing here.
    pub(crate) fn open_entry(&self, id: &str, digest: &str, sources: &Sources, weaker: &[String]) -> Json {
        let text = |s: &OsStr| crate::translate::lossless(s);
        json!({
            "session": id,
            "name": self.name,
            "agent": self.agent,
            "argv": self.spec.argv.iter().map(|a| text(a)).collect::<Vec<_>>(),
            "cwd": text(self.spec.cwd.as_os_str()),
            "workspace": text(self.spec.workspace.as_os_str()),
            "home": text(self.spec.home.as_os_str()),
            "session_dir": text(self.spec.session_dir.as_os_str()),
            "charter": { "digest": digest, "files": sources },
            "scratch": self.scratch,
            "environment": self.spec.env.iter().map(|(k, _)| text(k)).collect::<Vec<_>>(),
            "pid": rustix::process::getpid().as_raw_nonzero().get(),
            "accepted_weaker": self.spec.accept_weaker.iter().map(weakness_name).collect::<Vec<_>>(),
            "weaker": weaker,
            "uncovered": self.uncovered,
            "learning": self.learns,
            "kept": if self.learns { self.kept() } else { Vec::new() },
            "hooks": self.hooks.as_ref().map(|hooks| hooks.harness.name()),
            "version": env!("CARGO_PKG_VERSION"),
        })
    }
}

/// Where a session's overlay lies.
pub(crate) fn layers(session_dir: &Path, workspace: &Path) -> Layers {
    let first = session_dir.join(crate::rerun::FIRST);
    let lower = if first.is_dir() { first } else { workspace.to_path_buf() };
    Layers::new(lower, session_dir.join("workspace/upper"))
}

/// A weakness by the name that `--accept-weaker` takes.
pub(crate) fn weakness_name(weakness: &Weakness) -> String {
    serde_json::to_value(weakness).ok().and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default()
}

fn workspace(path: &Path) -> Result<PathBuf, PlanError> {
    let fail = |cause: String| PlanError::Workspace { path: path.to_path_buf(), cause };
    let found = path.canonicalize().map_err(|e| fail(e.to_string()))?;
    if !found.is_dir() {
        return Err(fail("it is not a folder".into()));
    }
    if found.parent().is_none() {
        return Err(fail("the whole system can't be one; name a folder below it".into()));
    }
    std::fs::read_dir(&found).map_err(|e| fail(e.to_string()))?;
    Ok(found)
}

/// Where credentials lie below home, but for what the charter exposes by its own path. Of a folder with something exposed in it
/// the rest, as it stands now, stays hidden.
fn credentials(home: &Path, expose: &[PathBuf]) -> Vec<PathBuf> {
    let mut hidden = Vec::new();
    let mut left: Vec<PathBuf> = CREDENTIALS.iter().map(|p| home.join(p)).collect();
    while let Some(path) = left.pop() {
        if !expose.iter().any(|e| e.starts_with(&path)) {
            hidden.push(path);
        } else if !expose.contains(&path) {
            match std::fs::read_dir(&path) {
                Ok(entries) => left.extend(entries.filter_map(Result::ok).map(|e| e.path())),
                Err(_) => hidden.push(path),
            }
        }
    }
    hidden.sort();
    hidden
}

/// Where programs come from, beside the system's own places: the folders of `PATH`, and that of the program to run.
fn programs(program: &OsStr, hide: &[PathBuf]) -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut found: Vec<PathBuf> = std::env::split_paths(&path).filter(|p| p.is_absolute()).collect();
    let named = Path::new(program);
    let file = if named.components().count() > 1 {
        named.canonicalize().ok()
    } else {
        found.iter().find_map(|dir| dir.join(named).canonicalize().ok())
    };
    found.extend(file.as_deref().and_then(Path::parent).map(Path::to_path_buf));
    let mut found: Vec<PathBuf> = found.iter().filter_map(|p| p.canonicalize().ok()).filter(|p| p.is_dir()).collect();
    found.retain(|p| p.parent().is_some() && !hide.iter().any(|h| p.starts_with(h) || h.starts_with(p)));
    found.sort();
    found.dedup();
    found
}

fn expand(path: &str, workspace: &Path, home: &Path) -> PathBuf {
    match path.strip_prefix("~/") {
        Some(rest) => home.join(rest),
        None if path == "~" => home.to_path_buf(),
        None => workspace.join(path),
    }
}

/// The inner environment: the fixed list, locale, and what the charter passes. A name that the charter does not spell
/// out in full can't bring a secret in.
fn environment(pass: &[String], all: impl Iterator<Item = (OsString, OsString)>) -> Vec<(OsString, OsString)> {
    let passed = |name: &str| {
        ENVIRONMENT.contains(&name)
            || name.starts_with("LC_")
            || pass.iter().any(|p| match p.strip_suffix('*') {
                Some(prefix) => name.starts_with(prefix) && !looks_secret(name),
                None => p == name,
            })
    };
    let mut env: Vec<_> = all.filter(|(name, _)| name.to_str().is_some_and(passed)).collect();
    env.push(("FLYBALL".into(), "1".into()));
    env.push((inbox::VARIABLE.into(), flyball_sandbox::INBOX.into()));
    env
}

pub(crate) fn looks_secret(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    ["KEY", "TOKEN", "SECRET", "PASSWORD", "PASSWD", "CREDENTIAL", "AUTH"].iter().any(|w| name.contains(w))
}

/// What this run does not mediate, in words: shown, never papered over.
fn uncovered(spec: &Spec, charter: &Charter, opens_http: bool) -> Vec<String> {
    let all_reads = charter.sandbox().mediate_reads;
    let mut out = Vec::new();
    if !spec.mediate_reads {
        out.push("fs.read: decided by what is visible, not one by one".to_owned());
    } else if !all_reads {
        out.push("fs.read: decided one by one only of what is labelled".to_owned());
    }
    if !opens_http {
        out.push("http: requests inside an allowed connection".to_owned());
    }
    let unread = if opens_http { "mcp, sql" } else { "mcp, sql, model" };
    out.push(format!("{unread}: no gateway in this session"));
    let doors = Doors { has_hooks: spec.hooks.is_some(), ..Doors::of(SessionKind::Run) };
    let forbids = charter.rules().iter().filter(|rule| rule.effect == RuleEffect::Forbid);
    let idle: Vec<String> = forbids
        .filter(|rule| !doors.brings_any(rule, charter))
        .map(|rule| format!("{} ({})", rule.id, rule.verbs.join(", ")))
        .collect();
    if !idle.is_empty() {
        let more = idle.len().saturating_sub(IDLE_RULES_MAX);
        let rules = idle.into_iter().take(IDLE_RULES_MAX).collect::<Vec<_>>().join(", ");
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        out.push(format!("rules whose actions nothing here brings to them: {rules}{more}"));
    }
    out
}

/// Rules that are named to people at the start.
const IDLE_RULES_MAX: usize = 12;

/// A charter's limits, as the sandbox takes them.
pub(crate) fn limits_of(limits: &flyball_kernel::Limits) -> Limits {
    Limits {
        pids_max: limits.pids_max,
        memory_bytes_max: limits.memory_bytes_max,
        cpu_percent_max: limits.cpu_percent_max,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
    use super::*;

    #[test]
    fn what_is_exposed_uncovers_nothing_beside_it() {
        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(home.path().join(".ssh/keys")).unwrap();
        for file in [".ssh/known_hosts", ".ssh/id_ed25519", ".ssh/keys/a", ".ssh/keys/b"] {
            std::fs::write(home.path().join(file), "").unwrap();
        }
        let hidden = |expose: &[&str]| {
            let expose: Vec<PathBuf> = expose.iter().map(|e| home.path().join(e)).collect();
            let all = credentials(home.path(), &expose);
            let all = all.iter().map(|p| p.strip_prefix(home.path()).unwrap().display().to_string());
            all.filter(|p| p.starts_with(".ssh") || p.starts_with(".cargo/")).collect::<Vec<_>>()
        };
        assert_eq!(hidden(&[]), [".cargo/credentials", ".cargo/credentials.toml", ".ssh"]);
        assert_eq!(hidden(&[".ssh"]), [".cargo/credentials", ".cargo/credentials.toml"]);
        assert_eq!(hidden(&[".cargo", ".ssh/known_hosts"])[2..], [".ssh/id_ed25519", ".ssh/keys"]);
        assert_eq!(hidden(&[".ssh/keys/a"])[2..], [".ssh/id_ed25519", ".ssh/keys/b", ".ssh/known_hosts"]);
        assert_eq!(hidden(&["", ".ssh"]), [".cargo/credentials", ".cargo/credentials.toml"]);
    }

    #[test]
    fn secrets_stay_outside_unless_spelled_out() {
        let all = ["PATH", "LC_ALL", "AWS_SECRET_ACCESS_KEY", "MY_TOKEN", "MY_MODE", "ANTHROPIC_API_KEY", "LD_PRELOAD"]
            .map(|n| (OsString::from(n), OsString::from("v")));
        let names = |pass: &[&str]| {
            let pass: Vec<String> = pass.iter().map(|s| (*s).to_owned()).collect();
            let env = environment(&pass, all.clone().into_iter());
            env.into_iter().filter_map(|(n, _)| n.into_string().ok()).collect::<Vec<_>>()
        };
        assert_eq!(names(&[]), ["PATH", "LC_ALL", "FLYBALL", "FLYBALL_INBOX"]);
        assert_eq!(
            names(&["MY_*", "ANTHROPIC_API_KEY"]),
            ["PATH", "LC_ALL", "MY_MODE", "ANTHROPIC_API_KEY", "FLYBALL", "FLYBALL_INBOX"]
        );
    }
}
