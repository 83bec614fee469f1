//! Starting a program in its sandbox, and the handle on it.

use super::broker::{Broker, Inside};
use super::{Control, Mailbox, Parts, Tree, filter};
use crate::call::{Decision, Mediator, Ticket};
use crate::launch::{self, End, LaunchError, Launched, NetHelper, Untested};
use crate::places::Places;
use crate::spec::{Limits, Network, Spec, Weakness};
use crate::workspace::{self, Layers, WorkspaceError};
use rustix::event::{EventfdFlags, PollFd, PollFlags};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The codes of this module, each with its page for `flyball explain`.
pub const CODES: &[(&str, &str)] = &[
    (
        "FB0250",
        "Mediation could not be started.\n\nThe thread that decides on the program's calls could not be set up: a step was refused by the system, most often because descriptors or threads ran out. Nothing was run. Raise the limits (`ulimit -n`, `ulimit -u`) or see `flyball doctor`.",
    ),
    (
        "FB0251",
        "The network's broker could not be started.\n\nThe charter opens the network, and the broker that stands between the program and the world could not listen inside the sandbox. Nothing was run. `flyball doctor` says what this machine lacks.",
    ),
    (
        "FB0252",
        "The session could not be paused.\n\nNot every process of the session stood still in time (a process in an uninterruptible wait of the system, most often a dead network file system). What had stopped goes on again. Try again, or end the session with `flyball kill`.",
    ),
    (
        "FB0253",
        "The session has ended.\n\nThe program and everything that it started are gone; there is nothing left to pause, resume or signal.",
    ),
    (
        "FB0254",
        "A limit can't be changed while the program runs.\n\nOther `[limits]` hold for a running session through its control groups. This machine or this user has none for that limit, or the controller of version 1 would have to be entered now, which does not count the memory in use; or the program uses more memory than the limit already. Nothing was changed. Leave the limit as it is, stop what takes too much (`flyball pause`, `flyball kill`), or start another session under the new charter; `flyball doctor` says what this machine has.",
    ),
];

/// Why a program was not started. Nothing was run then.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The sandbox could not be built.
    #[error(transparent)]
    Launch(#[from] LaunchError),
    /// The machine has no overlay for the workspace, and it could not be copied.
    #[error("the workspace could not be copied, which must stand in for an overlay here: {0}")]
    Copy(#[from] WorkspaceError),
    /// The mediation thread could not be set up.
    #[error("mediation could not be started: {0}")]
    Mediation(io::Error),
    /// The broker could not be set up.
    #[error("the network's broker could not be started: {0}")]
    Broker(io::Error),
}

impl StartError {
    /// Its stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Launch(error) => error.code(),
            Self::Copy(error) => error.code(),
            Self::Mediation(_) => "FB0250",
            Self::Broker(_) => "FB0251",
        }
    }

    /// What to do about it, in one sentence.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::Launch(error) => error.hint(),
            Self::Copy(error) => format!("{}; `flyball doctor` says why no overlay can be had here", error.hint()),
            Self::Mediation(_) => "raise the limits on descriptors and threads, or see `flyball doctor`".into(),
            Self::Broker(_) => "see `flyball doctor`, or close the network in the charter".into(),
        }
    }

    /// The layer that was missing and not accepted, where that is what stopped the start (exit code 102).
    #[must_use]
    pub fn weakness(&self) -> Option<Weakness> {
        match self {
            Self::Launch(error) => error.weakness(),
            _ => None,
        }
    }
}

/// Why a running session did not do as it was told.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ControlError {
    /// Not everything stood still in time.
    #[error("the session could not be paused: {0}")]
    Pause(io::Error),
    /// It is over.
    #[error("the session has ended: {0}")]
    Over(io::Error),
    /// A limit can't be changed while it runs.
    #[error("no control group of the session holds a limit of `{names}`: {source}")]
    Limit {
        /// Which.
        names: String,
        /// Why.
        source: io::Error,
    },
    /// It uses more than the limit already.
    #[error("the session uses more than the limit of `{0}` already")]
    InUse(&'static str),
}

impl ControlError {
    /// Its stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Pause(_) => "FB0252",
            Self::Over(_) => "FB0253",
            Self::Limit { .. } | Self::InUse(_) => "FB0254",
        }
    }
}

