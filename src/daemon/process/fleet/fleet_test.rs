//! Nodes that are ended, frozen and brought back.

use omnirelay_store::MemoryStore;

use super::*;

/// A fleet and the directory of its nodes.
struct Running {
    fleet: Arc<Fleet>,
    _place: tempfile::TempDir,
}

impl std::ops::Deref for Running {
    type Target = Arc<Fleet>;

    fn deref(&self) -> &Arc<Fleet> {
        &self.fleet
    }
}

fn start(count: usize, asked: impl Future<Output = ()>) -> Result<Running, FleetError> {
    let stores = StoreSource::One(Arc::new(MemoryStore::system()));
    let place = tempfile::tempdir().unwrap();
    let specs = (0..count).map(|number| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        MemberSpec {
            node_id: format!("n{number}"),
            config: Arc::default(),
            session_secret: format!("secret {number}"),
            log: Arc::default(),
            control: listener.local_addr().unwrap(),
            identity: IdentityFiles::of(place.path(), None),
            audit: AuditFiles::open(place.path(), &format!("n{number}")).unwrap(),
            data_dir: place.path().to_owned(),
            telemetry: place.path().to_owned(),
            listener,
            relay: None,
        }
    });
    let fleet = Fleet::start(specs.collect(), &stores, asked)?;
    Ok(Running { fleet, _place: place })
}

fn running(count: usize) -> Running {
    start(count, std::future::pending()).unwrap()
}

fn resume(fleet: &Fleet, node_id: &str) -> Option<Result<(), String>> {
    match fleet.decree(node_id, InjectedFault::Resume, false).unwrap() {
        InjectedFaultOutcome::Starting(end) => Some(end.blocking_recv().unwrap()),
        InjectedFaultOutcome::Unchanged
        | InjectedFaultOutcome::Last
        | InjectedFaultOutcome::Done
        | InjectedFaultOutcome::Ending(_) => None,
    }
}

fn states(fleet: &Fleet) -> Vec<State> {
    fleet.nodes().iter().map(pb::DevNode::state).collect()
}

#[test]
fn a_fleet_that_is_dropped_ends_its_nodes() {
    let fleet = running(2);
    let controls: Vec<_> = fleet.members.iter().map(|member| member.control).collect();
    drop(fleet);
    for control in controls {
        assert!(TcpListener::bind(control).is_ok(), "{control} is still served");
    }
}

#[test]
fn a_stop_is_heard_before_all_are_ready() {
    assert!(matches!(start(1, std::future::ready(())), Err(FleetError::Stopped)));
}

#[test]
fn a_node_that_cannot_come_back_stays_killed() {
    let fleet = running(2);
    let control = fleet.members[0].control;
    let Some(InjectedFaultOutcome::Ending(end)) = fleet.decree("n0", InjectedFault::Kill, false) else {
        panic!("not killed")
    };
    end.blocking_recv().unwrap();
    let taken = TcpListener::bind(control).unwrap();
    let end = resume(&fleet, "n0").unwrap();
    assert!(end.unwrap_err().contains("cannot listen"));
    let thread = fleet.members[0].life.lock().thread.take().unwrap();
    thread.join().unwrap();
    assert_eq!(states(&fleet), [State::Killed, State::Running]);
    assert!(matches!(fleet.decree("n0", InjectedFault::Pause, false), Some(InjectedFaultOutcome::Unchanged)));
    drop(taken);
    assert_eq!(resume(&fleet, "n0"), Some(Ok(())));
    assert_eq!(states(&fleet), [State::Running, State::Running]);
}

#[test]
fn who_ends_a_node_hears_when_its_ports_are_closed() {
    let fleet = running(2);
    let control = fleet.members[1].control;
    for _ in 0..5 {
        let Some(InjectedFaultOutcome::Ending(end)) = fleet.decree("n1", InjectedFault::Kill, false) else {
            panic!("not killed")
        };
        end.blocking_recv().unwrap();
        assert!(TcpListener::bind(control).is_ok(), "{control} is still served");
        assert_eq!(resume(&fleet, "n1"), Some(Ok(())));
    }
}

#[test]
fn a_resume_on_the_heels_of_a_kill_is_a_new_life() {
    let fleet = running(2);
    assert!(matches!(fleet.decree("n0", InjectedFault::Kill, true), Some(InjectedFaultOutcome::Done)));
    // The old life is still to hear of its end; of two resumes only one begins the next.
    let decrees = [InjectedFault::Resume; 2].map(|fate| fleet.decree("n0", fate, false).unwrap());
    let [InjectedFaultOutcome::Starting(end), InjectedFaultOutcome::Unchanged] = decrees else {
        panic!("two lives at once")
    };
    assert_eq!(end.blocking_recv(), Ok(Ok(())));
    std::thread::sleep(2 * DECREE_DELAY);
    assert_eq!(states(&fleet), [State::Running; 2], "the old life's end is not the new one's");
}

#[test]
fn the_last_node_that_runs_is_not_taken_away() {
    let fleet = running(2);
    assert!(matches!(fleet.decree("n0", InjectedFault::Pause, false), Some(InjectedFaultOutcome::Done)));
    for fate in [InjectedFault::Kill, InjectedFault::Pause] {
        assert!(matches!(fleet.decree("n1", fate, true), Some(InjectedFaultOutcome::Last)), "{fate:?}");
    }
    assert!(
        matches!(fleet.decree("n0", InjectedFault::Kill, false), Some(InjectedFaultOutcome::Ending(_))),
        "it does not run"
    );
    assert!(matches!(fleet.decree("n1", InjectedFault::Kill, true), Some(InjectedFaultOutcome::Last)));
    assert_eq!(resume(&fleet, "n0"), Some(Ok(())));
    assert!(matches!(fleet.decree("n1", InjectedFault::Kill, true), Some(InjectedFaultOutcome::Done)));
}
