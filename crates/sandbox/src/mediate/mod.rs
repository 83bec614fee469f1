//! Mediation (SANDBOX.md, layers 4 to 6): every call that changes the world waits here for a decision, and is then
//! performed in the caller's place.
//!
//! One thread owns the truth: it receives calls, asks the [`Mediator`], acts and replies, verifies each exec at the exec
//! event, and notices what died. Others only send it [`Control`] messages. INVARIANT: no verdict rests on memory that can
//! be read twice, nor on a descriptor's number that can be put on another file; a call goes on by itself (`Continue`) only
//! where registers decide.

mod act;
mod askers;
mod bounds;
mod broker;
mod caller;
mod copying;
mod cores;
mod dns;
mod events;
mod exec;
mod files;
pub(crate) mod filter;
mod given;
mod giving;
mod listing;
mod moving;
mod plan;
pub mod readers;
mod refuse;
mod resolve;
pub(crate) mod running;
mod socket;
mod status;
mod sys;
mod trace;

pub use broker::HOST_NAME;

use crate::call::{Attempt, Call, Decision, Done, Lull, Mediator, Refusal, Ticket};
use crate::places::Places;
use act::{Act, Answer, Plan, Umask};
use broker::Broker;
use caller::Caller;
use cores::Cores;
use events::Events;
use resolve::View;
use rustix::fd::{AsFd, OwnedFd};
use status::Statuses;
use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender};
use std::time::{Duration, Instant};
use sys::Errno;
use trace::Traces;

/// Calls that wait for people at once; one more is refused.
const HELD_MAX: usize = 256;
/// Calls that wait for the other end of a FIFO or a socket at once; one more is refused.
const LATER_MAX: usize = 64;
/// How often held calls are looked at for callers that died.
const HELD_LOOK: Duration = Duration::from_millis(50);
/// Signals that end a wait for people where a program handles them: others (a progress meter's clock, say) would have them
/// asked anew each time. HUP, INT, QUIT, TERM, STOP, TSTP.
const ENDING_SIGNALS: u64 = 1 << 0 | 1 << 1 | 1 << 2 | 1 << 14 | 1 << 18 | 1 << 19;
/// With no call for so long, files may be looked at that were closed.
const LULL: Duration = Duration::from_millis(25);
/// While something stays open, such looks come further and further apart, up to this.
const LULL_MAX: Duration = Duration::from_secs(1);
/// How long the last exit statuses may take.
const LAST_ENDS: Duration = Duration::from_millis(500);
/// Linux's own ERESTARTSYS: with a signal (or a freeze) pending, the call starts over when that is through.
const ERESTARTSYS: Errno = 512;
/// Capabilities that mediation keeps in effect: reading its callers and signalling them. With any other (CAP_DAC_OVERRIDE
/// above all) the supervisor could do for a caller what the caller may not.
const KEPT_CAPABILITIES: &[u32] = &[5 /* CAP_KILL */, 19 /* CAP_SYS_PTRACE */];

/// What the loop works on.
pub(crate) struct Parts {
    pub(crate) notify: OwnedFd,
    /// The sandbox's root.
    pub(crate) root: OwnedFd,
    /// Where the workspace is below it.
    pub(crate) workspace: PathBuf,
    /// The tree's first process.
    pub(crate) init: i32,
    /// Without namespaces: the root is the machine's own, and these are what may be touched of it.
    pub(crate) places: Option<Arc<Places>>,
    /// `None`: the network is closed.
    pub(crate) broker: Option<Broker>,
    /// Opens for reading are asked about.
    pub(crate) reads: bool,
    /// Time and random bytes are the mediator's to give.
    pub(crate) gives: bool,
    /// The kernel tells how programs ended; where not, they stay traced until they do.
    pub(crate) exits_are_told: bool,
    pub(crate) mediator: Box<dyn Mediator>,
    pub(crate) tree: Arc<dyn Tree>,
    pub(crate) control: Receiver<Control>,
    /// For threads that the loop starts.
    pub(crate) mailbox: Mailbox,
}

/// The processes as a whole.
pub(crate) trait Tree: Send + Sync {
    /// Ends all of them.
    fn kill(&self);
    /// A breach was found; remembered as the reason of the end.
    fn breached(&self);
    /// Whether somebody ended them, or it.
    fn was_ended(&self) -> bool;
}

