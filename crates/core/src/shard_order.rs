//! Shard hashing: which shard a key is of, and in which order nodes are to own a shard.
//!
//! All of it is integer arithmetic on XXH64 (seed 0), so that a program in another language computes the same;
//! `docs/reference/shard-placement.md` says it in words and has test vectors.

use xxhash_rust::xxh64::xxh64;

/// How many points a node of weight 1 has on the ring.
const POINTS: u64 = 64;
/// What a weight of 1 is in thousandths.
const MILLI: u64 = 1000;
/// Binary digits behind the point of the logarithms here.
const LOG_BITS: u32 = 40;
/// The logarithms between which all others are interpolated: this many for one doubling.
const LOG_STEPS: usize = 1 << LOG_STEP_BITS;
const LOG_STEP_BITS: u32 = 11;

/// Strategy by which nodes are preferred for the placement of a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PlacementStrategy {
    /// Consistent hashing: points of nodes on a ring, Karger et al. 1997.
    Ring,
    /// Highest random weight, Thaler and Ravishankar 1998, with the weights of Schindelhauer and Schomaker 2005: shares are
    /// proportional to them.
    Rendezvous,
    /// Those of the shard's zone first, then those of its region, then all others; among each by rendezvous.
    Locality,
}

impl PlacementStrategy {
    pub const ALL: [Self; 3] = [Self::Ring, Self::Rendezvous, Self::Locality];

    /// As the API, the configuration and the origin call it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Ring => "ring",
            Self::Rendezvous => "rendezvous",
            Self::Locality => "locality",
        }
    }

    /// The strategy of this name, in letters of any case.
    pub fn of(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|strategy| strategy.word().eq_ignore_ascii_case(word))
    }
}

/// Reason why a number is no weight of a node.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum WeightError {
    #[error("a weight is a number")]
    NotANumber,
    #[error("a weight is 0 to 1000; {0} is not")]
    OutOfRange(f64),
}

/// Weight of a node: its share of what there is to own, beside others; in thousandths, 0 to 1000 as a whole. Of weight
/// 0 it owns nothing new.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Weight(u32);

impl Weight {
    pub const ONE: Self = Self(1000);
    pub const ZERO: Self = Self(0);

    /// The nearest weight to a number; one that is not 0 is at least a thousandth.
    ///
    /// # Errors
    /// [`WeightError`].
    pub fn of(number: f64) -> Result<Self, WeightError> {
        if number.is_nan() {
            return Err(WeightError::NotANumber);
        }
        if !(0.0..=1000.0).contains(&number) {
            return Err(WeightError::OutOfRange(number));
        }
        let least = u32::from(number > 0.0);
        // A million at most.
        Ok(Self(((number * 1000.0).round() as u32).max(least)))
    }

    pub fn milli(self) -> u32 {
        self.0
    }

    pub fn number(self) -> f64 {
        f64::from(self.0) / 1000.0
    }
}

/// A node that may own shards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OwnerCandidate<'a> {
    pub node: &'a str,
    pub weight: Weight,
    pub region: &'a str,
    pub zone: &'a str,
}

/// Locality in which a shard is placed best, as the hints `zone:Z`, `region:R`, `R/Z` and `R` say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShardLocality<'a> {
    pub region: Option<&'a str>,
    pub zone: Option<&'a str>,
}

impl<'a> ShardLocality<'a> {
    /// Reads the locality from a hint; an empty hint says nothing.
    pub fn of(hint: &'a str) -> Self {
        let some = |text: &'a str| Some(text).filter(|text| !text.is_empty());
        if let Some(zone) = hint.strip_prefix("zone:") {
            return Self { region: None, zone: some(zone) };
        }
        let hint = hint.strip_prefix("region:").unwrap_or(hint);
        match hint.split_once('/') {
            Some((region, zone)) => Self { region: some(region), zone: some(zone) },
            None => Self { region: some(hint), zone: None },
        }
    }

    /// Distance of a node: 0 in the zone, 1 in the region, 2 elsewhere.
    pub fn distance(&self, node: &OwnerCandidate<'_>) -> u8 {
        let is_of_region = self.region.is_none_or(|region| region == node.region);
        match (self.zone, self.region) {
            (Some(zone), _) if zone == node.zone && is_of_region => 0,
            (_, Some(region)) if region == node.region => 1,
            (_, _) => 2,
        }
    }
}

/// The number of the shard that a key is of, among `shards` that are numbered from 0: the upper 64 bits of the hash of the key times
/// how many there are. 0 where there are none.
pub fn shard_of(key: &[u8], shards: u32) -> u32 {
    let place = (u128::from(xxh64(key, 0)) * u128::from(shards)) >> 64;
    // Less than a number of 32 bits.
    place as u32
}

