//! Readiness of clusters: whether each could take over from the other, with what that rests on and how old it is.

use std::time::Duration;

use omnirelay_certificate_records::cluster_trust::trust_id;
use omnirelay_cluster_records::{OtherCluster, cluster_id, other_clusters};
use omnirelay_core::time::Millis;
use omnirelay_nouns::timestamp;
use omnirelay_peer_records::nodes_there;
use omnirelay_registry::Registry;
use omnirelay_wire::pb::omnirelay::mesh::control::v1 as pb;

use omnirelay_wire::timestamp::millis;
use pb::cluster_finding::State;
use pb::domain_replica::State as ReplicaState;

/// The greatest lag with which a cluster is ready to take over, in milliseconds.
const LAG_READY_MS: u32 = 1000;
/// By how many commits, whatever they are about, a follower may be behind when it says how far it is.
const REVISIONS_READY: u64 = 1000;
/// How long a follower may say nothing before it is wrong: what it says is noted every few seconds.
const FOLLOWER_SILENT_AFTER: Duration = Duration::from_secs(15);

/// How long a domain may be loaded before that is trouble.
const LOADED_WITHIN: Duration = Duration::from_secs(60);
/// How long ago a cluster that follows may have had everything: it says so every few seconds.
const HAD_ALL_WITHIN: Duration = Duration::from_secs(30);

/// Trouble of domains that are active in other clusters: those that are not followed; `None`: there is none.
pub(crate) fn unfollowed(domains: &[pb::Domain], now: Millis) -> Option<String> {
    let told = domains.iter().filter_map(|domain| {
        let replica = domain.replica.as_ref()?;
        let since = now.since(replica.since.as_ref().map(millis).unwrap_or_default());
        let why = match replica.state() {
            ReplicaState::Following => return None,
            ReplicaState::Loading if since < LOADED_WITHIN => return None,
            state => state.as_str_name(),
        };
        let reason = Some(&replica.reason).filter(|reason| !reason.is_empty());
        let reason = reason.map_or(String::new(), |reason| format!(" ({reason})"));
        Some(format!("domain `{}` of cluster `{}` is {why}{reason}", domain.domain, domain.active_cluster))
    });
    joined(told)
}

/// Trouble of domains that are active here: `known` clusters that follow and do not have everything; `None`: there is none.
pub(crate) fn unprotected(
    domains: &[pb::Domain],
    now: Millis,
    known: impl Fn(&str) -> bool,
) -> Option<String> {
    let told = domains.iter().flat_map(|domain| {
        let known = domain.followers.iter().filter(|follower| known(&follower.cluster_id));
        known.filter_map(|follower| {
            let since = now.since(follower.durable_until.as_ref().map(millis)?);
            let (cluster, domain) = (&follower.cluster_id, &domain.domain);
            let seconds = since.as_secs();
            (since > HAD_ALL_WITHIN)
                .then(|| format!("cluster `{cluster}` has not had all of domain `{domain}` for {seconds} s"))
        })
    });
    joined(told)
}

fn joined(told: impl Iterator<Item = String>) -> Option<String> {
    Some(told.collect::<Vec<_>>().join("; ")).filter(|told| !told.is_empty())
}

/// Scene of clusters: what a daemon knows of them.
pub(crate) struct ClusterScene<'a> {
    pub registry: &'a Registry,
    /// The cluster of the daemon.
    pub own: &'a str,
    /// Domains as they are shown, with their followers.
    pub domains: Vec<pb::Domain>,
}

