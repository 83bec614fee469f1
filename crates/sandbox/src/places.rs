//! Where a session stands that has no mounts of its own: its folders lie among the machine's others, and what it may touch is
//! told by path. The same list makes the program's Landlock domain and bounds what mediation does for it, which acts from
//! outside of that domain.
//!
//! INVARIANT: what is not named here is closed. Paths are canonical, as the operating system prints them.

use crate::call::{Attempt, Script};
use serde::{Deserialize, Serialize};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// A folder of the session's own.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Own {
    /// Where it is.
    pub(crate) at: PathBuf,
    /// What it stands for: rules judge, and the record shows, that path.
    pub(crate) is: PathBuf,
}

/// All that a program without namespaces may touch.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Places {
    /// The workspace's copy first, then the private temporary folder and the home.
    pub(crate) own: Vec<Own>,
    /// Read and run, with all that is below.
    pub(crate) read: Vec<PathBuf>,
    /// Below the own folders, and not to be written, moved or removed.
    pub(crate) protect: Vec<PathBuf>,
    /// What the charter shows of the machine: sockets there may be spoken to, if the rules say so.
    pub(crate) expose: Vec<PathBuf>,
    /// The session's inbox, to be read.
    pub(crate) inbox: PathBuf,
    /// The supervisor, which the self-test tries to reach.
    pub(crate) supervisor: i32,
}

impl Places {
    /// The workspace, where it is.
    pub(crate) fn workspace(&self) -> &Path {
        self.own.first().map_or(Path::new("/nonexistent"), |own| own.at.as_path())
    }

    /// Where a path of the workspace, the home or `/tmp` is.
    pub(crate) fn place_of(&self, path: &Path) -> PathBuf {
        let found = self.own.iter().find_map(|own| Some((own, path.strip_prefix(&own.is).ok()?)));
        found.map_or_else(|| path.to_owned(), |(own, rest)| joined(&own.at, rest))
    }

    /// The path that rules judge for a file that is there.
    pub(crate) fn judged(&self, path: &Path) -> PathBuf {
        let found = self.own.iter().find_map(|own| Some((own, path.strip_prefix(&own.at).ok()?)));
        found.map_or_else(|| path.to_owned(), |(own, rest)| joined(&own.is, rest))
    }

    /// Whether what stands at a path may be changed: strictly below a folder of its own, and not protected.
    pub(crate) fn may_write(&self, path: &Path) -> bool {
        self.own.iter().any(|own| path != own.at && path.starts_with(&own.at)) && !self.is_protected(path)
    }

    /// Whether it is one of its own folders, the folder itself.
    pub(crate) fn is_own(&self, path: &Path) -> bool {
        self.own.iter().any(|own| path == own.at)
    }

    /// Whether a name may go or move, with all that is below it.
    pub(crate) fn may_move(&self, path: &Path) -> bool {
        self.may_write(path) && !self.protect.iter().any(|protected| protected.starts_with(path))
    }

    /// Whether a file may be read.
    pub(crate) fn may_read(&self, path: &Path) -> bool {
        self.own.iter().map(|own| &own.at).chain(&self.read).chain([&self.inbox]).any(|place| path.starts_with(place))
    }

    /// Whether a socket may be spoken to, as far as its place goes.
    pub(crate) fn may_connect(&self, path: &Path) -> bool {
        self.may_write(path) || self.expose.iter().any(|place| path.starts_with(place))
    }

    fn is_protected(&self, path: &Path) -> bool {
        self.protect.iter().any(|protected| path.starts_with(protected))
    }

    /// The attempt as it is judged and recorded: the own folders by what they stand for, also within arguments.
    pub(crate) fn attempt(&self, attempt: Attempt) -> Attempt {
        let path = |path: PathBuf| self.judged(&path);
        match attempt {
            Attempt::Exec { path: file, argv, cwd, script, file: id } => Attempt::Exec {
                path: path(file),
                argv: argv.into_iter().map(|word| self.text(word)).collect(),
                cwd: path(cwd),
                script: script.map(|script| Script {
                    path: path(script.path),
                    interpreter: path(script.interpreter),
                    argument: script.argument.map(|word| self.text(word)),
                }),
                file: id,
            },
            Attempt::Open { path: file, write, create, truncate, existing } => {
                Attempt::Open { path: path(file), write, create, truncate, existing }
            }
            Attempt::Make { path: file, kind } => Attempt::Make { path: path(file), kind },
            Attempt::Remove { path: file, kind } => Attempt::Remove { path: path(file), kind },
            Attempt::Rename { from, to, kind, replaces, exchange, below, back } => {
                Attempt::Rename { from: path(from), to: path(to), kind, replaces, exchange, below, back }
            }
            Attempt::Link { target, path: file } => Attempt::Link { target: path(target), path: path(file) },
            Attempt::Symlink { target, path: file } => Attempt::Symlink { target: self.text(target), path: path(file) },
            Attempt::Truncate { path: file, bytes } => Attempt::Truncate { path: path(file), bytes },
            Attempt::Metadata { path: file, change } => Attempt::Metadata { path: path(file), change },
            Attempt::ConnectUnix { path: file } => Attempt::ConnectUnix { path: path(file) },
            Attempt::BindUnix { path: file } => Attempt::BindUnix { path: path(file) },
            other @ (Attempt::Connect { .. } | Attempt::Bind { .. }) => other,
        }
    }

