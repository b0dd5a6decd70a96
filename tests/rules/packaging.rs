//! What the packages install is there, and fit for it.

use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::links::dead_links;
use crate::repository::{File, files, refuse, root};

/// The most that systemd may find exposed of the unit, in tenths.
const EXPOSURE_MAX: u32 = 30;
/// Where packages put their documents.
const DOCUMENTS: &str = "usr/share/doc/omnirelay/";
/// What the README of the packages is called there.
const README: &str = "README.md";

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

/// What a package installs: a file of the repository, or all of a folder whose names end alike, and where it stands on a host.
struct Asset {
    source: String,
    to: String,
}

impl Asset {
    /// Whether it stands for this file of the repository.
    fn has(&self, path: &str) -> bool {
        match self.source.split_once('*') {
            Some((folder, end)) => {
                path.strip_prefix(folder).is_some_and(|name| !name.contains('/') && name.ends_with(end))
            }
            None => self.source == path,
        }
    }

    /// Where a file that it has stands on a host.
    fn place_of(&self, path: &str) -> String {
        let name = path.rsplit('/').next().unwrap_or(path);
        if self.to.ends_with('/') { format!("{}{name}", self.to) } else { self.to.clone() }
    }
}

/// The assets of the `.deb`; those of the `.rpm` are the same.
fn assets(manifest: &str) -> Result<Vec<Asset>> {
    let table = manifest.split_once("[package.metadata.deb]").context("no package")?.1;
    let table = table.split_once("[package.metadata.generate-rpm]").map_or(table, |(before, _)| before);
    let asset = |line: &str| {
        let mut quoted = line.trim().strip_prefix("[\"")?.split('"').step_by(2);
        Some(Asset { source: quoted.next()?.to_owned(), to: quoted.next()?.to_owned() })
    };
    Ok(table.lines().filter_map(asset).collect())
}

fn assets_of_packages() -> Result<Vec<Asset>> {
    assets(&std::fs::read_to_string(root().join("Cargo.toml"))?)
}

/// Whether a file is one of those that an asset of the packages stands for.
fn is_installed(assets: &[Asset], path: &str) -> bool {
    assets.iter().any(|asset| asset.has(path))
}

/// What of these files stands among the documents on a host, by its path from there.
fn documents(assets: &[Asset], files: &[File]) -> Vec<File> {
    let mut found = Vec::new();
    for file in files {
        for asset in assets.iter().filter(|asset| asset.has(&file.path)) {
            if let Some(path) = asset.place_of(&file.path).strip_prefix(DOCUMENTS) {
                found.push(File::planted(path, &file.text));
            }
        }
    }
    found
}

/// The documents and folders that a page names in code, from the folder of documents on.
fn named_in_code(page: &str) -> Vec<&str> {
    let is_page = |code: &&str| {
        let is_below = ["docs/", "deploy/", "examples/"].iter().any(|folder| code.starts_with(folder));
        !code.contains(char::is_whitespace) && (is_below || code.ends_with(".md"))
    };
    // Every second piece between backticks is code; a fence has three of them.
    page.split('`').skip(1).step_by(2).filter(is_page).collect()
}

/// Whether one of these files is called so, or stands in a folder that is, which ends with `/`.
fn is_among(documents: &[File], path: &str) -> bool {
    documents.iter().any(|file| file.path == path || path.ends_with('/') && file.is_below(path))
}

#[test]
fn what_messages_name_is_on_every_host() -> Result<()> {
    let assets = assets_of_packages()?;
    let named = named_documents()?;
    ensure!(named.len() > 15, "{named:?}");
    for (path, file) in &named {
        ensure!(root().join(path).is_file(), "{file} names {path}, which is not there");
        ensure!(is_installed(&assets, path), "{file} names {path}, which no package installs");
    }
    ensure!(!is_installed(&assets, "docs/nowhere.md"), "a document that no package has would be found");
    Ok(())
}

#[test]
fn the_archive_has_the_documents_of_the_packages() -> Result<()> {
    let archive = std::fs::read_to_string(root().join("scripts/release"))?;
    let assets = assets_of_packages()?;
    let is_document = |asset: &&Asset| asset.to.starts_with(DOCUMENTS);
    for Asset { source, .. } in assets.iter().filter(is_document) {
        // A folder is copied whole.
        let copied: Vec<&str> = source.split('/').take(2).filter(|part| !part.contains('*')).collect();
        let copied = copied.join("/");
        ensure!(archive.contains(&copied), "the archive lacks {copied}");
    }
    Ok(())
}

#[test]
fn links_of_installed_pages_lead_to_what_is_installed() -> Result<()> {
    let installed = documents(&assets_of_packages()?, &files()?);
    let pages = installed.iter().filter(|file| file.path.ends_with(".md")).count();
    ensure!(pages > 50, "{pages} pages are installed: were they moved?");
    refuse(&dead_links(&installed));
    Ok(())
}

#[test]
fn the_readme_of_the_packages_names_what_is_in_them() -> Result<()> {
    let installed = documents(&assets_of_packages()?, &files()?);
    let readme = installed.iter().find(|file| file.path == README).context("no package has a README")?;
    let named = named_in_code(&readme.text);
    ensure!(named.len() > 15, "{named:?}");
    for path in named {
        ensure!(is_among(&installed, path), "{README} of the packages names {path}, which none of them has");
    }
    Ok(())
}

#[test]
fn a_page_that_leads_out_of_the_packages_is_found() -> Result<()> {
    let manifest = "[package.metadata.deb]\nassets = [\n    [\"packaging/README.md\", \"usr/share/doc/omnirelay/\", \"644\"],\n    \
                    [\"docs/*.md\", \"usr/share/doc/omnirelay/docs/\", \"644\"],\n    [\"man/*.1\", \"usr/share/man/man1/\", \"644\"],\n]\n";
    let assets = assets(manifest)?;
    let cases = [
        ("another page", "docs/a.md", "[b](b.md)", 0),
        ("the README, which stands elsewhere here", "docs/a.md", "[r](../README.md)", 0),
        ("from the README", "packaging/README.md", "[b](docs/b.md)", 0),
        ("what no package has", "docs/a.md", "[s](../scripts/s)", 1),
        ("what stands among no documents", "docs/a.md", "[m](../man/m.1)", 1),
        ("a folder below, which is not installed", "docs/a.md", "[d](decisions/d.md)", 1),
        ("in a page that is not installed", "ARCHITECTURE.md", "[s](scripts/s)", 0),
    ];
    for (what, path, text, expected) in cases {
        let others = ["packaging/README.md", "docs/b.md", "docs/decisions/d.md", "scripts/s", "man/m.1"];
        let others = others.iter().filter(|other| **other != path);
        let mut files: Vec<File> = others.map(|other| File::planted(other, "# A\n")).collect();
        files.push(File::planted(path, text));
        let found = dead_links(&documents(&assets, &files));
        ensure!(found.len() == expected, "{what}: {found:?}");
    }
    assert_eq!(
        named_in_code("`docs/a.md`, `a b.md`\n```sh\nls docs/\n```\n`x.md` `y`"),
        ["docs/a.md", "x.md"]
    );
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
