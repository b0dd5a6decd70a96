//! Laws that hold for every transport policy.

use omnirelay_wire::timestamp::Timestamp;
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

const CATEGORIES: [&str; 5] = [MESH_INTERNAL, CONTROL_PLANE, DIAGNOSTICS, EDGE, "own"];
const NOW: Millis = Millis(1_800_000_000_000);

fn pairing() -> impl Strategy<Value = pb::TransportPairing> {
    let transports = prop::sample::select(vec!["http3", "http2", "http1"]);
    let encodings = prop::sample::select(vec!["protobuf", "json", "raw"]);
    (transports, encodings).prop_map(|(transport, encoding)| pb::TransportPairing {
        transport: transport.to_owned(),
        encoding: encoding.to_owned(),
        unknown_fields: Default::default(),
    })
}

fn category() -> impl Strategy<Value = pb::TransportCategory> {
    let name = prop::sample::select(CATEGORIES.to_vec());
    (name, vec(pairing(), 0..6), prop::option::of(pairing()), any::<bool>()).prop_map(
        |(name, allowed, preferred, requires_preferred)| pb::TransportCategory {
            name: name.to_owned(),
            allowed,
            preferred,
            requires_preferred,
            unknown_fields: Default::default(),
        },
    )
}

fn exception() -> impl Strategy<Value = pb::TransportException> {
    let category = prop::sample::select(CATEGORIES.to_vec());
    (category, vec(pairing(), 1..6), 1_700_000_000..1_900_000_000_i64).prop_map(
        |(category, pairings, seconds)| pb::TransportException {
            name: format!("of-{category}"),
            category: category.to_owned(),
            pairings,
            reason: "a reason".to_owned(),
            approved_by: "operator:ann".to_owned(),
            expires_at: Some(Timestamp { seconds, nanos: 0 }),
            ..Default::default()
        },
    )
}

fn policy() -> impl Strategy<Value = pb::TransportPolicy> {
    let budget = || prop::option::of(0..9_u32);
    (vec(category(), 0..5), vec(exception(), 0..5), vec(pairing(), 0..3), budget(), budget()).prop_map(
        |(mut categories, mut exceptions, legacy, raw_endpoints_max, legacy_pairings_max)| {
            categories.sort_by(|a, b| a.name.cmp(&b.name));
            categories.dedup_by(|a, b| a.name == b.name);
            exceptions.sort_by(|a, b| a.name.cmp(&b.name));
            exceptions.dedup_by(|a, b| a.name == b.name);
            let budgets = Some(pb::TransportBudgets {
                raw_endpoints_max,
                legacy_pairings_max,
                unknown_fields: Default::default(),
            });
            pb::TransportPolicy {
                categories,
                exceptions,
                legacy,
                budgets,
                unknown_fields: Default::default(),
            }
        },
    )
}

fn endpoint() -> impl Strategy<Value = pb::TransportEndpoint> {
    let category = prop::sample::select(CATEGORIES.to_vec());
    (category, vec(pairing(), 1..5), any::<bool>()).prop_map(|(category, profiles, has_acl)| {
        pb::TransportEndpoint {
            name: "a".to_owned(),
            namespace: "orders".to_owned(),
            category: category.to_owned(),
            profiles,
            acl: if has_acl { vec!["service:b".to_owned()] } else { Vec::new() },
        }
    })
}

/// Whether an endpoint keeps the rules that no policy loosens, said in other words than those that are tested.
fn keeps_fixed_rules(endpoint: &pb::TransportEndpoint) -> bool {
    let speaks: Vec<(&str, &str)> = endpoint
        .profiles
        .iter()
        .map(|profile| (profile.transport.as_str(), profile.encoding.as_str()))
        .collect();
    if endpoint.category == "mesh-internal" {
        let is_inside = |one: &(&str, &str)| *one == ("http3", "protobuf") || *one == ("http2", "protobuf");
        return speaks.iter().all(is_inside)
            && speaks.contains(&("http3", "protobuf"))
            && speaks.contains(&("http2", "protobuf"));
    }
    let has_raw = speaks.iter().any(|(_, encoding)| *encoding == "raw");
    !speaks.contains(&("http1", "protobuf")) && (!has_raw || !endpoint.acl.is_empty())
}

proptest! {
    #[test]
    fn no_policy_loosens_what_is_fixed(policy in policy(), endpoint in endpoint()) {
        let report = evaluate(&policy, std::slice::from_ref(&endpoint), NOW).unwrap();
        prop_assert!(!report.fit || keeps_fixed_rules(&endpoint), "{report:?}");
        prop_assert_eq!(report.fit, violations(&report).next().is_none());
    }

    #[test]
    fn what_is_said_of_the_default_changes_nothing(policy in policy(), endpoint in endpoint()) {
        let whole = effective(&policy);
        prop_assert!(differences(&policy, &whole).is_empty());
        prop_assert_eq!(&effective(&whole), &whole);
        let of = |policy| evaluate(policy, std::slice::from_ref(&endpoint), NOW).unwrap();
        prop_assert_eq!(of(&policy), of(&whole));
    }

    #[test]
    fn what_differs_is_told(one in policy(), other in policy()) {
        let is_so = effective(&one) == effective(&other);
        // The order of categories says nothing.
        prop_assert!(!is_so || differences(&one, &other).is_empty());
        prop_assert_eq!(differences(&one, &other).is_empty(), differences(&other, &one).is_empty());
    }
}
