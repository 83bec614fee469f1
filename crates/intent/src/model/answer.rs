//! A model's answer as it passes: what it used, and the tools that it calls. Whole, or as a stream of events.

use super::ModelApi;
use flyball_kernel::ModelSettings;
use memchr::memchr2;
use memchr::memmem::{Finder, FinderRev};
use serde_json::Value as Json;
use std::sync::LazyLock;

/// Bytes of an answer in one piece, and of one event of a stream, that are read at most. What is longer says nothing of its use.
const PIECE_BYTES_MAX: usize = 8 << 20;
/// Room that is kept between two events.
const ROOM_BYTES_MAX: usize = 64 << 10;
const TOOL_USES_MAX: usize = 256;
const ID_CHARS_MAX: usize = 256;
/// No answer takes more.
const COUNT_MAX: i64 = 1 << 40;

/// Tokens that a call took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ModelUsage {
    /// Sent, but for what is `cached`.
    pub input: i64,
    /// Sent, and known to the provider from before.
    pub cached: i64,
    /// What came back, thoughts included.
    pub output: i64,
}

impl ModelUsage {
    /// All of them.
    #[must_use]
    pub fn tokens(&self) -> i64 {
        self.input.saturating_add(self.cached).saturating_add(self.output)
    }

    /// Micro-units of money, rounded up; `None` where the model has no price.
    #[must_use]
    pub fn cost(&self, settings: &ModelSettings, model: &str) -> Option<i64> {
        let price = settings.price(model)?;
        let parts = [(self.input, price.input), (self.cached, price.cached), (self.output, price.output)];
        let sum: i128 = parts.iter().map(|(tokens, price)| i128::from(*tokens) * i128::from(*price)).sum();
        let cost = sum.saturating_add(999_999) / 1_000_000;
        Some(i64::try_from(cost).unwrap_or(i64::MAX))
    }

    fn at_least(&mut self, other: Self) {
        let least = |n: i64, other: i64| n.max(other).clamp(0, COUNT_MAX);
        self.input = least(self.input, other.input);
        self.cached = least(self.cached, other.cached);
        self.output = least(self.output, other.output);
    }
}

/// A tool that the model calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToolUse {
    /// The provider's name for this very call, by which its result comes back.
    pub id: String,
    /// The tool's.
    pub name: String,
}

/// An answer that is being read.
#[derive(Debug)]
pub struct ModelAnswer {
    api: ModelApi,
    is_events: bool,
    /// The answer so far; of events, the line.
    bytes: Vec<u8>,
    /// The event's data so far.
    data: Vec<u8>,
    /// What was read ends with a `\r`, of which a `\n` that comes next is a part.
    is_half_end: bool,
    /// Whether something was too long to be read.
    is_cut: bool,
    usage: ModelUsage,
    /// Whether the use that is known is all of it.
    is_final: bool,
    is_over: bool,
    tool_uses: Vec<ToolUse>,
}

impl ModelAnswer {
    /// One of that API, by its content type.
    #[must_use]
    pub fn new(api: ModelApi, content_type: &str) -> Self {
        let is_events = content_type.trim_start().to_ascii_lowercase().starts_with("text/event-stream");
        Self {
            api,
            is_events,
            bytes: Vec::new(),
            data: Vec::new(),
            is_half_end: false,
            is_cut: false,
            usage: ModelUsage::default(),
            is_final: false,
            is_over: false,
            tool_uses: Vec::new(),
        }
    }

    /// Reads what came next.
    pub fn read(&mut self, bytes: &[u8]) {
        if !self.is_events {
            return self.keep(bytes);
        }
        if bytes.is_empty() {
            return;
        }
        let is_half = std::mem::replace(&mut self.is_half_end, bytes.ends_with(b"\r"));
        let mut rest = bytes.strip_prefix(b"\n").filter(|_| is_half).unwrap_or(bytes);
        let mut is_looked_at = false;
        loop {
            // Between two events: those that have nothing to tell are passed over together. Once, or an answer could make this long.
            if !is_looked_at && self.bytes.is_empty() && self.data.is_empty() {
                is_looked_at = true;
                rest = rest.get(silent(self.api, rest)..).unwrap_or_default();
            }
            let Some(at) = memchr2(b'\n', b'\r', rest) else { break };
            let (line, after) = rest.split_at(at);
            match self.bytes.is_empty() && line.len() <= PIECE_BYTES_MAX {
                true => self.line(line),
                false => {
                    self.keep(line);
                    self.kept_line();
                }
            }
            let is_pair = after.starts_with(b"\r\n");
            rest = after.get(if is_pair { 2 } else { 1 }..).unwrap_or_default();
        }
        self.keep(rest);
    }