/// What others ask of the loop.
pub(crate) enum Control {
    /// A held call's decision.
    Answer(Ticket, Decision),
    /// Receive nothing more for now. The sender is dropped once nothing that was received is still to be decided.
    Pause(Sender<()>),
    /// The tree is being frozen: held calls start over after the thaw.
    Restart,
    /// Receive again.
    Resume,
    /// Held calls fail with EINTR.
    Interrupt,
    /// A thread is through with a call that could block.
    Done(u64, Answer),
    /// A thread has copied, or could not copy, what a call is about to change.
    Copied(u64, Result<(), Errno>),
}

/// Sends control messages and wakes the loop.
#[derive(Clone)]
pub(crate) struct Mailbox {
    sender: Sender<Control>,
    wake: Arc<OwnedFd>,
}

impl Mailbox {
    pub(crate) fn new(sender: Sender<Control>, wake: OwnedFd) -> Self {
        Self { sender, wake: Arc::new(wake) }
    }

    pub(crate) fn send(&self, message: Control) {
        // A loop that is gone has nothing to be told.
        if self.sender.send(message).is_ok() {
            let _ = rustix::io::write(&*self.wake, &1u64.to_ne_bytes());
        }
    }
}

/// A call that waits for people.
struct Held {
    id: u64,
    tid: i32,
    call: Call,
    act: Act,
}

/// A call that a thread performs.
struct Later {
    tid: i32,
    /// Whom to tell; `None` where nobody was asked.
    ticket: Option<(Ticket, i32)>,
    /// What is done when the thread is through with a copy.
    waiting: Option<copying::Waiting>,
    /// The socket that it connects.
    connects: Option<u64>,
}

struct Loop {
    parts: Parts,
    events: Events,
    view: View,
    umask: Umask,
    statuses: Statuses,
    askers: askers::Askers,
    listings: listing::Listings,
    cores: Cores,
    held: HashMap<Ticket, Held>,
    held_looked: Instant,
    later: HashMap<u64, Later>,
    left: socket::Left,
    copied: copying::Copied,
    traces: Traces,
    tickets: u64,
    is_paused: bool,
    /// What came while nothing may be performed, until it may be again.
    put_off: Vec<Control>,
    last_refusal: Option<(i32, String)>,
    /// When the next lull is to be told of, and how long it was waited for.
    lull: Option<(Instant, Duration)>,
}

/// Runs until every process inside has ended. Whatever happens here, nothing inside outlives it.
pub(crate) fn run(parts: Parts, wake: &OwnedFd, started: impl FnOnce(Result<(), Errno>)) {
    let tree = parts.tree.clone();
    let ran = std::panic::catch_unwind(AssertUnwindSafe(|| match Loop::new(parts, wake) {
        Ok(mut mediation) => {
            let (root, workspace) = (mediation.parts.root.as_fd(), mediation.parts.workspace.as_path());
            mediation.parts.mediator.started(root, workspace);
            started(Ok(()));
            mediation.serve();
            if let Some(broker) = &mediation.parts.broker {
                broker.deliver(|| tree.was_ended());
            }
            true
        }
        Err(errno) => {
            started(Err(errno));
            false
        }
    }));
    // Served to the end, nobody is left but pid 1, who has yet to tell how the program ended.
    if !matches!(ran, Ok(true)) {
        tree.kill();
    }
}

impl Loop {
    fn new(parts: Parts, wake: &OwnedFd) -> Result<Self, Errno> {
        sys::block_sigpipe();
        sys::exact_timers();
        sys::unshare_fs()?;
        sys::lower_capabilities(KEPT_CAPABILITIES)?;
        sys::wake_on_same_core(parts.notify.as_fd());
        let root = parts.root.try_clone().map_err(|_| libc::EMFILE)?;
        Ok(Self {
            events: Events::new(&parts.notify, wake, parts.exits_are_told)?,
            view: View::new(root, parts.places.clone())?,
            umask: Umask::new(),
            statuses: Statuses::default(),
            askers: askers::Askers::new(),
            listings: listing::Listings::new(),
            cores: Cores::new(),
            held: HashMap::new(),
            held_looked: Instant::now(),
            later: HashMap::new(),
            left: socket::Left::default(),
            copied: copying::Copied::default(),
            traces: Traces::new(!parts.exits_are_told),
            tickets: 0,
            is_paused: false,
            put_off: Vec::new(),
            last_refusal: None,
            lull: None,
            parts,
        })
    }

