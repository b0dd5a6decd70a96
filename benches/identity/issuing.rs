//! How many certificates are issued in a second.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use anyhow::{Context as _, Result};
use omnirelay_core::spiffe::{CertificateHolder, SpiffeId, TrustDomain};
use omnirelay_pki::authority::{CertificateAuthority, ValidityPeriod};
use omnirelay_pki::certificate::TlsNames;
use omnirelay_pki::request::CertificateRequest;

use crate::load::{self, IN_FLIGHT, median};
use crate::{Asked, Plan, mesh, paired, say, together};

/// How many connections the administrator has.
const CONNECTIONS: usize = 4;
/// How many requests are made before each round; more than can be answered.
const REQUESTS: usize = 4096;

pub(crate) async fn all(plan: Plan) -> Result<()> {
    println!("\nissuing: operators' certificates, an administrator under TLS, embedded store");
    let mesh = mesh::start("issuer", "127.0.0.1:0", &[])?;
    let admin = mesh::Identity::of(&mesh.path("admin"))?;
    let channels = mesh::channels(CONNECTIONS, &mesh.daemon.control, &admin.config()?).await?;
    let (mut each_core, mut each_second, mut bare) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..plan.rounds {
        bare.push(signed_alone(plan)?);
        let requests: Vec<String> = (0..REQUESTS).map(|_| Ok(mesh::request()?.1)).collect::<Result<_>>()?;
        let (requests, next) = (Arc::new(requests), Arc::new(AtomicUsize::new(0)));
        let channels = channels.clone();
        let issued = together(plan.turn, mesh.daemon.pid(), move |number| {
            let (channel, requests) = (channels[number % CONNECTIONS].clone(), Arc::clone(&requests));
            // A key may be certified for many; names are new.
            let at = next.fetch_add(1, Ordering::Relaxed);
            async move {
                let csr = requests[at % REQUESTS].clone();
                mesh::issue(channel, format!("leaf-{round}-{at}"), csr).await.map(drop)
            }
        });
        let issued = issued.await?;
        each_core.push(1e6 / issued.cost_us);
        each_second.push(issued.per_second);
    }
    let alone = {
        let (channel, csr) = (channels[0].clone(), mesh::request()?.1);
        let next = AtomicUsize::new(0);
        load::alone(plan.turn, |_, _| {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let (channel, csr) = (channel.clone(), csr.clone());
            async move { mesh::issue(channel, format!("alone-{at}"), csr).await.map(drop) }
        })
        .await?
    };
    say(
        "issued, each second of a core of the daemon",
        median(each_core.clone()),
        "/s",
        Some(Asked::AtLeast(1000.0)),
    );
    say(&format!("issued, {IN_FLIGHT} in flight, client on the same cores"), median(each_second), "/s", None);
    say("issued, 1 in flight", alone, "us", None);
    say("the same checked and signed by one core, without anything else", median(bare.clone()), "/s", None);
    say("ratio of the two", paired(&each_core, &bare, |ours, bare| ours / bare), "", None);
    Ok(())
}

/// How many requests one core checks and signs in a second, with no daemon around it.
fn signed_alone(plan: Plan) -> Result<f64> {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs();
    let now = i64::try_from(now)?;
    let validity = ValidityPeriod { not_before: now - 60, not_after: now + 86_400 };
    let domain: TrustDomain = "bench.local".parse()?;
    let issuer = CertificateAuthority::root(domain.clone(), validity)?.intermediate("default", validity)?;
    let id = SpiffeId::new(domain, CertificateHolder::Operator("bench".to_owned())).context("an id")?;
    let csr = mesh::request()?.1;
    let (begun, mut count) = (Instant::now(), 0_u32);
    while begun.elapsed() < plan.turn {
        let request = CertificateRequest::from_pem(&csr)?;
        issuer.issue(&request, &id, &TlsNames::default(), validity)?;
        count += 1;
    }
    Ok(f64::from(count) / begun.elapsed().as_secs_f64())
}
