//! Settings of the transport, changed while the node serves.

use std::time::Duration;

use omnirelay_settings::LiveConfig;
use tokio::time::sleep;

use super::*;

async fn served(settings: &LiveConfig) -> (MeshConfig, LabRegistry) {
    let configured = settings.live(|config| config.transport.policy.clone());
    let (own, lab) = of_settings(configured, settings.live(Config::transport_endpoints)).await;
    (MeshConfig(own), lab)
}

async fn shown(config: &MeshConfig) -> pb::GetConfigResponse {
    config.get_config(called(pb::GetConfigRequest::default())).await.unwrap().into_inner()
}

#[tokio::test]
async fn endpoints_are_judged_by_what_the_file_says_by_then() {
    let settings = LiveConfig::from(Config::default());
    let (config, _lab) = served(&settings).await;
    let budget = async || shown(&config).await.report.unwrap().raw_endpoints_max;
    assert_eq!(budget().await, 0);
    settings.set("transport.policy", json!({"budgets": {"rawEndpointsMax": 5}}));
    assert_eq!(budget().await, 5);
    let raw = json!({"transport": "http3", "encoding": "raw"});
    let declared = json!([{
        "name": "ingest", "namespace": "orders", "category": "edge", "profiles": [raw], "acl": ["service:shop"],
    }]);
    let number = shown(&config).await.endpoints.len();
    settings.set("transport.endpoints", declared);
    let now = shown(&config).await;
    assert_eq!((now.endpoints.len(), now.report.unwrap().raw_endpoints), (number + 1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_policy_that_comes_into_the_file_later_begins_the_record() {
    let settings = LiveConfig::from(Config::default());
    let (config, _lab) = served(&settings).await;
    let trust = Arc::new(MeshTrust::default().asking(|| HasAuthority::Yes));
    let seeding = tokio::spawn(mount::seeding(&config.0.policy, trust).run());
    sleep(Duration::from_secs(60)).await;
    assert!(kept_of(&config).await.is_empty(), "the file names none");
    settings.set("transport.policy", json!({"budgets": {"rawEndpointsMax": 5}}));
    sleep(Duration::from_secs(1)).await;
    let versions = kept_of(&config).await;
    assert_eq!(versions.len(), 1);
    assert_eq!(versions[0].policy.as_ref().map(pb::TransportPolicy::known), Some(numbered(5)));
    seeding.abort();
}
