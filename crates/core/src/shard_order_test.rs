use super::*;

fn nodes<'a>(ids: &[&'a str]) -> Vec<OwnerCandidate<'a>> {
    ids.iter().map(|node| OwnerCandidate { node, weight: Weight::ONE, region: "", zone: "" }).collect()
}

/// How many of so many shards each node is the first for.
fn shares(strategy: PlacementStrategy, nodes: &[OwnerCandidate<'_>], shards: usize) -> Vec<usize> {
    let mut shares = vec![0; nodes.len()];
    for owner in owners(strategy, nodes, shards) {
        shares[owner] += 1;
    }
    shares
}

fn owners(strategy: PlacementStrategy, nodes: &[OwnerCandidate<'_>], shards: usize) -> Vec<usize> {
    let placer = ShardPlacer::new(strategy, nodes.to_vec());
    (0..shards).map(|shard| placer.best("orders", &shard.to_string(), "", |_| true).unwrap()).collect()
}

#[test]
fn logarithms_are_right_to_ten_places_and_never_fall() {
    for (step, log) in LOGS.iter().enumerate() {
        let (is, should) = (*log as f64 / 2f64.powi(40), (1.0 + step as f64 / 2048.0).log2());
        assert!((is - should).abs() < 1e-11, "step {step}: {is}, not {should}");
    }
    assert!(LOGS.is_sorted());
    let mut hashes = vec![0, 1, 2, 3, u64::MAX - 1, u64::MAX, 1 << 63, (1 << 63) - 1];
    hashes.extend((0..10_000u64).map(|at| xxh64(&at.to_le_bytes(), 0)));
    hashes.sort_unstable();
    for pair in hashes.windows(2) {
        assert!(neg_log2(pair[0]) >= neg_log2(pair[1]), "{pair:?}");
    }
    for hash in hashes {
        let should = 64.0 - (hash as f64 + 1.0).log2();
        let is = neg_log2(hash) as f64 / 2f64.powi(40);
        assert!((is - should).abs() < 1e-6, "{hash}: {is}, not {should}");
    }
    assert_eq!((neg_log2(u64::MAX), neg_log2(0)), (0, 64 << LOG_BITS));
}

#[test]
fn shares_are_proportional_to_weights() {
    let mut nodes = nodes(&["a", "b", "c", "d"]);
    for (node, weight) in nodes.iter_mut().zip([1.0, 4.0, 0.5, 0.0]) {
        node.weight = Weight::of(weight).unwrap();
    }
    let shares = shares(PlacementStrategy::Rendezvous, &nodes, 55_000);
    for (share, expected) in shares.iter().zip([10_000i64, 40_000, 5_000, 0]) {
        let off = (*share as i64 - expected).abs();
        assert!(off <= 300, "{shares:?}");
    }
    assert_eq!(
        order(PlacementStrategy::Rendezvous, "n", "1", "", &nodes).len(),
        3,
        "who weighs nothing owns nothing"
    );
    let points = |weight| {
        points_of(&OwnerCandidate { node: "n", weight: Weight::of(weight).unwrap(), region: "", zone: "" })
            .len()
    };
    assert_eq!([0.0, 0.001, 0.0078125, 1.0, 1.5].map(points), [0, 1, 1, 64, 96]);
}

#[test]
fn who_comes_only_takes_and_who_goes_only_gives() {
    let before = ["a", "b", "c", "d", "e"];
    let after = ["a", "b", "c", "d", "e", "f"];
    for strategy in PlacementStrategy::ALL {
        let (few, many) = (nodes(&before), nodes(&after));
        let (few_own, many_own) = (owners(strategy, &few, 2000), owners(strategy, &many, 2000));
        let moved = few_own.iter().zip(&many_own).filter(|(was, is)| was != is);
        let taken: Vec<_> = moved.collect();
        assert!(taken.iter().all(|(_, is)| **is == 5), "{strategy:?}");
        let share = taken.len() as f64 / 2000.0;
        assert!((share - 1.0 / 6.0).abs() < 0.08, "{strategy:?}: {share}");
    }
}

#[test]
fn orders_name_each_once_whatever_the_order_they_are_given_in() {
    let ids = ["n1", "n2", "n3", "n4", "n5", "n6", "n7"];
    let mut other = ids;
    other.reverse();
    for strategy in PlacementStrategy::ALL {
        for shard in 0..50 {
            let shard = shard.to_string();
            let named = |ids: &[&str]| -> Vec<String> {
                let places = order(strategy, "n", &shard, "", &nodes(ids));
                places.into_iter().map(|place| ids[place].to_owned()).collect()
            };
            let (one, same) = (named(&ids), named(&other));
            assert_eq!(one, same);
            let mut sorted = one.clone();
            sorted.sort();
            assert_eq!(sorted, ids);
        }
        assert_eq!(order(strategy, "n", "1", "", &[]), Vec::<usize>::new());
    }
}

#[test]
fn locality_takes_the_zone_then_the_region_then_any() {
    let place = |node, region, zone| OwnerCandidate { node, weight: Weight::ONE, region, zone };
    let nodes = [place("far", "us", "us-a"), place("near", "eu", "eu-b"), place("here", "eu", "eu-a")];
    let named = |hint: &str| -> Vec<&str> {
        order(PlacementStrategy::Locality, "n", "7", hint, &nodes)
            .into_iter()
            .map(|at| nodes[at].node)
            .collect()
    };
    assert_eq!(named("eu/eu-a"), ["here", "near", "far"]);
    assert_eq!(named("zone:eu-b")[0], "near");
    assert_eq!(named("region:us")[0], "far");
    assert_eq!(named("us")[0], "far");
    let plain = order(PlacementStrategy::Rendezvous, "n", "7", "", &nodes);
    for hint in ["", "zone:nowhere", "region:", "nowhere/zone"] {
        assert_eq!(order(PlacementStrategy::Locality, "n", "7", hint, &nodes), plain, "`{hint}`");
    }
    assert_eq!(ShardLocality::of("eu/a"), ShardLocality { region: Some("eu"), zone: Some("a") });
}

#[test]
fn keys_spread_evenly_over_shards() {
    let mut counts = [0; 128];
    for key in 0..128_000u32 {
        counts[shard_of(format!("key-{key}").as_bytes(), 128) as usize] += 1;
    }
    assert!(counts.iter().all(|count| (850..1150).contains(count)), "{counts:?}");
    assert_eq!((shard_of(b"x", 0), shard_of(b"x", 1)), (0, 0));
}

#[test]
fn weights_are_numbers_from_0_to_1000() {
    assert_eq!(Weight::of(f64::NAN), Err(WeightError::NotANumber));
    for wrong in [-0.1, 1000.1, f64::INFINITY, f64::NEG_INFINITY] {
        assert_eq!(Weight::of(wrong), Err(WeightError::OutOfRange(wrong)));
    }
    assert_eq!(
        [0.0, 1e-9, 1.0, 2.5, 1000.0].map(|it| Weight::of(it).unwrap().milli()),
        [0, 1, 1000, 2500, 1_000_000]
    );
    assert_eq!(Weight::of(2.5).unwrap().number(), 2.5);
}

#[test]
fn strategies_are_called_as_the_api_calls_them() {
    assert_eq!(PlacementStrategy::of("RENDEZVOUS"), Some(PlacementStrategy::Rendezvous));
    assert_eq!(PlacementStrategy::of("modulo"), None);
    assert!(PlacementStrategy::ALL.into_iter().all(|one| PlacementStrategy::of(one.word()) == Some(one)));
}

/// The page that other programs are written from.
const PAGE: &str = include_str!("../../../docs/reference/shard-placement.md");

/// A node as the page writes it.
fn node_of(text: &str) -> OwnerCandidate<'_> {
    let mut parts = text.split(':');
    let (node, milli) = (parts.next().unwrap(), parts.next().unwrap().parse::<f64>().unwrap());
    let mut next = || parts.next().unwrap_or_default();
    OwnerCandidate { node, weight: Weight::of(milli / 1000.0).unwrap(), region: next(), zone: next() }
}

fn computed(line: &str) -> String {
    let named = |places: Vec<usize>, nodes: &[OwnerCandidate<'_>]| -> String {
        places.into_iter().map(|at| nodes[at].node).collect::<Vec<_>>().join(" ")
    };
    if let Some((key, of)) = line.strip_prefix("key `").and_then(|rest| rest.split_once("` of ")) {
        return shard_of(key.as_bytes(), of.parse().unwrap()).to_string();
    }
    let words: Vec<&str> = line.split(' ').collect();
    let nodes = |from: usize| words[from..].iter().map(|word| node_of(word)).collect::<Vec<_>>();
    match words[0] {
        "cost" => {
            let weight = Weight::of(words[4].parse::<f64>().unwrap() / 1000.0).unwrap();
            cost(words[1], words[2], words[3], weight).unwrap().to_string()
        }
        "locality" => {
            let nodes = nodes(4);
            named(order(PlacementStrategy::Locality, words[1], words[2], words[3], &nodes), &nodes)
        }
        strategy => {
            let (nodes, strategy) = (nodes(3), PlacementStrategy::of(strategy).unwrap());
            named(order(strategy, words[1], words[2], "", &nodes), &nodes)
        }
    }
}

#[test]
fn vectors_of_the_reference_hold() {
    let lines = PAGE.split("```text\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let vectors: Vec<(&str, &str)> = lines.lines().map(|line| line.rsplit_once(" = ").unwrap()).collect();
    assert!(vectors.len() > 20, "{}", vectors.len());
    for (line, expected) in vectors {
        assert_eq!(computed(line), expected, "{line}");
    }
}

#[test]
fn the_best_is_the_first_of_the_order() {
    let ids: Vec<String> = (0..40).map(|at| format!("node-{at}")).collect();
    let weights = [1.0, 1.0, 0.001, 20.0, 2.5, 0.0];
    let of = |(at, id): (usize, &'_ String)| -> OwnerCandidate<'static> {
        OwnerCandidate {
            node: Box::leak(id.clone().into_boxed_str()),
            weight: Weight::of(weights[at % weights.len()]).unwrap(),
            region: ["eu", "us"][at % 2],
            zone: ["a", "b", "c"][at % 3],
        }
    };
    let nodes: Vec<OwnerCandidate<'_>> = ids.iter().enumerate().map(of).collect();
    let equal: Vec<OwnerCandidate<'_>> =
        nodes.iter().map(|node| OwnerCandidate { weight: Weight::ONE, ..*node }).collect();
    for (strategy, nodes) in PlacementStrategy::ALL.into_iter().flat_map(|one| [(one, &nodes), (one, &equal)])
    {
        let placer = ShardPlacer::new(strategy, nodes.clone());
        for shard in (0..60).chain(100..120).map(|at| at.to_string()) {
            let hint = ["", "eu/a", "zone:b", "region:us"][shard.len()];
            let order = order(strategy, "orders", &shard, hint, nodes);
            assert_eq!(placer.best("orders", &shard, hint, |_| true), order.first().copied());
            let rest = |place: usize| order[..5].iter().all(|first| *first != place);
            assert_eq!(placer.best("orders", &shard, hint, rest), order.get(5).copied());
        }
    }
}
