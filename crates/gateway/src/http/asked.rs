//! What a request asks for, by all that servers may read of it: its head, the methods that it names elsewhere, and its body.

use super::body::{Broken, Through};
use super::forward::hop_by_hop;
use super::model::{self, Models};
use super::{Egress, Place};
use flyball_intent::{
    BODY_BYTES_MAX, HttpRequest, MODEL_BODY_BYTES_MAX, WantedFields, http_actions, model_target, wants_body,
    wants_plain_body,
};
use flyball_kernel::Action;
use hyper::body::{Body, Bytes, Incoming};
use hyper::header::{self, HeaderMap};
use hyper::http::uri::PathAndQuery;
use hyper::{Request, StatusCode, Uri, Version};
use memchr::memmem;
use std::sync::Arc;
use std::time::Duration;

/// Bodies beyond this wait for their turn to be in memory.
pub(super) const SMALL_BYTES_MAX: usize = 1 << 20;
/// A body that is read before it goes on has to be there by then.
const BODY_WAIT_MAX: Duration = Duration::from_secs(if cfg!(test) { 3 } else { 120 });
/// Headers by which many frameworks let a request name another method than its own. Some read `_` for `-`.
const METHOD_HEADERS: &[&str] = &["x-http-method-override", "x-http-method", "x-method-override"];
/// Headers by which some servers let it name another path.
const PATH_HEADERS: &[&str] = &["x-original-url", "x-rewrite-url"];
/// A form's field, or the query's, for the same as [`METHOD_HEADERS`].
const METHOD_FIELD: &str = "_method";
/// The request's own, and one more.
const METHODS_MAX: usize = 2;

/// What a request does, and the request as it goes on.
pub(super) struct Asked {
    pub actions: Vec<Action>,
    pub request: Request<Through>,
    /// Where it calls a model.
    pub model: Option<model::Asked>,
    /// Why it does not go out, whatever the gate says: rules read what can't be read.
    pub unread: Option<Unread>,
}

/// A request that nobody is asked about: it can't be read.
pub(super) struct Unread {
    pub status: StatusCode,
    pub why: String,
}

fn denied(why: impl std::fmt::Display) -> Unread {
    Unread { status: StatusCode::BAD_REQUEST, why: format!("flyball: denied, {why}") }
}

pub(super) async fn asked(egress: &Egress, place: &Place, request: Request<Incoming>) -> Result<Asked, Unread> {
    let (mut head, body) = request.into_parts();
    let target = head.uri.path_and_query().map_or("/", PathAndQuery::as_str).to_owned();
    let methods = methods(head.method.as_str(), &head.headers, &target)?;
    let read = |method, body, beginning| HttpRequest {
        method,
        scheme: place.scheme,
        host: &place.host,
        target: &target,
        body,
        beginning,
    };
    let (settings, upgrades) = (&egress.models.settings, head.headers.contains_key(header::UPGRADE));
    let changes = methods.iter().any(|method| changes_by(method));
    let call = model_target(&read(head.method.as_str(), None, None), changes, upgrades, settings);
    let packing = head.headers.get_all(header::CONTENT_ENCODING);
    let is_plain = packing.iter().all(|packing| packing.as_bytes().eq_ignore_ascii_case(b"identity"));
    if !is_plain && methods.iter().any(|method| wants_plain_body(&read(method, None, None))) {
        let why = "flyball: denied, what the request does stands in its body, which is packed; send it plain";
        return Err(Unread { status: StatusCode::UNSUPPORTED_MEDIA_TYPE, why: why.to_owned() });
    }
    let wants = methods.iter().any(|method| wants_body(&read(method, None, None)));
    let form = Form::of(&head.headers).filter(|_| changes && is_plain);
    let fields = WantedFields::of(&read(head.method.as_str(), None, None), &egress.reads);
    let wants_fields = fields.as_ref().is_some_and(WantedFields::wants_body);
    let mut body = Through::all(body);
    let (bytes, is_all) = match (is_plain, call.is_some()) {
        (true, true) => peek(&mut body, &egress.models, MODEL_BODY_BYTES_MAX).await?,
        (true, false) if wants || wants_fields || form.is_some() => {
            peek(&mut body, &egress.models, BODY_BYTES_MAX).await?
        }
        _ => (Bytes::new(), false),
    };
    let mut all_methods = methods.clone();
    for named in form.iter().flat_map(|form| form.methods(&bytes)) {
        add(&mut all_methods, &named)?;
    }
    let whole = Some(&bytes).filter(|_| is_all);
    let call = call.and_then(|call| call.call(whole.map(|bytes| &**bytes)));
    let small = whole.filter(|bytes| bytes.len() <= BODY_BYTES_MAX).map(|bytes| &**bytes);
    let beginning = bytes.get(..BODY_BYTES_MAX.min(bytes.len())).filter(|_| small.is_none());
    let mut actions = Vec::new();
    for method in &all_methods {
        actions.extend(http_actions(&read(method, small, beginning)).map_err(denied)?);
    }
    let told = fields.map(|fields| {
        let told = told(&fields, &head.headers, body.is_end(), is_plain, small)?;
        if all_methods.iter().any(|method| changes_by(method)) {
            actions.extend(fields.actions(small.unwrap_or_default())?);
        }
        Ok(told)
    });
    let unread = match told {
        None => None,
        Some(told) => fill(&mut actions, told)?,
    };
    // Behind what was read of it a form may name a method.
    if matches!(form, Some(Form::Fields)) && !is_all && looks_like_form(&bytes) {
        for action in actions.iter_mut().filter(|action| action.verb.name() == "http.request") {
            action.set("opaque", true.into()).map_err(denied)?;
        }
    }
    let model = match call {
        Some(call) => {
            actions.push(call.action(settings).map_err(denied)?);
            let index = actions.len().saturating_sub(1);
            let head = model::head_of(head.method.as_str(), place, &target, &head.headers);
            Some(model::Asked { call, index, head, body: whole.cloned() })
        }
        None => None,
    };
    for action in &mut actions {
        action.agent = place.agent.as_str().into();
    }
    if head.version != Version::HTTP_2 {
        // To a server, not to a proxy.
        head.uri = target.parse::<Uri>().map_err(|e| denied(format_args!("no such path: {e}")))?;
    }
    hop_by_hop(&mut head.headers);
    Ok(Asked { actions, request: Request::from_parts(head, body), model, unread })
}

