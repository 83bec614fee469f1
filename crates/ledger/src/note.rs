//! Signed notes (<https://c2sp.org/signed-note>) and tree checkpoints (<https://c2sp.org/tlog-checkpoint>): parsing,
//! signing, verifying. Bytes in, values out.

use crate::{
    Digest, LedgerError,
    vkey::{Vkey, is_name},
};
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use ed25519_dalek::{Signer as _, SigningKey, VerifyingKey};

const ED25519: u8 = 1;
const SIGNATURES_MAX: usize = 100;
const NOTE_BYTES_MAX: usize = 64 * 1024;

/// A public key that signs notes under a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoteVerifier(Vkey<ED25519>);

impl NoteVerifier {
    /// A key under a name; `None` if the name is empty or has spaces or a plus.
    #[must_use]
    pub fn new(name: &str, key: VerifyingKey) -> Option<Self> {
        Vkey::new(name, key).map(Self)
    }

    /// Reads the text form `NAME+KEYID+BASE64` (a "vkey").
    ///
    /// # Errors
    /// [`LedgerError::Malformed`], also when the key's id is not the one of its bytes.
    pub fn parse(text: &str) -> Result<Self, LedgerError> {
        Vkey::parse(text, "a verifier key").map(Self)
    }

    /// The name it signs under.
    #[must_use]
    pub fn name(&self) -> &str {
        self.0.name()
    }

    /// SHA-256(name || 0x0A || 0x01 || key), first four bytes.
    #[must_use]
    pub fn id(&self) -> [u8; 4] {
        self.0.id()
    }

    /// The public key.
    pub(crate) fn key_bytes(&self) -> &[u8; 32] {
        self.0.key_bytes()
    }

    /// Whether these bytes are its signature over those.
    pub(crate) fn has_signed(&self, signed: &[u8], signature: &[u8]) -> bool {
        self.0.has_signed(signed, signature)
    }

    /// The text form `NAME+KEYID+BASE64`.
    #[must_use]
    pub fn to_vkey(&self) -> String {
        self.0.to_text()
    }
}

/// A note: a text and the signatures under it, none of them verified yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// The signed text, with its last newline.
    pub text: String,
    /// Name, key id and signature bytes of each line.
    pub signatures: Vec<(String, [u8; 4], Vec<u8>)>,
}

impl Note {
    /// Reads a note in bounded time.
    ///
    /// # Errors
    /// [`LedgerError::Malformed`].
    pub fn parse(bytes: &[u8]) -> Result<Self, LedgerError> {
        let bad = |cause: &str| LedgerError::Malformed { what: "a signed note", cause: cause.to_owned() };
        if bytes.len() > NOTE_BYTES_MAX {
            return Err(bad("it is too long"));
        }
        let all = std::str::from_utf8(bytes).map_err(|_| bad("it is not UTF-8"))?;
        if all.bytes().any(|b| b < 0x20 && b != b'\n') {
            return Err(bad("it has control characters"));
        }
        let split = all.rfind("\n\n").ok_or_else(|| bad("it has no signatures"))?;
        let (text, lines) = (all.get(..=split).unwrap_or_default(), all.get(split + 2..).unwrap_or_default());
        let lines = lines.strip_suffix('\n').ok_or_else(|| bad("its last line is cut off"))?;
        let mut signatures = Vec::new();
        for line in lines.split('\n') {
            let parsed = line.strip_prefix("— ").and_then(|rest| rest.split_once(' ')).and_then(|(name, data)| {
                let data = BASE64.decode(data).ok()?;
                let (id, signature) = data.split_first_chunk::<4>()?;
                (is_name(name) && !signature.is_empty()).then(|| (name.to_owned(), *id, signature.to_vec()))
            });
            signatures.push(parsed.ok_or_else(|| bad("a signature line is malformed"))?);
            if signatures.len() > SIGNATURES_MAX {
                return Err(bad("it has over 100 signatures"));
            }
        }
        Ok(Self { text: text.to_owned(), signatures })
    }

    /// Whether `verifier` signed this text. As the specification asks, a false signature under the key's name and id
    /// makes the whole note false, however many others there are.
    #[must_use]
    pub fn is_signed_by(&self, verifier: &NoteVerifier) -> bool {
        let id = verifier.id();
        let mut theirs = self.signatures.iter().filter(|(n, i, _)| *n == verifier.name() && *i == id).peekable();
        theirs.peek().is_some() && theirs.all(|(_, _, bytes)| verifier.has_signed(self.text.as_bytes(), bytes))
    }
}

