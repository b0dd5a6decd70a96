//! The budget of handshakes: how many of one address may come to nothing before further ones are not read.
//!
//! A handshake is the dearest thing that somebody can have done who has proven nothing. So one is taken from its address when
//! it begins and given back when it succeeds: whoever fails, or leaves off, draws on what there is.

use std::net::IpAddr;
use std::sync::Arc;

use super::buckets::{CallRate, RateBuckets, network};

/// Handshakes of one address, of IPv6 one network of 64 bits, that are under way or came to nothing. As many clients behind one
/// gateway may begin at once after a restart; those beyond find room as soon as the first are through.
const OF_ADDRESS: CallRate = CallRate { burst: 512.0, each_second: 20.0 };
/// Those of the loopback interface, where one address stands for all programs of the host, and for all clients of a proxy on it.
const OF_THIS_HOST: CallRate = CallRate { burst: 2048.0, each_second: 100.0 };
/// Handshakes of one address that succeeded without a certificate: whoever has a token, or nothing. Too low: clients with
/// tokens behind one gateway that connect anew for each call wait; too high: whoever has proven nothing takes more of a core.
const UNPROVEN: CallRate = CallRate { burst: 2048.0, each_second: 100.0 };
/// The same of the loopback interface.
const UNPROVEN_OF_THIS_HOST: CallRate = CallRate { burst: 8192.0, each_second: 400.0 };
/// Those of all addresses together that cannot be remembered beside the others.
const OF_THE_REST: CallRate = CallRate { burst: 1024.0, each_second: 200.0 };

/// Budget of the handshakes that the addresses which call a port may begin.
#[derive(Debug)]
pub struct HandshakeBudget {
    addresses: RateBuckets<IpAddr>,
    this_host: RateBuckets<()>,
    rest: RateBuckets<()>,
    unproven: RateBuckets<IpAddr>,
    unproven_of_this_host: RateBuckets<()>,
}

/// Bucket that a handshake was taken from.
#[derive(Debug)]
enum ChargedBucket {
    Address(IpAddr),
    ThisHost,
    Rest,
}

/// A handshake that has begun. Dropped, it has come to nothing.
#[derive(Debug)]
pub struct HandshakeAttempt {
    of: Arc<HandshakeBudget>,
    address: IpAddr,
    taken: ChargedBucket,
}

impl Default for HandshakeBudget {
    fn default() -> Self {
        let [this_host, rest, unproven_of_this_host] =
            [OF_THIS_HOST, OF_THE_REST, UNPROVEN_OF_THIS_HOST].map(RateBuckets::new);
        let [addresses, unproven] = [OF_ADDRESS, UNPROVEN].map(RateBuckets::new);
        Self { addresses, this_host, rest, unproven, unproven_of_this_host }
    }
}

impl HandshakeBudget {
    /// One that has so many for the loopback interface.
    #[cfg(any(test, feature = "testing"))]
    pub fn of(this_host: CallRate) -> Self {
        Self { this_host: RateBuckets::new(this_host), ..Self::default() }
    }

    /// Takes a handshake of this address; `None`: too many came to nothing, and this one is not to be read.
    pub fn begin(self: &Arc<Self>, address: IpAddr) -> Option<HandshakeAttempt> {
        if self.has_proven_too_little(address) {
            return None;
        }
        let taken = self.take(address)?;
        Some(HandshakeAttempt { of: Arc::clone(self), address, taken })
    }

    /// Whether the next one of this address would not be read.
    pub fn is_spent(&self, address: IpAddr) -> bool {
        let is_spent = match address.to_canonical().is_loopback() {
            true => self.this_host.is_spent(&()),
            false => self.addresses.is_spent(&network(address)),
        };
        is_spent || self.has_proven_too_little(address)
    }

    /// Whether too many of an address have succeeded without a certificate.
    fn has_proven_too_little(&self, address: IpAddr) -> bool {
        match address.to_canonical().is_loopback() {
            true => self.unproven_of_this_host.is_spent(&()),
            false => self.unproven.is_spent(&network(address)),
        }
    }

    fn take(&self, address: IpAddr) -> Option<ChargedBucket> {
        if address.to_canonical().is_loopback() {
            return self.this_host.take(&()).ok().map(|()| ChargedBucket::ThisHost);
        }
        let address = network(address);
        match self.addresses.take(&address) {
            Ok(()) => Some(ChargedBucket::Address(address)),
            Err(_) if self.addresses.is_spent(&address) => None,
            Err(_) => self.rest.take(&()).ok().map(|()| ChargedBucket::Rest),
        }
    }
}

