//! Rates at which callers may call: each principal, and each address whose callers prove nothing.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use omnirelay_host::live::Live;
use omnirelay_identity::buckets::{CallRates, RateBuckets, network};
use omnirelay_identity::caller::{PeerInfo, cluster_kin};
use omnirelay_wire::fault::Fault;
use omnirelay_wire::reasons;

/// Limiter of the calls of each caller. Without rates nobody is counted.
#[derive(Default)]
pub(super) struct CallRateLimiter(Option<CallBuckets>);

struct CallBuckets {
    proven: RateBuckets<Arc<str>>,
    unproven: RateBuckets<IpAddr>,
    /// Of proofs that cost something to judge.
    judged: RateBuckets<IpAddr>,
}

impl CallRateLimiter {
    pub(super) fn of(rates: &Live<CallRates>) -> Self {
        let unproven = rates.map(|rates| rates.unproven);
        Self(Some(CallBuckets {
            proven: RateBuckets::new(rates.map(|rates| rates.proven)),
            unproven: RateBuckets::new(unproven.clone()),
            judged: RateBuckets::new(unproven),
        }))
    }

    /// Counts a call of somebody who has proved who they are, or is taken for somebody. Those of another cluster are counted
    /// together.
    pub(super) fn proven(&self, name: &Arc<str>) -> Result<(), Fault> {
        let Some(counted) = &self.0 else { return Ok(()) };
        let who = cluster_kin(name).map_or_else(|| Arc::clone(name), Arc::from);
        counted.proven.take(&who).map_err(|wait| too_many(&who, wait))
    }

    /// Counts a call that proved nothing, by where it came from.
    pub(super) fn unproven(&self, peer: &PeerInfo) -> Result<(), Fault> {
        let Some(counted) = &self.0 else { return Ok(()) };
        let address = network(peer.remote.ip());
        counted.unproven.take(&address).map_err(|wait| too_many("callers of one address without proof", wait))
    }

    /// Counts a proof that costs something to judge, by where it came from; apart from calls that bring none, so that those do
    /// not keep out whoever has a good one.
    pub(super) fn judged(&self, peer: &PeerInfo) -> Result<(), Fault> {
        let Some(counted) = &self.0 else { return Ok(()) };
        let address = network(peer.remote.ip());
        counted
            .judged
            .take(&address)
            .map_err(|wait| too_many("tokens of one address that are not known", wait))
    }

    /// Takes back what [`Self::judged`] has counted: the call has proved somebody.
    pub(super) fn has_proved(&self, peer: &PeerInfo) {
        if let Some(counted) = &self.0 {
            counted.judged.give_back(&network(peer.remote.ip()));
        }
    }
}

fn too_many(who: &str, wait: Duration) -> Fault {
    let message =
        format!("too many calls: {who} may call as often as control.rateLimit says, and calls more often");
    Fault::new(reasons::TOO_MANY_CALLS, message)
        .hint("wait as long as Retry-After says, then try again; spread the calls, or raise the limit")
        .retry_after(wait)
}

#[cfg(test)]
mod tests {
    use super::*;
    use omnirelay_identity::buckets::CallRate;

    #[test]
    fn a_federated_cluster_has_one_rate_however_many_nodes_it_names() {
        let rate = CallRate { burst: 3.0, each_second: 0.001 };
        let rates = CallRateLimiter::of(&CallRates { proven: rate, unproven: rate }.into());
        let calls = |name: String| rates.proven(&name.into()).is_ok();
        assert_eq!((0..9).filter(|n| calls(format!("node:west/{n}"))).count(), 3);
        assert!(calls("node:west".to_owned()) && calls("node:east/1".to_owned()));
    }
}
