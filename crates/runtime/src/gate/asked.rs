//! How an attempt was put to the kernel, beside what it attempts: kept in its entry, so that a replay puts it in the same way.

use flyball_kernel::{Action, Event};
use serde_json::Value as Json;

/// The batch's first attempt; zero for that one, whose number is not known when its body is written.
const BATCH: &str = "batch";
/// The attempt that named this one beforehand.
const NAMED: &str = "named_by";

/// Writes it into an attempt's body.
pub(super) fn mark(body: &mut Json, batch: Option<Option<u64>>, named: Option<u64>) {
    let Some(body) = body.as_object_mut() else { return };
    if let Some(first) = batch {
        body.insert(BATCH.to_owned(), first.unwrap_or_default().into());
    }
    if let Some(of) = named {
        body.insert(NAMED.to_owned(), of.into());
    }
}

/// The input that the attempt of this entry was.
pub(crate) fn event(seq: u64, body: &Json, action: Action) -> Event {
    let number = |key: &str| body.get(key).and_then(Json::as_u64);
    let batch = number(BATCH).map(|first| if first == 0 { seq } else { first });
    match (batch, number(NAMED)) {
        (Some(batch), of) => Event::Together { batch, of, action },
        (None, Some(of)) => Event::Expected { of, action },
        (None, None) => Event::Attempt(action),
    }
}

/// Whether stored bytes of an attempt's body may say anything of this: in JSON text a quote is escaped, so a member's name with
/// its quotes stands in no text.
pub(crate) fn is_marked(body: &[u8]) -> bool {
    let tail = body.get(body.len().saturating_sub(TAIL_BYTES)..).unwrap_or_default();
    [BATCH, NAMED].iter().any(|name| {
        let member = format!(",\"{name}\":");
        tail.windows(member.len()).any(|w| w == member.as_bytes())
    })
}

/// Both members with the longest numbers.
const TAIL_BYTES: usize = 80;
