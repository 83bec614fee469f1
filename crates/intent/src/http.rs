//! An HTTP request, as whoever opened its connection reads it: what it asks for, and what well-known services do on it.
//!
//! | requests | read as |
//! |---|---|
//! | any | `http.request` |
//! | `/…/git-receive-pack` | `git.push` of each ref that the request's own command list names |
//! | GitHub's REST API: pulls, merges, refs, contents, comments | `pr.open`, `pr.merge`, `git.push`, `pr.comment` |
//! | GitHub's GraphQL mutations of those | the same, opaque |
//! | Kubernetes' API: changes below `/api/v1` and `/apis` | `deploy.apply`, `deploy.delete`, `deploy.scale`, `deploy.exec` |
//!
//! A service is told by the shape of its paths, not only by its host's name: it may be anybody's own. What a reader can't tell is
//! `opaque`, never left out.

mod git;
mod github;
mod kubernetes;
#[cfg(test)]
mod tests;

use flyball_kernel::{Action, ActionError, Resource, ResourceKind, Surface};
use serde_json::Value as Json;

/// Bytes of a body that are read, at most. A push of more refs, or a larger manifest, is opaque.
pub const BODY_BYTES_MAX: usize = 1 << 20;

/// A request as it came, but for the host: without its port, in lower case.
#[derive(Clone, Copy, Debug)]
pub struct HttpRequest<'a> {
    /// `GET`, `POST`, …
    pub method: &'a str,
    /// `http` or `https`.
    pub scheme: &'a str,
    /// The host that it is for.
    pub host: &'a str,
    /// The path, and the query behind its `?`.
    pub target: &'a str,
    /// The body, where it was asked for ([`wants_body`]); `None` when it is longer than [`BODY_BYTES_MAX`] or packed.
    pub body: Option<&'a [u8]>,
}

impl HttpRequest<'_> {
    /// The path without the query.
    pub(crate) fn path(&self) -> &str {
        self.target.split(['?', '#']).next().unwrap_or_default()
    }

    fn is_change(&self) -> bool {
        !matches!(self.method, "GET" | "HEAD" | "OPTIONS")
    }

    fn json(&self) -> Option<Json> {
        serde_json::from_slice(self.body?).ok()
    }
}

/// Whether the body must be read to tell what the request does. Told by method, host and path alone.
#[must_use]
pub fn wants_body(request: &HttpRequest<'_>) -> bool {
    let path = segments(&canonical(request.path()));
    request.is_change() && (git::is_push(&path) || github::is_read(request, &path) || kubernetes::is_api(&path))
}

/// What the request does: `http.request` first. All on surface `http`.
///
/// # Errors
/// [`ActionError`] when the vocabulary can't say it, which a gate denies.
pub fn http_actions(request: &HttpRequest<'_>) -> Result<Vec<Action>, ActionError> {
    let resource = Resource::new(ResourceKind::Request)
        .with("method", request.method)?
        .with("host", request.host)?
        .with("path", canonical(request.path()))?;
    let mut first = Action::new("http.request", resource, Surface::Http)?.with("scheme", request.scheme)?;
    if let Some(body) = request.body {
        first.set("bytes", i64::try_from(body.len()).unwrap_or(i64::MAX).into())?;
    }
    let mut actions = vec![first];
    let path = segments(&canonical(request.path()));
    if request.is_change() || kubernetes::is_exec(&path) {
        if git::is_push(&path) {
            actions.extend(git::pushes(request, &path)?);
        } else if github::is_read(request, &path) {
            actions.extend(github::read(request, &path)?);
        } else if kubernetes::is_api(&path) {
            actions.extend(kubernetes::read(request, &path)?);
        }
    }
    Ok(actions)
}

/// The path as servers read it, by RFC 3986, section 6.2.2: no `.` and `..`, no escapes of what needs none, those that are needed in
/// capitals; and no empty segments, which most servers pass over.
pub(crate) fn canonical(path: &str) -> String {
    let path = unreserved(path);
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    let is_folder = path.ends_with('/') || path.ends_with("/.") || path.ends_with("/..");
    let end = if is_folder && !parts.is_empty() { "/" } else { "" };
    if path.starts_with('/') { format!("/{}{end}", parts.join("/")) } else { path }
}

fn unreserved(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    let mut rest = path;
    while let Some(at) = rest.find('%') {
        let (before, escape) = rest.split_at(at);
        out.push_str(before);
        let hex = escape.get(1..3).and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match hex {
            Some(byte) if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) => out.push(char::from(byte)),
            Some(byte) => out.push_str(&format!("%{byte:02X}")),
            None => out.push('%'),
        }
        rest = escape.get(if hex.is_some() { 3 } else { 1 }..).unwrap_or_default();
    }
    out.push_str(rest);
    out
}

/// A path's segments, `%`-escapes resolved: servers resolve them too.
pub(crate) fn segments(path: &str) -> Vec<String> {
    path.split('/').filter(|part| !part.is_empty()).map(unescape).collect()
}

fn unescape(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let hex = after.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        match hex.filter(|_| byte == b'%').and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(meant) => {
                out.push(meant);
                rest = after.get(2..).unwrap_or_default();
            }
            None => {
                out.push(byte);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// An action with the reader's name; `opaque` where not all of it could be read.
fn implied(verb: &str, resource: Resource, reader: &str, is_known: bool) -> Result<Action, ActionError> {
    let action =
        Action::new(verb, resource, Surface::Http)?.with("reader", reader)?.with("implied_by", "http.request")?;
    if is_known { Ok(action) } else { action.with("opaque", true) }
}
