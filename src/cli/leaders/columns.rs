//! The columns of tables of scopes, and what a line of a watch says.

use std::time::Duration;

use crate::frame::document::real;
use crate::frame::prelude::*;
use crate::frame::screen::StdoutScreen;

/// Leaders lost within an hour from which on they are marked.
const FLAPS: u64 = 2;
/// The daemon counts no further.
const FLAPS_MAX: u64 = 16;

/// For pipes: the lease is a number.
pub(super) static COLUMNS: &[Column] = &[
    SCOPE,
    LEADER,
    TERM,
    FENCE,
    Column::new("lease", lease),
    SINCE,
    FLAPS_1H,
    KIND,
    POLICY,
    VERSION,
    LABELS,
];
/// For a terminal: a bar beside it.
static BARRED: &[Column] =
    &[SCOPE, LEADER, TERM, FENCE, Column::new("lease", bar), SINCE, FLAPS_1H, KIND, POLICY, VERSION, LABELS];

const SCOPE: Column = Column::new("scope", |scope, _| text(scope, "scope").to_owned()).keep();
const LEADER: Column = Column::new("leader", |scope, _| leader(scope)).keep();
const TERM: Column = Column::new("term", |scope, _| count(scope, "term")).number(|scope| real(scope, "term"));
const FENCE: Column =
    Column::new("fence", |scope, _| count(scope, "fenceToken")).number(|scope| real(scope, "fenceToken"));
const SINCE: Column = Column::new("since", |scope, moment| time::ago(since(scope), moment))
    // What has been so for longer has the greater age.
    .ranked(|scope| -(time::millis(since(scope)).unwrap_or(0) as f64));
const FLAPS_1H: Column =
    Column::new("flaps", |scope, _| flaps(scope)).titled("FLAPS/1h").number(|scope| times(scope) as f64);
const KIND: Column = Column::new("kind", |scope, _| text(scope, "scopeKind").to_owned()).wide();
const POLICY: Column = Column::new("eligible", |scope, _| super::policy::eligible(scope)).wide();
const VERSION: Column = Column::new("version", |scope, _| text(scope, "version").to_owned())
    .number(|scope| real(scope, "version"))
    .wide();
const LABELS: Column = Column::new("labels", |scope, _| pairs(scope, "labels")).wide();

/// The columns of a list on this screen.
pub(super) fn columns(screen: StdoutScreen) -> &'static [Column] {
    if screen.tty && screen.unicode { BARRED } else { COLUMNS }
}

/// The leader, or `-` and why there is none.
pub(super) fn leader(scope: &Value) -> String {
    match (text(scope, "leaderId"), text(scope, "reason")) {
        ("", "") => "-".to_owned(),
        ("", reason) => format!("- ({reason})"),
        (leader, _) => leader.to_owned(),
    }
}

/// Time since which it is led, or not led.
pub(super) fn since(scope: &Value) -> &Value {
    field(scope, if text(scope, "leaderId").is_empty() { "vacantSince" } else { "electedAt" })
}

/// A number that is 0 as long as there was never a leader.
fn count(scope: &Value, name: &str) -> String {
    let number = text(scope, name);
    if number == "0" { String::new() } else { number.to_owned() }
}

/// Number of times that a scope lost its leader within an hour; a daemon of 0.1 counts all elections.
pub(super) fn times(scope: &Value) -> u64 {
    let flaps = field(scope, "flapsLastHour").as_u64();
    flaps.or_else(|| field(scope, "electionsLastHour").as_u64()).unwrap_or(0)
}

fn flaps(scope: &Value) -> String {
    match times(scope) {
        few if few < FLAPS => few.to_string(),
        some if some < FLAPS_MAX => format!("{some} !"),
        many => format!("{many}+ !"),
    }
}

