use super::*;

pub(crate) fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        headers
            .append(HeaderName::try_from(*name).unwrap(), HeaderValue::from_bytes(value.as_bytes()).unwrap());
    }
    headers
}

#[test]
fn those_of_another_cluster_are_kin() {
    let cases = [
        ("node:west/a", Some("node:west/")),
        ("node:west/b", Some("node:west/")),
        ("node:west", None),
        ("operator:west/a", Some("operator:west/")),
        ("operator:a", None),
        ("service:west/b", Some("service:west/")),
        ("token:west/b", None),
        ("oidc:node:west/a", None),
        ("local", None),
    ];
    for (principal, kin) in cases {
        assert_eq!(cluster_kin(principal), kin, "{principal}");
    }
}

#[test]
fn an_insane_request_id_is_replaced() {
    let ids = RequestIds::default();
    assert_eq!(ids.of(&headers(&[("x-request-id", "abc-1")])).as_str(), "abc-1");
    for bad in ["", "with space", "tab\there", &"x".repeat(129), "\u{fc}"] {
        let made = ids.of(&headers(&[("x-request-id", bad)]));
        assert_ne!(made.as_str(), bad);
        assert!(!made.as_str().is_empty());
    }
    assert_ne!(ids.of(&HeaderMap::new()), ids.of(&HeaderMap::new()));
}

#[test]
fn seen_etags_compare_weakly() {
    let caller =
        |tags: Option<&str>| Caller { if_none_match: tags.map(str::to_owned), ..Caller::of_tests("p") };
    assert!(caller(Some("\"a\", W/\"b\"")).has_seen("\"b\""));
    assert!(caller(Some("\"b\"")).has_seen("W/\"b\""));
    assert!(caller(Some("*")).has_seen("\"b\""));
    assert!(!caller(Some("\"bb\"")).has_seen("\"b\""));
    assert!(!caller(None).has_seen("\"b\""));
}

#[test]
fn scopes_print_in_a_fixed_order() {
    let scopes: Scopes = [Scope::MeshAdmin, Scope::MeshRead].into_iter().collect();
    assert_eq!(scopes.to_string(), "mesh.read, mesh.admin");
    assert_eq!(Scopes::NONE.to_string(), "none");
    assert!(!scopes.contains(Scope::MeshOperate));
    let all = "mesh.connect, mesh.read, mesh.operate, mesh.admin";
    assert_eq!(Scopes::all().to_string(), all);
    let each: Vec<_> = Scope::ALL.into_iter().map(|scope| Scopes::from_iter([scope])).collect();
    for (scope, held) in Scope::ALL.into_iter().zip(&each) {
        let holders = each.iter().filter(|held| held.contains(scope)).count();
        assert!(held.contains(scope) && holders == 1, "{held} stands for itself");
    }
}
