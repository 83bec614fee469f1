//! A tool's call as an action: its arguments, and where each of them was seen before.
//!
//! A model mixes what its user said with what tools gave back, and whoever can write to the second can steer the first. Whether
//! a text *means* to steer can't be told by reading it. Where a value comes from can: whether the recipient of a payment is one
//! that the user named, one that the bank's own records hold, or one that only some text said. That is all this module tells;
//! what follows from it is for rules to say (`docs/tools.md`).
//!
//! Entry points: [`Conversation`], the texts so far; [`Conversation::call`], the action of a call.

mod addresses;
mod result;
#[cfg(test)]
mod tests;
mod text;

use crate::content::doc::{Leaf, json};
use flyball_kernel::{Action, Resource, ResourceKind, Surface, ToolReading, Value};
use serde_json::Value as Json;
use std::collections::{BTreeMap, BTreeSet};
use text::{Text, number, numbers, words};

/// Bytes of one text that are taken in, at most.
pub const TEXT_BYTES_MAX: usize = 1 << 20;

/// Bytes of all texts together, at most. What goes beyond is forgotten, and every later call is `opaque`.
pub const TEXTS_BYTES_MAX: usize = 8 << 20;

/// Values in the arguments of one call, at most.
pub const ARGUMENTS_MAX: usize = 256;

/// Bytes of a value in `args`; a longer one is cut there, and looked for whole.
const SHOWN_BYTES_MAX: usize = 1024;

/// Fewer words than these are in other texts by chance, unless they are an address: what says them must say of what they are.
const TELLING_WORDS_MIN: usize = 4;

/// A call of a tool, as the agent wrote it.
#[derive(Clone, Copy, Debug)]
pub struct TracedCall<'a> {
    /// The server, by the name that the session knows it by.
    pub server: &'a str,
    /// The tool.
    pub name: &'a str,
    /// Its arguments: a JSON object.
    pub arguments: &'a str,
    /// The way it came.
    pub surface: Surface,
}

/// The texts of a session so far, each with where it is from.
#[derive(Clone, Debug, Default)]
pub struct Conversation {
    user: Vec<Text>,
    user_numbers: BTreeSet<String>,
    asks: BTreeSet<String>,
    records: BTreeSet<String>,
    trusted: Vec<Text>,
    documents: BTreeSet<String>,
    private: BTreeSet<String>,
    results: Vec<Text>,
    result_numbers: BTreeSet<String>,
    bytes: usize,
    is_full: bool,
}

/// Where a value was seen, from the most trusted place to the least: what no text holds the agent made up or worked out,
/// which is its own doing; what only results hold may be somebody else's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    User,
    Records,
    Trusted,
    Documents,
    Nowhere,
    Results,
}

impl Place {
    const ALL: [Place; 6] =
        [Place::User, Place::Records, Place::Trusted, Place::Documents, Place::Nowhere, Place::Results];

    fn attr(self) -> &'static str {
        match self {
            Place::User => "from_user",
            Place::Records => "from_records",
            Place::Trusted => "from_trusted",
            Place::Documents => "from_documents",
            Place::Nowhere => "from_nowhere",
            Place::Results => "from_results",
        }
    }
}

impl Conversation {
    /// Takes in what the user said.
    pub fn user(&mut self, reading: &ToolReading, text: &str) {
        if !self.has_room(text.len()) {
            return;
        }
        let said = words(text);
        let asked = reading.asks().iter().filter(|(_, phrases)| phrases.iter().any(|p| text::speaks(&said, p)));
        self.asks.extend(asked.map(|(class, _)| class.clone()));
        self.user_numbers.extend(numbers(text));
        self.user.push(Text::new(text));
    }

    /// Takes in what a call gave back. Not for a call that was refused: its result is our own words.
    pub fn result(&mut self, reading: &ToolReading, call: &TracedCall<'_>, text: &str) {
        // Numbers and records are kept beside the text.
        if !self.has_room(text.len().saturating_mul(2)) {
            return;
        }
        let is_named = self.names(reading, call);
        result::read(self, reading, call, is_named, text);
    }

    fn has_room(&mut self, bytes: usize) -> bool {
        let after = self.bytes.saturating_add(bytes);
        let fits = bytes <= 2 * TEXT_BYTES_MAX && after <= TEXTS_BYTES_MAX;
        if fits {
            self.bytes = after;
        } else {
            self.is_full = true;
        }
        fits
    }

    /// Whether the user named what a call is about.
    fn names(&self, reading: &ToolReading, call: &TracedCall<'_>) -> bool {
        let Some(leaves) = leaves(call.arguments) else { return false };
        leaves
            .iter()
            .any(|(_, value)| value.len() > 3 && number(value).is_none() && self.place(reading, value) == Place::User)
    }

