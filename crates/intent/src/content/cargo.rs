//! Cargo's manifest and lock file.

use super::difference::{Item, Listing};
use super::doc::{self, Leaf, is_item};
use super::registries::{CRATES_IO_GIT, CRATES_IO_SPARSE};
use std::collections::BTreeMap;

/// A dependency as its table says it.
#[derive(Default)]
struct Said {
    version: String,
    package: String,
    git: String,
    path: String,
    registry: String,
    at: String,
}

/// `Cargo.toml`: every dependency table, of the package, the workspace and each target, and what patches replace.
///
/// One that is inherited (`workspace = true`) has no version here; it has one where the workspace says it.
pub(super) fn manifest(text: &str) -> Option<Listing> {
    // By the table's kind and place, and the dependency's own key.
    let mut said: BTreeMap<(bool, String, String), Said> = BTreeMap::new();
    doc::toml(text, &mut |path, leaf| {
        let Some((place, dev, key, field)) = dependency(path) else { return };
        let one = said.entry((dev, place, key.to_owned())).or_default();
        let Leaf::Str(value) = leaf else { return };
        let to = match field {
            "" | "version" => &mut one.version,
            "package" => &mut one.package,
            "git" => &mut one.git,
            "path" | "base" => &mut one.path,
            "registry" | "registry-index" => &mut one.registry,
            "rev" | "tag" | "branch" => &mut one.at,
            _ => return,
        };
        value.clone_into(to);
    })
    .ok()?;
    let mut out = Listing::default();
    for ((dev, place, key), one) in said {
        let key = if place.starts_with("replace") { key.split([':', '@']).next().unwrap_or_default() } else { &key };
        let name = if one.package.is_empty() { key } else { &one.package };
        let source = [one.git, one.path, one.registry].into_iter().find(|s| !s.is_empty()).unwrap_or_default();
        let version = if one.version.is_empty() { one.at } else { one.version };
        out.add(Item { name: name.to_owned(), version, source, dev, ..Item::default() });
    }
    Some(out)
}

/// Place of the table, whether it is for tests and builds, the dependency's key, and the field: empty for its short form.
fn dependency<'a>(path: &[&'a str]) -> Option<(String, bool, &'a str, &'a str)> {
    let (place, rest) = match path {
        ["workspace", rest @ ..] => ("workspace".to_owned(), rest),
        ["target", target, rest @ ..] => (format!("target {target}"), rest),
        ["patch", registry, rest @ ..] => return short(format!("patch {registry}"), false, rest),
        ["replace", rest @ ..] => return short("replace".to_owned(), false, rest),
        _ => (String::new(), path),
    };
    let (kind, rest) = rest.split_first()?;
    match *kind {
        "dependencies" => short(place, false, rest),
        "dev-dependencies" | "dev_dependencies" => short(format!("{place} dev"), true, rest),
        "build-dependencies" | "build_dependencies" => short(format!("{place} build"), true, rest),
        _ => None,
    }
}

fn short<'a>(place: String, dev: bool, rest: &[&'a str]) -> Option<(String, bool, &'a str, &'a str)> {
    match rest {
        [key] => Some((place, dev, key, "")),
        [key, field] => Some((place, dev, key, field)),
        // The items of `features`.
        [key, _, item] if is_item(item) => Some((place, dev, key, "-")),
        [key, ..] => Some((place, dev, key, "-")),
        [] => None,
    }
}

/// `Cargo.lock`. A package without a source is the workspace's own or lies beside it: the manifest says so.
pub(super) fn lock(text: &str) -> Option<Listing> {
    let mut all: BTreeMap<String, Item> = BTreeMap::new();
    doc::toml(text, &mut |path, leaf| {
        let (["package", item, field], Leaf::Str(value)) = (path, leaf) else { return };
        let one = all.entry((*item).to_owned()).or_default();
        let to = match *field {
            "name" => &mut one.name,
            "version" => &mut one.version,
            "source" => &mut one.source,
            "checksum" => &mut one.pin,
            _ => return,
        };
        value.clone_into(to);
    })
    .ok()?;
    let mut out = Listing::default();
    for mut item in all.into_values() {
        match source(&item.source) {
            Some(source) => item.source = source,
            None => continue,
        }
        out.add(item);
    }
    Some(out)
}

/// Where a locked package comes from: empty for crates.io, `None` for a folder.
fn source(written: &str) -> Option<String> {
    match written {
        "" => None,
        CRATES_IO_GIT | CRATES_IO_SPARSE => Some(String::new()),
        _ => {
            let bare = ["git+", "registry+", "sparse+"].iter().find_map(|kind| written.strip_prefix(kind));
            Some(bare.unwrap_or(written).to_owned())
        }
    }
}
