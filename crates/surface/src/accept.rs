//! Preferences of a caller: media types and encodings that it accepts, with their weights.

use http::header::ACCEPT;
use http::{HeaderMap, HeaderName};

/// The form of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AnswerForm {
    Json,
    EventStream,
    /// The messages of a stream, one JSON document a line.
    Lines,
}

const FORMS: [(AnswerForm, &str); 3] = [
    (AnswerForm::Json, "application/json"),
    (AnswerForm::EventStream, "text/event-stream"),
    (AnswerForm::Lines, "application/x-ndjson"),
];

impl AnswerForm {
    pub(super) fn media_type(self) -> &'static str {
        match self {
            Self::Json => FORMS[0].1,
            Self::EventStream => FORMS[1].1,
            Self::Lines => FORMS[2].1,
        }
    }
}

/// The form the caller wants most, of those there are; `None` when it takes none of them.
///
/// A stream is chosen only when it is named, or when there is nothing else.
pub(super) fn choose(headers: &HeaderMap, unary: bool, stream: bool) -> Option<AnswerForm> {
    let ranges = WeightedRanges::of(headers, &ACCEPT);
    if ranges.0.is_empty() {
        return Some(if unary { AnswerForm::Json } else { AnswerForm::EventStream });
    }
    let named = FORMS
        .into_iter()
        .filter(|(form, _)| if *form == AnswerForm::Json { unary } else { stream })
        .filter_map(|(form, media)| Some((form, ranges.named(media)?)))
        .filter(|(_, (weight, _))| *weight > 0)
        .max_by_key(|(_, (weight, order))| (*weight, std::cmp::Reverse(*order)));
    match named {
        Some((form, _)) => Some(form),
        None if unary => (ranges.weight("application/json") > 0).then_some(AnswerForm::Json),
        None => (ranges.weight("text/event-stream") > 0).then_some(AnswerForm::EventStream),
    }
}

/// Weight that the caller gives `value`, in thousandths; 0 when it does not take it.
pub(super) fn weight(headers: &HeaderMap, name: &HeaderName, value: &str) -> u16 {
    WeightedRanges::of(headers, name).weight(value)
}

/// A header's list of ranges with their weights in thousandths, in its order.
struct WeightedRanges(Vec<(String, u16)>);

impl WeightedRanges {
    fn of(headers: &HeaderMap, name: &HeaderName) -> Self {
        let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
        let ranges = values.flat_map(|value| value.split(',')).filter_map(|range| {
            let mut parts = range.split(';').map(str::trim);
            let name = parts.next().filter(|name| !name.is_empty())?.to_ascii_lowercase();
            let quality = parts.find_map(|part| part.strip_prefix("q="));
            Some((name, quality.map_or(1000, thousandths)))
        });
        Self(ranges.collect())
    }

    /// The weight of an exact match, and where it stands.
    fn named(&self, value: &str) -> Option<(u16, usize)> {
        let order = self.0.iter().position(|(range, _)| range == value)?;
        self.0.get(order).map(|(_, weight)| (*weight, order))
    }

    /// The weight of the most exact match.
    fn weight(&self, value: &str) -> u16 {
        let group = value.split_once('/').map_or_else(String::new, |(group, _)| format!("{group}/*"));
        let any = if group.is_empty() { "*" } else { "*/*" };
        let found = self.named(value).or_else(|| self.named(&group)).or_else(|| self.named(any));
        found.map_or(0, |(weight, _)| weight)
    }
}

fn thousandths(quality: &str) -> u16 {
    // Clamped to 0..=1000, so the cast is exact enough for an order.
    quality.parse::<f32>().map_or(1000, |quality| (quality.clamp(0.0, 1.0) * 1000.0) as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_chosen_only_when_it_is_asked_for() {
        let (json, events, lines) =
            (Some(AnswerForm::Json), Some(AnswerForm::EventStream), Some(AnswerForm::Lines));
        let cases = [
            // accept, with both, unary only, stream only
            (None, json, json, events),
            (Some("*/*"), json, json, events),
            (Some("application/json"), json, json, None),
            (Some("text/event-stream"), events, None, events),
            (Some("application/x-ndjson"), lines, None, lines),
            (Some("text/event-stream, application/json;q=0.9"), events, json, events),
            (Some("application/json, text/event-stream"), json, json, events),
            (Some("text/event-stream;q=0, */*"), json, json, None),
            (Some("text/html,application/xhtml+xml,*/*;q=0.8"), json, json, events),
            (Some("text/html"), None, None, None),
            (Some("Text/Event-Stream"), events, None, events),
        ];
        for (accept, both, unary, stream) in cases {
            let mut headers = HeaderMap::new();
            if let Some(accept) = accept {
                headers.insert(ACCEPT, accept.parse().unwrap());
            }
            let got =
                (choose(&headers, true, true), choose(&headers, true, false), choose(&headers, false, true));
            assert_eq!(got, (both, unary, stream), "{accept:?}");
        }
    }

    #[test]
    fn weights_follow_the_most_exact_range() {
        let headers =
            |value: &str| HeaderMap::from_iter([(http::header::ACCEPT_ENCODING, value.parse().unwrap())]);
        for (value, expected) in [
            ("gzip", 1000),
            ("br, gzip;q=0.5", 500),
            ("gzip;q=0", 0),
            ("*;q=0.1", 100),
            ("br", 0),
            ("gzip;q=0, *", 0),
        ] {
            assert_eq!(weight(&headers(value), &http::header::ACCEPT_ENCODING, "gzip"), expected, "{value}");
        }
    }
}
