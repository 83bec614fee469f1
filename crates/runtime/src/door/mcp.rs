//! A session whose agent is an MCP client: the gateway in front of servers over pipes, or over HTTP.

use super::agent::{self, Agent};
use super::hooks::workspace;
use super::pins::PinFiles;
use super::servers_file::{self, ServerEntry, Servers};
use super::{Door, DoorOptions};
use crate::exports::live::Sending;
use crate::git_context;
use crate::home::Home;
use crate::supervisor::RunError;
use crate::translate;
use flyball_gateway::mcp::listen::{self, Launch, Launches, PROCESSES_MAX, Piped, Site, Upstream, UpstreamError};
use flyball_gateway::mcp::many::{self, Many};
use flyball_gateway::mcp::{Around, Proxy, server_name, stdio};
use flyball_intent::{McpOwn, is_known_server};
use serde_json::json;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{BufRead, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;

/// What a gateway is started with.
#[derive(Clone, Debug)]
pub struct McpOptions {
    /// The server's name, as rules see it; else one from its command.
    pub name: Option<String>,
    /// The charter's folder; else as for any session.
    pub charter: Option<PathBuf>,
    /// How long people may take before the client is told to ask again.
    pub within: Duration,
    /// Where the session's spans go, if anywhere.
    pub sending: Option<Sending>,
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
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
    #[error("`{file}` can't be read: {why}")]
    File { file: String, why: String },
    #[error(
        "can't start `{0}`: there is no such program, and an address of a server begins with `http://` or `https://`"
    )]
    Program(String),
    #[error("a server over HTTP is named with its address, `{0}=http://…`")]
    NamedByAddress(String),
    #[error("two servers are named `{0}`: give each a name of its own, NAME=URL")]
    Twice(String),
    #[error("a server over HTTP can't be named `{0}` beside servers that are started, which are served at that path")]
    Taken(String),
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
    let argv: Vec<String> = options.server.iter().map(|word| word.to_string_lossy().into_owned()).collect();
    let (Some(program), rest) = (options.server.first(), options.server.get(1..).unwrap_or_default()) else {
        return Err(system("start a server without a command")(std::io::ErrorKind::InvalidInput.into()));
    };
    let derived = server_name(&argv);
    let name = options.name.clone().unwrap_or_else(|| derived.clone());
    let kind = if is_known_server(&name) { name.clone() } else { derived };
    let cwd = std::env::current_dir().map_err(system("tell the working directory"))?;
    let origin = json!({ "surface": "mcp", "server": name, "known_as": kind, "argv": argv });
    let door = open(home, &name, &cwd, options.charter.clone(), origin, options.sending.clone())?;
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
    let around = Around { roots: roots(&argv), ..around(&name, &kind, &cwd, options.within, &door.own) };
    let pins = Arc::new(PinFiles::new(home));
    let proxy = Proxy::new(around, Arc::clone(&door) as Arc<dyn flyball_gateway::Gate>, pins, started.peers());
    let code = started.serve(&proxy, client, stop_at_signals).map_err(system("start a thread"));
    door.close("program");
    code
}

/// What a gateway in front of several servers is started with.
#[derive(Clone, Debug)]
pub struct McpMany {
    /// The charter's folder; else as for any session.
    pub charter: Option<PathBuf>,
    /// How long people may take before the client is told to ask again.
    pub within: Duration,
    /// Where the session's spans go, if anywhere.
    pub sending: Option<Sending>,
    /// The file that says which servers, as clients have it.
    pub servers: PathBuf,
}

