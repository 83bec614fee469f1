//! Java's own form of a trust store, as `keytool` writes it (JKS, version 2): every Java since 1.2 reads it in place of its `cacerts`.
//!
//! There is no secret in it: the password that it is sealed with is the one that everybody knows.

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use sha1::{Digest, Sha1};

const MAGIC: u32 = 0xfeed_feed;
const VERSION: u32 = 2;
const TRUSTED_CERTIFICATE: u32 = 2;
const PASSWORD: &str = "changeit";
/// What `sun.security.provider.JavaKeyStore` puts between password and content.
const SALT: &[u8] = b"Mighty Aphrodite";
/// Longest certificate that is taken over, and how many are.
const CERTIFICATE_BYTES_MAX: usize = 64 << 10;
const CERTIFICATES_MAX: usize = 4096;

/// The certificates of a PEM bundle as such a store.
#[must_use]
pub fn java_trust(bundle: &[u8]) -> Vec<u8> {
    let all = CertificateDer::pem_slice_iter(bundle).filter_map(Result::ok);
    let all: Vec<_> = all.filter(|der| der.len() <= CERTIFICATE_BYTES_MAX).collect();
    // The session's own is last in the bundle: of too many the first are left out.
    let all = all.get(all.len().saturating_sub(CERTIFICATES_MAX)..).unwrap_or_default();
    let mut out = Vec::with_capacity(bundle.len());
    for word in [MAGIC, VERSION, all.len() as u32] {
        out.extend(word.to_be_bytes());
    }
    for (n, der) in all.iter().enumerate() {
        out.extend(TRUSTED_CERTIFICATE.to_be_bytes());
        text(&mut out, &format!("trusted-{n}"));
        out.extend(0_u64.to_be_bytes());
        text(&mut out, "X.509");
        out.extend((der.len() as u32).to_be_bytes());
        out.extend(der.as_ref());
    }
    let mut seal = Sha1::new();
    PASSWORD.encode_utf16().for_each(|unit| seal.update(unit.to_be_bytes()));
    seal.update(SALT);
    seal.update(&out);
    out.extend(seal.finalize());
    out
}

/// Java's `writeUTF` of plain characters.
fn text(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u16).to_be_bytes());
    out.extend(text.as_bytes());
}
