//! Mounts certificates: issues them where the node can, keeps its own, and has others judged by them.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use omnirelay_certificate_records::cluster_trust::CLUSTER_TRUST;
use omnirelay_certificate_records::{AUTHORITY, CERTIFICATE, JOIN_POLICY, JOIN_TOKEN, REVOCATION};
use omnirelay_certificate_records::{has_authority, revocations_number};
use omnirelay_core::spiffe::CertificateHolder;
use omnirelay_core::text::chain;
use omnirelay_identity::federation::FederationKeeper;
use omnirelay_identity::files::LOOK_EVERY;
use omnirelay_identity::node_identity::IdentityFiles;
use omnirelay_identity::proof::BindingGrants;
use omnirelay_identity::provided::IdentityProvider;
use omnirelay_identity::trust::HasAuthority;
use omnirelay_node::readiness::item;
use omnirelay_node::transport::NodeTransport;
use omnirelay_node::{CapabilityKinds, NodeBuilder, NodeError, PortName, StopPhase};
use omnirelay_nouns::document::Document;
use omnirelay_peer_records as peers;
use omnirelay_peer_records::presence::Presence;
use omnirelay_pki::certificate::TlsNames;
use omnirelay_pki::request::is_dns_name;
use omnirelay_registry::Registry;
use omnirelay_registry::epoch_loss::{RestorationRule, RestoredBy};
use omnirelay_registry::view::View;
use omnirelay_settings::{Config, RefusedSetting};
use omnirelay_store::{RecordId, StoreMember};
use omnirelay_surface::{FailedHandshake, FinishedCall, RequestObserver};
use omnirelay_wire::pb::omnirelay::security::v1::certificate_service_server::CertificateServiceServer;
use omnirelay_wire::pb::omnirelay::security::v1::cluster_trust_service_server::ClusterTrustServiceServer;
use omnirelay_wire::pb::omnirelay::security::v1::enrollment_service_server::EnrollmentServiceServer;
use omnirelay_wire::pb::omnirelay::security::v1::issuer_secret_service_server::IssuerSecretServiceServer;
use omnirelay_wire::pb::omnirelay::security::v1::revocation_exchange_service_server::RevocationExchangeServiceServer;
use omnirelay_wire::pb::omnirelay::security::v1::token_service_server::TokenServiceServer;
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tonic::codec::CompressionEncoding::Gzip;

use crate::administrators::nobody_left;
use crate::bindings::seed::BINDING_SEED;
use crate::cluster_trust::ClusterTrustCalls;
use crate::cluster_trust_keeper::ClusterTrustKeeper;
use crate::identity_keeper::{CertificateExpiries, IdentityKeeper, MOVE_WITHIN};
use crate::issuers;
use crate::issuers::IssuerTroubles;
use crate::lacking::{IdentityAnnouncement, IdentityTrouble};
use crate::metrics::IdentityMetrics;
use crate::operator::{OPERATOR, OperatorKeeper};
use crate::policy::{JoinPolicySchema, JoinPolicySeed, seed};
use crate::record_issuers::MeshIssuers;
use crate::record_keeper::RecordKeeper;
use crate::revocation_merge::RevocationMerger;
use crate::revocation_push::RevocationPush;
use crate::seal_keys;
use crate::signer::Signer;
use crate::store_rights::{KnownRecordKinds, StoreRights};
use crate::store_users::StoreUserKeeper;
use crate::token_epochs::TokenEpochs;
use crate::token_service::TokenCalls;
use crate::unproven_leaders::UnprovenLeaders;
use crate::{
    Certificates, EndSession, EnrollmentCalls, EnrollmentGate, ExpelledCredentials, IssuerSecretReceiver,
    IssuingGate, OtherDaemons, StoreAccess,
};

/// How often a host looks whether it is an issuer: who puts the secret back waits for that.
const SECRET_LOOK_EVERY: Duration = Duration::from_secs(1);
/// How many nodes that cannot prove who they are are named.
const STRANGERS_NAMED_MAX: usize = 10;

