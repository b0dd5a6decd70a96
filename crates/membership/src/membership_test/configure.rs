//! Members that are given another configuration while they run.

use super::*;

fn configured(change: impl FnOnce(&mut Config)) -> Config {
    let mut config = Config { confirmers: 0, ..Config::default() };
    change(&mut config);
    config
}

fn pings(outputs: &[MembershipOutput]) -> usize {
    let is_ping = |output: &&MembershipOutput| match output {
        MembershipOutput::Send { packet, .. } => {
            matches!(Packet::decode(packet).unwrap().message, PacketMessage::Ping { .. })
        }
        MembershipOutput::Event(_)
        | MembershipOutput::Exchange { .. }
        | MembershipOutput::Reach { .. }
        | MembershipOutput::Measured { .. } => false,
    };
    outputs.iter().filter(is_ping).count()
}

#[test]
fn what_recurs_comes_by_the_shorter_of_both_intervals_and_then_by_the_new_one() {
    let mut member = member();
    member.configure(Time::ZERO, configured(|config| config.interval = seconds(60)));
    until(&mut member, seconds(10));
    assert_eq!(pings(&until(&mut member, seconds(50))), 0);
    let shorter = |config: &mut Config| {
        (config.interval, config.ping_timeout) = (Duration::from_millis(100), Duration::from_millis(10));
    };
    member.configure(seconds(50), configured(shorter));
    assert!(pings(&until(&mut member, seconds(51))) >= 3);
    // Nobody answers, so that it takes more time by now.
    member.configure(seconds(51), configured(|config| config.interval = seconds(60)));
    assert!(pings(&until(&mut member, seconds(53))) <= 2);
    assert_eq!(pings(&until(&mut member, seconds(100))), 0);
}

#[test]
fn a_suspect_has_the_longer_of_both_times() {
    let deadline = |member: &Membership| member.members().get("b").unwrap().suspicion.unwrap().deadline;
    let longer = configured(|config| config.suspicion *= 10);
    let shorter = configured(|config| config.suspicion /= 10);
    let mut member = member();
    say(&mut member, Time::ZERO, "b", START, by("c"));
    let old = deadline(&member);
    for config in [shorter.clone(), longer, shorter] {
        member.configure(seconds(1), config);
    }
    // Nothing but the timer of the suspicion, as it was set at first.
    member.timers = Timers::default();
    member.timers.set(old, Timer::Suspicion(name("b")));
    let new = deadline(&member);
    assert!(new >= old + seconds(30), "{old:?} {new:?}");
    assert!(!dies(&until(&mut member, new)));
    assert!(dies(&until(&mut member, new + seconds(2))));
}

#[test]
fn nobody_is_cut_off_for_a_silence_that_was_usual() {
    let mut member = member();
    member.configure(Time::ZERO, configured(|config| config.interval = seconds(60)));
    until(&mut member, seconds(20));
    member.configure(seconds(20), configured(|config| config.interval = seconds(1)));
    until(&mut member, seconds(22));
    assert!(!member.is_cut_off());
    until(&mut member, seconds(25));
    assert!(member.is_cut_off());
}

#[test]
fn counts_that_are_lower_hold_for_whoever_comes() {
    let mut member = member();
    told_of(&mut member, Time::ZERO, "b", 50, "nobody");
    member.feel(8);
    let lower = configured(|config| (config.strangers_max, config.health_max) = (10, 2));
    member.configure(Time::ZERO, lower);
    told_of(&mut member, Time::ZERO, "b", 20, "new");
    assert_eq!((member.strangers().count(), member.health()), (50, 2));
    assert!(member.members().get("new-0").is_none());
}
