//! `connect` and `bind`: addresses are copied once; what has a name in the file system is done on a duplicate of the
//! caller's socket, through handles.

use super::act::{Act, Answer, Plan};
use super::caller::{Caller, descriptor_path};
use super::resolve::{Found, Last, Place, View};
use super::sys::{self, Errno};
use crate::call::Attempt;
use rustix::fd::AsFd;
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};

/// `sizeof(struct sockaddr_storage)`.
const ADDRESS_BYTES_MAX: usize = 128;
/// Sockets whose callers have left, at most.
const LEFT_MAX: usize = 1024;
/// Where the path starts in `sockaddr_un`.
const UNIX_PATH_AT: usize = 2;

/// An address, parsed.
pub(super) enum Address {
    Inet(SocketAddr),
    /// A path in the file system.
    Unix(Vec<u8>),
    /// Nothing that can lead out of the network namespace: abstract or autobound unix, netlink, unspecified.
    Inner,
}

/// Plans a `connect`. `is_brokered`: addresses beyond loopback lead to the broker. INVARIANT: never continued. A sibling
/// can rewrite the address, or put another socket on the number, and of the host's unix sockets some may be in sight.
pub(super) fn connect(view: &View, caller: &Caller<'_>, args: [u64; 3], is_brokered: bool) -> Result<Plan, Errno> {
    let [fd, address, length] = args;
    let (raw, address) = copy(caller, address, length)?;
    let socket = caller.duplicate(fd as i32)?;
    if !caller.is_waiting() {
        return Err(libc::EINTR);
    }
    match address {
        Address::Inet(address) if is_brokered && !is_inner(address.ip()) => {
            // A UDP "connection" sends nothing and can reach nothing but the broker's name server.
            let is_stream = sys::socket_option(socket.as_fd(), libc::SO_TYPE)? == libc::SOCK_STREAM;
            if !is_stream || sys::socket_option(socket.as_fd(), libc::SO_DOMAIN)? == libc::AF_UNIX {
                return Ok(Plan::Act(Act::Connect { socket, address: raw }));
            }
            Ok(Plan::Ask(Attempt::Connect { address, name: None }, Act::ConnectInet { socket, address, raw }))
        }
        // In this network namespace there is nothing else but the tree's own sockets.
        Address::Inner | Address::Inet(_) => Ok(Plan::Act(Act::Connect { socket, address: raw })),
        Address::Unix(path) => {
            if sys::socket_option(socket.as_fd(), libc::SO_DOMAIN)? != libc::AF_UNIX {
                return Err(libc::EAFNOSUPPORT);
            }
            let Found::Place(at, stat) = view.resolve(caller, libc::AT_FDCWD, &path, Last::Follow)? else {
                return Err(libc::EACCES);
            };
            let Some(stat) = stat else { return Err(libc::ENOENT) };
            if stat.st_mode & libc::S_IFMT != libc::S_IFSOCK {
                return Err(libc::ECONNREFUSED);
            }
            let file = at.handle()?;
            Ok(Plan::Ask(Attempt::ConnectUnix { path: at.path() }, Act::ConnectUnix { socket, file }))
        }
    }
}

/// Plans a `bind`.
pub(super) fn bind(
    view: &View,
    caller: &Caller<'_>,
    tgid: i32,
    args: [u64; 3],
    umask: impl FnOnce() -> Result<u32, Errno>,
) -> Result<Plan, Errno> {
    let [fd, address, length] = args;
    let (raw, address) = copy(caller, address, length)?;
    let fd = fd as i32;
    match address {
        Address::Inner | Address::Inet(_) => {
            let socket = caller.duplicate(fd)?;
            if !caller.is_waiting() {
                return Err(libc::EINTR);
            }
            let act = Act::Bind { socket, address: raw };
            Ok(match address {
                Address::Inet(address) if address.port() != 0 => Plan::Ask(Attempt::Bind { address }, act),
                // A name without a place, or any free port, of the sandbox's own network namespace.
                _ => Plan::Act(act),
            })
        }
        Address::Unix(path) => {
            let socket = caller.duplicate(fd)?;
            let (inside, cwd) = (sys::pidfd_open(tgid)?, caller.descriptor(libc::AT_FDCWD)?);
            if !caller.is_waiting() {
                return Err(libc::EINTR);
            }
            if sys::socket_option(socket.as_fd(), libc::SO_DOMAIN)? != libc::AF_UNIX {
                return Err(libc::EAFNOSUPPORT);
            }
            let at = view.name(caller, libc::AT_FDCWD, &path)?;
            if at.is_dots() || at.look()?.is_some() {
                return Err(libc::EADDRINUSE);
            }
            let attempt = Attempt::BindUnix { path: at.path() };
            Ok(Plan::Ask(attempt, Act::BindUnix { socket, at, address: raw, inside, cwd, umask: umask()? }))
        }
    }
}

