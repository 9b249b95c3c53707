//! Edits of a head's fields, compiled: first removed, then set (replaced), then added.
//!
//! Rules: what frames a message or belongs to one connection is not for a policy to change, nor is
//! the trace context; a value can never end its line, whatever a request puts into it.

use super::template::{Expanded, Facts, Template, Variable};
use crate::http1::is_authority;
use crate::limits::HEADER_EDITS_MAX;
use crate::message::{Name, NameSet, is_imitation_or_same, is_token};
use crate::table::wire;

/// Whose head is edited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Of {
    Request,
    Response,
}

/// They frame the message, belong to one connection, or (`Proxy`) are dangerous.
const NOT_TO_BE_EDITED: NameSet = NameSet::of(&[
    Name::Connection,
    Name::ContentLength,
    Name::Expect,
    Name::Http2Settings,
    Name::KeepAlive,
    Name::Proxy,
    Name::ProxyConnection,
    Name::Te,
    Name::Trailer,
    Name::TransferEncoding,
    Name::Upgrade,
]);

const TRACE_CONTEXT: NameSet = NameSet::of(&[Name::Traceparent, Name::Tracestate]);

const VARIABLES: &[Variable] = &[
    Variable::ClientIp,
    Variable::Host,
    Variable::RequestId,
    Variable::Scheme,
    Variable::TraceId,
];

/// What is changed of a head's fields.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HeaderEdits {
    /// Instead of the client's, for requests only.
    pub host: Option<Box<[u8]>>,
    /// Whether names that imitate one that is left out are left out, too: those of requests.
    drops_imitations: bool,
    dropped: NameSet,
    /// Those that have no [`Name`], in lower case.
    dropped_others: Vec<Box<[u8]>>,
    /// In lower case.
    written: Vec<(Box<[u8]>, Template)>,
}

impl HeaderEdits {
    /// Compiles edits; `None` where nothing is edited.
    ///
    /// # Errors
    /// The end of a sentence: which name or value is wrong.
    pub(super) fn compile(wire: &wire::HeaderEdits, of: Of) -> Result<Option<Self>, String> {
        let count = wire.remove.len() + wire.set.len() + wire.add.len();
        if count == 0 {
            return Ok(None);
        }
        if count > HEADER_EDITS_MAX {
            return Err(format!("has more than {HEADER_EDITS_MAX} edits"));
        }
        let mut edits = Self {
            drops_imitations: of == Of::Request,
            ..Self::default()
        };
        for name in &wire.remove {
            edits.drop_field(name, of)?;
        }
        let mut names_set: Vec<Box<[u8]>> = Vec::new();
        for (name, value) in &wire.set {
            let lower = name.to_ascii_lowercase().into_bytes().into_boxed_slice();
            if names_set.contains(&lower) {
                return Err(format!("sets {name:?} twice"));
            }
            names_set.push(lower);
            if of == Of::Request && Name::of(name.as_bytes()) == Name::Host {
                edits.host = Some(host(value)?);
                continue;
            }
            edits.drop_field(name, of)?;
            edits.write_field(name, value, of)?;
        }
        for (name, value) in &wire.add {
            edits.write_field(name, value, of)?;
        }
        Ok(Some(edits))
    }

    /// Whether a field that is there is left out. Of a request also where a CGI-like endpoint could
    /// not tell it from one that is (`X_User` from `X-User`): who removes a field, or sets it, means
    /// that clients have no say in it. Imitations of known names are not in a request at all.
    #[must_use]
    pub fn drops(&self, name: &[u8]) -> bool {
        match Name::of(name) {
            Name::Other => {
                let mut dropped = self.dropped_others.iter();
                dropped.any(|other| {
                    other.eq_ignore_ascii_case(name)
                        || (self.drops_imitations && is_imitation_or_same(name, other))
                })
            }
            known => self.dropped.contains(known),
        }
    }

