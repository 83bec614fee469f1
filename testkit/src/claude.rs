//! The command line and environment of an unmodified Claude Code against a scripted endpoint.
//!
//! What was found to be needed with version 2.1.197:
//! - `HOME` that it may write, `PATH`, `ANTHROPIC_BASE_URL`, and a key that it does not check (`ANTHROPIC_API_KEY`);
//! - the three variables that keep it from looking for updates and sending telemetry;
//! - tools allowed by a settings file. `--dangerously-skip-permissions` is refused to root; an allow list is not.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;

use crate::model_endpoint::ModelEndpoint;
use crate::repo::Repo;
use crate::user::User;

/// The version that `cargo xtask agents` pins.
pub const VERSION: &str = "2.1.197";

/// The variables that must reach the agent for a scripted run, and so must be passed by a charter's `[env]`.
pub const ENV_NAMES: [&str; 5] = [
    "ANTHROPIC_BASE_URL",
    "ANTHROPIC_API_KEY",
    "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC",
    "DISABLE_TELEMETRY",
    "DISABLE_AUTOUPDATER",
];

/// An installed Claude Code.
#[derive(Debug, Clone)]
pub struct Claude {
    program: PathBuf,
}

impl Claude {
    /// The one that `cargo xtask agents` installed, or why a test that needs it must be skipped.
    ///
    /// # Errors
    /// A sentence for the skipped test to print.
    pub fn find() -> Result<Self, String> {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let program = here.parent().unwrap_or(here).join(".agents/bin/claude");
        match program.canonicalize() {
            Ok(program) => Ok(Self { program }),
            Err(_) => Err(format!("claude {VERSION} is not installed: run `cargo xtask agents`")),
        }
    }

    /// The program itself: one native executable, no node behind it.
    pub fn program(&self) -> &Path {
        &self.program
    }
}

/// One run of the agent: what to execute, with which variables, where.
#[derive(Debug, Clone)]
pub struct Invocation {
    /// Program and arguments.
    pub argv: Vec<OsString>,
    /// Variables beside PATH, HOME, TERM and LANG.
    pub env: Vec<(&'static str, OsString)>,
    user: User,
    cwd: PathBuf,
    home: PathBuf,
}

impl Invocation {
    /// `claude -p PROMPT` in the repository's workspace as its owner, every tool of a script allowed without a question.
    ///
    /// # Errors
    /// When the settings file or a reachable copy of the program can't be written to the repository's scratch folder.
    pub fn new(claude: &Claude, endpoint: &ModelEndpoint, repo: &Repo, user: User, prompt: &str) -> io::Result<Self> {
        let tools = ["Bash", "Read", "Edit", "Write", "Glob", "Grep"];
        let settings = json!({"permissions": {"allow": tools}}).to_string();
        let program = user.reach(claude.program(), repo.scratch())?;
        let flags = ["-p", prompt, "--output-format", "stream-json", "--verbose", "--settings", &settings];
        let argv = std::iter::once(program.into_os_string()).chain(flags.map(OsString::from)).collect();
        let values = [&endpoint.url(), "scripted-no-key", "1", "1", "1"];
        let env = ENV_NAMES.into_iter().zip(values.map(OsString::from)).collect();
        Ok(Self { argv, env, user, cwd: repo.workspace(), home: repo.home() })
    }

    /// The command without Flyball: the baseline.
    pub fn plain(&self) -> Command {
        self.command(&[])
    }

    /// The command under Flyball: `FLYBALL [flags before run] run [FLAGS] -- claude …`; `words` are all before `--`.
    pub fn governed(&self, words: &[&OsStr]) -> Command {
        let mut front: Vec<&OsStr> = words.to_vec();
        front.push(OsStr::new("--"));
        self.command(&front)
    }

    fn command(&self, front: &[&OsStr]) -> Command {
        let words: Vec<&OsStr> = front.iter().copied().chain(self.argv.iter().map(OsString::as_os_str)).collect();
        let (program, rest) =
            words.split_first().map_or((OsStr::new("false"), &[][..]), |(first, rest)| (*first, rest));
        let mut command = self.user.command(program, &self.home);
        command.args(rest).envs(self.env.iter().map(|(name, value)| (*name, value))).current_dir(&self.cwd);
        command
    }
}
