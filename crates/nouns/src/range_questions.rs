//! Questions about ranges: what whoever compares its records with those of another daemon asks, and how that answers.

use std::collections::{BTreeMap, BTreeSet};

use omnirelay_core::ranges::{
    ClaimError, DifferingRange, RangeClaim, RangeComparison, RangePrefix, answer as answer_claim,
    check_disjoint,
};
use omnirelay_core::text::{chain, printable};
use omnirelay_registry::stored_ranges::KindRanges;
use omnirelay_registry::view::digest_of;
use omnirelay_store::{Record, RecordKind};
use omnirelay_wire::fault::Fault;
use omnirelay_wire::pb::omnirelay::mesh::control::v1 as pb;

use crate::range_messages::{answer, answer_message, claim, claim_message};
pub use crate::range_messages::{digests, prefix, range};
use crate::timestamp;

/// How sums and digests are made.
pub const FORM: u32 = 1;
/// How many claims a question has at most, and as many listed ranges.
pub const CLAIMS_MAX: usize = 128;

/// How many differences are listed, unless it is said, and at most.
pub const DIFFERENCES_LISTED: u32 = 100;
const DIFFERENCES_LISTED_MAX: u32 = 1000;

/// Number of differences that are listed where a request says so, or says 0.
///
/// # Errors
/// `INVALID_ARGUMENT`.
pub fn differences_listed(limit: u32) -> Result<usize, Fault> {
    if limit > DIFFERENCES_LISTED_MAX {
        return Err(Fault::invalid(format!("field `limit`: {limit} is more than {DIFFERENCES_LISTED_MAX}")));
    }
    Ok(if limit == 0 { DIFFERENCES_LISTED } else { limit } as usize)
}

/// Checks that a question is in the form of this daemon, and that it is about each kind once, and about no more than is asked at once.
///
/// # Errors
/// `INVALID_ARGUMENT`.
pub fn check_question(form: u32, kinds: &[pb::KindClaims], kinds_max: usize) -> Result<(), Fault> {
    if form != FORM {
        return Err(Fault::invalid(format!("field `form`: this daemon compares in form {FORM}, not {form}")));
    }
    let claims: usize = kinds.iter().map(|kind| kind.claims.len()).sum();
    let listed: usize = kinds.iter().map(|kind| kind.listed.len()).sum();
    if kinds.len() > kinds_max || claims > CLAIMS_MAX || listed > CLAIMS_MAX {
        return Err(Fault::invalid(format!(
            "field `kinds`: at most {kinds_max} kinds, {CLAIMS_MAX} claims and {CLAIMS_MAX} listed ranges at once"
        )));
    }
    let mut names = BTreeSet::new();
    match kinds.iter().find(|kind| !names.insert(kind.kind.as_str())) {
        Some(twice) => {
            Err(Fault::invalid(format!("field `kinds`: `{}` is there twice", printable(&twice.kind))))
        }
        None => Ok(()),
    }
}

/// Answers claims about the records of a kind.
///
/// # Errors
/// `INVALID_ARGUMENT` for what is no claim, and for two about the same.
pub async fn answer_claims(
    ranges: &KindRanges<'_>,
    kind: &RecordKind,
    key: &[u8],
    claims: Vec<pb::RangeClaim>,
) -> Result<Vec<pb::RangeAnswer>, Fault> {
    let claims: Vec<RangeClaim> = claims.into_iter().map(claim).collect::<Result<_, _>>()?;
    check_disjoint(claims.iter().map(|claim| claim.range)).map_err(no_sense)?;
    let mut answers = Vec::new();
    for claim in claims {
        // One at a time, so that nobody waits long for the view, or for a turn of the event loop.
        let told = ranges.with(kind, |sums| answer_claim(sums, key, std::slice::from_ref(&claim)));
        let told = told.map_err(no_sense)?;
        answers.extend(told.into_iter().map(answer_message));
        tokio::task::yield_now().await;
    }
    Ok(answers)
}

