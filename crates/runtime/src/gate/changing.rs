//! Attempts that pass in another form than the one they were made in: `modify`, for whoever can give them that form.
//!
//! Most can't: a system call or a request is what it is. A hook can, where its harness takes a tool's input from it. Until the form is given
//! nothing is dispatched; what is given has to be what the kernel said, and what else differs is ruled on by itself.

use super::{Gate, GateError, Settled, approved_before};
use flyball_kernel::{Action, Reason, Ruling, Verdict};
use std::collections::BTreeMap;

/// Attempts whose other form nobody has given yet; of more, the oldest are refused.
const CHANGING_MAX: usize = 256;

/// Such attempts, by their names.
#[derive(Default)]
pub(super) struct Changing(BTreeMap<u64, Changed>);

struct Changed {
    parts: Vec<Part>,
    because: Vec<(Action, Reason)>,
    /// The implied actions that people allowed, as they pass.
    approved: Vec<(u64, Action)>,
}

/// One action of an attempt.
#[derive(Clone, Debug)]
pub(super) struct Part {
    pub of: u64,
    pub asked: Action,
    /// The form in which it passes, if that is another one.
    pub given: Option<Action>,
}

impl Part {
    pub fn all(rulings: &[(Action, Ruling)]) -> Vec<Self> {
        let of = |(asked, ruling): &(Action, Ruling)| Self {
            of: ruling.of,
            asked: asked.clone(),
            given: ruling.modified.as_deref().filter(|_| ruling.verdict == Verdict::Modify).cloned(),
        };
        rulings.iter().map(of).collect()
    }
}

impl Gate {
    pub(super) fn is_changed(
        &mut self,
        group: u64,
        parts: Vec<Part>,
        because: Vec<(Action, Reason)>,
        approved: Vec<(u64, Action)>,
    ) -> Result<(), GateError> {
        self.changing.0.insert(group, Changed { parts, because, approved });
        while self.changing.0.len() > CHANGING_MAX {
            let Some((_, oldest)) = self.changing.0.pop_first() else { break };
            self.withdraw_parts(&oldest.parts, "nobody gave it the form in which it passes")?;
        }
        Ok(())
    }

    pub(super) fn is_changed_at_once(
        &mut self,
        group: u64,
        rulings: &[(Action, Ruling)],
        because: &[(Action, Reason)],
    ) -> Result<(), GateError> {
        self.is_changed(group, Part::all(rulings), because.to_vec(), approved_before(rulings))
    }

    /// The forms in which an attempt passes, by the number of the action.
    pub(crate) fn forms(&self, group: u64) -> Vec<(usize, Action)> {
        let parts = self.changing.0.get(&group).into_iter().flat_map(|changed| changed.parts.iter().enumerate());
        parts.filter_map(|(n, part)| Some((n, part.given.clone()?))).collect()
    }

    /// Carries on with an attempt as `given`, which are all of its actions; `None`: nobody can give it the form in which it passes.
    ///
    /// INVARIANT: what is dispatched is what was ruled on. An action that is neither what it was nor what the kernel made of it is an attempt
    /// of its own, which has to pass as it is.
    ///
    /// # Errors
    /// [`GateError`] when it can't be recorded, which denies.
    pub(crate) fn give(&mut self, group: u64, given: Option<&[Action]>) -> Result<Settled, GateError> {
        let Some(changed) = self.changing.0.remove(&group) else {
            return Err(GateError::Refused("it waits for no other form".into()));
        };
        let is_open = self.kernel.registers().gate == "open";
        let fits = |given: &&[Action]| {
            given.len() == changed.parts.len()
                && changed
                    .parts
                    .iter()
                    .zip(*given)
                    .all(|(part, given)| part.given.as_ref().is_none_or(|g| is_same(g, given)))
        };
        let Some(given) = given.filter(fits).filter(|_| is_open) else {
            self.counts.denied += 1;
            self.withdraw_parts(&changed.parts, "it would have to be changed, which could not be done here")?;
            return Ok(refused(group, changed.because));
        };
        let turn = self.turn(given)?;
        let settled = self.give_parts(group, changed, given);
        self.stream()?.queue_staged()?;
        if turn.is_some() {
            self.flush()?;
        }
        settled
    }

    fn give_parts(&mut self, group: u64, changed: Changed, given: &[Action]) -> Result<Settled, GateError> {
        let (mut attempts, mut replaced) = (Vec::new(), Vec::new());
        for (n, (part, action)) in changed.parts.iter().zip(given).enumerate() {
            if is_same(part.given.as_ref().unwrap_or(&part.asked), action) {
                attempts.push(part.of);
                continue;
            }
            let (of, ruling) = self.rule_on(action, &[group], None)?;
            if n == 0 && action.verb.name() == "process.exec" {
                self.foreseen.began(of, group);
            }
            if ruling.verdict != Verdict::Allow {
                self.stream()?.queue_staged()?;
                if ruling.verdict != Verdict::Deny {
                    self.withdraw(of, "what it is a part of has to pass at once")?;
                }
                self.counts.denied += 1;
                self.withdraw_parts(&changed.parts, "the form in which it would pass was refused")?;
                let because = ruling.reasons.into_iter().map(|reason| (action.clone(), reason)).collect();
                return Ok(refused(group, because));
            }
            attempts.push(of);
            replaced.push((part.of, of));
        }
        self.stream()?.queue_staged()?;
        for (was, is) in replaced {
            self.withdraw(was, &format!("done in another form, as entry {is}"))?;
        }
        self.counts.modified += 1;
        self.foreseen.allow(group, changed.approved);
        self.dispatch(&attempts, true)?;
        Ok(Settled { group, attempts, verdict: Verdict::Allow, because: changed.because })
    }

    /// Nobody will give it: the session was stopped, or whoever asked has gone.
    pub(crate) fn forget_forms(&mut self, group: u64) {
        self.changing.0.remove(&group);
    }

    fn withdraw_parts(&mut self, parts: &[Part], why: &str) -> Result<(), GateError> {
        parts.iter().try_for_each(|part| self.withdraw(part.of, why))
    }
}

fn refused(group: u64, because: Vec<(Action, Reason)>) -> Settled {
    Settled { group, attempts: Vec::new(), verdict: Verdict::Deny, because }
}

/// Whether two are the same but for who does it, what the kernel says of it, and how the command is shown that it was read from.
fn is_same(one: &Action, other: &Action) -> bool {
    let attrs = |action: &Action| -> Vec<_> {
        let own = action.attrs().filter(|(name, _)| !["labels", "implied_by"].contains(name));
        own.map(|(name, value)| (name, value.clone())).collect()
    };
    one.verb == other.verb && one.resource == other.resource && attrs(one) == attrs(other)
}
