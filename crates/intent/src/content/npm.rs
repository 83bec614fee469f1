//! `package.json` and npm's lock files.

use super::difference::{Item, Listing};
use super::doc::{self, Leaf, Path};
use super::registries::{NPM, YARN};
use std::collections::BTreeMap;

/// `package.json`: every kind of dependency, and what overrides and resolutions put in the place of others.
pub(super) fn manifest(text: &str) -> Option<Listing> {
    package_json(text, true)
}

/// The same beneath `node_modules`: a package that lies there brings all but what only its authors need.
pub(super) fn installed(text: &str) -> Option<Listing> {
    package_json(text, false)
}

fn package_json(text: &str, with_dev: bool) -> Option<Listing> {
    let mut out = Listing::default();
    doc::json(text, &mut |path, leaf| {
        let Leaf::Str(spec) = leaf else { return };
        match path {
            ["dependencies" | "optionalDependencies" | "peerDependencies", name] => out.add(named(name, spec, false)),
            ["devDependencies", name] if with_dev => out.add(named(name, spec, true)),
            ["overrides" | "resolutions", rest @ ..] | ["pnpm", "overrides", rest @ ..] if with_dev => {
                out.add(named(overridden(rest), spec, false));
            }
            _ => {}
        }
    })
    .ok()?;
    Some(out)
}

/// `pnpm-workspace.yaml`: versions that manifests refer to as `catalog:`, and overrides.
pub(super) fn pnpm_workspace(text: &str) -> Option<Listing> {
    let mut out = Listing::default();
    doc::yaml(text, &mut |path, leaf| {
        let Leaf::Str(spec) = leaf else { return };
        match path {
            ["catalog", name] | ["catalogs", _, name] => out.add(named(name, spec, false)),
            ["overrides", rest @ ..] => out.add(named(overridden(rest), spec, false)),
            _ => {}
        }
    })
    .ok()?;
    Some(out)
}

/// The package that an override is of: the last of `a>b`, `**/b`, `b@^1` and of nested tables, where `.` is the table's own.
fn overridden<'a>(path: &[&'a str]) -> &'a str {
    let last = path.iter().rev().find(|step| **step != ".").copied().unwrap_or_default();
    let last = last.rsplit('>').next().unwrap_or_default();
    let name_start = match last.rfind("/@") {
        Some(at) => at + 1,
        None if last.starts_with('@') => 0,
        None => last.rfind('/').map_or(0, |at| at + 1),
    };
    split_spec(last.get(name_start..).unwrap_or_default()).0
}

/// `x@^1` and `@scope/x@^1` into name and what follows.
fn split_spec(text: &str) -> (&str, &str) {
    let skip = usize::from(text.starts_with('@'));
    match text.get(skip..).and_then(|rest| rest.find('@')) {
        Some(at) => (text.get(..at + skip).unwrap_or_default(), text.get(at + skip + 1..).unwrap_or_default()),
        None => (text, ""),
    }
}

/// A dependency by its key and what is asked for: a range, a tag, another package, or a place.
fn named(name: &str, spec: &str, dev: bool) -> Item {
    let item = |name: &str, version: &str, source: &str| Item {
        name: name.to_owned(),
        version: version.to_owned(),
        source: source.to_owned(),
        dev,
        pin: String::new(),
    };
    if let Some(real) = spec.strip_prefix("npm:") {
        let (real, version) = split_spec(real);
        return item(real, version, "");
    }
    if !spec.starts_with("catalog:") && spec.contains([':', '/']) {
        return item(name, "", spec);
    }
    item(name, spec, "")
}

/// Where a locked file comes from: empty where it is the public registry's file of that very package.
fn source(name: &str, resolved: &str) -> String {
    let is_own = [NPM, YARN].iter().any(|registry| {
        resolved
            .strip_prefix(registry)
            .map(|rest| rest.replace("%2f", "/").replace("%2F", "/"))
            .and_then(|rest| rest.strip_prefix(name).map(|rest| rest.starts_with("/-/")))
            .unwrap_or(false)
    });
    if is_own { String::new() } else { resolved.to_owned() }
}

