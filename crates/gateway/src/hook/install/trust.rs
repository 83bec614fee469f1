//! Whether Codex will call the hooks that stand in its settings: it silently leaves out every one that the user has not
//! trusted.
//!
//! It keeps `trusted_hash` at `[hooks.state."FILE:EVENT:GROUP:HANDLER"]` in `config.toml`; the digest is of the entry as Codex
//! understands it, in JSON with sorted keys. Source: what `codex app-server` 0.169.0 says to `hooks/list`.

use super::{Entry, SettingsError, checked, entries};
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
        let Some(state) = states.and_then(|s| s.get(key(file, entry))) else { return Trust::Untrusted };
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

/// `config.toml` as Codex reads it, with each of Flyball's entries of a `hooks.json` trusted under each of the file's names: for a place
/// that only a session sees. Comments are gone from it.
///
/// # Errors
/// [`SettingsError`] when one of them can't be read, or the user has switched hooks off.
pub fn trusting(files: &[String], hooks: &[u8], config: &[u8]) -> Result<String, SettingsError> {
    let mut config: toml::Table =
        checked(config)?.parse().map_err(|e: toml::de::Error| SettingsError::Toml(e.message().to_owned()))?;
    let features = config.get("features").and_then(toml::Value::as_table);
    let is_off = |name: &&str| features.and_then(|f| f.get(*name)).and_then(toml::Value::as_bool) == Some(false);
    if let Some(name) = ["hooks", "codex_hooks"].into_iter().find(is_off) {
        return Err(SettingsError::Off(format!("features.{name}")));
    }
    let states = table(table(&mut config, "hooks", "hooks")?, "state", "hooks.state")?;
    for entry in entries(Harness::Codex, hooks)? {
        let trusted = [("enabled", toml::Value::Boolean(true)), ("trusted_hash", toml::Value::String(digest(&entry)))];
        let state: toml::Table = trusted.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        for file in files {
            states.insert(key(file, &entry), toml::Value::Table(state.clone()));
        }
    }
    Ok(config.to_string())
}

fn table<'a>(of: &'a mut toml::Table, name: &str, at: &str) -> Result<&'a mut toml::Table, SettingsError> {
    let value = of.entry(name).or_insert_with(|| toml::Value::Table(toml::Table::new()));
    value.as_table_mut().ok_or_else(|| SettingsError::Shape { at: at.to_owned(), want: "a table" })
}

/// Codex's name for an entry.
fn key(file: &str, entry: &Entry) -> String {
    format!("{file}:{}:{}:{}", label(&entry.event), entry.place.0, entry.place.1)
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