/// Milliseconds until the lease ends, and of how many in all; `None` without a lease.
fn left_ms(scope: &Value, moment: CellContext) -> Option<(u64, u64)> {
    let ends = time::millis(field(scope, "expiresAt"))?;
    let begun = time::millis(field(scope, "renewedAt")).unwrap_or(ends);
    let left = ends.saturating_sub(moment.now_ms?);
    Some((u64::try_from(left).unwrap_or(0), u64::try_from(ends.saturating_sub(begun)).unwrap_or(0)))
}

/// `1.4s`: what is left of the lease.
pub(super) fn lease(scope: &Value, moment: CellContext) -> String {
    match left_ms(scope, moment) {
        Some(_) if moment.absolute => time::ago(field(scope, "expiresAt"), moment),
        Some((left, _)) if left < 10_000 => format!("{:.1}s", left as f64 / 1000.0),
        Some((left, _)) => time::short(Duration::from_millis(left)),
        None => String::new(),
    }
}

/// `▇▇▇▇▇▇▁▁ 1.4s`
fn bar(scope: &Value, moment: CellContext) -> String {
    const CELLS: u64 = 8;
    match left_ms(scope, moment) {
        Some((left, whole)) if whole > 0 && !moment.absolute => {
            let full = (left.saturating_mul(CELLS)).div_ceil(whole).min(CELLS);
            let (full, empty) = (full as usize, (CELLS - full) as usize);
            format!("{}{} {}", "▇".repeat(full), "▁".repeat(empty), lease(scope, moment))
        }
        Some(_) | None => lease(scope, moment),
    }
}

/// Line about a scope that is new: `relay-a7f3  term=4 fence=1795155024942`.
pub(super) fn summary(scope: &Value) -> String {
    format!("{}  {}", leader(scope), token(scope))
}

fn token(scope: &Value) -> String {
    format!("term={} fence={}", text(scope, "term"), text(scope, "fenceToken"))
}

/// `shard/orders/04  elected       relay-b119  term=6 fence=1795155507427 prev=relay-c0de cause=... took=1.9s`
pub(super) fn line(event: &Value) -> String {
    let (scope, tenure) = (field(event, "leadership"), field(event, "tenure"));
    let name = Some(text(scope, "scope")).filter(|name| !name.is_empty());
    let name = name.or(Some(text(tenure, "scope"))).filter(|name| !name.is_empty()).unwrap_or("-");
    format!("{name}  {:<12}  {}", text(event, "type"), what(event))
}

/// Text of what has happened: who leads or has led, and why.
pub(crate) fn what(event: &Value) -> String {
    let (scope, tenure) = (field(event, "leadership"), field(event, "tenure"));
    match text(event, "type") {
        "synced" | "progress" => format!("cursor: {}", text(event, "cursor")),
        "reset" => format!("reason: {}", text(event, "reason")),
        "elected" => elected(scope, tenure),
        "lost" | "expired" | "stepped_down" => ended(tenure),
        "changed" => changed(scope),
        _ => summary(scope),
    }
}

/// `shard/orders/04  relay-c0de -> relay-b119  cause=lease_expired  without a leader 1.9s`: the line below a
/// live table; `None` for what changes no leader.
pub(super) fn news(event: &Value) -> Option<String> {
    let (scope, tenure) = (field(event, "leadership"), field(event, "tenure"));
    let name = |id: &str| if id.is_empty() { "-".to_owned() } else { id.to_owned() };
    let leader = name(text(tenure, "leaderId"));
    let (change, cause, took) = match text(event, "type") {
        "elected" => {
            let took = ms(field(tenure, "leaderlessMs")).map(time::span);
            let took = took.map(|took| format!("  without a leader {took}"));
            let previous = name(text(scope, "previousLeaderId"));
            (format!("{previous} -> {leader}"), text(tenure, "reason"), took)
        }
        "lost" | "expired" | "stepped_down" => {
            let led = led_ms(tenure, None).map(|ms| format!("  led {}", time::span(ms)));
            (format!("{leader} -> -"), text(tenure, "endReason"), led)
        }
        _ => return None,
    };
    let scope = Some(text(scope, "scope")).filter(|name| !name.is_empty()).unwrap_or(text(tenure, "scope"));
    Some(format!("{scope}  {change}  cause={cause}{}", took.unwrap_or_default()))
}

