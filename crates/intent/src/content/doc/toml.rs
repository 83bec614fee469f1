//! TOML, by the events of `toml_parser`: the grammar is theirs, the tree is never built.

use super::{DEPTH_MAX, Leaf, Path, Place, Unread};
use std::borrow::Cow;
use std::collections::BTreeMap;
use toml_parser::decoder::Encoding;
use toml_parser::parser::{EventReceiver, RecursionGuard, ValidateWhitespace, parse_document};
use toml_parser::{ErrorSink, ParseError, Raw, Source, Span};

/// Tokens of a document, at most: its lexer's take 24 bytes each.
const TOKENS_MAX: usize = 1_000_000;

/// Hands each leaf to `see`, in the order of the text. That a key is said twice goes unnoticed: both are seen.
pub(crate) fn leaves(text: &str, see: &mut dyn FnMut(Path<'_>, Leaf<'_>)) -> Result<(), Unread> {
    let source = Source::new(text);
    if source.lex().take(TOKENS_MAX + 1).count() > TOKENS_MAX {
        return Err(Unread);
    }
    let tokens = source.lex().into_vec();
    let mut failed: Option<ParseError> = None;
    let mut walk = Walk {
        source,
        see,
        place: Place::default(),
        table: 0,
        key: Vec::new(),
        open: Vec::new(),
        is_in_header: false,
        tables: BTreeMap::new(),
        is_unread: false,
    };
    let mut spaces = ValidateWhitespace::new(&mut walk, source);
    let mut guard = RecursionGuard::new(&mut spaces, DEPTH_MAX as u32);
    parse_document(&tokens, &mut guard, &mut failed);
    match failed.is_none() && !walk.is_unread {
        true => Ok(()),
        false => Err(Unread),
    }
}

/// A table or array that is open in a value.
struct Open {
    /// Steps of the place that holds its entries.
    base: usize,
    /// Steps to go back to once it is closed.
    outer: usize,
    /// Index of the next item; `None` in a table.
    item: Option<usize>,
    is_empty: bool,
}

struct Walk<'s, 'f> {
    source: Source<'s>,
    see: &'f mut dyn FnMut(Path<'_>, Leaf<'_>),
    place: Place,
    /// Steps of the table whose header came last.
    table: usize,
    /// The dotted key being read.
    key: Vec<String>,
    open: Vec<Open>,
    is_in_header: bool,
    /// How many elements each array of tables has so far, by its place.
    tables: BTreeMap<Vec<String>, usize>,
    is_unread: bool,
}

impl<'s> Walk<'s, '_> {
    fn raw(&self, span: Span, encoding: Option<Encoding>) -> Raw<'s> {
        let text = self.source.input().get(span.start()..span.end()).unwrap_or_default();
        Raw::new_unchecked(text, encoding, span)
    }

    fn check(&mut self, result: Result<(), Unread>) {
        self.is_unread |= result.is_err();
    }

    /// A header's place: each array of tables on the way stands for its last element.
    fn enter_table(&mut self, is_array: bool) {
        let key = std::mem::take(&mut self.key);
        let last = key.len().saturating_sub(1);
        self.place.truncate(0);
        for (at, step) in key.iter().enumerate() {
            let result = self.place.push_key(step);
            self.check(result);
            let index = if at == last && is_array {
                let count = self.tables.entry(self.place.steps.clone()).or_default();
                *count += 1;
                Some(*count)
            } else {
                self.tables.get(&self.place.steps).copied()
            };
            if let Some(index) = index {
                let result = self.place.push_item(index);
                self.check(result);
            }
        }
        self.table = self.place.steps.len();
        // A table without entries is there as well.
        self.place.see(Leaf::Empty, self.see);
    }

    /// The place that values of the innermost open table or array stand in.
    fn base(&self) -> usize {
        self.open.last().map_or(self.table, |open| open.base)
    }

    /// The steps to a value that starts here.
    fn enter_value(&mut self) {
        let mut item = None;
        if let Some(open) = self.open.last_mut() {
            open.is_empty = false;
            item = open.item;
            open.item = open.item.map(|index| index + 1);
        }
        let result = match item {
            Some(index) => self.place.push_item(index),
            None => std::mem::take(&mut self.key).iter().try_for_each(|step| self.place.push_key(step)),
        };
        self.check(result);
    }

    fn open(&mut self, item: Option<usize>) -> bool {
        let outer = self.base();
        self.enter_value();
        self.open.push(Open { base: self.place.steps.len(), outer, item, is_empty: true });
        !self.is_unread
    }

    fn close(&mut self) {
        let Some(open) = self.open.pop() else { return };
        if open.is_empty {
            self.place.see(Leaf::Empty, self.see);
        }
        self.place.truncate(open.outer);
    }
}

impl EventReceiver for Walk<'_, '_> {
    fn std_table_open(&mut self, _: Span, _: &mut dyn ErrorSink) {
        self.key.clear();
        self.is_in_header = true;
    }

    fn std_table_close(&mut self, _: Span, _: &mut dyn ErrorSink) {
        if std::mem::take(&mut self.is_in_header) {
            self.enter_table(false);
        }
    }

    fn array_table_open(&mut self, _: Span, _: &mut dyn ErrorSink) {
        self.key.clear();
        self.is_in_header = true;
    }

    fn array_table_close(&mut self, _: Span, _: &mut dyn ErrorSink) {
        if std::mem::take(&mut self.is_in_header) {
            self.enter_table(true);
        }
    }

    fn inline_table_open(&mut self, _: Span, _: &mut dyn ErrorSink) -> bool {
        self.open(None)
    }

    fn inline_table_close(&mut self, _: Span, _: &mut dyn ErrorSink) {
        self.close();
    }

    fn array_open(&mut self, _: Span, _: &mut dyn ErrorSink) -> bool {
        self.open(Some(0))
    }

    fn array_close(&mut self, _: Span, _: &mut dyn ErrorSink) {
        self.close();
    }

    fn simple_key(&mut self, span: Span, encoding: Option<Encoding>, error: &mut dyn ErrorSink) {
        let mut key = Cow::Borrowed("");
        self.raw(span, encoding).decode_key(&mut key, error);
        if self.key.len() > DEPTH_MAX {
            self.is_unread = true;
            return;
        }
        self.key.push(key.into_owned());
    }

    fn scalar(&mut self, span: Span, encoding: Option<Encoding>, error: &mut dyn ErrorSink) {
        let mut text = Cow::Borrowed("");
        // What kind of scalar it is matters to nobody here.
        let _ = self.raw(span, encoding).decode_scalar(&mut text, error);
        let base = self.base();
        self.enter_value();
        let leaf = if encoding.is_some() { Leaf::Str(&text) } else { Leaf::Other(&text) };
        self.place.see(leaf, self.see);
        self.place.truncate(base);
    }

    fn error(&mut self, _: Span, _: &mut dyn ErrorSink) {
        self.is_unread = true;
    }
}
