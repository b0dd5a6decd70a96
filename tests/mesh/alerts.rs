//! The alert rules: promtool takes them, they fire when they should, and what they name is there.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::process::secured::Secured;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn alerts() -> PathBuf {
    root().join("docs/observability/alerts")
}

/// The files of rules, and of their tests.
fn files(is_test: bool) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(alerts())? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).context("no UTF-8")?;
        if name.ends_with(".yaml") && name.ends_with(".test.yaml") == is_test {
            found.push(path);
        }
    }
    ensure!(!found.is_empty(), "no rules in {}", alerts().display());
    Ok(found)
}

fn promtool(arguments: &[&str], file: &Path) -> Result<String> {
    let output = Command::new("promtool").args(arguments).arg(file).output();
    let output = output.context("promtool of Debian's package prometheus; scripts/packages installs it")?;
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    ensure!(output.status.success(), "{}: {text}", file.display());
    Ok(text)
}

/// Every rule of a file.
fn rules(file: &Path) -> Result<Vec<Value>> {
    let document: Value = serde_yaml::from_str(&std::fs::read_to_string(file)?)?;
    let groups = document["groups"].as_array().context("no groups")?;
    Ok(groups.iter().filter_map(|group| group["rules"].as_array()).flatten().cloned().collect())
}

#[test]
fn promtool_takes_the_rules_and_they_fire_when_they_should() -> Result<()> {
    for file in files(false)? {
        promtool(&["check", "rules"], &file)?;
        let tests = std::fs::read_to_string(file.with_extension("test.yaml"))?;
        for rule in rules(&file)? {
            let name = rule["alert"].as_str().context("a rule without a name")?;
            let fires = tests.split("alertname: ").skip(1).filter(|after| after.starts_with(name));
            let fires: Vec<bool> =
                fires.map(|after| !after[name.len()..].starts_with(", exp_alerts: []")).collect();
            ensure!(fires.contains(&true) && fires.contains(&false), "{name} is not tested both ways");
        }
    }
    for file in files(true)? {
        promtool(&["test", "rules"], &file)?;
        // A test that cannot fail proves nothing.
        let place = tempfile::tempdir()?;
        let rules = file.file_name().and_then(|name| name.to_str()).context("no UTF-8")?;
        let rules = rules.replace(".test.yaml", ".yaml");
        let broken = std::fs::read_to_string(alerts().join(&rules))?
            .replace(" > ", " >= 1e9 + ")
            .replace(" < ", " > ");
        std::fs::write(place.path().join(&rules), broken)?;
        let copy = place.path().join("test.yaml");
        std::fs::copy(&file, &copy)?;
        ensure!(promtool(&["test", "rules"], &copy).is_err(), "{} finds nothing", file.display());
    }
    Ok(())
}

/// The anchor that a heading gets.
fn anchor(heading: &str) -> String {
    let heading = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || [' ', '-', '_'].contains(c));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

#[test]
fn every_alert_names_what_to_do() -> Result<()> {
    for file in files(false)? {
        for rule in rules(&file)? {
            let runbook = rule["annotations"]["runbook"].as_str().context("a rule without a runbook")?;
            let (page, wanted) = runbook.split_once('#').with_context(|| runbook.to_owned())?;
            let text = std::fs::read_to_string(root().join(page)).with_context(|| page.to_owned())?;
            let mut headings = text.lines().filter(|line| line.starts_with('#'));
            ensure!(headings.any(|line| anchor(line) == wanted), "{runbook} is not there");
            let alert = rule["alert"].as_str().unwrap_or_default();
            ensure!(text.contains(&format!("`{alert}`")), "{page} does not name {alert}");
        }
    }
    Ok(())
}

/// The names of metrics in an expression; those of labels are in braces, or behind `by`.
fn metrics(expression: &str) -> Vec<String> {
    let mut left = expression.to_owned();
    for (begins, ends) in [("{", '}'), ("by (", ')')] {
        while let Some(at) = left.find(begins) {
            let end = left[at..].find(ends).map_or(left.len(), |end| at + end + 1);
            left.replace_range(at..end, " ");
        }
    }
    let words = left.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    words
        .filter(|word| word.starts_with("mesh_") || word.starts_with("omnirelay_"))
        .map(str::to_owned)
        .collect()
}

#[tokio::test]
async fn a_daemon_exposes_every_metric_that_a_rule_names() -> Result<()> {
    let issuer =
        ["security.oidc.issuer=https://i", "security.oidc.audience=a", "security.oidc.jwksFile=/nowhere"];
    let settings = [&["mesh.leadership.enabled=false"], &issuer[..]].concat();
    let arguments: Vec<&str> = settings.into_iter().flat_map(|setting| ["--set", setting]).collect();
    let mesh = Secured::start("a", "127.0.0.1:0", &arguments)?;
    // Of shards there are series for each namespace; nobody leads, so that it is there and has none.
    mesh.by("admin", "mesh namespaces create orders --shards 1 --request-timeout 1s")?;
    let text = mesh.daemon.text("/metrics").await?;
    let exposed: BTreeSet<&str> =
        text.lines().filter_map(|line| line.split(['{', ' ']).next()).filter(|name| *name != "#").collect();
    let mut named = BTreeSet::new();
    for file in files(false)? {
        for rule in rules(&file)? {
            let expression = rule["expr"].as_str().context("a rule without an expression")?.to_owned();
            named.extend(metrics(&expression));
        }
    }
    ensure!(named.len() >= 5, "{named:?}");
    let missing: Vec<&String> = named.iter().filter(|name| !exposed.contains(name.as_str())).collect();
    ensure!(missing.is_empty(), "no daemon exposes {missing:?}");
    Ok(())
}
