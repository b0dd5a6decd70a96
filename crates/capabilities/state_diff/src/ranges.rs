//! Ranges that another daemon asks about.

use std::collections::BTreeSet;

use omnirelay_core::ranges::{ClaimError, RangeClaim, RangePrefix, check_disjoint};
use omnirelay_core::text::{chain, printable};
use omnirelay_registry::Registry;
use omnirelay_store::{Epoch, RecordKind, Revision};
use omnirelay_wire::fault::Fault;

use super::compared::told;
use super::pb;
use super::range_messages::{answer_message, claim, prefix};

/// How sums and digests are made.
pub(crate) const FORM: u32 = 1;
/// How many kinds, claims and listed ranges a question has at most.
pub(crate) const KINDS_MAX: usize = 64;
pub(crate) const CLAIMS_MAX: usize = 128;
/// How many records are listed at once.
pub(crate) const LISTED_MAX: u64 = 4096;

/// Key under which fingerprints are made: those of different epochs say nothing of each other.
pub(crate) fn key(epoch: Epoch) -> [u8; 8] {
    epoch.0.to_le_bytes()
}

/// Answers a question about ranges.
///
/// # Errors
/// `INVALID_ARGUMENT` for more than is asked at once, another form, and what are no ranges; those of a registry that is not loaded.
pub(crate) async fn answer_ranges(
    registry: &Registry,
    asked: pb::CompareRangesRequest,
) -> Result<pb::CompareRangesResponse, Fault> {
    if asked.form != FORM {
        return Err(Fault::invalid(format!(
            "field `form`: this daemon compares in form {FORM}, not {}",
            asked.form
        )));
    }
    let claims: usize = asked.kinds.iter().map(|kind| kind.claims.len()).sum();
    let listed: usize = asked.kinds.iter().map(|kind| kind.listed.len()).sum();
    if asked.kinds.len() > KINDS_MAX || claims > CLAIMS_MAX || listed > CLAIMS_MAX {
        return Err(Fault::invalid(format!(
            "field `kinds`: at most {KINDS_MAX} kinds, {CLAIMS_MAX} claims and {CLAIMS_MAX} listed ranges at once"
        )));
    }
    let mut names = BTreeSet::new();
    if let Some(twice) = asked.kinds.iter().find(|kind| !names.insert(kind.kind.as_str())) {
        return Err(Fault::invalid(format!("field `kinds`: `{}` is there twice", printable(&twice.kind))));
    }
    registry.ready_for("").await?;
    let head = registry.view().head();
    let mut answer = pb::CompareRangesResponse {
        local_node_id: registry.node_id().to_owned(),
        epoch: head.epoch.0,
        revision: head.revision.0,
        kinds: Vec::new(),
    };
    if head.epoch.0 == asked.epoch {
        let (mut room, compared) = (LISTED_MAX, registry.view().compared_kinds());
        for asked in asked.kinds {
            let held = compared.iter().find(|kind| kind.0 == asked.kind);
            answer.kinds.push(match held {
                Some(kind) => {
                    answer_kind(registry, (head.epoch, head.revision), (kind, asked), &mut room).await?
                }
                None => pb::KindAnswers { kind: asked.kind, ..Default::default() },
            });
        }
    }
    Ok(answer)
}

async fn answer_kind(
    registry: &Registry,
    at: (Epoch, Revision),
    (kind, asked): (&RecordKind, pb::KindClaims),
    room: &mut u64,
) -> Result<pb::KindAnswers, Fault> {
    let no_sense =
        |error: ClaimError| Fault::invalid(format!("ranges cannot be compared: {}", chain(&error)));
    let view = registry.view();
    let claims: Vec<RangeClaim> = asked.claims.into_iter().map(claim).collect::<Result<_, _>>()?;
    check_disjoint(claims.iter().map(|claim| claim.range)).map_err(no_sense)?;
    let mut answers = Vec::new();
    for claim in claims {
        // One at a time, so that nobody waits long for the view, or for a turn of the event loop.
        let told = view.answer_claims(kind, &key(at.0), std::slice::from_ref(&claim)).map_err(no_sense)?;
        answers.extend(told.into_iter().map(answer_message));
        tokio::task::yield_now().await;
    }
    let ranges: Vec<RangePrefix> =
        asked.listed.into_iter().map(|range| prefix(Some(range))).collect::<Result<_, _>>()?;
    check_disjoint(ranges.iter().copied()).map_err(no_sense)?;
    let count: u64 = ranges.iter().map(|range| view.count_within(kind, *range)).sum();
    // None: so much was changed meanwhile that whoever asks has to ask again.
    let listed = if count <= *room { view.records_at(kind, at, &ranges) } else { None };
    let more = listed.is_none();
    *room = room.saturating_sub(count);
    let listed = listed.unwrap_or_default().into_iter();
    let records = listed.map(|(key, record)| pb::RangedRecord { key, record: Some(told(&record)) }).collect();
    Ok(pb::KindAnswers { kind: kind.0.to_string(), held: true, answers, records, more })
}
