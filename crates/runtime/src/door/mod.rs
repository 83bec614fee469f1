//! A session without a sandbox: what an agent attempts comes through doors that it was told to use, a harness's hooks or a
//! gateway, and is ruled on and recorded as in any other.
//!
//! INVARIANT: what the gate can't decide and record is denied, also once the session is over or its supervisor is in trouble.
//!
//! What this can't do: hold a program that goes round the door. The session's first entry says so.

mod acts;
mod agent;
mod ending;
mod hooks;
mod mcp;
pub(crate) mod pins;
mod servers_file;
pub mod settings;
mod waiting;

pub(crate) use hooks::serve_hook;
pub use hooks::{HookError, Supervise, hook, hook_within, supervise};
pub use mcp::{McpError, McpListen, McpMany, McpOptions, mcp, mcp_listen, mcp_many};

use crate::clock::{Clock, wall_ns};
use crate::control;
use crate::coverage;
use crate::exports::live::{Live, Sending};
use crate::gate::{Gate, GateError, Settled, labelled_files};
use crate::home::{Home, SessionLock};
use crate::inbox::Inbox;
use crate::supervisor::{RunError, charter_of, session_id};
use crate::{refusal, translate};
use agent::Agent;
use flyball_gateway::{Answered, Asking};
use flyball_intent::{McpOwn, McpTool};
use flyball_kernel::{Action, Charter, Effect, Kernel, Reason, ServerTool, Session, Value, Verdict};
use flyball_ledger::{Draft, Kind, Ledger};
use serde_json::{Value as Json, json};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};
use waiting::Waiting;

/// What a session without a sandbox is opened with.
#[derive(Clone, Debug)]
pub struct DoorOptions {
    /// Its name.
    pub name: String,
    /// The agent that acts in it.
    pub agent: String,
    /// The folder that the agent works in.
    pub workspace: PathBuf,
    /// The charter's folder; `None` is `.flyball` in the workspace, or what `init` would write where there is none.
    pub charter: Option<PathBuf>,
    /// What the first entry says of where it comes from, such as the harness's own name for the session.
    pub origin: Json,
    /// What this session does not cover.
    pub uncovered: Vec<String>,
    /// Where its spans go while it lasts, if anywhere.
    pub sending: Option<Sending>,
}

/// `[[mcp.tool]]`, as `intent` takes it.
pub(crate) fn own_tools(charter: &Charter) -> McpOwn {
    let row = |row: &ServerTool| McpTool {
        server: row.server.clone(),
        tool: row.tool.clone(),
        verb: row.verb.name().to_owned(),
        fields: row.fields.clone(),
    };
    let servers = charter.servers();
    let labels = servers.settings.iter().map(|(name, of)| (name.clone(), of.labels.iter().cloned().collect()));
    let most = servers.settings.iter().filter_map(|(name, of)| Some((name.clone(), of.result_bytes_max?)));
    McpOwn {
        tools: servers.tools.iter().map(row).collect(),
        labels: labels.collect(),
        answer_bytes_max: most.collect(),
    }
}

/// An open session.
pub struct Door {
    pub(crate) id: String,
    pub(crate) session_dir: PathBuf,
    ledger: Arc<Ledger>,
    uncovered: Vec<String>,
    /// What the charter says of its own servers' tools.
    own: McpOwn,
    state: Mutex<State>,
    /// Told when an attempt that people are asked about is settled.
    settled: Condvar,
    over: AtomicBool,
    /// Asked meanwhile and once more at the end.
    witnesses: Mutex<Option<crate::witnessing::Beside>>,
    /// Sends its spans; gone once the last were.
    live: Mutex<Option<(Live, Sending)>>,
    /// Where it works and under which charter's folder, for what is run at its end.
    place: ending::Place,
    /// The agent's own process, where it is known.
    agent: OnceLock<Agent>,
    _lock: SessionLock,
}

struct State {
    gate: Gate,
    waiting: Waiting,
    inbox: Inbox,
    ended_by: Option<&'static str>,
    /// The record is closed.
    is_closed: bool,
}

