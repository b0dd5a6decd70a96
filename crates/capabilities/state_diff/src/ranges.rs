//! Ranges that another daemon asks about.

use omnirelay_core::ranges::{RangeClaim, RangePrefix};
use omnirelay_core::text::chain;
use omnirelay_registry::Registry;
use omnirelay_registry::view::{RecordScope, View};
use omnirelay_store::{Epoch, RecordKind, Revision};
use omnirelay_wire::fault::Fault;

use super::compared::told;
use super::pb;
use super::range_messages::{answer_message, claim, prefix};

/// How sums and digests are made.
pub(crate) const FORM: u32 = 1;
/// How many kinds, claims and listed ranges a question has at most.
pub(crate) const KINDS_MAX: usize = 64;
pub(crate) const CLAIMS_MAX: usize = 256;
/// How many records are listed at once.
pub(crate) const LISTED_MAX: usize = 4096;

/// Key under which fingerprints are made: those of different epochs say nothing of each other.
pub(crate) fn key(epoch: Epoch) -> [u8; 8] {
    epoch.0.to_le_bytes()
}

/// Kind of this name, if the view holds its records.
pub(crate) fn held_kind<'v>(view: &'v View, name: &str) -> Option<&'v RecordKind> {
    view.mirrored().iter().find(|kind| kind.0 == name)
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
    registry.ready_for("").await?;
    let head = registry.view().head();
    let mut answer = pb::CompareRangesResponse {
        local_node_id: registry.node_id().to_owned(),
        epoch: head.epoch.0,
        revision: head.revision.0,
        kinds: Vec::new(),
    };
    if head.epoch.0 == asked.epoch {
        let mut room = LISTED_MAX;
        for kind in asked.kinds {
            answer.kinds.push(answer_kind(registry, (head.epoch, head.revision), kind, &mut room)?);
        }
    }
    Ok(answer)
}

fn answer_kind(
    registry: &Registry,
    (epoch, revision): (Epoch, Revision),
    asked: pb::KindClaims,
    room: &mut usize,
) -> Result<pb::KindAnswers, Fault> {
    let view = registry.view();
    let Some(kind) = held_kind(view, &asked.kind) else {
        return Ok(pb::KindAnswers { kind: asked.kind, ..Default::default() });
    };
    let claims: Vec<RangeClaim> = asked.claims.into_iter().map(claim).collect::<Result<_, _>>()?;
    let answers = view.answer_claims(kind, &key(epoch), &claims);
    let answers =
        answers.map_err(|error| Fault::invalid(format!("ranges cannot be compared: {}", chain(&error))))?;
    let ranges: Vec<RangePrefix> =
        asked.listed.into_iter().map(|range| prefix(Some(range))).collect::<Result<_, _>>()?;
    // None: so much was changed meanwhile that whoever asks has to ask again.
    let listed = view.records_at(kind, revision, RecordScope::Ranges(&ranges));
    let (held, listed) = (listed.is_some(), listed.unwrap_or_default());
    let more = !held || listed.len() > *room;
    let listed = listed.into_iter().take(*room);
    let records: Vec<pb::RangedRecord> =
        listed.map(|(key, record)| pb::RangedRecord { key, record: Some(told(&record)) }).collect();
    *room -= records.len();
    Ok(pb::KindAnswers {
        kind: asked.kind,
        held: true,
        answers: answers.into_iter().map(answer_message).collect(),
        records,
        more,
    })
}
