//! Tests of the ids of workers: whose they are, how many there may be, and what is remembered of them.

use super::*;

const LIVES: Duration = Duration::from_secs(10);

fn at(seconds: u64) -> Millis {
    Millis(seconds * 1000)
}

fn who(name: &str) -> Arc<str> {
    name.into()
}

/// Counted anew.
fn check(ids: &WorkerIdOwners) {
    let mut living = 0;
    for (principal, counts) in &ids.counts {
        let own = || ids.of.iter().filter(|(_, owner)| owner.principal == *principal);
        let standing = |standing| own().filter(|(_, owner)| owner.standing == standing).count();
        assert_eq!(counts.live, standing(WorkerIdStanding::Live));
        assert_eq!(counts.left, standing(WorkerIdStanding::Left));
        assert_eq!(counts.heard.len(), own().count());
        assert_eq!(counts.workers.values().sum::<usize>(), counts.live);
        assert!(ids.by_count.contains(&(counts.heard.len(), principal.clone())));
        living += usize::from(counts.live > 0);
    }
    assert_eq!((ids.living, ids.by_count.len()), (living, ids.counts.len()));
    assert_eq!(ids.due.len(), ids.of.len());
}

#[test]
fn an_id_is_of_its_first_principal_until_it_left_or_was_silent() {
    let (ann, bob) = (who("service:a"), who("service:b"));
    let mut ids = WorkerIdOwners::new(LIVES);
    assert_eq!(ids.take("orders", "w", &ann, at(0)), Ok(WorkerIdOwnerBefore::Own));
    assert_eq!(ids.take("orders", "w", &bob, at(1)), Err(WorkerRefusal::OfAnother));
    assert_eq!(ids.take("users", "w", &bob, at(1)), Ok(WorkerIdOwnerBefore::Own), "of another namespace");
    assert_eq!(ids.take("orders", "w", &ann, at(2)), Ok(WorkerIdOwnerBefore::Own));
    assert_eq!(
        ids.take("orders", "w", &bob, at(601)),
        Err(WorkerRefusal::OfAnother),
        "from the last word on"
    );
    assert_eq!(
        ids.take("orders", "w", &bob, at(602)),
        Ok(WorkerIdOwnerBefore::Own),
        "it is of nobody by then"
    );
    assert_eq!(ids.take("orders", "w", &ann, at(603)), Err(WorkerRefusal::OfAnother));
    ids.leave("orders", "w", at(603));
    assert_eq!(ids.take("orders", "w", &ann, at(603)), Ok(WorkerIdOwnerBefore::Over));
    check(&ids);
    let mut long = WorkerIdOwners::new(2 * SILENT_AFTER);
    assert_eq!(long.take("orders", "w", &ann, at(0)), Ok(WorkerIdOwnerBefore::Own));
    assert_eq!(long.take("orders", "w", &bob, at(601)), Err(WorkerRefusal::OfAnother), "it may serve still");
    assert_eq!(long.take("orders", "w", &bob, at(1200)), Ok(WorkerIdOwnerBefore::Own));
}

#[test]
fn nobody_keeps_out_the_workers_of_others() {
    let mut ids = WorkerIdOwners::new(LIVES);
    let greedy = who("service:greedy");
    for number in 0..WORKERS_MAX {
        assert_eq!(ids.take("orders", &number.to_string(), &greedy, at(0)), Ok(WorkerIdOwnerBefore::Own));
    }
    assert_eq!(ids.take("orders", "more", &greedy, at(1)), Err(WorkerRefusal::TooManyWorkers));
    assert_eq!(ids.take("users", "0", &greedy, at(1)), Ok(WorkerIdOwnerBefore::Own), "it is the same worker");
    assert_eq!(ids.take("orders", "w", &who("service:a"), at(1)), Ok(WorkerIdOwnerBefore::Own));
    for number in 0..PRINCIPALS_MAX - 2 {
        let (worker, principal) = (format!("of-{number}"), who(&number.to_string()));
        assert_eq!(
            ids.take("orders", &worker, &principal, at(1)),
            Ok(WorkerIdOwnerBefore::Own),
            "{number} before it"
        );
    }
    assert_eq!(ids.take("orders", "v", &who("service:v"), at(1)), Err(WorkerRefusal::TooManyPrincipals));
    check(&ids);
    assert_eq!(
        ids.take("orders", "v", &who("service:v"), at(11)),
        Ok(WorkerIdOwnerBefore::Own),
        "they are silent"
    );
}

