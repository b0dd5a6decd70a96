//! The nodes of a mesh, seen as owners of shards.

use std::collections::{BTreeMap, BTreeSet};

use omnirelay_core::rebalance::{OwnerStanding, RebalanceNode};
use omnirelay_core::shard_order::Weight;
use omnirelay_core::time::Millis;
use omnirelay_wire::pb::omnirelay::mesh::control::v1::peer::Status;
use omnirelay_wire::timestamp::millis;

use super::spec::NamespaceRules;
use crate::lease;

/// Observations of a node beside its record.
#[derive(Clone, Copy, Debug)]
pub struct MemberObservation<'a> {
    pub node: lease::ElectionCandidate<'a>,
    /// When its session ended, as far as was heard.
    pub silent_since: Option<Millis>,
    /// Gossip does not take it for well.
    pub suspected: bool,
    /// A later session of it lives, of which its record does not tell yet: it is about to be back.
    pub is_back: bool,
    /// Since when its workers report that they have too much to do in the namespace; `None`: they do not.
    pub over_since: Option<Millis>,
}

/// A node, seen as an owner of shards of a namespace.
#[derive(Clone, Debug, PartialEq)]
pub struct ShardMember {
    pub id: String,
    pub weight: Weight,
    pub region: String,
    pub zone: String,
    pub capacity: Option<usize>,
    pub standing: OwnerStanding,
    /// Why it is not open; empty: it is.
    pub why: Vec<&'static str>,
    /// Since when it is gone, as far as the registry knows: its session was found over, or it left.
    pub gone_since: Option<Millis>,
    /// When it has had too much to do for as long as the rules say.
    pub overloaded_at: Option<Millis>,
    /// It is silent, and nobody has said yet what that means.
    pub is_silent: bool,
    /// From when until when it drained, where what it owned before is to go back to it.
    pub restores: Option<(Millis, Millis)>,
}

impl ShardMember {
    /// A node that has no record: whoever owned shards and was forgotten.
    pub fn unknown(id: &str) -> Self {
        Self {
            id: id.to_owned(),
            weight: Weight::ZERO,
            region: String::new(),
            zone: String::new(),
            capacity: None,
            standing: OwnerStanding::Leaving,
            why: vec!["unknown"],
            gone_since: Some(Millis(0)),
            overloaded_at: None,
            is_silent: false,
            restores: None,
        }
    }

    /// A node by the rules of a namespace.
    pub fn of(spec: &NamespaceRules, seen: &MemberObservation<'_>, now: Millis) -> Self {
        let (id, peer) = (seen.node.id, seen.node.peer);
        let says = peer.metadata.clone().unwrap_or_default();
        let since = peer.status_since.as_ref().map(millis).unwrap_or_default();
        let silent_since = seen.silent_since.unwrap_or(since);
        let is_over = !seen.node.session_live;
        // A session that was found over is never renewed: whoever comes back begins a new one.
        let gone_since = match peer.status() {
            Status::Suspect | Status::Dead | Status::Left if is_over && !seen.is_back => {
                Some(silent_since.min(since).as_of(now))
            }
            _ => None,
        };
        let status = match peer.status() {
            Status::Alive => is_over.then_some("session_over"),
            Status::Unspecified | Status::Suspect => Some("suspect"),
            Status::Dead => Some("dead"),
            Status::Left => Some("left"),
        };
        let eligible = spec.eligible().allows(&seen.node);
        let weight = spec.weight(id);
        let overloaded_at = seen.over_since.map(|since| since.as_of(now).after(spec.policy.overloaded_after));
        let is_overloaded = overloaded_at.is_some_and(|at| now >= at);
        let why: Vec<&'static str> = [
            status,
            (status.is_none() && seen.suspected).then_some("suspect"),
            peer.draining.then_some("draining"),
            peer.cordoned.then_some("cordoned"),
            says.without_identity.then_some("without_identity"),
            (!eligible && !says.without_identity).then_some("not_eligible"),
            (weight == Weight::ZERO).then_some("weight"),
            is_overloaded.then_some("overloaded"),
        ]
        .into_iter()
        .flatten()
        .collect();
        let is_evacuated = gone_since.is_some_and(|since| now >= since.after(spec.policy.silent_after));
        let standing = if peer.draining || !eligible || is_evacuated {
            OwnerStanding::Leaving
        } else if why.is_empty() || why == ["weight"] {
            OwnerStanding::Open
        } else {
            OwnerStanding::Cordoned
        };
        Self {
            id: id.to_owned(),
            weight,
            region: says.region,
            zone: says.zone,
            capacity: spec.capacity(id),
            standing,
            why,
            gone_since,
            overloaded_at,
            is_silent: gone_since.is_none() && status.is_some(),
            restores: peer.restores_from.as_ref().map(millis).zip(peer.restores_until.as_ref().map(millis)),
        }
    }

    /// Whether it may get shards that it has not.
    pub fn gets(&self) -> bool {
        self.node().gets()
    }

    /// Whether it may get none for longer than a while: not only because it is suspect, or has much to do.
    pub fn gets_none(&self) -> bool {
        let may_pass = |why: &&str| ["suspect", "overloaded"].contains(why);
        !self.gets() && !self.is_silent && !self.why.iter().all(may_pass)
    }

    /// Whether it has too much to do, be it spared for it or not.
    pub fn has_too_much(&self, now: Millis) -> bool {
        self.overloaded_at.is_some_and(|at| at <= now)
    }

    /// Whether it may get shards where they must go somewhere.
    pub fn gets_if_need_be(&self) -> bool {
        self.gets() || self.is_only_overloaded()
    }

    /// Whether it could get shards if it had less to do.
    pub fn is_only_overloaded(&self) -> bool {
        self.why == ["overloaded"]
    }

    /// Whether it has too much to do, and is spared for it.
    pub fn is_overloaded(&self) -> bool {
        self.why.contains(&"overloaded")
    }

    pub fn is_gone(&self) -> bool {
        self.gone_since.is_some()
    }

    /// As the planner sees it.
    pub fn node(&self) -> RebalanceNode<'_> {
        RebalanceNode {
            id: &self.id,
            weight: self.weight,
            region: &self.region,
            zone: &self.zone,
            standing: self.standing,
            capacity: self.capacity,
        }
    }
}

