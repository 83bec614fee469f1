//! Cosignatures (<https://c2sp.org/tlog-cosignature>): a witness says that it saw this checkpoint, and that what it saw before is
//! a beginning of it.

use crate::{LedgerError, note::Note, vkey::Vkey};
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use ed25519_dalek::{Signer as _, SigningKey, VerifyingKey};

const COSIGNATURE_V1: u8 = 4;

/// A witness's public key under its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cosigner(Vkey<COSIGNATURE_V1>);

impl Cosigner {
    /// A key under a name; `None` if the name is empty or has spaces or a plus.
    #[must_use]
    pub fn new(name: &str, key: VerifyingKey) -> Option<Self> {
        Vkey::new(name, key).map(Self)
    }

    /// Reads the text form `NAME+ID+BASE64` of a key that cosigns.
    ///
    /// # Errors
    /// [`LedgerError::Malformed`].
    pub fn parse(text: &str) -> Result<Self, LedgerError> {
        Vkey::parse(text, "a witness's key").map(Self)
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.0.name()
    }

    /// SHA-256(name || 0x0A || 0x04 || key), first four bytes.
    #[must_use]
    pub fn id(&self) -> [u8; 4] {
        self.0.id()
    }

    /// The text form `NAME+ID+BASE64`.
    #[must_use]
    pub fn to_vkey(&self) -> String {
        self.0.to_text()
    }

    /// When this witness cosigned the note, in seconds since the Unix epoch; `None` if it did not, or a line under its name and
    /// id is false.
    #[must_use]
    pub fn cosigned_at(&self, note: &Note) -> Option<u64> {
        let id = self.id();
        let mut at = None;
        for (_, _, bytes) in note.signatures.iter().filter(|(name, i, _)| *name == self.name() && *i == id) {
            let (time, signature) = bytes.split_first_chunk::<8>()?;
            let time = u64::from_be_bytes(*time);
            if !self.0.has_signed(message(time, &note.text).as_bytes(), signature) {
                return None;
            }
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
    format!("— {} {}\n", cosigner.name(), BASE64.encode(data))
}

fn message(time: u64, text: &str) -> String {
    format!("cosignature/v1\ntime {time}\n{text}")
}
