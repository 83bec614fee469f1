//! One session: how it stands, what it asks, its budgets and its timeline; and the explanation of one entry.

use super::list::{head, stands};
use super::{Look, Page, first_shown};
use crate::watch::model::{Session, Why};
use crate::watch::text::{bar, columns, span, wrap};
use flyball_kernel::{BudgetUse, EnvelopeUse, ObligationUse, Registers, Value, Verdict};
use flyball_runtime::asking;
use flyball_runtime::read::{Ask, Fate, Row, Show};
use flyball_runtime::rfc3339;

const KEYS: &str = "enter why  a answer  f filter  / search  b budgets  R roll back  ? help  esc";
/// Budgets that the session's screen itself shows; the rest is one key away.
const BUDGETS_SHOWN: usize = 2;
/// Lines of an open question that the session's screen shows.
const ASK_ROWS: usize = 6;

pub fn draw(page: &mut Page<'_>, session: &Session) {
    let state = page.state;
    let line = state.line(&session.id);
    let (name, how) = line.map_or(("", "reading"), |l| (l.name.as_str(), stands(l)));
    head(page, &format!(" {}  {}  {}", session.id, clipped(&page.shown(name), 30), how.to_uppercase()));
    if let Some(why) = &session.why {
        return explained(page, why);
    }
    if session.budgets {
        return budgets(page);
    }
    if let Some(line) = line {
        let c = line.counts;
        let age = span(-state.left_s(&line.since).min(0));
        let text = format!(
            " {}  age {age}  {} actions, {} denied, {} asked about  {}",
            line.agent, c.actions, c.denied, c.held, line.workspace
        );
        page.line(1, &text, Look::Plain);
    }
    let mut row = 2;
    row += asks(page, session, row);
    row += budget_lines(page, row);
    timeline(page, session, row);
    match &session.typing {
        Some(typed) => {
            let foot = page.rows().saturating_sub(1);
            page.line(foot, &format!(" search: {typed}_   (enter; esc leaves)"), Look::Strong);
        }
        None => page.foot(KEYS),
    }
}

fn clipped(text: &str, room: usize) -> String {
    crate::watch::text::fit(text, room)
}

/// The question that a person should look at, in full width; gives the rows that it took.
fn asks(page: &mut Page<'_>, session: &Session, row: usize) -> usize {
    let state = page.state;
    let asks = state.asks_of(&session.id);
    let Some(ask) = asks.get(session.ask.min(asks.len().saturating_sub(1))) else { return 0 };
    let at = session.ask.min(asks.len() - 1) + 1;
    let more = if asks.len() > 1 { "  tab: the next" } else { "" };
    let title = format!(
        "!! QUESTION {at} of {}: {} left, asks {}  a: answer{more}",
        asks.len(),
        span(state.left_s(&ask.deadline)),
        people(ask)
    );
    page.line(row, &title, Look::Wait);
    let also = if ask.also.is_empty() { String::new() } else { format!("  and {} more", ask.also.len()) };
    page.line(row + 1, &format!("   would    {}{also}", ask.said), Look::Strong);
    page.line(row + 2, &format!("   with     {}", attrs(ask).join(", ")), Look::Plain);
    let why = ask.reasons.first().map(|r| format!("{}: {}", asking::rule(r), r.reason)).unwrap_or_default();
    page.line(row + 3, &format!("   stopped  {why}"), Look::Plain);
    let stakes = ask.governance.map(|g| format!("{}; ", asking::stakes(g))).unwrap_or_default();
    page.line(row + 4, &format!("   stakes   {stakes}{}", asking::afterwards(ask.then.as_deref())), Look::Plain);
    page.line(row + 5, &format!("   action   {}", ask.action), Look::Faint);
    ASK_ROWS
}

/// Who may answer, and how many of them must.
pub fn people(ask: &Ask) -> String {
    let beside = ask.also_asked.iter().map(|tier| format!("; and {}", asking::people(&tier.who)));
    let who = std::iter::once(asking::people(&ask.who)).chain(beside).collect::<String>();
    let heard =
        if ask.answered.is_empty() { String::new() } else { format!(", heard {}", asking::people(&ask.answered)) };
    if ask.quorum > 1 { format!("{} of {who}{heard}", ask.quorum) } else { who }
}

/// What is asked about, field by field, as it is recorded.
pub fn fields(ask: &Ask) -> Vec<String> {
    let Some(action) = &ask.attempt else { return Vec::new() };
    action.resource.fields().map(|(name, value)| said(name, value)).collect()
}

/// The attributes of what is asked about.
pub fn attrs(ask: &Ask) -> Vec<String> {
    let Some(action) = &ask.attempt else { return Vec::new() };
    let named = action.attrs().filter(|(name, _)| *name != "reader");
    named.map(|(name, value)| said(name, value)).collect()
}

fn said(name: &str, value: &Value) -> String {
    format!("{name} = {}", serde_json::to_string(value).unwrap_or_default())
}

fn registers(page: &Page<'_>) -> Registers {
    page.state.board.registers.clone().unwrap_or_default()
}