    fn serve(&mut self) {
        loop {
            let is_anyone_waiting = !self.held.is_empty() || !self.later.is_empty();
            let to_lull = self.lull.map(|(at, _)| at.saturating_duration_since(Instant::now()));
            let patience = self.traces.patience().or(is_anyone_waiting.then_some(HELD_LOOK));
            let timeout = patience.into_iter().chain(to_lull).min();
            let ready = self.events.wait(timeout);
            // Deaths first: a parent that saw its child end and then acts must find the end on record.
            for (pid, status) in self.events.ended(&ready) {
                self.askers.forget(pid);
                self.parts.mediator.exited(pid, status);
            }
            if ready.wake {
                self.read_mail();
            }
            self.look_at_traces();
            self.look_at_held();
            if ready.notify && !self.is_paused {
                self.receive();
                self.lull = Some((Instant::now() + LULL, LULL));
            } else if let Some((_, waited)) = self.lull.filter(|(at, _)| !self.is_paused && *at <= Instant::now()) {
                let Lull { tell, again } = self.parts.mediator.lull();
                for (pid, text) in tell {
                    match self.parts.places {
                        Some(_) => refuse::tell_below(self.parts.init, pid, &text),
                        None => refuse::tell_inside(self.parts.root.as_fd(), pid, &text),
                    }
                }
                let next = (waited * 2).min(LULL_MAX);
                self.lull = again.then(|| (Instant::now() + next, next));
            }
            if ready.over {
                return self.finish();
            }
        }
    }

    /// Every process is gone.
    fn finish(&mut self) {
        self.look_at_traces();
        for ticket in std::mem::take(&mut self.held).into_keys() {
            self.parts.mediator.withdrawn(ticket);
        }
        // The last statuses come when pid 1 collects them, which it does now.
        let since = Instant::now();
        while self.traces.has_kept() && since.elapsed() < LAST_ENDS {
            let _ = self.events.wait_for_ends(Duration::from_millis(1));
            self.look_at_traces();
        }
        while self.events.has_processes() && since.elapsed() < LAST_ENDS {
            let ready = self.events.wait_for_ends(LAST_ENDS);
            for (pid, status) in self.events.ended(&ready) {
                self.parts.mediator.exited(pid, status);
            }
        }
    }

    fn receive(&mut self) {
        // ENOENT: the caller died or was interrupted before.
        let Ok(request) = sys::receive(self.parts.notify.as_fd()) else { return };
        let (id, tid) = (request.id, request.pid as i32);
        if self.gives(id, tid, &request.data) {
            return;
        }
        let plan = self.plan(id, tid, &request.data);
        match plan {
            Ok(Plan::Answer(answer)) => _ = self.answer(id, tid, None, answer),
            Ok(Plan::Act(act)) => {
                let answer = self.perform(id, tid, act);
                _ = self.answer(id, tid, None, answer);
            }
            Ok(Plan::Ask(attempt, act)) => self.ask(id, tid, attempt, act),
            Err(errno) => self.fail(id, errno),
        }
    }

    fn ask(&mut self, id: u64, tid: i32, attempt: Attempt, act: Act) {
        if let (Attempt::Connect { address, .. }, Some(broker)) = (&attempt, &self.parts.broker)
            && broker.is_name_server(*address)
            && let Act::ConnectInet { socket, raw, .. } = act
        {
            _ = self.answer(id, tid, None, socket::connect_raw(socket, raw));
            return;
        }
        let attempt = match self.name_connection(attempt) {
            Ok(attempt) => attempt,
            Err(errno) => return self.fail(id, errno),
        };
        let caller = Caller { notify: self.parts.notify.as_fd(), id, tid };
        let Ok(tgid) = self.statuses.tgid(&caller) else {
            return self.fail(id, libc::EACCES);
        };
        let attempt = match &self.parts.places {
            Some(places) => places.attempt(attempt),
            None => attempt,
        };
        self.tickets += 1;
        let call = Call { ticket: Ticket(self.tickets), pid: tgid, attempt };
        if self.parts.gives {
            self.pass(id, tid, &call);
        }
        match self.decision(&call) {
            Decision::Hold if self.held.len() >= HELD_MAX => {
                self.parts.mediator.withdrawn(call.ticket);
                self.fail(id, libc::EACCES);
            }
            Decision::Hold => drop(self.held.insert(call.ticket, Held { id, tid, call, act })),
            decided => self.decided(id, tid, &call, act, decided),
        }
    }

