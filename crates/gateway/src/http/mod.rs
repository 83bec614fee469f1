//! HTTP in connections that an agent opened: each request is ruled on, whatever connection it comes on, and streams through.
//!
//! TLS is opened with the session's own [`Authority`], which the sandbox trusts, and closed again towards the server, whose own
//! certificate is verified as ever. What is neither TLS nor HTTP goes on as it came: the connection itself was ruled on.
//!
//! Invariants: a request reaches the server only after the gate allowed it; its host is the one that the connection was allowed
//! for; the server gets it in this module's own framing, so that there are no two ways to read where it ends.

mod abreast;
mod asked;
#[cfg(test)]
mod attacks;
mod authority;
#[cfg(test)]
mod bad_input;
mod body;
mod credentials;
#[cfg(test)]
mod fields_tests;
mod forward;
mod java;
mod model;
mod past;
mod sniff;
mod tape;
#[cfg(test)]
mod tests;
mod unread;

pub use authority::{Authority, AuthorityError};
pub use credentials::Credential;
pub use java::java_trust;
pub use model::Models;
pub use past::{Answer, Due, Met, Past, Replay, Told, Turn};
pub use tape::{Places, tell_met};

use crate::gate::Gate;
use flyball_kernel::RequestReading;
use rustls::pki_types::ServerName;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use sniff::{HEAD_BYTES_MAX, Spoken};
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, LazyLock};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, copy_bidirectional};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// How long a client may take from its first byte until it can be told what it speaks, and how often that is looked at.
const HEAD_WAIT_MAX: Duration = Duration::from_secs(if cfg!(test) { 2 } else { 30 });
const HEAD_LOOK: Duration = Duration::from_millis(5);
const HANDSHAKE_WAIT_MAX: Duration = Duration::from_secs(30);
const H2: &[u8] = b"h2";
const HTTP1: &[u8] = b"http/1.1";
/// Ports at which nothing but HTTP is let through: there a server may take what it gets for it, however it is written.
const HTTP_PORTS: &[u16] = &[80, 443, 8000, 8008, 8080, 8443];

/// What a session's connections have in common.
pub struct Egress {
    /// Whom to ask.
    pub gate: Arc<dyn Gate>,
    /// Makes the certificates that the inside sees.
    pub authority: Arc<Authority>,
    /// How servers are verified: read for the first connection that needs it, as that takes a while.
    pub client: Verification,
    /// Hosts whose TLS is not opened: by name, or `*.` and the end of names.
    pub pass: Vec<String>,
    /// What rules see of requests beside method, host and path.
    pub reads: Arc<[RequestReading]>,
    /// Calls of models.
    pub models: Arc<Models>,
    /// What is put in for the program, which has placeholders of it.
    pub credentials: Arc<[Credential]>,
    /// How long people may take to answer a question about a request.
    pub wait: Duration,
    /// Whether requests are read at all; connections that are not go on as they came.
    pub opens: bool,
    /// Whether what passes is kept for a later run, or this is that run.
    pub replay: Replay,
}

/// See [`trusted`].
pub type Verification = LazyLock<Trusted, Box<dyn FnOnce() -> Trusted + Send>>;

/// How servers are verified, and why none passes, where that is so; or what the TLS library says.
pub type Trusted = Result<(Arc<rustls::ClientConfig>, Option<String>), String>;

/// A connection that was allowed, with both its ends.
pub struct Connection {
    /// To the program.
    pub inside: TcpStream,
    /// To the server; `None` where what is on record answers.
    pub outside: Option<TcpStream>,
    /// The name that the program looked up, where it did.
    pub name: Option<String>,
    /// The address that it connected to: the literal one, where there was no name.
    pub address: SocketAddr,
    /// Who opened it.
    pub agent: String,
    /// The entries that led to it.
    pub cause: Vec<u64>,
}

/// What a connection is for, once that is known.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub scheme: &'static str,
    /// The host's name, or its address as text.
    pub host: String,
    pub port: u16,
    pub agent: String,
    pub cause: Vec<u64>,
}

