//! The gates before what is issued: how often one address may ask to join, and how often one holder is issued something.

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

/// How much a holder is issued at once, after a while without any, and how much more each second: one in five minutes. Each is
/// a record of the audit trail, which is kept for more than a year.
const ISSUING: Rate = Rate { burst: 60.0, each_second: 1.0 / 300.0 };

/// How often each holder may still be issued a token or a certificate on the strength of the one before.
#[derive(Debug)]
pub struct IssuingGate(Buckets<String>);

impl Default for IssuingGate {
    fn default() -> Self {
        Self(Buckets::new(ISSUING))
    }
}

impl IssuingGate {
    /// Counts one, unless nothing comes of it.
    ///
    /// # Errors
    /// `TOO_MANY_ISSUED` when the holder was issued too much; those of `issuing`.
    pub async fn pass<T>(
        &self,
        holder: &str,
        issuing: impl Future<Output = Result<T, Fault>>,
    ) -> Result<T, Fault> {
        let holder = holder.to_owned();
        self.0.take(&holder).map_err(|wait| too_many_issued(&holder, wait))?;
        let issued = issuing.await;
        if issued.is_err() {
            self.0.give_back(&holder);
        }
        issued
    }
}

fn too_many_issued(holder: &str, wait: Duration) -> Fault {
    let message = format!("{holder} was issued {} tokens and certificates in a short time", ISSUING.burst);
    Fault::new(reasons::TOO_MANY_ISSUED, message)
        .hint("wait as long as Retry-After says, then try again; use one that was issued until it ends")
        .retry_after(wait)
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
    async fn a_holder_is_issued_no_more_than_its_rate_and_what_fails_counts_for_nothing() {
        let gate = IssuingGate::default();
        let issues = async |holder: &str| gate.pass(holder, std::future::ready(Ok(()))).await;
        for _ in 0..100 {
            let failed: Result<(), Fault> =
                gate.pass("operator/ann", std::future::ready(Err(too_many(Duration::ZERO)))).await;
            assert_eq!(failed.unwrap_err().reason, "TOO_MANY_JOINS");
        }
        let mut issued = 0;
        while issues("operator/ann").await.is_ok() {
            issued += 1;
        }
        assert_eq!(issued, 60);
        let refused = issues("operator/ann").await.unwrap_err();
        assert_eq!((refused.reason.as_ref(), refused.code.retryable()), ("TOO_MANY_ISSUED", true));
        assert_eq!(refused.retried_after(), Some(Duration::from_secs(300)), "{refused:?}");
        issues("service/orders").await.unwrap();
        tokio::time::sleep(Duration::from_secs(300)).await;
        issues("operator/ann").await.unwrap();
        issues("operator/ann").await.unwrap_err();
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
