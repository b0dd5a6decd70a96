//! The table of what was measured.

use std::borrow::Cow;

use serde_json::{Value, json};

/// One row: the same work, done by each subject.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub name: Cow<'static, str>,
    pub unit: &'static str,
    pub ours: Option<f64>,
    pub etcd: Option<f64>,
    pub echo: Option<f64>,
    pub asked: Vec<Asked>,
}

/// A figure that was asked for.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub what: &'static str,
    /// `None`: it was not measured.
    pub is: Option<f64>,
    /// True: at least so much; else at most.
    pub at_least: bool,
    pub figure: f64,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Table(pub Vec<Row>);

impl Asked {
    fn is_met(&self) -> Option<bool> {
        self.is.map(|is| if self.at_least { is >= self.figure } else { is <= self.figure })
    }

    fn to_text(&self) -> String {
        let Self { what, at_least, figure, .. } = self;
        let asked = format!("{} {figure}", if *at_least { "at least" } else { "at most" });
        match (self.is, self.is_met()) {
            (Some(is), Some(true)) => format!("{what} {is:.2} ({asked})"),
            (Some(is), _) => format!("{what} {is:.2} ({asked}: MISSED)"),
            (None, _) => format!("{what} not measured ({asked})"),
        }
    }
}

fn figure(value: Option<f64>) -> String {
    match value {
        Some(value) if value >= 1_000.0 => format!("{value:.0}"),
        Some(value) if value >= 10.0 => format!("{value:.1}"),
        Some(value) => format!("{value:.2}"),
        None => "-".to_owned(),
    }
}

impl Table {
    pub(crate) fn to_text(&self) -> String {
        let mut lines = vec![["work", "unit", "ours", "etcd", "echo", "ratios"].map(str::to_owned)];
        lines.extend(self.0.iter().map(|row| {
            let asked: Vec<_> = row.asked.iter().map(Asked::to_text).collect();
            [
                row.name.to_string(),
                row.unit.to_owned(),
                figure(row.ours),
                figure(row.etcd),
                figure(row.echo),
                asked.join("; "),
            ]
        }));
        let wide: Vec<_> =
            (0..5).map(|at| lines.iter().map(|line| line[at].len()).max().unwrap_or_default()).collect();
        let lines = lines.iter().map(|line| {
            let cells = wide.iter().zip(line).map(|(wide, cell)| format!("{cell:wide$}  "));
            format!("{}{}", cells.collect::<String>(), line[5])
        });
        lines.collect::<Vec<_>>().join("\n")
    }

    pub(crate) fn to_json(&self) -> Value {
        let rows = self.0.iter().map(|row| {
            let asked = row.asked.iter().map(|asked| {
                let Asked { what, is, at_least, figure } = asked;
                json!({"what": what, "is": is, "atLeast": at_least, "asked": figure, "met": asked.is_met()})
            });
            json!({
                "work": row.name, "unit": row.unit, "ours": row.ours, "etcd": row.etcd, "echo": row.echo,
                "ratios": asked.collect::<Vec<_>>(),
            })
        });
        json!({"rows": rows.collect::<Vec<_>>()})
    }
}
