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

pub(super) fn read(to: &mut Reading<'_>, by: &Command) {
    let [group, sub, args @ ..] = by.args.as_slice() else { return };
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
            for (attr, option) in [("title", "title"), ("base", "base"), ("head", "head")] {
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
