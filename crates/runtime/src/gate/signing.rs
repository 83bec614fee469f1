//! Whose act a signed one is: checked against the session as it stands, and good for once.

use super::Gate;
use crate::control::Request;
use crate::signed::{Actor, Signed, check_act};
use flyball_ledger::Kind;
use serde_json::json;
use std::collections::BTreeSet;

/// Most signed acts that are brought between two acts: more are no person's.
const BROUGHT_MAX: usize = 64;

/// What was done to the session last.
#[derive(Debug, Default)]
pub(super) struct LastAct {
    seq: u64,
    /// Statements that were brought since: the same one is not taken twice, whatever became of it.
    brought: BTreeSet<String>,
}

impl LastAct {
    pub fn is(&mut self, seq: u64) {
        *self = Self { seq, brought: BTreeSet::new() };
    }
}

impl Gate {
    /// Who signed that act, brought by whoever `by` is. What does not hold is told of in the record.
    ///
    /// # Errors
    /// Why it is nobody's act.
    pub(crate) fn actor(&mut self, signed: &Signed, act: &Request, by: &str) -> Result<Actor, String> {
        let found = check_act(signed, act, &self.session, self.last_act.seq, by, self.clock.now_ns());
        let found = found.and_then(|actor| {
            if !self.knows(&actor.contact) {
                return Err(format!("`{}` signed it, and is no contact of the charter in force", actor.contact));
            }
            if self.last_act.brought.len() >= BROUGHT_MAX || !self.last_act.brought.insert(signed.statement.clone()) {
                return Err("this signed act was brought already: sign it anew".to_owned());
            }
            Ok(actor)
        });
        if let Err(why) = &found {
            let detail = json!({ "alert": "signature", "detail": format!("an act, brought by {by}: {why}") });
            self.note(Kind::Alert, "supervisor", &[], detail).map_err(|e| e.to_string())?;
        }
        found
    }

    /// Whether what the actor signed is for the session as it stands now, with nothing done to it since they were asked about.
    ///
    /// # Errors
    /// Why it is not any more.
    pub(crate) fn still(&mut self, actor: &Actor) -> Result<(), String> {
        actor.still(self.last_act.seq, self.clock.now_ns()).map_err(|e| e.to_string())
    }

    /// Whether the charter in force names that contact.
    fn knows(&self, contact: &str) -> bool {
        let charter = self.kernel.charter();
        charter.owners().values().any(|owner| owner.contacts.iter().any(|c| c == contact))
            || charter.escalations().values().any(|tier| tier.who.iter().any(|c| c == contact))
    }
}
