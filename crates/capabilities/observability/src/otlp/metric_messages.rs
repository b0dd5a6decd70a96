//! Metrics of Prometheus as messages of OTLP.

use std::time::SystemTime;

use omnirelay_node::prometheus::proto::{Histogram, LabelPair, Metric, MetricFamily, MetricType};

use super::messages as otlp;
use super::messages::{KeyValue, MetricData, Temporality};
use super::resource::{ExportedNode, scope, unix_nanos};

/// Period in which was counted what is told.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CountedPeriod {
    pub since: SystemTime,
    pub until: SystemTime,
}

/// Request with all metrics of a node, and how many points they have. Names stay as Prometheus has them.
pub(crate) fn metrics_request(
    families: &[MetricFamily],
    node: &ExportedNode,
    counted: CountedPeriod,
) -> (otlp::MetricsRequest, u64) {
    let points = families.iter().map(|family| family.get_metric().len() as u64).sum();
    let metrics = families.iter().map(|family| metric(family, counted)).collect();
    let scope_metrics = vec![otlp::ScopeMetrics { scope: Some(scope()), metrics }];
    let resource_metrics = vec![otlp::ResourceMetrics { resource: Some(node.resource()), scope_metrics }];
    (otlp::MetricsRequest { resource_metrics }, points)
}

fn metric(family: &MetricFamily, counted: CountedPeriod) -> otlp::Metric {
    let cumulative = Temporality::Cumulative as i32;
    let series = family.get_metric().iter();
    let data = match family.get_field_type() {
        MetricType::COUNTER => MetricData::Sum(otlp::Sum {
            data_points: series.map(|one| number(one, one.get_counter().get_value(), counted)).collect(),
            aggregation_temporality: cumulative,
            is_monotonic: true,
        }),
        MetricType::HISTOGRAM => MetricData::Histogram(otlp::Histogram {
            data_points: series.map(|one| histogram(one, counted)).collect(),
            aggregation_temporality: cumulative,
        }),
        // The table of metrics has no others.
        MetricType::GAUGE | MetricType::SUMMARY | MetricType::UNTYPED => {
            let gauge = |one: &Metric| otlp::NumberPoint {
                start_time_unix_nano: 0,
                ..number(one, one.get_gauge().get_value(), counted)
            };
            MetricData::Gauge(otlp::Gauge { data_points: series.map(gauge).collect() })
        }
    };
    otlp::Metric { name: family.name().to_owned(), description: family.help().to_owned(), data: Some(data) }
}

fn number(series: &Metric, value: f64, counted: CountedPeriod) -> otlp::NumberPoint {
    otlp::NumberPoint {
        attributes: attributes(series.get_label()),
        start_time_unix_nano: unix_nanos(counted.since),
        time_unix_nano: unix_nanos(counted.until),
        as_double: Some(value),
    }
}

fn histogram(series: &Metric, counted: CountedPeriod) -> otlp::HistogramPoint {
    let told = series.get_histogram();
    let (explicit_bounds, bucket_counts) = buckets(told);
    otlp::HistogramPoint {
        attributes: attributes(series.get_label()),
        start_time_unix_nano: unix_nanos(counted.since),
        time_unix_nano: unix_nanos(counted.until),
        // The same as all buckets together, also where something was counted meanwhile.
        count: bucket_counts.iter().sum(),
        sum: Some(told.get_sample_sum()),
        bucket_counts,
        explicit_bounds,
    }
}

/// Upper bounds, and what is in each bucket alone: those of Prometheus hold what is in those below as well.
fn buckets(told: &Histogram) -> (Vec<f64>, Vec<u64>) {
    let finite = || told.get_bucket().iter().filter(|bucket| bucket.upper_bound().is_finite());
    let all = finite().map(|bucket| bucket.cumulative_count()).chain([told.get_sample_count()]);
    let mut below = 0;
    let counts = all.map(|cumulative| {
        let alone = cumulative.saturating_sub(below);
        below = below.max(cumulative);
        alone
    });
    let counts = counts.collect();
    (finite().map(|bucket| bucket.upper_bound()).collect(), counts)
}