/// Server verification by the certificates that this machine trusts. Where there are none no server passes it, and it is said why.
///
/// # Errors
/// What the TLS library says.
pub fn trusted() -> Trusted {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = rustls::RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(found.certs);
    let lacks = (added == 0).then(|| {
        let why = found.errors.first().map(ToString::to_string).unwrap_or_default();
        format!("this machine trusts no certificate authority, so no server over TLS is believed: {why}")
    });
    Ok((client_config(roots)?, lacks))
}

/// The same by these authorities.
///
/// # Errors
/// What the TLS library says.
pub fn client_config(roots: rustls::RootCertStore) -> Result<Arc<rustls::ClientConfig>, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| e.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

impl Egress {
    /// Serves a connection to its end.
    ///
    /// # Errors
    /// Why it ended early: the peers are gone, or it was not what it may be.
    pub async fn serve(self: Arc<Self>, connection: Connection) -> io::Result<()> {
        let Connection { inside, outside, name, address, agent, cause } = connection;
        let _ = inside.set_nodelay(true);
        let left = forward::Left::of(&inside);
        let host = name.clone().unwrap_or_else(|| address.ip().to_string());
        let place = Place { scheme: "http", host, port: address.port(), agent, cause };
        // INVARIANT: where the record answers, nothing is said to whoever is at the other end of a connection, if there is one.
        let outside = outside.filter(|_| !matches!(self.replay, Replay::Answers(..)));
        let Some(outside) = outside else { return self.serve_past(inside, name, place, left).await };
        let _ = outside.set_nodelay(true);
        let nth = match &self.replay {
            Replay::Keeps(places) => places.next(&place.host, place.port),
            _ => None,
        };
        if !self.opens {
            return self.unread(inside, outside, &place, nth).await;
        }
        let spoken = self.spoken(&inside, Some(&outside)).await?;
        match spoken {
            // By the name that the address was given out for: what a handshake names is the program's own word.
            Spoken::Tls { name: asked, .. } if name.as_deref().is_some_and(|name| self.is_passed(name)) => {
                same_host(name.as_deref(), asked.as_deref())?;
                self.unread(inside, outside, &place, nth).await
            }
            Spoken::Tls { name: asked, offers } => {
                same_host(name.as_deref(), asked.as_deref())?;
                let host = asked.or(name).unwrap_or(place.host);
                let place = Place { scheme: "https", host, ..place };
                self.open_tls(inside, outside, offers, place, left, nth).await
            }
            Spoken::Http1 | Spoken::Http2 => {
                self.tell_met(&place, nth, &Met::Plain);
                self.forward(inside, outside, spoken == Spoken::Http2, place, left).await
            }
            Spoken::Refused => Err(refused("a handshake or request that can't be read")),
            Spoken::Other | Spoken::More if HTTP_PORTS.contains(&place.port) => {
                Err(refused("what is neither TLS nor HTTP"))
            }
            Spoken::Other | Spoken::More => self.unread(inside, outside, &place, nth).await,
        }
    }

    /// What goes on as it came; kept, where it is to be given again.
    async fn unread(
        &self,
        mut inside: TcpStream,
        mut outside: TcpStream,
        place: &Place,
        nth: Option<u64>,
    ) -> io::Result<()> {
        let Some((nth, keep)) = nth.zip(self.gate.keep()) else {
            return copy_bidirectional(&mut inside, &mut outside).await.map(drop);
        };
        let _open = self.models.begin();
        let said = unread::relay(inside, outside, keep).await.unwrap_or_default();
        self.tell_met(place, Some(nth), &Met::Unread { said });
        Ok(())
    }

    /// Tells how a connection was met, where that is kept.
    fn tell_met(&self, place: &Place, nth: Option<u64>, met: &Met) {
        if let Some(nth) = nth {
            let (gate, place, met) = (Arc::clone(&self.gate), place.clone(), met.clone());
            let open = self.models.begin();
            model::later(move || {
                tell_met(&*gate, &place.cause, &place.host, place.port, nth, &met);
                drop(open);
            });
        }
    }

