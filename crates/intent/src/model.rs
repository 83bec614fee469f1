//! Calls of models inside HTTP requests: whose model, which one, and how many tokens it may take.
//!
//! | requests | read as |
//! |---|---|
//! | `…/v1/messages` | `model.call` by Anthropic's messages |
//! | `…/chat/completions` | `model.call` by OpenAI's chat completions, which many others speak |
//! | `…/responses` | `model.call` by OpenAI's responses |
//! | `…/models/NAME:generateContent`, `:streamGenerateContent` | `model.call` by Gemini's |
//! | other changes at a host that serves nothing but models, and WebSockets to models | `model.call`, opaque |
//!
//! An API is told by its path at whatever host, and the body's fields. INVARIANT: what may be a call and can't be read takes
//! [`TOKENS_UNREAD`]: no budget of tokens lets it pass.

mod answer;
mod fields;
#[cfg(test)]
mod tests;

pub use answer::{ModelAnswer, ModelUsage, ToolUse};

use crate::http::{HttpRequest, readings, segments};
use fields::Fields;
use flyball_kernel::{Action, ActionError, ModelSettings, Resource, ResourceKind, Surface};

/// Bytes of a call's body that are read, at most: what the providers themselves take.
pub const MODEL_BODY_BYTES_MAX: usize = 32 << 20;
/// What a call takes of which it can't be told. More than any budget.
const TOKENS_UNREAD: i64 = 1 << 40;
/// The same in micro-units of money.
const COST_UNREAD: i64 = 1 << 50;
/// Tokens of an answer whose length the request leaves open.
const OUTPUT_UNSTATED: i64 = 32_768;
/// Tokens of what a request only names, such as what was said before and a file that the provider keeps: as much as models take.
const INPUT_REFERRED: i64 = 1 << 20;
/// Bytes of a body for a token: three or four in most languages and in code.
const BYTES_PER_TOKEN: usize = 3;
/// Answers that one call may ask for.
const ANSWERS_MAX: i64 = 1024;
const NAME_CHARS_MAX: usize = 256;

/// An interface that is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the variants say it")]
pub enum ModelApi {
    AnthropicMessages,
    OpenaiChat,
    OpenaiResponses,
    Gemini,
}

impl ModelApi {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::AnthropicMessages, Self::OpenaiChat, Self::OpenaiResponses, Self::Gemini];

    /// Its name in charters and records.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::AnthropicMessages => "anthropic-messages",
            Self::OpenaiChat => "openai-chat",
            Self::OpenaiResponses => "openai-responses",
            Self::Gemini => "gemini",
        }
    }
}

