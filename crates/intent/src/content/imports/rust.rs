//! Rust: `use`, `extern crate`, and paths that are written out where they are used.

use super::{Found, NAME_BYTES_MAX};
use tree_sitter::Node;

pub(super) fn see(found: &mut Found<'_>, node: Node<'_>) -> bool {
    match node.kind() {
        "use_declaration" => {
            if let Some(argument) = node.child_by_field_name("argument") {
                tree(found, argument);
            }
            found.read(node);
            node.has_error()
        }
        "extern_crate_declaration" => {
            let name = node.child_by_field_name("name").map(|name| found.text(name)).unwrap_or_default();
            found.name(plain(name), "::");
            found.read(node);
            node.has_error()
        }
        "scoped_identifier" | "scoped_type_identifier" => {
            let text = found.short_text(node);
            found.read(node);
            match text.and_then(path) {
                Some(path) => {
                    written_out(found, &path);
                    node.has_error()
                }
                // `<T as a::B>::c`, `Vec::<a::B>::new`: paths within.
                None => true,
            }
        }
        // A macro's arguments are tokens: a path is names with `::` between them.
        "token_tree" => {
            tokens(found, node);
            true
        }
        _ => true,
    }
}

/// A path's parts, if names are all that it has.
fn path(text: &str) -> Option<String> {
    let parts: Vec<&str> = text.trim_start_matches("::").split("::").map(|part| plain(part.trim())).collect();
    let is_name = |part: &&str| !part.is_empty() && part.chars().all(|c| c.is_alphanumeric() || c == '_');
    parts.iter().all(is_name).then(|| parts.join("::"))
}

/// `r#try` is `try`.
fn plain(name: &str) -> &str {
    name.strip_prefix("r#").unwrap_or(name)
}

/// A path outside `use` counts where it starts with a crate or module: those are lower-case.
fn written_out(found: &mut Found<'_>, path: &str) {
    let first = path.split("::").next().unwrap_or_default();
    const PRIMITIVES: &[&str] = &[
        "bool", "char", "f32", "f64", "i8", "i16", "i32", "i64", "i128", "isize", "str", "u8", "u16", "u32", "u64",
        "u128", "usize", "self",
    ];
    if first.starts_with(|c: char| c.is_lowercase() || c == '_') && !PRIMITIVES.contains(&first) {
        found.name(path, "::");
    }
}

/// A `use` tree. Not by recursion: braces nest as deep as they like.
fn tree(found: &mut Found<'_>, node: Node<'_>) {
    let mut open = vec![(String::new(), node)];
    while let Some((prefix, node)) = open.pop() {
        let mut cursor = node.walk();
        match node.kind() {
            "use_list" => {
                open.extend(node.named_children(&mut cursor).map(|child| (prefix.clone(), child)));
            }
            "scoped_use_list" => {
                let path = node.child_by_field_name("path");
                let prefix = path.and_then(|path| joined(found, &prefix, path)).unwrap_or(prefix);
                open.extend(node.child_by_field_name("list").map(|list| (prefix, list)));
            }
            "use_as_clause" => open.extend(node.child_by_field_name("path").map(|path| (prefix, path))),
            "use_wildcard" => match node.named_child(0) {
                Some(path) => open.push((prefix, path)),
                None if !prefix.is_empty() => found.name(&prefix, "::"),
                None => {}
            },
            "self" if !prefix.is_empty() => found.name(&prefix, "::"),
            "line_comment" | "block_comment" => {}
            _ => {
                if let Some(path) = joined(found, &prefix, node) {
                    found.name(&path, "::");
                }
            }
        }
    }
}

fn joined(found: &mut Found<'_>, prefix: &str, node: Node<'_>) -> Option<String> {
    let joined = found.short_text(node).and_then(path).map(|path| match prefix {
        "" => path,
        _ => format!("{prefix}::{path}"),
    });
    match joined.filter(|path| path.len() <= NAME_BYTES_MAX) {
        Some(path) => Some(path),
        None => {
            found.is_opaque = true;
            None
        }
    }
}

fn tokens(found: &mut Found<'_>, node: Node<'_>) {
    let mut cursor = node.walk();
    let mut path: Vec<&str> = Vec::new();
    let mut is_open = false;
    let end = |found: &mut Found<'_>, path: &mut Vec<&str>| {
        let joined = std::mem::take(path).join("::");
        if joined.contains("::") && joined.len() <= NAME_BYTES_MAX {
            written_out(found, &joined);
        }
    };
    for child in node.children(&mut cursor) {
        match child.kind() {
            "identifier" | "crate" | "super" | "self" => {
                if !is_open {
                    end(found, &mut path);
                }
                path.push(plain(found.text(child)));
                is_open = false;
            }
            "::" => {
                is_open = true;
                found.read(child);
            }
            _ => {
                end(found, &mut path);
                is_open = false;
            }
        }
    }
    end(found, &mut path);
}
