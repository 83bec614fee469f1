//! Python, Go and Java: an import is a statement with a name in it.

use super::Found;
use tree_sitter::Node;

/// The names within a dotted one, joined without whatever stands between them.
fn dotted(found: &mut Found<'_>, node: Node<'_>) -> String {
    let mut parts = Vec::new();
    let mut open = vec![node];
    while let Some(node) = open.pop() {
        if node.named_child_count() == 0 {
            let text = found.text(node);
            if !node.kind().ends_with("comment") && node.kind() != "line_continuation" {
                parts.push(text);
            }
            continue;
        }
        let mut cursor = node.walk();
        let children: Vec<Node<'_>> = node.named_children(&mut cursor).collect();
        open.extend(children.into_iter().rev());
    }
    parts.join(".")
}

pub(super) fn python(found: &mut Found<'_>, node: Node<'_>) -> bool {
    match node.kind() {
        "import_statement" => {
            for name in names(node) {
                let name = dotted(found, name);
                python_name(found, &name);
            }
        }
        "import_from_statement" => {
            let Some(module) = node.child_by_field_name("module_name") else {
                found.is_opaque = true;
                return true;
            };
            let module =
                if module.kind() == "relative_import" { relative(found, module) } else { dotted(found, module) };
            python_name(found, &module);
            for name in names(node) {
                let name = dotted(found, name);
                let between = if module.ends_with('.') { "" } else { "." };
                python_name(found, &format!("{module}{between}{name}"));
            }
        }
        "future_import_statement" => found.insert("__future__"),
        "call" => return python_call(found, node),
        _ => return true,
    }
    found.read(node);
    // An error within may hold more of it.
    node.has_error()
}

/// The dotted names that a statement names, without their aliases.
fn names(node: Node<'_>) -> Vec<Node<'_>> {
    let mut cursor = node.walk();
    let named = node.children_by_field_name("name", &mut cursor);
    named
        .filter_map(|name| if name.kind() == "aliased_import" { name.child_by_field_name("name") } else { Some(name) })
        .collect()
}

/// Python takes letters of other widths and styles for the plain ones: which they are is not known here.
fn python_name(found: &mut Found<'_>, name: &str) {
    found.is_opaque |= !name.is_ascii();
    if !name.trim_start_matches('.').is_empty() || name.is_empty() {
        found.name(name, ".");
    } else {
        found.insert(name);
    }
}

fn relative(found: &mut Found<'_>, node: Node<'_>) -> String {
    let mut cursor = node.walk();
    let mut out = String::new();
    for child in node.named_children(&mut cursor) {
        match child.kind() {
            "import_prefix" => out.extend(found.text(child).chars().filter(|c| *c == '.')),
            "dotted_name" => out.push_str(&dotted(found, child)),
            _ => {}
        }
    }
    out
}

/// `__import__("x")`, `importlib.import_module("x")`.
fn python_call(found: &mut Found<'_>, node: Node<'_>) -> bool {
    let Some(function) = node.child_by_field_name("function") else { return true };
    let name = match function.kind() {
        "identifier" => Some(function),
        "attribute" => function.child_by_field_name("attribute"),
        _ => None,
    };
    let Some(name) = name.map(|name| found.text(name)) else { return true };
    if !matches!(name, "__import__" | "import_module") {
        return true;
    }
    let first = node.child_by_field_name("arguments").and_then(|arguments| arguments.named_child(0));
    if let Some(first) = first.filter(|first| first.kind() == "string") {
        let mut content = String::new();
        let mut cursor = first.walk();
        for part in first.named_children(&mut cursor) {
            match part.kind() {
                "string_start" | "string_end" => {}
                "string_content" if part.named_child_count() == 0 => content.push_str(found.text(part)),
                // An escape, or a value put in.
                _ => found.is_opaque = true,
            }
        }
        python_name(found, &content);
        found.read(node);
    }
    true
}

pub(super) fn go(found: &mut Found<'_>, node: Node<'_>) -> bool {
    match node.kind() {
        "import_declaration" => {
            found.read(node);
            true
        }
        "import_spec" => {
            let path = node.child_by_field_name("path").map(|path| found.text(path)).unwrap_or_default();
            let inner = path.get(1..path.len().saturating_sub(1)).unwrap_or_default();
            if path.starts_with('"') && inner.contains('\\') {
                found.is_opaque = true;
            } else {
                found.name(inner, "/");
            }
            node.has_error()
        }
        // Imports come before all else.
        "function_declaration" | "method_declaration" => node.has_error(),
        _ => true,
    }
}

pub(super) fn java(found: &mut Found<'_>, node: Node<'_>) -> bool {
    match node.kind() {
        "import_declaration" => {
            let mut cursor = node.walk();
            let name = node.named_children(&mut cursor).find(|child| child.kind().ends_with("identifier"));
            let name = name.map(|name| dotted(found, name)).unwrap_or_default();
            found.name(&name, ".");
        }
        "requires_module_directive" => {
            let name = node.child_by_field_name("module").map(|name| dotted(found, name)).unwrap_or_default();
            found.name(&name, ".");
        }
        // `java.net.URL` where a type stands, without an import. A type's own inner ones start with a capital.
        "scoped_type_identifier" => {
            let text = found.short_text(node).unwrap_or_default();
            let text: String = text.chars().filter(|c| !c.is_whitespace()).collect();
            let is_plain = text.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '$' | '.'));
            if is_plain && text.starts_with(|c: char| c.is_lowercase()) {
                found.name(&text, ".");
                return false;
            }
            return true;
        }
        _ => return true,
    }
    found.read(node);
    node.has_error()
}
