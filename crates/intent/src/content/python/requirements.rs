//! pip's requirements files and setuptools' `setup.cfg`.

use super::{Item, Listing, index, requirement};
use crate::names::base;

/// Whether the file goes by a name that says so. pip takes any: what it is given by another is told by the command's reader.
pub(in crate::content) fn is_requirements(path: &str) -> bool {
    let name = base(path);
    let Some(stem) = name.strip_suffix(".txt").or_else(|| name.strip_suffix(".in")) else { return false };
    let is_named = |stem: &str| {
        ["requirement", "constraint"].iter().any(|word| stem.starts_with(word))
            || ["requirements", "constraints"].iter().any(|word| stem.ends_with(word))
    };
    let folder = path.strip_suffix(name).map(|rest| base(rest.trim_end_matches('/'))).unwrap_or_default();
    is_named(stem) || matches!(folder, "requirements" | "constraints" | "reqs")
}

/// A requirements or constraints file.
pub(in crate::content) fn requirements(text: &str) -> Option<Listing> {
    let mut out = Listing::default();
    let mut logical = String::new();
    for line in text.lines() {
        if let Some(more) = line.strip_suffix('\\') {
            // A comment line does not go on.
            if !line.trim_start().starts_with('#') {
                logical.push_str(more);
                continue;
            }
        }
        logical.push_str(line);
        one(&mut out, &std::mem::take(&mut logical));
    }
    one(&mut out, &logical);
    Some(out)
}

fn one(out: &mut Listing, line: &str) {
    let line = without_comment(line).trim();
    if line.is_empty() {
        return;
    }
    if line.starts_with('-') {
        return option(out, line);
    }
    let (spec, options) = match line.find(" --") {
        Some(at) => line.split_at(at),
        None => (line, ""),
    };
    let mut hashes: Vec<&str> = options.split_whitespace().filter_map(|word| word.strip_prefix("--hash=")).collect();
    hashes.sort_unstable();
    let mut item = requirement(spec, false);
    if spec.contains("${") {
        // From the environment of whoever installs.
        item = Item { source: spec.to_owned(), ..Item::default() };
    }
    item.pin = hashes.join(" ");
    out.add(item);
}

fn without_comment(line: &str) -> &str {
    let mut from = 0;
    while let Some(at) = line.get(from..).and_then(|rest| rest.find('#')).map(|at| at + from) {
        let before = line.get(..at).unwrap_or_default();
        if before.is_empty() || before.ends_with(char::is_whitespace) {
            return before;
        }
        from = at + 1;
    }
    line
}

fn option(out: &mut Listing, line: &str) {
    let (name, value) = match line.split_once(['=', ' ', '\t']) {
        Some((name, value)) => (name, value.trim_start_matches(['=', ' ', '\t']).trim()),
        // `-rother.txt`.
        None if !line.starts_with("--") && line.is_char_boundary(2) => line.split_at(2),
        None => (line, ""),
    };
    match name {
        // It is judged when it changes itself, if its name says what it is.
        "-r" | "--requirement" | "-c" | "--constraint" if is_requirements(value) && !value.contains(':') => {}
        "-r" | "--requirement" | "-c" | "--constraint" => {
            out.add(Item { source: value.to_owned(), ..Item::default() });
        }
        "-e" | "--editable" => {
            let is_local = value.starts_with(['.', '/']) && !value.contains("://");
            if !is_local {
                out.add(Item { source: value.to_owned(), ..Item::default() });
            }
        }
        "-i" | "--index-url" | "--pypi-url" | "--extra-index-url" => index(out, value),
        "-f" | "--find-links" | "--trusted-host" => out.add(Item { source: value.to_owned(), ..Item::default() }),
        "--no-index" | "--no-binary" | "--only-binary" | "--prefer-binary" | "--require-hashes" | "--pre"
        | "--use-feature" | "--config-settings" | "--global-option" => {}
        _ => out.is_opaque = true,
    }
}

/// `setup.cfg`: the requirements of setuptools' `options`.
pub(in crate::content) fn setup_cfg(text: &str) -> Option<Listing> {
    let mut out = Listing::default();
    let (mut section, mut key) = ("", String::new());
    for line in text.lines() {
        if line.trim().is_empty() || line.trim_start().starts_with(['#', ';']) {
            continue;
        }
        if let Some(inner) = line.strip_prefix('[') {
            section = inner.split(']').next().unwrap_or_default();
            key.clear();
            continue;
        }
        let mut value = line.trim();
        if !line.starts_with([' ', '\t']) {
            let Some((name, rest)) = line.split_once(['=', ':']) else { continue };
            key = name.trim().to_ascii_lowercase().replace('-', "_");
            value = rest.trim();
        }
        let dev = match (section, key.as_str()) {
            ("options", "install_requires") => false,
            ("options", "setup_requires" | "tests_require") => true,
            ("options.extras_require", _) => false,
            _ => continue,
        };
        if value.starts_with("file:") || value.contains("%(") {
            out.is_opaque = true;
            continue;
        }
        for spec in value.split([';']).take(1).filter(|spec| !spec.trim().is_empty()) {
            out.add(requirement(spec, dev));
        }
    }
    Some(out)
}
