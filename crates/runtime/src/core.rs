//! A live session's state, shared by the mediation thread and the control socket under one lock.

mod acts;
mod agents;
mod answered;
mod content;
mod labels;
mod notice;
mod observed;
mod outgoing;
pub(crate) mod outside;
mod point;
#[cfg(test)]
mod tests;
mod tool_calls;
mod underway;

use crate::asking;
use crate::capture::{Capture, CaptureError};
use crate::gate::{Answer, Asked, Gate, GateError, Settled};
use crate::git_context;
use crate::inbox::Inbox;
use crate::refusal;
use crate::rerun::Refusals;
use crate::scratch::Scratch;
use crate::translate;
use agents::Agents;
pub(crate) use content::Contents;
use content::Met;
use flyball_intent::{Exec, Script};
use flyball_kernel::{Action, ContentReading, Effect, Value, Verdict};
use flyball_ledger::{Kind, Ledger};
use flyball_sandbox::workspace::{self, Node};
use flyball_sandbox::{Attempt, Call, Decision, Done, MetadataChange, Refusal, Ticket};
use labels::Written;
pub use notice::{Notice, Watcher};
pub(crate) use outgoing::Outgoing;
use outgoing::Requests;
use serde_json::json;
use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tool_calls::ToolCalls;
use underway::{Underway, is_alone, touched, underway};

/// What to do with an attempt that needs an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnHold {
    /// Wait for it.
    #[default]
    Wait,
    /// Refuse it; the refusal says who could allow it.
    Deny,
}

/// A live session's state.
pub struct Core {
    pub(crate) gate: Gate,
    pub(crate) capture: Capture,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) session: String,
    /// The session's private folder.
    pub(crate) session_dir: PathBuf,
    agent: String,
    workspace: PathBuf,
    home: PathBuf,
    scratch: Arc<Scratch>,
    on_hold: OnHold,
    opened: u64,
    /// The exec that each process runs under: its first attempt and all that it implied.
    processes: BTreeMap<i32, Process>,
    agents: Agents,
    underway: BTreeMap<Ticket, Underway>,
    told: refusal::Told,
    held: BTreeMap<u64, Ticket>,
    /// Set by the boundary itself; nothing is allowed any more.
    breached: bool,
    /// Something of the workspace was not recorded, or is not what any recorded call left.
    pub(crate) has_gaps: bool,
    contents: Contents,
    /// Changes on record since the workspace's digest was last.
    undigested: usize,
    written: Written,
    inbox: Inbox,
    requests: Requests,
    pub(crate) tool_calls: ToolCalls,
    /// The level up to which the program can be run again, where that was recorded.
    pub(crate) replayable: Option<u8>,
    pub(crate) sockets: outside::Sockets,
    /// What programs are told when they are refused something, where that is kept or was.
    pub(crate) refusals: Refusals,
    outbox: Vec<Notice>,
    caused: Vec<Caused>,
}

/// An act that the charter itself wants.
pub(crate) struct Caused {
    pub act: String,
    pub because: String,
    /// The entry that began it.
    pub since: Option<u64>,
}

#[derive(Clone, Debug)]
struct Process {
    exec: u64,
    attempts: Vec<u64>,
    /// It, or what started it, runs the command of a harness's tool call.
    is_of_tool_call: bool,
    /// The agent that it is, as its start was read.
    agent: Option<Arc<Action>>,
}

/// What a session is made of, for [`Core::new`].
pub(crate) struct Parts {
    pub gate: Gate,
    pub capture: Capture,
    pub ledger: Arc<Ledger>,
    pub session: String,
    pub session_dir: PathBuf,
    pub agent: String,
    pub workspace: PathBuf,
    pub home: PathBuf,
    pub scratch: Arc<Scratch>,
    pub on_hold: OnHold,
    /// What the charter reads of content.
    pub reading: ContentReading,
    /// The `open` entry.
    pub opened: u64,
}

/// Attempts of one process that wait for its end: each exec of it adds those that it implies.
const OPEN_OF_ONE_MAX: usize = 4096;
/// Forked children that did not exec, whose cause is remembered; beyond it the memory starts anew.
const PROCESSES_MAX: usize = 8192;

