//! `export`, and `verify` of what it made: evidence that needs no ledger.

use crate::args;
use crate::failure::{Failure, Kind};
use crate::output::{Output, Style, visible};
use crate::place::Place;
use crate::verify::{key_name, problems};
use flyball_ledger::bundle::{self, Limits};
use flyball_ledger::{Cosigner, Entry, Keychain, LedgerError, NoteVerifier, Proof, Report, merkle};
use flyball_runtime::evidence::{self, Shown};
use serde::Serialize;
use serde_json::json;
use std::fs::File;
use std::io::{Read as _, Write as _};
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
    let pinned = args.key.iter().map(|key| NoteVerifier::parse(&key_text(key))).collect::<Result<Vec<_>, _>>()?;
    let witnesses = args.witness.iter().map(|key| Cosigner::parse(&key_text(key))).collect::<Result<Vec<_>, _>>()?;
    let unreadable = |e: std::io::Error| {
        let hint = "`flyball ps` lists sessions; a file is one that `flyball export` or `flyball prove` made";
        Failure::user("FB0512", format!("can't read `{}`: {e}", file.display())).hint(hint)
    };
    let mut opened = File::open(file).map_err(unreadable)?;
    let mut begins = Vec::new();
    (&mut opened).take(PROOF.len() as u64).read_to_end(&mut begins).map_err(unreadable)?;
    if begins == PROOF.as_bytes() {
        return proof(out, file, &pinned, &witnesses);
    }
    let opened = begins.as_slice().chain(opened);
    let mut limits = Limits::default();
    limits.bytes = args.max_bytes.unwrap_or(limits.bytes);
    let mut opened = bundle::read(opened, file, limits).map_err(unverified)?;
    let wanted = evidence::wanted(&opened);
    // What came through a pipe is gone.
    if !wanted.is_empty() && file.is_file() {
        opened.bring(File::open(file).map_err(unreadable)?, &wanted).map_err(unverified)?;
    }
    let shown = evidence::examine(&mut opened, &pinned, &witnesses)?;
    let report = &opened.report;
    if out.is_json {
        let (signed_answers, signed_acts) = (shown.signed.hold, shown.signed.acts);
        out.json(&Verified { report, signed_answers, signed_acts, bundle: &shown });
    } else {
        print(out, report, &shown);
    }
    if report.ok { Ok(()) } else { Err(Failure::said(Kind::Unverified)) }
}

/// How the proof of one entry begins.
const PROOF: &str = "c2sp.org/tlog-proof@";
const PROOF_BYTES_MAX: u64 = 8 << 20;

/// `flyball prove S SEQ`.
pub fn prove(out: Output, place: &Place, wanted: &str, seq: u64, file: Option<&Path>) -> Result<(), Failure> {
    let (ledger, session) = place.session(wanted)?;
    let (entry, proof) = ledger.prove_entry(&session, seq)?;
    let Some(file) = file else {
        out.raw(proof.to_text().as_bytes());
        return Ok(());
    };
    let beside = beside(file);
    for (path, bytes) in [(file, proof.to_text().as_bytes()), (&beside, &entry.raw)] {
        std::fs::write(path, bytes).map_err(|e| {
            let hint = "choose another file with `-o FILE`";
            Failure::user("FB0512", format!("can't write `{}`: {e}", path.display())).hint(hint)
        })?;
    }
    let (file, beside) = (file.display().to_string(), beside.display().to_string());
    if out.is_json {
        let key = ledger.verifier().to_vkey();
        out.json(
            &json!({"file": file, "entry": beside, "session": session, "seq": seq, "index": proof.index, "key": key}),
        );
    } else {
        out.line(&format!("{}: entry {seq} of {session}, whose bytes are in {}", visible(&file), visible(&beside)));
    }
    Ok(())
}

/// Where the entry's bytes are that a proof is about.
fn beside(file: &Path) -> std::path::PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".entry");
    name.into()
}

