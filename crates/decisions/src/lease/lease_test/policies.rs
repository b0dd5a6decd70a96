//! Leadership policies: who may lead and who should, as tables.

use super::*;

fn says(change: impl FnOnce(&mut pb::PeerMetadata)) -> PeerValue {
    let mut peer = alive();
    change(peer.metadata.get_or_insert_default());
    peer
}

fn eligible(change: impl FnOnce(&mut pb::NodeFilter)) -> pb::LeadershipPolicy {
    let mut filter = pb::NodeFilter::default();
    change(&mut filter);
    pb::LeadershipPolicy { eligible: Some(filter), prefer: Vec::new(), unknown_fields: Default::default() }
}

#[test]
fn every_reason_against_a_node_is_told() {
    use LeaderExclusion::*;
    let none = pb::LeadershipPolicy::default;
    let strict = || {
        eligible(|filter| {
            filter.nodes = names(&["x"]);
            filter.roles = names(&["control"]);
            filter.regions = names(&["eu"]);
            filter.zones = names(&["b"]);
            filter.selector = "tier=gold".to_owned();
        })
    };
    let status = |status: Status| PeerValue { status: status.into(), ..alive() };
    let cases = [
        ("nothing", none(), alive(), true, vec![]),
        ("does not campaign", none(), says(|says| says.campaigns = false), true, vec![Disabled]),
        ("is nobody", none(), says(|says| says.without_identity = true), true, vec![WithoutIdentity]),
        ("says nothing of itself", none(), PeerValue { metadata: None, ..alive() }, true, vec![Disabled]),
        ("suspect", none(), status(Status::Suspect), true, vec![Suspect]),
        ("a status that is none", none(), status(Status::Unspecified), true, vec![Suspect]),
        ("dead", none(), status(Status::Dead), false, vec![Dead]),
        ("left", none(), status(Status::Left), false, vec![Left]),
        ("its session is over", none(), alive(), false, vec![SessionOver]),
        ("cordoned", none(), PeerValue { cordoned: true, ..alive() }, true, vec![Cordoned]),
        ("draining", none(), PeerValue { draining: true, ..alive() }, true, vec![Draining]),
        ("node", eligible(|f| f.nodes = names(&["x", "y"])), alive(), true, vec![Node]),
        ("role", eligible(|f| f.roles = names(&["x"])), alive(), true, vec![Role]),
        ("region", eligible(|f| f.regions = names(&["x"])), alive(), true, vec![Region]),
        ("zone", eligible(|f| f.zones = names(&["x"])), alive(), true, vec![Zone]),
        ("labels", eligible(|f| f.selector = "tier".to_owned()), alive(), true, vec![Labels]),
        (
            "everything",
            strict(),
            PeerValue { cordoned: true, draining: true, status: Status::Dead.into(), ..PeerValue::default() },
            false,
            vec![Disabled, Dead, Cordoned, Draining, Node, Role, Region, Zone, Labels],
        ),
        (
            "all of a strict policy",
            PeerPolicy::loosened(strict()),
            says(|says| {
                says.role = "control".to_owned();
                says.region = "eu".to_owned();
                says.zone = "b".to_owned();
                says.labels.insert("tier".to_owned(), "gold".to_owned());
            }),
            true,
            vec![],
        ),
    ];
    for (what, policy, peer, session_live, expected) in cases {
        let policy = ElectionPolicy::of(Some(&policy)).unwrap();
        let node = super::ElectionCandidate { id: "a", peer: &peer, session_live };
        assert_eq!(policy.exclusions(&node), expected, "{what}");
        let for_good = [WithoutIdentity, Node, Role, Region, Zone, Labels];
        let allowed = !expected.iter().any(|why| for_good.contains(why));
        assert_eq!(policy.allows(&node), allowed, "{what}: for good");
    }
}

/// Lets node a in.
struct PeerPolicy;

impl PeerPolicy {
    fn loosened(mut policy: pb::LeadershipPolicy) -> pb::LeadershipPolicy {
        policy.eligible.get_or_insert_default().nodes.push("a".to_owned());
        policy
    }
}

#[test]
fn every_exclusion_has_its_own_word() {
    use LeaderExclusion::*;
    let state = [Disabled, Suspect, Dead, Left, SessionOver, Cordoned, Draining, WithoutIdentity];
    let all = [&state[..], &[Node, Role, Region, Zone, Labels]].concat();
    let words: std::collections::BTreeSet<_> = all.iter().map(|why| why.word()).collect();
    assert_eq!(words.len(), all.len());
    assert!(words.contains("session_over"));
}

#[test]
fn the_highest_priority_of_those_that_match_counts() {
    let prefer = |filter: pb::NodeFilter, priority| pb::LeadershipPreference {
        nodes: Some(filter),
        priority,
        unknown_fields: Default::default(),
    };
    let role = pb::NodeFilter { roles: names(&["control"]), ..pb::NodeFilter::default() };
    let policy = pb::LeadershipPolicy {
        eligible: None,
        prefer: vec![prefer(only(&["a"]), 5), prefer(role, 7), prefer(only(&["c"]), -3)],
        unknown_fields: Default::default(),
    };
    let policy = ElectionPolicy::of(Some(&policy)).unwrap();
    let control = says(|says| says.role = "control".to_owned());
    let cases = [
        ("by its name", "a", alive(), 5),
        ("two match", "a", control.clone(), 7),
        ("none matches", "b", alive(), 0),
        ("less than none", "c", alive(), -3),
    ];
    for (what, id, peer, expected) in cases {
        assert_eq!(
            policy.priority(&super::ElectionCandidate { id, peer: &peer, session_live: true }),
            expected,
            "{what}"
        );
    }
}