impl Core {
    pub(crate) fn new(parts: Parts) -> Self {
        Self {
            gate: parts.gate,
            capture: parts.capture,
            ledger: parts.ledger,
            session: parts.session,
            session_dir: parts.session_dir,
            agent: parts.agent,
            workspace: parts.workspace,
            home: parts.home,
            scratch: parts.scratch,
            on_hold: parts.on_hold,
            opened: parts.opened,
            processes: BTreeMap::new(),
            agents: Agents::default(),
            underway: BTreeMap::new(),
            told: refusal::Told::default(),
            held: BTreeMap::new(),
            breached: false,
            has_gaps: false,
            contents: Contents::new(parts.reading),
            undigested: 0,
            written: Written::default(),
            inbox: Inbox::default(),
            requests: Requests::default(),
            tool_calls: ToolCalls::default(),
            replayable: None,
            sockets: outside::Sockets::default(),
            refusals: Refusals::default(),
            outbox: Vec::new(),
            caused: Vec::new(),
        }
    }

    /// Decides one call: the way of an action from the syscall to the verdict.
    pub(crate) fn decide(&mut self, call: &Call) -> Decision {
        if self.breached {
            return deny(
                "flyball: denied, the boundary of this session was attacked and everything is being ended\n".into(),
            );
        }
        if let Some(text) = self.leads_to_the_hosts(&call.attempt) {
            return deny(text);
        }
        let is_at_hooks = tool_calls::is_at_the_hooks_door(&call.attempt);
        if is_at_hooks && !self.may_tell(call.pid) {
            return deny("flyball: denied, this is for the harness's hooks\n".to_owned());
        }
        if is_at_hooks || self.is_unrecorded(&call.attempt) {
            let is_of_times = matches!(call.attempt, Attempt::Metadata { change: MetadataChange::Times, .. });
            let touched = if is_of_times { Vec::new() } else { touched(&call.attempt) };
            let is_alone = is_alone(&call.attempt);
            let unrecorded =
                Underway { touched, is_recorded: false, moves: false, is_exec: false, is_alone, ..Underway::default() };
            self.underway.insert(call.ticket, unrecorded);
            return Decision::Allow;
        }
        if translate::moves_too_much(&call.attempt, &|path| self.is_free(path)) {
            return too_much();
        }
        let cause = self.causes(call.pid, &call.attempt);
        let outward =
            matches!(call.attempt, Attempt::Exec { .. } | Attempt::Connect { .. } | Attempt::ConnectUnix { .. });
        // The barrier: what was written so far is looked at and judged before anything can leave or run.
        if outward {
            let before = self.refusals();
            if let Err(error) = self.barrier(&cause) {
                return deny(format!("flyball: denied, the workspace could not be recorded first: {error}\n"));
            }
            match self.met(call, before) {
                Met::Nothing => {}
                Met::Refused(text) => return deny(text),
                Met::Asked => return Decision::Hold,
            }
        }
        let actions = match self.actions(&call.attempt) {
            Ok(actions) => {
                let caller = self.processes.get(&call.pid).and_then(|process| process.agent.as_deref());
                self.agents.others(caller, actions)
            }
            Err(error) => return deny(format!("flyball: denied, it could not be read: {error}\n")),
        };
        if self.gate.order.as_ref().is_some_and(|order| order.holds(call.ticket, &actions)) {
            return Decision::Hold;
        }
        if self.gate.wants_capture(&actions)
            && let Err(error) = self.capture_before(&cause, outward)
        {
            return deny(format!("flyball: denied, the workspace could not be captured first: {error}\n"));
        }
        let asked = self.gate.ask(&actions, &cause);
        self.conclude(call, asked)
    }

    fn conclude(&mut self, call: &Call, asked: Asked) -> Decision {
        self.take_effects(&asked.effects);
        let agent = self.agents.take();
        match asked.verdict {
            Verdict::Allow => match self.follow_taint() {
                Ok(()) => {
                    if let (Attempt::Connect { address, name }, Some(&of)) = (&call.attempt, asked.attempts.first()) {
                        self.connects(name.as_deref(), *address, of);
                    }
                    self.underway.insert(call.ticket, underway(&call.attempt, asked.attempts, agent));
                    Decision::Allow
                }
                Err(error) => {
                    self.record_outcomes(&asked.attempts, false, &BTreeMap::new());
                    self.refused(asked.group, labels::refusal(&error))
                }
            },
            Verdict::Hold if self.on_hold == OnHold::Wait => {
                self.held.insert(asked.group, call.ticket);
                self.underway.insert(call.ticket, underway(&call.attempt, asked.attempts, agent));
                for question in asked.questions {
                    self.hear(Notice::Asked(Box::new(question)));
                }
                Decision::Hold
            }
            Verdict::Hold => {
                let abandoned = self.gate.abandon(asked.group, "this run does not wait for answers (--on-hold deny)");
                if let Err(error) = abandoned {
                    self.outbox.push(Notice::Alert(error.to_string()));
                }
                self.refuse(call.pid, asked.group, &asked.because)
            }
            Verdict::Deny | Verdict::Modify => self.refuse(call.pid, asked.group, &asked.because),
        }
    }

