//! What is wrong with a charter: file, place, code, message and hint, as data. Rendering is the command line's.

use crate::action::Action;
use serde::Serialize;

/// Whether a charter with this finding may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// It may.
    Warning,
    /// It may not.
    Error,
}

/// Bytes `start..end` of a file of the charter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Span {
    /// First byte.
    pub start: usize,
    /// One past the last byte.
    pub end: usize,
}

/// A place in a text as editors say it, 1-based, columns in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Position {
    /// The line.
    pub line: usize,
    /// The column.
    pub column: usize,
}

/// Another place that a finding speaks of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Related {
    /// The file's name within the charter's folder.
    pub file: String,
    /// Where in it.
    pub span: Span,
    /// 1-based line of `span.start`.
    pub line: usize,
    /// 1-based column, in characters.
    pub column: usize,
    /// Where it ends.
    pub end: Position,
    /// What is there.
    pub message: String,
}

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// Stable code, `FB0101`; `flyball explain` has a page on it.
    pub code: &'static str,
    /// The file's name within the charter's folder.
    pub file: String,
    /// Where in it.
    pub span: Span,
    /// 1-based line of `span.start`.
    pub line: usize,
    /// 1-based column, in characters.
    pub column: usize,
    /// Where it ends.
    pub end: Position,
    /// What is wrong: lower-case, quoting what was written in backticks.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// Other places that have to do with it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub related: Vec<Related>,
    /// An action that shows it, as `flyball test` takes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request: Option<Action>,
}

/// All findings of a compilation, in order of file and place.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, thiserror::Error)]
#[error("the charter has {} findings", .0.len())]
pub struct Diagnostics(pub Vec<Diagnostic>);

impl Diagnostics {
    /// Whether any of them is an error.
    #[must_use]
    pub fn has_errors(&self) -> bool {
        self.0.iter().any(|d| d.severity == Severity::Error)
    }
}
