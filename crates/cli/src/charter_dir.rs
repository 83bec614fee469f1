//! Finds a charter's folder and compiles it, showing what is wrong with it at its place.

use crate::failure::{Failure, Kind};
use crate::output::Output;
use flyball_kernel::{Charter, Diagnostic, Diagnostics, Severity, Sources};
use flyball_runtime::charter::{self, CharterError};
use miette::{GraphicalReportHandler, GraphicalTheme, LabeledSpan, NamedSource, SourceCode};
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// The folder's name within a workspace.
pub const FOLDER: &str = ".flyball";

/// The folder that was named, or the nearest `.flyball` upwards from the current folder.
pub fn locate(named: Option<&Path>) -> Result<PathBuf, Failure> {
    if let Some(path) = named {
        let dir = if path.is_file() { path.parent().unwrap_or(path) } else { path };
        let below = dir.join(FOLDER);
        return Ok(if !dir.join("charter.toml").exists() && below.is_dir() { below } else { dir.to_path_buf() });
    }
    let here =
        std::env::current_dir().map_err(|e| Failure::user("FB0512", format!("can't tell the current folder: {e}")))?;
    here.ancestors().map(|dir| dir.join(FOLDER)).find(|dir| dir.is_dir()).ok_or_else(|| {
        Failure::user(
            "FB0501",
            format!("no charter: neither `{}` nor a folder above it has a `{FOLDER}`", here.display()),
        )
        .hint("write one with `flyball init`, or name one")
    })
}

/// Reads and compiles a folder. What is wrong with it is shown at once, and only the exit code is left to give.
pub fn load(out: Output, dir: &Path) -> Result<(Charter, Diagnostics, Sources), Failure> {
    charter::load(dir).map_err(|error| refused(out, error))
}

/// Says why there is no charter.
pub fn refused(out: Output, error: CharterError) -> Failure {
    match error {
        CharterError::Missing(_) => Failure::user("FB0503", error.to_string())
            .hint("`flyball init` writes a charter; `--charter DIR` names another"),
        CharterError::Read { .. } => Failure::user("FB0503", error.to_string())
            .hint("a charter is a folder with `charter.toml` and any `*.cedar` beside it, each UTF-8 text"),
        CharterError::Wrong { dir, sources, diagnostics } => {
            show(out, &dir, &sources, &diagnostics);
            let errors = diagnostics.0.iter().filter(|d| d.severity == Severity::Error).count();
            let s = if errors == 1 { "" } else { "s" };
            Failure::user(
                "FB0517",
                format!("the charter in `{}` has {errors} error{s}: nothing can run under it", dir.display()),
            )
            .hint("mend what is shown above; `flyball explain CODE` says more about each")
            .of(Kind::User)
        }
    }
}

/// Shows findings on standard error, each at its place.
pub fn show(out: Output, dir: &Path, sources: &Sources, diagnostics: &Diagnostics) {
    if out.is_json {
        for finding in &diagnostics.0 {
            if let Ok(text) = serde_json::to_string(finding) {
                out.warn(&text);
            }
        }
        return;
    }
    let theme = if out.has_colour_err() { GraphicalTheme::unicode() } else { GraphicalTheme::unicode_nocolor() };
    let handler = GraphicalReportHandler::new_themed(theme).with_width(out.columns().min(120)).with_links(false);
    for finding in diagnostics.0.iter().take(DRAWN_MAX) {
        let file = dir.join(&finding.file);
        let text = sources.get(&finding.file).map(String::as_str).unwrap_or_default();
        let part = drawable(text, finding.span.start, finding.span.end);
        let source = part.as_ref().map(|_| NamedSource::new(file.display().to_string(), text.to_owned()));
        let place = (part.is_none() && !text.is_empty())
            .then(|| format!("{}:{}:{}", file.display(), finding.line, finding.column));
        let shown = Shown { finding, source: source.zip(part), place };
        let mut page = String::new();
        if handler.render_report(&mut page, &shown).is_ok() {
            out.warn(page.trim_end());
        }
    }
    if let Some(more @ 1..) = diagnostics.0.len().checked_sub(DRAWN_MAX) {
        out.warn(&format!("and {more} more: mend these first; `--json` lists all"));
    }
}

/// Most findings that are drawn: each is looked for in the text from its start on.
const DRAWN_MAX: usize = 50;

/// Longest line that is drawn, bytes, and most lines that are marked: of more the first one is.
const LINE_MAX: usize = 2_000;
const LINES_MAX: usize = 12;

/// The part of a text that is marked; nothing where its lines are too long to be drawn, or there is no text to point at.
fn drawable(text: &str, start: usize, end: usize) -> Option<Range<usize>> {
    let start = start.min(text.len());
    let end = end.clamp(start, text.len());
    let marked = text.get(start..end)?;
    let first = marked.find('\n').unwrap_or(marked.len());
    let end = if marked.lines().take(LINES_MAX + 1).count() > LINES_MAX { start + first } else { end };
    // A line before and after is drawn as well.
    let before = text.get(..start)?.rsplitn(3, '\n').take(2).map(str::len);
    let after = text.get(end..)?.splitn(3, '\n').take(2).map(str::len);
    let within = text.get(start..end)?.lines().map(str::len);
    let longest = before.chain(after).chain(within).max().unwrap_or_default();
    (!text.is_empty() && longest <= LINE_MAX).then_some(start..end)
}

/// A finding of the kernel's as miette draws it.
struct Shown<'f> {
    finding: &'f Diagnostic,
    /// The text, and what is marked of it.
    source: Option<(NamedSource<String>, Range<usize>)>,
    /// Where it is, when that can't be drawn.
    place: Option<String>,
}

impl fmt::Debug for Shown<'_> {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.finding, to)
    }
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Some(place) => write!(to, "{place}: {}", self.finding.message),
            None => to.write_str(&self.finding.message),
        }
    }
}

impl std::error::Error for Shown<'_> {}

impl miette::Diagnostic for Shown<'_> {
    fn code<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        Some(Box::new(self.finding.code))
    }
    fn severity(&self) -> Option<miette::Severity> {
        Some(match self.finding.severity {
            Severity::Warning => miette::Severity::Warning,
            Severity::Error => miette::Severity::Error,
        })
    }
    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.finding.hint.as_ref().map(|hint| Box::new(hint) as Box<dyn fmt::Display>)
    }
    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.source.as_ref().map(|(source, _)| source as &dyn SourceCode)
    }
    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let (_, part) = self.source.as_ref()?;
        Some(Box::new(std::iter::once(LabeledSpan::new(None, part.start, part.len()))))
    }
}
