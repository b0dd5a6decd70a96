//! Ranges that another daemon asks about.

use omnirelay_nouns::range_questions::{answer_claims, check_question, listed_ranges, state_record};
use omnirelay_registry::Registry;
use omnirelay_registry::stored_ranges::KindRanges;
use omnirelay_store::{Epoch, RecordKind, Revision};
use omnirelay_wire::fault::Fault;

use super::pb;

/// How many kinds a question has at most.
pub(crate) const KINDS_MAX: usize = 64;
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
    check_question(asked.form, &asked.kinds, KINDS_MAX)?;
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
    let view = registry.view();
    let answers = answer_claims(&KindRanges::of(view), kind, &key(at.0), asked.claims).await?;
    let ranges = listed_ranges(asked.listed)?;
    let count: u64 = ranges.iter().map(|range| view.count_within(kind, *range)).sum();
    // None: so much was changed meanwhile that whoever asks has to ask again.
    let listed = if count <= *room { view.records_at(kind, at, &ranges) } else { None };
    let more = listed.is_none();
    *room = room.saturating_sub(count);
    let listed = listed.unwrap_or_default().into_iter();
    let records =
        listed.map(|(key, record)| pb::RangedRecord { key, record: Some(state_record(&record)) }).collect();
    Ok(pb::KindAnswers { kind: kind.0.to_string(), held: true, answers, records, more })
}
