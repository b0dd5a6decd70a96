//! What signatures of records cost: changes of bindings, and a start with many signed records.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use omnirelay_core::spiffe::TrustDomain;
use omnirelay_pki::authority::{CertificateAuthority, ValidityPeriod};
use omnirelay_pki::issuer_key::IssuerKey;
use omnirelay_pki::join_token::JoinToken;
use omnirelay_pki::key::Fingerprint;
use omnirelay_wire::pb::omnirelay::security::v1 as pb;
use pb::binding_service_client::BindingServiceClient;
use pb::enrollment_service_client::EnrollmentServiceClient;
use tonic::transport::Channel;

use crate::load::{self, IN_FLIGHT, median};
use crate::process::secured::Secured;
use crate::process::{Daemon, Place};
use crate::{Asked, Plan, mesh, paired, say, together};

const CONNECTIONS: usize = 4;
/// How many principals are given scopes, in turn.
const PRINCIPALS: usize = 256;
/// How many signed records there are at a start: as many join tokens as may be.
const RECORDS: usize = 10_000;

pub(crate) async fn all(plan: Plan) -> Result<()> {
    println!("\nsigned records: bindings set by an administrator under TLS, embedded store");
    let mesh = mesh::start("signer", "127.0.0.1:0", &[])?;
    let admin = mesh::Identity::of(&mesh.path("admin"))?;
    let channels = mesh::channels(CONNECTIONS, &mesh.daemon.control, &admin.config()?).await?;
    let (mut each_core, mut each_second, mut bare) = (Vec::new(), Vec::new(), Vec::new());
    let next = Arc::new(AtomicUsize::new(0));
    for _ in 0..plan.rounds {
        bare.push(signed_alone(plan)?);
        let (channels, next) = (channels.clone(), next.clone());
        let set = together(plan.turn, mesh.daemon.pid(), move |number| {
            let (channel, at) =
                (channels[number % CONNECTIONS].clone(), next.fetch_add(1, Ordering::Relaxed));
            set(channel, at)
        });
        let set = set.await?;
        each_core.push(1e6 / set.cost_us);
        each_second.push(set.per_second);
    }
    let alone =
        load::alone(plan.turn, |_, _| set(channels[0].clone(), next.fetch_add(1, Ordering::Relaxed))).await?;
    let asked = Some(Asked::AtLeast(1000.0));
    say("changed, each second of a core of the daemon", median(each_core.clone()), "/s", asked);
    say(
        &format!("changed, {IN_FLIGHT} in flight, client on the same cores"),
        median(each_second),
        "/s",
        None,
    );
    say("changed, 1 in flight", alone, "us", None);
    say("signed and verified by one core, without anything else", median(bare.clone()), "/s", None);
    say("ratio of the two", paired(&each_core, &bare, |ours, bare| ours / bare), "", None);
    drop(channels);
    starts(plan, mesh).await
}

/// Gives a principal a scope that it has not.
async fn set(channel: Channel, at: usize) -> Result<()> {
    let scope = if (at / PRINCIPALS).is_multiple_of(2) { "mesh.read" } else { "mesh.operate" };
    let request = pb::SetBindingRequest {
        principal: format!("operator:o{}", at % PRINCIPALS),
        scopes: vec![scope.to_owned()],
        ..Default::default()
    };
    BindingServiceClient::new(channel).set(request).await?;
    Ok(())
}

/// How many values of this size one core signs and verifies in a second.
fn signed_alone(plan: Plan) -> Result<f64> {
    let domain: TrustDomain = "bench.local".parse()?;
    let validity = ValidityPeriod { not_before: 1_795_000_000, not_after: 1_796_000_000 };
    let issuer = CertificateAuthority::root(domain.clone(), validity)?.intermediate("default", validity)?;
    let key = IssuerKey::of(issuer.certificate(), domain)?;
    let (message, begun, mut count) = ([7; 120], Instant::now(), 0_u32);
    while begun.elapsed() < plan.turn {
        let signature = issuer.sign("record 1", &message)?;
        ensure!(key.has_signed("record 1", &message, &signature), "not signed");
        count += 1;
    }
    Ok(f64::from(count) / begun.elapsed().as_secs_f64())
}

/// How much longer a start takes with many signed records, where the host knows them and where it does not.
async fn starts(plan: Plan, mesh: Secured) -> Result<()> {
    println!("\na start with {RECORDS} signed join tokens, until the daemon is ready");
    let Secured { place, daemon, folder } = mesh;
    let kept = place.data_dir().join("identity/signed-records");
    let (daemon, few) = started(plan, &place, daemon, || Ok(()))?;
    fill(&daemon, &folder.path().join("admin")).await?;
    let (daemon, known) = started(plan, &place, daemon, || Ok(()))?;
    let (daemon, unknown) = started(plan, &place, daemon, || match std::fs::remove_file(&kept) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
        Ok(()) | Err(_) => Ok(()),
    })?;
    drop(daemon);
    let more = |of: &[f64]| paired(of, &few, |of, few| of - few);
    say("without them", median(few.clone()), "ms", None);
    say("longer, where the host has kept what counted", more(&known), "ms", Some(Asked::AtMost(1000.0)));
    say("longer, where each signature is verified", more(&unknown), "ms", Some(Asked::AtMost(1000.0)));
    Ok(())
}

/// Makes as many join tokens as there may be.
async fn fill(daemon: &Daemon, admin: &Path) -> Result<()> {
    let config = mesh::Identity::of(admin)?.config()?;
    let channels = mesh::channels(CONNECTIONS, &daemon.control, &config).await?;
    let mut made = tokio::task::JoinSet::new();
    for (number, channel) in channels.into_iter().enumerate() {
        made.spawn(async move {
            for _ in (number..RECORDS).step_by(CONNECTIONS) {
                let token = JoinToken::make(Fingerprint::of(b"root"))?;
                let request = pb::CreateJoinTokenRequest {
                    token_id: token.id().to_string(),
                    verifier: token.verifier()?.as_bytes().to_vec(),
                    lifetime_seconds: 604_800,
                    ..Default::default()
                };
                EnrollmentServiceClient::new(channel.clone()).create_token(request).await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(made) = made.join_next().await {
        made??;
    }
    // What counts is kept within a second or two.
    tokio::time::sleep(Duration::from_secs(3)).await;
    Ok(())
}

/// Stops the daemon and starts it again, as often as there are rounds; the milliseconds until it is ready.
fn started(
    plan: Plan,
    place: &Place,
    mut daemon: Daemon,
    before: impl Fn() -> Result<()>,
) -> Result<(Daemon, Vec<f64>)> {
    let mut took = Vec::new();
    for _ in 0..plan.rounds {
        daemon.signal("TERM")?;
        daemon.wait()?;
        before()?;
        let begun = Instant::now();
        daemon = place.start()?;
        took.push(begun.elapsed().as_secs_f64() * 1000.0);
    }
    Ok((daemon, took))
}
