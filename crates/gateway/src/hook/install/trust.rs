//! Whether Codex will call the hooks that stand in its settings: it silently leaves out every one that the user has not
//! trusted.
//!
//! It keeps `trusted_hash` at `[hooks.state."FILE:EVENT:GROUP:HANDLER"]` in `config.toml`; the digest is of the entry as Codex
//! understands it, in JSON with sorted keys. Source: what `codex app-server` 0.169.0 says to `hooks/list`.

use super::{Entry, SettingsError, entries};
use flyball_intent::Harness;
use serde_json::json;
use sha2::{Digest, Sha256};

/// Whether an entry is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// It is.
    Trusted,
    /// The user was never asked, or said no.
    Untrusted,
    /// The user trusted another entry in this place.
    Changed,
    /// The user switched it off.
    Off,
}

/// Flyball's entries in a `hooks.json` of Codex's, each with what `config.toml` says of it. A configuration that can't be read
/// trusts nothing.
///
/// # Errors
/// [`SettingsError`] when `hooks.json` can't be read.
pub fn trust(file: &str, hooks: &[u8], config: &str) -> Result<Vec<(Entry, Trust)>, SettingsError> {
    let config: toml::Table = config.parse().unwrap_or_default();
    let states = config.get("hooks").and_then(|h| h.get("state"));
    let of = |entry: &Entry| {
        let key = format!("{file}:{}:{}:{}", label(&entry.event), entry.place.0, entry.place.1);
        let Some(state) = states.and_then(|s| s.get(&key)) else { return Trust::Untrusted };
        if state.get("enabled").and_then(toml::Value::as_bool) == Some(false) {
            return Trust::Off;
        }
        match state.get("trusted_hash").and_then(toml::Value::as_str) {
            Some(trusted) if trusted == digest(entry) => Trust::Trusted,
            Some(_) => Trust::Changed,
            None => Trust::Untrusted,
        }
    };
    Ok(entries(Harness::Codex, hooks)?.into_iter().map(|entry| (of(&entry), entry)).map(|(t, e)| (e, t)).collect())
}

/// Codex's name for an event there: `PreToolUse` is `pre_tool_use`.
#[must_use]
pub fn label(event: &str) -> String {
    let mut out = String::new();
    for c in event.chars() {
        if c.is_ascii_uppercase() && !out.is_empty() {
            out.push('_');
        }
        out.push(c.to_ascii_lowercase());
    }
    out
}

/// What Codex records when the user trusts the entry.
#[must_use]
pub fn digest(entry: &Entry) -> String {
    // INVARIANT: the keys stand sorted here, whether or not serde_json keeps the order that they are written in.
    let handler = json!({
        "async": false, "command": entry.command, "timeout": entry.timeout.unwrap_or(600), "type": "command",
    });
    let event = label(&entry.event);
    let identity = match &entry.matcher {
        Some(matcher) => json!({ "event_name": event, "hooks": [handler], "matcher": matcher }),
        None => json!({ "event_name": event, "hooks": [handler] }),
    };
    let digest = Sha256::digest(identity.to_string().as_bytes());
    let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}