/// Stands between the client on these two ends and all the servers of a file, which it starts, until the client or all of them end.
///
/// # Errors
/// [`McpError`] when it can't be begun.
pub fn mcp_many(
    home: &Home,
    options: &McpMany,
    client: impl BufRead + Send + 'static,
    to_client: Box<dyn Write + Send>,
) -> Result<(), McpError> {
    let Servers { started: entries, reached } = of_file(&options.servers)?;
    if let Some((name, _)) = reached.first() {
        let why = format!("`{name}` has no `command`: a server that is reached over HTTP is for `--listen`");
        return Err(McpError::File { file: translate::text(&options.servers), why });
    }
    let names: Vec<String> = entries.iter().map(|entry| entry.name.clone()).collect();
    let cwd = std::env::current_dir().map_err(system("tell the working directory"))?;
    let commands: Vec<_> = entries.iter().map(|entry| json!([entry.command, entry.args])).collect();
    let origin = json!({ "surface": "mcp", "servers": names, "argv": commands });
    let door = open(home, &names.join(" "), &cwd, options.charter.clone(), origin, options.sending.clone())?;
    // INVARIANT: before people are heard, so that the client is never taken for one of them.
    if let Some(client) = agent::of_this_hook().and_then(Agent::client) {
        let _ = door.agent.set(client);
    }
    door.serve_people().map_err(system("hear people"))?;
    let many = Many::new(&names, to_client);
    let mut all = Vec::new();
    for (at, entry) in entries.iter().enumerate() {
        let started = match stdio::start(&mut command_of(entry), Box::new(std::io::sink())) {
            Ok(started) => started,
            Err(cause) => {
                door.close("program");
                return Err(McpError::System {
                    what: format!("start `{}` for `{}`", entry.command, entry.name),
                    cause,
                });
            }
        };
        let around = around_of(entry, &cwd, options.within, &door.own);
        let gate = Arc::clone(&door) as Arc<dyn flyball_gateway::Gate>;
        let peers = many.port(at, started.peers());
        many.stand(at, Proxy::new(around, gate, Arc::new(PinFiles::new(home)), peers));
        all.push(started);
    }
    let end = |stop: stdio::Stop| at_signals(move || stop.stop());
    let served = many::serve(&many, all, client, end).map_err(system("start a thread"));
    door.close("program");
    served
}

fn of_file(path: &Path) -> Result<Servers, McpError> {
    servers_file::read(path).map_err(|why| McpError::File { file: translate::text(path), why })
}

fn command_of(entry: &ServerEntry) -> Command {
    let mut command = Command::new(&entry.command);
    command.args(&entry.args).envs(&entry.env);
    command
}

fn around_of(entry: &ServerEntry, cwd: &Path, within: Duration, own: &McpOwn) -> Around {
    let argv = entry.argv();
    let kind = if is_known_server(&entry.name) { entry.name.clone() } else { server_name(&argv) };
    Around { roots: roots(&argv), ..around(&entry.name, &kind, cwd, within, own) }
}

/// Folders that a server was given on its command line.
fn roots(argv: &[String]) -> Vec<String> {
    argv.iter().skip(1).filter(|word| word.starts_with('/') && Path::new(word).is_dir()).cloned().collect()
}

/// What a gateway that listens is started with.
#[derive(Clone, Debug)]
pub struct McpListen {
    /// Where it listens.
    pub address: SocketAddr,
    /// The charter's folder; else as for any session.
    pub charter: Option<PathBuf>,
    /// How long people may take before the client is told to ask again.
    pub within: Duration,
    /// Where the session's spans go, if anywhere.
    pub sending: Option<Sending>,
    /// The name of a server that is started, as rules see it; else one from its command.
    pub name: Option<String>,
    /// The servers, each its address, or its name, `=` and that; or the command of one, which is started for each session of a client.
    pub servers: Vec<OsString>,
    /// In their place a file of several, as clients have it: what is started is one server to the client.
    pub file: Option<PathBuf>,
}

/// The path of a server that is started.
const STARTED_PATH: &str = "/mcp";
/// How long nobody may have used such a server's session until it is ended.
const IDLE_MAX: Duration = Duration::from_secs(30 * 60);

