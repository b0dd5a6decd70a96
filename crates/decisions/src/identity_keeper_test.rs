//! Tests of the keeper of an identity, by cases.

use super::*;
use IdentityStep::{
    Issue, MakeAuthority, MakeTokenKey, Rejoin, Renew, RestoreRevocations, RotateIssuer, SayLackingNames,
};

/// A certificate of a day that began at 0 is due at 57,600 and, by what is drawn of it, up to 8,640 later.
const DAY: i64 = 86_400;
const DUE: i64 = 57_600;

/// A node that cannot issue, in a mesh where all is well, in the middle of a day.
fn scene() -> IdentityScene {
    IdentityScene {
        now: DAY / 2,
        store_now: DAY / 2,
        is_entered: true,
        is_caught_up: true,
        makes_authority: false,
        is_of_mesh: true,
        authority: Some(AuthorityState {
            can_issue: false,
            issuer: Some((0, 30 * DAY)),
            has_token_key: true,
            has_lost_revocations: false,
            root_since: 0,
        }),
        own: Some(OwnCertificate {
            life: CertificateLife { not_before: 0, not_after: DAY, drawn: 0 },
            verdict: CertificateVerdict::Believed,
            is_revoked: false,
            is_of_newest_root: true,
            is_by_newest_issuer: true,
            is_by_itself: true,
            lacks_names: false,
        }),
        move_within: 60,
        renewed_ago: None,
    }
}

fn with(change: impl Fn(&mut IdentityScene)) -> IdentityScene {
    let mut scene = scene();
    change(&mut scene);
    scene
}

fn with_own(change: impl Fn(&mut OwnCertificate)) -> IdentityScene {
    with(|scene| scene.own.iter_mut().for_each(&change))
}

/// The node of the scene, where it can issue.
fn issuer(change: impl Fn(&mut IdentityScene, &mut AuthorityState)) -> IdentityScene {
    with(|scene| {
        let mut authority = scene.authority.take().unwrap();
        authority.can_issue = true;
        change(scene, &mut authority);
        scene.authority = Some(authority);
    })
}

fn without_authority(entered: bool, caught_up: bool, makes: bool) -> IdentityScene {
    with(|scene| {
        (scene.authority, scene.own) = (None, None);
        (scene.is_entered, scene.is_caught_up, scene.makes_authority) = (entered, caught_up, makes);
    })
}

#[track_caller]
fn check(cases: &[(&str, IdentityScene, &[IdentityStep], Option<Duration>)]) {
    for (what, scene, steps, again) in cases {
        let decided = decide(scene);
        assert_eq!((&decided.steps[..], decided.again), (*steps, *again), "{what}");
    }
}

fn seconds(seconds: i64) -> Option<Duration> {
    Some(Duration::from_secs(seconds.unsigned_abs()))
}

#[test]
fn an_authority_is_made_by_whoever_is_to_make_it_and_knows_that_there_is_none() {
    check(&[
        ("it makes it", without_authority(true, true, true), &[MakeAuthority], None),
        ("it has not read all", without_authority(true, false, true), &[], None),
        ("it is not entered yet", without_authority(false, true, true), &[], Some(ENTERED_WITHIN)),
        ("it is another's", without_authority(true, true, false), &[], None),
        ("it is another's, and it is not entered", without_authority(false, true, false), &[], None),
    ]);
}

#[test]
fn whoever_can_issue_keeps_the_authority() {
    let lacks = |scene: &mut IdentityScene, authority: &mut AuthorityState| {
        (scene.now, scene.store_now) = (20 * DAY, 20 * DAY);
        scene.own.as_mut().unwrap().life =
            CertificateLife { not_before: 20 * DAY, not_after: 21 * DAY, drawn: 0 };
        (authority.has_token_key, authority.has_lost_revocations) = (false, true);
    };
    let rests = seconds(DUE);
    check(&[
        ("all of it", issuer(lacks), &[RestoreRevocations, RotateIssuer, MakeTokenKey], rests),
        (
            "the store's clock says that the issuer is young",
            issuer(|scene, authority| {
                lacks(scene, authority);
                scene.store_now -= 1;
            }),
            &[RestoreRevocations, MakeTokenKey],
            rests,
        ),
        (
            "its own clock says so",
            issuer(|scene, authority| {
                lacks(scene, authority);
                scene.now -= 1;
            }),
            &[RestoreRevocations, MakeTokenKey],
            seconds(DUE + 1),
        ),
        (
            "the root's key is elsewhere",
            issuer(|scene, authority| {
                lacks(scene, authority);
                authority.issuer = None;
            }),
            &[RestoreRevocations, MakeTokenKey],
            rests,
        ),
        (
            "it is not entered yet",
            issuer(|scene, authority| {
                lacks(scene, authority);
                scene.is_entered = false;
            }),
            &[],
            Some(ENTERED_WITHIN),
        ),
        (
            "it cannot issue",
            issuer(|scene, authority| {
                lacks(scene, authority);
                authority.can_issue = false;
            }),
            &[SayLackingNames],
            rests,
        ),
        (
            "files say who it is",
            issuer(|scene, authority| {
                lacks(scene, authority);
                (scene.is_of_mesh, scene.own) = (false, None);
            }),
            &[RestoreRevocations, RotateIssuer, MakeTokenKey],
            Some(RETRY_AFTER),
        ),
    ]);
}