pub const KINDS: CapabilityKinds = CapabilityKinds {
    mirrored: &[AUTHORITY, CERTIFICATE, REVOCATION, JOIN_TOKEN, JOIN_POLICY, CLUSTER_TRUST],
    signed: &[AUTHORITY, JOIN_TOKEN, JOIN_POLICY, CLUSTER_TRUST],
    // Where tokens and the policy are signed they stay known, as the authority does, whatever the store has.
    restored: &[
        RestorationRule::of(CERTIFICATE, RestoredBy::Furthest),
        RestorationRule::of(JOIN_POLICY, RestoredBy::Furthest),
        RestorationRule::of(JOIN_TOKEN, RestoredBy::Furthest),
        RestorationRule::of(CLUSTER_TRUST, RestoredBy::Furthest),
        // By whoever can issue, and by each daemon that has them on its disk.
        RestorationRule::of(AUTHORITY, RestoredBy::ItsPart),
        RestorationRule::of(REVOCATION, RestoredBy::ItsPart),
    ],
    ..CapabilityKinds::NONE
};

/// Keeps who the node is and whom it trusts; has revocations handed to other nodes, and taken from them.
fn exchange(node: &mut NodeBuilder, keeper: Arc<IdentityKeeper>, calls: RevocationCalls) {
    let kept = keeper.clone();
    node.run(StopPhase::End, async move { kept.run().await });
    let taker = IssuerSecretReceiver { keeper: keeper.clone(), keys: Mutex::default() };
    node.serve(PortName::Mesh, IssuerSecretServiceServer::new(taker));
    let exchange = Arc::new(RevocationPush { keeper, transport: calls.transport });
    let (offers, brings, mut behind) = (exchange.clone(), exchange.clone(), calls.behind);
    node.run(StopPhase::Withdraw, async move { offers.run().await });
    node.run(StopPhase::Withdraw, async move {
        while let Some(node) = behind.recv().await {
            brings.bring_up(&node).await;
        }
    });
    node.serve(PortName::Mesh, RevocationExchangeServiceServer::from_arc(exchange));
}

/// Has certificates judged by what the configuration says.
pub(crate) fn judge(node: &mut NodeBuilder) {
    let (trust, pins) = (node.trust.clone(), node.settings.live(|config| config.mesh.pins()));
    trust.update(|trusted| {
        trusted.cluster.clone_from(&node.settings.now().node.cluster);
        trusted.pins = Arc::new(pins.get());
    });
    let pinned = pins.each(move |pins| trust.update(|trusted| trusted.pins = Arc::new(pins)));
    node.run(StopPhase::End, pinned);
}

/// Refuses a configuration whose file of the issuers' secret cannot be used. Where there is none the node is no issuer.
pub(crate) fn check_secret(node: &NodeBuilder) {
    let running = node.settings.live(|config| config.security.issuer_secret_file.clone());
    let folder = node.identity_files.folder().to_owned();
    node.settings.check(move |config| {
        let named = &config.security.issuer_secret_file;
        if *named == running.get() {
            return Ok(());
        }
        let usable = IdentityFiles::of(&folder, named.as_deref()).sealing_key();
        usable
            .map(drop)
            .map_err(|error| RefusedSetting { key: "security.issuerSecretFile", what: chain(&error) })
    });
}

/// Calls to other nodes about revocations: how they are made, and which nodes judge by an older list than this one.
pub struct RevocationCalls {
    pub transport: Arc<NodeTransport>,
    pub behind: mpsc::Receiver<String>,
}

