//! Tells the registry of the relay itself and of the agents it holds.

/// What the sessions tell the reporter; never waits.
#[derive(Default)]
pub struct Reports {}

impl Reports {
    /// An agent has a stream here: register it, and keep it alive from now on. Again for one that is known: it moved
    /// here anew.
    pub fn hold(&self, _agent_id: &str) {}

    /// Tells the registry, for ever.
    pub async fn run(&self) {}

    /// An agent has no stream here any more: say nothing of it any more.
    pub fn let_go(&self, _agent_id: &str) {}
}
