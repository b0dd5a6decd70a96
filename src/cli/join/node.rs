//! The host that joins: what it keeps, what it asks for, and what it takes of the answer.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use omnirelay_audit::files::AuditFiles;
use omnirelay_certificates::join::GRANT;
use omnirelay_certificates::record_keeper::kept_by_joining;
use omnirelay_core::spiffe::CertificateHolder;
use omnirelay_host::data_dir::{self, DataDir};
use omnirelay_identity::node_identity::{IDENTITY_FOLDER, IdentityError, IdentityFiles, NodeIdentity};
use omnirelay_identity::trust::unix_now;
use omnirelay_pki::certificate::TlsNames;
use omnirelay_pki::join_token::JoinToken;
use omnirelay_pki::key::{Fingerprint, PrivateKey};
use omnirelay_pki::request::CertificateRequest;
use omnirelay_pki::trust::{ChainUsage, TrustBundle};
use omnirelay_store::JoinedStore;
use omnirelay_wire::pb::omnirelay::security::v1::{Evidence, JoinBody, JoinGrant};
use prost::Message as _;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use super::config_file::ConfigFile;
use super::owner::DataDirOwner;
use super::{JoinArgs, store};
use crate::frame::error::chain;
use crate::frame::prelude::*;

/// How far the clock of this host may be from that of the mesh, in milliseconds, before it is said.
const CLOCKS_APART_MS: u64 = 60_000;

/// This host, its data directory locked: no daemon runs on it meanwhile.
pub(super) struct JoiningHost {
    pub node_id: String,
    directory: DataDir,
    files: IdentityFiles,
    config: ConfigFile,
    /// Whose its files are to be, if not this process's.
    owner: Option<DataDirOwner>,
}

/// Request to join a mesh, and the private key that a certificate is asked for.
pub(super) struct JoinQuestion {
    key: PrivateKey,
    pub request: Value,
}

/// Outcome of joining a mesh.
pub(super) struct JoinOutcome {
    node_id: String,
    id: String,
    not_after: i64,
    data_dir: PathBuf,
    pub config: PathBuf,
    pub warnings: Vec<String>,
}

impl JoiningHost {
    pub(super) fn open(args: &JoinArgs) -> Result<Self, CliError> {
        let path = args.data_dir.clone().unwrap_or_else(data_dir::default_path);
        let refuse = |error: data_dir::DataDirError| {
            let is_locked = matches!(error, data_dir::DataDirError::Locked { .. });
            let message = format!("cannot use the data directory {}", path.display());
            let refused = CliError::local(reasons::FILE, message, &error);
            match is_locked {
                true => refused.hint("stop the daemon while the host joins: systemctl stop omnirelayd"),
                false => refused,
            }
        };
        let owner = DataDirOwner::of(&path);
        let opened = as_owner(owner, || {
            let directory = DataDir::open(&path).map_err(refuse)?;
            let node_id = directory.node_id(args.node_id.as_deref()).map_err(refuse)?;
            Ok((directory, node_id))
        });
        let (directory, node_id) = opened?;
        omnirelay_core::names::check_node_name(&node_id)
            .map_err(|error| CliError::usage(format!("--node-id: {error}")))?;
        let absolute = std::path::absolute(directory.path()).unwrap_or_else(|_| path.clone());
        let named =
            args.config_file.as_ref().map(|path| std::path::absolute(path).unwrap_or_else(|_| path.clone()));
        let config = ConfigFile::of(named.as_deref(), &absolute, owner);
        let files = IdentityFiles::of(&absolute.join(IDENTITY_FOLDER), None);
        Ok(Self { node_id, directory, files, config, owner })
    }

    /// The node that it is already, in the mesh that the token is of, while its certificate is valid.
    /// Of several clusters under one root it has to be of one of `clusters`, if any is named.
    ///
    /// # Errors
    /// When it is another node, or one of another mesh or cluster.
    pub(super) fn joined(
        &self,
        token: &JoinToken,
        clusters: &[String],
        force: bool,
    ) -> Result<Option<Value>, CliError> {
        if force {
            return Ok(None);
        }
        let (known, roots) = self.as_owner(|| {
            Ok((self.files.identity().map_err(unusable)?, self.files.bundle().map_err(unusable)?))
        })?;
        let is_of = roots.iter().any(|root| Fingerprint::of(root) == token.authority());
        let Some(own) = known.filter(|own| own.leaf.not_after > unix_now()) else { return Ok(None) };
        let is_of_cluster = match own.leaf.id.holder() {
            CertificateHolder::Node { cluster, .. } => clusters.is_empty() || clusters.contains(cluster),
            CertificateHolder::Operator(_) | CertificateHolder::Service(_) => true,
        };
        if !is_of || !is_of_cluster {
            let message = format!("this host is a node of another mesh, `{}`", own.leaf.id);
            return Err(
                CliError::new(reasons::FILE_EXISTS, message).hint("add --force to have it leave that one")
            );
        }
        if own.leaf.id.holder().name() != self.node_id {
            let message = format!("this host is a node already, `{}`", own.leaf.id);
            return Err(CliError::new(reasons::FILE_EXISTS, message).hint("add --force to make it another"));
        }
        let joined = JoinOutcome {
            node_id: self.node_id.clone(),
            id: own.leaf.id.to_string(),
            not_after: own.leaf.not_after,
            data_dir: self.directory.path().to_owned(),
            config: self.config.path.clone(),
            warnings: Vec::new(),
        };
        Ok(Some(joined.document()))
    }