    fn refuse(&mut self, pid: i32, group: u64, because: &[(Action, flyball_kernel::Reason)]) -> Decision {
        let text = self.told.text(pid, &self.session, group, because);
        self.refused(group, text)
    }

    fn refused(&mut self, seq: u64, text: String) -> Decision {
        let text = self.as_then(seq, text);
        self.hear(Notice::Refused { seq, text: text.clone() });
        deny(text)
    }

    fn actions(&self, attempt: &Attempt) -> Result<Vec<Action>, flyball_kernel::ActionError> {
        let Attempt::Exec { path, argv, cwd, script, .. } = attempt else {
            let free = |path: &Path| self.is_free(path);
            let mut actions = translate::actions(attempt, &self.workspace, &self.agent, &free)?;
            actions.extend(self.read_by_writing(attempt)?);
            return Ok(actions);
        };
        let argv: Vec<String> = argv.iter().map(|a| translate::lossless(a)).collect();
        let below = cwd.strip_prefix(&self.workspace).ok();
        let git = git_context::read(&self.capture.layers, below, &argv, || self.contents.git_settings(&self.home));
        let cwd = translate::text(cwd);
        let behind =
            script.as_ref().map(|s| (translate::text(&s.interpreter), s.argument.as_deref().map(translate::lossless)));
        let mut actions = flyball_intent::exec_actions(&Exec {
            program: &translate::text(path),
            argv: &argv,
            cwd: &cwd,
            home: &translate::text(&self.home),
            script: behind
                .as_ref()
                .map(|(interpreter, argument)| Script { interpreter, argument: argument.as_deref() }),
            git: git.as_ref(),
        });
        for action in &mut actions {
            action.agent = self.agent.as_str().into();
            self.see_what_is_deleted(action)?;
        }
        Ok(actions)
    }

    /// `rm -r NAME` of a file, or of nothing, deletes no folder: what stands there is known here and not to who reads words.
    fn see_what_is_deleted(&self, action: &mut Action) -> Result<(), flyball_kernel::ActionError> {
        if action.verb.name() != "fs.delete" || action.attr("recursive") != Some(&Value::Bool(true)) {
            return Ok(());
        }
        let path = translate::path(action.resource.str("path"));
        let rel = path.strip_prefix(&self.workspace).ok();
        let Some(rel) = rel.filter(|rel| !rel.as_os_str().is_empty()) else { return Ok(()) };
        let layers = &self.capture.layers;
        let kind = if workspace::read(layers, rel).is_ok() {
            "file"
        } else if matches!(workspace::node_at(layers, rel), Ok(Node::Absent)) {
            "nothing"
        } else {
            return Ok(());
        };
        action.set("recursive", false.into())?;
        action.set("kind", kind.into())
    }

    /// Scratch places, and device nodes that hold nothing, are decided by the charter once and for all.
    fn is_unrecorded(&self, attempt: &Attempt) -> bool {
        let free = |path: &Path| self.is_free(path);
        match attempt {
            Attempt::Open { path, write: true, .. } => free(path),
            Attempt::Open { path, .. } => !self.gate.decides_reading(&translate::text(path)),
            Attempt::Make { path, .. } | Attempt::Remove { path, .. } | Attempt::Truncate { path, .. } => free(path),
            Attempt::Rename { from, to, .. } => free(from) && free(to),
            Attempt::Link { target, path } => free(target) && free(path),
            Attempt::Symlink { path, .. } | Attempt::BindUnix { path } => free(path),
            // Times hold no content and lead nowhere; what stands beyond the overlays is read-only to begin with.
            Attempt::Metadata { change: MetadataChange::Times, .. } => true,
            Attempt::Metadata { path, .. } => free(path),
            _ => false,
        }
    }

    fn is_free(&self, path: &Path) -> bool {
        self.scratch.covers(path) || (is_bottomless(path) && !self.is_work(path))
    }

