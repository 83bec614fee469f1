//! The state as a screen: pure, from state to cells. Meaning is in words and letters; weight and colour only repeat it.

mod dialogs;
mod list;
mod session;
#[cfg(test)]
mod tests;

use super::model::{COLUMNS_MIN, ROWS_MIN, State};
use super::text::{fit, shown, span, width};
use ratatui::buffer::Buffer;
use ratatui::style::{Color, Modifier, Style};

/// Draws the whole screen.
pub fn draw(state: &State, buffer: &mut Buffer) {
    let mut page = Page { state, buffer };
    let (columns, rows) = page.size();
    if columns < COLUMNS_MIN || rows < ROWS_MIN {
        too_small(&mut page);
    } else if state.help {
        help(&mut page);
    } else if let Some(session) = &state.session {
        session::draw(&mut page, session);
    } else {
        list::draw(&mut page);
    }
    if columns >= COLUMNS_MIN && rows >= ROWS_MIN {
        dialogs::draw(&mut page);
    }
}

/// What a piece of text is, as far as it shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Look {
    #[default]
    Plain,
    Strong,
    Faint,
    /// The line under the cursor.
    Cursor,
    Good,
    Bad,
    Wait,
}

/// The screen being drawn. [`Page::put`] is the only way onto it.
pub struct Page<'a> {
    pub state: &'a State,
    buffer: &'a mut Buffer,
}

impl Page<'_> {
    pub fn size(&self) -> (u16, u16) {
        (self.buffer.area.width, self.buffer.area.height)
    }

    pub fn columns(&self) -> usize {
        usize::from(self.buffer.area.width)
    }

    pub fn rows(&self) -> usize {
        usize::from(self.buffer.area.height)
    }

    /// The text as it may be shown.
    pub fn shown(&self, text: &str) -> String {
        shown(text, self.state.is_utf8)
    }

    /// Puts a text at a place, escaped, and cut at `room` columns or the screen's edge.
    pub fn put(&mut self, column: usize, row: usize, room: usize, text: &str, look: Look) {
        let room = room.min(self.columns().saturating_sub(column));
        if row >= self.rows() || room == 0 {
            return;
        }
        self.cells(column, row, &fit(&shown(text, self.state.is_utf8), room), look);
    }

    /// The same, cut without a mark: for an id, of which any beginning is as good.
    pub fn put_cut(&mut self, column: usize, row: usize, room: usize, text: &str, look: Look) {
        let room = room.min(self.columns().saturating_sub(column));
        let text: String = shown(text, self.state.is_utf8).chars().filter(char::is_ascii).take(room).collect();
        self.cells(column, row, &text, look);
    }

    fn cells(&mut self, column: usize, row: usize, text: &str, look: Look) {
        let style = self.style(look);
        let mut at = column;
        for c in text.chars() {
            self.cell(at, row, c, style);
            // A wide character's second cell holds nothing of its own.
            at += width(c);
        }
    }

    fn cell(&mut self, column: usize, row: usize, c: char, style: Style) {
        let place = (u16::try_from(column).unwrap_or(u16::MAX), u16::try_from(row).unwrap_or(u16::MAX));
        if let Some(cell) = self.buffer.cell_mut(place) {
            cell.set_char(c).set_style(style);
        }
    }

    /// A line of the screen from edge to edge.
    pub fn line(&mut self, row: usize, text: &str, look: Look) {
        self.blank(row, look);
        self.put(0, row, self.columns(), text, look);
    }

    pub fn blank(&mut self, row: usize, look: Look) {
        let style = self.style(look);
        for column in 0..self.columns() {
            self.cell(column, row, ' ', style);
        }
    }

    fn style(&self, look: Look) -> Style {
        let plain = Style::new();
        let coloured = |colour| if self.state.has_colour { plain.fg(colour) } else { plain };
        match look {
            Look::Plain => plain,
            Look::Strong => plain.add_modifier(Modifier::BOLD),
            Look::Faint => coloured(Color::DarkGray),
            Look::Cursor => plain.add_modifier(Modifier::REVERSED),
            Look::Good => coloured(Color::Green),
            Look::Bad => coloured(Color::Red).add_modifier(Modifier::BOLD),
            Look::Wait => coloured(Color::Yellow).add_modifier(Modifier::BOLD),
        }
    }

    /// The last line: what became of the last act, else what keys there are.
    pub fn foot(&mut self, keys: &str) {
        let row = self.rows().saturating_sub(1);
        let unread = self.state.unread.as_ref().map(|why| format!(" the record can't be read: {why}"));
        let said = unread.or_else(|| self.state.message.as_ref().map(|m| format!(" {m}")));
        match said {
            Some(said) => self.line(row, &said, Look::Strong),
            None => self.line(row, &format!(" {keys}"), Look::Faint),
        }
    }

    pub fn rule(&mut self, row: usize, title: &str) {
        let line = format!("-- {title} ");
        let rest = self.columns().saturating_sub(line.chars().count());
        self.line(row, &format!("{line}{}", "-".repeat(rest)), Look::Faint);
    }

    /// `12:34:56`, UTC.
    pub fn clock(&self, at_ns: u64) -> String {
        flyball_ledger::format_ns(at_ns).get(11..19).unwrap_or_default().to_owned()
    }
}

