//! Git's smart HTTP protocol: a push says which refs it changes before it sends anything (gitprotocol-pack, "Reference update
//! request").

use super::{HttpRequest, implied};
use flyball_kernel::{Action, ActionError, Resource, ResourceKind};

const READER: &str = "git-http/1";
/// Refs that one push is read for.
const REFS_MAX: usize = 256;
/// A list's end (gitprotocol-common, "pkt-line Format").
const FLUSH: &[u8] = b"0000";
const ZERO: &str = "0000000000000000000000000000000000000000";

pub(super) fn is_push(path: &[String]) -> bool {
    path.last().is_some_and(|last| last == "git-receive-pack")
}

/// A push for each ref; one that is opaque where the list of them can't be read.
pub(super) fn pushes(request: &HttpRequest<'_>, path: &[String]) -> Result<Vec<Action>, ActionError> {
    let repository = path.split_last().map(|(_, rest)| rest.join("/")).unwrap_or_default();
    let url = format!("{}://{}/{repository}", request.scheme, request.host);
    let named = |name: &str| Resource::new(ResourceKind::Ref).with("name", name);
    if request.body == Some(FLUSH) {
        // What git asks with whether it may come, before a pack that it doesn't hold in memory.
        return Ok(Vec::new());
    }
    // The list stands before the pack, which is not read.
    let Some(commands) = request.body.or(request.beginning).and_then(commands) else {
        return Ok(vec![implied("git.push", named("")?, READER, false)?.with("url", url.as_str())?]);
    };
    commands
        .into_iter()
        .map(|(new, name)| {
            let short = name.strip_prefix("refs/heads/").or(name.strip_prefix("refs/tags/")).unwrap_or(name);
            let is_deletion = new.bytes().all(|b| b == b'0');
            // Whether it is forced only the server can tell: the histories are not in the request's head.
            implied("git.push", named(short)?, READER, true)?.with("url", url.as_str())?.with("delete", is_deletion)
        })
        .collect()
}

/// New object and ref of each command. `None` where that is no list of them that is read to its end.
fn commands(body: &[u8]) -> Option<Vec<(&str, &str)>> {
    let mut found = Vec::new();
    let mut rest = body;
    loop {
        let (length, after) = rest.split_at_checked(4)?;
        let length = usize::from_str_radix(std::str::from_utf8(length).ok()?, 16).ok()?;
        if length == 0 {
            return (!found.is_empty()).then_some(found);
        }
        let (line, after) = after.split_at_checked(length.checked_sub(4)?)?;
        rest = after;
        let line = std::str::from_utf8(line).ok()?;
        let line = line.split('\0').next().unwrap_or_default().trim_end_matches('\n');
        // A shallow clone tells its borders first.
        if line.starts_with("shallow ") {
            continue;
        }
        let mut words = line.splitn(3, ' ');
        let (old, new, name) = (words.next()?, words.next()?, words.next()?);
        let is_object = |text: &str| text.len() >= ZERO.len() && text.bytes().all(|b| b.is_ascii_hexdigit());
        if !is_object(old) || !is_object(new) || found.len() >= REFS_MAX {
            return None;
        }
        found.push((new, name));
    }
}
