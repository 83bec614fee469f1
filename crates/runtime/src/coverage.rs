//! What a session of this kind, with what it lacks, has between its agent and the world: as its first entry says it.

use crate::supervisor::RunError;
use flyball_kernel::Charter;
use flyball_kernel::analysis::{Doors, SessionKind, lacking};
use serde_json::Value as Json;

/// The doors of a session, by the body of its first entry.
pub(crate) fn doors(open: &Json) -> Doors {
    let kind = match open.pointer("/door/surface").and_then(Json::as_str) {
        Some("hook") => SessionKind::Hooks,
        Some(_) => SessionKind::Gateway,
        None => SessionKind::Run,
    };
    let weaker = open.get("weaker").and_then(Json::as_array).into_iter().flatten();
    Doors {
        weaker: weaker.filter_map(Json::as_str).map(str::to_owned).collect(),
        is_learning: open.get("learning").and_then(Json::as_bool).unwrap_or_default(),
        has_hooks: kind == SessionKind::Hooks || open.get("hooks").is_some_and(Json::is_string),
        kind,
    }
}

/// Refuses a session that would mediate less than its charter requires.
pub(crate) fn require(charter: &Charter, doors: &Doors) -> Result<(), RunError> {
    match lacking(charter, doors) {
        none if none.is_empty() => Ok(()),
        lacking => Err(RunError::Coverage { kind: doors.kind, lacking }),
    }
}

/// Requirements that one message names.
const NAMED_MAX: usize = 8;

/// What is lacking, in one text.
pub(crate) fn told(lacking: &[flyball_kernel::analysis::Lacking]) -> String {
    let mut all: Vec<String> = lacking.iter().take(NAMED_MAX).map(ToString::to_string).collect();
    if lacking.len() > NAMED_MAX {
        all.push(format!("and {} more", lacking.len() - NAMED_MAX));
    }
    all.join("; ")
}
