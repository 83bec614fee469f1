//! A recorded program run again (replay levels 4 and 5): from the workspace that it began with, under the charter that was in force, with what it was
//! told then. `run --record` keeps what that takes.
//!
//! INVARIANT: a replay reaches nothing outside its session: what is on record answers for the network and nothing is dialled, its workspace
//! is laid out apart and never applied.

mod answers;
mod clock;
mod compare;
pub(crate) mod first;
mod fork;
mod given;
mod index;
mod network;
mod order;
mod program;
mod refusals;
mod streams;
mod turns;

use crate::core::Watcher;
use crate::home::{Home, HomeError};
use crate::replay::{self, Difference, Outcome, ReplayError, Replayed};
use crate::supervisor::{RunError, RunOptions, Session, Summary};
use crate::translate;
use answers::Answers;
pub(crate) use compare::Done;
use flyball_kernel::Sources;
use flyball_ledger::{Ledger, LedgerError};
use flyball_sandbox::{Network, Weakness};
pub use fork::Fork;
pub(crate) use given::Given;
use network::Noted;
pub(crate) use network::{Exchanges, Recorded as RecordedNetwork, not_kept};
pub(crate) use order::Order;
use program::Program;
pub(crate) use refusals::Refusals;
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
pub(crate) use streams::{Input, Streams, make as make_streams};
pub(crate) use turns::{beside, turns};

/// In a replay's folder: the workspace that it begins with.
pub(crate) const FIRST: &str = "first";

/// What a replay was.
#[derive(Clone, Debug, Serialize)]
pub struct Rerun {
    /// The session of its own that it ran in.
    pub session: String,
    /// Attempts on record, and those of the replay.
    pub recorded: u64,
    /// See there.
    pub made: u64,
    /// How often more one of both opened a file again to write on in it, which level 4 does not count.
    pub reopened: u64,
    /// What can't be undone and was done again in the replay's copy, where nothing leaves it: entries of its session, and how many more.
    pub in_the_copy: Vec<InTheCopy>,
    /// See there.
    #[serde(skip_serializing_if = "is_zero")]
    pub more_in_the_copy: usize,
    /// It was run a second time, with each answer no sooner than it came then: the first time it was over too soon for what the record has.
    #[serde(rename = "paced")]
    pub is_paced: bool,
    /// Entries of the record that an answer, or a call, was held back for in vain.
    pub in_vain: Vec<u64>,
}

/// An irreversible action of a replay, which ended with it.
#[derive(Clone, Debug, Serialize)]
pub struct InTheCopy {
    /// The entry in the replay's session.
    pub seq: u64,
    /// What it was.
    pub verb: String,
}

/// Of those, as many as are told.
const IN_THE_COPY_MAX: usize = 100;

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
fn is_zero(number: &usize) -> bool {
    *number == 0
}

