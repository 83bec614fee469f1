//! A contract's command: run on the final workspace in a sandbox of its own, which is thrown away with all that it wrote.
//!
//! What it runs may be the agent's own work (its tests, say). So nothing leads out of it: no network, no socket of the host's, and
//! its workspace is a layer over what the session left.

use crate::core::OnHold;
use crate::supervisor::RunOptions;
use flyball_kernel::ContractCommand;
use flyball_sandbox::{
    Attempt, Call, Decision, Done, EndedBy, Exit, Mediator, Network, Refusal, Running, Spec, Status, Terminal, Ticket,
    Weakness,
};
use rustix::event::{PollFd, PollFlags};
use serde_json::{Value as Json, json};
use sha2::{Digest, Sha256};
use std::ffi::OsString;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Output that is read; a command that writes more is ended.
const OUTPUT_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// What of its end is kept for people to read.
const TAIL_BYTES: usize = 2048;
/// How long the last of the output may take once everything has ended.
const LAST_WORDS: Duration = Duration::from_secs(5);
/// The folder of the command's own session, in that of the session.
const FOLDER: &str = "contract";

/// What came of a command.
#[derive(Clone, Debug)]
pub(crate) struct Ran {
    pub argv: Vec<String>,
    /// Its exit code, where it had one.
    pub exit: Option<i32>,
    /// Of all that it wrote, both streams in one.
    pub output: Option<Output>,
    /// Why it does not hold.
    pub because: Option<String>,
}

/// What a command wrote.
#[derive(Clone, Debug)]
pub(crate) struct Output {
    pub digest: String,
    pub bytes: u64,
    pub tail: String,
}

impl Ran {
    /// One that was not run, and why.
    pub(crate) fn not(command: &ContractCommand, because: &str) -> Self {
        let because = Some(format!("it was not run: {because}"));
        Self { argv: command.argv.clone(), exit: None, output: None, because }
    }

    /// As the record has it.
    pub(crate) fn entry(&self, contract: &str) -> Json {
        let output = self.output.as_ref();
        json!({ "contract_command": {
            "contract": contract, "argv": self.argv, "exit": self.exit,
            "output": output.map(|o| json!({ "digest": o.digest, "bytes": o.bytes, "tail": o.tail })),
            "because": self.because,
        }})
    }
}

/// The command that is being run, for who has to end it.
#[derive(Clone, Default)]
pub(crate) struct Now(Arc<Mutex<Option<Running>>>);

impl Now {
    /// The command, while it runs.
    pub(crate) fn running(&self) -> Option<Running> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn is(&self, running: Option<Running>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = running;
    }
}

/// How a session would be run that nothing is asked of but its place.
pub(crate) fn options(workspace: PathBuf, charter: Option<PathBuf>, accept_weaker: Vec<Weakness>) -> RunOptions {
    RunOptions {
        argv: vec!["sh".into()],
        charter,
        workspace,
        cwd: None,
        name: None,
        on_hold: OnHold::Deny,
        learn: false,
        accept_weaker,
        allow_pty: false,
        hooks: false,
        needs_contracts: false,
        record: false,
        again: None,
        fork: None,
    }
}

/// The place that a command is run in: what the session's own program had, with nothing that leads out of it.
pub(crate) fn place(session: &Spec, left: Option<PathBuf>) -> Spec {
    Spec {
        argv: Vec::new(),
        cwd: session.workspace.clone(),
        session_dir: session.session_dir.join(FOLDER),
        left,
        home_keep: None,
        terminal: Terminal::Captured,
        network: Network::Closed,
        mediate_reads: false,
        hooks: None,
        ..session.clone()
    }
}

/// Runs a command to its end, its deadline or the bound of its output.
pub(crate) fn run(command: &ContractCommand, place: &Spec, now: &Now) -> Ran {
    let folder = place.session_dir.clone();
    // What an earlier one left that was killed.
    let _ = flyball_sandbox::workspace::remove_tree(&folder);
    let mut ran = match std::fs::create_dir(&folder) {
        Ok(()) => run_in(command, place, now),
        Err(error) => Ran::not(command, &format!("no folder for it could be made: {error}")),
    };
    if let Err(error) = flyball_sandbox::workspace::remove_tree(&folder)
        && ran.because.is_none()
    {
        ran.because = Some(format!("what it wrote could not be thrown away: {error}"));
    }
    ran
}

