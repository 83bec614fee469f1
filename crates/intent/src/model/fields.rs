//! The few fields of a call's body that are read. The rest, which may be long, is passed over and must only be JSON.
//!
//! INVARIANT: a body that two readers could take differently is not plain: a field twice, or spelled in another way than the
//! API's documentation does, which some servers take for the same.

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::Value as Json;
use std::collections::BTreeSet;

/// What is read of an object.
#[derive(Debug, Default)]
pub(super) struct Fields {
    model: Option<Json>,
    stream: Option<Json>,
    /// `max_tokens`, `max_completion_tokens`, `max_output_tokens`, `maxOutputTokens`.
    output_max: Vec<Json>,
    /// `n`, `best_of`, `candidateCount`.
    answers: Vec<Json>,
    /// `previous_response_id`, `conversation`, `prompt`, `cachedContent`: input that stands elsewhere.
    referred: Vec<Json>,
    background: Option<Json>,
    /// Whether a file or a document is only named in what is said.
    has_named: bool,
    has_messages: bool,
    has_input: bool,
    has_contents: bool,
    /// `generationConfig`, and `request` around a Gemini call.
    config: Option<Box<Fields>>,
    inner: Option<Box<Fields>>,
    is_doubtful: bool,
}

/// Spellings that are read, by what stays of them without case and underscores.
const SPELLINGS: &[(&str, &[&str])] = &[
    ("model", &["model"]),
    ("stream", &["stream"]),
    ("maxtokens", &["max_tokens"]),
    ("maxcompletiontokens", &["max_completion_tokens"]),
    ("maxoutputtokens", &["max_output_tokens", "maxOutputTokens"]),
    ("n", &["n"]),
    ("bestof", &["best_of"]),
    ("candidatecount", &["candidateCount", "candidate_count"]),
    ("messages", &["messages"]),
    ("input", &["input"]),
    ("contents", &["contents"]),
    ("generationconfig", &["generationConfig", "generation_config"]),
    ("request", &["request"]),
    ("previousresponseid", &["previous_response_id"]),
    ("conversation", &["conversation"]),
    ("prompt", &["prompt"]),
    ("cachedcontent", &["cachedContent", "cached_content"]),
    ("background", &["background"]),
];

impl Fields {
    /// `is_named`: whether the path names the model.
    pub fn is_call(&self, api: super::ModelApi, is_named: bool) -> bool {
        let all = self.inner.as_deref().unwrap_or(self);
        let is_named = is_named || self.model.is_some();
        match api {
            super::ModelApi::AnthropicMessages | super::ModelApi::OpenaiChat => self.has_messages && is_named,
            // What is asked may stand in a conversation that the provider keeps.
            super::ModelApi::OpenaiResponses => is_named && (self.has_input || self.stream.is_some() || self.refers()),
            super::ModelApi::Gemini => all.has_contents,
        }
    }

    /// Whether all that is read of it has one reading.
    pub fn is_plain(&self) -> bool {
        let is_number = |value: &Json| value.is_null() || number(value).is_some();
        !self.is_doubtful
            && self.model.as_ref().is_none_or(Json::is_string)
            && self.stream.as_ref().is_none_or(|stream| stream.is_boolean() || stream.is_null())
            && self.output_max.iter().chain(&self.answers).all(is_number)
            && [&self.config, &self.inner].into_iter().flatten().all(|inner| inner.is_plain())
    }

    /// Whether some of its input is not in it, but named.
    pub fn refers(&self) -> bool {
        self.has_named
            || self.referred.iter().any(|value| !value.is_null())
            || [&self.config, &self.inner].into_iter().flatten().any(|inner| inner.refers())
    }

    /// Whether its answer is to come later, by another request.
    pub fn is_background(&self) -> bool {
        self.background.as_ref().is_some_and(|background| *background != Json::Bool(false) && !background.is_null())
    }

    pub fn is_inner(&self) -> Option<&Self> {
        self.inner.as_deref()
    }

    pub fn model(&self) -> Option<&str> {
        self.model.as_ref().and_then(Json::as_str)
    }

    pub fn streams(&self) -> bool {
        self.stream == Some(Json::Bool(true))
    }

    /// The most that any of its fields allows an answer to have; one that says nothing or nothing above 0 is none.
    pub fn output_max(&self) -> Option<i64> {
        self.numbers(&|fields| &fields.output_max).filter(|n| *n > 0).max()
    }

    pub fn answers(&self) -> i64 {
        self.numbers(&|fields| &fields.answers).max().unwrap_or(1)
    }

