//! File of a policy by itself, or of a daemon's configuration with its `transport` section.

use std::path::Path;

use omnirelay_core::time::Millis;
use omnirelay_decisions::transport_policy;
use omnirelay_settings::Config;
use omnirelay_wire::pb::omnirelay::mesh::control::v1 as pb;
use serde_json::Value;

use crate::frame::error::{CliError, chain};

/// What a policy has; any of them makes it one.
const OF_A_POLICY: [&str; 4] = ["categories", "exceptions", "legacy", "budgets"];

/// Configuration that is to be judged.
pub(super) struct JudgedConfig {
    /// `None`: the file says nothing of it.
    pub policy: Option<pb::TransportPolicy>,
    /// What daemons of that configuration listen at; `None`: it is a policy alone.
    pub endpoints: Option<Vec<pb::TransportEndpoint>>,
}

impl JudgedConfig {
    /// Configuration in a file; `-` is standard input.
    ///
    /// # Errors
    /// Usage, with what cannot be read or means nothing.
    pub(super) fn of(file: &Path) -> Result<Self, CliError> {
        let document = read(file)?;
        if let Some(policy) = policy_of(&document) {
            let policy = Some(parse(file, policy)?);
            return Ok(Self { policy, endpoints: None });
        }
        if file.as_os_str() == "-" {
            let what = "it is no policy, and a configuration has to be a file that can be named";
            return Err(refuse(file, what.to_owned()));
        }
        // The host that it is for is another one, perhaps.
        let loaded = omnirelay_settings::read(Some(file), std::env::vars_os(), &[], &[]);
        let config = loaded.map_err(|error| refuse(file, chain(&error)))?.config;
        // Words that mean nothing are told in the words of the daemon.
        config.judge_transport(Millis(0)).map_err(|what| refuse(file, what))?;
        Ok(Self { endpoints: Some(config.transport_endpoints()), policy: config.transport.policy })
    }

    /// Judges it without asking anybody; a policy alone by what every daemon listens at.
    ///
    /// # Errors
    /// Usage, with what means nothing.
    pub(super) fn judge(&self, file: &Path, now: Millis) -> Result<pb::TransportReport, CliError> {
        let policy = self.policy.clone().unwrap_or_default();
        let endpoints = self.endpoints.clone().unwrap_or_else(|| Config::default().transport_endpoints());
        transport_policy::evaluate(&policy, &endpoints, now).map_err(|what| refuse(file, what))
    }
}

/// The policy of a file that is to be set.
///
/// # Errors
/// As of [`JudgedConfig::of`]; usage, where it says nothing of one.
pub(super) fn policy_in(file: &Path) -> Result<pb::TransportPolicy, CliError> {
    let document = read(file)?;
    let found = policy_of(&document).or_else(|| document.pointer("/transport/policy"));
    match found {
        Some(policy) => parse(file, policy),
        // All of it is as by default.
        None if document.as_object().is_some_and(serde_json::Map::is_empty) => Ok(Default::default()),
        None => Err(refuse(
            file,
            format!(
                "it says nothing of a policy: no {}",
                OF_A_POLICY.map(|name| format!("`{name}`")).join(", ")
            ),
        )),
    }
}

/// A policy that stands by itself, or in what `mesh config get` prints.
fn policy_of(document: &Value) -> Option<&Value> {
    let fields = document.as_object()?;
    if fields.contains_key("schemaVersion") {
        return document.pointer("/transport/policy");
    }
    OF_A_POLICY.iter().any(|name| fields.contains_key(*name)).then_some(document)
}

fn parse(file: &Path, policy: &Value) -> Result<pb::TransportPolicy, CliError> {
    serde_json::from_value(policy.clone()).map_err(|error| refuse(file, chain(&error)))
}

fn read(file: &Path) -> Result<Value, CliError> {
    let text = match file.as_os_str() == "-" {
        true => std::io::read_to_string(std::io::stdin()),
        false => std::fs::read_to_string(file),
    };
    let text = text.map_err(|error| refuse(file, chain(&error)))?;
    // A configuration may be YAML only once its variables have values; what reads it then says what is wrong.
    Ok(serde_yaml::from_str(&text).unwrap_or(Value::Null))
}

fn refuse(file: &Path, cause: String) -> CliError {
    CliError::usage(format!("cannot use what {} says of transports", name(file))).cause(cause)
}

fn name(file: &Path) -> String {
    if file.as_os_str() == "-" { "standard input".to_owned() } else { file.display().to_string() }
}