    /// The action of a call. One that can't be read is `opaque`, and one whose texts were too many to keep.
    #[must_use]
    pub fn call(&self, reading: &ToolReading, call: &TracedCall<'_>) -> Action {
        let leaves = leaves(call.arguments);
        let is_opaque = self.is_full || leaves.is_none();
        let mut attrs: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
        attrs.insert("asks", self.asks.clone());
        let mut places: BTreeMap<&str, Place> = BTreeMap::new();
        for (name, value) in leaves.iter().flatten() {
            attrs.entry("args").or_default().insert(format!("{name}={}", shown(value)));
            if text::is_blank(value) {
                continue;
            }
            let seen = self.place(reading, value);
            let worst = places.entry(name).or_insert(seen);
            *worst = seen.max(*worst);
            let mut tell = |attr, is| {
                if is {
                    attrs.entry(attr).or_default().insert(name.clone());
                }
            };
            tell("said_by_results", self.is_said(name, value));
            tell("foreign_links", self.has_foreign_link(reading, value));
            tell("private", self.is_private(value));
        }
        for (name, place) in places {
            attrs.entry(place.attr()).or_default().insert(name.to_owned());
        }
        let mut action = plain(call);
        if is_opaque {
            set(&mut action, "opaque", Value::Bool(true));
        }
        let known = Place::ALL.iter().map(|place| place.attr()).chain(["said_by_results", "foreign_links", "private"]);
        for attr in known.chain(["args", "asks"]) {
            let list = attrs.remove(attr).unwrap_or_default();
            set(&mut action, attr, Value::Strs(list.into_iter().collect()));
        }
        action
    }

    fn place(&self, reading: &ToolReading, value: &str) -> Place {
        let wanted = Text::new(value);
        let number = number(value);
        let is_number = |of: &BTreeSet<String>| number.as_ref().is_some_and(|n| of.contains(n));
        let is_kept = |of: &BTreeSet<String>| of.contains(wanted.folded()) || is_number(of);
        let is_in = |texts: &[Text]| texts.iter().any(|text| text.holds(&wanted));
        if is_number(&self.user_numbers) || is_in(&self.user) {
            Place::User
        } else if is_kept(&self.records) || reading.is_own(wanted.folded()) {
            Place::Records
        } else if is_in(&self.trusted) {
            Place::Trusted
        } else if is_kept(&self.documents) {
            Place::Documents
        } else if is_number(&self.result_numbers) || is_in(&self.results) {
            Place::Results
        } else {
            Place::Nowhere
        }
    }

    /// Whether a longer text of some result speaks of this value; of a short one, whether it says of what: `ID 13`.
    fn is_said(&self, name: &str, value: &str) -> bool {
        let wanted = Text::new(value);
        let is_telling = addresses::is_address(value.trim()) || wanted.folded().split(' ').count() >= TELLING_WORDS_MIN;
        let parts: Vec<&str> = name.split(['_', '.', '-']).filter(|part| part.len() > 1).collect();
        let mut longer = self.results.iter().filter(|text| text.len() > wanted.len());
        if is_telling {
            longer.any(|text| text.holds(&wanted))
        } else {
            longer.any(|text| text.holds_after(&wanted, &parts))
        }
    }

    fn has_foreign_link(&self, reading: &ToolReading, value: &str) -> bool {
        addresses::links(value).into_iter().any(|link| self.place(reading, link) > Place::Trusted)
    }

    fn is_private(&self, value: &str) -> bool {
        let value = Text::new(value);
        self.private.iter().any(|secret| value.holds(&Text::new(secret)))
    }
}

fn plain(call: &TracedCall<'_>) -> Action {
    let tool = Resource::new(ResourceKind::Tool);
    let named = tool.clone().with("server", call.server).and_then(|t| t.with("name", call.name)).unwrap_or(tool);
    // INVARIANT: the vocabulary has `tool.call`, done to a Tool, with these fields.
    #[expect(clippy::expect_used, reason = "the vocabulary is static, and a test makes this very action")]
    Action::new("tool.call", named, call.surface).expect("tool.call of a Tool")
}

fn set(action: &mut Action, attr: &str, value: Value) {
    // INVARIANT: the vocabulary has each attribute that is named here; a test sets them all.
    let done = action.set(attr, value);
    debug_assert!(done.is_ok(), "{attr}");
}

fn shown(value: &str) -> &str {
    let mut end = SHOWN_BYTES_MAX.min(value.len());
    while !value.is_char_boundary(end) {
        end = end.saturating_sub(1);
    }
    value.get(..end).unwrap_or_default()
}

/// The values of an argument object by name, `outer.inner` where they are nested; items of a list have the list's name. None
/// where it is no object, says a key twice (whoever runs it may read the other one), or is too deep or too much.
fn leaves(arguments: &str) -> Option<Vec<(String, String)>> {
    if arguments.len() > TEXT_BYTES_MAX {
        return None;
    }
    let parsed: Json = serde_json::from_str(arguments).ok()?;
    let object = parsed.as_object()?;
    let mut out = Vec::new();
    let mut count = usize::from(object.is_empty());
    for (name, value) in object {
        count += flatten(name, value, &mut out)?;
    }
    let mut said = 0;
    json(arguments, &mut |_, _: Leaf<'_>| said += 1).ok()?;
    (said == count).then_some(out)
}

/// Gives how many leaves there were, nulls and empty lists included.
fn flatten(name: &str, value: &Json, out: &mut Vec<(String, String)>) -> Option<usize> {
    let mut count = 0;
    match value {
        Json::Null => count = 1,
        Json::Bool(_) | Json::Number(_) | Json::String(_) => {
            if out.len() >= ARGUMENTS_MAX {
                return None;
            }
            out.push((name.to_owned(), value.as_str().map_or_else(|| value.to_string(), str::to_owned)));
            count = 1;
        }
        Json::Array(items) => {
            for item in items {
                count += flatten(name, item, out)?;
            }
            count += usize::from(items.is_empty());
        }
        Json::Object(entries) => {
            for (key, inner) in entries {
                count += flatten(&format!("{name}.{key}"), inner, out)?;
            }
            count += usize::from(entries.is_empty());
        }
    }
    Some(count)
}
