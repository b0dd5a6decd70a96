//! Belief in Sentinels: all that have answered are weighed, and none counts more for being first.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::url::ServerAddress;

/// How long more than half of all Sentinels must name a master that was replaced, without one that names another,
/// until it is believed. Too low: right after a failover those that have not heard of it lead back; too high: Sentinels
/// that were set up anew, and count from 0 again, are not believed for as long. They tell each other every 2 s.
const REINSTATED_AFTER: Duration = Duration::from_secs(5);
/// The most replaced masters that are remembered.
const REPLACED_MAX: usize = 16;

/// Opinion of a Sentinel about the master.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SentinelOpinion {
    pub sentinel: ServerAddress,
    pub master: ServerAddress,
    /// Of the failover that made it the master; rises with each. `None`: we may not ask.
    pub epoch: Option<u64>,
}

/// Doubt for which nobody is believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Doubt {
    /// Nobody has answered.
    Silence,
    /// Whom they name was replaced.
    Replaced,
    /// As many name one as another.
    Tie,
}

/// Belief about the master: what the Sentinels have said so far, as far as it decides whom to believe.
#[derive(Debug, Default)]
pub(super) struct MasterBelief {
    newest: Option<Master>,
    /// Masters that were replaced, and the newest epoch that was known by then: a greater one is another reign.
    replaced: BTreeMap<ServerAddress, Option<u64>>,
    /// Who is named though it was replaced, and since when.
    reinstated: Option<(ServerAddress, Instant)>,
}

#[derive(Clone, Debug)]
struct Master {
    at: ServerAddress,
    epoch: Option<u64>,
}

impl MasterBelief {
    /// Weighs these answers of `asked` Sentinels, and returns the master: the one that the greatest epoch names, or,
    /// where epochs are not told, the most.
    ///
    /// # Errors
    /// [`Doubt`]; what was believed before stands.
    pub(super) fn weigh(
        &mut self,
        opinions: &[SentinelOpinion],
        asked: usize,
        now: Instant,
    ) -> Result<ServerAddress, Doubt> {
        if opinions.is_empty() {
            return Err(Doubt::Silence);
        }
        let current: Vec<&SentinelOpinion> =
            opinions.iter().filter(|opinion| !self.is_outdated(opinion)).collect();
        let master = if current.is_empty() {
            self.reinstate(opinions, asked, now).ok_or(Doubt::Replaced)?
        } else {
            self.reinstated = None;
            self.leading(&current).ok_or(Doubt::Tie)?
        };
        let epoch =
            opinions.iter().filter(|opinion| opinion.master == master).filter_map(|by| by.epoch).max();
        self.take(master.clone(), epoch, is_majority(opinions, &master, asked));
        Ok(master)
    }

    /// An announcement: from now on `from` is not the master any more.
    pub(super) fn replaced(&mut self, from: &ServerAddress, to: &ServerAddress) {
        let known = self.newest.as_ref();
        let epoch = known.and_then(|newest| newest.epoch);
        // By whoever is behind, it may be of long ago.
        if known.is_none_or(|newest| newest.at == *from) {
            self.replaced.remove(to);
        }
        self.retire(from.clone(), epoch);
    }

    /// Whether a newer master is known than the one that it names.
    fn is_outdated(&self, opinion: &SentinelOpinion) -> bool {
        if let Some(until) = self.replaced.get(&opinion.master) {
            return opinion.epoch.is_none() || opinion.epoch <= *until || until.is_none();
        }
        let Some(newest) = &self.newest else { return false };
        newest.at != opinion.master && opinion.epoch.is_some() && opinion.epoch < newest.epoch
    }

    /// Whom the most name of those who know of no older epoch than others.
    fn leading(&self, current: &[&SentinelOpinion]) -> Option<ServerAddress> {
        let epoch = current.iter().filter_map(|opinion| opinion.epoch).max();
        let mut votes: BTreeMap<&ServerAddress, usize> = BTreeMap::new();
        for opinion in current.iter().filter(|opinion| opinion.epoch.is_none() || opinion.epoch == epoch) {
            *votes.entry(&opinion.master).or_default() += 1;
        }
        let most = votes.values().max().copied()?;
        let mut first = votes.iter().filter(|(_, count)| **count == most).map(|(master, _)| *master);
        match (first.next(), first.next()) {
            (Some(only), None) => Some(only.clone()),
            _ => {
                let newest = &self.newest.as_ref()?.at;
                (votes.get(newest) == Some(&most)).then(|| newest.clone())
            }
        }
    }