/// Signs `text`, which ends in a newline, and gives the whole note.
pub(crate) fn sign(text: &str, verifier: &NoteVerifier, key: &SigningKey) -> String {
    format!("{text}\n{}", signature_line(text, verifier, key))
}

/// The line of one more signature under `text`.
pub(crate) fn signature_line(text: &str, verifier: &NoteVerifier, key: &SigningKey) -> String {
    let mut data = verifier.id().to_vec();
    data.extend(key.sign(text.as_bytes()).to_bytes());
    format!("— {} {}\n", verifier.name(), BASE64.encode(data))
}

/// A tree head: who keeps the tree, how many leaves it has, and its root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The ledger's name.
    pub origin: String,
    /// The number of leaves.
    pub size: u64,
    /// The root.
    pub root: Digest,
}

impl Checkpoint {
    /// The text that is signed: origin, size and root in base64, a line each.
    #[must_use]
    pub fn to_text(&self) -> String {
        format!("{}\n{}\n{}\n", self.origin, self.size, BASE64.encode(self.root.0))
    }

    /// Reads a note's text; extension lines are passed over.
    ///
    /// # Errors
    /// [`LedgerError::Malformed`].
    pub fn parse(text: &str) -> Result<Self, LedgerError> {
        let bad = |cause: &str| LedgerError::Malformed { what: "a checkpoint", cause: cause.to_owned() };
        let mut lines = text.strip_suffix('\n').ok_or_else(|| bad("it is cut off"))?.split('\n');
        let (Some(origin), Some(digits), Some(root)) = (lines.next(), lines.next(), lines.next()) else {
            return Err(bad("it has fewer than three lines"));
        };
        let size: u64 = digits.parse().map_err(|_| bad("its size is not a number"))?;
        if origin.is_empty() || size.to_string() != digits || lines.any(str::is_empty) {
            return Err(bad("its lines are malformed"));
        }
        let root = BASE64.decode(root).ok().and_then(|bytes| Digest::from_slice(&bytes));
        Ok(Self { origin: origin.to_owned(), size, root: root.ok_or_else(|| bad("its root is not a digest"))? })
    }

    /// Reads a signed checkpoint and holds it against the ledger's key.
    ///
    /// # Errors
    /// [`LedgerError::Malformed`] for a text that is no checkpoint of `verifier`'s, signed by it.
    pub fn open(note: &str, verifier: &NoteVerifier) -> Result<Self, LedgerError> {
        let bad = |cause: String| LedgerError::Malformed { what: "a checkpoint", cause };
        let note = Note::parse(note.as_bytes())?;
        let checkpoint = Self::parse(&note.text)?;
        if checkpoint.origin != verifier.name() {
            return Err(bad(format!("it is one of `{}`, not of `{}`", checkpoint.origin, verifier.name())));
        }
        if !note.is_signed_by(verifier) {
            return Err(bad(format!("it is not signed by `{}`", verifier.to_vkey())));
        }
        Ok(checkpoint)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn readers_end_on_any_input(bytes: Vec<u8>, text in "(— )?[a-z+/=\\n 0-9—]{0,200}\n?") {
            let _ = Note::parse(&bytes);
            for text in [text.as_str(), &String::from_utf8_lossy(&bytes)] {
                let _ = (Note::parse(text.as_bytes()), Checkpoint::parse(text), NoteVerifier::parse(text));
            }
        }

        #[test]
        fn what_is_signed_is_read_back(seed: [u8; 32], size: u64, root: [u8; 32], flip: prop::sample::Index) {
            let key = SigningKey::from_bytes(&seed);
            let verifier = NoteVerifier::new("a/b", key.verifying_key()).unwrap();
            prop_assert_eq!(&NoteVerifier::parse(&verifier.to_vkey()).unwrap(), &verifier);
            let checkpoint = Checkpoint { origin: "a/b".into(), size, root: Digest(root) };
            let note = sign(&checkpoint.to_text(), &verifier, &key);
            prop_assert_eq!(Checkpoint::open(&note, &verifier).unwrap(), checkpoint);
            let mut bad = note.into_bytes();
            let at = flip.index(bad.len());
            *bad.get_mut(at).unwrap() ^= 1;
            prop_assert!(String::from_utf8(bad).map_or(true, |bad| Checkpoint::open(&bad, &verifier).is_err()));
        }
    }
}
