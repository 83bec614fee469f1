//! Bounds on a rule before Cedar reads it: its parser, and all that walks its trees, goes as deep as the rule does.

use std::ops::Range;

/// Deepest brackets, most operators in a row, and most accesses of one rule. What people write stays far below, and a
/// thread's stack holds a tree of that depth.
const DEPTH_MAX: usize = 64;
const OPERATORS_MAX: usize = 300;
const ACCESSES_MAX: usize = 1_500;

/// Where a rule of the text becomes too large, and what for.
pub(super) fn too_large(text: &str) -> Option<(Range<usize>, String)> {
    let (mut depth, mut operators, mut accesses) = (0_usize, 0_usize, 0_usize);
    let mut bytes = text.bytes().enumerate().peekable();
    while let Some((at, byte)) = bytes.next() {
        let next = bytes.peek().map(|(_, b)| *b);
        match byte {
            b'"' => {
                while let Some((_, inside)) = bytes.next() {
                    match inside {
                        b'\\' => drop(bytes.next()),
                        b'"' => break,
                        _ => {}
                    }
                }
            }
            b'/' if next == Some(b'/') => while bytes.next_if(|(_, b)| *b != b'\n').is_some() {},
            b';' => (depth, operators, accesses) = (0, 0, 0),
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            b'&' | b'|' if next == Some(byte) => {
                bytes.next();
                operators += 1;
            }
            b'+' | b'-' | b'*' | b'!' => operators += 1,
            b'.' => accesses += 1,
            _ => {}
        }
        for (found, most, what) in [
            (depth, DEPTH_MAX, "brackets in one another"),
            (operators, OPERATORS_MAX, "operators in one rule"),
            (accesses, ACCESSES_MAX, "attributes in one rule"),
        ] {
            if found > most {
                return Some((at..at + 1, format!("more than {most} {what}")));
            }
        }
    }
    None
}