/// Connects to a unix socket in the caller's place.
pub(super) fn connect_unix(socket: OwnedFd, file: OwnedFd) -> Answer {
    if !may_wait(&socket) {
        return connect_to(&socket, &unix_address(&file));
    }
    // The address names a descriptor of the thread that connects.
    let connects = number(&socket);
    Answer::Later { work: Box::new(move || connect_to(&socket, &unix_address(&file))), connects }
}

/// Connects to this address in the caller's place.
pub(super) fn connect_raw(socket: OwnedFd, address: Vec<u8>) -> Answer {
    if !may_wait(&socket) {
        return connect_to(&socket, &address);
    }
    let connects = number(&socket);
    Answer::Later { work: Box::new(move || connect_to(&socket, &address)), connects }
}

/// What tells a socket from all others.
fn number(socket: &OwnedFd) -> Option<u64> {
    sys::fstat(socket.as_fd()).ok().map(|stat| stat.st_ino)
}

/// Sockets that are being connected for a caller whom a signal has called away. The kernel keeps that in mind: whoever comes back
/// hears how it went, and not that the socket is connected.
#[derive(Default)]
pub(super) struct Left(BTreeSet<u64>);

impl Left {
    /// Its caller went away meanwhile.
    pub fn leaves(&mut self, socket: Option<u64>) {
        if self.0.len() >= LEFT_MAX {
            self.0.pop_first();
        }
        self.0.extend(socket);
    }

    /// What a caller hears of it.
    pub fn hears(&mut self, socket: Option<u64>, answer: Answer) -> Answer {
        let has_left = socket.is_some_and(|socket| self.0.remove(&socket));
        match answer {
            Answer::Errno(libc::EISCONN) if has_left => Answer::Value(0),
            answer => answer,
        }
    }
}

fn connect_to(socket: &OwnedFd, address: &[u8]) -> Answer {
    sys::with_address(libc::SYS_connect, socket.as_fd(), address).into()
}

fn unix_address(file: &OwnedFd) -> Vec<u8> {
    let mut address = (libc::AF_UNIX as u16).to_ne_bytes().to_vec();
    address.extend_from_slice(descriptor_path(file).to_bytes_with_nul());
    address
}

/// Whether connecting can wait for the other side: a full backlog, an answer that does not come.
fn may_wait(socket: &OwnedFd) -> bool {
    let is_blocking = sys::fcntl(socket.as_fd(), libc::F_GETFL, 0).is_ok_and(|flags| flags & libc::O_NONBLOCK == 0);
    is_blocking && sys::socket_option(socket.as_fd(), libc::SO_TYPE).is_ok_and(|kind| kind != libc::SOCK_DGRAM)
}

/// Whether an address is the sandbox's own.
pub(super) fn is_inner(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_loopback() || ip.is_unspecified(),
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unspecified(),
    }
}

fn copy(caller: &Caller<'_>, address: u64, length: u64) -> Result<(Vec<u8>, Address), Errno> {
    // The kernel takes a C int.
    let length = usize::try_from(length as u32 as i32).ok().filter(|length| *length <= ADDRESS_BYTES_MAX);
    let raw = caller.block(address, length.ok_or(libc::EINVAL)?)?;
    let parsed = parse(&raw)?;
    Ok((raw, parsed))
}

