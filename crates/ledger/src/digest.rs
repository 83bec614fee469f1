//! SHA-256 digests: 32 bytes, written `sha256:` and 64 lower-case hexadecimal digits.

use crate::LedgerError;
use ring::digest::{Context, SHA256};
use std::{fmt, str::FromStr};

const PREFIX: &str = "sha256:";
const TEXT_BYTES: usize = PREFIX.len() + 64;

/// A SHA-256 digest.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// The digest of `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        let mut hasher = Hasher::new();
        hasher.update(bytes);
        hasher.finish()
    }

    /// Whether that is its text.
    #[must_use]
    pub fn is(&self, text: &str) -> bool {
        self.text(&mut [0; TEXT_BYTES]) == text
    }

    /// 64 hexadecimal digits, without the prefix.
    #[must_use]
    pub fn to_hex(self) -> String {
        to_hex(&self.0)
    }

    /// The whole text, made in `room`.
    fn text<'r>(&self, room: &'r mut [u8; TEXT_BYTES]) -> &'r str {
        let (head, digits) = room.split_at_mut(PREFIX.len());
        head.copy_from_slice(PREFIX.as_bytes());
        for (pair, byte) in digits.chunks_exact_mut(2).zip(self.0) {
            pair.copy_from_slice(&[hex(byte >> 4), hex(byte)]);
        }
        std::str::from_utf8(room).unwrap_or_default()
    }

    pub(crate) fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text(&mut [0; TEXT_BYTES]))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Digest {
    type Err = LedgerError;

    /// Reads `sha256:` and 64 lower-case hexadecimal digits; the prefix may be left out.
    fn from_str(text: &str) -> Result<Self, LedgerError> {
        let bad = || LedgerError::Malformed {
            what: "a digest",
            cause: format!("`{text}` is not `sha256:` and 64 hexadecimal digits"),
        };
        let digits = text.strip_prefix("sha256:").unwrap_or(text).as_bytes();
        if digits.len() != 64 {
            return Err(bad());
        }
        let mut out = [0u8; 32];
        for (byte, pair) in out.iter_mut().zip(digits.chunks_exact(2)) {
            let mut value = 0;
            for &digit in pair {
                let nibble = match digit {
                    b'0'..=b'9' => digit - b'0',
                    b'a'..=b'f' => digit - b'a' + 10,
                    _ => return Err(bad()),
                };
                value = value << 4 | nibble;
            }
            *byte = value;
        }
        Ok(Self(out))
    }
}

impl serde::Serialize for Digest {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.text(&mut [0; TEXT_BYTES]))
    }
}

impl<'de> serde::Deserialize<'de> for Digest {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

pub(crate) fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().flat_map(|&b| [char::from(hex(b >> 4)), char::from(hex(b))]).collect()
}

/// The digit of the lower four bits.
fn hex(bits: u8) -> u8 {
    let bits = bits & 15;
    if bits < 10 { b'0' + bits } else { b'a' + (bits - 10) }
}

/// A SHA-256 over several pieces.
pub(crate) struct Hasher(Context);

impl Hasher {
    pub(crate) fn new() -> Self {
        Self(Context::new(&SHA256))
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub(crate) fn finish(self) -> Digest {
        let mut digest = Digest([0; 32]);
        digest.0.iter_mut().zip(self.0.finish().as_ref()).for_each(|(to, from)| *to = *from);
        digest
    }
}