/// The places of those of the nodes that may own a shard, the first best. Those of weight 0 are not among them.
pub fn order(
    strategy: PlacementStrategy,
    namespace: &str,
    shard: &str,
    hint: &str,
    nodes: &[OwnerCandidate<'_>],
) -> Vec<usize> {
    let placer = ShardPlacer::new(strategy, nodes.to_vec());
    let mut costs: Vec<_> = placer.costs(namespace, shard, hint).collect();
    costs.sort_unstable();
    costs.into_iter().map(|(_, _, place)| place).collect()
}

/// Cost of placing a shard on a node: its distance and its cost by the strategy, the least is best.
pub type PlacementCost = (u8, u64);

/// Prefers nodes for shards, by one strategy.
pub struct ShardPlacer<'a> {
    strategy: PlacementStrategy,
    nodes: Vec<OwnerCandidate<'a>>,
    /// Of each node its points on the ring, in order; empty but for [`PlacementStrategy::Ring`].
    points: Vec<Vec<u64>>,
}

impl<'a> ShardPlacer<'a> {
    pub fn new(strategy: PlacementStrategy, nodes: Vec<OwnerCandidate<'a>>) -> Self {
        let points = match strategy {
            PlacementStrategy::Ring => nodes.iter().map(points_of).collect(),
            PlacementStrategy::Rendezvous | PlacementStrategy::Locality => Vec::new(),
        };
        Self { strategy, nodes, points }
    }

    /// The place of the best node for a shard among those that `may` have it.
    pub fn best(
        &self,
        namespace: &str,
        shard: &str,
        hint: &str,
        may: impl Fn(usize) -> bool,
    ) -> Option<usize> {
        if self.strategy == PlacementStrategy::Ring {
            let among = self.costs(namespace, shard, hint).filter(|(.., place)| may(*place));
            return among.min().map(|(.., place)| place);
        }
        let (mut keys, hint) = (ShardKeys::of(namespace, shard), ShardLocality::of(hint));
        let mut best: Option<BestNode<'a>> = None;
        for (place, node) in self.nodes.iter().enumerate() {
            if node.weight == Weight::ZERO || !may(place) {
                continue;
            }
            let distance = self.distance(&hint, node);
            let hash = keys.hash(node.node);
            // Most are not better by far, and a logarithm is dear.
            if best.as_ref().is_some_and(|best| best.is_far_ahead(distance, hash, node.weight)) {
                continue;
            }
            let next = BestNode {
                cost: (distance, cost_of(hash, node.weight)),
                node: node.node,
                hash,
                weight: node.weight,
                place,
            };
            if best.as_ref().is_none_or(|best| (next.cost, next.node) < (best.cost, best.node)) {
                best = Some(next);
            }
        }
        best.map(|best| best.place)
    }

    /// Cost of having the node at a place own a shard; `None`: it owns nothing.
    pub fn cost(&self, namespace: &str, shard: &str, hint: &str, place: usize) -> Option<PlacementCost> {
        self.cost_by(&mut ShardKeys::of(namespace, shard), &ShardLocality::of(hint), place)
    }

    fn cost_by(&self, keys: &mut ShardKeys, hint: &ShardLocality<'_>, place: usize) -> Option<PlacementCost> {
        let node = self.nodes.get(place).filter(|node| node.weight > Weight::ZERO)?;
        if self.strategy == PlacementStrategy::Ring {
            let at = keys.shard;
            let points = self.points.get(place)?;
            // The first point from there on, or around.
            let next = points.get(points.partition_point(|point| *point < at)).or(points.first())?;
            return Some((0, next.wrapping_sub(at)));
        }
        Some((self.distance(hint, node), cost_of(keys.hash(node.node), node.weight)))
    }

    fn distance(&self, hint: &ShardLocality<'_>, node: &OwnerCandidate<'_>) -> u8 {
        if self.strategy == PlacementStrategy::Locality { hint.distance(node) } else { 0 }
    }

    fn costs<'s>(
        &'s self,
        namespace: &str,
        shard: &str,
        hint: &'s str,
    ) -> impl Iterator<Item = (PlacementCost, &'a str, usize)> + 's {
        let (mut keys, hint) = (ShardKeys::of(namespace, shard), ShardLocality::of(hint));
        let places = 0..self.nodes.len();
        places.filter_map(move |place| {
            let node = self.nodes.get(place)?;
            Some((self.cost_by(&mut keys, &hint, place)?, node.node, place))
        })
    }
}

