//! `[[label]]`, read.

use super::{Label, Root};
use crate::charter::report::{At, Report, clip, nearest};
use crate::charter::settings::{Owner, glob};
use crate::charter::table::Keys;
use std::collections::{BTreeMap, BTreeSet};

pub(crate) fn section(
    report: &mut Report,
    root: &mut Keys,
    owners: &BTreeMap<String, Owner>,
    on_servers: &BTreeSet<String>,
) -> BTreeMap<String, Label> {
    let mut out = BTreeMap::new();
    for mut keys in root.tables(report, "label") {
        let place = keys.place.clone();
        let name = keys.required_str(report, "name");
        let owner = keys.required_str(report, "owner");
        let paths = keys.strs(report, "paths").into_iter().filter_map(|p| path(report, &p)).collect::<Vec<_>>();
        let mut globs = |key: &'static str| -> Vec<_> {
            keys.strs(report, key).iter().filter_map(|p| glob(report, p, false)).collect()
        };
        let (tables, hosts) = (globs("tables"), globs("hosts"));
        keys.finish(report);
        let is_on_server = name.as_ref().is_some_and(|name| on_servers.contains(&name.value));
        let is_on_nothing = paths.is_empty() && tables.is_empty() && hosts.is_empty() && !is_on_server;
        if is_on_nothing && !report.has_errors() {
            let hint = "add `paths = [\"secrets/**\"]`, `tables = [\"prod.customers\"]` or `hosts = [\"*.internal\"]`, or name it in `[mcp.server.NAME]`";
            report.error("FB0154", &place, "[[label]] is on nothing", hint);
        }
        let (Some(name), Some(owner)) = (name, owner) else { continue };
        match owners.get(&owner.value) {
            None => {
                let hint = nearest(&owner.value, owners.keys().map(String::as_str));
                report.error("FB0105", &owner.place, format!("no owner `{}`", clip(&owner.value)), hint);
            }
            Some(known) if known.contacts.is_empty() => {
                let message = format!("nobody could ever declassify `{}`", clip(&name.value));
                report.error("FB0154", &owner.place, message, "give the owner at least one contact in [owners]");
            }
            Some(_) => {}
        }
        let is_name = !name.value.is_empty()
            && name.value.len() <= 64
            && name.value.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
        if !is_name {
            let message = format!("`{}` is no name for a label", clip(&name.value));
            report.error("FB0154", &name.place, message, "up to 64 letters, digits, `-`, `_` and `.`");
        }
        let label = Label { owner: owner.value, paths, tables, hosts };
        if out.insert(name.value.clone(), label).is_some() {
            report.error("FB0114", &name.place, format!("two labels are named `{}`", clip(&name.value)), "rename one");
        }
    }
    out
}

fn path(report: &mut Report, text: &At<String>) -> Option<(Root, globset::GlobMatcher)> {
    let (root, rest) = match (text.value.strip_prefix("~/"), text.value.strip_prefix("./")) {
        (Some(rest), _) => (Root::Home, rest),
        (_, Some(rest)) => (Root::Workspace, rest),
        _ if text.value.starts_with('/') => (Root::System, text.value.as_str()),
        _ => (Root::Workspace, text.value.as_str()),
    };
    if rest.split('/').any(|part| part == "..") {
        report.error("FB0103", &text.place, format!("`{}` leaves its place", clip(&text.value)), "without `..`");
        return None;
    }
    let at = At { value: rest.to_owned(), place: text.place.clone() };
    glob(report, &at, true).map(|glob| (root, glob))
}
