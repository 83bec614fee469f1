//! Building the boundary and starting the program in it (SANDBOX.md, layers 1, 2, 3, 6, 7, 9).
//!
//! Who runs where: the **supervisor** (many threads, may hold keys) calls [`launch`], which re-executes this very binary
//! as the **launcher**, one thread, no environment. The launcher makes the namespaces and forks **pid 1** of the new pid
//! namespace, our own code, non-dumpable: it mounts the new root, sets up the inner network, forks the **agent**, and
//! from then on only serves the supervisor and reaps. The agent gives up everything, puts the filter on, waits for the
//! go, and execs the program.
//!
//! The launcher starts ahead of its orders ([`begin`]) with a socket and a pipe, and pid 1 mounts what all sessions have alike
//! (the system, devices, private places) before it has them. Control: the program's streams and the new root's place, the orders,
//! which the launcher hands on, then requests to pid 1; its end tells pid 1 that the supervisor is dead, and pid 1 ends all. The pipe's end tells the launcher so: it thaws what stands
//! frozen, which could not die otherwise, and kills pid 1. With the orders, a sealed memfd, come the sockets agent (until the
//! exec) and end (the agent's wait status), and the session's locks, which the launcher holds until all of the tree is gone
//! ([`end_leftovers`] waits for that).

mod agent;
mod apart;
mod cgroup;
mod confine;
mod error;
mod home;
mod init;
mod leftovers;
mod mounts;
mod netns;
mod prepare;
mod probe;
mod remove;
mod root;
mod selftest;
mod step;
mod sys;
mod wire;

pub(crate) use cgroup::{Cgroup, Hierarchies};
pub(crate) use confine::LANDLOCK_ABI_MIN;
pub use error::{CODES, LaunchError, weakness_name};
pub(crate) use home::make_dir;
pub use leftovers::end_leftovers;
pub use mounts::{
    CHROMIUM_DIR, HOOKS_PROGRAM, HOOKS_SOCKET, HOOKS_SOCKET_FILE, INBOX, JAVA_TRUST_FILE, SYSTEM_CHROMIUM,
    SYSTEM_JAVA_TRUST, TRUST, hooks_settings_file,
};
pub(crate) use prepare::{can_stand_apart, landlock_abi};
pub(crate) use probe::{Probed, probe};
pub use remove::remove_session_dir;

use crate::places::Places;
use crate::spec::{Spec, Terminal, Weakness};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::net::RecvFlags;
use rustix::net::sockopt::{self, Timeout};
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, Signal};
use std::ffi::OsStr;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use wire::{Reply, Report, Request};

/// Where programs inside ask for names: the broker answers there (RFC 2544 benchmarking space, never routed).
pub(crate) const DNS_ADDRESS: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);

/// What the launcher is called, so that `ps` tells it apart and [`enter_if_launcher`] knows it.
const LAUNCHER: &str = "flyball-launcher";
/// How long each step of the start may take.
const START_WAIT_MAX: Duration = Duration::from_secs(20);
/// How long pid 1 may take to answer.
const ANSWER_WAIT_MAX: Duration = Duration::from_secs(5);
/// How long the tree may take to be gone after it was killed.
const END_WAIT_MAX: Duration = Duration::from_secs(5);

