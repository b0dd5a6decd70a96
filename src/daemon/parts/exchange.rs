//! The part of the exchange: what nodes of federated clusters advertise is fetched.

use std::sync::Arc;

use crate::exchange::{Exchange, ExchangeParts, ExchangeSettings};
use crate::metrics::ExchangeMetrics;
use crate::node::{Kinds, Mount, NodeError, Part, Phase};
use crate::readiness::item;

pub const PART: Part = Part { kinds: Kinds::NONE, mount };

fn mount(node: &mut Mount) -> Result<(), NodeError> {
    let parts = ExchangeParts {
        registry: node.registry.clone(),
        transport: node.transport.clone(),
        federation: node.federation.clone(),
        metrics: ExchangeMetrics::new(node.metrics.all())?,
    };
    let settings = ExchangeSettings {
        every: node.config.registers.exchange_every(),
        ttl: node.config.registers.advertisement_ttl.0,
        grace: node.config.session_ttl(),
        secret: node.session_secret.clone(),
    };
    let exchange = Arc::new(Exchange::new(parts, settings));
    let asked = exchange.clone();
    node.readiness.add(move || vec![item("federated-registers", false, asked.trouble())]);
    node.run(Phase::End, exchange.clone().run());
    node.exchange = Some(exchange);
    let (mut chosen, presence) = (node.federation.subscribe(), node.presence.clone());
    node.run(Phase::End, async move {
        while chosen.changed().await.is_ok() {
            let fetches = Exchange::fetched(&chosen.borrow_and_update());
            if let Some(presence) = presence.get() {
                presence.say(|says| says.fetches = fetches);
            }
        }
    });
    Ok(())
}
