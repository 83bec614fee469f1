//! Collects findings with their places, so that everything that is wrong is told at once.

use crate::action::Action;
use crate::diagnostic::{Diagnostic, Diagnostics, Position, Related, Severity, Span};
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

/// At most this many findings are told; a charter with more is told of the rest once these are mended.
const FINDINGS_MAX: usize = 500;

/// Bytes of a file of the charter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub file: Arc<str>,
    pub span: Range<usize>,
}

impl Place {
    pub fn new(file: &Arc<str>, span: Range<usize>) -> Self {
        Self { file: Arc::clone(file), span }
    }

    /// A part of this place, by byte offsets within it.
    pub fn within(&self, part: Range<usize>) -> Self {
        let at = |offset: usize| self.span.start.saturating_add(offset).min(self.span.end);
        Self { file: Arc::clone(&self.file), span: at(part.start)..at(part.end) }
    }
}

/// A value and where it was written.
#[derive(Clone, Debug)]
pub(crate) struct At<T> {
    pub value: T,
    pub place: Place,
}

/// What stands beside a finding.
#[derive(Debug, Default)]
pub(crate) struct More {
    /// Other places, each with what is there.
    pub related: Vec<(Place, String)>,
    /// An action that shows it.
    pub request: Option<Action>,
}

/// The findings so far.
pub(crate) struct Report<'s> {
    files: BTreeMap<&'s str, Lines<'s>>,
    found: Vec<Diagnostic>,
}

/// A file's text and where each of its lines ends, so that a place is told without reading all before it.
struct Lines<'s> {
    text: &'s str,
    ends: Vec<usize>,
}

impl<'s> Report<'s> {
    pub fn new(files: &'s BTreeMap<String, String>) -> Self {
        let lines = |text: &'s str| Lines { text, ends: memchr::memchr_iter(b'\n', text.as_bytes()).collect() };
        let files = files.iter().map(|(name, text)| (name.as_str(), lines(text))).collect();
        Self { files, found: Vec::new() }
    }

    pub fn error(&mut self, code: &'static str, at: &Place, message: impl Into<String>, hint: impl Into<Hint>) {
        self.add(Severity::Error, code, at, message.into(), hint.into().0);
    }

    pub fn warning(&mut self, code: &'static str, at: &Place, message: impl Into<String>, hint: impl Into<Hint>) {
        self.add(Severity::Warning, code, at, message.into(), hint.into().0);
    }

    fn add(&mut self, severity: Severity, code: &'static str, at: &Place, message: String, hint: Option<String>) {
        self.tell(severity, code, at, message, hint, More::default());
    }

    /// A finding with what shows it.
    pub fn tell(
        &mut self,
        severity: Severity,
        code: &'static str,
        at: &Place,
        message: String,
        hint: Option<String>,
        more: More,
    ) {
        if self.found.len() >= FINDINGS_MAX {
            return;
        }
        let (message, hint) = (bounded(&message), hint.as_deref().map(bounded));
        let (span, Position { line, column }, end) = self.where_is(at);
        let related = more
            .related
            .into_iter()
            .map(|(at, message)| {
                let (span, Position { line, column }, end) = self.where_is(&at);
                Related { file: at.file.to_string(), span, line, column, end, message: bounded(&message) }
            })
            .collect();
        let (file, request) = (at.file.to_string(), more.request);
        self.found.push(Diagnostic { severity, code, file, span, line, column, end, message, hint, related, request });
    }

    fn where_is(&self, at: &Place) -> (Span, Position, Position) {
        let position = |offset: usize| {
            let (line, column) = self.line_column(&Place::new(&at.file, offset..offset));
            Position { line, column }
        };
        let span = Span { start: at.span.start, end: at.span.end };
        (span, position(at.span.start), position(at.span.end))
    }

    pub fn has_errors(&self) -> bool {
        self.found.iter().any(|d| d.severity == Severity::Error)
    }

    /// `file:line` of a place.
    pub fn source(&self, at: &Place) -> String {
        format!("{}:{}", at.file, self.line_column(at).0)
    }

    fn line_column(&self, at: &Place) -> (usize, usize) {
        self.files.get(&*at.file).map_or((1, 1), |lines| lines.line_column(at.span.start))
    }

