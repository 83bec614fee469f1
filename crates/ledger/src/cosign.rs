//! Cosignatures (<https://c2sp.org/tlog-cosignature>): a witness says that it saw this checkpoint, and that what it saw before is
//! a beginning of it.

use crate::{
    Digest, LedgerError,
    note::{Note, is_name},
};
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};

const COSIGNATURE_V1: u8 = 4;

/// A witness's public key under its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cosigner {
    name: String,
    key: VerifyingKey,
}

impl Cosigner {
    /// A key under a name; `None` if the name is empty or has spaces or a plus.
    #[must_use]
    pub fn new(name: &str, key: VerifyingKey) -> Option<Self> {
        is_name(name).then(|| Self { name: name.to_owned(), key })
    }

    /// Reads the text form `NAME+ID+BASE64` of a key that cosigns.
    ///
    /// # Errors
    /// [`LedgerError::Malformed`].
    pub fn parse(text: &str) -> Result<Self, LedgerError> {
        let bad = |cause: &str| LedgerError::Malformed { what: "a witness's key", cause: cause.to_owned() };
        let mut parts = text.trim_end().splitn(3, '+');
        let (Some(name), Some(id), Some(data)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(bad("it is not `NAME+ID+KEY`"));
        };
        let data = BASE64.decode(data).map_err(|_| bad("its key is not base64"))?;
        let Some((&COSIGNATURE_V1, key)) = data.split_first() else {
            return Err(bad("it is not of the type that cosigns with Ed25519 (4)"));
        };
        let key = key.try_into().ok().and_then(|bytes| VerifyingKey::from_bytes(bytes).ok());
        let cosigner = key.and_then(|key| Self::new(name, key)).ok_or_else(|| bad("its name or key is invalid"))?;
        if id != crate::digest::to_hex(&cosigner.id()) {
            return Err(bad("its id is not the one of its name and key"));
        }
        Ok(cosigner)
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// SHA-256(name || 0x0A || 0x04 || key), first four bytes.
    #[must_use]
    pub fn id(&self) -> [u8; 4] {
        let mut bytes = self.name.clone().into_bytes();
        bytes.extend([b'\n', COSIGNATURE_V1]);
        bytes.extend(self.key.as_bytes());
        let [a, b, c, d, ..] = Digest::of(&bytes).0;
        [a, b, c, d]
    }

    /// The text form `NAME+ID+BASE64`.
    #[must_use]
    pub fn to_vkey(&self) -> String {
        let mut data = vec![COSIGNATURE_V1];
        data.extend(self.key.as_bytes());
        format!("{}+{}+{}", self.name, crate::digest::to_hex(&self.id()), BASE64.encode(data))
    }

    /// When this witness cosigned the note, in seconds since the Unix epoch; `None` if it did not, or a line under its name and
    /// id is false.
    #[must_use]
    pub fn cosigned_at(&self, note: &Note) -> Option<u64> {
        let id = self.id();
        let mut at = None;
        for (_, _, bytes) in note.signatures.iter().filter(|(name, i, _)| *name == self.name && *i == id) {
            let (time, signature) = bytes.split_first_chunk::<8>()?;
            let time = u64::from_be_bytes(*time);
            let signature = Signature::from_slice(signature).ok()?;
            self.key.verify_strict(message(time, &note.text).as_bytes(), &signature).ok()?;
            at = Some(time);
        }
        at
    }
}

/// The line by which a witness cosigns `text` at `time`, seconds since the Unix epoch.
pub(crate) fn line(text: &str, cosigner: &Cosigner, key: &SigningKey, time: u64) -> String {
    let mut data = cosigner.id().to_vec();
    data.extend(time.to_be_bytes());
    data.extend(key.sign(message(time, text).as_bytes()).to_bytes());
    format!("— {} {}\n", cosigner.name, BASE64.encode(data))
}

fn message(time: u64, text: &str) -> String {
    format!("cosignature/v1\ntime {time}\n{text}")
}