/// A locked package's fields.
#[derive(Default)]
struct Locked {
    name: String,
    version: String,
    resolved: String,
    integrity: String,
    dev: bool,
    is_local: bool,
}

impl Locked {
    fn set(&mut self, field: &str, leaf: Leaf<'_>) {
        match (field, leaf) {
            ("name", Leaf::Str(text)) => text.clone_into(&mut self.name),
            ("version", Leaf::Str(text)) => text.clone_into(&mut self.version),
            ("resolved", Leaf::Str(text)) => text.clone_into(&mut self.resolved),
            ("integrity", Leaf::Str(text)) => text.clone_into(&mut self.integrity),
            ("dev" | "devOptional", Leaf::Other("true")) => self.dev = true,
            ("link", Leaf::Other("true")) => self.is_local = true,
            _ => {}
        }
    }

    fn item(self, key: &str) -> Item {
        let name = if self.name.is_empty() { key } else { &self.name };
        let mut item = named(name, &self.version, self.dev);
        if !self.resolved.is_empty() {
            item.source = source(&item.name, &self.resolved);
        }
        item.pin = self.integrity;
        item
    }
}

/// `package-lock.json` and `npm-shrinkwrap.json`, versions 1 to 3. One that has both forms is read in both.
pub(super) fn lock(text: &str) -> Option<Listing> {
    let mut all: BTreeMap<String, (String, Locked)> = BTreeMap::new();
    doc::json(text, &mut |path, leaf| {
        let Some((key, field)) = locked(path) else { return };
        let (place, field_len) = (path.len(), usize::from(!field.is_empty()));
        let place = path.get(..place - field_len).unwrap_or_default().join("\0");
        all.entry(place).or_insert_with(|| (key.to_owned(), Locked::default())).1.set(field, leaf);
    })
    .ok()?;
    let mut out = Listing::default();
    for (key, locked) in all.into_values() {
        // A link, or a folder of the project itself.
        if !locked.is_local {
            out.add(locked.item(&key));
        }
    }
    Some(out)
}

/// The package's name by its place, and which of its fields this is: empty for none.
fn locked<'a>(path: Path<'a>) -> Option<(&'a str, &'a str)> {
    match path {
        ["packages", folder, rest @ ..] => {
            let at = folder.rfind("node_modules/")?;
            let name = folder.get(at + "node_modules/".len()..)?;
            // Inner tables say what it needs in its turn.
            Some((name, if let [field] = rest { field } else { return None }))
        }
        ["dependencies", ..] => {
            let (field, tables) = path.split_last()?;
            let is_nested =
                tables.len().is_multiple_of(2) && tables.iter().step_by(2).all(|step| *step == "dependencies");
            if is_nested { Some((tables.last()?, field)) } else { None }
        }
        _ => None,
    }
}

/// `pnpm-lock.yaml`, versions 5 to 9.
pub(super) fn pnpm_lock(text: &str) -> Option<Listing> {
    let mut all: BTreeMap<String, Locked> = BTreeMap::new();
    let mut version = String::new();
    doc::yaml(text, &mut |path, leaf| {
        let value = if let Leaf::Str(text) = leaf { text } else { "" };
        match path {
            ["lockfileVersion"] => value.clone_into(&mut version),
            ["packages", key, rest @ ..] => {
                let one = all.entry((*key).to_owned()).or_default();
                match rest {
                    ["name"] => value.clone_into(&mut one.name),
                    ["dev"] => one.dev = value == "true",
                    ["resolution", "integrity" | "commit"] => value.clone_into(&mut one.integrity),
                    ["resolution", "tarball" | "repo"] => value.clone_into(&mut one.resolved),
                    ["resolution", "directory"] => one.is_local = true,
                    _ => {}
                }
            }
            _ => {}
        }
    })
    .ok()?;
    let mut out = Listing::default();
    for (key, locked) in all {
        if locked.is_local {
            continue;
        }
        let (name, exact) = pnpm_key(&key, version.starts_with('5'));
        let locked = Locked { version: exact.to_owned(), ..locked };
        out.add(locked.item(name));
    }
    Some(out)
}