/// Keys of a shard beside nodes, which begin alike.
struct ShardKeys {
    key: Vec<u8>,
    /// How much of it is of the shard.
    prefix: usize,
    /// The hash of the shard alone.
    shard: u64,
}

impl ShardKeys {
    fn of(namespace: &str, shard: &str) -> Self {
        let mut key = format!("{namespace}/{shard}").into_bytes();
        let alone = xxh64(&key, 0);
        key.extend_from_slice(b"::");
        Self { prefix: key.len(), key, shard: alone }
    }

    /// The hash of the shard beside a node.
    fn hash(&mut self, node: &str) -> u64 {
        self.key.truncate(self.prefix);
        self.key.extend_from_slice(node.as_bytes());
        xxh64(&self.key, 0)
    }
}

/// The best node that was found so far.
struct BestNode<'a> {
    cost: PlacementCost,
    node: &'a str,
    hash: u64,
    weight: Weight,
    place: usize,
}

impl BestNode<'_> {
    /// Whether a node is worse for certain. Costs fall as hashes rise, and by more than nothing where these differ by 2 to the power of
    /// 40: the logarithm by 94,000 at least, which divided by the greatest weight is more than one.
    fn is_far_ahead(&self, distance: u8, hash: u64, weight: Weight) -> bool {
        self.cost.0 < distance
            || self.cost.0 == distance && weight <= self.weight && hash.saturating_add(1 << 40) < self.hash
    }
}

/// Cost of having a node own a shard, by rendezvous; the least is best. `None`: it owns nothing.
///
/// A node of weight w wins with the probability that its exponentially distributed cost of rate w is the least.
pub fn cost(namespace: &str, shard: &str, node: &str, weight: Weight) -> Option<u64> {
    let hash = ShardKeys::of(namespace, shard).hash(node);
    (weight > Weight::ZERO).then(|| cost_of(hash, weight))
}

/// The cost of a hash by a weight that is not 0: below 2 to the power of 63.
fn cost_of(hash: u64, weight: Weight) -> u64 {
    (neg_log2(hash) << 17) / u64::from(weight.0.max(1))
}

/// The points of a node on the ring, in order: 64 times its weight, half a point is one, and of a weight that is not 0 at least one.
fn points_of(node: &OwnerCandidate<'_>) -> Vec<u64> {
    let count = (u64::from(node.weight.0) * POINTS + MILLI / 2) / MILLI;
    let count = count.max(u64::from(node.weight > Weight::ZERO));
    let mut points: Vec<u64> =
        (0..count).map(|replica| xxh64(format!("{}#{replica}", node.node).as_bytes(), 0)).collect();
    points.sort_unstable();
    points
}

/// 64 less the binary logarithm of `hash + 1`, with [`LOG_BITS`] digits behind the point: the cost of a hash, which is
/// taken for a number between 0 and 1.
fn neg_log2(hash: u64) -> u64 {
    let Some(number) = hash.checked_add(1) else { return 0 };
    let zeros = number.leading_zeros();
    let mantissa = number << zeros;
    let step = (mantissa >> (63 - LOG_STEP_BITS)) as usize & (LOG_STEPS - 1);
    // What is behind the step, with 32 digits.
    let rest = (mantissa << (1 + LOG_STEP_BITS)) >> 32;
    let [from, to] = [step, step + 1].map(|at| LOGS.get(at).copied().unwrap_or(1 << LOG_BITS));
    let fraction = from + (((to - from) * rest) >> 32);
    (u64::from(zeros + 1) << LOG_BITS) - fraction
}

/// The binary logarithms of 1 + i / 2048, with [`LOG_BITS`] digits behind the point.
static LOGS: [u64; LOG_STEPS + 1] = {
    let mut logs = [0; LOG_STEPS + 1];
    let mut at = 0;
    while at <= LOG_STEPS {
        logs[at] = log2_of(at as u64);
        at += 1;
    }
    logs
};

/// The binary logarithm of 1 + `step` / 2048, cut off behind [`LOG_BITS`] digits: digit by digit, by squaring.
const fn log2_of(step: u64) -> u64 {
    if step == LOG_STEPS as u64 {
        return 1 << LOG_BITS;
    }
    // Between 1 and 2, with 63 digits behind the point.
    let mut number = (1u64 << 63) + (step << (63 - LOG_STEP_BITS));
    let (mut log, mut digit) = (0, 0);
    while digit < LOG_BITS {
        let square = (number as u128 * number as u128) >> 63;
        log <<= 1;
        if square >> 64 != 0 {
            log |= 1;
            number = (square >> 1) as u64;
        } else {
            number = square as u64;
        }
        digit += 1;
    }
    log
}

#[cfg(test)]
#[path = "shard_order_test.rs"]
mod tests;