#[test]
fn those_that_have_left_make_room_for_others() {
    let mut ids = WorkerIdOwners::new(LIVES);
    let fleet = who("service:fleet");
    // All of a fleet start anew, one after the other, each under another id.
    for number in 0..LEFT_MAX {
        let worker = number.to_string();
        assert_eq!(ids.take("orders", &worker, &fleet, at(0)), Ok(WorkerIdOwnerBefore::Own), "{number}");
        ids.leave("orders", &worker, at(0));
    }
    check(&ids);
    assert_eq!(ids.take("orders", "more", &fleet, at(1)), Err(WorkerRefusal::TooManyLeft));
    assert_eq!(ids.take("orders", "7", &fleet, at(1)), Ok(WorkerIdOwnerBefore::Own), "it is remembered");
    assert_eq!(
        ids.take("orders", "w", &who("service:a"), at(1)),
        Ok(WorkerIdOwnerBefore::Own),
        "of another principal"
    );
    assert_eq!(
        ids.take("orders", "more", &fleet, at(10)),
        Ok(WorkerIdOwnerBefore::Own),
        "that was a while ago"
    );
    assert_eq!(ids.of.len(), 3, "what has left is forgotten then");
    check(&ids);
}

#[test]
fn those_that_were_silent_for_long_are_forgotten() {
    let mut ids = WorkerIdOwners::new(LIVES);
    for number in 0..100 {
        ids.take("orders", &number.to_string(), &who(&number.to_string()), at(number)).unwrap();
    }
    assert_eq!(ids.take("orders", "w", &who("service:a"), at(650)), Ok(WorkerIdOwnerBefore::Own));
    assert_eq!(ids.of.len(), 50, "those of the last ten minutes");
    check(&ids);
    ids.take("orders", "w", &who("service:a"), at(2000)).unwrap();
    assert_eq!((ids.of.len(), ids.counts.len(), ids.due.len()), (1, 1, 1));
}

#[test]
fn what_is_remembered_is_bounded_and_whoever_has_most_pays() {
    let mut ids = WorkerIdOwners::new(LIVES);
    let (greedy, honest) = (who("service:greedy"), who("service:a"));
    assert_eq!(ids.take("orders", "w", &honest, at(0)), Ok(WorkerIdOwnerBefore::Own));
    for number in 1..IDS_MAX {
        let id = Arc::new(WorkerKey { namespace: "orders".to_owned(), worker: format!("x{number}") });
        let (heard, standing, due) = (Millis(number as u64), WorkerIdStanding::Silent, at(600));
        ids.insert(id, WorkerIdOwner { principal: greedy.clone(), heard, standing, due });
    }
    let now = at(90);
    for number in 0..10 {
        assert_eq!(ids.take("orders", &format!("y{number}"), &greedy, now), Ok(WorkerIdOwnerBefore::Own));
    }
    assert_eq!(ids.of.len(), IDS_MAX);
    assert_eq!(ids.take("orders", "x10", &honest, now), Ok(WorkerIdOwnerBefore::Own), "the oldest are gone");
    assert_eq!(ids.take("orders", "x12", &honest, now), Err(WorkerRefusal::OfAnother));
    assert_eq!(ids.take("orders", "w", &greedy, now), Err(WorkerRefusal::OfAnother));
    check(&ids);
}
