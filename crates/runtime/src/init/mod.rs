//! A first charter, fit for a repository: an agent can do ordinary work in it without a question, and the well-known harms
//! are stopped or asked about.
//!
//! [`look`] reads what is there, [`charter_for`] writes what it means. The text is a starting point that people edit, so
//! it explains itself.

mod hosts;
mod rules;

use flyball_kernel::Sources;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// A manifest or configuration longer than this is not looked into, bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Entries of the repository's top folder that are looked at.
const ENTRIES_MAX: usize = 10_000;

/// A kind of package that the repository uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the variants say it")]
pub enum Ecosystem {
    Rust,
    Node,
    Python,
    Go,
    Ruby,
    Java,
}

impl Ecosystem {
    const ALL: [Ecosystem; 6] =
        [Ecosystem::Rust, Ecosystem::Node, Ecosystem::Python, Ecosystem::Go, Ecosystem::Ruby, Ecosystem::Java];

    fn manifests(self) -> &'static [&'static str] {
        match self {
            Ecosystem::Rust => &["Cargo.toml"],
            Ecosystem::Node => &["package.json"],
            Ecosystem::Python => &["pyproject.toml", "requirements.txt", "setup.py", "setup.cfg", "Pipfile"],
            Ecosystem::Go => &["go.mod"],
            Ecosystem::Ruby => &["Gemfile"],
            Ecosystem::Java => &["pom.xml", "build.gradle", "build.gradle.kts"],
        }
    }

    /// What its tools make and can make again: build output in the workspace, caches of packages in the agent's home.
    fn scratch(self) -> &'static [&'static str] {
        match self {
            Ecosystem::Rust => &["target/**", "~/.cargo/registry/**", "~/.cargo/git/**"],
            Ecosystem::Node => {
                &["**/node_modules/**", "**/.next/**", "**/.turbo/**", "~/.npm/_cacache/**", "~/.npm/_logs/**"]
            }
            Ecosystem::Python => &[
                ".venv/**",
                "**/__pycache__/**",
                ".pytest_cache/**",
                ".mypy_cache/**",
                ".ruff_cache/**",
                ".tox/**",
                "~/.cache/pip/**",
                "~/.cache/uv/**",
            ],
            Ecosystem::Go => &["~/.cache/go-build/**", "~/go/pkg/mod/**"],
            Ecosystem::Ruby => &["vendor/bundle/**", ".bundle/**"],
            Ecosystem::Java => &["build/**", ".gradle/**", "~/.m2/repository/**", "~/.gradle/caches/**"],
        }
    }

    fn name(self) -> &'static str {
        match self {
            Ecosystem::Rust => "Rust",
            Ecosystem::Node => "Node.js",
            Ecosystem::Python => "Python",
            Ecosystem::Go => "Go",
            Ecosystem::Ruby => "Ruby",
            Ecosystem::Java => "Java",
        }
    }
}

/// What a repository is, as far as its charter depends on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repository {
    /// Its folder's name.
    pub name: String,
    /// Who answers for its rules, a contact such as `user:ann`.
    pub owner: String,
    /// What it is made with.
    pub ecosystems: BTreeSet<Ecosystem>,
    /// Whether it is a git repository.
    pub is_git: bool,
    /// The branch that others build on.
    pub default_branch: String,
    /// Hosts of its git remotes.
    pub remotes: BTreeSet<String>,
    /// Where this user's package tools fetch, by their own configuration: host and port.
    pub registries: BTreeSet<(String, u16)>,
    /// Where this user's environment says that models are.
    pub models: BTreeSet<(String, u16)>,
    /// Files in it that hold secrets, absolute.
    pub secrets: Vec<PathBuf>,
}

/// Looks at a repository.
#[must_use]
pub fn look(dir: &Path) -> Repository {
    let dir = dir.canonicalize().unwrap_or_else(|_| dir.to_path_buf());
    let git = git_dir(&dir);
    let config = git.as_deref().and_then(|g| text(&common_dir(g).join("config"))).unwrap_or_default();
    let variable = |name: &str| std::env::var(name).ok();
    let home = variable("HOME").map(PathBuf::from).unwrap_or_default();
    let user = hosts::User { home: &home, variable: &variable };
    let ecosystems = ecosystems(&dir);
    Repository {
        name: name_of(&dir),
        owner: crate::control::this_user(),
        registries: user.registries(&ecosystems),
        models: user.models(rules::MODEL_ADDRESSES),
        ecosystems,
        is_git: git.is_some(),
        default_branch: git.as_deref().map(default_branch).unwrap_or_else(|| "main".to_owned()),
        remotes: config.lines().filter_map(remote_host).collect(),
        secrets: secrets(&dir),
    }
}

