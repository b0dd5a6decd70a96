//! The configuration of a daemon whose host is judged, changed while it runs.

use omnirelay_settings::Config;

use super::*;

#[tokio::test]
async fn the_names_that_are_looked_up_are_those_of_the_configuration_by_then() {
    let settings = LiveConfig::from(Config::default());
    let checker = HostChecker {
        settings: settings.clone(),
        source: None,
        data_dir: PathBuf::new(),
        certificate: Box::new(|| Err("none")),
        ports: Vec::new(),
        names: Mutex::default(),
    };
    let names = async || checker.names().await.into_iter().map(|(name, _)| name).collect::<Vec<_>>();
    assert!(names().await.is_empty());
    settings.set("registers.peerServices", vec!["https://pool.invalid:8080"]);
    assert_eq!(names().await, ["pool.invalid"]);
}