    /// Looks at the first bytes without taking them. A server that speaks first speaks no HTTP.
    ///
    /// INVARIANT: time alone never makes a connection one that goes on unread: who says nothing is waited for, who begins to and
    /// does not go on is refused.
    async fn spoken(&self, inside: &TcpStream, outside: Option<&TcpStream>) -> io::Result<Spoken> {
        let mut head = vec![0; HEAD_BYTES_MAX];
        tokio::select! {
            biased;
            ready = inside.readable() => ready?,
            ready = readable(outside) => {
                ready?;
                return Ok(Spoken::Other);
            }
        }
        let until = tokio::time::Instant::now() + HEAD_WAIT_MAX;
        loop {
            let now = inside.peek(&mut head).await?;
            match sniff::read(head.get(..now).unwrap_or_default()) {
                Spoken::More if now == 0 => return Ok(Spoken::Other),
                Spoken::More if tokio::time::Instant::now() >= until => {
                    return Err(refused("the beginning of a request or handshake that did not go on"));
                }
                // The rest is still on its way.
                Spoken::More => tokio::time::sleep(HEAD_LOOK).await,
                told => return Ok(told),
            }
        }
    }

    fn is_passed(&self, host: &str) -> bool {
        self.pass.iter().any(|pattern| match pattern.strip_prefix('*') {
            Some(end) => host.ends_with(end),
            None => host == pattern,
        })
    }

    async fn open_tls(
        self: Arc<Self>,
        inside: TcpStream,
        outside: TcpStream,
        offers: Vec<Vec<u8>>,
        place: Place,
        left: forward::Left,
        nth: Option<u64>,
    ) -> io::Result<()> {
        let server = ServerName::try_from(place.host.clone()).map_err(io::Error::other)?;
        let egress = Arc::clone(&self);
        let trusted = tokio::task::spawn_blocking(move || egress.client.clone()).await;
        let (client, lacks) = trusted.map_err(io::Error::other)?.map_err(io::Error::other)?;
        let mut client = (*client).clone();
        client.alpn_protocols = offers.into_iter().filter(|p| p == H2 || p == HTTP1).collect();
        let connecting = TlsConnector::from(Arc::new(client)).connect(server, outside);
        let outside = tokio::time::timeout(HANDSHAKE_WAIT_MAX, connecting).await.map_err(io::Error::from).flatten();
        let outside = outside.map_err(|error| lacks.map_or(error, io::Error::other));
        // Both sides speak the same: what the server chose is offered to the program.
        let chosen = outside.as_ref().ok().and_then(|o| o.get_ref().1.alpn_protocol()).map(<[u8]>::to_vec);
        self.tell_met(
            &place,
            nth,
            &match &outside {
                Ok(_) => Met::Tls { h2: chosen.as_deref() == Some(H2) },
                Err(error) => Met::Unsecured { why: error.to_string() },
            },
        );
        let is_h2 = chosen.as_deref() == Some(H2);
        let spoken = match &outside {
            Ok(_) => chosen.into_iter().collect(),
            // The program is told in its own protocol what is wrong with the server.
            Err(_) => vec![HTTP1.to_vec()],
        };
        let inside = self.accept_tls(inside, &place, spoken).await?;
        match outside {
            Ok(outside) => self.forward(inside, outside, is_h2, place, left).await,
            Err(error) => forward::unreachable(inside, &place, &error.to_string()).await,
        }
    }

