//! What the gateway itself says to either peer.

use super::message::{Id, Message};
use serde_json::{Value as Json, json};

/// The first revision in which a server may ask for a retry instead of an answer.
const RETRIES_SINCE: &str = "2026-07-28";
const VERSION_KEY: &str = "io.modelcontextprotocol/protocolVersion";

/// JSON-RPC's own code for what went wrong within.
pub(super) const INTERNAL: i64 = -32603;
pub(super) const PARAMS: i64 = -32602;
pub(super) const REQUEST: i64 = -32600;
/// A refusal by the charter; outside of what JSON-RPC keeps for itself.
pub(super) const DENIED: i64 = 403;

pub(super) fn error(id: Option<&Id>, code: i64, text: &str) -> Vec<u8> {
    let id = id.map_or(Json::Null, Id::json);
    line(&json!({ "jsonrpc": "2.0", "id": id, "error": { "code": code, "message": text.trim_end() } }))
}

pub(super) fn result(id: &Id, result: &Json) -> Vec<u8> {
    line(&json!({ "jsonrpc": "2.0", "id": id.json(), "result": result }))
}

/// A refusal, where the model reads it: a tool's result that says that it failed.
pub(super) fn refusal(id: &Id, method: &str, is_modern: bool, text: &str) -> Vec<u8> {
    if method != "tools/call" {
        return error(Some(id), DENIED, text);
    }
    let mut result = json!({ "content": [{ "type": "text", "text": text.trim_end() }], "isError": true });
    if let (true, Some(result)) = (is_modern, result.as_object_mut()) {
        result.insert("resultType".to_owned(), "complete".into());
    }
    line(&json!({ "jsonrpc": "2.0", "id": id.json(), "result": result }))
}

/// "Ask again, with this."
pub(super) fn ask_again(id: &Id, state: &str) -> Vec<u8> {
    let result = json!({ "resultType": "input_required", "requestState": state });
    line(&json!({ "jsonrpc": "2.0", "id": id.json(), "result": result }))
}

/// The gateway's own look at a server's tools; `meta` is the one of the request that made it look.
pub(super) fn list(id: &Id, cursor: Option<&str>, meta: &Json) -> Vec<u8> {
    let mut params = json!({});
    if let (Some(params), Some(meta)) = (params.as_object_mut(), meta.as_object()) {
        let kept = meta.iter().filter(|(key, _)| key.starts_with("io.modelcontextprotocol/"));
        let kept: serde_json::Map<String, Json> = kept.map(|(k, v)| (k.clone(), v.clone())).collect();
        if !kept.is_empty() {
            params.insert("_meta".to_owned(), kept.into());
        }
    }
    if let (Some(params), Some(cursor)) = (params.as_object_mut(), cursor) {
        params.insert("cursor".to_owned(), cursor.into());
    }
    line(&json!({ "jsonrpc": "2.0", "id": id.json(), "method": "tools/list", "params": params }))
}

/// Whether whoever sent it knows `input_required`.
pub(super) fn is_modern(message: &Message) -> bool {
    let version = message.params().get("_meta").and_then(|meta| meta.get(VERSION_KEY)).and_then(Json::as_str);
    version.is_some_and(|version| version >= RETRIES_SINCE)
}

fn line(json: &Json) -> Vec<u8> {
    serde_json::to_vec(json).unwrap_or_default()
}
