//! The gates before what is issued: how often one address may ask to join, and how often one holder is issued something.

use std::net::IpAddr;
use std::time::Duration;

use omnirelay_identity::buckets::{CallRate, RateBuckets, network};
use omnirelay_pki::certificate::{Certificate, CertificateSerial};
use omnirelay_pki::key::Fingerprint;
use omnirelay_wire::fault::Fault;
use omnirelay_wire::reasons;

use super::lineage::has_lived_half;

/// How many joins an address has at once, after a while without any, and how many more each second.
const RATE: CallRate = CallRate { burst: 256.0, each_second: 20.0 };

/// Gate of enrolment: it limits how often each address may ask.
#[derive(Debug)]
pub struct EnrollmentGate(RateBuckets<IpAddr>);

impl Default for EnrollmentGate {
    fn default() -> Self {
        Self(RateBuckets::new(RATE))
    }
}

impl EnrollmentGate {
    /// Counts one.
    ///
    /// # Errors
    /// `TOO_MANY_JOINS` when the address, or its network of 64 bits, has asked too often.
    pub fn pass(&self, address: IpAddr) -> Result<(), Fault> {
        self.0.take(&network(address)).map_err(too_many)
    }
}

/// How much is issued at once on the strength of one key, after a while without any, and how much more each second: one in five
/// minutes. Each is a record of the audit trail, which is kept for more than a year.
const BY_KEY: CallRate = CallRate { burst: 60.0, each_second: 1.0 / 300.0 };
/// The same on the strength of all keys of a holder, whoever has them: as much as by four.
const BY_HOLDER: CallRate = CallRate { burst: 4.0 * BY_KEY.burst, each_second: 4.0 * BY_KEY.each_second };

