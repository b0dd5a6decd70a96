//! Outcomes of checks: a table, a document, and series for Prometheus.

use std::fmt::Write as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::checks::{CheckEnd, ProbeCheck};
use crate::frame::document::real;
use crate::frame::prelude::*;

/// The kind in `check/NAME`.
const KIND: &str = "check";

/// Word for how a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ProbeResult {
    Pass,
    Fail,
    Skip,
}

impl ProbeResult {
    fn word(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::Skip => "skip",
        }
    }
}

/// Outcome of one check.
#[derive(Clone, Debug)]
pub(super) struct ProbeOutcome {
    pub check: ProbeCheck,
    result: ProbeResult,
    took: Duration,
    pub detail: String,
}

/// Outcomes of all checks, made once.
#[derive(Clone, Debug)]
pub(super) struct ProbeRound {
    pub outcomes: Vec<ProbeOutcome>,
}

pub(super) static COLUMNS: &[Column] = &[
    Column::new("check", |row, _| text(row, "check").to_owned()).keep(),
    Column::new("result", |row, _| text(row, "result").to_owned()).keep(),
    Column::new("took", |row, _| format!("{}ms", number(row, "durationMs")))
        .keep()
        .number(|row| real(row, "durationMs")),
    Column::new("detail", |row, _| text(row, "detail").to_owned()),
];

impl ProbeOutcome {
    pub(super) fn of(check: ProbeCheck, took: Duration, made: Result<String, CheckEnd>) -> Self {
        let (result, detail) = match made {
            Ok(detail) => (ProbeResult::Pass, detail),
            Err(CheckEnd::Failed(detail)) => (ProbeResult::Fail, detail),
            Err(CheckEnd::Skipped(detail)) => (ProbeResult::Skip, detail),
        };
        Self { check, result, took, detail }
    }
}

impl ProbeRound {
    /// All checks failed, for want of a client.
    pub(super) fn failed_all(checks: &[ProbeCheck], error: &CliError) -> Self {
        let why = || Err(CheckEnd::Failed(error.body().message.clone()));
        let failed = checks.iter().map(|check| ProbeOutcome::of(*check, Duration::ZERO, why()));
        Self { outcomes: failed.collect() }
    }

    /// Whether no check failed.
    pub(super) fn success(&self) -> bool {
        self.failed().next().is_none()
    }

    pub(super) fn failed(&self) -> impl Iterator<Item = &ProbeOutcome> {
        self.outcomes.iter().filter(|outcome| outcome.result == ProbeResult::Fail)
    }

    pub(super) fn document(&self) -> Value {
        let row = |outcome: &ProbeOutcome| {
            json!({
                "check": outcome.check.word(), "result": outcome.result.word(),
                "durationMs": u64::try_from(outcome.took.as_millis()).unwrap_or(u64::MAX), "detail": outcome.detail,
            })
        };
        let checks: Vec<Value> = self.outcomes.iter().map(row).collect();
        json!({"schemaVersion": "v1", "success": self.success(), "checks": checks})
    }
}

/// List of outcomes, a row each.
pub(super) fn list() -> ListSpec {
    ListSpec {
        field: "checks",
        columns: COLUMNS,
        name: |row| format!("{KIND}/{}", text(row, "check")),
        none: "No check was made.".to_owned(),
        footer: |_, all| {
            let failed = all.iter().filter(|row| text(row, "result") == ProbeResult::Fail.word()).count();
            format!("{}, {failed} failed", count(all.len() as u64, "check"))
        },
    }
}

/// Series that tell Prometheus of all rounds so far.
pub(super) struct ProbeMetrics {
    checks: Vec<CheckSeries>,
    /// What one run counts is no counter: the next begins anew.
    counts: bool,
}

struct CheckSeries {
    check: ProbeCheck,
    passed: u64,
    failed: u64,
    last: Option<(ProbeResult, Duration, SystemTime)>,
}

impl ProbeMetrics {
    /// Of checks none of which was made yet.
    pub(super) fn of(checks: &[ProbeCheck]) -> Self {
        let series = |check: &ProbeCheck| CheckSeries { check: *check, passed: 0, failed: 0, last: None };
        Self { checks: checks.iter().map(series).collect(), counts: true }
    }

