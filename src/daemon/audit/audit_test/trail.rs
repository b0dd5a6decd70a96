//! The trail as it is read.

use futures_util::StreamExt as _;

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
    let since = crate::daemon::objects::timestamp(later);
    let items = a.audit.export(called(export(Some(since)))).await.unwrap().into_inner();
    let items: Vec<Item> = items.map(|item| item.unwrap().into_message().item.unwrap()).collect().await;
    let records = items.iter().filter(|item| matches!(item, Item::Record(_))).count();
    assert!(matches!(&items[0], Item::Head(head) if !head.complete));
    assert_eq!(records, 1);
}
