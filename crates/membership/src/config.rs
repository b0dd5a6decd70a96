//! Configuration by which members probe, gossip and judge.

use std::time::Duration;

/// Configuration that all members of a mesh should have alike; they need not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// From one probe to the next, and how long a probe may take; more while this member is not well, or where a ping has
    /// longer ([`Config::probe_time`]).
    pub interval: Duration,
    /// How long an answer to a ping may take before others are asked and a stream is tried.
    pub ping_timeout: Duration,
    /// How many others are asked to ping whoever does not answer.
    pub helpers: usize,
    /// From one packet of gossip to the next while there is something to pass on.
    pub gossip_interval: Duration,
    /// To how many members each time.
    pub fanout: usize,
    /// How often a member passes on one update, times the decimal logarithm of how many members there are.
    pub retransmit: u32,
    /// How large a packet may be, in bytes.
    pub packet_bytes_max: usize,
    /// How long a suspect whom enough others accuse has to answer at least, times the decimal logarithm of how many members
    /// there are.
    pub suspicion: Duration,
    /// How many times as long one has whom nobody else accuses.
    pub suspicion_max: u32,
    /// How many others probe a suspect out of turn, on average, as soon as they hear of it.
    pub confirmers: usize,
    /// From one exchange of all that is known to the next.
    pub exchange_interval: Duration,
    /// For how long whoever is dead is remembered, and looked for.
    pub forget_after: Duration,
    /// How unwell a member may think it is.
    pub health_max: u8,
    /// How many members are remembered; further ones are not taken.
    pub members_max: usize,
    /// How many of them may be strangers: names that were told of, of whom nothing was heard, and whom [`Membership::know`] was not
    /// told to know. They give way first.
    ///
    /// [`Membership::know`]: crate::Membership::know
    pub strangers_max: usize,
    /// How many packets beside pings and acks are sent within one `gossip_interval`.
    pub outbound_max: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(1),
            ping_timeout: Duration::from_millis(300),
            helpers: 3,
            gossip_interval: Duration::from_millis(200),
            fanout: 3,
            retransmit: 4,
            packet_bytes_max: 1100,
            suspicion: Duration::from_millis(750),
            suspicion_max: 6,
            confirmers: 4,
            exchange_interval: Duration::from_secs(30),
            forget_after: Duration::from_secs(72 * 3600),
            health_max: 8,
            members_max: 10_000,
            strangers_max: 1250,
            outbound_max: 128,
        }
    }
}

/// How large packets are at least: a record and its head fit in.
const PACKET_BYTES_MIN: usize = 800;

impl Config {
    /// # Errors
    /// What cannot be, in words.
    pub fn check(&self) -> Result<(), &'static str> {
        let times =
            [self.interval, self.ping_timeout, self.gossip_interval, self.suspicion, self.exchange_interval];
        if times.iter().any(Duration::is_zero) {
            return Err("no time may be zero");
        }
        if self.packet_bytes_max < PACKET_BYTES_MIN {
            return Err("a packet has to have room for one record: 800 bytes");
        }
        if self.strangers_max == 0
            || self.fanout == 0
            || self.retransmit == 0
            || self.members_max == 0
            || self.suspicion_max == 0
        {
            return Err("a count is zero of which one is needed");
        }
        Ok(())
    }

    /// Time that a probe may take: an interval; longer where others and a stream would have less than half as long as
    /// the ping had. Probes of several members are then under way at once.
    pub fn probe_time(&self) -> Duration {
        self.interval.max(self.ping_timeout * 3 / 2)
    }

    /// Time for one accused by others alone to answer until that is believed: as long as news takes there and back.
    pub(crate) fn hearsay_after(&self, members: usize) -> Duration {
        let magnitude = f64::from(u32::try_from(members).unwrap_or(u32::MAX)).log10().max(1.0);
        self.interval.mul_f64(magnitude)
    }

    /// Time for which a stranger is remembered of whom nothing is heard: longer where there are more who may hear from it.
    pub(crate) fn strange_for(&self, known: usize) -> Duration {
        const LEAST: Duration = Duration::from_secs(300);
        const MOST: Duration = Duration::from_secs(3600);
        let rounds = u32::try_from(known).unwrap_or(u32::MAX).saturating_mul(4);
        self.interval.saturating_mul(rounds).clamp(LEAST, MOST)
    }

    /// Number of times that an update is passed on among so many members.
    pub(crate) fn retransmits(&self, members: usize) -> u32 {
        let magnitudes = f64::from(u32::try_from(members + 1).unwrap_or(u32::MAX)).log10().ceil();
        // It is between 0 and 10.
        self.retransmit * (magnitudes as u32).max(1)
    }

    /// Timeout of a suspect with so many accusers among so many members.
    ///
    /// The timeout of Lifeguard (Dadgar, Phillips, Currey 2017): it falls with the logarithm of how many accuse.
    pub(crate) fn suspicion_timeout(&self, accusers: usize, members: usize) -> Duration {
        let magnitude = f64::from(u32::try_from(members).unwrap_or(u32::MAX)).log10().max(1.0);
        let least = self.suspicion.mul_f64(magnitude);
        let most = least * self.suspicion_max;
        // The member itself and the suspect cannot confirm it.
        let enough = members.saturating_sub(2).min(crate::record::ACCUSERS_MAX - 1);
        if enough == 0 {
            return least;
        }
        let confirmed = accusers.saturating_sub(1).min(enough);
        let part = (confirmed as f64 + 1.0).ln() / (enough as f64 + 1.0).ln();
        most.saturating_sub((most - least).mul_f64(part)).max(least)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_suspicion_is_shorter_the_more_accuse() {
        let config = Config { suspicion: Duration::from_secs(1), ..Config::default() };
        let seconds = [1, 2, 3, 4, 5].map(|accusers| config.suspicion_timeout(accusers, 100).as_secs_f64());
        assert_eq!(seconds.map(|seconds| (seconds * 10.0).round() / 10.0), [12.0, 7.0, 4.1, 2.0, 2.0]);
        assert_eq!(config.suspicion_timeout(1, 2), Duration::from_secs(1), "nobody could confirm it");
    }

    #[test]
    fn what_cannot_be_is_refused() {
        assert_eq!(Config::default().check(), Ok(()));
        let wrong: [fn(&mut Config); 4] = [
            |config| config.interval = Duration::ZERO,
            |config| config.ping_timeout = Duration::ZERO,
            |config| config.packet_bytes_max = 700,
            |config| config.fanout = 0,
        ];
        for spoil in wrong {
            let mut config = Config::default();
            spoil(&mut config);
            assert!(config.check().is_err(), "{config:?}");
        }
    }

    #[test]
    fn a_probe_takes_an_interval_or_as_long_as_pings_and_those_who_help_need() {
        let probe_time =
            |ms| Config { ping_timeout: Duration::from_millis(ms), ..Config::default() }.probe_time();
        assert_eq!(
            [300, 600, 1000, 2000].map(probe_time).map(|time| time.as_millis()),
            [1000, 1000, 1500, 3000]
        );
    }

    #[test]
    fn updates_are_passed_on_more_often_among_more() {
        assert_eq!(
            [1, 9, 10, 200, 1000].map(|members| Config::default().retransmits(members)),
            [4, 4, 8, 12, 16]
        );
    }
}
