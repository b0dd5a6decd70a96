//! The gate before enrolment: how often one address may ask.

use std::net::IpAddr;
use std::time::Duration;

use omnirelay_wire::fault::Fault;
use omnirelay_wire::reasons;

use crate::daemon::identity::buckets::{Buckets, Rate, network};

/// How many joins an address has at once, after a while without any, and how many more each second.
const RATE: Rate = Rate { burst: 256.0, each_second: 20.0 };

/// How often each address may still ask.
#[derive(Debug)]
pub struct Gate(Buckets<IpAddr>);

impl Default for Gate {
    fn default() -> Self {
        Self(Buckets::new(RATE))
    }
}

impl Gate {
    /// Counts one.
    ///
    /// # Errors
    /// `TOO_MANY_JOINS` when the address, or its network of 64 bits, has asked too often.
    pub fn pass(&self, address: IpAddr) -> Result<(), Fault> {
        self.0.take(&network(address)).map_err(too_many)
    }
}

fn too_many(wait: Duration) -> Fault {
    Fault::new(reasons::TOO_MANY_JOINS, "too many hosts ask to join from this address")
        .hint("wait a second, then try again")
        .retry_after(wait)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use super::*;
    use crate::daemon::identity::buckets::REMEMBERED;

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
        assert_eq!((passed, gate.0.remembered()), (REMEMBERED, REMEMBERED));
        tokio::time::sleep(Duration::from_secs(1)).await;
        gate.pass(of(9000)).unwrap();
        assert_eq!(gate.0.remembered(), 1);
    }
}
