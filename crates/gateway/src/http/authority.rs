//! The session's own certificate authority: inside the sandbox it is trusted, outside nobody knows of it, and its key is never
//! written anywhere.

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::crypto::ring::sign::any_ecdsa_type;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::CertifiedKey;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Hosts whose certificates are kept for the next connection; of more, all are made anew.
const HOSTS_MAX: usize = 1024;

/// Makes certificates for the hosts that an agent connects to.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
    made: Mutex<BTreeMap<String, Arc<CertifiedKey>>>,
}

/// A key or certificate could not be made.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// By the certificate library.
    #[error("can't make a certificate: {0}")]
    Certificate(#[from] rcgen::Error),
    /// By the TLS library.
    #[error("can't use a key: {0}")]
    Key(#[from] rustls::Error),
}

impl Authority {
    /// One that lives as long as this value.
    ///
    /// # Errors
    /// [`AuthorityError`] when there is no randomness to be had.
    pub fn new() -> Result<Self, AuthorityError> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(Vec::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.distinguished_name = named("Flyball session authority");
        let pem = params.self_signed(&key)?.pem();
        Ok(Self { issuer: Issuer::new(params, key), pem, made: Mutex::default() })
    }

    /// Its certificate, for the trust stores inside the sandbox.
    #[must_use]
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// The certificate and key of a host.
    ///
    /// # Errors
    /// [`AuthorityError`] when the host's name can stand in no certificate.
    pub fn certified(&self, host: &str) -> Result<Arc<CertifiedKey>, AuthorityError> {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(there) = made.get(host) {
            return Ok(Arc::clone(there));
        }
        if made.len() >= HOSTS_MAX {
            made.clear();
        }
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(vec![host.to_owned()])?;
        params.distinguished_name = named("Flyball session");
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let certificate = params.signed_by(&key, &self.issuer)?;
        let der = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let certified = Arc::new(CertifiedKey::new(vec![certificate.der().clone()], any_ecdsa_type(&der)?));
        made.insert(host.to_owned(), Arc::clone(&certified));
        Ok(certified)
    }
}

fn named(name: &str) -> DistinguishedName {
    let mut out = DistinguishedName::new();
    out.push(DnType::CommonName, name);
    out
}