impl Door {
    /// Opens a session.
    ///
    /// # Errors
    /// [`RunError`] when it can't be governed.
    pub fn open(home: &Home, options: &DoorOptions) -> Result<Arc<Self>, RunError> {
        let workspace =
            options.workspace.canonicalize().map_err(|cause| RunError::System { what: "use the folder", cause })?;
        let (charter, sources) = charter_of(options.charter.as_deref(), &workspace)?;
        let doors = coverage::doors(&json!({ "door": options.origin }));
        coverage::require(&charter, &doors)?;
        let charter = Arc::new(charter);
        let ledger = Arc::new(Ledger::open(home.dir())?);
        crate::recover::dead_sessions(home, &ledger)?;
        let id = session_id();
        let session_dir = home.make_session(&id)?;
        let system = |what| move |cause| RunError::System { what, cause };
        let lock = SessionLock::take(&session_dir)
            .and_then(|held| held.ok_or_else(|| std::io::ErrorKind::WouldBlock.into()))
            .map_err(system("lock the session's folder"))?;
        let inbox = Inbox::create(&session_dir).map_err(system("make the session's inbox"))?;
        let user_home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
        let session = Session {
            workspace: translate::text(&workspace),
            home: translate::text(&user_home),
            agent: options.agent.clone(),
        };
        let stream = ledger.stream(&id)?;
        let mut clock = Clock::after(wall_ns());
        stream.append(Draft {
            at_ns: clock.now_ns(),
            kind: Kind::Open,
            actor: control::this_user(),
            cause: Vec::new(),
            body: json!({
                "session": id, "name": options.name, "agent": options.agent, "argv": [options.agent],
                "cwd": session.workspace, "workspace": session.workspace, "home": session.home,
                "session_dir": translate::text(&session_dir), "charter": { "digest": charter.digest(), "files": sources },
                "scratch": [], "environment": [], "pid": rustix::process::getpid().as_raw_nonzero().get(),
                "accepted_weaker": [], "weaker": ["sandbox"], "uncovered": options.uncovered, "learning": false,
                "door": options.origin, "version": env!("CARGO_PKG_VERSION"),
            }),
        })?;
        let own = own_tools(&charter);
        let gate = gate(charter, session, stream, clock, &id, &ledger)?;
        gate.flush().map_err(|e| RunError::Record(e.to_string()))?;
        let live = options.sending.as_ref().map(|sending| {
            let live = Live::start(home.dir(), &id, &sending.url).map_err(|cause| RunError::System {
                what: "send to the collector",
                cause: std::io::Error::other(cause),
            });
            live.map(|live| (live, sending.clone()))
        });
        let live = Mutex::new(live.transpose()?);
        Ok(Arc::new(Self {
            id,
            live,
            session_dir,
            ledger,
            uncovered: options.uncovered.clone(),
            own,
            state: Mutex::new(State { gate, waiting: Waiting::default(), inbox, ended_by: None, is_closed: false }),
            settled: Condvar::new(),
            over: AtomicBool::new(false),
            witnesses: Mutex::new(Some(crate::witnessing::beside(home.dir()))),
            place: ending::Place { home: home.clone(), workspace, charter: options.charter.clone() },
            agent: OnceLock::new(),
            _lock: lock,
        }))
    }

