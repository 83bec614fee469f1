//! What supervisor, launcher, init and agent say to each other, and the sockets that they say it on.
//!
//! Each message is one JSON value in one packet of a `SOCK_SEQPACKET` pair; descriptors ride with it.

use crate::places::Places;
use crate::spec::{Spec, Weakness};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, SocketFlags, SocketType,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Longest message, bytes. The specification itself is larger and travels in a memfd.
const MESSAGE_BYTES_MAX: usize = 16 * 1024;
/// Descriptors in one message.
const FDS_MAX: usize = 8;

/// What the launcher is told at once: enough for what all sessions have alike. With it: the program's standard input and output.
#[derive(Serialize, Deserialize)]
pub(super) struct First {
    /// An empty folder that the new root is mounted on, where only the launcher and what it starts see it; none without
    /// namespaces.
    pub(super) base: Option<PathBuf>,
}

/// What the launcher hands on to pid 1. With it: the orders, the agent's socket and the end's, and the group if there is one.
#[derive(Serialize, Deserialize)]
pub(super) struct Handed {
    pub(super) has_group: bool,
}

/// What the launcher is told to do, in a memfd, and what else it needs for that.
#[derive(Serialize, Deserialize)]
pub(super) struct Orders {
    /// With it, in this order: the orders, the agent's socket and the end's, these two, and the session's locks.
    pub(super) has_freezer: bool,
    pub(super) has_group: bool,
}

/// What the memfd holds.
#[derive(Serialize, Deserialize)]
pub(super) struct Boot {
    pub(super) spec: Spec,
    /// The seccomp program: code, jt, jf, k.
    pub(super) filter: Vec<(u16, u8, u8, u32)>,
    /// Landlock is there, or its absence was accepted (`false`).
    pub(super) has_landlock: bool,
    /// The workspace is a copy, and so is what the home has: no overlay is mounted.
    pub(super) is_copy: bool,
    /// Processes, where no cgroup counts them.
    pub(super) nproc_max: Option<u64>,
    /// There are no namespaces: what the program may touch is told by path.
    pub(super) places: Option<Places>,
}

/// What the inside reports.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Report {
    /// Init: the boundary stands. With it: the root, and the pty's master if there is one.
    Ready { weaker: Vec<Weakness> },
    /// Init: no way round it was found.
    Tested,
    /// Agent: the filter is on; its listener has this number in the agent.
    Listening { fd: i32 },
    /// Anyone: a step failed.
    Failed { step: String, path: Option<String>, errno: i32 },
    /// Agent: there is no such program.
    ProgramNotFound { program: String, looked_in: String },
    /// Agent: the program can't be run.
    ProgramNotRunnable { program: String, errno: i32 },
    /// Init: a bypass succeeded.
    Bypassed { what: String },
    /// Agent: `execve` was refused after the go.
    ExecFailed { errno: i32 },
    /// Init: the agent ended with this wait status.
    Ended { status: i32 },
}

/// What the supervisor asks of init.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Request {
    /// A TCP listener at exactly this address.
    Listen(SocketAddr),
    /// A UDP socket bound to exactly this address.
    BindUdp(SocketAddr),
    /// A signal for every process but init.
    SignalAll(i32),
    /// A signal for the agent's process group.
    SignalAgent(i32),
}

/// Init's reply; 0 or an errno. A socket rides with it where one was asked for.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Reply(pub(super) i32);

/// One received message.
pub(super) struct Received<T> {
    pub(super) message: T,
    pub(super) fds: Vec<OwnedFd>,
    /// The sender, as the receiver's pid namespace numbers it, where the socket passes credentials.
    pub(super) pid: Option<i32>,
}

/// A connected pair of packet sockets, both close-on-exec.
pub(super) fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?)
}

/// Sends one message with its descriptors.
pub(super) fn send<T: Serialize>(socket: impl AsFd, message: &T, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    let bytes = serde_json::to_vec(message).map_err(io::Error::other)?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS_MAX))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(io::Error::from_raw_os_error(libc::EMSGSIZE));
    }
    rustix::net::sendmsg(&socket, &[IoSlice::new(&bytes)], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Sends one message with `write`, for a sender whose `sendmsg` is already mediated.
pub(super) fn write<T: Serialize>(socket: impl AsFd, message: &T) -> io::Result<()> {
    let bytes = serde_json::to_vec(message).map_err(io::Error::other)?;
    rustix::io::write(&socket, &bytes)?;
    Ok(())
}

/// Receives one message; `None` when the other side is gone.
pub(super) fn receive<T: DeserializeOwned>(socket: impl AsFd, flags: RecvFlags) -> io::Result<Option<Received<T>>> {
    let mut bytes = vec![0; MESSAGE_BYTES_MAX];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS_MAX), ScmCredentials(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let got = loop {
        let mut parts = [IoSliceMut::new(&mut bytes)];
        match rustix::net::recvmsg(&socket, &mut parts, &mut control, flags | RecvFlags::CMSG_CLOEXEC) {
            Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::CONNRESET) => return Ok(None),
            other => break other?,
        }
    };
    let (mut fds, mut pid) = (Vec::new(), None);
    for message in control.drain() {
        match message {
            RecvAncillaryMessage::ScmRights(received) => fds.extend(received),
            RecvAncillaryMessage::ScmCredentials(sender) => pid = Some(sender.pid.as_raw_nonzero().get()),
            _ => {}
        }
    }
    if got.bytes == 0 {
        return Ok(None);
    }
    let bytes = bytes.get(..got.bytes).unwrap_or_default();
    let message = serde_json::from_slice(bytes).map_err(io::Error::other)?;
    Ok(Some(Received { message, fds, pid }))
}
