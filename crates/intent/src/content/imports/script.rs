//! JavaScript and TypeScript: an import names its module by a string.

use super::Found;
use tree_sitter::Node;

pub(super) fn see(found: &mut Found<'_>, node: Node<'_>) -> bool {
    match node.kind() {
        // `export` with a source, and TypeScript's `import x = require("y")`, have the field as well.
        "import_statement" | "export_statement" | "import_require_clause" => {
            if let Some(source) = node.child_by_field_name("source") {
                module(found, source);
                found.read(node);
            }
            true
        }
        "call_expression" => {
            call(found, node);
            true
        }
        _ => true,
    }
}

/// `require("x")`, `module.require("x")`, `import("x")`.
fn call(found: &mut Found<'_>, node: Node<'_>) {
    let Some(function) = node.child_by_field_name("function") else { return };
    let name = match function.kind() {
        "import" => Some(function),
        "identifier" => Some(function),
        "member_expression" => function.child_by_field_name("property"),
        _ => None,
    };
    let Some(name) = name.map(|name| found.text(name)) else { return };
    // Letters of a name can be written as escapes, and mean the same.
    found.is_opaque |= name.contains('\\');
    if !matches!(name, "require" | "import" | "getBuiltinModule") {
        return;
    }
    let Some(arguments) = node.child_by_field_name("arguments") else { return };
    let first = if arguments.kind() == "template_string" { Some(arguments) } else { first_argument(arguments) };
    if let Some(first) = first.filter(|first| matches!(first.kind(), "string" | "template_string")) {
        module(found, first);
        found.read(node);
    }
}

fn first_argument(arguments: Node<'_>) -> Option<Node<'_>> {
    let mut cursor = arguments.walk();
    arguments.named_children(&mut cursor).find(|child| !child.is_extra())
}

fn module(found: &mut Found<'_>, node: Node<'_>) {
    let mut cursor = node.walk();
    let mut name = String::new();
    for part in node.named_children(&mut cursor) {
        match part.kind() {
            "string_fragment" => name.push_str(found.text(part)),
            // Put together at run time: not told, as with any other expression.
            "template_substitution" => return,
            _ => found.is_opaque = true,
        }
    }
    let is_place = name.starts_with(['.', '/', '#']) || name.contains("://") || name.starts_with("data:");
    if is_place || name.is_empty() {
        // Longer ones (whole modules in a `data:` URL) are told by their start.
        let end = (0..=128).rev().find(|at| name.is_char_boundary(*at)).unwrap_or_default();
        found.insert(name.get(..end.min(name.len())).unwrap_or(&name));
        return;
    }
    if let Some(bare) = name.strip_prefix("node:") {
        found.insert(&name);
        return found.name(bare, "/");
    }
    found.name(&name, "/");
}
