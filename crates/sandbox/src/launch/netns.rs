//! The inside of the network namespace: loopback up, every address local to it (SANDBOX.md, layer 6), and sockets bound
//! in it for the broker.
//!
//! Raw rtnetlink (linux/rtnetlink.h, linux/if_link.h): three requests do not carry a library, and no `ip` need be there.

use rustix::fd::OwnedFd;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, sockopt};
use std::io;
use std::net::SocketAddr;

const LOOPBACK_INDEX: i32 = 1;
const RTM_NEWLINK: u16 = 16;
const RTM_NEWROUTE: u16 = 24;
const NLM_F_REQUEST_ACK: u16 = 0x1 | 0x4;
const NLM_F_CREATE: u16 = 0x400;
const NLMSG_ERROR: u16 = 2;
const RT_TABLE_LOCAL: u8 = 255;
const RTPROT_BOOT: u8 = 3;
const RT_SCOPE_HOST: u8 = 254;
const RTN_LOCAL: u8 = 2;
const RTA_OIF: u16 = 4;
/// Pending connections of a broker's listener.
const BACKLOG_MAX: i32 = 128;

/// The network's inside, being set up.
pub(super) struct Inner {
    netlink: OwnedFd,
}

/// Brings loopback up.
pub(super) fn begin() -> io::Result<Inner> {
    let netlink = rustix::net::socket_with(
        AddressFamily::NETLINK,
        SocketType::RAW,
        SocketFlags::CLOEXEC,
        None, // NETLINK_ROUTE is protocol 0
    )?;
    request(&netlink, RTM_NEWLINK, 0, &loopback_up())?;
    Ok(Inner { netlink })
}

impl Inner {
    /// Makes every IPv4 and IPv6 address an address of this namespace.
    pub(super) fn be_everywhere(&self) -> io::Result<()> {
        request(&self.netlink, RTM_NEWROUTE, NLM_F_CREATE, &local_route(libc::AF_INET as u8))?;
        match request(&self.netlink, RTM_NEWROUTE, NLM_F_CREATE, &local_route(libc::AF_INET6 as u8)) {
            // A kernel without IPv6 has no IPv6 to close.
            Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => Ok(()),
            other => other,
        }
    }
}

/// A TCP listener at exactly `address`.
pub(super) fn listen(address: SocketAddr) -> io::Result<OwnedFd> {
    let socket = bound(address, SocketType::STREAM)?;
    rustix::net::listen(&socket, BACKLOG_MAX)?;
    Ok(socket)
}

/// A UDP socket bound to exactly `address`.
pub(super) fn bind_udp(address: SocketAddr) -> io::Result<OwnedFd> {
    bound(address, SocketType::DGRAM)
}

fn bound(address: SocketAddr, kind: SocketType) -> io::Result<OwnedFd> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = rustix::net::socket_with(family, kind, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    // The address is local by route, not by being on an interface: IPv6 asks for FREEBIND to bind to such.
    if address.is_ipv4() {
        sockopt::set_ip_freebind(&socket, true)?;
    } else {
        sockopt::set_ipv6_v6only(&socket, true)?;
        sockopt::set_ipv6_freebind(&socket, true)?;
    }
    rustix::net::bind(&socket, &address)?;
    Ok(socket)
}

/// `struct ifinfomsg`: family, pad, type, index, flags, change.
fn loopback_up() -> Vec<u8> {
    let up = libc::IFF_UP as u32;
    let mut body = vec![0u8; 4];
    body.extend(LOOPBACK_INDEX.to_ne_bytes());
    body.extend(up.to_ne_bytes());
    body.extend(up.to_ne_bytes());
    body
}

/// `struct rtmsg` for `local default dev lo`, and its RTA_OIF.
fn local_route(family: u8) -> Vec<u8> {
    let mut body = vec![family, 0, 0, 0, RT_TABLE_LOCAL, RTPROT_BOOT, RT_SCOPE_HOST, RTN_LOCAL, 0, 0, 0, 0];
    body.extend(8u16.to_ne_bytes());
    body.extend(RTA_OIF.to_ne_bytes());
    body.extend(LOOPBACK_INDEX.to_ne_bytes());
    body
}

fn request(netlink: &OwnedFd, kind: u16, flags: u16, body: &[u8]) -> io::Result<()> {
    let length = 16 + body.len() as u32;
    let mut message = Vec::with_capacity(64);
    message.extend(length.to_ne_bytes());
    message.extend(kind.to_ne_bytes());
    message.extend((flags | NLM_F_REQUEST_ACK).to_ne_bytes());
    message.extend([0; 8]); // sequence and port: one request at a time, to the kernel
    message.extend(body);
    rustix::net::send(netlink, &message, SendFlags::empty())?;

    let mut reply = [0u8; 512];
    let (bytes, _) = rustix::net::recv(netlink, &mut reply[..], RecvFlags::empty())?;
    let reply = reply.get(..bytes).unwrap_or_default();
    match (u16_at(reply, 4), i32_at(reply, 16)) {
        (Some(NLMSG_ERROR), Some(0)) => Ok(()),
        (Some(NLMSG_ERROR), Some(negative)) => Err(io::Error::from_raw_os_error(-negative)),
        _ => Err(io::Error::from_raw_os_error(libc::EBADMSG)),
    }
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn i32_at(bytes: &[u8], at: usize) -> Option<i32> {
    Some(i32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}
