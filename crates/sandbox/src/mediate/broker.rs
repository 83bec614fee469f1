//! The way out (SANDBOX.md, layer 6): in the sandbox's network namespace every address is local, and at those that were
//! allowed this broker listens, resolves and dials outside.
//!
//! INVARIANT: a listener is no permission. Each allowed `connect` leaves one credit at its address; an accepted connection
//! without a credit is closed unread. So a connect that slipped past its question (memory changed under it, a descriptor
//! swapped) reaches nothing, and the broker never dials more often, or elsewhere, than was allowed.

use super::dns::{self, Names};
use super::sys::Errno;
use crate::call::{Passing, Through};
use rustix::event::{PollFd, PollFlags};
use rustix::fd::{AsFd, OwnedFd};
use std::collections::{HashMap, VecDeque};
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream, ToSocketAddrs, UdpSocket};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The name inside for the host's own loopback: `127.0.0.1` is the sandbox's own there. Judged like any other name.
pub const HOST_NAME: &str = "host.internal";
/// Connections at once, those that are being dialled included; one more is closed. Each takes two threads and six descriptors.
const CONNECTIONS_MAX: usize = 256;
/// Conversations with the name server at once; one more is closed. Nobody is asked about them.
const ASKERS_MAX: usize = 16;
/// Addresses that are listened at; one more is refused.
const LISTENERS_MAX: usize = 1024;
/// Credits at one address.
const CREDITS_MAX: usize = 1024;
/// A caller connects at once after it was allowed to.
const CREDIT_LASTS: Duration = Duration::from_secs(10);
const DIAL_WAIT_MAX: Duration = Duration::from_secs(20);
const DNS_WAIT_MAX: Duration = Duration::from_secs(5);
/// Publicly routed by its looks, and answered by the host below each of Azure's machines.
const AZURE_WIRE_SERVER: Ipv4Addr = Ipv4Addr::new(168, 63, 129, 16);
const DNS_PORT: u16 = 53;
const COPY_BYTES: usize = 32 << 10;
/// How long what an ended program has written may take to leave.
const DELIVERY_WAIT_MAX: Duration = Duration::from_secs(if cfg!(test) { 1 } else { 5 });
const DELIVERY_LOOK: Duration = Duration::from_millis(20);

/// Makes sockets in the sandbox's network namespace.
pub(crate) trait Inside: Send + Sync {
    fn listen(&self, address: SocketAddr) -> io::Result<OwnedFd>;
    fn bind_udp(&self, address: SocketAddr) -> io::Result<OwnedFd>;
}

/// The running broker; dropping it closes every connection. What an ended program wrote is out by then: [`Broker::deliver`].
pub(crate) struct Broker(Arc<Shared>);

struct Shared {
    inside: Box<dyn Inside>,
    through: Option<Arc<dyn Through>>,
    dns: SocketAddr,
    names: Mutex<Names>,
    grants: Mutex<Grants>,
    streams: Mutex<HashMap<u64, Vec<TcpStream>>>,
    /// INVARIANT: where this is `false` no connection is ever made outside, whatever was allowed.
    dials: bool,
    connections: Arc<AtomicUsize>,
    askers: Arc<AtomicUsize>,
    /// Connections that may still hold something that a program wrote.
    undelivered: Mutex<usize>,
    delivered: Condvar,
    next: AtomicU64,
    wake: OwnedFd,
}

#[derive(Default)]
struct Grants {
    credits: HashMap<SocketAddr, VecDeque<Instant>>,
    /// Listeners on their way to the broker's thread.
    fresh: Vec<(SocketAddr, TcpListener)>,
    /// Nobody is left who could connect: what has connected is taken, and nothing listens any more.
    is_ending: bool,
    is_over: bool,
}

impl Broker {
    /// Starts the broker's thread and the name server.
    pub(crate) fn start(
        inside: Box<dyn Inside>,
        dns: IpAddr,
        through: Option<Arc<dyn Through>>,
        dials: bool,
    ) -> io::Result<Self> {
        let dns = SocketAddr::new(dns, DNS_PORT);
        let datagrams = UdpSocket::from(inside.bind_udp(dns)?);
        let streams = TcpListener::from(inside.listen(dns)?);
        datagrams.set_nonblocking(true)?;
        streams.set_nonblocking(true)?;
        let wake =
            rustix::event::eventfd(0, rustix::event::EventfdFlags::CLOEXEC | rustix::event::EventfdFlags::NONBLOCK)?;
        let shared = Arc::new(Shared {
            inside,
            through,
            dns,
            names: Mutex::default(),
            grants: Mutex::default(),
            streams: Mutex::default(),
            dials,
            connections: Arc::default(),
            askers: Arc::default(),
            undelivered: Mutex::default(),
            delivered: Condvar::new(),
            next: AtomicU64::new(0),
            wake,
        });
        let taking = Undelivered::more(&shared);
        thread("flyball-broker").spawn(move || serve(&taking, &datagrams, &streams))?;
        Ok(Self(shared))
    }

