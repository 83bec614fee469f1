//! The GitHub command line: pull requests.

use crate::options::Table;
use crate::reading::{Command, Reading, Word};
use flyball_kernel::Value;

const READER: &str = "github/1";

const PR: Table = Table::of(&[
    "R repo=",
    "t title=",
    "b body=",
    "F body-file=",
    "B base=",
    "H head=",
    "d draft",
    "f fill",
    "fill-first",
    "fill-verbose",
    "w web",
    "l label=",
    "m milestone=",
    "a assignee=",
    "r reviewer=",
    "p project=",
    "T template=",
    "no-maintainer-edit",
    "dry-run",
    "recover=",
    "e editor",
]);

const MERGE: Table = Table::of(&[
    "R repo=",
    "admin",
    "A author-email=",
    "auto",
    "b body=",
    "F body-file=",
    "d delete-branch",
    "disable-auto",
    "match-head-commit=",
    "m merge",
    "r rebase",
    "s squash",
    "t subject=",
]);

const COMMENT: Table = Table::of(&[
    "R repo=",
    "b body=",
    "F body-file=",
    "e editor",
    "w web",
    "edit-last",
    "create-if-none",
    "delete-last",
    "yes",
    "a approve",
    "c comment",
    "r request-changes",
]);

/// The group, its command and what follows; options may stand before either, and are kept.
fn words(to: &mut Reading<'_>, by: &Command) -> Option<(Word, Word, Vec<Word>)> {
    let (mut named, mut rest) = (Vec::new(), Vec::new());
    let mut args = by.args.iter();
    while named.len() < 2 {
        let arg = args.next()?;
        match arg.known() {
            Some("-R" | "--repo") => rest.extend([arg.clone(), args.next()?.clone()]),
            Some("--help" | "--version") => return None,
            Some(text) if text.starts_with("--repo=") || (text.starts_with("-R") && text.len() > 2) => {
                rest.push(arg.clone())
            }
            // It may have taken the next word for its value.
            Some(text) if text.starts_with('-') => {
                to.is_opaque = true;
                return None;
            }
            _ => named.push(arg.clone()),
        }
    }
    rest.extend(args.cloned());
    let sub = named.pop()?;
    Some((named.pop()?, sub, rest))
}

pub(super) fn read(to: &mut Reading<'_>, by: &Command) {
    let Some((group, sub, args)) = words(to, by) else { return };
    let args = args.as_slice();
    let (verb, table) = match (group.known(), sub.known()) {
        (Some("pr"), Some("create" | "new")) => ("pr.open", PR),
        (Some("pr"), Some("merge")) => ("pr.merge", MERGE),
        (Some("pr"), Some("comment" | "review")) => ("pr.comment", COMMENT),
        (None, _) | (Some("pr"), None) => {
            to.is_opaque = true;
            return;
        }
        // What these do is not read; what they send is mediated.
        (Some("api" | "alias" | "extension"), _) => {
            to.is_opaque = true;
            return;
        }
        _ => return,
    };
    let line = table.read(args);
    let value = |name: &str| line.value(name).and_then(Word::known).unwrap_or_default().to_owned();
    let name = line.all().first().cloned();
    let mut attrs: Vec<(&'static str, Value)> = Vec::new();
    match verb {
        "pr.open" => {
            for (attr, option) in [("title", "title"), ("body", "body"), ("base", "base"), ("head", "head")] {
                if line.has(option) {
                    attrs.push((attr, value(option).into()));
                }
            }
        }
        "pr.comment" if line.has("body") => attrs.push(("body", value("body").into())),
        _ => {}
    }
    if let Some(file) = line.value("body-file").filter(|f| f.known() != Some("-")) {
        to.on_path(by, READER, "fs.read", file, &[]);
    }
    let known = name.as_ref().is_none_or(|n| n.known().is_some())
        && line.options.iter().all(|(_, v)| v.as_ref().is_none_or(|v| v.known().is_some()));
    let number = if verb == "pr.open" {
        String::new()
    } else {
        name.and_then(|n| n.known().map(str::to_owned)).unwrap_or_default()
    };
    let fields = [("repository", value("repo").into()), ("name", number.into())];
    to.imply(by, READER, verb, &fields, &attrs, known && !line.is_uncertain);
}
