//! The launcher process and pid 1 of the sandbox: builds the boundary, starts the agent, serves the supervisor, reaps.
//!
//! The supervisor's death is seen as the end of its socket; pid 1 then ends, and the kernel ends all of its namespace.

use super::agent;
use super::apart;
use super::confine::{keep_capabilities, no_capabilities};
use super::mounts;
use super::netns;
use super::selftest;
use super::step::{At, Step};
use super::sys::{self, Forked};
use super::wire::{self, Boot, First, Handed, Orders, Reply, Report, Request};
use crate::spec::{Network, Terminal};
use rustix::event::{PollFd, PollFlags};
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::fs::{Mode, OFlags};
use rustix::net::RecvFlags;
use rustix::process::{DumpableBehavior, Signal};
use rustix::pty::OpenptFlags;
use rustix::termios::Winsize;
use rustix::thread::{CapabilitySet, UnshareFlags};
use std::fs;
use std::io::Read;
use std::path::Path;

/// The launcher's sockets, and its orders.
pub(super) struct Sockets {
    pub(super) control: OwnedFd,
    pub(super) agent: OwnedFd,
    pub(super) end: OwnedFd,
    pub(super) boot: OwnedFd,
    /// The control group that the agent is born into, where there is one.
    pub(super) group: Option<OwnedFd>,
}

/// What the launcher itself keeps while pid 1 lives.
struct Watch<'a> {
    /// Ends with the supervisor.
    alive: &'a OwnedFd,
    /// The freezer's file, where there is one.
    freezer: Option<OwnedFd>,
    /// Held for as long as anything of the tree is there.
    _locks: Vec<OwnedFd>,
}

/// Pid 1, started ahead of its orders.
struct Ahead {
    pid: i32,
    /// Where it waits for them.
    orders: OwnedFd,
}

/// Runs the launcher to its end; returns its exit code.
pub(super) fn run(control: OwnedFd, alive: &OwnedFd) -> i32 {
    // Ahead of the orders: this takes milliseconds. What fails is told once they are here, when somebody listens.
    let begun = begin(&control);
    let Some((sockets, watch)) = orders(control, alive) else { return 2 };
    let started = begun.and_then(|ahead| match ahead {
        Some(ahead) => hand_on(ahead, &sockets),
        None => start_init(&sockets),
    });
    match started {
        Ok((init, is_apart)) => {
            // Whoever waits for the sockets' end waits for pid 1 alone.
            drop(sockets);
            let code = watch_over(init, &watch);
            if is_apart {
                end_all();
            }
            code
        }
        Err(failure) => {
            let _ = wire::send(&sockets.control, &failure.report(), &[]);
            1
        }
    }
}

/// A session of its own, and namespaces, in which pid 1 begins with what all sessions have alike; without namespaces it keeps
/// apart once it has its orders.
fn begin(control: &OwnedFd) -> Step<Option<Ahead>> {
    sys::block_signals();
    // Taken whatever comes of the rest: the orders come behind it.
    let first = wire::receive::<First>(control, RecvFlags::empty()).doing("reading the first orders")?;
    // The supervisor is gone: there will be no more orders either.
    let Some(first) = first else { return Ok(None) };
    // INVARIANT: before anything is forked. Nobody but the launcher is to have its socket and pipe, which stood there.
    let [input, output] = first.fds.as_slice() else {
        return Err(std::io::Error::from(std::io::ErrorKind::InvalidData)).doing("reading the first orders");
    };
    rustix::stdio::dup2_stdin(input).doing("taking over standard input")?;
    rustix::stdio::dup2_stdout(output).doing("taking over standard output")?;
    rustix::process::setsid().doing("starting a session")?;
    // Without namespaces.
    let Some(base) = first.message.base else { return Ok(None) };
    let (user, group) = (rustix::process::geteuid(), rustix::process::getegid());
    namespaces(!user.is_root(), user.as_raw(), group.as_raw())?;
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable).doing("closing the launcher to others")?;
    let (orders, inside) = wire::pair().doing("making sockets")?;
    match sys::fork().doing("starting pid 1")? {
        Forked::Parent(pid) => Ok(Some(Ahead { pid, orders })),
        Forked::Child => {
            // The other descriptors are the launcher's alone. Their owners are never dropped here.
            let own = [control, &inside].map(AsRawFd::as_raw_fd);
            let closed = sys::close_from(3, &own).doing("leaving the launcher's descriptors");
            let code = match closed.and_then(|()| init_ahead(control, inside, &base)) {
                Ok(()) => 0,
                Err(failure) => {
                    // It lies there until somebody listens.
                    let _ = wire::send(control, &failure.report(), &[]);
                    1
                }
            };
            sys::exit_now(code)
        }
    }
}

