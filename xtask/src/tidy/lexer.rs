//! Rust source as the laws see it: comments, strings and test code are blanked, lines stay where they are.
//!
//! Not a parser: it knows enough of the language's tokens to tell code from what only looks like code.

/// A source file with everything that is not shipped code replaced by spaces.
#[derive(Debug)]
pub(super) struct Source {
    /// Same lines as the file; comments, the insides of strings, and test items are blank.
    pub(super) code: String,
    /// As `code`, test items still in place.
    pub(super) code_and_tests: String,
    /// Names of modules declared as `#[cfg(test)] mod NAME;`: files of their own that are tests.
    pub(super) test_modules: Vec<String>,
}

impl Source {
    pub(super) fn read(text: &str) -> Self {
        let code_and_tests = blank_comments_and_strings(text);
        let (code, test_modules) = blank_tests(&code_and_tests);
        Self { code, code_and_tests, test_modules }
    }

    /// How many lines hold shipped code or comment: all but those of test items.
    pub(super) fn lines_shipped(&self) -> usize {
        let both = self.code.lines().zip(self.code_and_tests.lines());
        both.filter(|(code, with_tests)| !code.trim().is_empty() || with_tests.trim().is_empty()).count()
    }
}

fn blank_comments_and_strings(text: &str) -> String {
    let bytes = text.as_bytes();
    let at = |index: usize| bytes.get(index).copied().unwrap_or(0);
    let mut out = Vec::with_capacity(bytes.len());
    let mut here = 0;
    while here < bytes.len() {
        let end = match at(here) {
            b'/' if at(here + 1) == b'/' => end_of_line(bytes, here),
            b'/' if at(here + 1) == b'*' => end_of_block_comment(bytes, here),
            b'"' => end_of_string(bytes, here),
            b'r' | b'b' | b'c' if !is_word(at(here.wrapping_sub(1))) => end_of_prefixed(bytes, here).unwrap_or(here),
            b'\'' => end_of_char(bytes, here).unwrap_or(here),
            _ => here,
        };
        if end == here {
            out.push(at(here));
            here += 1;
        } else {
            out.extend((here..end).map(|index| if at(index) == b'\n' { b'\n' } else { b' ' }));
            here = end;
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn end_of_line(bytes: &[u8], from: usize) -> usize {
    (from..bytes.len()).find(|index| bytes.get(*index) == Some(&b'\n')).unwrap_or(bytes.len())
}

/// Rust's block comments nest.
fn end_of_block_comment(bytes: &[u8], from: usize) -> usize {
    let mut depth = 0_usize;
    let mut here = from;
    while here < bytes.len() {
        match (bytes.get(here), bytes.get(here + 1)) {
            (Some(b'/'), Some(b'*')) => {
                depth += 1;
                here += 2;
            }
            (Some(b'*'), Some(b'/')) => {
                depth -= 1;
                here += 2;
                if depth == 0 {
                    return here;
                }
            }
            _ => here += 1,
        }
    }
    bytes.len()
}

fn end_of_string(bytes: &[u8], from: usize) -> usize {
    let mut here = from + 1;
    while here < bytes.len() {
        match bytes.get(here) {
            Some(b'\\') => here += 2,
            Some(b'"') => return here + 1,
            _ => here += 1,
        }
    }
    bytes.len()
}

/// The end of `r"…"`, `r#"…"#`, `b"…"`, `br#"…"#`, `c"…"`, `b'…'`, if that is what stands here.
fn end_of_prefixed(bytes: &[u8], from: usize) -> Option<usize> {
    let prefix = bytes.get(from..)?.iter().take_while(|byte| matches!(byte, b'r' | b'b' | b'c')).count();
    let hashes = bytes.get(from + prefix..)?.iter().take_while(|byte| **byte == b'#').count();
    let quote = from + prefix + hashes;
    let is_raw = bytes.get(from..from + prefix)?.contains(&b'r');
    match bytes.get(quote)? {
        b'\'' if prefix == 1 && hashes == 0 && bytes.get(from) == Some(&b'b') => end_of_char(bytes, quote),
        b'"' if is_raw => {
            let closing: Vec<u8> = std::iter::once(b'"').chain(std::iter::repeat_n(b'#', hashes)).collect();
            let inside = bytes.get(quote + 1..)?;
            let length = inside.windows(closing.len()).position(|window| window == closing);
            Some(length.map_or(bytes.len(), |length| quote + 1 + length + closing.len()))
        }
        b'"' if hashes == 0 => Some(end_of_string(bytes, quote)),
        _ => None,
    }
}

/// The end of a character literal; `None` for a lifetime.
fn end_of_char(bytes: &[u8], from: usize) -> Option<usize> {
    if bytes.get(from + 1) == Some(&b'\\') {
        let rest = bytes.get(from + 3..)?;
        return Some(from + 3 + rest.iter().position(|byte| *byte == b'\'')? + 1);
    }
    let text = std::str::from_utf8(bytes.get(from + 1..bytes.len().min(from + 6))?);
    let text =
        text.or_else(|error| std::str::from_utf8(bytes.get(from + 1..from + 1 + error.valid_up_to()).unwrap_or(&[])));
    let width = text.ok()?.chars().next()?.len_utf8();
    (bytes.get(from + 1 + width) == Some(&b'\'')).then_some(from + 2 + width)
}

/// Blanks each item under `#[cfg(test)]` or `#[test]`; gives the names of test modules that are files of their own.
fn blank_tests(code: &str) -> (String, Vec<String>) {
    let mut out = code.as_bytes().to_vec();
    let mut modules = Vec::new();
    for marker in ["#[cfg(test)]", "#[test]", "#[cfg(all(test"] {
        let mut from = 0;
        while let Some(found) = code.get(from..).and_then(|rest| rest.find(marker)) {
            let start = from + found;
            let end = end_of_item(code, start + marker.len());
            if let Some(item) = code.get(start..end) {
                modules.extend(module_file(item));
            }
            for byte in out.get_mut(start..end).into_iter().flatten().filter(|byte| **byte != b'\n') {
                *byte = b' ';
            }
            from = end;
        }
    }
    (String::from_utf8_lossy(&out).into_owned(), modules)
}

/// Where the item that begins here ends: its closing brace, or its semicolon if that comes before any brace.
fn end_of_item(code: &str, from: usize) -> usize {
    let mut depth = 0_usize;
    for (offset, byte) in code.bytes().enumerate().skip(from) {
        match byte {
            b'{' => depth += 1,
            b'}' => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return offset + 1;
                }
            }
            b';' if depth == 0 => return offset + 1,
            _ => {}
        }
    }
    code.len()
}

fn module_file(item: &str) -> Option<String> {
    let name = item.trim_end().strip_suffix(';')?.rsplit_once("mod ")?.1.trim();
    name.bytes().all(is_word).then(|| name.to_owned())
}

/// Whether the byte can stand in a Rust name.
pub(super) fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_strings_and_characters_are_blank() {
        for text in [
            "// println!\n",
            "/* a /* println! */ println! */",
            "\"println!\"",
            "\"\\\" println!\"",
            "r#\"a \" println!\"#",
            "br\"println!\"",
            "c\"println!\"",
            "'\"' /* ' println! */ '\\''",
            "'\\u{1F600}' // println!",
            "'é' // println!",
            "b'\"' // println!",
        ] {
            let source = Source::read(text);
            assert!(!source.code.contains("println"), "{text} -> {}", source.code);
            assert_eq!(source.code.lines().count(), text.lines().count());
        }
    }

    #[test]
    fn code_stays() {
        for text in ["fn f<'a>(x: &'a str) { println!() }", "let r = 1; println!()", "'a: loop { println!(\"x\") }"] {
            assert!(Source::read(text).code.contains("println!("), "{text}");
        }
    }

    #[test]
    fn tests_are_blank_and_what_follows_them_is_not() {
        let source = Source::read("#[cfg(test)]\nmod tests {\n  fn f() { println!() }\n}\nfn g() { dbg!() }\n");
        assert!(!source.code.contains("println"));
        assert!(source.code.contains("dbg!"));
        assert!(source.code_and_tests.contains("println"));
        assert_eq!(source.lines_shipped(), 1);
    }

    #[test]
    fn test_modules_in_files_of_their_own_are_named() {
        let source = Source::read("#[cfg(test)]\nmod worked_examples;\nfn g() {}\n");
        assert_eq!(source.test_modules, ["worked_examples"]);
        assert!(source.code.contains("fn g"));
    }
}