/// Ranges whose records are to be listed.
///
/// # Errors
/// `INVALID_ARGUMENT` for what is no range, and for two with something in common.
pub fn listed_ranges(ranges: Vec<pb::RecordRange>) -> Result<Vec<RangePrefix>, Fault> {
    let ranges: Vec<RangePrefix> =
        ranges.into_iter().map(|range| prefix(Some(range))).collect::<Result<_, _>>()?;
    check_disjoint(ranges.iter().copied()).map_err(no_sense)?;
    Ok(ranges)
}

fn no_sense(error: ClaimError) -> Fault {
    Fault::invalid(format!("ranges cannot be compared: {}", chain(&error)))
}

/// Answer of another daemon about a kind: whether it holds that, and its answers.
pub type ToldKind = (String, bool, Vec<pb::RangeAnswer>);

/// Comparisons of several kinds with what another daemon has, at the side that asks.
pub struct KindComparisons<'r> {
    ranges: &'r KindRanges<'r>,
    comparisons: BTreeMap<RecordKind, RangeComparison>,
    asked: Vec<String>,
    not_held: Vec<RecordKind>,
}

impl<'r> KindComparisons<'r> {
    /// Begins to compare all records of these kinds; `key` is that of the fingerprints.
    pub fn begin(
        ranges: &'r KindRanges<'r>,
        kinds: impl IntoIterator<Item = RecordKind>,
        key: &[u8],
    ) -> Self {
        let begin = |kind: RecordKind| {
            let comparison = ranges.with(&kind, |sums| RangeComparison::of_all(sums, key));
            (kind, comparison)
        };
        let comparisons = kinds.into_iter().map(begin).collect();
        Self { ranges, comparisons, asked: Vec::new(), not_held: Vec::new() }
    }

    /// As many claims of all kinds as are asked at once; none: the comparison is over.
    pub fn next_question(&mut self) -> Vec<pb::KindClaims> {
        let (mut question, mut room) = (Vec::new(), CLAIMS_MAX);
        for (kind, comparison) in &mut self.comparisons {
            let claims = comparison.next_claims(room);
            room -= claims.len();
            if !claims.is_empty() {
                let claims = claims.into_iter().map(claim_message).collect();
                question.push(pb::KindClaims { kind: kind.0.to_string(), claims, ..Default::default() });
            }
        }
        self.asked = question.iter().map(|kind| kind.kind.clone()).collect();
        question
    }

    /// Takes in the answer to the last question.
    ///
    /// # Errors
    /// Why it makes no sense.
    pub fn take_in(&mut self, told: Vec<ToldKind>) -> Result<(), String> {
        if !told.iter().map(|(kind, ..)| kind).eq(&self.asked) {
            return Err("it answers about other kinds than was asked".to_owned());
        }
        for (name, is_held, answers) in told {
            let Some(kind) = self.comparisons.keys().find(|kind| *kind.0 == *name).cloned() else { continue };
            if !is_held {
                self.comparisons.remove(&kind);
                self.not_held.push(kind);
                continue;
            }
            let Some(comparison) = self.comparisons.get_mut(&kind) else { continue };
            let answers = answers.into_iter().map(answer).collect::<Result<_, _>>();
            let answers = answers.map_err(|error: Fault| error.message)?;
            let taken = self.ranges.with(&kind, |sums| comparison.take_in(sums, answers));
            taken.map_err(|error| chain(&error))?;
        }
        Ok(())
    }

    /// Kinds that the other daemon does not hold, and of the others the ranges in which something differs.
    pub fn into_found(self) -> (Vec<RecordKind>, BTreeMap<RecordKind, Vec<DifferingRange>>) {
        let found = self.comparisons.into_iter().map(|(kind, comparison)| (kind, comparison.into_found()));
        (self.not_held, found.collect())
    }
}

/// Message of what is known of a record besides its value.
pub fn state_record(record: &Record) -> pb::StateRecord {
    let digest = digest_of(record).short();
    pb::StateRecord {
        version: record.version.0,
        revision: record.revision.0,
        last_writer_id: record.writer.to_string(),
        updated_at: Some(timestamp(record.updated_at)),
        bytes: record.value.len() as u64,
        digest: digest.iter().map(|byte| format!("{byte:02x}")).collect(),
    }
}
