//! What `git` itself would read before a push: branches and remotes of the workspace's repository, as the session has
//! changed them.

use flyball_intent::GitContext;
use flyball_sandbox::workspace::{self, Layers, Look, Node, What};
use std::io::Read;
use std::path::{Path, PathBuf};

/// A file of the repository's larger than this is not read; what needs it is then opaque.
const FILE_BYTES_MAX: u64 = 256 * 1024;

/// The workspace's repository, where the command line could speak of it and it is the one that git finds from `cwd`: a path
/// relative to the workspace, `None` elsewhere. `settings` are the user's own files of them.
pub(crate) fn read(
    layers: &Layers,
    cwd: Option<&Path>,
    argv: &[String],
    settings: impl FnOnce() -> Vec<Settings>,
) -> Option<GitContext> {
    if !argv.iter().any(|a| a.contains("git") || a.contains("gh ")) {
        return None;
    }
    let mut look = Look::new(layers).ok()?;
    let mut is_absent = |rel: &Path| look.at(rel).is_ok_and(|found| matches!(found.what, What::Node(Node::Absent)));
    // A repository below, a bare one, a worktree, a submodule.
    let mut is_other = |at: &Path| [".git", "HEAD"].iter().any(|name| !is_absent(&at.join(name)));
    if cwd?.ancestors().any(|at| !at.as_os_str().is_empty() && is_other(at)) {
        return None;
    }
    context(&|rel| text(layers, rel), settings)
}

/// The repository in that very folder, as it lies on the disk.
pub(crate) fn of_folder(folder: &Path, home: &Path) -> Option<GitContext> {
    let opened = |path: &Path| std::fs::File::open(path).ok();
    context(&|rel| opened(&folder.join(rel)).map(whole).transpose(), || of_user(home))
}

/// The user's own settings, as they lie on the disk.
pub(crate) fn of_user(home: &Path) -> Vec<Settings> {
    user_settings(home).iter().filter_map(|path| std::fs::File::open(path).ok()).map(settings).collect()
}

/// Where git keeps settings beside a repository's own.
pub(crate) fn user_settings(home: &Path) -> [PathBuf; 3] {
    [PathBuf::from("/etc/gitconfig"), home.join(".gitconfig"), home.join(".config/git/config")]
}

fn context(
    text: &dyn Fn(&str) -> Result<Option<String>, Unread>,
    settings: impl FnOnce() -> Vec<Settings>,
) -> Option<GitContext> {
    let head = text(".git/HEAD").ok()??;
    // INVARIANT: whole or not at all. Of half a file the other half could say the opposite.
    let mut context = match text(".git/config") {
        Ok(settings) => config(&settings.unwrap_or_default(), head.trim().strip_prefix("ref: refs/heads/")),
        Err(Unread) => GitContext { is_partly_read: true, ..GitContext::default() },
    };
    // Another folder's settings, or one more file of them.
    context.is_partly_read |=
        [".git/commondir", ".git/config.worktree"].iter().any(|rel| !matches!(text(rel), Ok(None)));
    for of_user in settings() {
        let Ok(user) = of_user.map(|text| config(&text, None)) else {
            context.is_partly_read = true;
            continue;
        };
        context.is_partly_read |= user.is_partly_read || !user.remotes.is_empty();
        // The repository's own word goes before.
        context.push_default = context.push_default.or(user.push_default);
    }
    context.default_branch = text(".git/refs/remotes/origin/HEAD")
        .ok()
        .flatten()
        .and_then(|h| h.trim().strip_prefix("ref: refs/remotes/origin/").map(str::to_owned));
    Some(context)
}

/// A file that can't be read as a whole.
pub(crate) struct Unread;

/// The text of one file of settings that is there.
pub(crate) type Settings = Result<String, Unread>;

/// One of the user's own.
pub(crate) fn settings(file: std::fs::File) -> Settings {
    whole(file)
}

/// The file's text; `None` where there is none.
fn text(layers: &Layers, rel: &str) -> Result<Option<String>, Unread> {
    let Ok(file) = workspace::read(layers, Path::new(rel)) else { return Ok(None) };
    whole(file).map(Some)
}

fn whole(file: impl Read) -> Result<String, Unread> {
    let mut text = String::new();
    file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text).map_err(|_| Unread)?;
    if text.len() as u64 > FILE_BYTES_MAX { Err(Unread) } else { Ok(text) }
}