/// `/x/1.0.0_peer` of version 5, `/x@1.0.0(peer@1)` of version 6, `x@1.0.0` of version 9; another is a place.
fn pnpm_key(key: &str, is_slashed: bool) -> (&str, &str) {
    if is_slashed {
        return match key.strip_prefix('/').and_then(|rest| {
            let scope = if rest.starts_with('@') { rest.find('/')? + 1 } else { 0 };
            let at = rest.get(scope..)?.find('/')? + scope;
            Some((rest.get(..at)?, rest.get(at + 1..)?))
        }) {
            Some((name, version)) => (name, version.split('_').next().unwrap_or_default()),
            None => ("", key),
        };
    }
    let bare = key.strip_prefix('/').unwrap_or(key);
    let bare = bare.split('(').next().unwrap_or_default();
    match split_spec(bare) {
        (_, "") => ("", bare),
        split => split,
    }
}

/// `yarn.lock`: version 1 has a grammar of its own, later ones are YAML.
pub(super) fn yarn_lock(text: &str) -> Option<Listing> {
    if text.lines().any(|line| line.starts_with("__metadata:")) { yarn_berry(text) } else { yarn_classic(text) }
}

fn yarn_berry(text: &str) -> Option<Listing> {
    let mut all: BTreeMap<String, (String, String)> = BTreeMap::new();
    doc::yaml(text, &mut |path, leaf| {
        let (Leaf::Str(value), [key, field]) = (leaf, path) else { return };
        if *key == "__metadata" {
            return;
        }
        let one = all.entry((*key).to_owned()).or_default();
        match *field {
            "resolution" => value.clone_into(&mut one.0),
            "checksum" => value.clone_into(&mut one.1),
            _ => {}
        }
    })
    .ok()?;
    let mut out = Listing::default();
    for (key, (resolution, pin)) in all {
        let (name, at) = split_spec(&resolution);
        if at.starts_with("workspace:") {
            continue;
        }
        let mut item = match at.strip_prefix("npm:") {
            // A registry of its own stands behind `::__archiveUrl=`.
            Some(version) if !version.contains("::") => Item { version: version.to_owned(), ..Item::default() },
            _ => Item { source: if at.is_empty() { key } else { at.to_owned() }, ..Item::default() },
        };
        name.clone_into(&mut item.name);
        item.pin = pin;
        out.add(item);
    }
    Some(out)
}

/// Version 1. Anything that yarn would not have written (a merge conflict, say) leaves it unread.
fn yarn_classic(text: &str) -> Option<Listing> {
    let mut out = Listing::default();
    let mut open: Option<(String, Locked)> = None;
    for line in text.lines() {
        let line = line.trim_end();
        let bare = line.trim_start_matches(' ');
        if bare.is_empty() || bare.starts_with('#') {
            continue;
        }
        match line.len() - bare.len() {
            0 => {
                out.extend(open.take().map(|(key, locked)| locked.item(&key)));
                let first = bare.strip_suffix(':')?.split(", ").next()?;
                let (name, spec) = split_spec(unquoted(first)?);
                let real = spec.strip_prefix("npm:").map_or(name, |real| split_spec(real).0);
                open = Some((real.to_owned(), Locked::default()));
            }
            2 if bare.ends_with(':') => {
                open.as_ref()?;
            }
            2 => {
                let (field, value) = bare.split_once(' ')?;
                open.as_mut()?.1.set(unquoted(field)?, Leaf::Str(unquoted(value)?));
            }
            4 => {
                let (name, value) = bare.split_once(' ')?;
                unquoted(name)?;
                unquoted(value)?;
            }
            _ => return None,
        }
    }
    out.extend(open.take().map(|(key, locked)| locked.item(&key)));
    Some(out)
}

/// A word of yarn's, plain or in quotes; `None` for half a quote and for escapes, which no name or version needs.
fn unquoted(text: &str) -> Option<&str> {
    let inner = match text.strip_prefix('"') {
        Some(rest) => rest.strip_suffix('"')?,
        None => text,
    };
    (!inner.contains(['"', '\\', '<', '>']) || text.starts_with('"') && !inner.contains(['"', '\\'])).then_some(inner)
}
