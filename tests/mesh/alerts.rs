//! The alert rules: promtool takes them, they fire when they should, and each says what to do.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// The alert that always fires.
const ALWAYS: &str = "Watchdog";

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

/// Every alert of a file.
fn alerts_of(file: &Path) -> Result<Vec<Value>> {
    let mut all = rules(file)?;
    all.retain(|rule| rule["record"].is_null());
    Ok(all)
}

#[test]
fn promtool_takes_the_rules_and_they_fire_when_they_should() -> Result<()> {
    for file in files(false)? {
        promtool(&["check", "rules"], &file)?;
        let tests = std::fs::read_to_string(file.with_extension("test.yaml"))?;
        for rule in alerts_of(&file)? {
            let name = rule["alert"].as_str().context("a rule without a name")?;
            let fires = tests.split("alertname: ").skip(1).filter(|after| after.starts_with(name));
            let fires: Vec<bool> =
                fires.map(|after| !after[name.len()..].starts_with(", exp_alerts: []")).collect();
            let both_ways = fires.contains(&true) && fires.contains(&false);
            ensure!(both_ways || name == ALWAYS, "{name} is not tested both ways");
        }
    }
    for file in files(true)? {
        promtool(&["test", "rules"], &file)?;
    }
    Ok(())
}

/// A condition turned around, or out of reach; `None`: nothing is compared in it.
fn broken(sound: &str) -> Option<String> {
    let broken = sound
        .replace(" > bool ", " <= bool ")
        .replace(" < bool ", " >= bool ")
        .replace(" > ", " >= 1e9 + ")
        .replace(" >= ", " >= 1e9 + ")
        .replace(" == 1", " == 1e9")
        .replace(" == 0", " == 1e9")
        .replace(" < ", " > ");
    (broken != sound).then_some(broken)
}

/// A test that cannot fail proves nothing: each alert is broken, and the tests of its file name it.
#[test]
fn the_tests_of_rules_notice_each_alert_that_is_broken() -> Result<()> {
    for file in files(false)? {
        let mut document: Value = serde_yaml::from_str(&std::fs::read_to_string(&file)?)?;
        let groups = document["groups"].as_array_mut().context("no groups")?.iter_mut();
        for rule in groups.filter_map(|group| group["rules"].as_array_mut()).flatten() {
            if rule["record"].is_null() && rule["alert"] != ALWAYS {
                let condition = broken(rule["expr"].as_str().unwrap_or_default());
                rule["expr"] =
                    condition.with_context(|| format!("{} cannot be broken", rule["alert"]))?.into();
            }
        }
        let place = tempfile::tempdir()?;
        let copy = place.path().join("test.yaml");
        std::fs::copy(file.with_extension("test.yaml"), &copy)?;
        let rules = place.path().join(file.file_name().context("a file without a name")?);
        std::fs::write(rules, serde_yaml::to_string(&document)?)?;
        let found =
            promtool(&["test", "rules"], &copy).err().map(|found| found.to_string()).unwrap_or_default();
        for alert in alerts_of(&file)?.iter().filter(|alert| alert["alert"] != ALWAYS) {
            let name = alert["alert"].as_str().unwrap_or_default();
            ensure!(found.contains(&format!("alertname: {name},")), "nobody notices that {name} is broken");
        }
    }
    Ok(())
}

/// The anchor that a heading gets.
fn anchor(heading: &str) -> String {
    let heading = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || [' ', '-', '_'].contains(c));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

/// The first command of an alert is one of this program, or one of Alertmanager's.
fn first_command_is_one(rule: &Value) -> Result<()> {
    let command = rule["annotations"]["command"].as_str().context("there is none")?;
    let command = command.replace("{{ $labels.node }}", "NODE").replace("{{ $labels.check }}", "list");
    let mut words = command.split(' ');
    match words.next() {
        Some("omnirelay") => {}
        Some("amtool") => return Ok(()),
        _ => anyhow::bail!("{command}"),
    }
    // The parser refuses what it does not know before it comes to the help.
    let shown = Command::new(env!("CARGO_BIN_EXE_omnirelay")).args(words).arg("--help").output()?;
    ensure!(shown.status.success(), "{command}: {}", String::from_utf8_lossy(&shown.stderr));
    Ok(())
}

#[test]
fn every_alert_names_what_to_do() -> Result<()> {
    for file in files(false)? {
        for rule in alerts_of(&file)? {
            let runbook = rule["annotations"]["runbook"].as_str().context("a rule without a runbook")?;
            let (page, wanted) = runbook.split_once('#').with_context(|| runbook.to_owned())?;
            let text = std::fs::read_to_string(root().join(page)).with_context(|| page.to_owned())?;
            let mut headings = text.lines().filter(|line| line.starts_with('#'));
            ensure!(headings.any(|line| anchor(line) == wanted), "{runbook} is not there");
            let alert = rule["alert"].as_str().unwrap_or_default();
            ensure!(text.contains(&format!("`{alert}`")), "{page} does not name {alert}");
            first_command_is_one(&rule).with_context(|| format!("the command of {alert}"))?;
        }
    }
    Ok(())
}

#[test]
fn the_example_of_alertmanager_is_one_and_names_alerts_that_exist() -> Result<()> {
    let example = root().join("docs/observability/alertmanager.example.yml");
    let checked = Command::new("amtool").arg("check-config").arg(&example).output();
    let checked = checked
        .context("amtool of Debian's package prometheus-alertmanager; scripts/packages installs it")?;
    ensure!(
        checked.status.success(),
        "{}",
        String::from_utf8_lossy(&[checked.stdout, checked.stderr].concat())
    );
    let mut known = Vec::new();
    for file in files(false)? {
        known.extend(alerts_of(&file)?.iter().filter_map(|rule| rule["alert"].as_str().map(str::to_owned)));
    }
    let text = std::fs::read_to_string(example)?;
    let matchers = text.split("alertname =").skip(1).filter_map(|rest| rest.split([']', ',']).next());
    let named: Vec<&str> =
        matchers.flat_map(|names| names.trim_matches(['~', ' ', '"']).split('|')).collect();
    let unknown: Vec<_> = named.iter().filter(|name| !known.iter().any(|known| known == *name)).collect();
    ensure!(named.len() > 10 && unknown.is_empty(), "there are no alerts {unknown:?}");
    Ok(())
}
