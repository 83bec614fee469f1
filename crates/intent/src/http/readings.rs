//! The ways in which servers read one path.

/// The path in its one spelling ([`canonical`]), then in every other way that some servers take it: escaped slashes and backslashes
/// for slashes, and what stands behind a `;` in a segment for nothing of it (a "path parameter" of Java's servers), before or after
/// that. A path without such characters has one.
pub(crate) fn readings(path: &str) -> Vec<String> {
    let mut out = vec![canonical(path)];
    if !path.bytes().any(|byte| matches!(byte, b'%' | b'\\' | b';')) {
        return out;
    }
    let has_slash = |path: &str| ["%2f", "%2F", "%5c", "%5C", "\\"].iter().any(|slash| path.contains(slash));
    let has_parameter = |path: &str| [";", "%3b", "%3B"].iter().any(|sign| path.contains(sign));
    if !path.starts_with('/') || !(has_slash(path) || has_parameter(path)) {
        return out;
    }
    let split = slashes(path);
    for other in [split.clone(), bare(path), bare(&split), slashes(&bare(path))] {
        let other = canonical(&other);
        if !out.contains(&other) {
            out.push(other);
        }
    }
    out
}

fn slashes(path: &str) -> String {
    ["%2f", "%2F", "%5c", "%5C", "\\"].iter().fold(path.to_owned(), |path, slash| path.replace(slash, "/"))
}

fn bare(path: &str) -> String {
    let path = path.replace("%3b", ";").replace("%3B", ";");
    let parts: Vec<&str> = path.split('/').map(|part| part.split(';').next().unwrap_or_default()).collect();
    parts.join("/")
}

/// The path as servers read it, by RFC 3986, section 6.2.2: no `.` and `..`, no escapes of what needs none, those that are needed in
/// capitals; and no empty segments, which most servers pass over.
fn canonical(path: &str) -> String {
    if is_canonical(path) { path.to_owned() } else { resolved(path) }
}

/// Whether nothing in it would be resolved, as in most.
fn is_canonical(path: &str) -> bool {
    let is_kept = |pair: &[u8]| pair != b"//" && pair != b"/.";
    !path.contains('%') && (!path.starts_with('/') || path.as_bytes().windows(2).all(is_kept))
}

fn resolved(path: &str) -> String {
    let path = unreserved(path);
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    let is_folder = path.ends_with('/') || path.ends_with("/.") || path.ends_with("/..");
    let end = if is_folder && !parts.is_empty() { "/" } else { "" };
    if path.starts_with('/') { format!("/{}{end}", parts.join("/")) } else { path }
}

fn unreserved(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    let mut rest = path;
    while let Some(at) = rest.find('%') {
        let (before, escape) = rest.split_at(at);
        out.push_str(before);
        let hex = escape.get(1..3).and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match hex {
            Some(byte) if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) => out.push(char::from(byte)),
            Some(byte) => out.push_str(&format!("%{byte:02X}")),
            None => out.push('%'),
        }
        rest = escape.get(if hex.is_some() { 3 } else { 1 }..).unwrap_or_default();
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_as_it_is_has_nothing_to_resolve() {
        const SIGNS: &[char] = &['/', '.', '%', '2', 'e', ';'];
        let mut paths = vec![String::new()];
        for _ in 0..6 {
            let longer = |path: &String| SIGNS.iter().map(|sign| format!("{path}{sign}")).collect::<Vec<_>>();
            let more: Vec<String> = paths.iter().flat_map(longer).collect();
            for path in &more {
                assert_eq!(canonical(path), resolved(path), "{path}");
            }
            paths = more;
        }
    }
}
