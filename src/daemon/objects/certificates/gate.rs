//! The gate before enrolment: how often one address may ask.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use omnirelay_wire::fault::Fault;
use omnirelay_wire::reasons;
use tokio::time::Instant;

/// How many joins an address has at once, after a while without any.
const BURST: f64 = 256.0;
/// How many more it has each second.
const EACH_SECOND: f64 = 20.0;
/// How many addresses are remembered; those that have all again are forgotten first.
const REMEMBERED: usize = 4096;

/// How often each address may still ask.
#[derive(Debug, Default)]
pub struct Gate(Mutex<HashMap<IpAddr, (f64, Instant)>>);

impl Gate {
    /// Counts one.
    ///
    /// # Errors
    /// `TOO_MANY_JOINS` when the address, or its network of 64 bits, has asked too often.
    pub fn pass(&self, address: IpAddr) -> Result<(), Fault> {
        let (now, address) = (Instant::now(), network(address));
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= REMEMBERED {
            known.retain(|_, (left, since)| refilled(*left, now - *since) < BURST);
        }
        if known.len() >= REMEMBERED && !known.contains_key(&address) {
            // Nobody can tell those apart that are too many to be remembered.
            return Err(too_many());
        }
        let entry = known.entry(address).or_insert((BURST, now));
        let left = refilled(entry.0, now - entry.1);
        *entry = ((left - 1.0).max(0.0), now);
        if left < 1.0 { Err(too_many()) } else { Ok(()) }
    }
}

fn refilled(left: f64, since: Duration) -> f64 {
    (left + since.as_secs_f64() * EACH_SECOND).min(BURST)
}

/// One host may have all addresses of a network of 64 bits.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => Ipv6Addr::from(u128::from(v6) & !u128::from(u64::MAX)).into(),
        v4 @ IpAddr::V4(_) => v4,
    }
}

fn too_many() -> Fault {
    Fault::new(reasons::TOO_MANY_JOINS, "too many hosts ask to join from this address")
        .hint("wait a second, then try again")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_address_that_asks_too_often_waits_and_no_other_does() {
        let gate = Gate::default();
        let [one, other]: [IpAddr; 2] = ["10.0.0.1", "10.0.0.2"].map(|text| text.parse().unwrap());
        let passed = (0..300).filter(|_| gate.pass(one).is_ok()).count();
        assert_eq!(passed, 256);
        gate.pass(other).unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!((0..300).filter(|_| gate.pass(one).is_ok()).count(), 20);
    }

    #[tokio::test(start_paused = true)]
    async fn a_host_with_many_addresses_is_one() {
        let gate = Gate::default();
        let of = |number: u32| {
            IpAddr::from(Ipv6Addr::new(0xfd00, 0, 0, 1, 0, 0, (number >> 16) as u16, number as u16))
        };
        assert_eq!((0..300).filter(|number| gate.pass(of(*number)).is_ok()).count(), 256);
        gate.pass("fd00:0:0:2::1".parse().unwrap()).unwrap();
        gate.pass("::ffff:10.0.0.1".parse().unwrap()).unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_remembered_is_bounded() {
        let gate = Gate::default();
        let of = |number: u32| IpAddr::from(std::net::Ipv4Addr::from(number));
        let passed = (0..5000).filter(|number| gate.pass(of(*number)).is_ok()).count();
        assert_eq!((passed, gate.0.lock().unwrap().len()), (REMEMBERED, REMEMBERED));
        tokio::time::sleep(Duration::from_secs(1)).await;
        gate.pass(of(9000)).unwrap();
        assert_eq!(gate.0.lock().unwrap().len(), 1);
    }
}
