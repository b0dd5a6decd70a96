//! The script of `docs/guides/fencing.md` refuses stale leaders on a real server.

use anyhow::{Context, Result};

use crate::servers::RedisServer;

const GUIDE: &str = include_str!("../../docs/guides/fencing.md");

/// The script in a guide.
fn script(guide: &str) -> Option<&str> {
    guide.split("```lua\n").nth(1)?.split("```").next()
}

#[test]
fn the_script_of_the_guide_refuses_stale_tokens() -> Result<()> {
    let server = RedisServer::start(&[])?;
    let script = script(GUIDE).context("the guide has no script")?;
    let write = |token: u64| {
        let (token, value) = (token.to_string(), format!("of {token}"));
        let command = ["EVAL", script, "2", "{orders}:fence", "{orders}:state", &token, &value];
        server.cli::<String>(&command).map_err(|error| error.to_string())
    };
    let now = 1_795_180_357_123;
    let steps = [
        // what                       token    admitted
        ("first token", 9, true),
        ("the same again", 9, true),
        ("one less, as a number", 8, false),
        ("greater, though less as a text", 10, true),
        ("less, though greater as a text", 9, false),
        ("of today", now, true),
        ("a millisecond older", now - 1, false),
    ];
    let mut written = String::new();
    for (what, token, admitted) in steps {
        match write(token) {
            Ok(_) => written = format!("of {token}"),
            Err(error) => assert!(!admitted && error.contains("STALE"), "{what}: {error}"),
        }
        assert_eq!(written == format!("of {token}"), admitted, "{what}");
        assert_eq!(server.cli::<String>(&["GET", "{orders}:state"])?, written, "{what}");
    }
    assert_eq!(server.cli::<u64>(&["GET", "{orders}:fence"])?, now);
    Ok(())
}
