//! How an attempt was put to the kernel, beside what it attempts: kept in its entry, so that a replay puts it in the same way.

use flyball_kernel::{Action, Event};
use serde::Serialize;
use serde_json::Value as Json;

/// The batch's first attempt; zero for that one, whose number is not known when its body is written.
const BATCH: &str = "batch";
/// The attempt that named this one beforehand.
const NAMED: &str = "named_by";

/// An attempt's body: the action, and this behind it.
#[derive(Serialize)]
pub(super) struct Put<'a> {
    #[serde(flatten)]
    action: &'a Action,
    #[serde(skip_serializing_if = "Option::is_none")]
    batch: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    named_by: Option<u64>,
}

impl<'a> Put<'a> {
    pub(super) fn new(action: &'a Action, batch: Option<Option<u64>>, named_by: Option<u64>) -> Self {
        Self { action, batch: batch.map(Option::unwrap_or_default), named_by }
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
