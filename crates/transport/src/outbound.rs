//! The address by which this host reaches others.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

/// The address of the default route, for a port that is bound to all addresses of a family; loopback where there is none.
/// Nothing is sent.
pub fn outbound(wildcard: IpAddr) -> IpAddr {
    // Addresses for documentation: they are routed by default, and belong to nobody.
    let v4 = || route((Ipv4Addr::UNSPECIFIED, 0).into(), (Ipv4Addr::new(192, 0, 2, 1), 9).into());
    let far = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
    let v6 = || route((Ipv6Addr::UNSPECIFIED, 0).into(), (far, 9).into());
    match wildcard {
        IpAddr::V4(_) => v4().unwrap_or(Ipv4Addr::LOCALHOST.into()),
        // A socket of both families is reached by the one that more have.
        IpAddr::V6(_) => v4().or_else(v6).unwrap_or(Ipv6Addr::LOCALHOST.into()),
    }
}

fn route(from: SocketAddr, to: SocketAddr) -> Option<IpAddr> {
    let socket = UdpSocket::bind(from).ok()?;
    socket.connect(to).ok()?;
    let ip = socket.local_addr().ok()?.ip();
    (!ip.is_unspecified()).then_some(ip)
}