    /// The fields that are written behind those that stay: names in lower case, values as legal as
    /// those of `facts`.
    pub fn written(&self, facts: &Facts<'_>) -> impl Iterator<Item = (&[u8], Expanded)> {
        self.written
            .iter()
            .map(|(name, value)| (&**name, value.expand(facts)))
    }

    fn drop_field(&mut self, name: &str, of: Of) -> Result<(), String> {
        match check_name(name, of)? {
            Name::Other => {
                let lower = name.to_ascii_lowercase().into_bytes();
                self.dropped_others.push(lower.into_boxed_slice());
            }
            known => self.dropped = self.dropped.with(known),
        }
        Ok(())
    }

    fn write_field(&mut self, name: &str, value: &str, of: Of) -> Result<(), String> {
        let id = check_name(name, of)?;
        if of == Of::Request && TRACE_CONTEXT.contains(id) {
            return Err(format!("writes {name:?}, which tracing writes"));
        }
        let value = value.trim_matches([' ', '\t']);
        let is_legal = |byte: u8| byte == b'\t' || !byte.is_ascii_control();
        if !value.bytes().all(is_legal) {
            return Err(format!(
                "gives {name:?} a value with a line end or another control character"
            ));
        }
        let value = Template::compile(value, VARIABLES)
            .map_err(|what| format!("gives {name:?} a value that {what}"))?;
        let name = name.to_ascii_lowercase().into_bytes().into_boxed_slice();
        self.written.push((name, value));
        Ok(())
    }
}

/// A name that may be edited. One that a CGI-like backend would take for another counts as that.
fn check_name(name: &str, of: Of) -> Result<Name, String> {
    let bytes = name.as_bytes();
    if !is_token(bytes) {
        return Err(format!("edits {name:?}, which is no name of a header"));
    }
    match Name::imitated_by(bytes).unwrap_or_else(|| Name::of(bytes)) {
        Name::Host if of == Of::Request => {
            Err("removes or adds Host, which every request has once; it can be set".to_owned())
        }
        Name::Host => Err("edits Host, which responses do not have".to_owned()),
        id if NOT_TO_BE_EDITED.contains(id) => Err(format!(
            "edits {name:?}, which frames the message or belongs to the connection"
        )),
        _ => Ok(Name::of(bytes)),
    }
}

