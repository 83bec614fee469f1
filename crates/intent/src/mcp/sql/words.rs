//! The words of SQL that every dialect reads alike.

/// Bytes that are read, at most.
const BYTES_MAX: usize = 64 * 1024;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Token {
    /// Not quoted; in lower case.
    Word(String),
    /// In double quotes.
    Quoted(String),
    Number,
    Text,
    Sign(char),
}

/// Each statement's words, without comments. Nothing where the text is too long, where something has no end, or where dialects differ:
/// other quotes, comments within comments, backslashes in strings, letters beyond ASCII outside of strings. `folds`: names in quotes
/// are the same in any case.
pub(super) fn statements(text: &str, folds: bool) -> Option<Vec<Vec<Token>>> {
    let mut left = text.as_bytes();
    if left.len() > BYTES_MAX {
        return None;
    }
    let mut out = vec![Vec::new()];
    while let Some((first, rest)) = left.split_first() {
        let last = out.last_mut()?;
        left = match first {
            b' ' | b'\t' | b'\n' | b'\r' | 0x0c => rest,
            b'-' if rest.first() == Some(&b'-') => line_comment(rest)?,
            b'/' if rest.first() == Some(&b'*') => comment(rest.get(1..)?)?,
            b'\'' => {
                last.push(Token::Text);
                string(rest)?
            }
            b'"' => {
                let end = rest.iter().position(|byte| *byte == b'"')?;
                let (name, after) = rest.split_at(end);
                let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"_- ".contains(byte);
                let after =
                    after.get(1..).filter(|after| name.iter().all(is_plain) && !name.is_empty() && !is_glued(after))?;
                let name = std::str::from_utf8(name).ok()?;
                last.push(Token::Quoted(if folds { name.to_ascii_lowercase() } else { name.to_owned() }));
                after
            }
            b'_' | b'a'..=b'z' | b'A'..=b'Z' => {
                let (word, after) = left.split_at(end_of_word(left));
                // A quote that follows at once changes what is in it: `E'…'`, `U&"…"`.
                if after.first().is_some_and(|byte| b"'\"$".contains(byte))
                    || after.starts_with(b"&'")
                    || after.starts_with(b"&\"")
                {
                    return None;
                }
                last.push(Token::Word(std::str::from_utf8(word).ok()?.to_ascii_lowercase()));
                after
            }
            b'0'..=b'9' => {
                last.push(Token::Number);
                let after = left.get(end_of_word(left)..)?;
                after.first().is_none_or(|byte| !b"'\"$".contains(byte)).then_some(after)?
            }
            b';' => {
                out.push(Vec::new());
                rest
            }
            b'(' | b')' | b',' | b'.' | b'=' | b'<' | b'>' | b'+' | b'-' | b'*' | b'/' | b'%' | b'|' | b'&' | b'!'
            | b'~' | b'^' | b':' | b'?' => {
                last.push(Token::Sign(char::from(*first)));
                rest
            }
            _ => return None,
        };
    }
    Some(out)
}

fn end_of_word(text: &[u8]) -> usize {
    text.iter().position(|byte| !byte.is_ascii_alphanumeric() && *byte != b'_').unwrap_or(text.len())
}

fn is_glued(after: &[u8]) -> bool {
    after.first().is_some_and(|byte| byte.is_ascii_alphanumeric() || b"_'\"$".contains(byte))
}

/// What follows the line. A carriage return alone ends it for some.
fn line_comment(text: &[u8]) -> Option<&[u8]> {
    let end = text.iter().position(|byte| *byte == b'\n').unwrap_or(text.len());
    let (line, rest) = text.split_at(end);
    let line = line.strip_suffix(b"\r").filter(|_| !rest.is_empty()).unwrap_or(line);
    (!line.contains(&b'\r')).then_some(rest)
}

/// What follows a comment. One within it ends with it for some.
fn comment(text: &[u8]) -> Option<&[u8]> {
    let end = text.windows(2).position(|two| two == b"*/")?;
    let (inner, rest) = text.split_at(end);
    // `!` and `+` make some read it all the same.
    let is_hint = inner.first().is_some_and(|byte| b"!+".contains(byte));
    let is_nested = inner.windows(2).any(|two| two == b"/*") || inner.ends_with(b"/");
    (!is_hint && !is_nested).then(|| rest.get(2..))?
}

/// What follows a string: quotes in it are doubled, and what a backslash means depends on settings.
fn string(text: &[u8]) -> Option<&[u8]> {
    let mut at = 0;
    loop {
        match (text.get(at)?, text.get(at + 1)) {
            (b'\\' | 0, _) => return None,
            (b'\'', Some(b'\'')) => at += 2,
            (b'\'', after) => {
                let is_glued = after.is_some_and(|byte| byte.is_ascii_alphanumeric() || b"_\"$".contains(byte));
                return if is_glued { None } else { text.get(at + 1..) };
            }
            _ => at += 1,
        }
    }
}
