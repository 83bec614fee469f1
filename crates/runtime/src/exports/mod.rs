//! Standard exports of a session: OpenTelemetry traces, OCSF events and CloudEvents, each made of its entries alone.

mod cloudevents;
pub mod live;
mod ocsf;
mod otlp;

use crate::read::{History, ReadError};
use flyball_ledger::Ledger;
use serde_json::Value as Json;
use std::io::{self, Write};

/// Which standard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// OpenTelemetry traces as OTLP/JSON: one object.
    Otlp,
    /// OCSF 1.8.0 events: one a line.
    Ocsf,
    /// CloudEvents 1.0 in their JSON format: one a line.
    CloudEvents,
}

/// An export was not made.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The record can't be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// It can't be written.
    #[error("can't write the export: {0}")]
    Write(#[from] io::Error),
}

/// Writes a session in that format; gives how many events or spans it has.
///
/// # Errors
/// [`ExportError`]; what was written is worth nothing then.
pub fn export(ledger: &Ledger, session: &str, format: Format, to: &mut dyn Write) -> Result<u64, ExportError> {
    let history = History::read(ledger, session)?;
    let name = ledger.verifier().name();
    match format {
        Format::Otlp => {
            let (object, spans) = otlp::traces(&history)?;
            line(to, &object)?;
            Ok(spans)
        }
        Format::Ocsf => lines(to, ocsf::events(&history, name)),
        Format::CloudEvents => lines(to, cloudevents::events(&history, name)),
    }
}

fn lines(to: &mut dyn Write, events: impl Iterator<Item = Json>) -> Result<u64, ExportError> {
    let mut count = 0;
    for event in events {
        line(to, &event)?;
        count += 1;
    }
    Ok(count)
}

fn line(to: &mut dyn Write, object: &Json) -> Result<(), ExportError> {
    serde_json::to_writer(&mut *to, object).map_err(io::Error::from)?;
    Ok(to.write_all(b"\n")?)
}

fn text<'j>(value: &'j Json, pointer: &str) -> &'j str {
    value.pointer(pointer).and_then(Json::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests;
