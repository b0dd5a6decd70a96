//! Rows of the table of metrics. A row says of one metric all that is known before anything is counted; what registers it, which of
//! its series are there from the start, and `docs/reference/metrics.md` follow from it.

/// Row of the table of metrics.
#[derive(Clone, Copy, Debug)]
pub struct MetricRow {
    pub name: &'static str,
    pub kind: MetricKind,
    /// Without a full stop, as Prometheus shows it.
    pub help: &'static str,
    /// In the order in which series give their values.
    pub labels: &'static [MetricLabel],
    /// Upper bounds of a histogram, in its unit and rising; empty for what is none.
    pub buckets: &'static [f64],
    pub group: &'static MetricGroup,
    unit: Option<MetricUnit>,
    is_possible: fn(&[&str]) -> bool,
    series_max: Option<usize>,
}

/// Type of a metric, as Prometheus has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricKind {
    Counter,
    Gauge,
    Histogram,
}

/// Unit of what a metric counts or measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricUnit {
    Count,
    /// 1 while something is so, else 0.
    Flag,
    Ratio,
    Bytes,
    Milliseconds,
    Seconds,
    /// Seconds since 1970.
    UnixSeconds,
}

/// Label of a metric.
#[derive(Clone, Copy, Debug)]
pub struct MetricLabel {
    pub name: &'static str,
    pub values: LabelValues,
}

/// Values that a label can have.
#[derive(Clone, Copy, Debug)]
pub enum LabelValues {
    /// These. A row all of whose labels say so has all of its series from the start, at 0: what rises from nothing is not seen to rise.
    Each(fn() -> Vec<&'static str>),
    /// Some of these: a series is there while there is something to say.
    Among(fn() -> Vec<&'static str>),
    /// At most so many at a time, of what is named. An absent label counts as one without a value.
    AtMost(usize, &'static str),
}

/// Group of the rows of one struct of metrics.
#[derive(Debug)]
pub struct MetricGroup {
    /// The first line that documents the struct.
    pub title: &'static str,
    /// What must be so for them to be there; empty: they always are.
    pub conditions: &'static [&'static str],
}

inventory::collect!(MetricRow);

/// Rows of all metrics that are linked into this program, by name.
pub fn rows() -> Vec<&'static MetricRow> {
    let mut rows: Vec<_> = inventory::iter::<MetricRow>.into_iter().collect();
    rows.sort_by_key(|row| row.name);
    rows
}

impl MetricLabel {
    /// Label that has each of these values from the start.
    pub const fn each(name: &'static str, values: fn() -> Vec<&'static str>) -> Self {
        Self { name, values: LabelValues::Each(values) }
    }

    /// Label that has some of these values.
    pub const fn among(name: &'static str, values: fn() -> Vec<&'static str>) -> Self {
        Self { name, values: LabelValues::Among(values) }
    }

    /// Label whose values name things of which there are at most `count`.
    pub const fn at_most(name: &'static str, count: usize, things: &'static str) -> Self {
        Self { name, values: LabelValues::AtMost(count, things) }
    }

    /// All values that it can have; `None`: they are not known before.
    pub(crate) fn finite(&self) -> Option<Vec<&'static str>> {
        match self.values {
            LabelValues::Each(values) | LabelValues::Among(values) => Some(values()),
            LabelValues::AtMost(..) => None,
        }
    }
}