    /// The program has ended by itself: what it wrote into allowed connections goes out, as it would without a broker. Not longer
    /// than for so long, and not once `is_cut`.
    pub(crate) fn deliver(&self, is_cut: impl Fn() -> bool) {
        if is_cut() {
            return;
        }
        lock(&self.0.grants).is_ending = true;
        self.0.wake();
        let until = Instant::now() + DELIVERY_WAIT_MAX;
        let mut undelivered = lock(&self.0.undelivered);
        while *undelivered > 0 && Instant::now() < until && !is_cut() {
            let waited = self.0.delivered.wait_timeout(undelivered, DELIVERY_LOOK);
            undelivered = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// The name that the address was given out for; `None`: it is meant literally.
    pub(crate) fn name_of(&self, address: IpAddr) -> Result<Option<String>, Errno> {
        let IpAddr::V4(address) = address else { return Ok(None) };
        if !dns::is_synthetic(address) || IpAddr::V4(address) == self.0.dns.ip() {
            return Ok(None);
        }
        match lock(&self.0.names).name_of(address) {
            Some(name) => Ok(Some(name.to_owned())),
            // Nothing but names lives there.
            None => Err(libc::EHOSTUNREACH),
        }
    }

    /// Whether it is the broker's own name server, which everyone may ask.
    pub(crate) fn is_name_server(&self, address: SocketAddr) -> bool {
        address == self.0.dns
    }

    /// Expects one connection to that address.
    pub(crate) fn admit(&self, address: SocketAddr) -> Result<(), Errno> {
        let mut grants = lock(&self.0.grants);
        if !grants.credits.contains_key(&address) {
            if grants.credits.len() >= LISTENERS_MAX {
                return Err(libc::ENOBUFS);
            }
            // Taken: a program inside listens there, and a connection would end at it.
            let listener = self.0.inside.listen(address).map_err(|_| libc::ECONNREFUSED)?;
            let listener = TcpListener::from(listener);
            listener.set_nonblocking(true).map_err(|_| libc::ECONNREFUSED)?;
            grants.credits.insert(address, VecDeque::new());
            grants.fresh.push((address, listener));
            self.0.wake();
        }
        let credits = grants.credits.entry(address).or_default();
        expire(credits);
        if credits.len() >= CREDITS_MAX {
            return Err(libc::ENOBUFS);
        }
        credits.push_back(Instant::now());
        Ok(())
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        lock(&self.0.grants).is_over = true;
        self.0.wake();
        for streams in lock(&self.0.streams).values() {
            for stream in streams {
                let _ = stream.shutdown(Shutdown::Both);
            }
        }
    }
}

impl Shared {
    fn wake(&self) {
        let _ = rustix::io::write(&self.wake, &1u64.to_ne_bytes());
    }

    fn spend_credit(&self, address: SocketAddr) -> bool {
        let mut grants = lock(&self.grants);
        let Some(credits) = grants.credits.get_mut(&address) else { return false };
        expire(credits);
        credits.pop_front().is_some()
    }
}

/// One of so many at once, until it is dropped. INVARIANT: taken before a thread is started for whoever connected: the threads
/// and descriptors are the supervisor's, and without any it could not even be told to end the session.
struct Turn(Arc<AtomicUsize>);

impl Turn {
    fn take(taken: &Arc<AtomicUsize>, max: usize) -> Option<Self> {
        let more = |now| (now < max).then_some(now + 1);
        taken.fetch_update(Ordering::SeqCst, Ordering::SeqCst, more).ok().map(|_| Self(taken.clone()))
    }
}

/// Something that may hold what a program wrote, until it is dropped.
struct Undelivered(Arc<Shared>);

impl Undelivered {
    fn more(shared: &Arc<Shared>) -> Self {
        let mut count = lock(&shared.undelivered);
        *count = count.saturating_add(1);
        Self(shared.clone())
    }
}

impl Drop for Undelivered {
    fn drop(&mut self) {
        let mut count = lock(&self.0.undelivered);
        *count = count.saturating_sub(1);
        self.0.delivered.notify_all();
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

fn expire(credits: &mut VecDeque<Instant>) {
    while credits.front().is_some_and(|since| since.elapsed() > CREDIT_LASTS) {
        credits.pop_front();
    }
}

fn serve(taking: &Undelivered, datagrams: &UdpSocket, name_streams: &TcpListener) {
    let shared = &taking.0;
    let mut listeners: Vec<(SocketAddr, TcpListener)> = Vec::new();
    loop {
        {
            let mut grants = lock(&shared.grants);
            if grants.is_over {
                return;
            }
            listeners.append(&mut grants.fresh);
            if grants.is_ending {
                break;
            }
        }
        let fixed = [shared.wake.as_fd(), datagrams.as_fd(), name_streams.as_fd()];
        let all = fixed.into_iter().chain(listeners.iter().map(|(_, listener)| listener.as_fd()));
        let mut polled: Vec<PollFd<'_>> = all.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)).collect();
        if rustix::event::poll(&mut polled, None).is_err() {
            continue;
        }
        let ready: Vec<bool> = polled.iter().map(|fd| !fd.revents().is_empty()).collect();
        let mut ready = ready.into_iter();
        if ready.next() == Some(true) {
            let _ = rustix::io::read(&shared.wake, &mut [0u8; 8]);
        }
        if ready.next() == Some(true) {
            answer_datagrams(shared, datagrams);
        }
        if ready.next() == Some(true)
            && let Ok((stream, _)) = name_streams.accept()
            && let Some(turn) = Turn::take(&shared.askers, ASKERS_MAX)
        {
            let shared = shared.clone();
            let _ = thread("flyball-dns").spawn(move || {
                answer_stream(&shared, stream);
                drop(turn);
            });
        }
        for ((address, listener), is_ready) in listeners.iter().zip(ready) {
            if is_ready && let Ok((stream, _)) = listener.accept() {
                accept(shared, *address, stream);
            }
        }
    }
    for (address, listener) in &listeners {
        while let Ok((stream, _)) = listener.accept() {
            accept(shared, *address, stream);
        }
    }
}

fn accept(shared: &Arc<Shared>, address: SocketAddr, inner: TcpStream) {
    if !shared.spend_credit(address) {
        return;
    }
    let Some(turn) = Turn::take(&shared.connections, CONNECTIONS_MAX) else { return };
    let undelivered = Undelivered::more(shared);
    let shared = shared.clone();
    let _ = thread("flyball-dial").spawn(move || {
        let name = name_at(&shared, address);
        match shared.dials.then(|| dial(name.as_deref(), address)).transpose() {
            Ok(outer) => {
                let _ = relay(undelivered, inner, outer, address, name);
            }
            Err(_) => shared.through.iter().for_each(|through| through.missed(address, name.as_deref())),
        }
        drop(turn);
    });
}

fn name_at(shared: &Shared, address: SocketAddr) -> Option<String> {
    match address.ip() {
        IpAddr::V4(ip) => lock(&shared.names).name_of(ip).map(str::to_owned),
        IpAddr::V6(_) => None,
    }
}

/// Resolves and dials. An allowed name never leads to an address that is not public; a literal one was itself allowed.
fn dial(name: Option<&str>, address: SocketAddr) -> io::Result<TcpStream> {
    let Some(name) = name else { return TcpStream::connect_timeout(&address, DIAL_WAIT_MAX) };
    if name == HOST_NAME {
        let host = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), address.port());
        return TcpStream::connect_timeout(&host, DIAL_WAIT_MAX);
    }
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for candidate in (name, address.port()).to_socket_addrs()? {
        if !is_public(candidate.ip()) {
            continue;
        }
        match TcpStream::connect_timeout(&candidate, DIAL_WAIT_MAX) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Whether an address is out in the world: not this machine, its networks, or what clouds answer credentials at.
fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => {
            let [a, b, c, _] = ip.octets();
            !(ip.is_loopback()
                || ip.is_private()
                || ip.is_link_local()
                || ip.is_multicast()
                || ip.is_documentation()
                || a == 0
                || a >= 240
                || (a == 100 && b & 0xc0 == 64)
                || (a == 192 && b == 0 && c == 0)
                // Azure's machines are told their credentials there.
                || ip == AZURE_WIRE_SERVER
                || dns::is_synthetic(ip))
        }
        IpAddr::V6(ip) => {
            let segments = ip.segments();
            let embedded =
                |high: u16, low: u16| is_public(IpAddr::V4(Ipv4Addr::from((u32::from(high) << 16) | u32::from(low))));
            match segments {
                [0, 0, 0, 0, 0, 0xffff | 0, high, low] => ip != Ipv6Addr::LOCALHOST && embedded(high, low),
                [0x64, 0xff9b, .., high, low] => embedded(high, low),
                [0x2002, ..] => false,
                [first, ..] => !(ip.is_multicast() || first & 0xfe00 == 0xfc00 || first & 0xffc0 == 0xfe80),
            }
        }
    }
}

/// Serves both ways until both sides are through.
fn relay(
    undelivered: Undelivered,
    inner: TcpStream,
    outer: Option<TcpStream>,
    address: SocketAddr,
    name: Option<String>,
) -> io::Result<()> {
    let shared = &undelivered.0.clone();
    inner.set_nonblocking(false)?;
    let mut both = Vec::with_capacity(2);
    for stream in std::iter::once(&inner).chain(&outer) {
        let _ = stream.set_nodelay(true);
        both.push(stream.try_clone()?);
    }
    let id = shared.next.fetch_add(1, Ordering::Relaxed);
    lock(&shared.streams).insert(id, both);
    let _listed = Listed { shared, id };
    if lock(&shared.grants).is_over {
        return Ok(());
    }
    if let Some(through) = &shared.through {
        through.serve(Passing { inside: inner, outside: outer, address, name });
        return Ok(());
    }
    let Some(outer) = outer else { return Ok(()) };
    let (up_from, up_to) = (inner.try_clone()?, outer.try_clone()?);
    let up = thread("flyball-up").spawn(move || {
        copy(up_from, up_to);
        drop(undelivered);
    });
    copy(outer, inner);
    if let Ok(up) = up {
        let _ = up.join();
    }
    Ok(())
}

/// A connection that the broker's end is to close, until it has ended by itself.
struct Listed<'a> {
    shared: &'a Shared,
    id: u64,
}

impl Drop for Listed<'_> {
    fn drop(&mut self) {
        lock(&self.shared.streams).remove(&self.id);
    }
}

