//! A shell word's meaning, where it has one before it runs, and the commands that are substituted into it.

use crate::reading::Word;
use brush_parser::ParserOptions;
use brush_parser::word::{self, Parameter, ParameterExpr, TildeExpr, WordPiece, WordPieceWithSource};
use std::collections::BTreeMap;

/// Openers of expansions in one word that are read, at most: the grammar's reader recurses at each.
pub(crate) const OPENERS_MAX: usize = 64;

/// A word, read.
pub(crate) struct Read {
    pub word: Word,
    /// The scripts inside `$(…)` and backquotes.
    pub scripts: Vec<String>,
    /// Whether something in it could not be read at all.
    pub is_unread: bool,
    /// Whether it may assign to a variable: by arithmetic, or a value that is given where there was none.
    pub is_assigning: bool,
    /// Whether the shell works out an expression in it.
    pub works_out: bool,
}

/// Whether a variable's index in that text runs a command when a shell works it out, quotes or not.
pub(crate) fn may_run_by_index(text: &str) -> bool {
    text.contains('[') && (text.contains("$(") || text.contains('`'))
}

/// What a word may draw on.
#[derive(Clone, Copy)]
pub(crate) struct Known<'a> {
    pub home: &'a str,
    pub cwd: Option<&'a str>,
    /// Variables, and what they hold.
    pub vars: &'a BTreeMap<String, String>,
}

/// Reads a word as the script has it, quotes and all.
pub(crate) fn read(text: &str, known: Known<'_>, options: &ParserOptions) -> Read {
    if let Some(literal) = literal(text) {
        return Read {
            word: Word::Known(literal),
            scripts: Vec::new(),
            is_unread: false,
            is_assigning: false,
            works_out: false,
        };
    }
    let out = Some(String::new());
    let mut state = State::new(known, out, options);
    state.has_list = text.contains(',') || text.contains("..");
    if is_too_deep(text) || is_wild_tilde(text) {
        state.is_unread = true;
        state.out = None;
    } else {
        match word::parse(text, options) {
            Ok(pieces) => state.pieces(&pieces, false),
            Err(_) => {
                state.is_unread = true;
                state.out = None;
            }
        }
    }
    let word = match state.out {
        Some(s) => Word::Known(s),
        None => Word::Unknown(text.to_owned()),
    };
    Read {
        word,
        scripts: state.scripts,
        is_unread: state.is_unread,
        is_assigning: state.is_assigning,
        works_out: state.works_out,
    }
}

/// The scripts substituted into a here-document's body, or `None` where that can't be read.
pub(crate) fn heredoc_scripts(text: &str, options: &ParserOptions) -> Option<Vec<String>> {
    if !text.contains(['$', '`']) {
        return Some(Vec::new());
    }
    if is_too_deep(text) {
        return None;
    }
    let pieces = word::parse_heredoc(text, options).ok()?;
    let vars = BTreeMap::new();
    let known = Known { home: "", cwd: None, vars: &vars };
    let mut state = State::new(known, None, options);
    state.pieces(&pieces, true);
    (!state.is_unread).then_some(state.scripts)
}

/// A word of plain characters and plain quotes only. Most are, and need no grammar.
fn literal(text: &str) -> Option<String> {
    let mut out = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\'' => {
                let before = out.len();
                let mut closed = false;
                for c in chars.by_ref() {
                    if c == '\'' {
                        closed = true;
                        break;
                    }
                    out.push(c);
                }
                if !closed {
                    out.truncate(before);
                    return None;
                }
            }
            '"' => loop {
                match chars.next()? {
                    '"' => break,
                    '$' | '`' | '\\' => return None,
                    c => out.push(c),
                }
            },
            '\\' => match chars.next()? {
                '\n' => {}
                c => out.push(c),
            },
            '$' | '`' | '*' | '?' | '[' | '{' | '~' | '(' | ')' | '<' | '>' | '!' | '@' | '+' => {
                return plain_exception(text);
            }
            c => out.push(c),
        }
    }
    Some(out)
}

/// Words with a special character that means itself where it stands.
fn plain_exception(text: &str) -> Option<String> {
    let is_plain = matches!(text, "[" | "[[" | "{}" | "{" | "!" | "@" | "+")
        || text.bytes().all(|b| b.is_ascii_alphanumeric() || b"@+!-_./:=,%^~".contains(&b)) && !text.contains('~')
        || text.find('~').is_some_and(|at| at > 0)
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"@+!-_./,%^~".contains(&b));
    is_plain.then(|| text.to_owned())
}

fn is_too_deep(text: &str) -> bool {
    text.bytes().filter(|b| matches!(b, b'(' | b'{' | b'`' | b'[')).count() > OPENERS_MAX
}

/// `~99999999999`: more digits than the grammar's reader has room for.
fn is_wild_tilde(text: &str) -> bool {
    text.contains('~') && text.as_bytes().windows(10).any(|w| w.iter().all(u8::is_ascii_digit))
}

struct State<'a> {
    known: Known<'a>,
    /// `None` once it can't be known.
    out: Option<String>,
    scripts: Vec<String>,
    is_unread: bool,
    is_assigning: bool,
    works_out: bool,
    /// The word has in it, somewhere, what makes several words of a brace.
    has_list: bool,
    options: &'a ParserOptions,
}

impl<'a> State<'a> {
    fn new(known: Known<'a>, out: Option<String>, options: &'a ParserOptions) -> Self {
        let scripts = Vec::new();
        Self { known, out, scripts, is_unread: false, is_assigning: false, works_out: false, has_list: false, options }
    }
}

