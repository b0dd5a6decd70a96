//! Proof of whom a command acts as: the one whose source is nearest to it, and none that is kept farther away.
//!
//! Flags are nearer than variables, and these nearer than the context, whose token `omnirelay login` keeps. A daemon goes
//! by a token before it looks at a certificate, so a token that is farther away than the certificate is not sent at all. A
//! certificate that is farther away than the token is not shown either: where only the mesh has named an address no token goes,
//! and somebody else would act there.

use std::path::Path;

use super::address::Address;
use super::env::{self, EnvironmentVariables};
use super::error::CliError;
use super::settings::CommandTarget;
use super::tls_files::TlsFiles;

/// Nearness of the place where a proof is named, the nearest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Nearness {
    Flag,
    Variable,
    Context,
}

/// Proof of who calls, as flags and variables name it.
#[derive(Clone, Copy, Debug)]
pub struct CallerProof {
    token: Nearness,
    certificate: Nearness,
}

impl CallerProof {
    /// By a token file and files of TLS of flags, and by variables.
    pub fn of(token_file: Option<&Path>, tls: &TlsFiles, env: &EnvironmentVariables) -> Self {
        let nearest = |by_flag: bool, by_variable: bool| match (by_flag, by_variable) {
            (true, _) => Nearness::Flag,
            (false, true) => Nearness::Variable,
            (false, false) => Nearness::Context,
        };
        Self {
            token: nearest(token_file.is_some(), env.get(env::TOKEN_FILE).is_some()),
            // A key alone is nobody's.
            certificate: nearest(tls.cert.is_some(), env.get(env::TLS_CERT).is_some()),
        }
    }

    /// The target without a token that is farther away than the certificate that is shown there, and without a certificate that
    /// is farther away than the token.
    ///
    /// # Errors
    /// Usage, where a flag names a certificate that an address would not be shown.
    pub fn prove(self, target: CommandTarget) -> Result<CommandTarget, CliError> {
        if self.certificate == Nearness::Flag
            && let Some(address) = target.addresses.iter().find(|address| !address.is_tls())
        {
            let message = format!("{address} is shown no certificate: that is done under TLS only");
            return Err(CliError::usage(message)
                .hint("name an address that begins with https:// (--addr, or the context's)")
                .hint("or leave out --tls-cert and --tls-key: what then proves you is what omnirelay whoami says"));
        }
        let is_shown = target.tls.cert.is_some() && target.addresses.iter().any(Address::is_tls);
        let token_file = target.token_file.filter(|_| !is_shown || self.token <= self.certificate);
        let tls = match self.token < self.certificate {
            true => TlsFiles { cert: None, key: None, ..target.tls },
            false => target.tls,
        };
        Ok(CommandTarget { token_file, tls, ..target })
    }
}

#[cfg(test)]
#[path = "proof_test.rs"]
mod tests;
