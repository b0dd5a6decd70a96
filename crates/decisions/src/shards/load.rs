//! Load of nodes, as their workers report it: for which it is too much, and for which it is more than for others.

use omnirelay_wire::pb::omnirelay::mesh::control::v1 as pb;

/// The parts of a load, as the API names them.
const PARTS: [&str; 4] = ["pending", "queue_depth", "latency", "errors"];
/// Below which part of its threshold something is not too much any more.
const ENOUGH: f64 = 0.8;
/// By which part of the greater one something must be another than it was to be told: each time it is costs a commit.
const NEWS: f64 = 0.5;
/// The most pieces of work that a worker can have, taken or waiting: what is more is no count of any.
pub const PIECES_MAX: u64 = 1_000_000_000;
/// The longest that a piece of work can take, in milliseconds: a day.
pub const LATENCY_MS_MAX: f64 = 86_400_000.0;

fn values(load: &pb::ReportedLoad) -> [f64; 4] {
    [load.pending as f64, load.queue_depth as f64, load.latency_ms, load.error_rate]
}

fn limits(thresholds: &pb::LoadThresholds) -> [Option<f64>; 4] {
    let pending = thresholds.pending.map(|most| most as f64);
    let queue_depth = thresholds.queue_depth.map(|most| most as f64);
    [pending, queue_depth, thresholds.latency_ms, thresholds.error_rate]
}

/// Thresholds, with what holds where they say nothing.
pub fn with_defaults(said: &pb::LoadThresholds, default: &pb::LoadThresholds) -> pb::LoadThresholds {
    pb::LoadThresholds {
        pending: said.pending.or(default.pending),
        queue_depth: said.queue_depth.or(default.queue_depth),
        latency_ms: said.latency_ms.or(default.latency_ms),
        error_rate: said.error_rate.or(default.error_rate),
        unknown_fields: Default::default(),
    }
}

/// # Errors
/// The threshold that cannot be, by its name in the API, and why.
pub fn check_thresholds(thresholds: &pb::LoadThresholds) -> Result<(), (&'static str, String)> {
    let counts = [("pending", thresholds.pending), ("queueDepth", thresholds.queue_depth)];
    if let Some((field, _)) = counts.into_iter().find(|(_, most)| *most == Some(0)) {
        return Err((field, "0 is not 1 or more".to_owned()));
    }
    let numbers = [("latencyMs", thresholds.latency_ms, f64::MAX), ("errorRate", thresholds.error_rate, 1.0)];
    for (field, most, greatest) in numbers {
        if let Some(most) = most.filter(|most| !(*most > 0.0 && *most <= greatest)) {
            let range = if greatest > 1.0 { "above 0" } else { "above 0, to 1" };
            return Err((field, format!("{most} is not {range}")));
        }
    }
    Ok(())
}

/// # Errors
/// What is wrong with a report.
pub fn check(load: &pb::ReportedLoad) -> Result<(), String> {
    for (field, count) in [("pending", load.pending), ("queueDepth", load.queue_depth)] {
        if count > PIECES_MAX {
            return Err(format!("field `load.{field}` is 0 to {PIECES_MAX}; {count} is not"));
        }
    }
    if !(0.0..=LATENCY_MS_MAX).contains(&load.latency_ms) {
        return Err(format!("field `load.latencyMs` is 0 to {LATENCY_MS_MAX}; {} is not", load.latency_ms));
    }
    if !(0.0..=1.0).contains(&load.error_rate) {
        return Err(format!("field `load.errorRate` is 0 to 1; {} is not", load.error_rate));
    }
    Ok(())
}

/// Load of several workers together.
pub fn together<'a>(loads: impl IntoIterator<Item = &'a pb::ReportedLoad>) -> pb::ReportedLoad {
    loads.into_iter().fold(pb::ReportedLoad::default(), |all, load| pb::ReportedLoad {
        pending: all.pending.saturating_add(load.pending),
        queue_depth: all.queue_depth.saturating_add(load.queue_depth),
        latency_ms: all.latency_ms.max(load.latency_ms),
        error_rate: all.error_rate.max(load.error_rate),
        unknown_fields: Default::default(),
    })
}

/// Parts of a load that are too much, after `was` too much: neither begins nor ends with a value about a threshold.
pub fn overloaded_parts(
    load: &pb::ReportedLoad,
    thresholds: &pb::LoadThresholds,
    was: &[String],
) -> Vec<&'static str> {
    let parts = PARTS.into_iter().zip(values(load)).zip(limits(thresholds));
    let is_over = |((name, value), most): ((&'static str, f64), Option<f64>)| {
        let factor = if was.iter().any(|was| was == name) { ENOUGH } else { 1.0 };
        most.is_some_and(|most| value > most * factor).then_some(name)
    };
    parts.filter_map(is_over).collect()
}

/// Whether a load is another one than it was, so that others are to hear of it.
pub fn is_news(before: &pb::ReportedLoad, after: &pb::ReportedLoad) -> bool {
    let mut both = values(before).into_iter().zip(values(after));
    both.any(|(before, after)| (before - after).abs() > before.max(after) * NEWS)
}

