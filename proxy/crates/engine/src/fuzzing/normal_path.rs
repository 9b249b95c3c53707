//! A path has one normal form: its own, without dot segments, and of whatever means the same.

use crate::message::{normalise, without_empty_segments};

pub fn check(bytes: &[u8]) {
    let Ok(normal) = normalise(bytes) else {
        return;
    };
    assert_eq!(normalise(&normal).as_deref(), Ok(&*normal));
    assert!(normal.starts_with(b"/") && normal.iter().all(u8::is_ascii_graphic));
    let mut segments = normal.split(|byte| *byte == b'/');
    assert!(
        !segments.any(|segment| matches!(segment, b"." | b"..")),
        "{normal:?}"
    );
    for at in 0..normal.len() {
        assert_eq!(
            normalise(&escaped(&normal, at)).as_deref(),
            Ok(&*normal),
            "{at}"
        );
    }
    let matched = without_empty_segments(&normal);
    assert_eq!(normalise(&matched).as_deref(), Ok(&*matched));
    assert_eq!(without_empty_segments(&matched), matched);
}

/// The same with the byte there as an escape, if that means the same.
fn escaped(path: &[u8], at: usize) -> Vec<u8> {
    let is_unreserved = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let is_in_an_escape = path[at.saturating_sub(2)..at].contains(&b'%');
    if !is_unreserved(path[at]) || is_in_an_escape {
        return path.to_vec();
    }
    let escape = format!("%{:02x}", path[at]);
    [&path[..at], escape.as_bytes(), &path[at + 1..]].concat()
}

#[must_use]
pub fn seeds() -> Vec<Vec<u8>> {
    let own = [
        &b"/a//%2e%2E/b/./c"[..],
        b"/caf\xc3\xa9 |\\",
        b"/%25%36%31/..;/%2f",
    ];
    let own = own.iter().map(|bytes| bytes.to_vec());
    own.chain(super::vectors::of_cases("paths.json", "target"))
        .collect()
}