    /// Whether the agent works there, wherever on the machine that lies: in memory, `/dev/shm`, too.
    fn is_work(&self, path: &Path) -> bool {
        path.starts_with(&self.workspace) || path.starts_with(&self.home)
    }

    /// An allowed call was performed, or the operating system refused it.
    pub(crate) fn done(&mut self, ticket: Ticket, pid: i32, done: &Done) {
        let Some(underway) = self.underway.remove(&ticket) else { return };
        let ok = matches!(done, Done::Ok);
        if !underway.is_recorded {
            if underway.is_alone && ok {
                return;
            }
            return underway.touched.iter().for_each(|path| self.capture.reached(path));
        }
        for path in &underway.touched {
            match underway {
                Underway { moves: true, .. } => self.capture.moved(path),
                Underway { is_alone: true, .. } if ok => self.capture.changed_alone(path),
                _ => self.capture.touched(path),
            }
            self.wrote(path, pid);
            self.written.note(path, &self.workspace);
        }
        if let [from, to] = underway.touched.as_slice() {
            self.written.moved(from, to, &self.workspace);
        }
        if underway.is_exec && ok {
            let Some(&exec) = underway.attempts.first() else { return };
            // What replaced itself has not ended: how this process ends is what whoever started it will see of each.
            let old = self.processes.remove(&pid);
            let is_of_tool_call =
                old.as_ref().is_some_and(|old| old.is_of_tool_call) || self.tool_calls.are_run_by(pid);
            let mut attempts = old.map(|old| old.attempts).unwrap_or_default();
            attempts.extend(underway.attempts);
            let beyond = attempts.len().saturating_sub(OPEN_OF_ONE_MAX);
            self.close_unknown(attempts.drain(..beyond).collect());
            if let Some(agent) = &underway.agent {
                self.agents.has_started(agent);
            }
            self.processes.insert(pid, Process { exec, attempts, is_of_tool_call, agent: underway.agent });
            return;
        }
        let mut attrs = BTreeMap::new();
        if let Done::Failed(errno) = done {
            attrs.insert("errno".to_owned(), Value::Long(i64::from(*errno)));
        }
        self.record_outcomes(&underway.attempts, ok, &attrs);
    }

    /// A parked call's asker is gone.
    pub(crate) fn withdrawn(&mut self, ticket: Ticket) {
        self.underway.remove(&ticket);
        self.unpark(ticket);
        self.gate.order.iter().for_each(|order| order.withdrawn(ticket));
        let group = self.held.iter().find(|(_, t)| **t == ticket).map(|(g, _)| *g);
        if let Some(group) = group {
            self.held.remove(&group);
            if let Err(error) = self.gate.abandon(group, "the program that asked is gone") {
                self.outbox.push(Notice::Alert(error.to_string()));
            }
        }
    }

    /// A process that had exec'ed ended; without a status nobody saw how.
    pub(crate) fn exited(&mut self, pid: i32, status: Option<i32>) {
        let Some(process) = self.processes.remove(&pid) else { return };
        let Some(status) = status else { return self.close_unknown(process.attempts) };
        let mut attrs = BTreeMap::new();
        // The kernel's wait status: the signal in the low seven bits, else the exit code in the next byte.
        let (signal, code) = (status & 0x7f, (status >> 8) & 0xff);
        if signal == 0 {
            attrs.insert("exit".to_owned(), Value::Long(i64::from(code)));
        } else {
            attrs.insert("signal".to_owned(), Value::Long(i64::from(signal)));
        }
        let ok = status == 0;
        self.record_outcomes(&process.attempts, ok, &attrs);
    }

    fn record_outcomes(&mut self, attempts: &[u64], ok: bool, attrs: &BTreeMap<String, Value>) {
        for error in self.gate.outcomes(attempts, ok, attrs) {
            self.outbox.push(Notice::Alert(format!("an outcome could not be recorded: {error}")));
        }
    }

    pub(crate) fn breach(&mut self, what: &str) {
        self.breached = true;
        let _ = self.gate.note(Kind::Alert, "sandbox", &[], json!({ "alert": "breach", "detail": what }));
        let _ = self.gate.control("quarantine", "sandbox", what, json!({}));
        self.outbox.push(Notice::Alert(what.to_owned()));
    }

    /// A person's answer; gives the calls to release, and what there is to say to the person.
    pub(crate) fn answer(&mut self, id: &str, answer: Answer) -> Result<(Vec<(Ticket, Decision)>, String), GateError> {
        let agreed = answer.verdict != Verdict::Deny;
        let answered = self.answered(id, answer)?;
        let said = answered.said(id, agreed);
        Ok((self.release_all(answered.settled), said))
    }