    /// Tells how far the caller is: what it is given follows that.
    fn pass(&mut self, id: u64, tid: i32, call: &Call) {
        let Ok(asker) = self.askers.asker(self.parts.notify.as_fd(), id, tid) else { return };
        let mark = askers::mark(&call.attempt);
        let asker = match call.attempt {
            Attempt::Exec { .. } => self.askers.runs(call.pid, asker, mark),
            _ => Some(asker),
        };
        if let Some(asker) = asker {
            self.parts.mediator.passed(asker, mark);
        }
    }

    /// What the mediator says. One that panics denies.
    fn decision(&mut self, call: &Call) -> Decision {
        std::panic::catch_unwind(AssertUnwindSafe(|| self.parts.mediator.decide(call)))
            .unwrap_or_else(|_| Decision::Deny(Refusal { errno: libc::EACCES, text: String::new() }))
    }

    fn decided(&mut self, id: u64, tid: i32, call: &Call, act: Act, decision: Decision) {
        match decision {
            Decision::Allow => self.allowed(id, tid, call, act),
            Decision::Deny(refusal) => {
                // The text first: who reads it must find it when the call returns.
                self.tell(call.pid, &refusal.text);
                let errno = if (1..ERESTARTSYS).contains(&refusal.errno) { refusal.errno } else { libc::EACCES };
                self.fail(id, errno);
            }
            Decision::Hold | Decision::Again => self.fail(id, libc::EACCES),
        }
    }

    fn allowed(&mut self, id: u64, tid: i32, call: &Call, act: Act) {
        let who = (call.ticket, call.pid);
        if let Act::Exec(image) = act {
            return match self.traces.start(self.parts.notify.as_fd(), id, tid, who, image) {
                Ok(()) => {}
                Err(errno) => {
                    self.parts.mediator.done(call.ticket, call.pid, Done::Failed(errno));
                    self.fail(id, errno);
                }
            };
        }
        self.perform_allowed(id, tid, call, act);
    }

    fn perform_now(&mut self, id: u64, tid: i32, call: &Call, act: Act) {
        let answer = self.perform(id, tid, act);
        self.performed(id, tid, call, answer);
    }

    fn performed(&mut self, id: u64, tid: i32, call: &Call, answer: Answer) {
        if let Some(done) = self.answer(id, tid, Some((call.ticket, call.pid)), answer) {
            self.parts.mediator.done(call.ticket, call.pid, done);
        }
    }

    /// The call fails with this errno.
    fn fail(&self, id: u64, errno: Errno) {
        // A caller that is gone needs no reply.
        let _ = sys::reply(self.parts.notify.as_fd(), id, 0, errno, 0);
    }

    /// The caller's own kernel call goes on.
    fn go_on(&self, id: u64) {
        let flags = libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE as u32;
        let _ = sys::reply(self.parts.notify.as_fd(), id, 0, 0, flags);
    }

    fn perform(&mut self, id: u64, tid: i32, act: Act) -> Answer {
        if let Some(places) = self.parts.places.clone() {
            let caller = Caller { notify: self.parts.notify.as_fd(), id, tid };
            let held = bounds::hold(&self.view, &places, &act, (&caller, self.statuses.tgid(&caller)));
            let caller = self.statuses.tgid(&caller);
            if let Err(errno) = held {
                if let (Ok(pid), Some(text)) = (caller, bounds::elsewhere(&places, &act)) {
                    self.tell(pid, &text);
                }
                return Answer::Errno(errno);
            }
        }
        act.forgets(&self.view);
        self.listings.changed(act.folder());
        match act {
            Act::ConnectInet { socket, address, raw } => {
                match self.parts.broker.as_ref().map(|broker| broker.admit(address)) {
                    Some(Ok(())) => socket::connect_raw(socket, raw),
                    Some(Err(errno)) => Answer::Errno(errno),
                    None => Answer::Errno(libc::EACCES),
                }
            }
            Act::BindUnix { socket, at, address, inside, cwd, umask } => match self.parts.places {
                Some(_) => socket::bind_unix_here(&socket, &at, umask),
                None => socket::bind_unix(&inside, &socket, &cwd, &address, umask),
            },
            act => act::perform(&self.view, &mut self.umask, act),
        }
    }