/// A host that is known to serve models.
struct Known {
    /// The name; a `*` stands for anything.
    host: &'static str,
    provider: &'static str,
    /// Whether it serves nothing else, so that a change there that is not among `free` is a call.
    only: bool,
    /// First segments of paths, one after the other, of what calls no model there.
    free: &'static [&'static [&'static str]],
}

const fn known(
    host: &'static str,
    provider: &'static str,
    only: bool,
    free: &'static [&'static [&'static str]],
) -> Known {
    Known { host, provider, only, free }
}

const OPENAI_FREE: &[&[&str]] =
    &[&["v1", "files"], &["v1", "models"], &["v1", "moderations"], &["v1", "organization"], &["v1", "uploads"]];
/// Azure's other services behind the same names.
const AZURE_FREE: &[&[&str]] = &[
    &["computervision"],
    &["contentsafety"],
    &["customvision"],
    &["documentintelligence"],
    &["face"],
    &["formrecognizer"],
    &["language"],
    &["speechtotext"],
    &["sts"],
    &["text"],
    &["translator"],
    &["vision"],
];

const HOSTS: &[Known] = &[
    known(
        "api.anthropic.com",
        "anthropic",
        true,
        &[
            &["api"],
            &["v1", "files"],
            &["v1", "messages", "count_tokens"],
            &["v1", "models"],
            &["v1", "oauth"],
            &["v1", "organizations"],
            &["v1", "skills"],
        ],
    ),
    known("api.openai.com", "openai", true, OPENAI_FREE),
    // Of a region.
    known("*.api.openai.com", "openai", true, OPENAI_FREE),
    known("generativelanguage.googleapis.com", "google", true, &[&["upload"]]),
    known("chatgpt.com", "openai", false, &[]),
    known(
        "cloudcode-pa.googleapis.com",
        "google",
        true,
        &[
            &["v1internal:fetchadmincontrols"],
            &["v1internal:getcodeassistglobalusersetting"],
            &["v1internal:listexperiments"],
            &["v1internal:loadcodeassist"],
            &["v1internal:onboarduser"],
            &["v1internal:recordcodeassistmetrics"],
            &["v1internal:retrieveuserquota"],
            &["v1internal:setcodeassistglobalusersetting"],
        ],
    ),
    known("*aiplatform.googleapis.com", "google", true, &[]),
    known("*.openai.azure.com", "azure", true, &[]),
    known("*.services.ai.azure.com", "azure", true, AZURE_FREE),
    known("*.cognitiveservices.azure.com", "azure", true, AZURE_FREE),
    // With FIPS too, and by a private network's own door.
    known("bedrock-runtime*", "aws", true, &[]),
    known("*.bedrock-runtime*", "aws", true, &[]),
    known("openrouter.ai", "openrouter", true, &[]),
    known("api.mistral.ai", "mistral", true, &[&["v1", "files"], &["v1", "models"]]),
    known("api.groq.com", "groq", true, &[&["openai", "v1", "files"], &["openai", "v1", "models"]]),
    known("api.deepseek.com", "deepseek", true, &[]),
    known("api.x.ai", "xai", true, &[]),
];

fn known_host(host: &str) -> Option<&'static Known> {
    HOSTS.iter().find(|known| is_like(known.host, host))
}

/// Whether a text is like a pattern, in which each `*` stands for anything.
fn is_like(pattern: &str, text: &str) -> bool {
    let Some((begin, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(text) = text.strip_prefix(begin) else { return false };
    if !rest.contains('*') {
        return text.ends_with(rest);
    }
    // Shortest first: of what is left of the pattern only the end is bound to a place.
    (0..=text.len()).any(|at| text.get(at..).is_some_and(|text| is_like(rest, text)))
}

/// What a request may be by its head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelTarget {
    /// `None`: a call that is not read.
    api: Option<ModelApi>,
    provider: String,
    /// Whether somebody says that models are there; elsewhere the body has to look like a call.
    is_known: bool,
    /// What the path says.
    name: Option<String>,
    streams_by_path: bool,
}

/// Whether a request calls a model, by its head. `changes`: whether it does anything, by any reading of its method; `upgrades`:
/// whether it asks for a stream of another protocol, in which whatever is said is read by nobody.
#[must_use]
pub fn model_target(
    request: &HttpRequest<'_>,
    changes: bool,
    upgrades: bool,
    settings: &ModelSettings,
) -> Option<ModelTarget> {
    if !changes && !upgrades {
        return None;
    }
    let host = request.host.trim_end_matches('.').to_ascii_lowercase();
    let own = settings.hosts.iter().find(|own| own.host == host);
    let known = known_host(&host);
    let is_known = own.is_some() || known.is_some();
    let provider = own.map(|own| own.provider.clone()).or(known.map(|known| known.provider.to_owned()));
    let paths: Vec<Vec<String>> = readings(request.path()).iter().map(|path| segments(path)).collect();
    // What calls a model by any reading calls it.
    let shape = paths.iter().find_map(|path| Some((shape(&in_small(path), is_known)?, path)));
    let target = |api, name, streams_by_path| {
        let provider = provider.clone().unwrap_or_else(|| host.clone());
        Some(ModelTarget { api, provider, is_known, name, streams_by_path })
    };
    if upgrades {
        return if is_known || shape.is_some() { target(None, None, false) } else { None };
    }
    if let Some((api, path)) = shape {
        return match api {
            ModelApi::Gemini => {
                let (name, method) = gemini_name(path).unzip();
                target(Some(api), name, method.is_some_and(|method| method.starts_with("stream")))
            }
            api => target(Some(api), deployment(path), false),
        };
    }
    let is_free = paths.iter().all(|path| {
        let path = in_small(path);
        let path: Vec<&str> = path.iter().map(String::as_str).collect();
        is_free_anywhere(&path) || known.is_some_and(|known| known.free.iter().any(|free| path.starts_with(free)))
    });
    // By a user's own word all that is changed there is a call.
    let is_only = own.is_some() || known.is_some_and(|known| known.only);
    if is_only && !is_free { target(None, None, false) } else { None }
}

fn in_small(path: &[String]) -> Vec<String> {
    path.iter().map(|part| part.to_ascii_lowercase()).collect()
}

/// The API that a path is of.
fn shape(path: &[String], is_known: bool) -> Option<ModelApi> {
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    match path.as_slice() {
        [.., "v1", "messages"] => Some(ModelApi::AnthropicMessages),
        [.., "chat", "completions"] => Some(ModelApi::OpenaiChat),
        [.., "v1" | "codex" | "openai", "responses"] | [.., "v1" | "codex" | "openai", "responses", "compact"] => {
            Some(ModelApi::OpenaiResponses)
        }
        [.., "responses"] if is_known => Some(ModelApi::OpenaiResponses),
        [.., last] if last.ends_with(":generatecontent") || last.ends_with(":streamgeneratecontent") => {
            Some(ModelApi::Gemini)
        }
        _ => None,
    }
}

/// What asks about calls, or is about what was called before.
fn is_free_anywhere(path: &[&str]) -> bool {
    matches!(
        path,
        [.., "messages", "count_tokens"] | [.., "responses", _, "cancel"] | [.., "responses", "input_tokens"]
    ) || path.last().is_some_and(|last| last.ends_with(":counttokens"))
}

/// The model and the method of a path such as `/v1beta/models/NAME:generateContent`.
fn gemini_name(path: &[String]) -> Option<(String, String)> {
    let (name, method) = path.last()?.rsplit_once(':')?;
    Some((clip(name), method.to_ascii_lowercase()))
}

/// The model of a path such as `/openai/deployments/NAME/chat/completions`, whatever its body says (Azure OpenAI's reference).
fn deployment(path: &[String]) -> Option<String> {
    let at = path.iter().rposition(|part| part.eq_ignore_ascii_case("deployments"))?;
    path.get(at.saturating_add(1)).map(|name| clip(name))
}

fn clip(text: &str) -> String {
    text.chars().take(NAME_CHARS_MAX).collect()
}

/// A call, as far as its request tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelCall {
    /// `None` where it is none that is read.
    pub api: Option<ModelApi>,
    /// Who serves it.
    pub provider: String,
    /// The model's name; empty where it can't be told.
    pub name: String,
    /// Whether the answer is to come as a stream.
    pub streams: bool,
    /// An estimate of what is sent.
    pub input_tokens: i64,
    /// What may come back at most.
    pub output_tokens: i64,
    is_opaque: bool,
}

impl ModelTarget {
    /// The call that the body asks for; `None` where it turns out to be none. `body`: `None` when it is longer than
    /// [`MODEL_BODY_BYTES_MAX`], packed, or a stream of another protocol.
    #[must_use]
    pub fn call(&self, body: Option<&[u8]>) -> Option<ModelCall> {
        let unread = ModelCall {
            api: self.api,
            provider: self.provider.clone(),
            name: self.name.clone().unwrap_or_default(),
            streams: false,
            input_tokens: TOKENS_UNREAD,
            output_tokens: 0,
            is_opaque: true,
        };
        let (Some(api), Some(body)) = (self.api, body) else { return Some(unread) };
        let Ok(fields) = serde_json::from_slice::<Fields>(body) else {
            // At a host of models; elsewhere an answer to a form or a message, as long as it is no object at all.
            return (self.is_known || looks_like_object(body)).then_some(unread);
        };
        let is_call = fields.is_call(api, self.name.is_some());
        if !self.is_known && !is_call {
            return None;
        }
        let by_path = self.name.as_deref().filter(|name| fields.is_inner().is_none() || !name.starts_with("v1"));
        // Elsewhere than where the path is known to count, two names are two readings.
        let is_one = self.is_known
            || api == ModelApi::Gemini
            || by_path.is_none_or(|name| fields.model().is_none_or(|m| m == name));
        let name = by_path.map(str::to_owned).or_else(|| fields.model().map(clip));
        let is_read = fields.is_plain() && is_call && is_one;
        // What goes on behind an answer that came already is told to nobody here.
        let is_behind = fields.refers() && fields.is_background();
        let (Some(name), true) = (name, is_read && !is_behind) else { return Some(unread) };
        let output = fields.output_max().unwrap_or(OUTPUT_UNSTATED).clamp(0, TOKENS_UNREAD);
        let output = output.saturating_mul(fields.answers().clamp(1, ANSWERS_MAX)).min(TOKENS_UNREAD);
        let input = i64::try_from(body.len().div_ceil(BYTES_PER_TOKEN)).unwrap_or(TOKENS_UNREAD);
        let input = if fields.refers() { input.saturating_add(INPUT_REFERRED) } else { input };
        Some(ModelCall {
            api: Some(api),
            provider: self.provider.clone(),
            name,
            streams: self.streams_by_path || fields.streams(),
            input_tokens: input,
            output_tokens: output,
            is_opaque: false,
        })
    }
}

/// JSON in another encoding is taken for one too: providers may be more lenient than this reader.
fn looks_like_object(body: &[u8]) -> bool {
    body.iter().take(64).any(|byte| *byte == b'{')
}

impl ModelCall {
    /// Whether it could not be read.
    #[must_use]
    pub fn is_opaque(&self) -> bool {
        self.is_opaque
    }