/// Gives pid 1 its orders; the session's locks stay here, with the one that outlives the tree.
fn hand_on(ahead: Ahead, sockets: &Sockets) -> Step<(i32, bool)> {
    let handed = Handed { has_group: sockets.group.is_some() };
    let fds: Vec<BorrowedFd<'_>> =
        [&sockets.boot, &sockets.agent, &sockets.end].into_iter().chain(&sockets.group).map(AsFd::as_fd).collect();
    // One that is gone by now has told why.
    let _ = wire::send(&ahead.orders, &handed, &fds);
    Ok((ahead.pid, false))
}

/// Waits for the orders; `None` when there will be none.
fn orders(control: OwnedFd, alive: &OwnedFd) -> Option<(Sockets, Watch<'_>)> {
    let received = wire::receive::<Orders>(&control, RecvFlags::empty()).ok()??;
    let Orders { has_freezer, has_group } = received.message;
    let mut fds = received.fds.into_iter();
    let (boot, agent, end) = (fds.next()?, fds.next()?, fds.next()?);
    let freezer = if has_freezer { Some(fds.next()?) } else { None };
    let group = if has_group { Some(fds.next()?) } else { None };
    Some((Sockets { control, agent, end, boot, group }, Watch { alive, freezer, _locks: fds.collect() }))
}

/// Waits for pid 1, which ends after all else in its namespace. Ends it should the supervisor be gone.
fn watch_over(init: i32, watch: &Watch<'_>) -> i32 {
    let mut polled = [PollFd::new(watch.alive, PollFlags::IN)];
    let init_fd = rustix::process::Pid::from_raw(init)
        .and_then(|pid| rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).ok());
    if let Some(init_fd) = &init_fd {
        let mut both = [PollFd::new(init_fd, PollFlags::IN), PollFd::new(watch.alive, PollFlags::IN)];
        while matches!(rustix::event::poll(&mut both, None), Err(rustix::io::Errno::INTR)) {}
    } else {
        while matches!(rustix::event::poll(&mut polled, None), Err(rustix::io::Errno::INTR)) {}
    }
    // Pid 1 is this one's child and was not waited for: its number is still its own.
    let _ = sys::kill(init, libc::SIGKILL);
    if let Some(freezer) = &watch.freezer {
        // What version 1 holds frozen can't even die. A group that is gone says so, and that is fine.
        let _ = rustix::io::write(freezer, b"THAWED").or_else(|_| rustix::io::write(freezer, b"0"));
    }
    sys::wait_for(init).map_or(1, |status| i32::from(status != 0))
}

/// Ends what this process or its children ever started, and waits until none of it is left. INVARIANT: Landlock keeps this
/// process's signals among its own, and the kernel lets nobody fork between the looks of one `kill`; orphans become this
/// one's children.
fn end_all() {
    let _ = sys::kill(-1, libc::SIGKILL);
    while sys::wait_any().is_some() {}
}

/// In place of a pid namespace: keeps signals among its own, and takes over orphans.
fn stand_apart() -> Step<()> {
    apart::keep_signals()?;
    rustix::process::set_child_subreaper(rustix::process::Pid::from_raw(1)).doing("taking over orphans")
}

/// Pid 1's number where there are no namespaces, and that it is none: the machine has its own.
fn start_init(sockets: &Sockets) -> Step<(i32, bool)> {
    let boot = read_boot(&sockets.boot)?;
    stand_apart()?;
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable).doing("closing the launcher to others")?;
    match sys::fork().doing("starting pid 1")? {
        Forked::Parent(init) => Ok((init, true)),
        Forked::Child => {
            // The locks are the launcher's alone: it is the one that outlives the tree. Their owners are never dropped here.
            let mut own =
                [&sockets.control, &sockets.agent, &sockets.end, &sockets.boot].map(AsRawFd::as_raw_fd).to_vec();
            own.extend(sockets.group.as_ref().map(AsRawFd::as_raw_fd));
            let closed = sys::close_from(3, &own).doing("leaving the launcher's locks");
            let code = match closed.and_then(|()| init_apart(&boot, sockets)) {
                Ok(()) => 0,
                Err(failure) => {
                    let _ = wire::send(&sockets.control, &failure.report(), &[]);
                    1
                }
            };
            sys::exit_now(code)
        }
    }
}

