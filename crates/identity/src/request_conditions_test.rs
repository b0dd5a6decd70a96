use omnirelay_wire::fault::Code;

use super::*;
use crate::caller::tests::headers;

#[test]
fn if_match_takes_each_spelling_of_a_version() {
    let cases = [
        ("\"12\"", Some(IfMatch::Version(12))),
        ("W/\"12\"", Some(IfMatch::Version(12))),
        ("12", Some(IfMatch::Version(12))),
        ("0", Some(IfMatch::Version(0))),
        ("*", Some(IfMatch::Exists)),
        ("\"12", None),
        ("+12", None),
        ("\"\"", None),
        ("\"1\", \"2\"", None),
        ("18446744073709551616", None),
        ("abc", None),
    ];
    for (text, expected) in cases {
        let got = if_match(&headers(&[("if-match", text)])).ok().flatten();
        assert_eq!(got, expected, "{text}");
    }
}

#[test]
fn a_header_that_must_be_single_is_refused_twice() {
    let fault =
        RequestConditions::from_headers(&headers(&[("idempotency-key", "a"), ("idempotency-key", "b")]))
            .err()
            .unwrap();
    assert_eq!(fault.code, Code::InvalidArgument);
    assert!(fault.message.contains("idempotency-key") && fault.message.contains("more than once"));
}