fn elected(scope: &Value, tenure: &Value) -> String {
    let previous = Some(text(scope, "previousLeaderId")).filter(|id| !id.is_empty());
    let previous = previous.map(|id| format!(" prev={id}")).unwrap_or_default();
    let took = field(tenure, "leaderlessMs");
    let took = ms(took).map(|ms| format!(" took={}", time::span(ms))).unwrap_or_default();
    let cause = text(tenure, "reason");
    format!("{}  {}{previous} cause={cause}{took}", text(tenure, "leaderId"), token(tenure))
}

fn ended(tenure: &Value) -> String {
    let led = led_ms(tenure, None).map(|ms| format!(" led={}", time::span(ms))).unwrap_or_default();
    let cause = text(tenure, "endReason");
    format!("{}  {} cause={cause}{led}", text(tenure, "leaderId"), token(tenure))
}

fn changed(scope: &Value) -> String {
    let order = match (text(scope, "order.verb"), text(scope, "order.to")) {
        ("", _) | ("unspecified", _) => String::new(),
        (verb, "") => format!(" order={verb}"),
        (verb, to) => format!(" order={verb} to={to}"),
    };
    format!("{}  version={}{order}", leader(scope), text(scope, "version"))
}

/// Milliseconds that a tenure lasted; one that goes on lasts until `now_ms`.
pub(super) fn led_ms(tenure: &Value, now_ms: Option<i64>) -> Option<u64> {
    let until = time::millis(field(tenure, "endedAt")).or(now_ms)?;
    u64::try_from(until.saturating_sub(time::millis(field(tenure, "electedAt"))?)).ok()
}