    /// Nothing more comes.
    pub fn end(&mut self) {
        let whole = std::mem::take(&mut self.bytes);
        if self.is_events {
            self.line(&whole);
            self.event();
            return;
        }
        if self.is_cut {
            return;
        }
        match serde_json::from_slice::<Json>(&whole) {
            // Gemini's stream without events is a list.
            Ok(Json::Array(parts)) if self.api == ModelApi::Gemini => parts.iter().for_each(|part| self.part(part)),
            Ok(part) => self.part(&part),
            Err(_) => {}
        }
    }

    /// What it took in all, where the answer says so.
    #[must_use]
    pub fn usage(&self) -> Option<ModelUsage> {
        (self.is_final && !self.is_cut).then_some(self.usage)
    }

    /// What it took at least.
    #[must_use]
    pub fn usage_so_far(&self) -> ModelUsage {
        self.usage
    }

    /// Whether the stream has said that it is over, though its connection may go on.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.is_over
    }

    /// The tools that it calls, so far.
    #[must_use]
    pub fn tool_uses(&self) -> &[ToolUse] {
        &self.tool_uses
    }

    fn keep(&mut self, bytes: &[u8]) {
        if self.bytes.len().saturating_add(bytes.len()) > PIECE_BYTES_MAX {
            self.is_cut = true;
            return;
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// The line that came in parts.
    fn kept_line(&mut self) {
        let line = std::mem::take(&mut self.bytes);
        self.line(&line);
        self.bytes = emptied(line);
    }

    /// One line of a stream (HTML standard, section 9.2.6).
    fn line(&mut self, line: &[u8]) {
        if line.is_empty() {
            return self.event();
        }
        let Some(data) = line.strip_prefix(b"data:") else { return };
        let data = data.strip_prefix(b" ").unwrap_or(data);
        if self.data.len().saturating_add(data.len()) > PIECE_BYTES_MAX {
            self.is_cut = true;
            return;
        }
        if !self.data.is_empty() {
            self.data.push(b'\n');
        }
        self.data.extend_from_slice(data);
    }

    fn event(&mut self) {
        let data = std::mem::take(&mut self.data);
        if data == b"[DONE]" {
            self.is_over = true;
        } else if may_tell(self.api, &data)
            && let Ok(part) = serde_json::from_slice::<Json>(&data)
        {
            self.part(&part);
        }
        self.data = emptied(data);
    }

    /// A whole answer, or an event of one.
    fn part(&mut self, part: &Json) {
        match self.api {
            ModelApi::AnthropicMessages => self.anthropic(part),
            ModelApi::OpenaiChat => self.chat(part),
            ModelApi::OpenaiResponses => self.responses(part),
            // Around it where Google's code assistant is asked.
            ModelApi::Gemini => self.gemini(part.get("response").unwrap_or(part)),
        }
    }

    fn anthropic(&mut self, part: &Json) {
        let used = |usage: &Json| ModelUsage {
            input: count(usage, "input_tokens").saturating_add(count(usage, "cache_creation_input_tokens")),
            cached: count(usage, "cache_read_input_tokens"),
            output: count(usage, "output_tokens"),
        };
        match text(part, "type") {
            "message" => {
                items(part, "content").for_each(|block| self.block(block));
                self.uses(part.get("usage").map(used), true);
            }
            "message_start" => self.uses(part.pointer("/message/usage").map(used), false),
            "content_block_start" => {
                if let Some(block) = part.get("content_block") {
                    self.block(block);
                }
            }
            "message_delta" => self.uses(part.get("usage").map(used), true),
            "message_stop" => self.is_over = true,
            _ => {}
        }
    }

    fn block(&mut self, block: &Json) {
        if text(block, "type").ends_with("tool_use") {
            self.calls(text(block, "id"), text(block, "name"));
        }
    }

    fn chat(&mut self, part: &Json) {
        for choice in items(part, "choices") {
            let said = choice.get("message").or(choice.get("delta"));
            for call in said.into_iter().flat_map(|said| items(said, "tool_calls")) {
                let name = call.pointer("/function/name").or(call.pointer("/custom/name")).and_then(Json::as_str);
                self.calls(text(call, "id"), name.unwrap_or_default());
            }
        }
        let used = |usage: &Json| {
            let cached = usage.get("prompt_tokens_details").map_or(0, |details| count(details, "cached_tokens"));
            ModelUsage {
                input: count(usage, "prompt_tokens").saturating_sub(cached).max(0),
                cached,
                output: count(usage, "completion_tokens"),
            }
        };
        self.uses(part.get("usage").filter(|usage| usage.is_object()).map(used), true);
    }

    fn responses(&mut self, part: &Json) {
        let (whole, kind) = match part.get("response") {
            Some(response) => (response, text(part, "type")),
            None => (part, "response.completed"),
        };
        if let Some(item) = part.get("item") {
            self.output(item);
        }
        if !matches!(kind, "response.completed" | "response.incomplete" | "response.failed") {
            return;
        }
        items(whole, "output").for_each(|item| self.output(item));
        self.is_over |= part.get("response").is_some();
        let used = |usage: &Json| {
            let cached = usage.get("input_tokens_details").map_or(0, |details| count(details, "cached_tokens"));
            ModelUsage {
                input: count(usage, "input_tokens").saturating_sub(cached).max(0),
                cached,
                output: count(usage, "output_tokens"),
            }
        };
        self.uses(whole.get("usage").filter(|usage| usage.is_object()).map(used), true);
    }

    fn output(&mut self, item: &Json) {
        if text(item, "type").ends_with("_call") {
            self.calls(text(item, "call_id"), text(item, "name"));
        }
    }

    fn gemini(&mut self, part: &Json) {
        let mut is_last = false;
        for candidate in items(part, "candidates") {
            is_last |= candidate.get("finishReason").is_some_and(Json::is_string);
            let content = candidate.get("content");
            for call in content.into_iter().flat_map(|content| items(content, "parts")) {
                if let Some(call) = call.get("functionCall") {
                    self.calls(text(call, "id"), text(call, "name"));
                }
            }
        }
        let used = |usage: &Json| {
            let cached = count(usage, "cachedContentTokenCount");
            let input = count(usage, "promptTokenCount").saturating_add(count(usage, "toolUsePromptTokenCount"));
            let output = count(usage, "candidatesTokenCount").saturating_add(count(usage, "thoughtsTokenCount"));
            let sum = input.saturating_add(output);
            // What the parts leave out, all holds.
            let more = count(usage, "totalTokenCount").saturating_sub(sum).max(0);
            ModelUsage { input: input.saturating_sub(cached).max(0), cached, output: output.saturating_add(more) }
        };
        // A block of the prompt has no candidates, and is an end.
        is_last |= part.get("promptFeedback").is_some();
        self.uses(part.get("usageMetadata").map(used), is_last);
    }

    fn uses(&mut self, usage: Option<ModelUsage>, is_final: bool) {
        if let Some(usage) = usage {
            self.usage.at_least(usage);
            self.is_final |= is_final;
        }
    }

    fn calls(&mut self, id: &str, name: &str) {
        let clip = |text: &str| text.chars().take(ID_CHARS_MAX).collect::<String>();
        let is_new = !self.tool_uses.iter().any(|known| known.id == id);
        if !id.is_empty() && is_new && self.tool_uses.len() < TOOL_USES_MAX {
            self.tool_uses.push(ToolUse { id: clip(id), name: clip(name) });
        }
    }
}

/// Its room serves the next, where it isn't large.
fn emptied(mut room: Vec<u8>) -> Vec<u8> {
    room.clear();
    room.shrink_to(ROOM_BYTES_MAX);
    room
}

/// How much of what begins with an event are whole events that have nothing to tell.
///
/// INVARIANT: no sign holds a line's end, so one that an event's data would have stands in these bytes too.
fn silent(api: ModelApi, bytes: &[u8]) -> usize {
    // Where lines end otherwise, or one may be too long, they are read one by one.
    let Some(end) = EVENT_END.rfind(bytes).map(|at| at + 2).filter(|end| *end <= PIECE_BYTES_MAX) else { return 0 };
    let events = bytes.get(..end).unwrap_or_default();
    let tells = DONE.find(events).is_some() || may_tell(api, events);
    if tells { 0 } else { end }
}

/// Whether an event may say anything of use or tools: most only carry text.
///
/// INVARIANT: `false` only where [`ModelAnswer::part`] would take nothing from it. Names that it looks for stand in the bytes as they
/// are, unless a letter of theirs is written as an escape; so of several events together it is `false` only where it is of each.
fn may_tell(api: ModelApi, data: &[u8]) -> bool {
    let has = |signs: &[Finder]| signs.iter().any(|sign| sign.find(data).is_some());
    // Most of this API's have a use that is null.
    let is_null = |at: usize| {
        let after = data.get(at..).unwrap_or_default().strip_prefix(b"usage\":");
        // A space, and no line's end: behind that another event may begin.
        after.is_some_and(|after| after.strip_prefix(b" ").unwrap_or(after).starts_with(b"null"))
    };
    match api {
        ModelApi::AnthropicMessages => has(&*ANTHROPIC),
        ModelApi::OpenaiChat => has(&*CHAT) || USAGE.find_iter(data).any(|at| !is_null(at)),
        ModelApi::OpenaiResponses => has(&*RESPONSES),
        ModelApi::Gemini => true,
    }
}

/// To make one takes longer than to look through an event.
type Signs<const N: usize> = LazyLock<[Finder<'static>; N]>;
/// How an escape of a letter begins.
const ESCAPE: &str = "\\u00";
static EVENT_END: LazyLock<FinderRev<'static>> = LazyLock::new(|| FinderRev::new("\n\n"));
static DONE: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("[DONE]"));
static ANTHROPIC: Signs<3> = LazyLock::new(|| ["\"message", "\"content_block_start", ESCAPE].map(Finder::new));
static CHAT: Signs<2> = LazyLock::new(|| ["\"tool_calls", ESCAPE].map(Finder::new));
static USAGE: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("usage"));
static RESPONSES: Signs<5> =
    LazyLock::new(|| ["\"item\"", "\"response\"", "\"output\"", "\"usage\"", ESCAPE].map(Finder::new));

