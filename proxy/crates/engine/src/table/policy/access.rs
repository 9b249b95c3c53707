//! Which clients a route is for: networks, compiled to sorted ranges.
//!
//! A look-up is a binary search, so that thousands of networks cost a request what ten do. An IPv4
//! address mapped into IPv6 (`::ffff:192.0.2.1`) is that IPv4 address, in lists and for clients.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use crate::limits::NETWORKS_MAX;

/// Who may use a route. Deny wins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Access {
    /// `None` allows everybody.
    allow: Option<Networks>,
    deny: Networks,
}

impl Access {
    /// Compiles the two lists; `None` where both are empty.
    ///
    /// # Errors
    /// A sentence: which network is wrong.
    pub(super) fn compile(allow: &[String], deny: &[String]) -> Result<Option<Self>, String> {
        if allow.is_empty() && deny.is_empty() {
            return Ok(None);
        }
        let is_limited = !allow.is_empty();
        Ok(Some(Self {
            allow: is_limited
                .then(|| Networks::compile("allow", allow))
                .transpose()?,
            deny: Networks::compile("deny", deny)?,
        }))
    }

    /// Whether a client of that address may use the route.
    #[must_use]
    pub fn admits(&self, client: IpAddr) -> bool {
        let is_allowed = |allow: &Networks| allow.contains(client);
        self.allow.as_ref().is_none_or(is_allowed) && !self.deny.contains(client)
    }
}

/// A set of addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Networks {
    v4: Ranges<Ipv4Addr>,
    v6: Ranges<Ipv6Addr>,
}

impl Networks {
    fn compile(list: &str, networks: &[String]) -> Result<Self, String> {
        if networks.len() > NETWORKS_MAX {
            return Err(format!("{list} has more than {NETWORKS_MAX} networks"));
        }
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for text in networks {
            let parsed = network(text).ok_or_else(|| {
                format!(
                    "{list} has {text:?}, which is neither a network (10.0.0.0/8) nor an address"
                )
            })?;
            match parsed {
                IpNet::V4(net) => v4.push((net.network(), net.broadcast())),
                IpNet::V6(net) => v6.push((net.network(), net.broadcast())),
            }
        }
        Ok(Self {
            v4: Ranges::new(v4),
            v6: Ranges::new(v6),
        })
    }

    fn contains(&self, address: IpAddr) -> bool {
        match address.to_canonical() {
            IpAddr::V4(address) => self.v4.contains(address),
            IpAddr::V6(address) => self.v6.contains(address),
        }
    }
}

/// A network, or an address alone.
fn network(text: &str) -> Option<IpNet> {
    let alone = || text.parse().ok().map(|ip: IpAddr| IpNet::from(ip));
    match text.parse().ok().or_else(alone)? {
        IpNet::V6(net) => match (net.network().to_ipv4_mapped(), net.prefix_len()) {
            (Some(mapped), 96..) => IpNet::new(IpAddr::V4(mapped), net.prefix_len() - 96).ok(),
            _ => Some(IpNet::V6(net)),
        },
        net @ IpNet::V4(_) => Some(net),
    }
}

/// Disjoint ranges, sorted; both ends belong to one.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Ranges<T>(Box<[(T, T)]>);

impl<T: Copy + Ord> Ranges<T> {
    fn new(mut ranges: Vec<(T, T)>) -> Self {
        ranges.sort_unstable();
        let mut disjoint: Vec<(T, T)> = Vec::with_capacity(ranges.len());
        for (first, last) in ranges {
            match disjoint.last_mut() {
                Some(before) if first <= before.1 => before.1 = before.1.max(last),
                _ => disjoint.push((first, last)),
            }
        }
        Self(disjoint.into_boxed_slice())
    }

    fn contains(&self, address: T) -> bool {
        let after = self.0.partition_point(|(first, _)| *first <= address);
        let candidate = after.checked_sub(1).and_then(|index| self.0.get(index));
        candidate.is_some_and(|(_, last)| address <= *last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(allow: &[&str], deny: &[&str]) -> Access {
        let owned = |list: &[&str]| list.iter().map(|net| (*net).to_owned()).collect::<Vec<_>>();
        Access::compile(&owned(allow), &owned(deny))
            .unwrap()
            .unwrap()
    }

    fn admits(access: &Access, client: &str) -> bool {
        access.admits(client.parse().unwrap())
    }

    #[test]
    fn deny_wins_and_what_is_not_allowed_is_denied() {
        let access = access(&["10.0.0.0/8", "fd00::/8"], &["10.1.0.0/16"]);
        for (client, want) in [
            ("10.0.0.1", true),
            ("10.0.255.255", true),
            ("10.1.0.0", false),
            ("10.1.255.255", false),
            ("10.2.0.0", true),
            ("9.255.255.255", false),
            ("11.0.0.0", false),
            ("fd12::1", true),
            ("fe00::1", false),
            ("::", false),
        ] {
            assert_eq!(admits(&access, client), want, "{client}");
        }
    }

    #[test]
    fn without_an_allow_list_everybody_else_is_allowed() {
        let access = access(&[], &["192.0.2.7"]);
        assert!(admits(&access, "192.0.2.6") && admits(&access, "::1"));
        assert!(!admits(&access, "192.0.2.7"));
    }

    #[test]
    fn an_ipv4_address_is_the_same_when_it_is_mapped_into_ipv6() {
        let plain = access(&["192.0.2.0/24"], &[]);
        let mapped = access(&["::ffff:192.0.2.0/120"], &[]);
        for access in [plain, mapped] {
            assert!(admits(&access, "192.0.2.9") && admits(&access, "::ffff:192.0.2.9"));
            assert!(!admits(&access, "::ffff:192.0.3.9") && !admits(&access, "::c000:209"));
        }
    }

    #[test]
    fn everything_is_a_network_too() {
        let all = access(&["0.0.0.0/0"], &[]);
        assert!(admits(&all, "255.255.255.255") && admits(&all, "0.0.0.0"));
        assert!(!admits(&all, "::1"));
        assert!(admits(&access(&["::/0"], &[]), "ffff::1"));
    }

    #[test]
    fn what_is_no_network_is_refused_by_name() {
        for wrong in [
            "",
            "10.0.0.0/33",
            "10.0.0",
            "shop.example",
            "10.0.0.0/8 ",
            "fe80::1%eth0",
        ] {
            let refused = Access::compile(&[wrong.to_owned()], &[]).unwrap_err();
            assert!(refused.starts_with("allow has"), "{refused}");
            assert!(Access::compile(&[], &[wrong.to_owned()]).is_err());
        }
    }

    /// The ranges say of each address what the networks say one by one.
    #[test]
    fn a_search_finds_what_a_walk_finds() {
        let seed = fastrand::u64(..);
        println!("seed {seed}");
        let mut random = fastrand::Rng::with_seed(seed);
        let nets: Vec<IpNet> = (0..2000)
            .map(|_| {
                let ip = Ipv4Addr::from(random.u32(..) & 0x0fff_ffff);
                IpNet::new(IpAddr::V4(ip), random.u8(8..=32)).unwrap()
            })
            .collect();
        let texts: Vec<_> = nets.iter().skip(1000).map(IpNet::to_string).collect();
        let access = Access::compile(&[], &texts).unwrap().unwrap();
        for _ in 0..2000 {
            let client = IpAddr::V4(Ipv4Addr::from(random.u32(..) & 0x0fff_ffff));
            let is_denied = nets.iter().skip(1000).any(|net| net.contains(&client));
            assert_eq!(access.admits(client), !is_denied, "{client}");
        }
    }
}
