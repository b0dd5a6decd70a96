//! What keeping ten thousand registers true costs.

use omnirelay_wire::tls::nobody;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::figures::Figures;
use crate::mesh::{Kind, Service, register};

const REGISTERS: usize = 10_000;
/// How often another call is made.
const CALL_EVERY: Duration = Duration::from_millis(20);
/// For how long they are measured alone.
const ALONE: Duration = Duration::from_secs(5);

/// Other calls while every one of ten thousand registers is changed by a full sync, beside the same calls alone.
pub(crate) async fn beside_calls(kind: Kind, rounds: usize) -> Result<()> {
    let service = Service::start(kind, &[])?;
    let url = service.daemon()?.url("");
    let (mut alone, mut beside, mut took) = (Figures::default(), Figures::default(), Figures::default());
    push(&url, 0).await?;
    for round in 1..=rounds {
        let (mut before, mut during) = (Figures::default(), Figures::default());
        let measured = calls(&url, Arc::new(AtomicBool::new(false)), Some(ALONE)).await?;
        measured.into_iter().for_each(|it| before.push(it));
        let done = Arc::new(AtomicBool::new(false));
        let calling = tokio::spawn({
            let (url, done) = (url.clone(), done.clone());
            async move { calls(&url, done, None).await }
        });
        // Each run changes all of them.
        took.push(push(&url, round).await?);
        done.store(true, Ordering::Relaxed);
        calling.await??.into_iter().for_each(|it| during.push(it));
        // Each series for itself: a bad one is not made good by the others.
        let (before_ms, during_ms) = (before.p99(), during.p99());
        println!(
            "p99 of other calls in series {round}, {}: alone_ms={before_ms:.1} beside_ms={during_ms:.1} \
             added_ms={:.1} limit 100 ms",
            kind.word(),
            during_ms - before_ms
        );
        alone.extend(&before);
        beside.extend(&during);
    }
    let word = kind.word();
    took.print(&format!("10000 registers reconciled, {word}, limit 3000 ms"));
    alone.print(&format!("other calls alone, {word}"));
    beside.print(&format!("other calls beside a run, {word}, limit of p99: that alone + 10 ms"));
    Ok(())
}

/// Pushes all registers as one full sync, as a register service outside does; returns how long that took.
async fn push(url: &str, version: usize) -> Result<Duration> {
    let item = |number: usize| {
        let mut item = register(number);
        item["isPublic"] = json!(true);
        item["latestVersion"] = json!(version);
        item
    };
    let items: Vec<Value> = (0..REGISTERS).map(item).collect();
    let body = json!({"advertisements": items, "fullSync": true}).to_string();
    let request = reqwest::Client::builder()
        .tls_backend_preconfigured(nobody())
        .build()?
        .post(format!("{url}/api/registers/bulk-advertise"));
    let begun = Instant::now();
    let response = request.header("content-type", "application/json").body(body).send().await?;
    ensure!(response.status().is_success(), "{}", response.status());
    response.bytes().await?;
    Ok(begun.elapsed())
}

/// Makes other calls until told to stop, and returns how long each took.
async fn calls(url: &str, done: Arc<AtomicBool>, limit: Option<Duration>) -> Result<Vec<Duration>> {
    let client = reqwest::Client::builder().tls_backend_preconfigured(nobody()).build()?;
    let begun = Instant::now();
    let mut ticks = tokio::time::interval(CALL_EVERY);
    // Each is measured from when it was due: a call that waits for the one before it is slow as well.
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Burst);
    let mut took = Vec::new();
    let mut number = 0_u64;
    while !done.load(Ordering::Relaxed) && limit.is_none_or(|limit| begun.elapsed() < limit) {
        let due = ticks.tick().await;
        number += 1;
        let request = match number % 4 {
            0 => {
                let body = json!({"isPublic": number.is_multiple_of(8)}).to_string();
                let request = client.post(format!("{url}/api/registers/other/advertise"));
                request.header("content-type", "application/json").body(body)
            }
            1 => client.get(format!("{url}/control/advertisements?registerId={:032x}", number % 10_000)),
            2 => client.get(format!("{url}/control/registers/available?pageSize=10")),
            _ => client.get(format!("{url}/control/peers")),
        };
        let response = request.send().await?;
        ensure!(response.status().is_success(), "{}", response.status());
        response.bytes().await?;
        took.push(due.elapsed());
    }
    Ok(took)
}

/// Other calls while the catalogue of ten thousand is compared with the store again and again, beside the same calls
/// alone: what the runs at every interval cost others.
pub(crate) async fn beside_comparisons(kind: Kind, runs: usize) -> Result<()> {
    let service = Service::start(kind, &["registers.resyncInterval=1h"])?;
    service.import(REGISTERS).await?;
    service.until_visible(REGISTERS).await?;
    let url = service.daemon()?.url("");
    let mut alone = Figures::default();
    let measured = calls(&url, Arc::new(AtomicBool::new(false)), Some(ALONE)).await?;
    measured.into_iter().for_each(|it| alone.push(it));
    let done = Arc::new(AtomicBool::new(false));
    let calling = tokio::spawn({
        let (url, done) = (url.clone(), done.clone());
        async move { calls(&url, done, None).await }
    });
    for _ in 0..runs {
        service.resync().await?;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    done.store(true, Ordering::Relaxed);
    let mut beside = Figures::default();
    calling.await??.into_iter().for_each(|it| beside.push(it));
    let word = kind.word();
    alone.print(&format!("other calls alone, {word}"));
    beside.print(&format!(
        "other calls beside a comparison a second, {word}, limit of p99: that alone + 10 ms"
    ));
    Ok(())
}

/// What runs cost that change nothing, and are asked for: each leaves an audit record, and nothing else. Those that
/// nobody asks for leave none.
pub(crate) async fn unchanged(kind: Kind) -> Result<()> {
    const RUNS: usize = 20;
    let service = Service::start(kind, &["registers.resyncInterval=1h"])?;
    service.import(REGISTERS).await?;
    service.until_visible(REGISTERS).await?;
    let head = |answer: Value| answer["cursor"].as_str().map(str::to_owned).context("no cursor");
    let place = |daemon| async move {
        head(crate::process::Daemon::get(daemon, "/control/advertisements?pageSize=1").await?)
    };
    let before = place(service.daemon()?).await?;
    let mut figures = Figures::default();
    for _ in 0..RUNS {
        let begun = Instant::now();
        let operation = service.resync().await?;
        figures.push(begun.elapsed());
        let unchanged = operation["counts"]["unchanged"].as_str().and_then(|text| text.parse().ok());
        ensure!(unchanged == Some(REGISTERS), "{operation}");
    }
    let after = place(service.daemon()?).await?;
    figures.print(&format!("10000 registers compared and unchanged, {}", kind.word()));
    println!(
        "  the registry stood at {before} before {RUNS} runs and at {after} behind them (one audit record each)"
    );
    Ok(())
}