    /// Whom all name, more than half of the Sentinels, for long enough.
    fn reinstate(
        &mut self,
        opinions: &[SentinelOpinion],
        asked: usize,
        now: Instant,
    ) -> Option<ServerAddress> {
        let named = &opinions.first()?.master;
        let all = opinions.iter().all(|opinion| opinion.master == *named);
        if !all || !is_majority(opinions, named, asked) {
            self.reinstated = None;
            return None;
        }
        let since = match &self.reinstated {
            Some((same, since)) if same == named => *since,
            Some(_) | None => {
                self.reinstated = Some((named.clone(), now));
                now
            }
        };
        (now.saturating_duration_since(since) >= REINSTATED_AFTER).then(|| named.clone())
    }

    fn take(&mut self, at: ServerAddress, epoch: Option<u64>, by_most: bool) {
        let before = self.newest.take();
        let known = before.as_ref().and_then(|before| before.epoch);
        match before {
            Some(before) if before.at != at => self.retire(before.at, known.or(epoch)),
            Some(_) | None => {}
        }
        self.replaced.remove(&at);
        for until in self.replaced.values_mut() {
            *until = until.or(epoch);
        }
        // Sentinels that were set up anew count from 0 again, and most of them say so.
        let epoch = if by_most { epoch.or(known) } else { epoch.max(known) };
        self.reinstated = None;
        self.newest = Some(Master { at, epoch });
    }

    fn retire(&mut self, at: ServerAddress, until: Option<u64>) {
        if self.replaced.len() >= REPLACED_MAX && !self.replaced.contains_key(&at) {
            let oldest = self.replaced.iter().min_by_key(|(_, until)| **until).map(|(at, _)| at.clone());
            oldest.and_then(|oldest| self.replaced.remove(&oldest));
        }
        self.replaced.insert(at, until);
    }
}

/// Whether more than half of all Sentinels name this master.
pub(super) fn is_majority(opinions: &[SentinelOpinion], master: &ServerAddress, asked: usize) -> bool {
    opinions.iter().filter(|opinion| opinion.master == *master).count() * 2 > asked
}