/// `flyball verify FILE` of a proof.
fn proof(out: Output, file: &Path, pinned: &[NoteVerifier], witnesses: &[Cosigner]) -> Result<(), Failure> {
    let read = |path: &Path| -> Result<Vec<u8>, Failure> {
        let mut bytes = Vec::new();
        let read = File::open(path).and_then(|file| file.take(PROOF_BYTES_MAX).read_to_end(&mut bytes));
        read.map_err(|e| {
            let hint = "`flyball prove S SEQ -o FILE` makes FILE and, beside it, FILE.entry with the entry's bytes";
            Failure::user("FB0512", format!("can't read `{}`: {e}", path.display())).hint(hint)
        })?;
        Ok(bytes)
    };
    let proof = Proof::parse(&read(file)?).map_err(unverified)?;
    let entry = read(&beside(file))?;
    // Without a key in it, the one that was named is all there is.
    let keys = proof.keys.clone().or_else(|| pinned.first().cloned().map(Keychain::new));
    let keys = keys.ok_or_else(|| {
        Failure::user("FB0348", "the proof brings no key")
            .hint("give the ledger's with `--key VKEY`")
            .of(Kind::Unverified)
    })?;
    let is_pinned = pinned.iter().any(|key| keys.has(key));
    let mut problems: Vec<(&str, String)> = Vec::new();
    if !is_pinned && let Some(key) = pinned.first() {
        let other = keys.current().to_vkey();
        problems.push(("FB0348", format!("it is signed by `{other}`, and not by `{}`", key.to_vkey())));
    }
    let (mut size, mut signed_by, mut witnessed_by) = (0, Vec::new(), Vec::new());
    match keys.open(&proof.note) {
        Err(error) => problems.push(("FB0338", error.to_string())),
        Ok((checkpoint, key)) => {
            size = checkpoint.size;
            signed_by.push(key.to_vkey());
            if !proof.holds(&entry, &checkpoint) {
                let message = format!("the entry's bytes are not leaf {} of the tree that was signed", proof.index);
                problems.push(("FB0346", message));
            } else if let Ok(note) = flyball_ledger::Note::parse(proof.note.as_bytes()) {
                witnessed_by.extend(witnesses.iter().filter(|w| w.cosigned_at(&note).is_some()).map(Cosigner::to_vkey));
            }
        }
    }
    let is_ok = problems.is_empty();
    let leaf = merkle::leaf_digest(&entry);
    let parsed = Entry::decode(entry.clone(), proof.index, leaf).ok();
    let (stream, seq) = parsed.map(|e| (e.stream, e.seq)).unzip();
    let key = if is_pinned { "pinned" } else { "self-consistent" };
    if out.is_json {
        let problems: Vec<_> =
            problems.iter().map(|(code, message)| json!({"code": code, "stream": stream, "seq": seq, "leaf": proof.index, "message": message})).collect();
        out.json(&json!({
            "ok": is_ok, "entries": 1, "checkpoints": u64::from(is_ok), "signed_by": signed_by, "witnessed_by": witnessed_by,
            "problems": problems,
            "proof": {"session": stream, "seq": seq, "index": proof.index, "tree_size": size, "key": key},
        }));
    } else {
        let what = match (&stream, seq) {
            (Some(stream), Some(seq)) => format!("entry {seq} of session {}", visible(stream)),
            _ => "bytes that are no entry".to_owned(),
        };
        let at = format!("{what}, leaf {} of a tree of {size}", proof.index);
        if is_ok {
            out.line(&format!("{}: {at}", out.paint(Style::Green, "verified")));
        } else {
            out.line(&format!("{}: {at}", out.paint(Style::Red, "does not verify")));
        }
        for (code, message) in &problems {
            out.line(&format!("  {} {}", out.paint(Style::Red, code), visible(message)));
        }
        for by in &signed_by {
            let how = if is_pinned { "the key that you named" } else { "a key that only this file vouches for" };
            out.line(&format!("  signed by     {}, {how}", visible(&key_name(by))));
        }
        match witnessed_by.as_slice() {
            [] => out.line("  witnessed by  nobody: others may have been shown another history"),
            some => some.iter().for_each(|by| out.line(&format!("  witnessed by  {}", visible(&key_name(by))))),
        }
    }
    if is_ok { Ok(()) } else { Err(Failure::said(Kind::Unverified)) }
}

/// `flyball forget S --payload SEQ`.
pub fn forget(out: Output, place: &Place, wanted: &str, seqs: &[u64], reason: &str) -> Result<(), Failure> {
    let (_, session) = place.session(wanted)?;
    let home = place.home()?;
    for seq in seqs {
        let done = evidence::forget(&home, &session, *seq, reason)?;
        if out.is_json {
            let kept: Vec<_> =
                done.kept_for.iter().map(|(stream, seq)| json!({"stream": stream, "seq": seq})).collect();
            out.json(&json!({
                "session": session, "of": seq, "entry": done.entry, "payloads": done.payloads, "blobs": done.blobs,
                "kept_for": kept, "log_is_empty": done.is_out_of_log,
            }));
            continue;
        }
        out.line(&format!(
            "entry {seq} of {session}: {} salts and {} contents erased (entry {} records it)",
            done.payloads, done.blobs, done.entry
        ));
        if !done.kept_for.is_empty() {
            let who: Vec<String> = done.kept_for.iter().take(5).map(|(s, n)| format!("entry {n} of {s}")).collect();
            let more = if done.kept_for.len() > who.len() { ", and more" } else { "" };
            out.line(&format!("  the same bytes stay, as they are relied on by {}{more}", visible(&who.join(", "))));
        }
        if !done.is_out_of_log {
            out.warn("another process has the ledger open: what was erased may stay in `ledger.db-wal`, `inflight` or `blobs/coming` until it ends");
        }
    }
    out.note("the session's own folder, its workspace and bundles that were exported before are not touched");
    Ok(())
}

/// A key as it was given, or the first line of the file of that name.
fn key_text(key: &str) -> String {
    let read = || {
        let mut text = String::new();
        File::open(key).ok()?.take(4096).read_to_string(&mut text).ok()?;
        text.lines().next().map(str::to_owned)
    };
    read().unwrap_or_else(|| key.to_owned())
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
        _ => crate::verify::witnessed(out, report),
    }
    for (label, lines) in [("shown", &shown.shown), ("not shown", &shown.not_shown)] {
        for line in lines {
            out.line(&format!("  {} {}", out.paint(Style::Dim, &format!("{label:<13}")), visible(line)));
        }
    }
}
