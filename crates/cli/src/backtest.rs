//! `backtest`: what another charter would have ruled on recorded sessions.

use crate::args::Backtest as Args;
use crate::charter_dir;
use crate::failure::Failure;
use crate::output::{Cell, Output, Style, table, visible};
use crate::place::Place;
use flyball_kernel::Verdict;
use flyball_runtime::backtest::{self, Backtest, Count, Flip};
use flyball_runtime::read;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

mod html;

/// Flips that are shown one by one; `--json` and `--html` have more.
const SHOWN_MAX: usize = 20;

/// `flyball backtest --charter C`, of named sessions, young ones or all.
pub fn backtest(out: Output, place: &Place, args: &Args) -> Result<(), Failure> {
    let dir = charter_dir::locate(args.charter.as_deref())?;
    let charter = Arc::new(charter_dir::load(out, &dir)?.0);
    let ledger = place.ledger()?;
    let mut sessions = Vec::new();
    for wanted in &args.sessions {
        let id = read::resolve(&ledger, wanted)?;
        if !sessions.contains(&id) {
            sessions.push(id);
        }
    }
    if args.sessions.is_empty() {
        let since_ns = args.since.map_or(0, |age| now_ns().saturating_sub(age));
        let streams = ledger.streams()?;
        sessions.extend(streams.into_iter().filter(|s| s.opened_at_ns.is_some_and(|at| at >= since_ns)).map(|s| s.id));
    }
    if sessions.is_empty() {
        return Err(Failure::user("FB0602", "no session is that young").hint("`flyball ps` lists the sessions"));
    }
    let found = backtest::backtest(&place.dir()?, &sessions, &charter)?;
    if let Some(file) = &args.html {
        std::fs::write(file, html::page(&found)).map_err(|cause| {
            Failure::user("FB0601", format!("the report can't be written to `{}`: {cause}", file.display()))
                .hint("name a file in a folder that is there and that you may write to")
        })?;
        out.note(&format!("the report is in {}", file.display()));
    }
    if out.is_json {
        out.json(&found);
    } else {
        print(out, &found);
    }
    Ok(())
}

fn now_ns() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |d| u64::try_from(d.as_nanos()).unwrap_or(u64::MAX))
}

/// `30d`, `12h`, `5m`, `10s`: nanoseconds.
pub fn parse_age(text: &str) -> Result<u64, String> {
    let wrong = || format!("`{text}` is no age: write 30d, 12h, 5m or 10s");
    let unit = text.chars().next_back().ok_or_else(wrong)?;
    let number: u64 = text.strip_suffix(unit).and_then(|n| n.parse().ok()).ok_or_else(wrong)?;
    let seconds = match unit {
        'd' => 86_400,
        'h' => 3_600,
        'm' => 60,
        's' => 1,
        _ => return Err(wrong()),
    };
    number.checked_mul(seconds).and_then(|s| s.checked_mul(1_000_000_000)).ok_or_else(wrong)
}

/// A verdict as it stands in a sentence.
pub fn name(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Allow => "allow",
        Verdict::Modify => "modify",
        Verdict::Hold => "hold",
        Verdict::Deny => "deny",
    }
}

fn print(out: Output, found: &Backtest) {
    let n = found.sessions.len();
    let s = if n == 1 { "" } else { "s" };
    let total = found.sums.total;
    out.line(&format!(
        "{} on {} actions of {n} session{s}: {} the same, {} otherwise",
        out.paint(Style::Bold, &visible(&found.charter)),
        found.actions,
        found.same,
        total.all()
    ));
    if total.all() > 0 {
        out.line(&format!(
            "  {} would be refused, {} asked about, {} would pass, {} refused in another way; {} of them bounded",
            total.refused, total.asked, total.passed, total.other, total.bounded
        ));
    }
    for (what, counts) in [("RULE", &found.sums.rules), ("OWNER", &found.sums.owners), ("AGENT", &found.sums.agents)] {
        sums(out, what, counts);
    }
    let mut flips = found.sessions.iter().flat_map(|s| &s.flips);
    for flip in flips.by_ref().take(SHOWN_MAX) {
        out.line("");
        one(out, flip);
    }
    let left = total.all().saturating_sub(SHOWN_MAX as u64);
    if left > 0 {
        out.note(&format!("and {left} more: --json and --html have the first of each session"));
    }
    for tested in &found.sessions {
        if let Some(stopped) = &tested.stopped {
            out.warn(&format!(
                "session {} was judged up to entry {} only: {}",
                tested.session,
                stopped.seq,
                visible(&stopped.why)
            ));
        }
    }
}

fn sums(out: Output, what: &str, counts: &BTreeMap<String, Count>) {
    if counts.is_empty() {
        return;
    }
    out.line("");
    let mut counts: Vec<(&String, &Count)> = counts.iter().collect();
    counts.sort_by(|a, b| b.1.all().cmp(&a.1.all()).then_with(|| a.0.cmp(b.0)));
    let number = |n: u64| Cell::new(if n == 0 { "-".to_owned() } else { n.to_string() });
    let rows: Vec<Vec<Cell>> = counts
        .into_iter()
        .map(|(name, c)| {
            let name = if name.is_empty() { "(none)" } else { name };
            vec![
                Cell::new(name),
                number(c.refused),
                number(c.asked),
                number(c.passed),
                number(c.other),
                number(c.bounded),
            ]
        })
        .collect();
    table(out, &[what, "REFUSED", "ASKED", "PASSED", "OTHER", "OF THEM BOUNDED"], &rows);
}

fn one(out: Output, flip: &Flip) {
    let bounded = if flip.is_bounded { "  bounded" } else { "" };
    out.line(&format!(
        "{} {}  {} -> {}{bounded}  {}",
        flip.session,
        flip.seq,
        name(flip.was),
        out.paint(Style::of_verdict(name(flip.now)), name(flip.now)),
        visible(&flip.action)
    ));
    for reason in &flip.reasons {
        let because = match reason.witnesses.as_slice() {
            [] => String::new(),
            some => format!("  (entries {})", some.iter().take(6).map(u64::to_string).collect::<Vec<_>>().join(", ")),
        };
        let owner = if reason.owner.is_empty() { String::new() } else { format!(" of {}", reason.owner) };
        out.line(&visible(&format!("    {}{owner}: {}{because}", reason.rule, reason.reason)));
    }
}