/// Mounts certificates. Others are told by `presence` how the node stands by its own, and called by `calls`; callers may do
/// what `grants` says, and users of the store may write `kinds`.
pub fn mount(
    node: &mut NodeBuilder,
    presence: &Arc<Presence>,
    calls: RevocationCalls,
    grants: Arc<BindingGrants>,
    kinds: KnownRecordKinds,
) -> Result<(), NodeError> {
    let (registry, trust) = (node.registry.clone(), node.trust.clone());
    let transport = calls.transport.clone();
    // The registry asks the signer as well, and neither is to keep the other.
    let known = Arc::downgrade(&registry);
    let naming = move |refused| match known.upgrade() {
        Some(registry) => issuers::named(&registry, refused),
        None => refused,
    };
    let signer = Arc::new(
        Signer::new(node.identity_files.clone(), trust.clone(), node.settings.now().node.cluster.clone())
            .naming(naming),
    );
    check_secret(node);
    judge(node);
    judge_nodes(node);
    let keeper = identity_keeper(node, &signer, &transport, presence);
    keeper.load();
    keep_signed_records(node, &signer, grants);
    let provider = Arc::new(provider(node));
    node.run(StopPhase::End, provider.clone().run());
    federate(node);
    watch_key_files(node);
    node.mergers.add(REVOCATION, Arc::new(RevocationMerger { signer: signer.clone() }));
    let keeper = Arc::new(keeper);
    let clusters = keep_cluster_trust(node, &signer, &transport);
    tell(node, (&keeper, clusters), provider)?;
    exchange(node, keeper, calls);
    if let Some(files) = node.identity_files.operator.clone() {
        let (registry, signer, is_entered) = (registry.clone(), signer.clone(), is_entered(presence));
        let (known, bound) = (registry.clone(), RecordId::new(BINDING_SEED, format!("operator:{OPERATOR}")));
        let may_begin = Box::new(move || is_entered() && known.view().get(&bound).is_some());
        let keeper = OperatorKeeper { registry, signer, files, may_begin };
        node.run(StopPhase::End, async move { keeper.run().await });
    }
    let tokens = TokenEpochs { registry: registry.clone(), signer: signer.clone(), met: Mutex::default() };
    node.run(StopPhase::End, tokens.run());
    let store = Arc::new(store_access(node, kinds));
    keep_store_users(node, &signer, &store);
    tell_store_credentials(node, &store);
    let certificates = Arc::new(Certificates {
        registry,
        signer,
        trust,
        transport: Some(transport),
        cluster: node.settings.now().node.cluster.clone(),
        store,
        end_session: end_session(&node.registry),
        policy: configured_policy(node),
        gate: EnrollmentGate::default(),
        issuing: IssuingGate::default(),
        joining: tokio::sync::Mutex::default(),
    });
    node.topics.add(Document::<JoinPolicySchema>::topic());
    serve(node, certificates);
    Ok(())
}

/// Keeps trust in other clusters of the trust domain, as they tell it.
fn keep_cluster_trust(
    node: &mut NodeBuilder,
    signer: &Arc<Signer>,
    transport: &Arc<NodeTransport>,
) -> Arc<ClusterTrustKeeper> {
    let (registry, trust) = (node.registry.clone(), node.trust.clone());
    let keeper = ClusterTrustKeeper::new(registry, signer.clone(), trust, transport.clone());
    let keeper = Arc::new(keeper);
    let asking = keeper.clone();
    node.run(StopPhase::Withdraw, async move { asking.ask().await });
    let taking = keeper.clone();
    node.run(StopPhase::End, async move { taking.take_over().await });
    keeper
}

/// The policy of an authority that is made here; `None`: nothing is configured.
fn configured_policy(node: &NodeBuilder) -> Option<JoinPolicySeed> {
    node.settings.now().security.join_policy.clone().map(seed)
}

/// The keeper of who the node is, as the settings have it by then.
fn identity_keeper(
    node: &NodeBuilder,
    signer: &Arc<Signer>,
    transport: &Arc<NodeTransport>,
    presence: &Arc<Presence>,
) -> IdentityKeeper {
    let registry = node.registry.clone();
    let (node_id, listens) = (registry.node_id().to_owned(), node.addresses.host);
    IdentityKeeper {
        others: others(&registry),
        registry,
        signer: signer.clone(),
        trust: node.trust.clone(),
        files: node.identity_files.clone(),
        provision: node.provision.clone(),
        node: node.settings.live(move |config| CertificateHolder::Node {
            cluster: config.node.cluster.clone(),
            role: config.node.role.clone(),
            node: node_id.clone(),
        }),
        names: node.settings.live(move |config| names(config, listens)),
        transport: Some(transport.clone()),
        is_entered: is_entered(presence),
        makes_authority: node.settings.now().security.make_authority,
        join_policy: configured_policy(node),
        move_within: MOVE_WITHIN,
        tried: Default::default(),
        kept: Default::default(),
        lacking: IdentityTrouble::saying(saying(presence)),
    }
}

