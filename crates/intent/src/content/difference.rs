//! What two listings of packages differ in, as actions.

use super::CONTENT_ACTIONS_MAX;
use flyball_kernel::{Action, Resource, ResourceKind, Surface, Value};
use std::collections::{BTreeMap, BTreeSet};

/// Bytes of a name, version or source that are said; a longer one is none that a registry knows.
const TEXT_BYTES_MAX: usize = 1024;

/// A package as a file names it.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Item {
    /// Empty where it is not by name that it is fetched.
    pub name: String,
    /// A requirement or an exact version.
    pub version: String,
    /// Where it comes from when not from the ecosystem's own registry.
    pub source: String,
    /// Only for tests, builds and tools.
    pub dev: bool,
    /// A hash of it; two that differ are two contents of one version.
    pub pin: String,
}

/// The packages that a file names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Listing {
    items: BTreeSet<Item>,
    /// Some of it could not be read.
    pub is_opaque: bool,
}

impl Listing {
    pub fn add(&mut self, mut item: Item) {
        for text in [&mut item.name, &mut item.version, &mut item.source] {
            if text.len() > TEXT_BYTES_MAX {
                text.clear();
                self.is_opaque = true;
            }
        }
        self.items.insert(item);
    }

    pub fn extend(&mut self, items: impl IntoIterator<Item = Item>) {
        items.into_iter().for_each(|item| self.add(item));
    }

    /// The same, with sources said apart from the packages that they are of.
    pub fn with_sources(self, sources: &BTreeMap<String, String>) -> Self {
        let mut out = Self { items: BTreeSet::new(), is_opaque: self.is_opaque };
        let named: BTreeSet<String> = self.items.iter().map(|item| item.name.clone()).collect();
        for item in self.items {
            let source = sources.get(&item.name).cloned().unwrap_or(item.source);
            out.add(Item { source, ..item });
        }
        for (name, source) in sources.iter().filter(|(name, _)| !named.contains(*name)) {
            out.add(Item { name: name.clone(), source: source.clone(), ..Item::default() });
        }
        out
    }

    fn by_name(&self) -> BTreeMap<&str, Vec<&Item>> {
        let mut out: BTreeMap<&str, Vec<&Item>> = BTreeMap::new();
        for item in &self.items {
            out.entry(&item.name).or_default().push(item);
        }
        out
    }
}

/// What each action of one file has in common.
pub(super) struct Said {
    pub ecosystem: &'static str,
    pub reader: &'static str,
    pub implied_by: String,
}

impl Said {
    /// Stands for whatever could not be read.
    pub fn unread(&self) -> Option<Action> {
        self.action("dependency.change", "", "", &[("opaque", true.into())])
    }

    fn action(&self, verb: &str, name: &str, version: &str, attrs: &[(&str, Value)]) -> Option<Action> {
        let resource = Resource::new(ResourceKind::Package)
            .with("ecosystem", self.ecosystem)
            .and_then(|it| it.with("name", name))
            .and_then(|it| it.with("version", version))
            .ok()?;
        let mut action = Action::new(verb, resource, Surface::Fs).ok()?;
        for (name, value) in attrs {
            action.set(name, value.clone()).ok()?;
        }
        action.with("implied_by", self.implied_by.as_str()).ok()?.with("reader", self.reader).ok()
    }

    fn add(&self, item: &Item) -> Option<Action> {
        let mut attrs = vec![("dev", item.dev.into())];
        if !item.source.is_empty() {
            attrs.push(("source", item.source.as_str().into()));
        }
        if item.name.is_empty() {
            attrs.push(("opaque", true.into()));
        }
        self.action("dependency.add", &item.name, &item.version, &attrs)
    }

    fn change(&self, name: &str, version: &str, from: &str) -> Option<Action> {
        let opaque = ("opaque", name.is_empty().into());
        let from = ("from", from.into());
        let attrs = if name.is_empty() { vec![from, opaque] } else { vec![from] };
        self.action("dependency.change", name, version, &attrs)
    }

    fn remove(&self, item: &Item) -> Option<Action> {
        let attrs: &[(&str, Value)] = if item.name.is_empty() { &[("opaque", true.into())] } else { &[] };
        self.action("dependency.remove", &item.name, &item.version, attrs)
    }
}

/// What `new` has that `old` has not, and the other way round.
///
/// A package from another source than before is added, since it is other code; so is one that was for tests and is not any
/// more. One whose content differs under the same version is changed, from that version to itself.
pub(super) fn actions(say: &Said, old: &Listing, new: &Listing) -> Vec<Action> {
    let (was, is) = (old.by_name(), new.by_name());
    let names: BTreeSet<&str> = was.keys().chain(is.keys()).copied().collect();
    let mut out = Vec::new();
    let mut is_opaque = new.is_opaque;
    for name in names {
        if out.len() + 1 >= CONTENT_ACTIONS_MAX {
            is_opaque = true;
            break;
        }
        let was = was.get(name).map(Vec::as_slice).unwrap_or_default();
        let is = is.get(name).map(Vec::as_slice).unwrap_or_default();
        one(say, name, was, is, &mut out);
    }
    if out.len() >= CONTENT_ACTIONS_MAX {
        out.truncate(CONTENT_ACTIONS_MAX - 1);
        is_opaque = true;
    }
    if is_opaque {
        out.extend(say.unread());
    }
    out
}

fn one(say: &Said, name: &str, was: &[&Item], is: &[&Item], out: &mut Vec<Action>) {
    let came: Vec<&Item> = is.iter().filter(|item| !was.iter().any(|old| same(old, item))).copied().collect();
    let went: Vec<&Item> = was.iter().filter(|item| !is.iter().any(|new| same(item, new))).copied().collect();
    if was.is_empty() {
        out.extend(came.into_iter().filter_map(|item| say.add(item)));
        return;
    }
    if is.is_empty() {
        out.extend(went.into_iter().filter_map(|item| say.remove(item)));
        return;
    }
    if came.is_empty() && !went.is_empty() {
        out.extend(say.change(name, &versions(is), &versions(&went)));
    }
    let from = versions(if went.is_empty() { was } else { &went });
    for item in came {
        let is_new_source = !item.source.is_empty() && !was.iter().any(|old| old.source == item.source);
        let is_new_use = !item.dev && was.iter().all(|old| old.dev);
        out.extend(match is_new_source || is_new_use {
            true => say.add(item),
            false => say.change(name, &item.version, &from),
        });
    }
}

/// A hash that only appears is no change; one that differs or is dropped is.
fn same(old: &Item, new: &Item) -> bool {
    old.version == new.version
        && old.source == new.source
        && old.dev == new.dev
        && (old.pin.is_empty() || old.pin == new.pin)
}

fn versions(items: &[&Item]) -> String {
    let all: BTreeSet<&str> = items.iter().map(|item| item.version.as_str()).collect();
    // INVARIANT: far more versions of one package than any project has are not worth a string without bound.
    all.into_iter().take(16).collect::<Vec<_>>().join(", ")
}
