//! HTTP in the connections of a session's program: each request comes to the session's gate, as a call of the program's does.
//!
//! INVARIANT: what was written is looked at and judged before a request goes out, however long its connection has stood open.

use crate::core::{Core, Outgoing};
use crate::gate::Settled;
use crate::supervisor::Session;
use flyball_gateway::http::{Authority, Connection, Credential, Egress, Models, trusted};
use flyball_gateway::{Answered, Asking, Gate, Keep};
use flyball_kernel::{Charter, Value, Verdict};
use flyball_ledger::Kind;
use flyball_sandbox::{Passing, Through};
use serde_json::Value as Json;
use std::collections::BTreeMap;
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a request waits for people: less than clients wait for an answer.
const WAIT_MAX: Duration = Duration::from_secs(240);
/// How long an ended session waits for the answers of models that are on their way to the record.
const RECORD_WAIT_MAX: Duration = Duration::from_secs(5);
/// Between two looks at whether the answer is there.
const LOOK: Duration = Duration::from_millis(20);
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

/// Serves the connections of one session.
pub(crate) struct Outward {
    runtime: tokio::runtime::Runtime,
    egress: Arc<Egress>,
    session: Session,
}

/// Makes the session's authority, and the file by which programs inside trust it.
pub(crate) fn authority(session_dir: &Path) -> Result<Arc<Authority>, String> {
    let authority = Authority::new().map_err(|e| e.to_string())?;
    let system = std::env::var_os("SSL_CERT_FILE").map(std::path::PathBuf::from);
    let system = system.into_iter().chain(BUNDLES.iter().map(Into::into)).find_map(|path| std::fs::read(path).ok());
    let mut bundle = system.unwrap_or_default();
    if !bundle.ends_with(b"\n") {
        bundle.push(b'\n');
    }
    bundle.extend_from_slice(authority.pem().as_bytes());
    let path = session_dir.join(TRUST_FILE);
    std::fs::write(&path, bundle).map_err(|e| format!("{}: {e}", path.display()))?;
    Ok(Arc::new(authority))
}

impl Outward {
    pub(crate) fn new(
        session: Session,
        authority: Arc<Authority>,
        charter: &Charter,
        credentials: Vec<Credential>,
    ) -> Result<Arc<Self>, String> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("flyball-http")
            .enable_all()
            .build()
            .map_err(|e| e.to_string())?;
        let egress = Arc::new(Egress {
            gate: Arc::new(session.clone()),
            authority,
            client: trusted()?,
            pass: charter.http().pass.clone(),
            credentials,
            models: Arc::new(Models::new(charter.models().clone())),
            wait: WAIT_MAX,
        });
        Ok(Arc::new(Self { runtime, egress, session }))
    }

    /// The program has ended: what is still to be recorded of its calls is waited for.
    pub(crate) fn finish(&self) {
        self.runtime.block_on(self.egress.models.recorded(RECORD_WAIT_MAX));
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
        let egress = Arc::clone(&self.egress);
        // On the runtime's own threads: this one has a small stack, and only waits.
        let serving = self.runtime.spawn(async move {
            let (inside, outside) = (tokio(inside)?, tokio(outside)?);
            egress.serve(Connection { inside, outside, name, address, agent, cause }).await
        });
        if let Ok(Err(error)) = self.runtime.block_on(serving)
            && error.kind() == std::io::ErrorKind::PermissionDenied
        {
            let body = serde_json::json!({ "alert": "http", "detail": format!("a connection to {address} was ended: {error}") });
            self.session.with(|core| core.gate.note(Kind::Alert, "gateway", &[], body).map(drop));
        }
    }
}

impl Gate for Session {
    fn ask(&self, asking: Asking) -> Answered {
        let denied = |text: String| Answered::Denied { attempt: 0, text };
        let over = || denied("flyball: denied, the session is over".to_owned());
        let Some(outgoing) = self.with(|core| core.outgoing(asking.actions, &asking.cause)) else { return over() };
        let group = match outgoing {
            Outgoing::Allowed(attempts) => return Answered::Allowed { attempts },
            Outgoing::Denied(attempt, text) => return Answered::Denied { attempt, text },
            Outgoing::Held(group) => group,
        };
        let deadline = Instant::now() + asking.wait;
        loop {
            match self.with(|core| core.take_outgoing(group)) {
                None => return over(),
                Some(Some(Settled { verdict: Verdict::Allow, attempts, .. })) => return Answered::Allowed { attempts },
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

    fn outcome(&self, attempts: &[u64], ok: Option<bool>, attrs: &BTreeMap<String, Value>) {
        self.with(|core| core.outgoing_ended(attempts, ok, attrs));
    }

    /// INVARIANT: what is seen of a tool's call is caused by the answer of the model that made it, where that passed here.
    fn observe(&self, actor: &str, cause: &[u64], body: Json) -> Option<u64> {
        let id = body.get("tool_use_id").and_then(Json::as_str);
        let by = id.and_then(|id| self.kept(|kept| kept.call_of(id)).flatten());
        let cause: Vec<u64> = cause.iter().copied().chain(by).collect();
        self.with(|core: &mut Core| core.gate.note(Kind::Observe, actor, &cause, body).ok()).flatten()
    }

    fn keep(&self) -> Option<Box<dyn Keep>> {
        self.kept(|kept| Box::new(kept.begin()) as Box<dyn Keep>)
    }

    fn calls(&self, attempt: u64, ids: &[String]) {
        self.kept(|kept| kept.calls(attempt, ids));
    }
}
