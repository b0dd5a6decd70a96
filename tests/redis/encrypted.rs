//! TLS, with certificates on both sides.

use anyhow::{Result, ensure};
use omnirelay_store::redis::link::{LinkError, RedisOptions, TlsFiles};
use redis::Value;

use crate::linked::{incr, link_with, refusal, write_until_done};
use crate::servers::{Authority, RedisServer};

fn options(ca: &Authority, client: Option<&Authority>) -> RedisOptions {
    let (cert, key) = client.map(Authority::client).unzip();
    let tls = TlsFiles { ca: Some(ca.ca()), cert, key };
    RedisOptions { tls, ..RedisOptions::default() }
}

fn url(server: &RedisServer) -> String {
    format!("rediss://127.0.0.1:{}", server.tls_port())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_sides_show_their_certificates() -> Result<()> {
    let authority = Authority::new()?;
    let server = authority.server(tempfile::tempdir()?, &[])?;
    let (by_address, _) = link_with(&url(&server), options(&authority, Some(&authority)))?;
    assert_eq!(by_address.call(&incr()).await?, Value::Int(1));
    let by_name = url(&server).replace("127.0.0.1", "localhost");
    let (by_name, _) = link_with(&by_name, options(&authority, Some(&authority)))?;
    assert_eq!(by_name.call(&incr()).await?, Value::Int(2));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_wrong_with_tls_is_told() -> Result<()> {
    let (authority, other) = (Authority::new()?, Authority::new()?);
    let server = authority.server(tempfile::tempdir()?, &[])?;
    let spoiled = server.directory().join("spoiled.pem");
    std::fs::write(&spoiled, "nothing of the kind")?;
    let with = |change: fn(&mut TlsFiles, &std::path::Path)| {
        let mut options = options(&authority, Some(&authority));
        change(&mut options.tls, &spoiled);
        options
    };
    let plain = server.url().replace("redis://", "rediss://");
    let no_tls = url(&server).replace("rediss://", "redis://");
    // What a server says before it breaks a connection may be lost with it.
    let cases = [
        ("another authority", url(&server), options(&other, Some(&authority)), "certificate"),
        ("public authorities", url(&server), with(|tls, _| tls.ca = None), "certificate"),
        ("a client of another authority", url(&server), options(&authority, Some(&other)), ""),
        ("a client without a certificate", url(&server), options(&authority, None), ""),
        ("a port without TLS", plain, options(&authority, None), "TLS"),
        ("TLS on one side only", no_tls, RedisOptions::default(), "must begin with `rediss`"),
        (
            "no such file",
            url(&server),
            with(|tls, _| tls.ca = Some("/nowhere/ca.pem".into())),
            "/nowhere/ca.pem",
        ),
        (
            "a file of something else",
            url(&server),
            with(|tls, file| tls.ca = Some(file.into())),
            "spoiled.pem",
        ),
        (
            "a key of something else",
            url(&server),
            with(|tls, file| tls.key = Some(file.into())),
            "spoiled.pem",
        ),
    ];
    for (what, url, options, expected) in cases {
        let (link, _) = link_with(&url, options)?;
        let error = refusal(link.call(&incr()).await)?;
        println!("{what}: {}", error.chain());
        ensure!(matches!(error, LinkError::Unreachable(_)), "{what}: {error:?}");
        ensure!(error.chain().contains(expected), "{what}: {}", error.chain());
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sentinels_speak_tls_as_well() -> Result<()> {
    let authority = Authority::new()?;
    let master = authority.server(tempfile::tempdir()?, &[])?;
    let directory = tempfile::tempdir()?;
    let watch = format!("sentinel monitor mesh 127.0.0.1 {} 1\n", master.tls_port());
    std::fs::write(directory.path().join("sentinel.conf"), watch)?;
    let sentinel = authority.server(directory, &["{dir}/sentinel.conf", "--sentinel"])?;
    let url = format!("rediss+sentinel://127.0.0.1:{}/mesh", sentinel.tls_port());
    let (link, _) = link_with(&url, options(&authority, Some(&authority)))?;
    assert_eq!(link.call(&incr()).await?, Value::Int(1));
    assert_eq!(link.connection().await?.address().port, master.tls_port());
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_certificate_is_taken_from_its_file() -> Result<()> {
    let (authority, other) = (Authority::new()?, Authority::new()?);
    let server = authority.server(tempfile::tempdir()?, &[])?;
    let file = server.directory().join("ca-of-daemon.pem");
    std::fs::copy(other.ca(), &file)?;
    let mut options = options(&authority, Some(&authority));
    options.tls.ca = Some(file.clone());
    let (link, _) = link_with(&url(&server), options)?;
    refusal(link.call(&incr()).await)?;
    std::fs::copy(authority.ca(), &file)?;
    write_until_done(&link).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn passwords_are_sent_through_tls_as_well() -> Result<()> {
    let authority = Authority::new()?;
    let server = authority.server(tempfile::tempdir()?, &["--requirepass", "secret"])?;
    let (nobody, _) = link_with(&url(&server), options(&authority, Some(&authority)))?;
    assert_eq!(refusal(nobody.call(&incr()).await)?.code(), Some("NOAUTH"));
    let url = url(&server).replace("rediss://", "rediss://:secret@");
    let (tls, _) = link_with(&url, options(&authority, Some(&authority)))?;
    assert_eq!(tls.call(&incr()).await?, Value::Int(1));
    Ok(())
}
