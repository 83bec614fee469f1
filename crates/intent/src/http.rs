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

mod fields;
mod git;
mod github;
mod json;
mod kubernetes;
mod readings;
#[cfg(test)]
mod tests;

pub use fields::WantedFields;
use flyball_kernel::{Action, ActionError, Resource, ResourceKind, Surface};
pub(crate) use readings::readings;
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
    /// Of a longer one its first [`BODY_BYTES_MAX`], as they came.
    pub beginning: Option<&'a [u8]>,
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
        json::read(self.body?)
    }
}

/// Whether the body must be read to tell what the request does. Told by method, host and path alone.
#[must_use]
pub fn wants_body(request: &HttpRequest<'_>) -> bool {
    let decides = |path: &String| {
        let path = segments(path);
        git::is_push(&path) || github::is_read(request, &path) || kubernetes::is_api(&path)
    };
    request.is_change() && readings(request.path()).iter().any(decides)
}

/// Whether a packed body would hide what the request does from rules by name: whoever sends it is to send it plain.
#[must_use]
pub fn wants_plain_body(request: &HttpRequest<'_>) -> bool {
    let decides = |path: &String| {
        let path = segments(path);
        git::is_push(&path) || github::is_read(request, &path)
    };
    request.is_change() && readings(request.path()).iter().any(decides)
}

/// What the request does: `http.request` first. All on surface `http`. INVARIANT: where servers read a path in several ways, what
/// it does by each of them is among these.
///
/// # Errors
/// [`ActionError`] when the vocabulary can't say it, which a gate denies.
pub fn http_actions(request: &HttpRequest<'_>) -> Result<Vec<Action>, ActionError> {
    let mut actions = Vec::new();
    for path in readings(request.path()) {
        let resource = Resource::new(ResourceKind::Request)
            .with("method", request.method)?
            .with("host", request.host)?
            .with("path", path.as_str())?;
        let mut own = Action::new("http.request", resource, Surface::Http)?.with("scheme", request.scheme)?;
        if let Some(body) = request.body {
            own.set("bytes", i64::try_from(body.len()).unwrap_or(i64::MAX).into())?;
        }
        actions.push(if actions.is_empty() { own } else { own.with("implied_by", "http.request")? });
        for action in implied_by(request, &segments(&path))? {
            if !actions.contains(&action) {
                actions.push(action);
            }
        }
    }
    Ok(actions)
}

fn implied_by(request: &HttpRequest<'_>, path: &[String]) -> Result<Vec<Action>, ActionError> {
    if !request.is_change() && !kubernetes::is_exec(path) {
        Ok(Vec::new())
    } else if git::is_push(path) {
        git::pushes(request, path)
    } else if github::is_read(request, path) {
        github::read(request, path)
    } else if kubernetes::is_api(path) {
        kubernetes::read(request, path)
    } else {
        Ok(Vec::new())
    }
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