    /// The session's id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Whether nothing more is decided here.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.over.load(Ordering::SeqCst)
    }

    /// Hears people at the control socket, and time, until the session is over.
    ///
    /// # Errors
    /// What the operating system said when that can't be begun.
    pub fn serve_people(self: &Arc<Self>) -> std::io::Result<()> {
        acts::serve(self)?;
        acts::tick_at_deadlines(self)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ask_once(&self, state: &mut State, asking: &Asking) -> First {
        let actions = &asking.actions;
        // The same attempt again, after people were asked about it: it takes their answer, or goes on waiting for it.
        if let Some(group) = state.waiting.find(asking) {
            return First::Waits(group);
        }
        let asked = match asking.can_change {
            true => state.gate.ask_changeable(actions, &asking.cause),
            false => state.gate.ask(actions, &asking.cause),
        };
        state.take_effects(&asked.effects);
        match asked.verdict {
            Verdict::Allow => {
                state.waiting.dispatched(&asked.attempts);
                First::Said(Answered::Allowed { attempts: asked.attempts })
            }
            Verdict::Hold => {
                for question in &asked.questions {
                    let text = crate::asking::for_the_agent(question);
                    state.inbox.tell(question.of, "asked", &text);
                }
                state.waiting.wait(asked.group, asking, asked.questions);
                First::Waits(asked.group)
            }
            Verdict::Modify => First::Said(changed(state, asked.group)),
            Verdict::Deny => First::Said(self.refused(state, asked.group, &asked.because)),
        }
    }

    /// People's answer goes to whoever asks now.
    fn taken(&self, state: &mut State, settled: Settled) -> Answered {
        let now = state.gate.status().registers.gate;
        match settled.verdict {
            Verdict::Allow | Verdict::Modify if now != "open" => {
                let group = settled.group;
                state.not_taken(vec![settled]);
                Answered::Denied { attempt: group, text: format!("flyball: denied, the session is {now}\n") }
            }
            Verdict::Allow => {
                state.waiting.dispatched(&settled.attempts);
                Answered::Allowed { attempts: settled.attempts }
            }
            Verdict::Modify => changed(state, settled.group),
            _ => self.refused(state, settled.group, &settled.because),
        }
    }

    fn refused(&self, state: &mut State, group: u64, because: &[(Action, Reason)]) -> Answered {
        let text = refusal::text(&self.id, group, because);
        state.inbox.tell(group, "refused", &text);
        Answered::Denied { attempt: group, text }
    }
}

fn changed(state: &State, group: u64) -> Answered {
    Answered::Changed { attempt: group, forms: state.gate.forms(group) }
}

/// What there is to say at once.
enum First {
    Said(Answered),
    /// People are asked about the attempt of this name.
    Waits(u64),
}

impl flyball_gateway::Gate for Door {
    fn ask(&self, asking: Asking) -> Answered {
        let deadline = Instant::now() + asking.wait;
        let mut state = self.lock();
        state.expire();
        loop {
            let group = match self.ask_once(&mut state, &asking) {
                First::Said(said) => return said,
                First::Waits(group) => group,
            };
            while !self.is_over() && state.waiting.is_waiting(group) {
                if let Some(settled) = state.waiting.take_settled(group) {
                    return self.taken(&mut state, settled);
                }
                let left = deadline.saturating_duration_since(Instant::now());
                if left == Duration::ZERO {
                    return Answered::Waiting { attempt: group, text: state.waiting.text(&self.id, group) };
                }
                state = self.settled.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
            }
            if self.is_over() {
                let text = "flyball: denied, the session is over\n".to_owned();
                return Answered::Denied { attempt: group, text };
            }
            // The same call of somebody else's took the answer: it was for one.
        }
    }

    fn give(&self, attempt: u64, given: Option<&[Action]>) -> Answered {
        let mut state = self.lock();
        match state.gate.give(attempt, given) {
            Ok(settled) if settled.verdict == Verdict::Allow => {
                state.waiting.dispatched(&settled.attempts);
                Answered::Allowed { attempts: settled.attempts }
            }
            Ok(settled) => self.refused(&mut state, attempt, &settled.because),
            Err(error) => Answered::Denied { attempt, text: format!("flyball: denied: {error}\n") },
        }
    }

    fn outcome(&self, attempts: &[u64], ok: Option<bool>, attrs: &BTreeMap<String, Value>) {
        self.lock().came(attempts, ok, attrs, Gate::outcome);
    }

    /// INVARIANT: nobody else is answered between the two, of which the second queues both.
    fn outcome_seen(&self, attempts: &[u64], ok: Option<bool>, actor: &str, seen: Json) {
        let mut state = self.lock();
        state.came(attempts, ok, &BTreeMap::new(), Gate::outcome_staged);
        if let Err(error) = state.gate.note(Kind::Observe, actor, attempts, seen) {
            state.alert("observe", attempts, &error);
        }
    }