    fn numbers<'f>(&'f self, of: &'f dyn Fn(&'f Fields) -> &'f Vec<Json>) -> Box<dyn Iterator<Item = i64> + 'f> {
        let within = [&self.config, &self.inner].into_iter().flatten();
        Box::new(of(self).iter().filter_map(number).chain(within.flat_map(move |inner| inner.numbers(of))))
    }
}

/// A whole number as it is always written; another spelling of one is not plain.
fn number(value: &Json) -> Option<i64> {
    value.as_i64()
}

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_map(Reader)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Fields;

    fn expecting(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("an object")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Fields, M::Error> {
        let (mut out, mut seen) = (Fields::default(), BTreeSet::new());
        while let Some(key) = map.next_key::<String>()? {
            let plain: String = key.chars().filter(|c| *c != '_').flat_map(char::to_lowercase).collect();
            let Some((plain, spellings)) = SPELLINGS.iter().find(|(name, _)| *name == plain) else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            out.is_doubtful |= !seen.insert(*plain) || !spellings.contains(&key.as_str());
            match *plain {
                "model" => out.model = Some(map.next_value()?),
                "stream" => out.stream = Some(map.next_value()?),
                "maxtokens" | "maxcompletiontokens" | "maxoutputtokens" => out.output_max.push(map.next_value()?),
                "n" | "bestof" | "candidatecount" => out.answers.push(map.next_value()?),
                "generationconfig" => out.config = map.next_value()?,
                "request" => out.inner = map.next_value()?,
                // Of older completions it is the text itself.
                "prompt" => out.referred.extend(Some(map.next_value()?).filter(Json::is_object)),
                "previousresponseid" | "conversation" | "cachedcontent" => out.referred.push(map.next_value()?),
                "background" => out.background = Some(map.next_value()?),
                word => {
                    out.has_named |= map.next_value::<Said>()?.names;
                    match word {
                        "messages" => out.has_messages = true,
                        "input" => out.has_input = true,
                        _ => out.has_contents = true,
                    }
                }
            }
        }
        Ok(out)
    }
}

/// What is said in a call, of which only that is read whether it names input that stands elsewhere.
#[derive(Default)]
struct Said {
    names: bool,
    /// Where to find it.
    is_place: bool,
}

/// Fields that name a file or a document, in the spellings of all APIs.
const NAMES: &[&str] = &["file_id", "fileId", "file_uri", "fileUri", "file_url", "fileUrl"];
/// What tools were called with and gave: whatever is in there names nothing to the provider.
const OF_TOOLS: &[&str] = &["input", "args", "response"];

impl<'de> Deserialize<'de> for Said {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Listener)
    }
}

struct Listener;

impl<'de> Visitor<'de> for Listener {
    type Value = Said;

    fn expecting(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Said, E> {
        Ok(Said::default())
    }

    fn visit_bool<E>(self, _: bool) -> Result<Said, E> {
        Ok(Said::default())
    }

    fn visit_i64<E>(self, _: i64) -> Result<Said, E> {
        Ok(Said::default())
    }

    fn visit_u64<E>(self, _: u64) -> Result<Said, E> {
        Ok(Said::default())
    }

    // tidy: allow float: serde's signature; the number is dropped unlooked at
    fn visit_f64<E>(self, _: f64) -> Result<Said, E> {
        Ok(Said::default())
    }

    fn visit_str<E>(self, _: &str) -> Result<Said, E> {
        Ok(Said::default())
    }

    fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut seq: A) -> Result<Said, A::Error> {
        let mut out = Said::default();
        while let Some(said) = seq.next_element::<Said>()? {
            out.names |= said.names;
        }
        Ok(out)
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Said, M::Error> {
        let (mut out, mut is_image, mut has_place) = (Said::default(), false, false);
        while let Some(key) = map.next_key::<std::borrow::Cow<'de, str>>()? {
            match key.as_ref() {
                "type" => match map.next_value::<Json>()?.as_str() {
                    Some("image") => is_image = true,
                    Some("url") => out.is_place = true,
                    _ => {}
                },
                name if NAMES.contains(&name) => out.names |= !map.next_value::<Json>()?.is_null(),
                name if OF_TOOLS.contains(&name) => drop(map.next_value::<IgnoredAny>()?),
                _ => {
                    let said = map.next_value::<Said>()?;
                    out.names |= said.names;
                    has_place |= said.is_place;
                }
            }
        }
        // An image takes little, wherever it stands.
        out.names |= has_place && !is_image;
        Ok(out)
    }
}
