//! The command line and environment of an unmodified Codex CLI against a scripted endpoint.
//!
//! What was found to be needed with version 0.169.0:
//! - `HOME` that it may write (`$HOME/.codex`), and `PATH`;
//! - a provider of the user's own, given by `-c`, which speaks the Responses API over plain HTTP and asks for no key;
//! - a model that it knows: to others it does not offer its tool `apply_patch`;
//! - `--sandbox danger-full-access`: its own sandbox needs namespaces, and the boundary here is Flyball's.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::claude::HOST_INSIDE;
use crate::model_endpoint::ModelEndpoint;
use crate::repo::Repo;
use crate::user::User;

/// The version that `cargo xtask agents` pins.
pub const VERSION: &str = "0.169.0";

/// A model that this version knows, asked for by name and played by the script.
const MODEL: &str = "gpt-5.5";

/// An installed Codex CLI.
#[derive(Debug, Clone)]
pub struct Codex {
    program: PathBuf,
}

impl Codex {
    /// The one that `cargo xtask agents` installed, or why a test that needs it must be skipped.
    ///
    /// # Errors
    /// A sentence for the skipped test to print.
    pub fn find() -> Result<Self, String> {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let program = here.parent().unwrap_or(here).join(".agents/bin/codex");
        match program.canonicalize() {
            Ok(program) => Ok(Self { program }),
            Err(_) => Err(format!("codex {VERSION} is not installed: run `cargo xtask agents`")),
        }
    }

    /// `codex exec PROMPT` in the repository's workspace as its owner; `front` is all that stands before `--`, as in
    /// `flyball --ledger DIR run --json`, and empty for a plain run.
    ///
    /// # Errors
    /// When a reachable copy of the program can't be made in the repository's scratch folder.
    pub fn command(
        &self,
        front: &[&OsStr],
        endpoint: &ModelEndpoint,
        repo: &Repo,
        user: User,
        prompt: &str,
    ) -> io::Result<Command> {
        let host = if front.is_empty() { "127.0.0.1" } else { HOST_INSIDE };
        let mut words: Vec<OsString> = front.iter().map(OsString::from).collect();
        if !words.is_empty() {
            words.push("--".into());
        }
        words.push(user.reach(&self.program, repo.scratch())?.into());
        words.extend(arguments(host, endpoint.port(), prompt).map(OsString::from));
        let program = words.first().map_or(OsStr::new("false"), OsString::as_os_str);
        let mut command = user.command(program, &repo.home());
        command.args(words.iter().skip(1)).current_dir(repo.workspace());
        Ok(command)
    }
}

impl Codex {
    /// `codex exec PROMPT` for an endpoint on this machine, and nothing said of where and as whom.
    #[must_use]
    pub fn plain(&self, port: u16, prompt: &str) -> Command {
        let mut command = Command::new(&self.program);
        command.args(arguments("127.0.0.1", port, prompt));
        command
    }

    /// Its arguments for an endpoint on this machine, as it is called inside a sandbox.
    pub fn arguments_inside(port: u16, prompt: &str) -> impl Iterator<Item = String> {
        arguments(HOST_INSIDE, port, prompt)
    }
}

fn arguments(host: &str, port: u16, prompt: &str) -> impl Iterator<Item = String> {
    let front = ["exec", "--json", "--skip-git-repo-check", "--sandbox", "danger-full-access"];
    let settings = [
        "model_provider=\"scripted\"".to_owned(),
        format!("model=\"{MODEL}\""),
        "model_providers.scripted.name=\"scripted\"".to_owned(),
        "model_providers.scripted.wire_api=\"responses\"".to_owned(),
        format!("model_providers.scripted.base_url=\"http://{host}:{port}/v1\""),
    ];
    let settings = settings.into_iter().flat_map(|setting| ["-c".to_owned(), setting]);
    front.map(str::to_owned).into_iter().chain(settings).chain([prompt.to_owned()])
}
