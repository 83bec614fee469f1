//! What the screen asks before it acts, at the bottom, over what was there: what is acted on stays in sight.

use super::session::{attrs, people};
use super::{Look, Page};
use crate::watch::dialog::{Answer, Dialog, Kill, Progress, Rollback};
use crate::watch::text::{span, wrap};
use flyball_kernel::Verdict;

pub fn draw(page: &mut Page<'_>) {
    let lines = match &page.state.dialog {
        None => return,
        Some(Dialog::Answer(answer)) => the_answer(page, answer),
        Some(Dialog::Kill(kill)) => the_kill(kill),
        Some(Dialog::Rollback(rollback)) => the_rollback(rollback),
    };
    let width = page.columns();
    let lines: Vec<(String, Look)> = lines
        .into_iter()
        .flat_map(|(text, look)| wrap(&page.shown(&text), width - 1).into_iter().map(move |l| (l, look)))
        .collect();
    // The end of it is what is typed and what came of it: that is never cut off.
    let room = page.rows().saturating_sub(2);
    let skipped = lines.len().saturating_sub(room);
    let shown: Vec<&(String, Look)> = if skipped == 0 {
        lines.iter().collect()
    } else {
        lines.iter().take(room.saturating_sub(6)).chain(lines.iter().skip(lines.len() - 6)).collect()
    };
    let top = page.rows().saturating_sub(shown.len() + 1);
    let title = match (&page.state.dialog, skipped) {
        (Some(Dialog::Answer(_)), 0) => "answer".to_owned(),
        (Some(Dialog::Kill(_)), 0) => "kill".to_owned(),
        (_, 0) => "roll back".to_owned(),
        (_, n) => format!("{n} lines do not fit here"),
    };
    let title = format!("== {title} ");
    let rest = "=".repeat(width.saturating_sub(title.len()));
    page.line(top.saturating_sub(1), &format!("{title}{rest}"), Look::Strong);
    for (row, (line, look)) in shown.into_iter().enumerate() {
        page.line(top + row, line, *look);
    }
    let last = page.rows().saturating_sub(1);
    page.line(last, " esc: leave without acting", Look::Faint);
}

type Lines = Vec<(String, Look)>;

fn end(lines: &mut Lines, prompt: &str, typed: &str, progress: &Progress) {
    lines.push((format!(" {prompt} {typed}_"), Look::Strong));
    match progress {
        Progress::Typing => lines.push((String::new(), Look::Plain)),
        Progress::Asked => lines.push((" asking the supervisor ..".to_owned(), Look::Strong)),
        Progress::Refused(why) => lines.push((format!(" NOT DONE: {why}"), Look::Bad)),
    }
}

fn the_answer(page: &Page<'_>, answer: &Answer) -> Lines {
    let state = page.state;
    let ask = &answer.ask;
    let is_open = state.board.asks.iter().any(|a| a.id == ask.id);
    let mut lines = Vec::new();
    let mut say = |text: String| lines.push((text, Look::Plain));
    let left =
        if is_open { format!("{} left", span(state.left_s(&ask.deadline))) } else { "NO LONGER OPEN".to_owned() };
    say(format!(" question {}   {left}   asks {}", ask.id, people(ask)));
    say(format!(" would    {}", ask.said));
    attrs(ask).into_iter().for_each(|attr| say(format!("          {attr}")));
    ask.reasons.iter().for_each(|r| say(format!(" stopped  {} (owner {}): {}", r.rule, r.owner, r.reason)));
    say(format!(" action   {}", ask.action));
    match answer.verdict {
        None => {
            lines.push((" press a to ALLOW this one action once, d to DENY it".to_owned(), Look::Strong));
            lines.push((String::new(), Look::Plain));
        }
        Some(verdict) => {
            let prompt = match verdict {
                Verdict::Deny => "DENY it, because:",
                _ => "ALLOW it once, because:",
            };
            end(&mut lines, prompt, &answer.reason, &answer.progress);
        }
    }
    lines
}

fn the_kill(kill: &Kill) -> Lines {
    let mut lines = vec![
        (format!(" session {}  {}", kill.session, kill.name), Look::Strong),
        (" ends every process of it now; its record and changed workspace stay".to_owned(), Look::Plain),
    ];
    end(&mut lines, "type y or the session's name:", &kill.typed, &kill.progress);
    lines
}

fn the_rollback(rollback: &Rollback) -> Lines {
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
            let room = 8;
            for (path, change) in undone.paths.iter().take(room) {
                lines.push((format!("   {:<12}  {path}", word(change)), Look::Plain));
            }
            match undone.paths.len() {
                0 => lines.push(("   nothing that is on record".to_owned(), Look::Plain)),
                n if n > room => lines.push((format!("   and {} more", n - room), Look::Plain)),
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
    end(&mut lines, "type y:", &rollback.typed, &rollback.progress);
    lines
}
