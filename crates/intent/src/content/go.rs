//! Go's module and workspace files and their sums.

use super::difference::{Item, Listing};
use std::collections::BTreeMap;

/// `go.mod` and `go.work`. A replaced module comes from where the replacement says, under its own name.
pub(super) fn module(text: &str) -> Option<Listing> {
    let mut required: BTreeMap<(String, String), Item> = BTreeMap::new();
    let mut replaced: Vec<Item> = Vec::new();
    let mut block: Option<String> = None;
    for line in text.lines() {
        let words = words(line)?;
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let (directive, rest) = match (&block, words.as_slice()) {
            (_, []) => continue,
            (Some(_), [")"]) => {
                block = None;
                continue;
            }
            (None, [directive, "("]) => {
                block = Some((*directive).to_owned());
                continue;
            }
            (Some(directive), rest) => (directive.clone(), rest),
            (None, [directive, rest @ ..]) => ((*directive).to_owned(), rest),
        };
        match (directive.as_str(), rest) {
            ("require", [name, version]) => {
                required.insert(((*name).to_owned(), (*version).to_owned()), item(name, version, ""));
            }
            ("replace", [name, "=>", to]) | ("replace", [name, _, "=>", to]) => replaced.push(item(name, "", to)),
            ("replace", [name, "=>", to, version]) | ("replace", [name, _, "=>", to, version]) => {
                replaced.push(item(name, version, to));
            }
            ("toolchain", [version]) => {
                required.insert((String::new(), String::new()), item("golang.org/toolchain", version, ""));
            }
            ("module" | "go" | "use" | "exclude" | "retract" | "tool" | "godebug" | "ignore", _) => {}
            _ => return None,
        }
    }
    if block.is_some() {
        return None;
    }
    let mut out = Listing::default();
    for one in required.into_values() {
        if !replaced.iter().any(|by| by.name == one.name) || one.name.is_empty() {
            out.add(one);
        }
    }
    out.extend(replaced);
    Some(out)
}

fn item(name: &str, version: &str, source: &str) -> Item {
    Item { name: name.to_owned(), version: version.to_owned(), source: source.to_owned(), ..Item::default() }
}

/// A line's words: plain, or in double or back quotes; parentheses stand alone. `None` for half a quote.
fn words(line: &str) -> Option<Vec<String>> {
    let mut out = Vec::new();
    let mut rest = line.trim();
    while let Some(first) = rest.chars().next() {
        if rest.starts_with("//") {
            break;
        }
        let end = match first {
            '"' | '`' => {
                let inner = rest.get(1..)?;
                let end = inner.find(first)?;
                let word = inner.get(..end)?;
                // An escape is nothing that a module's path needs.
                if word.contains('\\') {
                    return None;
                }
                out.push(word.to_owned());
                rest = inner.get(end + 1..)?.trim_start();
                continue;
            }
            '(' | ')' | ',' | '[' | ']' => 1,
            _ => rest.find(|c: char| c.is_whitespace() || "()\"`,[]".contains(c)).unwrap_or(rest.len()),
        };
        let (word, after) = rest.split_at(end);
        let comment = word.find("//").filter(|at| *at > 0 && !word.contains("://"));
        out.push(word.get(..comment.unwrap_or(word.len()))?.to_owned());
        if comment.is_some() {
            break;
        }
        rest = after.trim_start();
    }
    Some(out)
}

/// `go.sum` and `go.work.sum`: the modules whose content was fetched. Those of which only `go.mod` was are not used.
pub(super) fn sum(text: &str) -> Option<Listing> {
    let mut out = Listing::default();
    for line in text.lines() {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        match words.as_slice() {
            [] => {}
            [_, version, _] if version.ends_with("/go.mod") => {}
            [name, version, hash] => out.add(Item { pin: (*hash).to_owned(), ..item(name, version, "") }),
            _ => return None,
        }
    }
    Some(out)
}
