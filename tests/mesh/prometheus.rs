//! A real Prometheus scrapes a mesh by the stanza of the guide, and judges it by the rules that are shipped.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::servers::{Authority, Prometheus, eventually};
use crate::up::{Mesh, hold_ports};

const GUIDE: &str = include_str!("../../docs/observability/README.md");

/// The stanza of the guide, for daemons that are there, and files of a test.
fn stanza(daemons: [&str; 2], files: &Path) -> Result<String> {
    let (_, rest) = GUIDE.split_once("```yaml\n").context("the guide has no stanza")?;
    let (stanza, _) = rest.split_once("```").context("the stanza has no end")?;
    let named = ["https://eu-1.example:17420", "https://eu-2.example:17420", "/etc/prometheus/omnirelay"];
    ensure!(named.iter().all(|name| stanza.contains(name)), "the stanza is another: {stanza}");
    let files = files.to_string_lossy();
    let filled = named.iter().zip([daemons[0], daemons[1], &files]);
    let filled = filled.fold(stanza.to_owned(), |text, (name, real)| text.replace(name, real));
    let often = "        refresh_interval: 1s\n";
    let hurried = filled
        .replace("    scrape_interval: 15s\n", "")
        .replace("        tls_config: *omnirelay\n", &format!("        tls_config: *omnirelay\n{often}"));
    Ok(format!("global:\n  scrape_interval: 1s\n  scrape_timeout: 1s\n{hurried}"))
}

/// `up` by node, each with what its labels say besides.
fn scraped(prometheus: &Prometheus) -> Result<BTreeMap<String, f64>> {
    let series = prometheus.query("up{job=\"omnirelay\",mesh=\"default\"}")?;
    let named =
        series.iter().map(|(labels, up)| Ok((labels["node"].as_str().context("node")?.to_owned(), *up)));
    named.collect()
}

fn nodes(up: [f64; 3]) -> BTreeMap<String, f64> {
    ["node-1", "node-2", "node-3"].map(str::to_owned).into_iter().zip(up).collect()
}

/// How much faster rules are than their operators have them: what fires after two minutes does after two seconds.
const SPEED: u32 = 60;

/// Alerts that are pending or fire, by their state; not the one that always fires.
fn alerts(prometheus: &Prometheus, state: &str) -> Result<BTreeSet<String>> {
    let series = prometheus.query(&format!("ALERTS{{alertstate=\"{state}\",alertname!=\"Watchdog\"}}"))?;
    let names =
        series.iter().map(|(labels, _)| Ok(labels["alertname"].as_str().context("alertname")?.to_owned()));
    names.collect()
}

#[test]
fn a_killed_daemon_is_what_the_shipped_rules_tell_of() -> Result<()> {
    let mesh = Mesh::new()?;
    let _up = mesh.up_with(&["--nodes", "3"])?;
    let rules = mesh.path("rules").to_string_lossy().into_owned();
    mesh.run(&["alerts", "export", &rules, "--speed", &SPEED.to_string()])?;
    let list = mesh.json(&["mesh", "targets", "-o", "json"])?;
    let address = |at: usize| {
        Ok::<_, anyhow::Error>(list["targets"][at]["targets"][0].as_str().context("address")?.to_owned())
    };
    let config = format!(
        "global: {{scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}}\n\
         rule_files: [\"{rules}/*.yaml\"]\n\
         scrape_configs:\n  - job_name: omnirelay\n    http_sd_configs:\n      \
         - {{url: \"http://{}/control/prometheus/targets\", refresh_interval: 1s}}\n      \
         - {{url: \"http://{}/control/prometheus/targets\", refresh_interval: 1s}}\n",
        address(0)?,
        address(1)?
    );
    let prometheus = Prometheus::start(&config)?;
    let watchdog = "ALERTS{alertname=\"Watchdog\",alertstate=\"firing\"}";
    eventually("rules are evaluated", || Ok(!prometheus.query(watchdog)?.is_empty()))?;
    eventually("all daemons are scraped", || Ok(scraped(&prometheus)? == nodes([1.0; 3])))?;
    // A quarter of an hour, as these rules have it.
    std::thread::sleep(Duration::from_secs(15));
    for state in ["pending", "firing"] {
        let ever = prometheus.query(&format!(
            "max_over_time(ALERTS{{alertstate=\"{state}\",alertname!=\"Watchdog\"}}[15s])"
        ))?;
        assert_eq!(ever, [], "a mesh that is well has alerts that are {state}");
    }

    let _ports = hold_ports();
    mesh.run(&["dev", "kill", "node-3"])?;
    let of_a_killed = ["DaemonDown", "PeerUnexpectedlyGone"].map(str::to_owned);
    let fires = eventually("both alerts of a killed daemon fire", || {
        let firing = alerts(&prometheus, "firing")?;
        Ok(of_a_killed.iter().all(|alert| firing.contains(alert)))
    });
    fires.with_context(|| format!("{:?}", alerts(&prometheus, "firing")))?;
    mesh.run(&["dev", "resume", "node-3"])?;
    let goes = eventually("all alerts go", || Ok(alerts(&prometheus, "firing")?.is_empty()));
    goes.with_context(|| format!("{:?}", alerts(&prometheus, "firing")))
}

