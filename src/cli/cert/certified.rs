//! An issuer that a root elsewhere has certified: by another cluster of the trust domain, or in a file that was carried here.

use std::path::{Path, PathBuf};

use clap::Args;
use omnirelay_core::text::chain;
use omnirelay_pki::certificate::{key_of, to_pem};
use omnirelay_pki::issuer_cluster::named_cluster;
use omnirelay_pki::key::Fingerprint;
use omnirelay_pki::trust::is_root;
use omnirelay_wire::reasons;
use omnirelay_wire::rpc::certificate_service;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use super::offline_csr::IssuerCsr;
use super::show::GET;
use crate::frame::prelude::*;

pub(super) const CERTIFY: RpcMethod = certificate_service::CERTIFY_SIBLING;

/// How an issuer comes by a certificate of the root of another cluster.
#[derive(Args, Debug)]
pub(super) struct CertifiedBy {
    /// Context of another cluster of the trust domain, whose root certifies the issuer of this one
    #[arg(long, value_name = "CONTEXT", conflicts_with = "certified", add = crate::complete::contexts())]
    sibling_of: Option<String>,
    /// File that cert ca certify has written for the issuer of this cluster
    #[arg(long, value_name = "FILE")]
    certified: Option<PathBuf>,
}

impl CertifiedBy {
    /// Whether any is meant.
    pub(super) fn is_given(&self) -> bool {
        self.sibling_of.is_some() || self.certified.is_some()
    }

    /// Whether the issuer has to be prepared for it: a file was written for one that is.
    pub(super) fn prepares(&self) -> bool {
        self.sibling_of.is_some()
    }

    /// The certificates in the file.
    ///
    /// # Errors
    /// When it cannot be read, or is none that was written for an issuer.
    pub(super) fn read(&self) -> Result<Option<CertifiedIssuer>, CliError> {
        self.certified.as_deref().map(CertifiedIssuer::read).transpose()
    }

    /// Checks that the cluster of the context has an authority that this one can be certified by, before anything is made here.
    ///
    /// # Errors
    /// When there is no such context, or its mesh has no authority; those of its daemon.
    pub(super) async fn check_other(&self, session: &CommandSession) -> Result<(), CliError> {
        let Some(context) = &self.sibling_of else { return Ok(()) };
        let other = CommandSession::new(session.settings.of_context(context)?);
        let known = other.call(&Call::of(&GET, &json!({}))?).await?;
        match field(&known, "authority").is_object() {
            true => Ok(()),
            false => Err(CliError::new(
                reasons::NO_AUTHORITY,
                format!("the mesh of context {context} has no certificate authority"),
            )
            .hint(format!("make one there: omnirelay --context {context} cert ca init"))),
        }
    }

    /// Has the cluster of the context certify an issuer that was prepared here.
    ///
    /// # Errors
    /// When there is no such context; those of its daemon.
    pub(super) async fn certify(
        &self,
        prepared: &IssuerCsr,
        days: Option<u32>,
        write: &WriteArgs,
        session: &CommandSession,
    ) -> Result<Option<CertifiedIssuer>, CliError> {
        let Some(context) = &self.sibling_of else { return Ok(None) };
        let other = CommandSession::new(session.settings.of_context(context)?);
        other.announce_target()?;
        let request = json!({
            "cluster": prepared.cluster, "csrPem": prepared.csr, "issuerDays": days,
            "reason": write.reason_text(),
        });
        let answer = other.call(&Call::of(&CERTIFY, &request)?.keyed(&write.key()?, "/sibling")).await?;
        Ok(Some(CertifiedIssuer::of_answer(&answer)))
    }
}

/// Certificates of an issuer that a root elsewhere has certified, in PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CertifiedIssuer {
    pub issuer: String,
    pub root: String,
    /// The root's key, certified by the root before; empty: it was not.
    pub across: String,
}

impl CertifiedIssuer {
    /// Certificates that a daemon has answered.
    pub(super) fn of_answer(answer: &Value) -> Self {
        let [issuer, root, across] =
            ["issuerPem", "rootPem", "acrossPem"].map(|name| text(answer, name).to_owned());
        Self { issuer, root, across }
    }

