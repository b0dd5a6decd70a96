//! What the packages install is there, and fit for it.

use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::repository::{File, files, root};

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

/// The documents that messages and hints name, in the text of the source.
fn named_documents() -> Result<Vec<(String, String)>> {
    let mut named = Vec::new();
    let is_source = |file: &File| {
        let path = &file.path;
        (file.is_below("src/") || file.is_below("crates/"))
            && path.ends_with(".rs")
            && !["test", "benches/"].iter().any(|part| path.contains(part))
    };
    for file in files()?.iter().filter(|file| is_source(file)) {
        let production = file.text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        let lines = production.lines().filter(|line| !line.trim_start().starts_with("//"));
        for line in lines {
            for start in ["docs/", "deploy/", "SECURITY.md"] {
                for (at, _) in line.match_indices(start) {
                    let is_begin = !line[..at]
                        .ends_with(|before: char| before.is_alphanumeric() || "/-_.".contains(before));
                    let path: String = line[at..]
                        .chars()
                        .take_while(|letter| letter.is_alphanumeric() || "/-_.".contains(*letter))
                        .collect();
                    let is_file =
                        [".md", ".yaml", ".txt"].iter().any(|end| path.trim_end_matches('.').ends_with(end));
                    if is_begin && is_file {
                        named.push((path.trim_end_matches('.').to_owned(), file.path.clone()));
                    }
                }
            }
        }
    }
    Ok(named)
}

/// Whether a file is one of those that an asset of the packages stands for.
fn is_installed(assets: &[String], path: &str) -> bool {
    assets.iter().any(|asset| match asset.split_once('*') {
        Some((folder, end)) => {
            path.strip_prefix(folder).is_some_and(|name| !name.contains('/') && name.ends_with(end))
        }
        None => asset == path,
    })
}

#[test]
fn what_messages_name_is_on_every_host() -> Result<()> {
    let manifest = std::fs::read_to_string(root().join("Cargo.toml"))?;
    let assets: Vec<String> = manifest
        .split_once("[package.metadata.deb]")
        .context("no package")?
        .1
        .lines()
        .filter_map(|line| Some(line.trim().strip_prefix("[\"")?.split('"').next()?.to_owned()))
        .collect();
    let named = named_documents()?;
    ensure!(named.len() > 15, "{named:?}");
    for (path, file) in &named {
        ensure!(root().join(path).is_file(), "{file} names {path}, which is not there");
        ensure!(is_installed(&assets, path), "{file} names {path}, which no package installs");
    }
    let archive = std::fs::read_to_string(root().join("scripts/release"))?;
    for asset in assets.iter().filter(|asset| asset.starts_with("docs/") || *asset == "SECURITY.md") {
        let top = asset.split('/').next().unwrap_or_default();
        ensure!(archive.contains(top), "the archive lacks {top}");
    }
    ensure!(!is_installed(&assets, "docs/nowhere.md"), "a document that no package has would be found");
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