/// The charter for it: `charter.toml` and `rules.cedar`.
#[must_use]
pub fn charter_for(repository: &Repository) -> Sources {
    Sources::from([
        ("charter.toml".to_owned(), rules::charter_toml(repository)),
        ("rules.cedar".to_owned(), rules::rules_cedar(repository)),
    ])
}

/// The folder's name as far as it is plain text: it ends up in a TOML string.
fn name_of(dir: &Path) -> String {
    let name = dir.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let plain: String =
        name.chars().filter(|c| c.is_alphanumeric() || matches!(c, '-' | '_' | '.' | ' ')).take(64).collect();
    if plain.is_empty() { "workspace".to_owned() } else { plain }
}

/// Manifests at the top, and one folder down for repositories of several packages.
fn ecosystems(dir: &Path) -> BTreeSet<Ecosystem> {
    let folders = entries(dir).into_iter().filter(|p| p.is_dir() && !p.is_symlink());
    let places: Vec<PathBuf> = std::iter::once(dir.to_path_buf()).chain(folders).collect();
    let uses = |e: &Ecosystem| e.manifests().iter().any(|m| places.iter().any(|p| p.join(m).is_file()));
    Ecosystem::ALL.into_iter().filter(uses).collect()
}

fn entries(dir: &Path) -> Vec<PathBuf> {
    let Ok(listing) = fs::read_dir(dir) else { return Vec::new() };
    let mut all: Vec<PathBuf> = listing.take(ENTRIES_MAX).filter_map(|e| Some(e.ok()?.path())).collect();
    all.sort();
    all
}

/// Files at the top whose names say that they hold secrets.
fn secrets(dir: &Path) -> Vec<PathBuf> {
    let is_secret = |path: &PathBuf| {
        let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
        let is_template =
            [".example", ".sample", ".template", ".dist", ".defaults"].iter().any(|end| name.ends_with(end));
        let is_env = name == ".env" || name.starts_with(".env.");
        let is_key = name.ends_with(".pem") || name.ends_with(".key") || name.ends_with(".p12") || name == "id_rsa";
        path.is_file() && !is_template && (is_env || is_key || name == ".netrc" || name == ".pgpass")
    };
    entries(dir).into_iter().filter(is_secret).take(32).collect()
}

/// The folder that `.git` is or, in a worktree or submodule, points at.
fn git_dir(dir: &Path) -> Option<PathBuf> {
    let git = dir.join(".git");
    if git.is_dir() {
        return Some(git);
    }
    let pointer = text(&git)?;
    let target = dir.join(pointer.strip_prefix("gitdir:")?.trim());
    target.is_dir().then_some(target)
}

/// Where a worktree's shared configuration is.
fn common_dir(git: &Path) -> PathBuf {
    text(&git.join("commondir")).map_or_else(|| git.to_path_buf(), |rel| git.join(rel.trim()))
}

/// What the remote says its default is, else a well-known name that exists, else the branch checked out now.
fn default_branch(git: &Path) -> String {
    let common = common_dir(git);
    let head = |path: PathBuf, prefix: &str| {
        text(&path).and_then(|t| t.trim().strip_prefix("ref: ")?.strip_prefix(prefix).map(str::to_owned))
    };
    let packed = text(&common.join("packed-refs")).unwrap_or_default();
    let exists = |branch: &&str| {
        let name = format!("refs/heads/{branch}");
        common.join(&name).exists() || packed.lines().any(|l| l.ends_with(&name))
    };
    head(common.join("refs/remotes/origin/HEAD"), "refs/remotes/origin/")
        .or_else(|| ["main", "master", "trunk"].into_iter().find(exists).map(str::to_owned))
        .or_else(|| head(git.join("HEAD"), "refs/heads/"))
        .filter(|branch| branch.chars().all(|c| c.is_ascii_alphanumeric() || "-_./".contains(c)))
        .unwrap_or_else(|| "main".to_owned())
}

