//! What of a request may decide where it goes.

use std::net::IpAddr;

use crate::message::Fields;
use crate::stable_hash::stable_hash;
use crate::table::HashKey;

/// Who asks, and with what.
#[derive(Clone, Copy)]
pub struct Asker<'a> {
    /// The client's address.
    pub client: IpAddr,
    /// The fields of the request.
    pub fields: &'a Fields,
}

impl<'a> Asker<'a> {
    /// The hash of what `key` names, or of the client's address where the request has no such thing.
    pub(super) fn hash(&self, key: &HashKey) -> u64 {
        let named = match key {
            HashKey::Client => None,
            HashKey::Header(name) => self.headers(name).next(),
            HashKey::Cookie(name) => self.cookies(name).next(),
        };
        match (named, self.client.to_canonical()) {
            (Some(value), _) => stable_hash([value]),
            (None, IpAddr::V4(ip)) => stable_hash([&ip.octets()[..]]),
            (None, IpAddr::V6(ip)) => stable_hash([&ip.octets()[..]]),
        }
    }

    /// The values of all cookies of that name, in order. Source: RFC 6265, section 4.2.1.
    pub(super) fn cookies<'n>(
        &self,
        name: &'n [u8],
    ) -> impl Iterator<Item = &'a [u8]> + use<'a, 'n> {
        let pairs = self
            .headers(b"cookie")
            .flat_map(|value| value.split(|byte| *byte == b';'));
        pairs.filter_map(move |pair| {
            let rest = pair.trim_ascii().strip_prefix(name)?;
            rest.strip_prefix(b"=")
        })
    }

    fn headers<'n>(&self, name: &'n [u8]) -> impl Iterator<Item = &'a [u8]> + use<'a, 'n> {
        let fields: &'a Fields = self.fields;
        let named = fields
            .iter()
            .filter(move |field| field.name.eq_ignore_ascii_case(name));
        named.map(|field| field.value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLIENT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn cookies(values: &[&str], name: &str) -> Vec<String> {
        let mut fields = Fields::default();
        for value in values {
            fields.push(b"Cookie", value.as_bytes());
        }
        let asker = Asker {
            client: CLIENT,
            fields: &fields,
        };
        let found = asker.cookies(name.as_bytes());
        found
            .map(|value| String::from_utf8_lossy(value).into_owned())
            .collect()
    }

    #[test]
    fn a_cookie_is_found_by_its_whole_name_in_every_field() {
        let values = ["aa=1; a=2;a=", " a = 3; b=a=4; A=5"];
        assert_eq!(cookies(&values, "a"), ["2", ""]);
        assert_eq!(cookies(&values, "b"), ["a=4"]);
        assert_eq!(cookies(&["", ";", "=;a"], "a"), [""; 0]);
    }

    #[test]
    fn a_request_without_the_header_is_hashed_by_its_client() {
        let mut fields = Fields::default();
        fields.push(b"X-User", b"kim");
        let asker = Asker {
            client: CLIENT,
            fields: &fields,
        };
        let of_header = |name: &[u8]| asker.hash(&HashKey::Header(Box::from(name)));
        assert_eq!(of_header(b"x-team"), asker.hash(&HashKey::Client));
        assert_ne!(of_header(b"x-user"), asker.hash(&HashKey::Client));
    }
}
