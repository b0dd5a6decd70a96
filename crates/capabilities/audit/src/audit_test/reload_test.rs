//! Settings of the trail, changed while its node seals.

use omnirelay_settings::{Config, LiveConfig};

use super::*;

#[tokio::test(start_paused = true)]
async fn what_is_old_goes_as_soon_as_records_are_kept_for_less() {
    let (place, settings) = (Place::new(), LiveConfig::from(Config::default()));
    let a = place.node_that_keeps("a", settings.live(|config| config.audit.age.0)).await;
    for value in 0..5 {
        a.act(value + 1).await;
        a.sealed().await;
    }
    // The next hourly look is far off.
    sleep(Duration::from_secs(90 * 60)).await;
    let before = place.all(AUDIT).await.len();
    settings.set("audit.age", "1h");
    sleep(Duration::from_secs(2)).await;
    let after = place.all(AUDIT).await.len();
    assert!(before >= 5 && after < before, "{after} of {before} are left");
    assert_eq!(a.verify().await.findings, Vec::new());
    // For longer again: what is there by now stays.
    settings.set("audit.age", "400days");
    a.act_and_seal(2).await;
    sleep(Duration::from_secs(3 * 3600)).await;
    assert_eq!(place.all(AUDIT).await.len(), after + 2);
}
