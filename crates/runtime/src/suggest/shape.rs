//! From actions that were seen to the Cedar condition that lets them pass: exactly them, or what they have in common.

use flyball_kernel::amend::escaped;
use flyball_kernel::{Action, AttrType, ResourceKind, Session, Value};
use std::collections::{BTreeMap, BTreeSet};

/// More different resources than this are not written out one by one.
pub(crate) const EXACT_MAX: usize = 100;

/// Attributes that make an action graver: what was not seen with one is not let through with it.
const GRAVE: &[&str] = &["force", "delete", "no_verify", "amend", "recursive"];

/// A condition on the resource and attributes of actions of one verb; nothing when it can't be said so.
pub(crate) fn condition(actions: &[&Action], session: &Session, is_general: bool) -> Option<String> {
    let first = actions.first()?;
    let resource = match first.resource.kind() {
        ResourceKind::File => files(actions, session, is_general),
        ResourceKind::Command => commands(actions, is_general),
        kind => {
            let mut names: Vec<&str> =
                kind.fields().iter().filter(|f| f.ty != AttrType::Strs).map(|f| f.name).collect();
            if is_general {
                names.retain(|name| *name != "version" && *name != "port");
            }
            let mut rows: BTreeSet<Vec<&Value>> = BTreeSet::new();
            for action in actions {
                rows.insert(names.iter().map(|name| action.resource.field(name)).collect::<Option<_>>()?);
            }
            rows_condition(&names, rows.into_iter().collect(), is_general)
        }
    }?;
    let grave = GRAVE.iter().filter(|name| {
        let spec = first.verb.spec().attrs.iter().find(|a| a.name == **name && a.ty == AttrType::Bool);
        spec.is_some() && actions.iter().all(|a| a.attr(name) != Some(&Value::Bool(true)))
    });
    Some(grave.fold(resource, |all, name| format!("{all} && !(context.attrs has {name} && context.attrs.{name})")))
}

/// A text field of an action's resource, as rules see it. What is not of the workspace has no `rel`, and lists of zones are
/// nobody's to extend.
pub(crate) fn text<'a>(action: &'a Action, session: &Session, field: &str) -> Option<&'a str> {
    let path = action.resource.str("path");
    let found = match (action.resource.kind(), field) {
        (ResourceKind::File, "rel") => path.strip_prefix(&session.workspace)?.strip_prefix('/'),
        (ResourceKind::File, "name") => path.rsplit('/').next(),
        (ResourceKind::File, "zone") => None,
        _ => action.resource.field(field)?.as_str(),
    };
    found.filter(|text| !text.is_empty())
}

/// `"text"` in Cedar.
pub(crate) fn quoted(text: &str) -> String {
    format!("\"{}\"", escaped(text))
}

/// A pattern of Cedar's `like` that begins with this text.
fn beginning(text: &str) -> String {
    format!("{}*", text.replace('*', "\\*"))
}

fn like(field: &str, pattern: &str) -> String {
    // A star that is meant keeps its backslash, which is no escape of the string.
    format!("{field} like \"{}\"", escaped(pattern).replace("\\\\*", "\\*"))
}

fn one_of(field: &str, values: &BTreeSet<&str>) -> Option<String> {
    match values.iter().collect::<Vec<_>>().as_slice() {
        [] => None,
        [one] => Some(format!("{field} == {}", quoted(one))),
        many if many.len() > EXACT_MAX => None,
        many => Some(format!("[{}].contains({field})", many.iter().map(|v| quoted(v)).collect::<Vec<_>>().join(", "))),
    }
}

fn any(parts: Vec<String>) -> Option<String> {
    match parts.len() {
        0 => None,
        1 => parts.into_iter().next(),
        _ => Some(format!("({})", parts.join(" || "))),
    }
}

/// Paths: below the workspace relative to it.
fn files(actions: &[&Action], session: &Session, is_general: bool) -> Option<String> {
    let prefix = format!("{}/", session.workspace);
    let (mut within, mut beyond, mut unread) = (BTreeSet::new(), BTreeSet::new(), false);
    for action in actions {
        let path = action.resource.str("path");
        match path.strip_prefix(&prefix) {
            // A command that names it in a way that can't be read yet: what it does is judged when it does it.
            None if path.is_empty() => {
                unread = true;
                continue;
            }
            Some(rel) => within.insert(rel),
            None if path == session.workspace => within.insert("."),
            None => beyond.insert(path),
        };
    }
    let mut parts = Vec::new();
    for (field, paths) in [("resource.rel", &within), ("resource.path", &beyond)] {
        if paths.is_empty() {
            continue;
        }
        match is_general {
            false => parts.push(one_of(field, paths)?),
            true => parts.extend(patterns(field, paths)),
        }
    }
    if unread {
        parts.push("(context.opaque && resource.path == \"\")".to_owned());
    }
    any(parts)
}

