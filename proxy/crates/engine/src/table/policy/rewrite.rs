//! Another path for the endpoint: a regular expression and what replaces its first match.
//!
//! Rules: linear time for any pattern and path (the `regex` crate), both so short that it is not noticed,
//! bounded memory, and the result is held to the same rules as a client's path – else a capture could climb out of the directory
//! that the rule puts it in (`/x../y` by `^/x(.*)` to `/data/$1`).

use regex::bytes::{Captures, Regex, RegexBuilder};

use super::template;
use crate::http1::check_path;
use crate::limits::{
    REQUEST_LINE_BYTES_MAX, REWRITE_BYTES_MAX, REWRITE_CACHE_BYTES_MAX, REWRITE_PATH_BYTES_MAX,
    REWRITE_REGEX_BYTES_MAX,
};
use crate::message::{normalise, without_empty_segments};
use crate::table::wire;

/// A rule that gives the endpoint another path.
#[derive(Debug, Clone)]
pub struct Rewrite {
    pattern: Regex,
    replacement: Vec<Piece>,
}

/// Regular expressions have no equality; their text has.
impl PartialEq for Rewrite {
    fn eq(&self, other: &Self) -> bool {
        self.pattern.as_str() == other.pattern.as_str() && self.replacement == other.replacement
    }
}

impl Eq for Rewrite {}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(Box<str>),
    /// By its index; 0 is the whole match.
    Group(usize),
}

/// Why a path has no rewritten one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BadRewrite {
    /// What the client sent is too long, or became a path that clients may not send.
    Path,
    /// The rule makes something that is no path, or is too long.
    Rule,
}

impl Rewrite {
    /// Compiles a rule.
    ///
    /// # Errors
    /// The end of a sentence: what is wrong with the pattern or the replacement.
    pub(crate) fn compile(wire: &wire::Rewrite) -> Result<Self, String> {
        for (name, text) in [
            ("pattern", &wire.pattern),
            ("replacement", &wire.replacement),
        ] {
            if text.len() > REWRITE_BYTES_MAX {
                return Err(format!(
                    "the {name} is longer than {REWRITE_BYTES_MAX} bytes"
                ));
            }
        }
        let pattern = RegexBuilder::new(&wire.pattern)
            .unicode(false) // Paths are ASCII in normal form.
            .size_limit(REWRITE_REGEX_BYTES_MAX)
            .dfa_size_limit(REWRITE_CACHE_BYTES_MAX)
            .build()
            .map_err(|err| format!("the pattern cannot be used: {}", in_one_line(&err)))?;
        let replacement = replacement(&wire.replacement, &pattern)?;
        Ok(Self {
            pattern,
            replacement,
        })
    }

    /// The path that the endpoint gets for a path in normal form; `None` where the pattern does not
    /// match and it gets the same. Empty segments do not count, as in routing.
    ///
    /// # Errors
    /// [`BadRewrite`]. Never panics, for any bytes.
    pub fn apply(&self, path: &[u8]) -> Result<Option<Vec<u8>>, BadRewrite> {
        if path.len() > REWRITE_PATH_BYTES_MAX {
            return Err(BadRewrite::Path);
        }
        let path = &*without_empty_segments(path);
        let Some(captures) = self.pattern.captures(path) else {
            return Ok(None);
        };
        let rewritten = self.replaced(path, &captures)?;
        if rewritten.first() != Some(&b'/') {
            return Err(BadRewrite::Rule);
        }
        check_path(&rewritten).map_err(|_| BadRewrite::Path)?;
        let normal = normalise(&rewritten).map_err(|_| BadRewrite::Path)?;
        Ok(Some(normal.into_owned()))
    }

    fn replaced(&self, path: &[u8], captures: &Captures<'_>) -> Result<Vec<u8>, BadRewrite> {
        let whole = captures.get(0).map_or(0..0, |whole| whole.range());
        let mut out = Vec::with_capacity(path.len() + 32);
        out.extend_from_slice(&path[..whole.start]);
        for piece in &self.replacement {
            match piece {
                Piece::Text(text) => out.extend_from_slice(text.as_bytes()),
                Piece::Group(index) => {
                    let group = captures.get(*index);
                    out.extend_from_slice(group.map_or(b"", |group| group.as_bytes()));
                }
            }
            if out.len() > REQUEST_LINE_BYTES_MAX {
                return Err(BadRewrite::Rule);
            }
        }
        out.extend_from_slice(&path[whole.end..]);
        Ok(out)
    }
}