    fn observe(&self, actor: &str, cause: &[u64], body: Json) -> Option<u64> {
        self.lock().gate.note(Kind::Observe, actor, cause, body).ok()
    }
}

/// How the gate records an outcome.
type Records = fn(&mut Gate, u64, bool, BTreeMap<String, Value>) -> Result<u64, GateError>;

impl State {
    /// Says what became of attempts: `record` does of each.
    fn came(&mut self, attempts: &[u64], ok: Option<bool>, attrs: &BTreeMap<String, Value>, record: Records) {
        for &of in attempts {
            self.waiting.ended(of);
            let told = match ok {
                Some(ok) => record(&mut self.gate, of, ok, attrs.clone()).map(drop),
                None => {
                    let body = json!({ "of": of, "ok": null, "unknown": true });
                    self.gate.note(Kind::Outcome, "gate", &[of], body).map(drop)
                }
            };
            if let Err(error) = told {
                self.alert("outcome", &[of], &error);
            }
        }
    }

    fn alert(&mut self, what: &str, cause: &[u64], error: &GateError) {
        let body = json!({ "alert": what, "detail": error.to_string() });
        let _ = self.gate.note(Kind::Alert, "supervisor", cause, body);
    }

    /// Answers that nobody has taken in time count no more.
    fn expire(&mut self) {
        let expired = self.waiting.expired(wall_ns());
        self.not_taken(expired);
    }

    /// The session was stopped: what was allowed before and has not been done is not to be done any more.
    fn stopped(&mut self) {
        let allowed = self.waiting.allowed();
        self.not_taken(allowed);
    }

    /// What was allowed and never carried out has failed.
    fn not_taken(&mut self, settled: Vec<Settled>) {
        for settled in &settled {
            self.gate.forget_forms(settled.group);
        }
        for of in settled.into_iter().flat_map(|settled| settled.attempts) {
            if let Err(error) = self.gate.outcome(of, false, BTreeMap::new()) {
                self.alert("outcome", &[of], &error);
            }
        }
    }

    fn take_effects(&mut self, effects: &[Effect]) {
        let more = self.gate.take_effects();
        for effect in effects.iter().chain(&more) {
            let (alert, detail) = match effect {
                Effect::Warn { budget, used, limit } => {
                    ("budget", format!("budget `{budget}` is at {used} of {limit}"))
                }
                Effect::Alert { alert, because } => (alert.as_str(), because.clone()),
                // There is no tree to stop or take back: the session is stopped where the door is.
                Effect::Cause { act, because, .. } if !act.starts_with("escalate:") => {
                    let act = if act == "kill" { "kill" } else { "pause" };
                    let _ = self.gate.control(act, "charter", because, json!({}));
                    self.stopped();
                    ("cause", because.clone())
                }
                Effect::Cause { because, .. } => ("cause", because.clone()),
                Effect::Autonomy { .. } | Effect::Ask { .. } | Effect::Reserve { .. } => continue,
            };
            let _ = self.gate.note(Kind::Alert, "kernel", &[], json!({ "alert": alert, "detail": detail }));
            self.inbox.tell(self.gate.last_seq(), "alert", &detail);
        }
    }
}

fn gate(
    charter: Arc<Charter>,
    session: Session,
    stream: flyball_ledger::Stream,
    clock: Clock,
    id: &str,
    ledger: &Arc<Ledger>,
) -> Result<Gate, RunError> {
    let kernel = Kernel::new(Arc::clone(&charter), session);
    let mut gate = Gate::new(kernel, stream, clock, id).with_fleet(ledger, &charter);
    if charter.has_labels() {
        let files = labelled_files(ledger.registers(Gate::LABELS)?);
        gate.know_labels(files).map_err(|e| RunError::Record(e.to_string()))?;
    }
    Ok(gate)
}
