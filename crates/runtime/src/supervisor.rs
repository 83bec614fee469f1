//! One governed run, from open to close: reads the charter, builds the boundary, serves people, writes the end.

mod acts;
mod beginning;
mod charters;
mod checking;
mod constraining;
mod replies;
mod rerunning;
mod ticking;
mod waiting;

use crate::capture::Capture;
use crate::charter::CharterError;
use crate::clock::{Clock, wall_ns};
use crate::contracts::{self, ContractResult};
use crate::control;
use crate::core::{Core, Notice, OnHold, Parts, Watcher, outside::Sockets};
use crate::coverage;
use crate::door::pins::PinFiles;
use crate::gate::{Gate, labelled_files};
pub(crate) use crate::home::session_id;
use crate::home::{Home, HomeError, SessionLock};
use crate::hooked;
use crate::inbox::Inbox;
use crate::kept::Kept;
use crate::outward::{Outward, Trust};
use crate::plan::{self, Plan, PlanError};
use crate::rerun::{self, Again, Fork, Given, Input, Streams};
use crate::rewind;
use crate::scratch::Scratch;
use crate::state::State;
use crate::terminal;
use beginning::Beginning;
pub(crate) use charters::charter_of;
use flyball_gateway::http::Authority;
use flyball_kernel::analysis::{Lacking, SessionKind};
use flyball_kernel::{Charter, Kernel, ObligationUse};
use flyball_ledger::{Draft, Kind, LedgerError};
use flyball_sandbox::{
    Asker, Built, Call, Decision, Done, EndedBy, Exit, Lull, Mediator, Running, StartError, Status, Through, Ticket,
    Weakness,
};
use replies::Replies;
use rerunning::Before;
pub(crate) use rerunning::end;
use rustix::fd::BorrowedFd;
use serde::Serialize;
use serde_json::json;
use std::ffi::OsString;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, TryLockError, Weak};
use std::time::Duration;
use ticking::tick_at_deadlines;
use waiting::wait;

/// What to run, and how.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// Program and arguments.
    pub argv: Vec<OsString>,
    /// The charter's folder; `None` is `.flyball` in the workspace, or what `init` would write where there is none.
    pub charter: Option<PathBuf>,
    /// The tree to work in.
    pub workspace: PathBuf,
    /// Where the program starts; `None` is the workspace.
    pub cwd: Option<PathBuf>,
    /// The session's name; `None` takes the program's.
    pub name: Option<String>,
    /// What to do with an attempt that needs an answer.
    pub on_hold: OnHold,
    /// Whether what stays in the session is let through, to learn what a charter for it has to allow.
    pub learn: bool,
    /// Layers that may be missing.
    pub accept_weaker: Vec<Weakness>,
    /// Whether the program gets a pty when the caller has a terminal.
    pub allow_pty: bool,
    /// Whether a harness gets hooks that tell of its tool calls.
    pub hooks: bool,
    /// Whether the charter must have contracts: something is to depend on them.
    pub needs_contracts: bool,
    /// Whether what it takes to run the program again is kept.
    pub record: bool,
    /// The recorded run that this is to be again.
    pub again: Option<Arc<Again>>,
    /// The session's state that this begins with.
    pub fork: Option<Arc<Fork>>,
}

/// How a run ended, as `run --json` says it.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// The session.
    pub session: String,
    /// `program`, `person`, `charter` or `error`.
    pub ended_by: &'static str,
    /// The program's exit code; 128 + signal when a signal ended it.
    pub exit: i32,
    /// The signal, if one ended it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signal: Option<i32>,
    /// What became of the attempts.
    #[serde(flatten)]
    pub counts: crate::gate::Counts,
    /// Files that differ from the real tree, scratch aside.
    pub changed_files: usize,
    /// Which, and how: `added`, `modified` or `deleted`.
    #[serde(skip)]
    pub changes: Vec<(String, &'static str)>,
    /// The last entry before the end.
    #[serde(skip)]
    pub last_seq: u64,
    /// Obligations that were not met when the session ended.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub obligations: Vec<ObligationUse>,
    /// Whether it ran under a learning charter.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub learning: bool,
    /// What became of the charter's contracts.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub contracts: Vec<ContractResult>,
    /// What this run did not cover.
    pub uncovered: Vec<String>,
    /// The highest replay level that the record supports: 3, 2 where it does not hold all of the workspace, more where the run was recorded for it.
    pub replay_level: u8,
}