pub(super) fn parse(raw: &[u8]) -> Result<Address, Errno> {
    let family = raw.get(..2).and_then(|two| two.try_into().ok()).map(u16::from_ne_bytes).ok_or(libc::EINVAL)?;
    let port = || raw.get(2..4).and_then(|two| two.try_into().ok()).map(u16::from_be_bytes).ok_or(libc::EINVAL);
    match i32::from(family) {
        libc::AF_INET => {
            let ip: [u8; 4] = raw.get(4..8).and_then(|four| four.try_into().ok()).ok_or(libc::EINVAL)?;
            Ok(Address::Inet(SocketAddr::new(Ipv4Addr::from(ip).into(), port()?)))
        }
        libc::AF_INET6 => {
            let ip: [u8; 16] = raw.get(8..24).and_then(|bytes| bytes.try_into().ok()).ok_or(libc::EINVAL)?;
            Ok(Address::Inet(SocketAddr::new(Ipv6Addr::from(ip).to_canonical(), port()?)))
        }
        libc::AF_UNIX => {
            let path = raw.get(UNIX_PATH_AT..).unwrap_or_default();
            match path.first() {
                None | Some(0) => Ok(Address::Inner),
                Some(_) => {
                    let end = path.iter().position(|byte| *byte == 0).unwrap_or(path.len());
                    Ok(Address::Unix(path.get(..end).unwrap_or_default().to_vec()))
                }
            }
        }
        _ => Ok(Address::Inner),
    }
}

/// Binds in the caller's place, in a child that stands in the caller's own mounts, so that the name that the socket keeps
/// is the one that was asked for. `inside` is the caller, as a pidfd.
pub(super) fn bind_unix(inside: &OwnedFd, socket: &OwnedFd, cwd: &OwnedFd, address: &[u8], umask: u32) -> Answer {
    // SAFETY: the child makes plain system calls on values made before the fork, allocates nothing, takes no lock, and
    // ends by `_exit`.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        let errno = bind_in_child(inside, socket, cwd, address, umask).err().unwrap_or(0);
        // SAFETY: ends this process.
        unsafe { libc::_exit(errno) };
    }
    if pid < 0 {
        return Answer::Errno(sys::last());
    }
    let mut status = 0;
    // SAFETY: waits for exactly the child that was just made.
    while unsafe { libc::waitpid(pid, &raw mut status, 0) } < 0 {
        if sys::last() != libc::EINTR {
            return Answer::Errno(libc::EACCES);
        }
    }
    match libc::WIFEXITED(status).then(|| libc::WEXITSTATUS(status)) {
        Some(0) => Answer::Value(0),
        Some(errno) => Answer::Errno(errno),
        None => Answer::Errno(libc::EACCES),
    }
}

/// The same where the caller has no mounts of its own: by the folder's handle and the last name alone, which the socket then
/// keeps.
pub(super) fn bind_unix_here(socket: &OwnedFd, at: &Place, umask: u32) -> Answer {
    let mut address = (libc::AF_UNIX as u16).to_ne_bytes().to_vec();
    address.extend_from_slice(at.name.to_bytes_with_nul());
    if address.len() > size_of::<libc::sockaddr_un>() {
        return Answer::Errno(libc::ENAMETOOLONG);
    }
    let (parent, socket) = (at.parent.clone(), socket.as_fd());
    // A thread of its own has a folder and a mask of its own.
    let bound = std::thread::scope(|scope| {
        let bind = || {
            sys::unshare_fs()?;
            sys::enter(parent.as_fd())?;
            sys::umask(umask);
            sys::with_address(libc::SYS_bind, socket, &address)
        };
        let thread = std::thread::Builder::new().name("flyball-bind".into()).spawn_scoped(scope, bind);
        thread.map_err(|_| libc::EAGAIN).and_then(|thread| thread.join().unwrap_or(Err(libc::EACCES)))
    });
    bound.into()
}

fn bind_in_child(inside: &OwnedFd, socket: &OwnedFd, cwd: &OwnedFd, address: &[u8], umask: u32) -> Result<(), Errno> {
    sys::raise_capabilities()?;
    sys::enter_mounts(inside)?;
    sys::lower_capabilities(&[])?;
    // SAFETY: integers only.
    if unsafe { libc::fchdir(cwd.as_raw_fd()) } < 0 {
        return Err(sys::last());
    }
    sys::umask(umask);
    sys::with_address(libc::SYS_bind, socket.as_fd(), address)
}