/// The budgets that are used most, a line each; gives the rows that it took.
fn budget_lines(page: &mut Page<'_>, row: usize) -> usize {
    let mut budgets = registers(page).budgets;
    let all = budgets.len();
    // By what is left of each: the tightest first. Shares are compared by multiplying crosswise, in wide numbers.
    let share =
        |b: &BudgetUse| (i128::from(b.used.max(0)) * 1_000_000).checked_div(i128::from(b.limit)).unwrap_or(i128::MAX);
    budgets.sort_by_key(|b| std::cmp::Reverse(share(b)));
    for (at, budget) in budgets.iter().take(BUDGETS_SHOWN).enumerate() {
        let more =
            if at + 1 == BUDGETS_SHOWN && all > BUDGETS_SHOWN { format!("  b: all {all}") } else { String::new() };
        page.line(row + at, &format!("{}{more}", budget_line(budget, 16, 16)), budget_look(budget));
    }
    all.min(BUDGETS_SHOWN)
}

fn budget_look(budget: &BudgetUse) -> Look {
    if budget.used >= budget.limit {
        Look::Bad
    } else if budget.warn_at.iter().any(|at| budget.used >= *at) {
        Look::Wait
    } else {
        Look::Plain
    }
}

fn budget_line(budget: &BudgetUse, name_room: usize, cells: usize) -> String {
    let of = if budget.agent.is_empty() { String::new() } else { format!(" ({})", budget.agent) };
    let name = clipped(&format!("{}{of}", budget.budget), name_room);
    let state = if budget.used >= budget.limit {
        "  USED UP"
    } else if budget.warn_at.iter().any(|at| budget.used >= *at) {
        "  WARNED"
    } else {
        ""
    };
    let next = budget.warn_at.iter().find(|at| budget.used < **at).map(|at| format!("  warn {at}"));
    let pad = " ".repeat(name_room.saturating_sub(columns(&name)));
    format!(
        " {name}{pad} {} {} of {}{state}{}",
        bar(budget.used, budget.limit, cells),
        budget.used,
        budget.limit,
        next.unwrap_or_default()
    )
}

fn budgets(page: &mut Page<'_>) {
    page.rule(1, "budgets, envelopes, obligations");
    let Registers { budgets, envelopes, obligations, autonomy, labels, asked, .. } = registers(page);
    let mut lines: Vec<(String, Look)> = Vec::new();
    for budget in &budgets {
        lines.push((budget_line(budget, 16, 16), budget_look(budget)));
        if budget.reserved > 0 {
            lines.push((format!("{:18}of that {} only reserved", "", budget.reserved), Look::Faint));
        }
    }
    lines.extend(envelopes.iter().map(|e| (envelope_line(e), Look::Plain)));
    lines.extend(obligations.iter().map(obligation_line));
    if lines.is_empty() {
        let is_known = page.state.board.registers.is_some();
        let text =
            if is_known { " the charter has none" } else { " not on record: the supervisor does not say, or did not" };
        lines.push((text.to_owned(), Look::Plain));
    }
    if !labels.is_empty() {
        let said = labels.iter().map(|(label, seq)| format!("{label} since entry {seq}")).collect::<Vec<_>>();
        lines.push((format!(" tainted: {}", said.join(", ")), Look::Wait));
    }
    for load in &asked {
        let look = if load.open >= load.small_max { Look::Wait } else { Look::Plain };
        lines.push((format!(" asked: {}", crate::registers::load_line(load)), look));
    }
    if !autonomy.is_empty() {
        lines.push((format!(" autonomy: {autonomy}"), Look::Plain));
    }
    let room = page.rows().saturating_sub(3);
    for (row, (line, look)) in lines.iter().take(room).enumerate() {
        page.line(row + 2, line, *look);
    }
    page.foot("b or esc: back");
}

fn obligation_line(owed: &ObligationUse) -> (String, Look) {
    let of = if owed.bound.is_empty() { String::new() } else { format!(" ({})", owed.bound) };
    let (name, since) = (&owed.obligation, owed.since);
    match owed.deadline_ns.map(rfc3339) {
        Some(at) => {
            let at = at.get(11..19).unwrap_or_default();
            (format!(" {name}{of}  owed since entry {since}, until {at} UTC"), Look::Plain)
        }
        None => (format!(" {name}{of}  NOT MET since entry {since}, not answered for"), Look::Bad),
    }
}

fn envelope_line(envelope: &EnvelopeUse) -> String {
    let bound = |n: Option<i64>| n.map_or_else(|| "-".to_owned(), |n| n.to_string());
    let value = bound(envelope.value);
    let mut line = format!(" {}  {}", envelope.envelope, envelope.of);
    if !envelope.resource.is_empty() {
        line.push_str(&format!(" of {}", envelope.resource));
    }
    line.push_str(&format!("  at {value} within {} to {}", bound(envelope.min), bound(envelope.max)));
    if let Some(step) = envelope.step {
        line.push_str(&format!(", by {step} at most"));
    }
    if let Some(rate) = envelope.rate {
        line.push_str(&format!(", {} of {rate} changes", envelope.changes));
    }
    if let Some(per) = envelope.per_ns {
        line.push_str(&format!(" in {}", span(i64::try_from(per / 1_000_000_000).unwrap_or(i64::MAX))));
    }
    line
}