/// How a session's program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exit {
    /// Its status.
    pub status: Status,
    /// Who ended it.
    pub by: EndedBy,
}

/// A program's exit status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It exited with this code.
    Code(i32),
    /// This signal ended it.
    Signal(i32),
    /// It never ran: its exec failed with this errno, or was denied.
    NotRun(i32),
}

/// Who ended a session's program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndedBy {
    /// Itself.
    Program,
    /// [`Running::kill`].
    Kill,
    /// A breach of the boundary was found.
    Breach,
    /// Something outside, or the end of mediation.
    Outside,
}

/// A program that runs in its sandbox. The last handle's end is the program's.
#[derive(Clone)]
pub struct Running(Arc<Inner>);

struct Inner {
    group: Arc<Group>,
    workspace: PathBuf,
    mailbox: Mailbox,
    mediation: Mutex<Option<JoinHandle<()>>>,
    exit: Mutex<Option<Exit>>,
    /// Pause and resume, one at a time.
    pausing: Mutex<bool>,
}

/// The processes, and the reason of their end.
struct Group {
    launched: Launched,
    reason: AtomicU8,
}

const REASON_KILL: u8 = 1;
const REASON_BREACH: u8 = 2;
const REASON_OUTSIDE: u8 = 3;

impl Group {
    fn because(&self, reason: u8) {
        // The first reason stands.
        let _ = self.reason.compare_exchange(0, reason, Ordering::SeqCst, Ordering::SeqCst);
    }
}

impl Tree for Group {
    fn kill(&self) {
        self.launched.kill_all();
    }

    fn breached(&self) {
        self.because(REASON_BREACH);
    }

    fn was_ended(&self) -> bool {
        self.reason.load(Ordering::SeqCst) != 0
    }
}

impl Inside for NetHelper {
    fn listen(&self, address: SocketAddr) -> io::Result<OwnedFd> {
        NetHelper::listen(self, address)
    }

    fn bind_udp(&self, address: SocketAddr) -> io::Result<OwnedFd> {
        NetHelper::bind_udp(self, address)
    }
}

/// Builds the sandbox that `spec` describes and runs its program in it, every world-changing call decided by `mediator`.
///
/// # Errors
/// See [`StartError`]; nothing was run then.
pub fn start(spec: Spec, mediator: Box<dyn Mediator>) -> Result<Running, StartError> {
    build(spec, None)?.ready(mediator)?.go()
}

/// What a sandbox is built with that takes no knowledge of it: a process in namespaces of its own. Dropping it ends it.
#[derive(Debug)]
pub struct Begun(launch::Begun);

/// Begins a sandbox before it is known what it is to be: [`build`] goes on with it. `None` where that can't be done; what is
/// wrong `build` will say. `base`: an empty folder, made where it is missing, that nothing is written into: the new root is
/// mounted on it where only the sandbox sees it. With `streams` the program has these in the place of the caller's own.
#[must_use]
pub fn begin(base: &Path, streams: Option<launch::Streams>) -> Option<Begun> {
    let begun = launch::make_dir(base).and_then(|()| launch::begin(base, false, streams));
    begun.ok().map(Begun)
}

/// A sandbox that stands, with nothing running in it yet; dropping it takes it down.
#[derive(Debug)]
pub struct Built {
    spec: Spec,
    untested: Untested,
}

/// Builds the sandbox that `spec` describes. Where no overlay can be had, the workspace is copied for it first.
///
/// # Errors
/// See [`StartError`]; nothing was run then.
pub fn build(spec: Spec, begun: Option<Begun>) -> Result<Built, StartError> {
    let host_sockets = shows_sockets(&spec);
    let filter = filter::program(spec.mediate_reads, host_sockets, false, spec.gives);
    let untested = match launch::launch(&spec, &filter, false, begun.map(|begun| begun.0)) {
        Err(LaunchError::Weaker { weakness: Weakness::Overlay, .. }) => {
            copy(&spec)?;
            launch::launch(&spec, &filter, false, None)?
        }
        Err(LaunchError::Weaker { weakness: Weakness::Namespaces, .. }) if may_stand_apart(&spec) => {
            copy(&spec)?;
            launch::launch(&spec, &filter::program(spec.mediate_reads, host_sockets, true, spec.gives), true, None)?
        }
        other => other?,
    };
    Ok(Built { spec, untested })
}

