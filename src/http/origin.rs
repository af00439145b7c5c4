//! Who counts as one caller from afar: an IPv4 address, or the /64 that a site has of IPv6.
//!
//! Decides what a proxy may say about whom it speaks for. Must not know what anybody asks for.

use std::net::{IpAddr, Ipv6Addr};

use http::{HeaderMap, HeaderName};
use ipnet::IpNet;

/// The header in which proxies write whom they speak for, the last one last.
pub const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Bits of an IPv6 address that tell callers apart: whoever has one has all below it.
const PREFIX: u32 = 64;

/// Addresses in the header that are looked at, from the end: proxies in a row.
const HOPS_MAX: usize = 16;

/// One caller from afar.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin(u128);

impl Origin {
    /// The caller behind an address.
    pub fn of(address: IpAddr) -> Origin {
        let bits = match address.to_canonical() {
            IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
            IpAddr::V6(address) => address.to_bits() & (u128::MAX << (Ipv6Addr::BITS - PREFIX)),
        };
        Origin(bits)
    }
}

/// Proxies whose word counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proxies(pub Vec<IpNet>);

impl Proxies {
    /// Whether an address is one of them.
    pub fn contain(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }

    /// Who asks, if `peer` brings these headers: the last address that is no proxy of ours. What
    /// stands before it was written by somebody we do not know. `None` if a proxy of ours wrote
    /// nothing that can be read.
    pub fn client(&self, peer: IpAddr, headers: &HeaderMap) -> Option<IpAddr> {
        if !self.contain(peer) {
            return Some(peer.to_canonical());
        }
        let lines: Vec<&str> = headers
            .get_all(FORWARDED_FOR)
            .iter()
            .map(|line| line.to_str().ok())
            .collect::<Option<_>>()?;
        let hops = lines.iter().rev().flat_map(|line| line.rsplit(','));
        for hop in hops.take(HOPS_MAX) {
            let address = read(hop.trim())?;
            if !self.contain(address) {
                return Some(address);
            }
        }
        None
    }
}

/// An address as proxies write it: bare, or with a port.
fn read(text: &str) -> Option<IpAddr> {
    let bare = text.parse::<IpAddr>().ok();
    let address = bare.or_else(|| Some(text.parse::<std::net::SocketAddr>().ok()?.ip()));
    let bracketed = || text.strip_prefix('[')?.strip_suffix(']')?.parse::<IpAddr>().ok();
    address.or_else(bracketed).map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_ipv6_site_is_one_caller() {
        let origin = |text| Origin::of(ip(text));
        assert_eq!(origin("2001:db8:0:1::1"), origin("2001:db8:0:1:ffff::2"));
        assert_ne!(origin("2001:db8:0:1::1"), origin("2001:db8:0:2::1"));
        assert_eq!(origin("::ffff:192.0.2.1"), origin("192.0.2.1"));
        assert_ne!(origin("192.0.2.1"), origin("192.0.2.2"));
    }

    #[test]
    fn only_a_proxy_may_say_whom_it_speaks_for() {
        let proxies = Proxies(vec!["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()]);
        let client = |peer: &str, lines: &[&str]| {
            let mut headers = HeaderMap::new();
            lines.iter().for_each(|line| {
                headers.append(FORWARDED_FOR, line.parse().unwrap());
            });
            proxies.client(ip(peer), &headers).map(|address| address.to_string())
        };
        let is = |text: &str| Some(text.to_owned());
        assert_eq!(client("192.0.2.7", &["198.51.100.1"]), is("192.0.2.7"));
        assert_eq!(client("10.1.2.3", &["198.51.100.1"]), is("198.51.100.1"));
        assert_eq!(client("::ffff:10.1.2.3", &["198.51.100.1:443"]), is("198.51.100.1"));
        assert_eq!(client("fd00::1", &["[2001:db8::1]:443"]), is("2001:db8::1"));
        assert_eq!(client("fd00::1", &["[2001:db8::1]"]), is("2001:db8::1"));
        let forged = "203.0.113.9, 198.51.100.1, 10.9.9.9";
        assert_eq!(client("10.1.2.3", &[forged]), is("198.51.100.1"));
        assert_eq!(client("10.1.2.3", &["203.0.113.9", "198.51.100.1"]), is("198.51.100.1"));
        assert_eq!(client("10.1.2.3", &["198.51.100.1, unknown"]), None);
        assert_eq!(client("10.1.2.3", &[]), None);
        assert_eq!(client("10.1.2.3", &["10.1.1.1"]), None);
        let long = ["10.1.1.1"; HOPS_MAX].join(",");
        assert_eq!(client("10.1.2.3", &[&format!("198.51.100.1,{long}")]), None);
        let nobody = Proxies::default();
        let mut headers = HeaderMap::new();
        headers.append(FORWARDED_FOR, "198.51.100.1".parse().unwrap());
        assert_eq!(nobody.client(ip("10.1.2.3"), &headers), Some(ip("10.1.2.3")));
    }
}