    /// Of one round alone.
    pub(super) fn of_one(round: &ProbeRound) -> Self {
        let checks: Vec<ProbeCheck> = round.outcomes.iter().map(|outcome| outcome.check).collect();
        Self { counts: false, ..Self::of(&checks).noting(round) }
    }

    /// With one round more.
    pub(super) fn noting(mut self, round: &ProbeRound) -> Self {
        for series in &mut self.checks {
            let Some(outcome) = round.outcomes.iter().find(|outcome| outcome.check == series.check) else {
                continue;
            };
            series.passed += u64::from(outcome.result == ProbeResult::Pass);
            series.failed += u64::from(outcome.result == ProbeResult::Fail);
            series.last = Some((outcome.result, outcome.took, SystemTime::now()));
        }
        self
    }

    /// As Prometheus reads it. Of a check that was skipped there is no result: it neither passed nor failed.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        let mut family = |name: &str, kind: &str, help: &str, rows: Vec<(String, f64)>| {
            let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
            for (labels, value) in rows {
                let _ = writeln!(text, "{name}{{{labels}}} {value}");
            }
        };
        let counted = |series: &CheckSeries| {
            let labels = |result: ProbeResult| {
                format!("check=\"{}\",result=\"{}\"", series.check.word(), result.word())
            };
            [
                (labels(ProbeResult::Pass), series.passed as f64),
                (labels(ProbeResult::Fail), series.failed as f64),
            ]
        };
        let counts = self.checks.iter().filter(|_| self.counts).flat_map(counted).collect();
        family(
            "omnirelay_checks_total",
            "counter",
            "Checks of the probe that were made, by how they ended",
            counts,
        );
        let of_last = |value: fn(&(ProbeResult, Duration, SystemTime)) -> f64| {
            let made = self.checks.iter().filter_map(|series| Some((series.check, series.last.as_ref()?)));
            let made = made.filter(|(_, last)| last.0 != ProbeResult::Skip);
            made.map(|(check, last)| (format!("check=\"{}\"", check.word()), value(last))).collect()
        };
        let passed = of_last(|last| f64::from(u8::from(last.0 == ProbeResult::Pass)));
        family("omnirelay_check_result", "gauge", "1 where the check passed last, 0 where it failed", passed);
        let took = of_last(|last| last.1.as_secs_f64());
        family("omnirelay_check_seconds", "gauge", "How long the check took last, in seconds", took);
        let at = of_last(|last| last.2.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64());
        family(
            "omnirelay_check_time_seconds",
            "gauge",
            "When the check was made last, in seconds since 1970",
            at,
        );
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(made: [Result<String, CheckEnd>; 3]) -> ProbeRound {
        let checks = ProbeCheck::ALL.into_iter().zip(made);
        let outcomes = checks.map(|(check, made)| ProbeOutcome::of(check, Duration::from_millis(250), made));
        ProbeRound { outcomes: outcomes.collect() }
    }

    #[test]
    fn what_was_skipped_neither_passed_nor_failed() {
        let checks = &ProbeCheck::ALL[..3];
        let metrics = ProbeMetrics::of(checks);
        assert!(metrics.text().contains("omnirelay_checks_total{check=\"list\",result=\"fail\"} 0\n"));
        assert!(!metrics.text().contains("omnirelay_check_result{"), "nothing was checked yet");
        let failed = round([
            Ok(String::new()),
            Err(CheckEnd::Failed("gone".to_owned())),
            Err(CheckEnd::Skipped("no namespace".to_owned())),
        ]);
        assert!(!failed.success() && failed.failed().count() == 1);
        let once = ProbeMetrics::of_one(&failed).text();
        assert!(
            once.contains("omnirelay_check_result{check=\"watch\"} 0\n") && !once.contains("checks_total{")
        );
        let text = metrics.noting(&failed).noting(&failed).text();
        for line in [
            "omnirelay_checks_total{check=\"list\",result=\"pass\"} 2\n",
            "omnirelay_checks_total{check=\"watch\",result=\"fail\"} 2\n",
            "omnirelay_checks_total{check=\"lookup\",result=\"fail\"} 0\n",
            "omnirelay_check_result{check=\"list\"} 1\n",
            "omnirelay_check_result{check=\"watch\"} 0\n",
            "omnirelay_check_seconds{check=\"watch\"} 0.25\n",
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
        assert!(!text.contains("omnirelay_check_result{check=\"lookup\"}"), "{text}");
    }
}