/// `$1`, `$name` or in braces; a number ends with its digits, as in nginx.
fn replacement(text: &str, pattern: &Regex) -> Result<Vec<Piece>, String> {
    let is_in_a_path = |byte: u8| byte.is_ascii_graphic() && !b"?#\\".contains(&byte);
    if !text.bytes().all(is_in_a_path) {
        return Err(format!(
            "the replacement {text:?} has what is not in a path: only visible ASCII without ?, # \
             and \\ is"
        ));
    }
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        push_text(&mut pieces, before);
        if let Some(after) = after.strip_prefix('$') {
            push_text(&mut pieces, "$");
            rest = after;
            continue;
        }
        let (name, behind) = group_name(after);
        let index = group_index(pattern, name).ok_or_else(|| {
            format!("the replacement names the group ${name:.40}, which the pattern does not have")
        })?;
        pieces.push(Piece::Group(index));
        rest = behind;
    }
    push_text(&mut pieces, rest);
    let begins_well = !matches!(pieces.first(), Some(Piece::Text(text)) if !text.starts_with('/'));
    if pattern.as_str().starts_with("^/") && !begins_well {
        return Err(format!(
            "the replacement {text:?} does not begin with a slash"
        ));
    }
    Ok(pieces)
}

fn group_name(text: &str) -> (&str, &str) {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    if digits > 0 {
        text.split_at(digits)
    } else {
        template::name(text)
    }
}

fn group_index(pattern: &Regex, name: &str) -> Option<usize> {
    match name.parse::<usize>() {
        Ok(index) => (index < pattern.captures_len()).then_some(index),
        Err(_) => pattern
            .capture_names()
            .position(|each| each.is_some_and(|each| each == name)),
    }
}

fn push_text(pieces: &mut Vec<Piece>, text: &str) {
    match pieces.last_mut() {
        _ if text.is_empty() => {}
        Some(Piece::Text(last)) => *last = format!("{last}{text}").into_boxed_str(),
        _ => pieces.push(Piece::Text(Box::from(text))),
    }
}

