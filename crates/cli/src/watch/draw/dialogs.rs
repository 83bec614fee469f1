//! What the screen asks before it acts, at the bottom, over what was there: what is acted on stays in sight.

use super::session::{attrs, fields, people};
use super::{Look, Page};
use crate::watch::dialog::{Answer, Dialog, Kill, Progress, Rollback};
use crate::watch::text::{span, wrap};
use flyball_kernel::Verdict;
use flyball_runtime::asking;

pub fn draw(page: &mut Page<'_>) {
    let (title, body, end, top) = match &page.state.dialog {
        None => return,
        Some(Dialog::Answer(answer)) => ("answer", the_question(page, answer), answer_end(answer), answer.top),
        Some(Dialog::Kill(kill)) => {
            ("kill", the_session(kill), end("type y or the session's name:", &kill.typed, &kill.progress), 0)
        }
        Some(Dialog::Rollback(rollback)) => {
            let end = end("type y:", &rollback.typed, &rollback.progress);
            ("roll back", the_step(rollback), end, rollback.top)
        }
    };
    let width = page.columns();
    let (body, end) = (wrapped(page, body), wrapped(page, end));
    // What is typed and what came of it is never cut off; what it is about can be looked through.
    let room = page.rows().saturating_sub(end.len() + 3);
    let first = top.min(body.len().saturating_sub(room));
    let shown: Vec<&(String, Look)> = body.iter().skip(first).take(room).chain(&end).collect();
    let row = page.rows().saturating_sub(shown.len() + 1);
    let more = match body.len() {
        n if n > room => format!("  lines {}-{} of {n}: PgUp PgDn for the rest", first + 1, first + room),
        _ => String::new(),
    };
    let title = format!("== {title}{more} ");
    let rest = "=".repeat(width.saturating_sub(title.len()));
    page.line(row.saturating_sub(1), &format!("{title}{rest}"), Look::Strong);
    for (at, (line, look)) in shown.into_iter().enumerate() {
        page.line(row + at, line, *look);
    }
    let last = page.rows().saturating_sub(1);
    page.line(last, " esc: leave without acting", Look::Faint);
}

fn wrapped(page: &Page<'_>, lines: Lines) -> Lines {
    let width = page.columns().saturating_sub(1);
    let wrap = |(text, look): (String, Look)| wrap(&page.shown(&text), width).into_iter().map(move |l| (l, look));
    lines.into_iter().flat_map(wrap).collect()
}

/// Paths that a rollback names at most.
const PATHS_MAX: usize = 500;

type Lines = Vec<(String, Look)>;

fn end(prompt: &str, typed: &str, progress: &Progress) -> Lines {
    let said = match progress {
        Progress::Typing => (String::new(), Look::Plain),
        Progress::Asked => (" asking the supervisor ..".to_owned(), Look::Strong),
        Progress::Refused(why) => (format!(" NOT DONE: {why}"), Look::Bad),
    };
    vec![(format!(" {prompt} {typed}_"), Look::Strong), said]
}

fn answer_end(answer: &Answer) -> Lines {
    match answer.verdict {
        None => {
            let what = match answer.ask.also.len() {
                0 => "this one action once, d to DENY it".to_owned(),
                also => format!("these {} actions, each once, d to DENY them", also + 1),
            };
            vec![(format!(" press a to ALLOW {what}"), Look::Strong), (String::new(), Look::Plain)]
        }
        Some(Verdict::Deny) => end("DENY it, because:", &answer.reason, &answer.progress),
        Some(_) => end("ALLOW it once, because:", &answer.reason, &answer.progress),
    }
}

fn the_question(page: &Page<'_>, answer: &Answer) -> Lines {
    let state = page.state;
    let ask = &answer.ask;
    let is_open = state.board.asks.iter().any(|a| a.id == ask.id);
    let mut lines = Vec::new();
    let mut say = |text: String| lines.push((text, Look::Plain));
    let left =
        if is_open { format!("{} left", span(state.left_s(&ask.deadline))) } else { "NO LONGER OPEN".to_owned() };
    say(format!(" question {}   {left}   asks {}", ask.id, people(ask)));
    if let Some(count) = asking::count(ask.actions()) {
        say(format!(" about    {count}"));
    }
    say(format!(" would    {}", ask.said));
    // The line above is for reading; these are exactly what is allowed or denied.
    fields(ask).into_iter().chain(attrs(ask)).for_each(|field| say(format!("          {field}")));
    for also in &ask.also {
        say(format!(" and      {}   {}", also.said, also.part.action));
    }
    say(format!(" asked by {}", crate::asks::asker(ask)));
    let also: Vec<_> = ask.also.iter().map(|also| also.part.clone()).collect();
    for reason in asking::reasons(&ask.reasons, &also) {
        let because = asking::witnesses(reason).map(|w| format!("; {w}")).unwrap_or_default();
        say(format!(" stopped  {}: {}{because}", asking::rule(reason), reason.reason));
    }
    if let Some(governance) = ask.governance {
        say(format!(" stakes   {}", asking::stakes(governance)));
    }
    let until = ask.deadline.get(11..19).unwrap_or_default();
    say(format!(" until    {until} UTC, {}; tier {}", asking::afterwards(ask.then.as_deref()), ask.tier));
    ask.load.iter().for_each(|load| say(format!(" asked    {}", crate::registers::load_line(load))));
    say(format!(" action   {}", ask.action));
    lines
}

fn the_session(kill: &Kill) -> Lines {
    vec![
        (format!(" session {}  {}", kill.session, kill.name), Look::Strong),
        (" ends every process of it now; its record and changed workspace stay".to_owned(), Look::Plain),
    ]
}

fn the_step(rollback: &Rollback) -> Lines {
    let mut lines =
        vec![(format!(" session {}: its workspace back to entry {}", rollback.session, rollback.seq), Look::Strong)];
    match &rollback.undone {
        None => lines.push((" reading what that would change ..".to_owned(), Look::Plain)),
        Some(Err(why)) => lines.push((format!(" what it would change can't be told: {why}"), Look::Bad)),
        Some(Ok(undone)) => {
            let word = |change: &str| match change {
                "added" => "brought back",
                "deleted" => "removed",
                _ => "taken back",
            };
            for (path, change) in undone.paths.iter().take(PATHS_MAX) {
                lines.push((format!("   {:<12}  {path}", word(change)), Look::Plain));
            }
            match undone.paths.len() {
                0 => lines.push(("   nothing that is on record".to_owned(), Look::Plain)),
                n if n > PATHS_MAX => lines.push((format!("   and {} more", n - PATHS_MAX), Look::Plain)),
                _ => {}
            }
            if let Some(as_of) = undone.as_of {
                lines.push((
                    format!(" as the workspace was seen at entry {as_of}; what came after is undone too"),
                    Look::Faint,
                ));
            }
        }
    }
    lines
}
