//! The command line and environment of an unmodified Gemini CLI against a scripted endpoint.
//!
//! What was found to be needed with version 0.61.0:
//! - `HOME` that it may write (`$HOME/.gemini`), with settings that choose a key for its way in;
//! - the endpoint and a key that nobody checks, in the environment;
//! - `--yolo --skip-trust`, or it asks about each tool and about the folder.

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::model_endpoint::ModelEndpoint;

/// The version that `cargo xtask agents` pins.
pub const VERSION: &str = "0.61.0";

/// An installed Gemini CLI.
#[derive(Debug, Clone)]
pub struct Gemini {
    program: PathBuf,
}

impl Gemini {
    /// The one that `cargo xtask agents` installed, or why a test that needs it must be skipped.
    ///
    /// # Errors
    /// A sentence for the skipped test to print.
    pub fn find() -> Result<Self, String> {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let program = here.parent().unwrap_or(here).join(".agents/bin/gemini");
        let program = program.canonicalize().ok().filter(|_| {
            let node = Command::new("node").arg("--version").output();
            node.is_ok_and(|told| told.status.success())
        });
        program.map_or_else(
            || Err(format!("gemini {VERSION} is not installed, or no node: run `cargo xtask agents`")),
            |program| Ok(Self { program }),
        )
    }

    /// What has to stand in `.gemini/settings.json`.
    #[must_use]
    pub fn settings() -> Value {
        serde_json::json!({"security": {"auth": {"selectedType": "gemini-api-key"}}})
    }

    /// `gemini -p PROMPT`, with nothing of the caller's environment but PATH.
    #[must_use]
    pub fn command(&self, endpoint: &ModelEndpoint, home: &Path, prompt: &str) -> Command {
        let mut command = Command::new("node");
        command.arg(&self.program).args(["-p", prompt, "--yolo", "--skip-trust"]);
        command.env_clear().env("HOME", home).env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("GEMINI_API_KEY", "scripted-no-key").env("GOOGLE_GEMINI_BASE_URL", endpoint.url());
        command
    }
}
