//! `flyball hook install` and `uninstall`: a harness's settings with the hooks in them, and as they were.

use crate::args::{HookHarness, HookInstall, HookSettings};
use crate::failure::Failure;
use crate::output::Output;
use crate::place::{Place, short};
use flyball_gateway::hook::install::trust::{Trust, trust};
use flyball_gateway::hook::install::{self, Called};
use flyball_intent::Harness;
use flyball_runtime::door::settings::{self, SettingsFileError, Uninstalled};
use flyball_runtime::exports::live;
use serde_json::json;
use std::path::{Path, PathBuf};

pub fn install(out: Output, place: &Place, args: HookInstall) -> Result<(), Failure> {
    let harness = harness(args.settings.harness);
    let file = file(args.settings)?;
    let home = place.home()?;
    let program = std::env::current_exe().map_err(|e| failed(&format!("this program's own path is not known: {e}")))?;
    let ledger = home.dir();
    let words = [program.as_path(), Path::new("--ledger"), ledger];
    let program = words.map(|word| quoted(&word.to_string_lossy())).join(" ");
    // What `env` says is looked up when a session begins.
    if let Some(url) = args.event.otlp.as_deref().filter(|url| *url != "env") {
        live::collector(url).map_err(|why| failed(&format!("`--otlp {url}`: {why}")))?;
    }
    let called = Called { program, within: args.event.within, otlp: args.event.otlp.as_deref().map(quoted) };
    settings::install(&home, harness, &file, &called).map_err(fail)?;
    let untrusted = if harness == Harness::Codex { untrusted(&file) } else { 0 };
    if out.is_json {
        out.json(&json!({"harness": harness.name(), "file": file, "untrusted": untrusted}));
        return Ok(());
    }
    out.line(&format!("{} has flyball's hooks; restart {} for them", short(&file), harness.name()));
    if untrusted > 0 {
        out.warn(&format!("{HOW_TO_TRUST}; until then {untrusted} of them are left out without a word"));
    }
    Ok(())
}

pub fn uninstall(out: Output, place: &Place, args: HookSettings) -> Result<(), Failure> {
    let harness = harness(args.harness);
    let file = file(args)?;
    let done = settings::uninstall(&place.home()?, harness, &file).map_err(fail)?;
    let name = short(&file);
    let (said, text) = match done {
        Uninstalled::Restored => ("restored", format!("{name} is what it was, byte for byte")),
        Uninstalled::Removed => ("removed", format!("{name} is gone again: there was none before")),
        Uninstalled::TakenOut(n) => {
            ("taken-out", format!("{name} was changed since: {n} entries of flyball's were taken out, the rest stays"))
        }
        Uninstalled::Nothing => ("nothing", format!("{name} has no hooks of flyball's")),
    };
    match out.is_json {
        true => out.json(&json!({"harness": harness.name(), "file": file, "done": said})),
        false => out.line(&text),
    }
    Ok(())
}

/// How a person trusts Codex's hooks; nobody else can, and flyball does not.
pub const HOW_TO_TRUST: &str =
    "codex calls no hook that you have not trusted: start `codex` and trust them at `/hooks`";

/// How many of Flyball's entries in that file Codex does not call.
pub fn untrusted(file: &Path) -> usize {
    let Ok(Some(hooks)) = settings::read(file) else { return 0 };
    let config = codex_home().and_then(|home| std::fs::read_to_string(home.join("config.toml")).ok());
    // Codex names a file by what its links lead to.
    let file = file.canonicalize().unwrap_or_else(|_| file.to_path_buf());
    let told = trust(&file.to_string_lossy(), &hooks, &config.unwrap_or_default()).unwrap_or_default();
    told.iter().filter(|(_, trust)| *trust != Trust::Trusted).count()
}

/// Where each harness may have its settings from here: the user's and the project's.
pub fn places() -> Vec<(Harness, PathBuf)> {
    let sides = Harness::ALL.into_iter().flat_map(|harness| [true, false].map(|is_user| (harness, is_user)));
    sides.filter_map(|(harness, is_user)| Some((harness, file_of(harness, is_user).ok()?))).collect()
}

fn harness(named: HookHarness) -> Harness {
    match named {
        HookHarness::Claude => Harness::Claude,
        HookHarness::Codex => Harness::Codex,
        HookHarness::Gemini => Harness::Gemini,
        HookHarness::Cursor => Harness::Cursor,
    }
}

fn file(args: HookSettings) -> Result<PathBuf, Failure> {
    file_of(harness(args.harness), args.user)
}

fn file_of(harness: Harness, is_user: bool) -> Result<PathBuf, Failure> {
    let path = install::path(harness);
    if !is_user {
        return Ok(project()?.join(path));
    }
    let set = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|dir| dir.is_absolute());
    // Two of them let the user name another folder.
    let own = match harness {
        Harness::Claude => set("CLAUDE_CONFIG_DIR"),
        Harness::Codex => set("CODEX_HOME"),
        Harness::Gemini | Harness::Cursor => None,
    };
    let name = Path::new(path).file_name().unwrap_or_default();
    let in_home = || set("HOME").map(|home| home.join(path));
    own.map(|dir| dir.join(name)).or_else(in_home).ok_or_else(|| failed("`$HOME` names no folder"))
}

fn codex_home() -> Option<PathBuf> {
    file_of(Harness::Codex, true).ok()?.parent().map(Path::to_path_buf)
}

/// The nearest folder upwards that has a charter or a repository; else this one.
fn project() -> Result<PathBuf, Failure> {
    let here = std::env::current_dir().map_err(|e| failed(&format!("this folder can't be used: {e}")))?;
    let has = |folder: &Path| [".flyball", ".git"].iter().any(|name| folder.join(name).symlink_metadata().is_ok());
    let found = here.ancestors().find(|folder| has(folder)).map(Path::to_path_buf);
    Ok(found.unwrap_or(here))
}

fn quoted(word: &str) -> String {
    let is_plain = !word.is_empty() && word.bytes().all(|b| b.is_ascii_alphanumeric() || b"/._-+".contains(&b));
    if is_plain { word.to_owned() } else { format!("'{}'", word.replace('\'', "'\\''")) }
}

fn failed(message: &str) -> Failure {
    Failure::user("FB0538", message)
}

fn fail(error: SettingsFileError) -> Failure {
    failed(&error.to_string()).hint("nothing was changed; `flyball explain FB0538` says what is written there")
}