/// A program can't be recorded or run again.
#[derive(Debug, thiserror::Error)]
pub enum RerunError {
    /// The ledger can't be read or written.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The record can't be replayed at all.
    #[error(transparent)]
    Replay(#[from] ReplayError),
    /// The session's folder can't be made.
    #[error(transparent)]
    Home(#[from] HomeError),
    /// It did not start.
    #[error("the replay did not start: {0}")]
    Run(Box<RunError>),
    /// A workspace can't be kept, or not be laid out.
    #[error("`{}`: {why}", path.display())]
    Workspace {
        /// Where.
        path: PathBuf,
        /// Why not.
        why: String,
    },
    /// The workspace is too large to be kept.
    #[error("the workspace has more than {paths} paths or {bytes} bytes, and is not kept with a record")]
    TooLarge {
        /// Paths, at most.
        paths: usize,
        /// Bytes, at most.
        bytes: u64,
    },
    /// Something on record is not what it should be.
    #[error("entry {seq}: {why}")]
    Record {
        /// The entry.
        seq: u64,
        /// What.
        why: String,
    },
    /// What the record says of the workspace can't be relied on.
    #[error("{0}")]
    State(String),
    /// The program is gone or another one.
    #[error("the program is not the recorded one: {0}")]
    Program(String),
    /// There is no such step to go on from.
    #[error("entry {until} is no step to go on from: the session's last one before its end is {last}")]
    NoStep {
        /// What was asked.
        until: u64,
        /// What there is.
        last: u64,
    },
    /// The real tree is not what the session began with.
    #[error(
        "`{path}` in the real workspace is neither what session {session} began with nor what it left: it was changed since"
    )]
    Changed {
        /// Where, relative to the workspace.
        path: String,
        /// The session.
        session: String,
    },
    /// The session was applied, and what stood there before is gone.
    #[error(
        "what `{path}` held at that step is in no record: the real workspace has what session {session} made of it"
    )]
    NotKept {
        /// Where, relative to the workspace.
        path: String,
        /// The session.
        session: String,
    },
    /// It would run under another name or home.
    #[error("the session ran for the home `{recorded}`, and yours is `{found}`")]
    Elsewhere {
        /// As recorded.
        recorded: String,
        /// Here.
        found: String,
    },
}

impl RerunError {
    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Ledger(error) => error.code(),
            Self::Replay(error) => error.code(),
            Self::Program(_) | Self::Elsewhere { .. } => "FB0604",
            Self::Workspace { .. } | Self::TooLarge { .. } => "FB0605",
            Self::Record { .. } | Self::State(_) => "FB0606",
            Self::Home(_) | Self::Run(_) => "FB0607",
            Self::NoStep { .. } | Self::Changed { .. } | Self::NotKept { .. } => "FB0608",
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::Ledger(error) => error.hint(),
            Self::Replay(error) => error.hint(),
            Self::Program(_) => "install the recorded program at that path, or record the run again".into(),
            Self::Elsewhere { .. } => "replay as the user who ran it, with the same `HOME`".into(),
            Self::Workspace { .. } => "see that the ledger's disk has room, and the workspace can be read".into(),
            Self::TooLarge { .. } => "run without `--record`, or in a smaller workspace".into(),
            Self::Record { .. } | Self::State(_) => "`flyball show S` names what stands in the way".into(),
            Self::NoStep { .. } => "`flyball log S` shows the session's entries".into(),
            Self::Changed { .. } => "take it back there to what it was, or run in a workspace that has it so".into(),
            Self::NotKept { .. } => {
                "go on from a step after the session changed it; `run --record` keeps what a workspace begins with"
                    .into()
            }
            Self::Home(_) | Self::Run(_) => "nothing was run; `flyball doctor` may say more".into(),
        }
    }
}

