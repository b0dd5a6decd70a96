//! Decisions about a peer's record, by the silence of the peer.

use std::collections::BTreeMap;
use std::time::Duration;

use omnirelay_core::labels::LABELS_MAX;
use omnirelay_core::time::Millis;
use omnirelay_wire::pb::omnirelay::mesh::control::v1::peer::Status;
use omnirelay_wire::pb::omnirelay::store::v1::PeerValue;

/// Verdict on a peer that stays silent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerVerdict {
    Suspect,
    Dead,
    /// Its record is removed.
    Forgotten,
}

/// State of a silent peer: its status, and since when it is silent.
#[derive(Clone, Copy, Debug)]
pub struct PeerSilence {
    pub status: Status,
    /// Since when it has this status.
    pub since: Millis,
    /// Until when its session lives or lived.
    pub silent_since: Millis,
    pub last_seen: Millis,
    /// Its record stays, whatever becomes of it.
    pub kept: bool,
}

/// Times of silence after which verdicts are due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SilencePatience {
    /// After the last sign of life.
    pub dead_after: Duration,
    /// After it died or left.
    pub forget_after: Duration,
}

/// The next verdict on a peer if it stays as silent as it is, and from when on; `None`: it stays what it is.
///
/// `Suspect` from the end of its session on, `Dead` when it was last heard of so long ago.
pub fn next_verdict(peer: &PeerSilence, patience: SilencePatience) -> Option<(PeerVerdict, Millis)> {
    let (verdict, at) = match peer.status {
        Status::Alive | Status::Unspecified => (PeerVerdict::Suspect, peer.silent_since),
        Status::Suspect => (PeerVerdict::Dead, peer.last_seen.after(patience.dead_after)),
        Status::Dead | Status::Left if peer.kept => return None,
        Status::Dead | Status::Left => (PeerVerdict::Forgotten, peer.since.after(patience.forget_after)),
    };
    Some((verdict, at.max(peer.silent_since)))
}

/// Whether an operator may remove the record of a peer with this status.
pub fn may_forget(status: Status) -> bool {
    match status {
        Status::Dead | Status::Left => true,
        Status::Unspecified | Status::Alive | Status::Suspect => false,
    }
}

/// Whether an operator may say of a peer that it has left, although it did not say so itself.
///
/// That a peer is suspect or dead was written when its session was over, and one that is over is never renewed: who comes
/// back writes its record anew.
pub fn may_force_leave(status: Status) -> bool {
    match status {
        Status::Suspect | Status::Dead | Status::Left => true,
        Status::Unspecified | Status::Alive => false,
    }
}

/// Puts together what was `lost` of a peer's record and what was written of it since: `base` is what the
/// registry fell back to, `now` what it is. What nobody has touched since is as it was lost.
pub fn restore(lost: &PeerValue, base: &PeerValue, now: &PeerValue) -> PeerValue {
    // All fields are named: whoever adds one has to say what becomes of it.
    let PeerValue {
        status,
        status_reason,
        status_since,
        cordoned,
        cordon_reason,
        draining,
        metadata: _,
        session: _,
        restored_epoch: _,
        restored_version: _,
        ..
    } = now;
    let mut restored = lost.clone();
    if *status != base.status {
        restored.status = *status;
        restored.status_reason.clone_from(status_reason);
        restored.status_since = *status_since;
    }
    if (*cordoned, cordon_reason) != (base.cordoned, &base.cordon_reason) {
        restored.cordoned = *cordoned;
        restored.cordon_reason.clone_from(cordon_reason);
    }
    if *draining != base.draining {
        restored.draining = *draining;
        restored.draining_since = now.draining_since;
        (restored.restores_from, restored.restores_until) = (now.restores_from, now.restores_until);
    }
    let labels = |value: &PeerValue| value.metadata.as_ref().map(|says| says.labels.clone());
    let [was, base, now_has] = [lost, base, now].map(|value| labels(value).unwrap_or_default());
    let merged = restore_labels(was, &base, &now_has);
    let version = |value: &PeerValue| value.metadata.as_ref().map_or(0, |says| says.metadata_version);
    let says = restored.metadata.get_or_insert_default();
    says.metadata_version = version(lost).max(version(now) + u64::from(merged != now_has));
    says.labels = merged;
    restored
}

/// As [`restore`], of what operators ordered alone: what the peer says of itself, and how it stands, is as it is
/// `now`.
pub fn restore_orders(lost: &PeerValue, base: &PeerValue, now: &PeerValue) -> PeerValue {
    let PeerValue {
        cordoned,
        cordon_reason,
        draining,
        draining_since,
        restores_from,
        restores_until,
        metadata,
        ..
    } = restore(lost, base, now);
    let restored = metadata.unwrap_or_default();
    let mut says = now.metadata.clone().unwrap_or_default();
    (says.labels, says.metadata_version) = (restored.labels, restored.metadata_version);
    PeerValue {
        status: now.status,
        status_reason: now.status_reason.clone(),
        status_since: now.status_since,
        cordoned,
        cordon_reason,
        draining,
        draining_since,
        restores_from,
        restores_until,
        metadata: Some(says),
        session: now.session,
        restored_epoch: now.restored_epoch,
        restored_version: now.restored_version,
        rival: now.rival.clone(),
        unknown_fields: Default::default(),
    }
    .in_place_of(now)
}

type Labels = BTreeMap<String, String>;