fn changes_by(method: &str) -> bool {
    !matches!(method, "GET" | "HEAD" | "OPTIONS")
}

/// What the charter has read of it; or why that can't be told.
fn told(
    fields: &WantedFields,
    headers: &HeaderMap,
    is_empty: bool,
    is_plain: bool,
    body: Option<&[u8]>,
) -> Result<(Vec<String>, Option<Vec<String>>), String> {
    let named = fields.headers(headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())))?;
    if !fields.wants_body() {
        return Ok((named, None));
    }
    let mut types = headers.get_all(header::CONTENT_TYPE).iter();
    let kind = types.next().map(header::HeaderValue::as_bytes);
    let json = match body {
        _ if types.next().is_some() => {
            Err("it names the type of its body, of which rules read fields, twice".to_owned())
        }
        Some(body) => fields.json(kind, body),
        None if is_empty => fields.json(kind, b""),
        None if !is_plain => Err("its body, of which rules read fields, is packed; send it plain".to_owned()),
        None => Err(format!("its body, of which rules read fields, is longer than {BODY_BYTES_MAX} bytes")),
    };
    Ok((named, Some(json?)))
}

/// Puts it into the actions. INVARIANT: what rules are to read and nobody can is `opaque`, and does not go out.
fn fill(
    actions: &mut [Action],
    told: Result<(Vec<String>, Option<Vec<String>>), String>,
) -> Result<Option<Unread>, Unread> {
    for action in actions.iter_mut().filter(|action| action.verb.name() == "http.request") {
        match &told {
            Ok((headers, json)) => {
                action.set("headers", headers.clone().into()).map_err(denied)?;
                if let Some(json) = json {
                    action.set("json", json.clone().into()).map_err(denied)?;
                }
            }
            Err(_) => action.set("opaque", true.into()).map_err(denied)?,
        }
    }
    Ok(told.err().map(denied))
}

/// Reads up to so many bytes, and whether they are all. INVARIANT: what all bodies take that are read before they go on has a
/// bound, however many there are and however slowly they come.
async fn peek(body: &mut Through, models: &Models, bytes_max: usize) -> Result<(Bytes, bool), Unread> {
    let reading = async {
        let cut = |error: Broken| {
            let why = format!("flyball: the body can't be read: {error}");
            Unread { status: StatusCode::BAD_REQUEST, why }
        };
        let told = body.size_hint().exact().and_then(|bytes| usize::try_from(bytes).ok());
        let expected = told.unwrap_or(SMALL_BYTES_MAX).min(SMALL_BYTES_MAX);
        let permits = u32::try_from(expected).unwrap_or(u32::MAX);
        let mut permit = Arc::clone(&models.small).acquire_many_owned(permits).await.map_err(denied)?;
        let (bytes, is_all) = body.begin(SMALL_BYTES_MAX.min(bytes_max)).await.map_err(cut)?;
        drop(permit.split(expected.saturating_sub(bytes.len())));
        if is_all || bytes_max <= SMALL_BYTES_MAX {
            body.hold(permit);
            return Ok((bytes, is_all));
        }
        let large = Arc::clone(&models.large).acquire_owned().await.map_err(denied)?;
        body.hold(large);
        body.begin(bytes_max).await.map_err(cut)
    };
    let read = tokio::time::timeout(BODY_WAIT_MAX, reading).await;
    read.map_err(|_| denied("the body did not come in time"))?
}

