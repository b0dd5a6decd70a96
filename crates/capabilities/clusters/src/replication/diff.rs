//! Difference of a domain between this cluster and another one, by its records.

use std::collections::BTreeMap;
use std::time::Duration;

use omnirelay_cluster_records::domain::Domains;
use omnirelay_core::text::chain;
use omnirelay_nouns::range_questions::state_record;
use omnirelay_wire::fault::Fault;
use omnirelay_wire::pb::omnirelay::mesh::control::v1 as pb;
use tokio::time::{Instant, sleep};

use super::compare::AskedCluster;
use super::heal::{ClusterComparer, not_asked};
use super::records::{DomainScope, record_of};
use super::replica::FollowError;
use crate::domains::not_found;
use pb::state_difference::State;

/// Most differences that are kept, and looked at again.
const KEPT_MAX: usize = 4096;
/// How long what differs has to come here or there before it is looked at again.
const SETTLES_WITHIN: Duration = Duration::from_secs(1);

/// Records that differ, by kind and key, as many as are kept.
#[derive(Default)]
struct ClusterDifferences {
    kept: BTreeMap<(String, String), pb::StateDifference>,
    /// How many differ in all.
    count: u64,
    questions: u32,
}

impl ClusterDifferences {
    fn add(&mut self, state: State, [here, there]: [Option<pb::StateRecord>; 2], (kind, key): (&str, &str)) {
        self.count += 1;
        if self.kept.len() < KEPT_MAX {
            let (kind, key) = (kind.to_owned(), key.to_owned());
            let state = state.into();
            let difference = pb::StateDifference { kind: kind.clone(), key: key.clone(), state, here, there };
            self.kept.insert((kind, key), difference);
        }
    }
}

impl ClusterComparer {
    /// Compares what is here of a domain with what another cluster has. What changes meanwhile is looked at once more, so that it is no
    /// difference.
    ///
    /// # Errors
    /// `DOMAIN_NOT_FOUND`; `CLUSTER_NOT_ASKED` where the other cluster does not answer, or not with sense.
    pub(crate) async fn diff(
        &self,
        (domain, with): (&str, &str),
        limit: usize,
    ) -> Result<pb::GetStateDiffResponse, Fault> {
        let began = Instant::now();
        let domains = Domains::of(self.registry.view());
        let known = domains.find(domain).ok_or_else(|| not_found(domain))?;
        let scope = DomainScope { kinds: self.kinds.clone(), members: known.members(&domains) };
        let not_asked = |error: FollowError| not_asked(with, &chain(&error));
        let mut found = self.differences((domain, with), &scope).await.map_err(not_asked)?;
        let mut unsettled = 0;
        if !found.kept.is_empty() && found.count <= KEPT_MAX as u64 {
            sleep(SETTLES_WITHIN).await;
            let mut again = self.differences((domain, with), &scope).await.map_err(not_asked)?;
            let before = again.count;
            again.kept.retain(|record, difference| found.kept.get(record) == Some(difference));
            again.count = again.kept.len() as u64;
            unsettled = before - again.count;
            again.questions += found.questions;
            found = again;
        }
        Ok(pb::GetStateDiffResponse {
            compared_with: format!("cluster/{with}"),
            records: scope.held(self.registry.view()) as u64,
            differing: found.count,
            differences: found.kept.into_values().take(limit).collect(),
            unsettled,
            took_ms: u32::try_from(began.elapsed().as_millis()).unwrap_or(u32::MAX),
            questions: found.questions,
            ..Default::default()
        })
    }

    async fn differences(
        &self,
        (domain, with): (&str, &str),
        scope: &DomainScope,
    ) -> Result<ClusterDifferences, FollowError> {
        let asked = AskedCluster { ways: &*self.ways, name: with };
        let (mut comparison, mut ranges) = asked.compare(&self.registry, (domain, scope)).await?;
        let mut differences = ClusterDifferences::default();
        while let Some(found) = comparison.next(&mut ranges).await? {
            for other in found.others {
                let Some(there) = record_of(scope, other.there) else { continue };
                let state = if other.here.is_some() { State::Differs } else { State::OnlyThere };
                let sides = [other.here.as_ref().map(state_record), Some(state_record(&there))];
                differences.add(state, sides, (&there.id.kind.0, &there.id.key));
            }
            for here in found.only_here {
                let sides = [Some(state_record(&here)), None];
                differences.add(State::OnlyHere, sides, (&here.id.kind.0, &here.id.key));
            }
        }
        differences.questions = comparison.questions();
        Ok(differences)
    }
}