/// A boundary that stands, with the agent waiting in it for [`Launched::go`].
#[derive(Debug)]
pub(crate) struct Launched {
    /// Pid 1 of the sandbox, as a pidfd: readable when it has ended.
    pub(crate) init: OwnedFd,
    /// Pid 1, as the supervisor numbers it.
    pub(crate) init_pid: i32,
    /// The agent, as the supervisor numbers it. Its process group and session have the same number.
    pub(crate) agent_pid: i32,
    /// The seccomp listener.
    pub(crate) notify: OwnedFd,
    /// The new root, `O_PATH`, for `openat2(RESOLVE_IN_ROOT)`.
    ///
    /// NOTE for whoever performs calls through it: the supervisor is in another mount namespace, so the kernel does not
    /// keep it from unlinking or renaming what is a mount point inside (`EBUSY` is per namespace), and would take the
    /// mount away. Check for `STATX_ATTR_MOUNT_ROOT` first, on both names of a rename: protected and hidden paths,
    /// `/tmp`, the workspace itself are such.
    pub(crate) root: OwnedFd,
    /// Makes sockets inside.
    pub(crate) net: NetHelper,
    /// The other side of the agent's terminal.
    pub(crate) pty_master: Option<OwnedFd>,
    /// What the agent's tree writes to its standard streams, where that is captured.
    pub(crate) output: Option<OwnedFd>,
    /// The groups of the agent's tree; `None` where this user can make none.
    pub(crate) cgroup: Option<Cgroup>,
    /// Layers that are missing: accepted ones, and the freezer, which signals stand in for.
    pub(crate) weaker: Vec<Weakness>,
    /// Without namespaces: what the program may touch, on the machine's own tree.
    pub(crate) places: Option<Arc<Places>>,
    agent: OwnedFd,
    end: OwnedFd,
    launcher: Child,
    _alive: OwnedFd,
    _locks: Vec<OwnedFd>,
}

/// How the agent ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// It exited with this code.
    Exited(i32),
    /// This signal ended it.
    Signalled(i32),
    /// The program's exec was refused with this errno, by the system or a decision; a shell would say 126 or 127.
    ExecFailed(i32),
    /// Pid 1 was killed from outside, and all with it.
    Killed,
}

/// Makes sockets in the sandbox's network namespace, through pid 1.
#[derive(Debug, Clone)]
pub(crate) struct NetHelper {
    control: Arc<Mutex<OwnedFd>>,
}

/// The binary must call this first thing in `main`: when it was started as the sandbox's launcher this never returns.
///
/// A process is one when it was given the launcher's name, and a socket and a pipe in the place of its first streams; anyone may
/// start one, and gets a process that builds a sandbox around itself with no more rights than it had.
pub fn enter_if_launcher() {
    let mut args = std::env::args_os();
    if args.next().as_deref() != Some(OsStr::new(LAUNCHER)) {
        return;
    }
    let mut args = args.peekable();
    if args.next_if(|word| word == probe::PROBE).is_some() {
        let folder = args.next().unwrap_or_default();
        sys::exit_now(probe::run(Path::new(&folder)));
    }
    let given = |stream: BorrowedFd<'_>| rustix::io::fcntl_dupfd_cloexec(stream, 3);
    // tidy: allow print: a pipe stands there.
    match (given(rustix::stdio::stdin()), given(rustix::stdio::stdout())) {
        (Ok(control), Ok(alive)) => sys::exit_now(init::run(control, &alive)),
        _ => sys::exit_now(2),
    }
}

/// A launcher that was started ahead of its orders: it stands in namespaces of its own and waits. Dropping it ends it.
#[derive(Debug)]
pub(crate) struct Begun {
    starting: Starting,
    control: OwnedFd,
    /// Its other end is the launcher's: whatever ends this process, the launcher reads its end.
    alive: OwnedFd,
    hierarchies: Hierarchies,
}

/// A program's standard input, output and errors, where they are not the caller's own.
pub type Streams = [OwnedFd; 3];

/// Starts a launcher, to be given its orders by [`launch`]. `base`: an empty folder which the new root is mounted on where only
/// the launcher sees it; several launchers may have the same.
///
/// # Errors
/// What the system said.
pub(crate) fn begin(base: &Path, is_apart: bool, streams: Option<Streams>) -> io::Result<Begun> {
    let (control, control_inside) = wire::pair()?;
    sockopt::set_socket_passcred(&control, true)?;
    sockopt::set_socket_timeout(&control, Timeout::Recv, Some(START_WAIT_MAX))?;
    let (alive_inside, alive) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    let (streams, errors) = match streams {
        Some([input, output, errors]) => (Some((input, output)), errors.into()),
        None => (None, Stdio::inherit()),
    };
    let launcher = spawn(control_inside, alive_inside, errors)?;
    let starting = Starting { launcher: Some(launcher), init: None };
    let (input, output) = match &streams {
        Some((input, output)) => (input.as_fd(), output.as_fd()),
        // tidy: allow print: it is handed on, unwritten.
        None => (rustix::stdio::stdin(), rustix::stdio::stdout()),
    };
    wire::send(&control, &wire::First { base: (!is_apart).then(|| base.to_owned()) }, &[input, output])?;
    // Meanwhile.
    let hierarchies = Hierarchies::of_this_process();
    hierarchies.remove_stale();
    Ok(Begun { starting, control, alive, hierarchies })
}