/// What paths have in common: for each folder of theirs one pattern, of those folders' nearest common parent; with their
/// suffix where they all have one.
fn patterns(field: &str, paths: &BTreeSet<&str>) -> Vec<String> {
    let mut by_top: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let mut alone = BTreeSet::new();
    for path in paths {
        // The folders below the root are nobody's common parent.
        let depth = if path.starts_with('/') { 2 } else { 0 };
        let top_end = path.match_indices('/').nth(depth).map(|(at, _)| at);
        match top_end.and_then(|end| path.get(..end)) {
            Some(top) => by_top.entry(top).or_default().push(path),
            None => {
                alone.insert(*path);
            }
        }
    }
    let mut out = Vec::new();
    for paths in by_top.values() {
        let folder = paths.iter().copied().map(folder_of).reduce(common_folder).unwrap_or_default();
        let suffixes: BTreeSet<Option<&str>> = paths.iter().map(|p| suffix(p)).collect();
        let end = match (suffixes.into_iter().collect::<Vec<_>>().as_slice(), paths.len()) {
            ([Some(one)], 2..) => (*one).to_owned(),
            _ => String::new(),
        };
        out.push(like(field, &format!("{}{}", beginning(&format!("{folder}/")), end.replace('*', "\\*"))));
    }
    out.extend(one_of(field, &alone));
    out
}

fn folder_of(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(folder, _)| folder)
}

fn suffix(path: &str) -> Option<&str> {
    let name = path.rsplit('/').next()?;
    name.rfind('.').filter(|at| *at > 0).and_then(|at| name.get(at..))
}

fn common_folder<'p>(a: &'p str, b: &'p str) -> &'p str {
    let same = a.split('/').zip(b.split('/')).take_while(|(x, y)| x == y);
    let length: usize = same.map(|(x, _)| x.len() + 1).sum();
    a.get(..length.saturating_sub(1)).unwrap_or(a)
}

/// Commands: program and arguments; in general program and subcommand.
fn commands(actions: &[&Action], is_general: bool) -> Option<String> {
    let mut rows: BTreeSet<String> = BTreeSet::new();
    for action in actions {
        let program = action.resource.str("program");
        let argv: &[String] = match action.resource.field("argv") {
            Some(Value::Strs(argv)) => argv,
            _ => &[],
        };
        let mut row = format!("resource.program == {}", quoted(program));
        if is_general {
            if let Some(word) = argv.first().filter(|w| !w.starts_with('-') && !w.contains(['/', '=', ' '])) {
                row.push_str(&format!(" && resource.argv.contains({})", quoted(word)));
            }
        } else {
            let path = action.resource.str("path");
            if !path.is_empty() {
                row.push_str(&format!(" && resource.path == {}", quoted(path)));
            }
            let words: BTreeSet<&String> = argv.iter().collect();
            row.push_str(&match words.len() {
                0 => " && resource.argv.isEmpty()".to_owned(),
                _ => {
                    format!(" && resource.argv == [{}]", words.iter().map(|w| quoted(w)).collect::<Vec<_>>().join(", "))
                }
            });
        }
        rows.insert(row);
    }
    if rows.len() > EXACT_MAX {
        return None;
    }
    let is_one = rows.len() == 1;
    any(rows.into_iter().map(|row| if is_one { row } else { format!("({row})") }).collect())
}

/// Rows of values: what is the same in all stands once; where one field differs, its values stand in a list.
fn rows_condition(names: &[&str], rows: Vec<Vec<&Value>>, is_general: bool) -> Option<String> {
    let column = |n: usize| rows.iter().filter_map(|row| row.get(n).copied()).collect::<BTreeSet<&Value>>();
    let varying: Vec<usize> = (0..names.len()).filter(|n| column(*n).len() > 1).collect();
    let mut parts = Vec::new();
    for (n, name) in names.iter().enumerate() {
        let field = format!("resource.{name}");
        let values = column(n);
        match values.iter().copied().collect::<Vec<_>>().as_slice() {
            [Value::Str(text)] => parts.push(format!("{field} == {}", quoted(text))),
            [Value::Long(number)] => parts.push(format!("{field} == {number}")),
            [Value::Bool(is)] => parts.push(format!("{field} == {is}")),
            many if is_general || varying.len() == 1 => {
                let texts: BTreeSet<&str> = many.iter().filter_map(|v| v.as_str()).collect();
                let numbers: Vec<String> = many
                    .iter()
                    .filter_map(|v| if let Value::Long(n) = v { Some(n.to_string()) } else { None })
                    .collect();
                if !numbers.is_empty() {
                    parts.push(format!("[{}].contains({field})", numbers.join(", ")));
                } else if is_general {
                    parts.push(general_texts(&field, name, &texts)?);
                } else {
                    parts.push(one_of(&field, &texts)?);
                }
            }
            _ => {}
        }
    }
    if is_general || varying.len() <= 1 {
        return (!parts.is_empty()).then(|| parts.join(" && "));
    }
    if rows.len() > EXACT_MAX {
        return None;
    }
    let said = |value: &Value| match value {
        Value::Str(text) => quoted(text),
        Value::Long(number) => number.to_string(),
        Value::Bool(is) => is.to_string(),
        Value::Strs(_) => "[]".to_owned(),
    };
    let row_of = |row: &Vec<&Value>| {
        let terms =
            varying.iter().filter_map(|n| Some(format!("resource.{} == {}", names.get(*n)?, said(row.get(*n)?))));
        format!("({})", terms.collect::<Vec<_>>().join(" && "))
    };
    parts.extend(any(rows.iter().map(row_of).collect()));
    Some(parts.join(" && "))
}