/// Disagreement about the master, where not all name the same: `S1 names A (epoch 0); S2, S3 name B (epoch 1)`.
pub(super) fn disagreement(opinions: &[SentinelOpinion]) -> Option<String> {
    let mut parties: BTreeMap<&ServerAddress, Vec<&SentinelOpinion>> = BTreeMap::new();
    for opinion in opinions {
        parties.entry(&opinion.master).or_default().push(opinion);
    }
    let told = |(master, by): (&ServerAddress, &Vec<&SentinelOpinion>)| {
        let who: Vec<String> = by.iter().map(|opinion| opinion.sentinel.to_string()).collect();
        let names = if who.len() == 1 { "names" } else { "name" };
        let epoch = by.iter().filter_map(|opinion| opinion.epoch).max();
        let epoch = epoch.map(|epoch| format!(" (epoch {epoch})")).unwrap_or_default();
        format!("{} {names} {master}{epoch}", who.join(", "))
    };
    (parties.len() > 1)
        .then(|| parties.iter().map(|(master, by)| told((master, by))).collect::<Vec<_>>().join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(name: char) -> ServerAddress {
        ServerAddress { host: name.to_string(), port: 1 }
    }

    /// `A0 B1 B-`: the first Sentinel names A of epoch 0, the second B of epoch 1, the third B and no epoch; `.` is
    /// silent.
    fn opinions(text: &str) -> (Vec<SentinelOpinion>, usize) {
        let words: Vec<&str> = text.split(' ').collect();
        let said = words.iter().enumerate().filter(|(_, word)| **word != ".").map(|(number, word)| {
            SentinelOpinion {
                sentinel: ServerAddress { host: "s".to_owned(), port: u16::try_from(number).unwrap() },
                master: at(word.chars().next().unwrap()),
                epoch: word[1..].parse().ok(),
            }
        });
        (said.collect(), words.len())
    }

    /// What is believed after all these answers, a second apart; `A>B` is an announcement.
    fn believed(history: &str) -> String {
        let (mut belief, mut now, mut last) = (MasterBelief::default(), Instant::now(), String::new());
        for step in history.split(" | ") {
            if let Some((from, to)) = step.split_once('>') {
                belief.replaced(&at(from.chars().next().unwrap()), &at(to.chars().next().unwrap()));
                continue;
            }
            now += Duration::from_secs(1);
            let (said, asked) = opinions(step);
            last = match belief.weigh(&said, asked, now) {
                Ok(master) => master.host,
                Err(doubt) => format!("{doubt:?}"),
            };
        }
        last
    }

    #[test]
    fn the_greatest_epoch_or_the_most_are_believed() {
        let cases = [
            ("all agree", "A0 A0 A0", "A"),
            ("nobody answers", ". . .", "Silence"),
            ("one answers", ". A0 .", "A"),
            ("the one that is cut off is first", "A0 B1 B1", "B"),
            ("the one that is cut off is last", "B1 B1 A0", "B"),
            ("the one that made it the master is alone for a moment", "A0 B1 A0", "B"),
            ("a majority is silent", "A0 B1 .", "B"),
            ("no epochs: the most", "A- B- B-", "B"),
            ("no epochs, one to one", "A- B- .", "Tie"),
            ("no epochs, one to one, and one is known", "A- A- A- | A- B- .", "A"),
            ("some epochs", "A0 B- B-", "B"),
            ("one epoch, two masters", "A0 A0 B0", "A"),
            ("a new epoch, as a Sentinel changes its mind", "A0 A0 A0 | B0 A0 A0 | B1 B1 A0", "B"),
        ];
        for (what, history, expected) in cases {
            assert_eq!(believed(history), expected, "{what}");
        }
    }

    #[test]
    fn a_master_that_was_replaced_stays_so_until_a_greater_epoch_names_it() {
        let cases = [
            ("the cut off one is all that is left", "A0 B1 B1 | A0 . .", "Replaced"),
            ("for as long as it lasts", &["A0 B1 B1", &["A0 . ."; 20].join(" | ")].join(" | "), "Replaced"),
            ("announced, and nobody else has heard", "A0 A0 A0 | A>B | A0 A0 B1", "B"),
            ("announced, and whoever did so is silent", "A0 A0 A0 | A>B | A0 A0 .", "Replaced"),
            ("announced, without epochs", "A- A- A- | A>B | A- A- B-", "B"),
            ("announced before anything was asked", "A>B | A- A- B-", "B"),
            ("there and back", "A0 A0 A0 | B1 B1 B1 | A2 A2 A2", "A"),
            ("there and back, one is behind", "A0 A0 A0 | B1 B1 B1 | A2 B1 B1", "A"),
            ("there and back, announced, without epochs", "A- A- A- | A>B | B- B- B- | B>A | B- A- B-", "A"),
            ("announced by one that is behind", "A0 A0 A0 | B1 B1 B1 | C2 C2 C2 | A>B | C2 B1 .", "C"),
            ("epochs become known", "A- A- A- | B- B- B- | B1 B1 B1 | A0 B1 . | A2 A2 B1", "A"),
        ];
        for (what, history, expected) in cases {
            assert_eq!(believed(history), expected, "{what}");
        }
    }

    #[test]
    fn sentinels_that_count_anew_are_believed() {
        let again = |step: &str, count: usize| vec![step; count].join(" | ");
        let cases = [
            ("the same master", "A7 A7 A7 | A0 A0 A0 | B1 B1 B1".to_owned(), "B"),
            ("an older one, at first", format!("A6 A6 A6 | B7 B7 B7 | {}", again("A0 A0 A0", 5)), "Replaced"),
            ("an older one, for long", format!("A6 A6 A6 | B7 B7 B7 | {}", again("A0 A0 .", 6)), "A"),
            ("but not while one disagrees", format!("A6 A6 A6 | B7 B7 B7 | {}", again("A0 A0 B7", 9)), "B"),
            ("nor one alone", format!("A6 A6 A6 | B7 B7 B7 | {}", again("A0 . .", 9)), "Replaced"),
            (
                "nor with interruptions",
                format!("A6 A6 A6 | B7 B7 B7 | {} | A0 . . | A0 A0 A0", again("A0 A0 A0", 5)),
                "Replaced",
            ),
        ];
        for (what, history, expected) in cases {
            assert_eq!(believed(&history), expected, "{what}");
        }
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut belief = MasterBelief::default();
        for port in 0..200 {
            let master = |port| ServerAddress { host: "m".to_owned(), port };
            belief.replaced(&master(port), &master(port + 1));
        }
        assert_eq!(belief.replaced.len(), REPLACED_MAX);
    }

    #[test]
    fn who_names_whom_is_told() {
        let told = |text: &str| disagreement(&opinions(text).0);
        assert_eq!(told("A0 A0 A0"), None);
        assert_eq!(told(". . A0"), None);
        assert_eq!(told("A0 B1 B1").as_deref(), Some("s:0 names A:1 (epoch 0); s:1, s:2 name B:1 (epoch 1)"));
        assert_eq!(told("A- B- .").as_deref(), Some("s:0 names A:1; s:1 names B:1"));
    }
}
