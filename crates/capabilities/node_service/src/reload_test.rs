//! Settings that a daemon tells of, changed while it runs.

use std::sync::Arc;

use omnirelay_mesh_port::mount_gossip;
use omnirelay_node::lab::Lab;
use omnirelay_settings::Config;
use omnirelay_store::MemoryStore;

#[tokio::test]
async fn a_daemon_tells_of_the_settings_that_hold_by_then() {
    let (node, (own, settings)) = Lab::on(Arc::new(MemoryStore::system()), "node-1").with(|node| {
        let (mesh, _behind) = mount_gossip(node)?;
        Ok((crate::mount(node, (mesh.transport, mesh.gossip), false), node.settings.clone()))
    });
    let node = node.start();
    node.loaded().await;
    let wide = |name: &str| own.describe().mesh_wide_settings[name].clone();
    assert_eq!((wide("session.ttl").as_str(), own.describe().let_in.as_str()), ("2s", "host"));
    settings.set("session.ttl", "10s");
    settings.set("security.loopback", "proof");
    assert_eq!((wide("session.ttl").as_str(), own.describe().let_in.as_str()), ("10s", "nobody"));

    let mut next = Config::clone(&settings.now());
    next.node.cluster = "other".to_owned();
    settings.replace(next).unwrap();
    let told = own.describe();
    assert_eq!(
        (told.restart_due.as_slice(), told.cluster_id.as_str()),
        (["node.cluster".to_owned()].as_slice(), "default")
    );
    settings.replace(Config::clone(&settings.now())).unwrap();
    assert!(own.describe().restart_due.is_empty());
}
