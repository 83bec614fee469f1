//! Witnesses over HTTP: serving one, and asking those of a ledger. Nothing waits for a witness: a ledger goes on without, and says so.

use crate::posting::Poster;
use flyball_ledger::witness::{Answered, Asked, REQUEST_BYTES_MAX, Said, Witness};
use flyball_ledger::{Ledger, LedgerError};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

/// Clients that a witness serves at a time; more wait to be accepted.
const CLIENTS_MAX: usize = 64;
/// How long a client may take for its request.
const REQUEST_TIME: Duration = Duration::from_secs(10);
/// How long a witness may take to answer.
const ANSWER_TIME: Duration = Duration::from_secs(5);
/// How often a session's supervisor asks the ledger's witnesses.
const ASK_EVERY: Duration = Duration::from_secs(30);
/// A witness that says again and again that it saw another size is not asked for ever.
const TRIES_MAX: usize = 4;

/// Serves a witness until the process ends. `ready` is told the address.
///
/// # Errors
/// What the operating system said when there can be no listener.
pub fn serve(witness: Witness, listen: SocketAddr, ready: impl FnOnce(SocketAddr)) -> std::io::Result<()> {
    let system = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    system.block_on(async {
        let listener = TcpListener::bind(listen).await?;
        ready(listener.local_addr()?);
        let (witness, clients) = (Arc::new(witness), Arc::new(Semaphore::new(CLIENTS_MAX)));
        loop {
            let Ok(seat) = clients.clone().acquire_owned().await else { return Ok(()) };
            let Ok((stream, _)) = listener.accept().await else {
                // No descriptors are left, say: that passes.
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            };
            let witness = witness.clone();
            tokio::spawn(async move {
                let service = service_fn(move |request| answer(witness.clone(), request));
                let mut http = hyper::server::conn::http1::Builder::new();
                let served = http.timer(TokioTimer::new()).header_read_timeout(REQUEST_TIME);
                // A client that goes away is its own affair.
                let _ = served.serve_connection(TokioIo::new(stream), service).await;
                drop(seat);
            });
        }
    })
}

async fn answer(
    witness: Arc<Witness>,
    request: Request<hyper::body::Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (status, kind, body) = match (request.method() == Method::POST, request.uri().path()) {
        (true, "/add-checkpoint") => {
            let body = Limited::new(request.into_body(), REQUEST_BYTES_MAX).collect();
            let said = match tokio::time::timeout(REQUEST_TIME, body).await {
                Ok(Ok(body)) => {
                    let body = body.to_bytes();
                    // It waits for the disk.
                    let judged = tokio::task::spawn_blocking(move || witness.add_checkpoint(&body, now_s())).await;
                    judged.unwrap_or_else(|e| Said::Failed(e.to_string()))
                }
                Ok(Err(_)) => Said::Bad("the request is too long, or was cut off".to_owned()),
                Err(_) => Said::Bad("the request took too long".to_owned()),
            };
            said.status()
        }
        (false, "/add-checkpoint") => (405, "text/plain", "only POST\n".to_owned()),
        _ => (404, "text/plain", "there is only /add-checkpoint\n".to_owned()),
    };
    let made = Response::builder().status(status).header("content-type", kind).body(Full::new(Bytes::from(body)));
    Ok(made.unwrap_or_else(|_| Response::new(Full::new(Bytes::new()))))
}

fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs())
}

/// What became of asking a witness: the size that it cosigned and when, or nothing where it had cosigned the head before.
pub type Told = Result<Option<(u64, u64)>, LedgerError>;

/// Asks every witness of a ledger to cosign its head.
///
/// # Errors
/// Those of the ledger itself; what a witness said stands beside its name.
pub fn ask_all(ledger: &Ledger) -> Result<Vec<(Asked, Told)>, LedgerError> {
    let witnesses = ledger.witnesses()?;
    Ok(witnesses.into_iter().map(|asked| (asked.clone(), ask(ledger, &asked))).collect())
}

fn ask(ledger: &Ledger, asked: &Asked) -> Told {
    let refused = |cause: String| LedgerError::Witness { name: asked.cosigner.name().to_owned(), cause };
    let mut old = None;
    for _ in 0..TRIES_MAX {
        let Some((body, note)) = ledger.ask(asked, old)? else { return Ok(None) };
        let said =
            std::str::from_utf8(&body).ok().and_then(|text| text.lines().next()?.strip_prefix("old ")?.parse().ok());
        let (status, answer) = post(&asked.url, body).map_err(refused)?;
        match ledger.answered(asked, &note, said.unwrap_or_default(), status, &answer)? {
            Answered::Cosigned(size, at) => return Ok(Some((size, at))),
            Answered::Again(size) => old = Some(size),
        }
    }
    Err(refused("it said another size each time".to_owned()))
}

/// What is asked is public and the answer is signed, so that plain HTTP loses nothing; TLS keeps who asks whom to both.
fn post(url: &str, body: Vec<u8>) -> Result<(u16, String), String> {
    let url = format!("{}/add-checkpoint", url.trim_end_matches('/'));
    let poster = Poster::to(&url).map_err(|e| e.to_string())?;
    poster.post("text/plain; charset=utf-8", body, ANSWER_TIME, REQUEST_BYTES_MAX)
}

/// Asks the ledger's witnesses beside a session, from time to time and once at its end.
pub(crate) struct Beside {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// Begins to ask, if the ledger has witnesses. No act of the session waits for this; what becomes of it `verify` says.
pub(crate) fn beside(dir: &Path) -> Beside {
    if !dir.join("witnesses/list").exists() {
        return Beside { stop: None, thread: None };
    }
    let (stop, stopped) = channel();
    let dir: PathBuf = dir.to_owned();
    let asks = move || {
        loop {
            let is_last = !matches!(stopped.recv_timeout(ASK_EVERY), Err(RecvTimeoutError::Timeout));
            if let Ok(ledger) = Ledger::open_read(&dir) {
                let _ = ask_all(&ledger);
            }
            if is_last {
                return;
            }
        }
    };
    let thread = std::thread::Builder::new().name("witnesses".into()).spawn(asks).ok();
    Beside { stop: Some(stop), thread }
}

impl Beside {
    /// Whether there is anybody to ask.
    pub(crate) fn is_any(&self) -> bool {
        self.thread.is_some()
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
