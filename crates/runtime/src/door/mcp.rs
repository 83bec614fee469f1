//! A session whose agent is an MCP client: the gateway in front of one server, over pipes.

use super::agent::{self, Agent};
use super::hooks::workspace;
use super::pins::PinFiles;
use super::{Door, DoorOptions};
use crate::git_context;
use crate::home::Home;
use crate::supervisor::RunError;
use crate::translate;
use flyball_gateway::mcp::{Around, Proxy, server_name, stdio};
use flyball_intent::is_known_server;
use serde_json::json;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use std::ffi::OsString;
use std::io::{BufRead, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

/// What a gateway is started with.
#[derive(Clone, Debug)]
pub struct McpOptions {
    /// The server's name, as rules see it; else one from its command.
    pub name: Option<String>,
    /// The charter's folder; else as for any session.
    pub charter: Option<PathBuf>,
    /// How long people may take before the client is told to ask again.
    pub within: Duration,
    /// The server's command.
    pub server: Vec<OsString>,
}

/// Why a gateway could not be begun. Then no server runs.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each says what its inner error says")]
pub enum McpError {
    #[error(transparent)]
    Run(#[from] RunError),
    #[error("can't {what}: {cause}")]
    System { what: String, cause: std::io::Error },
}

/// Stands between the client on these two ends and the server that it starts, until one of them ends; gives the server's exit
/// code.
///
/// # Errors
/// [`McpError`] when it can't be begun.
pub fn mcp(
    home: &Home,
    options: &McpOptions,
    client: impl BufRead + Send + 'static,
    to_client: Box<dyn Write + Send>,
) -> Result<i32, McpError> {
    let system = |what: &str| {
        let what = what.to_owned();
        move |cause| McpError::System { what, cause }
    };
    let argv: Vec<String> = options.server.iter().map(|word| word.to_string_lossy().into_owned()).collect();
    let (Some(program), rest) = (options.server.first(), options.server.get(1..).unwrap_or_default()) else {
        return Err(system("start a server without a command")(std::io::ErrorKind::InvalidInput.into()));
    };
    let derived = server_name(&argv);
    let name = options.name.clone().unwrap_or_else(|| derived.clone());
    let kind = if is_known_server(&name) { name.clone() } else { derived };
    let cwd = std::env::current_dir().map_err(system("tell the working directory"))?;
    let door = Door::open(
        home,
        &DoorOptions {
            name: name.clone(),
            agent: "mcp".to_owned(),
            workspace: workspace(&cwd),
            charter: options.charter.clone(),
            origin: json!({ "surface": "mcp", "server": name, "known_as": kind, "argv": argv }),
            uncovered: vec![
                "sandbox: there is none; what the agent does beside this server is not seen".to_owned(),
                "mcp: what the server does is taken from its tools' names and arguments".to_owned(),
            ],
        },
    )?;
    // INVARIANT: before people are heard, so that the client is never taken for one of them.
    if let Some(client) = agent::of_this_hook().and_then(Agent::client) {
        let _ = door.agent.set(client);
    }
    door.serve_people().map_err(system("hear people"))?;
    let mut command = Command::new(program);
    command.args(rest);
    let started = match stdio::start(&mut command, to_client) {
        Ok(started) => started,
        Err(cause) => {
            door.close("program");
            return Err(McpError::System { what: format!("start `{}`", program.to_string_lossy()), cause });
        }
    };
    let user_home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
    let around = Around {
        roots: argv.iter().skip(1).filter(|word| word.starts_with('/') && Path::new(word).is_dir()).cloned().collect(),
        server: name,
        kind,
        cwd: translate::text(&cwd),
        home: translate::text(&user_home),
        wait: options.within,
        own: Vec::new(),
        git: Box::new(move |folder| git_context::of_folder(Path::new(folder), &user_home)),
    };
    let pins = Arc::new(PinFiles::new(home));
    let proxy = Proxy::new(around, Arc::clone(&door) as Arc<dyn flyball_gateway::Gate>, pins, started.peers());
    let code = started.serve(&proxy, client, stop_at_signals).map_err(system("start a thread"));
    door.close("program");
    code
}

/// A client's signal ends the server and closes the record.
fn stop_at_signals(stop: stdio::Stop) {
    let Ok(mut signals) = signal_hook::iterator::Signals::new([SIGTERM, SIGINT, SIGHUP]) else { return };
    let _ = std::thread::Builder::new().name("signals".into()).spawn(move || {
        if signals.forever().next().is_some() {
            stop.stop();
        }
    });
}