#[test]
fn a_certificate_is_renewed_in_time_and_by_whoever_can() {
    let at = |now: i64| with(|scene| scene.now = now);
    let alone = |scene: IdentityScene| IdentityScene { own: None, ..scene };
    let drawn = |now: i64, drawn: u8| {
        let mut scene = with_own(|own| own.life.drawn = drawn);
        scene.now = now;
        scene
    };
    check(&[
        ("a second before", at(DUE - 1), &[SayLackingNames], seconds(1)),
        ("at two thirds", at(DUE), &[SayLackingNames, Renew], None),
        ("not all at once", drawn(DUE, 255), &[SayLackingNames], seconds(DAY / 10)),
        ("the last of all", drawn(DUE + DAY / 10, 255), &[SayLackingNames, Renew], None),
        ("in its last second", at(DAY), &[SayLackingNames, Renew], None),
        ("once it has ended", at(DAY + 1), &[SayLackingNames, Rejoin], None),
        ("as long as it proves who it was", at(DAY + GRACE), &[SayLackingNames, Rejoin], None),
        ("after that", at(DAY + GRACE + 1), &[SayLackingNames], None),
        ("it has none", alone(scene()), &[], None),
        ("it has none, and can issue", alone(issuer(|_, _| ())), &[Issue], None),
        ("it can issue", issuer(|scene, _| scene.now = DUE), &[Issue], None),
    ]);
}

#[test]
fn a_certificate_is_judged_before_its_age_is() {
    let judged = |verdict| with_own(move |own| own.verdict = verdict);
    let revoked = |verdict| with_own(move |own| (own.verdict, own.is_revoked) = (verdict, true));
    let by_issuer =
        |change: fn(&mut OwnCertificate)| issuer(move |scene, _| scene.own.iter_mut().for_each(change));
    let moved = |drawn: u8, now: i64| {
        let mut scene = with_own(|own| (own.is_of_newest_root, own.life.drawn) = (false, drawn));
        (scene.now, scene.authority.as_mut().unwrap().root_since) = (now, 1_000);
        scene
    };
    let rests = seconds(DUE - DAY / 2);
    check(&[
        ("what nobody believes", judged(CertificateVerdict::Refused), &[SayLackingNames, Renew], None),
        (
            "what was revoked",
            revoked(CertificateVerdict::Revoked),
            &[SayLackingNames],
            seconds(i64::MAX - DAY / 2),
        ),
        ("what was revoked and has ended", revoked(CertificateVerdict::Refused), &[SayLackingNames], None),
        ("lacking names", by_issuer(|own| own.lacks_names = true), &[Issue], None),
        ("by another node", by_issuer(|own| own.is_by_itself = false), &[Issue], None),
        (
            "lacking names, of a node that cannot issue",
            with_own(|own| own.lacks_names = true),
            &[SayLackingNames],
            rests,
        ),
        (
            "by another node, as it cannot issue",
            with_own(|own| own.is_by_itself = false),
            &[SayLackingNames],
            rests,
        ),
        ("of the root before, the first", moved(0, 1_000), &[SayLackingNames, Renew], None),
        ("of the root before, the last", moved(255, 1_000), &[SayLackingNames], seconds(60)),
        ("of the root before, in its turn", moved(255, 1_060), &[SayLackingNames, Renew], None),
    ]);
}

/// A clock may be so wrong that whatever is issued has ended by it.
#[test]
fn a_new_certificate_is_used_for_a_while_whatever_the_clock_says() {
    let ended = |ago: u64, change: fn(&mut OwnCertificate)| {
        let mut scene = with_own(|own| {
            own.verdict = CertificateVerdict::Refused;
            change(own);
        });
        (scene.now, scene.renewed_ago) = (2 * DAY, Some(Duration::from_secs(ago)));
        scene
    };
    check(&[
        ("it is new", ended(1, |_| ()), &[SayLackingNames], seconds(599)),
        ("it was used", ended(600, |_| ()), &[SayLackingNames, Rejoin], None),
        (
            "the issuer is another by now",
            ended(1, |own| own.is_by_newest_issuer = false),
            &[SayLackingNames, Rejoin],
            None,
        ),
        (
            "it begins later, by the clock that would date the next",
            ended(1, |own| (own.life.not_before, own.life.not_after) = (3 * DAY, 4 * DAY)),
            &[SayLackingNames, Renew],
            None,
        ),
    ]);
}

#[test]
fn a_renewal_is_behind_a_tenth_of_a_life_after_it_was_due() {
    for drawn in [0, 128, 255] {
        let life = CertificateLife { not_before: 0, not_after: DAY, drawn };
        let last = life.renewal() + DAY / 10;
        assert_eq!((life.is_behind(last), life.is_behind(last + 1)), (false, true), "{drawn}");
    }
}