/// What texts have in common: for hosts the domain, else how they begin; else each of them.
fn general_texts(field: &str, name: &str, texts: &BTreeSet<&str>) -> Option<String> {
    if name == "host" {
        let ends: BTreeSet<&str> = texts.iter().filter_map(|h| h.split_once('.').map(|(_, domain)| domain)).collect();
        if let ([domain], true) = (ends.iter().copied().collect::<Vec<_>>().as_slice(), ends.len() == 1)
            && domain.contains('.')
            && texts.iter().all(|h| h.contains('.') && h.parse::<std::net::IpAddr>().is_err())
        {
            return Some(format!("{field} like \"*.{}\"", escaped(domain)));
        }
        return one_of(field, texts);
    }
    let common = texts.iter().copied().reduce(|a, b| {
        let same = a.chars().zip(b.chars()).take_while(|(x, y)| x == y).map(|(c, _)| c.len_utf8()).sum();
        a.get(..same).unwrap_or_default()
    })?;
    // A word that happens to begin alike is nothing in common.
    match common.rfind(['/', '-', '_', '.', ':']).and_then(|at| common.get(..=at)) {
        Some(start) => Some(like(field, &beginning(start))),
        None => one_of(field, texts),
    }
}

/// An action as an example of a charter writes it; nothing when it can't be written so.
pub(crate) fn example(action: &Action, session: &Session) -> Option<String> {
    let literal = |value: &Value| -> Option<String> {
        let text = |text: &str| {
            let is_plain = text.chars().all(|c| !c.is_control() && c != '\'' && c != '\\');
            is_plain.then(|| format!("'{text}'"))
        };
        Some(match value {
            Value::Bool(is) => is.to_string(),
            Value::Long(number) => number.to_string(),
            Value::Str(s) => text(s)?,
            Value::Strs(items) => {
                format!("[{}]", items.iter().map(|i| text(i)).collect::<Option<Vec<_>>>()?.join(", "))
            }
        })
    };
    if action.resource.id().is_empty() {
        return None;
    }
    let mut args = Vec::new();
    for field in action.resource.kind().fields() {
        let Some(value) = action.resource.field(field.name) else { continue };
        // Where it happened to be is not what makes an example.
        let is_place = matches!(field.name, "cwd") || (field.name == "path" && action.verb.group() == "process");
        let is_empty =
            matches!(value, Value::Str(s) if s.is_empty()) || matches!(value, Value::Strs(s) if s.is_empty());
        if is_empty || is_place {
            continue;
        }
        let relative = match value {
            Value::Str(path) if field.name == "path" && action.verb.group() == "fs" => Some(local(path, session)?),
            _ => None,
        };
        let value = relative.map(Value::Str).unwrap_or_else(|| value.clone());
        args.push(format!("{}: {}", field.name, literal(&value)?));
    }
    for (name, value) in action.attrs() {
        if matches!(name, "labels" | "reader" | "implied_by" | "address" | "message") || value == &Value::Bool(false) {
            continue;
        }
        args.push(format!("{name}: {}", literal(value)?));
    }
    Some(format!("{}({})", action.verb, args.join(", ")))
}

/// A path as examples have it: relative to the workspace, below `~/`, or absolute.
fn local(path: &str, session: &Session) -> Option<String> {
    if path == session.workspace {
        return Some(".".to_owned());
    }
    if let Some(rel) = path.strip_prefix(&format!("{}/", session.workspace)) {
        return Some(rel.to_owned());
    }
    if let Some(rest) = path.strip_prefix(&format!("{}/", session.home)) {
        return Some(format!("~/{rest}"));
    }
    path.starts_with('/').then(|| path.to_owned())
}
