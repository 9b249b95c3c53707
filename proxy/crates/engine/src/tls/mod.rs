//! TLS towards clients: what a listener's certificates and a host's terms become, and the
//! handshake that they are used in.
//!
//! Rules: configurations are made with the table, never for a handshake. A handshake runs in its
//! connection's task, within the time that the listener gives a head.

mod certificate;
mod handshake;
mod hello;
mod name;
mod session;
mod verification;

pub(crate) use certificate::certificates;
pub use certificate::{Certificate, Server};
pub(crate) use handshake::{Begun, begin};
#[cfg(any(test, fuzzing))]
pub(crate) use hello::{Opening, look};
#[cfg(any(test, fuzzing))]
pub(crate) use name::Names;
pub(crate) use session::Tls;
pub use verification::{Verification, Verifications};

use std::sync::{Arc, LazyLock};

use rustls::AlertDescription;
use rustls::crypto::{CryptoProvider, aws_lc_rs};

/// The protocols that are offered by ALPN, most wanted first.
pub(crate) const ALPN_PROTOCOLS: &[&[u8]] = &[b"h2", b"http/1.1"];

/// The one provider of cryptography.
pub(crate) fn provider() -> &'static Arc<CryptoProvider> {
    static PROVIDER: LazyLock<Arc<CryptoProvider>> =
        LazyLock::new(|| Arc::new(aws_lc_rs::default_provider()));
    &PROVIDER
}

/// A fatal alert in its record, for a client that there is no session with.
/// Source: RFC 8446, sections 5.1 and 6.
pub(crate) fn alert(description: AlertDescription) -> Vec<u8> {
    const ALERT: u8 = 21;
    const FATAL: u8 = 2;
    vec![ALERT, 3, 3, 0, 2, FATAL, description.into()]
}
