//! What the packages install is there, and fit for it.

use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::repository::root;

/// The most that systemd may find exposed of the unit, in tenths.
const EXPOSURE_MAX: u32 = 30;

#[test]
fn the_unit_is_confined() -> Result<()> {
    let unit = root().join("packaging/systemd/omnirelayd.service");
    let output = Command::new("systemd-analyze")
        .args(["security", "--offline=true", "--no-pager"])
        .arg(&unit)
        .output()?;
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    let level = told.split("Overall exposure level").nth(1).context("no level was told")?;
    let level = level.split_whitespace().find_map(|word| word.parse::<f64>().ok()).context("no number")?;
    ensure!(level * 10.0 <= f64::from(EXPOSURE_MAX), "{level}: {told}");
    Ok(())
}

#[test]
fn both_packages_install_the_same_and_all_of_it_is_there() -> Result<()> {
    let manifest = std::fs::read_to_string(root().join("Cargo.toml"))?;
    let between = |from: &str, to: &str| -> Result<String> {
        let rest = manifest.split_once(from).with_context(|| format!("no {from}"))?.1;
        Ok(rest.split_once(to).map_or(rest, |(part, _)| part).to_owned())
    };
    let first_words = |part: &str| -> Vec<String> {
        let lines = part.lines().map(str::trim).filter(|line| line.starts_with(['[', '{']));
        let mut words: Vec<String> =
            lines.filter_map(|line| Some(line.split('"').nth(1)?.to_owned())).collect();
        words.sort();
        words
    };
    let deb = first_words(&between("[package.metadata.deb]", "systemd-units")?);
    let rpm = first_words(&between("[package.metadata.generate-rpm]", "post_install_script")?);
    let mut with_unit = deb.clone();
    // The other one puts the unit where it belongs by itself.
    with_unit.push("packaging/systemd/omnirelayd.service".to_owned());
    with_unit.sort();
    assert_eq!(with_unit, rpm);
    for asset in rpm.iter().filter(|asset| !asset.starts_with("target/")) {
        let (folder, name) = asset.rsplit_once('/').unwrap_or((".", asset));
        let found = match name.strip_prefix('*') {
            Some(end) => {
                let files = std::fs::read_dir(root().join(folder))?.flatten();
                files.filter(|file| file.file_name().to_string_lossy().ends_with(end)).count()
            }
            None => usize::from(root().join(asset).is_file()),
        };
        ensure!(found > 0, "{asset} is not there");
    }
    Ok(())
}
