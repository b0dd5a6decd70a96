//! Stretches of time, `from` inclusive and `until` exclusive.

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Span {
    pub from_us: u64,
    pub until_us: u64,
}

impl Span {
    pub(crate) fn new(from_us: u64, until_us: u64) -> Self {
        Self { from_us, until_us }
    }

    pub(crate) fn length_us(self) -> u64 {
        self.until_us.saturating_sub(self.from_us)
    }

    /// How long both last at once.
    pub(crate) fn overlap_us(self, other: Self) -> u64 {
        Self::new(self.from_us.max(other.from_us), self.until_us.min(other.until_us)).length_us()
    }
}

/// The same time in stretches that do not touch, in order.
pub(crate) fn union(mut spans: Vec<Span>) -> Vec<Span> {
    spans.retain(|span| span.length_us() > 0);
    spans.sort_unstable();
    let mut joined: Vec<Span> = Vec::new();
    for span in spans {
        match joined.last_mut() {
            Some(last) if span.from_us <= last.until_us => last.until_us = last.until_us.max(span.until_us),
            Some(_) | None => joined.push(span),
        }
    }
    joined
}

/// What is left of `spans` without `taken`, in order.
pub(super) fn without(spans: Vec<Span>, taken: Vec<Span>) -> Vec<Span> {
    let taken = union(taken);
    let mut left = Vec::new();
    for span in union(spans) {
        let mut from_us = span.from_us;
        for hole in taken.iter().filter(|hole| hole.overlap_us(span) > 0) {
            left.push(Span::new(from_us, hole.from_us));
            from_us = hole.until_us;
        }
        left.push(Span::new(from_us, span.until_us));
    }
    left.retain(|span| span.length_us() > 0);
    left
}

#[test]
fn spans_are_joined_and_taken_away() {
    let spans = |list: &[(u64, u64)]| list.iter().map(|(from, to)| Span::new(*from, *to)).collect::<Vec<_>>();
    assert_eq!(union(spans(&[(5, 7), (0, 2), (2, 3), (6, 9), (4, 4)])), spans(&[(0, 3), (5, 9)]));
    let cases: [(&str, &[_], &[_], &[_]); 5] = [
        ("nothing taken", &[(0, 9)], &[], &[(0, 9)]),
        ("all taken", &[(2, 4)], &[(0, 9)], &[]),
        ("holes", &[(0, 9)], &[(1, 2), (4, 6)], &[(0, 1), (2, 4), (6, 9)]),
        ("both ends", &[(2, 8)], &[(0, 3), (7, 9)], &[(3, 7)]),
        ("overlapping holes", &[(0, 9)], &[(1, 5), (4, 8)], &[(0, 1), (8, 9)]),
    ];
    for (what, from, taken, left) in cases {
        assert_eq!(without(spans(from), spans(taken)), spans(left), "{what}");
    }
}
