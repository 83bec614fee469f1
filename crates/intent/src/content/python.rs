//! What Python's tools write: requirements, `pyproject.toml`, `Pipfile` and the lock files.

mod lock;
mod requirements;

use super::difference::{Item, Listing};
use super::doc::{self, Leaf, is_item};
use super::registries::PYPI;
use crate::programs::packages::{pypi_name, pypi_spec};
use std::collections::BTreeMap;

pub(super) use lock::{lock, pipfile_lock};
pub(super) use requirements::{is_requirements, requirements, setup_cfg};

/// A requirement as PEP 508 writes it.
fn requirement(text: &str, dev: bool) -> Item {
    let named = pypi_spec(text.trim());
    Item { name: named.name, version: named.version, source: named.source, dev, pin: String::new() }
}

/// An index that packages may come from, unless it is the public one.
fn index(out: &mut Listing, url: &str) {
    if url.trim_end_matches('/') != PYPI {
        out.add(Item { source: url.to_owned(), ..Item::default() });
    }
}

/// `pyproject.toml`: PEP 621, PEP 735, poetry's, uv's, pdm's, hatch's and rye's tables, and what builds the project.
pub(super) fn pyproject(text: &str) -> Option<Listing> {
    let mut out = Listing::default();
    let mut tables = Tables::default();
    let mut sources: BTreeMap<String, String> = BTreeMap::new();
    doc::toml(text, &mut |path, leaf| {
        let Leaf::Str(value) = leaf else {
            tables.see(path, leaf);
            return;
        };
        match path {
            ["project", "dependencies", _] | ["project", "optional-dependencies", _, _] => {
                out.add(requirement(value, false));
            }
            // Its packages are said by the build program.
            ["project", "dynamic", _] => out.is_opaque |= matches!(value, "dependencies" | "optional-dependencies"),
            ["build-system", "requires", _]
            | ["tool", "uv" | "rye", "dev-dependencies", _]
            | ["tool", "pdm", "dev-dependencies", _, _]
            | ["tool", "hatch", "envs", _, "dependencies" | "extra-dependencies", _] => {
                out.add(requirement(value, true));
            }
            ["dependency-groups", _, item] if is_item(item) => out.add(requirement(value, true)),
            [
                "tool",
                "uv",
                "constraint-dependencies" | "override-dependencies" | "build-constraint-dependencies",
                _,
            ] => {
                out.add(requirement(value, false));
            }
            ["tool", "uv", "sources", name, .., "git" | "url" | "path" | "index"] => {
                sources.insert(pypi_name(name), value.to_owned());
            }
            ["tool", "uv", "index", _, "url"] | ["tool", "uv", "index-url"] | ["tool", "uv", "extra-index-url", _] => {
                index(&mut out, value);
            }
            ["tool", "poetry" | "pdm", "source", _, "url"] => index(&mut out, value),
            _ => tables.see(path, leaf),
        }
    })
    .ok()?;
    out.extend(tables.items());
    Some(out.with_sources(&sources))
}

/// Dependencies as tables, by name: poetry's and pipenv's.
#[derive(Default)]
struct Tables {
    said: BTreeMap<(bool, String, String), (String, String)>,
}

impl Tables {
    fn see(&mut self, path: &[&str], leaf: Leaf<'_>) {
        let (group, dev, rest) = match path {
            ["tool", "poetry", "dependencies", rest @ ..] => ("", false, rest),
            ["tool", "poetry", "dev-dependencies", rest @ ..] => ("dev", true, rest),
            ["tool", "poetry", "group", group, "dependencies", rest @ ..] => (*group, *group != "main", rest),
            ["packages", rest @ ..] => ("", false, rest),
            ["dev-packages", rest @ ..] => ("dev", true, rest),
            _ => return,
        };
        // With several sets of constraints each is an item of its own.
        let (name, item, field) = match rest {
            [name] => (name, "", ""),
            [name, item] if is_item(item) => (name, *item, "version"),
            [name, item, field] if is_item(item) => (name, *item, *field),
            [name, field, ..] => (name, "", *field),
            [] => return,
        };
        if *name == "python" {
            return;
        }
        let one = self.said.entry((dev, format!("{group}\0{item}"), (*name).to_owned())).or_default();
        let Leaf::Str(value) = leaf else { return };
        match field {
            "" | "version" => value.clone_into(&mut one.0),
            "git" | "url" | "path" | "file" | "source" | "index" => value.clone_into(&mut one.1),
            "rev" | "tag" | "branch" | "ref" if one.0.is_empty() => value.clone_into(&mut one.0),
            _ => {}
        }
    }

    fn items(self) -> impl Iterator<Item = Item> {
        self.said.into_iter().map(|((dev, _, name), (version, source))| {
            let version = if version == "*" { String::new() } else { exact(&version).to_owned() };
            Item { name: pypi_name(&name), version, source, dev, pin: String::new() }
        })
    }
}

/// `==1.0` is 1.0, as on a command line; any other requirement stays as it is.
fn exact(version: &str) -> &str {
    match version.strip_prefix("==") {
        Some(bare) if !bare.contains([',', '*']) => bare.trim_start_matches('=').trim(),
        _ => version.trim(),
    }
}

/// `Pipfile`.
pub(super) fn pipfile(text: &str) -> Option<Listing> {
    let mut out = Listing::default();
    let mut tables = Tables::default();
    doc::toml(text, &mut |path, leaf| match (path, leaf) {
        (["source", _, "url"], Leaf::Str(url)) => index(&mut out, url),
        (["requires" | "scripts" | "pipenv" | "source", ..], _) => {}
        // Every other table is a category of packages, installed by name.
        ([category, rest @ ..], _) if !matches!(*category, "packages" | "dev-packages") => {
            let steps: Vec<&str> = std::iter::once("dev-packages").chain(rest.iter().copied()).collect();
            tables.see(&steps, leaf);
        }
        _ => tables.see(path, leaf),
    })
    .ok()?;
    out.extend(tables.items());
    Some(out)
}

/// How such a block starts; it ends with `# ///`.
pub(super) const SCRIPT_MARK: &str = "# /// script";

/// What a script says it needs for itself (PEP 723): `uv run` and `pipx run` install it. Empty where it says nothing.
pub(super) fn script(text: &str) -> Option<Listing> {
    let mut out = Listing::default();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if line.trim_end() != SCRIPT_MARK {
            continue;
        }
        let mut inner = String::new();
        let mut is_closed = false;
        for line in lines.by_ref() {
            let line = line.trim_end();
            if line == "# ///" {
                is_closed = true;
                break;
            }
            let Some(line) = line.strip_prefix('#') else { break };
            inner.push_str(line.strip_prefix(' ').unwrap_or(line));
            inner.push('\n');
        }
        if !is_closed {
            continue;
        }
        let read = doc::toml(&inner, &mut |path, leaf| match (path, leaf) {
            (["dependencies", _], Leaf::Str(text)) => out.add(requirement(text, false)),
            (["tool", "uv", "index", _, "url"], Leaf::Str(url)) => index(&mut out, url),
            _ => {}
        });
        read.ok()?;
    }
    Some(out)
}
