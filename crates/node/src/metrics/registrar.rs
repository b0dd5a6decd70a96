//! Registration of metrics: makes them of their rows and adds them to those of a node.

use std::collections::HashMap;
use std::ops::Deref;

use prometheus::core::{Collector, MetricVec, MetricVecBuilder};
use prometheus::{
    GaugeVec, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    Result,
};

use super::row::{MetricKind, MetricRow};

/// Declares a struct of metrics with its `new`. Each field is a row of the table: the type of the metric, its name and help, and
/// where it has them its labels and the bounds of a histogram. `while` says what must be so for them to be there, and `with` has
/// fields that are no metrics.
#[macro_export]
macro_rules! metrics {
    (
        #[doc = $title:literal] $(#[doc = $more:literal])*
        $vis:vis struct $name:ident $(while $condition:literal)? {
            $($(#[doc = $about:literal])* $field:ident: $metric:ident(
                $called:literal, $help:literal $(, $labels:expr $(, $buckets:expr)?)? $(,)?
            ) $(.$option:ident($($value:expr),*))*),+ $(,)?
        }
        $(with { $($(#[doc = $of_kept:literal])* $kept:ident: $type:ty),+ $(,)? })?
    ) => {
        #[doc = $title]
        $(#[doc = $more])*
        $vis struct $name {
            $($(#[doc = $about])* $field: $crate::metrics::registrar::$metric,)+
            $($($(#[doc = $of_kept])* $kept: $type,)+)?
        }

        impl $name {
            const GROUP: $crate::metrics::row::MetricGroup =
                $crate::metrics::row::MetricGroup { title: $title, conditions: &[$($condition)?] };

            /// # Errors
            /// When two metrics have one name: a mistake in this file.
            $vis fn new(all: &$crate::prometheus::Registry) -> Result<Self, $crate::prometheus::Error> {
                use $crate::metrics::registrar::{self, RowMetric};
                use $crate::metrics::row::MetricRow;
                Ok(Self {
                    $($field: {
                        const ROW: MetricRow =
                            MetricRow::new(<registrar::$metric as RowMetric>::KIND, $called, $help)
                                $(.by($labels)$(.buckets($buckets))?)?$(.$option($($value),*))*.of(&$name::GROUP);
                        $crate::inventory::submit! { ROW }
                        RowMetric::registered(&ROW, all)?
                    },)+
                    $($($kept: Default::default(),)+)?
                })
            }
        }
    };
}

/// Metric of a row.
pub trait RowMetric: Sized {
    /// Type that the row says.
    const KIND: MetricKind;

    /// Makes the metric of a row and adds it to `all`, with the series that are there from the start.
    ///
    /// # Errors
    /// When `all` has one of this name: a mistake in the table.
    fn registered(row: &'static MetricRow, all: &Registry) -> Result<Self>;
}

/// Counter of a row without labels.
pub type Counter = IntCounter;
/// Counter of numbers with fractions of a row without labels.
pub type FloatCounter = prometheus::Counter;
/// Gauge of whole numbers of a row without labels.
pub type Gauge = IntGauge;
/// Gauge of numbers with fractions of a row without labels.
pub type FloatGauge = prometheus::Gauge;
/// Counters of one row, by label values.
pub type Counters = LabelledMetric<IntCounterVec>;
/// Gauges of whole numbers of one row, by label values.
pub type Gauges = LabelledMetric<IntGaugeVec>;
/// Gauges of numbers with fractions of one row, by label values.
pub type FloatGauges = LabelledMetric<GaugeVec>;
/// Histograms of one row, by label values.
pub type Histograms = LabelledMetric<HistogramVec>;

/// Metrics of one row, by label values.
pub struct LabelledMetric<V> {
    row: &'static MetricRow,
    series: V,
}

/// Access to what asks for no series, such as [`MetricVec::reset`] and [`MetricVec::remove_label_values`].
impl<V> Deref for LabelledMetric<V> {
    type Target = V;

    fn deref(&self) -> &V {
        &self.series
    }
}

impl<B: MetricVecBuilder> LabelledMetric<MetricVec<B>> {
    /// Metric of the series with these values, in the order of the labels of the row. One that the row does not admit is a mistake of
    /// the caller, which builds with debug assertions panic at, so that each test holds the table.
    pub fn with_label_values(&self, values: &[&str]) -> B::M {
        debug_assert!(self.row.admits(values), "{} has no series of {values:?}", self.row.name);
        self.series.with_label_values(values)
    }

    /// Takes out the series whose `label` names what is not there any more: what was deleted would stay for ever, and be
    /// scraped each time.
    pub fn retain(&self, label: &str, is_there: impl Fn(&str) -> bool) {
        for family in self.series.collect() {
            for series in family.get_metric() {
                let labels: HashMap<&str, &str> =
                    series.get_label().iter().map(|pair| (pair.name(), pair.value())).collect();
                if labels.get(label).is_some_and(|name| !is_there(name)) {
                    // Somebody else may have taken it out.
                    let _ = self.series.remove(&labels);
                }
            }
        }
    }
}

macro_rules! row_metrics {
    ($($metric:ty: $kind:ident, |$row:ident, $all:ident| $made:expr;)+) => {$(
        impl RowMetric for $metric {
            const KIND: MetricKind = MetricKind::$kind;

            fn registered($row: &'static MetricRow, $all: &Registry) -> Result<Self> {
                $made
            }
        }
    )+};
}

row_metrics! {
    Counter: Counter, |row, all| add(all, Self::with_opts(opts(row)));
    FloatCounter: Counter, |row, all| add(all, Self::with_opts(opts(row)));
    Gauge: Gauge, |row, all| add(all, Self::with_opts(opts(row)));
    FloatGauge: Gauge, |row, all| add(all, Self::with_opts(opts(row)));
    Counters: Counter, |row, all| labelled(row, all, IntCounterVec::new(opts(row), &row.label_names()));
    Gauges: Gauge, |row, all| labelled(row, all, IntGaugeVec::new(opts(row), &row.label_names()));
    FloatGauges: Gauge, |row, all| labelled(row, all, GaugeVec::new(opts(row), &row.label_names()));
    Histograms: Histogram, |row, all| labelled(row, all, histogram_vec(row, &row.label_names()));
}

/// Makes histograms with some of the labels of a row, and adds them to no registry.
///
/// # Errors
/// When the row cannot be one: a mistake in the table.
pub fn histogram_vec(row: &MetricRow, labels: &[&str]) -> Result<HistogramVec> {
    HistogramVec::new(HistogramOpts::from(opts(row)).buckets(row.buckets.to_vec()), labels)
}

fn opts(row: &MetricRow) -> Opts {
    Opts::new(row.name, row.help)
}

fn labelled<B>(
    row: &'static MetricRow,
    all: &Registry,
    made: Result<MetricVec<B>>,
) -> Result<LabelledMetric<MetricVec<B>>>
where
    B: MetricVecBuilder + 'static,
    MetricVec<B>: Collector + Clone,
{
    let labelled = LabelledMetric { row, series: add(all, made)? };
    for values in row.first_series() {
        labelled.with_label_values(&values);
    }
    Ok(labelled)
}

fn add<M: Collector + Clone + 'static>(all: &Registry, made: Result<M>) -> Result<M> {
    let metric = made?;
    all.register(Box::new(metric.clone()))?;
    Ok(metric)
}

/// Raises a counter to a total that is kept elsewhere; a smaller total leaves it as it is.
pub fn raise_to(counter: &Counter, total: u64) {
    counter.inc_by(total.saturating_sub(counter.get()));
}

/// Value of a gauge for a count; `i64::MAX` for one that is larger.
pub fn gauge_value(count: impl TryInto<i64>) -> i64 {
    count.try_into().unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::super::row::MetricLabel;
    use super::*;

    const NAMESPACE: MetricLabel = MetricLabel::at_most("namespace", 10, "namespaces");
    const CAUSE: MetricLabel = MetricLabel::each("cause", || vec!["drain", "balance"]);
    const PORT: MetricLabel = MetricLabel::each("port", || vec!["control", "mesh"]);
    const MOVES: MetricRow = MetricRow::new(MetricKind::Counter, "moves", "Moves").by(&[NAMESPACE, CAUSE]);
    const CALLS: MetricRow = MetricRow::new(MetricKind::Counter, "calls", "Calls")
        .by(&[PORT, CAUSE])
        .only(|values| values != ["mesh", "drain"]);
    const DURATIONS: MetricRow =
        MetricRow::new(MetricKind::Histogram, "durations", "Durations").by(&[NAMESPACE]).buckets(&[1.0]);

    fn text(all: &Registry) -> String {
        prometheus::TextEncoder::new().encode_to_string(&all.gather()).unwrap()
    }

    #[test]
    fn series_of_what_is_gone_are_taken_out() {
        let all = Registry::new();
        let moves = Counters::registered(&MOVES, &all).unwrap();
        let durations = Histograms::registered(&DURATIONS, &all).unwrap();
        for namespace in ["orders", "gone"] {
            for cause in ["drain", "balance"] {
                moves.with_label_values(&[namespace, cause]).inc();
            }
            durations.with_label_values(&[namespace]).observe(0.5);
        }
        moves.retain("namespace", |namespace| namespace == "orders");
        durations.retain("namespace", |namespace| namespace == "orders");
        let text = text(&all);
        assert!(!text.contains("gone"), "{text}");
        assert_eq!(text.matches("moves{").count(), 2, "{text}");
        assert_eq!(moves.with_label_values(&["orders", "drain"]).get(), 1);
    }

    #[test]
    fn series_of_finite_labels_are_there_at_zero() {
        let all = Registry::new();
        Counters::registered(&CALLS, &all).unwrap();
        Counters::registered(&MOVES, &all).unwrap();
        let text = text(&all);
        let series: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(
            series,
            [
                "calls{cause=\"balance\",port=\"control\"} 0",
                "calls{cause=\"balance\",port=\"mesh\"} 0",
                "calls{cause=\"drain\",port=\"control\"} 0",
            ]
        );
        assert_eq!((CALLS.series_max(), MOVES.series_max()), (3, 20));
    }

    #[test]
    #[cfg(debug_assertions)]
    fn values_that_a_row_does_not_name_are_noticed() {
        for values in [["orders", "whim"], ["control", "drain"]] {
            let counted = std::panic::catch_unwind(move || {
                Counters::registered(&MOVES, &Registry::new()).unwrap().with_label_values(&values).inc();
            });
            assert_eq!(counted.is_err(), values[1] == "whim", "{values:?}");
        }
        assert!(!CALLS.admits(&["mesh", "drain"]) && !CALLS.admits(&["mesh"]));
    }
}