    /// Replies; what became of the call, unless that is not known yet. A reply to a caller that is gone goes nowhere.
    fn answer(&mut self, id: u64, tid: i32, who: Option<(Ticket, i32)>, answer: Answer) -> Option<Done> {
        let notify = self.parts.notify.as_fd();
        match answer {
            Answer::Value(value) => {
                let _ = sys::reply(notify, id, value, 0, 0);
                Some(Done::Ok)
            }
            Answer::Errno(errno) => {
                self.fail(id, errno);
                Some(Done::Failed(errno))
            }
            Answer::Continue => {
                self.go_on(id);
                Some(Done::Ok)
            }
            Answer::Descriptor { file, is_cloexec } => {
                match sys::reply_descriptor(notify, id, file.as_fd(), is_cloexec, self.cores.share(tid)) {
                    Ok(()) | Err(libc::ENOENT) => Some(Done::Ok),
                    // EMFILE, say: the call fails with that, it never goes on by itself.
                    Err(errno) => {
                        self.fail(id, errno);
                        Some(Done::Failed(errno))
                    }
                }
            }
            Answer::Later { work, connects } => {
                if self.later.len() >= LATER_MAX {
                    self.fail(id, libc::EAGAIN);
                    return Some(Done::Failed(libc::EAGAIN));
                }
                let mailbox = self.parts.mailbox.clone();
                let thread = std::thread::Builder::new().name("flyball-later".into()).stack_size(128 << 10);
                match thread.spawn(move || mailbox.send(Control::Done(id, work()))) {
                    Ok(_) => {
                        self.later.insert(id, Later { tid, ticket: who, waiting: None, connects });
                        None
                    }
                    Err(_) => {
                        self.fail(id, libc::EAGAIN);
                        Some(Done::Failed(libc::EAGAIN))
                    }
                }
            }
        }
    }

    fn read_mail(&mut self) {
        while let Ok(message) = self.parts.control.try_recv() {
            self.read(message);
        }
    }

    fn read(&mut self, message: Control) {
        match message {
            // Both may perform a call, and nothing changes in a tree that stands.
            Control::Answer(..) | Control::Copied(..) if self.is_paused => self.put_off.push(message),
            Control::Answer(ticket, decision) => self.answer_held(ticket, decision),
            Control::Pause(through) => {
                self.set_paused(true);
                drop(through);
            }
            Control::Resume => {
                self.set_paused(false);
                std::mem::take(&mut self.put_off).into_iter().for_each(|message| self.read(message));
            }
            Control::Restart => self.end_held(ERESTARTSYS),
            Control::Copied(id, done) => self.copied(id, done),
            Control::Interrupt => self.end_held(libc::EINTR),
            Control::Done(id, answer) => {
                let Some(later) = self.later.remove(&id) else { return };
                let answer = self.left.hears(later.connects, answer);
                if let (Some(done), Some((ticket, pid))) = (self.answer(id, later.tid, None, answer), later.ticket) {
                    self.parts.mediator.done(ticket, pid, done);
                }
            }
        }
    }

    fn set_paused(&mut self, is_paused: bool) {
        self.is_paused = is_paused;
        self.events.listen(!is_paused);
    }

    fn answer_held(&mut self, ticket: Ticket, decision: Decision) {
        let Some(Held { id, tid, call, act }) = self.held.remove(&ticket) else { return };
        if !sys::is_valid(self.parts.notify.as_fd(), id) {
            return self.parts.mediator.withdrawn(ticket);
        }
        let decision = if matches!(decision, Decision::Again) { self.decision(&call) } else { decision };
        if matches!(decision, Decision::Hold) {
            self.held.insert(ticket, Held { id, tid, call, act });
            return;
        }
        // Names may have moved while people thought; the answer was for what they were shown.
        if matches!(decision, Decision::Allow) && !act.still_stands(&self.view, &call.attempt) {
            self.tell(call.pid, "flyball: what this call names changed while it waited for an answer; try again");
            self.parts.mediator.done(ticket, call.pid, Done::Failed(libc::EAGAIN));
            return self.fail(id, libc::EACCES);
        }
        self.decided(id, tid, &call, act, decision);
    }

