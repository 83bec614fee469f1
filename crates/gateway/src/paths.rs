//! Paths as the operating system resolves them, before any rule sees them.

use flyball_kernel::{Action, Value};
use std::path::{Component, Path, PathBuf};

/// Links that lead to links, at most; more is a loop.
const LINKS_MAX: usize = 40;

/// Puts the place that each path leads to in its stead. What is deleted, moved or linked is the name itself, so there only the
/// folder's links are followed.
///
/// Between this and the use another program may change what a name leads to: where that matters, the sandbox decides again.
pub fn resolve(actions: &mut [Action]) {
    for action in actions.iter_mut().filter(|action| action.verb.group() == "fs") {
        let is_name = matches!(action.verb.name(), "fs.delete" | "fs.move" | "fs.link");
        let resolved = place(action.resource.str("path"), is_name);
        if let Ok(resource) = action.resource.clone().with("path", resolved) {
            action.resource = resource;
        }
        if let Some(to) = action.attr("to").and_then(Value::as_str) {
            let to = place(to, true);
            // INVARIANT: the attribute is there, so it may be set again.
            let _ = action.set("to", to.into());
        }
    }
}

/// Gives a connection that goes nobody knows where a place that no rule
/// takes for "decided when it goes there": nothing beneath decides again.
pub fn leave_nothing_open(actions: &mut [Action]) {
    for action in actions.iter_mut().filter(|action| action.verb.name() == "net.connect") {
        let is_open = action.attr("opaque").is_some() && action.resource.str("host").is_empty();
        if let (true, Ok(resource)) = (is_open, action.resource.clone().with("host", NOWHERE)) {
            action.resource = resource;
        }
    }
}

/// The host of a connection whose host nobody knows.
const NOWHERE: &str = "?";

/// Where a path leads; empty for an empty one, which stands for "not known".
fn place(path: &str, is_name: bool) -> String {
    let path = Path::new(path);
    if !path.is_absolute() {
        return path.to_string_lossy().into_owned();
    }
    let found = match (is_name, path.parent(), path.file_name()) {
        (true, Some(parent), Some(name)) => follow(parent).join(name),
        _ => follow(path),
    };
    found.to_string_lossy().into_owned()
}

/// Follows links as far as there is anything; what is not there yet stays as it is written.
fn follow(path: &Path) -> PathBuf {
    let mut done = PathBuf::from("/");
    let mut left: Vec<std::ffi::OsString> = parts(path);
    let mut links = 0;
    while let Some(part) = left.pop() {
        if part == ".." {
            done.pop();
            continue;
        }
        let next = done.join(&part);
        match std::fs::read_link(&next) {
            Ok(target) if links < LINKS_MAX => {
                links += 1;
                if target.is_absolute() {
                    done = PathBuf::from("/");
                }
                left.extend(parts(&target));
            }
            _ => done = next,
        }
    }
    done
}

/// A path's components, the last first.
fn parts(path: &Path) -> Vec<std::ffi::OsString> {
    let known = path.components().filter(|c| matches!(c, Component::Normal(_) | Component::ParentDir));
    known.map(|c| c.as_os_str().to_owned()).collect::<Vec<_>>().into_iter().rev().collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use flyball_kernel::{Resource, Surface};
    use std::os::unix::fs::symlink;

    #[test]
    fn links_are_followed_to_what_is_meant() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        std::fs::create_dir(root.join("real")).unwrap();
        symlink("real", root.join("folder")).unwrap();
        symlink("/etc/new", root.join("real/dangling")).unwrap();
        symlink("loop", root.join("loop")).unwrap();
        let resolved = |verb: &str, path: &str| {
            let path = root.join(path).to_string_lossy().into_owned();
            let mut actions = [Action::new(verb, Resource::file(&path), Surface::Hook).unwrap()];
            resolve(&mut actions);
            actions[0].resource.str("path").replace(root.to_str().unwrap(), "R")
        };
        for (verb, path, is) in [
            ("fs.write", "real/a", "R/real/a"),
            ("fs.write", "folder/new/deep", "R/real/new/deep"),
            ("fs.write", "folder/dangling", "/etc/new"),
            ("fs.delete", "folder/dangling", "R/real/dangling"),
            ("fs.read", "folder/../real/x", "R/real/x"),
        ] {
            assert_eq!(resolved(verb, path), is, "{verb} {path}");
        }
        assert!(resolved("fs.write", "loop").starts_with('R'));
    }
}
