//! What callers send: odd ids, wrong types, too much, and nothing at all.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::contract::ask;
use crate::on_both;
use crate::world::{BRISK, Backing, Node, by_id, number, numbered, public, text};

/// What a body may hold.
const BODY_BYTES_MAX: usize = 16 << 20;

on_both! {
    odd_ids_are_refused_and_nothing_is_applied
    wrong_bodies_are_refused_and_nothing_is_applied
    unknown_fields_are_ignored_for_sorcha_and_refused_for_operators
    versions_never_go_back
    of_duplicates_the_last_counts
    an_empty_list_withdraws_all_with_full_sync_only
    a_body_of_16_mib_is_taken_and_a_larger_one_refused
}

async fn odd_ids_are_refused_and_nothing_is_applied(backing: Backing) -> Result<()> {
    let node = Node::start(backing, "pool", BRISK)?;
    node.push(&public(&["before"]), false).await?.ok()?;
    let long = "x".repeat(10 << 10);
    let odd = [
        ("an index of the store", "_index", "must not begin with `_`"),
        ("slashes", "a/b", "may hold only"),
        ("only slashes", "//", "may hold only"),
        ("10 kB", long.as_str(), "10240 bytes long, the limit is 128"),
        ("nothing", "", "it is empty"),
        ("a blank", " ", "may hold only"),
        ("a line", "a\nb", "may hold only"),
        ("not ASCII", "régistre", "may hold only"),
        ("a word of the API", "available", "is a word of the API"),
    ];
    for (what, id, said) in odd {
        for path in ["/api/registers/bulk-advertise", "/control/registers/bulk-advertise"] {
            let items =
                json!([{"registerId": "good", "isPublic": true}, {"registerId": id, "isPublic": true}]);
            let body = json!({"advertisements": items, "fullSync": true});
            let refused = node.api()?.post(path, &body).await?;
            ensure!(refused.status == 400, "{what}: {refused:?}");
            let message = text(&refused.body["message"]);
            ensure!(message.contains("advertisements[1].registerId"), "{what}: {message}");
            ensure!(message.contains(said), "{what}: {message}");
            ensure!(message.len() < 500, "{what}: it repeats what was sent: {message}");
        }
    }
    for (id, status) in [("_index", 400), ("a%2Fb", 400), ("available", 400), (long.as_str(), 400), ("", 404)]
    {
        let refused = node.advertise(id, true).await?;
        ensure!(refused.status == status, "{id}: {refused:?}");
        ensure!(!text(&refused.body["message"]).is_empty(), "{refused:?}");
    }
    node.expect_shown(&["before"]).await
}

