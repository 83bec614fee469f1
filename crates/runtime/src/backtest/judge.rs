//! One session's record, ruled on by another charter.
//!
//! The record is one history; under another charter it would have gone on differently. Up to the first ruling that differs, both
//! are the same history, so what is said is what would have been said. After it, what the record refused and passes here counts
//! as done at once, everything else happens as it is on record, and all that is said is labelled `bounded`.

use super::read::{Item, Said};
use super::{Flip, Tested, Why};
use crate::replay::Obstacle;
use crate::suggest::rejudge::{STRIDE, scaled};
use flyball_kernel::{
    Action, Charter, Event, Input, Kernel, Reason, Ruling, Session, SharedFound, SharedWant, Verdict,
};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Flips of one session that are told one by one; of more only the sums are.
const FLIPS_MAX: usize = 256;
/// Attempts that wait for their ruling or for people, at most: a record with more is none of ours.
const WAITING_MAX: usize = 131_072;

/// What the charter says of an attempt as it stands.
struct Stands {
    action: Action,
    ruling: Ruling,
    has_flipped: bool,
}

pub(super) struct Judge {
    kernel: Option<Kernel>,
    charter: Arc<Charter>,
    waiting: BTreeMap<u64, Stands>,
    /// What the last input told of shared registers.
    found: Vec<SharedFound>,
    out: Tested,
}

impl Judge {
    pub fn new(session: &str, charter: &Arc<Charter>) -> Self {
        let out = Tested { session: session.to_owned(), ..Tested::default() };
        Self { kernel: None, charter: Arc::clone(charter), waiting: BTreeMap::new(), found: Vec::new(), out }
    }

    /// Takes the next of the record; `false` where nothing after it can be judged.
    pub fn take(&mut self, item: Item) -> bool {
        self.out.entries += 1;
        match item {
            Item::Nothing => {}
            Item::Opened(session) => self.open(session),
            Item::Input(input) => return self.input(&input),
            Item::Said(said) => self.said(said),
            Item::Unread(obstacle) => {
                self.out.stopped = Some(obstacle);
                return false;
            }
        }
        true
    }

    pub fn end(self) -> Tested {
        self.out
    }

    fn open(&mut self, session: Session) {
        if self.kernel.is_none() {
            self.out.agent.clone_from(&session.agent);
            self.kernel = Some(Kernel::new(Arc::clone(&self.charter), session));
        }
    }

    fn input(&mut self, input: &Input) -> bool {
        let Some(kernel) = &mut self.kernel else {
            let why = "the session was not opened before it".to_owned();
            self.out.stopped = Some(Obstacle { seq: input.seq, why });
            return false;
        };
        let told = Input { seq: input.seq.saturating_mul(STRIDE), at_ns: input.at_ns, event: scaled(&input.event) };
        let asked = match &input.event {
            Event::Attempt(action) | Event::Expected { action, .. } | Event::Together { action, .. } => Some(action),
            _ => None,
        };
        let wants = asked.map(|action| kernel.shared_wants(action, input.at_ns)).unwrap_or_default();
        let rulings = if wants.iter().all(|w| self.found.iter().any(|f| answers(f, w))) {
            kernel.step(&told)
        } else {
            // The run did not ask what these registers hold: from here on they are counted by this session alone.
            self.out.bounded_from.get_or_insert(input.seq);
            kernel.step_alone(&told)
        };
        self.found = match &input.event {
            Event::Shared { found } => found.clone(),
            _ => Vec::new(),
        };
        for ruling in rulings {
            let of = ruling.of / STRIDE;
            match (self.waiting.get_mut(&of), asked) {
                (Some(stands), _) => stands.ruling = ruling,
                (None, Some(action)) if of == input.seq => {
                    self.waiting.insert(of, Stands { action: action.clone(), ruling, has_flipped: false });
                }
                (None, _) => {}
            }
        }
        if self.waiting.len() > WAITING_MAX {
            let why = format!("{WAITING_MAX} attempts before it wait for a ruling");
            self.out.stopped = Some(Obstacle { seq: input.seq, why });
            return false;
        }
        true
    }

    /// The record says what was ruled: was it this?
    fn said(&mut self, said: Said) {
        let Some(stands) = self.waiting.get_mut(&said.of) else { return };
        let now = stands.ruling.verdict;
        let is_first = !stands.has_flipped;
        let is_over = said.verdict != Verdict::Hold;
        if now != said.verdict && is_first {
            stands.has_flipped = true;
            self.flip(&said);
        } else if is_first && is_over {
            self.out.same += 1;
        }
        if is_over {
            self.out.actions += 1;
            self.waiting.remove(&said.of);
        }
    }

    fn flip(&mut self, said: &Said) {
        let Some(stands) = self.waiting.get(&said.of) else { return };
        let (action, ruling) = (&stands.action, &stands.ruling);
        let now = ruling.verdict;
        let is_bounded = self.out.bounded_from.is_some();
        self.out.bounded_from.get_or_insert(said.of);
        // The stricter of both says why: that is the rule that stops it, or did.
        let recorded = said.reasons();
        let reasons: Vec<Why> = match now > said.verdict {
            true => ruling.reasons.iter().map(|r| why(r, STRIDE)).collect(),
            false => recorded.iter().map(|r| why(r, 1)).collect(),
        };
        let agent = if action.agent.is_empty() { self.out.agent.clone() } else { action.agent.to_string() };
        let flip = Flip {
            session: self.out.session.clone(),
            seq: said.of,
            verb: action.verb.to_string(),
            action: crate::refusal::say(action).trim_end().to_owned(),
            agent,
            was: said.verdict,
            now,
            is_bounded,
            reasons,
        };
        let passes_now = now == Verdict::Allow;
        self.out.sum(&flip);
        if self.out.flips.len() < FLIPS_MAX {
            self.out.flips.push(flip);
        }
        if passes_now && let Some(kernel) = &mut self.kernel {
            let (of, next) = (said.of.saturating_mul(STRIDE), said.seq.saturating_mul(STRIDE));
            let then = |n: u64, event: Event| Input { seq: next + n, at_ns: said.at_ns, event };
            kernel.step(&then(1, Event::Dispatch { of }));
            kernel.step(&then(2, Event::Outcome { of, ok: true, attrs: BTreeMap::new() }));
        }
    }
}

/// Whether the run asked for this of the register: it got it, or there was not enough left.
fn answers(found: &SharedFound, want: &SharedWant) -> bool {
    let is_short = found.used.checked_add(want.amount).is_none_or(|after| after > want.limit);
    found.budget == want.budget && (found.granted > 0 || is_short)
}

fn why(reason: &Reason, stride: u64) -> Why {
    Why {
        rule: reason.rule.to_string(),
        owner: reason.owner.to_string(),
        reason: reason.reason.to_string(),
        witnesses: reason.witnesses.iter().map(|w| w / stride).collect(),
        needs: reason.needs.clone(),
        source: reason.source.as_ref().map(ToString::to_string),
    }
}