/// Codes of running again: code, title, page.
pub static CODES: &[(&str, &str, &str)] = &[
    ("FB0604", "the program is not the recorded one", "\
A replay runs the very program that ran then: the file behind its name must have the digest that is on record. It is missing, or of
another version; the message says which. Nothing was run. Programs that this one starts are not compared beforehand: where they are others by now, the
replay diverges, and says where."),
    ("FB0605", "the workspace can't be kept or laid out", "\
`flyball run --record` keeps what the workspace holds at its start in the ledger; a replay lays it out in a folder of its own. One of both could
not be done; the message says where and why. Nothing was run."),
    ("FB0606", "the record can't be run again", "\
Something that a replay needs is not in the record, or is not what it should be; the message names the entry. `flyball show S` says which levels the
record supports."),
    ("FB0608", "no state to go on from", "\
`flyball replay S --until SEQ --then -- CMD` runs another program in the state that a session had at a step before its end. There is no such step, or
somebody changed paths of the real workspace since that the session touched, so that its state can't be laid over it; or the session was applied, and
what a file held at that step is not in the ledger. The message says which. Nothing was run."),
    ("FB0607", "the replay did not start", "\
The sandbox for the replay could not be built; the message says why. Nothing was run."),
];

/// What a program is told beside its environment when it is recorded, unless it is told otherwise already. Bun's collector of garbage
/// runs on a thread of its own, and both ask for the time in turns, a hundred thousand times in a minute and as often as they happen to meet. Where each asking
/// is a call that waits they hold each other up, for minutes on a machine that has other work.
pub(crate) const STEADYING: [(&str, &str); 1] = [("BUN_JSC_useConcurrentGC", "0")];

/// A part of the environment that looks like a secret: its value is not on record.
const WITHHELD: &str = "withheld";

/// What `run --record` keeps of a run's beginning, in its first entry.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Recorded {
    program: Option<Program>,
    env: BTreeMap<String, Json>,
    workspace: Json,
    /// Time and random bytes are kept as they are given.
    #[serde(default)]
    gives: bool,
    /// In which way; 0 in records of versions that knew but one.
    #[serde(default)]
    given_as: u32,
    /// What can't be given again; where this says anything, the program is not run again.
    #[serde(default)]
    lacks: Vec<String>,
}

/// A run that is recorded, before it starts.
pub(crate) struct Recording {
    first: first::Found,
    recorded: Recorded,
}

impl Recording {
    /// Keeps the workspace and looks at the program.
    pub fn begin(ledger: &Ledger, plan: &crate::plan::Plan) -> Result<Self, RerunError> {
        let spec = &plan.spec;
        let first = first::take(ledger, &spec.workspace, &spec.hide)?;
        let mut lacks: Vec<String> = Vec::new();
        if let Some(path) = first.left_out.first() {
            let more = first.left_out.len() - 1;
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            lacks.push(format!("`{path}`{more} in the workspace could not be kept"));
        }
        if spec.home_keep.is_some() {
            lacks.push("the agent's own home, which sessions share, is not kept".to_owned());
        }
        let program = spec.argv.first().and_then(|name| program::find(name, &spec.env, &spec.cwd).ok());
        let env = spec.env.iter().map(|(name, value)| {
            let told = match crate::plan::looks_secret(&name.to_string_lossy()) {
                true => json!({ WITHHELD: true }),
                false => json!(translate::lossless(value)),
            };
            (translate::lossless(name), told)
        });
        let recorded = Recorded {
            program,
            env: env.collect(),
            workspace: first.told(),
            gives: spec.gives,
            given_as: given::VERSION,
            lacks,
        };
        Ok(Self { first, recorded })
    }

    /// Puts it into the session's first entry.
    pub fn tell(&self, body: &mut Json, weaker: &[String]) {
        let mut recorded = self.recorded.clone();
        let is_apart = |layer: &&String| matches!(layer.as_str(), "overlay" | "namespaces");
        if let Some(layer) = weaker.iter().find(is_apart) {
            recorded.lacks.push(format!("the session had no `{layer}` layer"));
        }
        if let Some(body) = body.as_object_mut() {
            body.insert("recorded".into(), json!(recorded));
        }
    }

    /// Puts the workspace on record, behind the first entry.
    pub fn record(&self, stream: &flyball_ledger::Stream, opened: u64, at_ns: u64) -> Result<(), RerunError> {
        self.first.record(stream, opened, at_ns)
    }
}

const NOT_GIVEN: &str = "the time and the random bytes that the program saw are not on record";

/// What stands in the way of running a session's program again, by its opening; the level that each stands in the way of.
pub(crate) fn in_the_way(opening: &Json) -> Vec<(u8, String)> {
    if let Some(from) = opening.pointer("/forked_from/session").and_then(Json::as_str) {
        return vec![(4, format!("it goes on from session {from}, whose program is not part of it"))];
    }
    let Some(recorded) = opening.get("recorded") else {
        return vec![(4, "the run was not recorded for it (`run --record`): what the workspace held at its start, and what the program read and wrote by its streams, is not on record".to_owned()), (5, NOT_GIVEN.to_owned())];
    };
    let Ok(recorded) = Recorded::deserialize(recorded) else {
        return vec![(4, "what was recorded for it can't be read by this flyball".to_owned())];
    };
    let mut found: Vec<(u8, String)> = recorded.lacks.into_iter().map(|why| (4, why)).collect();
    if recorded.program.is_none() {
        found.push((4, "which program ran is not on record".to_owned()));
    }
    if !recorded.gives {
        found.push((5, NOT_GIVEN.to_owned()));
    } else if recorded.given_as != given::VERSION {
        found.push((5, "the time and the random bytes that the program saw are on record in a way that this flyball does not give again".to_owned()));
    }
    found
}

/// The highest level at which a program can be run again, by its session's opening.
pub(crate) fn replayable(opening: &Json) -> Option<u8> {
    let lowest = in_the_way(opening).into_iter().map(|(level, _)| level).min();
    lowest.map_or(Some(replay::LEVEL_MAX), |level| Some(level - 1)).filter(|level| *level > 3)
}

/// What a replay is made of.
#[derive(Debug)]
pub struct Again {
    parent: String,
    level: u8,
    pub(crate) sources: Sources,
    env: Vec<(OsString, Option<OsString>)>,
    items: Vec<first::Item>,
    input: Vec<u8>,
    given: Option<Vec<u8>>,
    answers: Mutex<Answers>,
    exchanges: Arc<Mutex<Exchanges>>,
    order: Arc<Order>,
    refusals: Refusals,
}

impl Again {
    /// Lays out the workspace that the session begins with.
    pub(crate) fn lay_out(&self, ledger: &Ledger, session_dir: &Path) -> Result<PathBuf, RerunError> {
        let to = session_dir.join(FIRST);
        first::lay_out(ledger, &self.items, &to)?;
        Ok(to)
    }

    /// Makes the plan of a run that of this one.
    pub(crate) fn replan(&self, plan: &mut crate::plan::Plan, session_dir: &Path) {
        // What is not on record is as this run has it, if at all: a secret stays outside, as then.
        let now =
            |name: &OsString| plan.spec.env.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone());
        let env =
            self.env.iter().filter_map(|(name, value)| Some((name.clone(), value.clone().or_else(|| now(name))?)));
        plan.spec.env = env.collect();
        plan.spec.lower = Some(session_dir.join(FIRST));
        plan.spec.gives = self.given.is_some();
        plan.spec.network = match plan.spec.network {
            Network::Closed => Network::Closed,
            Network::Brokered | Network::Answered => Network::Answered,
        };
        plan.spec.home_keep = None;
        plan.uncovered.push(format!(
            "a replay of session {}: its network is what is on record, and it is never applied",
            self.parent
        ));
    }

    /// What the session's first entry says of it.
    pub(crate) fn tell(&self, body: &mut Json) {
        if let Some(body) = body.as_object_mut() {
            body.insert("replay_of".into(), json!({ "session": self.parent, "level": self.level }));
        }
    }

    /// Time and random bytes as they were given.
    pub(crate) fn given(&self) -> Given {
        self.given.as_deref().map(|kept| Given::again(kept, self.level < 5)).unwrap_or_default()
    }

    /// What the program was told when it was refused something.
    pub(crate) fn refusals(&self) -> Refusals {
        self.refusals.clone()
    }

    /// What is on record of its network.
    pub(crate) fn network(&self, ledger: &Arc<Ledger>, session: Session) -> RecordedNetwork {
        let (exchanges, ledger, parent) = (Arc::clone(&self.exchanges), Arc::clone(ledger), self.parent.clone());
        RecordedNetwork { exchanges, order: self.order(), ledger, parent, session }
    }

    /// What came before what.
    pub(crate) fn order(&self) -> Arc<Order> {
        Arc::clone(&self.order)
    }

    pub(crate) fn input(&self) -> Input {
        Input::Recorded(self.input.clone())
    }

    /// What people said when this was asked.
    pub(crate) fn answer(&self, of: u64, action: &str) -> Option<crate::gate::Answer> {
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        answers.take(of, action, &self.parent)
    }

    /// Whether nobody said anything more in time when this was asked.
    pub(crate) fn was_late(&self, action: &str) -> bool {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner).was_late(action)
    }
}

/// Replays a session at level 4 or 5: its record first, then its program.
///
/// # Errors
/// [`RerunError`] when it can't be begun; nothing was run then.
pub fn replay(home: &Home, session: &str, level: u8, watcher: &dyn Watcher) -> Result<Replayed, RerunError> {
    let ledger = Ledger::open_read(home.dir())?;
    let replayed = replay::replay(&ledger, session, level)?;
    if replayed.result != Outcome::Match {
        return Ok(replayed);
    }
    drop(ledger);
    let (made, is_too_soon) = run(home, replayed.clone(), false, watcher)?;
    if is_too_soon && made.result == Outcome::Diverged {
        // What the program does by itself after so long is missing: it was over by then.
        return Ok(run(home, replayed, true, watcher)?.0);
    }
    Ok(made)
}

/// Runs it once. `is_paced`: its answers come no sooner than they did. Also: whether it was over too soon for what is missing.
fn run(
    home: &Home,
    mut replayed: Replayed,
    is_paced: bool,
    watcher: &dyn Watcher,
) -> Result<(Replayed, bool), RerunError> {
    let level = replayed.asked;
    let ledger = Ledger::open_read(home.dir())?;
    let options = options(&ledger, &replayed.found.session, level, is_paced)?;
    drop(ledger);
    let order = options.again.as_ref().map(|again| again.order());
    let summary = crate::supervisor::run(home, &options, watcher).map_err(|e| RerunError::Run(Box::new(e)))?;
    let is_too_soon = order.as_ref().is_some_and(|order| order.was_over_too_soon());
    let ledger = Ledger::open_read(home.dir())?;
    let is_cut = compared(&ledger, &mut replayed, &summary, level)?;
    drop(ledger);
    if let (Some(rerun), Some(order)) = (&mut replayed.rerun, order) {
        (rerun.is_paced, rerun.in_vain) = (is_paced, order.in_vain());
    }
    tidy(home, &summary.session);
    Ok((replayed, is_too_soon && !is_cut))
}

/// Holds both against each other; whether this one was ended where it asked the network for something else.
fn compared(ledger: &Ledger, replayed: &mut Replayed, summary: &Summary, level: u8) -> Result<bool, RerunError> {
    let recorded = Done::read(ledger, &replayed.found.session)?;
    let again = Done::read(ledger, &summary.session)?;
    let Noted { differences: mut found, lacks } = network::noted(ledger, &summary.session)?;
    if !lacks.is_empty() {
        replayed.result = Outcome::Inconclusive;
        lacks.into_iter().for_each(|(seq, why)| replayed.found.stands_in_the_way(4, seq, why));
    }
    let acts = compare::acts(&recorded, &again, level >= 5);
    let done = again.irreversible();
    replayed.rerun = Some(Rerun {
        session: summary.session.clone(),
        recorded: recorded.count(),
        made: again.count(),
        reopened: acts.reopened,
        more_in_the_copy: done.len().saturating_sub(IN_THE_COPY_MAX),
        in_the_copy: done.into_iter().take(IN_THE_COPY_MAX).map(|(seq, verb)| InTheCopy { seq, verb }).collect(),
        is_paced: false,
        in_vain: Vec::new(),
    });
    if let Some(first) = found.iter().map(|difference| difference.seq).min() {
        // It was ended there: what is missing since then says nothing.
        found.extend(acts.difference.filter(|was| !was.recomputed.is_null() && was.seq < first));
        diverged(replayed, found);
        return Ok(true);
    }
    if summary.ended_by == "person" {
        // What is missing says nothing of the program: it was cut off.
        replayed.result = Outcome::Inconclusive;
        let why = format!("somebody ended the replay (session {}) before the program did", summary.session);
        replayed.found.stands_in_the_way(4, 1, why);
        return Ok(true);
    }
    found.extend(acts.difference);
    let index =
        |seq: u64, digest: &str| index::same_for_all(ledger, digest).map_err(|why| RerunError::Record { seq, why });
    found.extend(compare::workspaces(&recorded, &again, if level >= 5 { Some(&index) } else { None })?);
    if level >= 5 {
        found.extend(compare::outputs(ledger, &recorded, &again)?);
    }
    found.extend(compare::ends(&recorded, &again));
    diverged(replayed, found);
    Ok(false)
}

/// The first of these differences is what there is to say.
fn diverged(replayed: &mut Replayed, found: Vec<Difference>) {
    if replayed.result == Outcome::Inconclusive {
        return;
    }
    if let Some(first) = found.into_iter().min_by_key(|difference| difference.seq) {
        replayed.result = Outcome::Diverged;
        replayed.at = Some(first.seq);
        replayed.found.difference = Some(first);
    }
}

/// What a replay's workspace was is on record; the layers themselves go, so that nobody takes them for a session's.
fn tidy(home: &Home, session: &str) {
    let dir = home.session(session);
    for part in [dir.join("workspace"), dir.join(FIRST)] {
        // What can't be removed now goes with the session's folder.
        let _ = flyball_sandbox::workspace::remove_tree(&part);
    }
}

/// How the recorded program is run again.
fn options(ledger: &Ledger, session: &str, level: u8, is_paced: bool) -> Result<RunOptions, RerunError> {
    let body = ledger.body(&ledger.entry(session, 1)?)?;
    let lost = |why: &str| RerunError::Record { seq: 1, why: why.to_owned() };
    let text = |key: &str| body.get(key).and_then(Json::as_str).map(translate::path);
    let recorded = body.get("recorded").and_then(|recorded| Recorded::deserialize(recorded).ok());
    let recorded = recorded.ok_or_else(|| lost("the run was not recorded"))?;
    let argv: Vec<String> = serde_json::from_value(body.get("argv").cloned().unwrap_or_default())
        .map_err(|_| lost("the program's arguments can't be read"))?;
    let argv: Vec<OsString> = argv.iter().map(|word| translate::path(word).into_os_string()).collect();
    let sources: Sources = serde_json::from_value(body.pointer("/charter/files").cloned().unwrap_or_default())
        .map_err(|_| lost("the charter can't be read"))?;
    let (workspace, cwd, home) = (text("workspace"), text("cwd"), text("home"));
    let (Some(workspace), Some(cwd), Some(home)) = (workspace, cwd, home) else {
        return Err(lost("it does not say where the program ran"));
    };
    let found = std::env::var_os("HOME").map(PathBuf::from).and_then(|h| h.canonicalize().ok()).unwrap_or_default();
    if found != home {
        return Err(RerunError::Elsewhere { recorded: translate::text(&home), found: translate::text(&found) });
    }
    let env = recorded.env.iter().map(|(name, value)| {
        let name = translate::path(name).into_os_string();
        let value = value.as_str().map(|value| translate::path(value).into_os_string());
        (name, value)
    });
    let env: Vec<(OsString, Option<OsString>)> = env.collect();
    let items = first::recorded(ledger, session)?;
    let known: Vec<(OsString, OsString)> =
        env.iter().filter_map(|(name, value)| Some((name.clone(), value.clone()?))).collect();
    same_program(&recorded, &argv, &known, &cwd, &workspace)?;
    let (input, given) = input(ledger, session)?;
    let given = given.filter(|_| recorded.given_as == given::VERSION);
    let weaker: Vec<Weakness> =
        serde_json::from_value(body.get("accepted_weaker").cloned().unwrap_or_default()).unwrap_or_default();
    let name = body.get("name").and_then(Json::as_str).unwrap_or_default();
    Ok(RunOptions {
        argv,
        charter: None,
        workspace,
        cwd: Some(cwd),
        name: Some(format!("replay of {name}")),
        on_hold: crate::core::OnHold::Wait,
        learn: body.get("learning").and_then(Json::as_bool) == Some(true),
        accept_weaker: weaker,
        allow_pty: false,
        hooks: body.get("hooks").is_some_and(|hooks| !hooks.is_null()),
        needs_contracts: false,
        record: false,
        fork: None,
        again: Some(Arc::new(Again {
            parent: session.to_owned(),
            level,
            sources,
            env,
            items,
            input,
            given,
            answers: Mutex::new(Answers::of(ledger, session, 1)?),
            exchanges: Arc::new(Mutex::new(Exchanges::of(ledger, session)?)),
            order: Arc::new(Order::of(ledger, session, level, is_paced)?),
            refusals: Refusals::of(ledger, session)?,
        })),
    })
}

/// How another program runs in the state that a session had just after an entry. `reopens`: what people answered later is asked again.
///
/// # Errors
/// [`RerunError`] when there is no such state.
pub fn fork(
    ledger: &Ledger,
    session: &str,
    until: u64,
    argv: Vec<OsString>,
    reopens: bool,
) -> Result<RunOptions, RerunError> {
    let fork = Fork::of(ledger, session, until, reopens)?;
    let (workspace, cwd) = fork.place();
    Ok(RunOptions {
        argv,
        charter: None,
        workspace,
        cwd: Some(cwd),
        name: None,
        on_hold: crate::core::OnHold::Wait,
        learn: false,
        accept_weaker: Vec::new(),
        allow_pty: true,
        hooks: true,
        needs_contracts: false,
        record: false,
        again: None,
        fork: Some(Arc::new(fork)),
    })
}

/// A program within the workspace is laid out with it; any other must be the recorded one.
fn same_program(
    recorded: &Recorded,
    argv: &[OsString],
    env: &[(OsString, OsString)],
    cwd: &Path,
    workspace: &Path,
) -> Result<(), RerunError> {
    let Some(was) = &recorded.program else { return Err(RerunError::Program("it is not on record".into())) };
    if translate::path(&was.path).starts_with(workspace) {
        return Ok(());
    }
    let is = argv.first().ok_or(std::io::ErrorKind::NotFound.into()).and_then(|name| program::find(name, env, cwd));
    match is {
        Ok(is) if is == *was => Ok(()),
        Ok(is) => Err(RerunError::Program(format!(
            "then it was `{}`, {} bytes, {}; now it is `{}`, {} bytes, {}",
            was.path, was.bytes, was.digest, is.path, is.bytes, is.digest
        ))),
        Err(error) => Err(RerunError::Program(format!("`{}` ({}): {error}", was.path, was.digest))),
    }
}

/// What the program read from its standard input.
fn input(ledger: &Ledger, session: &str) -> Result<(Vec<u8>, Option<Vec<u8>>), RerunError> {
    let done = Done::read(ledger, session)?;
    let given = done.stream("given").filter(|(_, told)| !told.is_null());
    let given = given.map(|(_, told)| ledger.payload_bytes(told)).transpose()?;
    match done.stream("stdin") {
        Some((_, told)) if !told.is_null() => Ok((ledger.payload_bytes(told)?, given)),
        Some((seq, _)) => {
            Err(RerunError::Record { seq, why: "what the program read from its input is not on record".into() })
        }
        None => {
            Err(RerunError::Record { seq: 1, why: "what passed through the program's streams is not on record".into() })
        }
    }
}