/// Key under which the rate of issuing is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RateKey<'a> {
    /// By this certificate, which is renewed in time or after its end: that is nobody's to take from it.
    Due(&'a CertificateSerial),
    /// By this key.
    Key(&'a Fingerprint),
    /// By the holder alone, who shows no key, as at the control socket.
    Holder,
}

impl<'a> RateKey<'a> {
    /// Key under which a renewal of this certificate at the second `now` is counted.
    pub fn of_renewed(before: &'a Certificate, now: i64) -> Self {
        if has_lived_half(before, now) { Self::Due(&before.serial) } else { Self::Key(&before.key) }
    }
}

/// Gate of issuing: it limits how often each holder is issued a token or a certificate on the strength of what it has:
/// by each of its keys, so that who has stolen one takes nothing from the others, and by all of them.
#[derive(Debug)]
pub struct IssuingGate {
    keys: RateBuckets<String>,
    holders: RateBuckets<String>,
}

impl Default for IssuingGate {
    fn default() -> Self {
        Self { keys: RateBuckets::new(BY_KEY), holders: RateBuckets::new(BY_HOLDER) }
    }
}

impl IssuingGate {
    /// Counts one, unless nothing comes of it.
    ///
    /// # Errors
    /// `TOO_MANY_ISSUED` when the key or the holder was issued too much; those of `issuing`.
    pub async fn pass<T>(
        &self,
        holder: &str,
        rate_key: RateKey<'_>,
        issuing: impl Future<Output = Result<T, Fault>>,
    ) -> Result<T, Fault> {
        let (holder, key) = match rate_key {
            RateKey::Due(serial) => (None, format!("{holder} {serial}")),
            RateKey::Key(key) => (Some(holder.to_owned()), format!("{holder} {key}")),
            RateKey::Holder => (Some(holder.to_owned()), holder.to_owned()),
        };
        if let Some(holder) = &holder {
            self.holders.take(holder).map_err(|wait| too_many_issued(holder, BY_HOLDER, wait))?;
        }
        let taken = self.keys.take(&key).map_err(|wait| too_many_issued(&key, BY_KEY, wait));
        let issued = match taken {
            Ok(()) => issuing.await.inspect_err(|_| self.keys.give_back(&key)),
            Err(refused) => Err(refused),
        };
        if let (Err(_), Some(holder)) = (&issued, &holder) {
            self.holders.give_back(holder);
        }
        issued
    }
}

fn too_many_issued(what: &str, rate: CallRate, wait: Duration) -> Fault {
    let message = format!("{what} was issued {} tokens and certificates in a short time", rate.burst);
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
    use omnirelay_identity::buckets::REMEMBERED;

    #[tokio::test(start_paused = true)]
    async fn an_address_that_asks_too_often_waits_and_no_other_does() {
        let gate = EnrollmentGate::default();
        let [one, other]: [IpAddr; 2] = ["10.0.0.1", "10.0.0.2"].map(|text| text.parse().unwrap());
        let passed = (0..300).filter(|_| gate.pass(one).is_ok()).count();
        assert_eq!(passed, 256);
        gate.pass(other).unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!((0..300).filter(|_| gate.pass(one).is_ok()).count(), 20);
    }

    async fn passed(gate: &IssuingGate, holder: &str, rate_key: RateKey<'_>) -> Result<(), Fault> {
        gate.pass(holder, rate_key, std::future::ready(Ok(()))).await
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_is_issued_no_more_than_its_rate_and_what_fails_counts_for_nothing() {
        let (gate, ann) = (IssuingGate::default(), "operator/ann");
        let [key, other] = [b"one", b"two"].map(|key| Fingerprint::of(key));
        for _ in 0..300 {
            let failing = std::future::ready(Err(too_many(Duration::ZERO)));
            let failed: Result<(), Fault> = gate.pass(ann, RateKey::Key(&key), failing).await;
            assert_eq!(failed.unwrap_err().reason, "TOO_MANY_JOINS");
        }
        let mut issued = 0;
        while passed(&gate, ann, RateKey::Key(&key)).await.is_ok() {
            issued += 1;
        }
        assert_eq!(issued, 60);
        let refused = passed(&gate, ann, RateKey::Key(&key)).await.unwrap_err();
        assert_eq!((refused.reason.as_ref(), refused.code.retryable()), ("TOO_MANY_ISSUED", true));
        assert_eq!(refused.retried_after(), Some(Duration::from_secs(300)), "{refused:?}");
        passed(&gate, "service/orders", RateKey::Key(&key)).await.expect("another holder");
        passed(&gate, ann, RateKey::Key(&other)).await.expect("another key");
        passed(&gate, ann, RateKey::Holder).await.expect("no key");
        tokio::time::sleep(Duration::from_secs(300)).await;
        passed(&gate, ann, RateKey::Key(&key)).await.unwrap();
        passed(&gate, ann, RateKey::Key(&key)).await.unwrap_err();
    }

    #[tokio::test(start_paused = true)]
    async fn many_keys_of_a_holder_have_no_more_than_four_and_take_nothing_from_what_is_due() {
        let (gate, ann) = (IssuingGate::default(), "operator/ann");
        let mut issued = 0;
        for number in 0..300_u32 {
            let key = Fingerprint::of(&number.to_be_bytes());
            issued += usize::from(passed(&gate, ann, RateKey::Key(&key)).await.is_ok());
        }
        assert_eq!(issued, 240);
        let serial = CertificateSerial::of(&[7]);
        passed(&gate, ann, RateKey::Due(&serial)).await.unwrap();
        passed(&gate, "operator/bob", RateKey::Holder).await.unwrap();
        let mut again = 1;
        while passed(&gate, ann, RateKey::Due(&serial)).await.is_ok() {
            again += 1;
        }
        assert_eq!(again, 60, "the same one again and again");
    }

    #[tokio::test(start_paused = true)]
    async fn a_host_with_many_addresses_is_one() {
        let gate = EnrollmentGate::default();
        let of = |number: u32| {
            IpAddr::from(Ipv6Addr::new(0xfd00, 0, 0, 1, 0, 0, (number >> 16) as u16, number as u16))
        };
        assert_eq!((0..300).filter(|number| gate.pass(of(*number)).is_ok()).count(), 256);
        gate.pass("fd00:0:0:2::1".parse().unwrap()).unwrap();
        gate.pass("::ffff:10.0.0.1".parse().unwrap()).unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_remembered_is_bounded() {
        let gate = EnrollmentGate::default();
        let of = |number: u32| IpAddr::from(std::net::Ipv4Addr::from(number));
        let passed = (0..5000).filter(|number| gate.pass(of(*number)).is_ok()).count();
        assert_eq!((passed, gate.0.remembered()), (REMEMBERED, REMEMBERED));
        tokio::time::sleep(Duration::from_secs(1)).await;
        gate.pass(of(9000)).unwrap();
        assert_eq!(gate.0.remembered(), 1);
    }
}
