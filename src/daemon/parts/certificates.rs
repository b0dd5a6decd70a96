//! The part of certificates: issues them where the node can, keeps its own, and has others judged by them.

use std::net::IpAddr;
use std::sync::Arc;

use omnirelay_core::spiffe::Holder;
use omnirelay_pki::certificate::Names;
use omnirelay_pki::request::is_dns_name;
use omnirelay_wire::pb::omnirelay::security::v1::certificate_service_server::CertificateServiceServer;
use omnirelay_wire::pb::omnirelay::security::v1::enrollment_service_server::EnrollmentServiceServer;
use tonic::codec::CompressionEncoding::Gzip;

use crate::daemon::config::Config;
use crate::daemon::metrics::IdentityMetrics;
use crate::daemon::node::{Kinds, Mount, NodeError, Part, Phase, PortName};
use crate::daemon::objects::certificates::has_authority;
use crate::daemon::objects::certificates::join::controls_of;
use crate::daemon::objects::certificates::own::{Expiries, Keeper};
use crate::daemon::objects::certificates::signer::Signer;
use crate::daemon::objects::certificates::{
    AUTHORITY, CERTIFICATE, Certificates, Controls, Enrollment, Gate, JOIN_TOKEN, REVOCATION,
};
use crate::daemon::objects::peers::PEER;
use crate::daemon::readiness::item;
use crate::daemon::registry::Registry;

pub const PART: Part = Part {
    kinds: Kinds { mirrored: &[AUTHORITY, CERTIFICATE, REVOCATION, JOIN_TOKEN], ..Kinds::NONE },
    mount,
};

fn mount(node: &mut Mount) -> Result<(), NodeError> {
    let (registry, trust, config) = (node.registry.clone(), node.trust.clone(), node.config.clone());
    let signer = Arc::new(Signer::new(node.identity_files.clone()));
    trust.update(|trusted| trusted.cluster.clone_from(&config.node.cluster));
    let read = registry.clone();
    trust.ask(move || has_authority(&read));
    let keeper = Keeper {
        registry: registry.clone(),
        signer: signer.clone(),
        trust: trust.clone(),
        files: node.identity_files.clone(),
        node: Holder::Node {
            cluster: config.node.cluster.clone(),
            role: config.node.role.clone(),
            node: registry.node_id().to_owned(),
        },
        names: names(&config, node.addresses.control.ip()),
        controls: controls(&registry),
        failed: std::sync::Mutex::default(),
        renewed: std::sync::Mutex::default(),
    };
    keeper.load();
    let keeper = Arc::new(keeper);
    let (asked, counted, metrics) =
        (keeper.clone(), keeper.clone(), IdentityMetrics::new(node.metrics.all())?);
    node.readiness.add(move || vec![item("identity", false, asked.trouble())]);
    node.metrics.before_scrape(move || {
        let Expiries { node, issuer, root, behind } = counted.expiries();
        metrics.read([("node", node), ("issuer", issuer), ("root", root)], behind);
    });
    node.run(Phase::End, async move { keeper.run().await });
    let certificates = Arc::new(Certificates {
        registry,
        signer,
        trust,
        cluster: config.node.cluster.clone(),
        store_url: shared_store(&config),
        controls: controls(&node.registry),
        gate: Gate::default(),
        joining: tokio::sync::Mutex::default(),
    });
    let enrollment = EnrollmentServiceServer::new(Enrollment(certificates.clone()));
    let certificates = CertificateServiceServer::from_arc(certificates);
    node.serve(PortName::Control, certificates.send_compressed(Gzip).accept_compressed(Gzip));
    node.serve(PortName::Control, enrollment.send_compressed(Gzip).accept_compressed(Gzip));
    Ok(())
}

/// The control ports of other nodes that live, as the registry has them.
fn controls(registry: &Arc<Registry>) -> Controls {
    let registry = registry.clone();
    Box::new(move |max| controls_of(&registry, &PEER, max))
}

/// Where the registry is, for nodes that join; `None`: in a store of one host.
fn shared_store(config: &Config) -> Option<String> {
    let url = &config.store.url;
    let is_shared = !matches!(url.split_once(':'), Some(("embedded" | "memory", _)) | None);
    is_shared.then(|| url.clone())
}

/// By what clients call the node: its addresses, as far as they are known, and what is configured.
fn names(config: &Config, listen: IpAddr) -> Names {
    let advertised = config.mesh.advertise.as_deref().and_then(|address| address.rsplit_once(':'));
    let configured = config.control.hosts.iter().map(String::as_str).chain(advertised.map(|(host, _)| host));
    let mut names = Names {
        dns: vec!["localhost".to_owned()],
        addresses: vec![IpAddr::from([127, 0, 0, 1]), IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1])],
    };
    if !listen.is_unspecified() && !names.addresses.contains(&listen) {
        names.addresses.push(listen);
    }
    for host in configured.map(str::to_ascii_lowercase) {
        match host.trim_start_matches('[').trim_end_matches(']').parse() {
            Ok(address) if !names.addresses.contains(&address) => names.addresses.push(address),
            Err(_) if is_dns_name(&host) && !names.dns.contains(&host) => names.dns.push(host),
            Ok(_) | Err(_) => {}
        }
    }
    names
}
