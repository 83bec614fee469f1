//! Text as cells of a screen. The agent chooses most of what is shown: nothing of it reaches the terminal but through
//! [`shown`], and each character takes the columns that it is counted for.

use crate::output::visible;
use unicode_width::UnicodeWidthChar;

/// What stands where something was cut.
const CUT: &str = "..";

/// The text with every character that has no place of its own escaped; without UTF-8, every one beyond ASCII.
pub fn shown(text: &str, is_utf8: bool) -> String {
    let text = visible(text);
    if text.is_ascii() {
        return text;
    }
    let is_odd = |c: char| !c.is_ascii() && (!is_utf8 || width(c) == 0 || joins(c));
    text.chars().flat_map(|c| if is_odd(c) { c.escape_unicode().collect::<Vec<_>>() } else { vec![c] }).collect()
}

/// Characters that a terminal may merge with the one before, so that columns are no more what they were counted to be.
fn joins(c: char) -> bool {
    matches!(c, '\u{1f1e6}'..='\u{1f1ff}' | '\u{1f3fb}'..='\u{1f3ff}')
}

/// A character's columns; 0 for one that has none of its own.
pub fn width(c: char) -> usize {
    c.width().unwrap_or(0)
}

/// The columns of a shown text.
pub fn columns(text: &str) -> usize {
    text.chars().map(width).sum()
}

/// A shown text cut to so many columns, saying so where something is missing.
pub fn fit(text: &str, room: usize) -> String {
    if columns(text) <= room {
        return text.to_owned();
    }
    let keep = room.saturating_sub(CUT.len());
    let mut out = String::new();
    let mut used = 0;
    for c in text.chars() {
        if used + width(c) > keep {
            break;
        }
        used += width(c);
        out.push(c);
    }
    out.push_str(CUT.get(..room.saturating_sub(used).min(CUT.len())).unwrap_or_default());
    out
}

/// A shown text in lines of so many columns; what follows the first is indented like it, and a little more.
pub fn wrap(text: &str, room: usize) -> Vec<String> {
    if columns(text) <= room {
        return vec![text.to_owned()];
    }
    let indent = text.chars().take_while(|c| *c == ' ').count().min(room / 3) + 2;
    let mut lines = Vec::new();
    let mut line = String::new();
    let mut used = 0;
    for c in text.chars() {
        if used + width(c) > room {
            // At a space where there is one near the end; a long word is broken where it must be.
            let at = line
                .rfind(' ')
                .map(|at| at + 1)
                .filter(|at| columns(line.get(..*at).unwrap_or_default()) * 3 > room * 2);
            let rest = at.map(|at| line.split_off(at)).unwrap_or_default();
            lines.push(std::mem::replace(&mut line, " ".repeat(indent) + &rest));
            used = columns(&line);
        }
        used += width(c);
        line.push(c);
    }
    lines.push(line);
    lines
}

/// Seconds in at most six columns: `00:42`, `1h05m`, `3d02h`.
pub fn span(seconds: i64) -> String {
    match seconds {
        s if s < 0 => "late".to_owned(),
        s if s < 3600 => format!("{:02}:{:02}", s / 60, s % 60),
        s if s < 86_400 => format!("{}h{:02}m", s / 3600, s % 3600 / 60),
        s => format!("{}d{:02}h", s / 86_400, s % 86_400 / 3600),
    }
}

/// A bar of `cells` cells and its share: `[####....]  41%`. Above the limit it is full, and the share says by how much.
pub fn bar(used: i64, limit: i64, cells: usize) -> String {
    let (used, limit) = (i128::from(used.max(0)), i128::from(limit.max(0)));
    let share = if limit == 0 { 100 } else { used * 100 / limit };
    let filled = usize::try_from(share.min(100)).unwrap_or(100) * cells / 100;
    // What is used at all shows, and what is left at all shows too.
    let filled = filled.max(usize::from(used > 0)).min(if used < limit { cells.saturating_sub(1) } else { cells });
    format!("[{}{}] {share:>3}%", "#".repeat(filled), ".".repeat(cells - filled.min(cells)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_agent_writes_does_not_steer() {
        for (text, told) in [
            ("a\u{1b}]0;owned\u{7}b", "a\\u{1b}]0;owned\\u{7}b"),
            ("a\u{9b}31mb", "a\\u{9b}31mb"),
            ("x\u{202e}gpj.exe", "x\\u{202e}gpj.exe"),
            ("e\u{301}", "e\\u{301}"),
            ("zero\u{200b}width\u{feff}", "zero\\u{200b}width\\u{feff}"),
            ("line\nbreak\ttab\r", "line\\nbreak\\ttab\\r"),
            ("\u{1f1e9}\u{1f1ea}", "\\u{1f1e9}\\u{1f1ea}"),
            ("日本 ok", "日本 ok"),
        ] {
            assert_eq!(shown(text, true), told);
            assert!(shown(text, true).chars().all(|c| width(c) > 0));
            assert!(shown(text, false).is_ascii());
        }
        assert_eq!(shown("é", false), "\\u{e9}");
    }

    #[test]
    fn text_is_cut_at_columns() {
        assert_eq!(fit("abcdef", 6), "abcdef");
        assert_eq!(fit("abcdefg", 6), "abcd..");
        assert_eq!(fit("日本語日本語", 6), "日本..");
        assert_eq!(fit("日本語日本語", 7), "日本..");
        assert_eq!(fit("abc", 1), ".");
        assert_eq!(fit("abc", 0), "");
        assert_eq!(wrap("  abcdefgh", 8), ["  abcdef", "    gh"]);
        assert_eq!(wrap("stopped by a person.", 19), ["stopped by a ", "  person."]);
        assert_eq!(wrap("日本語", 5), ["日本", "  語"]);
    }

    #[test]
    fn bars_and_spans() {
        assert_eq!(bar(41, 100, 10), "[####......]  41%");
        assert_eq!(bar(0, 100, 10), "[..........]   0%");
        assert_eq!(bar(1, 1000, 10), "[#.........]   0%");
        assert_eq!(bar(999, 1000, 10), "[#########.]  99%");
        assert_eq!(bar(1000, 1000, 10), "[##########] 100%");
        assert_eq!(bar(3000, 1000, 10), "[##########] 300%");
        assert_eq!(bar(0, 0, 10), "[##########] 100%");
        assert_eq!(bar(i64::MAX, 1, 10).len(), 12 + " 922337203685477580700%".len());
        assert_eq!([span(-1), span(42), span(3900), span(90_000)], ["late", "00:42", "1h05m", "1d01h"]);
    }
}
