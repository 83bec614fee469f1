//! Kubernetes' API, whatever the server's name (kubernetes.io, "API concepts": resource URIs).

use super::{HttpRequest, implied};
use flyball_kernel::{Action, ActionError, Resource, ResourceKind};
use serde_json::Value as Json;

const READER: &str = "kubernetes-api/1";

pub(super) fn is_api(path: &[String]) -> bool {
    object(path).is_some()
}

/// A shell in a container is opened by a request that changes nothing by its method; by way of a node's proxy as well, at its
/// kubelet.
pub(super) fn is_exec(path: &[String]) -> bool {
    object(path).is_some_and(|object| EXECS.contains(&object.part))
}

const EXECS: &[&str] = &["exec", "attach", "portforward", "proxy"];

/// What an API's path names.
struct Object<'p> {
    namespace: &'p str,
    kind: &'p str,
    name: &'p str,
    part: &'p str,
    /// Whether it may say how many there are of something.
    is_scaled: bool,
}

fn object(path: &[String]) -> Option<Object<'_>> {
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    let rest = match path.as_slice() {
        ["api", "v1", rest @ ..] | ["apis", _, _, rest @ ..] => rest,
        _ => return None,
    };
    let (namespace, rest) = match rest {
        ["namespaces", namespace, rest @ ..] if !rest.is_empty() => (*namespace, rest),
        rest => ("", rest),
    };
    let at = |n: usize| rest.get(n).copied().unwrap_or_default();
    let is_scaled = path.first() == Some(&"apis") || at(0) == "replicationcontrollers";
    (!rest.is_empty()).then(|| Object { namespace, kind: at(0), name: at(1), part: at(2), is_scaled })
}

pub(super) fn read(request: &HttpRequest<'_>, path: &[String]) -> Result<Vec<Action>, ActionError> {
    let Some(object) = object(path) else { return Ok(Vec::new()) };
    let json = request.json();
    let at = |pointer: &str| json.as_ref().and_then(|j| j.pointer(pointer));
    let named = at("/metadata/name").and_then(Json::as_str).unwrap_or_default();
    let target = Resource::new(ResourceKind::Target)
        .with("cluster", request.host)?
        .with("namespace", object.namespace)?
        .with("kind", object.kind)?
        .with("name", if object.name.is_empty() { named } else { object.name })?;
    let action = match (request.method, object.part) {
        (_, part) if EXECS.contains(&part) => {
            let query = request.target.split_once('?').map(|(_, query)| query).unwrap_or_default();
            let word = |pair: &str| match pair.split_once('=')? {
                ("command" | "cmd", word) => Some(super::unescape(&word.replace('+', " "))),
                _ => None,
            };
            let argv: Vec<String> = query.split('&').filter_map(word).collect();
            // What is behind a proxy is anything.
            let is_known = part != "proxy" || !argv.is_empty();
            implied("deploy.exec", target, READER, is_known)?.with("argv", argv)?
        }
        ("DELETE", _) => implied("deploy.delete", target, READER, true)?,
        (_, "scale") => {
            let replicas = json.as_ref().map_or(Replicas::Unread, replicas);
            scaled(target, if matches!(replicas, Replicas::Kept) { &Replicas::Unread } else { &replicas })?
        }
        // A change that sets how many there are scales them, by whatever path.
        ("PATCH" | "PUT" | "POST", "") => {
            let apply = implied("deploy.apply", target.clone(), READER, json.is_some())?.with("tool", "api")?;
            let replicas = match &json {
                Some(json) => replicas(json),
                None if object.is_scaled => Replicas::Unread,
                None => Replicas::Kept,
            };
            let scale = (!matches!(replicas, Replicas::Kept)).then(|| scaled(target, &replicas)).transpose()?;
            return Ok(std::iter::once(apply).chain(scale).collect());
        }
        _ => implied("deploy.apply", target, READER, json.is_some())?,
    };
    Ok(vec![action.with("tool", "api")?])
}

fn scaled(target: Resource, replicas: &Replicas) -> Result<Action, ActionError> {
    let number = if let Replicas::Set(number) = replicas { *number } else { None };
    let action = implied("deploy.scale", target, READER, number.is_some())?.with("tool", "api")?;
    match number {
        Some(number) => action.with("replicas", number),
        None => Ok(action),
    }
}

/// What a body says of how many there are to be.
enum Replicas {
    /// Nothing.
    Kept,
    /// This; `None` where it is no number.
    Set(Option<i64>),
    /// What can't be told from the body.
    Unread,
}

/// Of an object, or of a list of operations on one (RFC 6902).
fn replicas(json: &Json) -> Replicas {
    let of = |value: Option<&Json>| value.map_or(Replicas::Kept, |value| Replicas::Set(value.as_i64()));
    let Json::Array(operations) = json else { return of(json.pointer("/spec/replicas")) };
    let mut out = Replicas::Kept;
    for operation in operations {
        let text = |name: &str| operation.get(name).and_then(Json::as_str);
        // Kubernetes passes over what stands before a path's first slash.
        let has_root = |path: &str| path.is_empty() || path.starts_with('/');
        let (Some(op), Some(path)) = (text("op"), text("path").filter(|path| has_root(path))) else {
            return Replicas::Unread;
        };
        if text("from").is_some_and(|from| !has_root(from)) {
            return Replicas::Unread;
        }
        // Below this path stands the number, or it is the number's own.
        let rest =
            ["", "/spec", "/spec/replicas"].iter().find(|at| **at == path).map(|at| "/spec/replicas".get(at.len()..));
        let value = operation.get("value");
        match (op, rest.flatten()) {
            ("test", _) => {}
            ("add" | "replace", Some(rest)) => {
                let set = of(value.and_then(|value| value.pointer(rest)));
                out = if let (Replicas::Kept, Replicas::Set(_)) = (&set, &out) { out } else { set };
            }
            ("add" | "replace", None) => {}
            // What is taken away is what the server says by default.
            ("remove" | "move" | "copy", Some(_)) => return Replicas::Unread,
            ("remove" | "copy", None) => {}
            ("move", None) if !text("from").is_some_and(|from| "/spec/replicas".starts_with(from)) => {}
            _ => return Replicas::Unread,
        }
    }
    out
}