/// A 64-bit number of milliseconds, which JSON has as a string.
pub(super) fn ms(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_str()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn at(time: &str) -> CellContext {
        CellContext { now_ms: time::millis(&json!(time)), absolute: false }
    }

    #[test]
    fn lease_is_what_is_left_of_it() {
        let scope = |renewed: &str, expires: &str| {
            json!({"leaderId": "a", "renewedAt": format!("2026-11-20T06:01:{renewed}Z"),
                   "expiresAt": format!("2026-11-20T06:01:{expires}Z")})
        };
        let cases = [
            ("most of it", scope("00", "02"), "1.4s", "▇▇▇▇▇▇▁▁ 1.4s"),
            ("all of it", scope("00.600", "02.600"), "2.0s", "▇▇▇▇▇▇▇▇ 2.0s"),
            ("a moment", scope("00", "00.700"), "0.1s", "▇▇▁▁▁▁▁▁ 0.1s"),
            ("over", scope("00", "00.500"), "0.0s", "▁▁▁▁▁▁▁▁ 0.0s"),
            ("a long one", scope("00", "59"), "58s", "▇▇▇▇▇▇▇▇ 58s"),
            ("nobody holds one", json!({"leaderId": ""}), "", ""),
        ];
        for (what, scope, number, barred) in cases {
            let moment = at("2026-11-20T06:01:00.600Z");
            assert_eq!(
                (lease(&scope, moment).as_str(), bar(&scope, moment).as_str()),
                (number, barred),
                "{what}"
            );
        }
    }

    #[test]
    fn vacant_scope_says_why_and_since_when() {
        let vacant = json!({
            "leaderId": "", "reason": "lease_expired", "electedAt": "2026-11-20T05:00:00Z",
            "vacantSince": "2026-11-20T06:00:30Z",
        });
        assert_eq!(leader(&vacant), "- (lease_expired)");
        assert_eq!(time::ago(since(&vacant), at("2026-11-20T06:01:00Z")), "30s");
        assert_eq!(leader(&json!({"leaderId": "", "reason": ""})), "-");
    }

    #[test]
    fn flaps_are_marked_and_say_when_they_were_not_all_counted() {
        for (elections, expected) in [(0, "0"), (1, "1"), (2, "2 !"), (15, "15 !"), (16, "16+ !")] {
            assert_eq!(flaps(&json!({"electionsLastHour": elections})), expected);
            assert_eq!(flaps(&json!({"electionsLastHour": 16, "flapsLastHour": elections})), expected);
        }
        assert_eq!(flaps(&json!({})), "0");
    }

    #[test]
    fn news_are_who_leads_instead_of_whom_why_and_for_how_long() {
        let scope = json!({"scope": "s", "leaderId": "b", "previousLeaderId": "a"});
        let tenure = json!({
            "scope": "s", "leaderId": "b", "reason": "lease_expired", "leaderlessMs": "1900",
            "electedAt": "2026-11-20T06:00:00Z", "endedAt": "2026-11-20T06:05:00Z", "endReason": "drained",
        });
        let first = json!({"scope": "s", "leaderId": "b", "previousLeaderId": ""});
        let created = json!({"scope": "s", "leaderId": "b", "reason": "created"});
        let ended = "s  b -> -  cause=drained  led 5m";
        let cases = [
            ("elected", &scope, &tenure, Some("s  a -> b  cause=lease_expired  without a leader 1.9s")),
            ("elected", &first, &created, Some("s  - -> b  cause=created")),
            ("lost", &scope, &tenure, Some(ended)),
            ("expired", &scope, &tenure, Some(ended)),
            ("stepped_down", &scope, &tenure, Some(ended)),
            ("changed", &scope, &tenure, None),
            ("removed", &scope, &tenure, None),
            ("snapshot", &scope, &tenure, None),
            ("synced", &Value::Null, &Value::Null, None),
        ];
        for (word, scope, tenure, expected) in cases {
            let event = json!({"type": word, "leadership": scope, "tenure": tenure});
            assert_eq!(news(&event).as_deref(), expected, "{word}");
        }
    }

    #[test]
    fn each_event_has_its_line() {
        let scope = json!({
            "scope": "shard/orders/04", "leaderId": "b", "term": "6", "fenceToken": "99", "previousLeaderId": "a",
            "version": "12", "order": {"verb": "transfer", "to": "c"}, "reason": "lease_expired",
        });
        let tenure = json!({
            "scope": "shard/orders/04", "leaderId": "a", "term": "5", "fenceToken": "98", "reason": "created",
            "electedAt": "2026-11-20T06:00:00Z", "endedAt": "2026-11-20T06:05:00Z", "endReason": "drained",
            "leaderlessMs": "1900",
        });
        let cases = [
            ("elected", "elected       a  term=5 fence=98 prev=a cause=created took=1.9s"),
            ("lost", "lost          a  term=5 fence=98 cause=drained led=5m"),
            ("expired", "expired       a  term=5 fence=98 cause=drained led=5m"),
            ("stepped_down", "stepped_down  a  term=5 fence=98 cause=drained led=5m"),
            ("changed", "changed       b  version=12 order=transfer to=c"),
            ("removed", "removed       b  term=6 fence=99"),
            ("snapshot", "snapshot      b  term=6 fence=99"),
            ("of_the_future", "of_the_future  b  term=6 fence=99"),
        ];
        for (word, expected) in cases {
            let event = json!({"type": word, "leadership": scope, "tenure": tenure});
            assert_eq!(line(&event), format!("shard/orders/04  {expected}"), "{word}");
        }
        assert_eq!(line(&json!({"type": "synced", "cursor": "1:5"})), "-  synced        cursor: 1:5");
        assert_eq!(
            line(&json!({"type": "reset", "reason": "compacted"})),
            "-  reset         reason: compacted"
        );
    }
}
