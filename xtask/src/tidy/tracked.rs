//! What every file under version control must and must not hold.

use std::path::PathBuf;
use std::process::Command;

use super::Breach;
use crate::{Failure, exec};

/// A file of the repository, as git would commit it.
pub(super) struct Tracked {
    /// Path in the repository, with `/` between its parts.
    pub(super) path: String,
    pub(super) bytes: Vec<u8>,
}

/// Every file that git tracks or would add, links aside.
pub(super) fn files() -> Result<Vec<Tracked>, Failure> {
    let root = exec::root();
    let mut command = Command::new("git");
    command.current_dir(&root).args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]);
    let mut files = Vec::new();
    for path in exec::read(&mut command)?.split('\0').filter(|path| !path.is_empty()) {
        let full: PathBuf = root.join(path);
        if std::fs::symlink_metadata(&full).is_ok_and(|found| found.is_file()) {
            let bytes = std::fs::read(&full).map_err(|error| format!("`{path}`: {error}"))?;
            files.push(Tracked { path: path.to_owned(), bytes });
        }
    }
    Ok(files)
}

pub(super) fn check(files: &[Tracked]) -> Vec<Breach> {
    files.iter().flat_map(check_file).collect()
}

const FILE_BYTES_MAX: usize = 2 << 20;

fn check_file(file: &Tracked) -> Vec<Breach> {
    let mut breaches = Vec::new();
    if file.bytes.len() > FILE_BYTES_MAX {
        breaches.push(breach(&file.path, "size", "is over 2 MiB: make it when it is needed, or keep it elsewhere"));
    }
    let Ok(text) = std::str::from_utf8(&file.bytes) else { return breaches };
    // What a fuzzer found is kept byte for byte.
    if !text.is_empty() && !text.ends_with('\n') && !file.path.starts_with("fuzz/seeds/") {
        breaches.push(breach(&file.path, "newline", "does not end in a newline"));
    }
    for (number, line) in text.lines().enumerate() {
        let place = format!("{}:{}", file.path, number + 1);
        if line.contains("tidy: allow leaks: ") {
            continue;
        }
        if let Some(path) = machine_path(line) {
            breaches.push(breach(
                &place,
                "leaks",
                &format!("names `{path}`, a path of one machine: derive it, or take it as an argument"),
            ));
        }
        if let Some(host) = registry_host(line) {
            breaches.push(breach(
                &place,
                "leaks",
                &format!("names the package registry host `{host}`: use the client's own configuration"),
            ));
        }
        if let Some(kind) = credential(line) {
            breaches.push(breach(
                &place,
                "leaks",
                &format!("looks like {kind}: revoke it if it is real, and make it in the test if it is not"),
            ));
        }
        if line.starts_with("<<<<<<< ") || line.starts_with(">>>>>>> ") {
            breaches.push(breach(&place, "conflict", "holds a merge conflict's marker"));
        }
    }
    breaches
}

// The patterns below are put together from halves so that this file passes its own check.

/// Folders of the machines that this project is built on.
fn machine_path(line: &str) -> Option<String> {
    let starts = [
        concat!("/wo", "rk/main"),
        concat!("/wo", "rk/wt"),
        concat!("/wo", "rk/shared"),
        concat!("/wo", "rk/tgt"),
        concat!("/wo", "rk/.library"),
        concat!("/ro", "ot/.cargo"),
        concat!("/ro", "ot/.rustup"),
        concat!("/ro", "ot/.pyenv"),
        concat!("/ro", "ot/.npm"),
    ];
    let begins_a_path = |at: usize| {
        let before = at.checked_sub(1).and_then(|index| line.as_bytes().get(index));
        !before.is_some_and(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'))
    };
    let found = starts.iter().find(|start| line.match_indices(**start).any(|(at, _)| begins_a_path(at)));
    found.map(|start| (*start).to_owned())
}

fn registry_host(line: &str) -> Option<&'static str> {
    // `find` gives the first; a lockfile line that holds one is a lockfile that pins a mirror.
    let hosts = [
        concat!("registry.npm", "js.org"),
        concat!("registry.yarn", "pkg.com"),
        concat!("files.python", "hosted.org"),
        concat!("deb.deb", "ian.org"),
        concat!("index.cr", "ates.io"),
        concat!("static.cr", "ates.io"),
    ];
    hosts.into_iter().find(|host| line.contains(host))
}

