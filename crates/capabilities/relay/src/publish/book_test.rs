use std::collections::HashMap;

use proptest::prelude::*;

use super::book::*;
use super::*;

const TTL: Duration = Duration::from_secs(40);
const KEY: &str = "drone:a";

/// Content of a Redis, as the steps leave it: values by key, without times.
#[derive(Default)]
struct Stand(HashMap<String, String>);

impl Stand {
    fn take(&mut self, step: &KeyStep) -> KeyOutcome {
        let stands = self.0.get(&*step.key).cloned();
        let is = |value: &Arc<str>| stands.as_deref() == Some(&**value);
        let is_older = |older: &[Arc<str>]| older.iter().any(is);
        match &step.action {
            KeyAction::Put { value, .. } => {
                self.0.insert(step.key.to_string(), value.to_string());
                KeyOutcome::Done
            }
            KeyAction::Refresh { value, older, .. } if stands.is_none() || is(value) || is_older(older) => {
                self.0.insert(step.key.to_string(), value.to_string());
                KeyOutcome::Done
            }
            KeyAction::Remove { value, older } if is(value) || is_older(older) => {
                self.0.remove(&*step.key);
                KeyOutcome::Done
            }
            KeyAction::Refresh { .. } | KeyAction::Remove { .. } => KeyOutcome::Others,
        }
    }

    fn of(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }
}

/// Has everything done that is to be done now.
fn drain(book: &mut WishedKeys, stand: &mut Stand, now: Instant) -> Vec<KeyStep> {
    let mut all = Vec::new();
    loop {
        let steps = book.take(now, 3);
        if steps.is_empty() {
            return all;
        }
        for step in steps {
            let outcome = stand.take(&step);
            book.done(&step, outcome, now);
            all.push(step);
        }
    }
}

fn actions(steps: &[KeyStep]) -> Vec<&'static str> {
    steps.iter().map(|step| step.action.name()).collect()
}

#[derive(Clone, Debug)]
enum Event {
    Put(u8),
    Remove(u8),
    Keep,
    LetGo,
    /// Steps are sent.
    Send,
    /// They arrive and are answered.
    Answer,
    /// They arrive, or do not, and nobody says so.
    Lose(bool),
    Pass(u8),
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        3 => (0..4_u8).prop_map(Event::Put),
        3 => (0..4_u8).prop_map(Event::Remove),
        1 => Just(Event::Keep),
        1 => Just(Event::LetGo),
        3 => Just(Event::Send),
        3 => Just(Event::Answer),
        1 => any::<bool>().prop_map(Event::Lose),
        1 => (0..10_u8).prop_map(Event::Pass),
    ];
    proptest::collection::vec(event, 0..40)
}

proptest! {
    #[test]
    fn of_all_wishes_for_a_key_the_last_stands(events in events()) {
        let mut now = Instant::now();
        let (mut book, mut stand) = (WishedKeys::new(TTL, 4), Stand::default());
        let mut wished: Option<String> = None;
        let mut under_way: Vec<KeyStep> = Vec::new();
        for event in events {
            match event {
                Event::Put(value) => {
                    wished = Some(value.to_string());
                    book.put(KEY, &value.to_string(), now).unwrap();
                }
                Event::Remove(value) => {
                    wished = wished.filter(|wished| *wished != value.to_string());
                    book.remove(KEY, &value.to_string(), now).unwrap();
                }
                Event::Keep => book.keep(KEY, now),
                Event::LetGo => book.let_go(KEY, now),
                Event::Send => under_way.extend(book.take(now, 3)),
                Event::Answer => for step in under_way.drain(..) {
                    let outcome = stand.take(&step);
                    book.done(&step, outcome, now);
                },
                Event::Lose(arrive) => {
                    let steps = std::mem::take(&mut under_way);
                    if arrive {
                        for step in &steps {
                            stand.take(step);
                        }
                    }
                    book.lost(&steps);
                    book.look_again();
                }
                // Together less than the time to live.
                Event::Pass(ms) => now += Duration::from_millis(u64::from(ms)),
            }
            prop_assert!(under_way.len() <= 1, "two steps for one key at a time: {:?}", under_way);
        }
        book.lost(&under_way);
        drain(&mut book, &mut stand, now);
        prop_assert_eq!(stand.of(KEY), wished.as_deref());
        prop_assert_eq!(book.standing(), usize::from(wished.is_some()));
        prop_assert_eq!(book.waiting(), 0);
    }
}