/// Streams whose output and errors come out of one pipe, and nothing to read.
fn captured() -> io::Result<(OwnedFd, Streams)> {
    let null = std::fs::File::open("/dev/null")?.into();
    let (output, inside) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    Ok((output, [null, inside.try_clone()?, inside]))
}

/// Builds the boundary that `spec` describes and starts an agent in it, which puts `filter` on and waits for the go. `is_apart`:
/// without namespaces; the workspace must have been copied. `begun`: a launcher to use, if it is of that kind.
///
/// # Errors
/// See [`LaunchError`]; nothing was run then.
pub(crate) fn launch(
    spec: &Spec,
    filter: &[libc::sock_filter],
    is_apart: bool,
    begun: Option<Begun>,
) -> Result<Untested, LaunchError> {
    let prepared = prepare::prepare(spec, is_apart, begun.as_ref().map(|begun| &begun.hierarchies))?;
    let setup =
        |step: &'static str| move |source: io::Error| LaunchError::Setup { step: step.into(), path: None, source };
    let boot = prepare::orders(spec, filter, &prepared).map_err(setup("writing the launcher's orders"))?;
    let (agent, agent_inside) = wire::pair().map_err(setup("making sockets"))?;
    let (end, end_inside) = wire::pair().map_err(setup("making sockets"))?;
    sockopt::set_socket_passcred(&agent, true).map_err(|error| setup("preparing sockets")(error.into()))?;
    sockopt::set_socket_timeout(&agent, Timeout::Recv, Some(START_WAIT_MAX))
        .map_err(|error| setup("preparing sockets")(error.into()))?;
    let (output, streams) = match spec.terminal {
        Terminal::Captured => {
            let (output, streams) = captured().map_err(setup("making a pipe"))?;
            (Some(output), Some(streams))
        }
        Terminal::Inherit | Terminal::Pty { .. } => (None, None),
    };
    let begun = match begun.filter(|_| output.is_none()) {
        Some(begun) => begun,
        None => {
            let base = spec.session_dir.join("root");
            home::make_dir(&base).map_err(|source| prepare::folder_error(&base, source))?;
            begin(&base, is_apart, streams).map_err(setup("starting the launcher"))?
        }
    };
    let Begun { mut starting, control, alive, .. } = begun;
    let freezer = prepared.cgroup.as_ref().and_then(Cgroup::freezer_file);
    let group = prepared.cgroup.as_ref().and_then(Cgroup::birthplace);
    let orders = wire::Orders { has_freezer: freezer.is_some(), has_group: group.is_some() };
    let handed: Vec<BorrowedFd<'_>> = [&boot, &agent_inside, &end_inside]
        .into_iter()
        .chain(&freezer)
        .chain(&group)
        .chain(&prepared.locks)
        .map(AsFd::as_fd)
        .collect();
    let sent = wire::send(&control, &orders, &handed);
    drop(handed);
    drop((boot, agent_inside, end_inside, freezer, group));
    if sent.is_err() {
        return Err(starting.died());
    }

    let ready = starting.expect(&control)?;
    let mut fds = ready.fds.into_iter();
    let (Report::Ready { weaker }, Some(root), Some(init_pid)) = (ready.message, fds.next(), ready.pid) else {
        return Err(starting.died());
    };
    starting.init = match pidfd(init_pid) {
        Ok(init) => Some(init),
        // It ended with the agent, which says why, or says so itself: both are heard in `tested`.
        Err(error) if error.raw_os_error() == Some(libc::ESRCH) => None,
        Err(error) => return Err(setup("watching pid 1")(error)),
    };
    Ok(Untested {
        init_pid,
        root,
        control,
        pty_master: fds.next(),
        output,
        cgroup: prepared.cgroup,
        weaker: prepared.weaker.into_iter().chain(weaker).collect(),
        places: prepared.places,
        agent,
        end,
        alive,
        locks: prepared.locks,
        starting,
    })
}

