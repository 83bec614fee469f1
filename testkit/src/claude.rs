//! The command line and environment of an unmodified Claude Code against a scripted endpoint.
//!
//! What was found to be needed with version 2.1.197:
//! - `HOME` that it may write, and `PATH`;
//! - the endpoint and a key that nobody checks. Both can stand in the `env` of a settings file as well as in the
//!   environment; here they do, so that a run needs nothing passed through a sandbox;
//! - `CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC`, or it looks for updates and sends telemetry;
//! - tools allowed by a settings file. `--dangerously-skip-permissions` is refused to root unless `IS_SANDBOX=1`;
//!   an allow list works for root and for an ordinary user alike.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::model_endpoint::ModelEndpoint;
use crate::repo::Repo;
use crate::user::User;

/// The version that `cargo xtask agents` pins.
pub const VERSION: &str = "2.1.197";

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

/// One run of the agent: what to execute, as whom, where. Its environment is PATH, HOME, TERM and LANG.
#[derive(Debug, Clone)]
pub struct Invocation {
    /// Program and arguments.
    pub argv: Vec<OsString>,
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
        let program = user.reach(claude.program(), repo.scratch())?;
        let settings = settings(endpoint).to_string();
        let flags = ["-p", prompt, "--output-format", "stream-json", "--verbose", "--settings", &settings];
        let argv = std::iter::once(program.into_os_string()).chain(flags.map(OsString::from)).collect();
        Ok(Self { argv, user, cwd: repo.workspace(), home: repo.home() })
    }

    /// The command without Flyball: the baseline.
    pub fn plain(&self) -> Command {
        self.command(&[])
    }

    /// The command under Flyball: `words` are all that stands before `--`, as in `flyball --ledger DIR run --json`.
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
        command.args(rest).current_dir(&self.cwd);
        command
    }
}

fn settings(endpoint: &ModelEndpoint) -> Value {
    json!({
        "permissions": {"allow": ["Bash", "Read", "Edit", "Write", "Glob", "Grep"]},
        "env": {
            "ANTHROPIC_BASE_URL": endpoint.url(),
            "ANTHROPIC_API_KEY": "scripted-no-key",
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
            "DISABLE_TELEMETRY": "1",
            "DISABLE_AUTOUPDATER": "1",
        },
    })
}
