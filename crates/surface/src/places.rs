//! Limit on the connections that one address may have, so that no single host takes them all.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use omnirelay_host::live::Live;
use parking_lot::Mutex;

/// How many bits of an IPv6 address tell hosts apart: one host has all addresses below them.
const HOST_BITS: u32 = 64;

/// The connections of a listener, by who made them.
#[derive(Debug)]
pub(super) struct ConnectionPlaces {
    per_address_max: Live<usize>,
    taken: Mutex<HashMap<IpAddr, usize>>,
}

/// A place that one connection has. Given back when it is dropped.
#[derive(Debug)]
pub(super) struct ConnectionPlace {
    of: Arc<ConnectionPlaces>,
    /// `None`: it is not counted.
    address: Option<IpAddr>,
}

impl ConnectionPlaces {
    pub(super) fn new(per_address_max: impl Into<Live<usize>>) -> Arc<Self> {
        Arc::new(Self { per_address_max: per_address_max.into(), taken: Mutex::default() })
    }

    /// A place for one more; `None` when its address has as many as it may. Where that is fewer than before, those that are taken
    /// stay until they are given back.
    ///
    /// Callers over the loopback interface are not counted: one address stands for all programs of the host there, and
    /// for all clients of a proxy on it.
    pub(super) fn take(self: &Arc<Self>, remote: IpAddr) -> Option<ConnectionPlace> {
        let address = host_of(remote);
        if address.is_loopback() {
            return Some(ConnectionPlace { of: Arc::clone(self), address: None });
        }
        let per_address_max = self.per_address_max.get();
        let mut taken = self.taken.lock();
        let count = taken.get(&address).copied().unwrap_or(0);
        if count >= per_address_max {
            return None;
        }
        taken.insert(address, count + 1);
        Some(ConnectionPlace { of: Arc::clone(self), address: Some(address) })
    }
}

impl Drop for ConnectionPlace {
    fn drop(&mut self) {
        let Some(address) = self.address else { return };
        let mut taken = self.of.taken.lock();
        match taken.get_mut(&address) {
            Some(count) if *count > 1 => *count -= 1,
            Some(_) | None => drop(taken.remove(&address)),
        }
    }
}

/// Address that stands for all addresses of one host.
pub(super) fn host_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) if !address.is_loopback() => {
            Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << (128 - HOST_BITS))).into()
        }
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use omnirelay_host::live::LiveSource;

    #[test]
    fn one_host_gets_its_share_and_gives_it_back() {
        let places = ConnectionPlaces::new(2);
        let take = |address: &str| places.take(address.parse().unwrap());
        let first = take("10.0.0.7");
        let second = take("::ffff:10.0.0.7");
        assert!(first.is_some() && second.is_some());
        assert!(take("10.0.0.7").is_none(), "one too many");
        assert!(take("10.0.0.8").is_some(), "another host");
        drop(first);
        assert!(take("10.0.0.7").is_some(), "a place that was given back");
        drop(second);
        let held = [take("2001:db8::1"), take("2001:db8::ffff:2")];
        assert!(
            held.iter().all(Option::is_some) && take("2001:db8::3").is_none(),
            "one host, many addresses"
        );
        assert!(take("2001:db8:0:1::1").is_some(), "another network");
        drop(held);
        let fewer = LiveSource::new(2_usize);
        let live = ConnectionPlaces::new(fewer.live(|max| *max));
        let of_one: Vec<_> = (0..3).map(|_| live.take([10, 0, 0, 7].into())).collect();
        assert_eq!(of_one.iter().flatten().count(), 2);
        fewer.replace(1);
        drop(of_one.into_iter().next());
        assert!(
            live.take([10, 0, 0, 8].into()).is_some(),
            "what is open counts, however many may be by then"
        );
        let local: Vec<_> = (0..100).map(|_| (take("127.0.0.1"), take("::1"))).collect();
        assert!(local.iter().all(|(four, six)| four.is_some() && six.is_some()), "this host");
        drop(local);
        assert!(places.taken.lock().is_empty(), "nothing is kept of who has left");
    }
}
