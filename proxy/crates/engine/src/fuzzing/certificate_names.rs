//! The names in a certificate are printable ASCII, whatever the certificate's bytes are.

use crate::tls::Names;

pub fn check(bytes: &[u8]) {
    let names = Names::of(bytes);
    for text in [&names.subject, &names.issuer] {
        assert!(
            text.bytes().all(|byte| matches!(byte, b' '..=b'~')),
            "{text:?}"
        );
        // Each byte is written as `\XX` at most, an identifier's as digits and dots.
        assert!(text.len() <= 64 + 8 * bytes.len());
    }
}

/// Issuer `CN=Root`; subject of two parts, one with a UTF-8 string and one with a BMP string and
/// an identifier that has no short name.
#[must_use]
pub fn seeds() -> Vec<Vec<u8>> {
    const ISSUER: &[u8] = b"\x30\x0f\x31\x0d\x30\x0b\x06\x03\x55\x04\x03\x13\x04Root";
    const SUBJECT: &[u8] = b"\x30\x1f\x31\x0d\x30\x0b\x06\x03\x55\x04\x0a\x0c\x04Shop\
        \x31\x0e\x30\x0c\x06\x04\x2a\x86\x48\x01\x1e\x04\0a\0b";
    let tbs = [&b"\x02\x01\x01\x30\0"[..], ISSUER, b"\x30\0", SUBJECT].concat();
    let tbs = [&[0x30, tbs.len() as u8][..], &tbs].concat();
    let whole = [&[0x30, 0x81, tbs.len() as u8][..], &tbs].concat();
    assert_ne!(
        Names::of(&whole),
        Names::default(),
        "the seed is no certificate"
    );
    vec![whole]
}
