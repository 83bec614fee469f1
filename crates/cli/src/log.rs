//! `log`: a session's entries.

use crate::args::Log;
use crate::failure::Failure;
use crate::output::{Output, Style, cut, visible};
use crate::place::Place;
use flyball_ledger::{Entry, Erased, Kind, Ledger};
use flyball_runtime::read::{self, Filter};
use std::time::Duration;

/// How often a followed session is looked at again: quick enough to read along, too seldom to be felt.
const FOLLOW_EVERY: Duration = Duration::from_millis(200);

/// `flyball log S`.
pub fn log(out: Output, place: &Place, args: &Log) -> Result<(), Failure> {
    if let Some(kind) = args.kind.iter().find(|k| Kind::parse(k).is_none()) {
        let all: Vec<&str> = Kind::ALL.iter().map(|k| k.as_str()).collect();
        return Err(
            Failure::user("FB0506", format!("no kind of entry `{kind}`")).hint(format!("there is {}", all.join(", ")))
        );
    }
    let (ledger, id) = place.session(&args.session.session)?;
    let filter = Filter {
        kinds: args.kind.clone(),
        verbs: args.verb.clone(),
        verdicts: args.verdict.clone(),
        since: args.since,
    };
    let mut log = read::Log::new(&ledger, &id, filter)?;
    loop {
        // Whether it is still written to is asked before what was written is read: nothing is missed at the end.
        let version = ledger.data_version()?;
        let is_owned = ledger.is_owned(&id);
        let erased = flyball_runtime::evidence::erased(&ledger, &id)?;
        log.read_on(|entry, said| print(out, entry, said, erased.get(&entry.seq)))?;
        if !args.follow || log.is_closed() || !is_owned {
            return Ok(());
        }
        wait_for_more(&ledger, &id, version)?;
    }
}

/// The ledger has no way to call a reader: it is asked whether anything was committed since.
fn wait_for_more(ledger: &Ledger, id: &str, version: i64) -> Result<(), Failure> {
    while ledger.is_owned(id) && ledger.data_version()? == version {
        std::thread::sleep(FOLLOW_EVERY);
    }
    Ok(())
}

fn print(out: Output, entry: &Entry, said: &str, erased: Option<&Erased>) {
    if out.is_json {
        let mut object = entry.to_json();
        if let (Some(members), Some(e)) = (object.as_object_mut(), erased) {
            members.insert(
                "erased".into(),
                serde_json::json!({"by": e.by, "at": e.at, "reason": e.reason, "entry": e.entry}),
            );
        }
        out.json(&object);
        return;
    }
    let gone = erased.map(|e| format!(" ({})", flyball_runtime::evidence::say_erased(e))).unwrap_or_default();
    let said = visible(&format!("{said}{gone}"));
    let verdict = entry.body.get("verdict").and_then(|v| v.as_str()).unwrap_or_default();
    let style = match entry.kind {
        Kind::Ruling | Kind::Answer => Style::of_verdict(verdict),
        Kind::Alert => Style::Red,
        Kind::Intervention | Kind::Question => Style::Yellow,
        Kind::Dispatch | Kind::Tick | Kind::Observe => Style::Dim,
        _ => Style::Plain,
    };
    let time = flyball_ledger::format_ns(entry.at_ns);
    let clock = time.get(11..23).unwrap_or_default();
    let head = format!("{:>5}  {clock}  {:<12}  ", entry.seq, entry.kind.as_str());
    let room = out.columns().saturating_sub(head.chars().count()).max(20);
    let said = if out.is_terminal() { cut(&said, room) } else { said };
    let line = format!("{}{}", out.paint(Style::Dim, &head), out.paint(style, &said));
    out.line(line.trim_end());
}
