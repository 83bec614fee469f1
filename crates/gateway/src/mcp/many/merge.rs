//! One answer of several.

use super::super::message::{Id, Kind, Message, read_messages};
use super::super::{raw, say};
use super::{BETWEEN, REMEMBERED_MAX, State};
use serde_json::{Map, Value as Json, json};
use std::collections::BTreeMap;

/// What stands before the cursors of several servers.
const CURSORS: &str = "flyball:";

/// Each server's own cursor, by its place.
pub(super) fn cursors(text: &str, names: &[&str]) -> Option<BTreeMap<usize, String>> {
    let read: BTreeMap<String, String> = serde_json::from_str(text.strip_prefix(CURSORS)?).ok()?;
    read.into_iter().map(|(name, cursor)| Some((names.iter().position(|it| **it == name)?, cursor))).collect()
}

/// The answer to the client; a server that has none to give is left out, unless none has.
pub(super) fn answers(
    id: &Id,
    method: &str,
    answers: &BTreeMap<usize, Vec<u8>>,
    names: &[&str],
    state: &mut State,
) -> Vec<u8> {
    let read = answers.iter().filter_map(|(at, line)| {
        let (message, line) = read_messages(line).ok()?.into_iter().next()?;
        let is_good = matches!(&message.kind, Kind::Answer { is_error: false, .. });
        is_good.then_some((*at, message, line))
    });
    let good: Vec<(usize, Message, Vec<u8>)> = read.collect();
    if good.is_empty() {
        // They all say the same: the first does.
        return answers.values().next().cloned().unwrap_or_else(|| say::result(id, &json!({})));
    }
    match method {
        "initialize" | "server/discover" => say::result(id, &introduced(&good, names, state)),
        "logging/setLevel" => say::result(id, &json!({})),
        _ => listed(id, method, &good, names, state),
    }
}

fn result(message: &Message) -> &Json {
    message.body.get("result").unwrap_or(&Json::Null)
}

/// All that they can do, by the oldest revision of theirs.
fn introduced(good: &[(usize, Message, Vec<u8>)], names: &[&str], state: &mut State) -> Json {
    let mut out = good.first().and_then(|(_, message, _)| result(message).as_object().cloned()).unwrap_or_default();
    let mut all = Map::new();
    let (mut versions, mut supported, mut says) = (Vec::new(), None::<Vec<Json>>, Vec::new());
    for (at, message, _) in good {
        let result = result(message);
        for (name, of) in result.get("capabilities").and_then(Json::as_object).into_iter().flatten() {
            join(all.entry(name.clone()).or_insert(Json::Null), of);
        }
        if result.pointer("/capabilities/resources").is_some() {
            state.with_resources.insert(*at);
        }
        versions.extend(result.get("protocolVersion").and_then(Json::as_str).map(str::to_owned));
        if let Some(of) = result.get("supportedVersions").and_then(Json::as_array) {
            supported = Some(match supported {
                None => of.clone(),
                Some(had) => had.into_iter().filter(|version| of.contains(version)).collect(),
            });
        }
        if let Some(text) = result.get("instructions").and_then(Json::as_str) {
            says.push(format!("{}: {text}", names.get(*at).copied().unwrap_or_default()));
        }
    }
    out.insert("capabilities".to_owned(), all.into());
    out.insert("serverInfo".to_owned(), json!({ "name": "flyball", "version": env!("CARGO_PKG_VERSION") }));
    if let Some(oldest) = versions.into_iter().min() {
        out.insert("protocolVersion".to_owned(), oldest.into());
    }
    if let Some(supported) = supported {
        out.insert("supportedVersions".to_owned(), supported.into());
    }
    out.remove("instructions");
    if !says.is_empty() {
        out.insert("instructions".to_owned(), says.join("\n\n").into());
    }
    out.into()
}

/// Whatever one of them can.
fn join(to: &mut Json, of: &Json) {
    match (to, of) {
        (Json::Object(to), Json::Object(of)) => {
            for (name, value) in of {
                join(to.entry(name.clone()).or_insert(Json::Null), value);
            }
        }
        (Json::Bool(to), Json::Bool(of)) => *to |= of,
        (to @ Json::Null, of) => *to = of.clone(),
        _ => {}
    }
}

/// What they list, each as it is written but for its name.
fn listed(id: &Id, method: &str, good: &[(usize, Message, Vec<u8>)], names: &[&str], state: &mut State) -> Vec<u8> {
    let member = match method {
        "tools/list" => "tools",
        "prompts/list" => "prompts",
        "resources/list" => "resources",
        _ => "resourceTemplates",
    };
    let (mut all, mut next) = (Vec::new(), BTreeMap::new());
    for (at, message, line) in good {
        let name = names.get(*at).copied().unwrap_or_default();
        let read = result(message).get(member).and_then(Json::as_array).map(Vec::as_slice).unwrap_or_default();
        let written = raw::list(line, member).filter(|written| written.len() == read.len()).unwrap_or_default();
        for (item, text) in read.iter().zip(written) {
            let own = |key: &str| item.get(key).and_then(Json::as_str);
            match (member, own("name"), own("uri")) {
                ("tools" | "prompts", Some(own), _) => all.extend(raw::named(&text, &format!("{name}{BETWEEN}{own}"))),
                // Two servers' address would be read of one of them only, and nobody could tell of which.
                ("resources", _, Some(address)) if is_of(state, address, *at) => all.push(text),
                ("resourceTemplates", ..) => all.push(text),
                _ => {}
            }
        }
        if let Some(cursor) = result(message).get("nextCursor").and_then(Json::as_str) {
            next.insert(name, cursor);
        }
    }
    let first = good.first().map(|(_, _, line)| line.as_slice()).unwrap_or_default();
    let said = raw::with_object(first, "result", |result| {
        result.remove(member);
        result.remove("nextCursor");
        result.0.push((member.to_owned(), format!("[{}]", all.join(","))));
        if !next.is_empty() {
            let text = format!("{CURSORS}{}", json!(next));
            result.0.push(("nextCursor".to_owned(), Json::from(text).to_string()));
        }
    });
    said.unwrap_or_else(|| say::error(Some(id), say::INTERNAL, "flyball: the servers' lists can't be read"))
}

/// Whether that server has the address for itself.
fn is_of(state: &mut State, address: &str, at: usize) -> bool {
    if state.addresses.len() >= REMEMBERED_MAX && !state.addresses.contains_key(address) {
        return false;
    }
    *state.addresses.entry(address.to_owned()).or_insert(at) == at
}