    fn text(&self, text: OsString) -> OsString {
        self.own.iter().fold(text, |text, own| replaced(&text, own.at.as_os_str(), own.is.as_os_str()))
    }
}

fn joined(base: &Path, rest: &Path) -> PathBuf {
    if rest.as_os_str().is_empty() { base.to_owned() } else { base.join(rest) }
}

/// Each `old` in a text that is a whole path or the beginning of one.
fn replaced(text: &OsStr, old: &OsStr, new: &OsStr) -> OsString {
    let (bytes, old) = (text.as_bytes(), old.as_bytes());
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
        let ends_a_name = |next: &u8| next.is_ascii_alphanumeric() || matches!(next, b'_' | b'-' | b'.');
        if rest.starts_with(old) && !rest.get(old.len()).is_some_and(ends_a_name) {
            out.extend_from_slice(new.as_bytes());
            at += old.len();
        } else {
            out.extend(rest.first());
            at += 1;
        }
    }
    OsString::from_vec(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places() -> Places {
        let own = |at: &str, is: &str| Own { at: at.into(), is: is.into() };
        Places {
            own: vec![
                own("/s/1/workspace/upper", "/home/u/w"),
                own("/s/1/tmp", "/tmp"),
                own("/s/1/home/top", "/home/u"),
            ],
            read: vec!["/usr".into(), "/home/u/.rustup".into()],
            protect: vec!["/s/1/workspace/upper/ci/.flyball".into()],
            expose: vec!["/run/x".into()],
            inbox: "/s/1/inbox.jsonl".into(),
            supervisor: 1,
        }
    }

    #[test]
    fn own_folders_are_judged_by_what_they_stand_for() {
        let places = places();
        for (at, is) in [
            ("/s/1/workspace/upper", "/home/u/w"),
            ("/s/1/workspace/upper/a/b", "/home/u/w/a/b"),
            ("/s/1/workspace/upper2/a", "/s/1/workspace/upper2/a"),
            ("/s/1/tmp/x", "/tmp/x"),
            ("/s/1/home/top/.bashrc", "/home/u/.bashrc"),
            ("/usr/bin/env", "/usr/bin/env"),
        ] {
            assert_eq!(places.judged(Path::new(at)), Path::new(is));
        }
        assert_eq!(places.place_of(Path::new("/home/u/w/src")), Path::new("/s/1/workspace/upper/src"));
        let text = |text: &str| places.text(text.into());
        assert_eq!(text("--out=/s/1/workspace/upper/a:/s/1/tmp"), "--out=/home/u/w/a:/tmp");
        assert_eq!(text("/s/1/tmpfile"), "/s/1/tmpfile");
    }

    #[test]
    fn only_what_is_named_is_open() {
        let places = places();
        let write = |path: &str| places.may_write(Path::new(path));
        for yes in ["/s/1/workspace/upper/a", "/s/1/tmp/x", "/s/1/home/top/.x", "/s/1/workspace/upper/ci"] {
            assert!(write(yes), "{yes}");
        }
        for no in [
            "/s/1/workspace/upper",
            "/s/1/workspace/base",
            "/s/1/workspace/upper/ci/.flyball/a",
            "/s/1/ledger",
            "/home/u/w/a",
            "/tmp/x",
            "/usr/x",
        ] {
            assert!(!write(no), "{no}");
        }
        let moves = |path: &str| places.may_move(Path::new(path));
        assert!(moves("/s/1/workspace/upper/src") && !moves("/s/1/workspace/upper/ci") && !moves("/s/1/tmp"));
        let read = |path: &str| places.may_read(Path::new(path));
        assert!(
            read("/usr/bin/env") && read("/s/1/inbox.jsonl") && !read("/home/u/w/a") && !read("/s/1/workspace/base")
        );
        let connect = |path: &str| places.may_connect(Path::new(path));
        assert!(connect("/run/x/sock") && connect("/s/1/tmp/sock") && !connect("/run/user/1000/bus"));
    }
}
