//! A harness's hooks and the session that they belong to: the hook's own process is short and small, and hands its event to the
//! session's supervisor, which it starts where there is none.
//!
//! The supervisor lives as long as the harness does. Which session is a harness session's is told by a file in `doors/`.
//!
//! INVARIANT: whatever goes wrong here denies ([`HookError`] is a denial to whoever calls).

use super::agent::{self, Agent};
use super::pins::PinFiles;
use super::{Door, DoorOptions};
use crate::control;
use crate::exports::live::Sending;
use crate::git_context;
use crate::home::{Home, HomeError};
use crate::supervisor::RunError;
use flyball_gateway::hook::{Around, EVENT_BYTES_MAX, Hooks, Reply, file, session_of};
use flyball_intent::Harness;
use flyball_sandbox::HOOKS_SOCKET;
use rustix::fs::{FlockOperation, Mode, OFlags};
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};
use sha2::{Digest, Sha256};
use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

pub(super) const SOCKET: &str = "door.sock";
const DOORS: &str = "doors";
/// A supervisor is up in some ten milliseconds; on a machine that is short of everything it may take this long.
const START_WAIT_MAX: Duration = Duration::from_secs(20);
const START_LOOK: Duration = Duration::from_millis(2);
/// Beyond people's time: until the supervisor's reply is there.
const REPLY_SLACK: Duration = Duration::from_secs(10);
/// Where nobody knows whose hooks these are, a session without events is over after this time.
const IDLE_MAX: Duration = Duration::from_secs(12 * 3600);
/// How often it is looked whether the session is over.
const IDLE_LOOK: Duration = Duration::from_millis(500);
const HEADER_BYTES_MAX: u64 = 4096;