/// Every method that a server may take the request for: its own, and what a header or the query says instead. All of them are
/// ruled on.
fn methods(own: &str, headers: &HeaderMap, target: &str) -> Result<Vec<String>, Unread> {
    let mut out = vec![own.to_owned()];
    for (name, value) in headers {
        let name = name.as_str().replace('_', "-");
        if PATH_HEADERS.contains(&name.as_str()) {
            return Err(denied("a header names another path than the request's own"));
        }
        if METHOD_HEADERS.contains(&name.as_str()) {
            add(&mut out, value.to_str().unwrap_or_default())?;
        }
    }
    let query = target.split_once('?').map(|(_, query)| query).unwrap_or_default();
    for named in fields(query.as_bytes()) {
        add(&mut out, &named)?;
    }
    Ok(out)
}

fn add(methods: &mut Vec<String>, named: &str) -> Result<(), Unread> {
    let named = named.trim().to_ascii_uppercase();
    if named.is_empty() || named.len() > 32 || !named.bytes().all(|b| b.is_ascii_uppercase() || b == b'-') {
        return Err(denied("it names a method that is none"));
    }
    if !methods.contains(&named) {
        methods.push(named);
    }
    if methods.len() > METHODS_MAX { Err(denied("it names several methods")) } else { Ok(()) }
}

/// A body in which frameworks look for a method.
enum Form {
    /// `a=b&c=d`.
    Fields,
    /// In parts (RFC 7578).
    Parts,
}

impl Form {
    fn of(headers: &HeaderMap) -> Option<Self> {
        let kind = headers.get(header::CONTENT_TYPE)?.as_bytes().to_ascii_lowercase();
        if memmem::find(&kind, b"x-www-form-urlencoded").is_some() {
            return Some(Self::Fields);
        }
        memmem::find(&kind, b"multipart/form-data").map(|_| Self::Parts)
    }

    fn methods(&self, bytes: &[u8]) -> Vec<String> {
        match self {
            Self::Fields => fields(bytes),
            Self::Parts => parts(bytes),
        }
    }
}

/// What fields of that name hold.
fn fields(text: &[u8]) -> Vec<String> {
    let field = |pair: &[u8]| {
        let at = memchr::memchr(b'=', pair).unwrap_or(pair.len());
        let name = pair.get(..at).unwrap_or_default();
        // Most are longer, or another's.
        if name.len() > 3 * METHOD_FIELD.len() || plain(name) != METHOD_FIELD {
            return None;
        }
        Some(plain(pair.get(at.saturating_add(1)..).unwrap_or_default()))
    };
    text.split(|byte| matches!(byte, b'&' | b';')).filter_map(field).collect()
}

fn parts(text: &[u8]) -> Vec<String> {
    let mut out = Vec::new();
    for sign in [&b"name=\"_method\""[..], b"name=_method"] {
        for at in memmem::find_iter(text, sign) {
            let rest = text.get(at..).unwrap_or_default();
            let Some(begin) = memmem::find(rest, b"\r\n\r\n") else { continue };
            let value = rest.get(begin.saturating_add(4)..).unwrap_or_default();
            let end = memmem::find(value, b"\r\n").unwrap_or(value.len());
            out.push(String::from_utf8_lossy(value.get(..end).unwrap_or_default()).into_owned());
        }
    }
    out
}

fn plain(text: &[u8]) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((byte, after)) = rest.split_first() {
        let hex = after.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        match hex.filter(|_| *byte == b'%').and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(meant) => {
                out.push(meant);
                rest = after.get(2..).unwrap_or_default();
            }
            None => {
                out.push(*byte);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Whether bytes may be a form's: many clients call anything one.
fn looks_like_form(bytes: &[u8]) -> bool {
    bytes.contains(&b'=') && bytes.iter().all(|byte| byte.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn every_way_to_name_a_method_is_seen() {
        let named = |headers: &[(&'static str, &str)], target: &str| {
            let mut map = HeaderMap::new();
            headers.iter().for_each(|(name, value)| _ = map.append(*name, value.parse().unwrap()));
            methods("POST", &map, target).map_err(|unread| unread.why)
        };
        assert_eq!(named(&[], "/a?x=_method").unwrap(), ["POST"]);
        for headers in [
            [("x-http-method-override", "delete")],
            [("x_http_method_override", "DELETE")],
            [("x-http_method", "Delete")],
        ] {
            assert_eq!(named(&headers, "/").unwrap(), ["POST", "DELETE"], "{headers:?}");
        }
        assert_eq!(named(&[], "/a?b&_method=delete").unwrap(), ["POST", "DELETE"]);
        assert_eq!(named(&[], "/a?%5Fmethod=de%6Cete").unwrap(), ["POST", "DELETE"]);
        for headers in [[("x-original-url", "/admin")], [("x_rewrite_url", "/admin")], [("x-http-method", "D,E")]] {
            assert!(named(&headers, "/").is_err(), "{headers:?}");
        }
        assert!(named(&[("x-http-method", "PUT")], "/?_method=DELETE").is_err());
        assert_eq!(Form::Fields.methods(b"a=b&_method=put&c"), ["put"]);
        assert_eq!(Form::Fields.methods(b"a_method=put&x=_method=1"), [""; 0]);
        let part = b"--x\r\nContent-Disposition: form-data; name=\"_method\"\r\n\r\nDELETE\r\n--x--\r\n";
        assert_eq!(Form::Parts.methods(part), ["DELETE"]);
    }
}
