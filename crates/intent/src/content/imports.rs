//! Modules that a source file imports, by tree-sitter's grammars: at its top, within functions, and as far as literals go at run
//! time (`require("x")`, `import("x")`, `__import__("x")`).
//!
//! A module is told by its full name and by every prefix of it, so that a rule can name either:
//!
//! | language | source | told as |
//! |---|---|---|
//! | Python | `import google.cloud.storage` | `google`, `google.cloud`, `google.cloud.storage` |
//! | | `from a import b` | `a`, `a.b` (which may be a module or not) |
//! | | `from ..x import y` | `..x`, `..x.y` |
//! | JavaScript, TypeScript | `import "@s/p/sub"` | `@s`, `@s/p`, `@s/p/sub` |
//! | | `require("node:fs/promises")` | `node:fs/promises`, `fs`, `fs/promises` |
//! | | `import "./x/y"`, `import "https://…"` | as it stands |
//! | Rust | `use a::{b, c::d}`, `a::b()` without a `use` | `a`, `a::b`, `a::c`, `a::c::d` |
//! | Go | `import "github.com/x/y"` | `github.com`, `github.com/x`, `github.com/x/y` |
//! | Java | `import java.net.*`, `new java.net.URL(…)` | `java`, `java.net`; `java.net.URL` |
//!
//! Not told: what is put together at run time, `eval` and the like. Opaque: a file with errors whose text has more words of
//! importing than its tree has imports; one that takes too long, counted in the parser's own steps and so the same everywhere; one with
//! more brackets open at once than people write.

mod dotted;
mod rust;
mod script;

use std::collections::BTreeSet;
use std::ops::{ControlFlow, Range};
use tree_sitter::{Language, Node, ParseOptions, Parser, Tree};

/// Bytes of a source file that are parsed, at most: a tree of real source takes some fifty times as many, the worst five hundred.
const SOURCE_BYTES_MAX: usize = 512 * 1024;

/// Names told of one file, at most.
const IMPORTS_MAX: usize = 1024;

/// Bytes of one name, at most.
const NAME_BYTES_MAX: usize = 256;

/// Prefixes told of one name, at most; the full name is told in any case.
const PREFIXES_MAX: usize = 16;

/// A hundred steps of the parser are one of these. Real sources (1200 files of four languages) take two steps a byte at most, and
/// 0.3 to 0.9 as a rule; this is three.
const STEPS_MIN: usize = 500;
const BYTES_FOR_STEPS: usize = 33;

/// Of the parser's stack a deep one is let go of by recursion, a hundred bytes for each of its nodes, of which a byte of source
/// makes one at most: the caller's own stack would end, and with it the process.
const STACK_BYTES_MIN: usize = 1 << 20;
const STACK_BYTES_FOR_EACH: usize = 256;

/// Brackets open at once, at most. Python takes 200 and what people write some dozens; beyond it a grammar that doesn't know which
/// of several things it reads takes a thousand times a step's time for each byte, and no more steps.
const OPEN_BRACKETS_MAX: usize = 512;

/// What a step counts once there was an error: to look for a way on takes far more than to go straight on.
const ERROR_STEPS: usize = 3;

/// How a language's imports are found.
#[derive(Clone, Copy)]
pub(super) struct Source {
    pub reader: &'static str,
    language: fn() -> Language,
    /// Told of each node of the tree; says whether to look further in.
    see: fn(&mut Found<'_>, Node<'_>) -> bool,
    /// Words without which nothing is imported.
    words: &'static [&'static str],
    /// Whether letters can be written as `\u0069`, anywhere.
    has_escapes: bool,
}

