//! The kernel: session state, and the step that takes one input to its rulings.

mod adopting;
mod judging;
mod labelling;
mod load;
mod owing;
mod people;
mod sharing;
mod snapshot;
mod standing;
mod supposing;

pub use adopting::Past;
pub use load::{OWNER_QUESTIONS_MAX, OWNER_SMALL_QUESTIONS_MAX};
pub use snapshot::SnapshotError;

use crate::action::{Action, Value};
use crate::budget;
use crate::charter::{Charter, Level};
use crate::decide::{self, Decision, Finding, own};
use crate::envelope::Positions;
use crate::facts::{Facts, Occurrence, Phase, Seen};
use crate::input::{Event, Input};
use crate::label::Labels;
use crate::obligation::Obligations;
use crate::question::{Approval, Question, Reply};
use crate::registers::Registers;
use crate::ruling::{ActionDigest, Effect, Governance, Reason, Ruling, Verdict};
use crate::session::Session;
use crate::vocabulary::{Consequence, Reversibility};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Most attempts that are open at once: ruled allowed or held, without an outcome. Further ones are refused.
const OPEN_MAX: usize = 65_536;

/// Whether the session may act at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Gate {
    Open,
    Paused,
    Quarantined,
    Killed,
}

/// An attempt that may yet take effect.
#[derive(Clone, Debug)]
struct Open {
    /// As it is carried out: changed, when people or an envelope changed it.
    action: Action,
    state: OpenState,
    /// What people agreed to, where this attempt names an action that is still to come.
    approval: Option<Box<Approval>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum OpenState {
    Held(Box<Question>),
    Allowed,
    Dispatched,
}

/// The state of one governed session under one charter.
#[derive(Clone, Debug)]
pub struct Kernel {
    charter: Arc<Charter>,
    session: Arc<Session>,
    gate: Gate,
    autonomy: Level,
    /// Facts that would lower it, and which a person who raised it since knew to hold.
    autonomy_known: BTreeSet<String>,
    facts: Facts,
    budgets: budget::Ledger,
    positions: Positions,
    obligations: Obligations,
    labels: Labels,
    /// What deciding did to the session's state, to be told with the ruling: empty between two inputs.
    effects: Vec<Effect>,
    /// Obligations that this input found unmet: empty between two inputs.
    missed: Vec<Reason>,
    last_seq: Option<u64>,
    last_at_ns: u64,
    /// Each apart: else every node of the tree has room for eleven of them.
    open: BTreeMap<u64, Box<Open>>,
    /// Before this time no question's deadline comes: until then, none of the open attempts is looked at.
    undue_until_ns: u64,
    /// Owners at their cap of open questions, of whom that was told.
    overloaded: BTreeSet<String>,
}

impl Kernel {
    /// A session's kernel, before its first input.
    #[must_use]
    pub fn new(charter: Arc<Charter>, session: Session) -> Self {
        Self {
            autonomy: charter.autonomy.start,
            autonomy_known: BTreeSet::new(),
            facts: charter.facts.clone(),
            budgets: budget::Ledger::default(),
            positions: Positions::default(),
            obligations: Obligations::default(),
            labels: Labels::default(),
            effects: Vec::new(),
            missed: Vec::new(),
            charter,
            session: Arc::new(session),
            gate: Gate::Open,
            last_seq: None,
            last_at_ns: 0,
            open: BTreeMap::new(),
            undue_until_ns: u64::MAX,
            overloaded: BTreeSet::new(),
        }
    }

    /// The charter that it rules by.
    #[must_use]
    pub fn charter(&self) -> &Charter {
        &self.charter
    }

    /// What was counted so far.
    #[must_use]
    pub fn registers(&self) -> Registers {
        let gate = match self.gate {
            Gate::Open => "open",
            Gate::Paused => "paused",
            Gate::Quarantined => "quarantined",
            Gate::Killed => "killed",
        };
        Registers {
            gate: gate.to_owned(),
            budgets: self.budgets.uses(&self.charter.budgets),
            envelopes: self.positions.uses(&self.charter.envelopes, self.last_at_ns),
            autonomy: self.autonomy.name().to_owned(),
            labels: self.labels.taint().clone(),
            obligations: self.obligations.uses(&self.charter.obligations),
            asked: self.owner_loads(),
        }
    }

