//! A rewritten path is one that a client may send; a location stays on its host and in its line.

use std::net::{IpAddr, Ipv4Addr};

use crate::http1::check_path;
use crate::message::normalise;
use crate::table::wire;
use crate::table::{Facts, Redirect, Rewrite};

/// Lines: pattern, replacement, location, path, query.
pub fn check(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let mut lines = text.splitn(5, '\n').map(str::to_owned);
    let mut next = || lines.next().unwrap_or_default();
    let (pattern, replacement, location) = (next(), next(), next());
    let (path, query) = (next(), next());
    if check_path(path.as_bytes()).is_err() || !query.bytes().all(|byte| byte.is_ascii_graphic()) {
        return;
    }
    let Ok(path) = normalise(path.as_bytes()) else {
        return;
    };
    if let Ok(rewrite) = Rewrite::compile(&wire::Rewrite {
        pattern,
        replacement,
    }) {
        check_rewritten(&rewrite, &path);
    }
    for status in [200, 308] {
        let wire = wire::Redirect {
            location: location.clone(),
            status,
        };
        match Redirect::compile(&wire) {
            Ok(redirect) => check_location(&redirect, &location, &path, &query),
            Err(sentence) => assert!(!sentence.contains('\n'), "{sentence:?}"),
        }
    }
}

fn check_rewritten(rewrite: &Rewrite, path: &[u8]) {
    let Ok(Some(rewritten)) = rewrite.apply(path) else {
        return;
    };
    assert!(check_path(&rewritten).is_ok(), "{rewritten:?}");
    assert_eq!(normalise(&rewritten).as_deref(), Ok(&*rewritten));
}

fn check_location(redirect: &Redirect, text: &str, path: &[u8], query: &str) {
    let facts = Facts {
        client: IpAddr::V4(Ipv4Addr::LOCALHOST),
        scheme: "https",
        authority: b"shop.example:8443",
        host: b"shop.example",
        path,
        query: Some(query.as_bytes()),
        request_id: b"",
        trace_id: None,
    };
    let location = redirect.location(&facts).unwrap();
    assert!(location.iter().all(u8::is_ascii_graphic), "{location:?}");
    let location = String::from_utf8_lossy(&location);
    let lower = location.to_ascii_lowercase();
    assert!(
        lower.starts_with("https://") || lower.starts_with("http://"),
        "{location}"
    );
    if text.starts_with('/') || text.starts_with("$path") {
        assert!(
            location.starts_with("https://shop.example:8443/"),
            "{location}"
        );
    }
    // The host is the rule's word or the request's host, never something of the path.
    let authority = |url: &str| {
        let (_, rest) = url.split_once("://").unwrap();
        rest[..rest.find(['/', '?', '#', '\\']).unwrap_or(rest.len())].to_owned()
    };
    let other = Facts {
        path: b"/other",
        query: None,
        ..facts
    };
    let other = redirect.location(&other).unwrap();
    let other = String::from_utf8_lossy(&other);
    assert_eq!(authority(&location), authority(&other), "{text}");
}

#[must_use]
pub fn seeds() -> Vec<Vec<u8>> {
    const RULES: [&str; 7] = [
        "^/api/(.*)$\n/$1\nhttps://$host$path$query\n/api/v1/x\na=b",
        "^/(?<who>[^/]+)/\n/u/${who}x/\n/new/$path?$query\n/joe/b\n",
        "^/x(.*)\n/data/$1\n$scheme://www.$host/?a=$query\n/x..%2Fsecret\nq",
        "/b\n\n$path\n//evil.example/b\n@c",
        "(?i)/A(b|c)?\n/$1$$\nhttp://shop.example\n/%41b\n",
        "\n/a\n${scheme}://$host:8443$path\n/\n?x",
        "\n/a\nhttp://shop.example?$query.x\n/\nq",
    ];
    RULES.map(|text| text.as_bytes().to_vec()).into()
}
