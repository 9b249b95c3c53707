//! Certificates with their keys, compiled once for everybody who shows them.

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use super::transport::crypto;
use super::wire;

/// Compiles a certificate chain and its private key.
///
/// # Errors
/// One sentence: which of them is wrong. It says nothing of the key.
pub(super) fn compile(wire: &wire::Certificate) -> Result<CertifiedKey, String> {
    let chain = chain("the certificate chain", &wire.chain)?;
    let key = PrivateKeyDer::from_pem_slice(wire.private_key.as_bytes())
        .map_err(|_| "the private key is not a PEM private key".to_owned())?;
    CertifiedKey::from_der(chain, key, crypto())
        .map_err(|err| format!("the certificate and the private key cannot be used: {err}"))
}

/// The certificates of a PEM text, of which there is at least one; `name` is what they are.
pub(super) fn chain(name: &str, pem: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    match chain {
        Ok(chain) if !chain.is_empty() => Ok(chain),
        Ok(_) => Err(format!("{name} has no PEM certificate")),
        Err(err) => Err(format!("{name} is not PEM: {err}")),
    }
}