/// A parse error draws the pattern in several lines; its last one says what is wrong.
fn in_one_line(err: &regex::Error) -> String {
    let text = err.to_string();
    let last = text.lines().last().unwrap_or_default().trim();
    last.strip_prefix("error: ").unwrap_or(last).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compile(pattern: &str, replacement: &str) -> Result<Rewrite, String> {
        Rewrite::compile(&wire::Rewrite {
            pattern: pattern.to_owned(),
            replacement: replacement.to_owned(),
        })
    }

    fn apply(pattern: &str, replacement: &str, path: &str) -> Result<Option<String>, BadRewrite> {
        let rewritten = compile(pattern, replacement)
            .unwrap()
            .apply(path.as_bytes())?;
        Ok(rewritten.map(|path| String::from_utf8(path).unwrap()))
    }

    #[test]
    fn the_first_match_is_replaced_and_captures_are_filled_in() {
        for (pattern, replacement, path, want) in [
            ("^/api/(.*)$", "/$1", "/api/v1/x", "/v1/x"),
            ("^/a(/|$)(.*)", "/$2", "/a", "/"),
            ("^/(?<who>[^/]+)/", "/u/${who}x/", "/joe/b", "/u/joex/b"),
            ("^/(?<who>[^/]+)/", "/$who/1/", "/joe/b", "/joe/1/b"),
            ("/b", "", "/a/b/b", "/a/b"),
            ("^/(.)(.)", "/$2$1z", "/ab", "/baz"),
            ("^/x(y)?", "/$1$$", "/x", "/$"),
            ("^(?i)/API", "/v", "/api/x", "/v/x"),
            ("^/a/b", "/c", "//a///b", "/c"),
            ("^/p/(.*)", "/$1", "/p/%2Fa", "/%2Fa"),
            ("^/p", "/%7eq\"", "/p", "/~q%22"),
        ] {
            let got = apply(pattern, replacement, path);
            assert_eq!(got, Ok(Some(want.to_owned())), "{pattern} {path}");
        }
    }

    #[test]
    fn a_path_that_does_not_match_stays() {
        assert_eq!(apply("^/api", "/x", "/other"), Ok(None));
    }

    #[test]
    fn a_result_that_a_client_may_not_send_is_refused() {
        for (pattern, replacement, path) in [
            ("^/x(.*)", "/data/$1", "/x../secret"),
            ("^/x(.*)", "/data/$1", "/x.."),
            ("^/x(.*)", "/data/.$1", "/x."),
            ("^/x(.*)", "/data/$1", "/x..%2Fsecret"),
            ("^/a%..(.*)", "/%2$1", "/a%2F/"),
            ("2F$", "", "/a%2F"),
        ] {
            let got = apply(pattern, replacement, path);
            assert_eq!(got, Err(BadRewrite::Path), "{pattern} {path}");
        }
    }

    #[test]
    fn a_rule_that_makes_no_path_is_at_fault_itself() {
        assert_eq!(apply("/a(.*)", "$1", "/ab"), Err(BadRewrite::Rule));
        assert_eq!(apply("(.*)", "", "/ab"), Err(BadRewrite::Rule));
        let long = format!("/{}", "a".repeat(REWRITE_PATH_BYTES_MAX - 1));
        assert_eq!(apply("^(.*)$", "$1$1$1$1$1", &long), Err(BadRewrite::Rule));
    }

    /// Matching costs the expression times the path: 300 groups took seconds for 16 KB.
    #[test]
    fn no_pattern_and_no_path_is_so_long_that_a_match_takes_long() {
        let groups = vec!["(a)(b)?"; 300].join("|");
        let refused = compile(&format!("^/(?:(a)|(b)|{groups})*$"), "/").unwrap_err();
        assert!(refused.contains("size limit"), "{refused}");
        let path = |bytes| format!("/{}", "a".repeat(bytes - 1));
        assert!(apply("^/a", "/b", &path(REWRITE_PATH_BYTES_MAX)).is_ok());
        let longer = path(REWRITE_PATH_BYTES_MAX + 1);
        assert_eq!(apply("^/a", "/b", &longer), Err(BadRewrite::Path));
    }

    #[test]
    fn patterns_that_people_write_are_short_enough() {
        for pattern in [
            "^/api(/|$)(.*)",
            "^(?i)/API/v[0-9]+/([a-z0-9-]+)/(items|orders|users)/([0-9]{1,10})$",
            "^/[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}/(.*)$",
            "^/(en|de|fr|es|it|pt|nl|pl|cs|sk|hu|ro|bg|el|sv|da|fi|no|et|lv|lt)(-[a-z]{2})?/(.*)$",
        ] {
            assert!(compile(pattern, "/$1").is_ok(), "{pattern}");
        }
    }

    #[test]
    fn a_rule_that_cannot_work_is_refused_in_one_sentence() {
        for (pattern, replacement, want) in [
            ("^/(", "/", "unclosed group"),
            ("(a)(?=b)", "/", "look-around"),
            (r"(a)\1", "/", "backreferences"),
            ("((((a{100}){100}){100}){100})", "/", "size limit"),
            ("^/(a)", "/$2", "$2"),
            ("^/(a)", "/$", "group"),
            ("^/(a)", "/${x}", "$x"),
            ("^/(a)", "a", "slash"),
            ("^/(a)", "/$1?b=c", "not in a path"),
            ("^/(a)", "/$1\r\nX: y", "not in a path"),
            ("^/(a)", "/a b", "not in a path"),
        ] {
            let refused = compile(pattern, replacement).unwrap_err();
            assert!(refused.contains(want), "{pattern}: {refused}");
            assert!(!refused.contains('\n'), "{refused}");
        }
        assert!(compile(&"a".repeat(REWRITE_BYTES_MAX + 1), "/").is_err());
        assert!(compile("a", &"/".repeat(REWRITE_BYTES_MAX + 1)).is_err());
    }
}