    /// Checks that the configuration can be written, before anything is asked: the answer has credentials that are in
    /// no other place.
    pub(super) fn check_config(&self, force: bool) -> Result<(), CliError> {
        if force { Ok(()) } else { self.config.check(&self.node_id) }
    }

    /// Does something with the files of the data directory, as whom they belong to.
    fn as_owner<T>(&self, work: impl FnOnce() -> Result<T, CliError>) -> Result<T, CliError> {
        as_owner(self.owner, work)
    }

    /// Command that starts its daemon.
    pub(super) fn start_line(&self) -> String {
        match self.config.is_of_unit {
            true => "systemctl restart omnirelayd".to_owned(),
            false => format!("omnirelayd --config {}", self.config.path.display()),
        }
    }

    /// Keeps the roots, if the one that the token names is among them; no other is kept.
    pub(super) fn keep_bundle(&self, pem: &str, token: &JoinToken) -> Result<(), CliError> {
        let roots = CertificateDer::pem_slice_iter(pem.as_bytes()).filter_map(Result::ok);
        let named: Vec<_> = roots.filter(|root| Fingerprint::of(root) == token.authority()).collect();
        if named.is_empty() {
            return Err(CliError::new(
                reasons::CERTIFICATE_NOT_TRUSTED,
                "the server is not of the mesh that the token is for: its authority is another",
            )
            .hint("compare with omnirelay cert ca show, and ask under the address of that mesh"));
        }
        self.as_owner(|| self.files.keep_bundle(&named).map_err(unusable))
    }

    pub(super) fn config_path(&self) -> &Path {
        &self.config.path
    }

    pub(super) fn bundle_path(&self) -> PathBuf {
        self.files.bundle_path()
    }

    pub(super) fn identity_path(&self) -> PathBuf {
        self.files.identity_path()
    }

    /// A new key, and what is asked for it, signed by the token.
    pub(super) fn ask(&self, args: &JoinArgs, token: &JoinToken) -> Result<JoinQuestion, CliError> {
        let unmade = |cause: String| CliError::new(reasons::CLIENT, "cannot ask to join").cause(cause);
        // That of a try whose answer was lost, if there was one: for the same key it is given again.
        let key = self.as_owner(|| self.files.pending_key().map_err(unusable))?;
        let audit_key = self.as_owner(|| self.audit_key())?;
        let csr =
            CertificateRequest::make(&key, None, &names(args)).map_err(|error| unmade(chain(&error)))?;
        let body = JoinBody {
            token_id: token.id().to_string(),
            node_id: self.node_id.clone(),
            csr,
            role: args.role.clone().unwrap_or_default(),
            environment: args.environment.clone().unwrap_or_default(),
            namespaces: args.namespace.clone(),
            labels: labels(&args.label)?,
            audit_key,
            evidence: args.evidence_command.as_deref().map(|by| evidence(by, &key)).transpose()?,
        };
        let body = body.encode_to_vec();
        let signature = token.sign(&body).map_err(|error| unmade(chain(&error)))?;
        let request =
            json!({"body": BASE64_STANDARD.encode(body), "signature": BASE64_STANDARD.encode(signature)});
        Ok(JoinQuestion { key, request })
    }

    /// By what key its daemon will seal its audit records: a host that was set up anew has another one, which others believe from the
    /// join on.
    fn audit_key(&self) -> Result<Vec<u8>, CliError> {
        let files = AuditFiles::open(self.directory.path(), &self.node_id);
        let key = files.and_then(|files| files.key(&self.node_id));
        let key = key.map_err(|error| {
            CliError::local(reasons::FILE, "cannot use the audit key of this node", &error)
        })?;
        Ok(key.public().to_vec())
    }

