//! Addresses, named by somebody else, that a daemon connects to: those that lead out of its own host and link.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Reason why a daemon does not connect to an address that somebody has named.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnreachedAddress {
    #[error("it is an address of the daemon's own host")]
    OwnHost,
    #[error("it is an address of the link alone, where hosts ask who they are")]
    Link,
    #[error("it is an address of many hosts, or of none")]
    NoHost,
}

/// Checks that an address leads to another host, through a network.
///
/// # Errors
/// [`UnreachedAddress`]: why not. An IPv6 address that stands for one of IPv4 is judged as that.
pub fn check(address: IpAddr) -> Result<(), UnreachedAddress> {
    match address {
        IpAddr::V4(address) => check_v4(address),
        IpAddr::V6(address) => match embedded(address) {
            Some(inner) => check_v4(inner),
            None => check_v6(address),
        },
    }
}

fn check_v4(address: Ipv4Addr) -> Result<(), UnreachedAddress> {
    let [first, ..] = address.octets();
    if address.is_loopback() || first == 0 {
        // Whoever connects to `0.0.0.0` reaches the host itself.
        return Err(UnreachedAddress::OwnHost);
    }
    if address.is_link_local() {
        return Err(UnreachedAddress::Link);
    }
    // From 240.0.0.0 on nothing is given to anybody.
    if address.is_multicast() || first >= 240 { Err(UnreachedAddress::NoHost) } else { Ok(()) }
}

fn check_v6(address: Ipv6Addr) -> Result<(), UnreachedAddress> {
    if address.is_loopback() || address.is_unspecified() {
        return Err(UnreachedAddress::OwnHost);
    }
    if address.is_unicast_link_local() {
        return Err(UnreachedAddress::Link);
    }
    if address.is_multicast() { Err(UnreachedAddress::NoHost) } else { Ok(()) }
}

/// The address of IPv4 that one of IPv6 stands for: mapped, compatible, by NAT64 or by 6to4.
fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let segments = address.segments();
    let of = |high: u16, low: u16| Ipv4Addr::from((u32::from(high) << 16) | u32::from(low));
    match segments {
        [0, 0, 0, 0, 0, 0xffff, high, low] => Some(of(high, low)),
        // `::` and `::1` are no such.
        [0, 0, 0, 0, 0, 0, high, low] if high != 0 => Some(of(high, low)),
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => Some(of(high, low)),
        [0x2002, high, low, ..] => Some(of(high, low)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_leads_to_another_host_is_reached() {
        use UnreachedAddress::{Link, NoHost, OwnHost};
        let cases = [
            ("10.0.0.7", Ok(())),
            ("192.168.1.1", Ok(())),
            ("203.0.113.9", Ok(())),
            ("2001:db8::7", Ok(())),
            ("fd00::7", Ok(())),
            ("::ffff:10.0.0.7", Ok(())),
            ("127.0.0.1", Err(OwnHost)),
            ("127.8.0.1", Err(OwnHost)),
            ("0.0.0.0", Err(OwnHost)),
            ("0.1.2.3", Err(OwnHost)),
            ("::1", Err(OwnHost)),
            ("::", Err(OwnHost)),
            ("::ffff:127.0.0.1", Err(OwnHost)),
            ("::127.0.0.1", Err(OwnHost)),
            ("::ffff:0.0.0.0", Err(OwnHost)),
            ("64:ff9b::7f00:1", Err(OwnHost)),
            ("2002:7f00:1::", Err(OwnHost)),
            ("169.254.169.254", Err(Link)),
            ("::ffff:169.254.169.254", Err(Link)),
            ("64:ff9b::a9fe:a9fe", Err(Link)),
            ("fe80::1", Err(Link)),
            ("224.0.0.1", Err(NoHost)),
            ("255.255.255.255", Err(NoHost)),
            ("240.0.0.1", Err(NoHost)),
            ("ff02::1", Err(NoHost)),
        ];
        for (address, expected) in cases {
            assert_eq!(check(address.parse().unwrap()), expected, "{address}");
        }
    }
}
