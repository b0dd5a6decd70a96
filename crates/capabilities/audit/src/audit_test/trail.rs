//! The trail as it is read.

use futures_util::StreamExt as _;
use omnirelay_wire::fault::Fault;

use super::*;
use pb::audit_event::Type;
use pb::audit_export_item::Item;

#[tokio::test(start_paused = true)]
async fn a_list_says_what_is_sealed_and_where_to_go_on() {
    let place = Place::new();
    let a = place.node("a").await;
    a.act_and_seal(1).await;
    a.act(2).await;
    let list = a.audit.list(called(pb::ListAuditRecordsRequest::default())).await.unwrap().into_inner();
    let sealed: Vec<bool> = list.records.iter().map(|record| record.sealed).collect();
    assert_eq!(sealed, [false, true]);
    let watch = pb::WatchAuditRecordsRequest { since: list.cursor, ..Default::default() };
    let mut events = a.audit.watch(called(watch)).await.unwrap().into_inner();
    a.act(3).await;
    let event = events.next().await.unwrap().unwrap().into_message();
    assert_eq!((event.r#type(), event.record.unwrap().actor.as_str()), (Type::Added, "alice"));
    // What was removed is not shown as an empty record.
    let gone = place.all(AUDIT).await[0].id.clone();
    place.write(vec![Write::Delete { id: gone.clone() }]).await;
    let event = events.next().await.unwrap().unwrap().into_message();
    assert_eq!((event.r#type(), event.record.unwrap().record_id), (Type::Removed, gone.key));
    let list = a.audit.list(called(pb::ListAuditRecordsRequest::default())).await.unwrap().into_inner();
    assert_eq!(list.records.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_watch_without_a_cursor_begins_with_where_it_stands_and_filters() {
    let place = Place::new();
    let (a, b) = (place.node("a").await, place.node("b").await);
    let asked =
        |action: &str| pb::WatchAuditRecordsRequest { action: action.to_owned(), ..Default::default() };
    let mut all = b.audit.watch(called(asked("peers.*"))).await.unwrap().into_inner();
    let mut none = b.audit.watch(called(asked("leaders.*"))).await.unwrap().into_inner();
    for events in [&mut all, &mut none] {
        assert_eq!(events.next().await.unwrap().unwrap().r#type(), Type::Synced);
    }
    a.act(1).await;
    let event = all.next().await.unwrap().unwrap().into_message();
    assert_eq!(event.record.unwrap().action, "peers.label");
    assert_eq!(none.next().await.unwrap().unwrap().r#type(), Type::Progress);
}

#[tokio::test(start_paused = true)]
async fn one_record_is_found_by_its_id() {
    let place = Place::new();
    let a = place.node("a").await;
    a.act_and_seal(2).await;
    let key = place.all(AUDIT).await[1].id.key.clone();
    let get = |record_id: &str| called(pb::GetAuditRecordRequest { record_id: record_id.to_owned() });
    let found = a.audit.get(get(&key)).await.unwrap().into_inner().record.unwrap();
    assert_eq!((found.record_id, found.sealed), (key.clone(), true));
    let cases =
        [("another", format!("{key}0"), 5), ("none", String::new(), 3), ("too long", "x".repeat(600), 3)];
    for (what, id, code) in cases {
        assert_eq!(a.audit.get(get(&id)).await.unwrap_err().code() as i32, code, "{what}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_export_waits_for_the_next_seal_and_holds_everything() {
    let place = Place::new();
    let a = place.node("a").await;
    a.act_and_seal(3).await;
    a.act(9).await;
    let export = |since| pb::ExportAuditRequest { since, ..Default::default() };
    let items = a.audit.export(called(export(None))).await.unwrap().into_inner();
    let items: Vec<Item> = items.map(|item| item.unwrap().into_message().item.unwrap()).collect().await;
    let Item::Head(head) = &items[0] else { panic!("{:?}", items[0]) };
    assert!(head.complete && head.sealed);
    let seals = items.iter().filter(|item| matches!(item, Item::Seal(_))).count();
    let records = items.iter().filter(|item| matches!(item, Item::Record(_))).count();
    assert_eq!((seals, records), (2, 4));

    let later = Millis(1_795_000_000_000).after(Duration::from_secs(3));
    let since = omnirelay_nouns::timestamp(later);
    let items = a.audit.export(called(export(Some(since)))).await.unwrap().into_inner();
    let items: Vec<Item> = items.map(|item| item.unwrap().into_message().item.unwrap()).collect().await;
    let records = items.iter().filter(|item| matches!(item, Item::Record(_))).count();
    assert!(matches!(&items[0], Item::Head(head) if !head.complete));
    assert_eq!(records, 1);
}

#[tokio::test(start_paused = true)]
async fn the_trail_is_searched_by_node_time_and_either_name() {
    let place = Place::new();
    let (a, b) = (place.node("a").await, place.node("b").await);
    a.act_and_seal(1).await;
    b.act_and_seal(1).await;
    a.act(3).await;
    let list = async |change: &dyn Fn(&mut pb::ListAuditRecordsRequest)| {
        let mut asked = pb::ListAuditRecordsRequest::default();
        change(&mut asked);
        Ok::<_, Fault>(
            a.audit.list(called(asked)).await.map_err(|status| Fault::from(&status))?.into_inner().records,
        )
    };
    let all = list(&|_| {}).await.unwrap();
    assert_eq!(all.len(), 3);
    let (newest, oldest) = (all[0].time, all[2].time);
    let count = async |change: &dyn Fn(&mut pb::ListAuditRecordsRequest)| list(change).await.unwrap().len();
    assert_eq!(count(&|asked| asked.node_id = "b".into()).await, 1);
    assert_eq!(count(&|asked| asked.node_id = "peer/a".into()).await, 2);
    assert_eq!(count(&|asked| asked.until = newest).await, 2, "the end is not in it");
    assert_eq!(count(&|asked| asked.until = oldest).await, 0);
    assert_eq!(count(&|asked| (asked.since, asked.until) = (oldest, newest)).await, 2);
    assert_eq!(count(&|asked| asked.object = "node/*".into()).await, 3, "commands say node, the trail peer");
    assert_eq!(count(&|asked| asked.actor = "al*".into()).await, 3);
    // By pages it is the same.
    let paged = pb::ListAuditRecordsRequest { until: newest, page_size: 1, ..Default::default() };
    let first = a.audit.list(called(paged.clone())).await.unwrap().into_inner();
    let token = first.next_page_token;
    let second = pb::ListAuditRecordsRequest { page_token: token, ..paged };
    let second = a.audit.list(called(second)).await.unwrap().into_inner().records;
    assert_eq!([&first.records[0], &second[0]], [&all[1], &all[2]]);
    let until = pb::ExportAuditRequest { until: newest, ..Default::default() };
    let items = a.audit.export(called(until)).await.unwrap().into_inner();
    let items: Vec<Item> = items.map(|item| item.unwrap().into_message().item.unwrap()).collect().await;
    assert_eq!(items.iter().filter(|item| matches!(item, Item::Record(_))).count(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_search_that_can_find_nothing_is_refused_everywhere() {
    let place = Place::new();
    let a = place.node("a").await;
    let (object, action) = ("leaders/x".to_owned(), "peers.cordn".to_owned());
    let listed = pb::ListAuditRecordsRequest { object: object.clone(), ..Default::default() };
    let watched = pb::WatchAuditRecordsRequest { action: action.clone(), ..Default::default() };
    let exported = pb::ExportAuditRequest { action, ..Default::default() };
    let cases = [
        ("list", a.audit.list(called(listed)).await.map(drop), "leader/x"),
        ("watch", a.audit.watch(called(watched)).await.map(drop), "peers.cordon"),
        ("export", a.audit.export(called(exported)).await.map(drop), "peers.cordon"),
    ];
    for (what, answer, meant) in cases {
        let refused = Fault::from(&answer.unwrap_err());
        assert_eq!(&*refused.reason, "INVALID_ARGUMENT", "{what}");
        assert!(refused.to_string().contains("no record can match"), "{what}: {refused:?}");
        assert!(format!("{refused:?}").contains(meant), "{what}: {refused:?}");
    }
    let at = Some(omnirelay_nouns::timestamp(Millis(1_795_000_000_000)));
    let backwards = pb::ListAuditRecordsRequest { since: at, until: at, ..Default::default() };
    assert!(a.audit.list(called(backwards)).await.is_err());
}