impl State<'_> {
    fn pieces(&mut self, pieces: &[WordPieceWithSource], is_quoted: bool) {
        for piece in pieces {
            self.piece(&piece.piece, is_quoted);
        }
    }

    fn piece(&mut self, piece: &WordPiece, is_quoted: bool) {
        match piece {
            WordPiece::Text(s) if is_quoted => self.add(s),
            // Globs and braces make other words of it.
            WordPiece::Text(s) if s.contains(['*', '?', '[']) && s != "[" => self.out = None,
            WordPiece::Text(s) if s.contains('{') && self.has_list => self.out = None,
            WordPiece::Text(s) | WordPiece::SingleQuotedText(s) => self.add(s),
            WordPiece::AnsiCQuotedText(s) if !s.contains('\\') => self.add(s),
            WordPiece::EscapeSequence(s) => {
                let c = s.strip_prefix('\\').unwrap_or(s);
                if c != "\n" {
                    self.add(c);
                }
            }
            WordPiece::DoubleQuotedSequence(inner) => self.pieces(inner, true),
            WordPiece::TildeExpansion(TildeExpr::Home) => self.home(),
            WordPiece::ParameterExpansion(expr) => self.parameter(expr, is_quoted),
            WordPiece::CommandSubstitution(script) => {
                self.scripts.push(script.clone());
                self.out = None;
            }
            WordPiece::BackquotedCommandSubstitution(script) => {
                // Within backquotes a backslash takes the meaning from `$`, a backquote and itself.
                self.scripts.push(script.replace("\\`", "`").replace("\\$", "$").replace("\\\\", "\\"));
                self.out = None;
            }
            WordPiece::ArithmeticExpression(expr) => {
                self.out = None;
                self.works_out(&expr.value);
                self.nested(&expr.value);
            }
            WordPiece::GettextDoubleQuotedSequence(inner) => {
                self.pieces(inner, true);
                self.out = None;
            }
            WordPiece::AnsiCQuotedText(_) | WordPiece::TildeExpansion(_) => self.out = None,
        }
    }

    fn parameter(&mut self, expr: &ParameterExpr, is_quoted: bool) {
        if let ParameterExpr::Parameter { parameter: Parameter::Named(name), indirect: false } = expr {
            // Unquoted, a space in the value would make two words of it.
            let fits = |s: &str| !s.is_empty() && (is_quoted || !s.contains([' ', '\t', '\n', '*', '?', '[']));
            match name.as_str() {
                "HOME" if fits(self.known.home) => return self.home(),
                "PWD" if self.known.cwd.is_some_and(fits) => {
                    let cwd = self.known.cwd.unwrap_or_default().to_owned();
                    return self.add(&cwd);
                }
                name => {
                    let is_plain =
                        |s: &str| !s.is_empty() && s.chars().all(|c| c.is_alphanumeric() || "_./:=,@%+-".contains(c));
                    if let Some(value) = self.known.vars.get(name).filter(|value| is_quoted || is_plain(value)) {
                        return self.add(value);
                    }
                }
            }
        }
        self.out = None;
        // What is worked out (an index, an offset) and what is given where there was nothing may be assigned.
        self.is_assigning |= match expr {
            ParameterExpr::Parameter { parameter: Parameter::NamedWithIndex { .. }, .. }
            | ParameterExpr::AssignDefaultValues { .. }
            | ParameterExpr::Substring { .. } => true,
            ParameterExpr::Parameter { .. } => false,
            _ => true,
        };
        if let ParameterExpr::Parameter { parameter: Parameter::NamedWithIndex { index, .. }, .. } = expr {
            self.works_out(index);
        }
        match expr {
            ParameterExpr::UseDefaultValues { default_value: text, .. }
            | ParameterExpr::AssignDefaultValues { default_value: text, .. }
            | ParameterExpr::IndicateErrorIfNullOrUnset { error_message: text, .. }
            | ParameterExpr::UseAlternativeValue { alternative_value: text, .. }
            | ParameterExpr::RemoveSmallestSuffixPattern { pattern: text, .. }
            | ParameterExpr::RemoveLargestSuffixPattern { pattern: text, .. }
            | ParameterExpr::RemoveSmallestPrefixPattern { pattern: text, .. }
            | ParameterExpr::RemoveLargestPrefixPattern { pattern: text, .. } => {
                self.nested(text.as_deref().unwrap_or_default());
            }
            ParameterExpr::ReplaceSubstring { pattern, replacement, .. } => {
                self.nested(pattern);
                self.nested(replacement.as_deref().unwrap_or_default());
            }
            ParameterExpr::Substring { offset, length, .. } => {
                self.works_out(&offset.value);
                self.works_out(length.as_ref().map(|l| l.value.as_str()).unwrap_or_default());
                self.nested(&offset.value);
                self.nested(length.as_ref().map(|l| l.value.as_str()).unwrap_or_default());
            }
            _ => {}
        }
    }

    /// An expression that the shell works out: within an index commands are run, quotes or not.
    fn works_out(&mut self, text: &str) {
        (self.is_assigning, self.works_out) = (true, true);
        self.is_unread |= may_run_by_index(text);
        self.nested(text);
    }

    /// Text inside an expansion, of which only the commands matter. Shorter than what it is in, so this ends.
    fn nested(&mut self, text: &str) {
        if !text.contains(['$', '`']) {
            return;
        }
        match word::parse(text, self.options) {
            Ok(pieces) => self.pieces(&pieces, true),
            Err(_) => self.is_unread = true,
        }
        self.out = None;
    }

    fn home(&mut self) {
        if self.known.home.is_empty() {
            self.out = None;
        } else {
            let home = self.known.home.to_owned();
            self.add(&home);
        }
    }

    fn add(&mut self, s: &str) {
        if let Some(out) = &mut self.out {
            out.push_str(s);
        }
    }
}