fn read_boot(memfd: &OwnedFd) -> Step<Boot> {
    let mut file = fs::File::from(memfd.try_clone().doing("reading the orders")?);
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).doing("reading the orders")?;
    serde_json::from_slice(&bytes).map_err(std::io::Error::other).doing("reading the orders")
}

/// Moves this process, and what it forks, into namespaces of its own; an ordinary user needs one of users for that.
pub(super) fn namespaces(is_ordinary: bool, uid: u32, gid: u32) -> Step<()> {
    let flags = UnshareFlags::NEWNS
        | UnshareFlags::NEWPID
        | UnshareFlags::NEWNET
        | UnshareFlags::NEWIPC
        | UnshareFlags::NEWUTS
        | UnshareFlags::NEWCGROUP;
    if is_ordinary {
        unshare(UnshareFlags::NEWUSER).doing("making a user namespace")?;
        fs::write("/proc/self/setgroups", "deny").doing("closing the group list")?;
        fs::write("/proc/self/uid_map", format!("{uid} {uid} 1")).doing("mapping the user")?;
        fs::write("/proc/self/gid_map", format!("{gid} {gid} 1")).doing("mapping the group")?;
    }
    unshare(flags).doing("making namespaces")
}

fn unshare(flags: UnshareFlags) -> rustix::io::Result<()> {
    // SAFETY: without FILES the descriptor table stays as it is, so no owned descriptor changes its meaning; and this
    // process has one thread.
    unsafe { rustix::thread::unshare_unsafe(flags) }
}

/// Pid 1 of namespaces of its own: first what all sessions have alike, then, with the orders, the rest.
fn init_ahead(control: &OwnedFd, orders: OwnedFd, base: &Path) -> Step<()> {
    // The launcher's own death, which the supervisor can't cause unseen, ends this one, and the kernel the rest with it.
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).doing("binding to the launcher")?;
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable).doing("closing pid 1 to others")?;
    let root = mounts::begin(base)?;
    let network = netns::begin().doing("setting up the inner network")?;
    let handed = wire::receive::<Handed>(&orders, RecvFlags::empty()).doing("waiting for the orders")?;
    drop(orders);
    // There will be none.
    let Some(handed) = handed else { return Ok(()) };
    let mut fds = handed.fds.into_iter();
    let (Some(boot), Some(agent), Some(end)) = (fds.next(), fds.next(), fds.next()) else { return Ok(()) };
    let group = fds.next().filter(|_| handed.message.has_group);
    let control = control.try_clone().doing("reading the orders")?;
    let sockets = Sockets { control, agent, end, boot, group };
    let boot = read_boot(&sockets.boot)?;
    mounts::enter(root, &boot)?;
    if boot.spec.network != Network::Closed {
        network.be_everywhere().doing("setting up the inner network")?;
    }
    init(&boot, &sockets, || true)
}

/// The first process where no kernel ends the rest with it: it has to do that first, and hears of the launcher's death as of
/// a child's.
fn init_apart(boot: &Boot, sockets: &Sockets) -> Step<()> {
    let launcher = rustix::process::getppid();
    rustix::process::set_parent_process_death_signal(Some(Signal::CHILD)).doing("binding to the launcher")?;
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable).doing("closing pid 1 to others")?;
    stand_apart()?;
    init(boot, sockets, || rustix::process::getppid() == launcher)
}

fn init(boot: &Boot, sockets: &Sockets, has_launcher: impl Fn() -> bool) -> Step<()> {
    let is_apart = boot.places.is_some();
    let terminal = match boot.spec.terminal {
        Terminal::Inherit | Terminal::Captured => None,
        Terminal::Pty { rows, columns } => {
            Some(open_terminal(if is_apart { "/dev/ptmx" } else { "/dev/pts/ptmx" }, rows, columns)?)
        }
    };
    let children = sys::child_signals().doing("watching children")?;

    let probing = selftest::start(boot)?;
    let agent_socket = sockets.agent.try_clone().doing("starting the agent")?;
    let (master, slave) = terminal.unzip();
    let agent = match fork_agent(sockets.group.as_ref()).doing("starting the agent")? {
        Forked::Child => agent::run(boot, agent_socket, slave),
        Forked::Parent(pid) => pid,
    };
    drop((agent_socket, slave));
    report_ready(sockets, master)?;
    if let Some(what) = selftest::finish(boot, probing)? {
        return wire::send(&sockets.control, &Report::Bypassed { what }, &[]).doing("reporting");
    }
    settle(is_apart)?;
    wire::send(&sockets.control, &Report::Tested, &[]).doing("reporting")?;
    serve(sockets, &children, agent, has_launcher);
    if is_apart {
        end_all();
    }
    Ok(())
}