/// The host that the endpoint is told: as strict as a client's, and the same for all requests.
fn host(value: &str) -> Result<Box<[u8]>, String> {
    if is_authority(value.as_bytes()) {
        Ok(Box::from(value.as_bytes()))
    } else {
        Err(format!(
            "sets Host to {value:?}, which is not a host with or without a port"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::super::template::facts;
    use super::*;

    type Pairs<'a> = &'a [(&'a str, &'a str)];

    fn compile(
        remove: &[&str],
        set: Pairs<'_>,
        add: Pairs<'_>,
        of: Of,
    ) -> Result<HeaderEdits, String> {
        let owned = |pairs: Pairs<'_>| {
            let pairs = pairs.iter();
            pairs
                .map(|(a, b)| ((*a).to_owned(), (*b).to_owned()))
                .collect()
        };
        let wire = wire::HeaderEdits {
            remove: remove.iter().map(|name| (*name).to_owned()).collect(),
            set: owned(set),
            add: owned(add),
        };
        HeaderEdits::compile(&wire, of).map(Option::unwrap_or_default)
    }

    #[test]
    fn what_is_set_is_dropped_first_and_what_is_added_is_not() {
        let edits = compile(
            &["X-Gone", "Server"],
            &[("X-Set", " $host\t")],
            &[("X-Add", "1"), ("x-add", "2")],
            Of::Response,
        )
        .unwrap();
        for (name, is_dropped) in [
            ("x-gone", true),
            ("SERVER", true),
            ("x-SET", true),
            ("X-Add", false),
            ("x_gone", false),
        ] {
            assert_eq!(edits.drops(name.as_bytes()), is_dropped, "{name}");
        }
        let facts = facts();
        let written: Vec<_> = edits
            .written(&facts)
            .map(|(name, value)| (name.to_vec(), value.to_vec()))
            .collect();
        let want = [("x-set", "shop.example"), ("x-add", "1"), ("x-add", "2")];
        assert_eq!(
            written,
            want.map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec()))
        );
    }

    #[test]
    fn what_imitates_a_field_of_a_request_that_is_dropped_is_dropped_too() {
        let edits = compile(&["X-Gone-By"], &[("X-Set", "1")], &[], Of::Request).unwrap();
        for (name, is_dropped) in [
            ("X_Gone_By", true),
            ("x-gone_BY", true),
            ("X_SET", true),
            ("X-Gone.By", false),
            ("X_Gone", false),
        ] {
            assert_eq!(edits.drops(name.as_bytes()), is_dropped, "{name}");
        }
    }

    #[test]
    fn nothing_to_edit_is_no_edit() {
        let wire = wire::HeaderEdits {
            remove: Vec::new(),
            set: Vec::new(),
            add: Vec::new(),
        };
        assert_eq!(HeaderEdits::compile(&wire, Of::Request), Ok(None));
    }

    #[test]
    fn a_name_that_frames_the_message_is_refused_in_every_spelling() {
        for name in [
            "Content-Length",
            "TRANSFER-ENCODING",
            "transfer_encoding",
            "connection",
            "te",
            "trailer",
            "upgrade",
            "keep-alive",
            "proxy-connection",
            "http2-settings",
            "expect",
            "proxy",
        ] {
            for of in [Of::Request, Of::Response] {
                for edits in [
                    compile(&[name], &[], &[], of),
                    compile(&[], &[(name, "1")], &[], of),
                    compile(&[], &[], &[(name, "1")], of),
                ] {
                    assert!(edits.is_err_and(|err| err.contains("frames")), "{name}");
                }
            }
        }
    }

    #[test]
    fn the_host_of_a_request_can_be_set_and_nothing_else() {
        let edits = compile(&[], &[("HOST", "api.internal:81")], &[], Of::Request).unwrap();
        assert_eq!(edits.host.as_deref(), Some(&b"api.internal:81"[..]));
        for wrong in ["", "a b", "a/b", "a\r\nx: y", "$host", "a,b", "[::1"] {
            let set = compile(&[], &[("host", wrong)], &[], Of::Request);
            assert!(set.is_err_and(|err| err.contains("Host")), "{wrong}");
        }
        assert!(compile(&["host"], &[], &[], Of::Request).is_err());
        assert!(compile(&[], &[], &[("host", "a")], Of::Request).is_err());
        assert!(compile(&[], &[("host", "a")], &[], Of::Response).is_err());
    }

    #[test]
    fn a_value_with_a_line_end_or_a_nul_is_refused() {
        for value in ["a\r\nx: y", "a\nb", "a\rb", "a\0b", "a\x7fb", "a\x1bb"] {
            let set = compile(&[], &[("x", value)], &[], Of::Request);
            assert!(set.is_err_and(|err| err.contains("line end")), "{value:?}");
        }
    }

    #[test]
    fn the_trace_context_can_be_removed_but_not_written() {
        assert!(compile(&["traceparent"], &[], &[], Of::Request).is_ok());
        assert!(compile(&[], &[("traceparent", "x")], &[], Of::Request).is_err());
        assert!(compile(&[], &[], &[("tracestate", "x")], Of::Request).is_err());
    }

    #[test]
    fn odd_names_unknown_variables_and_repetitions_are_refused() {
        assert!(compile(&["a b"], &[], &[], Of::Request).is_err());
        assert!(compile(&[], &[("", "x")], &[], Of::Request).is_err());
        assert!(compile(&[], &[(":path", "/")], &[], Of::Request).is_err());
        assert!(compile(&[], &[("a", "$nothing")], &[], Of::Request).is_err());
        assert!(compile(&[], &[("a", "1"), ("A", "2")], &[], Of::Request).is_err());
        let many = vec![("a", "1"); HEADER_EDITS_MAX + 1];
        assert!(compile(&[], &[], &many, Of::Request).is_err());
    }
}
