//! Signed statements: DSSE envelopes (<https://github.com/secure-systems-lab/dsse>, protocol and envelope v1) under the ledger's
//! Ed25519 key. Bytes in, values out; what a payload says is for others.

use crate::{Ledger, LedgerError, NoteVerifier, key};
use base64::{
    Engine as _,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig, general_purpose::STANDARD as BASE64},
};
use ed25519_dalek::Signer as _;
use serde::{Deserialize, Serialize};

/// Longest envelope, bytes: one names every rule and question of a session, and no content.
pub const ENVELOPE_BYTES_MAX: usize = 32 << 20;
const SIGNATURES_MAX: usize = 100;
/// The standard lets writers pad or not, in either alphabet.
const LENIENT: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);

/// A payload with signatures over it, none of them verified yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// What the payload is.
    pub payload_type: String,
    /// The signed bytes.
    pub payload: Vec<u8>,
    /// What each signature says of its key (nobody signed that), and its bytes.
    pub signatures: Vec<(String, Vec<u8>)>,
}

/// As it is written; fields of later versions are passed over, as the standard asks.
#[derive(Serialize, Deserialize)]
struct Wire {
    #[serde(rename = "payloadType")]
    payload_type: String,
    payload: String,
    signatures: Vec<WireSignature>,
}

#[derive(Serialize, Deserialize)]
struct WireSignature {
    #[serde(default)]
    keyid: String,
    sig: String,
}

impl Envelope {
    /// Reads an envelope in bounded time.
    ///
    /// # Errors
    /// [`LedgerError::Malformed`].
    pub fn parse(bytes: &[u8]) -> Result<Self, LedgerError> {
        let bad = |cause: String| LedgerError::Malformed { what: "a DSSE envelope", cause };
        if bytes.len() > ENVELOPE_BYTES_MAX {
            return Err(bad("it is too long".into()));
        }
        let wire: Wire = serde_json::from_slice(bytes).map_err(|e| bad(e.to_string()))?;
        if wire.signatures.is_empty() || wire.signatures.len() > SIGNATURES_MAX {
            return Err(bad(format!("it has {} signatures", wire.signatures.len())));
        }
        let payload = decode(&wire.payload).ok_or_else(|| bad("its payload is not base64".into()))?;
        let signatures = wire.signatures.into_iter().map(|s| Some((s.keyid, decode(&s.sig)?)));
        let signatures: Option<Vec<_>> = signatures.collect();
        let signatures = signatures.ok_or_else(|| bad("a signature is not base64".into()))?;
        Ok(Self { payload_type: wire.payload_type, payload, signatures })
    }

    /// The JSON that [`Envelope::parse`] reads, on one line.
    ///
    /// # Errors
    /// [`LedgerError::Malformed`] for one over the limit.
    pub fn to_bytes(&self) -> Result<Vec<u8>, LedgerError> {
        let bad = |cause: String| LedgerError::Malformed { what: "a DSSE envelope", cause };
        let signature =
            |(keyid, sig): &(String, Vec<u8>)| WireSignature { keyid: keyid.clone(), sig: BASE64.encode(sig) };
        let wire = Wire {
            payload_type: self.payload_type.clone(),
            payload: BASE64.encode(&self.payload),
            signatures: self.signatures.iter().map(signature).collect(),
        };
        let mut bytes = serde_json::to_vec(&wire).map_err(|e| bad(e.to_string()))?;
        bytes.push(b'\n');
        if bytes.len() > ENVELOPE_BYTES_MAX { Err(bad("it would be too long".into())) } else { Ok(bytes) }
    }

    /// Whether this key signed it. A key's id is a hint only: each signature is tried.
    #[must_use]
    pub fn is_signed_by(&self, verifier: &NoteVerifier) -> bool {
        let signed = pae(&self.payload_type, &self.payload);
        self.signatures.iter().any(|(_, sig)| verifier.has_signed(&signed, sig))
    }
}