impl ClusterScene<'_> {
    /// All findings: of each other cluster, then of each domain.
    pub(crate) fn findings(&self) -> Vec<pb::ClusterFinding> {
        let others = other_clusters(self.registry.view(), self.own);
        let mut all = Vec::new();
        for other in &others {
            let subject = format!("cluster/{}", other.cluster);
            let get = format!("omnirelay mesh clusters get {}", other.cluster);
            let endpoints = match other.endpoints.len() {
                0 => (State::Wrong, "nobody has said where it is".to_owned()),
                count => (State::Ok, format!("{count} addresses are known")),
            };
            let record = self.registry.view().get(&cluster_id(&other.cluster));
            let since = record.map(|record| record.record.updated_at);
            all.push(finding(&subject, "addresses", endpoints, since, &get));
            let trust = self.registry.view().get(&trust_id(&other.cluster));
            let said = match &trust {
                Some(_) => (State::Ok, "it has said what it has revoked".to_owned()),
                None => (
                    State::Wrong,
                    "it has never said what it has revoked, and lets in nobody here".to_owned(),
                ),
            };
            all.push(finding(&subject, "trust", said, trust.map(|trust| trust.record.updated_at), &get));
        }
        if others.is_empty() {
            let alone = (State::Wrong, "no other cluster is known: there is none to take over".to_owned());
            all.push(finding(
                &format!("cluster/{}", self.own),
                "others",
                alone,
                None,
                "omnirelay mesh clusters set --help",
            ));
            return all;
        }
        for domain in &self.domains {
            match domain.active_here {
                true => self.of_active(domain, &others, &mut all),
                false => self.of_followed(domain, &mut all),
            }
        }
        all
    }

    /// Of a domain that is active here: whether somebody has what is made here.
    fn of_active(&self, domain: &pb::Domain, others: &[OtherCluster], all: &mut Vec<pb::ClusterFinding>) {
        let subject = format!("domain/{}", domain.domain);
        let get = format!("omnirelay mesh domains get {}", domain.domain);
        if domain.version.is_empty() {
            let unsaid =
                (State::Wrong, "nobody has said where it is active, so that nobody follows it".to_owned());
            let set = format!("omnirelay mesh domains set {} --active {}", domain.domain, self.own);
            return all.push(finding(&subject, "active", unsaid, None, &set));
        }
        for other in others {
            let known = domain.followers.iter().find(|follower| follower.cluster_id == other.cluster);
            let check = format!("followed by {}", other.cluster);
            let (found, as_of) = match known {
                Some(follower) => {
                    let said = format!("all but {} commits are durable there", follower.lag_revisions);
                    let heard = follower.heard_at.as_ref().map(millis).unwrap_or_default();
                    let is_near = follower.lag_revisions <= REVISIONS_READY;
                    let is_fresh = self.registry.view().now().since(heard) < FOLLOWER_SILENT_AFTER;
                    let state = if is_fresh && is_near { State::Ok } else { State::Wrong };
                    ((state, said), Some(heard))
                }
                None => ((State::Wrong, "it does not follow, or was never heard".to_owned()), None),
            };
            all.push(finding(&subject, &check, found, as_of, &get));
        }
    }

    /// Of a domain that is active elsewhere: whether what is here could go on without that cluster.
    fn of_followed(&self, domain: &pb::Domain, all: &mut Vec<pb::ClusterFinding>) {
        let subject = format!("domain/{}", domain.domain);
        let get = format!("omnirelay mesh domains get {}", domain.domain);
        let Some(replica) = &domain.replica else {
            let never = format!("nothing of it was ever heard from cluster `{}`", domain.active_cluster);
            return all.push(finding(&subject, "follows", (State::Wrong, never), None, &get));
        };
        let heard = replica.heard_at.as_ref().map(millis);
        let of = &replica.source_cluster;
        let follows = match replica.state() {
            ReplicaState::Following => {
                (State::Ok, format!("everything of `{of}` up to {} is here", replica.applied))
            }
            ReplicaState::Silent => {
                (State::Wrong, format!("cluster `{of}` is silent; it is here up to {}", replica.applied))
            }
            ReplicaState::Braked => (State::Wrong, replica.reason.clone()),
            ReplicaState::Loading | ReplicaState::Unspecified => (
                State::Wrong,
                "what differs is being fetched: what is here may be of different moments".to_owned(),
            ),
        };
        all.push(finding(&subject, "follows", follows, heard, &get));
        let lag = format!("{} ms and {} commits behind", replica.lag_ms, replica.lag_revisions);
        let is_near = if replica.lag_ms <= LAG_READY_MS { State::Ok } else { State::Wrong };
        all.push(finding(&subject, "lag", (is_near, lag), heard, &get));
        if let [first, others @ ..] = &replica.set_aside[..] {
            let more = if others.is_empty() { String::new() } else { format!(" and {} more", others.len()) };
            let aside =
                format!("{}/{}{more} cannot be written here: {}", first.kind, first.key, first.reason);
            all.push(finding(&subject, "records", (State::Wrong, aside), heard, &get));
        }
        let nodes = nodes_there(self.registry).len();
        let room = match nodes {
            0 => (State::Wrong, "no node is here that could own a shard".to_owned()),
            count => (State::Ok, format!("{count} nodes are here that could own its shards")),
        };
        all.push(finding(
            &subject,
            "nodes",
            room,
            Some(self.registry.view().now()),
            "omnirelay mesh peers list",
        ));
    }
}

