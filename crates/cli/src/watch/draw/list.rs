//! The list of sessions.

use super::{Look, Page, first_shown, urgency};
use crate::watch::text::span;
use flyball_runtime::read::{SessionLine, State as Stands};

const KEYS: &str = "enter open  a answer  p pause  r resume  k kill  ? help  q quit";
/// Heading, columns' names, foot and the line above it.
const FRAME_ROWS: usize = 4;

pub fn draw(page: &mut Page<'_>) {
    let state = page.state;
    let live = state.board.sessions.iter().filter(|s| s.state.is_live()).count();
    let over = state.board.sessions.len() - live;
    head(page, &format!(" flyball watch   {live} live, {over} over   {}", urgency(state)));
    heading(page);
    let listed = state.listed();
    if listed.is_empty() {
        let text = if state.is_loaded { " no sessions yet: `flyball run -- CMD` begins one" } else { " reading .." };
        page.line(3, text, Look::Plain);
    }
    let room = page.rows().saturating_sub(FRAME_ROWS);
    let at = listed.iter().position(|s| Some(&s.id) == state.cursor.as_ref()).unwrap_or_default();
    let first = first_shown(at, listed.len(), room);
    for (row, (index, line)) in listed.iter().enumerate().skip(first).take(room).enumerate() {
        session(page, row + 2, line, index == at);
    }
    let above_foot = page.rows().saturating_sub(2);
    let hidden = listed.len().saturating_sub(room);
    let place = if hidden > 0 { format!("{} of {}", at + 1, listed.len()) } else { "sessions".to_owned() };
    page.rule(above_foot, &place);
    page.foot(KEYS);
}

/// A heading with the time at its right.
pub fn head(page: &mut Page<'_>, text: &str) {
    page.line(0, text, Look::Strong);
    let clock = format!("{} UTC", page.clock(page.state.now_ns));
    let column = page.columns().saturating_sub(clock.len() + 1);
    page.put(column, 0, clock.len(), &clock, Look::Strong);
}

fn session(page: &mut Page<'_>, row: usize, line: &SessionLine, is_at: bool) {
    let state = page.state;
    let look = match (is_at, line.state) {
        (true, _) => Look::Cursor,
        (_, Stands::Waiting) => Look::Wait,
        (_, Stands::Dead) => Look::Bad,
        (_, Stands::Running) => Look::Good,
        _ => Look::Plain,
    };
    page.blank(row, if is_at { Look::Cursor } else { Look::Plain });
    let stands = stands(line);
    let left = line.deadline.as_ref().map(|d| span(state.left_s(d))).unwrap_or_default();
    let age = span(-state.left_s(&line.since).min(0));
    let wide = wide(page);
    page.put(0, row, 1, if is_at { ">" } else { " " }, look);
    page.put(1, row, 11, stands, look);
    page.put(13, row, 12 + wide, &line.name, look);
    page.put(26 + wide, row, 8, &line.agent, look);
    page.put(35 + wide, row, 6, &age, look);
    page.put(42 + wide, row, 7, &format!("{:>7}", line.counts.actions), look);
    page.put(50 + wide, row, 6, &format!("{:>6}", line.counts.denied), look);
    page.put(57 + wide, row, 4, &format!("{:>4}", line.counts.held), look);
    page.put(62 + wide, row, 4, &format!("{:>4}", line.questions), look);
    page.put(67 + wide, row, 6, &left, look);
    // Any unique beginning of an id names the session.
    page.put_cut(74 + wide, row, 12, &line.id, look);
}

fn heading(page: &mut Page<'_>) {
    let pad = " ".repeat(wide(page));
    page.line(
        1,
        &format!(" STATE       NAME         {pad}AGENT    AGE    ACTIONS DENIED HELD ASKS LEFT   ID"),
        Look::Faint,
    );
}

/// What a wider screen gives to names.
fn wide(page: &Page<'_>) -> usize {
    page.columns().saturating_sub(86).min(20)
}

/// How a session stands, in a word.
pub fn stands(line: &SessionLine) -> &'static str {
    if line.quarantined && line.state.is_live() { "quarantined" } else { line.state.name() }
}