fn decode(text: &str) -> Option<Vec<u8>> {
    let is_url = text.bytes().any(|b| matches!(b, b'-' | b'_'));
    let alphabet = if is_url { base64::alphabet::URL_SAFE } else { base64::alphabet::STANDARD };
    GeneralPurpose::new(&alphabet, LENIENT).decode(text).ok()
}

/// What is signed: type and payload, each with its length, so that neither can be taken for part of the other.
fn pae(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let mut out = format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len()).into_bytes();
    out.extend(payload);
    out
}

impl NoteVerifier {
    /// How an envelope names this key: `NAME+ID`, as the line under a checkpoint and the beginning of its text form do.
    #[must_use]
    pub fn key_id(&self) -> String {
        format!("{}+{}", self.name(), crate::digest::to_hex(&self.id()))
    }
}

impl Ledger {
    /// Signs a payload with the ledger's key.
    ///
    /// # Errors
    /// Those of the key: it is missing, or not this reader's to use.
    pub fn seal(&self, payload_type: &str, payload: Vec<u8>) -> Result<Envelope, LedgerError> {
        let signing = key::open(self.dir(), false)?.signing;
        let unusable = || LedgerError::Key { path: self.dir().join("keys"), cause: "its name can't be used".into() };
        let verifier = NoteVerifier::new(self.verifier().name(), signing.verifying_key()).ok_or_else(unusable)?;
        let sig = signing.sign(&pae(payload_type, &payload)).to_bytes().to_vec();
        Ok(Envelope { payload_type: payload_type.to_owned(), payload, signatures: vec![(verifier.key_id(), sig)] })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

    use super::*;
    use proptest::prelude::*;

    /// The example of the standard.
    #[test]
    fn the_signed_bytes_are_those_of_the_standard() {
        let signed = pae("http://example.com/HelloWorld", b"hello world");
        assert_eq!(signed, b"DSSEv1 29 http://example.com/HelloWorld 11 hello world");
    }

    #[test]
    fn what_is_sealed_is_read_back_and_nothing_else_holds() {
        let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (ledger, other) = (Ledger::open(dir.path()).unwrap(), Ledger::open(other.path()).unwrap());
        let sealed = ledger.seal("text/plain", b"what was done \xff".to_vec()).unwrap();
        let bytes = sealed.to_bytes().unwrap();
        assert_eq!(Envelope::parse(&bytes).unwrap(), sealed);
        assert!(sealed.is_signed_by(ledger.verifier()) && !sealed.is_signed_by(other.verifier()));
        assert!(ledger.verifier().to_vkey().starts_with(&format!("{}+", sealed.signatures[0].0)));
        let changed = |change: &dyn Fn(&mut Envelope)| {
            let mut changed = sealed.clone();
            change(&mut changed);
            changed.is_signed_by(ledger.verifier())
        };
        assert!(!changed(&|e| e.payload_type.push('x')));
        assert!(!changed(&|e| e.payload.push(b' ')));
        assert!(!changed(&|e| e.signatures[0].1[3] ^= 1));
        assert!(!changed(&|e| e.signatures.clear()));
        assert!(changed(&|e| e.signatures[0].0 = "somebody".into()), "the id is a hint");
    }

    proptest! {
        #[test]
        fn readers_end_on_any_input(bytes: Vec<u8>, payload in "[a-zA-Z0-9+/_=-]{0,40}", sig in "[a-zA-Z0-9+/_=-]{0,40}") {
            let _ = Envelope::parse(&bytes);
            let text = format!(r#"{{"payloadType":"t","payload":"{payload}","signatures":[{{"sig":"{sig}"}}],"more":1}}"#);
            if let Ok(envelope) = Envelope::parse(text.as_bytes()) {
                prop_assert_eq!(Envelope::parse(&envelope.to_bytes().unwrap()).unwrap(), envelope);
            }
        }
    }
}
