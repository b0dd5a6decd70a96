//! The sample configurations: valid as they are, and the steps that they tell of work.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::process::secured::{command, ended};
use crate::process::{Place, run};

fn samples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/config")
}

/// Has `omnirelayd` read a configuration, with the files that it names below `/etc/omnirelay`.
fn validate(what: &Path, text: &str) -> Result<()> {
    const FOLDER: &str = "/etc/omnirelay/";
    let place = tempfile::tempdir()?;
    let own = rcgen::generate_simple_self_signed(vec!["redis.example".to_owned()])?;
    for after in text.split(FOLDER).skip(1) {
        let name: String = after.chars().take_while(|c| !c.is_whitespace()).collect();
        let held = match name.rsplit_once('.') {
            Some((_, "pem")) => own.cert.pem(),
            Some((_, "key")) => own.signing_key.serialize_pem(),
            _ => "secret\n".to_owned(),
        };
        let path = place.path().join(name);
        std::fs::write(&path, held)?;
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    }
    let file = place.path().join("sample.yaml");
    std::fs::write(&file, text.replace(FOLDER, &format!("{}/", place.path().display())))?;
    let (code, output, complaint) = run(&["config", "validate", "--config", &file.display().to_string()])?;
    ensure!(code == Some(0), "{}: {output}{complaint}", what.display());
    Ok(())
}

#[test]
fn every_sample_configuration_is_valid() -> Result<()> {
    let mut count = 0;
    for entry in std::fs::read_dir(samples())? {
        let path = entry?.path();
        validate(&path, &std::fs::read_to_string(&path)?)?;
        count += 1;
    }
    ensure!(count >= 3, "{count} samples: were they moved?");
    let wrong = validate(Path::new("wrong"), "control:\n  listen: 0.0.0.0:17420\n");
    ensure!(wrong.is_err(), "the program takes whatever it is given");
    Ok(())
}

/// What is left out in a comment is valid as well.
#[test]
fn what_the_production_sample_leaves_out_is_valid() -> Result<()> {
    let path = samples().join("omnirelayd.prod.yaml");
    let text = std::fs::read_to_string(&path)?;
    let (_, relay) = text.split_once("\n# relay:\n").context("no relay in a comment")?;
    let lines = relay.lines().take_while(|line| line.starts_with('#'));
    let lines: Vec<&str> = lines.map(|line| line.strip_prefix("# ").unwrap_or_default()).collect();
    let served = text.replace("  role: gateway\n", "  role: gateway\n  services: [relay]\n");
    validate(&path, &format!("{served}\nrelay:\n{}\n", lines.join("\n")))
}

/// The commands at the head of the development sample, on a port of the test.
#[test]
fn the_steps_of_the_development_sample_work() -> Result<()> {
    let sample = samples().join("omnirelayd.dev.yaml");
    let mesh = Place::new(&["--config", &sample.display().to_string()])?;
    let daemon = mesh.start()?;
    let folder = tempfile::tempdir()?;
    let text = std::fs::read_to_string(&sample)?.replace("\\\n#    ", "");
    let steps = text.lines().filter_map(|line| line.strip_prefix("#   omnirelay "));
    let steps: Vec<String> =
        steps.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    ensure!(steps.len() == 2, "{steps:?}");
    for step in &steps {
        let (_, port) = daemon.control.rsplit_once(':').context("no port")?;
        let line = step.replace("17420", port);
        let mut step = command(&line, folder.path());
        if !line.contains("--addr") {
            step.args(["--addr", &daemon.url("")]);
        }
        // The certificate of the node follows the authority within a moment.
        let begun = std::time::Instant::now();
        let done = loop {
            let done = ended(&mut step)?;
            if done.code == Some(0) || begun.elapsed() > crate::process::PATIENCE {
                break done;
            }
        };
        ensure!(done.code == Some(0), "{line}: {}{}\n{}", done.output, done.complaint, mesh.log());
    }
    Ok(())
}
