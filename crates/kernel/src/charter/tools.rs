//! `[tools]`: what an author says of tools as data: which fields of which results are records, and what words ask for what.
//!
//! `intent` reads a tool's call by it and says in attributes of `tool.call` where each argument was seen; rules judge by those.

use super::report::{At, Place, Report, clip};
use super::settings::glob;
use super::table::Keys;
use globset::GlobMatcher;
use std::collections::{BTreeMap, BTreeSet};

/// Most phrases of one class, and longest phrase in bytes.
const PHRASES_MAX: usize = 256;
const PHRASE_BYTES_MAX: usize = 128;

/// Most rows of one list: each is tried on each field of a result.
const ROWS_MAX: usize = 256;

/// `[tools]`.
#[derive(Clone, Debug, Default)]
pub struct ToolReading {
    asks: BTreeMap<String, Vec<String>>,
    own: Vec<GlobMatcher>,
    records: Vec<Fields>,
    trusted: Vec<Fields>,
    documents: Vec<Fields>,
    private: Vec<Fields>,
}

/// Fields of the results of some tools.
#[derive(Clone, Debug)]
struct Fields {
    server: GlobMatcher,
    tool: GlobMatcher,
    names: BTreeSet<String>,
}

impl ToolReading {
    /// `[tools.asks]`: classes of request, each with the phrases that speak of it. `delet*` is any word that begins so.
    #[must_use]
    pub fn asks(&self) -> &BTreeMap<String, Vec<String>> {
        &self.asks
    }

    /// Whether a value is the organisation's own by its form, in lower case: an address at its domain, an account of its.
    #[must_use]
    pub fn is_own(&self, value: &str) -> bool {
        self.own.iter().any(|own| own.is_match(value))
    }

    /// Whether that field of that tool's results holds what the service itself keeps, and not what somebody wrote to it.
    /// A result that is one plain value has the field ``.
    #[must_use]
    pub fn is_record(&self, server: &str, tool: &str, field: &str) -> bool {
        says(&self.records, server, tool, field)
    }

    /// Whether that field of that tool's results is written by people whom the user trusts to name things.
    #[must_use]
    pub fn is_trusted(&self, server: &str, tool: &str, field: &str) -> bool {
        says(&self.trusted, server, tool, field)
    }

    /// Whether that field of a document says something by itself where the user named the document.
    #[must_use]
    pub fn is_document(&self, server: &str, tool: &str, field: &str) -> bool {
        says(&self.documents, server, tool, field)
    }

    /// Whether that field of that tool's results is not to leave.
    #[must_use]
    pub fn is_private(&self, server: &str, tool: &str, field: &str) -> bool {
        says(&self.private, server, tool, field)
    }
}

fn says(rows: &[Fields], server: &str, tool: &str, field: &str) -> bool {
    rows.iter().any(|row| {
        (row.names.contains("*") || row.names.contains(field)) && row.server.is_match(server) && row.tool.is_match(tool)
    })
}

pub(crate) fn section(report: &mut Report, root: &mut Keys) -> ToolReading {
    let Some(mut keys) = root.table(report, "tools") else { return ToolReading::default() };
    let out = ToolReading {
        asks: asks(report, &mut keys),
        own: keys.strs(report, "own").iter().filter_map(|own| glob(report, own, false)).collect(),
        records: rows(report, &mut keys, "records"),
        trusted: rows(report, &mut keys, "trusted"),
        documents: rows(report, &mut keys, "documents"),
        private: rows(report, &mut keys, "private"),
    };
    keys.finish(report);
    out
}

fn asks(report: &mut Report, keys: &mut Keys) -> BTreeMap<String, Vec<String>> {
    let Some(section) = keys.table(report, "asks") else { return BTreeMap::new() };
    let mut out = BTreeMap::new();
    for (name, value) in section.entries() {
        let items = value.get_ref().as_array().map(|list| list.iter().collect()).unwrap_or_else(|| vec![value]);
        let mut phrases = Vec::new();
        for item in &items {
            let place = Place::new(&section.place.file, item.span());
            let phrase = item.get_ref().as_str().unwrap_or_default().trim().to_lowercase();
            if is_phrase(&phrase) && phrases.len() < PHRASES_MAX {
                phrases.push(phrase);
            } else {
                let message = format!("`{}` of [tools.asks] is to be a list of phrases", clip(&name.value));
                let hint = "words of letters and digits, such as `send`, `delet*` or `do the actions`; at most 256";
                report.error("FB0103", &place, message, hint);
            }
        }
        out.insert(name.value, phrases);
    }
    out
}

/// Words of letters, digits and apostrophes with one space between them; the last may end in `*`.
fn is_phrase(phrase: &str) -> bool {
    let stem = phrase.strip_suffix('*').unwrap_or(phrase);
    let is_word = |w: &str| !w.is_empty() && w.chars().all(|c| c.is_alphanumeric() || c == '\'');
    phrase.len() <= PHRASE_BYTES_MAX && stem.split(' ').all(is_word)
}

fn rows(report: &mut Report, keys: &mut Keys, list: &'static str) -> Vec<Fields> {
    let mut out = Vec::new();
    for mut row in keys.tables(report, list) {
        let place = row.place.clone();
        let server = row.str(report, "server");
        let server = server.unwrap_or_else(|| At { value: "*".to_owned(), place: place.clone() });
        let server = glob(report, &server, false);
        let tools = row.strs(report, "tool");
        let names: BTreeSet<String> = row.strs(report, "fields").into_iter().map(|f| f.value).collect();
        if tools.is_empty() || names.is_empty() {
            let hint = "add `tool = \"get_*\"` and `fields = [\"id\", \"email\"]`; `*` is every field";
            report.error("FB0104", &place, format!("{} names no tool or no field", row.name), hint);
        }
        row.finish(report);
        for tool in tools {
            if let (Some(server), Some(tool)) = (server.clone(), glob(report, &tool, false)) {
                out.push(Fields { server, tool, names: names.clone() });
            }
        }
        if out.len() > ROWS_MAX {
            report.error("FB0160", &place, format!("more than {ROWS_MAX} tools are named in `{list}`"), ());
            break;
        }
    }
    out
}