/// Waits until the agent has its filter on, takes the listener over and puts it into its groups.
fn take_over(starting: &mut Starting, agent: &OwnedFd, cgroup: Option<&Cgroup>) -> Result<(i32, OwnedFd), LaunchError> {
    let setup =
        |step: &'static str| move |source: io::Error| LaunchError::Setup { step: step.into(), path: None, source };
    let listening = starting.expect(agent)?;
    let (Report::Listening { fd }, Some(agent_pid)) = (listening.message, listening.pid) else {
        return Err(starting.died());
    };
    let notify = pidfd(agent_pid)
        .and_then(|agent| Ok(rustix::process::pidfd_getfd(agent, fd, PidfdGetfdFlags::empty())?))
        .map_err(setup("taking over the listener"))?;
    // Without these each call would be denied in the end; better said at once.
    let lacking = if !sys::can_add_and_send(&notify) {
        Some("the kernel can't hand descriptors over (ADDFD with SEND)")
    } else if !sys::can_read_memory(agent_pid) {
        Some("the arguments of calls can't be read (`process_vm_readv` is refused)")
    } else {
        None
    };
    if let Some(found) = lacking {
        return Err(LaunchError::Weaker { weakness: Weakness::Mediation, found: found.to_owned() });
    }
    if let Some(cgroup) = cgroup {
        cgroup.add(agent_pid).map_err(setup("moving the agent into its control group"))?;
    }
    Ok((agent_pid, notify))
}

/// The failure that pid 1 has told by now, if it has.
fn told(control: &OwnedFd) -> Option<LaunchError> {
    let report = wire::receive::<Report>(control, RecvFlags::DONTWAIT).ok()??;
    failure(&report.message)
}

/// Its socket and pipe stand in the place of its first streams, which it is sent: with nothing to be done between fork and exec,
/// nothing of this process is copied for it.
fn spawn(control: OwnedFd, alive: OwnedFd, errors: Stdio) -> io::Result<Child> {
    let mut command = Command::new("/proc/self/exe");
    command.arg0(LAUNCHER).env_clear().stdin(control).stdout(alive).stderr(errors).spawn()
}

/// A start under way: whatever goes wrong, the launcher and all behind it end.
#[derive(Debug)]
struct Starting {
    launcher: Option<Child>,
    /// Pid 1, once it has said that it is there.
    init: Option<OwnedFd>,
}

impl Starting {
    /// The next report, or the error that it stands for.
    fn expect(&mut self, socket: &OwnedFd) -> Result<wire::Received<Report>, LaunchError> {
        let received = match wire::receive::<Report>(socket, RecvFlags::empty()) {
            Ok(Some(received)) => received,
            Ok(None) => return Err(self.died()),
            Err(source) => {
                return Err(LaunchError::Setup { step: "waiting for the launcher".into(), path: None, source });
            }
        };
        failure(&received.message).map_or(Ok(received), Err)
    }

    fn died(&mut self) -> LaunchError {
        let how = match self.launcher.as_mut().map(Child::wait) {
            Some(Ok(status)) => status.to_string(),
            _ => "no status".to_owned(),
        };
        LaunchError::LauncherDied { how }
    }
}

/// The error that a report stands for.
fn failure(report: &Report) -> Option<LaunchError> {
    Some(match report.clone() {
        Report::Failed { step, path, errno } => prepare::setup_error(step, path, io::Error::from_raw_os_error(errno)),
        Report::ProgramNotFound { program, looked_in } => LaunchError::ProgramNotFound { program, looked_in },
        Report::ProgramNotRunnable { program, errno } => {
            LaunchError::ProgramNotRunnable { program, why: io::Error::from_raw_os_error(errno).to_string() }
        }
        Report::Bypassed { what } => LaunchError::SelfTest { what },
        _ => return None,
    })
}

