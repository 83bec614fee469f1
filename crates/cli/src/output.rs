//! The only way to the screen: data to standard output, everything else to standard error.

use serde::Serialize;
use std::io::{IsTerminal, Write};

/// How to print, as the command line and the terminal say.
#[derive(Clone, Copy, Debug)]
pub struct Output {
    /// JSON instead of words.
    pub is_json: bool,
    /// Only what was asked for.
    pub is_quiet: bool,
    colour_out: bool,
    colour_err: bool,
}

/// A colour or weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    Plain,
    Bold,
    Dim,
    Red,
    Green,
    Yellow,
    Cyan,
}

impl Style {
    fn ansi(self) -> &'static str {
        match self {
            Style::Plain => "",
            Style::Bold => "\u{1b}[1m",
            Style::Dim => "\u{1b}[2m",
            Style::Red => "\u{1b}[31m",
            Style::Green => "\u{1b}[32m",
            Style::Yellow => "\u{1b}[33m",
            Style::Cyan => "\u{1b}[36m",
        }
    }

    /// The colour of a verdict, wherever one is shown.
    pub fn of_verdict(verdict: &str) -> Style {
        match verdict {
            "allow" => Style::Green,
            "deny" => Style::Red,
            "hold" | "modify" => Style::Yellow,
            _ => Style::Plain,
        }
    }
}

impl Output {
    /// As the flags, `NO_COLOR`, `TERM` and the streams say.
    pub fn new(is_json: bool, is_quiet: bool) -> Self {
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty())
            && std::env::var_os("TERM").is_none_or(|t| t != "dumb");
        Self {
            is_json,
            is_quiet,
            colour_out: wanted && !is_json && std::io::stdout().is_terminal(),
            colour_err: wanted && std::io::stderr().is_terminal(),
        }
    }

    /// The text in that style, where standard output is coloured.
    pub fn paint(self, style: Style, text: &str) -> String {
        paint(self.colour_out, style, text)
    }

    /// The text in that style, where standard error is coloured.
    pub fn paint_err(self, style: Style, text: &str) -> String {
        paint(self.colour_err, style, text)
    }

    /// Whether standard output is coloured.
    pub fn has_colour(self) -> bool {
        self.colour_out
    }

    /// Whether standard error is coloured.
    pub fn has_colour_err(self) -> bool {
        self.colour_err
    }

    /// A line of data.
    pub fn line(self, text: &str) {
        self.raw(text.as_bytes());
        self.raw(b"\n");
    }

    /// Bytes of data, as they are.
    pub fn raw(self, bytes: &[u8]) {
        let mut to = std::io::stdout().lock();
        if let Err(e) = to.write_all(bytes).and_then(|()| to.flush())
            && e.kind() == std::io::ErrorKind::BrokenPipe
        {
            // The reader has seen enough (`| head`): that is no failure of ours.
            std::process::exit(0);
        }
    }

    /// One object, on a line of its own.
    pub fn json(self, value: &impl Serialize) {
        // A value that serde can't write would be a map with keys that are no strings; ours have none.
        if let Ok(text) = serde_json::to_string(value) {
            self.line(&text);
        }
    }

    /// Something beside the data, for people; nothing when they asked for quiet.
    pub fn note(self, text: &str) {
        if !self.is_quiet {
            self.warn(text);
        }
    }

    /// Something beside the data that must be seen.
    pub fn warn(self, text: &str) {
        let _ = writeln!(std::io::stderr().lock(), "{text}");
    }

    /// Whether data goes to a terminal.
    pub fn is_terminal(self) -> bool {
        std::io::stdout().is_terminal()
    }

    /// The terminal's width, columns; 80 where there is none.
    pub fn columns(self) -> usize {
        rustix::termios::tcgetwinsize(std::io::stdout())
            .map(|w| usize::from(w.ws_col))
            .ok()
            .filter(|w| *w >= 40)
            .unwrap_or(80)
    }
}

fn paint(wanted: bool, style: Style, text: &str) -> String {
    if wanted && style != Style::Plain { format!("{}{text}\u{1b}[0m", style.ansi()) } else { text.to_owned() }
}

/// Rows under headings, each column as wide as its widest cell; the last is cut at `columns`.
pub fn table(out: Output, headings: &[&str], rows: &[Vec<Cell>]) {
    let mut widths: Vec<usize> = headings.iter().map(|h| h.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.text.chars().count());
        }
    }
    let head: Vec<Cell> = headings.iter().map(|h| Cell::new(*h).styled(Style::Dim)).collect();
    for row in std::iter::once(&head).chain(rows) {
        let mut line = String::new();
        let mut used = 0;
        for (at, (cell, width)) in row.iter().zip(&widths).enumerate() {
            let is_last = at + 1 == row.len();
            let room = if is_last && out.is_terminal() { out.columns().saturating_sub(used) } else { usize::MAX };
            let text = cut(&cell.text, room);
            let pad = if is_last { 0 } else { width.saturating_sub(text.chars().count()) + 2 };
            line.push_str(&out.paint(cell.style, &text));
            line.extend(std::iter::repeat_n(' ', pad));
            used += width + 2;
        }
        out.line(line.trim_end());
    }
}

/// A table's cell.
#[derive(Clone, Debug)]
pub struct Cell {
    text: String,
    style: Style,
}

impl Cell {
    /// Plain text; what could steer a terminal is shown instead of sent.
    pub fn new(text: impl Into<String>) -> Self {
        Self { text: visible(&text.into()), style: Style::Plain }
    }

    /// The same in a style.
    pub fn styled(mut self, style: Style) -> Self {
        self.style = style;
        self
    }
}

/// The text cut to `room` characters, with an ellipsis where something is missing.
pub fn cut(text: &str, room: usize) -> String {
    if text.chars().count() <= room {
        return text.to_owned();
    }
    text.chars().take(room.saturating_sub(1)).chain(std::iter::once('…')).collect()
}

/// Text on one line, in which what could steer a terminal, or can't be seen, is shown instead of sent. The agent chooses
/// names and arguments: an escape sequence in one must not rewrite what a person reads before answering.
pub fn visible(text: &str) -> String {
    if !text.chars().any(is_steering) {
        return text.to_owned();
    }
    text.chars().flat_map(|c| if is_steering(c) { c.escape_default().collect::<Vec<_>>() } else { vec![c] }).collect()
}

/// Controls, marks of direction, separators of lines, and characters that take no place: a name with one of these looks like
/// another name.
fn is_steering(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
}

/// The same for text of many lines: line ends and tabs stay.
pub fn visible_lines(text: &str) -> String {
    text.split('\n')
        .map(|line| line.split('\t').map(visible).collect::<Vec<_>>().join("\t"))
        .collect::<Vec<_>>()
        .join("\n")
}
