//! Reach of the clients of the daemon: they connect anywhere, or where a caller may send them.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use omnirelay_core::reach::{self, UnreachedAddress};
use tokio::net::{TcpStream, lookup_host};

/// Addresses that a client of the daemon connects to.
#[derive(Clone, Default)]
pub enum AddressReach {
    /// Those of the configuration, whatever they are.
    #[default]
    Anywhere,
    /// Those that a caller names: of other hosts, and not of the servers that keep the registry.
    Outside { store: Arc<[(String, u16)]> },
}

impl fmt::Debug for AddressReach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Anywhere => "Anywhere",
            Self::Outside { .. } => "Outside",
        })
    }
}

/// Reason why an address that a caller has named is not connected to.
#[derive(Debug, thiserror::Error)]
pub enum AddressRefusal {
    #[error("{address} is not asked for a caller")]
    NotReached { address: IpAddr, source: UnreachedAddress },
    #[error("{address} is not asked for a caller: the registry is kept there")]
    Store { address: SocketAddr },
    #[error("`{host}` is not asked for a caller: the registry is kept there")]
    StoreName { host: String },
    #[error("`{host}` has no address")]
    Unknown { host: String },
}

impl AddressReach {
    /// Those that a caller names, where these servers keep the registry.
    pub fn outside(store: impl IntoIterator<Item = (String, u16)>) -> Self {
        Self::Outside { store: store.into_iter().collect() }
    }

    /// Checks a host as far as it says by itself where it is; a name is judged once it is connected to.
    ///
    /// # Errors
    /// [`AddressRefusal`].
    pub fn check_host(&self, host: &str, port: u16) -> Result<(), AddressRefusal> {
        let Self::Outside { store } = self else { return Ok(()) };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        if let Ok(address) = host.parse() {
            check_address(SocketAddr::new(address, port))?;
        }
        let is_store = store.iter().any(|(name, of)| name.eq_ignore_ascii_case(host) && *of == port);
        match is_store {
            true => Err(AddressRefusal::StoreName { host: host.to_owned() }),
            false => Ok(()),
        }
    }
}

/// Connects to a host, after all that its name stands for was judged.
///
/// # Errors
/// When nothing answers there; [`AddressRefusal`] within: when it is not to be asked.
pub async fn connect_outside((host, port): (&str, u16), store: &[(String, u16)]) -> io::Result<TcpStream> {
    let addresses: Vec<SocketAddr> = lookup_host((host, port)).await?.collect();
    let mut kept_at = Vec::new();
    for (name, port) in store {
        // A server that has no address now is not to be reached by it either.
        kept_at.extend(lookup_host((name.as_str(), *port)).await.into_iter().flatten());
    }
    judge(host, &addresses, &kept_at).map_err(io::Error::other)?;
    let stream = omnirelay_dial::tcp_to(addresses).await?;
    // An address of this host that is none of loopback shows at both ends.
    let (local, remote) = (stream.local_addr()?.ip(), stream.peer_addr()?.ip());
    if local == remote {
        let source = UnreachedAddress::OwnHost;
        return Err(io::Error::other(AddressRefusal::NotReached { address: remote, source }));
    }
    Ok(stream)
}

/// Checks all addresses of a name: one that is not to be asked may be the one that is taken.
fn judge(host: &str, addresses: &[SocketAddr], kept_at: &[SocketAddr]) -> Result<(), AddressRefusal> {
    if addresses.is_empty() {
        return Err(AddressRefusal::Unknown { host: host.to_owned() });
    }
    let canonical = |address: &SocketAddr| SocketAddr::new(address.ip().to_canonical(), address.port());
    for address in addresses {
        check_address(*address)?;
        if kept_at.iter().any(|kept| canonical(kept) == canonical(address)) {
            return Err(AddressRefusal::Store { address: *address });
        }
    }
    Ok(())
}

fn check_address(address: SocketAddr) -> Result<(), AddressRefusal> {
    let address = address.ip();
    reach::check(address).map_err(|source| AddressRefusal::NotReached { address, source })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_name_is_judged_by_all_that_it_stands_for() {
        let store = [at("10.0.0.9:6379")];
        assert!(judge("peer", &[at("10.0.0.7:80"), at("[2001:db8::7]:80")], &store).is_ok());
        for (what, addresses) in [
            ("one of them is of this host", vec![at("10.0.0.7:80"), at("127.0.0.1:80")]),
            ("mapped", vec![at("[::ffff:169.254.169.254]:80")]),
            ("the store", vec![at("10.0.0.9:6379")]),
            ("the store, mapped", vec![at("[::ffff:10.0.0.9]:6379")]),
            ("nothing", vec![]),
        ] {
            assert!(judge("peer", &addresses, &store).is_err(), "{what}");
        }
        assert!(judge("peer", &[at("10.0.0.9:8080")], &store).is_ok(), "another port of that host");
    }

    #[test]
    fn what_a_caller_writes_is_judged_at_once() {
        let reach = AddressReach::outside([("redis.internal".to_owned(), 6379)]);
        for (host, port, fine) in [
            ("10.0.0.7", 80, true),
            ("peer-service", 8080, true),
            ("127.0.0.1", 80, false),
            ("[::1]", 80, false),
            ("[::ffff:127.0.0.1]", 80, false),
            ("169.254.169.254", 80, false),
            ("Redis.internal", 6379, false),
            ("redis.internal", 8080, true),
        ] {
            assert_eq!(reach.check_host(host, port).is_ok(), fine, "{host}:{port}");
            assert!(AddressReach::Anywhere.check_host(host, port).is_ok());
        }
    }

    #[tokio::test]
    async fn a_name_of_this_host_is_not_connected_to() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let refused = connect_outside(("localhost", port), &[]).await.unwrap_err();
        let inner = refused.get_ref().and_then(|inner| inner.downcast_ref::<AddressRefusal>());
        assert!(matches!(inner, Some(AddressRefusal::NotReached { .. })), "{refused:?}");
    }
}
