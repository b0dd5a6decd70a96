//! SplitMix64: numbers that look like chance, of a counter that goes up by [`STEP`] (Steele, Lea and Flood, 2014). They are no secrets.

/// Step of the counter.
pub const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// Number of a counter.
pub const fn split_mix(counter: u64) -> u64 {
    let mixed = (counter ^ counter >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ mixed >> 31
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_the_algorithm() {
        let counters = (1..=3_u64).map(|turn| 1_234_567_u64.wrapping_add(STEP.wrapping_mul(turn)));
        let expected = [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423];
        assert_eq!(counters.map(split_mix).collect::<Vec<_>>(), expected);
    }
}