fn timeline(page: &mut Page<'_>, session: &Session, top: usize) {
    let Some(timeline) = &session.timeline else {
        page.rule(top, "timeline");
        page.line(top + 1, " reading ..", Look::Plain);
        return;
    };
    let rows: Vec<&Row> = timeline.rows().collect();
    let seqs: Vec<u64> = rows.iter().map(|r| r.seq).collect();
    let at = session.index(&seqs);
    let shown = match session.show {
        Show::All => "all",
        Show::Refused => "refused",
        Show::Asked => "asked about",
    };
    let search =
        if session.wanted.is_empty() { String::new() } else { format!(", with `{}`", page.shown(&session.wanted)) };
    let back = if timeline.low() > 1 { format!(", from entry {}", timeline.low()) } else { String::new() };
    let behind = session.last.saturating_sub(timeline.high());
    let follow = match (session.follows, behind) {
        (true, 0) => ", following".to_owned(),
        (_, 0) => String::new(),
        (_, n) => format!(", {n} entries further on: G"),
    };
    page.rule(top, &format!("timeline: {shown}{search}{back}{follow}"));
    let room = page.rows().saturating_sub(top + 2);
    let first = first_shown(at, rows.len(), room);
    if rows.is_empty() {
        let text = if timeline.low() > 1 {
            format!(" reading back, at entry {} ..", timeline.low())
        } else {
            " nothing".to_owned()
        };
        page.line(top + 1, &text, Look::Plain);
    }
    for (line, (index, row)) in rows.iter().enumerate().skip(first).take(room).enumerate() {
        entry(page, top + 1 + line, row, index == at);
    }
}

fn entry(page: &mut Page<'_>, line: usize, row: &Row, is_at: bool) {
    let (letter, word, look) = verdict(row);
    let look = if is_at { Look::Cursor } else { look };
    page.blank(line, if is_at { Look::Cursor } else { Look::Plain });
    let clock = page.clock(row.at_ns);
    page.put(0, line, 1, if is_at { ">" } else { " " }, look);
    page.put(1, line, 8, &clock, if is_at { look } else { Look::Faint });
    page.put(10, line, 1, letter, look);
    page.put(12, line, 7, word, look);
    page.put(20, line, 14, &row.verb, look);
    // The rule matters where it stopped something; else what became of it.
    let tail = match (&row.verdict, &row.fate) {
        (Some(Verdict::Allow), Fate::Ended(end)) if end == "done" => String::new(),
        (Some(Verdict::Allow), Fate::Ended(end)) => end.clone(),
        (Some(Verdict::Allow), _) => String::new(),
        _ => row.rule.clone(),
    };
    let tail = page.shown(&tail);
    let columns_all = page.columns();
    let tail_room = columns(&tail).min((columns_all - 35) / 2);
    let what_room = columns_all - 35 - if tail_room > 0 { tail_room + 1 } else { 0 };
    page.put(35, line, what_room, &row.what, look);
    page.put(columns_all - tail_room, line, tail_room, &tail, look);
}

/// A verdict by letter and word.
fn verdict(row: &Row) -> (&'static str, &'static str, Look) {
    match (row.is_attempt, row.verdict, &row.fate) {
        (false, ..) => ("-", "", Look::Strong),
        (_, Some(Verdict::Allow | Verdict::Hold), Fate::Withdrawn) => ("W", "not run", Look::Faint),
        (_, Some(Verdict::Allow), _) if row.was_held => ("A", "granted", Look::Good),
        (_, Some(Verdict::Allow), _) => ("A", "allowed", Look::Good),
        (_, Some(Verdict::Deny), _) => ("D", "denied", Look::Bad),
        (_, Some(Verdict::Hold), _) => ("H", "held", Look::Wait),
        (_, Some(Verdict::Modify), _) => ("M", "changed", Look::Wait),
        (_, None, _) => ("?", "", Look::Plain),
    }
}

fn explained(page: &mut Page<'_>, why: &Why) {
    page.rule(1, &format!("why entry {}", why.seq));
    let room = page.rows().saturating_sub(3);
    let width = page.columns();
    let Some(lines) = &why.lines else {
        page.line(2, " reading ..", Look::Plain);
        return page.foot("esc: back");
    };
    let all: Vec<String> = lines.iter().flat_map(|l| wrap(&page.shown(l), width - 1)).collect();
    let top = why.top.min(all.len().saturating_sub(room));
    for (row, line) in all.iter().skip(top).take(room).enumerate() {
        let is_title = !line.starts_with(' ');
        page.line(row + 2, &format!(" {line}"), if is_title { Look::Strong } else { Look::Plain });
    }
    let below = all.len().saturating_sub(top + room);
    page.foot(&if below > 0 { format!("{below} lines below: PgDn   esc: back") } else { "esc: back".to_owned() });
}