impl HandshakeAttempt {
    /// It has succeeded. One without a certificate is counted by a wider budget: it cost as much, and proved nobody.
    pub fn succeeded(self, with_certificate: bool) {
        if !with_certificate {
            // What is over is seen when the next one begins.
            let _ = match self.address.to_canonical().is_loopback() {
                true => self.of.unproven_of_this_host.take(&()),
                false => self.of.unproven.take(&network(self.address)),
            };
        }
        self.give_back();
    }

    /// It has failed by no fault of whoever began it.
    pub fn give_back(self) {
        let Self { of, taken, .. } = self;
        match taken {
            ChargedBucket::Address(address) => of.addresses.give_back(&address),
            ChargedBucket::ThisHost => of.this_host.give_back(&()),
            ChargedBucket::Rest => of.rest.give_back(&()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::buckets::REMEMBERED;
    use super::*;

    fn begun(budget: &Arc<HandshakeBudget>, address: &str) -> Option<HandshakeAttempt> {
        budget.begin(address.parse().unwrap())
    }

    /// How many of an address fail in a row until none is read.
    fn failures(budget: &Arc<HandshakeBudget>, address: &str) -> usize {
        (0..10_000).take_while(|_| begun(budget, address).is_some()).count()
    }

    #[tokio::test(start_paused = true)]
    async fn who_fails_has_few_and_who_succeeds_has_as_many_as_it_likes() {
        let budget = Arc::<HandshakeBudget>::default();
        for _ in 0..10_000 {
            begun(&budget, "10.0.0.7").unwrap().give_back();
        }
        assert_eq!(failures(&budget, "10.0.0.7"), OF_ADDRESS.burst as usize);
        assert!(budget.is_spent("10.0.0.7".parse().unwrap()));
        // Of another address, another program of this host, and another network all are read.
        for other in ["10.0.0.8", "127.0.0.1", "2001:db8:0:1::1"] {
            assert!(begun(&budget, other).is_some(), "{other}");
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(failures(&budget, "::ffff:10.0.0.7"), OF_ADDRESS.each_second as usize);
        assert_eq!(failures(&budget, "2001:db8::1"), OF_ADDRESS.burst as usize);
        assert!(begun(&budget, "2001:db8::ffff:2").is_none(), "one host has all addresses of a network");
        assert_eq!(failures(&budget, "127.0.0.1"), OF_THIS_HOST.burst as usize);
        assert!(budget.is_spent("::1".parse().unwrap()), "it is the same host");
    }

    #[tokio::test(start_paused = true)]
    async fn who_shows_no_certificate_has_a_budget_of_successes() {
        let budget = Arc::<HandshakeBudget>::default();
        let of = |address: &str, with: bool| {
            (0..20_000).take_while(|_| begun(&budget, address).map(|it| it.succeeded(with)).is_some()).count()
        };
        assert_eq!(of("10.0.0.7", false), UNPROVEN.burst as usize);
        assert!(budget.is_spent("10.0.0.7".parse().unwrap()));
        assert_eq!(of("127.0.0.1", false), UNPROVEN_OF_THIS_HOST.burst as usize);
        assert_eq!(of("10.0.0.8", true), 20_000);
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(of("10.0.0.7", false), UNPROVEN.each_second as usize);
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_is_behind_one_gateway_gets_in_as_soon_as_the_first_are_through() {
        let budget = Arc::<HandshakeBudget>::default();
        let mut under_way: Vec<_> = (0..2000).filter_map(|_| begun(&budget, "10.0.0.7")).collect();
        let mut through = 0;
        while through < 2000 {
            through += under_way.len();
            assert!(!under_way.is_empty(), "{through} are through");
            under_way.drain(..).for_each(HandshakeAttempt::give_back);
            under_way.extend((through..2000).map_while(|_| begun(&budget, "10.0.0.7")));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn many_networks_of_one_stranger_keep_nobody_out() {
        let budget = Arc::<HandshakeBudget>::default();
        for network in 0..u16::try_from(REMEMBERED).unwrap() {
            assert!(begun(&budget, &format!("2001:db8:0:{network:x}::1")).is_some());
        }
        // What is remembered is bounded; the next one shares what is for the rest.
        begun(&budget, "10.0.0.7").unwrap().give_back();
        assert_eq!(failures(&budget, "10.0.0.8"), OF_THE_REST.burst as usize);
        assert!(!budget.is_spent("10.0.0.7".parse().unwrap()));
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(
            failures(&budget, "10.0.0.8"),
            OF_ADDRESS.burst as usize,
            "who has all again is forgotten"
        );
    }
}
