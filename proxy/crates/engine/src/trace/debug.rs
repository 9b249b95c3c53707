//! A person's word that one request is to be recorded, whatever is sampled: `X-Spanway-Debug`.
//!
//! Its value is an expiry and a signature, `{unix seconds}.{64 hex digits}`: HMAC-SHA256 of the
//! seconds as they are written, with a key that operator and person share. So a stranger can force
//! nothing, and what was overheard is of no use after a while. The field ends here: what a trusted
//! proxy sends must not be what a stranger sent it.

use std::fmt;

use aws_lc_rs::hmac;

use super::context::lower_hex;
use crate::limits::DEBUG_LIFE_MAX;

/// The key, which is never shown.
pub struct DebugKey(hmac::Key);

impl DebugKey {
    /// The key with these bytes.
    #[must_use]
    pub fn new(secret: &[u8]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, secret))
    }

    /// Whether the value was signed with the key and has not expired; compared in constant time.
    #[must_use]
    pub fn has_signed(&self, value: &[u8], now_unix_s: u64) -> bool {
        let Some(dot) = memchr::memchr(b'.', value) else {
            return false;
        };
        let (expiry, signature) = (&value[..dot], &value[dot + 1..]);
        let Some(signature) = (signature.len() == 64)
            .then(|| lower_hex::<32>(signature))
            .flatten()
        else {
            return false;
        };
        let is_number = expiry.iter().all(u8::is_ascii_digit);
        let expiry_unix_s = std::str::from_utf8(expiry)
            .ok()
            .and_then(|text| text.parse().ok());
        let latest_unix_s = now_unix_s.saturating_add(DEBUG_LIFE_MAX.as_secs());
        let is_valid = |at: u64| is_number && (now_unix_s..=latest_unix_s).contains(&at);
        hmac::verify(&self.0, expiry, &signature).is_ok() && expiry_unix_s.is_some_and(is_valid)
    }
}

impl fmt::Debug for DebugKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DebugKey(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_800_000_000;

    fn signed(secret: &str, expiry: &str) -> String {
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
        let tag = hmac::sign(&key, expiry.as_bytes());
        let hex = tag.as_ref().iter().fold(String::new(), |hex, byte| {
            let digits = format!("{byte:02x}");
            hex + &digits
        });
        format!("{expiry}.{hex}")
    }

    fn is_taken(value: &str) -> bool {
        DebugKey::new(b"secret").has_signed(value.as_bytes(), NOW)
    }

    #[test]
    fn a_signature_is_good_until_its_expiry() {
        assert!(is_taken(&signed("secret", "1800000000")));
        assert!(is_taken(&signed("secret", "1800003600")));
        assert!(!is_taken(&signed("secret", "1799999999")));
    }

    #[test]
    fn one_that_would_be_good_for_longer_than_a_week_is_not_taken() {
        assert!(is_taken(&signed("secret", "1800604800")));
        assert!(!is_taken(&signed("secret", "1800604801")));
        assert!(!is_taken(&signed("secret", "18446744073709551615")));
    }

    #[test]
    fn another_key_another_expiry_or_another_form_is_not_taken() {
        let good = signed("secret", "1800003600");
        assert!(!is_taken(&signed("other", "1800003600")));
        assert!(!is_taken(&good.replace("1800003600", "1800003601")));
        assert!(!is_taken(&good.to_ascii_uppercase()));
        assert!(!is_taken(&format!("{good}0")));
        for odd in ["", ".", "1", "1.", ".aa", "true", "+1800003600.aa"] {
            assert!(!is_taken(odd), "{odd}");
        }
        assert!(!is_taken(&signed("secret", "+1800003600")));
        assert!(!is_taken(&signed("secret", "")));
    }
}
