//! The sum over the shards of a map, by which whoever follows it can tell whether it has all of it.
//!
//! `docs/reference/shard-placement.md` says it in words.

use xxhash_rust::xxh64::xxh64;

/// Summand of a shard in the sum over its map, modulo 2 to the power of 64. `status` is 0 where it is active, 1 where
/// its owner is to stop, 2 where it is paused, 3 where it is disabled.
pub fn summand(namespace: &str, shard: &str, owner: &str, status: u8, fence: u64) -> u64 {
    xxh64(format!("{namespace}|{shard}|{owner}|{status}|{fence}").as_bytes(), 0)
}

/// A sum as the API says it: 16 hexadecimal digits.
pub fn hexadecimal(sum: u64) -> String {
    format!("{sum:016X}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_has_another_summand() {
        let one = summand("orders", "00", "a", 0, 7);
        let others = [
            summand("users", "00", "a", 0, 7),
            summand("orders", "01", "a", 0, 7),
            summand("orders", "00", "b", 0, 7),
            summand("orders", "00", "a", 1, 7),
            summand("orders", "00", "a", 0, 8),
        ];
        assert!(others.iter().all(|other| *other != one));
        assert_eq!(one, xxh64(b"orders|00|a|0|7", 0));
        assert_eq!(hexadecimal(10), "000000000000000A");
    }
}