/// The nodes that have something to do, who has most first; each part is seen beside whoever has most of it.
pub fn ranked(loads: &[(&str, &pb::ReportedLoad)], thresholds: &pb::LoadThresholds) -> Vec<pb::NodeLoad> {
    let greatest = loads.iter().fold([0.0f64; 4], |greatest, (_, load)| {
        let mut values = values(load).into_iter();
        greatest.map(|greatest| values.next().map_or(greatest, |value| value.max(greatest)))
    });
    let of = |(node, load): &(&str, &pb::ReportedLoad)| {
        let parts = PARTS.into_iter().zip(values(load)).zip(greatest.into_iter().zip(limits(thresholds)));
        let parts: Vec<pb::NodeLoadPart> = parts
            .map(|((name, value), (greatest, threshold))| pb::NodeLoadPart {
                name: name.to_owned(),
                value,
                share: if greatest > 0.0 { value / greatest } else { 0.0 },
                threshold,
                over: threshold.is_some_and(|most| value > most),
            })
            .collect();
        let score = parts.iter().map(|part| part.share).sum::<f64>() / PARTS.len() as f64;
        pb::NodeLoad { node_id: (*node).to_owned(), score, parts, ..pb::NodeLoad::default() }
    };
    let mut ranked: Vec<pb::NodeLoad> = loads.iter().map(of).collect();
    ranked.sort_by(|one, other| {
        other.score.total_cmp(&one.score).then_with(|| one.node_id.cmp(&other.node_id))
    });
    for (rank, node) in (1..).zip(&mut ranked) {
        node.rank = rank;
    }
    ranked
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(pending: u64, latency_ms: f64) -> pb::ReportedLoad {
        pb::ReportedLoad { pending, latency_ms, ..pb::ReportedLoad::default() }
    }

    #[test]
    fn what_is_too_much_stays_so_until_it_is_clearly_less() {
        let thresholds =
            pb::LoadThresholds { pending: Some(100), latency_ms: Some(50.0), ..Default::default() };
        assert_eq!(overloaded_parts(&load(100, 50.0), &thresholds, &[]), Vec::<&str>::new());
        assert_eq!(overloaded_parts(&load(101, 50.1), &thresholds, &[]), ["pending", "latency"]);
        let was = ["pending".to_owned()];
        assert_eq!(overloaded_parts(&load(81, 49.0), &thresholds, &was), ["pending"]);
        assert_eq!(overloaded_parts(&load(80, 49.0), &thresholds, &was), Vec::<&str>::new());
        assert_eq!(
            overloaded_parts(&load(u64::MAX, f64::MAX), &pb::LoadThresholds::default(), &was),
            Vec::<&str>::new()
        );
    }

    #[test]
    fn who_has_most_to_do_comes_first_with_its_parts() {
        let (a, b, c) = (load(10, 100.0), load(100, 0.0), load(100, 10.0));
        let ranked = ranked(&[("a", &a), ("b", &b), ("c", &c)], &pb::LoadThresholds::default());
        let of: Vec<_> = ranked.iter().map(|node| (node.node_id.as_str(), node.rank, node.score)).collect();
        assert_eq!(of, [("a", 1, 0.275), ("c", 2, 0.275), ("b", 3, 0.25)]);
        assert_eq!(ranked[0].parts[0].share, 0.1);
        assert_eq!(super::ranked(&[("a", &load(0, 0.0))], &pb::LoadThresholds::default())[0].score, 0.0);
    }

    #[test]
    fn workers_count_together_and_small_changes_are_no_news() {
        let all = together(&[load(10, 5.0), load(20, 7.0)]);
        assert_eq!((all.pending, all.latency_ms), (30, 7.0));
        assert!(!is_news(&load(100, 5.0), &load(199, 5.0)) && !is_news(&load(100, 5.0), &load(51, 5.0)));
        assert!(is_news(&load(100, 5.0), &load(201, 5.0)) && is_news(&load(100, 5.0), &load(49, 5.0)));
        assert!(is_news(&load(0, 0.0), &load(1, 0.0)));
    }

    #[test]
    fn what_is_no_load_is_refused() {
        let rate = |error_rate: f64| pb::ReportedLoad { error_rate, ..Default::default() };
        let queued = |queue_depth: u64| pb::ReportedLoad { queue_depth, ..Default::default() };
        for (bad, field) in [
            (load(1_000_000_000_000_000, 0.0), "pending"),
            (queued(u64::MAX), "queueDepth"),
            (load(0, f64::NAN), "latencyMs"),
            (load(0, f64::INFINITY), "latencyMs"),
            (load(0, 1e15), "latencyMs"),
            (load(0, -1.0), "latencyMs"),
            (rate(1.5), "errorRate"),
            (rate(-0.1), "errorRate"),
            (rate(f64::NAN), "errorRate"),
        ] {
            let error = check(&bad).expect_err(field);
            assert!(error.contains(field), "{error}");
        }
        let most = pb::ReportedLoad { error_rate: 1.0, ..load(PIECES_MAX, LATENCY_MS_MAX) };
        assert!(check(&load(5, 2.0)).is_ok() && check(&most).is_ok());
        let zero = pb::LoadThresholds { pending: Some(0), ..Default::default() };
        assert_eq!(check_thresholds(&zero), Err(("pending", "0 is not 1 or more".to_owned())));
        let rate = pb::LoadThresholds { error_rate: Some(2.0), ..Default::default() };
        assert_eq!(check_thresholds(&rate), Err(("errorRate", "2 is not above 0, to 1".to_owned())));
    }
}
