//! The contract of Sorcha's peer service, as transcripts of `curl`.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::on_both;
use crate::world::{Backing, Node};

/// What stands for any text.
const ANY: &str = "[..]";
/// Prints the body, then status and content type on a line of their own.
const CURL: &str = r#"curl() { command curl -sS --max-time 20 -w '\n%{http_code} %{content_type}\n' "$@"; }"#;

on_both! {
    register_services_are_answered_byte_by_byte
}

async fn register_services_are_answered_byte_by_byte(backing: Backing) -> Result<()> {
    let node = Node::start(backing, "pool", &[])?;
    let exchanges = parse(include_str!("transcripts/peer_service.txt"))?;
    ensure!(exchanges.len() > 10, "{} requests", exchanges.len());
    for Exchange { command, head, body } in exchanges {
        let (said_head, said_body) = ask(&command, &node.url())?;
        let matches = said_head == head && is_like(&said_body, &body);
        ensure!(matches, "$ {command}\n{head}\n{body}\n--- but it was\n{said_head}\n{said_body}");
    }
    Ok(())
}

/// A request and the answer that is expected.
#[derive(Debug, PartialEq)]
struct Exchange {
    command: String,
    /// Status and content type.
    head: String,
    body: String,
}

/// Takes each paragraph that begins with `$ `.
fn parse(text: &str) -> Result<Vec<Exchange>> {
    let paragraphs = text.split("\n\n").filter_map(|paragraph| paragraph.trim().strip_prefix("$ "));
    let exchange = |paragraph: &str| {
        let mut lines = paragraph.lines().map(str::to_owned);
        let mut next = || lines.next().with_context(|| format!("three lines, not: {paragraph}"));
        Ok(Exchange { command: next()?, head: next()?, body: next()? })
    };
    paragraphs.map(exchange).collect()
}

/// Runs a command; returns status with content type, and the body.
pub(crate) fn ask(command: &str, peer: &str) -> Result<(String, String)> {
    let script = format!("{CURL}\n{command}");
    let output = Command::new("sh")
        .args(["-c", &script])
        .env("PEER", peer)
        .stdin(Stdio::null())
        .output()
        .context("sh")?;
    let text = String::from_utf8(output.stdout)?;
    ensure!(output.status.success(), "$ {command}\n{text}{}", String::from_utf8_lossy(&output.stderr));
    let (body, head) = text.trim_end_matches('\n').rsplit_once('\n').context("no status")?;
    Ok((head.to_owned(), body.to_owned()))
}

/// Whether a text is what is expected, in which [`ANY`] is any text.
fn is_like(text: &str, expected: &str) -> bool {
    let mut parts = expected.split(ANY);
    let Some(mut rest) = parts.next().and_then(|first| text.strip_prefix(first)) else { return false };
    let parts: Vec<&str> = parts.collect();
    let Some((last, middle)) = parts.split_last() else { return rest.is_empty() };
    for part in middle {
        let Some((_, behind)) = rest.split_once(part) else { return false };
        rest = behind;
    }
    rest.ends_with(last)
}

#[test]
fn a_transcript_is_compared_as_it_says() -> Result<()> {
    let cases = [
        ("[]", "[]", true),
        ("[]", "[1]", false),
        ("[]", "[", false),
        ("{[..]\"b\":1[..]}", "{\"a\":0,\"b\":1,\"c\":2}", true),
        ("{[..]\"b\":1[..]}", "{\"a\":0,\"b\":2}", false),
        ("{\"a\":\"[..]Z\"}", "{\"a\":\"2026Z\"}", true),
        ("{\"a\":\"[..]Z\"}", "{\"a\":\"2026Z\",\"b\":1}", false),
    ];
    for (expected, text, like) in cases {
        ensure!(is_like(text, expected) == like, "{text} as {expected}");
    }
    let parsed = parse("Words.\n\n# More.\n\n$ curl a\n200 b\nc\n\n$ curl d\n400 e\nf\n")?;
    ensure!(parsed.len() == 2 && parsed[1].command == "curl d" && parsed[1].body == "f", "{parsed:?}");
    ensure!(parse("$ curl a\n200 b\n").is_err());
    Ok(())
}
