//! Kubernetes' API, whatever the server's name (kubernetes.io, "API concepts": resource URIs).

use super::{HttpRequest, implied};
use flyball_kernel::{Action, ActionError, Resource, ResourceKind};
use serde_json::Value as Json;

const READER: &str = "kubernetes-api/1";

pub(super) fn is_api(path: &[String]) -> bool {
    object(path).is_some()
}

/// A shell in a container is opened by a request that changes nothing by its method.
pub(super) fn is_exec(path: &[String]) -> bool {
    object(path).is_some_and(|object| matches!(object.part, "exec" | "attach" | "portforward"))
}

/// What an API's path names.
struct Object<'p> {
    namespace: &'p str,
    kind: &'p str,
    name: &'p str,
    part: &'p str,
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
    (!rest.is_empty()).then(|| Object { namespace, kind: at(0), name: at(1), part: at(2) })
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
        (_, "exec" | "attach" | "portforward") => {
            let query = request.target.split_once('?').map(|(_, query)| query).unwrap_or_default();
            let words = query.split('&').filter_map(|pair| pair.strip_prefix("command="));
            let argv: Vec<String> = words.map(|word| super::unescape(&word.replace('+', " "))).collect();
            implied("deploy.exec", target, READER, true)?.with("argv", argv)?
        }
        ("DELETE", _) => implied("deploy.delete", target, READER, true)?,
        (_, "scale") => scaled(target, at("/spec/replicas"))?,
        // A change that sets how many there are scales them, by whatever path.
        ("PATCH" | "PUT" | "POST", "") => {
            let apply = implied("deploy.apply", target.clone(), READER, json.is_some())?.with("tool", "api")?;
            let replicas = at("/spec/replicas");
            let scale = replicas.map(|replicas| scaled(target, Some(replicas))).transpose()?;
            return Ok(std::iter::once(apply).chain(scale).collect());
        }
        _ => implied("deploy.apply", target, READER, json.is_some())?,
    };
    Ok(vec![action.with("tool", "api")?])
}

fn scaled(target: Resource, replicas: Option<&Json>) -> Result<Action, ActionError> {
    let replicas = replicas.and_then(Json::as_i64);
    let action = implied("deploy.scale", target, READER, replicas.is_some())?.with("tool", "api")?;
    match replicas {
        Some(replicas) => action.with("replicas", replicas),
        None => Ok(action),
    }
}
