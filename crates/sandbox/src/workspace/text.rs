//! Paths as text that loses no byte: what is not printable UTF-8, and `%` itself, stands as `%XX`.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// The path as one line of UTF-8 that [`unescape`] takes back to the same bytes. Spaces, controls, `%`, a backslash and
/// bytes that are no UTF-8 stand as `%XX`.
#[must_use]
pub fn escape(path: &Path) -> String {
    let mut out = String::new();
    for chunk in path.as_os_str().as_bytes().utf8_chunks() {
        for c in chunk.valid().chars() {
            if c == '%' || c == '\\' || c.is_whitespace() || c.is_control() {
                let mut utf8 = [0; 4];
                hex(&mut out, c.encode_utf8(&mut utf8).as_bytes());
            } else {
                out.push(c);
            }
        }
        hex(&mut out, chunk.invalid());
    }
    out
}

fn hex(out: &mut String, bytes: &[u8]) {
    for b in bytes {
        out.push_str(&format!("%{b:02X}"));
    }
}

/// The path that [`escape`] wrote; `None` for text that it never writes.
#[must_use]
pub fn unescape(text: &str) -> Option<PathBuf> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(b) = rest.next() {
        if b == b'%' {
            let digits = [rest.next()?, rest.next()?];
            out.push(u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?);
        } else {
            out.push(b);
        }
    }
    let path = PathBuf::from(OsString::from_vec(out));
    (escape(&path) == text).then_some(path)
}

/// For `#[serde(with)]` on paths.
pub(super) mod serde_path {
    use super::{escape, unescape};
    use serde::{Deserialize, Deserializer, Serializer, de::Error as _};
    use std::path::{Path, PathBuf};

    pub fn serialize<S: Serializer>(path: &Path, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&escape(path))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<PathBuf, D::Error> {
        let text = String::deserialize(from)?;
        unescape(&text).ok_or_else(|| D::Error::custom(format!("`{text}` is no escaped path")))
    }
}