fn finding(
    subject: &str,
    check: &str,
    (state, evidence): (State, String),
    as_of: Option<Millis>,
    command: &str,
) -> pb::ClusterFinding {
    pb::ClusterFinding {
        subject: subject.to_owned(),
        check: check.to_owned(),
        state: state as i32,
        evidence,
        as_of: as_of.map(timestamp),
        command: if state == State::Ok { String::new() } else { command.to_owned() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Millis = Millis(1_000_000);

    fn ago(seconds: u64) -> Option<omnirelay_wire::timestamp::Timestamp> {
        Some(timestamp(Millis(NOW.0 - seconds * 1000)))
    }

    fn followed(state: ReplicaState, reason: &str, seconds: u64) -> pb::Domain {
        let replica = pb::DomainReplica {
            state: state as i32,
            reason: reason.to_owned(),
            since: ago(seconds),
            ..Default::default()
        };
        pb::Domain {
            domain: "mesh".to_owned(),
            active_cluster: "east".to_owned(),
            replica: Some(replica),
            ..Default::default()
        }
    }

    #[test]
    fn what_is_not_followed_is_trouble_and_what_is_loaded_for_a_moment_is_none() {
        for (domain, expected) in [
            (followed(ReplicaState::Following, "", 900), None),
            (followed(ReplicaState::Loading, "", 10), None),
            (followed(ReplicaState::Loading, "", 100), Some("domain `mesh` of cluster `east` is loading")),
            (followed(ReplicaState::Silent, "", 1), Some("domain `mesh` of cluster `east` is silent")),
            (
                followed(ReplicaState::Braked, "11 would go", 1),
                Some("domain `mesh` of cluster `east` is braked (11 would go)"),
            ),
            (pb::Domain { domain: "mesh".to_owned(), ..Default::default() }, None),
        ] {
            assert_eq!(unfollowed(std::slice::from_ref(&domain), NOW).as_deref(), expected, "{domain:?}");
        }
    }

    #[test]
    fn a_known_cluster_that_has_not_had_everything_is_trouble() {
        let follower = |cluster: &str, until| pb::DomainFollower {
            cluster_id: cluster.to_owned(),
            durable_until: until,
            ..Default::default()
        };
        let followers = vec![
            follower("west", ago(31)),
            follower("north", ago(29)),
            follower("of-before", None),
            follower("forgotten", ago(900)),
        ];
        let domain = pb::Domain { domain: "mesh".to_owned(), followers, ..Default::default() };
        let told = unprotected(&[domain], NOW, |cluster| cluster != "forgotten");
        assert_eq!(told.as_deref(), Some("cluster `west` has not had all of domain `mesh` for 31 s"));
    }
}
