//! Expressions of PromQL, held against the catalogue: what they name is there, and what is shown of them is still in the result.

use std::collections::BTreeSet;
use std::time::Duration;

use promql_parser::label::{MatchOp, Matcher};
use promql_parser::parser::token::{T_BOTTOMK, T_LOR, T_TOPK};
use promql_parser::parser::value::ValueType;
use promql_parser::parser::{
    AggregateExpr, BinaryExpr, Call, Expr, LabelModifier, MatrixSelector, VectorMatchCardinality,
    VectorSelector, parse,
};

use super::catalogue::{Catalogue, Series};

/// Values of a label as a selector names them that means all, whatever is chosen.
const ALL: &str = ".*";
/// The shortest range: four scrapes. With fewer a scrape that is missed is a gap.
const RANGE_MIN: Duration = Duration::from_secs(60);
/// What Grafana puts in place of this is never shorter.
const RATE_INTERVAL: (&str, &str) = ("$__rate_interval", "1m");
/// Stands for a variable of Grafana while an expression is parsed.
const VARIABLE: &str = "variable_";

const OF_COUNTERS: [&str; 3] = ["rate", "irate", "increase"];
const OF_GAUGES: [&str; 4] = ["delta", "idelta", "deriv", "predict_linear"];

type Labels = BTreeSet<String>;

/// What was found in an expression.
#[derive(Default)]
pub(super) struct Reading {
    /// What is wrong with it.
    pub findings: Vec<String>,
    /// Metrics of the catalogue that it names.
    pub metrics: BTreeSet<String>,
    /// Labels that its result has.
    pub labels: Labels,
    /// Whether some series is taken as it is, without a range that looks back.
    pub is_of_the_moment: bool,
}

/// A reader of expressions. The variables are those that each selector of scraped series has to match by.
pub(super) struct Reader<'a> {
    pub catalogue: &'a Catalogue,
    pub variables: &'a [&'a str],
}

/// Reads one expression.
pub(super) fn read(expression: &str, reader: &Reader<'_>) -> Reading {
    let mut reading = Reading::default();
    let (from, to) = RATE_INTERVAL;
    let text = ["job", "mesh", "node"].iter().fold(expression.replace(from, to), |text, name| {
        text.replace(&format!("${name}"), &format!("{VARIABLE}{name}"))
    });
    if let Some((_, after)) = text.split_once('$') {
        reading.findings.push(format!("names ${after}, which nothing replaces"));
    } else {
        match parse(&text) {
            Ok(parsed) => reading.labels = reader.labels(&parsed, &mut reading),
            Err(why) => reading.findings.push(format!("cannot be parsed: {why}")),
        }
    }
    reading
}