/// The fingerprints of the seal keys that the authority of the mesh vouches for to be a node's.
pub fn vouched_seal_keys(node: &NodeBuilder) -> impl Fn(&str) -> Vec<String> + Send + Sync + use<> {
    let (registry, trust) = (node.registry.clone(), node.trust.clone());
    let cluster = node.settings.now().node.cluster.clone();
    move |of| {
        let trusted = trust.current();
        seal_keys::of_node(registry.view(), trusted.bundle.as_ref(), &trusted.revocations, &cluster, of)
    }
}

/// Says who was put out and can still use the store as this node does.
fn tell_store_credentials(node: &mut NodeBuilder, store: &Arc<StoreAccess>) {
    let (known, access, credentials) = (node.registry.clone(), store.clone(), ExpelledCredentials::default());
    node.readiness.add(move || {
        let told = credentials.to(&known, &access).map(|who| {
            format!(
                "{who} was put out of the mesh and knows the credentials of the store that this node uses"
            )
        });
        vec![item("store-credentials", false, told)]
    });
}

fn serve(node: &mut NodeBuilder, certificates: Arc<Certificates>) {
    let enrollment = EnrollmentServiceServer::new(EnrollmentCalls(certificates.clone()));
    let callers = TokenServiceServer::new(TokenCalls(certificates.clone()));
    let told = ClusterTrustServiceServer::new(ClusterTrustCalls(certificates.clone()));
    node.serve(PortName::Control, told.send_compressed(Gzip).accept_compressed(Gzip));
    let certificates = CertificateServiceServer::from_arc(certificates);
    node.serve(PortName::Control, certificates.send_compressed(Gzip).accept_compressed(Gzip));
    node.serve(PortName::Control, callers.send_compressed(Gzip).accept_compressed(Gzip));
    node.serve(PortName::Control, enrollment.send_compressed(Gzip).accept_compressed(Gzip));
}

/// Has records of who may do what judged by whether an issuer has signed them, and puts them right.
fn keep_signed_records(node: &mut NodeBuilder, signer: &Arc<Signer>, grants: Arc<BindingGrants>) {
    let cluster = node.settings.now().node.cluster.clone();
    let issuers = MeshIssuers { cluster, trust: node.trust.clone(), signer: signer.clone() };
    node.registry.view().sign_by(issuers.signing());
    let (registry, files) = (node.registry.clone(), node.identity_files.clone());
    let keeper =
        RecordKeeper { registry: registry.clone(), signer: signer.clone(), files, seen: Mutex::default() };
    keeper.load();
    narrow_door(node, grants);
    let keeper = Arc::new(keeper);
    let asked = keeper.clone();
    node.readiness.add(move || {
        vec![
            item("signed-records", false, asked.trouble()),
            item("unsigned-records", false, unsigned_records(&registry)),
        ]
    });
    let kept = keeper.clone();
    node.run(StopPhase::End, async move { keeper.run().await });
    node.run(StopPhase::End, async move { kept.keep().await });
}

/// Has those who are on this host do no more than what concerns it, where others administer the mesh.
fn narrow_door(node: &mut NodeBuilder, grants: Arc<BindingGrants>) {
    let registry = node.registry.clone();
    let look = move || {
        if grants.door.look() {
            grants.tell();
        }
    };
    look();
    node.run(StopPhase::End, async move {
        let sense = |view: &View| (view.changed(&AUTHORITY), view.demands_signatures());
        let look = || {
            look();
            // The file with an issuer's secret may come and go.
            async { Some(Instant::now() + SECRET_LOOK_EVERY) }
        };
        registry.react(sense, look).await;
    });
}

/// That records need no signature in a mesh that has an authority.
fn unsigned_records(registry: &Registry) -> Option<String> {
    let is_open = has_authority(registry) == HasAuthority::Yes && !registry.view().demands_signatures();
    is_open.then(|| "records of who may do what count without a signature: whoever writes to the store administers the mesh".to_owned())
}

