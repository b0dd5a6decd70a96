use super::*;

/// What a file says in our words, but for the service that it switches on.
fn ours(text: &str) -> (Value, Vec<String>) {
    let tree: Value = serde_saphyr::from_str(text).unwrap();
    assert!(is_origin(&tree), "{text}");
    let mut done = translate(tree).unwrap();
    assert_eq!(done.tree["node"]["services"], json!(["relay"]), "{text}");
    done.tree.as_object_mut().unwrap().remove("node");
    (done.tree, done.warnings)
}

#[test]
fn each_key_of_the_origin_has_its_place() {
    let cases = [
        ("relay: {grpc_port: 50052, mode: multi}", json!({"relay": {"listen": "0.0.0.0:50052"}}), 0),
        ("relay: {grpc_port: \"7\"}", json!({"relay": {"listen": "0.0.0.0:7"}}), 0),
        ("relay: {grpc_port: 0, buffer_size: 0}", json!({"relay": {}}), 0),
        (
            "relay: {buffer_size: 7}\nsinks: {file: {queue_size: 9}}",
            json!({"relay": {"sinks": {
                "file": {"queue": {"size": 9}, "enabled": true},
                "redis": {"queue": {"size": 7}},
                "http": {"queue": {"size": 7}},
                "stdout": {"queue": {"size": 7}},
            }}}),
            0,
        ),
        (
            "sinks: {file: {path: /srv/t, prefix: p, format: json, rotation_interval: 1m30s}, s3: null}",
            json!({"relay": {"sinks": {"file":
                {"enabled": true, "path": "/srv/t", "prefix": "p", "rotateEvery": "1m30s"}}}}),
            0,
        ),
        (
            "sinks: {file: {rotation_interval: 0s, backpressure_policy: block}}",
            json!({"relay": {"sinks": {"file": {"enabled": true, "queue": {"backpressure": "block"}}}}}),
            0,
        ),
        (
            "sinks: {file: {rotation_interval: 0, backpressure_policy: maybe}}",
            json!({"relay": {"sinks": {"file": {"enabled": true, "queue": {"backpressure": "drop"}}}}}),
            1,
        ),
        ("logging: {level: WARNING, format: json}", json!({"log": {"filter": "warn", "format": "json"}}), 0),
        ("logging: {level: loud, output: stdout, file: /var/log/x}", json!({}), 3),
        ("mavlink: {dialect: common}", json!({}), 1),
        ("mavlink:\nsinks:\nlogging:", json!({}), 0),
        (
            "relay: {mode: multi, maxInflight: 5}\nstore: {url: \"memory:\"}",
            json!({"relay": {"maxInflight": 5}, "store": {"url": "memory:"}}),
            0,
        ),
    ];
    for (text, expected, warned) in cases {
        let (tree, warnings) = ours(text);
        assert_eq!((tree, warnings.len()), (expected, warned), "{text}: {warnings:?}");
    }
}

#[test]
fn what_cannot_be_had_is_refused_with_what_there_is() {
    let cases = [
        ("relay: {mode: \"1:1\"}", "relay.mode", "agent"),
        ("relay: {mode: 7}", "relay.mode", "`multi`"),
        ("relay: {grpc_port: 70000}", "relay.grpc_port", "65535"),
        ("relay: {grpc_port: x}", "relay.grpc_port", "whole number"),
        ("relay: {buffer_size: -1}", "relay.buffer_size", "whole number"),
        ("sinks: {kafka: {brokers: [a]}}", "sinks.kafka", "`file`"),
        ("sinks: {file: {format: csv}}", "sinks.file.format", "`json`"),
        ("sinks: {file: {colour: red}}", "sinks.file.colour", "`rotation_interval`"),
        ("sinks: 7", "sinks", "section"),
        ("sinks: {file: 7}", "sinks.file", "section"),
        ("logging: {colour: red}", "logging.colour", "`level`"),
    ];
    for (text, key, what) in cases {
        let refused = translate(serde_saphyr::from_str(text).unwrap()).unwrap_err();
        assert_eq!(refused.key, key, "{text}");
        assert!(refused.what.contains(what), "{text}: {}", refused.what);
    }
}

#[test]
fn files_of_ours_are_not_taken_for_the_origins() {
    for text in ["relay: {listen: \"0.0.0.0:1\"}", "node: {role: x}", "log: {filter: info}", "7", "relay:"] {
        assert!(!is_origin(&serde_saphyr::from_str(text).unwrap()), "{text}");
    }
}

#[test]
fn services_that_are_named_stay_and_each_key_knows_its_origin() {
    let text = "node: {services: [registry]}\nrelay: {grpc_port: 7}\nsinks: {file: {queue_size: 3}}";
    let done = translate(serde_saphyr::from_str(text).unwrap()).unwrap();
    assert_eq!(done.tree["node"]["services"], json!(["registry"]));
    assert_eq!(done.from["relay.listen"], "relay.grpc_port");
    assert_eq!(done.from["relay.sinks.file.queue.size"], "sinks.file.queue_size");
}

#[test]
fn variables_are_put_in_their_place() {
    let cases = [
        ("a $X b", "a 1 b", 0),
        ("${X}$X-${LONG_1}.", "11-two.", 0),
        ("$X_", "", 1),
        ("[$NONE][${NONE}]", "[][]", 2),
        ("$ $$ ${} ${a b} ${X", "$ $$ ${} ${a b} ${X", 0),
        ("größe $X", "größe 1", 0),
        ("end $", "end $", 0),
    ];
    let variable = |name: &str| match name {
        "X" => Some("1".to_owned()),
        "LONG_1" => Some("two".to_owned()),
        _ => None,
    };
    for (text, expected, warned) in cases {
        let (expanded, warnings) = expand(text, variable);
        assert_eq!((expanded.as_str(), warnings.len()), (expected, warned), "{text}");
    }
}

#[test]
fn comments_may_name_variables_that_are_not_set() {
    let cases = [
        ("# path: $HOME_OF_NOBODY", 0),
        ("a: b # $X and ${Y}", 0),
        ("  # $X\nb: $Y", 1),
        ("a: \"x # $X\"", 1),
        ("a: 'x # $X' # $Y", 1),
        ("a: it's # $X", 0),
        ("a: b#$X", 1),
        ("a: $X", 1),
    ];
    for (text, warned) in cases {
        let (_, warnings) = expand(text, |_| None);
        assert_eq!(warnings.len(), warned, "{text}: {warnings:?}");
    }
}
