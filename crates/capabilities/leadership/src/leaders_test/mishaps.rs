//! Mishaps of nodes and their paths to the store: there are never two leaders, whatever happens.

use super::*;

const NODES: [&str; 3] = ["a", "b", "c"];
const SCOPES: [&str; 2] = [SCOPE, "billing"];

/// Chance that is the same for the same seed.
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = xxhash_rust::xxh64::xxh64(&self.0.to_le_bytes(), 11);
        self.0 % limit
    }

    fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len() as u64) as usize]
    }
}

/// Nodes that each reach one store on a path of their own; `None` is down.
struct Troubled {
    paths: Vec<Arc<Faulty>>,
    daemons: Vec<Option<Daemon>>,
    /// The greatest token that anybody has led with, by scope.
    tokens: BTreeMap<&'static str, u64>,
}

impl Troubled {
    async fn start() -> Self {
        let store = memory();
        let paths: Vec<_> = NODES.iter().map(|_| Faulty::over(store.clone())).collect();
        let mut daemons = Vec::new();
        for (node_id, path) in NODES.iter().zip(&paths) {
            daemons.push(Some(started(path, node_id).await));
        }
        Self { paths, daemons, tokens: BTreeMap::new() }
    }

    fn up(&self) -> impl Iterator<Item = &Daemon> {
        self.daemons.iter().flatten()
    }

    /// Something goes wrong, or right again, or an operator does something.
    async fn mishap(&mut self, chance: &mut Chance) {
        let place = chance.below(NODES.len() as u64) as usize;
        let (path, other) = (self.paths[place].clone(), chance.of(&NODES).to_owned());
        match chance.below(7) {
            0 => path
                .fall_ill([chance.of(&EVERY_CALL)], chance.of(&[Ill::Fails, Ill::Hangs, Ill::LosesReplies])),
            1 => path.fall_ill(EVERY_CALL, chance.of(&[Ill::Fails, Ill::Hangs, Ill::LosesReplies])),
            2 | 3 => path.recover(),
            4 => {
                // The path of a node that starts is well for as long as it takes.
                let wasnt_up = self.daemons[place].take().is_none();
                if wasnt_up {
                    path.recover();
                    self.daemons[place] = Some(started(&path, NODES[place]).await);
                }
            }
            5 => {
                let Some(daemon) = &self.daemons[place] else { return };
                let scope = chance.of(&SCOPES).to_owned();
                let order = pb::TransferLeaderRequest { scope, to: other, ..Default::default() };
                let _ = tokio::time::timeout(MS * 50, daemon.leaders.transfer(called(order, |_| {}))).await;
            }
            _ => {
                let Some(daemon) = &self.daemons[place] else { return };
                let _ = match chance.below(2) {
                    0 => {
                        let drain = pb::DrainPeerRequest { node_id: other, ..Default::default() };
                        tokio::time::timeout(MS * 50, daemon.peers.drain(called(drain, |_| {}))).await
                    }
                    _ => {
                        let undrain = pb::UndrainPeerRequest { node_id: other, ..Default::default() };
                        tokio::time::timeout(MS * 50, daemon.peers.undrain(called(undrain, |_| {}))).await
                    }
                };
            }
        }
    }

    fn check(&mut self, seed: u64) {
        for scope in SCOPES {
            let fences: Vec<_> = self
                .up()
                .filter_map(|daemon| Some((daemon.id().to_owned(), daemon.fence(scope)?.token)))
                .collect();
            assert!(fences.len() <= 1, "seed {seed}: {fences:?} lead `{scope}`");
            let Some((_, token)) = fences.first() else { continue };
            let greatest = self.tokens.entry(scope).or_default();
            assert!(
                token >= greatest,
                "seed {seed}: `{scope}` was led with {greatest}, and now with {token}"
            );
            *greatest = *token;
        }
    }

    /// Everything is well again, and every node may lead.
    async fn heal(&mut self) {
        self.paths.iter().for_each(|path| path.recover());
        for (place, node_id) in NODES.into_iter().enumerate() {
            if self.daemons[place].is_none() {
                self.daemons[place] = Some(started(&self.paths[place], node_id).await);
            }
        }
        // A log call that hangs alone is given up after 25 s.
        sleep(TTL * 15).await;
        for node_id in NODES {
            let undrain = pb::UndrainPeerRequest { node_id: node_id.to_owned(), ..Default::default() };
            self.up().next().unwrap().peers.undrain(called(undrain, |_| {})).await.unwrap();
        }
    }
}

async fn started(path: &Arc<Faulty>, node_id: &str) -> Daemon {
    let mut daemon = silent(path.clone(), node_id, &SCOPES).await;
    daemon.register();
    daemon.campaign();
    daemon
}

#[tokio::test(start_paused = true)]
async fn nobody_leads_beside_another_and_every_scope_is_led_in_the_end() {
    for seed in 0..24 {
        let (mut mesh, mut chance) = (Troubled::start().await, Chance(seed));
        for _ in 0..80 {
            mesh.mishap(&mut chance).await;
            for _ in 0..chance.below(120) {
                sleep(MS * 7).await;
                mesh.check(seed);
            }
        }
        mesh.heal().await;
        let daemons: Vec<_> = mesh.daemons.drain(..).flatten().collect();
        for scope in SCOPES {
            let led = agreed(&daemons, scope).await;
            assert!(led.fence_token as u64 >= mesh.tokens[scope], "seed {seed}");
        }
    }
}
