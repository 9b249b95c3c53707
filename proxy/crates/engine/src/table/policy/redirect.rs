//! An answer without a backend: where the client is sent instead.
//!
//! Rules: a location is absolute, whatever the path: a path that begins with two slashes would else
//! name another host (`//evil.example`). Nothing of a request can end the line.

use super::template::{Expanded, Facts, Piece, Template, Variable};
use crate::table::wire;

const VARIABLES: &[Variable] = &[
    Variable::Host,
    Variable::Path,
    Variable::Query,
    Variable::Scheme,
];

/// Where to, and with which status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redirect {
    /// 301, 302, 303, 307 or 308.
    pub status: u16,
    location: Template,
    /// The location begins with a path; scheme and authority are the request's.
    is_path: bool,
}

impl Redirect {
    /// Compiles a redirect.
    ///
    /// # Errors
    /// The end of a sentence: what is wrong with the status or the location.
    pub(crate) fn compile(wire: &wire::Redirect) -> Result<Self, String> {
        let (text, status) = (&wire.location, wire.status);
        let status = u16::try_from(status)
            .ok()
            .filter(|status| matches!(status, 301 | 302 | 303 | 307 | 308))
            .ok_or_else(|| {
                format!("the status is {status}, which is none of 301, 302, 303, 307 and 308")
            })?;
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(format!(
                "the location {text:?} has what is not in a URL: only visible ASCII is"
            ));
        }
        let mut location = Template::compile(text, VARIABLES)
            .map_err(|what| format!("the location {text:?} {what}"))?;
        let is_path = begins_with_a_path(&location);
        if !is_path && !begins_with_an_authority(&location) {
            return Err(format!(
                "the location {text:?} begins neither with a path nor with http://, https:// or \
                 $scheme:// and a host"
            ));
        }
        join_query(&mut location);
        if !is_path {
            end_authority(&mut location);
        }
        Ok(Self {
            status,
            location,
            is_path,
        })
    }

    /// Where a request is sent; `None` where it names no host and one is needed.
    #[must_use]
    pub fn location(&self, facts: &Facts<'_>) -> Option<Expanded> {
        let needs_host = self.is_path || self.location.names(Variable::Host);
        if needs_host && facts.authority.is_empty() {
            return None;
        }
        let mut out = Expanded::new();
        if self.is_path {
            out.extend_from_slice(facts.scheme.as_bytes());
            out.extend_from_slice(b"://");
            out.extend_from_slice(facts.authority);
        }
        self.location.write(&mut out, facts);
        Some(out)
    }
}

/// The same resource by HTTPS; `None` where the request names no host.
///
/// The port is dropped: the request's is that of plain HTTP, and the one outside need not be the
/// one that we listen on. Precedent: ingress-nginx, `ssl-redirect`.
#[must_use]
pub fn https_location(facts: &Facts<'_>) -> Option<Expanded> {
    if facts.host.is_empty() {
        return None;
    }
    let mut out = Expanded::from_slice(b"https://");
    out.extend_from_slice(facts.host);
    out.extend_from_slice(facts.path);
    if let Some(query) = facts.query {
        out.push(b'?');
        out.extend_from_slice(query);
    }
    Some(out)
}

fn begins_with_a_path(location: &Template) -> bool {
    match location.pieces.first() {
        Some(Piece::Text(text)) => text.starts_with('/') && !text.starts_with("//"),
        Some(Piece::Variable(variable)) => *variable == Variable::Path,
        None => false,
    }
}

/// A scheme, and behind it a host: `https://$path` would let the path name one.
fn begins_with_an_authority(location: &Template) -> bool {
    let (first, rest) = match &location.pieces[..] {
        [
            Piece::Variable(Variable::Scheme),
            Piece::Text(text),
            rest @ ..,
        ] => (text.strip_prefix("://"), rest),
        [Piece::Text(text), rest @ ..] => {
            let lower = text.to_ascii_lowercase();
            let scheme = ["https://", "http://"].into_iter();
            let mut known = scheme.filter(|scheme| lower.starts_with(scheme));
            (known.next().map(|scheme| &text[scheme.len()..]), rest)
        }
        _ => (None, &[][..]),
    };
    match (first, rest.first()) {
        (Some(""), next) => next == Some(&Piece::Variable(Variable::Host)),
        (Some(text), _) => !text.starts_with(['/', '?', '#', '@', ':', '\\']),
        (None, _) => false,
    }
}

/// `?$query` and `$query` are the same; behind another `?` the query comes without its own.
fn join_query(location: &mut Template) {
    let mut has_mark = false;
    for index in 0..location.pieces.len() {
        if location.pieces[index] == Piece::Variable(Variable::Query) {
            let before = index.checked_sub(1).map(|at| &mut location.pieces[at]);
            if let Some(Piece::Text(text)) = before
                && text.matches('?').count() == 1
                && text.ends_with('?')
            {
                *text = Box::from(text.trim_end_matches('?'));
            } else if has_mark {
                location.pieces[index] = Piece::Variable(Variable::QueryAlone);
            }
            has_mark = true;
        } else if let Piece::Text(text) = &location.pieces[index] {
            has_mark |= text.contains('?');
        }
    }
}

