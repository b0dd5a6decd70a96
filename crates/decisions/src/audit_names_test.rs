use super::*;

fn record(actor: &str, action: &str, object: &str, node_id: &str) -> AuditValue {
    AuditValue {
        actor: actor.to_owned(),
        action: action.to_owned(),
        object: object.to_owned(),
        node_id: node_id.to_owned(),
        ..AuditValue::default()
    }
}

#[test]
fn a_star_stands_for_whatever_is_there() {
    let cases = [
        ("", "anything", true),
        ("peers.cordon", "peers.cordon", true),
        ("peers.cordon", "peers.cordons", false),
        ("peers.*", "peers.cordon", true),
        ("peers.*", "peer.cordon", false),
        ("*.cordon", "peers.cordon", true),
        ("*", "", true),
        ("a*b*c", "a-b-b-c", true),
        ("a*b*c", "a-c-b", false),
        ("ab*ba", "aba", false),
        ("**x", "x", true),
    ];
    for (pattern, text, expected) in cases {
        assert_eq!(is_like(pattern, text), expected, "{pattern} {text}");
    }
}

/// Names of commands and names of the trail mean the same records.
#[test]
fn records_are_found_by_either_name() {
    let (any, none) = ("", "");
    let elected = record("node-1", "leaders.elected", "leadership/global-control", "node-1");
    let planned = record("operator:ann", "rebalance-plans.approve", "rebalance-plan/p-1", "node-2");
    let outside = record("oidc:ann at work", "peers.cordon", "peer/node-1", "node-1");
    let token = record("uid:root", "join-tokens.create", "join-token/3f", "node-1");
    let register = record("uid:root", "registers.create", "register/node-1/orders", "node-1");
    let cases: [(&str, [&str; 4], &AuditValue, bool); 20] = [
        ("the trail's name", [any, any, "leadership/global-control", none], &elected, true),
        ("the command's name", [any, any, "leader/global-control", none], &elected, true),
        ("all of a kind", [any, any, "leader/*", none], &elected, true),
        ("another kind", [any, any, "plan/*", none], &elected, false),
        ("a star in the kind", [any, any, "lead*/global-*", none], &elected, true),
        ("a plan", [any, any, "plan/p-1", none], &planned, true),
        ("another plan", [any, any, "plan/p-2", none], &planned, false),
        ("a token", [any, any, "token/3f", none], &token, true),
        ("a register, as commands print it", [any, any, "register/orders", none], &register, true),
        ("a register of a node", [any, any, "register/node-1/orders", none], &register, true),
        ("a register of another node", [any, any, "register/node-2/orders", none], &register, false),
        ("an actor", ["operator:*", any, any, none], &planned, true),
        ("an actor at a node", ["uid:root at node-1", any, any, none], &token, true),
        ("an actor at another node", ["uid:root at node-2", any, any, none], &token, false),
        ("an actor with ` at ` in its name", ["oidc:ann at work", any, any, none], &outside, true),
        ("a node", [any, any, any, "node-2"], &planned, true),
        ("a node as peers are printed", [any, any, any, "peer/node-2"], &planned, true),
        ("another node", [any, any, any, "node-1"], &planned, false),
        ("all of an object's", [any, "rebalance-plans.*", any, none], &planned, true),
        ("everything", ["*", "*", "*", "*"], &token, true),
    ];
    for (what, [actor, action, object, node], record, expected) in cases {
        let search = AuditSearch::of(actor, action, object, node).expect(what);
        assert_eq!(search.matches(record), expected, "{what}");
    }
    assert!(AuditSearch::of("", "", "", "").unwrap().is_open());
    assert!(!AuditSearch::of("", "", "", "node-1").unwrap().is_open());
}

#[test]
fn what_can_be_in_no_record_is_refused_with_what_may_be_meant() {
    let cases = [
        (["", "", "peers/node-1", ""], "object", "peer/node-1"),
        (["", "", "leaders/x", ""], "object", "leader/x"),
        (["", "", "leader", ""], "object", "leader/*"),
        (["", "", "node-1", ""], "object", "*/node-1"),
        (["", "", "zzz/x", ""], "object", "advertisement/x"),
        (["", "peers.cordn", "", ""], "action", "peers.cordon"),
        (["", "peers", "", ""], "action", "peers.*"),
        (["", "peer.cordon", "", ""], "action", "peers.cordon"),
        (["", "cordon", "", ""], "action", "*.cordon"),
        (["", "pers.*", "", ""], "action", "peers.*"),
        (["", "reads.PeerControlService.Lst", "", ""], "action", "reads.PeerControlService.List"),
        (["oprator:ann", "", "", ""], "actor", "operator:ann"),
        (["uid:root at node-1", "", "", "node-2"], "actor", ""),
        (["", "", "", "node 2"], "nodeId", ""),
    ];
    for ([actor, action, object, node], field, meant) in cases {
        let what = format!("{actor} {action} {object} {node}");
        let refused = AuditSearch::of(actor, action, object, node).expect_err(&what);
        assert_eq!(
            (refused.field, refused.meant.first().map_or("", String::as_str)),
            (field, meant),
            "{what}"
        );
    }
    let long = "x".repeat(FILTER_BYTES_MAX + 1);
    assert_eq!(AuditSearch::of(&long, "", "", "").unwrap_err().field, "actor");
}

#[test]
fn every_action_is_found() {
    for action in actions() {
        assert!(AuditSearch::of("", action, "", "").is_ok(), "{action}");
    }
    assert!(AuditSearch::of("", "reads.PeerControlService.*", "", "").is_ok());
    assert!(AuditSearch::of("", "*.cordon", "", "").is_ok());
}
