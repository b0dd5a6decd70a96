//! Durations in rules of Prometheus: those of `for`, and the ranges in expressions.

/// The units of a duration, in milliseconds; `ms` before those that it begins or ends with.
const UNITS: [(&str, u64); 7] = [
    ("ms", 1),
    ("s", 1_000),
    ("m", 60_000),
    ("h", 3_600_000),
    ("d", 86_400_000),
    ("w", 7 * 86_400_000),
    ("y", 365 * 86_400_000),
];

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
    match milliseconds(given) {
        Some(length) => shown((length / u64::from(speed.max(1))).max(1)),
        None => given.to_owned(),
    }
}

fn shown(milliseconds: u64) -> String {
    let fits = |(_, of): &&(&str, u64)| milliseconds.is_multiple_of(*of);
    let largest = UNITS.iter().rev().find(fits);
    largest.map_or_else(String::new, |(unit, of)| format!("{}{unit}", milliseconds / of))
}

/// `1h30m`; `None`: it is no duration, or a longer one than can be counted.
fn milliseconds(given: &str) -> Option<u64> {
    let (mut rest, mut sum) = (given, 0_u64);
    while !rest.is_empty() {
        let digits = rest.find(|letter: char| !letter.is_ascii_digit())?;
        let (number, behind) = rest.split_at(digits);
        let (unit, of) = UNITS.iter().find(|(unit, _)| behind.starts_with(unit))?;
        sum = sum.checked_add(number.parse::<u64>().ok()?.checked_mul(*of)?)?;
        rest = &behind[unit.len()..];
    }
    (!given.is_empty()).then_some(sum)
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