fn text<'j>(of: &'j Json, name: &str) -> &'j str {
    of.get(name).and_then(Json::as_str).unwrap_or_default()
}

fn items<'j>(of: &'j Json, name: &str) -> impl Iterator<Item = &'j Json> {
    of.get(name).and_then(Json::as_array).into_iter().flatten()
}

/// A count; what is none is 0.
fn count(of: &Json, name: &str) -> i64 {
    of.get(name).and_then(Json::as_i64).unwrap_or_default().clamp(0, COUNT_MAX)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use proptest::prelude::*;

    /// A word as JSON may spell it: plain, or a letter of it as an escape.
    fn spelt(word: &str, escaped: Option<usize>) -> String {
        let letter = |(at, c): (usize, char)| match escaped == Some(at) && c.is_ascii_lowercase() {
            true => format!("\\u{:04x}", c as u32),
            false => c.to_string(),
        };
        format!("\"{}\"", word.chars().enumerate().map(letter).collect::<String>())
    }

    fn word(of: &'static [&'static str]) -> impl Strategy<Value = String> {
        let escaped = proptest::option::weighted(0.15, 0..12usize);
        (prop::sample::select(of), escaped).prop_map(|(word, escaped)| spelt(word, escaped))
    }

    fn value() -> impl Strategy<Value = String> {
        const KEYS: &[&str] = &[
            "type",
            "message",
            "usage",
            "content_block",
            "content",
            "output_tokens",
            "id",
            "name",
            "choices",
            "delta",
            "tool_calls",
            "function",
            "response",
            "item",
            "output",
            "completion_tokens",
            "call_id",
            "candidates",
            "usageMetadata",
            "text",
            "xusage",
        ];
        const WORDS: &[&str] = &[
            "message",
            "message_start",
            "message_delta",
            "message_stop",
            "content_block_start",
            "content_block_delta",
            "tool_use",
            "response.completed",
            "response.failed",
            "response.created",
            "function_call",
            "a",
            "usage\\\":null",
            "[DONE]",
        ];
        let leaf = prop_oneof![word(WORDS), Just("null".to_owned()), Just(" null".to_owned()), Just("7".to_owned())];
        leaf.prop_recursive(5, 40, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..3).prop_map(|all| format!("[{}]", all.join(","))),
                prop::collection::vec((word(KEYS), inner), 1..5).prop_map(|all| {
                    let all: Vec<String> = all.into_iter().map(|(key, value)| format!("{key}:{value}")).collect();
                    format!("{{{}}}", all.join(","))
                }),
            ]
        })
    }

    /// Every event read, line by line.
    fn naive(api: ModelApi, stream: &str) -> ModelAnswer {
        let mut read = ModelAnswer::new(api, "text/event-stream");
        let mut data: Vec<&str> = Vec::new();
        for line in stream.replace("\r\n", "\n").replace('\r', "\n").split('\n').chain([""]) {
            match line.strip_prefix("data:") {
                Some(more) => data.push(more.strip_prefix(' ').unwrap_or(more)),
                None if line.is_empty() => {
                    let whole = std::mem::take(&mut data).join("\n");
                    read.is_over |= whole == "[DONE]";
                    serde_json::from_str::<Json>(&whole).iter().for_each(|part| read.part(part));
                }
                None => {}
            }
        }
        read
    }

    fn told(read: &ModelAnswer) -> String {
        format!("{:?} {:?} {:?} {}", read.usage(), read.usage_so_far(), read.tool_uses(), read.is_over())
    }

    fn in_pieces(api: ModelApi, stream: &str, at: &[usize]) -> ModelAnswer {
        let mut read = ModelAnswer::new(api, "text/event-stream");
        let mut rest = stream.as_bytes();
        for at in at {
            let (piece, after) = rest.split_at((*at).min(rest.len()));
            read.read(piece);
            rest = after;
        }
        read.read(rest);
        read.end();
        read
    }

    const ANTHROPIC_USE: &str = r#"{"type":"message_delta","usage":{"output_tokens":9}}"#;
    const CHAT_USE: &str = r#"{"choices":[],"usage":{"completion_tokens":9}}"#;

    /// Each sign alone is enough to have its event read, plain or with a letter as an escape; and one letter less tells nothing.
    #[test]
    fn each_sign_is_looked_for() {
        use ModelApi::{AnthropicMessages as A, OpenaiChat as C, OpenaiResponses as R};
        for (api, event) in [
            (A, ANTHROPIC_USE),
            (A, r#"{"type":"message_start","message":{"usage":{"input_tokens":5}}}"#),
            (A, r#"{"type":"message_stop"}"#),
            (A, r#"{"type":"content_block_start","content_block":{"type":"tool_use","id":"i","name":"n"}}"#),
            (A, r#"{"type":"mess\u0061ge_stop"}"#),
            (A, r#"{"type":"content_block_st\u0061rt","content_block":{"type":"tool_use","id":"i"}}"#),
            (C, CHAT_USE),
            (C, r#"{"choices":[],"usage":{"completion_tokens":9},"x":{"usage":null}}"#),
            (C, r#"{"choices":[],"x":{"usage":null},"usage": {"completion_tokens":9}}"#),
            (C, r#"{"choices":[],"us\u0061ge":{"completion_tokens":9}}"#),
            (C, r#"{"choices":[{"delta":{"tool_calls":[{"id":"i","function":{"name":"n"}}]}}],"usage":null}"#),
            (C, r#"{"choices":[{"delta":{"tool_c\u0061lls":[{"id":"i"}]}}],"usage": null}"#),
            (C, "[DONE]"),
            (A, "[DONE]"),
            (R, r#"{"type":"t","item":{"type":"function_call","call_id":"i","name":"n"}}"#),
            (R, r#"{"type":"response.completed","response":{"usage":{"output_tokens":9}}}"#),
            (R, r#"{"output":[{"type":"function_call","call_id":"i"}]}"#),
            (R, r#"{"usage":{"output_tokens":9}}"#),
            (R, r#"{"us\u0061ge":{"output_tokens":9}}"#),
            (R, r#"{"type":"t","it\u0065m":{"type":"function_call","call_id":"i"}}"#),
            (ModelApi::Gemini, r#"{"usageMetadata":{"promptTokenCount":3}}"#),
        ] {
            let stream = format!(": a comment\n\nevent: x\ndata: {event}\n\ndata: {{}}\n\n");
            let read = in_pieces(api, &stream, &[]);
            assert_ne!(told(&read), told(&ModelAnswer::new(api, "text/event-stream")), "{api:?} {event}");
            assert_eq!(told(&read), told(&naive(api, &stream)), "{api:?} {event}");
        }
    }

    /// A `\r\n` that comes in two pieces ends one line.
    #[test]
    fn a_line_s_end_may_be_cut() {
        let stream = "data: {\"usage\":\r\ndata: {\"output_tokens\":9}}\r\n\r\n";
        for at in 0..stream.len() {
            let read = in_pieces(ModelApi::OpenaiResponses, stream, &[at, 0, 1]);
            assert_eq!(read.usage().map(|usage| usage.output), Some(9), "{at}");
        }
    }

    /// What is passed over costs what it takes to look through it, and a sign in the words of an answer does not change what is told.
    #[test]
    fn events_that_tell_nothing_are_passed_over() {
        let delta = r#"data: {"type":"content_block_delta","delta":{"text":"a message about usage"}}"#;
        for (api, end) in [(ModelApi::AnthropicMessages, ANTHROPIC_USE), (ModelApi::OpenaiResponses, r#"{"usage":{}}"#)]
        {
            let silent_ones = format!("{delta}\n\n{delta}\n\n");
            assert_eq!(silent(api, format!("{silent_ones}data: {{").as_bytes()), silent_ones.len(), "{api:?}");
            assert_eq!(silent(api, format!("{silent_ones}data: {end}\n\n").as_bytes()), 0, "{api:?}");
            assert_eq!(silent(api, silent_ones.replace('\n', "\r\n").as_bytes()), 0, "{api:?}");
        }
        let null = "data: {\"usage\":null}\n\ndata: {\"usage\": null}\n\n";
        assert_eq!(silent(ModelApi::OpenaiChat, null.as_bytes()), null.len());
        // Over the end of a line it is no null: the line between is no data.
        let split = "data:{\"usage\":\nnull\ndata:{\"completion_tokens\":9}}\n\n";
        assert_eq!(silent(ModelApi::OpenaiChat, split.as_bytes()), 0);
        assert_eq!(in_pieces(ModelApi::OpenaiChat, split, &[]).usage_so_far().output, 9);
        let long = format!("data: {}\n\n", "x".repeat(PIECE_BYTES_MAX));
        assert_eq!(silent(ModelApi::AnthropicMessages, long.as_bytes()), 0);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4000))]

        /// An event that is left unread had nothing to tell.
        #[test]
        fn what_is_not_read_says_nothing(event in value()) {
            for api in ModelApi::ALL {
                let fresh = ModelAnswer::new(api, "text/event-stream");
                let mut read = ModelAnswer::new(api, "text/event-stream");
                read.part(&serde_json::from_str(&event).unwrap());
                let changes = format!("{read:?}") != format!("{fresh:?}");
                prop_assert!(!changes || may_tell(api, event.as_bytes()), "{api:?} {event}");
            }
        }

        /// However a stream is cut into pieces, and however its lines end, it tells what every event of it tells.
        #[test]
        fn a_stream_tells_what_its_events_tell(
            events in prop::collection::vec((value(), prop::sample::select(&["\n", "\r\n", "\r"][..]), any::<bool>()), 0..6),
            at in prop::collection::vec(0..60usize, 0..12),
        ) {
            let event = |(value, end, is_split): &(String, &str, bool)| {
                // A value may go over two lines wherever JSON has a comma.
                let data = if *is_split { value.replacen(',', &format!(",{end}data:"), 1) } else { value.clone() };
                format!("event: e{end}data: {data}{end}{end}")
            };
            let stream: String = events.iter().map(event).collect();
            for api in ModelApi::ALL {
                prop_assert_eq!(told(&in_pieces(api, &stream, &at)), told(&naive(api, &stream)), "{:?} {}", api, stream);
            }
        }
    }
}