fn attributes(labels: &[LabelPair]) -> Vec<KeyValue> {
    // A label without a value is none, as for Prometheus.
    let said = labels.iter().filter(|label| !label.value().is_empty());
    said.map(|label| KeyValue::text(label.name(), label.value())).collect()
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use omnirelay_node::prometheus::{
        Counter, Gauge, HistogramOpts, HistogramVec, IntCounterVec, Opts, Registry,
    };

    use super::*;

    fn counted() -> CountedPeriod {
        CountedPeriod {
            since: UNIX_EPOCH + Duration::from_secs(1),
            until: UNIX_EPOCH + Duration::from_secs(9),
        }
    }

    fn sent(all: &Registry) -> Vec<otlp::Metric> {
        let node = ExportedNode { id: "node-1".to_owned(), cluster: "dev".to_owned() };
        let (request, _) = metrics_request(&all.gather(), &node, counted());
        request
            .resource_metrics
            .into_iter()
            .flat_map(|of| of.scope_metrics)
            .flat_map(|of| of.metrics)
            .collect()
    }

    #[test]
    fn counters_are_sums_that_rise_and_gauges_are_as_they_are() {
        let all = Registry::new();
        let counter = Counter::new("a_total", "As").unwrap();
        counter.inc_by(2.5);
        let gauge = Gauge::new("b", "Bs").unwrap();
        gauge.set(-3.0);
        all.register(Box::new(counter)).unwrap();
        all.register(Box::new(gauge)).unwrap();
        let [sum, gauge] = sent(&all).try_into().unwrap();
        assert_eq!((sum.name.as_str(), sum.description.as_str()), ("a_total", "As"));
        let point = |start_time_unix_nano, value| otlp::NumberPoint {
            attributes: Vec::new(),
            start_time_unix_nano,
            time_unix_nano: 9_000_000_000,
            as_double: Some(value),
        };
        let expected = otlp::Sum {
            data_points: vec![point(1_000_000_000, 2.5)],
            aggregation_temporality: 2,
            is_monotonic: true,
        };
        assert_eq!(sum.data, Some(MetricData::Sum(expected)));
        assert_eq!(gauge.data, Some(MetricData::Gauge(otlp::Gauge { data_points: vec![point(0, -3.0)] })));
    }

    #[test]
    fn each_bucket_says_what_is_in_it_alone() {
        let all = Registry::new();
        let options = HistogramOpts::new("c_seconds", "Cs").buckets(vec![0.1, 1.0, 10.0]);
        let histograms = HistogramVec::new(options, &["method", "reason"]).unwrap();
        let one = histograms.with_label_values(&["/a.B/C", ""]);
        [0.05, 0.07, 0.5, 5.0, 50.0, 60.0].into_iter().for_each(|took| one.observe(took));
        histograms.with_label_values(&["/a.B/D", "x"]);
        all.register(Box::new(histograms)).unwrap();
        let [metric] = sent(&all).try_into().unwrap();
        let Some(MetricData::Histogram(otlp::Histogram { data_points, aggregation_temporality: 2 })) =
            metric.data
        else {
            panic!("{metric:?}")
        };
        let [full, empty] = data_points.try_into().unwrap();
        assert_eq!(full.attributes, [KeyValue::text("method", "/a.B/C")], "an empty label is none");
        assert_eq!((full.count, full.bucket_counts), (6, vec![2, 1, 1, 2]));
        assert!((full.sum.unwrap() - 115.62).abs() < 1e-9);
        assert_eq!(full.explicit_bounds, [0.1, 1.0, 10.0]);
        assert_eq!((empty.count, empty.bucket_counts, empty.sum), (0, vec![0; 4], Some(0.0)));
        assert_eq!(empty.attributes.len(), 2);
    }

    #[test]
    fn points_are_counted_and_are_of_their_node() {
        let all = Registry::new();
        let counters = IntCounterVec::new(Opts::new("d_total", "Ds"), &["code"]).unwrap();
        ["a", "b", "c"].into_iter().for_each(|code| counters.with_label_values(&[code]).inc());
        all.register(Box::new(counters)).unwrap();
        let node = ExportedNode { id: "node-1".to_owned(), cluster: "dev".to_owned() };
        let (request, points) = metrics_request(&all.gather(), &node, counted());
        assert_eq!(points, 3);
        let resource = request.resource_metrics[0].resource.clone().unwrap();
        for said in
            [("service.name", "omnirelayd"), ("service.instance.id", "node-1"), ("omnirelay.mesh", "dev")]
        {
            assert!(resource.attributes.contains(&KeyValue::text(said.0, said.1)), "{said:?}");
        }
    }
}
