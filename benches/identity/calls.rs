//! What it adds to a call on an open connection that the caller is proven, and asked what they may do.
//!
//! All calls go over TLS to one daemon, whose loopback is open: those who show nothing are `local`, and nothing is proven.

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, Result};
use omnirelay_wire::pb::omnirelay::mesh::control::v1::GetPeerRequest;
use omnirelay_wire::pb::omnirelay::mesh::control::v1::peer_control_service_client::PeerControlServiceClient;
use omnirelay_wire::pb::omnirelay::security::v1::IssueTokenRequest;
use omnirelay_wire::pb::omnirelay::security::v1::token_service_client::TokenServiceClient;
use rustls::ClientConfig;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::Channel;

use crate::load::median;
use crate::{Asked, Plan, mesh, paired, say, together};

const CONNECTIONS: usize = 4;

/// Somebody who calls: by a certificate, by a token, or by nothing.
struct Subject {
    name: &'static str,
    channels: Vec<Channel>,
    token: Option<MetadataValue<Ascii>>,
    /// The time of a call, in microseconds, round by round.
    alone: Vec<f64>,
    /// What a call costs the daemon, in microseconds, round by round.
    cost: Vec<f64>,
}

impl Subject {
    async fn new(
        name: &'static str,
        address: &str,
        config: Arc<ClientConfig>,
        token: Option<&str>,
    ) -> Result<Self> {
        let channels = mesh::channels(CONNECTIONS, address, &config).await?;
        let token = token.map(|token| format!("Bearer {token}").parse()).transpose()?;
        Ok(Self { name, channels, token, alone: Vec::new(), cost: Vec::new() })
    }

    fn call(&self, number: usize) -> impl Future<Output = Result<()>> + Send + use<> {
        let (channel, token) = (self.channels[number % CONNECTIONS].clone(), self.token.clone());
        async move {
            let mut request =
                tonic::Request::new(GetPeerRequest { node_id: "bench".to_owned(), ..Default::default() });
            if let Some(token) = token {
                request.metadata_mut().insert("authorization", token);
            }
            PeerControlServiceClient::new(channel).get(request).await?;
            Ok(())
        }
    }

    /// What a call costs the daemon when many are under way.
    async fn measure(self, plan: Plan, daemon: u32) -> Result<Self> {
        let shared = Arc::new(self);
        let calling = Arc::clone(&shared);
        let together = together(plan.turn, daemon, move |number| calling.call(number)).await?;
        let mut subject = Arc::into_inner(shared).context("a call has not ended")?;
        subject.cost.push(together.cost_us);
        Ok(subject)
    }
}

/// The time of a call of each, one after another in turns: what is compared are a few microseconds, and what the machine does
/// otherwise has to be done to all.
async fn alone(plan: Plan, subjects: &mut [Subject]) -> Result<()> {
    let mut times = vec![Vec::new(); subjects.len()];
    let end = Instant::now() + plan.turn * u32::try_from(subjects.len())?;
    while Instant::now() < end {
        for (subject, times) in subjects.iter().zip(&mut times) {
            let begun = Instant::now();
            subject.call(0).await?;
            times.push(begun.elapsed().as_secs_f64() * 1e6);
        }
    }
    for (subject, times) in subjects.iter_mut().zip(times) {
        subject.alone.push(median(times));
    }
    Ok(())
}

pub(crate) async fn all(plan: Plan) -> Result<()> {
    println!(
        "\ncalls: a peer is read on an open connection, by callers who prove who they are and one who does not"
    );
    let mesh = mesh::start("bench", "127.0.0.1:0", &["--set", "security.loopback=open"])?;
    let admin = mesh::Identity::of(&mesh.path("admin"))?;
    let (address, daemon) = (mesh.daemon.control.as_str(), mesh.daemon.pid());
    let channel = mesh::channel(address, &admin.config()?).await?;
    let asked = IssueTokenRequest::default();
    let signed = TokenServiceClient::new(channel).issue_token(asked).await?.into_inner().token;
    let file = std::fs::read_to_string(mesh.place.data_dir().join("control-token"))?;
    let file = file.lines().find_map(|line| line.split_whitespace().nth(1)).unwrap_or_default();
    let mut subjects = vec![
        Subject::new("nothing (local)", address, admin.nobody()?, None).await?,
        Subject::new("a certificate", address, admin.config()?, None).await?,
        Subject::new("a token of the mesh", address, admin.nobody()?, Some(&signed)).await?,
        Subject::new("a token in a file", address, admin.nobody()?, Some(file)).await?,
    ];
    for _ in 0..plan.rounds {
        alone(plan, &mut subjects).await?;
        let mut measured = Vec::new();
        for subject in subjects {
            measured.push(subject.measure(plan, daemon).await?);
        }
        // Another one first in each round.
        measured.rotate_left(1);
        subjects = measured;
    }
    subjects.sort_by_key(|subject| subject.token.is_some());
    let at = subjects
        .iter()
        .position(|subject| subject.name.starts_with("nothing"))
        .context("nobody is unproven")?;
    let nobody = subjects.remove(at);
    say("one who proves nothing: 1 in flight", median(nobody.alone.clone()), "us", None);
    say("  64 in flight, what a call costs the daemon", median(nobody.cost.clone()), "us", None);
    for subject in &subjects {
        let more = |of: &[f64], than: &[f64]| paired(of, than, |of, than| of - than);
        let most = Some(Asked::AtMost(20.0));
        say(
            &format!("added by {}: 1 in flight", subject.name),
            more(&subject.alone, &nobody.alone),
            "us",
            most,
        );
        say("  64 in flight, of the daemon's time", more(&subject.cost, &nobody.cost), "us", most);
    }
    Ok(())
}