    pub fn finish(mut self) -> Diagnostics {
        self.found.sort_by(|a, b| (&a.file, a.span, a.code, &a.message).cmp(&(&b.file, b.span, b.code, &b.message)));
        self.found.dedup();
        Diagnostics(self.found)
    }
}

/// What to do about a finding, if anything is known.
pub(crate) struct Hint(Option<String>);

impl From<()> for Hint {
    fn from((): ()) -> Self {
        Hint(None)
    }
}
impl From<&str> for Hint {
    fn from(text: &str) -> Self {
        Hint(Some(text.to_owned()))
    }
}
impl From<String> for Hint {
    fn from(text: String) -> Self {
        Hint(Some(text))
    }
}
impl From<Option<String>> for Hint {
    fn from(text: Option<String>) -> Self {
        Hint(text)
    }
}

impl Lines<'_> {
    /// 1-based line and column (in characters) of a byte offset.
    fn line_column(&self, offset: usize) -> (usize, usize) {
        let mut at = offset.min(self.text.len());
        while !self.text.is_char_boundary(at) {
            at -= 1;
        }
        let before = self.ends.partition_point(|end| *end < at);
        let start = before.checked_sub(1).and_then(|n| self.ends.get(n)).map_or(0, |end| end + 1);
        (before + 1, self.text.get(start..at).unwrap_or_default().chars().count() + 1)
    }
}

/// `did you mean …?` when one of the candidates is near, or else what there is.
pub(crate) fn nearest<'c>(wrote: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<String> {
    let all: Vec<&str> = candidates.into_iter().collect();
    let limit = (wrote.chars().count() / 3).max(1) + 1;
    let near =
        all.iter().map(|c| (strsim::damerau_levenshtein(&clip(wrote), c), *c)).min().filter(|(far, _)| *far <= limit);
    if let Some((_, near)) = near {
        return Some(format!("did you mean `{near}`?"));
    }
    if all.is_empty() {
        return None;
    }
    let shown = all.iter().take(24).map(|c| format!("`{c}`")).collect::<Vec<_>>().join(", ");
    Some(format!("there is {shown}{}", if all.len() > 24 { ", …" } else { "" }))
}

/// At most 80 characters of what was written, so that no message grows with hostile input.
pub(crate) fn clip(text: &str) -> String {
    text.chars().take(80).collect()
}

/// Longest text in backticks, and longest message, in characters.
const QUOTED_MAX: usize = 160;
const MESSAGE_MAX: usize = 1_200;

/// What is told, with every quotation cut: the one place that all findings pass.
fn bounded(said: &str) -> String {
    let cut = |text: &str, max: usize| match text.char_indices().nth(max) {
        Some((at, _)) => format!("{}…", text.get(..at).unwrap_or_default()),
        None => text.to_owned(),
    };
    let parts = said.split('`').zip([false, true].into_iter().cycle());
    let parts: Vec<String> =
        parts.map(|(part, is_quoted)| if is_quoted { cut(part, QUOTED_MAX) } else { part.to_owned() }).collect();
    // Quoted text may hold backticks itself, so that what follows counts as the message's own.
    cut(&parts.join("`"), MESSAGE_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_is_bounded() {
        let long = "é".repeat(3_000);
        let quoted = bounded(&format!("no verb `{long}`: mend it"));
        assert_eq!(quoted, format!("no verb `{}…`: mend it", "é".repeat(QUOTED_MAX)));
        assert_eq!(bounded(&format!("`a`b{long}`")).chars().count(), MESSAGE_MAX + 1);
        assert_eq!(bounded("`a` and `b`"), "`a` and `b`");
    }

    #[test]
    fn places_are_told_by_line_and_character() {
        let text = "é1\n\nxyz\n";
        let files = BTreeMap::from([("f".to_owned(), text.to_owned())]);
        let report = Report::new(&files);
        let told: Vec<(usize, usize)> =
            (0..=text.len() + 2).map(|n| report.line_column(&Place::new(&Arc::from("f"), n..n))).collect();
        let line = [(1, 1), (1, 1), (1, 2), (1, 3), (2, 1), (3, 1), (3, 2), (3, 3), (3, 4), (4, 1), (4, 1), (4, 1)];
        assert_eq!(told, line);
        assert_eq!(report.line_column(&Place::new(&Arc::from("other"), 5..6)), (1, 1));
    }
}