#[test]
fn prometheus_finds_all_daemons_and_sees_one_end() -> Result<()> {
    let mesh = Mesh::new()?;
    let _up = mesh.up_with(&["--secure", "--nodes", "3"])?;
    let files = mesh.path("prometheus");
    let list = mesh.json(&["mesh", "targets", "-o", "json"])?;
    let address = |at: usize| {
        Ok::<_, anyhow::Error>(format!(
            "https://{}",
            list["targets"][at]["targets"][0].as_str().context("address")?
        ))
    };
    let (first, second) = (address(0)?, address(1)?);

    // A certificate of another authority finds nobody.
    let folder = files.to_string_lossy().into_owned();
    mesh.run(&["cert", "issue", "--service", "prometheus", "--out", &folder])?;
    let others = Authority::new()?;
    let (chain, key) = others.client();
    let own = ["chain.pem", "key.pem"].map(|name| std::fs::read(files.join(name)));
    std::fs::copy(chain, files.join("chain.pem"))?;
    std::fs::copy(key, files.join("key.pem"))?;
    let prometheus = Prometheus::start(&stanza([&first, &second], &files)?)?;
    eventually("a stranger is refused", || Ok(prometheus.log().contains("Unable to refresh target groups")))?;
    assert_eq!(scraped(&prometheus)?, BTreeMap::new());

    // Its own is taken up without a word to Prometheus.
    for (name, bytes) in ["chain.pem", "key.pem"].into_iter().zip(own) {
        std::fs::write(files.join(name), bytes?)?;
    }
    let found = eventually("all daemons are scraped", || Ok(scraped(&prometheus)? == nodes([1.0; 3])));
    found.with_context(|| prometheus.log())?;
    let ready = prometheus.query("count by (job, mesh) (omnirelay_ready == 1)")?;
    assert_eq!(ready.iter().map(|(_, count)| *count).collect::<Vec<_>>(), [3.0]);

    mesh.run(&["--addr", &first, "cert", "renew", &folder])?;
    {
        let _ports = hold_ports();
        mesh.run(&["dev", "kill", "node-3"])?;
        eventually(
            "one that is gone stays a target",
            || Ok(scraped(&prometheus)? == nodes([1.0, 1.0, 0.0])),
        )?;
        mesh.wait_for("node-3", "dead")?;
        assert_eq!(scraped(&prometheus)?, nodes([1.0, 1.0, 0.0]), "also once its session has ended");
        mesh.run(&["dev", "resume", "node-3"])?;
    }
    eventually("it is back", || Ok(scraped(&prometheus)? == nodes([1.0; 3])))?;
    Ok(())
}