impl Reader<'_> {
    /// The labels of what an expression results in. What is wrong goes into the reading.
    fn labels(&self, expression: &Expr, reading: &mut Reading) -> Labels {
        match expression {
            Expr::VectorSelector(selector) => {
                reading.is_of_the_moment = true;
                self.selected(selector, reading).map_or_else(Labels::new, |series| names(&series))
            }
            Expr::MatrixSelector(matrix) => {
                self.ranged(matrix, reading).map_or_else(Labels::new, |series| names(&series))
            }
            Expr::Subquery(subquery) => {
                check_range(subquery.range, reading);
                self.labels(&subquery.expr, reading)
            }
            Expr::Paren(inner) => self.labels(&inner.expr, reading),
            Expr::Unary(inner) => self.labels(&inner.expr, reading),
            Expr::Call(call) => self.called(call, reading),
            Expr::Aggregate(aggregate) => self.aggregated(aggregate, reading),
            Expr::Binary(binary) => self.combined(binary, reading),
            Expr::NumberLiteral(_) | Expr::StringLiteral(_) | Expr::Extension(_) => Labels::new(),
        }
    }

    fn ranged(&self, matrix: &MatrixSelector, reading: &mut Reading) -> Option<Series> {
        check_range(matrix.range, reading);
        self.selected(&matrix.vs, reading)
    }

    fn selected(&self, selector: &VectorSelector, reading: &mut Reading) -> Option<Series> {
        let Some(name) = &selector.name else {
            reading.findings.push("selects series without naming them".to_owned());
            return None;
        };
        let Some(series) = self.catalogue.series(name) else {
            reading.findings.push(format!("{name} is no metric, and no rule records it"));
            return None;
        };
        reading.metrics.extend(series.metric.clone());
        for matcher in &selector.matchers.matchers {
            reading.findings.extend(unmatchable(name, &series, matcher));
        }
        let is_needed = |variable: &&&str| series.is_scraped || **variable == "job";
        for variable in self.variables.iter().filter(is_needed) {
            let has = |matcher: &Matcher| {
                matcher.name == **variable
                    && matches!(matcher.op, MatchOp::Re(_))
                    && (matcher.value == format!("{VARIABLE}{variable}") || matcher.value == ALL)
            };
            if !selector.matchers.matchers.iter().any(has) {
                reading.findings.push(format!("{name} is not matched by {variable}=~\"${variable}\""));
            }
        }
        Some(series)
    }

    fn called(&self, call: &Call, reading: &mut Reading) -> Labels {
        let function = call.func.name;
        let mut labels = Labels::new();
        for argument in &call.args.args {
            self.check_argument(function, argument, reading);
            let of_it = self.labels(argument, reading);
            if matches!(argument.value_type(), ValueType::Vector | ValueType::Matrix) {
                labels = of_it;
            }
        }
        match function {
            "histogram_quantile" if !labels.remove("le") => {
                reading.findings.push("histogram_quantile of what has no le any more".to_owned());
            }
            "scalar" | "vector" | "time" => labels.clear(),
            _ => {}
        }
        labels
    }

    /// A rate is of what only rises, and a slope of what does not.
    fn check_argument(&self, function: &str, argument: &Expr, reading: &mut Reading) {
        let Expr::MatrixSelector(matrix) = argument else { return };
        let name = matrix.vs.name.as_deref().unwrap_or_default();
        let Some(series) = self.catalogue.series(name) else { return };
        if OF_COUNTERS.contains(&function) && !series.is_counter {
            reading.findings.push(format!("{function} of {name}, which is no counter"));
        }
        if OF_GAUGES.contains(&function) && series.is_counter {
            reading.findings.push(format!("{function} of {name}, which is a counter"));
        }
    }

    fn aggregated(&self, aggregate: &AggregateExpr, reading: &mut Reading) -> Labels {
        let inner = self.labels(&aggregate.expr, reading);
        let Some(modifier) = &aggregate.modifier else {
            let keeps = [T_TOPK, T_BOTTOMK].contains(&aggregate.op.id());
            return if keeps { inner } else { Labels::new() };
        };
        check_there("groups by", &modifier.labels().labels, &inner, reading);
        let named: Labels = modifier.labels().labels.iter().cloned().collect();
        match modifier {
            _ if [T_TOPK, T_BOTTOMK].contains(&aggregate.op.id()) => inner,
            LabelModifier::Include(_) => inner.intersection(&named).cloned().collect(),
            LabelModifier::Exclude(_) => inner.difference(&named).cloned().collect(),
        }
    }

    fn combined(&self, binary: &BinaryExpr, reading: &mut Reading) -> Labels {
        let (left, right) = (self.labels(&binary.lhs, reading), self.labels(&binary.rhs, reading));
        match (binary.lhs.value_type(), binary.rhs.value_type()) {
            (ValueType::Vector, ValueType::Vector) => {}
            (ValueType::Vector, _) => return left,
            _ => return right,
        }
        let modifier = binary.modifier.as_ref();
        let matching = modifier.and_then(|modifier| modifier.matching.as_ref());
        let on: Option<Labels> = matching
            .filter(|matching| matching.is_include())
            .map(|matching| matching.labels().labels.iter().cloned().collect());
        if let Some(matching) = matching {
            check_there("matches", &matching.labels().labels, &left, reading);
            check_there("matches", &matching.labels().labels, &right, reading);
        }
        let is_or = binary.op.id() == T_LOR;
        if matching.is_none() && !is_or && left != right {
            reading.findings.push(format!("sets {left:?} beside {right:?}, which never match"));
        }
        if binary.op.is_set_operator() {
            return if is_or { left.union(&right).cloned().collect() } else { left };
        }
        match modifier.map(|modifier| &modifier.card) {
            Some(VectorMatchCardinality::ManyToOne(further)) => {
                left.into_iter().chain(further.labels.clone()).collect()
            }
            Some(VectorMatchCardinality::OneToMany(further)) => {
                right.into_iter().chain(further.labels.clone()).collect()
            }
            _ => on.unwrap_or(left),
        }
    }
}

fn names(series: &Series) -> Labels {
    series.labels.keys().cloned().collect()
}

fn check_range(range: Duration, reading: &mut Reading) {
    if range < RANGE_MIN {
        reading.findings.push(format!("a range of {range:?} has fewer than four scrapes"));
    }
}

fn check_there(does: &str, named: &[String], labels: &Labels, reading: &mut Reading) {
    for label in named.iter().filter(|label| !labels.contains(*label)) {
        reading.findings.push(format!("{does} {label}, which is not there"));
    }
}

/// Why a matcher never selects what it was written for.
fn unmatchable(name: &str, series: &Series, matcher: &Matcher) -> Option<String> {
    let Some(values) = series.labels.get(&matcher.name) else {
        return Some(format!("{name} has no label {}", matcher.name));
    };
    let values = values.as_ref()?;
    let of_words = |c: char| c.is_ascii_alphanumeric() || "|_-.".contains(c);
    let is_regex = matches!(matcher.op, MatchOp::Re(_) | MatchOp::NotRe(_));
    if is_regex && !matcher.value.chars().all(of_words) {
        return None;
    }
    let named: Vec<&str> = if is_regex { matcher.value.split('|').collect() } else { vec![&matcher.value] };
    let unknown: Vec<&str> =
        named.into_iter().filter(|value| !value.is_empty() && !values.contains(*value)).collect();
    (!unknown.is_empty()).then(|| format!("{} of {name} is never {}", matcher.name, unknown.join(" or ")))
}

/// Labels that a text names where `begins` stands before them, such as `{{ $labels.` or `{{`.
pub(super) fn named_in(text: &str, begins: &str) -> Labels {
    let is_of_name = |c: &char| c.is_ascii_alphanumeric() || *c == '_';
    let name = |after: &str| after.trim_start().chars().take_while(is_of_name).collect::<String>();
    text.split(begins).skip(1).map(name).collect()
}
