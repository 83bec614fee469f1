//! A harness under `flyball run`, with its hooks: what a tool call would do is told before it does it, and what the program then
//! does is caused by it.
//!
//! Nothing is let through here. What the boundary brings to the rules by itself is only asked about ahead: if it would be refused or
//! people would be asked, that is done at the hook, where the model reads why and waits without a time limit of its tool's; if not, it is
//! ruled on when it happens. What the boundary does not see (a call of an MCP tool, the start of an agent) is ruled on here.

use crate::core::Core;
use crate::door;
use crate::door::pins::PinFiles;
use crate::git_context;
use crate::plan::Plan;
use crate::supervisor::Session;
use flyball_gateway::hook::install::{self, Called, SettingsError, trust};
use flyball_gateway::hook::{Around, Hooks, Reply, file};
use flyball_gateway::{Answered, Asking, Gate};
use flyball_intent::{Harness, McpOwn};
use flyball_kernel::{Action, Value, Verdict};
use flyball_sandbox::workspace::{self, Layers};
use flyball_sandbox::{HOOKS_PROGRAM, HOOKS_SOCKET_FILE, HooksDoor, hooks_settings_file};
use serde_json::Value as Json;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::Read;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How long people may take to answer, seconds: as `flyball hook install` has it.
const WITHIN: u64 = 570;
/// Attempts of tool calls that the boundary rules on again, whose end is to be told; of more, the oldest are forgotten.
const AGAIN_MAX: usize = 4096;
/// Events that are heard at once; of more, the hook is hung up on, which denies. A program inside can call the hook as often as it likes.
const AT_ONCE_MAX: usize = 32;

/// What a session's harness is to have.
#[derive(Clone, Debug)]
pub(crate) struct Hooking {
    pub harness: Harness,
    pub door: HooksDoor,
    /// What stands at each of the door's settings.
    settings: Vec<Vec<u8>>,
}

/// The hooks for a program, if it is a harness whose settings can be given in this way; else why not, if it is one at all.
pub(crate) fn hooking(program: &str, home: &Path, env: &[(OsString, OsString)]) -> Result<Option<Hooking>, String> {
    let (harness, own_folder) = match program {
        "claude" => (Harness::Claude, Some("CLAUDE_CONFIG_DIR")),
        "codex" => (Harness::Codex, Some("CODEX_HOME")),
        "gemini" => (Harness::Gemini, None),
        "cursor-agent" => (Harness::Cursor, None),
        _ => return Ok(None),
    };
    let usual = home.join(install::path(harness));
    let named = own_folder.and_then(|folder| env.iter().find(|(name, _)| name == folder));
    let settings = match (named, usual.file_name()) {
        (Some((_, folder)), Some(name)) => Path::new(folder).join(name),
        _ => usual,
    };
    if !settings.starts_with(home) {
        return Err(format!("{} is not below the home", settings.display()));
    }
    let exe = std::env::current_exe().ok().filter(|exe| exe.is_file());
    let program = exe.ok_or("this program's own file is not known")?;
    let called = Called { program: HOOKS_PROGRAM.to_owned(), within: WITHIN, otlp: None };
    let can_not = |path: &Path, error: &SettingsError| format!("{} can't be given hooks: {error}", path.display());
    let with = install::install(harness, now(&settings)?.as_deref(), &called);
    let hooks = with.map_err(|e| can_not(&settings, &e))?;
    let mut given = vec![(settings.clone(), hooks)];
    if harness == Harness::Codex {
        let config = settings.with_file_name("config.toml");
        let names =
            [&settings, &settings.canonicalize().unwrap_or_default()].map(|name| name.to_string_lossy().into_owned());
        let hooks = given.first().map(|(_, hooks)| hooks.as_slice()).unwrap_or_default();
        let trusting = trust::trusting(&names, hooks, &now(&config)?.unwrap_or_default());
        let trusting = trusting.map_err(|e| can_not(&config, &e))?;
        given.push((config, trusting.into_bytes()));
    }
    let (places, settings) = given.into_iter().unzip();
    Ok(Some(Hooking { harness, door: HooksDoor { program, settings: places }, settings }))
}