#[test]
fn what_is_no_policy_is_refused() {
    let prefer = |nodes: Option<pb::NodeFilter>, priority| pb::LeadershipPolicy {
        eligible: None,
        prefer: vec![pb::LeadershipPreference { nodes, priority, unknown_fields: Default::default() }],
        unknown_fields: Default::default(),
    };
    let many = |count| pb::LeadershipPolicy {
        eligible: None,
        prefer: vec![
            pb::LeadershipPreference {
                nodes: Some(only(&["a"])),
                priority: 1,
                unknown_fields: Default::default()
            };
            count
        ],
        unknown_fields: Default::default(),
    };
    let long = |count| vec!["x".to_owned(); count];
    let refused = |policy: &pb::LeadershipPolicy| ElectionPolicy::of(Some(policy)).err();
    let selector = eligible(|f| f.selector = "=x".to_owned());
    let cases = [
        ("none", pb::LeadershipPolicy::default(), None),
        ("as many preferences as may be", many(16), None),
        ("one more", many(17), Some(PolicyError::Preferences(17))),
        ("the greatest priority", prefer(Some(only(&["a"])), 1000), None),
        ("one more", prefer(Some(only(&["a"])), 1001), Some(PolicyError::Priority(1001))),
        ("the least priority", prefer(Some(only(&["a"])), -1000), None),
        ("one less", prefer(Some(only(&["a"])), -1001), Some(PolicyError::Priority(-1001))),
        ("the least number", prefer(Some(only(&["a"])), i32::MIN), Some(PolicyError::Priority(i32::MIN))),
        ("no nodes preferred", prefer(None, 1), Some(PolicyError::Everybody)),
        ("all nodes preferred", prefer(Some(pb::NodeFilter::default()), 1), Some(PolicyError::Everybody)),
        ("as many names as may be", eligible(|f| f.zones = long(64)), None),
        ("nodes", eligible(|f| f.nodes = long(65)), Some(PolicyError::Names(65))),
        ("roles", eligible(|f| f.roles = long(65)), Some(PolicyError::Names(65))),
        ("regions", eligible(|f| f.regions = long(66)), Some(PolicyError::Names(66))),
        ("zones", eligible(|f| f.zones = long(65)), Some(PolicyError::Names(65))),
        (
            "preferred names",
            prefer(Some(pb::NodeFilter { roles: long(65), ..only(&[]) }), 1),
            Some(PolicyError::Names(65)),
        ),
    ];
    for (what, policy, expected) in cases {
        assert_eq!(refused(&policy), expected, "{what}");
    }
    assert!(matches!(refused(&selector), Some(PolicyError::Selector(_))));
    let preferred = prefer(selector.eligible, 1);
    assert!(matches!(refused(&preferred), Some(PolicyError::Selector(_))));
    assert!(ElectionPolicy::of(None).unwrap().allows(&super::ElectionCandidate {
        id: "a",
        peer: &alive(),
        session_live: true
    }));
}

#[test]
fn candidates_rank_by_priority_and_the_last_one_is_last() {
    let mut crowd = Crowd::of(&["a", "b", "c", "d"]);
    crowd.peer("d").cordoned = true;
    let rank = |ids: &[&str], last| {
        let policy = ElectionPolicy::of(Some(&in_order(ids))).unwrap();
        let nodes = crowd.nodes();
        let ranked = policy.rank("billing", &nodes, last);
        ranked.iter().map(|ranked| (ranked.id.to_owned(), ranked.priority)).collect::<Vec<_>>()
    };
    let expect = |list: &[(&str, i32)]| list.iter().map(|(id, n)| ((*id).to_owned(), *n)).collect::<Vec<_>>();
    assert_eq!(rank(&["c", "a", "b"], None), expect(&[("c", 3), ("a", 2), ("b", 1)]));
    assert_eq!(
        rank(&["c", "a", "b"], Some("c")),
        expect(&[("a", 2), ("b", 1), ("c", 3)]),
        "last whatever its priority"
    );
    assert_eq!(
        rank(&["c", "a", "b"], Some("d")),
        expect(&[("c", 3), ("a", 2), ("b", 1)]),
        "who may not is not last either"
    );
}

#[test]
fn labels_of_a_node_count_for_selectors() {
    let gold = says(|says| says.labels = Labels::from([("tier".to_owned(), "gold".to_owned())]));
    let policy =
        ElectionPolicy::of(Some(&eligible(|f| f.selector = "tier in (gold,silver),!canary".to_owned())))
            .unwrap();
    let allows =
        |peer: &PeerValue| policy.allows(&super::ElectionCandidate { id: "a", peer, session_live: true });
    assert!(allows(&gold) && !allows(&alive()));
}
