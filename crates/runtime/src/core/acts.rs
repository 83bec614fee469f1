//! Acts of people on what the kernel keeps of a session: its autonomy level, and what taints it.

use super::Core;
use crate::control::Reply;
use crate::signed::Actor;
use serde_json::json;

impl Core {
    /// Sets the autonomy level.
    pub(crate) fn set_autonomy(&mut self, level: &str, actor: &Actor, reason: &str) -> Result<Reply, String> {
        let by = actor.contact.as_str();
        self.gate.still(actor)?;
        let levels = self.gate.autonomy_levels();
        if !levels.contains(&level) {
            return Err(format!("the charter has no level `{level}`: it has {}", levels.join(", ")));
        }
        let was = self.gate.status().registers.autonomy;
        let body = actor.body(json!({ "level": level, "was": was }));
        let seq = self.gate.control("autonomy", by, reason, body).map_err(|e| e.to_string())?;
        self.tell_act(seq, &format!("autonomy {level}"), by, reason);
        self.gate.flush().map_err(|e| e.to_string())?;
        let now = self.gate.status().registers.autonomy;
        if now != level {
            return Err(format!("`{by}` may not raise the level: it is `{now}`"));
        }
        Ok(Reply { ok: true, seq: Some(seq), message: format!("from `{was}`"), ..Reply::default() })
    }

    /// Ends the taint of a label.
    pub(crate) fn declassify(&mut self, label: &str, actor: &Actor, reason: &str) -> Result<Reply, String> {
        let by = actor.contact.as_str();
        self.gate.still(actor)?;
        let who = self.gate.declassifiers(label)?;
        if !who.iter().any(|contact| contact == by) {
            return Err(format!("`{by}` may not declassify `{label}`: its owner is {}", who.join(", ")));
        }
        let body = actor.body(json!({ "label": label }));
        let seq = self.gate.control("declassify", by, reason, body).map_err(|e| e.to_string())?;
        self.tell_act(seq, &format!("declassify {label}"), by, reason);
        self.gate.flush().map_err(|e| e.to_string())?;
        Ok(Reply { ok: true, seq: Some(seq), ..Reply::default() })
    }
}
