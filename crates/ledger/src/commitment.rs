//! Salted commitments: what an entry says of content that may have to be erased.
//!
//! One is SHA-256 of [`TAG`], a random salt of 32 bytes and the content's SHA-256, so that who commits and who verifies hash the content once,
//! however many commit to it. With salt and digest erased it tells nothing: of 2^256 salts each is as likely. Ledgers of before format 3
//! have commitments over the salt and the content itself, and those stay what they are.
//!
//! INVARIANT: nothing that opens as the one kind opens as the other, unless SHA-256 is broken: what is hashed begins with the tag, and no
//! salt of the other kind may be the tag.

use crate::{Digest, digest::Hasher};

const TAG: [u8; 32] = *b"flyball.local/payload-commitment";

/// The salted commitment to the content of this digest.
#[must_use]
pub fn commit(salt: &[u8; 32], digest: &Digest) -> Digest {
    let mut hasher = Hasher::new();
    [&TAG, salt, &digest.0].into_iter().for_each(|part| hasher.update(part));
    hasher.finish()
}

/// A commitment, held against its salt and content that comes piece by piece.
pub(crate) enum Opening {
    OverDigest { commitment: Digest, salt: [u8; 32] },
    OverContent { commitment: Digest, salted: Hasher },
    Never,
}

impl Opening {
    /// `digest` is what the content is said to have.
    pub(crate) fn new(commitment: Digest, salt: &[u8], digest: &Digest) -> Self {
        match <[u8; 32]>::try_from(salt) {
            Ok(salt) if commit(&salt, digest) == commitment => Self::OverDigest { commitment, salt },
            Ok(salt) if salt != TAG => {
                let mut salted = Hasher::new();
                salted.update(&salt);
                Self::OverContent { commitment, salted }
            }
            // A longer salt could have taken in what the content began with.
            _ => Self::Never,
        }
    }

    /// Whether all of the content has to be hashed for it.
    pub(crate) fn is_over_content(&self) -> bool {
        matches!(self, Self::OverContent { .. })
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        if let Self::OverContent { salted, .. } = self {
            salted.update(bytes);
        }
    }

    /// Whether that was what it is of. `digest` is of what came.
    pub(crate) fn opens(self, digest: &Digest) -> bool {
        match self {
            Self::OverDigest { commitment, salt } => commit(&salt, digest) == commitment,
            Self::OverContent { commitment, salted } => salted.finish() == commitment,
            Self::Never => false,
        }
    }
}
