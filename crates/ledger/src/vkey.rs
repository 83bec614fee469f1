//! Verifier keys (<https://c2sp.org/signed-note>): a public key under a name, its id, and its text form.

use crate::{Digest, LedgerError};
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use ed25519_dalek::{Signature, VerifyingKey};

/// A public key under a name, of the signature type `TYPE`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Vkey<const TYPE: u8> {
    name: String,
    key: VerifyingKey,
}

impl<const TYPE: u8> Vkey<TYPE> {
    /// `None` if the name is empty or has spaces or a plus.
    pub fn new(name: &str, key: VerifyingKey) -> Option<Self> {
        is_name(name).then(|| Self { name: name.to_owned(), key })
    }

    /// Reads the text form; `what` says what it is to be, for the error.
    pub fn parse(text: &str, what: &'static str) -> Result<Self, LedgerError> {
        let bad = |cause: &str| LedgerError::Malformed { what, cause: cause.to_owned() };
        let mut parts = text.trim_end().splitn(3, '+');
        let (Some(name), Some(id), Some(data)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(bad("it is not `NAME+ID+KEY`"));
        };
        let data = BASE64.decode(data).map_err(|_| bad("its key is not base64"))?;
        let Some(key) = data.split_first().filter(|(found, _)| **found == TYPE).map(|(_, key)| key) else {
            return Err(bad(&format!("its key is not of the type {TYPE}, with Ed25519")));
        };
        let key = key.try_into().ok().and_then(|bytes| VerifyingKey::from_bytes(bytes).ok());
        let vkey = key.and_then(|key| Self::new(name, key)).ok_or_else(|| bad("its name or key is invalid"))?;
        if id != crate::digest::to_hex(&vkey.id()) {
            return Err(bad("its id is not the one of its name and key"));
        }
        Ok(vkey)
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// SHA-256(name || 0x0A || type || key), first four bytes.
    pub fn id(&self) -> [u8; 4] {
        let mut bytes = self.name.clone().into_bytes();
        bytes.extend([b'\n', TYPE]);
        bytes.extend(self.key.as_bytes());
        let [a, b, c, d, ..] = Digest::of(&bytes).0;
        [a, b, c, d]
    }

    pub fn key_bytes(&self) -> &[u8; 32] {
        self.key.as_bytes()
    }

    /// Whether these bytes are its signature over those.
    pub fn has_signed(&self, signed: &[u8], signature: &[u8]) -> bool {
        Signature::from_slice(signature).is_ok_and(|s| self.key.verify_strict(signed, &s).is_ok())
    }

    /// `NAME+ID+BASE64`.
    pub fn to_text(&self) -> String {
        let mut data = vec![TYPE];
        data.extend(self.key.as_bytes());
        format!("{}+{}+{}", self.name, crate::digest::to_hex(&self.id()), BASE64.encode(data))
    }
}

pub(crate) fn is_name(name: &str) -> bool {
    !name.is_empty() && !name.contains('+') && !name.chars().any(char::is_whitespace)
}
