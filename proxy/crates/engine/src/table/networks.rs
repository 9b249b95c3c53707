//! Sets of addresses, written as networks.

use std::net::IpAddr;

use ipnet::IpNet;

/// Networks of IPv4 and IPv6; few, so they are looked at one after the other.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Networks(Box<[IpNet]>);

impl Networks {
    /// Reads networks in CIDR notation (`10.0.0.0/8`, `2001:db8::/32`) and single addresses. Bits
    /// behind the prefix are ignored, as nginx does it.
    ///
    /// # Errors
    /// One sentence: which of them is no network. `name` is what they are.
    pub(crate) fn compile(name: &str, wire: &[String]) -> Result<Self, String> {
        let read = |text: &String| {
            let address = || text.parse::<IpAddr>().map(IpNet::from);
            text.parse::<IpNet>()
                .or_else(|_| address())
                .map_err(|_| format!("{name} has {text:?}, which is no network such as 10.0.0.0/8"))
        };
        wire.iter().map(read).collect::<Result<_, _>>().map(Self)
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether one of them has `ip`; an IPv4 address in IPv6 counts as the former.
    #[must_use]
    pub fn contains(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        self.0.iter().any(|network| network.contains(&ip))
    }
}
