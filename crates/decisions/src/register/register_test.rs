use super::*;

fn held(name: &str, version: u64, stored: StoredState) -> EntryBefore {
    let value = AdvertisementValue {
        name: name.to_owned(),
        is_public: true,
        latest_version: version,
        sync_state: SyncState::Active.into(),
        ..AdvertisementValue::default()
    };
    EntryBefore { value, stored }
}

fn item(id: &str, version: Option<u64>) -> AdvertisedRegister {
    AdvertisedRegister {
        register_id: id.to_owned(),
        is_public: Some(true),
        latest_version: version,
        ..AdvertisedRegister::default()
    }
}

#[test]
fn ids_are_checked() {
    let long = "a".repeat(129);
    let cases = [
        ("hexadecimal", "6f9619ff8b86d011b42d00cf4fc964ff", Ok(())),
        ("of the origin's tests", "reg-1", Ok(())),
        ("every character", "A.z:0_-", Ok(())),
        ("the longest", &long[..128], Ok(())),
        ("one too long", &long[..], Err(IdError::TooLong(129).into())),
        ("empty", "", Err(IdError::Empty.into())),
        ("the name of an index of the origin", "_index", Err(IdError::Characters.into())),
        ("a slash", "a/b", Err(IdError::Characters.into())),
        ("a space", "a b", Err(IdError::Characters.into())),
        ("letters beyond ASCII", "größe", Err(IdError::Characters.into())),
        ("a line end", "a\n", Err(IdError::Characters.into())),
        ("a route", "available", Err(RegisterIdError::Reserved)),
    ];
    for (what, id, expected) in cases {
        assert_eq!(check_register_id(id), expected, "{what}");
    }
}

#[test]
fn versions_never_go_back() {
    let was = held("a", 7, StoredState::Same).value;
    for (what, pushed, expected) in
        [("absent", None, 7), ("lower", Some(3), 7), ("zero", Some(0), 7), ("higher", Some(9), 9)]
    {
        let now = advertised(Some(&was), &item("r", pushed));
        assert_eq!(now.latest_version, expected, "{what}");
        assert_eq!(now.name, "a", "{what}: what is absent stays");
    }
}

#[test]
fn what_is_empty_is_cleared_and_what_is_absent_stays() {
    let was = AdvertisementValue {
        name: "a".into(),
        description: "b".into(),
        latest_docket_version: 4,
        ..AdvertisementValue::default()
    };
    let pushed = AdvertisedRegister { name: Some(String::new()), ..item("r", None) };
    let now = advertised(Some(&was), &pushed);
    assert_eq!((now.name.as_str(), now.description.as_str()), ("", "b"));
    assert_eq!(now.latest_docket_version, 4);
    assert!(now.is_public);
    assert_eq!(now.sync_state(), SyncState::Active);
    let hidden = AdvertisedRegister { is_public: Some(false), ..item("r", None) };
    assert!(!advertised(Some(&now), &hidden).is_public);
}

#[test]
fn nobody_can_push_that_something_is_unverified() {
    let pushed = AdvertisedRegister { sync_state: Some(SyncState::Unverified.into()), ..item("r", None) };
    assert_eq!(advertised(None, &pushed).sync_state(), SyncState::Active);
    let pushed = AdvertisedRegister { sync_state: Some(SyncState::FullyReplicated.into()), ..pushed };
    assert_eq!(advertised(None, &pushed).sync_state(), SyncState::FullyReplicated);
}

#[test]
fn brake_takes_hold_above_ten_and_above_half() {
    let cases =
        [(0, 0, false), (10, 10, false), (11, 11, true), (11, 22, false), (12, 23, true), (50, 101, false)];
    for (removals, entries, expected) in cases {
        assert_eq!(brakes(removals, entries), expected, "{removals} of {entries}");
    }
}

#[test]
fn plan_says_what_a_push_does() {
    let known = BTreeMap::from([
        ("same".to_owned(), held("", 1, StoredState::Same)),
        ("older".to_owned(), held("", 1, StoredState::Same)),
        ("lost".to_owned(), held("", 1, StoredState::Missing)),
        ("other".to_owned(), held("", 1, StoredState::Other)),
        ("stray".to_owned(), held("", 1, StoredState::Same)),
        ("stays".to_owned(), held("", 1, StoredState::Same)),
    ]);
    let items = [
        item("same", Some(0)),
        item("older", Some(2)),
        item("lost", None),
        item("other", None),
        item("new", None),
    ];
    let rest = UnpushedEntries::Withdraw(BTreeSet::from([
        "stray".to_owned(),
        "same".to_owned(),
        "nobody".to_owned(),
    ]));
    let planned = plan(&known, &items, &rest);
    assert_eq!(planned.add.keys().collect::<Vec<_>>(), ["lost", "new"]);
    assert_eq!(planned.update.keys().collect::<Vec<_>>(), ["older", "other"]);
    assert_eq!(planned.unchanged, 1);
    assert_eq!(planned.remove.iter().collect::<Vec<_>>(), ["stray"], "what is pushed does not go");
    let all = plan(&known, &items, &UnpushedEntries::WithdrawAll);
    assert_eq!(all.remove.iter().collect::<Vec<_>>(), ["stays", "stray"]);
    assert!(plan(&known, &items, &UnpushedEntries::Stays).remove.is_empty());
}

#[test]
fn of_two_with_one_id_the_last_counts() {
    let items = [item("a", Some(5)), item("b", None), item("a", Some(2))];
    let planned = plan(&BTreeMap::<String, EntryBefore>::new(), &items, &UnpushedEntries::Stays);
    assert_eq!(planned.add["a"].latest_version, 2);
    assert_eq!((planned.add.len(), planned.unchanged), (2, 1));
}
