//! Another charter during a session: what it asks of the past is rebuilt from the session's history, never from empty, and
//! what the session stands at goes on.

use super::{Kernel, Open, OpenState};
use crate::action::Action;
use crate::charter::{Charter, Level};
use crate::facts::Phase;
use crate::input::{Event, Input};
use crate::ruling::{Ruling, Verdict};
use crate::session::Session;
use cedar_policy::PolicyId;
use std::collections::BTreeMap;
use std::sync::Arc;

/// An input with the rulings that it was given: what the record holds of it.
#[derive(Clone, Debug)]
pub struct Past {
    /// What the kernel was told.
    pub input: Input,
    /// What it said then, under the charter of that time.
    pub rulings: Vec<Ruling>,
}

impl Kernel {
    /// This session under another charter, from the entry `seq` on, which records the change. `history` is all that the
    /// session's kernel was told before it, in order.
    ///
    /// Facts are those that the new charter's monitors make of the history. Budgets and envelopes that count the same under
    /// the same name go on as they stand, others are counted from the history; what is owed stays owed, by the earlier deadline, and
    /// what was owed under no name of before begins with the next event. The session's gate, open attempts and questions stay. The autonomy level is at
    /// most the one at which sessions of the new charter start.
    ///
    /// Pure: the same kernel and history give the same state.
    #[must_use]
    pub fn adopted(
        &self,
        charter: Arc<Charter>,
        history: impl IntoIterator<Item = Past>,
        seq: u64,
        at_ns: u64,
    ) -> Self {
        let mut past = Self::new(Arc::clone(&charter), (*self.session).clone());
        past.relive(history);
        let Self {
            charter: was,
            session,
            gate,
            autonomy,
            autonomy_known,
            facts: _,
            budgets,
            positions,
            obligations,
            labels,
            effects: _,
            missed: _,
            last_seq,
            last_at_ns,
            open,
            undue_until_ns,
            overloaded,
        } = self;
        let mut next = Self {
            session: Arc::clone(session),
            gate: *gate,
            autonomy: level(&charter, *autonomy),
            autonomy_known: autonomy_known.iter().filter(|fact| is_same_fact(was, &charter, fact)).cloned().collect(),
            facts: past.facts,
            budgets: budgets.adopted(&was.budgets, &charter.budgets, past.budgets),
            positions: positions.adopted(&was.envelopes, &charter.envelopes, past.positions),
            obligations: obligations.adopted(
                &was.obligations,
                &charter.obligations,
                &past.obligations,
                (*last_at_ns).max(at_ns),
            ),
            labels: labels.clone(),
            effects: Vec::new(),
            missed: Vec::new(),
            last_seq: (*last_seq).max(Some(seq)),
            last_at_ns: (*last_at_ns).max(at_ns),
            open: open.clone(),
            undue_until_ns: *undue_until_ns,
            overloaded: overloaded.clone(),
            charter,
        };
        let charter = Arc::clone(&next.charter);
        for open in next.open.values_mut() {
            // An answer stands for the rules that its person read, and for no others of the same name.
            if let OpenState::Held(question) = &mut open.state {
                question.keep_rules(|name| is_same(was, &charter, name));
            }
            if let Some(approval) = &mut open.approval {
                approval.rules.retain(|name| is_same(was, &charter, name));
            }
        }
        next
    }

    /// Takes in what happened, whatever this charter would have said to it.
    fn relive(&mut self, history: impl IntoIterator<Item = Past>) {
        // Attempts that no ruling has let through yet.
        let mut waiting: BTreeMap<u64, Action> = BTreeMap::new();
        for Past { input, rulings } in history {
            self.last_seq = Some(input.seq);
            self.last_at_ns = self.last_at_ns.max(input.at_ns);
            match input.event {
                Event::Attempt(action) | Event::Expected { action, .. } | Event::Together { action, .. } => {
                    self.note(Phase::Attempt, &action, None, input.seq);
                    waiting.insert(input.seq, action);
                }
                Event::Dispatch { of } => self.dispatch(of, input.seq),
                Event::Outcome { of, ok, attrs } => self.outcome(of, input.seq, ok, &attrs),
                Event::Withdraw { of } => {
                    waiting.remove(&of);
                    self.withdraw(of);
                }
                Event::Elsewhere(happened) => self.facts.elsewhere(&happened, input.seq, self.last_at_ns),
                Event::Answer { .. }
                | Event::Control { .. }
                | Event::Observe { .. }
                | Event::Shared { .. }
                | Event::Labelled { .. }
                | Event::Tick => {}
            }
            for ruling in rulings.into_iter().filter(|r| r.verdict != Verdict::Hold) {
                let Some(action) = waiting.remove(&ruling.of) else { continue };
                if matches!(ruling.verdict, Verdict::Allow | Verdict::Modify) {
                    self.let_through(ruling.of, ruling.modified.map_or(action, |changed| *changed));
                }
            }
        }
    }

    fn let_through(&mut self, of: u64, action: Action) {
        let (charter, session) = (Arc::clone(&self.charter), Arc::clone(&self.session));
        self.budgets.reserve(&charter.budgets, of, &action, &session.values(&action));
        self.positions.reserve(&charter.envelopes, of, &action, self.last_at_ns);
        self.open.insert(of, Box::new(Open { action, state: OpenState::Allowed, approval: None }));
    }

    /// Whether the session's labels mean the same under another charter. Where they don't, it can't be adopted: which files
    /// hold what is not told by the history alone.
    #[must_use]
    pub fn keeps_labels(&self, charter: &Charter) -> bool {
        format!("{:?}", self.charter.labels) == format!("{:?}", charter.labels)
    }

    /// The charter in force, to hold on to.
    #[must_use]
    pub fn charter_in_force(&self) -> &Arc<Charter> {
        &self.charter
    }

    /// Where the session runs.
    #[must_use]
    pub fn session(&self) -> &Session {
        &self.session
    }
}

fn is_same_fact(was: &Charter, is: &Charter, name: &str) -> bool {
    let said = |charter: &Charter| {
        charter.facts.places().find(|(fact, _)| *fact == name).map(|(_, place)| charter.facts.identity(place))
    };
    said(was) == said(is)
}

/// Whether what goes by this name says the same in both: a person's answer is for the rule that they read.
fn is_same(was: &Charter, is: &Charter, name: &str) -> bool {
    let rule = |charter: &Charter| charter.policy_set().policy(&PolicyId::new(name)).map(ToString::to_string);
    rule(was) == rule(is)
        && was.rule(name).map(|r| &r.escalate) == is.rule(name).map(|r| &r.escalate)
        && was.envelopes.get(name) == is.envelopes.get(name)
        && match (was.obligations.get(name), is.obligations.get(name)) {
            (None, None) => true,
            (Some(a), Some(b)) => a.is_of_the_same(b) && a.otherwise == b.otherwise,
            _ => false,
        }
}

/// The level that the session is at, as far as the new charter goes along with it.
fn level(charter: &Charter, was: Level) -> Level {
    let most = was.min(charter.autonomy.start);
    let levels = &charter.autonomy.levels;
    levels.iter().copied().filter(|l| *l <= most).max().or_else(|| levels.first().copied()).unwrap_or(Level::Observe)
}