    /// What it is reserved, tokens and, where that is counted, cost.
    #[must_use]
    pub fn reserve(&self, settings: &ModelSettings) -> (i64, Option<i64>) {
        let usage = ModelUsage { input: self.input_tokens, output: self.output_tokens, cached: 0 };
        let tokens = if self.is_opaque { TOKENS_UNREAD } else { usage.tokens() };
        let cost = match settings.price(&self.name) {
            _ if self.is_opaque => (settings.counts_cost || !settings.prices.is_empty()).then_some(COST_UNREAD),
            Some(_) => usage.cost(settings, &self.name),
            // Without a price it can't be told, and a budget of cost is to hold.
            None => settings.counts_cost.then_some(COST_UNREAD),
        };
        (tokens, cost)
    }

    /// As an action, implied by its request.
    ///
    /// # Errors
    /// [`ActionError`] when the vocabulary can't say it, which a gate denies.
    pub fn action(&self, settings: &ModelSettings) -> Result<Action, ActionError> {
        let resource = Resource::new(ResourceKind::Model)
            .with("provider", self.provider.as_str())?
            .with("name", self.name.as_str())?;
        let (tokens, cost) = self.reserve(settings);
        let reader = self.api.map_or("model/1", |api| match api {
            ModelApi::AnthropicMessages => "anthropic-messages/1",
            ModelApi::OpenaiChat => "openai-chat/1",
            ModelApi::OpenaiResponses => "openai-responses/1",
            ModelApi::Gemini => "gemini/1",
        });
        let mut action = Action::new("model.call", resource, Surface::Http)?
            .with("tokens", tokens)?
            .with("reader", reader)?
            .with("implied_by", "http.request")?;
        if let Some(cost) = cost {
            action = action.with("cost", cost)?;
        }
        if self.is_opaque { action.with("opaque", true) } else { Ok(action) }
    }
}

/// A refusal in the API's own words, as JSON: what its client programs print or hand to the model's user.
#[must_use]
pub fn model_refusal(api: Option<ModelApi>, text: &str) -> String {
    let text = text.trim_end();
    let json = match api {
        Some(ModelApi::AnthropicMessages) => {
            serde_json::json!({ "type": "error", "error": { "type": "permission_error", "message": text } })
        }
        Some(ModelApi::OpenaiChat | ModelApi::OpenaiResponses) | None => serde_json::json!({
            "error": { "message": text, "type": "invalid_request_error", "param": null, "code": "denied_by_flyball" }
        }),
        Some(ModelApi::Gemini) => {
            serde_json::json!({ "error": { "code": 403, "message": text, "status": "PERMISSION_DENIED" } })
        }
    };
    json.to_string()
}
