//! Command-line options as getopt_long and its kin read them, by a table of the program's own options.

use crate::reading::Word;

/// A program's options. Each string is a name list: `f force`, with `=` at the end when it takes a value and `?` when it may
/// (only as `--name=value`).
pub(crate) struct Table {
    pub options: &'static [&'static str],
    /// Long names may be cut short where they stay unambiguous, and negated by `--no-`.
    pub abbreviates: bool,
    /// Options end at the first word that is none: what follows belongs to another program.
    pub stops: bool,
    /// `-name` is a long option (kubectl's kin do not do this; terraform, go and find do).
    pub single_dash: bool,
}

impl Table {
    pub const fn of(options: &'static [&'static str]) -> Self {
        Self { options, abbreviates: false, stops: false, single_dash: false }
    }
}

/// What stood on a command line.
#[derive(Debug, Default)]
pub(crate) struct Line {
    /// Each option by the last (long) name of its table entry, with its value; in order.
    pub options: Vec<(&'static str, Option<Word>)>,
    /// Everything else, in order.
    pub words: Vec<Word>,
    /// What stood after `--`, if it did.
    pub after: Option<Vec<Word>>,
    /// An option that the table does not have stood there, or a word that may turn out to be one.
    pub is_uncertain: bool,
}

impl Line {
    /// Whether the option stood there and was not taken back.
    pub fn has(&self, name: &str) -> bool {
        self.options
            .iter()
            .rev()
            .find(|(n, _)| n.trim_start_matches('!') == name)
            .is_some_and(|(n, _)| !n.starts_with('!'))
    }

    /// The option's last value.
    pub fn value(&self, name: &str) -> Option<&Word> {
        self.options.iter().rev().find(|(n, _)| *n == name).and_then(|(_, v)| v.as_ref())
    }

    /// All of the option's values.
    pub fn values(&self, name: &str) -> impl Iterator<Item = &Word> {
        self.options.iter().filter(move |(n, _)| *n == name).filter_map(|(_, v)| v.as_ref())
    }

    /// The words, those after `--` included.
    pub fn all(&self) -> Vec<Word> {
        let mut all = self.words.clone();
        all.extend(self.after.iter().flatten().cloned());
        all
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Takes {
    Nothing,
    Value,
    MaybeValue,
}

struct Found {
    name: &'static str,
    takes: Takes,
}

fn entry(text: &'static str) -> (impl Iterator<Item = &'static str>, Found) {
    let takes = if text.ends_with('=') {
        Takes::Value
    } else if text.ends_with('?') {
        Takes::MaybeValue
    } else {
        Takes::Nothing
    };
    let bare = text.trim_end_matches(['=', '?']);
    let name = bare.rsplit(' ').next().unwrap_or(bare);
    (bare.split(' '), Found { name, takes })
}

impl Table {
    fn long(&self, name: &str) -> Option<Found> {
        let mut near = Vec::new();
        for text in self.options {
            let (names, found) = entry(text);
            for n in names {
                if n == name && (n.len() > 1 || self.single_dash) {
                    return Some(found);
                }
                if self.abbreviates && n.len() > 1 && n.starts_with(name) {
                    near.push(text);
                    break;
                }
            }
        }
        match near.as_slice() {
            [one] => Some(entry(one).1),
            _ => None,
        }
    }

    fn short(&self, c: char) -> Option<Found> {
        self.options.iter().find_map(|text| {
            let (mut names, found) = entry(text);
            names.any(|n| n.chars().eq([c])).then_some(found)
        })
    }

    /// Reads a command line.
    pub fn read(&self, args: &[Word]) -> Line {
        let mut line = Line::default();
        let mut rest = args.iter();
        while let Some(word) = rest.next() {
            let Some(text) = word.known() else {
                line.is_uncertain = true;
                line.words.push(word.clone());
                if self.stops {
                    break;
                }
                continue;
            };
            if text == "--" {
                line.after = Some(rest.by_ref().cloned().collect());
            } else if let Some(long) = text.strip_prefix("--") {
                self.read_long(long, &mut rest, &mut line);
            } else if self.single_dash && text.len() > 1 && text.starts_with('-') {
                self.read_long(text.trim_start_matches('-'), &mut rest, &mut line);
            } else if text.len() > 1 && text.starts_with('-') {
                self.read_short(text, &mut rest, &mut line);
            } else {
                line.words.push(word.clone());
                if self.stops {
                    break;
                }
            }
        }
        line.words.extend(rest.cloned());
        line
    }

    fn read_long(&self, text: &str, rest: &mut std::slice::Iter<'_, Word>, line: &mut Line) {
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name, Some(Word::Known(value.to_owned()))),
            None => (text, None),
        };
        if let Some(found) = self.long(name) {
            let value = if found.takes == Takes::Value { value.or_else(|| rest.next().cloned()) } else { value };
            line.options.push((found.name, value));
        } else if self.abbreviates
            && let Some(found) = name.strip_prefix("no-").and_then(|n| self.long(n))
        {
            // Taken back: what stood before counts no more.
            line.options.retain(|(n, _)| *n != found.name);
        } else {
            line.is_uncertain = true;
        }
    }

    fn read_short(&self, text: &str, rest: &mut std::slice::Iter<'_, Word>, line: &mut Line) {
        for (at, c) in text.char_indices().skip(1) {
            let Some(found) = self.short(c) else {
                line.is_uncertain = true;
                return;
            };
            if found.takes != Takes::Value {
                line.options.push((found.name, None));
                continue;
            }
            let glued = text.get(at + c.len_utf8()..).unwrap_or_default();
            let value = if glued.is_empty() {
                rest.next().cloned()
            } else {
                Some(Word::Known(glued.strip_prefix('=').unwrap_or(glued).to_owned()))
            };
            line.options.push((found.name, value));
            return;
        }
    }
}
