//! Collects findings with their places, so that everything that is wrong is told at once.

use crate::diagnostic::{Diagnostic, Diagnostics, Severity, Span};
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

/// The findings so far.
pub(crate) struct Report<'s> {
    files: &'s BTreeMap<String, String>,
    found: Vec<Diagnostic>,
}

impl<'s> Report<'s> {
    pub fn new(files: &'s BTreeMap<String, String>) -> Self {
        Self { files, found: Vec::new() }
    }

    pub fn error(&mut self, code: &'static str, at: &Place, message: impl Into<String>, hint: impl Into<Hint>) {
        self.add(Severity::Error, code, at, message.into(), hint.into().0);
    }

    pub fn warning(&mut self, code: &'static str, at: &Place, message: impl Into<String>, hint: impl Into<Hint>) {
        self.add(Severity::Warning, code, at, message.into(), hint.into().0);
    }

    fn add(&mut self, severity: Severity, code: &'static str, at: &Place, message: String, hint: Option<String>) {
        if self.found.len() >= FINDINGS_MAX {
            return;
        }
        let text = self.files.get(&*at.file).map_or("", String::as_str);
        let (line, column) = line_column(text, at.span.start);
        let span = Span { start: at.span.start, end: at.span.end };
        self.found.push(Diagnostic { severity, code, file: at.file.to_string(), span, line, column, message, hint });
    }

    pub fn has_errors(&self) -> bool {
        self.found.iter().any(|d| d.severity == Severity::Error)
    }

    /// `file:line` of a place.
    pub fn source(&self, at: &Place) -> String {
        let text = self.files.get(&*at.file).map_or("", String::as_str);
        format!("{}:{}", at.file, line_column(text, at.span.start).0)
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

/// 1-based line and column (in characters) of a byte offset.
fn line_column(text: &str, offset: usize) -> (usize, usize) {
    let mut at = offset.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    let before = text.get(..at).unwrap_or_default();
    let line_start = before.rfind('\n').map_or(0, |n| n + 1);
    let line = before.bytes().filter(|b| *b == b'\n').count() + 1;
    (line, before.get(line_start..).unwrap_or_default().chars().count() + 1)
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
