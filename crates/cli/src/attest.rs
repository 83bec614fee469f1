//! `attest`, and `verify` on an attestation's file.

use crate::args::Attest;
use crate::failure::{Failure, Kind, chain};
use crate::output::{Output, Style, visible};
use crate::place::Place;
use flyball_ledger::NoteVerifier;
use flyball_runtime::attest::{self as evidence, AttestError, Checked, Keys, Record, Wanted};
use serde_json::{Value as Json, json};
use std::io::Read;
use std::path::Path;

/// `flyball attest S`.
pub fn attest(out: Output, place: &Place, args: &Attest) -> Result<(), Failure> {
    let (ledger, id) = place.session(&args.session.session)?;
    drop(ledger);
    let wanted = Wanted { artifacts: args.artifact.clone(), again: args.again };
    let tell = |contract: &str, command: &[String]| {
        let command = visible(&command.join(" "));
        out.note(&format!("flyball: contract {}: `{command}` runs on what the session left", visible(contract)));
    };
    let made = evidence::attest(&place.home()?, &id, &wanted, &tell).map_err(failed)?;
    if let Some(file) = &args.output {
        let written = std::fs::write(file, &made.envelope);
        written.map_err(|e| {
            Failure::user("FB0512", format!("can't write `{}`: {e}", file.display()))
                .hint(format!("the attestation is on record all the same, with entry {} of session {id}", made.seq))
        })?;
    }
    let hold = contracts_hold(&made.statement);
    match (&args.output, out.is_json) {
        (_, true) => {
            out.json(&json!({
                "session": id, "seq": made.seq, "blob": made.blob.to_string(), "file": args.output,
                "contracts_hold": hold,
            }));
        }
        (Some(file), false) => {
            out.line(&format!("{id} {}: {}", out.paint(Style::Green, "attested"), visible(&file.to_string_lossy())));
        }
        (None, false) => out.raw(&made.envelope),
    }
    if hold == Some(false) {
        out.warn("flyball: not every contract held: the attestation says so");
    }
    Ok(())
}

/// Whether all contracts held; nothing where there are none.
fn contracts_hold(statement: &Json) -> Option<bool> {
    let contracts = statement.pointer("/predicate/contracts")?;
    contracts.get("results")?.as_array().filter(|results| !results.is_empty())?;
    contracts.get("hold")?.as_bool()
}

/// The bytes of that file, if it is an attestation's.
pub fn read(path: &str) -> Option<Vec<u8>> {
    let path = Path::new(path);
    let mut bytes = Vec::new();
    let file = path.is_file().then(|| std::fs::File::open(path).ok()).flatten()?;
    file.take(evidence::FILE_BYTES_MAX as u64 + 1).read_to_end(&mut bytes).ok()?;
    let is_one = evidence::is_envelope(&bytes);
    is_one.then_some(bytes)
}

/// `flyball verify FILE`.
pub fn verify(out: Output, place: &Place, bytes: &[u8], named: &[String]) -> Result<(), Failure> {
    let about = evidence::about(bytes).map_err(failed)?;
    // A ledger that is at hand is held against it if it is the one that is meant.
    let ledger = place.ledger().ok().filter(|ledger| ledger.verifier().name() == about.ledger);
    let named = named.iter().map(|key| verifier(key)).collect::<Result<Vec<_>, _>>()?;
    let keys = match (&ledger, NoteVerifier::parse(&about.key)) {
        _ if !named.is_empty() => Keys { keys: named, from: "`--key`" },
        (Some(ledger), _) => {
            let later = ledger.keys().rotations().iter().map(|rotation| rotation.to.clone());
            let keys = std::iter::once(ledger.keys().first().clone()).chain(later).collect();
            Keys { keys, from: "this ledger" }
        }
        (None, Ok(own)) => Keys { keys: vec![own], from: evidence::ITSELF },
        (None, Err(error)) => return Err(failed(AttestError::Foreign(error.to_string()))),
    };
    let checked = evidence::check(bytes, &keys, ledger.as_ref().map(Record::Ledger)).map_err(failed)?;
    let is_ok = checked.problems.is_empty();
    if out.is_json {
        out.json(&json!({
            "ok": is_ok, "attestation_of": checked.session, "signed_by": checked.signed_by, "key_from": keys.from,
            "recomputed_entries": checked.recomputed, "contracts_hold": checked.contracts_hold,
            "problems": checked.problems, "not_checked": checked.unseen,
        }));
    } else {
        print(out, &checked, &keys);
    }
    if is_ok { Ok(()) } else { Err(Failure::said(Kind::Unverified)) }
}

fn print(out: Output, checked: &Checked, keys: &Keys) {
    let session = visible(&checked.session);
    match checked.problems.len() {
        0 => out.line(&format!("{}: attestation of session {session}", out.paint(Style::Green, "verified"))),
        n => {
            let s = if n == 1 { "" } else { "s" };
            let said = out.paint(Style::Red, "does not verify");
            out.line(&format!("{said}: {n} problem{s} in an attestation of session {session}"));
        }
    }
    for problem in &checked.problems {
        out.line(&format!("  {} {}", out.paint(Style::Red, "FB0574"), visible(problem)));
    }
    if let Some(key) = &checked.signed_by {
        let name = key.split('+').take(2).collect::<Vec<_>>().join("+");
        out.line(&format!("  signed by     {}, a key of {}", visible(&name), keys.from));
    }
    if let Some(entries) = checked.recomputed {
        out.line(&format!("  recomputed    from {entries} entries of this ledger"));
    }
    match checked.contracts_hold {
        Some(true) => out.line("  contracts     all held, it says"),
        Some(false) => out.line(&format!("  contracts     {}, it says", out.paint(Style::Red, "not all held"))),
        None => out.line("  contracts     none"),
    }
    checked.unseen.iter().for_each(|unseen| out.line(&format!("  not checked   {}", visible(unseen))));
}

/// A public key, or the file that holds one.
fn verifier(text: &str) -> Result<NoteVerifier, Failure> {
    let read = std::fs::read_to_string(text).unwrap_or_else(|_| text.to_owned());
    NoteVerifier::parse(&read).map_err(|error| {
        Failure::user("FB0573", chain(&error))
            .hint("give `NAME+ID+KEY`, or a file that holds it: `keys/ledger.pub` in the ledger's folder")
    })
}

fn failed(error: AttestError) -> Failure {
    match error {
        AttestError::Read(error) => error.into(),
        AttestError::Open(_) => {
            Failure::user("FB0570", error.to_string()).hint("wait for its end, or end it with `flyball kill`")
        }
        AttestError::Foreign(_) => Failure::user("FB0571", visible(&error.to_string()))
            .hint("`docs/attestation.md` says what there is in one")
            .of(Kind::Unverified),
        AttestError::Artifact { .. } => Failure::user("FB0572", visible(&error.to_string()))
            .hint("`flyball at` shows what the workspace held; name files in it"),
    }
}
