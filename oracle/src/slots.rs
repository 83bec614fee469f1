//! Which attribute of ours carries which field of theirs.
//!
//! Their actions have fields of their own; our vocabulary is closed. So each event becomes an attempt of one verb of ours whose
//! `name` says which action and kind it was, and each field that a policy reads gets one attribute of its type.

use dogwood_language::Value;
use std::collections::{BTreeMap, BTreeSet};

/// A field: its dotted path, `callerPrincipal` and `callerResource` for the scope's entities.
pub type Key = String;

/// The verb that carries a case, and where each field stands.
pub struct Slots {
    pub verb: &'static str,
    /// The attribute that names the action.
    pub name: &'static str,
    of: BTreeMap<Key, &'static str>,
}

/// Texts and numbers that a verb carries, and how rules read them.
const DEPLOY: (&str, &str, &[&str], &[&str]) =
    ("deploy.scale", "name", &["namespace", "kind", "tool", "reader", "implied_by"], &["replicas"]);
const CHMOD: (&str, &str, &[&str], &[&str]) =
    ("fs.chmod", "path", &["xattr", "reader", "implied_by"], &["mode", "uid", "gid"]);

/// What a field that is not there is written as, in history and in what is judged: equal to nothing.
pub const NONE_PAST: &str = "none:past";
pub const NONE_NOW: &str = "none:now";

impl Slots {
    /// `keys`: those that the policies read; `numbers`: those that are numbers wherever they are seen.
    pub fn new(keys: &BTreeSet<Key>, numbers: &BTreeSet<Key>) -> Result<Self, String> {
        let (longs, texts): (Vec<&Key>, Vec<&Key>) = keys.iter().partition(|key| numbers.contains(*key));
        let verbs = [DEPLOY, CHMOD];
        let fits = verbs.into_iter().find(|(_, _, t, n)| texts.len() <= t.len() && longs.len() <= n.len());
        let Some((verb, name, t, n)) = fits else {
            return Err("reads more fields than a verb of ours has attributes".to_owned());
        };
        let of = texts.into_iter().cloned().zip(t.iter().copied());
        Ok(Self { verb, name, of: of.chain(longs.into_iter().cloned().zip(n.iter().copied())).collect() })
    }

    pub fn slot(&self, key: &str) -> Result<&'static str, String> {
        self.of.get(key).copied().ok_or_else(|| format!("no attribute carries `{key}`"))
    }

    pub fn all(&self) -> impl Iterator<Item = (&str, &'static str)> {
        self.of.iter().map(|(key, slot)| (key.as_str(), *slot))
    }

    pub fn is_number(slot: &str) -> bool {
        ["replicas", "mode", "uid", "gid"].contains(&slot)
    }

    /// The attribute as our rules read it.
    pub fn in_cedar(slot: &str) -> String {
        match slot {
            "namespace" | "kind" | "name" | "path" => format!("resource.{slot}"),
            other => format!("context.attrs.{other}"),
        }
    }

    /// The name of an event of that action and kind, as the verb's name attribute holds it.
    pub fn named(&self, action: &str, kind: &str) -> String {
        let sign = |text: &str| text.replace("::", ".").replace('"', "");
        match kind {
            "" => format!("/now/{}", sign(action)),
            kind => format!("/past/{}.{}", sign(action), sign(kind)),
        }
    }
}

/// A value as one of our texts; sets and records are none.
pub fn text_of(value: &Value) -> Result<String, String> {
    match value {
        Value::Bool(b) => Ok(b.to_string()),
        Value::Int(n) => Ok(n.to_string()),
        Value::Decimal(text) => Ok(plain(&decimal(text))),
        Value::String(text) => Ok(plain(text)),
        Value::Entity { ty, id } => Ok(uid(ty, id)),
        _ => Err("reads a set, a record or null".to_owned()),
    }
}

pub fn uid(ty: &str, id: &str) -> String {
    plain(&format!("{ty}::{id}"))
}

/// `Ns::Type::"id"` as [`uid`] writes it.
pub fn uid_text(text: &str) -> Option<String> {
    let (ty, id) = text.split_once("::\"")?;
    Some(uid(ty, id.strip_suffix('"')?))
}

pub fn decimal(text: &str) -> String {
    let trimmed = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { text };
    format!("decimal:{trimmed}")
}

pub fn is_plain(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_alphanumeric() || b" _.:@/-#+".contains(&b))
}

/// Odd characters would only test how texts are quoted.
pub fn plain(text: &str) -> String {
    if is_plain(text) {
        return text.to_owned();
    }
    let hex: String = text.bytes().map(|b| format!("{b:02x}")).collect();
    format!("hex:{hex}")
}