    /// Takes a program's handshake in the server's place.
    async fn accept_tls(
        &self,
        inside: TcpStream,
        place: &Place,
        spoken: Vec<Vec<u8>>,
    ) -> io::Result<TlsStream<TcpStream>> {
        let certified = self.authority.certified(&place.host).map_err(io::Error::other)?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut server = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(One(certified)));
        server.alpn_protocols = spoken;
        let accepting = TlsAcceptor::from(Arc::new(server)).accept(inside);
        let inside = tokio::time::timeout(HANDSHAKE_WAIT_MAX, accepting).await?;
        inside.map_err(|error| not_believed(&place.host, error))
    }

    /// A connection that what is on record answers.
    ///
    /// INVARIANT: nothing here opens a connection.
    async fn serve_past(
        self: Arc<Self>,
        inside: TcpStream,
        name: Option<String>,
        place: Place,
        left: forward::Left,
    ) -> io::Result<()> {
        let Replay::Answers(places, past) = &self.replay else { return Ok(()) };
        let past = Arc::clone(past);
        let (host, port) = (place.host.clone(), place.port);
        let Some(nth) = places.next(&host, port) else { return Err(refused("too many places")) };
        let met = blocking({
            let past = Arc::clone(&past);
            move || past.met(&host, port, nth)
        });
        let met = met.await?;
        if let Some(Met::Unread { said }) = met {
            let read = Arc::clone(&past);
            let transcript = blocking(move || read.transcript(&said)).await?.map_err(io::Error::other)?;
            unread::play(inside, transcript, &*past, (&place.host, port, nth)).await;
            return Ok(());
        }
        if met == Some(Met::Missed) {
            return Ok(());
        }
        if !self.opens {
            past.differs((&place.host, port, nth), 0, &[], &[]);
            return Ok(());
        }
        match self.spoken(&inside, None).await? {
            Spoken::Tls { name: asked, offers } => {
                same_host(name.as_deref(), asked.as_deref())?;
                let place = Place { scheme: "https", host: asked.or(name).unwrap_or(place.host), ..place };
                let is_h2 = met == Some(Met::Tls { h2: true }) && offers.iter().any(|offer| offer == H2);
                let spoken = if is_h2 { H2 } else { HTTP1 };
                let inside = self.accept_tls(inside, &place, vec![spoken.to_vec()]).await?;
                match met {
                    Some(Met::Unsecured { why }) => forward::unreachable(inside, &place, &why).await,
                    _ => self.forward_past(inside, past, is_h2, place, left).await,
                }
            }
            Spoken::Http1 => self.forward_past(inside, past, false, place, left).await,
            Spoken::Http2 => self.forward_past(inside, past, true, place, left).await,
            _ => {
                past.differs((&place.host, port, nth), 0, &[], &[]);
                Err(refused("what is neither TLS nor HTTP, and was not said then"))
            }
        }
    }

    async fn forward_past<I>(
        self: Arc<Self>,
        inside: I,
        past: Arc<dyn Past>,
        is_h2: bool,
        place: Place,
        left: forward::Left,
    ) -> io::Result<()>
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        forward::forward_past(self, inside, past, is_h2, place, left).await.map_err(io::Error::other)
    }

    async fn forward<I, O>(
        self: Arc<Self>,
        inside: I,
        outside: O,
        is_h2: bool,
        place: Place,
        left: forward::Left,
    ) -> io::Result<()>
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        O: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        forward::forward(self, inside, outside, is_h2, place, left).await.map_err(io::Error::other)
    }
}

async fn readable(outside: Option<&TcpStream>) -> io::Result<()> {
    match outside {
        Some(outside) => outside.readable().await,
        None => std::future::pending().await,
    }
}

/// What takes as long as a disk.
async fn blocking<T: Send + 'static>(what: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(what).await.map_err(io::Error::other)
}

/// INVARIANT: a connection is for the name that it was allowed for. Another in the handshake would be answered by another host
/// behind the same address.
fn same_host(name: Option<&str>, asked: Option<&str>) -> io::Result<()> {
    match (name, asked) {
        (Some(name), Some(asked)) if !name.eq_ignore_ascii_case(asked) => {
            Err(refused("a handshake for another name than the connection was allowed for"))
        }
        _ => Ok(()),
    }
}

/// What a program that believes only certificates of its own choice says in the handshake.
fn not_believed(host: &str, error: io::Error) -> io::Error {
    use rustls::AlertDescription as Said;
    let said = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match said {
        Some(rustls::Error::AlertReceived(
            Said::UnknownCA | Said::BadCertificate | Said::CertificateUnknown | Said::UnsupportedCertificate,
        )) => refused(&format!(
            "the program does not believe this session's certificate authority, by which its requests to `{host}` would be \
             ruled on; name the host under `[http] pass` to leave them closed"
        )),
        _ => error,
    }
}

fn refused(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, what.to_owned())
}

/// The one certificate of a connection.
#[derive(Debug)]
struct One(Arc<CertifiedKey>);

impl ResolvesServerCert for One {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
}