/// The host of a `url = …` line: `https://host/…`, `ssh://user@host:22/…` or `user@host:path`.
fn remote_host(line: &str) -> Option<String> {
    let url = line.trim().strip_prefix("url")?.trim_start().strip_prefix('=')?.trim();
    let host = match url.split_once("://") {
        Some(("https" | "http" | "ssh" | "git", rest)) => {
            let place = rest.split('/').next()?;
            let host = place.rsplit('@').next()?;
            host.split(':').next()?
        }
        Some(_) => return None,
        None => url.split_once(':')?.0.rsplit('@').next()?,
    };
    let is_host = !host.is_empty() && host.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '.');
    is_host.then(|| host.to_ascii_lowercase())
}

fn text(path: &Path) -> Option<String> {
    let meta = fs::metadata(path).ok()?;
    (meta.is_file() && meta.len() <= FILE_BYTES_MAX).then(|| fs::read_to_string(path).ok())?
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
    use super::*;
    use flyball_kernel::Charter;

    fn bare() -> Repository {
        Repository {
            name: "w".to_owned(),
            owner: "user:ann".to_owned(),
            ecosystems: BTreeSet::new(),
            is_git: false,
            default_branch: "main".to_owned(),
            remotes: BTreeSet::new(),
            registries: BTreeSet::new(),
            models: BTreeSet::new(),
            secrets: Vec::new(),
        }
    }

    fn check(repository: &Repository) {
        let sources = charter_for(repository);
        match Charter::compile(&sources) {
            Ok((charter, warnings)) => {
                assert_eq!(warnings.0, Vec::new(), "{sources:#?}");
                for example in flyball_kernel::check_examples(&charter) {
                    assert!(example.passed, "{}: {:?}", example.attempt, example.got);
                }
            }
            Err(found) => panic!("{found:#?}"),
        }
    }

    #[test]
    fn every_charter_compiles_without_a_warning() {
        check(&bare());
        check(&Repository { is_git: true, ..bare() });
        check(&Repository {
            name: "odd \u{fc} name".to_owned(),
            is_git: true,
            ecosystems: Ecosystem::ALL.into_iter().collect(),
            default_branch: "release/1.x".to_owned(),
            remotes: ["github.com".to_owned(), "git.corp".to_owned()].into(),
            registries: [("npm.corp".to_owned(), 8443), ("crates.corp".to_owned(), 443)].into(),
            models: [("127.0.0.1".to_owned(), 8080)].into(),
            secrets: vec![PathBuf::from("/w/.env"), PathBuf::from("/w/a \"b\\c'.pem")],
            ..bare()
        });
    }

    #[test]
    fn remotes_are_read_in_every_spelling() {
        for (line, host) in [
            ("\turl = https://github.com/a/b.git", Some("github.com")),
            ("url=git@GitHub.com:a/b.git", Some("github.com")),
            ("url = ssh://git@git.corp:2222/a", Some("git.corp")),
            ("url = https://user:token@host.example/a", Some("host.example")),
            ("url = /srv/git/a.git", None),
            ("url = file:///srv/a", None),
            ("url = https://evil\"] }/a", None),
            ("fetch = +refs/heads/*:refs/remotes/origin/*", None),
        ] {
            assert_eq!(remote_host(line).as_deref(), host, "{line}");
        }
    }

    #[test]
    fn a_repository_is_looked_at() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        for folder in [".git/refs/remotes/origin", "web"] {
            fs::create_dir_all(root.join(folder)).unwrap();
        }
        for (file, content) in [
            ("Cargo.toml", ""),
            ("web/package.json", "{}"),
            (".env", "A=1"),
            (".env.example", "A="),
            (".git/HEAD", "ref: refs/heads/feature\n"),
            (".git/refs/remotes/origin/HEAD", "ref: refs/remotes/origin/trunk\n"),
            (".git/config", "[remote \"origin\"]\n\turl = git@git.corp:a/b\n"),
        ] {
            fs::write(root.join(file), content).unwrap();
        }
        let found = look(root);
        assert_eq!(found.ecosystems, BTreeSet::from([Ecosystem::Rust, Ecosystem::Node]));
        assert_eq!((found.is_git, found.default_branch.as_str()), (true, "trunk"));
        assert_eq!(found.remotes, BTreeSet::from(["git.corp".to_owned()]));
        assert_eq!(found.secrets, [root.canonicalize().unwrap().join(".env")]);
        fs::remove_file(root.join(".git/refs/remotes/origin/HEAD")).unwrap();
        assert_eq!(look(root).default_branch, "feature");
    }
}
