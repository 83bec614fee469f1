//! What a run that is recorded, or is one again, has beside any other: its streams, and answers that were given before.

use super::{RunError, RunOptions, Session, Shared, lock, with};
use crate::core::{Core, Notice};
use crate::plan::Plan;
use crate::rerun::{self, Again, Fork, Given, Input, Order, Refusals, Streams};
use flyball_gateway::http::{Authority, Places, Replay};
use flyball_kernel::Charter;
use flyball_ledger::Ledger;
use flyball_sandbox::{Decision, Network};
use std::io::IsTerminal;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

/// Between two looks for the program's handle.
const HANDLE_LOOK: Duration = Duration::from_millis(2);

/// The program's ends of its streams; ours, what goes in, and whether what comes out is shown.
type Ends = (Option<flyball_sandbox::Streams>, Option<(Streams, Input, bool)>);

/// The streams of a run that is recorded or made again; of any other the caller's own are the program's.
pub(super) fn streams(options: &RunOptions) -> Result<Ends, RunError> {
    let input = match &options.again {
        Some(again) => again.input(),
        None if !options.record => return Ok((None, None)),
        // What a person types is not taken down.
        None if std::io::stdin().is_terminal() => Input::Recorded(Vec::new()),
        None => Input::Own,
    };
    let (inside, ours) =
        rerun::make_streams().map_err(|cause| RunError::System { what: "make the program's streams", cause })?;
    Ok((Some(inside), Some((ours, input, options.again.is_none()))))
}

/// Where time and random bytes come from. In a replay calls may wait from here on.
pub(super) fn given(shared: &Arc<Shared>, keeps: bool) -> Given {
    match &shared.before.again {
        Some(again) => {
            let (order, session) = (again.order(), Arc::downgrade(shared));
            let releasing = std::thread::Builder::new().name("order".into()).spawn(move || release(&order, &session));
            // Nothing is held where nobody would let it go on.
            if releasing.is_err() {
                lock(shared).gate.order = None;
            }
            again.given()
        }
        None if keeps => Given::keeping(shared.kept.begin()),
        None => Given::default(),
    }
}

/// An authority for connections that nobody reads: those of a run that is recorded, or is one again, are kept and played.
pub(super) fn unread(options: &RunOptions, plan: &Plan) -> Result<Option<Arc<Authority>>, RunError> {
    if plan.spec.network == Network::Closed || !options.record && options.again.is_none() {
        return Ok(None);
    }
    Authority::new().map(|authority| Some(Arc::new(authority))).map_err(|e| RunError::Http(e.to_string()))
}

/// What becomes of the session's exchanges beside being ruled on.
pub(super) fn network(shared: &Shared, session: &Session, ledger: &Arc<Ledger>, keeps: bool) -> Replay {
    match &shared.before.again {
        Some(again) => Replay::Answers(Places::default(), Arc::new(again.network(ledger, session.clone()))),
        None if keeps => Replay::Keeps(Places::default()),
        None => Replay::Off,
    }
}

/// What becomes of what programs are told when they are refused something, and what came before what.
pub(super) fn prepare(core: &mut Core, options: &RunOptions) {
    core.gate.order = options.again.as_ref().map(|again| again.order());
    core.refusals = match &options.again {
        Some(again) => again.refusals(),
        None if options.record => Refusals::Kept,
        None => Refusals::Own,
    };
}

/// Lets calls go on that waited for what came before them, to the end of the session.
fn release(order: &Order, session: &Weak<Shared>) {
    loop {
        let tickets = order.released();
        let Some(shared) = session.upgrade().filter(|shared| !shared.over.load(Ordering::SeqCst)) else { return };
        for ticket in tickets {
            // The program may act before its handle is in place.
            let running = loop {
                match shared.running.get() {
                    Some(running) => break running,
                    None if shared.over.load(Ordering::SeqCst) => return,
                    None => std::thread::sleep(HANDLE_LOOK),
                }
            };
            running.answer(ticket, Decision::Again);
        }
    }
}

/// Ends a replay that is another run by now: nothing that it does from here on says anything.
pub(crate) fn end(session: &Session) {
    let Some(shared) = session.0.upgrade() else { return };
    shared.killed.store(true, Ordering::SeqCst);
    if let Some(running) = shared.running.get() {
        running.kill();
    }
}

/// The charter as the run takes it. A fork goes on as its parent's agent, with what that learned to keep.
pub(super) fn charter(charter: Charter, options: &RunOptions, plan: &mut Plan) -> Charter {
    match &options.fork {
        Some(fork) => {
            plan.agent.clone_from(&fork.agent);
            fork.charter(charter)
        }
        None if plan.learns => charter.learning(plan.kept()),
        None => charter,
    }
}

/// A recorded session that this one is again, or goes on from.
#[derive(Clone)]
pub(super) struct Before {
    again: Option<Arc<Again>>,
    fork: Option<Arc<Fork>>,
}

impl Before {
    pub fn is_again(&self) -> bool {
        self.again.is_some()
    }

    pub fn of(options: &RunOptions) -> Self {
        Self { again: options.again.clone(), fork: options.fork.clone() }
    }
}

/// People were asked, and have answered before: in a replay nobody else ever will, in a fork people do.
pub(super) fn asked(shared: &Arc<Shared>, notice: &Notice) {
    let Notice::Asked(question) = notice else { return };
    let Before { again, fork } = shared.before.clone();
    if again.is_none() && fork.is_none() {
        return;
    }
    let (shared, id) = (Arc::clone(shared), question.id.clone());
    // The thread that asks is the one that is to be let go on.
    let answering = move || {
        // The program may ask before its handle is in place.
        let running = loop {
            match shared.running.get() {
                Some(running) => break running,
                None if shared.over.load(Ordering::SeqCst) => return,
                None => std::thread::sleep(HANDLE_LOOK),
            }
        };
        let next = || {
            with(&shared, |core| match (&again, &fork) {
                (Some(again), _) => core.answered_before(again),
                (None, Some(fork)) => core.answered_in_parent(fork, &id),
                (None, None) => None,
            })
        };
        while let Some(released) = next() {
            released.into_iter().for_each(|(ticket, decision)| running.answer(ticket, decision));
        }
    };
    let _ = std::thread::Builder::new().name("answer".into()).spawn(answering);
}