    /// Lets deadlines act; gives the calls to release.
    pub(crate) fn tick(&mut self) -> Vec<(Ticket, Decision)> {
        let (settled, effects) = match self.gate.tick() {
            Ok(said) => said,
            Err(error) => return self.deny_waiting(&error),
        };
        self.take_effects(&effects);
        self.release_all(settled)
    }

    fn release_all(&mut self, settled: Vec<Settled>) -> Vec<(Ticket, Decision)> {
        let mut released = Vec::new();
        // What waits for content is put again once, after all that one answer settled.
        let mut is_told = false;
        for settled in settled {
            self.hear(Notice::Answered { seq: settled.group, verdict: settled.verdict });
            match self.settle_content(&settled) {
                Some(is_refused) => is_told |= is_refused,
                None => released.extend(self.release(&settled)),
            }
        }
        if is_told || !self.waits_for_content() {
            released.extend(self.put_again());
        }
        released
    }

    /// Nothing can be decided and recorded any more: whoever waits for an answer hears that, and does not wait for ever.
    pub(crate) fn deny_waiting(&mut self, error: &GateError) -> Vec<(Ticket, Decision)> {
        let held = std::mem::take(&mut self.held);
        if !held.is_empty() {
            self.outbox.push(Notice::Alert(format!("what waited for an answer is denied: {error}")));
        }
        let text = format!("flyball: denied, it could not be decided and recorded: {error}\n");
        let denied = held.into_values().inspect(|ticket| drop(self.underway.remove(ticket)));
        let denied: Vec<_> = denied.map(|ticket| (ticket, deny(text.clone()))).collect();
        denied.into_iter().chain(self.put_again()).collect()
    }

    fn release(&mut self, settled: &Settled) -> Option<(Ticket, Decision)> {
        if self.settle_outgoing(settled) {
            return None;
        }
        let ticket = self.held.remove(&settled.group)?;
        let decision = if settled.verdict == Verdict::Allow {
            match self.follow_taint() {
                Ok(()) => Decision::Allow,
                Err(error) => {
                    self.underway.remove(&ticket);
                    self.record_outcomes(&settled.attempts, false, &BTreeMap::new());
                    self.refused(settled.group, labels::refusal(&error))
                }
            }
        } else {
            self.underway.remove(&ticket);
            // An answer of a person's: told in full, always.
            self.refused(settled.group, refusal::text(&self.session, settled.group, &settled.because))
        };
        Some((ticket, decision))
    }

    /// Tells watchers, and the agent's inbox.
    pub(crate) fn hear(&mut self, notice: Notice) {
        match &notice {
            Notice::Refused { seq, text } => self.inbox.tell(*seq, "refused", text),
            Notice::PutBack { seq, text, .. } => self.inbox.tell(*seq, "put-back", text),
            Notice::Asked(question) => {
                let text = asking::for_the_agent(question);
                self.inbox.tell(question.of, "asked", &text);
            }
            Notice::Answered { seq, verdict } => {
                let verdict = if *verdict == Verdict::Allow { "allowed" } else { "refused" };
                self.inbox.tell(*seq, "answered", &format!("entry {seq} was {verdict}"));
            }
            Notice::Started { .. } | Notice::Checking { .. } | Notice::Alert(_) => {}
        }
        self.outbox.push(notice);
    }

    /// A person's act on the session, for the agent to know.
    pub(crate) fn tell_act(&mut self, seq: u64, act: &str, by: &str, reason: &str) {
        self.inbox.tell(seq, act, &format!("{act} by {by}: {reason}"));
    }

    fn take_effects(&mut self, effects: &[Effect]) {
        for effect in effects {
            match effect {
                Effect::Cause { act, because, since } => {
                    self.outbox.push(Notice::Alert(format!("{because}: {}", caused_text(act))));
                    self.caused.push(Caused { act: act.clone(), because: because.clone(), since: *since });
                }
                Effect::Warn { budget, used, limit } => {
                    let detail = format!("budget `{budget}` is at {used} of {limit}");
                    let _ = self.gate.note(Kind::Alert, "kernel", &[], json!({ "alert": "budget", "detail": detail }));
                    self.outbox.push(Notice::Alert(detail));
                }
                Effect::Autonomy { level, because } => {
                    self.outbox.push(Notice::Alert(format!("autonomy is now `{level}`: {because}")));
                }
                Effect::Alert { alert, because } => {
                    let _ = self.gate.note(Kind::Alert, "kernel", &[], json!({ "alert": alert, "detail": because }));
                    self.outbox.push(Notice::Alert(because.clone()));
                }
                Effect::Ask { .. } | Effect::Reserve { .. } => {}
            }
        }
    }

