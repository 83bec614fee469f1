//! `apply` and `discard`: what becomes of a session's changed workspace.

use crate::args::Act;
use crate::failure::{Failure, Kind};
use crate::output::{Output, Style, visible};
use crate::place::Place;
use flyball_runtime::{Home, RewindError, Summary, TakingError};
use serde_json::json;

/// Changed paths that are listed before the rest is only counted.
const LISTED_MAX: usize = 20;

/// `flyball apply S`.
pub fn apply(out: Output, place: &Place, args: &Act) -> Result<(), Failure> {
    let (ledger, id) = place.session(&args.session.session)?;
    if args.reason().is_empty() && flyball_runtime::read::has_learned(&ledger, &id)? {
        return Err(Failure::user(
            "FB0533",
            "this session learned: its changes were let through whatever the charter says",
        )
        .hint("look at them with `flyball diff`, and say why they are fit with `--reason`"));
    }
    drop(ledger);
    take(out, &place.home()?, &id, args.reason())
}

/// Takes a session's changes into the real workspace and says so.
pub fn take(out: Output, home: &Home, id: &str, reason: &str) -> Result<(), Failure> {
    let applied = flyball_runtime::apply(home, id, reason).map_err(|e| not_taken(&e))?;
    let count = applied.paths.len();
    if out.is_json {
        let (left_out, stripped) = (names(&applied.left_out), names(&applied.stripped));
        out.json(&json!({"session": id, "act": "apply", "paths": count, "left_out": left_out, "stripped": stripped}));
    } else {
        let s = if count == 1 { "" } else { "s" };
        out.line(&format!("{id} {}: {count} path{s}", out.paint(Style::Green, "applied")));
        tell(out, "left out: no plain file, folder or link, or not to be read", &names(&applied.left_out));
        tell(out, "taken without set-user-id and set-group-id bits", &names(&applied.stripped));
    }
    Ok(())
}

fn names(paths: &[std::path::PathBuf]) -> Vec<String> {
    paths.iter().map(|path| flyball_runtime::translate::lossless(path.as_os_str())).collect()
}

/// What is not in the real workspace as the session left it.
fn tell(out: Output, what: &str, paths: &[String]) {
    if paths.is_empty() {
        return;
    }
    let shown: Vec<String> = paths.iter().take(LISTED_MAX).map(|path| visible(path)).collect();
    let more = if paths.len() > LISTED_MAX { format!(" and {} more", paths.len() - LISTED_MAX) } else { String::new() };
    out.note(&format!("{what}: {}{more}", shown.join(", ")));
}

/// `flyball discard S`.
pub fn discard(out: Output, place: &Place, args: &Act) -> Result<(), Failure> {
    let (_, id) = place.session(&args.session.session)?;
    flyball_runtime::discard(&place.home()?, &id, args.reason()).map_err(|e| not_taken(&e))?;
    if out.is_json {
        out.json(&json!({"session": id, "act": "discard"}));
    } else {
        out.line(&format!("{id} {}: the real workspace is as it was", out.paint(Style::Green, "discarded")));
        out.note("its record, with every content, stays in the ledger");
    }
    Ok(())
}

/// Lists what would be applied, on standard error.
pub fn show_changes(out: Output, summary: &Summary) {
    for (path, how) in summary.changes.iter().take(LISTED_MAX) {
        let style = match *how {
            "added" => Style::Green,
            "deleted" => Style::Red,
            _ => Style::Yellow,
        };
        out.note(&format!("  {} {}", out.paint_err(style, &format!("{how:<8}")), visible(path)));
    }
    let more = summary.changes.len().saturating_sub(LISTED_MAX);
    if more > 0 {
        out.note(&format!("  and {more} more: `flyball at {} {}`", summary.session, summary.last_seq));
    }
}

/// Why a workspace was not taken or dropped.
pub fn not_taken(error: &TakingError) -> Failure {
    let (code, hint) = match error {
        TakingError::Running(_) => ("FB0520", "`flyball ps` shows how it stands"),
        TakingError::Gone(_) => ("FB0521", "`flyball show` says what became of it"),
        TakingError::Unexplained(_) => {
            ("FB0522", "something wrote past the mediation: look at the paths, then roll back to a step or discard")
        }
        TakingError::Content(_) => {
            ("FB0532", "`flyball log` says what was refused: discard, or roll back to a step before or after that")
        }
        TakingError::Charter(_) => (
            "FB0530",
            "an agent does not write the rules that it works under: discard, or roll back to a step before that",
        ),
        TakingError::Between(_) => {
            ("FB0531", "mend the cause and give the command again: it undoes or completes what was cut off")
        }
        TakingError::Failed(_) => ("FB0523", "the real workspace is as it was; mend the cause and apply again"),
    };
    Failure::user(code, error.to_string()).hint(hint)
}

/// Why a rollback was not done.
pub fn rewound(error: &RewindError) -> Failure {
    let failure = |code, hint: &str| Failure::user(code, error.to_string()).hint(hint);
    match error {
        RewindError::NoStep { .. } => failure("FB0482", "`flyball log` shows the session's entries"),
        RewindError::NoContent { .. } => {
            failure("FB0486", "roll back to another step; `flyball at` shows what each holds")
        }
        RewindError::Between(_) | RewindError::Unrecorded(_) => {
            failure("FB0531", "mend the cause and give the command again: it undoes or completes what was cut off")
        }
        RewindError::Differs { .. } => {
            failure("FB0524", "nothing was changed; `flyball verify` says whether the record holds")
                .of(Kind::Unverified)
        }
        RewindError::Gone(_) => failure("FB0521", "`flyball show` says what became of it"),
        _ => failure("FB0523", "the message says what stood in the way"),
    }
}
