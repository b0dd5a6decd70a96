//! Paths whose last variable takes all that is left, slashes too.

use serde_json::json;

use crate::fixture::{Served, header, json as document};

#[tokio::test]
async fn the_last_variable_takes_the_rest_of_the_path() {
    let served = Served::start().await;
    let cases = [
        ("GET", "/scopes/global", "get", "global"),
        ("GET", "/scopes/shard/orders/03", "get", "shard/orders/03"),
        ("GET", "/scopes/shard%2Forders%2f03", "get", "shard/orders/03"),
        ("GET", "/scopes/shard/orders%2F03", "get", "shard/orders/03"),
        ("GET", "/scopes/shard/a%20b%25/%C3%A9?to=x", "get", "shard/a b%/\u{e9}"),
        // A verb is one only where its colon stands as it is.
        ("GET", "/scopes/shard/orders/03:history", "history", "shard/orders/03"),
        ("GET", "/scopes/shard/orders/03%3Ahistory", "get", "shard/orders/03:history"),
        ("GET", "/scopes/shard/orders/03%3Ahistory:history", "history", "shard/orders/03:history"),
        ("GET", "/scopes/a:b/c", "get", "a:b/c"),
        ("GET", "/scopes/shard:history/03", "get", "shard:history/03"),
        ("POST", "/scopes/global:transfer", "transfer", "global"),
        ("POST", "/scopes/shard%2Forders/03:transfer", "transfer", "shard/orders/03"),
        // What is more exact is asked first.
        ("GET", "/scopes/shard/leader", "leader", "shard"),
        ("GET", "/scopes/shard%2Forders/leader", "leader", "shard/orders"),
        ("GET", "/scopes/shard/orders/leader", "get", "shard/orders/leader"),
        ("GET", "/scopes/shard/leader:history", "history", "shard/leader"),
    ];
    for (verb, path, method, scope) in cases {
        let response = served.http.request(verb.parse().unwrap(), served.url(path)).send().await.unwrap();
        assert_eq!(response.status(), 200, "{verb} {path}");
        let answer = document(response).await;
        assert_eq!(
            (&answer["method"], &answer["request"]["scopeName"]),
            (&json!(method), &json!(scope)),
            "{verb} {path}"
        );
    }
    let answer = document(served.post("/scopes/shard/03:transfer", r#"{"to":"node-2"}"#).await).await;
    assert_eq!(answer["request"], json!({"scopeName": "shard/03", "to": "node-2"}));
}

#[tokio::test]
async fn a_value_with_a_part_that_is_empty_is_no_path() {
    let served = Served::start().await;
    for path in [
        "/scopes",
        "/scopes/",
        "/scopes/shard/",
        "/scopes/shard//03",
        "/scopes//shard",
        "/scopes/shard%2F",
        "/scopes/%2Fshard",
        "/scopes/shard/%2F03",
    ] {
        let response = served.get(path).await;
        assert_eq!(response.status(), 404, "{path}");
        assert_eq!(document(response).await["reason"], "ROUTE_UNKNOWN", "{path}");
    }
    for (path, says) in [
        ("/scopes/a/%FF".to_owned(), "not UTF-8"),
        ("/scopes/a/%0A".to_owned(), "control characters"),
        (format!("/scopes{}", "/x".repeat(513)), "has 1025 bytes; at most 1024"),
    ] {
        let response = served.get(&path).await;
        assert_eq!(response.status(), 400, "{path}");
        let problem = document(response).await;
        assert!(problem["message"].as_str().unwrap().contains(says), "{problem}");
        assert_eq!(problem["details"], json!([{"field": "scopeName"}]));
    }
}

#[tokio::test]
async fn a_verb_that_a_path_with_slashes_lacks_is_said_once() {
    let served = Served::start().await;
    let response = served.http.delete(served.url("/scopes/shard/03:history")).send().await.unwrap();
    assert_eq!((response.status().as_u16(), header(&response, "allow")), (405, Some("GET, HEAD, OPTIONS")));
    let message = document(response).await["message"].clone();
    assert_eq!(message, "`/scopes/shard/03:history` takes GET, not DELETE");
    let response = served.http.delete(served.url("/scopes/shard/03:transfer")).send().await.unwrap();
    assert_eq!(header(&response, "allow"), Some("OPTIONS, POST"), "as a verb, not as an id");
}