    /// Takes one input and gives its rulings: first those on questions whose deadline has passed, any number; then, last,
    /// exactly one on an attempt or an answer, and none on anything else, unless an obligation's deadline has passed: then
    /// one of this input's own, with what that causes.
    ///
    /// An input whose number does not increase is not taken: an attempt or answer is refused, any other ignored. When
    /// time runs backwards, attempts and answers are refused too; what *happened* (a dispatch, an outcome, an act of a
    /// person) is taken all the same, at the latest time known, since facts must not forget what was done.
    pub fn step(&mut self, input: &Input) -> Vec<Ruling> {
        let is_repeated = self.last_seq.is_some_and(|last| input.seq <= last);
        let is_early = input.at_ns < self.last_at_ns;
        if is_repeated || (is_early && input.event.is_ruled_on()) {
            return self.refuse_out_of_order(input, is_repeated);
        }
        self.last_seq = Some(input.seq);
        self.last_at_ns = self.last_at_ns.max(input.at_ns);
        self.budgets.dues.clear();
        self.labels.made.clear();
        self.pass_time(matches!(input.event, Event::Tick));
        // Whose asker is gone, nobody further is asked about.
        if let Event::Withdraw { of } = &input.event {
            self.withdraw(*of);
        }
        // What nobody answered in time is settled before anything else is ruled on.
        let mut rulings = self.expired();
        match &input.event {
            Event::Attempt(action) => {
                let ruling = self.attempt(input.seq, action, None);
                rulings.reserve_exact(1);
                rulings.push(ruling);
            }
            Event::Expected { of, action } => rulings.push(self.expected(input.seq, *of, action, None)),
            Event::Together { batch, of: None, action } => {
                rulings.push(self.attempt(input.seq, action, Some(*batch)));
            }
            Event::Together { batch, of: Some(of), action } => {
                rulings.push(self.expected(input.seq, *of, action, Some(*batch)));
            }
            Event::Answer { of, action, verdict, with, by, reason } => {
                let reply = Reply {
                    digest: action,
                    verdict: *verdict,
                    with: with.as_deref(),
                    by,
                    is_agent: self.is_agent(by),
                    now_ns: self.last_at_ns,
                    seq: input.seq,
                };
                rulings.push(self.answer(*of, &reply, reason));
            }
            Event::Dispatch { of } => {
                self.dispatch(*of, input.seq);
            }
            Event::Outcome { of, ok, attrs } => {
                self.outcome(*of, input.seq, *ok, attrs);
            }
            Event::Control { act, level, by, .. } => {
                if !self.is_agent(by) {
                    self.control(act, level.as_deref(), by);
                }
            }
            Event::Shared { found } => {
                self.budgets.found(found);
            }
            Event::Labelled { files } => {
                self.labels.known(files);
            }
            Event::Elsewhere(happened) => {
                self.facts.elsewhere(happened, input.seq, self.last_at_ns);
            }
            Event::Withdraw { .. } | Event::Observe { .. } | Event::Tick => {}
        }
        if input.event.is_ruled_on() {
            self.budgets.give_back();
        }
        self.give_out(input.seq, &input.event, rulings)
    }

    fn refuse_out_of_order(&self, input: &Input, is_repeated: bool) -> Vec<Ruling> {
        let (of, action) = match &input.event {
            Event::Attempt(action) | Event::Expected { action, .. } | Event::Together { action, .. } => {
                (input.seq, Some(action.clone()))
            }
            Event::Answer { of, .. } => (*of, self.open.get(of).map(|o| o.action.clone())),
            _ => return Vec::new(),
        };
        let why = if is_repeated {
            format!("entry {} does not follow entry {}", input.seq, self.last_seq.unwrap_or_default())
        } else {
            format!("its time, {} ns, is before that of the last entry, {} ns", input.at_ns, self.last_at_ns)
        };
        let reason = own("input-out-of-order", format!("the input was not taken: {why}"), None);
        // A held attempt stays held: a misplaced answer must not settle it.
        let is_held = matches!(self.open.get(&of).map(|open| &**open), Some(Open { state: OpenState::Held(_), .. }))
            && matches!(input.event, Event::Answer { .. });
        let finding = if is_held { Finding::hold(reason, None) } else { Finding::deny(reason) };
        vec![self.ruling(of, action.as_ref(), decide::strictest(vec![finding]), Vec::new())]
    }

    /// Whether that is the agent, by whichever contact: a key of whom the charter calls by the agent's name is the agent's.
    fn is_agent(&self, who: &str) -> bool {
        let agent = self.session.agent.as_str();
        let is_it = |contact: &str| {
            contact == agent
                || contact.strip_prefix("user:") == Some(agent)
                || contact.trim_start().to_ascii_lowercase().starts_with("agent:")
        };
        self.charter.people.of(who).any(is_it) || self.charter.people.name(who) == Some(agent)
    }

    fn attempt(&mut self, seq: u64, action: &Action, batch: Option<u64>) -> Ruling {
        let labelled = self.labelled(action);
        let action = &*labelled;
        let session = Arc::clone(&self.session);
        let decision = self.decide(action, &session.values(action), &BTreeSet::new());
        // Facts are as of just before the action: it counts from here on, whatever was ruled.
        self.note(Phase::Attempt, action, None, seq);
        self.settle(seq, action, decision, &BTreeSet::new(), batch)
    }

