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

/// The name that a governed program has for the host's own loopback, where the endpoint listens: `127.0.0.1` is its own
/// there. Which is judged like any other host, so the charter must let the agent connect to it.
pub const HOST_INSIDE: &str = "host.internal";

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
    program: PathBuf,
    prompt: String,
    port: u16,
    user: User,
    cwd: PathBuf,
    home: PathBuf,
}

impl Invocation {
    /// `claude -p PROMPT` in the repository's workspace as its owner, every tool of a script allowed without a question.
    ///
    /// # Errors
    /// When a reachable copy of the program can't be made in the repository's scratch folder.
    pub fn new(claude: &Claude, endpoint: &ModelEndpoint, repo: &Repo, user: User, prompt: &str) -> io::Result<Self> {
        Ok(Self {
            program: user.reach(claude.program(), repo.scratch())?,
            prompt: prompt.to_owned(),
            port: endpoint.port(),
            user,
            cwd: repo.workspace(),
            home: repo.home(),
        })
    }

    /// The command without Flyball: the baseline.
    pub fn plain(&self) -> Command {
        self.command(&self.argv("127.0.0.1"))
    }

    /// The command under Flyball: `words` are all that stands before `--`, as in `flyball --ledger DIR run --json`.
    pub fn governed(&self, words: &[&OsStr]) -> Command {
        let front = words.iter().copied().chain([OsStr::new("--")]).map(OsString::from);
        self.command(&front.chain(self.argv(HOST_INSIDE)).collect::<Vec<_>>())
    }

    /// Program and arguments, for an endpoint on that host.
    pub fn argv(&self, host: &str) -> Vec<OsString> {
        let settings = settings(host, self.port).to_string();
        let flags = ["-p", &self.prompt, "--output-format", "stream-json", "--verbose", "--settings", &settings];
        std::iter::once(OsString::from(&self.program)).chain(flags.map(OsString::from)).collect()
    }

    fn command(&self, words: &[OsString]) -> Command {
        let program = words.first().map_or(OsStr::new("false"), OsString::as_os_str);
        let mut command = self.user.command(program, &self.home);
        command.args(words.iter().skip(1)).current_dir(&self.cwd);
        command
    }
}

fn settings(host: &str, port: u16) -> Value {
    json!({
        "permissions": {"allow": ["Bash", "Read", "Edit", "Write", "Glob", "Grep", "Agent", "Task"]},
        "env": {
            "ANTHROPIC_BASE_URL": format!("http://{host}:{port}"),
            "ANTHROPIC_API_KEY": "scripted-no-key",
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
            "DISABLE_TELEMETRY": "1",
            "DISABLE_AUTOUPDATER": "1",
        },
    })
}