/// What a file of the harness's holds, if there is one.
fn now(path: &Path) -> Result<Option<Vec<u8>>, String> {
    let fail = |e: std::io::Error| format!("{}: {e}", path.display());
    match std::fs::File::open(path) {
        Ok(file) => {
            let mut bytes = Vec::new();
            file.take(install::SETTINGS_BYTES_MAX as u64 + 1).read_to_end(&mut bytes).map_err(fail)?;
            Ok(Some(bytes))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(fail(error)),
    }
}

impl Hooking {
    /// Makes what the sandbox shows inside, before it is built.
    pub fn prepare(&self, session_dir: &Path) -> std::io::Result<UnixListener> {
        for (n, settings) in self.settings.iter().enumerate() {
            std::fs::write(session_dir.join(hooks_settings_file(n)), settings)?;
        }
        crate::control::with_short_path(session_dir, HOOKS_SOCKET_FILE, |path| UnixListener::bind(path))
    }
}

/// What a session did not cover, as its last entry says it: harnesses that call no hook say nothing of that themselves.
pub(crate) fn uncovered_at_the_end(plan: &Plan, are_told: bool) -> Vec<String> {
    let silent = plan.hooks.as_ref().filter(|_| !are_told);
    let silent =
        silent.map(|hooks| format!("hooks: {} has called none of those that it was given", hooks.harness.name()));
    plan.uncovered.iter().cloned().chain(silent).collect()
}

/// Where a session's harness works.
pub(crate) struct Place {
    pub layers: Layers,
    pub workspace: PathBuf,
    pub home: PathBuf,
    pub opens_http: bool,
    /// What the charter says of its own servers' tools.
    pub own: McpOwn,
    /// The tools that are known of servers.
    pub pins: Arc<PinFiles>,
}

impl Place {
    pub fn of(plan: &Plan, tools: PinFiles) -> Self {
        Self {
            layers: plan.layers(),
            workspace: plan.spec.workspace.clone(),
            home: plan.spec.home.clone(),
            opens_http: plan.opens_http,
            own: plan.own.clone(),
            pins: Arc::new(tools),
        }
    }
}

/// Hears a harness's hooks until the session is over.
pub(crate) fn serve(session: Session, harness: Harness, place: Place, listener: UnixListener) -> std::io::Result<()> {
    let hooks = Arc::new(Hooks::new(harness).with_tools(place.own.clone()).with_pins(place.pins.clone()));
    let hooked = Arc::new(Hooked { session, place, again: Mutex::default() });
    let heard = Arc::new(AtomicUsize::new(0));
    std::thread::Builder::new().name("hooks".into()).spawn(move || {
        for stream in crate::control::connections(&listener).flatten() {
            if hooked.session.with(|_| ()).is_none() {
                return;
            }
            let Some(turn) = Turn::take(&heard) else { continue };
            let (hooked, hooks) = (Arc::clone(&hooked), Arc::clone(&hooks));
            let serve = move || {
                door::serve_hook(stream, |event, wait| hooked.handle(&hooks, event, wait));
                drop(turn);
            };
            let _ = std::thread::Builder::new().name("hook".into()).spawn(serve);
        }
    })?;
    Ok(())
}

/// One of the events that are heard at once.
struct Turn(Arc<AtomicUsize>);

impl Turn {
    fn take(heard: &Arc<AtomicUsize>) -> Option<Self> {
        let turn = Self(Arc::clone(heard));
        (heard.fetch_add(1, Ordering::SeqCst) < AT_ONCE_MAX).then_some(turn)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

struct Hooked {
    session: Session,
    place: Place,
    /// What is ruled on as it happens, by the entry that stands for it: whether that is an attempt, made at the hook because people
    /// had to be asked. How it ends is seen where it happens.
    again: Mutex<BTreeMap<u64, bool>>,
}

impl Hooked {
    fn handle(&self, hooks: &Hooks, event: &[u8], wait: Duration) -> Reply {
        let Place { layers, workspace, home, .. } = &self.place;
        let git = |cwd: &str| {
            let below = Path::new(cwd).strip_prefix(workspace).ok();
            let settings = || git_context::of_user(home);
            git_context::read(layers, below, &["git".to_owned()], settings)
        };
        let file = |path: &str| match Path::new(path).strip_prefix(workspace) {
            Ok(rel) => read(layers, rel),
            Err(_) => file(path),
        };
        let home = home.to_string_lossy();
        let around = Around { home: &home, wait, git: &git, file: &file, is_enforced: true };
        hooks.handle(event, self, &around)
    }

    /// Whether the boundary brings it to the rules as well, as it happens.
    fn comes_again(&self, core: &Core, action: &Action, is_command: bool) -> bool {
        match action.verb.group() {
            "fs" if action.verb.name() == "fs.read" => core.gate.decides_reading(action.resource.str("path")),
            "fs" | "process" | "net" | "dependency" => true,
            // By what a command's words say, or by what is in the connection.
            "http" => is_command || self.place.opens_http,
            "git" | "pr" | "deploy" => is_command,
            _ => false,
        }
    }
}

impl Hooked {
    /// A call goes on that does these; `told` is the entry that stands for those that nothing was asked of.
    fn goes_on(&self, actions: &[Action], again: &[bool], told: u64, attempts: Vec<u64>) -> Answered {
        let entry = attempts.first().copied().unwrap_or(told);
        self.session.with(|core| core.tool_calls.begin(entry, entry, actions));
        let mut known = self.again.lock().unwrap_or_else(PoisonError::into_inner);
        known.extend(attempts.iter().zip(again).filter(|(_, again)| **again).map(|(of, _)| (*of, *of != told)));
        while known.len() > AGAIN_MAX {
            known.pop_first();
        }
        Answered::Allowed { attempts }
    }
}

fn over() -> Answered {
    Answered::Denied { attempt: 0, text: "flyball: denied, the session is over".to_owned() }
}

impl Gate for Hooked {
    fn ask(&self, asking: Asking) -> Answered {
        let told = asking.cause.first().copied().unwrap_or_default();
        let is_command = asking.actions.iter().any(|action| action.verb.name() == "process.exec");
        let ahead = self.session.with(|core| {
            let again: Vec<bool> = asking.actions.iter().map(|a| self.comes_again(core, a, is_command)).collect();
            let passes = |verdict: &Verdict| match verdict {
                Verdict::Allow => true,
                // What can be changed is changed here: the boundary can only refuse it.
                Verdict::Modify => !asking.can_change,
                Verdict::Hold | Verdict::Deny => false,
            };
            let said = core.gate.would_say(&asking.actions);
            let is_asked = said
                .iter()
                .zip(&again)
                .any(|(verdict, again)| !passes(verdict) && (*again || *verdict == Verdict::Modify));
            (again, is_asked)
        });
        let Some((again, is_asked)) = ahead else { return over() };
        let asked: Vec<Action> = asking
            .actions
            .iter()
            .zip(&again)
            .filter(|(_, again)| is_asked || !**again)
            .map(|(a, _)| a.clone())
            .collect();
        let mut attempts = Vec::new();
        if !asked.is_empty() {
            // The form of a part of it is nothing that could be given to the whole.
            let can_change = asking.can_change && asked.len() == asking.actions.len();
            match self.session.ask(Asking { actions: asked, can_change, ..asking.clone() }) {
                Answered::Allowed { attempts: of } => attempts = of,
                refused => return refused,
            }
        }
        let mut of_asked = attempts.into_iter();
        let attempts: Vec<u64> =
            again.iter().map(|again| if is_asked || !again { of_asked.next().unwrap_or(told) } else { told }).collect();
        self.goes_on(&asking.actions, &again, told, attempts)
    }

    fn give(&self, attempt: u64, given: Option<&[Action]>) -> Answered {
        let actions = given.unwrap_or_default();
        match self.session.give(attempt, given) {
            Answered::Allowed { attempts } => {
                let is_command = actions.iter().any(|action| action.verb.name() == "process.exec");
                let again = self.session.with(|core| {
                    actions.iter().map(|action| self.comes_again(core, action, is_command)).collect::<Vec<_>>()
                });
                again.map_or_else(over, |again| self.goes_on(actions, &again, 0, attempts))
            }
            refused => refused,
        }
    }

    fn outcome(&self, attempts: &[u64], ok: Option<bool>, attrs: &BTreeMap<String, Value>) {
        for &of in attempts {
            let again = self.again.lock().unwrap_or_else(PoisonError::into_inner).get(&of).copied();
            self.session.with(|core| {
                core.tool_calls.end(of);
                match again {
                    None => core.outgoing_ended(&[of], ok, attrs),
                    // What a program could have told in the harness's name is no outcome.
                    Some(true) => core.outgoing_ended(&[of], None, attrs),
                    Some(false) => {}
                }
            });
        }
    }

    fn observe(&self, actor: &str, cause: &[u64], body: Json) -> Option<u64> {
        self.session.observe(actor, cause, body)
    }
}

/// A plain file of the workspace, as the session has it.
fn read(layers: &Layers, rel: &Path) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let file = workspace::read(layers, rel).ok()?;
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

/// Bytes of a file that is read to tell what an edit makes of it.
const FILE_BYTES_MAX: u64 = 8 * 1024 * 1024;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
    use super::*;

    #[test]
    fn so_many_are_heard_at_once_and_each_makes_room() {
        let heard = Arc::default();
        let mut turns: Vec<Turn> = std::iter::from_fn(|| Turn::take(&heard)).take(2 * AT_ONCE_MAX).collect();
        assert_eq!(turns.len(), AT_ONCE_MAX);
        assert!(Turn::take(&heard).is_none(), "a refused one leaves nothing behind");
        turns.pop();
        turns.extend(Turn::take(&heard));
        assert_eq!(turns.len(), AT_ONCE_MAX);
    }

    #[test]
    fn only_harnesses_whose_settings_are_their_users_get_hooks() {
        let home = tempfile::tempdir().unwrap();
        let of = |program: &str, env: &[(OsString, OsString)]| hooking(program, home.path(), env);
        assert!(of("sh", &[]).unwrap().is_none());
        let claude = of("claude", &[]).unwrap().unwrap();
        assert_eq!(claude.door.settings, [home.path().join(".claude/settings.json")]);
        assert!(String::from_utf8_lossy(&claude.settings[0]).contains("/.flyball/flyball hook claude"));
        let elsewhere = [(OsString::from("CLAUDE_CONFIG_DIR"), OsString::from("/etc/claude"))];
        assert!(of("claude", &elsewhere).unwrap_err().contains("not below the home"));
        std::fs::create_dir(home.path().join(".gemini")).unwrap();
        std::fs::write(home.path().join(".gemini/settings.json"), "{ // mine\n}").unwrap();
        assert!(of("gemini", &[]).unwrap_err().contains("no JSON"));
        let cursor = of("cursor-agent", &[]).unwrap().unwrap();
        assert_eq!(cursor.door.settings, [home.path().join(".cursor/hooks.json")]);
    }

    #[test]
    fn codex_is_given_hooks_that_it_trusts_unless_its_user_wants_none() {
        let home = tempfile::tempdir().unwrap();
        let of = || hooking("codex", home.path(), &[]);
        let trusted = |codex: &Hooking| {
            let file = codex.door.settings[0].to_string_lossy().into_owned();
            let config = String::from_utf8(codex.settings[1].clone()).unwrap();
            let told = trust::trust(&file, &codex.settings[0], &config).unwrap();
            assert!(!told.is_empty());
            (told.iter().all(|(_, trust)| *trust == trust::Trust::Trusted), config)
        };
        let first = of().unwrap().unwrap();
        assert_eq!(first.door.settings[1], home.path().join(".codex/config.toml"));
        assert!(trusted(&first).0);
        // What the user has there stays, and an older trust in the same place is no matter.
        std::fs::create_dir(home.path().join(".codex")).unwrap();
        let key = format!("{}:pre_tool_use:0:0", first.door.settings[0].display());
        let own = format!(
            "model = \"m\"\n[hooks.state.\"{key}\"]\nenabled = false\n[hooks.state.\"x\"]\ntrusted_hash = \"y\"\n"
        );
        std::fs::write(home.path().join(".codex/config.toml"), own).unwrap();
        let (is_trusted, config) = trusted(&of().unwrap().unwrap());
        let config: toml::Table = config.parse().unwrap();
        assert!(is_trusted && config["model"].as_str() == Some("m") && config["hooks"]["state"].get("x").is_some());
        for (own, why) in
            [("[features]\nhooks = false", "features.hooks"), ("hooks = 1", "not a table"), ("[", "no TOML")]
        {
            std::fs::write(home.path().join(".codex/config.toml"), own).unwrap();
            assert!(of().unwrap_err().contains(why), "{own}");
        }
    }
}
