//! HTTP in the connections of a session's program: each request comes to the session's gate, as a call of the program's does.
//!
//! INVARIANT: what was written is looked at and judged before a request goes out, however long its connection has stood open.

mod chromium;
mod lanes;

use crate::core::{Core, Notice, Outgoing};
use crate::gate::Settled;
use crate::kept::Kept;
use crate::rerun::not_kept;
use crate::supervisor::Session;
use flyball_gateway::http::{
    Authority, Connection, Credential, Egress, Met, Models, Replay, java_trust, tell_met, trusted,
};
use flyball_gateway::{Answered, Asking, Gate, Keep, Later};
use flyball_kernel::{Charter, Value, Verdict};
use flyball_ledger::Kind;
use flyball_sandbox::{CHROMIUM_DIR, JAVA_TRUST_FILE, Passing, SYSTEM_CHROMIUM, SYSTEM_JAVA_TRUST, Through};
use lanes::Lanes;
use serde_json::Value as Json;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// How long a request waits for people: less than clients wait for an answer.
const WAIT_MAX: Duration = Duration::from_secs(240);
/// How long an ended session waits for the answers of models that are on their way to the record.
const RECORD_WAIT_MAX: Duration = Duration::from_secs(5);
/// Between two looks at whether the answer is there.
const LOOK: Duration = Duration::from_millis(20);
/// Threads that pass things on, at most.
const THREADS_MAX: usize = 4;
/// Alerts that people hear of in one session; all are on record.
const TOLD_MAX: usize = 64;
/// In the session's folder: what programs inside are to trust.
pub(crate) const TRUST_FILE: &str = "trust.pem";
/// Where the certificates of this machine are, in one file.
const BUNDLES: &[&str] = &[
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];
/// Variables by which programs are told whom to trust: OpenSSL's and Go's, curl's, git's, Python's and pip's, node's, cargo's,
/// Amazon's and Deno's.
pub(crate) const TRUST_VARIABLES: &[&str] = &[
    "SSL_CERT_FILE",
    "CURL_CA_BUNDLE",
    "GIT_SSL_CAINFO",
    "REQUESTS_CA_BUNDLE",
    "PIP_CERT",
    "NODE_EXTRA_CA_CERTS",
    "CARGO_HTTP_CAINFO",
    "AWS_CA_BUNDLE",
    "DENO_CERT",
];

/// Serves the connections of one session. What that takes is made for the first of them: most programs connect to nothing.
pub(crate) struct Outward {
    session: Session,
    open: OnceLock<Result<Open, String>>,
    /// What people were told of.
    told: Mutex<BTreeSet<String>>,
    /// What the doors of this session have, until they are opened.
    parts: Parts,
}

struct Parts {
    authority: Arc<Authority>,
    credentials: Arc<[Credential]>,
    charter: Arc<Charter>,
    opens: bool,
    replay: Mutex<Replay>,
}

struct Open {
    lanes: Lanes,
    egress: Arc<Egress>,
}

/// The files by which programs inside trust the session's authority. The sandbox shows them, so they are there before it is
/// built; what is in them takes as long to make as the sandbox does, and is made beside it.
pub(crate) struct Trust {
    pem: PathBuf,
    java: Option<PathBuf>,
    chromium: Option<PathBuf>,
}

impl Trust {
    pub(crate) fn create(session_dir: &Path, env: &[(OsString, OsString)]) -> Result<Self, String> {
        let has_java = SYSTEM_JAVA_TRUST.iter().any(|path| Path::new(path).exists())
            || env.iter().any(|(name, _)| name == "JAVA_HOME");
        let java = has_java.then(|| session_dir.join(JAVA_TRUST_FILE));
        let chromium = chromium::prepare(Path::new(SYSTEM_CHROMIUM), &session_dir.join(CHROMIUM_DIR));
        let trust = Self { pem: session_dir.join(TRUST_FILE), java, chromium };
        let empty = |path: &PathBuf| std::fs::write(path, b"").map_err(|e| format!("{}: {e}", path.display()));
        [Some(&trust.pem), trust.java.as_ref()].into_iter().flatten().try_for_each(empty)?;
        Ok(trust)
    }

    /// Makes the authority and fills the files, while `work` is done.
    pub(crate) fn fill_beside<T>(&self, work: impl FnOnce() -> T) -> (T, Result<Arc<Authority>, String>) {
        std::thread::scope(|scope| {
            let filling = scope.spawn(|| self.fill());
            let done = work();
            (done, filling.join().unwrap_or_else(|_| Err("the files of its authority could not be made".to_owned())))
        })
    }

    fn fill(&self) -> Result<Arc<Authority>, String> {
        let authority = Authority::new().map_err(|e| e.to_string())?;
        let system = std::env::var_os("SSL_CERT_FILE").map(PathBuf::from);
        let system = system.into_iter().chain(BUNDLES.iter().map(Into::into)).find_map(|path| std::fs::read(path).ok());
        let mut bundle = system.unwrap_or_default();
        if !bundle.ends_with(b"\n") {
            bundle.push(b'\n');
        }
        bundle.extend_from_slice(authority.pem().as_bytes());
        if let Some(java) = &self.java {
            write(java, &java_trust(&bundle))?;
        }
        if let Some(policy) = &self.chromium {
            write(policy, &chromium::policy(policy, authority.pem()))?;
        }
        write(&self.pem, &bundle)?;
        Ok(Arc::new(authority))
    }
}