/// Whether sockets of the host's may come in sight, now or later.
fn shows_sockets(spec: &Spec) -> bool {
    spec.expose.iter().any(|path| !path.is_file())
}

fn copy(spec: &Spec) -> Result<(), WorkspaceError> {
    let upper = spec.session_dir.join("workspace/upper");
    let Some(left) = &spec.left else {
        return workspace::copy(&Layers::new(spec.lower().to_owned(), upper), &spec.hide).map(drop);
    };
    // INVARIANT: only a whole tree is copied. The layer of an overlay is none, and where it was made there are overlays.
    if !workspace::is_copy(&Layers::new(spec.workspace.clone(), left.clone()))? {
        let source = io::ErrorKind::Unsupported.into();
        return Err(WorkspaceError::Io { doing: "see without an overlay", path: left.clone(), source });
    }
    std::fs::create_dir_all(spec.session_dir.join("workspace")).map_err(|source| WorkspaceError::Io {
        doing: "make",
        path: spec.session_dir.clone(),
        source,
    })?;
    // What was hidden is not in it.
    workspace::copy(&Layers::new(left.clone(), upper), &[]).map(drop)
}

fn may_stand_apart(spec: &Spec) -> bool {
    spec.accept_weaker.contains(&Weakness::Namespaces) && launch::can_stand_apart()
}

impl Built {
    /// Layers that are missing here: accepted ones, and those that something as good stands in for.
    #[must_use]
    pub fn weaker(&self) -> &[Weakness] {
        self.untested.weaker()
    }

    /// Tries every way round the boundary and sets up all that decides on the program's calls, by `mediator`. The program
    /// itself waits for [`Ready::go`].
    ///
    /// # Errors
    /// See [`StartError`]; nothing was run then.
    pub fn ready(self, mediator: Box<dyn Mediator>) -> Result<Ready, StartError> {
        ready(&self.spec, self.untested.tested()?, mediator).map(Ready)
    }
}

/// A program that waits for its go; dropping it takes all of it down.
pub struct Ready(Running);

impl Ready {
    /// Runs the program.
    ///
    /// # Errors
    /// It is gone.
    pub fn go(self) -> Result<Running, StartError> {
        self.0.0.group.launched.go().map_err(StartError::Mediation)?;
        Ok(self.0)
    }
}

fn ready(spec: &Spec, launched: Launched, mediator: Box<dyn Mediator>) -> Result<Running, StartError> {
    let failed = |error: rustix::io::Errno| StartError::Mediation(error.into());
    let broker = match spec.network {
        Network::Closed => None,
        // It listens within the network's namespace, and there is none.
        Network::Brokered | Network::Answered if launched.places.is_some() => None,
        Network::Brokered | Network::Answered => {
            let (net, dns) = (Box::new(launched.net.clone()), launch::DNS_ADDRESS.into());
            let dials = spec.network == Network::Brokered;
            Some(Broker::start(net, dns, mediator.through(), dials).map_err(StartError::Broker)?)
        }
    };
    let wake = rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).map_err(failed)?;
    let (sender, control) = mpsc::channel();
    let mailbox = Mailbox::new(sender, wake.try_clone().map_err(StartError::Mediation)?);
    let duplicate = |fd: &OwnedFd| fd.try_clone().map_err(StartError::Mediation);
    let (notify, root) = (duplicate(&launched.notify)?, duplicate(&launched.root)?);
    let (places, init) = (launched.places.clone(), launched.init_pid);
    let workspace = launched_workspace(spec, places.as_deref());
    let exits_are_told = !launched.weaker.contains(&Weakness::ExitStatus);
    let group = Arc::new(Group { launched, reason: AtomicU8::new(0) });
    let parts = Parts {
        notify,
        root,
        workspace: workspace.clone(),
        init,
        places,
        broker,
        reads: spec.mediate_reads,
        gives: spec.gives,
        exits_are_told,
        mediator,
        tree: group.clone(),
        control,
        mailbox: mailbox.clone(),
    };
    let (started, is_started) = mpsc::channel();
    let mediation = std::thread::Builder::new()
        .name("flyball-mediate".into())
        .spawn(move || {
            super::run(parts, &wake, |result| {
                // The receiver waits just below.
                let _ = started.send(result);
            })
        })
        .map_err(StartError::Mediation)?;
    // From here on whatever fails ends the tree: the handle's end does.
    let running = Running(Arc::new(Inner {
        group,
        workspace,
        mailbox,
        mediation: Mutex::new(Some(mediation)),
        exit: Mutex::new(None),
        pausing: Mutex::new(false),
    }));
    match is_started.recv() {
        Ok(Ok(())) => {}
        Ok(Err(errno)) => return Err(StartError::Mediation(io::Error::from_raw_os_error(errno))),
        Err(_) => return Err(StartError::Mediation(io::ErrorKind::BrokenPipe.into())),
    }
    Ok(running)
}