/// Why an event could not be put to a session. It is a denial.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each says what its inner error says")]
pub enum HookError {
    #[error("the event names no session")]
    NoSession,
    #[error("the event is over {EVENT_BYTES_MAX} bytes")]
    Large,
    #[error(transparent)]
    Home(#[from] HomeError),
    #[error(transparent)]
    Run(#[from] RunError),
    #[error("the session's supervisor did not start: {0}")]
    Start(String),
    #[error(
        "the session's supervisor has died, and another one would know nothing of what was said to this session: end {0} and \
         start it anew"
    )]
    Died(&'static str),
    #[error("the session's supervisor can't be asked: {0}")]
    Ask(#[from] std::io::Error),
}

/// What goes before the event.
#[derive(Debug, Serialize, Deserialize)]
struct Header {
    /// How long people may take, milliseconds.
    wait_ms: u64,
}

/// Puts a hook's event to its session, starting that if need be, and gives what the hook's process is to print. `otlp`: where the
/// session's spans go, if this starts it.
///
/// # Errors
/// [`HookError`], which is a denial.
pub fn hook(
    home: &Home,
    harness: Harness,
    event: &[u8],
    wait: Duration,
    otlp: Option<&str>,
) -> Result<Reply, HookError> {
    if event.len() > EVENT_BYTES_MAX {
        return Err(HookError::Large);
    }
    let name = session_of(event).ok_or(HookError::NoSession)?;
    let key = key(harness, &name);
    let stream = match connect(home, &key) {
        Some(stream) => stream,
        None => start(home, harness, &key, &name, event, otlp)?,
    };
    put(stream, event, wait)
}

/// Puts a hook's event to the session that the harness runs in, if it runs in one: under `flyball run` no other is asked.
///
/// # Errors
/// [`HookError`], which is a denial.
pub fn hook_within(event: &[u8], wait: Duration) -> Option<Result<Reply, HookError>> {
    let path = Path::new(HOOKS_SOCKET);
    path.exists().then(|| match event.len() > EVENT_BYTES_MAX {
        true => Err(HookError::Large),
        false => put(UnixStream::connect(path)?, event, wait),
    })
}

fn put(mut stream: UnixStream, event: &[u8], wait: Duration) -> Result<Reply, HookError> {
    stream.set_read_timeout(Some(wait + REPLY_SLACK))?;
    let header = Header { wait_ms: u64::try_from(wait.as_millis()).unwrap_or(u64::MAX) };
    let mut bytes = serde_json::to_vec(&header).map_err(std::io::Error::from)?;
    bytes.push(b'\n');
    bytes.extend_from_slice(event);
    stream.write_all(&bytes)?;
    stream.shutdown(Shutdown::Write)?;
    let mut said = Vec::new();
    stream.read_to_end(&mut said)?;
    let said: Said =
        serde_json::from_slice(&said).map_err(|_| HookError::Ask(std::io::ErrorKind::UnexpectedEof.into()))?;
    Ok(Reply { exit: said.exit, stdout: said.stdout, stderr: said.stderr })
}

/// The supervisor's reply.
#[derive(Debug, Serialize, Deserialize)]
struct Said {
    exit: u8,
    stdout: String,
    stderr: String,
}

/// One file name for a harness session, whatever the harness calls it.
fn key(harness: Harness, name: &str) -> String {
    let digest = Sha256::digest(name.as_bytes());
    let short: String = digest.iter().take(12).map(|byte| format!("{byte:02x}")).collect();
    format!("{}-{short}", harness.name())
}

fn connect(home: &Home, key: &str) -> Option<UnixStream> {
    let said = std::fs::read_to_string(home.dir().join(DOORS).join(key)).ok()?;
    let id = said.lines().next()?;
    // INVARIANT: an id has letters and digits only; a file that says something else was not written here.
    if id.is_empty() || !id.bytes().all(|b| b.is_ascii_alphanumeric()) {
        return None;
    }
    control::with_short_path(&home.session(id), SOCKET, |path| UnixStream::connect(path)).ok()
}

/// Whether a supervisor that is gone followed a harness that is still there. One that ends as it should takes its file along.
fn has_died(home: &Home, key: &str) -> bool {
    let said = std::fs::read_to_string(home.dir().join(DOORS).join(key)).unwrap_or_default();
    let Some((pid, began)) = said.lines().nth(1).and_then(|line| line.split_once(' ')) else { return false };
    pid.parse().ok().and_then(agent::began).is_some_and(|is| is.to_string() == began)
}

/// Starts the session's supervisor, unless another hook of the same session has meanwhile.
fn start(
    home: &Home,
    harness: Harness,
    key: &str,
    name: &str,
    event: &[u8],
    otlp: Option<&str>,
) -> Result<UnixStream, HookError> {
    let doors = home.dir().join(DOORS);
    std::fs::create_dir_all(&doors)?;
    let flags = OFlags::CREATE | OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let turn = rustix::fs::open(doors.join(format!("{key}.lock")), flags, Mode::RUSR | Mode::WUSR)
        .map_err(std::io::Error::from)?;
    rustix::fs::flock(&turn, FlockOperation::LockExclusive).map_err(std::io::Error::from)?;
    if let Some(stream) = connect(home, key) {
        return Ok(stream);
    }
    if has_died(home, key) {
        return Err(HookError::Died(harness.name()));
    }
    let cwd = serde_json::from_slice::<Json>(event).ok();
    let cwd = cwd.as_ref().and_then(|e| e.get("cwd")).and_then(Json::as_str).unwrap_or("/").to_owned();
    let said = doors.join(format!("{key}.log"));
    let log = std::fs::File::create(&said)?;
    let mut arguments: Vec<OsString> = vec!["--ledger".into(), home.dir().into(), "hook".into(), "supervise".into()];
    arguments.extend([harness.name().into(), "--key".into(), key.into(), "--session".into(), name.into()]);
    arguments.extend(["--cwd".into(), cwd.into()]);
    if let Some(url) = otlp {
        arguments.extend(["--otlp".into(), url.into()]);
    }
    if let Some(pid) = agent::of_this_hook() {
        arguments.extend(["--follow".into(), pid.to_string().into()]);
    }
    let mut child = Command::new(std::env::current_exe()?)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        // Signals of the harness's terminal are not for it.
        .process_group(0)
        .spawn()?;
    let until = Instant::now() + START_WAIT_MAX;
    loop {
        if let Some(stream) = connect(home, key) {
            return Ok(stream);
        }
        let has_ended = child.try_wait()?.is_some();
        if has_ended || Instant::now() > until {
            let text = std::fs::read_to_string(&said).unwrap_or_default();
            return Err(HookError::Start(text.trim().to_owned()));
        }
        std::thread::sleep(START_LOOK);
    }
}

/// What a supervisor of hooks is started with.
#[derive(Clone, Debug)]
pub struct Supervise {
    /// The harness.
    pub harness: Harness,
    /// The file in `doors/` that names the session.
    pub key: String,
    /// The harness's own name for its session.
    pub session: String,
    /// Where the harness works.
    pub cwd: PathBuf,
    /// The harness's process.
    pub follow: Option<i32>,
    /// Where the session's spans go, if anywhere.
    pub sending: Option<Sending>,
}

/// Supervises the session of a harness's hooks until the harness ends.
///
/// # Errors
/// [`HookError`] when the session can't be opened or heard.
pub fn supervise(home: &Home, options: &Supervise) -> Result<(), HookError> {
    let name = options.harness.name();
    let door = Door::open(
        home,
        &DoorOptions {
            name: name.to_owned(),
            agent: name.to_owned(),
            workspace: workspace(&options.cwd),
            charter: None,
            origin: json!({ "surface": "hook", "harness": name, "session": options.session, "pid": options.follow }),
            uncovered: vec![
                "sandbox: there is none; what the agent does beside its hooks is not seen".to_owned(),
                "fs, exec, net: by what a tool call says it would do, not by what it does".to_owned(),
            ],
            sending: options.sending.clone(),
        },
    )?;
    let listener = control::with_short_path(&door.session_dir, SOCKET, |path| UnixListener::bind(path))?;
    door.serve_people()?;
    point(home, options, door.id())?;
    // INVARIANT: gone before the session is closed, so that only a supervisor that died leaves it behind. The same harness
    // session may go on another time, in a session of its own.
    let pointer = home.dir().join(DOORS).join(&options.key);
    let last = Arc::new(std::sync::Mutex::new(Instant::now()));
    let hooks =
        Arc::new(Hooks::new(options.harness).with_tools(door.own.clone()).with_pins(Arc::new(PinFiles::new(home))));
    {
        let (door, last, pointer) = (Arc::clone(&door), Arc::clone(&last), pointer.clone());
        std::thread::Builder::new().name("hooks".into()).spawn(move || {
            for stream in control::connections(&listener).flatten() {
                if let Ok(mut last) = last.lock() {
                    *last = Instant::now();
                }
                let (door, hooks, pointer) = (Arc::clone(&door), Arc::clone(&hooks), pointer.clone());
                let serve = move || serve(stream, &door, &hooks, &pointer);
                let _ = std::thread::Builder::new().name("hook".into()).spawn(serve);
            }
        })?;
    }
    wait_for_end(&door, options.follow, &last);
    let _ = std::fs::remove_file(pointer);
    door.close("program");
    Ok(())
}

/// Names the session's id to the hooks that come, whole or not at all.
fn point(home: &Home, options: &Supervise, id: &str) -> std::io::Result<()> {
    let doors = home.dir().join(DOORS);
    let new = doors.join(format!("{}.new", options.key));
    let follows = options.follow.and_then(|pid| Some(format!("{pid} {}\n", agent::began(pid)?)));
    std::fs::write(&new, format!("{id}\n{}", follows.unwrap_or_default()))?;
    std::fs::rename(new, doors.join(&options.key))
}

/// The nearest folder upwards that has a charter; else where the harness works.
pub(super) fn workspace(cwd: &Path) -> PathBuf {
    let found = cwd.ancestors().find(|folder| folder.join(".flyball").symlink_metadata().is_ok());
    found.unwrap_or(cwd).to_path_buf()
}

fn wait_for_end(door: &Door, follow: Option<i32>, last: &std::sync::Mutex<Instant>) {
    let Some(pid) = follow else {
        while !door.is_over() && last.lock().is_ok_and(|last| last.elapsed() < IDLE_MAX) {
            std::thread::sleep(IDLE_LOOK);
        }
        return;
    };
    // A harness that is gone already has no use for a session.
    let Some(agent) = Agent::of(pid) else { return };
    let agent = door.agent.get_or_init(|| agent);
    while !door.is_over() && !agent.ends_within(IDLE_LOOK) {}
}

fn serve(stream: UnixStream, door: &Arc<Door>, hooks: &Hooks, pointer: &Path) {
    serve_hook(stream, |event, wait| {
        let home = std::env::var("HOME").unwrap_or_default();
        let git = |cwd: &str| git_context::of_folder(Path::new(cwd), Path::new(&home));
        let around = Around { home: &home, wait, git: &git, file: &file, is_enforced: false };
        let reply = hooks.handle(event, door.as_ref(), &around);
        if hooks.is_end(event) {
            let _ = std::fs::remove_file(pointer);
            if door.closes_slowly() {
                // The harness does not wait for the charter's programs; this process does.
                let door = Arc::clone(door);
                let _ = std::thread::Builder::new().name("close".into()).spawn(move || door.close("program"));
            } else {
                door.close("program");
            }
        }
        reply
    });
}

/// Reads one event, and says what came of it.
pub(crate) fn serve_hook(stream: UnixStream, then: impl FnOnce(&[u8], Duration) -> Reply) {
    let reply = match heard(&stream) {
        Ok((header, event)) => then(&event, Duration::from_millis(header.wait_ms)),
        Err(error) => Reply::deny(&format!("flyball: denied, the hook's event did not arrive: {error}")),
    };
    let said = Said { exit: reply.exit, stdout: reply.stdout, stderr: reply.stderr };
    let mut stream = stream;
    // A hook that has gone away has been answered by its harness's own time-out.
    let _ = stream.write_all(&serde_json::to_vec(&said).unwrap_or_default());
}

fn heard(stream: &UnixStream) -> std::io::Result<(Header, Vec<u8>)> {
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.by_ref().take(HEADER_BYTES_MAX).read_line(&mut line)?;
    let header: Header = serde_json::from_str(&line)?;
    let mut event = Vec::new();
    reader.take(EVENT_BYTES_MAX as u64 + 1).read_to_end(&mut event)?;
    Ok((header, event))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_has_one_file_name_whatever_it_is_called() {
        assert_eq!(key(Harness::Claude, "a"), key(Harness::Claude, "a"));
        assert_ne!(key(Harness::Claude, "a"), key(Harness::Codex, "a"));
        let odd = key(Harness::Claude, "../../etc/\0\u{1F600}");
        assert!(odd.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-'), "{odd}");
        assert_eq!(workspace(Path::new("/nowhere/at/all")), Path::new("/nowhere/at/all"));
    }
}
