//! Text with variables, compiled: the values of header edits, the locations of redirects.
//!
//! `$name` and `${name}` stand for a fact of the request, `$$` for a dollar. The set is closed and
//! listed in `proxy/table.py`; an unknown name is refused when the table is compiled.

use std::io::Write;
use std::net::IpAddr;

use smallvec::SmallVec;

use crate::limits::{TEMPLATE_BYTES_MAX, TEMPLATE_VARIABLES_MAX};

/// What a request says about itself, for templates.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// The client's address.
    pub client: IpAddr,
    /// `http` or `https`.
    pub scheme: &'static str,
    /// `host[:port]` as the client wrote it; empty where it named none.
    pub authority: &'a [u8],
    /// Without port, in lower case.
    pub host: &'a [u8],
    /// In normal form, without query.
    pub path: &'a [u8],
    /// What follows the `?`.
    pub query: Option<&'a [u8]>,
    /// The value of X-Request-ID.
    pub request_id: &'a [u8],
    /// 32 hex digits; none where nothing is traced.
    pub trace_id: Option<[u8; 32]>,
}

/// What a template may name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Variable {
    ClientIp,
    Scheme,
    Host,
    /// Path, without query.
    Path,
    /// The query with its `?`, or nothing.
    Query,
    /// The query alone, for a location that has a `?` already.
    QueryAlone,
    RequestId,
    TraceId,
}

impl Variable {
    fn of(name: &str) -> Option<Self> {
        match name {
            "client_ip" => Some(Self::ClientIp),
            "scheme" => Some(Self::Scheme),
            "host" => Some(Self::Host),
            "path" => Some(Self::Path),
            "query" => Some(Self::Query),
            "request_id" => Some(Self::RequestId),
            "trace_id" => Some(Self::TraceId),
            _ => None,
        }
    }

    fn write(self, out: &mut Expanded, facts: &Facts<'_>) {
        match self {
            // Writing to memory cannot fail.
            Self::ClientIp => drop(write!(out, "{}", facts.client.to_canonical())),
            Self::Scheme => out.extend_from_slice(facts.scheme.as_bytes()),
            Self::Host => out.extend_from_slice(facts.host),
            Self::Path => out.extend_from_slice(facts.path),
            Self::Query => {
                if let Some(query) = facts.query {
                    out.push(b'?');
                    out.extend_from_slice(query);
                }
            }
            Self::QueryAlone => out.extend_from_slice(facts.query.unwrap_or_default()),
            Self::RequestId => out.extend_from_slice(facts.request_id),
            Self::TraceId => out.extend_from_slice(facts.trace_id.as_ref().map_or(b"", |id| id)),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Piece {
    Text(Box<str>),
    Variable(Variable),
}

/// What a template becomes: room for what is usual, so that nothing is allocated.
pub type Expanded = SmallVec<[u8; 128]>;

/// Text with variables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    pub(super) pieces: Vec<Piece>,
}

impl Template {
    /// Compiles a template that may name the variables in `known`.
    ///
    /// # Errors
    /// The end of a sentence: what is wrong with the text.
    pub(super) fn compile(text: &str, known: &[Variable]) -> Result<Self, String> {
        if text.len() > TEMPLATE_BYTES_MAX {
            return Err(format!("is longer than {TEMPLATE_BYTES_MAX} bytes"));
        }
        let mut template = Self { pieces: Vec::new() };
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('$') {
            template.push_text(before);
            rest = match after.strip_prefix('$') {
                Some(after) => {
                    template.push_text("$");
                    after
                }
                None => template.push_variable(after, known)?,
            };
        }
        template.push_text(rest);
        let is_variable = |piece: &&Piece| matches!(piece, Piece::Variable(_));
        if template.pieces.iter().filter(is_variable).count() > TEMPLATE_VARIABLES_MAX {
            return Err(format!("has more than {TEMPLATE_VARIABLES_MAX} variables"));
        }
        Ok(template)
    }

    /// Whether it names that variable.
    pub(super) fn names(&self, variable: Variable) -> bool {
        self.pieces.contains(&Piece::Variable(variable))
    }

    /// The text for one request.
    #[must_use]
    pub fn expand(&self, facts: &Facts<'_>) -> Expanded {
        let mut out = Expanded::new();
        self.write(&mut out, facts);
        out
    }

    /// Appends the text for one request.
    pub(super) fn write(&self, out: &mut Expanded, facts: &Facts<'_>) {
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => out.extend_from_slice(text.as_bytes()),
                Piece::Variable(variable) => variable.write(out, facts),
            }
        }
    }

    fn push_text(&mut self, text: &str) {
        match self.pieces.last_mut() {
            _ if text.is_empty() => {}
            Some(Piece::Text(last)) => *last = format!("{last}{text}").into_boxed_str(),
            _ => self.pieces.push(Piece::Text(Box::from(text))),
        }
    }

    /// Takes the name that follows a `$`; returns what follows the name.
    fn push_variable<'t>(&mut self, after: &'t str, known: &[Variable]) -> Result<&'t str, String> {
        let (name, rest) = name(after);
        let found = Variable::of(name).filter(|variable| known.contains(variable));
        let variable = found.ok_or_else(|| {
            format!("names the variable ${name:.40}, which there is not; $$ is a dollar")
        })?;
        self.pieces.push(Piece::Variable(variable));
        Ok(rest)
    }
}

/// A name of letters, digits and `_`, perhaps in braces, and what follows it.
pub(super) fn name(text: &str) -> (&str, &str) {
    let braced = text.strip_prefix('{').and_then(|text| text.split_once('}'));
    braced.unwrap_or_else(|| {
        let is_part = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        let end = text.bytes().position(|byte| !is_part(byte));
        text.split_at(end.unwrap_or(text.len()))
    })
}

#[cfg(test)]
pub(super) fn facts<'a>() -> Facts<'a> {
    Facts {
        client: IpAddr::from([192, 0, 2, 1]),
        scheme: "http",
        authority: b"shop.example:8080",
        host: b"shop.example",
        path: b"/a/b",
        query: Some(b"c=d"),
        request_id: b"r-1",
        trace_id: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: &[Variable] = &[Variable::ClientIp, Variable::Host, Variable::TraceId];

    fn expanded(text: &str) -> Result<String, String> {
        let expanded = Template::compile(text, KNOWN)?.expand(&facts());
        Ok(String::from_utf8_lossy(&expanded).into_owned())
    }

    #[test]
    fn variables_stand_for_facts_and_two_dollars_for_one() {
        for (text, want) in [
            ("", ""),
            ("plain", "plain"),
            ("$host", "shop.example"),
            ("a-${host}b $client_ip!", "a-shop.exampleb 192.0.2.1!"),
            ("$$host $$$host", "$host $shop.example"),
            ("[$trace_id]", "[]"),
        ] {
            assert_eq!(expanded(text).as_deref(), Ok(want), "{text}");
        }
    }

    #[test]
    fn a_name_that_is_unknown_or_not_for_here_is_refused() {
        for text in ["$hosts", "$", "a$ b", "${host", "$path", "${}", "$HOST"] {
            assert!(
                expanded(text).is_err_and(|err| err.contains("variable")),
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_too_long_or_names_too_much_is_refused() {
        assert!(expanded(&"a".repeat(TEMPLATE_BYTES_MAX + 1)).is_err());
        assert!(expanded(&"$host".repeat(TEMPLATE_VARIABLES_MAX)).is_ok());
        assert!(expanded(&"$host".repeat(TEMPLATE_VARIABLES_MAX + 1)).is_err());
    }
}