async fn wrong_bodies_are_refused_and_nothing_is_applied(backing: Backing) -> Result<()> {
    let node = Node::start(backing, "pool", BRISK)?;
    node.push(&public(&["before"]), false).await?.ok()?;
    let item = |rest: &str| format!(r#"{{"advertisements":[{{"registerId":"r"{rest}}}],"fullSync":true}}"#);
    let wrong = [
        ("no JSON", "{\"advertisements\":".to_owned()),
        ("a list", "[]".to_owned()),
        ("null", "null".to_owned()),
        ("a list that is none", r#"{"advertisements":"r","fullSync":true}"#.to_owned()),
        ("an item that is none", r#"{"advertisements":["r"],"fullSync":true}"#.to_owned()),
        ("no flag", item("")),
        ("a flag that is a text", item(r#","isPublic":"true""#)),
        ("a flag that is a number", item(r#","isPublic":1"#)),
        ("an id that is a number", r#"{"advertisements":[{"registerId":1,"isPublic":true}]}"#.to_owned()),
        ("a version below zero", item(r#","isPublic":true,"latestVersion":-1"#)),
        ("a version with a fraction", item(r#","isPublic":true,"latestVersion":1.5"#)),
        ("a version that is a word", item(r#","isPublic":true,"latestVersion":"one""#)),
        ("a version beyond 64 bits", item(r#","isPublic":true,"latestVersion":18446744073709551616"#)),
        ("a name that is too long", item(&format!(r#","isPublic":true,"name":"{}""#, "n".repeat(257)))),
        ("a name with a line", item(r#","isPublic":true,"name":"a\nb""#)),
        ("full sync that is a text", r#"{"advertisements":[],"fullSync":"yes"}"#.to_owned()),
    ];
    for (what, body) in wrong {
        let refused = node.api()?.send("POST", "/api/registers/bulk-advertise", body).await?;
        ensure!(refused.status == 400, "{what}: {refused:?}");
        ensure!(
            refused.body["status"] == 400 && !text(&refused.body["message"]).is_empty(),
            "{what}: {refused:?}"
        );
    }
    for body in ["", "{}", r#"{"isPublic":null}"#, r#"{"isPublic":"yes"}"#, "nonsense"] {
        let refused = node.api()?.send("POST", "/api/registers/before/advertise", body).await?;
        ensure!(refused.status == 400, "{body}: {refused:?}");
    }
    node.expect_shown(&["before"]).await
}

async fn unknown_fields_are_ignored_for_sorcha_and_refused_for_operators(backing: Backing) -> Result<()> {
    let node = Node::start(backing, "pool", BRISK)?;
    let body = json!({
        "advertisements": [{"registerId": "r", "isPublic": true, "tenantId": "t", "later": {"a": [1]}}],
        "fullSync": false, "source": "register-service",
    });
    let refused = node.api()?.post("/control/registers/bulk-advertise", &body).await?;
    ensure!(refused.status == 400 && refused.reason() == "UNKNOWN_FIELD", "{refused:?}");
    node.expect_shown(&[]).await?;
    let taken = node.api()?.post("/api/registers/bulk-advertise", &body).await?.ok()?;
    ensure!(taken["added"] == 1, "{taken}");
    let single = json!({"isPublic": false, "later": true});
    let refused = node.api()?.post("/control/registers/r/advertise", &single).await?;
    ensure!(refused.status == 400 && refused.reason() == "UNKNOWN_FIELD", "{refused:?}");
    node.expect_shown(&["r"]).await?;
    node.api()?.post("/api/registers/r/advertise", &single).await?.ok()?;
    node.expect_shown(&[]).await
}

async fn versions_never_go_back(backing: Backing) -> Result<()> {
    let mut node = Node::start(backing, "pool", BRISK)?;
    let items = |rest: Value| {
        let mut item = json!({"registerId": "r", "isPublic": true});
        item.as_object_mut().context("no object")?.extend(rest.as_object().context("no object")?.clone());
        anyhow::Ok(json!([item]))
    };
    let named = json!({"name": "N", "description": "D", "latestVersion": 9, "latestDocketVersion": 7});
    node.push(&items(named)?, true).await?.ok()?;
    let steps = [
        ("lower ones", json!({"latestVersion": 3, "latestDocketVersion": 2}), "unchanged", (9, 7)),
        ("none", json!({}), "unchanged", (9, 7)),
        ("null", json!({"name": null, "latestVersion": null}), "unchanged", (9, 7)),
        ("zero, as Sorcha's resync sends", json!({"latestVersion": 0}), "unchanged", (9, 7)),
        (
            "one higher and one lower",
            json!({"latestVersion": 10, "latestDocketVersion": 1}),
            "updated",
            (10, 7),
        ),
        ("the greatest", json!({"latestVersion": u64::MAX}), "updated", (u64::MAX, 7)),
    ];
    for (what, rest, counted, versions) in steps {
        let taken = node.push(&items(rest)?, true).await?.ok()?;
        ensure!(taken[counted] == 1 && taken["removed"] == 0, "{what}: {taken}");
        let shown = &node.available().await?[0];
        let found = (number(&shown["latestVersion"])?, number(&shown["latestDocketVersion"])?);
        ensure!(found == versions, "{what}: {shown}");
        ensure!(shown["name"] == "N" && shown["description"] == "D", "{what}: {shown}");
    }
    node.restart()?;
    let shown = &node.available().await?[0];
    ensure!(number(&shown["latestVersion"])? == u64::MAX && shown["name"] == "N", "{shown}");
    Ok(())
}

async fn of_duplicates_the_last_counts(backing: Backing) -> Result<()> {
    let node = Node::start(backing, "pool", BRISK)?;
    let items = json!([
        {"registerId": "hidden", "isPublic": true}, {"registerId": "r", "isPublic": true, "name": "first"},
        {"registerId": "hidden", "isPublic": false}, {"registerId": "r", "isPublic": true, "name": "last"},
    ]);
    let taken = node.push(&items, true).await?.ok()?;
    ensure!(taken["processed"] == 4 && taken["added"] == 2 && taken["unchanged"] == 2, "{taken}");
    let shown = by_id(&node.available().await?);
    ensure!(shown.len() == 1 && shown["r"]["name"] == "last", "{shown:?}");
    Ok(())
}

async fn an_empty_list_withdraws_all_with_full_sync_only(backing: Backing) -> Result<()> {
    let mut node = Node::start(backing, "pool", BRISK)?;
    let ids = numbered("r", 30);
    node.push(&public(&ids), true).await?.ok()?;
    let nothing = json!({"processed": 0, "added": 0, "updated": 0, "removed": 0});
    let counts = |answer: &Value| {
        let of = |name: &str| (name.to_owned(), answer[name].clone());
        Value::Object(["processed", "added", "updated", "removed"].map(of).into_iter().collect())
    };
    for body in [json!({"advertisements": [], "fullSync": false}), json!({"advertisements": []})] {
        let taken = node.api()?.post("/api/registers/bulk-advertise", &body).await?.ok()?;
        ensure!(counts(&taken) == nothing, "{body}: {taken}");
    }
    // Who names no list has forgotten it.
    for body in ["", "{}", r#"{"fullSync":true}"#, r#"{"fullSync":true,"advertisements":null}"#] {
        for route in ["/api/registers/bulk-advertise", "/control/registers/bulk-advertise"] {
            let refused = node.api()?.send("POST", route, body).await?;
            ensure!(refused.status == 400, "{route} {body}: {refused:?}");
        }
    }
    ensure!(node.shown().await? == ids);
    let taken = node.push(&json!([]), true).await?.ok()?;
    ensure!(taken["removed"] == 30 && taken["processed"] == 0, "{taken}");
    node.expect_shown(&[]).await?;
    let taken = node.push(&json!([]), true).await?.ok()?;
    ensure!(counts(&taken) == nothing, "{taken}");
    node.restart()?;
    node.expect_shown(&[]).await
}

async fn a_body_of_16_mib_is_taken_and_a_larger_one_refused(backing: Backing) -> Result<()> {
    let node = Node::start(backing, "pool", BRISK)?;
    let item = json!({"registerId": "r", "isPublic": true});
    let exactly = |bytes: usize| {
        let body = json!({"advertisements": [item]}).to_string();
        format!("{body}{}", " ".repeat(bytes - body.len()))
    };
    // The answer comes before the body is there; `curl` asks first.
    let file = node.place.directory.path().join("body.json");
    std::fs::write(&file, exactly(BODY_BYTES_MAX + 1))?;
    let command = format!("curl --json @{} $PEER/api/registers/bulk-advertise", file.display());
    let (head, body) = ask(&command, &node.url())?;
    ensure!(head == "413 application/problem+json" && body.contains("BODY_TOO_LARGE"), "{head} {body}");
    node.expect_shown(&[]).await?;
    let taken =
        node.api()?.send("POST", "/api/registers/bulk-advertise", exactly(BODY_BYTES_MAX)).await?.ok()?;
    ensure!(taken["added"] == 1, "{taken}");
    node.expect_shown(&["r"]).await
}
