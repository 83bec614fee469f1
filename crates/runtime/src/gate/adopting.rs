//! Another charter during the session: the record says what was, and the kernel makes of it what the new charter asks.

use super::{Gate, GateError};
use crate::read::History;
use crate::signed::Actor;
use crate::suggest::rejudge::event;
use flyball_kernel::{Charter, Event, Input, Kernel, Past, Ruling, Sources};
use flyball_ledger::{Entry, Kind, Ledger};
use serde_json::json;
use std::sync::Arc;

impl Gate {
    /// The kernel, to look at.
    pub(crate) fn kernel(&self) -> &Kernel {
        &self.kernel
    }

    /// A fact's truth as of now, the entries behind it, and what would turn it.
    pub(crate) fn fact(&self, name: &str) -> (bool, Vec<u64>, Option<String>) {
        self.kernel.fact_at(name, crate::clock::wall_ns())
    }

    /// Puts another charter in force: on record for good first, with its files. Nothing is decided in between.
    ///
    /// # Errors
    /// [`GateError`] when the history can't be read or the change not be recorded; the old charter stays in force then.
    pub(crate) fn adopt(
        &mut self,
        ledger: &Arc<Ledger>,
        charter: Charter,
        files: &Sources,
        widens: &[String],
        actor: &Actor,
        reason: &str,
    ) -> Result<u64, GateError> {
        let by = actor.contact.as_str();
        self.flush()?;
        let history = History::read(ledger, &self.session).map_err(|e| GateError::Refused(e.to_string()))?;
        let past = past(history.entries()).map_err(GateError::Refused)?;
        let told = past.iter().filter_map(|p| match &p.input.event {
            Event::Elsewhere(happened) => Some((happened.stream.clone(), happened.seq)),
            _ => None,
        });
        let told = told.collect();
        let at_ns = self.clock.now_ns();
        let body = actor.body(json!({
            "charter": charter.digest(), "name": charter.name(), "before": self.kernel.charter().digest(), "files": files,
            "by": by, "reason": reason, "widens": widens,
        }));
        let seq = self.append_at(at_ns, Kind::Charter, by, &[], body)?;
        self.last_act.is(seq);
        self.stream()?.durable(seq)?;
        let charter = Arc::new(charter);
        self.kernel = self.kernel.adopted(Arc::clone(&charter), past, seq, at_ns);
        self.follow_fleet(ledger, &charter, told);
        // Open questions stay; whom they ask is for the new charter to say.
        let tiers = self.kernel.charter().escalations();
        for question in self.questions.values_mut() {
            let tier = tiers.get(&question.tier);
            question.who = tier.map(|t| t.who.clone()).unwrap_or_default();
            question.owners = tier.map(|t| t.ask.clone()).unwrap_or_default();
            question.quorum = tier.map_or(question.quorum, |t| t.quorum);
            question.then = tier.and_then(|t| t.then.clone());
            for other in &mut question.also_asked {
                let tier = tiers.get(&other.tier);
                other.who = tier.map(|t| t.who.clone()).unwrap_or_default();
                other.quorum = tier.map_or(other.quorum, |t| t.quorum);
                other.then = tier.and_then(|t| t.then.clone());
            }
        }
        Ok(seq)
    }
}

/// What the kernel was told, and what it said, as the record has it.
pub(crate) fn past(entries: &[Entry]) -> Result<Vec<Past>, String> {
    let mut past: Vec<Past> = Vec::new();
    for entry in entries {
        if entry.kind == Kind::Ruling {
            let ruling: Ruling = serde_json::from_value(entry.body.clone())
                .map_err(|e| format!("entry {} is no ruling: {e}", entry.seq))?;
            if let Some(last) = past.last_mut() {
                last.rulings.push(ruling);
            }
        } else if let Some(event) = event(entry) {
            past.push(Past { input: Input { seq: entry.seq, at_ns: entry.at_ns, event }, rulings: Vec::new() });
        }
    }
    Ok(past)
}
