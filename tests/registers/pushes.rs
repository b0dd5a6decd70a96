//! What a daemon pushes to a peer service of Sorcha's, and what it makes of one that is not well.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::json;

use crate::on_both;
use crate::peer_service::{Mood, PeerService};
use crate::process::{until, within};
use crate::servers::free_port;
use crate::world::{BRISK, Backing, Node, ONLY_WHEN_CHANGED, number, pushing_to, text};

on_both! {
    pushes_speak_the_contract_of_sorchas_peer_service
    failing_peer_service_is_told_of_and_tried_again_with_backoff
    hanging_peer_service_delays_nothing_else
    peer_service_that_forgot_all_gets_it_again
    last_deletion_reaches_a_peer_service_of_another_make
}

/// A daemon that pushes to these.
fn pushing(backing: Backing, services: &[&PeerService], settings: &[&str]) -> Result<Node> {
    let urls: Vec<String> = services.iter().map(|service| service.url()).collect();
    let urls: Vec<&str> = urls.iter().map(String::as_str).collect();
    Node::start(backing, "catalogue", &[settings, &[&pushing_to(&urls)]].concat())
}

async fn pushes_speak_the_contract_of_sorchas_peer_service(backing: Backing) -> Result<()> {
    let service = PeerService::start()?;
    let mut node = pushing(backing, &[&service], ONLY_WHEN_CHANGED)?;
    let first = json!({
        "registerId": "first", "name": "First", "description": "The first", "advertise": true,
        "latestVersion": "12", "latestDocketVersion": "3",
    });
    node.api()?.post("/control/registers", &first).await?.ok()?;
    node.create("hidden", false).await?;
    until("it is pushed", async || Ok(service.shown() == ["first"])).await?;
    let expected = json!({
        "registerId": "first", "name": "First", "description": "The first", "isPublic": true,
        "latestVersion": 12, "latestDocketVersion": 3,
    });
    ensure!(service.register("first") == expected, "{}", service.register("first"));
    node.turn("first", false).await?;
    until("it is hidden", async || Ok(service.shown().is_empty())).await?;
    node.turn("first", true).await?;
    until("it is public", async || Ok(service.shown() == ["first"])).await?;
    // All of it goes when the daemon starts, as all there is.
    let before = service.calls().len();
    node.restart()?;
    until("all is pushed", async || Ok(service.calls().len() > before)).await?;
    let calls = service.calls();
    let full = calls.get(before).context("no call")?;
    ensure!(full.path == "/api/registers/bulk-advertise" && full.body["fullSync"] == true, "{full:?}");
    ensure!(full.body["advertisements"] == json!([expected]), "{full:?}");
    for call in &calls {
        ensure!(call.method == "POST" && call.content_type.starts_with("application/json"), "{call:?}");
        ensure!(!call.body.to_string().contains("hidden") && !call.path.contains("hidden"), "{call:?}");
    }
    Ok(())
}

async fn failing_peer_service_is_told_of_and_tried_again_with_backoff(backing: Backing) -> Result<()> {
    // One that refuses connections, and one for each way to answer badly.
    let refusing = format!("127.0.0.1:{}", free_port()?);
    let moods = [
        (Mood::Closing, "broke off"),
        (Mood::Failing(500), "500"),
        (Mood::Failing(400), "400"),
        (Mood::Garbage, "counts"),
        (Mood::Noise, "broke off"),
        (Mood::Strange, "counts"),
        (Mood::Redirecting, "307"),
    ];
    let services = moods.map(|(mood, _)| {
        let service = PeerService::start();
        if let Ok(service) = &service {
            service.set(mood);
        }
        service
    });
    let services: Vec<PeerService> = services.into_iter().collect::<Result<_>>()?;
    let mut urls: Vec<String> = services.iter().map(PeerService::url).collect();
    urls.push(format!("http://{refusing}"));
    let list: Vec<&str> = urls.iter().map(String::as_str).collect();
    let node = Node::start(backing, "catalogue", &[ONLY_WHEN_CHANGED, &[&pushing_to(&list)]].concat())?;
    node.create("r", true).await?;
    let said = moods.iter().map(|(_, said)| *said).chain(["cannot be reached"]);
    for (url, said) in urls.iter().zip(said) {
        until(&format!("{url} has failed, and {said} is told"), async || {
            let state = node.sync_state(url).await?;
            let failed = number(&state["failures"])? >= 2 && text(&state["error"]).contains(said);
            ensure!(failed, "{state}");
            Ok(true)
        })
        .await?;
    }
    ensure!(!services[6].calls().iter().any(|call| call.path == "/elsewhere"), "it went where it was sent");
    // Of 1, 2, 4 s, each at least half: not a stream of calls.
    let most = services.iter().map(|service| service.calls().len()).max();
    ensure!(most < Some(12), "{most:?} calls");
    for service in &services {
        service.set(Mood::Well);
    }
    let back = PeerService::start_on(TcpListener::bind(&refusing)?);
    for service in services.iter().chain([&back]) {
        until("it has all", async || Ok(service.shown() == ["r"])).await?;
    }
    Ok(())
}

async fn hanging_peer_service_delays_nothing_else(backing: Backing) -> Result<()> {
    let (hanging, well) = (PeerService::start()?, PeerService::start()?);
    hanging.set(Mood::Hanging);
    let node = pushing(backing, &[&hanging, &well], ONLY_WHEN_CHANGED)?;
    until("it hangs", async || Ok(!hanging.calls().is_empty())).await?;
    for id in ["r1", "r2", "r3"] {
        let begun = Instant::now();
        let created = node.create(id, true).await?;
        ensure!(created["advertised"] == true, "{created}");
        ensure!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    }
    within(Duration::from_secs(5), "the other has all", async || Ok(well.shown().len() == 3)).await?;
    node.expect_shown(&["r1", "r2", "r3"]).await?;
    // One call at a time.
    ensure!(hanging.calls().len() == 1, "{:?}", hanging.calls().len());
    Ok(())
}

async fn peer_service_that_forgot_all_gets_it_again(backing: Backing) -> Result<()> {
    let service = PeerService::start()?;
    let node = pushing(backing, &[&service], BRISK)?;
    node.create("r", true).await?;
    until("it has it", async || Ok(service.shown() == ["r"])).await?;
    service.forget();
    until("it has it again", async || Ok(service.shown() == ["r"])).await
}

/// A set without a register is a legal message, and the only one that says that nothing is public any more.
async fn last_deletion_reaches_a_peer_service_of_another_make(backing: Backing) -> Result<()> {
    let service = PeerService::start()?;
    let mut node = pushing(backing, &[&service], BRISK)?;
    node.create("last", true).await?;
    until("it has it", async || Ok(service.shown() == ["last"])).await?;
    service.set(Mood::Failing(503));
    node.delete("last").await?;
    node.restart()?;
    service.set(Mood::Well);
    until("it is told", async || Ok(service.shown().is_empty())).await
}