/// Into the empty file that stands there: it may be shown elsewhere already. It is not cut: ext4 writes a file that was as soon
/// as it is closed, and the record's first entry would wait behind it.
fn write(path: &Path, bytes: &[u8]) -> Result<(), String> {
    let file = std::fs::File::options().write(true).open(path);
    file.and_then(|mut file| file.write_all(bytes)).map_err(|e| format!("{}: {e}", path.display()))
}

impl Outward {
    pub(crate) fn new(
        session: Session,
        authority: Arc<Authority>,
        charter: Arc<Charter>,
        credentials: Vec<Credential>,
        opens: bool,
        replay: Replay,
    ) -> Arc<Self> {
        Arc::new(Self {
            session,
            open: OnceLock::new(),
            told: Mutex::default(),
            parts: Parts { authority, credentials: credentials.into(), charter, opens, replay: Mutex::new(replay) },
        })
    }

    /// The program has ended: what is still to be recorded of its calls is waited for.
    pub(crate) fn finish(&self) {
        if let Some(Ok(open)) = self.open.get() {
            open.lanes.wait(open.egress.models.recorded(RECORD_WAIT_MAX));
        }
    }

    /// Made by a thread of its own: who serves a connection has a small stack.
    fn opened(&self) -> Result<&Open, String> {
        let made = self.open.get_or_init(|| {
            let made = std::thread::scope(|scope| scope.spawn(|| self.make()).join());
            made.unwrap_or_else(|_| Err("a thread broke off".to_owned()))
        });
        made.as_ref().map_err(Clone::clone)
    }

    fn make(&self) -> Result<Open, String> {
        let lanes = Lanes::new(threads()).map_err(|e| e.to_string())?;
        let Parts { authority, credentials, charter, opens, replay } = &self.parts;
        let egress = Arc::new(Egress {
            gate: Arc::new(self.session.clone()),
            authority: Arc::clone(authority),
            client: LazyLock::new(Box::new(trusted)),
            pass: charter.http().pass.clone(),
            reads: charter.http().reads.clone().into(),
            credentials: Arc::clone(credentials),
            models: Arc::new(Models::new(charter.models().clone())),
            wait: WAIT_MAX,
            opens: *opens,
            replay: std::mem::take(&mut *replay.lock().unwrap_or_else(PoisonError::into_inner)),
        });
        Ok(Open { lanes, egress })
    }

    /// For the record each time, for people once.
    fn alert(&self, detail: &str) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = told.len() < TOLD_MAX && told.insert(detail.to_owned());
        drop(told);
        let body = serde_json::json!({ "alert": "http", "detail": detail });
        self.session.with(|core| {
            let _ = core.gate.note(Kind::Alert, "gateway", &[], body);
            if is_new {
                core.hear(Notice::Alert(detail.to_owned()));
            }
        });
    }
}

impl Through for Outward {
    fn serve(&self, passing: Passing) {
        let Some((agent, cause)) = self.session.with(|core| core.connected(passing.name.as_deref(), passing.address))
        else {
            return;
        };
        let Passing { inside, outside, address, name } = passing;
        let tokio = |stream: TcpStream| {
            stream.set_nonblocking(true)?;
            tokio::net::TcpStream::from_std(stream)
        };
        let open = match self.opened() {
            Ok(open) => open,
            Err(why) => return self.alert(&format!("no connection can be served: {why}")),
        };
        let egress = Arc::clone(&open.egress);
        // On threads for that: this one has a small stack, and only waits.
        let served = open.lanes.serve(async move {
            let (inside, outside) = (tokio(inside)?, outside.map(tokio).transpose()?);
            egress.serve(Connection { inside, outside, name, address, agent, cause }).await
        });
        if let Ok(Err(error)) = served
            && error.kind() == std::io::ErrorKind::PermissionDenied
        {
            self.alert(&format!("a connection to {address} was ended: {error}"));
        }
    }

    fn missed(&self, address: SocketAddr, name: Option<&str>) {
        let Ok(open) = self.opened() else { return };
        let Replay::Keeps(places) = &open.egress.replay else { return };
        let host = name.map_or_else(|| address.ip().to_string(), str::to_owned);
        let (Some((_, cause)), Some(nth)) =
            (self.session.with(|core| core.connected(name, address)), places.next(&host, address.port()))
        else {
            return;
        };
        tell_met(&self.session, &cause, &host, address.port(), nth, &Met::Missed);
    }
}

/// How many threads pass things on. More than there are processors would only wait for each other at the gate, of which there is one.
fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, |processors| processors.get().min(THREADS_MAX))
}

fn denied(text: String) -> Answered {
    Answered::Denied { attempt: 0, text }
}