/// Words of all variants of an enum of a message, in the order of their numbers.
pub fn enum_words<E: TryFrom<i32>>(word: fn(&E) -> &'static str) -> Vec<&'static str> {
    (0..).map_while(|number| E::try_from(number).ok()).map(|variant| word(&variant)).collect()
}

/// Units by the endings of names; the first that fits counts.
const UNIT_ENDINGS: [(&str, MetricUnit); 4] = [
    ("_timestamp_seconds", MetricUnit::UnixSeconds),
    ("_seconds", MetricUnit::Seconds),
    ("_ms", MetricUnit::Milliseconds),
    ("_bytes", MetricUnit::Bytes),
];

const NO_GROUP: MetricGroup = MetricGroup { title: "", conditions: &[] };

impl MetricRow {
    /// Row of a metric that has one series and is a count, unless its name says a unit.
    pub const fn new(kind: MetricKind, name: &'static str, help: &'static str) -> Self {
        Self {
            name,
            kind,
            help,
            labels: &[],
            buckets: &[],
            group: &NO_GROUP,
            unit: None,
            is_possible: |_| true,
            series_max: None,
        }
    }

    /// The same row with a series for each combination of the values of these labels.
    pub const fn by(self, labels: &'static [MetricLabel]) -> Self {
        Self { labels, ..self }
    }

    /// The same row with the upper bounds of a histogram.
    pub const fn buckets(self, buckets: &'static [f64]) -> Self {
        Self { buckets, ..self }
    }

    /// The same row, which is 1 while something is so.
    pub const fn flag(self) -> Self {
        Self { unit: Some(MetricUnit::Flag), ..self }
    }

    /// The same row, which is a ratio.
    pub const fn ratio(self) -> Self {
        Self { unit: Some(MetricUnit::Ratio), ..self }
    }

    /// The same row as one of a group.
    pub const fn of(self, group: &'static MetricGroup) -> Self {
        Self { group, ..self }
    }

    /// The same row, of which there are only combinations of label values that are possible.
    pub const fn only(self, is_possible: fn(&[&str]) -> bool) -> Self {
        Self { is_possible, ..self }
    }

    /// The same row with fewer series than its labels have combinations.
    pub const fn at_most(self, series: usize) -> Self {
        Self { series_max: Some(series), ..self }
    }

    /// Unit, which the name ends with unless it is a count, a flag or a ratio.
    pub fn unit(&self) -> MetricUnit {
        let name = self.name.trim_end_matches("_total");
        let ending = || UNIT_ENDINGS.iter().find(|(ending, _)| name.ends_with(ending)).map(|(_, unit)| *unit);
        self.unit.or_else(ending).unwrap_or(MetricUnit::Count)
    }

    /// Most series at a time; a histogram counts once.
    pub fn series_max(&self) -> usize {
        self.series_max.unwrap_or_else(|| match self.finite_series() {
            Some(series) => series.len(),
            None => self.labels.iter().map(MetricLabel::count).product(),
        })
    }

    /// Series that are there from the start, each by its label values; empty where they come with what they tell of.
    pub fn first_series(&self) -> Vec<Vec<&'static str>> {
        let are_there = self.labels.iter().all(|label| matches!(label.values, LabelValues::Each(_)));
        self.finite_series().filter(|_| are_there).unwrap_or_default()
    }

    /// Names of its labels, in their order.
    pub fn label_names(&self) -> Vec<&'static str> {
        self.labels.iter().map(|label| label.name).collect()
    }

    /// Whether a series may have these values, in the order of the labels.
    pub fn admits(&self, values: &[&str]) -> bool {
        let is_one_of = |(label, value): (&MetricLabel, &&str)| {
            label.finite().is_none_or(|values| values.contains(value))
        };
        values.len() == self.labels.len()
            && self.labels.iter().zip(values).all(is_one_of)
            && (self.is_possible)(values)
    }

    /// Every series that it can have; `None`: they are not known before.
    fn finite_series(&self) -> Option<Vec<Vec<&'static str>>> {
        let mut series = vec![Vec::new()];
        for label in self.labels {
            let values = label.finite()?;
            let with = |before: Vec<&'static str>| {
                values.iter().map(move |value| [&before[..], &[value]].concat()).collect::<Vec<_>>()
            };
            series = series.into_iter().flat_map(with).collect();
        }
        series.retain(|values| (self.is_possible)(values));
        Some(series)
    }
}

impl MetricLabel {
    fn count(&self) -> usize {
        match self.values {
            LabelValues::Each(values) | LabelValues::Among(values) => values().len(),
            LabelValues::AtMost(count, _) => count,
        }
    }
}