/// The language of a file, by its name.
pub(super) fn source(path: &str) -> Option<Source> {
    let name = crate::names::base(path);
    let (stem, extension) = name.rsplit_once('.')?;
    if stem.is_empty() {
        return None;
    }
    let script = |language| Source {
        reader: "imports-javascript/1",
        language,
        see: script::see,
        words: &["import", "require", "from"],
        has_escapes: true,
    };
    Some(match extension {
        "rs" => Source {
            reader: "imports-rust/1",
            language: || tree_sitter_rust::LANGUAGE.into(),
            see: rust::see,
            words: &["use", "extern", "::"],
            has_escapes: false,
        },
        "py" | "pyi" | "pyw" => Source {
            reader: "imports-python/1",
            language: || tree_sitter_python::LANGUAGE.into(),
            see: dotted::python,
            words: &["import"],
            has_escapes: false,
        },
        // JSX is in the grammar of JavaScript; TypeScript has two, since `<T>x` is another thing in each.
        "js" | "mjs" | "cjs" | "jsx" => script(|| tree_sitter_javascript::LANGUAGE.into()),
        "ts" | "mts" | "cts" => script(|| tree_sitter_typescript::LANGUAGE_TYPESCRIPT.into()),
        "tsx" => script(|| tree_sitter_typescript::LANGUAGE_TSX.into()),
        "go" => Source {
            reader: "imports-go/1",
            language: || tree_sitter_go::LANGUAGE.into(),
            see: dotted::go,
            words: &["import"],
            has_escapes: false,
        },
        "java" => Source {
            reader: "imports-java/1",
            language: || tree_sitter_java::LANGUAGE.into(),
            see: dotted::java,
            words: &["import", "requires"],
            has_escapes: true,
        },
        _ => return None,
    })
}

/// What was found in a file.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Imports {
    /// Sorted, each once.
    pub names: Vec<String>,
    /// There may be more.
    pub is_opaque: bool,
}

/// The modules that the source imports.
pub(super) fn imports(source: Source, bytes: &[u8]) -> Imports {
    let opaque = Imports { is_opaque: true, ..Imports::default() };
    // A NUL between the letters is UTF-16, or something else that hides them.
    if bytes.len() > SOURCE_BYTES_MAX || bytes.contains(&0) || open_brackets(bytes) > OPEN_BRACKETS_MAX {
        return opaque;
    }
    stacker::grow(STACK_BYTES_MIN + bytes.len() * STACK_BYTES_FOR_EACH, || imports_of(source, bytes))
}

/// How many brackets stand open where most do, those of texts and comments counted as well.
fn open_brackets(bytes: &[u8]) -> usize {
    let open = bytes.iter().scan(0_usize, |open, byte| {
        match byte {
            b'(' | b'[' | b'{' => *open += 1,
            b')' | b']' | b'}' => *open = open.saturating_sub(1),
            _ => {}
        }
        Some(*open)
    });
    open.max().unwrap_or(0)
}

fn imports_of(source: Source, bytes: &[u8]) -> Imports {
    let opaque = Imports { is_opaque: true, ..Imports::default() };
    let Some(tree) = parse(source, bytes, &mut (STEPS_MIN + bytes.len() / BYTES_FOR_STEPS)) else { return opaque };
    let mut found = Found { bytes, names: BTreeSet::new(), read: Vec::new(), is_opaque: false };
    walk(&tree, &mut found, source.see);
    let mut is_opaque = found.is_opaque || std::str::from_utf8(bytes).is_err();
    if tree.root_node().has_error() {
        is_opaque |= found.has_unread(source.words) || source.has_escapes && holds(bytes, b"\\u");
    }
    Imports { names: found.names.into_iter().collect(), is_opaque }
}

/// The source's tree; `None` once it has taken more than `steps`, which are counted down.
fn parse(source: Source, bytes: &[u8], steps: &mut usize) -> Option<Tree> {
    let mut parser = Parser::new();
    parser.set_language(&(source.language)()).ok()?;
    let mut count = |state: &tree_sitter::ParseState| {
        *steps = steps.saturating_sub(if state.has_error() { ERROR_STEPS } else { 1 });
        if *steps == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let options = ParseOptions::new().progress_callback(&mut count);
    parser.parse_with_options(&mut |at, _| bytes.get(at..).unwrap_or_default(), None, Some(options))
}

/// Every node, outer ones first. Not by recursion: sources nest as deep as they like.
fn walk(tree: &Tree, found: &mut Found<'_>, see: fn(&mut Found<'_>, Node<'_>) -> bool) {
    let mut cursor = tree.walk();
    let mut depth = 0_usize;
    loop {
        let inside = see(found, cursor.node());
        if inside && cursor.goto_first_child() {
            depth += 1;
            continue;
        }
        while !cursor.goto_next_sibling() {
            if depth == 0 || !cursor.goto_parent() {
                return;
            }
            depth -= 1;
        }
    }
}

fn holds(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|at| at == part)
}

