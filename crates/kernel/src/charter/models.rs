//! `[[model]]` and `[[price]]`: which hosts are models', and what they cost. `[credentials.NAME]`: what the broker puts in.

use super::report::{At, Report, clip};
use super::table::Keys;

/// The interfaces of models that are read, by the names that `[[model]] api` takes.
pub const MODEL_APIS: &[&str] = &["anthropic-messages", "openai-chat", "openai-responses", "gemini"];

/// What a charter says of models.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ModelSettings {
    /// `[[model]]`, beside the hosts that are known anyway.
    pub hosts: Vec<ModelHost>,
    /// `[[price]]`, in the order of the file: the first that fits a model is its price.
    pub prices: Vec<ModelPrice>,
    /// Whether a budget is of cost, so that what a call costs must be told.
    pub counts_cost: bool,
}

/// `[[model]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelHost {
    /// A name in lower case.
    pub host: String,
    /// One of [`MODEL_APIS`].
    pub api: String,
    /// How rules call whoever serves it.
    pub provider: String,
}

/// `[[price]]`: micro-units of money for a million tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelPrice {
    /// A model's name, or its beginning and `*`.
    pub model: String,
    /// Of what is sent.
    pub input: i64,
    /// Of what is sent again and was kept by the provider.
    pub cached: i64,
    /// Of what comes back.
    pub output: i64,
}

/// `[credentials.NAME]`: the agent holds a placeholder, which becomes the secret in one header of requests to one host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credential {
    /// Its name.
    pub name: String,
    /// The one host that gets it, over TLS.
    pub host: String,
    /// At this port.
    pub port: u16,
    /// The one header that it is put into, in lower case.
    pub header: String,
    /// Where the secret is.
    pub from: CredentialSource,
    /// The variable that holds the placeholder inside.
    pub variable: String,
    /// How the placeholder begins, for programs that look at that.
    pub prefix: String,
}

/// Where a secret is, outside of the session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CredentialSource {
    /// In a variable of the supervisor's.
    Variable(String),
    /// In a file that the supervisor's user can read; `~` is the home.
    File(String),
}

impl ModelSettings {
    /// A model's price.
    #[must_use]
    pub fn price(&self, model: &str) -> Option<&ModelPrice> {
        self.prices.iter().find(|price| match price.model.strip_suffix('*') {
            Some(beginning) => model.starts_with(beginning),
            None => model == price.model,
        })
    }
}

/// Rows of each kind, at most.
const ROWS_MAX: usize = 256;
/// A million tokens at most: far above any price, far below what overflows.
const PRICE_MAX: i64 = 1_000_000_000_000;

pub(crate) fn section(report: &mut Report, root: &mut Keys) -> ModelSettings {
    let mut hosts = Vec::new();
    for mut row in root.tables(report, "model").into_iter().take(ROWS_MAX) {
        let host = row.required_str(report, "host").map(|host| host_name(report, host)).unwrap_or_default();
        row.required_str(report, "api");
        let api = row.choice(report, "api", MODEL_APIS).map(|api| api.value).unwrap_or_default();
        let provider = row.str(report, "provider").map_or_else(|| host.clone(), |provider| provider.value);
        row.finish(report);
        hosts.push(ModelHost { host, api, provider });
    }
    let mut prices = Vec::new();
    for mut row in root.tables(report, "price").into_iter().take(ROWS_MAX) {
        let model = row.required_str(report, "model").map(|model| model.value).unwrap_or_default();
        let input = price(report, &mut row, "input");
        let output = price(report, &mut row, "output");
        let cached = price(report, &mut row, "cached").or(input);
        if input.is_none() || output.is_none() {
            let hint = "micro-units of money for a million tokens, such as `input = 3_000_000`";
            report.error("FB0104", &row.place, "[[price]] lacks `input` or `output`", hint);
        }
        row.finish(report);
        let (input, output) = (input.unwrap_or_default(), output.unwrap_or_default());
        prices.push(ModelPrice { model, input, output, cached: cached.unwrap_or_default() });
    }
    ModelSettings { hosts, prices, counts_cost: false }
}

fn price(report: &mut Report, row: &mut Keys, key: &'static str) -> Option<i64> {
    let said = row.int(report, key)?;
    if !(0..=PRICE_MAX).contains(&said.value) {
        let message = format!("`{key} = {}` is no price", said.value);
        report.error("FB0103", &said.place, message, "from 0 to 1_000_000_000_000 micro-units for a million tokens");
    }
    Some(said.value.clamp(0, PRICE_MAX))
}

pub(crate) fn credentials(report: &mut Report, root: &mut Keys) -> Vec<Credential> {
    let mut out: Vec<Credential> = Vec::new();
    for (name, mut keys) in root.named_tables(report, "credentials") {
        let host = keys.required_str(report, "host").map(|host| host_name(report, host)).unwrap_or_default();
        let port = match keys.int(report, "port") {
            Some(port) => u16::try_from(port.value).ok().filter(|port| *port > 0).unwrap_or_else(|| {
                report.error("FB0103", &port.place, format!("`{}` is no port", port.value), "from 1 to 65535");
                443
            }),
            None => 443,
        };
        let header = keys.str(report, "header");
        let header = header.map_or_else(
            || "authorization".to_owned(),
            |said| {
                let is_name = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
                if said.value.is_empty() || !said.value.bytes().all(is_name) {
                    let message = format!("`{}` is no header", clip(&said.value));
                    report.error("FB0103", &said.place, message, "such as `authorization` or `x-api-key`");
                }
                said.value.to_ascii_lowercase()
            },
        );
        let (env, file) = (keys.str(report, "env"), keys.str(report, "file"));
        let variable = keys.str(report, "variable").map(|variable| variable.value);
        let prefix = keys.str(report, "prefix").map(|prefix| prefix.value).unwrap_or_default();
        let is_plain = |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
        if !is_plain(&prefix) || variable.as_deref().is_some_and(|v| v.is_empty() || !is_plain(v)) {
            let message = format!("{} has a `prefix` or `variable` of other than letters, digits, `_`, `-`", keys.name);
            report.error("FB0103", &keys.place, message, ());
        }
        let from = match (env, file) {
            (Some(env), None) => {
                Some((variable.unwrap_or_else(|| env.value.clone()), CredentialSource::Variable(env.value)))
            }
            (None, Some(file)) => variable.map(|variable| (variable, CredentialSource::File(file.value))),
            _ => None,
        };
        if from.is_none() {
            let message = format!("{} is to have `env`, or `file` and `variable`", keys.name);
            let hint =
                "such as `env = \"GITHUB_TOKEN\"`: the supervisor's variable has the secret, the agent's a placeholder";
            report.error("FB0104", &keys.place, message, hint);
        }
        keys.finish(report);
        let Some((variable, from)) = from else { continue };
        if out.iter().any(|other| other.variable == variable) {
            let message = format!("`{}` holds two credentials", clip(&variable));
            report.error("FB0103", &name.place, message, "give one of them another `variable`");
        }
        out.push(Credential { name: name.value, host, port, header, from, variable, prefix });
    }
    out
}

fn host_name(report: &mut Report, said: At<String>) -> String {
    let is_name = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-._:".contains(&b);
    if said.value.is_empty() || !said.value.bytes().all(is_name) {
        let message = format!("`{}` is no host", clip(&said.value));
        report.error("FB0103", &said.place, message, "one name in lower case, such as `api.corp.example`");
    }
    said.value
}