    /// Ends the waiting of every held call and of every call that a thread performs.
    fn end_held(&mut self, errno: Errno) {
        for (ticket, held) in std::mem::take(&mut self.held) {
            self.fail(held.id, errno);
            self.parts.mediator.withdrawn(ticket);
        }
        for (id, later) in std::mem::take(&mut self.later) {
            self.fail(id, errno);
            self.left.leaves(later.connects);
            if let Some((ticket, pid)) = later.ticket {
                self.parts.mediator.done(ticket, pid, Done::Failed(libc::EINTR));
            }
        }
    }

    /// Who waits for long is looked at: callers die, and a signal must reach its handler though the kernel, once we have
    /// received a call, lets only deadly ones interrupt it.
    fn look_at_held(&mut self) {
        if (self.held.is_empty() && self.later.is_empty()) || self.held_looked.elapsed() < HELD_LOOK {
            return;
        }
        self.held_looked = Instant::now();
        let notify = self.parts.notify.as_fd();
        let is_over = |id, tid, signals| {
            !sys::is_valid(notify, id)
                || Caller { notify, id, tid }.pending_signals().is_ok_and(|all| all & signals != 0)
        };
        let over = |held: &&Held| is_over(held.id, held.tid, ENDING_SIGNALS);
        let held: Vec<(Ticket, u64)> =
            self.held.values().filter(over).map(|held| (held.call.ticket, held.id)).collect();
        let later = self.later.iter().filter(|(id, later)| {
            is_over(**id, later.tid, if later.waiting.is_some() { ENDING_SIGNALS } else { u64::MAX })
        });
        let later: Vec<u64> = later.map(|(id, _)| *id).collect();
        for (ticket, id) in held {
            self.held.remove(&ticket);
            self.fail(id, ERESTARTSYS);
            self.parts.mediator.withdrawn(ticket);
        }
        for id in later {
            self.fail(id, ERESTARTSYS);
            let later = self.later.remove(&id);
            self.left.leaves(later.as_ref().and_then(|later| later.connects));
            if let Some((ticket, pid)) = later.and_then(|later| later.ticket) {
                self.parts.mediator.done(ticket, pid, Done::Failed(libc::EINTR));
            }
        }
    }

    fn look_at_traces(&mut self) {
        for outcome in self.look_at_beginnings() {
            match outcome {
                trace::Outcome::Ran { ticket, pid, process } => {
                    self.statuses.forget(pid);
                    self.askers.ran(pid);
                    if self.events.watch(pid, process) {
                        self.parts.mediator.exited(pid, None);
                    }
                    self.parts.mediator.done(ticket, pid, Done::Ok);
                }
                trace::Outcome::Ended { pid, status } => {
                    self.askers.forget(pid);
                    self.parts.mediator.exited(pid, Some(status));
                }
                trace::Outcome::Failed { ticket, pid, errno } => {
                    self.parts.mediator.done(ticket, pid, Done::Failed(errno));
                }
                trace::Outcome::Breached { ticket, pid, what } => {
                    self.parts.tree.breached();
                    self.parts.tree.kill();
                    self.parts.mediator.done(ticket, pid, Done::Failed(libc::EPERM));
                    self.parts.mediator.breached(&what);
                }
            }
        }
    }

    /// What the broker knows of an address's name.
    fn name_connection(&self, attempt: Attempt) -> Result<Attempt, Errno> {
        let Attempt::Connect { address, .. } = attempt else { return Ok(attempt) };
        let Some(broker) = &self.parts.broker else { return Err(libc::ENETUNREACH) };
        Ok(Attempt::Connect { address, name: broker.name_of(address.ip())? })
    }

    fn tell(&mut self, pid: i32, text: &str) {
        if text.is_empty() || self.last_refusal.as_ref().is_some_and(|(last, said)| *last == pid && said == text) {
            return;
        }
        refuse::tell(pid, text);
        self.last_refusal = Some((pid, text.to_owned()));
    }
}