/// Stands between clients that come over HTTP and servers that are reached by it, or that it starts, until a signal ends it. `ready`
/// hears where each server is to be found.
///
/// # Errors
/// [`McpError`] when it can't be begun.
pub fn mcp_listen(home: &Home, options: &McpListen, ready: impl FnOnce(&[(String, String)])) -> Result<(), McpError> {
    let (started, mut argv): (Option<Starting>, Vec<String>) = match &options.file {
        Some(path) => {
            let Servers { started, reached } = of_file(path)?;
            let named = reached.into_iter().map(|(name, url)| format!("{name}={url}")).collect();
            (Starting::several(path, started)?, named)
        }
        None => {
            let argv: Vec<String> = options.servers.iter().map(|word| word.to_string_lossy().into_owned()).collect();
            match argv.first() {
                Some(first) if !first.contains("://") => (Some(Starting::one(options, argv)?), Vec::new()),
                _ => (None, argv),
            }
        }
    };
    let mut servers: BTreeMap<String, Upstream> = BTreeMap::new();
    for said in &argv {
        let (name, url) = said.split_once('=').filter(|(name, _)| !name.contains([':', '/'])).unwrap_or(("", said));
        if let Some(name) = &options.name {
            return Err(McpError::NamedByAddress(name.clone()));
        }
        let upstream = Upstream::new(url)?;
        let name = if name.is_empty() { url.split('/').nth(2).unwrap_or("server").to_owned() } else { name.to_owned() };
        if started.is_some() && format!("/{name}") == STARTED_PATH {
            return Err(McpError::Taken(name));
        }
        if servers.insert(name.clone(), upstream).is_some() {
            return Err(McpError::Twice(name));
        }
    }
    argv.extend(started.iter().flat_map(Starting::argv));
    let cwd = std::env::current_dir().map_err(system("tell the working directory"))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(system("start threads"))?;
    let listener = runtime.block_on(TcpListener::bind(options.address)).map_err(system("listen"))?;
    let here = listener.local_addr().map_err(system("listen"))?;
    let of_started = started.as_ref().map(Starting::names).unwrap_or_default();
    let names: Vec<&String> = servers.keys().chain(&of_started).collect();
    let origin = json!({ "surface": "mcp", "servers": names, "listens": here.to_string(), "argv": argv });
    let name = names.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(" ");
    let door = open(home, &name, &cwd, options.charter.clone(), origin, options.sending.clone())?;
    door.serve_people().map_err(system("hear people"))?;
    let is_one = servers.len() == 1 && options.file.is_none();
    let (within, mut told, mut sites) = (options.within, Vec::new(), Vec::new());
    for (name, upstream) in servers {
        let path = if is_one { upstream.path().to_owned() } else { format!("/{name}") };
        told.push((name.clone(), format!("http://{here}{path}")));
        let (cwd, own) = (cwd.clone(), door.own.clone());
        sites.push(Site { path, upstream, around: Box::new(move || around(&name, &name, &cwd, within, &own)) });
    }
    let gate = Arc::clone(&door) as Arc<dyn flyball_gateway::Gate>;
    let piped = started.map(|started| {
        told.push((of_started.join("`, `"), format!("http://{here}{STARTED_PATH}")));
        started.piped(home, &door, within, cwd.clone())
    });
    let (end, ended) = tokio::sync::oneshot::channel();
    at_signals(move || {
        let _ = end.send(());
    });
    ready(&told);
    let served = runtime.block_on(async {
        tokio::select! {
            served = listen::serve(listener, sites, piped.clone(), gate, Arc::new(PinFiles::new(home))) => served,
            _ = ended => Ok(()),
        }
    });
    if let Some(piped) = piped {
        piped.end();
    }
    door.close("program");
    // What is still waited for is nobody's any more.
    runtime.shutdown_background();
    served.map_err(system("take connections"))
}

/// What is started for each session of a client.
enum Starting {
    One { name: String, kind: String, argv: Vec<String>, words: Vec<OsString> },
    Several(Vec<ServerEntry>),
}

impl Starting {
    fn one(options: &McpListen, argv: Vec<String>) -> Result<Self, McpError> {
        is_there(&options.servers.first().map(PathBuf::from).unwrap_or_default())?;
        let derived = server_name(&argv);
        let name = options.name.clone().unwrap_or_else(|| derived.clone());
        let kind = if is_known_server(&name) { name.clone() } else { derived };
        Ok(Self::One { name, kind, argv, words: options.servers.clone() })
    }

    fn several(file: &Path, entries: Vec<ServerEntry>) -> Result<Option<Self>, McpError> {
        if entries.len() > PROCESSES_MAX {
            let why = format!("{} of its servers would be started, and {PROCESSES_MAX} is the most", entries.len());
            return Err(McpError::File { file: translate::text(file), why });
        }
        entries.iter().try_for_each(|entry| is_there(Path::new(&entry.command)))?;
        Ok((!entries.is_empty()).then_some(Self::Several(entries)))
    }

