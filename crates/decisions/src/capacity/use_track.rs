//! Track of a use: how it stands now, how high it was in the last minutes and in the last hour, and its level.

use std::collections::VecDeque;
use std::time::Duration;

use super::{LimitLevel, LimitMeasure};

/// How many seconds of a rate are remembered: its highest second of them is what warnings go by, so that one that comes in bursts does
/// not come and go each second.
const RECENT_SECONDS: usize = 90;
/// How many minutes of a use are remembered.
const MINUTES: usize = 60;

/// Use within one minute.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct MinuteOfUse {
    /// Counted from when the track began.
    minute: u64,
    peak: u64,
    /// Of a rate how many came, of a count how many there were at the end of it.
    amount: u64,
}

/// Track of the use of one limit, as it is told each second.
#[derive(Clone, Debug)]
pub struct UseTrack {
    measure: LimitMeasure,
    used: u64,
    /// Of a rate: how many came in each of the last seconds, the newest last.
    seconds: VecDeque<u64>,
    /// The newest last.
    minutes: VecDeque<MinuteOfUse>,
    /// Of a count: how many there were an hour ago, or when the track began.
    before: Option<u64>,
    level: LimitLevel,
}

impl UseTrack {
    /// Track of which nothing is known yet.
    pub fn new(measure: LimitMeasure) -> Self {
        Self {
            measure,
            used: 0,
            seconds: VecDeque::new(),
            minutes: VecDeque::new(),
            before: None,
            level: LimitLevel::Clear,
        }
    }

    /// Notes, `at` so long after the track began, how many there are of a count, or of a rate how many came since the last note, which
    /// was `since` ago. To be told each second.
    pub fn note(&mut self, at: Duration, since: Duration, seen: u64) {
        self.used = match self.measure {
            LimitMeasure::Count => seen,
            LimitMeasure::Rate(per) => self.rate(per, since, seen),
        };
        let minute = at.as_secs() / 60;
        if self.minutes.back().is_none_or(|last| last.minute != minute) {
            self.minutes.push_back(MinuteOfUse { minute, ..MinuteOfUse::default() });
        }
        if self.before.is_none() {
            self.before = Some(seen);
        }
        while self.minutes.front().is_some_and(|first| first.minute + MINUTES as u64 <= minute) {
            self.before = self.minutes.pop_front().map(|first| first.amount);
        }
        let used = self.used;
        if let Some(last) = self.minutes.back_mut() {
            last.peak = last.peak.max(used);
            last.amount = match self.measure {
                LimitMeasure::Count => used,
                LimitMeasure::Rate(_) => last.amount.saturating_add(seen),
            };
        }
    }

    /// How many came within the time that a rate is measured by. One look that comes late stands for the seconds that it missed.
    fn rate(&mut self, per: Duration, since: Duration, seen: u64) -> u64 {
        let missed = since.as_millis().div_ceil(1000).clamp(1, RECENT_SECONDS as u128) as u64;
        for second in 0..missed {
            // What does not come out even is of the first ones.
            self.seconds.push_back(seen / missed + u64::from(second < seen % missed));
        }
        let surplus = self.seconds.len().saturating_sub(RECENT_SECONDS);
        self.seconds.drain(..surplus);
        let seconds = per.as_secs().max(1) as usize;
        self.seconds.iter().rev().take(seconds).sum()
    }

    /// Use now: how many there are, or came within the time that the rate is measured by.
    pub fn used(&self) -> u64 {
        self.used
    }

    /// Use by which it is judged whether the limit is near: of a rate a second the highest of the last one and a half minutes.
    pub fn judged(&self) -> u64 {
        match self.measure {
            LimitMeasure::Rate(per) if per <= Duration::from_secs(1) => {
                self.seconds.iter().copied().max().unwrap_or(0)
            }
            LimitMeasure::Count | LimitMeasure::Rate(_) => self.used,
        }
    }

    /// Highest use of the last hour, or since the track began.
    pub fn peak(&self) -> u64 {
        self.minutes.iter().map(|minute| minute.peak).max().unwrap_or(0)
    }