    /// An attempt for which an earlier approval may stand.
    fn expected(&mut self, seq: u64, of: u64, action: &Action, batch: Option<u64>) -> Ruling {
        let labelled = self.labelled(action);
        let action = &*labelled;
        let session = Arc::clone(&self.session);
        let values = session.values(action);
        let mut decision = self.decide(action, &values, &BTreeSet::new());
        let mut waived = BTreeSet::new();
        let mut used = None;
        if decision.verdict == Verdict::Hold
            && let Some(approval) = self.spend(of, action)
        {
            // Decided anew: what was told of the session the first time is told with this ruling.
            waived.clone_from(&approval.rules);
            decision = self.decide(action, &values, &waived);
            if decision.verdict == Verdict::Allow {
                decision.reasons.push(approval.reason(of));
                decision.reasons.sort();
            }
            used = Some(approval);
        }
        self.note(Phase::Attempt, action, None, seq);
        let ruling = self.settle(seq, action, decision, &waived, batch);
        if ruling.verdict == Verdict::Allow
            && let (Some(open), Some(approval)) = (self.open.get_mut(&seq), used)
        {
            open.approval = Some(approval);
        }
        ruling
    }

    /// The approval that an attempt holds for this action: taken from it, so that it serves once.
    fn spend(&mut self, of: u64, action: &Action) -> Option<Box<Approval>> {
        let now_ns = self.last_at_ns;
        let open = self.open.get_mut(&of)?;
        let serves = |a: &Approval| now_ns <= a.until_ns && open.action.foresees(action);
        if open.approval.as_deref().is_some_and(serves) { open.approval.take() } else { None }
    }

    /// Lets facts and obligations see an event; `outcome`: what a result carries.
    fn note(&mut self, phase: Phase, action: &Action, outcome: Option<(bool, &BTreeMap<String, Value>)>, seq: u64) {
        let Self { charter, session, facts, obligations, last_at_ns, .. } = self;
        if !facts.is_watched(phase, action.verb) && charter.obligations.is_empty() {
            return;
        }
        let mut values = session.values(action);
        if let Some((ok, attrs)) = outcome {
            values = values.with_outcome(ok, attrs);
        }
        let event = Occurrence { phase, verb: action.verb, values: Seen::Live(&values), seq, at_ns: *last_at_ns };
        facts.commit(&event);
        if !charter.obligations.is_empty() {
            let missed = obligations.note(&charter.obligations, &event);
            self.miss(missed);
        }
    }

    fn dispatch(&mut self, of: u64, seq: u64) {
        let Some(open) = self.open.get_mut(&of) else { return };
        if !matches!(open.state, OpenState::Allowed) {
            return;
        }
        open.state = OpenState::Dispatched;
        let action = open.action.clone();
        self.did(&action, seq);
    }

    fn did(&mut self, action: &Action, seq: u64) {
        self.note(Phase::Did, action, None, seq);
        self.labels.did(&self.charter.labels, &self.session, action, seq);
    }

    fn outcome(&mut self, of: u64, seq: u64, ok: bool, attrs: &BTreeMap<String, Value>) {
        match self.open.get(&of).map(|open| &open.state) {
            // What was not let through has no outcome; what was and came without its dispatch was dispatched.
            None | Some(OpenState::Held(_)) => return,
            Some(OpenState::Allowed) => self.dispatch(of, seq),
            Some(OpenState::Dispatched) => {}
        }
        let Some(open) = self.open.remove(&of) else { return };
        self.note(Phase::Result, &open.action, Some((ok, attrs)), seq);
        self.budgets.settle(&self.charter.budgets, of, ok, attrs);
        self.positions.settle(&self.charter.envelopes, of, &open.action, ok, self.last_at_ns);
    }

    fn withdraw(&mut self, of: u64) {
        // What was dispatched can't be called back: its outcome is still to come.
        if self.open.get(&of).is_some_and(|open| !matches!(open.state, OpenState::Dispatched)) {
            let open = self.open.remove(&of);
            self.budgets.release(&self.charter.budgets, of);
            if let Some(open) = open {
                self.positions.release(&self.charter.envelopes, of, &open.action);
            }
        }
    }

    fn ruling(&self, of: u64, action: Option<&Action>, decision: Decision, effects: Vec<Effect>) -> Ruling {
        let governance = match action {
            Some(action) => self.governance(action),
            // Nothing is known of the action: nothing is taken lightly.
            None => Governance::of(Consequence::Critical, Reversibility::Irreversible),
        };
        Ruling {
            of,
            verdict: decision.verdict,
            reasons: decision.reasons,
            effects,
            action: action.map(ActionDigest::of).unwrap_or_default(),
            charter: self.charter.digest.clone(),
            governance,
            modified: decision.modified,
        }
    }
}
