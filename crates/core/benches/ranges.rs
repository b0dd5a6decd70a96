//! Costs of an index of ranges: memory for each record, and time for each change, beside one hash of the record.
//!
//! Nothing is asserted. Run with `cargo bench -p omnirelay-core --bench ranges`; `records=N` behind it sets how many there are.
#![allow(clippy::print_stdout, reason = "a benchmark prints")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use omnirelay_core::ranges::{RangeComparison, RangeIndex, RangeItem, RangePrefix, RecordDigest, answer};

const RECORDS: usize = 100_000;
const KEY: &[u8] = b"epoch";

/// Record of about the size of a register.
struct Record {
    key: String,
    version: u64,
    value: Vec<u8>,
}

struct Item(Arc<Record>);

impl RangeItem for Item {
    fn place(&self) -> u64 {
        RecordDigest::of([b"register", self.0.key.as_bytes()]).first()
    }

    fn digest(&self) -> RecordDigest {
        let version = self.0.version.to_le_bytes();
        RecordDigest::of([b"register", self.0.key.as_bytes(), &version, b"writer", &self.0.value])
    }

    fn has_key_of(&self, other: &Self) -> bool {
        self.0.key == other.0.key
    }
}

fn record(number: usize, version: u64) -> Arc<Record> {
    Arc::new(Record { key: format!("node-1/register-{number:06}"), version, value: vec![number as u8; 250] })
}

/// Bytes of this process that are in memory.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: usize = statm.split(' ').nth(1).and_then(|pages| pages.parse().ok()).unwrap_or_default();
    pages * 4096
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // `cargo test --benches` only wants to know that it starts.
    if arguments.iter().any(|argument| argument == "--test") {
        return;
    }
    let given = arguments.iter().find_map(|argument| argument.strip_prefix("records=")?.parse().ok());
    let count: usize = given.unwrap_or(RECORDS);
    let records: Vec<Arc<Record>> = (0..count).map(|number| record(number, 1)).collect();
    let before = resident();
    let begun = Instant::now();
    let mut index: RangeIndex<Item> = records.iter().cloned().map(Item).collect();
    let built = begun.elapsed();
    let each = resident().saturating_sub(before) as f64 / count as f64;
    println!(
        "{count} records: {each:.1} bytes each, limit 64 ({:.2}); made in {:.1} ms",
        each / 64.0,
        built.as_secs_f64() * 1e3
    );

    let changed: Vec<Item> = (0..count).map(|number| Item(record(number, 2))).collect();
    let begun = Instant::now();
    for item in &changed {
        black_box(item.digest());
    }
    let hash = begun.elapsed().as_secs_f64() / count as f64;
    let begun = Instant::now();
    for item in changed {
        black_box(index.put(item));
    }
    let put = begun.elapsed().as_secs_f64() / count as f64;
    println!("a change: {:.2} us, {:.1} times one digest of {:.2} us", put * 1e6, put / hash, hash * 1e6);

    let same: RangeIndex<Item> = (0..count).map(|number| Item(record(number, 2))).collect();
    let mut other: RangeIndex<Item> = (0..count).map(|number| Item(record(number, 2))).collect();
    for number in 0..100 {
        other.put(Item(record(number * 7919 % count, 3)));
    }
    for (what, beside) in [("the same", &same), ("100 that differ", &other)] {
        let (begun, mut questions) = (Instant::now(), 0);
        let mut comparison = RangeComparison::of_all(&index, KEY);
        loop {
            let claims = comparison.next_claims(4096);
            if claims.is_empty() {
                break;
            }
            questions += 1;
            let answers = answer(beside, KEY, &claims).unwrap_or_default();
            if comparison.take_in(&index, answers).is_err() {
                break;
            }
        }
        let found = comparison.into_found().len();
        println!(
            "{what}: {found} ranges found with {questions} questions in {:.2} ms",
            begun.elapsed().as_secs_f64() * 1e3
        );
    }
    black_box(index.sum(RangePrefix::ALL));
}