    /// Says by what the two that certify are known: whoever takes them over compares.
    pub(super) fn say_fingerprints(&self, session: &CommandSession) {
        for (name, pem) in [("root", &self.root), ("issuer", &self.issuer)] {
            let der = CertificateDer::from_pem_slice(pem.as_bytes());
            if let Ok(der) = der {
                session.notes().say(&format!("The fingerprint of the {name} is {}.", Fingerprint::of(&der)));
            }
        }
    }

    /// Has somebody say that the file is what the other cluster has written: whose root is in it is believed from then on.
    ///
    /// # Errors
    /// When nobody does.
    pub(super) fn confirm(&self, write: &WriteArgs, session: &CommandSession) -> Result<(), CliError> {
        self.say_fingerprints(session);
        session.notes().say("Compare them with what cert ca certify has printed there.");
        write.confirm(session, "Trust this root?")
    }

    /// As it is carried in a file.
    pub(super) fn to_pem(&self) -> String {
        [&*self.issuer, &*self.root, &*self.across].concat()
    }

    /// Reads a file that holds an issuer, its root, and perhaps that root's key as the root before has certified it.
    ///
    /// # Errors
    /// When it cannot be read or holds something else.
    fn read(path: &Path) -> Result<Self, CliError> {
        let unusable = |why: String| {
            CliError::new(reasons::FILE, format!("cannot use {}", path.display()))
                .cause(why)
                .hint("name the file that was written by: omnirelay cert ca certify REQUEST --cluster NAME --out FILE")
        };
        let bytes = std::fs::read(path).map_err(|error| unusable(chain(&error)))?;
        let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
        Self::of(&all.map_err(|error| unusable(chain(&error)))?).map_err(|why| unusable(why.to_owned()))
    }

    fn of(all: &[CertificateDer<'static>]) -> Result<Self, &'static str> {
        let one = |of: &dyn Fn(&CertificateDer<'static>) -> bool| {
            let mut found = all.iter().filter(|certificate| of(certificate));
            found.next().filter(|_| found.next().is_none())
        };
        let names = |one: &CertificateDer<'_>| named_cluster(one).name().is_some();
        let issuer =
            one(&names).ok_or("it does not hold the certificate of one issuer that names its cluster")?;
        let root = one(&|one| is_root(one)).ok_or("it does not hold one root")?;
        let is_across = |one: &CertificateDer<'static>| {
            one != root && key_of(one).is_ok_and(|key| key_of(root).is_ok_and(|root| root == key))
        };
        let across = one(&is_across);
        if all.len() != 2 + usize::from(across.is_some()) {
            return Err("it holds other certificates besides");
        }
        let pem = |one: &CertificateDer<'_>| to_pem(one);
        Ok(Self { issuer: pem(issuer), root: pem(root), across: across.map(pem).unwrap_or_default() })
    }
}

#[cfg(test)]
mod tests {
    use omnirelay_identity::trust::unix_now;
    use omnirelay_pki::authority::{CertificateAuthority, ValidityPeriod};

    use super::*;

    #[test]
    fn what_is_carried_is_an_issuer_its_root_and_perhaps_the_way_from_the_root_before() {
        let life = ValidityPeriod { not_before: unix_now() - 60, not_after: unix_now() + 3600 };
        let [before, root] =
            [(), ()].map(|()| CertificateAuthority::root("m".parse().unwrap(), life).unwrap());
        let [issuer, other] = [(), ()].map(|()| root.intermediate("west", life).unwrap());
        let across = before.certify_root(&root).unwrap();
        let of = |all: &[&CertificateDer<'static>]| {
            CertifiedIssuer::of(&all.iter().map(|one| (*one).clone()).collect::<Vec<_>>())
        };
        let (issuer, root, before) = (issuer.certificate(), root.certificate(), before.certificate());
        let [with, without] = [of(&[&across, root, issuer]).unwrap(), of(&[issuer, root]).unwrap()];
        assert_eq!(without, CertifiedIssuer { across: String::new(), ..with.clone() });
        assert_eq!((with.issuer, with.across), (to_pem(issuer), to_pem(&across)));
        let refused: [&[&CertificateDer<'static>]; 6] = [
            &[],
            &[issuer],
            &[root],
            &[issuer, other.certificate(), root],
            &[issuer, root, before],
            &[issuer, before, &across],
        ];
        for all in refused {
            assert!(of(all).is_err());
        }
    }
}
