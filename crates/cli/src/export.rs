//! `export --format`: a session as others' tools read it.

use crate::failure::Failure;
use crate::output::{Output, Style, visible};
use crate::place::Place;
use flyball_runtime::exports::{self, ExportError, Format};
use serde_json::json;
use std::io::{BufWriter, Write};
use std::path::Path;

/// `flyball export S --format otlp -o FILE` and the other formats.
pub fn export(out: Output, place: &Place, wanted: &str, path: &Path, format: Format) -> Result<(), Failure> {
    let (ledger, id) = place.session(wanted)?;
    if path == Path::new("-") {
        let mut bytes = Vec::new();
        exports::export(&ledger, &id, format, &mut bytes).map_err(|error| failed("standard output", error))?;
        out.raw(&bytes);
        return Ok(());
    }
    let shown = visible(&path.to_string_lossy());
    let file = std::fs::File::create(path).map_err(|error| failed(&shown, error.into()))?;
    let mut file = BufWriter::new(file);
    let count = exports::export(&ledger, &id, format, &mut file).map_err(|error| failed(&shown, error))?;
    file.flush().map_err(|error| failed(&shown, error.into()))?;
    let what = if format == Format::Otlp { "spans" } else { "events" };
    if out.is_json {
        out.json(&json!({ "session": id, "file": path, what: count }));
    } else {
        out.line(&format!("{id} {}: {count} {what} in {shown}", out.paint(Style::Green, "exported")));
    }
    Ok(())
}

fn failed(to: &str, error: ExportError) -> Failure {
    match error {
        ExportError::Read(error) => error.into(),
        ExportError::Write(error) => Failure::user("FB0575", format!("can't write the export to `{to}`: {error}"))
            .hint("name another file with `-o`; what was written is not whole"),
    }
}