/// Makes users of the store anew that its server has forgotten, and has them write what they may.
fn keep_store_users(node: &mut NodeBuilder, signer: &Arc<Signer>, store: &StoreAccess) {
    if store.is_shared() {
        let (registry, cluster) = (node.registry.clone(), node.settings.now().node.cluster.clone());
        let rights = StoreRights::of(store.kinds.clone());
        let users =
            StoreUserKeeper { registry, signer: signer.clone(), cluster, known: Mutex::default(), rights };
        node.run(StopPhase::End, async move { users.run().await });
    }
}

/// Has nodes judged by whether they can prove who they are, and says which cannot.
fn judge_nodes(node: &mut NodeBuilder) {
    let (registry, trust) = (node.registry.clone(), node.trust.clone());
    let judging = registry.clone();
    node.readiness.add(move || {
        let issuers = IssuerTroubles::of(&judging);
        vec![
            item("without-identity", false, strangers(&judging)),
            item("issuers", false, issuers.nobody),
            item("second-issuer", false, issuers.one_alone),
            item("administrators", false, nobody_left(judging.view())),
        ]
    });
    let end_session = end_session(&registry);
    let unproven = UnprovenLeaders { registry, trust, end_session };
    node.run(StopPhase::End, async move { unproven.run().await });
}

/// The nodes that live and cannot prove who they are.
fn strangers(registry: &Registry) -> Option<String> {
    let found = peers::unproven_and_listed(registry.view());
    let named = found.iter().take(STRANGERS_NAMED_MAX).cloned().collect::<Vec<_>>().join(", ");
    let more = found.len().saturating_sub(STRANGERS_NAMED_MAX);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    (!found.is_empty()).then(|| {
        format!("reach the store and have no certificate of the mesh, and so lead nothing, get no shards, and nobody is shown what they \
             advertise: {named}{more}")
    })
}

/// Tells others how the node stands by its identity.
fn saying(presence: &Arc<Presence>) -> IdentityAnnouncement {
    let presence = presence.clone();
    Box::new(move |standing| {
        presence.say(|profile| {
            profile.without_identity = standing.without_identity;
            profile.identity_of_files = standing.of_files;
            profile.issues = standing.issues;
        });
    })
}

/// Whether the node is entered in the registry.
fn is_entered(presence: &Arc<Presence>) -> Box<dyn Fn() -> bool + Send + Sync> {
    let presence = presence.clone();
    Box::new(move || presence.is_registered())
}

/// Observer that counts handshakes that came to nothing.
struct HandshakeObserver(Arc<IdentityMetrics>);

