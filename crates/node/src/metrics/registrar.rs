//! Makes metrics and adds them to those of a node.

use std::collections::HashMap;

use prometheus::core::{Collector, MetricVec, MetricVecBuilder};
use prometheus::{
    Gauge, GaugeVec, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, Result,
};

/// Declares a struct of metrics, each with the method of [`MetricRegistrar`] that makes it and its arguments, and its `new`.
#[macro_export]
macro_rules! metrics {
    ($(#[$doc:meta])* $vis:vis struct $name:ident { $($(#[$about:meta])* $field:ident: $make:ident($($given:expr),+)),+ $(,)? }) => {
        $(#[$doc])*
        $vis struct $name { $($(#[$about])* $field: $crate::metric_type!($make)),+ }

        impl $name {
            /// # Errors
            /// When two metrics have one name: a mistake in this file.
            $vis fn new(all: &$crate::prometheus::Registry) -> Result<Self, $crate::prometheus::Error> {
                use $crate::metrics::registrar::MetricRegistrar as _;
                Ok(Self { $($field: all.$make($($given),+)?),+ })
            }
        }
    };
}

/// The type of what a method of [`MetricRegistrar`] makes.
#[macro_export]
macro_rules! metric_type {
    (counter) => {
        $crate::prometheus::IntCounter
    };
    (counters) => {
        $crate::prometheus::IntCounterVec
    };
    (gauge) => {
        $crate::prometheus::IntGauge
    };
    (gauges) => {
        $crate::prometheus::IntGaugeVec
    };
    (seconds) => {
        $crate::prometheus::Gauge
    };
    (seconds_by) => {
        $crate::prometheus::GaugeVec
    };
    (ratios_by) => {
        $crate::prometheus::GaugeVec
    };
    (histograms) => {
        $crate::prometheus::HistogramVec
    };
}

/// Makes a metric of this name that is scraped with the others. What is plural has a series for each of `labels`.
pub trait MetricRegistrar {
    fn add<M: Collector + Clone + 'static>(&self, made: Result<M>) -> Result<M>;

    fn counter(&self, name: &str, help: &str) -> Result<IntCounter> {
        self.add(IntCounter::new(name, help))
    }

    fn counters(&self, name: &str, help: &str, labels: &[&str]) -> Result<IntCounterVec> {
        self.add(IntCounterVec::new(Opts::new(name, help), labels))
    }

    fn gauge(&self, name: &str, help: &str) -> Result<IntGauge> {
        self.add(IntGauge::new(name, help))
    }

    fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> Result<IntGaugeVec> {
        self.add(IntGaugeVec::new(Opts::new(name, help), labels))
    }

    fn seconds(&self, name: &str, help: &str) -> Result<Gauge> {
        self.add(Gauge::new(name, help))
    }

    fn seconds_by(&self, name: &str, help: &str, labels: &[&str]) -> Result<GaugeVec> {
        self.add(GaugeVec::new(Opts::new(name, help), labels))
    }

    fn ratios_by(&self, name: &str, help: &str, labels: &[&str]) -> Result<GaugeVec> {
        self.add(GaugeVec::new(Opts::new(name, help), labels))
    }

    fn histograms(&self, name: &str, help: &str, labels: &[&str], buckets: &[f64]) -> Result<HistogramVec> {
        self.add(HistogramVec::new(HistogramOpts::new(name, help).buckets(buckets.to_vec()), labels))
    }
}

impl MetricRegistrar for Registry {
    fn add<M: Collector + Clone + 'static>(&self, made: Result<M>) -> Result<M> {
        let metric = made?;
        self.register(Box::new(metric.clone()))?;
        Ok(metric)
    }
}

/// Takes out the series whose `label` names what is not there any more: what was deleted would stay for ever, and be
/// scraped each time.
pub fn retain<B: MetricVecBuilder>(of: &MetricVec<B>, label: &str, is_there: impl Fn(&str) -> bool) {
    for family in of.collect() {
        for series in family.get_metric() {
            let labels: HashMap<&str, &str> =
                series.get_label().iter().map(|pair| (pair.name(), pair.value())).collect();
            if labels.get(label).is_some_and(|name| !is_there(name)) {
                // Somebody else may have taken it out.
                let _ = of.remove(&labels);
            }
        }
    }
}

/// Value of a gauge for a count; `i64::MAX` for one that is larger.
pub fn gauge_value(count: impl TryInto<i64>) -> i64 {
    count.try_into().unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_of_what_is_gone_are_taken_out() {
        let all = Registry::new();
        let counters = all.counters("moves", "Moves", &["namespace", "cause"]).unwrap();
        let buckets = [1.0];
        let histograms = all.histograms("durations", "Durations", &["namespace"], &buckets).unwrap();
        for namespace in ["orders", "gone"] {
            for cause in ["drain", "balance"] {
                counters.with_label_values(&[namespace, cause]).inc();
            }
            histograms.with_label_values(&[namespace]).observe(0.5);
        }
        retain(&counters, "namespace", |namespace| namespace == "orders");
        retain(&histograms, "namespace", |namespace| namespace == "orders");
        let text = prometheus::TextEncoder::new().encode_to_string(&all.gather()).unwrap();
        assert!(!text.contains("gone"), "{text}");
        assert_eq!(text.matches("moves{").count(), 2, "{text}");
        assert_eq!(counters.with_label_values(&["orders", "drain"]).get(), 1);
    }
}