/// Why a run did not start or did not end well. Nothing ran ungoverned.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each says what its inner error says")]
pub enum RunError {
    #[error(transparent)]
    Home(#[from] HomeError),
    #[error(transparent)]
    Charter(#[from] CharterError),
    #[error(transparent)]
    Plan(#[from] PlanError),
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    #[error(transparent)]
    Start(#[from] StartError),
    #[error("can't {what}: {cause}")]
    System { what: &'static str, cause: std::io::Error },
    #[error("could not record: {0}")]
    Record(String),
    #[error("the workspace is in between: {0}")]
    Between(String),
    #[error("{} would mediate less than the charter requires: {}", kind.meaning(), coverage::told(lacking))]
    Coverage { kind: SessionKind, lacking: Vec<Lacking> },
    #[error("the charter has no `[[contract]]`, so that nothing would ever be applied by `contract`")]
    NoContracts,
    #[error("HTTP can't be opened, which the charter wants (`[http] open`): {0}")]
    Http(String),
    #[error(transparent)]
    Rerun(#[from] crate::rerun::RerunError),
}

/// How long an ended session waits for the replies that are still due: to who killed it, say.
const REPLIES_WAIT_MAX: Duration = Duration::from_secs(1);

/// How often it is looked whether the last questions have their answers.
const CONTENT_LOOK: Duration = Duration::from_millis(20);

/// What the threads of a supervisor share.
struct Shared {
    core: Mutex<Core>,
    running: OnceLock<Running>,
    heard: Sender<Heard>,
    wake: Sender<()>,
    ended_by: Mutex<Option<&'static str>>,
    over: AtomicBool,
    /// Nobody waits for answers any more: the session was killed.
    killed: AtomicBool,
    /// Requests that are being answered.
    replies: Arc<Replies>,
    /// What passes and is kept, apart from the state: it is not waited for.
    kept: Kept,
    /// The contract's command that is being run.
    checking: contracts::command::Now,
    /// The recorded run that this one is again, or goes on from.
    before: Before,
    /// INVARIANT: held for the whole of an act that stops the tree or lets it go on. Of two at once, one would let run what the
    /// other stopped.
    acts: Mutex<()>,
}

/// What the waiting thread is told.
enum Heard {
    Notice(Notice),
    /// The program has ended.
    End,
}

impl Shared {
    fn tell(&self, notice: Notice) {
        // Nobody hears it once the session is over.
        let _ = self.heard.send(Heard::Notice(notice));
    }
}

/// Runs a program under a charter, to its end.
///
/// # Errors
/// [`RunError`] when it can't be governed; then it did not run.
pub fn run(home: &Home, options: &RunOptions, watcher: &dyn Watcher) -> Result<Summary, RunError> {
    let (inside, streams) = rerunning::streams(options)?;
    let id = session_id();
    let Beginning { begun, session_dir, charter, sources, ledger, swept } =
        beginning::begin(home, &id, options, inside)?;
    if options.needs_contracts && charter.contracts().is_empty() {
        return Err(RunError::NoContracts);
    }
    let mut plan = plan::plan(home, &id, options, &charter)?;
    let charter = Arc::new(rerunning::charter(charter, options, &mut plan));
    let ledger = Arc::new(ledger);
    let _witnesses = crate::witnessing::beside(home.dir());
    crate::recover::whole(home, &ledger, &swept, &plan.spec.workspace).map_err(RunError::Between)?;

    let recording = match options.record {
        true => Some(rerun::Recording::begin(&ledger, &plan)?),
        false => None,
    };
    let session_dir = session_dir.born();
    let lock = SessionLock::take(&session_dir)
        .and_then(|held| held.ok_or_else(|| std::io::ErrorKind::WouldBlock.into()))
        .map_err(|cause| RunError::System { what: "lock the session's folder", cause })?;
    if let Some(again) = &options.again {
        again.lay_out(&ledger, &session_dir)?;
        again.replan(&mut plan, &session_dir);
    }
    if let Some(fork) = &options.fork {
        fork.lay_out(&ledger, &plan.layers())?;
    }
    // Built first, so that the session's first entry says what it is without. Nothing runs in it yet.
    // Before the sandbox is built: it shows the file inside.
    let inbox =
        Inbox::create(&session_dir).map_err(|cause| RunError::System { what: "make the session's inbox", cause })?;
    let trust = plan.opens_http.then(|| Trust::create(&session_dir, &plan.spec.env));
    let trust = trust.transpose().map_err(RunError::Http)?;
    let hooks = plan.hooks.as_ref().map(|hooks| hooks.prepare(&session_dir)).transpose();
    let hooks = hooks.map_err(|cause| RunError::System { what: "make the door for the harness's hooks", cause })?;
    let build = || flyball_sandbox::build(plan.spec.clone(), begun);
    // Who builds waits for another process most of the time.
    let (built, authority, stream) = std::thread::scope(|scope| {
        let stream = scope.spawn(|| ledger.stream(&id).map(|stream| (stream, control::this_user())));
        let (built, authority) = match &trust {
            Some(trust) => {
                let (built, authority) = trust.fill_beside(build);
                (built, Some(authority))
            }
            None => (build(), None),
        };
        (built, authority.transpose(), stream.join())
    });
    let authority = authority.map_err(RunError::Http)?;
    let (stream, actor) = stream.map_err(|_| RunError::Record("its stream could not be opened".into()))??;
    let weaker: Vec<String> =
        built.as_ref().map(|b| b.weaker().iter().map(plan::weakness_name).collect()).unwrap_or_default();
    plan.without(&weaker);
    let mut body = plan.open_entry(&id, charter.digest(), &sources, &weaker);
    recording.iter().for_each(|recording| recording.tell(&mut body, &weaker));
    options.again.iter().for_each(|again| again.tell(&mut body));
    options.fork.iter().for_each(|fork| fork.tell(&mut body));
    let built = match plan.lacking(&weaker) {
        Some(lacking) => Err(RunError::Plan(lacking)),
        None => built
            .map_err(RunError::Start)
            .and_then(|built| coverage::require(&charter, &coverage::doors(&body)).map(|()| built)),
    };
    let replayable = rerun::replayable(&body);
    let mut clock = Clock::after(wall_ns());
    let opened = stream.append(Draft {
        at_ns: options.fork.as_ref().map_or_else(|| clock.now_ns(), |fork| fork.began_ns()),
        kind: Kind::Open,
        actor,
        cause: Vec::new(),
        body,
    })?;
    if let Some(recording) = &recording {
        recording.record(&stream, opened, clock.now_ns())?;
    }
    // What is set up meanwhile takes as long as the disk.
    ledger.commit_now()?;

    let scratch = Arc::new(
        Scratch::new(&plan.scratch, &plan.spec.workspace, &plan.spec.home, &plan.spec.protect)
            .map_err(|e| RunError::Plan(PlanError::Scratch(e)))?,
    );
    let (kernel, state) = match &options.fork {
        Some(fork) => {
            fork.copy(&ledger, &stream)?;
            (fork.kernel(&charter)?, fork.state())
        }
        None => (Kernel::new(Arc::clone(&charter), plan.kernel_session()), State::default()),
    };
    let capture = Capture::new(plan.layers(), &plan.spec.workspace, Arc::clone(&scratch), state);
    let mut gate = Gate::new(kernel, stream, clock, &id).with_fleet(&ledger, &charter);
    if let Some(fork) = &options.fork {
        gate.leave_behind(fork.told()).map_err(|e| RunError::Record(e.to_string()))?;
    }
    if charter.has_labels() {
        let files = labelled_files(ledger.registers(Gate::LABELS)?);
        gate.know_labels(files).map_err(|e| RunError::Record(e.to_string()))?;
    }
    let mut core = Core::new(Parts {
        gate,
        capture,
        ledger: Arc::clone(&ledger),
        session: id.clone(),
        session_dir: session_dir.clone(),
        agent: plan.agent.clone(),
        workspace: plan.spec.workspace.clone(),
        home: plan.spec.home.clone(),
        scratch,
        on_hold: options.on_hold,
        reading: charter.reads_content().clone(),
        opened,
    });
    core.open_inbox(inbox);
    core.replayable = replayable;
    core.sockets = Sockets::new(&plan.spec.expose, options.again.is_some());
    rerunning::prepare(&mut core, options);
    let authority = match authority {
        Some(authority) => Some((authority, true)),
        None => rerunning::unread(options, &plan)?.map(|authority| (authority, false)),
    };
    let http = authority.map(|(authority, opens)| Http { authority, opens, charter: Arc::clone(&charter) });
    let doors = Doors {
        http,
        hooks,
        streams,
        before: Before::of(options),
        keeps_given: options.record,
        tools: PinFiles::new(home),
    };
    let summary = govern(&plan, core, &id, &session_dir, built, doors, watcher);
    ledger.checkpoint()?;
    drop(lock);
    summary
}

/// What stands between the program and the world beside its own calls.
struct Doors {
    http: Option<Http>,
    hooks: Option<UnixListener>,
    streams: Option<(Streams, Input, bool)>,
    before: Before,
    /// Whether what is given is kept.
    keeps_given: bool,
    /// The tools that are known of servers.
    tools: PinFiles,
}

/// The way out.
struct Http {
    authority: Arc<Authority>,
    /// Whether requests are read.
    opens: bool,
    charter: Arc<Charter>,
}

fn govern(
    plan: &Plan,
    core: Core,
    id: &str,
    session_dir: &std::path::Path,
    built: Result<Built, RunError>,
    doors: Doors,
    watcher: &dyn Watcher,
) -> Result<Summary, RunError> {
    let (hear, heard) = channel();
    let (wake, woken) = channel();
    let listener =
        control::listen(session_dir).map_err(|cause| RunError::System { what: "open the control socket", cause })?;
    let ledger = Arc::clone(&core.ledger);
    let kept = Kept::new(&core.ledger, core.gate.latest());
    let shared = Arc::new(Shared {
        core: Mutex::new(core),
        running: OnceLock::new(),
        heard: hear,
        wake,
        ended_by: Mutex::new(None),
        over: AtomicBool::new(false),
        killed: AtomicBool::new(false),
        replies: Arc::default(),
        kept,
        checking: contracts::command::Now::default(),
        before: doors.before,
        acts: Mutex::new(()),
    });
    let outward = doors.http.map(|Http { authority, opens, charter }| {
        let session = Session(Arc::downgrade(&shared));
        let credentials = match shared.before.is_again() || !opens {
            true => Vec::new(),
            false => plan.lent.secrets(&charter, &plan.spec.home)?,
        };
        let replay = rerunning::network(&shared, &session, &ledger, doors.keeps_given);
        Ok(Outward::new(session, authority, charter, credentials, opens, replay))
    });
    let outward = outward.transpose().map_err(RunError::Http)?;
    if let (Some(listener), Some(hooks)) = (doors.hooks, &plan.hooks) {
        let place = hooked::Place::of(plan, doors.tools);
        let heard = hooked::serve(Session(Arc::downgrade(&shared)), hooks.harness, place, listener);
        heard.map_err(|cause| RunError::System { what: "hear the harness's hooks", cause })?;
    }
    let passing = doors.streams.map(|(streams, input, is_shown)| streams.start(&shared.kept, input, is_shown));
    let passing =
        passing.transpose().map_err(|cause| RunError::System { what: "keep the program's streams", cause })?;
    let given = rerunning::given(&shared, doors.keeps_given);
    let mediation = Box::new(Mediation {
        shared: Arc::clone(&shared),
        outward: outward.clone(),
        given: given.clone(),
        asker: None,
    });
    // INVARIANT: the session's first entry is durable before anything runs.
    let started = built.and_then(|built| {
        let ready = built.ready(mediation).map_err(RunError::Start)?;
        ledger.flush()?;
        ready.go().map_err(RunError::Start)
    });
    let running = match started {
        Ok(running) => running,
        Err(error) => {
            close(&shared, plan, "error", None, watcher);
            return Err(error);
        }
    };
    let _ = shared.running.set(running.clone());
    watcher.notice(Notice::Started {
        session: id.to_owned(),
        name: plan.name.clone(),
        uncovered: plan.uncovered.clone(),
        weaker: running.weaker().to_vec(),
    });
    let system = |what| move |cause| RunError::System { what, cause };
    // The helpers hold the session weakly: when it is over, its stream is free for the next command at once.
    acts::serve(Arc::downgrade(&shared), listener).map_err(system("serve the control socket"))?;
    tick_at_deadlines(Arc::downgrade(&shared), woken).map_err(system("watch deadlines"))?;
    terminal::forward_signals({
        let session = Arc::downgrade(&shared);
        move || session.upgrade().and_then(|s| s.checking.running().or_else(|| s.running.get().cloned()))
    })
    .map_err(system("hand signals on"))?;
    let relay = match running.pty() {
        Some(pty) => {
            let pty = terminal::own(pty).map_err(system("use the pty"))?;
            Some(terminal::Relay::start(&pty).map_err(system("use the terminal"))?)
        }
        None => None,
    };

    let exit = wait(&shared, &running, &heard, outward.as_deref(), watcher);
    if let Some(relay) = relay {
        relay.finish();
    }
    if let Some(passing) = passing {
        let mut core = lock(&shared);
        if given.turns().is_some() {
            core.replayable = core.replayable.map(|level| level.min(4));
        }
        let _ = core.gate.note(Kind::Observe, "supervisor", &[], passing.finish(&given));
    }
    let told = *shared.ended_by.lock().unwrap_or_else(PoisonError::into_inner);
    let ended_by = told.unwrap_or(match exit.by {
        EndedBy::Program => "program",
        EndedBy::Kill => "person",
        EndedBy::Breach | EndedBy::Outside => "error",
    });
    let summary = close(&shared, plan, ended_by, Some(&exit), watcher);
    // Whoever's act ended the session hears of it before this process is gone.
    shared.replies.wait(REPLIES_WAIT_MAX);
    let _ = std::fs::remove_file(session_dir.join("control.sock"));
    let mut last = lock(&shared);
    // Threads that still wait for a person or a deadline must not keep the stream from who applies or rolls back next.
    last.gate.end();
    last.take_notices().into_iter().for_each(|n| watcher.notice(n));
    while let Ok(heard) = heard.try_recv() {
        if let Heard::Notice(notice) = heard {
            watcher.notice(notice);
        }
    }
    Ok(summary)
}

/// Something of the workspace could not be looked at: the record says so. One that takes nothing more can't, and says that
/// itself when it is closed.
fn not_seen(core: &mut Core, error: &dyn std::fmt::Display) {
    core.has_gaps = true;
    let body = json!({ "alert": "capture", "detail": error.to_string() });
    let _ = core.gate.note(Kind::Alert, "barrier", &[], body);
}

/// The last barrier, what nobody saw the end of, and the `close` entry.
fn close(
    shared: &Arc<Shared>,
    plan: &Plan,
    ended_by: &'static str,
    exit: Option<&Exit>,
    watcher: &dyn Watcher,
) -> Summary {
    let mut core = lock(shared);
    core.close_open_attempts();
    // A rollback that could go neither way: nobody is left in the tree, so it goes back to what it was. One whose record failed
    // may be in flight: the next start, which commits that, makes the layer what the record says then.
    let undone =
        if core.gate.flush().is_ok() { rewind::undo(&core.session_dir, &core.capture.layers.upper) } else { Ok(()) };
    if let Err(error) = undone {
        let body = json!({ "alert": "rollback", "detail": error.to_string() });
        let _ = core.gate.note(Kind::Alert, "supervisor", &[], body);
    }
    if let Err(error) = core.barrier(&[]) {
        not_seen(&mut core, &error);
    }
    let ledger = Arc::clone(&core.ledger);
    match core.capture.unexplained(&ledger) {
        Ok(found) if found.is_empty() => {}
        Ok(found) => {
            core.has_gaps = true;
            let paths: Vec<&str> = found.iter().map(|c| c.path.as_str()).collect();
            let body = json!({ "alert": "unexplained", "detail": paths });
            let _ = core.gate.note(Kind::Alert, "barrier", &[], body);
            let body = json!({ "workspace": { "changes": found, "state": core.capture.state.digest() } });
            let _ = core.gate.note(Kind::Observe, "barrier", &[], body);
        }
        Err(error) => not_seen(&mut core, &error),
    }
    let _ = core.tell_digest();
    let (ran, mut core) = checking::run(shared, core, plan, exit, watcher);
    let (replay_level, has_gaps, session) = (core.replay_level(), core.has_gaps, core.session.clone());
    let gate = &mut core.gate;
    let held = contracts::Ended { gate, ledger: &ledger, session: &session, replay_level, has_gaps, ran };
    let contracts = contracts::settle(held);
    let summary = Summary {
        contracts,
        session: core.session.clone(),
        ended_by,
        exit: exit.map_or(255, |e| exit_code(e.status)),
        signal: exit.and_then(|e| if let Status::Signal(n) = e.status { Some(n) } else { None }),
        counts: core.gate.counts(),
        changed_files: core.capture.state.changed().count(),
        changes: core.capture.state.changes().map(|(path, how)| (path.to_owned(), how)).collect(),
        last_seq: core.gate.last_seq(),
        obligations: core.gate.status().registers.obligations,
        uncovered: hooked::uncovered_at_the_end(plan, core.tool_calls.are_told()),
        learning: plan.learns,
        replay_level: core.replay_level(),
    };
    core.let_go();
    let mut body = serde_json::to_value(&summary).unwrap_or_default();
    if let Some(body) = body.as_object_mut() {
        // What the kernel counted can't be asked of anybody from now on.
        body.insert("registers".into(), serde_json::to_value(core.gate.status().registers).unwrap_or_default());
    }
    let _ = core.gate.note(Kind::Close, "supervisor", &[], body);
    let _ = core.gate.flush();
    summary
}

/// What a shell would say: the program's own code, 128 + signal, 127 for what is not there, 126 for what can't run. A
/// program that was never let run gives Flyball's own code for "denied".
fn exit_code(status: Status) -> i32 {
    match status {
        Status::Code(code) => code,
        Status::Signal(signal) => 128 + signal,
        Status::NotRun(errno) if errno == rustix::io::Errno::NOENT.raw_os_error() => 127,
        Status::NotRun(errno) if errno == rustix::io::Errno::ACCESS.raw_os_error() => 100,
        Status::NotRun(_) => 126,
    }
}

fn lock(shared: &Shared) -> MutexGuard<'_, Core> {
    // A thread that panicked inside left its action undecided, which the sandbox denies; the record itself is in order.
    shared.core.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Decides the sandbox's calls.
struct Mediation {
    shared: Arc<Shared>,
    /// Serves connections, where requests inside them are ruled on.
    outward: Option<Arc<Outward>>,
    /// Time and random bytes, where they are given.
    given: Given,
    /// Whose call is decided next, where that is known.
    asker: Option<Asker>,
}

/// A live session, for those who must not keep it alive.
#[derive(Clone)]
pub(crate) struct Session(Weak<Shared>);

impl Session {
    /// Does something with the session's state; `None` once it is over.
    pub(crate) fn with<T>(&self, then: impl FnOnce(&mut Core) -> T) -> Option<T> {
        let shared = self.0.upgrade().filter(|shared| !shared.over.load(Ordering::SeqCst))?;
        Some(with(&shared, then))
    }

    /// The same where nobody else has that state at this moment; the inner `None` where somebody has.
    pub(crate) fn try_with<T>(&self, then: impl FnOnce(&mut Core) -> T) -> Option<Option<T>> {
        let shared = self.0.upgrade().filter(|shared| !shared.over.load(Ordering::SeqCst))?;
        let core = match shared.core.try_lock() {
            Ok(core) => core,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return Some(None),
        };
        Some(Some(done_with(&shared, core, then)))
    }

    /// What passes and is kept.
    pub(crate) fn kept<T>(&self, then: impl FnOnce(&Kept) -> T) -> Option<T> {
        self.0.upgrade().map(|shared| then(&shared.kept))
    }
}

/// Does something with the session's state, and tells what came of it.
fn with<T>(shared: &Arc<Shared>, then: impl FnOnce(&mut Core) -> T) -> T {
    done_with(shared, lock(shared), then)
}

fn done_with<T>(shared: &Arc<Shared>, mut core: MutexGuard<'_, Core>, then: impl FnOnce(&mut Core) -> T) -> T {
    let deadline = core.gate.next_deadline_ns();
    let out = then(&mut core);
    for notice in core.take_notices() {
        rerunning::asked(shared, &notice);
        shared.tell(notice);
    }
    let caused = core.take_caused();
    if core.gate.next_deadline_ns() != deadline {
        let _ = shared.wake.send(());
    }
    drop(core);
    if !caused.is_empty() {
        let shared = Arc::clone(shared);
        // Acts on the tree can't be done from the thread that the tree waits for.
        let _ = std::thread::Builder::new().name("cause".into()).spawn(move || acts::cause(&shared, caused));
    }
    out
}

impl Mediation {
    fn with<T>(&self, then: impl FnOnce(&mut Core) -> T) -> T {
        with(&self.shared, then)
    }
}

impl Mediator for Mediation {
    fn started(&mut self, root: BorrowedFd<'_>, workspace: &Path) {
        self.with(|core| core.started(root, workspace));
    }
    fn through(&self) -> Option<Arc<dyn Through>> {
        self.outward.clone().map(|outward| outward as Arc<dyn Through>)
    }
    fn lull(&mut self) -> Lull {
        self.with(Core::lull)
    }
    fn decide(&mut self, call: &Call) -> Decision {
        let asker = self.asker.take();
        let (decision, attempt) = self.with(|core| (core.decide(call), core.attempt_of(call.ticket)));
        if let (Some(asker), Some(seq)) = (asker, attempt) {
            self.given.acted(asker, seq, call);
        }
        decision
    }
    fn done(&mut self, ticket: Ticket, pid: i32, done: Done) {
        self.with(|core| core.done(ticket, pid, &done));
    }
    fn withdrawn(&mut self, ticket: Ticket) {
        self.with(|core| core.withdrawn(ticket));
    }
    fn given(&mut self, asker: Asker, kind: u64, fresh: &mut dyn FnMut() -> Vec<u8>) -> Vec<u8> {
        self.given.give(asker, kind, fresh)
    }
    fn passed(&mut self, asker: Asker, mark: u64) {
        self.given.passed(asker, mark);
        self.asker = Some(asker);
    }
    fn exited(&mut self, pid: i32, status: Option<i32>) {
        self.with(|core| core.exited(pid, status));
    }
    fn breached(&mut self, what: &str) {
        let mut ended_by = self.shared.ended_by.lock().unwrap_or_else(PoisonError::into_inner);
        ended_by.get_or_insert("error");
        drop(ended_by);
        self.with(|core| core.breach(what));
    }
}