fn copy(mut from: TcpStream, mut to: TcpStream) {
    let mut buffer = vec![0; COPY_BYTES];
    loop {
        let read = match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            // A reset is passed on, not turned into an orderly end.
            Err(_) => {
                let _ = to.shutdown(Shutdown::Both);
                return;
            }
        };
        if to.write_all(buffer.get(..read).unwrap_or_default()).is_err() {
            let _ = from.shutdown(Shutdown::Both);
            return;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}

fn answer_datagrams(shared: &Shared, socket: &UdpSocket) {
    let mut buffer = [0; 1500];
    // Bounded: other sockets want their turn.
    for _ in 0..64 {
        let Ok((length, from)) = socket.recv_from(&mut buffer) else { return };
        let answer = dns::answer(buffer.get(..length).unwrap_or_default(), &mut lock(&shared.names));
        if let Some(answer) = answer {
            let _ = socket.send_to(&answer, from);
        }
    }
}

/// Two bytes of length before each message (RFC 1035, section 4.2.2).
fn answer_stream(shared: &Shared, mut stream: TcpStream) {
    let until = Instant::now() + DNS_WAIT_MAX;
    if stream.set_nonblocking(false).is_err() || stream.set_read_timeout(Some(DNS_WAIT_MAX)).is_err() {
        return;
    }
    let mut length = [0; 2];
    while Instant::now() < until && stream.read_exact(&mut length).is_ok() {
        let mut query = vec![0; usize::from(u16::from_be_bytes(length))];
        if stream.read_exact(&mut query).is_err() {
            return;
        }
        let Some(answer) = dns::answer(&query, &mut lock(&shared.names)) else { return };
        let mut message = (answer.len() as u16).to_be_bytes().to_vec();
        message.extend(answer);
        if stream.write_all(&message).is_err() {
            return;
        }
    }
}

fn thread(name: &str) -> std::thread::Builder {
    std::thread::Builder::new().name(name.to_owned()).stack_size(256 << 10)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    /// A sandbox's network whose addresses are this machine's own, wherever there is room.
    #[derive(Clone, Default)]
    struct Anywhere(Arc<Mutex<Vec<SocketAddr>>>);

    impl Inside for Anywhere {
        fn listen(&self, _: SocketAddr) -> io::Result<OwnedFd> {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
            lock(&self.0).push(listener.local_addr()?);
            Ok(listener.into())
        }

        fn bind_udp(&self, _: SocketAddr) -> io::Result<OwnedFd> {
            Ok(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?.into())
        }
    }

    #[test]
    fn who_asks_for_names_takes_a_bounded_part_of_the_supervisor() {
        let inside = Anywhere::default();
        let _broker = Broker::start(Box::new(inside.clone()), Ipv4Addr::LOCALHOST.into(), None, true).unwrap();
        let server = *lock(&inside.0).first().unwrap();
        // A question for `a.b`, type A, with its length before it.
        let query = b"\0\x15\0\x01\x01\0\0\x01\0\0\0\0\0\0\x01a\x01b\0\0\x01\0\x01";
        let ask = || -> io::Result<usize> {
            let mut stream = TcpStream::connect(server)?;
            stream.set_read_timeout(Some(Duration::from_secs(30)))?;
            stream.write_all(query)?;
            stream.read(&mut [0; 512])
        };
        assert!(ask().is_ok_and(|read| read > 0));
        let silent: Vec<TcpStream> = (0..ASKERS_MAX).map(|_| TcpStream::connect(server).unwrap()).collect();
        // They are taken in the order in which they came.
        assert!(ask().map_or(true, |read| read == 0), "one more was heard");
        drop(silent);
        let until = Instant::now() + Duration::from_secs(30);
        while !ask().is_ok_and(|read| read > 0) {
            assert!(Instant::now() < until, "their turns did not come back");
        }
    }

    /// A broker, a server outside that hands over what each connection says, and how to connect to it through the broker.
    fn between(
        server: impl Fn(TcpStream) -> Vec<u8> + Send + 'static,
    ) -> (Broker, std::sync::mpsc::Receiver<Vec<u8>>, impl Fn() -> TcpStream) {
        let inside = Anywhere::default();
        let broker = Broker::start(Box::new(inside.clone()), Ipv4Addr::LOCALHOST.into(), None, true).unwrap();
        let outside = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = outside.local_addr().unwrap();
        let (hear, heard) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            for stream in outside.incoming().flatten() {
                hear.send(server(stream)).unwrap_or_default();
            }
        });
        broker.admit(address).unwrap();
        let door = *lock(&inside.0).last().unwrap();
        (broker, heard, move || TcpStream::connect(door).unwrap())
    }

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn what_an_ended_program_wrote_arrives() {
        for bytes in [4, 1 << 20] {
            let (broker, heard, connect) = between(|mut stream| {
                let mut said = Vec::new();
                let _ = stream.read_to_end(&mut said);
                said
            });
            // Nobody may have taken the connection yet when its program is gone.
            let mut stream = connect();
            let writing = std::thread::spawn(move || stream.write_all(&vec![b'x'; bytes]).unwrap());
            writing.join().unwrap();
            broker.deliver(|| false);
            drop(broker);
            assert_eq!(heard.recv_timeout(LONG).unwrap().len(), bytes);
        }
    }

    #[test]
    fn a_killed_program_s_connections_are_cut_and_none_holds_the_end() {
        let (broker, heard, connect) = between(|mut stream| {
            let mut said = Vec::new();
            let _ = stream.read_to_end(&mut said);
            said
        });
        // It never ends, as far as anybody can tell.
        let _open = connect();
        let begun = Instant::now();
        broker.deliver(|| true);
        assert!(begun.elapsed() < DELIVERY_WAIT_MAX, "a kill waits for nobody");
        broker.deliver(|| false);
        drop(broker);
        assert_eq!(heard.recv_timeout(LONG).unwrap(), b"");
    }

    #[test]
    fn only_public_addresses_are_dialled_for_a_name() {
        for private in [
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "0.0.0.0",
            "100.64.0.1",
            "198.18.1.0",
            "224.0.0.1",
            "255.255.255.255",
            "::1",
            "::",
            "fe80::1",
            "fd00:ec2::254",
            "::ffff:10.0.0.1",
            "64:ff9b::a9fe:a9fe",
            "::127.0.0.1",
            "2002:a00:1::1",
            "ff02::1",
            "168.63.129.16",
            "::ffff:168.63.129.16",
        ] {
            assert!(!is_public(private.parse().unwrap()), "{private}");
        }
        for public in ["1.1.1.1", "93.184.216.34", "2606:4700::1111", "::ffff:1.1.1.1"] {
            assert!(is_public(public.parse().unwrap()), "{public}");
        }
    }
}