fn over() -> Answered {
    denied("flyball: denied, the session is over".to_owned())
}

impl Session {
    fn said(&self, outgoing: Outgoing) -> Answered {
        match outgoing {
            Outgoing::Allowed(attempts) => Answered::Allowed { attempts },
            Outgoing::Denied(attempt, text) => Answered::Denied { attempt, text },
            Outgoing::Changed(attempt) => {
                let forms = self.with(|core| core.gate.forms(attempt)).unwrap_or_default();
                Answered::Changed { attempt, forms }
            }
            Outgoing::Held(attempt) => self.wait(attempt, Duration::ZERO, &AtomicBool::new(false)),
        }
    }
}

impl Gate for Session {
    fn ask(&self, asking: Asking) -> Answered {
        self.ask_until(asking, &AtomicBool::new(false))
    }

    fn ask_until(&self, asking: Asking, gone: &AtomicBool) -> Answered {
        let asked = self.with(|core| core.outgoing(asking.actions, &asking.cause, asking.can_change));
        match asked {
            None => over(),
            Some(Outgoing::Held(group)) => self.wait(group, asking.wait, gone),
            Some(said) => self.said(said),
        }
    }

    fn ask_now(&self, asking: Asking) -> Result<Answered, Later> {
        let mut asking = Some(asking);
        let outgoing = self.try_with(|core| {
            let quick = asking.take_if(|asking| core.is_quick(&asking.actions))?;
            Some(core.outgoing(quick.actions, &quick.cause, quick.can_change))
        });
        let Some(outgoing) = outgoing else { return Ok(over()) };
        match (outgoing, asking) {
            (Some(Some(Outgoing::Held(group))), _) => Err(Later::Held(group)),
            (Some(Some(said)), _) => Ok(self.said(said)),
            (Some(None), Some(asking)) => Err(Later::Ask(asking)),
            (None, Some(asking)) => Err(Later::Busy(asking)),
            (_, None) => Ok(denied("flyball: denied, it could not be decided".to_owned())),
        }
    }

    fn wait(&self, group: u64, wait: Duration, gone: &AtomicBool) -> Answered {
        let deadline = Instant::now() + wait;
        loop {
            if gone.load(Ordering::SeqCst) {
                self.with(|core| core.give_up_outgoing(group));
                return denied("flyball: denied, whoever asked has gone away".to_owned());
            }
            match self.with(|core| core.take_outgoing(group)) {
                None => return over(),
                Some(Some(Settled { verdict: Verdict::Allow, attempts, .. })) => return Answered::Allowed { attempts },
                Some(Some(Settled { verdict: Verdict::Modify, .. })) => return self.said(Outgoing::Changed(group)),
                Some(Some(settled)) => {
                    let text = self.with(|core| core.outgoing_text(&settled)).unwrap_or_default();
                    return Answered::Denied { attempt: group, text };
                }
                Some(None) if Instant::now() >= deadline => {
                    self.with(|core| core.give_up_outgoing(group));
                    return denied("flyball: denied, nobody has answered in time; try again later".to_owned());
                }
                Some(None) => std::thread::sleep(LOOK),
            }
        }
    }

    fn give(&self, attempt: u64, given: Option<&[flyball_kernel::Action]>) -> Answered {
        self.with(|core| core.give_outgoing(attempt, given)).map_or_else(over, |said| self.said(said))
    }

    fn outcome(&self, attempts: &[u64], ok: Option<bool>, attrs: &BTreeMap<String, Value>) {
        self.with(|core| core.outgoing_ended(attempts, ok, attrs));
    }

    fn outcome_now(&self, attempts: &[u64], ok: Option<bool>, attrs: &BTreeMap<String, Value>) -> bool {
        let told = self.try_with(|core| core.outgoing_ended(attempts, ok, attrs));
        told != Some(None)
    }

    /// INVARIANT: what is seen of a tool's call is caused by the answer of the model that made it, where that passed here.
    fn observe(&self, actor: &str, cause: &[u64], body: Json) -> Option<u64> {
        let id = body.get("tool_use_id").and_then(Json::as_str);
        let by = id.and_then(|id| self.kept(|kept| kept.call_of(id)).flatten());
        let cause: Vec<u64> = cause.iter().copied().chain(by).collect();
        let is_lost = actor == "gateway" && not_kept(&body).is_some();
        self.with(|core: &mut Core| {
            if is_lost {
                core.replayable = None;
            }
            core.gate.note(Kind::Observe, actor, &cause, body).ok()
        })
        .flatten()
    }

    fn latest(&self) -> Option<u64> {
        self.kept(Kept::latest)
    }

    fn keep(&self) -> Option<Box<dyn Keep>> {
        self.kept(|kept| Box::new(kept.begin()) as Box<dyn Keep>)
    }

    fn keep_digested(&self) -> Option<Box<dyn Keep>> {
        self.kept(|kept| Box::new(kept.begin_digested()) as Box<dyn Keep>)
    }

    fn calls(&self, attempt: u64, ids: &[String]) {
        self.kept(|kept| kept.calls(attempt, ids));
    }
}