/// What is being found.
struct Found<'s> {
    bytes: &'s [u8],
    names: BTreeSet<String>,
    /// What was read as import, in bytes.
    read: Vec<Range<usize>>,
    is_opaque: bool,
}

impl<'s> Found<'s> {
    /// A node's text; empty, and the file opaque, where it is none.
    fn text(&mut self, node: Node<'_>) -> &'s str {
        match self.bytes.get(node.byte_range()).and_then(|bytes| std::str::from_utf8(bytes).ok()) {
            Some(text) => text,
            None => {
                self.is_opaque = true;
                ""
            }
        }
    }

    /// A node's text if it is no longer than a name can be. Paths stand within paths: reading each whole would take the square.
    fn short_text(&mut self, node: Node<'_>) -> Option<&'s str> {
        (node.byte_range().len() <= NAME_BYTES_MAX).then(|| self.text(node))
    }

    fn read(&mut self, node: Node<'_>) {
        self.read.push(node.byte_range());
    }

    /// A module by its full name, whose parts stand between `separator`s.
    fn name(&mut self, name: &str, separator: &str) {
        if name.is_empty() || name.len() > NAME_BYTES_MAX || name.chars().any(|c| c.is_whitespace() || c.is_control()) {
            self.is_opaque = true;
            return;
        }
        // Leading dots are Python's own and no parts.
        let start = if separator == "." { name.len() - name.trim_start_matches('.').len() } else { 0 };
        let inner = name.get(start..).unwrap_or_default();
        let prefixes = inner.match_indices(separator).map(|(at, _)| start + at).filter(|at| *at > start);
        for end in prefixes.take(PREFIXES_MAX) {
            self.insert(name.get(..end).unwrap_or_default());
        }
        self.insert(name);
    }

    fn insert(&mut self, name: &str) {
        if self.names.contains(name) {
            return;
        }
        if self.names.len() >= IMPORTS_MAX {
            self.is_opaque = true;
            return;
        }
        self.names.insert(name.to_owned());
    }

    /// Whether one of the words stands where nothing was read.
    fn has_unread(&mut self, words: &[&str]) -> bool {
        self.read.sort_by_key(|range| (range.start, std::cmp::Reverse(range.end)));
        let mut read = self.read.iter();
        let mut until = 0;
        let mut next = read.next();
        for at in 0..self.bytes.len() {
            while let Some(range) = next.filter(|range| range.start <= at) {
                until = until.max(range.end);
                next = read.next();
            }
            let rest = self.bytes.get(at..).unwrap_or_default();
            if at >= until && words.iter().any(|word| rest.starts_with(word.as_bytes())) {
                return true;
            }
        }
        false
    }
}

#[cfg(test)]
mod measure {
    use super::*;

    /// The parser's steps for each thousand bytes of real sources: `FLYBALL_SOURCES=FOLDER cargo test … -- --ignored --nocapture steps_of`.
    #[test]
    #[ignore = "measures"]
    fn steps_of_real_sources() {
        let mut open = vec![std::path::PathBuf::from(std::env::var("FLYBALL_SOURCES").unwrap_or_default())];
        let mut all: Vec<(usize, usize, String)> = Vec::new();
        while let Some(path) = open.pop() {
            if let Ok(entries) = std::fs::read_dir(&path) {
                open.extend(entries.flatten().map(|entry| entry.path()));
                continue;
            }
            let Some(source) = source(&path.to_string_lossy()) else { continue };
            let bytes = std::fs::read(&path).unwrap_or_default();
            if bytes.len() < 4_000 || all.len() > 700 {
                continue;
            }
            let mut steps = usize::MAX;
            let _ = parse(source, &bytes, &mut steps);
            all.push(((usize::MAX - steps) * 1000 * 100 / bytes.len(), bytes.len(), path.display().to_string()));
        }
        all.sort();
        eprintln!("{} files; median {:?}", all.len(), all.get(all.len() / 2));
        all.iter().rev().take(8).for_each(|one| eprintln!("{one:?}"));
    }
}