impl Drop for Starting {
    fn drop(&mut self) {
        let Some(launcher) = &mut self.launcher else { return };
        match &self.init {
            // The launcher ends after it.
            Some(init) => {
                let _ = rustix::process::pidfd_send_signal(init, Signal::KILL);
                ended(init, launcher);
            }
            // Pid 1 has the launcher's death as its own.
            None => {
                let _ = launcher.kill();
                let _ = launcher.wait();
            }
        }
    }
}

/// Waits until pid 1, which was killed, is gone, and the launcher with it. A tree that does not die in time (a dead network file
/// system, say) leaves a zombie rather than a hang.
fn ended(init: &OwnedFd, launcher: &mut Child) {
    let timeout = rustix::event::Timespec::try_from(END_WAIT_MAX).ok();
    let mut polled = [rustix::event::PollFd::new(init, rustix::event::PollFlags::IN)];
    if matches!(rustix::event::poll(&mut polled, timeout.as_ref()), Ok(1..)) {
        let _ = launcher.wait();
    }
}

/// A boundary that stands and is being tried from inside, while the agent gets ready in it.
#[derive(Debug)]
pub(crate) struct Untested {
    init_pid: i32,
    root: OwnedFd,
    control: OwnedFd,
    pty_master: Option<OwnedFd>,
    output: Option<OwnedFd>,
    cgroup: Option<Cgroup>,
    weaker: Vec<Weakness>,
    places: Option<Places>,
    agent: OwnedFd,
    end: OwnedFd,
    alive: OwnedFd,
    locks: Vec<OwnedFd>,
    starting: Starting,
}

impl Untested {
    /// Layers that are missing.
    pub(crate) fn weaker(&self) -> &[Weakness] {
        &self.weaker
    }

    /// Takes the agent over and waits until every way round was tried.
    ///
    /// # Errors
    /// See [`LaunchError`]: the agent could not be made ready, one way leads round, or pid 1 is gone; all of it is ended then.
    pub(crate) fn tested(self) -> Result<Launched, LaunchError> {
        let broken = |source| LaunchError::Setup { step: "testing the boundary".into(), path: None, source };
        let Self { init_pid, root, control, pty_master, output, cgroup, weaker, .. } = self;
        // INVARIANT: `starting` comes last and is dropped first: it ends the tree before its groups and locks go.
        let (places, agent, end, alive, locks, mut starting) =
            (self.places, self.agent, self.end, self.alive, self.locks, self.starting);
        // What is gone by now went with pid 1, which says why it went.
        let or_told = |error| told(&control).unwrap_or(error);
        let (agent_pid, notify) = take_over(&mut starting, &agent, cgroup.as_ref()).map_err(or_told)?;
        let report = wire::receive::<Report>(&control, RecvFlags::empty()).map_err(broken)?.map(|told| told.message);
        match report {
            Some(Report::Tested) => {}
            Some(report) => {
                return Err(failure(&report).unwrap_or_else(|| broken(io::ErrorKind::InvalidData.into())));
            }
            None => return Err(broken(io::ErrorKind::UnexpectedEof.into())),
        }
        sockopt::set_socket_timeout(&control, Timeout::Recv, Some(ANSWER_WAIT_MAX))
            .map_err(|error| broken(error.into()))?;
        let Some(init) = starting.init.take() else { return Err(starting.died()) };
        let Some(launcher) = starting.launcher.take() else { return Err(starting.died()) };
        Ok(Launched {
            init,
            init_pid,
            agent_pid,
            notify,
            root,
            net: NetHelper { control: Arc::new(Mutex::new(control)) },
            pty_master,
            output,
            cgroup,
            weaker,
            places: places.map(Arc::new),
            agent,
            end,
            launcher,
            _alive: alive,
            _locks: locks,
        })
    }
}

impl Launched {
    /// Lets the agent exec its program. Someone must be serving [`Launched::notify`].
    ///
    /// # Errors
    /// The agent is gone.
    pub(crate) fn go(&self) -> io::Result<()> {
        rustix::io::write(&self.agent, b"go")?;
        Ok(())
    }