/// The members of a namespace by their ids, those that own shards and are not known among them.
pub fn members<'a>(
    spec: &NamespaceRules,
    seen: &[MemberObservation<'_>],
    owners: impl Iterator<Item = &'a str>,
    now: Millis,
) -> BTreeMap<String, ShardMember> {
    let known = seen.iter().map(|seen| (seen.node.id.to_owned(), ShardMember::of(spec, seen, now)));
    let mut members: BTreeMap<_, _> = known.collect();
    spare_few(&mut members);
    with_unknown(members, owners)
}

/// Spares no member where most of those that may own shards have too much to do: somebody has to do it.
pub fn spare_few(members: &mut BTreeMap<String, ShardMember>) {
    let open = members.values().filter(|member| member.gets()).count();
    let spared = members.values().filter(|member| member.is_only_overloaded()).count();
    if spared <= open {
        return;
    }
    for member in members.values_mut().filter(|member| member.is_only_overloaded()) {
        member.why.clear();
        member.standing = OwnerStanding::Open;
    }
}

/// Nodes that are in doubt, of those that gossip does not take for well; `true`: of such a node the store has heard
/// since. Where they are most of those whose sessions live it is rather this node that hears nothing, and those are in
/// no doubt of whom the store has heard: this node is not to take what all others would share. A dead node renews
/// nothing.
pub fn doubted(heard: BTreeMap<String, bool>, live: usize) -> BTreeSet<String> {
    let is_most = heard.values().filter(|has_renewed| **has_renewed).count() * 2 > live.saturating_sub(1);
    heard.into_iter().filter(|(_, has_renewed)| !(is_most && *has_renewed)).map(|(node, _)| node).collect()
}

/// The same with those that own shards and are not among them.
pub fn with_unknown<'a>(
    mut members: BTreeMap<String, ShardMember>,
    owners: impl Iterator<Item = &'a str>,
) -> BTreeMap<String, ShardMember> {
    for owner in owners.filter(|owner| !owner.is_empty()) {
        if !members.contains_key(owner) {
            members.insert(owner.to_owned(), ShardMember::unknown(owner));
        }
    }
    members
}

#[cfg(test)]
mod tests {
    use omnirelay_wire::pb::omnirelay::store::v1::PeerValue;
    use omnirelay_wire::timestamp::timestamp;

    use super::*;

    /// A session that was found over is never renewed, so nobody has to wait until a node is called dead.
    #[test]
    fn a_node_is_gone_from_the_end_of_its_session_on() {
        let spec = NamespaceRules::stored(None);
        let of = |status: Status, session_live: bool, is_back: bool, now: u64| {
            let mut peer = PeerValue { status_since: Some(timestamp(Millis(5_500))), ..PeerValue::default() };
            peer.set_status(status);
            let node = lease::ElectionCandidate { id: "a", peer: &peer, session_live };
            let silent_since = (!session_live).then_some(Millis(5_000));
            let seen = MemberObservation { node, silent_since, suspected: false, is_back, over_since: None };
            let member = ShardMember::of(&spec, &seen, Millis(now));
            (member.is_gone(), member.standing)
        };
        let at = |status: Status, session_live: bool, now: u64| of(status, session_live, false, now);
        for status in [Status::Suspect, Status::Dead, Status::Left] {
            assert_eq!(at(status, false, 5_900), (true, OwnerStanding::Cordoned), "{status:?}");
            assert_eq!(
                at(status, false, 6_000),
                (true, OwnerStanding::Leaving),
                "{status:?}, a second later"
            );
        }
        assert_eq!(
            at(Status::Alive, false, 9_000),
            (false, OwnerStanding::Cordoned),
            "nobody has found it over"
        );
        assert_eq!(
            at(Status::Suspect, true, 9_000),
            (false, OwnerStanding::Cordoned),
            "it is about to say that it is back"
        );
    }

    #[test]
    fn whoever_hears_of_few_doubts_none_that_the_store_hears_of() {
        let of = |renewed: &str, silent: &str, live: usize| {
            let each = |nodes: &str, has_renewed: bool| -> Vec<_> {
                nodes.split_whitespace().map(|node| (node.to_owned(), has_renewed)).collect()
            };
            let heard = each(renewed, true).into_iter().chain(each(silent, false)).collect();
            doubted(heard, live).into_iter().collect::<Vec<_>>().join(" ")
        };
        assert_eq!(of("b c", "", 5), "b c", "half of the others");
        assert_eq!(of("b c d", "", 5), "");
        assert_eq!(of("b c d", "e", 5), "e");
        // Most are dead, and their sessions are not over yet.
        assert_eq!(of("", "b c d e", 5), "b c d e");
        assert_eq!(of("b", "c d e", 5), "b c d e");
        assert_eq!(
            (of("b", "", 2), of("", "b", 2), of("", "", 1)),
            (String::new(), "b".into(), String::new())
        );
    }
}
