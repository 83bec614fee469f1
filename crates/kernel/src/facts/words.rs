//! The words of facts and examples, with their places.

use super::syntax::Fault;
use std::ops::Range;

/// Most words of one fact: what people write stays far below.
const TOKENS_MAX: usize = 4096;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Token {
    Word(String),
    /// `$name`, with its `$`.
    Dollar(String),
    Text(String),
    /// Digits with an optional unit, such as `10m`.
    Number(String),
    Punct(&'static str),
}

const PUNCTS: &[&str] = &["==", "!=", "<=", ">=", "<", ">", "(", ")", "[", "]", ",", ":", "*", "."];

pub(crate) fn tokens(text: &str) -> Result<Vec<(Token, Range<usize>)>, Fault> {
    let mut out = Vec::new();
    let mut at = 0;
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        if out.len() >= TOKENS_MAX {
            return Err(Fault::new("FB0160", at..text.len(), format!("longer than {TOKENS_MAX} words")));
        }
        let Some(first) = rest.chars().next() else { break };
        if first.is_whitespace() {
            at += first.len_utf8();
            continue;
        }
        let (token, length) =
            token(rest, first).map_err(|message| Fault::new("FB0120", at..at + first.len_utf8(), message))?;
        out.push((token, at..at + length));
        at += length;
    }
    Ok(out)
}

/// The next token and its length in bytes.
fn token(rest: &str, first: char) -> Result<(Token, usize), String> {
    if first == '"' || first == '\'' {
        return quoted(rest, first);
    }
    if first.is_ascii_digit() || (first == '-' && rest.as_bytes().get(1).is_some_and(u8::is_ascii_digit)) {
        let tail = rest.bytes().skip(1).take_while(|b| b.is_ascii_alphanumeric() || *b == b'_').count();
        let length = 1 + tail;
        return Ok((Token::Number(rest.get(..length).unwrap_or_default().to_owned()), length));
    }
    if first.is_ascii_alphabetic() || first == '_' || first == '$' {
        let length = word_length(rest);
        let word = rest.get(..length).unwrap_or_default().to_owned();
        if first != '$' {
            return Ok((Token::Word(word), length));
        }
        return if length == 1 { Err("`$` needs a name".to_owned()) } else { Ok((Token::Dollar(word), length)) };
    }
    match PUNCTS.iter().find(|p| rest.starts_with(**p)) {
        Some(punct) => Ok((Token::Punct(punct), punct.len())),
        None => Err(format!("`{first}` has no place here")),
    }
}

/// A word may hold dots and dashes (`fs.write`, `deploy.*`), but not end in them.
fn word_length(rest: &str) -> usize {
    let bytes = rest.as_bytes();
    let is_word = |n: usize| bytes.get(n).is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'_');
    let mut length = 1;
    loop {
        if is_word(length) {
            length += 1;
        } else if matches!(bytes.get(length), Some(b'.' | b'-')) && is_word(length + 1) {
            length += 2;
        } else if bytes.get(length) == Some(&b'.') && bytes.get(length + 1) == Some(&b'*') {
            return length + 2;
        } else {
            return length;
        }
    }
}

fn quoted(rest: &str, quote: char) -> Result<(Token, usize), String> {
    let mut out = String::new();
    let mut chars = rest.char_indices().skip(1);
    while let Some((n, c)) = chars.next() {
        if c == quote {
            return Ok((Token::Text(out), n + 1));
        }
        if c == '\\' {
            match chars.next() {
                Some((_, escaped @ ('\\' | '"' | '\''))) => out.push(escaped),
                Some((_, 'n')) => out.push('\n'),
                Some((_, 't')) => out.push('\t'),
                _ => return Err("only `\\\\`, `\\\"`, `\\'`, `\\n` and `\\t` can follow a backslash".to_owned()),
            }
        } else {
            out.push(c);
        }
    }
    Err("the string has no end".to_owned())
}