#[test]
fn wishes_for_one_key_come_to_the_last() {
    // What, what is wished (`+` puts, `-` removes) and when it is sent (`!`), and what stands.
    let cases: [(&str, &str, Option<&str>); 9] = [
        ("put", "+A!", Some("A")),
        ("replaced before it was sent", "+A-A+B!", Some("B")),
        ("replaced after it was sent", "+A!-A+B!", Some("B")),
        ("each sent", "+A!-A!+B!", Some("B")),
        ("the end of the old comes late", "+A!+B!-A!", Some("B")),
        ("the end of the old comes before the new is sent", "+A!+B-A!", Some("B")),
        ("removed", "+A!-A!", None),
        ("removed, both", "+A!+B-B!", None),
        ("removed before it was sent", "+A-A!", None),
    ];
    for (what, wishes, expected) in cases {
        let (mut book, mut stand, now) = (WishedKeys::new(TTL, 4), Stand::default(), Instant::now());
        let mut wishes = wishes.chars();
        while let Some(wish) = wishes.next() {
            match wish {
                '!' => {
                    drain(&mut book, &mut stand, now);
                }
                '+' => book.put(KEY, &wishes.next().unwrap().to_string(), now).unwrap(),
                _ => book.remove(KEY, &wishes.next().unwrap().to_string(), now).unwrap(),
            }
        }
        assert_eq!(stand.of(KEY), expected, "{what}");
    }
}

#[test]
fn a_key_is_refreshed_within_half_its_time_only_while_it_is_kept() {
    let (mut book, mut stand, mut now) = (WishedKeys::new(TTL, 4), Stand::default(), Instant::now());
    book.put(KEY, "A", now).unwrap();
    assert_eq!(actions(&drain(&mut book, &mut stand, now)), ["put"]);
    assert!(book.take(now + TTL / 2, 3).is_empty(), "it is not kept");
    book.keep(KEY, now);
    for _ in 0..3 {
        assert!(book.take(now + TTL * 3 / 8 - Duration::from_millis(1), 3).is_empty());
        now += TTL / 2;
        assert_eq!(actions(&drain(&mut book, &mut stand, now)), ["refresh"]);
    }
    book.let_go(KEY, now);
    assert!(drain(&mut book, &mut stand, now + TTL / 2).is_empty(), "it was let go");
    // A stream comes just before the end.
    now += TTL - Duration::from_millis(1);
    book.keep(KEY, now);
    assert_eq!(actions(&drain(&mut book, &mut stand, now)), ["refresh"]);
}

#[test]
fn anothers_value_is_left_alone_until_it_is_gone() {
    let (mut book, mut stand, mut now) = (WishedKeys::new(TTL, 4), Stand::default(), Instant::now());
    book.put(KEY, "A", now).unwrap();
    book.keep(KEY, now);
    drain(&mut book, &mut stand, now);
    stand.0.insert(KEY.to_owned(), "another's".to_owned());
    for _ in 0..3 {
        now += TTL / 2;
        assert_eq!(actions(&drain(&mut book, &mut stand, now)), ["refresh"], "at its rhythm");
        assert_eq!((stand.of(KEY), book.standing()), (Some("another's"), 0));
    }
    stand.0.clear();
    now += TTL / 2;
    assert_eq!(actions(&drain(&mut book, &mut stand, now)), ["refresh"]);
    assert_eq!((stand.of(KEY), book.standing()), (Some("A"), 1));
    stand.0.insert(KEY.to_owned(), "another's".to_owned());
    book.remove(KEY, "A", now).unwrap();
    drain(&mut book, &mut stand, now);
    assert_eq!((stand.of(KEY), book.standing()), (Some("another's"), 0));
    assert_eq!(book.next_at(), None, "nothing is left of it");
}

#[test]
fn anothers_value_that_was_seen_before_the_stream_came_is_waited_for() {
    let (mut book, mut stand, now) = (WishedKeys::new(TTL, 4), Stand::default(), Instant::now());
    book.put(KEY, "A", now).unwrap();
    drain(&mut book, &mut stand, now);
    stand.0.insert(KEY.to_owned(), "another's".to_owned());
    book.look_again();
    drain(&mut book, &mut stand, now);
    assert_eq!((stand.of(KEY), book.standing()), (Some("another's"), 0));
    book.keep(KEY, now);
    stand.0.clear();
    drain(&mut book, &mut stand, now + TTL / 2);
    assert_eq!((stand.of(KEY), book.standing()), (Some("A"), 1));
}

#[test]
fn what_was_let_go_before_it_was_written_yields_to_what_is_newer() {
    for (stands, expected) in [(Some("another's"), "another's"), (None, "B"), (Some("A"), "B")] {
        let (mut book, mut stand, now) = (WishedKeys::new(TTL, 4), Stand::default(), Instant::now());
        book.put(KEY, "A", now).unwrap();
        drain(&mut book, &mut stand, now);
        stand.0.clear();
        stand.0.extend(stands.map(|value| (KEY.to_owned(), value.to_owned())));
        book.put(KEY, "B", now).unwrap();
        book.keep(KEY, now);
        book.let_go(KEY, now);
        assert_eq!(actions(&drain(&mut book, &mut stand, now)), ["refresh"]);
        assert_eq!(stand.of(KEY), Some(expected));
        assert_eq!(book.standing(), usize::from(expected == "B"));
        // The agent comes back to this relay, and says so.
        book.put(KEY, "C", now).unwrap();
        assert_eq!(actions(&drain(&mut book, &mut stand, now)), ["put"]);
        assert_eq!((stand.of(KEY), book.standing()), (Some("C"), 1));
    }
}