    /// Checks the answer and keeps it: the certificate, the roots, and the configuration.
    pub(super) fn take(
        &self,
        args: &JoinArgs,
        token: &JoinToken,
        asked: &JoinQuestion,
        answer: &Value,
    ) -> Result<JoinOutcome, CliError> {
        let bytes = |path: &str| BASE64_STANDARD.decode(text(answer, path)).ok();
        let (grant, signature) =
            bytes("grant").zip(bytes("grantSignature")).ok_or_else(|| forged("its grant"))?;
        let issued: Vec<_> = CertificateDer::pem_slice_iter(text(answer, "chainPem").as_bytes())
            .filter_map(Result::ok)
            .collect();
        let root = self.as_owner(|| self.files.bundle().map_err(unusable))?;
        let root = root.into_iter().find(|root| Fingerprint::of(root) == token.authority());
        let bundle =
            root.and_then(|root| TrustBundle::of(vec![root]).ok()).ok_or_else(|| forged("its authority"))?;
        let leaf = bundle.verify(&issued, unix_now(), ChainUsage::Server).map_err(|error| {
            forged("its certificate").cause(chain(&error)).hint("compare the clock of this host with others")
        })?;
        let CertificateHolder::Node { cluster, .. } = leaf.id.holder() else {
            return Err(forged("who it is for"));
        };
        bundle
            .issuers_of(cluster)
            .verify_signed(GRANT, &grant, &signature, &issued[1..], unix_now())
            .map_err(|error| forged("its grant").cause(chain(&error)))?;
        let grant = JoinGrant::decode(&*grant).map_err(|_| forged("its grant"))?;
        let is_ours = grant.key == asked.key.fingerprint().as_bytes()
            && grant.node_id == self.node_id
            && leaf.key == asked.key.fingerprint()
            && leaf.id.holder().name() == self.node_id;
        if !is_ours {
            return Err(forged("who it is for"));
        }
        let own = NodeIdentity::of(&asked.key, issued).ok_or_else(|| forged("its certificate"))?;
        // What says that the host is a node comes last.
        let mut warnings = self.write_config(args, &grant)?;
        self.as_owner(|| {
            // All that are trusted, and not only the one that the token names.
            let roots = CertificateDer::pem_slice_iter(grant.bundle_pem.as_bytes()).filter_map(Result::ok);
            self.files.keep_bundle(&roots.collect::<Vec<_>>()).map_err(unusable)?;
            // In the place of whatever was kept of another mesh.
            let kept = kept_by_joining(grant.signed_authority.clone());
            self.files.keep_signed_records(&kept).map_err(unusable)?;
            self.files.keep_identity(&own).map_err(unusable)?;
            self.files.forget_pending_key().map_err(unusable)
        })?;
        warnings.extend(posture(args, &grant));
        Ok(JoinOutcome {
            node_id: self.node_id.clone(),
            id: leaf.id.to_string(),
            not_after: leaf.not_after,
            data_dir: self.directory.path().to_owned(),
            config: self.config.path.clone(),
            warnings,
        })
    }

    /// Writes the configuration; returns what has to be said of it.
    fn write_config(&self, args: &JoinArgs, grant: &JoinGrant) -> Result<Vec<String>, CliError> {
        let directory = std::path::absolute(self.directory.path()).unwrap_or_default();
        let mut config = json!({
            "node": {
                "id": grant.node_id, "role": grant.role, "cluster": grant.cluster, "dataDir": directory,
            },
            "control": {"tls": {"source": "mesh"}},
        });
        if let Some(listen) = args.listen {
            config["control"]["listen"] = json!(listen.to_string());
        }
        let mut warnings = Vec::new();
        match self.config.socket() {
            Some(socket) => config["control"]["socket"] = json!(socket),
            None => warnings.push(
                "the path of its data directory is too long for a socket in it: name another with control.socket"
                    .to_owned(),
            ),
        }
        match JoinedStore::read(&grant.store) {
            Some(store) => {
                config["store"] = self.as_owner(|| store::section(store, &directory, &mut warnings))?;
            }
            None if !grant.store.is_empty() => return Err(unknown_store()),
            None => warnings.push(
                "it was told of no store: that of the mesh is of one host, or of another cluster; set store.url to the Redis \
                 that the daemons of its cluster share"
                    .to_owned(),
            ),
        }
        self.config.write(config)?;
        Ok(warnings)
    }
}

/// Does something as `owner`, if there is one.
fn as_owner<T>(
    owner: Option<DataDirOwner>,
    work: impl FnOnce() -> Result<T, CliError>,
) -> Result<T, CliError> {
    let Some(owner) = owner else { return work() };
    let cannot = |error: std::io::Error| {
        CliError::local(reasons::FILE, "cannot act as the owner of the data directory", &error)
    };
    owner.act(work).map_err(cannot)?
}

