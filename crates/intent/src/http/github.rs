//! GitHub's API, at its own host or below `/api/v3` and `/api/graphql` of somebody's own (docs.github.com, REST and GraphQL).

use super::{HttpRequest, implied};
use flyball_kernel::{Action, ActionError, Resource, ResourceKind};
use serde_json::Value as Json;

const READER: &str = "github-api/1";

/// The path behind the API's own beginning, where it is GitHub's.
fn own<'p>(request: &HttpRequest<'_>, path: &'p [String]) -> Option<Vec<&'p str>> {
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    match path.as_slice() {
        _ if is_host(request.host) => Some(path),
        ["api", "v3", rest @ ..] => Some(rest.to_vec()),
        ["api", "graphql"] => Some(vec!["graphql"]),
        _ => None,
    }
}

/// GitHub's own, and those of its enterprises with data of their own places.
fn is_host(host: &str) -> bool {
    let host = host.trim_end_matches('.');
    host == "api.github.com" || (host.starts_with("api.") && host.ends_with(".ghe.com"))
}

pub(super) fn is_read(request: &HttpRequest<'_>, path: &[String]) -> bool {
    matches!(own(request, path).as_deref(), Some(["repos", _, _, _, ..] | ["repositories", _, _, ..] | ["graphql"]))
}

pub(super) fn read(request: &HttpRequest<'_>, path: &[String]) -> Result<Vec<Action>, ActionError> {
    let json = request.json();
    let text = |name: &str| json.as_ref().and_then(|j| j.get(name)).and_then(Json::as_str).unwrap_or_default();
    let is_known = json.is_some();
    let path = own(request, path).unwrap_or_default();
    let (repository, rest, is_named) = match path.as_slice() {
        ["repos", owner, name, rest @ ..] => (format!("{owner}/{name}"), rest, true),
        // By its number, which says nobody whose it is.
        ["repositories", id, rest @ ..] => (format!("repositories/{id}"), rest, false),
        _ => return graphql(json.as_ref()),
    };
    let said = |verb: &str, resource: Resource, is_known: bool| implied(verb, resource, READER, is_known && is_named);
    let of_repository = |name: &str| {
        Resource::new(ResourceKind::PullRequest).with("repository", repository.as_str())?.with("name", name)
    };
    let push = |name: &str, is_known: bool| {
        let name = name.strip_prefix("refs/").unwrap_or(name);
        let name = name.strip_prefix("heads/").or(name.strip_prefix("tags/")).unwrap_or(name);
        let url = format!("https://{}/{repository}", request.host.strip_prefix("api.").unwrap_or(request.host));
        said("git.push", Resource::new(ResourceKind::Ref).with("name", name)?, is_known)?.with("url", url)
    };
    let is_forced = json.as_ref().and_then(|j| j.get("force")).and_then(Json::as_bool).unwrap_or(false);
    let action = match (request.method, rest) {
        ("POST", ["pulls"]) => {
            let open = said("pr.open", of_repository("")?, is_known)?;
            let open = open.with("title", text("title"))?.with("body", text("body"))?;
            open.with("base", text("base"))?.with("head", text("head"))?
        }
        ("PUT", ["pulls", number, "merge"]) => said("pr.merge", of_repository(number)?, true)?,
        (_, ["pulls", number, "comments" | "reviews", ..]) | (_, ["issues", number, "comments", ..]) => {
            said("pr.comment", of_repository(number)?, is_known)?.with("body", text("body"))?
        }
        ("POST", ["merges"]) => push(text("base"), is_known)?,
        ("POST", ["git", "refs"]) => push(text("ref"), is_known)?,
        ("DELETE", ["git", "refs", name @ ..]) => push(&name.join("/"), true)?.with("delete", true)?,
        (_, ["git", "refs", name @ ..]) => push(&name.join("/"), is_known)?.with("force", is_forced)?,
        // Without a branch it is the default one, whose name is not in the request.
        (_, ["contents", ..]) => push(text("branch"), is_known)?.with("default_branch", text("branch").is_empty())?,
        (_, ["merge-upstream"]) => push(text("branch"), is_known)?,
        // Onto the branch that is to be merged, whose name is not in the request.
        (_, ["pulls", _, "update-branch"]) => push("", false)?,
        (_, ["branches", name @ .., "rename"]) => {
            return Ok(vec![push(&name.join("/"), true)?.with("delete", true)?, push(text("new_name"), is_known)?]);
        }
        _ => return Ok(Vec::new()),
    };
    Ok(vec![action])
}

/// What a mutation is called says what it does; on what, only its variables do, in ways that are not read here.
fn graphql(json: Option<&Json>) -> Result<Vec<Action>, ActionError> {
    let query = json.and_then(|j| j.get("query")).and_then(Json::as_str);
    let Some(query) = query else {
        let resource = Resource::new(ResourceKind::PullRequest);
        return Ok(vec![implied("pr.merge", resource, READER, false)?]);
    };
    let mut actions = Vec::new();
    for (word, verb) in [
        ("createPullRequest", "pr.open"),
        ("mergePullRequest", "pr.merge"),
        ("enablePullRequestAutoMerge", "pr.merge"),
        ("enqueuePullRequest", "pr.merge"),
        ("revertPullRequest", "pr.open"),
        ("revertPullRequest", "git.push"),
        ("updatePullRequestBranch", "git.push"),
        ("createLinkedBranch", "git.push"),
        ("mergeBranch", "git.push"),
        ("createRef", "git.push"),
        ("updateRef", "git.push"),
        ("deleteRef", "git.push"),
        ("createCommitOnBranch", "git.push"),
        ("addComment", "pr.comment"),
        ("addPullRequestReview", "pr.comment"),
    ] {
        if query.contains(word) {
            let kind = if verb.starts_with("pr.") { ResourceKind::PullRequest } else { ResourceKind::Ref };
            actions.push(implied(verb, Resource::new(kind), READER, false)?);
        }
    }
    Ok(actions)
}