/// Into its group, where that can be; else the supervisor moves it there.
fn fork_agent(group: Option<&OwnedFd>) -> std::io::Result<Forked> {
    match group.map(sys::fork_into) {
        Some(Ok(forked)) => Ok(forked),
        Some(Err(_)) | None => sys::fork(),
    }
}

fn open_terminal(ptmx: &str, rows: u16, columns: u16) -> Step<(OwnedFd, OwnedFd)> {
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let master = rustix::fs::open(ptmx, flags, Mode::empty()).doing("opening a terminal")?;
    rustix::pty::unlockpt(&master).doing("opening a terminal")?;
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let slave = rustix::pty::ioctl_tiocgptpeer(&master, flags).doing("opening a terminal")?;
    let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    rustix::termios::tcsetwinsize(&master, size).doing("sizing the terminal")?;
    Ok((master, slave))
}

fn report_ready(sockets: &Sockets, master: Option<OwnedFd>) -> Step<()> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open("/", flags, Mode::empty()).doing("opening the new root")?;
    let fds: Vec<BorrowedFd<'_>> =
        [Some(root.as_fd()), master.as_ref().map(AsFd::as_fd)].into_iter().flatten().collect();
    wire::send(&sockets.control, &Report::Ready { weaker: Vec::new() }, &fds).doing("reporting")
}

/// Gives up what pid 1 no longer needs: the caller's streams, and all capabilities but to bind low ports for the broker.
fn settle(is_apart: bool) -> Step<()> {
    let null =
        rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()).doing("opening /dev/null")?;
    rustix::stdio::dup2_stdin(&null).doing("leaving the streams")?;
    rustix::stdio::dup2_stdout(&null).doing("leaving the streams")?;
    rustix::stdio::dup2_stderr(&null).doing("leaving the streams")?;
    if is_apart { no_capabilities() } else { keep_capabilities(CapabilitySet::NET_BIND_SERVICE) }
}

/// Serves until the agent ends, or launcher or supervisor are gone.
fn serve(sockets: &Sockets, children: &OwnedFd, agent: i32, has_launcher: impl Fn() -> bool) {
    loop {
        let mut polled = [PollFd::new(&sockets.control, PollFlags::IN), PollFd::new(children, PollFlags::IN)];
        match rustix::event::poll(&mut polled, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(_) => return,
        }
        let [control, child] = polled.map(|fd| fd.revents());
        if child.intersects(PollFlags::IN) {
            let _ = rustix::io::read(children, &mut [0u8; 1024]);
            if !has_launcher() {
                return;
            }
            while let Some((pid, status)) = sys::reap() {
                if pid == agent {
                    let _ = wire::send(&sockets.end, &Report::Ended { status }, &[]);
                    return;
                }
            }
        }
        if !control.is_empty() && !answer(sockets, agent) {
            return;
        }
    }
}

/// Answers one request; `false` when the supervisor is gone.
fn answer(sockets: &Sockets, agent: i32) -> bool {
    let request = match wire::receive::<Request>(&sockets.control, RecvFlags::DONTWAIT) {
        Ok(Some(received)) => received.message,
        Ok(None) => return false,
        Err(error) => return error.kind() == std::io::ErrorKind::WouldBlock,
    };
    let done = match request {
        Request::Listen(address) => netns::listen(address).map(Some),
        Request::BindUdp(address) => netns::bind_udp(address).map(Some),
        // From pid 1, -1 is every process of the namespace but itself.
        Request::SignalAll(signal) => sys::kill(-1, signal).map(|()| None),
        Request::SignalAgent(signal) => sys::kill(-agent, signal).map(|()| None),
    };
    let (errno, socket) = match done {
        Ok(socket) => (0, socket),
        Err(error) => (error.raw_os_error().unwrap_or(libc::EIO), None),
    };
    let fds: Vec<BorrowedFd<'_>> = socket.as_ref().map(AsFd::as_fd).into_iter().collect();
    wire::send(&sockets.control, &Reply(errno), &fds).is_ok()
}
