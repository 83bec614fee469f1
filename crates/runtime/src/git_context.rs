//! What `git` itself would read before a push: branches and remotes of the workspace's repository, as the session has
//! changed them.

use flyball_intent::GitContext;
use flyball_sandbox::workspace::{self, Layers};
use std::io::Read;
use std::path::Path;

/// A file of the repository's larger than this is not read; what needs it is then opaque.
const FILE_BYTES_MAX: u64 = 256 * 1024;

/// The workspace's repository, where the command line could speak of it.
pub(crate) fn read(layers: &Layers, argv: &[String]) -> Option<GitContext> {
    if !argv.iter().any(|a| a.contains("git") || a.contains("gh ")) {
        return None;
    }
    let text = |rel: &str| -> Option<String> {
        let mut text = String::new();
        workspace::read(layers, Path::new(rel)).ok()?.take(FILE_BYTES_MAX).read_to_string(&mut text).ok()?;
        Some(text)
    };
    let head = text(".git/HEAD")?;
    let mut context = config(&text(".git/config").unwrap_or_default(), head.trim().strip_prefix("ref: refs/heads/"));
    context.default_branch = text(".git/refs/remotes/origin/HEAD")
        .and_then(|h| h.trim().strip_prefix("ref: refs/remotes/origin/").map(str::to_owned));
    Some(context)
}

/// Reads the few keys of `.git/config` that a push depends on. Whatever else stands there is passed over.
fn config(text: &str, current_branch: Option<&str>) -> GitContext {
    let mut context = GitContext { current_branch: current_branch.map(str::to_owned), ..GitContext::default() };
    let (mut section, mut name) = (String::new(), String::new());
    let (mut upstream_remote, mut upstream_branch) = (None, None);
    for line in text.lines().map(str::trim) {
        if let Some(header) = line.strip_prefix('[').and_then(|l| l.split(']').next()) {
            let (kind, sub) = header.split_once(char::is_whitespace).unwrap_or((header, ""));
            section = kind.to_ascii_lowercase();
            sub.trim().trim_matches('"').clone_into(&mut name);
            continue;
        }
        let Some((key, value)) = line.split_once('=') else { continue };
        let (key, value) = (key.trim().to_ascii_lowercase(), value.trim().trim_matches('"').to_owned());
        match (section.as_str(), key.as_str()) {
            ("remote", "pushurl") => {
                context.remotes.retain(|(n, _)| *n != name);
                context.remotes.push((name.clone(), value));
            }
            ("remote", "url") if !context.remotes.iter().any(|(n, _)| *n == name) => {
                context.remotes.push((name.clone(), value));
            }
            ("branch", "remote") if current_branch == Some(&name) => upstream_remote = Some(value),
            ("branch", "merge") if current_branch == Some(&name) => {
                upstream_branch = value.strip_prefix("refs/heads/").map(str::to_owned);
            }
            ("push", "default") => context.push_default = Some(value),
            _ => {}
        }
    }
    context.upstream = upstream_remote.zip(upstream_branch);
    context
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_a_push_depends_on() {
        let text = "[core]\n\tbare = false\n[remote \"origin\"]\n\turl = ../o.git\n\tfetch = +refs/*\n\
                    [branch \"main\"]\n\tremote = origin\n\tmerge = refs/heads/main\n[push]\n\tdefault = current\n";
        let read = config(text, Some("main"));
        assert_eq!(read.remotes, [("origin".to_owned(), "../o.git".to_owned())]);
        assert_eq!(read.upstream, Some(("origin".to_owned(), "main".to_owned())));
        assert_eq!(read.push_default.as_deref(), Some("current"));
        assert_eq!(config("[[[=\n=", None), GitContext::default());
    }
}
