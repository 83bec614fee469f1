//! What becomes of content that people were asked about.

use super::super::{BarrierError, Core, Notice};
use super::{Judged, digest_of};
use crate::gate::Settled;
use crate::translate;
use flyball_kernel::{Action, Reason, Resource, Surface, Verdict};
use flyball_sandbox::workspace::Node;
use flyball_sandbox::{Decision, Ticket};
use std::collections::BTreeMap;

impl Core {
    /// A question about content has its answer. Says whether the content was refused, if this was one.
    pub(crate) fn settle_content(&mut self, settled: &Settled) -> Option<bool> {
        let path = self.contents.asked.remove(&settled.group)?;
        let is_allowed = settled.verdict == Verdict::Allow;
        let Some(entry) = self.contents.unaccepted.remove(&path) else { return Some(!is_allowed) };
        let rel = translate::path(&path);
        let is_link = matches!(entry.judged, Node::Symlink { .. });
        let through = is_link.then(|| self.behind_link(&rel).as_deref().map(digest_of));
        let judged = Judged { path, rel, accepted: entry.accepted, node: entry.judged, through, is_open: false };
        if is_allowed {
            self.record_outcomes(&settled.attempts, true, &BTreeMap::new());
            self.accept(&judged);
        } else if let Err(error) = self.put_back(&judged, settled.group, &settled.because) {
            self.outbox.push(Notice::Alert(error.to_string()));
        }
        Some(!is_allowed)
    }

    /// The calls that wait for answers about content: put to the mediator again, they are refused with the reason or go on.
    pub(crate) fn put_again(&self) -> Vec<(Ticket, Decision)> {
        self.contents.parked.iter().map(|ticket| (*ticket, Decision::Again)).collect()
    }

    /// The run is over and nobody will be heard any more: what is asked about and not answered is put back.
    pub(crate) fn give_up_content(&mut self) -> Result<(), BarrierError> {
        for (group, path) in std::mem::take(&mut self.contents.asked) {
            self.gate.abandon(group, "the session ended before an answer")?;
            let Some(entry) = self.contents.unaccepted.remove(&path) else { continue };
            let rel = translate::path(&path);
            let judged =
                Judged { path, rel, accepted: entry.accepted, node: entry.judged, through: None, is_open: false };
            let reason = Reason {
                rule: "question-expired".into(),
                owner: Default::default(),
                reason: "the session ended before anybody had answered".into(),
                witnesses: Vec::new(),
                needs: None,
                source: None,
            };
            let full = translate::text(&self.workspace.join(&judged.rel));
            let about = Action::new("fs.write", Resource::file(&full), Surface::Fs);
            let because: Vec<_> = about.ok().map(|a| (a, reason)).into_iter().collect();
            self.put_back(&judged, group, &because)?;
        }
        Ok(())
    }
}
