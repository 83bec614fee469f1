//! `uv.lock`, `poetry.lock`, `pdm.lock`, `pylock.toml` (PEP 751) and `Pipfile.lock`.

use super::{Item, Listing, exact, index};
use crate::content::doc::{self, Leaf, Path, is_item};
use crate::content::registries::{PYPI, PYPI_FILES};
use crate::programs::packages::pypi_name;
use std::collections::BTreeMap;

/// A locked package's fields.
#[derive(Default)]
struct Locked {
    name: String,
    version: String,
    registry: String,
    /// A repository or an archive.
    place: String,
    /// A file of the public registry's that isn't there.
    elsewhere: String,
    hashes: Vec<String>,
    is_dev: bool,
    is_local: bool,
}

impl Locked {
    fn item(mut self) -> Option<Item> {
        if self.is_local {
            return None;
        }
        let registry = if self.registry.trim_end_matches('/') == PYPI { String::new() } else { self.registry };
        let source = [self.place, registry, self.elsewhere].into_iter().find(|s| !s.is_empty()).unwrap_or_default();
        self.hashes.sort_unstable();
        let pin = self.hashes.join(" ");
        Some(Item { name: pypi_name(&self.name), version: self.version, source, dev: self.is_dev, pin })
    }

    fn see(&mut self, rest: &[&str], value: &str) {
        match rest {
            ["name"] => value.clone_into(&mut self.name),
            ["version"] => value.clone_into(&mut self.version),
            ["category"] => self.is_dev = value != "main",
            ["groups", "\u{0}0"] => self.is_dev = value != "main" && value != "default",
            ["groups", _] => self.is_dev &= value != "main" && value != "default",
            ["index"] | ["source", "registry"] => value.clone_into(&mut self.registry),
            ["source", "git" | "url"] | ["git" | "url"] | ["vcs" | "archive", "url"] => {
                value.clone_into(&mut self.place)
            }
            ["source", "resolved_reference"] | ["vcs", "commit-id"] | ["revision"] => {
                self.hashes.push(value.to_owned())
            }
            ["source", "editable" | "directory" | "virtual" | "path"] | ["directory", "path"] | ["path"] => {
                self.is_local = !value.ends_with(".whl") && !value.ends_with(".tar.gz") && !value.ends_with(".zip");
                value.clone_into(&mut self.place);
            }
            ["source", "type"] => self.is_local |= matches!(value, "directory"),
            ["sdist", "hash"] | ["files" | "wheels", _, "hash"] => self.hashes.push(value.to_owned()),
            ["sdist" | "archive", "hashes", _] | ["wheels", _, "hashes", _] => self.hashes.push(value.to_owned()),
            ["sdist", "url"] | ["wheels", _, "url"] if !value.starts_with(PYPI_FILES) => {
                value.clone_into(&mut self.elsewhere);
            }
            _ => {}
        }
    }
}

/// The lock files in TOML: an array of packages each.
pub(in crate::content) fn lock(text: &str) -> Option<Listing> {
    let mut all: BTreeMap<String, Locked> = BTreeMap::new();
    let mut hashes: BTreeMap<String, Vec<String>> = BTreeMap::new();
    doc::toml(text, &mut |path, leaf| {
        let Leaf::Str(value) = leaf else { return };
        match path {
            ["package" | "packages", item, rest @ ..] if is_item(item) => {
                all.entry((*item).to_owned()).or_default().see(rest, value);
            }
            // poetry before 1.3.
            ["metadata", "files", name, .., "hash"] => {
                hashes.entry(pypi_name(name)).or_default().push(value.to_owned());
            }
            _ => {}
        }
    })
    .ok()?;
    let mut out = Listing::default();
    for mut one in all.into_values() {
        one.hashes.extend(hashes.get(&pypi_name(&one.name)).cloned().unwrap_or_default());
        out.extend(one.item());
    }
    Some(out)
}

/// `Pipfile.lock`.
pub(in crate::content) fn pipfile_lock(text: &str) -> Option<Listing> {
    let mut out = Listing::default();
    let mut all: BTreeMap<(String, String), Locked> = BTreeMap::new();
    doc::json(text, &mut |path: Path<'_>, leaf| match (path, leaf) {
        (["_meta", "sources", _, "url"], Leaf::Str(url)) => index(&mut out, url),
        (["_meta", ..], _) => {}
        ([category, name, rest @ ..], leaf) => {
            let one = all.entry(((*category).to_owned(), (*name).to_owned())).or_default();
            one.is_dev = *category != "default";
            let Leaf::Str(value) = leaf else { return };
            match rest {
                ["version"] => exact(value).clone_into(&mut one.version),
                ["hashes", _] | ["ref"] => one.hashes.push(value.to_owned()),
                ["git" | "file" | "url"] => value.clone_into(&mut one.place),
                ["path"] => one.is_local = true,
                _ => {}
            }
        }
        _ => {}
    })
    .ok()?;
    for ((_, name), one) in all {
        out.extend(Locked { name, ..one }.item());
    }
    Some(out)
}
