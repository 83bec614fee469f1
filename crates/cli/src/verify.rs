//! `verify`: does the record hold?

use crate::failure::{Failure, Kind};
use crate::output::{Output, Style, visible};
use crate::place::Place;
use flyball_ledger::{LedgerError, Problem, Report};
use serde::Serialize;
use std::path::Path;

/// `flyball verify [S|FILE]`.
pub fn verify(out: Output, place: &Place, args: &crate::args::Verify) -> Result<(), Failure> {
    if let Some(file) = args.what.as_deref().filter(|wanted| is_file(place, wanted)) {
        return match crate::attest::read(file) {
            Some(attestation) => crate::attest::verify(out, place, &attestation, &args.key),
            None => crate::evidence::verify(out, Path::new(file), args),
        };
    }
    let wanted = args.what.as_deref();
    let ledger = flyball_ledger::Ledger::open_read(&place.dir()?).map_err(broken)?;
    let session = match wanted {
        Some(wanted) => Some(flyball_runtime::read::resolve(&ledger, wanted)?),
        None => None,
    };
    let mut report = ledger.verify(session.as_deref()).map_err(broken)?;
    let answers = flyball_runtime::read::signed_answers(&ledger, session.as_deref());
    let asked = flyball_runtime::read::misnamed_questions(&ledger, session.as_deref());
    // What is too damaged to be read has been told of above.
    let (answers, asked) =
        if report.ok { (answers?, asked?) } else { (answers.unwrap_or_default(), asked.unwrap_or_default()) };
    report.ok &= answers.problems.is_empty() && asked.is_empty();
    let problem = |code: &'static str| {
        move |(stream, seq, message)| Problem { code, stream: Some(stream), seq: Some(seq), leaf: None, message }
    };
    report.problems.extend(answers.problems.into_iter().map(problem("FB0536")));
    report.problems.extend(asked.into_iter().map(problem("FB0549")));
    if out.is_json {
        out.json(&Verified { report: &report, signed_answers: answers.hold, signed_acts: answers.acts });
    } else {
        print(out, &report, session.as_deref(), answers.hold, answers.acts);
    }
    if report.ok { Ok(()) } else { Err(Failure::said(Kind::Unverified)) }
}

/// A path is a file's; a word is a file's only where no session answers to it: an agent can make files with the names of sessions.
fn is_file(place: &Place, wanted: &str) -> bool {
    wanted.contains('/') || (Path::new(wanted).is_file() && wanted != "@" && place.session(wanted).is_err())
}

/// A ledger that can't even be opened because it is damaged does not verify.
fn broken(error: LedgerError) -> Failure {
    let is_damage =
        matches!(error, LedgerError::Damaged { .. } | LedgerError::Malformed { .. } | LedgerError::Key { .. });
    let failure = Failure::from(error);
    if is_damage { failure.of(Kind::Unverified) } else { failure }
}

/// What `verify --json` prints.
#[derive(Serialize)]
struct Verified<'r> {
    #[serde(flatten)]
    report: &'r Report,
    /// Answers whose signature by a person's key holds.
    signed_answers: u64,
    /// Acts whose signature by a person's key holds.
    signed_acts: u64,
}

fn print(out: Output, report: &Report, session: Option<&str>, signed_answers: u64, signed_acts: u64) {
    let of = session.map(|s| format!(" of session {s}")).unwrap_or_default();
    let counts = format!("{} entries{of}, {} checkpoints", report.entries, report.checkpoints);
    if report.ok {
        out.line(&format!("{}: {counts}", out.paint(Style::Green, "verified")));
        out.line("  every byte is as it was signed");
        let registers = report.registers;
        if registers.followed + registers.untold > 0 {
            let untold = match registers.untold {
                0 => String::new(),
                n => format!("; {n} older changes don't say by how much, and were taken as they are"),
            };
            out.line(&format!(
                "  {} changes of shared registers follow from their entries{untold}",
                registers.followed
            ));
        }
    } else {
        let n = report.problems.len();
        let s = if n == 1 { "" } else { "s" };
        out.line(&format!("{}: {n} problem{s} in {counts}", out.paint(Style::Red, "does not verify")));
    }
    problems(out, report);
    for e in &report.erased {
        let what = format!("entry {} of {}: {}", e.seq, e.stream, flyball_runtime::evidence::say_erased(e));
        out.line(&format!("  erased        {}", visible(&what)));
    }
    if !report.registers.is_whole {
        out.line("  the shared registers can't be recomputed: entries are missing");
    }
    for key in &report.signed_by {
        out.line(&format!("  signed by     {}", visible(&key_name(key))));
    }
    if signed_answers > 0 {
        out.line(&format!(
            "  answers       {signed_answers} signed by a person's key, for that action, answer and reason, in time"
        ));
    }
    if signed_acts > 0 {
        out.line(&format!(
            "  acts          {signed_acts} signed by a person's key, for this session, once and in time"
        ));
    }
    match report.witnessed_by.as_slice() {
        [] => out.line("  witnessed by  nobody: taking all of it back to an earlier state would not show"),
        _ => witnessed(out, report),
    }
}

/// Who cosigned how much of it, a line each.
pub fn witnessed(out: Output, report: &Report) {
    for by in &report.witnessed {
        let line = format!("{}, up to entry {} of the ledger, at {}", key_name(&by.witness), by.size, by.at);
        out.line(&format!("  witnessed by  {}", visible(&line)));
    }
}

/// Name and id tell keys apart for people; the key itself is in --json.
pub fn key_name(key: &str) -> String {
    key.split('+').take(2).collect::<Vec<_>>().join("+")
}

/// What does not hold, a line each.
pub fn problems(out: Output, report: &Report) {
    for problem in &report.problems {
        let place = match (&problem.stream, problem.seq, problem.leaf) {
            (Some(stream), Some(seq), _) => format!("{stream} entry {seq}: "),
            (.., Some(leaf)) => format!("leaf {leaf}: "),
            _ => String::new(),
        };
        out.line(&format!(
            "  {} {}{}",
            out.paint(Style::Red, problem.code),
            visible(&place),
            visible(&problem.message)
        ));
    }
}