fn credential(line: &str) -> Option<&'static str> {
    let is_after = |prefix: &str, length: usize, allowed: fn(u8) -> bool| {
        line.match_indices(prefix).any(|(at, _)| {
            let rest = line.as_bytes().get(at + prefix.len()..).unwrap_or_default();
            rest.iter().take_while(|byte| allowed(**byte)).count() >= length
        })
    };
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    let shout = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit();
    if line.contains(concat!("PRIVATE KEY", "-----")) {
        return Some("a private key");
    }
    if is_after("AKIA", 16, shout) {
        return Some("an AWS access key");
    }
    if ["ghp_", "gho_", "ghs_", "github_pat_"].iter().any(|prefix| is_after(prefix, 30, word)) {
        return Some("a GitHub token");
    }
    if is_after("sk-ant-", 20, word) || is_after("npm_", 36, |byte| byte.is_ascii_alphanumeric()) {
        return Some("an API key");
    }
    is_after("xoxb-", 20, word).then_some("a Slack token")
}

fn breach(place: &str, rule: &'static str, what: &str) -> Breach {
    Breach { place: place.to_owned(), rule, what: what.to_owned() }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::indexing_slicing, reason = "tests")]
    use super::*;

    fn rules_of(text: &str) -> Vec<&'static str> {
        let file = Tracked { path: "a.txt".to_owned(), bytes: text.as_bytes().to_vec() };
        check_file(&file).into_iter().map(|breach| breach.rule).collect()
    }

    #[test]
    fn an_ordinary_file_passes() {
        assert_eq!(rules_of("one\ntwo /home/me/work/shared/x\nAKIA\n"), ["leaks"; 0]);
        assert_eq!(rules_of(""), ["leaks"; 0]);
    }

    #[test]
    fn a_missing_last_newline_is_told() {
        assert_eq!(rules_of("one\ntwo"), ["newline"]);
    }

    #[test]
    fn machine_paths_are_told_with_their_line() {
        let file =
            Tracked { path: "a".to_owned(), bytes: format!("x\ncd {}\n", concat!("/wo", "rk/main")).into_bytes() };
        assert_eq!(check_file(&file)[0].place, "a:2");
        assert_eq!(rules_of(&format!("{}/bin\n", concat!("/ro", "ot/.cargo"))), ["leaks"]);
    }

    #[test]
    fn registry_hosts_are_told() {
        assert_eq!(
            rules_of(&format!("\"resolved\": \"https://{}/a\"\n", concat!("registry.npm", "js.org"))),
            ["leaks"]
        );
    }

    #[test]
    fn credentials_are_told() {
        for secret in [
            format!("-----BEGIN OPENSSH {}-----\n", "PRIVATE KEY"),
            format!("key = AKIA{}\n", "ABCDEFGHIJKLMNOP"),
            format!("ghp_{}\n", "a".repeat(36)),
            format!("ANTHROPIC_API_KEY=sk-ant-{}\n", "a".repeat(24)),
        ] {
            assert_eq!(rules_of(&secret), ["leaks"], "{secret}");
        }
    }

    #[test]
    fn a_conflict_marker_and_a_large_file_are_told() {
        assert_eq!(rules_of(&format!("{} HEAD\n", "<".repeat(7))), ["conflict"]);
        assert_eq!(rules_of(&format!("{}\n", "x".repeat(FILE_BYTES_MAX))), ["size"]);
    }
}