/// Reads the keys of `.git/config` that a push depends on, as far as they are simple: of others, which rename remotes, map
/// branches or lead to more files, only that they are there.
fn config(text: &str, current_branch: Option<&str>) -> GitContext {
    let mut context = GitContext { current_branch: current_branch.map(str::to_owned), ..GitContext::default() };
    let (mut section, mut name) = (String::new(), String::new());
    let (mut upstream_remote, mut upstream_branch) = (None, None);
    for line in text.lines() {
        let mut line = line.trim();
        // A line that goes on in the next, or a value with escapes or a comment behind it: nothing that git itself writes here.
        context.is_partly_read |= line.ends_with('\\');
        if let Some(header) = line.strip_prefix('[') {
            let end = if header.contains('"') { header.find("\"]").map(|at| at + 1) } else { header.find(']') };
            let Some((header, rest)) = end.and_then(|end| header.split_at_checked(end)) else {
                context.is_partly_read = true;
                continue;
            };
            // `[remote.origin]` is an old way to write `[remote "origin"]`.
            let (kind, sub) = header.split_once(|c: char| c.is_whitespace() || c == '.').unwrap_or((header, ""));
            section = kind.to_ascii_lowercase();
            sub.trim().trim_matches('"').clone_into(&mut name);
            line = rest.get(1..).unwrap_or_default().trim();
        }
        let Some((key, value)) = line.split_once('=') else { continue };
        let (key, value) = (key.trim().to_ascii_lowercase(), value.trim().trim_matches('"').to_owned());
        match (section.as_str(), key.as_str()) {
            ("include" | "includeif" | "url", _)
            | ("remote", "push" | "mirror" | "pushdefault")
            | ("branch", "pushremote") => context.is_partly_read = true,
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
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn half_a_file_is_not_read() {
        let dir = tempfile::tempdir().unwrap();
        let git = dir.path().join("w/.git");
        std::fs::create_dir_all(&git).unwrap();
        std::fs::create_dir(dir.path().join("upper")).unwrap();
        let layers = Layers::new(dir.path().join("w"), dir.path().join("upper"));
        let argv = ["git".to_owned(), "push".to_owned()];
        let read = |layers: &Layers, argv: &[String]| read(layers, Some(Path::new("")), argv, Vec::new);
        assert!(read(&layers, &argv).is_none());
        std::fs::write(git.join("HEAD"), "ref: refs/heads/main\n").unwrap();
        assert_eq!(read(&layers, &argv).unwrap().remotes, []);
        let remote = "[remote \"origin\"]\n\turl = ../o.git\n";
        std::fs::write(git.join("config"), remote).unwrap();
        assert_eq!(read(&layers, &argv).unwrap().remotes.len(), 1);
        let padded = format!("{}{remote}", "# nothing\n".repeat(1 << 15));
        std::fs::write(git.join("config"), padded).unwrap();
        assert!(read(&layers, &argv).unwrap().is_partly_read);
        std::fs::write(git.join("config"), [remote.as_bytes(), b"# \xff\n"].concat()).unwrap();
        assert!(read(&layers, &argv).unwrap().is_partly_read);
    }

    #[test]
    fn only_the_repository_that_git_finds_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().join("w");
        for folder in ["w/.git", "w/sub/below", "w/other/.git", "w/other/deep", "w/bare.git/refs", "w/linked", "upper"]
        {
            std::fs::create_dir_all(dir.path().join(folder)).unwrap();
        }
        for file in [".git/HEAD", "other/.git/HEAD", "bare.git/HEAD"] {
            std::fs::write(at.join(file), "ref: refs/heads/main\n").unwrap();
        }
        std::fs::write(at.join(".git/config"), "[remote \"origin\"]\n\turl = ../o.git\n").unwrap();
        std::fs::write(at.join("linked/.git"), "gitdir: ../other/.git\n").unwrap();
        // Of the workspace itself it says nothing: `.git` goes before.
        std::fs::write(at.join("HEAD"), "notes").unwrap();
        let layers = Layers::new(at.clone(), dir.path().join("upper"));
        let argv = ["git".to_owned(), "push".to_owned()];
        let from = |cwd: Option<&str>| read(&layers, cwd.map(Path::new), &argv, Vec::new);
        for own in ["", "sub", "sub/below"] {
            assert!(from(Some(own)).is_some_and(|context| !context.is_partly_read), "{own}");
        }
        for other in [Some("other"), Some("other/deep"), Some("bare.git/refs"), Some("linked"), Some(".git"), None] {
            assert!(from(other).is_none(), "{other:?}");
        }
        let with = |text: &str| read(&layers, Some(Path::new("")), &argv, || vec![Ok(text.to_owned())]).unwrap();
        assert!(!with("[user]\n\tname = A\n").is_partly_read);
        assert_eq!(with("[push]\n\tdefault = nothing\n").push_default.as_deref(), Some("nothing"));
        assert!(with("[remote \"origin\"]\n\tpush = topic:main\n").is_partly_read);
        assert!(with("[url \"x\"]\n\tinsteadOf = y\n").is_partly_read);
        std::fs::write(at.join(".git/commondir"), "../other/.git\n").unwrap();
        assert!(from(Some("")).unwrap().is_partly_read);
    }

    #[test]
    fn reads_what_a_push_depends_on() {
        let text = "[core]\n\tbare = false\n[remote \"origin\"]\n\turl = ../o.git\n\tfetch = +refs/*\n\
                    [branch \"main\"]\n\tremote = origin\n\tmerge = refs/heads/main\n[push]\n\tdefault = current\n";
        let read = config(text, Some("main"));
        assert_eq!(read.remotes, [("origin".to_owned(), "../o.git".to_owned())]);
        assert_eq!(read.upstream, Some(("origin".to_owned(), "main".to_owned())));
        assert_eq!(read.push_default.as_deref(), Some("current"));
        assert!(config("[[[=\n=", None).is_partly_read);
        assert!(!read.is_partly_read);
        for more in [
            "[remote \"origin\"]\n\tpush = refs/heads/topic:refs/heads/main",
            "[remote \"origin\"] push = HEAD:main",
            "[remote.origin]\n\tpush = HEAD:main",
            "[REMOTE \"origin\"]\n\tPush=HEAD:main",
            "[remote]\n\tpushDefault = other",
            "[branch \"main\"]\n\tpushRemote = other",
            "[url \"https://else.where/\"]\n\tinsteadOf = https://here/",
            "[include]\n\tpath = more",
            "[includeIf \"gitdir:/\"]\n\tpath = more",
            "[remote \"origin\"]\n\tpu\\\nsh = HEAD:main",
        ] {
            assert!(config(&format!("{text}{more}\n"), Some("main")).is_partly_read, "{more}");
        }
    }
}