/// Each label as it was lost, unless it was set or removed since.
fn restore_labels(lost: Labels, base: &Labels, now: &Labels) -> Labels {
    let mut merged = lost;
    for key in base.keys().chain(now.keys()).filter(|key| base.get(*key) != now.get(*key)) {
        match now.get(key) {
            Some(value) => merged.insert(key.clone(), value.clone()),
            None => merged.remove(key),
        };
    }
    // Two full sets may come to more than one may be; what is there now stays.
    let surplus = merged.len().saturating_sub(LABELS_MAX);
    let old: Vec<_> = merged.keys().filter(|key| !now.contains_key(*key)).take(surplus).cloned().collect();
    for key in old {
        merged.remove(&key);
    }
    merged
}

/// One line for what changed, such as `cordoned: false -> true`; nothing when it is the same.
pub fn difference<T: PartialEq + std::fmt::Display>(name: &str, before: T, after: T) -> Option<String> {
    (before != after).then(|| format!("{name}: {before} -> {after}"))
}

#[cfg(test)]
mod tests {
    use omnirelay_wire::pb::omnirelay::mesh::control::v1::PeerMetadata;

    use super::*;

    #[test]
    fn silence_makes_suspect_then_dead_then_forgotten() {
        let alive = PeerSilence {
            status: Status::Alive,
            since: Millis(500),
            silent_since: Millis(3_000),
            last_seen: Millis(1_000),
            kept: false,
        };
        let of = |status| PeerSilence { status, ..alive };
        let patience =
            SilencePatience { dead_after: Duration::from_secs(10), forget_after: Duration::from_secs(60) };
        let cases = [
            ("when the session is over", alive, Some((PeerVerdict::Suspect, 3_000))),
            ("one that says nothing of itself", of(Status::Unspecified), Some((PeerVerdict::Suspect, 3_000))),
            ("not heard of for deadAfter", of(Status::Suspect), Some((PeerVerdict::Dead, 11_000))),
            (
                "never before its session is over",
                PeerSilence { silent_since: Millis(20_000), ..of(Status::Suspect) },
                Some((PeerVerdict::Dead, 20_000)),
            ),
            ("dead for forgetAfter", of(Status::Dead), Some((PeerVerdict::Forgotten, 60_500))),
            ("gone for forgetAfter", of(Status::Left), Some((PeerVerdict::Forgotten, 60_500))),
            ("the dead that are kept", PeerSilence { kept: true, ..of(Status::Dead) }, None),
            ("the departed that are kept", PeerSilence { kept: true, ..of(Status::Left) }, None),
            (
                "a cordon spares nobody",
                PeerSilence { kept: true, ..alive },
                Some((PeerVerdict::Suspect, 3_000)),
            ),
        ];
        for (what, peer, expected) in cases {
            let expected = expected.map(|(verdict, at)| (verdict, Millis(at)));
            assert_eq!(next_verdict(&peer, patience), expected, "{what}");
        }
    }

    #[test]
    fn only_the_silent_can_be_forced_to_leave() {
        let forced: Vec<_> =
            [Status::Unspecified, Status::Alive, Status::Suspect, Status::Dead, Status::Left]
                .into_iter()
                .filter(|status| may_force_leave(*status))
                .collect();
        assert_eq!(forced, [Status::Suspect, Status::Dead, Status::Left]);
    }

    #[test]
    fn only_the_dead_and_the_departed_may_be_forgotten() {
        let forgettable: Vec<_> = [Status::Alive, Status::Suspect, Status::Dead, Status::Left]
            .into_iter()
            .filter(|status| may_forget(*status))
            .collect();
        assert_eq!(forgettable, [Status::Dead, Status::Left]);
    }

    fn said(cordoned: bool, draining: bool, labels: &[(&str, &str)]) -> PeerValue {
        let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let cordon_reason = if cordoned { "disk" } else { "" }.to_owned();
        let metadata = Some(PeerMetadata { labels, metadata_version: 1, ..Default::default() });
        PeerValue { cordoned, cordon_reason, draining, metadata, ..Default::default() }
    }

    #[test]
    fn what_was_lost_is_restored_beside_what_was_changed_since() {
        let plain = || said(false, false, &[]);
        let cases = [
            ("nothing since", said(true, true, &[("a", "1")]), plain(), plain(), (true, true, "a=1")),
            (
                "a label since",
                said(true, false, &[]),
                plain(),
                said(false, false, &[("b", "2")]),
                (true, false, "b=2"),
            ),
            (
                "both",
                said(true, false, &[("a", "1")]),
                plain(),
                said(false, true, &[("b", "2")]),
                (true, true, "a=1 b=2"),
            ),
            (
                "what is uncordoned, unset or set anew since stays so",
                said(true, false, &[("a", "1"), ("b", "2")]),
                said(true, false, &[("a", "1"), ("b", "1")]),
                said(false, false, &[("b", "3")]),
                (false, false, "b=3"),
            ),
            (
                "a removal that was lost is repeated",
                said(false, false, &[]),
                said(true, true, &[("a", "1")]),
                said(true, true, &[("a", "1")]),
                (false, false, ""),
            ),
        ];
        for (what, lost, base, now, expected) in cases {
            let restored = restore(&lost, &base, &now);
            let says = restored.metadata.unwrap_or_default();
            let labels: Vec<_> = says.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
            let labels = labels.join(" ");
            assert_eq!((restored.cordoned, restored.draining, labels.as_str()), expected, "{what}");
            assert_eq!(restored.cordoned, !restored.cordon_reason.is_empty(), "{what}");
        }
    }

    #[test]
    fn two_full_sets_of_labels_come_to_one() {
        let set = |prefix: &str| {
            (0..LABELS_MAX).map(|n| (format!("{prefix}{n}"), String::new())).collect::<Labels>()
        };
        let merged = restore_labels(set("lost"), &Labels::new(), &set("now"));
        assert_eq!(merged, set("now"));
    }
}