/// The workspace as the program sees it, by its path below the root.
fn launched_workspace(spec: &Spec, places: Option<&Places>) -> PathBuf {
    places.map_or_else(|| spec.workspace.clone(), |places| places.workspace().to_owned())
}

/// How long a pause waits for the call that is being decided.
const QUIET_WAIT_MAX: Duration = Duration::from_secs(2);

impl Running {
    /// Decides a held call. Of a ticket that is not held (any more) nothing comes.
    pub fn answer(&self, ticket: Ticket, decision: Decision) {
        self.0.mailbox.send(Control::Answer(ticket, decision));
    }

    /// Stops every process, questions outstanding or not, and returns how long it took. Held calls are withdrawn and asked
    /// again after [`Self::resume`]. Pausing what is paused does nothing.
    ///
    /// # Errors
    /// Not everything stood still in time; it goes on then.
    pub fn pause(&self) -> Result<Duration, ControlError> {
        let mut is_paused = lock(&self.0.pausing);
        let started = Instant::now();
        if *is_paused {
            return Ok(Duration::ZERO);
        }
        let launched = &self.0.group.launched;
        // What was received is decided under the rules of a session that goes on; the rest is received after the pause.
        let (through, is_through) = mpsc::channel();
        self.0.mailbox.send(Control::Pause(through));
        let stopped = match is_through.recv_timeout(QUIET_WAIT_MAX) {
            Err(RecvTimeoutError::Timeout) => Err(io::ErrorKind::TimedOut.into()),
            Ok(()) | Err(RecvTimeoutError::Disconnected) => {
                match launched.cgroup.as_ref().filter(|cgroup| cgroup.has_freezer()) {
                    // Once every process is told to freeze, what waits in a held call is sent back to the call's start,
                    // where it freezes.
                    Some(cgroup) => cgroup.freeze(|| self.0.mailbox.send(Control::Restart)),
                    // A stopped process may go on waiting in its held call: it does not run.
                    None => launched.stop_all(),
                }
            }
        };
        if let Err(error) = stopped {
            self.0.mailbox.send(Control::Resume);
            return Err(ControlError::Pause(error));
        }
        *is_paused = true;
        Ok(started.elapsed())
    }

    /// Whether it was paused and not resumed since.
    #[must_use]
    pub fn is_paused(&self) -> bool {
        *lock(&self.0.pausing)
    }

    /// Undoes [`Self::pause`].
    ///
    /// # Errors
    /// The session is over.
    pub fn resume(&self) -> Result<(), ControlError> {
        let mut is_paused = lock(&self.0.pausing);
        if !*is_paused {
            return Ok(());
        }
        let launched = &self.0.group.launched;
        self.0.mailbox.send(Control::Resume);
        match launched.cgroup.as_ref().filter(|cgroup| cgroup.has_freezer()) {
            Some(cgroup) => cgroup.thaw(),
            None => launched.cont_all(),
        }
        .map_err(ControlError::Over)?;
        *is_paused = false;
        Ok(())
    }

