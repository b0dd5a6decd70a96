//! How long it takes to let 200 hosts into a mesh at once.

use std::process::{Child, Stdio};
use std::time::Instant;

use anyhow::{Result, ensure};

use crate::process::secured::{Secured, command};
use crate::servers::RedisServer;
use crate::{Asked, Plan, load, mesh, say};

const HOSTS: usize = 200;

pub(crate) async fn all(plan: Plan) -> Result<()> {
    println!(
        "\nenrolments: {HOSTS} processes of `omnirelay mesh join` at once, one token, until the last has ended"
    );
    let rounds = plan.rounds.min(3);
    let embedded: Vec<f64> = (0..rounds).map(|_| joined(&[])).collect::<Result<_>>()?;
    let most = Some(Asked::AtMost(5.0));
    say(&format!("{HOSTS} join, embedded store, longest of {rounds}"), longest(&embedded), "s", most);
    say("  the middle one", load::median(embedded), "s", None);
    let redis: Vec<f64> = (0..rounds)
        .map(|_| {
            let server = RedisServer::start(&[])?;
            joined(&["--store", &server.url()])
        })
        .collect::<Result<_>>()?;
    say(&format!("{HOSTS} join, a user of Redis for each, longest of {rounds}"), longest(&redis), "s", most);
    say("  the middle one", load::median(redis), "s", None);
    let started: Vec<f64> = (0..rounds).map(|_| started()).collect::<Result<_>>()?;
    say(&format!("{HOSTS} processes that only print their version"), load::median(started), "s", None);
    Ok(())
}

fn longest(times: &[f64]) -> f64 {
    times.iter().copied().fold(0.0, f64::max)
}

/// Has all of them join; how long it took, in seconds.
fn joined(arguments: &[&str]) -> Result<f64> {
    let mesh = mesh::start("first", "127.0.0.1:0", arguments)?;
    mesh::by_admin(&mesh, &format!("token create --uses {HOSTS} --out token"))?;
    let took = timed(&mesh, |number| {
        let server = &mesh.daemon.control;
        // The daemon of each would listen at a port of its own.
        let listen = 20_000 + number;
        format!(
            "mesh join --server {server} --token-file token --node-id n-{number} --data-dir n-{number} \
             --listen 127.0.0.1:{listen}"
        )
    })?;
    let named = mesh::by_admin(&mesh, "cert list -o json")?;
    let nodes = (0..HOSTS).filter(|number| named.contains(&format!("/worker/n-{number}\""))).count();
    ensure!(nodes == HOSTS, "{nodes} nodes have a certificate");
    Ok(took)
}

fn started() -> Result<f64> {
    let mesh = mesh::start("first", "127.0.0.1:0", &[])?;
    timed(&mesh, |_| "--version".to_owned())
}

fn timed(mesh: &Secured, line: impl Fn(usize) -> String) -> Result<f64> {
    let begun = Instant::now();
    let hosts: Result<Vec<Child>> = (0..HOSTS)
        .map(|number| {
            let mut host = command(&line(number), mesh.folder.path());
            Ok(host.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?)
        })
        .collect();
    for host in hosts? {
        let ended = host.wait_with_output()?;
        ensure!(ended.status.success(), "a host did not join: {}", String::from_utf8_lossy(&ended.stderr));
    }
    Ok(begun.elapsed().as_secs_f64())
}