    /// Readable when [`Launched::end`] has something to say.
    pub(crate) fn end_fd(&self) -> BorrowedFd<'_> {
        self.end.as_fd()
    }

    /// How the agent ended; `None` while it runs. What it left running is ended with it.
    pub(crate) fn end(&self) -> Option<End> {
        let status = match wire::receive::<Report>(&self.end, RecvFlags::DONTWAIT) {
            Ok(Some(received)) => match received.message {
                Report::Ended { status } => status,
                _ => return Some(End::Killed),
            },
            Ok(None) => return Some(End::Killed),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
            Err(_) => return Some(End::Killed),
        };
        if let Ok(Some(received)) = wire::receive::<Report>(&self.agent, RecvFlags::DONTWAIT)
            && let Report::ExecFailed { errno } = received.message
        {
            return Some(End::ExecFailed(errno));
        }
        Some(if libc::WIFSIGNALED(status) {
            End::Signalled(libc::WTERMSIG(status))
        } else {
            End::Exited(libc::WEXITSTATUS(status))
        })
    }

    /// Ends everything inside, frozen or not. Answer held calls first.
    pub(crate) fn kill_all(&self) {
        let is_killed = self.cgroup.as_ref().is_some_and(Cgroup::kill);
        let _ = rustix::process::pidfd_send_signal(&self.init, Signal::KILL);
        if !is_killed && let Some(cgroup) = &self.cgroup {
            // What is frozen by version 1 dies when it thaws, before it runs on.
            let _ = cgroup.thaw();
        }
    }

    /// Stops everything inside by signal: the way to pause where there is no freezer.
    ///
    /// # Errors
    /// Pid 1 does not answer.
    pub(crate) fn stop_all(&self) -> io::Result<()> {
        self.net.ask(&Request::SignalAll(libc::SIGSTOP)).map(drop)
    }

    /// Undoes [`Launched::stop_all`].
    ///
    /// # Errors
    /// Pid 1 does not answer.
    pub(crate) fn cont_all(&self) -> io::Result<()> {
        self.net.ask(&Request::SignalAll(libc::SIGCONT)).map(drop)
    }

    /// Sends a signal to the agent's foreground process group, as its terminal would.
    ///
    /// # Errors
    /// The group is gone, or pid 1 does not answer.
    pub(crate) fn signal(&self, signal: i32) -> io::Result<()> {
        let foreground = self.pty_master.as_ref().and_then(|master| rustix::termios::tcgetpgrp(master).ok());
        match foreground {
            Some(group) => sys::kill(-group.as_raw_nonzero().get(), signal),
            None => self.net.ask(&Request::SignalAgent(signal)).map(drop),
        }
    }
}

impl Drop for Launched {
    fn drop(&mut self) {
        self.kill_all();
        ended(&self.init, &mut self.launcher);
    }
}

impl NetHelper {
    /// A TCP listener at exactly this address, non-blocking, close-on-exec.
    ///
    /// # Errors
    /// What binding or listening said, or pid 1 does not answer.
    pub(crate) fn listen(&self, address: SocketAddr) -> io::Result<OwnedFd> {
        self.ask(&Request::Listen(address))?.ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    /// A UDP socket bound to exactly this address, non-blocking, close-on-exec.
    ///
    /// # Errors
    /// What binding said, or pid 1 does not answer.
    pub(crate) fn bind_udp(&self, address: SocketAddr) -> io::Result<OwnedFd> {
        self.ask(&Request::BindUdp(address))?.ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    fn ask(&self, request: &Request) -> io::Result<Option<OwnedFd>> {
        let control = self.control.lock().unwrap_or_else(PoisonError::into_inner);
        wire::send(&*control, request, &[])?;
        let received = wire::receive::<Reply>(&*control, RecvFlags::empty())?;
        let Some(received) = received else { return Err(io::ErrorKind::BrokenPipe.into()) };
        match received.message {
            Reply(0) => Ok(received.fds.into_iter().next()),
            Reply(errno) => Err(io::Error::from_raw_os_error(errno)),
        }
    }
}

fn pidfd(pid: i32) -> io::Result<OwnedFd> {
    let pid = Pid::from_raw(pid).ok_or(io::ErrorKind::InvalidInput)?;
    Ok(rustix::process::pidfd_open(pid, PidfdFlags::empty())?)
}
