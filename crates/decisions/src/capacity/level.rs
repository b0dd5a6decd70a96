//! Level of a use: whether it is near its limit, and has reached it.

/// Percent of a limit from which on a use is near it.
const NEAR_PERCENT: u64 = 80;
/// By how many percent of the limit a use has to fall below where a level begins before it is over, so that one at the edge is told of
/// once.
const SLACK_PERCENT: u64 = 5;

/// Level of a use beside its limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum LimitLevel {
    #[default]
    Clear,
    /// It is at 80 % or more.
    Near,
    Reached,
}

impl LimitLevel {
    /// Level that follows once so much is used; without a limit there is none.
    #[must_use]
    pub fn then(self, used: u64, max: Option<u64>) -> Self {
        let Some(max) = max else { return Self::Clear };
        // A level that holds is left only somewhat below where it begins.
        let is_at = |level: Self, percent: u64| {
            let slack = if self >= level { SLACK_PERCENT } else { 0 };
            u128::from(used) * 100 >= u128::from(max) * u128::from(percent - slack)
        };
        if is_at(Self::Reached, 100) {
            Self::Reached
        } else if is_at(Self::Near, NEAR_PERCENT) {
            Self::Near
        } else {
            Self::Clear
        }
    }
}

#[cfg(test)]
mod tests {
    use super::LimitLevel::{Clear, Near, Reached};

    #[test]
    fn a_level_is_left_only_somewhat_below_where_it_begins() {
        let cases = [
            // what                            before   used  max        then
            ("little", Clear, 79, Some(100), Clear),
            ("at 80 %", Clear, 80, Some(100), Near),
            ("all of it", Clear, 100, Some(100), Reached),
            ("more", Near, 250, Some(100), Reached),
            ("it falls a little", Near, 76, Some(100), Near),
            ("it falls", Near, 74, Some(100), Clear),
            ("a little below the limit", Reached, 96, Some(100), Reached),
            ("below the limit", Reached, 94, Some(100), Near),
            ("to nearly nothing", Reached, 1, Some(100), Clear),
            ("the limit is taken away", Reached, 100, None, Clear),
            ("as much as there can be", Clear, u64::MAX, Some(u64::MAX), Reached),
            ("of one", Clear, 0, Some(1), Clear),
        ];
        for (what, before, used, max, then) in cases {
            assert_eq!(before.then(used, max), then, "{what}");
        }
    }
}
