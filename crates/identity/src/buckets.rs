//! Buckets: how often somebody may do something, however many there are of them.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use omnirelay_host::live::Live;
use parking_lot::Mutex;
use tokio::time::Instant;

/// How many of them are remembered; those that have all again are forgotten first.
pub const REMEMBERED: usize = 4096;
/// How often it is looked for those that can be forgotten.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// Rate at which each principal or address may call.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CallRate {
    /// At once, after a while without any.
    pub burst: f64,
    /// How many more each second.
    pub each_second: f64,
}

/// Rates at which callers may call.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CallRates {
    /// Of each principal.
    pub proven: CallRate,
    /// Of each address whose callers prove nothing.
    pub unproven: CallRate,
}

impl CallRate {
    fn refilled(&self, left: f64, since: Duration) -> f64 {
        (left + since.as_secs_f64() * self.each_second).min(self.burst)
    }

    /// How long until there is one.
    fn wait(&self, left: f64) -> Duration {
        Duration::from_secs_f64(((1.0 - left) / self.each_second).clamp(0.0, 3600.0))
    }
}

/// A bucket for each of them.
#[derive(Debug)]
pub struct RateBuckets<K> {
    rate: Live<CallRate>,
    known: Mutex<BucketLevels<K>>,
}

#[derive(Debug)]
struct BucketLevels<K> {
    left: HashMap<K, (f64, Instant)>,
    swept: Option<Instant>,
}

impl<K: Hash + Eq + Clone> RateBuckets<K> {
    pub fn new(rate: impl Into<Live<CallRate>>) -> Self {
        Self { rate: rate.into(), known: Mutex::new(BucketLevels { left: HashMap::new(), swept: None }) }
    }

    /// Counts one.
    ///
    /// # Errors
    /// How long it takes until there is one again, when there is none. Who cannot be remembered beside all others has none:
    /// nobody can tell those apart.
    pub fn take(&self, who: &K) -> Result<(), Duration> {
        let (now, rate) = (Instant::now(), self.rate.get());
        let mut known = self.known.lock();
        if let Some(entry) = known.left.get_mut(who) {
            let left = rate.refilled(entry.0, now - entry.1);
            *entry = ((left - 1.0).max(if left < 1.0 { left } else { 0.0 }), now);
            return if left < 1.0 { Err(rate.wait(left)) } else { Ok(()) };
        }
        if known.left.len() >= REMEMBERED && known.swept.is_none_or(|swept| now - swept >= SWEEP_EVERY) {
            known.left.retain(|_, (left, since)| rate.refilled(*left, now - *since) < rate.burst);
            known.swept = Some(now);
        }
        if known.left.len() >= REMEMBERED {
            return Err(SWEEP_EVERY);
        }
        known.left.insert(who.clone(), ((rate.burst - 1.0).max(0.0), now));
        Ok(())
    }

    /// Whether one that is remembered has none left; asking takes nothing.
    pub fn is_spent(&self, who: &K) -> bool {
        let (now, rate) = (Instant::now(), self.rate.get());
        let known = self.known.lock();
        known.left.get(who).is_some_and(|(left, since)| rate.refilled(*left, now - *since) < 1.0)
    }

    /// Gives one back that was counted for nothing.
    pub fn give_back(&self, who: &K) {
        let CallRate { burst, .. } = self.rate.get();
        let mut known = self.known.lock();
        if let Some((left, _)) = known.left.get_mut(who) {
            *left = (*left + 1.0).min(burst);
        }
    }

    #[cfg(any(test, feature = "testing"))]
    pub fn remembered(&self) -> usize {
        self.known.lock().left.len()
    }
}

/// Network that an address counts as: one host may have all addresses of a network of 64 bits.
pub fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => Ipv6Addr::from(u128::from(v6) & !u128::from(u64::MAX)).into(),
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn whoever_has_none_left_is_told_when_there_is_one() {
        let buckets = RateBuckets::new(CallRate { burst: 3.0, each_second: 2.0 });
        assert_eq!((0..5).filter(|_| buckets.take(&"ann").is_ok()).count(), 3);
        assert_eq!(buckets.take(&"ann"), Err(Duration::from_millis(500)));
        buckets.take(&"bob").unwrap();
        // Asking in vain takes nothing.
        tokio::time::sleep(Duration::from_millis(250)).await;
        assert_eq!(buckets.take(&"ann"), Err(Duration::from_millis(250)));
        tokio::time::sleep(Duration::from_millis(250)).await;
        buckets.take(&"ann").unwrap();
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!((0..5).filter(|_| buckets.take(&"ann").is_ok()).count(), 3, "no more than at once");
        buckets.give_back(&"ann");
        buckets.take(&"ann").unwrap();
        buckets.take(&"ann").unwrap_err();
    }
}
