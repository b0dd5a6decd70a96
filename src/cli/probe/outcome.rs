//! Outcomes of checks: a table, a document, and series for Prometheus.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prometheus::{GaugeVec, IntCounterVec, Opts, Registry, TextEncoder};

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

/// Series that tell Prometheus of all rounds so far. Of a check that was skipped last there is no result: it neither passed nor failed.
pub(super) struct ProbeMetrics {
    all: Registry,
    made: IntCounterVec,
    passed: GaugeVec,
    took: GaugeVec,
    at: GaugeVec,
}

impl ProbeMetrics {
    /// Of checks none of which was made yet.
    ///
    /// # Errors
    /// When two metrics have one name: a mistake in this file.
    pub(super) fn of(checks: &[ProbeCheck]) -> Result<Self, CliError> {
        let metrics = Self::empty()?;
        metrics.all.register(Box::new(metrics.made.clone())).map_err(|error| unusable(&error))?;
        for check in checks {
            for result in [ProbeResult::Pass, ProbeResult::Fail] {
                metrics.made.with_label_values(&[check.word(), result.word()]);
            }
        }
        Ok(metrics)
    }

    /// Of one round alone, whose counts are no counters: the next run begins anew.
    ///
    /// # Errors
    /// As of [`Self::of`].
    pub(super) fn of_one(round: &ProbeRound) -> Result<Self, CliError> {
        let metrics = Self::empty()?;
        metrics.note(round);
        Ok(metrics)
    }

    fn empty() -> Result<Self, CliError> {
        let made =
            Opts::new("omnirelay_checks_total", "Checks of the probe that were made, by how they ended");
        let gauge = |name: &str, help: &str| GaugeVec::new(Opts::new(name, help), &["check"]);
        let built = || {
            let all = Registry::new();
            let made = IntCounterVec::new(made, &["check", "result"])?;
            let passed = gauge("omnirelay_check_result", "1 where the check passed last, 0 where it failed")?;
            let took = gauge("omnirelay_check_seconds", "How long the check took last, in seconds")?;
            let at =
                gauge("omnirelay_check_time_seconds", "When the check was made last, in seconds since 1970")?;
            for gauge in [&passed, &took, &at] {
                all.register(Box::new(gauge.clone()))?;
            }
            Ok(Self { all, made, passed, took, at })
        };
        built().map_err(|error| unusable(&error))
    }

    /// Notes one round more.
    pub(super) fn note(&self, round: &ProbeRound) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        for ProbeOutcome { check, result, took, .. } in &round.outcomes {
            let check = check.word();
            if *result == ProbeResult::Skip {
                for gauge in [&self.passed, &self.took, &self.at] {
                    // There may have been none.
                    let _ = gauge.remove_label_values(&[check]);
                }
                continue;
            }
            self.made.with_label_values(&[check, result.word()]).inc();
            let passed = f64::from(u8::from(*result == ProbeResult::Pass));
            self.passed.with_label_values(&[check]).set(passed);
            self.took.with_label_values(&[check]).set(took.as_secs_f64());
            self.at.with_label_values(&[check]).set(now);
        }
    }

    /// As Prometheus reads it.
    ///
    /// # Errors
    /// When a metric cannot be written: a mistake in this file.
    pub(super) fn text(&self) -> Result<String, CliError> {
        TextEncoder::new().encode_to_string(&self.all.gather()).map_err(|error| unusable(&error))
    }
}

fn unusable(error: &prometheus::Error) -> CliError {
    CliError::local(reasons::INTERNAL, "cannot count what came of the checks", error)
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
        let metrics = ProbeMetrics::of(checks).unwrap();
        assert!(
            metrics.text().unwrap().contains("omnirelay_checks_total{check=\"list\",result=\"fail\"} 0\n")
        );
        assert!(!metrics.text().unwrap().contains("omnirelay_check_result{"), "nothing was checked yet");
        let failed = round([
            Ok(String::new()),
            Err(CheckEnd::Failed("gone".to_owned())),
            Err(CheckEnd::Skipped("no namespace".to_owned())),
        ]);
        assert!(!failed.success() && failed.failed().count() == 1);
        let once = ProbeMetrics::of_one(&failed).unwrap().text().unwrap();
        assert!(
            once.contains("omnirelay_check_result{check=\"watch\"} 0\n") && !once.contains("checks_total{")
        );
        metrics.note(&failed);
        metrics.note(&failed);
        let text = metrics.text().unwrap();
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