/// The first of so many lines that is shown, so that the one at `at` is on the screen, in its middle where it can be.
pub fn first_shown(at: usize, length: usize, room: usize) -> usize {
    at.saturating_sub(room / 2).min(length.saturating_sub(room))
}

/// How many questions are open and how long the most urgent has: `2 questions, 04:12 left`.
pub fn urgency(state: &State) -> String {
    match state.board.asks.as_slice() {
        [] => "no open question".to_owned(),
        [first, rest @ ..] => {
            let s = if rest.is_empty() { "" } else { "s" };
            format!("{} QUESTION{} {} left", rest.len() + 1, s.to_uppercase(), span(state.left_s(&first.deadline)))
        }
    }
}

fn too_small(page: &mut Page<'_>) {
    let (columns, rows) = page.size();
    page.line(0, &format!("{columns}x{rows} is too small"), Look::Strong);
    page.line(1, &format!("flyball watch needs {COLUMNS_MIN}x{ROWS_MIN}"), Look::Plain);
    let live = page.state.board.sessions.iter().filter(|s| s.state.is_live()).count();
    page.line(2, &format!("{live} live, {}", urgency(page.state)), Look::Plain);
    page.line(3, "q or ctrl-c quits", Look::Plain);
}

const HELP: &str = "\
 flyball watch: what governed sessions do, as it happens

 everywhere
   up down j - +     move (k ends a session here, so - is the line up)
   PgUp PgDn space   a page        Home End g G   first, last and follow
   p  pause          r  resume     k  kill (asks first)
   a  answer the open question: allow or deny, with a reason
   q  quit           ?  this help  ctrl-l  draw anew      ctrl-z  suspend
 the list
   enter  open the session
 a session
   enter  why: the rule, its owner and reason, witnesses, what would pass
   f      show all, refused, or asked about      /   search
   F      follow, or stay                        tab the next question
   b      budgets and envelopes                  esc back
   R      roll the workspace back to the selected step (asks first)

 verdicts   A allowed   D denied   H held: people are asked   M to be changed
            W not carried out: another part of the same call was refused
 states     running  waiting (to be answered)  paused  ended  dead (unsupervised)

 Times are UTC. Answers and acts are recorded under your account.";

fn help(page: &mut Page<'_>) {
    for (row, line) in HELP.lines().enumerate() {
        page.line(row, line, if row == 0 { Look::Strong } else { Look::Plain });
    }
    let last = page.rows().saturating_sub(1);
    page.line(last, " any key: back", Look::Faint);
}