    fn names(&self) -> Vec<String> {
        match self {
            Self::One { name, .. } => vec![name.clone()],
            Self::Several(entries) => entries.iter().map(|entry| entry.name.clone()).collect(),
        }
    }

    fn argv(&self) -> Vec<String> {
        match self {
            Self::One { argv, .. } => argv.clone(),
            Self::Several(entries) => entries.iter().flat_map(ServerEntry::argv).collect(),
        }
    }

    fn piped(self, home: &Home, door: &Arc<Door>, within: Duration, cwd: PathBuf) -> Arc<Piped> {
        let own = door.own.clone();
        let tied = |mut command: Command| {
            flyball_sandbox::ends_with_this_thread(&mut command);
            command
        };
        let launches = match self {
            Self::One { name, kind, argv, words } => {
                let command = move || {
                    let mut command = Command::new(words.first().map(OsString::as_os_str).unwrap_or_default());
                    command.args(words.get(1..).unwrap_or_default());
                    tied(command)
                };
                let around = move || Around { roots: roots(&argv), ..around(&name, &kind, &cwd, within, &own) };
                Launches::One(Launch { command: Box::new(command), around: Box::new(around) })
            }
            Self::Several(entries) => {
                let launch = |entry: ServerEntry| {
                    let (entry, cwd, own) = (Arc::new(entry), cwd.clone(), own.clone());
                    let started = Arc::clone(&entry);
                    Launch {
                        command: Box::new(move || tied(command_of(&started))),
                        around: Box::new(move || around_of(&entry, &cwd, within, &own)),
                    }
                };
                Launches::Many(entries.into_iter().map(launch).collect())
            }
        };
        let gate = Arc::clone(door) as Arc<dyn flyball_gateway::Gate>;
        Piped::new(STARTED_PATH.to_owned(), launches, gate, Arc::new(PinFiles::new(home)), IDLE_MAX)
    }
}

/// Told now, and not to the first client.
fn is_there(program: &Path) -> Result<(), McpError> {
    let is_there = match program.components().count() {
        0 | 1 => std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())
            .any(|folder| folder.join(program).is_file()),
        _ => program.is_file(),
    };
    if is_there { Ok(()) } else { Err(McpError::Program(translate::text(program))) }
}

fn open(
    home: &Home,
    name: &str,
    cwd: &Path,
    charter: Option<PathBuf>,
    origin: serde_json::Value,
    sending: Option<Sending>,
) -> Result<Arc<Door>, RunError> {
    let options = DoorOptions {
        name: name.to_owned(),
        agent: "mcp".to_owned(),
        workspace: workspace(cwd),
        charter,
        origin,
        uncovered: vec![
            "sandbox: there is none; what the agent does beside this server is not seen".to_owned(),
            "mcp: what the server does is taken from its tools' names and arguments".to_owned(),
        ],
        sending,
    };
    Door::open(home, &options)
}

fn around(name: &str, kind: &str, cwd: &Path, wait: Duration, own: &McpOwn) -> Around {
    let user_home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
    Around {
        server: name.to_owned(),
        kind: kind.to_owned(),
        cwd: translate::text(cwd),
        home: translate::text(&user_home),
        roots: Vec::new(),
        wait,
        own: own.clone(),
        git: Box::new(move |folder| git_context::of_folder(Path::new(folder), &user_home)),
    }
}

fn system(what: &str) -> impl FnOnce(std::io::Error) -> McpError {
    let what = what.to_owned();
    move |cause| McpError::System { what, cause }
}

/// A client's signal ends the server and closes the record.
fn stop_at_signals(stop: stdio::Stop) {
    at_signals(move || stop.stop());
}

fn at_signals(what: impl FnOnce() + Send + 'static) {
    let Ok(mut signals) = signal_hook::iterator::Signals::new([SIGTERM, SIGINT, SIGHUP]) else { return };
    let _ = std::thread::Builder::new().name("signals".into()).spawn(move || {
        if signals.forever().next().is_some() {
            what();
        }
    });
}