/// `tier=edge`, by its two halves.
fn labels(given: &[String]) -> Result<BTreeMap<String, String>, CliError> {
    let halves = |label: &String| {
        let (key, value) = label.split_once('=').filter(|(key, _)| !key.is_empty())?;
        Some((key.to_owned(), value.to_owned()))
    };
    let read =
        |label| halves(label).ok_or_else(|| CliError::usage(format!("--label {label}: it is no KEY=VALUE")));
    given.iter().map(read).collect()
}

/// What a program attests of this host, for this key.
fn evidence(program: &Path, key: &PrivateKey) -> Result<Evidence, CliError> {
    let shown = program.display();
    let refuse = |cause: String| CliError::usage(format!("{shown} attests nothing")).cause(cause);
    let run = Command::new(program).arg(key.fingerprint().to_string()).stderr(Stdio::inherit()).output();
    let output = run.map_err(|error| refuse(chain(&error)))?;
    if !output.status.success() {
        return Err(refuse(format!("it ended with {}", output.status)));
    }
    serde_json::from_slice(&output.stdout).map_err(|error| {
        let what = format!("it printed no {{\"attester\", \"body\", \"signature\"}}: {error}");
        refuse(what)
    })
}

/// The mesh is of a version that keeps its registry where this one knows no way to.
fn unknown_store() -> CliError {
    forged("which store the mesh has")
        .hint("join by the version of omnirelay that the daemons of the mesh have")
}

pub(super) fn cannot_write(path: &Path, error: &std::io::Error) -> CliError {
    CliError::local(reasons::FILE, format!("cannot write {}", path.display()), error)
}

/// What of this host may keep its daemon from being a good node.
fn posture(args: &JoinArgs, grant: &JoinGrant) -> Vec<String> {
    let mut found = Vec::new();
    let here = time::now_ms().and_then(|ms| u64::try_from(ms).ok()).unwrap_or(0);
    let apart = here.abs_diff(grant.at_ms);
    if apart > CLOCKS_APART_MS {
        let seconds = apart / 1000;
        found.push(format!("the clock of this host is {seconds}s from that of the mesh: certificates seem ended, or not begun"));
    }
    let is_far = super::address(&args.server).is_ok_and(|address| !address.is_loopback());
    if is_far && args.listen.is_none_or(|listen| listen.ip().is_loopback()) {
        found.push(
            "unless its configuration says otherwise, its daemon listens on this host alone, where no other node reaches it: set \
             control.listen to an address of this host (--listen at the next join) before it starts"
                .to_owned(),
        );
    }
    if let Some(Err(error)) = args.listen.map(TcpListener::bind) {
        found.push(format!("its daemon could not listen now: {}", chain(&error)));
    }
    found
}

/// By what it is to be called.
fn names(args: &JoinArgs) -> TlsNames {
    let listen = args.listen.map(|listen| listen.ip()).filter(|ip| !ip.is_unspecified());
    let mut names = TlsNames::of_this_host();
    args.name.iter().cloned().chain(listen.map(|ip| ip.to_string())).for_each(|name| names.add(&name));
    names
}

fn forged(what: &str) -> CliError {
    CliError::new(reasons::CERTIFICATE_NOT_TRUSTED, format!("the answer of the mesh proves nothing: {what}"))
}

fn unusable(error: IdentityError) -> CliError {
    CliError::local(reasons::FILE, "cannot use the identity of this node", &error)
}

impl JoinOutcome {
    pub(super) fn document(&self) -> Value {
        let until = omnirelay_core::time::Millis::of_unix(self.not_after);
        json!({
            "schemaVersion": "v1", "nodeId": self.node_id, "id": self.id,
            "notAfter": omnirelay_core::time::rfc3339(until), "dataDir": self.data_dir, "config": self.config,
            "warnings": self.warnings,
        })
    }

    /// `node/b joined`, and below it what it is.
    pub(super) fn lines(&self) -> String {
        let rows = [
            ("id", self.id.clone()),
            ("data directory", self.data_dir.display().to_string()),
            ("configuration", self.config.display().to_string()),
        ];
        format!("node/{} joined\n{}", self.node_id, listing(&rows))
    }
}

/// The schema of the document.
pub(super) fn schema() -> Value {
    let word = || json!({"type": "string"});
    json!({
        "type": "object",
        "required": ["schemaVersion", "nodeId", "id", "notAfter", "dataDir", "config", "warnings"],
        "properties": {
            "schemaVersion": {"const": "v1"}, "nodeId": word(), "id": word(),
            "notAfter": {"type": "string", "format": "date-time"}, "dataDir": word(), "config": word(),
            "warnings": {"type": "array", "items": word()},
        },
    })
}
