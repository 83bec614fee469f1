//! Entries as CloudEvents 1.0 (<https://cloudevents.io>), JSON format.

use crate::clock::rfc3339;
use crate::read::History;
use serde_json::{Value as Json, json};

pub(super) fn events<'h>(history: &'h History, ledger: &'h str) -> impl Iterator<Item = Json> + 'h {
    history.entries().iter().map(move |entry| {
        json!({
            "specversion": "1.0",
            // Source and id together are an event's own: the same entry is the same event, however often it is exported.
            "id": entry.seq.to_string(),
            "source": format!("//{ledger}/{}", history.session),
            "type": format!("local.flyball.entry.{}", entry.kind),
            "subject": entry.actor,
            "time": rfc3339(entry.at_ns),
            "datacontenttype": "application/json",
            // The extension `sequence`: texts that sort as the numbers do.
            "sequence": format!("{:020}", entry.seq),
            "data": entry.to_json(),
        })
    })
}
