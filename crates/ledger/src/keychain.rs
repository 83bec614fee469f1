//! The keys that a ledger was signed by, one after the other: each is announced by the one before it, in a note that both
//! signed. A ledger keeps the name of its first key, and that name is all that a stranger has to know of it.

use crate::{
    Digest, LedgerError, key, note,
    note::{Checkpoint, Note, NoteVerifier},
    time,
};
use ed25519_dalek::SigningKey;

/// The first line of the note by which a key follows another.
const ROTATION: &str = "flyball.local/key-rotation/v1";
/// A ledger that changes its key more often than this has another trouble.
pub(crate) const ROTATIONS_MAX: usize = 1000;

/// A key that followed another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rotation {
    /// The tree's size at that moment: checkpoints up to it are the old key's, those from it on the new one's.
    pub size: u64,
    /// When, in nanoseconds since the Unix epoch.
    pub at_ns: u64,
    /// The new key.
    pub to: NoteVerifier,
    /// The note, signed by both.
    pub note: String,
}

/// All keys of a ledger, the first one first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keychain {
    first: NoteVerifier,
    rotations: Vec<Rotation>,
}

impl Keychain {
    /// Of a ledger whose key was never changed.
    #[must_use]
    pub fn new(first: NoteVerifier) -> Self {
        Self { first, rotations: Vec::new() }
    }

    /// Reads the notes by which keys followed the first, and holds each against the key before it.
    ///
    /// # Errors
    /// [`LedgerError::Malformed`] for a note that is none, is not signed by both keys, or does not follow the one before it.
    pub fn read<'n>(first: NoteVerifier, notes: impl IntoIterator<Item = &'n str>) -> Result<Self, LedgerError> {
        let mut chain = Self::new(first);
        for note in notes {
            chain.push(note)?;
        }
        Ok(chain)
    }

    fn push(&mut self, text: &str) -> Result<(), LedgerError> {
        let number = self.rotations.len() + 1;
        let bad =
            |cause: &str| LedgerError::Malformed { what: "a key rotation", cause: format!("number {number} {cause}") };
        if number > ROTATIONS_MAX {
            return Err(bad("is over the limit of 1000"));
        }
        let note = Note::parse(text.as_bytes())?;
        let lines: Vec<&str> = note.text.split('\n').collect();
        let [head, origin, n, size, at, old, new, ""] = lines.as_slice() else { return Err(bad("is not one")) };
        if *head != ROTATION {
            return Err(bad("is not one"));
        }
        if *origin != self.origin() || *n != number.to_string() || *old != self.current().to_vkey() {
            return Err(bad("does not follow the one before it"));
        }
        let size: u64 = size.parse().map_err(|_| bad("has no size"))?;
        let at_ns = time::parse_ns(at).ok_or_else(|| bad("has no time"))?;
        let to = NoteVerifier::parse(new)?;
        if to.name() != self.origin() || size < self.rotations.last().map_or(0, |r| r.size) {
            return Err(bad("does not follow the one before it"));
        }
        if !note.is_signed_by(self.current()) || !note.is_signed_by(&to) {
            return Err(bad("is not signed by the old key and the new one"));
        }
        self.rotations.push(Rotation { size, at_ns, to, note: text.to_owned() });
        Ok(())
    }

    /// The ledger's name, which every checkpoint begins with.
    #[must_use]
    pub fn origin(&self) -> &str {
        self.first.name()
    }

    /// The first key.
    #[must_use]
    pub fn first(&self) -> &NoteVerifier {
        &self.first
    }

    /// The key in force.
    #[must_use]
    pub fn current(&self) -> &NoteVerifier {
        self.rotations.last().map_or(&self.first, |r| &r.to)
    }

    /// Every change of the key, oldest first.
    #[must_use]
    pub fn rotations(&self) -> &[Rotation] {
        &self.rotations
    }

    /// Whether this is one of its keys.
    #[must_use]
    pub fn has(&self, key: &NoteVerifier) -> bool {
        self.first == *key || self.rotations.iter().any(|r| r.to == *key)
    }

    /// Reads a signed checkpoint: one that the key in force at its size has signed. Gives that key too.
    ///
    /// # Errors
    /// [`LedgerError::Malformed`] for any other text.
    pub fn open(&self, note: &str) -> Result<(Checkpoint, &NoteVerifier), LedgerError> {
        let mut failed = None;
        let mut from = 0;
        let keys = std::iter::once((0, &self.first)).chain(self.rotations.iter().map(|r| (r.size, &r.to)));
        let ends = self.rotations.iter().map(|r| r.size).chain([u64::MAX]);
        for ((start, key), end) in keys.zip(ends) {
            from = start.max(from);
            match Checkpoint::open(note, key) {
                Ok(checkpoint) if (from..=end).contains(&checkpoint.size) => return Ok((checkpoint, key)),
                Ok(checkpoint) => {
                    let cause = format!(
                        "`{}` signed it for size {}, when another key was in force",
                        key.to_vkey(),
                        checkpoint.size
                    );
                    failed = Some(LedgerError::Malformed { what: "a checkpoint", cause });
                }
                Err(error) => _ = failed.get_or_insert(error),
            }
        }
        let none = || LedgerError::Malformed { what: "a checkpoint", cause: "there is no key".into() };
        Err(failed.unwrap_or_else(none))
    }

    /// The same chain with another key at its end, announced by the one in force.
    pub(crate) fn rotated(
        &self,
        old: &SigningKey,
        new: &SigningKey,
        size: u64,
        at_ns: u64,
    ) -> Result<Self, LedgerError> {
        let bad = || LedgerError::Malformed { what: "a key", cause: "it cannot sign under the ledger's name".into() };
        let to = NoteVerifier::new(self.origin(), new.verifying_key()).ok_or_else(bad)?;
        let (origin, number, at) = (self.origin(), self.rotations.len() + 1, time::format_ns(at_ns));
        let (from, next) = (self.current().to_vkey(), to.to_vkey());
        let text = format!("{ROTATION}\n{origin}\n{number}\n{size}\n{at}\n{from}\n{next}\n");
        let mut signed = note::sign(&text, self.current(), old);
        signed.push_str(&note::signature_line(&text, &to, new));
        let mut chain = self.clone();
        chain.push(&signed)?;
        Ok(chain)
    }

    /// The first key's name says which key it is: a name that it does not belong to is no ledger's.
    #[must_use]
    pub fn is_self_named(&self) -> bool {
        self.origin() == key::name_of(self.first.key_bytes())
    }

    /// How a person tells a key: the beginning of its digest.
    #[must_use]
    pub fn fingerprint(key: &NoteVerifier) -> String {
        Digest::of(key.key_bytes()).to_string()
    }
}