    /// Growth in the last hour, or since the track began: of a rate how many came, of a count by how many there are more now.
    pub fn last_hour(&self) -> i64 {
        let signed = |amount: u64| i64::try_from(amount).unwrap_or(i64::MAX);
        match self.measure {
            LimitMeasure::Count => signed(self.used).saturating_sub(signed(self.before.unwrap_or(self.used))),
            LimitMeasure::Rate(_) => {
                self.minutes.iter().fold(0_i64, |sum, minute| sum.saturating_add(signed(minute.amount)))
            }
        }
    }

    /// Level as it was judged last.
    pub fn level(&self) -> LimitLevel {
        self.level
    }

    /// Judges the level anew by what is set; the one before, if it is another now.
    pub fn judge(&mut self, max: Option<u64>) -> Option<LimitLevel> {
        let next = self.level.then(self.judged(), max);
        let before = std::mem::replace(&mut self.level, next);
        (before != next).then_some(before)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Notes what is seen each second, from a second on.
    fn noted(track: &mut UseTrack, from: u64, seen: impl IntoIterator<Item = u64>) {
        for (at, seen) in (from..).zip(seen) {
            track.note(Duration::from_secs(at), SECOND, seen);
        }
    }

    #[test]
    fn a_burst_each_half_minute_is_one_warning() {
        let mut track = UseTrack::new(LimitMeasure::Rate(SECOND));
        let (mut changes, max) = (Vec::new(), Some(100));
        for at in 0..600 {
            track.note(Duration::from_secs(at), SECOND, if at % 30 == 10 { 85 } else { 3 });
            changes.extend(track.judge(max).map(|before| (at, before, track.level())));
        }
        assert_eq!(changes, [(10, LimitLevel::Clear, LimitLevel::Near)]);
        assert_eq!((track.used(), track.judged(), track.peak()), (3, 85, 85));
        noted(&mut track, 600, std::iter::repeat_n(3, RECENT_SECONDS));
        assert_eq!(track.judge(max), Some(LimitLevel::Near));
        assert_eq!((track.level(), track.peak()), (LimitLevel::Clear, 85));
    }

    #[test]
    fn a_rate_a_minute_is_what_came_in_the_last_one() {
        let mut track = UseTrack::new(LimitMeasure::Rate(SECOND * 60));
        noted(&mut track, 0, std::iter::repeat_n(1, 30));
        assert_eq!((track.used(), track.last_hour()), (30, 30));
        noted(&mut track, 30, std::iter::repeat_n(0, 45));
        assert_eq!((track.used(), track.last_hour()), (15, 30));
        noted(&mut track, 75, std::iter::repeat_n(0, 3600));
        assert_eq!((track.used(), track.peak(), track.last_hour()), (0, 0, 0));
    }

    #[test]
    fn a_late_look_stands_for_the_seconds_that_it_missed() {
        let mut track = UseTrack::new(LimitMeasure::Rate(SECOND));
        track.note(SECOND * 5, SECOND * 5, 52);
        assert_eq!((track.judged(), track.last_hour()), (11, 52));
        track.note(SECOND * 6, SECOND, 7);
        assert_eq!((track.used(), track.judged()), (7, 11));
    }

    #[test]
    fn a_count_says_by_how_much_it_has_grown_in_the_last_hour() {
        let mut track = UseTrack::new(LimitMeasure::Count);
        assert_eq!(track.last_hour(), 0);
        noted(&mut track, 0, std::iter::repeat_n(40, 60));
        noted(&mut track, 60, std::iter::repeat_n(90, 60));
        noted(&mut track, 120, [70]);
        assert_eq!((track.used(), track.peak(), track.last_hour()), (70, 90, 30));
        // An hour after the minute of 90.
        noted(&mut track, 121, std::iter::repeat_n(70, 3599));
        assert_eq!((track.peak(), track.last_hour()), (70, -20));
        noted(&mut track, 3720, std::iter::repeat_n(70, 120));
        assert_eq!(track.last_hour(), 0);
    }
}