impl RequestObserver for HandshakeObserver {
    fn finished(&self, _: &FinishedCall<'_>) {}

    fn unshaken(&self, handshake: &FailedHandshake<'_>) {
        self.0.count_refused(handshake.port, handshake.cause.word());
    }
}

/// What says who the node is, where that are files, and whom it believes besides.
fn provider(node: &NodeBuilder) -> IdentityProvider {
    let (files, config) = (node.identity_files.clone(), node.settings.now());
    // What is wrong with it was told when it was loaded.
    let kept = move || files.identity().ok().flatten();
    let own = (config.node.cluster.as_str(), node.registry.node_id());
    IdentityProvider::open(node.provision.clone(), node.trust.clone(), own, kept)
}

/// Has nodes of the clusters that are named let in, as their files say, and says what keeps them out.
fn federate(node: &mut NodeBuilder) {
    let federations = Arc::new(FederationKeeper::open(node.federation.clone(), node.trust.clone()));
    let asked = federations.clone();
    node.readiness.add(move || vec![item("federation", false, asked.trouble())]);
    node.run(StopPhase::End, federations.run());
}

/// Says what is wrong with the identity, what leaves the host in plaintext, and when certificates end.
fn tell(
    node: &mut NodeBuilder,
    (keeper, clusters): (&Arc<IdentityKeeper>, Arc<ClusterTrustKeeper>),
    provider: Arc<IdentityProvider>,
) -> Result<(), NodeError> {
    let (asked, of_files) = (keeper.clone(), provider.clone());
    let plaintext = node.settings.live(Config::plaintext);
    node.readiness.add(move || {
        let trouble = match of_files.is_of_mesh() {
            true => asked.lacking.unread().or_else(|| asked.trouble()).or_else(|| of_files.failure()),
            false => of_files.trouble(),
        };
        let is_nobody = of_files.is_missing() || asked.lacking.unread().is_some();
        let plaintext = plaintext.get().join(", ");
        let told = (!plaintext.is_empty()).then(|| format!("others can read: {plaintext}"));
        vec![
            // Others are not to count on a node that is nobody.
            item("identity", is_nobody, trouble),
            item("plaintext", false, told),
        ]
    });
    let (counted, metrics) = (keeper.clone(), Arc::new(IdentityMetrics::new(node.metrics.all())?));
    node.observe(Arc::new(HandshakeObserver(metrics.clone())));
    let (judging, revoked) = (node.trust.clone(), node.registry.clone());
    node.metrics.before_scrape(move || {
        let CertificateExpiries { node, issuer, root, begins, behind } = counted.expiries();
        let behind = if provider.is_of_mesh() { behind } else { provider.is_behind() };
        metrics.read([("node", node), ("issuer", issuer), ("root", root)], begins, behind);
        metrics.read_silences(&clusters.silences());
        metrics.read_revocations(judging.current().revocations.number(), revocations_number(&revoked));
    });
    Ok(())
}

/// Looks now and then who may read the files of private keys, and tells of those that everybody may.
fn watch_key_files(node: &mut NodeBuilder) {
    let (settings, open) = (node.settings.clone(), Arc::new(Mutex::new(Vec::<String>::new())));
    let mut named = settings.live(|_| ());
    let known = open.clone();
    node.readiness.add(move || {
        let known = known.lock();
        let told =
            (!known.is_empty()).then(|| format!("open to everybody of the host: {}", known.join(", ")));
        vec![item("key-files", false, told)]
    });
    node.run(StopPhase::End, async move {
        loop {
            let looking = settings.now();
            // Files may be far away. What panics there is told by the runtime.
            let looked = tokio::task::spawn_blocking(move || looking.open_key_files()).await;
            if let Ok(looked) = looked {
                let mut open = open.lock();
                for file in looked.iter().filter(|file| !open.contains(file)) {
                    tracing::warn!(file, "private key is open to everybody of this host; chmod o= it");
                }
                *open = looked;
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK_EVERY) => {}
                () = named.replaced() => {}
            }
        }
    });
}

/// The control ports of other nodes that live, as the registry has them.
fn others(registry: &Arc<Registry>) -> OtherDaemons {
    let registry = registry.clone();
    Box::new(move |max| issuers::others(&registry, max))
}

/// By what this daemon uses the store. What cannot be read was refused when the store was opened.
fn store_access(node: &NodeBuilder, kinds: KnownRecordKinds) -> StoreAccess {
    let config = node.settings.now();
    let member = StoreMember { cluster: &config.node.cluster, node: node.registry.node_id() };
    StoreAccess { admission: config.store.admission(&member).ok().flatten(), kinds }
}

/// Ends sessions of other nodes.
fn end_session(registry: &Arc<Registry>) -> EndSession {
    let registry = registry.clone();
    Box::new(move |node| {
        let registry = registry.clone();
        Box::pin(async move { peers::end_session(&registry, &node).await })
    })
}

/// Names by which clients call the node: its addresses, as far as they are known, and what is configured.
pub(crate) fn names(config: &Config, listen: IpAddr) -> TlsNames {
    let advertised = config.mesh.advertise.as_deref().and_then(|address| address.rsplit_once(':'));
    let configured = config.control.hosts.iter().map(String::as_str).chain(advertised.map(|(host, _)| host));
    let listen = (!listen.is_unspecified()).then(|| listen.to_string());
    let mut names = TlsNames::of_this_host();
    for host in configured.map(str::to_owned).chain(listen) {
        let host = host.trim_start_matches('[').trim_end_matches(']');
        if host.parse::<IpAddr>().is_ok() || is_dns_name(&host.to_ascii_lowercase()) {
            names.add(host);
        }
    }
    names
}
