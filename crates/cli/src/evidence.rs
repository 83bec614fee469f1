//! `export`, and `verify` of what it made: evidence that needs no ledger.

use crate::args;
use crate::failure::{Failure, Kind};
use crate::output::{Output, Style, visible};
use crate::place::Place;
use crate::verify::{key_name, problems};
use flyball_ledger::bundle::{self, Limits};
use flyball_ledger::{LedgerError, NoteVerifier, Report};
use flyball_runtime::evidence::{self, Shown};
use serde::Serialize;
use serde_json::json;
use std::fs::File;
use std::io::Write as _;
use std::path::Path;

/// `flyball export S -o FILE`.
pub fn export(out: Output, place: &Place, wanted: &str, file: &Path, payloads: bool) -> Result<(), Failure> {
    let (ledger, session) = place.session(wanted)?;
    if file == Path::new("-") {
        evidence::export(&ledger, &session, payloads, std::io::stdout().lock())?;
        return Ok(());
    }
    let failed = |e: std::io::Error| {
        let hint = "choose another file with `-o FILE`";
        Failure::user("FB0512", format!("can't write `{}`: {e}", file.display())).hint(hint)
    };
    // Whole or not there: a cut-off bundle must not be taken for one.
    let folder = file.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut made = tempfile::NamedTempFile::new_in(folder).map_err(failed)?;
    let exported = evidence::export(&ledger, &session, payloads, made.as_file_mut())?;
    made.as_file_mut().flush().and_then(|()| made.as_file().sync_all()).map_err(failed)?;
    made.persist(file).map_err(|e| failed(e.error))?;
    if out.is_json {
        let (key, file) = (ledger.verifier().to_vkey(), file.display().to_string());
        out.json(&json!({
            "file": file, "session": session, "entries": exported.entries, "blobs": exported.blobs,
            "bytes": exported.bytes, "tree_size": exported.tree_size, "payloads": payloads, "key": key,
        }));
    } else {
        let what = if payloads { format!("{} blobs", exported.blobs) } else { "no contents".to_owned() };
        out.line(&format!(
            "{}: {} entries of session {session}, {what}, {} bytes",
            visible(&file.display().to_string()),
            exported.entries,
            exported.bytes
        ));
        out.note("who verifies it needs this ledger's key from you: `flyball key show`");
    }
    Ok(())
}

/// `flyball verify FILE`.
pub fn verify(out: Output, file: &Path, args: &args::Verify) -> Result<(), Failure> {
    let pinned = args.key.iter().map(|key| NoteVerifier::parse(key)).collect::<Result<Vec<_>, _>>()?;
    let opened = File::open(file).map_err(|e| {
        let hint = "`flyball ps` lists sessions; a file is one that `flyball export` made";
        Failure::user("FB0512", format!("can't read `{}`: {e}", file.display())).hint(hint)
    })?;
    let mut limits = Limits::default();
    limits.bytes = args.max_bytes.unwrap_or(limits.bytes);
    let mut opened = bundle::read(opened, file, limits).map_err(unverified)?;
    let shown = evidence::examine(&mut opened, &pinned)?;
    let report = &opened.report;
    if out.is_json {
        let (signed_answers, signed_acts) = (shown.signed.hold, shown.signed.acts);
        out.json(&Verified { report, signed_answers, signed_acts, bundle: &shown });
    } else {
        print(out, report, &shown);
    }
    if report.ok { Ok(()) } else { Err(Failure::said(Kind::Unverified)) }
}

/// A file that is damaged does not verify; one that is too large or too new was not looked at.
fn unverified(error: LedgerError) -> Failure {
    let is_damage = matches!(error, LedgerError::Bundle { .. } | LedgerError::Malformed { .. });
    let failure = Failure::from(error);
    if is_damage { failure.of(Kind::Unverified) } else { failure }
}

/// What `verify FILE --json` prints: as of a session, and more.
#[derive(Serialize)]
struct Verified<'r> {
    #[serde(flatten)]
    report: &'r Report,
    signed_answers: u64,
    signed_acts: u64,
    bundle: &'r Shown,
}

fn print(out: Output, report: &Report, shown: &Shown) {
    let counts = format!("{} entries of session {} in a bundle", report.entries, visible(&shown.session));
    if report.ok {
        out.line(&format!("{}: {counts}", out.paint(Style::Green, "verified")));
    } else {
        let n = report.problems.len();
        let s = if n == 1 { "" } else { "s" };
        out.line(&format!("{}: {n} problem{s} in {counts}", out.paint(Style::Red, "does not verify")));
    }
    problems(out, report);
    for key in &report.signed_by {
        let how =
            if shown.key == "pinned" { "the key that you named" } else { "a key that only this file vouches for" };
        out.line(&format!("  signed by     {}, {how}", visible(&key_name(key))));
    }
    match report.witnessed_by.as_slice() {
        [] => out.line("  witnessed by  nobody: others may have been shown another history"),
        some => out.line(&format!("  witnessed by  {}", visible(&some.join(", ")))),
    }
    for (label, lines) in [("shown", &shown.shown), ("not shown", &shown.not_shown)] {
        for line in lines {
            out.line(&format!("  {} {}", out.paint(Style::Dim, &format!("{label:<13}")), visible(line)));
        }
    }
}