/// A host whose query follows at once gets the path `/`, which is the same (RFC 9110, section 4.2.3):
/// a request without a query would else move what is behind it into the host.
fn end_authority(location: &mut Template) {
    let is_query = |piece: &Piece| *piece == Piece::Variable(Variable::Query);
    let Some(query) = location.pieces.iter().position(is_query) else {
        return;
    };
    let mut marks = 0;
    for piece in &location.pieces[..query] {
        marks += match piece {
            Piece::Text(text) => text.matches(['/', '?', '#', '\\']).count(),
            Piece::Variable(variable) => usize::from(*variable == Variable::Path),
        };
    }
    if marks == "//".len() {
        let path = Piece::Text(Box::from("/"));
        location.pieces.insert(query, path);
    }
}

#[cfg(test)]
mod tests {
    use super::super::template::facts;
    use super::*;

    fn compile(location: &str, status: i64) -> Result<Redirect, String> {
        Redirect::compile(&wire::Redirect {
            location: location.to_owned(),
            status,
        })
    }

    fn location(template: &str, facts: &Facts<'_>) -> String {
        let location = compile(template, 308).unwrap().location(facts).unwrap();
        String::from_utf8(location.to_vec()).unwrap()
    }

    #[test]
    fn a_location_is_absolute_and_has_what_the_template_names() {
        for (template, want) in [
            ("/new", "http://shop.example:8080/new"),
            ("$path", "http://shop.example:8080/a/b"),
            ("https://www.example$path", "https://www.example/a/b"),
            ("HTTPS://$host/x", "HTTPS://shop.example/x"),
            (
                "$scheme://www.$host$path$query",
                "http://www.shop.example/a/b?c=d",
            ),
            ("https://e.example/?$query", "https://e.example/?c=d"),
            ("https://e.example/?to=$path", "https://e.example/?to=/a/b"),
            ("/x?a=1&$query", "http://shop.example:8080/x?a=1&c=d"),
            ("/$$", "http://shop.example:8080/$"),
        ] {
            assert_eq!(location(template, &facts()), want, "{template}");
        }
    }

    #[test]
    fn no_query_leaves_no_question_mark() {
        let facts = Facts {
            query: None,
            ..facts()
        };
        let want = "http://shop.example:8080/a/b";
        assert_eq!(location("$path$query", &facts), want);
        assert_eq!(location("$path?$query", &facts), want);
        assert_eq!(
            https_location(&facts).as_deref(),
            Some(&b"https://shop.example/a/b"[..])
        );
    }

    #[test]
    fn a_query_or_its_absence_cannot_change_the_host() {
        let without = Facts {
            query: None,
            ..facts()
        };
        for (template, with_query, no_query) in [
            (
                "https://e.example$query",
                "https://e.example/?c=d",
                "https://e.example/",
            ),
            (
                "https://e.example?$query.x",
                "https://e.example/?c=d.x",
                "https://e.example/.x",
            ),
            (
                "$scheme://$host$query@x",
                "http://shop.example/?c=d@x",
                "http://shop.example/@x",
            ),
            (
                "https://e.example/$query",
                "https://e.example/?c=d",
                "https://e.example/",
            ),
            (
                "https://e.example?a&$query",
                "https://e.example?a&c=d",
                "https://e.example?a&",
            ),
        ] {
            assert_eq!(location(template, &facts()), with_query, "{template}");
            assert_eq!(location(template, &without), no_query, "{template}");
        }
    }

    #[test]
    fn a_path_cannot_name_another_host() {
        let facts = Facts {
            path: b"//evil.example/x",
            ..facts()
        };
        assert_eq!(
            location("$path", &facts),
            "http://shop.example:8080//evil.example/x"
        );
        assert_eq!(
            https_location(&facts).as_deref(),
            Some(&b"https://shop.example//evil.example/x?c=d"[..])
        );
    }

    #[test]
    fn a_request_without_a_host_is_sent_nowhere_that_needs_one() {
        let facts = Facts {
            authority: b"",
            host: b"",
            ..facts()
        };
        for template in ["/x", "$path", "https://$host/"] {
            assert!(compile(template, 308).unwrap().location(&facts).is_none());
        }
        assert_eq!(location("https://e.example/", &facts), "https://e.example/");
        assert_eq!(https_location(&facts), None);
    }

    #[test]
    fn a_location_that_is_no_url_or_lets_the_path_name_the_host_is_refused() {
        for template in [
            "",
            "new",
            "//evil.example",
            "$host/x",
            "$query",
            "https://",
            "https://$path",
            "https:///x",
            "https://?x",
            "https://:80/",
            "https:/$path",
            "$scheme:$path",
            "$scheme://$path",
            "javascript:alert(1)",
            "ftp://a/",
            "/a b",
            "/a\r\nSet-Cookie: a=b",
            "/caf\u{e9}",
            "/$request_id",
            "/$uri",
        ] {
            assert!(compile(template, 308).is_err(), "{template:?}");
        }
    }

    #[test]
    fn a_status_that_does_not_redirect_is_refused() {
        for status in [0, 200, 300, 304, 305, 306, 309, 400, -301, 65_536 + 301] {
            assert!(compile("/", status).is_err_and(|err| err.contains("status")));
        }
    }
}
