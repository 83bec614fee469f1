//! What a tool gave back, taken apart: records, what people whom the user trusts wrote, documents that the user named, what is
//! private, and all the rest.

use super::text::{Text, number, numbers};
use super::{Conversation, TracedCall};
use crate::content::doc::{Leaf, is_item, yaml};
use flyball_kernel::ToolReading;
use serde_json::Value as Json;

/// Words of a label in a document: `IBAN: …`, `Pay to account: …`. A sentence with a colon in it is none.
const LABEL_WORDS_MAX: usize = 3;

/// Private values shorter than this are in every text by chance.
const PRIVATE_BYTES_MIN: usize = 4;

pub(super) fn read(to: &mut Conversation, reading: &ToolReading, call: &TracedCall<'_>, is_named: bool, text: &str) {
    let mut reader = Reader { to, reading, call, is_named, last_name: String::new() };
    let trimmed = text.trim_start();
    if trimmed.starts_with(['{', '['])
        && let Ok(parsed) = serde_json::from_str::<Json>(trimmed)
    {
        reader.json(&[""], &parsed);
        return;
    }
    let mut leaves: Vec<(Vec<String>, String)> = Vec::new();
    let is_read = yaml(text, &mut |path, leaf| {
        let names = path.iter().filter(|step| !is_item(step)).map(|s| (*s).to_owned()).collect();
        match leaf {
            Leaf::Str(value) | Leaf::Other(value) => leaves.push((names, value.to_owned())),
            Leaf::Empty => {}
        }
    });
    match is_read {
        // A text that is one scalar to YAML is a text.
        Ok(()) if leaves.len() > 1 || leaves.iter().any(|(path, _)| !path.is_empty()) => {
            for (path, value) in &leaves {
                let path: Vec<&str> = std::iter::once("").chain(path.iter().map(String::as_str)).collect();
                reader.leaf(&path, value);
            }
        }
        _ => reader.leaf(&[""], text),
    }
}

struct Reader<'a, 'c> {
    to: &'a mut Conversation,
    reading: &'a ToolReading,
    call: &'a TracedCall<'c>,
    is_named: bool,
    last_name: String,
}

impl Reader<'_, '_> {
    /// `path`: the names of the fields around, the outermost being that of the whole.
    fn json(&mut self, path: &[&str], value: &Json) {
        match value {
            Json::Null => {}
            Json::String(text) => self.leaf(path, text),
            Json::Bool(_) | Json::Number(_) => self.leaf(path, &value.to_string()),
            Json::Array(items) => items.iter().for_each(|item| self.json(path, item)),
            // INVARIANT: serde_json parses no deeper than 128.
            Json::Object(entries) => {
                for (key, inner) in entries {
                    let path: Vec<&str> = path.iter().copied().chain([key.as_str()]).collect();
                    self.json(&path, inner);
                }
            }
        }
    }

    fn leaf(&mut self, path: &[&str], value: &str) {
        // A name may be a value too: who a file is shared with, and how. Once for all that stands below it.
        if let [.., field, name] = path
            && self.last_name != *name
        {
            self.last_name = (*name).to_owned();
            self.value(field, name);
        }
        self.value(path.last().copied().unwrap_or_default(), value);
    }

    fn value(&mut self, field: &str, value: &str) {
        let (server, tool) = (self.call.server, self.call.name);
        let text = Text::new(value);
        if text.len() == 0 {
            return;
        }
        if text.len() >= PRIVATE_BYTES_MIN && self.reading.is_private(server, tool, field) {
            self.to.private.insert(text.folded().to_owned());
        }
        if self.reading.is_record(server, tool, field) {
            self.to.records.extend(number(value));
            self.to.records.insert(text.folded().to_owned());
            return;
        }
        if self.reading.is_trusted(server, tool, field) {
            self.to.trusted.push(text);
            return;
        }
        if self.is_named {
            self.label(field, value);
            self.labelled(value);
        }
        self.to.result_numbers.extend(numbers(value));
        self.to.results.push(text);
    }

    /// Lines such as `IBAN: GB29 …` of a document that the user named.
    fn labelled(&mut self, text: &str) {
        for line in text.lines() {
            if let Some((label, value)) = line.split_once(':') {
                self.label(label, value);
            }
        }
    }

    fn label(&mut self, label: &str, value: &str) {
        let label = label.trim_matches(|c: char| !c.is_alphanumeric()).to_ascii_lowercase();
        let is_label = !label.is_empty() && label.split_whitespace().count() <= LABEL_WORDS_MAX;
        if is_label && self.reading.is_document(self.call.server, self.call.name, &label) {
            let value = Text::new(value);
            self.to.documents.extend(number(value.folded()));
            self.to.documents.insert(value.folded().to_owned());
        }
    }
}
