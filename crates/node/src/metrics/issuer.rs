//! Metrics about an issuer of tokens that is outside of the mesh.

use std::time::Duration;

use super::registrar::gauge_value;

crate::metrics! {
    /// Metrics of an issuer of tokens outside of the mesh.
    pub struct IssuerMetrics while "`security.oidc` names an issuer" {
        age: Gauge("mesh_token_issuer_keys_age_seconds",
            "Seconds since the keys of the issuer of tokens were read; -1 while none are known to be its own"),
        keys: Gauge("mesh_token_issuer_keys",
            "How many keys of the issuer of tokens can be used; 0: none of its tokens is taken"),
    }
}

impl IssuerMetrics {
    /// Takes over when the keys were read, and how many there are.
    pub fn read(&self, age: Option<Duration>, keys: usize) {
        self.age.set(age.map_or(-1, |age| gauge_value(age.as_secs())));
        self.keys.set(gauge_value(keys as u64));
    }

    /// Takes both away: there is no such issuer any more.
    pub fn withdraw(self, all: &prometheus::Registry) {
        for gauge in [self.age, self.keys] {
            // One that is not there is away.
            let _ = all.unregister(Box::new(gauge));
        }
    }
}