    /// Puts other resource limits in force than those `before`, each or none of them.
    ///
    /// # Errors
    /// [`ControlError::Limit`], [`ControlError::InUse`]: all limits are as they were.
    pub fn limit(&self, before: &Limits, limits: &Limits) -> Result<(), ControlError> {
        let Some(cgroup) = &self.0.group.launched.cgroup else {
            let pairs = [
                ("pids", before.pids_max != limits.pids_max),
                ("memory", before.memory_bytes_max != limits.memory_bytes_max),
                ("cpu", before.cpu_percent_max != limits.cpu_percent_max),
            ];
            let names: Vec<&str> = pairs.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| name).collect();
            return Err(ControlError::Limit { names: names.join(", "), source: io::ErrorKind::Unsupported.into() });
        };
        cgroup.limit(before, limits).map_err(|(name, source)| match source.kind() {
            io::ErrorKind::ResourceBusy if name == "memory" => ControlError::InUse(name),
            _ => ControlError::Limit { names: name.to_owned(), source },
        })
    }

    /// Ends everything inside, paused or not, questions outstanding or not.
    pub fn kill(&self) {
        self.0.group.because(REASON_KILL);
        self.0.mailbox.send(Control::Interrupt);
        self.0.group.launched.kill_all();
    }

    /// Sends a signal to the program's foreground process group, as its terminal would.
    ///
    /// # Errors
    /// The session is over.
    pub fn signal(&self, signal: i32) -> Result<(), ControlError> {
        self.0.group.launched.signal(signal).map_err(ControlError::Over)
    }

    /// Tells the private terminal its new size.
    ///
    /// # Errors
    /// The session is over. Without a terminal nothing is done.
    pub fn resize(&self, rows: u16, columns: u16) -> Result<(), ControlError> {
        let Some(master) = self.pty() else { return Ok(()) };
        let size = rustix::termios::Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        rustix::termios::tcsetwinsize(master, size).map_err(|errno| ControlError::Over(errno.into()))
    }

    /// The other side of the private terminal, where the spec asked for one.
    #[must_use]
    pub fn pty(&self) -> Option<BorrowedFd<'_>> {
        self.0.group.launched.pty_master.as_ref().map(AsFd::as_fd)
    }

    /// What the program and all that it started write, where the spec has that captured: it ends when they have, and should be read
    /// meanwhile.
    #[must_use]
    pub fn output(&self) -> Option<BorrowedFd<'_>> {
        self.0.group.launched.output.as_ref().map(AsFd::as_fd)
    }

    /// Waits until the program has ended, with all that it started, and every call of it has been told of.
    pub fn wait(&self) -> Exit {
        let mut exit = lock(&self.0.exit);
        if let Some(exit) = *exit {
            return exit;
        }
        let group = &self.0.group;
        let end = loop {
            if let Some(end) = group.launched.end() {
                break end;
            }
            let mut polled = [PollFd::from_borrowed_fd(group.launched.end_fd(), PollFlags::IN)];
            let _ = rustix::event::poll(&mut polled, None);
        };
        // Nothing of the tree outlives its program; mediation ends with the tree.
        group.launched.kill_all();
        if let Some(mediation) = lock(&self.0.mediation).take() {
            let _ = mediation.join();
        }
        let reason = group.reason.load(Ordering::SeqCst);
        let by = match (reason, end) {
            (REASON_BREACH, _) => EndedBy::Breach,
            (REASON_KILL, _) => EndedBy::Kill,
            (REASON_OUTSIDE, _) | (_, End::Killed) => EndedBy::Outside,
            _ => EndedBy::Program,
        };
        let status = match end {
            End::Exited(code) => Status::Code(code),
            End::Signalled(signal) => Status::Signal(signal),
            End::ExecFailed(errno) => Status::NotRun(errno),
            End::Killed => Status::Signal(libc::SIGKILL),
        };
        *exit.insert(Exit { status, by })
    }

    /// The root as the program sees it, for reading and writing the merged workspace (`openat2` with `RESOLVE_IN_ROOT`).
    #[must_use]
    pub fn root(&self) -> BorrowedFd<'_> {
        self.0.group.launched.root.as_fd()
    }

    /// Where the workspace is below [`Self::root`].
    #[must_use]
    pub fn workspace(&self) -> &Path {
        &self.0.workspace
    }

    /// Layers that are missing here.
    #[must_use]
    pub fn weaker(&self) -> &[Weakness] {
        &self.0.group.launched.weaker
    }
}

impl std::fmt::Debug for Running {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Running").field("init_pid", &self.0.group.launched.init_pid).finish_non_exhaustive()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.group.because(REASON_OUTSIDE);
        self.group.launched.kill_all();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