#[test]
fn a_value_of_our_own_that_came_late_is_put_right() {
    let (mut book, mut stand, now) = (WishedKeys::new(TTL, 4), Stand::default(), Instant::now());
    for value in ["A", "B"] {
        book.put(KEY, value, now).unwrap();
        book.keep(KEY, now);
        drain(&mut book, &mut stand, now);
    }
    stand.0.insert(KEY.to_owned(), "A".to_owned());
    drain(&mut book, &mut stand, now + TTL / 2);
    assert_eq!(stand.of(KEY), Some("B"));
}

#[test]
fn what_was_wished_in_an_outage_is_kept_small_and_not_done_too_late() {
    let (mut book, mut stand, now) = (WishedKeys::new(TTL, 4), Stand::default(), Instant::now());
    for round in 0..1000 {
        book.put(&format!("drone:{round}"), "A", now).unwrap();
    }
    assert_eq!(book.waiting(), 4, "the oldest that nobody keeps have made room");
    for round in 996..1000 {
        book.keep(&format!("drone:{round}"), now);
    }
    assert_eq!(book.put("drone:x", "A", now), Err(BookFull), "kept ones make no room");
    book.let_go("drone:996", now);
    let late = now + TTL + Duration::from_millis(1);
    let steps = drain(&mut book, &mut stand, late);
    assert_eq!(stand.of("drone:996"), None, "its session has ended long ago");
    assert_eq!(steps.len(), 3);
    let whole = |step: &KeyStep| matches!(step.action, KeyAction::Put { ttl, .. } if ttl == TTL);
    assert!(steps.iter().all(whole), "{steps:?}");
    book.put("drone:997", "B", late).unwrap();
    let part = TTL / 4;
    let steps = drain(&mut book, &mut stand, late + part);
    assert!(matches!(steps[0].action, KeyAction::Put { ttl, .. } if ttl == TTL - part), "{steps:?}");
}

#[test]
fn what_nobody_keeps_is_forgotten() {
    let (mut book, mut stand, now) = (WishedKeys::new(TTL, 10), Stand::default(), Instant::now());
    for key in ["a", "b", "c"] {
        book.put(key, "A", now).unwrap();
    }
    book.keep("c", now);
    drain(&mut book, &mut stand, now);
    book.remove("b", "A", now).unwrap();
    drain(&mut book, &mut stand, now);
    assert_eq!(book.standing(), 2);
    drain(&mut book, &mut stand, now + TTL * 2);
    assert_eq!(book.standing(), 1, "the kept one");
}

#[test]
fn what_was_refused_is_tried_again_later() {
    let (mut book, now) = (WishedKeys::new(TTL, 4), Instant::now());
    book.put(KEY, "A", now).unwrap();
    let steps = book.take(now, 3);
    book.done(&steps[0], KeyOutcome::Refused, now);
    assert!(book.take(now, 3).is_empty());
    assert_eq!(actions(&book.take(book.next_at().unwrap(), 3)), ["put"]);
}

#[test]
fn refreshes_of_many_are_spread_and_come_in_pieces() {
    let many = 10_000;
    let (mut book, mut stand, now) = (WishedKeys::new(TTL, many), Stand::default(), Instant::now());
    for n in 0..many {
        let key = format!("drone:{n}");
        book.put(&key, "A", now).unwrap();
        book.keep(&key, now);
    }
    drain(&mut book, &mut stand, now);
    assert_eq!(book.standing(), many);
    let second = Duration::from_secs(1);
    let mut refreshed = 0;
    for tick in 0..=5 {
        let steps = drain(&mut book, &mut stand, now + TTL * 3 / 8 + second * tick);
        assert!(steps.len() < many / 4, "{} in second {tick}", steps.len());
        refreshed += steps.len();
    }
    assert_eq!(refreshed, many);
}

#[test]
fn at_the_end_all_that_is_ours_goes() {
    let (mut book, mut stand, now) = (WishedKeys::new(TTL, 4), Stand::default(), Instant::now());
    for key in ["a", "b", "c"] {
        book.put(key, "A", now).unwrap();
        book.keep(key, now);
    }
    drain(&mut book, &mut stand, now);
    stand.0.insert("c".to_owned(), "another's".to_owned());
    book.put("d", "A", now).unwrap();
    book.close(now);
    book.put("e", "A", now).unwrap();
    drain(&mut book, &mut stand, now);
    assert_eq!(stand.0, HashMap::from([("c".to_owned(), "another's".to_owned())]));
    assert_eq!(book.take(now, 3), []);
}