fn run_in(command: &ContractCommand, place: &Spec, now: &Now) -> Ran {
    let spec = Spec { argv: command.argv.iter().map(OsString::from).collect(), ..place.clone() };
    let exposed = spec.expose.clone();
    let has_own_network = !spec.accept_weaker.contains(&Weakness::Namespaces);
    let running = match flyball_sandbox::start(spec, Box::new(Within { exposed, has_own_network })) {
        Ok(running) => running,
        Err(error) => return Ran::not(command, &error.to_string()),
    };
    let Some(Ok(from)) = running.output().map(|output| output.try_clone_to_owned()) else {
        return Ran::not(command, "its output can't be read");
    };
    now.is(Some(running.clone()));
    let is_over = Arc::new(AtomicBool::new(false));
    let reader = std::thread::Builder::new().name("contract".into()).spawn({
        let (running, is_over) = (running.clone(), Arc::clone(&is_over));
        move || read(from, &running, &is_over)
    });
    let (ended, heard) = channel::<()>();
    let within = Duration::from_nanos(command.within_ns);
    let deadline = std::thread::Builder::new().name("deadline".into()).spawn({
        let running = running.clone();
        move || {
            let is_late = heard.recv_timeout(within) == Err(RecvTimeoutError::Timeout);
            if is_late {
                running.kill();
            }
            is_late
        }
    });
    if reader.is_err() || deadline.is_err() {
        running.kill();
    }
    let exit = running.wait();
    drop(ended);
    is_over.store(true, Ordering::SeqCst);
    now.is(None);
    let is_late = deadline.map(|thread| thread.join().unwrap_or(true));
    let output = reader.ok().and_then(|thread| thread.join().ok());
    let because = because(exit, is_late.unwrap_or(true), within, output.as_ref());
    let exit = match exit.status {
        Status::Code(code) => Some(code),
        Status::Signal(_) | Status::NotRun(_) => None,
    };
    Ran { argv: command.argv.clone(), exit, output, because }
}

/// Why it does not hold, if so.
fn because(exit: Exit, is_late: bool, within: Duration, output: Option<&Output>) -> Option<String> {
    let Some(output) = output else { return Some("its output could not be read".to_owned()) };
    if output.bytes > OUTPUT_BYTES_MAX {
        return Some(format!("it wrote more than {} MiB and was ended", OUTPUT_BYTES_MAX >> 20));
    }
    match (exit.by, exit.status) {
        (EndedBy::Breach, _) => Some("it attacked its sandbox and was ended".to_owned()),
        (EndedBy::Kill, _) if is_late => Some(format!("it was not over after {} ms and was ended", within.as_millis())),
        (EndedBy::Kill | EndedBy::Outside, _) => Some("it was ended from outside".to_owned()),
        (EndedBy::Program, Status::Code(0)) => None,
        (EndedBy::Program, Status::Code(code)) => Some(format!("it exited with {code}")),
        (EndedBy::Program, Status::Signal(signal)) => Some(format!("signal {signal} ended it")),
        (EndedBy::Program, Status::NotRun(errno)) => {
            Some(format!("it could not be run: {}", std::io::Error::from_raw_os_error(errno)))
        }
    }
}

/// Reads all that is written, and remembers its digest, length and end.
fn read(from: OwnedFd, running: &Running, is_over: &AtomicBool) -> Output {
    let mut from = std::fs::File::from(from);
    let (mut hasher, mut bytes, mut tail) = (Sha256::new(), 0_u64, Vec::new());
    let mut buffer = [0_u8; 16 * 1024];
    loop {
        let wait = rustix::event::Timespec::try_from(LAST_WORDS).ok();
        let ready = rustix::event::poll(&mut [PollFd::from_borrowed_fd(from.as_fd(), PollFlags::IN)], wait.as_ref());
        match ready {
            // A process that does not die keeps the pipe open: nobody waits for that.
            Ok(0) if is_over.load(Ordering::SeqCst) => break,
            Ok(0) | Err(rustix::io::Errno::INTR) => continue,
            Ok(_) => {}
            Err(_) => break,
        }
        let read = match from.read(&mut buffer) {
            Ok(read @ 1..) => read,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Ok(_) | Err(_) => break,
        };
        let part = buffer.get(..read).unwrap_or_default();
        bytes = bytes.saturating_add(read as u64);
        if bytes > OUTPUT_BYTES_MAX {
            running.kill();
            break;
        }
        hasher.update(part);
        tail.extend_from_slice(part);
        let more = tail.len().saturating_sub(TAIL_BYTES);
        tail.drain(..more);
    }
    let hex: String = hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    Output { digest: format!("sha256:{hex}"), bytes, tail: String::from_utf8_lossy(&tail).into_owned() }
}

/// Lets everything happen that stays in the sandbox.
struct Within {
    /// Places of the host's, which may hold its sockets.
    exposed: Vec<PathBuf>,
    /// Its loopback is not the machine's.
    has_own_network: bool,
}

impl Within {
    fn leads_out(&self, attempt: &Attempt) -> bool {
        let is_exposed = |path: &Path| self.exposed.iter().any(|exposed| path.starts_with(exposed));
        match attempt {
            Attempt::Connect { address, .. } | Attempt::Bind { address } => {
                !(self.has_own_network && address.ip().is_loopback())
            }
            Attempt::ConnectUnix { path } | Attempt::BindUnix { path } => is_exposed(path),
            _ => false,
        }
    }
}

impl Mediator for Within {
    fn decide(&mut self, call: &Call) -> Decision {
        if self.leads_out(&call.attempt) {
            let text = "flyball: denied, a contract's command reaches nothing outside\n".to_owned();
            return Decision::Deny(Refusal { errno: rustix::io::Errno::ACCESS.raw_os_error(), text });
        }
        Decision::Allow
    }
    fn done(&mut self, _: Ticket, _: i32, _: Done) {}
    fn withdrawn(&mut self, _: Ticket) {}
    fn exited(&mut self, _: i32, _: Option<i32>) {}
    fn breached(&mut self, _: &str) {}
}