    /// What happened since the last call, for watchers.
    pub(crate) fn take_notices(&mut self) -> Vec<Notice> {
        let effects = self.gate.take_effects();
        self.take_effects(&effects);
        std::mem::take(&mut self.outbox)
    }

    /// Acts that the charter itself wants.
    pub(crate) fn take_caused(&mut self) -> Vec<Caused> {
        std::mem::take(&mut self.caused)
    }

    /// At the end: what was begun and whose end nobody saw is `unknown`, never guessed.
    pub(crate) fn close_open_attempts(&mut self) {
        let mut open: Vec<u64> = std::mem::take(&mut self.processes).into_values().flat_map(|p| p.attempts).collect();
        for (_, underway) in std::mem::take(&mut self.underway) {
            open.extend(underway.attempts);
        }
        open.extend(self.requests.take_open());
        open.sort_unstable();
        open.dedup();
        self.close_unknown(open);
    }

    fn close_unknown(&mut self, attempts: Vec<u64>) {
        for of in attempts {
            let body = json!({ "of": of, "ok": null, "unknown": true });
            let _ = self.gate.note(Kind::Outcome, "gate", &[of], body);
        }
    }

    /// The entry under which this process acts: its own exec, its nearest ancestor's, or the session's opening.
    fn cause_of(&mut self, pid: i32) -> u64 {
        let mut at = pid;
        for _ in 0..64 {
            if let Some(process) = self.processes.get(&at) {
                let Process { exec, is_of_tool_call, .. } = *process;
                let agent = process.agent.clone();
                if at != pid {
                    if self.processes.len() > PROCESSES_MAX {
                        self.processes.retain(|_, p| !p.attempts.is_empty());
                    }
                    self.processes.insert(pid, Process { exec, attempts: Vec::new(), is_of_tool_call, agent });
                }
                return exec;
            }
            // Before the program's exec nothing acted yet, and above this very process nothing ever does.
            let parent = if self.processes.is_empty() { None } else { parent_of(at) };
            match parent {
                Some(parent) if parent > 1 && parent.cast_unsigned() != std::process::id() => at = parent,
                _ => break,
            }
        }
        self.opened
    }
}

/// A barrier could not be recorded.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BarrierError {
    #[error(transparent)]
    Capture(#[from] CaptureError),
    #[error(transparent)]
    Gate(#[from] GateError),
}

fn caused_text(act: &str) -> String {
    match act.strip_prefix("escalate:") {
        Some(path) => format!("every effect is asked about at `{path}` from now on, until it is answered for"),
        None => format!("{act} follows"),
    }
}

fn deny(text: String) -> Decision {
    Decision::Deny(Refusal { errno: rustix::io::Errno::ACCESS.raw_os_error(), text })
}

/// As a rename to another disk fails: programs copy then, and each copy is judged.
fn too_much() -> Decision {
    let text = format!(
        "flyball: a folder is moved as one only with at most {} entries below it that can be read, for each is judged by \
         its own path; copied (as `mv` does now by itself) or moved in parts, it passes\n",
        translate::MOVED_MAX
    );
    Decision::Deny(Refusal { errno: rustix::io::Errno::XDEV.raw_os_error(), text })
}

/// Device nodes of the private `/dev`, and the caller's own descriptors behind `/proc`.
fn is_bottomless(path: &Path) -> bool {
    path.starts_with("/dev") || path.starts_with("/proc")
}

pub(crate) fn parent_of(pid: i32) -> Option<i32> {
    // In one go: read to its end, a file of `/proc` that tells no length takes six.
    let mut stat = [0; 512];
    let read = std::fs::File::open(format!("/proc/{pid}/stat")).ok()?.read(&mut stat).ok()?;
    let stat = stat.get(..read)?;
    // The name in parentheses may hold anything, parentheses included: the fields start after the last one.
    let fields = stat.get(stat.iter().rposition(|byte| *byte == b')')? + 1..)?;
    std::str::from_utf8(fields).ok()?.split_ascii_whitespace().nth(1)?.parse().ok()
}
