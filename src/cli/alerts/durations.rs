//! Durations in rules of Prometheus: those of `for`, and the ranges in expressions.

use humantime::parse_duration;
use omnirelay_core::time::whole_ms;

/// Units that a duration is shown in, in milliseconds.
const UNITS: [(&str, u64); 4] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000)];

/// Rules whose every `for` and range is so many times shorter, a millisecond at least. Numbers that expressions compare with stay.
pub(super) fn hurried(rules: &str, speed: u32) -> String {
    let lines = rules.split_inclusive('\n').map(|line| match line.trim_start().strip_prefix("for:") {
        Some(given) => {
            let given = given.trim();
            line.replacen(given, &divided(given, speed), 1)
        }
        None if line.trim_start().starts_with(['#', '-']) && !line.contains("expr:") => line.to_owned(),
        None => with_ranges(line, speed),
    });
    lines.collect()
}

/// The line with its ranges divided: `[10m]`, and `[1h:1m]`.
fn with_ranges(line: &str, speed: u32) -> String {
    let mut parts = line.split('[');
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        out.push('[');
        match part.split_once(']') {
            Some((range, rest)) => {
                let shorter: Vec<String> = range.split(':').map(|given| divided(given, speed)).collect();
                out.push_str(&format!("{}]{rest}", shorter.join(":")));
            }
            None => out.push_str(part),
        }
    }
    out
}

/// A duration, so many times shorter; what is none stays as it is.
fn divided(given: &str, speed: u32) -> String {
    match parse_duration(given) {
        Ok(length) => shown(whole_ms(length / speed.max(1)).max(1)),
        Err(_) => given.to_owned(),
    }
}

fn shown(milliseconds: u64) -> String {
    let fits = |(_, of): &&(&str, u64)| milliseconds.is_multiple_of(*of);
    let largest = UNITS.iter().rev().find(fits);
    largest.map_or_else(String::new, |(unit, of)| format!("{}{unit}", milliseconds / of))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_divided_and_nothing_else() {
        for (given, expected) in
            [("2m", "2s"), ("1h30m", "90s"), ("15s", "250ms"), ("30ms", "1ms"), ("3d", "72m"), ("0s", "1ms")]
        {
            assert_eq!(divided(given, 60), expected, "{given}");
        }
        for other in ["", "5", "m", "1q", "le", "99999999999999999999y"] {
            assert_eq!(divided(other, 60), other);
        }
    }

    #[test]
    fn rules_keep_all_but_their_durations() {
        let rules = "# for: 5m\n  - record: a:b:increase5m\n    expr: sum(increase(b[5m])) > 15\n  - alert: A\n    expr: >-\n      max_over_time(c[1h:1m]) > 10\n    for: 2m\n    labels: {severity: warning}\n";
        let hurried = hurried(rules, 60);
        assert_eq!(
            hurried,
            "# for: 5m\n  - record: a:b:increase5m\n    expr: sum(increase(b[5s])) > 15\n  - alert: A\n    expr: >-\n      max_over_time(c[1m:1s]) > 10\n    for: 2s\n    labels: {severity: warning}\n"
        );
    }
}
